//! What the unit remembers, and what makes it forget (48882 §2.4).

use super::unit::Unit;
use crate::AtcSpan;
use ioward_spec::amdvi::dte;
use ioward_types::{Iova, Pasid, PhysAddr, SourceId, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Whose addresses: a domain's guest physical ones, or those of a PASID within it.
pub(super) type Space = (u16, Option<u32>);

/// A cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    /// First input address.
    pub base: u64,
    /// Bytes, a power of two.
    pub page: u64,
    /// First output address.
    pub to: u64,
    /// Of a guest page: its first guest physical address; else equal to `base`.
    pub gpa: u64,
    pub present: bool,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    /// Unprivileged requests may use it.
    pub user: bool,
    /// The dirty bit is set already, or is not kept.
    pub dirty: bool,
    /// The entry that it comes from, and its value; none for identity.
    pub from: Option<(PhysAddr, u64)>,
    /// When it was cached: of two that match, hardware may use the older.
    pub age: u64,
}

/// A cached directory entry: how to get at the table of `level` that translates an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// Address of the table: system physical for host tables, guest physical for guest tables.
    pub table: u64,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    pub from: (PhysAddr, u64),
}

/// A cached guest CR3 entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gcr3 {
    /// Guest physical address of the root table.
    pub root: u64,
    pub from: (PhysAddr, u64),
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

    /// What a command's address and S mean (§2.4.3).
    pub fn of_command(address: u64, sized: bool) -> Self {
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

/// INVALIDATE_IOMMU_PAGES, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pages {
    pub space: Space,
    pub range: Range,
    pub directories: bool,
}

/// INVALIDATE_IOTLB_PAGES, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Iotlb {
    pub source: SourceId,
    pub pasid: Option<u32>,
    pub range: Range,
    /// Where the command was, for the event.
    pub command: u64,
}

/// What has been issued and takes effect later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Invalidation {
    Device(u16),
    Interrupts(u16),
    Pages(Pages),
    Iotlb(Iotlb),
    All,
}

/// What was invalidated since the caches were poisoned.
#[derive(Default)]
struct Poison {
    all: bool,
    devices: BTreeSet<u16>,
    interrupts: BTreeSet<u16>,
    whole: BTreeSet<Space>,
    parts: Vec<Pages>,
}

#[derive(Default)]
pub(super) struct Caches {
    pub devices: BTreeMap<u16, [u64; dte::WORDS]>,
    leaves: BTreeMap<(Space, u8, u64), Leaf>,
    links: BTreeMap<(Space, u8, u64), Link>,
    pub gcr3: BTreeMap<Space, Gcr3>,
    /// Entries of interrupt tables, by device and index.
    pub interrupts: BTreeMap<(u16, u64), [u64; 2]>,
    poison: Option<Poison>,
    /// Page sizes that were ever cached, as a set of powers of two.
    sizes: u64,
    clock: u64,
}

impl Caches {
    /// From now on nothing is known to have been forgotten: what was not invalidated since is garbage.
    pub fn poison(&mut self) {
        *self = Self { poison: Some(Poison::default()), ..Self::default() };
    }

    pub fn leaf(&self, space: Space, at: u64) -> Option<Leaf> {
        (12..64u8)
            .filter(|shift| self.sizes >> shift & 1 != 0)
            .filter_map(|shift| self.leaves.get(&(space, shift, at >> shift << shift)))
            .min_by_key(|leaf| leaf.age)
            .copied()
    }

    pub fn put_leaf(&mut self, space: Space, leaf: Leaf) {
        self.clock += 1;
        self.sizes |= leaf.page;
        let key = (space, leaf.page.trailing_zeros() as u8, leaf.base);
        self.leaves.insert(key, Leaf { age: self.clock, ..leaf });
    }

    /// Notes that the dirty bit behind a cached translation is set now.
    pub fn mark_dirty(&mut self, space: Space, leaf: &Leaf) {
        if let Some(cached) = self.leaves.get_mut(&(space, leaf.page.trailing_zeros() as u8, leaf.base)) {
            cached.dirty = true;
        }
    }

    /// The link that goes deepest, with the level of its table. Host tables have up to six levels, guest tables five.
    pub fn link(&self, space: Space, at: u64) -> Option<(u8, Link)> {
        (1..6u8).find_map(|level| {
            let link = self.links.get(&(space, level, prefix(at, level)))?;
            Some((level, *link))
        })
    }

