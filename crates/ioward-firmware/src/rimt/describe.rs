//! What a RIMT means, as facts.

use super::node::{Body, IdMapping, Iommu, Node, Platform, Rimt, RootComplex, Wire};
use crate::acpi;
use ioward_types::{
    PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Interrupt, InterruptLine, InterruptRole, Iommu as IommuFact, IommuKind, NodeId,
        PciFunction, Problem, RiscV, Scope, Served, Sources, Table, Traits,
    },
};

/// The bytes of a RISC-V IOMMU's registers (RISC-V IOMMU 1.0, chapter 6).
const REGISTER_BYTES: u64 = 0x1000;

/// Flags of nodes, of wires and of ID mappings.
mod flags {
    pub const IOMMU_IS_PCI: u32 = 1;
    pub const IOMMU_PROXIMITY_VALID: u32 = 1 << 1;
    pub const WIRE_LEVEL: u32 = 1;
    pub const WIRE_HIGH: u32 = 1 << 1;
    pub const COMPLEX_ATS: u32 = 1;
    pub const COMPLEX_PRI: u32 = 1 << 1;
    pub const MAPPING_ATS_REQUIRED: u32 = 1;
    pub const MAPPING_PRI_REQUIRED: u32 = 1 << 1;
}

/// Delivers what a RIMT says. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match acpi::open(bytes, Table::Rimt, b"RIMT", Rimt::LEAST, sink) {
        Ok(raw) => Walk { table: Rimt(raw), sink }.table(),
        Err(problem) => sink(Fact::Problem(problem)),
    }
}

/// A pass over the table.
struct Walk<'a, 's> {
    table: Rimt<'a>,
    sink: &'s mut dyn FnMut(Fact<'a>),
}

/// An ID mapping that lies inside its node and does not wrap.
#[derive(Clone, Copy)]
struct Mapping {
    at: u32,
    /// The first and the last source ID.
    sources: (u32, u32),
    output: u32,
    iommu: NodeId,
    flags: u32,
}

