//! What stays cached, what each command takes away, and what a judge makes of changes (2.8, 2.9, 3.1, 6.3).

use super::rig::*;
use crate::{Access, SimPlatform, Visibility, riscv::Features};
use ioward_types::{Frames, Mmio, PhysAddr, Platform, SourceId};

/// Device 5 has read 0x1000 and 0x2000, whose entries are gone since.
fn stale() -> Rig {
    let rig = Rig::first(Features::default());
    assert_eq!((rig.goes(0x1000), rig.goes(0x2000)), (Some(DATA), Some(DATA + 0x1000)));
    rig.put(TABLES + 0x2008, &[0, 0]);
    rig
}

fn left(rig: &Rig) -> [bool; 2] {
    [0x1000, 0x2000].map(|at| rig.goes(at).is_some())
}

#[test]
fn translations_stay_until_a_fence_completes_their_invalidation() {
    let rig = stale();
    assert_eq!(left(&rig), [true; 2]);
    rig.command([VMA, 0]);
    assert_eq!(left(&rig), [true; 2], "fetched is not completed");
    rig.fence();
    assert_eq!(left(&rig), [false; 2]);
}

#[test]
fn iotinval_vma_takes_what_it_names() {
    for (words, expected) in [
        ([VMA, 0], [false; 2]),
        ([VMA | PSCV | PSCID7, 0], [false; 2]),
        ([VMA | PSCV | 8 << 12, 0], [true; 2]),
        ([VMA | AV, 1 << 10], [false, true]),
        ([VMA | AV | PSCV | PSCID7, 2 << 10], [true, false]),
        ([VMA | AV | PSCV | 8 << 12, 2 << 10], [true; 2]),
        ([VMA | GV, 0], [true; 2]),
        ([GVMA, 0], [true; 2]),
        ([INVAL_DDT, 0], [true; 2]),
    ] {
        let rig = stale();
        rig.fenced(words);
        assert_eq!(left(&rig), expected, "{words:x?}");
    }
}

#[test]
fn ranges_and_non_leaf_entries_where_there_are_such() {
    let features = Features { ranges: true, non_leaf: true, ..Features::default() };
    for (words, expected) in [
        ([VMA | AV, 1 << 9], [false, true]),
        ([VMA | AV, 2 << 10 | 1 << 9], [true, false]),
        ([VMA | AV, 1 << 10 | 1 << 9], [false; 2]),
        ([VMA | AV, (u64::MAX >> 13) << 10 | 1 << 9], [false; 2]),
    ] {
        let rig = Rig::first(features);
        assert_eq!((rig.goes(0x1000), rig.goes(0x2000)), (Some(DATA), Some(DATA + 0x1000)));
        rig.put(TABLES + 0x2008, &[0, 0]);
        // The lowest zero of the page number tells the size: pages 0 and 1, 2 and 3, 0 to 3, all.
        rig.fenced(words);
        assert_eq!(left(&rig), expected, "{words:x?}");
    }
    // Another table: by address the old one stays, unless NL says otherwise.
    let rig = Rig::first(features);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(TABLES + 0x3008, &[page(DATA + 0x5000)]);
    rig.put(TABLES + 0x1000, &[link(TABLES + 0x3000)]);
    rig.fenced([VMA | AV, 1 << 10]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "through the cached link");
    rig.fenced([VMA | AV | 1 << 34, 1 << 10]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x5000));
}

