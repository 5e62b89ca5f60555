//! What a map or a flush must reach: the value that is published whole.

use super::carrier::{Backing, Tables};
use crate::driver::{AtcTarget, Driver, Flush, Hung, Plan};
use alloc::{sync::Arc, vec::Vec};
use core::{ops::Deref, ptr::NonNull};
use ioward_types::{DeviceControl, Iova, Pasid, Platform, SourceId, Span, Tag, hint::seldom};

/// All carriers of an address space.
pub struct Layout<P: Platform> {
    pub carriers: Vec<Carrier<P>>,
    /// Windows that never reach a table, or that the fabric decodes: nobody maps them.
    pub forbidden: Vec<Span<Iova>>,
    /// Some IOMMU caches that nothing is mapped: a map owes it a flush.
    pub flush_after_map: bool,
    /// Regions that firmware requires; nobody unmaps them.
    pub required: Vec<Span<Iova>>,
    /// A carrier is being filled: maps and unmaps go one at a time.
    pub filling: bool,
    /// The backing of the one carrier that there is, if none is being filled. Derived.
    pub only: Option<Arc<Backing<P>>>,
    /// Its table, where a page of the address space takes one entry of it and no flush when it is mapped. Derived.
    pub pages: Option<Pages<P>>,
}

/// The table of a backing, found by one pointer.
pub struct Pages<P: Platform> {
    table: NonNull<Tables<P>>,
    /// Keeps the table where it is.
    _backing: Arc<Backing<P>>,
}

// SAFETY: it is a shared reference to what the `Arc` keeps.
unsafe impl<P: Platform> Send for Pages<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Pages<P> {}

impl<P: Platform> Pages<P> {
    fn of(backing: &Arc<Backing<P>>) -> Option<Self> {
        let table = NonNull::from(backing.table()?);
        Some(Self { table, _backing: backing.clone() })
    }
}

impl<P: Platform> Deref for Pages<P> {
    type Target = Tables<P>;
    #[inline(always)]
    fn deref(&self) -> &Tables<P> {
        // SAFETY: the backing lies behind an `Arc`, which is kept, and is never changed but by atomics.
        unsafe { self.table.as_ref() }
    }
}

/// One table, or one stream of requests, and the IOMMUs that it serves.
pub struct Carrier<P: Platform> {
    pub plan: Plan,
    /// Its smallest page, in bytes.
    pub granule: u64,
    pub backing: Arc<Backing<P>>,
    pub units: Vec<Unit>,
}

/// An IOMMU on a carrier.
#[derive(Clone)]
pub struct Unit {
    pub driver: Arc<dyn Driver>,
    pub tag: Tag,
    pub targets: Vec<Target>,
    /// The targets that cache translations, kept beside them so that a flush allocates nothing.
    pub atc: Vec<AtcTarget>,
}

/// A source, or a PASID behind it, whose requests go through a unit.
#[derive(Clone)]
pub struct Target {
    pub source: SourceId,
    pub pasid: Option<Pasid>,
    pub ats: bool,
    /// Every device that uses the source.
    pub controls: Vec<Arc<dyn DeviceControl>>,
}

impl Target {
    pub fn is(&self, source: SourceId, pasid: Option<Pasid>) -> bool {
        self.source == source && self.pasid == pasid
    }
}

impl Unit {
    pub fn new(driver: Arc<dyn Driver>, tag: Tag) -> Self {
        Self { driver, tag, targets: Vec::new(), atc: Vec::new() }
    }

    pub fn add(&mut self, target: Target) {
        self.targets.push(target);
        self.refresh();
    }

    /// Removes one use of the source or PASID; tells whether nothing is left.
    pub fn remove(&mut self, source: SourceId, pasid: Option<Pasid>) -> bool {
        if let Some(at) = self.targets.iter().position(|target| target.is(source, pasid)) {
            self.targets.remove(at);
        }
        self.refresh();
        self.targets.is_empty()
    }

    /// The source or PASID caches nothing any more.
    pub fn forget_cache(&mut self, source: SourceId, pasid: Option<Pasid>) {
        let of_it = self.targets.iter_mut().filter(|target| target.is(source, pasid));
        of_it.for_each(|target| target.ats = false);
        self.refresh();
    }

