//! What is known of a claimed source.

use super::{msi::MsiPointer, plan::Walk, process_directory::ProcessDirectory, tag::Stage};
use alloc::collections::BTreeMap;
use ioward_types::{Pasid, Platform, SourceId};

/// What requests without a PASID go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rid {
    /// Nothing.
    Blocked,
    /// No table.
    Identity,
    /// A table, under a PSCID or GSCID as its stage has it.
    Table { walk: Walk, id: u32 },
    /// Both stages, each with its PSCID or GSCID.
    Nested { first: (Walk, u32), second: (Walk, u32) },
}

impl Rid {
    /// The GSCID, where there is a second stage.
    pub fn gscid(&self) -> Option<u32> {
        match *self {
            Self::Table { walk, id } if walk.stage == Stage::Second => Some(id),
            Self::Nested { second: (_, id), .. } => Some(id),
            _ => None,
        }
    }
}

/// One claimed source.
pub(super) struct Claimed<P: Platform> {
    pub source: SourceId,
    pub pasid_bits: u8,
    pub ats: bool,
    pub rid: Rid,
    /// Its process directory, where it may have PASIDs.
    pub directory: Option<ProcessDirectory<P>>,
    /// The PASIDs that have a table, and whether hardware sets dirty state in it.
    pub pasids: BTreeMap<Pasid, bool>,
    /// The MSI page table beside its second stage.
    pub msi: Option<MsiPointer>,
    /// What a context was is not known to be forgotten: a wait was given up.
    pub unconfirmed: bool,
}

impl<P: Platform> crate::slots::Claimed for Claimed<P> {
    fn source(&self) -> SourceId {
        self.source
    }
    fn is_unconfirmed(&self) -> bool {
        self.unconfirmed
    }
}
