//! AMD-Vi host tables (v1).

use crate::{
    error::ConfigError,
    format::{Format, Kind, Options, Rules, Touched, check_bounds, seldom},
};
use ioward_spec::amdvi::entries::v1;
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// AMD-Vi host tables, 1 to 6 levels (48882 rev 3.10, §2.2.3).
///
/// Every power of two from 4 KiB is a page size; those that are not a level's own take several entries with next level 7.
/// The root can grow. `execute` is ignored: requests that fetch carry a PASID and are translated by other tables.
/// `privileged` is refused. `coherent` is the FC bit; `mmio` is kept in a bit that hardware ignores, and such a page is
/// never coherent.
#[derive(Clone, Copy, Debug)]
pub struct AmdV1;

/// An ignored bit of a PTE (Table 17: bits 4:1): remembers [`Attributes::mmio`].
const MMIO: u64 = 1 << 1;
/// An ignored bit of PDEs and PTEs (Tables 17 and 18: bits 4:1): tells the engine's links from its leaves.
const IS_LINK: u64 = 1 << 2;
/// Another: tells pages of one entry from those of several.
const SINGLE: u64 = 1 << 3;
/// Links allow what their leaves allow.
const LINK: u64 = v1::PR.mask() | v1::IR.mask() | v1::IW.mask() | IS_LINK;

impl Format for AmdV1 {
    const FORMAT: ioward_types::Format = ioward_types::Format::AmdV1;
    const GRANULE_SHIFT: u32 = 12;
    const GROWS: bool = true;
    // Bit 63 is ignored in PDEs (Table 18).
    const LINK_CLEANED: u64 = 1 << 63;
    const LEAF_ATTRIBUTES: u64 = v1::IR.mask()
        | v1::IW.mask()
        | v1::FC.mask()
        | v1::U.mask()
        | v1::A.mask()
        | v1::D.mask()
        | v1::PR.mask()
        | MMIO;

    fn check(config: &TableConfig) -> Result<(), ConfigError> {
        // 2^51 is the largest power of two that a 52-bit address space can hold twice.
        check_bounds(config, 12, (1 << 52) - (1 << 12), (13, 64), (32, 52))
    }

    #[inline(always)]
    fn link(to: PhysAddr, below: u32) -> u64 {
        to.0 | v1::NEXT_LEVEL.put(u64::from(below) + 1) | LINK
    }
    #[inline(always)]
    fn link_target(raw: u64) -> PhysAddr {
        PhysAddr(v1::ADDRESS.in_place(raw))
    }
    #[inline(always)]
    fn is_link(raw: u64, _: u32) -> bool {
        raw & IS_LINK != 0
    }

    #[inline(always)]
    fn leaf(to: PhysAddr, level: u32, shift: u32, attributes: u64) -> u64 {
        if shift == Self::entry_shift(level) {
            return to.0 | attributes | SINGLE;
        }
        // The lowest zero bit of the address field is the one below the page's own.
        let page = to.0 & !((1 << shift) - 1);
        page | ((1 << (shift - 1)) - (1 << 12)) | v1::NEXT_LEVEL.mask() | attributes
    }
    #[inline(always)]
    fn is_granule(raw: u64) -> bool {
        raw & SINGLE != 0
    }
    #[inline(always)]
    fn leaf_shift(raw: u64, level: u32) -> u32 {
        match v1::NEXT_LEVEL.of(raw) {
            v1::NEXT_LEVEL_PAGE => Self::entry_shift(level),
            _ => sized_shift(raw),
        }
    }
    #[inline(always)]
    fn leaf_target(raw: u64, level: u32) -> PhysAddr {
        let shift = Self::leaf_shift(raw, level).min(52);
        PhysAddr(v1::ADDRESS.in_place(raw) & !((1 << shift) - 1))
    }

