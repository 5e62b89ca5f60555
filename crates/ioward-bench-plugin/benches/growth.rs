//! How cost grows with what is live: `cargo xtask grow`, or `cargo bench -p ioward-bench-plugin --bench growth [-- FIGURE…]`.
//!
//! Each line is a figure's name, a series, how many, and a cost, with tabs between. An operation's time is that of a batch of
//! which the median of many counts. What a batch works on is looked for before the clock starts, so that the bench's own
//! arrays are not what is measured.

use ioward_bench_plugin::{
    abi::Services,
    dma::Nowhere,
    platform::{Bench, Free, cpu},
    sink::{FOUR_LEVELS, Sink},
};
use ioward_core::{Bound, DeviceDesc, Dma, FlushMode, Mapping, Policy, Subsystem};
use ioward_iova::IovaAllocator;
use ioward_types::{Direction, IommuId, Iova, PhysAddr, SourceId, Span, control::Uncontrolled};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_void,
    hint::black_box,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

const K4: u64 = 1 << 12;
const K64: u64 = 1 << 16;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
/// Where the memory is that is mapped: nobody reads it.
const MEMORY: u64 = 0x30_0000_0000;
/// How many operations a batch has, and how many batches there are.
const BATCH: usize = 256;
const BATCHES: usize = 401;
const MODES: [(FlushMode, &str); 2] = [(FlushMode::Strict, "strict"), (FlushMode::Lazy, "lazy")];

/// Bytes that are allocated, but for frames.
static HEAP: AtomicU64 = AtomicU64::new(0);
/// Frames that hardware would read.
static FRAMES: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames from an [`Arena`], counted apart.
static PAGES: Services = {
    extern "C" fn alloc_page() -> *mut c_void {
        FRAMES.fetch_add(1, Ordering::Relaxed);
        let page = ARENA.lock().expect("nobody panics with it").take();
        // SAFETY: a page of the arena that nobody else has.
        unsafe { page.write_bytes(0, K4 as usize) };
        page.cast()
    }
    extern "C" fn free_page(page: *mut c_void) {
        FRAMES.fetch_sub(1, Ordering::Relaxed);
        ARENA.lock().expect("nobody panics with it").free.push(page as usize);
    }
    Services { alloc_page, free_page, virtual_offset: 0 }
};

/// Memory in large pages, as a kernel has all of its memory mapped: with small ones a walk through the tables of many domains
/// would miss the CPU's own translation caches, and the bench would measure those.
struct Arena {
    start: usize,
    taken: usize,
    /// Given back; the last one goes first, while caches have it.
    free: Vec<usize>,
}

/// What is not used takes no memory.
const ARENA_BYTES: usize = 512 << 20;
static ARENA: Mutex<Arena> = Mutex::new(Arena { start: 0, taken: 0, free: Vec::new() });

impl Arena {
    fn take(&mut self) -> *mut u8 {
        if self.start == 0 {
            let layout = Layout::from_size_align(ARENA_BYTES, M2 as usize).expect("a layout");
            // SAFETY: the layout is not empty.
            let start = unsafe { System.alloc(layout) };
            assert!(!start.is_null());
            #[cfg(target_os = "linux")]
            // SAFETY: the memory was allocated just now; how it is mapped is all that changes.
            unsafe {
                libc::madvise(start.cast(), ARENA_BYTES, libc::MADV_HUGEPAGE)
            };
            self.start = start as usize;
        }
        let page = self.free.pop().unwrap_or_else(|| {
            self.taken += K4 as usize;
            assert!(self.taken <= ARENA_BYTES, "the arena is too small");
            self.start + self.taken - K4 as usize
        });
        page as *mut u8
    }
}

fn main() {
    // Without it, this is a run of tests, which never measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    cpu::set_if_none();
    // Figures that are named, or all.
    const FIGURES: [&str; 4] = ["live", "domains", "probe", "memory"];
    let named: Vec<String> =
        std::env::args().filter(|argument| FIGURES.contains(&argument.as_str())).collect();
    for figure in FIGURES.into_iter().filter(|figure| named.is_empty() || named.iter().any(|n| n == figure)) {
        match figure {
            "live" => {
                live_iovas();
                live_mappings();
            }
            "domains" => domains(),
            "probe" => devices(),
            _ => memory(),
        }
    }
}

fn tell(figure: &str, series: &str, count: u64, cost: f64) {
    println!("{figure}\t{series}\t{count}\t{cost:.3}");
}

