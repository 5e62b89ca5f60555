//! Page-table entries of VT-d: second stage (VT-d rev 4.1, 9.8) and first stage (9.7).
//!
//! All are 64 bits in tables of 4 KiB, 512 entries each; a level indexes 9 address bits. HAW is the host address width
//! that DMAR reports: address bits from it to 51 are reserved in every entry.

/// Entries of second-stage tables, 3, 4 or 5 levels for adjusted guest address widths of 39, 48 and 57 bits (9.8).
///
/// There is no present bit: an entry that allows neither reading nor writing is not present, and hardware ignores its
/// other bits. With all of [`R`](second::R) and [`W`](second::W) of every level a request is allowed.
pub mod second {
    use crate::Field;

    /// Reading is allowed, as far as every level above allows it too.
    pub const R: Field = Field::bit(0);
    /// Writing is allowed, as far as every level above allows it too.
    pub const W: Field = Field::bit(1);
    /// Executing is allowed; ignored unless execute requests are supported and enabled (ECAP.ERS).
    pub const X: Field = Field::bit(2);
    /// Extended memory type, of a leaf; ignored unless memory types are supported (ECAP.MTS).
    pub const EMT: Field = Field::bits(5, 3);
    /// Ignore the PAT, of a leaf; as [`EMT`].
    pub const IPAT: Field = Field::bit(6);
    /// A leaf, at levels 2 (2 MiB) and 3 (1 GiB) where CAP.SSLPS has the size; ignored at level 1, reserved above 3.
    pub const PS: Field = Field::bit(7);
    /// Accessed; set by hardware where ECAP.SSADS and the PASID-table entry's SSADE say so, else ignored.
    pub const A: Field = Field::bit(8);
    /// Dirty, of a leaf; as [`A`].
    pub const D: Field = Field::bit(9);
    /// Ignored by hardware.
    pub const IGNORED: Field = Field::bit(10);
    /// Snoop, of a leaf: accesses snoop CPU caches whatever the request asks for. Reserved without ECAP.SC, and in links.
    pub const SNP: Field = Field::bit(11);
    /// Address of the page or of the next table; the field in place is the address. In a leaf, bits below the page's
    /// size are reserved.
    pub const ADDRESS: Field = Field::bits(51, 12);
    /// Ignored by hardware.
    pub const IGNORED_HIGH: Field = Field::bits(61, 52);
    /// Transient mapping in revisions before 3.2, of a leaf, for device TLBs; reserved since.
    pub const TM: Field = Field::bit(62);
    /// Ignored by hardware.
    pub const IGNORED_TOP: Field = Field::bit(63);

    /// Reserved in an entry that links to a table, besides address bits from HAW on; [`PS`] too above level 3.
    pub const LINK_RESERVED: u64 = SNP.mask() | TM.mask();
    /// Address bits below the index of level 1.
    pub const PAGE_SHIFT: u32 = 12;
    /// Address bits that a level indexes.
    pub const LEVEL_BITS: u32 = 9;
}

/// Entries of first-stage tables (9.7), 4 or 5 levels: the processor's own format in long mode (Intel SDM volume 3,
/// 4.5), with the bits that only an IOMMU has.
pub mod first {
    use crate::Field;

