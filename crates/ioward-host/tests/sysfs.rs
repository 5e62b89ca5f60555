//! Trees as a sysfs has them: what is read of them, and what is said where something is missing.

mod common;

use common::{Config, folder, function, link, two_ports, write};
use ioward::{
    pci::{
        Bdf, Fact,
        groups::{Linux, Policy},
    },
    types::describe::Table,
};
use ioward_host::{Degraded, Machine, Origin, Removable, ReservedKind};
use std::fs;

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

#[test]
fn a_copy_of_sysfs_is_a_machine_with_its_kernels_word() {
    let root = folder("copy");
    two_ports(&root);
    let card = root.join("bus/pci/devices/0000:02:00.0");
    link(&card.join("driver"), "../../../bus/pci/drivers/nouveau");
    link(&card.join("iommu_group"), "../../../kernel/iommu_groups/7");
    write(&card.join("numa_node"), "1\n");
    write(&root.join("kernel/iommu_groups/7/type"), "DMA-FQ\n");
    let regions =
        "0x00000000000a0000 0x00000000000bffff direct-relaxable\n0x00000000fee00000 0x00000000feefffff msi\n";
    write(&root.join("kernel/iommu_groups/7/reserved_regions"), regions);
    // This one has its group by its name only.
    link(&root.join("kernel/iommu_groups/3/devices/0000:01:00.0"), "nowhere");
    write(&root.join("class/iommu/dmar0/intel-iommu/cap"), "d2008c40660462\n");
    write(&root.join("class/iommu/dmar0/intel-iommu/ecap"), "f050da\n");
    write(&root.join("kernel/irq/24/chip_name"), "IR-PCI-MSI\n");
    write(&root.join("kernel/irq/25/chip_name"), "PCI-MSI\n");

    let machine = Machine::open(&root).unwrap();
    assert_eq!(machine.origin, Origin::Sysfs(root.clone()));
    assert_eq!((&machine.unread[..], &machine.degraded[..]), (&[][..], &[][..]));
    assert_eq!(machine.topology.functions().len(), 4);
    let record = &machine.records[&bdf("0000:02:00.0")];
    assert_eq!((record.driver.as_deref(), record.numa_node), (Some("nouveau"), Some(1)));
    let groups = machine.kernel_groups();
    assert_eq!(groups[&7], [bdf("0000:02:00.0")].into());
    assert_eq!(groups[&3], [bdf("0000:01:00.0")].into());
    let group = &machine.kernel.groups[&7];
    assert_eq!(group.kind.as_deref(), Some("DMA-FQ"));
    assert_eq!((group.reserved[0].first, group.reserved[0].last), (0xa0000, 0xbffff));
    assert_eq!(group.reserved[0].kind, ReservedKind::DirectRelaxable);
    assert_eq!(group.reserved[1].kind, ReservedKind::Msi);
    assert_eq!(machine.kernel.iommus[0].registers, Some((0xd2008c40660462, 0xf050da)));
    let interrupts = machine.kernel.interrupts.unwrap();
    assert_eq!((interrupts.remapped, interrupts.plain), (1, 1));

    let grouping = Linux.groups(&machine.topology);
    assert!(!grouping.together(bdf("0000:00:01.0"), bdf("0000:01:00.0")));
    assert!(grouping.together(bdf("0000:00:02.0"), bdf("0000:02:00.0")));
    assert!(grouping.unsure.is_empty());
}

#[test]
fn the_same_tree_below_sys_and_with_proc_beside_it() {
    let root = folder("root");
    two_ports(&root.join("sys"));
    write(&root.join("proc/cmdline"), "root=/dev/sda1 intel_iommu=on\n");
    write(&root.join("proc/sys/kernel/osrelease"), "6.18.0\n");
    let machine = Machine::open(&root).unwrap();
    assert_eq!(machine.kernel.options.as_deref().unwrap(), ["intel_iommu=on"]);
    assert_eq!(machine.kernel.version.as_deref(), Some("6.18.0"));
}

