//! What nobody uses any more is given back by `trim`, down to the last table, while others go on.

use crate::{Bench, PAGE, help};
use ioward::core::{Dma, DmaBuffer, FlushMode, FrameBuffer, Policy, Unbound};
use ioward::types::{Attributes, Direction, Iova, PhysAddr, Platform as _, Span};
use ioward_models::SimPlatform;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

fn policies() -> [fn() -> Policy; 2] {
    [Policy::default, || Policy { flush: FlushMode::Lazy, ..Policy::default() }]
}

fn frames(bench: &Bench, pages: usize) -> FrameBuffer<SimPlatform> {
    FrameBuffer::new(&bench.rig.platform, pages * PAGE, PAGE).unwrap()
}

#[test]
fn every_table_in_which_nothing_is_mapped_goes_and_no_other() {
    for policy in policies() {
        for bench in Bench::all_under(policy, 64, &[]) {
            let dma = bench.bound.dma();
            dma.trim();
            let before = bench.held();
            let map = |pages| {
                let mapping = Dma::map(dma.clone(), frames(&bench, pages), Direction::Both);
                mapping.map_err(|(error, _)| error).unwrap()
            };
            let kept = help::map(&bench.rig, &bench.bound, b"kept");
            assert_eq!(bench.reads(kept.iova(), 4).unwrap(), b"kept", "{bench}");
            let with_one = bench.rig.memory.allocated();
            // Longer than what a table of the lowest level spans, and many, each with walk caches warm.
            for pages in [1, 3, 700, 40, 1100] {
                let many: Vec<_> = (0..6).map(|_| map(pages)).collect();
                for mapping in &many {
                    bench.nic.write(None, mapping.iova(), b"warm").unwrap();
                }
                drop(many);
            }
            dma.trim();
            assert_eq!(bench.rig.memory.allocated(), with_one, "{bench}");
            assert_eq!(bench.reads(kept.iova(), 4).unwrap(), b"kept", "{bench}: its tables stay");
            // What is mapped next goes by new tables where old ones were cached.
            let again = map(700);
            bench.nic.write(None, Iova(again.iova().0 + 699 * PAGE as u64), b"new").unwrap();
            drop((again, kept));
            dma.trim();
            assert_eq!(bench.held(), before, "{bench}");
            bench.rig.violations.assert_none();
        }
    }
}

#[test]
fn tables_of_iovas_that_somebody_keeps_stay() {
    for policy in policies() {
        for bench in Bench::all_under(policy, 64, &[]) {
            let dma = &**bench.bound.dma();
            // Whole tables of the lowest level, wherever it begins.
            let mut ring = Dma::reserve(dma, 1024, PAGE as u64).unwrap();
            for slot in (0..1024).step_by(64) {
                let at = ring.link(slot, frames(&bench, 1), Direction::Both).map_err(|(error, _)| error);
                let at = at.unwrap().start;
                ring.sync().unwrap();
                bench.nic.write(None, at, b"linked").unwrap();
                // One by one, so that no unmap covers a table: all are empty at the end, and all are there.
                ring.unlink(slot..slot + 1, |_, _| ()).unwrap();
            }
            let held = bench.rig.memory.allocated();
            dma.trim();
            assert_eq!(bench.rig.memory.allocated(), held, "{bench}");
            drop(ring);
            dma.trim();
            assert!(bench.name == "requests" || bench.rig.memory.allocated() < held, "{bench}");
            bench.rig.violations.assert_none();
        }
    }
}

struct Sets<'f>(&'f AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_mapped_while_another_trims_is_reached_at_once() {
    for policy in policies() {
        for bench in Bench::all_under(policy, 64, &[]).into_iter().step_by(3) {
            let dma = bench.bound.dma();
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        dma.trim();
                    }
                });
                // Whatever becomes of this thread, the other one ends.
                let _over = Sets(&over);
                for round in 0..60 {
                    let pages = [1, 600, 20][round % 3];
                    let mapping = Dma::map(dma.clone(), frames(&bench, pages), Direction::Both);
                    let mapping = mapping.map_err(|(error, _)| error).unwrap();
                    let last = Iova(mapping.span().last().0 & !7);
                    bench.nic.write(None, mapping.iova(), b"first").unwrap();
                    bench.nic.write(None, last, b"last").unwrap();
                    drop(mapping);
                }
            });
            bench.rig.violations.assert_none();
        }
    }
}

#[test]
fn what_is_mapped_by_hand_stays() {
    for kind in help::KINDS {
        let mut rig = ioward_machine::Rig::new(Policy::default());
        help::add(&mut rig, 0, kind);
        rig.start(0).unwrap();
        let nic = rig.device("nic", &[(0, 8)], false, |_| {});
        let group = rig.subsystem.take(nic.device.info().group.unwrap(), "somebody").unwrap();
        let space = Unbound::default().bind(&group).unwrap();
        let frame = rig.platform.frames(PAGE, PAGE, PhysAddr(u64::MAX)).unwrap();
        let to = Span { start: frame, bytes: PAGE as u64 };
        // Nobody has allocated these IOVAs.
        let at = |n: u64| Iova(0x4000_0000 + n * 0x20_0000);
        group.attach(&space).unwrap();
        // SAFETY: the frame is this test's, and outlives the mappings.
        unsafe { space.map(at(0), to, Attributes::READ_WRITE) }.unwrap();
        let with_one = rig.memory.allocated();
        for n in 1..5 {
            // SAFETY: as above.
            unsafe { space.map(at(n), to, Attributes::READ_WRITE) }.unwrap();
            nic.write(None, at(n), b"by hand").unwrap();
            let gone = Span { start: at(n), bytes: PAGE as u64 };
            // SAFETY: mapped just above, by this test.
            unsafe { space.unmap(gone, ()) }.unwrap().finish().unwrap();
        }
        space.trim();
        assert_eq!(rig.memory.allocated(), with_one, "{kind:?}");
        nic.write(None, at(0), b"still").unwrap();
        rig.violations.assert_none();
    }
}

/// A buffer whose drop trims, as a pool's may that is short of memory.
struct Trims {
    frames: FrameBuffer<SimPlatform>,
    dma: Arc<Dma<SimPlatform>>,
    dropped: Arc<AtomicUsize>,
}

// SAFETY: the frames are the value's, and stay where they are until they are dropped.
unsafe impl DmaBuffer for Trims {
    fn span(&self) -> Span<PhysAddr> {
        self.frames.span()
    }
}

impl Drop for Trims {
    fn drop(&mut self) {
        self.dma.trim();
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_buffer_whose_drop_trims_does_not_wait_for_itself() {
    for policy in policies() {
        for bench in Bench::all_under(policy, 64, &[]).into_iter().step_by(4) {
            let dma = bench.bound.dma();
            let dropped = Arc::<AtomicUsize>::default();
            for _ in 0..5 {
                let buffer = Trims { frames: frames(&bench, 1), dma: dma.clone(), dropped: dropped.clone() };
                let mapping = Dma::map(dma.clone(), buffer, Direction::Both).map_err(|(error, _)| error);
                mapping.unwrap().release().unwrap();
            }
            dma.trim();
            assert_eq!(dropped.load(Ordering::Relaxed), 5, "{bench}");
            assert_eq!(dma.stats().queued, 0, "{bench}");
            bench.rig.violations.assert_none();
        }
    }
}
