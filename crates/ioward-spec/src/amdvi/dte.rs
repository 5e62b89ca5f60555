//! The device table entry (48882 §2.2.2.1, Table 7): 256 bits, one for each device ID.
//!
//! Hardware reads an entry whole. Software that cannot write it whole writes the half with V last when it makes an
//! entry valid and first when it makes it invalid (48882 §2.2.2.2), and follows every change with
//! INVALIDATE_DEVTAB_ENTRY.

use crate::Field;

/// Bytes of an entry.
pub const BYTES: usize = 32;
/// 64-bit words of an entry.
pub const WORDS: usize = 4;

/// Valid: bits `[127:1]` mean something. **Clear, the device's requests pass through untranslated.**
pub const V: Field = Field::bit(0);
/// Translation information valid. With V set and this clear, a request that would need a table walk is terminated
/// (Table 8).
pub const TV: Field = Field::bit(1);
/// Host access and dirty: which bits hardware updates in host tables ([`had`]).
pub const HAD: Field = Field::bits(8, 7);
/// Levels of the host page table, 1 to 6; 0: host translation is off, guest physical is system physical; 7 is reserved.
pub const MODE: Field = Field::bits(11, 9);
/// Root of the host page table; the field in place is the system physical address.
pub const HOST_PAGE_TABLE_ROOT: Field = Field::bits(51, 12);
/// Peripheral page requests are taken (only with EFR.EPHSup; reserved without).
pub const PPR: Field = Field::bit(52);
/// Answers to page requests carry the PASID.
pub const GPRP: Field = Field::bit(53);
/// Guest I/O protection valid: requests without a PASID are translated as with PASID zero (EFR.GIoSup).
pub const GIOV: Field = Field::bit(54);
/// Guest translation valid (EFR.GTSup): GLX and the guest CR3 table root mean something.
pub const GV: Field = Field::bit(55);
/// Levels of the guest CR3 table, less one: 0 to 2; 3 is reserved.
pub const GLX: Field = Field::bits(57, 56);
/// Guest CR3 table root pointer, address bits `[14:12]`.
pub const GCR3_TRP_14_12: Field = Field::bits(60, 58);
/// Reading is allowed: of all that the host table allows, and of everything with Mode zero.
pub const IR: Field = Field::bit(61);
/// Writing is allowed: of all that the host table allows, and of everything with Mode zero.
pub const IW: Field = Field::bit(62);
/// Domain ID: names the host translation to the IOMMU's caches. Equal IDs must mean equal host tables.
pub const DOMAIN_ID: Field = Field::bits(79, 64);
/// Guest CR3 table root pointer, address bits `[30:15]`.
pub const GCR3_TRP_30_15: Field = Field::bits(95, 80);
/// IOTLB: translation requests and translated requests of the device are served.
pub const I: Field = Field::bit(96);
/// Suppress I/O page fault events after the first for this device (until the entry is invalidated).
pub const SE: Field = Field::bit(97);
/// Suppress all I/O page fault events of this device.
pub const SA: Field = Field::bit(98);
/// Port I/O control ([`io_control`]).
pub const IOCTL: Field = Field::bits(100, 99);
/// IOTLB cache hint: do not cache the device's translations, it caches them itself.
pub const CACHE: Field = Field::bit(101);
/// Snoop disable for the IOMMU's own reads of page tables, on behalf of this device.
pub const SD: Field = Field::bit(102);
/// Allow exclusion: the device's requests into the exclusion range are not translated.
pub const EX: Field = Field::bit(103);
/// System management messages ([`system_management`]).
pub const SYS_MGT: Field = Field::bits(105, 104);
/// Secure ATS (EFR.SATSup; reserved without).
pub const SATS: Field = Field::bit(106);
/// Guest CR3 table root pointer, address bits `[51:31]`.
pub const GCR3_TRP_51_31: Field = Field::bits(127, 107);

