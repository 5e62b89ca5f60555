//! RISC-V tables, first and second stage.

use crate::{
    error::ConfigError,
    format::{Format, Kind, Options, Rules, Shape, Touched, check_bounds, seldom},
};
use ioward_spec::riscv::paging as pte;
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// RISC-V tables of 3, 4 or 5 levels: [`RiscvFirst`] and [`RiscvSecond`] (RISC-V privileged architecture, version 1.12,
/// 10.4 to 10.6 and 8.5).
///
/// Every level has pages: 4 KiB, 2 MiB, 1 GiB, 512 GiB, 256 TiB; 64 KiB are Svnapot's sets of 16 entries. Whoever may
/// write may read; `write` without `read` is refused. Without dirty tracking a leaf is made accessed, and dirty if it is
/// writable, so that hardware neither writes it nor faults over it.
///
/// Where [`TableConfig::snoop`] says that hardware has Svpbmt, memory that is not `coherent` is NC and `mmio`, which is
/// never coherent, is I/O. Elsewhere the attributes of the place decide, and bits of software's remember what was asked
/// for.
#[derive(Clone, Copy, Debug)]
pub struct Riscv<const STAGE: u8>;

/// Sv39, Sv48, Sv57: addresses repeat their highest bit. An input width of 39, 48 or 57 bits means both halves, less
/// means the lower half alone. A page is a user's, which any request may use, or the supervisor's if `privileged`.
pub type RiscvFirst = Riscv<1>;

/// Sv39x4, Sv48x4, Sv57x4: 41, 50 or 59 bits, or less, from zero up; the root has 16 KiB. `privileged` is refused: all
/// accesses of this stage count as a user's.
pub type RiscvSecond = Riscv<2>;

/// Kinds of memory, as Svpbmt numbers them; [`pte::RSW`] takes the same numbers where Svpbmt lacks.
const NOT_COHERENT: u64 = pte::PBMT_NC;
const MMIO: u64 = pte::PBMT_IO;
/// Any of them makes an entry a leaf.
const RIGHTS: u64 = pte::R.mask() | pte::W.mask() | pte::X.mask();

impl<const STAGE: u8> Riscv<STAGE> {
    const EXTRA_BITS: u32 = if STAGE == 1 { 0 } else { pte::SECOND_STAGE_ROOT_BITS };
}

/// How much further left a page's number stands in an address than in an entry.
const NUMBER_SHIFT: u32 = pte::PAGE_SHIFT - pte::PPN.low as u32;
/// How far left an index of words of eight bytes stands before that shift.
const INDEX_BEFORE: u32 = 3 - NUMBER_SHIFT;

#[inline(always)]
fn address(raw: u64) -> u64 {
    (raw & pte::PPN.mask()) << NUMBER_SHIFT
}

#[inline(always)]
fn number(to: PhysAddr) -> u64 {
    to.0 >> NUMBER_SHIFT
}

impl<const STAGE: u8> Format for Riscv<STAGE> {
    const FORMAT: ioward_types::Format =
        if STAGE == 1 { ioward_types::Format::RiscvFirst } else { ioward_types::Format::RiscvSecond };
    const GRANULE_SHIFT: u32 = pte::PAGE_SHIFT;
    const SIGN_EXTENDED: bool = STAGE == 1;
    const ROOT_EXTRA_BITS: u32 = Self::EXTRA_BITS;
    const LINK_CLEANED: u64 = 1 << pte::RSW.low;
    const LEAF_ATTRIBUTES: u64 = pte::V.mask()
        | RIGHTS
        | pte::U.mask()
        | pte::G.mask()
        | pte::A.mask()
        | pte::D.mask()
        | pte::RSW.mask()
        | pte::PBMT.mask();

    fn shape(in_bits: u8) -> Shape {
        let levels = match u32::from(in_bits) - Self::EXTRA_BITS {
            0..=39 => 3,
            40..=48 => 4,
            _ => 5,
        };
        Shape { levels, root_bytes: 4096 << Self::EXTRA_BITS }
    }

