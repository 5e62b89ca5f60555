//! `ioward check`.

use super::{
    document, listing, members, said, sorted, strings, text,
    trees::{self, Config, function, write},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The IDs of what was found, by severity.
fn ids(document: &Value, severity: &str) -> Vec<String> {
    let findings = document["findings"].as_array().expect("a list").iter();
    let of_it = findings.filter(|finding| finding["severity"] == severity);
    of_it.map(|finding| finding["id"].as_str().expect("text").to_owned()).collect()
}

/// A DMAR: flags, one unit for everything else with an I/O APIC, and a region that 0000:01:00.0 requires if asked for.
fn dmar(flags: u8, region: bool) -> Vec<u8> {
    let mut table = b"DMAR".to_vec();
    table.resize(48, 0);
    (table[8], table[36], table[37]) = (1, 47, flags);
    let apic = [3, 8, 0, 0, 2, 0, 0x1e, 0];
    let mut unit = [&0_u16.to_le_bytes()[..], &24_u16.to_le_bytes(), &[1, 0, 0, 0]].concat();
    unit.extend(0xfed9_0000_u64.to_le_bytes());
    unit.extend(apic);
    table.extend(unit);
    if region {
        let mut rmrr = [&1_u16.to_le_bytes()[..], &34_u16.to_le_bytes(), &[0, 0, 0, 0]].concat();
        rmrr.extend(0x7a00_0000_u64.to_le_bytes());
        rmrr.extend(0x7a00_ffff_u64.to_le_bytes());
        // The path leads through the root port 00:01.0.
        rmrr.extend([1, 10, 0, 0, 0, 0, 1, 0, 0, 0]);
        table.extend(rmrr);
    }
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0_u8.wrapping_sub(table.iter().fold(0, |sum, byte| sum.wrapping_add(*byte)));
    table
}

/// The sysfs of a machine with nothing wrong, and `proc` beside it: one port that isolates, a card below it, an IOMMU that
/// the kernel uses.
fn good(name: &str, table: &[u8]) -> PathBuf {
    let folder = trees::folder(&format!("cli-check-{name}"));
    write(&folder.join("proc/cmdline"), "quiet\n");
    let root = folder.join("sys");
    let port = Config::new(0x8086, 0x1901, 0x0604).bridge(0, 1, 1).express(4).acs(0x1f, 0x1d);
    function(&root, "0000:00:01.0", port);
    function(&root, "0000:00:1e.0", Config::new(0x8086, 0x1234, 0x0800).express(9));
    function(&root, "0000:01:00.0", Config::new(0x8086, 0x1572, 0x0200).express(0));
    write(&root.join("firmware/acpi/tables/DMAR"), table);
    write(&root.join("class/iommu/dmar0/intel-iommu/cap"), "d2008c40660462\n");
    write(&root.join("class/iommu/dmar0/intel-iommu/ecap"), "f050da\n");
    write(&root.join("kernel/irq/24/chip_name"), "IR-PCI-MSI\n");
    for (number, at) in ["0000:00:01.0", "0000:00:1e.0", "0000:01:00.0"].iter().enumerate() {
        let group = root.join(format!("kernel/iommu_groups/{number}"));
        write(&group.join("devices").join(at), "");
        write(&group.join("type"), "DMA\n");
    }
    root
}

fn check(root: &Path) -> (Value, i32) {
    document(&["check", text(root)])
}

#[test]
fn a_machine_with_nothing_wrong_is_safe() {
    let (document, code) = check(&good("safe", &dmar(1, false)));
    assert_eq!(code, 0, "{document:#}");
    assert_eq!((&document["verdict"], &document["exit_code"]), (&"safe".into(), &0.into()));
    assert!(ids(&document, "danger").is_empty());
}

/// A name, what is done to the good machine, the flags of its DMAR, and what must be found then.
type Broken<'a> = (&'a str, &'a dyn Fn(&Path), u8, &'a str);

