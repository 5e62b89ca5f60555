//! MSI page tables and interrupt files in memory (2.3.3; Advanced Interrupt Architecture 9.3, 9.5).

use super::rig::*;
use crate::{
    Access, IommuModel, Outcome,
    riscv::{Features, MsiOutcome, Signal},
};
use ioward_types::PhysAddr;

const V_BASIC: u64 = 0b111;
const V_MRIF: u64 = 0b011;

/// Device 5 of a guest whose interrupt files are at the guest's 0x2800_0000 and 0x2800_1000, and 16 pages above each:
/// mask 0x11, pattern 0x28000.
fn rig(features: Features) -> Rig {
    let rig = Rig::second(features);
    rig.context(5, &[1, SV39X4 | GUEST >> 12, 0, 0, 1 << 60 | MSIPT >> 12, 0x11, 0x28000]);
    rig
}

fn write(rig: &Rig, at: u64, data: u32) -> MsiOutcome {
    rig.iommu.message_write(&request(5, None, at, Access::Write), data)
}

#[test]
fn files_are_numbered_by_the_mask() {
    let rig = rig(Features::default());
    for n in 0..4 {
        rig.put(MSIPT + 16 * n, &[ppn(DATA + 0x1000 * n) | V_BASIC, !0]);
    }
    for (at, n) in [(0x2800_0000, 0), (0x2800_1000, 1), (0x2801_0000, 2), (0x2801_1000, 3)] {
        assert_eq!(rig.stores(at + 4), Some(DATA + 0x1000 * n + 4), "{at:#x}");
        assert_eq!(write(&rig, at, 1), MsiOutcome::To(PhysAddr(DATA + 0x1000 * n)));
    }
    // Outside of the pattern the second stage decides.
    assert_eq!((rig.stores(0x2800_2000), rig.cause()), (None, Some(23)));
    assert_eq!(rig.stores(0x1000), Some(DATA));
    assert_eq!(to(rig.access(5, None, 0x2800_0000, Access::Execute)), None);
    assert_eq!(rig.cause(), Some(1), "nothing is executed there");
}

#[test]
fn bad_entries_are_told_apart() {
    let rig = rig(Features { msi_mrif: false, ..Features::default() });
    let cause = |words: [u64; 2]| {
        rig.put(MSIPT, &words);
        rig.iommu.evict();
        assert_eq!(rig.stores(0x2800_0000), None);
        rig.cause()
    };
    assert_eq!(cause([V_BASIC & !1 | ppn(DATA), 0]), Some(262));
    assert_eq!(cause([0b001, 0]), Some(263), "M = 0");
    assert_eq!(cause([0b101, 0]), Some(263), "M = 2");
    assert_eq!(cause([V_BASIC | 1 << 3, 0]), Some(263), "reserved");
    assert_eq!(cause([V_BASIC | 1 << 54, 0]), Some(263), "reserved");
    assert_eq!(cause([V_MRIF, 0]), Some(263), "no MRIF mode");
    assert_eq!(cause([V_BASIC | 1 << 63, 0]), Some(263), "custom");
    assert_eq!(rig.sections(), ["2.3.3"]);
    rig.context(5, &[1, SV39X4 | GUEST >> 12, 0, 0, 1 << 60 | 1, 0x11, 0x28000]);
    rig.iommu.set_eager(false);
    rig.iommu.evict();
    assert_eq!((rig.stores(0x2800_0000), rig.cause()), (None, Some(261)), "no memory there");
}

#[test]
fn entries_are_cached_until_gvma_names_them() {
    let rig = rig(Features::default());
    rig.put(MSIPT, &[ppn(DATA) | V_BASIC, 0, ppn(DATA) | V_BASIC, 0]);
    assert_eq!((rig.stores(0x2800_0000), rig.stores(0x2800_1000)), (Some(DATA), Some(DATA)));
    rig.put(MSIPT, &[0, 0, 0, 0]);
    for words in [[VMA, 0], [VMA | GV | GSCID3, 0], [INVAL_DDT, 0], [GVMA | GV | 4 << 44, 0]] {
        rig.fenced(words);
        assert_eq!(rig.stores(0x2800_0000), Some(DATA), "{words:x?}");
    }
    rig.fenced([GVMA | GV | GSCID3 | AV, 0x28000 << 10]);
    assert_eq!((rig.stores(0x2800_0000), rig.stores(0x2800_1000)), (None, Some(DATA)));
    rig.fenced([GVMA, 0]);
    assert_eq!((rig.stores(0x2800_1000), rig.cause(), rig.cause()), (None, Some(262), Some(262)));
    rig.put(MSIPT + 16, &[ppn(DATA) | V_BASIC, 0]);
    assert_eq!(rig.stores(0x2800_1000), Some(DATA), "what is not valid is not cached");
}

