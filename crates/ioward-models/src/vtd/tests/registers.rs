//! Capabilities, the global command register, invalidation by register, fault records.

use super::bench::*;
use crate::{
    Access,
    vtd::{EventKind, VtdConfig},
};
use ioward_types::Mmio;

#[test]
fn capabilities_say_what_the_configuration_says() {
    let bench = Bench::off(VtdConfig::legacy());
    assert_eq!(bench.model.read32(0), 0x41);
    // ND 6, PLMR, PHMR, SAGAW 39 and 48, MGAW 47, ZLR, FRO 0x40, SSLPS both, PSI, NFR 7, MAMV 18, DWD, DRD.
    assert_eq!(bench.model.read64(0x8), 0x00d2_078c_406f_0666);
    // C, QI, DT, IR, EIM, PT, SC, IRO 0x50, MHMV 15.
    assert_eq!(bench.model.read64(0x10), 0x00f0_50df);
    let bench = Bench::off(VtdConfig::default());
    assert_eq!(bench.model.read64(0x8), 0x11d2_078c_4078_0c66);
    // And NEST, PRS, ERS, SRS, PSS 19, PASID, PDS, SMTS, SSADS, SSTS, FSTS, SMPWCS, RPS, ADMS.
    assert_eq!(bench.model.read64(0x10), 0x0013_ed98_e4f0_50df);
    let bench = Bench::off(VtdConfig::minimal());
    // RWBF, PLMR, PHMR, SAGAW 39, MGAW 38, ZLR, FRO 0x40.
    assert_eq!(bench.model.read64(0x8), 0x0000_0000_4066_0270);
    assert_eq!(bench.model.read64(0x10), 0x5000);
    assert_eq!(bench.model.read32(0x14), 0);
}

#[test]
fn a_block_that_has_left_the_bus_reads_as_ones() {
    let bench = mapped();
    bench.model.set_gone(true);
    assert_eq!(bench.model.read32(0x1c), u32::MAX);
    assert_eq!(bench.model.read64(0x8), u64::MAX);
    bench.model.write32(0x18, 0);
    bench.model.set_gone(false);
    assert_eq!(bench.model.read32(0x1c), 0xc400_0000);
    assert_eq!(bench.model.read32(0x1000), u32::MAX, "outside the block");
    assert_eq!(bench.model.read32(0x1d), u32::MAX);
}

