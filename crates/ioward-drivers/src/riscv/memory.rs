//! Memory that the IOMMU reads: frames, cleaned after every store where the IOMMU does not snoop.

use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform, Span};

/// Bytes of a page, which every structure is aligned to.
pub(super) const PAGE: usize = 4096;

/// How the IOMMU reaches memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// It snoops CPU caches.
    pub coherent: bool,
    /// The first address that it cannot reach.
    pub below: PhysAddr,
}

/// Frames shared with the IOMMU. Dropping them leaks, as [`Frames`] does: the IOMMU may still read them.
pub(super) struct Shared<P: Platform> {
    platform: P,
    frames: Frames<P>,
    coherent: bool,
}

impl<P: Platform> Shared<P> {
    /// `bytes` bytes of zeros that the IOMMU sees as zeros, aligned to their size and at least to a page.
    pub fn new(platform: &P, reach: Reach, bytes: usize) -> Result<Self, OutOfMemory> {
        let bytes = bytes.max(PAGE);
        let frames = Frames::new(platform, bytes, bytes.next_power_of_two(), reach.below)?;
        if !reach.coherent {
            frames.clean(0, bytes);
        }
        Ok(Self { platform: platform.clone(), frames, coherent: reach.coherent })
    }

    pub fn phys(&self) -> PhysAddr {
        self.frames.phys()
    }

    /// The page number of the first byte.
    pub fn ppn(&self) -> u64 {
        self.phys().0 >> ioward_spec::riscv::PAGE_BITS
    }

    pub fn bytes(&self) -> usize {
        self.frames.bytes()
    }

    pub fn load(&self, offset: usize) -> u64 {
        self.frames.load64(offset)
    }

    pub fn store(&self, offset: usize, value: u64) {
        self.frames.store64(offset, value);
        if !self.coherent {
            self.frames.clean(offset, 8);
        }
    }

    /// What was stored until now is seen before anything that is stored from now on.
    pub fn publish(&self) {
        self.platform.publish();
    }

    /// Reads `N` words that the IOMMU wrote.
    pub fn fetch<const N: usize>(&self, offset: usize) -> [u64; N] {
        if !self.coherent
            && let Some(lines) = Span::new(PhysAddr(self.phys().0 + offset as u64), 8 * N as u64)
        {
            self.platform.invalidate_for_cpu(lines);
        }
        core::array::from_fn(|n| self.load(offset + 8 * n))
    }

    /// The same words somewhere else.
    pub fn copy(&self, reach: Reach) -> Result<Self, OutOfMemory> {
        let copy = Self::new(&self.platform, reach, self.bytes())?;
        for at in (0..self.bytes()).step_by(8) {
            match self.load(at) {
                0 => {}
                word => copy.store(at, word),
            }
        }
        Ok(copy)
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// The IOMMU has forgotten every address in them: nothing points at them and an IOFENCE.C has completed since.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.frames.free() }
    }
}
