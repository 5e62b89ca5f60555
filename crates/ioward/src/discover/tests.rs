use super::*;
use alloc::{string::ToString, vec, vec::Vec};
use ioward_core::device::{PasidOffer, RegionKind};
use ioward_types::{
    Attributes, IommuId, Iova, PhysAddr, SourceId, Span,
    describe::{
        AmdVi, Cause, Devices, Doorbell, Fact, Iommu, IommuKind, Msi, MsiController, NodeId, PciFunction,
        Problem, Reserved, ReservedRule, Scope, Served, Severity, SmmuV3, Sources, Subject, Table, Traits,
        Uid,
    },
};

mod paths;

const SEGMENT: u16 = 0;

fn at(requester: u16) -> PciFunction {
    PciFunction { segment: SEGMENT, requester }
}

fn iommu(id: u32, kind: IommuKind<'_>) -> Fact<'_> {
    Fact::Iommu(Iommu {
        id: NodeId(id),
        kind,
        name: "",
        registers: Span::new(PhysAddr(u64::from(id) << 16), 0x1_0000),
        function: None,
        interrupts: [None; 4],
        enabled: true,
    })
}

fn smmu<'a>(id: u32) -> Fact<'a> {
    iommu(id, IommuKind::SmmuV3(SmmuV3::default()))
}

fn scope(devices: Devices<'_>, served: Option<(u32, Sources)>) -> Fact<'_> {
    scope_with(devices, served, Traits::default())
}

fn scope_with(devices: Devices<'_>, served: Option<(u32, Sources)>, traits: Traits) -> Fact<'_> {
    let served = served.map(|(iommu, sources)| Served { iommu: NodeId(iommu), sources });
    Fact::Scope(Scope { at: NodeId(0x77), devices, served, traits, enabled: true })
}

fn range<'a>(first: u16, last: u16) -> Devices<'a> {
    Devices::Pci { segment: SEGMENT, first, last, mask: 0xffff }
}

fn from(first: u32) -> Sources {
    Sources::Consecutive(SourceId(first))
}

fn facts<'a>(list: &[Fact<'a>]) -> Facts<'a> {
    let mut facts = Facts::new();
    list.iter().for_each(|fact| facts.push(Table::Iort, *fact));
    facts
}

fn bus(requesters: &[u16]) -> Bus {
    Bus { functions: requesters.iter().map(|id| BusFunction::new(at(*id).to_string(), at(*id))).collect() }
}

fn device<'a>(machine: &'a Machine, name: &str) -> &'a Device {
    machine.devices.iter().find(|device| device.name == name).expect("the test names its own device")
}

fn pair(iommu: u32, source: u32) -> (IommuId, SourceId) {
    (IommuId(iommu), SourceId(source))
}

#[test]
fn a_scope_gives_each_function_its_own_source() {
    let facts = facts(&[scope(range(0x08, 0x17), Some((1, from(0x108)))), smmu(1)]);
    let machine = join(&facts, &bus(&[0x08, 0x10, 0x18]));
    assert_eq!(device(&machine, "0000:00:02.0").sources, [pair(0, 0x110)]);
    assert_eq!(device(&machine, "0000:00:01.0").serving, Serving::Served);
    let outside = device(&machine, "0000:00:03.0");
    assert_eq!((&outside.serving, outside.sources.len()), (&Serving::Unserved(Unserved::NoScope), 0));
    assert!(
        machine.reports.contains(&Report::Unserved { device: "0000:00:03.0".into(), why: Unserved::NoScope })
    );
}

