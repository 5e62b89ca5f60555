//! Taking over the device directory of whoever used the IOMMU before.
//!
//! Nothing that is read is trusted: `ddtp` is checked, memory is read through the caller, and what is copied is bounded. A
//! context that lets requests through untranslated is not carried over: what it lets a device reach is everything.

use super::{
    capabilities::Features,
    device_context as context,
    device_directory::{DeviceDirectory, Format},
    entry::Words,
    tag::Tags,
};
use alloc::vec::Vec;
use ioward_spec::{
    Field,
    riscv::{
        PAGE_BITS,
        device::{self as spec, ddte, iohgatp_mode, iosatp_mode, pdtp_mode},
        process::{self, INDEX_BITS, pdte},
        registers::ddtp,
    },
};
use ioward_types::{OutOfMemory, PhysAddr, Platform, SourceId};

/// More contexts than this are not carried over.
const CONTEXTS: usize = 4096;
/// More pages of the directory than this are not looked at.
const PAGES: u32 = 4096;
/// More process contexts of one source than this are not looked at; its context is then not carried over.
const PROCESSES: u32 = 4096;

/// What an adopting bring-up found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Contexts that translate and were carried over.
    pub contexts: u32,
    /// Contexts that let requests through and were not carried over: they pass requests untranslated, are beyond the new
    /// directory, could not be read whole, or were too many; and pages of the directory that were too many. Their sources
    /// are blocked.
    pub stopped: u32,
}

type Memory<'a> = dyn Fn(PhysAddr) -> Option<u64> + 'a;

/// Contexts that go on until their source is claimed.
#[derive(Default)]
pub(super) struct Contexts {
    list: Vec<(SourceId, Words)>,
    stopped: u32,
}

impl Contexts {
    /// Puts them into a directory that the IOMMU does not know of yet.
    pub fn preset<P: Platform>(&self, directory: &mut DeviceDirectory<P>) -> Result<Adopted, OutOfMemory> {
        let mut adopted = Adopted { contexts: 0, stopped: self.stopped };
        for (source, words) in &self.list {
            if source.0 < directory.limit() {
                directory.preset(*source, words)?;
                adopted.contexts += 1;
            } else {
                adopted.stopped = adopted.stopped.saturating_add(1);
            }
        }
        Ok(adopted)
    }
}

/// Reads the contexts that translate, and takes the identifiers that they use out of `tags`. `value` is what `ddtp` reads
/// as.
pub(super) fn contexts(value: u64, features: &Features, memory: &Memory<'_>, tags: &mut Tags) -> Contexts {
    let found = Contexts::default();
    let format = Format { extended: features.msi_flat };
    let mut reader = Reader { features, memory, format, tags, pages: PAGES, found };
    if let mode @ ddtp::mode::ONE_LEVEL..=ddtp::mode::THREE_LEVEL = ddtp::IOMMU_MODE.of(value) {
        let levels = mode - ddtp::mode::ONE_LEVEL + 1;
        reader.table(ddtp::PPN.of(value) << PAGE_BITS, levels as u8, 0);
    }
    reader.found
}

struct Reader<'a> {
    features: &'a Features,
    memory: &'a Memory<'a>,
    format: Format,
    tags: &'a mut Tags,
    /// How many may still be looked at.
    pages: u32,
    found: Contexts,
}

