//! Address spaces: IOVAs and mappings stay, carriers come and go.
//!
//! An [`AddressSpace`] is what a user of the API maps into. Each [`Carrier`](carrier) realises it for all IOMMUs whose
//! plans are equal; a map or unmap goes to every carrier, so they are equal by construction (rule 10). The set of
//! carriers, IOMMUs and device caches is one published value ([`layout`]): mapping reads it under a pin and takes no
//! reference count and no lock of a group.
//!
//! Carriers are added to a live address space (rules 7 and 10) without pausing anybody: the new carrier is published
//! as *filling*, from which moment every map and unmap goes to both, one at a time under a lock that is held for a few
//! entries; the old mappings are copied under the same lock, a leaf at a time; and only then is the new table installed.

mod carrier;
mod colour;
mod counters;
mod deferred;
mod gather;
mod layout;
mod lazy;
mod map;
mod narrow;
mod own;
mod prepare;
mod ring;
mod trim;

pub use counters::{Failures, SpaceStats};
pub use gather::Gather;
pub use lazy::{AFTER, QUEUED};
pub use map::{MapError, UnmapError};

pub(crate) use counters::{Count, Counters};
pub(crate) use layout::{Target, granule};
pub(crate) use lazy::LazySpaces;
pub(crate) use prepare::Want;

use crate::{
    driver::Plan,
    order::{Held, Rank, Ranked},
    pages::TablePages,
    policy::FlushMode,
    publish::Published,
};
use alloc::vec::Vec;
use core::fmt;
use ioward_iova::{IovaAllocator, IovaError, IovaTree, Reserved};
use ioward_types::{
    Iova, Platform, Span,
    cell::{AtomicBool, Ordering},
};
use layout::Layout;
use lazy::Queues;

/// The most carriers that one address space can have: there are not more kinds of table in a machine.
pub const MAX_CARRIERS: usize = 4;

/// IOVAs and what they are mapped to, whatever tables realise it.
pub struct AddressSpace<P: Platform> {
    platform: P,
    /// What its tables are made of.
    pages: TablePages<P>,
    /// Which subsystem it belongs to: that one's turn guards the layout.
    registry: usize,
    layout: Published<Layout<P>>,
    /// Held for a few entries at a time while a carrier is being filled.
    filling: Ranked<P::Lock, ()>,
    iova: IovaAllocator<P>,
    /// Somebody reserves IOVAs or takes that back, or trims: one at a time, since what is taken back last was taken last.
    ranges: AtomicBool,
    /// Tables that are empty are being taken off: what is mapped by hand waits.
    trimming: AtomicBool,
    /// All IOVAs that there ever were: what a flush of everything names.
    iova_span: Span<Iova>,
    counters: Counters,
    /// None where every release is confirmed before it returns.
    queues: Option<Queues<P>>,
}

impl<P: Platform> AddressSpace<P> {
    /// An address space without any carrier yet. `number` tells the subsystem's address spaces apart: those with different
    /// numbers begin to give out IOVAs at different places.
    pub(crate) fn new(
        pages: TablePages<P>,
        registry: usize,
        number: u64,
        aperture: Span<Iova>,
        granule: u64,
        mode: FlushMode,
    ) -> Result<Self, IovaError> {
        let platform = pages.platform().clone();
        let start = colour::start(aperture, granule, number);
        let iova = IovaAllocator::with_start(platform.clone(), aperture, granule, start)?;
        // Without memory for queues it is strict, which it tells.
        let queues = if mode == FlushMode::Lazy { Queues::new(&platform).ok() } else { None };
        Ok(Self {
            counters: Counters::new(platform.cpus(), granule),
            queues,
            iova_span: aperture,
            platform,
            pages,
            registry,
            layout: Published::new(Layout::empty()),
            filling: Ranked::new(Rank::Filling, ()),
            ranges: AtomicBool::new(false),
            trimming: AtomicBool::new(false),
            iova,
        })
    }

