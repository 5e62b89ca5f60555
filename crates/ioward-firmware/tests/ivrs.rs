//! What IVRS tables mean, on tables made here.

mod common;

use common::build::{IvrsBuilder, alias, entry, extended, named, seal, special};
use ioward_firmware::ivrs::{self, Ivrs};
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        AmdBlocks, Cause, Devices, Fact, Iommu, IommuKind, NodeId, PciFunction, Problem, ReservedRule,
        Severity, Sources, Subject, Uid,
    },
};

const BASE: u64 = 0xfd20_0000;

fn read(bytes: &[u8]) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    ivrs::facts(bytes, &mut |fact| facts.push(fact));
    facts
}

/// First, last, source of the first, and whether all share it; of PCI scopes.
fn ranges(facts: &[Fact<'_>]) -> Vec<(u16, u16, u32, bool)> {
    let scopes = facts.iter().filter_map(|fact| match fact {
        Fact::Scope(scope) => Some(scope),
        _ => None,
    });
    scopes
        .filter_map(|scope| match (scope.devices, scope.served?.sources) {
            (Devices::Pci { first, last, .. }, Sources::Consecutive(source)) => {
                Some((first, last, source.0, false))
            }
            (Devices::Pci { first, last, .. }, Sources::Same(source)) => Some((first, last, source.0, true)),
            _ => None,
        })
        .collect()
}

fn problems(facts: &[Fact<'_>]) -> Vec<(u32, Cause)> {
    let problems = facts.iter().filter_map(|fact| match fact {
        Fact::Problem(Problem { offset, cause, .. }) => Some((*offset, *cause)),
        _ => None,
    });
    problems.collect()
}

fn iommus<'a>(facts: &[Fact<'a>]) -> Vec<Iommu<'a>> {
    let iommus = facts.iter().filter_map(|fact| match fact {
        Fact::Iommu(iommu) => Some(*iommu),
        _ => None,
    });
    iommus.collect()
}

#[test]
fn one_iommu_though_listed_thrice() {
    let range = [&entry(3, 0x08)[..], &entry(4, 0xfffe)];
    let mut table = IvrsBuilder::new();
    let first = table.hardware(0x10, 2, BASE, 0x8004_8f6e, &range);
    table.hardware(0x11, 2, BASE, 0x4_8000, &range);
    table.hardware(
        0x40,
        2,
        BASE,
        0x4_8000,
        &[range[0], range[1], &named(0xa5, b"AMDI0020", 2, b"\\_SB.FUR0")],
    );
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    let [iommu] = iommus(&facts)[..] else { panic!("one IOMMU") };
    assert_eq!(iommu.id, NodeId(first));
    assert_eq!(iommu.function, Some(PciFunction { segment: 0, requester: 2 }));
    // PCSup of the image: the counters' registers are there too.
    assert_eq!(iommu.registers, Span::new(PhysAddr(BASE), 0x8_0000));
    let IommuKind::AmdVi(amd) = iommu.kind else { panic!("AMD-Vi") };
    assert_eq!(amd.blocks, AmdBlocks { basic: true, extended: true, mixed: true });
    assert_eq!(amd.blocks.to_string(), "10h+11h+40h");
    assert_eq!((amd.features, amd.attributes), (Some(0x8004_8f6e), Some(0x4_8000)));
    assert_eq!((amd.efr, amd.efr2), (Some(0x2254_ade0 | 1 << 9), Some(0x10)));
    assert_eq!((amd.capability, amd.flags, amd.ivinfo), (0x40, 0x30, 0x0020_3040));
    // The devices come from the most capable block, and once.
    assert_eq!(ranges(&facts), [(0x08, 0xfffe, 0x08, false)]);
    let uid = Uid::Text("\\_SB.FUR0");
    let acpi = Devices::AcpiId { hid: *b"AMDI0020", cid: [0; 8], uid };
    assert!(facts.iter().any(|fact| matches!(fact, Fact::Scope(scope) if scope.devices == acpi)));
    assert_eq!(acpi.to_string(), "AMDI0020:\\_SB.FUR0");
}

