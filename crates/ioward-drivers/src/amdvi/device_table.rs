//! The device table and how one of its entries changes (48882 §2.2.2).
//!
//! The specification says that hardware reads an entry in one transaction of 256 bits; nothing here relies on more than
//! 128. Bits `[127:0]` hold all that translation depends on, so one store of 128 bits goes from old to new. Only between
//! guest tables of four and five levels a bit of the upper half matters too: then the lower half is blocked first, and
//! each half is stored when a completion has told that no read of the earlier one is under way.

use super::entry::Entry;
use super::interrupt_table;
use ioward_spec::amdvi::dte;
use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform, hw::NoAtomic128};

const PAGE: usize = 4096;

/// Entries for device IDs zero to, not including, a limit that is a multiple of 128.
pub(super) struct DeviceTable<P: Platform> {
    platform: P,
    frames: Frames<P>,
    coherent: bool,
    /// What of bits `[191:128]` is about interrupts, for sources without an interrupt table.
    closed: u64,
}

/// What [`DeviceTable::write`] needs between two stores: caches forget the entry, and nothing reads it as it was.
pub(super) type Settle<'s, E> = &'s mut dyn FnMut() -> Result<(), E>;

impl<P: Platform> DeviceTable<P> {
    /// A table for device IDs up to `last`, included, in which every entry is `entry`.
    pub fn new(
        platform: &P,
        last: u16,
        entry: &Entry,
        coherent: bool,
        closed: u64,
    ) -> Result<Self, OutOfMemory> {
        let bytes = ((usize::from(last) + 1) * dte::BYTES).next_multiple_of(PAGE);
        let frames = Frames::new(platform, bytes, PAGE, PhysAddr(1 << 52))?;
        let table = Self { platform: platform.clone(), frames, coherent, closed };
        for source in 0..table.limit() {
            table.fill(source, entry);
        }
        Ok(table)
    }

    /// The first device ID that has no entry.
    pub fn limit(&self) -> u32 {
        (self.frames.bytes() / dte::BYTES) as u32
    }

    /// Where it is.
    pub fn phys(&self) -> PhysAddr {
        self.frames.phys()
    }

    /// Its length in pages of 4 KiB.
    pub fn pages(&self) -> u64 {
        (self.frames.bytes() / PAGE) as u64
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.frames.free() }
    }

    /// Writes an entry of a table that no hardware reads yet.
    pub fn fill(&self, source: u32, entry: &Entry) {
        for (n, word) in entry.0.iter().enumerate() {
            let interrupts = if n == 2 { self.closed } else { 0 };
            self.frames.store64(Self::at(source) + 8 * n, *word | interrupts);
        }
        self.clean(source);
    }

    /// The entry as it is in memory, but for what it says of interrupts.
    pub fn load(&self, source: u32) -> Entry {
        let mut entry = Entry(core::array::from_fn(|n| self.frames.load64(Self::at(source) + 8 * n)));
        entry.0[2] &= !interrupt_table::MASK;
        entry
    }

    /// Whether an entry has what was never ours in its upper half.
    pub fn is_foreign(&self, source: u32) -> bool {
        self.closed == 0 && self.interrupts(source) != 0 || self.frames.load64(Self::at(source) + 24) != 0
    }

    /// Bits `[191:128]` of an entry, as far as they are about interrupts.
    pub fn interrupts(&self, source: u32) -> u64 {
        self.frames.load64(Self::at(source) + 16) & interrupt_table::MASK
    }

    /// Changes them, in one store. The caller holds the lock of sources, and invalidates.
    pub fn set_interrupts(&self, source: u32, word: u64) -> Result<(), NoAtomic128> {
        let guest = self.frames.load64(Self::at(source) + 16) & !interrupt_table::MASK;
        let rest = self.frames.load64(Self::at(source) + 24);
        self.frames.store128(
            Self::at(source) + 16,
            u128::from(guest | word & interrupt_table::MASK) | u128::from(rest) << 64,
        )?;
        self.clean(source);
        Ok(())
    }

    /// Makes a live entry blocked. One store is enough, whatever was there.
    pub fn block(&self, source: u32, blocked: &Entry) {
        if self.store_lower(source, blocked).is_err() {
            // Not reached: bring-up refuses a CPU without the store. Rights, levels and GV are in the first word, so it
            // blocks alone, and the domain follows.
            self.frames.store64(Self::at(source), blocked.0[0]);
            self.frames.store64(Self::at(source) + 8, blocked.0[1]);
            self.clean(source);
        }
    }

    /// Makes a live entry `new`. Hardware sees the old entry, the new one, or `blocked`. The caller invalidates what may
    /// be cached once this is done. On `Err` from `settle` the entry is blocked, or is as it was where it was not guest.
    pub fn write<E: From<NoAtomic128>>(
        &self,
        source: u32,
        new: &Entry,
        blocked: &Entry,
        settle: Settle<'_, E>,
    ) -> Result<(), E> {
        // What the entry leads to is seen before the entry.
        self.platform.publish();
        let old = self.load(source);
        if new.is_guest() && new.upper() != old.upper() {
            if old.is_guest() {
                self.store_lower(source, blocked)?;
                settle()?;
            }
            self.store_upper(source, new)?;
            settle()?;
        }
        Ok(self.store_lower(source, new)?)
    }

    /// Makes a live entry blocked and clears its upper half, which an earlier owner wrote.
    pub fn reset(&self, source: u32, blocked: &Entry) -> Result<(), NoAtomic128> {
        self.store_lower(source, blocked)?;
        self.platform.publish();
        self.store_upper(source, blocked)
    }

    fn store_lower(&self, source: u32, entry: &Entry) -> Result<(), NoAtomic128> {
        self.frames.store128(Self::at(source), entry.lower())?;
        self.clean(source);
        Ok(())
    }

    fn store_upper(&self, source: u32, entry: &Entry) -> Result<(), NoAtomic128> {
        // What is said of interrupts is not this half's to change, unless nobody here says anything of them.
        let interrupts = if self.closed == 0 { 0 } else { self.interrupts(source) };
        self.frames.store128(Self::at(source) + 16, entry.upper() | u128::from(interrupts))?;
        self.clean(source);
        Ok(())
    }

    fn clean(&self, source: u32) {
        if !self.coherent {
            self.frames.clean(Self::at(source), dte::BYTES);
        }
    }

    fn at(source: u32) -> usize {
        source as usize * dte::BYTES
    }
}
