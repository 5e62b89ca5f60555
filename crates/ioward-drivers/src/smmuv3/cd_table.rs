//! The Context descriptors of one source (IHI 0070, 3.3.2, 5.3, 5.4).
//!
//! A source without PASIDs has a pair of descriptors, of which its entry points at one: a new table goes into the other,
//! and one store to the entry puts it into effect. A source with PASIDs has a table, linear up to 64 descriptors (or 1024
//! where the SMMU has no two-level tables), else of two levels whose second is made when its first PASID is installed.

use super::{
    cd, command,
    entry::{self, Words},
    memory::{Reach, Shared},
    ste::CdPointer,
    stream_table::Run,
};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::smmuv3::{
    cd::{BYTES, L2_4K_SPLIT, L2_64K_SPLIT, l1cd},
    ste::s1fmt,
};
use ioward_types::{OutOfMemory, Pasid, Platform, SourceId};

pub(super) struct CdTable<P: Platform> {
    platform: P,
    reach: Reach,
    /// S1CDMax: log2 of the descriptors; zero for a pair, of which one is in use.
    bits: u8,
    shape: Shape<P>,
}

enum Shape<P: Platform> {
    Pair { memory: Shared<P>, current: usize },
    Linear(Shared<P>),
    TwoLevel { l1: Shared<P>, split: u32, tables: BTreeMap<u32, Shared<P>> },
}

/// What is left to do after a descriptor has been written.
#[must_use]
pub(super) enum Written<P: Platform> {
    /// Nothing.
    Done,
    /// The whole table has moved: the entry must be made to point at it. What it was before is free once that is known to
    /// be in effect.
    Moved(Option<Shared<P>>),
}

impl<P: Platform> CdTable<P> {
    /// Descriptors for PASIDs of `bits` bits, all of them blocked.
    pub fn new(platform: &P, reach: Reach, bits: u8, two_level: bool) -> Result<Self, OutOfMemory> {
        let shape = match bits {
            0 => Shape::Pair { memory: Shared::new(platform, reach, 2 * BYTES, BYTES)?, current: 0 },
            bits if bits <= 6 || !two_level => {
                Shape::Linear(Shared::new(platform, reach, BYTES << bits, BYTES)?)
            }
            bits => {
                // Second levels of 4 KiB keep sparse PASIDs cheap while the first level is small too.
                let split = if bits <= 15 { L2_4K_SPLIT } else { L2_64K_SPLIT };
                let l1 = Shared::new(platform, reach, l1cd::BYTES << (u32::from(bits) - split), BYTES)?;
                Shape::TwoLevel { l1, split, tables: BTreeMap::new() }
            }
        };
        Ok(Self { platform: platform.clone(), reach, bits, shape })
    }

    /// What the entry says of it.
    pub fn pointer(&self) -> CdPointer {
        let (at, format) = match &self.shape {
            Shape::Pair { memory, current } => (memory.phys().0 + (current * BYTES) as u64, s1fmt::LINEAR),
            Shape::Linear(table) => (table.phys().0, s1fmt::LINEAR),
            Shape::TwoLevel { l1, split: L2_4K_SPLIT, .. } => (l1.phys().0, s1fmt::L2_4K),
            Shape::TwoLevel { l1, .. } => (l1.phys().0, s1fmt::L2_64K),
        };
        CdPointer { at, format, bits: self.bits }
    }

    /// Makes sure that a PASID has a descriptor of its own. A new one is blocked.
    pub fn ensure(&mut self, pasid: Pasid) -> Result<(), OutOfMemory> {
        let Shape::TwoLevel { l1, split, tables } = &mut self.shape else { return Ok(()) };
        let index = pasid.0 >> *split;
        if let Entry::Vacant(place) = tables.entry(index) {
            let table = Shared::new(&self.platform, self.reach, BYTES << *split, BYTES)?;
            self.platform.publish();
            l1.store(index as usize * l1cd::BYTES, descriptor(&table));
            place.insert(table);
        }
        Ok(())
    }

    fn place(&self, pasid: Pasid) -> Option<(&Shared<P>, usize)> {
        match &self.shape {
            Shape::Pair { memory, current } => Some((memory, current * BYTES)),
            Shape::Linear(table) => Some((table, pasid.0 as usize * BYTES)),
            Shape::TwoLevel { split, tables, .. } => {
                let table = tables.get(&(pasid.0 >> split))?;
                Some((table, (pasid.0 & ((1 << split) - 1)) as usize * BYTES))
            }
        }
    }

