//! From what firmware and bus say to a machine that runs.

use crate::{
    hardware, invent,
    rig::{BYTES, Endpoint, Rig, control},
    running::{Member, Running, Unit, UnitState, UnitTraits},
};
use ioward::{
    core::{Policy, RegionKind},
    discover::{self, Bus, Facts, Report, Serving, UnitKind, join},
    pci::groups::{Linux, Policy as _},
    types::{
        DeviceControl, IommuId, PhysAddr, Span,
        describe::{Devices, Fact, Severity, Table},
    },
};
use ioward_host::Machine;
use std::sync::Arc;

/// Where memory may start: the first place where it is nobody's required region.
const ORIGINS: [u64; 6] =
    [0x8000_0000, 0x4000_0000, 0x1_0000_0000, 0x2_0000_0000, 0x4_0000_0000, 0x8_0000_0000];
/// The most sources of a device that get an engine each.
const MOST_ENGINES: usize = 8;

/// What is wrong with a description, or worth knowing.
#[derive(Clone, Debug)]
pub struct Remark {
    /// How much it matters.
    pub severity: Severity,
    /// Which file and what.
    pub text: String,
}

/// A machine from a description, and what is to be said of the description.
pub fn build(machine: &Machine, policy: Policy) -> (Running, Vec<Remark>) {
    let mut remarks = Vec::new();
    let mut notes = Vec::new();
    let note = |text: String| Remark { severity: Severity::Note, text };
    remarks.extend(machine.degraded.iter().map(|degraded| note(degraded.to_string())));
    for file in &machine.passed_over {
        remarks.push(note(format!("{file}: an ACPI table that describes no IOMMU; passed over")));
    }
    let facts = machine.facts();
    let names: Vec<_> = machine.tables.iter().map(|table| (table.kind, table.file.clone())).collect();
    let bus = if machine.topology.functions().is_empty() {
        let (bus, note) = invent::bus(&facts);
        notes.extend(note);
        bus
    } else {
        remarks.extend(machine.topology.findings().iter().map(|finding| note(format!("PCI: {finding}"))));
        Bus::of(&machine.topology, &Linux.groups(&machine.topology))
    };
    let found = join(&facts, &bus);
    remarks.extend(found.reports.iter().filter_map(|report| remark(report, &names)));
    let mut running = Running::new(Rig::with_memory(policy, origin(&found)));
    running.notes = notes;
    place_units(&mut running, &found, &facts, &mut remarks);
    place_devices(&mut running, &found);
    (running, remarks)
}

/// A report in words, with its file. That a device is unserved stands in the table of devices.
fn remark(report: &Report, names: &[(Table, String)]) -> Option<Remark> {
    let severity = report.severity();
    let table = match report {
        Report::Unserved { .. } => return None,
        Report::Problem(problem) => Some(problem.table),
        Report::NotThere { table, .. }
        | Report::NoSuchIommu { table, .. }
        | Report::NoSuchSource { table, .. } => Some(*table),
        _ => None,
    };
    let mut files = names.iter().filter(|(kind, _)| Some(*kind) == table).map(|(_, name)| name.as_str());
    // Where two files are of one kind, the report does not tell which it is; both are named.
    let file = match (files.next(), files.next()) {
        (Some(file), None) => format!("{file}: "),
        (Some(one), Some(two)) => format!("{one} or {two}: "),
        _ => String::new(),
    };
    Some(Remark { severity, text: format!("{file}{report}") })
}

/// Memory lies where no region that firmware requires is, so that a request to one is seen to arrive at its own address.
fn origin(found: &discover::Machine) -> PhysAddr {
    let is_free = |origin: &u64| {
        let memory = Span { start: PhysAddr(*origin), bytes: BYTES };
        let regions = found.devices.iter().flat_map(|device| &device.regions);
        !regions
            .filter(|region| matches!(region.kind, RegionKind::Required { .. }))
            .any(|region| region.span.overlaps(&memory))
    };
    PhysAddr(ORIGINS.into_iter().find(is_free).unwrap_or(ORIGINS[0]))
}

