//! Registers, the command buffer and the event log.

use super::bench::*;
use crate::amdvi::AmdViConfig;
use ioward_types::Mmio;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

#[test]
fn the_extended_features_are_what_was_asked_for() {
    let bench = Bench::off(AmdViConfig::default());
    // PreFSup, PPRSup, XTSup, NXSup, GTSup, IASup, GASup, HESup; HATS 2, GATS 1, GLXSup 2; PASmax 15, USSup, DevTblSegSup 3; GIoSup,
    // HASup, EPHSup, AttrFWSup, HDSup.
    assert_eq!(bench.model.read64(0x0030), 0x001f_00ef_0000_99df);
    assert_eq!(bench.model.read32(0x0034), 0x001f_00ef);
    let bench = Bench::off(AmdViConfig::minimal());
    assert_eq!(bench.model.read64(0x0030), 0);
    let bench = Bench::off(AmdViConfig { host_levels: None, ..AmdViConfig::minimal() });
    assert_eq!(bench.model.read64(0x0030), 0xc00);
}

#[test]
fn the_capability_block_says_what_the_registers_do_not() {
    let config = AmdViConfig { np_cache: true, ..AmdViConfig::default() };
    // Capability 0Fh of type 3, revision 1, IotlbSup, NpCache, EFRSup, CapExt; VAsize 64, PAsize 52, GVAsize 2.
    assert_eq!(config.capability(), [0x1d0b_000f, 0, 0, 0, 0x0020_3440, 0]);
}

#[test]
fn commands_wait_for_both_enables() {
    let bench = Bench::off(AmdViConfig::default());
    bench.model.write64(0x0008, 0x0800_0000_0101_0000);
    assert!(!bench.wait());
    bench.model.write64(0x0018, 0x1000);
    assert_eq!(bench.model.read64(0x2020) & 0x10, 0, "CmdBufRun needs IommuEn");
    bench.model.write64(0x0018, 0x1001);
    assert_eq!(bench.model.read64(0x2020) & 0x10, 0x10);
    assert_eq!(bench.get(SEMAPHORE), 0x77);
    assert_eq!((bench.model.read64(0x2000), bench.model.read64(0x2008)), (0x10, 0x10));
    bench.clean();
}

#[test]
fn the_command_buffer_wraps() {
    let bench = Bench::new(AmdViConfig::default());
    for _ in 0..600 {
        assert!(bench.wait());
    }
    assert_eq!(bench.model.commands(), 600);
    assert_eq!(bench.model.read64(0x2000), 600 * 16 % 0x1000);
    bench.clean();
}

#[test]
fn completion_interrupts_are_status_and_cleared_by_writing_one() {
    let bench = Bench::new(AmdViConfig::default());
    bench.command([0x1000_0000_0000_0002, 0]);
    assert_eq!(bench.model.read64(0x2020), 0x1c);
    assert_eq!(bench.model.interrupts(), 1);
    bench.model.write32(0x2020, 0x4);
    assert_eq!(bench.model.read64(0x2020), 0x18);
    bench.clean();
}

#[test]
fn an_illegal_command_stops_the_buffer_and_says_where() {
    for words in [
        [0xf000_0000_0000_0000, 0],      // no such command
        [0x0000_0000_0000_0000, 0],      // nor this
        [0x1010_0000_0103_0001, 0x77],   // reserved bit 52
        [0x2000_0000_0001_0008, 0],      // reserved bit 16
        [0x3000_0005_0000_0000, 0x8],    // reserved bit 67
        [0x3000_0005_0000_0001, 0x0],    // a PASID without GN
        [0x8000_0000_0000_0000, 0x1],    // reserved bit 64
        [0x9000_0000_0000_0000, 0x0],    // EFR.vIOMMUSup is clear
        [0x4000_0008_2000_0008, 0x5010], // Type without its feature
    ] {
        let bench = Bench::new(AmdViConfig::default());
        assert!(bench.wait());
        bench.command(words);
        assert_eq!(bench.event(), Some([0x5000_0000_0000_0000, COMMANDS + 0x10]), "{words:x?}");
        assert_eq!(bench.model.read64(0x2020), 0x0a, "CmdBufRun is clear, EventLogInt set");
        assert!(!bench.wait());
        // Software restarts: CmdBufEn off, head past it, CmdBufEn on (§2.4).
        bench.model.write64(0x0018, 0x1_049d);
        bench.model.write64(0x2000, 0x20);
        bench.model.write64(0x0018, 0x1_149d);
        assert_eq!(bench.get(SEMAPHORE), 0x77);
        bench.violated(&["48882 §2.5.6"]);
    }
}

#[test]
fn commands_of_missing_features_are_illegal() {
    for words in [[0x4000_0008_2000_0008, 0x5000], [0x8000_0000_0000_0000, 0], [0x7000_0000_0000_0008, 0]] {
        let bench = Bench::new(AmdViConfig::minimal());
        bench.command(words);
        assert_eq!(bench.event(), Some([0x5000_0000_0000_0000, COMMANDS]));
        bench.violated(&["48882 §2.5.6"]);
    }
}

#[test]
fn a_command_buffer_outside_memory_is_a_hardware_error() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.write64(0x0018, 0x1_049d);
    bench.model.write64(0x0008, 0x0800_000f_0000_0000);
    bench.model.write64(0x0018, 0x1_149d);
    bench.model.write64(0x2008, 0x10);
    // Type 01b, master abort.
    assert_eq!(bench.event(), Some([0x6200_0000_0000_0000, 0xf_0000_0000]));
    assert_eq!(bench.model.read64(0x0050), 1, "HEV");
    assert_eq!(bench.model.read64(0x0048), 0x6200_0000_0000_0000);
    bench.violated(&["48882 §2.4"]);
}

