//! What the bus does to a device when the subsystem says so.

use crate::Nanos;

/// Implemented by the kernel's bus code, for each device. The order of calls is the subsystem's: PASID before ATS, the
/// entry before ATS on, ATS off and its cache flushed before the entry goes, bus mastering off as the last resort.
///
/// The calls come while the subsystem is at work, some with interrupts off: none of them may call the subsystem.
pub trait DeviceControl: Send + Sync {
    /// Lets the device issue requests, or not.
    fn bus_master(&self, on: bool);
    /// Lets requests carry a PASID of at most so many bits, or none.
    fn pasid(&self, bits: Option<u8>);
    /// Lets the device cache translations, the smallest of `1 << page_shift` bytes, or not.
    fn ats(&self, page_shift: Option<u8>);
    /// Lets the device have so many page requests outstanding, or none.
    fn page_requests(&self, outstanding: Option<u32>);
    /// Resets the device. `Err` tells how long it was waited for in vain.
    fn reset(&self) -> Result<(), Nanos>;
}

/// For a device whose bus offers none of this: every call does nothing, and a reset succeeds without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uncontrolled;

impl DeviceControl for Uncontrolled {
    fn bus_master(&self, _: bool) {}
    fn pasid(&self, _: Option<u8>) {}
    fn ats(&self, _: Option<u8>) {}
    fn page_requests(&self, _: Option<u32>) {}
    fn reset(&self) -> Result<(), Nanos> {
        Ok(())
    }
}
