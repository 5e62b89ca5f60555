//! First-stage tables.

use super::bench::*;
use crate::{Access, IommuModel, Outcome, Request, vtd::VtdConfig};
use ioward_types::PhysAddr;

/// First stage of four levels, domain 5, walks snoop; NXE, WPE, SRE, ERE.
const FIRST: [u64; 3] = [0x41, 0x0080_0005, 0x0111_0033];

fn first() -> Bench {
    let bench = Bench::scalable(VtdConfig::default());
    first_levels(&bench);
    bench.pasid(1, FIRST);
    bench
}

#[test]
fn a_page_is_translated_and_marked() {
    let bench = first();
    assert_eq!(bench.read_as(1, 0x5010), Some(0x0120_0010));
    assert_eq!(bench.get(0x0111_3028), 0x0120_0027, "accessed");
    assert_eq!(bench.get(0x0111_0000), 0x0111_1027);
    assert_eq!(bench.write_as(1, 0x5010), Some(0x0120_0010));
    assert_eq!(bench.get(0x0111_3028), 0x0120_0067, "and dirty");
    assert_eq!(bench.read_as(1, 0x6000), None);
    assert_eq!(bench.fault(), Some([0x6000, 0xc000_0171_8000_0008]));
    bench.model.audit(true);
    bench.clean();
}

#[test]
fn rights_of_every_level_count() {
    let ask = |bench: &Bench, access, privileged| {
        let request = Request { privileged, ..request(DEVICE, Some(1), 0x5000, access) };
        reached(bench.model.request(&request)).is_some()
    };
    for at in [0x0111_0000, 0x0111_1000, 0x0111_2000, 0x0111_3028] {
        let bench = first();
        bench.put(at, bench.get(at) & !2);
        assert!(ask(&bench, Access::Read, false) && !ask(&bench, Access::Write, false));
        assert_eq!(bench.reason(), Some(0x85));
        assert!(!ask(&bench, Access::Write, true), "WPE");
        assert_eq!(bench.reason(), Some(0x85));
        bench.clean();
        let bench = first();
        bench.put(at, bench.get(at) & !4);
        assert!(!ask(&bench, Access::Read, false) && ask(&bench, Access::Read, true));
        assert_eq!(bench.reason(), Some(0x81));
        bench.clean();
        let bench = first();
        bench.put(at, bench.get(at) | 1 << 63);
        assert!(ask(&bench, Access::Read, false) && !ask(&bench, Access::Execute, false));
        assert_eq!(bench.reason(), Some(0x82));
        bench.clean();
    }
    // Without WPE a supervisor writes where it likes, and XD is reserved without NXE.
    let bench = first();
    bench.pasid(1, [0x41, 0x0080_0005, 0x0111_0003]);
    bench.put(0x0111_3028, 0x0120_0005);
    assert!(!ask(&bench, Access::Write, false) && ask(&bench, Access::Write, true));
    assert_eq!(bench.reason(), Some(0x85));
    bench.put(0x0111_3030, 0x8000_0000_0120_0007);
    assert_eq!(bench.read_as(1, 0x6000), None);
    assert_eq!(bench.reason(), Some(0x72));
    bench.violated(&["VT-d 9.7"]);
}

#[test]
fn addresses_are_canonical() {
    let bench = first();
    // The upper half: 0xffff_8000_0000_5000 through the entry 256.
    bench.put(0x0111_0800, 0x0111_1007);
    assert_eq!(bench.read_as(1, 0xffff_8000_0000_5000), Some(0x0120_0000));
    assert_eq!(bench.read_as(1, 0x0000_8000_0000_5000), None);
    assert_eq!(bench.reason(), Some(0x80));
    bench.clean();
    // Five levels: the table above has one entry.
    bench.put(0x0111_4000, 0x0111_0007);
    bench.pasid(2, [0x41, 0x0080_0006, 0x0111_4037]);
    assert_eq!(bench.read_as(2, 0x0000_8000_0000_5000), Some(0x0120_0000));
    assert_eq!(bench.read_as(2, 0x0100_0000_0000_0000), None);
    assert_eq!(bench.reason(), Some(0x80));
    bench.clean();
    let bench = Bench::scalable(VtdConfig { first_5_levels: false, ..VtdConfig::default() });
    bench.pasid(2, [0x41, 0x0080_0006, 0x0111_4037]);
    assert_eq!(bench.read_as(2, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x5b));
    bench.violated(&["VT-d 9.6"]);
}

