//! What a VIOT means, as facts.

use super::node::{Body, MmioEndpoint, MmioIommu, Node, PciIommu, PciRange, Viot};
use crate::acpi;
use ioward_types::{
    PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Iommu, IommuKind, NodeId, PciFunction, Problem, Scope, Served, Sources, Table,
        Traits,
    },
};

/// The bytes of a virtio-iommu's registers on MMIO: those of the transport, then its configuration of less than so many
/// again (virtio 1.3, sections 4.2.2 and 5.13.4).
const REGISTER_BYTES: u64 = 0x200;

/// The most segments of one range that are followed, so that a table of kilobytes does not become facts of gigabytes.
/// Hypervisors describe each segment by a range of its own.
const MOST_SEGMENTS: u16 = 32;

/// Endpoint IDs of neighbouring segments lie so far apart as requester IDs have values.
const IDS_OF_SEGMENT: u32 = 0x1_0000;

/// Delivers what a VIOT says. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match acpi::open(bytes, Table::Viot, b"VIOT", Viot::LEAST, sink) {
        Ok(raw) => Walk { table: Viot(raw), sink }.table(),
        Err(problem) => sink(Fact::Problem(problem)),
    }
}

/// A pass over the table.
struct Walk<'a, 's> {
    table: Viot<'a>,
    sink: &'s mut dyn FnMut(Fact<'a>),
}

