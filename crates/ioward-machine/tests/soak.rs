//! Two threads map, use and end buffers of random sizes, in every form and both modes, behind real drivers over models that
//! cache as much as they may; and whatever has ended is tried once more by the device. `cargo xtask soak` runs it for long.
//!
//! Three judges: a device that reads a buffer's own token at its old address after its end was confirmed has found a stale
//! translation; the machine's memory reports DMA and walks that reach what is freed; and what is held has a bound while they
//! are at work, and is the same to the byte each time that it was trimmed.
//!
//! What a call costs is reported, in processor time and in units of a probe that is measured beside it: of the first fifth of
//! the rounds and of the last. At the end a new machine and the one that has grown old work in turns: whoever else keeps the
//! processor's caches busy by then, slows both. Only where it is run for long has that a verdict, and only what is dearer by
//! every measure is dearer.
#[path = "rules/help.rs"]
#[allow(dead_code)]
mod help;

use help::{KINDS, Kind};
use ioward::core::{
    Bound, Dma, DmaBuffer, FlushMode, FrameBuffer, Policy, Reserved,
    space::{AFTER, QUEUED},
};
use ioward::types::{Direction, Iova, PhysAddr, Platform, Span};
use ioward_machine::{Endpoint, Rig};
use ioward_models::{DmaEngine, SimPlatform};
use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PAGE: usize = 4096;
/// How many mappings a thread has at most, and how long one is, in pages.
const LIVE: usize = 24;
const LONGEST: usize = 64;
const THREADS: u64 = 2;
/// How many things each thread does in a round, how many rounds there are if no time is given, and after how many everything
/// is trimmed: in between it grows old.
const STEPS: usize = 120;
const ROUNDS: usize = 9;
const TRIMMED: usize = 4;
/// In so many rounds of each an old machine is held against a new one, which has worked for so many before: its first ones are
/// cheaper, until what it maps and what the models keep lies about as it will from then on. That is over in some seconds.
const SIDE_BY_SIDE: usize = 60;
const SETTLED: usize = 500;
/// By how much a call may cost more at the end than at the beginning.
const DEARER: f64 = 1.10;

/// Frames that hold a token of their own. When nothing is to reach them any more, the device tries.
struct Tracked {
    frames: FrameBuffer<SimPlatform>,
    token: u64,
    /// Where the device found them, or zero; whoever ends the mapping says so.
    at: Arc<AtomicU64>,
    device: DmaEngine,
    stale: Arc<AtomicU64>,
}

// SAFETY: the frames are the value's, and stay where they are until they are dropped.
unsafe impl DmaBuffer for Tracked {
    fn span(&self) -> Span<PhysAddr> {
        self.frames.span()
    }
}

impl Tracked {
    /// Their end has been confirmed: the device finds something else at the old address, or nothing.
    fn ended(&self) {
        let at = self.at.swap(0, Ordering::Relaxed);
        let mut seen = [0; 8];
        if at != 0 && self.device.read(None, Iova(at), &mut seen).is_ok() && seen == self.token.to_le_bytes()
        {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.ended();
    }
}

/// One device behind one IOMMU, and what is found out about it.
struct Machine {
    dma: Arc<Dma<SimPlatform>>,
    device: DmaEngine,
    /// As long as it lives, the device is its driver's.
    _bound: Bound<SimPlatform>,
    _nic: Endpoint,
    rig: Rig,
    stale: Arc<AtomicU64>,
    missed: AtomicU64,
    tokens: AtomicU64,
    /// Of this round: calls that were timed, and their nanoseconds.
    calls: AtomicU64,
    nanos: AtomicU64,
    /// What the probe took in this round, the least of all threads before and after.
    probe: AtomicU64,
}

/// Processor time of this thread, in nanoseconds: another process beside it does not count.
fn processor_time() -> u64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanos: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const THREAD: i32 = 3;
    let mut time = Time { seconds: 0, nanos: 0 };
    // SAFETY: the system's own, with the layout that 64-bit Linux has.
    assert_eq!(unsafe { clock_gettime(THREAD, &mut time) }, 0);
    time.seconds as u64 * 1_000_000_000 + time.nanos as u64
}

/// What the processor takes at the moment for something that is always the same: a neighbour that shares its core and caches
/// makes everything dearer, and this too.
fn probe() -> u64 {
    let mut cells = [0_u64; 4096];
    let mut random = Random(1);
    let begin = processor_time();
    for _ in 0..30_000 {
        let at = random.below(cells.len());
        cells[at] = cells[at].wrapping_add(random.0);
    }
    std::hint::black_box(&cells);
    processor_time() - begin
}

