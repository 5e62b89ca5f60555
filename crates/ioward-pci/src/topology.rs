//! The functions of a machine and the buses between them.

use crate::{
    Bdf, BusId, Finding, Function, PortType, Problem,
    function::Header,
    quirks::{self, AcsQuirk, AliasQuirk, Match},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::ops::Range;

/// A function by its place in [`Topology::functions`].
pub type Index = usize;

/// How many steps are spent on looking for virtual functions, in all: a segment has room for 65536 of them, and only
/// garbage describes more.
pub(crate) const VIRTUAL_BUDGET: u32 = 1 << 20;

/// Linux numbers the segments behind VMD controllers from here on, so that firmware's 16 bits never collide.
pub const FIRST_VMD_SEGMENT: u32 = 0x10000;

/// A bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusNode {
    /// Which.
    pub id: BusId,
    /// The bridge that leads to it; none of a root bus and of a bus that only virtual functions use.
    pub bridge: Option<Index>,
    /// For a bus that only virtual functions use, the place of the physical function's bus.
    pub lent_by: Option<usize>,
    /// The functions on it.
    pub functions: Range<Index>,
    /// Something on it must be below a port, and no port leads to it: part of the machine is missing.
    pub orphan: bool,
    /// More than one bridge claims to lead to it: nobody knows what is above.
    pub contested: bool,
    /// Something on it also uses numbers of the bus that nobody could read ([`quirks::Aliases::Unread`]).
    pub unread_aliases: bool,
}

/// What the functions around a function make of it.
#[derive(Clone, Debug, Default)]
struct Place {
    bus: usize,
    leads_to: Option<usize>,
    physical: Option<Index>,
    owner: Option<Index>,
    multifunction: bool,
    acs_row: Option<(&'static AcsQuirk, Match)>,
    alias_row: Option<(&'static AliasQuirk, Match)>,
}

/// What a counterfactual takes away; see [`Topology::without`](crate::groups::Cause).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Override {
    /// It isolates as if every ACS bit were set.
    pub isolates: bool,
    /// It takes no requests over from below and shares no wires.
    pub no_takeover: bool,
    /// It uses no requester IDs but its own.
    pub no_aliases: bool,
    /// Its segment is no VMD controller's.
    pub no_owner: bool,
}

/// A machine's functions and buses. Built once; facts that configuration space does not show are added afterwards.
#[derive(Clone, Debug)]
pub struct Topology {
    functions: Vec<Function>,
    places: Vec<Place>,
    buses: Vec<BusNode>,
    borrowers: BTreeMap<usize, Vec<usize>>,
    findings: Vec<Finding>,
    /// How many of them came with the functions.
    given: usize,
    amd_iommu: bool,
    /// By function: device and function numbers of its bus that it uses too.
    alias_bits: BTreeMap<Index, [u64; 4]>,
    firmware_aliases: BTreeMap<Index, Vec<u8>>,
    pub(crate) overrides: BTreeMap<Index, Override>,
}

impl Topology {
    /// Puts functions together, in whatever order they come. `findings` are kept and added to.
    pub fn new(mut functions: Vec<Function>, mut findings: Vec<Finding>) -> Self {
        functions.sort_by_key(|function| function.at);
        functions.dedup_by(|second, first| {
            let same = second.at == first.at;
            if same {
                findings.push(Finding { function: first.at, problem: Problem::Twice });
            }
            same
        });
        let given = findings.len();
        let mut topology = Self {
            places: vec![Place::default(); functions.len()],
            functions,
            buses: Vec::new(),
            borrowers: BTreeMap::new(),
            findings,
            given,
            amd_iommu: false,
            alias_bits: BTreeMap::new(),
            firmware_aliases: BTreeMap::new(),
            overrides: BTreeMap::new(),
        };
        topology.link();
        topology.find_virtual();
        topology.find_orphans();
        topology.find_owners();
        topology.settle();
        topology
    }

    /// The functions, ascending.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The buses, ascending.
    pub fn buses(&self) -> &[BusNode] {
        &self.buses
    }

    /// What is wrong.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was wrong before the functions were put together.
    pub(crate) fn given_findings(&self) -> &[Finding] {
        &self.findings[..self.given]
    }

