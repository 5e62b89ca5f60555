//! Who claims what: scopes with their IOMMUs resolved.

use super::{
    bus::{Bus, BusFunction},
    facts::Facts,
    machine::Unit,
    paths::{Paths, issuers},
    report::Report,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec::Vec,
};
use ioward_core::device::Source;
use ioward_types::{
    IommuId, SourceId,
    describe::{Devices, Fact, NodeId, PciFunction, Scope, Sources, Table, Traits},
};

/// A scope whose IOMMU is known.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Which table says so, by its number.
    pub from: usize,
    pub table: Table,
    pub at: NodeId,
    pub devices: Devices<'a>,
    pub by: By,
    pub traits: Traits,
    pub enabled: bool,
}

/// Who serves the devices of a claim.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Nobody,
    Iommu(IommuId, Sources),
    /// The scope refers to nothing.
    Dangling,
}

/// What the claims say of one requester ID.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every source that some IOMMU sees it as.
    pub sources: Vec<Source>,
    /// Some scope says that no IOMMU is in the way.
    pub direct: bool,
    /// Some scope names it, but makes no sense.
    pub broken: bool,
    /// What firmware adds; the narrowest where scopes differ.
    pub traits: Traits,
}

/// All claims of all tables, the numbers of the IOMMUs by table and node, and the bridges that paths lead through.
pub struct Claims<'a> {
    pub list: Vec<Claim<'a>>,
    pub ids: BTreeMap<(usize, NodeId), IommuId>,
    pub paths: Paths,
}

impl<'a> Claims<'a> {
    /// Resolves the scopes; what refers to nothing is reported.
    pub fn new(facts: &Facts<'a>, units: &[(usize, Unit)], bus: &Bus, reports: &mut Vec<Report>) -> Self {
        let paths = Paths::of(bus);
        let ids: BTreeMap<_, _> =
            units.iter().map(|(from, unit)| ((*from, unit.described.1), unit.id)).collect();
        let mut list = Vec::new();
        for (from, table, fact) in facts.iter() {
            let Fact::Scope(Scope { at, devices, served, traits, enabled }) = *fact else { continue };
            let by = match served {
                None => By::Nobody,
                Some(served) => match ids.get(&(from, served.iommu)) {
                    Some(id) => By::Iommu(*id, served.sources),
                    None => {
                        reports.push(Report::NoSuchIommu { table, at, iommu: served.iommu });
                        By::Dangling
                    }
                },
            };
            let mut claim = Claim { from, table, at, devices, by, traits, enabled };
            claim.end_path(&paths, reports);
            list.push(claim);
        }
        Self { list, ids, paths }
    }

    /// What is said of one requester ID of a function: by the scopes that name it, else by those for all other devices.
    pub fn of_requester(
        &self,
        requester: PciFunction,
        function: &BusFunction,
        reports: &mut Vec<Report>,
    ) -> Verdict {
        let issuers = issuers(function);
        let mut verdict = Verdict::default();
        let mut named = false;
        for claim in self.list.iter().filter(|claim| claim.enabled) {
            if let Some(position) = self.paths.position(&claim.devices, requester, &issuers) {
                named = true;
                verdict.add(claim, position, requester, reports);
            }
        }
        for claim in self.list.iter().filter(|claim| claim.enabled) {
            if matches!(claim.devices, Devices::PciRest { segment } if segment == requester.segment) {
                // A scope for the rest still tells what the segment's devices are like.
                verdict.traits = narrower(verdict.traits, claim.traits);
                if !named {
                    verdict.add(claim, requester.requester.into(), requester, reports);
                }
            }
        }
        verdict
    }