    /// Blocks a PASID. The descriptor is written in either case.
    pub fn block(&self, source: SourceId, pasid: Pasid, run: &mut Run<'_>) -> Result<(), Hung> {
        let Some((table, offset)) = self.place(pasid) else { return Ok(()) };
        if table.load(offset) == cd::BLOCKED[0] {
            return Ok(());
        }
        // V alone is read of a descriptor that is not valid, so the rest need not be cleared.
        table.store(offset, cd::BLOCKED[0]);
        run(&[command::cfgi_cd(source, pasid)])
    }

    /// Blocks everything while the entry leads here no more.
    pub fn clear(&self) {
        let clear = |table: &Shared<P>| {
            for at in (0..table.bytes()).step_by(BYTES) {
                if table.load(at) != 0 {
                    table.store(at, 0);
                }
            }
        };
        match &self.shape {
            Shape::Pair { memory, .. } => clear(memory),
            Shape::Linear(table) => clear(table),
            Shape::TwoLevel { tables, .. } => tables.values().for_each(clear),
        }
    }

    /// Makes a descriptor `new`, so that the SMMU sees the old one, the new one or, where there is no memory, a blocked one.
    /// [`CdTable::ensure`] has been called. `reachable`: the entry leads here. On `Err` the descriptor is any of these.
    pub fn write(
        &mut self,
        source: SourceId,
        pasid: Pasid,
        new: &Words,
        reachable: bool,
        run: &mut Run<'_>,
    ) -> Result<Written<P>, Hung> {
        if let Shape::Pair { memory, current } = &mut self.shape {
            // The entry points at the other one, and has been seen to since this one was last in use.
            let next = 1 - *current;
            entry::write_unreachable(memory, next * BYTES, new);
            *current = next;
            return Ok(Written::Moved(None));
        }
        let Some((table, offset)) = self.place(pasid) else { return Ok(Written::Done) };
        if !reachable {
            entry::write_unreachable(table, offset, new);
            return Ok(Written::Done);
        }
        let mut invalidate = || run(&[command::cfgi_cd(source, pasid)]);
        if entry::write_in_place(table, offset, new, cd::used, &mut invalidate)? {
            return Ok(Written::Done);
        }
        if let Ok(copy) = Shared::new(&self.platform, self.reach, table.bytes(), BYTES) {
            for at in (0..table.bytes()).step_by(8) {
                copy.store(at, table.load(at));
            }
            entry::write_unreachable(&copy, offset, new);
            return self.replace(source, pasid, copy, run);
        }
        let mut invalidate = || run(&[command::cfgi_cd(source, pasid)]);
        entry::write_in_place(table, offset, &cd::BLOCKED, cd::used, &mut invalidate)?;
        entry::write_in_place(table, offset, new, cd::used, &mut invalidate)?;
        Ok(Written::Done)
    }

    /// Puts a copy with one descriptor changed in the place of the table that holds it.
    fn replace(
        &mut self,
        source: SourceId,
        pasid: Pasid,
        copy: Shared<P>,
        run: &mut Run<'_>,
    ) -> Result<Written<P>, Hung> {
        match &mut self.shape {
            Shape::Pair { .. } => Ok(Written::Done),
            Shape::Linear(table) => Ok(Written::Moved(Some(core::mem::replace(table, copy)))),
            Shape::TwoLevel { l1, split, tables } => {
                let index = pasid.0 >> *split;
                l1.store(index as usize * l1cd::BYTES, descriptor(&copy));
                let old = tables.insert(index, copy);
                run(&[command::cfgi_cd_all(source)])?;
                if let Some(old) = old {
                    // SAFETY: no descriptor points at it, and the stream's descriptors have been forgotten since.
                    unsafe { old.free() };
                }
                Ok(Written::Done)
            }
        }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The source's entry is blocked, and has been known to be since.
    pub unsafe fn free(self) {
        // SAFETY: nothing leads the SMMU here any more, as promised by the caller.
        unsafe {
            match self.shape {
                Shape::Pair { memory, .. } => memory.free(),
                Shape::Linear(table) => table.free(),
                Shape::TwoLevel { l1, tables, .. } => {
                    tables.into_values().for_each(|table| table.free());
                    l1.free();
                }
            }
        }
    }
}

fn descriptor<P: Platform>(table: &Shared<P>) -> u64 {
    l1cd::V.put(1) | l1cd::L2PTR.in_place(table.phys().0)
}
