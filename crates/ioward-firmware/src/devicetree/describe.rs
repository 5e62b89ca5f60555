//! What the IOMMU bindings of a tree mean, as facts.

use super::{
    cells::{Cells, MOST_CELLS},
    compatible::{self, Kind},
    pci::is_host,
    tree::{Node, Tree},
    walk::Path,
};
use ioward_types::{
    PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Doorbell, Fact, Interrupt, InterruptLine, InterruptRole, Iommu, IommuKind, Msi,
        MsiController, NodeId, Problem, RiscV, Scope, Served, SmmuV3, Sources, Table, Traits,
    },
};

/// Delivers what a device tree says. A blob that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    let tree = match Tree::open(bytes, sink) {
        Ok(tree) => tree,
        Err(problem) => return sink(Fact::Problem(problem)),
    };
    let mut walk = Walk { tree, sink };
    let end = tree.walk(&mut |path| {
        walk.path(path);
        true
    });
    if let Err(problem) = end {
        sink(Fact::Problem(problem));
    }
}

/// A pass over the tree.
pub(super) struct Walk<'a, 's> {
    pub tree: Tree<'a>,
    pub sink: &'s mut dyn FnMut(Fact<'a>),
}

impl<'a> Walk<'a, '_> {
    fn path(&mut self, path: &Path<'a>) {
        let Some(node) = path.node() else { return };
        let traits = traits(path, &node);
        if let Some(kind) = compatible::kind(&node) {
            self.unit(path, &node, kind, traits.coherent);
        }
        if is_host(path) {
            self.host(path, traits);
        }
        if node.has("iommus") {
            self.iommus(path, &node, traits);
        }
        if node.has("iommu-map") {
            self.iommu_map(path, traits);
        }
        if node.has("msi-map") {
            self.msi_map(path);
        } else if node.has("msi-parent") && !is_host(path) {
            self.msi_parent(&node);
        }
        self.region(path);
        self.doorbell(path, &node);
    }

    fn unit(&mut self, path: &Path<'a>, node: &Node<'a>, kind: Kind<'a>, coherent: Option<bool>) {
        let function = self.function(path);
        let registers = path.registers(0).filter(|_| function.is_none());
        // A kind that nobody drives needs none.
        let is_driven = !matches!(kind, Kind::Other(_));
        if registers.is_none() && function.is_none() && path.is_okay() && is_driven {
            self.problem(
                node.at(),
                "IOMMU",
                Cause::Missing { what: "a register block that can be addressed" },
            );
        }
        let interrupts = self.interrupts(path, node);
        let kind = match kind {
            Kind::Other(name) => IommuKind::Unsupported(name),
            Kind::Virtio => IommuKind::Virtio,
            Kind::RiscV => IommuKind::RiscV(RiscV {
                coherent,
                wires: interrupts.iter().flatten().count() as u16,
                ..RiscV::default()
            }),
            Kind::SmmuV3 => IommuKind::SmmuV3(SmmuV3 {
                coherent: Some(node.has("dma-coherent")),
                page0_only: node.has("cavium,cn9900-broken-page1-regspace"),
                broken_prefetch: node.has("hisilicon,broken-prefetch-cmd"),
                ..SmmuV3::default()
            }),
        };
        (self.sink)(Fact::Iommu(Iommu {
            id: NodeId(node.at()),
            kind,
            name: node.name(),
            registers,
            function,
            interrupts,
            enabled: path.is_okay(),
        }));
    }

    fn interrupts(&self, path: &Path<'a>, node: &Node<'a>) -> [Option<Interrupt>; 4] {
        let mut found = [None; 4];
        let extended = node.property("interrupts-extended");
        let parent = path.inherited("interrupt-parent").and_then(|property| property.cell());
        let Some(mut cells) =
            extended.or_else(|| node.property("interrupts")).map(|property| property.cells())
        else {
            return found;
        };
        let mut names = node.property("interrupt-names").into_iter().flat_map(|property| property.texts());
        for (index, slot) in found.iter_mut().enumerate() {
            let phandle = if extended.is_some() { cells.one() } else { parent };
            let controller = phandle.and_then(|phandle| self.tree.find(phandle)).and_then(|path| path.node());
            let count = controller.and_then(|node| node.cell("#interrupt-cells")).unwrap_or(1);
            let Some(mut specifier) = cells.take(count).filter(|_| (1..=MOST_CELLS).contains(&count)) else {
                break;
            };
            let line = InterruptLine::DeviceTree {
                controller: controller.map(|node| NodeId(node.at())),
                cells: [(); 4].map(|()| specifier.one().unwrap_or(0)),
                count: count as u8,
            };
            *slot = Some(Interrupt { role: role(names.next(), index as u8), line });
        }
        found
    }

    /// `iommus` of a platform device, or of a PCI host whose functions all look the same to the IOMMU.
    fn iommus(&mut self, path: &Path<'a>, node: &Node<'a>, traits: Traits) {
        let Some(property) = node.property("iommus") else { return };
        let devices = match is_host(path) {
            true => Devices::PciRest { segment: self.segment(path) },
            false => Devices::Node { id: NodeId(node.at()), name: node.name() },
        };
        let mut cells = property.cells();
        while let Some(phandle) = cells.one() {
            let at = cells.at() - 4;
            let found = self.tree.find(phandle).and_then(|path| path.node());
            let Some(iommu) = found.filter(|node| compatible::kind(node).is_some()) else {
                // How many cells belong to it cannot be known.
                self.problem(at, "iommus", Cause::Dangling { to: phandle });
                return self.behind_nothing(at, devices, traits, path.is_okay());
            };
            let Some(mut source) = self.specifier(&mut cells, &iommu, "#iommu-cells", at, "iommus") else {
                return self.behind_nothing(at, devices, traits, path.is_okay());
            };
            let source = SourceId(source.one().unwrap_or(0));
            let served = Some(Served { iommu: NodeId(iommu.at()), sources: Sources::Same(source) });
            let (at, enabled) = (NodeId(at), path.is_okay());
            (self.sink)(Fact::Scope(Scope { at, devices, served, traits, enabled }));
        }
    }

    /// `msi-parent` of a platform device.
    fn msi_parent(&mut self, node: &Node<'a>) {
        let Some(property) = node.property("msi-parent") else { return };
        let devices = Devices::Node { id: NodeId(node.at()), name: node.name() };
        let mut cells = property.cells();
        while let Some(phandle) = cells.one() {
            let at = cells.at() - 4;
            let Some(controller) = self.tree.find(phandle).and_then(|path| path.node()) else {
                return self.problem(at, "msi-parent", Cause::Dangling { to: phandle });
            };
            let Some(mut id) = self.specifier(&mut cells, &controller, "#msi-cells", at, "msi-parent") else {
                return;
            };
            let device_ids = id.one().map(|id| Sources::Same(SourceId(id)));
            let controller = MsiController::Node(NodeId(controller.at()));
            (self.sink)(Fact::Msi(Msi { at: NodeId(at), devices, controller, device_ids }));
        }
    }

    /// Takes the cells that the node referred to asks for; none where they are not there, which is reported.
    fn specifier(
        &mut self,
        cells: &mut Cells<'a>,
        of: &Node<'a>,
        count: &str,
        at: u32,
        structure: &'static str,
    ) -> Option<Cells<'a>> {
        let count = of.cell(count).unwrap_or(0);
        let has = cells.len() * 4;
        let taken = cells.take(count);
        if taken.is_none() {
            self.problem(at, structure, Cause::Truncated { needs: count.saturating_mul(4), has });
        }
        taken
    }

    /// The IOMMU that a phandle means.
    pub fn iommu(&self, phandle: u32) -> Option<NodeId> {
        let node = self.tree.find(phandle)?.node()?;
        compatible::kind(&node).map(|_| NodeId(node.at()))
    }

    fn doorbell(&mut self, path: &Path<'a>, node: &Node<'a>) {
        let found = node.compatible().find_map(|name| match name {
            // GITS_TRANSLATER, in the second of the ITS's two frames of 64 KiB (GIC architecture, IHI 0069, 12.18).
            "arm,gic-v3-its" => Some((0x1_0040, 4, true)),
            // MSI_SETSPI_NS (Server Base System Architecture, appendix on GICv2m).
            "arm,gic-v2m-frame" => Some((0x40, 4, false)),
            // An interrupt file of a page for each hart and guest (RISC-V AIA, section 3).
            "riscv,imsics" => Some((0, u64::MAX, false)),
            _ => None,
        });
        let Some((offset, bytes, isolates)) = found else { return };
        let Some(registers) = path.registers(0).filter(|_| path.is_okay()) else { return };
        let start = registers.start.0.checked_add(offset).map(PhysAddr);
        let bytes = bytes.min(registers.bytes.saturating_sub(offset));
        if let Some(span) = start.and_then(|start| Span::new(start, bytes)) {
            (self.sink)(Fact::Doorbell(Doorbell { controller: NodeId(node.at()), span, isolates }));
        }
    }

    pub fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        (self.sink)(Fact::Problem(Problem { table: Table::DeviceTree, offset, structure, cause }));
    }
}

/// What a device's node says of its DMA.
fn traits<'a>(path: &Path<'a>, node: &Node<'a>) -> Traits {
    // The nearest statement counts; a bus speaks for its devices.
    let coherent = path.nodes().rev().find_map(|node| match () {
        () if node.has("dma-coherent") => Some(true),
        () if node.has("dma-noncoherent") => Some(false),
        () => None,
    });
    Traits {
        addr_bits: None,
        coherent,
        ats: is_host(path).then(|| node.has("ats-supported")),
        pasid_bits: node.cell("pasid-num-bits").map(|bits| bits.min(20) as u8),
        stall: node.has("dma-can-stall"),
        ..Traits::default()
    }
}

/// The names of the SMMUv3 binding and of the generic ones.
fn role(name: Option<&str>, index: u8) -> InterruptRole {
    match name {
        Some("eventq") => InterruptRole::Event,
        Some("priq") => InterruptRole::PageRequest,
        Some("gerror") => InterruptRole::GlobalError,
        Some("cmdq-sync") => InterruptRole::Sync,
        Some("combined") => InterruptRole::Combined,
        _ => InterruptRole::Nth(index),
    }
}
