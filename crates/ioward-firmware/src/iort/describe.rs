//! What an IORT means, as facts.

use super::{
    mapping::{Bad, Mapping, mappings},
    node::{Body, IdMapping, Iort, NamedComponent, Node, Rmr, RmrDescriptor, RootComplex, SmmuV3},
};
use crate::acpi;
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Interrupt, InterruptLine, InterruptRole, Iommu, IommuKind, Msi, MsiController,
        NodeId, Problem, Reserved, ReservedRule, Scope, Served, SmmuV3 as SmmuV3Facts, Sources, Subject,
        Table, Traits,
    },
};

/// The bytes of an SMMUv3's two register pages (SMMU architecture, IHI 0070, section 6.1).
const SMMU_V3_BYTES: u64 = 0x2_0000;

/// Model numbers of SMMUv3 nodes (DEN 0049, table 10).
const MODEL_HI161X: u32 = 1;
const MODEL_CN99XX: u32 = 2;

/// The granularity of a reserved memory range (DEN 0049, table 18).
const RMR_GRANULE: u64 = 0x1_0000;

/// How many steps the mappings of a table may need to be followed, about a second's worth. The largest machines need a
/// hundredth.
const MOST_STEPS: u64 = 1 << 30;

/// Delivers what an IORT says. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match acpi::open(bytes, Table::Iort, b"IORT", Iort::LEAST, sink) {
        Ok(raw) => {
            let mut walk = Walk { table: Iort(raw), sink };
            if walk.is_affordable() {
                walk.table();
            }
        }
        Err(problem) => sink(Fact::Problem(problem)),
    }
}

/// A pass over the table.
struct Walk<'a, 's> {
    table: Iort<'a>,
    sink: &'s mut dyn FnMut(Fact<'a>),
}

