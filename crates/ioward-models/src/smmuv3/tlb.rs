//! Cached translations: leaves and table pointers of both stages, kept until a command names them (IHI 0070 G.b, 3.17
//! and 4.4).

use super::ste::World;
use std::collections::BTreeMap;

/// By which address an entry is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    /// Stage 1: a virtual address, to an IPA where stage 2 follows.
    First,
    /// Stage 2: an IPA.
    Second,
    /// Both at once: a virtual address to a physical one.
    Both,
}

/// What tags an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Space {
    pub(super) kind: Kind,
    pub(super) world: World,
    pub(super) vmid: u16,
    /// None: global, or a world or stage without ASIDs.
    pub(super) asid: Option<u16>,
}

/// What may be done with a page, for unprivileged and privileged requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rights {
    pub(super) read: [bool; 2],
    pub(super) write: [bool; 2],
    pub(super) execute: [bool; 2],
}

impl Rights {
    pub(super) fn and(self, other: Self) -> Self {
        let both = |a: [bool; 2], b: [bool; 2]| [a[0] && b[0], a[1] && b[1]];
        Self {
            read: both(self.read, other.read),
            write: both(self.write, other.write),
            execute: both(self.execute, other.execute),
        }
    }
}

/// A leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    /// Output address of the entry's first byte.
    pub(super) out: u64,
    pub(super) rights: Rights,
    /// A write needs the descriptor made dirty first.
    pub(super) clean: bool,
    /// Device memory at stage 2.
    pub(super) device: bool,
    /// Stage 1: belongs to every ASID.
    pub(super) global: bool,
    /// Level of the leaf, and log2 of its granule: for hints.
    pub(super) level: i8,
    pub(super) granule: u8,
    /// The whole leaf of stage 1 for an entry that is smaller because stage 2's is: an invalidation of any address in
    /// it takes the entry along.
    pub(super) scope: (u64, u8),
}

/// A pointer to a next-level table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    /// Address of the table: an IPA for stage 1 of two.
    pub(super) table: u64,
    /// Whether `table` is physical.
    pub(super) physical: bool,
    /// Level of the table that it points to.
    pub(super) level: i8,
    pub(super) granule: u8,
    /// Hierarchical limits gathered on the way: bits 63:59 of the table descriptors.
    pub(super) limits: u64,
}

/// Who an entry was made for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Via {
    pub(super) source: u32,
    pub(super) substream: Option<u32>,
    pub(super) at: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) via: Via,
}

/// Entries of one kind: space, then log2 of the bytes covered, then the first address.
type Entries<T> = BTreeMap<Space, BTreeMap<u8, BTreeMap<u64, Entry<T>>>>;

/// Which ASIDs an invalidation means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asids {
    /// All, and global entries.
    All,
    /// Non-global entries of this one.
    Only(u16),
    /// This one and global entries.
    OrGlobal(u16),
}

/// Which addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) leaf_only: bool,
    /// Entries of this granule only, as log2 of its bytes.
    pub(super) granule: Option<u8>,
    /// Leaves of this level only.
    pub(super) level: Option<i8>,
}

/// An invalidation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    pub(super) first: bool,
    pub(super) second: bool,
    pub(super) worlds: &'static [World],
    /// None: every VMID.
    pub(super) vmid: Option<u16>,
    pub(super) asids: Asids,
    pub(super) range: Option<Range>,
}

impl Scope {
    pub(super) fn covers(&self, space: &Space) -> bool {
        let stage = match space.kind {
            Kind::First | Kind::Both => self.first,
            Kind::Second => self.second,
        };
        let asid = match (self.asids, space.asid) {
            (Asids::All, _) => true,
            (Asids::Only(asid), tag) => tag == Some(asid),
            (Asids::OrGlobal(asid), tag) => tag.is_none() || tag == Some(asid),
        };
        stage && asid && self.worlds.contains(&space.world) && self.vmid.is_none_or(|vmid| vmid == space.vmid)
    }
}

/// What an insertion found in its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overlap {
    /// An entry of another size with the same translation.
    Size,
    /// An entry with another translation.
    Output,
}

#[derive(Default)]
pub(super) struct Tlb {
    leaves: Entries<Leaf>,
    pointers: Entries<Pointer>,
}

impl Tlb {
    /// The leaf of `space` that covers `at`, with its first address and log2 of its size.
    pub(super) fn leaf(&self, space: &Space, at: u64) -> Option<(u64, u8, Entry<Leaf>)> {
        find(self.leaves.get(space)?, at)
    }

    /// The deepest table pointer for `at`.
    pub(super) fn pointer(&self, space: &Space, at: u64) -> Option<Entry<Pointer>> {
        find(self.pointers.get(space)?, at).map(|(_, _, entry)| entry)
    }

    pub(super) fn insert_pointer(&mut self, space: Space, start: u64, bits: u8, value: Pointer, via: Via) {
        let sizes = self.pointers.entry(space).or_default();
        sizes.entry(bits).or_default().insert(start, Entry { value, via });
    }