/// Each thing that can be wrong, put into the machine that has nothing wrong.
#[test]
fn each_danger_is_found_and_named() {
    let broken: [Broken<'_>; 17] = [
        (
            "apic",
            &|root| {
                // The scope of the I/O APIC becomes one of a timer.
                let mut table = dmar(1, false);
                table[64] = 4;
                table[9] = table[9].wrapping_sub(1);
                write(&root.join("firmware/acpi/tables/DMAR"), table);
            },
            1,
            "io-apic-unnamed",
        ),
        (
            "off",
            &|root| {
                std::fs::remove_dir_all(root.join("class/iommu/dmar0"))
                    .and_then(|()| std::fs::remove_dir_all(root.join("kernel/iommu_groups")))
                    .unwrap()
            },
            1,
            "iommu-off",
        ),
        (
            "none",
            &|root| {
                std::fs::remove_dir_all(root.join("class/iommu/dmar0")).unwrap();
                std::fs::remove_dir_all(root.join("kernel/iommu_groups")).unwrap();
                std::fs::remove_file(root.join("firmware/acpi/tables/DMAR")).unwrap();
            },
            1,
            "iommu-none",
        ),
        ("flag", &|_| {}, 0, "interrupt-remapping-none"),
        (
            "ecap",
            &|root| write(&root.join("class/iommu/dmar0/intel-iommu/ecap"), "f050d2\n"),
            1,
            "interrupt-remapping-none",
        ),
        (
            "plain",
            &|root| write(&root.join("kernel/irq/24/chip_name"), "PCI-MSI\n"),
            1,
            "interrupt-remapping-off",
        ),
        (
            "allowed",
            &|root| write(&root.join("module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"), "Y\n"),
            1,
            "unsafe-interrupts-allowed",
        ),
        (
            "allowed-iommufd",
            &|root| write(&root.join("module/iommufd/parameters/allow_unsafe_interrupts"), "Y\n"),
            1,
            "unsafe-interrupts-allowed",
        ),
        (
            "no-iommu",
            &|root| write(&root.join("module/vfio/parameters/enable_unsafe_noiommu_mode"), "Y\n"),
            1,
            "no-iommu-allowed",
        ),
        (
            "kernel-splits",
            &|root| {
                // Two functions of a card without ACS, which the kernel has in two groups.
                let card = || Config::new(0x8086, 0x1572, 0x0200).express(0).multifunction();
                function(root, "0000:01:00.0", card());
                function(root, "0000:01:00.1", card());
                write(&root.join("kernel/iommu_groups/7/devices/0000:01:00.1"), "");
            },
            1,
            "kernel-splits",
        ),
        (
            "outside-amd",
            &|root| {
                std::fs::remove_file(root.join("firmware/acpi/tables/DMAR")).unwrap();
                write(&root.join("firmware/acpi/tables/IVRS"), ivrs(0, SOUTHBRIDGE));
                write(&root.join("bus/pci/devices/0000:01:00.0/removable"), "removable\n");
            },
            1,
            "no-dma-opt-in",
        ),
        (
            "thunderbolt",
            &|root| write(&root.join("bus/thunderbolt/devices/domain0/iommu_dma_protection"), "0\n"),
            1,
            "thunderbolt-unprotected",
        ),
        (
            "outside",
            &|root| write(&root.join("bus/pci/devices/0000:01:00.0/removable"), "removable\n"),
            1,
            "no-dma-opt-in",
        ),
        (
            "ats",
            &|root| {
                write(&root.join("bus/pci/devices/0000:01:00.0/removable"), "removable\n");
                function(root, "0000:01:00.0", Config::new(0x8086, 0x1572, 0x0200).express(0).ats(true));
            },
            5,
            "ats-untrusted",
        ),
        (
            "unserved",
            &|root| {
                // A unit that names one function only, and none for the rest.
                let mut table = dmar(1, false);
                table[52] = 0;
                table[9] = table[9].wrapping_add(1);
                write(&root.join("firmware/acpi/tables/DMAR"), table);
            },
            1,
            "device-unserved",
        ),
        (
            "cut",
            &|root| write(&root.join("firmware/acpi/tables/DMAR"), &dmar(1, false)[..60]),
            1,
            "table-broken",
        ),
        (
            "hole",
            &|root| {
                // A switch, one of whose ports does not redirect.
                let bridge = |buses: (u8, u8, u8), kind| {
                    Config::new(0x10b5, 0x8747, 0x0604).bridge(buses.0, buses.1, buses.2).express(kind)
                };
                let port = Config::new(0x8086, 0x1901, 0x0604).bridge(0, 2, 5).express(4).acs(0x1f, 0x1d);
                function(root, "0000:00:02.0", port);
                function(root, "0000:02:00.0", bridge((2, 3, 5), 5));
                function(root, "0000:03:00.0", bridge((3, 4, 4), 6));
                function(root, "0000:03:01.0", bridge((3, 5, 5), 6).acs(0x1f, 0x1d));
                function(root, "0000:04:00.0", Config::new(0x144d, 0xa80a, 0x0108).express(0));
                function(root, "0000:05:00.0", Config::new(0x144d, 0xa80a, 0x0108).express(0));
            },
            1,
            "linux-splits",
        ),
    ];
    for (name, spoil, flags, id) in broken {
        let root = good(name, &dmar(flags, false));
        spoil(&root);
        let (document, code) = check(&root);
        assert_eq!(code, 1, "{name}: {document:#}");
        assert!(ids(&document, "danger").iter().any(|found| found == id), "{name}: {document:#}");
    }
}

