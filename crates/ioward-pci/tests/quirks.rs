//! Every row of both tables, on functions made by hand: what it does is seen in groups and requester IDs, and is gone
//! with other IDs.

mod common;

use common::build::*;
use ioward_pci::{
    AcsBits, Bdf, Fact, Function, PortType, Topology,
    groups::{Fabric, Linux, Policy},
    quirks::{ACS, ALIASES, AcsQuirk, AliasQuirk, Aliases, Provides, When},
};

/// A vendor that no row has.
const NOBODY: u16 = 0x1234;

/// Every listed device, or, of a row for all of a vendor's, some that no other row lists.
fn devices(row: &AcsQuirk) -> Vec<u16> {
    match row.devices {
        [(0, 0xffff)] => vec![0xf00d],
        ranges => ranges.iter().flat_map(|&(first, last)| [first, last, first.midpoint(last)]).collect(),
    }
}

/// Two functions of one device to which a row applies if the vendor is the row's, each with an endpoint below if they are
/// ports, and two of those names that the row decides about.
fn pair(row: &AcsQuirk, vendor: u16, device: u16) -> (Topology, Bdf, Bdf) {
    let with = |function: Function| function.ids(vendor, device);
    let revoked = row.provides == Provides::Bits(AcsBits::NONE);
    // A row that revokes is seen where the registers say otherwise.
    let acs = |function: Function| if revoked { function.acs(ALL, ALL) } else { function };
    let (mut functions, pair) = match row.when {
        When::Always if row.what.contains("port") => (root_ports(), ("00:01.0", "00:01.1")),
        When::Always => {
            let functions = vec![
                root_port("00:01.0", 1, 1).acs(ALL, ALL),
                acs(endpoint("01:00.0").multi()),
                acs(endpoint("01:00.1")),
            ];
            (functions, ("01:00.0", "01:00.1"))
        }
        When::Integrated => {
            (vec![integrated("00:02.0").multi(), integrated("00:02.1")], ("00:02.0", "00:02.1"))
        }
        When::SouthBridge => {
            let mut iommu = plain("00:00.2").ids(0x1022, 0x1451);
            iommu.class = Some(0x0806);
            let functions = vec![iommu, plain("00:14.0").multi(), plain("00:14.2")];
            (functions, ("00:14.0", "00:14.2"))
        }
        When::RootPort | When::Port => (root_ports(), ("00:01.0", "00:01.1")),
        When::RootPortWithAcs => {
            let ports = root_ports().into_iter().map(|port| match port.port_type() {
                Some(PortType::RootPort) => {
                    let mut port = port.acs(ALL, AcsBits::NONE);
                    if let Fact::Present(acs) = &mut port.acs {
                        acs.next_word = Some(ALL);
                    }
                    port
                }
                _ => port,
            });
            (ports.collect(), ("00:01.0", "00:01.1"))
        }
    };
    if let Provides::Granted(bits) = row.provides {
        functions = functions
            .into_iter()
            .map(|port| if port.header.is_bridge() { port.acs(ALL, ALL & !bits) } else { port })
            .collect();
    }
    let (one, other) = (at(pair.0), at(pair.1));
    let functions = functions.into_iter().map(|function| match function.at == one || function.at == other {
        true if revoked => with(function.acs(ALL, ALL)),
        true => with(function),
        false => function,
    });
    (Topology::new(functions.collect(), Vec::new()), one, other)
}

fn root_ports() -> Vec<Function> {
    vec![
        root_port("00:01.0", 1, 1).multi(),
        root_port("00:01.1", 2, 2),
        endpoint("01:00.0"),
        endpoint("02:00.0"),
    ]
}

#[test]
fn every_acs_row_decides_what_its_devices_are() {
    let mut rows = 0;
    for row in ACS {
        for device in devices(row) {
            let revokes = row.provides == Provides::Bits(AcsBits::NONE);
            // Of a range, some may be another row's.
            let (topology, one, other) = pair(row, row.vendor, device);
            let applied = topology.acs_quirk(topology.find(one).unwrap()).map(|(row, _)| row);
            if applied.is_none_or(|found| !std::ptr::eq(found, row)) {
                assert!(row.devices.len() > 1 || row.devices == [(0, 0xffff)], "{} {device:#x}", row.what);
                continue;
            }
            rows += 1;
            let together = Linux.groups(&topology).together(one, other);
            assert_eq!(together, revokes, "{} {device:#x}", row.what);
            // Anybody else's device is what its registers say.
            let (topology, one, other) = pair(row, NOBODY, device);
            let together = Linux.groups(&topology).together(one, other);
            assert_eq!(together, !revokes, "{} {device:#x} of nobody", row.what);
        }
    }
    assert!(rows > 200, "{rows}");
}