/// 1, 10, 100 and so on.
fn decades(most: u64) -> impl Iterator<Item = u64> {
    (0..).map(|n| 10u64.pow(n)).take_while(move |count| *count <= most)
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds of each of `count` operations, of which `batch` does so many.
fn time(count: usize, mut batch: impl FnMut() -> Instant) -> f64 {
    let mut run = || {
        let start = batch();
        start.elapsed().as_nanos() as f64 / count as f64
    };
    (0..20).for_each(|_| _ = run());
    median((0..BATCHES).map(|_| run()).collect())
}

/// Gives up `live` things at random and takes others in their place: nanoseconds for both.
fn replace<T>(live: &mut Vec<T>, mut give: impl FnMut(T), mut take: impl FnMut() -> T) -> f64 {
    let mut random = Random(0x1234_5678_9abc_def1);
    let count = live.len().min(BATCH);
    let rounds = BATCH / count;
    // What a batch gives up and what it took lie together.
    let mut gone: Vec<T> = Vec::with_capacity(BATCH);
    let mut come: Vec<T> = Vec::with_capacity(BATCH);
    time(count * rounds, || {
        for taken in come.drain(..) {
            live.push(taken);
        }
        for _ in 0..count {
            let at = random.below(live.len());
            gone.push(live.swap_remove(at));
        }
        let start = Instant::now();
        for _ in 0..rounds {
            gone.drain(..).for_each(&mut give);
            come.extend((0..count).map(|_| take()));
            mem::swap(&mut gone, &mut come);
        }
        mem::swap(&mut gone, &mut come);
        start
    })
}

/// IOVAs alone: a pair beside so many that are live, and a live one at random replaced by a new one.
fn live_iovas() {
    let aperture = Span { start: Iova(0), bytes: 1 << 48 };
    for count in decades(10_000_000) {
        let iovas = IovaAllocator::new(Bench::<Free>::new(&PAGES), aperture, K4).expect("a sound aperture");
        let take = || iovas.alloc(K4, K4, Iova(u64::MAX)).expect("there is room");
        let give = |span| iovas.free(span).expect("it is allocated");
        let mut live: Vec<_> = (0..count).map(|_| take()).collect();
        let pair = time(BATCH, || {
            let start = Instant::now();
            (0..BATCH).for_each(|_| give(black_box(take())));
            start
        });
        tell("live", "IOVA, pair", count, pair);
        if count >= 100 {
            tell("live", "IOVA, random", count, replace(&mut live, give, take));
        }
    }
}

type One<'a> = Mapping<Bench<Free>, Nowhere, &'a Dma<Bench<Free>>>;

fn subsystem(flush: FlushMode) -> Subsystem<Bench<Free>> {
    let policy = Policy { flush, ..Policy::default() };
    let subsystem = Subsystem::with_policy(Bench::<Free>::new(&PAGES), policy);
    subsystem.register(Arc::new(Sink(FOUR_LEVELS))).expect("it refuses nothing");
    subsystem
}

/// A device of a group of its own, bound.
fn bound(subsystem: &Subsystem<Bench<Free>>, number: u32) -> Bound<Bench<Free>> {
    let sources = [(IommuId(0), SourceId(number))];
    let desc = DeviceDesc::new("device", &sources, Arc::new(Uncontrolled));
    subsystem.add(&desc).bind().expect("it is served")
}

fn map(dma: &Dma<Bench<Free>>, bytes: u64) -> One<'_> {
    let buffer = Nowhere(Span { start: PhysAddr(MEMORY), bytes });
    Dma::map(dma, buffer, Direction::Both).expect("it is mapped")
}

fn release(mapping: One<'_>) {
    mapping.release().expect("it is confirmed");
}

/// Mappings of a page: the same. And what memory itself costs: an entry of eight bytes written where the random one would
/// be, in a table that is as large.
fn live_mappings() {
    for (flush, name) in MODES {
        for count in decades(10_000_000) {
            let bound = bound(&subsystem(flush), 0);
            let dma = &**bound.dma();
            let mut live: Vec<_> = (0..count).map(|_| map(dma, K4)).collect();
            let pair = time(BATCH, || {
                let start = Instant::now();
                (0..BATCH).for_each(|_| release(black_box(map(dma, K4))));
                start
            });
            tell("live", &format!("{name}, pair"), count, pair);
            if count >= 100 {
                let random = replace(&mut live, release, || map(dma, K4));
                tell("live", &format!("{name}, random"), count, random);
            }
            live.into_iter().for_each(release);
        }
    }
    for count in decades(10_000_000) {
        let entries: Vec<AtomicU64> = (0..count).map(AtomicU64::new).collect();
        let mut random = Random(1);
        let mut at = [0; BATCH];
        let store = time(BATCH, || {
            at.fill_with(|| random.below(entries.len()));
            let start = Instant::now();
            for at in at {
                let entry = &entries[at];
                entry.store(entry.load(Ordering::Relaxed) + 1, Ordering::Release);
            }
            start
        });
        tell("live", "a store at random", count, store);
    }
}

