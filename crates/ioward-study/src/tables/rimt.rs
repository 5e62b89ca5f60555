//! RIMT: the RISC-V I/O mapping table, chapter 2.

use super::{
    function,
    part::{Part, bit, field, name, text},
};
use ioward_firmware::{
    Raw,
    rimt::{
        Rimt,
        node::{Body, IdMapping, Node},
    },
};

/// What the parts of a RIMT are.
pub fn parts(root: &mut Part, bytes: &[u8]) {
    let (table, raw) = (Rimt::new(bytes), Raw::new(bytes));
    let mut fixed = Part::structure(raw.window(36, Rimt::LEAST - 36), "I/O mapping");
    fixed.add(field(0, "Number of RIMT nodes", table.node_count()));
    fixed.add(field(4, "Offset to RIMT node array", table.node_offset()));
    fixed.add(field(8, "Reserved", table.reserved()));
    root.put(fixed);
    for (number, node) in table.nodes().enumerate() {
        root.put(shown(raw, &table, &node, number));
    }
}

fn kind(body: &Body<'_>) -> &'static str {
    match body {
        Body::Iommu(_) => "RISC-V IOMMU",
        Body::RootComplex(_) => "root complex",
        Body::Platform(_) => "platform device",
        Body::Unknown(_) => "unknown kind",
    }
}

fn shown(whole: Raw<'_>, table: &Rimt<'_>, node: &Node<'_>, number: usize) -> Part {
    let length = u32::from(node.length()).max(Node::HEADER);
    let raw = whole.window(node.at(), length);
    let kind = kind(&node.body());
    let mut part = Part::structure(raw, format!("Node {number}")).says(kind);
    part.add(field(0, "Type", node.kind()).says(kind));
    part.add(field(1, "Revision", node.revision()));
    part.add(field(2, "Length", node.length()).says(format!("{} bytes", node.length())));
    part.add(field(4, "Reserved", node.reserved()));
    part.add(field(6, "ID", node.id()));
    match node.body() {
        Body::Iommu(iommu) => {
            let place = match iommu.flags() & 1 {
                0 => format!("registers from {:#x}", iommu.base()),
                _ => format!("the PCI function {:04x}:{}", iommu.segment(), function(iommu.function())),
            };
            part.meaning = Some(format!("RISC-V IOMMU, {place}"));
            part.add(field(8, "Hardware ID", name(iommu.hardware_id())));
            part.add(field(16, "Base address", iommu.base()));
            let layout = [bit(0, "PCIe device"), bit(1, "Proximity Domain Valid")];
            part.add(field(24, "Flags", iommu.flags()).laid_out(&layout));
            part.add(field(28, "Proximity domain", iommu.proximity_domain()));
            part.add(field(32, "PCIe segment number", iommu.segment()));
            part.add(field(34, "PCIe B/D/F", iommu.function()).says(function(iommu.function())));
            part.add(field(36, "Number of interrupt wires", iommu.wire_count()));
            part.add(field(38, "Interrupt wire array offset", iommu.wire_offset()));
            for (index, wire) in (0..).zip(iommu.wires()) {
                let at = u32::from(iommu.wire_offset()) + 8 * index;
                part.add(
                    field(at, "Interrupt wire", wire.number()).says(format!("interrupt {}", wire.number())),
                );
                let layout = [
                    bit(0, "trigger").values(&["edge", "level"]),
                    bit(1, "polarity").values(&["active low", "active high"]),
                ];
                part.add(field(at + 4, "Interrupt wire flags", wire.flags()).laid_out(&layout));
            }
        }
        Body::RootComplex(complex) => {
            part.meaning = Some(format!("root complex, PCI segment {}", complex.segment()));
            part.add(field(8, "Flags", complex.flags()).laid_out(&[bit(0, "ATS"), bit(1, "PRI")]));
            part.add(field(12, "Reserved", complex.reserved()));
            part.add(field(14, "PCIe segment number", complex.segment()));
            part.add(field(16, "ID mapping array offset", complex.mapping_offset()));
            part.add(field(18, "Number of ID mappings", complex.mapping_count()));
        }
        Body::Platform(device) => {
            part.add(field(8, "ID mapping array offset", device.mapping_offset()));
            part.add(field(10, "Number of ID mappings", device.mapping_count()));
            if let Some(name) = device.device_name() {
                part.meaning = Some(format!("platform device {name}"));
                part.add(field(12, "Device Object Name", text(name, name.len() as u32 + 1)));
            }
        }
        Body::Unknown(_) => part.meaning = Some("a kind that nobody here knows".into()),
    }
    for mapping in node.mappings() {
        part.put(mapping_part(whole, table, &mapping));
    }
    part
}

fn mapping_part(whole: Raw<'_>, table: &Rimt<'_>, mapping: &IdMapping<'_>) -> Part {
    let raw = whole.window(mapping.at(), mapping.len());
    let target = match table.nodes().enumerate().find(|(_, node)| node.at() == mapping.destination()) {
        Some((number, node)) => format!("node {number}, {}", kind(&node.body())),
        None => "no node starts there".into(),
    };
    let about = match u64::from(mapping.id_count()).checked_sub(1) {
        None => "no IDs".to_owned(),
        Some(more) => format!(
            "IDs {:#x}..={:#x} become {:#x}..={:#x} of {target}",
            mapping.source_base(),
            u64::from(mapping.source_base()) + more,
            mapping.destination_base(),
            u64::from(mapping.destination_base()) + more
        ),
    };
    let mut part = Part::structure(raw, "ID Mapping").says(about);
    part.add(field(0, "Source ID base", mapping.source_base()));
    part.add(field(4, "Number of IDs", mapping.id_count()));
    part.add(field(8, "Destination Device ID base", mapping.destination_base()));
    part.add(field(12, "Destination IOMMU offset", mapping.destination()).says(target));
    let layout = [bit(0, "ATS required"), bit(1, "PRI required")];
    part.add(field(16, "Flags", mapping.flags()).laid_out(&layout));
    part
}