    fn check(config: &TableConfig) -> Result<(), ConfigError> {
        let sizes = 1 << 12 | 1 << pte::NAPOT_64K_SHIFT | 1 << 21 | 1 << 30 | 1 << 39 | 1 << 48;
        check_bounds(config, 12, sizes, (32, 57 + Self::EXTRA_BITS as u8), (32, 56))
    }

    #[inline(always)]
    fn link(to: PhysAddr, _: u32) -> u64 {
        number(to) | pte::V.mask()
    }
    #[inline(always)]
    fn link_target(raw: u64) -> PhysAddr {
        // Links have nothing above the page's number.
        PhysAddr((raw << NUMBER_SHIFT) & !0xfff)
    }
    #[inline(always)]
    fn entry_below(link: u64, level: u32, at: u64) -> Option<PhysAddr> {
        // The index is put beside the page's number before that is shifted: the shift is then part of the load's address.
        let number = link & pte::PPN.mask();
        let index =
            at >> (Self::entry_shift(level) - INDEX_BEFORE) & (((1 << Self::INDEX_BITS) - 1) << INDEX_BEFORE);
        Some(PhysAddr((number | index) << NUMBER_SHIFT))
    }
    #[inline(always)]
    fn exact_target(link: u64) -> Option<PhysAddr> {
        Some(PhysAddr((link << NUMBER_SHIFT).wrapping_sub(pte::V.mask() << NUMBER_SHIFT)))
    }
    #[inline(always)]
    fn is_link(raw: u64, _: u32) -> bool {
        // The mark of a clean is above the lowest byte, and a leaf has rights there.
        raw as u8 == pte::V.mask() as u8
    }
    #[inline(always)]
    fn is_leaf(raw: u64, _: u32) -> bool {
        raw & RIGHTS != 0
    }

    #[inline(always)]
    fn leaf(to: PhysAddr, level: u32, shift: u32, attributes: u64) -> u64 {
        if shift == Self::entry_shift(level) {
            return number(to) | attributes;
        }
        // All entries of a set are alike: the page's number, with the size where the page has no address bits.
        let page = number(PhysAddr(to.0 & !((1 << shift) - 1)));
        page | pte::NAPOT_64K.put(pte::NAPOT_64K_PATTERN) | pte::N.mask() | attributes
    }
    #[inline(always)]
    fn leaf_shift(raw: u64, level: u32) -> u32 {
        match raw & pte::N.mask() {
            0 => Self::entry_shift(level),
            _ => pte::NAPOT_64K_SHIFT,
        }
    }
    #[inline(always)]
    fn leaf_target(raw: u64, level: u32) -> PhysAddr {
        PhysAddr(address(raw) & !((1 << Self::leaf_shift(raw, level)) - 1))
    }

    #[inline(always)]
    fn output(raw: u64, level: u32, at: u64) -> PhysAddr {
        // Sets are of smallest pages.
        if level == 0 && raw & pte::N.mask() != 0 {
            seldom();
            let set = (1 << pte::NAPOT_64K_SHIFT) - 1;
            return PhysAddr(address(raw) & !set | at & set);
        }
        // A page is aligned to its size, so the sum is what "or" gives; but a sum with a shifted number is one instruction.
        PhysAddr(address(raw) + (at & ((1 << Self::entry_shift(level)) - 1)))
    }

    #[inline(always)]
    fn output_of_granule(raw: u64, at: u64) -> Option<PhysAddr> {
        // Bit 63 is N.
        if raw as i64 <= 0 {
            seldom();
            return None;
        }
        Some(PhysAddr(address(raw) + (at & ((1 << Self::GRANULE_SHIFT) - 1))))
    }

