//! Groups: the smallest sets of functions that IOMMUs and fabric can tell apart from all others, and why.
//!
//! Two policies implement [`Policy`]: [`Linux`] computes what the Linux kernel of today computes, order dependence and
//! quirks included; [`Fabric`] reads ACS as the specification means it. Where they differ, Linux splits what the fabric
//! does not, or the other way round: see [`differences`].
//!
//! Each group carries a [`Reason`] for each member but the first. A reason holds facts, [`Cause`]s, that
//! [`Topology::without`](crate::Topology::without) can take away; then the group splits, and a test does so for every
//! reason of every machine it has.

pub mod acs_override;
mod fabric;
mod isolation;
mod linux;
mod reason;
pub mod remedy;

pub use fabric::{Assume, Fabric, RootPorts};
pub use isolation::{Basis, Isolation};
pub use linux::Linux;
pub use reason::{Cause, Lack, Reason};

use crate::{Bdf, Topology};
use alloc::{collections::BTreeMap, vec::Vec};

/// A way to compute groups.
pub trait Policy {
    /// Its name, as the program's options have it.
    fn name(&self) -> &'static str;
    /// The groups of a machine.
    fn groups(&self, topology: &Topology) -> Grouping;
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its number: groups count from 0 in the order in which they came to be.
    pub id: u32,
    /// Its functions, ascending.
    pub members: Vec<Bdf>,
    /// Why they are together: at least one reason for each member but one.
    pub reasons: Vec<Reason>,
}

/// The groups of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grouping {
    /// The groups, by number.
    pub groups: Vec<Group>,
    /// Functions whose group depends on something that nobody could read or that was assumed, ascending.
    pub unsure: Vec<Bdf>,
    /// Functions that have no group: IOMMUs, which translate for others.
    pub without: Vec<Bdf>,
    /// By function, ascending: the group.
    by_function: Vec<(Bdf, u32)>,
}

impl Grouping {
    /// `group_of[i]`: the group of function `i`, numbered without gaps from 0.
    pub(crate) fn build(
        topology: &Topology,
        group_of: &[Option<u32>],
        sure: &[bool],
        reasons: Vec<Reason>,
    ) -> Self {
        let mut grouping = Self::default();
        for (index, group) in group_of.iter().enumerate() {
            let at = topology.functions()[index].at;
            let Some(group) = *group else {
                grouping.without.push(at);
                continue;
            };
            while grouping.groups.len() <= group as usize {
                let id = grouping.groups.len() as u32;
                grouping.groups.push(Group { id, members: Vec::new(), reasons: Vec::new() });
            }
            grouping.groups[group as usize].members.push(at);
            grouping.by_function.push((at, group));
            if !sure[index] {
                grouping.unsure.push(at);
            }
        }
        for reason in reasons {
            if let Some(group) = grouping.number_of(reason.member) {
                grouping.groups[group as usize].reasons.push(reason);
            }
        }
        grouping
    }

    fn number_of(&self, function: Bdf) -> Option<u32> {
        let place = self.by_function.binary_search_by_key(&function, |&(at, _)| at).ok()?;
        Some(self.by_function[place].1)
    }

    /// The group of a function.
    pub fn group_of(&self, function: Bdf) -> Option<&Group> {
        self.groups.get(self.number_of(function)? as usize)
    }

    /// Whether two functions are in one group.
    pub fn together(&self, one: Bdf, other: Bdf) -> bool {
        let (one, other) = (self.number_of(one), self.number_of(other));
        one.is_some() && one == other
    }
}

/// A pair of functions that one policy puts together and another does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// A function of a group of the policy that joins.
    pub joined: Bdf,
    /// The function it is joined with.
    pub with: Bdf,
}

/// Where `finer` splits what `coarser` keeps together: for each such group one pair for each part beyond the first.
pub fn differences(finer: &Grouping, coarser: &Grouping) -> Vec<Difference> {
    let mut found = Vec::new();
    for group in &coarser.groups {
        let mut parts: BTreeMap<u32, Bdf> = BTreeMap::new();
        for &member in &group.members {
            if let Some(part) = finer.group_of(member) {
                parts.entry(part.id).or_insert(member);
            }
        }
        let mut firsts: Vec<Bdf> = parts.into_values().collect();
        firsts.sort();
        if let Some((&with, rest)) = firsts.split_first() {
            found.extend(rest.iter().map(|&joined| Difference { joined, with }));
        }
    }
    found
}
