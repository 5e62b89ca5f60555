//! Cached translations: leaves and table pointers of both stages and MSI page-table entries, kept until a command names
//! them (2.8, 3.1.1).

use std::collections::BTreeMap;

/// By which address an entry is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Stage {
    /// First stage: an IOVA, to a guest's physical address where a second stage follows.
    First,
    /// Second stage: a guest's physical address.
    Second,
    /// Both at once: an IOVA to a physical address.
    Both,
}

/// What tags an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Space {
    pub(super) stage: Stage,
    /// None: the host's, without second stage.
    pub(super) gscid: Option<u16>,
    /// None: global, or the second stage.
    pub(super) pscid: Option<u32>,
}

/// A leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    /// Output address of the entry's first byte.
    pub(super) out: u64,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) execute: bool,
    /// First stage: a user's page.
    pub(super) user: bool,
    /// D is set: a write needs nothing more.
    pub(super) dirty: bool,
    /// First stage: belongs to every PSCID.
    pub(super) global: bool,
    /// [`Stage::Both`]: first address and log2 of the size of the whole leaf of the first stage. An invalidation of any
    /// address in it takes the entry along.
    pub(super) scope: (u64, u8),
    /// [`Stage::Both`]: the guest's physical address of the entry's first byte.
    pub(super) guest: u64,
}

impl Leaf {
    /// Whether both give the same rights.
    fn agrees(&self, other: &Self) -> bool {
        let rights = |leaf: &Self| (leaf.read, leaf.write, leaf.execute, leaf.user);
        rights(self) == rights(other)
    }
}

/// A pointer to a next-level table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    /// Address of the table: a guest's for a first stage above a second.
    pub(super) table: u64,
    /// Level of the table that it points to; 0 is the lowest.
    pub(super) level: u8,
    /// An entry on the way had G.
    pub(super) global: bool,
}

/// Who an entry was made for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Via {
    pub(super) device: u32,
    pub(super) process: Option<u32>,
    pub(super) at: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) via: Via,
}

/// Entries of one kind: space, then log2 of the bytes covered, then the first address.
type Entries<T> = BTreeMap<Space, BTreeMap<u8, BTreeMap<u64, Entry<T>>>>;

/// Addresses, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Range {
    fn meets(&self, start: u64, bits: u8) -> bool {
        start <= self.last && last(start, bits) >= self.first
    }
}

/// An IOTINVAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// First stages of the host or of one guest.
    Vma { gscid: Option<u16>, pscid: Option<u32>, range: Option<Range>, non_leaf: bool },
    /// Second stages of one guest, or of all.
    Gvma { gscid: Option<u16>, range: Option<Range>, non_leaf: bool },
}

impl Scope {
    /// Whether it may remove entries of `space`.
    pub(super) fn covers(&self, space: &Space) -> bool {
        match *self {
            Self::Vma { gscid, pscid, .. } => {
                space.stage != Stage::Second
                    && space.gscid == gscid
                    && pscid.is_none_or(|pscid| space.pscid == Some(pscid))
            }
            Self::Gvma { gscid, .. } => {
                space.stage != Stage::First
                    && space.gscid.is_some()
                    && (gscid.is_none() || space.gscid == gscid)
            }
        }
    }

    fn range(&self) -> Option<(Range, bool)> {
        let (Self::Vma { range, non_leaf, .. } | Self::Gvma { range, non_leaf, .. }) = *self;
        range.map(|range| (range, non_leaf))
    }

    fn takes_leaf(&self, space: &Space, start: u64, bits: u8, leaf: &Leaf) -> bool {
        let Some((range, _)) = self.range() else { return true };
        match (self, space.stage) {
            (Self::Vma { .. }, Stage::Both) => range.meets(leaf.scope.0, leaf.scope.1),
            (Self::Gvma { .. }, Stage::Both) => range.meets(leaf.guest, bits),
            _ => range.meets(start, bits),
        }
    }
}

/// An insertion found another translation in its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Conflict;

/// A cached MSI page-table entry's two words.
pub(super) type MsiPte = [u64; 2];

#[derive(Default)]
pub(super) struct Tlb {
    leaves: Entries<Leaf>,
    pointers: Entries<Pointer>,
    /// MSI page-table entries by guest and guest page.
    msi: BTreeMap<(u16, u64), MsiPte>,
}

impl Tlb {
    /// The leaf of `space` that covers `at`, with its first address and log2 of its size.
    pub(super) fn leaf(&self, space: &Space, at: u64) -> Option<(u64, u8, Leaf)> {
        find(self.leaves.get(space)?, at).map(|(start, bits, entry)| (start, bits, entry.value))
    }

    /// The deepest table pointer for `at`.
    pub(super) fn pointer(&self, space: &Space, at: u64) -> Option<Pointer> {
        find(self.pointers.get(space)?, at).map(|(_, _, entry)| entry.value)
    }

