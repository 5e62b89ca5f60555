//! Pages that CPUs keep for tables: how many, which, and that they come back.
#![cfg(not(loom))]

use ioward_core::TablePages;
use ioward_pgtable::{AnyTable, Mem};
use ioward_types::{
    Attributes, Format, Iova, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span, TableConfig,
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::Cell,
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

const K4: usize = 4 << 10;
const SIZES: [usize; 3] = [K4, 4 * K4, 16 * K4];
/// What a CPU keeps of a size at most.
const MOST: usize = 256 << 10;
/// Frames of 4 KiB that the platform has.
const FRAMES: usize = 1024;
const ANYWHERE: PhysAddr = PhysAddr(1 << 52);
/// The last one is beyond those that are announced.
const CPUS: usize = 3;

thread_local! { static CPU: Cell<usize> = const { Cell::new(0) }; }

struct Lock(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time.
unsafe impl RawLock for Lock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        while self.0.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

/// The lowest frames that are free are given out first. A pin is a lock of its CPU, so threads may share a number.
#[derive(Clone)]
struct Host<const TRACED: bool>(Arc<Inner>);

struct Inner {
    pins: &'static [Mutex<()>; CPUS],
    memory: NonNull<u8>,
    /// What a walker that does not snoop sees: what was cleaned.
    walker: Mutex<Vec<u64>>,
    used: Mutex<Vec<bool>>,
    /// How often frames were asked for or given back.
    calls: AtomicUsize,
}

// SAFETY: the memory is its own until it is dropped; whoever has a frame answers for what is done to it.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

fn arena() -> Layout {
    Layout::from_size_align(FRAMES * K4, SIZES[2]).expect("a sound layout")
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: allocated so, and nobody is left.
        unsafe { dealloc(self.memory.as_ptr(), arena()) }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<const TRACED: bool> Host<TRACED> {
    fn new() -> Self {
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc_zeroed(arena()) }).expect("4 MiB");
        Self(Arc::new(Inner {
            pins: Box::leak(Box::default()),
            memory,
            walker: Mutex::new(vec![0; FRAMES * K4 / 8]),
            used: Mutex::new(vec![false; FRAMES]),
            calls: AtomicUsize::new(0),
        }))
    }

    /// Bytes that are not free.
    fn used(&self) -> usize {
        locked(&self.0.used).iter().filter(|used| **used).count() * K4
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// How the walker sees a word.
    fn walker_sees(&self, at: PhysAddr) -> u64 {
        locked(&self.0.walker)[at.0 as usize / 8]
    }
}

// SAFETY: a frame is one owner's until it is given back, and is zeroed before; one pin of a CPU at a time.
unsafe impl<const TRACED: bool> Platform for Host<TRACED> {
    type Lock = Lock;
    type Pin = MutexGuard<'static, ()>;
    const TRACED: bool = TRACED;
    fn pin(&self) -> (Self::Pin, usize) {
        (locked(&self.0.pins[CPU.get()]), CPU.get())
    }
    fn cpus(&self) -> usize {
        CPUS - 1
    }
    fn synchronize(&self) {
        self.0.pins.iter().for_each(|cpu| drop(locked(cpu)));
    }
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mut used = locked(&self.0.used);
        let count = bytes.div_ceil(K4);
        let fits = |start: &usize| {
            let end = start + count;
            end * K4 <= below.0 as usize
                && used.get(*start..end).is_some_and(|frames| !frames.contains(&true))
        };
        let start = (0..FRAMES).step_by(align.div_ceil(K4)).find(fits).ok_or(OutOfMemory)?;
        used[start..start + count].fill(true);
        let at = PhysAddr((start * K4) as u64);
        // SAFETY: it was free until now.
        unsafe { ptr::write_bytes(self.virt(at).as_ptr(), 0, bytes) };
        Ok(at)
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let start = at.0 as usize / K4;
        let mut used = locked(&self.0.used);
        let frames = &mut used[start..start + bytes.div_ceil(K4)];
        assert!(!frames.contains(&false), "{at} is given back twice");
        frames.fill(false);
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        assert!(at.0 < (FRAMES * K4) as u64);
        // SAFETY: inside of the memory.
        unsafe { self.0.memory.add(at.0 as usize) }
    }
    fn clean(&self, lines: Span<PhysAddr>) {
        let mut walker = locked(&self.0.walker);
        for at in (lines.start.0..=lines.last().0).step_by(8) {
            // SAFETY: the engine cleans its own tables.
            walker[at as usize / 8] = unsafe { self.load(PhysAddr(at)) };
        }
    }
    fn now(&self) -> Nanos {
        Nanos(0)
    }
}

/// Asks for a page, which must be zeroed, and soils it.
fn take<const TRACED: bool>(
    pages: &TablePages<Host<TRACED>>,
    bytes: usize,
    below: PhysAddr,
) -> Result<PhysAddr, OutOfMemory> {
    let page = pages.frames(bytes, bytes, below)?;
    let words = (page.0..page.0 + bytes as u64).step_by(8).map(PhysAddr);
    for word in words {
        // SAFETY: this caller's own.
        unsafe {
            assert_eq!(pages.load(word), 0, "{word} is zeroed, and nobody else has it");
            pages.store(word, page.0 | 1);
        }
    }
    Ok(page)
}

fn give<const TRACED: bool>(pages: &TablePages<Host<TRACED>>, page: PhysAddr, bytes: usize) {
    // SAFETY: it came from `take`, and nobody reaches it.
    unsafe { pages.free(page, bytes) }
}

fn on_cpu<T>(cpu: usize, f: impl FnOnce() -> T) -> T {
    let before = CPU.replace(cpu);
    let result = f();
    CPU.set(before);
    result
}

fn host() -> (Host<false>, TablePages<Host<false>>) {
    let host = Host::new();
    (host.clone(), TablePages::new(host))
}

#[test]
fn the_page_that_came_last_is_the_next_one_and_is_zeroed() {
    let (host, pages) = host();
    for bytes in SIZES {
        let held = [(); 3].map(|()| take(&pages, bytes, ANYWHERE).unwrap());
        held.into_iter().for_each(|page| give(&pages, page, bytes));
        let calls = host.calls();
        for page in held.into_iter().rev() {
            assert_eq!(take(&pages, bytes, ANYWHERE), Ok(page));
        }
        held.into_iter().for_each(|page| give(&pages, page, bytes));
        assert_eq!(host.calls(), calls, "the platform is not asked");
    }
    assert_eq!(pages.kept(), 3 * SIZES.iter().sum::<usize>() as u64);
}

#[test]
fn a_cpu_keeps_so_many_bytes_of_a_size_and_no_more() {
    let (host, pages) = host();
    for (done, bytes) in SIZES.into_iter().enumerate() {
        let held: Vec<_> = (0..MOST / bytes + 2).map(|_| take(&pages, bytes, ANYWHERE).unwrap()).collect();
        held.into_iter().for_each(|page| give(&pages, page, bytes));
        assert_eq!(pages.kept(), (MOST * (done + 1)) as u64);
        assert_eq!(host.used(), MOST * (done + 1));
    }
    // Another CPU has room of its own.
    on_cpu(1, || {
        let page = take(&pages, K4, ANYWHERE).unwrap();
        give(&pages, page, K4);
    });
    assert_eq!(pages.kept(), (3 * MOST + K4) as u64);
}

#[test]
fn what_is_above_the_limit_stays_and_what_is_below_it_is_found() {
    let (host, pages) = host();
    let held = [(); 4].map(|()| take(&pages, K4, ANYWHERE).unwrap());
    held.into_iter().for_each(|page| give(&pages, page, K4));
    // Its last byte is the last one below the limit.
    let limit = PhysAddr(held[1].0 + K4 as u64);
    assert_eq!(take(&pages, K4, PhysAddr(limit.0 - 1)), Ok(held[0]));
    assert_eq!(take(&pages, K4, limit), Ok(held[1]));
    let calls = host.calls();
    assert_eq!(take(&pages, K4, ANYWHERE).map(|page| page > held[1]), Ok(true));
    assert_eq!(take(&pages, K4, ANYWHERE).map(|page| page > held[1]), Ok(true));
    assert_eq!(host.calls(), calls, "the others are there yet");
    assert_eq!(take(&pages, K4, PhysAddr(K4 as u64 - 1)), Err(OutOfMemory), "no page is below");
}

#[test]
fn other_sizes_and_what_is_not_aligned_are_the_platforms() {
    let (host, pages) = host();
    SIZES.into_iter().for_each(|bytes| give(&pages, take(&pages, bytes, ANYWHERE).unwrap(), bytes));
    let kept = pages.kept();
    for bytes in [2 * K4, 8 * K4, 32 * K4, 512] {
        let page = pages.frames(bytes, bytes, ANYWHERE).unwrap();
        give(&pages, page, bytes);
        assert_eq!(pages.kept(), kept);
    }
    // More alignment than a table has.
    let page = pages.frames(K4, 2 * K4, ANYWHERE).unwrap();
    assert!(page.0.is_multiple_of(2 * K4 as u64));
    assert_eq!(pages.kept(), kept);
    // Less, which a table of that size could not use.
    let before = pages.frames(2 * K4, 2 * K4, ANYWHERE).unwrap();
    let whole = pages.frames(4 * K4, 4 * K4, ANYWHERE).unwrap();
    let odd = pages.frames(4 * K4, K4, ANYWHERE).unwrap();
    assert!(!odd.0.is_multiple_of(4 * K4 as u64), "{odd} is beside {before}");
    give(&pages, odd, 4 * K4);
    assert_eq!(pages.kept(), kept - 4 * K4 as u64);
    give(&pages, whole, 4 * K4);
    assert_eq!(pages.kept(), kept);
    assert_eq!(host.used() as u64, kept + 3 * K4 as u64);
}

#[test]
fn nothing_is_kept_where_nothing_was_asked_for() {
    let (host, pages) = host();
    let held = [(); 2].map(|()| take(&pages, K4, ANYWHERE).unwrap());
    // A CPU that has not asked yet, and one that was not announced.
    on_cpu(1, || give(&pages, held[0], K4));
    on_cpu(2, || give(&pages, held[1], K4));
    on_cpu(2, || give(&pages, take(&pages, K4, ANYWHERE).unwrap(), K4));
    assert_eq!((pages.kept(), host.used()), (0, 0));
}

#[test]
fn a_traced_platform_sees_every_page() {
    let host = Host::<true>::new();
    let pages = TablePages::new(host.clone());
    for bytes in SIZES {
        let calls = host.calls();
        give(&pages, take(&pages, bytes, ANYWHERE).unwrap(), bytes);
        assert_eq!((host.used(), host.calls()), (0, calls + 2));
    }
    pages.trim();
}

#[test]
fn who_finds_no_memory_gives_back_what_it_has() {
    let (host, pages) = host();
    // All memory, of which a CPU then keeps a run.
    let held: Vec<_> = (0..FRAMES).map(|_| take(&pages, K4, ANYWHERE).unwrap()).collect();
    assert_eq!(take(&pages, K4, ANYWHERE), Err(OutOfMemory));
    held[..16].iter().for_each(|page| give(&pages, *page, K4));
    assert_eq!((pages.kept(), host.used()), (16 * K4 as u64, FRAMES * K4));
    // Another CPU's are out of reach without a wait.
    assert_eq!(on_cpu(1, || take(&pages, SIZES[2], ANYWHERE)), Err(OutOfMemory));
    assert_eq!(take(&pages, SIZES[2], ANYWHERE), Ok(held[0]));
    assert_eq!((pages.kept(), host.used()), (0, FRAMES * K4));
}

#[test]
fn trim_gives_all_back_and_so_does_the_last_owner() {
    let (host, pages) = host();
    let fill = || {
        for cpu in 0..CPUS - 1 {
            on_cpu(cpu, || {
                SIZES
                    .into_iter()
                    .for_each(|bytes| give(&pages, take(&pages, bytes, ANYWHERE).unwrap(), bytes));
            });
        }
        assert_eq!(pages.kept(), 2 * SIZES.iter().sum::<usize>() as u64);
    };
    fill();
    pages.trim();
    assert_eq!((pages.kept(), host.used()), (0, 0));
    fill();
    let other = pages.clone();
    drop(pages);
    assert_ne!((other.kept(), host.used()), (0, 0));
    drop(other);
    assert_eq!(host.used(), 0);
}

const CONFIG: TableConfig = TableConfig {
    format: Format::ArmStage1,
    in_bits: 48,
    out_bits: 48,
    page_sizes: 1 << 12,
    coherent: false,
    dirty: false,
    snoop: false,
};

/// What an incoherent walker sees of a page that had another use is what is in it.
#[test]
fn a_page_that_is_used_again_is_cleaned_as_a_new_one_is() {
    let (host, pages) = host();
    let table = AnyTable::new(pages.clone(), &CONFIG).unwrap();
    let map = |at: u64, bytes: u64| {
        let to = Span { start: PhysAddr(0x8000_0000), bytes };
        // SAFETY: no device is there.
        unsafe { table.map(Iova(at), to, Attributes::READ_WRITE) }.unwrap();
    };
    map(0, 2 << 20);
    let gone = table.unmap(Span { start: Iova(0), bytes: 2 << 20 }).unwrap();
    assert!(gone.tables_went());
    // SAFETY: nobody walks the table.
    unsafe { table.free(gone.detached) };
    assert_eq!(pages.kept(), K4 as u64);
    map(0, 4096);
    assert_eq!(pages.kept(), 0, "the table that went is used again");
    let calls = host.calls();
    for word in (0..host.used() as u64).step_by(8).map(PhysAddr) {
        // SAFETY: tables that live; nobody stores to them meanwhile. Bits that hardware ignores need no clean.
        let stored = unsafe { host.load(word) };
        let ignored = 0x7 << 55;
        assert_eq!(host.walker_sees(word) & !ignored, stored & !ignored, "{word}");
    }
    assert_eq!(host.calls(), calls);
    // SAFETY: nobody walks the table.
    unsafe { table.destroy() };
    drop(pages);
    assert_eq!(host.used(), 0);
}

#[test]
fn threads_ask_and_give_back_while_others_take_all() {
    let (host, pages) = host();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2 * CPUS)
            .map(|number| {
                let pages = &pages;
                scope.spawn(move || {
                    CPU.set(number % CPUS);
                    let mut held = Vec::new();
                    let mut random = number as u64 + 1;
                    for _ in 0..3000 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let bytes = SIZES[(random >> 40) as usize % SIZES.len()];
                        if held.len() < 8 && random >> 63 == 0 {
                            held.extend(take(pages, bytes, ANYWHERE).ok().map(|page| (page, bytes)));
                        } else if !held.is_empty() {
                            let (page, bytes) = held.swap_remove((random >> 50) as usize % held.len());
                            // SAFETY: this thread's own.
                            assert_eq!(unsafe { pages.load(page) }, page.0 | 1, "{page} is nobody else's");
                            give(pages, page, bytes);
                        }
                    }
                    held.into_iter().for_each(|(page, bytes)| give(pages, page, bytes));
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    pages.trim();
                    thread::yield_now();
                }
            });
        }
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.expect("no panic"));
    });
    assert_eq!(pages.kept(), host.used() as u64, "none is lost");
    pages.trim();
    assert_eq!(host.used(), 0);
}
