//! What differs between two machines, or between a machine then and now.
//!
//! | module | what it is |
//! | --- | --- |
//! | `devices` | which function of the one is which of the other |
//! | `facts` | what two functions differ in |
//! | `tables` | what two firmware tables differ in |
//! | `kernel` | what two kernels say differently |

mod devices;
mod facts;
mod kernel;
mod tables;

use crate::regroup::{self, Change};
use devices::Matched;
use ioward::pci::{Bdf, Topology, groups::Policy};
use ioward_host::Machine;
use serde::Serialize;

/// All that differs. Everything is empty where nothing does.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Diff {
    /// Functions that the first has and the second has not.
    pub removed: Vec<Device>,
    /// Functions that the second has and the first has not.
    pub added: Vec<Device>,
    /// Functions in another place.
    pub moved: Vec<Moved>,
    /// Functions of both that are not the same, by their places in the second.
    pub changed: Vec<Changed>,
    /// Firmware tables.
    pub tables: Vec<TableChange>,
    /// What the kernel says.
    pub kernel: Vec<Difference>,
    /// What became of groups.
    pub groups: Vec<Change>,
    /// Functions whose groups depend on something that nobody could read, by their places in either.
    pub unsure: Vec<String>,
}

/// A function with what it is called.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Device {
    /// Where it is.
    pub at: String,
    /// Vendor and device ID, and words where a text has them; empty where nobody knows.
    pub name: String,
}

/// A function in another place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Moved {
    /// Where it was.
    pub before: String,
    /// Where it is.
    pub after: String,
    /// As [`Device::name`].
    pub name: String,
}

/// A function that is not the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Changed {
    /// Where it is.
    pub at: String,
    /// As [`Device::name`].
    pub name: String,
    /// In what it differs.
    pub differences: Vec<Difference>,
}

/// Something that both have, and not alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What.
    pub what: String,
    /// In the first.
    pub before: String,
    /// In the second.
    pub after: String,
}

/// A firmware table that is not the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TableChange {
    /// Which kind, with a number where there are several.
    pub table: String,
    /// Whether it is in both, or in which.
    pub how: How,
    /// In what it differs; empty where one has it only.
    pub differences: Vec<Difference>,
}

/// Whether something is in both, or in which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In the second only.
    Added,
    /// In the first only.
    Removed,
    /// In both.
    Changed,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self { unsure: self.unsure.clone(), ..Self::default() }
    }
}

impl Difference {
    fn new(what: impl Into<String>, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self { what: what.into(), before: before.into(), after: after.into() }
    }
}

/// What differs between two machines, with the groups of a policy.
pub fn diff(before: &Machine, after: &Machine, policy: &dyn Policy) -> Diff {
    let (old, new) = (&before.topology, &after.topology);
    let matched = Matched::of(old, new);
    let groups = (policy.groups(old), policy.groups(new));
    let mut unsure: Vec<Bdf> = groups.0.unsure.iter().chain(&groups.1.unsure).copied().collect();
    unsure.sort_unstable();
    unsure.dedup();
    let moved = matched.pairs().filter(|(before, after)| before != after).map(|(before, after)| Moved {
        before: before.to_string(),
        after: after.to_string(),
        name: name(new, after),
    });
    let changed = matched.pairs().filter_map(|(was, is)| {
        let said = (before.records.get(&was), after.records.get(&is));
        let (was, is) = (function(old, was)?, function(new, is)?);
        let differences = facts::differences((was, said.0), (is, said.1));
        (!differences.is_empty()).then(|| Changed {
            at: is.at.to_string(),
            name: name(new, is.at),
            differences,
        })
    });
    Diff {
        removed: matched.removed(old).map(|at| device(old, at)).collect(),
        added: matched.added(new).map(|at| device(new, at)).collect(),
        moved: moved.collect(),
        changed: changed.collect(),
        tables: tables::changes(&before.tables, &after.tables),
        kernel: kernel::differences(before, after, &matched),
        groups: regroup::compare(&groups.0, &groups.1, &|at| matched.before(at)),
        unsure: unsure.iter().map(Bdf::to_string).collect(),
    }
}

fn function(topology: &Topology, at: Bdf) -> Option<&ioward::pci::Function> {
    topology.find(at).map(|index| &topology.functions()[index])
}

fn device(topology: &Topology, at: Bdf) -> Device {
    Device { at: at.to_string(), name: name(topology, at) }
}

/// What a function is called: IDs, and words where there are any.
fn name(topology: &Topology, at: Bdf) -> String {
    let Some(function) = function(topology, at) else { return String::new() };
    let ids = function.ids.map(|ids| format!("{:04x}:{:04x}", ids.vendor, ids.device));
    match (ids, function.name.is_empty()) {
        (Some(ids), true) => ids,
        (Some(ids), false) if !function.name.contains(&ids) => format!("{ids} {}", function.name),
        _ => function.name.clone(),
    }
}