/// Interrupt map valid: bits `[191:129]` mean something. Clear, interrupts pass through unmapped.
pub const IV: Field = Field::bit(128);
/// Interrupt table length: `1 << n` entries, `n` up to 11.
pub const INT_TAB_LEN: Field = Field::bits(132, 129);
/// Ignore unmapped interrupts: log no event for them.
pub const IG: Field = Field::bit(133);
/// Interrupt table root; the field in place is the system physical address, a multiple of 128 bytes.
pub const INT_TABLE_ROOT: Field = Field::bits(179, 134);
/// Guest paging mode: levels of guest tables, less four: 0 or 1 (EFR.GATS); else reserved.
pub const GUEST_PAGING_MODE: Field = Field::bits(183, 182);
/// INIT interrupts pass through.
pub const INIT_PASS: Field = Field::bit(184);
/// External interrupts pass through.
pub const EINT_PASS: Field = Field::bit(185);
/// NMIs pass through.
pub const NMI_PASS: Field = Field::bit(186);
/// Host page table mode hint.
pub const HPT_MODE: Field = Field::bit(187);
/// Interrupt control ([`int_control`]).
pub const INT_CTL: Field = Field::bits(189, 188);
/// LINT0 (legacy PIC) interrupts pass through.
pub const LINT0_PASS: Field = Field::bit(190);
/// LINT1 (legacy PIC NMI) interrupts pass through.
pub const LINT1_PASS: Field = Field::bit(191);

/// The device is given to a guest with a virtualised IOMMU (EFR.vIOMMUSup; reserved without).
pub const VIMU_EN: Field = Field::bit(207);
/// The device's ID as that guest knows it.
pub const GDEVICE_ID: Field = Field::bits(223, 208);
/// That guest.
pub const GUEST_ID: Field = Field::bits(239, 224);
/// Software's own: not checked by hardware.
pub const SOFTWARE: Field = Field::bit(245);
/// Attribute override valid: Mode0FC and SnoopAttribute mean something (EFR.AttrFWSup).
pub const ATTR_V: Field = Field::bit(246);
/// Stands for a PTE's FC where Mode is zero.
pub const MODE0_FC: Field = Field::bit(247);
/// Snoop attribute: a bit for each of the eight PAT entries of a guest PTE.
pub const SNOOP_ATTRIBUTE: Field = Field::bits(255, 248);

/// Values of [`HAD`].
pub mod had {
    /// Neither accessed nor dirty bits are updated.
    pub const NONE: u64 = 0;
    /// Accessed bits are updated (EFR.HASup).
    pub const ACCESSED: u64 = 1;
    /// Reserved.
    pub const RESERVED: u64 = 2;
    /// Accessed and dirty bits are updated (EFR.HDSup).
    pub const ACCESSED_AND_DIRTY: u64 = 3;
}

/// Values of [`IOCTL`].
pub mod io_control {
    /// Port I/O is target-aborted.
    pub const ABORT: u64 = 0;
    /// Port I/O passes through.
    pub const FORWARD: u64 = 1;
    /// Port I/O is translated as memory requests are.
    pub const TRANSLATE: u64 = 2;
}

/// Values of [`SYS_MGT`].
pub mod system_management {
    /// Messages are target-aborted.
    pub const ABORT: u64 = 0;
    /// Posted messages pass through.
    pub const FORWARD: u64 = 1;
    /// INTx messages pass through, others are target-aborted.
    pub const FORWARD_INTX: u64 = 2;
    /// Messages are translated as memory requests are.
    pub const TRANSLATE: u64 = 3;
}

/// Values of [`INT_CTL`].
pub mod int_control {
    /// Fixed and arbitrated interrupts are target-aborted.
    pub const ABORT: u64 = 0;
    /// They pass through unmapped.
    pub const FORWARD: u64 = 1;
    /// They are remapped.
    pub const REMAP: u64 = 2;
}

