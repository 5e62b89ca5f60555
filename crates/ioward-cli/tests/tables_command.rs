//! `ioward tables` from outside.

mod tables;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ioward(columns: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioward"));
    command.args(arguments).env("COLUMNS", columns).env_remove("NO_COLOR");
    command.output().expect("the program was built with the tests")
}

/// A directory of this test's own, with these files.
fn directory(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tables-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory can be written");
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).expect("the target directory can be written");
    }
    path
}

#[test]
fn a_table_is_shown_as_a_person_reads_it() {
    let path = directory("golden", &[("IVRS.dat", &tables::ivrs())]).join("IVRS.dat");
    for (columns, golden) in
        [("80", include_str!("golden/ivrs-80.txt")), ("120", include_str!("golden/ivrs-120.txt"))]
    {
        let output = ioward(columns, &["tables", &path.display().to_string()]);
        let text = String::from_utf8(output.stdout).unwrap();
        // The path is this machine's.
        let (head, rest) = text.split_once("\n\n").expect("a heading, and then the table");
        assert!(head.contains("IVRS.dat:"), "{head}");
        assert_eq!(rest, golden, "at {columns} columns");
        assert!(rest.lines().all(|line| line.chars().count() <= columns.parse().unwrap()));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn json_has_every_byte_with_its_name() {
    let table = tables::ivrs();
    let path = directory("json", &[("IVRS.dat", &table)]).join("IVRS.dat");
    let output = ioward("80", &["tables", "--json", &path.display().to_string()]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["version"], 1);
    let shown = &document["tables"][0];
    assert_eq!(
        (shown["kind"].as_str(), shown["table"]["bytes"].as_u64()),
        (Some("IVRS"), Some(table.len() as u64))
    );
    let block = &shown["table"]["parts"][2];
    assert_eq!((block["name"].as_str(), block["offset"].as_u64()), (Some("IVHD 10h"), Some(48)));
    let flags = &block["parts"][1];
    assert_eq!((flags["name"].as_str(), flags["value"].as_str()), (Some("Flags"), Some("0x30")));
    let bits = flags["bits"].as_array().unwrap();
    let set: Vec<&str> =
        bits.iter().filter(|bit| bit["value"] == 1).map(|bit| bit["name"].as_str().unwrap()).collect();
    assert_eq!(set, ["IotlbSup", "Coherent"]);
}

#[test]
fn what_is_wrong_stands_where_it_is() {
    let mut table = tables::ivrs();
    table[9] ^= 0xff;
    // A block type that nobody knows, and one that is cut off.
    table[48] = 0x51;
    let cut = &table[..table.len() - 4];
    let folder = directory("wrong", &[("sum.dat", &table), ("cut.dat", cut)]);
    let sum = ioward("100", &["tables", &folder.join("sum.dat").display().to_string()]);
    let text = String::from_utf8(sum.stdout).unwrap();
    assert!(text.contains("wrong: all bytes add up to"), "{text}");
    assert!(text.contains("Block 51h  a kind that nobody here knows"), "{text}");
    assert!(text.contains("! note: block: kind 0x51 is not known and was skipped"), "{text}");
    assert!(text.contains("Bytes without a field"), "the block's bytes are shown: {text}");
    assert_eq!(sum.status.code(), Some(0), "nothing is broken");
    let cut = ioward("100", &["tables", &folder.join("cut.dat").display().to_string()]);
    let text = String::from_utf8(cut.stdout).unwrap();
    assert!(text.contains("! broken: "), "{text}");
    assert_eq!(cut.status.code(), Some(2));
}

#[test]
fn what_is_no_table_is_named_and_the_rest_is_shown() {
    let folder =
        directory("bad", &[("IVRS.dat", &tables::ivrs()), ("other.dat", b"SSDT...."), ("empty.dat", b"")]);
    let path = |name: &str| folder.join(name).display().to_string();
    for (bad, why) in [
        ("other.dat", "it begins with \"SSDT\""),
        ("empty.dat", "it is empty"),
        ("absent.dat", "No such file"),
    ] {
        let output = ioward("80", &["tables", &path(bad), &path("IVRS.dat")]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(bad) && told.contains(why), "{told}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("IVHD 10h"), "{bad}");
    }
    let all = ioward("80", &["tables", &folder.display().to_string()]);
    assert!(String::from_utf8(all.stdout).unwrap().contains("IVHD 10h"));
}
