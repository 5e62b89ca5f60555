//! Sets of functions that some facts tie together.

use super::{Assume, Fabric};
use crate::{
    AcsBits, EgressVector, Fact, PortType, Topology,
    function::Ari,
    groups::{Basis, Cause, Isolation, Lack},
    quirks::Match,
    requesters::{Origin, Takeover},
    topology::{Index, is_iommu},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// An open way to peers.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub lack: Lack,
    /// Where egress control decides: what it says. None if the way is open to all of them.
    pub vector: Option<EgressVector>,
}

impl Open {
    /// Whether it leads to a peer. A number that nobody could read may be any.
    pub fn reaches(&self, number: Option<u8>) -> bool {
        match (self.vector, number) {
            (Some(vector), Some(number)) => !vector.stops(number),
            (Some(vector), None) => !vector.stops_all(),
            (None, _) => true,
        }
    }
}

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
    if policy.integrated == Assume::Reach {
        collector.integrated();
    }
    if policy.turned_back == Assume::Reach {
        collector.turned_back();
    }
    if policy.port_memory == Assume::Reach {
        collector.port_memory();
    }
    if policy.forgery {
        collector.forgers();
    }
    collector.ties
}

pub(super) struct Collector<'a> {
    pub policy: &'a Fabric,
    pub topology: &'a Topology,
    pub isolation: &'a [Isolation],
    ties: Vec<Tie>,
}

impl Collector<'_> {
    pub fn kind(&self, index: Index) -> Option<PortType> {
        self.topology.functions()[index].port_type()
    }

    pub fn all(&self) -> core::ops::Range<Index> {
        0..self.topology.functions().len()
    }

    pub fn tie(&mut self, mut members: Vec<Index>, causes: Vec<Cause>) {
        members.sort_unstable();
        members.dedup();
        members.retain(|&index| !is_iommu(&self.topology.functions()[index]));
        if members.len() > 1 && !causes.is_empty() {
            self.ties.push(Tie { members, causes });
        }
    }

    /// Everything below a bridge, at any depth, with the virtual functions of what is there.
    pub fn below(&self, bridge: Index) -> Vec<Index> {
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

    pub fn has_below(&self, bridge: Index) -> bool {
        self.topology.below(bridge).is_some_and(|bus| !bus.functions.is_empty())
    }

    /// Why requests that a function receives or issues may go to a peer, and to which.
    pub fn open(&self, index: Index) -> Option<Open> {
        let isolation = &self.isolation[index];
        if isolation.egress() {
            let acs = self.topology.functions()[index].acs.present();
            let vector = acs.and_then(|acs| acs.egress);
            return Some(Open { lack: Lack::EgressControl, vector });
        }
        let lack = || isolation.lack(self.topology, index, AcsBits::RR);
        (!isolation.covers(AcsBits::RR)).then(|| Open { lack: lack(), vector: None })
    }

    /// The number by which ports are counted in egress control vectors.
    pub fn port_number(&self, port: Index) -> Option<u8> {
        self.topology.functions()[port].express.present().and_then(|express| express.port_number)
    }

    /// The number by which functions of a device are counted there.
    fn function_number(&self, index: Index) -> u8 {
        let function = &self.topology.functions()[index];
        match function.ari {
            Fact::Present(Ari { acs_group: Some(group), .. }) => group,
            Fact::Present(_) => function.at.devfn,
            _ => function.at.function(),
        }
    }

    pub fn cause(&self, index: Index, lack: Lack) -> Cause {
        let function = &self.topology.functions()[index];
        Cause::NotIsolated { function: function.at, kind: function.port_type(), lack }
    }

    /// Whether a lack is one of what the specification leaves open, as opposed to a bit that is off.
    pub fn is_assumed(lack: Lack) -> bool {
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
            let mut causes = Vec::new();
            for &index in &functions {
                let Some(open) = self.function_open(index) else { continue };
                if self.policy.functions == Assume::Isolated && Self::is_assumed(open.lack) {
                    continue;
                }
                let cause = self.cause(index, open.lack);
                if open.vector.is_none() {
                    causes.push(cause);
                    continue;
                }
                let reached =
                    |&other: &Index| other != index && open.reaches(Some(self.function_number(other)));
                let peers: Vec<Index> = functions.iter().copied().filter(reached).collect();
                let mut members = self.with_below(&peers);
                members.push(index);
                self.tie(members, [cause].into());
            }
            if !causes.is_empty() {
                let members = self.with_below(&functions);
                self.tie(members, causes);
            }
        }
    }

    /// Why a function may reach others of its device. A virtual function without a capability of its own is as its
    /// physical one (PCI Express Base 6.0, section 9.3.7.6).
    fn function_open(&self, index: Index) -> Option<Open> {
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
        self.isolation[port].covers(AcsBits::SV) && !self.isolation[port].granted.covers(AcsBits::SV)
            || self.kind(port) == Some(PortType::RootPort)
                && Self::is_assumed(self.isolation[port].lack(self.topology, port, AcsBits::SV))
    }
}
