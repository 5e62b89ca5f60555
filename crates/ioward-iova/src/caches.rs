//! The allocator: what each CPU has at hand, a depot between them, and the tree below.

use crate::{
    IovaError, IovaTree,
    sizes::{LOW_END, Sizes, ZONES, Zone, room},
    stock::{CLASSES, Place, SMALL, Stock, most, nothing},
};
use alloc::{boxed::Box, vec::Vec};
use core::{
    array, fmt,
    num::NonZeroU64,
    ptr::{self, NonNull},
};
use ioward_types::{
    Iova, Mutex, Platform, Span,
    cell::{AtomicPtr, AtomicU64, Ordering},
    hint::{expected, likely, seldom},
};

/// How many times what a CPU moves at a time the depot keeps of a size before it gives ranges back to the tree.
const DEPOT: usize = 32;
/// A run that is cut into ranges takes at most this part of what is free.
const RUN_SHARE: u64 = 64;

/// First bytes of ranges of each zone and size; what came last is the first to go.
type Depot = [[Vec<u64>; CLASSES]; ZONES];

/// What CPUs share.
struct Shared {
    tree: IovaTree,
    depot: Depot,
    /// Somebody has all stocks to themselves, or is about to: gates are shut and stay so.
    stopped: bool,
}

/// What belongs to a CPU, some cache lines apart from what belongs to others.
#[repr(align(128))]
struct Slot {
    /// The stock of each zone, for its CPU; [`nothing`] while all are stopped, and before its first use. Changes under the
    /// lock.
    gates: [AtomicPtr<Stock>; ZONES],
    /// The same, stopped or not. From null to a stock once, under the lock.
    stocks: [AtomicPtr<Stock>; ZONES],
}

impl Slot {
    fn new() -> Self {
        let gates = array::from_fn(|_| AtomicPtr::new(nothing().as_ptr()));
        Self { gates, stocks: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }
}

/// Apart from what the lock's holder writes.
#[repr(align(128))]
struct Apart<T>(T);

/// IOVAs for many CPUs at once.
///
/// Ranges of up to 32 granules are rounded up to a power of two and kept at hand by each CPU, under the platform's
/// [pin](Platform::pin): allocating and freeing one takes no lock and no locked instruction. Every 162 calls or so ranges
/// go to or come from a depot that all share, under the platform's lock, and the depot takes runs from an [`IovaTree`],
/// cuts them, and gives back what is too much. Ranges of 64, 128, 256 and 512 granules are kept above 4 GiB, in smaller
/// numbers. Other lengths, odd limits and alignments beyond the size go to the tree. Nothing longer than 2 MiB is kept, and
/// nothing at all of a granule below 4 KiB.
///
/// CPUs together keep at most an eighth of the aperture at hand, so a small aperture has small stocks or none, and is
/// exact.
pub struct IovaAllocator<P: Platform> {
    platform: P,
    granule: u64,
    sizes: Sizes,
    slots: Box<[Slot]>,
    /// The first byte of the aperture.
    first: u64,
    /// The last byte of the aperture. Changes while all are stopped.
    last: AtomicU64,
    /// What is freed from here on belongs to [`Zone::Main`]. Changes with `last`.
    floor: AtomicU64,
    shared: Apart<Mutex<P::Lock, Shared>>,
}

impl<P: Platform> IovaAllocator<P> {
    /// All of `aperture` but the page at zero, as [`IovaTree::new`] has it. CPUs from [`Platform::cpus`] on keep nothing at
    /// hand.
    pub fn new(platform: P, aperture: Span<Iova>, granule: u64) -> Result<Self, IovaError> {
        let tree = IovaTree::new(aperture, granule)?;
        Ok(Self::over(platform, tree))
    }

    /// As [`IovaAllocator::new`], but what is at or above `start` is given out when nothing below will do, as
    /// [`IovaTree::with_start`] has it. So allocators of which each has another start give out other IOVAs first, and what
    /// is used for them (entries of a table) lies elsewhere in its page.
    pub fn with_start(
        platform: P,
        aperture: Span<Iova>,
        granule: u64,
        start: Iova,
    ) -> Result<Self, IovaError> {
        let tree = IovaTree::with_start(aperture, granule, start)?;
        Ok(Self::over(platform, tree))
    }

