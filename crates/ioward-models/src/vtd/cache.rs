//! What the unit remembers (6.2): context entries, PASID entries, translations and the way to them, interrupt entries.

use ioward_spec::vtd::{context, interrupts, pasid};
use ioward_types::PhysAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Which translations an entry belongs to: a domain's second stage, or a PASID of a domain (6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Space {
    pub domain: u16,
    pub pasid: Option<u32>,
}

/// A word that was read, and which of its bits hardware does not change by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub at: PhysAddr,
    pub value: u64,
    pub mask: u64,
    /// The walk snooped.
    pub coherent: bool,
}

/// A cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    /// First input address.
    pub base: u64,
    /// Bytes, a power of two.
    pub page: u64,
    /// First output address.
    pub to: u64,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    /// User requests may use it.
    pub user: bool,
    /// What a write sets in the entry, and in the second stage's.
    pub dirty_bits: (u64, u64),
    /// A write sets no dirty bit any more.
    pub dirty: bool,
    /// Accesses snoop whatever the request asks for.
    pub snoop: bool,
    /// Nested: the intermediate address of `base`.
    pub nested: Option<u64>,
    /// The entry that it comes from; none for identity.
    pub from: Option<Origin>,
    /// Nested: the second stage's entry.
    pub second: Option<Origin>,
    /// When it was cached: of two that match, hardware may use the older.
    pub age: u64,
}

/// A page that was found not to translate, which caching mode lets the unit keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Absent {
    pub reason: u64,
    pub nested: bool,
    /// The entry that said so, and the level of its table.
    pub from: Option<(Origin, u8)>,
}

/// A cached entry on the way: how to get at the table of `level` that translates an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// The table's address: intermediate for nested first-stage tables.
    pub table: u64,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    pub nested: bool,
    pub from: Origin,
}

/// A context entry as cached, with the words that led to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Context {
    pub words: Result<ContextWords, u64>,
    /// The domain that a domain-selective invalidation must name; zero for what is not there.
    pub domain: u16,
    /// Of a scalable-mode table: domain IDs tag it not.
    pub scalable: bool,
    pub from: Vec<Origin>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ContextWords {
    Legacy([u64; context::legacy::WORDS]),
    Scalable([u64; context::scalable::WORDS]),
}

/// A PASID entry as cached, with the words that led to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PasidEntry {
    pub words: Result<[u64; pasid::entry::WORDS], u64>,
    pub domain: u16,
    pub from: Vec<Origin>,
    /// The directory entry said so: faults are not recorded.
    pub silent: bool,
}

/// An interrupt entry as cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InterruptEntry {
    pub words: [u64; interrupts::WORDS],
    pub at: PhysAddr,
}

/// Addresses `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    pub fn page(base: u64, bytes: u64) -> Self {
        Self { first: base, last: base.wrapping_add(bytes - 1) }
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// What an address and an address mask mean (6.5.2.3).
    pub fn masked(address: u64, mask: u64) -> Self {
        if mask + 12 >= 64 {
            return Self::ALL;
        }
        let bytes = 0x1000 << mask;
        Self::page(address & !(bytes - 1), bytes)
    }

    /// What an address and S mean to a device (6.5.2.5).
    pub fn sized(address: u64, sized: bool) -> Self {
        if !sized {
            return Self::page(address & !0xfff, 0x1000);
        }
        let zero = (address | 0xfff).trailing_ones();
        if zero >= 63 {
            return Self::ALL;
        }
        let bytes = 1u64 << (zero + 1);
        Self::page(address & !(bytes - 1), bytes)
    }
}

/// What was invalidated since the caches were filled with garbage.
#[derive(Default)]
pub(super) struct Poison {
    pub contexts: bool,
    pub pasids: bool,
    pub translations: bool,
    pub spaces: BTreeSet<Space>,
    pub parts: Vec<(Space, Range, bool)>,
    pub interrupts: bool,
    pub indices: Vec<(u32, u32)>,
}

/// Page sizes of leaves, as powers of two.
const SIZES: [u8; 3] = [12, 21, 30];

#[derive(Default)]
pub(super) struct Caches {
    pub contexts: BTreeMap<u16, Context>,
    pub pasids: BTreeMap<(u16, u32), PasidEntry>,
    pub leaves: BTreeMap<(Space, u8, u64), Leaf>,
    pub links: BTreeMap<(Space, u8, u64), Link>,
    /// Pages that are known not to translate.
    pub absent: BTreeMap<(Space, u64), Absent>,
    pub interrupts: BTreeMap<u16, InterruptEntry>,
    pub poison: Option<Poison>,
    clock: u64,
}

