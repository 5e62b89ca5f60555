//! Memory that the unit reads: frames, cleaned after every store where the unit does not snoop (ECAP.C).

use ioward_core::driver::Hung;
use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform, Span};

/// Bytes of a page of structures.
pub(super) const PAGE: usize = 4096;

/// How the unit reaches memory, and how the CPU stores to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The unit's accesses snoop CPU caches.
    pub coherent: bool,
    /// The first address that it cannot reach.
    pub below: PhysAddr,
    /// The CPU stores 128 bits at once.
    pub wide: bool,
}

/// 128 bits of a structure, which hardware reads at once (6.5.3.3): the lower word first, whose bit 0 is P wherever there
/// is one.
pub(super) type Pair = [u64; 2];

/// What is needed between two stores to a structure: caches forget it, and no read of it from before is under way.
pub(super) type Settle<'s> = &'s mut dyn FnMut() -> Result<(), Hung>;

/// Frames shared with the unit. Dropping them leaks, as [`Frames`] does: the unit may still read them.
pub(super) struct Shared<P: Platform> {
    platform: P,
    frames: Frames<P>,
    reach: Reach,
}

impl<P: Platform> Shared<P> {
    /// `bytes` bytes of zeros that the unit sees as zeros, aligned to a page or to their size, whichever is greater.
    pub fn new(platform: &P, reach: Reach, bytes: usize) -> Result<Self, OutOfMemory> {
        let frames = Frames::new(platform, bytes, bytes.next_power_of_two().max(PAGE), reach.below)?;
        if !reach.coherent {
            frames.clean(0, bytes);
        }
        Ok(Self { platform: platform.clone(), frames, reach })
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

    pub fn load_pair(&self, offset: usize) -> Pair {
        [self.load(offset), self.load(offset + 8)]
    }

    pub fn store(&self, offset: usize, value: u64) {
        self.frames.store64(offset, value);
        self.clean(offset, 8);
    }

    /// What was stored until now is seen before anything that is stored from now on.
    pub fn publish(&self) {
        self.platform.publish();
    }

    /// Stores a pair that hardware does not look at, in any order.
    pub fn store_unseen(&self, offset: usize, new: Pair) {
        self.store(offset, new[0]);
        self.store(offset + 8, new[1]);
    }

    /// Makes a pair with P in its bit 0 `new`, so that hardware sees the old one, the new one, or, without stores of 128
    /// bits, one that is not present. What it leads to is seen before it. On `Err` from `settle` it is not present.
    pub fn replace(&self, offset: usize, new: Pair, settle: Settle<'_>) -> Result<(), Hung> {
        self.publish();
        let old = self.load_pair(offset);
        if old == new {
            return Ok(());
        }
        let wide = u128::from(new[0]) | u128::from(new[1]) << 64;
        if self.reach.wide && self.frames.store128(offset, wide).is_ok() {
            self.clean(offset, 16);
            return Ok(());
        }
        if old[1] == new[1] {
            self.store(offset, new[0]);
            return Ok(());
        }
        if old[0] & 1 != 0 {
            self.store(offset, 0);
            self.publish();
            settle()?;
        }
        self.store(offset + 8, new[1]);
        self.publish();
        if new[0] & 1 != 0 {
            settle()?;
        }
        self.store(offset, new[0]);
        Ok(())
    }

    /// Takes P of a pair away, in one store, whatever the CPU can. The rest means nothing without it.
    pub fn withdraw(&self, offset: usize) {
        self.store(offset, 0);
    }

    /// Reads `N` words that the unit wrote.
    pub fn fetch<const N: usize>(&self, offset: usize) -> [u64; N] {
        if !self.reach.coherent
            && let Some(lines) = Span::new(PhysAddr(self.phys().0 + offset as u64), 8 * N as u64)
        {
            self.platform.invalidate_for_cpu(lines);
        }
        core::array::from_fn(|n| self.load(offset + 8 * n))
    }

    fn clean(&self, offset: usize, bytes: usize) {
        if !self.reach.coherent {
            self.frames.clean(offset, bytes);
        }
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// The unit has forgotten every address in them: nothing points at them, and an invalidation has confirmed so.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.frames.free() }
    }
}
