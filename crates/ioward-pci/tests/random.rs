//! Random machines and random bytes.
//!
//! On random trees the `fabric` policy is held against a walk that follows each request, function by function, hop by
//! hop, and knows nothing of sets; and every reason of both policies must hold.

mod common;

use common::{build::*, promises};
use ioward_pci::{
    AcsBits, Edit, Fact, Function, PortType, Topology,
    groups::{Fabric, Isolation, Lack, Linux, Policy},
};
use std::collections::BTreeSet;

/// A generator: xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

struct Builder {
    random: Random,
    functions: Vec<Function>,
    next_bus: u8,
}

impl Builder {
    fn acs(&mut self, function: Function) -> Function {
        let bits = |random: &mut Random| AcsBits(random.next() as u16 & ALL.0);
        match self.random.below(6) {
            0 => function,
            1 => {
                let capability = bits(&mut self.random);
                let control = bits(&mut self.random) & capability;
                function.acs(capability, control)
            }
            _ => function.acs(ALL, ALL),
        }
    }

    fn name(bus: u8, device: u8, function: u8) -> String {
        format!("{bus:02x}:{device:02x}.{function}")
    }

    /// Puts something below a port, and tells the last bus used.
    fn fill(&mut self, bus: u8, depth: u32) {
        match self.random.below(10) {
            0 => {}
            1..=3 if depth < 3 && self.next_bus < 200 => self.switch(bus, depth),
            4 if self.next_bus < 220 => {
                let below = self.take();
                self.functions.push(to_conventional(&Self::name(bus, 0, 0), below, below));
                for device in 0..=self.random.below(2) {
                    self.functions.push(plain(&Self::name(below, device as u8, 0)));
                }
            }
            _ => {
                let count = 1 + self.random.below(3) as u8;
                for one in 0..count {
                    let mut device = endpoint(&Self::name(bus, 0, one));
                    device.multifunction = Some(count > 1 && one == 0);
                    if self.random.one_in(8) {
                        device = device.ids(0x1b4b, 0x9230);
                    }
                    let device = if self.random.one_in(2) { self.acs(device) } else { device };
                    self.functions.push(device);
                }
            }
        }
    }

    fn take(&mut self) -> u8 {
        self.next_bus += 1;
        self.next_bus
    }

    fn switch(&mut self, bus: u8, depth: u32) {
        let inside = self.take();
        let engines = self.random.below(8) / 6;
        let top = self.functions.len();
        let mut up = upstream(&Self::name(bus, 0, 0), inside, inside);
        up.multifunction = Some(engines != 0);
        self.functions.push(up);
        for one in 0..engines {
            self.functions.push(endpoint(&Self::name(bus, 0, one as u8 + 1)));
        }
        for device in 0..1 + self.random.below(3) as u8 {
            let below = self.take();
            let place = self.functions.len();
            let port = downstream(&Self::name(inside, device, 0), below, below);
            let port = self.acs(port);
            self.functions.push(port);
            self.fill(below, depth + 1);
            self.close(place);
        }
        self.close(top);
    }

    /// A bridge forwards everything that was numbered since.
    fn close(&mut self, place: usize) {
        let last = self.next_bus;
        if let ioward_pci::function::Header::Bridge { subordinate, .. } = &mut self.functions[place].header {
            *subordinate = last;
        }
    }
}

fn machine(seed: u64) -> Vec<Function> {
    let mut builder = Builder { random: Random::new(seed), functions: Vec::new(), next_bus: 0 };
    for device in 1..2 + builder.random.below(4) as u8 {
        let ports = 1 + builder.random.below(2) as u8;
        for one in 0..ports {
            let below = builder.take();
            let place = builder.functions.len();
            let mut port = root_port(&Builder::name(0, device, one), below, below);
            port.multifunction = Some(ports > 1 && one == 0);
            let port = builder.acs(port);
            builder.functions.push(port);
            builder.fill(below, 0);
            builder.close(place);
        }
    }
    if builder.random.one_in(2) {
        let below = builder.take();
        builder.functions.push(conventional_bridge("00:1e.0", below, below));
        builder.functions.push(plain(&Builder::name(below, 0, 0)));
    }
    builder.functions.push(plain("00:1f.0").multi());
    builder.functions.push(plain("00:1f.3"));
    builder.functions
}

/// The walk.
struct Walk<'a>(&'a Topology);

