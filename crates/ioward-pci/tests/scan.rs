//! From a bus to groups: number it, assign it, turn ACS on, read it.

mod common;

use common::{Config, Fabric};
use ioward_pci::{
    AcsBits, Bdf, ConfigAccess, Fact, PortType, Problem, Topology, caps, config,
    enable::enable_acs,
    enumerate::number_buses,
    groups::{Linux, Policy},
    regs,
};

const ALL: u16 = AcsBits::ISOLATION.0;

fn at(bus: u8, devfn: u8) -> Bdf {
    Bdf { segment: 0, bus, devfn }
}

fn machine() -> Fabric {
    let card = || Config::endpoint().express(0);
    let port = || Config::bridge().express(6).acs(ALL, 0);
    let switch = Config::bridge().express(5).with(0, port().with(0, card())).with(8, port().with(0, card()));
    Fabric::new([
        (0x08, Config::root_port().acs(ALL, 0).with(0, switch)),
        (0x10, Config::root_port().acs(ALL, 0).with(0, card().multifunction()).with(1, card())),
    ])
}

#[test]
fn acs_is_off_until_it_is_turned_on() {
    let fabric = machine();
    number_buses(&fabric, 0, 0, 255);
    let before = Topology::scan(&fabric, 0, 0, 255, &[0]);
    assert_eq!(before.findings(), []);
    assert_eq!(before.functions().len(), 9);
    assert_eq!(Linux.groups(&before).groups.len(), 2);

    let enabled = enable_acs(&fabric, &before);
    assert_eq!(enabled.len(), 4);
    assert!(enabled.iter().all(|one| one.on == AcsBits(ALL) && one.refused.is_empty()));
    let after = Topology::scan(&fabric, 0, 0, 255, &[]);
    let grouping = Linux.groups(&after);
    assert!(!grouping.together(at(3, 0), at(4, 0)));
    assert!(grouping.together(at(5, 0), at(5, 1)), "functions of a device without ACS stay together");
    assert!(grouping.unsure.is_empty());
}

#[test]
fn an_outside_port_blocks_translated_requests() {
    let bits = AcsBits(ALL) | AcsBits::TB | AcsBits::DT;
    let fabric = Fabric::new([(
        0x08,
        Config::root_port().acs(bits.0, AcsBits::DT.0).with(0, Config::endpoint().express(0)),
    )]);
    number_buses(&fabric, 0, 0, 255);
    let mut topology = Topology::scan(&fabric, 0, 0, 255, &[0]);
    topology.set_external_facing(at(0, 8));
    assert_eq!(enable_acs(&fabric, &topology)[0].on, AcsBits(ALL) | AcsBits::TB);
}

#[test]
fn a_sunrise_point_port_keeps_its_control_one_doubleword_on() {
    let mut port = Config::root_port();
    port.put(regs::ID, 0xa110_8086);
    let at_acs = port.extended(regs::EXT_ACS, 12);
    port.put(at_acs + 4, u32::from(ALL));
    port.writable.insert(at_acs + 8, u32::from(ALL));
    let fabric = Fabric::new([(0x08, port.with(0, Config::endpoint().express(0)))]);
    number_buses(&fabric, 0, 0, 255);
    let before = Topology::scan(&fabric, 0, 0, 255, &[0]);
    assert!(Linux.groups(&before).together(at(0, 8), at(1, 0)));
    assert_eq!(enable_acs(&fabric, &before)[0].on, AcsBits(ALL));
    assert_eq!(fabric.read32(at(0, 8), at_acs + 4) >> 16, 0);
    let after = Topology::scan(&fabric, 0, 0, 255, &[0]);
    assert!(!Linux.groups(&after).together(at(0, 8), at(1, 0)));
    assert!(Linux.groups(&after).unsure.is_empty(), "the word was read, so nothing is assumed");
}

