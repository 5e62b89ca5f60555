//! The control register (MMIO 0018h).

use crate::Field;

/// The IOMMU translates. **Clear, every request passes through.**
pub const IOMMU_EN: Field = Field::bit(0);
/// HyperTransport tunnel traffic is translated.
pub const HT_TUN_EN: Field = Field::bit(1);
/// Events are logged.
pub const EVENT_LOG_EN: Field = Field::bit(2);
/// A logged event, or an overflow, raises an interrupt.
pub const EVENT_INT_EN: Field = Field::bit(3);
/// A COMPLETION_WAIT with I set raises an interrupt.
pub const COM_WAIT_INT_EN: Field = Field::bit(4);
/// How long to wait for a device's IOTLB ([`inv_timeout`]).
pub const INV_TIMEOUT: Field = Field::bits(7, 5);
/// Posted writes pass upstream posted writes.
pub const PASS_PW: Field = Field::bit(8);
/// Responses pass posted writes.
pub const RES_PASS_PW: Field = Field::bit(9);
/// The IOMMU's own reads of the device table snoop CPU caches.
pub const COHERENT: Field = Field::bit(10);
/// The IOMMU's own reads are isochronous.
pub const ISOC: Field = Field::bit(11);
/// Commands are fetched. It must be clear while base or length of the buffer change.
pub const CMD_BUF_EN: Field = Field::bit(12);
/// Page requests are logged (EFR.PPRSup).
pub const PPR_LOG_EN: Field = Field::bit(13);
/// A logged page request raises an interrupt.
pub const PPR_INT_EN: Field = Field::bit(14);
/// Page requests are processed.
pub const PPR_EN: Field = Field::bit(15);
/// Guest translation is in use (EFR.GTSup): GV, GLX and the guest CR3 root of DTEs mean something.
pub const GT_EN: Field = Field::bit(16);
/// Guest virtual APIC (EFR.GASup): interrupt remapping entries have 128 bits.
pub const GA_EN: Field = Field::bit(17);
/// Consecutive retry window of a HyperTransport device.
pub const CRW: Field = Field::bits(21, 18);
/// SMI filtering.
pub const SMIF_EN: Field = Field::bit(22);
/// Self write-back disable.
pub const SLF_WB_DIS: Field = Field::bit(23);
/// SMI filter logging.
pub const SMIF_LOG_EN: Field = Field::bit(24);
/// Guest virtual APIC mode.
pub const GAM_EN: Field = Field::bits(27, 25);
/// Guest virtual APIC log.
pub const GA_LOG_EN: Field = Field::bit(28);
/// The guest virtual APIC log raises interrupts.
pub const GA_INT_EN: Field = Field::bit(29);
/// Two page request logs.
pub const DUAL_PPR_LOG_EN: Field = Field::bits(31, 30);
/// Two event logs.
pub const DUAL_EVENT_LOG_EN: Field = Field::bits(33, 32);
/// Device table segments: `1 << n`, up to 8.
pub const DEV_TBL_SEG_EN: Field = Field::bits(36, 34);
/// What becomes of privileged requests.
pub const PRIV_ABRT_EN: Field = Field::bits(38, 37);
/// Page requests are answered when the log is full.
pub const PPR_AUTO_RSP_EN: Field = Field::bit(39);
/// Memory access routing and control.
pub const MARC_EN: Field = Field::bit(40);
/// Block StopMark messages.
pub const BLK_STOP_MRK_EN: Field = Field::bit(41);
/// Every page request is answered at once.
pub const PPR_AUTO_RSP_AON: Field = Field::bit(42);
/// How many interrupts may be remapped for a device: 0: 512, 1: 2048.
pub const NUM_INT_REMAP_MODE: Field = Field::bits(44, 43);
/// Enhanced page request handling (EFR.EPHSup).
pub const EPH_EN: Field = Field::bit(45);
/// Host accessed and dirty updates.
pub const HAD_UPDATE: Field = Field::bits(47, 46);
/// No dirty updates in guest tables.
pub const GD_UPDATE_DIS: Field = Field::bit(48);
/// x2APIC: destinations have 32 bits.
pub const XT_EN: Field = Field::bit(50);
/// The IOMMU's own interrupts follow the x2APIC registers.
pub const INT_CAP_XT_EN: Field = Field::bit(51);
/// Guests' command buffers are processed.
pub const VCMD_EN: Field = Field::bit(52);
/// Virtualised IOMMUs.
pub const VIOMMU_EN: Field = Field::bit(53);
/// No accessed updates in guest tables.
pub const GA_UPDATE_DIS: Field = Field::bit(54);
/// Guest APIC physical processor interrupts.
pub const GAPPI_EN: Field = Field::bit(55);
/// Tiered memory page migration.
pub const TMPM_EN: Field = Field::bit(56);
/// DTE guest CR3 roots are guest physical addresses.
pub const GGCR3_TRP_MODE: Field = Field::bit(58);
/// Interrupt remapping entries are not cached.
pub const IRT_CACHE_DIS: Field = Field::bit(59);
/// Where guest buffers' addresses are translated.
pub const GST_BUFFER_TRP_MODE: Field = Field::bit(60);
/// Guest virtual interrupts with SNP.
pub const SNP_AVIC_EN: Field = Field::bits(63, 61);

