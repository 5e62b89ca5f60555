//! Giving back what nobody uses: queues, IOVAs and pages at hand, tables in which nothing is mapped any more.
//!
//! A table is taken off by whoever owns all the IOVAs that it spans, as ever. So for a while trim owns them: it reserves those
//! of an empty table, which cannot be done while one of them is allocated, and then unmaps, flushes and frees as any owner
//! does. Mappings of the DMA API go on meanwhile, without a look at it: their IOVAs are others. What is mapped by hand, at
//! IOVAs that nobody allocated, waits for the lock that trim holds from the last look at a table until its flush.

use super::{
    AddressSpace,
    carrier::{Backing, Removed, free},
    layout::Layout,
};
use crate::driver::Hung;
use alloc::{sync::Arc, vec::Vec};
use ioward_iova::Reserved;
use ioward_types::{Iova, Platform, Span, cell::Ordering};

/// How many tables go with one flush at most, and of how much of the aperture the IOVAs are withheld for it at most.
const BATCH: usize = 64;
const SHARE: u64 = 8;
/// No format has more levels of tables.
const LEVELS: usize = 6;
/// How many tables are looked at before others get the lock.
const LOOKED_AT: usize = 512;

/// An empty table: the IOVAs that it spans, and whose it is.
struct Empty<P: Platform> {
    span: Span<Iova>,
    backing: Arc<Backing<P>>,
}

impl<P: Platform> AddressSpace<P> {
    /// Flushes for everything that waits and ends it, takes back the IOVAs that CPUs have at hand, frees tables in which
    /// nothing is mapped, and gives the platform the free table pages that CPUs have at hand, for whatever address space of the
    /// subsystem: for whoever is short of memory or IOVAs and may sleep. Waits for whoever is pinned, and for the hardware, as
    /// often as there are tables for a flush, in six passes at most. What another caller is ending at the moment, that one goes
    /// on with. Tables stay where an IOMMU hung, where a carrier is being filled, and where they span more than an eighth of
    /// the aperture.
    pub fn trim(&self) {
        self.drain_all();
        self.iova.trim();
        self.trim_tables();
        // What was freed just now is among them.
        self.pages.trim();
    }

    fn trim_tables(&self) {
        let _nobody_reserves = self.own_ranges();
        // Whoever maps by hand from now on takes the lock; who did not see that has gone by the end of the wait.
        self.trimming.store(true, Ordering::Relaxed);
        self.platform.synchronize();
        // A table whose tables below have gone is empty in turn. No more often: others go on, and leave empty tables.
        for _ in 0..LEVELS {
            if !self.trim_once().unwrap_or(false) {
                break;
            }
        }
        self.trimming.store(false, Ordering::Relaxed);
    }

    /// Looks at all tables once. Tells whether some went.
    fn trim_once(&self) -> Result<bool, Hung> {
        let mut some = false;
        for backing in self.snapshot().carriers.iter().map(|carrier| &carrier.backing) {
            let mut from = Some(Iova(0));
            while from.is_some() {
                let mut empty = Vec::new();
                if empty.try_reserve_exact(BATCH).is_err() {
                    return Ok(false);
                }
                self.find(backing, &mut from, &mut empty);
                some |= self.take_empty(&empty)?;
            }
        }
        Ok(some)
    }

    /// Empty tables from `from` on, for one flush; and where to go on.
    fn find(&self, backing: &Arc<Backing<P>>, from: &mut Option<Iova>, empty: &mut Vec<Empty<P>>) {
        let most = self.iova_span.bytes / SHARE;
        let mut bytes = 0;
        while let Some(at) = *from {
            let found = {
                let _no_table_is_freed = self.filling.lock();
                backing.next_empty(at, LOOKED_AT)
            };
            match found {
                Err(next) => *from = Some(next),
                Ok(None) => *from = None,
                Ok(Some(span)) => {
                    if span.bytes <= most && (empty.len() == BATCH || bytes + span.bytes > most) {
                        return;
                    }
                    if span.bytes <= most {
                        bytes += span.bytes;
                        empty.push(Empty { span, backing: backing.clone() });
                    }
                    *from = span.last().0.checked_add(1).map(Iova);
                }
            }
        }
    }

    /// Takes those tables off whose IOVAs nobody has, flushes, and frees them. Tells whether there were any.
    fn take_empty(&self, empty: &[Empty<P>]) -> Result<bool, Hung> {
        let reserved: Vec<Option<Reserved>> = match empty {
            [] => return Ok(false),
            _ => self.with_iovas(|iova| empty.iter().map(|table| iova.reserve(table.span).ok()).collect()),
        };
        let ours =
            empty.iter().zip(&reserved).filter_map(|(table, reserved)| reserved.as_ref().map(|_| table));
        let taken = {
            let (pin, _) = self.platform.pin();
            let layout = self.layout.read(&pin);
            let _nobody_maps_by_hand = self.filling.lock();
            if layout.filling { Ok(false) } else { self.unmap_empty(layout, ours) }
        };
        // Where an IOMMU hung it may have the tables cached for ever: nothing is mapped there again.
        let taken = taken?;
        self.undo_iova(reserved.into_iter().flatten().collect());
        Ok(taken)
    }

    /// The caller owns the IOVAs, and holds the lock.
    fn unmap_empty<'e>(
        &self,
        layout: &Layout<P>,
        empty: impl Iterator<Item = &'e Empty<P>>,
    ) -> Result<bool, Hung> {
        let mut removed: [Option<Removed<P>>; BATCH] = [const { None }; BATCH];
        let mut places = removed.iter_mut();
        for Empty { span, backing } in empty {
            // Somebody may have mapped there by hand since it was found.
            let mapped = backing.next_leaf(span.start).is_some_and(|leaf| leaf.at.overlaps(span));
            if !mapped
                && let Some(place) = places.next()
                && let Ok(off) = backing.unmap(&[], *span)
            {
                *place = Some(off);
            }
        }
        if removed.iter().flatten().all(|removed| !removed.tables_went) {
            return Ok(false);
        }
        self.platform.fence();
        layout.flush(self.iova_span, true)?;
        for removed in removed.into_iter().flatten() {
            // SAFETY: the invalidation was confirmed, walk caches included; nobody else has the range, and the lock keeps
            // look-ups out.
            unsafe { free(removed) }
        }
        Ok(true)
    }
}