    /// Reports the scopes that name a single function which is not there.
    pub fn report_absent(&self, bus: &Bus, reports: &mut Vec<Report>) {
        let there: BTreeSet<PciFunction> = bus
            .functions
            .iter()
            .flat_map(|function| function.at.iter().chain(&function.requesters))
            .copied()
            .collect();
        let segments: BTreeSet<u16> =
            bus.functions.iter().filter_map(|function| Some(function.at?.segment)).collect();
        for claim in &self.list {
            let (segment, wanted) = match claim.devices {
                Devices::Pci { segment, first, last, mask: 0xffff } if first == last => {
                    (segment, Some(PciFunction { segment, requester: first }))
                }
                Devices::PciPath { segment, bus, path, .. } => (segment, self.paths.end(segment, bus, path)),
                _ => continue,
            };
            if segments.contains(&segment) && !wanted.is_some_and(|wanted| there.contains(&wanted)) {
                let device = claim.devices.to_string();
                reports.push(Report::NotThere { table: claim.table, at: claim.at, device });
            }
        }
    }
}

impl Claim<'_> {
    /// What issues requests with the ID of the function at the end of a path has that ID as its source. A path that leads
    /// nowhere is reported.
    fn end_path(&mut self, paths: &Paths, reports: &mut Vec<Report>) {
        let Devices::AtPath { what, segment, bus, path } = self.devices else { return };
        self.devices = what.devices();
        let By::Iommu(id, sources) = self.by else { return };
        self.by = match paths.end(segment, bus, path) {
            Some(end) => match sources.of(end.requester.into()) {
                Some(source) => By::Iommu(id, Sources::Same(source)),
                None => By::Dangling,
            },
            None => {
                let device = self.devices.to_string();
                reports.push(Report::NotThere { table: self.table, at: self.at, device });
                By::Dangling
            }
        };
    }
}

impl Verdict {
    /// Adds what one claim says of the device at `position` among those that it names.
    pub fn add(
        &mut self,
        claim: &Claim<'_>,
        position: u32,
        device: impl core::fmt::Display,
        reports: &mut Vec<Report>,
    ) {
        self.traits = narrower(self.traits, claim.traits);
        let (id, sources) = match claim.by {
            By::Nobody => return self.direct = true,
            By::Dangling => return self.broken = true,
            By::Iommu(id, sources) => (id, sources),
        };
        match (sources.of(position), sources.last_of(position)) {
            (Some(first), Some(last)) => {
                // Nothing sane has more than a few; a table that says millions must not cost millions.
                let last = last.0.min(first.0.saturating_add(MOST_SOURCES - 1));
                for source in first.0..=last {
                    let source = (id, SourceId(source));
                    if !self.sources.contains(&source) {
                        self.sources.push(source);
                    }
                }
            }
            _ => {
                self.broken = true;
                let device = device.to_string();
                reports.push(Report::NoSuchSource { table: claim.table, at: claim.at, device });
            }
        }
    }

    /// Two claims of different IOMMUs, if there are any.
    pub fn conflict(&self) -> Option<(Source, Source)> {
        let first = *self.sources.first()?;
        let second = self.sources.iter().find(|source| source.0 != first.0)?;
        Some((first, *second))
    }
}

/// The most sources of one device that are followed.
const MOST_SOURCES: u32 = 1024;

/// Of two statements the one that promises less.
pub fn narrower(one: Traits, other: Traits) -> Traits {
    let least = |one: Option<u8>, other: Option<u8>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let both = |one: Option<bool>, other: Option<bool>| match (one, other) {
        (Some(one), Some(other)) => Some(one && other),
        (one, other) => one.or(other),
    };
    Traits {
        addr_bits: least(one.addr_bits, other.addr_bits),
        coherent: both(one.coherent, other.coherent),
        ats: both(one.ats, other.ats),
        ats_required: one.ats_required || other.ats_required,
        pri: both(one.pri, other.pri),
        pri_required: one.pri_required || other.pri_required,
        pasid_bits: least(one.pasid_bits, other.pasid_bits),
        stall: one.stall || other.stall,
        amd_setting: one.amd_setting | other.amd_setting,
        vtd_properties: one.vtd_properties | other.vtd_properties,
    }
}
