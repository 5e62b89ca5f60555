//! What needs the bus: paths of bridges, what is below them, who may use ATS.

use super::*;
use ioward_types::describe::{AtPath, Ats, AtsRule, VtD};

fn unit<'a>(id: u32) -> Fact<'a> {
    iommu(id, IommuKind::VtD(VtD::default()))
}

/// A path from bus 0 of the segment.
fn path(path: &[u8], below: bool) -> Devices<'_> {
    Devices::PciPath { segment: SEGMENT, bus: 0, path, below }
}

fn dmar<'a>(list: &[Fact<'a>]) -> Facts<'a> {
    let mut facts = Facts::new();
    list.iter().for_each(|fact| facts.push(Table::Dmar, *fact));
    facts
}

/// A bridge at 00:1c.0 to buses 1 to 3, one at 01:00.0 to bus 2, one at 01:01.0 to bus 3; a function on each bus, and one
/// beside them on bus 0.
fn tree() -> Bus {
    let mut bus = bus(&[0x10, 0xe0, 0x100, 0x108, 0x110, 0x200, 0x300]);
    for (index, buses) in [(1, (1, 3)), (2, (2, 2)), (3, (3, 3))] {
        bus.functions[index].bridge = true;
        bus.functions[index].buses = Some(buses);
    }
    bus
}

/// By which IOMMU each function is served, in the order of the bus; none where it is by none.
fn units(machine: &Machine) -> Vec<Option<u32>> {
    machine.devices.iter().map(|device| device.sources.first().map(|source| source.0.0)).collect()
}

#[test]
fn a_path_is_walked_through_every_bridge() {
    let facts = dmar(&[
        unit(1),
        unit(2),
        scope(path(&[0x1c, 0, 1, 0, 0, 0], false), Some((1, from(0)))),
        scope(Devices::PciRest { segment: SEGMENT }, Some((2, from(0)))),
    ]);
    let machine = join(&facts, &tree());
    let rest = Some(1);
    assert_eq!(units(&machine), [rest, rest, rest, rest, rest, rest, Some(0)]);
    assert_eq!(device(&machine, "0000:03:00.0").sources, [pair(0, 0x300)]);
    assert!(machine.reports.is_empty());
}

#[test]
fn a_sub_hierarchy_is_the_bridge_and_all_that_is_below() {
    let facts = dmar(&[
        unit(1),
        unit(2),
        scope(path(&[0x1c, 0], true), Some((1, from(0)))),
        scope(Devices::PciRest { segment: SEGMENT }, Some((2, from(0)))),
    ]);
    let machine = join(&facts, &tree());
    assert_eq!(units(&machine), [Some(1), Some(0), Some(0), Some(0), Some(0), Some(0), Some(0)]);
    // A scope of the other type means the bridge alone.
    let alone = dmar(&[unit(1), scope(path(&[0x1c, 0], false), Some((1, from(0))))]);
    assert_eq!(units(&join(&alone, &tree())), [None, Some(0), None, None, None, None, None]);
    let inner = dmar(&[unit(1), scope(path(&[0x1c, 0, 0, 0], true), Some((1, from(0))))]);
    let machine = join(&inner, &tree());
    assert_eq!(units(&machine), [None, None, Some(0), None, None, Some(0), None]);
}

#[test]
fn a_path_that_leads_nowhere_is_reported() {
    let facts = dmar(&[
        unit(1),
        // No bridge is at 00:02.0; nothing is at 00:03.0.
        scope(path(&[2, 0, 0, 0], false), Some((1, from(0)))),
        scope(path(&[3, 0], false), Some((1, from(0)))),
        scope(path(&[0x1c, 0, 2, 0], false), Some((1, from(0)))),
    ]);
    let machine = join(&facts, &tree());
    let texts: Vec<_> = machine
        .reports
        .iter()
        .filter(|report| matches!(report, Report::NotThere { .. }))
        .map(|report| report.to_string())
        .collect();
    assert_eq!(
        texts,
        [
            "DMAR @0x77 names 0000:00/02.0/00.0, which is not on the bus",
            "DMAR @0x77 names 0000:00/03.0, which is not on the bus",
        ]
    );
    assert_eq!(device(&machine, "0000:01:02.0").serving, Serving::Served);
    // Nobody looked at the bus: nothing can be said.
    assert!(join(&facts, &Bus::new()).reports.is_empty());
}

