//! What RIMT and VIOT tables mean, on tables made here.

mod common;

use common::{
    build::{Fields, seal},
    tables::{RimtBuilder, ViotBuilder},
};
use ioward_firmware::{rimt, viot};
use ioward_types::{
    PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Interrupt, InterruptLine, InterruptRole, Iommu, IommuKind, PciFunction,
        Problem, RiscV, Scope, Sources,
    },
};

type Parser = for<'a> fn(&'a [u8], &mut dyn FnMut(Fact<'a>));

fn read(parser: Parser, bytes: &[u8]) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    parser(bytes, &mut |fact| facts.push(fact));
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

fn scopes<'a>(facts: &[Fact<'a>]) -> Vec<Scope<'a>> {
    let scopes = facts.iter().filter_map(|fact| match fact {
        Fact::Scope(scope) => Some(*scope),
        _ => None,
    });
    scopes.collect()
}

/// Who is served by the IOMMU at which offset, as what.
fn served<'a>(facts: &[Fact<'a>]) -> Vec<(Devices<'a>, u32, Sources)> {
    let served = |scope: &Scope<'a>| {
        let served = scope.served.expect("these tables tell of nobody that no IOMMU serves him");
        (scope.devices, served.iommu.0, served.sources)
    };
    scopes(facts).iter().map(served).collect()
}

fn range<'a>(segment: u16, first: u16, last: u16) -> Devices<'a> {
    Devices::Pci { segment, first, last, mask: 0xffff }
}

fn from(first: u32) -> Sources {
    Sources::Consecutive(SourceId(first))
}

#[test]
fn riscv_iommus_with_wires_and_on_pci() {
    let mut table = RimtBuilder::new();
    table.iommu(2, 0x301_0000, 0, &[[36, 0], [37, 1], [38, 2], [39, 3], [40, 3]]);
    // The base address of a PCI function means nothing.
    table.iommu(1, 0x77, 0x108, &[]);
    let bytes = table.build();
    let facts = read(rimt::facts, &bytes);
    assert_eq!(problems(&facts), []);
    let units = units(&facts);
    let hid = *b"RSCV0004";
    let first = RiscV { hid, wires: 5, proximity: Some(7), ..RiscV::default() };
    assert_eq!(units[0].kind, IommuKind::RiscV(first));
    assert_eq!(units[0].registers, Span::new(PhysAddr(0x301_0000), 0x1000));
    let wire = |role, number, level, active_high| {
        let line = InterruptLine::Gsi { number, level, active_high };
        Some(Interrupt { role: InterruptRole::Nth(role), line })
    };
    let wires = [
        wire(0, 36, false, false),
        wire(1, 37, true, false),
        wire(2, 38, false, true),
        wire(3, 39, true, true),
    ];
    assert_eq!(units[0].interrupts, wires);
    assert_eq!(units[1].kind, IommuKind::RiscV(RiscV { hid, uid: 1, ..RiscV::default() }));
    assert_eq!(units[1].function, Some(PciFunction { segment: 3, requester: 0x108 }));
    assert_eq!(units[1].registers, None);
}

#[test]
fn riscv_id_mappings_count_their_ids() {
    let mut table = RimtBuilder::new();
    let unit = table.iommu(0, 0x301_0000, 0, &[]);
    let other = table.iommu(1, 0, 8, &[]);
    table.complex(1, 2, &[[0, 0x100, 0x1000, unit, 1], [0x100, 0xff00, 0x100, other, 2]]);
    table.platform(b"\\_SB.DEV0\0", &[[5, 1, 0x700, unit, 0], [0, 3, 0x800, other, 0]]);
    let bytes = table.build();
    let facts = read(rimt::facts, &bytes);
    assert_eq!(problems(&facts), []);
    let device = Devices::AcpiPath("\\_SB.DEV0");
    let expected = [
        (range(2, 0, 0xff), unit, from(0x1000)),
        (range(2, 0x100, 0xffff), other, from(0x100)),
        (device, unit, Sources::Same(SourceId(0x700))),
        (device, other, Sources::All { first: SourceId(0x800), last: SourceId(0x802) }),
    ];
    assert_eq!(served(&facts), expected);
    let traits: Vec<_> = scopes(&facts).iter().map(|scope| scope.traits).collect();
    assert_eq!((traits[0].ats, traits[0].pri, traits[2].ats), (Some(true), Some(false), None));
    assert_eq!((traits[0].ats_required, traits[0].pri_required), (true, false));
    assert_eq!((traits[1].ats_required, traits[1].pri_required), (false, true));
}