    #[inline(always)]
    fn output(raw: u64, level: u32, at: u64) -> PhysAddr {
        if raw & SINGLE == 0 {
            seldom();
            return PhysAddr(Self::leaf_target(raw, level).0 | at & ((1 << sized_shift(raw).min(52)) - 1));
        }
        // A page is aligned to its size.
        PhysAddr(v1::ADDRESS.in_place(raw) | at & ((1 << Self::entry_shift(level)) - 1))
    }

    #[inline(always)]
    fn output_of_granule(raw: u64, at: u64) -> Option<PhysAddr> {
        if raw & SINGLE == 0 {
            seldom();
            return None;
        }
        Some(PhysAddr(v1::ADDRESS.in_place(raw) | at & ((1 << Self::GRANULE_SHIFT) - 1)))
    }

    fn kind(raw: u64, level: u32) -> Kind {
        if raw & v1::PR.mask() == 0 {
            return Kind::Absent;
        }
        let own = Self::entry_shift(level);
        match v1::NEXT_LEVEL.of(raw) {
            v1::NEXT_LEVEL_PAGE if raw & v1::PTE_RESERVED != 0 => {
                Kind::Malformed("reserved bits of a PTE are set")
            }
            v1::NEXT_LEVEL_PAGE => match v1::ADDRESS.in_place(raw) & ((1u64 << own) - 1) {
                0 => Kind::Leaf { shift: own },
                _ => Kind::Malformed("the page is not aligned to its size"),
            },
            v1::NEXT_LEVEL_PAGE_SIZED if raw & v1::PTE_RESERVED != 0 => {
                Kind::Malformed("reserved bits of a PTE are set")
            }
            v1::NEXT_LEVEL_PAGE_SIZED => match sized_shift(raw) {
                shift if shift > own && shift <= own + Self::INDEX_BITS && shift < 52 => Kind::Leaf { shift },
                _ => Kind::Malformed("a page size that does not belong to the level"),
            },
            next if next > u64::from(level) => Kind::Malformed("the next level is not below its own"),
            _ if raw & v1::PDE_RESERVED != 0 => Kind::Malformed("reserved bits of a PDE are set"),
            next => Kind::Link { level: next as u32 - 1 },
        }
    }

    #[inline(always)]
    fn encode(how: Attributes, _: &Rules) -> Option<u64> {
        if how.privileged || !(how.read || how.write) {
            return None;
        }
        let coherent = how.coherent && !how.mmio;
        Some(
            v1::PR.mask()
                | v1::IR.put(how.read.into())
                | v1::IW.put(how.write.into())
                | v1::FC.put(coherent.into())
                | if how.mmio { MMIO } else { 0 },
        )
    }
    #[inline(always)]
    fn decode(raw: u64) -> Attributes {
        Attributes {
            read: raw & v1::IR.mask() != 0,
            write: raw & v1::IW.mask() != 0,
            execute: false,
            privileged: false,
            coherent: raw & v1::FC.mask() != 0,
            mmio: raw & MMIO != 0,
        }
    }
    fn restrict(link: u64, how: Attributes) -> Attributes {
        Attributes {
            read: how.read && link & v1::IR.mask() != 0,
            write: how.write && link & v1::IW.mask() != 0,
            ..how
        }
    }
    fn widen(how: Attributes) -> Attributes {
        Attributes { privileged: false, execute: false, coherent: how.coherent && !how.mmio, ..how }
    }

    fn cuts_hitless(_: &Options) -> bool {
        true
    }
    #[inline(always)]
    fn untouched(raw: u64) -> (u64, Touched) {
        let touched = Touched { accessed: raw & v1::A.mask() != 0, dirty: raw & v1::D.mask() != 0 };
        (raw & !(v1::A.mask() | v1::D.mask()), touched)
    }
}

