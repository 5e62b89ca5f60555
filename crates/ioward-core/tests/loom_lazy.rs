//! Lazy address spaces: what is released is ended by the flush that covers it and no earlier, whoever queues and whoever
//! flushes at the same time. Two CPUs have queues of two places each.
//!
//! The device reaches all that it can, all the time: what its IOMMU has cached stays cached until a flush has ended that
//! began after the entry was gone.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ioward-core --release --test loom_lazy`
#![cfg(loom)]

mod support;

use ioward_core::{
    Bound, Device, DeviceDesc, Dma, DmaBuffer, FlushMode, Mapping, Policy, Subsystem,
    driver::{
        Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot,
        Translation,
    },
};
use ioward_pgtable::{Meaning, ReadMemory, walk};
use ioward_types::{
    Direction, Format, IommuId, Iova, Nanos, OutOfMemory, Pasid, PhysAddr, Platform, Root, SourceId, Span,
    TableConfig, Tag, control::Uncontrolled, hw,
};
use loom::{
    model::Builder,
    sync::atomic::{AtomicUsize, Ordering, fence},
    thread,
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::Cell,
    collections::BTreeSet,
    mem,
    ptr::NonNull,
    sync::{Arc, Mutex, atomic::AtomicUsize as Plain},
    time::Duration,
};
use support::Lock;

const CPUS: usize = 2;

loom::thread_local! { static CPU: Cell<usize> = Cell::new(CPUS); }

/// A platform whose locks and pins loom schedules, with two CPUs; a thread that is none of them has no queue.
#[derive(Clone)]
struct Sim(Arc<AtomicUsize>);

struct Pin(Arc<AtomicUsize>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// SAFETY: frames come zeroed from the host's allocator; each CPU is one thread.
unsafe impl Platform for Sim {
    type Lock = Lock;
    type Pin = Pin;
    fn pin(&self) -> (Pin, usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (Pin(self.0.clone()), CPU.with(Cell::get))
    }
    fn cpus(&self) -> usize {
        CPUS
    }
    fn synchronize(&self) {
        fence(Ordering::SeqCst);
        while self.0.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }
    fn frames(&self, bytes: usize, align: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let layout = Layout::from_size_align(bytes, align.max(4096)).map_err(|_| OutOfMemory)?;
        // SAFETY: the layout is not empty.
        Ok(PhysAddr(unsafe { alloc_zeroed(layout) }.expose_provenance() as u64))
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        let layout = Layout::from_size_align(bytes, 4096).expect("allocated so");
        // SAFETY: as promised by the caller; the allocator was asked for at least this alignment.
        unsafe { dealloc(self.virt(at).as_ptr(), layout) }
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
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// An IOMMU with a cache, and the device behind it.
struct Fake {
    platform: Sim,
    table: Mutex<Option<(Root, TableConfig)>>,
    /// What is cached.
    cached: Mutex<BTreeSet<u64>>,
    /// Between the beginning of a flush and its end others have their turn.
    step: AtomicUsize,
    hangs: Plain,
    flushes: Plain,
}

struct Frames<'p>(&'p Sim);

impl ReadMemory for Frames<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        // SAFETY: the walk starts at the installed root, and what it leads to is not freed while it leads there.
        Some(unsafe { hw::load64(self.0, at) })
    }
}

impl Fake {
    fn is_mapped(&self, at: u64) -> bool {
        let table = *self.table.lock().unwrap();
        let Some((root, config)) = table else { return false };
        let found = walk(&Frames(&self.platform), &config, root, Iova(at));
        found.is_ok_and(|found| matches!(found.end(), Meaning::Page { .. }))
    }

    /// The device uses what was mapped for it just now: nothing was cached there, or it would have found something else.
    fn uses(&self, at: Iova) {
        assert!(self.is_mapped(at.0), "what is mapped is reached");
        assert!(self.cached.lock().unwrap().insert(at.0), "IOVAs are given out again before their flush");
    }
}