#[test]
fn what_is_broken_is_not_turned_on() {
    let enabled = |id| {
        let mut port = Config::root_port().acs(ALL, 0);
        port.put(regs::ID, id);
        let fabric = Fabric::new([(0x08, port.with(0, Config::endpoint().express(0)))]);
        number_buses(&fabric, 0, 0, 255);
        enable_acs(&fabric, &Topology::scan(&fabric, 0, 0, 255, &[0]))[0]
    };
    let idt = enabled(0x80b5_111d);
    assert_eq!((idt.on, idt.refused), (AcsBits(ALL) & !AcsBits::SV, AcsBits::NONE));
    assert_eq!(enabled(0x80b6_111d).on, AcsBits(ALL));
}

#[test]
fn virtual_functions_are_read_though_they_have_no_vendor() {
    let mut physical = Config::endpoint().express(0).sriov(2, 1, 1, 0x1000);
    let sriov = caps::find_extended(&physical.bytes[..], regs::EXT_SRIOV).unwrap();
    physical.put(sriov + regs::SRIOV_CONTROL, 1);
    physical.put(sriov + regs::SRIOV_NUM, 2);
    physical.put(sriov + regs::SRIOV_DEVICE, 0x10ca_0000);
    let one = || {
        let mut one = Config::endpoint().express(0);
        one.put(regs::ID, u32::MAX);
        one
    };
    let port = Config::root_port().acs(ALL, ALL);
    let fabric = Fabric::new([(0x08, port.with(0, physical).with(1, one()).with(2, one()))]);
    number_buses(&fabric, 0, 0, 255);
    let topology = Topology::scan(&fabric, 0, 0, 255, &[0]);
    assert_eq!(topology.functions().len(), 4);
    let first = topology.find(at(1, 1)).unwrap();
    assert_eq!(topology.physical(first), topology.find(at(1, 0)));
    assert_eq!(topology.functions()[first].ids.map(|ids| (ids.vendor, ids.device)), Some((0x1234, 0x10ca)));
    assert!(!topology.is_multifunction(first));
}

#[test]
fn bridges_that_contradict_each_other_are_reported() {
    let fabric = machine();
    number_buses(&fabric, 0, 0, 255);
    // The second root port claims the first one's bus, and leads upwards in another try.
    for (buses, problem) in [
        (0x05_0100, Problem::BusTaken { secondary: 1 }),
        (0x00_0000, Problem::OrphanBus),
        (0x03_0500, Problem::BusRange { secondary: 5, subordinate: 3 }),
        (0x05_0501, Problem::WrongPrimary { primary: 1 }),
    ] {
        fabric.write32(at(0, 0x10), regs::BUSES, buses);
        let topology = Topology::scan(&fabric, 0, 0, 255, &[0]);
        let problems: Vec<_> = topology.findings().iter().map(|finding| finding.problem).collect();
        match problem {
            // What is below a bridge without numbers is not reached at all.
            Problem::OrphanBus => assert_eq!(problems, []),
            _ => assert!(problems.contains(&problem), "{problems:?} lacks {problem:?}"),
        }
        Linux.groups(&topology);
    }
}

#[test]
fn a_dump_of_64_bytes_is_read_as_far_as_it_goes() {
    let config = Config::root_port().acs(ALL, ALL);
    let mut findings = Vec::new();
    let function = config::read(&config.bytes[..64], at(0, 8), &mut findings).unwrap();
    assert_eq!((function.express, function.acs), (Fact::Unseen, Fact::Unseen));
    assert_eq!(findings.len(), 1);
    let whole = config::read(&config.bytes[..], at(0, 8), &mut findings).unwrap();
    assert_eq!(whole.port_type(), Some(PortType::RootPort));
    assert_eq!(whole.acs.present().and_then(|acs| acs.control), Some(AcsBits(ALL)));
    // The conventional part alone tells the type, and that ACS was not seen.
    let half = config::read(&config.bytes[..256], at(0, 8), &mut findings).unwrap();
    assert_eq!((half.port_type(), half.acs), (Some(PortType::RootPort), Fact::Unseen));
    let topology = Topology::new(vec![half], Vec::new());
    assert!(Linux.groups(&topology).unsure.is_empty() || topology.functions().len() == 1);
}