impl Reader<'_> {
    /// A page of `levels` levels at `at`, the first of whose sources is `first`.
    fn table(&mut self, at: u64, levels: u8, first: u32) {
        let Some(left) = self.pages.checked_sub(1) else {
            self.found.stopped = self.found.stopped.saturating_add(1);
            return;
        };
        self.pages = left;
        let Some(below) = levels.checked_sub(1).filter(|below| *below != 0) else {
            return self.contexts(at, first);
        };
        let (bits, step) = (self.format.index_bits()[usize::from(below)], self.format.reach(below));
        for index in 0..1u32 << bits {
            let entry = (self.memory)(PhysAddr(at + u64::from(index) * 8));
            if let Some(entry) = entry.filter(|entry| ddte::V.of(*entry) != 0) {
                self.table(ddte::PPN.of(entry) << PAGE_BITS, below, first | index << step);
            }
        }
    }

    fn contexts(&mut self, at: u64, first: u32) {
        for n in 0..1u32 << self.format.reach(1) {
            let at = at + u64::from(n) * self.format.bytes() as u64;
            if (self.memory)(PhysAddr(at)).is_none_or(|word| spec::V.of(word) == 0) {
                continue;
            }
            let source = SourceId(first | n);
            match self.read(at).filter(|words| self.accepts(words)) {
                Some(words) => {
                    self.reserve(&words);
                    self.found.list.push((source, words));
                }
                None => self.found.stopped = self.found.stopped.saturating_add(1),
            }
        }
    }

    fn read(&self, at: u64) -> Option<Words> {
        let mut words = context::INVALID;
        for (n, word) in words.iter_mut().enumerate().take(self.format.words()) {
            *word = (self.memory)(PhysAddr(at + 8 * n as u64))?;
        }
        Some(words)
    }

    fn accepts(&self, words: &Words) -> bool {
        self.found.list.len() < CONTEXTS && (self.has_second(words) || self.first_stages(words, &mut |_| {}))
    }

    fn has_second(&self, words: &Words) -> bool {
        self.features.second_levels != 0 && spec::IOHGATP_MODE.get(words) != iohgatp_mode::BARE
    }

    /// Nothing of ours may be mistaken for a translation that is still in use: under a second stage all that is cached
    /// carries the context's GSCID, elsewhere the first stages' PSCIDs.
    fn reserve(&mut self, words: &Words) {
        if self.has_second(words) {
            self.tags.gscids.reserve(spec::GSCID.get(words) as u32);
            return;
        }
        let mut found = Vec::new();
        self.first_stages(words, &mut |pscid| found.push(pscid));
        found.into_iter().for_each(|pscid| self.tags.pscids.reserve(pscid));
    }

    /// Hands `each` the PSCID of every first stage. False: some request is let through untranslated, or there are too many
    /// process contexts, or they cannot be read.
    fn first_stages(&self, words: &Words, each: &mut dyn FnMut(u32)) -> bool {
        if self.features.first_levels == 0 {
            return false;
        }
        if !spec::PDTV.is_set(words) {
            each(spec::PSCID.get(words) as u32);
            return spec::FSC_MODE.get(words) != iosatp_mode::BARE;
        }
        let levels = match spec::FSC_MODE.get(words) {
            mode @ pdtp_mode::PD8..=pdtp_mode::PD20 => (mode - pdtp_mode::PD8 + 1) as usize,
            _ => return false,
        };
        if !spec::DPE.is_set(words) || !self.features.directories[levels - 1] {
            return false;
        }
        // Its process directory is of the other byte order.
        if spec::SBE.is_set(words) {
            return false;
        }
        let mut budget = PROCESSES;
        self.processes(spec::FSC_PPN.get(words) << PAGE_BITS, levels, &mut budget, each)
    }

    fn processes(&self, at: u64, levels: usize, budget: &mut u32, each: &mut dyn FnMut(u32)) -> bool {
        let below = levels - 1;
        (0..1u64 << INDEX_BITS[below]).all(|n| {
            let Some(left) = budget.checked_sub(1) else { return false };
            *budget = left;
            if below != 0 {
                return match (self.memory)(PhysAddr(at + n * 8)) {
                    None => false,
                    Some(entry) if pdte::V.of(entry) == 0 => true,
                    Some(entry) => self.processes(pdte::PPN.of(entry) << PAGE_BITS, below, budget, each),
                };
            }
            let at = at + n * process::BYTES as u64;
            let word = |field: Field| Some(field.of((self.memory)(PhysAddr(at + 8 * field.word as u64))?));
            match (word(process::V), word(process::PSCID), word(process::FSC_MODE)) {
                (Some(0), ..) => true,
                (Some(_), Some(pscid), Some(mode)) => {
                    each(pscid as u32);
                    mode != iosatp_mode::BARE
                }
                _ => false,
            }
        })
    }
}
