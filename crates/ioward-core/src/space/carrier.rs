//! What realises an address space on hardware: a table, or a record of requests.

use super::{layout::Unit, map::MapError};
use crate::{
    driver::{Hung, Plan, Refused},
    pages::TablePages,
};
use alloc::{collections::BTreeMap, sync::Arc};
use core::{
    mem::ManuallyDrop,
    sync::atomic::{AtomicBool, Ordering},
};
use ioward_pgtable::{AnyTable, Detached};
use ioward_types::{Attributes, Iova, Mutex, PhysAddr, Platform, Root, Span};

/// The table of a carrier, made of what CPUs have at hand.
pub type Tables<P> = AnyTable<TablePages<P>>;

pub struct Backing<P: Platform> {
    kind: Kind<P>,
    /// No IOMMU holds the root and no cache what it led to: whoever drops the backing last frees its tables.
    retired: AtomicBool,
}

enum Kind<P: Platform> {
    Tables(ManuallyDrop<Tables<P>>),
    Requests(Requests<P>),
}

/// The mappings of a carrier without tables, so that they can be looked up and copied to another carrier.
pub struct Requests<P: Platform> {
    page_sizes: u64,
    addr_bits: u8,
    shadow: Mutex<P::Lock, BTreeMap<u64, Leaf>>,
}

/// A mapping, or as much of one as one entry holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    pub at: Span<Iova>,
    pub to: PhysAddr,
    pub how: Attributes,
}

/// What an unmap took away and an invalidation must confirm before it is reused.
pub struct Removed<P: Platform> {
    pub detached: Option<(Arc<Backing<P>>, Detached)>,
    pub tables_went: bool,
    /// A request to unmap was not answered.
    pub hung: Option<Hung>,
}

impl<P: Platform> Removed<P> {
    const NOTHING: Self = Self { detached: None, tables_went: false, hung: None };
}

impl<P: Platform> Backing<P> {
    pub fn new(plan: &Plan, pages: &TablePages<P>) -> Result<Self, Refused> {
        let kind = match plan {
            Plan::Tables(config) => {
                let table = AnyTable::new(pages.clone(), config).map_err(|error| match error {
                    ioward_pgtable::ConfigError::NoMemory(out) => Refused::NoMemory(out),
                    _ => Refused::Plan { table: config.format },
                })?;
                Kind::Tables(ManuallyDrop::new(table))
            }
            Plan::Requests { page_sizes, addr_bits } => Kind::Requests(Requests {
                page_sizes: *page_sizes,
                addr_bits: *addr_bits,
                shadow: Mutex::new(BTreeMap::new()),
            }),
        };
        Ok(Self { kind, retired: AtomicBool::new(false) })
    }

    /// Where hardware starts walking, for a backing with tables.
    pub fn root(&self) -> Option<Root> {
        match &self.kind {
            Kind::Tables(table) => Some(table.root()),
            Kind::Requests(_) => None,
        }
    }

    /// Lets the tables be freed once nobody holds the backing.
    ///
    /// # Safety
    /// No IOMMU has the root installed or cached any more, confirmed so.
    pub unsafe fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Maps all or nothing. The second of an error tells whether something was mapped for an instant, which hardware may
    /// have cached.
    ///
    /// # Safety
    /// The devices behind the carrier may reach `to` until an invalidation of an unmap is confirmed.
    pub unsafe fn map(
        &self,
        units: &[Unit],
        at: Iova,
        to: Span<PhysAddr>,
        how: Attributes,
    ) -> Result<(), (MapError, bool)> {
        match &self.kind {
            Kind::Tables(table) => {
                // SAFETY: as promised by the caller.
                let mapped = unsafe { table.map(at, to, how) }.or_else(|error| match error.cause {
                    // SAFETY: as promised by the caller; it asked for less than the format can express.
                    ioward_pgtable::MapCause::Attributes(_) => unsafe { table.map(at, to, table.widen(how)) },
                    _ => Err(error),
                });
                mapped.map_err(|error| (MapError::Table(error.cause), error.undone.is_some()))
            }
            Kind::Requests(requests) => requests.map(units, at, to, how).map_err(|error| (error, false)),
        }
    }

    /// Its table, if it has one.
    pub fn table(&self) -> Option<&Tables<P>> {
        match &self.kind {
            Kind::Tables(table) => Some(table),
            Kind::Requests(_) => None,
        }
    }

    /// Whether `span` begins or ends inside an entry.
    pub fn cuts(&self, span: Span<Iova>) -> Option<Span<Iova>> {
        [span.start, span.last()].into_iter().find_map(|at| {
            let leaf = self.leaf_at(at)?;
            (!span.covers(&leaf.at)).then_some(leaf.at)
        })
    }

    /// Unmaps whatever is mapped in `span`, whole entries only.
    pub fn unmap(
        self: &Arc<Self>,
        units: &[Unit],
        span: Span<Iova>,
    ) -> Result<Removed<P>, ioward_pgtable::UnmapError> {
        match &self.kind {
            Kind::Tables(table) => {
                let unmapped = table.unmap(span)?;
                let tables_went = unmapped.tables_went();
                // A count is taken only where a table went away, which is rare.
                let detached = tables_went.then(|| (self.clone(), unmapped.detached));
                Ok(Removed { tables_went, detached, hung: None })
            }
            Kind::Requests(requests) => requests.unmap(units, span),
        }
    }