#[test]
fn options_of_the_command_line_that_spoil_isolation_are_found() {
    for (option, id) in [
        ("intremap=off", "interrupt-remapping-off"),
        ("nointremap", "interrupt-remapping-off"),
        ("intremap=on,off", "interrupt-remapping-off"),
        ("intremap=nopost,nosid", "interrupt-sources-unchecked"),
        ("vfio_iommu_type1.allow_unsafe_interrupts=1", "unsafe-interrupts-allowed"),
        ("iommufd.allow_unsafe_interrupts=y", "unsafe-interrupts-allowed"),
        ("vfio.enable_unsafe_noiommu_mode=1", "no-iommu-allowed"),
        ("intel_iommu=on,igfx_off", "graphics-untranslated"),
        ("arm-smmu.disable_bypass=0", "streams-bypass"),
        ("arm_smmu.disable_bypass=N", "streams-bypass"),
        ("pcie_acs_override=downstream,multifunction", "acs-override"),
        ("iommu=pt", "host-identity"),
        ("iommu=nomerge,pt", "host-identity"),
    ] {
        let (document, code) = booted_with(option);
        let severity = if id == "host-identity" { "note" } else { "danger" };
        assert!(ids(&document, severity).iter().any(|found| found == id), "{option}: {document:#}");
        assert_eq!(code, i32::from(severity == "danger"));
    }
}

/// The good machine with a word on its command line.
fn booted_with(option: &str) -> (Value, i32) {
    // Tests run side by side, so each option has a folder of its own.
    let root = good(&format!("option-{option}"), &dmar(1, false));
    write(&root.with_file_name("proc").join("cmdline"), format!("quiet {option}\n"));
    check(&root)
}

#[test]
fn options_that_undo_nothing_are_no_danger() {
    for option in [
        "intremap=nopost",
        "intremap=no_x2apic_optout",
        "intremap=off,on",
        "vfio.enable_unsafe_noiommu_mode=0",
        "intel_iommu=on,sm_on",
        "arm-smmu.disable_bypass=1",
        "iommu=pt,nopt",
    ] {
        let (document, code) = booted_with(option);
        assert_eq!((code, document["findings"].as_array().unwrap().len()), (0, 0), "{option}: {document:#}");
    }
}

