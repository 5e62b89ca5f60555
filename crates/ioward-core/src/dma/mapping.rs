//! A mapped buffer of whole pages.

use super::{Dma, DmaBuffer, DmaRef};
use crate::{driver::Hung, space::MapError};
use core::{fmt, marker::PhantomData, mem};
use ioward_types::{Direction, Iova, PhysAddr, Platform, Span};

impl<P: Platform> Dma<P> {
    /// Maps a buffer at an IOVA of the allocator's choice. The mapping owns the buffer until it is unmapped.
    ///
    /// On error the buffer comes back, unless an IOMMU hung in the middle: then it is withheld for ever.
    pub fn map<O: DmaBuffer, D: DmaRef<P>>(
        dma: D,
        owner: O,
        direction: Direction,
    ) -> Result<Mapping<P, O, D>, (MapError, Option<O>)> {
        let to = owner.span();
        match dma.place_whole(to, direction) {
            Ok(at) => Ok(Mapping {
                dma,
                at,
                from_device: direction != Direction::ToDevice,
                owner: Some(owner),
                _platform: PhantomData,
            }),
            Err(MapError::Hung(hung)) => {
                mem::forget(owner);
                Err((MapError::Hung(hung), None))
            }
            Err(error) => Err((error, Some(owner))),
        }
    }

    fn place_whole(&self, to: Span<PhysAddr>, direction: Direction) -> Result<Span<Iova>, MapError> {
        if to.bytes == 0 || !to.is_valid() {
            return Err(MapError::Empty(Iova(0)));
        }
        let granule = self.granule();
        if self.is_translated() && !to.is_aligned(granule) {
            return Err(MapError::Misaligned { at: Iova(0), to: to.start, bytes: to.bytes, granule });
        }
        self.platform().clean_for_device(to);
        self.place(to.bytes, direction, |_| to)
    }
}

/// A buffer that a device reaches. Dropped: unmapped and flushed. Forgotten: leaked, and still mapped.
#[must_use = "the device reaches the buffer only while the mapping lives"]
pub struct Mapping<P: Platform, O: DmaBuffer, D: DmaRef<P>> {
    dma: D,
    at: Span<Iova>,
    from_device: bool,
    owner: Option<O>,
    _platform: PhantomData<fn() -> P>,
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
        match self.end() {
            Some(result) => result,
            None => {
                unreachable!("the owner is there until `unmap` or `drop`, each of which ends the mapping")
            }
        }
    }

    fn end(&mut self) -> Option<Result<O, Hung>> {
        let owner = self.dma.take(self.at, self.owner.take()?);
        if let (true, Ok(owner)) = (self.from_device, &owner) {
            self.dma.platform().invalidate_for_cpu(owner.span());
        }
        Some(owner)
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Drop for Mapping<P, O, D> {
    fn drop(&mut self) {
        // Hung hardware has been counted and silenced, and the buffer withheld.
        drop(self.end());
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> fmt::Debug for Mapping<P, O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({})", self.at)
    }
}
