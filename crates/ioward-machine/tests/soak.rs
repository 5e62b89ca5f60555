//! Two threads map, use and end buffers of random sizes, in every form and both modes, behind real drivers over models that
//! cache as much as they may; and whatever has ended is tried once more by the device. `cargo xtask soak` runs it for long.
//!
//! Three judges: a device that reads a buffer's own token at its old address after its end was confirmed has found a stale
//! translation; the machine's memory reports DMA and walks that reach what is freed; and what is held has a bound, and does
//! not grow from one round to the next once it was trimmed.
#[path = "rules/help.rs"]
#[allow(dead_code)]
mod help;

use help::{KINDS, Kind};
use ioward::core::{Dma, DmaBuffer, FlushMode, FrameBuffer, Policy, Reserved, space::QUEUED};
use ioward::types::{Direction, Iova, PhysAddr, Platform, Span};
use ioward_machine::Rig;
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
/// How many things each thread does in a round, and how many rounds there are if no time is given.
const STEPS: usize = 120;
const ROUNDS: usize = 3;

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
    rig: Rig,
    dma: Arc<Dma<SimPlatform>>,
    device: DmaEngine,
    stale: Arc<AtomicU64>,
    missed: AtomicU64,
    tokens: AtomicU64,
}

impl Machine {
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
                    let mapping =
                        Dma::map(dma(), buffer, Direction::Both).map_err(|(error, _)| error).unwrap();
                    self.reads(Iova(mapping.iova().0 + (random.below(pages) * PAGE) as u64), token);
                    live.push((mapping, token, found_at));
                }
                0..6 if !live.is_empty() => {
                    let (mapping, token, found_at) = live.swap_remove(random.below(live.len()));
                    let at = mapping.iova();
                    self.reads(at, token);
                    found_at.store(at.0, Ordering::Relaxed);
                    if random.below(3) == 0 {
                        mapping.unmap().unwrap().ended();
                    } else {
                        mapping.release().unwrap();
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

    /// Both threads at work; then what is held, once everything has ended.
    fn round(&self, round: u64) -> u64 {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || self.work(round * THREADS + thread + 1));
            }
        });
        let stats = self.dma.stats();
        assert_eq!((stats.live_mappings, stats.mapped_bytes, stats.quarantined), (0, 0, 0));
        assert!(stats.queued <= (self.rig.platform.cpus() * QUEUED) as u64, "{stats:?}");
        self.dma.trim();
        assert_eq!(self.dma.stats().queued, 0);
        assert_eq!(self.dma.stats().iova_in_use, 0);
        self.rig.memory.allocated()
    }
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

fn soak(kind: Kind, flush: FlushMode, until: Option<Instant>) {
    let mut rig = Rig::new(Policy { flush, ..Policy::default() });
    help::add(&mut rig, 0, kind);
    rig.start(0).unwrap();
    // It caches translations itself too.
    let nic = rig.device("nic", &[(0, 8)], true, |_| {});
    let bound = nic.device.bind().unwrap();
    let machine = Machine {
        dma: bound.dma().clone(),
        device: nic.engines[0].clone(),
        rig,
        stale: Arc::default(),
        missed: AtomicU64::new(0),
        tokens: AtomicU64::new(0),
    };
    assert_eq!(machine.dma.flush_mode(), flush);
    let mut held = Vec::new();
    for round in 0.. {
        let over = until.map_or(round == ROUNDS as u64, |until| round >= 2 && Instant::now() >= until);
        if over {
            break;
        }
        held.push(machine.round(round));
    }
    let stats = machine.dma.stats();
    println!(
        "{kind:?} {flush:?}: {} rounds, {} mappings, {} flushes",
        held.len(),
        stats.mappings,
        stats.flushes
    );
    assert_eq!(
        machine.missed.load(Ordering::Relaxed),
        0,
        "{kind:?} {flush:?}: a live mapping was not reached"
    );
    assert_eq!(machine.stale.load(Ordering::Relaxed), 0, "{kind:?} {flush:?}: something stale was reached");
    machine.rig.violations.assert_none();
    // What remains are tables, of which a span of IOVAs has so many and no more: a page for 2 MiB, and few above.
    let most = THREADS as usize * (LIVE * LONGEST + 64) * 4 + QUEUED * LONGEST * machine.rig.platform.cpus();
    let (first, last) = (held[0], held[held.len() - 1]);
    assert!(last <= first + (most / 512 + 16) as u64 * PAGE as u64, "{kind:?} {flush:?}: {held:?}");
}

#[test]
fn nothing_stale_is_reached_and_nothing_is_lost() {
    let seconds = env::var("IOWARD_SOAK_SECONDS").ok().map(|seconds| seconds.parse::<u64>().unwrap());
    let runs = KINDS.len() as u32 * 2;
    for flush in [FlushMode::Strict, FlushMode::Lazy] {
        for kind in KINDS {
            soak(kind, flush, seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds) / runs));
        }
    }
}
