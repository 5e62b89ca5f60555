//! The process directory of one source (2.2): as many levels as its PASIDs need. The context of process_id 0, which is that
//! of requests without a PASID, is there from the start; a page of others is made when the first of its PASIDs is installed.

use super::{
    capabilities::PROCESS_ID_BITS,
    command,
    device_directory::Run,
    entry::{Place, Words},
    memory::{PAGE, Reach, Shared},
    plan::Walk,
    tag::{Meaning, Stage},
};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::riscv::{
    device::{self, iosatp_mode, pdtp_mode},
    process::{self as spec, BYTES, INDEX_BITS, WORDS, pdte},
};
use ioward_types::{OutOfMemory, Pasid, Platform, SourceId};

/// Bytes of a non-leaf entry.
const POINTER: usize = 8;

/// The process_id of requests that have none.
pub(super) const NONE: Pasid = Pasid(0);

/// The context of a table. Requests for supervisor privilege are refused.
pub(super) fn table(walk: &Walk, pscid: u32) -> Words {
    let mut words = [0; 8];
    spec::V.set(&mut words, 1);
    spec::PSCID.set(&mut words, pscid.into());
    spec::FSC_PPN.set(&mut words, walk.ppn);
    spec::FSC_MODE.set(&mut words, walk.mode);
    words
}

/// What the IOMMU reads of a context.
fn used(context: &Words) -> Words {
    let mut bits = [0; 8];
    spec::V.set(&mut bits, 1);
    if spec::V.is_set(context) {
        bits[..WORDS].fill(u64::MAX);
    }
    bits
}

/// What was cached through a context that was `old`, if anything was.
fn translations(old: &Words) -> Option<command::Command> {
    let cached = spec::V.is_set(old) && spec::FSC_MODE.get(old) != iosatp_mode::BARE;
    cached.then(|| command::inval_tag(Meaning { stage: Stage::First, id: spec::PSCID.get(old) as u32 }))
}

/// What is left to do after a context has been written.
#[must_use]
pub(super) enum Written<P: Platform> {
    /// Nothing.
    Done,
    /// The root has moved: the device context must be made to point at it. What it was before is free once that is known
    /// to be in effect.
    Moved(Shared<P>),
}

pub(super) struct ProcessDirectory<P: Platform> {
    platform: P,
    reach: Reach,
    levels: u8,
    root: Shared<P>,
    /// Of three levels: by the highest part of a process_id.
    middles: BTreeMap<u32, Shared<P>>,
    /// Pages of contexts but the root, by all parts of a process_id but the lowest.
    leaves: BTreeMap<u32, Shared<P>>,
}

impl<P: Platform> ProcessDirectory<P> {
    /// A directory of PASIDs of `bits` bits, all of them blocked, with as few levels as the IOMMU allows.
    pub fn new(platform: &P, reach: Reach, bits: u8, has: [bool; 3]) -> Result<Self, OutOfMemory> {
        let fits = |level: &usize| has[*level] && PROCESS_ID_BITS[*level] >= bits;
        let levels = (0..3).find(fits).unwrap_or(2) as u8 + 1;
        let mut directory = Self {
            platform: platform.clone(),
            reach,
            levels,
            root: Shared::new(platform, reach, PAGE)?,
            middles: BTreeMap::new(),
            leaves: BTreeMap::new(),
        };
        if let Err(error) = directory.ensure(NONE) {
            // SAFETY: no hardware has been told of it.
            unsafe { directory.free() }
            return Err(error);
        }
        Ok(directory)
    }

    /// `pdtp`: what a device context holds of it (2.1.3.4).
    pub fn pdtp(&self) -> u64 {
        let mut words = [0; 8];
        device::FSC_PPN.set(&mut words, self.root.ppn());
        device::FSC_MODE.set(&mut words, pdtp_mode::PD8 + u64::from(self.levels) - 1);
        words[device::FSC_PPN.word]
    }

    fn index(&self, pasid: Pasid, level: usize) -> usize {
        let below: u32 = INDEX_BITS.iter().take(level).sum();
        (pasid.0 >> below & ((1 << INDEX_BITS[level]) - 1)) as usize
    }

    fn page(pasid: Pasid) -> u32 {
        pasid.0 >> INDEX_BITS[0]
    }

    /// Makes sure that a PASID has a context of its own. A new one is blocked, and nothing of what is not valid is cached
    /// (2.7).
    pub fn ensure(&mut self, pasid: Pasid) -> Result<(), OutOfMemory> {
        if self.levels == 1 {
            return Ok(());
        }
        let (high, middle) = (self.index(pasid, 2), self.index(pasid, 1));
        let above = match self.levels {
            3 => {
                if let Entry::Vacant(place) = self.middles.entry(high as u32) {
                    let table = Shared::new(&self.platform, self.reach, PAGE)?;
                    self.platform.publish();
                    self.root.store(high * POINTER, pointer(&table));
                    place.insert(table);
                }
                match self.middles.get(&(high as u32)) {
                    Some(table) => table,
                    None => return Ok(()),
                }
            }
            _ => &self.root,
        };
        if let Entry::Vacant(place) = self.leaves.entry(Self::page(pasid)) {
            let leaf = Shared::new(&self.platform, self.reach, PAGE)?;
            self.platform.publish();
            above.store(middle * POINTER, pointer(&leaf));
            place.insert(leaf);
        }
        self.platform.publish();
        Ok(())
    }

