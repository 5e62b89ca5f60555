//! What a quiet unit must not hold: stale entries.

use super::{
    cache::{Absent, ContextWords, Origin},
    meaning::{self, PasidMeaning, SourceMeaning, Translation},
    unit::Unit,
};
use ioward_spec::vtd::{interrupts, paging::second};
use ioward_types::PhysAddr;
use std::collections::BTreeMap;

impl Unit {
    /// Reports every cached structure that memory contradicts. Only at an instant at which software owes no
    /// invalidation.
    pub fn audit(&self, leaves: bool) {
        for (source, context) in &self.caches.contexts {
            if self.is_stale_context(context) {
                self.violation(
                    "VT-d 6.5.2.1",
                    format!(
                        "the context entry of {source:#x} changed without invalidation: {:#018x?}",
                        context.words
                    ),
                );
            }
        }
        for ((source, pasid), entry) in &self.caches.pasids {
            if self.is_stale_pasid(entry) {
                self.violation(
                    "VT-d 6.5.2.2",
                    format!("the entry of PASID {pasid:#x} of {source:#x} changed without invalidation"),
                );
            }
        }
        for (index, entry) in &self.caches.interrupts {
            let meant =
                |words: [u64; interrupts::WORDS]| [words[0] & !interrupts::irte::AVAIL.mask(), words[1]];
            let same = self.memory.is_allocated(entry.at)
                && self.read_words(entry.at.0).is_ok_and(|now| meant(now) == meant(entry.words));
            if !same {
                self.violation(
                    "VT-d 6.5.2.7",
                    format!("interrupt entry {index:#x} changed without invalidation"),
                );
            }
        }
        for ((space, level, _), link) in &self.caches.links {
            if self.is_stale_link(link) {
                let what = format!(
                    "the entry at {} that leads to level {level} of {space:?} is stale",
                    link.from.at
                );
                self.violation("VT-d 6.5.2.3", what);
            }
        }
        self.audit_domains();
        if leaves {
            self.audit_leaves();
        }
    }

    fn audit_leaves(&self) {
        for ((space, _, _), leaf) in &self.caches.leaves {
            if self.is_stale_leaf(leaf) {
                self.violation(
                    "VT-d 6.5.2.3",
                    format!("the translation of {:#x} of {space:?} is stale", leaf.base),
                );
            }
        }
        for ((space, page), absent) in &self.caches.absent {
            if self.is_stale_absent(*page, absent) {
                self.violation(
                    "VT-d 6.1",
                    format!("that {page:#x} of {space:?} is not there is cached and stale"),
                );
            }
        }
    }

    /// Whether a page that was not there is by now. A link on the way may have become present without it: whoever maps a
    /// neighbour owes the neighbour's invalidation.
    fn is_stale_absent(&self, page: u64, absent: &Absent) -> bool {
        let Some((origin, mut level)) = absent.from else { return false };
        let Origin { mut at, value, mask, coherent } = origin;
        if !self.changed(at, value, mask, coherent) {
            return false;
        }
        if absent.nested {
            // What follows lies at intermediate addresses.
            return true;
        }
        // Present is bit 0 in first stages, bits 0 and 1 in second stages; the rest lies in the same places.
        while self.memory.is_allocated(at)
            && let Ok(now) = self.read(at, coherent)
        {
            if now & 3 == 0 {
                return false;
            }
            if level <= 1 || second::PS.in_place(now) != 0 {
                return true;
            }
            level -= 1;
            let shift = second::PAGE_SHIFT + second::LEVEL_BITS * (u32::from(level) - 1);
            at = PhysAddr(second::ADDRESS.in_place(now) + (page >> shift & 0x1ff) * 8);
        }
        true
    }

    /// Equal domain IDs, and for first stages equal PASIDs, must mean equal tables (6.2.1).
    fn audit_domains(&self) {
        let mut seconds = BTreeMap::new();
        let mut firsts = BTreeMap::new();
        let legacy = self.caches.contexts.iter().filter_map(|(source, context)| match &context.words {
            Ok(ContextWords::Legacy(words)) => match meaning::legacy(&self.config, words) {
                SourceMeaning::Translation(t) => Some((*source, None, t)),
                _ => None,
            },
            _ => None,
        });
        let scalable =
            self.caches.pasids.iter().filter_map(|((source, pasid), entry)| {
                match meaning::pasid(&self.config, entry.words.as_ref().ok()?) {
                    PasidMeaning::Translation(t) => Some((*source, Some(*pasid), t)),
                    _ => None,
                }
            });
        for (source, pasid, t) in legacy.chain(scalable) {
            let Translation { domain, first, second, .. } = t;
            // Pass-through of legacy mode is cached with the domain's second stage.
            if second.is_some() || pasid.is_none() {
                let (other, shape) = *seconds.entry(domain).or_insert((source, second));
                self.check_same(source, other, domain, shape == second);
            }
            if let (Some(pasid), true) = (pasid, first.is_some() || second.is_none()) {
                let (other, shape) = *firsts.entry((domain, pasid)).or_insert((source, first));
                self.check_same(source, other, domain, shape == first);
            }
        }
    }

    fn check_same(&self, source: u16, other: u16, domain: u16, same: bool) {
        if !same {
            let what =
                format!("sources {other:#x} and {source:#x} have domain {domain} and different tables");
            self.violation("VT-d 6.2.1", what);
        }
    }
}
