//! Machines with something changed.

mod common;

use common::build::*;
use ioward_pci::{
    AcsBits, Bdf, Edit, EditError, Fact, Function, Topology,
    function::Header,
    groups::{Fabric, Linux, Policy},
};

fn set(function: &str, set: AcsBits, clear: AcsBits) -> Edit {
    Edit::SetAcs { function: at(function), set, clear }
}

fn shift(device: &str, below: &str) -> Edit {
    Edit::Move { device: at(device), below: at(below) }
}

fn remove(device: &str) -> Edit {
    Edit::Remove { device: at(device) }
}

fn names(topology: &Topology) -> Vec<String> {
    topology.functions().iter().map(|f| f.at.to_string()[5..].to_string()).collect()
}

fn buses(topology: &Topology, bridge: &str) -> (u8, u8) {
    match topology.functions()[topology.find(at(bridge)).unwrap()].header {
        Header::Bridge { secondary, subordinate, .. } => (secondary, subordinate),
        _ => panic!("{bridge} is no bridge"),
    }
}

/// A port with a switch, whose second port is empty, an empty port with room for nine buses, and one with a card.
fn machine() -> Topology {
    topology([
        root_port("00:01.0", 1, 4).acs(ALL, AcsBits::SV),
        root_port("00:02.0", 16, 24).acs(ALL, ALL),
        root_port("00:03.0", 32, 32).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(ALL, AcsBits::NONE),
        downstream("02:01.0", 4, 4),
        endpoint("03:00.0").multi(),
        endpoint("03:00.1"),
        endpoint("20:00.0").sriov(2, 1, 1),
        endpoint("20:00.1"),
        endpoint("20:00.2"),
    ])
}

#[test]
fn acs_bits_are_set_and_cleared() {
    let before = machine();
    let edited = before
        .edit(&[set("02:00.0", ALL, AcsBits::NONE), set("00:01.0", ALL & !AcsBits::SV, AcsBits::SV)])
        .unwrap();
    let control = |name: &str| {
        let index = edited.topology.find(at(name)).unwrap();
        edited.topology.functions()[index].acs.present().unwrap().control.unwrap()
    };
    assert_eq!(control("02:00.0"), ALL);
    assert_eq!(control("00:01.0"), ALL & !AcsBits::SV);
    assert_eq!(edited.renamed().count() + edited.removed(&before).count(), 0);
    // The machine that was edited is as it was.
    assert_eq!(before.functions()[4].acs.present().unwrap().control, Some(AcsBits::NONE));
}

#[test]
fn bits_that_are_not_there_are_refused() {
    let before = machine();
    let error = |edit| before.edit(&[edit]).unwrap_err();
    assert_eq!(
        error(set("02:00.0", ALL | AcsBits::DT, AcsBits::NONE)),
        EditError::NotSupported { function: at("02:00.0"), bits: AcsBits::DT }
    );
    assert_eq!(error(set("02:01.0", ALL, AcsBits::NONE)), EditError::NoAcs { function: at("02:01.0") });
    assert_eq!(
        error(set("20:00.1", ALL, AcsBits::NONE)),
        EditError::Virtual { function: at("20:00.1"), physical: at("20:00.0") }
    );
    assert_eq!(
        error(set("02:00.0", ALL, AcsBits::RR)),
        EditError::SetAndCleared { function: at("02:00.0"), bits: AcsBits::RR }
    );
    assert_eq!(
        error(set("02:02.0", ALL, AcsBits::NONE)),
        EditError::NoSuchFunction { function: at("02:02.0") }
    );
    // Enhanced bits are offered by one bit of the capability.
    let enhanced = topology([root_port("00:01.0", 1, 1).acs(ALL | AcsBits::ENHANCED, AcsBits::NONE)]);
    let edited = enhanced.edit(&[set("00:01.0", AcsBits::UNCLAIMED | AcsBits::DSP_MEMORY, AcsBits::NONE)]);
    let acs = *edited.unwrap().topology.functions()[0].acs.present().unwrap();
    assert_eq!(acs.control, Some(AcsBits(0x1300)));
    assert_eq!(
        error(set("00:01.0", AcsBits::IB, AcsBits::NONE)),
        EditError::NotSupported { function: at("00:01.0"), bits: AcsBits::IB }
    );
}

