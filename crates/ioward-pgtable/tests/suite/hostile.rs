//! Walks of memory that nobody vouches for; rights that links take away; cleans, counted.

use crate::common::{Host, cases, foreign, iova, phys};
use ioward_pgtable::{AnyTable, Meaning, ReadMemory, WalkError, walk};
use ioward_types::{Attributes, Format, Iova, PhysAddr, Root, TableConfig};
use proptest::prelude::*;
use std::collections::BTreeMap;

const K4: u64 = 0x1000;
const RW: Attributes = Attributes::READ_WRITE;

/// Any word anywhere, mostly valid-looking ones that lead on or back.
struct Noise(u64);
impl ReadMemory for Noise {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let mixed =
            (at.0 ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(self.0 | 1);
        match mixed >> 60 {
            0 => None,
            1..4 => Some(mixed),
            // A link to the same table, in every format's words.
            4..8 => Some(at.0 & 0x000f_ffff_ffff_f000 | 0x6000_0000_0000_0003 | mixed & 0xe00),
            _ => Some(mixed & !0x80 | 3),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]
    #[test]
    fn no_memory_makes_a_walk_loop_or_panic(
        which: usize, seed: u64, at: u64, narrow in 0u8..64, root: u64, levels: u8, in_bits: u8, sane: bool,
    ) {
        let all = cases::all();
        let mut config = all[which % all.len()];
        let mut root = Root { at: PhysAddr(root), levels };
        if sane {
            root.levels = levels % 7;
        } else {
            config.in_bits = in_bits;
        }
        foreign::hold(&Noise(seed), &config, root, at >> narrow);
    }
}

/// Words that are nearly right: what the engine writes for some mapping, with a bit changed here and there. The judge must
/// have something to say about many of them, else this shows nothing.
#[test]
fn what_is_nearly_right_is_understood_like_the_judge_does() {
    for config in cases::all() {
        let (host, mut said) = (Host::new(), 0);
        let table = AnyTable::new(host.clone(), &config).unwrap();
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(0), phys(0x8000_0000, 64 * config.granule()), RW) }.unwrap();
        let steps = table.walk(Iova(0)).unwrap();
        let last = *steps.last().unwrap();
        for step in steps.iter() {
            for bit in 0..65 {
                let at = step.table.0 + u64::from(step.index) * 8;
                let memory = Changed { host: &host, at, flip: 1u64.checked_shl(bit).unwrap_or(0) };
                for probe in [0, config.granule() + 8, 63 * config.granule()] {
                    said += u32::from(foreign::hold(&memory, &config, table.root(), probe));
                }
            }
        }
        assert!(said > 3 * last.level as u32, "{config}: {said}");
    }
}

struct Changed<'h> {
    host: &'h Host,
    at: u64,
    flip: u64,
}
impl ReadMemory for Changed<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        Some(self.host.peek(at)? ^ if at.0 == self.at { self.flip } else { 0 })
    }
}

struct Words(BTreeMap<u64, u64>);
impl ReadMemory for Words {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        self.0.get(&at.0).copied()
    }
}

fn config(format: Format, in_bits: u8) -> TableConfig {
    let page_sizes = K4 | 0x20_0000;
    TableConfig { format, in_bits, out_bits: 48, page_sizes, coherent: true, dirty: false, snoop: false }
}