#[test]
fn two_iommus_stay_two() {
    let mut table = IvrsBuilder::new();
    table.hardware(0x10, 2, BASE, 0, &[&entry(2, 0x08)]);
    table.hardware(0x10, 0x102, BASE + 0x10_0000, 0, &[&entry(2, 0x110)]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(iommus(&facts).len(), 2);
    assert_eq!(iommus(&facts)[1].registers, Span::new(PhysAddr(BASE + 0x10_0000), 0x4000));
    assert_eq!(ranges(&facts), [(0x08, 0x08, 0x08, false), (0x110, 0x110, 0x110, false)]);
}

#[test]
fn all_device_entries() {
    let mut table = IvrsBuilder::new();
    let at = table.hardware(
        0x40,
        2,
        BASE,
        0,
        &[
            &entry(0, 0),
            &entry(1, 0),
            &entry(2, 0x10),
            &entry(3, 0x20),
            &entry(2, 0x28),
            &entry(4, 0x2f),
            &alias(0x42, 0x30, 0xa0),
            &alias(0x43, 0x100, 0xa5),
            &entry(4, 0x1ff),
            &extended(0x46, 0x40, 1 << 31),
            &extended(0x47, 0x48, 0),
            &entry(4, 0x4f),
            &special(0x21, 0xa0, 1),
            &special(0, 0xa1, 2),
            &named(0x60, b"MSFT0201", 1, &[1, 0]),
            &named(0x61, b"AMDI0020", 0, b""),
            &named(0x62, b"AMDI0020", 2, b"abc\0\0"),
        ],
    );
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    assert_eq!(
        ranges(&facts),
        [
            (0x10, 0x10, 0x10, false),
            (0x28, 0x28, 0x28, false),
            (0x20, 0x2f, 0x20, false),
            (0x30, 0x30, 0x30, false),
            (0x30, 0x30, 0xa0, true),
            (0x100, 0x1ff, 0x100, false),
            (0x100, 0x1ff, 0xa5, true),
            (0x40, 0x40, 0x40, false),
            (0x48, 0x4f, 0x48, false),
        ]
    );
    let scopes: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Scope(scope) => Some(scope),
            _ => None,
        })
        .collect();
    assert_eq!((scopes[0].devices, scopes[0].at), (Devices::PciRest { segment: 0 }, NodeId(at + 44)));
    assert_eq!(scopes[0].served.map(|served| served.sources.of(0x777)), Some(Some(SourceId(0x777))));
    let ats = |first| {
        let devices = Devices::Pci { segment: 0, first, last: first | 7, mask: 0xffff };
        scopes.iter().find(|scope| scope.devices == devices).map(|scope| scope.traits)
    };
    assert_eq!(ats(0x48).map(|traits| (traits.ats, traits.amd_setting)), Some((Some(true), 0xd7)));
    let disabled = scopes.iter().find(|scope| scope.devices == Devices::function(0, 0x40));
    assert_eq!(disabled.map(|scope| scope.traits.ats), Some(Some(false)));
    let texts: Vec<_> = scopes[10..].iter().map(|scope| (scope.devices.to_string(), scope.served)).collect();
    let names: Vec<_> = texts.iter().map(|text| text.0.as_str()).collect();
    assert_eq!(names, ["IOAPIC 0x21", "HPET 0", "MSFT0201:1", "AMDI0020", "AMDI0020:abc"]);
    let source = |text: &(String, Option<ioward_types::describe::Served>)| {
        text.1.and_then(|served| served.sources.of(0))
    };
    assert_eq!(source(&texts[0]), Some(SourceId(0xa0)));
    assert_eq!(source(&texts[2]), Some(SourceId(0x60)));
}

#[test]
fn broken_device_entries_are_named_and_the_rest_is_read() {
    let mut table = IvrsBuilder::new();
    let at = table.hardware(
        0x40,
        2,
        BASE,
        0,
        &[
            &entry(4, 0x10),                       // 40: an end without a start
            &entry(3, 0x20),                       // 44: a start that another start interrupts
            &entry(3, 0x30),                       // 48
            &entry(4, 0x2f),                       // 52: an end before its start
            &special(1, 2, 9),                     // 56: neither IOAPIC nor HPET
            &extended(0x44, 0, 0),                 // 64: nobody knows it
            &[0x99; 16],                           // 72: nobody knows it either
            &[0xc1; 32],                           // 88: nor that
            &named(0x50, b"AMDI0020", 2, b"\x07"), // 120: no text
            &named(0x50, b"AMDI0020", 9, b""),     // 143: no format
            &named(0x50, b"AMDI0020", 1, &[0; 9]), // 165: no number
            &entry(2, 0x08),
            &entry(3, 0x60), // 200: nothing ends it
            &[0x46, 1],      // 204: cut off
        ],
    );
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(
        problems(&facts),
        [
            (at + 40, Cause::Unpaired),
            (at + 44, Cause::Unpaired),
            (at + 52, Cause::Range { found: 0x2f }),
            (at + 63, Cause::Unknown { kind: 9 }),
            (at + 64, Cause::Unknown { kind: 0x44 }),
            (at + 72, Cause::Unknown { kind: 0x99 }),
            (at + 88, Cause::Unknown { kind: 0xc1 }),
            (at + 120 + 20, Cause::Text),
            (at + 143 + 20, Cause::Text),
            (at + 165 + 20, Cause::Text),
            (at + 204, Cause::Truncated { needs: 8, has: 2 }),
            (at + 200, Cause::Unpaired),
        ]
    );
    assert_eq!(ranges(&facts), [(0x08, 0x08, 0x08, false)]);
}

