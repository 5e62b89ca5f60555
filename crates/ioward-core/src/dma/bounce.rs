//! Which bytes a device finds where they are, and which in bounce frames.

use super::{Dma, DmaBuffer as _, FrameBuffer};
use crate::space::{Count, MapError};
use core::{ops::Range, ptr::NonNull, slice};
use ioward_types::{Attributes, Direction, Iova, PhysAddr, Platform, Span, hw};

/// A part of the bytes that the device finds in bounce frames.
#[derive(Clone, Copy, Default)]
struct Copied {
    /// The first of the bytes.
    from: usize,
    bytes: usize,
    /// Where in the frames.
    to: usize,
}

/// Which bytes a device finds where.
pub(super) struct Bounce<P: Platform> {
    bytes: NonNull<[u8]>,
    granule: u64,
    /// How many bytes come before them in their first page.
    skip: u64,
    /// All that is mapped: whole pages, but where nothing translates.
    total: u64,
    frames: Option<FrameBuffer<P>>,
    copied: [Copied; 2],
    /// What is in place, in bytes from the start of all that is mapped.
    in_place: Range<u64>,
}

// SAFETY: the bytes belong to the value, as a vector's do, and to no thread.
unsafe impl<P: Platform> Send for Bounce<P> {}

impl<P: Platform> Bounce<P> {
    /// Looks at where the bytes are, and allocates the frames.
    ///
    /// # Safety
    /// For as long as the value lives the bytes are initialised, valid, and nobody else's.
    pub(super) unsafe fn plan(dma: &Dma<P>, bytes: NonNull<[u8]>) -> Result<Self, MapError> {
        let (start, length) = (bytes.cast::<u8>(), bytes.len() as u64);
        if length == 0 {
            return Err(MapError::Empty(Iova(0)));
        }
        let (platform, granule) = (dma.platform(), dma.granule());
        if let Some(run) = platform.phys(start, length).filter(|run| run.bytes >= length)
            && let Some(Ok(_)) = dma.place_direct(Span { bytes: length, ..run })
        {
            let (copied, in_place) = (Default::default(), 0..length);
            return Ok(Self { bytes, granule: 1, skip: 0, total: length, frames: None, copied, in_place });
        }
        let skip = start.addr().get() as u64 & (granule - 1);
        let total = (skip + length).next_multiple_of(granule);
        let first = if skip == 0 { 0 } else { granule };
        let last = (skip + length) & !(granule - 1);
        if dma.is_translated() && first < last && in_place(platform, start, skip, first..last, granule) {
            let head = Copied { from: 0, bytes: (first.saturating_sub(skip)) as usize, to: skip as usize };
            let tail = Copied {
                from: (last - skip) as usize,
                bytes: (skip + length - last) as usize,
                to: first as usize,
            };
            let needed = first as usize + (total - last) as usize;
            let frames = if needed == 0 { None } else { Some(FrameBuffer::for_device(dma, needed)?) };
            return Ok(Self {
                bytes,
                granule,
                skip,
                total,
                frames,
                copied: [head, tail],
                in_place: first..last,
            });
        }
        let whole = Copied { from: 0, bytes: length as usize, to: skip as usize };
        let frames = Some(FrameBuffer::for_device(dma, total as usize)?);
        Ok(Self { bytes, granule, skip, total, frames, copied: [whole, Copied::default()], in_place: 0..0 })
    }

    /// What the device is to reach `from` bytes after the first, as much as lies in one piece; empty where that cannot be
    /// said any more.
    pub(super) fn piece(&self, platform: &P, from: u64) -> Span<PhysAddr> {
        let nothing = Span { start: PhysAddr(0), bytes: 0 };
        let Range { start, end } = self.in_place.clone();
        if self.in_place.contains(&from) {
            // SAFETY: inside the bytes: only whole pages of them are in place.
            let at = unsafe { self.bytes.cast::<u8>().add((from - self.skip) as usize) };
            let run = platform.phys(at, end - from).unwrap_or(nothing);
            return Span { bytes: run.bytes.min(end - from) & !(self.granule - 1), ..run };
        }
        let Some(frames) = self.frames.as_ref().map(FrameBuffer::span) else { return nothing };
        // The frames hold what is mapped but for what is in place.
        let (offset, until) = if from < start { (from, start) } else { (from - (end - start), self.total) };
        Span { start: PhysAddr(frames.start.0 + offset), bytes: until - from }
    }

