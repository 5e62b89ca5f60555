//! What would free a device, and what an ACS override would do.

mod common;

use common::build::*;
use ioward_pci::{
    AcsBits, Bdf, Fact, Function, Topology,
    function::Ids,
    groups::{
        Cause, Fabric, Lack, Linux, Policy,
        acs_override::{AcsOverride, acs_override},
        remedy::{Advice, Remedy, Step, advise},
    },
};

const NOT_RR: AcsBits = AcsBits(ALL.0 & !AcsBits::RR.0);

fn advice(policy: &dyn Policy, topology: &Topology, device: &str) -> Advice {
    advise(policy, topology, at(device)).unwrap()
}

fn slot(mut port: Function, there: bool) -> Function {
    if let Fact::Present(express) = &mut port.express {
        express.slot = Some(there);
    }
    port
}

fn steps(advice: &Advice) -> Vec<&[Step]> {
    advice.remedies.iter().map(|remedy| &remedy.steps[..]).collect()
}

/// A switch whose first port is open, with a card below each, an empty port that isolates and one that does not.
fn switch() -> Topology {
    topology([
        root_port("00:01.0", 1, 4).acs(ALL, ALL),
        slot(root_port("00:02.0", 5, 5).acs(ALL, ALL), true),
        slot(root_port("00:03.0", 6, 6).acs(ALL, ALL), false),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(ALL, NOT_RR),
        downstream("02:01.0", 4, 4).acs(ALL, ALL),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
    ])
}

#[test]
fn a_bit_that_is_off_is_to_be_set_and_an_empty_slot_is_named() {
    let advice = advice(&Fabric::default(), &switch(), "04:00.0");
    assert_eq!(advice.with, [at("03:00.0")]);
    let set = Step::SetAcs { function: at("02:00.0"), set: AcsBits::RR, clear: AcsBits::NONE };
    let shift = Step::MoveTo { device: at("04:00.0"), port: at("00:02.0") };
    // Below 00:03.0 there is no slot.
    assert_eq!(steps(&advice), [&[set][..], &[shift]]);
    assert!(advice.remedies.iter().all(|remedy| remedy.frees() && remedy.is_certain()));
    assert!(!advice.unsure && advice.blockers.is_empty());
    assert_eq!(set.kernel_parameter().unwrap(), "pci=config_acs=1xx@0000:02:00.0");
    assert_eq!(
        advice.remedies[0].to_string(),
        "set the ACS bits ReqRedir of 0000:02:00.0: then it is alone in its group"
    );
    // To Linux it is alone already.
    let linux = self::advice(&Linux, &switch(), "04:00.0");
    assert!(linux.with.is_empty() && linux.remedies.is_empty());
}

#[test]
fn bridges_of_any_kind_are_no_company() {
    let machine = |class| {
        let mut beside = plain("00:01.0").multi();
        beside.class = Some(class);
        topology([beside, root_port("00:01.1", 1, 1), endpoint("01:00.0")])
    };
    let host_bridge = machine(0x0600);
    assert!(Linux.groups(&host_bridge).together(at("00:01.0"), at("01:00.0")));
    let advice = |topology: &Topology| advice(&Linux, topology, "01:00.0");
    assert!(advice(&host_bridge).with.is_empty() && advice(&host_bridge).remedies.is_empty());
    // What is no bridge is in the way.
    let beside = advice(&machine(0x0c03));
    assert_eq!(beside.with, [at("00:01.0")]);
    assert_eq!(steps(&beside), [&[Step::ShowAcs { port: at("00:01.1") }][..]]);
}

#[test]
fn what_is_soldered_on_stays_where_it_is() {
    let mut functions = switch().functions().to_vec();
    functions[5] = slot(functions[5].clone(), false);
    assert_eq!(functions[5].at, at("02:01.0"));
    let advice = advice(&Fabric::default(), &topology(functions), "04:00.0");
    let set = Step::SetAcs { function: at("02:00.0"), set: AcsBits::RR, clear: AcsBits::NONE };
    assert_eq!(steps(&advice), [&[set][..]]);
}

#[test]
fn nobody_puts_a_card_where_a_cable_goes_in() {
    for outside in [false, true] {
        let mut functions = switch().functions().to_vec();
        // The empty port: a Thunderbolt controller's, or firmware says that it faces outside.
        let port = &mut functions[1];
        (port.external_facing, port.thunderbolt) =
            if outside { (true, Fact::Absent) } else { (false, Fact::Present(())) };
        let advice = advice(&Fabric::default(), &topology(functions), "04:00.0");
        assert!(advice.remedies.iter().all(|remedy| !matches!(remedy.steps[0], Step::MoveTo { .. })));
        assert_eq!(advice.remedies.len(), 1);
    }
}

