//! Where a device's mappings go, and how a range of IOVAs is mapped and taken back as one.

use crate::{
    driver::Hung,
    space::{AddressSpace, MapError, SpaceStats},
};
use alloc::sync::Arc;
use core::{fmt, mem, ops::Deref};
use ioward_pgtable::MapCause;
use ioward_types::{Attributes, Direction, Iova, Nanos, PhysAddr, Platform, Span};

/// How many ranges that somebody has mapped by hand an allocation passes over.
const TRIES: u32 = 64;
/// In what units memory is handed out where nothing translates.
const DIRECT_GRANULE: u64 = 4096;

/// The DMA API of one device: an address space, and the addresses that the device can issue.
pub struct Dma<P: Platform> {
    to: Kind<P>,
    limit: Iova,
}

enum Kind<P: Platform> {
    Translated(Arc<AddressSpace<P>>),
    /// By explicit policy: the device reaches physical addresses as they are.
    Direct(P),
}

impl<P: Platform> Dma<P> {
    /// The DMA API over an address space that the caller owns. IOVAs stay at or below `limit`.
    pub fn new(space: Arc<AddressSpace<P>>, limit: Iova) -> Self {
        Self { to: Kind::Translated(space), limit }
    }

    pub(crate) fn direct(platform: P, limit: Iova) -> Self {
        Self { to: Kind::Direct(platform), limit }
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
            Kind::Direct(_) => DIRECT_GRANULE,
        }
    }

    /// What the address space has counted; nothing is counted where nothing translates.
    pub fn stats(&self) -> SpaceStats {
        match &self.to {
            Kind::Translated(space) => space.stats(),
            Kind::Direct(_) => SpaceStats::default(),
        }
    }

    pub(super) fn platform(&self) -> &P {
        match &self.to {
            Kind::Translated(space) => space.platform(),
            Kind::Direct(platform) => platform,
        }
    }

    /// Below what address frames must lie that the device is to reach.
    pub(super) fn frames_below(&self) -> PhysAddr {
        match &self.to {
            Kind::Translated(_) => PhysAddr(u64::MAX),
            Kind::Direct(_) => PhysAddr(self.limit.0.saturating_add(1)),
        }
    }

    /// Where the device finds `to` if nothing translates; else `None`.
    pub(super) fn place_direct(&self, to: Span<PhysAddr>) -> Option<Result<Span<Iova>, MapError>> {
        let Kind::Direct(_) = &self.to else { return None };
        let Some(at) = Span::new(Iova(to.start.0), to.bytes) else {
            return Some(Err(MapError::Empty(Iova(to.start.0))));
        };
        Some(if at.last() > self.limit { Err(MapError::Aperture(at)) } else { Ok(at) })
    }

    /// Maps `bytes` bytes, whole pages, at IOVAs of the allocator's choice. `piece(n)` is the memory that comes `n` bytes from
    /// the start, as much as lies in one piece. All or nothing; after [`MapError::Hung`] the memory is never to be reused.
    pub(super) fn place(
        &self,
        bytes: u64,
        direction: Direction,
        piece: impl Fn(u64) -> Span<PhysAddr>,
    ) -> Result<Span<Iova>, MapError> {
        let Kind::Translated(space) = &self.to else {
            return self.place_direct(piece(0)).unwrap_or(Err(MapError::NoCarrier));
        };
        let mut tries = 0;
        loop {
            let at = space.alloc_iova(bytes, self.limit).map_err(MapError::Iova)?;
            let Err((error, done)) = fill(space, at, direction, &piece) else { return Ok(at) };
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
            Err(_) => Err(broken(space, done)),
        }
    }

    /// Takes a whole range out; the owner of its memory comes back once no device reaches it.
    pub(super) fn take<O>(&self, at: Span<Iova>, owner: O) -> Result<O, Hung> {
        match &self.to {
            Kind::Direct(_) => Ok(owner),
            Kind::Translated(space) => match space.take_out(at, owner) {
                Ok(gather) => gather.and_iova().finish(),
                Err((_, owner)) => {
                    mem::forget(owner);
                    Err(broken(space, at))
                }
            },
        }
    }
}

/// The span was a mapping's own and was mapped whole, so only somebody who broke the contract of the raw `map` can bring
/// this about; nothing is known to be unreachable then.
fn broken<P: Platform>(space: &AddressSpace<P>, at: Span<Iova>) -> Hung {
    space.quarantine(at.bytes);
    Hung { iommu: ioward_types::IommuId(u32::MAX), what: "unmap", waited: Nanos(0) }
}

/// Maps the pieces one after the other; on error, how many bytes are in.
fn fill<P: Platform>(
    space: &AddressSpace<P>,
    at: Span<Iova>,
    direction: Direction,
    piece: &impl Fn(u64) -> Span<PhysAddr>,
) -> Result<(), (MapError, u64)> {
    let mut done = 0;
    while done < at.bytes {
        let to = piece(done);
        let to = Span { bytes: to.bytes.min(at.bytes - done), ..to };
        let how = Attributes::for_direction(direction);
        // SAFETY: the mapping that is made of this owns the memory, and gives it up only to a gather that has finished; the
        // allocator gave the range to nobody else.
        unsafe { space.map(Iova(at.start.0 + done), to, how) }.map_err(|error| (error, done))?;
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
