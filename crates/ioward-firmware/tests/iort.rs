//! What IORT tables mean, on tables made here.

mod common;

use common::build::{Fields, IortBuilder, seal};
use ioward_firmware::iort::{self, Iort, node::Body};
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, InterruptLine, InterruptRole, Iommu, IommuKind, MsiController, NodeId, Problem,
        ReservedRule, Scope, Severity, Sources, Subject,
    },
};

fn read(bytes: &[u8]) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    iort::facts(bytes, &mut |fact| facts.push(fact));
    facts
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

fn scopes<'a>(facts: &[Fact<'a>]) -> Vec<Scope<'a>> {
    let scopes = facts.iter().filter_map(|fact| match fact {
        Fact::Scope(scope) => Some(*scope),
        _ => None,
    });
    scopes.collect()
}

/// First, last, IOMMU and first source.
type Range = (u16, u16, Option<(u32, u32)>);

/// Of PCI scopes.
fn ranges(facts: &[Fact<'_>]) -> Vec<Range> {
    let scopes = scopes(facts).into_iter();
    scopes
        .filter_map(|scope| match scope.devices {
            Devices::Pci { first, last, .. } => {
                let served = scope.served.map(|served| (served.iommu.0, served.sources.of(0).unwrap().0));
                Some((first, last, served))
            }
            _ => None,
        })
        .collect()
}

/// First, last, ITS and first device ID.
fn interrupts(facts: &[Fact<'_>]) -> Vec<(u16, u16, u32, u32)> {
    let interrupts = facts.iter().filter_map(|fact| match fact {
        Fact::Msi(msi) => Some(msi),
        _ => None,
    });
    interrupts
        .filter_map(|msi| match (msi.devices, msi.controller, msi.device_ids) {
            (Devices::Pci { first, last, .. }, MsiController::Its(its), Some(ids)) => {
                Some((first, last, its, ids.of(0).unwrap().0))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_root_complex_through_an_smmu_to_its_groups() {
    let mut table = IortBuilder::new();
    let its = table.its(&[0, 7]);
    let other = table.its(&[9]);
    let mappings = [[0, 0xff, 0x1000, its, 0], [0x100, 0xfeff, 0x2000, other, 0]];
    let smmu = table.smmu_v3(0x905_0000, 1 | 2 << 1, 0, 0, &mappings);
    let root = table.root(
        3,
        4,
        &[
            [0, 0x1ff, 0x80, smmu, 0],
            // The count is less one: one requester ID.
            [0x200, 0, 0x5000, smmu, 0],
            [0x300, 0xff, 0x900, its, 0],
        ],
    );
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    assert_eq!(
        ranges(&facts),
        [(0, 0x1ff, Some((smmu, 0x80))), (0x200, 0x200, Some((smmu, 0x5000))), (0x300, 0x3ff, None)]
    );
    assert_eq!(
        interrupts(&facts),
        [
            // Sources 0x80 to 0xff are in the first mapping of the SMMU, the others in the second.
            (0, 0x7f, 0, 0x1080),
            (0, 0x7f, 7, 0x1080),
            (0x80, 0x1ff, 9, 0x2000),
            (0x200, 0x200, 9, 0x6f00),
            (0x300, 0x3ff, 0, 0x900),
            (0x300, 0x3ff, 7, 0x900),
        ]
    );
    let rest = scopes(&facts)[0];
    assert_eq!((rest.at, rest.devices, rest.served), (NodeId(root), Devices::PciRest { segment: 3 }, None));
    let traits = rest.traits;
    assert_eq!((traits.addr_bits, traits.coherent, traits.ats), (Some(48), Some(true), Some(true)));
    assert_eq!((traits.pasid_bits, traits.stall), (Some(16), false));
}

#[test]
fn an_smmu_v3_with_its_quirks() {
    let mut table = IortBuilder::new();
    let its = table.its(&[0]);
    let mappings = [[0, 0xff, 0, its, 0], [0, 0, 0x77, its, 1]];
    table.smmu_v3(0x1000_0000, 1 | 2 << 1, 0, 1, &mappings);
    table.smmu_v3(0x2000_0000, 0, 1, 0, &mappings);
    table.smmu_v3(0x3000_0000, 0, 2, 9, &mappings);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    let units = iommus(&facts);
    let smmu = |index: usize| match units[index].kind {
        IommuKind::SmmuV3(smmu) => smmu,
        other => panic!("{other}"),
    };
    assert_eq!((smmu(0).coherent, smmu(0).httu, smmu(0).msi_device), (Some(true), Some(2), Some(0x77)));
    assert_eq!((smmu(1).coherent, smmu(1).broken_prefetch, smmu(1).msi_device), (Some(false), true, None));
    assert_eq!((smmu(2).page0_only, smmu(2).model, smmu(2).msi_device), (true, 2, None));
    assert_eq!(units[0].registers, Span::new(PhysAddr(0x1000_0000), 0x2_0000));
    assert_eq!(units[2].registers, Span::new(PhysAddr(0x3000_0000), 0x1_0000));
    let lines: Vec<_> = units[0].interrupts.iter().flatten().map(|line| (line.role, line.line)).collect();
    assert_eq!(
        lines,
        [
            (InterruptRole::Event, InterruptLine::Gsiv(74)),
            (InterruptRole::GlobalError, InterruptLine::Gsiv(75)),
            (InterruptRole::Sync, InterruptLine::Gsiv(76)),
        ]
    );
}

#[test]
fn older_smmus_are_named_and_their_devices_listed() {
    let mut table = IortBuilder::new();
    let names = ["SMMUv1", "SMMUv2", "MMU-400", "MMU-500", "MMU-401", "Cavium SMMUv2", "SMMUv1 or SMMUv2"];
    let units: Vec<_> = (0..names.len()).map(|model| table.smmu(model as u32, &[])).collect();
    table.named("\\_SB.GPU0", 1 | 5 << 1, &[[0, 0, 0x40, units[3], 1], [0, 3, 0x50, units[3], 0]]);
    table.named("\\_SB.CLK0", 0, &[]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(problems(&facts), []);
    let kinds: Vec<_> = iommus(&facts).iter().map(|iommu| iommu.kind.to_string()).collect();
    assert_eq!(kinds, names);
    assert_eq!(iommus(&facts)[0].registers, Span::new(PhysAddr(0x1000_0000), 0x1_0000));
    let [first, second, none] = scopes(&facts)[..] else { panic!("three scopes") };
    assert_eq!(first.devices, Devices::AcpiPath("\\_SB.GPU0"));
    assert_eq!(first.served.map(|served| served.sources), Some(Sources::Same(SourceId(0x40))));
    let run = Sources::All { first: SourceId(0x50), last: SourceId(0x53) };
    assert_eq!(second.served.map(|served| (served.iommu, served.sources)), Some((NodeId(units[3]), run)));
    assert_eq!((run.of(9), run.last_of(9)), (Some(SourceId(0x50)), Some(SourceId(0x53))));
    assert_eq!(
        (first.traits.stall, first.traits.pasid_bits, first.traits.addr_bits),
        (true, Some(5), Some(40))
    );
    assert_eq!((none.devices, none.served), (Devices::AcpiPath("\\_SB.CLK0"), None));
    // The raw view shows the interrupts.
    let smmu = Iort::new(&bytes).nodes().find_map(|node| match node.body() {
        Body::Smmu(smmu) => Some(smmu),
        _ => None,
    });
    let smmu = smmu.expect("it was built");
    assert_eq!(smmu.global_interrupts(), [5, 0, 6, 1]);
    assert_eq!(
        (smmu.context_interrupts().collect(), smmu.pmu_interrupts().collect()),
        (vec![7u64], vec![8u64])
    );
}

#[test]
fn reserved_memory() {
    let mut table = IortBuilder::new();
    let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &[]);
    let ranges = [(0x8000_0000, 0x1_0000), (0x9000_0000, 0x1000), (0, 0), (u64::MAX - 0xfff, 0x2000)];
    let rmr = table.rmr(1 | 2 | 5 << 2, &ranges, &[[0, 1, 0x10, smmu, 0], [0, 0, 0x99, smmu, 1]]);
    let device =
        table.rmr(0, &[(0x1_0000, 0x1_0000)], &[[0, 0, 0x20, smmu, 1], [0, 0, 0, 48, 1], [0, 0, 0, 1, 1]]);
    let bytes = table.build();
    let facts = read(&bytes);
    assert_eq!(
        problems(&facts),
        [
            (rmr + 28 + 20, Cause::Misaligned { found: 0x1000, unit: 0x1_0000 }),
            (rmr + 28 + 40, Cause::Empty),
            (rmr + 28 + 60, Cause::Range { found: 0x2000 }),
            (device + 48 + 40 + 12, Cause::Dangling { to: 1 }),
        ]
    );
    let reserved: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Reserved(reserved) => Some((reserved.subject, reserved.span, reserved.rule)),
            _ => None,
        })
        .collect();
    let sources =
        |first, last| Subject::Sources { iommu: NodeId(smmu), first: SourceId(first), last: SourceId(last) };
    let rule = |to, attributes, relaxable| ReservedRule::Required { to: PhysAddr(to), attributes, relaxable };
    let privileged = Attributes { privileged: true, ..Attributes::READ_WRITE };
    let mmio = Attributes { mmio: true, coherent: false, ..Attributes::READ_WRITE };
    let span = |start, bytes| Span { start: Iova(start), bytes };
    assert_eq!(
        reserved,
        [
            (sources(0x10, 0x11), span(0x8000_0000, 0x1_0000), rule(0x8000_0000, privileged, true)),
            (sources(0x99, 0x99), span(0x8000_0000, 0x1_0000), rule(0x8000_0000, privileged, true)),
            (sources(0x10, 0x11), span(0x9000_0000, 0x1000), rule(0x9000_0000, privileged, true)),
            (sources(0x99, 0x99), span(0x9000_0000, 0x1000), rule(0x9000_0000, privileged, true)),
            (sources(0x20, 0x20), span(0x1_0000, 0x1_0000), rule(0x1_0000, mmio, false)),
            (sources(0, 0), span(0x1_0000, 0x1_0000), rule(0x1_0000, mmio, false)),
        ]
    );
}

#[test]
fn an_overfull_rmr_is_cut() {
    let mut table = IortBuilder::new();
    let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &[]);
    let rmr = table.rmr(0, &[(0x1_0000, 0x1_0000)], &[[0, 0, 0, smmu, 1]]);
    let mut bytes = table.build();
    bytes[rmr as usize + 20] = 3;
    seal(&mut bytes);
    let found = problems(&read(&bytes));
    // The descriptors run into the mapping, whose bytes make no sense as one.
    assert_eq!(found[0], (rmr + 20, Cause::Truncated { needs: 60, has: 40 }));
}

#[test]
fn broken_mappings_are_named_and_the_rest_is_read() {
    let mut table = IortBuilder::new();
    let its = table.its(&[0]);
    let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &[[0, 0, 0, its, 0]]);
    let root = table.root(
        0,
        0,
        &[
            [0, 0xff, 0, smmu, 0],
            [0x100, 0, 0, smmu, 1],            // single
            [0x200, u32::MAX, 0, smmu, 0],     // wraps
            [0x300, 0xff, u32::MAX, smmu, 0],  // wraps too
            [0x400, 0xff, 0, smmu + 1, 0],     // leads into a node
            [0x500, 0xff, 0, u32::MAX, 0],     // leads out of the table
            [0x600, 0xff, 0, 48 + 24 + 88, 0], // leads to itself
            [0xff00, 0x1ff, 0xff00, smmu, 0],  // runs beyond the largest requester ID
            [0x8000_0000, 0xff, 0, smmu, 0],   // names nobody
            [0x80, 0, 0x70, smmu, 0],          // says again
        ],
    );
    let bytes = table.build();
    let facts = read(&bytes);
    let at = |index: u32| root + 36 + 20 * index;
    assert_eq!(root, 48 + 24 + 88);
    assert_eq!(
        problems(&facts),
        [
            (at(1) + 16, Cause::Range { found: 1 }),
            (at(2) + 4, Cause::Range { found: u32::MAX.into() }),
            (at(3) + 4, Cause::Range { found: 0xff }),
            (at(4) + 12, Cause::Dangling { to: smmu + 1 }),
            (at(5) + 12, Cause::Dangling { to: u32::MAX }),
            (at(6) + 12, Cause::Dangling { to: root }),
            (at(8), Cause::Empty),
            (at(9), Cause::Contradiction { what: "input IDs", with: at(0) }),
        ]
    );
    assert_eq!(
        ranges(&facts),
        [
            (0, 0xff, Some((smmu, 0))),
            // Behind something that is not described, by the place of the reference.
            (0x400, 0x4ff, Some((at(4) + 12, 0))),
            (0x500, 0x5ff, Some((at(5) + 12, 0))),
            (0x600, 0x6ff, Some((at(6) + 12, 0))),
            (0xff00, 0xffff, Some((smmu, 0xff00))),
            (0x80, 0x80, Some((smmu, 0x70)))
        ]
    );
    // Revision 0 has neither limit nor PASIDs.
    let traits = scopes(&facts)[0].traits;
    assert_eq!((traits.addr_bits, traits.pasid_bits), (None, None));
}

#[test]
fn old_machines_say_the_count_in_full() {
    let table = |machine: &[u8; 8]| {
        let mut table = IortBuilder::new();
        let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &[]);
        table.root(0, 1, &[[0, 0x100, 0, smmu, 0], [0x100, 0x100, 0x100, smmu, 0]]);
        let mut bytes = table.build();
        bytes[10..16].copy_from_slice(b"HISI  ");
        bytes[16..24].copy_from_slice(machine);
        bytes[24..28].fill(0);
        seal(&mut bytes);
        let facts = read(&bytes);
        let lasts: Vec<_> = ranges(&facts).iter().map(|range| range.1).collect();
        (lasts, problems(&facts).len())
    };
    assert_eq!(table(b"HIP07   "), (vec![0xff, 0x1ff], 0));
    assert_eq!(table(b"HIP08   "), (vec![0xff, 0x1ff], 0));
    assert_eq!(table(b"HIP09   "), (vec![0x100, 0x200], 1));
}

#[test]
fn nodes_that_are_short_unknown_or_lead_nowhere() {
    let mut table = IortBuilder::new();
    let unknown = table.node(0x42, 0, Fields::new(), &[]);
    let short: Vec<_> = (0..8).map(|kind| table.node(kind, 0, Fields::new(), &[])).collect();
    let pmcg = Fields::new().u64(1).u32(2).u32(3).u64(4);
    table.node(5, 2, pmcg, &[]);
    table.node(7, 1, Fields::new().u64(1).u16(2).bytes(b"\\_SB.IWB0\0"), &[]);
    let text = table.node(1, 4, Fields::new().u32(0).u64(0).u8(0).bytes(b"no end"), &[]);
    let segment = table.root(0x1_0000, 4, &[]);
    let its = table.node(0, 1, Fields::new().u32(3).u32(1), &[]);
    let zero = table.smmu_v3(0, 0, 0, 0, &[[0, 0, 0, zero_to(), 0]]);
    let bytes = table.build();
    let facts = read(&bytes);
    let mut expected = vec![(unknown, Cause::Unknown { kind: 0x42 })];
    let least = [20, 29, 32, 60, 60, 40, 28, 26];
    expected.extend(short.iter().zip(least).map(|(at, needs)| (*at, Cause::Truncated { needs, has: 16 })));
    expected.extend([
        (text + 29, Cause::Text),
        (segment + 28, Cause::Range { found: 0x1_0000 }),
        (its + 20, Cause::Truncated { needs: 12, has: 4 }),
        (zero + 16, Cause::Range { found: 0 }),
        (zero + 68 + 12, Cause::Dangling { to: zero_to() }),
    ]);
    assert_eq!(problems(&facts), expected);
    assert_eq!(iommus(&facts)[0].registers, None);
}

/// Where no node starts.
const fn zero_to() -> u32 {
    3
}

#[test]
fn an_array_of_nodes_that_does_not_add_up() {
    let mut table = IortBuilder::new();
    table.its(&[0]);
    let bytes = table.build();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        seal(&mut bytes);
        problems(&read(&bytes))
    };
    assert_eq!(problems(&read(&bytes)), []);
    // Two nodes, one there.
    assert_eq!(with(36, &[2]), [(72, Cause::Truncated { needs: 32, has: 16 })]);
    // None, one there.
    assert_eq!(with(36, &[0]), [(48, Cause::Unused { bytes: 24 })]);
    // The array inside the header, and behind the table.
    assert_eq!(with(40, &[4]), [(40, Cause::Range { found: 4 })]);
    assert_eq!(with(40, &[0xff]), [(40, Cause::Range { found: 0xff })]);
    // A node of no length, one longer than the table, and one whose mappings are outside.
    assert_eq!(with(49, &[0]), [(49, Cause::Length { found: 0, least: 16 })]);
    assert_eq!(with(49, &[25]), [(48, Cause::Truncated { needs: 25, has: 24 })]);
    assert_eq!(with(56, &[1]), []);
}

