//! Random trees of devices. A seed and a number give the same tree for ever, whatever else was made before it.

use super::topology::{Acs, Endpoint, Kind, Node, PLAIN, Topology};

/// Numbers that look random: the generator SplitMix64, whose sequence its author publishes.
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// One of `0..bound`; 0 if that is empty.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// More would not find room: firmware gives each bridge I/O ports, of which there are 16 times 4096.
const MOST_BRIDGES: u32 = 11;
/// Functions beside the bridges.
const MOST_ENDPOINTS: u32 = 26;

/// The tree of a seed and a number.
pub fn topology(seed: u64, number: u32) -> Topology {
    let mut mixed = Random::new(seed);
    let start = mixed.next() ^ u64::from(number).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mut maker = Maker { random: Random::new(start), bridges: 0, endpoints: 0, virtuals: 0, roots: 0 };
    Topology { name: format!("random-{seed}-{number}"), roots: maker.root_bus() }
}

struct Maker {
    random: Random,
    bridges: u32,
    endpoints: u32,
    virtuals: u32,
    roots: u8,
}

impl Maker {
    /// Slots 2 to 30: what the machine brings itself sits at both ends.
    fn root_bus(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let slots = 3 + self.random.below(6);
        let mut slot = 2;
        for _ in 0..slots {
            self.root_slot(slot, &mut nodes);
            slot += 1 + self.random.below(3) as u8;
        }
        nodes
    }

    fn root_slot(&mut self, slot: u8, nodes: &mut Vec<Node>) {
        match self.random.below(12) {
            0..=2 => nodes.push(self.port(slot, 0)),
            // Several functions, most of them ports; some missing in between.
            3..=5 => {
                let mixed = self.random.once_in(3);
                for function in self.functions() {
                    let port = !mixed || self.random.once_in(2);
                    let mut node =
                        if port { self.port(slot, function) } else { self.endpoint(slot).function(function) };
                    node.marked = !self.random.once_in(3);
                    nodes.push(node);
                }
            }
            6 | 7 => self.endpoints_of(slot, nodes),
            8 => {
                let bridge = if self.random.once_in(2) { Kind::PciBridge } else { Kind::Dmi };
                nodes.extend(self.bridge(bridge, slot, |maker| maker.conventional_bus(1)));
            }
            9 => nodes.push(self.endpoint(slot)),
            _ if self.roots < 2 => {
                self.roots += 1;
                let mut below = Vec::new();
                // Nothing but bridges may sit there.
                for slot in 0..1 + self.random.below(3) as u8 {
                    for function in if self.random.once_in(3) { self.functions() } else { vec![0] } {
                        let port = self.port(slot, function);
                        if port.below.is_empty() && matches!(port.kind, Kind::Endpoint(_)) {
                            break;
                        }
                        below.push(port);
                    }
                }
                // Numbers far apart, so that what is behind each finds its own.
                nodes.push(Node::new(Kind::Pxb(0x40 * self.roots), slot).with(below));
            }
            _ => nodes.push(self.port(slot, 0)),
        }
    }

    /// Function numbers of a slot: 0, and up to three others.
    fn functions(&mut self) -> Vec<u8> {
        let mut functions = vec![0];
        for _ in 0..1 + self.random.below(3) {
            let next = functions.last().copied().unwrap_or(0) + 1 + u8::from(self.random.once_in(3));
            if next < 8 {
                functions.push(next);
            }
        }
        functions
    }

    /// A root port with something behind it, or an endpoint once there are bridges enough.
    fn port(&mut self, slot: u8, function: u8) -> Node {
        let kind = match self.random.below(8) {
            0 | 1 => Kind::RootPort(Acs::Absent),
            2 => Kind::Ioh,
            // Any of the five bits that QEMU's port has, so also those that isolate and those that nearly do.
            3 => Kind::RootPort(Acs::Bits(self.random.below(32) as u8)),
            4 => Kind::RootPort(Acs::Bits(0b1_1101 | (self.random.below(2) as u8) << 1)),
            _ => Kind::RootPort(Acs::Kernel),
        };
        let port = self.bridge(kind, slot, |maker| maker.link(0));
        port.unwrap_or_else(|| self.endpoint(slot)).function(function)
    }

    fn bridge(&mut self, kind: Kind, slot: u8, below: impl FnOnce(&mut Self) -> Vec<Node>) -> Option<Node> {
        if self.bridges >= MOST_BRIDGES {
            return None;
        }
        self.bridges += 1;
        let below = below(self);
        Some(Node::new(kind, slot).with(below))
    }