impl Machine {
    fn timed<R>(&self, call: impl FnOnce() -> R) -> R {
        let begin = processor_time();
        let result = call();
        self.nanos.fetch_add(processor_time() - begin, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn buffer(&self, pages: usize) -> Tracked {
        let mut frames = FrameBuffer::new(&self.rig.platform, pages * PAGE, PAGE).unwrap();
        // At every page, so that whichever a stale translation leads to can be told.
        let token = self.tokens.fetch_add(1, Ordering::Relaxed) | 1 << 63;
        (0..pages).for_each(|page| assert!(frames.write(page * PAGE, &token.to_le_bytes())));
        let (device, stale) = (self.device.clone(), self.stale.clone());
        Tracked { frames, token, at: Arc::default(), device, stale }
    }

    /// The device reads the token where it is told to, so that the IOMMU has it cached.
    fn reads(&self, at: Iova, token: u64) {
        let mut seen = [0; 8];
        let found = self.device.read(None, at, &mut seen).is_ok() && seen == token.to_le_bytes();
        self.missed.fetch_add(u64::from(!found), Ordering::Relaxed);
    }

    fn work(&self, seed: u64) {
        let mut random = Random(seed);
        let mut live = Vec::new();
        let dma = || self.dma.clone();
        for _ in 0..STEPS {
            let longest = if random.below(4) == 0 { LONGEST } else { 4 };
            let pages = 1 + random.below(longest);
            match random.below(8) {
                0..4 if live.len() < LIVE => {
                    let buffer = self.buffer(pages);
                    let (token, found_at) = (buffer.token, buffer.at.clone());
                    let mapping = self.timed(|| Dma::map(dma(), buffer, Direction::Both));
                    let mapping = mapping.map_err(|(error, _)| error).unwrap();
                    self.reads(Iova(mapping.iova().0 + (random.below(pages) * PAGE) as u64), token);
                    live.push((mapping, token, found_at));
                }
                0..6 if !live.is_empty() => {
                    let (mapping, token, found_at) = live.swap_remove(random.below(live.len()));
                    let at = mapping.iova();
                    self.reads(at, token);
                    found_at.store(at.0, Ordering::Relaxed);
                    if random.below(3) == 0 {
                        self.timed(|| mapping.unmap()).unwrap().ended();
                    } else {
                        self.timed(|| mapping.release()).unwrap();
                    }
                }
                6 => {
                    let bytes = 1 + random.below(3 * PAGE);
                    let lists = (0..1 + random.below(6)).map(|n| vec![n as u8 + 1; bytes]).collect();
                    let list =
                        Dma::map_list(dma(), lists, Direction::Both).map_err(|(error, _)| error).unwrap();
                    for span in list.spans() {
                        let mut seen = [0];
                        let found = self.device.read(None, span.last(), &mut seen).is_ok() && seen[0] != 0;
                        self.missed.fetch_add(u64::from(!found), Ordering::Relaxed);
                    }
                    list.unmap().unwrap();
                }
                _ => self.ring(&mut random),
            }
            self.dma.poll(self.rig.platform.now());
        }
    }

    /// A ring of descriptors, gone round once by runs.
    fn ring(&self, random: &mut Random) {
        let mut ring: Reserved<_, Tracked, _> = Dma::reserve(&*self.dma, 16, 2 * PAGE as u64).unwrap();
        let run = 1 + random.below(8);
        for start in (0..16).step_by(run) {
            for slot in start..(start + run).min(16) {
                let buffer = self.buffer(1 + random.below(2));
                let token = buffer.token;
                let at = ring.link(slot, buffer, Direction::Both).map_err(|(error, _)| error).unwrap();
                ring.sync().unwrap();
                self.reads(at.start, token);
            }
            let places: Vec<_> = (0..16).map(|slot| ring.linked(slot)).collect();
            ring.unlink(start..start + run, |slot, buffer| {
                buffer.at.store(places[slot].unwrap().start.0, Ordering::Relaxed);
            })
            .unwrap();
        }
    }

    /// Both threads at work. Tells what a call cost, in nanoseconds, and what the probe did.
    fn round(&self, round: usize) -> (f64, f64) {
        self.calls.store(0, Ordering::Relaxed);
        self.nanos.store(0, Ordering::Relaxed);
        self.probe.store(u64::MAX, Ordering::Relaxed);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    self.probe.fetch_min(probe(), Ordering::Relaxed);
                    self.work(round as u64 * THREADS + thread + 1);
                    self.probe.fetch_min(probe(), Ordering::Relaxed);
                });
            }
        });
        let stats = self.dma.stats();
        assert_eq!((stats.live_mappings, stats.mapped_bytes, stats.quarantined), (0, 0, 0));
        assert!(stats.queued <= (self.rig.platform.cpus() * QUEUED) as u64, "{stats:?}");
        let cost =
            self.nanos.load(Ordering::Relaxed) as f64 / self.calls.load(Ordering::Relaxed).max(1) as f64;
        (cost, self.probe.load(Ordering::Relaxed) as f64)
    }

    /// Bytes that are held once queues have been flushed: as they are, and with everything given back that can be.
    fn held(&self) -> (u64, u64) {
        // Without what waits in queues: what is left are tables.
        self.rig.platform.advance(AFTER);
        self.dma.poll(self.rig.platform.now());
        let held = self.rig.memory.allocated();
        self.dma.trim();
        let stats = self.dma.stats();
        assert_eq!((stats.queued, stats.iova_in_use), (0, 0));
        (held, self.rig.memory.allocated())
    }
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64* of Vigna.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end as u64) as usize
    }
}

