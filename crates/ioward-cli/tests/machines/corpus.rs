//! Real machines. The data is not part of the repository.

use super::{document, ioward, strings, text};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn machines() -> Vec<PathBuf> {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    match fs::read_dir(root.join("pci")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => {
            println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", root.display());
            Vec::new()
        }
    }
}

#[test]
fn sixteen_real_machines_are_exact_under_linux() {
    let machines = machines();
    for path in &machines {
        let (document, code) = document(&["groups", text(path), "--policy", "linux"]);
        assert_eq!((code, &document["policy"]), (0, &Value::from("linux")), "{}", path.display());
        let mut theirs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in fs::read_to_string(path.join("groups.txt")).unwrap().lines() {
            let Some((group, device)) = line.split_once(' ') else { continue };
            let device = device.trim();
            let segment = if device.matches(':').count() == 1 { "0000:" } else { "" };
            theirs.entry(group.to_owned()).or_default().insert(format!("{segment}{device}"));
        }
        let listed: BTreeSet<&String> = theirs.values().flatten().collect();
        let groups = document["groups"].as_array().unwrap();
        let ours: BTreeSet<BTreeSet<String>> = groups
            .iter()
            .map(|group| {
                strings(&group["devices"]).into_iter().filter(|device| listed.contains(device)).collect()
            })
            .filter(|part: &BTreeSet<String>| !part.is_empty())
            .collect();
        let theirs: BTreeSet<BTreeSet<String>> = theirs.values().cloned().collect();
        assert!(!theirs.is_empty());
        assert_eq!(ours, theirs, "{}", path.display());
    }
    assert!(machines.is_empty() || machines.len() == 16);
}

/// Whatever the width, no line is wider; and every device of a real machine can be explained.
#[test]
fn real_machines_are_shown_within_any_width() {
    for path in machines() {
        for (columns, command) in [("80", "groups"), ("120", "groups"), ("80", "check")] {
            let output = ioward(columns, &[command, text(&path)]);
            let said = String::from_utf8(output.stdout).unwrap();
            let width: usize = columns.parse().unwrap();
            // A path is one word, however long.
            let wide = said.lines().skip(1).find(|line| line.chars().count() > width && line.contains(' '));
            assert_eq!(wide.filter(|line| !line.contains(text(&path))), None, "{}", path.display());
            assert!(output.stderr.is_empty());
        }
        let (document, _) = document(&["groups", text(&path)]);
        let devices = document["devices"].as_array().unwrap();
        // The first that shares, and the last.
        let shared = devices.iter().find(|device| device["passthrough"]["why"] == "shared");
        for device in shared.into_iter().chain(devices.last()) {
            let at = device["at"].as_str().unwrap();
            let output = ioward("80", &["explain", at, text(&path)]);
            assert_eq!(output.status.code(), Some(0), "{at} of {}", path.display());
        }
    }
}