#[test]
fn every_acs_row_needs_its_setting() {
    for row in ACS {
        let device = row.devices[0].0;
        let applies = |function: Function| {
            let topology = topology([function.ids(row.vendor, device)]);
            topology.acs_quirk(0).is_some_and(|(found, _)| std::ptr::eq(found, row))
        };
        match row.when {
            When::Always => {}
            // No AMD IOMMU is there.
            When::SouthBridge => assert!(!applies(plain("00:14.0").multi())),
            When::Integrated => assert!(!applies(endpoint("00:02.0").multi())),
            When::RootPort => assert!(!applies(downstream("00:02.0", 3, 3))),
            When::Port => assert!(!applies(upstream("00:02.0", 3, 3))),
            When::RootPortWithAcs => assert!(!applies(root_port("00:02.0", 3, 3))),
        }
    }
}

#[test]
fn what_linux_takes_for_granted_the_fabric_does_not() {
    let functions = |vendor| {
        let not_sv = ALL & !AcsBits::SV;
        [
            root_port("00:01.0", 1, 4).acs(ALL, ALL),
            upstream("01:00.0", 2, 4),
            downstream("02:00.0", 3, 3).acs(ALL, not_sv).ids(vendor, 0x80b5),
            downstream("02:01.0", 4, 4).acs(ALL, ALL),
            endpoint("03:00.0"),
            endpoint("04:00.0"),
        ]
    };
    let (idt, other) = (topology(functions(0x111d)), topology(functions(NOBODY)));
    assert!(!Linux.groups(&idt).together(at("02:00.0"), at("03:00.0")));
    assert!(Linux.groups(&other).together(at("02:00.0"), at("03:00.0")));
    for topology in [&idt, &other] {
        let fabric = Fabric::default().groups(topology);
        assert!(fabric.together(at("03:00.0"), at("04:00.0")));
    }
    let fabric = Fabric::default().groups(&idt);
    let text = fabric.group_of(at("03:00.0")).unwrap().reasons[0].to_string();
    assert!(text.contains("IDT switch whose source validation is broken"), "{text}");
}

/// A device of a row at 03:02.3, and what it needs besides.
fn device(row: &AliasQuirk, vendor: u16, id: u16) -> Function {
    let mut function = plain("03:02.3").ids(vendor, id);
    function.class = row.class;
    function.subsystem =
        row.subsystems.first().map(|&(vendor, device)| ioward_pci::function::Ids { vendor, device });
    function
}

/// A conventional bridge, so that device numbers may be any, and functions of its bus.
fn bus(functions: impl IntoIterator<Item = Function>) -> Topology {
    let bridge = conventional_bridge("00:1e.0", 3, 4);
    Topology::new([bridge].into_iter().chain(functions).collect(), Vec::new())
}

fn own(topology: &Topology) -> Vec<u8> {
    let index = topology.find(at("03:02.3")).unwrap();
    let all = topology.requesters(index);
    all.iter().map(|requester| requester.id).filter(|id| id.bus == 3).map(|id| id.devfn).collect()
}

