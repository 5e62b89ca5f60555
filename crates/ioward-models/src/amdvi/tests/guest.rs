//! Guest CR3 tables and guest tables.

use super::bench::*;
use crate::{
    Access, Outcome,
    amdvi::{AmdViConfig, DteMeaning},
};
use ioward_types::PhysAddr;

/// Guest CR3 table of one level at 0x0110_0000 (TRP bits 14:12 zero, 30:15 0x220, so 0x0220_0000 in word 1), PASID 0 and
/// PASID 7, both with four-level tables at 0x0111_0000 that map 0x5000 to 0x0120_0000. Domain 5, Mode 0.
fn one_level(bench: &Bench) {
    bench.put(0x0110_0000, 0x0111_0001);
    bench.put(0x0110_0038, 0x0111_0001);
    tables(bench);
    bench.entry(DEVICE, [0x6080_0000_0000_0003, 0x0220_0005, 0, 0]);
}

fn tables(bench: &Bench) {
    bench.put(0x0111_0000, 0x0111_1007);
    bench.put(0x0111_1000, 0x0111_2007);
    bench.put(0x0111_2000, 0x0111_3007);
    bench.put(0x0111_3028, 0x0120_0007);
}

fn of(bench: &Bench, pasid: u32, at: u64, access: Access) -> Option<u64> {
    reached(bench.request(DEVICE, Some(pasid), at, access))
}

#[test]
fn four_levels_translate_and_keep_accessed_and_dirty_bits() {
    let bench = Bench::new(AmdViConfig::default());
    one_level(&bench);
    assert_eq!(of(&bench, 7, 0x5678, Access::Read), Some(0x0120_0678));
    assert_eq!(bench.get(0x0111_3028), 0x0120_0027);
    assert_eq!(of(&bench, 7, 0x5678, Access::Write), Some(0x0120_0678));
    assert_eq!(bench.get(0x0111_3028), 0x0120_0067);
    let Some(DteMeaning::Translated(entry)) = bench.model.meaning(DEVICE) else { panic!("legal") };
    assert_eq!(
        entry.guest.map(|g| (g.root, g.gcr3_levels, g.levels, g.rid)),
        Some((0x0110_0000, 1, 4, false))
    );
    bench.clean();
}

#[test]
fn the_root_pointer_lies_in_three_pieces() {
    let bench = Bench::new(AmdViConfig::default());
    // 0x000f_edcb_a987_6000: bits 14:12 = 6, 30:15 = 0x530e, 51:31 = 0x1f_db97.
    let words = [0x0080_0000_0000_0003 | 6 << 58, 0x530e << 16 | 0x1f_db97 << 43, 0, 0];
    let DteMeaning::Translated(entry) = bench.model.meaning_of(&words) else { panic!("legal") };
    assert_eq!(entry.guest.map(|g| g.root), Some(0x000f_edcb_a987_6000));
}

#[test]
fn pasids_of_two_and_three_levels() {
    // PASID 0x4_0a03 is 1, 5, 3; PASID 0x0a03 is 5, 3.
    for (levels, pasid) in [(2u64, 0x0a03), (3, 0x4_0a03)] {
        let bench = Bench::new(AmdViConfig { pasid_bits: 20, ..AmdViConfig::default() });
        tables(&bench);
        bench.put(0x0110_0000 + 8, 0x0110_1001);
        bench.put(0x0110_1000 + 5 * 8, 0x0110_2001);
        bench.put(0x0110_2000 + 3 * 8, 0x0111_0001);
        let root = if levels == 3 { 0x0110_0000u64 } else { 0x0110_1000 };
        let words = [
            0x6080_0000_0000_0003 | (levels - 1) << 56 | (root >> 12 & 7) << 58,
            (root >> 15 & 0xffff) << 16 | 5,
            0,
            0,
        ];
        bench.entry(DEVICE, words);
        assert_eq!(of(&bench, pasid, 0x5000, Access::Read), Some(0x0120_0000), "{levels} levels");
        assert_eq!(of(&bench, 4, 0x5000, Access::Read), None);
        // GN, US; PASID 4, not domain 5.
        assert_eq!(bench.event(), Some([0x2005_0004_0000_0008, 0x5000]));
        if levels == 2 {
            assert_eq!(of(&bench, 0x4_0a03, 0x5000, Access::Read), None, "wider than two levels");
            assert_eq!(bench.event(), Some([0x2005_0a03_0004_0008, 0x5000]));
        }
        bench.clean();
    }
}

