//! The PASID directory of one source and the PASID tables below it (9.5, 9.6).
//!
//! The directory exists from the claim on, and so does the table of PASIDs 0 to 63, in which requests without a PASID have
//! entry zero. Other tables come with the first PASID that needs one and go when the source is released.

use super::memory::{PAGE, Reach, Settle, Shared};
use super::pasid_entry::{self, Pieces};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::vtd::pasid::{TABLE_BITS, directory, entry};
use ioward_types::{OutOfMemory, PhysAddr, Platform};

/// Index bits of the smallest directory.
const LEAST: u32 = 7;

/// All of them.
pub(super) struct PasidTable<P: Platform> {
    platform: P,
    reach: Reach,
    /// log2 of the directory's entries.
    bits: u32,
    directory: Shared<P>,
    tables: BTreeMap<u32, Shared<P>>,
}

impl<P: Platform> PasidTable<P> {
    /// Tables for PASIDs of `pasid_bits` bits, nothing behind any of them.
    pub fn new(platform: &P, reach: Reach, pasid_bits: u8) -> Result<Self, OutOfMemory> {
        let bits = u32::from(pasid_bits).saturating_sub(TABLE_BITS).max(LEAST);
        let directory = Shared::new(platform, reach, directory::BYTES << bits)?;
        let mut table = Self { platform: platform.clone(), reach, bits, directory, tables: BTreeMap::new() };
        match table.ensure(0) {
            Ok(_) => Ok(table),
            Err(error) => {
                // SAFETY: no hardware has been told of it.
                unsafe { table.free() };
                Err(error)
            }
        }
    }

    pub fn phys(&self) -> PhysAddr {
        self.directory.phys()
    }

    /// PDTS of the context entry.
    pub fn size(&self) -> u64 {
        u64::from(self.bits - LEAST)
    }

    /// Makes sure that a PASID has an entry. A new one is not present. Whether a directory entry became present for it.
    pub fn ensure(&mut self, pasid: u32) -> Result<bool, OutOfMemory> {
        let index = pasid >> TABLE_BITS;
        if index >> self.bits != 0 {
            return Ok(false);
        }
        if let Entry::Vacant(place) = self.tables.entry(index) {
            let table = Shared::new(&self.platform, self.reach, PAGE)?;
            // The table is seen empty before the link to it is seen.
            self.platform.publish();
            let link = directory::P.put(1) | directory::SMPTBLPTR.in_place(table.phys().0);
            self.directory.store(index as usize * directory::BYTES, link);
            place.insert(table);
            return Ok(true);
        }
        Ok(false)
    }

    fn place(&self, pasid: u32) -> Option<(&Shared<P>, usize)> {
        let table = self.tables.get(&(pasid >> TABLE_BITS))?;
        Some((table, pasid as usize % entry::ENTRIES * entry::BYTES))
    }

    /// Makes a PASID's entry `new`: see [`pasid_entry::write`]. [`PasidTable::ensure`] has been called.
    pub fn write(&self, pasid: u32, new: &Pieces, reachable: bool, settle: Settle<'_>) -> Result<(), Hung> {
        match self.place(pasid) {
            Some((table, offset)) => pasid_entry::write(table, offset, new, reachable, settle),
            None => Ok(()),
        }
    }

    /// Makes a PASID's entry not present, in one store.
    pub fn block(&self, pasid: u32) {
        if let Some((table, offset)) = self.place(pasid) {
            table.withdraw(offset);
        }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The source's context entry is not present, and has been known to be since.
    pub unsafe fn free(self) {
        // SAFETY: nothing leads the unit here any more, as promised by the caller.
        unsafe {
            self.tables.into_values().for_each(|table| table.free());
            self.directory.free();
        }
    }
}