/// Values of [`INV_TIMEOUT`].
pub mod inv_timeout {
    /// For ever.
    pub const NONE: u64 = 0;
    /// 1 ms.
    pub const MS_1: u64 = 1;
    /// 10 ms.
    pub const MS_10: u64 = 2;
    /// 100 ms.
    pub const MS_100: u64 = 3;
    /// 1 s.
    pub const S_1: u64 = 4;
    /// 10 s.
    pub const S_10: u64 = 5;
    /// 100 s.
    pub const S_100: u64 = 6;
}

/// Bits that are reserved whatever the features.
pub const RESERVED: u64 = 1 << 49 | 1 << 57;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    #[test]
    fn masks() {
        // FreeBSD amd_reg.h, AMDIOMMU_CTRL_*.
        let pairs = [
            (IOMMU_EN, 0x0000_0000_0000_0001),
            (HT_TUN_EN, 0x0000_0000_0000_0002),
            (EVENT_LOG_EN, 0x0000_0000_0000_0004),
            (EVENT_INT_EN, 0x0000_0000_0000_0008),
            (COM_WAIT_INT_EN, 0x0000_0000_0000_0010),
            (INV_TIMEOUT, 0x0000_0000_0000_00e0),
            (PASS_PW, 0x0000_0000_0000_0100),
            (RES_PASS_PW, 0x0000_0000_0000_0200),
            (COHERENT, 0x0000_0000_0000_0400),
            (ISOC, 0x0000_0000_0000_0800),
            (CMD_BUF_EN, 0x0000_0000_0000_1000),
            (PPR_LOG_EN, 0x0000_0000_0000_2000),
            (PPR_INT_EN, 0x0000_0000_0000_4000),
            (PPR_EN, 0x0000_0000_0000_8000),
            (GT_EN, 0x0000_0000_0001_0000),
            (GA_EN, 0x0000_0000_0002_0000),
            (SMIF_EN, 0x0000_0000_0040_0000),
            (SLF_WB_DIS, 0x0000_0000_0080_0000),
            (SMIF_LOG_EN, 0x0000_0000_0100_0000),
            (GAM_EN, 0x0000_0000_0e00_0000),
            (GA_LOG_EN, 0x0000_0000_1000_0000),
            (GA_INT_EN, 0x0000_0000_2000_0000),
            (DUAL_PPR_LOG_EN, 0x0000_0000_c000_0000),
            (DUAL_EVENT_LOG_EN, 0x0000_0003_0000_0000),
            (DEV_TBL_SEG_EN, 0x0000_001c_0000_0000),
            (PRIV_ABRT_EN, 0x0000_0060_0000_0000),
            (PPR_AUTO_RSP_EN, 0x0000_0080_0000_0000),
            (MARC_EN, 0x0000_0100_0000_0000),
            (BLK_STOP_MRK_EN, 0x0000_0200_0000_0000),
            (PPR_AUTO_RSP_AON, 0x0000_0400_0000_0000),
            (NUM_INT_REMAP_MODE, 0x0000_1800_0000_0000),
            (EPH_EN, 0x0000_2000_0000_0000),
            (HAD_UPDATE, 0x0000_c000_0000_0000),
            (GD_UPDATE_DIS, 0x0001_0000_0000_0000),
            (XT_EN, 0x0004_0000_0000_0000),
            (INT_CAP_XT_EN, 0x0008_0000_0000_0000),
            (VCMD_EN, 0x0010_0000_0000_0000),
            (VIOMMU_EN, 0x0020_0000_0000_0000),
            (GA_UPDATE_DIS, 0x0040_0000_0000_0000),
            (GAPPI_EN, 0x0080_0000_0000_0000),
            (TMPM_EN, 0x0100_0000_0000_0000),
            (GGCR3_TRP_MODE, 0x0400_0000_0000_0000),
            (IRT_CACHE_DIS, 0x0800_0000_0000_0000),
            (GST_BUFFER_TRP_MODE, 0x1000_0000_0000_0000),
            (SNP_AVIC_EN, 0xe000_0000_0000_0000),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours.mask(), theirs);
        }
        // Xen iommu-defs.h, union amd_iommu_control: four bits after ga_en.
        assert_eq!(CRW.mask(), 0x003c_0000);
        assert_eq!(cover(&pairs.map(|(field, _)| field), 0) | CRW.mask(), !RESERVED);
    }
}
