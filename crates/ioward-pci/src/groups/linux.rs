//! What Linux computes (`drivers/iommu/iommu.c`, `drivers/pci/pci.c`), as of version 6.18, with the quirks of what came
//! later. The rules are those of 6.12, and have been the same since long before. A series that would have Linux look at a
//! switch as a whole, and at functions of a device by who reaches whom, was posted three times in 2025 and is in no version
//! that we know.
//!
//! Functions get their groups one after the other, in the order in which the bus found them; each looks for a group that
//! somebody before it has: first above, as far as its requests share requester IDs; then further up, as long as some
//! port on the way to the root does not isolate; then among the functions of its device that do not isolate, and those
//! that use each other's requester IDs. So the outcome depends on the order, and groups are never merged afterwards.

use super::{
    Grouping, Policy,
    isolation::{self, Isolation},
    reason::{Cause, Reason},
};
use crate::{
    AcsBits, Bdf, Topology,
    requesters::Takeover,
    topology::{Index, is_iommu, is_set},
};
use alloc::{vec, vec::Vec};

/// The policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl Policy for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn groups(&self, topology: &Topology) -> Grouping {
        let mut run = Run::new(topology);
        for index in order(topology) {
            run.place(index);
        }
        let Run { group_of, sure, reasons, .. } = run;
        Grouping::build(topology, &group_of, &sure, reasons)
    }
}

/// The order in which Linux meets functions: a bus before the buses below it, and virtual functions when a driver makes
/// them, after all others.
fn order(topology: &Topology) -> Vec<Index> {
    let buses = topology.buses();
    let mut order = Vec::with_capacity(topology.functions().len());
    let mut visited = vec![false; buses.len()];
    for root in 0..buses.len() {
        if buses[root].bridge.is_some() || buses[root].lent_by.is_some() {
            continue;
        }
        let mut open = vec![root];
        while let Some(bus) = open.pop() {
            if core::mem::replace(&mut visited[bus], true) {
                continue;
            }
            let functions = buses[bus].functions.clone();
            order.extend(functions.clone().filter(|&index| topology.physical(index).is_none()));
            // The first bridge's bus is to be popped first.
            open.extend(functions.rev().filter_map(|index| topology.bus_below(index)));
        }
    }
    order.extend((0..topology.functions().len()).filter(|&index| topology.physical(index).is_some()));
    order
}

struct Run<'a> {
    topology: &'a Topology,
    isolation: Vec<Isolation>,
    /// Of a bridge: whether it and all above it isolate.
    path: Vec<bool>,
    /// Of a bridge: whether nothing was assumed for that.
    path_sure: Vec<bool>,
    group_of: Vec<Option<u32>>,
    sure: Vec<bool>,
    reasons: Vec<Reason>,
    next: u32,
}

/// Whose group was found, and the function from which the search got there.
struct Found {
    whose: Index,
    from: Index,
}

impl<'a> Run<'a> {
    fn new(topology: &'a Topology) -> Self {
        let count = topology.functions().len();
        let isolation = isolation::all(topology);
        let path_sure = isolation::paths_sure(topology, &isolation);
        let mut path = vec![false; count];
        // Ascending: what is above has a lower number.
        for index in 0..count {
            if !topology.functions()[index].header.is_bridge() {
                continue;
            }
            path[index] = isolation[index].covers(AcsBits::ISOLATION)
                && topology.above(index).is_none_or(|above| path[above]);
        }
        Self {
            topology,
            isolation,
            path,
            path_sure,
            group_of: vec![None; count],
            sure: vec![true; count],
            reasons: Vec::new(),
            next: 0,
        }
    }

    fn at(&self, index: Index) -> Bdf {
        self.topology.functions()[index].at
    }

    fn place(&mut self, index: Index) {
        if is_iommu(&self.topology.functions()[index]) {
            return;
        }
        self.sure[index] = isolation::is_sure(self.topology, &self.isolation, &self.path_sure, index);
        let group = match self.search(index) {
            Some((whose, causes)) => {
                self.reasons.push(Reason { member: self.at(index), with: self.at(whose), causes });
                self.group_of[whose]
            }
            None => {
                self.next += 1;
                Some(self.next - 1)
            }
        };
        self.group_of[index] = group;
    }

