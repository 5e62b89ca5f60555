//! Interrupt remapping table entries (48882 §2.2.5): 32 bits, or 128 where control.GAEn is set.

/// Entries of 32 bits, without guest virtual APIC (§2.2.5.1).
pub mod basic {
    use crate::Field;
    /// Bytes of an entry.
    pub const BYTES: u64 = 4;
    /// The interrupt is remapped, else target-aborted.
    pub const REMAP_EN: Field = Field::bit(0);
    /// No IO_PAGE_FAULT is logged for it.
    pub const SUP_IO_PF: Field = Field::bit(1);
    /// Delivery type: 0 fixed, 1 arbitrated.
    pub const INT_TYPE: Field = Field::bits(4, 2);
    /// End of interrupt is requested.
    pub const RQ_EOI: Field = Field::bit(5);
    /// Destination mode: logical, else physical.
    pub const DM: Field = Field::bit(6);
    /// Zero here.
    pub const GUEST_MODE: Field = Field::bit(7);
    /// Destination.
    pub const DESTINATION: Field = Field::bits(15, 8);
    /// Vector.
    pub const VECTOR: Field = Field::bits(23, 16);
}

/// Entries of 128 bits, to the host's own interrupt controllers: guest mode clear (§2.2.5.2).
pub mod wide {
    use crate::Field;
    /// Bytes of an entry.
    pub const BYTES: u64 = 16;
    /// The interrupt is remapped, else target-aborted.
    pub const REMAP_EN: Field = Field::bit(0);
    /// No IO_PAGE_FAULT is logged for it.
    pub const SUP_IO_PF: Field = Field::bit(1);
    /// Delivery type: 0 fixed, 1 arbitrated.
    pub const INT_TYPE: Field = Field::bits(4, 2);
    /// End of interrupt is requested.
    pub const RQ_EOI: Field = Field::bit(5);
    /// Destination mode: logical, else physical.
    pub const DM: Field = Field::bit(6);
    /// Zero here.
    pub const GUEST_MODE: Field = Field::bit(7);
    /// Destination bits `[23:0]`; only `[7:0]` without control.XTEn.
    pub const DESTINATION_23_0: Field = Field::bits(31, 8);
    /// Vector.
    pub const VECTOR: Field = Field::bits(71, 64);
    /// Destination bits `[31:24]`, with control.XTEn.
    pub const DESTINATION_31_24: Field = Field::bits(127, 120);
}

/// Entries of 128 bits, to a guest's virtual APIC: guest mode set (§2.2.5.2).
pub mod guest {
    use crate::Field;
    /// The interrupt is remapped, else target-aborted.
    pub const REMAP_EN: Field = Field::bit(0);
    /// No IO_PAGE_FAULT is logged for it.
    pub const SUP_IO_PF: Field = Field::bit(1);
    /// It is logged when the guest does not run.
    pub const GA_LOG_INTR: Field = Field::bit(2);
    /// No physical processor interrupt is raised (EFR2.GAPPIDisSup).
    pub const GAPPI_DIS: Field = Field::bit(5);
    /// The guest's processor runs.
    pub const IS_RUN: Field = Field::bit(6);
    /// One here.
    pub const GUEST_MODE: Field = Field::bit(7);
    /// Bits `[23:0]` of the processor to ring.
    pub const DESTINATION_23_0: Field = Field::bits(31, 8);
    /// What the log calls the guest's processor.
    pub const GA_TAG: Field = Field::bits(63, 32);
    /// Vector.
    pub const VECTOR: Field = Field::bits(71, 64);
    /// Virtual APIC backing page; the field in place is its system physical address.
    pub const GA_ROOT_POINTER: Field = Field::bits(115, 76);
    /// Bits `[31:24]` of the processor to ring.
    pub const DESTINATION_31_24: Field = Field::bits(127, 120);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_masks() {
        // QEMU amd_iommu.h, union irte: widths 1, 1, 3, 1, 1, 1, 8, 8 from bit 0.
        use basic::*;
        let fields = [REMAP_EN, SUP_IO_PF, INT_TYPE, RQ_EOI, DM, GUEST_MODE, DESTINATION, VECTOR];
        let masks = [0x1, 0x2, 0x1c, 0x20, 0x40, 0x80, 0xff00, 0xff_0000];
        assert_eq!(fields.map(|field| field.mask()), masks);
    }

    #[test]
    fn wide_masks() {
        // Linux amd_iommu_types.h, union irte_ga_lo and irte_ga_hi.
        {
            use wide::*;
            let fields = [REMAP_EN, SUP_IO_PF, INT_TYPE, RQ_EOI, DM, GUEST_MODE, DESTINATION_23_0];
            assert_eq!(fields.map(|f| f.mask()), [0x1, 0x2, 0x1c, 0x20, 0x40, 0x80, 0xffff_ff00]);
            assert_eq!((VECTOR.word, VECTOR.mask()), (1, 0xff));
            assert_eq!(DESTINATION_31_24.mask(), 0xff00_0000_0000_0000);
        }
        {
            use guest::*;
            let fields = [REMAP_EN, SUP_IO_PF, GA_LOG_INTR, IS_RUN, GUEST_MODE, DESTINATION_23_0];
            assert_eq!(fields.map(|f| f.mask()), [0x1, 0x2, 0x4, 0x40, 0x80, 0xffff_ff00]);
            // FreeBSD amd_reg.h, struct amdiommu_irte_guest_vapic: gappidis after galogintr and two reserved bits.
            assert_eq!(GAPPI_DIS.mask(), 0x20);
            assert_eq!(GA_TAG.mask(), 0xffff_ffff_0000_0000);
            assert_eq!((VECTOR.word, VECTOR.mask()), (1, 0xff));
            assert_eq!(GA_ROOT_POINTER.mask(), 0x000f_ffff_ffff_f000);
            assert_eq!(DESTINATION_31_24.mask(), 0xff00_0000_0000_0000);
        }
    }
}