#[test]
fn literal_memory_is_understood() {
    // AMD v1: level 3 leads straight to level 1, which holds a writable page; the link forbids writing.
    let words = Words(BTreeMap::from([
        (0x1000, 0x2000_0000_0000_2201),
        (0x2000 + 5 * 8, 0x7000_0000_abcd_e001),
        (0x1008, 0x6000_0000_0000_1601),
    ]));
    let (v1, root) = (config(Format::AmdV1, 39), Root { at: PhysAddr(0x1000), levels: 3 });
    let steps = walk(&words, &v1, root, Iova(0x5123)).unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].meaning, Meaning::Table { at: PhysAddr(0x2000), level: 1 });
    let attributes = Attributes { write: false, ..RW };
    assert_eq!(steps.end(), Meaning::Page { to: PhysAddr(0xabcd_e123), bytes: K4, attributes });
    assert_eq!(
        steps[1].to_string(),
        "level 1 table 0x2000 [5] = 0x70000000abcde001: 0xabcde123 in a page of 0x1000 bytes, r-- coherent"
    );
    // The level left out has an index that is not zero.
    assert!(matches!(walk(&words, &v1, root, Iova(0x20_5000)).unwrap().end(), Meaning::Malformed(_)));
    // A link to its own level.
    assert!(matches!(walk(&words, &v1, root, Iova(0x4000_0000)).unwrap().end(), Meaning::Malformed(_)));
    assert_eq!(walk(&words, &v1, root, Iova(0x8000_0000)).unwrap().end(), Meaning::Unreadable);
    // Arm stage 1: APTable takes writes away, and unprivileged rights.
    let words = Words(BTreeMap::from([
        (0x1000, 0x2003),
        (0x2000, 0x6000_0000_0000_3003),
        (0x3000, 0x0060_0000_1234_5f43),
    ]));
    let steps = walk(&words, &config(Format::ArmStage1, 39), root, Iova(0)).unwrap();
    let attributes = Attributes { write: false, privileged: true, ..RW };
    assert_eq!(steps.end(), Meaning::Page { to: PhysAddr(0x1234_5000), bytes: K4, attributes });
}

#[test]
fn a_walk_that_cannot_begin_says_why() {
    let nothing = Words(BTreeMap::new());
    let root = Root { at: PhysAddr(0), levels: 3 };
    let wrong = |config: TableConfig, levels, at| {
        walk(&nothing, &config, Root { levels, ..root }, Iova(at)).unwrap_err()
    };
    let v1 = config(Format::AmdV1, 39);
    assert_eq!(wrong(v1, 2, 0), WalkError::Levels { levels: 2, in_bits: 39 });
    assert_eq!(wrong(v1, 0, 0), WalkError::Levels { levels: 0, in_bits: 39 });
    assert_eq!(wrong(v1, 7, 0), WalkError::Levels { levels: 7, in_bits: 39 });
    assert_eq!(wrong(v1, 3, 1 << 39), WalkError::Input { at: Iova(1 << 39), in_bits: 39 });
    let other = TableConfig { page_sizes: 0x2000, ..config(Format::RiscvFirst, 39) };
    assert_eq!(wrong(other, 3, 0), WalkError::Format(other));
    let v2 = config(Format::AmdV2, 48);
    assert_eq!(wrong(v2, 4, 1 << 47), WalkError::Input { at: Iova(1 << 47), in_bits: 48 });
    // Not canonical, yet plain with fewer bits than four levels have.
    assert!(walk(&nothing, &config(Format::AmdV1, 48), Root { levels: 4, ..root }, Iova(1 << 47)).is_ok());
}

#[test]
fn each_line_is_cleaned_once() {
    let lines = |host: &Host| host.take_cleaned().iter().map(|span| span.bytes / 64).collect::<Vec<_>>();
    for format in [Format::AmdV1, Format::AmdV2, Format::ArmStage1, Format::ArmStage2] {
        let host = Host::with(usize::MAX, true);
        let config = TableConfig { coherent: false, ..config(format, 39) };
        let table = AnyTable::new(host.clone(), &config).unwrap();
        lines(&host);
        let map = |at, pages| {
            // SAFETY: no device walks it.
            unsafe { table.map(Iova(at), phys(0x1000, pages * K4), RW) }.unwrap();
        };
        map(0, 1);
        let levels = usize::from(table.root().levels);
        let new = lines(&host);
        // Each new table whole, then the link to it; at last the leaf's line.
        assert_eq!(new, [64, 1].repeat(levels - 1).into_iter().chain([1]).collect::<Vec<_>>(), "{format}");
        map(K4, 7);
        assert_eq!(lines(&host), [1], "the rest of the line");
        map(8 * K4, 504);
        assert_eq!(lines(&host), [63], "a batch");
        let gone = table.unmap(iova(6 * K4, 4 * K4)).unwrap();
        assert!(!gone.tables_went());
        assert_eq!(lines(&host), [2]);
        let gone = table.unmap(iova(0, 512 * K4)).unwrap();
        assert!(gone.tables_went());
        assert_eq!(lines(&host), [1], "the link alone");
    }
}
