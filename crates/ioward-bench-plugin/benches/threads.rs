//! What a second thread costs the first: `cargo xtask bench`, or `cargo bench -p ioward-bench-plugin --bench threads`.
//!
//! Two threads, each bound to a CPU, work in short phases that take turns: the first alone, the second alone, both. One CPU
//! of a machine may be slower than the other for as long as somebody else keeps the other half of its core busy; so a CPU is
//! compared with itself, some microseconds earlier. Between phases threads wait at a gate, and inside a phase nobody touches
//! that but for whoever has nothing to do and looks at it.
//!
//! Each line is what is measured, "alone", "both" or "ratio", the CPU, and nanoseconds of an operation or the ratio of the two,
//! with tabs between. All three are medians, the ratio that of the phases that follow each other. "A line" is what a cache line
//! took from one CPU to the other at the time, "of" two: what threads cost each other is some number of these.

use ioward_bench_plugin::{
    abi::Tables,
    dma::{Nowhere, PAGES},
    platform::{Bench, Free, cpu},
    sink::{FOUR_LEVELS, Sink},
    tables,
};
use ioward_core::{Bound, Device, DeviceDesc, Dma, FlushMode, Policy, Subsystem};
use ioward_iova::IovaAllocator;
use ioward_types::{Direction, IommuId, Iova, PhysAddr, SourceId, Span, control::Uncontrolled};
use std::{
    ffi::c_void,
    hint::{black_box, spin_loop},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const K4: u64 = 1 << 12;
const G1: u64 = 1 << 30;
/// Where every format walks four levels; the second thread maps in the next gigabyte.
const BASE: u64 = 1 << 40;
/// What is mapped: nobody reads it.
const MEMORY: u64 = 0x30_0000_1000;
/// How many operations there are between two looks at the clock.
const BATCH: usize = 256;
/// How many IOVAs are taken before the first of them is given back.
const BURST: usize = 64;
/// How many pages of a table a thread uses in turn.
const PAGES_USED: u64 = 4096;
/// How long a phase takes that is measured, and how long the same is done before it: what the phase before left with the
/// other CPU comes back meanwhile.
const PHASE: Duration = Duration::from_micros(50);
const BEFORE: Duration = Duration::from_micros(50);
/// How many rounds of three phases there are before it counts, and how many count.
const WARM: usize = 50;
const ROUNDS: usize = 201;
/// How often all of that is done, with a new table or allocator each time: at other addresses, by other caches.
const TIMES: usize = 3;
/// Fewer rounds in which both truly ran are no measurement.
const FEWEST: usize = TIMES * ROUNDS / 4;

fn main() {
    // Without it, this is a run of tests, which never measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    cpu::set_if_none();
    let Some(cpus) = affinity::two() else {
        eprintln!("there are no two CPUs that threads can be bound to: nothing is measured");
        return;
    };
    for format in ["Arm stage 1", "VT-d second", "RISC-V first", "AMD v1", "AMD v2"] {
        let names = [format!("{format}, map"), format!("{format}, unmap")];
        measure(cpus, &names, || OneTable::new(format));
    }
    for (burst, name) in [(1, "IOVA, pair"), (BURST, "IOVA, burst of 64")] {
        measure(cpus, &[name.into()], || OneAllocator::new(burst));
    }
    for (flush, mode) in [(FlushMode::Strict, "strict"), (FlushMode::Lazy, "lazy")] {
        for (together, whose) in [(true, "one address space"), (false, "each its own")] {
            measure(cpus, &[format!("DMA {mode}, {whose}")], || Devices::new(flush, together));
        }
    }
}

/// What two threads use at the same time.
trait Subject: Sync {
    /// What a thread does again and again: [`BATCH`] operations of a part, which is called with each part's number in turn.
    fn work(&self, thread: usize) -> impl FnMut(usize);
}

/// One phase of a thread: when it was, and nanoseconds for an operation of each part.
struct Phase {
    begin: Instant,
    end: Instant,
    cost: Vec<f64>,
}

/// The two phases of a round in which a thread worked.
struct Round {
    alone: Phase,
    both: Phase,
}

/// Where threads wait for each other.
#[repr(align(128))]
struct Gate(AtomicUsize);

impl Gate {
    /// Whoever comes for the `turn`-th time goes on when the other one has come as often. Does not yield: the threads are
    /// on different CPUs, so nobody's turn is taken away, and both go on at once.
    fn pass(&self, turn: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) < 2 * turn {
            spin_loop();
        }
    }
}

