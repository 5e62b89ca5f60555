//! `ioward explain`.

use super::{body, document, golden, ioward, listing, members, said, sorted, strings, text};
use serde_json::Value;

#[test]
fn a_device_is_explained_as_a_person_reads_it() {
    let path = listing("explain");
    for (device, name) in [("01:00.0", "card"), ("04:00.0", "disk"), ("00:1f.3", "sound")] {
        for columns in ["80", "120"] {
            let (said, code) = said(columns, &["explain", device, text(&path)]);
            assert_eq!(code, 0);
            let with_heading = format!("\n\n{said}");
            golden(&format!("explain-{name}-{columns}.txt"), body(&with_heading, columns));
        }
    }
}

#[test]
fn a_device_is_found_by_place_id_and_name() {
    let path = listing("pick");
    for device in ["01:00.0", "0000:01:00.0", "1234:1000", "graphics CARD", "VGA compatible"] {
        let (document, code) = document(&["explain", device, text(&path)]);
        assert_eq!((code, &document["device"]), (0, &Value::from("0000:01:00.0")), "{device}");
    }
}

#[test]
fn what_is_unknown_or_ambiguous_lists_candidates() {
    let path = listing("candidates");
    for (device, words) in [
        ("1234:2001", &["any of 2", "03:00.0", "03:01.0"][..]),
        ("graphics", &["any of 2", "01:00.0", "01:00.1"][..]),
        ("toaster", &["no device is called \"toaster\"", "ioward groups"][..]),
        ("", &["no device is called"][..]),
        ("01:00.7", &["no function is at 0000:01:00.7", "01:00.0"][..]),
        ("ffff:01:00.0", &["no function is at ffff:01:00.0"][..]),
    ] {
        let output = ioward("80", &["explain", device, text(&path)]);
        assert_eq!(output.status.code(), Some(2), "{device}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(words.iter().all(|word| said.contains(word)), "{device}: {said}");
    }
}

#[test]
fn json_has_its_documented_shape() {
    // The port that does not isolate could: its bits are off.
    let acs = "\tCapabilities: [100 v1] Access Control Services\n\
               \t\tACSCap: SrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-\n\
               \t\tACSCtl: SrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-\n";
    let listing = super::LISTING.replace("03:01.0 PCI bridge", &format!("{acs}03:01.0 PCI bridge"));
    let path = super::listing_of("explain-shape", &listing);
    let (document, _) = document(&["explain", "05:00.0", text(&path), "--policy", "fabric"]);
    let head = ["version", "machine", "degraded", "unread", "oddities"];
    let own = [
        "policy",
        "device",
        "name",
        "group",
        "kernel_group",
        "unsure",
        "passthrough",
        "tied",
        "path",
        "linux_splits",
        "remedies",
        "blockers",
        "acs_override",
    ];
    assert_eq!(sorted(&members(&document)), sorted(&[&head[..], &own[..]].concat()));
    let tied = document["tied"].as_array().unwrap();
    assert_eq!(sorted(&members(&tied[0])), ["causes", "members"]);
    assert!(tied.iter().any(|tied| strings(&tied["members"]).contains("0000:04:00.0")), "{document:#}");
    let bridge = &document["path"][0];
    assert_eq!(sorted(&members(bridge)), ["acs_off", "acs_on", "at", "isolates", "text"]);
    assert_eq!((&bridge["at"], &bridge["isolates"]), (&"0000:03:01.0".into(), &true.into()));
    let remedy = &document["remedies"][0];
    assert_eq!(
        sorted(&members(remedy)),
        sorted(&["steps", "kernel_parameters", "frees", "certain", "left", "own", "text"])
    );
    let docs = include_str!("../../../../docs/json.md");
    for name in members(&document).into_iter().chain(members(bridge)).chain(members(remedy)) {
        assert!(docs.contains(&format!("`{name}`")), "docs/json.md lacks {name}");
    }
    // Under Linux the same device has a hole to the disk.
    let (document, _) = super::document(&["explain", "05:00.0", text(&path)]);
    let holes = document["linux_splits"].as_array().unwrap();
    assert!(holes.iter().any(|hole| strings(&hole["members"]).contains("0000:04:00.0")), "{document:#}");
}
