//! The root table and the context tables below it (9.1 to 9.4).
//!
//! A context table comes with the first claim of a source that needs it and stays: taking a source away never takes a
//! table from under a walk. Of a scalable entry only the lower half is ever anything but zero, so an entry of either mode
//! is one [`Pair`].

use super::memory::{PAGE, Pair, Reach, Settle, Shared};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::vtd::{context, root};
use ioward_types::{OutOfMemory, PhysAddr, Platform, SourceId};

/// The first source that no root table has a place for.
pub(super) const LIMIT: u32 = 1 << 16;

/// All of them.
pub(super) struct RootTable<P: Platform> {
    platform: P,
    reach: Reach,
    scalable: bool,
    root: Shared<P>,
    /// By bus, and in scalable mode by bus and half.
    tables: BTreeMap<u32, Shared<P>>,
}

impl<P: Platform> RootTable<P> {
    /// A root table with nothing below it.
    pub fn new(platform: &P, reach: Reach, scalable: bool) -> Result<Self, OutOfMemory> {
        let root = Shared::new(platform, reach, root::ENTRIES * root::BYTES)?;
        Ok(Self { platform: platform.clone(), reach, scalable, root, tables: BTreeMap::new() })
    }

    pub fn phys(&self) -> PhysAddr {
        self.root.phys()
    }

    /// Which context table, and where in it.
    fn place(&self, source: SourceId) -> (u32, usize) {
        let function = (source.0 & 0xff) as usize;
        if self.scalable {
            (source.0 >> 7, function % context::scalable::ENTRIES * context::scalable::BYTES)
        } else {
            (source.0 >> 8, function * context::legacy::BYTES)
        }
    }

    /// Makes sure that a source has an entry. A new one is not present. Whether a root entry became present for it.
    pub fn ensure(&mut self, source: SourceId) -> Result<bool, OutOfMemory> {
        let (index, _) = self.place(source);
        if let Entry::Vacant(place) = self.tables.entry(index) {
            let table = Shared::new(&self.platform, self.reach, PAGE)?;
            let at = table.phys().0;
            // The table is seen empty before the link to it is seen.
            self.platform.publish();
            let (offset, link) = match (self.scalable, index & 1) {
                (false, _) => {
                    (index as usize * root::BYTES, root::legacy::P.put(1) | root::legacy::CTP.in_place(at))
                }
                (true, 0) => (
                    (index >> 1) as usize * root::BYTES,
                    root::scalable::LP.put(1) | root::scalable::LCTP.in_place(at),
                ),
                (true, _) => (
                    (index >> 1) as usize * root::BYTES + 8,
                    root::scalable::UP.put(1) | root::scalable::UCTP.in_place(at),
                ),
            };
            self.root.store(offset, link);
            place.insert(table);
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes the entry `new`: see [`Shared::replace`].
    pub fn write(&self, source: SourceId, new: Pair, settle: Settle<'_>) -> Result<(), Hung> {
        let (index, offset) = self.place(source);
        match self.tables.get(&index) {
            Some(table) => table.replace(offset, new, settle),
            None => Ok(()),
        }
    }

    /// Makes the entry not present, in one store.
    pub fn block(&self, source: SourceId) {
        let (index, offset) = self.place(source);
        if let Some(table) = self.tables.get(&index) {
            table.withdraw(offset);
        }
    }

    /// Writes the entry of a table that no hardware has been told of.
    pub fn fill(&mut self, source: SourceId, new: Pair) -> Result<(), OutOfMemory> {
        self.ensure(source)?;
        let (index, offset) = self.place(source);
        if let Some(table) = self.tables.get(&index) {
            table.store_unseen(offset, new);
        }
        Ok(())
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.tables.into_values().for_each(|table| table.free());
            self.root.free();
        }
    }
}