    /// For changes that neither its place nor which quirks apply depends on.
    pub(crate) fn function_mut(&mut self, index: Index) -> &mut Function {
        &mut self.functions[index]
    }

    /// Where a function is in [`Topology::functions`].
    pub fn find(&self, at: Bdf) -> Option<Index> {
        self.functions.binary_search_by_key(&at, |function| function.at).ok()
    }

    /// The bus that a function is on.
    pub fn bus_of(&self, function: Index) -> &BusNode {
        &self.buses[self.places[function].bus]
    }

    /// The bus that a bridge leads to.
    pub fn below(&self, bridge: Index) -> Option<&BusNode> {
        self.places[bridge].leads_to.map(|bus| &self.buses[bus])
    }

    pub(crate) fn bus_index(&self, function: Index) -> usize {
        self.places[function].bus
    }

    /// The buses that only virtual functions of a bus use.
    pub(crate) fn borrowers(&self, bus: usize) -> impl Iterator<Item = usize> + '_ {
        self.borrowers.get(&bus).into_iter().flatten().copied()
    }

    pub(crate) fn bus_below(&self, bridge: Index) -> Option<usize> {
        self.places[bridge].leads_to
    }

    /// The bridge that leads to a function, past the buses that only virtual functions use.
    pub fn above(&self, function: Index) -> Option<Index> {
        self.bridge_to(self.places[function].bus)
    }

    /// The bridge that leads to a bus, past the buses that only virtual functions use.
    pub(crate) fn bridge_to(&self, bus: usize) -> Option<Index> {
        let mut bus = &self.buses[bus];
        // A lender is never lent to, see `find_virtual`.
        if let Some(lender) = bus.lent_by {
            bus = &self.buses[lender];
        }
        bus.bridge
    }

    /// The physical function of a virtual one.
    pub fn physical(&self, function: Index) -> Option<Index> {
        self.places[function].physical
    }

    /// The controller that issues a function's requests as its own: Intel's VMD.
    pub fn owner(&self, function: Index) -> Option<Index> {
        let taken = self.overrides.get(&function).is_some_and(|taken| taken.no_owner);
        self.places[function].owner.filter(|_| !taken)
    }

    /// Whether a function is one of several of a device: its header says so, or it is not function 0, or, where nobody
    /// read the header, others of its slot are there. Virtual functions never are.
    pub fn is_multifunction(&self, function: Index) -> bool {
        self.places[function].multifunction
    }

