//! Differences and what-ifs of real machines: nothing differs from itself, and whatever becomes of a group says why.

use ioward::pci::{
    AcsBits, Bdf, Edit,
    groups::{Fabric, Linux, Policy},
};
use ioward_host::Machine;
use ioward_study::{
    diff::diff,
    regroup::{Change, Kind},
    whatif::whatif,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn machines() -> Vec<(String, Machine)> {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let Ok(entries) = fs::read_dir(root.join("pci")) else {
        println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", root.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| (path.display().to_string(), Machine::open(path).unwrap())).collect()
}

type Partition = BTreeSet<BTreeSet<Bdf>>;

/// What the changes make of the groups of before.
fn applied(mut before: Partition, changes: &[Change], now: &dyn Fn(Bdf) -> Option<Bdf>) -> Partition {
    let sets = |groups: &[Vec<Bdf>]| -> Vec<BTreeSet<Bdf>> {
        groups.iter().map(|group| group.iter().copied().collect()).collect()
    };
    for change in changes {
        for group in sets(&change.before) {
            assert!(before.remove(&group), "{change:?} names a group that was not there");
        }
    }
    let mut after: Partition =
        before.into_iter().map(|group| group.into_iter().filter_map(now).collect()).collect();
    after.extend(changes.iter().flat_map(|change| sets(&change.after)));
    after
}

fn partition(policy: &dyn Policy, topology: &ioward::pci::Topology) -> Partition {
    let grouping = policy.groups(topology);
    grouping.groups.into_iter().map(|group| group.members.into_iter().collect()).collect()
}

#[test]
fn changes_make_of_the_groups_before_those_after_and_say_why() {
    let (mut edits, mut changes) = (0, 0);
    for (name, machine) in machines() {
        let functions = machine.topology.functions();
        for function in functions {
            let at = function.at;
            for edit in [
                Edit::SetAcs { function: at, set: AcsBits::NONE, clear: AcsBits(0x7f) },
                Edit::SetAcs { function: at, set: AcsBits::ISOLATION, clear: AcsBits::NONE },
                Edit::Remove { device: at },
            ] {
                let Ok(edited) = machine.topology.edit(&[edit]) else { continue };
                edits += 1;
                for policy in [&Linux as &dyn Policy, &Fabric::default()] {
                    let told = whatif(&machine.topology, &[edit], policy).unwrap();
                    let before = partition(policy, &machine.topology);
                    let after = applied(before, &told.changes, &|at| edited.now(at));
                    assert_eq!(after, partition(policy, &edited.topology), "{name}: {edit}");
                    for change in &told.changes {
                        let ties = matches!(change.kind, Kind::Split | Kind::Joined);
                        assert!(!ties || !change.why.is_empty(), "{name}: {edit}: {change:?} says not why");
                    }
                    changes += told.changes.len();
                }
            }
        }
    }
    println!("{edits} edits, {changes} changes of groups");
    assert!(edits == 0 || changes > 100);
}

#[test]
fn nothing_differs_from_itself_and_a_card_that_is_gone_does() {
    for (name, machine) in machines() {
        let same = diff(&machine, &machine, &Linux);
        assert!(same.is_empty(), "{name}: {same:?}");
        let last =
            machine.topology.functions().iter().rfind(|function| !function.header.is_bridge()).unwrap().at;
        let mut other = machine.clone();
        let Ok(edited) = machine.topology.edit(&[Edit::Remove { device: last }]) else { continue };
        other.topology = edited.topology;
        let gone = diff(&machine, &other, &Linux);
        assert!(gone.removed.iter().any(|device| device.at == last.to_string()), "{name}: {gone:?}");
        assert!(gone.added.is_empty() && !gone.groups.is_empty(), "{name}: {gone:?}");
        let back = diff(&other, &machine, &Linux);
        assert_eq!(back.added, gone.removed, "{name}");
    }
}

/// A copy of a machine, of which some text of its snapshot is replaced.
fn altered(name: &str, text: &str, from: &str, to: &str) -> Machine {
    assert!(text.contains(from), "{from} in {text}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("altered-{name}.json"));
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    Machine::open(&path).unwrap()
}

#[test]
fn whatever_a_snapshot_holds_is_compared() {
    let text = r#"{
  "format": "ioward-snapshot", "version": 1, "removed": [], "unread": [], "tables_denied": 0,
  "functions": [{
    "at": "0000:01:00.0", "ids": ["0x8086", "0x1572"], "subsystem": ["0x8086", "0x1"], "class": "0x200",
    "driver": "i40e", "group": 7, "numa_node": 1, "removable": false, "config": {"bytes": 0, "rows": {}}
  }],
  "tables": [],
  "kernel": {
    "version": "6.12.0", "options": ["iommu=pt"],
    "groups": {"7": {"devices": ["0000:01:00.0"], "kind": "DMA-FQ",
      "reserved": [{"first": "0xfee00000", "last": "0xfeefffff", "kind": "msi"}]}},
    "iommus": [{"name": "dmar0", "registers": ["0x1", "0x2"]}],
    "interrupts": {"remapped": 1, "plain": 0},
    "thunderbolt": {"domain0": true}, "allows_unsafe_interrupts": false
  }
}"#;
    let before = altered("not", text, "6.12.0", "6.12.0");
    assert!(diff(&before, &before, &Linux).is_empty());
    for (name, from, to, what) in [
        ("regions", "\"0xfee00000\"", "\"0xfed00000\"", "reserved regions of the group of 0000:01:00.0"),
        ("direct", "\"msi\"", "\"direct\"", "reserved regions of the group of 0000:01:00.0"),
        ("kind", "DMA-FQ", "identity", "type of the group of 0000:01:00.0"),
        ("thunderbolt", "\"domain0\": true", "\"domain0\": false", "Thunderbolt domains"),
        ("domain", "\"domain0\": true", "", "Thunderbolt domains"),
        ("node", "\"numa_node\": 1", "\"numa_node\": 0", "NUMA node"),
        ("removable", "\"removable\": false, ", "", "removable"),
        ("subsystem", "\"subsystem\": [\"0x8086\", \"0x1\"], ", "", "subsystem"),
        ("physical", "\"group\": 7", "\"physical\": \"0000:00:01.0\", \"group\": 7", "physical function"),
        ("driver", "i40e", "vfio-pci", "driver"),
        ("unsafe", "interrupts\": false", "interrupts\": true", "devices without interrupt isolation"),
        ("registers", "\"0x2\"", "\"0x3\"", "IOMMUs"),
    ] {
        let found = diff(&before, &altered(name, text, from, to), &Linux);
        let mut told = found.kernel.iter().chain(found.changed.iter().flat_map(|one| &one.differences));
        assert!(told.any(|difference| difference.what.starts_with(what)), "{name}: {found:?}");
        let known = found.kernel.len() + found.changed.iter().map(|one| one.differences.len()).sum::<usize>();
        assert_eq!(known, 1, "{name}: {found:?}");
    }
}