    fn over(platform: P, tree: IovaTree) -> Self {
        let (aperture, granule) = (tree.aperture(), tree.granule());
        let shared = Shared { tree, depot: Default::default(), stopped: false };
        let mut new = Self {
            granule,
            sizes: Sizes::of(granule.trailing_zeros()),
            slots: (0..platform.cpus()).map(|_| Slot::new()).collect(),
            platform,
            first: aperture.start.0,
            last: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            shared: Apart(Mutex::new(shared)),
        };
        new.ends_at(aperture.last().0);
        // Where not every size that is rounded to has room, nothing is kept at hand and nothing need be rounded. A granule is
        // looked for without a look at the sizes.
        if new.room(Zone::Main, SMALL - 1) == 0 || new.sizes.place(granule) != Some(Place::FIRST) {
            (new.slots, new.sizes) = (Box::new([]), Sizes::none());
        }
        new
    }

    /// The range that allocations come from, reserved parts included.
    pub fn aperture(&self) -> Span<Iova> {
        self.shared.0.lock().tree.aperture()
    }

    /// The unit of allocation, in bytes.
    pub fn granule(&self) -> u64 {
        self.granule
    }

    #[inline(always)]
    fn class_bytes(&self, class: usize) -> u64 {
        self.granule << class
    }

    /// `bytes` bytes from `start` on, rounded up to the granule as its owner sees it.
    #[inline(always)]
    fn span(&self, start: u64, bytes: u64) -> Span<Iova> {
        let more = self.granule - 1;
        Span { start: Iova(start), bytes: bytes.wrapping_add(more) & !more }
    }

    /// What the tree has of a span that was given out: a size that is kept at hand is whole there.
    fn whole(&self, span: Span<Iova>) -> Span<Iova> {
        let bytes = self.sizes.class(span.bytes).map_or(span.bytes, |class| self.class_bytes(class));
        Span { start: span.start, bytes }
    }

    /// Bytes that are allocated. While other CPUs allocate and free, what it was a moment ago.
    pub fn in_use(&self) -> u64 {
        let shared = self.shared.0.lock();
        let at_hand: u64 = (0..CLASSES)
            .map(|class| {
                let kept: usize = shared.depot.iter().map(|zone| zone[class].len()).sum();
                let stocks: usize = self.stocks().map(|(_, stock)| stock.count(class)).sum();
                (kept + stocks) as u64 * self.class_bytes(class)
            })
            .sum();
        shared.tree.in_use().saturating_sub(at_hand)
    }

    /// Every stock that there is.
    fn stocks(&self) -> impl Iterator<Item = (Zone, &Stock)> {
        let places = self.slots.iter().flat_map(|slot| Zone::ALL.into_iter().zip(&slot.stocks));
        places.filter_map(|(zone, stock)| {
            let stock = stock.load(Ordering::Acquire);
            // SAFETY: it came from a Box that is given up when the allocator is dropped.
            (!stock.is_null()).then(|| (zone, unsafe { &*stock }))
        })
    }

    /// How many ranges of a size a CPU may have at hand.
    fn room(&self, zone: Zone, class: usize) -> usize {
        let (last, floor) = (self.last.load(Ordering::Relaxed), self.floor.load(Ordering::Relaxed));
        let bytes = match zone {
            Zone::Main => last - self.first.max(floor),
            Zone::Low => floor.saturating_sub(self.first),
        };
        room(class, bytes / self.granule, self.slots.len(), zone == Zone::Main && floor != 0)
    }

    /// The last byte of the aperture is this one.
    fn ends_at(&self, last: u64) {
        self.last.store(last, Ordering::Relaxed);
        self.floor.store(if last >= LOW_END { LOW_END } else { 0 }, Ordering::Relaxed);
    }

