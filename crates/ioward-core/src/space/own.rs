//! Ranges that the allocator gave, in an address space with one carrier: what nearly every mapping of the DMA API is. A page
//! or a few usually come and go under one pin each way, without a lock and without a locked instruction.

use super::{
    AddressSpace,
    carrier::Backing,
    counters::Count,
    layout::{Carrier, Layout},
    map::MapError,
};
use crate::driver::Hung;
use alloc::sync::Arc;
use ioward_pgtable::Plain;
use ioward_types::{
    Attributes, Iova, PhysAddr, Platform, Span,
    hint::{expected, likely, seldom},
};

/// What is counted when mappings have ended, by a flush of their own.
#[inline(always)]
pub fn ended(mappings: u64, bytes: u64) -> [(Count, u64); 3] {
    [(Count::Unmappings, mappings), (Count::UnmappedBytes, bytes), (Count::Flushes, 1)]
}

impl<P: Platform> AddressSpace<P> {
    /// Maps the page at `to` at an IOVA that this CPU has at hand, counts that, and gives the IOVA. `None`, and nothing has
    /// changed, where it cannot be done so: [`AddressSpace::map_at_hand`] does it or tells why not.
    ///
    /// # Safety
    /// As there, for a granule; `to` is a multiple of it.
    #[inline(always)]
    pub(crate) unsafe fn map_granule(&self, to: PhysAddr, how: Plain, limit: Iova) -> Option<Iova> {
        let (pin, cpu) = self.platform.pin();
        let pages = expected(self.layout.read(&pin).pages.as_ref())?;
        // SAFETY: the allocator's platform is this one.
        let at = expected(unsafe { self.iova.alloc_granule(&pin, cpu, limit) })?;
        // SAFETY: as promised by the caller; the allocator gave the page to nobody else, and by its granule.
        if !unsafe { pages.map_granule(at, to, how) } {
            seldom();
            drop(pin);
            self.free_iova(Span { start: at, bytes: self.granule() });
            return None;
        }
        self.counters.add(&pin, cpu, &[(Count::Pages, 1)]);
        Some(at)
    }

    /// Maps `to` at IOVAs that this CPU has at hand, counts that, and gives the first one. `Ok(None)`, and nothing has
    /// changed, where it cannot be done so: the general way does it or tells why not. On `Err` the memory must never be
    /// reused.
    ///
    /// Forbidden windows need no look: they are reserved, and who reserves one is refused while a part of it is allocated.
    ///
    /// # Safety
    /// Devices may reach `to` until the mapping has been taken out and that was confirmed: until then no reference to it
    /// exists and it is not reused.
    #[inline(never)]
    pub(crate) unsafe fn map_at_hand(
        &self,
        to: Span<PhysAddr>,
        how: Attributes,
        limit: Iova,
    ) -> Result<Option<Iova>, Hung> {
        if (to.start.0 | to.bytes) & (self.granule() - 1) != 0 || crate::mutate::on("rule_16") {
            return Ok(None);
        }
        let (pin, cpu) = self.platform.pin();
        let layout = self.layout.read(&pin);
        let Some(backing) = layout.only.as_ref().filter(|_| !layout.flush_after_map) else { return Ok(None) };
        // SAFETY: the allocator's platform is this one.
        let Some(at) = (unsafe { self.iova.alloc_pinned(&pin, cpu, to.bytes, limit) }) else {
            return Ok(None);
        };
        let mapped = match (&layout.pages, Plain::of(how)) {
            // SAFETY: as promised by the caller; the allocator gave the range to nobody else, and by its granule, to which
            // the rest was compared.
            (Some(pages), Some(plain)) => unsafe { pages.map_run(at.start, to, plain) },
            _ => false,
        };
        // SAFETY: as promised by the caller; the allocator gave the range to nobody else.
        if !mapped && !unsafe { self.map_range(layout, backing, at, to, how) }? {
            return Ok(None);
        }
        self.counters.add(&pin, cpu, &[(Count::Mappings, 1), (Count::MappedBytes, to.bytes)]);
        Ok(Some(at.start))
    }