    /// See [`AnyTable::next_empty`]; without tables there is none.
    pub fn next_empty(&self, from: Iova, tables: usize) -> Result<Option<Span<Iova>>, Iova> {
        match &self.kind {
            Kind::Tables(table) => table.next_empty(from, tables),
            Kind::Requests(_) => Ok(None),
        }
    }

    /// The mapping that `at` belongs to.
    pub fn leaf_at(&self, at: Iova) -> Option<Leaf> {
        match &self.kind {
            Kind::Tables(table) => table.lookup(at).map(|(to, how, page)| {
                let offset = at.0 & (page - 1);
                let span = Span { start: Iova(at.0 - offset), bytes: page };
                Leaf { at: span, to: PhysAddr(to.0 - offset), how }
            }),
            Kind::Requests(requests) => {
                let shadow = requests.shadow.lock();
                shadow.range(..=at.0).next_back().map(|(_, leaf)| *leaf).filter(|leaf| leaf.at.contains(at))
            }
        }
    }

    /// Where `at` leads, to the byte.
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        match &self.kind {
            Kind::Tables(table) => table.translate(at),
            Kind::Requests(_) => self.leaf_at(at).map(|leaf| PhysAddr(leaf.to.0 + (at.0 - leaf.at.start.0))),
        }
    }

    /// The first mapping that ends at or after `from`.
    pub fn next_leaf(&self, from: Iova) -> Option<Leaf> {
        if let Some(leaf) = self.leaf_at(from) {
            return Some(leaf);
        }
        match &self.kind {
            Kind::Tables(table) => table.next_mapped(from).and_then(|at| self.leaf_at(at)),
            Kind::Requests(requests) => requests.shadow.lock().range(from.0..).next().map(|(_, leaf)| *leaf),
        }
    }
}

/// Frees what an unmap detached.
///
/// # Safety
/// The invalidation that followed the unmap was confirmed, and nobody is walking the range.
pub unsafe fn free<P: Platform>(removed: Removed<P>) {
    if let Some((backing, detached)) = removed.detached
        && let Kind::Tables(table) = &backing.kind
    {
        // SAFETY: they come from this table; the rest is promised by the caller.
        unsafe { table.free(detached) }
    }
}

impl<P: Platform> Drop for Backing<P> {
    fn drop(&mut self) {
        if let Kind::Tables(table) = &mut self.kind {
            // SAFETY: taken once, here.
            let table = unsafe { ManuallyDrop::take(table) };
            if *self.retired.get_mut() {
                // SAFETY: `retire` was promised that no IOMMU reaches the table.
                unsafe { table.destroy() }
            }
            // Else the tables are leaked, but not what else is held for them.
        }
    }
}

impl<P: Platform> Requests<P> {
    fn map(&self, units: &[Unit], at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        let granule = self.page_sizes & self.page_sizes.wrapping_neg();
        let span = Span::new(at, to.bytes).ok_or(MapError::Empty(at))?;
        if !span.is_aligned(granule) || !to.start.0.is_multiple_of(granule) || !to.is_valid() {
            return Err(MapError::Misaligned { at, to: to.start, bytes: to.bytes, granule });
        }
        if self.addr_bits < 64 && span.last().0 >> self.addr_bits != 0 {
            return Err(MapError::Aperture(span));
        }
        let mut shadow = self.shadow.lock();
        if let Some((_, leaf)) = shadow.range(..=span.last().0).next_back()
            && leaf.at.overlaps(&span)
        {
            return Err(MapError::Exists(leaf.at.start.max(at)));
        }
        for (done, unit) in units.iter().enumerate() {
            let Some(driver) = unit.driver.requests() else { continue };
            if let Err(refused) = driver.map(unit.tag, at, to, how) {
                // A unit that does not answer, or not the undo, must not issue requests any more: it may map yet.
                let asked = match refused {
                    Refused::Hung(hung) => {
                        unit.silence();
                        Err(hung)
                    }
                    _ => Ok(()),
                };
                let undone = units[..done].iter().filter_map(|unit| Some((unit, unit.driver.requests()?)));
                let hung =
                    undone.map(|(unit, driver)| driver.unmap(unit.tag, span).inspect_err(|_| unit.silence()));
                return Err(hung
                    .fold(asked, Result::and)
                    .err()
                    .map_or(MapError::Refused(refused), MapError::Hung));
            }
        }
        shadow.insert(at.0, Leaf { at: span, to: to.start, how });
        Ok(())
    }

    fn unmap(&self, units: &[Unit], span: Span<Iova>) -> Result<Removed<P>, ioward_pgtable::UnmapError> {
        let mut shadow = self.shadow.lock();
        let inside = |leaf: &Leaf| leaf.at.overlaps(&span);
        let cut = shadow.range(..=span.last().0).rev().map(|(_, leaf)| leaf).take_while(|leaf| inside(leaf));
        if let Some(leaf) = cut.clone().find(|leaf| !span.covers(&leaf.at)) {
            return Err(ioward_pgtable::UnmapError::Cuts { page: leaf.at });
        }
        let starts: alloc::vec::Vec<u64> = cut.map(|leaf| leaf.at.start.0).collect();
        let mut removed = Removed::NOTHING;
        for unit in units {
            let Some(driver) = unit.driver.requests() else { continue };
            // Confirmed by the flush that comes before anything is reused.
            if let Err(hung) = driver.unmap_later(unit.tag, span) {
                unit.silence();
                removed.hung = Some(hung);
            }
        }
        for start in starts {
            shadow.remove(&start);
        }
        Ok(removed)
    }
}
