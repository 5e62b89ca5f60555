//! Host tables, and what a device table entry does with them.

use super::bench::*;
use crate::{Access, Outcome, amdvi::AmdViConfig};
use ioward_types::{Mmio, PhysAddr};

#[test]
fn three_levels_translate() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    let outcome = bench.request(DEVICE, None, 0x5678, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x0120_0678), page: 0x1000, writable: true });
    assert_eq!(bench.write(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn what_is_not_mapped_faults_with_device_domain_and_address() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    for (at, access, first) in [
        (0x6010, Access::Read, 0x2000_0005_0000_0008u64), // PTE not present
        (0x6010, Access::Write, 0x2020_0005_0000_0008),   // the same, a write
        (0x4000_0000, Access::Read, 0x2000_0005_0000_0008), // PDE not present
        (0x80_0000_0000, Access::Read, 0x2000_0005_0000_0008), // beyond three levels
        (u64::MAX, Access::Read, 0x2000_0005_0000_0008),
    ] {
        assert_eq!(bench.request(DEVICE, None, at, access), Outcome::Aborted);
        assert_eq!(bench.event(), Some([first, at]), "{at:#x}");
    }
    bench.clean();
}

#[test]
fn rights_are_those_of_every_level_and_of_the_device() {
    // The level that lacks a right, and the event's flags: PR and PE, with RW for a write.
    let read_only = 0x2000_0000_0000_0000u64;
    let write_only = 0x4000_0000_0000_0000u64;
    for (at, table) in [(0x0110_0000, 0x0110_1401), (0x0110_1000, 0x0110_2201), (0x0110_2028, 0x0120_0001u64)]
    {
        let bench = Bench::new(AmdViConfig::default());
        three_levels(&bench);
        bench.put(at, table | read_only);
        assert_eq!((bench.read(0x5000), bench.write(0x5000)), (Some(0x0120_0000), None));
        assert_eq!(bench.event(), Some([0x2070_0005_0000_0008, 0x5000]));
        bench.clean();
        let bench = Bench::new(AmdViConfig::default());
        three_levels(&bench);
        bench.put(at, table | write_only);
        assert_eq!((bench.read(0x5000), bench.write(0x5000)), (None, Some(0x0120_0000)));
        assert_eq!(bench.event(), Some([0x2050_0005_0000_0008, 0x5000]));
        bench.clean();
    }
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.entry(DEVICE, [0x2000_0000_0110_0603, 0x5, 0, 0]);
    assert_eq!((bench.read(0x5000), bench.write(0x5000)), (Some(0x0120_0000), None));
    let outcome = bench.request(DEVICE, None, 0x5000, Access::Read);
    assert!(matches!(outcome, Outcome::To { writable: false, .. }));
}

#[test]
fn pages_of_level_two_and_three() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.put(0x0110_1008, 0x6000_0000_0140_0001);
    bench.put(0x0110_0008, 0x6000_0000_4000_0001);
    let outcome = bench.request(DEVICE, None, 0x2f_edc0, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x014f_edc0), page: 0x20_0000, writable: true });
    let outcome = bench.request(DEVICE, None, 0x7654_3210, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x7654_3210), page: 0x4000_0000, writable: true });
    bench.clean();
}

#[test]
fn sized_pages_have_their_size_in_the_address() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    // Next level 7; 32 KiB at 0x0130_0000: bits 13:12 set, 14 clear, in eight entries from 0x8000.
    for n in 8..16 {
        bench.put(0x0110_2000 + n * 8, 0x6000_0000_0130_3e01);
    }
    let outcome = bench.request(DEVICE, None, 0xf123, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x0130_7123), page: 0x8000, writable: true });
    // 8 KiB: bit 12 clear.
    bench.put(0x0110_2080, 0x6000_0000_0130_8e01);
    bench.put(0x0110_2088, 0x6000_0000_0130_8e01);
    let outcome = bench.request(DEVICE, None, 0x1_1004, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x0130_9004), page: 0x2000, writable: true });
    // 4 MiB at level 2: bits 20:12 set, 21 clear.
    bench.put(0x0110_1010, 0x6000_0000_401f_fe01);
    bench.put(0x0110_1018, 0x6000_0000_401f_fe01);
    let outcome = bench.request(DEVICE, None, 0x6f_0000, Access::Read);
    assert_eq!(outcome, Outcome::To { at: PhysAddr(0x402f_0000), page: 0x40_0000, writable: true });
    bench.clean();
    // 8 KiB at level 2 is no size of that level.
    bench.put(0x0110_1020, 0x6000_0000_4000_0e01);
    assert_eq!(bench.read(0x80_0000), None);
    assert_eq!(bench.event(), Some([0x2010_0005_0000_0008, 0x80_0000]));
    bench.violated(&["48882 §2.2.3"]);
}

