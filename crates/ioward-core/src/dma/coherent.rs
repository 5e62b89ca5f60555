//! Memory that a device and the CPU work on at the same time.

use super::{AccessError, Dma, DmaRef, FrameBuffer, Mapping, frames::DmaBuffer as _};
use crate::{driver::Hung, space::MapError};
use core::{cell::Cell, fmt, marker::PhantomData, ptr::NonNull};
use ioward_types::{
    Direction, Iova, PhysAddr, Platform, Span,
    hw::{self, Word},
};

impl<P: Platform> Dma<P> {
    /// Zeroed memory that the device and the CPU share for as long as the value lives: at least `bytes` bytes, in whole
    /// pages, in one piece, aligned to a page. `direction` is what the device may do with it.
    ///
    /// The device's accesses must snoop the CPU's caches, as those of PCI Express devices do unless they are told not to;
    /// [`MapError::DoesNotSnoop`] where [`Dma::snoops`] says that they do not.
    pub fn coherent<D: DmaRef<P>>(
        dma: D,
        bytes: usize,
        direction: Direction,
    ) -> Result<Coherent<P, D>, MapError> {
        if !dma.snoops() {
            return Err(dma.fail(MapError::DoesNotSnoop));
        }
        let frames = FrameBuffer::for_device(&dma, bytes).map_err(|error| dma.fail(error))?;
        let (platform, to) = (dma.platform().clone(), frames.span());
        let mapping = Dma::map(dma, frames, direction).map_err(|(error, _)| error)?;
        Ok(Coherent { mapping, platform, to, _one_thread_at_a_time: PhantomData })
    }
}

/// Memory that a device and the CPU share: a ring of descriptors, a queue of completions. It ends as a
/// [`Mapping`] does.
///
/// Offsets and lengths are in bytes. Words are little-endian and loaded and stored at once; nothing here makes a reference.
/// What must be seen in order is kept in order by barriers with names:
/// * the descriptor, [`publish`](Self::publish), then the word that says that it is there, then the doorbell (which
///   [`Mmio`](ioward_types::Mmio) orders);
/// * the word that says that a completion is there, [`observe`](Self::observe), then the completion;
/// * [`fence`](Self::fence) between a store and a later load, where the device does the same from its side.
///
/// It is one thread's at a time (`Send`, not `Sync`): two CPUs that work on one ring have it behind their lock, or each a
/// ring of its own.
#[must_use = "the device reaches the memory only while the value lives"]
pub struct Coherent<P: Platform, D: DmaRef<P>> {
    mapping: Mapping<P, FrameBuffer<P>, D>,
    platform: P,
    to: Span<PhysAddr>,
    /// Words of different sizes may be used on the same bytes, which threads may not do at the same time.
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

impl<P: Platform, D: DmaRef<P>> Coherent<P, D> {
    /// The first IOVA: what the device is told.
    pub fn iova(&self) -> Iova {
        self.mapping.iova()
    }

    /// All of its IOVAs.
    pub fn span(&self) -> Span<Iova> {
        self.mapping.span()
    }

    /// How many bytes: what was asked for, up to whole pages.
    pub fn bytes(&self) -> usize {
        self.to.bytes as usize
    }

    fn at(&self, offset: usize, bytes: usize) -> Result<PhysAddr, AccessError> {
        AccessError::check(offset, bytes, self.bytes())?;
        Ok(PhysAddr(self.to.start.0 + offset as u64))
    }

    fn word_at<W: Word>(&self, offset: usize) -> Result<PhysAddr, AccessError> {
        let bytes = size_of::<W>();
        if !offset.is_multiple_of(bytes) {
            return Err(AccessError::Misaligned { offset, bytes });
        }
        self.at(offset, bytes)
    }

    /// Loads a word at once.
    #[inline]
    pub fn load<W: Word>(&self, offset: usize) -> Result<W, AccessError> {
        let at = self.word_at::<W>(offset)?;
        // SAFETY: aligned and inside frames that the mapping owns.
        Ok(unsafe { hw::load(&self.platform, at) })
    }

    /// Stores a word at once.
    #[inline]
    pub fn store<W: Word>(&self, offset: usize, value: W) -> Result<(), AccessError> {
        let at = self.word_at::<W>(offset)?;
        // SAFETY: aligned and inside frames that the mapping owns; they hold nothing that Rust refers to.
        unsafe { hw::store(&self.platform, at, value) };
        Ok(())
    }

    /// Copies out what is there; where the device writes meanwhile, bytes of before and after.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let at = self.at(offset, into.len())?;
        // SAFETY: inside frames that the mapping owns and that this thread alone has at the moment.
        unsafe { hw::copy_out(self.platform.virt(at), into) };
        Ok(())
    }

    /// Copies `from` there.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let at = self.at(offset, from.len())?;
        // SAFETY: as for `read`.
        unsafe { hw::copy_in(self.platform.virt(at), from) };
        Ok(())
    }

    /// The device sees what was stored before it before what is stored after it.
    #[inline]
    pub fn publish(&self) {
        self.platform.publish();
    }

    /// What is loaded after it is no older than what was loaded before it.
    #[inline]
    pub fn observe(&self) {
        self.platform.observe();
    }

    /// Everything before it comes before everything after it, loads after stores included.
    #[inline]
    pub fn fence(&self) {
        self.platform.fence();
    }

    /// Where the CPU sees it, for code that keeps its own rings in it. Valid while the value lives. The device is at work
    /// there: whoever uses the pointer loads and stores, and makes no reference.
    pub fn as_ptr(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.platform.virt(self.to.start), self.bytes())
    }

    /// Takes it from the device and frees it. On `Err` an IOMMU did not confirm that nothing reaches it, its devices were
    /// silenced, and the memory is withheld for ever.
    pub fn unmap(self) -> Result<(), Hung> {
        self.mapping.unmap().map(drop)
    }
}

impl<P: Platform, D: DmaRef<P>> fmt::Debug for Coherent<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coherent({})", self.span())
    }
}
