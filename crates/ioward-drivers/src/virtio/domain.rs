//! Domains: what is mapped in each, who is attached, and which numbers are free.

use super::mapping::Mappings;
use alloc::{collections::BTreeMap, vec::Vec};

/// A domain, whether or not the device has it at the moment.
#[derive(Default)]
pub(super) struct Domain {
    pub mappings: Mappings,
    /// Endpoints that are on it, or may be. The device has the domain while there are any.
    pub attached: u32,
    /// It passes everything through.
    pub bypass: bool,
}

/// All domains by their numbers, and the numbers that are free.
pub(super) struct Domains {
    pub known: BTreeMap<u32, Domain>,
    /// The domain that passes everything through, while something is on it.
    pub identity: Option<u32>,
    free: Vec<u32>,
    /// The first number that was never used, up to the last one there is.
    next: Option<u32>,
    last: u32,
}

impl Domains {
    pub fn new((first, last): (u32, u32)) -> Self {
        Self { known: BTreeMap::new(), identity: None, free: Vec::new(), next: Some(first), last }
    }

    pub fn add(&mut self, bypass: bool) -> Option<u32> {
        let number = self.free.pop().or_else(|| {
            let number = self.next?;
            self.next = number.checked_add(1).filter(|next| *next <= self.last);
            Some(number)
        })?;
        self.known.insert(number, Domain { bypass, ..Domain::default() });
        Some(number)
    }

    /// The number is somebody else's and is never used.
    pub fn avoid(&mut self, number: u32) {
        self.known.remove(&number);
    }

    /// The device knows nothing of the number any more.
    pub fn remove(&mut self, number: u32) {
        if self.known.remove(&number).is_some() {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_come_back() {
        let mut domains = Domains::new((u32::MAX - 1, u32::MAX));
        assert_eq!([domains.add(false), domains.add(true)], [Some(u32::MAX - 1), Some(u32::MAX)]);
        assert_eq!(domains.add(false), None);
        domains.remove(7);
        domains.remove(u32::MAX);
        assert_eq!([domains.add(false), domains.add(false)], [Some(u32::MAX), None]);
    }
}
