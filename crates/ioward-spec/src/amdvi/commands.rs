//! Entries of the command buffer (48882 §2.4): 128 bits, two words.

use crate::Field;

/// What to do: the module's constants named after commands.
pub const OPCODE: Field = Field::bits(63, 60);

/// COMPLETION_WAIT (§2.4.1).
pub const COMPLETION_WAIT: u64 = 0x1;
/// INVALIDATE_DEVTAB_ENTRY (§2.4.2).
pub const INVALIDATE_DEVTAB_ENTRY: u64 = 0x2;
/// INVALIDATE_IOMMU_PAGES (§2.4.3).
pub const INVALIDATE_IOMMU_PAGES: u64 = 0x3;
/// INVALIDATE_IOTLB_PAGES (§2.4.4); illegal unless the capability's IotlbSup is set.
pub const INVALIDATE_IOTLB_PAGES: u64 = 0x4;
/// INVALIDATE_INTERRUPT_TABLE (§2.4.5).
pub const INVALIDATE_INTERRUPT_TABLE: u64 = 0x5;
/// PREFETCH_IOMMU_PAGES (§2.4.6); illegal unless EFR.PreFSup.
pub const PREFETCH_IOMMU_PAGES: u64 = 0x6;
/// COMPLETE_PPR_REQUEST (§2.4.7); illegal unless EFR.PPRSup.
pub const COMPLETE_PPR_REQUEST: u64 = 0x7;
/// INVALIDATE_IOMMU_ALL (§2.4.8); illegal unless EFR.IASup.
pub const INVALIDATE_IOMMU_ALL: u64 = 0x8;
/// INSERT_GUEST_EVENT (§2.4.9); illegal unless EFR.vIOMMUSup.
pub const INSERT_GUEST_EVENT: u64 = 0x9;
/// RESET_VMMIO (§2.4.10); illegal unless EFR.vIOMMUSup.
pub const RESET_VMMIO: u64 = 0xa;

/// The commands that invalidate pages say how many by the address, if their S is set: with the lowest zero bit of
/// address bits `[63:12]` at bit `n`, it is the `1 << (n + 1)` bytes around the address. With S clear it is 4 KiB.
pub mod size {
    /// The address that means all addresses, to be used with S set (§2.4.3).
    pub const EVERYTHING: u64 = 0x7fff_ffff_ffff_f000;
}

/// Operands of COMPLETION_WAIT.
pub mod completion_wait {
    use super::Field;
    /// Store: write the data when every earlier command has completed.
    pub const S: Field = Field::bit(0);
    /// Interrupt: set status.ComWaitInt, and raise an interrupt if control.ComWaitIntEn.
    pub const I: Field = Field::bit(1);
    /// Flush: later commands wait until every earlier one has completed.
    pub const F: Field = Field::bit(2);
    /// Where to store, a multiple of 8; the field in place is the address.
    pub const STORE_ADDRESS: Field = Field::bits(51, 3);
    /// What to store.
    pub const STORE_DATA: Field = Field::bits(127, 64);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0ff0_0000_0000_0000, 0];
}

/// Operands of INVALIDATE_DEVTAB_ENTRY and INVALIDATE_INTERRUPT_TABLE.
pub mod invalidate_device {
    use super::Field;
    /// Whose entry, or whose interrupt table.
    pub const DEVICE_ID: Field = Field::bits(15, 0);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0fff_ffff_ffff_0000, u64::MAX];
}

/// Operands of INVALIDATE_IOMMU_PAGES.
pub mod invalidate_pages {
    use super::Field;
    /// PASID, with GN set.
    pub const PASID: Field = Field::bits(19, 0);
    /// Domain.
    pub const DOMAIN_ID: Field = Field::bits(47, 32);
    /// The address holds a size.
    pub const S: Field = Field::bit(64);
    /// Directory entries are forgotten too, not only page translations.
    pub const PDE: Field = Field::bit(65);
    /// The address is a guest virtual one of the PASID; else it is guest physical and names every translation of the
    /// domain built on it.
    pub const GN: Field = Field::bit(66);
    /// Address; the field in place is the address.
    pub const ADDRESS: Field = Field::bits(127, 76);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0fff_0000_fff0_0000, 0xff8];
}

/// Operands of INVALIDATE_IOTLB_PAGES.
pub mod invalidate_iotlb {
    use super::Field;
    /// Which device is asked to forget.
    pub const DEVICE_ID: Field = Field::bits(15, 0);
    /// PASID bits `[15:8]`, with GN set.
    pub const PASID_15_8: Field = Field::bits(23, 16);
    /// How many invalidations may be outstanding at the device.
    pub const MAX_PEND: Field = Field::bits(31, 24);
    /// Groups invalidations for MAX_PEND; the device ID of the function that has the IOTLB.
    pub const QUEUE_ID: Field = Field::bits(47, 32);
    /// PASID bits `[7:0]`, with GN set.
    pub const PASID_7_0: Field = Field::bits(55, 48);
    /// PASID bits `[19:16]`, with GN set.
    pub const PASID_19_16: Field = Field::bits(59, 56);
    /// The address holds a size.
    pub const S: Field = Field::bit(64);
    /// The invalidation carries the PASID.
    pub const GN: Field = Field::bit(66);
    /// Kind of invalidation (EFR.InvIotlbTypeSup; reserved without).
    pub const TYPE: Field = Field::bits(69, 68);
    /// Address; the field in place is the address.
    pub const ADDRESS: Field = Field::bits(127, 76);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0, 0xfca];
}