/// The largest source that tables give to devices behind an IOMMU.
fn largest(facts: &Facts<'_>, unit: &discover::Unit, found: &discover::Machine) -> u32 {
    let mut largest = 0;
    for (_, table, fact) in facts.iter() {
        let Fact::Scope(scope) = fact else { continue };
        let Some(served) = scope.served.filter(|served| (table, served.iommu) == unit.described) else {
            continue;
        };
        let last = match scope.devices {
            Devices::Pci { first, last, .. } => u32::from(last.saturating_sub(first)),
            Devices::PciRest { .. } => 0xffff,
            _ => 0,
        };
        largest = largest.max(served.sources.last_of(last).map_or(0, |source| source.0));
    }
    let sources = found.devices.iter().flat_map(|device| &device.sources);
    sources.filter(|source| source.0 == unit.id).map(|source| source.1.0).fold(largest, u32::max)
}

/// Why an IOMMU cannot be driven: nobody knows where its registers are. Discovery has reported what led to that.
fn unreachable(unit: &discover::Unit) -> Option<&'static str> {
    let known = matches!(unit.kind, UnitKind::VtD(_) | UnitKind::RiscV(_) | UnitKind::Virtio);
    match (unit.registers, unit.function) {
        (None, None) if known => Some("firmware gives no usable place of its registers"),
        (None, Some(_)) if known && unit.on_bus.is_none() => Some("the PCI function that it is is not there"),
        _ => None,
    }
}

fn place_units(
    running: &mut Running,
    found: &discover::Machine,
    facts: &Facts<'_>,
    remarks: &mut Vec<Remark>,
) {
    let incoherent = found.smmuv3().any(|(_, smmu)| smmu.coherent == Some(false));
    running.rig.memory.set_incoherent(incoherent);
    for unit in &found.iommus {
        let IommuId(id) = unit.id;
        let largest = largest(facts, unit, found);
        let traits = match &unit.kind {
            _ if !unit.enabled || unreachable(unit).is_some() => None,
            UnitKind::SmmuV3(smmu) => Some(hardware::smmu(&mut running.rig, id, smmu, largest)),
            UnitKind::AmdVi(amd) => {
                let largest = u16::try_from(largest).unwrap_or(u16::MAX);
                Some(hardware::amd(&mut running.rig, id, amd, largest))
            }
            UnitKind::VtD(vtd) => Some(hardware::vtd(&mut running.rig, id, vtd)),
            UnitKind::RiscV(riscv) => Some(hardware::riscv(&mut running.rig, id, riscv, largest)),
            UnitKind::Virtio => Some(hardware::virtio(&mut running.rig, id)),
            _ => None,
        };
        let state = match (&traits, unit.enabled) {
            (Some(_), _) => match running.rig.start(id) {
                Ok(()) => UnitState::Runs,
                Err(error) => {
                    let text = format!("{} is not used: {error}", unit.name);
                    remarks.push(Remark { severity: Severity::Broken, text });
                    UnitState::Failed(error.to_string())
                }
            },
            (None, false) => UnitState::Disabled,
            (None, true) => match unreachable(unit) {
                Some(why) => UnitState::Failed(why.to_owned()),
                None => UnitState::Unsupported,
            },
        };
        running.units.push(Unit {
            id: unit.id,
            name: unit.name.clone(),
            kind: unit.kind.to_string(),
            described: format!("{} {}", unit.described.0, unit.described.1),
            state,
            traits: traits.unwrap_or(UnitTraits { no_stage2: false, pasid_bits: 0 }),
        });
    }
}

fn place_devices(running: &mut Running, found: &discover::Machine) {
    for device in &found.devices {
        if device.bridge {
            // Its driver does no DMA; it counts through the groups of what is below.
            continue;
        }
        let many = device.sources.len() > MOST_ENGINES;
        if many {
            running.notes.push(format!(
                "{} has {} sources; the first {MOST_ENGINES} do DMA",
                device.name,
                device.sources.len()
            ));
        }
        let acting = &device.sources[..device.sources.len().min(MOST_ENGINES)];
        let engines = running.rig.engines(&device.name, acting, device.ats.is_some());
        match device.desc(control(&engines)) {
            Some(desc) => {
                let handle = running.rig.subsystem.add(&desc);
                let index =
                    running.admit(&device.name, Endpoint { engines, device: handle }, device.regions.clone());
                if let Serving::Unserved(why) = &device.serving {
                    running.members[index].why = Some(why.to_string());
                }
            }
            None => {
                let off: Arc<dyn DeviceControl> = control(&engines);
                off.bus_master(false);
                let why =
                    Some("firmware contradicts itself about it: never added, bus mastering off".to_owned());
                let (name, sources) = (device.name.clone(), device.sources.clone());
                running.members.push(Member {
                    name,
                    sources,
                    engines,
                    device: None,
                    why,
                    regions: Vec::new(),
                });
            }
        }
    }
}
