//! What ports let through: to each other's devices, back down, and to their own registers.

use super::{RootPorts, ties::Collector};
use crate::{
    AcsBits, Fact, PortMemory, PortType,
    groups::{Basis, Lack},
    topology::Index,
};
use alloc::{collections::BTreeMap, vec::Vec};

impl Collector<'_> {
    /// Downstream ports of one switch.
    pub fn switches(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let functions = self.topology.buses()[bus].functions.clone();
            let is_port = |&index: &Index| self.kind(index) == Some(PortType::DownstreamPort);
            let (ports, others): (Vec<Index>, Vec<Index>) = functions.partition(is_port);
            let mut open = self.open_ports(&ports, &others);
            open.extend(self.among_ports(bus, &others));
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

    /// Functions beside the downstream ports on the bus inside a switch, which no port stands in front of, and why they reach
    /// what is below. The specification has none there; switches do.
    fn among_ports(&self, bus: usize, others: &[Index]) -> Vec<(Index, Lack)> {
        let inside = self.topology.bridge_to(bus).and_then(|above| self.kind(above));
        if inside != Some(PortType::UpstreamPort) {
            return Vec::new();
        }
        let lack = |&index: &Index| {
            let isolation = &self.isolation[index];
            match isolation.basis {
                // Alone in its device, but not on its bus.
                Basis::Alone => Some((index, Lack::NoCapability)),
                _ => (!isolation.covers(AcsBits::RR))
                    .then(|| (index, isolation.lack(self.topology, index, AcsBits::RR))),
            }
        };
        let bridges = |index: &&Index| !self.topology.functions()[**index].header.is_bridge();
        others.iter().filter(bridges).filter_map(lack).collect()
    }

    /// Of ports of one component with something below them: those that let requests through to all others. Those that
    /// let them through to some are tied to what is below these, and to `others`.
    fn open_ports(&mut self, ports: &[Index], others: &[Index]) -> Vec<(Index, Lack)> {
        let mut all = Vec::new();
        let occupied: Vec<Index> = ports.iter().copied().filter(|&port| self.has_below(port)).collect();
        for port in occupied {
            let Some(open) = self.open(port) else { continue };
            let Some(vector) = open.vector else {
                all.push((port, open.lack));
                continue;
            };
            let reached = |&&peer: &&Index| peer != port && open.reaches(self.port_number(peer));
            let mut members: Vec<Index> =
                ports.iter().filter(reached).flat_map(|&peer| self.below(peer)).collect();
            // What is no port has no number, so whatever lets something through may let it through.
            if !vector.stops_all() {
                members.extend(others);
            }
            if !members.is_empty() {
                members.extend(self.below(port));
                members.push(port);
                self.tie(members, [self.cause(port, open.lack)].into());
            }
        }
        all
    }

    /// Ports that send back down what was redirected to them from below.
    pub fn turned_back(&mut self) {
        for port in self.all() {
            let is_port = matches!(self.kind(port), Some(PortType::RootPort | PortType::DownstreamPort));
            let isolation = &self.isolation[port];
            // Where the bit is not offered, or the capability is missing, other rules have it.
            if !is_port || !isolation.off.covers(AcsBits::UF) {
                continue;
            }
            let mut members = self.below(port);
            if members.len() > 1 {
                let lack = isolation.lack(self.topology, port, AcsBits::UF);
                members.push(port);
                self.tie(members, [self.cause(port, lack)].into());
            }
        }
    }

    /// Ports through which memory of their switch's ports is reached.
    pub fn port_memory(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let has_memory = |index: &Index| self.topology.functions()[*index].memory == Some(true);
            let functions = self.topology.buses()[bus].functions.clone();
            let is_port = |&index: &Index| self.kind(index) == Some(PortType::DownstreamPort);
            let ports: Vec<Index> = functions.filter(is_port).collect();
            let above = self.topology.bridge_to(bus).filter(has_memory);
            let upstream = above.filter(|&index| self.kind(index) == Some(PortType::UpstreamPort));
            let downstream: Vec<Index> = ports.iter().copied().filter(has_memory).collect();
            for (targets, read) in [
                (downstream, AcsBits::downstream_memory as fn(AcsBits) -> PortMemory),
                (upstream.into_iter().collect(), AcsBits::upstream_memory),
            ] {
                if targets.is_empty() {
                    continue;
                }
                let direct = |&port: &Index| {
                    self.has_below(port)
                        && !self.topology.override_of(port).isolates
                        && matches!(read(self.enhanced(port)), PortMemory::Direct | PortMemory::Reserved)
                };
                let open: Vec<Index> = ports.iter().copied().filter(direct).collect();
                let mut members: Vec<Index> = open.iter().flat_map(|&port| self.below(port)).collect();
                if members.is_empty() {
                    continue;
                }
                members.extend(&open);
                members.extend(&targets);
                let causes = open.iter().map(|&port| self.cause(port, Lack::PortMemory)).collect();
                self.tie(members, causes);
            }
        }
    }

    /// The enhanced bits of a port's control register; none where it has none.
    fn enhanced(&self, port: Index) -> AcsBits {
        match self.topology.functions()[port].acs.present() {
            Some(acs) if acs.capability.is_some_and(|bits| bits.covers(AcsBits::ENHANCED)) => {
                acs.control.unwrap_or_default()
            }
            _ => AcsBits::NONE,
        }
    }

    /// Functions of the root complex that may reach everything of their root bus.
    pub fn integrated(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let node = &self.topology.buses()[bus];
            if node.bridge.is_some() || node.lent_by.is_some() || node.orphan {
                continue;
            }
            let on = node.functions.clone();
            let open: Vec<Index> = on
                .clone()
                .filter(|&index| {
                    let function = &self.topology.functions()[index];
                    let kind = matches!(function.port_type(), None | Some(PortType::IntegratedEndpoint));
                    kind && !function.header.is_bridge()
                        && self.topology.physical(index).is_none()
                        && function.class != Some(0x0600)
                        && matches!(
                            self.isolation[index].basis,
                            Basis::Alone | Basis::NoCapability | Basis::Kind
                        )
                })
                .collect();
            if open.is_empty() {
                continue;
            }
            let causes = open
                .iter()
                .map(|&index| {
                    let function = &self.topology.functions()[index];
                    let lack = match function.express {
                        Fact::Absent => Lack::NotExpress,
                        _ => Lack::NoCapability,
                    };
                    self.cause(index, lack)
                })
                .collect();
            let below: Vec<Index> = on.clone().flat_map(|index| self.below(index)).collect();
            self.tie(on.chain(below).collect(), causes);
        }
    }

    /// Root ports of one root bus.
    pub fn root_ports(&mut self) {
        for bus in 0..self.topology.buses().len() {
            let functions = self.topology.buses()[bus].functions.clone();
            let is_port = |&index: &Index| self.kind(index) == Some(PortType::RootPort);
            let ports: Vec<Index> = functions.filter(is_port).collect();
            let open = self.open_ports(&ports, &[]);
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
}