    /// `bytes` bytes, rounded up to the granule, the first a multiple of `align` (a power of two), the last at or below
    /// `limit`.
    ///
    /// Does not sleep. [`IovaError::Exhausted`] is exact but for what other CPUs have at hand: who may sleep can take that
    /// back with [`IovaAllocator::trim`] and try again.
    #[inline]
    pub fn alloc(&self, bytes: u64, align: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        match self.alloc_at_hand(bytes, align, limit) {
            Some(start) => Ok(self.span(start, bytes)),
            // One number in a register, so that what is seldom called costs the way past it no stack.
            None => match self.alloc_anywhere(bytes, align, limit) {
                Some(start) => Ok(self.span(start.get(), bytes)),
                None => Err(self.why_not(bytes, align, limit)),
            },
        }
    }

    /// What [`IovaAllocator::alloc`] gives most who ask: a range that this CPU has at hand, for a device that reaches all of
    /// the aperture. `None`: nothing has changed.
    #[inline(always)]
    fn alloc_at_hand(&self, bytes: u64, align: u64, limit: Iova) -> Option<u64> {
        let place = self.sizes.place(bytes)?;
        if align != self.granule {
            return None;
        }
        let (pin, cpu) = self.platform.pin();
        self.take(&pin, cpu, place, limit)
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
        let start = self.take(pin, cpu, self.sizes.place(bytes)?, limit)?;
        Some(self.span(start, bytes))
    }

    /// [`IovaAllocator::alloc_pinned`] for a granule.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn alloc_granule(&self, pin: &P::Pin, cpu: usize, limit: Iova) -> Option<Iova> {
        self.take(pin, cpu, Place::FIRST, limit).map(Iova)
    }

    /// What this CPU has at a place, for a device that reaches all of the aperture.
    #[inline(always)]
    fn take(&self, pin: &P::Pin, cpu: usize, place: Place, limit: Iova) -> Option<u64> {
        // Not by `mine`: that there is a stock would be looked at twice.
        let stock = self.stock_of(pin, expected(self.slots.get(cpu))?, Zone::Main);
        // After the look through the gate: the end of the aperture changes only while all are stopped.
        if limit.0 < self.last.load(Ordering::Relaxed) {
            seldom();
            return None;
        }
        // SAFETY: it is this CPU's alone while it is pinned.
        unsafe { stock.pop(place) }
    }

    /// [`IovaAllocator::alloc`] for whoever asks. Nothing begins at zero.
    #[cold]
    #[inline(never)]
    fn alloc_anywhere(&self, bytes: u64, align: u64, limit: Iova) -> Option<NonZeroU64> {
        NonZeroU64::new(self.find(bytes, align, limit).ok()?)
    }

    /// Why there is none, of what [`IovaTree::alloc`] can say.
    #[cold]
    fn why_not(&self, bytes: u64, align: u64, limit: Iova) -> IovaError {
        match bytes.checked_next_multiple_of(self.granule) {
            Some(bytes) if bytes != 0 && align.is_power_of_two() => IovaError::Exhausted { bytes, limit },
            _ => IovaError::Range(Span { start: Iova(0), bytes }),
        }
    }

    fn find(&self, bytes: u64, align: u64, limit: Iova) -> Result<u64, IovaError> {
        let Some(class) = self.sizes.class(bytes) else { return self.alloc_uncached(bytes, align, limit) };
        if !align.is_power_of_two() || align > self.class_bytes(class) || self.reached(limit).is_none() {
            return self.alloc_uncached(bytes, align, limit);
        }
        let (pin, cpu) = self.platform.pin();
        for zone in Zone::ALL {
            // In this order, for the same reason as above.
            if let Some(stock) = self.mine(&pin, cpu, zone)
                && self.reached(limit) == Some(zone)
                // SAFETY: `mine` gives it to this CPU alone while it is pinned.
                && let Some(start) = unsafe { stock.pop(Place::of(class)) }
            {
                return Ok(start);
            }
        }
        self.restock(&pin, cpu, class, limit)
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
        if self.free_anywhere(span) { Ok(()) } else { Err(IovaError::NotAllocated(span)) }
    }