#[test]
fn what_nobody_could_read_cannot_be_set() {
    let mut port = root_port("00:01.0", 1, 1);
    port.acs = Fact::Unseen;
    let unseen = topology([port.clone()]).edit(&[set("00:01.0", ALL, AcsBits::NONE)]);
    assert_eq!(unseen.unwrap_err(), EditError::AcsUnseen { function: at("00:01.0") });
    port.acs = Fact::Present(Default::default());
    let bare = topology([port]).edit(&[set("00:01.0", ALL, AcsBits::NONE)]);
    assert_eq!(bare.unwrap_err(), EditError::AcsUnseen { function: at("00:01.0") });
}

#[test]
fn ports_of_intels_100_series_keep_their_bits_in_the_next_word() {
    let mut port = root_port("00:1c.0", 1, 1).ids(0x8086, 0xa110).acs(ALL, AcsBits::NONE);
    if let Fact::Present(acs) = &mut port.acs {
        acs.next_word = Some(AcsBits::NONE);
    }
    let before = topology([port, root_port("00:1c.1", 2, 2), endpoint("01:00.0"), endpoint("02:00.0")]);
    assert!(Linux.groups(&before).together(at("00:1c.0"), at("01:00.0")));
    let after = before.edit(&[set("00:1c.0", ALL, AcsBits::NONE)]).unwrap().topology;
    let acs = after.functions()[0].acs.present().unwrap();
    assert_eq!((acs.control, acs.next_word), (Some(AcsBits::NONE), Some(ALL)));
    assert!(!Linux.groups(&after).together(at("00:1c.0"), at("01:00.0")));
}

#[test]
fn a_card_goes_with_its_functions_and_gets_a_new_name() {
    let mut functions = machine().functions().to_vec();
    functions.iter_mut().zip(0..).for_each(|(function, group)| function.linux_group = Some(group));
    let before = topology(functions);
    let edited = before.edit(&[shift("03:00.1", "00:02.0")]).unwrap();
    assert_eq!(edited.now(at("03:00.0")), Some(at("10:00.0")));
    assert_eq!(edited.now(at("03:00.1")), Some(at("10:00.1")));
    assert_eq!(edited.before(at("10:00.1")), Some(at("03:00.1")));
    assert_eq!(edited.now(at("03:00.2")), None);
    assert_eq!(edited.renamed().count(), 2);
    assert_eq!(edited.topology.findings(), []);
    // What Linux said of the card where it was says nothing of it now.
    let told = |at: Bdf| edited.topology.functions()[edited.topology.find(at).unwrap()].linux_group;
    assert_eq!((told(at("10:00.0")), told(at("02:00.0"))), (None, Some(4)));
    let linux = Linux.groups(&edited.topology);
    assert!(!linux.together(at("10:00.0"), at("02:00.0")));
    // The port that it left is still there, with its numbers.
    assert_eq!(buses(&edited.topology, "02:00.0"), (3, 3));
    assert_eq!(buses(&edited.topology, "00:02.0"), (16, 24));
}

#[test]
fn a_switch_goes_with_everything_below_it() {
    let before = machine();
    let edited = before.edit(&[shift("01:00.0", "00:02.0")]).unwrap();
    let topology = &edited.topology;
    assert_eq!(edited.now(at("01:00.0")), Some(at("10:00.0")));
    assert_eq!(edited.now(at("02:01.0")), Some(at("11:01.0")));
    assert_eq!(edited.now(at("03:00.1")), Some(at("12:00.1")));
    assert_eq!(buses(topology, "10:00.0"), (17, 19));
    assert_eq!(buses(topology, "11:00.0"), (18, 18));
    assert_eq!(buses(topology, "11:01.0"), (19, 19));
    assert_eq!(topology.findings(), []);
    let index = topology.find(at("12:00.0")).unwrap();
    let path: Vec<Bdf> = topology.path(index).map(|bridge| topology.functions()[bridge].at).collect();
    assert_eq!(path, [at("11:00.0"), at("10:00.0"), at("00:02.0")]);
}