/// The size of a page with next level 7, as a shift: 64 and more where the address holds no zero.
#[inline(always)]
fn sized_shift(raw: u64) -> u32 {
    // Bits below the field count as ones, so that the first zero is the field's own.
    (v1::ADDRESS.in_place(raw) | 0xfff).trailing_ones() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { dirty: false, no_execute: false, snoop: false };

    #[test]
    fn literal_entries() {
        let how = AmdV1::encode(Attributes::READ_WRITE, &RULES).unwrap();
        // §2.2.3, Table 17: PR, IR, IW, FC; bit 3 is ignored, and the mark of a page of one entry.
        assert_eq!(AmdV1::leaf(PhysAddr(0x1234_5000), 0, 12, how), 0x7000_0000_1234_5009);
        assert_eq!(AmdV1::leaf(PhysAddr(0x4020_0000), 1, 21, how), 0x7000_0000_4020_0009);
        // Table 14: 8 KiB has bit 12 clear; 16 KiB has it set and bit 13 clear; 1 MiB bits 18:12 set and 19 clear.
        assert_eq!(AmdV1::leaf(PhysAddr(0x6000), 0, 13, how), 0x7000_0000_0000_6e01);
        assert_eq!(AmdV1::leaf(PhysAddr(0x7000), 0, 13, how), 0x7000_0000_0000_6e01);
        assert_eq!(AmdV1::leaf(PhysAddr(0x8000), 0, 14, how), 0x7000_0000_0000_9e01);
        assert_eq!(AmdV1::leaf(PhysAddr(0x10_0000), 0, 20, how), 0x7000_0000_0017_fe01);
        // Table 18: next level 1 to 6.
        assert_eq!(AmdV1::link(PhysAddr(0xabc_d000), 0), 0x6000_0000_0abc_d205);
        assert_eq!(AmdV1::link(PhysAddr(0xabc_d000), 4), 0x6000_0000_0abc_da05);
    }

    #[test]
    fn sizes_come_back() {
        for shift in 12..52 {
            let level = (shift - 12) / 9;
            let at = PhysAddr(1u64 << shift & 0x000f_ffff_ffff_f000);
            let raw = AmdV1::leaf(at, level, shift, 1);
            assert_eq!(AmdV1::leaf_shift(raw, level), shift);
            assert_eq!(AmdV1::leaf_target(raw, level), at);
            assert_eq!(AmdV1::kind(raw, level), Kind::Leaf { shift });
        }
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(AmdV1::kind(0, 2), Kind::Absent);
        assert_eq!(AmdV1::kind(0xffff_ffff_ffff_fffe, 2), Kind::Absent);
        for level in 0..6 {
            for next in 1..=6u64 {
                let raw = 1 | next << 9;
                let below = (next as u32) <= level;
                assert_eq!(matches!(AmdV1::kind(raw, level), Kind::Link { level: l } if l < level), below);
            }
            assert!(matches!(AmdV1::kind(u64::MAX, level), Kind::Malformed(_)));
        }
        // Next level 7 whose address has no zero at all.
        assert!(matches!(AmdV1::kind(0x000f_ffff_ffff_fe01, 5), Kind::Malformed(_)));
    }

    #[test]
    fn links_are_told_from_leaves() {
        let how = AmdV1::encode(Attributes { mmio: true, ..Attributes::READ_WRITE }, &RULES).unwrap();
        for level in 1..6 {
            let own = AmdV1::entry_shift(level);
            let link = AmdV1::link(PhysAddr(0xabc_d000), level - 1);
            assert!(AmdV1::is_link(link, level) && !AmdV1::is_leaf(link, level));
            for shift in [own, own + 4] {
                let leaf = AmdV1::leaf(PhysAddr(0), level, shift.min(51), how | v1::A.mask() | v1::D.mask());
                assert!(!AmdV1::is_link(leaf, level) && AmdV1::is_leaf(leaf, level));
            }
        }
        assert!(!AmdV1::is_link(0, 1) && !AmdV1::is_leaf(0, 1));
    }
}