#[test]
fn two_iommus_that_claim_one_source_are_both_refused() {
    let facts = facts(&[
        smmu(1),
        smmu(2),
        scope(range(0, 0xff), Some((1, from(0)))),
        scope(range(0x10, 0x10), Some((2, from(0x500)))),
    ]);
    let machine = join(&facts, &bus(&[0x08, 0x10]));
    assert_eq!(device(&machine, "0000:00:01.0").serving, Serving::Served);
    let contested = device(&machine, "0000:00:02.0");
    assert_eq!(contested.serving, Serving::Refused);
    assert_eq!(machine.usable().count(), 1);
    let control = alloc::sync::Arc::new(ioward_types::control::Uncontrolled);
    assert!(contested.desc(control.clone()).is_none());
    assert!(device(&machine, "0000:00:01.0").desc(control).is_some());
    let report = machine.reports.iter().find(|report| report.severity() == Severity::Broken);
    assert_eq!(
        report.map(|report| report.to_string()).as_deref(),
        Some(
            "0000:00:02.0 is refused: requester 0000:00:02.0 is source 0x10 of IOMMU 0 and source 0x500 of IOMMU 1"
        )
    );
}

#[test]
fn a_named_scope_wins_over_the_rest_and_the_rest_may_be_direct() {
    let rest = Devices::PciRest { segment: SEGMENT };
    let traits = Traits { coherent: Some(true), ..Traits::default() };
    let facts = facts(&[
        smmu(1),
        scope_with(rest, None, traits),
        scope(range(0x08, 0x08), Some((1, from(8)))),
        scope(Devices::PciRest { segment: 1 }, Some((1, from(0x1_0000)))),
    ]);
    let mut bus = bus(&[0x08, 0x10]);
    bus.functions.push(BusFunction::new("far", PciFunction { segment: 1, requester: 0x42 }));
    let machine = join(&facts, &bus);
    let near = device(&machine, "0000:00:01.0");
    assert_eq!((&near.serving, near.coherent), (&Serving::Served, true));
    assert_eq!(device(&machine, "0000:00:02.0").serving, Serving::Unserved(Unserved::Direct));
    assert_eq!(device(&machine, "far").sources, [pair(0, 0x1_0042)]);
}

#[test]
fn a_reference_to_no_iommu_refuses_and_is_never_direct() {
    let facts = facts(&[
        smmu(1),
        scope(Devices::PciRest { segment: SEGMENT }, None),
        scope(range(0x08, 0x08), Some((0x77, from(0)))),
    ]);
    let machine = join(&facts, &bus(&[0x08, 0x10]));
    let dangling = device(&machine, "0000:00:01.0");
    assert_eq!(dangling.serving, Serving::Refused);
    let control = alloc::sync::Arc::new(ioward_types::control::Uncontrolled);
    assert!(dangling.desc(control).is_none());
    assert_eq!(device(&machine, "0000:00:02.0").serving, Serving::Unserved(Unserved::Direct));
    let broken = machine.reports.iter().find(|report| report.severity() == Severity::Broken);
    let words = broken.map(|report| report.to_string()).unwrap_or_default();
    assert!(words.contains("refers to an IOMMU @0x77 that is not described"), "{words}");
}

#[test]
fn what_is_named_is_not_claimed_by_whoever_has_the_rest() {
    let rest = Devices::PciRest { segment: SEGMENT };
    let facts = facts(&[
        smmu(1),
        smmu(2),
        scope(rest, Some((2, from(0)))),
        scope(range(0x08, 0x08), Some((1, from(0x50)))),
    ]);
    let machine = join(&facts, &bus(&[0x08, 0x10]));
    assert_eq!(device(&machine, "0000:00:01.0").sources, [pair(0, 0x50)]);
    assert_eq!(device(&machine, "0000:00:02.0").sources, [pair(1, 0x10)]);
    assert!(machine.reports.is_empty());
}