impl<'a> Walk<'a, '_> {
    fn table(&mut self) {
        let (mut seen, mut end) = (0, self.table.node_offset());
        if end < Rimt::LEAST || (end >= self.table.0.len() && self.table.node_count() != 0) {
            return self.problem(40, "node array", Cause::Range { found: end.into() });
        }
        for node in self.table.nodes() {
            seen += 1;
            end = node.at() + node.raw.len();
            if u32::from(node.length()) < Node::HEADER {
                let cause = Cause::Length { found: node.length().into(), least: Node::HEADER };
                return self.problem(node.at() + 2, "node", cause);
            }
            if node.is_cut() {
                let cause = Cause::Truncated { needs: node.length().into(), has: node.raw.len() };
                self.problem(node.at(), "node", cause);
            }
            self.node(&node);
        }
        if seen < self.table.node_count() {
            let (needs, has) = (self.table.node_count().saturating_mul(Node::HEADER), seen * Node::HEADER);
            self.problem(end, "node array", Cause::Truncated { needs, has });
        } else if end < self.table.0.len() {
            self.problem(end, "node array", Cause::Unused { bytes: self.table.0.len() - end });
        }
    }

    fn node(&mut self, node: &Node<'a>) {
        let (structure, least) = match node.body() {
            Body::Iommu(_) => ("IOMMU", Iommu::LEAST),
            Body::RootComplex(_) => ("PCIe root complex", RootComplex::LEAST),
            Body::Platform(_) => ("platform device", Platform::LEAST),
            Body::Unknown(kind) => {
                return self.problem(node.at(), "node", Cause::Unknown { kind: kind.into() });
            }
        };
        if node.raw.len() < least {
            let cause = Cause::Truncated { needs: least, has: node.raw.len() };
            return self.problem(node.at(), structure, cause);
        }
        match node.body() {
            Body::Iommu(iommu) => self.iommu(node, &iommu),
            Body::RootComplex(complex) => self.root_complex(node, &complex),
            Body::Platform(device) => self.platform(node, &device),
            Body::Unknown(_) => {}
        }
    }

    fn iommu(&mut self, node: &Node<'a>, iommu: &Iommu<'a>) {
        let is = |flag| iommu.flags() & flag != 0;
        let function = is(flags::IOMMU_IS_PCI)
            .then(|| PciFunction { segment: iommu.segment(), requester: iommu.function() });
        let base = iommu.base();
        let registers = Span::new(PhysAddr(base), REGISTER_BYTES)
            .filter(|_| function.is_none() && base != 0 && base.is_multiple_of(REGISTER_BYTES));
        if registers.is_none() && function.is_none() {
            self.problem(node.at() + 16, "IOMMU", Cause::Range { found: base });
        }
        let (needs, has) = (
            u32::from(iommu.wire_count()) * Wire::LEAST,
            node.raw.len().saturating_sub(iommu.wire_offset().into()),
        );
        if needs > has {
            self.problem(node.at() + 36, "interrupt wires", Cause::Truncated { needs, has });
        }
        let mut interrupts = [None; 4];
        for (index, (slot, wire)) in interrupts.iter_mut().zip(iommu.wires()).enumerate() {
            let line = InterruptLine::Gsi {
                number: wire.number(),
                level: wire.flags() & flags::WIRE_LEVEL != 0,
                active_high: wire.flags() & flags::WIRE_HIGH != 0,
            };
            *slot = Some(Interrupt { role: InterruptRole::Nth(index as u8), line });
        }
        let kind = IommuKind::RiscV(RiscV {
            hid: iommu.hardware_id(),
            uid: node.id(),
            coherent: None,
            wires: iommu.wire_count(),
            proximity: is(flags::IOMMU_PROXIMITY_VALID).then(|| iommu.proximity_domain()),
        });
        let id = NodeId(node.at());
        (self.sink)(Fact::Iommu(IommuFact {
            id,
            kind,
            name: "",
            registers,
            function,
            interrupts,
            enabled: true,
        }));
    }

    fn root_complex(&mut self, node: &Node<'a>, complex: &RootComplex<'a>) {
        let segment = complex.segment();
        let is = |flag| complex.flags() & flag != 0;
        let traits = Traits {
            ats: Some(is(flags::COMPLEX_ATS)),
            pri: Some(is(flags::COMPLEX_PRI)),
            ..Traits::default()
        };
        for mapping in node.mappings() {
            let Some(mapping) = self.good(&mapping) else { continue };
            let (first, last) = mapping.sources;
            // Requester IDs have 16 bits; what lies beyond names nobody.
            let Ok(first) = u16::try_from(first) else {
                self.problem(mapping.at, "ID mapping", Cause::Empty);
                continue;
            };
            let last = u16::try_from(last).unwrap_or(u16::MAX);
            let devices = Devices::Pci { segment, first, last, mask: 0xffff };
            self.scope(&mapping, devices, Sources::Consecutive(SourceId(mapping.output)), traits);
        }
        self.overlaps(node);
        self.missing(node);
    }

    fn platform(&mut self, node: &Node<'a>, device: &Platform<'a>) {
        let Some(name) = device.device_name() else {
            return self.problem(node.at() + Platform::LEAST, "platform device", Cause::Text);
        };
        for mapping in node.mappings() {
            let Some(mapping) = self.good(&mapping) else { continue };
            let last = mapping.output + (mapping.sources.1 - mapping.sources.0);
            let sources = match mapping.output == last {
                true => Sources::Same(SourceId(last)),
                false => Sources::All { first: SourceId(mapping.output), last: SourceId(last) },
            };
            self.scope(&mapping, Devices::AcpiPath(name), sources, Traits::default());
        }
        self.missing(node);
    }

    fn scope(&mut self, mapping: &Mapping, devices: Devices<'a>, sources: Sources, traits: Traits) {
        let traits = Traits {
            ats_required: mapping.flags & flags::MAPPING_ATS_REQUIRED != 0,
            pri_required: mapping.flags & flags::MAPPING_PRI_REQUIRED != 0,
            ..traits
        };
        let served = Some(Served { iommu: mapping.iommu, sources });
        (self.sink)(Fact::Scope(Scope { at: NodeId(mapping.at), devices, served, traits, enabled: true }));
    }

    /// A mapping that makes sense, though its IOMMU may not be described; what is wrong is reported.
    fn good(&mut self, mapping: &IdMapping<'a>) -> Option<Mapping> {
        let checked = self.check(mapping);
        match checked {
            Ok(mapping) => {
                let to = mapping.iommu.0;
                let is_iommu =
                    |node: Node<'a>| matches!(node.body(), Body::Iommu(_)) && node.raw.len() >= Iommu::LEAST;
                if self.table.nodes().any(|node| node.at() == to && is_iommu(node)) {
                    return Some(mapping);
                }
                // Its devices are behind something that is not described: nobody may take them for devices that have no
                // IOMMU.
                self.problem(mapping.at + 12, "ID mapping", Cause::Dangling { to });
                return Some(Mapping { iommu: NodeId(mapping.at + 12), ..mapping });
            }
            // That mappings are missing is reported once, for all of them.
            Err(Cause::Truncated { .. }) => {}
            Err(cause) => self.problem(mapping.at() + 4, "ID mapping", cause),
        }
        None
    }

    fn check(&self, mapping: &IdMapping<'a>) -> Result<Mapping, Cause> {
        if mapping.len() < IdMapping::BYTES {
            return Err(Cause::Truncated { needs: IdMapping::BYTES, has: mapping.len() });
        }
        let count = mapping.id_count();
        let more = count.checked_sub(1).ok_or(Cause::Empty)?;
        let (first, output, to) = (mapping.source_base(), mapping.destination_base(), mapping.destination());
        let wraps = Cause::Range { found: count.into() };
        let last = first.checked_add(more).ok_or(wraps)?;
        output.checked_add(more).ok_or(wraps)?;
        let (at, flags) = (mapping.at(), mapping.flags());
        Ok(Mapping { at, sources: (first, last), output, iommu: NodeId(to), flags })
    }

    /// Reports mappings that should be there and are not.
    fn missing(&mut self, node: &Node<'a>) {
        let (offset, count) = node.mapping_array().unwrap_or((0, 0));
        let needs = u32::from(count) * IdMapping::BYTES;
        let has = node.raw.len().saturating_sub(offset.into());
        if needs > has {
            let at = (node.at() + u32::from(offset)).min(node.at() + node.raw.len());
            self.problem(at, "ID mappings", Cause::Truncated { needs, has });
        }
    }

    /// Two mappings of one node that share source IDs.
    fn overlaps(&mut self, node: &Node<'a>) {
        let all = || node.mappings().filter_map(|mapping| self.check(&mapping).ok());
        let clash = all().enumerate().find_map(|(index, mapping)| {
            let (first, last) = mapping.sources;
            let shares = |other: &Mapping| other.sources.0 <= last && first <= other.sources.1;
            all().take(index).find(shares).map(|other| (mapping.at, other.at))
        });
        if let Some((at, with)) = clash {
            self.problem(at, "ID mapping", Cause::Contradiction { what: "source IDs", with });
        }
    }

    fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        // A field of a structure that is cut off is where the table ends.
        let offset = offset.min(self.table.0.len());
        (self.sink)(Fact::Problem(Problem { table: Table::Rimt, offset, structure, cause }));
    }
}
