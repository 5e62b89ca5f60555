//! Where an IOMMU's own registers say that a walk begins.

use super::{Device, Kind, Origin};
use ioward_spec::{
    amdvi::registers::offset as amdvi,
    riscv::registers::{self as riscv, capabilities},
    smmuv3::registers as smmuv3,
    vtd::registers as vtd,
};
use ioward_types::Mmio;

/// Reads the registers of an IOMMU of this kind (`SMMUv3`, `AMD-Vi`, `VT-d`, `RISC-V IOMMU`); none of a kind that has no tables
/// in memory.
pub fn origin(kind: &str, registers: &(impl Mmio + ?Sized), device: Device) -> Option<Origin> {
    let (kind, base, config) = match kind {
        "SMMUv3" => {
            let config = registers.read32(smmuv3::STRTAB_BASE_CFG);
            (Kind::SmmuV3, registers.read64(smmuv3::STRTAB_BASE), config.into())
        }
        "AMD-Vi" => (Kind::AmdVi, registers.read64(amdvi::DEVICE_TABLE_BASE), 0),
        // The register tells the mode.
        "VT-d" => (Kind::VtdLegacy, registers.read64(vtd::RTADDR), 0),
        "RISC-V IOMMU" => {
            let extended = capabilities::MSI_FLAT.of(registers.read64(riscv::CAPABILITIES)) != 0;
            let kind = if extended { Kind::RiscVExtended } else { Kind::RiscV };
            (kind, registers.read64(riscv::DDTP), 0)
        }
        _ => return None,
    };
    Some(Origin::Registers { kind, base, config, device })
}
