//! The extended feature registers: EFR (MMIO 0030h) and EFR2 (MMIO 01A0h).

/// Fields of the extended feature register (MMIO 0030h).
pub mod efr {
    use crate::Field;

    /// PREFETCH_IOMMU_PAGES.
    pub const PREF_SUP: Field = Field::bit(0);
    /// Peripheral page requests.
    pub const PPR_SUP: Field = Field::bit(1);
    /// x2APIC.
    pub const XT_SUP: Field = Field::bit(2);
    /// No-execute and privilege checking in guest tables.
    pub const NX_SUP: Field = Field::bit(3);
    /// Guest translation: GVA to GPA through guest CR3 tables.
    pub const GT_SUP: Field = Field::bit(4);
    /// Guest APIC physical processor interrupts.
    pub const GAPPI_SUP: Field = Field::bit(5);
    /// INVALIDATE_IOMMU_ALL.
    pub const IA_SUP: Field = Field::bit(6);
    /// Guest virtual APIC.
    pub const GA_SUP: Field = Field::bit(7);
    /// Hardware event registers.
    pub const HE_SUP: Field = Field::bit(8);
    /// Performance counters.
    pub const PC_SUP: Field = Field::bit(9);
    /// Host address translation size: levels of host tables, less four ([`hats_levels`]).
    pub const HATS: Field = Field::bits(11, 10);
    /// Guest address translation size: levels of guest tables, less four ([`gats_levels`]).
    pub const GATS: Field = Field::bits(13, 12);
    /// Guest CR3 table levels, less one: 0 to 2.
    pub const GLX_SUP: Field = Field::bits(15, 14);
    /// SMI filter.
    pub const SMIF_SUP: Field = Field::bits(17, 16);
    /// SMI filter register count.
    pub const SMIF_RC: Field = Field::bits(20, 18);
    /// Guest virtual APIC modes.
    pub const GAM_SUP: Field = Field::bits(23, 21);
    /// Two page request logs.
    pub const DUAL_PPR_LOG_SUP: Field = Field::bits(25, 24);
    /// Two event logs.
    pub const DUAL_EVENT_LOG_SUP: Field = Field::bits(29, 28);
    /// Secure ATS.
    pub const SATS_SUP: Field = Field::bit(31);
    /// PASID bits, less one.
    pub const PAS_MAX: Field = Field::bits(36, 32);
    /// User and supervisor page protection.
    pub const US_SUP: Field = Field::bit(37);
    /// Device table segments: up to `1 << n`.
    pub const DEV_TBL_SEG_SUP: Field = Field::bits(39, 38);
    /// Page request log overflow early warning.
    pub const PPR_OVRFLW_EARLY_SUP: Field = Field::bit(40);
    /// Automatic answers to page requests.
    pub const PPR_AUTO_RSP_SUP: Field = Field::bit(41);
    /// Memory access routing and control.
    pub const MARC_SUP: Field = Field::bits(43, 42);
    /// Blocking of StopMark messages.
    pub const BLK_STOP_MRK_SUP: Field = Field::bit(44);
    /// Performance optimisation register.
    pub const PERF_OPT_SUP: Field = Field::bit(45);
    /// MSI capability registers in MMIO.
    pub const MSI_CAP_MMIO_SUP: Field = Field::bit(46);
    /// Guest I/O protection: DTE.GIoV.
    pub const GIO_SUP: Field = Field::bit(48);
    /// Host accessed bits.
    pub const HA_SUP: Field = Field::bit(49);
    /// Enhanced page request handling: DTE.PPR.
    pub const EPH_SUP: Field = Field::bit(50);
    /// Attribute forwarding: DTE.AttrV.
    pub const ATTR_FW_SUP: Field = Field::bit(51);
    /// Host dirty bits.
    pub const HD_SUP: Field = Field::bit(52);
    /// The Type field of INVALIDATE_IOTLB_PAGES.
    pub const INV_IOTLB_TYPE_SUP: Field = Field::bit(54);
    /// Virtualised IOMMUs.
    pub const VIOMMU_SUP: Field = Field::bit(55);
    /// Guarded I/O of virtual machines.
    pub const VM_GUARD_IO_SUP: Field = Field::bit(56);
    /// VM table size.
    pub const VM_TABLE_SIZE: Field = Field::bits(60, 57);
    /// Accessed updates in guest tables can be turned off.
    pub const GA_UPDATE_DIS_SUP: Field = Field::bit(61);
    /// SEV-SNP.
    pub const SNP_SUP: Field = Field::bit(63);

    /// Levels of host tables that a value of [`HATS`] means; none where host translation is off (the value 3).
    pub const fn hats_levels(value: u64) -> Option<u8> {
        if value < 3 { Some(4 + value as u8) } else { None }
    }

    /// Levels of guest tables that a value of [`GATS`] means; none for a reserved value.
    pub const fn gats_levels(value: u64) -> Option<u8> {
        if value < 3 { Some(4 + value as u8) } else { None }
    }
}

/// Fields of the second extended feature register (MMIO 01A0h).
pub mod efr2 {
    use crate::Field;