#[test]
fn only_what_is_needed_is_to_be_done() {
    // Three switches with an open port each; one matters.
    let mut functions = Vec::new();
    for number in 0..3u8 {
        let first = 1 + number * 4;
        let name = |bus: u8, device: u8| format!("{bus:02x}:{device:02x}.0");
        functions.push(root_port(&format!("00:0{}.0", number + 1), first, first + 3).acs(ALL, ALL));
        functions.push(upstream(&name(first, 0), first + 1, first + 3));
        functions.push(downstream(&name(first + 1, 0), first + 2, first + 2).acs(ALL, NOT_RR));
        functions.push(downstream(&name(first + 1, 1), first + 3, first + 3).acs(ALL, ALL));
        functions.push(endpoint(&name(first + 2, 0)));
        functions.push(endpoint(&name(first + 3, 0)));
    }
    let topology = topology(functions);
    let advice = advice(&Fabric::default(), &topology, "08:00.0");
    let set = Step::SetAcs { function: at("06:00.0"), set: AcsBits::RR, clear: AcsBits::NONE };
    assert_eq!(steps(&advice), [&[set][..]]);
}

#[test]
fn several_ports_are_named_together() {
    let topology = topology([
        root_port("00:01.0", 1, 4).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(ALL, NOT_RR),
        downstream("02:01.0", 4, 4).acs(ALL, AcsBits::NONE),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
    ]);
    let advice = advice(&Fabric::default(), &topology, "03:00.0");
    let remedy = &advice.remedies[0];
    assert!(remedy.frees());
    let ports: Vec<Bdf> = remedy
        .steps
        .iter()
        .map(|step| match step {
            Step::SetAcs { function, .. } => *function,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(ports, [at("02:00.0"), at("02:01.0")]);
}

#[test]
fn what_a_root_port_hides_is_firmwares() {
    let topology = topology([
        root_port("00:01.0", 1, 1).multi(),
        root_port("00:01.1", 2, 2),
        endpoint("01:00.0"),
        endpoint("02:00.0"),
    ]);
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let advice = advice(policy, &topology, "01:00.0");
        let both = [Step::ShowAcs { port: at("00:01.0") }, Step::ShowAcs { port: at("00:01.1") }];
        let first = &advice.remedies[0];
        assert!(first.frees() && !first.is_certain());
        // Linux asks whether neither isolates; for the fabric each port's own requests matter.
        let wanted = if policy.name() == "linux" { &both[..1] } else { &both[..] };
        let mut steps = first.steps.clone();
        steps.sort_by_key(|step| step.to_string());
        assert!(steps == wanted || wanted.len() == 1 && steps.len() == 1, "{}: {steps:?}", policy.name());
    }
}

#[test]
fn a_vmd_controller_can_be_turned_off() {
    let topology = topology([
        integrated("00:0e.0").ids(0x8086, 0x9a0b),
        root_port("10000:e0:06.0", 0xe1, 0xe1).acs(ALL, ALL),
        endpoint("10000:e1:00.0"),
    ]);
    let advice = advice(&Linux, &topology, "10000:e1:00.0");
    assert_eq!(advice.with, [at("00:0e.0")]);
    assert_eq!(steps(&advice), [&[Step::DisableVmd { controller: at("00:0e.0") }][..]]);
}

#[test]
fn where_nothing_helps_what_stands_in_the_way_is_named() {
    let topology = topology([
        root_port("00:01.0", 1, 2).acs(ALL, ALL),
        to_conventional("01:00.0", 2, 2),
        plain("02:01.0"),
        plain("02:02.0"),
    ]);
    let advice = advice(&Linux, &topology, "02:01.0");
    assert_eq!(advice.with, [at("02:02.0")]);
    assert!(advice.remedies.is_empty());
    assert_eq!(advice.blockers, [Cause::Conventional { bridge: at("01:00.0"), requester: 0x200 }]);
}

#[test]
fn functions_of_a_card_are_its_own() {
    let topology = topology([
        root_port("00:01.0", 1, 1).acs(ALL, ALL),
        root_port("00:02.0", 2, 2).acs(ALL, ALL),
        endpoint("01:00.0").multi(),
        endpoint("01:00.1"),
    ]);
    let advice = advice(&Linux, &topology, "01:00.0");
    assert_eq!((&advice.with[..], &advice.own[..]), (&[][..], &[at("01:00.1")][..]));
    // Another slot would not part them.
    assert!(advice.remedies.is_empty());
    let lack = Lack::NoCapability;
    assert!(
        advice.blockers.iter().any(|c| matches!(c, Cause::NotIsolated { lack: found, .. } if *found == lack))
    );
}

#[test]
fn another_slot_and_a_bit_can_be_needed_together() {
    let mut functions = vec![
        root_port("00:01.0", 1, 4).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3),
        downstream("02:01.0", 4, 4),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
        plain("00:1f.0").multi(),
        slot(root_port("00:1f.1", 5, 5).acs(ALL, AcsBits::NONE), true),
        plain("00:1f.2"),
    ];
    functions[7].multifunction = Some(true);
    let topology = topology(functions);
    let advice = advice(&Fabric::default(), &topology, "03:00.0");
    let best = &advice.remedies[0];
    assert!(best.frees(), "{best}");
    assert_eq!(best.steps[0], Step::MoveTo { device: at("03:00.0"), port: at("00:1f.1") });
    assert!(matches!(best.steps[1], Step::SetAcs { function, .. } if function == at("00:1f.1")), "{best}");
}

