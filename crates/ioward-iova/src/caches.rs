//! The allocator: what each CPU has at hand, a depot between them, and the tree below.

use crate::{
    IovaError, IovaTree,
    cell::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    stock::{CHUNK, CLASSES, Chunk, ROOM, Stock, ZONES},
};
use alloc::{boxed::Box, vec::Vec};
use core::{fmt, ptr};
use ioward_types::{Iova, Mutex, Platform, Span};

/// The first byte that an address of 32 bits does not reach.
const LOW_END: u64 = 1 << 32;
/// Ranges below 4 GiB, and those above.
const LOW: usize = 0;
const HIGH: usize = 1;
/// How many chunks of a size the depot keeps before it gives ranges back to the tree.
const DEPOT: usize = 32;
/// What all CPUs together may have at hand is this part of the aperture at most.
const SHARE: u64 = 8;
/// A run that is cut into ranges takes at most this part of what is free.
const RUN_SHARE: u64 = 64;
/// Granules that one CPU holds with one range in each stack.
const ONE_OF_EACH: u64 = ((1 << CLASSES) - 1) * ZONES as u64;

/// The size, of those that are kept at hand, of so many granules and one more.
const CLASS_OF: [u8; 1 << (CLASSES - 1)] = {
    let mut classes = [0; 1 << (CLASSES - 1)];
    let mut more = 0;
    while more < classes.len() {
        classes[more] = (usize::BITS - more.leading_zeros()) as u8;
        more += 1;
    }
    classes
};

/// The chunks of each zone and size.
type Depot = [[Vec<Chunk>; CLASSES]; ZONES];

/// What CPUs share.
struct Shared {
    tree: IovaTree,
    depot: Depot,
}

/// A place for each CPU's stock, a cache line apart.
#[repr(align(128))]
struct Slot(AtomicPtr<Stock>);

/// IOVAs for many CPUs at once.
///
/// Ranges of up to 32 granules are rounded up to a power of two and kept at hand by each CPU, under the platform's
/// [pin](Platform::pin): allocating and freeing one takes no lock and no locked instruction. Every 64 calls or so ranges
/// go to or come from a depot that all share, under the platform's lock, and the depot takes runs from an [`IovaTree`],
/// cuts them, and gives back what is too much. Longer ranges, odd limits and alignments beyond the size go to the tree.
///
/// CPUs together keep at most an eighth of the aperture at hand, so a small aperture has small stocks or none, and is
/// exact.
pub struct IovaAllocator<P: Platform> {
    platform: P,
    /// The granule is `1 << shift` bytes.
    shift: u32,
    /// The last byte of the aperture.
    last: AtomicU64,
    /// The last byte of the aperture is above 4 GiB. Changes with `last`.
    high: AtomicBool,
    /// How many ranges a stack may hold, at most [`ROOM`]; zero where nothing is kept at hand.
    room: usize,
    slots: Box<[Slot]>,
    /// Somebody has all stocks to themselves, or is about to.
    stopped: AtomicBool,
    shared: Mutex<P::Lock, Shared>,
}

impl<P: Platform> IovaAllocator<P> {
    /// All of `aperture` but the page at zero, as [`IovaTree::new`] has it. CPUs from [`Platform::cpus`] on keep nothing at
    /// hand.
    pub fn new(platform: P, aperture: Span<Iova>, granule: u64) -> Result<Self, IovaError> {
        let tree = IovaTree::new(aperture, granule)?;
        let cpus = platform.cpus();
        let shift = granule.trailing_zeros();
        let share = (aperture.bytes >> shift) / SHARE / ONE_OF_EACH;
        // Never more than a stack has room for: `push` relies on it.
        let room = share.checked_div(cpus as u64).map_or(0, |room| room.min(ROOM as u64)) as usize;
        let slots = if room == 0 { 0 } else { cpus };
        Ok(Self {
            platform,
            shift,
            last: AtomicU64::new(aperture.last().0),
            high: AtomicBool::new(aperture.last().0 >= LOW_END),
            room,
            slots: (0..slots).map(|_| Slot(AtomicPtr::new(ptr::null_mut()))).collect(),
            stopped: AtomicBool::new(false),
            shared: Mutex::new(Shared { tree, depot: Default::default() }),
        })
    }

    /// The range that allocations come from, reserved parts included.
    pub fn aperture(&self) -> Span<Iova> {
        self.shared.lock().tree.aperture()
    }

    /// The unit of allocation, in bytes.
    pub fn granule(&self) -> u64 {
        1 << self.shift
    }

