//! Giving up what a mapping owned: confirmed at once, or put into this CPU's queue and confirmed together with others.
//!
//! A queue owns whatever a device may still reach: the memory, the tables that came off, the IOVAs. So what a deferred flush
//! leaves open is a window in which the device reaches memory that nobody uses, and never memory that somebody else has.

use super::{
    AddressSpace,
    carrier::{Backing, Removed},
    counters::Count,
    deferred::{Apart, Deferred},
    layout::Layout,
    own::ended,
    ring::{Ring, Room},
};
use crate::{
    driver::Hung,
    order::{Held, Rank, Ranked},
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{mem::ManuallyDrop, ptr};
use ioward_pgtable::Detached;
use ioward_types::{
    IommuId, Iova, Nanos, OutOfMemory, Platform, Span,
    cell::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    hint::{expected, likely, seldom},
};

/// How many mappings of a CPU wait for one flush at most.
pub const QUEUED: usize = if cfg!(loom) { 2 } else { 256 };
/// How many IOVAs go back under one pin at most.
const TOGETHER: usize = 32;
/// How long one waits at most, if [`AddressSpace::poll`] is called when it asks to be.
pub const AFTER: Nanos = Nanos(10_000_000);

/// What became of a mapping's entries.
enum Off<P: Platform> {
    /// They wait for a flush, and so do the tables.
    Later(Option<Tables<P>>),
    /// They have been flushed.
    Confirmed,
}

/// The tables that came off, and the backing that they are of.
type Tables<P> = (Arc<Backing<P>>, Detached);

/// What waits for a flush: a cache line.
#[repr(align(64))]
struct Entry {
    start: Iova,
    /// How many; zero where it is withheld. [`WITH_TABLES`] too if there are tables beside it.
    bytes: u64,
    owner: Deferred,
}

const _: () = assert!(size_of::<Entry>() == 64 || size_of::<usize>() != 8, "a cache line");
/// No length has this bit: those are whole granules.
const WITH_TABLES: u64 = 1;

type Queue<P> = Ring<Entry, Tables<P>, QUEUED>;
/// A place in a queue.
type Place<'q, P> = Room<'q, Entry, Tables<P>, QUEUED>;

/// Ranges of one length that go back together.
struct Run {
    bytes: u64,
    len: usize,
    starts: [Iova; TOGETHER],
}

/// Each CPU's queue, and who empties them: one flushes all at a time, and one of each queue ends what has been flushed. They
/// are two, since what is ended may do anything, wait for a flush among others; nothing of anybody else's runs while `flushing`
/// is set. A CPU whose queue is full ends its own alone, so that its IOVAs and its memory stay with it.
pub struct Queues<P: Platform> {
    rings: Box<[Queue<P>]>,
    /// Somebody flushes.
    flushing: AtomicBool,
    /// How often that came to its end.
    flushed: AtomicUsize,
    /// When they were emptied last, in nanoseconds.
    drained: AtomicU64,
    /// Whether more is put in.
    open: AtomicBool,
}

impl<P: Platform> Queues<P> {
    /// Queues for every CPU that the platform announces.
    pub fn new(platform: &P) -> Result<Self, OutOfMemory> {
        let mut rings = Vec::new();
        rings.try_reserve_exact(platform.cpus()).map_err(|_| OutOfMemory)?;
        for _ in 0..platform.cpus() {
            rings.push(Ring::new()?);
        }
        Ok(Self {
            rings: rings.into_boxed_slice(),
            flushing: AtomicBool::new(false),
            flushed: AtomicUsize::new(0),
            drained: AtomicU64::new(platform.now().0),
            open: AtomicBool::new(true),
        })
    }

    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) && !self.rings.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.rings.iter().map(Ring::len).sum()
    }
}

/// The address spaces of a subsystem that flush later, for whoever polls.
pub struct LazySpaces<P: Platform>(Ranked<P::Lock, Vec<Weak<AddressSpace<P>>>>);

