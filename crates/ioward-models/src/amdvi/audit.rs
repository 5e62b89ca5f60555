//! What a quiet unit must not hold: stale entries.

use super::unit::Unit;
use ioward_types::SourceId;

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
        for ((domain, pasid), entry) in &self.caches.gcr3 {
            if self.changed(entry.from.0, entry.from.1) {
                self.violation(
                    "48882 §2.4.3",
                    format!("the guest CR3 entry of PASID {pasid:?} of domain {domain} changed without invalidation"),
                );
            }
        }
        for ((domain, _), link) in self.caches.all_links() {
            if self.changed(link.from.0, link.from.1) {
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
}
