//! Snapshots: what goes in comes out, nothing tells whose machine it is, and what was altered is refused by name.

mod common;

use common::{Config, folder, function, link, two_ports, write};
use ioward::types::describe::Table;
use ioward_host::{
    Degraded, FirmwareTable, Machine, Origin, ReadError,
    snapshot::{Removed, snapshot},
};
use std::{fs, path::Path};

/// A sysfs with everything that a snapshot holds.
fn machine(name: &str) -> Machine {
    let root = folder(name);
    let sys = root.join("sys");
    two_ports(&sys);
    let mut config = Config::new(0x8086, 0x10fb, 0x0200).express(0).bytes();
    // A serial number, at the end of the extended list.
    config[0x100..0x104].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
    config[0x104..0x10c].copy_from_slice(b"\x01\x02\x03\xff\xfe\x04\x05\x06");
    let nic = function(&sys, "0000:03:00.0", Config::new(0x8086, 0x10fb, 0x0200));
    write(&nic.join("config"), &config);
    link(&nic.join("driver"), "../../../../bus/pci/drivers/ixgbe");
    link(&nic.join("iommu_group"), "../../../../kernel/iommu_groups/7");
    write(&nic.join("numa_node"), "1\n");
    write(&nic.join("removable"), "removable\n");
    let group = sys.join("kernel/iommu_groups/7");
    link(&group.join("devices/0000:03:00.0"), "../../../../bus/pci/devices/0000:03:00.0");
    write(&group.join("type"), "DMA-FQ\n");
    write(&group.join("reserved_regions"), "0x00000000fee00000 0x00000000feefffff msi\n");
    write(&sys.join("class/iommu/dmar0/intel-iommu/cap"), "d2008c40660462\n");
    write(&sys.join("class/iommu/dmar0/intel-iommu/ecap"), "f050da\n");
    write(&sys.join("kernel/irq/24/chip_name"), "IR-PCI-MSI\n");
    let mut table = b"DMAR\x30\0\0\0\x01\0IOWARDTEST    \x01\0\0\0ID  \x01\0\0\0\x26\0".to_vec();
    table.resize(48, 0);
    write(&sys.join("firmware/acpi/tables/DMAR"), &table);
    write(&root.join("proc/sys/kernel/osrelease"), "6.12.0\n");
    write(&root.join("proc/cmdline"), "root=UUID=c0ffee ro intel_iommu=on host=desk\n");
    Machine::open(&sys).unwrap()
}

fn reread(name: &str, text: &str) -> Result<Machine, String> {
    let path = folder(name).join("machine.json");
    write(&path, text);
    Machine::open(&path).map_err(|error| error.to_string())
}

#[test]
fn what_goes_in_comes_out() {
    let machine = machine("whole");
    let (text, removed) = snapshot(&machine).unwrap();
    assert_eq!(removed.get(&Removed::SerialNumber), Some(&1));
    let again = reread("whole-again", &text).unwrap();
    assert!(matches!(again.origin, Origin::Snapshot(_)));
    assert_eq!(again.kernel, machine.kernel);
    assert_eq!(again.tables, machine.tables);
    assert_eq!(again.degraded, machine.degraded);
    assert_eq!(again.topology.functions(), machine.topology.functions());
    let nic = &again.records[&"0000:03:00.0".parse().unwrap()];
    assert_eq!((nic.driver.as_deref(), nic.group, nic.numa_node), (Some("ixgbe"), Some(7), Some(1)));
    assert_eq!(again.kernel.options.as_deref(), Some(&["intel_iommu=on".to_owned()][..]));
    // A snapshot of a snapshot is the same text, but for what there was to take out.
    let (second, removed) = snapshot(&again).unwrap();
    assert_eq!(removed.get(&Removed::SerialNumber), Some(&1));
    assert_eq!(second, text);
}

