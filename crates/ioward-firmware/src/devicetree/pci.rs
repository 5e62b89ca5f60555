//! PCI hosts: segments, configuration space, windows, and the two maps from requester IDs.

use super::{describe::Walk, walk::Path};
use ioward_types::{
    Iova, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Msi, MsiController, NodeId, PciFunction, PciHost, Reserved, ReservedRule,
        Scope, Served, Sources, Subject, Traits,
    },
};

/// The space code of an address on PCI (IEEE 1275 PCI binding, section 2.2.1.1): bits 25:24 of the first cell.
const MEMORY_SPACES: [u32; 2] = [2, 3];

/// The bytes of one entry of `iommu-map` and `msi-map`: requester ID, phandle, output, length.
const MAP_ENTRY: u32 = 16;

/// One entry of `iommu-map` or `msi-map`, checked.
struct Entry {
    at: u32,
    first: u16,
    last: u16,
    phandle: u32,
    output: u32,
}

/// Whether a node is a PCI host bridge, and not a bridge or device below one.
pub(super) fn is_host(path: &Path<'_>) -> bool {
    let is_pci = |path: &Path<'_>| {
        let kind = path.node().and_then(|node| node.property("device_type"));
        kind.is_some_and(|kind| matches!(kind.text(), Some("pci" | "pciex")))
    };
    is_pci(path) && !path.parent().is_some_and(|above| is_pci(&above))
}

