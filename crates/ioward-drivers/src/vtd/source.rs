//! A claimed source: what its requests go through.

use super::domain_id::Target;
use super::forget::Forget;
use super::pasid_table::PasidTable;
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::Claim;
use ioward_types::{PhysAddr, Platform};

/// What requests go through, with one PASID or without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// No table.
    Identity,
    /// A second-stage table.
    Second {
        /// Its domain ID.
        tag: u16,
        /// Its root.
        root: PhysAddr,
        /// Its levels.
        levels: u8,
        /// Hardware sets accessed and dirty bits.
        dirty: bool,
    },
    /// A first-stage table.
    First {
        /// Its domain ID.
        tag: u16,
        /// Its root.
        root: PhysAddr,
        /// It has five levels, not four.
        five: bool,
        /// Every access through it snoops CPU caches.
        snoop: bool,
    },
}

impl Held {
    /// What caches know its translations by; `identity` is the domain of pass-through.
    pub fn domain(&self, identity: u16) -> u16 {
        match self {
            Self::Identity => identity,
            Self::Second { tag, .. } | Self::First { tag, .. } => *tag,
        }
    }

    /// The carrier's tag, if it has one.
    pub fn tag(&self) -> Option<u16> {
        match self {
            Self::Identity => None,
            Self::Second { tag, .. } | Self::First { tag, .. } => Some(*tag),
        }
    }

    /// Where a first-stage carrier hangs when it is behind a PASID.
    pub fn first(&self, pasid: u32) -> Option<Target> {
        match self {
            Self::First { tag, .. } => Some(Target { domain: *tag, pasid }),
            _ => None,
        }
    }

    /// Under what its translations are cached where they are found by PASID, and not by domain alone.
    pub fn by_pasid(&self, pasid: u32, identity: u16, scalable: bool) -> Option<Target> {
        match self {
            Self::First { tag, .. } => Some(Target { domain: *tag, pasid }),
            Self::Identity if scalable => Some(Target { domain: identity, pasid }),
            _ => None,
        }
    }
}

/// The PASID that stands for requests without one.
pub(super) const RID_PASID: u32 = 0;

/// One claimed source.
pub(super) struct Source<P: Platform> {
    pub claim: Claim,
    /// What requests without a PASID go through; none: nothing. In scalable mode this is PASID zero's.
    pub rid: Option<Held>,
    /// What is attached behind each PASID.
    pub pasids: BTreeMap<u32, Held>,
    /// The directory and tables of PASIDs; none in legacy mode.
    pub table: Option<PasidTable<P>>,
    /// What caches may hold of earlier states, since it was never confirmed that they do not.
    pub owed: Vec<Forget>,
    /// Where first-stage carriers hung when that was not confirmed: flushes go there too, until it is.
    pub stale: Vec<Target>,
}

impl<P: Platform> Source<P> {
    /// A source that reaches nothing.
    pub fn new(claim: &Claim, table: Option<PasidTable<P>>) -> Self {
        let (owed, stale) = (Vec::new(), Vec::new());
        Self { claim: *claim, rid: None, pasids: BTreeMap::new(), table, owed, stale }
    }

    /// Whether its context entry is present.
    pub fn is_open(&self) -> bool {
        self.rid.is_some() || !self.pasids.is_empty()
    }

    /// What is behind a PASID, zero meaning requests without one.
    pub fn held(&self, pasid: u32) -> Option<Held> {
        if pasid == RID_PASID { self.rid } else { self.pasids.get(&pasid).copied() }
    }

    /// Everything that is held, with its PASID.
    pub fn all(&self) -> impl Iterator<Item = (u32, Held)> + '_ {
        let own = self.rid.map(|held| (RID_PASID, held));
        own.into_iter().chain(self.pasids.iter().map(|(pasid, held)| (*pasid, *held)))
    }

    /// Puts something behind a PASID, zero meaning requests without one, or takes it away; tells what was there.
    pub fn hold(&mut self, pasid: u32, held: Option<Held>) -> Option<Held> {
        match (pasid, held) {
            (RID_PASID, held) => core::mem::replace(&mut self.rid, held),
            (pasid, Some(held)) => self.pasids.insert(pasid, held),
            (pasid, None) => self.pasids.remove(&pasid),
        }
    }

    /// Where first-stage carriers hang.
    pub fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.all().filter_map(|(pasid, held)| held.first(pasid))
    }

    /// Whether anything of it is under a tag.
    pub fn holds(&self, tag: u16) -> bool {
        self.all().any(|(_, held)| held.tag() == Some(tag))
    }
}