#[test]
fn rimt_nodes_that_make_no_sense() {
    let mut table = RimtBuilder::new();
    let unit = table.iommu(0, 0x301_0000, 0, &[]);
    let nowhere = table.iommu(0, 0, 0, &[]);
    let unaligned = table.iommu(0, 0x301_0800, 0, &[]);
    let mappings = [
        [0, 0x100, 0, unit, 0],
        [0xff, 1, 0xff, unit, 0],
        [0x1_0000, 1, 0, unit, 0],
        [0, 0, 0, unit, 0],
        [u32::MAX, 2, 0, unit, 0],
        [0, 2, u32::MAX, unit, 0],
        [0, 1, 0, unit + 4, 0],
        // Requester IDs end at 16 bits.
        [0xff00, 0x1_0000, 0xff00, unit, 0],
    ];
    let complex = table.complex(0, 0, &mappings);
    let unended = table.platform(b"DEV", &[]);
    let body = Fields::new().u32(0).u16(0).u16(0).u16(20).u16(2);
    let short = table.node(1, body.u32(0).u32(1).u32(0).u32(unit).u32(0).u32(5));
    let wires = Fields::new().bytes(b"RSCV0004").u64(0x4000).u32(0).u32(0).u32(0).u16(2).u16(40).u32(1);
    let wires = table.node(0, wires);
    let small = table.node(0, Fields::new());
    let unknown = table.node(9, Fields::new());
    let bytes = table.build();
    let facts = read(rimt::facts, &bytes);
    let mapping = |index: u32| complex + 20 + 20 * index;
    let clash = Cause::Contradiction { what: "source IDs", with: mapping(0) };
    let expected = [
        (nowhere + 16, Cause::Range { found: 0 }),
        (unaligned + 16, Cause::Range { found: 0x301_0800 }),
        (mapping(2), Cause::Empty),
        (mapping(3) + 4, Cause::Empty),
        (mapping(4) + 4, Cause::Range { found: 2 }),
        (mapping(5) + 4, Cause::Range { found: 2 }),
        (mapping(6) + 12, Cause::Dangling { to: unit + 4 }),
        (mapping(1), clash),
        (unended + 12, Cause::Text),
        (short + 20, Cause::Truncated { needs: 40, has: 24 }),
        (wires + 36, Cause::Truncated { needs: 16, has: 4 }),
        (small, Cause::Truncated { needs: 40, has: 8 }),
        (unknown, Cause::Unknown { kind: 9 }),
    ];
    assert_eq!(problems(&facts), expected);
    // Behind something that is not described, by the place of the reference.
    assert_eq!(served(&facts)[2], (range(0, 0, 0), mapping(6) + 12, from(0)));
    assert_eq!(served(&facts)[3], (range(0, 0xff00, 0xffff), unit, from(0xff00)));
}

#[test]
fn virtio_iommus_and_their_endpoints() {
    let mut table = ViotBuilder::new();
    // A range may come before the virtio-iommu that it names.
    table.range(0x100, [1, 3], [0x08, 0xff], 48 + 24 + 24);
    table.endpoint(7, 0x1c00_0000, 48 + 24 + 24 + 16);
    let pci = table.pci(1, 0x08);
    let mmio = table.mmio(0xa00_0000);
    let bytes = table.build();
    let facts = read(viot::facts, &bytes);
    assert_eq!(problems(&facts), []);
    let units = units(&facts);
    assert!(units.iter().all(|unit| unit.kind == IommuKind::Virtio));
    assert_eq!(units[0].function, Some(PciFunction { segment: 1, requester: 8 }));
    assert_eq!(units[0].registers, None);
    assert_eq!(units[1].registers, Span::new(PhysAddr(0xa00_0000), 0x200));
    let expected = [
        (range(1, 8, 0xff), pci.into(), from(0x100)),
        (range(2, 8, 0xff), pci.into(), from(0x1_0100)),
        (range(3, 8, 0xff), pci.into(), from(0x2_0100)),
        (Devices::Mmio(PhysAddr(0x1c00_0000)), mmio.into(), Sources::Same(SourceId(7))),
    ];
    assert_eq!(served(&facts), expected);
}

