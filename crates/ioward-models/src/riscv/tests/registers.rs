//! Capabilities, guards, busy bits and what cannot be written (chapter 5).

use super::rig::*;
use crate::{
    Access, IommuModel,
    riscv::{Features, Interrupts},
};
use ioward_types::Mmio;

#[test]
fn capabilities_are_what_was_asked_for() {
    let rig = Rig::new(Features::default());
    // 1.0; Sv39 to Sv57 and x4; Svpbmt; AMO_MRIF, MSI_FLAT, MSI_MRIF, AMO_HWAD, ATS, T2GPA; IGS both; DBG; 56 bits; PD*.
    assert_eq!(rig.iommu.read64(0), 0x1f8_a7ee_8e10);
    let small = Rig::new(Features::small());
    // Sv39, wires, 40 bits.
    assert_eq!(small.iommu.read64(0), 0x28_1000_0210);
    assert_eq!((small.iommu.read32(8), rig.iommu.read32(8)), (2, 0), "fctl.WSI where there is nothing else");
    // Optional registers read zero: page requests, performance monitor, translation requests.
    for at in (0x38..0x48).chain(0x50..0x54).chain(0x58..0x270).step_by(4) {
        small.iommu.write32(at, u32::MAX);
        assert_eq!(small.iommu.read32(at), 0, "{at:#x}");
    }
    let extended = Features { non_leaf: true, ranges: true, svrsw: true, ..Features::small() };
    assert_eq!(Rig::new(extended).iommu.read64(0), 0xc28_1000_4210);
}

#[test]
fn the_recommended_bring_up_breaks_no_rule() {
    let rig = Rig::new(Features::default());
    rig.iommu.poison();
    rig.iommu.write64(0x18, ppn(CQ) | 3);
    rig.iommu.write32(0x24, 0);
    rig.iommu.write32(0x48, 1);
    assert_eq!(rig.iommu.read32(0x48), 0x2_0001, "busy");
    assert_eq!(rig.iommu.read32(0x48), 0x1_0001, "on");
    assert_eq!(rig.iommu.read32(0x20), 0);
    rig.iommu.write64(0x28, ppn(FQ) | 2);
    rig.iommu.write32(0x30, 0);
    rig.iommu.write32(0x4c, 1);
    rig.iommu.read32(0x4c);
    assert_eq!(rig.iommu.read32(0x4c), 0x1_0001);
    rig.command([INVAL_DDT, 0]);
    rig.command([VMA, 0]);
    rig.command([GVMA, 0]);
    rig.fence();
    rig.map_first(TABLES);
    rig.context(5, &[1, 0, TA7, SV39 | TABLES >> 12]);
    rig.iommu.write64(0x10, ppn(DDT) | 2);
    assert_eq!(rig.iommu.read64(0x10), ppn(DDT) | 0x12, "busy");
    assert_eq!(rig.iommu.read64(0x10), ppn(DDT) | 2);
    assert_eq!(rig.goes(0x1234), Some(DATA + 0x234));
}

#[test]
fn garbage_of_before_is_hit_where_nothing_was_invalidated() {
    let rig = Rig::first(Features::default());
    rig.iommu.poison();
    rig.enable(2);
    assert_eq!(rig.goes(0x1234), Some(0x1234), "a context that passes everything");
    assert_eq!(rig.sections(), ["5.5"]);
    rig.iommu.preset(0x20, 0);
    rig.iommu.preset(0x24, 0);
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!(rig.goes(0x1234), Some(0x1234), "and a translation");
    assert_eq!(rig.sections(), ["5.5"]);
    rig.fenced([VMA | PSCV | PSCID7, 0]);
    assert_eq!(rig.goes(0x1234), Some(DATA + 0x234));
}

#[test]
fn modes_that_are_not_supported_do_not_stay() {
    let rig = Rig::new(Features { levels: [true, false, true], ..Features::default() });
    rig.iommu.set_latency(0);
    for (asked, kept) in [(4, 4), (0, 0), (3, 0), (2, 2), (0, 0), (5, 0), (15, 0), (1, 1)] {
        rig.iommu.write64(0x10, ppn(DDT) | asked);
        assert_eq!(rig.iommu.read64(0x10), ppn(DDT) | kept, "{asked}");
    }
}

#[test]
fn modes_change_through_off() {
    let rig = Rig::enabled(Features::default());
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x10, ppn(DDT) | 3);
    assert_eq!(rig.sections(), ["5.5"], "levels to levels");
    rig.iommu.write64(0x10, ppn(DDT) | 1);
    assert_eq!(rig.sections(), ["5.5"], "levels to Bare");
    rig.iommu.write64(0x10, ppn(DDT) | 4);
    rig.iommu.write64(0x10, 0);
    assert_eq!(rig.sections(), ["5.5"], "PPN changes with Off");
    rig.iommu.write64(0x10, ppn(DDT) | 4);
    rig.iommu.write64(0x10, ppn(DDT));
    rig.iommu.write64(0x10, 1);
}

#[test]
fn nothing_is_written_while_it_is_busy() {
    let rig = Rig::new(Features::default());
    rig.iommu.write64(0x10, 1);
    rig.iommu.write64(0x10, 0);
    assert_eq!(rig.sections(), ["5.5", "5.5"], "either half");
    rig.iommu.write32(0x4c, 1);
    rig.iommu.write32(0x4c, 0);
    assert_eq!(rig.sections(), ["5.16"]);
    // Two halves, low first: the second meets a busy register.
    rig.iommu.read32(0);
    rig.iommu.read32(0);
    rig.iommu.write32(0x10, 2);
    rig.iommu.write32(0x14, 0);
    assert_eq!(rig.sections(), ["5.5"]);
}

