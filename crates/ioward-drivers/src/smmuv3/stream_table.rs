//! The Stream table (IHI 0070, 3.3.1, 5.1, 5.2).
//!
//! With two levels, a second-level array is made when the first of its sources is claimed. Where there is none the SMMU
//! aborts and reports (C_BAD_STREAMID); where there is one, entries that nobody has claimed abort.

use super::{
    Config,
    command::{self, Command},
    entry::{self, Words},
    idr::Features,
    memory::{Reach, Shared},
    ste,
};
use alloc::collections::{BTreeMap, btree_map::Entry};
use ioward_core::driver::Hung;
use ioward_spec::smmuv3::{
    registers::{strtab_base, strtab_base_cfg},
    ste::{BYTES, l1std},
};
use ioward_types::{OutOfMemory, Platform, SourceId};

/// The most StreamID bits of a linear table: 4 MiB.
const LINEAR_BITS: u8 = 16;

/// Runs commands and waits until they have completed.
pub(super) type Run<'a> = dyn FnMut(&[Command]) -> Result<(), Hung> + 'a;

pub(super) struct StreamTable<P: Platform> {
    platform: P,
    reach: Reach,
    /// log2 of the StreamIDs covered.
    bits: u8,
    shape: Shape<P>,
}

enum Shape<P: Platform> {
    Linear(Shared<P>),
    TwoLevel { l1: Shared<P>, split: u8, arrays: BTreeMap<u32, Shared<P>> },
}

impl<P: Platform> StreamTable<P> {
    /// A table in which every source is blocked.
    pub fn new(
        platform: &P,
        reach: Reach,
        features: &Features,
        config: &Config,
    ) -> Result<Self, OutOfMemory> {
        let mut bits = features.sid_bits.min(config.source_bits);
        let shape = if features.two_level_stream && bits > 6 {
            // Arrays of 4, 16 or 64 KiB, the smaller the fewer the sources.
            let split = match bits {
                0..=16 => 6,
                17..=20 => 8,
                _ => 10,
            };
            let bytes = l1std::BYTES << bits.saturating_sub(split);
            Shape::TwoLevel {
                l1: Shared::new(platform, reach, bytes, BYTES)?,
                split,
                arrays: BTreeMap::new(),
            }
        } else {
            bits = bits.min(LINEAR_BITS);
            Shape::Linear(blocked_array(platform, reach, bits)?)
        };
        Ok(Self { platform: platform.clone(), reach, bits, shape })
    }

    /// Gives its memory back.
    ///
    /// # Safety
    /// The SMMU was never told of it.
    pub unsafe fn free(self) {
        match self.shape {
            // SAFETY: as promised by the caller.
            Shape::Linear(table) => unsafe { table.free() },
            Shape::TwoLevel { l1, arrays, .. } => {
                // SAFETY: as promised by the caller.
                arrays.into_values().chain([l1]).for_each(|array| unsafe { array.free() });
            }
        }
    }

    /// The values of STRTAB_BASE and STRTAB_BASE_CFG.
    pub fn registers(&self) -> (u64, u32) {
        let size = strtab_base_cfg::LOG2SIZE.put(self.bits.into());
        let (at, cfg) = match &self.shape {
            Shape::Linear(table) => (table.phys(), strtab_base_cfg::FMT.put(strtab_base_cfg::fmt::LINEAR)),
            Shape::TwoLevel { l1, split, .. } => (
                l1.phys(),
                strtab_base_cfg::FMT.put(strtab_base_cfg::fmt::TWO_LEVEL)
                    | strtab_base_cfg::SPLIT.put((*split).into()),
            ),
        };
        let base = strtab_base::ADDR.in_place(at.0) | strtab_base::RA.put(1);
        (base, (cfg | size) as u32)
    }

    /// The first source that is too large.
    pub fn limit(&self) -> u32 {
        1u32.checked_shl(self.bits.into()).unwrap_or(u32::MAX)
    }

    /// Makes sure that a source below the limit has an entry of its own. A new one is blocked, but the SMMU may not know of
    /// it before the next CFGI_STE.
    pub fn ensure(&mut self, source: SourceId) -> Result<(), OutOfMemory> {
        let Shape::TwoLevel { l1, split, arrays } = &mut self.shape else { return Ok(()) };
        let index = source.0 >> *split;
        if let Entry::Vacant(place) = arrays.entry(index) {
            let array = blocked_array(&self.platform, self.reach, *split)?;
            self.platform.publish();
            l1.store(index as usize * l1std::BYTES, descriptor(&array, *split));
            place.insert(array);
        }
        Ok(())
    }

