//! Many buffers mapped as one list.

use super::{AccessError, ByteBuffer, Dma, DmaRef, Segments, bounce::Bounce};
use crate::{
    driver::Hung,
    space::{Count, MapError},
};
use alloc::vec::Vec;
use core::{fmt, mem};
use ioward_types::{Attributes, Direction, Iova, OutOfMemory, Platform, Span, hw};

impl<P: Platform> Dma<P> {
    /// Maps a list of buffers, all or none, at IOVAs that follow each other: each keeps its place within its page, so a buffer
    /// that ends with its page and one that begins with its page become one segment. What the device sees of each is what
    /// [`Dma::map_bytes`] says. Taking them back costs one flush.
    ///
    /// On error the buffers come back and everything is undone, unless an IOMMU hung in the middle: then they are withheld
    /// for ever.
    #[allow(clippy::type_complexity)]
    pub fn map_list<B: ByteBuffer, D: DmaRef<P>>(
        dma: D,
        mut owners: Vec<B>,
        direction: Direction,
    ) -> Result<MappedList<P, B, D>, (MapError, Option<Vec<B>>)> {
        let bounces = match plan(&dma, &mut owners) {
            Ok(bounces) => bounces,
            Err(error) => return Err((dma.fail(error), Some(owners))),
        };
        for bounce in &bounces {
            bounce.give(&dma, true);
        }
        match place(&dma, &bounces, direction) {
            Ok((at, spans)) => {
                let parts = Some(Parts { bounces, owners });
                Ok(MappedList { dma, at, direction, spans, parts })
            }
            Err(error @ MapError::Hung(_)) => {
                mem::forget((bounces, owners));
                Err((error, None))
            }
            Err(error) => Err((error, Some(owners))),
        }
    }
}

fn plan<P: Platform, B: ByteBuffer>(dma: &Dma<P>, owners: &mut [B]) -> Result<Vec<Bounce<P>>, MapError> {
    let mut bounces = reserved(owners.len())?;
    for owner in owners {
        // SAFETY: the owner's, which stays where it is on the heap and is not used until the mapping has ended.
        bounces.push(unsafe { Bounce::plan(dma, owner.bytes()) }?);
    }
    Ok(bounces)
}

fn reserved<T>(count: usize) -> Result<Vec<T>, MapError> {
    let mut all = Vec::new();
    all.try_reserve_exact(count).map_err(|_| MapError::NoMemory(OutOfMemory))?;
    Ok(all)
}

/// All IOVAs, if something translates, and those of each buffer.
type Placed = (Option<Span<Iova>>, Vec<Span<Iova>>);

/// Maps them, and tells where: all IOVAs if something translates, and those of each buffer's bytes.
fn place<P: Platform>(dma: &Dma<P>, bounces: &[Bounce<P>], direction: Direction) -> Result<Placed, MapError> {
    let fail = |error| dma.fail(error);
    let mut spans = reserved(bounces.len()).map_err(fail)?;
    if bounces.is_empty() {
        return Err(fail(MapError::Empty(Iova(0))));
    }
    if !dma.is_translated() {
        for bounce in bounces {
            let piece = bounce.piece(dma.platform(), 0);
            let at = dma.place_direct(piece).unwrap_or(Err(MapError::NoCarrier)).map_err(fail)?;
            spans.push(bytes_of(bounce, at.start));
        }
        dma.count(&[(Count::Mappings, 1), (Count::MappedBytes, total(bounces))]);
        return Ok((None, spans));
    }
    let mut starts = reserved::<u64>(bounces.len()).map_err(fail)?;
    let mut bytes = 0_u64;
    for bounce in bounces {
        starts.push(bytes);
        bytes = bytes.checked_add(bounce.total()).ok_or(MapError::Empty(Iova(0))).map_err(fail)?;
    }
    let at = dma.place(bytes, Attributes::for_direction(direction), |from| {
        let index = starts.partition_point(|start| *start <= from) - 1;
        bounces[index].piece(dma.platform(), from - starts[index])
    })?;
    let each = bounces.iter().zip(&starts);
    spans.extend(each.map(|(bounce, start)| bytes_of(bounce, Iova(at.start.0 + start))));
    Ok((Some(at), spans))
}

/// The IOVAs of the bytes of a buffer whose first page is at `page`.
fn bytes_of<P: Platform>(bounce: &Bounce<P>, page: Iova) -> Span<Iova> {
    Span { start: Iova(page.0 + bounce.skip()), bytes: bounce.bytes().len() as u64 }
}