#[test]
fn files_in_memory_take_messages() {
    let rig = rig(Features::default());
    let file = DATA + 0x200;
    // NID 0x4d2: its bit 10 is bit 60. The notice goes to the page behind.
    rig.put(MSIPT, &[file >> 9 << 7 | V_MRIF, 1 << 60 | ppn(DATA + 0x1000) | 0xd2]);
    assert_eq!(write(&rig, 0x2800_0000, 65), MsiOutcome::Stored { noticed: false });
    assert_eq!(rig.read(file + 16), 2, "pending");
    rig.put(file + 24, &[4]);
    assert_eq!(write(&rig, 0x2800_0000, 66), MsiOutcome::Stored { noticed: true });
    assert_eq!((rig.read(file + 16), rig.read(DATA + 0x1000)), (6, 0x4d2));
    assert_eq!(rig.iommu.take_signals(), [Signal::Msi { address: PhysAddr(DATA + 0x1000), data: 0x4d2 }]);
    assert_eq!(write(&rig, 0x2800_0004, 0x0300_0000), MsiOutcome::Stored { noticed: false });
    assert_eq!(rig.read(file), 8, "big-endian");
    for nothing in [0, 2048, u32::MAX] {
        assert_eq!(write(&rig, 0x2800_0000, nothing), MsiOutcome::Stored { noticed: false });
    }
    assert_eq!(rig.access(5, None, 0x2800_0000, Access::Write), Outcome::Interrupt);
    assert_eq!((rig.access(5, None, 0x2800_0000, Access::Read), rig.cause()), (Outcome::Aborted, Some(5)));
    // A file where no memory is.
    rig.put(MSIPT + 16, &[0x1000 >> 9 << 7 | V_MRIF, 0]);
    assert_eq!((write(&rig, 0x2800_1000, 3), rig.cause()), (MsiOutcome::Aborted, Some(264)));
    rig.put(MSIPT + 32, &[V_MRIF | 1 << 3, 0, V_MRIF, 1 << 54]);
    assert_eq!((write(&rig, 0x2801_0000, 3), rig.cause()), (MsiOutcome::Aborted, Some(263)));
    assert_eq!((write(&rig, 0x2801_1000, 3), rig.cause()), (MsiOutcome::Aborted, Some(263)));
}

#[test]
fn behind_a_first_stage_the_guests_address_counts() {
    let rig = Rig::both(Features::default());
    rig.put(TABLES + 0x2048, &[page(0x2800_0000), page(0x2800_1000) & !0x4]);
    rig.put(MSIPT, &[ppn(DATA + 0x3000) | V_BASIC, 0, ppn(DATA + 0x4000) | V_BASIC, 0]);
    let (tc, fsc) = (1 | 1 << 1, SV39 | 0x10);
    rig.context(5, &[tc, SV39X4 | GUEST >> 12, TA7, fsc, 1 << 60 | MSIPT >> 12, 0x11, 0x28000]);
    assert_eq!(rig.stores(0x9000), Some(DATA + 0x3000));
    assert_eq!((rig.stores(0xa000), rig.cause()), (None, Some(15)), "the first stage forbids it");
    assert_eq!(rig.stores(0x7000), Some(DATA));
    // A file in memory is not for translated requests: no translation is given.
    let ahead = || to(rig.iommu.translate_ahead(&request(5, None, 0x9000, Access::Write)));
    assert_eq!(ahead(), Some(DATA + 0x3000));
    let read_only = rig.iommu.translate_ahead(&request(5, None, 0xa000, Access::Read));
    assert!(matches!(read_only, Outcome::To { writable: false, .. }));
    rig.put(MSIPT, &[DATA >> 9 << 7 | V_MRIF, 0]);
    rig.fenced([GVMA, 0]);
    assert_eq!((ahead(), rig.fault()), (None, None));
}
