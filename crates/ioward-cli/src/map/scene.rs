//! What is drawn, before anybody knows where: nodes, what they say, and what hangs below them.

use super::Subject;
use ioward::pci::{
    AcsBits, Bdf, Fact, Function, PortType,
    groups::{Isolation, Lack},
    topology::Index,
};
use std::collections::BTreeSet;

/// Functions that nothing tells apart (one bus, one name, nothing below) are drawn one by one up to so many, and as one
/// node beyond.
const MOST: usize = 4;

/// Class 08h, subclass 06h.
const IOMMU: u16 = 0x0806;

/// A node of the drawing.
#[derive(Debug)]
pub struct Node {
    /// Its functions, ascending: one, or a run that is drawn as one.
    pub functions: Vec<Index>,
    /// What it is, in a word or two.
    pub kind: &'static str,
    /// What it lacks to keep apart what it should; none if nothing, or if it has nothing to keep apart.
    pub lacks: Option<String>,
    /// Whether it leads to a bus, or would if something were there.
    pub bridge: bool,
    /// Firmware says that what is below it can be plugged in from outside.
    pub external: bool,
    /// What is on the bus that it leads to.
    pub below: Vec<Node>,
    /// Its virtual functions.
    pub virtuals: Vec<Node>,
}

impl Node {
    /// Its first function.
    pub fn first(&self) -> Index {
        self.functions[0]
    }

    /// Whether it stands for several functions.
    pub fn is_folded(&self) -> bool {
        self.functions.len() > 1
    }
}

/// A bus that no drawn bridge leads to.
#[derive(Debug)]
pub struct Root {
    /// What is written above it.
    pub heading: String,
    /// The IOMMU that serves all of it, if it is one.
    pub unit: Option<usize>,
    /// What is on it.
    pub nodes: Vec<Node>,
}

/// The buses of a machine that no bridge leads to, ascending, with everything below them. Every function is in exactly
/// one node.
pub fn roots(subject: &Subject<'_>) -> Vec<Root> {
    let topology = subject.topology;
    let mut lent: Vec<Vec<usize>> = vec![Vec::new(); topology.buses().len()];
    for (number, bus) in topology.buses().iter().enumerate() {
        if let Some(lender) = bus.lent_by {
            lent[lender].push(number);
        }
    }
    let mut below = vec![None; topology.functions().len()];
    for (number, bus) in topology.buses().iter().enumerate() {
        if let Some(bridge) = bus.bridge {
            below[bridge] = Some(number);
        }
    }
    let scene = Scene { subject, lent, below };
    let roots = topology
        .buses()
        .iter()
        .enumerate()
        .filter(|(_, bus)| bus.bridge.is_none() && bus.lent_by.is_none() && !bus.functions.is_empty());
    roots
        .map(|(number, bus)| {
            let what = if bus.orphan { "bus without a way to it" } else { "root bus" };
            let nodes = scene.bus(number);
            let mut units: Vec<usize> =
                nodes.iter().filter_map(|node| subject.served.get(&node.first()).copied()).collect();
            units.dedup();
            let unit = if let [unit] = units[..] { Some(unit) } else { None };
            let served =
                unit.map_or(String::new(), |unit| format!(" · IOMMU {unit}, {}", subject.iommus[unit]));
            Root { heading: format!("{what} {}{served}", bus.id), unit, nodes }
        })
        .collect()
}

struct Scene<'a> {
    subject: &'a Subject<'a>,
    /// By bus: the buses that only virtual functions of it use.
    lent: Vec<Vec<usize>>,
    /// By bridge: the bus that it leads to.
    below: Vec<Option<usize>>,
}