    /// The other functions of the same slot, virtual ones too.
    pub fn siblings(&self, function: Index) -> impl Iterator<Item = Index> + '_ {
        let slot = self.functions[function].at.device();
        let range = self.bus_of(function).functions.clone();
        // Functions of a slot follow each other.
        let first = self.functions[range.clone()].partition_point(|other| other.at.device() < slot);
        (range.start + first..range.end)
            .take_while(move |&other| self.functions[other].at.device() == slot)
            .filter(move |&other| other != function)
    }

    /// Whether a function is on a root bus.
    pub fn on_root_bus(&self, function: Index) -> bool {
        self.bridge_to(self.places[function].bus).is_none()
    }

    /// The row of [`quirks::ACS`] that applies to a function.
    pub fn acs_quirk(&self, function: Index) -> Option<(&'static AcsQuirk, Match)> {
        self.places[function].acs_row
    }

    /// The row of [`quirks::ALIASES`] that applies to a function.
    pub fn alias_quirk(&self, function: Index) -> Option<(&'static AliasQuirk, Match)> {
        self.places[function].alias_row
    }

    /// Firmware says that a function also uses `devfn` of its bus as its requester ID (an alias entry of an IVRS table).
    /// Whether there is such a function.
    pub fn add_firmware_alias(&mut self, at: Bdf, devfn: u8) -> bool {
        let Some(index) = self.find(at).filter(|_| devfn != at.devfn) else { return false };
        self.firmware_aliases.entry(index).or_default().push(devfn);
        set(self.alias_bits.entry(index).or_default(), devfn);
        true
    }

    /// What firmware added for a function.
    pub fn firmware_aliases(&self, function: Index) -> &[u8] {
        self.firmware_aliases.get(&function).map_or(&[], Vec::as_slice)
    }

    /// Firmware says that what is below a port can be plugged in from outside.
    pub fn set_external_facing(&mut self, at: Bdf) -> bool {
        let index = self.find(at);
        if let Some(index) = index {
            self.functions[index].external_facing = true;
        }
        index.is_some()
    }

    /// Whether a function is below a port that faces outside, and so must not be trusted.
    pub fn is_untrusted(&self, function: Index) -> bool {
        self.path(function).any(|bridge| self.functions[bridge].external_facing)
    }

    /// Whether a function is part of a Thunderbolt controller, or below one: by Intel's capability, or where nobody could
    /// look for that, by its name.
    pub fn is_thunderbolt(&self, function: Index) -> bool {
        let is_part = |index: Index| {
            let function = &self.functions[index];
            function.thunderbolt.present().is_some()
                || !function.thunderbolt.is_seen() && function.name.contains("Thunderbolt")
                || function.ids.is_none() && function.name.contains("Thunderbolt")
        };
        is_part(function) || self.path(function).any(is_part)
    }

    /// The bridges above a function, the nearest first.
    pub fn path(&self, function: Index) -> impl Iterator<Item = Index> + '_ {
        // Ends: each bus has a lower number than the one below it.
        core::iter::successors(self.above(function), |&bridge| self.above(bridge))
    }

    /// The device and function numbers of its bus that a function uses besides its own, as a set; none if there are
    /// none.
    pub(crate) fn alias_bits(&self, function: Index) -> Option<&[u64; 4]> {
        let taken = self.overrides.get(&function).is_some_and(|taken| taken.no_aliases);
        self.alias_bits.get(&function).filter(|_| !taken)
    }

    /// Whether some function of a bus uses others' numbers.
    pub(crate) fn has_aliases(&self) -> bool {
        !self.alias_bits.is_empty()
    }

    /// Whether two functions of one bus use each other's numbers.
    pub(crate) fn alias_each_other(&self, one: Index, other: Index) -> bool {
        let uses = |a: Index, b: Index| {
            self.alias_bits(a).is_some_and(|bits| is_set(bits, self.functions[b].at.devfn))
        };
        uses(one, other) || uses(other, one)
    }

    pub(crate) fn override_of(&self, function: Index) -> Override {
        self.overrides.get(&function).copied().unwrap_or_default()
    }

    /// Buses, and which bridge leads to each.
    fn link(&mut self) {
        let mut buses: BTreeMap<BusId, BusNode> = BTreeMap::new();
        let node = |id| BusNode {
            id,
            bridge: None,
            lent_by: None,
            functions: 0..0,
            orphan: false,
            contested: false,
            unread_aliases: false,
        };
        for (index, function) in self.functions.iter().enumerate() {
            let bus = buses.entry(function.at.on()).or_insert_with(|| node(function.at.on()));
            if bus.functions.is_empty() {
                bus.functions = index..index;
            }
            bus.functions.end = index + 1;
        }
        let mut claims = Vec::new();
        for (index, function) in self.functions.iter().enumerate() {
            let Header::Bridge { primary, secondary, subordinate, .. } = function.header else { continue };
            let mut report = |problem| self.findings.push(Finding { function: function.at, problem });
            // Behind VMD the registers count from zero, the buses do not.
            if primary != function.at.bus && function.at.segment < FIRST_VMD_SEGMENT && secondary != 0 {
                report(Problem::WrongPrimary { primary });
            }
            if secondary == 0 {
                continue;
            }
            // Buses below have higher numbers; so no loop of bridges survives.
            if secondary <= function.at.bus {
                report(Problem::BusRange { secondary, subordinate });
                continue;
            }
            if subordinate < secondary {
                report(Problem::BusRange { secondary, subordinate });
            }
            let id = BusId { segment: function.at.segment, number: secondary };
            let bus = buses.entry(id).or_insert_with(|| node(id));
            if bus.bridge.is_some() {
                bus.contested = true;
                report(Problem::BusTaken { secondary });
                continue;
            }
            bus.bridge = Some(index);
            claims.push((index, id, subordinate));
        }
        self.buses = buses.into_values().collect();
        for (number, bus) in self.buses.iter().enumerate() {
            for index in bus.functions.clone() {
                self.places[index].bus = number;
            }
            if let Some(bridge) = bus.bridge {
                self.places[bridge].leads_to = Some(number);
            }
        }
        for (index, id, subordinate) in claims {
            let Some(above) = self.above(index) else { continue };
            let Header::Bridge { subordinate: limit, .. } = self.functions[above].header else { continue };
            if subordinate > limit || id.number > limit {
                let problem = Problem::BusOutsideParent { secondary: id.number, subordinate, limit };
                self.findings.push(Finding { function: self.functions[index].at, problem });
            }
        }
    }

    /// Which functions are virtual ones, and of whom.
    fn find_virtual(&mut self) {
        let mut budget = VIRTUAL_BUDGET;
        for physical in 0..self.functions.len() {
            let function = &self.functions[physical];
            let Some(&sriov) = function.sriov.present() else { continue };
            if !sriov.enabled || sriov.count == 0 || self.places[physical].physical.is_some() {
                continue;
            }
            let at = function.at;
            if sriov.stride == 0 && sriov.count > 1 {
                self.findings.push(Finding { function: at, problem: Problem::VirtualStride });
            }
            let count = if sriov.stride == 0 { 1 } else { sriov.count };
            let Some(first) = sriov.requester(at, 0) else {
                self.findings.push(Finding { function: at, problem: Problem::VirtualOutside { index: 1 } });
                continue;
            };
            let last = sriov.requester(at, count - 1).unwrap_or_else(|| {
                let inside = (0xffff - first) / sriov.stride.max(1);
                self.findings
                    .push(Finding { function: at, problem: Problem::VirtualOutside { index: inside + 2 } });
                first + inside * sriov.stride
            });
            // Those that are there, rather than those that could be.
            let from = self.functions.partition_point(|f| f.at < Bdf::of_requester(at.segment, first));
            for index in from..self.functions.len() {
                let other = self.functions[index].at;
                if other.segment != at.segment || other.requester() > last || budget == 0 {
                    break;
                }
                budget -= 1;
                let steps = other.requester() - first;
                let own = sriov.stride == 0 || steps.is_multiple_of(sriov.stride);
                if own && index != physical && self.places[index].physical.is_none() {
                    self.places[index].physical = Some(physical);
                }
            }
        }
        // What the system tells, where the capability of the physical function says nothing. Requester IDs of virtual
        // functions are above that of their physical one; so no bus is lent to one with a lower number.
        for index in 0..self.functions.len() {
            let told = self.functions[index].physical.and_then(|at| self.find(at));
            let told = told.filter(|&told| {
                let physical = &self.functions[told];
                told < index
                    && physical.at.segment == self.functions[index].at.segment
                    && physical.physical.is_none()
            });
            if self.places[index].physical.is_none() {
                self.places[index].physical = told.filter(|&told| self.places[told].physical.is_none());
            }
        }
        for bus in 0..self.buses.len() {
            let node = &self.buses[bus];
            let lender = (node.bridge.is_none() && !node.functions.is_empty())
                .then(|| self.places[node.functions.start].physical)
                .flatten()
                .map(|physical| self.places[physical].bus)
                .filter(|&lender| lender != bus && self.buses[lender].lent_by.is_none());
            self.buses[bus].lent_by = lender;
            if let Some(lender) = lender {
                self.borrowers.entry(lender).or_default().push(bus);
            }
        }
    }

    /// Buses that must be below a port that nobody described.
    fn find_orphans(&mut self) {
        for bus in &mut self.buses {
            if bus.bridge.is_some() || bus.lent_by.is_some() || bus.functions.is_empty() {
                continue;
            }
            let on = &self.functions[bus.functions.clone()];
            let is =
                |kinds: &[PortType]| on.iter().any(|f| f.port_type().is_some_and(|k| kinds.contains(&k)));
            let needs_port = is(&[
                PortType::Endpoint,
                PortType::LegacyEndpoint,
                PortType::UpstreamPort,
                PortType::ToConventional,
            ]) || is(&[PortType::DownstreamPort]);
            let in_root = is(&[PortType::RootPort, PortType::IntegratedEndpoint, PortType::EventCollector])
                || on.iter().any(|f| f.class == Some(0x0600));
            bus.orphan = bus.id.number != 0 && needs_port && !in_root;
            if bus.orphan {
                self.findings.push(Finding { function: on[0].at, problem: Problem::OrphanBus });
            }
        }
    }

    /// Which VMD controller owns each segment from [`FIRST_VMD_SEGMENT`] on: they are numbered in the order in which
    /// the controllers were probed.
    fn find_owners(&mut self) {
        let first = self.functions.partition_point(|f| f.at.segment < FIRST_VMD_SEGMENT);
        let mut segments: Vec<u32> = self.functions[first..].iter().map(|f| f.at.segment).collect();
        segments.dedup();
        let mut controllers: Vec<Index> =
            (0..first).filter(|&index| is_vmd(&self.functions[index])).collect();
        let bound = |&index: &Index| self.functions[index].driver.as_deref() == Some("vmd");
        if controllers.iter().any(bound) {
            controllers.retain(bound);
        }
        let owners: BTreeMap<u32, Index> = segments.into_iter().zip(controllers).collect();
        for (place, function) in self.places[first..].iter_mut().zip(&self.functions[first..]) {
            place.owner = owners.get(&function.at.segment).copied();
        }
    }

    /// What depends on the surroundings of each function.
    fn settle(&mut self) {
        self.amd_iommu = self.functions.iter().any(is_amd_iommu);
        for index in 0..self.functions.len() {
            let function = &self.functions[index];
            // Below a port that forwards ARI all eight bits are the function.
            let ari = self.bridge_to(self.places[index].bus).is_some_and(|port| {
                let express = self.functions[port].express;
                express.present().is_some_and(|express| express.ari_forwarding == Some(true))
            });
            let multifunction = self.places[index].physical.is_none()
                && (function.multifunction == Some(true)
                    || function.at.function() != 0
                    || ari && function.at.devfn != 0
                    || function.multifunction.is_none()
                        && self.siblings(index).any(|other| self.places[other].physical.is_none()));
            let setting = quirks::Setting {
                multifunction,
                on_root_bus: self.on_root_bus(index),
                amd_iommu: self.amd_iommu,
            };
            let acs_row = quirks::find_acs(function, setting);
            let alias_row = quirks::find_alias(function);
            if let Some((row, _)) = alias_row {
                if row.aliases == quirks::Aliases::Unread {
                    self.buses[self.places[index].bus].unread_aliases = true;
                    let problem = Problem::AliasesUnread;
                    self.findings.push(Finding { function: function.at, problem });
                }
                let mut bits = [0; 4];
                row.aliases.each(function.at, |one| set(&mut bits, one));
                if bits != [0; 4] {
                    self.alias_bits.insert(index, bits);
                }
            }
            let place = &mut self.places[index];
            (place.multifunction, place.acs_row, place.alias_row) = (multifunction, acs_row, alias_row);
        }
    }
}

