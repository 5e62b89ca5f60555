//! Mapping and unmapping, in every carrier alike.

use super::{
    AddressSpace, MAX_CARRIERS,
    carrier::{Removed, free},
    counters::Count,
    gather::Gather,
    layout::Layout,
};
use crate::driver::{Hung, Refused};
use core::fmt;
use ioward_iova::IovaError;
use ioward_types::{Attributes, Iova, OutOfMemory, PhysAddr, Platform, Span, cell::Ordering};

/// Why nothing was mapped. Everything is as it was before, and confirmed to be so, but for [`MapError::Hung`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MapError {
    /// The length is zero, or the end wraps.
    Empty(Iova),
    /// An address or the length is not a multiple of the address space's smallest page.
    Misaligned {
        /// The IOVA.
        at: Iova,
        /// The physical address.
        to: PhysAddr,
        /// How many bytes.
        bytes: u64,
        /// The smallest page, in bytes.
        granule: u64,
    },
    /// A part is outside what the address space can translate.
    Aperture(Span<Iova>),
    /// A part lies in a window that must never be mapped: of interrupts, or of the fabric (rule 15).
    Forbidden(Span<Iova>),
    /// Something is mapped there.
    Exists(Iova),
    /// No IOVA was free.
    Iova(IovaError),
    /// A table cannot hold it.
    Table(ioward_pgtable::MapCause),
    /// An IOMMU that takes requests refused it.
    Refused(Refused),
    /// An IOMMU did not answer: it may hold the mapping still, so its devices were silenced, and the memory must never be
    /// reused.
    Hung(Hung),
    /// No IOMMU has ever been attached to the address space.
    NoCarrier,
    /// A reserved range has no such slot.
    NoSlot {
        /// The slot that was named.
        slot: usize,
        /// How many there are.
        of: usize,
    },
    /// The buffer is longer than a slot of the reserved range.
    TooLong {
        /// Its length in bytes.
        bytes: u64,
        /// A slot's.
        slot: u64,
    },
    /// The device does not see the CPU's caches, so memory cannot be shared with it without copies.
    DoesNotSnoop,
    /// No memory to copy to, below what the device can address where nothing translates.
    NoMemory(OutOfMemory),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(at) => write!(f, "no bytes, or too many, at {at}"),
            Self::Misaligned { at, to, bytes, granule } => {
                write!(f, "{bytes:#x} bytes from {at} to {to} are not whole pages of {granule:#x} bytes")
            }
            Self::Aperture(span) => write!(f, "{span} is outside the aperture"),
            Self::Forbidden(window) => write!(f, "{window} must never be mapped"),
            Self::Exists(at) => write!(f, "{at} is mapped already"),
            Self::Iova(error) => error.fmt(f),
            Self::Table(cause) => cause.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
            Self::NoCarrier => f.write_str("no IOMMU is attached to the address space"),
            Self::NoSlot { slot, of } => write!(f, "slot {slot} is not one of {of}"),
            Self::TooLong { bytes, slot } => {
                write!(f, "{bytes:#x} bytes do not fit into a slot of {slot:#x}")
            }
            Self::DoesNotSnoop => f.write_str("the device does not see the CPU's caches"),
            Self::NoMemory(error) => write!(f, "nothing can be allocated for the device: {error}"),
        }
    }
}
impl core::error::Error for MapError {}

/// Why nothing was unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UnmapError {
    /// The length is zero, or the end wraps.
    Empty(Iova),
    /// Firmware requires a part of it (rule 15).
    Required(Span<Iova>),
    /// It begins or ends inside an entry, or is not a range of whole pages.
    Table(ioward_pgtable::UnmapError),
}

