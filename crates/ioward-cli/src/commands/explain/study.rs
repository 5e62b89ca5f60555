//! Everything that there is to say of a device's place.

use ioward::pci::{
    Bdf,
    groups::{
        Cause, Fabric, Group, Grouping, Isolation, Linux, Policy,
        acs_override::{AcsOverride, acs_override},
        remedy::{Advice, advise},
    },
};
use ioward_host::{Machine, Passthrough, Ways, passthrough};

/// Others of a device's group that the same facts tie to it.
pub struct Tied {
    /// They, ascending.
    pub members: Vec<Bdf>,
    /// What ties them, from the device on.
    pub causes: Vec<Cause>,
}

/// What an ACS override would make of a device.
pub struct Override {
    /// Its parameter.
    pub option: String,
    /// Others that would leave the device's group, bridges not counted.
    pub leave: Vec<Bdf>,
    /// Of those, the ones that the fabric does not keep apart from it.
    pub reached: Vec<Bdf>,
}

/// A device, its group, and why.
pub struct Study {
    /// The device.
    pub device: Bdf,
    /// The policy's name.
    pub policy: &'static str,
    /// The groups.
    pub grouping: Grouping,
    /// Whether it can be given away; none without a group.
    pub passthrough: Option<Passthrough>,
    /// Who is with it, and why; bridges are listed too.
    pub tied: Vec<Tied>,
    /// The bridges above it, the nearest first, with what they do.
    pub path: Vec<(Bdf, Isolation)>,
    /// What would free it; none without a group.
    pub advice: Option<Advice>,
    /// What an ACS override would do; none if nothing would change for it.
    pub acs_override: Option<Override>,
    /// Whom Linux keeps apart from it and the fabric does not.
    pub beyond: Vec<Tied>,
}

impl Study {
    /// Of a device under Linux's policy, or else the fabric's.
    pub fn of(machine: &Machine, device: Bdf, is_linux: bool) -> Self {
        let topology = &machine.topology;
        let (linux, fabric) = (Linux, Fabric::default());
        let policy: &dyn Policy = if is_linux { &linux } else { &fabric };
        let grouping = policy.groups(topology);
        let found = machine.discover(policy);
        let passthrough = passthrough::of(topology, &grouping, &found, &machine.kernel).remove(&device);
        let with = grouping
            .group_of(device)
            .map_or_else(Vec::new, |group| tied(group, device, |other| other != device));
        let path = topology.find(device).map_or_else(Vec::new, |index| {
            let bridges = topology.path(index);
            bridges.map(|bridge| (topology.functions()[bridge].at, Isolation::of(topology, bridge))).collect()
        });
        let effect = acs_override(topology, &AcsOverride::usual(), &fabric);
        let beyond = effect.fabric.group_of(device).map_or_else(Vec::new, |group| {
            tied(group, device, |other| other != device && !effect.before.together(device, other))
        });
        let counts = |at: &Bdf| {
            topology.find(*at).is_some_and(|index| !passthrough::is_passive(&topology.functions()[index]))
        };
        let leave: Vec<Bdf> = effect.before.group_of(device).map_or_else(Vec::new, |group| {
            let apart = |other: &&Bdf| **other != device && !effect.after.together(device, **other);
            group.members.iter().filter(apart).copied().filter(counts).collect()
        });
        let reached = leave.iter().copied().filter(|&other| effect.fabric.together(device, other)).collect();
        let acs_override = (!leave.is_empty()).then(|| Override {
            option: AcsOverride::usual().to_string(),
            leave,
            reached,
        });
        let advice = advise(policy, topology, device);
        let policy = policy.name();
        Self { device, policy, grouping, passthrough, tied: with, path, advice, acs_override, beyond }
    }

    /// Its group.
    pub fn group(&self) -> Option<&Group> {
        self.grouping.group_of(self.device)
    }
}

/// Members by what ties them to a device.
fn tied(group: &Group, device: Bdf, wanted: impl Fn(Bdf) -> bool) -> Vec<Tied> {
    let ways = Ways::from(group, device);
    let mut all: Vec<Tied> = Vec::new();
    for &member in group.members.iter().filter(|&&member| wanted(member)) {
        let causes = ways.causes_to(member);
        match all.iter_mut().find(|tied| tied.causes == causes) {
            Some(tied) => tied.members.push(member),
            None => all.push(Tied { members: vec![member], causes }),
        }
    }
    all
}