impl Walk<'_> {
    fn kind(&self, index: usize) -> Option<PortType> {
        self.0.functions()[index].port_type()
    }
    fn lack(&self, index: usize, bits: AcsBits) -> Option<Lack> {
        let isolation = Isolation::of(self.0, index);
        (!isolation.covers(bits)).then(|| isolation.lack(self.0, index, bits))
    }
    fn is_below(&self, index: usize, bridge: usize) -> bool {
        self.0.path(index).any(|above| above == bridge)
    }
    fn is_port(&self, index: usize) -> bool {
        matches!(self.kind(index), Some(PortType::RootPort | PortType::DownstreamPort))
    }
    fn same_slot(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.0.functions()[one].at, self.0.functions()[other].at);
        one.on() == other.on() && one.device() == other.device()
    }
    fn same_bus(&self, one: usize, other: usize) -> bool {
        self.0.functions()[one].at.on() == self.0.functions()[other].at.on()
    }

    /// Whether a request of `from` can arrive at `to` without having been at the root.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut at = from;
        loop {
            // Inside a device: to another function of it, or through that one down.
            if !self.is_port(at) && self.lack(at, AcsBits::RR).is_some() {
                let other = (0..self.0.functions().len()).find(|&x| {
                    x != at && !self.is_port(x) && self.same_slot(x, at) && (x == to || self.is_below(to, x))
                });
                if other.is_some() {
                    return true;
                }
            }
            let Some(port) = self.0.above(at) else { return false };
            // What was redirected below comes back down from a port that could forward it and does not.
            if self.sends_back(port) && self.is_below(to, port) {
                return true;
            }
            let lack = self.lack(port, AcsBits::RR);
            let all = 0..self.0.functions().len();
            let passes = match (self.kind(port), lack) {
                (Some(PortType::DownstreamPort), Some(_)) => all.clone().any(|x| {
                    let there = if self.is_port(x) { self.is_below(to, x) } else { x == to };
                    x != port && self.same_bus(x, port) && there
                }),
                (Some(PortType::RootPort), Some(Lack::NotSet(_))) => all.clone().any(|x| {
                    self.kind(x) == Some(PortType::RootPort) && self.same_bus(x, port) && self.is_below(to, x)
                }),
                (Some(PortType::RootPort), Some(_)) => all.clone().any(|x| {
                    let root_port = self.kind(x) == Some(PortType::RootPort);
                    self.same_slot(x, port) && if root_port { self.is_below(to, x) } else { x == to }
                }),
                _ => false,
            };
            if passes {
                return true;
            }
            at = port;
        }
    }

    fn sends_back(&self, port: usize) -> bool {
        self.is_port(port) && matches!(self.lack(port, AcsBits::UF), Some(Lack::NotSet(_)))
    }

    /// Whether `from` can issue requests in the name of `to`.
    fn forges(&self, from: usize, to: usize) -> bool {
        let is_bridge = |index: usize| self.0.functions()[index].header.is_bridge();
        if is_bridge(from) || is_bridge(to) {
            return false;
        }
        let mut first = true;
        for port in self.0.path(from).filter(|&port| self.is_port(port)) {
            let checks = match self.lack(port, AcsBits::SV) {
                None => true,
                Some(Lack::NotSet(_)) => false,
                Some(_) => self.kind(port) == Some(PortType::RootPort),
            };
            if checks {
                return !first && self.is_below(to, port);
            }
            first = false;
        }
        !first
    }

    /// Whether a port belongs to what it fails to separate.
    fn makes(&self, port: usize, below: usize) -> bool {
        if !self.is_port(port) || !self.is_below(below, port) {
            return false;
        }
        // Names pass it unchecked if they pass every port up to it unchecked.
        let unchecked = self.0.path(below).filter(|&above| self.is_port(above)).find(|&above| {
            above == port
                || match self.lack(above, AcsBits::SV) {
                    None => true,
                    Some(Lack::NotSet(_)) => false,
                    Some(_) => self.kind(above) == Some(PortType::RootPort),
                }
        });
        let forged = unchecked == Some(port)
            && match self.lack(port, AcsBits::SV) {
                Some(Lack::NotSet(_)) => true,
                Some(_) => self.kind(port) == Some(PortType::DownstreamPort),
                None => false,
            };
        let all = 0..self.0.functions().len();
        self.lack(port, AcsBits::RR).is_some()
            || self.sends_back(port) && all.filter(|&index| self.is_below(index, port)).count() > 1
            || forged
                && (0..self.0.functions().len()).any(|victim| victim != below && self.forges(below, victim))
    }

    fn shares(&self, one: usize, other: usize) -> bool {
        let ids = |index: usize| -> BTreeSet<_> { self.0.requesters(index).iter().map(|r| r.id).collect() };
        let wires = |bridge: usize, index: usize| {
            self.is_below(index, bridge)
                && (self.kind(bridge) == Some(PortType::ToConventional)
                    || self.0.functions()[bridge].header.is_bridge()
                        && self.0.functions()[bridge].express == Fact::Absent)
        };
        !ids(one).is_disjoint(&ids(other)) || wires(one, other) || wires(other, one)
    }

    fn partition(&self) -> BTreeSet<BTreeSet<usize>> {
        let count = self.0.functions().len();
        let mut set_of: Vec<usize> = (0..count).collect();
        for one in 0..count {
            for other in 0..count {
                if one != other
                    && set_of[one] != set_of[other]
                    && (self.reaches(one, other)
                        || self.forges(one, other)
                        || self.makes(one, other)
                        || self.shares(one, other))
                {
                    let (old, new) = (set_of[one], set_of[other]);
                    set_of.iter_mut().filter(|set| **set == old).for_each(|set| *set = new);
                }
            }
        }
        let sets = (0..count).map(|set| (0..count).filter(|&index| set_of[index] == set).collect());
        sets.filter(|set: &BTreeSet<usize>| !set.is_empty()).collect()
    }
}