// SAFETY: what is cached is forgotten where `flush` says so.
unsafe impl Driver for Fake {
    fn id(&self) -> IommuId {
        IommuId(0)
    }
    fn kind(&self) -> &'static str {
        "fake"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { coherent: true, ..Capabilities::default() }
    }
    fn plan(&self, _: &Requirements) -> Result<Plan, Refused> {
        Ok(Plan::Tables(TableConfig {
            format: Format::VtdSecond,
            in_bits: 39,
            out_bits: 52,
            page_sizes: 1 << 12,
            coherent: true,
            dirty: false,
            snoop: false,
        }))
    }
    fn can_walk(&self, _: &TableConfig) -> Result<(), Refused> {
        Ok(())
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        Ok(Slot { iommu: IommuId(0), source: what.source, index: 0 })
    }
    fn release(&self, slot: Slot, _: bool) -> Blocked {
        self.block(&slot, None)
    }
    fn tag(&self, _: &Plan) -> Result<Tag, Refused> {
        Ok(Tag(1))
    }
    unsafe fn untag(&self, _: Tag) -> Result<(), Hung> {
        Ok(())
    }
    unsafe fn install(&self, _: &Slot, _: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        if let Translation::Table { root, config, .. } = what {
            *self.table.lock().unwrap() = Some((*root, **config));
        }
        Ok(())
    }
    fn block(&self, _: &Slot, _: Option<Pasid>) -> Blocked {
        *self.table.lock().unwrap() = None;
        self.cached.lock().unwrap().clear();
        Blocked::Confirmed
    }
    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        // What is mapped still is cached anew at once.
        let covered: Vec<u64> = {
            let cached = self.cached.lock().unwrap();
            let covers = |at: &u64| what.iter().any(|flush| flush.span.contains(Iova(*at)));
            cached.iter().copied().filter(covers).filter(|at| !self.is_mapped(*at)).collect()
        };
        self.step.fetch_add(1, Ordering::AcqRel);
        if self.hangs.load(Ordering::Relaxed) != 0 {
            return Err(Hung { iommu: IommuId(0), what: "flush", waited: Nanos(0) });
        }
        let mut cached = self.cached.lock().unwrap();
        covered.iter().for_each(|at| assert!(cached.remove(at)));
        Ok(())
    }
    fn poll(&self, _: &mut dyn FnMut(Event)) {}
}

/// Memory that the device must have lost when it is dropped.
struct Tracked {
    fake: Arc<Fake>,
    at: Arc<Mutex<Option<Iova>>>,
    dropped: Arc<Plain>,
}