#[test]
fn configuration_space_cut_at_64_bytes_leaves_groups_unsure() {
    let root = folder("cut");
    two_ports(&root);
    for at in ["0000:00:01.0", "0000:01:00.0", "0000:00:02.0", "0000:02:00.0"] {
        let path = root.join("bus/pci/devices").join(at).join("config");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..64]).unwrap();
    }
    let machine = Machine::open(&root).unwrap();
    assert_eq!(machine.degraded, [Degraded::CutConfig { functions: 4 }]);
    assert!(machine.needs_root());
    let grouping = Linux.groups(&machine.topology);
    // The bridges' buses are in the header, and so is where everything belongs.
    assert_eq!(machine.topology.above(machine.topology.find(bdf("0000:02:00.0")).unwrap()), Some(1));
    assert!(grouping.unsure.contains(&bdf("0000:01:00.0")));
    assert_eq!(machine.topology.functions()[0].express, Fact::Unseen);
}

#[test]
fn virtual_functions_have_their_ids_from_beside_configuration_space() {
    let root = folder("virtual");
    let port = Config::new(0x8086, 0x2030, 0x0604).bridge(0, 1, 1).express(4).acs(0x1f, 0x1d);
    function(&root, "0000:00:01.0", port);
    function(&root, "0000:01:00.0", Config::new(0x8086, 0x1572, 0x0200).express(0).sriov(2, 16, 1, 0x154c));
    for at in ["0000:01:02.0", "0000:01:02.1"] {
        let folder = function(&root, at, Config::new(0xffff, 0xffff, 0x0200).express(0));
        write(&folder.join("vendor"), "0x8086\n");
        write(&folder.join("device"), "0x154c\n");
    }
    let machine = Machine::open(&root).unwrap();
    let index = machine.topology.find(bdf("0000:01:02.1")).unwrap();
    assert_eq!(machine.topology.functions()[index].ids.unwrap().device, 0x154c);
    assert_eq!(machine.topology.physical(index), machine.topology.find(bdf("0000:01:00.0")));
    assert_eq!(machine.topology.functions().len(), 4);
}

#[test]
fn a_copy_with_a_link_in_place_of_its_tree_gives_nobody_elses_files() {
    let outside = folder("link-outside");
    write(&outside.join("base/compatible"), b"secret\0");
    for (name, place, target) in [
        ("link-base", "firmware/devicetree/base", outside.join("base")),
        ("link-tree", "firmware/devicetree", outside.clone()),
    ] {
        let root = folder(name);
        two_ports(&root);
        link(&root.join(place), target.to_str().unwrap());
        let machine = Machine::open(&root).unwrap();
        assert!(machine.tables.is_empty(), "{name}");
        let said = machine.unread[0].to_string();
        assert!(said.contains(&format!("{place}: a link, not a file; it was not opened")), "{name}: {said}");
    }
}

#[test]
fn a_virtual_function_is_its_physical_ones_without_root_too() {
    let root = folder("physfn");
    let port = Config::new(0x8086, 0x2030, 0x0604).bridge(0, 1, 1).express(4).acs(0x1f, 0x1d);
    function(&root, "0000:00:01.0", port);
    for at in ["0000:01:00.0", "0000:01:02.0"] {
        let folder = function(&root, at, Config::new(0x8086, 0x1572, 0x0200));
        let config = fs::read(folder.join("config")).unwrap();
        write(&folder.join("config"), &config[..64]);
    }
    link(&root.join("bus/pci/devices/0000:01:02.0/physfn"), "../0000:01:00.0");
    let machine = Machine::open(&root).unwrap();
    let find = |at| machine.topology.find(bdf(at));
    assert_eq!(machine.topology.physical(find("0000:01:02.0").unwrap()), find("0000:01:00.0"));
    assert_eq!(machine.topology.physical(find("0000:01:00.0").unwrap()), None);
    // Nothing leads around in circles: a bridge whose bus would lend to the one that it is on.
    function(&root, "0000:01:03.0", Config::new(0x8086, 0x1901, 0x0604).bridge(1, 5, 5).express(4));
    function(&root, "0000:05:00.0", Config::new(0x8086, 0x1572, 0x0200));
    link(&root.join("bus/pci/devices/0000:01:00.0/physfn"), "../0000:05:00.0");
    let machine = Machine::open(&root).unwrap();
    let index = machine.topology.find(bdf("0000:01:00.0")).unwrap();
    assert_eq!(machine.topology.physical(index), None);
    assert_eq!(machine.topology.path(index).count(), 1);
}