    /// Writes an entry before the SMMU knows of the table.
    pub fn preset(&mut self, source: SourceId, ste: &Words) -> Result<(), OutOfMemory> {
        self.ensure(source)?;
        if let Some((array, offset)) = self.place(source) {
            entry::write_unreachable(array, offset, ste);
        }
        Ok(())
    }

    fn place(&self, source: SourceId) -> Option<(&Shared<P>, usize)> {
        match &self.shape {
            Shape::Linear(table) => Some((table, source.0 as usize * BYTES)),
            Shape::TwoLevel { split, arrays, .. } => {
                let array = arrays.get(&(source.0 >> split))?;
                Some((array, (source.0 & ((1 << split) - 1)) as usize * BYTES))
            }
        }
    }

    /// A source's entry as it stands in memory.
    pub fn read(&self, source: SourceId) -> Words {
        self.place(source).map_or_else(ste::blocked, |(array, offset)| entry::read(array, offset))
    }

    /// Blocks an entry. It is written in either case.
    pub fn block(&self, source: SourceId, run: &mut Run<'_>) -> Result<(), Hung> {
        let Some((array, offset)) = self.place(source) else { return Ok(()) };
        let mut failed = None;
        // Blocking is one store, so the stores are complete even where the first invalidation fails.
        let mut invalidate = || {
            if failed.is_none() {
                failed = run(&[command::cfgi_ste(source)]).err();
            }
            Ok(())
        };
        entry::write_in_place(array, offset, &ste::blocked(), ste::used, &mut invalidate)?;
        failed.map_or(Ok(()), Err)
    }

    /// Makes a source's entry `new`, so that the SMMU sees the old one, the new one or, where it can be helped by nothing
    /// else, a blocked one. On `Err` the entry is any of these.
    pub fn write(&mut self, source: SourceId, new: &Words, run: &mut Run<'_>) -> Result<(), Hung> {
        let Some((array, offset)) = self.place(source) else { return Ok(()) };
        let mut invalidate = || run(&[command::cfgi_ste(source)]);
        if entry::write_in_place(array, offset, new, ste::used, &mut invalidate)? {
            return Ok(());
        }
        if let Some(done) = self.replace_array(source, new, run) {
            return done;
        }
        self.block(source, run)?;
        let Some((array, offset)) = self.place(source) else { return Ok(()) };
        let mut invalidate = || run(&[command::cfgi_ste(source)]);
        entry::write_in_place(array, offset, new, ste::used, &mut invalidate).map(drop)
    }

    /// Replaces the whole second-level array by a copy with another entry in it, which takes one store to its descriptor.
    /// `None`: there is no second level, or no memory.
    fn replace_array(
        &mut self,
        source: SourceId,
        new: &Words,
        run: &mut Run<'_>,
    ) -> Option<Result<(), Hung>> {
        let Shape::TwoLevel { l1, split, arrays } = &mut self.shape else { return None };
        let index = source.0 >> *split;
        let old = arrays.get(&index)?;
        let copy = Shared::new(&self.platform, self.reach, old.bytes(), BYTES).ok()?;
        for at in (0..old.bytes()).step_by(8) {
            copy.store(at, old.load(at));
        }
        entry::write_unreachable(&copy, (source.0 & ((1 << *split) - 1)) as usize * BYTES, new);
        l1.store(index as usize * l1std::BYTES, descriptor(&copy, *split));
        let old = arrays.insert(index, copy)?;
        // The descriptor led to the entries of all sources of the array.
        let done = run(&[command::cfgi_all()]);
        if done.is_ok() {
            // SAFETY: no descriptor points at the old array, and everything cached has been forgotten since.
            unsafe { old.free() };
        }
        Some(done)
    }
}

fn blocked_array<P: Platform>(platform: &P, reach: Reach, bits: u8) -> Result<Shared<P>, OutOfMemory> {
    let array = Shared::new(platform, reach, BYTES << bits, BYTES)?;
    let blocked = ste::blocked();
    for offset in (0..array.bytes()).step_by(BYTES) {
        array.store(offset, blocked[0]);
    }
    Ok(array)
}

fn descriptor<P: Platform>(array: &Shared<P>, split: u8) -> u64 {
    l1std::SPAN.put(u64::from(split) + 1) | l1std::L2PTR.in_place(array.phys().0)
}