impl<P: Platform> LazySpaces<P> {
    pub fn new() -> Self {
        Self(Ranked::new(Rank::Lazy, Vec::new()))
    }

    pub fn add(&self, space: &Arc<AddressSpace<P>>) {
        let mut spaces = self.0.lock();
        spaces.retain(|space| space.strong_count() != 0);
        spaces.push(Arc::downgrade(space));
    }

    /// Polls each, and tells when to come back.
    pub fn poll(&self, now: Nanos) -> Option<Nanos> {
        let mut next: Option<Nanos> = None;
        for index in 0.. {
            // One at a time: what a flush ends may be anything, so the lock is not held over it.
            let Some(space) = self.0.lock().get(index).cloned() else { break };
            if let Some(at) = space.upgrade().and_then(|space| space.poll(now)) {
                next = Some(next.map_or(at, |next| Nanos(next.0.min(at.0))));
            }
        }
        next
    }
}

impl<P: Platform> AddressSpace<P> {
    /// The span was a mapping's own and was mapped whole, so only somebody who broke the contract of the raw `map` can bring
    /// this about; nothing is known to be unreachable then.
    #[cold]
    pub(crate) fn broken(&self, at: Span<Iova>) -> Hung {
        self.quarantine(at.bytes);
        Hung { iommu: IommuId(u32::MAX), what: "unmap", waited: Nanos(0) }
    }

    /// Takes a mapping out, and gives its memory back once no device reaches it.
    #[inline]
    pub(crate) fn take_back<O>(&self, at: Span<Iova>, owner: O) -> Result<O, Hung> {
        let owner = ManuallyDrop::new(owner);
        // On `Err` it is withheld.
        self.end_now(at).map(|()| ManuallyDrop::into_inner(owner))
    }