/// A machine where nothing has been mapped yet.
fn machine(kind: Kind, flush: FlushMode) -> Machine {
    let mut rig = Rig::new(Policy { flush, ..Policy::default() });
    help::add(&mut rig, 0, kind);
    rig.start(0).unwrap();
    // It caches translations itself too.
    let nic = rig.device("nic", &[(0, 8)], true, |_| {});
    let bound = nic.device.bind().unwrap();
    let machine = Machine {
        dma: bound.dma().clone(),
        device: nic.engines[0].clone(),
        _bound: bound,
        _nic: nic,
        rig,
        stale: Arc::default(),
        missed: AtomicU64::new(0),
        tokens: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        nanos: AtomicU64::new(0),
        probe: AtomicU64::new(u64::MAX),
    };
    assert_eq!(machine.dma.flush_mode(), flush);
    machine
}

/// What a call costs where it has been done for long, against what it costs where nothing has, in turns.
fn old_to_new(old: &Machine, new: &Machine) -> f64 {
    (0..SETTLED).for_each(|round| _ = new.round(round));
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..SIDE_BY_SIDE {
        for (machine, costs) in [old, new].into_iter().zip(&mut costs) {
            costs.push(machine.round(round).0);
        }
    }
    median(&costs[0]) / median(&costs[1])
}

/// Tells, where it ran for long, if calls have become dearer.
fn soak(kind: Kind, flush: FlushMode, until: Option<Instant>) -> Option<String> {
    let machine = machine(kind, flush);
    machine.dma.trim();
    let empty = machine.rig.memory.allocated();
    // What remains while they are at work are tables, of which a span of IOVAs has so many and no more: a page for 2 MiB, and
    // few above.
    let most = THREADS as usize * (LIVE * LONGEST + 64) * 4 + QUEUED * LONGEST * machine.rig.platform.cpus();
    let bound = empty + (most / 512 + 16) as u64 * PAGE as u64;
    let (mut costs, mut highest) = (Vec::new(), 0);
    for round in 0.. {
        let over = until.map_or(round == ROUNDS, |until| round >= 10 && Instant::now() >= until);
        if over || round % TRIMMED == 0 {
            let (before, after) = machine.held();
            highest = highest.max(before);
            assert!(before <= bound, "{kind:?} {flush:?}: {before:#x} bytes, {bound:#x} at most");
            assert_eq!(after, empty, "{kind:?} {flush:?}: bytes held after a trim");
        }
        if over {
            break;
        }
        costs.push(machine.round(round));
    }
    let fifth = (costs.len() / 5).max(1);
    // The very first finds everything cold.
    let window = |of: &[(f64, f64)]| {
        let calls: Vec<f64> = of.iter().map(|(cost, _)| *cost).collect();
        let in_probes: Vec<f64> = of.iter().map(|(cost, probe)| cost / probe).collect();
        (median(&calls), median(&in_probes))
    };
    let ((first, first_in_probes), (last, last_in_probes)) =
        (window(&costs[1..=fifth]), window(&costs[costs.len() - fifth..]));
    // Dearer by every measure: each has a noise of its own.
    let beside = until.map(|_| old_to_new(&machine, &self::machine(kind, flush)));
    let dearer = (last / first).min(last_in_probes / first_in_probes).min(beside.unwrap_or(f64::INFINITY));
    let stats = machine.dma.stats();
    println!(
        "{kind:?} {flush:?}: {} rounds, {} mappings, {} flushes; {} KiB held at most, {} after each trim; a call took \
         {first:.0} ns at first and {last:.0} at last, {:.2}, in probes {:.2}, beside a new machine {:.2}",
        costs.len(),
        stats.mappings,
        stats.flushes,
        highest / 1024,
        empty / 1024,
        last / first,
        last_in_probes / first_in_probes,
        beside.unwrap_or(f64::NAN),
    );
    assert_eq!(
        machine.missed.load(Ordering::Relaxed),
        0,
        "{kind:?} {flush:?}: a live mapping was not reached"
    );
    assert_eq!(machine.stale.load(Ordering::Relaxed), 0, "{kind:?} {flush:?}: something stale was reached");
    machine.rig.violations.assert_none();
    (until.is_some() && dearer > DEARER).then(|| format!("{kind:?} {flush:?}: {dearer:.2}"))
}

#[test]
fn nothing_stale_is_reached_and_nothing_is_lost() {
    let seconds = env::var("IOWARD_SOAK_SECONDS").ok().map(|seconds| seconds.parse::<u64>().unwrap());
    let runs = KINDS.len() as u32 * 2;
    let mut dearer = Vec::new();
    for flush in [FlushMode::Strict, FlushMode::Lazy] {
        for kind in KINDS {
            let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds) / runs);
            dearer.extend(soak(kind, flush, until));
        }
    }
    if seconds.is_some() {
        println!("no stale access, no violation, memory flat after each trim and bounded before it");
        println!(
            "cost at the end within {:.0} % of the beginning: {}",
            (DEARER - 1.0) * 100.0,
            dearer.is_empty()
        );
    }
    assert!(dearer.is_empty(), "calls that became dearer: {dearer:?}");
}