    /// Maps a range. `Ok(false)`: its IOVAs have been given back.
    ///
    /// # Safety
    /// As for [`Backing::map`].
    #[inline(never)]
    unsafe fn map_range(
        &self,
        layout: &Layout<P>,
        backing: &Backing<P>,
        at: Span<Iova>,
        to: Span<PhysAddr>,
        how: Attributes,
    ) -> Result<bool, Hung> {
        let units = layout.carriers.first().map_or(&[][..], |carrier| &carrier.units);
        // SAFETY: as promised by the caller.
        let Err((error, seen)) = (unsafe { backing.map(units, at.start, to, how) }) else { return Ok(true) };
        let asked = if let MapError::Hung(hung) = error { Err(hung) } else { Ok(()) };
        match asked.and(self.undo(layout, 0, seen, at, false)) {
            Ok(()) => {
                self.free_iova(at);
                Ok(false)
            }
            Err(hung) => {
                // An IOMMU may go on with what was there for an instant.
                self.quarantine(at.bytes);
                Err(hung)
            }
        }
    }

    /// Takes a mapping out, waits for its flush, and gives its IOVAs back. On `Err` nothing of it is ever to be used again.
    #[inline(always)]
    pub(crate) fn end_now(&self, at: Span<Iova>) -> Result<(), Hung> {
        if likely(at.bytes == self.granule()) {
            let (pin, cpu) = self.platform.pin();
            let layout = self.layout.read(&pin);
            if let Some(pages) = expected(layout.pages.as_ref())
                && let Some(carrier) = expected(layout.carriers.first())
                && likely(pages.unmap_granule(at.start))
            {
                carrier.flush(at, false).inspect_err(|_| self.quarantine(at.bytes))?;
                self.counters.add(&pin, cpu, &[(Count::PagesFlushed, 1)]);
                // SAFETY: the allocator's platform is this one.
                if !unsafe { self.iova.free_granule(&pin, cpu, at.start) } {
                    seldom();
                    drop(pin);
                    self.free_iova(at);
                }
                return Ok(());
            }
        }
        self.take::<true>(at, 1, at.bytes)
    }

    /// Takes out what is mapped in a range of the caller's, so many mappings of so many bytes, and flushes. Its IOVAs stay
    /// the caller's: on `Err` they are never to be given back, and neither is the memory.
    pub(crate) fn take_confirmed(&self, at: Span<Iova>, mappings: u64, bytes: u64) -> Result<(), Hung> {
        self.take::<false>(at, mappings, bytes)
    }

    /// All of it goes under one pin: who attaches meanwhile publishes first and then waits for the pin, so either its entry
    /// is installed after the tables were written, or it is among the targets that are flushed here.
    #[inline(never)]
    fn take<const IOVAS: bool>(&self, at: Span<Iova>, mappings: u64, bytes: u64) -> Result<(), Hung> {
        let (pin, cpu) = self.platform.pin();
        let layout = self.layout.read(&pin);
        let (Some(backing), [carrier, ..]) = (&layout.only, &layout.carriers[..]) else {
            drop(pin);
            self.take_everywhere(at, mappings, bytes)?;
            if IOVAS {
                self.free_iova(at);
            }
            return Ok(());
        };
        if layout.pages.as_ref().is_some_and(|pages| pages.unmap_run(at).is_some()) {
            carrier.flush(at, false).inspect_err(|_| self.quarantine(at.bytes))?;
        } else {
            self.take_range(carrier, backing, at)?;
        }
        self.counters.add(&pin, cpu, &ended(mappings, bytes));
        // SAFETY: the allocator's platform is this one.
        if IOVAS && !unsafe { self.iova.free_pinned(&pin, cpu, at) } {
            drop(pin);
            self.free_iova(at);
        }
        Ok(())
    }

    /// Takes out a range by the general way of a table, and flushes.
    fn take_range(
        &self,
        carrier: &Carrier<P>,
        backing: &Arc<Backing<P>>,
        at: Span<Iova>,
    ) -> Result<(), Hung> {
        let Ok(removed) = backing.unmap(&carrier.units, at) else { return Err(self.broken(at)) };
        let flushed = carrier.flush(at, removed.tables_went);
        removed.hung.map_or(flushed, Err).inspect_err(|_| self.quarantine(at.bytes))?;
        self.free(removed, true);
        Ok(())
    }

    /// The same where there are several carriers, or one is being filled.
    #[cold]
    fn take_everywhere(&self, at: Span<Iova>, mappings: u64, bytes: u64) -> Result<(), Hung> {
        match self.take_out(at, ()) {
            Ok(gather) => gather.finish()?,
            Err(_) => return Err(self.broken(at)),
        }
        self.count(&ended(mappings, bytes));
        Ok(())
    }

    pub(crate) fn count(&self, what: &[(Count, u64)]) {
        let (pin, cpu) = self.platform.pin();
        self.counters.add(&pin, cpu, what);
    }
}
