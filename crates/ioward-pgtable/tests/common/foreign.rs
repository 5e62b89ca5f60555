//! Walks of memory that nobody vouches for: what they promise, whatever the words.
#![allow(dead_code)]

use super::{
    cases::sign_extended,
    judge::{Found, judge_entry},
};
use ioward_pgtable::{Meaning, ReadMemory, walk};
use ioward_types::{Iova, PhysAddr, Root, TableConfig};

/// Memory made of a few words: every address holds one of them, or nothing.
pub struct Few<'w> {
    pub words: &'w [u64],
    pub salt: u64,
}

impl ReadMemory for Few<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let mixed = (at.0 ^ self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (mixed >> 32) as usize % (self.words.len() + 1);
        self.words.get(place).copied()
    }
}

/// A walk ends, in no table; and where the judge, who is stricter, finds a page or nothing, the walk finds the same.
/// Tells whether the judge had something to say.
pub fn hold<R: ReadMemory>(memory: &R, config: &TableConfig, root: Root, at: u64) -> bool {
    let walked = match walk(memory, config, root, Iova(at)) {
        Ok(walk) => walk,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert!((1..=6).contains(&walked.len()));
    assert!(walked.windows(2).all(|steps| steps[0].level > steps[1].level));
    assert!(!walked.to_string().is_empty());
    let granule = config.granule().trailing_zeros();
    // The judge knows only tables that can be, and takes a root's levels for those that the width asks for.
    let top = granule + u32::from(root.levels - 1) * (granule - 3);
    let full = top + granule - 3;
    if top >= 64 || root.at.0 >> 56 != 0 || sign_extended(config) && u32::from(config.in_bits) != full {
        return false;
    }
    match (judge_entry(config, root, at, |word| memory.read64(PhysAddr(word))), walked.end()) {
        (_, Meaning::Table { .. }) => panic!("a walk that ends in a table:\n{walked}"),
        (Err(_), _) => false,
        (Ok(Found::Nothing), end) => {
            assert_eq!(end, Meaning::Absent, "{config}, {at:#x}:\n{walked}");
            true
        }
        (Ok(Found::Page(page)), Meaning::Page { to, bytes, attributes }) => {
            assert_eq!((to.0, bytes), (page.to, page.bytes), "{config}, {at:#x}:\n{walked}");
            let rights = (attributes.read, attributes.write, attributes.privileged);
            assert_eq!(rights, (page.rights.read, page.rights.write, page.rights.privileged), "{walked}");
            true
        }
        (Ok(found), end) => panic!("{config}, {at:#x}: {found:?} and {end:?}:\n{walked}"),
    }
}
