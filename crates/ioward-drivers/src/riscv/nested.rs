//! Both stages together: a guest's first stage within a second stage (2.1.3.5 to 2.1.3.7, 2.7).
//!
//! What is cached of the two is known by GSCID and PSCID together, so a flush of either table has to reach it: the set here
//! tells which pairs are in use.

use super::{
    RiscVIommu,
    claimed::{Claimed, Rid},
    command,
    command::Command,
    driver::Entries,
    plan::Walk,
    tag::{Meaning, Stage},
};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::{AtcTarget, Refused, Slot, Translation};
use ioward_types::{Mmio, Platform, SourceId, Tag};

/// The PSCID and GSCID of every source that has both stages; while one pair takes the place of another, and for as long as
/// that was not confirmed, both.
pub(super) type Pairs = BTreeMap<SourceId, Vec<(u32, u32)>>;

/// A stage that has been checked, with its PSCID or GSCID.
type Staged = (Walk, u32);

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// Makes requests of a source without a PASID go through both stages: `first`, whose root and tables are at guest
    /// physical addresses, and `second` below it. Either is a [`Translation::Table`] or [`Translation::Foreign`] with a tag
    /// from this driver. Hitless as [`Driver::install`](ioward_core::driver::Driver::install); whatever that installs takes
    /// the place of both.
    ///
    /// # Errors
    /// As for [`Driver::install`](ioward_core::driver::Driver::install) of either; [`Refused::Unsupported`] where the two are
    /// not a first and a second stage, and where PASIDs are installed. On [`Refused::Hung`] the source is blocked.
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
        let (first, second) = self.stages(first, second)?;
        if !claimed.pasids.is_empty() {
            return Err(Refused::Unsupported {
                iommu: self.id,
                what: "PASIDs beside a second stage of their source",
            });
        }
        let (source, gscid) = (claimed.source, second.1);
        // Whoever flushes from here on flushes this pair too, before anything can be cached for it, and goes on flushing the
        // one that it replaces until nothing of that is left.
        self.pairs.lock().entry(source).or_default().push((first.1, gscid));
        self.platform.fence();
        let was_open = super::device_context::is_valid(&directory.read(source));
        let settled = self.settle(directory, claimed);
        // No command that names one stage alone reaches what was cached of the two from before bring-up, or under numbers
        // that have been used before.
        let fresh = settled.and_then(|()| self.run(&[command::inval_vma_guest(gscid)]));
        let new = Rid::Nested { first, second };
        let mut done = fresh.and_then(|()| self.write_source(directory, claimed, new));
        if done.is_ok() && was_open && claimed.ats {
            done = self.run(&[command::atc_inval_all(AtcTarget { source, pasid: None })]);
        }
        claimed.unconfirmed |= done.is_err();
        self.leave_pair(claimed);
        done.map_err(|hung| {
            let _ = self.block_source(&mut entries, slot, false);
            hung.into()
        })
    }

    /// Both, checked.
    fn stages(&self, first: &Translation<'_>, second: &Translation<'_>) -> Result<(Staged, Staged), Refused> {
        match (self.check(first)?, self.check(second)?) {
            (Rid::Table { walk: one, id: pscid }, Rid::Table { walk: other, id: gscid })
                if (one.stage, other.stage) == (Stage::First, Stage::Second) =>
            {
                Ok(((one, pscid), (other, gscid)))
            }
            _ => Err(Refused::Unsupported {
                iommu: self.id,
                what: "two stages other than a first and a second",
            }),
        }
    }

    /// Forgets the pairs that a source had before what it has now, once that is confirmed.
    pub(super) fn leave_pair(&self, claimed: &Claimed<P>) {
        if claimed.unconfirmed {
            return;
        }
        let mut pairs = self.pairs.lock();
        match claimed.rid {
            Rid::Nested { first: (_, pscid), second: (_, gscid) } => {
                pairs.insert(claimed.source, [(pscid, gscid)].into());
            }
            _ => drop(pairs.remove(&claimed.source)),
        }
    }

    /// Whether a tag is of the second stage below a source's first: a device knows addresses of the first alone.
    pub(super) fn is_second_of(&self, source: SourceId, tag: Tag) -> bool {
        let Some(Meaning { stage: Stage::Second, id }) = Meaning::decode(tag) else { return false };
        self.pairs.lock().get(&source).is_some_and(|pairs| pairs.iter().any(|(_, gscid)| *gscid == id))
    }

    /// What else a flush of this tag has to reach: translations through both stages, whatever their addresses, since what
    /// is cached of the two together is known by the first stage's addresses alone.
    pub(super) fn nested_commands(&self, tag: Tag, each: &mut impl FnMut(Command)) {
        let Some(meaning) = Meaning::decode(tag) else { return };
        let pairs = self.pairs.lock();
        let mut told = None;
        for &(pscid, gscid) in pairs.values().flatten() {
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