impl<'a> Walk<'a, '_> {
    fn table(&mut self) {
        let count = u32::from(self.table.node_count());
        let (mut seen, mut end) = (0, u32::from(self.table.node_offset()));
        if end < Viot::LEAST || (end >= self.table.0.len() && count != 0) {
            return self.problem(38, "node array", Cause::Range { found: end.into() });
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
        if seen < count {
            let (needs, has) = (count * Node::HEADER, seen * Node::HEADER);
            self.problem(end, "node array", Cause::Truncated { needs, has });
        } else if end < self.table.0.len() {
            self.problem(end, "node array", Cause::Unused { bytes: self.table.0.len() - end });
        }
    }

    fn node(&mut self, node: &Node<'a>) {
        let (structure, least) = match node.body() {
            Body::PciRange(_) => ("PCI range", PciRange::LEAST),
            Body::MmioEndpoint(_) => ("MMIO endpoint", MmioEndpoint::LEAST),
            Body::PciIommu(_) => ("virtio-iommu on PCI", PciIommu::LEAST),
            Body::MmioIommu(_) => ("virtio-iommu on MMIO", MmioIommu::LEAST),
            Body::Unknown(kind) => {
                return self.problem(node.at(), "node", Cause::Unknown { kind: kind.into() });
            }
        };
        if node.raw.len() < least {
            let cause = Cause::Truncated { needs: least, has: node.raw.len() };
            return self.problem(node.at(), structure, cause);
        }
        match node.body() {
            Body::PciRange(range) => self.range(node, &range),
            Body::MmioEndpoint(endpoint) => {
                let iommu = self.output(node, "MMIO endpoint", endpoint.output_node());
                let devices = Devices::Mmio(PhysAddr(endpoint.base()));
                self.scope(node, devices, iommu, Sources::Same(SourceId(endpoint.endpoint())));
            }
            Body::PciIommu(iommu) => {
                let function = PciFunction { segment: iommu.segment(), requester: iommu.function() };
                self.iommu(node, None, Some(function));
            }
            Body::MmioIommu(iommu) => {
                let base = iommu.base();
                let registers = Span::new(PhysAddr(base), REGISTER_BYTES).filter(|_| base != 0);
                if registers.is_none() {
                    self.problem(node.at() + 8, structure, Cause::Range { found: base });
                }
                self.iommu(node, registers, None);
            }
            Body::Unknown(_) => {}
        }
    }

    fn iommu(&mut self, node: &Node<'a>, registers: Option<Span<PhysAddr>>, function: Option<PciFunction>) {
        let first = self.first(node);
        if first != NodeId(node.at()) {
            return self.problem(node.at(), "virtio-iommu", Cause::Duplicate { first: first.0 });
        }
        (self.sink)(Fact::Iommu(Iommu {
            id: first,
            kind: IommuKind::Virtio,
            name: "",
            registers,
            function,
            interrupts: [None; 4],
            enabled: true,
        }));
    }

    /// The first node for the same virtio-iommu, which may be this one.
    fn first(&self, node: &Node<'a>) -> NodeId {
        let same = |other: &Node<'a>| match (node.body(), other.body()) {
            (Body::PciIommu(one), Body::PciIommu(other)) => {
                (one.segment(), one.function()) == (other.segment(), other.function())
            }
            (Body::MmioIommu(one), Body::MmioIommu(other)) => one.base() == other.base() && one.base() != 0,
            _ => false,
        };
        let before = self.table.nodes().take_while(|other| other.at() < node.at());
        let whole = |other: &Node<'a>| other.raw.len() >= PciIommu::LEAST;
        NodeId(before.filter(whole).find(same).unwrap_or(*node).at())
    }

    fn range(&mut self, node: &Node<'a>, range: &PciRange<'a>) {
        let (first, last) = (range.function_start(), range.function_end());
        let iommu = self.output(node, "PCI range", range.output_node());
        if last < first {
            return self.problem(node.at() + 14, "PCI range", Cause::Range { found: last.into() });
        }
        let Some(more) = range.segment_end().checked_sub(range.segment_start()) else {
            let found = range.segment_end().into();
            return self.problem(node.at() + 10, "PCI range", Cause::Range { found });
        };
        if more >= MOST_SEGMENTS {
            let found = range.segment_end().into();
            self.problem(node.at() + 10, "PCI range", Cause::Range { found });
        }
        for number in 0..=more.min(MOST_SEGMENTS - 1) {
            let ids = range
                .endpoint_start()
                .checked_add(u32::from(number) * IDS_OF_SEGMENT)
                .filter(|ids| ids.checked_add(u32::from(last - first)).is_some());
            let Some(ids) = ids else {
                let found = range.endpoint_start().into();
                return self.problem(node.at() + 4, "PCI range", Cause::Range { found });
            };
            // No more than the last segment, which has 16 bits.
            let segment = range.segment_start() + number;
            let devices = Devices::Pci { segment, first, last, mask: 0xffff };
            self.scope(node, devices, iommu, Sources::Consecutive(SourceId(ids)));
        }
    }

    fn scope(&mut self, node: &Node<'a>, devices: Devices<'a>, iommu: NodeId, sources: Sources) {
        let (at, served) = (NodeId(node.at()), Some(Served { iommu, sources }));
        (self.sink)(Fact::Scope(Scope { at, devices, served, traits: Traits::default(), enabled: true }));
    }

    /// The virtio-iommu whose node starts at an offset, if one does.
    fn iommu_at(&self, offset: u16) -> Option<NodeId> {
        let found = self.table.nodes().find(|node| node.at() == offset.into())?;
        let least = match found.body() {
            Body::PciIommu(_) => PciIommu::LEAST,
            Body::MmioIommu(_) => MmioIommu::LEAST,
            _ => return None,
        };
        (found.raw.len() >= least).then(|| self.first(&found))
    }

    /// The IOMMU of an output node, which may not be described. That is reported; its devices are behind something all the
    /// same, so that nobody may take them for devices that have no IOMMU.
    fn output(&mut self, node: &Node<'a>, structure: &'static str, to: u16) -> NodeId {
        self.iommu_at(to).unwrap_or_else(|| {
            self.problem(node.at() + 16, structure, Cause::Dangling { to: to.into() });
            NodeId(node.at() + 16)
        })
    }

    fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        // A field of a structure that is cut off is where the table ends.
        let offset = offset.min(self.table.0.len());
        (self.sink)(Fact::Problem(Problem { table: Table::Viot, offset, structure, cause }));
    }
}
