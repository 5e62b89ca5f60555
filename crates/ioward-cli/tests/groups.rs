//! `ioward groups` from outside.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ioward(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioward"));
    command.args(arguments).env_remove("COLUMNS").env_remove("NO_COLOR");
    command.output().expect("the program was built with the tests")
}

fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let machines = root.join("pci");
    if machines.is_dir() {
        return Some(machines);
    }
    println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", root.display());
    None
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("text").to_owned()).collect()
}

#[test]
fn sixteen_real_machines_are_exact_under_linux() {
    let Some(machines) = corpus() else { return };
    let mut seen = 0;
    for entry in fs::read_dir(machines).unwrap().flatten() {
        let path = entry.path();
        let output = ioward(&["groups", &path.display().to_string(), "--policy", "linux", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", path.display());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["policy"], "linux");
        let mut theirs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in fs::read_to_string(path.join("groups.txt")).unwrap().lines() {
            let Some((group, device)) = line.split_once(' ') else { continue };
            let device = device.trim();
            let segment = if device.matches(':').count() == 1 { "0000:" } else { "" };
            theirs.entry(group.to_owned()).or_default().insert(format!("{segment}{device}"));
        }
        let listed: BTreeSet<&String> = theirs.values().flatten().collect();
        let ours: BTreeSet<BTreeSet<String>> = document["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                strings(&group["devices"]).into_iter().filter(|device| listed.contains(device)).collect()
            })
            .filter(|part: &BTreeSet<String>| !part.is_empty())
            .collect();
        let theirs: BTreeSet<BTreeSet<String>> = theirs.values().cloned().collect();
        assert!(!theirs.is_empty());
        assert_eq!(ours, theirs, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 16);
}