#[test]
fn a_virtual_function_goes_where_its_physical_one_goes() {
    let facts = dmar(&[
        unit(1),
        unit(2),
        scope(path(&[2, 0], false), Some((1, from(0)))),
        scope(Devices::PciRest { segment: SEGMENT }, Some((2, from(0)))),
    ]);
    let mut bus = bus(&[0x10, 0x11, 0x12]);
    bus.functions[1].physical = Some(at(0x10));
    let machine = join(&facts, &bus);
    assert_eq!(device(&machine, "0000:00:02.1").sources, [pair(0, 0x11)]);
    assert_eq!(device(&machine, "0000:00:02.2").sources, [pair(1, 0x12)]);
}

#[test]
fn all_requester_ids_of_a_named_function_are_meant() {
    let facts = dmar(&[
        unit(1),
        unit(2),
        scope(path(&[2, 0], false), Some((1, from(0)))),
        scope(Devices::PciRest { segment: SEGMENT }, Some((2, from(0)))),
    ]);
    let mut bus = bus(&[0x10]);
    bus.functions[0].requesters.push(at(0x500));
    let machine = join(&facts, &bus);
    assert_eq!(machine.devices[0].sources, [pair(0, 0x10), pair(0, 0x500)]);
}

#[test]
fn segments_have_units_of_their_own() {
    let far = |requester| PciFunction { segment: 1, requester };
    let facts = dmar(&[
        unit(1),
        unit(2),
        scope(Devices::PciPath { segment: 1, bus: 0, path: &[2, 0], below: false }, Some((1, from(0)))),
        scope(Devices::PciRest { segment: SEGMENT }, Some((2, from(0)))),
    ]);
    let mut bus = bus(&[0x10]);
    bus.functions.push(BusFunction::new("far", far(0x10)));
    bus.functions.push(BusFunction::new("farther", far(0x18)));
    let machine = join(&facts, &bus);
    assert_eq!(units(&machine), [Some(1), Some(0), None]);
    assert_eq!(device(&machine, "farther").serving, Serving::Unserved(Unserved::NoScope));
}

#[test]
fn a_bridge_leads_nowhere_in_another_segment() {
    let rest = |segment| scope(Devices::PciRest { segment }, Some((1, from(0))));
    let facts = dmar(&[unit(1), rest(0), rest(1)]);
    let mut bus = tree();
    bus.functions.push(BusFunction::new("far", PciFunction { segment: 1, requester: 0x100 }));
    bus.functions.iter_mut().for_each(|function| function.ats = Some(12));
    let machine = join(&facts, &bus);
    // It is built in, where its namesake is below a port that nobody named.
    assert_eq!(device(&machine, "far").ats, Some(12));
    assert_eq!(device(&machine, "0000:01:00.0").ats, None);
}

#[test]
fn what_borrows_an_id_has_the_one_at_the_end_of_its_path() {
    let behind = |what, path| Devices::AtPath { what, segment: SEGMENT, bus: 0, path };
    let facts = dmar(&[
        unit(1),
        scope(behind(AtPath::IoApic(3), &[0x1c, 0, 0x1f, 0]), Some((1, from(0)))),
        scope(behind(AtPath::Hpet(0), &[0x1c, 0, 1, 0, 2, 0]), Some((1, from(0)))),
        scope(behind(AtPath::IoApic(4), &[0x1d, 0, 0x1f, 0]), Some((1, from(0)))),
        scope(behind(AtPath::Acpi("\\_SB.I2C0"), &[0x1c, 0, 0x15, 0]), Some((1, from(0)))),
        scope(behind(AtPath::Acpi("\\_SB.LOST"), &[0x1d, 0, 0x15, 0]), Some((1, from(0)))),
    ]);
    let machine = join(&facts, &tree());
    let specials: Vec<_> = machine.specials.iter().map(|special| (special.kind, special.source)).collect();
    let expected = [(SpecialKind::IoApic(3), pair(0, 0x1f8)), (SpecialKind::Hpet(0), pair(0, 0x310))];
    assert_eq!(specials, expected);
    let i2c = device(&machine, "\\_SB.I2C0");
    assert_eq!((&i2c.serving, &i2c.sources[..]), (&Serving::Served, &[pair(0, 0x1a8)][..]));
    assert_eq!(device(&machine, "\\_SB.LOST").serving, Serving::Refused);
    let absent = |report: &&Report| matches!(report, Report::NotThere { .. });
    assert_eq!(machine.reports.iter().filter(absent).count(), 2);
}