/// The place of the southbridge's I/O APIC.
const SOUTHBRIDGE: u16 = 0xa0;

/// An IVRS: IVinfo, one unit for all devices of the segment, and an I/O APIC with this requester ID.
fn ivrs(info: u32, apic: u16) -> Vec<u8> {
    let mut table = b"IVRS".to_vec();
    table.resize(48, 0);
    table[8] = 2;
    table[36..40].copy_from_slice(&info.to_le_bytes());
    let mut unit = vec![0x10, 0, 24 + 4 + 8, 0, 2, 0, 0x40, 0];
    unit.extend(0xfeb8_0000_u64.to_le_bytes());
    unit.resize(24, 0);
    // All devices; then a special device: data, handle, source, variety.
    unit.extend([1, 0, 0, 0]);
    let [low, high] = apic.to_le_bytes();
    unit.extend([0x48, 0, 0, 0, 9, low, high, 1]);
    table.extend(unit);
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0_u8.wrapping_sub(table.iter().fold(0, |sum, byte| sum.wrapping_add(*byte)));
    table
}

/// The good machine with an IVRS in place of its DMAR.
fn amd(name: &str, apic: u16) -> PathBuf {
    let root = good(name, &dmar(1, false));
    std::fs::remove_file(root.join("firmware/acpi/tables/DMAR")).unwrap();
    write(&root.join("firmware/acpi/tables/IVRS"), ivrs(2, apic));
    root
}

#[test]
fn on_amd_the_southbridges_io_apic_must_be_named() {
    let (document, code) = check(&amd("amd", SOUTHBRIDGE));
    assert_eq!((code, &document["verdict"]), (0, &"safe".into()), "{document:#}");
    let root = amd("amd-other", 0x1);
    assert_eq!(ids(&check(&root).0, "danger"), ["io-apic-unnamed"]);
    // What its remedy says helps.
    write(&root.with_file_name("proc").join("cmdline"), "ivrs_ioapic[9]=00:14.0\n");
    assert_eq!(check(&root).1, 0);
    // Ports that face outside are no danger where firmware opted in.
    let root = amd("amd-outside", SOUTHBRIDGE);
    write(&root.join("bus/pci/devices/0000:01:00.0/removable"), "removable\n");
    assert_eq!(ids(&check(&root).0, "danger"), Vec::<String>::new());
    // Where the kernel does not show that interrupts are remapped, that other I/O APICs were not counted is said.
    std::fs::remove_dir_all(root.join("kernel/irq")).unwrap();
    assert_eq!(ids(&check(&root).0, "note"), ["io-apics-uncounted"]);
}

#[test]
fn a_copy_that_lacks_the_kernels_word_is_undecided() {
    type Lack<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let gone = |root: &Path, folder: &str| std::fs::remove_dir_all(root.join(folder)).unwrap();
    let lacks: [Lack<'_>; 6] = [
        ("proc", &|root| gone(root, "../proc"), "kernel-unknown"),
        ("irq", &|root| gone(root, "kernel/irq"), "kernel-unknown"),
        ("firmware", &|root| gone(root, "firmware"), "tables-missing"),
        (
            "all",
            &|root| {
                gone(root, "firmware");
                gone(root, "kernel/irq");
                gone(root, "../proc");
            },
            "tables-missing",
        ),
        (
            "use",
            &|root| {
                gone(root, "class");
                gone(root, "kernel/iommu_groups");
            },
            "kernel-unknown",
        ),
        (
            "none",
            &|root| {
                gone(root, "class");
                gone(root, "kernel/iommu_groups");
                gone(root, "firmware");
            },
            "iommu-none",
        ),
    ];
    for (name, lack, id) in lacks {
        let root = good(&format!("lack-{name}"), &dmar(1, false));
        lack(&root);
        let (document, code) = check(&root);
        assert_eq!((code, ids(&document, "danger")), (3, Vec::new()), "{name}: {document:#}");
        assert_eq!(ids(&document, "undecided"), [id], "{name}: {document:#}");
    }
}