/// A pair in each domain in turn. And what memory itself costs: a walk of four tables of each in turn, by the same entries
/// of each, and a store to the last; and by entries that differ from domain to domain.
fn domains() {
    const COUNTS: [u32; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
    for (flush, name) in MODES {
        let subsystem = subsystem(flush);
        let mut all = Vec::new();
        for count in COUNTS {
            all.extend((all.len() as u32..count).map(|number| bound(&subsystem, number)));
            // Each has tables, a stock and, where it is lazy, a queue before the clock starts.
            let rounds = BATCH.div_ceil(all.len());
            let pair = time(rounds * all.len(), || {
                let start = Instant::now();
                for bound in (0..rounds).flat_map(|_| &all) {
                    release(black_box(map(bound.dma(), K4)));
                }
                start
            });
            tell("domains", name, count.into(), pair);
        }
    }
    for (name, own) in [("a walk and a store", false), ("the same by other entries", true)] {
        let mut roots = Vec::new();
        for count in COUNTS {
            roots.extend((roots.len()..count as usize).map(|number| Walk::new(if own { number } else { 0 })));
            let rounds = BATCH.div_ceil(roots.len());
            let walk = time(rounds * roots.len(), || {
                let start = Instant::now();
                (0..rounds).flat_map(|_| &roots).for_each(Walk::store);
                start
            });
            tell("domains", name, count.into(), walk);
        }
    }
}

/// Four tables, of which each leads to the next.
struct Walk {
    root: &'static [AtomicU64; 512],
    /// Which entry, of each.
    entries: [usize; 4],
}

impl Walk {
    /// By entries in other cache lines for each number.
    fn new(number: usize) -> Self {
        let tables: [&'static [AtomicU64; 512]; 4] = std::array::from_fn(|_| {
            // SAFETY: a zeroed page that is never freed.
            unsafe { &*(PAGES.alloc_page)().cast() }
        });
        let entries = [1, 3, 5, 7].map(|odd| 511 - number * odd % 64 * 8);
        for level in 0..3 {
            tables[level][entries[level]].store(tables[level + 1].as_ptr() as u64, Ordering::Relaxed);
        }
        Self { root: tables[0], entries }
    }

    fn store(&self) {
        let [upper @ .., last] = self.entries;
        let leaf = upper.into_iter().fold(self.root, |table, entry| {
            // SAFETY: the address of a table that is never freed.
            unsafe { &*(table[entry].load(Ordering::Relaxed) as *const [AtomicU64; 512]) }
        });
        leaf[last].store(1, Ordering::Release);
    }
}

/// Microseconds to add a device of a group of its own, beside so many; to add one that joins a neighbour; to remove one.
fn devices() {
    const MANY: usize = 64;
    let subsystem = subsystem(FlushMode::Strict);
    let add = |number: u32, joins: Option<u32>| {
        let source = |number| (IommuId(0), SourceId(number));
        let (sources, joins) = ([source(number)], joins.map(source));
        let desc = DeviceDesc::new("device", &sources, Arc::new(Uncontrolled));
        subsystem.add(&DeviceDesc { joins: joins.as_slice(), ..desc })
    };
    let mut all = Vec::new();
    for count in decades(10_000) {
        all.extend((all.len() as u32..count as u32).map(|number| add(number, None)));
        let (mut adding, mut joining, mut removing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..21 {
            let mut come = Vec::with_capacity(2 * MANY);
            let each = |start: Instant| start.elapsed().as_nanos() as f64 / MANY as f64 / 1000.0;
            let start = Instant::now();
            come.extend((0..MANY as u32).map(|number| add(1 << 20 | number, None)));
            adding.push(each(start));
            let start = Instant::now();
            come.extend((0..MANY as u32).map(|number| add(1 << 21 | number, Some(1 << 20 | number))));
            joining.push(each(start));
            // Those who joined go with those whom they joined.
            let start = Instant::now();
            drop(come);
            removing.push(each(start) / 2.0);
        }
        tell("probe", "add", count, median(adding));
        tell("probe", "add to a group of one", count, median(joining));
        tell("probe", "remove", count, median(removing));
    }
}

/// KiB for each GiB that is mapped by buffers of one size: tables, what a mapping's owner has in hand, and, the most of the
/// three sizes, everything else that is allocated.
fn memory() {
    let count = || (FRAMES.load(Ordering::Relaxed), HEAP.load(Ordering::Relaxed));
    for gib in [1, 2, 4, 8, 16] {
        let kib = |bytes: u64| bytes as f64 / gib as f64 / 1024.0;
        let mut metadata = 0;
        for (bytes, name) in [(K4, "4 KiB"), (K64, "64 KiB"), (M2, "2 MiB")] {
            let bound = bound(&subsystem(FlushMode::Strict), 0);
            let dma = &**bound.dma();
            let mut live = Vec::with_capacity((gib * G1 / bytes) as usize);
            let before = count();
            live.extend((0..gib * G1 / bytes).map(|_| map(dma, bytes)));
            let after = count();
            tell("memory", &format!("tables, {name}"), gib, kib((after.0 - before.0) * K4));
            tell("memory", &format!("owners, {name}"), gib, kib((live.len() * size_of::<One<'_>>()) as u64));
            metadata = metadata.max(after.1.saturating_sub(before.1));
            live.into_iter().for_each(release);
        }
        tell("memory", "metadata, any", gib, kib(metadata));
    }
}
