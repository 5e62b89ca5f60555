//! IORT: Arm DEN 0049, section 3.

use super::{
    part::{Layout, Part, bit, bits, field, text},
    size,
};
use ioward_firmware::{
    Raw,
    iort::{
        Iort, Node,
        node::{Body, IdMapping, RmrDescriptor, Smmu},
    },
};
use std::collections::BTreeMap;

const HINTS: [Layout; 4] =
    [bit(0, "transient"), bit(1, "write allocate"), bit(2, "read allocate"), bit(3, "override")];
const MEMORY_FLAGS: [Layout; 3] = [bit(0, "CPM"), bit(1, "DACS"), bit(2, "CANWBS")];
const COHERENCY: [Layout; 1] = [bit(0, "CCA").values(&["DMA does not snoop caches", "DMA snoops caches"])];

/// What the parts of an IORT are.
pub fn parts(root: &mut Part, bytes: &[u8]) {
    let (table, raw) = (Iort::new(bytes), Raw::new(bytes));
    let mut fixed = Part::structure(raw.window(36, Iort::LEAST - 36), "I/O remapping").says("table 2");
    fixed.add(field(0, "Number of Nodes", table.node_count()));
    fixed.add(field(4, "Offset to Nodes", table.node_offset()));
    root.put(fixed);
    let nodes = table.nodes().enumerate().map(|(number, node)| (node.at(), (number, kind(&node.body()))));
    let targets = Targets(nodes.collect());
    for (number, node) in table.nodes().enumerate() {
        root.put(shown(raw, &targets, &node, number));
    }
}

