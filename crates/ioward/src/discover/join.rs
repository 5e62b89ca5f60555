//! Facts and bus together.

use super::{
    ats,
    bus::{Bus, BusFunction},
    claims::{Claims, Verdict, narrower},
    facts::Facts,
    machine::{Device, Host, Machine, Place, Serving, Special, SpecialKind, Unit, UnitKind, Unserved},
    regions::{self, Named},
    report::Report,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use ioward_core::device::{PasidDenied, PasidOffer, Source};
use ioward_pci::{Topology, groups::Policy};
use ioward_types::{
    IommuId,
    describe::{Devices, Fact, PciFunction, Problem, Table, Traits},
};

/// Reads tables of any kinds, tells the topology what they know of it, groups it and joins the two. Bytes that are no table
/// that describes IOMMUs are passed over.
pub fn machine<'a>(
    tables: impl IntoIterator<Item = &'a [u8]>,
    mut topology: Topology,
    policy: &impl Policy,
) -> Machine {
    let mut facts = Facts::new();
    for bytes in tables {
        facts.read_any(bytes);
    }
    facts.tell_aliases(&mut topology);
    let grouping = policy.groups(&topology);
    join(&facts, &Bus::of(&topology, &grouping))
}

/// Decides what the tables and the bus mean together.
pub fn join(facts: &Facts<'_>, bus: &Bus) -> Machine {
    let mut machine = Machine::default();
    let mut units = Vec::new();
    for (from, table, fact) in facts.iter() {
        match fact {
            Fact::Problem(problem) => machine.reports.push(Report::Problem(*problem)),
            Fact::PciHost(host) => machine.hosts.push(Host::of(host)),
            Fact::Iommu(_) => {
                let id = IommuId(units.len() as u32);
                units.extend(unit(id, table, fact).map(|unit| (from, unit)));
            }
            _ => {}
        }
    }
    let by_place: BTreeMap<PciFunction, usize> = bus
        .functions
        .iter()
        .enumerate()
        .rev()
        .filter_map(|(index, function)| Some((function.at?, index)))
        .collect();
    for (_, unit) in &mut units {
        link(unit, &by_place, bus, &mut machine.reports);
    }
    let claims = Claims::new(facts, &units, bus, &mut machine.reports);
    machine.iommus = units.into_iter().map(|(_, unit)| unit).collect();

    // An IOMMU's own requests are not translated: it is no device.
    let are_iommus: BTreeSet<PciFunction> = machine.iommus.iter().filter_map(|unit| unit.function).collect();
    for (index, function) in bus.functions.iter().enumerate() {
        let is_iommu = function.at.is_some_and(|at| are_iommus.contains(&at));
        if !is_iommu {
            pci_device(facts, &claims, &mut machine, index, function);
        }
    }
    platform_devices(facts, &claims, &mut machine);
    claims.report_absent(bus, &mut machine.reports);
    link_groups(bus, &mut machine);
    if let Some(problem) = facts.unread() {
        refuse_unnamed(&mut machine, problem);
    }
    for device in &machine.devices {
        if let Serving::Unserved(why) = &device.serving {
            let (device, why) = (device.name.clone(), why.clone());
            machine.reports.push(Report::Unserved { device, why });
        }
    }
    machine
}

/// Refuses what no table names though it may be named where nothing could be read: a policy that trusts what firmware leaves
/// unserved would let it through. Not bridges: what is behind one would be cut off with it, and it has a verdict of its own.
fn refuse_unnamed(machine: &mut Machine, problem: Problem) {
    let unnamed =
        |device: &&mut Device| device.serving == Serving::Unserved(Unserved::NoScope) && !device.bridge;
    for device in machine.devices.iter_mut().filter(unnamed) {
        device.serving = Serving::Refused;
        machine.reports.push(Report::MayBeNamed { device: device.name.clone(), problem });
    }
}