    /// Takes a mapping out and drops its memory once no device reaches it: now, or, if the address space is lazy, when this
    /// CPU's queue is flushed. On `Err` all of it is withheld.
    #[inline(always)]
    pub(crate) fn give_up<O: Send + 'static>(&self, at: Span<Iova>, owner: O) -> Result<(), Hung> {
        let owner = ManuallyDrop::new(owner);
        let Some(queues) = &self.queues else {
            return self.end_now(at).map(|()| drop(ManuallyDrop::into_inner(owner)));
        };
        // SAFETY: the owner is small, and used again only where it was not taken.
        if Deferred::is_small::<O>() && unsafe { self.put_page_off(queues, at, &owner) } {
            return Ok(());
        }
        self.give_up_anyhow(at, ManuallyDrop::into_inner(owner))
    }

    /// The same for whatever there is.
    #[inline(never)]
    fn give_up_anyhow<O: Send + 'static>(&self, at: Span<Iova>, owner: O) -> Result<(), Hung> {
        let mut owner = ManuallyDrop::new(owner);
        if let Some(queues) = &self.queues {
            if Deferred::is_small::<O>() {
                // SAFETY: the owner is small, and used again only where it was not taken.
                if unsafe { self.put_off_twice(queues, at, &owner) }? {
                    return Ok(());
                }
            } else {
                match Apart::new(ManuallyDrop::into_inner(owner)).map(ManuallyDrop::new) {
                    Ok(apart) => {
                        // SAFETY: as above.
                        if unsafe { self.put_off_twice(queues, at, &apart) }? {
                            return Ok(());
                        }
                        owner = ManuallyDrop::new(ManuallyDrop::into_inner(apart).into_inner());
                    }
                    Err(back) => owner = ManuallyDrop::new(back),
                }
            }
        }
        self.end_now(at)?;
        drop(ManuallyDrop::into_inner(owner));
        Ok(())
    }

    /// Puts a mapping into this CPU's queue, if need be after a flush of what is in it.
    ///
    /// # Safety
    /// As for [`AddressSpace::put_off`].
    unsafe fn put_off_twice<O: Send + 'static>(
        &self,
        queues: &Queues<P>,
        at: Span<Iova>,
        owner: &ManuallyDrop<O>,
    ) -> Result<bool, Hung> {
        // SAFETY: as promised by the caller, here and below.
        if unsafe { self.put_off(queues, at, owner) }? {
            return Ok(true);
        }
        if !queues.is_open() {
            return Ok(false);
        }
        // It is full, most of the time.
        self.make_room(queues);
        // SAFETY: it was not taken.
        unsafe { self.put_off(queues, at, owner) }
    }

    /// Ends what was flushed of this CPU's queue: by another CPU since, or now.
    #[cold]
    #[inline(never)]
    fn make_room(&self, queues: &Queues<P>) {
        let (_, cpu) = self.platform.pin();
        // Another CPU's queue does as well, if this goes on there now.
        let Some(ring) = queues.rings.get(cpu) else { return };
        if !ring.has_confirmed() {
            self.flush_queues(queues);
        }
        self.end_flushed(ring);
    }

    /// A place in this CPU's queue, if it has one and is in use, and how what waits there is taken out.
    ///
    /// # Safety
    /// The pin and the number are of one call of the platform's, and kept until the place is used or given up.
    #[inline(always)]
    unsafe fn place<'q>(
        &'q self,
        queues: &'q Queues<P>,
        pin: &'q P::Pin,
        cpu: usize,
    ) -> Option<(Place<'q, P>, &'q Layout<P>)> {
        let layout = self.layout.read(pin);
        // SAFETY: the ring is this CPU's, to which the caller is pinned until the room is used or given up.
        let room = expected(unsafe { expected(queues.rings.get(cpu))?.room() })?;
        // Looked at under the pin, for which whoever closes the queues waits.
        likely(queues.open.load(Ordering::Relaxed)).then_some((room, layout))
    }

    /// Writes an entry, and counts it.
    ///
    /// # Safety
    /// The place is this CPU's, the owner is small, and the caller does not use it again.
    #[inline(always)]
    unsafe fn put<O: Send + 'static>(
        &self,
        (pin, cpu): (&P::Pin, usize),
        room: Place<'_, P>,
        span: Span<Iova>,
        owner: &ManuallyDrop<O>,
        tables: Option<Tables<P>>,
    ) {
        if likely(span.bytes == self.granule()) {
            self.counters.add(pin, cpu, &[(Count::PagesPutOff, 1)]);
        } else {
            self.counters.add(pin, cpu, &[(Count::Unmappings, 1), (Count::UnmappedBytes, span.bytes)]);
        }
        let write = |entry: *mut Entry, aside: *mut Tables<P>| {
            let with = if tables.is_some() { WITH_TABLES } else { 0 };
            // SAFETY: the places are the entry's; the owner is small, and taken once.
            unsafe {
                (&raw mut (*entry).start).write(span.start);
                (&raw mut (*entry).bytes).write(span.bytes | with);
                Deferred::write(&raw mut (*entry).owner, ptr::read(&raw const **owner));
                if let Some(tables) = tables {
                    aside.write(tables);
                }
            }
        };
        // SAFETY: all of an entry is written.
        unsafe { room.put(write) };
    }

    /// [`AddressSpace::put_off`] for a page or a few of the only carrier, where there is room. False: nothing is done.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn put_page_off<O: Send + 'static>(
        &self,
        queues: &Queues<P>,
        at: Span<Iova>,
        owner: &ManuallyDrop<O>,
    ) -> bool {
        let (pin, cpu) = self.platform.pin();
        // SAFETY: pinned until the end.
        let Some((room, layout)) = (unsafe { self.place(queues, &pin, cpu) }) else { return false };
        // No carrier is being filled where there are pages.
        let Some(pages) = expected(layout.pages.as_ref()) else { return false };
        let gone = if likely(at.bytes == self.granule()) {
            pages.unmap_granule(at.start)
        } else {
            pages.unmap_run(at).is_some()
        };
        if likely(gone) {
            // SAFETY: the place is of this pin; the rest is promised by the caller.
            unsafe { self.put((&pin, cpu), room, at, owner, None) };
        }
        gone
    }

    /// Puts a mapping into this CPU's queue. `Ok(false)`: nothing is done, since that cannot be.
    ///
    /// # Safety
    /// The owner is small, and the caller does not use it again but after `Ok(false)`.
    unsafe fn put_off<O: Send + 'static>(
        &self,
        queues: &Queues<P>,
        at: Span<Iova>,
        owner: &ManuallyDrop<O>,
    ) -> Result<bool, Hung> {
        let (pin, cpu) = self.platform.pin();
        // SAFETY: pinned until the entry is written.
        let place = unsafe { self.place(queues, &pin, cpu) };
        let Some((room, layout)) = place.filter(|(_, layout)| !layout.filling) else { return Ok(false) };
        match self.take_off(layout, at)? {
            // SAFETY: the place is of this pin; the rest is promised by the caller.
            Off::Later(tables) => unsafe { self.put((&pin, cpu), room, at, owner, tables) },
            Off::Confirmed => {
                drop(pin);
                self.count(&ended(1, at.bytes));
                self.free_iova(at);
                // SAFETY: taken once.
                drop(unsafe { ptr::read(&raw const **owner) });
            }
        }
        Ok(true)
    }

    /// Takes out more than a page, or out of several carriers. On `Err` all of it is withheld.
    #[inline(never)]
    fn take_off(&self, layout: &Layout<P>, at: Span<Iova>) -> Result<Off<P>, Hung> {
        let Ok(mut removed) = self.remove(layout, at) else { return Err(self.broken(at)) };
        let mut hung = removed.iter().flatten().find_map(|removed| removed.hung);
        let several = removed.iter().flatten().filter(|removed| removed.tables_went).count() > 1;
        if several && hung.is_none() {
            // Too much for one entry, and rare. The caller is pinned since before the tables were written.
            hung = layout.flush(at, true).err();
        }
        if let Some(hung) = hung {
            self.quarantine(at.bytes);
            return Err(hung);
        }
        if several {
            removed.into_iter().flatten().for_each(|removed| self.free(removed, true));
            return Ok(Off::Confirmed);
        }
        Ok(Off::Later(removed.iter_mut().flatten().find_map(|removed| removed.detached.take())))
    }

    /// Flushes once for everything that waits, and ends it. False, and nothing is done, where somebody else is at it.
    fn drain(&self, queues: &Queues<P>) -> bool {
        let flushed = self.flush_queues(queues);
        if flushed {
            self.end_all_flushed(queues);
        }
        flushed
    }

    /// Flushes for everything that waits. False, and nothing is done, where somebody else is at it.
    fn flush_queues(&self, queues: &Queues<P>) -> bool {
        if queues.flushing.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: whoever has set the flag is the only one who marks and confirms, here and below.
        let waiting: usize = queues.rings.iter().map(|ring| unsafe { ring.mark() }).sum();
        if waiting != 0 {
            // What is marked was taken off the tables before: the marks were acquired.
            let hung = self.flush(self.iova_span, true).is_err();
            self.count(&[(Count::Flushes, 1)]);
            for ring in &queues.rings {
                if hung {
                    // SAFETY: as above.
                    unsafe { ring.each_marked(|entry, _| self.withhold(entry)) };
                }
                // SAFETY: as above.
                unsafe { ring.confirm() };
            }
        }
        queues.flushed.fetch_add(1, Ordering::Release);
        queues.flushing.store(false, Ordering::Release);
        true
    }

    /// Ends what has been flushed of every queue, but for what somebody else is ending.
    fn end_all_flushed(&self, queues: &Queues<P>) {
        queues.rings.iter().for_each(|ring| self.end_flushed(ring));
    }

    /// Ends what has been flushed of a queue, unless somebody is at it: that one goes on until nothing is left.
    #[inline(never)]
    fn end_flushed(&self, ring: &Queue<P>) {
        let mut run = Run { bytes: 0, len: 0, starts: [Iova(0); TOGETHER] };
        // SAFETY: what is taken is an entry, and taken once.
        ring.take_all(
            &mut run,
            |run, entry, aside| unsafe { self.end(&mut *entry, aside, run) },
            |run| self.return_run(run),
        );
    }

    /// Gives back the IOVAs of a run, and empties it.
    #[inline(never)]
    fn return_run(&self, run: &mut Run) {
        let _ranked = Held::enter(Rank::Iova);
        let result = self.iova.free_all(run.bytes, &run.starts[..run.len]);
        debug_assert!(result.is_ok(), "an allocation is freed once, by its owner");
        run.len = 0;
    }

    /// What it owns is never used again.
    fn withhold(&self, entry: &mut Entry) {
        self.quarantine(entry.bytes & !WITH_TABLES);
        entry.bytes = 0;
    }

    /// Drops what it owns; its IOVAs go into `run`.
    ///
    /// # Safety
    /// The entry is not used again.
    #[inline(always)]
    unsafe fn end(&self, entry: &mut Entry, aside: *mut Tables<P>, run: &mut Run) {
        let mut bytes = entry.bytes;
        if bytes == 0 {
            seldom();
            return; // withheld
        }
        if bytes & WITH_TABLES != 0 {
            seldom();
            bytes &= !WITH_TABLES;
            // SAFETY: they are beside it, and taken once.
            self.end_tables(unsafe { aside.read() });
        }
        // SAFETY: it is dropped once, as promised by the caller.
        unsafe { ptr::drop_in_place(&raw mut entry.owner) };
        let mut len = run.len;
        if run.bytes != bytes || len >= TOGETHER {
            seldom();
            self.return_run(run);
            (run.bytes, len) = (bytes, 0);
        }
        run.starts[len] = entry.start;
        run.len = len + 1;
    }

    #[cold]
    #[inline(never)]
    fn end_tables(&self, tables: Tables<P>) {
        self.free(Removed { detached: Some(tables), tables_went: true, hung: None }, true);
    }

    /// Flushes for everything that waits, if need be after whoever is at it, and ends it but for what somebody else is ending.
    ///
    /// The wait is for the hardware of two flushes: one that began before the call, and one that began after it.
    pub(super) fn drain_all(&self) {
        let Some(queues) = &self.queues else { return };
        let before = queues.flushed.load(Ordering::Acquire);
        while !self.flush_queues(queues) {
            if queues.flushed.load(Ordering::Acquire).wrapping_sub(before) >= 2 {
                break;
            }
            self.platform.relax();
        }
        self.end_all_flushed(queues);
    }

    /// Flushes the queues if they are due, and tells when to come back; `None` for an address space that has none. May run
    /// with interrupts off. What is released waits at most [`AFTER`], if it is called no later than it says.
    pub fn poll(&self, now: Nanos) -> Option<Nanos> {
        let queues = self.queues.as_ref()?;
        let due = Nanos(queues.drained.load(Ordering::Relaxed).saturating_add(AFTER.0));
        if now < due {
            return queues.is_open().then_some(due);
        }
        if self.drain(queues) {
            queues.drained.store(now.0, Ordering::Relaxed);
        }
        queues.is_open().then(|| Nanos(now.0.saturating_add(AFTER.0)))
    }

    /// From now on every release is confirmed before it returns, and what waited has been. Waits for whoever is pinned.
    pub(crate) fn make_strict(&self) {
        if let Some(queues) = &self.queues {
            queues.open.store(false, Ordering::Relaxed);
            self.platform.synchronize();
            self.drain_all();
        }
    }

    /// For an address space that nobody uses any more.
    pub(super) fn end_queues(&self) {
        if let Some(queues) = &self.queues {
            self.drain(queues);
        }
    }
}