/// A snapshot of a copy says no more than the copy.
#[test]
fn a_snapshot_keeps_what_a_copy_lacks() {
    let root = good("lack-snapshot", &dmar(1, false));
    std::fs::remove_dir_all(root.join("class")).unwrap();
    std::fs::remove_dir_all(root.join("kernel/iommu_groups")).unwrap();
    let kept = root.with_file_name("machine.json");
    let output = super::ioward("80", &["snapshot", text(&root), "-o", text(&kept)]);
    assert!(output.status.success(), "{output:?}");
    let (document, code) = check(&kept);
    assert_eq!((code, ids(&document, "undecided")), (3, vec!["kernel-unknown".to_owned()]), "{document:#}");
}

#[test]
fn text_beside_a_table_is_not_the_kernels_word() {
    let folder = trees::folder("cli-check-beside");
    write(&folder.join("DMAR.dat"), dmar(1, false));
    let text = "00:1e.0 Ethernet controller [0200]: Maker [1234:5678]\n\tCapabilities: [40] Express (v2) Root Complex Integrated Endpoint, MSI 00\n";
    write(&folder.join("lspci.txt"), text);
    let (document, code) = check(&folder);
    assert_eq!(code, 3, "{document:#}");
    let undecided = ids(&document, "undecided");
    for id in ["kernel-unknown", "outside-unknown"] {
        assert!(undecided.iter().any(|found| found == id), "{id}: {document:#}");
    }
}

#[test]
fn what_bars_one_of_a_group_bars_all() {
    let root = good("bars", &dmar(1, true));
    let card = || Config::new(0x8086, 0x1572, 0x0200).express(0).multifunction();
    function(&root, "0000:01:00.0", card());
    function(&root, "0000:01:00.1", card());
    write(&root.join("kernel/iommu_groups/2/devices/0000:01:00.1"), "");
    let (document, _) = super::document(&["groups", text(&root)]);
    let cards = &document["devices"].as_array().unwrap()[2..];
    assert_eq!(cards.len(), 2);
    for card in cards {
        let verdict = (&card["passthrough"]["possible"], &card["passthrough"]["why"]);
        assert_eq!(verdict, (&false.into(), &"required-region".into()), "{card}");
    }
    let (said, _) = said("120", &["explain", "01:00.1", text(&root)]);
    assert!(said.contains("cannot be given to a guest: firmware requires that 01:00.0"), "{said}");
}

#[test]
fn regions_that_only_the_kernel_lists_are_found_each() {
    let root = good("direct", &dmar(1, true));
    let card = || Config::new(0x8086, 0x1572, 0x0200).express(0).multifunction();
    function(&root, "0000:01:00.0", card());
    function(&root, "0000:01:00.1", card());
    let group = root.join("kernel/iommu_groups/2");
    write(&group.join("devices/0000:01:00.1"), "");
    let line = |first: u64| format!("{first:#018x} {:#018x} direct\n", first + 0xffff);
    // The table has the first of them.
    write(&group.join("reserved_regions"), [line(0x7a00_0000), line(0x7b00_0000)].concat());
    let (document, _) = check(&root);
    let what: Vec<&str> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["what"].as_str())
        .collect();
    let count = |region| what.iter().filter(|what| what.contains(region)).count();
    assert_eq!((count("0x7a000000"), count("0x7b000000")), (1, 1), "{document:#}");
    // Without the table the kernel's word is enough to keep the device.
    std::fs::remove_dir_all(root.join("firmware")).unwrap();
    let (document, _) = super::document(&["groups", text(&root)]);
    let card = &document["devices"].as_array().unwrap()[2];
    assert_eq!(card["passthrough"]["why"], "required-region", "{card}");
}