#[test]
fn a_port_above_something_removable_faces_outside() {
    let root = folder("outside");
    two_ports(&root);
    let devices = root.join("bus/pci/devices");
    write(&devices.join("0000:02:00.0/removable"), "removable\n");
    write(&devices.join("0000:01:00.0/removable"), "fixed\n");
    let machine = Machine::open(&root).unwrap();
    assert_eq!(machine.records[&bdf("0000:01:00.0")].removable, Some(Removable::Fixed));
    let untrusted = |at| machine.topology.is_untrusted(machine.topology.find(bdf(at)).unwrap());
    assert!(untrusted("0000:02:00.0"));
    assert!(!untrusted("0000:01:00.0") && !untrusted("0000:00:02.0"));
}

#[test]
fn a_copy_without_links_has_drivers_and_ids_from_uevent() {
    let root = folder("uevent");
    let device = root.join("bus/pci/devices/0000:00:03.0");
    write(
        &device.join("uevent"),
        "DRIVER=e1000e\nPCI_CLASS=20000\nPCI_ID=8086:10D3\nPCI_SUBSYS_ID=8086:A01F\n",
    );
    let machine = Machine::open(&root).unwrap();
    let function = &machine.topology.functions()[0];
    assert_eq!(function.driver.as_deref(), Some("e1000e"));
    assert_eq!(function.ids.map(|ids| (ids.vendor, ids.device)), Some((0x8086, 0x10d3)));
    assert_eq!(machine.degraded, [Degraded::NoConfig { functions: 1 }]);
}

#[test]
fn tables_are_read_and_one_with_another_signature_is_refused() {
    let root = folder("tables");
    let tables = root.join("firmware/acpi/tables");
    write(&tables.join("DMAR"), b"DMAR and more");
    write(&tables.join("IVRS"), b"SSDT");
    let machine = Machine::open(&root).unwrap();
    assert_eq!(machine.tables.len(), 1);
    assert_eq!((machine.tables[0].kind, machine.tables[0].file.as_str()), (Table::Dmar, "DMAR"));
    assert!(machine.unread[0].to_string().contains("IVRS: offset 0x0"), "{:?}", machine.unread);
    assert!(machine.topology.functions().is_empty());
}

#[test]
fn a_device_tree_as_a_folder_is_read_as_the_blob_that_it_was() {
    use ioward::types::describe::{Fact as Said, IommuKind};
    let root = folder("tree");
    let base = root.join("firmware/devicetree/base");
    let cell = |value: u32| value.to_be_bytes();
    write(&base.join("#address-cells"), cell(2));
    write(&base.join("#size-cells"), cell(2));
    write(&base.join("name"), b"\0");
    let smmu = base.join("smmu@9050000");
    write(&smmu.join("compatible"), b"arm,smmu-v3\0");
    write(&smmu.join("reg"), [cell(0), cell(0x905_0000), cell(0), cell(0x2_0000)].concat());
    write(&smmu.join("phandle"), cell(5));
    write(&smmu.join("#iommu-cells"), cell(1));
    write(&base.join("ethernet@1000/iommus"), [cell(5), cell(0x18)].concat());
    link(&base.join("around"), "..");
    let machine = Machine::open(&root).unwrap();
    assert!(machine.unread[0].to_string().contains("around"), "{:?}", machine.unread);
    let facts = machine.facts();
    let said: Vec<_> = facts.iter().map(|(_, _, fact)| fact).collect();
    assert!(
        said.iter().any(|fact| matches!(fact, Said::Iommu(iommu)
            if matches!(iommu.kind, IommuKind::SmmuV3(_)) && iommu.name == "smmu@9050000"
                && iommu.registers.is_some_and(|span| span.start.0 == 0x905_0000))),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|fact| matches!(fact, Said::Scope(scope) if scope.devices.to_string().contains("ethernet")))
    );
    assert!(!said.iter().any(|fact| matches!(fact, Said::Problem(_))), "{said:?}");
}