    /// The size, of those that are kept at hand, that so many bytes are rounded up to.
    #[inline(always)]
    fn class(&self, bytes: u64) -> Option<usize> {
        if self.room == 0 {
            return None; // nothing is kept at hand, so nothing need be rounded
        }
        let more = bytes.wrapping_sub(1) >> self.shift;
        (more < 1 << (CLASSES - 1)).then(|| (u64::BITS - more.leading_zeros()) as usize)
    }

    #[inline(always)]
    fn class_bytes(&self, class: usize) -> u64 {
        1 << (self.shift as usize + class)
    }

    /// `bytes` bytes from `start` on, rounded up to the granule as its owner sees it.
    #[inline(always)]
    fn span(&self, start: u64, bytes: u64) -> Span<Iova> {
        let more = self.granule() - 1;
        Span { start: Iova(start), bytes: bytes.wrapping_add(more) & !more }
    }

    /// What the tree has of a span that was given out: a size that is kept at hand is whole there.
    fn whole(&self, span: Span<Iova>) -> Span<Iova> {
        let bytes = self.class(span.bytes).map_or(span.bytes, |class| self.class_bytes(class));
        Span { start: span.start, bytes }
    }

    /// Bytes that are allocated. While other CPUs allocate and free, what it was a moment ago.
    pub fn in_use(&self) -> u64 {
        let mut shared = self.shared.lock();
        let Shared { tree, depot } = &mut *shared;
        let at_hand: u64 = (0..CLASSES)
            .map(|class| {
                let chunks = depot.iter_mut().flat_map(|zone| &mut zone[class]);
                let kept: u64 = chunks.map(|chunk| chunk.starts().len() as u64).sum();
                let stocks: u64 = self.stocks().map(|stock| stock.count(class)).sum();
                (kept + stocks) * self.class_bytes(class)
            })
            .sum();
        tree.in_use().saturating_sub(at_hand)
    }

    fn stocks(&self) -> impl Iterator<Item = &Stock> {
        self.slots.iter().filter_map(|slot| {
            let stock = slot.0.load(Ordering::Acquire);
            // SAFETY: it came from a Box that is given up when the allocator is dropped.
            (!stock.is_null()).then(|| unsafe { &*stock })
        })
    }

    /// `bytes` bytes, rounded up to the granule, the first a multiple of `align` (a power of two), the last at or below `limit`.
    ///
    /// Does not sleep. [`IovaError::Exhausted`] is exact but for what other CPUs have at hand: who may sleep can take that
    /// back with [`IovaAllocator::trim`] and try again.
    #[inline]
    pub fn alloc(&self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        match self.alloc_at_hand(bytes, align, limit) {
            Some(span) => Ok(span),
            None => self.alloc_anywhere(bytes, align, limit),
        }
    }

    /// What [`IovaAllocator::alloc`] gives most who ask: a range that this CPU has at hand, for a device that reaches all of
    /// the aperture. `None`: nothing has changed.
    #[inline(always)]
    fn alloc_at_hand(&self, bytes: u64, align: u64, limit: Iova) -> Option<Span<Iova>> {
        if align != self.granule() {
            return None;
        }
        let (pin, cpu) = self.platform.pin();
        // SAFETY: both come from the allocator's own platform.
        unsafe { self.alloc_pinned(&pin, cpu, bytes, limit) }
    }

    /// A range that this CPU has at hand, for whoever does more under one pin: `bytes` bytes, rounded up to the granule and
    /// aligned to it, for a device that reaches all of the aperture. `None`, and nothing has changed, where that is not so:
    /// [`IovaAllocator::alloc`] does what can be done.
    ///
    /// # Safety
    /// `pin` and `cpu` come from one call of [`Platform::pin`] on the platform that the allocator was made with.
    #[inline(always)]
    pub unsafe fn alloc_pinned(
        &self,
        pin: &P::Pin,
        cpu: usize,
        bytes: u64,
        limit: Iova,
    ) -> Option<Span<Iova>> {
        let more = bytes.wrapping_sub(1) >> self.shift;
        if more >= CLASS_OF.len() as u64 {
            return None;
        }
        let class = usize::from(CLASS_OF[more as usize]);
        let stock = self.mine(pin, cpu)?;
        // After the look at `stopped`: the end of the aperture changes only while all are stopped.
        if limit.0 < self.last.load(Ordering::Relaxed) {
            return None;
        }
        let zone = if self.high.load(Ordering::Relaxed) { HIGH } else { LOW };
        // SAFETY: `mine` gives it to this CPU alone while it is pinned.
        let start = unsafe { stock.pop(zone, class) }?;
        Some(self.span(start, bytes))
    }