    pub fn put_link(&mut self, space: Space, level: u8, at: u64, link: Link) {
        self.links.insert((space, level, prefix(at, level)), link);
    }

    /// Room was needed: nothing is known, but what is poison stays so.
    pub fn evict(&mut self) {
        self.devices.clear();
        self.leaves.clear();
        self.links.clear();
        self.gcr3.clear();
        self.interrupts.clear();
    }

    pub fn forget_all(&mut self) {
        self.evict();
        if let Some(poison) = &mut self.poison {
            poison.all = true;
        }
    }

    pub fn forget_device(&mut self, device: u16) {
        self.devices.remove(&device);
        if let Some(poison) = &mut self.poison {
            poison.devices.insert(device);
        }
    }

    pub fn forget_interrupts(&mut self, device: u16) {
        self.interrupts.retain(|(owner, _), _| *owner != device);
        if let Some(poison) = &mut self.poison {
            poison.interrupts.insert(device);
        }
    }

    /// Whether an interrupt of `device` would meet a table entry from before.
    pub fn interrupts_poisoned(&self, device: u16) -> bool {
        self.poison.as_ref().is_some_and(|poison| !poison.all && !poison.interrupts.contains(&device))
    }

    pub fn forget_pages(&mut self, what: &Pages) {
        let (domain, pasid) = what.space;
        self.leaves.retain(|&((owner, process), _, _), leaf| {
            let input = Range::page(leaf.base, leaf.page);
            let hit = match (pasid, process) {
                (None, None) => input.overlaps(what.range),
                (None, Some(_)) => Range::page(leaf.gpa, leaf.page).overlaps(what.range),
                (Some(named), Some(process)) => named == process && input.overlaps(what.range),
                (Some(_), None) => false,
            };
            !(owner == domain && hit)
        });
        if what.directories {
            self.links.retain(|&((owner, process), level, prefix), link| {
                let covered = coverage(level, prefix);
                let hit = match (pasid, process) {
                    (None, None) => covered.overlaps(what.range),
                    (None, Some(_)) => Range::page(link.table, 0x1000).overlaps(what.range),
                    (Some(named), Some(process)) => named == process && covered.overlaps(what.range),
                    (Some(_), None) => false,
                };
                !(owner == domain && hit)
            });
            self.gcr3.retain(|&(owner, process), entry| {
                let hit = match pasid {
                    None => Range::page(entry.root & !0xfff, 0x1000).overlaps(what.range),
                    Some(_) => process == pasid,
                };
                !(owner == domain && hit)
            });
        }
        if let Some(poison) = &mut self.poison {
            if what.range == Range::ALL && what.directories {
                poison.whole.insert(what.space);
            } else if !poison.all && !poison.whole.contains(&what.space) {
                poison.parts.push(*what);
            }
        }
    }

    /// Whether a request of `device` would meet a device table entry from before.
    pub fn device_poisoned(&self, device: u16) -> bool {
        self.poison.as_ref().is_some_and(|poison| !poison.all && !poison.devices.contains(&device))
    }

    /// Whether a translation of `at`, or with `directories` the way to it, may be from before.
    pub fn poisoned(&self, space: Space, at: u64, directories: bool) -> bool {
        let Some(poison) = &self.poison else { return false };
        let whole = poison.all || poison.whole.contains(&space) || poison.whole.contains(&(space.0, None));
        let part = |pages: &Pages| {
            pages.space == space
                && (pages.directories || !directories)
                && pages.range.overlaps(Range { first: at, last: at })
        };
        !whole && !poison.parts.iter().any(part)
    }

    /// Every cached translation that overlaps, of the spaces of one domain.
    pub fn overlapping(&self, space: Space, range: Range) -> impl Iterator<Item = &Leaf> {
        self.leaves
            .range((space, 0, 0)..=(space, u8::MAX, u64::MAX))
            .map(|(_, leaf)| leaf)
            .filter(move |leaf| Range::page(leaf.base, leaf.page).overlaps(range))
    }

    pub fn all_leaves(&self) -> impl Iterator<Item = (Space, &Leaf)> {
        self.leaves.iter().map(|((space, _, _), leaf)| (*space, leaf))
    }

    pub fn all_links(&self) -> impl Iterator<Item = (Space, &Link)> {
        self.links.iter().map(|((space, _, _), link)| (*space, link))
    }
}

/// The address bits above those that a table of `level` indexes.
fn prefix(at: u64, level: u8) -> u64 {
    at.checked_shr(12 + 9 * u32::from(level)).unwrap_or(0)
}

