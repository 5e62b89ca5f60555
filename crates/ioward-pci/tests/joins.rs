//! What the subsystem is told: requester IDs, groups, PASIDs.

mod common;

use common::build::*;
use ioward_pci::{
    AcsBits, Function, Topology,
    groups::{Fabric, Lack, Linux, Policy},
    joins::{Joins, PasidRefusal},
};

fn joins(topology: &Topology) -> Joins {
    Joins::of(topology, &Linux.groups(topology))
}

fn requesters(topology: &Topology, name: &str) -> Vec<u16> {
    let index = topology.find(at(name)).unwrap();
    topology.requesters(index).iter().map(|requester| requester.id.requester()).collect()
}

fn refusal(functions: Vec<Function>, name: &str) -> Option<PasidRefusal> {
    let topology = topology(functions);
    let joins = joins(&topology);
    let joined = &joins.functions[topology.find(at(name)).unwrap()];
    assert_eq!(joined.pasid_bits, 20);
    joined.pasid_refused
}

#[test]
fn a_bridge_to_conventional_pci_adds_its_secondary_bus() {
    let topology = topology([
        root_port("00:01.0", 1, 3).acs(ALL, ALL),
        to_conventional("01:00.0", 2, 3),
        plain("02:04.0"),
        conventional_bridge("02:05.0", 3, 3),
        plain("03:00.0"),
    ]);
    assert_eq!(requesters(&topology, "02:04.0"), [0x0220, 0x0200]);
    assert_eq!(requesters(&topology, "03:00.0"), [0x0300, 0x0228, 0x0200]);
    assert_eq!(requesters(&topology, "01:00.0"), [0x0100]);
}

#[test]
fn a_bridge_without_a_capability_stands_in_for_what_is_below() {
    let topology = topology([conventional_bridge("00:1e.0", 5, 5), plain("05:00.0")]);
    assert_eq!(requesters(&topology, "05:00.0"), [0x0500, 0x00f0]);
    // An ASMedia bridge hides its capability; below a port it is a bridge to conventional PCI all the same.
    let hidden = common::build::topology([
        root_port("00:01.0", 1, 2).acs(ALL, ALL),
        conventional_bridge("01:00.0", 2, 2).ids(0x1b21, 0x1080),
        plain("02:00.0"),
        plain("02:01.0"),
    ]);
    assert_eq!(requesters(&hidden, "02:01.0"), [0x0208, 0x0200]);
}

#[test]
fn phantoms_and_firmware_add_their_numbers() {
    let mut topology = topology([
        root_port("00:01.0", 1, 1).acs(ALL, ALL),
        endpoint("01:00.1").phantoms(1),
        endpoint("01:01.0").phantoms(3),
        plain("00:14.0"),
    ]);
    assert_eq!(requesters(&topology, "01:00.1"), [0x0101, 0x0105]);
    assert_eq!(requesters(&topology, "01:01.0"), [0x108, 0x109, 0x10a, 0x10b, 0x10c, 0x10d, 0x10e, 0x10f]);
    assert!(topology.add_firmware_alias(at("00:14.0"), 0xa4));
    assert!(!topology.add_firmware_alias(at("00:15.0"), 0xa4));
    assert_eq!(requesters(&topology, "00:14.0"), [0x00a0, 0x00a4]);
}

#[test]
fn firmware_aliases_join_groups_in_both_policies() {
    let functions = [plain("00:14.0"), plain("00:15.0")];
    let mut topology = topology(functions);
    assert!(!Linux.groups(&topology).together(at("00:14.0"), at("00:15.0")));
    topology.add_firmware_alias(at("00:14.0"), 0xa8);
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let grouping = policy.groups(&topology);
        assert!(grouping.together(at("00:14.0"), at("00:15.0")));
        let reason = &grouping.groups[0].reasons[0];
        assert!(!policy.groups(&topology.without(&reason.causes)).together(reason.member, reason.with));
    }
}

