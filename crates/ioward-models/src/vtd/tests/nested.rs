//! Nested translation: first-stage tables and pages at intermediate addresses.

use super::bench::*;
use crate::{Access, Outcome, vtd::VtdConfig};
use ioward_types::PhysAddr;

/// Both stages of four levels, domain 5, walks snoop. The first stage's root is at the intermediate address 0x10_0000.
const NESTED: [u64; 3] = [0x0110_00c9, 0x0080_0005, 0x0010_0033];

/// Intermediate 0x10_0000 to 0x10_3fff are the tables at 0x0111_0000; 0x20_5000 is 0x0120_0000.
fn nested() -> Bench {
    let bench = Bench::scalable(VtdConfig::default());
    bench.put(0x0110_0000, 0x0110_1003);
    bench.put(0x0110_1000, 0x0110_2003);
    bench.put(0x0110_2000, 0x0110_3003);
    for page in 0..4 {
        bench.put(0x0110_3800 + 8 * page, 0x0111_0003 + (page << 12));
    }
    bench.put(0x0110_2008, 0x0110_4003);
    bench.put(0x0110_4028, 0x0120_0003);
    bench.put(0x0111_0000, 0x0010_1007);
    bench.put(0x0111_1000, 0x0010_2007);
    bench.put(0x0111_2000, 0x0010_3007);
    bench.put(0x0111_3038, 0x0020_5007);
    bench.pasid(1, NESTED);
    bench
}

#[test]
fn both_stages_translate() {
    let bench = nested();
    let to = Outcome::To { at: PhysAddr(0x0120_0010), page: 0x1000, writable: true };
    assert_eq!(bench.request(DEVICE, Some(1), 0x7010, Access::Write), to);
    assert_eq!(bench.get(0x0111_3038), 0x0020_5067, "the first stage's bits");
    assert_eq!(bench.get(0x0110_4028), 0x0120_0003, "the second's are not asked for");
    bench.model.audit(true);
    bench.clean();
}

#[test]
fn the_smaller_page_and_the_lesser_right_win() {
    let bench = nested();
    bench.put(0x0111_2008, 0x0020_0087);
    assert_eq!(bench.request(DEVICE, Some(1), 0x20_5010, Access::Read), {
        Outcome::To { at: PhysAddr(0x0120_0010), page: 0x1000, writable: true }
    });
    bench.put(0x0110_4030, 0x0121_0001);
    assert_eq!(bench.write_as(1, 0x20_6000), None);
    assert_eq!(bench.reason(), Some(0x85));
    assert_eq!(bench.read_as(1, 0x20_6000), Some(0x0121_0000));
    // What the second stage does not map.
    assert_eq!(bench.read_as(1, 0x20_8000), None);
    assert_eq!(bench.reason(), Some(0x79));
    bench.clean();
}

#[test]
fn tables_that_the_second_stage_hides() {
    for (at, value, reason) in [
        (0x0110_3800, 0, 0x75),                     // the top table is not mapped
        (0x0110_3808, 0, 0x76),                     // another is not
        (0x0110_3818, 0x0111_3001, 0x77),           // bits are to be set in a read-only one
        (0x0111_1000, 0x0008_0000_0000_0007, 0x74), // a table beyond the second stage
    ] {
        let bench = nested();
        bench.put(at, value);
        assert_eq!(bench.read_as(1, 0x7000), None, "{reason:#x}");
        assert_eq!(bench.reason(), Some(reason));
        bench.memory.violations().assert_none();
    }
}

#[test]
fn second_stage_dirty_bits_follow() {
    let bench = nested();
    bench.pasid(1, [0x0110_02c9, 0x0080_0005, 0x0010_0033]);
    assert_eq!(bench.read_as(1, 0x7000), Some(0x0120_0000));
    assert_eq!(bench.get(0x0110_4028), 0x0120_0103);
    assert_eq!(bench.write_as(1, 0x7000), Some(0x0120_0000));
    assert_eq!((bench.get(0x0110_4028), bench.get(0x0111_3038)), (0x0120_0303, 0x0020_5067));
    // Writing the first stage's accessed bits made its table's page dirty.
    assert_eq!(bench.get(0x0110_3818), 0x0111_3303);
    bench.clean();
}

#[test]
fn who_forgets_nested_translations() {
    for (words, helps) in [
        ([0x0005_0032_u64, 0x7000_u64], false), // 0x7000 is no intermediate address
        ([0x0000_0002_0005_0026, 0], false),
        ([0x0005_0032, 0x20_5000], true),
        ([0x0000_0001_0005_0036, 0x7000], false), // the second stage's own entry stays
        ([0x0005_0022, 0], true),
        ([0x12, 0], true),
    ] {
        let bench = nested();
        assert_eq!(bench.read_as(1, 0x7000), Some(0x0120_0000));
        bench.put(0x0110_4028, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x7000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
    for (words, helps) in [
        ([0x0000_0001_0005_0036_u64, 0x7000_u64], true),
        ([0x0000_0001_0005_0026, 0], true),
        ([0x0005_0032, 0x20_6000], false),
        ([0x0000_0001_0005_0036, 0x8000], false),
    ] {
        let bench = nested();
        assert_eq!(bench.read_as(1, 0x7000), Some(0x0120_0000));
        bench.put(0x0111_3038, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x7000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}