#[test]
fn a_virtio_iommu_that_is_listed_twice_is_one() {
    let mut table = ViotBuilder::new();
    let (pci, mmio) = (table.pci(0, 8), table.mmio(0xa00_0000));
    let (pci_again, mmio_again) = (table.pci(0, 8), table.mmio(0xa00_0000));
    table.range(0, [0, 0], [0, 0xff], pci_again);
    table.endpoint(0x1_0000, 0x1000, mmio_again);
    let bytes = table.build();
    let facts = read(viot::facts, &bytes);
    let duplicate = |first: u16| Cause::Duplicate { first: first.into() };
    assert_eq!(problems(&facts), [(pci_again.into(), duplicate(pci)), (mmio_again.into(), duplicate(mmio))]);
    let by: Vec<_> = served(&facts).iter().map(|served| served.1).collect();
    assert_eq!((by, units(&facts).len()), ([pci, mmio].map(u32::from).to_vec(), 2));
}

#[test]
fn viot_nodes_that_make_no_sense() {
    let mut table = ViotBuilder::new();
    let pci = table.pci(0, 8);
    let nowhere = table.mmio(0);
    let nobody = table.range(0, [0, 0], [0, 1], nowhere + 1);
    let lost = table.endpoint(8, 0x1000, nobody);
    let backwards = table.range(0, [0, 0], [1, 0], pci);
    let segments = table.range(0, [1, 0], [0, 1], pci);
    let wraps = table.range(0xffff_0000, [0, 1], [0, 1], pci);
    let many = table.range(0, [0, 32], [0, 0xffff], pci);
    let small = table.node(1, Fields::new());
    let unknown = table.node(9, Fields::new());
    let bytes = table.build();
    let facts = read(viot::facts, &bytes);
    let at = |node: u16, field: u32| u32::from(node) + field;
    let expected = [
        (at(nowhere, 8), Cause::Range { found: 0 }),
        (at(nobody, 16), Cause::Dangling { to: u32::from(nowhere) + 1 }),
        (at(lost, 16), Cause::Dangling { to: nobody.into() }),
        (at(backwards, 14), Cause::Range { found: 0 }),
        (at(segments, 10), Cause::Range { found: 0 }),
        (at(wraps, 4), Cause::Range { found: 0xffff_0000 }),
        (at(many, 10), Cause::Range { found: 32 }),
        (at(small, 0), Cause::Truncated { needs: 24, has: 4 }),
        (at(unknown, 0), Cause::Unknown { kind: 9 }),
    ];
    assert_eq!(problems(&facts), expected);
    // The first of the two segments before the wrap, and as many of the last one's as are followed.
    let served = served(&facts);
    assert_eq!(served.len(), 2 + 1 + 32);
    // Those that refer to none are behind something that is not described, by the place of the reference.
    assert_eq!([served[0].1, served[1].1], [at(nobody, 16), at(lost, 16)]);
}

#[test]
fn tables_that_are_cut_or_count_wrong() {
    let rimt = |change: fn(&mut Vec<u8>)| {
        let mut table = RimtBuilder::new();
        table.iommu(0, 0x301_0000, 0, &[]);
        let mut bytes = table.build();
        change(&mut bytes);
        seal(&mut bytes);
        problems(&read(rimt::facts, &bytes))
    };
    let viot = |change: fn(&mut Vec<u8>)| {
        let mut table = ViotBuilder::new();
        table.mmio(0xa00_0000);
        let mut bytes = table.build();
        change(&mut bytes);
        seal(&mut bytes);
        problems(&read(viot::facts, &bytes))
    };
    assert_eq!(rimt(|bytes| bytes[36] = 2), [(88, Cause::Truncated { needs: 16, has: 8 })]);
    assert_eq!(rimt(|bytes| bytes[36] = 0), [(48, Cause::Unused { bytes: 40 })]);
    assert_eq!(rimt(|bytes| bytes[40] = 47), [(40, Cause::Range { found: 47 })]);
    assert_eq!(rimt(|bytes| bytes[50] = 7), [(50, Cause::Length { found: 7, least: 8 })]);
    assert_eq!(rimt(|bytes| bytes[50] = 41)[0], (48, Cause::Truncated { needs: 41, has: 40 }));
    assert_eq!(viot(|bytes| bytes[36] = 2), [(64, Cause::Truncated { needs: 8, has: 4 })]);
    assert_eq!(viot(|bytes| bytes[36] = 0), [(48, Cause::Unused { bytes: 16 })]);
    assert_eq!(viot(|bytes| bytes[38] = 64), [(38, Cause::Range { found: 64 })]);
    assert_eq!(viot(|bytes| bytes[50] = 3), [(50, Cause::Length { found: 3, least: 4 })]);
    assert_eq!(viot(|bytes| bytes[50] = 17)[0], (48, Cause::Truncated { needs: 17, has: 16 }));
}