#[test]
fn commands_take_effect_when_the_status_says_so() {
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.set_latency(3);
    bench.put(ROOT, 0x0101_0001);
    bench.model.write64(0x20, ROOT);
    bench.model.write32(0x18, 0x4000_0000);
    assert_eq!([0; 3].map(|_: i32| bench.model.read32(0x1c)), [0, 0, 0x4000_0000]);
    bench.model.write32(0x18, 0x8000_0000);
    assert_eq!(bench.write(0x5000), Some(0x5000), "not yet");
    assert_eq!([0; 3].map(|_: i32| bench.model.read32(0x1c)), [0x4000_0000, 0x4000_0000, 0xc000_0000]);
    assert_eq!(bench.write(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn one_command_at_a_time() {
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.set_latency(2);
    bench.model.write64(0x20, ROOT);
    bench.model.write32(0x18, 0x4000_0000);
    bench.model.write32(0x18, 0x4000_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    while bench.model.read32(0x1c) & 0x4000_0000 == 0 {}
    // Two at once.
    bench.model.write64(0x90, QUEUE);
    bench.model.write32(0x18, 0x8400_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    while bench.model.read32(0x1c) & 0x8400_0000 != 0x8400_0000 {}
    // One-shot bits written back are commands again.
    bench.model.write32(0x18, 0xc000_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    while bench.model.read32(0x1c) & 0x4000_0000 == 0 {}
    // What changes nothing is none.
    let now = bench.model.read32(0x1c) & !0x4000_0000;
    bench.model.write32(0x18, now);
    bench.clean();
}

#[test]
fn commands_before_what_they_need() {
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.write32(0x18, 0x8000_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.write32(0x18, 0x0200_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    let bench = Bench::off(VtdConfig::minimal());
    bench.model.write32(0x18, 0x0400_0000);
    bench.violated(&["VT-d 11.4.4.1"]);
    bench.model.write32(0x18, 0x0000_0001);
    bench.violated(&["VT-d 11.4.4.1", "VT-d 11.4.4.1"]);
}

#[test]
fn roots_that_the_unit_cannot_have() {
    for (value, wrong) in [
        (ROOT, false),
        (ROOT | 0x400, true), // scalable mode
        (ROOT | 0x800, true), // reserved
        (ROOT | 0xc00, true), // abort
        (ROOT | 1, true),
        (1 << 50, true),
    ] {
        let bench = Bench::off(VtdConfig::legacy());
        bench.model.write64(0x20, value);
        bench.model.write32(0x18, 0x4000_0000);
        assert_eq!(!bench.memory.violations().take().is_empty(), wrong, "{value:#x}");
    }
    // The mode stays while translation is on, but for abort mode.
    let bench = Bench::scalable(VtdConfig::default());
    bench.model.write64(0x20, ROOT | 0xc00);
    bench.model.write32(0x18, 0xc400_0000);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.fault(), None);
    bench.clean();
    bench.model.write64(0x20, ROOT | 0x400);
    bench.model.write32(0x18, 0xc400_0000);
    bench.clean();
    bench.model.write64(0x20, ROOT);
    bench.model.write32(0x18, 0xc400_0000);
    bench.violated(&["VT-d 11.4.5"]);
}

#[test]
fn the_queues_address_stays_while_it_runs() {
    let bench = mapped();
    bench.model.write64(0x90, 0x0108_0000);
    assert_eq!(bench.memory.violations().take()[0].section, "VT-d 11.4.9.3");
}

#[test]
fn a_stuck_bit_never_changes() {
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.set_stuck(0x8000_0000);
    bench.model.write64(0x20, ROOT);
    bench.model.write32(0x18, 0x4000_0000);
    bench.model.write32(0x18, 0x8000_0000);
    for _ in 0..100 {
        assert_eq!(bench.model.read32(0x1c), 0x4000_0000);
    }
    assert_eq!(bench.write(0x5000), Some(0x5000));
    // Giving up is no violation.
    bench.model.write32(0x18, 0);
    bench.clean();
    // A write-buffer flush that never ends.
    let bench = Bench::off(VtdConfig::minimal());
    bench.model.set_stuck(0x0800_0000);
    bench.model.write32(0x18, 0x0800_0000);
    for _ in 0..100 {
        assert_eq!(bench.model.read32(0x1c), 0x0800_0000);
    }
}

#[test]
fn firmware_may_leave_it_translating() {
    let bench = Bench::off(VtdConfig::legacy());
    four_levels(&bench);
    bench.put(ROOT, 0x0101_0001);
    bench.context([0x0110_0001, 0x502]);
    bench.model.preset(&[(0x20, ROOT), (0x90, QUEUE), (0x80, 0x40), (0x88, 0x80), (0x1c, 0xc400_0000)]);
    assert_eq!(bench.model.read32(0x1c), 0xc400_0000);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!((bench.model.read64(0x80), bench.model.read64(0x88)), (0x40, 0x80));
    bench.model.write32(0x18, 0x0400_0000);
    assert_eq!(bench.read(0x5000), Some(0x5000));
    bench.clean();
}

// ---- a unit without a queue -----------------------------------------------------------------------------------------

fn by_register() -> Bench {
    let bench = Bench::legacy(VtdConfig { queued: false, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench
}

#[test]
fn registers_invalidate_the_iotlb() {
    for (command, address, granularity, helps) in [
        (0x9000_0000_0000_0000_u64, 0, 1, true),
        (0xa000_0005_0000_0000, 0, 2, true),
        (0xa000_0006_0000_0000, 0, 2, false),
        (0xb000_0005_0000_0000, 0x5000, 3, true),
        (0xb000_0005_0000_0000, 0x6000, 3, false),
    ] {
        let bench = by_register();
        bench.model.set_latency(2);
        bench.put(0x0110_3028, 0);
        bench.model.write64(0x500, address);
        bench.model.write64(0x508, command);
        assert_eq!(bench.read(0x5000), Some(0x0120_0000), "in progress");
        let mut reads = 0;
        while bench.model.read64(0x508) >> 63 != 0 {
            reads += 1;
        }
        assert_eq!(reads, 1, "two halves make two reads");
        assert_eq!(bench.model.read64(0x508) >> 57 & 3, granularity);
        assert_eq!(bench.read(0x5000).is_none(), helps, "{command:#x}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn registers_invalidate_context_entries() {
    for (command, helps) in [
        (0xa000_0000_0000_0000_u64, true),
        (0xc000_0000_0000_0005, true),
        (0xc000_0000_0000_0006, false),
        (0xe000_0000_0008_0005, true),
        (0xe000_0000_0009_0005, false),
        (0xe000_0003_000f_0005, true),
    ] {
        let bench = by_register();
        bench.context([0, 0]);
        bench.model.write64(0x28, command);
        assert_eq!(bench.model.read64(0x28) >> 63, 0);
        assert_eq!(bench.model.read64(0x28) >> 59 & 3, command >> 61 & 3);
        assert_eq!(bench.read(0x5000).is_none(), helps, "{command:#x}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn a_unit_without_page_selective_invalidation_takes_the_domain() {
    let bench = Bench::legacy(VtdConfig { queued: false, page_selective: false, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_3028, 0);
    bench.model.write64(0x500, 0x9000);
    bench.model.write64(0x508, 0xb000_0005_0000_0000);
    assert_eq!(bench.model.read64(0x508) >> 57 & 3, 2);
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn impossible_and_untimely_invalidations_by_register() {
    let bench = by_register();
    bench.model.write64(0x508, 0x8000_0000_0000_0000);
    assert_eq!(bench.model.read64(0x508) >> 57, 0);
    bench.violated(&["VT-d 6.5.1"]);
    // 19 low bits, one more than CAP.MAMV, which is an error and drops nothing.
    bench.put(0x0110_3028, 0);
    bench.model.write64(0x500, 0x13);
    bench.model.write64(0x508, 0xb000_0005_0000_0000);
    bench.violated(&["VT-d 6.5.1"]);
    assert_eq!((bench.model.read64(0x508) >> 57 & 3, bench.read(0x5000)), (0, Some(0x0120_0000)));
    bench.model.set_latency(5);
    bench.model.write64(0x28, 0xa000_0000_0000_0000);
    bench.model.write64(0x28, 0xa000_0000_0000_0000);
    bench.violated(&["VT-d 6.5.1"]);
    let bench = mapped();
    bench.model.write64(0x28, 0xa000_0000_0000_0000);
    bench.violated(&["VT-d 6.5.1"]);
    let bench = by_register();
    bench.model.set_hung(true);
    bench.model.write64(0x28, 0xa000_0000_0000_0000);
    for _ in 0..100 {
        assert_eq!(bench.model.read64(0x28) >> 63, 1);
    }
}

// ---- faults ---------------------------------------------------------------------------------------------------------

#[test]
fn faults_overflow_and_interrupt_once() {
    let bench = Bench::legacy(VtdConfig { fault_records: 2, ..VtdConfig::legacy() });
    bench.model.write32(0x38, 0);
    for page in 1..=4 {
        assert_eq!(bench.read(page << 12), None);
    }
    assert_eq!(bench.model.take_events().iter().map(|e| e.kind).collect::<Vec<_>>(), [EventKind::Fault]);
    // PFO and PPF, the first record is 0.
    assert_eq!(bench.model.read32(0x34), 0x3);
    assert_eq!(bench.fault().unwrap()[0], 0x1000);
    assert_eq!(bench.model.read32(0x34), 0x103);
    assert_eq!(bench.fault().unwrap()[0], 0x2000);
    assert_eq!(bench.model.read32(0x34), 0x1);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.fault(), None, "nothing is recorded before the overflow is acknowledged");
    bench.model.write32(0x34, 1);
    assert_eq!(bench.read(0x6000), None);
    assert_eq!(bench.fault().unwrap()[0], 0x6000);
    assert_eq!(bench.model.take_events().len(), 1);
    bench.clean();
}

#[test]
fn a_masked_fault_event_waits_and_is_withdrawn_when_served() {
    let bench = mapped();
    assert_eq!(bench.model.read32(0x38), 0x8000_0000);
    assert_eq!(bench.request(DEVICE, None, 0x6000, Access::Read), crate::Outcome::Aborted);
    assert_eq!(bench.model.read32(0x38), 0xc000_0000);
    assert!(bench.fault().is_some());
    assert_eq!(bench.model.read32(0x38), 0x8000_0000);
    bench.model.write32(0x38, 0);
    assert!(bench.model.take_events().is_empty());
    bench.clean();
}