/// Operands of PREFETCH_IOMMU_PAGES.
pub mod prefetch {
    use super::Field;
    /// For which device.
    pub const DEVICE_ID: Field = Field::bits(15, 0);
    /// How many pages, less one.
    pub const PF_COUNT: Field = Field::bits(31, 24);
    /// PASID, with GN set.
    pub const PASID: Field = Field::bits(51, 32);
    /// The address holds a size.
    pub const S: Field = Field::bit(64);
    /// The address is a guest virtual one of the PASID.
    pub const GN: Field = Field::bit(66);
    /// What is cached of the pages is invalidated first.
    pub const INVAL: Field = Field::bit(68);
    /// Address; the field in place is the address.
    pub const ADDRESS: Field = Field::bits(127, 76);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0ff0_0000_00ff_0000, 0xfea];
}

/// Operands of COMPLETE_PPR_REQUEST.
pub mod complete_ppr {
    use super::Field;
    /// Which device asked.
    pub const DEVICE_ID: Field = Field::bits(15, 0);
    /// PASID, with GN set.
    pub const PASID: Field = Field::bits(51, 32);
    /// The answer carries the PASID.
    pub const GN: Field = Field::bit(66);
    /// The request's group index, as the log gave it.
    pub const COMPLETION_TAG: Field = Field::bits(104, 96);
    /// The response code of PCI Express: 0 success, 1 invalid request, 15 failure.
    pub const COMPLETION_STATUS: Field = Field::bits(111, 108);
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0ff0_0000_ffff_0000, 0xffff_0e00_ffff_fffb];
}

/// Operands of INVALIDATE_IOMMU_ALL: none.
pub mod invalidate_all {
    /// Reserved bits, a mask for each word.
    pub const RESERVED: [u64; 2] = [0x0fff_ffff_ffff_ffff, u64::MAX];
}

/// Operands of INSERT_GUEST_EVENT.
pub mod insert_guest_event {
    use super::Field;
    /// Into which guest's event log.
    pub const GUEST_ID: Field = Field::bits(47, 32);
}

/// Operands of RESET_VMMIO.
pub mod reset_vmmio {
    use super::Field;
    /// Whose registers.
    pub const GUEST_ID: Field = Field::bits(15, 0);
    /// Of every guest.
    pub const ALL: Field = Field::bit(27);
    /// The guest's command buffer too.
    pub const VCMD: Field = Field::bit(31);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    fn reserved(fields: &[Field]) -> [u64; 2] {
        [!(cover(fields, 0) | OPCODE.mask()), !cover(fields, 1)]
    }

