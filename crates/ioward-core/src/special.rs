//! What is special about addresses for a group, and which of it an address space holds (rule 15).

use crate::{
    device::{AddError, DeviceId, GroupId, RegionKind, Source},
    space::{AddressSpace, Want},
    state::State,
};
use alloc::vec::Vec;
use ioward_types::{Attributes, Iova, PhysAddr, Platform, Span};

/// Who uses an address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The kernel's DMA API: what firmware requires and doorbells are mapped.
    Kernel,
    /// Nobody: only what firmware requires.
    Parked,
    /// An owner: only doorbells, without which its devices have no interrupts.
    Owner,
    /// Requests with a PASID, and messages have none: nothing.
    Pasid,
}

/// What is special about addresses for a group, in whole pages.
pub struct Special {
    required: Vec<(Span<Iova>, Attributes)>,
    doorbells: Vec<(Span<Iova>, Attributes)>,
    /// What must not be mapped.
    pub forbidden: Vec<Span<Iova>>,
}

impl Special {
    /// What is mapped from the start. Overlaps become one, with the rights of both.
    pub fn mapped(&self, is_for: Use) -> Vec<(Span<Iova>, Attributes)> {
        let required = matches!(is_for, Use::Kernel | Use::Parked);
        let mut all = if required { self.required.clone() } else { Vec::new() };
        if matches!(is_for, Use::Kernel | Use::Owner) && !crate::mutate::on("rule_15_doorbell") {
            self.doorbells.iter().for_each(|(span, how)| merge_into(&mut all, *span, *how));
        }
        all
    }
}

impl<P: Platform> State<P> {
    /// Maps the doorbells of a group's devices into an address space that was made for somebody else.
    pub fn ring(&self, group: GroupId, space: &AddressSpace<P>) -> Result<(), AddError> {
        if space.registry() != self.registry {
            return Err(AddError::OtherSubsystem);
        }
        let sources = self.sources(group, None);
        let wants = self.wants(&sources, None, &self.requirements(group, None))?;
        let special = self.region_spans(group, None, space.granule(), &wants)?;
        space.require(&special.mapped(Use::Owner))
    }

    /// What their IOMMUs say must not be mapped for each of these sources alone.
    pub fn reserved(&self, sources: &[Source]) -> Vec<Span<Iova>> {
        let entries = sources.iter().filter_map(|source| self.entries.get(source));
        let mut all: Vec<_> = entries.flat_map(|entry| entry.driver.reserved(&entry.slot)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is special about addresses for the group's members, in pages of `granule`.
    pub fn region_spans(
        &self,
        group: GroupId,
        newcomer: Option<DeviceId>,
        granule: u64,
        wants: &[Want],
    ) -> Result<Special, AddError> {
        let (mut required, mut doorbells) = (Vec::new(), Vec::new());
        let mut forbidden: Vec<Span<Iova>> =
            wants.iter().flat_map(|want| want.driver.forbidden()).copied().collect();
        forbidden.extend(self.reserved(&self.sources(group, newcomer)));
        for region in self.regions(group, newcomer) {
            let span = Span { start: Iova(region.span.start.0), bytes: region.span.bytes };
            let span = span.align_outward(granule).ok_or(AddError::RegionsOverlap(region.span))?;
            match region.kind {
                RegionKind::Forbidden => forbidden.push(span),
                RegionKind::Required { how, .. } => merge_into(&mut required, span, how),
                RegionKind::Doorbell => merge_into(&mut doorbells, span, Attributes::DOORBELL),
            }
        }
        let clash = required.iter().find(|(span, _)| forbidden.iter().any(|other| other.overlaps(span)));
        match clash {
            Some((span, _)) => Err(AddError::RegionsOverlap(physical(*span))),
            None => {
                // Where firmware keeps the addresses from the IOMMU, messages go there untranslated.
                doorbells.retain(|(span, _)| !forbidden.iter().any(|other| other.overlaps(span)));
                Ok(Special { required, doorbells, forbidden })
            }
        }
    }
}

/// Adds a span; spans that overlap become one with the rights of both.
fn merge_into(spans: &mut Vec<(Span<Iova>, Attributes)>, mut span: Span<Iova>, mut how: Attributes) {
    spans.retain(|(other, rights)| {
        if !other.overlaps(&span) {
            return true;
        }
        let (first, last) = (span.start.min(other.start), span.last().max(other.last()));
        span = Span::inclusive(first, last).unwrap_or(span);
        how = Attributes { read: how.read | rights.read, write: how.write | rights.write, ..how };
        false
    });
    spans.push((span, how));
}

/// Where a region that is mapped one to one lies in physical memory.
pub(crate) fn physical(span: Span<Iova>) -> Span<PhysAddr> {
    Span { start: PhysAddr(span.start.0), bytes: span.bytes }
}
