//! Page-table entries: host tables (v1), guest tables (v2), guest CR3 tables.
//!
//! All are 64 bits in tables of 4 KiB, 512 entries each.

/// Entries of the host's page tables, also called v1 (48882 §2.2.3).
///
/// An entry with [`PR`](v1::PR) clear holds nothing but that bit. Otherwise [`NEXT_LEVEL`](v1::NEXT_LEVEL) decides:
/// 0 or 7 make it a page (a PTE), 1 to 6 a link to a table of that level (a PDE). At level 1 only 0 and 7 are legal.
/// The level of a link is smaller than the level of the table that holds it; where it is smaller by more than one, the
/// address bits of the levels left out must be zero.
pub mod v1 {
    use crate::Field;

    /// Present.
    pub const PR: Field = Field::bit(0);
    /// Accessed; set by hardware where EFR.HASup and DTE.HAD ask for it.
    pub const A: Field = Field::bit(5);
    /// Dirty, of a PTE; set by hardware where EFR.HDSup and DTE.HAD ask for it.
    pub const D: Field = Field::bit(6);
    /// The level of the table linked, or what kind of page: [`NEXT_LEVEL_PAGE`], [`NEXT_LEVEL_PAGE_SIZED`].
    pub const NEXT_LEVEL: Field = Field::bits(11, 9);
    /// Address of the page or of the next table; the field in place is the address. With
    /// [`NEXT_LEVEL_PAGE_SIZED`] its low bits hold the size.
    pub const ADDRESS: Field = Field::bits(51, 12);
    /// Page migration control, of a PTE; reserved unless EFR2.TMPMSup.
    pub const PMC: Field = Field::bits(58, 57);
    /// The U bit of an ATS answer: untranslated access only. Of a PTE.
    pub const U: Field = Field::bit(59);
    /// Force coherent: device requests snoop CPU caches whatever they ask for. Of a PTE.
    pub const FC: Field = Field::bit(60);
    /// Reading is allowed, as far as every level above allows it too.
    pub const IR: Field = Field::bit(61);
    /// Writing is allowed, as far as every level above allows it too.
    pub const IW: Field = Field::bit(62);

    /// [`NEXT_LEVEL`]: a page of the level's own size: 4 KiB at level 1, 2 MiB at 2, 1 GiB at 3, 512 GiB at 4,
    /// 256 TiB at 5.
    pub const NEXT_LEVEL_PAGE: u64 = 0;
    /// [`NEXT_LEVEL`]: a page whose size the address tells: with the lowest zero bit of `[51:12]` at bit `n`, it has
    /// `1 << (n + 1)` bytes, 8 KiB at least (Table 14). The entry stands in every place that the page covers.
    pub const NEXT_LEVEL_PAGE_SIZED: u64 = 7;

    /// Reserved bits of a present PTE, PMC among them.
    pub const PTE_RESERVED: u64 = 0x07f0_0000_0000_0000;
    /// Reserved bits of a present PDE.
    pub const PDE_RESERVED: u64 = 0x1ff0_0000_0000_0000;

    /// The most levels: 64 address bits, the sixth level indexing only `[63:57]`.
    pub const LEVELS: u8 = 6;
    /// Address bits below the index of level 1.
    pub const PAGE_SHIFT: u32 = 12;
    /// Address bits that a level indexes.
    pub const LEVEL_BITS: u32 = 9;
}

/// Entries of guest page tables, also called v2 (48882 §2.2.6): the AMD64 processor's own format in long mode
/// (AMD64 Architecture Programmer's Manual volume 2, 24593, §5.3), 4 or 5 levels.
pub mod v2 {
    use crate::Field;

    /// Present.
    pub const P: Field = Field::bit(0);
    /// Writing is allowed, as far as every level above allows it too.
    pub const RW: Field = Field::bit(1);
    /// User requests are allowed, as far as every level above allows them too.
    pub const US: Field = Field::bit(2);
    /// Page write-through, a PAT index bit.
    pub const PWT: Field = Field::bit(3);
    /// Page cache disable, a PAT index bit.
    pub const PCD: Field = Field::bit(4);
    /// Accessed.
    pub const A: Field = Field::bit(5);
    /// Dirty, of a leaf.
    pub const D: Field = Field::bit(6);
    /// A leaf, at levels 2 (2 MiB) and 3 (1 GiB).
    pub const PS: Field = Field::bit(7);
    /// The third PAT index bit of a 4 KiB leaf.
    pub const PAT_4K: Field = Field::bit(7);
    /// Global, of a leaf.
    pub const G: Field = Field::bit(8);
    /// Software's own.
    pub const AVL: Field = Field::bits(11, 9);
    /// The third PAT index bit of a leaf above 4 KiB.
    pub const PAT_LARGE: Field = Field::bit(12);
    /// Address of the page or the next table; the field in place is the address. Bits below the page's size are
    /// reserved, apart from [`PAT_LARGE`].
    pub const ADDRESS: Field = Field::bits(51, 12);
    /// Software's own, or a protection key, which the IOMMU does not use.
    pub const AVL_HIGH: Field = Field::bits(62, 52);
    /// No execute.
    pub const NX: Field = Field::bit(63);