    #[test]
    fn opcodes() {
        // QEMU amd_iommu.h, AMDVI_CMD_*; the last two from FreeBSD amd_reg.h, AMDIOMMU_CMD_*.
        assert_eq!(OPCODE.mask(), 0xf000_0000_0000_0000);
        let codes = [
            COMPLETION_WAIT,
            INVALIDATE_DEVTAB_ENTRY,
            INVALIDATE_IOMMU_PAGES,
            INVALIDATE_IOTLB_PAGES,
            INVALIDATE_INTERRUPT_TABLE,
            PREFETCH_IOMMU_PAGES,
            COMPLETE_PPR_REQUEST,
            INVALIDATE_IOMMU_ALL,
            INSERT_GUEST_EVENT,
            RESET_VMMIO,
        ];
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa]);
        // Linux amd_iommu_types.h, CMD_INV_IOMMU_ALL_PAGES_ADDRESS, whose low 12 bits the command has no room for.
        assert_eq!(size::EVERYTHING, 0x7fff_ffff_ffff_ffff & !0xfff);
    }

    #[test]
    fn completion_wait_masks() {
        // Xen iommu-defs.h, IOMMU_COMP_WAIT_*_MASK, of 32-bit words 0 and 1.
        use completion_wait::*;
        assert_eq!(S.mask(), 0x1);
        assert_eq!(I.mask(), 0x2);
        assert_eq!(F.mask(), 0x4);
        assert_eq!(STORE_ADDRESS.mask(), 0x000f_ffff_ffff_fff8);
        assert_eq!((STORE_DATA.word, STORE_DATA.mask()), (1, u64::MAX));
        assert_eq!(RESERVED, reserved(&[S, I, F, STORE_ADDRESS, STORE_DATA]));
    }

    #[test]
    fn invalidation_masks() {
        // Linux amd_iommu_types.h, CMD_INV_IOMMU_PAGES_SIZE_MASK, _PDE_MASK, _GN_MASK; Xen iommu-defs.h,
        // IOMMU_INV_DEVTAB_ENTRY_*, IOMMU_INV_IOMMU_PAGES_*, IOMMU_INV_IOTLB_PAGES_*.
        assert_eq!(invalidate_device::DEVICE_ID.mask(), 0xffff);
        assert_eq!(invalidate_device::RESERVED, reserved(&[invalidate_device::DEVICE_ID]));
        {
            use invalidate_pages::*;
            assert_eq!(PASID.mask(), 0xf_ffff);
            assert_eq!(DOMAIN_ID.mask(), 0x0000_ffff_0000_0000);
            assert_eq!((S.word, S.mask()), (1, 0x1));
            assert_eq!((PDE.word, PDE.mask()), (1, 0x2));
            assert_eq!((GN.word, GN.mask()), (1, 0x4));
            assert_eq!((ADDRESS.word, ADDRESS.mask()), (1, 0xffff_ffff_ffff_f000));
            assert_eq!(RESERVED, reserved(&[PASID, DOMAIN_ID, S, PDE, GN, ADDRESS]));
        }
        {
            use invalidate_iotlb::*;
            assert_eq!(DEVICE_ID.mask(), 0x0000_ffff);
            assert_eq!(PASID_15_8.mask(), 0x00ff_0000);
            assert_eq!(MAX_PEND.mask(), 0xff00_0000);
            assert_eq!(QUEUE_ID.mask(), 0x0000_ffff_0000_0000);
            assert_eq!(PASID_7_0.mask() | PASID_19_16.mask(), 0x0fff_0000_0000_0000);
            assert_eq!((S.word, S.mask()), (1, 0x1));
            assert_eq!((GN.word, GN.mask()), (1, 0x4));
            assert_eq!(TYPE.mask(), 0x30);
            assert_eq!(ADDRESS.mask(), 0xffff_ffff_ffff_f000);
            let all =
                [DEVICE_ID, PASID_15_8, MAX_PEND, QUEUE_ID, PASID_7_0, PASID_19_16, S, GN, TYPE, ADDRESS];
            assert_eq!(RESERVED, reserved(&all));
        }
        assert_eq!(invalidate_all::RESERVED, reserved(&[]));
    }

    #[test]
    fn the_pasid_of_an_iotlb_invalidation_lies_in_three_pieces() {
        // Linux drivers/iommu/amd/iommu.c puts PASID >> 8 into word 0 and the low byte into word 1, both at bit 16: for
        // device 0x0120, PASID 0x4567 and a queue depth of 32 that is 0x20450120, 0x40670120.
        use invalidate_iotlb::*;
        let mut words = [0; 2];
        OPCODE.set(&mut words, INVALIDATE_IOTLB_PAGES);
        DEVICE_ID.set(&mut words, 0x0120);
        QUEUE_ID.set(&mut words, 0x0120);
        MAX_PEND.set(&mut words, 32);
        PASID_7_0.set(&mut words, 0x67);
        PASID_15_8.set(&mut words, 0x45);
        assert_eq!(words[0], 0x4067_0120_2045_0120);
    }

    #[test]
    fn masks_of_the_rest() {
        // FreeBSD amd_reg.h, struct amdiommu_cmd_*; completion status from Linux, PPR_STATUS_SHIFT (12) and _MASK (0xf).
        {
            use prefetch::*;
            assert_eq!(PF_COUNT.mask(), 0xff00_0000);
            assert_eq!(PASID.mask(), 0x000f_ffff_0000_0000);
            assert_eq!((INVAL.word, INVAL.mask()), (1, 0x10));
            assert_eq!(RESERVED, reserved(&[DEVICE_ID, PF_COUNT, PASID, S, GN, INVAL, ADDRESS]));
        }
        {
            use complete_ppr::*;
            assert_eq!(PASID.mask(), 0x000f_ffff_0000_0000);
            assert_eq!((GN.word, GN.mask()), (1, 0x4));
            assert_eq!(COMPLETION_TAG.mask(), 0x01ff_0000_0000);
            assert_eq!(COMPLETION_STATUS.mask(), 0xf000_0000_0000);
            assert_eq!(RESERVED, reserved(&[DEVICE_ID, PASID, GN, COMPLETION_TAG, COMPLETION_STATUS]));
        }
        assert_eq!(insert_guest_event::GUEST_ID.mask(), 0x0000_ffff_0000_0000);
        assert_eq!(reset_vmmio::GUEST_ID.mask(), 0xffff);
        assert_eq!(reset_vmmio::ALL.mask(), 0x0800_0000);
        assert_eq!(reset_vmmio::VCMD.mask(), 0x8000_0000);
    }
}