#[test]
fn requests_without_pasid_use_pasid_zero_only_with_giov() {
    let bench = Bench::new(AmdViConfig::default());
    one_level(&bench);
    assert_eq!(bench.read(0x5000), Some(0x5000), "Mode 0 without GIoV: identity");
    bench.entry(DEVICE, [0x60c0_0000_0000_0003, 0x0220_0005, 0, 0]);
    bench.command([0x2000_0000_0000_0008, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!(bench.read(0x6000), None);
    assert_eq!(bench.event(), Some([0x2005_0000_0000_0008, 0x6000]));
    bench.clean();
}

#[test]
fn a_pasid_without_guest_translation_faults() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    assert_eq!(of(&bench, 7, 0x5000, Access::Read), None);
    assert_eq!(bench.event(), Some([0x2005_0007_0000_0008, 0x5000]));
    bench.clean();
}

#[test]
fn rights_of_guest_tables() {
    let flag = |words: [u64; 2]| words[0] >> 48 & 0xfff;
    let case = |at: u64, value: u64, access: Access| {
        let bench = Bench::new(AmdViConfig::default());
        one_level(&bench);
        bench.put(at, value);
        let to = of(&bench, 7, 0x5000, access);
        (to, bench.event().map(flag))
    };
    // PE, RW, PR, US, GN: a write to a read-only page.
    assert_eq!(case(0x0111_3028, 0x0120_0005, Access::Write), (None, Some(0x075)));
    assert_eq!(case(0x0111_2000, 0x0111_3005, Access::Write), (None, Some(0x075)));
    assert_eq!(case(0x0111_3028, 0x0120_0005, Access::Read), (Some(0x0120_0000), None));
    // A supervisor page.
    assert_eq!(case(0x0111_1000, 0x0111_2003, Access::Read), (None, Some(0x055)));
    // No execute, and NX in the event.
    assert_eq!(case(0x0111_3028, 0x8000_0000_0120_0007, Access::Execute), (None, Some(0x057)));
    assert_eq!(case(0x0111_3028, 0x0120_0007, Access::Execute), (Some(0x0120_0000), None));
}

#[test]
fn large_pages_and_reserved_bits() {
    let bench = Bench::new(AmdViConfig::default());
    one_level(&bench);
    bench.put(0x0111_2008, 0x0140_0087);
    let outcome = bench.request(DEVICE, Some(7), 0x23_4567, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x0143_4567), page: 0x20_0000, writable: true });
    bench.put(0x0111_1008, 0x4000_0087);
    assert_eq!(of(&bench, 7, 0x4123_4567, Access::Read), Some(0x4123_4567));
    bench.clean();
    for (at, value, address) in [
        (0x0111_2010, 0x0140_2087, 0x40_0000), // a 2 MiB page with address bit 13
        (0x0111_0008, 0x0140_0087, 0x80_0000_0000), // PS at level 4
    ] {
        bench.put(at, value);
        assert_eq!(of(&bench, 7, address, Access::Read), None);
        assert_eq!(bench.event().map(|words| words[0] >> 48 & 0xfff), Some(0x095));
        bench.violated(&["48882 §2.2.6"]);
    }
}

#[test]
fn addresses_are_canonical() {
    let bench = Bench::new(AmdViConfig::default());
    one_level(&bench);
    bench.put(0x0111_0ff8, 0x0111_1007);
    assert_eq!(of(&bench, 7, 0xffff_ff80_0000_5000, Access::Read), Some(0x0120_0000));
    assert_eq!(of(&bench, 7, 0x0000_ff80_0000_5000, Access::Read), None);
}

#[test]
fn five_levels() {
    let bench = Bench::new(AmdViConfig::default());
    one_level(&bench);
    bench.put(0x0110_0038, 0x0111_8001);
    bench.put(0x0111_8008, 0x0111_0007);
    // Guest paging mode 1.
    bench.entry(DEVICE, [0x6080_0000_0000_0003, 0x0220_0005, 0x0040_0000_0000_0000, 0]);
    assert_eq!(of(&bench, 7, 0x0001_0000_0000_5000, Access::Read), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn nested_tables_translate_twice() {
    let bench = Bench::new(AmdViConfig::default());
    // Guest physical 0x1000_0000 + x is system physical 0x0110_0000 + x, for 2 MiB, in a two-level host table.
    bench.put(0x0115_0400, 0x6000_0000_0100_0001);
    bench.put(0x0110_0038, 0x1011_0001);
    bench.put(0x0111_0000, 0x1011_1007);
    bench.put(0x0111_1000, 0x1011_2007);
    bench.put(0x0111_2000, 0x1011_3007);
    bench.put(0x0111_3028, 0x1012_0007);
    bench.entry(DEVICE, [0x6080_0000_0115_0403, 0x0220_0005, 0, 0]);
    assert_eq!(of(&bench, 7, 0x5678, Access::Read), Some(0x0112_0678));
    assert_eq!(bench.read(0x1012_0678), Some(0x0112_0678), "without PASID: the host table alone");
    bench.clean();
}