    /// Adds a leaf. What overlaps it and differs is removed and told of.
    pub(super) fn insert_leaf(
        &mut self,
        space: Space,
        start: u64,
        bits: u8,
        value: Leaf,
        via: Via,
    ) -> Option<Overlap> {
        let mut worst = None;
        let sizes = self.leaves.entry(space).or_default();
        for (&other, entries) in sizes.iter_mut() {
            let size = 1u128 << bits.max(other);
            let low = start & !((size - 1) as u64);
            let high = low.wrapping_add((size - 1) as u64);
            let hit: Vec<u64> = entries.range(low..=high).map(|(at, _)| *at).collect();
            for at in hit {
                let Some(found) = entries.remove(&at) else { continue };
                let same_output = found.value.out.wrapping_sub(at) == value.out.wrapping_sub(start);
                let found = match (same_output, other == bits) {
                    (false, _) => Some(Overlap::Output),
                    (true, false) => Some(Overlap::Size),
                    (true, true) => None,
                };
                worst = if worst == Some(Overlap::Output) { worst } else { found.or(worst) };
            }
        }
        sizes.entry(bits).or_default().insert(start, Entry { value, via });
        worst
    }

    /// Forgets one leaf.
    pub(super) fn remove_leaf(&mut self, space: &Space, start: u64, bits: u8) {
        if let Some(entries) = self.leaves.get_mut(space).and_then(|sizes| sizes.get_mut(&bits)) {
            entries.remove(&start);
        }
    }

    /// Forgets what `scope` covers, and tells for whom it had been made.
    pub(super) fn invalidate(&mut self, scope: &Scope) -> Vec<Via> {
        let mut gone = Vec::new();
        for (space, sizes) in self.leaves.iter_mut().filter(|(space, _)| scope.covers(space)) {
            let Some(range) = &scope.range else {
                sizes.values().flat_map(BTreeMap::values).for_each(|entry| gone.push(entry.via));
                sizes.clear();
                continue;
            };
            for (&bits, entries) in sizes.iter_mut() {
                remove(entries, bits, space.kind == Kind::Both, range, &mut gone, |start, leaf| {
                    let (first, size) = if space.kind == Kind::Both { leaf.scope } else { (start, bits) };
                    let last = first + ((1u128 << size) - 1) as u64;
                    first <= range.last
                        && last >= range.first
                        && range.granule.is_none_or(|granule| granule == leaf.granule)
                        && range.level.is_none_or(|level| level == leaf.level)
                });
            }
        }
        for (_, sizes) in self.pointers.iter_mut().filter(|(space, _)| scope.covers(space)) {
            let Some(range) = &scope.range else {
                sizes.clear();
                continue;
            };
            if range.leaf_only {
                continue;
            }
            for (&bits, entries) in sizes.iter_mut() {
                remove(entries, bits, false, range, &mut Vec::new(), |_, pointer| {
                    // A hint names the leaf's level: pointers to tables down to that level go (4.4.1.1).
                    range.granule.is_none_or(|granule| granule == pointer.granule)
                        && range.level.is_none_or(|level| pointer.level <= level)
                });
            }
        }
        gone
    }

    /// Forgets everything: what eviction may do at any time.
    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        self.pointers.clear();
    }

    /// Physical addresses of the tables that a walk could go on from.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Space, u64)> + '_ {
        self.pointers.iter().flat_map(|(space, sizes)| {
            let entries = sizes.values().flat_map(BTreeMap::values);
            entries.filter(|entry| entry.value.physical).map(|entry| (*space, entry.value.table))
        })
    }

    /// Leaves kept for a stream that `scope` would remove.
    pub(super) fn awaits(&self, scope: &Scope, source: u32) -> bool {
        self.leaves.iter().filter(|(space, _)| scope.covers(space)).any(|(_, sizes)| {
            sizes.iter().any(|(&bits, entries)| {
                entries.iter().any(|(&start, entry)| {
                    let last = start + ((1u128 << bits) - 1) as u64;
                    entry.via.source == source
                        && scope.range.is_none_or(|range| start <= range.last && last >= range.first)
                })
            })
        })
    }

    /// How many leaves there are.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }
}

/// The smallest entry that covers `at`.
fn find<T: Copy>(sizes: &BTreeMap<u8, BTreeMap<u64, Entry<T>>>, at: u64) -> Option<(u64, u8, Entry<T>)> {
    sizes.iter().find_map(|(&bits, entries)| {
        let start = at & !(((1u128 << bits) - 1) as u64);
        entries.get(&start).map(|entry| (start, bits, *entry))
    })
}

fn remove<T>(
    entries: &mut BTreeMap<u64, Entry<T>>,
    bits: u8,
    scan_all: bool,
    range: &Range,
    gone: &mut Vec<Via>,
    mut matches: impl FnMut(u64, &T) -> bool,
) {
    let first = if scan_all { 0 } else { range.first & !(((1u128 << bits) - 1) as u64) };
    let last = if scan_all { u64::MAX } else { range.last };
    let hit: Vec<u64> = entries
        .range(first..=last)
        .filter(|(start, entry)| matches(**start, &entry.value))
        .map(|(start, _)| *start)
        .collect();
    for start in hit {
        if let Some(entry) = entries.remove(&start) {
            gone.push(entry.via);
        }
    }
}
