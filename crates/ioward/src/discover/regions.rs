//! Which reserved regions and doorbells concern which device.

use super::{claims::Claims, facts::Facts, machine::Device, paths::Paths, report::Report};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::device::{Region, RegionKind};
use ioward_types::{
    Attributes, PhysAddr, Span,
    describe::{Devices, Fact, MsiController, NodeId, PciFunction, Reserved, ReservedRule, Subject, Table},
};

/// What a region is rounded to.
const PAGE: u64 = 0x1000;

/// How firmware names a device: what its scopes are compared with.
pub struct Named<'a> {
    /// The requester IDs of a PCI function.
    pub requesters: Vec<PciFunction>,
    /// Where it is.
    pub at: Option<PciFunction>,
    /// Its driver frees it from the regions that a DMAR reserves for it.
    pub outgrows: bool,
    /// The table's number and the words of a platform device.
    pub words: Option<(usize, Devices<'a>)>,
}

impl Named<'_> {
    /// Whether some table's words mean this device.
    fn is_meant(&self, from: usize, devices: &Devices<'_>, paths: &Paths) -> bool {
        let issuers = self.at.as_slice();
        self.requesters.iter().any(|at| paths.position(devices, *at, issuers).is_some())
            || self.words.as_ref().is_some_and(|(table, words)| *table == from && same(words, devices))
    }
}

/// Whether two scopes mean the same platform device.
pub fn same(one: &Devices<'_>, other: &Devices<'_>) -> bool {
    match (one, other) {
        (Devices::Node { id, .. }, Devices::Node { id: other, .. }) => id == other,
        (Devices::Pci { .. } | Devices::PciRest { .. } | Devices::PciPath { .. }, _) => false,
        (Devices::AtPath { what, .. }, other) => same(&what.devices(), other),
        (one, Devices::AtPath { what, .. }) => *one == what.devices(),
        (one, other) => one == other,
    }
}

/// Fills in the regions and doorbells of a device.
pub fn apply<'a>(
    facts: &Facts<'a>,
    claims: &Claims<'a>,
    named: &Named<'a>,
    device: &mut Device,
    reports: &mut Vec<Report>,
) {
    let mut doorbells = BTreeMap::new();
    for (from, _, fact) in facts.beside_scopes() {
        if let Fact::Doorbell(doorbell) = fact {
            doorbells.insert((from, doorbell.controller), (doorbell.span, doorbell.isolates));
        }
    }
    let mut isolates = Vec::new();
    for (from, table, fact) in facts.beside_scopes() {
        match fact {
            Fact::Reserved(reserved) if concerns(from, reserved, claims, named, device) => {
                region(reserved, named.outgrows && table == Table::Dmar, device, reports);
            }
            Fact::Msi(msi) if named.is_meant(from, &msi.devices, &claims.paths) => {
                let found = match msi.controller {
                    MsiController::Node(id) => doorbells.get(&(from, id) as &(usize, NodeId)).copied(),
                    // An ITS looks messages up by device; where it is, MADT tells.
                    MsiController::Its(_) => {
                        isolates.push(true);
                        None
                    }
                };
                let Some((span, isolated)) = found else { continue };
                isolates.push(isolated);
                if !device.doorbells.contains(&span) {
                    device.doorbells.push(span);
                    // Rounding fails only at the end of the address space, where no controller is.
                    if let Some(span) = span.align_outward(PAGE) {
                        device.regions.push(Region { span, kind: RegionKind::Doorbell });
                    }
                }
            }
            _ => {}
        }
    }
    device.isolated_doorbells = !isolates.is_empty() && isolates.iter().all(|isolates| *isolates);
    device.regions.sort_by_key(|region| (region.span.start, region.span.bytes));
}

fn concerns(
    from: usize,
    reserved: &Reserved<'_>,
    claims: &Claims<'_>,
    named: &Named<'_>,
    device: &Device,
) -> bool {
    match &reserved.subject {
        Subject::Devices(devices) => named.is_meant(from, devices, &claims.paths),
        Subject::Sources { iommu, first, last } => {
            let id = claims.ids.get(&(from, *iommu));
            device.sources.iter().any(|source| Some(&source.0) == id && (*first..=*last).contains(&source.1))
        }
        // Everybody behind the IOMMUs of this table.
        Subject::Everybody => device
            .sources
            .iter()
            .any(|source| claims.ids.iter().any(|((table, _), id)| *table == from && *id == source.0)),
    }
}

fn region(reserved: &Reserved<'_>, outgrown: bool, device: &mut Device, reports: &mut Vec<Report>) {
    let kind = match reserved.rule {
        ReservedRule::Forbidden => RegionKind::Forbidden,
        ReservedRule::Excluded { attributes } => {
            // The device passes by the table there, whatever the table says; saying the same keeps the addresses from
            // being used for anything else.
            RegionKind::Required { how: attributes, relaxable: false }
        }
        ReservedRule::Required { to, attributes, relaxable } if to.0 == reserved.span.start.0 => {
            RegionKind::Required { how: rights(attributes), relaxable: relaxable || outgrown }
        }
        ReservedRule::Required { to, .. } => {
            let device = device.name.clone();
            reports.push(Report::NotIdentity { device, span: reserved.span, to });
            RegionKind::Forbidden
        }
    };
    let span = Span { start: PhysAddr(reserved.span.start.0), bytes: reserved.span.bytes };
    // Rounding fails only where the last page of the address space is reached; no device goes there.
    let Some(span) = span.align_outward(PAGE) else { return };
    let region = Region { span, kind };
    if !device.regions.contains(&region) {
        device.regions.push(region);
    }
}

/// A unity range without any right is one that firmware forgot to give rights: a device that needs it reads and writes.
fn rights(attributes: Attributes) -> Attributes {
    match (attributes.read, attributes.write) {
        (false, false) => Attributes { read: true, write: true, ..attributes },
        _ => attributes,
    }
}