#[test]
fn an_alias_adds_a_source_and_the_group_is_joined() {
    let facts = facts(&[
        smmu(1),
        scope(range(0, 0xffff), Some((1, from(0)))),
        scope(range(0x100, 0x1ff), Some((1, Sources::Same(SourceId(0xa5))))),
    ]);
    let mut bus = bus(&[0x100, 0x108, 0x200]);
    bus.functions[1].requesters.push(at(0x200));
    bus.functions[0].group = vec![1];
    bus.functions[1].group = vec![0];
    let machine = join(&facts, &bus);
    let (first, second) = (device(&machine, "0000:01:00.0"), device(&machine, "0000:01:01.0"));
    assert_eq!(first.sources, [pair(0, 0x100), pair(0, 0xa5)]);
    assert_eq!(second.sources, [pair(0, 0x108), pair(0, 0xa5), pair(0, 0x200)]);
    assert_eq!(first.joins, [pair(0, 0x108), pair(0, 0x200)]);
    assert_eq!(second.joins, [pair(0, 0x100)]);
    assert!(device(&machine, "0000:02:00.0").joins.is_empty());
}

#[test]
fn aliases_behind_different_iommus_are_no_contradiction() {
    let facts = facts(&[
        smmu(1),
        smmu(2),
        scope(range(0, 0xff), Some((1, from(0)))),
        scope(range(0x100, 0x1ff), Some((2, from(0x100)))),
    ]);
    let mut bus = bus(&[0x10]);
    bus.functions[0].requesters.push(at(0x100));
    let machine = join(&facts, &bus);
    assert_eq!(machine.devices[0].sources, [pair(0, 0x10), pair(1, 0x100)]);
    assert_eq!(machine.devices[0].serving, Serving::Served);
}

#[test]
fn a_device_behind_a_disabled_or_unsupported_iommu_is_unserved() {
    let mut off = smmu(1);
    if let Fact::Iommu(iommu) = &mut off {
        iommu.enabled = false;
    }
    let facts = facts(&[
        off,
        iommu(2, IommuKind::Unsupported("SMMUv2")),
        scope(range(0x08, 0x08), Some((1, from(8)))),
        scope(Devices::Node { id: NodeId(9), name: "gpu@0" }, Some((2, Sources::Same(SourceId(3))))),
    ]);
    let machine = join(&facts, &bus(&[0x08]));
    assert_eq!(machine.devices[0].serving, Serving::Unserved(Unserved::Disabled(IommuId(0))));
    assert_eq!(machine.devices[1].serving, Serving::Unserved(Unserved::Unsupported(IommuId(1))));
    assert!(machine.devices.iter().all(|device| device.sources.is_empty()));
    assert_eq!(machine.smmuv3().count(), 0);
    let texts: Vec<_> = machine.reports.iter().map(|report| report.to_string()).collect();
    assert_eq!(
        texts,
        [
            "0000:00:01.0 is unserved: firmware disabled IOMMU 0",
            "gpu@0 is unserved: IOMMU 1 is of a kind that is not supported",
        ]
    );
    assert_eq!(machine.iommus[1].kind.to_string(), "SMMUv2");
    assert_eq!(machine.iommus[1].name, "SMMUv2@20000");
}

#[test]
fn a_platform_device_is_one_device_however_many_scopes_name_it() {
    let node = Devices::Node { id: NodeId(9), name: "usb@0" };
    let disabled = Fact::Scope(Scope {
        at: NodeId(1),
        devices: Devices::AcpiPath("\\_SB.GONE"),
        served: None,
        traits: Traits::default(),
        enabled: false,
    });
    let traits = Traits { pasid_bits: Some(4), addr_bits: Some(40), ..Traits::default() };
    let acpi = Devices::AcpiId { hid: *b"AMDI0020", cid: [0; 8], uid: Uid::Integer(1) };
    let facts = facts(&[
        smmu(1),
        smmu(2),
        scope_with(node, Some((1, Sources::Same(SourceId(3)))), traits),
        scope(node, Some((2, Sources::All { first: SourceId(8), last: SourceId(10) }))),
        disabled,
        scope(acpi, Some((1, Sources::Same(SourceId(0xa5))))),
        scope(Devices::Hpet { number: 0 }, Some((1, Sources::Same(SourceId(0xa0))))),
    ]);
    let machine = join(&facts, &Bus::new());
    let names: Vec<_> = machine.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["usb@0", "AMDI0020:1"]);
    let usb = &machine.devices[0];
    assert_eq!(usb.sources, [pair(0, 3), pair(1, 8), pair(1, 9), pair(1, 10)]);
    assert_eq!((usb.pasid, usb.addr_bits, usb.coherent), (PasidOffer::bits(4), 40, false));
    let traits = Traits::default();
    let hpet = Special { name: "HPET 0".into(), kind: SpecialKind::Hpet(0), source: pair(0, 0xa0), traits };
    assert_eq!(machine.specials, [hpet]);
}

