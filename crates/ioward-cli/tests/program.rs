//! The program from outside: exit codes, and what it says.

mod tables;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn ioward(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioward"));
    command.args(arguments).env_remove("COLUMNS").env_remove("NO_COLOR");
    command.output().expect("the program was built with the tests")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the program prints UTF-8")
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let output = ioward(arguments);
    let value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    (output.status.code().expect("no signal ended it"), value)
}

/// A directory of this test's own, with these files.
fn directory(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory can be written");
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).expect("the target directory can be written");
    }
    path
}

fn run(path: &Path) -> (i32, Value) {
    json(&["run", &path.display().to_string(), "--json"])
}

/// The problems of one severity.
fn problems(value: &Value, severity: &str) -> Vec<String> {
    let all = value["problems"].as_array().expect("a list").iter();
    let of_it = all.filter(|problem| problem["severity"] == severity);
    of_it.map(|problem| problem["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn without_arguments_the_embedded_machine_runs_and_is_green() {
    let output = ioward(&[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stderr.is_empty(), "no progress where nobody watches");
    assert!(!said.contains('\x1b'), "no colours in a pipe");
    for word in ["gpu has PASIDs", "legacy", "refused", "source 0x1ff", "AMD v2", "All green"] {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 120), "{said}");
}

#[test]
fn json_has_its_documented_shape() {
    let (code, value) = json(&["run", "--json"]);
    assert_eq!((code, &value["exit_code"], &value["format"]), (0, &0.into(), &1.into()));
    assert_eq!((&value["machine"], &value["verdict"]), (&"embedded".into(), &"green".into()));
    let gpu = value["devices"].as_array().unwrap().iter().find(|device| device["name"] == "gpu").unwrap();
    assert_eq!(gpu["status"], "served");
    assert_eq!(gpu["domain"], "paging");
    assert_eq!(gpu["sources"][0]["iommu"], 0);
    assert_eq!(gpu["sources"][0]["source"], 0x11);
    assert_eq!(gpu["pasid_bits"], 8);
    assert!(gpu["formats"][0].as_str().unwrap().starts_with("Arm stage 1"));
    for check in value["checks"].as_array().unwrap() {
        assert_eq!(check["failed"], 0, "{check}");
        assert!(check["held"].as_u64().unwrap() > 0, "{check}");
    }
}

#[test]
fn the_width_is_the_one_that_is_asked_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_ioward")).env("COLUMNS", "72").output().unwrap();
    let said = text(&output);
    let wide: Vec<&str> = said.lines().filter(|line| line.chars().count() > 90).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn help_has_an_example_and_bad_arguments_are_an_error() {
    let help = text(&ioward(&["--help"]));
    assert!(help.contains("ioward run") && help.contains("Exit codes"), "{help}");
    assert_eq!(ioward(&["fly"]).status.code(), Some(2));
}

#[test]
fn a_path_that_is_not_there_or_empty_is_broken_input() {
    let (code, value) = json(&["run", "/nowhere/at/all", "--json"]);
    assert_eq!(code, 2);
    assert!(problems(&value, "broken")[0].contains("/nowhere/at/all"));
    let empty = directory("empty", &[]);
    let (code, value) = run(&empty);
    assert_eq!(code, 2);
    assert!(problems(&value, "broken")[0].contains("no sysfs (bus/pci/devices), ACPI table"));
    let junk = directory("junk", &[("IVRS.dat", b"\x7fELF and no table")]);
    let (code, value) = run(&junk);
    assert_eq!(code, 2);
    assert!(problems(&value, "broken")[0].contains("IVRS.dat: offset 0x0, header"));
}

#[test]
fn a_table_of_its_own_runs_and_says_that_devices_are_made_up() {
    let path = directory("good", &[("IVRS.dat", &tables::ivrs())]);
    let (code, value) = run(&path);
    assert_eq!(code, 0, "{value:#}");
    assert!(value["notes"][0].as_str().unwrap().contains("made up"));
    assert!(problems(&value, "broken").is_empty());
    let names: Vec<&str> =
        value["devices"].as_array().unwrap().iter().map(|device| device["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"0000:01:00.0"), "{names:?}");
    // The unity range of 01:00.0 was tried.
    let checks = value["checks"].as_array().unwrap();
    let regions = checks.iter().find(|check| check["id"] == "regions").unwrap();
    assert!(regions["held"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_readable_of_a_truncated_table_is_shown() {
    let whole = tables::ivrs();
    // The last block is cut.
    let path = directory("cut", &[("IVRS.dat", &whole[..whole.len() - 8])]);
    let (code, value) = run(&path);
    assert_eq!(code, 2);
    let broken = problems(&value, "broken");
    assert!(broken.iter().any(|text| text.contains("IVRS.dat: IVRS offset 0x")), "{broken:?}");
    assert_eq!(value["iommus"][0]["state"], "translates");
    assert!(!value["devices"].as_array().unwrap().is_empty());
}

#[test]
fn no_prefix_and_no_changed_byte_of_a_table_fails_a_check() {
    let whole = tables::ivrs();
    let mut variants: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()).collect();
    for at in (0..whole.len()).step_by(5) {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        variants.push(changed);
    }
    for (number, bytes) in variants.iter().enumerate() {
        let path = directory("changed", &[("IVRS.dat", bytes)]);
        let output = ioward(&["run", &path.display().to_string()]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 2 | 3)), "variant {number}: {code:?}\n{}", text(&output));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_bad_checksum_is_told_and_no_reason_to_stop() {
    let mut table = tables::ivrs();
    table[9] ^= 0x5a;
    let path = directory("checksum", &[("IVRS.dat", &table)]);
    let (code, value) = run(&path);
    assert_eq!(code, 0);
    assert!(problems(&value, "note").iter().any(|text| text.contains("instead of zero")));
}

#[test]
fn a_kind_that_is_not_supported_is_named_and_its_devices_are_listed() {
    let path = directory("old", &[("IORT.dat", &tables::iort(tables::SMMU_V2))]);
    let (code, value) = run(&path);
    assert_eq!(code, 3, "{value:#}");
    assert_eq!(value["verdict"], "unserved");
    assert_eq!(value["iommus"][0]["state"], "unsupported");
    assert!(value["iommus"][0]["kind"].as_str().unwrap().contains("SMMU"));
    for device in value["devices"].as_array().unwrap() {
        assert_eq!(device["status"], "unserved");
        assert!(device["why"].as_str().unwrap().contains("not supported"), "{device}");
    }
}

#[test]
fn an_iort_with_an_smmuv3_runs() {
    let path = directory("new", &[("IORT.dat", &tables::iort(tables::SMMU_V3))]);
    let (code, value) = run(&path);
    assert_eq!(code, 0, "{value:#}");
    assert_eq!(value["iommus"][0]["kind"], "SMMUv3");
}

#[test]
fn a_device_that_two_iommus_claim_is_refused_and_stays_blocked() {
    let path = directory("twice", &[("IORT.dat", &tables::iort_claimed_twice())]);
    let (code, value) = run(&path);
    assert_eq!(code, 2, "{value:#}");
    for device in value["devices"].as_array().unwrap() {
        assert_eq!(device["status"], "refused", "{device}");
    }
    let broken = problems(&value, "broken");
    assert!(
        broken.iter().any(|text| text.contains("of IOMMU 0") && text.contains("of IOMMU 1")),
        "{broken:?}"
    );
    assert!(value["checks"].as_array().unwrap().iter().all(|check| check["failed"] == 0), "{value:#}");
}

#[test]
fn a_listing_without_a_table_has_nobody_to_serve_it() {
    let listing = b"00:01.0 Ethernet controller [0200]: Maker Device [1234:5678]\n";
    let path = directory("bus", &[("lspci.txt", listing)]);
    let (code, value) = run(&path);
    assert_eq!(code, 3, "{value:#}");
    assert_eq!(value["devices"][0]["status"], "unserved");
}

#[test]
fn a_listing_beside_a_table_replaces_made_up_devices() {
    let listing = b"00:00.2 IOMMU [0806]: Maker Device [1022:1481]\n\
                    01:00.0 Ethernet controller [0200]: Maker Device [1234:5678]\n";
    let path = directory("both", &[("IVRS.dat", &tables::ivrs()), ("lspci.txt", listing)]);
    let (code, value) = run(&path);
    assert_eq!(code, 0, "{value:#}");
    let names: Vec<&Value> =
        value["devices"].as_array().unwrap().iter().map(|device| &device["name"]).collect();
    assert_eq!(names, ["0000:01:00.0"], "the IOMMU itself is no device");
    // The table names 00:14.0, which the listing does not have.
    assert!(problems(&value, "note").iter().any(|text| text.contains("0000:00:14.0")), "{value:#}");
}

#[test]
fn every_table_of_the_corpus_ends_as_its_readme_says() {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    if !root.is_dir() {
        println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", root.display());
        return;
    }
    /// Templates and test inputs whose references lead nowhere, and machines with an IOMMU at address zero.
    const BROKEN: [&str; 8] = [
        "acpica-template-iort.dat",
        "fwts-iort-0001-acpidump-0002.dat",
        "acpica-template-ivrs.dat",
        "fwts-ivrs-0001-acpidump-0002.dat",
        "acpica-template-dmar.dat",
        "lhw-Note-Lenovo-IdeaPadFlex_15_20309-D19FB82D46CF.dat",
        "lhw-Note-Lenovo-ThinkPad_E15_Gen_2_20TD0005MH-188EB681251A.dat",
        "fwts-viot-0001-acpidump-0002.dat",
    ];
    let folders = [
        ("acpi/IVRS", "dat"),
        ("acpi/IORT", "dat"),
        ("acpi/DMAR", "dat"),
        ("acpi/RIMT", "dat"),
        ("acpi/VIOT", "dat"),
        ("dtb", "dtb"),
        ("dtb-qemu", "dtb"),
    ];
    for (folder, ending) in folders {
        for entry in fs::read_dir(root.join(folder)).expect("the corpus has its folders").flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != ending) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (code, value) = run(&path);
            let expected = match folder {
                _ if BROKEN.contains(&&*name) => 2,
                "dtb" => 3,
                "acpi/IORT" if name.starts_with("surface-") => 3,
                _ => 0,
            };
            assert_eq!(code, expected, "{name}: {value:#}");
            if code == 2 {
                assert!(
                    problems(&value, "broken")
                        .iter()
                        .all(|text| text.contains(" offset 0x") || text.contains(" @0x")),
                    "{value:#}"
                );
            }
            if code == 3 {
                let units = value["iommus"].as_array().expect("a list");
                assert!(units.iter().all(|unit| unit["state"] != "translates"), "{name}");
                assert!(
                    !units.is_empty() && !value["devices"].as_array().expect("a list").is_empty(),
                    "{name}"
                );
            }
        }
    }
}
