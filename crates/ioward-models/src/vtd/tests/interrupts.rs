//! Interrupt remapping.

use super::bench::*;
use crate::{IommuModel, MessageOutcome, vtd::VtdConfig};
use ioward_types::{Iova, Mmio, SourceId};

/// Fixed, physical, edge, vector 0x41, xAPIC 7; source 0x0008, all bits.
const ENTRY: [u64; 2] = [0x0000_0700_0041_0001, 0x4_0008];
/// A remappable request for index 3.
const AT: u64 = 0xfee0_0070;

/// A table of 256 entries in force, remapping on.
fn remapping(config: VtdConfig, extended: bool) -> Bench {
    let bench = Bench::off(config);
    bench.model.write64(0x90, QUEUE);
    bench.model.write32(0x18, 0x0400_0000);
    bench.model.write64(0xb8, INTERRUPTS | 7 | if extended { 0x800 } else { 0 });
    bench.model.write32(0x18, 0x0500_0000);
    bench.model.write32(0x18, 0x0600_0000);
    assert_eq!(bench.model.read32(0x1c), 0x0700_0000);
    bench
}

fn with_entry(words: [u64; 2]) -> Bench {
    let bench = remapping(VtdConfig::default(), false);
    entry(&bench, 3, words);
    bench
}

fn entry(bench: &Bench, index: u64, words: [u64; 2]) {
    bench.put(INTERRUPTS + 16 * index, words[0]);
    bench.put(INTERRUPTS + 16 * index + 8, words[1]);
}

fn send(bench: &Bench, source: u32, at: u64, data: u32) -> MessageOutcome {
    bench.model.message(SourceId(source), Iova(at), data)
}

fn vector(outcome: MessageOutcome) -> Option<u8> {
    match outcome {
        MessageOutcome::Delivered { vector, .. } => Some(vector),
        _ => None,
    }
}

#[test]
fn without_remapping_messages_go_on() {
    let bench = Bench::off(VtdConfig::default());
    assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Unremapped);
    assert_eq!(send(&bench, 8, 0xfee0_1000, 0x41), MessageOutcome::Unremapped);
    bench.clean();
}

#[test]
fn an_entry_says_where_a_message_goes() {
    let bench = with_entry(ENTRY);
    let fixed =
        MessageOutcome::Delivered { vector: 0x41, destination: 7, logical: false, delivery: 0, level: false };
    assert_eq!(send(&bench, 8, AT, 0xdead), fixed, "without SHV the data does not count");
    // With SHV the data's low half is added to the handle: 2 + 1.
    assert_eq!(send(&bench, 8, 0xfee0_0058, 1), fixed);
    entry(&bench, 4, [0x0000_0f00_0052_0035, 0]);
    let logical =
        MessageOutcome::Delivered { vector: 0x52, destination: 0xf, logical: true, delivery: 1, level: true };
    assert_eq!(send(&bench, 0x1234, 0xfee0_0090, 0), logical);
    // Handle bit 15 is address bit 2.
    assert_eq!(send(&bench, 8, 0xfee0_0074, 0), MessageOutcome::Aborted);
    assert_eq!(bench.fault(), Some([0x8003_0000_0000_0000, 0x8000_0021_0000_0008]));
    bench.clean();
}

#[test]
fn x2apic_destinations_have_32_bits() {
    let bench = remapping(VtdConfig::default(), true);
    entry(&bench, 3, [0x1234_5678_0041_0001, 0]);
    let outcome = send(&bench, 8, AT, 0);
    assert!(matches!(outcome, MessageOutcome::Delivered { destination: 0x1234_5678, .. }));
    bench.clean();
    let bench = with_entry([0x1234_5678_0041_0001, 0]);
    assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted);
    assert_eq!(bench.reason(), Some(0x24));
    bench.violated(&["VT-d 9.10"]);
}

#[test]
fn sources_are_validated() {
    for (validation, source, passes) in [
        (0x0_0000_u64, 0x1234_u32, true), // not at all
        (0x4_0008, 0x8, true),
        (0x4_0008, 0xc, false),
        (0x5_0008, 0xc, true), // all but bit 2
        (0x5_0008, 0xa, false),
        (0x6_0008, 0xe, true), // all but bits 2 and 1
        (0x6_0008, 0x9, false),
        (0x7_0008, 0xf, true), // all but the function
        (0x7_0008, 0x10, false),
        (0x8_0204, 0x2ff, true), // buses 2 to 4
        (0x8_0204, 0x400, true),
        (0x8_0204, 0x500, false),
        (0x8_0204, 0x1ff, false),
    ] {
        let bench = with_entry([ENTRY[0], validation]);
        assert_eq!(vector(send(&bench, source, AT, 0)).is_some(), passes, "{validation:#x} {source:#x}");
        let refused = Some([0x0003_0000_0000_0000, 0x8000_0026_0000_0000 | u64::from(source)]);
        assert_eq!(bench.fault(), refused.filter(|_| !passes));
        bench.clean();
    }
}

#[test]
fn entries_that_are_not_there_or_wrong() {
    for (words, reason, wrong) in [
        ([0, 0], 0x22, false),
        ([0x0000_0700_0041_1001, 0], 0x24, true),
        ([0x0000_0700_0141_0001 | 1 << 24, 0], 0x24, true),
        ([ENTRY[0], 1 << 20], 0x24, true),
        ([ENTRY[0], 0xc_0008], 0x24, true), // a reserved validation type
        ([0x0000_0700_0041_0061, 0], 0x24, true), // a reserved delivery mode
        ([0x0000_0700_0041_8001, 0], 0x24, true), // posted
    ] {
        let bench = with_entry(words);
        assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted, "{words:#x?}");
        assert_eq!(bench.reason(), Some(reason), "{words:#x?}");
        assert_eq!(!bench.memory.violations().take().is_empty(), wrong, "{words:#x?}");
    }
    // FPD silences them.
    let bench = with_entry([2, 0]);
    assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted);
    bench.clean();
}