impl fmt::Display for UnmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(at) => write!(f, "no bytes, or too many, at {at}"),
            Self::Required(span) => write!(f, "firmware requires {span}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}
impl core::error::Error for UnmapError {}

impl<P: Platform> AddressSpace<P> {
    /// Maps `to` at `at`, in every carrier or in none. Interrupts may be off; it does not sleep, but an IOMMU that takes
    /// requests makes it wait.
    ///
    /// # Safety
    /// * Devices may reach `to` until a [`Gather`] for it has finished: until then no reference to it exists and it is not
    ///   reused. After [`MapError::Hung`] that is for ever.
    /// * No other map or unmap of a part of the range runs meanwhile.
    pub unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        unsafe { self.map_counted(at, to, how, &[], true) }
    }

    /// As [`AddressSpace::map`], and counts, if it succeeds, on the CPU on which it did so. Without `sync` no device uses it
    /// before [`AddressSpace::made`] was called.
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub(crate) unsafe fn map_counted(
        &self,
        at: Iova,
        to: Span<PhysAddr>,
        how: Attributes,
        counts: &[(Count, u64)],
        sync: bool,
    ) -> Result<(), MapError> {
        let _inverted =
            crate::mutate::on("rule_16").then(|| crate::order::Held::enter(crate::order::Rank::Control));
        let span = Span::new(at, to.bytes).filter(|_| to.is_valid()).ok_or(MapError::Empty(at))?;
        let (pin, cpu) = self.platform.pin();
        let layout = self.layout.read(&pin);
        if layout.carriers.is_empty() {
            return Err(MapError::NoCarrier);
        }
        if let Some(window) = layout.forbidden.iter().find(|window| window.overlaps(&span)) {
            return Err(MapError::Forbidden(*window));
        }
        let one_at_a_time = self.is_slow(layout).then(|| self.filling.lock());
        let locked = one_at_a_time.is_some();
        for (done, carrier) in layout.carriers.iter().enumerate() {
            if crate::mutate::on("rule_10") && done != 0 {
                continue;
            }
            // SAFETY: as promised by the caller.
            if let Err((error, seen)) = unsafe { carrier.backing.map(&carrier.units, at, to, how) } {
                return Err(self.undo(layout, done, seen, span, locked).err().map_or(error, MapError::Hung));
            }
        }
        if sync && layout.flush_after_map {
            self.platform.fence();
            if let Err(hung) = layout.flush(span, false) {
                // Taken out as far as may be; what the hardware holds nobody knows, so the memory is withheld either way.
                let _ = self.undo(layout, layout.carriers.len(), true, span, locked);
                return Err(MapError::Hung(hung));
            }
        }
        self.counters.add(&pin, cpu, counts);
        Ok(())
    }

    /// Whether maps and unmaps go one at a time: a carrier is being filled, or empty tables are being taken off.
    fn is_slow(&self, layout: &Layout<P>) -> bool {
        layout.filling || self.trimming.load(Ordering::Relaxed)
    }

    /// Every IOMMU knows what was mapped in `span`. On `Err` one did not answer, and its devices were silenced.
    pub(crate) fn made(&self, span: Span<Iova>) -> Result<(), Hung> {
        let (pin, _) = self.platform.pin();
        let layout = self.layout.read(&pin);
        if !layout.flush_after_map {
            return Ok(());
        }
        self.platform.fence();
        layout.flush(span, false)
    }

    /// Whether `span` is mapped one to one for good, or is a window that never reaches a table: the same in every address
    /// space of the group.
    pub(crate) fn is_one_to_one(&self, span: Span<Iova>) -> bool {
        let (pin, _) = self.platform.pin();
        let layout = self.layout.read(&pin);
        layout.required.iter().chain(&layout.forbidden).any(|known| known.covers(&span))
    }

    /// Takes `span` out of the first `done` carriers again. `seen`: hardware may have seen some of it in the next one.
    /// `locked`: the caller holds the lock that keeps look-ups out of the tables.
    pub(super) fn undo(
        &self,
        layout: &Layout<P>,
        done: usize,
        seen: bool,
        span: Span<Iova>,
        locked: bool,
    ) -> Result<(), Hung> {
        let mut removed: [Option<Removed<P>>; MAX_CARRIERS] = [const { None }; MAX_CARRIERS];
        for (carrier, removed) in layout.carriers[..done].iter().zip(&mut removed) {
            *removed = carrier.backing.unmap(&carrier.units, span).ok();
        }
        if done == 0 && !seen {
            return Ok(());
        }
        self.platform.fence();
        let tables_went = removed.iter().flatten().any(|removed| removed.tables_went);
        let hung = removed.iter().flatten().find_map(|removed| removed.hung);
        let result = layout.flush(span, tables_went).and(hung.map_or(Ok(()), Err));
        if result.is_ok() {
            removed.into_iter().flatten().for_each(|removed| self.free(removed, !locked));
        }
        result
    }

    /// Takes out whatever is mapped in `span`, whole entries only, and hands it to a [`Gather`] together with `owner`, the
    /// memory that was mapped there. Interrupts may be off.
    ///
    /// # Safety
    /// * What is mapped there was mapped with [`AddressSpace::map`] by whoever calls: it is no [`Mapping`](crate::Mapping)'s.
    /// * No other map or unmap of a part of the range runs meanwhile: tables that cover the range alone are taken off.
    /// * Until the gather has finished nothing of the memory is reused, and no other unmap of the range is begun: it would
    ///   not know of the tables that this one took off.
    pub unsafe fn unmap<O>(&self, span: Span<Iova>, owner: O) -> Result<Gather<'_, P, O>, (UnmapError, O)> {
        self.take_out(span, owner)
    }

    /// As [`AddressSpace::unmap`], for whoever owns the mapping.
    pub(crate) fn take_out<O>(
        &self,
        span: Span<Iova>,
        owner: O,
    ) -> Result<Gather<'_, P, O>, (UnmapError, O)> {
        if !span.is_valid() {
            return Err((UnmapError::Empty(span.start), owner));
        }
        let (pin, _) = self.platform.pin();
        let layout = self.layout.read(&pin);
        if let Some(required) = layout.required.iter().find(|required| required.overlaps(&span)) {
            return Err((UnmapError::Required(*required), owner));
        }
        match self.remove(layout, span) {
            Ok(removed) => Ok(Gather::new(self, span, owner, removed)),
            Err(error) => Err((UnmapError::Table(error), owner)),
        }
    }

    /// Takes out whatever is mapped in `span`, of every carrier. Whoever calls is pinned, and read the layout under that pin.
    pub(super) fn remove(
        &self,
        layout: &Layout<P>,
        span: Span<Iova>,
    ) -> Result<[Option<Removed<P>>; MAX_CARRIERS], ioward_pgtable::UnmapError> {
        let _one_at_a_time = self.is_slow(layout).then(|| self.filling.lock());
        if layout.carriers.len() > 1
            && let Some(page) = layout.carriers.iter().find_map(|carrier| carrier.backing.cuts(span))
        {
            return Err(ioward_pgtable::UnmapError::Cuts { page });
        }
        let mut removed: [Option<Removed<P>>; MAX_CARRIERS] = [const { None }; MAX_CARRIERS];
        for (carrier, slot) in layout.carriers.iter().zip(&mut removed) {
            match carrier.backing.unmap(&carrier.units, span) {
                Ok(done) => *slot = Some(done),
                Err(error) if layout.carriers.len() == 1 => return Err(error),
                // Checked above for every carrier, and the range is the caller's alone: nothing was taken out here.
                Err(_) => {}
            }
        }
        Ok(removed)
    }

    /// Frees what an unmap detached, after its invalidation was confirmed. `lock`: the caller does not hold the lock that
    /// keeps look-ups out of the tables.
    pub(super) fn free(&self, removed: Removed<P>, lock: bool) {
        if removed.detached.is_some() {
            let _nobody_looks_up = lock.then(|| self.filling.lock());
            // SAFETY: the invalidation was confirmed; maps and unmaps of the range are the caller's, and look-ups of others
            // hold the lock.
            unsafe { free(removed) }
        }
    }

    /// The physical address that `at` is translated to, with the rights and the bytes of the entry. It takes a lock.
    pub fn lookup(&self, at: Iova) -> Option<(PhysAddr, Attributes, u64)> {
        let (pin, _) = self.platform.pin();
        let _no_table_is_freed = self.filling.lock();
        let leaf = self.layout.read(&pin).carriers.first()?.backing.leaf_at(at)?;
        Some((PhysAddr(leaf.to.0 + (at.0 - leaf.at.start.0)), leaf.how, leaf.at.bytes))
    }

    /// The physical address that `at` is translated to, to the byte; `None` where nothing is mapped. [`AddressSpace::lookup`]
    /// tells more and costs more. It takes the same lock, which keeps tables from being freed meanwhile; interrupts may be
    /// off.
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        let (pin, _) = self.platform.pin();
        let _no_table_is_freed = self.filling.lock();
        self.layout.read(&pin).carriers.first()?.backing.translate(at)
    }

    /// Every IOMMU and every device forgets what it holds of `span`, after everything stored before this call. The
    /// targets are read after the table was written: an attach either is seen here, or its entry was installed after the
    /// store and nothing stale can have been cached through it.
    pub(super) fn flush(&self, span: Span<Iova>, tables_went: bool) -> Result<(), Hung> {
        self.platform.fence();
        let (pin, _) = self.platform.pin();
        self.layout.read(&pin).flush(span, tables_went)
    }
}
