//! What a device table entry means, exclusion, interrupts, faults and their suppression.

use super::bench::*;
use crate::{
    Access, IommuModel, Outcome,
    amdvi::{AmdViConfig, DteMeaning, PageRequest},
};
use ioward_types::{Iova, Mmio, Pasid, SourceId};

#[test]
fn v_clear_passes_through() {
    let bench = Bench::new(AmdViConfig::default());
    assert_eq!((bench.read(0x5000), bench.write(0x7_5000)), (Some(0x5000), Some(0x7_5000)));
    assert_eq!(bench.model.meaning(DEVICE), Some(DteMeaning::PassThrough));
    assert!(!DteMeaning::PassThrough.is_blocked());
    bench.clean();
}

#[test]
fn tv_clear_terminates() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x6000_0000_0110_0601, 0x5, 0, 0]);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.event(), Some([0x2000_0000_0000_0008, 0x5000]));
    assert!(bench.model.meaning(DEVICE).is_some_and(|meaning| meaning.is_blocked()));
    bench.clean();
}

#[test]
fn valid_without_rights_is_blocked() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    assert_eq!((bench.read(0x5000), bench.write(0x5000)), (None, None));
    assert!(bench.model.meaning(DEVICE).is_some_and(|meaning| meaning.is_blocked()));
    assert_eq!(bench.event(), Some([0x2050_0000_0000_0008, 0x5000]));
    assert_eq!(bench.event(), Some([0x2070_0000_0000_0008, 0x5000]));
    bench.clean();
}

#[test]
fn illegal_entries() {
    // The entry, and whether a reserved bit is the cause (the event's RZ).
    let default = AmdViConfig::default;
    let cases = [
        (default(), [0x6000_0000_0110_0607, 0x5, 0, 0], true), // bit 2
        (default(), [0xe000_0000_0110_0603, 0x5, 0, 0], true), // bit 63
        (default(), [0x6000_0000_0110_0e03, 0x5, 0, 0], false), // Mode 7
        (AmdViConfig { host_levels: Some(4), ..default() }, [0x6000_0000_0110_0a03, 0x5, 0, 0], false), // Mode 5
        (AmdViConfig { host_levels: None, ..default() }, [0x6000_0000_0110_0203, 0x5, 0, 0], false),
        (default(), [0x6000_0000_0110_0703, 0x5, 0, 0], false), // HAD 2
        (AmdViConfig { dirty: false, ..default() }, [0x6000_0000_0110_0783, 0x5, 0, 0], false),
        (AmdViConfig { accessed: false, ..default() }, [0x6000_0000_0110_0683, 0x5, 0, 0], true),
        (default(), [0x6380_0000_0000_0003, 0x5, 0, 0], false), // GV, GLX 3
        (AmdViConfig { gcr3_levels: 1, ..default() }, [0x6180_0000_0000_0003, 0x5, 0, 0], false),
        (AmdViConfig::minimal(), [0x6080_0000_0000_0003, 0x5, 0, 0], true), // GV without GTSup
        (default(), [0x6040_0000_0000_0003, 0x5, 0, 0], false),             // GIoV without GV
        (default(), [0x6080_0000_0000_0003, 0x5, 0x0080_0000_0000_0000, 0], false), // guest paging mode 2
        (default(), [0x3, 0x400_0000_0000, 0, 0], true),                    // SATS
        (default(), [0x3, 0x18_0000_0000, 0, 0], false),                    // IoCtl 3
        (default(), [0x3, 0, 0x3000_0000_0000_0001, 0], false),             // IntCtl 3
        (default(), [0x3, 0, 0x0000_0000_0000_0019, 0], false),             // IntTabLen 12
        (default(), [0x3, 0, 0x0010_0000_0000_0001, 0], true),              // bit 180
        (default(), [0x3, 0, 0, 0x1], true),                                // bit 192
        (default(), [0x3, 0, 0, 0x8000], true),                             // vImuEn without vIOMMUSup
        (AmdViConfig { enhanced_page_requests: false, ..default() }, [0x0010_0000_0000_0003, 0, 0, 0], true),
    ];
    for (config, words, reserved) in cases {
        let bench = Bench::new(config);
        bench.entry(DEVICE, words);
        assert_eq!(bench.read(0x5001), None, "{words:#x?}");
        let flags = if reserved { 0x0080_0000_0000_0000 } else { 0 };
        assert_eq!(bench.event(), Some([0x1000_0000_0000_0008 | flags, 0x5000]), "{words:#x?}");
        bench.violated(&["48882 §2.2.2.1"]);
        assert!(matches!(bench.model.meaning_of(&words), DteMeaning::Illegal(_)));
        // With V clear nothing else of it counts.
        assert_eq!(
            bench.model.meaning_of(&[words[0] & !1, words[1], words[2], words[3]]),
            DteMeaning::PassThrough
        );
    }
}

