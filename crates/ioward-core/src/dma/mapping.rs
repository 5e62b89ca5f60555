//! A mapped buffer of whole pages.

use super::{AccessError, Dma, DmaBuffer, DmaRef};
use crate::{driver::Hung, space::MapError};
use core::{
    fmt,
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ptr::{self, NonNull},
};
use ioward_types::{Attributes, Direction, Iova, PhysAddr, Platform, Span, hint::seldom, hw};

impl<P: Platform> Dma<P> {
    /// Maps a buffer at an IOVA of the allocator's choice. The mapping owns the buffer until it is unmapped.
    ///
    /// On error the buffer comes back, unless an IOMMU hung in the middle: then it is withheld for ever.
    #[inline]
    pub fn map<O: DmaBuffer, D: DmaRef<P>>(
        dma: D,
        owner: O,
        direction: Direction,
    ) -> Result<Mapping<P, O, D>, (MapError, Option<O>)> {
        let to = owner.span();
        let mut error = None;
        let at = match dma.place_quickly(to, Attributes::for_direction(direction)) {
            Some(at) => Some(at),
            None => {
                seldom();
                dma.place_slowly(to, direction, &mut error)
            }
        };
        match (at, error) {
            (Some(at), _) => {
                Ok(Mapping { dma, at, direction, owner: ManuallyDrop::new(owner), _platform: PhantomData })
            }
            (None, Some(error)) if !matches!(error, MapError::Hung(_)) => Err((error, Some(owner))),
            (None, error) => {
                mem::forget(owner);
                Err((error.unwrap_or(MapError::NoCarrier), None))
            }
        }
    }

    /// Maps whatever there is. `None`: the error has been written. Apart from the result, so that a mapping is made in
    /// registers: copies by way of the stack cost more than the walk.
    #[inline(never)]
    fn place_slowly(
        &self,
        to: Span<PhysAddr>,
        direction: Direction,
        error: &mut Option<MapError>,
    ) -> Option<Span<Iova>> {
        self.place_whole(to, Attributes::for_direction(direction)).map_err(|why| *error = Some(why)).ok()
    }

    fn place_whole(&self, to: Span<PhysAddr>, how: Attributes) -> Result<Span<Iova>, MapError> {
        if !self.snoops() {
            self.check_whole(to).map_err(|error| self.fail(error))?;
            self.clean(to);
        }
        if let Some(at) = self.place_at_hand(to, how)? {
            return Ok(at);
        }
        self.check_whole(to).map_err(|error| self.fail(error))?;
        self.place_anyhow(to.bytes, how, |_| to)
    }
}

/// A buffer that a device reaches. Dropped: released. Forgotten: leaked, and still mapped.
///
/// [`unmap`](Self::unmap) gives the buffer back, so it waits for the flush whatever the [`FlushMode`](crate::FlushMode).
/// [`release`](Self::release) does not: in a lazy domain the buffer is dropped later, by whichever CPU flushes. A buffer
/// whose drop gives it back to a pool is used again that way.
///
/// The CPU has copies of the bytes meanwhile: [`read`](Self::read) after [`sync_for_cpu`](Self::sync_for_cpu),
/// [`write`](Self::write) before [`sync_for_device`](Self::sync_for_device).
#[must_use = "the device reaches the buffer only while the mapping lives"]
pub struct Mapping<P: Platform, O: DmaBuffer, D: DmaRef<P>> {
    dma: D,
    at: Span<Iova>,
    direction: Direction,
    /// Taken by `into_parts` and by the drop alone.
    owner: ManuallyDrop<O>,
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
    #[inline]
    pub fn unmap(self) -> Result<O, Hung> {
        let (dma, at, direction, owner) = self.into_parts();
        let owner = dma.take(at, owner)?;
        if direction != Direction::ToDevice {
            dma.platform().observe();
            dma.invalidate(owner.span());
        }
        Ok(owner)
    }

    /// Gives the buffer up: it is dropped once no device reaches it. That is before this returns, or, in a lazy domain, when
    /// the queue is flushed. On `Err` an IOMMU did not confirm it, its devices were silenced, and the buffer is withheld for
    /// ever.
    #[inline]
    pub fn release(self) -> Result<(), Hung> {
        let (dma, at, _, owner) = self.into_parts();
        dma.give_up(at, owner)
    }

    /// What it is made of, to be ended by the caller.
    #[inline(always)]
    fn into_parts(self) -> (D, Span<Iova>, Direction, O) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: each is taken once, here: `this` is not dropped.
        let (dma, owner) = unsafe { (ptr::read(&this.dma), ManuallyDrop::take(&mut this.owner)) };
        (dma, this.at, this.direction, owner)
    }

    /// What the device wrote before is what [`read`](Self::read) gives. Call it when the device has said that it is done.
    pub fn sync_for_cpu(&self) {
        if self.direction != Direction::ToDevice {
            self.dma.platform().observe();
            self.dma.invalidate(self.owner.span());
        }
    }

    /// What has been written is what the device reads. Call it before the device is told.
    pub fn sync_for_device(&self) {
        self.dma.clean(self.owner.span());
        self.dma.platform().publish();
    }

    /// Copies bytes out; where the device writes meanwhile, bytes of before and after.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let at = self.byte_at(offset, into.len())?;
        // SAFETY: inside the buffer, which the mapping owns and which no thread writes while the mapping is borrowed.
        unsafe { hw::copy_out(at, into) };
        Ok(())
    }

    /// Copies bytes in, for the next [`sync_for_device`](Self::sync_for_device).
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let at = self.byte_at(offset, from.len())?;
        // SAFETY: inside the buffer, which the mapping owns and which this thread alone has.
        unsafe { hw::copy_in(at, from) };
        Ok(())
    }

    fn byte_at(&self, offset: usize, bytes: usize) -> Result<NonNull<u8>, AccessError> {
        let to = self.owner.span();
        AccessError::check(offset, bytes, to.bytes as usize)?;
        Ok(self.dma.platform().virt(PhysAddr(to.start.0 + offset as u64)))
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Drop for Mapping<P, O, D> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once: nobody uses a mapping that is being dropped.
        let owner = unsafe { ManuallyDrop::take(&mut self.owner) };
        // Hung hardware has been counted and silenced, and the buffer withheld.
        let _ = self.dma.give_up(self.at, owner);
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> fmt::Debug for Mapping<P, O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({})", self.at)
    }
}