#[test]
fn a_scope_for_a_function_that_is_not_there_is_reported() {
    let facts = facts(&[
        smmu(1),
        scope(range(0x08, 0x08), Some((1, from(8)))),
        scope(range(0x10, 0x10), Some((1, from(16)))),
        scope(range(0x20, 0xff), Some((1, from(32)))),
    ]);
    let absent = |bus: &Bus| {
        let machine = join(&facts, bus);
        machine.reports.iter().filter(|report| matches!(report, Report::NotThere { .. })).count()
    };
    assert_eq!(absent(&bus(&[0x08])), 1);
    assert_eq!(absent(&bus(&[0x08, 0x10])), 0);
    // Nobody looked at the bus: nothing can be said.
    assert_eq!(absent(&Bus::new()), 0);
}

#[test]
fn scopes_that_lead_nowhere_refuse_their_devices() {
    let facts = facts(&[
        smmu(1),
        scope(range(0x08, 0x08), Some((5, from(8)))),
        scope(range(0x10, 0x11), Some((1, from(u32::MAX)))),
    ]);
    let machine = join(&facts, &bus(&[0x08, 0x10, 0x11]));
    let serving: Vec<_> = machine.devices.iter().map(|device| device.serving.clone()).collect();
    assert_eq!(serving, [Serving::Refused, Serving::Served, Serving::Refused]);
    let texts: Vec<_> = machine.reports.iter().map(|report| report.to_string()).collect();
    assert_eq!(
        texts,
        [
            "IORT @0x77 refers to an IOMMU @0x5 that is not described",
            "IORT @0x77 gives 0000:00:02.1 a source beyond 32 bits",
        ]
    );
}

#[test]
fn an_iommu_is_no_device() {
    let facts = facts(&[
        Fact::Iommu(Iommu {
            id: NodeId(1),
            kind: IommuKind::AmdVi(AmdVi::default()),
            name: "",
            registers: None,
            function: Some(at(2)),
            interrupts: [None; 4],
            enabled: true,
        }),
        scope(range(0, 0xff), Some((1, from(0)))),
    ]);
    let machine = join(&facts, &bus(&[2, 8]));
    assert_eq!(machine.devices.len(), 1);
    assert_eq!(machine.iommus[0].name, "AMD-Vi 0000:00:00.2");
    assert_eq!((machine.amdvi().count(), machine.smmuv3().count()), (1, 0));
    assert_eq!(machine.iommu(IommuId(1)), None);
}