// SAFETY: nobody reads or writes it.
unsafe impl DmaBuffer for Tracked {
    fn span(&self) -> Span<PhysAddr> {
        Span { start: PhysAddr(0x1000), bytes: 4096 }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(at) = *self.at.lock().unwrap() {
            let cached = self.fake.cached.lock().unwrap().contains(&at.0);
            assert!(!cached, "memory is given back before its flush");
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

type Mapped = Mapping<Sim, Tracked, Arc<Dma<Sim>>>;

/// A device behind the IOMMU.
struct Bench {
    bound: Bound<Sim>,
    _device: Device<Sim>,
    fake: Arc<Fake>,
    dropped: Arc<Plain>,
}

impl Bench {
    fn new() -> Self {
        let platform = Sim(Arc::new(AtomicUsize::new(0)));
        let policy = Policy { flush: FlushMode::Lazy, ..Policy::default() };
        let subsystem = Subsystem::with_policy(platform.clone(), policy);
        let fake = Arc::new(Fake {
            platform,
            table: Mutex::default(),
            cached: Mutex::default(),
            step: AtomicUsize::new(0),
            hangs: Plain::new(0),
            flushes: Plain::new(0),
        });
        subsystem.register(fake.clone()).unwrap();
        let sources = [(IommuId(0), SourceId(1))];
        let device = subsystem.add(&DeviceDesc::new("nic", &sources, Arc::new(Uncontrolled)));
        let bound = device.bind().unwrap();
        assert_eq!(bound.dma().flush_mode(), FlushMode::Lazy);
        Self { bound, _device: device, fake, dropped: Arc::default() }
    }

    /// As the CPU `cpu`: so many pages are mapped, used and released, one after the other.
    fn on(&self, cpu: usize, pages: usize) -> thread::JoinHandle<()> {
        let (dma, fake, dropped) = (self.bound.dma().clone(), self.fake.clone(), self.dropped.clone());
        on_a_large_stack(move || {
            CPU.with(|mine| mine.set(cpu));
            for _ in 0..pages {
                map(&dma, &fake, &dropped).release().unwrap();
            }
        })
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Everything has been ended, and the device has nothing left.
    fn assert_over(&self, pages: usize) {
        self.bound.dma().trim();
        assert_eq!((self.dropped(), self.bound.dma().stats().queued), (pages, 0));
        assert!(self.fake.cached.lock().unwrap().is_empty());
        assert_eq!(self.bound.dma().stats().iova_in_use, 0);
    }
}

fn map(dma: &Arc<Dma<Sim>>, fake: &Arc<Fake>, dropped: &Arc<Plain>) -> Mapped {
    let at = Arc::<Mutex<Option<Iova>>>::default();
    let buffer = Tracked { fake: fake.clone(), at: at.clone(), dropped: dropped.clone() };
    let mapping = Dma::map(dma.clone(), buffer, Direction::Both).map_err(|(error, _)| error).unwrap();
    fake.uses(mapping.iova());
    *at.lock().unwrap() = Some(mapping.iova());
    mapping
}

const DUE: Nanos = Nanos(u64::MAX / 2);

/// Runs `f` on a loom thread with a stack for real code.
fn on_a_large_stack<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().stack_size(1 << 20).spawn(f).unwrap()
}

/// Every interleaving with so many preemptions, or as many as the time allows.
fn explore(preemptions: usize, f: fn()) {
    let mut model = Builder::new();
    model.max_branches = 100_000;
    model.preemption_bound = Some(preemptions);
    model.max_duration = Some(Duration::from_secs(15));
    model.check(move || on_a_large_stack(f).join().unwrap());
}

#[test]
fn two_cpus_queue_while_another_flushes_by_time() {
    explore(2, || {
        let bench = Bench::new();
        let others = [bench.on(0, 1), bench.on(1, 1)];
        bench.bound.dma().poll(DUE);
        others.into_iter().for_each(|other| other.join().unwrap());
        bench.assert_over(2);
    });
}

#[test]
fn a_full_queue_is_flushed_by_its_cpu_while_the_other_queues() {
    explore(2, || {
        let bench = Bench::new();
        let others = [bench.on(0, 3), bench.on(1, 1)];
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(bench.fake.flushes.load(Ordering::Relaxed) != 0);
        bench.assert_over(4);
    });
}

#[test]
fn a_place_that_another_has_emptied_is_used_again() {
    explore(3, || {
        let bench = Bench::new();
        let other = bench.on(0, 3);
        bench.bound.dma().poll(DUE);
        other.join().unwrap();
        bench.assert_over(3);
    });
}

#[test]
fn what_is_forgotten_stays_and_so_does_what_a_hung_iommu_may_hold() {
    explore(2, || {
        let bench = Bench::new();
        let kept = map(bench.bound.dma(), &bench.fake, &bench.dropped);
        let at = kept.iova();
        mem::forget(kept);
        bench.on(0, 2).join().unwrap();
        bench.fake.hangs.store(1, Ordering::Relaxed);
        let other = bench.on(1, 1);
        bench.bound.dma().poll(DUE);
        other.join().unwrap();
        // What was in when it hung is withheld; what came later may have waited for a flush that works.
        assert_eq!(bench.dropped(), 0);
        bench.fake.hangs.store(0, Ordering::Relaxed);
        bench.bound.dma().trim();
        assert!(bench.dropped() <= 1, "what was in the flush that hung is never given back");
        let stats = bench.bound.dma().stats();
        assert_eq!(stats.quarantined, (3 - bench.dropped() as u64) * 4096);
        assert!(bench.fake.is_mapped(at.0), "forgotten, and still mapped");
    });
}

#[test]
fn tables_go_while_another_maps() {
    explore(2, || {
        let bench = Bench::new();
        // A table that is empty, beside nothing else.
        bench.on(0, 1).join().unwrap();
        let other = bench.on(1, 1);
        bench.bound.dma().trim();
        other.join().unwrap();
        bench.assert_over(2);
    });
}
