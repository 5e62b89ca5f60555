//! Descriptors of the Arm VMSAv8-64 translation tables, stage 1 and 2.
//!
//! From the Arm Architecture Reference Manual for A-profile (DDI 0487, issue J.a), D8.3 "Translation table descriptor
//! formats": one 64-bit word each, numbered as there. Not here: FEAT_LPA2 (TCR.DS, where bits 9:8 hold address bits
//! 51:50) and FEAT_D128. An SMMUv3 walks the same tables (IHI 0070, 3.4 "Address sizes" and 13 "Translation procedure").

use crate::Field;

/// The descriptor is valid; a descriptor without it is ignored in all other bits (D8.3.1).
pub const VALID: Field = Field::bit(0);
/// Above the last level: set for a table, clear for a block. At the last level: must be set, for a page (D8.3.1).
pub const TABLE_OR_PAGE: Field = Field::bit(1);

/// Address bits 47:12 of a table or a page: all of them with the 4 KiB granule; with the 16 and 64 KiB granules, and in
/// blocks, the low ones are not address (D8.3.1).
pub const ADDRESS: Field = Field::bits(47, 12);
/// With the 64 KiB granule and FEAT_LPA: address bits 51:48 (D8.3.1, "64KB translation granule").
pub const ADDRESS_HIGH_64K: Field = Field::bits(15, 12);

/// Bits of a table descriptor that hardware ignores, in both stages (D8.3.1, table descriptor formats).
pub const TABLE_IGNORED: Field = Field::bits(58, 51);
/// Stage 1 table descriptor: privileged execute-never below it (D8.3.1, PXNTable).
pub const PXN_TABLE: Field = Field::bit(59);
/// Stage 1 table descriptor: execute-never below it (D8.3.1, UXNTable or XNTable).
pub const UXN_TABLE: Field = Field::bit(60);
/// Stage 1 table descriptor: APTable\[0\], no unprivileged access below it (D8.3.1).
pub const AP_TABLE_PRIVILEGED: Field = Field::bit(61);
/// Stage 1 table descriptor: APTable\[1\], no writes below it (D8.3.1).
pub const AP_TABLE_READ_ONLY: Field = Field::bit(62);
/// Bits of a valid leaf reserved for software (D8.3.2).
pub const LEAF_SOFTWARE: Field = Field::bits(58, 55);

/// Stage 1 leaf: which of MAIR's eight attributes (D8.3.2, AttrIndx).
pub const ATTR_INDX: Field = Field::bits(4, 2);
/// Stage 1 leaf: non-secure output address; only read from secure state (D8.3.2, NS).
pub const NS: Field = Field::bit(5);
/// Stage 1 leaf: AP\[1\], unprivileged accesses are allowed (D8.4.1).
pub const AP_UNPRIVILEGED: Field = Field::bit(6);
/// Stage 1 leaf: AP\[2\], read-only (D8.4.1). With DBM set: not yet written.
pub const AP_READ_ONLY: Field = Field::bit(7);
/// Leaf: shareability, 0b00 none, 0b10 outer, 0b11 inner (D8.5.2, SH).
pub const SH: Field = Field::bits(9, 8);
/// Leaf: access flag (D8.4.5, AF).
pub const AF: Field = Field::bit(10);
/// Stage 1 leaf: not global, so tagged with the ASID (D8.3.2, nG).
pub const NG: Field = Field::bit(11);
/// Leaf: dirty bit modifier, a clean page may be made writable by hardware (D8.4.6, DBM).
pub const DBM: Field = Field::bit(51);
/// Leaf: one of a contiguous set of entries (D8.6.1, Contiguous).
pub const CONTIGUOUS: Field = Field::bit(52);
/// Stage 1 leaf: privileged execute-never (D8.4.1).
pub const PXN: Field = Field::bit(53);
/// Stage 1 leaf: unprivileged execute-never, or execute-never where there is one privilege level (D8.4.1).
pub const UXN: Field = Field::bit(54);

