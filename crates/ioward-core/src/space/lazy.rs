//! Giving up what a mapping owned: confirmed at once, or put into this CPU's queue and confirmed together with others.
//!
//! A queue owns whatever a device may still reach: the memory, the tables that came off, the IOVAs. So what a deferred flush
//! leaves open is a window in which the device reaches memory that nobody uses, and never memory that somebody else has.

use super::{
    AddressSpace,
    carrier::{Backing, Removed},
    counters::Count,
    deferred::Deferred,
    gather::Gather,
    ring::Ring,
};
use crate::{
    driver::Hung,
    order::{Rank, Ranked},
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::mem;
use ioward_pgtable::Detached;
use ioward_types::{
    IommuId, Iova, Nanos, OutOfMemory, Platform, Span,
    cell::{AtomicBool, AtomicU64, Ordering},
};

/// How many mappings of a CPU wait for one flush at most.
pub const QUEUED: usize = if cfg!(loom) { 2 } else { 256 };
/// How long one waits at most, if [`AddressSpace::poll`] is called when it asks to be.
pub const AFTER: Nanos = Nanos(10_000_000);

/// What is counted when mappings have ended, by a flush of their own.
pub fn ended(mappings: u64, bytes: u64) -> [(Count, u64); 3] {
    [(Count::Unmappings, mappings), (Count::UnmappedBytes, bytes), (Count::Flushes, 1)]
}

/// What waits for a flush.
struct Entry<P: Platform> {
    span: Span<Iova>,
    owner: Deferred,
    tables: Option<(Arc<Backing<P>>, Detached)>,
}

/// Each CPU's queue, and who empties them.
pub struct Queues<P: Platform> {
    rings: Box<[Ring<Entry<P>>]>,
    /// Somebody empties them: one at a time, and nobody waits for it.
    draining: AtomicBool,
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
            rings.push(Ring::new(QUEUED)?);
        }
        Ok(Self {
            rings: rings.into_boxed_slice(),
            draining: AtomicBool::new(false),
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
    /// Takes a mapping out, and gives its memory back once no device reaches it.
    pub(crate) fn take_back<O>(&self, at: Span<Iova>, owner: O) -> Result<O, Hung> {
        match self.take_confirmed(at, &ended(1, at.bytes)) {
            Ok(()) => {
                self.free_iova(at);
                Ok(owner)
            }
            Err(hung) => {
                mem::forget(owner);
                Err(hung)
            }
        }
    }

    /// Takes out what is mapped in a range of the caller's, and flushes. Its IOVAs stay the caller's: on `Err` they are never
    /// to be given back, and neither is the memory.
    ///
    /// All of it goes under one pin: who attaches meanwhile publishes first and then waits for the pin, so either its entry
    /// is installed after the tables were written, or it is among the targets that are flushed here.
    pub(crate) fn take_confirmed(&self, at: Span<Iova>, counts: &[(Count, u64)]) -> Result<(), Hung> {
        let (pin, cpu) = self.platform.pin();
        let layout = self.layout.read(&pin);
        let ([carrier], false) = (&layout.carriers[..], layout.filling) else {
            drop(pin);
            return self.take_everywhere(at, counts);
        };
        let Ok(removed) = carrier.backing.unmap(&carrier.units, at) else {
            return Err(self.broken(at));
        };
        let flushed = carrier.flush(at, removed.tables_went);
        if let Err(hung) = removed.hung.map_or(flushed, Err) {
            self.quarantine(at.bytes);
            return Err(hung);
        }
        self.counters.add(&pin, cpu, counts);
        self.free(removed, true);
        Ok(())
    }

    /// The same where there are several carriers, or one is being filled.
    #[cold]
    fn take_everywhere(&self, at: Span<Iova>, counts: &[(Count, u64)]) -> Result<(), Hung> {
        match self.take_out(at, ()) {
            Ok(gather) => gather.finish()?,
            Err(_) => return Err(self.broken(at)),
        }
        self.count(counts);
        Ok(())
    }

    pub(crate) fn count(&self, what: &[(Count, u64)]) {
        let (pin, cpu) = self.platform.pin();
        self.counters.add(&pin, cpu, what);
    }

    /// The span was a mapping's own and was mapped whole, so only somebody who broke the contract of the raw `map` can bring
    /// this about; nothing is known to be unreachable then.
    #[cold]
    pub(crate) fn broken(&self, at: Span<Iova>) -> Hung {
        self.quarantine(at.bytes);
        Hung { iommu: IommuId(u32::MAX), what: "unmap", waited: Nanos(0) }
    }

    /// Takes a mapping out and drops its memory once no device reaches it: now, or, if the address space is lazy, when this
    /// CPU's queue is flushed. On `Err` all of it is withheld.
    pub(crate) fn give_up<O: Send + 'static>(&self, at: Span<Iova>, owner: O) -> Result<(), Hung> {
        let Some(queues) = self.queues.as_ref().filter(|queues| queues.is_open()) else {
            return self.take_back(at, owner).map(drop);
        };
        let owner = match self.put_off(queues, at, owner) {
            Ok(done) => return done,
            Err(owner) => owner,
        };
        // This CPU's queue is full, most of the time.
        self.drain(queues);
        match self.put_off(queues, at, owner) {
            Ok(done) => done,
            Err(owner) => self.take_back(at, owner).map(drop),
        }
    }

    /// Puts a mapping into this CPU's queue. The owner comes back, and nothing is done, where that cannot be.
    fn put_off<O: Send + 'static>(
        &self,
        queues: &Queues<P>,
        at: Span<Iova>,
        owner: O,
    ) -> Result<Result<(), Hung>, O> {
        let (pin, cpu) = self.platform.pin();
        let layout = self.layout.read(&pin);
        let Some(ring) = queues.rings.get(cpu).filter(|ring| ring.has_room()) else { return Err(owner) };
        // Looked at under the pin, for which whoever closes the queues waits.
        if !queues.is_open() || layout.filling {
            return Err(owner);
        }
        let owner = Deferred::new(owner)?;
        let Ok(mut removed) = self.remove(layout, at) else {
            mem::forget(owner);
            return Ok(Err(self.broken(at)));
        };
        if let Some(hung) = removed.iter().flatten().find_map(|removed| removed.hung) {
            mem::forget(owner);
            self.quarantine(at.bytes);
            return Ok(Err(hung));
        }
        self.counters.add(&pin, cpu, &[(Count::Unmappings, 1), (Count::UnmappedBytes, at.bytes)]);
        if removed.iter().flatten().filter(|removed| removed.tables_went).count() > 1 {
            // Tables went from several carriers at once: too much for one entry, and rare.
            drop(pin);
            return Ok(Gather::new(self, at, owner, removed).and_iova().finish().map(drop));
        }
        let tables = removed.iter_mut().flatten().find_map(|removed| removed.detached.take());
        // SAFETY: the ring is this CPU's, to which the caller is pinned.
        if let Err(entry) = unsafe { ring.put(Entry { span: at, owner, tables }) } {
            unreachable!("there was room, and nobody else puts anything in: {}", entry.span);
        }
        Ok(Ok(()))
    }

    /// Flushes once for everything that waits, and ends it. False, and nothing is done, where somebody else is at it.
    fn drain(&self, queues: &Queues<P>) -> bool {
        if queues.draining.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: whoever has set the flag is the only taker, here and below.
        let waiting: usize = queues.rings.iter().map(|ring| unsafe { ring.mark() }).sum();
        if waiting != 0 {
            // What is marked was taken off the tables before: the marks were acquired.
            let confirmed = self.flush(self.iova_span, true);
            self.count(&[(Count::Flushes, 1)]);
            for ring in &queues.rings {
                // SAFETY: as above.
                while let Some(entry) = unsafe { ring.take_marked() } {
                    self.end(entry, confirmed.is_ok());
                }
            }
        }
        queues.draining.store(false, Ordering::Release);
        true
    }

    fn end(&self, entry: Entry<P>, confirmed: bool) {
        if !confirmed {
            self.quarantine(entry.span.bytes);
            return mem::forget(entry);
        }
        let Entry { span, owner, tables } = entry;
        if let Some(detached) = tables {
            self.free(Removed { detached: Some(detached), tables_went: true, hung: None }, true);
        }
        self.free_iova(span);
        drop(owner);
    }

    /// Flushes for what waits, and ends it, whoever is at it already; waits for that one.
    fn drain_all(&self, queues: &Queues<P>) {
        while !self.drain(queues) {
            self.platform.relax();
        }
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

    /// Flushes for everything that waits and ends it, and takes back the IOVAs that CPUs have at hand: for whoever is short
    /// of memory or IOVAs and may sleep. Waits for whoever is pinned.
    pub fn trim(&self) {
        if let Some(queues) = &self.queues {
            self.drain_all(queues);
        }
        self.iova.trim();
    }

    /// From now on every release is confirmed before it returns, and what waited has been. Waits for whoever is pinned.
    pub(crate) fn make_strict(&self) {
        if let Some(queues) = &self.queues {
            queues.open.store(false, Ordering::Relaxed);
            self.platform.synchronize();
            self.drain_all(queues);
        }
    }

    /// For an address space that nobody uses any more.
    pub(super) fn end_queues(&self) {
        if let Some(queues) = &self.queues {
            self.drain(queues);
        }
    }
}
