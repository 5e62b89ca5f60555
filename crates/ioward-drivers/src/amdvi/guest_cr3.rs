//! Guest CR3 tables (48882 §2.2.6): one for each source that PASIDs may be attached behind, indexed by PASID.
//!
//! The root exists from the claim on. The tables below it come with the first PASID that needs one and go when the
//! source is released, so that taking a PASID away never needs memory and never takes a table from under a walk.

use alloc::vec::Vec;
use ioward_spec::amdvi::entries::gcr3;
use ioward_types::{Frames, OutOfMemory, Pasid, PhysAddr, Platform};

const PAGE: usize = 4096;

/// A table of up to three levels.
pub(super) struct GuestCr3<P: Platform> {
    platform: P,
    coherent: bool,
    levels: u8,
    root: Frames<P>,
    /// The tables below the root, by address.
    below: Vec<Frames<P>>,
}

/// How many levels PASIDs of so many bits need.
pub(super) fn levels_for(pasid_bits: u8) -> u8 {
    u32::from(pasid_bits).div_ceil(gcr3::LEVEL_BITS).max(1) as u8
}

impl<P: Platform> GuestCr3<P> {
    pub fn new(platform: &P, pasid_bits: u8, coherent: bool) -> Result<Self, OutOfMemory> {
        let root = page(platform, coherent)?;
        Ok(Self {
            platform: platform.clone(),
            coherent,
            levels: levels_for(pasid_bits),
            root,
            below: Vec::new(),
        })
    }

    pub fn root(&self) -> PhysAddr {
        self.root.phys()
    }

    pub fn levels(&self) -> u8 {
        self.levels
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No entry holds the table and none that did is cached.
    pub unsafe fn free(self) {
        for table in self.below {
            // SAFETY: as promised by the caller.
            unsafe { table.free() }
        }
        // SAFETY: as promised by the caller.
        unsafe { self.root.free() }
    }

    /// Makes sure that [`GuestCr3::set`] of this PASID needs no memory.
    pub fn reserve(&mut self, pasid: Pasid) -> Result<(), OutOfMemory> {
        let mut within = None;
        for level in (2..=self.levels).rev() {
            let offset = index(pasid, level) * 8;
            let link = self.table(within).load64(offset);
            let next = if gcr3::V.of(link) != 0 {
                PhysAddr(gcr3::ADDRESS.in_place(link))
            } else {
                let table = page(&self.platform, self.coherent)?;
                let at = table.phys();
                self.below.push(table);
                // The table is seen empty before the link to it is seen.
                self.platform.publish();
                self.store(within, offset, gcr3::V.put(1) | gcr3::ADDRESS.in_place(at.0));
                at
            };
            within = Some(next);
        }
        Ok(())
    }

    /// Makes a PASID's entry hold the root of a v2 table, in one store. False where [`GuestCr3::reserve`] was not called.
    pub fn set(&self, pasid: Pasid, root: PhysAddr) -> bool {
        let Some((table, offset)) = self.find(pasid) else { return false };
        self.platform.publish();
        self.store(table, offset, gcr3::V.put(1) | gcr3::ADDRESS.in_place(root.0));
        // A place that held nothing owes no invalidation, so nothing else orders this before the device's requests.
        self.platform.publish();
        true
    }

    /// Makes a PASID's entry hold nothing.
    pub fn clear(&self, pasid: Pasid) {
        if let Some((table, offset)) = self.find(pasid) {
            self.store(table, offset, 0);
        }
    }

    fn find(&self, pasid: Pasid) -> Option<(Option<PhysAddr>, usize)> {
        let mut within = None;
        for level in (2..=self.levels).rev() {
            let link = self.table(within).load64(index(pasid, level) * 8);
            if gcr3::V.of(link) == 0 {
                return None;
            }
            within = Some(PhysAddr(gcr3::ADDRESS.in_place(link)));
        }
        Some((within, index(pasid, 1) * 8))
    }

    /// The table at an address that a link of ours holds; the root for none.
    fn table(&self, at: Option<PhysAddr>) -> &Frames<P> {
        at.and_then(|at| self.below.iter().find(|table| table.phys() == at)).unwrap_or(&self.root)
    }

    fn store(&self, table: Option<PhysAddr>, offset: usize, value: u64) {
        let table = self.table(table);
        table.store64(offset, value);
        if !self.coherent {
            table.clean(offset, 8);
        }
    }
}

fn page<P: Platform>(platform: &P, coherent: bool) -> Result<Frames<P>, OutOfMemory> {
    let page = Frames::new(platform, PAGE, PAGE, PhysAddr(1 << 52))?;
    if !coherent {
        page.clean(0, PAGE);
    }
    Ok(page)
}

fn index(pasid: Pasid, level: u8) -> usize {
    (pasid.0 >> (gcr3::LEVEL_BITS * (u32::from(level) - 1))) as usize & ((1 << gcr3::LEVEL_BITS) - 1)
}