/// Stage 2 leaf: memory type, without FEAT_S2FWB (D8.5.5, MemAttr\[3:0\]).
pub const MEM_ATTR: Field = Field::bits(5, 2);
/// Stage 2 leaf: S2AP\[0\], reads are allowed (D8.4.2).
pub const S2AP_READ: Field = Field::bit(6);
/// Stage 2 leaf: S2AP\[1\], writes are allowed (D8.4.2). With DBM set: has been written.
pub const S2AP_WRITE: Field = Field::bit(7);
/// Stage 2 leaf: XN\[1:0\]; 0b10 forbids execution at every privilege, with and without FEAT_XNX (D8.4.2).
pub const S2_XN: Field = Field::bits(54, 53);

/// [`MEM_ATTR`]: device memory, nGnRE.
pub const MEM_ATTR_DEVICE_NGNRE: u64 = 0b0001;
/// [`MEM_ATTR`]: normal memory, not cached.
pub const MEM_ATTR_NORMAL_NC: u64 = 0b0101;
/// [`MEM_ATTR`]: normal memory, write-back.
pub const MEM_ATTR_NORMAL_WB: u64 = 0b1111;
/// [`SH`]: outer shareable.
pub const SH_OUTER: u64 = 0b10;
/// [`SH`]: inner shareable.
pub const SH_INNER: u64 = 0b11;

