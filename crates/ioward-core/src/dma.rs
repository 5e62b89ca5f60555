//! DMA mappings, safe because the mapping owns the memory.
//!
//! This is the strict form: no access is possible after [`Mapping::unmap`] has returned.

use crate::{
    driver::Hung,
    space::{AddressSpace, MapError},
};
use alloc::sync::Arc;
use core::{fmt, mem, ops::Deref};
use ioward_pgtable::MapCause;
use ioward_types::{Attributes, Direction, Iova, PhysAddr, Platform, Span};

/// How many ranges that somebody has mapped by hand an allocation passes over.
const TRIES: u32 = 64;

/// Memory that a device may be given.
///
/// # Implementation safety
/// [`DmaBuffer::span`] answers the same for as long as `self` lives, wherever it is moved; the memory stays valid, and
/// nobody reads or writes it through references, until `self` is dropped. Whole pages belong to the buffer: a device that
/// is given one byte of a page is given the page.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait DmaBuffer: 'static {
    /// Where it is; a multiple of the address space's smallest page in start and length.
    fn span(&self) -> Span<PhysAddr>;
}

/// The DMA API of one device: an address space, and the addresses that the device can issue.
pub struct Dma<P: Platform> {
    to: Kind<P>,
    limit: Iova,
}

enum Kind<P: Platform> {
    Translated(Arc<AddressSpace<P>>),
    /// By explicit policy: the device reaches physical addresses as they are.
    Direct,
}

impl<P: Platform> Dma<P> {
    /// The DMA API over an address space that the caller owns. IOVAs stay at or below `limit`.
    pub fn new(space: Arc<AddressSpace<P>>, limit: Iova) -> Self {
        Self { to: Kind::Translated(space), limit }
    }

    pub(crate) fn direct(limit: Iova) -> Self {
        Self { to: Kind::Direct, limit }
    }

    /// Whether an IOMMU translates; false only by an explicit policy.
    pub fn is_translated(&self) -> bool {
        matches!(self.to, Kind::Translated(_))
    }

    /// Maps a buffer at an IOVA of the allocator's choice. The mapping owns the buffer until it is unmapped.
    ///
    /// On error the buffer comes back, unless an IOMMU hung in the middle: then it is withheld for ever.
    pub fn map<O: DmaBuffer, D: DmaRef<P>>(
        dma: D,
        owner: O,
        direction: Direction,
    ) -> Result<Mapping<P, O, D>, (MapError, Option<O>)> {
        let to = owner.span();
        let at = match dma.place(to, direction) {
            Ok(at) => at,
            Err(MapError::Hung(hung)) => {
                mem::forget(owner);
                return Err((MapError::Hung(hung), None));
            }
            Err(error) => return Err((error, Some(owner))),
        };
        Ok(Mapping { dma, at, owner: Some(owner), _platform: core::marker::PhantomData })
    }

    fn place(&self, to: Span<PhysAddr>, direction: Direction) -> Result<Span<Iova>, MapError> {
        let Kind::Translated(space) = &self.to else {
            let at = Span::new(Iova(to.start.0), to.bytes).ok_or(MapError::Empty(Iova(to.start.0)))?;
            return if at.last() > self.limit { Err(MapError::Aperture(at)) } else { Ok(at) };
        };
        let granule = space.granule();
        if to.bytes == 0 || !to.is_valid() {
            return Err(MapError::Empty(Iova(0)));
        }
        if !to.is_aligned(granule) {
            return Err(MapError::Misaligned { at: Iova(0), to: to.start, bytes: to.bytes, granule });
        }
        let mut tries = 0;
        loop {
            let at = space.alloc_iova(to.bytes, self.limit).map_err(MapError::Iova)?;
            // SAFETY: the mapping that is made of this owns the memory, and gives it up only to a gather that has finished;
            // the allocator gave the range to nobody else.
            match unsafe { space.map(at.start, to, Attributes::for_direction(direction)) } {
                Ok(()) => return Ok(at),
                // Somebody has mapped there at an address of their own choice: the range is theirs, and stays allocated.
                Err(MapError::Exists(_) | MapError::Table(MapCause::Exists(_))) if tries < TRIES => {
                    tries += 1
                }
                Err(error @ MapError::Hung(_)) => {
                    // It may be cached still; it is never allocated again.
                    space.quarantine(at.bytes);
                    return Err(error);
                }
                Err(error) => {
                    space.free_iova(at);
                    return Err(error);
                }
            }
        }
    }