    /// What [`IovaAllocator::free`] does with most ranges: this CPU keeps it at hand. False: nothing has changed.
    #[inline(always)]
    fn free_to_hand(&self, span: Span<Iova>) -> bool {
        let Some(place) = self.sizes.place(span.bytes) else { return false };
        let (pin, cpu) = self.platform.pin();
        self.put(&pin, cpu, place, span.start)
    }

    /// As [`IovaAllocator::free`], for whoever does more under one pin, if this CPU can keep the range at hand. False, and
    /// nothing has changed, where it cannot: [`IovaAllocator::free`] takes it.
    ///
    /// # Safety
    /// As for [`IovaAllocator::alloc_pinned`].
    #[inline(always)]
    pub unsafe fn free_pinned(&self, pin: &P::Pin, cpu: usize, span: Span<Iova>) -> bool {
        self.sizes.place(span.bytes).is_some_and(|place| self.put(pin, cpu, place, span.start))
    }

    /// [`IovaAllocator::free_pinned`] for a granule.
    ///
    /// # Safety
    /// As for [`IovaAllocator::alloc_pinned`].
    #[inline(always)]
    pub unsafe fn free_granule(&self, pin: &P::Pin, cpu: usize, start: Iova) -> bool {
        self.put(pin, cpu, Place::FIRST, start)
    }

    /// As [`IovaAllocator::free`], for ranges of `bytes` bytes each that begin at `starts`: as many at a time as this CPU can
    /// keep at hand, under one pin. The error is the first one; all others are freed.
    pub fn free_all(&self, bytes: u64, starts: &[Iova]) -> Result<(), IovaError> {
        let mut result = Ok(());
        let mut left = starts;
        while !left.is_empty() {
            left = &left[self.put_all(bytes, left)..];
            // The stack is full: this one makes room for others, or is none that is kept.
            if let Some((first, others)) = left.split_first() {
                let span = Span { start: *first, bytes };
                if !self.free_anywhere(span) {
                    result = result.and(Err(IovaError::NotAllocated(span)));
                }
                left = others;
            }
        }
        result
    }

    /// This CPU keeps at hand as many as there is room for, from the first one on. Tells how many.
    #[inline(always)]
    fn put_all(&self, bytes: u64, starts: &[Iova]) -> usize {
        let Some(place) = self.sizes.place(bytes) else { return 0 };
        let (pin, cpu) = self.platform.pin();
        let Some(stock) = self.mine(&pin, cpu, Zone::Main) else { return 0 };
        // After the look through the gate: it changes only while all are stopped.
        let floor = self.floor.load(Ordering::Relaxed);
        let main = starts.iter().take_while(|start| start.0 >= floor).count();
        // SAFETY: `mine` gives it to this CPU alone while it is pinned.
        unsafe { stock.push_all(place, &starts[..main]) }
    }

    #[inline(always)]
    fn put(&self, pin: &P::Pin, cpu: usize, place: Place, start: Iova) -> bool {
        let Some(slot) = expected(self.slots.get(cpu)) else { return false };
        let stock = self.stock_of(pin, slot, Zone::Main);
        // SAFETY: it is this CPU's alone while it is pinned.
        likely(start.0 >= self.floor.load(Ordering::Relaxed)) && unsafe { stock.push(place, start.0) }
    }

    /// [`IovaAllocator::free`] for whatever there is. False: it was not allocated.
    #[cold]
    #[inline(never)]
    fn free_anywhere(&self, span: Span<Iova>) -> bool {
        let Some(class) = self.sizes.class(span.bytes) else {
            return self.shared.0.lock().tree.free(span).is_ok();
        };
        let (pin, cpu) = self.platform.pin();
        for zone in Zone::ALL {
            if let Some(stock) = self.mine(&pin, cpu, zone)
                && self.zone_of(span.start.0) == zone
                // SAFETY: `mine` gives it to this CPU alone while it is pinned.
                && unsafe { stock.push(Place::of(class), span.start.0) }
            {
                return true;
            }
        }
        self.unload(&pin, cpu, class, span)
    }