    /// The IOVAs that can be mapped, reserved ones among them.
    pub fn aperture(&self) -> Span<Iova> {
        let _ranked = Held::enter(Rank::Iova);
        self.iova.aperture()
    }

    /// The smallest page of every carrier, in bytes: what IOVAs, physical addresses and lengths are multiples of.
    pub fn granule(&self) -> u64 {
        self.iova.granule()
    }

    /// The plans of its carriers, in the order in which they came.
    pub fn plans(&self) -> Vec<Plan> {
        let (pin, _) = self.platform.pin();
        self.layout.read(&pin).carriers.iter().map(|carrier| carrier.plan).collect()
    }

    /// What it has counted.
    pub fn stats(&self) -> SpaceStats {
        let _ranked = Held::enter(Rank::Iova);
        let queued = self.queues.as_ref().map_or(0, Queues::len) as u64;
        SpaceStats { iova_in_use: self.iova.in_use(), queued, ..self.counters.stats() }
    }

    /// The platform that it lives on.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn registry(&self) -> usize {
        self.registry
    }

    pub(crate) fn alloc_iova(&self, bytes: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let _ranked = Held::enter(Rank::Iova);
        self.iova.alloc(bytes, self.iova.granule(), limit)
    }

    #[inline]
    pub(crate) fn free_iova(&self, span: Span<Iova>) {
        let _ranked = Held::enter(Rank::Iova);
        let result = self.iova.free(span);
        debug_assert!(result.is_ok(), "an allocation is freed once, by its owner");
    }

    /// When a release of the DMA API is confirmed. Lazy was asked for and is not told where the platform announces no CPUs,
    /// where there was no memory for queues, and where a device that is not trusted has come since.
    pub fn flush_mode(&self) -> FlushMode {
        match &self.queues {
            Some(queues) if queues.is_open() => FlushMode::Lazy,
            _ => FlushMode::Strict,
        }
    }

    /// The tree itself, with what CPUs had at hand in it. Waits for whoever is pinned.
    fn with_iovas<R>(&self, f: impl FnOnce(&mut IovaTree) -> R) -> R {
        self.iova.with_tree(|tree| {
            let _ranked = Held::enter(Rank::Iova);
            f(tree)
        })
    }

    /// Waits until nobody else has them: for a reservation, or for a trim and its flushes.
    fn own_ranges(&self) -> Ranges<'_> {
        while self.ranges.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.platform.relax();
        }
        Ranges(&self.ranges)
    }

    /// Never to allocate any of these. All or none: `Err` names one that is in use.
    fn reserve_iova(&self, spans: &[Span<Iova>]) -> Result<Vec<Reserved>, Span<Iova>> {
        let _nobody_trims = self.own_ranges();
        self.with_iovas(|iova| {
            if let Some(used) = spans.iter().find(|span| !iova.is_unused(**span)) {
                return Err(*used);
            }
            // None is allocated, so none is refused.
            Ok(spans.iter().filter_map(|span| iova.reserve(*span).ok()).collect())
        })
    }

    /// No IOVA beyond `last` any more.
    fn lower_iova(&self, last: Iova) -> Result<Option<Reserved>, IovaError> {
        if last >= self.aperture().last() {
            return Ok(None);
        }
        let _nobody_trims = self.own_ranges();
        self.with_iovas(|iova| iova.lower(last)).map(Some)
    }

    fn undo_iova(&self, reserved: Vec<Reserved>) {
        if !reserved.is_empty() {
            self.with_iovas(|iova| reserved.into_iter().rev().for_each(|one| iova.undo(one)));
        }
    }

    pub(crate) fn quarantine(&self, bytes: u64) {
        self.counters.quarantine(bytes);
    }
}

/// The right to reserve IOVAs, until it is dropped.
struct Ranges<'s>(&'s AtomicBool);

impl Drop for Ranges<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<P: Platform> fmt::Debug for AddressSpace<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace").field("plans", &self.plans()).finish_non_exhaustive()
    }
}
