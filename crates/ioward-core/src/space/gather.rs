//! The owner of what must not be reused until an invalidation is confirmed.

use super::{AddressSpace, MAX_CARRIERS, carrier::Removed};
use crate::driver::Hung;
use core::{fmt, mem};
use ioward_types::{Iova, Platform, Span};

/// Owns what a device may still reach: the caller's pages and detached tables.
///
/// Finished: they come back. Dropped: flushed first. Forgotten: leaked. Hung hardware: quarantined. Never dangling.
#[must_use = "the pages come back from `finish`"]
pub struct Gather<'s, P: Platform, O> {
    space: &'s AddressSpace<P>,
    span: Span<Iova>,
    owner: Option<O>,
    removed: [Option<Removed<P>>; MAX_CARRIERS],
}

impl<'s, P: Platform, O> Gather<'s, P, O> {
    pub(super) fn new(
        space: &'s AddressSpace<P>,
        span: Span<Iova>,
        owner: O,
        removed: [Option<Removed<P>>; MAX_CARRIERS],
    ) -> Self {
        Self { space, span, owner: Some(owner), removed }
    }

    /// What was unmapped.
    pub fn span(&self) -> Span<Iova> {
        self.span
    }

    /// Flushes, and gives the owner back. On `Err` an IOMMU did not confirm: its devices are silenced, and everything that
    /// the gather owned is withheld for ever.
    pub fn finish(mut self) -> Result<O, Hung> {
        match self.settle() {
            Some(result) => result,
            None => unreachable!("a gather is settled once: here or in `drop`"),
        }
    }

    fn settle(&mut self) -> Option<Result<O, Hung>> {
        let owner = self.owner.take()?;
        let tables_went = self.removed.iter().flatten().any(|removed| removed.tables_went);
        let asked = self.removed.iter().flatten().find_map(|removed| removed.hung);
        let flushed = self.space.flush(self.span, tables_went);
        match asked.map_or(flushed, Err) {
            Ok(()) => {
                self.removed
                    .iter_mut()
                    .filter_map(Option::take)
                    .for_each(|removed| self.space.free(removed, true));
                Some(Ok(owner))
            }
            Err(hung) => {
                mem::forget(owner);
                self.space.quarantine(self.span.bytes);
                Some(Err(hung))
            }
        }
    }
}

impl<P: Platform, O> Drop for Gather<'_, P, O> {
    fn drop(&mut self) {
        // Hung hardware has been counted and silenced; there is nobody left to tell.
        let _ = self.settle();
    }
}

impl<P: Platform, O> fmt::Debug for Gather<'_, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gather({})", self.span)
    }
}