    fn kind(raw: u64, level: u32) -> Kind {
        if raw & pte::V.mask() == 0 {
            return Kind::Absent;
        }
        let own = Self::entry_shift(level);
        let not_in_links = pte::U.mask() | pte::A.mask() | pte::D.mask() | pte::PBMT.mask() | pte::N.mask();
        if raw & pte::RESERVED.mask() != 0 {
            return Kind::Malformed("reserved bits are set");
        }
        match raw & RIGHTS {
            0 if raw & not_in_links != 0 => Kind::Malformed("a bit is set that is reserved in links"),
            0 if level == 0 => Kind::Malformed("a link at the last level"),
            0 => Kind::Link { level: level - 1 },
            rights if rights & pte::R.mask() == 0 && rights & pte::W.mask() != 0 => {
                Kind::Malformed("writable and not readable")
            }
            _ if STAGE != 1 && raw & pte::U.mask() == 0 => {
                Kind::Malformed("no user's page in a second stage")
            }
            _ if pte::PBMT.of(raw) > pte::PBMT_IO => Kind::Malformed("a reserved memory type"),
            _ if raw & pte::N.mask() != 0 => match (level, pte::NAPOT_64K.of(raw)) {
                (0, pte::NAPOT_64K_PATTERN) => Kind::Leaf { shift: pte::NAPOT_64K_SHIFT },
                _ => Kind::Malformed("a set of a size that Svnapot has not"),
            },
            _ if address(raw) & ((1u64 << own) - 1) != 0 => {
                Kind::Malformed("the page is not aligned to its size")
            }
            _ => Kind::Leaf { shift: own },
        }
    }