impl<'a> Walk<'a, '_> {
    /// Whether following every mapping stays within [`MOST_STEPS`]. To find where a mapping leads is a walk over the nodes;
    /// a device's mapping asks it for every mapping of its SMMU too, and one of an RMR for every range. Where that is too
    /// much, nothing of the table is believed.
    fn is_affordable(&mut self) -> bool {
        let (mut nodes, mut single, mut through, mut pairs, mut widest) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        for node in self.table.nodes() {
            // No more than lie inside the node are followed.
            let own = u64::from(node.mapping_count().min(node.raw.len() / IdMapping::BYTES));
            nodes += 1;
            pairs += own * own;
            match node.body() {
                Body::Smmu(_) | Body::SmmuV3(_) => widest = widest.max(own),
                Body::Rmr(rmr) => {
                    single +=
                        own * u64::from(rmr.descriptor_count().min(node.raw.len() / RmrDescriptor::BYTES));
                }
                _ => through += own,
            }
            single += own;
        }
        let walks = through.saturating_mul(widest).saturating_add(single);
        let steps = walks.saturating_mul(nodes).saturating_add(pairs);
        if steps > MOST_STEPS {
            self.problem(0, "IORT", Cause::Effort { steps, most: MOST_STEPS });
        }
        steps <= MOST_STEPS
    }

    fn table(&mut self) {
        let (mut seen, mut end) = (0, self.table.node_offset());
        if end < Iort::LEAST || (end >= self.table.0.len() && self.table.node_count() != 0) {
            return self.problem(40, "node array", Cause::Range { found: end.into() });
        }
        for node in self.table.nodes() {
            seen += 1;
            end = node.at() + node.raw.len();
            if u32::from(node.length()) < Node::HEADER {
                let cause = Cause::Length { found: node.length().into(), least: Node::HEADER };
                return self.problem(node.at() + 1, "node", cause);
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
            Body::ItsGroup(_) => ("ITS group", super::node::ItsGroup::LEAST),
            Body::NamedComponent(_) => ("named component", NamedComponent::LEAST),
            Body::RootComplex(_) => ("root complex", RootComplex::LEAST),
            Body::Smmu(_) => ("SMMUv1 or SMMUv2", super::node::Smmu::LEAST),
            Body::SmmuV3(_) => ("SMMUv3", SmmuV3::LEAST),
            Body::Pmcg(_) => ("PMCG", super::node::Pmcg::LEAST),
            Body::Rmr(_) => ("RMR", Rmr::LEAST),
            Body::Iwb(_) => ("IWB", super::node::Iwb::LEAST),
            Body::Unknown(kind) => {
                return self.problem(node.at(), "node", Cause::Unknown { kind: kind.into() });
            }
        };
        if node.raw.len() < least {
            return self.problem(
                node.at(),
                structure,
                Cause::Truncated { needs: least, has: node.raw.len() },
            );
        }
        match node.body() {
            Body::ItsGroup(group) => {
                let (needs, has) = (group.its_count(), (node.raw.len() - least) / 4);
                if has < needs {
                    let cause = Cause::Truncated { needs: needs.saturating_mul(4), has: has * 4 };
                    self.problem(node.at() + least, structure, cause);
                }
            }
            Body::NamedComponent(component) => self.named_component(node, &component),
            Body::RootComplex(complex) => self.root_complex(node, &complex),
            Body::Smmu(smmu) => self.old_smmu(node, &smmu),
            Body::SmmuV3(smmu) => self.smmu_v3(node, &smmu),
            Body::Rmr(rmr) => self.rmr(node, &rmr),
            // Counters and wire bridges do no DMA.
            Body::Pmcg(_) | Body::Iwb(_) | Body::Unknown(_) => {}
        }
    }

    fn smmu_v3(&mut self, node: &Node<'a>, smmu: &SmmuV3<'a>) {
        let (flags, model) = (smmu.flags(), smmu.model());
        let lines = [
            (InterruptRole::Event, smmu.event()),
            (InterruptRole::PageRequest, smmu.pri()),
            (InterruptRole::GlobalError, smmu.gerror()),
            (InterruptRole::Sync, smmu.sync()),
        ];
        // The index was added with revision 1; its validity bit later still. A mapping without the single flag is one of
        // stream IDs.
        let own_mapping = mappings(&self.table, node)
            .nth(smmu.device_id_mapping_index() as usize)
            .and_then(Result::ok)
            .filter(|mapping| mapping.single && node.revision() >= 1);
        let bytes = if model == MODEL_CN99XX { SMMU_V3_BYTES / 2 } else { SMMU_V3_BYTES };
        let kind = IommuKind::SmmuV3(SmmuV3Facts {
            coherent: Some(flags & 1 != 0),
            httu: Some((flags >> 1 & 3) as u8),
            model,
            page0_only: model == MODEL_CN99XX,
            broken_prefetch: model == MODEL_HI161X,
            msi_device: own_mapping.map(|mapping| mapping.output),
        });
        let registers = self.registers(node, smmu.base(), bytes, "SMMUv3");
        let interrupts = lines
            .map(|(role, gsiv)| (gsiv != 0).then_some(Interrupt { role, line: InterruptLine::Gsiv(gsiv) }));
        self.iommu(node, kind, registers, interrupts);
        self.check_mappings(node, "SMMUv3", |body| matches!(body, Body::ItsGroup(_)), true);
    }

    fn old_smmu(&mut self, node: &Node<'a>, smmu: &super::node::Smmu<'a>) {
        // DEN 0049, table 6.
        let name = match smmu.model() {
            0 => "SMMUv1",
            1 => "SMMUv2",
            2 => "MMU-400",
            3 => "MMU-500",
            4 => "MMU-401",
            5 => "Cavium SMMUv2",
            _ => "SMMUv1 or SMMUv2",
        };
        let registers = self.registers(node, smmu.base(), smmu.span(), "SMMUv1 or SMMUv2");
        self.iommu(node, IommuKind::Unsupported(name), registers, [None; 4]);
        self.check_mappings(node, "SMMUv1 or SMMUv2", |body| matches!(body, Body::ItsGroup(_)), true);
    }

    fn registers(
        &mut self,
        node: &Node<'a>,
        base: u64,
        bytes: u64,
        structure: &'static str,
    ) -> Option<Span<PhysAddr>> {
        let span = Span::new(PhysAddr(base), bytes).filter(|_| base != 0);
        if span.is_none() {
            self.problem(node.at() + 16, structure, Cause::Range { found: base });
        }
        span
    }

    fn iommu(
        &mut self,
        node: &Node<'a>,
        kind: IommuKind<'a>,
        registers: Option<Span<PhysAddr>>,
        interrupts: [Option<Interrupt>; 4],
    ) {
        let id = NodeId(node.at());
        (self.sink)(Fact::Iommu(Iommu {
            id,
            kind,
            name: "",
            registers,
            function: None,
            interrupts,
            enabled: true,
        }));
    }

    fn root_complex(&mut self, node: &Node<'a>, complex: &RootComplex<'a>) {
        let Ok(segment) = u16::try_from(complex.segment()) else {
            let cause = Cause::Range { found: complex.segment().into() };
            return self.problem(node.at() + 28, "root complex", cause);
        };
        let pasid_bits = (complex.pasid_capabilities() & 0x1f) as u8;
        let traits = Traits {
            addr_bits: (node.revision() >= 1).then(|| complex.memory_size_limit()).filter(is_width),
            coherent: Some(complex.cache_coherency() & 1 != 0),
            ats: Some(complex.ats_attribute() & 1 != 0),
            pasid_bits: (node.revision() >= 3).then_some(pasid_bits),
            ..Traits::default()
        };
        let at = NodeId(node.at());
        let rest = Devices::PciRest { segment };
        (self.sink)(Fact::Scope(Scope { at, devices: rest, served: None, traits, enabled: true }));
        for mapping in mappings(&self.table, node) {
            let Some(mapping) = self.good(mapping, "root complex") else { continue };
            if mapping.single {
                // Requester IDs are many; a single output ID for all of them is not allowed (DEN 0049, table 4).
                self.problem(mapping.at + 16, "ID mapping", Cause::Range { found: 1 });
                continue;
            }
            // Requester IDs have 16 bits; what lies beyond names nobody.
            let Some(mapping) = mapping.within(0, 0xffff) else {
                self.problem(mapping.at, "ID mapping", Cause::Empty);
                continue;
            };
            let devices = |part: &Mapping| {
                let (first, last) = (part.first as u16, part.last as u16);
                Devices::Pci { segment, first, last, mask: 0xffff }
            };
            let sources = |part: &Mapping| Sources::Consecutive(SourceId(part.output));
            self.mapped(&mapping, traits, &devices, &sources);
        }
        self.check_overlaps(node);
    }

    fn named_component(&mut self, node: &Node<'a>, component: &NamedComponent<'a>) {
        let Some(name) = component.device_name() else {
            return self.problem(node.at() + NamedComponent::LEAST, "named component", Cause::Text);
        };
        let flags = component.flags();
        let traits = Traits {
            addr_bits: Some(component.memory_size_limit()).filter(is_width),
            coherent: Some(component.cache_coherency() & 1 != 0),
            pasid_bits: Some((flags >> 1 & 0x1f) as u8),
            stall: flags & 1 != 0,
            ..Traits::default()
        };
        let devices = Devices::AcpiPath(name);
        let mut any = false;
        for mapping in mappings(&self.table, node) {
            let Some(mapping) = self.good(mapping, "named component") else { continue };
            any = true;
            let sources = |part: &Mapping| match part.first == part.last {
                true => Sources::Same(SourceId(part.output)),
                false => Sources::All { first: SourceId(part.output), last: SourceId(part.last_output()) },
            };
            self.mapped(&mapping, traits, &|_| devices, &sources);
        }
        if !any {
            let at = NodeId(node.at());
            (self.sink)(Fact::Scope(Scope { at, devices, served: None, traits, enabled: true }));
        }
    }

    /// Follows one mapping of a device's node to an SMMU, and on to an ITS group.
    fn mapped(
        &mut self,
        mapping: &Mapping,
        traits: Traits,
        devices: &dyn Fn(&Mapping) -> Devices<'a>,
        sources: &dyn Fn(&Mapping) -> Sources,
    ) {
        let at = NodeId(mapping.at);
        let target = self.table.node(mapping.to);
        let served = match self.target(&target) {
            Some(Body::Smmu(_) | Body::SmmuV3(_)) => {
                Some(Served { iommu: NodeId(target.at()), sources: sources(mapping) })
            }
            Some(Body::ItsGroup(_)) => None,
            _ => {
                self.problem(mapping.at + 12, "ID mapping", Cause::Dangling { to: mapping.to });
                // They are behind something, which is not described: nobody may take them for devices that have no IOMMU.
                Some(Served { iommu: NodeId(mapping.at + 12), sources: sources(mapping) })
            }
        };
        (self.sink)(Fact::Scope(Scope { at, devices: devices(mapping), served, traits, enabled: true }));
        if served.is_none() {
            return self.msi(mapping, &target, devices(mapping), sources(mapping));
        }
        // What the SMMU maps on: its input IDs are this mapping's output IDs.
        for inner in mappings(&self.table, &target).filter_map(Result::ok) {
            if inner.single {
                continue;
            }
            let Some(through) = inner.within(mapping.output, mapping.last_output()) else { continue };
            let group = self.table.node(inner.to);
            if matches!(self.target(&group), Some(Body::ItsGroup(_))) {
                let first = mapping.first + (through.first - mapping.output);
                let last = mapping.first + (through.last - mapping.output);
                let part = Mapping { first, last, output: through.output, ..*mapping };
                self.msi(&part, &group, devices(&part), sources(&part));
            }
        }
    }

    /// The devices' interrupts go to every ITS of the group.
    fn msi(&mut self, mapping: &Mapping, group: &Node<'a>, devices: Devices<'a>, ids: Sources) {
        if let Body::ItsGroup(group) = group.body() {
            let at = NodeId(mapping.at);
            for its in group.identifiers() {
                let controller = MsiController::Its(its);
                (self.sink)(Fact::Msi(Msi { at, devices, controller, device_ids: Some(ids) }));
            }
        }
    }

    fn rmr(&mut self, node: &Node<'a>, rmr: &Rmr<'a>) {
        let needs = u64::from(rmr.descriptor_count()) * u64::from(RmrDescriptor::BYTES);
        let has = node.raw.len().saturating_sub(rmr.descriptor_offset());
        if needs > has.into() {
            let needs = u32::try_from(needs).unwrap_or(u32::MAX);
            self.problem(node.at() + 20, "RMR descriptors", Cause::Truncated { needs, has });
        }
        self.check_mappings(node, "RMR", |body| matches!(body, Body::Smmu(_) | Body::SmmuV3(_)), true);
        let flags = rmr.flags();
        // Attributes 0 to 3 are the four kinds of device memory, 5 is write-back (DEN 0049, table 17).
        let kind = flags >> 2 & 0xff;
        let attributes = Attributes {
            read: true,
            write: true,
            execute: false,
            privileged: flags & 2 != 0,
            coherent: kind == 5,
            mmio: kind <= 3,
        };
        for descriptor in rmr.descriptors().filter(|descriptor| !descriptor.is_cut()) {
            let (base, bytes) = (descriptor.base(), descriptor.length());
            let Some(span) = Span::new(Iova(base), bytes) else {
                let cause = if bytes == 0 { Cause::Empty } else { Cause::Range { found: bytes } };
                self.problem(descriptor.at(), "RMR descriptor", cause);
                continue;
            };
            if !span.is_aligned(RMR_GRANULE) {
                // Still honoured, in whole pages: a device that needs it does not care about the rule.
                let found = if base % RMR_GRANULE != 0 { base } else { bytes };
                let cause = Cause::Misaligned { found, unit: RMR_GRANULE };
                self.problem(descriptor.at(), "RMR descriptor", cause);
            }
            let rule = ReservedRule::Required { to: PhysAddr(base), attributes, relaxable: flags & 1 != 0 };
            for mapping in mappings(&self.table, node).filter_map(Result::ok) {
                if matches!(self.target(&self.table.node(mapping.to)), Some(Body::Smmu(_) | Body::SmmuV3(_)))
                {
                    let iommu = NodeId(mapping.to);
                    let (first, last) = (SourceId(mapping.output), SourceId(mapping.last_output()));
                    let subject = Subject::Sources { iommu, first, last };
                    let at = NodeId(descriptor.at());
                    (self.sink)(Fact::Reserved(Reserved { at, subject, span, rule }));
                }
            }
        }
    }

    /// The node as what it is, if a node really starts there.
    fn target(&self, node: &Node<'a>) -> Option<Body<'a>> {
        self.table.nodes().find(|known| known.at() == node.at()).map(|known| known.body())
    }

    /// Reports the mappings of a node that are broken or lead to where they must not.
    fn check_mappings(
        &mut self,
        node: &Node<'a>,
        structure: &'static str,
        fits: fn(&Body<'a>) -> bool,
        single: bool,
    ) {
        for mapping in mappings(&self.table, node) {
            let Some(mapping) = self.good(mapping, structure) else { continue };
            let body = self.target(&self.table.node(mapping.to));
            if !body.as_ref().is_some_and(fits) || (mapping.single && !single) {
                self.problem(mapping.at + 12, "ID mapping", Cause::Dangling { to: mapping.to });
            }
        }
    }

    /// Two mappings of one node that share input IDs.
    fn check_overlaps(&mut self, node: &Node<'a>) {
        let all = || mappings(&self.table, node).filter_map(Result::ok).filter(|mapping| !mapping.single);
        let clash = all().enumerate().find_map(|(index, mapping)| {
            let before = all().take(index).find(|other| other.within(mapping.first, mapping.last).is_some());
            before.map(|other| (mapping.at, other.at))
        });
        if let Some((at, with)) = clash {
            self.problem(at, "ID mapping", Cause::Contradiction { what: "input IDs", with });
        }
    }

    fn good(&mut self, mapping: Result<Mapping, Bad>, structure: &'static str) -> Option<Mapping> {
        match mapping {
            Ok(mapping) => return Some(mapping),
            Err(Bad::Outside { at, needs, has }) => {
                self.problem(at, structure, Cause::Truncated { needs, has });
            }
            Err(Bad::Wraps { at, count }) => {
                self.problem(at + 4, "ID mapping", Cause::Range { found: count.into() });
            }
        }
        None
    }

    fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        // A field of a structure that is cut off is where the table ends.
        let offset = offset.min(self.table.0.len());
        (self.sink)(Fact::Problem(Problem { table: Table::Iort, offset, structure, cause }));
    }
}

/// A limit of zero or of 64 and more limits nothing.
fn is_width(bits: &u8) -> bool {
    (1..64).contains(bits)
}