#[test]
fn a_device_beyond_the_table_is_refused() {
    let bench = Bench::new(AmdViConfig::default());
    assert!(reached(bench.request(SourceId(0x1ff), None, 0x5000, Access::Read)).is_some());
    assert_eq!(bench.request(SourceId(0x200), None, 0x5000, Access::Read), Outcome::Aborted);
    assert_eq!(bench.event(), Some([0x1000_0000_0000_0200, 0x5000]));
    bench.clean();
}

#[test]
fn a_table_of_segments() {
    let bench = Bench::off(AmdViConfig::default());
    bench.model.write64(0x0000, 0x0000_0000_0100_0003);
    bench.model.write64(0x0100, 0x0000_0000_0110_0003);
    bench.model.write64(0x0008, 0x0800_0000_0101_0000);
    bench.model.write64(0x0010, 0x0800_0000_0102_0000);
    // DevTblSegEn 1: two segments; device 8000h is the first of the second.
    bench.model.write64(0x0018, 0x4_0000_149d);
    bench.put(0x0110_0000, 0x2000_0000_0000_0003);
    let device = SourceId(0x8000);
    assert!(reached(bench.request(device, None, 0x5000, Access::Read)).is_some());
    assert_eq!(bench.request(device, None, 0x5000, Access::Write), Outcome::Aborted);
    bench.memory.violations().assert_none();
}

#[test]
fn a_device_table_outside_memory_is_a_hardware_error() {
    let bench = Bench::new(AmdViConfig::default());
    bench.model.write64(0x0000, 0x0000_000f_0000_0003);
    assert_eq!(bench.write(0x5000), None);
    assert_eq!(bench.event(), Some([0x3220_0000_0000_0008, 0xf_0000_0100]));
    bench.violated(&["48882 §2.2.2"]);
}

#[test]
fn exclusion_is_a_bypass() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.model.write64(0x0028, 0x9000);
    bench.model.write64(0x0020, 0x8001);
    assert_eq!(bench.read(0x8000), None, "the device is not let in");
    bench.entry(SourceId(0x9), [0x6000_0000_0110_0603, 0x80_0000_0005, 0, 0]);
    let other = |at| reached(bench.request(SourceId(0x9), None, at, Access::Write));
    assert_eq!((other(0x8000), other(0x9fff)), (Some(0x8000), Some(0x9fff)), "DTE.EX");
    assert_eq!((other(0x7fff), other(0xa000)), (None, None));
    bench.model.write64(0x0020, 0x8003);
    assert_eq!(bench.read(0x9abc), Some(0x9abc), "Allow lets everybody in");
    bench.model.write64(0x0020, 0);
    assert_eq!(bench.read(0x9abc), None);
    bench.memory.violations().assert_none();
}

#[test]
fn a_disabled_unit_is_a_bypass_and_forgets_nothing() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.model.write64(0x0018, 0);
    assert_eq!(bench.read(0x5000), Some(0x5000));
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    bench.model.write64(0x0018, 0x1_149d);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "the entry was cached");
    bench.clean();
}