#[test]
fn requests_that_are_wrong_themselves() {
    let bench = with_entry(ENTRY);
    assert_eq!(send(&bench, 8, 0xfee0_0058, 0x1_0001), MessageOutcome::Aborted);
    assert_eq!(bench.reason(), Some(0x20));
    // 256 entries.
    assert_eq!(send(&bench, 8, 0xfee0_0018 | 0xff << 5, 1), MessageOutcome::Aborted);
    assert_eq!(bench.reason(), Some(0x21));
    bench.clean();
    bench.model.write64(0xb8, 0x4000_0007);
    bench.model.write32(0x18, 0x0700_0000);
    assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted);
    assert_eq!(bench.reason(), Some(0x23));
    bench.violated(&["VT-d 11.4.10"]);
}

#[test]
fn compatibility_format_passes_only_where_it_may() {
    let compatible = 0xfee0_7000;
    let bench = with_entry(ENTRY);
    assert_eq!(send(&bench, 8, compatible, 0x41), MessageOutcome::Aborted);
    assert_eq!(bench.fault(), Some([0, 0x8000_0025_0000_0008]));
    bench.model.write32(0x18, 0x0680_0000);
    assert_eq!(bench.model.read32(0x1c), 0x0780_0000);
    assert_eq!(send(&bench, 8, compatible, 0x41), MessageOutcome::Unremapped);
    bench.clean();
    let bench = remapping(VtdConfig::default(), true);
    bench.model.write32(0x18, 0x0680_0000);
    assert_eq!(send(&bench, 8, compatible, 0x41), MessageOutcome::Aborted);
    assert_eq!(bench.reason(), Some(0x25));
    bench.clean();
}

#[test]
fn entries_are_cached_until_their_index_is_invalidated() {
    for (words, helps) in [
        ([0x0000_0002_0000_0014_u64, 0_u64], false), // index 2
        ([0x0000_0003_0000_0014, 0], true),
        ([0x0000_0002_0800_0014, 0], true),  // indices 2 and 3
        ([0x0000_0006_0800_0014, 0], false), // 6 and 7
        ([0x04, 0], true),
        ([0x12, 0], false),
    ] {
        let bench = with_entry(ENTRY);
        assert_eq!(vector(send(&bench, 8, AT, 0)), Some(0x41));
        entry(&bench, 3, [0x0000_0700_0055_0001, 0x4_0008]);
        bench.command(words);
        assert_eq!(vector(send(&bench, 8, AT, 0)), Some(0x41), "not before the wait");
        assert!(bench.wait());
        bench.model.audit(false);
        assert_eq!(bench.memory.violations().take().is_empty(), helps, "{words:#x?}");
        let found = vector(send(&bench, 8, AT, 0));
        assert_eq!(found, Some(if helps { 0x55 } else { 0x41 }), "{words:#x?}");
    }
    // An entry that is not present is not cached, but with caching mode.
    for caching_mode in [false, true] {
        let bench = remapping(VtdConfig { caching_mode, ..VtdConfig::default() }, false);
        assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted);
        entry(&bench, 3, ENTRY);
        assert_eq!(vector(send(&bench, 8, AT, 0)).is_none(), caching_mode);
    }
}

#[test]
fn a_mask_beyond_what_the_unit_has_is_illegal() {
    let bench = remapping(VtdConfig { index_mask: 1, ..VtdConfig::default() }, false);
    bench.command([0x0000_0000_1000_0014, 0]);
    assert_eq!(bench.model.read64(0xb0), 4);
    bench.violated(&["VT-d 6.5.2.10"]);
}

#[test]
fn garbage_of_the_interrupt_entry_cache() {
    let bench = with_entry(ENTRY);
    bench.model.poison();
    assert_eq!(send(&bench, 8, AT, 0), MessageOutcome::Aborted);
    bench.violated(&["VT-d 6.7"]);
    bench.command([0x0000_0003_0000_0014, 0]);
    assert!(bench.wait());
    assert_eq!(vector(send(&bench, 8, AT, 0)), Some(0x41));
    assert_eq!(send(&bench, 8, 0xfee0_0090, 0), MessageOutcome::Aborted);
    bench.violated(&["VT-d 6.7"]);
    // Taking over a table cleans everything where the unit says so, and nothing elsewhere.
    for says in [false, true] {
        let bench = remapping(VtdConfig { interrupt_table_invalidates: says, ..VtdConfig::default() }, false);
        entry(&bench, 3, ENTRY);
        bench.model.poison();
        bench.model.write32(0x18, 0x0700_0000);
        assert_eq!(vector(send(&bench, 8, AT, 0)).is_some(), says);
    }
}

#[test]
fn a_unit_without_remapping_is_not_asked_for_it() {
    let bench = Bench::off(VtdConfig { interrupt_remapping: false, ..VtdConfig::legacy() });
    bench.model.write32(0x18, 0x0100_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    let bench = Bench::off(VtdConfig { x2apic: false, ..VtdConfig::legacy() });
    bench.model.write64(0xb8, INTERRUPTS | 0x807);
    bench.model.write32(0x18, 0x0100_0000);
    bench.violated(&["VT-d 11.4.10"]);
}
