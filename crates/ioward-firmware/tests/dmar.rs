//! What DMAR tables mean, on tables made here.

mod common;

use common::{
    build::Fields,
    tables::{DmarBuilder, every_structure, scope, scope_with},
};
use ioward_firmware::dmar;
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Ats, AtsRule, Cause, Devices, Fact, Iommu, IommuKind, Problem, Reserved, ReservedRule, Scope,
        Severity, Sources, Subject, VtD,
    },
};

const BASE: u64 = 0xfed9_0000;
const OTHER: u64 = 0xfed9_1000;
const OWN: Sources = Sources::Consecutive(SourceId(0));

fn read(bytes: &[u8]) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    dmar::facts(bytes, &mut |fact| facts.push(fact));
    facts
}

fn problems(facts: &[Fact<'_>]) -> Vec<(u32, Cause)> {
    let problems = facts.iter().filter_map(|fact| match fact {
        Fact::Problem(Problem { offset, cause, .. }) => Some((*offset, *cause)),
        _ => None,
    });
    problems.collect()
}

fn units<'a>(facts: &[Fact<'a>]) -> Vec<Iommu<'a>> {
    let units = facts.iter().filter_map(|fact| match fact {
        Fact::Iommu(iommu) => Some(*iommu),
        _ => None,
    });
    units.collect()
}

/// Who is served by the unit at which offset, as what.
fn scopes<'a>(facts: &[Fact<'a>]) -> Vec<(Devices<'a>, u32, Sources)> {
    let scopes = facts.iter().filter_map(|fact| match fact {
        Fact::Scope(Scope { devices, served, .. }) => {
            let served = served.expect("a DMAR tells of nobody that no unit serves him");
            Some((*devices, served.iommu.0, served.sources))
        }
        _ => None,
    });
    scopes.collect()
}

fn path(path: &[u8], below: bool) -> Devices<'_> {
    Devices::PciPath { segment: 0, bus: 0, path, below }
}

#[test]
fn units_and_scopes_of_every_kind() {
    let mut table = DmarBuilder::new(0b101);
    let named = [
        scope(1, 0, 0, &[2, 0]),
        scope(2, 0, 0, &[0x1c, 0]),
        scope(1, 0, 0, &[0x1c, 1, 0, 0, 3, 1]),
        scope(3, 2, 0xf0, &[0x1f, 0]),
        scope(3, 3, 0, &[0x1c, 1, 4, 0]),
        scope(4, 5, 0, &[0x0f, 0]),
        scope(5, 1, 0, &[0x15, 3]),
    ];
    let first = table.drhd(0, 0, BASE, &named);
    let rest = table.structure(0, Fields::new().u8(1).u8(3).u16(0).u64(OTHER), &[]);
    table.rhsa(OTHER, 9);
    table.andd(1, b"\\_SB.PCI0.I2C0\0garbage");
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    let vtd = VtD { host_bits: 39, interrupt_remapping: true, dma_opt_in: true, ..VtD::default() };
    let units = units(&facts);
    assert_eq!(units[0].kind, IommuKind::VtD(vtd));
    assert_eq!(units[1].kind, IommuKind::VtD(VtD { include_all: true, proximity: Some(9), ..vtd }));
    assert_eq!(units[0].registers, Span::new(PhysAddr(BASE), 0x1000));
    assert_eq!(units[1].registers, Span::new(PhysAddr(OTHER), 0x8000));
    let far = Devices::AtPath {
        what: ioward_types::describe::AtPath::IoApic(3),
        segment: 0,
        bus: 0,
        path: &[0x1c, 1, 4, 0],
    };
    let expected = [
        (path(&[2, 0], false), first, OWN),
        (path(&[0x1c, 0], true), first, OWN),
        (path(&[0x1c, 1, 0, 0, 3, 1], false), first, OWN),
        (Devices::IoApic { id: 2 }, first, Sources::Same(SourceId(0xf0f8))),
        (far, first, OWN),
        (Devices::Hpet { number: 5 }, first, Sources::Same(SourceId(0x78))),
        (Devices::AcpiPath("\\_SB.PCI0.I2C0"), first, Sources::Same(SourceId(0xab))),
        (Devices::PciRest { segment: 0 }, rest, OWN),
    ];
    assert_eq!(scopes(&facts), expected);
}

