//! Sixteen real machines: what Linux made of them against what the `linux` policy makes of them.
//!
//! The data is not part of the repository. `IOWARD_CORPUS` names its folder; without it, a folder `shared/corpus` beside
//! the repository is used, and where there is none the tests say SKIPPED.

use ioward_pci::{
    Bdf, Edit, Topology,
    groups::{
        Fabric, Grouping, Linux, Policy, differences,
        remedy::{Step, advise},
    },
    lspci,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn corpus() -> Option<PathBuf> {
    let folder = match std::env::var_os("IOWARD_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    };
    let folder = folder.join("pci");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no corpus at {}", folder.display());
    None
}

struct Machine {
    name: String,
    topology: Topology,
    /// By Linux's number, the functions listed.
    groups: BTreeMap<u32, BTreeSet<Bdf>>,
}

fn machines() -> Vec<Machine> {
    let Some(folder) = corpus() else { return Vec::new() };
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|path| machine(path)).collect()
}

fn machine(path: &Path) -> Machine {
    // One text has bytes that are not UTF-8.
    let read =
        |name: &str| fs::read(path.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut listing = lspci::parse(&read("lspci.txt").unwrap());
    if let Ok(log) = read("ids-from-dmesg.txt") {
        lspci::add_ids(&mut listing.functions, &log);
    }
    let mut groups: BTreeMap<u32, BTreeSet<Bdf>> = BTreeMap::new();
    for line in read("groups.txt").unwrap().lines().filter(|line| !line.trim().is_empty()) {
        let (group, function) = line.split_once(' ').unwrap();
        groups.entry(group.parse().unwrap()).or_default().insert(function.trim().parse().unwrap());
    }
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Machine { name, topology: listing.into_topology(), groups }
}

/// The parts of a grouping, over these functions only.
fn partition(grouping: &Grouping, listed: &BTreeSet<Bdf>) -> BTreeSet<BTreeSet<Bdf>> {
    let parts = grouping
        .groups
        .iter()
        .map(|group| group.members.iter().copied().filter(|f| listed.contains(f)).collect());
    parts.filter(|part: &BTreeSet<Bdf>| !part.is_empty()).collect()
}

#[test]
fn linux_groups_are_exact() {
    let mut wrong = Vec::new();
    let machines = machines();
    for machine in &machines {
        let listed: BTreeSet<Bdf> = machine.groups.values().flatten().copied().collect();
        let grouping = Linux.groups(&machine.topology);
        let ours = partition(&grouping, &listed);
        let theirs: BTreeSet<_> = machine.groups.values().cloned().collect();
        println!(
            "{}: {} functions, {} groups, {} unsure",
            machine.name,
            listed.len(),
            theirs.len(),
            grouping.unsure.len()
        );
        if ours != theirs {
            for part in theirs.difference(&ours) {
                println!("  Linux has {part:?}");
            }
            for part in ours.difference(&theirs) {
                println!("  we have   {part:?}");
            }
            wrong.push(machine.name.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(machines.is_empty() || machines.len() == 16);
}

/// Each reason of each group names what ties its member; without that, the member and its companion part.
#[test]
fn every_reason_survives_its_removal() {
    for machine in machines() {
        let grouping = Linux.groups(&machine.topology);
        for group in &grouping.groups {
            assert_eq!(group.reasons.len() + 1, group.members.len(), "{}: {group:?}", machine.name);
            for reason in &group.reasons {
                assert!(!reason.causes.is_empty());
                let split = Linux.groups(&machine.topology.without(&reason.causes));
                assert!(
                    !split.together(reason.member, reason.with),
                    "{}: they stay together without this: {reason}",
                    machine.name
                );
            }
        }
    }
}

/// The same for the policy that Linux does not have, and what it finds.
#[test]
fn fabric_reasons_survive_too() {
    for machine in machines() {
        let policy = Fabric::default();
        let (linux, fabric) = (Linux.groups(&machine.topology), policy.groups(&machine.topology));
        let (splits, joins) = (differences(&linux, &fabric).len(), differences(&fabric, &linux).len());
        println!(
            "{}: Linux splits {splits} that the fabric joins, and joins {joins} that it splits",
            machine.name
        );
        for pair in differences(&linux, &fabric) {
            let group = fabric.group_of(pair.joined).unwrap();
            println!("  fabric joins {} and {}:", pair.joined, pair.with);
            for reason in
                group.reasons.iter().filter(|reason| [pair.joined, pair.with].contains(&reason.member))
            {
                println!("    {reason}");
            }
        }
        for pair in differences(&fabric, &linux) {
            println!("  fabric splits {} from {}", pair.joined, pair.with);
        }
        for group in &fabric.groups {
            for reason in &group.reasons {
                let split = policy.groups(&machine.topology.without(&reason.causes));
                assert!(
                    !split.together(reason.member, reason.with),
                    "{}: they stay together without this: {reason}",
                    machine.name
                );
            }
        }
    }
}

/// What is advised for devices of real machines does what it says, and what stands in the way is what the reasons say.
#[test]
fn advice_does_what_it_says() {
    let mut named = 0;
    for machine in machines() {
        let grouping = Linux.groups(&machine.topology);
        for group in grouping.groups.iter().filter(|group| group.members.len() > 1) {
            let device = group.members[group.members.len() - 1];
            let advice = advise(&Linux, &machine.topology, device).unwrap();
            let everything = advice.with.iter().chain(&advice.own);
            assert!(
                everything.clone().all(|&at| group.members.contains(&at)),
                "{}: {advice:?}",
                machine.name
            );
            for remedy in &advice.remedies {
                named += 1;
                println!("{}: {device}: {remedy}", machine.name);
                assert!(remedy.left.len() + remedy.own.len() < everything.clone().count());
                let edits: Vec<Edit> = remedy.steps.iter().filter_map(edit).collect();
                // What only firmware can do is no edit.
                if edits.len() == remedy.steps.len() {
                    let edited = machine.topology.edit(&edits).unwrap();
                    let now = |at: Bdf| edited.now(at).unwrap();
                    let after = Linux.groups(&edited.topology);
                    for &at in everything.clone() {
                        let stays = remedy.left.contains(&at) || remedy.own.contains(&at);
                        assert_eq!(after.together(now(device), now(at)), stays, "{}: {at}", machine.name);
                    }
                }
            }
        }
    }
    println!("{named} remedies");
}

fn edit(step: &Step) -> Option<Edit> {
    match *step {
        Step::SetAcs { function, set, clear } => Some(Edit::SetAcs { function, set, clear }),
        Step::MoveTo { device, port } => Some(Edit::Move { device, below: port }),
        Step::ShowAcs { .. } | Step::DisableVmd { .. } => None,
    }
}
