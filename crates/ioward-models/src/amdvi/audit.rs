//! What a quiet unit must not hold: stale entries.

use super::{
    device::{DteMeaning, decode},
    unit::Unit,
};
use ioward_spec::amdvi::{control, entries::v2};
use ioward_types::SourceId;
use std::collections::BTreeMap;

/// Bits 63, 8:6 and 4:1 of a PDE (§2.2.3, Table 18).
const V1_IGNORED: u64 = 0x8000_0000_0000_01de;

impl Unit {
    /// Reports every cached structure that memory contradicts. Only at an instant at which software owes no
    /// invalidation.
    pub fn audit(&self, leaves: bool) {
        for (device, cached) in &self.caches.devices {
            let now =
                self.entry_address(SourceId(u32::from(*device))).and_then(|at| self.read_entry(at).ok());
            if now.as_ref() != Some(cached) {
                self.violation(
                    "48882 §2.4.2",
                    format!("the entry of device {device:#x} changed without INVALIDATE_DEVTAB_ENTRY: {cached:#018x?}"),
                );
            }
        }
        self.audit_domains();
        for ((domain, pasid), entry) in &self.caches.gcr3 {
            if self.changed(entry.from.0, entry.from.1, 0) {
                self.violation(
                    "48882 §2.4.3",
                    format!("the guest CR3 entry of PASID {pasid:?} of domain {domain} changed without invalidation"),
                );
            }
        }
        for ((domain, process), link) in self.caches.all_links() {
            // Bits that hardware ignores are software's, which may change them as it likes.
            let ignored = match process {
                None => V1_IGNORED,
                Some(_) => v2::AVL.mask() | v2::AVL_HIGH.mask(),
            };
            if self.changed(link.from.0, link.from.1, ignored) {
                self.violation(
                    "48882 §2.4.3",
                    format!(
                        "the directory entry at {} of domain {domain} changed without invalidation",
                        link.from.0
                    ),
                );
            }
        }
        if !leaves {
            return;
        }
        for ((domain, pasid), leaf) in self.caches.all_leaves() {
            if self.is_stale(leaf) {
                self.violation(
                    "48882 §2.4.3",
                    format!(
                        "the translation of {:#x} of domain {domain}, PASID {pasid:?}, is stale",
                        leaf.base
                    ),
                );
            }
        }
    }

    /// Devices of one domain ID share what is cached under it, so their tables must be the same.
    fn audit_domains(&self) {
        let mut tables = BTreeMap::new();
        for (device, words) in &self.caches.devices {
            let meaning = decode(&self.config, self.registers.is(control::GT_EN), words);
            let DteMeaning::Translated(entry) = meaning else { continue };
            if meaning.is_blocked() {
                continue;
            }
            let shape = (entry.mode, entry.root, entry.guest);
            let (first, known) = *tables.entry(entry.domain).or_insert((*device, shape));
            if known != shape {
                self.violation(
                    "48882 §2.2.2.1",
                    format!(
                        "devices {first:#x} and {device:#x} have domain {} and different tables",
                        entry.domain
                    ),
                );
            }
        }
    }
}