#[test]
fn the_flags_of_the_table_reach_every_unit() {
    for (flags, expected) in [(1, [true, false, false]), (2, [false, true, false]), (4, [false, false, true])]
    {
        let mut table = DmarBuilder::new(flags);
        table.drhd(0, 6, BASE, &[]);
        let bytes = table.build();
        let IommuKind::VtD(vtd) = units(&read(&bytes))[0].kind else { panic!("a DMAR describes VT-d") };
        assert_eq!([vtd.interrupt_remapping, vtd.x2apic_opt_out, vtd.dma_opt_in], expected);
        assert_eq!(vtd.segment, 6);
    }
}

#[test]
fn two_structures_for_the_same_registers_are_one_unit() {
    let mut table = DmarBuilder::new(0);
    let first = table.drhd(0, 0, BASE, &[scope(1, 0, 0, &[2, 0])]);
    let again = table.drhd(1, 0, BASE, &[scope(1, 0, 0, &[3, 0])]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), [(again, Cause::Duplicate { first })]);
    assert_eq!(units(&facts).len(), 1);
    let rest = Devices::PciRest { segment: 0 };
    let expected =
        [(path(&[2, 0], false), first, OWN), (path(&[3, 0], false), first, OWN), (rest, first, OWN)];
    assert_eq!(scopes(&facts), expected);
}

#[test]
fn a_unit_may_say_twice_that_it_includes_all() {
    let mut table = DmarBuilder::new(0);
    let first = table.drhd(1, 0, BASE, &[]);
    let again = table.drhd(1, 0, BASE, &[]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), [(again, Cause::Duplicate { first })]);
    let rest = (Devices::PciRest { segment: 0 }, first, OWN);
    assert_eq!(scopes(&facts), [rest, rest]);
}

#[test]
fn registers_that_cannot_be_leave_a_unit_without() {
    for base in [0, u64::MAX, 0xffff_ffff_ffff_f000, 0xfed9_0800, 1 << 52] {
        let mut table = DmarBuilder::new(0);
        let at = table.drhd(1, 0, base, &[]);
        // Nothing can be the same unit as one that is nowhere.
        table.drhd(0, 0, base, &[]);
        let bytes = table.build();
        let facts = read(&bytes);
        assert_eq!(problems(&facts)[0], (at + 8, Cause::Range { found: base }));
        assert_eq!(units(&facts).iter().map(|unit| unit.registers).collect::<Vec<_>>(), [None, None]);
        // Its devices are still its own, so that they wait for it instead of going unserved.
        assert_eq!(scopes(&facts).len(), 1);
    }
}

#[test]
fn units_that_share_registers_are_told_apart_by_the_first() {
    let mut table = DmarBuilder::new(0);
    let first = table.structure(0, Fields::new().u8(0).u8(2).u16(0).u64(BASE), &[]);
    let overlap = table.drhd(0, 0, OTHER, &[]);
    let segment = table.drhd(0, 1, BASE, &[]);
    let bytes = table.build();
    let facts = read(&bytes);
    let contradiction = |what| Cause::Contradiction { what, with: first };
    let expected =
        [(overlap + 8, contradiction("the register block")), (segment + 8, contradiction("the segment"))];
    assert_eq!(problems(&facts), expected);
    let registers: Vec<_> = units(&facts).iter().map(|unit| unit.registers.is_some()).collect();
    assert_eq!(registers, [true, false, false]);
}

