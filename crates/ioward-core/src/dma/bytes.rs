//! Mapped bytes of any alignment and length: whole pages in place, what does not fill its page by way of bounce frames.

use super::{AccessError, Dma, DmaRef, bounce::Bounce};
use crate::{driver::Hung, policy::FlushMode, space::MapError};
use alloc::{boxed::Box, vec::Vec};
use core::{
    fmt,
    mem::{self, MaybeUninit},
    ptr::NonNull,
};
use ioward_types::{Direction, Iova, Platform, Span, hw};

/// Bytes that a device may be given.
///
/// # Implementation safety
/// [`ByteBuffer::bytes`] answers the same bytes for as long as `self` lives, wherever it is moved. They are initialised,
/// stay valid, and nobody else reads or writes them, until `self` is dropped or its methods are used again.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait ByteBuffer: Send + 'static {
    /// Where the CPU sees them.
    fn bytes(&mut self) -> NonNull<[u8]>;
}

// SAFETY: a vector's bytes do not move with it, and are its own.
unsafe impl ByteBuffer for Vec<u8> {
    fn bytes(&mut self) -> NonNull<[u8]> {
        NonNull::from(&mut **self)
    }
}

// SAFETY: a box's bytes do not move with it, and are its own.
unsafe impl ByteBuffer for Box<[u8]> {
    fn bytes(&mut self) -> NonNull<[u8]> {
        NonNull::from(&mut **self)
    }
}

/// Bytes that somebody else owns: for kernels whose buffers are borrowed.
#[derive(Debug)]
pub struct RawBytes(NonNull<[u8]>);

// SAFETY: whoever made it promised that the bytes are left alone, by every thread.
unsafe impl Send for RawBytes {}

impl RawBytes {
    /// These bytes.
    ///
    /// It is `unsafe` since no borrow is held: a mapping can be forgotten, or an IOMMU can hang, and then the device goes
    /// on using the bytes for ever, whatever the life of a borrow says. An owned buffer is leaked in that case.
    ///
    /// # Safety
    /// The bytes are initialised, and stay valid, until the mapping that is made of this has been dropped, or unmapped with
    /// `Ok`. Where it is forgotten, and where unmapping (or mapping) ends in [`Hung`], that is for ever. Until then nobody
    /// reads or writes them but through the mapping, and, between
    /// [`sync_for_cpu`](MappedBytes::sync_for_cpu) and [`sync_for_device`](MappedBytes::sync_for_device), through raw
    /// pointers from which no reference is made.
    pub unsafe fn new(bytes: NonNull<[u8]>) -> Self {
        Self(bytes)
    }
}

// SAFETY: as promised to `RawBytes::new`.
unsafe impl ByteBuffer for RawBytes {
    fn bytes(&mut self) -> NonNull<[u8]> {
        self.0
    }
}

impl<P: Platform> Dma<P> {
    /// Maps bytes of any alignment and length, at IOVAs of the allocator's choice. Their place within a page stays what it
    /// is. The mapping owns the buffer until it is unmapped.
    ///
    /// The device reaches these bytes and zeros around them, nothing else: what does not fill a page of the address space,
    /// and everything whose physical address [`Platform::phys`] does not know, is copied to bounce frames, now and on
    /// [`sync_for_device`](MappedBytes::sync_for_device), and copied back on [`sync_for_cpu`](MappedBytes::sync_for_cpu) and
    /// when the mapping ends. Bytes that the device does not write stay what they were. Where an explicit policy lets
    /// nothing translate, bytes are copied only if the device cannot reach them where they are.
    ///
    /// On error the buffer comes back and everything is undone, unless an IOMMU hung in the middle: then it is withheld for
    /// ever.
    pub fn map_bytes<B: ByteBuffer, D: DmaRef<P>>(
        dma: D,
        owner: B,
        direction: Direction,
    ) -> Result<MappedBytes<P, B, D>, (MapError, Option<B>)> {
        // A `Box` that is moved claims its bytes anew, which would end the pointer's right to them; inside `MaybeUninit` it
        // does not.
        let mut owner = MaybeUninit::new(owner);
        // SAFETY: it is initialised.
        let bytes = unsafe { owner.assume_init_mut() }.bytes();
        // SAFETY: the owner's, which is moved by nobody until the mapping ends.
        let parts = match unsafe { Bounce::plan(&dma, bytes) } {
            Ok(bounce) => Parts { bounce, owner },
            // SAFETY: as above.
            Err(error) => return Err((dma.fail(error), Some(unsafe { owner.assume_init() }))),
        };
        parts.bounce.give(&dma, true);
        match parts.bounce.place(&dma, direction) {
            Ok(at) => Ok(MappedBytes { dma, at, direction, parts: Some(parts) }),
            Err(error @ MapError::Hung(_)) => {
                mem::forget(parts);
                Err((error, None))
            }
            // SAFETY: as above.
            Err(error) => Err((error, Some(unsafe { parts.owner.assume_init() }))),
        }
    }
}

struct Parts<P: Platform, B> {
    bounce: Bounce<P>,
    /// Never uninitialised.
    owner: MaybeUninit<B>,
}

