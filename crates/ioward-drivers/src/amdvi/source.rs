//! A claimed source: what its requests go through, and the entry that says so.

use super::entry::{Entry, GuestTables, HostTable};
use super::forget::Forget;
use super::guest_cr3::GuestCr3;
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::Claim;
use ioward_types::{PhysAddr, Platform};

/// What requests without a PASID go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rid {
    /// Nothing.
    Blocked,
    /// No table.
    Identity,
    /// A v1 table.
    Host {
        /// Its domain ID.
        tag: u16,
        /// The table.
        table: HostTable,
    },
    /// A v2 table, as PASID zero.
    Guest {
        /// Its carrier.
        tag: u16,
        /// Its root.
        root: PhysAddr,
        /// It has five levels, not four.
        five: bool,
    },
}

/// The IDs that entries without a table of their own carry, and the page of which they reach nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fixed {
    pub blocked: u16,
    pub identity: u16,
    pub nothing: PhysAddr,
    /// Levels of the empty host table in blocked entries: one, or none where there are no host tables.
    pub levels: u8,
}

impl Fixed {
    /// An entry that reaches nothing.
    pub fn blocked(&self) -> Entry {
        Entry::blocked(self.blocked, self.nothing, self.levels)
    }
}

/// A guest CR3 table and the domain ID that everything behind it is cached under.
pub(super) struct Behind<P: Platform> {
    pub table: GuestCr3<P>,
    pub domain: u16,
}

/// One claimed source.
pub(super) struct Source<P: Platform> {
    pub claim: Claim,
    pub rid: Rid,
    /// What is attached behind each PASID: the carrier's tag.
    pub pasids: BTreeMap<u32, u16>,
    /// Tables behind PASIDs have five levels, not four. All of a source have equally many.
    pub five: bool,
    pub behind: Option<Behind<P>>,
    /// What caches may hold of earlier states, since it was never confirmed that they do not.
    pub owed: Vec<Forget>,
}

impl<P: Platform> Source<P> {
    /// A source that reaches nothing.
    pub fn new(claim: &Claim) -> Self {
        let (pasids, owed) = (BTreeMap::new(), Vec::new());
        Self { claim: *claim, rid: Rid::Blocked, pasids, five: false, behind: None, owed }
    }

    /// Whether anything is reached through the guest CR3 table.
    pub fn uses_guest(&self) -> bool {
        matches!(self.rid, Rid::Guest { .. }) || !self.pasids.is_empty()
    }

    /// The entry that says what this is.
    pub fn entry(&self, fixed: &Fixed) -> Entry {
        let ats = self.claim.ats;
        if let (true, Some(behind)) = (self.uses_guest(), &self.behind) {
            let five = match self.rid {
                Rid::Guest { five, .. } => five,
                _ => self.five,
            };
            let tables = GuestTables {
                root: behind.table.root(),
                levels: behind.table.levels(),
                five,
                // A blocked RID beside PASIDs is PASID zero with nothing in its place.
                rid: self.rid != Rid::Identity,
            };
            return Entry::guest(behind.domain, &tables, ats);
        }
        match &self.rid {
            Rid::Identity => Entry::identity(fixed.identity, ats),
            Rid::Host { tag, table } => Entry::host(*tag, table, ats),
            Rid::Blocked | Rid::Guest { .. } => fixed.blocked(),
        }
    }
}