#[test]
fn blocks_that_contradict_the_one_that_speaks() {
    let mut table = IvrsBuilder::new();
    let covered = [&entry(2, 0x08)[..], &special(1, 0xa0, 1), &entry(1, 0)];
    let basic = table.hardware(0x10, 2, BASE + 0x1000, 0, &[covered[0], covered[1], &entry(2, 0x99)]);
    let mixed = table.hardware(0x40, 2, BASE, 0, &covered[..2]);
    let again = table.hardware(0x40, 2, BASE, 0, &[&alias(0x42, 0x08, 0xa5)]);
    let extended = table.hardware(0x11, 2, BASE, 0, &covered);
    let mut bytes = table.build();
    bytes[basic as usize + 1] ^= 0x50;
    bytes[basic as usize + 6] = 0x50;
    bytes[extended as usize + 30] ^= 1;
    seal(&mut bytes);
    let facts = read(&bytes);
    let contradiction = |what| Cause::Contradiction { what, with: mixed };
    assert_eq!(
        problems(&facts),
        [
            (basic + 6, contradiction("capability offset")),
            (basic + 8, contradiction("IOMMU base address")),
            (basic + 1, contradiction("IVHD flags")),
            (basic + 24 + 12, contradiction("device entry")),
            (again, Cause::Duplicate { first: mixed }),
            (again + 40, contradiction("device entry")),
            (extended + 24, contradiction("EFR image")),
            (extended + 40 + 12, contradiction("device entry")),
        ]
    );
    assert!(
        facts
            .iter()
            .all(|fact| !matches!(fact, Fact::Problem(problem) if problem.severity() == Severity::Broken))
    );
    assert_eq!(iommus(&facts).len(), 1);
    assert_eq!(iommus(&facts)[0].registers.map(|span| span.start), Some(PhysAddr(BASE)));
}

#[test]
fn a_select_all_covers_what_lesser_blocks_name() {
    let mut table = IvrsBuilder::new();
    table.hardware(0x10, 2, BASE, 0, &[&entry(1, 0), &entry(2, 0x08)]);
    table.hardware(0x11, 2, BASE, 0, &[&entry(1, 0)]);
    assert_eq!(problems(&read(&table.build())), []);
}

#[test]
fn counters_of_a_basic_block_are_told_by_its_features() {
    let registers = |features| {
        let mut table = IvrsBuilder::new();
        table.hardware(0x10, 2, BASE, features, &[]);
        iommus(&read(&table.build()))[0].registers.map(|span| span.bytes)
    };
    assert_eq!(registers(1 << 13 | 1 << 17), Some(0x8_0000));
    assert_eq!(registers(1 << 13), Some(0x4000));
    assert_eq!(registers(1 << 17), Some(0x4000));
}