#[test]
fn a_region_that_firmware_requires_is_an_obstacle() {
    let (document, code) = check(&good("region", &dmar(1, true)));
    assert_eq!((code, ids(&document, "danger")), (1, Vec::new()), "{document:#}");
    assert_eq!(ids(&document, "obstacle"), ["region-required"]);
    let finding = &document["findings"][0];
    assert!(finding["what"].as_str().unwrap().contains("0x7a000000 to 0x7a00ffff"), "{finding}");
    assert_eq!(strings(&finding["devices"]), ["0000:01:00.0".to_owned()].into());
    // And `groups` does not call it one that can be given away.
    let (document, _) = super::document(&["groups", text(&good("region", &dmar(1, true)))]);
    let card = &document["devices"].as_array().unwrap()[2];
    assert_eq!(
        (&card["at"], &card["passthrough"]["why"]),
        (&"0000:01:00.0".into(), &"required-region".into())
    );
}

#[test]
fn what_nobody_could_read_is_undecided_and_never_safe() {
    let root = good("unread", &dmar(1, false));
    let config = root.join("bus/pci/devices/0000:01:00.0/config");
    let bytes = std::fs::read(&config).unwrap();
    write(&config, &bytes[..64]);
    let config = root.join("bus/pci/devices/0000:00:01.0/config");
    let bytes = std::fs::read(&config).unwrap();
    write(&config, &bytes[..64]);
    let (document, code) = check(&root);
    assert_eq!((code, &document["verdict"]), (3, &"undecided".into()), "{document:#}");
    assert_eq!(ids(&document, "undecided"), ["groups-unsure"]);
    assert_eq!(ids(&document, "danger"), Vec::<String>::new());
}

#[test]
fn text_or_a_table_alone_is_never_called_safe() {
    let one = "00:01.0 Ethernet controller [0200]: Maker [1234:5678]\n\tFlags: fast devsel, IOMMU group 1\n";
    let path = super::listing_of("check-text", one);
    let (document, code) = check(&path);
    assert_eq!(
        (code, ids(&document, "undecided")),
        (3, vec!["tables-missing".to_owned(), "outside-unknown".to_owned()]),
        "{document:#}"
    );
    let table = trees::folder("cli-check-table").join("DMAR.dat");
    write(&table, dmar(1, false));
    let (document, code) = check(&table);
    assert_eq!(
        (code, ids(&document, "undecided")),
        (3, vec!["kernel-unknown".to_owned(), "bus-missing".to_owned()]),
        "{document:#}"
    );
}

#[test]
fn text_alone_says_what_it_cannot_tell() {
    let path = listing("check");
    let (said, code) = said("80", &["check", text(&path)]);
    assert_eq!(code, 1, "{said}");
    let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["danger", "03:00.0 has no ACS capability", "so: ", "do: ", "from: ", "Not safe: "] {
        assert!(one_line.contains(words.trim_end()), "{words} is missing:\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80 || line.contains("lspci.txt")), "{said}");
}

#[test]
fn json_has_its_documented_shape() {
    let (document, _) = check(&good("shape", &dmar(0, true)));
    let head = ["version", "machine", "degraded", "unread", "oddities"];
    assert_eq!(
        sorted(&members(&document)),
        sorted(&[&head[..], &["verdict", "exit_code", "findings"]].concat())
    );
    let finding = &document["findings"][0];
    assert_eq!(
        sorted(&members(finding)),
        sorted(&["id", "severity", "what", "why", "remedy", "source", "devices"])
    );
    let docs = include_str!("../../../../docs/json.md");
    for name in members(&document).into_iter().chain(members(finding)) {
        assert!(docs.contains(&format!("`{name}`")), "docs/json.md lacks {name}");
    }
    // The worst comes first.
    let order: Vec<&str> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["severity"].as_str().unwrap())
        .collect();
    let rank =
        |word: &&str| ["danger", "obstacle", "undecided", "note"].iter().position(|known| known == word);
    assert!(order.is_sorted_by_key(rank), "{order:?}");
}
