//! Topologies made by hand: each is one question about groups.

use super::topology::{Acs, Endpoint, Kind, Node, PLAIN, Topology};

/// All of them.
pub fn all() -> Vec<Topology> {
    let made: Vec<(&str, Vec<Node>)> = vec![
        ("integrated", integrated()),
        ("root-ports", ports([Acs::Kernel; 3])),
        ("root-ports-without-acs", ports([Acs::Absent; 3])),
        (
            "root-ports-nearly-isolating",
            ports([Acs::Bits(0b1_1100), Acs::Bits(0b1_1001), Acs::Bits(0b0_1101)]),
        ),
        ("root-port-intel-ioh", vec![Node::new(Kind::Ioh, 2).with([edu(0)]), edu(3)]),
        ("multifunction-ports", functions([Acs::Kernel; 3])),
        ("multifunction-ports-without-acs", functions([Acs::Absent; 3])),
        ("multifunction-ports-one-without-acs", functions([Acs::Kernel, Acs::Absent, Acs::Kernel])),
        ("port-and-endpoint-in-one-device", port_and_endpoint()),
        ("multifunction-endpoints", multifunction_endpoints()),
        ("switch", vec![port(2, Acs::Kernel).with([switch(0, 3, |_| vec![edu(0)])])]),
        ("switch-below-nothing", vec![port(2, Acs::Absent).with([switch(1, 2, |_| vec![edu(0)])]), edu(3)]),
        ("switches-two-deep", switches_two_deep()),
        ("conventional", conventional()),
        ("conventional-below-a-switch", conventional_below_a_switch()),
        ("integrated-bridges", integrated_bridges()),
        ("virtual-functions", virtual_functions()),
        ("virtual-functions-below-a-switch", virtual_functions_below_a_switch()),
        ("virtual-functions-of-two-functions", two_physical_functions()),
        ("root-buses", root_buses()),
    ];
    made.into_iter().map(|(name, roots)| Topology { name: name.into(), roots }).collect()
}

/// A function without anything special. On a conventional bus it is conventional, and so it is elsewhere.
fn edu(slot: u8) -> Node {
    Node::new(Kind::Endpoint(Endpoint::Plain(0)), slot)
}

/// A function that is PCI Express where its bus is.
fn nic(slot: u8) -> Node {
    Node::new(Kind::Endpoint(Endpoint::Plain(1)), slot)
}

fn igb(slot: u8) -> Node {
    Node::new(Kind::Endpoint(Endpoint::Igb), slot)
}

fn port(slot: u8, acs: Acs) -> Node {
    Node::new(Kind::RootPort(acs), slot)
}

/// A switch with ports in slots from `first` on, and what is below each.
fn switch(first: u8, count: u8, below: impl Fn(u8) -> Vec<Node>) -> Node {
    let ports = (0..count).map(|index| Node::new(Kind::Downstream, first + index).with(below(index)));
    Node::new(Kind::Upstream, 0).with(ports)
}

fn integrated() -> Vec<Node> {
    (0..PLAIN.len()).map(|index| Node::new(Kind::Endpoint(Endpoint::Plain(index)), 2 + index as u8)).collect()
}

fn ports(acs: [Acs; 3]) -> Vec<Node> {
    (2..)
        .zip(acs)
        .map(|(slot, acs)| port(slot, acs).with([if slot == 2 { edu(0) } else { nic(0) }]))
        .collect()
}

fn functions(acs: [Acs; 3]) -> Vec<Node> {
    (0..).zip(acs).map(|(function, acs)| port(2, acs).function(function).with([nic(0)])).collect()
}

fn port_and_endpoint() -> Vec<Node> {
    vec![
        edu(2),
        port(2, Acs::Kernel).function(1).with([nic(0)]),
        port(3, Acs::Kernel).with([nic(0)]),
        nic(3).function(5),
        port(4, Acs::Absent).with([edu(0)]),
        nic(4).function(2),
    ]
}

fn multifunction_endpoints() -> Vec<Node> {
    let three = |slot| {
        let mut last = nic(slot).function(6);
        last.marked = false;
        [edu(slot), nic(slot).function(3), last]
    };
    let mut roots = vec![port(2, Acs::Kernel).with(three(0)), port(3, Acs::Absent).with(three(0))];
    roots.extend(three(4));
    roots
}

fn switches_two_deep() -> Vec<Node> {
    let inner = || switch(0, 2, |index| vec![if index == 0 { nic(0) } else { edu(0) }]);
    let outer = switch(0, 3, |index| if index == 1 { vec![inner()] } else { vec![nic(0)] });
    vec![port(2, Acs::Kernel).with([outer]), port(3, Acs::Kernel).with([nic(0)])]
}

/// Conventional devices, one with two functions, and a bridge below the bridge.
fn behind() -> Vec<Node> {
    let inner = Node::new(Kind::PciBridge, 3).with([edu(1), edu(2)]);
    vec![edu(1), edu(2), edu(2).function(1), inner]
}

fn conventional() -> Vec<Node> {
    let bridge = || Node::new(Kind::PciePci, 0).with(behind());
    vec![port(2, Acs::Kernel).with([bridge()]), port(3, Acs::Absent).with([bridge()]), edu(4)]
}

fn conventional_below_a_switch() -> Vec<Node> {
    let below = |index| vec![if index == 0 { Node::new(Kind::PciePci, 0).with(behind()) } else { nic(0) }];
    vec![port(2, Acs::Kernel).with([switch(0, 3, below)])]
}

fn integrated_bridges() -> Vec<Node> {
    let deep = Node::new(Kind::PciBridge, 2).with([edu(1), edu(3)]);
    vec![
        Node::new(Kind::PciBridge, 2).with([edu(1), edu(2)]),
        Node::new(Kind::Dmi, 3).with([edu(1), deep]),
        Node::new(Kind::PciBridge, 4),
        edu(5),
    ]
}

fn virtual_functions() -> Vec<Node> {
    vec![
        port(2, Acs::Kernel).with([igb(0)]),
        port(3, Acs::Absent).with([igb(0)]),
        port(4, Acs::Kernel).with([Node::new(Kind::Endpoint(Endpoint::NvmeWithVirtual), 0)]),
    ]
}

fn virtual_functions_below_a_switch() -> Vec<Node> {
    vec![port(2, Acs::Kernel).with([switch(0, 2, |index| vec![if index == 0 { igb(0) } else { nic(0) }])])]
}

fn two_physical_functions() -> Vec<Node> {
    vec![
        port(2, Acs::Kernel).with([igb(0), igb(0).function(1)]),
        port(3, Acs::Kernel).with([igb(0), nic(0).function(1)]),
    ]
}

fn root_buses() -> Vec<Node> {
    vec![
        port(2, Acs::Kernel).with([nic(0)]),
        Node::new(Kind::Pxb(0x40), 3)
            .with([port(0, Acs::Kernel).with([nic(0)]), port(1, Acs::Absent).with([edu(0)])]),
        Node::new(Kind::Pxb(0x80), 4)
            .with([Node::new(Kind::PciBridge, 0).with([edu(1)]), port(1, Acs::Kernel).with([igb(0)])]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        let names: std::collections::BTreeSet<String> =
            all().into_iter().map(|topology| topology.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