#[test]
fn memory_definitions() {
    let mut table = IvrsBuilder::new();
    table.memory(0x20, 7, 0, 0, 0x1000, 0x1000);
    table.memory(0x21, 3, 0x100, 0, 0x7d90_0000, 0x10_0000);
    table.memory(0x22, 8, 0, 0xfff, 0x9618_e000, 1);
    table.memory(0x22, 0, 0x10, 0x20, 0x5000, 0x1000);
    let backwards = table.memory(0x22, 7, 0x20, 0x10, 0x5000, 0x1000);
    let empty = table.memory(0x20, 7, 0, 0, 0x5000, 0);
    let wraps = table.memory(0x20, 7, 0, 0, u64::MAX, 2);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(
        problems(&facts),
        [
            (backwards + 6, Cause::Range { found: 0x10 }),
            (empty + 24, Cause::Empty),
            (wraps + 24, Cause::Range { found: 2 }),
        ]
    );
    let reserved: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Reserved(reserved) => Some((reserved.subject, reserved.span, reserved.rule)),
            _ => None,
        })
        .collect();
    let devices = |first, last| Subject::Devices(Devices::Pci { segment: 0, first, last, mask: 0xffff });
    let span = |start, bytes| Span { start: Iova(start), bytes };
    let required = |to, write| ReservedRule::Required {
        to: PhysAddr(to),
        attributes: Attributes { write, ..Attributes::READ_WRITE },
        relaxable: false,
    };
    assert_eq!(
        reserved,
        [
            (Subject::Everybody, span(0x1000, 0x1000), required(0x1000, true)),
            (devices(0x100, 0x100), span(0x7d90_0000, 0x10_0000), required(0x7d90_0000, false)),
            (
                devices(0, 0xfff),
                span(0x9618_e000, 1),
                ReservedRule::Excluded { attributes: Attributes::READ_WRITE }
            ),
            (devices(0x10, 0x20), span(0x5000, 0x1000), ReservedRule::Forbidden),
        ]
    );
}

#[test]
fn unknown_and_short_blocks() {
    let mut table = IvrsBuilder::new();
    table.0.extend([0x51, 0, 8, 0, 1, 2, 3, 4]);
    table.0.extend([0x10, 0, 8, 0, 1, 2, 3, 4]);
    table.0.extend([0x21, 0, 8, 0, 1, 2, 3, 4]);
    let zero = table.hardware(0x10, 2, 0, 0, &[]);
    table.0.extend([0x10, 0, 3, 0]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(
        problems(&facts),
        [
            (48, Cause::Unknown { kind: 0x51 }),
            (56, Cause::Truncated { needs: 24, has: 8 }),
            (64, Cause::Truncated { needs: 32, has: 8 }),
            (zero + 8, Cause::Range { found: 0 }),
            (zero + 26, Cause::Length { found: 3, least: 4 }),
        ]
    );
    assert_eq!(iommus(&facts)[0].registers, None);
}

#[test]
fn a_cut_table_is_read_as_far_as_it_goes() {
    let mut table = IvrsBuilder::new();
    let at = table.hardware(0x10, 2, BASE, 0, &[&entry(2, 0x08), &entry(2, 0x10)]);
    let bytes = table.build();
    let facts = read(&bytes[..bytes.len() - 3]);
    let length = bytes.len() as u32;
    assert_eq!(
        problems(&facts),
        [
            (4, Cause::Truncated { needs: length, has: length - 3 }),
            (at, Cause::Truncated { needs: 32, has: 29 }),
            (at + 28, Cause::Truncated { needs: 4, has: 1 }),
        ]
    );
    assert_eq!(ranges(&facts), [(0x08, 0x08, 0x08, false)]);
}

#[test]
fn a_wrong_checksum_is_reported_and_the_table_read() {
    let mut table = IvrsBuilder::new();
    table.hardware(0x10, 2, BASE, 0, &[&entry(2, 0x08)]);
    let mut bytes = table.build();
    bytes[9] = bytes[9].wrapping_add(5);
    bytes.extend([1, 2, 3]);
    let facts = read(&bytes);
    let length = bytes.len() as u32 - 3;
    assert_eq!(problems(&facts), [(9, Cause::Checksum { sum: 5 }), (length, Cause::Unused { bytes: 3 })]);
    assert_eq!(ranges(&facts).len(), 1);
}

#[test]
fn a_table_that_is_none_is_one_problem() {
    let whole = IvrsBuilder::new().build();
    let mut short = whole.clone();
    short[4..8].copy_from_slice(&40u32.to_le_bytes());
    assert_eq!(problems(&read(&whole[..20])), [(0, Cause::Truncated { needs: 36, has: 20 })]);
    assert_eq!(problems(&read(&short)), [(4, Cause::Length { found: 40, least: 48 })]);
    let cut = [(4, Cause::Truncated { needs: 48, has: 40 }), (40, Cause::Truncated { needs: 48, has: 40 })];
    assert_eq!(problems(&read(&whole[..40])), cut);
    let signature = u32::from_le_bytes(*b"IORT");
    let mut other = whole.clone();
    other[..4].copy_from_slice(b"IORT");
    assert_eq!(problems(&read(&other)), [(0, Cause::Signature { found: signature })]);
    assert_eq!(problems(&read(&whole)), []);
    assert_eq!(Ivrs::new(&whole).reserved(), 0);
}
