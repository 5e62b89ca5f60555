//! Where a device's mappings go, and how a range of IOVAs is mapped and taken back as one.

use super::SegmentLimits;
use crate::{
    driver::Hung,
    policy::FlushMode,
    space::{AddressSpace, Count, Counters, MapError, SpaceStats},
};
use alloc::{boxed::Box, sync::Arc};
use core::{fmt, ops::Deref};
use ioward_pgtable::{MapCause, Plain};
use ioward_types::{
    Attributes, Iova, Nanos, PhysAddr, Platform, Span,
    hint::{expected, seldom},
};

/// How many ranges that somebody has mapped by hand an allocation passes over.
const TRIES: u32 = 64;
/// In what units memory is handed out where nothing translates.
const DIRECT_GRANULE: u64 = 4096;

/// The DMA API of one device: an address space, and the addresses that the device can issue.
pub struct Dma<P: Platform> {
    /// The address space, for a device that sees what CPUs have in their caches.
    quick: Option<Arc<AddressSpace<P>>>,
    to: Kind<P>,
    limit: Iova,
    segments: SegmentLimits,
    /// The device sees what CPUs have in their caches.
    snoops: bool,
}

enum Kind<P: Platform> {
    Translated(Arc<AddressSpace<P>>),
    /// By explicit policy: the device reaches physical addresses as they are.
    Direct(P, Box<Counters>),
}

impl<P: Platform> Dma<P> {
    /// The DMA API over an address space that the caller owns. IOVAs stay at or below `limit`.
    pub fn new(space: Arc<AddressSpace<P>>, limit: Iova) -> Self {
        let quick = Some(space.clone());
        Self { quick, to: Kind::Translated(space), limit, segments: SegmentLimits::NONE, snoops: true }
    }

    pub(crate) fn direct(platform: P, limit: Iova) -> Self {
        let counters = Box::new(Counters::new(platform.cpus(), DIRECT_GRANULE));
        let (segments, snoops) = (SegmentLimits::NONE, true);
        Self { quick: None, to: Kind::Direct(platform, counters), limit, segments, snoops }
    }

    /// The same for a device that takes segments so, and that sees what CPUs have in their caches or does not.
    pub fn with(self, segments: SegmentLimits, snoops: bool) -> Self {
        let quick = match &self.to {
            Kind::Translated(space) if snoops => Some(space.clone()),
            _ => None,
        };
        Self { quick, segments, snoops, ..self }
    }

    /// What the device takes as one segment of a list.
    pub fn segments(&self) -> SegmentLimits {
        self.segments
    }

    /// Whether the device sees what CPUs have in their caches. For one that does not, buffers are cleaned and invalidated by
    /// [`Platform::clean_for_device`] and [`Platform::invalidate_for_cpu`].
    pub fn snoops(&self) -> bool {
        self.snoops
    }

    /// Where the device has to write a message for `doorbell`, so that it raises an interrupt: where the doorbell is, if it
    /// is one of those that the domain contains, if the IOMMU takes messages for itself there, or if nothing translates.
    /// Else nowhere.
    pub fn message_address(&self, doorbell: PhysAddr) -> Option<Iova> {
        let at = Iova(doorbell.0);
        match &self.to {
            Kind::Translated(space) => space.is_one_to_one(Span { start: at, bytes: 4 }).then_some(at),
            Kind::Direct(..) => (at <= self.limit).then_some(at),
        }
    }

    /// The device is about to read `lines`.
    pub(super) fn clean(&self, lines: Span<PhysAddr>) {
        if !self.snoops {
            self.platform().clean_for_device(lines);
        }
    }

    /// The CPU is about to read what the device wrote to `lines`.
    pub(super) fn invalidate(&self, lines: Span<PhysAddr>) {
        if !self.snoops {
            self.platform().invalidate_for_cpu(lines);
        }
    }

