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
mod gather;
mod layout;
mod map;
mod narrow;
mod prepare;

pub use gather::Gather;
pub use map::{MapError, UnmapError};

pub(crate) use layout::{Target, granule};
pub(crate) use prepare::Want;

use crate::{
    driver::Plan,
    order::{Rank, Ranked},
    publish::Published,
};
use alloc::vec::Vec;
use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};
use ioward_iova::{IovaError, IovaTree, Reserved};
use ioward_types::{Iova, Platform, Span};
use layout::Layout;

/// The most carriers that one address space can have: there are not more kinds of table in a machine.
pub const MAX_CARRIERS: usize = 4;

/// IOVAs and what they are mapped to, whatever tables realise it.
pub struct AddressSpace<P: Platform> {
    platform: P,
    /// Which subsystem it belongs to: that one's turn guards the layout.
    registry: usize,
    layout: Published<Layout<P>>,
    /// Held for a few entries at a time while a carrier is being filled.
    filling: Ranked<P::Lock, ()>,
    iova: Ranked<P::Lock, IovaTree>,
    quarantined: AtomicU64,
}

/// What an address space has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpaceStats {
    /// Bytes of IOVA that are allocated.
    pub iova_in_use: u64,
    /// Bytes of memory that are withheld for ever because an IOMMU did not confirm an invalidation.
    pub quarantined: u64,
}

impl<P: Platform> AddressSpace<P> {
    /// An address space without any carrier yet.
    pub(crate) fn new(
        platform: P,
        registry: usize,
        aperture: Span<Iova>,
        granule: u64,
    ) -> Result<Self, IovaError> {
        let iova = IovaTree::new(aperture, granule)?;
        Ok(Self {
            platform,
            registry,
            layout: Published::new(Layout::empty()),
            filling: Ranked::new(Rank::Filling, ()),
            iova: Ranked::new(Rank::Iova, iova),
            quarantined: AtomicU64::new(0),
        })
    }

    /// The IOVAs that can be mapped, reserved ones among them.
    pub fn aperture(&self) -> Span<Iova> {
        self.iova.lock().aperture()
    }

    /// The smallest page of every carrier, in bytes: what IOVAs, physical addresses and lengths are multiples of.
    pub fn granule(&self) -> u64 {
        self.iova.lock().granule()
    }

    /// The plans of its carriers, in the order in which they came.
    pub fn plans(&self) -> Vec<Plan> {
        let (pin, _) = self.platform.pin();
        self.layout.read(&pin).carriers.iter().map(|carrier| carrier.plan).collect()
    }

    /// What it has counted.
    pub fn stats(&self) -> SpaceStats {
        SpaceStats {
            iova_in_use: self.iova.lock().in_use(),
            quarantined: self.quarantined.load(Ordering::Relaxed),
        }
    }

    /// The platform that it lives on.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    pub(crate) fn registry(&self) -> usize {
        self.registry
    }

    pub(crate) fn alloc_iova(&self, bytes: u64, limit: Iova) -> Result<Span<Iova>, IovaError> {
        let mut iova = self.iova.lock();
        let granule = iova.granule();
        iova.alloc(bytes, granule, limit)
    }

    pub(crate) fn free_iova(&self, span: Span<Iova>) {
        let result = self.iova.lock().free(span);
        debug_assert!(result.is_ok(), "an allocation is freed once, by its owner");
    }

    /// Never to allocate any of these. All or none: `Err` names one that is in use.
    fn reserve_iova(&self, spans: &[Span<Iova>]) -> Result<Vec<Reserved>, Span<Iova>> {
        let mut iova = self.iova.lock();
        if let Some(used) = spans.iter().find(|span| !iova.is_unused(**span)) {
            return Err(*used);
        }
        // None is allocated, so none is refused.
        Ok(spans.iter().filter_map(|span| iova.reserve(*span).ok()).collect())
    }

    fn undo_iova(&self, reserved: Vec<Reserved>) {
        let mut iova = self.iova.lock();
        reserved.into_iter().rev().for_each(|one| iova.undo(one));
    }

    pub(crate) fn quarantine(&self, bytes: u64) {
        self.quarantined.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl<P: Platform> fmt::Debug for AddressSpace<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace").field("plans", &self.plans()).finish_non_exhaustive()
    }
}
