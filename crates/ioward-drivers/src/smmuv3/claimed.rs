//! What is known of a claimed source.

use super::cd_table::CdTable;
use alloc::collections::BTreeSet;
use ioward_types::{Pasid, Platform, SourceId};

/// One claimed source.
pub(super) struct Claimed<P: Platform> {
    pub source: SourceId,
    pub pasid_bits: u8,
    pub ats: bool,
    /// Its Context descriptors, once there are any.
    pub cds: Option<CdTable<P>>,
    /// The PASIDs that have a table.
    pub pasids: BTreeSet<Pasid>,
    /// What an entry was is not known to be forgotten: a wait was given up.
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