#[test]
fn virtual_functions_keep_their_distance() {
    let edited = machine().edit(&[shift("20:00.0", "00:02.0")]).unwrap();
    assert_eq!(edited.now(at("20:00.2")), Some(at("10:00.2")));
    let index = edited.topology.find(at("10:00.2")).unwrap();
    assert_eq!(edited.topology.physical(index), edited.topology.find(at("10:00.0")));
    // A bus that only virtual functions use needs a number of its own.
    let far = topology([
        root_port("00:01.0", 1, 2),
        root_port("00:02.0", 5, 5),
        root_port("00:03.0", 6, 6),
        endpoint("01:00.0").sriov(2, 0x100, 1),
        endpoint("02:00.0"),
        endpoint("02:00.1"),
        endpoint("06:00.0"),
    ]);
    let edited = far.edit(&[shift("01:00.0", "00:02.0")]).unwrap();
    assert_eq!(edited.now(at("01:00.0")), Some(at("02:00.0")));
    assert_eq!(edited.now(at("02:00.1")), Some(at("03:00.1")));
    assert_eq!(edited.now(at("06:00.0")), Some(at("04:00.0")));
    assert_eq!(buses(&edited.topology, "00:01.0"), (1, 1));
    assert_eq!(buses(&edited.topology, "00:02.0"), (2, 3));
    assert_eq!(buses(&edited.topology, "00:03.0"), (4, 4));
    assert_eq!(edited.topology.findings(), []);
}

#[test]
fn where_a_port_has_no_room_the_buses_are_numbered_again() {
    // 00:03.0 has one bus; its card out, the switch needs four.
    let edited = machine().edit(&[remove("20:00.0"), shift("01:00.0", "00:03.0")]).unwrap();
    let topology = &edited.topology;
    assert_eq!(
        names(topology),
        ["00:01.0", "00:02.0", "00:03.0", "03:00.0", "04:00.0", "04:01.0", "05:00.0", "05:00.1"]
    );
    assert_eq!(buses(topology, "00:01.0"), (1, 1));
    assert_eq!(buses(topology, "00:02.0"), (2, 2));
    assert_eq!(buses(topology, "00:03.0"), (3, 6));
    assert_eq!(edited.now(at("03:00.1")), Some(at("05:00.1")));
    assert_eq!(edited.now(at("20:00.1")), None);
    assert_eq!(edited.removed(&machine()).count(), 3);
    assert_eq!(topology.findings(), []);
}

#[test]
fn edits_of_a_list_use_the_old_names() {
    let edits =
        [shift("03:00.0", "00:02.0"), shift("20:00.0", "02:00.0"), set("02:00.0", ALL, AcsBits::NONE)];
    let edited = machine().edit(&edits).unwrap();
    assert_eq!(edited.now(at("03:00.0")), Some(at("10:00.0")));
    assert_eq!(edited.now(at("20:00.2")), Some(at("03:00.2")));
    // There and back again: the old machine, but for what Linux said of it.
    let back = machine().edit(&[shift("03:00.0", "00:02.0"), shift("03:00.0", "02:00.0")]).unwrap();
    assert_eq!(back.topology.functions(), machine().functions());
    let gone = machine().edit(&[remove("03:00.1"), shift("03:00.0", "00:02.0")]);
    assert_eq!(gone.unwrap_err(), EditError::TakenAway { function: at("03:00.0") });
    let after = machine().edit(&[shift("01:00.0", "00:02.0"), shift("20:00.0", "02:00.0")]);
    assert_eq!(after.unwrap_err(), EditError::Occupied { port: at("02:00.0"), by: at("03:00.0") });
}