    /// Tiered memory page migration.
    pub const TMPM_SUP: Field = Field::bit(2);
    /// Guest CR3 roots in DTEs may be guest physical.
    pub const GCR3_TRP_MODE_SUP: Field = Field::bit(3);
    /// Guest APIC physical processor interrupts can be masked by entry.
    pub const GAPPI_DIS_SUP: Field = Field::bit(4);
    /// Guest virtual interrupts with SNP.
    pub const SNP_AVIC_SUP: Field = Field::bits(7, 5);
    /// How many interrupts may be remapped for a device: 0: 512, 1: 2048.
    pub const NUM_INT_REMAP_SUP: Field = Field::bits(9, 8);
    /// The HyperTransport range is ordinary guest physical memory.
    pub const HT_RANGE_IGNORE: Field = Field::bit(11);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efr_masks() {
        // Linux amd_iommu_types.h, FEATURE_*; QEMU amd_iommu.h, AMDVI_FEATURE_*, AMDVI_HATS_MODE, AMDVI_GATS_MODE.
        assert_eq!(efr::PREF_SUP.mask(), 1 << 0);
        assert_eq!(efr::PPR_SUP.mask(), 1 << 1);
        assert_eq!(efr::XT_SUP.mask(), 1 << 2);
        assert_eq!(efr::NX_SUP.mask(), 1 << 3);
        assert_eq!(efr::GT_SUP.mask(), 1 << 4);
        assert_eq!(efr::IA_SUP.mask(), 1 << 6);
        assert_eq!(efr::GA_SUP.mask(), 1 << 7);
        assert_eq!(efr::HE_SUP.mask(), 1 << 8);
        assert_eq!(efr::PC_SUP.mask(), 1 << 9);
        assert_eq!(efr::HATS.mask(), 0x0c00);
        assert_eq!(efr::HATS.put(2), 2 << 10);
        assert_eq!(efr::GATS.mask(), 0x3000);
        assert_eq!(efr::GLX_SUP.mask(), 0xc000);
        assert_eq!(efr::PAS_MAX.mask(), 0x1f_0000_0000);
        assert_eq!(efr::GIO_SUP.mask(), 1 << 48);
        assert_eq!(efr::HA_SUP.mask(), 1 << 49);
        assert_eq!(efr::EPH_SUP.mask(), 1 << 50);
        assert_eq!(efr::HD_SUP.mask(), 1 << 52);
        assert_eq!(efr::SNP_SUP.mask(), 0x8000_0000_0000_0000);
        // FreeBSD amd_reg.h, AMDIOMMU_EFR_DEVTBLSEG_MASK.
        assert_eq!(efr::DEV_TBL_SEG_SUP.mask(), 0x0000_00c0_0000_0000);
    }

    #[test]
    fn efr_fields_that_only_bit_fields_give() {
        // Xen iommu-defs.h, union amd_iommu_ext_features, widths from bit 0: gappi 1 at 5; smif_sup 2, smif_rc 3,
        // gam_sup 3, dual_ppr 2 from 16; dual_event 2 at 28; sats at 31; us at 37; five fields from 40; type, viommu,
        // guard, table size 4, ga_update_dis from 54.
        assert_eq!(efr::GAPPI_SUP.mask(), 0x20);
        assert_eq!(efr::SMIF_SUP.mask(), 0x3_0000);
        assert_eq!(efr::SMIF_RC.mask(), 0x1c_0000);
        assert_eq!(efr::GAM_SUP.mask(), 0xe0_0000);
        assert_eq!(efr::DUAL_PPR_LOG_SUP.mask(), 0x300_0000);
        assert_eq!(efr::DUAL_EVENT_LOG_SUP.mask(), 0x3000_0000);
        assert_eq!(efr::SATS_SUP.mask(), 0x8000_0000);
        assert_eq!(efr::US_SUP.mask(), 0x20_0000_0000);
        assert_eq!(efr::PPR_OVRFLW_EARLY_SUP.mask(), 0x100_0000_0000);
        assert_eq!(efr::PPR_AUTO_RSP_SUP.mask(), 0x200_0000_0000);
        assert_eq!(efr::MARC_SUP.mask(), 0xc00_0000_0000);
        assert_eq!(efr::BLK_STOP_MRK_SUP.mask(), 0x1000_0000_0000);
        assert_eq!(efr::PERF_OPT_SUP.mask(), 0x2000_0000_0000);
        assert_eq!(efr::MSI_CAP_MMIO_SUP.mask(), 0x4000_0000_0000);
        assert_eq!(efr::ATTR_FW_SUP.mask(), 0x8_0000_0000_0000);
        assert_eq!(efr::INV_IOTLB_TYPE_SUP.mask(), 0x40_0000_0000_0000);
        assert_eq!(efr::VIOMMU_SUP.mask(), 0x80_0000_0000_0000);
        assert_eq!(efr::VM_GUARD_IO_SUP.mask(), 0x100_0000_0000_0000);
        assert_eq!(efr::VM_TABLE_SIZE.mask(), 0x1e00_0000_0000_0000);
        assert_eq!(efr::GA_UPDATE_DIS_SUP.mask(), 0x2000_0000_0000_0000);
    }

    #[test]
    fn efr2_masks() {
        // FreeBSD amd_reg.h, AMDIOMMU_EFR2_*.
        assert_eq!(efr2::TMPM_SUP.mask(), 0x4);
        assert_eq!(efr2::GCR3_TRP_MODE_SUP.mask(), 0x8);
        assert_eq!(efr2::GAPPI_DIS_SUP.mask(), 0x10);
        assert_eq!(efr2::SNP_AVIC_SUP.mask(), 0xe0);
        assert_eq!(efr2::NUM_INT_REMAP_SUP.mask(), 0x300);
        assert_eq!(efr2::HT_RANGE_IGNORE.mask(), 0x800);
    }

    #[test]
    fn sizes() {
        // FreeBSD amd_reg.h, AMDIOMMU_EFR_HATS_4LVL, _5LVL, _6LVL.
        assert_eq!(efr::hats_levels(efr::HATS.of(0x000)), Some(4));
        assert_eq!(efr::hats_levels(efr::HATS.of(0x400)), Some(5));
        assert_eq!(efr::hats_levels(efr::HATS.of(0x800)), Some(6));
        assert_eq!(efr::hats_levels(3), None);
        assert_eq!(efr::gats_levels(1), Some(5));
    }
}
