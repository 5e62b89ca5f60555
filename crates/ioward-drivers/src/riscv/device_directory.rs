//! The device directory (2.1): one to three levels, of which the root is there from the start and a page of contexts is made
//! when the first of its sources is claimed. Where there is none the IOMMU refuses every request ("DDT entry not valid").

use super::{
    command::{self, Command},
    device_context as context,
    entry::{Place, Words},
    memory::{PAGE, Reach, Shared},
};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::riscv::{
    device::{
        BASE_BYTES, BASE_INDEX_BITS, BASE_WORDS, EXTENDED_BYTES, EXTENDED_INDEX_BITS, EXTENDED_WORDS, ddte,
    },
    registers::ddtp::mode,
};
use ioward_types::{OutOfMemory, Platform, SourceId};

/// Runs commands and waits until they have completed.
pub(super) type Run<'a> = dyn FnMut(&[Command]) -> Result<(), Hung> + 'a;

/// Bytes of a non-leaf entry.
const POINTER: usize = 8;

/// Which contexts a directory holds and how many bits of a device_id each of its levels takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub extended: bool,
}

impl Format {
    /// Of each level, lowest first.
    pub fn index_bits(self) -> [u32; 3] {
        if self.extended { EXTENDED_INDEX_BITS } else { BASE_INDEX_BITS }
    }

    pub fn bytes(self) -> usize {
        if self.extended { EXTENDED_BYTES } else { BASE_BYTES }
    }

    pub fn words(self) -> usize {
        if self.extended { EXTENDED_WORDS } else { BASE_WORDS }
    }

    /// Bits of a device_id that so many levels take.
    pub fn reach(self, levels: u8) -> u32 {
        self.index_bits().iter().take(levels.into()).sum()
    }
}

/// `ddtp.iommu_mode` of so many levels, 1 to 3.
pub(super) fn mode_of(levels: u8) -> u64 {
    mode::ONE_LEVEL + u64::from(levels) - 1
}

pub(super) struct DeviceDirectory<P: Platform> {
    platform: P,
    reach: Reach,
    format: Format,
    levels: u8,
    root: Shared<P>,
    /// Of three levels: by the highest part of a device_id.
    middles: BTreeMap<u32, Shared<P>>,
    /// Pages of contexts but the root, by all parts of a device_id but the lowest.
    leaves: BTreeMap<u32, Shared<P>>,
    /// A page of contexts was replaced, and that the old one is forgotten was not confirmed: whatever is written since, the
    /// IOMMU may read there. To name a source makes it forget contexts, not what leads to them (3.1.3).
    replaced: bool,
}

impl<P: Platform> DeviceDirectory<P> {
    /// A directory of 1 to 3 levels in which every source is blocked.
    pub fn new(platform: &P, reach: Reach, format: Format, levels: u8) -> Result<Self, OutOfMemory> {
        Ok(Self {
            platform: platform.clone(),
            reach,
            format,
            levels,
            root: Shared::new(platform, reach, PAGE)?,
            middles: BTreeMap::new(),
            leaves: BTreeMap::new(),
            replaced: false,
        })
    }

    pub fn levels(&self) -> u8 {
        self.levels
    }

    /// Makes it one of so many levels in which every source is blocked. The IOMMU does not know of it yet.
    pub fn empty(&mut self, levels: u8) {
        (0..PAGE).step_by(8).for_each(|offset| self.root.store(offset, 0));
        // SAFETY: the IOMMU was never told of them.
        self.below().for_each(|table| unsafe { table.free() });
        self.levels = levels;
    }

    fn below(&mut self) -> impl Iterator<Item = Shared<P>> + use<P> {
        let leaves = core::mem::take(&mut self.leaves);
        core::mem::take(&mut self.middles).into_values().chain(leaves.into_values())
    }

    /// Gives its memory back.
    ///
    /// # Safety
    /// The IOMMU was never told of it.
    pub unsafe fn free(mut self) {
        // SAFETY: as promised by the caller.
        self.below().for_each(|table| unsafe { table.free() });
        // SAFETY: as above.
        unsafe { self.root.free() };
    }

    /// The root's page number.
    pub fn ppn(&self) -> u64 {
        self.root.ppn()
    }

    /// The first source that is too large.
    pub fn limit(&self) -> u32 {
        1 << self.format.reach(self.levels)
    }

    /// The index of a source in a level, lowest level first.
    fn index(&self, source: SourceId, level: u8) -> usize {
        let bits = self.format.index_bits()[usize::from(level)];
        (source.0 >> self.format.reach(level) & ((1 << bits) - 1)) as usize
    }

    /// The number of the page of contexts that a source is in.
    fn page(&self, source: SourceId) -> u32 {
        source.0 >> self.format.reach(1)
    }

