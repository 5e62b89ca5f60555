//! A range of IOVAs that is kept, and linked to buffers piece by piece: for rings of descriptors, and for whoever knows the
//! length before the pieces.

use super::{Dma, DmaBuffer, DmaRef};
use crate::{
    driver::Hung,
    space::{Count, MapError},
};
use alloc::vec::Vec;
use core::{fmt, marker::PhantomData, mem, ops::Range};
use ioward_types::{Attributes, Direction, Iova, OutOfMemory, Platform, Span};

impl<P: Platform> Dma<P> {
    /// Reserves IOVAs that follow each other, for `slots` buffers of at most `slot_bytes` bytes, a multiple of
    /// [`Dma::granule`]. Nothing is mapped yet.
    pub fn reserve<O: DmaBuffer, D: DmaRef<P>>(
        dma: D,
        slots: usize,
        slot_bytes: u64,
    ) -> Result<Reserved<P, O, D>, MapError> {
        match room(&dma, slots, slot_bytes) {
            Ok((at, links)) => Ok(Reserved { dma, at, slot_bytes, links, _platform: PhantomData }),
            Err(error) => Err(dma.fail(error)),
        }
    }
}

type Room<O> = (Option<Span<Iova>>, Vec<Option<Link<O>>>);

fn room<P: Platform, O>(dma: &Dma<P>, slots: usize, slot_bytes: u64) -> Result<Room<O>, MapError> {
    let empty = MapError::Empty(Iova(0));
    let bytes = slot_bytes.checked_mul(slots as u64).filter(|bytes| *bytes != 0).ok_or(empty)?;
    let granule = dma.granule();
    if slot_bytes & (granule - 1) != 0 {
        let (at, to) = (Iova(0), ioward_types::PhysAddr(0));
        return Err(MapError::Misaligned { at, to, bytes: slot_bytes, granule });
    }
    let mut links = Vec::new();
    links.try_reserve_exact(slots).map_err(|_| MapError::NoMemory(OutOfMemory))?;
    links.extend((0..slots).map(|_| None));
    let at = match dma.space() {
        Some(space) => Some(space.alloc_iova(bytes, dma.limit()).map_err(MapError::Iova)?),
        None => None,
    };
    Ok((at, links))
}

struct Link<O> {
    owner: O,
    at: Span<Iova>,
    direction: Direction,
}

/// IOVAs that follow each other, in slots of equal length, each empty or linked to a buffer that it owns.
///
/// 1. [`link`](Self::link) buffers, each in a slot;
/// 2. [`sync`](Self::sync) once, and only then tell the device;
/// 3. [`unlink`](Self::unlink) a run of slots with one flush: their buffers come back, the IOVAs stay;
/// 4. and so on. Dropped: everything is unlinked, with one flush, and the IOVAs go back.
#[must_use = "the device reaches the buffers only while the range is kept"]
pub struct Reserved<P: Platform, O: DmaBuffer, D: DmaRef<P>> {
    dma: D,
    /// None where nothing translates, and once an IOMMU has hung: what is withheld then is not given back.
    at: Option<Span<Iova>>,
    slot_bytes: u64,
    links: Vec<Option<Link<O>>>,
    _platform: PhantomData<fn() -> P>,
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Reserved<P, O, D> {
    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.links.len()
    }

    /// The IOVAs of the buffer in a slot: what the device is told after [`Reserved::sync`].
    pub fn linked(&self, slot: usize) -> Option<Span<Iova>> {
        self.links.get(slot)?.as_ref().map(|link| link.at)
    }

    /// Maps a buffer into an empty slot, at its start. No device is told of it before [`Reserved::sync`].
    ///
    /// On error the buffer comes back, unless an IOMMU hung in the middle: then it is withheld for ever.
    pub fn link(
        &mut self,
        slot: usize,
        owner: O,
        direction: Direction,
    ) -> Result<Span<Iova>, (MapError, Option<O>)> {
        match self.try_link(slot, &owner, direction) {
            Ok(at) => {
                self.links[slot] = Some(Link { owner, at, direction });
                Ok(at)
            }
            Err(error @ MapError::Hung(_)) => {
                mem::forget(owner);
                // The slot's IOVAs may be cached: the range is never given back.
                self.at = None;
                Err((self.dma.fail(error), None))
            }
            Err(error) => Err((self.dma.fail(error), Some(owner))),
        }
    }

