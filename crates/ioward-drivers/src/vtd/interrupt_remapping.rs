//! Interrupt remapping (chapter 5): the table, and [`RemapInterrupts`] of a unit.
//!
//! An entry changes in one store of 128 bits, so hardware sees the old target, the new one, or, without such stores,
//! none. An entry that nobody has is not present, and messages that name it are blocked and reported. Posted entries
//! (9.11) are not made; an entry holds what it is given, so they can be.

use super::descriptor::Command;
use super::driver::VtD;
use super::interrupt_entry;
use super::memory::{Pair, Reach, Shared};
use alloc::{boxed::Box, vec};
use core::ops::Range;
use ioward_core::driver::{
    Hung, InterruptCapabilities, InterruptEntries, InterruptFrom, InterruptMessage, InterruptTo, Refused,
    RemapInterrupts,
};
use ioward_spec::vtd::{interrupts::BYTES, registers::irta};
use ioward_types::{Mmio, OutOfMemory, Platform};

fn has(bits: &[u64], index: u32) -> bool {
    bits.get(index as usize / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
}

fn set(bits: &mut [u64], index: u32, on: bool) {
    if let Some(word) = bits.get_mut(index as usize / 64) {
        let bit = 1 << (index % 64);
        *word = if on { *word | bit } else { *word & !bit };
    }
}

/// The table, and who has what of it.
pub(super) struct InterruptTable<P: Platform> {
    entries: Shared<P>,
    log2: u8,
    /// A bit for each entry.
    used: Box<[u64]>,
    /// Entries that were made not present without a confirmation: a cache may hold what they were.
    unsure: Box<[u64]>,
    /// Destinations have 32 bits.
    pub wide: bool,
}

impl<P: Platform> InterruptTable<P> {
    /// A table of `1 << log2` entries, none of them present.
    pub fn new(platform: &P, reach: Reach, log2: u8, wide: bool) -> Result<Self, OutOfMemory> {
        let entries = Shared::new(platform, reach, BYTES << log2)?;
        let used = vec![0; (1usize << log2).div_ceil(64)].into_boxed_slice();
        Ok(Self { entries, log2, unsure: used.clone(), used, wide })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.entries.free() }
    }

    /// The value of IRTA.
    pub fn register(&self) -> u64 {
        irta::IRTA.in_place(self.entries.phys().0)
            | irta::EIME.put(self.wide.into())
            | irta::S.put(u64::from(self.log2) - 1)
    }

    pub fn count(&self) -> u32 {
        1 << self.log2
    }

    fn is_used(&self, index: u32) -> bool {
        has(&self.used, index)
    }

    fn mark(&mut self, index: u32, used: bool) {
        set(&mut self.used, index, used);
    }

    /// Makes entries not present. Until [`InterruptTable::settled`] a cache may hold what they were.
    fn withdraw(&mut self, entries: Range<u32>) {
        for index in entries {
            set(&mut self.unsure, index, true);
            self.entries.withdraw(index as usize * BYTES);
        }
    }

    /// The cache has confirmed that it forgot them.
    fn settled(&mut self, entries: Range<u32>) {
        entries.for_each(|index| set(&mut self.unsure, index, false));
    }

    /// Whether a cache may hold an entry as it is or was; `absent`: one that is not present too.
    fn may_be_cached(&self, index: u32, absent: bool) -> bool {
        absent || self.load(index)[0] & 1 != 0 || has(&self.unsure, index)
    }

    /// Carries over an entry of an earlier owner's, of a table that no hardware has been told of. It is never given out.
    pub fn fill(&mut self, index: u32, entry: Pair) {
        if index < self.count() {
            self.entries.store_unseen(index as usize * BYTES, entry);
            self.mark(index, true);
        }
    }

    /// The first of `count` free entries, aligned to `count` rounded up to a power of two.
    fn take(&mut self, count: u16) -> Option<u32> {
        let count = u32::from(count);
        let step = count.checked_next_power_of_two().filter(|_| count != 0)?;
        let mut first = 0;
        while first + count <= self.count() {
            if (first..first + count).all(|index| !self.is_used(index)) {
                (first..first + count).for_each(|index| self.mark(index, true));
                return Some(first);
            }
            first += step;
        }
        None
    }

    fn load(&self, index: u32) -> Pair {
        self.entries.load_pair(index as usize * BYTES)
    }
}

impl<M: Mmio, P: Platform> VtD<M, P> {
    /// The entry's index, if the entries are ones that this unit gave out.
    fn index(&self, table: &InterruptTable<P>, entries: &InterruptEntries, nth: u16) -> Option<u32> {
        let index = entries.first.checked_add(nth.into())?;
        let ours = entries.iommu == self.unit.id && nth < entries.count;
        (ours && index < table.count() && table.is_used(index)).then_some(index)
    }