    /// Its address space, if something translates.
    pub(super) fn space(&self) -> Option<&AddressSpace<P>> {
        match &self.to {
            Kind::Translated(space) => Some(space),
            Kind::Direct(..) => None,
        }
    }

    /// Whether a buffer is whole pages that can be mapped as they are.
    pub(super) fn check_whole(&self, to: Span<PhysAddr>) -> Result<(), MapError> {
        if to.bytes == 0 || !to.is_valid() {
            return Err(MapError::Empty(Iova(0)));
        }
        let granule = self.granule();
        if self.is_translated() && !to.is_aligned(granule) {
            let (at, bytes) = (Iova(0), to.bytes);
            return Err(MapError::Misaligned { at, to: to.start, bytes, granule });
        }
        Ok(())
    }

    /// Whether an IOMMU translates; false only by an explicit policy.
    pub fn is_translated(&self) -> bool {
        matches!(self.to, Kind::Translated(_))
    }

    /// The last address that the device is given.
    pub fn limit(&self) -> Iova {
        self.limit
    }

    /// In what units memory is given to the device, in bytes: a power of two.
    pub fn granule(&self) -> u64 {
        match &self.to {
            Kind::Translated(space) => space.granule(),
            Kind::Direct(..) => DIRECT_GRANULE,
        }
    }

    /// What its address space has counted, for all devices that share it; for this device alone where nothing translates.
    pub fn stats(&self) -> SpaceStats {
        match &self.to {
            Kind::Translated(space) => space.stats(),
            Kind::Direct(_, counters) => counters.stats(),
        }
    }

    /// When a release is confirmed: what the policy chose for the device's group. Strict where nothing translates.
    pub fn flush_mode(&self) -> FlushMode {
        match &self.to {
            Kind::Translated(space) => space.flush_mode(),
            Kind::Direct(..) => FlushMode::Strict,
        }
    }

    /// Flushes for what was released, if that is due, and tells when to come back; see [`AddressSpace::poll`]. A kernel that
    /// polls the [`Subsystem`](crate::Subsystem) need not.
    pub fn poll(&self, now: Nanos) -> Option<Nanos> {
        match &self.to {
            Kind::Translated(space) => space.poll(now),
            Kind::Direct(..) => None,
        }
    }

    /// Flushes for what was released and gives back what is kept at hand; see [`AddressSpace::trim`]. May sleep.
    pub fn trim(&self) {
        if let Kind::Translated(space) = &self.to {
            space.trim();
        }
    }

    /// Counts a refusal.
    #[cold]
    pub(super) fn fail(&self, error: MapError) -> MapError {
        match &self.to {
            Kind::Translated(space) => space.counters().fail(&error),
            Kind::Direct(_, counters) => counters.fail(&error),
        }
        error
    }

    pub(super) fn count(&self, what: &[(Count, u64)]) {
        match &self.to {
            Kind::Translated(space) => space.count(what),
            Kind::Direct(platform, counters) => {
                let (pin, cpu) = platform.pin();
                counters.add(&pin, cpu, what);
            }
        }
    }

    pub(super) fn platform(&self) -> &P {
        match &self.to {
            Kind::Translated(space) => space.platform(),
            Kind::Direct(platform, _) => platform,
        }
    }

    /// Below what address frames must lie that the device is to reach.
    pub(super) fn frames_below(&self) -> PhysAddr {
        match &self.to {
            Kind::Translated(_) => PhysAddr(u64::MAX),
            Kind::Direct(..) => PhysAddr(self.limit.0.saturating_add(1)),
        }
    }

    /// Where the device finds `to` if nothing translates; else `None`.
    pub(super) fn place_direct(&self, to: Span<PhysAddr>) -> Option<Result<Span<Iova>, MapError>> {
        let Kind::Direct(..) = &self.to else { return None };
        let Some(at) = Span::new(Iova(to.start.0), to.bytes) else {
            return Some(Err(MapError::Empty(Iova(to.start.0))));
        };
        Some(if at.last() > self.limit { Err(MapError::Aperture(at)) } else { Ok(at) })
    }