#[test]
fn what_a_vmd_controller_owns_speaks_as_the_controller() {
    let topology = topology([
        integrated("00:0e.0").ids(0x8086, 0x9a0b),
        root_port("10000:e0:06.0", 0xe1, 0xe1).acs(ALL, ALL),
        endpoint("10000:e1:00.0").pasid(20),
    ]);
    assert_eq!(requesters(&topology, "10000:e1:00.0"), [0x0070]);
    let joins = joins(&topology);
    assert_eq!(joins.functions[2].at, None);
    assert_eq!(joins.functions[2].group, joins.functions[0].group);
    assert!(matches!(joins.functions[2].pasid_refused, Some(PasidRefusal::SharedRequester { .. })));
    assert_eq!(joins.companions(0).collect::<Vec<_>>(), [1, 2]);
}

fn path(root: AcsBits, down: AcsBits) -> Vec<Function> {
    vec![
        root_port("00:01.0", 1, 3).acs(ALL, root),
        upstream("01:00.0", 2, 3),
        downstream("02:00.0", 3, 3).acs(ALL, down),
        endpoint("03:00.0").pasid(20),
    ]
}

#[test]
fn rule_08_pasids_need_redirection_on_the_whole_path() {
    assert_eq!(refusal(path(ALL, ALL), "03:00.0"), None);
    let not = |bits: AcsBits| AcsBits(ALL.0 & !bits.0);
    for (bits, root, down, port) in [
        (AcsBits::RR, ALL, not(AcsBits::RR), "02:00.0"),
        (AcsBits::UF, ALL, not(AcsBits::UF), "02:00.0"),
        (AcsBits::RR, not(AcsBits::RR), ALL, "00:01.0"),
    ] {
        assert_eq!(
            refusal(path(root, down), "03:00.0"),
            Some(PasidRefusal::NotRedirected { function: at(port), lack: Lack::NotSet(bits) })
        );
    }
    // Completions may go straight to a peer: they carry no address.
    assert_eq!(refusal(path(ALL, not(AcsBits::CR)), "03:00.0"), None);
    let mut bare = path(ALL, ALL);
    bare[2] = downstream("02:00.0", 3, 3);
    assert_eq!(
        refusal(bare, "03:00.0"),
        Some(PasidRefusal::NotRedirected { function: at("02:00.0"), lack: Lack::NoCapability })
    );
}

#[test]
fn rule_08_pasids_need_functions_that_redirect() {
    let mut several = path(ALL, ALL);
    several[3] = endpoint("03:00.0").pasid(20).multi();
    several.push(endpoint("03:00.1"));
    assert!(matches!(refusal(several, "03:00.0"), Some(PasidRefusal::NotRedirected { .. })));
    // An endpoint integrated into an Intel root complex has Intel's word.
    let intel = vec![integrated("00:02.0").ids(0x8086, 0x9a49).pasid(20).multi()];
    assert_eq!(refusal(intel, "00:02.0"), None);
    let other = vec![integrated("00:02.0").ids(0x1234, 0x9a49).pasid(20).multi()];
    assert!(matches!(refusal(other, "00:02.0"), Some(PasidRefusal::NotRedirected { .. })));
}

#[test]
fn rule_08_pasids_need_a_requester_id_of_ones_own() {
    let shared = vec![
        root_port("00:01.0", 1, 1).acs(ALL, ALL),
        endpoint("01:00.0").ids(0x1b4b, 0x9230).multi().acs(ALL, ALL),
        endpoint("01:00.1").acs(ALL, ALL).pasid(20),
    ];
    assert_eq!(
        refusal(shared, "01:00.1"),
        Some(PasidRefusal::SharedRequester { with: at("01:00.0"), requester: at("01:00.1") })
    );
}

#[test]
fn rule_08_what_nobody_could_read_is_refused() {
    let mut unseen = path(ALL, ALL);
    unseen[0].acs = ioward_pci::Fact::Unseen;
    assert_eq!(refusal(unseen, "03:00.0"), Some(PasidRefusal::Unseen { function: at("00:01.0") }));
}

#[test]
fn what_is_below_an_outside_port_is_not_trusted() {
    let mut topology = topology(path(ALL, ALL));
    assert!(joins(&topology).functions.iter().all(|joined| joined.trusted));
    assert!(topology.set_external_facing(at("02:00.0")));
    let trusted: Vec<bool> = joins(&topology).functions.iter().map(|joined| joined.trusted).collect();
    assert_eq!(trusted, [true, true, true, false]);
}
