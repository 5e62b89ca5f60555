//! What became of groups: which split, which joined, and which facts came or went.

use ioward::pci::{
    Bdf,
    groups::{Group, Grouping, Reason},
};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// A place, written as text.
fn place<S: Serializer>(at: &Bdf, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

fn places<S: Serializer>(groups: &[Vec<Bdf>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(groups.iter().map(|group| group.iter().map(Bdf::to_string).collect::<Vec<_>>()))
}

/// What happened to some groups that share functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One became several.
    Split,
    /// Several became one.
    Joined,
    /// Several became several others.
    Regrouped,
    /// One has more functions, which were in no group before.
    Gained,
    /// One has fewer functions, and what left is in no group.
    Lost,
    /// One whose functions are all new.
    New,
    /// One whose functions are all gone.
    Gone,
}

/// Groups that share functions, before and after, where they are not the same.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// The groups that were there, functions ascending, by the names of before.
    #[serde(serialize_with = "places")]
    pub before: Vec<Vec<Bdf>>,
    /// The groups that are there, by the names of after.
    #[serde(serialize_with = "places")]
    pub after: Vec<Vec<Bdf>>,
    /// What tied functions that are apart now, and what ties functions that were apart.
    pub why: Vec<Tie>,
}

/// What ties two functions, or did.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Tie {
    /// It holds now and did not matter before; otherwise it did before and does not any more.
    pub holds: bool,
    /// A function, by the name of the time at which it held.
    #[serde(serialize_with = "place")]
    pub member: Bdf,
    /// The other.
    #[serde(serialize_with = "place")]
    pub with: Bdf,
    /// The facts, in words.
    pub causes: Vec<String>,
}

/// Compares groups before and after. `renamed` gives the name of before for a name of after, and none for what is new.
pub fn compare(before: &Grouping, after: &Grouping, renamed: &dyn Fn(Bdf) -> Option<Bdf>) -> Vec<Change> {
    // Functions by their names of before; those that are new have none, and a group of them alone is new.
    let old: BTreeMap<Bdf, usize> = members(before).collect();
    let now: BTreeMap<Bdf, (Bdf, usize)> =
        members(after).filter_map(|(at, group)| Some((renamed(at)?, (at, group)))).collect();
    let mut clusters = Clusters::new(before.groups.len() + after.groups.len());
    for (at, group) in &old {
        if let Some((_, new)) = now.get(at) {
            clusters.join(*group, before.groups.len() + new);
        }
    }
    let mut parts: BTreeMap<usize, (Vec<&Group>, Vec<&Group>)> = BTreeMap::new();
    for (number, group) in before.groups.iter().enumerate() {
        parts.entry(clusters.find(number)).or_default().0.push(group);
    }
    for (number, group) in after.groups.iter().enumerate() {
        parts.entry(clusters.find(before.groups.len() + number)).or_default().1.push(group);
    }
    let group_before = |at: Bdf| renamed(at).and_then(|at| old.get(&at).copied());
    let group_after = |at: Bdf| now.get(&at).map(|(_, group)| *group);
    let mut changes = Vec::new();
    for (was, is) in parts.into_values() {
        let kind = match (&was[..], &is[..]) {
            ([], _) => Kind::New,
            (_, []) => Kind::Gone,
            ([was], [is]) => {
                let stayed =
                    is.members.iter().filter(|at| renamed(**at).is_some_and(|at| was.members.contains(&at)));
                match (stayed.count(), was.members.len(), is.members.len()) {
                    (all, was, is) if all == was && all == is => continue,
                    (all, was, _) if all == was => Kind::Gained,
                    (all, _, is) if all == is => Kind::Lost,
                    _ => Kind::Regrouped,
                }
            }
            ([_], _) => Kind::Split,
            (_, [_]) => Kind::Joined,
            _ => Kind::Regrouped,
        };
        let lost = was.iter().flat_map(|group| &group.reasons).filter(|reason| {
            group_after(reason.member).is_none() || group_after(reason.member) != group_after(reason.with)
        });
        let gained = is.iter().flat_map(|group| &group.reasons).filter(|reason| {
            group_before(reason.member).is_none() || group_before(reason.member) != group_before(reason.with)
        });
        changes.push(Change {
            kind,
            before: was.iter().map(|group| group.members.clone()).collect(),
            after: is.iter().map(|group| group.members.clone()).collect(),
            why: lost
                .map(|reason| tie(reason, false))
                .chain(gained.map(|reason| tie(reason, true)))
                .collect(),
        });
    }
    changes
}

fn members(grouping: &Grouping) -> impl Iterator<Item = (Bdf, usize)> + '_ {
    let numbered = grouping.groups.iter().enumerate();
    numbered.flat_map(|(number, group)| group.members.iter().map(move |at| (*at, number)))
}

fn tie(reason: &Reason, holds: bool) -> Tie {
    // A cause that is said of several is said once.
    let causes: BTreeSet<String> = reason.causes.iter().map(ToString::to_string).collect();
    Tie { holds, member: reason.member, with: reason.with, causes: causes.into_iter().collect() }
}

/// Numbers that are joined into sets.
struct Clusters(Vec<usize>);

impl Clusters {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut number: usize) -> usize {
        while self.0[number] != number {
            self.0[number] = self.0[self.0[number]];
            number = self.0[number];
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        let (low, high) = (one.min(other), one.max(other));
        self.0[high] = low;
    }
}