#[test]
fn mappings_outside_their_node_are_not_followed() {
    let mut table = IortBuilder::new();
    let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &[]);
    let named = table.named("\\_SB.A", 0, &[[0, 0, 5, smmu, 1]]);
    let root = table.root(0, 1, &[[0, 1, 0, smmu, 0]]);
    let bytes = table.build();
    let with = |at: u32, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes);
        let facts = read(&bytes);
        let severity = facts.iter().filter_map(|fact| match fact {
            Fact::Problem(problem) => Some(problem.severity()),
            _ => None,
        });
        (problems(&facts), severity.max(), ranges(&facts).len())
    };
    let broken = Some(Severity::Broken);
    let outside = |at, needs, has| vec![(at, Cause::Truncated { needs, has })];
    assert_eq!(with(root + 8, 3), (outside(root + 56, 40, 0), broken, 1));
    assert_eq!(with(root + 12, 37), (outside(root + 37, 20, 19), broken, 0));
    assert_eq!(with(root + 12, u32::MAX), (outside(root + 56, 20, 0), broken, 0));
    assert_eq!(with(named + 8, 2), (outside(named + 56, 20, 0), broken, 1));
    assert_eq!(with(smmu + 8, 1), (outside(smmu + 68, 20, 0), broken, 1));
    assert_eq!(with(smmu + 8, 0), (vec![], None, 1));
}

/// Each of very many mappings asks for all of an SMMU's, and each of those for its node.
#[test]
fn a_table_that_takes_too_long_to_follow_is_left_out_whole() {
    let build = |roots: u32, inner: u32| {
        let mut table = IortBuilder::new();
        let its = table.its(&[0]);
        let on: Vec<_> = (0..inner).map(|id| [id, 0, id, its, 0]).collect();
        let smmu = table.smmu_v3(0x1000_0000, 0, 0, 0, &on);
        for segment in 0..roots {
            let mappings: Vec<_> = (0..3000).map(|id| [id, 0, id, smmu, 0]).collect();
            table.root(segment, 3, &mappings);
        }
        table.build()
    };
    let sane = build(2, 3);
    let facts = read(&sane);
    assert_eq!((problems(&facts), iommus(&facts).len(), scopes(&facts).len()), (vec![], 1, 6002));

    let hostile = build(16, 3000);
    let facts = read(&hostile);
    let [Fact::Problem(problem)] = facts[..] else { panic!("{} facts", facts.len()) };
    assert!(matches!(problem.cause, Cause::Effort { steps, most } if steps > most), "{problem}");
    assert_eq!(problem.severity(), Severity::Broken);
}