#[test]
fn regions_reach_whom_they_concern() {
    let required = |to, read| ReservedRule::Required {
        to: PhysAddr(to),
        attributes: Attributes { read, write: false, ..Attributes::READ_WRITE },
        relaxable: false,
    };
    let reserved = |subject, start, bytes, rule| {
        let span = Span { start: Iova(start), bytes };
        Fact::Reserved(Reserved { at: NodeId(0), subject, span, rule })
    };
    let sources = Subject::Sources { iommu: NodeId(1), first: SourceId(0x10), last: SourceId(0x20) };
    let facts = facts(&[
        smmu(1),
        scope(range(0, 0xff), Some((1, from(0)))),
        reserved(Subject::Devices(range(0x08, 0x08)), 0x1000, 1, required(0x1000, true)),
        reserved(sources, 0x9000, 0x1000, required(0x9000, false)),
        reserved(Subject::Everybody, 0x5000, 0x1000, ReservedRule::Forbidden),
        reserved(Subject::Everybody, 0x5000, 0x1000, ReservedRule::Forbidden),
        reserved(
            Subject::Devices(range(0x18, 0x18)),
            0x7000,
            0x10,
            ReservedRule::Excluded { attributes: Attributes::READ_WRITE },
        ),
        reserved(Subject::Devices(range(0x18, 0x18)), 0x3000, 0x1000, required(0x8000, true)),
        reserved(Subject::Devices(range(0x18, 0x18)), u64::MAX, 1, ReservedRule::Forbidden),
    ]);
    let machine = join(&facts, &bus(&[0x08, 0x10, 0x18, 0x100]));
    let regions = |name| {
        let device = device(&machine, name);
        device
            .regions
            .iter()
            .map(|region| (region.span.start.0, region.span.bytes, region.kind))
            .collect::<Vec<_>>()
    };
    let how = |read, write| RegionKind::Required {
        how: Attributes { read, write, ..Attributes::READ_WRITE },
        relaxable: false,
    };
    let common = (0x5000, 0x1000, RegionKind::Forbidden);
    assert_eq!(regions("0000:00:01.0"), [(0x1000, 0x1000, how(true, false)), common]);
    assert_eq!(regions("0000:00:02.0"), [common, (0x9000, 0x1000, how(true, true))]);
    let last = (u64::MAX - 0xfff, 0x1000, RegionKind::Forbidden);
    assert_eq!(
        regions("0000:00:03.0"),
        [
            (0x3000, 0x1000, RegionKind::Forbidden),
            common,
            (0x7000, 0x1000, how(true, true)),
            (0x9000, 0x1000, how(true, true)),
            last
        ]
    );
    assert_eq!(regions("0000:01:00.0"), []);
    let moved = machine.reports.iter().find(|report| report.severity() == Severity::Degraded);
    assert_eq!(
        moved.map(|report| report.to_string()).as_deref(),
        Some("0000:00:03.0 requires 0x3000..=0x3fff to reach 0x8000; the addresses are kept free instead")
    );
}

#[test]
fn doorbells_and_problems_are_passed_on() {
    let span = Span { start: PhysAddr(0x808_0040), bytes: 4 };
    let problem = Problem {
        table: Table::Iort,
        offset: 9,
        structure: "table header",
        cause: Cause::Checksum { sum: 1 },
    };
    let msi = |controller| {
        Fact::Msi(Msi { at: NodeId(0), devices: range(0, 0xff), controller, device_ids: Some(from(0)) })
    };
    let facts = facts(&[
        smmu(1),
        scope(range(0, 0xff), Some((1, from(0)))),
        msi(MsiController::Node(NodeId(4))),
        msi(MsiController::Its(0)),
        msi(MsiController::Node(NodeId(5))),
        Fact::Doorbell(Doorbell { controller: NodeId(4), span, isolates: false }),
        Fact::Problem(problem),
    ]);
    let machine = join(&facts, &bus(&[8]));
    assert_eq!(machine.devices[0].doorbells, [span]);
    assert!(!machine.devices[0].isolated_doorbells);
    let its = self::facts(&[
        smmu(1),
        scope(range(0, 0xff), Some((1, from(0)))),
        msi(MsiController::Node(NodeId(4))),
        msi(MsiController::Its(0)),
        Fact::Doorbell(Doorbell { controller: NodeId(4), span, isolates: true }),
    ]);
    let device = &join(&its, &bus(&[8])).devices[0];
    assert!(device.isolated_doorbells);
    assert!(device.regions.iter().any(|region| region.kind == ioward_core::RegionKind::Doorbell));
    assert_eq!(machine.reports, [Report::Problem(problem)]);
    assert_eq!(
        machine.reports[0].to_string(),
        "IORT offset 0x9, table header: bytes add up to 0x01 instead of zero"
    );
}

