//! `ioward snapshot`, `whatif`, `diff` and `walk` from outside.

#[path = "../../ioward-host/tests/common/mod.rs"]
mod common;

use common::{Config, function, two_ports};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ioward(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioward"));
    command.args(arguments).env("COLUMNS", "80").env_remove("NO_COLOR");
    command.output().expect("the program was built with the tests")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the program prints UTF-8")
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("the program prints UTF-8")
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let output = ioward(arguments);
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    (output.status.code().expect("no signal ended it"), value)
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("study").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A sysfs with two root ports, of which the first one isolates: its device is alone, and the others are not.
fn sysfs(name: &str) -> String {
    let path = folder(name);
    two_ports(&path);
    path.display().to_string()
}

#[test]
fn a_snapshot_is_a_machine_and_nothing_is_written_over() {
    let sys = sysfs("snapshot");
    let file = folder("snapshot-out").join("machine.json").display().to_string();
    let written = ioward(&["snapshot", &sys, "-o", &file]);
    assert_eq!(written.status.code(), Some(0), "{}", told(&written));
    assert!(told(&written).contains("4 functions"), "{}", told(&written));
    let again = ioward(&["snapshot", &sys, "-o", &file]);
    assert_eq!(again.status.code(), Some(1));
    assert!(told(&again).contains("--force"), "{}", told(&again));
    assert_eq!(ioward(&["snapshot", &sys, "-o", &file, "--force"]).status.code(), Some(0));
    let standard = ioward(&["snapshot", &sys, "-o", "-"]);
    assert_eq!(text(&standard), fs::read_to_string(&file).unwrap());
    // Every command takes it, and sees the same.
    let groups = |path: &str| json(&["groups", path, "--json"]).1["groups"].clone();
    assert_eq!(groups(&file), groups(&sys));
    let (code, diff) = json(&["diff", &sys, &file, "--json"]);
    assert_eq!(code, 0, "{diff:#}");
    assert_eq!(text(&ioward(&["diff", &sys, &file])).lines().last(), Some("Nothing differs."));
}

#[test]
fn map_and_snapshot_tell_what_they_wrote() {
    let sys = sysfs("told");
    for (command, file) in [("map", "machine.html"), ("snapshot", "machine.json")] {
        let file = folder(&format!("told-{command}")).join(file).display().to_string();
        let (code, told_so) = json(&[command, &sys, "-o", &file, "--json"]);
        assert_eq!((code, told_so["version"].as_u64()), (0, Some(1)), "{told_so:#}");
        assert_eq!(told_so["file"], file.as_str());
        assert_eq!(told_so["bytes"].as_u64(), Some(fs::metadata(&file).unwrap().len()));
        assert_eq!(told_so["functions"].as_u64(), Some(4));
        let groups = json(&["groups", &sys, "--json"]).1["groups"].as_array().unwrap().len();
        match command {
            "map" => assert_eq!(told_so["groups"]["linux"].as_u64(), Some(groups as u64)),
            _ => assert!(told_so["removed"].is_array(), "{told_so:#}"),
        }
        // Standard output cannot have both.
        let both = ioward(&[command, &sys, "-o", "-", "--json"]);
        assert_eq!((both.status.code(), text(&both)), (Some(1), String::new()));
    }
}

#[test]
fn what_if_bits_split_and_join_groups_and_say_why() {
    let sys = sysfs("bits");
    let (code, joined) = json(&["whatif", &sys, "--set-acs", "00:01.0=-RR", "--json"]);
    assert_eq!((code, joined["version"].as_u64()), (1, Some(1)));
    let change = &joined["changes"][0];
    assert_eq!(change["kind"], "joined", "{joined:#}");
    assert!(change["before"].as_array().unwrap().len() > 1 && change["after"].as_array().unwrap().len() == 1);
    let why = &change["why"][0];
    assert_eq!(why["holds"], true);
    assert!(why["causes"][0].as_str().unwrap().contains("0000:00:01.0"), "{why:#}");
    let same = ioward(&["whatif", &sys, "--set-acs", "00:01.0=0x1d"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    assert!(text(&same).contains("No group would change."));
    let shown = ioward(&["whatif", &sys, "--set-acs", "00:01.0=none", "--policy", "fabric"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(text(&shown).contains("Groups join") && text(&shown).contains("holds now"), "{}", text(&shown));
    assert!(text(&shown).lines().all(|line| line.chars().count() <= 80), "{}", text(&shown));
}

#[test]
fn what_if_a_card_moves() {
    let sys = sysfs("move");
    // The isolating port's slot is freed for the card of the other port.
    let (code, moved) = json(&["whatif", &sys, "--remove", "01:00.0", "--move", "02:00.0=00:01.0", "--json"]);
    assert_eq!(code, 1, "{moved:#}");
    assert_eq!(moved["removed"][0], "0000:01:00.0");
    assert_eq!(moved["renamed"][0]["before"], "0000:02:00.0");
    assert_eq!(moved["renamed"][0]["after"], "0000:01:00.0");
    let kinds: Vec<&str> =
        moved["changes"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"split") || kinds.contains(&"regrouped") || kinds.contains(&"lost"), "{moved:#}");
}

#[test]
fn what_cannot_be_changed_is_named() {
    let sys = sysfs("cannot");
    for (arguments, why) in [
        (&["--set-acs", "00:01.0=XY"][..], "\"XY\" is no ACS bit"),
        (&["--set-acs", "00:01.0"], "has no ="),
        (&["--set-acs", "00:02.0=+RR"], "0000:00:02.0 has no ACS capability"),
        (&["--set-acs", "00:09.0=+RR"], "there is no function 0000:00:09.0"),
        (&["--move", "02:00.0=01:00.0"], "0000:01:00.0 is no bridge"),
        (&["--move", "02:00.0=00:01.0"], "0000:01:00.0"),
        (&["--move", "x=00:01.0"], "\"x\" is not of the form"),
        (&[], "nothing is to be changed"),
    ] {
        let output = ioward(&[&["whatif", &sys][..], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(why), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn what_could_not_be_read_is_told_with_what_would_change() {
    let (good, bad) = (sysfs("doubt-good"), folder("doubt-bad"));
    two_ports(&bad);
    fs::create_dir_all(bad.join("bus/pci/devices/0000:00:1b.0/config")).unwrap();
    let bad = bad.display().to_string();
    let edit = ["--set-acs", "00:01.0=-RR"];
    let (_, whatif) = json(&[&["whatif", &bad, "--json"][..], &edit].concat());
    assert!(whatif["unread"][0].as_str().is_some_and(|text| text.contains("1b.0/config")), "{whatif:#}");
    assert_eq!((&whatif["version"], &whatif["degraded"].is_array()), (&1.into(), &true));
    let shown = text(&ioward(&[&["whatif", &bad][..], &edit].concat()));
    assert!(shown.contains("not read: ") && shown.contains("degraded: "), "{shown}");
    let (_, diff) = json(&["diff", &good, &bad, "--json"]);
    assert_eq!(diff["doubts"][0]["unread"], serde_json::json!([]), "{diff:#}");
    assert!(diff["doubts"][1]["unread"][0].as_str().is_some_and(|text| text.contains("1b.0/config")));
    let shown = text(&ioward(&["diff", &good, &bad]));
    assert!(shown.contains("Of the second:\n") && !shown.contains("Of the first"), "{shown}");
}

#[test]
fn a_difference_names_devices_bits_and_groups() {
    let (one, other) = (sysfs("one"), folder("other"));
    two_ports(&other);
    // Another card, a bit that is off, and the card of the second port in a third one.
    fs::remove_dir_all(other.join("bus/pci/devices/0000:02:00.0")).unwrap();
    let port = Config::new(0x1b36, 0x000c, 0x0604).bridge(0, 1, 1).express(4).acs(0x1f, 0x19);
    function(&other, "0000:00:01.0", port);
    function(&other, "0000:00:03.0", Config::new(0x1b36, 0x000c, 0x0604).bridge(0, 3, 3).express(4));
    function(&other, "0000:03:00.0", Config::new(0x10de, 0x1b80, 0x0300).express(0));
    let other = other.display().to_string();
    let (code, diff) = json(&["diff", &one, &other, "--json"]);
    assert_eq!(code, 1);
    assert_eq!(diff["added"][0]["at"], "0000:00:03.0", "{diff:#}");
    assert_eq!(
        (&diff["moved"][0]["before"], &diff["moved"][0]["after"]),
        (&"0000:02:00.0".into(), &"0000:03:00.0".into())
    );
    let changed = &diff["changed"][0];
    assert_eq!(
        (changed["at"].as_str(), changed["differences"][0]["what"].as_str()),
        (Some("0000:00:01.0"), Some("ACS control"))
    );
    assert_eq!(diff["groups"][0]["kind"], "joined", "{diff:#}");
    let shown = text(&ioward(&["diff", &one, &other]));
    for words in ["moved", "0000:02:00.0 -> 0000:03:00.0", "ACS control: SrcValid ReqRedir", "Groups join"] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    let broken = ioward(&["diff", &one, "/nowhere/at/all"]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(told(&broken).contains("/nowhere/at/all"));
}

/// A table of three levels of VT-d's second stage at 0x1000, which maps 0x20_3000 to 0xabc_d000, reading only.
fn image(name: &str) -> String {
    let mut memory = vec![0u8; 0x4000];
    let mut put = |at: usize, word: u64| memory[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0x1000, 0x8000_2003);
    put(0x2008, 0x8000_3003);
    put(0x3018, 0xabc_d001);
    // A context entry of legacy mode for it: 39 bits.
    put(0x0, 0x8000_1001);
    put(0x8, 1);
    let path = folder(name).join("ram.bin");
    fs::write(&path, memory).unwrap();
    path.display().to_string()
}

#[test]
fn a_walk_shows_each_step_and_where_it_ends() {
    let image = image("walk");
    let table = ["--format", "vtd-second", "--root", "0x80001000", "--bits", "39"];
    let base = ["walk", "0x203456", "--image", &image, "--base", "0x80000000"];
    let output = ioward(&[&base[..], &table].concat());
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let shown = text(&output);
    for words in ["3 SS-PDPTE", "0x0000000080003003", "page of 4 KiB at 0xabcd456", "leads to 0xabcd456"] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    // A path is as long as it is.
    let lines = shown.lines().filter(|line| !line.contains("ram.bin"));
    assert!(lines.into_iter().all(|line| line.chars().count() <= 80), "{shown}");
    let (code, entry) = json(&[&base[..], &["--entry", "vtd-legacy@0x80000000", "--json"]].concat());
    assert_eq!((code, &entry["walks"][0]["end"]["to"]), (0, &"0xabcd456".into()), "{entry:#}");
    assert_eq!(entry["walks"][0]["lookups"][0]["what"], "context entry");
    let fault =
        ioward(&[&["walk", "0x204000", "--image", &image, "--base", "0x80000000"][..], &table].concat());
    assert_eq!(fault.status.code(), Some(1));
    assert!(text(&fault).contains("faults: the entry of level 1 is not valid"), "{}", text(&fault));
}

#[test]
fn a_walk_that_cannot_begin_says_why() {
    let image = image("cannot-walk");
    for (arguments, why) in [
        (&["0x0", "--image", &image][..], "where to begin"),
        (&["0x0", "--image", "/nowhere", "--entry", "amdvi@0"], "/nowhere"),
        (&["0x0", "--image", &image, "--entry", "vtd@0"], "vtd-legacy or vtd-scalable"),
        (&["0x0", "--image", &image, "--entry", "tegra@0"], "\"tegra\" is none of"),
        (&["0x0", "--image", &image, "--registers", "smmuv3:0", "--source", "0"], "STRTAB_BASE_CFG"),
        (&["0x0", "--image", &image, "--format", "amd-v1", "--root", "0", "--bits", "99"], "99"),
        (&["0xg", "--image", &image], "is no number"),
        (&["--embedded", "toaster"], "\"toaster\"; it has"),
    ] {
        let output = ioward(&[&["walk"][..], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(why), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn every_kind_of_the_embedded_machine_is_walked() {
    for (device, format) in [
        ("nic", "Arm stage 2"),
        ("gpu", "Arm stage 1"),
        ("nvme", "AMD v2"),
        ("pci.sound", "AMD v1"),
        ("xpu", "VT-d first stage"),
        ("audio", "VT-d second stage"),
        ("npu", "RISC-V first stage"),
        ("eth", "RISC-V second stage"),
    ] {
        let output = ioward(&["walk", "--embedded", device]);
        assert_eq!(output.status.code(), Some(0), "{device}: {}{}", text(&output), told(&output));
        assert!(text(&output).contains(format), "{device}: {}", text(&output));
    }
    let requests = ioward(&["walk", "--embedded", "vnic"]);
    assert_eq!(requests.status.code(), Some(2));
    assert!(text(&requests).contains("it takes requests"), "{}", text(&requests));
}
