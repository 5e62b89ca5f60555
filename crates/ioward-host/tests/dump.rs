//! Directories of tables and text, and single files.

mod common;

use common::{folder, write};
use ioward::{pci::lspci, types::describe::Table};
use ioward_host::{Degraded, Machine, Origin};

const LISTING: &str = "00:01.0 Ethernet controller: Maker Device\n\tFlags: bus master, fast devsel\n";

#[test]
fn a_directory_has_tables_listings_and_ids_out_of_a_log() {
    let path = folder("whole");
    write(&path.join("lspci.txt"), LISTING);
    write(&path.join("ids-from-dmesg.txt"), "0000:00:01.0 1234:5678 type 00 class 0x020000\n");
    write(&path.join("IVRS"), b"IVRS");
    write(&path.join("FACP.dat"), [b"FACP", &244_u32.to_le_bytes()[..]].concat());
    write(&path.join("about.txt"), "a machine");
    let machine = Machine::open(&path).unwrap();
    assert_eq!(machine.origin, Origin::Directory(path));
    let function = &machine.topology.functions()[0];
    assert_eq!(function.ids.map(|ids| (ids.vendor, ids.device)), Some((0x1234, 0x5678)));
    assert_eq!(function.class, Some(0x0200));
    // The text lacks IDs, the machine does not.
    assert_eq!(machine.degraded, [Degraded::PassedOver { files: vec!["about.txt".into()] }]);
    assert_eq!(machine.tables.iter().map(|table| table.kind).collect::<Vec<_>>(), [Table::Ivrs]);
    assert_eq!(machine.passed_over, ["FACP.dat"]);
    assert!(machine.unread.is_empty(), "{:?}", machine.unread);
}

#[test]
fn files_that_are_not_opened_are_named() {
    let path = folder("passed-over");
    write(&path.join("pci.txt"), LISTING);
    let error = Machine::open(&path).unwrap_err().to_string();
    assert!(error.contains("no sysfs") && error.contains("pci.txt: not opened"), "{error}");
    // A log of lspci is what it says.
    write(&path.join("lspci.log"), LISTING);
    let machine = Machine::open(&path).unwrap();
    assert_eq!(machine.topology.functions().len(), 1);
    assert!(machine.degraded.contains(&Degraded::PassedOver { files: vec!["pci.txt".into()] }));
}

#[test]
fn what_a_listing_lacks_is_said_with_its_name() {
    let path = folder("lacking").join("saved-lspci");
    write(&path, LISTING);
    let machine = Machine::open(&path).unwrap();
    assert_eq!(machine.origin, Origin::File(path));
    let what = lspci::Degraded::NoIds { functions: 1 };
    assert_eq!(machine.degraded, [Degraded::Listing { file: "saved-lspci".into(), what }]);
}

#[test]
fn a_file_is_what_its_first_bytes_say() {
    let folder = folder("sniff");
    let tree = folder.join("anything");
    write(&tree, [0xd0, 0x0d, 0xfe, 0xed]);
    assert_eq!(Machine::open(&tree).unwrap().tables[0].kind, Table::DeviceTree);
    let text = folder.join("letter");
    write(&text, "Dear list,\n");
    let error = Machine::open(&text).unwrap_err().to_string();
    assert!(error.contains("letter: offset 0x0, header: neither"), "{error}");
}
