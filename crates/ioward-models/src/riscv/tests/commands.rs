//! Which commands are legal, and what a fence does (3.1).

use super::rig::*;
use crate::riscv::{Features, Signal};
use ioward_types::{Mmio, PhysAddr};

/// cqcsr's error bits after one command alone, and where cqh is.
fn alone(features: Features, fctl: u32, words: [u64; 2]) -> (u32, u32) {
    let rig = Rig::enabled(features);
    rig.iommu.preset(8, fctl.into());
    rig.command(words);
    rig.memory.violations().take();
    (rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20))
}

#[test]
fn legal_commands_are_fetched() {
    let all = Features { ranges: true, non_leaf: true, ..Features::default() };
    for words in [
        [VMA, 0],
        [VMA | AV | PSCV | GV | 0xf_ffff << 12 | 0xffff << 44, 0x000f_ffff_ffff_ffff << 10],
        [VMA | AV | 1 << 34, 1 << 9],
        [GVMA | GV | AV | GSCID3, 1 << 10],
        [FENCE, 0],
        [0x2, 0],
        [INVAL_DDT, 0],
        [INVAL_DDT | DV | 63 << 40, 0],
        [INVAL_PDT | DV | DID5 | 0xf_ffff << 12, 0],
        [0x004 | 5 << 40, 0],
        [0x004 | 1 << 32 | 7 << 12 | 1 << 33 | 0xff << 56 | 5 << 40, !0 << 11 | 1],
        [0x084 | 5 << 40, 0x0000_f1ff_0000_0000],
    ] {
        assert_eq!(alone(all, 0, words), (0, 1), "{words:x?}");
    }
}

#[test]
fn illegal_commands_stop_the_queue() {
    let all = Features::default();
    let no_ats = Features { ats: false, t2gpa: false, ..all };
    let small_pd = Features { pd: [true, false, false], ..all };
    for (features, words) in [
        (all, [0, 0]),
        (all, [5, 0]),
        (all, [0x40, 0]),
        (all, [0x101, 0]),
        (all, [0x082, 0]),
        (all, [0x103, 0]),
        (all, [0x104, 0]),
        (all, [VMA | 1 << 11, 0]),
        (all, [VMA | AV | 1 << 34, 0]),
        (all, [VMA | 1 << 35, 0]),
        (all, [VMA | 1 << 60, 0]),
        (all, [VMA | AV, 1 << 9]),
        (all, [VMA, 1]),
        (all, [VMA, 1 << 62]),
        (all, [GVMA | PSCV, 0]),
        (all, [FENCE | 1 << 11, 0]),
        (all, [FENCE | 1 << 14, 0]),
        (all, [FENCE, 1 << 62]),
        (all, [INVAL_DDT | 1 << 12, 0]),
        (all, [INVAL_DDT | 1 << 32, 0]),
        (all, [INVAL_DDT, 1]),
        (all, [INVAL_DDT | DV | 64 << 40, 0]),
        (all, [INVAL_PDT | DID5, 0]),
        (small_pd, [INVAL_PDT | DV | DID5 | 0x100 << 12, 0]),
        (no_ats, [0x004 | 5 << 40, 0]),
        (no_ats, [0x084 | 5 << 40, 0]),
        (all, [0x004 | 1 << 34, 0]),
    ] {
        assert_eq!(alone(features, 0, words), (0x400, 0), "{words:x?}");
    }
    assert_eq!(alone(all, 2, [FENCE | 1 << 11, 0]), (0x800, 1), "WSI with wires");
}

#[test]
fn an_illegal_command_waits_to_be_replaced() {
    let rig = Rig::enabled(Features::default());
    rig.command([FENCE, 0]);
    rig.command([0x7f, 0]);
    rig.command([FENCE, 0]);
    assert_eq!((rig.iommu.read32(0x48), rig.iommu.read32(0x20)), (0x1_0401, 1));
    rig.put(CQ + 16, &[INVAL_DDT]);
    rig.iommu.write32(0x48, 0x401);
    assert_eq!((rig.iommu.read32(0x48), rig.iommu.read32(0x20)), (0x1_0001, 3));
    assert_eq!(rig.iommu.commands(), [[FENCE, 0], [0x7f, 0], [INVAL_DDT, 0], [FENCE, 0]]);
}

#[test]
fn what_was_fetched_before_an_error_may_be_lost() {
    let rig = Rig::first(Features::default());
    rig.goes(0x1000);
    rig.put(TABLES + 0x2008, &[0]);
    rig.command([VMA, 0]);
    rig.command([0, 0]);
    rig.put(CQ + 16, &[FENCE]);
    rig.iommu.write32(0x48, 0x401);
    assert_eq!(rig.goes(0x1000), Some(DATA), "still cached");
}

#[test]
fn a_fence_stores_its_data() {
    let rig = Rig::enabled(Features::default());
    rig.put(DATA, &[!0]);
    rig.fenced([FENCE | AV | 0x1234_5678 << 32, (DATA + 4) >> 2]);
    assert_eq!(rig.read(DATA), 0x1234_5678_ffff_ffff);
    assert_eq!(rig.iommu.take_signals(), [Signal::Msi { address: PhysAddr(DATA + 4), data: 0x1234_5678 }]);
    // Where nothing can answer, the fence does not complete.
    let rig = Rig::enabled(Features { pas: 40, ..Features::default() });
    rig.command([FENCE | AV, 1 << 41]);
    assert_eq!((rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20)), (0x100, 0));
    rig.put(CQ, &[FENCE]);
    rig.iommu.write32(0x48, 0x101);
    assert_eq!((rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20)), (0, 1));
}

#[test]
fn a_queue_without_memory_is_a_memory_fault() {
    let rig = Rig::enabled(Features::default());
    rig.iommu.preset(0x18, 3);
    rig.iommu.write32(0x24, 1);
    assert_eq!((rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20)), (0x100, 0));
}

#[test]
fn the_tail_stays_behind_the_head() {
    let rig = Rig::enabled(Features::default());
    for _ in 0..20 {
        rig.fence();
    }
    rig.iommu.set_hung(true);
    rig.command([FENCE, 0]);
    rig.command([FENCE, 0]);
    let tail = rig.iommu.read32(0x24);
    rig.iommu.write32(0x24, tail - 1);
    assert_eq!(rig.sections(), ["3.1"]);
    rig.iommu.set_hung(false);
    assert_eq!(rig.iommu.read32(0x20), tail);
}

#[test]
fn turning_the_queue_on_starts_it_anew() {
    let rig = Rig::first(Features::default());
    rig.goes(0x1000);
    rig.put(TABLES + 0x2008, &[0]);
    rig.command([VMA, 0]);
    rig.iommu.set_latency(0);
    rig.iommu.write32(0x48, 0);
    assert_eq!(rig.iommu.read32(0x48), 0);
    rig.iommu.write32(0x24, 0);
    rig.iommu.write32(0x48, 1);
    assert_eq!((rig.iommu.read32(0x20), rig.iommu.read32(0x48)), (0, 0x1_0001));
    rig.fence();
    assert_eq!(rig.goes(0x1000), Some(DATA), "an invalidation that was turned off with the queue is aborted");
}

#[test]
fn dropped_commands_do_nothing() {
    let rig = Rig::first(Features::default());
    rig.iommu.set_command_filter(Box::new(|words| words[0] & 0x7f != 1));
    rig.goes(0x1000);
    rig.put(TABLES + 0x2008, &[0]);
    rig.fenced([VMA, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    assert_eq!(rig.iommu.commands(), [[FENCE, 0]]);
}