    fn above(&self, pasid: Pasid) -> Option<(&Shared<P>, usize)> {
        let offset = self.index(pasid, 1) * POINTER;
        match self.levels {
            1 => None,
            2 => Some((&self.root, offset)),
            _ => Some((self.middles.get(&(self.index(pasid, 2) as u32))?, offset)),
        }
    }

    fn place(&self, pasid: Pasid) -> Option<Place<'_, P>> {
        let memory = match self.levels {
            1 => &self.root,
            _ => self.leaves.get(&Self::page(pasid))?,
        };
        Some(Place { memory, offset: self.index(pasid, 0) * BYTES, words: WORDS })
    }

    /// Blocks a PASID. The context is written in either case.
    pub fn block(&self, source: SourceId, pasid: Pasid, run: &mut Run<'_>) -> Result<(), Hung> {
        let Some(place) = self.place(pasid) else { return Ok(()) };
        let old = place.read();
        if !spec::V.is_set(&old) {
            return Ok(());
        }
        place.invalidate();
        let mut commands = alloc::vec![command::inval_pdt(source, pasid)];
        commands.extend(translations(&old));
        run(&commands)
    }

    /// Blocks everything while the device context leads here no more, or is to be made to lead here no more. Only V is
    /// written: whoever reads an old V reads the old context.
    pub fn clear(&self) {
        let clear = |table: &Shared<P>| {
            for at in (0..table.bytes()).step_by(BYTES) {
                if table.load(at) != 0 {
                    table.store(at, 0);
                }
            }
        };
        match self.levels {
            1 => clear(&self.root),
            _ => self.leaves.values().for_each(clear),
        }
        self.platform.publish();
    }

    /// Makes a context `new`, so that the IOMMU sees the old one, the new one or, where there is no memory, a blocked one.
    /// [`ProcessDirectory::ensure`] has been called. `reachable`: the device context leads here. On `Err` the context is any
    /// of these.
    pub fn write(
        &mut self,
        source: SourceId,
        pasid: Pasid,
        new: &Words,
        reachable: bool,
        run: &mut Run<'_>,
    ) -> Result<Written<P>, Hung> {
        let Some(place) = self.place(pasid) else { return Ok(Written::Done) };
        if !reachable {
            place.write_unreachable(new);
            return Ok(Written::Done);
        }
        if self.write_in_place(source, pasid, new, run)? {
            return Ok(Written::Done);
        }
        if let Ok(copy) = place.memory.copy(self.reach) {
            let offset = place.offset;
            let old = place.read();
            Place { memory: &copy, offset, words: WORDS }.write_unreachable(new);
            return self.replace_page(source, pasid, copy, &old, run);
        }
        self.block(source, pasid, run)?;
        self.write_in_place(source, pasid, new, run)?;
        Ok(Written::Done)
    }

    fn write_in_place(
        &self,
        source: SourceId,
        pasid: Pasid,
        new: &Words,
        run: &mut Run<'_>,
    ) -> Result<bool, Hung> {
        let Some(place) = self.place(pasid) else { return Ok(true) };
        let mut settle = |old: &Words, new: &Words| {
            if !spec::V.is_set(old) && spec::V.is_set(new) {
                // What is not valid is not cached (6.3.7).
                return Ok(());
            }
            let mut commands = alloc::vec![command::inval_pdt(source, pasid)];
            commands.extend(translations(old));
            run(&commands)
        };
        let done = place.write_in_place(new, used, &mut settle)?;
        self.platform.fence();
        Ok(done)
    }

    /// Puts a copy with one context changed, which was `old`, in the place of the page that holds it.
    fn replace_page(
        &mut self,
        source: SourceId,
        pasid: Pasid,
        copy: Shared<P>,
        old: &Words,
        run: &mut Run<'_>,
    ) -> Result<Written<P>, Hung> {
        let Some((above, at)) = self.above(pasid) else {
            // Whoever changes the device context sees to what was cached (6.3.1).
            return Ok(Written::Moved(core::mem::replace(&mut self.root, copy)));
        };
        above.store(at, pointer(&copy));
        self.platform.publish();
        let page = self.leaves.insert(Self::page(pasid), copy);
        // An entry that is not a leaf is forgotten with the whole directory (6.3.2).
        let mut commands = alloc::vec![command::inval_ddt(source)];
        commands.extend(translations(old));
        run(&commands)?;
        if let Some(page) = page {
            // SAFETY: no entry points at it, and the source's directory has been forgotten since.
            unsafe { page.free() };
        }
        Ok(Written::Done)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The source's device context leads elsewhere, and has been known to since.
    pub unsafe fn free(self) {
        // SAFETY: nothing leads the IOMMU here any more, as promised by the caller.
        unsafe {
            self.leaves.into_values().for_each(|table| table.free());
            self.middles.into_values().for_each(|table| table.free());
            self.root.free();
        }
    }
}

fn pointer<P: Platform>(to: &Shared<P>) -> u64 {
    pdte::V.put(1) | pdte::PPN.put(to.ppn())
}
