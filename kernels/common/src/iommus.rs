//! From what firmware describes to drivers.

use crate::{found::Found, platform::Kernel, say};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::ptr::NonNull;
use ioward_core::driver::Driver;
use ioward_drivers::{amdvi, smmuv3};
use ioward_types::{
    IommuId, MmioPtr, PhysAddr, Span,
    describe::{IommuKind, NodeId},
};

/// An IOMMU that is driven.
pub struct Driven {
    /// What firmware's scopes call it.
    pub node: NodeId,
    /// Its driver.
    pub driver: Arc<dyn Driver>,
}

/// Brings up every IOMMU that firmware describes and enables; every source starts blocked.
///
/// # Safety
/// The registers that firmware names are mapped where they are, and nobody else drives them.
pub unsafe fn bring_up(found: &Found) -> Result<Vec<Driven>, String> {
    let mut driven = Vec::new();
    for (number, iommu) in found.iommus().enumerate() {
        let span = iommu.registers.ok_or_else(|| format!("{} at {}: no registers", iommu.kind, iommu.id))?;
        say!("iommu {} {} {span}", iommu.kind, iommu.name);
        let id = IommuId(number as u32);
        // SAFETY: as promised by the caller.
        let registers = || unsafe { mapped(span) }.ok_or("registers at address zero");
        let driver: Arc<dyn Driver> = match iommu.kind {
            IommuKind::SmmuV3(firmware) => {
                let config = smmuv3::Config { firmware, ..Default::default() };
                let unit =
                    smmuv3::SmmuV3::bring_up(id, registers()?, &config, &Kernel, smmuv3::BringUp::Cold);
                Arc::new(unit.map_err(|why| format!("{}: {why}", iommu.name))?)
            }
            IommuKind::AmdVi(described) => {
                let config = amdvi::Config::new(described, u16::MAX);
                let unit = amdvi::AmdVi::bring_up(id, registers()?, config, &Kernel, amdvi::BringUp::Cold);
                Arc::new(unit.map_err(|why| format!("AMD-Vi at {}: {why}", span.start))?)
            }
            kind => return Err(format!("{kind} is not supported")),
        };
        driven.push(Driven { node: iommu.id, driver });
    }
    Ok(driven)
}

/// # Safety
/// `span` is registers, mapped where they are.
unsafe fn mapped(span: Span<PhysAddr>) -> Option<MmioPtr> {
    // SAFETY: as promised by the caller.
    NonNull::new(span.start.0 as *mut u8).map(|base| unsafe { MmioPtr::new(base, span.bytes as usize) })
}