#[test]
fn a_full_event_log_overflows_and_is_restarted_by_the_book() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    for n in 0..255u64 {
        assert_eq!(bench.read(n << 12), None);
    }
    assert_eq!(bench.model.read64(0x2020), 0x1a);
    assert_eq!(bench.read(0x0dea_d000), None);
    assert_eq!(bench.model.read64(0x2020), 0x13, "EventOverflow, and the log stands still");
    assert_eq!(bench.model.read64(0x2018), 0xff0, "the entry that did not fit was not written");
    while bench.event().is_some() {}
    bench.read(0x1000);
    assert_eq!(bench.event(), None, "space alone does not restart it");
    bench.model.write64(0x0018, 0x1_1499);
    bench.model.write64(0x0018, 0x1_149d);
    assert_eq!(bench.model.read64(0x2020) & 0x8, 0, "nor does enabling while the overflow is set");
    bench.model.write64(0x0018, 0x1_1499);
    bench.model.write32(0x2020, 0x1);
    bench.model.write64(0x0018, 0x1_149d);
    assert_eq!(bench.model.read64(0x2020) & 0x9, 0x8);
    bench.read(0x1000);
    assert!(bench.event().is_some());
    bench.memory.violations().assert_none();
}

#[test]
fn a_hung_unit_takes_tails_and_does_nothing_until_it_goes_on() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.set_hung(true);
    assert!(!bench.wait());
    assert_eq!((bench.model.read64(0x2000), bench.model.read64(0x2008)), (0, 0x10));
    bench.model.set_hung(false);
    assert_eq!(bench.get(SEMAPHORE), 0x77);
}

#[test]
fn a_unit_that_is_gone_reads_as_ones() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.set_gone(true);
    assert_eq!((bench.model.read64(0x0018), bench.model.read32(0x2020)), (u64::MAX, u32::MAX));
    bench.model.write64(0x0018, 0);
    bench.model.set_gone(false);
    assert_eq!(bench.model.read64(0x0018), 0x1_149d);
    assert_eq!(bench.model.read64(0x4000), u64::MAX, "no counters");
    assert_eq!((bench.model.read64(4), bench.model.read32(2)), (u64::MAX, u32::MAX));
}

#[test]
fn a_filter_drops_one_command() {
    let bench = Bench::new(AmdViConfig::default());
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    bench.model.set_command_filter(Some(Box::new(move |n, words| {
        count.fetch_add(1, Ordering::Relaxed);
        assert_eq!(words[0] >> 60, 1);
        n != 1
    })));
    assert_eq!((bench.wait(), bench.wait(), bench.wait()), (true, false, true));
    assert_eq!((seen.load(Ordering::Relaxed), bench.model.commands()), (3, 3));
    bench.clean();
}

#[test]
fn pointers_outside_their_buffer_and_bases_of_running_ones_are_violations() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.write64(0x2008, 0x1000);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x2010, 0x8);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0010, 0x0800_0000_0102_0000);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x2000, 0x10);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0030, 1);
    bench.violated(&["48882 §3.4"]);
    bench.model.write32(0x0000, 0x0100_0001);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0000, 0x0100_0203);
    bench.violated(&["48882 §3.4"]);
}

#[test]
fn control_bits_need_their_features_and_buffers_a_legal_length() {
    let bench = Bench::off(AmdViConfig::minimal());
    bench.model.write64(0x0018, 0x1_0000);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0008, 0x0700_0000_0101_0000);
    bench.model.write64(0x0018, 0x1001);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0018, 1 << 57);
    bench.violated(&["48882 §3.4"]);
    bench.model.write64(0x0018, 1 << 34);
    bench.violated(&["48882 §3.4"]);
}

#[test]
fn firmware_may_leave_the_unit_translating() {
    let bench = Bench::off(AmdViConfig::default());
    three_levels(&bench);
    assert_eq!(bench.read(0x5000), Some(0x5000), "off, everything passes");
    bench.model.preset(&[
        (0x0000, 0x0000_0000_0100_0003),
        (0x0008, 0x0800_0000_0101_0000),
        (0x0010, 0x0800_0000_0102_0000),
        (0x2008, 0x40),
        (0x2000, 0x40),
        (0x0018, 0x149d),
    ]);
    assert_eq!(bench.model.read64(0x2020), 0x18);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert!(bench.wait());
    bench.clean();
}

#[test]
fn buffers_start_and_stop_in_their_own_time() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.set_latency(2);
    bench.model.write64(0x0018, 0x1_0498);
    assert_eq!(bench.model.read64(0x2020), 0x18);
    // Whoever does not wait changes the base of a buffer that runs.
    bench.model.write64(0x0008, 0x0800_0000_0101_0000);
    bench.violated(&["48882 §3.4"]);
    assert_eq!(bench.model.read64(0x2020), 0);
    bench.model.write64(0x0008, 0x0800_0000_0101_0000);
    bench.model.write64(0x0018, 0x1_149d);
    assert!(!bench.wait());
    assert_eq!((bench.model.read32(0x2020), bench.model.read32(0x2020)), (0, 0x18));
    assert_eq!(bench.get(SEMAPHORE), 0x77);
    // Hung, it does not answer at all.
    bench.model.set_hung(true);
    bench.model.write64(0x0018, 0x1_049d);
    for _ in 0..10 {
        assert_eq!(bench.model.read64(0x2020), 0x18);
    }
    bench.clean();
}
