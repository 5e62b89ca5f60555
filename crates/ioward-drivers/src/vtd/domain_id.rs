//! Domain IDs: what the unit's caches know carriers by.
//!
//! `4 + 2n` bits (CAP.ND), for each unit its own. Zero is never given out: in caching mode it names entries that are not
//! present (6.1). An ID is given out again only when nothing can be cached under it: by [`DomainIds::free`], which its
//! callers call after a confirmed flush and not otherwise.

use alloc::{boxed::Box, collections::BTreeMap, vec};

/// Under which domain ID and PASID translations are cached that are found by both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Target {
    pub domain: u16,
    pub pasid: u32,
}

/// What a tag stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tagged {
    /// A second-stage table: cached under its domain ID, whoever uses it.
    Second,
    /// A first-stage table: cached under its domain ID and the PASIDs that it hangs at; zero stands for requests without
    /// one. How often it hangs at each.
    First(BTreeMap<u32, u32>),
}

/// Every ID, and every tag.
pub(super) struct DomainIds {
    used: Box<[u64]>,
    count: u32,
    next: u32,
    pub tags: BTreeMap<u16, Tagged>,
}

impl DomainIds {
    /// IDs of `bits` bits, 4 to 16.
    pub fn new(bits: u8) -> Self {
        let count = 1u32 << bits.clamp(4, 16);
        let mut used = vec![0; count.div_ceil(64) as usize].into_boxed_slice();
        used[0] = 1;
        Self { used, count, next: 1, tags: BTreeMap::new() }
    }

    /// Marks an ID that an earlier owner's entries carry. It is never given out.
    pub fn reserve(&mut self, id: u16) {
        if let Some(word) = self.used.get_mut(usize::from(id) / 64) {
            *word |= 1 << (id % 64);
        }
    }

    /// An ID that nobody has. The search goes round, so that one given back stays unused for long.
    pub fn allocate(&mut self) -> Option<u16> {
        for n in 0..self.count {
            let id = ((self.next + n) % self.count) as u16;
            if self.used[usize::from(id) / 64] & 1 << (id % 64) == 0 {
                self.reserve(id);
                self.next = (u32::from(id) + 1) % self.count;
                return Some(id);
            }
        }
        None
    }

    /// Gives an ID back under which nothing is cached.
    pub fn free(&mut self, id: u16) {
        if id != 0
            && let Some(word) = self.used.get_mut(usize::from(id) / 64)
        {
            *word &= !(1 << (id % 64));
        }
    }

    /// A first-stage carrier hangs at one place more.
    pub fn add(&mut self, at: Target) {
        if let Some(Tagged::First(pasids)) = self.tags.get_mut(&at.domain) {
            *pasids.entry(at.pasid).or_insert(0) += 1;
        }
    }

    /// A first-stage carrier hangs at one place less.
    pub fn remove(&mut self, at: Target) {
        if let Some(Tagged::First(pasids)) = self.tags.get_mut(&at.domain)
            && let Some(times) = pasids.get_mut(&at.pasid)
        {
            *times -= 1;
            if *times == 0 {
                pasids.remove(&at.pasid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn zero_and_reserved_ids_are_never_given_out() {
        let mut ids = DomainIds::new(4);
        ids.reserve(2);
        ids.reserve(u16::MAX);
        let all: Vec<u16> = core::iter::from_fn(|| ids.allocate()).collect();
        assert_eq!(all.len(), 14);
        assert!(!all.contains(&0) && !all.contains(&2));
        ids.free(0);
        ids.free(7);
        assert_eq!((ids.allocate(), ids.allocate()), (Some(7), None));
        assert_eq!(core::iter::from_fn(|| DomainIds::new(16).allocate()).take(3).count(), 3);
    }

    #[test]
    fn an_id_given_back_is_the_last_to_be_given_out_again() {
        let mut ids = DomainIds::new(16);
        let first = ids.allocate().unwrap();
        ids.free(first);
        assert_ne!(ids.allocate(), Some(first));
    }

    #[test]
    fn a_carrier_hangs_at_a_pasid_as_long_as_somebody_has_it_there() {
        let mut ids = DomainIds::new(6);
        let domain = ids.allocate().unwrap();
        ids.tags.insert(domain, Tagged::First(BTreeMap::new()));
        let at = Target { domain, pasid: 5 };
        ids.add(at);
        ids.add(at);
        ids.remove(at);
        assert_eq!(ids.tags[&domain], Tagged::First([(5, 1)].into()));
        ids.remove(at);
        ids.remove(at);
        assert_eq!(ids.tags[&domain], Tagged::First(BTreeMap::new()));
    }
}