    /// Maps memory in one piece at IOVAs that this CPU has at hand. `Ok(None)`, and nothing has changed, where that cannot be:
    /// [`Dma::place`] does it or tells why not.
    #[inline(always)]
    pub(super) fn place_at_hand(
        &self,
        to: Span<PhysAddr>,
        how: Attributes,
    ) -> Result<Option<Span<Iova>>, MapError> {
        let Kind::Translated(space) = &self.to else { return Ok(None) };
        // SAFETY: the mapping that is made of this owns the memory, and gives it up only to a flush that was confirmed.
        match unsafe { space.map_at_hand(to, how, self.limit) } {
            Ok(start) => Ok(start.map(|start| Span { start, bytes: to.bytes })),
            Err(hung) => Err(self.fail(MapError::Hung(hung))),
        }
    }

    /// Maps a page at an IOVA that this CPU has at hand. `None`: nothing has changed, and it is one of many or something is
    /// not as usual.
    #[inline(always)]
    fn place_page(&self, space: &AddressSpace<P>, to: Span<PhysAddr>, how: Attributes) -> Option<Span<Iova>> {
        // One comparison.
        if to.start.0 & (space.granule() - 1) | (to.bytes ^ space.granule()) != 0 {
            seldom();
            return None;
        }
        let how = Plain::of(how).filter(|_| !crate::mutate::on("rule_16"))?;
        // SAFETY: the mapping that is made of this owns the memory, and gives it up only to a flush that was confirmed; it is
        // a page in line.
        let start = unsafe { space.map_granule(to.start, how, self.limit) }?;
        Some(Span { start, bytes: to.bytes })
    }

    /// Maps a whole page for a device that snoops, as nearly every one does.
    #[inline(always)]
    pub(super) fn place_quickly(&self, to: Span<PhysAddr>, how: Attributes) -> Option<Span<Iova>> {
        self.place_page(expected(self.quick.as_deref())?, to, how)
    }

    /// As [`Dma::place_translated`], and where nothing translates the first piece is all of it. Refusals are counted.
    #[inline]
    pub(super) fn place(
        &self,
        bytes: u64,
        how: Attributes,
        piece: impl Fn(u64) -> Span<PhysAddr>,
    ) -> Result<Span<Iova>, MapError> {
        if let Kind::Translated(_) = &self.to {
            let first = piece(0);
            if first.bytes >= bytes
                && let Some(at) = self.place_at_hand(Span { bytes, ..first }, how)?
            {
                return Ok(at);
            }
        }
        self.place_anyhow(bytes, how, piece)
    }

    /// The general way: memory in pieces, granules that nobody has at hand, and where nothing translates.
    #[inline(never)]
    pub(super) fn place_anyhow(
        &self,
        bytes: u64,
        how: Attributes,
        piece: impl Fn(u64) -> Span<PhysAddr>,
    ) -> Result<Span<Iova>, MapError> {
        let placed = match &self.to {
            Kind::Translated(space) => self.place_translated(space, bytes, how, piece),
            Kind::Direct(..) => {
                let placed = self.place_direct(piece(0)).unwrap_or(Err(MapError::NoCarrier));
                placed.inspect(|at| self.count(&[(Count::Mappings, 1), (Count::MappedBytes, at.bytes)]))
            }
        };
        placed.map_err(|error| self.fail(error))
    }

