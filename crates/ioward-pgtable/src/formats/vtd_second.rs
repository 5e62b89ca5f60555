//! VT-d second-stage tables.

use crate::{
    error::ConfigError,
    format::{Format, Kind, Options, Rules, Shape, Touched, check_bounds},
};
use ioward_spec::vtd::paging::second;
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// VT-d second-stage tables, 3, 4 or 5 levels (VT-d rev 4.1, 3.7 and 9.8). Widths of input below the full 39, 48 and 57
/// bits of these (a unit's maximum guest address width) take as many levels as they need.
///
/// There is no present bit: a page that can be neither read nor written is none. `execute` is ignored and never granted:
/// execute requests are not enabled. `privileged` is refused. A coherent page forces snooping where
/// [`TableConfig::snoop`] says that hardware can; `mmio` is never coherent. Bits that hardware ignores remember what was
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct VtdSecond;

/// Links allow what their leaves allow.
const LINK: u64 = second::R.mask() | second::W.mask();
const PRESENT: u64 = second::R.mask() | second::W.mask();
/// Ignored bits of a leaf: remember [`Attributes::mmio`], and that a page is not [`Attributes::coherent`].
const MMIO: u64 = 1 << (second::IGNORED_HIGH.low + 1);
const NOT_COHERENT: u64 = 1 << (second::IGNORED_HIGH.low + 2);

impl Format for VtdSecond {
    const FORMAT: ioward_types::Format = ioward_types::Format::VtdSecond;
    const GRANULE_SHIFT: u32 = second::PAGE_SHIFT;
    const LINK_CLEANED: u64 = 1 << second::IGNORED_HIGH.low;
    const LINKS_MARKED: bool = true;
    const LEAF_ATTRIBUTES: u64 = second::R.mask()
        | second::W.mask()
        | second::A.mask()
        | second::D.mask()
        | second::SNP.mask()
        | MMIO
        | NOT_COHERENT;

    fn shape(in_bits: u8) -> Shape {
        let levels = match in_bits {
            0..=39 => 3,
            40..=48 => 4,
            _ => 5,
        };
        Shape { levels, root_bytes: 4096 }
    }

    fn check(config: &TableConfig) -> Result<(), ConfigError> {
        check_bounds(config, 12, 1 << 12 | 1 << 21 | 1 << 30, (32, 57), (32, 52))
    }

    #[inline(always)]
    fn link(to: PhysAddr, _: u32) -> u64 {
        to.0 | LINK
    }
    #[inline(always)]
    fn link_target(raw: u64) -> PhysAddr {
        PhysAddr(second::ADDRESS.in_place(raw))
    }
    #[inline(always)]
    fn exact_target(link: u64) -> Option<PhysAddr> {
        Some(PhysAddr(link.wrapping_sub(LINK)))
    }
    #[inline(always)]
    fn is_link(raw: u64, _: u32) -> bool {
        // Hardware marks access above the lowest byte, and a leaf has its size there.
        raw as u8 == LINK as u8
    }
    #[inline(always)]
    fn is_leaf(raw: u64, _: u32) -> bool {
        raw & second::PS.mask() != 0
    }

    #[inline(always)]
    fn leaf(to: PhysAddr, level: u32, _: u32, attributes: u64) -> u64 {
        let size = if level == 0 { 0 } else { second::PS.mask() };
        to.0 | attributes | size
    }
    #[inline(always)]
    fn leaf_shift(_: u64, level: u32) -> u32 {
        Self::entry_shift(level)
    }
    #[inline(always)]
    fn leaf_target(raw: u64, level: u32) -> PhysAddr {
        PhysAddr(second::ADDRESS.in_place(raw) & !((1 << Self::entry_shift(level)) - 1))
    }

    fn kind(raw: u64, level: u32) -> Kind {
        if raw & PRESENT == 0 {
            return Kind::Absent;
        }
        let own = Self::entry_shift(level);
        match (level, raw & second::PS.mask() != 0) {
            _ if raw & second::TM.mask() != 0 => Kind::Malformed("a reserved bit is set"),
            (0, _) => Kind::Leaf { shift: own },
            (_, false) if raw & second::LINK_RESERVED != 0 => {
                Kind::Malformed("a bit is set that is reserved in links")
            }
            (_, false) => Kind::Link { level: level - 1 },
            (1 | 2, true) => match second::ADDRESS.in_place(raw) & ((1u64 << own) - 1) {
                0 => Kind::Leaf { shift: own },
                _ => Kind::Malformed("the page is not aligned to its size"),
            },
            _ => Kind::Malformed("a page at a level that has none"),
        }
    }

