//! The virtio-iommu driver's transport, over one of `virtio_drivers`.

use core::fmt;
use ioward_drivers::virtio::{QueueSetup, Transport};
use ioward_types::{Mutex, RawLock, platform::barrier};
use virtio_drivers::{
    Result,
    transport::{DeviceStatus, Transport as Inner},
};

/// A transport of `virtio_drivers`, behind the platform's lock: its calls want it alone.
///
/// Its drop is that of the transport inside, which resets the device: every endpoint is detached then.
#[derive(Debug)]
pub struct Adapted<T, L>(Mutex<L, T>);

/// The transport is of a legacy device, whose queues are laid out otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Legacy;

impl fmt::Display for Legacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transport is of a legacy virtio device")
    }
}
impl core::error::Error for Legacy {}

impl<T: Inner, L: RawLock> Adapted<T, L> {
    /// The transport, if its device is not legacy.
    pub fn new(transport: T) -> core::result::Result<Self, Legacy> {
        if transport.requires_legacy_layout() { Err(Legacy) } else { Ok(Self(Mutex::new(transport))) }
    }
}

/// What a field reads as that the transport does not reach: all ones, as an absent device.
fn or_ones<V>(read: Result<V>, ones: V) -> V {
    read.unwrap_or(ones)
}

impl<T: Inner + Send, L: RawLock> Transport for Adapted<T, L> {
    fn device_id(&self) -> u32 {
        self.0.lock().device_type() as u32
    }

    fn device_features(&self) -> u64 {
        self.0.lock().read_device_features()
    }

    fn accept_features(&self, features: u64) {
        self.0.lock().write_driver_features(features);
    }

    fn status(&self) -> u8 {
        self.0.lock().get_status().bits() as u8
    }

    fn set_status(&self, status: u8) {
        barrier::before_register_write();
        self.0.lock().set_status(DeviceStatus::from_bits_retain(status.into()));
    }

    fn queue_size(&self, queue: u16) -> u16 {
        self.0.lock().max_queue_size(queue).min(u16::MAX.into()) as u16
    }

    fn start_queue(&self, queue: u16, setup: &QueueSetup) {
        let (driver, device) = (setup.available.0, setup.used.0);
        let entries = setup.entries.into();
        barrier::before_register_write();
        self.0.lock().queue_set(queue, entries, setup.descriptors.0, driver, device);
    }

    fn notify(&self, queue: u16) {
        // The registers are written without a barrier for memory.
        barrier::before_register_write();
        self.0.lock().notify(queue);
    }

    fn acknowledge(&self) -> u32 {
        self.0.lock().ack_interrupt().bits()
    }

    fn config_generation(&self) -> u32 {
        self.0.lock().read_config_generation()
    }

    fn config_read32(&self, at: usize) -> u32 {
        or_ones(self.0.lock().read_config_space::<u32>(at).map(u32::from_le), u32::MAX)
    }

    fn config_read8(&self, at: usize) -> u8 {
        or_ones(self.0.lock().read_config_space::<u8>(at), u8::MAX)
    }

    fn config_write8(&self, at: usize, value: u8) {
        // Where it does not reach the field, reading it back tells.
        let _ = self.0.lock().write_config_space::<u8>(at, value);
    }
}
