//! The allocator with caches, on a platform whose CPUs are numbers of the test's choice.

use ioward_iova::{IovaAllocator, IovaError};
use ioward_types::{Iova, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use proptest::prelude::*;
use std::{
    cell::Cell,
    collections::BTreeSet,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

const PAGE: u64 = 4096;
const CPUS: usize = 4;

thread_local! { static CPU: Cell<usize> = const { Cell::new(0) }; }
// How often a lock was taken in this thread.
thread_local! { static LOCKS: Cell<usize> = const { Cell::new(0) }; }

struct Lock(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time.
unsafe impl RawLock for Lock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        LOCKS.set(LOCKS.get() + 1);
        while self.0.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

/// A pin is a lock of its CPU, so threads may share a number.
#[derive(Clone)]
struct Host(&'static [Mutex<()>; CPUS]);

impl Host {
    fn new() -> Self {
        Self(Box::leak(Box::default()))
    }
}

// SAFETY: one pin of a CPU at a time; no frames are given out.
unsafe impl Platform for Host {
    type Lock = Lock;
    type Pin = MutexGuard<'static, ()>;
    fn pin(&self) -> (Self::Pin, usize) {
        let cpu = CPU.get();
        (self.0[cpu].lock().expect("nobody panics pinned"), cpu)
    }
    /// The last one is beyond those that are announced.
    fn cpus(&self) -> usize {
        CPUS - 1
    }
    fn synchronize(&self) {
        for cpu in self.0 {
            drop(cpu.lock().expect("nobody panics pinned"));
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
}

fn span(start: u64, bytes: u64) -> Span<Iova> {
    Span { start: Iova(start), bytes }
}

fn allocator(bytes: u64) -> IovaAllocator<Host> {
    IovaAllocator::new(Host::new(), span(0, bytes), PAGE).expect("a sound aperture")
}

fn allocator_from(aperture: Span<Iova>, start: u64) -> IovaAllocator<Host> {
    IovaAllocator::with_start(Host::new(), aperture, PAGE, Iova(start)).expect("a sound aperture")
}

/// As many bytes as are taken for so many.
fn rounded(bytes: u64) -> u64 {
    let pages = bytes.div_ceil(PAGE);
    PAGE * if pages <= 32 { pages.next_power_of_two() } else { pages }
}

#[test]
fn what_is_at_hand_takes_no_lock() {
    let iovas = allocator(1 << 48);
    let warm = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
    iovas.free(warm).unwrap();
    let before = LOCKS.get();
    for _ in 0..1000 {
        let held: Vec<_> = (0..32).map(|_| iovas.alloc(PAGE, 1, Iova(u64::MAX)).unwrap()).collect();
        held.into_iter().for_each(|span| iovas.free(span).unwrap());
    }
    assert_eq!(LOCKS.get(), before);
}

#[test]
fn a_queue_that_fills_and_empties_takes_no_lock() {
    // As lazy mappings do: each takes one and 256 are given back together, 32 at a time; a few more live all the time.
    for (bytes, live) in [(PAGE, 0), (PAGE, 1), (PAGE, 60), (16 * PAGE, 30)] {
        let iovas = allocator(1 << 48);
        let alloc = || iovas.alloc(bytes, PAGE, Iova(u64::MAX)).unwrap().start;
        let _live: Vec<Iova> = (0..live).map(|_| alloc()).collect();
        let cycle = || {
            let queue: Vec<Iova> = (0..256).map(|_| alloc()).collect();
            queue.chunks(32).for_each(|run| iovas.free_all(bytes, run).unwrap());
        };
        (0..4).for_each(|_| cycle());
        let before = LOCKS.get();
        (0..100).for_each(|_| cycle());
        assert_eq!(LOCKS.get(), before, "{bytes:#x} bytes, {live} live");
    }
}

#[test]
fn devices_of_32_bits_take_no_lock_either() {
    let iovas = allocator(1 << 48);
    let last = Iova(u64::from(u32::MAX));
    let warm = iovas.alloc(PAGE, PAGE, last).unwrap();
    iovas.free(warm).unwrap();
    let before = LOCKS.get();
    for _ in 0..100 {
        let held: Vec<_> = (0..32).map(|_| iovas.alloc(PAGE, PAGE, last).unwrap()).collect();
        assert!(held.iter().all(|span| span.last() <= last));
        held.into_iter().for_each(|span| iovas.free(span).unwrap());
    }
    assert_eq!(LOCKS.get(), before);
}

#[test]
fn large_ranges_are_at_hand_if_they_are_of_a_size_that_is_kept() {
    let iovas = allocator(1 << 48);
    let low = Iova(u64::from(u32::MAX));
    for (pages, limit, at_hand) in [
        (64, Iova(u64::MAX), true),
        (512, Iova(u64::MAX), true),
        (65, Iova(u64::MAX), false),
        (1024, Iova(u64::MAX), false),
        (64, low, false),
    ] {
        let ranges =
            || -> Vec<_> { (0..15).map(|_| iovas.alloc(pages * PAGE, PAGE, limit).unwrap()).collect() };
        ranges().into_iter().for_each(|span| iovas.free(span).unwrap());
        let before = LOCKS.get();
        let held = ranges();
        assert!(held.iter().all(|span| span.bytes == pages * PAGE && span.last() <= limit));
        assert_eq!(LOCKS.get() == before, at_hand, "{pages} pages up to {limit:?}");
        assert_eq!(iovas.in_use(), 15 * pages * PAGE, "no more is taken than was asked for");
        held.into_iter().for_each(|span| iovas.free(span).unwrap());
    }
    iovas.trim();
    assert_eq!(iovas.in_use(), 0);
}

/// What CPUs keep at hand is an eighth of what is left of the aperture, and not of what it once was.
#[test]
fn an_aperture_that_was_lowered_to_a_small_one_is_exact() {
    let iovas = allocator(1 << 48);
    let warm = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
    iovas.free(warm).unwrap();
    iovas.with_tree(|tree| tree.lower(Iova(64 * PAGE - 1))).unwrap();
    for cpu in 0..CPUS {
        CPU.set(cpu);
        let held: Vec<_> = (1..64).map(|_| iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap()).collect();
        assert!(iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).is_err());
        held.into_iter().for_each(|span| iovas.free(span).unwrap());
    }
    CPU.set(0);
}

#[test]
fn neighbours_come_one_after_the_other() {
    let iovas = allocator(1 << 48);
    let spans: Vec<_> = (0..64).map(|_| iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap()).collect();
    assert!(spans.windows(2).all(|pair| pair[1].start.0 == pair[0].start.0 + PAGE), "{spans:?}");
}

#[test]
fn the_lower_four_gigabytes_are_left_to_those_who_need_them() {
    let iovas = allocator(1 << 48);
    let last = Iova(u64::from(u32::MAX));
    for bytes in [PAGE, 3 * PAGE, 100 * PAGE] {
        let wide = iovas.alloc(bytes, PAGE, Iova(u64::MAX)).unwrap();
        let narrow = iovas.alloc(bytes, PAGE, last).unwrap();
        assert!(wide.start > last && narrow.last() <= last, "{wide} {narrow}");
        assert_eq!((wide.bytes, narrow.bytes), (bytes, bytes));
        iovas.free(wide).unwrap();
        iovas.free(narrow).unwrap();
        let again = iovas.alloc(bytes, PAGE, last).unwrap();
        assert!(again.last() <= last, "what was freed above is not given to who cannot reach it: {again}");
        iovas.free(again).unwrap();
    }
    // A limit that lies between: below 4 GiB while there is room, up to the limit then, beyond never.
    let odd = Iova((8 << 30) - 1);
    let got = iovas.alloc(PAGE, PAGE, odd).unwrap();
    assert!(got.last() <= odd);
    assert_eq!(iovas.in_use(), PAGE);
}

#[test]
fn a_small_aperture_is_exact() {
    let iovas = allocator(64 * PAGE);
    let mut held: Vec<_> = (1..64).map(|_| iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap()).collect();
    let none = iovas.alloc(PAGE, PAGE, Iova(u64::MAX));
    assert_eq!(none, Err(IovaError::Exhausted { bytes: PAGE, limit: Iova(u64::MAX) }));
    iovas.free(held.pop().unwrap()).unwrap();
    CPU.set(1);
    assert!(iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).is_ok(), "what one CPU freed another one has");
    CPU.set(0);
}

/// A device that reaches some of what is above 4 GiB has that too, once nothing below is left.
#[test]
fn who_reaches_beyond_four_gigabytes_is_given_that() {
    let (base, bytes) = ((1u64 << 32) - (16 << 20), 64u64 << 20);
    let iovas = allocator_from(span(base, bytes), base + bytes);
    let limit = Iova((1 << 32) + 2 * PAGE - 1);
    let mut got: Vec<_> =
        std::iter::from_fn(|| iovas.alloc(PAGE, PAGE, limit).ok()).map(|span| span.start.0).collect();
    got.sort_unstable();
    assert!(got.into_iter().eq((base..=limit.0).step_by(PAGE as usize)));
}

/// Those who reach everything have what is below the start first, sizes that are kept at hand and others; devices of 32 bits
/// have the top of what they reach.
#[test]
fn allocations_begin_below_the_start() {
    let start = (1 << 47) - (37 << 24);
    let iovas = allocator_from(span(0, 1 << 48), start);
    let low = Iova(u64::from(u32::MAX));
    for bytes in [PAGE, 5 * PAGE, 64 * PAGE, 100 * PAGE] {
        let near = start - (1 << 26)..start;
        let got = iovas.alloc(bytes, PAGE, Iova(u64::MAX)).unwrap();
        assert!(near.contains(&got.start.0) && got.last().0 < start, "{got}");
        let narrow = iovas.alloc(bytes, PAGE, low).unwrap();
        assert!((low.0 - (1 << 26)..=low.0).contains(&narrow.last().0), "{narrow}");
    }
    // Of an aperture that ends below 4 GiB it is the same with all of it.
    let iovas = allocator_from(span(0, 1 << 31), 1 << 30);
    let got = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
    assert!(((1 << 30) - (1 << 23)..1 << 30).contains(&got.start.0), "{got}");
}

#[test]
fn what_other_cpus_have_at_hand_comes_back_by_trim() {
    let iovas = allocator(1 << 32);
    for cpu in 0..CPUS {
        CPU.set(cpu);
        let held: Vec<_> = (0..300).map(|_| iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap()).collect();
        held.into_iter().for_each(|span| iovas.free(span).unwrap());
    }
    CPU.set(0);
    assert_eq!(iovas.in_use(), 0);
    let all = (1 << 32) - PAGE;
    assert!(matches!(iovas.alloc(all, PAGE, Iova(u64::MAX)), Err(IovaError::Exhausted { .. })));
    iovas.trim();
    // Nothing is lost and nothing is in pieces: all but the page at zero is one range.
    let whole = iovas.alloc(all, PAGE, Iova(u64::MAX)).unwrap();
    iovas.free(whole).unwrap();
    assert_eq!(iovas.free(whole), Err(IovaError::NotAllocated(whole)));
}

#[test]
fn what_is_reserved_is_taken_from_what_is_at_hand() {
    let iovas = allocator(1 << 48);
    let first = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
    // The next ones are at hand, and are what is reserved now.
    let next = span(first.start.0 + PAGE, 16 * PAGE);
    let reserved = iovas.with_tree(|tree| tree.reserve(next)).unwrap();
    for _ in 0..200 {
        let got = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
        assert!(!got.overlaps(&next), "{got}");
    }
    assert_eq!(iovas.with_tree(|tree| tree.reserve(first)), Err(IovaError::InUse(first)));
    iovas.with_tree(|tree| tree.undo(reserved));
}

#[test]
fn a_lowered_aperture_is_kept_at_hand_below_its_end() {
    let iovas = allocator(1 << 48);
    iovas.with_tree(|tree| tree.lower(Iova(u64::from(u32::MAX)))).unwrap();
    let warm = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
    assert!(warm.last().0 <= u64::from(u32::MAX));
    iovas.free(warm).unwrap();
    let before = LOCKS.get();
    for _ in 0..100 {
        let got = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
        iovas.free(got).unwrap();
    }
    assert_eq!(LOCKS.get(), before);
}

/// A device with fewer address bits than its address space has never gets what it cannot reach, whatever the end of the
/// aperture does meanwhile.
#[test]
fn a_limit_holds_while_the_aperture_moves() {
    let iovas = Arc::new(allocator(1 << 47));
    let limit = Iova((1 << 39) - 1);
    thread::scope(|scope| {
        let done = Arc::new(AtomicBool::new(false));
        let (all, stop) = (iovas.clone(), done.clone());
        let mover = scope.spawn(move || {
            CPU.set(2);
            while !stop.load(Ordering::Relaxed) {
                if let Ok(lowered) = all.with_tree(|tree| tree.lower(limit)) {
                    all.with_tree(|tree| tree.undo(lowered));
                    // Somebody who reaches everything fills a stock with what is beyond the limit.
                    let high = all.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
                    all.free(high).unwrap();
                }
            }
        });
        CPU.set(0);
        for _ in 0..20_000 {
            let got = iovas.alloc(PAGE, PAGE, limit).unwrap();
            assert!(got.last() <= limit, "{got}");
            iovas.free(got).unwrap();
            let wide = iovas.alloc(PAGE, PAGE, Iova(u64::MAX)).unwrap();
            iovas.free(wide).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        mover.join().unwrap();
    });
}

/// Four threads, of which two share a CPU and one has a number beyond those announced, pass ranges on to each other, while
/// a fifth takes all of it back and reserves now and then: nothing is given out twice, and at the end nothing is missing.
#[test]
fn nothing_is_given_out_twice() {
    const PAGES: usize = 1 << 20;
    let iovas = Arc::new(allocator(PAGES as u64 * PAGE));
    let owned: Arc<Vec<AtomicUsize>> = Arc::new((0..PAGES).map(|_| AtomicUsize::new(0)).collect());
    let pages = |span: Span<Iova>| (span.start.0 / PAGE) as usize..=(span.last().0 / PAGE) as usize;
    let (send, receive): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel::<Span<Iova>>()).unzip();
    thread::scope(|scope| {
        let done = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = receive
            .into_iter()
            .enumerate()
            .map(|(me, receive)| {
                let (iovas, owned, next) = (iovas.clone(), owned.clone(), send[(me + 1) % 4].clone());
                scope.spawn(move || {
                    CPU.set([0, 1, 1, CPUS - 1][me]);
                    let mut seed = me as u64 + 1;
                    for _ in 0..20_000 {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        let bytes = PAGE * [1, 1, 1, 2, 3, 8, 32, 33][(seed % 8) as usize];
                        if let Ok(got) = iovas.alloc(bytes, PAGE, Iova(u64::MAX)) {
                            for page in pages(got) {
                                assert_eq!(owned[page].swap(me + 1, Ordering::AcqRel), 0, "page {page}");
                            }
                            next.send(got).expect("the other end is there until all are done");
                        }
                        while let Ok(gone) = receive.try_recv() {
                            pages(gone).for_each(|page| owned[page].store(0, Ordering::Release));
                            iovas.free(gone).unwrap();
                        }
                    }
                    drop(next);
                    receive
                })
            })
            .collect();
        let (all, stop) = (iovas.clone(), done.clone());
        let disturber = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let reserved = all.with_tree(|tree| tree.reserve(span(0x10_0000, 0x10_0000)));
                if let Ok(reserved) = reserved {
                    all.with_tree(|tree| tree.undo(reserved));
                }
                thread::yield_now();
            }
        });
        drop(send);
        let left: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        for gone in left.iter().flat_map(|receive| receive.try_iter()) {
            iovas.free(gone).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        disturber.join().unwrap();
    });
    iovas.trim();
    assert_eq!(iovas.in_use(), 0);
    assert!(iovas.alloc((PAGES as u64 - 1) * PAGE, PAGE, Iova(u64::MAX)).is_ok());
}

/// Ranges that are freed together come back as if one by one: more than there is room for, below 4 GiB and above, lengths
/// that are not kept, and one that was not allocated.
#[test]
fn what_is_freed_together_is_free() {
    CPU.set(0);
    for (bytes, count, limit) in [
        (PAGE, 500, u64::MAX),
        (3 * PAGE, 200, u64::MAX),
        (PAGE, 300, u64::from(u32::MAX)),
        (33 * PAGE, 20, u64::MAX),
        (512 * PAGE, 80, u64::MAX),
        (PAGE, 0, u64::MAX),
    ] {
        let iovas = allocator(8 << 30);
        let got: Vec<Iova> =
            (0..count).map(|_| iovas.alloc(bytes, PAGE, Iova(limit)).unwrap().start).collect();
        let other = iovas.alloc(bytes, PAGE, Iova(u64::MAX)).unwrap();
        let in_use = iovas.in_use();
        let (first, rest) = got.split_at(got.len() / 3);
        iovas.free_all(bytes, first).unwrap();
        assert_eq!(iovas.in_use(), in_use - first.len() as u64 * rounded(bytes));
        // What is at hand is given out again, once each.
        let again: BTreeSet<Iova> =
            first.iter().map(|_| iovas.alloc(bytes, PAGE, Iova(limit)).unwrap().start).collect();
        assert!(
            again.len() == first.len() && rest.iter().chain([&other.start]).all(|one| !again.contains(one))
        );
        iovas.free_all(bytes, &again.into_iter().collect::<Vec<_>>()).unwrap();
        iovas.free_all(bytes, rest).unwrap();
        iovas.free(other).unwrap();
        iovas.trim();
        assert_eq!(iovas.in_use(), 0);
        assert!(iovas.with_tree(|tree| tree.alloc((8 << 30) - PAGE, PAGE, Iova(u64::MAX))).is_ok());
    }
    let iovas = allocator(8 << 30);
    let bytes = 33 * PAGE;
    let [one, two] = [(); 2].map(|()| iovas.alloc(bytes, PAGE, Iova(u64::MAX)).unwrap().start);
    let wrong = Iova(PAGE);
    let not = IovaError::NotAllocated(Span { start: wrong, bytes });
    assert_eq!(iovas.free_all(bytes, &[one, wrong, two]), Err(not));
    assert_eq!(iovas.in_use(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Cpu(usize),
    Alloc { bytes: u64, align: u32, limit: u64 },
    Free(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![4 => 1..0x2000u64, 2 => 1..0x2_0000u64, 1 => 1..0x40_0000u64];
    let limit = prop_oneof![3 => Just(u64::MAX), 2 => Just(u64::from(u32::MAX)), 1 => 0..(9u64 << 30)];
    let step = prop_oneof![
        1 => (0..CPUS).prop_map(Step::Cpu),
        8 => (bytes, 0..16u32, limit).prop_map(|(bytes, align, limit)| Step::Alloc { bytes, align, limit }),
        6 => any::<usize>().prop_map(Step::Free),
        1 => Just(Step::Trim),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Wherever allocations begin, one CPU gets every page there is, on both sides of 4 GiB and of the start, none of them
    /// twice and none that is reserved, and then the whole as one range.
    #[test]
    fn all_is_allocated_before_exhaustion(
        start in 0..(68u64 << 20),
        reserved in 0..(64u64 << 20),
        limit in 0..(68u64 << 20),
    ) {
        let (base, bytes) = ((1u64 << 32) - (16 << 20), 64u64 << 20);
        let iovas = allocator_from(span(base, bytes), base + start);
        CPU.set(0);
        let reserved = span((base + reserved) & !(PAGE - 1), PAGE);
        let kept = iovas.with_tree(|tree| tree.reserve(reserved)).unwrap();
        // Those who reach less get all that they reach, and others the rest.
        let mut got = BTreeSet::new();
        let mut reached = 0;
        for limit in [base + limit, u64::MAX] {
            while let Ok(page) = iovas.alloc(PAGE, PAGE, Iova(limit)) {
                prop_assert!(page.last().0 <= limit && page != reserved && got.insert(page.start));
            }
            let last = limit.min(base + bytes - 1);
            reached = (last + 1 - base) / PAGE - u64::from(reserved.last().0 <= last);
            prop_assert_eq!(got.len() as u64, reached);
        }
        prop_assert_eq!(reached, bytes / PAGE - 1);
        got.into_iter().for_each(|page| iovas.free(Span { start: page, bytes: PAGE }).unwrap());
        iovas.with_tree(|tree| tree.undo(kept));
        prop_assert_eq!(iovas.alloc(bytes, PAGE, Iova(u64::MAX)), Ok(span(base, bytes)));
    }

    /// Whatever CPUs do: ranges do not overlap, limits and alignments hold, what is in use is counted, and all comes back.
    #[test]
    fn behaves_as_a_plain_list(start in prop_oneof![Just(4u64 << 30), 0..9u64 << 30], steps in steps()) {
        let whole = 8u64 << 30;
        let iovas = allocator_from(span(0, whole), start);
        let mut live: Vec<Span<Iova>> = Vec::new();
        CPU.set(0);
        for step in steps {
            match step {
                Step::Cpu(cpu) => CPU.set(cpu),
                Step::Trim => iovas.trim(),
                Step::Free(_) if live.is_empty() => {}
                Step::Free(n) => iovas.free(live.swap_remove(n % live.len())).unwrap(),
                Step::Alloc { bytes, align, limit } => match iovas.alloc(bytes, 1 << align, Iova(limit)) {
                    Ok(got) => {
                        prop_assert_eq!(got.bytes, bytes.next_multiple_of(PAGE));
                        prop_assert!(got.start.0.is_multiple_of(1 << align) && got.last().0 <= limit && got.start.0 >= PAGE);
                        let held = span(got.start.0, rounded(bytes));
                        prop_assert!(live.iter().all(|other| !other.overlaps(&held)));
                        live.push(got);
                    }
                    // So little of so much is used that only a limit can be in the way.
                    Err(error) => prop_assert!(limit < 64 << 20, "{error}"),
                },
            }
            prop_assert_eq!(iovas.in_use(), live.iter().map(|span| rounded(span.bytes)).sum::<u64>());
        }
        live.into_iter().for_each(|span| iovas.free(span).unwrap());
        iovas.trim();
        prop_assert!(iovas.with_tree(|tree| tree.alloc(whole - PAGE, PAGE, Iova(u64::MAX))).is_ok());
        CPU.set(0);
    }
}