#[test]
fn global_entries_go_only_with_every_process() {
    let rig = Rig::first(Features::default());
    rig.put(TABLES + 0x2008, &[page(DATA) | 0x20]);
    rig.goes(0x1000);
    // Another process with the same entry: it hits what is cached.
    rig.map_first(TABLES + 0x8000);
    rig.put(TABLES + 0xa008, &[page(DATA + 0x7000)]);
    rig.context(6, &[1, 0, 8 << 12, SV39 | (TABLES + 0x8000) >> 12]);
    assert_eq!(to(rig.access(6, None, 0x1000, Access::Read)), Some(DATA), "global");
    rig.put(TABLES + 0x2008, &[0]);
    rig.fenced([VMA | PSCV | PSCID7, 0]);
    rig.fenced([VMA | PSCV | PSCID7 | AV, 1 << 10]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.fenced([VMA | AV, 1 << 10]);
    assert_eq!((rig.goes(0x1000), rig.cause()), (None, Some(13)));
    assert_eq!(to(rig.access(6, None, 0x1000, Access::Read)), Some(DATA + 0x7000));
}

#[test]
fn a_guests_translations_go_by_both_tags() {
    let gone = |words| {
        let rig = Rig::both(Features::default());
        assert_eq!(rig.goes(0x7000), Some(DATA));
        // Both leaves lead elsewhere now.
        rig.put(TABLES + 0x2038, &[page(0x2000)]);
        rig.put(GUEST + 0x5008, &[page(DATA + 0x2000), page(DATA + 0x3000)]);
        rig.fenced(words);
        match rig.goes(0x7000).map(|at| at - DATA) {
            Some(0) => "neither",
            Some(0x2000) => "second",
            Some(0x3000) => "both",
            Some(0x1000) => "first",
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(gone([VMA, 0]), "neither", "the host's");
    assert_eq!(gone([VMA | GV | 4 << 44, 0]), "neither", "another guest's");
    assert_eq!(gone([VMA | GV | GSCID3 | PSCV | 8 << 12, 0]), "neither", "another process's");
    // The second stage of the new page was never cached, so what VMA takes leads to the new place.
    assert_eq!(gone([VMA | GV | GSCID3 | PSCV | PSCID7, 0]), "both");
    assert_eq!(gone([VMA | GV | GSCID3 | AV, 7 << 10]), "both");
    assert_eq!(gone([VMA | GV | GSCID3 | AV, 1 << 10]), "neither", "the guest's address is no IOVA");
    // GVMA leaves the first stage's leaf: IOVA 0x7000 is the guest's 0x1000 still.
    assert_eq!(gone([GVMA, 0]), "second");
    assert_eq!(gone([GVMA | GV | GSCID3, 0]), "second");
    assert_eq!(gone([GVMA | GV | GSCID3 | AV, 1 << 10]), "second");
    assert_eq!(gone([GVMA | GV | GSCID3 | AV, 7 << 10]), "neither", "an IOVA is no guest's address");
    assert_eq!(gone([GVMA | GV | 4 << 44, 0]), "neither");
}

#[test]
fn vma_leaves_the_second_stage() {
    let rig = Rig::both(Features::default());
    assert_eq!(rig.goes(0x7000), Some(DATA));
    rig.put(GUEST + 0x5008, &[page(DATA + 0x2000)]);
    rig.fenced([VMA | GV | GSCID3, 0]);
    assert_eq!(rig.goes(0x7000), Some(DATA));
    rig.fenced([GVMA | GV | GSCID3, 0]);
    assert_eq!(rig.goes(0x7000), Some(DATA + 0x2000));
}

#[test]
fn directories_and_translations_are_forgotten_apart() {
    let rig = Rig::first(Features::default());
    rig.goes(0x1000);
    // The context leads elsewhere; IOTINVAL does not show that.
    rig.map_first(TABLES + 0x8000);
    rig.put(TABLES + 0xa008, &[page(DATA + 0x7000)]);
    rig.put(rig.context_word(3), &[SV39 | (TABLES + 0x8000) >> 12]);
    rig.fenced([VMA, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "the old context");
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "the new context, old translations");
    rig.fenced([VMA, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x7000));
}

#[test]
fn iotinval_before_iodir_brings_back_what_it_took() {
    for (first, second, expected) in
        [(INVAL_DDT | DV | DID5, VMA, DATA + 0x7000), (VMA, INVAL_DDT | DV | DID5, DATA)]
    {
        let rig = Rig::first(Features::default());
        rig.goes(0x1000);
        rig.map_first(TABLES + 0x8000);
        rig.put(TABLES + 0xa008, &[page(DATA + 0x7000)]);
        rig.put(rig.context_word(3), &[SV39 | (TABLES + 0x8000) >> 12]);
        rig.command([first, 0]);
        rig.fenced([second, 0]);
        assert_eq!(rig.goes(0x1000), Some(expected));
    }
}

#[test]
fn iodir_by_device_leaves_others_and_the_way_there() {
    let rig = Rig::new(Features::default());
    rig.enable(3);
    rig.put(DDT, &[link(TABLES)]);
    rig.put(TABLES + 5 * 64, &[1]);
    rig.put(TABLES + 6 * 64, &[1]);
    let goes = |device| to(rig.access(device, None, 0, Access::Read)).is_some();
    assert!(goes(5) && goes(6));
    rig.put(TABLES + 5 * 64, &[0]);
    rig.put(TABLES + 6 * 64, &[0]);
    rig.put(DDT, &[0]);
    assert!(goes(5) && goes(6), "cached");
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert!(!goes(5) && goes(6));
    assert_eq!(rig.cause(), Some(258));
    rig.put(TABLES + 5 * 64, &[1]);
    assert!(goes(5), "through a non-leaf entry that is still cached");
    rig.fenced([INVAL_DDT, 0]);
    assert!(!goes(5) && !goes(6));
}

#[test]
fn entries_that_are_not_valid_are_never_cached() {
    let rig = Rig::first(Features::default());
    assert_eq!(to(rig.access(6, None, 0, Access::Read)), None);
    rig.context(6, &[1, 0, 0, 0]);
    assert_eq!(to(rig.access(6, None, 0, Access::Read)), Some(0));
    assert_eq!(rig.goes(0x3000), None);
    rig.put(TABLES + 0x2018, &[page(DATA)]);
    assert_eq!(rig.goes(0x3000), Some(DATA));
    let rig2 = Rig::new(Features::default());
    rig2.enable(3);
    assert_eq!(to(rig2.access(5, None, 0, Access::Read)), None);
    rig2.put(DDT, &[link(TABLES)]);
    rig2.put(TABLES + 5 * 64, &[1]);
    assert_eq!(to(rig2.access(5, None, 0, Access::Read)), Some(0));
    // But one that is valid and wrong may be.
    rig.context(7, &[1 | 1 << 11, 0, 0, 0]);
    assert_eq!(to(rig.access(7, None, 0, Access::Read)), None);
    rig.put(DDT + 7 * 64, &[1]);
    assert_eq!(to(rig.access(7, None, 0, Access::Read)), None);
    rig.fenced([INVAL_DDT | DV | 7 << 40, 0]);
    assert_eq!(to(rig.access(7, None, 0, Access::Read)), Some(0));
}

#[test]
fn process_contexts_are_forgotten_one_by_one_or_with_their_device() {
    let rig = Rig::enabled(Features::default());
    rig.map_first(TABLES);
    rig.put(PDT, &[link(PDT + 0x1000)]);
    let contexts = [TA7 | 1, SV39 | TABLES >> 12, 8 << 12 | 1, 0];
    rig.put(PDT + 0x1000, &contexts);
    rig.context(5, &[1 | 1 << 5, 0, 0, 2 << 60 | PDT >> 12]);
    let goes = |pasid| to(rig.access(5, Some(pasid), 0x1000, Access::Read));
    assert_eq!((goes(0), goes(1)), (Some(DATA), Some(0x1000)));
    rig.put(PDT + 0x1000, &[TA7, SV39 | TABLES >> 12, 8 << 12, 0]);
    rig.fenced([VMA, 0]);
    assert_eq!((goes(0), goes(1)), (Some(DATA), Some(0x1000)), "IOTINVAL is not for directories");
    rig.fenced([INVAL_PDT | DV | DID5, 0]);
    assert_eq!((goes(0), goes(1)), (None, Some(0x1000)));
    rig.put(PDT, &[0]);
    rig.put(PDT + 0x1000, &contexts);
    assert_eq!(goes(0), Some(DATA), "through a non-leaf entry that is still cached");
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!((goes(0), goes(1)), (None, None), "and all of the device's");
}

#[test]
fn turning_translation_off_empties_nothing() {
    let rig = stale();
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x10, ppn(DDT));
    rig.iommu.write64(0x10, ppn(DDT) | 2);
    assert_eq!(left(&rig), [true; 2]);
}

#[test]
fn contexts_are_read_ahead() {
    let rig = Rig::new(Features::default());
    rig.iommu.watch(SourceId(5), None);
    rig.context(5, &[1, 0, 0, 0]);
    rig.enable(0);
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x10, ppn(DDT) | 2);
    assert_eq!(rig.iommu.cached_contexts(), 1);
    rig.put(rig.context_word(0), &[0]);
    assert_eq!(rig.goes(0), Some(0), "as it was when translation was turned on");
    rig.iommu.watch(SourceId(6), None);
    rig.context(6, &[1, 0, 0, 0]);
    rig.iommu.preset(0x18, ppn(CQ) | 3);
    rig.iommu.preset(0x48, 1);
    rig.fence();
    assert_eq!(rig.iommu.cached_contexts(), 2, "and at any other time");
    rig.iommu.evict();
    assert_eq!((rig.goes(0), rig.cause()), (None, Some(258)));
}

#[test]
fn a_valid_context_changes_in_one_doubleword() {
    let rig = Rig::first(Features::default());
    rig.goes(0x1000);
    rig.map_first(TABLES + 0x8000);
    rig.put(rig.context_word(2), &[8 << 12, SV39 | (TABLES + 0x8000) >> 12]);
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!(rig.sections(), ["2.9"]);
    // V goes to 0 and is forgotten first: then anything may change.
    rig.put(rig.context_word(0), &[0]);
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    rig.context(5, &[1, 0, TA7, SV39 | TABLES >> 12]);
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!(rig.sections(), [""; 0]);
    // V goes to 0 and back without being forgotten: that does not help.
    rig.put(rig.context_word(0), &[0]);
    rig.context(5, &[1, 0, 8 << 12, SV39 | (TABLES + 0x8000) >> 12]);
    rig.fenced([INVAL_DDT | DV | DID5, 0]);
    assert_eq!(rig.sections(), ["2.9"]);
}

#[test]
fn a_valid_process_context_changes_in_one_doubleword() {
    let rig = Rig::enabled(Features::default());
    rig.put(PDT, &[TA7 | 1, SV39 | TABLES >> 12]);
    rig.context(5, &[1 | 1 << 5, 0, 0, 1 << 60 | PDT >> 12]);
    rig.iommu.watch(SourceId(5), None);
    rig.put(PDT, &[8 << 12 | 1, SV39 | (TABLES + 0x8000) >> 12]);
    rig.fenced([INVAL_PDT | DV | DID5, 0]);
    assert_eq!(rig.sections(), ["2.9"]);
}

#[test]
fn one_tag_names_one_table() {
    let rig = Rig::first(Features::default());
    rig.goes(0x1000);
    rig.context(6, &[1, 0, TA7, SV39 | (TABLES + 0x8000) >> 12]);
    rig.context(7, &[1, 0, TA7, SV39 | TABLES >> 12]);
    rig.access(6, None, 0, Access::Read);
    assert_eq!(rig.sections(), ["2.2.3.2"]);
    rig.fenced([INVAL_DDT | DV | 6 << 40, 0]);
    rig.memory.violations().take();
    let rig = Rig::second(Features::default());
    rig.goes(0x1000);
    rig.context(6, &[1, SV39X4 | GUEST >> 12, TA7, SV39 | 0x10]);
    rig.context(7, &[1, 3 << 44 | 8 << 60 | (GUEST + 0x8000) >> 12, 0, 0]);
    rig.access(6, None, 0, Access::Read);
    assert_eq!(rig.sections(), [""; 0]);
    rig.access(7, None, 0, Access::Read);
    assert_eq!(rig.sections(), ["2.1.3.2", "2.1.3.2"], "with each of the two");
}

#[test]
fn a_promotion_to_the_same_place_is_none_of_its_business() {
    let rig = Rig::first(Features { non_leaf: true, ..Features::default() });
    rig.put(TABLES + 0x2008, &[page(0x8020_1000)]);
    rig.goes(0x1000);
    rig.put(TABLES + 0x1000, &[page(0x8020_0000)]);
    // The link goes, the small leaf of 0x1000 stays.
    rig.fenced([VMA | AV | 1 << 34, 9 << 10]);
    assert_eq!(rig.goes(0x9000), Some(0x8020_9000));
}

#[test]
fn a_promotion_to_another_place_is_reported() {
    let rig = Rig::first(Features { non_leaf: true, ..Features::default() });
    rig.goes(0x1000);
    rig.put(TABLES + 0x1000, &[page(0x8020_0000)]);
    // The link goes, the small leaf of 0x1000 stays.
    rig.fenced([VMA | AV | 1 << 34, 9 << 10]);
    rig.goes(0x9000);
    assert_eq!(rig.sections(), ["6.3.6"]);
}

#[test]
fn freed_tables_that_may_be_walked_are_reported() {
    let rig = Rig::new(Features::default());
    rig.enable(2);
    let platform = SimPlatform::new(rig.memory.clone());
    assert!(platform.frames(4096, 4096, PhysAddr(u64::MAX)).is_err(), "the rig holds all memory");
    let memory = crate::Memory::new(PhysAddr(0x8000_0000), 0x10_0000, crate::Violations::default());
    let platform = SimPlatform::new(memory.clone());
    let frames = |bytes| Frames::new(&platform, bytes, 4096, PhysAddr(u64::MAX)).unwrap();
    let (ddt, queue, root, middle, leaf) =
        (frames(4096), frames(4096), frames(4096), frames(4096), frames(4096));
    root.store64(0, link(middle.phys().0));
    middle.store64(0, link(leaf.phys().0));
    leaf.store64(8, page(root.phys().0));
    ddt.store64(5 * 64 + 24, SV39 | root.phys().0 >> 12);
    ddt.store64(5 * 64 + 16, TA7);
    ddt.store64(5 * 64, 1);
    let iommu = crate::riscv::RiscvIommu::new("iommu", Features::default(), memory.clone());
    iommu.preset(0x18, ppn(queue.phys().0) | 3);
    iommu.preset(0x48, 1);
    iommu.preset(0x10, ppn(ddt.phys().0) | 2);
    use crate::IommuModel;
    assert!(to(iommu.request(&request(5, None, 0x1000, Access::Read))).is_some());
    middle.store64(0, 0);
    queue.store64(0, VMA | AV);
    queue.store64(8, 1 << 10);
    queue.store64(16, FENCE);
    iommu.write32(0x24, 2);
    memory.violations().assert_none();
    // By address only: the link to the leaf's table may still be walked.
    // SAFETY: the only hardware is the model, which is meant to notice.
    unsafe { leaf.free() };
    iommu.audit();
    assert_eq!(memory.violations().take()[0].section, "RISC-V IOMMU 1.0.1, 3.1.1");
    queue.store64(32, VMA);
    queue.store64(48, FENCE);
    iommu.write32(0x24, 4);
    memory.violations().assert_none();
}

#[test]
fn reclaimed_memory_is_ordered() {
    for (write, fence, wrong) in [
        (false, 0x3002, false),
        (false, 0x1002, false),
        (false, 0x2002, true),
        (true, 0x3002, false),
        (true, 0x1002, true),
        (true, 0x0002, true),
    ] {
        let rig = Rig::first(Features::default());
        rig.access(5, None, 0x1000, if write { Access::Write } else { Access::Read });
        rig.command([VMA, 0]);
        rig.command([fence, 0]);
        let expected: &[&str] = if wrong { &["3.1.2"] } else { &[] };
        assert_eq!(rig.sections(), expected, "{write} {fence:#x}");
        rig.fence();
        rig.command([VMA, 0]);
        rig.command([0x0002, 0]);
        assert_eq!(rig.sections(), [""; 0], "ordered since");
    }
}

#[test]
fn stores_show_after_their_barrier() {
    let rig = Rig::first(Features::default());
    let platform = SimPlatform::new(rig.memory.clone());
    rig.memory.set_visibility(Visibility::Held);
    // SAFETY: the rig's frames, of which nobody else holds a reference.
    let word =
        unsafe { &*platform.virt(PhysAddr(TABLES + 0x2018)).as_ptr().cast::<std::sync::atomic::AtomicU64>() };
    let old = word.swap(page(DATA).to_le(), std::sync::atomic::Ordering::Relaxed);
    platform.stored(PhysAddr(TABLES + 0x2018), 8, old.into(), page(DATA).into());
    assert_eq!(rig.goes(0x3000), None);
    rig.iommu.write32(0x54, 0);
    assert_eq!(rig.goes(0x3000), Some(DATA), "a register write is a barrier");
}