#[test]
fn what_may_be_named_where_nothing_could_be_read_is_refused() {
    let found = |cause, table| {
        let problem = Problem { table, offset: 9, structure: "node", cause };
        let facts = facts(&[smmu(1), scope(range(0, 7), Some((1, from(0)))), Fact::Problem(problem)]);
        let mut bus = bus(&[0, 8, 16]);
        bus.functions[2].bridge = true;
        let machine = join(&facts, &bus);
        let report = Report::MayBeNamed { device: machine.devices[1].name.clone(), problem };
        let told = machine.reports.contains(&report);
        (machine.devices.iter().map(|device| device.serving.clone()).collect::<Vec<_>>(), told)
    };
    let unserved = Serving::Unserved(Unserved::NoScope);
    let cut = Cause::Truncated { needs: 8, has: 4 };
    let effort = Cause::Effort { steps: 9, most: 8 };
    for cause in [cut, effort] {
        let (serving, told) = found(cause, Table::Iort);
        // A bridge stays what it is: refused, it would cut off what is behind it.
        assert_eq!(serving, [Serving::Served, Serving::Refused, unserved.clone()]);
        assert!(told);
    }
    // Where everything was read, nothing can hide; nor in a tree, whose devices name their IOMMUs themselves.
    for (cause, table) in [(Cause::Checksum { sum: 1 }, Table::Iort), (cut, Table::DeviceTree)] {
        let (serving, told) = found(cause, table);
        assert_eq!(serving, [Serving::Served, unserved.clone(), unserved.clone()]);
        assert!(!told);
    }
    // A tree, or a table, of which nothing could be read.
    for (table, bytes) in [(Table::DeviceTree, &b"\xd0\x0d\xfe\xed"[..]), (Table::Dmar, b"DMAR")] {
        let mut facts = Facts::new();
        facts.read(table, bytes);
        assert_eq!(join(&facts, &bus(&[0])).devices[0].serving, Serving::Refused, "{table}");
    }
}

#[test]
fn ats_needs_trust_and_firmware() {
    let traits = |ats| Traits { ats, pasid_bits: Some(8), ..Traits::default() };
    let facts = facts(&[
        smmu(1),
        scope_with(range(0x08, 0x0f), Some((1, from(8))), traits(Some(true))),
        scope_with(range(0x10, 0x10), Some((1, from(16))), traits(Some(false))),
        scope_with(range(0x18, 0x18), Some((1, from(24))), traits(None)),
    ]);
    let mut bus = bus(&[0x08, 0x09, 0x10, 0x18]);
    for function in &mut bus.functions {
        function.ats = Some(12);
        function.pasid = PasidOffer::bits(16);
    }
    bus.functions[1].trusted = false;
    let machine = join(&facts, &bus);
    let ats: Vec<_> = machine.devices.iter().map(|device| device.ats).collect();
    assert_eq!(ats, [Some(12), None, None, Some(12)]);
    assert!(machine.devices.iter().all(|device| device.pasid.bits == 8));
}

#[test]
fn node_ids_of_different_tables_do_not_mix() {
    let mut facts = Facts::new();
    assert_eq!(facts.read_any(b"IVRS, but no more"), Some(Table::Ivrs));
    facts.push(Table::Ivrs, smmu(1));
    facts.push(Table::Ivrs, scope(range(0, 7), Some((1, from(0)))));
    assert_eq!(facts.read_any(b"nothing"), None);
    facts.read(Table::Iort, b"");
    facts.push(Table::Iort, scope(range(8, 15), Some((1, from(0)))));
    let machine = join(&facts, &bus(&[0, 8]));
    let serving: Vec<_> = machine.devices.iter().map(|device| device.serving.clone()).collect();
    assert_eq!(serving, [Serving::Served, Serving::Refused]);
}