impl Caches {
    /// From now on nothing is known to have been forgotten: what was not invalidated since is garbage.
    pub fn poison(&mut self) {
        *self = Self { poison: Some(Poison::default()), ..Self::default() };
    }

    /// Forgets everything that may have been valid; garbage stays garbage.
    pub fn evict(&mut self) {
        *self = Self { poison: self.poison.take(), ..Self::default() };
    }

    /// Empties all but the interrupt entry cache, garbage too.
    pub fn forget_translation_caches(&mut self) {
        let poison = self.poison.take().map(|poison| Poison {
            contexts: true,
            pasids: true,
            translations: true,
            interrupts: poison.interrupts,
            indices: poison.indices,
            ..Poison::default()
        });
        let interrupts = core::mem::take(&mut self.interrupts);
        *self = Self { interrupts, poison, clock: self.clock, ..Self::default() };
    }

    /// Empties the interrupt entry cache, garbage too.
    pub fn forget_interrupts(&mut self) {
        self.interrupts.clear();
        if let Some(poison) = &mut self.poison {
            poison.interrupts = true;
        }
    }

    /// The translation of an address: of several that match, the oldest.
    pub fn leaf(&self, space: Space, at: u64) -> Option<Leaf> {
        let matching =
            SIZES.iter().filter_map(|&shift| self.leaves.get(&(space, shift, at >> shift)).copied());
        matching.min_by_key(|leaf| leaf.age)
    }

    pub fn put_leaf(&mut self, space: Space, mut leaf: Leaf) {
        self.clock += 1;
        leaf.age = self.clock;
        let shift = leaf.page.trailing_zeros() as u8;
        self.leaves.insert((space, shift, leaf.base >> shift), leaf);
    }

    /// A write has set the dirty bit of a cached translation.
    pub fn mark_dirty(&mut self, space: Space, leaf: &Leaf) {
        let shift = leaf.page.trailing_zeros() as u8;
        if let Some(leaf) = self.leaves.get_mut(&(space, shift, leaf.base >> shift)) {
            leaf.dirty = true;
        }
    }

    /// The deepest known table below `top` levels that translates an address, and its level.
    pub fn link(&self, space: Space, at: u64, top: u8) -> Option<(u8, Link)> {
        (1..top).find_map(|level| {
            let link = self.links.get(&(space, level, prefix(at, level)))?;
            Some((level, *link))
        })
    }

    pub fn put_link(&mut self, space: Space, level: u8, at: u64, link: Link) {
        self.links.insert((space, level, prefix(at, level)), link);
    }

    pub fn poisoned_context(&self) -> bool {
        self.poison.as_ref().is_some_and(|poison| !poison.contexts)
    }

    pub fn poisoned_pasid(&self) -> bool {
        self.poison.as_ref().is_some_and(|poison| !poison.pasids)
    }

    /// Whether a translation of `at`, or with `links` the way to it, may be from before.
    pub fn poisoned(&self, space: Space, at: u64, links: bool) -> bool {
        let Some(poison) = &self.poison else { return false };
        if poison.translations || poison.spaces.contains(&space) {
            return false;
        }
        let here = Range { first: at, last: at };
        !poison.parts.iter().any(|(owner, range, with_links)| {
            *owner == space && (*with_links || !links) && range.overlaps(here)
        })
    }

    pub fn poisoned_interrupt(&self, index: u16) -> bool {
        let Some(poison) = &self.poison else { return false };
        let index = u32::from(index);
        !poison.interrupts && !poison.indices.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }
}

/// The address bits above those that a table of `level` translates.
fn prefix(at: u64, level: u8) -> u64 {
    at >> (12 + 9 * u32::from(level))
}

/// What a table of `level` translates.
pub(super) fn coverage(level: u8, prefix: u64) -> Range {
    let shift = 12 + 9 * u32::from(level);
    Range::page(prefix << shift, 1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_sizes() {
        assert_eq!(Range::masked(0x1234_5000, 0), Range { first: 0x1234_5000, last: 0x1234_5fff });
        assert_eq!(Range::masked(0x1234_5000, 9), Range { first: 0x1220_0000, last: 0x123f_ffff });
        assert_eq!(Range::masked(u64::MAX, 63), Range::ALL);
        assert_eq!(Range::sized(0x1234_5000, false), Range { first: 0x1234_5000, last: 0x1234_5fff });
        assert_eq!(Range::sized(0x1234_4000, true), Range { first: 0x1234_4000, last: 0x1234_5fff });
        assert_eq!(Range::sized(0x7000, true), Range { first: 0, last: 0xffff });
        assert_eq!(Range::sized(0x7fff_ffff_ffff_f000, true), Range::ALL);
    }
}