    /// Present.
    pub const P: Field = Field::bit(0);
    /// Writing is allowed, as far as every level above allows it too. Supervisor requests heed it where the PASID-table
    /// entry's WPE is set.
    pub const RW: Field = Field::bit(1);
    /// User requests are allowed, as far as every level above allows them too.
    pub const US: Field = Field::bit(2);
    /// Page write-through, a PAT index bit; ignored unless memory types are supported (ECAP.MTS).
    pub const PWT: Field = Field::bit(3);
    /// Page cache disable, a PAT index bit; as [`PWT`].
    pub const PCD: Field = Field::bit(4);
    /// Accessed. Hardware sets it in whatever entry it uses for a translation.
    pub const A: Field = Field::bit(5);
    /// Dirty, of a leaf. Hardware sets it in a leaf that it uses for a write.
    pub const D: Field = Field::bit(6);
    /// A leaf, at levels 2 (2 MiB) and 3 (1 GiB, where CAP.FS1GP says so); reserved above.
    pub const PS: Field = Field::bit(7);
    /// The third PAT index bit of a 4 KiB leaf; as [`PWT`].
    pub const PAT_4K: Field = Field::bit(7);
    /// Global, of a leaf.
    pub const G: Field = Field::bit(8);
    /// Ignored by hardware.
    pub const IGNORED_9: Field = Field::bit(9);
    /// Extended accessed: set like [`A`] where the PASID-table entry's EAFE is set, else ignored.
    pub const EA: Field = Field::bit(10);
    /// Ignored by hardware.
    pub const IGNORED_11: Field = Field::bit(11);
    /// The third PAT index bit of a leaf above 4 KiB; as [`PWT`].
    pub const PAT_LARGE: Field = Field::bit(12);
    /// Address of the page or of the next table; the field in place is the address. In a leaf, bits below the page's
    /// size are reserved, apart from [`PAT_LARGE`].
    pub const ADDRESS: Field = Field::bits(51, 12);
    /// Ignored by hardware.
    pub const IGNORED_HIGH: Field = Field::bits(62, 52);
    /// Execute disable; reserved unless the PASID-table entry's NXE is set.
    pub const XD: Field = Field::bit(63);

    /// Address bits below the index of level 1.
    pub const PAGE_SHIFT: u32 = 12;
    /// Address bits that a level indexes.
    pub const LEVEL_BITS: u32 = 9;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    #[test]
    fn second_stage_masks() {
        // Linux drivers/iommu/intel/iommu.h: DMA_PTE_READ, DMA_PTE_WRITE, DMA_PTE_LARGE_PAGE, DMA_SL_PTE_DIRTY_BIT,
        // DMA_PTE_SNP; A from drivers/iommu/generic_pt/fmt/vtdss.h.
        assert_eq!((second::R.mask(), second::W.mask(), second::X.mask()), (0x1, 0x2, 0x4));
        assert_eq!(second::PS.mask(), 0x80);
        assert_eq!((second::A.mask(), second::D.mask()), (0x100, 0x200));
        assert_eq!(second::SNP.mask(), 0x800);
        assert_eq!(second::ADDRESS.mask(), 0x000f_ffff_ffff_f000);
        // QEMU hw/i386/intel_iommu_internal.h: VTD_SL_TM; VTD_SL_IGN_COM is what is ignored in [63:52].
        assert_eq!(second::TM.mask(), 0x4000_0000_0000_0000);
        assert_eq!(second::IGNORED_HIGH.mask() | second::IGNORED_TOP.mask(), 0xbff0_0000_0000_0000);
        // EDK2, VTD_SECOND_LEVEL_PAGING_ENTRY: three bits of memory type from bit 3, IgnorePAT behind them.
        assert_eq!((second::EMT.mask(), second::IPAT.mask()), (0x38, 0x40));
    }

    #[test]
    fn second_stage_fields_cover_an_entry_once() {
        use second::*;
        let fields = [R, W, X, EMT, IPAT, PS, A, D, IGNORED, SNP, ADDRESS, IGNORED_HIGH, TM, IGNORED_TOP];
        assert_eq!(cover(&fields, 0), u64::MAX);
        assert_eq!(fields.iter().map(|field| u32::from(field.bits)).sum::<u32>(), 64);
        assert_eq!(LINK_RESERVED, 0x4000_0000_0000_0800);
    }

    #[test]
    fn first_stage_is_the_processors_format() {
        use first::*;
        // Linux arch/x86/include/asm/pgtable_types.h, _PAGE_BIT_*.
        for (bit, field) in [P, RW, US, PWT, PCD, A, D, PS, G].into_iter().enumerate() {
            assert_eq!(field.mask(), 1 << bit);
        }
        assert_eq!((PAT_4K.mask(), PAT_LARGE.mask()), (0x80, 0x1000));
        assert_eq!(EA.mask(), 0x400);
        assert_eq!(XD.mask(), 0x8000_0000_0000_0000);
        let fields = [P, RW, US, PWT, PCD, A, D, PS, G, IGNORED_9, EA, IGNORED_11, ADDRESS, IGNORED_HIGH, XD];
        assert_eq!(cover(&fields, 0), u64::MAX);
        assert_eq!(fields.iter().map(|field| u32::from(field.bits)).sum::<u32>(), 64);
    }
}