fn ats<'a>(devices: Devices<'a>, rule: AtsRule) -> Fact<'a> {
    Fact::Ats(Ats { at: NodeId(5), devices, rule })
}

/// Which functions of the tree may use ATS, if all of them can.
fn ats_of(rules: &[Fact<'_>]) -> Vec<u16> {
    let mut facts = dmar(&[unit(1), scope(Devices::PciRest { segment: SEGMENT }, Some((1, from(0))))]);
    rules.iter().for_each(|rule| facts.push(Table::Dmar, *rule));
    let mut bus = tree();
    bus.functions.iter_mut().for_each(|function| function.ats = Some(12));
    let machine = join(&facts, &bus);
    let able = machine.devices.iter().filter(|device| device.ats.is_some());
    able.map(|device| device.sources[0].1.0 as u16).collect()
}

#[test]
fn ats_goes_through_root_ports_that_are_named_only() {
    // Built-in functions may without anybody's word.
    assert_eq!(ats_of(&[]), [0x10, 0xe0]);
    let all = ats(Devices::PciRest { segment: SEGMENT }, AtsRule::RootPorts);
    assert_eq!(ats_of(&[all]), [0x10, 0xe0, 0x100, 0x108, 0x110, 0x200, 0x300]);
    let elsewhere = ats(Devices::PciRest { segment: 1 }, AtsRule::RootPorts);
    assert_eq!(ats_of(&[elsewhere]), [0x10, 0xe0]);
    // A port is named for what is below it, even by a scope of the type of endpoints.
    for below in [false, true] {
        let port = ats(path(&[0x1c, 0], below), AtsRule::RootPorts);
        assert_eq!(ats_of(&[port]), [0x10, 0xe0, 0x100, 0x108, 0x110, 0x200, 0x300]);
        let inner = ats(path(&[0x1c, 0, 0, 0], below), AtsRule::RootPorts);
        assert_eq!(ats_of(&[inner]), [0x10, 0xe0, 0x100, 0x200]);
    }
    let cache = ats(path(&[0x1c, 0, 2, 0], false), AtsRule::Integrated { required: false });
    assert_eq!(ats_of(&[cache]), [0x10, 0xe0, 0x110]);
}

#[test]
fn built_in_devices_say_what_they_need() {
    let facts = dmar(&[
        unit(1),
        scope(Devices::PciRest { segment: SEGMENT }, Some((1, from(0)))),
        ats(path(&[2, 0], false), AtsRule::Integrated { required: true }),
        ats(path(&[3, 0], false), AtsRule::Properties(1 << 4 | 1)),
        ats(path(&[4, 0], false), AtsRule::Properties(1 << 3)),
    ]);
    let machine = join(&facts, &bus(&[0x10, 0x18, 0x20, 0x28]));
    let needs: Vec<_> = machine
        .devices
        .iter()
        .map(|device| (device.traits.ats_required, device.traits.vtd_properties))
        .collect();
    assert_eq!(needs, [(true, 0), (true, 0x11), (false, 0x08), (false, 0)]);
}

#[test]
fn what_a_dmar_says_of_ats_is_nothing_to_other_iommus() {
    let mut facts = facts(&[smmu(1), scope(range(0, 0xffff), Some((1, from(0))))]);
    facts.push(Table::Dmar, ats(path(&[2, 0], false), AtsRule::Integrated { required: true }));
    let mut bus = tree();
    bus.functions.iter_mut().for_each(|function| function.ats = Some(12));
    let machine = join(&facts, &bus);
    assert!(machine.devices.iter().all(|device| device.ats.is_some() && !device.traits.ats_required));
}

#[test]
fn usb_and_graphics_outgrow_their_regions() {
    let rule =
        ReservedRule::Required { to: PhysAddr(0x1000), attributes: Attributes::READ_WRITE, relaxable: false };
    let region = |devices| {
        let span = Span { start: Iova(0x1000), bytes: 0x1000 };
        Fact::Reserved(Reserved { at: NodeId(0), subject: Subject::Devices(devices), span, rule })
    };
    let list = [unit(1), scope(path(&[0x1c, 0], true), Some((1, from(0)))), region(path(&[0x1c, 0], true))];
    let mut bus = tree();
    for (index, class) in [(2, 0x0604), (4, 0x0c03), (5, 0x0300), (6, 0x0200)] {
        bus.functions[index].class = Some(class);
    }
    let relaxable = |facts: &Facts<'_>| -> Vec<Option<bool>> {
        let relaxable = |device: &Device| match device.regions.first()?.kind {
            RegionKind::Required { relaxable, .. } => Some(relaxable),
            _ => None,
        };
        join(facts, &bus).devices.iter().map(relaxable).collect()
    };
    // 00:02.0 is not below the port. What is there is a bridge or has no class, then USB, graphics and a network card.
    let expected = [None, Some(false), Some(false), Some(false), Some(true), Some(true), Some(false)];
    assert_eq!(relaxable(&dmar(&list)), expected);
    // In the words of another table a region stays what the table says.
    let of_iort = relaxable(&facts(&list));
    assert!(of_iort.iter().all(|relaxable| *relaxable != Some(true)));
}

