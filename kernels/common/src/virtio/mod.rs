//! virtio devices driven by the crate `virtio-drivers`, its drivers unmodified, behind an IOMMU.
//!
//! What a kernel that uses them adopts: a type for each device with its shelf ([`Disk`], [`Nic`]), configuration space
//! ([`Config`]), and a transport that accepts platform access ([`transport`]). The checks are in `disk.rs` and `net.rs`.

mod disk;
mod net;
mod packets;

use crate::{
    checks::Checks,
    lock::Spin,
    pci::Pci,
    platform::Kernel,
    script::{Reports, Why},
    stage::Stage,
    time,
};
use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::ptr::NonNull;
use ioward::{
    core::{
        Bound, Subsystem,
        driver::{Access, Fault},
    },
    pci::Bdf,
    types::{Iova, Nanos, PhysAddr, Span},
};
use ioward_virtio_drivers::{PlatformAccess, Shelf, VirtioDevice};
use virtio_drivers::{
    Hal,
    transport::pci::{
        PciTransport,
        bus::{ConfigurationAccess, DeviceFunction, PciRoot},
    },
};

/// Vendor in the lower half, device in the upper (virtio 1.2, 4.1.2).
const BLOCK: u32 = 0x1042_1af4;
const NETWORK: u32 = 0x1041_1af4;
/// How long a device may take by the machine's clock, which is fast where instructions are counted: what is
/// behind the device has a clock of its own.
const LIMIT: Nanos = Nanos(30_000_000_000);

/// Runs the checks of every virtio disk and network card.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let added = stage.add_all()?;
    let devices = [(BLOCK, disk::run as Suite), (NETWORK, net::run)];
    for (id, suite) in devices {
        let mut found = false;
        for function in stage.pci.with_id(id) {
            stage.served(function)?;
            let bound = added.device(function)?.bind().map_err(|why| why.to_string())?;
            stage.pci.bus_master(function, true);
            let reports = Reports::of(&stage.drivers);
            suite(&Bench { stage, subsystem: &added.subsystem, bound: &bound, function, reports }, checks)?;
            found = true;
        }
        if !found {
            return Err(format!("there is no device {:04x}:{:04x}", id & 0xffff, id >> 16));
        }
    }
    Ok(())
}

type Suite = fn(&Bench<'_>, &mut Checks) -> Result<(), String>;

/// One device with a driver's right to it.
struct Bench<'a> {
    stage: &'a Stage,
    subsystem: &'a Subsystem<Kernel>,
    bound: &'a Bound<Kernel>,
    function: Bdf,
    reports: Reports,
}

impl Bench<'_> {
    /// What has been reported of the device since it was asked last.
    fn faults(&self) -> Vec<Fault> {
        if !self.reports.tables {
            return Vec::new();
        }
        crate::system::faults(self.subsystem, &self.stage.drivers, self.bound.id())
    }

    /// Whether one of these is a write to one of the spans.
    fn reported(faults: Vec<Fault>, spans: &[Span<Iova>]) -> Result<(), Why> {
        let inside = |at: Iova| {
            let pages = |span: &Span<Iova>| span.align_outward(crate::script::PAGE);
            spans.iter().filter_map(pages).any(|pages| pages.contains(at))
        };
        let right = |fault: &Fault| {
            fault.at.is_some_and(inside) && fault.access.is_none_or(|access| access == Access::Write)
        };
        if faults.iter().any(right) { Ok(()) } else { Err(Why::NotReported(faults)) }
    }

    /// Waits until `done` answers, for so long as a device may take.
    fn wait<T>(&self, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        let mut found = None;
        let answered = time::within(LIMIT, "an answer", || {
            found = done();
            found.is_some()
        });
        answered.ok().and(found)
    }
}

/// The machine's disk.
pub enum Disk {}

// SAFETY: the shelf is one static. Registers are mapped where they are, and the device's driver has them alone.
unsafe impl VirtioDevice for Disk {
    type Platform = Kernel;
    fn shelf() -> &'static Shelf<Kernel> {
        static SHELF: Shelf<Kernel> = Shelf::new(Spin::UNLOCKED);
        &SHELF
    }
    unsafe fn registers(at: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(at.0 as *mut u8).unwrap_or(NonNull::dangling())
    }
}

/// The machine's network card.
pub enum Nic {}

// SAFETY: as for `Disk`.
unsafe impl VirtioDevice for Nic {
    type Platform = Kernel;
    fn shelf() -> &'static Shelf<Kernel> {
        static SHELF: Shelf<Kernel> = Shelf::new(Spin::UNLOCKED);
        &SHELF
    }
    unsafe fn registers(at: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(at.0 as *mut u8).unwrap_or(NonNull::dangling())
    }
}

/// Configuration space as `virtio_drivers` wants it.
struct Config(&'static Pci);

fn bdf(at: DeviceFunction) -> Bdf {
    Bdf::new(0, at.bus, at.device, at.function)
}

impl ConfigurationAccess for Config {
    fn read_word(&self, at: DeviceFunction, register: u8) -> u32 {
        self.0.read(bdf(at), register.into())
    }
    fn write_word(&mut self, at: DeviceFunction, register: u8, data: u32) {
        self.0.write(bdf(at), register.into(), data);
    }
    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}

/// The transport of a function that goes through its IOMMU.
fn transport<H: Hal>(pci: &'static Pci, at: Bdf) -> Result<PlatformAccess<PciTransport>, String> {
    let place =
        DeviceFunction { bus: (at.requester() >> 8) as u8, device: at.device(), function: at.function() };
    let theirs = PciTransport::new::<H, _>(&mut PciRoot::new(Config(pci)), place);
    PlatformAccess::new(theirs.map_err(|why| why.to_string())?).map_err(|why| why.to_string())
}