fn coverage(level: u8, prefix: u64) -> Range {
    let shift = 12 + 9 * u32::from(level);
    Range::page(prefix << shift, 1 << shift)
}

impl Unit {
    /// Carries out what was issued, in order.
    pub fn settle(&mut self) {
        let pending = core::mem::take(&mut self.pending);
        // Translations that a device may have fetched again, from a cache that was told to forget them only later.
        let mut refilled: Vec<(Iotlb, u64)> = Vec::new();
        let mut told: Vec<Iotlb> = Vec::new();
        for what in &pending {
            if let Invalidation::Pages(pages) = what {
                for atc in &told {
                    let behind =
                        self.domain_of(atc.source) == Some(pages.space.0) && atc.pasid == pages.space.1;
                    let stale = self.caches.overlapping(pages.space, pages.range).find(|leaf| {
                        leaf.present
                            && self.is_stale(leaf)
                            && Range::page(leaf.base, leaf.page).overlaps(atc.range)
                    });
                    if let (true, Some(leaf)) = (behind, stale) {
                        refilled.push((*atc, leaf.base));
                    }
                }
            }
            if let Invalidation::Iotlb(atc) = what {
                let covers = |at: u64| atc.range.overlaps(Range { first: at, last: at });
                refilled.retain(|(early, at)| {
                    !(early.source == atc.source && early.pasid == atc.pasid && covers(*at))
                });
                told.push(*atc);
            }
            self.carry_out(what);
        }
        for (atc, at) in refilled {
            self.violation(
                "48882 §2.4.4",
                format!(
                    "INVALIDATE_IOTLB_PAGES to device {:#x} before the INVALIDATE_IOMMU_PAGES of {at:#x}: the device \
                     may have fetched the old translation again",
                    atc.source.0
                ),
            );
        }
    }

    fn carry_out(&mut self, what: &Invalidation) {
        match *what {
            Invalidation::Device(device) => {
                self.caches.forget_device(device);
                self.suppressed.remove(&device);
            }
            Invalidation::Interrupts(device) => self.caches.forget_interrupts(device),
            Invalidation::Pages(pages) => self.caches.forget_pages(&pages),
            Invalidation::All => {
                self.caches.forget_all();
                self.suppressed.clear();
            }
            Invalidation::Iotlb(atc) => {
                let span = Span::inclusive(Iova(atc.range.first), Iova(atc.range.last));
                let what = AtcSpan { pasid: atc.pasid.map(Pasid), global: false, span };
                let answered = self.atcs.get(&atc.source).is_some_and(|atc| atc.invalidate(what));
                if !answered {
                    self.iotlb_timeout(&atc);
                }
            }
        }
    }

    fn domain_of(&self, source: SourceId) -> Option<u16> {
        let device = u16::try_from(source.0).ok()?;
        let words = self.caches.devices.get(&device)?;
        Some(dte::DOMAIN_ID.get(words) as u16)
    }

    /// Whether the entry behind a cached translation says something else by now. Accessed and dirty bits do not count.
    pub fn is_stale(&self, leaf: &Leaf) -> bool {
        leaf.from.is_some_and(|(at, value)| self.changed(at, value, 0))
    }

    /// Whether an entry in memory differs from `value` by more than accessed and dirty bits and those that are `ignored`.
    pub fn changed(&self, at: PhysAddr, value: u64, ignored: u64) -> bool {
        if !self.memory.is_allocated(at) {
            return true;
        }
        let now = self.memory.read64(&self.config.name, at, self.config.coherent);
        now.map_or(true, |now| (now ^ value) & !(0x60 | ignored) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_address() {
        // 48882 Table 14, the examples.
        assert_eq!(Range::of_command(0x1234_5000, false), Range { first: 0x1234_5000, last: 0x1234_5fff });
        assert_eq!(Range::of_command(0x1234_4000, true), Range { first: 0x1234_4000, last: 0x1234_5fff });
        assert_eq!(Range::of_command(0x0000_7000, true), Range { first: 0, last: 0xffff });
        assert_eq!(Range::of_command(0x400f_f000, true), Range { first: 0x4000_0000, last: 0x401f_ffff });
        assert_eq!(Range::of_command(0x7fff_ffff_ffff_f000, true), Range::ALL);
        let half = Range::of_command(0x3fff_ffff_ffff_f000, true);
        assert_eq!(half, Range { first: 0, last: 0x7fff_ffff_ffff_ffff });
    }
}