#[test]
fn egress_control_is_to_be_cleared() {
    let bits = ALL | AcsBits::EC;
    let topology = topology([
        root_port("00:01.0", 1, 4).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(bits, bits).egress(false),
        downstream("02:01.0", 4, 4).acs(ALL, ALL),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
    ]);
    let advice = advice(&Fabric::default(), &topology, "03:00.0");
    let step = Step::SetAcs { function: at("02:00.0"), set: AcsBits::NONE, clear: AcsBits::EC };
    assert_eq!(steps(&advice)[0], [step]);
    assert_eq!(step.kernel_parameter().unwrap(), "pci=config_acs=0xxxxx@0000:02:00.0");
}

#[test]
fn what_was_not_read_makes_advice_unsure() {
    let mut port = root_port("00:01.0", 1, 1);
    port.express = Fact::Unseen;
    port.acs = Fact::Unseen;
    let topology = topology([port, endpoint("01:00.0").multi(), endpoint("01:00.1")]);
    assert!(advice(&Linux, &topology, "01:00.0").unsure);
    assert_eq!(advise(&Linux, &topology, at("02:00.0")), None);
}

#[test]
fn words_count_what_they_do_not_list() {
    let left = (0..12).map(|device| Bdf::new(0, 3, device, 0)).collect();
    let step = Step::DisableVmd { controller: at("00:0e.0") };
    let remedy = Remedy { steps: vec![step, Step::ShowAcs { port: at("00:01.0") }], left, own: Vec::new() };
    let text = remedy.to_string();
    assert!(text.ends_with("0000:03:07.0 and 4 more"), "{text}");
    assert!(text.contains(", and have firmware show"), "{text}");
    assert_eq!(step.kernel_parameter(), None);
}

/// A port without a capability with a switch of such ports, and functions without one.
fn bare() -> Topology {
    topology([
        root_port("00:01.0", 1, 4),
        root_port("00:02.0", 5, 5).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3),
        downstream("02:01.0", 4, 4).ids(0x1234, 0x5678),
        endpoint("03:00.0"),
        endpoint("04:00.0").multi(),
        endpoint("04:00.1"),
        endpoint("05:00.0").multi(),
        endpoint("05:00.1"),
    ])
}

#[test]
fn an_override_splits_groups_and_moves_no_request() {
    let topology = bare();
    let effect = acs_override(&topology, &AcsOverride::usual(), &Fabric::default());
    assert_eq!(
        effect.believed,
        ["00:01.0", "02:00.0", "02:01.0", "04:00.0", "04:00.1", "05:00.0", "05:00.1"].map(at)
    );
    assert!(effect.before.together(at("03:00.0"), at("04:00.0")));
    assert!(!effect.after.together(at("03:00.0"), at("04:00.0")));
    assert!(!effect.after.together(at("05:00.0"), at("05:00.1")));
    // The ports send what they sent before.
    assert!(effect.fabric.together(at("03:00.0"), at("04:00.0")));
    assert!(
        effect.still_reached.iter().any(|pair| pair.joined == at("05:00.1") && pair.with == at("05:00.0"))
    );
    assert!(!effect.still_reached.is_empty() && effect.still_reached.len() <= effect.splits.len());
    // The machine that was asked about believes nothing.
    assert_eq!(effect.before, Linux.groups(&topology));
}

#[test]
fn an_override_touches_only_what_it_names() {
    let topology = bare();
    let downstream: AcsOverride = "pcie_acs_override=downstream".parse().unwrap();
    let effect = acs_override(&topology, &downstream, &Fabric::default());
    assert_eq!(effect.believed, ["00:01.0", "02:00.0", "02:01.0"].map(at));
    assert!(effect.after.together(at("05:00.0"), at("05:00.1")));
    let id: AcsOverride = "id:1234:5678".parse().unwrap();
    let effect = acs_override(&topology, &id, &Fabric::default());
    assert_eq!(effect.believed, [at("02:01.0")]);
    // One port that is believed does not help: those above it are not.
    assert!(effect.splits.is_empty());
    // What has a capability is left alone, however little of it is set, and so is what a quirk vouches for.
    let topology = common::build::topology([
        root_port("00:01.0", 1, 1).acs(ALL, AcsBits::NONE),
        root_port("00:1c.0", 2, 2).ids(0x8086, 0x1c10),
        conventional_bridge("00:1e.0", 3, 3),
    ]);
    assert!(acs_override(&topology, &AcsOverride::usual(), &Fabric::default()).believed.is_empty());
}

#[test]
fn an_override_is_read_as_it_is_written() {
    let all = AcsOverride { ids: vec![Ids { vendor: 0x8086, device: 0x10fb }], ..AcsOverride::usual() };
    assert_eq!(all.to_string(), "pcie_acs_override=downstream,multifunction,id:8086:10fb");
    assert_eq!(all.to_string().parse(), Ok(all));
    for wrong in ["", "downstream,", "id:8086", "id:8086:10f", "id:8086:10fb:1", "upstream"] {
        let error = wrong.parse::<AcsOverride>().unwrap_err();
        assert!(error.to_string().contains("is none of"), "{wrong}");
    }
}