/// Bytes that a device reaches. Dropped: unmapped, flushed, and what the device wrote copied back. Forgotten: leaked, and
/// still mapped.
///
/// The CPU has no reference to the bytes meanwhile, and copies of them: [`read`](Self::read) after
/// [`sync_for_cpu`](Self::sync_for_cpu), [`write`](Self::write) before [`sync_for_device`](Self::sync_for_device). It is one
/// thread's at a time (`Send`, not `Sync`).
#[must_use = "the device reaches the bytes only while the mapping lives"]
pub struct MappedBytes<P: Platform, B: ByteBuffer, D: DmaRef<P>> {
    dma: D,
    /// Whole pages, but where nothing translates.
    at: Span<Iova>,
    direction: Direction,
    parts: Option<Parts<P, B>>,
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> MappedBytes<P, B, D> {
    /// The IOVA of the first byte: what the device is told.
    pub fn iova(&self) -> Iova {
        self.span().start
    }

    /// The IOVAs of the bytes, and of nothing around them.
    pub fn span(&self) -> Span<Iova> {
        let bounce = &self.parts().bounce;
        Span { start: Iova(self.at.start.0 + bounce.skip()), bytes: bounce.bytes().len() as u64 }
    }

    /// How many of the bytes the device finds in bounce frames.
    pub fn bounced(&self) -> usize {
        self.parts().bounce.copied()
    }

    fn parts(&self) -> &Parts<P, B> {
        match &self.parts {
            Some(parts) => parts,
            None => {
                unreachable!("the parts are there until `unmap` or `drop`, each of which ends the mapping")
            }
        }
    }

    /// What the device wrote before is what [`read`](Self::read) gives, and what raw pointers to a borrowed buffer read. Call
    /// it when the device has said that it is done.
    pub fn sync_for_cpu(&self) {
        if self.direction != Direction::ToDevice {
            self.parts().bounce.take_back(&self.dma);
        }
    }

    /// What has been written is what the device reads. Call it before the device is told.
    pub fn sync_for_device(&self) {
        self.parts().bounce.give(&self.dma, self.direction != Direction::FromDevice);
    }

    /// Copies bytes out, as of the last [`sync_for_cpu`](Self::sync_for_cpu).
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let at = self.byte_at(offset, into.len())?;
        // SAFETY: inside the owner's bytes, which this thread alone has at the moment.
        unsafe { hw::copy_out(at, into) };
        Ok(())
    }

    /// Copies bytes in, for the next [`sync_for_device`](Self::sync_for_device). What the device alone writes
    /// ([`Direction::FromDevice`]) is the device's: the next [`sync_for_cpu`](Self::sync_for_cpu) replaces it.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let at = self.byte_at(offset, from.len())?;
        // SAFETY: as for `read`.
        unsafe { hw::copy_in(at, from) };
        Ok(())
    }

    fn byte_at(&self, offset: usize, bytes: usize) -> Result<NonNull<u8>, AccessError> {
        let all = self.parts().bounce.bytes();
        AccessError::check(offset, bytes, all.len())?;
        // SAFETY: checked to lie inside.
        Ok(unsafe { all.cast::<u8>().add(offset) })
    }

    /// Takes the buffer back, with what the device wrote in it. After `Ok` no device reaches it: in a lazy domain the flush
    /// is put off if all of it lies in bounce frames, and they alone are reached until then. On `Err` an IOMMU did not
    /// confirm that, its devices were silenced, and the buffer is withheld for ever.
    pub fn unmap(mut self) -> Result<B, Hung> {
        match self.end() {
            Some(result) => result,
            None => {
                unreachable!("the parts are there until `unmap` or `drop`, each of which ends the mapping")
            }
        }
    }

    fn end(&mut self) -> Option<Result<B, Hung>> {
        let mut parts = self.parts.take()?;
        if parts.bounce.is_all_copied() && self.dma.flush_mode() == FlushMode::Lazy {
            // The device reaches the frames alone: the queue has those, and the buffer can go back at once.
            if self.direction != Direction::ToDevice {
                parts.bounce.take_back(&self.dma);
            }
            if let Err(hung) = self.dma.give_up(self.at, parts.bounce.take_frames()) {
                mem::forget(parts);
                return Some(Err(hung));
            }
        } else {
            // Where an IOMMU hung, the parts have been forgotten.
            parts = match self.dma.take(self.at, parts) {
                Ok(parts) => parts,
                Err(hung) => return Some(Err(hung)),
            };
            if self.direction != Direction::ToDevice {
                parts.bounce.take_back(&self.dma);
            }
        }
        // SAFETY: it is never uninitialised, and the bounce frames' side is not used after this.
        Some(Ok(unsafe { parts.owner.assume_init() }))
    }
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> Drop for MappedBytes<P, B, D> {
    fn drop(&mut self) {
        // Hung hardware has been counted and silenced, and the buffer withheld.
        drop(self.end());
    }
}

impl<P: Platform, B: ByteBuffer, D: DmaRef<P>> fmt::Debug for MappedBytes<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedBytes({}, {} bounced)", self.span(), self.bounced())
    }
}