#[test]
fn a_topology_with_its_groups_and_firmwares_aliases() {
    use ioward_core::device::PasidDenied;
    use ioward_pci::{
        Bdf, Fact as Seen, Function, PortType, Topology,
        function::{Ats, Express, PasidCap},
        groups::{Linux, Policy},
    };
    let function = |requester| {
        let mut function = Function::bare(Bdf::of_requester(0, requester));
        function.pasid = Seen::Present(PasidCap { bits: Some(16), ..PasidCap::default() });
        function.ats = Seen::Present(Ats::default());
        function.express = Seen::Present(Express::of(PortType::IntegratedEndpoint));
        function
    };
    let list = [0x08, 0xa0, 0xa8, 0x118].map(function);
    let mut topology = Topology::new(list.to_vec(), Vec::new());
    let facts = facts(&[
        smmu(1),
        scope(range(0, 0xffff), Some((1, from(0)))),
        scope(range(0xa8, 0xa8), Some((1, Sources::Same(SourceId(0xa0))))),
        // On another bus: nothing that the topology could know.
        scope(range(0x118, 0x118), Some((1, Sources::Same(SourceId(0x08))))),
        scope(Devices::Hpet { number: 0 }, Some((1, Sources::Same(SourceId(0x08))))),
    ]);
    facts.tell_aliases(&mut topology);
    let index = topology.find(Bdf::of_requester(0, 0xa8)).unwrap();
    assert_eq!(topology.firmware_aliases(index), [0xa0]);
    assert_eq!((0..4).map(|index| topology.firmware_aliases(index).len()).sum::<usize>(), 1);
    let bus = Bus::of(&topology, &Linux.groups(&topology));
    assert_eq!(bus.functions[1].group, [2]);
    assert_eq!(bus.functions[2].requesters, [at(0xa8), at(0xa0)]);
    assert_eq!((bus.functions[0].shared, bus.functions[2].shared), (None, Some(at(0xa0))));
    let machine = join(&facts, &bus);
    let aliased = device(&machine, "0000:00:15.0");
    assert_eq!(aliased.sources, [pair(0, 0xa8), pair(0, 0xa0)]);
    assert_eq!(aliased.pasid.denied, Some(PasidDenied::SharedSource(pair(0, 0xa0))));
    let alone = device(&machine, "0000:00:01.0");
    assert_eq!((alone.pasid, alone.ats), (PasidOffer::bits(16), Some(12)));
    let unseen = Topology::new([Function::unseen(Bdf::of_requester(0x1_0000, 8))].to_vec(), Vec::new());
    let far = Bus::of(&unseen, &Linux.groups(&unseen));
    assert_eq!((far.functions[0].at, far.functions[0].requesters.len()), (None, 0));
    assert_eq!(join(&facts, &far).devices[0].serving, Serving::Unserved(Unserved::NoScope));
}

#[test]
fn tables_and_topology_in_one_call() {
    use ioward_pci::{Bdf, Function, Topology, groups::Linux};
    let topology = Topology::new([Function::bare(Bdf::of_requester(0, 8))].to_vec(), Vec::new());
    let machine = machine([&b"IVRS"[..], b"SSDT"], topology, &Linux);
    assert_eq!(machine.devices.len(), 1);
    let first = machine.reports[0].to_string();
    assert_eq!(first, "IVRS offset 0x0, table header: needs 36 bytes, has 4");
    assert_eq!(machine.reports.len(), 2);
}

/// The DMA API cleans and invalidates the buffers of a device that firmware calls incoherent, and of no other.
#[test]
fn a_device_that_does_not_snoop_is_added_as_one() {
    for (says, snoops) in [(Some(true), true), (Some(false), false), (None, false)] {
        let traits = Traits { coherent: says, ..Traits::default() };
        let facts = facts(&[smmu(1), scope_with(range(0, 0xffff), Some((1, from(0))), traits)]);
        let machine = join(&facts, &bus(&[0x8]));
        let control = alloc::sync::Arc::new(ioward_types::control::Uncontrolled);
        let desc = device(&machine, "0000:00:01.0").desc(control).unwrap();
        assert_eq!((desc.snoops, desc.coherent), (snoops, snoops), "{says:?}");
    }
    // No table speaks of it.
    let machine = join(&facts(&[]), &bus(&[0x8]));
    assert!(device(&machine, "0000:00:01.0").snoops());
}