#[test]
fn only_the_first_unit_of_a_segment_includes_all() {
    let mut table = DmarBuilder::new(0);
    let first = table.drhd(1, 0, BASE, &[]);
    let second = table.drhd(1, 0, OTHER, &[]);
    let elsewhere = table.drhd(1, 1, OTHER + 0x1000, &[]);
    let bytes = table.build();
    let facts = read(&bytes);
    let cause = Cause::Contradiction { what: "INCLUDE_PCI_ALL", with: first };
    assert_eq!(problems(&facts), [(second + 4, cause)]);
    let rest = |segment| Devices::PciRest { segment };
    assert_eq!(scopes(&facts), [(rest(0), first, OWN), (rest(1), elsewhere, OWN)]);
}

#[test]
fn regions_that_devices_need() {
    let mut table = DmarBuilder::new(0);
    table.rmrr(0xcdee_5000, 0xcdf0_3fff, &[scope(1, 0, 0, &[0x14, 0]), scope(2, 0, 0, &[1, 0])]);
    let odd = table.rmrr(0x1800, 0x2fff, &[scope(5, 1, 0, &[0x15, 0])]);
    let backwards = table.rmrr(0x3000, 0x2fff, &[scope(1, 0, 0, &[2, 0])]);
    let one_byte = table.rmrr(0, 0, &[scope(1, 0, 0, &[2, 0])]);
    let nobody = table.rmrr(0x5000, 0x5fff, &[]);
    table.andd(1, b"\\_SB.I2C0\0");
    let bytes = table.build();
    let facts = read(&bytes);
    let expected = [
        (odd + 8, Cause::Misaligned { found: 0x1800, unit: 0x1000 }),
        (backwards + 16, Cause::Range { found: 0x2fff }),
        (one_byte + 16, Cause::Range { found: 0 }),
        (nobody, Cause::Missing { what: "a device scope" }),
    ];
    assert_eq!(problems(&facts), expected);
    let regions: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Reserved(Reserved { subject, span, rule, .. }) => Some((*subject, *span, *rule)),
            _ => None,
        })
        .collect();
    let rule = |to| ReservedRule::Required {
        to: PhysAddr(to),
        attributes: Attributes::READ_WRITE,
        relaxable: false,
    };
    let span = |start, bytes| Span { start: Iova(start), bytes };
    let big = (span(0xcdee_5000, 0x1_f000), rule(0xcdee_5000));
    assert_eq!(
        regions,
        [
            (Subject::Devices(path(&[0x14, 0], false)), big.0, big.1),
            (Subject::Devices(path(&[1, 0], true)), big.0, big.1),
            (Subject::Devices(Devices::AcpiPath("\\_SB.I2C0")), span(0x1800, 0x1800), rule(0x1800)),
        ]
    );
}

#[test]
fn who_may_cache_translations() {
    let mut table = DmarBuilder::new(0);
    table.atsr(0, &[scope(2, 0, 0, &[1, 0])]);
    table.atsr(1, &[scope(2, 0, 0, &[7, 0])]);
    table.satc(1, &[scope(1, 0, 0, &[5, 0])]);
    table.satc(0, &[scope(1, 0, 0, &[6, 0])]);
    table.sidp(&[scope_with(0x1b, 1, 0, 0, &[5, 0])]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    let said: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ats(Ats { devices, rule, .. }) => Some((*devices, *rule)),
            _ => None,
        })
        .collect();
    let expected = [
        (path(&[1, 0], true), AtsRule::RootPorts),
        (Devices::PciRest { segment: 0 }, AtsRule::RootPorts),
        (path(&[5, 0], false), AtsRule::Integrated { required: true }),
        (path(&[6, 0], false), AtsRule::Integrated { required: false }),
        (path(&[5, 0], false), AtsRule::Properties(0x1b)),
    ];
    assert_eq!(said, expected);
}

