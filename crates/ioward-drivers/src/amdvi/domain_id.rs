//! Domain IDs: what the IOMMU's caches know carriers by.
//!
//! 16 bits (48882 §2.2.2.1), zero reserved. An ID is given out again only when nothing can be cached under it: by
//! [`DomainIds::free`], which its callers call after a confirmed flush and not otherwise.

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

/// Under which domain ID and PASID a v2 table's translations are cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub domain: u16,
    pub pasid: u32,
}

/// What a tag stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tagged {
    /// A v1 table: the tag is its domain ID, whoever uses it.
    Host,
    /// A v2 table. All PASIDs behind a device share the domain ID of the device's entry, so two devices with different
    /// tables of PASIDs must not share one: each has its own, and the carrier is the set of places it hangs at.
    Guest(Vec<Target>),
}

/// Every ID, and every tag.
pub(super) struct DomainIds {
    used: Box<[u64]>,
    next: u32,
    pub tags: BTreeMap<u16, Tagged>,
}

const IDS: u32 = 1 << 16;

impl DomainIds {
    pub fn new() -> Self {
        let mut used = vec![0; IDS as usize / 64].into_boxed_slice();
        used[0] = 1;
        Self { used, next: 1, tags: BTreeMap::new() }
    }

    /// Marks an ID that an earlier owner's entries carry. It is never given out.
    pub fn reserve(&mut self, id: u16) {
        self.used[usize::from(id) / 64] |= 1 << (id % 64);
    }

    /// An ID that nobody has. The search goes round, so that one given back stays unused for long.
    pub fn allocate(&mut self) -> Option<u16> {
        for n in 0..IDS {
            let id = ((self.next + n) % IDS) as u16;
            if self.used[usize::from(id) / 64] & 1 << (id % 64) == 0 {
                self.reserve(id);
                self.next = (u32::from(id) + 1) % IDS;
                return Some(id);
            }
        }
        None
    }

    /// Gives an ID back under which nothing is cached.
    pub fn free(&mut self, id: u16) {
        if id != 0 {
            self.used[usize::from(id) / 64] &= !(1 << (id % 64));
        }
    }

    /// A v2 carrier hangs at one place more.
    pub fn add_target(&mut self, tag: u16, target: Target) {
        if let Some(Tagged::Guest(targets)) = self.tags.get_mut(&tag)
            && !targets.contains(&target)
        {
            targets.push(target);
        }
    }

    /// A v2 carrier no longer hangs at a place.
    pub fn remove_target(&mut self, tag: u16, target: Target) {
        if let Some(Tagged::Guest(targets)) = self.tags.get_mut(&tag) {
            targets.retain(|at| *at != target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_reserved_ids_are_never_given_out() {
        let mut ids = DomainIds::new();
        ids.reserve(2);
        let all: Vec<u16> = core::iter::from_fn(|| ids.allocate()).collect();
        assert_eq!(all.len(), 65534);
        assert!(!all.contains(&0) && !all.contains(&2));
        assert_eq!(ids.allocate(), None);
        ids.free(7);
        assert_eq!(ids.allocate(), Some(7));
    }

    #[test]
    fn an_id_given_back_is_the_last_to_be_given_out_again() {
        let mut ids = DomainIds::new();
        let first = ids.allocate().unwrap();
        ids.free(first);
        assert_ne!(ids.allocate(), Some(first));
    }
}
