//! Everything about a machine's groups that there is to show, computed once.

use ioward::{
    discover,
    pci::{
        Bdf,
        groups::{Fabric, Grouping, Linux, Policy as _},
    },
};
use ioward_host::{Agreement, Machine, Passthrough, Split, passthrough, splits};
use std::collections::BTreeMap;

/// The groups of a machine under one policy, against the other policy and the kernel.
pub struct Study {
    /// The policy's name.
    pub policy: &'static str,
    /// Its groups.
    pub grouping: Grouping,
    /// IOMMUs and devices, joined with what tables say.
    pub found: discover::Machine,
    /// What could be given away.
    pub passthrough: BTreeMap<Bdf, Passthrough>,
    /// Linux splits what the fabric joins.
    pub holes: Vec<Split>,
    /// The fabric splits what Linux joins.
    pub spare: Vec<Split>,
    /// The kernel's groups against what is computed for Linux; none where they are not known.
    pub agreement: Option<Agreement>,
}

impl Study {
    /// Of a machine under Linux's policy, or else the fabric's.
    pub fn of(machine: &Machine, is_linux: bool) -> Self {
        let (linux, fabric) = (Linux, Fabric::default());
        let (by_linux, by_fabric) = (linux.groups(&machine.topology), fabric.groups(&machine.topology));
        let found = if is_linux { machine.discover(&linux) } else { machine.discover(&fabric) };
        let holes = splits(&machine.topology, &by_linux, &by_fabric);
        let spare = splits(&machine.topology, &by_fabric, &by_linux);
        let agreement = Agreement::of(machine, &by_linux);
        let (policy, grouping) = if is_linux { (linux.name(), by_linux) } else { (fabric.name(), by_fabric) };
        let passthrough = passthrough::of(&machine.topology, &grouping, &found, &machine.kernel);
        Self { policy, grouping, found, passthrough, holes, spare, agreement }
    }

    /// Whether a group of this function depends on something that nobody could read.
    pub fn is_unsure(&self, at: Bdf) -> bool {
        self.grouping.unsure.binary_search(&at).is_ok()
    }
}