#[test]
fn large_pages() {
    let bench = first();
    bench.put(0x0111_2008, 0x0120_0087);
    bench.put(0x0111_1008, 0x8000_0087);
    let to = Outcome::To { at: PhysAddr(0x0120_1234), page: 0x20_0000, writable: true };
    assert_eq!(bench.request(DEVICE, Some(1), 0x20_1234, Access::Read), to);
    let to = Outcome::To { at: PhysAddr(0x8123_4567), page: 0x4000_0000, writable: true };
    assert_eq!(bench.request(DEVICE, Some(1), 0x4123_4567, Access::Read), to);
    bench.clean();
    let bench = Bench::scalable(VtdConfig { first_1g: false, ..VtdConfig::default() });
    first_levels(&bench);
    bench.pasid(1, FIRST);
    bench.put(0x0111_1008, 0x8000_0087);
    assert_eq!(bench.read_as(1, 0x4123_4567), None);
    assert_eq!(bench.reason(), Some(0x72));
    bench.violated(&["VT-d 9.7"]);
}

#[test]
fn reserved_bits() {
    for (at, value) in [
        (0x0111_3028, 0x0000_4000_0120_0007_u64), // beyond the host address width
        (0x0111_0000, 0x0111_1087),               // PS above level 3
        (0x0111_2000, 0x0120_2087),               // a misaligned page of 2 MiB; bit 12 alone is the PAT's
    ] {
        let bench = first();
        bench.put(at, value);
        assert_eq!(bench.read_as(1, 0x5000), None, "{value:#x}");
        assert_eq!(bench.reason(), Some(0x72), "{value:#x}");
        bench.violated(&["VT-d 9.7"]);
    }
    let bench = first();
    bench.put(0x0111_2000, 0x0120_1087);
    bench.put(0x0111_3028, 0);
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_5000));
    bench.clean();
}

#[test]
fn walks_that_do_not_snoop_set_no_bits() {
    let bench = first();
    bench.pasid(1, [0x41, 5, 0x0111_0033]);
    assert_eq!(bench.read_as(1, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x90));
    // Software has set them beforehand.
    for at in [0x0111_0000, 0x0111_1000, 0x0111_2000, 0x0111_3028] {
        bench.put(at, bench.get(at) | 0x20);
    }
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000));
    assert_eq!(bench.write_as(1, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x90));
    bench.put(0x0111_3028, 0x0120_0067);
    assert_eq!(bench.write_as(1, 0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn tables_outside_memory() {
    let bench = first();
    bench.put(0x0111_2000, 0x4000_0007);
    assert_eq!(bench.read_as(1, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x70));
    bench.violated(&["VT-d 9.7"]);
    bench.pasid(2, [0x41, 0x0080_0006, 0x4000_0033]);
    assert_eq!(bench.read_as(2, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x73));
    bench.violated(&["VT-d 9.7"]);
}

#[test]
fn a_refused_write_makes_nothing_dirty() {
    for flags in [0x13, 0x03] {
        let bench = first();
        bench.pasid(1, [0x41, 0x0080_0005, 0x0111_0000 | flags]);
        bench.put(0x0111_3028, 0x0120_0005);
        assert_eq!(bench.write_as(1, 0x5000), None);
        assert_eq!(bench.get(0x0111_3028), 0x0120_0025);
        assert_eq!(bench.reason(), Some(0x85));
        // A supervisor's, without WPE, does, cached or not.
        let supervisor = Request { privileged: true, ..request(DEVICE, Some(1), 0x5000, Access::Write) };
        let done = reached(bench.model.request(&supervisor)).is_some();
        assert_eq!(done, flags == 0x03);
        assert_eq!(bench.get(0x0111_3028), if done { 0x0120_0065 } else { 0x0120_0025 });
        assert_eq!(bench.reason(), (!done).then_some(0x85));
        bench.clean();
    }
}