/// Bits that are reserved whatever the features, one mask for each word. Bit 106 (SATS) and bits `[183:182]` (guest
/// paging mode) are fields, so they are not among them.
pub const RESERVED: [u64; WORDS] = [0x8000_0000_0000_007c, 0, 0x0030_0000_0000_0000, 0x001f_0000_0000_7fff];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    const FIELDS: [Field; 43] = [
        V,
        TV,
        HAD,
        MODE,
        HOST_PAGE_TABLE_ROOT,
        PPR,
        GPRP,
        GIOV,
        GV,
        GLX,
        GCR3_TRP_14_12,
        IR,
        IW,
        DOMAIN_ID,
        GCR3_TRP_30_15,
        I,
        SE,
        SA,
        IOCTL,
        CACHE,
        SD,
        EX,
        SYS_MGT,
        SATS,
        GCR3_TRP_51_31,
        IV,
        INT_TAB_LEN,
        IG,
        INT_TABLE_ROOT,
        GUEST_PAGING_MODE,
        INIT_PASS,
        EINT_PASS,
        NMI_PASS,
        HPT_MODE,
        INT_CTL,
        LINT0_PASS,
        LINT1_PASS,
        VIMU_EN,
        GDEVICE_ID,
        GUEST_ID,
        SOFTWARE,
        ATTR_V,
        MODE0_FC,
    ];

    #[test]
    fn first_word() {
        // Linux amd_iommu_types.h: DTE_FLAG_V, _TV, _HAD, DEV_ENTRY_MODE_*, DEV_ENTRY_PPR (0x34), DTE_FLAG_GIOV, _GV,
        // DTE_GLX_SHIFT, DTE_GCR3_SHIFT_A, DTE_FLAG_IR, _IW; QEMU amd_iommu.h: AMDVI_DEV_PT_ROOT_MASK.
        assert_eq!(V.mask(), 0x1);
        assert_eq!(TV.mask(), 0x2);
        assert_eq!(HAD.mask(), 0x180);
        assert_eq!(MODE.mask(), 0xe00);
        assert_eq!(HOST_PAGE_TABLE_ROOT.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(PPR.mask(), 0x0010_0000_0000_0000);
        assert_eq!(GPRP.mask(), 0x0020_0000_0000_0000);
        assert_eq!(GIOV.mask(), 0x0040_0000_0000_0000);
        assert_eq!(GV.mask(), 0x0080_0000_0000_0000);
        assert_eq!(GLX.mask(), 0x0300_0000_0000_0000);
        assert_eq!(GCR3_TRP_14_12.mask(), 0x1c00_0000_0000_0000);
        assert_eq!(IR.mask(), 0x2000_0000_0000_0000);
        assert_eq!(IW.mask(), 0x4000_0000_0000_0000);
    }

    #[test]
    fn second_word() {
        // Linux: DEV_DOMID_MASK, DTE_GCR3_SHIFT_B and _C, DTE_FLAG_IOTLB, DEV_ENTRY_NO_PAGE_FAULT (0x62), _EX (0x67),
        // _SYSMGT1 (0x68); the rest from the bit-field structures of FreeBSD's amd_reg.h.
        assert_eq!(DOMAIN_ID.mask(), 0xffff);
        assert_eq!(GCR3_TRP_30_15.mask(), 0xffff_0000);
        assert_eq!(I.mask(), 0x1_0000_0000);
        assert_eq!(SE.mask(), 0x2_0000_0000);
        assert_eq!(SA, Field::bit(0x62));
        assert_eq!(SA.mask(), 0x4_0000_0000);
        assert_eq!(IOCTL.mask(), 0x18_0000_0000);
        assert_eq!(CACHE.mask(), 0x20_0000_0000);
        assert_eq!(SD.mask(), 0x40_0000_0000);
        assert_eq!(EX.mask(), 0x80_0000_0000);
        assert_eq!(SYS_MGT.mask(), 0x300_0000_0000);
        assert_eq!(SATS.mask(), 0x400_0000_0000);
        assert_eq!(GCR3_TRP_51_31.mask(), 0xffff_f800_0000_0000);
        for field in
            [DOMAIN_ID, GCR3_TRP_30_15, I, SE, SA, IOCTL, CACHE, SD, EX, SYS_MGT, SATS, GCR3_TRP_51_31]
        {
            assert_eq!(field.word, 1);
        }
    }

    #[test]
    fn third_word() {
        // Linux: DTE_IRQ_REMAP_ENABLE, DTE_INTTABLEN_MASK, DTE_IRQ_PHYS_ADDR_MASK, DTE_IRQ_REMAP_INTCTL_MASK,
        // DEV_ENTRY_INIT_PASS (0xb8) to DEV_ENTRY_LINT1_PASS (0xbf); guest paging mode from FreeBSD's amd_reg.h.
        assert_eq!(IV.mask(), 0x1);
        assert_eq!(INT_TAB_LEN.mask(), 0x1e);
        assert_eq!(IG.mask(), 0x20);
        assert_eq!(INT_TABLE_ROOT.mask(), 0x000f_ffff_ffff_ffc0);
        assert_eq!(GUEST_PAGING_MODE.mask(), 0x00c0_0000_0000_0000);
        assert_eq!(INIT_PASS, Field::bit(0xb8));
        assert_eq!(EINT_PASS, Field::bit(0xb9));
        assert_eq!(NMI_PASS, Field::bit(0xba));
        assert_eq!(HPT_MODE.mask(), 0x0800_0000_0000_0000);
        assert_eq!(INT_CTL.mask(), 0x3000_0000_0000_0000);
        assert_eq!(LINT0_PASS, Field::bit(0xbe));
        assert_eq!(LINT1_PASS, Field::bit(0xbf));
        assert_eq!(INIT_PASS.word, 2);
    }

    #[test]
    fn fourth_word() {
        // FreeBSD amd_reg.h, struct amdiommu_dte: rsrv3:15, vimu, gdevid:16, gid:16, rsrv4:5, one for software, attrv,
        // mode0fc, snoopattr:8.
        assert_eq!(VIMU_EN.mask(), 0x8000);
        assert_eq!(GDEVICE_ID.mask(), 0xffff_0000);
        assert_eq!(GUEST_ID.mask(), 0x0000_ffff_0000_0000);
        assert_eq!(SOFTWARE.mask(), 0x0020_0000_0000_0000);
        assert_eq!(ATTR_V.mask(), 0x0040_0000_0000_0000);
        assert_eq!(MODE0_FC.mask(), 0x0080_0000_0000_0000);
        assert_eq!(SNOOP_ATTRIBUTE.mask(), 0xff00_0000_0000_0000);
        assert_eq!(VIMU_EN.word, 3);
    }

    #[test]
    fn every_bit_is_a_field_or_reserved_and_no_two_fields_overlap() {
        for (word, reserved) in RESERVED.iter().enumerate() {
            let fields = cover(&FIELDS, word) | cover(&[SNOOP_ATTRIBUTE], word);
            assert_eq!(fields, !reserved, "word {word}");
        }
        let bits: u32 = FIELDS.iter().map(|field| u32::from(field.bits)).sum();
        let reserved: u32 = RESERVED.iter().map(|word| word.count_ones()).sum();
        assert_eq!(bits + 8 + reserved, 256);
    }

    #[test]
    fn reserved_bits_contain_what_others_check() {
        // QEMU amd_iommu.h, AMDVI_DTE_QUAD0_RESERVED: bits 6:2 and 63. QEMU takes bit 106 for a field and so do we.
        assert_eq!(RESERVED[0], 0x8000_0000_0000_007c);
        assert_eq!(RESERVED[1], 0);
    }
}