#[test]
fn what_does_not_fit_is_refused() {
    let before = topology([
        plain("00:00.0"),
        root_port("00:01.0", 1, 4),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3),
        downstream("02:01.0", 4, 4),
        endpoint("03:00.0"),
        root_port("00:02.0", 5, 6),
        to_conventional("05:00.0", 6, 6),
        plain("06:00.0"),
        plain("06:01.0"),
        conventional_bridge("00:1e.0", 7, 7),
        plain("07:01.0"),
        root_port("00:1c.0", 8, 8),
    ]);
    let error = |device: &str, below: &str| before.edit(&[shift(device, below)]).unwrap_err();
    let (device, function) = (at("03:00.0"), at("00:01.0"));
    assert_eq!(error("00:01.0", "00:1c.0"), EditError::InRootComplex { function });
    assert_eq!(error("02:01.0", "00:1c.0"), EditError::InsideSwitch { function: at("02:01.0") });
    assert_eq!(error("03:00.0", "00:00.0"), EditError::NotABridge { function: at("00:00.0") });
    assert_eq!(error("03:00.0", "01:00.0"), EditError::NotASlot { function: at("01:00.0") });
    let below = EditError::BelowItself { device: at("01:00.0"), port: at("02:01.0") };
    assert_eq!(error("01:00.0", "02:01.0"), below);
    assert_eq!(error("03:00.0", "00:02.0"), EditError::Occupied { port: at("00:02.0"), by: at("05:00.0") });
    assert_eq!(error("03:00.0", "00:1e.0"), EditError::DoesNotFit { device, bridge: at("00:1e.0") });
    let bridge = at("00:1c.0");
    assert_eq!(error("06:01.0", "00:1c.0"), EditError::DoesNotFit { device: at("06:01.0"), bridge });
    // On a conventional bus the device number stays if it is free.
    let edited = before.edit(&[shift("06:00.0", "00:1e.0"), shift("06:01.0", "00:1e.0")]).unwrap();
    assert_eq!(edited.now(at("06:00.0")), Some(at("07:00.0")));
    assert_eq!(edited.now(at("06:01.0")), Some(at("07:02.0")));
    let mut full = vec![conventional_bridge("00:1e.0", 7, 7), conventional_bridge("00:1f.0", 8, 8)];
    full.extend((0..32).map(|device| plain(&format!("07:{device:02x}.0"))));
    full.push(plain("08:00.0"));
    let full = topology(full).edit(&[shift("08:00.0", "00:1e.0")]).unwrap_err();
    assert_eq!(full, EditError::NoDeviceNumber { bridge: at("00:1e.0") });
}

#[test]
fn bus_numbers_end_at_the_next_root_bus() {
    // Root bus 00 has four numbers, all in use.
    let functions = [
        root_port("00:01.0", 1, 1),
        root_port("00:02.0", 2, 2),
        root_port("00:03.0", 3, 3),
        root_port("04:01.0", 5, 8),
        upstream("05:00.0", 6, 8),
        downstream("06:00.0", 7, 7),
        endpoint("07:00.0"),
    ];
    let before = topology(functions.clone());
    let error = before.edit(&[shift("05:00.0", "00:03.0")]).unwrap_err();
    assert_eq!(error, EditError::NoBusRoom { root: at("00:00.0").on(), room: 4, needed: 6 });
    let fits = before.edit(&[shift("07:00.0", "00:03.0")]).unwrap();
    assert_eq!(fits.now(at("07:00.0")), Some(at("03:00.0")));
    // Another segment's root buses do not matter.
    let mut other = functions.to_vec();
    other[3..].iter_mut().for_each(|function| function.at.segment = 1);
    let edited =
        topology(other).edit(&[Edit::Move { device: "0001:05:00.0".parse().unwrap(), below: at("00:03.0") }]);
    assert_eq!(edited.unwrap().now("0001:07:00.0".parse().unwrap()), Some(at("05:00.0")));
}

#[test]
fn bridges_that_contradict_each_other_take_nothing() {
    let functions = vec![
        root_port("00:01.0", 1, 1),
        root_port("00:02.0", 1, 1),
        root_port("00:03.0", 2, 3),
        endpoint("01:00.0"),
        endpoint("02:00.0"),
    ];
    let mut unseen = root_port("00:04.0", 0, 0);
    unseen.header = Header::BridgeUnseen;
    let mut unnumbered = root_port("00:05.0", 0, 0);
    unnumbered.acs = Fact::Unseen;
    let mut all: Vec<Function> = functions;
    all.extend([unseen, unnumbered]);
    let before = Topology::new(all, Vec::new());
    let found = before.findings().len();
    for port in ["00:02.0", "00:04.0"] {
        let error = before.edit(&[shift("02:00.0", port)]).unwrap_err();
        assert_eq!(error, EditError::BusesUnknown { bridge: at(port) });
    }
    // A port without numbers would get some, but then so would the one that contradicts.
    let error = before.edit(&[shift("02:00.0", "00:05.0")]).unwrap_err();
    assert_eq!(error, EditError::BusesUnknown { bridge: at("00:02.0") });
    // What is wrong is said once, however often the machine is edited.
    let removed = before.edit(&[remove("02:00.0")]).unwrap().topology;
    assert_eq!(removed.findings().len(), found);
    let mended = before.edit(&[remove("00:02.0"), shift("02:00.0", "00:05.0")]).unwrap();
    assert_eq!(mended.now(at("02:00.0")), Some(at("03:00.0")));
    assert_eq!(mended.topology.findings(), []);
}