    /// Maps all of it.
    pub(super) fn place(&self, dma: &Dma<P>, direction: Direction) -> Result<Span<Iova>, MapError> {
        dma.place(self.total, Attributes::for_direction(direction), |from| self.piece(dma.platform(), from))
    }

    /// How many bytes are mapped: whole pages, but where nothing translates.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The bytes, where the CPU sees them.
    pub(super) fn bytes(&self) -> NonNull<[u8]> {
        self.bytes
    }

    /// How many bytes come before them in their first page.
    pub(super) fn skip(&self) -> u64 {
        self.skip
    }

    /// How many of them are in bounce frames.
    pub(super) fn copied(&self) -> usize {
        self.copied.iter().map(|part| part.bytes).sum()
    }

    /// Whether the device reaches bounce frames and nothing of the bytes themselves.
    pub(super) fn is_all_copied(&self) -> bool {
        self.frames.is_some() && self.in_place.is_empty()
    }

    /// The frames; what was in them is lost to the bytes from then on.
    pub(super) fn take_frames(&mut self) -> Option<FrameBuffer<P>> {
        self.frames.take()
    }

    /// The parts that are in frames, each with where the CPU sees it there.
    fn parts(&self, platform: &P) -> impl Iterator<Item = (NonNull<u8>, usize, NonNull<u8>)> {
        let frames = self.frames.as_ref().map(|frames| platform.virt(frames.span().start));
        let parts = self.copied.into_iter().filter(|part| part.bytes != 0);
        parts.zip(frames.into_iter().cycle()).map(|(part, frames)| {
            // SAFETY: a part lies inside the bytes, and inside the frames.
            unsafe { (self.bytes.cast::<u8>().add(part.from), part.bytes, frames.add(part.to)) }
        })
    }

    fn each_piece(&self, platform: &P, mut each: impl FnMut(Span<PhysAddr>)) {
        let mut from = 0;
        while from < self.total {
            let piece = self.piece(platform, from);
            if piece.bytes == 0 {
                return;
            }
            each(piece);
            from += piece.bytes;
        }
    }

    /// Makes the device see the bytes; with `copy` those in frames too.
    pub(super) fn give(&self, dma: &Dma<P>, copy: bool) {
        let platform = dma.platform();
        self.count(dma, copy);
        for (bytes, length, frames) in self.parts(platform).filter(|_| copy) {
            // SAFETY: initialised and this value's alone: the device knows its copy only.
            let bytes = unsafe { slice::from_raw_parts(bytes.as_ptr(), length) };
            // SAFETY: inside the frames, which are this value's.
            unsafe { hw::copy_in(frames, bytes) };
        }
        self.each_piece(platform, |piece| dma.clean(piece));
        platform.publish();
    }

    fn count(&self, dma: &Dma<P>, copies: bool) {
        if copies && self.copied() != 0 {
            dma.count(&[(Count::BouncedBytes, self.copied() as u64)]);
        }
    }

    /// Makes the CPU see what the device has written.
    pub(super) fn take_back(&self, dma: &Dma<P>) {
        let platform = dma.platform();
        self.count(dma, true);
        platform.observe();
        self.each_piece(platform, |piece| dma.invalidate(piece));
        for (bytes, length, frames) in self.parts(platform) {
            // SAFETY: initialised and this value's alone: the device knows its copy only.
            let bytes = unsafe { slice::from_raw_parts_mut(bytes.as_ptr(), length) };
            // SAFETY: inside the frames, which are this value's.
            unsafe { hw::copy_out(frames, bytes) };
        }
    }
}

/// Whether all pages in `range`, in bytes from the page in which `start` is at `skip`, can be given to a device as they are.
fn in_place<P: Platform>(
    platform: &P,
    start: NonNull<u8>,
    skip: u64,
    range: Range<u64>,
    granule: u64,
) -> bool {
    let mut at = range.start;
    while at < range.end {
        // SAFETY: inside the bytes, as `range` is.
        let from = unsafe { start.add((at - skip) as usize) };
        let Some(run) = platform.phys(from, range.end - at) else { return false };
        let whole = run.bytes.min(range.end - at) & !(granule - 1);
        if whole == 0 || run.start.0 & (granule - 1) != 0 {
            return false;
        }
        at += whole;
    }
    true
}
