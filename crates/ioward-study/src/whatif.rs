//! Groups before and after changes that nobody has made yet.

use crate::regroup::{self, Change};
use ioward::pci::{Bdf, Edit, EditError, Edited, Topology, groups::Policy};
use serde::Serialize;

/// What some edits would do to the groups of a machine.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WhatIf {
    /// Whose groups: `linux` or `fabric`.
    pub policy: &'static str,
    /// The edits, in words, in the order in which they are made.
    pub edits: Vec<String>,
    /// How many groups there are.
    pub groups_before: usize,
    /// How many there would be.
    pub groups_after: usize,
    /// Functions that would have another name.
    pub renamed: Vec<Renamed>,
    /// Functions that would be gone.
    pub removed: Vec<String>,
    /// Functions whose groups nobody can be sure of, before or after, by their names of before.
    pub unsure: Vec<String>,
    /// What would become of groups.
    pub changes: Vec<Change>,
}

/// A function that would have another name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Renamed {
    /// The name that it has.
    pub before: String,
    /// The name that it would have.
    pub after: String,
}

/// Computes it. The machine stays as it is.
pub fn whatif(topology: &Topology, edits: &[Edit], policy: &dyn Policy) -> Result<WhatIf, EditError> {
    let edited = topology.edit(edits)?;
    let (before, after) = (policy.groups(topology), policy.groups(&edited.topology));
    let changes = regroup::compare(&before, &after, &|at| edited.before(at));
    let unsure = before.unsure.iter().copied().chain(after.unsure.iter().filter_map(|at| edited.before(*at)));
    let mut unsure: Vec<Bdf> = unsure.collect();
    unsure.sort_unstable();
    unsure.dedup();
    let words = |places: Vec<Bdf>| places.iter().map(Bdf::to_string).collect();
    Ok(WhatIf {
        policy: policy.name(),
        edits: edits.iter().map(Edit::to_string).collect(),
        groups_before: before.groups.len(),
        groups_after: after.groups.len(),
        renamed: renamed(&edited),
        removed: words(edited.removed(topology).collect()),
        unsure: words(unsure),
        changes,
    })
}

fn renamed(edited: &Edited) -> Vec<Renamed> {
    let pair = |(before, after): (Bdf, Bdf)| Renamed { before: before.to_string(), after: after.to_string() };
    edited.renamed().map(pair).collect()
}
