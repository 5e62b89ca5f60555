//! Legacy mode: root and context entries, second-stage walks, pass-through.

use super::bench::*;
use crate::{Access, IommuModel, Outcome, vtd::VtdConfig};
use ioward_types::{Mmio, PhysAddr, SourceId};

#[test]
fn a_page_is_translated_with_its_rights() {
    let bench = mapped();
    let to = Outcome::To { at: PhysAddr(0x0120_0010), page: 0x1000, writable: true };
    assert_eq!(bench.request(DEVICE, None, 0x5010, Access::Read), to);
    assert_eq!(bench.write(0x5010), Some(0x0120_0010));
    bench.clean();
    // Nothing is mapped next to it, and no other device is let in.
    assert_eq!(bench.write(0x6000), None);
    // T1 clear: a write; AT untranslated, reason 5.
    assert_eq!(bench.fault(), Some([0x6000, 0x8000_0005_0000_0008]));
    assert_eq!(bench.read(0x6000), None);
    assert_eq!(bench.fault(), Some([0x6000, 0xc000_0006_0000_0008]));
    assert_eq!(reached(bench.request(SourceId(0x10), None, 0x5000, Access::Read)), None);
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_0002_0000_0010]));
    assert_eq!(reached(bench.request(SourceId(0x100), None, 0x5000, Access::Read)), None);
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_0001_0000_0100]));
    bench.clean();
}

#[test]
fn rights_of_every_level_count() {
    for (entry, read, write) in [(1, true, false), (2, false, true), (3, true, true)] {
        for at in [0x0110_0000, 0x0110_1000, 0x0110_2000, 0x0110_3028] {
            let bench = mapped();
            bench.put(at, bench.get(at) & !3 | entry);
            assert_eq!(bench.read(0x5000).is_some(), read);
            assert_eq!(bench.write(0x5000).is_some(), write);
            bench.memory.violations().assert_none();
        }
    }
}