impl<'a> Walk<'a, '_> {
    /// The segment of a host: `linux,pci-domain`, or how many hosts come before it in the tree.
    pub(super) fn segment(&self, host: &Path<'a>) -> u16 {
        let Some(node) = host.node() else { return 0 };
        if let Some(domain) = node.cell("linux,pci-domain") {
            return domain as u16;
        }
        let mut before = 0u16;
        // A broken structure has been reported by the walk that found the host.
        let _ = self.tree.walk(&mut |path| {
            if path.node().is_some_and(|other| other.at() >= node.at()) {
                return false;
            }
            before = before.saturating_add(is_host(path).into());
            true
        });
        before
    }

    /// The function that a node below a PCI host is.
    pub(super) fn function(&self, path: &Path<'a>) -> Option<PciFunction> {
        let mut above = path.parent();
        while let Some(host) = above {
            if is_host(&host) {
                // Bus, device and function are bits 23:8 of the first cell of `reg`.
                let high = path.node()?.property("reg")?.cells().one()?;
                return Some(PciFunction { segment: self.segment(&host), requester: (high >> 8) as u16 });
            }
            above = host.parent();
        }
        None
    }

    pub(super) fn host(&mut self, path: &Path<'a>, traits: Traits) {
        let Some(node) = path.node() else { return };
        let (at, segment, enabled) = (NodeId(node.at()), self.segment(path), path.is_okay());
        let mut buses = node.property("bus-range").map(|range| range.cells());
        let mut bus = |default: u8| {
            let number = buses.as_mut().and_then(|cells| cells.one());
            number.map_or(default, |number| number as u8)
        };
        let (first_bus, last_bus) = (bus(0), bus(0xff));
        let ecam = node.compatible().any(|name| name.contains("ecam")).then(|| path.registers(0)).flatten();
        let coherent = traits.coherent.unwrap_or(false);
        let name = node.name();
        (self.sink)(Fact::PciHost(PciHost {
            id: at,
            name,
            segment,
            ecam,
            first_bus,
            last_bus,
            coherent,
            enabled,
        }));
        let everything = Devices::Pci { segment, first: 0, last: 0xffff, mask: 0xffff };
        for window in path.ranges().into_iter().flatten() {
            // A request to the bridge's own window is answered by a neighbour on the bus, before any IOMMU.
            let is_memory = MEMORY_SPACES.contains(&(window.space >> 24 & 3));
            if let Some(span) = Span::new(Iova(window.child), window.bytes).filter(|_| is_memory && enabled) {
                let (subject, rule) = (Subject::Devices(everything), ReservedRule::Forbidden);
                (self.sink)(Fact::Reserved(Reserved { at, subject, span, rule }));
            }
        }
        if !node.has("iommus") {
            let devices = Devices::PciRest { segment };
            (self.sink)(Fact::Scope(Scope { at, devices, served: None, traits, enabled }));
        }
        if let Some(parent) = node.property("msi-parent") {
            if let Some(controller) = parent.cells().one().and_then(|phandle| self.tree.find(phandle)) {
                let controller = MsiController::Node(NodeId(controller.node().map_or(0, |node| node.at())));
                let device_ids = Some(Sources::Consecutive(SourceId(0)));
                (self.sink)(Fact::Msi(Msi { at, devices: everything, controller, device_ids }));
            } else {
                self.problem(
                    parent.at(),
                    "msi-parent",
                    Cause::Dangling { to: parent.cells().one().unwrap_or(0) },
                );
            }
        }
    }

    /// `iommu-map` of a PCI host, or of another bus whose devices have numbers.
    pub(super) fn iommu_map(&mut self, path: &Path<'a>, traits: Traits) {
        let enabled = path.is_okay();
        let sound = self.map(path, "iommu-map", "iommu-map-mask", &mut |this, entry, devices| {
            let Some(iommu) = this.iommu(entry.phandle) else {
                this.problem(entry.at + 4, "iommu-map", Cause::Dangling { to: entry.phandle });
                return this.behind_nothing(entry.at + 4, devices, traits, enabled);
            };
            let last = entry.output + u32::from(entry.last - entry.first);
            let sources = match devices {
                Devices::Pci { .. } => Sources::Consecutive(SourceId(entry.output)),
                _ => Sources::All { first: SourceId(entry.output), last: SourceId(last) },
            };
            let served = Some(Served { iommu, sources });
            (this.sink)(Fact::Scope(Scope { at: NodeId(entry.at), devices, served, traits, enabled }));
        });
        let Some(node) = path.node().filter(|_| !sound) else { return };
        // Whom the entries that make no sense mean is not known: whoever is named by no other.
        let at = node.property("iommu-map").map_or(node.at(), |map| map.at());
        let devices = match is_host(path) {
            true => Devices::PciRest { segment: self.segment(path) },
            false => Devices::Node { id: NodeId(node.at()), name: node.name() },
        };
        self.behind_nothing(at, devices, traits, enabled);
    }

    /// Devices that are behind an IOMMU, which is not known or as what is not known: nobody may take them for devices that
    /// have none. `at` is the reference, where no IOMMU is.
    pub(super) fn behind_nothing(&mut self, at: u32, devices: Devices<'a>, traits: Traits, enabled: bool) {
        let served = Some(Served { iommu: NodeId(at), sources: Sources::Same(SourceId(0)) });
        (self.sink)(Fact::Scope(Scope { at: NodeId(at), devices, served, traits, enabled }));
    }

    pub(super) fn msi_map(&mut self, path: &Path<'a>) {
        self.map(path, "msi-map", "msi-map-mask", &mut |this, entry, devices| {
            let Some(found) = this.tree.find(entry.phandle).and_then(|path| path.node()) else {
                return this.problem(entry.at + 4, "msi-map", Cause::Dangling { to: entry.phandle });
            };
            let controller = MsiController::Node(NodeId(found.at()));
            let device_ids = Some(Sources::Consecutive(SourceId(entry.output)));
            (this.sink)(Fact::Msi(Msi { at: NodeId(entry.at), devices, controller, device_ids }));
        });
    }

    /// The entries of a map that make sense, with the devices that each names. False where some do not, so that somebody may
    /// be meant that is not named.
    fn map(
        &mut self,
        path: &Path<'a>,
        name: &'static str,
        mask_name: &str,
        each: &mut dyn FnMut(&mut Self, Entry, Devices<'a>),
    ) -> bool {
        let Some(node) = path.node() else { return true };
        let Some(map) = node.property(name) else { return true };
        let mut sound = true;
        let mask = node.cell(mask_name).unwrap_or(0xffff) as u16;
        let host = is_host(path).then(|| self.segment(path));
        let mut cells = map.cells();
        while cells.len() >= MAP_ENTRY / 4 {
            let at = cells.at();
            let [first, phandle, output, length] = [(); 4].map(|()| cells.one().unwrap_or(0));
            if length == 0 {
                self.problem(at + 12, name, Cause::Empty);
                continue;
            }
            let last = first.checked_add(length - 1).filter(|last| *last <= 0xffff);
            let Some(last) = last.filter(|_| output.checked_add(length - 1).is_some()) else {
                self.problem(at, name, Cause::Range { found: length.into() });
                sound = false;
                continue;
            };
            let (first, last) = (first as u16, last as u16);
            let devices = match host {
                Some(segment) => Devices::Pci { segment, first, last, mask },
                None => Devices::Node { id: NodeId(node.at()), name: node.name() },
            };
            each(self, Entry { at, first, last, phandle, output }, devices);
        }
        if map.value().len() % MAP_ENTRY != 0 {
            let cause = Cause::Size { found: map.value().len(), entry: MAP_ENTRY };
            self.problem(map.at(), name, cause);
            sound = false;
        }
        sound
    }
}