    /// Maps `bytes` bytes, whole pages, at IOVAs of the allocator's choice. `piece(n)` is the memory that comes `n` bytes from
    /// the start, as much as lies in one piece. All or nothing; after [`MapError::Hung`] the memory is never to be reused.
    fn place_translated(
        &self,
        space: &AddressSpace<P>,
        bytes: u64,
        how: Attributes,
        piece: impl Fn(u64) -> Span<PhysAddr>,
    ) -> Result<Span<Iova>, MapError> {
        let mut tries = 0;
        loop {
            let at = space.alloc_iova(bytes, self.limit).map_err(MapError::Iova)?;
            let Err((error, done)) = fill(space, at, how, &piece) else { return Ok(at) };
            // What is in already comes out again.
            let undone = match Span::new(at.start, done) {
                Some(done) => self.take_part(space, done),
                None => Ok(()),
            };
            let error = undone.err().map_or(error, MapError::Hung);
            match error {
                // Somebody has mapped there at an address of their own choice: the range is theirs, and stays allocated.
                MapError::Exists(_) | MapError::Table(MapCause::Exists(_)) if tries < TRIES => tries += 1,
                MapError::Hung(_) => {
                    // It may be cached still; it is never allocated again. What did not come out has been counted.
                    space.quarantine(if undone.is_err() { at.bytes - done } else { at.bytes });
                    return Err(error);
                }
                error => {
                    space.free_iova(at);
                    return Err(error);
                }
            }
        }
    }

    /// Takes out the first part of a range whose rest could not be mapped. Its IOVAs stay allocated.
    fn take_part(&self, space: &AddressSpace<P>, done: Span<Iova>) -> Result<(), Hung> {
        match space.take_out(done, ()) {
            Ok(gather) => gather.finish(),
            Err(_) => Err(space.broken(done)),
        }
    }

    /// Takes a whole range out; the owner of its memory is dropped once no device reaches it, which may be later.
    #[inline(always)]
    pub(super) fn give_up<O: Send + 'static>(&self, at: Span<Iova>, owner: O) -> Result<(), Hung> {
        match &self.to {
            Kind::Translated(space) => space.give_up(at, owner),
            Kind::Direct(..) => self.take(at, owner).map(drop),
        }
    }

    /// Takes a whole range out; the owner of its memory comes back once no device reaches it.
    #[inline]
    pub(super) fn take<O>(&self, at: Span<Iova>, owner: O) -> Result<O, Hung> {
        match &self.to {
            Kind::Direct(..) => {
                self.count(&[(Count::Unmappings, 1), (Count::UnmappedBytes, at.bytes)]);
                Ok(owner)
            }
            Kind::Translated(space) => space.take_back(at, owner),
        }
    }
}

/// Maps the pieces one after the other; on error, how many bytes are in.
fn fill<P: Platform>(
    space: &AddressSpace<P>,
    at: Span<Iova>,
    how: Attributes,
    piece: &impl Fn(u64) -> Span<PhysAddr>,
) -> Result<(), (MapError, u64)> {
    let mut done = 0;
    while done < at.bytes {
        let to = piece(done);
        let to = Span { bytes: to.bytes.min(at.bytes - done), ..to };
        let last = to.bytes == at.bytes - done;
        let counts = [(Count::Mappings, 1), (Count::MappedBytes, at.bytes)];
        let counts = if last { &counts[..] } else { &[] };
        // SAFETY: the mapping that is made of this owns the memory, and gives it up only to a flush that was confirmed; the
        // allocator gave the range to nobody else.
        unsafe { space.map_counted(Iova(at.start.0 + done), to, how, counts, true) }
            .map_err(|error| (error, done))?;
        done += to.bytes;
    }
    Ok(())
}

impl<P: Platform> fmt::Debug for Dma<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dma").field("translated", &self.is_translated()).field("limit", &self.limit).finish()
    }
}

/// `&Dma` or `Arc<Dma>`. Sealed: a `Deref` that changes its mind would flush the wrong address space.
pub trait DmaRef<P: Platform>: Deref<Target = Dma<P>> + sealed::Sealed {}
mod sealed {
    pub trait Sealed {}
    impl<P: super::Platform> Sealed for &super::Dma<P> {}
    impl<P: super::Platform> Sealed for alloc::sync::Arc<super::Dma<P>> {}
}
impl<P: Platform> DmaRef<P> for &Dma<P> {}
impl<P: Platform> DmaRef<P> for Arc<Dma<P>> {}
