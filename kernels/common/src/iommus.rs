//! From what was discovered to drivers.

use crate::{pci::Pci, platform::Kernel, say};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::ptr::NonNull;
use ioward::{
    core::driver::Driver,
    discover::{Machine, UnitKind},
    drivers::{amdvi, smmuv3},
    pci::Bdf,
    types::{MmioPtr, PhysAddr, Span},
};

/// Brings up every IOMMU that firmware describes and enables; every source starts blocked.
///
/// # Safety
/// The registers that firmware names are mapped where they are, and nobody else drives them.
pub unsafe fn bring_up(machine: &Machine, pci: &Pci) -> Result<Vec<Arc<dyn Driver>>, String> {
    let mut drivers = Vec::new();
    for unit in machine.iommus.iter().filter(|unit| unit.enabled) {
        let registers = || match (unit.registers, unit.function) {
            // SAFETY: as promised by the caller.
            (Some(span), _) => unsafe { mapped(span) }.ok_or("registers at address zero"),
            (None, Some(function)) => {
                pci.registers(Bdf::of_requester(0, function.requester), 0).ok_or("no base address register")
            }
            (None, None) => Err("no registers"),
        };
        say!("iommu {} {} {}", unit.id, unit.name, unit.kind);
        let driver: Arc<dyn Driver> = match &unit.kind {
            UnitKind::SmmuV3(firmware) => {
                let config = smmuv3::Config { firmware: *firmware, ..Default::default() };
                let cold = smmuv3::BringUp::Cold;
                let smmu = smmuv3::SmmuV3::bring_up(unit.id, registers()?, &config, &Kernel, cold);
                Arc::new(smmu.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            UnitKind::AmdVi(described) => {
                let config = amdvi::Config::new(*described, u16::MAX);
                let cold = amdvi::BringUp::Cold;
                let amd = amdvi::AmdVi::bring_up(unit.id, registers()?, config, &Kernel, cold);
                Arc::new(amd.map_err(|why| format!("{}: {why}", unit.name))?)
            }
            kind => return Err(format!("{}: {kind} is not supported", unit.name)),
        };
        drivers.push(driver);
    }
    Ok(drivers)
}

/// # Safety
/// `span` is registers, mapped where they are.
unsafe fn mapped(span: Span<PhysAddr>) -> Option<MmioPtr> {
    // SAFETY: as promised by the caller.
    NonNull::new(span.start.0 as *mut u8).map(|base| unsafe { MmioPtr::new(base, span.bytes as usize) })
}
