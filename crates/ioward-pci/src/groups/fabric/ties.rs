//! Sets of functions that some facts tie together.

use super::{Assume, Fabric, RootPorts};
use crate::{
    AcsBits, PortType, Topology,
    groups::{Basis, Cause, Isolation, Lack},
    quirks::Match,
    requesters::{Origin, Takeover},
    topology::{Index, is_iommu},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// Functions that each of some facts alone would tie.
#[derive(Clone, Debug)]
pub(super) struct Tie {
    pub members: Vec<Index>,
    pub causes: Vec<Cause>,
}

pub(super) fn collect(policy: &Fabric, topology: &Topology, isolation: &[Isolation]) -> Vec<Tie> {
    let mut collector = Collector { policy, topology, isolation, ties: Vec::new() };
    collector.owners();
    collector.bridges();
    collector.requesters();
    collector.devices();
    collector.switches();
    collector.root_ports();
    if policy.forgery {
        collector.forgers();
    }
    collector.ties
}

struct Collector<'a> {
    policy: &'a Fabric,
    topology: &'a Topology,
    isolation: &'a [Isolation],
    ties: Vec<Tie>,
}

impl Collector<'_> {
    fn kind(&self, index: Index) -> Option<PortType> {
        self.topology.functions()[index].port_type()
    }

    fn all(&self) -> core::ops::Range<Index> {
        0..self.topology.functions().len()
    }

    fn tie(&mut self, mut members: Vec<Index>, causes: Vec<Cause>) {
        members.sort_unstable();
        members.dedup();
        members.retain(|&index| !is_iommu(&self.topology.functions()[index]));
        if members.len() > 1 && !causes.is_empty() {
            self.ties.push(Tie { members, causes });
        }
    }

    /// Everything below a bridge, at any depth, with the virtual functions of what is there.
    fn below(&self, bridge: Index) -> Vec<Index> {
        let mut found = Vec::new();
        let mut open: Vec<usize> = self.topology.bus_below(bridge).into_iter().collect();
        while let Some(bus) = open.pop() {
            let functions = self.topology.buses()[bus].functions.clone();
            open.extend(functions.clone().filter_map(|index| self.topology.bus_below(index)));
            open.extend(self.topology.borrowers(bus));
            found.extend(functions);
        }
        found
    }

    fn has_below(&self, bridge: Index) -> bool {
        self.topology.below(bridge).is_some_and(|bus| !bus.functions.is_empty())
    }

    /// Why requests that a function receives or issues may go to a peer.
    fn open(&self, index: Index) -> Option<Lack> {
        let isolation = &self.isolation[index];
        if !isolation.covers(AcsBits::RR) {
            return Some(isolation.lack(self.topology, index, AcsBits::RR));
        }
        isolation.egress_open(self.topology, index).then_some(Lack::EgressControl)
    }

    fn cause(&self, index: Index, lack: Lack) -> Cause {
        let function = &self.topology.functions()[index];
        Cause::NotIsolated { function: function.at, kind: function.port_type(), lack }
    }

    /// Whether a lack is one of what the specification leaves open, as opposed to a bit that is off.
    fn is_assumed(lack: Lack) -> bool {
        !matches!(lack, Lack::NotSet(_) | Lack::EgressControl)
    }

    /// VMD controllers and what they own.
    fn owners(&mut self) {
        for index in self.all() {
            if let Some(owner) = self.topology.owner(index) {
                let at = |index: Index| self.topology.functions()[index].at;
                let cause = Cause::Owned { function: at(index), controller: at(owner) };
                self.tie([owner, index].into(), [cause].into());
            }
        }
    }

    /// Conventional buses: shared wires, and one requester ID.
    fn bridges(&mut self) {
        for index in self.all() {
            let function = &self.topology.functions()[index];
            if !function.header.is_bridge() || self.topology.override_of(index).isolates {
                continue;
            }
            let at = function.at;
            let requester = match self.topology.takeover(index) {
                Takeover::Own => at.requester(),
                Takeover::Secondary => {
                    u16::from(self.topology.below(index).map_or(0, |bus| bus.id.number)) << 8
                }
                // A bridge that keeps requester IDs still has a conventional bus below it.
                Takeover::Keeps | Takeover::Root if self.kind(index) == Some(PortType::ToConventional) => {
                    let members = self.with_below(&[index]);
                    self.tie(members, [self.cause(index, Lack::Kind)].into());
                    continue;
                }
                Takeover::Keeps | Takeover::Root => continue,
            };
            let members = self.with_below(&[index]);
            self.tie(members, [Cause::Conventional { bridge: at, requester }].into());
        }
    }

    fn with_below(&self, bridges: &[Index]) -> Vec<Index> {
        let mut members = bridges.to_vec();
        for &bridge in bridges {
            members.extend(self.below(bridge));
        }
        members
    }

    /// Functions of one bus that use the same number.
    fn requesters(&mut self) {
        let mut users: BTreeMap<(usize, u8), (Vec<Index>, Vec<Cause>)> = BTreeMap::new();
        for index in self.all() {
            let at = self.topology.functions()[index].at;
            let bus = self.topology.bus_index(index);
            for (devfn, origin) in self.topology.used_on_bus(index) {
                let cause = match origin {
                    Origin::Phantom => Cause::Phantom { function: at, devfn },
                    _ => {
                        let row = self.topology.alias_quirk(index).filter(|_| origin != Origin::Firmware);
                        let by_name = row.is_some_and(|(_, by)| by == Match::Name);
                        Cause::Alias { function: at, devfn, row: row.map(|(row, _)| row), by_name }
                    }
                };
                let (members, causes) = users.entry((bus, devfn)).or_default();
                members.push(index);
                causes.push(cause);
            }
        }
        for ((bus, devfn), (mut members, causes)) in users {
            members.extend(self.topology.find(self.topology.buses()[bus].id.function(devfn)));
            self.tie(members, causes);
        }
    }

    /// Functions of one device.
    fn devices(&mut self) {
        // By bus and slot; behind an ARI port a bus is one device, and virtual functions belong to their physical one's.
        let mut devices: BTreeMap<(usize, u8), Vec<Index>> = BTreeMap::new();
        for index in self.all() {
            if matches!(self.kind(index), Some(PortType::RootPort | PortType::DownstreamPort)) {
                continue;
            }
            let physical = self.topology.physical(index).unwrap_or(index);
            let bus = self.topology.bus_index(physical);
            let ari = self.topology.bridge_to(bus).is_some_and(|port| {
                let express = self.topology.functions()[port].express;
                express.present().is_some_and(|express| express.ari_forwarding == Some(true))
            });
            let slot = if ari { 0 } else { self.topology.functions()[physical].at.device() };
            devices.entry((bus, slot)).or_default().push(index);
        }
        for functions in devices.into_values().filter(|functions| functions.len() > 1) {
            let causes: Vec<Cause> = functions
                .iter()
                .filter_map(|&index| {
                    let lack = self.function_lack(index)?;
                    let kept = self.policy.functions == Assume::Reach || !Self::is_assumed(lack);
                    kept.then(|| self.cause(index, lack))
                })
                .collect();
            if !causes.is_empty() {
                let members = self.with_below(&functions);
                self.tie(members, causes);
            }
        }
    }

    /// Why a function may reach others of its device. A virtual function without a capability of its own is as its
    /// physical one (PCI Express Base 6.0, section 9.3.7.6).
    fn function_lack(&self, index: Index) -> Option<Lack> {
        match self.topology.physical(index) {
            Some(physical)
                if self.isolation[index].basis == Basis::Alone
                    && self.topology.functions()[index].acs.present().is_none() =>
            {
                self.open(physical)
            }
            _ => self.open(index),
        }
    }

    /// Downstream ports of one switch.
    fn switches(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let functions = self.topology.buses()[bus].functions.clone();
            let is_port = |&index: &Index| self.kind(index) == Some(PortType::DownstreamPort);
            let (ports, others): (Vec<Index>, Vec<Index>) = functions.partition(is_port);
            let open: Vec<(Index, Lack)> = ports
                .iter()
                .filter(|&&port| self.has_below(port))
                .filter_map(|&port| Some((port, self.open(port)?)))
                .collect();
            if open.is_empty() {
                continue;
            }
            let mut members: Vec<Index> = ports.iter().flat_map(|&port| self.below(port)).collect();
            members.extend(others);
            members.extend(open.iter().map(|&(port, _)| port));
            let causes = open.iter().map(|&(port, lack)| self.cause(port, lack)).collect();
            self.tie(members, causes);
        }
    }

    /// Root ports of one root bus.
    fn root_ports(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let functions = self.topology.buses()[bus].functions.clone();
            let is_port = |&index: &Index| self.kind(index) == Some(PortType::RootPort);
            let ports: Vec<Index> = functions.filter(is_port).collect();
            let open: Vec<(Index, Lack)> = ports
                .iter()
                .filter(|&&port| self.has_below(port))
                .filter_map(|&port| Some((port, self.open(port)?)))
                .collect();
            // Those that reach every other: their bits say so, or the assumption does.
            let far = |lack: Lack| !Self::is_assumed(lack) || self.policy.root_ports == RootPorts::All;
            let (far, near): (Vec<_>, Vec<_>) = open.into_iter().partition(|&(_, lack)| far(lack));
            if !far.is_empty() {
                let mut members: Vec<Index> = ports.iter().flat_map(|&port| self.below(port)).collect();
                members.extend(far.iter().map(|&(port, _)| port));
                let causes = far.iter().map(|&(port, lack)| self.cause(port, lack)).collect();
                self.tie(members, causes);
            }
            if self.policy.root_ports == RootPorts::Isolated {
                continue;
            }
            let mut devices: BTreeMap<u8, Vec<(Index, Lack)>> = BTreeMap::new();
            for (port, lack) in near {
                devices.entry(self.topology.functions()[port].at.device()).or_default().push((port, lack));
            }
            for (slot, open) in devices {
                let mut members: Vec<Index> = open.iter().map(|&(port, _)| port).collect();
                // Functions of the device that are no ports are there to be reached too.
                let functions = self.topology.buses()[bus].functions.clone();
                let slot_of = |index: Index| self.topology.functions()[index].at.device();
                for index in functions.filter(|&index| slot_of(index) == slot) {
                    match self.kind(index) {
                        Some(PortType::RootPort) => members.extend(self.below(index)),
                        _ => members.push(index),
                    }
                }
                let causes = open.iter().map(|&(port, lack)| self.cause(port, lack)).collect();
                self.tie(members, causes);
            }
        }
    }

    /// Functions whose requests pass ports that do not check requester IDs: they can pass for anything up to the first
    /// port that does. Bridges are left out, since nothing is mapped for them.
    fn forgers(&mut self) {
        // By the port that checks, or the bus at the root: the ports that do not.
        let mut reach: BTreeMap<(Option<Index>, usize), BTreeSet<Index>> = BTreeMap::new();
        for index in self.all() {
            if self.topology.functions()[index].header.is_bridge() {
                continue;
            }
            let mut root = self.topology.bus_index(index);
            let mut passed = Vec::new();
            let mut checker = None;
            for above in self.topology.path(index) {
                root = self.topology.bus_index(above);
                match self.kind(above) {
                    Some(PortType::RootPort | PortType::DownstreamPort) if self.checks(above) => {
                        checker = Some(above);
                        break;
                    }
                    Some(PortType::RootPort | PortType::DownstreamPort) => passed.push(above),
                    _ => {}
                }
            }
            if !passed.is_empty() {
                reach.entry((checker, root)).or_default().extend(passed);
            }
        }
        for ((checker, root), ports) in reach {
            let below: Vec<Index> = match checker {
                Some(port) => self.below(port),
                None => {
                    let on = self.topology.buses()[root].functions.clone();
                    on.clone().chain(on.flat_map(|index| self.below(index))).collect()
                }
            };
            let mut members: Vec<Index> =
                below.into_iter().filter(|&i| !self.topology.functions()[i].header.is_bridge()).collect();
            // A port alone with what is below it separates nothing, but joins nothing either.
            if members.len() > 1 {
                members.extend(&ports);
            }
            let lack = |port: Index| self.isolation[port].lack(self.topology, port, AcsBits::SV);
            let causes = ports.iter().map(|&port| self.cause(port, lack(port))).collect();
            self.tie(members, causes);
        }
    }

    /// Whether a port refuses requester IDs from outside its buses. Of a root port without a capability the assumption
    /// holds for this too.
    fn checks(&self, port: Index) -> bool {
        self.isolation[port].covers(AcsBits::SV)
            || self.kind(port) == Some(PortType::RootPort)
                && Self::is_assumed(self.isolation[port].lack(self.topology, port, AcsBits::SV))
    }
}