fn unit(id: IommuId, table: Table, fact: &Fact<'_>) -> Option<Unit> {
    let Fact::Iommu(iommu) = fact else { return None };
    let name = match (iommu.name, iommu.function, iommu.registers) {
        ("", Some(function), _) => format!("{} {function}", iommu.kind),
        ("", None, Some(registers)) => format!("{}@{:x}", iommu.kind, registers.start.0),
        ("", None, None) => format!("{} {}", iommu.kind, iommu.id),
        (name, ..) => String::from(name),
    };
    Some(Unit {
        id,
        described: (table, iommu.id),
        kind: UnitKind::of(&iommu.kind),
        name,
        registers: iommu.registers,
        function: iommu.function,
        on_bus: None,
        interrupts: iommu.interrupts,
        enabled: iommu.enabled,
    })
}

/// Finds the function that an IOMMU is. One that has no other registers cannot do without it.
fn link(unit: &mut Unit, by_place: &BTreeMap<PciFunction, usize>, bus: &Bus, reports: &mut Vec<Report>) {
    let Some(wanted) = unit.function else { return };
    unit.on_bus = by_place.get(&wanted).copied();
    if unit.on_bus.is_none() && unit.registers.is_none() && bus.knows(wanted.segment) {
        let (table, at) = unit.described;
        reports.push(Report::NotThere { table, at, device: unit.name.clone() });
    }
}

fn pci_device<'a>(
    facts: &Facts<'a>,
    claims: &Claims<'a>,
    machine: &mut Machine,
    index: usize,
    function: &BusFunction,
) {
    let mut all = Verdict::default();
    let mut refused = false;
    let mut pasid = function.pasid;
    for requester in &function.requesters {
        let verdict = claims.of_requester(*requester, function, &mut machine.reports);
        if function.shared == Some(*requester) {
            pasid.denied = pasid.denied.or(verdict.sources.first().copied().map(PasidDenied::SharedSource));
        }
        if let Some((first, second)) = verdict.conflict() {
            let (device, requester) = (function.name.clone(), *requester);
            machine.reports.push(Report::TwoIommus { device, requester, first, second });
            refused = true;
        }
        all.direct |= verdict.direct;
        all.broken |= verdict.broken;
        all.traits = narrower(all.traits, verdict.traits);
        for source in verdict.sources {
            if !all.sources.contains(&source) {
                all.sources.push(source);
            }
        }
    }
    let behind = |fits: &dyn Fn(&Unit) -> bool| {
        all.sources.iter().any(|source| machine.iommu(source.0).is_some_and(fits))
    };
    if behind(&|unit| matches!(unit.kind, UnitKind::VtD(_))) {
        all.traits = narrower(all.traits, ats::of_dmar(facts, &claims.paths, function));
    }
    let snoops = behind(&|unit| snoops(unit.described.0));
    let coherent = all.traits.coherent.unwrap_or(snoops);
    let narrow = |bits: u8| bits.min(all.traits.pasid_bits.unwrap_or(bits));
    let serving = if refused || all.broken { Serving::Refused } else { serving(&all, machine) };
    let mut device = Device {
        name: function.name.clone(),
        place: Place::Bus(index),
        pasid: PasidOffer { bits: narrow(pasid.bits), ..pasid },
        ats: function.ats.filter(|_| function.trusted && all.traits.ats != Some(false)),
        trusted: function.trusted,
        bridge: function.bridge,
        ..blank(&all.traits, coherent)
    };
    finish(&mut device, serving, all.sources);
    let named = Named {
        requesters: function.requesters.clone(),
        at: function.at,
        outgrows: function.outgrows_regions(),
        words: None,
    };
    regions::apply(facts, claims, &named, &mut device, &mut machine.reports);
    machine.devices.push(device);
}