#[test]
fn nothing_tells_whose_machine_it_is() {
    let mut machine = machine("private");
    let mut tree = Vec::new();
    tree_with(&mut tree, "local-mac-address", b"\xaa\xbb\xcc\xdd\xee\xff");
    machine.tables.push(FirmwareTable { kind: Table::DeviceTree, file: "fdt".into(), bytes: tree });
    let (text, removed) = snapshot(&machine).unwrap();
    assert_eq!(removed.get(&Removed::TreeProperty), Some(&1));
    // One whose structure ends in the middle was searched to there only.
    let tree = machine.tables.last_mut().unwrap();
    let end = tree.bytes.windows(8).position(|words| words == [0, 0, 0, 2, 0, 0, 0, 9]).unwrap();
    tree.bytes[end + 3] = 0x77;
    let (broken, removed) = snapshot(&machine).unwrap();
    assert_eq!((removed.get(&Removed::Tree), removed.get(&Removed::TreeProperty)), (Some(&1), None));
    assert!(!broken.contains("d0 0d fe ed") && broken.contains("whole device trees"), "{broken}");
    assert!(reread("private-again", &broken).is_ok());
    for secret in ["01 02 03 ff fe", "aa bb cc dd ee", "c0ffee", "host=desk", env!("CARGO_TARGET_TMPDIR")] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn what_lies_outside_a_device_trees_blocks_is_not_kept() {
    let mut plain = Vec::new();
    tree_with(&mut plain, "compatible", b"maker,board\0");
    // Behind the end token, in a gap before the strings, and behind the whole.
    let end = plain.windows(8).position(|words| words == [0, 0, 0, 2, 0, 0, 0, 9]).unwrap() + 8;
    let mut stuffed = plain.clone();
    stuffed.splice(end..end, *b"SECRET-ONE..SECRET-TWO..");
    let grow = |tree: &mut Vec<u8>, at: usize, by: u32| {
        let word = u32::from_be_bytes(tree[at..at + 4].try_into().unwrap()) + by;
        tree[at..at + 4].copy_from_slice(&word.to_be_bytes());
    };
    grow(&mut stuffed, 4, 24);
    grow(&mut stuffed, 12, 24);
    grow(&mut stuffed, 36, 12);
    stuffed.extend(*b"SECRET-THREE");
    let mut machine = machine("stuffed");
    let file = "fdt".to_owned();
    machine.tables.push(FirmwareTable { kind: Table::DeviceTree, file, bytes: stuffed.clone() });
    let again = reread("stuffed-again", &snapshot(&machine).unwrap().0).unwrap();
    let kept = &again.tables.last().unwrap().bytes;
    assert!(!kept.windows(6).any(|window| window == b"SECRET"), "{kept:02x?}");
    stuffed[end..end + 24].fill(0);
    let length = stuffed.len();
    stuffed[length - 12..].fill(0);
    assert_eq!(*kept, stuffed);
}

/// A device tree whose root has one property.
fn tree_with(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let mut structure = Vec::new();
    let mut word = |word: u32| structure.extend(word.to_be_bytes());
    [1, 0, 3, value.len() as u32, 0].into_iter().for_each(&mut word);
    structure.extend(padded(value));
    structure.extend([0, 0, 0, 2, 0, 0, 0, 9]);
    let strings = [name.as_bytes(), &[0]].concat();
    let (at, end) = (56, 56 + structure.len());
    let header = [
        0xd00d_feed,
        (end + strings.len()) as u32,
        at,
        end as u32,
        40,
        17,
        16,
        0,
        strings.len() as u32,
        structure.len() as u32,
    ];
    header.iter().for_each(|word: &u32| out.extend(word.to_be_bytes()));
    out.extend([0; 16]);
    out.extend(structure);
    out.extend(strings);
}

#[test]
fn a_machine_read_without_rights_says_so_when_it_is_read_again() {
    let mut machine = machine("denied");
    machine.degraded.push(Degraded::TablesDenied { tables: 2 });
    let (text, _) = snapshot(&machine).unwrap();
    let again = reread("denied-again", &text).unwrap();
    assert!(again.needs_root());
    assert!(again.degraded.contains(&Degraded::TablesDenied { tables: 2 }));
}

#[test]
fn what_the_kernel_was_told_or_not_asked_comes_out() {
    for (no_iommu, unseen) in [(false, false), (true, false), (false, true)] {
        let mut machine = machine("told");
        (machine.kernel.allows_no_iommu, machine.kernel.iommus_unseen) = (no_iommu, unseen);
        let again = reread("told-again", &snapshot(&machine).unwrap().0).unwrap();
        assert_eq!(again.kernel, machine.kernel);
    }
}

#[test]
fn text_of_lspci_makes_no_snapshot() {
    let path = folder("text").join("lspci.txt");
    write(&path, "00:00.0 Host bridge [0600]: Intel Corporation Device [8086:1234]\n");
    let error = snapshot(&Machine::open(&path).unwrap()).unwrap_err().to_string();
    assert!(error.contains("lspci.txt") && error.contains("text of lspci"), "{error}");
}

#[test]
fn what_was_altered_is_refused_and_named() {
    let (text, _) = snapshot(&machine("altered")).unwrap();
    assert!(reread("altered-not", &text).is_ok());
    let twice = {
        let start = text.find("    {\n      \"at\": \"0000:03:00.0\"").unwrap();
        let end = start + text[start..].find("\n    }").unwrap() + 6;
        format!("{}{},\n{}", &text[..start], &text[start..end], &text[start..])
    };
    for (name, altered, why) in [
        ("version", text.replace("\"version\": 1", "\"version\": 2"), "version 2 of the format"),
        ("member", text.replace("\"removed\"", "\"more\""), "unknown field `more`"),
        (
            "place",
            text.replace("\"0000:03:00.0\",\n      \"ids", "\"03.0\",\n      \"ids"),
            "\"03.0\" is not of the form",
        ),
        ("digits", text.replace("\"0x8086\"", "\"0xg\""), "not a number like"),
        ("wide", text.replace("\"0x8086\"", "\"0x18086\""), "more than 16 bits"),
        ("row", text.replace("\"0000\": \"", "\"0004\": \""), "multiple of 16"),
        ("region", text.replace("\"0xfee00000\"", "\"0xffffffff\""), "before it begins"),
        ("kind", text.replace("\"kind\": \"DMAR\"", "\"kind\": \"SSDT\""), "no kind of table"),
        ("config", text.replace("\"bytes\": 4096", "\"bytes\": 8192"), "more than 4096 bytes"),
        ("cut", text[..text.len() / 2].to_owned(), "EOF"),
        ("twice", twice, "stands there twice"),
    ] {
        assert_ne!(altered, text, "{name} alters nothing");
        let error = reread(&format!("altered-{name}"), &altered).map(|_| ()).unwrap_err();
        assert!(error.contains("machine.json") && error.contains(why), "{name}: {error}");
    }
}

#[test]
fn of_what_could_not_be_read_only_the_copys_own_path_is_kept() {
    let root = folder("beside/somebody");
    let sys = root.join("sys");
    two_ports(&sys);
    fs::create_dir_all(root.join("proc/cmdline")).unwrap();
    fs::create_dir_all(sys.join("bus/pci/devices/0000:02:00.0/numa_node")).unwrap();
    let mut machine = Machine::open(&sys).unwrap();
    let foreign = Path::new("/home/somebody/secret/list").to_owned();
    machine.unread.push(ReadError::TooLarge { path: foreign, most: 1 });
    let (text, _) = snapshot(&machine).unwrap();
    assert!(!text.contains("somebody") && !text.contains("secret"), "{text}");
    for kept in ["\"proc/cmdline\"", "\"bus/pci/devices/0000:02:00.0/numa_node\"", "\"list\""] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
}

#[test]
fn a_small_file_cannot_stand_for_gigabytes() {
    let mut document: serde_json::Value =
        serde_json::from_str(&snapshot(&machine("bomb")).unwrap().0).unwrap();
    let bomb =
        serde_json::json!({"kind": "IORT", "file": "IORT", "content": {"bytes": 40 << 20, "rows": {}}});
    document["tables"].as_array_mut().unwrap().extend([bomb.clone(), bomb]);
    let error = reread("bomb-again", &document.to_string()).map(|_| ()).unwrap_err();
    assert!(error.contains("41943040 bytes of IORT make more than 67108864 bytes of tables"), "{error}");
    let mut document: serde_json::Value =
        serde_json::from_str(&snapshot(&machine("bomb-config")).unwrap().0).unwrap();
    document["functions"][0]["config"] = serde_json::json!({"bytes": 1_u64 << 60, "rows": {}});
    let error = reread("bomb-config-again", &document.to_string()).map(|_| ()).unwrap_err();
    assert!(error.contains("more than 4096 bytes"), "{error}");
}

#[test]
fn words_of_a_foreign_file_do_nothing_to_a_terminal() {
    let (text, _) = snapshot(&machine("escape")).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let evil = "x\u{1b}]0;title\u{7}\u{9b}2J\u{202e}y";
    document["functions"][0]["driver"] = evil.into();
    document["kernel"]["thunderbolt"] = serde_json::json!({evil: true});
    document["kernel"]["version"] = evil.into();
    document["tables"][0]["file"] = evil.into();
    document["unread"] = serde_json::json!([{"path": evil, "cause": evil, "needs_root": false}]);
    let machine = reread("escape-again", &document.to_string()).unwrap();
    let mut said: Vec<String> = machine.unread.iter().map(ToString::to_string).collect();
    said.extend(machine.topology.functions().iter().filter_map(|function| function.driver.clone()));
    said.extend(machine.records.values().filter_map(|record| record.driver.clone()));
    said.extend(machine.kernel.thunderbolt.keys().chain(&machine.kernel.version).cloned());
    said.extend(machine.tables.iter().map(|table| table.file.clone()));
    assert_eq!(said.iter().filter(|words| words.contains("x\u{fffd}]0;title")).count(), 6, "{said:?}");
    document[evil] = 1.into();
    said.push(reread("escape-member", &document.to_string()).map(|_| ()).unwrap_err());
    for words in said {
        assert!(!words.contains(|c: char| c.is_control() || c == '\u{202e}'), "{words:?}");
    }
}

#[test]
fn what_is_no_snapshot_is_not_taken_for_one() {
    let path = folder("other").join("lspci.txt");
    write(&path, "{ \"format\": \"ioward\" }");
    assert!(Machine::open(&path).is_err());
    assert!(!ioward_host::snapshot::is_snapshot(b""));
    assert!(!ioward_host::snapshot::is_snapshot(b"\"ioward-snapshot\""));
    assert!(fs::metadata(Path::new(&path)).is_ok());
}