#[test]
fn interrupts_and_reserved_ranges() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    let at = |at, access| bench.request(DEVICE, None, at, access);
    assert_eq!(at(0xfee0_1000, Access::Write), Outcome::Interrupt);
    assert_eq!(at(0xfee0_1000, Access::Read), Outcome::Aborted);
    assert_eq!(bench.event(), Some([0x8000_0000_0000_0008, 0xfee0_1000]));
    assert_eq!(at(0xfd_f800_0000, Access::Write), Outcome::Aborted);
    assert_eq!(bench.event(), Some([0x8600_0000_0000_0008, 0xfd_f800_0000]));
    // IV set and IntCtl 0: interrupts are aborted.
    bench.entry(SourceId(9), [0x3, 0, 0x1, 0]);
    assert_eq!(bench.request(SourceId(9), None, 0xfee0_0000, Access::Write), Outcome::Aborted);
    assert_eq!(bench.event(), Some([0x8800_0000_0000_0009, 0xfee0_0000]));
    bench.clean();
}

#[test]
fn faults_are_suppressed_as_the_entry_says() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x3, 0x4_0000_0000, 0, 0]);
    bench.entry(SourceId(9), [0x3, 0x2_0000_0000, 0, 0]);
    assert_eq!((bench.read(0x5000), bench.event()), (None, None), "SA");
    let other = || bench.request(SourceId(9), None, 0x5000, Access::Read);
    assert_eq!((other(), bench.event().is_some()), (Outcome::Aborted, true), "SE, the first");
    assert_eq!((other(), bench.event().is_some()), (Outcome::Aborted, false), "SE, the second");
    bench.command([0x2000_0000_0000_0009, 0]);
    assert!(bench.wait());
    assert_eq!((other(), bench.event().is_some()), (Outcome::Aborted, true), "once more after invalidation");
}

#[test]
fn ats_needs_the_entrys_leave() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    let request = |at| crate::Request {
        source: DEVICE,
        pasid: None,
        at: Iova(at),
        access: Access::Read,
        privileged: false,
    };
    assert_eq!(bench.model.translate_ahead(&request(0x5000)), Outcome::Aborted);
    // INVALID_DEVICE_REQUEST type 001b, TR set; then the translated request.
    assert_eq!(bench.event(), Some([0x8300_0000_0000_0008, 0x5000]));
    assert_eq!(bench.model.translated(&request(0x0120_0000)), Outcome::Aborted);
    assert_eq!(bench.event(), Some([0x8200_0000_0000_0008, 0x0120_0000]));
    bench.entry(DEVICE, [0x6000_0000_0110_0603, 0x1_0000_0005, 0, 0]);
    bench.command([0x2000_0000_0000_0008, 0]);
    assert!(bench.wait());
    assert_eq!(reached(bench.model.translate_ahead(&request(0x5000))), Some(0x0120_0000));
    assert_eq!(reached(bench.model.translated(&request(0x0120_0000))), Some(0x0120_0000));
    assert_eq!(bench.model.translate_ahead(&request(0x6000)), Outcome::Aborted, "and nothing is logged");
    bench.clean();
}

#[test]
fn page_requests_are_logged_and_answered() {
    let bench = Bench::new(AmdViConfig::default());
    bench.entry(DEVICE, [0x6080_0000_0000_0003, 0x1_0000_0005, 0, 0]);
    bench.model.write64(0x0038, 0x0800_0000_0104_0000);
    bench.model.write64(0x0018, 0x1_f49d);
    let request = PageRequest {
        source: DEVICE,
        pasid: Some(Pasid(0x2_0001)),
        at: Iova(0x7000),
        read: true,
        write: true,
        group: 0x1f,
        last: true,
    };
    assert!(bench.model.page_request(&request));
    // PAGE_SERVICE_REQUEST: GN, US, W, R; PASID bits 19:16 at 42; last at 41; group at 32.
    assert_eq!((bench.get(0x0104_0000), bench.get(0x0104_0008)), (0x1164_0a1f_0001_0008, 0x7000));
    assert_eq!(bench.model.read64(0x2038), 0x10);
    bench.command([0x7002_0001_0000_0008, 0x0000_001f_0000_0004]);
    let answers = bench.model.take_answers();
    assert_eq!(
        (answers.len(), answers[0].group, answers[0].status, answers[0].pasid),
        (1, 0x1f, 0, request.pasid)
    );
    assert!(!bench.model.page_request(&PageRequest { source: SourceId(0x20), ..request }), "V is clear");
    assert!(bench.event().is_some_and(|words| words[0] >> 60 == 9));
    bench.clean();
}
