//! Buffers of whole pages.

use super::{ByteBuffer, Dma};
use crate::space::MapError;
use core::{fmt, ptr::NonNull};
use ioward_types::{Iova, OutOfMemory, PhysAddr, Platform, Span};

/// Memory that a device may be given.
///
/// # Implementation safety
/// [`DmaBuffer::span`] answers the same for as long as `self` lives, wherever it is moved; the memory stays valid, and
/// nobody reads or writes it through references, until `self` is dropped. Whole pages belong to the buffer: a device that
/// is given one byte of a page is given the page. The CPU sees it at [`Platform::virt`].
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait DmaBuffer: Send + 'static {
    /// Where it is; a multiple of the address space's smallest page in start and length.
    fn span(&self) -> Span<PhysAddr>;
}

/// Whole frames of the platform's as a buffer: zeroed when allocated, freed when dropped.
pub struct FrameBuffer<P: Platform> {
    platform: P,
    span: Span<PhysAddr>,
}

impl<P: Platform> FrameBuffer<P> {
    /// `bytes` bytes, a multiple of the smallest page that they will be mapped with, aligned to `align` (at least that).
    pub fn new(platform: &P, bytes: usize, align: usize) -> Result<Self, OutOfMemory> {
        Self::new_below(platform, bytes, align, PhysAddr(u64::MAX))
    }

    /// The same, wholly below `below`: for a device that reaches memory without an IOMMU and cannot reach all of it.
    pub fn new_below(platform: &P, bytes: usize, align: usize, below: PhysAddr) -> Result<Self, OutOfMemory> {
        let start = platform.frames(bytes, align, below)?;
        Ok(Self { platform: platform.clone(), span: Span { start, bytes: bytes as u64 } })
    }

    /// At least `bytes` bytes in whole pages that can be given to the device of `dma`.
    pub(super) fn for_device(dma: &Dma<P>, bytes: usize) -> Result<Self, MapError> {
        let granule = dma.granule() as usize;
        let whole = bytes.checked_next_multiple_of(granule).filter(|bytes| *bytes != 0);
        let whole = whole.ok_or(MapError::Empty(Iova(0)))?;
        Self::new_below(dma.platform(), whole, granule, dma.frames_below()).map_err(MapError::NoMemory)
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

// SAFETY: as above; frames are zeroed when they are allocated, so they are initialised.
unsafe impl<P: Platform> ByteBuffer for FrameBuffer<P> {
    fn bytes(&mut self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.platform.virt(self.span.start), self.span.bytes as usize)
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