/// How many entries make one contiguous set, as a power of two, at the level where an entry maps `1 << entry_shift`
/// bytes of a table with the granule `1 << granule_shift`; zero where there is no such set (D8.6.1, the contiguous bit).
pub const fn contiguous_bits(granule_shift: u32, entry_shift: u32) -> u32 {
    match (granule_shift, entry_shift) {
        (12, 12 | 21 | 30) => 4,
        (14, 14) => 7,
        (14, 25) => 5,
        (16, 16 | 29) => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::cover;

    #[test]
    fn masks() {
        // Linux drivers/iommu/io-pgtable-arm.c, ARM_LPAE_PTE_*, and arch/arm64/include/asm/pgtable-hwdef.h, PTE_*.
        assert_eq!(VALID.mask(), 0x1);
        assert_eq!(TABLE_OR_PAGE.mask(), 0x2);
        assert_eq!(ATTR_INDX.mask(), 0x1c);
        assert_eq!(NS.mask(), 0x20);
        assert_eq!(AP_UNPRIVILEGED.mask(), 0x40);
        assert_eq!(AP_READ_ONLY.mask(), 0x80);
        assert_eq!(SH.mask(), 0x300);
        assert_eq!((SH.put(SH_OUTER), SH.put(SH_INNER)), (0x200, 0x300));
        assert_eq!(AF.mask(), 0x400);
        assert_eq!(NG.mask(), 0x800);
        assert_eq!(ADDRESS.mask(), 0x0000_ffff_ffff_f000);
        assert_eq!(ADDRESS_HIGH_64K.mask(), 0xf000);
        assert_eq!(DBM.mask(), 0x0008_0000_0000_0000);
        assert_eq!(CONTIGUOUS.mask(), 0x0010_0000_0000_0000);
        assert_eq!(PXN.mask(), 0x0020_0000_0000_0000);
        assert_eq!(UXN.mask(), 0x0040_0000_0000_0000);
        assert_eq!(LEAF_SOFTWARE.mask(), 0x0780_0000_0000_0000);
        assert_eq!((S2AP_READ.mask(), S2AP_WRITE.mask()), (0x40, 0x80));
        assert_eq!(MEM_ATTR.put(MEM_ATTR_NORMAL_WB), 0x3c);
        assert_eq!(MEM_ATTR.put(MEM_ATTR_NORMAL_NC), 0x14);
        assert_eq!(MEM_ATTR.put(MEM_ATTR_DEVICE_NGNRE), 0x04);
        assert_eq!(S2_XN.put(0b10), 0x0040_0000_0000_0000);
        // As the table descriptors of Linux's pgtable-hwdef.h: PMD_TABLE_PXN, PMD_TABLE_UXN.
        assert_eq!(PXN_TABLE.mask(), 0x0800_0000_0000_0000);
        assert_eq!(UXN_TABLE.mask(), 0x1000_0000_0000_0000);
        assert_eq!(AP_TABLE_PRIVILEGED.mask(), 0x2000_0000_0000_0000);
        assert_eq!(AP_TABLE_READ_ONLY.mask(), 0x4000_0000_0000_0000);
    }

    #[test]
    fn entries_of_live_machines() {
        // From Linux bug reports: "swapper pgtable: 4k pages", an address in vmalloc space, pte=00e8000038300707. Writable
        // kernel memory, device type (index 1 of that kernel), never executed, with two of software's bits.
        let kernel = 0x00e8_0000_3830_0707;
        assert_eq!(ADDRESS.in_place(kernel), 0x3830_0000);
        assert_eq!((VALID.of(kernel), TABLE_OR_PAGE.of(kernel), ATTR_INDX.of(kernel)), (1, 1, 1));
        assert_eq!((AP_UNPRIVILEGED.of(kernel), AP_READ_ONLY.of(kernel), NG.of(kernel)), (0, 0, 0));
        assert_eq!((SH.of(kernel), AF.of(kernel), DBM.of(kernel)), (SH_INNER, 1, 1));
        assert_eq!((PXN.of(kernel), UXN.of(kernel), LEAF_SOFTWARE.of(kernel)), (1, 1, 1));
        // "user pgtable: 4k pages", pte=00e800016d3c7f53: the same for a process: unprivileged and not global.
        let user = 0x00e8_0001_6d3c_7f53;
        assert_eq!(ADDRESS.in_place(user), 0x1_6d3c_7000);
        assert_eq!((AP_UNPRIVILEGED.of(user), AP_READ_ONLY.of(user), NG.of(user)), (1, 0, 1));
        assert_eq!((ATTR_INDX.of(user), UXN.of(user)), (4, 1));
        // The link above the former, pmd=00000000dbf36003, and one with PXNTable and UXNTable, pud=180000005fbf9003.
        assert_eq!(ADDRESS.in_place(0x0000_0000_dbf3_6003), 0xdbf3_6000);
        let hierarchical = 0x1800_0000_5fbf_9003;
        assert_eq!((PXN_TABLE.of(hierarchical), UXN_TABLE.of(hierarchical)), (1, 1));
        assert_eq!((AP_TABLE_PRIVILEGED.of(hierarchical), ADDRESS.in_place(hierarchical)), (0, 0x5fbf_9000));
    }

    #[test]
    fn fields_of_one_descriptor_do_not_overlap() {
        let stage_1 = [
            VALID,
            TABLE_OR_PAGE,
            ATTR_INDX,
            NS,
            AP_UNPRIVILEGED,
            AP_READ_ONLY,
            SH,
            AF,
            NG,
            ADDRESS,
            DBM,
            CONTIGUOUS,
            PXN,
            UXN,
            LEAF_SOFTWARE,
        ];
        let stage_2 = [
            VALID,
            TABLE_OR_PAGE,
            MEM_ATTR,
            S2AP_READ,
            S2AP_WRITE,
            SH,
            AF,
            ADDRESS,
            DBM,
            CONTIGUOUS,
            S2_XN,
            LEAF_SOFTWARE,
        ];
        for fields in [&stage_1[..], &stage_2[..]] {
            let bits: u32 = fields.iter().map(|field| u32::from(field.bits)).sum();
            assert_eq!(cover(fields, 0).count_ones(), bits);
        }
    }

    #[test]
    fn contiguous_sets() {
        // D8.6.1: bytes of a set, for each granule and level that has one.
        let set = |granule, entry| 1u64 << (entry + contiguous_bits(granule, entry));
        assert_eq!((set(12, 12), set(12, 21), set(12, 30)), (64 << 10, 32 << 20, 16 << 30));
        assert_eq!((set(14, 14), set(14, 25)), (2 << 20, 1 << 30));
        assert_eq!((set(16, 16), set(16, 29)), (2 << 20, 16 << 30));
        assert_eq!(set(16, 42), 1 << 42);
    }
}