fn total<P: Platform>(bounces: &[Bounce<P>]) -> u64 {
    bounces.iter().map(Bounce::total).sum()
}

struct Parts<P: Platform, B> {
    bounces: Vec<Bounce<P>>,
    owners: Vec<B>,
}

/// Buffers that a device reaches, as one list of segments. It ends as a [`MappedBytes`](super::MappedBytes) does, with one
/// flush for all of them, and is used as one: [`read`](Self::read) after [`sync_for_cpu`](Self::sync_for_cpu),
/// [`write`](Self::write) before [`sync_for_device`](Self::sync_for_device).
#[must_use = "the device reaches the buffers only while the mapping lives"]
pub struct MappedList<P: Platform, B: ByteBuffer, D: DmaRef<P>> {
    dma: D,
    /// None where nothing translates.
    at: Option<Span<Iova>>,
    direction: Direction,
    spans: Vec<Span<Iova>>,
    parts: Option<Parts<P, B>>,
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> MappedList<P, B, D> {
    /// What the device is told: the segments, in the list's order, none longer than the device takes and none across its
    /// boundary.
    pub fn segments(&self) -> Segments<'_> {
        Segments::new(&self.spans, self.dma.segments())
    }

    /// The IOVAs of each buffer's bytes, in the list's order.
    pub fn spans(&self) -> &[Span<Iova>] {
        &self.spans
    }

    /// How many of the bytes the device finds in bounce frames.
    pub fn bounced(&self) -> usize {
        self.bounces().iter().map(Bounce::copied).sum()
    }

    fn bounces(&self) -> &[Bounce<P>] {
        self.parts.as_ref().map_or(&[], |parts| &parts.bounces)
    }

    /// What the device wrote before is what [`read`](Self::read) gives.
    pub fn sync_for_cpu(&self) {
        if self.direction != Direction::ToDevice {
            self.bounces().iter().for_each(|bounce| bounce.take_back(&self.dma));
        }
    }

    /// What has been written is what the device reads.
    pub fn sync_for_device(&self) {
        let copy = self.direction != Direction::FromDevice;
        self.bounces().iter().for_each(|bounce| bounce.give(&self.dma, copy));
    }

    /// Copies bytes out of the buffer `index`.
    pub fn read(&self, index: usize, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let at = self.byte_at(index, offset, into.len())?;
        // SAFETY: inside the owner's bytes, which this thread alone has at the moment.
        unsafe { hw::copy_out(at, into) };
        Ok(())
    }

    /// Copies bytes into the buffer `index`.
    pub fn write(&self, index: usize, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let at = self.byte_at(index, offset, from.len())?;
        // SAFETY: as for `read`.
        unsafe { hw::copy_in(at, from) };
        Ok(())
    }

    fn byte_at(
        &self,
        index: usize,
        offset: usize,
        bytes: usize,
    ) -> Result<core::ptr::NonNull<u8>, AccessError> {
        let all = self.bounces().get(index).map(Bounce::bytes);
        AccessError::check(offset, bytes, all.map_or(0, |all| all.len()))?;
        let all = all.ok_or(AccessError::Outside { offset, bytes, of: 0 })?;
        // SAFETY: checked to lie inside.
        Ok(unsafe { all.cast::<u8>().add(offset) })
    }

    /// Takes all buffers back, with what the device wrote in them. After `Ok` no device reaches any; on `Err` an IOMMU did
    /// not confirm that, its devices were silenced, and all are withheld for ever.
    pub fn unmap(mut self) -> Result<Vec<B>, Hung> {
        self.end().unwrap_or(Ok(Vec::new()))
    }

    fn end(&mut self) -> Option<Result<Vec<B>, Hung>> {
        let parts = self.parts.take()?;
        let parts = match self.at {
            Some(at) => match self.dma.take(at, parts) {
                Ok(parts) => parts,
                Err(hung) => return Some(Err(hung)),
            },
            None => {
                self.dma.count(&[(Count::Unmappings, 1), (Count::UnmappedBytes, total(&parts.bounces))]);
                parts
            }
        };
        if self.direction != Direction::ToDevice {
            parts.bounces.iter().for_each(|bounce| bounce.take_back(&self.dma));
        }
        Some(Ok(parts.owners))
    }
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> Drop for MappedList<P, B, D> {
    fn drop(&mut self) {
        // Hung hardware has been counted and silenced, and the buffers withheld.
        drop(self.end());
    }
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> fmt::Debug for MappedList<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedList({:?})", self.segments())
    }
}
