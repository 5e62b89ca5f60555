//! The capability block in PCI configuration space (48882 §3.2): six 32-bit registers.
//!
//! Fields are of one 32-bit register, which is the low half of a word here.

/// Offsets from the block's start, in bytes.
pub mod offset {
    /// Capability header (§3.2.1).
    pub const HEADER: usize = 0x00;
    /// Low half of the address of the MMIO registers (§3.2.2).
    pub const BASE_LOW: usize = 0x04;
    /// High half of that address (§3.2.3).
    pub const BASE_HIGH: usize = 0x08;
    /// Range of devices (§3.2.4).
    pub const RANGE: usize = 0x0c;
    /// Miscellaneous information 0 (§3.2.5).
    pub const MISC0: usize = 0x10;
    /// Miscellaneous information 1, where [`CAP_EXT`](super::header::CAP_EXT) (§3.2.6).
    pub const MISC1: usize = 0x14;
}

/// The capability ID: secure device.
pub const CAP_ID_SECURE_DEVICE: u64 = 0x0f;
/// The capability type: an IOMMU.
pub const CAP_TYPE_IOMMU: u64 = 3;

/// Fields of the header.
pub mod header {
    use crate::Field;
    /// Capability ID.
    pub const CAP_ID: Field = Field::bits(7, 0);
    /// Offset of the next capability.
    pub const CAP_PTR: Field = Field::bits(15, 8);
    /// Capability type.
    pub const CAP_TYPE: Field = Field::bits(18, 16);
    /// Capability revision.
    pub const CAP_REV: Field = Field::bits(23, 19);
    /// Devices with IOTLBs (ATS) are supported.
    pub const IOTLB_SUP: Field = Field::bit(24);
    /// HyperTransport tunnel translation.
    pub const HT_TUNNEL: Field = Field::bit(25);
    /// Not-present table entries are cached: making one present needs an invalidation.
    pub const NP_CACHE: Field = Field::bit(26);
    /// The extended feature register exists.
    pub const EFR_SUP: Field = Field::bit(27);
    /// Miscellaneous information 1 exists.
    pub const CAP_EXT: Field = Field::bit(28);
}

/// Fields of the two base address registers.
pub mod base {
    use crate::Field;
    /// Low register: the MMIO registers answer, and this block's base is locked.
    pub const ENABLE: Field = Field::bit(0);
    /// Low register: address bits in place. Bits `[18:14]` are zero where the block is 512 KiB (EFR.PCSup).
    pub const ADDRESS_LOW: Field = Field::bits(31, 14);
    /// High register: address bits `[63:32]`.
    pub const ADDRESS_HIGH: Field = Field::bits(31, 0);
}

/// Fields of the range register.
pub mod range {
    use crate::Field;
    /// HyperTransport unit ID.
    pub const UNIT_ID: Field = Field::bits(4, 0);
    /// The rest of the register means something.
    pub const RNG_VALID: Field = Field::bit(7);
    /// Bus.
    pub const BUS_NUMBER: Field = Field::bits(15, 8);
    /// First device and function.
    pub const FIRST_DEVICE: Field = Field::bits(23, 16);
    /// Last device and function.
    pub const LAST_DEVICE: Field = Field::bits(31, 24);
}

/// Fields of miscellaneous information 0.
pub mod misc0 {
    use crate::Field;
    /// MSI number for events and completion.
    pub const MSI_NUM: Field = Field::bits(4, 0);
    /// Guest virtual address size: 2 means 48 bits; other values are reserved.
    pub const GVA_SIZE: Field = Field::bits(7, 5);
    /// Physical address size, in bits.
    pub const PA_SIZE: Field = Field::bits(14, 8);
    /// Virtual address size, in bits: 32, 40, 48 or 64.
    pub const VA_SIZE: Field = Field::bits(21, 15);
    /// The ATS response address range of HyperTransport is reserved.
    pub const HT_ATS_RESV: Field = Field::bit(22);
    /// MSI number for page requests.
    pub const MSI_NUM_PPR: Field = Field::bits(31, 27);
}

/// Fields of miscellaneous information 1.
pub mod misc1 {
    use crate::Field;
    /// MSI number for the guest virtual APIC log.
    pub const MSI_NUM_GA: Field = Field::bits(4, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        // VirtualBox iommu-amd.h, IOMMU_BF_CAPHDR_*, IOMMU_BF_BASEADDR_LO_*, IOMMU_BF_RANGE_*, IOMMU_BF_MISCINFO_*.
        assert_eq!(header::CAP_ID.mask(), 0x0000_00ff);
        assert_eq!(header::CAP_PTR.mask(), 0x0000_ff00);
        assert_eq!(header::CAP_TYPE.mask(), 0x0007_0000);
        assert_eq!(header::CAP_REV.mask(), 0x00f8_0000);
        assert_eq!(header::IOTLB_SUP.mask(), 0x0100_0000);
        assert_eq!(header::HT_TUNNEL.mask(), 0x0200_0000);
        assert_eq!(header::NP_CACHE.mask(), 0x0400_0000);
        assert_eq!(header::EFR_SUP.mask(), 0x0800_0000);
        assert_eq!(header::CAP_EXT.mask(), 0x1000_0000);
        assert_eq!(base::ENABLE.mask(), 0x0000_0001);
        assert_eq!(base::ADDRESS_LOW.mask(), 0xfff8_0000 | 0x0007_c000);
        assert_eq!(range::UNIT_ID.mask(), 0x0000_001f);
        assert_eq!(range::RNG_VALID.mask(), 0x0000_0080);
        assert_eq!(range::BUS_NUMBER.mask(), 0x0000_ff00);
        assert_eq!(range::FIRST_DEVICE.mask(), 0x00ff_0000);
        assert_eq!(range::LAST_DEVICE.mask(), 0xff00_0000);
        assert_eq!(misc0::MSI_NUM.mask(), 0x0000_001f);
        assert_eq!(misc0::GVA_SIZE.mask(), 0x0000_00e0);
        assert_eq!(misc0::PA_SIZE.mask(), 0x0000_7f00);
        assert_eq!(misc0::VA_SIZE.mask(), 0x003f_8000);
        assert_eq!(misc0::HT_ATS_RESV.mask(), 0x0040_0000);
        assert_eq!(misc0::MSI_NUM_PPR.mask(), 0xf800_0000);
        assert_eq!(misc1::MSI_NUM_GA.mask(), 0x0000_001f);
    }

    #[test]
    fn values_that_qemu_puts_there() {
        // QEMU amd_iommu.h: AMDVI_CAPAB_ID_SEC, AMDVI_CAPAB_INIT_TYPE, and AMDVI_MAX_VA_ADDR | _PH_ADDR | _GVA_ADDR as
        // written into its register: 48 << 5, 40 << 8, 48 << 15 (the first of which is no legal GVAsize).
        assert_eq!(header::CAP_ID.put(CAP_ID_SECURE_DEVICE), 0xf);
        assert_eq!(header::CAP_TYPE.put(CAP_TYPE_IOMMU), 3 << 16);
        assert_eq!(misc0::PA_SIZE.put(40), 40 << 8);
        assert_eq!(misc0::VA_SIZE.put(48), 48 << 15);
    }
}