    /// What a link of PCI Express leads to; `depth` switches are above.
    fn link(&mut self, depth: u32) -> Vec<Node> {
        let mut nodes = Vec::new();
        match self.random.below(10) {
            0 => {}
            1..=3 => nodes.push(self.endpoint(0)),
            4 => self.endpoints_of(0, &mut nodes),
            5 if self.virtuals < 3 => {
                self.virtuals += 1;
                let endpoint = if self.random.once_in(3) { Endpoint::NvmeWithVirtual } else { Endpoint::Igb };
                nodes.push(Node::new(Kind::Endpoint(endpoint), 0));
            }
            6 => nodes.extend(self.bridge(Kind::PciePci, 0, |maker| maker.conventional_bus(0))),
            7 | 8 if depth < 2 => {
                nodes.extend(self.bridge(Kind::Upstream, 0, |maker| maker.switch(depth + 1)));
            }
            _ => nodes.push(self.endpoint(0)),
        }
        nodes
    }

    fn switch(&mut self, depth: u32) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut slot = self.random.below(3) as u8;
        for _ in 0..1 + self.random.below(3) {
            // Ports of a switch as functions of one device, or each a device.
            let functions = if self.random.once_in(4) { self.functions() } else { vec![0] };
            for function in functions {
                let port = self.bridge(Kind::Downstream, slot, |maker| maker.link(depth));
                nodes.extend(port.map(|port| port.function(function)));
            }
            slot += 1 + self.random.below(2) as u8;
        }
        // A function of a device is found by way of its function 0.
        let zero: Vec<u8> = nodes.iter().filter(|node| node.function == 0).map(|node| node.slot).collect();
        nodes.retain(|node| zero.contains(&node.slot));
        nodes
    }

    /// Slot 0 of these buses belongs to their bridge's hot-plug controller.
    fn conventional_bus(&mut self, depth: u32) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut slot = 1;
        for _ in 0..self.random.below(4) {
            if depth < 2 && self.random.once_in(4) {
                let bridge = self.bridge(Kind::PciBridge, slot, |maker| maker.conventional_bus(depth + 1));
                nodes.extend(bridge);
            } else if self.random.once_in(3) {
                self.endpoints_of(slot, &mut nodes);
            } else {
                nodes.push(self.endpoint(slot));
            }
            slot += 1 + self.random.below(2) as u8;
        }
        nodes
    }

    fn endpoint(&mut self, slot: u8) -> Node {
        self.endpoints += 1;
        // Once there are many, all are of the kind that needs least room.
        let index = if self.endpoints > MOST_ENDPOINTS { 0 } else { self.random.below(PLAIN.len() as u64) };
        Node::new(Kind::Endpoint(Endpoint::Plain(index as usize)), slot)
    }

    fn endpoints_of(&mut self, slot: u8, nodes: &mut Vec<Node>) {
        for function in self.functions() {
            let mut node = self.endpoint(slot).function(function);
            node.marked = !self.random.once_in(3);
            nodes.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_seed_and_a_number_name_one_tree() {
        assert_eq!(topology(1, 7), topology(1, 7));
        assert_ne!(topology(1, 7).roots, topology(1, 8).roots);
        assert_ne!(topology(1, 7).roots, topology(2, 7).roots);
    }

    fn each(nodes: &[Node], see: &mut dyn FnMut(&Node)) {
        for node in nodes {
            see(node);
            each(&node.below, see);
        }
    }

    #[test]
    fn every_kind_comes_up_and_no_place_is_taken_twice() {
        let mut kinds = std::collections::BTreeSet::new();
        for number in 0..200 {
            let topology = topology(3, number);
            let mut bridges = 0;
            each(&topology.roots, &mut |node| {
                kinds.insert(format!("{:?}", std::mem::discriminant(&node.kind)));
                bridges += u32::from(!matches!(node.kind, Kind::Endpoint(_) | Kind::Pxb(_)));
                if let Kind::Endpoint(endpoint) = node.kind {
                    kinds.insert(format!("{endpoint:?}"));
                }
                places(&node.below);
            });
            places(&topology.roots);
            assert!(bridges <= MOST_BRIDGES, "{bridges} bridges in {}", topology.name);
        }
        // Nine kinds; the plain endpoints and the two with virtual functions.
        assert_eq!(kinds.len(), 9 + PLAIN.len() + 2, "{kinds:?}");
    }

    fn places(nodes: &[Node]) {
        let mut seen = std::collections::BTreeSet::new();
        for node in nodes {
            assert!(node.slot < 32 && node.function < 8);
            assert!(seen.insert((node.slot, node.function)), "{nodes:?}");
        }
        assert!(nodes.iter().all(|node| seen.contains(&(node.slot, 0))), "{nodes:?}");
    }
}