#[test]
fn levels_may_be_left_out_where_the_address_has_zeros() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    // Level 3 entry 1 links straight to a table of level 1.
    bench.put(0x0110_0008, 0x6000_0000_0110_2201);
    assert_eq!(bench.read(0x4000_5000), Some(0x0120_0000));
    bench.clean();
    assert_eq!(bench.read(0x4020_5000), None, "address bits of level 2 are not zero");
    assert_eq!(bench.event(), Some([0x2000_0005_0000_0008, 0x4020_5000]));
    // A link to its own level or above.
    bench.put(0x0110_0010, 0x6000_0000_0110_2601);
    assert_eq!(bench.read(0x8000_5000), None);
    assert_eq!(bench.event(), Some([0x2010_0005_0000_0008, 0x8000_5000]));
    bench.violated(&["48882 §2.2.3"]);
}

#[test]
fn one_to_six_levels() {
    for mode in 1..=6u64 {
        let bench = Bench::new(AmdViConfig::default());
        // Table of level n at 0x0110_0000 + n pages, so that a link to it ends in n * 0x1200; the last index of each level is used: address bits all ones.
        for level in 1..=mode {
            let index = if level == 6 { 0x7f } else { 0x1ff };
            let at = 0x0110_0000 + level * 0x1000 + index * 8;
            let next = if level == 1 { 0x0120_0000 } else { 0x0110_0000 + (level - 1) * 0x1200 };
            bench.put(at, 0x6000_0000_0000_0001 | next);
        }
        bench.entry(DEVICE, [0x6000_0000_0110_0003 + mode * 0x1200, 0x5, 0, 0]);
        let last = if mode == 6 { u64::MAX } else { (1 << (12 + 9 * mode)) - 1 };
        assert_eq!(bench.read(last), Some(0x0120_0fff), "{mode} levels");
        assert_eq!(bench.read(0), None);
        if mode < 6 {
            assert_eq!(bench.read(last + 1), None);
        }
        bench.memory.violations().assert_none();
    }
}

#[test]
fn reserved_bits_fault_and_are_violations() {
    for (at, value) in [
        (0x0110_2028, 0x6010_0000_0120_0001u64), // PTE bit 52
        (0x0110_2028, 0x6200_0000_0120_0001),    // PTE bit 57
        (0x0110_1000, 0x7000_0000_0110_2201),    // PDE bit 60, FC of a PTE
    ] {
        let bench = Bench::new(AmdViConfig::default());
        three_levels(&bench);
        bench.put(at, value);
        assert_eq!(bench.read(0x5000), None);
        // PR and RZ.
        assert_eq!(bench.event(), Some([0x2090_0005_0000_0008, 0x5000]));
        bench.violated(&["48882 §2.2.3"]);
    }
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    // FC and U of a PTE, and the bits that hardware ignores.
    bench.put(0x0110_2028, 0xf800_0000_0120_019f);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn a_table_outside_memory_is_a_hardware_error() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.put(0x0110_1000, 0x600f_0000_0000_0201);
    assert_eq!(bench.read(0x5000), None);
    // PAGE_TAB_HARDWARE_ERROR, type master abort, domain 5, the entry's address cut to 16 bytes.
    assert_eq!(bench.event(), Some([0x4200_0005_0000_0008, 0x000f_0000_0000_0020]));
    assert_eq!(bench.model.read64(0x0050), 1);
    bench.model.write64(0x0050, 1);
    assert_eq!(bench.model.read64(0x0050), 0);
}

#[test]
fn accessed_and_dirty_bits_are_set_where_asked_for() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.entry(DEVICE, [0x6000_0000_0110_0783, 0x5, 0, 0]);
    assert!(bench.read(0x5000).is_some());
    assert_eq!(bench.get(0x0110_2028), 0x6000_0000_0120_0021);
    assert!(bench.write(0x5000).is_some());
    assert_eq!(bench.get(0x0110_2028), 0x6000_0000_0120_0061);
    // Harvested without invalidation: the unit believes that the bit is still set.
    bench.put(0x0110_2028, 0x6000_0000_0120_0021);
    assert!(bench.write(0x5000).is_some());
    assert_eq!(bench.get(0x0110_2028), 0x6000_0000_0120_0021);
    bench.command([0x3000_0005_0000_0000, 0x5000]);
    assert!(bench.wait());
    assert!(bench.write(0x5000).is_some());
    assert_eq!(bench.get(0x0110_2028), 0x6000_0000_0120_0061);
    bench.clean();
    // Without HAD nothing is written.
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    assert!(bench.write(0x5000).is_some());
    assert_eq!(bench.get(0x0110_2028), 0x6000_0000_0120_0001);
}

#[test]
fn mode_zero_passes_what_the_entry_allows() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x2000_0000_0000_0003, 0x9, 0, 0]);
    assert_eq!((bench.read(0x1234_5678), bench.write(0x1234_5678)), (Some(0x1234_5678), None));
    assert_eq!(bench.event(), Some([0x2070_0009_0000_0008, 0x1234_5678]));
    bench.clean();
}
