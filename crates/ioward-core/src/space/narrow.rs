//! What an address space must not map, and what it must (rule 15); taken back where a newcomer is not served after all.

use super::{AddressSpace, Gather, MapError, layout::Layout};
use crate::{device::AddError, special::physical};
use alloc::vec::Vec;
use ioward_iova::Reserved;
use ioward_types::{Attributes, Iova, Platform, Span};

/// What was asked for a newcomer, so that it can be taken back.
#[derive(Default)]
pub(crate) struct Narrowed {
    reserved: Vec<Reserved>,
    forbidden: Vec<Span<Iova>>,
    required: Vec<Span<Iova>>,
}

impl<P: Platform> AddressSpace<P> {
    /// From now on: nothing in `windows`, nothing beyond `last`, and `regions` mapped one to one, for good. All or nothing.
    pub(crate) fn narrow(
        &self,
        windows: &[Span<Iova>],
        last: Iova,
        regions: &[(Span<Iova>, Attributes)],
    ) -> Result<Narrowed, AddError> {
        let mut narrowed = Narrowed::default();
        let result = self.forbid_into(windows, &mut narrowed).and_then(|()| {
            let lowered = self.lower_iova(last);
            narrowed.reserved.extend(lowered.map_err(|error| AddError::LiveIova(MapError::Iova(error)))?);
            self.require_into(regions, &mut narrowed)
        });
        match result {
            Ok(()) => Ok(narrowed),
            Err(error) => {
                self.widen(narrowed);
                Err(error)
            }
        }
    }

    /// Takes back what [`AddressSpace::narrow`] did.
    pub(crate) fn widen(&self, narrowed: Narrowed) {
        let mut layout = self.snapshot();
        layout.required.retain(|span| !narrowed.required.contains(span));
        layout.forbidden.retain(|span| !narrowed.forbidden.contains(span));
        self.publish(layout);
        for span in narrowed.required {
            // Where an IOMMU does not confirm, its devices are silenced; the region is firmware's and is not reused.
            let _ = self.take_out(span, ()).map(Gather::finish);
        }
        let _nobody_trims = self.own_ranges();
        self.undo_iova(narrowed.reserved);
    }

    /// Maps what firmware requires, one to one, for good: nobody unmaps it, and no IOVA of it is allocated. All or none.
    pub(crate) fn require(&self, regions: &[(Span<Iova>, Attributes)]) -> Result<(), AddError> {
        let mut narrowed = Narrowed::default();
        self.require_into(regions, &mut narrowed).inspect_err(|_| self.widen(narrowed))
    }

    /// Never to map any of these windows. All or none: `Err` names a mapping that is in one.
    pub(crate) fn forbid(&self, windows: &[Span<Iova>]) -> Result<(), AddError> {
        let mut narrowed = Narrowed::default();
        self.forbid_into(windows, &mut narrowed).inspect_err(|_| self.widen(narrowed))
    }

    fn require_into(
        &self,
        regions: &[(Span<Iova>, Attributes)],
        done: &mut Narrowed,
    ) -> Result<(), AddError> {
        // What is required already is mapped: it may be a part of what a newcomer requires.
        let known = self.snapshot().required;
        let less = |(span, how): &(Span<Iova>, Attributes)| {
            let mut left = alloc::vec![*span];
            for taken in &known {
                left = left.iter().flat_map(|span| without(*span, *taken)).collect();
            }
            left.into_iter().map(|span| (span, *how)).collect::<Vec<_>>()
        };
        for (span, how) in regions.iter().flat_map(less) {
            let reserved =
                self.reserve_iova(&[span]).map_err(|used| AddError::RegionInUse(physical(used)))?;
            done.reserved.extend(reserved);
            // SAFETY: firmware owns the region and asks for exactly this.
            unsafe { self.map(span.start, physical(span), how) }.map_err(AddError::LiveIova)?;
            done.required.push(span);
        }
        let mut layout = self.snapshot();
        layout.required.extend(&done.required);
        self.publish(layout);
        Ok(())
    }

    fn forbid_into(&self, windows: &[Span<Iova>], done: &mut Narrowed) -> Result<(), AddError> {
        let layout = self.snapshot();
        let fresh: Vec<Span<Iova>> =
            windows.iter().filter(|window| !layout.forbidden.contains(window)).copied().collect();
        if fresh.is_empty() || crate::mutate::on("rule_15_forbidden") {
            return Ok(());
        }
        // Forbidden first and looked for then: once nobody goes by the old layout, what is not there will not come.
        done.forbidden.extend(&fresh);
        self.publish(Layout {
            forbidden: layout.forbidden.iter().chain(&fresh).copied().collect(),
            ..layout.clone()
        });
        {
            let _no_table_is_freed = self.filling.lock();
            for window in &fresh {
                let carrier = layout.carriers.first();
                let next = carrier.and_then(|carrier| carrier.backing.next_leaf(window.start));
                if let Some(leaf) = next.filter(|leaf| leaf.at.overlaps(window)) {
                    return Err(AddError::RegionInUse(physical(leaf.at)));
                }
            }
        }
        let reserved = self.reserve_iova(&fresh).map_err(|used| AddError::RegionInUse(physical(used)))?;
        done.reserved.extend(reserved);
        Ok(())
    }
}

/// The parts of `span` that are not in `taken`.
fn without(span: Span<Iova>, taken: Span<Iova>) -> Vec<Span<Iova>> {
    if !span.overlaps(&taken) {
        return alloc::vec![span];
    }
    let before =
        (span.start < taken.start).then(|| Span { start: span.start, bytes: taken.start.0 - span.start.0 });
    let after = (span.last() > taken.last())
        .then(|| Span { start: Iova(taken.last().0 + 1), bytes: span.last().0 - taken.last().0 });
    before.into_iter().chain(after).collect()
}