#[test]
fn scopes_that_make_no_sense_are_named_and_the_rest_is_read() {
    let mut table = DmarBuilder::new(0);
    let bad = [
        scope(9, 0, 0, &[1, 0]),
        scope(1, 0, 0, &[]),
        scope(1, 0, 0, &[1, 0, 2]),
        scope(1, 0, 0, &[1, 0, 2, 8]),
        scope(5, 4, 0, &[1, 0]),
        scope(1, 0, 0, &[3, 0]),
    ];
    let at = 16 + table.drhd(0, 0, BASE, &bad);
    let bytes = table.build();
    let facts = read(&bytes);
    let expected = [
        (at, Cause::Unknown { kind: 9 }),
        (at + 8 + 6, Cause::Missing { what: "a path" }),
        (at + 14 + 6, Cause::Size { found: 3, entry: 2 }),
        (at + 23 + 8, Cause::Range { found: 0x208 }),
        (at + 33 + 4, Cause::Dangling { to: 4 }),
    ];
    assert_eq!(problems(&facts), expected);
    assert_eq!(scopes(&facts).len(), 1);
}

#[test]
fn a_scope_that_cannot_be_left_ends_its_structure_only() {
    for (length, expected) in
        [(5, Cause::Length { found: 5, least: 6 }), (9, Cause::Truncated { needs: 9, has: 8 })]
    {
        let mut table = DmarBuilder::new(0);
        let mut cut = scope(1, 0, 0, &[2, 0]);
        cut[1] = length;
        let at = table.drhd(0, 0, BASE, &[cut]);
        table.drhd(1, 0, OTHER, &[]);
        let bytes = table.build();
        let facts = read(&bytes);
        let offset = if length < 6 { at + 17 } else { at + 16 };
        assert_eq!(problems(&facts), [(offset, expected)]);
        assert_eq!(units(&facts).len(), 2);
        assert_eq!(scopes(&facts).len(), 1);
    }
}

#[test]
fn structures_that_make_no_sense() {
    let mut table = DmarBuilder::new(0);
    let unknown = table.structure(7, Fields::new(), &[]);
    let short = table.structure(0, Fields::new().u16(0), &[]);
    let unread = table.andd(3, b"\x80\0");
    let first = table.andd(4, b"\\_SB.A\0");
    let again = table.andd(4, b"\\_SB.B\0");
    let lost = table.rhsa(BASE, 0);
    let end = table.structure(0, Fields::new(), &[]);
    let mut bytes = table.0;
    bytes[end as usize + 2] = 3;
    common::build::seal(&mut bytes);
    let expected = [
        (unknown, Cause::Unknown { kind: 7 }),
        (short, Cause::Truncated { needs: 16, has: 6 }),
        (unread + 8, Cause::Text),
        (again + 7, Cause::Duplicate { first }),
        (lost, Cause::Unused { bytes: 20 }),
        (end + 2, Cause::Length { found: 3, least: 4 }),
    ];
    assert_eq!(problems(&read(&bytes)), expected);
}

#[test]
fn a_cut_table_is_read_as_far_as_it_goes() {
    let whole = every_structure();
    let cut = &whole[..48 + 16 + 8 + 16];
    let facts = read(cut);
    assert_eq!(units(&facts).len(), 2);
    let severe = facts.iter().filter(|fact| match fact {
        Fact::Problem(problem) => problem.severity() == Severity::Broken,
        _ => false,
    });
    // The table itself, and the structure that ends with it.
    assert_eq!(severe.count(), 2);
}

#[test]
fn a_wrong_checksum_is_reported_and_the_table_read() {
    let mut table = DmarBuilder::new(0);
    table.drhd(1, 0, BASE, &[]);
    let mut bytes = table.build();
    bytes[9] ^= 0xff;
    let facts = read(&bytes);
    let [(9, Cause::Checksum { sum })] = problems(&facts)[..] else { panic!("{facts:?}") };
    assert_ne!(sum, 0);
    assert_eq!(scopes(&facts).len(), 1);
}
