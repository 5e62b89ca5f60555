//! From what was discovered to drivers.

use crate::{broken::Registers, pci::Pci, platform::Kernel, say};
use alloc::{
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use core::ptr::NonNull;
#[cfg(target_arch = "riscv64")]
use ioward::drivers::riscv;
#[cfg(target_arch = "aarch64")]
use ioward::drivers::smmuv3;
#[cfg(target_arch = "x86_64")]
use ioward::drivers::{amdvi, vtd};
use ioward::{
    core::driver::Driver,
    discover::{Machine, UnitKind},
    drivers::{BringUp, virtio},
    pci::Bdf,
    types::{MmioPtr, PhysAddr, Span},
};

/// What is asked of IOMMUs beside translation.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    /// They remap interrupts, those that can.
    pub interrupts: bool,
    /// They are told that their command queue is where there is no memory: what a broken kernel would do.
    pub astray: bool,
}

/// Brings up every IOMMU that firmware describes and enables; every source starts blocked.
///
/// # Safety
/// The registers that firmware names are mapped where they are, and nobody else drives them.
pub unsafe fn bring_up(machine: &Machine, pci: &Pci, wishes: Wishes) -> Result<Vec<Arc<dyn Driver>>, String> {
    // SAFETY: as promised by the caller.
    unsafe { take_over(machine, pci, BringUp::Cold, wishes) }
}

/// As [`bring_up`], of IOMMUs that somebody has left in `state`.
///
/// # Safety
/// As [`bring_up`]; with [`BringUp::Adopt`], nobody writes or reuses what they translate with.
pub unsafe fn take_over(
    machine: &Machine,
    pci: &Pci,
    state: BringUp<'_>,
    wishes: Wishes,
) -> Result<Vec<Arc<dyn Driver>>, String> {
    let mut drivers = Vec::new();
    for unit in machine.iommus.iter().filter(|unit| unit.enabled) {
        let registers = || -> Result<Registers, &'static str> {
            let block = match (unit.registers, unit.function) {
                // SAFETY: as promised by the caller.
                (Some(span), _) => unsafe { mapped(span) }.ok_or("registers at address zero")?,
                (None, Some(function)) => pci
                    .registers(Bdf::of_requester(0, function.requester), 0)
                    .ok_or("no base address register")?,
                (None, None) => return Err("no registers"),
            };
            Ok(Registers::new(block, &unit.kind, wishes.astray))
        };
        say!("iommu {} {} {}", unit.id, unit.name, unit.kind);
        if let Some(function) = unit.function {
            // Its own queues are in memory.
            pci.bus_master(Bdf::of_requester(0, function.requester), true);
        }
        let driver: Arc<dyn Driver> = match &unit.kind {
            #[cfg(target_arch = "aarch64")]
            UnitKind::SmmuV3(firmware) => {
                let config = smmuv3::Config { firmware: *firmware, ..Default::default() };
                let smmu = smmuv3::SmmuV3::bring_up(unit.id, registers()?, &config, &Kernel, state);
                Arc::new(smmu.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            #[cfg(target_arch = "x86_64")]
            UnitKind::AmdVi(described) => {
                let mut config = amdvi::Config::new(*described, u16::MAX);
                config.interrupts = wishes.interrupts;
                let amd = amdvi::AmdVi::bring_up(unit.id, registers()?, config, &Kernel, state);
                Arc::new(amd.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            #[cfg(target_arch = "x86_64")]
            UnitKind::VtD(described) => {
                let mut config = vtd::Config::new(*described);
                if wishes.interrupts {
                    config.interrupts = vtd::Interrupts::Remap { entries_log2: 8, x2apic: false };
                }
                let vtd = vtd::VtD::bring_up(unit.id, registers()?, config, &Kernel, state);
                Arc::new(vtd.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            #[cfg(target_arch = "riscv64")]
            UnitKind::RiscV(firmware) => {
                let config = riscv::Config { firmware: *firmware, last_source: 0xffff, ..Default::default() };
                let riscv = riscv::RiscVIommu::bring_up(unit.id, registers()?, &config, &Kernel, state);
                Arc::new(riscv.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            UnitKind::Virtio => {
                let function = unit.function.ok_or_else(|| format!("{}: no PCI function", unit.name))?;
                let at = Bdf::of_requester(0, function.requester);
                let transport =
                    virtio_pci(pci, at, wishes.astray).map_err(|why| format!("{}: {why}", unit.name))?;
                let settings = virtio::Config::default();
                let iommu = virtio::VirtioIommu::bring_up(unit.id, transport, settings, &Kernel);
                Arc::new(iommu.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            kind => return Err(format!("{}: this kernel has no driver for {kind}", unit.name)),
        };
        drivers.push(driver);
    }
    Ok(drivers)
}

/// The structures of a virtio function, in its base address registers.
fn virtio_pci(pci: &Pci, function: Bdf, astray: bool) -> Result<virtio::VirtioPci<Registers>, String> {
    let places = virtio::Places::find(|at| pci.read(function, at)).map_err(|why| why.to_string())?;
    let region = |place: virtio::Place, astray| {
        let whole = pci.bar(function, place.bar.into());
        let part = whole.and_then(|bar| {
            let last = u64::from(place.offset) + u64::from(place.bytes);
            let start = PhysAddr(bar.start.0 + u64::from(place.offset));
            (last <= bar.bytes).then_some(Span { start, bytes: place.bytes.into() })
        });
        // SAFETY: what a function's base address registers decode is mapped where it is.
        part.and_then(|part| unsafe { mapped(part) })
            .map(|block| Registers::new(block, &UnitKind::Virtio, astray))
            .ok_or_else(|| format!("nothing at BAR {} {:#x}", place.bar, place.offset))
    };
    let regions = virtio::Regions {
        common: region(places.common, astray)?,
        notify: region(places.notify, false)?,
        notify_multiplier: places.notify_multiplier,
        isr: region(places.isr, false)?,
        device: region(places.device, false)?,
    };
    Ok(virtio::VirtioPci::new(regions, places.device_id, None))
}

/// # Safety
/// `span` is registers, mapped where they are.
unsafe fn mapped(span: Span<PhysAddr>) -> Option<MmioPtr> {
    // SAFETY: as promised by the caller.
    NonNull::new(span.start.0 as *mut u8).map(|base| unsafe { MmioPtr::new(base, span.bytes as usize) })
}
