//! Memory that the SMMU reads: frames, cleaned after every store where the SMMU does not snoop.

use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform, Span};

/// How the SMMU reaches memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// It snoops CPU caches.
    pub coherent: bool,
    /// The first address that it cannot reach.
    pub below: PhysAddr,
}

/// Frames shared with the SMMU. Dropping them leaks, as [`Frames`] does: the SMMU may still read them.
pub(super) struct Shared<P: Platform> {
    platform: P,
    frames: Frames<P>,
    coherent: bool,
}

impl<P: Platform> Shared<P> {
    /// `bytes` bytes of zeros that the SMMU sees as zeros, aligned to their size or `align`, whichever is greater.
    pub fn new(platform: &P, reach: Reach, bytes: usize, align: usize) -> Result<Self, OutOfMemory> {
        let align = bytes.next_power_of_two().max(align);
        let frames = Frames::new(platform, bytes, align, reach.below)?;
        if !reach.coherent {
            frames.clean(0, bytes);
        }
        Ok(Self { platform: platform.clone(), frames, coherent: reach.coherent })
    }

    pub fn phys(&self) -> PhysAddr {
        self.frames.phys()
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

    /// Reads `N` words that the SMMU wrote.
    pub fn fetch<const N: usize>(&self, offset: usize) -> [u64; N] {
        if !self.coherent
            && let Some(lines) = Span::new(PhysAddr(self.phys().0 + offset as u64), 8 * N as u64)
        {
            self.platform.invalidate_for_cpu(lines);
        }
        core::array::from_fn(|n| self.load(offset + 8 * n))
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// The SMMU has forgotten every address in them: nothing points at them and a CMD_SYNC has completed since.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.frames.free() }
    }
}