    /// Address bits below the index of level 1.
    pub const PAGE_SHIFT: u32 = 12;
    /// Address bits that a level indexes.
    pub const LEVEL_BITS: u32 = 9;
}

/// Entries of guest CR3 tables (48882 §2.2.6): one to three levels, as DTE.GLX says, indexed by PASID bits `[8:0]`
/// at level 1, `[17:9]` at level 2, `[19:18]` at level 3.
pub mod gcr3 {
    use crate::Field;

    /// Valid.
    pub const V: Field = Field::bit(0);
    /// Above level 1: address of the next table. At level 1: address of the process's root table. Both are guest
    /// physical, which without host translation is system physical. The field in place is the address.
    pub const ADDRESS: Field = Field::bits(51, 12);

    /// PASID bits that a level indexes.
    pub const LEVEL_BITS: u32 = 9;
    /// The most levels.
    pub const LEVELS: u8 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    #[test]
    fn v1_masks() {
        // FreeBSD sys/x86/iommu/amd_reg.h, AMDIOMMU_PTE_*.
        assert_eq!(v1::PR.mask(), 0x0001);
        assert_eq!(v1::A.mask(), 0x0020);
        assert_eq!(v1::D.mask(), 0x0040);
        assert_eq!(v1::NEXT_LEVEL.mask(), 0x0e00);
        assert_eq!(v1::NEXT_LEVEL.put(v1::NEXT_LEVEL_PAGE_SIZED), 0x0e00);
        assert_eq!(v1::ADDRESS.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(v1::PMC.mask(), 0x0600_0000_0000_0000);
        assert_eq!(v1::U.mask(), 0x0800_0000_0000_0000);
        assert_eq!(v1::FC.mask(), 0x1000_0000_0000_0000);
        assert_eq!(v1::IR.mask(), 0x2000_0000_0000_0000);
        assert_eq!(v1::IW.mask(), 0x4000_0000_0000_0000);
    }

    #[test]
    fn v1_reserved_bits_are_what_no_field_covers() {
        // Ignored by hardware: PTE bits 63, 8:7 and 4:1; PDE bits 63, 8:6 and 4:1 (48882 §2.2.3, Tables 17 and 18).
        let both = [v1::PR, v1::A, v1::NEXT_LEVEL, v1::ADDRESS, v1::IR, v1::IW];
        let pte = cover(&both, 0) | cover(&[v1::D, v1::U, v1::FC], 0);
        assert_eq!(pte | 0x8000_0000_0000_019e, !v1::PTE_RESERVED);
        assert_eq!(cover(&both, 0) | 0x8000_0000_0000_01de, !v1::PDE_RESERVED);
    }

    #[test]
    fn v2_masks() {
        // Linux arch/x86/include/asm/pgtable_types.h, _PAGE_*; the address from drivers/iommu PM_ADDR_MASK.
        let bits = [v2::P, v2::RW, v2::US, v2::PWT, v2::PCD, v2::A, v2::D, v2::PS, v2::G];
        for (n, field) in bits.iter().enumerate() {
            assert_eq!(field.mask(), 1 << n);
        }
        assert_eq!(v2::PAT_4K.mask(), 0x80);
        assert_eq!(v2::AVL.mask(), 0xe00);
        assert_eq!(v2::PAT_LARGE.mask(), 0x1000);
        assert_eq!(v2::ADDRESS.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(v2::AVL_HIGH.mask(), 0x7ff0_0000_0000_0000);
        assert_eq!(v2::NX.mask(), 0x8000_0000_0000_0000);
    }

    #[test]
    fn gcr3_masks() {
        // Linux drivers/iommu/amd/amd_iommu_types.h: GCR3_VALID, IOMMU_PAGE_MASK.
        assert_eq!(gcr3::V.mask(), 0x1);
        assert_eq!(gcr3::ADDRESS.mask(), 0x000f_ffff_ffff_f000);
    }
}