#[test]
fn a_queue_in_use_stays_where_it_is() {
    let rig = Rig::enabled(Features::default());
    for at in [0x18, 0x28, 0x38] {
        let before = rig.iommu.read64(at);
        rig.iommu.write32(at, 0x55);
        assert_eq!(rig.iommu.read64(at), before);
    }
    assert_eq!(rig.sections(), ["5.6", "5.9", "5.12"]);
}

#[test]
fn sizes_and_indexes_are_cut_to_what_there_is() {
    let rig = Rig::new(Features { queue_bits: 6, ..Features::default() });
    rig.iommu.write64(0x18, ppn(CQ) | 31);
    assert_eq!(rig.iommu.read64(0x18), ppn(CQ) | 5);
    assert_ne!(rig.iommu.read32(0x24), 0, "the tail is garbage until it is written");
    rig.iommu.write32(0x24, 64);
    assert_eq!(rig.sections(), ["5.8"]);
    assert_eq!(rig.iommu.read32(0x24), 0);
    rig.iommu.write32(0x20, 3);
    assert_eq!(rig.iommu.read32(0x20), 0, "cqh is read-only");
    rig.iommu.write64(0x18, ppn(CQ) | 1 << 6);
    assert_eq!(rig.sections(), ["5.6"], "reserved bits");
}

#[test]
fn a_queue_is_aligned_to_its_size() {
    let rig = Rig::new(Features::default());
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x28, ppn(FQ + 0x1000) | 7);
    rig.iommu.write32(0x30, 0);
    rig.iommu.write32(0x4c, 1);
    assert_eq!(rig.sections(), ["5.9"], "256 records are 8 KiB");
    rig.iommu.write64(0x18, ppn(CQ + 0x1000) | 7);
    rig.iommu.write32(0x24, 0);
    rig.iommu.write32(0x48, 1);
    assert_eq!(rig.sections(), [""; 0], "256 commands are 4 KiB");
}

#[test]
fn features_change_only_while_everything_is_off() {
    let rig = Rig::new(Features { both_endian: true, ..Features::default() });
    rig.iommu.write32(8, 0b11);
    assert_eq!(rig.iommu.read32(8), 0b11);
    rig.iommu.write32(8, 0b100);
    assert_eq!(rig.iommu.read32(8), 0, "GXL is fixed");
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x10, 1);
    rig.iommu.write32(8, 0b10);
    assert_eq!(rig.sections(), ["5.4"]);
    rig.iommu.write64(0x10, 0);
    rig.iommu.write32(0x4c, 1);
    rig.iommu.write32(8, 0);
    assert_eq!(rig.sections(), ["5.4"], "a queue is on");
    let fixed = Rig::new(Features { interrupts: Interrupts::Messages, ..Features::default() });
    fixed.iommu.write32(8, 0b11);
    assert_eq!(fixed.iommu.read32(8), 0);
}

#[test]
fn wide_accesses_are_for_wide_registers() {
    let rig = Rig::new(Features::default());
    for at in [0x0, 0x10, 0x18, 0x28, 0x38, 0x258, 0x260, 0x268, 0x2f8, 0x300, 0x310] {
        rig.iommu.read64(at);
        assert_eq!(rig.sections(), [""; 0], "{at:#x}");
    }
    for at in [0x8, 0x20, 0x30, 0x40, 0x48, 0x50, 0x308] {
        rig.iommu.read64(at);
        assert_eq!(rig.sections(), ["6.1"], "{at:#x}");
    }
    assert_eq!((rig.iommu.read32(0x1000), rig.iommu.read64(0x1000), rig.iommu.read32(2)), (!0, !0, !0));
}

#[test]
fn off_aborts_and_bare_passes() {
    let rig = Rig::enabled(Features::default());
    rig.iommu.preset(0x10, 0);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.cause(), Some(256));
    rig.iommu.preset(0x10, 1);
    assert_eq!(rig.goes(0x1234), Some(0x1234));
    assert_eq!(to(rig.iommu.translated(&request(5, None, 0, Access::Read))), None);
    assert_eq!(to(rig.iommu.translate_ahead(&request(5, None, 0, Access::Read))), None);
    assert_eq!((rig.cause(), rig.cause(), rig.cause()), (Some(260), Some(260), None));
    assert_eq!(rig.iommu.faults(), 3);
    let reset = Rig::new(Features { starts_bare: true, ..Features::default() });
    assert_eq!(reset.iommu.read64(0x10), 1);
}

#[test]
fn a_translation_can_be_asked_for_by_register() {
    let rig = Rig::first(Features::default());
    let ask = |control: u64, at: u64| {
        rig.iommu.write64(0x258, at);
        rig.iommu.write64(0x260, control | 5 << 40 | 1);
        assert_eq!(rig.iommu.read64(0x260) & 1, 0);
        rig.iommu.read64(0x268)
    };
    assert_eq!(ask(8, 0x1000), ppn(DATA));
    assert_eq!(ask(8, 0x9000), 1, "a fault");
    assert_eq!(rig.fault(), Some([5 << 40 | 2 << 34 | 13, 0, 0x9000, 0]));
    // 2 MiB at 0x20_0000: the page number tells the size.
    rig.put(TABLES + 0x1008, &[page(0x8020_0000)]);
    assert_eq!(ask(8, 0x21_5000), (0x8020_0000 >> 12 | 0xff) << 10 | 1 << 9);
    rig.put(TABLES + 0x2018, &[page(0x8010_3000) & !0x4]);
    assert_eq!(ask(0, 0x3000), 1, "not writable");
    assert_eq!(rig.cause(), Some(15));
}