    /// The zone for a device that reaches `limit`; none for odd limits.
    fn reached(&self, limit: Iova) -> Option<Zone> {
        if limit.0 >= self.last.load(Ordering::Relaxed) {
            Some(Zone::Main)
        } else {
            (limit.0 >= LOW_END - 1).then_some(Zone::Low)
        }
    }

    /// Where a range is kept that starts here.
    fn zone_of(&self, start: u64) -> Zone {
        if start >= self.floor.load(Ordering::Relaxed) { Zone::Main } else { Zone::Low }
    }

    /// A CPU's stock; an empty one without room before its first use, and while all are stopped.
    #[inline(always)]
    fn stock_of<'a>(&'a self, _pin: &'a P::Pin, slot: &'a Slot, zone: Zone) -> &'a Stock {
        // SAFETY: it is the one that stays for ever, or came from a Box that is given up when the allocator is dropped.
        unsafe { &*slot.gates[zone as usize].load(Ordering::Acquire) }
    }

    /// This CPU's stock. None of a CPU beyond those that were announced.
    #[inline(always)]
    fn mine<'a>(&'a self, pin: &'a P::Pin, cpu: usize, zone: Zone) -> Option<&'a Stock> {
        Some(self.stock_of(pin, self.slots.get(cpu)?, zone))
    }

    /// [`IovaAllocator::mine`], made where it is missing. Who has the lock knows that nobody begins or ends a stop.
    fn make_mine<'a>(
        &'a self,
        _pin: &'a P::Pin,
        cpu: usize,
        zone: Zone,
        shared: &Shared,
    ) -> Option<&'a Stock> {
        if shared.stopped {
            return None;
        }
        let slot = self.slots.get(cpu)?;
        let (gate, place) = (&slot.gates[zone as usize], &slot.stocks[zone as usize]);
        if place.load(Ordering::Relaxed).is_null() {
            let stock = Stock::new()?;
            self.furnish(zone, &stock);
            let stock = Box::into_raw(stock);
            place.store(stock, Ordering::Release);
            gate.store(stock, Ordering::Release);
        }
        // SAFETY: as in `mine`.
        Some(unsafe { &*gate.load(Ordering::Acquire) })
    }

    /// Gives an empty stock that nobody uses the room that it has in its zone.
    fn furnish(&self, zone: Zone, stock: &Stock) {
        for class in 0..CLASSES {
            // SAFETY: nobody uses it.
            unsafe { stock.set_room(class, self.room(zone, class)) };
        }
    }

    /// The stack is empty: what the depot has, or a new run cut into ranges. Gives the first byte of one.
    #[cold]
    fn restock(&self, pin: &P::Pin, cpu: usize, class: usize, limit: Iova) -> Result<u64, IovaError> {
        let size = self.class_bytes(class);
        let mut shared = self.shared.0.lock();
        // As in `alloc`: only now does the end of the aperture stay what it is.
        let zone = self.reached(limit);
        let stock = zone.and_then(|zone| Some((zone, self.make_mine(pin, cpu, zone, &shared)?)));
        let Some((zone, stock)) = stock.filter(|(_, stock)| stock.room(class) != 0) else {
            return shared.alloc(size, size, limit, self.granule);
        };
        // All were stopped a moment ago, or the stack of another zone was found empty.
        // SAFETY: this CPU's own.
        if let Some(start) = unsafe { stock.pop(Place::of(class)) } {
            return Ok(start);
        }
        let most = half(stock.room(class));
        let kept = &mut shared.depot[zone as usize][class];
        if !kept.is_empty() {
            let chunk = kept.drain(kept.len().saturating_sub(most)..);
            // SAFETY: this CPU's own, and it is empty. There is room for what was drained.
            unsafe { stock.fill(class, chunk) };
        } else {
            let within = if zone == Zone::Low { Iova(LOW_END - 1) } else { limit };
            let run = match run(&mut shared.tree, size, within, most) {
                Ok(run) => run,
                Err(_) => {
                    // What is kept for others comes first, then what this CPU keeps of other sizes, then what reaches
                    // beyond the zone.
                    shared.empty_depot(self.granule);
                    for stock in Zone::ALL.into_iter().filter_map(|zone| self.mine(pin, cpu, zone)) {
                        // SAFETY: this CPU's own.
                        unsafe { self.give_up(stock, &mut shared.tree) };
                    }
                    match run(&mut shared.tree, size, within, most) {
                        Ok(run) => run,
                        Err(_) => return shared.alloc(size, size, limit, self.granule),
                    }
                }
            };
            // The highest ones at the bottom: the next ones out follow each other upward.
            let count = (run.bytes / size) as usize;
            let starts = (0..count).rev().map(|index| run.start.0 + index as u64 * size);
            // SAFETY: this CPU's own, and it is empty. `most` is what there is room for.
            unsafe { stock.fill(class, starts) };
        }
        // SAFETY: this CPU's own.
        unsafe { stock.pop(Place::of(class)) }.ok_or(IovaError::Exhausted { bytes: size, limit })
    }

    /// The stack is full: half of it goes to the depot. Or there is none, and the tree has the range back.
    #[cold]
    fn unload(&self, pin: &P::Pin, cpu: usize, class: usize, span: Span<Iova>) -> bool {
        let mut shared = self.shared.0.lock();
        let zone = self.zone_of(span.start.0);
        let stock = self.make_mine(pin, cpu, zone, &shared);
        let Some(stock) = stock.filter(|stock| stock.room(class) != 0) else {
            return shared.tree.free(self.whole(span)).is_ok();
        };
        // SAFETY: this CPU's own.
        if unsafe { stock.push(Place::of(class), span.start.0) } {
            return true; // it was missing, and not full
        }
        let most = half(stock.room(class));
        let Shared { tree, depot, .. } = &mut *shared;
        let kept = &mut depot[zone as usize][class];
        // SAFETY: this CPU's own.
        unsafe {
            stock.spill(class, most, |starts| {
                if kept.len() < DEPOT * most && kept.try_reserve(starts.len()).is_ok() {
                    kept.extend_from_slice(starts);
                } else {
                    give_back(tree, self.class_bytes(class), starts);
                }
            });
        }
        // SAFETY: this CPU's own, and there is room now.
        let pushed = unsafe { stock.push(Place::of(class), span.start.0) };
        debug_assert!(pushed);
        true
    }

    /// Ranges of sizes, limits and alignments that are not kept at hand. Rounded and aligned as others are, since what is
    /// freed does not tell how it was asked for.
    #[cold]
    fn alloc_uncached(&self, bytes: u64, align: u64, limit: Iova) -> Result<u64, IovaError> {
        let size = self.sizes.class(bytes).map(|class| self.class_bytes(class));
        let (whole, align) =
            size.filter(|_| align.is_power_of_two()).map_or((bytes, align), |size| (size, align.max(size)));
        self.shared.0.lock().alloc(whole, align, limit, self.granule)
    }

    /// Gives everything that this CPU has at hand to the tree.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    unsafe fn give_up(&self, stock: &Stock, tree: &mut IovaTree) {
        for class in 0..CLASSES {
            // Where there is none, nothing is stored: it may be the one that all share.
            if stock.count(class) != 0 {
                let size = self.class_bytes(class);
                // SAFETY: as promised by the caller.
                unsafe { stock.spill(class, most(class), |starts| give_back(tree, size, starts)) };
            }
        }
    }

    /// The tree itself, with everything in it that nobody has allocated. Waits for [`Platform::synchronize`], so it may
    /// sleep; meanwhile others allocate and free by the tree. One caller at a time, the others wait.
    pub fn with_tree<R>(&self, f: impl FnOnce(&mut IovaTree) -> R) -> R {
        while !self.stop() {
            self.platform.relax();
        }
        // Who was pinned may have looked through a gate before; who is pinned from now on finds it shut.
        self.platform.synchronize();
        // While all are stopped nobody fills anything again, so the lock need not be held over all of it.
        for (_, stock) in self.stocks() {
            // SAFETY: everybody is stopped, and this is the only one who stopped them.
            unsafe { self.give_up(stock, &mut self.shared.0.lock().tree) };
        }
        let mut shared = self.shared.0.lock();
        shared.empty_depot(self.granule);
        let result = f(&mut shared.tree);
        self.ends_at(shared.tree.aperture().last().0);
        self.stocks().for_each(|(zone, stock)| self.furnish(zone, stock));
        shared.stopped = false;
        for (gate, stock) in self.slots.iter().flat_map(|slot| slot.gates.iter().zip(&slot.stocks)) {
            let stock = NonNull::new(stock.load(Ordering::Relaxed)).unwrap_or(nothing());
            gate.store(stock.as_ptr(), Ordering::Release);
        }
        result
    }

    /// Shuts all gates; false if somebody has done so.
    fn stop(&self) -> bool {
        let mut shared = self.shared.0.lock();
        if shared.stopped {
            return false;
        }
        shared.stopped = true;
        let gates = self.slots.iter().flat_map(|slot| &slot.gates);
        gates.for_each(|gate| gate.store(nothing().as_ptr(), Ordering::Release));
        true
    }

    /// Gives what is kept at hand to the tree. May sleep.
    pub fn trim(&self) {
        self.with_tree(|_| ());
    }
}