fn set(bits: &mut [u64; 4], devfn: u8) {
    bits[usize::from(devfn >> 6)] |= 1 << (devfn & 63);
}

pub(crate) fn is_set(bits: &[u64; 4], devfn: u8) -> bool {
    bits[usize::from(devfn >> 6)] >> (devfn & 63) & 1 != 0
}

/// An IOMMU's own function: class 08h, subclass 06h. The "secure device" capability does not tell: functions of AMD's
/// older processors have it that are no IOMMU.
pub(crate) fn is_iommu(function: &Function) -> bool {
    function.class == Some(0x0806)
}

fn is_amd_iommu(function: &Function) -> bool {
    is_iommu(function)
        && match function.ids {
            Some(ids) => ids.vendor == 0x1022,
            None => function.name.contains("Advanced Micro Devices"),
        }
}

fn is_vmd(function: &Function) -> bool {
    // The IDs that Linux's vmd driver binds to; a dump without IDs has the name.
    const IDS: &[u16] =
        &[0x201d, 0x28c0, 0x467f, 0x4c3d, 0xa77f, 0x7d0b, 0xad0b, 0x9a0b, 0xb60b, 0xb06f, 0xfd6f];
    match function.ids {
        Some(ids) => ids.vendor == 0x8086 && IDS.contains(&ids.device),
        None => function.name.contains("Volume Management Device"),
    }
}
