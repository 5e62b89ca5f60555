//! The part of a device tree that has to do with IOMMUs.

use super::{acpi::severity, function, part::Trouble};
use ioward_firmware::devicetree::{
    self, Cells, Node, Path, Property,
    compatible::{self, Kind},
};
use ioward_types::describe::Fact;
use serde::Serialize;
use std::collections::BTreeMap;

/// A device tree, as far as it has to do with IOMMUs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Tree {
    /// The bytes of the blob.
    pub bytes: u32,
    /// How many nodes the tree has, those that are not shown included.
    pub nodes_read: usize,
    /// IOMMUs, what they serve, message controllers that devices name, and reserved memory for devices, in the tree's order.
    pub nodes: Vec<TreeNode>,
    /// What is wrong with the tree and with no node that is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Trouble>,
}

/// A node.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TreeNode {
    /// Its path.
    pub path: String,
    /// Where its token lies in the blob.
    pub offset: u32,
    /// What it is.
    pub about: String,
    /// Whether neither it nor an ancestor is disabled.
    pub enabled: bool,
    /// Its properties: all of an IOMMU's, and of others those that matter here.
    pub properties: Vec<TreeProperty>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Trouble>,
}

/// A property.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TreeProperty {
    /// Its name.
    pub name: String,
    /// Where its token lies in the blob.
    pub offset: u32,
    /// What it holds, as the source form of a device tree has it.
    pub value: String,
    /// What each of its entries means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub meaning: Vec<String>,
}

/// The properties of devices that are shown.
const SHOWN: [&str; 22] = [
    "compatible",
    "reg",
    "status",
    "device_type",
    "phandle",
    "iommus",
    "iommu-map",
    "iommu-map-mask",
    "msi-map",
    "msi-map-mask",
    "msi-parent",
    "msi-controller",
    "#msi-cells",
    "iommu-addresses",
    "memory-region",
    "dma-coherent",
    "dma-noncoherent",
    "dma-can-stall",
    "pasid-num-bits",
    "ats-supported",
    "linux,pci-domain",
    "bus-range",
];

/// What a phandle leads to.
struct Target {
    path: String,
    iommu_cells: u32,
    msi_cells: u32,
    /// Of its bus: the cells of an address and of a size.
    bus_cells: (u32, u32),
}

/// Shows what of a device tree has to do with IOMMUs. A blob that cannot be read has no nodes and says why.
pub fn tree(bytes: &[u8]) -> Tree {
    let mut problems = Vec::new();
    devicetree::facts(bytes, &mut |fact| {
        if let Fact::Problem(problem) = fact {
            let text = format!("{}: {}", problem.structure, problem.cause);
            problems.push((problem.offset, Trouble { severity: severity(problem.severity()), text }));
        }
    });
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut shown = Tree { bytes: length, nodes_read: 0, nodes: Vec::new(), problems: Vec::new() };
    if let Ok(tree) = devicetree::Tree::open(bytes, &mut |_| {}) {
        let targets = targets(&tree);
        // Where the structure is broken has been told with the facts.
        let _ = tree.walk(&mut |path| {
            shown.nodes_read += 1;
            shown.nodes.extend(path.node().and_then(|node| node_part(path, &node, &targets)));
            true
        });
    }
    for (offset, trouble) in problems {
        // A node's properties lie between its own token and that of the node after it.
        match shown.nodes.iter_mut().rev().find(|node| node.offset <= offset && offset < node.end()) {
            Some(node) => node.problems.push(trouble),
            None => shown.problems.push(trouble),
        }
    }
    shown
}

impl TreeNode {
    /// One past the first byte of its last property that is shown, whose value may be empty.
    fn end(&self) -> u32 {
        let last = self.properties.last();
        // Three words of a property's token, then its value; what is shown of it has at least as many characters.
        last.map_or(self.offset + 4, |last| last.offset.saturating_add(12 + 4 * last.value.len() as u32))
    }
}

fn targets(tree: &devicetree::Tree<'_>) -> BTreeMap<u32, Target> {
    let mut targets = BTreeMap::new();
    let _ = tree.walk(&mut |path| {
        let Some((node, phandle)) = path.node().and_then(|node| Some((node, node.phandle()?))) else {
            return true;
        };
        // The first node of a phandle counts, as everywhere.
        targets.entry(phandle).or_insert_with(|| Target {
            path: path.to_string(),
            iommu_cells: node.cell("#iommu-cells").unwrap_or(0),
            msi_cells: node.cell("#msi-cells").unwrap_or(0),
            bus_cells: path.parent().map_or((2, 1), |bus| (bus.address_cells(), bus.size_cells())),
        });
        true
    });
    targets
}

