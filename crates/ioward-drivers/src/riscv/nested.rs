//! Both stages together: a guest's first stage within a second stage (2.1.3.5 to 2.1.3.7, 2.7).
//!
//! What is cached of the two is known by GSCID and PSCID together, so a flush of either table has to reach it: the set here
//! tells which pairs are in use.

use super::{
    RiscVIommu, command,
    command::Command,
    driver::Entries,
    slots::{Claimed, Rid},
    tag::{Meaning, Stage},
};
use alloc::collections::BTreeMap;
use ioward_core::driver::{AtcTarget, Refused, Slot, Translation};
use ioward_types::{Mmio, Platform, SourceId, Tag};

/// The PSCID and GSCID of every source that has both stages.
pub(super) type Pairs = BTreeMap<SourceId, (u32, u32)>;

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// Makes requests of a source without a PASID go through both stages: `first`, whose root and tables are at guest
    /// physical addresses, and `second` below it. Either is a [`Translation::Table`] or [`Translation::Foreign`] with a tag
    /// from this driver. Hitless as [`Driver::install`](ioward_core::driver::Driver::install); whatever that installs takes
    /// the place of both.
    ///
    /// # Errors
    /// [`Refused::Shape`] where the two are not a first and a second stage that the IOMMU can walk,
    /// [`Refused::Unsupported`] where PASIDs are installed. On [`Refused::Hung`] the source is blocked.
    ///
    /// # Safety
    /// As for [`Driver::install`](ioward_core::driver::Driver::install) of `second`: whatever the first stage says, the
    /// source's devices reach what the second stage maps and nothing else.
    pub unsafe fn install_nested(
        &self,
        slot: &Slot,
        first: &Translation<'_>,
        second: &Translation<'_>,
    ) -> Result<(), Refused> {
        let mut entries = self.entries.lock();
        let Entries { directory, slots } = &mut *entries;
        let claimed = slots.get(self.id, slot)?;
        let new = self.nested(first, second)?;
        if !claimed.pasids.is_empty() {
            return Err(Refused::Unsupported {
                iommu: self.id,
                what: "PASIDs beside a second stage of their source",
            });
        }
        let Rid::Nested { first: (_, pscid), second: (_, gscid) } = new else {
            return Err(Refused::Unsupported { iommu: self.id, what: "one stage as two" });
        };
        let source = claimed.source;
        // Whoever flushes from here on flushes this pair too, before anything can be cached for it.
        let old = self.pairs.lock().insert(source, (pscid, gscid));
        self.platform.fence();
        let was_open = super::device_context::is_valid(&directory.read(source));
        let settled = self.settle(directory, claimed);
        // No command that names one stage alone reaches what was cached of the two from before bring-up, or under numbers
        // that have been used before.
        let fresh = settled.and_then(|()| self.run(&[command::inval_vma_guest(gscid)]));
        let mut done = fresh.and_then(|()| self.write_source(directory, claimed, new));
        if done.is_ok() && was_open && claimed.ats {
            done = self.run(&[command::atc_inval_all(AtcTarget { source, pasid: None })]);
        }
        claimed.unconfirmed |= done.is_err();
        done.map_err(|hung| {
            // What was there before may be cached as well.
            if let Some((_, gscid)) = old {
                let _ = self.run(&[command::inval_vma_guest(gscid)]);
            }
            let _ = self.block_source(&mut entries, slot, false);
            hung.into()
        })
    }

    fn nested(&self, first: &Translation<'_>, second: &Translation<'_>) -> Result<Rid, Refused> {
        match (self.check(first)?, self.check(second)?) {
            (Rid::Table { walk: one, id: pscid }, Rid::Table { walk: other, id: gscid })
                if (one.stage, other.stage) == (Stage::First, Stage::Second) =>
            {
                Ok(Rid::Nested { first: (one, pscid), second: (other, gscid) })
            }
            _ => Err(Refused::Unsupported {
                iommu: self.id,
                what: "two stages other than a first and a second",
            }),
        }
    }

    /// After a source has left its pair, confirmed so.
    pub(super) fn leave_pair(&self, claimed: &Claimed<P>) {
        if !matches!(claimed.rid, Rid::Nested { .. }) && !claimed.unconfirmed {
            self.pairs.lock().remove(&claimed.source);
        }
    }

    /// Whether a tag is of the second stage below a source's first: a device knows addresses of the first alone.
    pub(super) fn is_second_of(&self, source: SourceId, tag: Tag) -> bool {
        let pair = self.pairs.lock().get(&source).copied();
        Meaning::decode(tag)
            .is_some_and(|tag| tag.stage == Stage::Second && pair.is_some_and(|(_, gscid)| gscid == tag.id))
    }

    /// What else a flush of this tag has to reach: translations through both stages, whatever their addresses, since what
    /// is cached of the two together is known by the first stage's addresses alone.
    pub(super) fn nested_commands(&self, tag: Tag, each: &mut impl FnMut(Command)) {
        let Some(meaning) = Meaning::decode(tag) else { return };
        let pairs = self.pairs.lock();
        let mut told = None;
        for &(pscid, gscid) in pairs.values() {
            let command = match meaning.stage {
                Stage::First if meaning.id == pscid => command::inval_vma_guest_process(gscid, pscid),
                Stage::Second if meaning.id == gscid => command::inval_vma_guest(gscid),
                _ => continue,
            };
            if told != Some(command) {
                each(command);
                told = Some(command);
            }
        }
    }
}