    /// Has the cache forget one entry.
    fn forget_interrupt(&self, first: u32, log2: u8) -> Result<(), Hung> {
        self.flush_write_buffer()?;
        self.unit.platform.fence();
        let first = first as u16;
        self.invalidation.run(&self.unit, |batch| batch.push(Command::Interrupt { first, log2 }))
    }

    /// Makes entries not present, and the cache forget them in as few steps as its index mask allows (ECAP.MHMV).
    fn withdraw(&self, table: &mut InterruptTable<P>, first: u32, count: u32) -> Result<(), Hung> {
        let all = first..first + count;
        if !all.clone().any(|index| table.may_be_cached(index, self.features.caching_mode)) {
            return Ok(());
        }
        table.withdraw(all.clone());
        let log2 = (count.next_power_of_two().ilog2() as u8).min(self.features.index_mask);
        self.flush_write_buffer()?;
        self.unit.platform.fence();
        self.invalidation.run(&self.unit, |batch| {
            for first in (first..first + count).step_by(1 << log2) {
                batch.push(Command::Interrupt { first: first as u16, log2 })?;
            }
            Ok(())
        })?;
        table.settled(all);
        Ok(())
    }
}

impl<M: Mmio, P: Platform> RemapInterrupts for VtD<M, P> {
    fn interrupt_capabilities(&self) -> InterruptCapabilities {
        match &self.interrupts {
            None => InterruptCapabilities::default(),
            Some(table) => {
                let table = table.lock();
                // Compatibility format is blocked from bring-up on, and every entry names its source.
                InterruptCapabilities { most: table.count(), wide_destination: table.wide, isolated: true }
            }
        }
    }

    fn reserve(&self, from: InterruptFrom, count: u16) -> Result<InterruptEntries, Refused> {
        let iommu = self.unit.id;
        let source = from.source();
        let refused = |what| Err(Refused::Interrupt { iommu, source, what });
        if source.0 > u16::MAX.into() {
            return refused("a source of more than 16 bits");
        }
        if matches!(from, InterruptFrom::Buses { first, last, .. } if first > last) {
            return refused("a range of buses that ends before it starts");
        }
        let Some(table) = &self.interrupts else { return refused("interrupts are not remapped") };
        match table.lock().take(count) {
            Some(first) => Ok(InterruptEntries { iommu, from, first, count }),
            None => refused("no room for so many entries"),
        }
    }

    fn remap(
        &self,
        entries: &InterruptEntries,
        nth: u16,
        to: &InterruptTo,
    ) -> Result<InterruptMessage, Refused> {
        let refused = |what| Refused::Interrupt { iommu: self.unit.id, source: entries.from.source(), what };
        let mut table = self.interrupts.as_ref().ok_or(refused("interrupts are not remapped"))?.lock();
        let index = self.index(&table, entries, nth).ok_or(refused("no entry of this IOMMU's"))?;
        let InterruptTo::Apic(to) = to else { return Err(refused("a kind of target that is not made")) };
        if !table.wide && to.destination > 0xff {
            return Err(refused("a destination of more than 8 bits (ECAP.EIM)"));
        }
        let new = interrupt_entry::remapped(&entries.from, to, table.wide);
        let old = table.load(index);
        let at = index as usize * BYTES;
        // One that was not present is not cached, but in caching mode (6.1), or where nobody confirmed that what it was
        // before is forgotten.
        let cached = old != new && table.may_be_cached(index, self.features.caching_mode);
        let written = table.entries.replace(at, new, &mut || self.forget_interrupt(index, 0));
        let written = written.and_then(|()| match cached {
            true => self.forget_interrupt(index, 0),
            false => self.flush_write_buffer(),
        });
        if let Err(hung) = written {
            table.withdraw(index..index + 1);
            return Err(hung.into());
        }
        table.settled(index..index + 1);
        // Where nothing was cached and nothing is to be flushed, nothing else orders the entry before a message of its.
        self.unit.platform.publish();
        Ok(interrupt_entry::message(entries.first as u16, nth, entries.count, to))
    }

    fn mask(&self, entries: &InterruptEntries, nth: u16) -> Result<(), Hung> {
        let Some(table) = &self.interrupts else { return Ok(()) };
        let mut table = table.lock();
        match self.index(&table, entries, nth) {
            Some(index) => self.withdraw(&mut table, index, 1),
            // What this unit did not give out names no entry of its.
            None => Ok(()),
        }
    }

    fn release(&self, entries: InterruptEntries) -> Result<(), Hung> {
        let Some(table) = &self.interrupts else { return Ok(()) };
        let mut table = table.lock();
        let last = entries.count.checked_sub(1).and_then(|last| self.index(&table, &entries, last));
        if last.is_none() || self.index(&table, &entries, 0).is_none() {
            return Ok(());
        }
        let (first, count) = (entries.first, u32::from(entries.count));
        self.withdraw(&mut table, first, count)?;
        (first..first + count).for_each(|index| table.mark(index, false));
        Ok(())
    }
}