/// Platform devices, each once however many scopes name it.
fn platform_devices<'a>(facts: &Facts<'a>, claims: &Claims<'a>, machine: &mut Machine) {
    // Scopes that mean the same have the same name, so that only those need be compared.
    let mut by_name: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.list.iter().enumerate() {
        if claim.enabled && regions::same(&claim.devices, &claim.devices) {
            by_name.entry((claim.from, claim.devices.to_string())).or_default().push(index);
        }
    }
    let mut firsts = Vec::new();
    for mut indices in by_name.into_values() {
        while let Some(first) = indices.first().copied() {
            let is_same =
                |index: &usize| regions::same(&claims.list[first].devices, &claims.list[*index].devices);
            let (same, others) = indices.iter().copied().partition(is_same);
            firsts.push((first, same));
            indices = others;
        }
    }
    firsts.sort_unstable_by_key(|(first, _): &(usize, Vec<usize>)| *first);
    for (index, same) in firsts {
        let claim = &claims.list[index];
        let words = (claim.from, claim.devices);
        let name = claim.devices.to_string();
        let mut verdict = Verdict::default();
        for other in same {
            verdict.add(&claims.list[other], 0, &name, &mut machine.reports);
        }
        let special = match claim.devices {
            Devices::IoApic { id } => Some(SpecialKind::IoApic(id)),
            Devices::Hpet { number } => Some(SpecialKind::Hpet(number)),
            _ => None,
        };
        if let Some(kind) = special {
            let traits = verdict.traits;
            let special = |source: &Source| Special { name: name.clone(), kind, source: *source, traits };
            machine.specials.extend(verdict.sources.iter().map(special));
            continue;
        }
        let coherent = verdict.traits.coherent.unwrap_or(snoops(claim.table));
        let serving = if verdict.broken { Serving::Refused } else { serving(&verdict, machine) };
        let mut device = Device {
            name,
            pasid: PasidOffer::bits(verdict.traits.pasid_bits.unwrap_or(0)),
            ..blank(&verdict.traits, coherent)
        };
        finish(&mut device, serving, verdict.sources);
        let named = Named { requesters: Vec::new(), at: None, outgrows: false, words: Some(words) };
        regions::apply(facts, claims, &named, &mut device, &mut machine.reports);
        machine.devices.push(device);
    }
}

/// Whether requests snoop CPU caches where firmware says nothing. On x86 all from PCI do; ACPI on RISC-V wants devices
/// coherent that have no `_CCA`, and what a VIOT describes is a virtual machine's. An IORT and a device tree say so.
fn snoops(table: Table) -> bool {
    matches!(table, Table::Ivrs | Table::Dmar | Table::Rimt | Table::Viot)
}

fn blank(traits: &Traits, coherent: bool) -> Device {
    Device {
        name: String::new(),
        place: Place::Platform,
        serving: Serving::Unserved(Unserved::NoScope),
        sources: Vec::new(),
        joins: Vec::new(),
        pasid: PasidOffer::NONE,
        ats: None,
        addr_bits: traits.addr_bits.unwrap_or(64),
        traits: *traits,
        coherent,
        trusted: true,
        bridge: false,
        regions: Vec::new(),
        doorbells: Vec::new(),
        isolated_doorbells: false,
    }
}

/// A device that is not served has no sources: nobody's entry stands for it. One that is refused keeps them, so that
/// whoever shares them is known.
fn finish(device: &mut Device, serving: Serving, sources: Vec<Source>) {
    if !matches!(serving, Serving::Unserved(_)) {
        device.sources = sources;
    }
    device.serving = serving;
}

fn serving(verdict: &Verdict, machine: &Machine) -> Serving {
    for source in &verdict.sources {
        let Some(unit) = machine.iommu(source.0) else { continue };
        if !unit.enabled {
            return Serving::Unserved(Unserved::Disabled(unit.id));
        }
        if !unit.kind.is_supported() {
            return Serving::Unserved(Unserved::Unsupported(unit.id));
        }
    }
    match (verdict.sources.is_empty(), verdict.direct) {
        (false, _) => Serving::Served,
        (true, true) => Serving::Unserved(Unserved::Direct),
        (true, false) => Serving::Unserved(Unserved::NoScope),
    }
}

/// Tells each device the sources of those that share its group.
fn link_groups(bus: &Bus, machine: &mut Machine) {
    let by_index: BTreeMap<usize, Vec<Source>> = machine
        .devices
        .iter()
        .filter_map(|device| match device.place {
            Place::Bus(index) => Some((index, device.sources.clone())),
            Place::Platform => None,
        })
        .collect();
    for number in 0..machine.devices.len() {
        let Place::Bus(index) = machine.devices[number].place else { continue };
        let mut joins = Vec::new();
        for other in bus.functions.get(index).into_iter().flat_map(|function| &function.group) {
            for source in by_index.get(other).into_iter().flatten() {
                if !joins.contains(source) && !machine.devices[number].sources.contains(source) {
                    joins.push(*source);
                }
            }
        }
        machine.devices[number].joins = joins;
    }
}