    pub(super) fn insert_pointer(&mut self, space: Space, start: u64, bits: u8, value: Pointer, via: Via) {
        let sizes = self.pointers.entry(space).or_default();
        sizes.entry(bits).or_default().insert(start, Entry { value, via });
    }

    /// Adds a leaf. What overlaps it is removed, and told of where it differs in more than its size.
    pub(super) fn insert_leaf(
        &mut self,
        space: Space,
        start: u64,
        bits: u8,
        value: Leaf,
        via: Via,
    ) -> Option<Conflict> {
        let mut conflict = None;
        let sizes = self.leaves.entry(space).or_default();
        for (&other, entries) in sizes.iter_mut() {
            let size = bits.max(other);
            let low = start & !low_bits(size);
            let hit: Vec<u64> = entries.range(low..=last(low, size)).map(|(at, _)| *at).collect();
            for at in hit {
                let Some(found) = entries.remove(&at) else { continue };
                let same_output = found.value.out.wrapping_sub(at) == value.out.wrapping_sub(start);
                if other != bits && !(same_output && found.value.agrees(&value)) {
                    conflict = Some(Conflict);
                }
            }
        }
        sizes.entry(bits).or_default().insert(start, Entry { value, via });
        conflict
    }

    /// Forgets one leaf.
    pub(super) fn remove_leaf(&mut self, space: &Space, start: u64, bits: u8) {
        if let Some(entries) = self.leaves.get_mut(space).and_then(|sizes| sizes.get_mut(&bits)) {
            entries.remove(&start);
        }
    }

    pub(super) fn msi(&self, gscid: u16, page: u64) -> Option<MsiPte> {
        self.msi.get(&(gscid, page)).copied()
    }

    pub(super) fn insert_msi(&mut self, gscid: u16, page: u64, entry: MsiPte) {
        self.msi.insert((gscid, page), entry);
    }

    /// Forgets what `scope` covers, and tells for whom it had been made.
    pub(super) fn invalidate(&mut self, scope: &Scope) -> Vec<Via> {
        let mut gone = Vec::new();
        for (space, sizes) in self.leaves.iter_mut().filter(|(space, _)| scope.covers(space)) {
            for (&bits, entries) in sizes.iter_mut() {
                entries.retain(|&start, entry| {
                    let taken = scope.takes_leaf(space, start, bits, &entry.value);
                    if taken {
                        gone.push(entry.via);
                    }
                    !taken
                });
            }
        }
        for (_, sizes) in self.pointers.iter_mut().filter(|(space, _)| scope.covers(space)) {
            match scope.range() {
                None => sizes.clear(),
                Some((range, true)) => {
                    for (&bits, entries) in sizes.iter_mut() {
                        entries.retain(|&start, _| !range.meets(start, bits));
                    }
                }
                Some((_, false)) => {}
            }
        }
        if let Scope::Gvma { gscid, range, .. } = *scope {
            self.msi.retain(|&(tag, page), _| {
                let inside = range.is_none_or(|range| range.meets(page << 12, 12));
                !(gscid.is_none_or(|gscid| gscid == tag) && inside)
            });
        }
        gone
    }

    /// Forgets everything: what eviction may do at any time.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Physical addresses of the tables that a walk could go on from.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Space, u64)> + '_ {
        let physical = |space: &Space| space.stage == Stage::Second || space.gscid.is_none();
        self.pointers.iter().filter(move |(space, _)| physical(space)).flat_map(|(space, sizes)| {
            let entries = sizes.values().flat_map(BTreeMap::values);
            entries.map(|entry| (*space, entry.value.table))
        })
    }

    /// Whether there are leaves of a device that `scope` would remove.
    pub(super) fn awaits(&self, scope: &Scope, device: u32) -> bool {
        self.leaves.iter().filter(|(space, _)| scope.covers(space)).any(|(space, sizes)| {
            sizes.iter().any(|(&bits, entries)| {
                entries.iter().any(|(&start, entry)| {
                    entry.via.device == device && scope.takes_leaf(space, start, bits, &entry.value)
                })
            })
        })
    }

    /// How many leaves there are.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }
}

/// The lowest `bits` bits.
pub(super) fn low_bits(bits: u8) -> u64 {
    1u64.checked_shl(bits.into()).unwrap_or(0).wrapping_sub(1)
}

/// The last byte of an aligned block of 2^`bits` bytes.
fn last(start: u64, bits: u8) -> u64 {
    start | low_bits(bits)
}

/// The smallest entry that covers `at`.
fn find<T: Copy>(sizes: &BTreeMap<u8, BTreeMap<u64, Entry<T>>>, at: u64) -> Option<(u64, u8, Entry<T>)> {
    sizes.iter().find_map(|(&bits, entries)| {
        let start = at & !low_bits(bits);
        entries.get(&start).map(|entry| (start, bits, *entry))
    })
}