    /// The group that a function joins: of whom, and why.
    fn search(&self, index: Index) -> Option<(Index, Vec<Cause>)> {
        let topology = self.topology;
        let mut last = index;
        if let Some(owner) = topology.owner(index) {
            if self.group_of[owner].is_some() {
                let cause = Cause::Owned { function: self.at(index), controller: self.at(owner) };
                return Some((owner, vec![cause]));
            }
            last = owner;
        }
        // Upwards, as far as requester IDs are shared.
        for bridge in topology.path(last) {
            match topology.takeover(bridge) {
                Takeover::Keeps => {}
                Takeover::Root => break,
                Takeover::Own | Takeover::Secondary => {
                    if self.group_of[bridge].is_some() {
                        return Some((bridge, self.upward_causes(index)));
                    }
                    last = bridge;
                }
            }
        }
        // Further up, until everything above isolates.
        let mut at = last;
        while let Some(bridge) = topology.above(at) {
            if self.path[bridge] {
                break;
            }
            if self.group_of[bridge].is_some() {
                return Some((bridge, self.upward_causes(index)));
            }
            at = bridge;
        }
        // Sideways, among the functions of the same bus.
        let mut tried = [0; 4];
        let found = self.by_alias(at, &mut tried).or_else(|| self.by_slot(at, &mut tried))?;
        Some((found.whose, self.sideways_causes(index, at, &found)))
    }

    /// Functions of the same bus that use each other's requester IDs. Asks each function of the bus once.
    fn by_alias(&self, of: Index, tried: &mut [u64; 4]) -> Option<Found> {
        let devfn = self.at(of).devfn;
        if is_set(tried, devfn) {
            return None;
        }
        tried[usize::from(devfn >> 6)] |= 1 << (devfn & 63);
        if self.group_of[of].is_some() {
            return Some(Found { whose: of, from: of });
        }
        if !self.topology.has_aliases() {
            return None;
        }
        self.topology
            .bus_of(of)
            .functions
            .clone()
            .filter(|&other| other != of && self.topology.alias_each_other(of, other))
            .find_map(|other| self.by_alias(other, tried).or_else(|| self.by_slot(other, tried)))
            .map(|found| Found { from: of, ..found })
    }

    /// Functions of the same device, where neither isolates.
    fn by_slot(&self, of: Index, tried: &mut [u64; 4]) -> Option<Found> {
        if !self.topology.is_multifunction(of) || self.isolation[of].covers(AcsBits::ISOLATION) {
            return None;
        }
        self.topology
            .siblings(of)
            .filter(|&other| !self.isolation[other].covers(AcsBits::ISOLATION))
            .find_map(|other| self.by_alias(other, tried))
            .map(|found| Found { from: of, ..found })
    }

    /// Everything between a function and the root that shares requester IDs or does not isolate.
    fn upward_causes(&self, index: Index) -> Vec<Cause> {
        let topology = self.topology;
        let mut causes = Vec::new();
        for bridge in topology.path(index) {
            match topology.takeover(bridge) {
                Takeover::Keeps | Takeover::Root if self.isolation[bridge].covers(AcsBits::ISOLATION) => {}
                Takeover::Keeps | Takeover::Root => causes.push(self.not_isolated(bridge)),
                Takeover::Own => {
                    let requester = self.at(bridge).requester();
                    causes.push(Cause::Conventional { bridge: self.at(bridge), requester });
                }
                Takeover::Secondary => {
                    let bus = topology.below(bridge).map_or(0, |below| below.id.number);
                    causes.push(Cause::Conventional {
                        bridge: self.at(bridge),
                        requester: u16::from(bus) << 8,
                    });
                }
            }
        }
        causes
    }

    fn not_isolated(&self, index: Index) -> Cause {
        let isolation = &self.isolation[index];
        Cause::NotIsolated {
            function: self.at(index),
            kind: self.topology.functions()[index].port_type(),
            lack: isolation.lack(self.topology, index, AcsBits::ISOLATION),
        }
    }

    /// Why the functions of one bus are together: what was found, and whatever else would tie them.
    fn sideways_causes(&self, index: Index, at: Index, found: &Found) -> Vec<Cause> {
        let topology = self.topology;
        let mut causes = Vec::new();
        if at != index {
            causes.extend(self.upward_causes(index));
        }
        if topology.is_multifunction(at) && !self.isolation[at].covers(AcsBits::ISOLATION) {
            causes.push(self.not_isolated(at));
        }
        if topology.has_aliases() {
            let group = self.group_of[found.whose];
            let on = topology.bus_of(at).functions.clone();
            let tied = |&other: &Index| {
                other != at
                    && topology.alias_each_other(at, other)
                    && (self.group_of[other] == group
                        || other == found.from
                        || self.group_of[other].is_none())
            };
            for other in on.filter(tied) {
                for (one, two) in [(at, other), (other, at)] {
                    causes.extend(self.alias(one, two));
                }
            }
        }
        causes
    }

    /// That `one` uses the number of `two`.
    fn alias(&self, one: Index, two: Index) -> Option<Cause> {
        let devfn = self.at(two).devfn;
        self.topology.alias_bits(one).filter(|bits| is_set(bits, devfn))?;
        let by_firmware = self.topology.firmware_aliases(one).contains(&devfn);
        let row = self.topology.alias_quirk(one).filter(|_| !by_firmware);
        Some(Cause::Alias {
            function: self.at(one),
            devfn,
            row: row.map(|(row, _)| row),
            by_name: row.is_some_and(|(_, by)| by == crate::quirks::Match::Name),
        })
    }
}