    /// [`IovaAllocator::alloc`] for whoever asks.
    #[inline(never)]
    fn alloc_anywhere(&self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        if let Some(class) = self.class(bytes) {
            let size = self.class_bytes(class);
            if align <= size && align.is_power_of_two() {
                let (pin, cpu) = self.platform.pin();
                let stock = self.mine(&pin, cpu);
                // After the look at `stopped`: the end of the aperture changes only while all are stopped.
                let Some(zone) = self.zone(limit) else {
                    drop(pin);
                    return self.alloc_uncached(bytes, align, limit);
                };
                // SAFETY: `mine` gives it to this CPU alone while it is pinned.
                let start = match stock.and_then(|stock| unsafe { stock.pop(zone, class) }) {
                    Some(start) => start,
                    None => self.restock(&pin, cpu, class, limit)?,
                };
                return Ok(self.span(start, bytes));
            }
        }
        self.alloc_uncached(bytes, align, limit)
    }

    /// Gives back what [`IovaAllocator::alloc`] gave, whole. Does not sleep.
    ///
    /// A range of a size that is kept at hand is not looked up: who frees one that is not allocated makes one range be
    /// allocated twice. Longer ones are [`IovaError::NotAllocated`] then.
    #[inline]
    pub fn free(&self, span: Span<Iova>) -> Result<(), IovaError> {
        if self.free_to_hand(span) {
            return Ok(());
        }
        self.free_anywhere(span)
    }

    /// What [`IovaAllocator::free`] does with most ranges: this CPU keeps it at hand. False: nothing has changed.
    #[inline(always)]
    fn free_to_hand(&self, span: Span<Iova>) -> bool {
        let (pin, cpu) = self.platform.pin();
        // SAFETY: both come from the allocator's own platform.
        unsafe { self.free_pinned(&pin, cpu, span) }
    }

    /// As [`IovaAllocator::free`], for whoever does more under one pin, if this CPU can keep the range at hand. False, and
    /// nothing has changed, where it cannot: [`IovaAllocator::free`] takes it.
    ///
    /// # Safety
    /// As for [`IovaAllocator::alloc_pinned`].
    #[inline(always)]
    pub unsafe fn free_pinned(&self, pin: &P::Pin, cpu: usize, span: Span<Iova>) -> bool {
        let more = span.bytes.wrapping_sub(1) >> self.shift;
        if more >= CLASS_OF.len() as u64 {
            return false;
        }
        let class = usize::from(CLASS_OF[more as usize]);
        let zone = if span.start.0 < LOW_END { LOW } else { HIGH };
        // Where nothing is kept at hand no CPU has a stock.
        let Some(stock) = self.mine(pin, cpu) else { return false };
        // SAFETY: `mine` gives it to this CPU alone while it is pinned.
        unsafe { stock.push(zone, class, span.start.0, self.room) }
    }

    /// [`IovaAllocator::free`] for whatever there is.
    #[inline(never)]
    fn free_anywhere(&self, span: Span<Iova>) -> Result<(), IovaError> {
        let Some(class) = self.class(span.bytes) else { return self.shared.lock().tree.free(span) };
        let zone = if span.start.0 < LOW_END { LOW } else { HIGH };
        let (pin, cpu) = self.platform.pin();
        let stock = self.mine(&pin, cpu);
        // SAFETY: `mine` gives it to this CPU alone while it is pinned.
        if stock.is_some_and(|stock| unsafe { stock.push(zone, class, span.start.0, self.room) }) {
            return Ok(());
        }
        self.unload(&pin, cpu, zone, class, span)
    }

    /// Where ranges for a device that reaches `limit` are kept; nowhere for odd limits.
    #[inline(always)]
    fn zone(&self, limit: Iova) -> Option<usize> {
        let last = self.last.load(Ordering::Relaxed);
        if limit.0 >= last {
            Some(if last >= LOW_END { HIGH } else { LOW })
        } else {
            (limit.0 >= LOW_END - 1).then_some(LOW)
        }
    }