fn node_part(path: &Path<'_>, node: &Node<'_>, targets: &BTreeMap<u32, Target>) -> Option<TreeNode> {
    let kind = compatible::kind(node);
    let is_msi = node.has("msi-controller");
    let about = match kind {
        Some(Kind::SmmuV3) => "SMMUv3".to_owned(),
        Some(Kind::RiscV) => "RISC-V IOMMU".to_owned(),
        Some(Kind::Virtio) => "virtio-iommu".to_owned(),
        Some(Kind::Other(name)) => format!("IOMMU of a kind that ioward does not drive: {name}"),
        None if node.has("iommu-addresses") => "memory reserved for devices".to_owned(),
        None if node.has("iommu-map") => "bus behind an IOMMU".to_owned(),
        None if node.has("iommus") => "device behind an IOMMU".to_owned(),
        None if node.has("msi-map") => "bus whose messages are routed".to_owned(),
        None if node.has("msi-parent") => "device whose messages have a controller of their own".to_owned(),
        None if is_msi => "controller of message-signalled interrupts".to_owned(),
        None => return None,
    };
    let registers = path.registers(0).filter(|_| kind.is_some() || is_msi);
    let about = match registers {
        Some(span) => format!("{about}, registers {:#x}..={:#x}", span.start.0, span.last().0),
        None => about,
    };
    let matters = |property: &Property<'_>| kind.is_some() || SHOWN.contains(&property.name());
    let properties = node.properties().filter(matters).map(|property| TreeProperty {
        name: property.name().to_owned(),
        offset: property.at(),
        value: value(&property),
        meaning: meaning(node, &property, targets),
    });
    Some(TreeNode {
        path: path.to_string(),
        offset: node.at(),
        about,
        enabled: path.is_okay(),
        properties: properties.collect(),
        problems: Vec::new(),
    })
}

/// What a property holds, in the source form: texts, cells or bytes; nothing where it only is there.
fn value(property: &Property<'_>) -> String {
    let raw = property.value();
    if raw.is_empty() {
        return String::new();
    }
    let texts: Vec<&str> = property.texts().collect();
    let covered: usize = texts.iter().map(|text| text.len() + 1).sum();
    if covered == raw.bytes().len() && texts.iter().all(|text| !text.is_empty()) {
        return texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
    }
    if raw.len().is_multiple_of(4) {
        let mut cells = property.cells();
        let cells: Vec<String> =
            std::iter::from_fn(|| cells.one()).map(|cell| format!("{cell:#x}")).collect();
        return format!("<{}>", cells.join(" "));
    }
    let bytes: Vec<String> = raw.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[{}]", bytes.join(" "))
}

fn meaning(node: &Node<'_>, property: &Property<'_>, targets: &BTreeMap<u32, Target>) -> Vec<String> {
    let mut cells = property.cells();
    let mut lines = Vec::new();
    let called = |phandle: u32| match targets.get(&phandle) {
        Some(target) => target.path.clone(),
        None => format!("phandle {phandle:#x}, which no node has"),
    };
    match property.name() {
        "iommus" => refer(&mut cells, targets, |target| target.iommu_cells, "source", &mut lines),
        "msi-parent" => refer(&mut cells, targets, |target| target.msi_cells, "device ID", &mut lines),
        name @ ("iommu-map" | "msi-map") => {
            let what = if name == "iommu-map" { "sources" } else { "device IDs" };
            let mask = node.cell(&format!("{name}-mask")).unwrap_or(0xffff);
            while cells.len() >= 4 {
                let [first, phandle, output, length] = [(); 4].map(|()| cells.one().unwrap_or(0));
                let Some(more) = length.checked_sub(1) else {
                    lines.push(format!("{}: nothing of {}", functions(first, 0), called(phandle)));
                    continue;
                };
                let last = u64::from(output) + u64::from(more);
                let masked = if mask == 0xffff { String::new() } else { format!(" (masked with {mask:#x})") };
                let (from, to) = (functions(first, more), called(phandle));
                lines.push(format!("{from}{masked}: {what} {output:#x}..={last:#x} of {to}"));
            }
        }
        "iommu-addresses" => {
            while let Some(phandle) = cells.one() {
                let Some(target) = targets.get(&phandle) else {
                    lines.push(called(phandle));
                    break;
                };
                let (address, size) = target.bus_cells;
                let (Some(address), Some(bytes)) = (cells.number(address), cells.number(size)) else { break };
                let last = (u128::from(address) + u128::from(bytes)).saturating_sub(1);
                lines.push(format!("{address:#x}..={last:#x} of {}", target.path));
            }
        }
        "memory-region" => lines.extend(std::iter::from_fn(|| cells.one()).map(called)),
        _ => {}
    }
    lines
}

/// References to nodes, each with as many cells as the node asks for.
fn refer(
    cells: &mut Cells<'_>,
    targets: &BTreeMap<u32, Target>,
    count: impl Fn(&Target) -> u32,
    what: &str,
    lines: &mut Vec<String>,
) {
    while let Some(phandle) = cells.one() {
        let Some(target) = targets.get(&phandle) else {
            lines.push(format!("phandle {phandle:#x}, which no node has; what follows cannot be told apart"));
            return;
        };
        let Some(mut specifier) = cells.take(count(target)) else {
            lines.push(format!("{}, whose cells are missing", target.path));
            return;
        };
        let numbers: Vec<String> =
            std::iter::from_fn(|| specifier.one()).map(|cell| format!("{cell:#x}")).collect();
        match numbers.is_empty() {
            true => lines.push(target.path.clone()),
            false => lines.push(format!("{what} {} of {}", numbers.join(" "), target.path)),
        }
    }
}

/// Requester IDs as functions, from the first to so many more, inclusive.
fn functions(first: u32, more: u32) -> String {
    let shown = |id: u64| match u16::try_from(id) {
        Ok(id) => function(id),
        Err(_) => format!("{id:#x}"),
    };
    match more {
        0 => shown(first.into()),
        more => format!("{}..={}", shown(first.into()), shown(u64::from(first) + u64::from(more))),
    }
}
