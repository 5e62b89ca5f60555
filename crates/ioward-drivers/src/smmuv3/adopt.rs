//! Taking over the Stream table of whoever used the SMMU before.
//!
//! Nothing that is read is trusted: the table's registers are checked, its memory is read through the caller, and what is
//! copied is bounded. An entry that bypasses is not carried over: what it lets a device reach is everything.

use super::{BringUpError, driver::Tags, entry::Words, idr::Features, ste, stream_table::StreamTable};
use ioward_spec::smmuv3::{
    cd,
    registers::{self as spec, strtab_base, strtab_base_cfg},
    ste::{self as spec_ste, BYTES, config, l1std, s1fmt},
};
use ioward_types::{Mmio, OutOfMemory, PhysAddr, Platform, SourceId};

/// More entries than this are not carried over.
const ENTRIES: u32 = 4096;
/// More Context descriptors of one entry than this are not looked at; the entry is then not carried over.
const DESCRIPTORS: u32 = 4096;

/// What an adopting bring-up found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Entries that translate and were carried over.
    pub entries: u32,
    /// Entries that let requests through and were not carried over: they bypass, are beyond the new table, could not be
    /// read whole, or were too many. Their sources are blocked.
    pub stopped: u32,
}

type Memory<'a> = dyn Fn(PhysAddr) -> Option<u64> + 'a;

fn read_entry(memory: &Memory<'_>, at: u64) -> Option<Words> {
    let mut words = [0; 8];
    for (n, word) in words.iter_mut().enumerate() {
        *word = memory(PhysAddr(at + 8 * n as u64))?;
    }
    Some(words)
}

/// Copies what translates into `table`, and takes the tags that it uses out of `tags`.
pub(super) fn stream_table<P: Platform>(
    registers: &impl Mmio,
    features: &Features,
    memory: &Memory<'_>,
    table: &mut StreamTable<P>,
    tags: &mut Tags,
) -> Result<Adopted, BringUpError> {
    let base = registers.read64(spec::STRTAB_BASE);
    let value = registers.read32(spec::STRTAB_BASE_CFG);
    let contradiction = |what| Err(BringUpError::Contradiction { register: "STRTAB_BASE_CFG", value, what });
    let bits = strtab_base_cfg::LOG2SIZE.of(value.into()).min(features.sid_bits.into());
    let address = strtab_base::ADDR.in_place(base);
    let mut copy = Copy { features, memory, table, tags, adopted: Adopted::default() };
    match strtab_base_cfg::FMT.of(value.into()) {
        strtab_base_cfg::fmt::LINEAR => {
            copy.array(address & !((BYTES as u64) << bits).wrapping_sub(1), 0, 1 << bits)?;
        }
        strtab_base_cfg::fmt::TWO_LEVEL if features.two_level_stream => {
            let split = strtab_base_cfg::SPLIT.of(value.into());
            if !matches!(split, 6 | 8 | 10) {
                return contradiction("SPLIT is Reserved");
            }
            let above = bits.saturating_sub(split);
            let size = ((l1std::BYTES as u64) << above).max(64);
            let l1 = address & !(size - 1);
            for index in 0..1u64 << above {
                let Some(descriptor) = memory(PhysAddr(l1 + index * l1std::BYTES as u64)) else { continue };
                let span = l1std::SPAN.of(descriptor);
                if (1..=split + 1).contains(&span) {
                    let entries = 1u64 << (span - 1);
                    let at = l1std::L2PTR.in_place(descriptor) & !((BYTES as u64 * entries) - 1);
                    copy.array(at, index << split, entries)?;
                }
            }
        }
        _ => return contradiction("FMT is Reserved, or not implemented"),
    }
    Ok(copy.adopted)
}

struct Copy<'a, P: Platform> {
    features: &'a Features,
    memory: &'a Memory<'a>,
    table: &'a mut StreamTable<P>,
    tags: &'a mut Tags,
    adopted: Adopted,
}

impl<P: Platform> Copy<'_, P> {
    /// `entries` entries at `at`, the first of them of source `first`.
    fn array(&mut self, at: u64, first: u64, entries: u64) -> Result<(), OutOfMemory> {
        for n in 0..entries {
            let at = at + n * BYTES as u64;
            let open =
                (self.memory)(PhysAddr(at)).is_some_and(|word| ste::is_open(&[word, 0, 0, 0, 0, 0, 0, 0]));
            if !open {
                continue;
            }
            let words = read_entry(self.memory, at);
            match words.filter(|words| self.accepts(first + n, words)) {
                Some(words) => {
                    self.reserve(&words);
                    self.table.preset(SourceId((first + n) as u32), &words)?;
                    self.adopted.entries += 1;
                }
                None => self.adopted.stopped = self.adopted.stopped.saturating_add(1),
            }
        }
        Ok(())
    }

    fn accepts(&self, source: u64, words: &Words) -> bool {
        let known = match spec_ste::CONFIG.get(words) {
            config::S1 => self.features.stage_1,
            config::S2 => self.features.stage_2,
            config::S1_S2 => self.features.stage_1 && self.features.stage_2,
            _ => false,
        };
        known
            && source < self.table.limit().into()
            && self.adopted.entries < ENTRIES
            && (self.features.stage_2 || self.asids(words, |_| {}))
    }

    /// Nothing of ours may be mistaken for a translation that is still in use: with stage 2 all that is cached carries the
    /// entry's VMID, without it only the descriptors' ASIDs.
    fn reserve(&mut self, words: &Words) {
        if self.features.stage_2 {
            self.tags.vmids.reserve(spec_ste::S2VMID.get(words) as u16);
            return;
        }
        let mut found = alloc::vec::Vec::new();
        self.asids(words, |asid| found.push(asid));
        found.into_iter().for_each(|asid| self.tags.asids.reserve(asid));
    }

    /// Hands `each` the ASID of every valid descriptor. False: there are too many, or they cannot be read.
    fn asids(&self, words: &Words, mut each: impl FnMut(u16)) -> bool {
        let at = spec_ste::S1CONTEXTPTR.get_in_place(words);
        let bits = spec_ste::S1CDMAX.get(words) as u32;
        let mut budget = DESCRIPTORS;
        let mut array = |at: u64, count: u32| {
            for n in 0..u64::from(count) {
                let Some(left) = budget.checked_sub(1) else { return false };
                budget = left;
                let Some(word) = (self.memory)(PhysAddr(at + n * cd::BYTES as u64)) else { return false };
                let words = [word, 0, 0, 0, 0, 0, 0, 0];
                if cd::V.is_set(&words) {
                    each(cd::ASID.get(&words) as u16);
                }
            }
            true
        };
        let split = match spec_ste::S1FMT.get(words) {
            _ if bits == 0 => return array(at, 1),
            s1fmt::L2_4K => cd::L2_4K_SPLIT,
            s1fmt::L2_64K => cd::L2_64K_SPLIT,
            _ => return bits <= 12 && array(at, 1 << bits),
        };
        if bits > 20 {
            return false;
        }
        (0..1u64 << bits.saturating_sub(split)).all(|index| {
            let Some(descriptor) = (self.memory)(PhysAddr(at + index * cd::l1cd::BYTES as u64)) else {
                return false;
            };
            cd::l1cd::V.of(descriptor) == 0
                || array(cd::l1cd::L2PTR.in_place(descriptor), 1 << split.min(bits))
        })
    }
}