    #[inline(always)]
    fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if how.privileged || !(how.read || how.write) {
            return None;
        }
        let coherent = how.coherent && !how.mmio;
        Some(
            second::R.put(how.read.into())
                | second::W.put(how.write.into())
                | second::SNP.put((coherent && rules.snoop).into())
                | if coherent { 0 } else { NOT_COHERENT }
                | if how.mmio { MMIO } else { 0 },
        )
    }
    #[inline(always)]
    fn decode(raw: u64) -> Attributes {
        Attributes {
            read: raw & second::R.mask() != 0,
            write: raw & second::W.mask() != 0,
            execute: false,
            privileged: false,
            coherent: raw & NOT_COHERENT == 0,
            mmio: raw & MMIO != 0,
        }
    }
    fn restrict(link: u64, how: Attributes) -> Attributes {
        Attributes {
            read: how.read && link & second::R.mask() != 0,
            write: how.write && link & second::W.mask() != 0,
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
        let touched = Touched { accessed: raw & second::A.mask() != 0, dirty: raw & second::D.mask() != 0 };
        (raw & !(second::A.mask() | second::D.mask()), touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rules = Rules { dirty: false, no_execute: false, snoop: false };
    const SNOOPS: Rules = Rules { snoop: true, ..PLAIN };

    #[test]
    fn literal_entries() {
        // 9.8: R, W; bit 7 for a large page; bit 11 snoops.
        let plain = VtdSecond::encode(Attributes::READ_WRITE, &PLAIN).unwrap();
        let snoops = VtdSecond::encode(Attributes::READ_WRITE, &SNOOPS).unwrap();
        assert_eq!(VtdSecond::leaf(PhysAddr(0x1234_5000), 0, 12, plain), 0x1234_5003);
        assert_eq!(VtdSecond::leaf(PhysAddr(0x1234_5000), 0, 12, snoops), 0x1234_5803);
        assert_eq!(VtdSecond::leaf(PhysAddr(0x4020_0000), 1, 21, snoops), 0x4020_0883);
        assert_eq!(VtdSecond::leaf(PhysAddr(0x4000_0000), 2, 30, plain), 0x4000_0083);
        assert_eq!(VtdSecond::encode(Attributes::READ, &PLAIN), Some(1));
        assert_eq!(VtdSecond::encode(Attributes::WRITE, &SNOOPS), Some(0x802));
        assert_eq!(VtdSecond::link(PhysAddr(0xabc_d000), 0), 0xabc_d003);
        // Neither registers nor memory that is not coherent are snooped; only ignored bits tell them apart.
        let doorbell = VtdSecond::encode(Attributes::DOORBELL, &SNOOPS).unwrap();
        let streaming = Attributes { coherent: false, ..Attributes::READ };
        assert_eq!(doorbell & !second::IGNORED_HIGH.mask(), 2);
        assert_eq!(VtdSecond::encode(streaming, &SNOOPS).unwrap() & !second::IGNORED_HIGH.mask(), 1);
        assert_eq!(VtdSecond::decode(doorbell), Attributes::DOORBELL);
        assert_eq!(VtdSecond::encode(Attributes { privileged: true, ..Attributes::READ }, &PLAIN), None);
        let nothing = Attributes { execute: true, read: false, ..Attributes::READ };
        assert_eq!(VtdSecond::encode(nothing, &PLAIN), None);
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(VtdSecond::kind(!3, 3), Kind::Absent);
        assert!(matches!(VtdSecond::kind(0x83, 3), Kind::Malformed(_)));
        assert!(matches!(VtdSecond::kind(0x83, 4), Kind::Malformed(_)));
        assert!(matches!(VtdSecond::kind(0x1083, 1), Kind::Malformed(_)));
        assert!(matches!(VtdSecond::kind(0x803, 1), Kind::Malformed(_)));
        assert!(matches!(VtdSecond::kind(0x4000_0000_0000_0003, 0), Kind::Malformed(_)));
        assert_eq!(VtdSecond::kind(0x2, 2), Kind::Link { level: 1 });
        assert_eq!(VtdSecond::kind(0x881, 2), Kind::Leaf { shift: 30 });
        assert_eq!(VtdSecond::kind(0x801, 0), Kind::Leaf { shift: 12 });
    }

    #[test]
    fn levels_follow_the_width() {
        let levels = |bits| VtdSecond::shape(bits).levels;
        assert_eq!([32, 39, 40, 48, 49, 57].map(levels), [3, 3, 4, 4, 5, 5]);
    }
}