    fn take<O>(&self, at: Span<Iova>, owner: O) -> Result<O, Hung> {
        match &self.to {
            Kind::Direct => Ok(owner),
            Kind::Translated(space) => match space.take_out(at, owner) {
                Ok(gather) => gather.and_iova().finish(),
                // The span is this mapping's own and was mapped whole, so only somebody who broke the contract of the raw
                // `map` can bring this about; nothing is known to be unreachable then.
                Err((_, owner)) => {
                    mem::forget(owner);
                    space.quarantine(at.bytes);
                    Err(Hung {
                        iommu: ioward_types::IommuId(u32::MAX),
                        what: "unmap",
                        waited: ioward_types::Nanos(0),
                    })
                }
            },
        }
    }
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

/// A buffer that a device reaches. Dropped: unmapped and flushed. Forgotten: leaked, and still mapped.
#[must_use = "the device reaches the buffer only while the mapping lives"]
pub struct Mapping<P: Platform, O: DmaBuffer, D: DmaRef<P>> {
    dma: D,
    at: Span<Iova>,
    owner: Option<O>,
    _platform: core::marker::PhantomData<fn() -> P>,
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Mapping<P, O, D> {
    /// The first IOVA: what the device is told.
    pub fn iova(&self) -> Iova {
        self.at.start
    }

    /// All of its IOVAs.
    pub fn span(&self) -> Span<Iova> {
        self.at
    }

    /// Takes the buffer back. After `Ok` no device reaches it. On `Err` an IOMMU did not confirm that, its devices were
    /// silenced, and the buffer is withheld for ever.
    pub fn unmap(mut self) -> Result<O, Hung> {
        match self.owner.take() {
            Some(owner) => self.dma.take(self.at, owner),
            None => {
                unreachable!("the owner is there until `unmap` or `drop`, each of which ends the mapping")
            }
        }
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Drop for Mapping<P, O, D> {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            // Hung hardware has been counted and silenced, and the buffer withheld.
            drop(self.dma.take(self.at, owner));
        }
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> fmt::Debug for Mapping<P, O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({})", self.at)
    }
}

/// Whole frames of the platform's as a buffer: zeroed when allocated, freed when dropped.
pub struct FrameBuffer<P: Platform> {
    platform: P,
    span: Span<PhysAddr>,
}

impl<P: Platform> FrameBuffer<P> {
    /// `bytes` bytes, a multiple of the smallest page that they will be mapped with, aligned to `align` (at least that).
    pub fn new(platform: &P, bytes: usize, align: usize) -> Result<Self, ioward_types::OutOfMemory> {
        let start = platform.frames(bytes, align, PhysAddr(u64::MAX))?;
        Ok(Self { platform: platform.clone(), span: Span { start, bytes: bytes as u64 } })
    }

    /// Copies `from` to `offset` bytes from the start. False, and nothing is copied, where it does not fit.
    pub fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let fits = offset.checked_add(from.len()).is_some_and(|end| end as u64 <= self.span.bytes);
        if fits {
            let to = self.platform.virt(self.span.start).as_ptr();
            // SAFETY: inside frames that this value owns alone: it is not mapped while it can be borrowed.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.add(offset), from.len()) };
        }
        fits
    }

    /// Copies what is at `offset` bytes from the start. False, and nothing is copied, where it does not fit.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        let fits = offset.checked_add(into.len()).is_some_and(|end| end as u64 <= self.span.bytes);
        if fits {
            let from = self.platform.virt(self.span.start).as_ptr();
            // SAFETY: as in `write`.
            unsafe { core::ptr::copy_nonoverlapping(from.add(offset), into.as_mut_ptr(), into.len()) };
        }
        fits
    }
}

// SAFETY: frames do not move with the value, stay until it is dropped, and are read and written by copies that need a
// borrow of it, which a mapping does not give.
unsafe impl<P: Platform> DmaBuffer for FrameBuffer<P> {
    fn span(&self) -> Span<PhysAddr> {
        self.span
    }
}

impl<P: Platform> Drop for FrameBuffer<P> {
    fn drop(&mut self) {
        // SAFETY: they came from this platform; no device reaches them, or the value would be owned by a mapping.
        unsafe { self.platform.free(self.span.start, self.span.bytes as usize) }
    }
}

impl<P: Platform> fmt::Debug for FrameBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuffer({})", self.span)
    }
}
