//! Table pages that a CPU keeps, while somebody takes all of them back: every interleaving of pins, stacks and the stop.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ioward-core --release --test loom_pages`
#![cfg(loom)]

mod support;

use ioward_core::TablePages;
use ioward_pgtable::Mem;
use ioward_types::{Nanos, OutOfMemory, PhysAddr, Platform, Span};
use loom::{
    sync::atomic::{AtomicUsize, Ordering, fence},
    thread,
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::Cell,
    collections::BTreeSet,
    ptr::NonNull,
    sync::{Arc, Mutex},
};
use support::Lock;

const PAGE: usize = 4096;
const ANYWHERE: PhysAddr = PhysAddr(u64::MAX);

loom::thread_local! { static CPU: Cell<usize> = Cell::new(0); }

/// Pins are counted; frames are the host's.
#[derive(Clone)]
struct Sim(Arc<Inner>);

struct Inner {
    pinned: AtomicUsize,
    /// Frames that were given out and have not come back.
    out: Mutex<BTreeSet<u64>>,
}

struct Pin(Arc<Inner>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pinned.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Sim {
    fn new() -> Self {
        Self(Arc::new(Inner { pinned: AtomicUsize::new(0), out: Mutex::default() }))
    }

    fn out(&self) -> usize {
        self.0.out.lock().unwrap().len()
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, bytes).expect("a size of a table")
}

// SAFETY: each thread has a number of its own; frames come zeroed from the host's allocator.
unsafe impl Platform for Sim {
    type Lock = Lock;
    type Pin = Pin;
    fn pin(&self) -> (Pin, usize) {
        self.0.pinned.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (Pin(self.0.clone()), CPU.with(Cell::get))
    }
    fn cpus(&self) -> usize {
        2
    }
    fn synchronize(&self) {
        fence(Ordering::SeqCst);
        while self.0.pinned.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }
    fn frames(&self, bytes: usize, _: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        // SAFETY: the layout is not empty.
        let at = unsafe { alloc_zeroed(layout(bytes)) }.expose_provenance() as u64;
        self.0.out.lock().unwrap().insert(at);
        Ok(PhysAddr(at))
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        assert!(self.0.out.lock().unwrap().remove(&at.0), "{at} is given back twice");
        // SAFETY: as promised by the caller.
        unsafe { dealloc(self.virt(at).as_ptr(), layout(bytes)) }
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(at.0 as usize)).expect("an allocated frame")
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
    fn relax(&self) {
        thread::yield_now();
    }
}

/// Asks for a page, which nobody else has and which is zeroed, and leaves a mark in it.
fn take(pages: &TablePages<Sim>) -> PhysAddr {
    let page = pages.frames(PAGE, PAGE, ANYWHERE).unwrap();
    // SAFETY: a page of this thread's.
    unsafe {
        assert_eq!(pages.load(page), 0, "{page} is somebody's, or was not zeroed");
        pages.store(page, 1);
    }
    page
}

fn give(pages: &TablePages<Sim>, page: PhysAddr) {
    // SAFETY: it came from `take`, and nobody reaches it.
    unsafe { pages.free(page, PAGE) }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.max_branches = 20_000;
    builder.check(f);
}

fn on(cpu: usize, pages: &TablePages<Sim>, f: fn(&TablePages<Sim>)) -> thread::JoinHandle<()> {
    let pages = pages.clone();
    thread::spawn(move || {
        CPU.with(|mine| mine.set(cpu));
        f(&pages);
    })
}

/// Asks for pages and gives them back, so that some are kept, and some are too many.
fn work(pages: &TablePages<Sim>) {
    let held = [take(pages), take(pages)];
    held.into_iter().for_each(|page| give(pages, page));
    let again = take(pages);
    give(pages, again);
}

/// Loom notices two users of one stack by itself: its cells are watched.
#[test]
fn who_takes_all_has_all_to_itself() {
    model(|| {
        let platform = Sim::new();
        let pages = TablePages::new(platform.clone());
        let worker = on(1, &pages, work);
        pages.trim();
        worker.join().unwrap();
        assert_eq!(pages.kept(), (platform.out() * PAGE) as u64, "none is lost");
        pages.trim();
        assert_eq!((pages.kept(), platform.out()), (0, 0));
    });
}

/// One at a time takes all, and what a CPU keeps after that it finds again.
#[test]
fn two_take_all_at_once() {
    model(|| {
        let platform = Sim::new();
        let pages = TablePages::new(platform.clone());
        let mine = take(&pages);
        give(&pages, mine);
        let other = on(1, &pages, TablePages::trim);
        pages.trim();
        let again = take(&pages);
        give(&pages, again);
        other.join().unwrap();
        drop(pages);
        assert_eq!(platform.out(), 0, "the last owner gives all back");
    });
}

/// A page that one CPU keeps is never another's.
#[test]
fn two_cpus_keep_pages_of_their_own() {
    model(|| {
        let platform = Sim::new();
        let pages = TablePages::new(platform.clone());
        let worker = on(1, &pages, work);
        work(&pages);
        worker.join().unwrap();
        drop(pages);
        assert_eq!(platform.out(), 0);
    });
}