    /// This CPU's stock; none before its first use, of a CPU beyond those that were announced, or while all are stopped.
    #[inline(always)]
    fn mine<'a>(&'a self, _pin: &'a P::Pin, cpu: usize) -> Option<&'a Stock> {
        if self.stopped.load(Ordering::Acquire) {
            return None;
        }
        let stock = self.slots.get(cpu)?.0.load(Ordering::Relaxed);
        // SAFETY: only this CPU, pinned, has put it there, from a Box that is given up when the allocator is dropped.
        (!stock.is_null()).then(|| unsafe { &*stock })
    }

    /// [`IovaAllocator::mine`], made where it is missing.
    fn make_mine<'a>(&'a self, pin: &'a P::Pin, cpu: usize) -> Option<&'a Stock> {
        if self.stopped.load(Ordering::Acquire) {
            return None;
        }
        let slot = &self.slots.get(cpu)?.0;
        if slot.load(Ordering::Relaxed).is_null() {
            slot.store(Box::into_raw(Stock::new()?), Ordering::Release);
        }
        self.mine(pin, cpu)
    }

    /// The stack is empty: a chunk of the depot's, or a new run cut into ranges. Gives the first byte of one.
    #[cold]
    fn restock(&self, pin: &P::Pin, cpu: usize, class: usize, limit: Iova) -> Result<u64, IovaError> {
        let size = self.class_bytes(class);
        let stock = self.make_mine(pin, cpu);
        // As in `alloc`: only now does the end of the aperture stay what it is, unless all are stopped.
        let zone = self.zone(limit);
        let mut shared = self.shared.lock();
        let Some((stock, zone)) = stock.zip(zone) else {
            return Ok(shared.tree.alloc(size, size, limit)?.start.0);
        };
        // The end may have moved since the stack of another zone was found empty.
        // SAFETY: this CPU's own.
        if let Some(start) = unsafe { stock.pop(zone, class) } {
            return Ok(start);
        }
        if let Some(chunk) = shared.depot[zone][class].pop() {
            // SAFETY: this CPU's own, and it is empty.
            unsafe { stock.fill(zone, class, &chunk) };
        } else {
            let kept = Iova(if zone == LOW { limit.0.min(LOW_END - 1) } else { limit.0 });
            let run = match self.run(&mut shared.tree, size, kept) {
                Ok(run) => run,
                Err(_) => {
                    // What is kept for others comes first, then what this CPU keeps of other sizes, then what reaches
                    // beyond the zone.
                    shared.empty_depot(self.shift);
                    // SAFETY: this CPU's own.
                    unsafe { self.give_up(stock, &mut shared.tree) };
                    match self.run(&mut shared.tree, size, kept) {
                        Ok(run) => run,
                        Err(_) => return Ok(shared.tree.alloc(size, size, limit)?.start.0),
                    }
                }
            };
            // The highest ones at the bottom: the next ones out follow each other upward.
            for start in (0..run.bytes / size).rev().map(|index| run.start.0 + index * size) {
                // SAFETY: this CPU's own.
                if !unsafe { stock.push(zone, class, start, self.room) } {
                    // There is less room than a run has ranges.
                    shared.tree.free(Span { start: Iova(start), bytes: size })?;
                }
            }
        }
        // SAFETY: this CPU's own.
        unsafe { stock.pop(zone, class) }.ok_or(IovaError::Exhausted { bytes: size, limit })
    }

    /// Ranges of `size` bytes that follow each other: a chunk of them, fewer where little is free.
    fn run(&self, tree: &mut IovaTree, size: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let most = (tree.free_bytes() / RUN_SHARE / size).min(self.room.min(CHUNK) as u64);
        if most > 1
            && let Ok(run) = tree.alloc(most * size, size, limit)
        {
            return Ok(run);
        }
        tree.alloc(size, size, limit)
    }

    /// The stack is full: a chunk of it goes to the depot. Or there is none, and the tree has the range back.
    #[cold]
    fn unload(
        &self,
        pin: &P::Pin,
        cpu: usize,
        zone: usize,
        class: usize,
        span: Span<Iova>,
    ) -> Result<(), IovaError> {
        let Some(stock) = self.make_mine(pin, cpu) else {
            return self.shared.lock().tree.free(self.whole(span));
        };
        // SAFETY: this CPU's own.
        if unsafe { stock.push(zone, class, span.start.0, self.room) } {
            return Ok(()); // it was missing, and not full
        }
        // SAFETY: this CPU's own.
        let chunk = unsafe { stock.spill(zone, class, self.room.div_ceil(2)) };
        // SAFETY: this CPU's own, and there is room now.
        let pushed = unsafe { stock.push(zone, class, span.start.0, self.room) };
        debug_assert!(pushed);
        let mut shared = self.shared.lock();
        if shared.depot[zone][class].len() < DEPOT {
            shared.depot[zone][class].push(chunk);
            Ok(())
        } else {
            give_back(&mut shared.tree, self.class_bytes(class), chunk)
        }
    }