#[test]
fn every_alias_row_adds_its_numbers() {
    for row in ALIASES {
        for &(first, last) in row.devices {
            for id in [first, last] {
                let (theirs, nobodys) = (bus([device(row, row.vendor, id)]), bus([device(row, NOBODY, id)]));
                let index = theirs.find(at("03:02.3")).unwrap();
                let (found, _) = theirs.alias_quirk(index).expect("its own device");
                assert!(std::ptr::eq(found, row), "{id:#x} of {} finds {}", row.what, found.what);
                // Its own number, and that of the bridge is on another bus.
                assert_eq!(own(&nobodys), [0x13], "{}", row.what);
                let expected: Vec<u8> = match row.aliases {
                    Aliases::Function(function) => vec![0x13, 0x10 | function],
                    Aliases::Fixed(fixed) => [&[0x13], fixed].concat(),
                    Aliases::EveryDevice => {
                        let all = (0..=255u8).filter(|devfn| devfn & 7 < 5 && *devfn != 0x13);
                        [0x13].into_iter().chain(all).collect()
                    }
                    Aliases::WholeBus => {
                        [0x13].into_iter().chain((0..=255).filter(|&devfn| devfn != 0x13)).collect()
                    }
                    _ => vec![0x13],
                };
                assert_eq!(own(&theirs), expected, "{}", row.what);
            }
        }
        if let Some(&(_, last)) = row.devices.last() {
            let after = bus([device(row, row.vendor, last.wrapping_add(1))]);
            let found = after.alias_quirk(after.find(at("03:02.3")).unwrap());
            assert!(found.is_none_or(|(found, _)| !std::ptr::eq(found, row)), "{}", row.what);
        }
    }
}

#[test]
fn aliases_of_a_bus_join_whoever_has_the_number() {
    let below = |vendor| {
        [
            root_port("00:01.0", 1, 1).acs(ALL, ALL),
            endpoint("01:00.0").ids(vendor, 0x87b0).multi().acs(ALL, ALL),
            endpoint("01:00.5").acs(ALL, ALL),
        ]
    };
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let together =
            |vendor| policy.groups(&topology(below(vendor))).together(at("01:00.0"), at("01:00.5"));
        assert!(together(0x10b5) && !together(NOBODY), "{}", policy.name());
    }
}

#[test]
fn numbers_that_nobody_could_read_leave_the_bus_unsure() {
    let machine = |class| {
        let mut bridge = endpoint("01:00.0").ids(0x11f8, 0x8534).multi().acs(ALL, ALL);
        bridge.class = Some(class);
        let functions = vec![
            root_port("00:01.0", 1, 1).acs(ALL, ALL),
            bridge,
            endpoint("01:00.1").acs(ALL, ALL),
            root_port("00:02.0", 2, 2).acs(ALL, ALL),
            endpoint("02:00.0"),
        ];
        Topology::new(functions, Vec::new())
    };
    let topology = machine(0x0680);
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        assert_eq!(policy.groups(&topology).unsure, [at("01:00.0"), at("01:00.1")], "{}", policy.name());
    }
    assert!(topology.findings()[0].to_string().contains("its own registers hold"));
    // The switch's management function has the same IDs.
    assert!(Linux.groups(&machine(0x0580)).unsure.is_empty());
}

#[test]
fn bridges_hand_requests_on_as_their_rows_say() {
    let requesters = |kind: Option<PortType>, vendor, id| {
        let mut bridge = conventional_bridge("01:00.0", 2, 2).ids(vendor, id);
        if let Some(kind) = kind {
            bridge.express = Fact::Present(ioward_pci::function::Express::of(kind));
        }
        let machine = Topology::new(
            vec![root_port("00:01.0", 1, 2).acs(ALL, ALL), bridge, plain("02:04.0")],
            Vec::new(),
        );
        let index = machine.find(at("02:04.0")).unwrap();
        machine.requesters(index).iter().map(|r| r.id.requester()).collect::<Vec<_>>()
    };
    for row in ALIASES {
        for &(first, _) in row.devices {
            let found = requesters(None, row.vendor, first);
            match row.aliases {
                Aliases::BridgeToConventional => assert_eq!(found, [0x0220, 0x0200], "{}", row.what),
                Aliases::Transparent => {
                    assert_eq!(found, [0x0220], "{}", row.what);
                    let express = requesters(Some(PortType::ToConventional), row.vendor, first);
                    assert_eq!(express, [0x0220], "{}", row.what);
                }
                // Nothing above such a bridge adds an alias, and it is none itself.
                Aliases::TranslatesBelow => assert_eq!(found, [0x0220], "{}", row.what),
                // A bridge without a capability stands in for what is below.
                _ if row.class.is_none() && row.subsystems.is_empty() => {
                    assert_eq!(found, [0x0220, 0x0100], "{}", row.what);
                }
                _ => {}
            }
        }
    }
    assert_eq!(requesters(Some(PortType::FromConventional), NOBODY, 1), [0x0220, 0x0100]);
    assert_eq!(requesters(Some(PortType::ToConventional), NOBODY, 1), [0x0220, 0x0200]);
}