impl Shared {
    /// From the tree; if it has none, with what the depot has given back to it. Gives the first byte.
    fn alloc(&mut self, bytes: u64, align: u64, limit: Iova, granule: u64) -> Result<u64, IovaError> {
        let found = match self.tree.alloc(bytes, align, limit) {
            Err(IovaError::Exhausted { .. }) => {
                self.empty_depot(granule);
                self.tree.alloc(bytes, align, limit)
            }
            found => found,
        };
        Ok(found?.start.0)
    }

    fn empty_depot(&mut self, granule: u64) {
        for zone in &mut self.depot {
            for (class, starts) in zone.iter_mut().enumerate() {
                // The room goes too: it is memory that nobody uses.
                give_back(&mut self.tree, granule << class, &mut core::mem::take(starts));
            }
        }
    }
}

/// How many ranges a CPU moves at a time, whose stack has room for so many: two lots fit into it, so that who takes and gives
/// no more than that in turn stays with what it has.
fn half(room: usize) -> usize {
    (room / 2).max(1)
}

/// Ranges of `size` bytes that follow each other: `most` of them, fewer where little is free.
fn run(tree: &mut IovaTree, size: u64, limit: Iova, most: usize) -> Result<Span<Iova>, IovaError> {
    let most = (tree.free_bytes() / RUN_SHARE / size).min(most as u64);
    if most > 1
        && let Ok(run) = tree.alloc(most * size, size, limit)
    {
        return Ok(run);
    }
    tree.alloc(size, size, limit)
}

/// Gives ranges of `size` bytes to the tree, those that follow each other at once. They are allocated there; one that is not
/// was freed twice, and is left alone.
fn give_back(tree: &mut IovaTree, size: u64, starts: &mut [u64]) {
    starts.sort_unstable();
    for run in starts.chunk_by(|one, next| *next - *one == size) {
        let span = Span { start: Iova(run[0]), bytes: size * run.len() as u64 };
        let result = tree.free(span);
        debug_assert!(result.is_ok(), "what is at hand is allocated in the tree: {result:?}");
    }
}

impl<P: Platform> Drop for IovaAllocator<P> {
    fn drop(&mut self) {
        for stock in self.slots.iter().flat_map(|slot| &slot.stocks) {
            let stock = stock.load(Ordering::Acquire);
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
            .field("granule", &self.granule)
            .field("cpus", &self.slots.len())
            .finish_non_exhaustive()
    }
}