#[test]
fn three_and_five_levels() {
    let config = VtdConfig { widths: 0b1110, address_bits: 57, ..VtdConfig::legacy() };
    let bench = Bench::legacy(config);
    four_levels(&bench);
    bench.context([0x0110_1001, 0x501]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!(bench.read(1 << 39), None);
    assert_eq!(bench.reason(), Some(4));
    // Another device has five levels; its address bits 56:48 are 3.
    bench.put(0x0110_4018, 0x0110_0003);
    bench.put(CONTEXT + 0x100, 0x0110_4001);
    bench.put(CONTEXT + 0x108, 0x603);
    let other = SourceId(0x10);
    assert_eq!(reached(bench.request(other, None, 0x0003_0000_0000_5000, Access::Read)), Some(0x0120_0000));
    assert_eq!(reached(bench.request(other, None, 0x5000, Access::Read)), None);
    assert_eq!(bench.reason(), Some(6));
    bench.clean();
}

#[test]
fn large_pages_where_the_unit_has_them() {
    let bench = mapped();
    // 2 MiB at 0x20_0000 and 1 GiB at 0x4000_0000.
    bench.put(0x0110_2008, 0x0120_0083);
    bench.put(0x0110_1008, 0x8000_0083);
    let to = Outcome::To { at: PhysAddr(0x0120_1234), page: 0x20_0000, writable: true };
    assert_eq!(bench.request(DEVICE, None, 0x20_1234, Access::Read), to);
    let to = Outcome::To { at: PhysAddr(0x8123_4567), page: 0x4000_0000, writable: true };
    assert_eq!(bench.request(DEVICE, None, 0x4123_4567, Access::Read), to);
    bench.clean();
    let bench = Bench::legacy(VtdConfig { large_pages: 0, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    bench.put(0x0110_2008, 0x0120_0083);
    assert_eq!(bench.read(0x20_0000), None);
    assert_eq!(bench.reason(), Some(0xc));
    bench.violated(&["VT-d 9.8"]);
}

#[test]
fn reserved_bits_of_paging_entries_fault_and_violate() {
    // Address bits from the host width on, TM, PS above level 3, SNP of a link, a misaligned large page.
    let cases = [
        (0x0110_3028, 0x0000_4000_0120_0003),
        (0x0110_3028, 0x4000_0000_0120_0003),
        (0x0110_0000, 0x0110_1083),
        (0x0110_1000, 0x0110_2803),
        (0x0110_2000, 0x0120_1083),
    ];
    for (at, value) in cases {
        let bench = mapped();
        bench.put(at, value);
        assert_eq!(bench.read(0x5000), None, "{value:#x}");
        assert_eq!(bench.reason(), Some(0xc));
        bench.violated(&["VT-d 9.8"]);
    }
    // In an entry without rights they mean nothing, nor do ignored bits ever.
    let bench = mapped();
    bench.put(0x0110_3030, 0x4000_4000_0120_0000);
    assert_eq!(bench.read(0x6000), None);
    assert_eq!(bench.reason(), Some(6));
    bench.put(0x0110_3028, 0xbff0_0000_0120_0403);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn snooping_is_forced_where_there_is_snoop_control_and_reserved_elsewhere() {
    let bench = mapped();
    assert_eq!(bench.model.snoops(&request(DEVICE, None, 0x5000, Access::Read)), Some(false));
    bench.put(0x0110_3030, 0x0120_1803);
    assert_eq!(bench.model.snoops(&request(DEVICE, None, 0x6000, Access::Read)), Some(true));
    bench.clean();
    let bench = Bench::legacy(VtdConfig { snoop_control: false, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    bench.put(0x0110_3028, 0x0120_0803);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0xc));
    bench.violated(&["VT-d 9.8"]);
}

#[test]
fn illegal_context_entries() {
    let cases: [([u64; 2], u64); 8] = [
        ([0x0110_0011, 0x502], 0xb),           // a reserved bit
        ([0x0110_0001, 0x100_0502], 0xb),      // another
        ([0x0110_0001, 0x582], 0xb),           // and another
        ([0x0000_4000_0110_0001, 0x502], 0xb), // beyond the host address width
        ([0x0110_000d, 0x502], 3),             // the reserved translation type
        ([0x0110_0001, 0x503], 3),             // five levels
        ([0x0110_0001, 0x500], 3),             // a width that nobody has
        ([0x0110_0009, 0x501], 3),             // pass-through with less than the widest
    ];
    for (words, reason) in cases {
        let bench = mapped();
        bench.context(words);
        assert_eq!(bench.read(0x5000), None, "{words:#x?}");
        assert_eq!(bench.reason(), Some(reason), "{words:#x?}");
        bench.violated(&["VT-d 9.3"]);
    }
    let bench = Bench::legacy(VtdConfig { domain_bits: 4, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0xf02]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
    let bench = Bench::legacy(VtdConfig { domain_bits: 4, ..VtdConfig::legacy() });
    bench.context([0x0110_0001, 0x1002]);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0xb));
    bench.violated(&["VT-d 9.3"]);
}

#[test]
fn fpd_silences_what_is_found_behind_the_context_entry() {
    let bench = mapped();
    bench.context([0x0110_0003, 0x502]);
    assert_eq!(bench.read(0x6000), None);
    // An entry that is not present may have it too.
    bench.put(CONTEXT + 0x100, 2);
    assert_eq!(reached(bench.request(SourceId(0x10), None, 0x5000, Access::Read)), None);
    bench.clean();
}

#[test]
fn pass_through() {
    let bench = mapped();
    bench.context([0x9, 0x502]);
    assert_eq!(bench.write(0x0123_4567), Some(0x0123_4567));
    assert_eq!(bench.read(1 << 46), None, "beyond the host address width");
    assert_eq!(bench.reason(), Some(4));
    bench.clean();
    let bench = Bench::legacy(VtdConfig { pass_through: false, ..VtdConfig::legacy() });
    bench.context([0x9, 0x502]);
    assert_eq!(bench.write(0x0123_4567), None);
    assert_eq!(bench.reason(), Some(3));
    bench.violated(&["VT-d 9.3"]);
}

#[test]
fn nothing_is_translated_before_translation_is_enabled() {
    let bench = Bench::off(VtdConfig::legacy());
    assert_eq!(bench.write(0x1234_5678), Some(0x1234_5678));
    assert_eq!(bench.model.translate_ahead(&request(DEVICE, None, 0x5000, Access::Read)), Outcome::Aborted);
    bench.clean();
}

#[test]
fn the_interrupt_range() {
    let bench = mapped();
    assert_eq!(bench.request(DEVICE, None, 0xfee0_1000, Access::Write), Outcome::Interrupt);
    assert_eq!(bench.request(DEVICE, None, 0xfee0_1000, Access::Read), Outcome::Aborted);
    bench.clean();
    // No page leads there.
    bench.put(0x0110_3030, 0xfee0_0003);
    assert_eq!(bench.write(0x6000), None);
    assert_eq!(bench.reason(), Some(0xe));
    bench.clean();
}

#[test]
fn requests_with_pasid_have_no_place_in_legacy_mode() {
    let bench = mapped();
    assert_eq!(bench.read_as(3, 0x5000), None);
    // PASID 3, PP.
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_0331_8000_0008]));
    bench.clean();
}

#[test]
fn tables_outside_memory() {
    let bench = mapped();
    bench.put(0x0110_2000, 0x4000_0003);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(7));
    bench.violated(&["VT-d 9.8"]);
    let bench = mapped();
    bench.put(ROOT, 0x4000_0001);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(9));
    bench.violated(&["VT-d 9.1"]);
    let bench = mapped();
    bench.put(ROOT, 0x0101_0003);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0xa));
    bench.violated(&["VT-d 9.1"]);
}

#[test]
fn protected_memory_is_out_of_reach_without_translation() {
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.write32(0x68, 0x0010_0000);
    bench.model.write32(0x6c, 0x01ff_0000);
    bench.model.write32(0x64, 0x8000_0000);
    assert_eq!(bench.model.read32(0x64), 0x8000_0001);
    assert_eq!(bench.write(0x0120_0000), None);
    assert_eq!(bench.write(0x8_0000), Some(0x8_0000));
    bench.model.write32(0x64, 0);
    assert_eq!(bench.write(0x0120_0000), Some(0x0120_0000));
    bench.clean();
}
