//! Facts of one function out of bytes written down by hand, and what becomes of bytes that are wrong.

use ioward_pci::{
    AcsBits, Bdf, Fact, Finding, Function, PortType, Problem, Topology, config,
    function::{Ari, Ats, Header, PasidCap, Pri},
    groups::{Fabric, Linux, Policy},
};

fn bytes(words: &[(usize, u32)], size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for &(at, word) in words {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn at() -> Bdf {
    Bdf::new(0, 3, 0, 0)
}

fn read(words: &[(usize, u32)], size: usize) -> (Function, Vec<Problem>) {
    let mut findings = Vec::new();
    let function = config::read(&bytes(words, size)[..], at(), &mut findings).expect("it has a vendor");
    assert!(findings.iter().all(|finding| finding.function == at()));
    (function, findings.into_iter().map(|Finding { problem, .. }| problem).collect())
}

const ID: (usize, u32) = (0x00, 0x1572_8086);
const LIST: (usize, u32) = (0x04, 0x0010_0006);
const FIRST: (usize, u32) = (0x34, 0x40);

/// A switch's downstream port at 40h of version 2, with a slot, port number 9.
const PORT: [(usize, u32); 8] = [
    ID,
    LIST,
    (0x0c, 0x0001_0000),
    (0x18, 0x0005_0403),
    FIRST,
    (0x40, 0x0162_0010),
    (0x4c, 0x0900_0000),
    (0x64, 1 << 5),
];

fn port(more: &[(usize, u32)], size: usize) -> (Function, Vec<Problem>) {
    read(&[&PORT, more].concat(), size)
}

#[test]
fn a_port_is_read() {
    let (function, problems) = port(&[(0x68, 1 << 5), (0x100, 0)], 4096);
    assert_eq!(problems, []);
    let express = function.express.present().unwrap();
    assert_eq!(
        (express.kind, express.slot, express.port_number),
        (PortType::DownstreamPort, Some(true), Some(9))
    );
    assert_eq!((express.ari_capable, express.ari_forwarding), (Some(true), Some(true)));
    assert_eq!(function.header, Header::Bridge { primary: 3, secondary: 4, subordinate: 5, cardbus: false });
    assert_eq!(
        (function.acs, function.thunderbolt, function.memory),
        (Fact::Absent, Fact::Absent, Some(false))
    );
    // Version 1 has no second set of registers, whatever is there.
    let (old, _) = port(&[(0x40, 0x0061_0010), (0x68, 1 << 5), (0x100, 0)], 4096);
    let express = old.express.present().unwrap();
    assert_eq!((express.slot, express.ari_forwarding), (Some(false), Some(false)));
}

#[test]
fn acs_is_read_with_its_vector() {
    // All of the seven and the enhanced ones; a vector of 40 bits.
    let acs = [(0x100, 0x0001_000d), (0x104, 0x1a3f_28ff), (0x108, 0xffff_fdff), (0x10c, 0x0000_00fe)];
    let (function, problems) = port(&acs, 4096);
    assert_eq!(problems, []);
    let acs = function.acs.present().unwrap();
    assert_eq!(acs.capability, Some(AcsBits(0xff)));
    assert_eq!(acs.control, Some(AcsBits(0x1a3f)));
    let vector = acs.egress.unwrap();
    assert_eq!(vector.bits, 40);
    let open: Vec<u8> = (0..=255).filter(|&peer| !vector.stops(peer)).collect();
    assert_eq!(open, [9, 32].into_iter().chain(40..=255).collect::<Vec<u8>>());
    // Without egress control there is no vector, and a size of zero means 256.
    let (none, _) = port(&[(0x100, 0x0001_000d), (0x104, 0x001f_005f)], 4096);
    assert_eq!(none.acs.present().unwrap().egress, None);
    let (full, _) = port(&[(0x100, 0x0001_000d), (0x104, 0x003f_007f)], 4096);
    assert_eq!(full.acs.present().unwrap().egress.unwrap().bits, 256);
    // A vector that the bytes end in is not guessed.
    let (cut, _) = port(&[(0x100, 0x0001_000d), (0x104, 0x003f_407f)], 0x10c);
    assert_eq!(cut.acs.present().map(|acs| (acs.control, acs.egress)), Some((Some(AcsBits(0x3f)), None)));
}

#[test]
fn translation_services_are_read() {
    let words = [
        ID,
        LIST,
        FIRST,
        (0x40, 0x0002_0010),
        (0x100, 0x1101_000f), // ATS: depth 5, page aligned, global; unit 3, on
        (0x104, 0x8003_0065),
        (0x110, 0x1201_0013), // PRI: on; stopped, needs PASIDs
        (0x114, 0x8100_0001),
        (0x118, 512),
        (0x11c, 32),
        (0x120, 0x1301_001b), // PASID: execute, privileged, 18 bits; on, privileged
        (0x124, 0x0005_1206),
        (0x130, 0x1401_000e), // ARI: groups; next 4; group 6
        (0x134, 0x0062_0402),
        (0x140, 0x0001_000b), // Vendor-specific: not Thunderbolt's
        (0x144, 0x0d81_1235),
    ];
    let (function, problems) = read(&words, 4096);
    assert_eq!(problems, []);
    let ats = Ats {
        enabled: true,
        queue_depth: Some(5),
        smallest_unit: Some(3),
        page_aligned: Some(true),
        global_invalidate: Some(true),
    };
    assert_eq!(function.ats, Fact::Present(ats));
    let pri = Pri {
        enabled: true,
        stopped: Some(true),
        capacity: Some(512),
        allocation: Some(32),
        needs_pasid: true,
    };
    assert_eq!(function.pri, Fact::Present(pri));
    let pasid = PasidCap {
        bits: Some(18),
        enabled: true,
        execute: true,
        privileged: true,
        execute_enabled: false,
        privileged_enabled: true,
    };
    assert_eq!(function.pasid, Fact::Present(pasid));
    assert_eq!(function.ari, Fact::Present(Ari { next: Some(4), acs_group: Some(6) }));
    assert_eq!(function.thunderbolt, Fact::Absent);
    // Groups that are offered and not turned on do not count.
    let mut off = words;
    off[13].1 = 0x0060_0402;
    assert_eq!(read(&off, 4096).0.ari.present().unwrap().acs_group, None);
}

#[test]
fn thunderbolt_is_intels_word() {
    let vendor = [(0x100, 0x0001_000b), (0x104, 0x0d81_1234)];
    assert_eq!(port(&vendor, 4096).0.thunderbolt, Fact::Present(()));
    let other = [(0x00, 0x1572_1b36), vendor[0], vendor[1]];
    assert_eq!(port(&other, 4096).0.thunderbolt, Fact::Absent);
}

#[test]
fn memory_is_told_from_ports_and_from_upper_halves() {
    let memory = |words: &[(usize, u32)]| read(&[&[ID], words].concat(), 256).0.memory;
    assert_eq!(memory(&[(0x10, 0xfe00_0000)]), Some(true));
    assert_eq!(memory(&[(0x10, 0x0000_e001)]), Some(false));
    assert_eq!(memory(&[(0x24, 0x0000_000c)]), Some(true));
    // Of a bridge, 18h is its buses.
    assert_eq!(memory(&[(0x0c, 0x0001_0000), (0x18, 0x0005_0403)]), Some(false));
    assert_eq!(memory(&[(0x0c, 0x0001_0000), (0x14, 0xfe00_0000)]), Some(true));
}

#[test]
fn wrong_lists_are_reported_and_what_was_read_before_counts() {
    for (words, problem) in [
        // The list returns to its beginning.
        (vec![(0x40, 0x0162_4010)], Problem::CapabilityLoop { offset: 0x40 }),
        (vec![(0x40, 0x0162_1010)], Problem::CapabilityOutside { offset: 0x10 }),
        (vec![(0x100, 0x1101_000d), (0x104, 0x001d_001d), (0x110, 0x1001_0001)], {
            Problem::CapabilityLoop { offset: 0x100 }
        }),
        (vec![(0x100, 0x0801_000d)], Problem::CapabilityOutside { offset: 0x80 }),
        // A capability at the very end has no room for its registers.
        (vec![(0x100, 0xffc1_0001), (0xffc, 0x0001_000d)], Problem::CapabilityCut { offset: 0xffc }),
    ] {
        let (function, problems) = port(&words, 4096);
        assert_eq!(problems, [problem]);
        assert_eq!(function.port_type(), Some(PortType::DownstreamPort), "{problem:?}");
        // Groups come out all the same.
        let findings = vec![Finding { function: at(), problem }];
        let topology = Topology::new(vec![function], findings);
        for policy in [&Linux as &dyn Policy, &Fabric::default()] {
            assert_eq!(policy.groups(&topology).groups.len(), 1);
        }
    }
}

#[test]
fn sixty_four_bytes_leave_groups_unsure() {
    let mut functions = Vec::new();
    for (devfn, secondary) in [(0x08, 1), (0x10, 2)] {
        let words = [ID, LIST, (0x0c, 0x0001_0000), (0x18, secondary << 16 | secondary << 8), FIRST];
        let mut findings = Vec::new();
        let at = Bdf { devfn, ..Bdf::default() };
        functions.extend(config::read(&bytes(&words, 64)[..], at, &mut findings));
        assert_eq!(findings[0].problem, Problem::Unread { offset: 0x40 });
        let below = Bdf::new(0, secondary as u8, 0, 0);
        functions.extend(config::read(&bytes(&[ID, LIST, FIRST], 64)[..], below, &mut findings));
    }
    let topology = Topology::new(functions, Vec::new());
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let grouping = policy.groups(&topology);
        let below = ["0000:01:00.0", "0000:02:00.0"].map(|name| name.parse().unwrap());
        // What the buses tell is used; that the ports isolate, nobody can say.
        assert!(!grouping.groups.is_empty());
        assert!(
            below.iter().all(|at| grouping.unsure.contains(at)),
            "{}: {:?}",
            policy.name(),
            grouping.unsure
        );
    }
}

#[test]
fn what_two_bridges_claim_is_unsure_however_deep() {
    let bridge = |devfn, on: u8, buses: u32| {
        let words =
            [ID, LIST, (0x0c, 0x0081_0000), (0x18, buses << 8 | u32::from(on)), FIRST, (0x40, 0x0142_0010)];
        let at = Bdf { devfn, bus: on, ..Bdf::default() };
        config::read(&bytes(&words, 4096)[..], at, &mut Vec::new()).unwrap()
    };
    let endpoint = |bus| {
        let words = [ID, LIST, FIRST, (0x40, 0x0002_0010)];
        config::read(&bytes(&words, 4096)[..], Bdf { bus, ..Bdf::default() }, &mut Vec::new()).unwrap()
    };
    let one = vec![
        bridge(0x08, 0, 0x0201),
        bridge(0, 1, 0x0202),
        endpoint(2),
        bridge(0x18, 0, 0x0303),
        endpoint(3),
    ];
    let mut two = one.clone();
    // It leads to bus 1 as well; and another leads to its own bus, which makes a loop that is not followed.
    two.extend([bridge(0x10, 0, 0x0101), bridge(0x20, 0, 0x0000), bridge(0x28, 3, 0x0303)]);
    let (one, two) = (Topology::new(one, Vec::new()), Topology::new(two, Vec::new()));
    let problems: Vec<Problem> = two.findings().iter().map(|finding| finding.problem).collect();
    assert!(problems.contains(&Problem::BusTaken { secondary: 1 }));
    assert!(problems.contains(&Problem::BusRange { secondary: 3, subordinate: 3 }));
    let names = ["0000:01:00.0", "0000:02:00.0"].map(|name| name.parse().unwrap());
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        assert!(policy.groups(&one).unsure.is_empty());
        assert_eq!(policy.groups(&two).unsure, names, "{}", policy.name());
    }
}