/// The nodes by where they start, each with its number and kind. A table may refer to them tens of thousands of times.
struct Targets(BTreeMap<u32, (usize, &'static str)>);

impl Targets {
    /// What is at an offset, for a reference to it.
    fn said(&self, at: u32) -> String {
        match self.0.get(&at) {
            Some((number, kind)) => format!("node {number}, {kind}"),
            None => "no node starts there".into(),
        }
    }
}

fn kind(body: &Body<'_>) -> &'static str {
    match body {
        Body::ItsGroup(_) => "ITS group",
        Body::NamedComponent(_) => "named component",
        Body::RootComplex(_) => "root complex",
        Body::Smmu(_) => "SMMUv1 or SMMUv2",
        Body::SmmuV3(_) => "SMMUv3",
        Body::Pmcg(_) => "PMCG",
        Body::Rmr(_) => "reserved memory range",
        Body::Iwb(_) => "interrupt wire bridge",
        Body::Unknown(_) => "unknown kind",
    }
}

fn shown(whole: Raw<'_>, targets: &Targets, node: &Node<'_>, number: usize) -> Part {
    let length = u32::from(node.length()).max(Node::HEADER);
    let raw = whole.window(node.at(), length);
    let kind = kind(&node.body());
    let mut part = Part::structure(raw, format!("Node {number}")).says(kind);
    part.add(field(0, "Type", node.kind()).says(kind));
    part.add(field(1, "Length", node.length()).says(format!("{} bytes", node.length())));
    part.add(field(3, "Revision", node.revision()));
    part.add(field(4, "Identifier", node.identifier()));
    part.add(field(8, "Number of ID mappings", node.mapping_count()));
    part.add(field(12, "Reference to ID Array", node.mapping_offset()));
    let whole_bytes = part.bytes;
    if matches!(node.body(), Body::RootComplex(_) | Body::SmmuV3(_)) && node.mapping_count() != 0 {
        // In an older revision the mappings begin where later ones have more fields.
        part.bytes = part.bytes.min(node.mapping_offset().max(Node::HEADER));
    }
    body(&mut part, raw, targets, node);
    part.bytes = whole_bytes;
    for mapping in node.mappings() {
        part.put(mapping_part(whole, targets, &mapping));
    }
    part
}

fn body(part: &mut Part, raw: Raw<'_>, targets: &Targets, node: &Node<'_>) {
    match node.body() {
        Body::ItsGroup(group) => {
            part.add(field(16, "Number of ITSs", group.its_count()));
            for (index, identifier) in (0..).zip(group.identifiers()) {
                part.add(field(20 + 4 * index, "GIC ITS Identifier", identifier));
            }
        }
        Body::NamedComponent(component) => {
            if let Some(name) = component.device_name() {
                part.meaning = Some(format!("named component {name}"));
            }
            let layout = [bit(0, "stall"), bits(5, 1, "PASID bits")];
            part.add(field(16, "Node Flags", component.flags()).laid_out(&layout));
            memory(part, 20, component.cache_coherency(), component.hints(), component.memory_flags());
            let limit = component.memory_size_limit();
            part.add(field(28, "Device Memory Address Size Limit", limit).says(format!("{limit} bits")));
            if let Some(name) = component.device_name() {
                part.add(field(29, "Device Object Name", text(name, name.len() as u32 + 1)));
            }
        }
        Body::RootComplex(complex) => {
            part.meaning = Some(format!("root complex, PCI segment {}", complex.segment()));
            memory(part, 16, complex.cache_coherency(), complex.hints(), complex.memory_flags());
            let layout = [bit(0, "ATS"), bit(1, "PRI"), bit(2, "PASID forwarding")];
            part.add(field(24, "ATS Attribute", complex.ats_attribute()).laid_out(&layout));
            part.add(field(28, "PCI Segment Number", complex.segment()));
            let limit = complex.memory_size_limit();
            part.add(field(32, "Memory Address Size Limit", limit).says(format!("{limit} bits")));
            let pasids = field(33, "PASID Capabilities", complex.pasid_capabilities());
            part.add(pasids.laid_out(&[bits(4, 0, "PASID bits")]));
            part.add(field(35, "Reserved", complex.reserved()));
        }
        Body::Smmu(smmu) => smmu_part(part, &smmu),
        Body::SmmuV3(smmu) => {
            part.meaning = Some(format!("SMMUv3, registers from {:#x}", smmu.base()));
            part.add(field(16, "Base Address", smmu.base()));
            let layout = [
                bit(0, "COHACC Override"),
                bits(2, 1, "HTTU Override"),
                bit(3, "Proximity Domain Valid"),
                bit(4, "DeviceID Mapping Index Valid"),
            ];
            part.add(field(24, "Flags", smmu.flags()).laid_out(&layout));
            part.add(field(28, "Reserved", smmu.reserved()));
            part.add(field(32, "VATOS Address", smmu.vatos()));
            let means = match smmu.model() {
                0 => "generic SMMUv3",
                1 => "HiSilicon Hi161x",
                2 => "Cavium CN99xx",
                _ => "unknown",
            };
            part.add(field(40, "Model", smmu.model()).says(means));
            part.add(gsiv(44, "Event", smmu.event()));
            part.add(gsiv(48, "PRI", smmu.pri()));
            part.add(gsiv(52, "GERR", smmu.gerror()));
            part.add(gsiv(56, "Sync", smmu.sync()));
            part.add(field(60, "Proximity Domain", smmu.proximity_domain()));
            part.add(field(64, "Device ID Mapping Index", smmu.device_id_mapping_index()));
        }
        Body::Pmcg(pmcg) => {
            part.add(field(16, "Page 0 Base Address", pmcg.page_0()));
            part.add(gsiv(24, "Overflow Interrupt", pmcg.overflow_gsiv()));
            let means = targets.said(pmcg.node_reference());
            part.add(field(28, "Node Reference", pmcg.node_reference()).says(means));
            part.add(field(32, "Page 1 Base Address", pmcg.page_1()));
        }
        Body::Rmr(rmr) => {
            let layout = [
                bit(0, "remapping permitted"),
                bit(1, "access privileged"),
                bits(9, 2, "access attributes").values(&[
                    "Device-nGnRnE",
                    "Device-nGnRE",
                    "Device-nGRE",
                    "Device-GRE",
                    "Normal, not cached",
                    "Normal, write-back",
                ]),
            ];
            part.add(field(16, "Flags", rmr.flags()).laid_out(&layout));
            part.add(field(20, "Number of Memory Range Descriptors", rmr.descriptor_count()));
            part.add(field(24, "Reference to Memory Range Descriptors", rmr.descriptor_offset()));
            for descriptor in rmr.descriptors() {
                part.put(descriptor_part(raw, &descriptor));
            }
        }
        Body::Iwb(iwb) => {
            part.add(field(16, "Config Frame Base", iwb.config_frame()));
            part.add(field(24, "IWB Index", iwb.index()));
            if let Some(name) = iwb.device_name() {
                part.add(field(26, "Device Object Name", text(name, name.len() as u32 + 1)));
            }
        }
        Body::Unknown(_) => part.meaning = Some("a kind that nobody here knows".into()),
    }
}

fn gsiv(offset: u32, name: &str, number: u32) -> Part {
    let part = field(offset, format!("{name} GSIV"), number);
    if number == 0 { part.says("none") } else { part.says(format!("interrupt {number}")) }
}

/// The memory access properties (table 14), eight bytes.
fn memory(part: &mut Part, offset: u32, coherency: u32, hints: u8, flags: u8) {
    part.add(field(offset, "Cache Coherent Attribute", coherency).laid_out(&COHERENCY));
    part.add(field(offset + 4, "Allocation Hints", hints).laid_out(&HINTS));
    part.add(field(offset + 7, "Memory Access Flags", flags).laid_out(&MEMORY_FLAGS));
}

fn smmu_part(part: &mut Part, smmu: &Smmu<'_>) {
    part.meaning = Some(format!("SMMUv1 or SMMUv2, registers from {:#x}", smmu.base()));
    part.add(field(16, "Base Address", smmu.base()));
    part.add(field(24, "Span", smmu.span()).says(size(smmu.span().into())));
    let means = match smmu.model() {
        0 => "generic SMMUv1",
        1 => "generic SMMUv2",
        2 => "MMU-400",
        3 => "MMU-500",
        4 => "MMU-401",
        5 => "Cavium ThunderX",
        _ => "unknown",
    };
    part.add(field(32, "Model", smmu.model()).says(means));
    part.add(field(36, "Flags", smmu.flags()).laid_out(&[bit(0, "DVM"), bit(1, "coherent walk")]));
    part.add(field(40, "Reference to Global Interrupts", smmu.global_interrupt_offset()));
    part.add(field(44, "Number of Context Interrupts", smmu.context_interrupt_count()));
    part.add(field(48, "Reference to Context Interrupts", smmu.context_interrupt_offset()));
    part.add(field(52, "Number of PMU Interrupts", smmu.pmu_interrupt_count()));
    part.add(field(56, "Reference to PMU Interrupts", smmu.pmu_interrupt_offset()));
    let edge = [bit(0, "edge-triggered")];
    let [first, first_flags, second, second_flags] = smmu.global_interrupts();
    // An offset before the fixed fields' end would lie over them; one beyond the node's end leads nowhere.
    let Some(at) = smmu.global_interrupt_offset().checked_add(0).filter(|at| *at < part.bytes) else {
        return;
    };
    part.add(field(at, "SMMU_NSgIrpt GSIV", first));
    part.add(field(at + 4, "SMMU_NSgIrpt flags", first_flags).laid_out(&edge));
    part.add(field(at + 8, "SMMU_NSgCfgIrpt GSIV", second));
    part.add(field(at + 12, "SMMU_NSgCfgIrpt flags", second_flags).laid_out(&edge));
    let mut list = |name: &str, at: u32, interrupts: &mut dyn Iterator<Item = u64>| {
        for (index, interrupt) in (0..).zip(interrupts) {
            let Some(at) = at.checked_add(8 * index) else { break };
            let (number, flags) = (interrupt as u32, (interrupt >> 32) as u32);
            part.add(field(at, format!("{name} GSIV"), number));
            part.add(field(at.saturating_add(4), format!("{name} flags"), flags).laid_out(&edge));
        }
    };
    list("Context interrupt", smmu.context_interrupt_offset(), &mut smmu.context_interrupts());
    list("PMU interrupt", smmu.pmu_interrupt_offset(), &mut smmu.pmu_interrupts());
}

fn descriptor_part(node: Raw<'_>, descriptor: &RmrDescriptor<'_>) -> Part {
    let raw = node.window(descriptor.at() - node.at(), RmrDescriptor::BYTES);
    let end = u128::from(descriptor.base()) + u128::from(descriptor.length());
    let about = match descriptor.length() {
        0 => "no memory".to_owned(),
        bytes => format!("{:#x}..={:#x} ({})", descriptor.base(), end - 1, size(bytes.into())),
    };
    let mut part = Part::structure(raw, "Memory Range Descriptor").says(about);
    part.add(field(0, "Physical Range Offset", descriptor.base()));
    part.add(field(8, "Physical Range Length", descriptor.length()).says(size(descriptor.length().into())));
    part.add(field(16, "Reserved", descriptor.reserved()));
    part
}

fn mapping_part(whole: Raw<'_>, targets: &Targets, mapping: &IdMapping<'_>) -> Part {
    let raw = whole.window(mapping.at(), IdMapping::BYTES);
    let to = targets.said(mapping.output_reference());
    let last = |first: u32| u64::from(first) + u64::from(mapping.id_count());
    let about = match mapping.is_single() {
        true => format!("its own ID {:#x} of {to}", mapping.output_base()),
        false => format!(
            "IDs {:#x}..={:#x} become {:#x}..={:#x} of {to}",
            mapping.input_base(),
            last(mapping.input_base()),
            mapping.output_base(),
            last(mapping.output_base())
        ),
    };
    let mut part = Part::structure(raw, "ID Mapping").says(about);
    part.add(field(0, "Input base", mapping.input_base()));
    part.add(field(4, "Number of IDs", mapping.id_count()).says("the number less one"));
    part.add(field(8, "Output base", mapping.output_base()));
    part.add(field(12, "Output Reference", mapping.output_reference()).says(to));
    part.add(field(16, "Flags", mapping.flags()).laid_out(&[bit(0, "Single mapping")]));
    part
}