#[test]
fn what_is_removed_takes_along_what_depends_on_it() {
    let before = machine();
    let after = before.edit(&[remove("00:01.0")]).unwrap().topology;
    assert_eq!(names(&after), ["00:02.0", "00:03.0", "20:00.0", "20:00.1", "20:00.2"]);
    let after = before.edit(&[remove("02:00.0")]).unwrap().topology;
    assert!(after.find(at("02:01.0")).is_some() && after.find(at("03:00.1")).is_none());
    let after = before.edit(&[remove("03:00.1")]).unwrap().topology;
    assert!(after.find(at("03:00.0")).is_none() && after.find(at("02:00.0")).is_some());
}

#[test]
fn what_firmware_said_stays_with_those_that_stay() {
    let mut before = machine();
    before.add_firmware_alias(at("20:00.0"), 0x48);
    before.add_firmware_alias(at("03:00.0"), 0x50);
    before.set_external_facing(at("00:02.0"));
    let edited = before.edit(&[shift("03:00.0", "00:02.0")]).unwrap().topology;
    let aliases = |name: &str| edited.firmware_aliases(edited.find(at(name)).unwrap()).to_vec();
    assert_eq!(aliases("20:00.0"), [0x48]);
    assert_eq!(aliases("10:00.0"), [0u8; 0]);
    assert!(edited.is_untrusted(edited.find(at("10:00.0")).unwrap()));
}

#[test]
fn a_counterfactual_can_be_edited() {
    let functions = [
        root_port("00:01.0", 1, 2).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(ALL, AcsBits::NONE),
        downstream("02:01.0", 4, 4).acs(ALL, ALL),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
    ];
    let before = Topology::new(functions.to_vec(), Vec::new());
    let policy = Fabric::default();
    let grouping = policy.groups(&before);
    assert!(grouping.together(at("03:00.0"), at("04:00.0")));
    let causes = grouping.group_of(at("03:00.0")).unwrap().reasons.iter().flat_map(|r| r.causes.clone());
    let without = before.without(&causes.collect::<Vec<_>>());
    let edited = without.edit(&[set("02:01.0", AcsBits::NONE, AcsBits::CR)]).unwrap();
    assert!(!policy.groups(&edited.topology).together(at("03:00.0"), at("04:00.0")));
}

#[test]
fn every_error_has_words_of_its_own() {
    let (function, device, port) = (at("00:01.0"), at("03:00.0"), at("00:02.0"));
    let errors = [
        EditError::NoSuchFunction { function },
        EditError::TakenAway { function },
        EditError::NoAcs { function },
        EditError::AcsUnseen { function },
        EditError::NotSupported { function, bits: AcsBits::DT },
        EditError::SetAndCleared { function, bits: AcsBits::DT },
        EditError::Virtual { function, physical: device },
        EditError::InRootComplex { function },
        EditError::InsideSwitch { function },
        EditError::NotABridge { function },
        EditError::NotASlot { function },
        EditError::BelowItself { device: function, port },
        EditError::Occupied { port: function, by: device },
        EditError::DoesNotFit { device: function, bridge: port },
        EditError::NoDeviceNumber { bridge: function },
        EditError::NoBusRoom { root: function.on(), room: 4, needed: 6 },
        EditError::BusesUnknown { bridge: function },
    ];
    let words: std::collections::BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), errors.len());
    assert!(words.iter().all(|words| words.contains("0000:00")));
    assert_eq!(
        shift("03:00.0", "00:02.0").to_string() + "; " + &set("00:01.0", ALL, AcsBits::NONE).to_string(),
        "move 0000:03:00.0 below 0000:00:02.0; \
         set the ACS bits SrcValid ReqRedir CmpltRedir UpstreamFwd of 0000:00:01.0"
    );
}