#[test]
fn the_fabric_policy_agrees_with_a_walk_of_every_request() {
    let mut joined = 0;
    for seed in 0..300 {
        let topology = topology(machine(seed));
        let grouping = Fabric::default().groups(&topology);
        let ours: BTreeSet<BTreeSet<usize>> = grouping
            .groups
            .iter()
            .map(|group| group.members.iter().map(|&at| topology.find(at).unwrap()).collect())
            .collect();
        let walked = Walk(&topology).partition();
        let names = |sets: &BTreeSet<BTreeSet<usize>>| -> Vec<Vec<String>> {
            let name = |&index: &usize| topology.functions()[index].at.to_string();
            sets.iter().map(|set| set.iter().map(name).collect()).collect()
        };
        assert_eq!(names(&ours), names(&walked), "seed {seed}");
        joined += ours.iter().filter(|set| set.len() > 1).count();
    }
    assert!(joined > 300, "machines with nothing to join prove nothing");
}

#[test]
fn every_reason_of_random_machines_survives_its_removal() {
    let mut checked = 0;
    for seed in 1000..1120 {
        let topology = topology(machine(seed));
        promises::hold_topology(&topology);
        for policy in [&Linux as &dyn Policy, &Fabric::default()] {
            for reason in policy.groups(&topology).groups.iter().flat_map(|group| &group.reasons) {
                let split = policy.groups(&topology.without(&reason.causes));
                assert!(
                    !split.together(reason.member, reason.with),
                    "{} seed {seed}: {reason}",
                    policy.name()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 500);
}

#[test]
fn random_machines_can_be_edited() {
    let (mut made, mut refused) = (0, 0);
    for seed in 0..400 {
        let topology = topology(machine(seed));
        promises::hold_edits(&topology, seed);
        let ports: Vec<_> = topology.functions().iter().filter(|f| f.header.is_bridge()).collect();
        for device in topology.functions().iter().skip(seed as usize % 7).step_by(7) {
            let below = ports[device.at.requester() as usize % ports.len()].at;
            match topology.edit(&[Edit::Move { device: device.at, below }]) {
                Err(_) => refused += 1,
                Ok(edited) => {
                    made += 1;
                    assert_eq!(edited.topology.findings(), []);
                    let port = edited.now(below).unwrap();
                    let now = edited.topology.find(edited.now(device.at).unwrap()).unwrap();
                    assert_eq!(edited.topology.above(now), edited.topology.find(port));
                    // What was below it still is, in the same order of ports.
                    let old = topology.find(device.at).unwrap();
                    let depth = |t: &Topology, index| t.path(index).count();
                    for (index, function) in topology.functions().iter().enumerate() {
                        let moved = topology.path(index).any(|above| above == old);
                        let new = edited.topology.find(edited.now(function.at).unwrap()).unwrap();
                        let by = depth(&edited.topology, now) as isize - depth(&topology, old) as isize;
                        let shift = depth(&edited.topology, new) as isize - depth(&topology, index) as isize;
                        assert!(!moved || shift == by, "{} of seed {seed}", function.at);
                    }
                }
            }
        }
    }
    assert!(made > 100 && refused > 100, "{made} made, {refused} refused");
}

#[test]
fn the_order_of_description_does_not_matter() {
    for seed in 0..50 {
        let functions = machine(seed);
        let mut reversed = functions.clone();
        reversed.reverse();
        let (one, other) = (topology(functions), topology(reversed));
        for policy in [&Linux as &dyn Policy, &Fabric::default()] {
            assert_eq!(policy.groups(&one), policy.groups(&other));
        }
    }
}

#[test]
fn any_bytes_are_configuration_space() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut bytes: Vec<u8> = (0..random.below(4200)).map(|_| random.next() as u8).collect();
        // Most of it plausible: a header, lists that mostly go somewhere.
        if bytes.len() > 0x110 && !random.one_in(4) {
            bytes[0] = 0x86;
            bytes[6] |= 0x10;
            bytes[0xe] = random.below(3) as u8 | (random.below(2) as u8) << 7;
            bytes[0x34] = 0x40 + random.below(0x30) as u8 * 4;
            let ids = [0x01, 0x10, 0x0d, 0x05];
            for at in (0x40..0x100).step_by(4) {
                bytes[at] = ids[random.below(4) as usize];
                bytes[at + 1] = random.below(64) as u8 * 4;
            }
            let ids = [0x0d, 0x0e, 0x0f, 0x10, 0x13, 0x1b];
            for at in (0x100..bytes.len() & !3).step_by(4) {
                let word = ids[random.below(6) as usize] as u32 | 1 << 16 | (random.below(1024) as u32) << 22;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        promises::hold_config(&bytes);
        if seed % 20 == 0 {
            promises::hold_bus(&bytes);
        }
    }
}

#[test]
fn any_bytes_describe_a_machine() {
    let (mut most, mut groups) = (0, 0);
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let count = random.below(30) as usize;
        let bytes: Vec<u8> = (0..count * 12).map(|_| random.next() as u8).collect();
        let (functions, joined) = promises::hold_machine(&bytes);
        (most, groups) = (most.max(functions), groups + joined);
    }
    assert!(most > 12 && groups > 150, "{most} functions at most, {groups} groups of several");
}

#[test]
fn any_text_is_a_listing() {
    let good = "\
00:1c.0 PCI bridge [0604]: Intel Corporation Device [8086:a340] (rev f0)
\tFlags: bus master, IOMMU group 7
\tBus: primary=00, secondary=03, subordinate=05, sec-latency=0
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\tCapabilities: [140 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd- EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
00: 86 80 40 a3 07 04 10 00 f0 00 04 06 10 00 81 00
03:00.0 Ethernet controller: X [10ec:8125]
\tCapabilities: [70] Express (v2) Endpoint, MSI 01
\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)
\t\tIOVCtl:\tEnable+ Number of VFs: 65535, VF offset: 65535, stride: 65535, Device ID: ffff
";
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..1 + random.below(12) {
            if text.is_empty() {
                break;
            }
            let at = random.below(text.len() as u64) as usize;
            match random.below(4) {
                0 => drop(text.remove(at)),
                1 => {
                    text[at] =
                        ['\n', '>', '=', '\u{e9}', '0', ':', '[', '+', '\t', 'f'][random.below(10) as usize]
                }
                2 => {
                    let from = random.below(text.len() as u64) as usize;
                    let piece: Vec<char> = text[from..text.len().min(from + 60)].to_vec();
                    text.splice(at..at, piece);
                }
                _ => text.truncate(at.max(1)),
            }
        }
        promises::hold_text(&text.into_iter().collect::<String>());
    }
}

#[test]
fn the_committed_corpora_keep_the_promises() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = |name: &str| -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(corpus.join(name)).unwrap();
        entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
    };
    for bytes in files("lspci") {
        promises::hold_text(&String::from_utf8_lossy(&bytes));
    }
    for bytes in files("config_space") {
        promises::hold_config(&bytes);
        promises::hold_bus(&bytes);
        promises::hold_machine(&bytes);
    }
}