    /// Makes sure that a source below the limit has a context of its own. A new one is not valid, and nothing of what is not
    /// valid is cached (2.7).
    pub fn ensure(&mut self, source: SourceId) -> Result<(), OutOfMemory> {
        if self.levels == 1 {
            return Ok(());
        }
        let (high, middle) = (self.index(source, 2), self.index(source, 1));
        let page = self.page(source);
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
        if let Entry::Vacant(place) = self.leaves.entry(page) {
            let leaf = Shared::new(&self.platform, self.reach, PAGE)?;
            self.platform.publish();
            above.store(middle * POINTER, pointer(&leaf));
            place.insert(leaf);
        }
        self.platform.publish();
        Ok(())
    }

    /// What points at the page of contexts that a source is in, and where in it.
    fn above(&self, source: SourceId) -> Option<(&Shared<P>, usize)> {
        let offset = self.index(source, 1) * POINTER;
        match self.levels {
            1 => None,
            2 => Some((&self.root, offset)),
            _ => Some((self.middles.get(&(self.index(source, 2) as u32))?, offset)),
        }
    }

    fn place(&self, source: SourceId) -> Option<Place<'_, P>> {
        let memory = match self.levels {
            1 => &self.root,
            _ => self.leaves.get(&self.page(source))?,
        };
        let offset = self.index(source, 0) * self.format.bytes();
        Some(Place { memory, offset, words: self.format.words() })
    }

    /// Writes a context before the IOMMU knows of the directory.
    pub fn preset(&mut self, source: SourceId, words: &Words) -> Result<(), OutOfMemory> {
        self.ensure(source)?;
        if let Some(place) = self.place(source) {
            place.write_unreachable(words);
        }
        Ok(())
    }

    /// A source's context as it stands in memory.
    pub fn read(&self, source: SourceId) -> Words {
        self.place(source).map_or(context::INVALID, |place| place.read())
    }

    /// Makes the IOMMU read the pages of contexts that there are, where it is not known to.
    pub fn forget_replaced(&mut self, run: &mut Run<'_>) -> Result<(), Hung> {
        if self.replaced {
            run(&[command::inval_ddt_all()])?;
            self.replaced = false;
        }
        Ok(())
    }

    /// Makes a context invalid. It is written in either case.
    pub fn block(&mut self, source: SourceId, run: &mut Run<'_>) -> Result<(), Hung> {
        let Some(place) = self.place(source) else { return Ok(()) };
        let old = place.read();
        if !context::is_valid(&old) {
            return self.forget_replaced(run);
        }
        place.invalidate();
        self.forget_replaced(run)?;
        run(&context::after_change(source, &old, &context::INVALID))
    }

    /// Makes a source's context `new`, so that the IOMMU sees the old one, the new one or, where it can be helped by nothing
    /// else, a blocked one. On `Err` the context is any of these.
    pub fn write(&mut self, source: SourceId, new: &Words, run: &mut Run<'_>) -> Result<(), Hung> {
        self.forget_replaced(run)?;
        let Some(place) = self.place(source) else { return Ok(()) };
        let mut settle = |old: &Words, new: &Words| settled(run, &context::after_change(source, old, new));
        if place.write_in_place(new, context::used, &mut settle)? {
            self.platform.fence();
            return Ok(());
        }
        if let Some(done) = self.replace_page(source, new, run) {
            return done;
        }
        self.block(source, run)?;
        let Some(place) = self.place(source) else { return Ok(()) };
        let mut settle = |old: &Words, new: &Words| settled(run, &context::after_change(source, old, new));
        place.write_in_place(new, context::used, &mut settle)?;
        self.platform.fence();
        Ok(())
    }

    /// Replaces the whole page of contexts by a copy with another context in it, which takes one store to what points at
    /// it. `None`: nothing points at it but `ddtp`, or there is no memory.
    fn replace_page(&mut self, source: SourceId, new: &Words, run: &mut Run<'_>) -> Option<Result<(), Hung>> {
        let (words, page) = (self.format.words(), self.page(source));
        let old = self.place(source)?;
        let (before, offset) = (old.read(), old.offset);
        let (above, at) = self.above(source)?;
        let copy = old.memory.copy(self.reach).ok()?;
        Place { memory: &copy, offset, words }.write_unreachable(new);
        above.store(at, pointer(&copy));
        self.platform.publish();
        let old = self.leaves.insert(page, copy)?;
        let done = run(&context::after_replacing_the_page(&before));
        self.replaced = done.is_err();
        if done.is_ok() {
            // SAFETY: no entry points at the old page, and everything cached of it has been forgotten since.
            unsafe { old.free() };
        }
        Some(done)
    }
}

fn settled(run: &mut Run<'_>, commands: &[Command]) -> Result<(), Hung> {
    if commands.is_empty() { Ok(()) } else { run(commands) }
}

fn pointer<P: Platform>(to: &Shared<P>) -> u64 {
    ddte::V.put(1) | ddte::PPN.put(to.ppn())
}