    fn refresh(&mut self) {
        let cached = self.targets.iter().filter(|target| target.ats);
        self.atc = cached.map(|target| AtcTarget { source: target.source, pasid: target.pasid }).collect();
    }

    #[inline]
    pub fn flush(&self, span: Span<Iova>, granule: u64, tables_went: bool) -> Result<(), Hung> {
        let result =
            self.driver.flush(&[Flush { tag: self.tag, span, granule, tables_went, atc: &self.atc }]);
        if result.is_err() {
            seldom();
            self.silence();
        }
        result
    }

    /// The last resort: what cannot be invalidated must not issue requests.
    pub fn silence(&self) {
        self.targets.iter().flat_map(|target| &target.controls).for_each(|control| control.bus_master(false));
    }
}

impl<P: Platform> Carrier<P> {
    pub fn unit(&mut self, driver: &Arc<dyn Driver>) -> Option<&mut Unit> {
        self.units.iter_mut().find(|unit| unit.driver.id() == driver.id())
    }

    /// Flushes `span` on every IOMMU. Every one is tried; the first failure is told.
    #[inline(always)]
    pub fn flush(&self, span: Span<Iova>, tables_went: bool) -> Result<(), Hung> {
        match &self.units[..] {
            [unit] => unit.flush(span, self.granule, tables_went),
            _ => {
                seldom();
                self.flush_several(span, tables_went)
            }
        }
    }

    #[inline(never)]
    fn flush_several(&self, span: Span<Iova>, tables_went: bool) -> Result<(), Hung> {
        let mut all = Ok(());
        for unit in &self.units {
            if let Err(hung) = unit.flush(span, self.granule, tables_went) {
                all = all.and(Err(hung));
            }
        }
        all
    }
}

/// The smallest page of a plan, in bytes.
pub fn granule(plan: &Plan) -> u64 {
    match plan {
        Plan::Tables(config) => config.granule(),
        Plan::Requests { page_sizes, .. } => page_sizes & page_sizes.wrapping_neg(),
    }
}

impl<P: Platform> Layout<P> {
    pub fn empty() -> Self {
        Self {
            carriers: Vec::new(),
            required: Vec::new(),
            forbidden: Vec::new(),
            flush_after_map: false,
            filling: false,
            only: None,
            pages: None,
        }
    }

    /// Where the carrier of this plan is that serves this IOMMU.
    pub fn carrier_of(&self, plan: &Plan, driver: &Arc<dyn Driver>) -> Option<usize> {
        let serves = |carrier: &Carrier<P>| carrier.units.iter().any(|unit| unit.driver.id() == driver.id());
        self.carriers.iter().position(|carrier| carrier.plan == *plan && serves(carrier))
    }

    /// Flushes `span` everywhere. Every unit is tried; the first failure is told.
    pub fn flush(&self, span: Span<Iova>, tables_went: bool) -> Result<(), Hung> {
        let mut all = Ok(());
        for carrier in &self.carriers {
            all = all.and(carrier.flush(span, tables_went));
        }
        all
    }

    /// What is derived from the rest, to be called before publishing; for an address space whose smallest page is `granule`.
    pub fn sealed(mut self, granule: u64) -> Self {
        self.only = match &self.carriers[..] {
            [carrier] if !self.filling => Some(carrier.backing.clone()),
            _ => None,
        };
        let mut units = self.carriers.iter().flat_map(|carrier| &carrier.units);
        self.flush_after_map = units.any(|unit| unit.driver.flush_after_map());
        self.pages = match (&self.only, &self.carriers[..]) {
            (Some(only), [carrier]) if carrier.granule == granule && !self.flush_after_map => Pages::of(only),
            _ => None,
        };
        self
    }
}

impl<P: Platform> Clone for Layout<P> {
    fn clone(&self) -> Self {
        Self {
            carriers: self.carriers.clone(),
            required: self.required.clone(),
            forbidden: self.forbidden.clone(),
            flush_after_map: self.flush_after_map,
            filling: self.filling,
            only: None,
            pages: None,
        }
    }
}

impl<P: Platform> Clone for Carrier<P> {
    fn clone(&self) -> Self {
        Self {
            plan: self.plan,
            granule: self.granule,
            backing: self.backing.clone(),
            units: self.units.clone(),
        }
    }
}
