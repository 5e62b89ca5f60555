//! Who has claimed which source.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use ioward_core::driver::{Refused, Slot};
use ioward_types::{IommuId, SourceId};

/// What a driver knows of one claimed source.
pub(crate) trait Claimed {
    /// Which.
    fn source(&self) -> SourceId;
    /// Whether what it had is not known to be forgotten: a wait was given up.
    fn is_unconfirmed(&self) -> bool;
}

/// Claimed sources, by slot and by source.
pub(crate) struct Slots<T> {
    slots: Vec<Option<T>>,
    by_source: BTreeMap<SourceId, u32>,
    /// Sources that were given back without it being known that what they had is forgotten.
    unconfirmed: BTreeSet<SourceId>,
}

impl<T: Claimed> Slots<T> {
    pub fn new() -> Self {
        Self { slots: Vec::new(), by_source: BTreeMap::new(), unconfirmed: BTreeSet::new() }
    }

    pub fn is_claimed(&self, source: SourceId) -> bool {
        self.by_source.contains_key(&source)
    }

    /// Whether the last who had the source left it unconfirmed.
    pub fn was_unconfirmed(&self, source: SourceId) -> bool {
        self.unconfirmed.contains(&source)
    }

    /// Remembers that what a source had is not known to be forgotten: whoever claims it sees to that first.
    pub fn leave_unconfirmed(&mut self, source: SourceId) {
        self.unconfirmed.insert(source);
    }

    /// The index of a new slot.
    pub fn insert(&mut self, claimed: T) -> u32 {
        let source = claimed.source();
        self.unconfirmed.remove(&source);
        let index = match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = Some(claimed);
                free
            }
            None => {
                self.slots.push(Some(claimed));
                self.slots.len() - 1
            }
        } as u32;
        self.by_source.insert(source, index);
        index
    }

    /// The claimed source of a slot that is one of this IOMMU's.
    pub fn get(&mut self, iommu: IommuId, slot: &Slot) -> Result<&mut T, Refused> {
        let missing = Refused::NoSlot { iommu, source: slot.source };
        if slot.iommu != iommu {
            return Err(missing);
        }
        match self.slots.get_mut(slot.index as usize) {
            Some(Some(claimed)) if claimed.source() == slot.source => Ok(claimed),
            _ => Err(missing),
        }
    }

    pub fn remove(&mut self, iommu: IommuId, slot: &Slot) -> Option<T> {
        if self.get(iommu, slot).ok()?.is_unconfirmed() {
            self.leave_unconfirmed(slot.source);
        }
        self.by_source.remove(&slot.source);
        self.slots[slot.index as usize].take()
    }
}
