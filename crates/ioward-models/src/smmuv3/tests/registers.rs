use super::rig::{CMDQ, DATA, EVENTQ, Rig, STREAMS};
use crate::{
    Access, Outcome,
    smmuv3::{Features, Signal},
};
use ioward_types::Mmio;

#[test]
fn identification_says_what_was_built() {
    let rig = Rig::new(Features::default());
    // S1P S2P TTF=2 COHACC HTTU=2 ATS NS1ATS ASID16 MSI SEV PRI VMID16 CD2L TTENDIAN=2 STALL_MODEL=1 TERM ST_LEVEL=1.
    assert_eq!(rig.smmu.read32(0x00), 0x0d4d_7c9b);
    // SIDSIZE 16, SSIDSIZE 10, PRIQS 7, EVENTQS 7, CMDQS 8, ATTR overrides.
    assert_eq!(rig.smmu.read32(0x04), 0x0d07_3a90);
    // HAD, RIL, BBML 2.
    assert_eq!(rig.smmu.read32(0x0c), 0x1404);
    // OAS 48 bits, all granules.
    assert_eq!(rig.smmu.read32(0x14), 0x75);
    assert_eq!(rig.smmu.read32(0x1c), 0x2);
    let small = Rig::new(Features::small());
    assert_eq!(small.smmu.read32(0x00), 0x0540_080a);
    assert_eq!(small.smmu.read32(0x14), 0x12);
}

#[test]
fn cr0_takes_effect_when_acknowledged() {
    let rig = Rig::new(Features::default());
    rig.smmu.write32(0x28, 0xd75);
    rig.smmu.write64(0x90, CMDQ | 4);
    rig.smmu.write32(0x98, 0);
    rig.smmu.write32(0x9c, 0);
    rig.smmu.write32(0x20, 0x8);
    assert_eq!((rig.smmu.read32(0x20), rig.smmu.read32(0x24)), (0x8, 0x8), "two reads later");
    rig.smmu.set_latency(5);
    rig.smmu.write64(0xa0, EVENTQ | 3);
    rig.smmu.write32(0x20, 0xc);
    assert_eq!(rig.smmu.read32(0x24), 0x8);
    rig.smmu.write32(0x20, 0x8);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.9"], "changed again too early");
}

#[test]
fn guarded_registers_keep_their_values() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.write64(0x80, 0x8008_0000);
    assert_eq!(rig.smmu.read64(0x80), STREAMS);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.24"; 2], "both halves");
    rig.smmu.write32(0x88, 5);
    rig.smmu.write32(0x9c, 5);
    rig.smmu.write32(0x2c, 0);
    rig.smmu.write32(0x28, 0);
    assert_eq!(
        rig.sections(),
        ["IHI 0070 G.b 6.3.25", "IHI 0070 G.b 6.3.28", "IHI 0070 G.b 6.3.12", "IHI 0070 G.b 6.3.11"]
    );
    assert_eq!((rig.smmu.read32(0x88), rig.smmu.read32(0x9c)), (4, 0));
    rig.smmu.read64(0x98);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.2"], "two 32-bit registers at once");
}

#[test]
fn gbpa_decides_while_translation_is_off() {
    let rig = Rig::new(Features::default());
    assert!(matches!(rig.access(5, None, DATA, Access::Write), Outcome::To { at, .. } if at.0 == DATA));
    assert_eq!(rig.access(5, None, 1 << 48, Access::Write), Outcome::Aborted, "beyond OAS");
    rig.smmu.write32(0x44, 0x0010_0000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.14"], "without Update");
    rig.smmu.write32(0x44, 0x8010_0000);
    assert!(rig.goes(DATA).is_some(), "not yet");
    assert_eq!(rig.smmu.read32(0x44), 0x8010_0000);
    rig.smmu.write32(0x44, 0x8000_0000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.14"], "while Update is 1");
    assert_eq!(rig.smmu.read32(0x44), 0x0010_0000);
    assert_eq!(rig.goes(DATA), None);
}

#[test]
fn a_card_that_was_pulled_reads_ones() {
    let rig = Rig::stage1(Features::default());
    rig.smmu.set_gone(true);
    assert_eq!(rig.smmu.read32(0x00), u32::MAX);
    assert_eq!(rig.smmu.read64(0x80), u64::MAX);
    rig.smmu.write32(0x20, 0);
    assert_eq!(rig.goes(0x1000), None);
    rig.smmu.set_gone(false);
    assert_eq!(rig.smmu.read32(0x20), 0x1d);
}

#[test]
fn errors_are_toggled_and_acknowledged() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.preset(0x50, 0b101);
    rig.smmu.preset(0xa0, 0x4000_0003); // No memory there.
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!((rig.smmu.read32(0x60), rig.smmu.read32(0x64)), (0b100, 0));
    assert_eq!(rig.smmu.take_signals(), [Signal::GlobalError]);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.smmu.read32(0x60), 0b100, "active already");
    rig.smmu.write32(0x64, 0b100);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!((rig.smmu.read32(0x60), rig.smmu.read32(0x64)), (0, 0b100), "again");
    rig.smmu.write32(0x64, 0b101);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.20"], "no such error");
}

#[test]
fn a_full_event_queue_overflows_once() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.preset(0x50, 0b100);
    for _ in 0..10 {
        assert_eq!(rig.goes(0x1000), None);
    }
    assert_eq!(rig.smmu.read32(0x100a8), 0x8000_0008, "full, and OVFLG toggled once");
    assert_eq!(rig.smmu.take_signals(), [Signal::EventQueue], "empty to non-empty");
    assert_eq!(rig.event().map(|event| event[0]), Some(0x0000_0005_0000_0004));
    assert_eq!(rig.goes(0x1000), None, "recorded again");
    assert_eq!(rig.smmu.read32(0x100a8), 0x8000_0009);
    rig.smmu.write32(0x100ac, 0x8000_0009);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.smmu.read32(0x100a8), 0x8000_000a);
    rig.smmu.write32(0x100ac, 0xa);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 7.4"], "an acknowledgement of nothing");
    rig.smmu.write32(0x100ac, 0x8000_000b);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.2"], "past PROD");
}