    /// Ranges of sizes, limits and alignments that are not kept at hand. Rounded and aligned as others are, since what is
    /// freed does not tell how it was asked for.
    #[cold]
    fn alloc_uncached(&self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let size = self.class(bytes).map(|class| self.class_bytes(class));
        let (whole, align) =
            size.filter(|_| align.is_power_of_two()).map_or((bytes, align), |size| (size, align.max(size)));
        let mut shared = self.shared.lock();
        let found = match shared.tree.alloc(whole, align, limit) {
            Err(IovaError::Exhausted { .. }) => {
                shared.empty_depot(self.shift);
                shared.tree.alloc(whole, align, limit)
            }
            found => found,
        };
        Ok(self.span(found?.start.0, bytes))
    }

    /// Gives everything that this CPU has at hand to the tree.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    unsafe fn give_up(&self, stock: &Stock, tree: &mut IovaTree) {
        for (zone, class) in (0..ZONES).flat_map(|zone| (0..CLASSES).map(move |class| (zone, class))) {
            loop {
                // SAFETY: as promised by the caller.
                let chunk = unsafe { stock.spill(zone, class, CHUNK) };
                if chunk.is_empty() {
                    break;
                }
                let result = give_back(tree, self.class_bytes(class), chunk);
                debug_assert!(result.is_ok(), "what is at hand is allocated in the tree");
            }
        }
    }

    /// The tree itself, with everything in it that nobody has allocated. Waits for [`Platform::synchronize`], so it may
    /// sleep; meanwhile others allocate and free by the tree. One caller at a time, the others wait.
    pub fn with_tree<R>(&self, f: impl FnOnce(&mut IovaTree) -> R) -> R {
        while self.stopped.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            self.platform.relax();
        }
        // Who was pinned may have looked before; who is pinned from now on sees that all are stopped.
        self.platform.synchronize();
        // While all are stopped nobody fills anything again, so the lock need not be held over all of it.
        for stock in self.stocks() {
            // SAFETY: everybody is stopped, and this is the only one who stopped them.
            unsafe { self.give_up(stock, &mut self.shared.lock().tree) };
        }
        let result = {
            let mut shared = self.shared.lock();
            shared.empty_depot(self.shift);
            let result = f(&mut shared.tree);
            let last = shared.tree.aperture().last().0;
            self.last.store(last, Ordering::Relaxed);
            self.high.store(last >= LOW_END, Ordering::Relaxed);
            result
        };
        self.stopped.store(false, Ordering::Release);
        result
    }

    /// Gives what is kept at hand to the tree. May sleep.
    pub fn trim(&self) {
        self.with_tree(|_| ());
    }
}

impl Shared {
    fn empty_depot(&mut self, shift: u32) {
        for zone in &mut self.depot {
            for (class, chunks) in zone.iter_mut().enumerate() {
                // The room goes too: it is memory that nobody uses.
                for chunk in core::mem::take(chunks) {
                    let result = give_back(&mut self.tree, 1 << (shift as usize + class), chunk);
                    debug_assert!(result.is_ok(), "what the depot has is allocated in the tree");
                }
            }
        }
    }
}

/// Gives ranges of `size` bytes to the tree, those that follow each other at once.
fn give_back(tree: &mut IovaTree, size: u64, mut chunk: Chunk) -> Result<(), IovaError> {
    let starts = chunk.starts();
    starts.sort_unstable();
    let mut result = Ok(());
    for run in starts.chunk_by(|one, next| *next - *one == size) {
        let span = Span { start: Iova(run[0]), bytes: size * run.len() as u64 };
        result = result.and(tree.free(span));
    }
    result
}

impl<P: Platform> Drop for IovaAllocator<P> {
    fn drop(&mut self) {
        for slot in &self.slots {
            let stock = slot.0.load(Ordering::Acquire);
            if !stock.is_null() {
                // SAFETY: it came from a Box, and nobody uses an allocator that is being dropped.
                drop(unsafe { Box::from_raw(stock) });
            }
        }
    }
}

impl<P: Platform> fmt::Debug for IovaAllocator<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IovaAllocator")
            .field("granule", &self.granule())
            .field("room", &self.room)
            .field("cpus", &self.slots.len())
            .finish_non_exhaustive()
    }
}
