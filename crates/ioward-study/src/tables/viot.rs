//! VIOT: ACPI 6.5, section 5.2.33.

use super::{
    function,
    part::{Part, field},
};
use ioward_firmware::{
    Raw,
    viot::{
        Viot,
        node::{Body, Node},
    },
};

/// What the parts of a VIOT are.
pub fn parts(root: &mut Part, bytes: &[u8]) {
    let (table, raw) = (Viot::new(bytes), Raw::new(bytes));
    let mut fixed = Part::structure(raw.window(36, Viot::LEAST - 36), "Virtual I/O translation");
    fixed.add(field(0, "Node count", table.node_count()));
    fixed.add(field(2, "Node offset", table.node_offset()));
    fixed.add(field(4, "Reserved", table.reserved()));
    root.put(fixed);
    for (number, node) in table.nodes().enumerate() {
        root.put(shown(raw, &table, &node, number));
    }
}

fn target(table: &Viot<'_>, at: u16) -> String {
    match table.nodes().enumerate().find(|(_, node)| node.at() == u32::from(at)) {
        Some((number, node)) => format!("node {number}, {}", kind(&node.body())),
        None => "no node starts there".into(),
    }
}

fn kind(body: &Body<'_>) -> &'static str {
    match body {
        Body::PciRange(_) => "PCI range",
        Body::MmioEndpoint(_) => "MMIO endpoint",
        Body::PciIommu(_) => "virtio-iommu on PCI",
        Body::MmioIommu(_) => "virtio-iommu on MMIO",
        Body::Unknown(_) => "unknown kind",
    }
}

fn shown(whole: Raw<'_>, table: &Viot<'_>, node: &Node<'_>, number: usize) -> Part {
    let length = u32::from(node.length()).max(Node::HEADER);
    let raw = whole.window(node.at(), length);
    let kind = kind(&node.body());
    let mut part = Part::structure(raw, format!("Node {number}")).says(kind);
    part.add(field(0, "Type", node.kind()).says(kind));
    part.add(field(1, "Reserved", node.reserved()));
    part.add(field(2, "Length", node.length()).says(format!("{} bytes", node.length())));
    match node.body() {
        Body::PciRange(range) => {
            let (first, last) = (function(range.function_start()), function(range.function_end()));
            let means = format!(
                "functions {:04x}:{first}..={:04x}:{last}, endpoints from {:#x} on, behind {}",
                range.segment_start(),
                range.segment_end(),
                range.endpoint_start(),
                target(table, range.output_node())
            );
            part.meaning = Some(means);
            part.add(field(4, "Endpoint start", range.endpoint_start()));
            part.add(field(8, "PCI Segment start", range.segment_start()));
            part.add(field(10, "PCI Segment end", range.segment_end()));
            part.add(field(12, "PCI BDF start", range.function_start()).says(first));
            part.add(field(14, "PCI BDF end", range.function_end()).says(last));
            let means = target(table, range.output_node());
            part.add(field(16, "Output node", range.output_node()).says(means));
            part.add(field(18, "Reserved", range.reserved()));
        }
        Body::MmioEndpoint(endpoint) => {
            let to = target(table, endpoint.output_node());
            part.meaning = Some(format!("the device at {:#x}, behind {to}", endpoint.base()));
            part.add(field(4, "Endpoint", endpoint.endpoint()));
            part.add(field(8, "Base address", endpoint.base()));
            part.add(field(16, "Output node", endpoint.output_node()).says(to));
            part.add(field(18, "Reserved", endpoint.reserved()));
        }
        Body::PciIommu(iommu) => {
            let place = format!("{:04x}:{}", iommu.segment(), function(iommu.function()));
            part.meaning = Some(format!("virtio-iommu, the PCI function {place}"));
            part.add(field(4, "PCI Segment", iommu.segment()));
            part.add(field(6, "PCI BDF", iommu.function()).says(function(iommu.function())));
            part.add(field(8, "Reserved", iommu.reserved()));
        }
        Body::MmioIommu(iommu) => {
            part.meaning = Some(format!("virtio-iommu, registers from {:#x}", iommu.base()));
            part.add(field(4, "Reserved", iommu.reserved()));
            part.add(field(8, "Base address", iommu.base()));
        }
        Body::Unknown(_) => part.meaning = Some("a kind that nobody here knows".into()),
    }
    part
}
