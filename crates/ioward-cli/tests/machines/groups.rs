//! `ioward groups`.

use super::{
    body, document, golden, ioward, listing, listing_of, members, said, sorted, strings, text,
    trees::{self, link, two_ports, write},
};
use std::process::Command;

#[test]
fn groups_are_shown_as_a_person_reads_them() {
    let path = listing("golden");
    for columns in ["80", "120"] {
        let (said, code) = said(columns, &["groups", text(&path)]);
        assert_eq!(code, 0);
        golden(&format!("groups-{columns}.txt"), body(&said, columns));
        let (said, _) = super::said(columns, &["groups", text(&path), "--policy", "fabric"]);
        golden(&format!("groups-fabric-{columns}.txt"), body(&said, columns));
    }
}

#[test]
fn json_has_its_documented_shape() {
    let (document, _) = document(&["groups", text(&listing("shape"))]);
    let head = ["version", "machine", "degraded", "unread", "oddities"];
    let own = [
        "policy",
        "groups",
        "unsure",
        "without",
        "devices",
        "iommus",
        "linux_splits",
        "fabric_splits",
        "kernel",
    ];
    assert_eq!(sorted(&members(&document)), sorted(&[&head[..], &own[..]].concat()));
    assert_eq!((&document["version"], &document["policy"]), (&1.into(), &"linux".into()));
    let group = document["groups"].as_array().unwrap().iter().find(|group| {
        strings(&group["devices"]) == ["0000:01:00.0".to_owned(), "0000:01:00.1".to_owned()].into()
    });
    let group = group.expect("the card has a group of its own");
    assert_eq!(sorted(&members(group)), ["devices", "id", "reasons"]);
    let reason = &group["reasons"][0];
    assert_eq!(sorted(&members(reason)), ["causes", "member", "text", "with"]);
    assert_eq!(sorted(&members(&reason["causes"][0])), ["kind", "subject", "text"]);
    assert_eq!(reason["causes"][0]["kind"], "not-isolated");
    let device = &document["devices"][5];
    assert_eq!(
        sorted(&members(device)),
        sorted(&[
            "at",
            "ids",
            "class",
            "class_name",
            "name",
            "driver",
            "group",
            "kernel_group",
            "numa_node",
            "bridge",
            "untrusted",
            "passthrough"
        ])
    );
    assert_eq!((&device["at"], &device["driver"]), (&"0000:01:00.0".into(), &"nouveau".into()));
    assert_eq!(device["passthrough"]["why"], "with-own-functions");
    assert_eq!(strings(&device["passthrough"]["with"]), ["0000:01:00.1".to_owned()].into());
    assert_eq!(sorted(&members(&device["passthrough"])), ["possible", "why", "with"]);
    let hole = &document["linux_splits"][0];
    assert_eq!(sorted(&members(hole)), ["causes", "harmless", "one", "other"]);
    assert_eq!(hole["causes"][0]["subject"], "0000:03:00.0");
    assert_eq!(sorted(&members(&document["kernel"])), ["differences", "exact", "functions", "groups"]);
    assert_eq!(document["kernel"]["exact"], true);
    // The names in the documentation are those of the document.
    let docs = include_str!("../../../../docs/json.md");
    for name in members(&document).into_iter().chain(members(device)).chain(members(&document["kernel"])) {
        assert!(docs.contains(&format!("`{name}`")), "docs/json.md lacks {name}");
    }
}

#[test]
fn where_the_kernel_has_other_groups_it_is_said() {
    let path = listing_of("differs", &super::LISTING.replace("IOMMU group: 7", "IOMMU group: 5"));
    let (document, _) = document(&["groups", text(&path)]);
    assert_eq!(document["kernel"]["exact"], false);
    let difference = &document["kernel"]["differences"][0];
    assert_eq!(sorted(&members(difference)), ["kernel_joins", "one", "other"]);
    assert_eq!(difference["kernel_joins"], true);
    let (said, _) = said("80", &["groups", text(&path)]);
    assert!(said.contains("the kernel has 03:00.0 and 05:00.0 together"), "{said}");
}

#[test]
fn a_tree_of_sysfs_without_root_is_shown_as_unsure() {
    let root = trees::folder("cli-cut");
    two_ports(&root);
    for at in ["0000:00:01.0", "0000:01:00.0", "0000:00:02.0", "0000:02:00.0"] {
        let path = root.join("bus/pci/devices").join(at).join("config");
        let bytes = std::fs::read(&path).unwrap();
        write(&path, &bytes[..64]);
    }
    link(&root.join("bus/pci/devices/0000:00:1e.0"), "0000:00:1e.0");
    let (said, code) = said("80", &["groups", text(&root)]);
    assert_eq!(code, 0);
    for words in ["(unsure)", "functions are unsure", "run as root", "not read: ", "0000:00:1e.0"] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    let (document, _) = document(&["groups", text(&root)]);
    assert!(!strings(&document["unsure"]).is_empty());
    assert_eq!(document["unread"].as_array().unwrap().len(), 1);
}

/// Whether text has a sequence that sets colours, which ends with an `m`; the progress line has others.
fn is_coloured(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).into_owned();
    let end = |sequence: &str| sequence.chars().find(|letter| !letter.is_ascii_digit() && *letter != ';');
    text.split("\x1b[").skip(1).any(|sequence| end(sequence) == Some('m'))
}

#[test]
fn colours_are_for_terminals_only() {
    let path = listing("colours");
    let (said, _) = said("80", &["groups", text(&path)]);
    assert!(!said.contains('\x1b'));
    // `script` gives the program a terminal, where it is installed.
    let run = |no_colour: &str| {
        let command = format!("{} groups {}", env!("CARGO_BIN_EXE_ioward"), path.display());
        Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("NO_COLOR", no_colour)
            .env("TERM", "xterm-256color")
            .output()
    };
    match run("") {
        Ok(output) => {
            assert!(is_coloured(&output.stdout));
            assert!(!is_coloured(&run("1").unwrap().stdout));
        }
        Err(_) => println!("SKIPPED: no `script` to give the program a terminal"),
    }
}

#[test]
fn names_of_a_list_come_first_and_cannot_command_a_terminal() {
    let folder = trees::folder("cli-list-of-names");
    let list = folder.join("pci.ids");
    write(&list, "1234  Listed Maker\n\t1000  Listed Card \x1b[2J\n");
    let path = listing("names");
    let output = Command::new(env!("CARGO_BIN_EXE_ioward"))
        .args(["groups", text(&path)])
        .env("IOWARD_PCI_IDS", &list)
        .env("COLUMNS", "120")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Listed Maker Listed Card") && said.contains("Maker Disk"), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
}

#[test]
fn what_is_no_machine_is_an_error_that_names_it() {
    for path in ["/nowhere/at/all", "/dev/null", "/dev/zero"] {
        let output = ioward("80", &["groups", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(path), "{said}");
    }
}
