//! The way from one function of a group to another through the reasons that tie them.

use crate::passthrough::is_passive;
use ioward::pci::{
    Bdf, Topology,
    groups::{Cause, Difference, Group, Grouping, Reason, differences},
};
use std::collections::{BTreeMap, VecDeque};

/// The ways from one member of a group to all others.
pub struct Ways<'a> {
    from: Bdf,
    /// By member: the one before it on the way, and the reason that ties the two.
    came: BTreeMap<Bdf, (Bdf, &'a Reason)>,
}

impl<'a> Ways<'a> {
    /// From this member.
    pub fn from(group: &'a Group, from: Bdf) -> Self {
        let mut ties: BTreeMap<Bdf, Vec<&Reason>> = BTreeMap::new();
        for reason in &group.reasons {
            ties.entry(reason.member).or_default().push(reason);
            ties.entry(reason.with).or_default().push(reason);
        }
        let mut came: BTreeMap<Bdf, (Bdf, &Reason)> = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            for reason in ties.get(&at).into_iter().flatten() {
                let next = if reason.member == at { reason.with } else { reason.member };
                if next != from && !came.contains_key(&next) {
                    came.insert(next, (at, reason));
                    open.push_back(next);
                }
            }
        }
        Self { from, came }
    }

    /// The fewest reasons that lead to another member, in order; empty where it is the same one or no reasons do.
    pub fn to(&self, to: Bdf) -> Vec<&'a Reason> {
        let mut way = Vec::new();
        let mut at = to;
        while at != self.from {
            let Some((before, reason)) = self.came.get(&at) else { return Vec::new() };
            way.push(*reason);
            at = *before;
        }
        way.reverse();
        way
    }

    /// The facts on that way, none twice.
    pub fn causes_to(&self, to: Bdf) -> Vec<Cause> {
        let mut causes: Vec<Cause> = Vec::new();
        for cause in self.to(to).iter().flat_map(|reason| &reason.causes) {
            if !causes.contains(cause) {
                causes.push(*cause);
            }
        }
        causes
    }
}

/// Functions that one policy keeps apart and another together, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct Split {
    /// The pair: of each part a function that can be given away, if it has one.
    pub pair: Difference,
    /// One of the two parts has nothing but bridges, so no two guests can have both.
    pub harmless: bool,
    /// What ties them, as the policy sees it that joins them; no cause twice.
    pub causes: Vec<Cause>,
}

/// Where `finer` splits what `coarser` keeps together. With Linux's groups as the finer ones and the fabric's as the
/// coarser, each is a hole: what Linux gives to two guests can reach each other.
pub fn splits(topology: &Topology, finer: &Grouping, coarser: &Grouping) -> Vec<Split> {
    let is_active =
        |at: Bdf| topology.find(at).is_some_and(|index| !is_passive(&topology.functions()[index]));
    let mut found = Vec::new();
    let mut ways: Option<(Bdf, Ways<'_>)> = None;
    for pair in differences(finer, coarser) {
        let Some(group) = coarser.group_of(pair.joined) else { continue };
        // What people know is a device rather than the port that it is below.
        let active = |at: Bdf| {
            let part = finer.group_of(at).map_or(&[][..], |part| &part.members[..]);
            part.iter().copied().find(|&member| is_active(member) && coarser.together(member, at))
        };
        let (joined, with) = (active(pair.joined), active(pair.with));
        // All pairs of a group begin with the same function.
        if ways.as_ref().is_none_or(|(from, _)| *from != pair.with) {
            ways = Some((pair.with, Ways::from(group, pair.with)));
        }
        let mut causes = ways.as_ref().map_or_else(Vec::new, |(_, ways)| ways.causes_to(pair.joined));
        causes.reverse();
        let harmless = joined.is_none() || with.is_none();
        let pair = Difference { joined: joined.unwrap_or(pair.joined), with: with.unwrap_or(pair.with) };
        found.push(Split { pair, harmless, causes });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bdf(device: u8) -> Bdf {
        Bdf::new(0, 0, device, 0)
    }

    #[test]
    fn the_shortest_way_is_found_in_either_direction() {
        let reason = |member, with| {
            let causes = vec![Cause::Owned { function: bdf(member), controller: bdf(with) }];
            Reason { member: bdf(member), with: bdf(with), causes }
        };
        let reasons = vec![reason(2, 1), reason(3, 2), reason(4, 1), reason(4, 3)];
        let group = Group { id: 0, members: (1..=4).map(bdf).collect(), reasons };
        let way = |from, to| -> Vec<(Bdf, Bdf)> {
            let ways = Ways::from(&group, bdf(from));
            ways.to(bdf(to)).iter().map(|reason| (reason.member, reason.with)).collect()
        };
        assert_eq!(way(3, 1).len(), 2);
        assert_eq!(way(1, 4), [(bdf(4), bdf(1))]);
        assert_eq!(way(1, 1), []);
        assert_eq!(way(1, 9), []);
    }
}