    #[inline(always)]
    fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if !how.read || how.privileged && STAGE != 1 {
            return None;
        }
        let memory = match (how.mmio, how.coherent) {
            (true, _) => MMIO,
            (false, false) => NOT_COHERENT,
            (false, true) => pte::PBMT_PMA,
        };
        Some(
            pte::V.mask()
                | pte::R.mask()
                | pte::W.put(how.write.into())
                | pte::X.put(how.execute.into())
                | pte::U.put((!how.privileged).into())
                | pte::A.put((!rules.dirty).into())
                | pte::D.put((!rules.dirty && how.write).into())
                | if rules.snoop { pte::PBMT.put(memory) } else { pte::RSW.put(memory) },
        )
    }
    #[inline(always)]
    fn decode(raw: u64) -> Attributes {
        let memory = pte::PBMT.of(raw) | pte::RSW.of(raw);
        Attributes {
            read: raw & pte::R.mask() != 0,
            write: raw & pte::W.mask() != 0,
            execute: raw & pte::X.mask() != 0,
            privileged: STAGE == 1 && raw & pte::U.mask() == 0,
            coherent: memory == pte::PBMT_PMA,
            mmio: memory & MMIO != 0,
        }
    }
    fn widen(how: Attributes) -> Attributes {
        Attributes {
            read: how.read || how.write,
            privileged: how.privileged && STAGE == 1,
            coherent: how.coherent && !how.mmio,
            ..how
        }
    }

    fn cuts_hitless(_: &Options) -> bool {
        true
    }
    #[inline(always)]
    fn untouched(raw: u64) -> (u64, Touched) {
        let touched = Touched { accessed: raw & pte::A.mask() != 0, dirty: raw & pte::D.mask() != 0 };
        (raw & !(pte::A.mask() | pte::D.mask()), touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rules = Rules { dirty: false, no_execute: false, snoop: false };
    const SVPBMT: Rules = Rules { snoop: true, ..PLAIN };

    #[test]
    fn literal_entries() {
        // V, R, W, U, A, D; the page number from bit 10.
        let data = RiscvFirst::encode(Attributes::READ_WRITE, &PLAIN).unwrap();
        assert_eq!(RiscvFirst::leaf(PhysAddr(0x1234_5000), 0, 12, data), 0x048d_14d7);
        assert_eq!(RiscvFirst::leaf(PhysAddr(0x8000_0000), 2, 30, data), 0x2000_00d7);
        assert_eq!(RiscvFirst::link(PhysAddr(0x8020_1000), 0), 0x2008_0401);
        assert_eq!(RiscvSecond::encode(Attributes::READ, &PLAIN), Some(0x53));
        let privileged = Attributes { privileged: true, execute: true, ..Attributes::READ };
        assert_eq!(RiscvFirst::encode(privileged, &PLAIN), Some(0x4b));
        assert_eq!(RiscvSecond::encode(privileged, &PLAIN), None);
        assert_eq!(RiscvFirst::encode(Attributes::WRITE, &PLAIN), None);
        // Svnapot: N, and 1000 below the page's number, in all 16 entries alike.
        for entry in [0x1234_0000, 0x1234_5000, 0x1234_f000] {
            assert_eq!(RiscvFirst::leaf(PhysAddr(entry), 0, 16, data), 0x8000_0000_048d_20d7);
        }
        assert_eq!(RiscvFirst::leaf_target(0x8000_0000_048d_20d7, 0), PhysAddr(0x1234_0000));
        // Svpbmt.
        let streaming = Attributes { coherent: false, ..Attributes::READ };
        let registers = Attributes { read: true, ..Attributes::DOORBELL };
        assert_eq!(RiscvSecond::encode(streaming, &SVPBMT), Some(0x2000_0000_0000_0053));
        assert_eq!(RiscvSecond::encode(registers, &SVPBMT), Some(0x4000_0000_0000_00d7));
        // Without it the reserved bits stay zero, and software's remember.
        assert_eq!(RiscvSecond::encode(streaming, &PLAIN), Some(0x153));
        assert_eq!(RiscvSecond::encode(registers, &PLAIN), Some(0x2d7));
        for raw in [0x4000_0000_0000_00d7, 0x2d7] {
            assert_eq!(RiscvSecond::decode(raw), registers);
        }
        let tracked = Rules { dirty: true, ..PLAIN };
        assert_eq!(RiscvFirst::encode(Attributes::READ_WRITE, &tracked), Some(0x17));
    }

    #[test]
    fn nonsense_is_named() {
        let bad = |raw, level| matches!(RiscvSecond::kind(raw, level), Kind::Malformed(_));
        assert_eq!(RiscvSecond::kind(!1, 3), Kind::Absent);
        assert!(bad(0x1, 0), "a link at the last level");
        assert!(bad(0x5, 0), "write only");
        assert!(bad(0x11, 1) && bad(0x41, 1) && bad(0x81, 1), "U, A and D of a link");
        assert!(bad(0x3, 0), "no user's page");
        assert_eq!(RiscvFirst::kind(0x3, 0), Kind::Leaf { shift: 12 });
        assert!(bad(0x53 | 1 << 54, 0) && bad(0x53 | 3 << 61, 0));
        assert!(bad(0x53 | 1 << 63, 0) && bad(0x53 | 1 << 63 | 0x2000, 1));
        assert_eq!(RiscvSecond::kind(0x53 | 1 << 63 | 0x2000, 0), Kind::Leaf { shift: 16 });
        assert!(bad(0x453, 1), "a misaligned large page");
        assert_eq!(RiscvSecond::kind(0x53, 4), Kind::Leaf { shift: 48 });
        assert_eq!(RiscvSecond::kind(0x21, 1), Kind::Link { level: 0 });
    }

    #[test]
    fn an_entry_below_a_link_is_where_table_and_index_say() {
        for target in [0, 0x1000, 0x80ab_c000, (1 << 56) - 0x1000] {
            for mark in [0, RiscvFirst::LINK_CLEANED] {
                for (level, at) in (0..4).flat_map(|level| {
                    [0, 0xfff, 0x1234_5678_9abc, 0x7fff_ffff_ffff, u64::MAX].map(|at| (level, at))
                }) {
                    let link = RiscvFirst::link(PhysAddr(target), level) | mark;
                    let index = at >> (12 + 9 * level) & 511;
                    let entry = RiscvFirst::entry_below(link, level, at);
                    assert_eq!(entry, Some(PhysAddr(target + 8 * index)), "{target:#x}, {level}, {at:#x}");
                }
            }
        }
    }

    #[test]
    fn the_second_stage_has_a_root_of_16_kib() {
        let shape = |bits| (RiscvSecond::shape(bits).levels, RiscvSecond::shape(bits).root_bytes);
        assert_eq!([41, 42, 50, 51, 59].map(shape).map(|(levels, _)| levels), [3, 4, 4, 5, 5]);
        assert_eq!(shape(41).1, 16384);
        assert_eq!(RiscvFirst::shape(39), Shape { levels: 3, root_bytes: 4096 });
        assert_eq!([40, 48, 49, 57].map(|bits| RiscvFirst::shape(bits).levels), [4, 4, 5, 5]);
    }
}