    fn try_link(&self, slot: usize, owner: &O, direction: Direction) -> Result<Span<Iova>, MapError> {
        let to = owner.span();
        let (of, bytes) = (self.links.len(), to.bytes);
        let link = self.links.get(slot).ok_or(MapError::NoSlot { slot, of })?;
        if let Some(link) = link {
            return Err(MapError::Exists(link.at.start));
        }
        self.dma.check_whole(to)?;
        if bytes > self.slot_bytes {
            return Err(MapError::TooLong { bytes, slot: self.slot_bytes });
        }
        self.dma.clean(to);
        let counts = [(Count::Mappings, 1), (Count::MappedBytes, bytes)];
        let Some(space) = self.dma.space() else {
            let at = self.dma.place_direct(to).unwrap_or(Err(MapError::NoCarrier))?;
            self.dma.count(&counts);
            return Ok(at);
        };
        let Some(all) = self.at else { return Err(MapError::NoCarrier) };
        let start = Iova(all.start.0 + slot as u64 * self.slot_bytes);
        let how = Attributes::for_direction(direction);
        // SAFETY: the slot owns the memory, and gives it up only to a flush that was confirmed; the range is this value's, which
        // is borrowed alone.
        unsafe { space.map_counted(start, to, how, &counts, false) }?;
        Ok(Span { start, bytes })
    }

    /// Every IOMMU knows what was linked before. On `Err` one did not answer, and its devices were silenced.
    pub fn sync(&mut self) -> Result<(), Hung> {
        self.dma.platform().publish();
        match (self.dma.space(), self.at) {
            (Some(space), Some(at)) => space.made(at),
            _ => Ok(()),
        }
    }

    /// Takes a run of slots out with one flush, and hands over what was in them. Empty ones are passed over; those beyond the
    /// last are none. On `Err` an IOMMU did not confirm, its devices were silenced, and all of it is withheld for ever.
    pub fn unlink(&mut self, slots: Range<usize>, mut back: impl FnMut(usize, O)) -> Result<(), Hung> {
        let end = slots.end.min(self.links.len());
        let start = slots.start.min(end);
        let run = &mut self.links[start..end];
        let linked = run.iter().flatten().fold((0, 0), |(n, bytes), link| (n + 1, bytes + link.at.bytes));
        if linked.0 == 0 {
            return Ok(());
        }
        match (self.dma.space(), self.at) {
            (Some(space), Some(all)) => {
                let from = Iova(all.start.0 + start as u64 * self.slot_bytes);
                let span = Span { start: from, bytes: run.len() as u64 * self.slot_bytes };
                if let Err(hung) = space.take_confirmed(span, linked.0, linked.1) {
                    run.iter_mut().for_each(|link| mem::forget(link.take()));
                    self.at = None;
                    return Err(hung);
                }
            }
            (None, _) => self.dma.count(&[(Count::Unmappings, linked.0), (Count::UnmappedBytes, linked.1)]),
            // An IOMMU has hung before: what is linked still is withheld with the rest.
            (Some(space), None) => {
                run.iter_mut().for_each(|link| mem::forget(link.take()));
                return Err(space.broken(Span { start: Iova(0), bytes: linked.1 }));
            }
        }
        for (slot, link) in run.iter_mut().enumerate() {
            if let Some(Link { owner, direction, .. }) = link.take() {
                if direction != Direction::ToDevice {
                    self.dma.invalidate(owner.span());
                }
                back(start + slot, owner);
            }
        }
        Ok(())
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> Drop for Reserved<P, O, D> {
    fn drop(&mut self) {
        // Hung hardware has been counted and silenced, and what is not confirmed withheld, IOVAs too.
        let _ = self.unlink(0..self.links.len(), |_, owner| drop(owner));
        if let (Some(space), Some(at)) = (self.dma.space(), self.at) {
            space.free_iova(at);
        }
    }
}

impl<P: Platform, O: DmaBuffer, D: DmaRef<P>> fmt::Debug for Reserved<P, O, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let linked = self.links.iter().flatten().count();
        write!(f, "Reserved({linked} of {} slots linked)", self.links.len())
    }
}