#[test]
fn an_iommu_that_is_a_pci_function_is_found_on_the_bus() {
    let pci = |id, requester| {
        Fact::Iommu(Iommu {
            id: NodeId(id),
            kind: IommuKind::Virtio,
            name: "",
            registers: None,
            function: Some(at(requester)),
            interrupts: [None; 4],
            enabled: true,
        })
    };
    let mut facts = Facts::new();
    let range = scope(range(0, 0xff), Some((1, from(0))));
    [pci(1, 0x10), pci(2, 0x40), range].into_iter().for_each(|fact| facts.push(Table::Viot, fact));
    let machine = join(&facts, &bus(&[0x08, 0x10]));
    let places: Vec<_> = machine.virtio().map(|unit| (unit.function, unit.on_bus)).collect();
    assert_eq!(places, [(Some(at(0x10)), Some(1)), (Some(at(0x40)), None)]);
    // Its own function is no device behind it, though the range has it; every request is coherent there.
    assert_eq!(machine.devices.len(), 1);
    assert!(machine.devices[0].coherent);
    assert_eq!(
        machine.reports.iter().map(Report::to_string).collect::<Vec<_>>(),
        ["VIOT @0x2 names virtio-iommu 0000:00:08.0, which is not on the bus"]
    );
    assert_eq!((machine.vtd().count(), machine.riscv().count()), (0, 0));
}

#[test]
fn a_topology_tells_buses_classes_and_physical_functions() {
    use ioward_pci::{Bdf, Function, Topology, function::Header, groups::Policy};
    let mut bridge = Function::bare(Bdf::of_requester(0, 0xe0));
    bridge.header = Header::Bridge { primary: 0, secondary: 1, subordinate: 2, cardbus: false };
    bridge.class = Some(0x0604);
    let mut blind = Function::bare(Bdf::of_requester(0, 0xe8));
    blind.header = Header::Bridge { primary: 0, secondary: 0, subordinate: 0, cardbus: false };
    let end = Function::bare(Bdf::of_requester(0, 0x100));
    let topology = Topology::new([bridge, blind, end].to_vec(), Vec::new());
    let bus = Bus::of(&topology, &ioward_pci::groups::Linux.groups(&topology));
    let seen: Vec<_> = bus.functions.iter().map(|function| (function.buses, function.class)).collect();
    assert_eq!(seen, [(Some((1, 2)), Some(0x0604)), (None, None), (None, None)]);
    let facts = dmar(&[unit(1), scope(path(&[0x1c, 0, 0, 0], false), Some((1, from(0))))]);
    assert_eq!(device(&join(&facts, &bus), "0000:01:00.0").serving, Serving::Served);
}