/// Nanoseconds until a CPU sees what the other one has stored.
fn one_way(cpus: [usize; 2]) -> f64 {
    const PASSES: usize = 200;
    let ball = Gate(AtomicUsize::new(0));
    // The first thread has it while the number is even.
    let play = |thread: usize| {
        affinity::bind(cpus[thread]);
        let pass = |number: usize| {
            while ball.0.load(Ordering::Acquire) != 2 * number + thread {
                spin_loop();
            }
            ball.0.store(2 * number + thread + 1, Ordering::Release);
        };
        median(
            (0..ROUNDS)
                .map(|round| {
                    let start = Instant::now();
                    (round * PASSES..(round + 1) * PASSES).for_each(pass);
                    start.elapsed().as_nanos() as f64 / (2 * PASSES) as f64
                })
                .collect(),
        )
    };
    thread::scope(|scope| {
        let play = &play;
        let [first, _] = [0, 1].map(|thread| scope.spawn(move || play(thread)));
        first.join().expect("it does not panic")
    })
}

/// Measures what `make` makes, and tells each of its parts by name.
fn measure<S: Subject>(cpus: [usize; 2], names: &[String], make: impl Fn() -> S) {
    let (mut rounds, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (subject, gate) = (make(), Gate(AtomicUsize::new(0)));
        let [first, second] = thread::scope(|scope| {
            let threads = [0, 1].map(|thread| {
                let (subject, gate) = (&subject, &gate);
                scope.spawn(move || {
                    affinity::bind(cpus[thread]);
                    cpu::set(thread);
                    take_turns(thread, names.len(), subject.work(thread), gate)
                })
            });
            threads.map(|thread| thread.join().expect("it does not panic"))
        });
        let both = first.into_iter().zip(second).skip(WARM);
        rounds.extend(both.map(|(first, second)| [first, second]).filter(ran_together));
        lines.push(one_way(cpus));
    }
    assert!(rounds.len() >= FEWEST, "both ran together in {} rounds: too much else runs", rounds.len());
    for (thread, cpu) in cpus.into_iter().enumerate() {
        for (part, name) in names.iter().enumerate() {
            let of = |f: fn(&Round, usize) -> f64| {
                median(rounds.iter().map(|round| f(&round[thread], part)).collect())
            };
            let alone = of(|round, part| round.alone.cost[part]);
            let both = of(|round, part| round.both.cost[part]);
            let ratio = of(|round, part| round.both.cost[part] / round.alone.cost[part]);
            for (series, cost) in [("alone", alone), ("both", both), ("ratio", ratio)] {
                println!("{name}\t{series}\t{cpu}\t{cost:.3}");
            }
        }
    }
    let line = median(lines);
    names.iter().for_each(|name| println!("{name}\ta line\t2\t{line:.3}"));
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Whether the phases of both were the same stretch of time, but for the length of a batch. Where other programs run they may
/// not be.
fn ran_together([first, second]: &[Round; 2]) -> bool {
    let (first, second) = (&first.both, &second.both);
    let shared = first.end.min(second.end).saturating_duration_since(first.begin.max(second.begin));
    let whole = first.end.max(second.end) - first.begin.min(second.begin);
    shared.as_nanos() * 10 >= whole.as_nanos() * 8
}

/// A thread's part of all rounds.
fn take_turns(thread: usize, parts: usize, mut work: impl FnMut(usize), gate: &Gate) -> Vec<Round> {
    let mut round = |number: usize| {
        // The first turn is thread 0's, the second thread 1's; whose it is not waits at the next gate. The third is both's.
        let mut phase = |turn: usize| {
            gate.pass(number * 3 + turn + 1);
            (turn == 2 || turn == thread).then(|| {
                phase(parts, &mut work, BEFORE);
                phase(parts, &mut work, PHASE)
            })
        };
        let [first, second, both] = [0, 1, 2].map(&mut phase);
        Round {
            alone: first.or(second).expect("one of the two is its own"),
            both: both.expect("it is both's"),
        }
    };
    (0..WARM + ROUNDS).map(&mut round).collect()
}

/// Works for so long, and until the batch is done.
fn phase(parts: usize, work: &mut impl FnMut(usize), long: Duration) -> Phase {
    let mut spent = [Duration::ZERO; 2];
    let mut batches = 0;
    let begin = Instant::now();
    let mut end = begin;
    while end - begin < long {
        for (part, spent) in spent[..parts].iter_mut().enumerate() {
            let start = end;
            work(part);
            end = Instant::now();
            *spent += end - start;
        }
        batches += 1;
    }
    let each = |spent: &Duration| spent.as_nanos() as f64 / (batches * BATCH) as f64;
    Phase { begin, end, cost: spent[..parts].iter().map(each).collect() }
}

/// A page table, as a harness calls it.
struct OneTable {
    entry: &'static Tables,
    domain: *mut c_void,
}

// SAFETY: tables are used by many at once, each in a range of its own.
unsafe impl Sync for OneTable {}

impl OneTable {
    fn new(format: &str) -> Self {
        let name = format!("ioward {format}");
        let found = tables::entries().find(|(entry, _)| entry.to_str() == Ok(&name));
        let entry = found.expect("a format's name").1;
        Self { entry, domain: (entry.create)(&PAGES, K4) }
    }
}

impl Subject for OneTable {
    fn work(&self, thread: usize) -> impl FnMut(usize) {
        let (entry, domain) = (self.entry, self.domain);
        let first = thread as u64 * G1;
        let mut at = first;
        move |part| {
            let pages = (0..BATCH as u64).map(|page| at + page * K4);
            if part == 0 {
                for page in pages {
                    let mut mapped = 0;
                    (entry.map)(domain, BASE + page, MEMORY + page, K4, 1, &mut mapped);
                    debug_assert_eq!(mapped, K4);
                }
            } else {
                for page in pages {
                    let gone = (entry.unmap)(domain, BASE + page, K4, 1);
                    debug_assert_eq!(gone, K4);
                }
                at = first + (at - first + BATCH as u64 * K4) % (PAGES_USED * K4);
            }
        }
    }
}

impl Drop for OneTable {
    fn drop(&mut self) {
        (self.entry.destroy)(self.domain);
    }
}

/// An allocator of IOVAs, of which so many are out at a time.
struct OneAllocator {
    iovas: IovaAllocator<Bench<Free>>,
    burst: usize,
}

impl OneAllocator {
    fn new(burst: usize) -> Self {
        let aperture = Span { start: Iova(0), bytes: 1 << 48 };
        let iovas = IovaAllocator::new(Bench::new(&PAGES), aperture, K4).expect("a sound aperture");
        Self { iovas, burst }
    }
}

impl Subject for OneAllocator {
    fn work(&self, _: usize) -> impl FnMut(usize) {
        let mut out = [Iova(0); BURST];
        move |_| {
            let out = &mut out[..self.burst];
            for _ in 0..BATCH / self.burst {
                for at in &mut *out {
                    *at = self.iovas.alloc(K4, K4, Iova(u64::MAX)).expect("there is room").start;
                }
                for at in black_box(&mut *out) {
                    self.iovas.free(Span { start: *at, bytes: K4 }).expect("it is allocated");
                }
            }
        }
    }
}

/// A device for each thread, behind one IOMMU whose flush returns at once.
struct Devices(Vec<End>);

/// A device and its driver.
type End = (Bound<Bench<Free>>, Device<Bench<Free>>);

impl Devices {
    /// `together`: they are of one group, and so of one address space.
    fn new(flush: FlushMode, together: bool) -> Self {
        let policy = Policy { flush, ..Policy::default() };
        let subsystem = Subsystem::with_policy(Bench::new(&PAGES), policy);
        subsystem.register(Arc::new(Sink(FOUR_LEVELS))).expect("it refuses nothing");
        let sources = [0, 1].map(|number| (IommuId(0), SourceId(number)));
        let add = |source: &_| {
            let source = std::slice::from_ref(source);
            let desc = DeviceDesc::new("device", source, Arc::new(Uncontrolled));
            let device =
                subsystem.add(&DeviceDesc { joins: if together { &sources } else { source }, ..desc });
            let bound = device.bind().expect("it is served");
            assert_eq!(bound.dma().flush_mode(), flush);
            (bound, device)
        };
        Self(sources.iter().map(add).collect())
    }
}

impl Subject for Devices {
    fn work(&self, thread: usize) -> impl FnMut(usize) {
        let dma = &**self.0[thread].0.dma();
        move |_| {
            for _ in 0..BATCH {
                let buffer = black_box(Nowhere(Span { start: PhysAddr(MEMORY), bytes: K4 }));
                let mapping = Dma::map(dma, buffer, Direction::Both).expect("it is mapped");
                black_box(mapping.iova());
                mapping.release().expect("it is confirmed");
            }
        }
    }
}

/// On which CPU a thread runs.
#[cfg(target_os = "linux")]
mod affinity {
    use libc::{CPU_ISSET, CPU_SET, CPU_SETSIZE, cpu_set_t, sched_getaffinity, sched_setaffinity};

    /// An empty set.
    fn none() -> cpu_set_t {
        // SAFETY: zeros are a set without members.
        unsafe { std::mem::zeroed() }
    }

    /// The first two CPUs that this process may use.
    pub fn two() -> Option<[usize; 2]> {
        let mut set = none();
        // SAFETY: the set is as large as is said.
        if unsafe { sched_getaffinity(0, size_of::<cpu_set_t>(), &mut set) } != 0 {
            return None;
        }
        // SAFETY: the number is below that of a set's members.
        let mut usable = (0..CPU_SETSIZE as usize).filter(|cpu| unsafe { CPU_ISSET(*cpu, &set) });
        Some([usable.next()?, usable.next()?])
    }

    /// This thread runs on that CPU alone from now on.
    pub fn bind(cpu: usize) {
        let mut set = none();
        // SAFETY: the number comes from `two`.
        unsafe { CPU_SET(cpu, &mut set) };
        // SAFETY: the set is as large as is said.
        let result = unsafe { sched_setaffinity(0, size_of::<cpu_set_t>(), &set) };
        assert_eq!(result, 0, "a CPU that the process may use");
    }
}

/// No system that this was tried on.
#[cfg(not(target_os = "linux"))]
mod affinity {
    pub fn two() -> Option<[usize; 2]> {
        None
    }
    pub fn bind(_: usize) {}
}