impl Scene<'_> {
    /// The nodes on a bus. Recursion ends: what is below has a higher bus number, and there are 256.
    fn bus(&self, number: usize) -> Vec<Node> {
        let topology = self.subject.topology;
        let buses = topology.buses();
        let lent = self.lent[number].iter().flat_map(|&bus| buses[bus].functions.clone());
        let here: Vec<Index> = buses[number].functions.clone().chain(lent).collect();
        let on_bus: BTreeSet<Index> = here.iter().copied().collect();
        // A virtual function hangs on its physical one, if that is drawn here too.
        let holder = |index: Index| topology.physical(index).filter(|physical| on_bus.contains(physical));
        let mut nodes: Vec<Node> =
            here.iter().filter(|&&index| holder(index).is_none()).map(|&index| self.node(index)).collect();
        let mut virtuals: Vec<(Index, Node)> =
            here.iter().filter_map(|&index| Some((holder(index)?, self.node(index)))).collect();
        virtuals.sort_by_key(|(physical, node)| (*physical, node.first()));
        for (physical, node) in virtuals {
            // Both ascend, and `nodes` holds every physical function.
            if let Ok(at) = nodes.binary_search_by_key(&physical, Node::first) {
                nodes[at].virtuals.push(node);
            } else {
                nodes.push(node);
            }
        }
        for node in &mut nodes {
            let virtuals = std::mem::take(&mut node.virtuals);
            node.virtuals = self.fold(virtuals);
        }
        self.fold(nodes)
    }

    fn node(&self, index: Index) -> Node {
        let topology = self.subject.topology;
        let function = &topology.functions()[index];
        Node {
            functions: vec![index],
            kind: self.kind(index, function),
            lacks: self.lacks(index, function),
            bridge: function.header.is_bridge(),
            external: function.external_facing,
            below: self.below[index].map_or(Vec::new(), |bus| self.bus(bus)),
            virtuals: Vec::new(),
        }
    }

    /// What a function is, in a word or two that fit into a node.
    fn kind(&self, index: Index, function: &Function) -> &'static str {
        match (function.port_type(), function.class) {
            (_, Some(IOMMU)) => "IOMMU",
            (_, Some(0x0600)) => "host bridge",
            _ if self.subject.topology.physical(index).is_some() => "virtual",
            (Some(PortType::RootPort), _) => "root port",
            (Some(PortType::UpstreamPort), _) => "upstream",
            (Some(PortType::DownstreamPort), _) => "downstream",
            (Some(PortType::ToConventional), _) => "PCI bridge",
            (Some(PortType::FromConventional), _) => "PCIe bridge",
            (Some(PortType::IntegratedEndpoint), _) => "integrated",
            (Some(PortType::EventCollector), _) => "collector",
            (Some(PortType::Endpoint | PortType::LegacyEndpoint | PortType::Reserved(_)), _) => "endpoint",
            (None, Some(0x0607)) => "CardBus",
            (None, _) if function.header.is_bridge() => "bridge",
            (None, _) if function.express == Fact::Unseen => "not read",
            (None, _) => "PCI",
        }
    }

    /// What a port, a bridge or a function among several lacks.
    fn lacks(&self, index: Index, function: &Function) -> Option<String> {
        let topology = self.subject.topology;
        let isolation = Isolation::of(topology, index);
        if isolation.covers(AcsBits::ISOLATION) {
            return isolation.egress_open(topology, index).then(|| "egress open".to_owned());
        }
        // An IOMMU is in no group, whatever it does.
        let separates = function.header.is_bridge() || topology.is_multifunction(index);
        if !separates || function.class == Some(IOMMU) {
            return None;
        }
        Some(match isolation.lack(topology, index, AcsBits::ISOLATION) {
            Lack::NotSet(bits) if bits.covers(AcsBits::ISOLATION) => "ACS off".to_owned(),
            Lack::NotSet(bits) => format!("{} off", letters(bits)),
            Lack::NoCapability | Lack::NotExpress | Lack::Kind => "no ACS".to_owned(),
            Lack::EgressControl => "egress open".to_owned(),
            Lack::PortMemory => "port memory".to_owned(),
            Lack::Quirk(_) => "by quirk".to_owned(),
            Lack::Unseen => "not read".to_owned(),
        })
    }

    /// Puts runs of nodes that nothing tells apart into one each, where there are more than [`MOST`]. Both policies agree
    /// that a run is either one group or a group for each, so that one node can show it.
    fn fold(&self, nodes: Vec<Node>) -> Vec<Node> {
        let mut folded: Vec<Node> = Vec::new();
        let mut runs: Vec<Vec<Node>> = Vec::new();
        for node in nodes {
            match runs.last_mut() {
                Some(run) if self.are_alike(run, &node) => run.push(node),
                _ => runs.push(vec![node]),
            }
        }
        for mut run in runs {
            if run.len() > MOST {
                let functions = run.iter().map(Node::first).collect();
                let first = run.swap_remove(0);
                folded.push(Node { functions, ..first });
            } else {
                folded.append(&mut run);
            }
        }
        folded
    }

    fn are_alike(&self, run: &[Node], node: &Node) -> bool {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let plain = |node: &Node| node.below.is_empty() && node.virtuals.is_empty() && !node.bridge;
        if !plain(first) || !plain(node) || first.kind != node.kind || first.lacks != node.lacks {
            return false;
        }
        let same_name = (self.subject.words)(first.first()).name == (self.subject.words)(node.first()).name;
        same_name
            && self.subject.served.get(&first.first()) == self.subject.served.get(&node.first())
            && [0, 1].iter().all(|&view| {
                let relation = |one: &Node, other: &Node| self.relation(view, one.first(), other.first());
                let now = relation(last, node);
                now != Relation::Other && (run.len() == 1 || now == relation(first, &run[1]))
            })
            && self.is_unsure(first.first()) == self.is_unsure(node.first())
    }

    fn relation(&self, view: usize, one: Index, other: Index) -> Relation {
        let grouping = self.subject.views[view].grouping;
        match (grouping.group_of(self.at(one)), grouping.group_of(self.at(other))) {
            (Some(a), Some(b)) if a.id == b.id => Relation::Together,
            (Some(a), Some(b)) if a.members.len() == 1 && b.members.len() == 1 => Relation::EachAlone,
            (None, None) => Relation::Together,
            _ => Relation::Other,
        }
    }

    fn is_unsure(&self, index: Index) -> [bool; 2] {
        self.subject.views.map(|view| view.grouping.unsure.binary_search(&self.at(index)).is_ok())
    }

    fn at(&self, index: Index) -> Bdf {
        self.subject.topology.functions()[index].at
    }
}

#[derive(PartialEq, Eq)]
enum Relation {
    Together,
    EachAlone,
    Other,
}

/// The bits by the letters that the specification has for them.
fn letters(bits: AcsBits) -> String {
    const LETTERS: [(AcsBits, &str); 6] = [
        (AcsBits::SV, "SV"),
        (AcsBits::RR, "RR"),
        (AcsBits::CR, "CR"),
        (AcsBits::UF, "UF"),
        (AcsBits::TB, "TB"),
        (AcsBits::DT, "DT"),
    ];
    let names: Vec<&str> =
        LETTERS.iter().filter(|(bit, _)| bits.covers(*bit)).map(|(_, name)| *name).collect();
    names.join(" ")
}
