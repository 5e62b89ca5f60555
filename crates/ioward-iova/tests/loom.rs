//! Two CPUs allocate and free while somebody takes all of it back to reserve a range: every interleaving of pins, stocks
//! and the stop.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ioward-iova --release --test loom`
#![cfg(loom)]

use ioward_iova::IovaAllocator;
use ioward_types::{Iova, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    thread,
};
use std::{cell::Cell, ptr::NonNull, sync::Arc};

const PAGE: u64 = 4096;
/// Large enough for stocks: in a small one nothing is kept at hand, and nothing is tested.
const APERTURE: u64 = 1 << 32;

loom::thread_local! { static CPU: Cell<usize> = Cell::new(0); }

struct Lock(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time.
unsafe impl RawLock for Lock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        while self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            thread::yield_now();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

/// Pins are counted.
#[derive(Clone)]
struct Sim(Arc<AtomicUsize>);

struct Pin(Arc<AtomicUsize>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// SAFETY: each thread has a number of its own; no frames are given out.
unsafe impl Platform for Sim {
    type Lock = Lock;
    type Pin = Pin;
    fn pin(&self) -> (Pin, usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (Pin(self.0.clone()), CPU.with(Cell::get))
    }
    fn cpus(&self) -> usize {
        2
    }
    fn synchronize(&self) {
        fence(Ordering::SeqCst);
        while self.0.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }
    fn frames(&self, _: usize, _: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        Err(OutOfMemory)
    }
    unsafe fn free(&self, _: PhysAddr, _: usize) {}
    fn virt(&self, _: PhysAddr) -> NonNull<u8> {
        NonNull::dangling()
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
    fn relax(&self) {
        thread::yield_now();
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.max_branches = 20_000;
    builder.check(f);
}

/// Loom notices two users of one stock by itself: its cells are watched.
#[test]
fn who_takes_all_has_all_to_itself() {
    model(|| {
        let aperture = Span { start: Iova(0), bytes: APERTURE };
        let iovas = Arc::new(IovaAllocator::new(Sim(Arc::new(AtomicUsize::new(0))), aperture, PAGE).unwrap());
        let worker = {
            let iovas = iovas.clone();
            thread::spawn(move || {
                CPU.with(|cpu| cpu.set(1));
                let one = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
                iovas.free_all(PAGE, &[one.start]).unwrap();
            })
        };
        CPU.with(|cpu| cpu.set(0));
        // The highest page, which is the first to be kept at hand.
        let wanted = Span { start: Iova(APERTURE - PAGE), bytes: PAGE };
        let reserved = iovas.with_tree(|tree| tree.reserve(wanted));
        let mine = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
        assert!(reserved.is_err() || mine.start != wanted.start);
        worker.join().unwrap();
        iovas.free(mine).unwrap();
        iovas.trim();
        assert_eq!(iovas.in_use(), 0);
    });
}

/// Two CPUs have never the same range, though both take from one depot.
#[test]
fn two_cpus_share_nothing_but_the_depot() {
    model(|| {
        let aperture = Span { start: Iova(0), bytes: APERTURE };
        let iovas = Arc::new(IovaAllocator::new(Sim(Arc::new(AtomicUsize::new(0))), aperture, PAGE).unwrap());
        let work = |iovas: &IovaAllocator<Sim>| {
            let held = [(); 2].map(|()| iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap());
            iovas.free(held[0]).unwrap();
            held[1]
        };
        let worker = {
            let iovas = iovas.clone();
            thread::spawn(move || {
                CPU.with(|cpu| cpu.set(1));
                work(&iovas)
            })
        };
        CPU.with(|cpu| cpu.set(0));
        let mine = work(&iovas);
        let theirs = worker.join().unwrap();
        assert!(!mine.overlaps(&theirs));
        // Freed where it was not allocated.
        iovas.free_all(PAGE, &[theirs.start, mine.start]).unwrap();
        assert_eq!(iovas.in_use(), 0);
    });
}
