//! What a directory can hold that is no machine: each ends, and is named.

mod common;

use common::{folder, link, two_ports, write};
use ioward_host::{Machine, ReadError};
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::Command,
};

fn fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let status = Command::new("mkfifo").arg(path).status().expect("mkfifo is part of every system");
    assert!(status.success());
}

fn said(machine: &Machine) -> String {
    machine.unread.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn what_is_not_there_or_empty_is_an_error_with_its_path() {
    let nowhere = Machine::open(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(nowhere.to_string().starts_with("/nowhere/at/all: "), "{nowhere}");
    let empty = folder("empty");
    let nothing = Machine::open(&empty).unwrap_err();
    assert_eq!(nothing.0, [ReadError::Nothing { path: empty.clone() }]);
    assert!(Machine::open(&empty.join("bus")).is_err());
}

#[test]
fn a_sysfs_full_of_traps_is_read_around_them() {
    let root = folder("traps");
    two_ports(&root);
    let devices = root.join("bus/pci/devices");
    link(&devices.join("0000:00:1e.0"), "0000:00:1e.0");
    link(&devices.join("0000:00:1d.0"), "../nowhere");
    fs::create_dir_all(devices.join("0000:00:1b.0/config")).unwrap();
    fifo(&devices.join("0000:00:1c.0/config"));
    fifo(&devices.join("0000:00:1a.0/vendor"));
    write(&devices.join("0000:00:19.0/vendor"), "Intel\n");
    write(&devices.join("0000:00:18.0"), "a file");
    write(&devices.join("0000:00:17.0/config"), vec![0; 5000]);
    write(&devices.join("printer/config"), [0; 64]);
    fs::create_dir_all(devices.join(OsStr::from_bytes(b"\xff\xfe"))).unwrap();
    write(&root.join("kernel/iommu_groups/many/type"), "DMA\n");
    write(&root.join("kernel/iommu_groups/1/reserved_regions"), "0x5 0x1 direct\nfar away\n");
    link(&root.join("kernel/iommu_groups/2"), "2");
    let huge = File::create(root.join("firmware_is_a_file")).unwrap();
    huge.set_len(1 << 40).unwrap();
    write(&root.join("firmware/acpi/tables/keep"), "");
    let table = File::create(root.join("firmware/acpi/tables/DMAR")).unwrap();
    table.set_len(1 << 40).unwrap();

    let machine = Machine::open(&root).unwrap();
    let said = said(&machine);
    for trap in [
        "0000:00:1e.0",
        "0000:00:1d.0",
        "0000:00:1b.0/config: a directory, not a file",
        "0000:00:1c.0/config: a pipe, socket or device, not a file",
        "0000:00:1a.0/vendor: a pipe",
        "0000:00:19.0/vendor: \"Intel\" is not a hexadecimal number",
        "0000:00:18.0",
        "0000:00:17.0/config: larger than the 4096 bytes",
        "\"printer\" is not the name of a PCI function",
        "\"many\" is not the number of a group",
        "\"0x5 0x1 direct\" is not a region",
        "\"far away\"",
        "DMAR: larger than",
    ] {
        assert!(said.contains(trap), "{trap} is not named:\n{said}");
    }
    let names: Vec<String> =
        machine.topology.functions().iter().map(|function| function.at.to_string()).collect();
    for at in ["0000:00:01.0", "0000:01:00.0", "0000:00:02.0", "0000:02:00.0"] {
        assert!(names.iter().any(|name| name == at), "{at} is lost: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "0000:00:1d.0"), "a dead link is no function");
}

#[test]
fn a_dump_directory_full_of_traps_is_read_around_them() {
    let path = folder("dump");
    write(&path.join("lspci.txt"), "00:01.0 Ethernet controller [0200]: Maker Device [1234:5678]\n");
    fifo(&path.join("lspci-more.txt"));
    fifo(&path.join("DMAR.dat"));
    fifo(&path.join("dmesg.txt"));
    link(&path.join("IVRS.dat"), "IVRS.dat");
    fs::create_dir_all(path.join("old-lspci.txt")).unwrap();
    let huge = File::create(path.join("board.dtb")).unwrap();
    huge.set_len(1 << 40).unwrap();
    write(&path.join("IORT.dat"), [0xff; 100]);
    fs::write(path.join(OsStr::from_bytes(b"lspci-\xff.txt")), b"\xff\xfe\x00").unwrap();
    let machine = Machine::open(&path).unwrap();
    assert_eq!(machine.topology.functions().len(), 1);
    let said = said(&machine);
    for trap in [
        "lspci-more.txt: a pipe",
        "DMAR.dat: a pipe",
        "dmesg.txt: a pipe",
        "IVRS.dat",
        "board.dtb: larger than",
        "IORT.dat: offset 0x0, header: no ACPI signature",
        "lspci-\u{fffd}.txt",
    ] {
        assert!(said.contains(trap), "{trap} is not named:\n{said}");
    }
}

#[test]
fn a_device_tree_that_is_too_deep_ends() {
    let root = folder("deep");
    let mut base = root.join("firmware/devicetree/base");
    for _ in 0..100 {
        base = base.join("n");
    }
    write(&base.join("compatible"), b"x\0");
    two_ports(&root);
    let machine = Machine::open(&root).unwrap();
    assert!(said(&machine).contains("larger than"), "{}", said(&machine));
}

#[test]
fn a_node_of_many_large_properties_ends() {
    let root = folder("wide");
    two_ports(&root);
    let base = root.join("firmware/devicetree/base");
    fs::create_dir_all(&base).unwrap();
    // Holes, which take no room on a disk.
    for number in 0..70 {
        File::create(base.join(format!("p{number}"))).unwrap().set_len(1 << 20).unwrap();
    }
    let machine = Machine::open(&root).unwrap();
    assert!(said(&machine).contains("larger than the 67108864 bytes"), "{}", said(&machine));
    assert!(machine.tables.is_empty());
}
