//! Discovery over every table and device tree of the corpus: what is served, and what is broken.

use ioward::firmware::dmar::{Dmar, structure::Body};
use ioward::{
    discover::{Machine, Place, Report, Serving, UnitKind, Unserved, machine},
    pci::{Bdf, Function, Topology, groups::Linux},
};
use ioward_types::describe::{Cause, PciFunction, Severity};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn tables(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let path = root.join(folder);
    let Ok(entries) = fs::read_dir(&path) else {
        println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", path.display());
        return Vec::new();
    };
    let mut tables: Vec<_> = entries
        .map(|entry| entry.expect("a folder that can be read has entries that can").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("the corpus can be read"))
        })
        .collect();
    tables.sort();
    assert!(!tables.is_empty());
    tables
}

/// A bus with an IOMMU at 00:00.2, as AMD has it, and a few devices.
fn bus() -> Topology {
    let functions = [0x02, 0x08, 0x18, 0x100, 0x101, 0xff00];
    Topology::new(functions.map(|id| Function::bare(Bdf::of_requester(0, id))).to_vec(), Vec::new())
}

fn broken(machine: &Machine) -> Vec<String> {
    let broken = machine.reports.iter().filter(|report| report.severity() == Severity::Broken);
    broken.map(Report::to_string).collect()
}

#[test]
fn every_amd_machine_is_served() {
    for (name, bytes) in tables("acpi/IVRS", "dat") {
        let found = machine([&bytes[..]], bus(), &Linux);
        // A template, and the copy of it that fwts tests with, have a memory definition for devices 1122h to 0000h.
        let expected = ["acpica-template-ivrs", "fwts-ivrs-0001-acpidump-0002"].contains(&name.as_str());
        assert_eq!(broken(&found).len(), usize::from(expected), "{name}: {:#?}", broken(&found));
        assert!(found.amdvi().count() >= 1 && found.iommus.len() == found.amdvi().count(), "{name}");
        let mut functions: Vec<_> = found.iommus.iter().map(|unit| unit.function).collect();
        functions.dedup();
        assert_eq!(functions.len(), found.iommus.len(), "{name}: one IOMMU though listed thrice");
        let served = found.devices.iter().filter(|device| matches!(device.place, Place::Bus(_)));
        let served = served.filter(|device| device.serving == Serving::Served).count();
        assert!(served >= 1, "{name}: {:?}", found.devices);
        assert!(found.devices.iter().all(|device| device.serving != Serving::Refused), "{name}");
        assert!(!found.specials.is_empty(), "{name}: every machine has an IOAPIC");
    }
}

#[test]
fn every_iort_is_what_its_readme_says() {
    for (name, bytes) in tables("acpi/IORT", "dat") {
        let found = machine([&bytes[..]], bus(), &Linux);
        let broken = broken(&found);
        // A template whose references were never filled in, and one that fwts tests its error paths with.
        let expected = ["acpica-template-iort", "fwts-iort-0001-acpidump-0002"].contains(&name.as_str());
        assert_eq!(!broken.is_empty(), expected, "{name}: {broken:#?}");
        if name.starts_with("surface-") {
            assert!(found.iommus.iter().all(|unit| !unit.kind.is_supported()), "{name}");
            assert!(
                found.devices.iter().all(|device| matches!(device.serving, Serving::Unserved(_))),
                "{name}"
            );
        }
        if name.ends_with("smmuv3-legacy") {
            let sources: Vec<_> = found.devices.iter().map(|device| device.sources.len()).collect();
            // Buses 0 and 1 are behind the SMMU, bus 255 is not.
            assert_eq!(sources, [1, 1, 1, 1, 1, 0], "{name}");
            assert_eq!(found.devices[5].serving, Serving::Unserved(Unserved::Direct));
        }
        if name.ends_with("its_off") {
            assert_eq!(found.smmuv3().count(), 1, "{name}");
        }
    }
}

#[test]
fn every_tree_is_what_its_readme_says() {
    for (name, bytes) in tables("dtb", "dtb") {
        let found = machine([&bytes[..]], bus(), &Linux);
        assert_eq!(broken(&found), Vec::<String>::new(), "{name}");
        assert!(
            !found.iommus.is_empty() && found.smmuv3().count() == 0,
            "{name}: none has an enabled SMMUv3"
        );
        for device in &found.devices {
            assert!(matches!(device.serving, Serving::Unserved(_)), "{name}: {}", device.name);
        }
    }
    for (name, bytes) in tables("dtb-qemu", "dtb") {
        let found = machine([&bytes[..]], bus(), &Linux);
        assert_eq!(broken(&found), Vec::<String>::new(), "{name}");
        let kinds = [found.smmuv3().count(), found.riscv().count(), found.virtio().count()];
        let expected = ["smmuv3", "riscv64", "virtio"].map(|kind| usize::from(name.contains(kind)));
        assert_eq!(kinds, expected, "{name}");
        assert_eq!(found.hosts.len(), 1, "{name}");
        for device in &found.devices {
            assert_eq!(device.serving, Serving::Served, "{name}: {}", device.name);
            assert!(!device.regions.is_empty(), "{name}: the host's windows");
            assert!(device.coherent, "{name}: {}", device.name);
        }
        // Entries of no length are told and not obeyed.
        let empty = found
            .reports
            .iter()
            .filter(|report| matches!(report, Report::Problem(problem) if problem.cause == Cause::Empty));
        assert_eq!(empty.count(), usize::from(name.contains("sys")), "{name}");
        // The function at 00:01.0 is the RISC-V IOMMU there; the virtio-iommu is at 00:05.0, where nothing is.
        let places: Vec<_> = found.iommus.iter().map(|unit| unit.on_bus).collect();
        assert_eq!(places, [name.contains("pci").then_some(1)], "{name}");
        assert_eq!(found.devices.len(), if name.contains("pci") { 5 } else { 6 }, "{name}");
        let absent = found.reports.iter().filter(|report| matches!(report, Report::NotThere { .. })).count();
        assert_eq!(absent, usize::from(name.contains("virtio")), "{name}");
        if name.contains("smmuv3") {
            assert!(matches!(found.iommus[0].kind, UnitKind::SmmuV3(smmu) if smmu.coherent == Some(true)));
            assert_eq!(found.devices[0].doorbells.len(), 1, "{name}: the ITS");
        }
    }
}

/// The register address of the unit that must serve a function of the root bus: the one that names it, else the one that
/// includes all. Read off the raw view, by other means than the parser's facts.
fn responsible(table: &Dmar<'_>, device: u8, function: u8) -> Option<u64> {
    let (mut named, mut rest) = (None, None);
    for structure in table.structures() {
        let Body::Drhd(drhd) = structure.body() else { continue };
        let is_named = |scope: ioward::firmware::dmar::DeviceScope<'_>| {
            scope.kind() == 1 && scope.start_bus() == 0 && scope.path() == [device, function]
        };
        if structure.scopes().any(is_named) {
            named = Some(drhd.base());
        } else if drhd.flags() & 1 != 0 && drhd.segment() == 0 {
            rest = Some(drhd.base());
        }
    }
    named.or(rest)
}

#[test]
fn every_intel_machine_is_served() {
    // Graphics, USB, sound, LAN controllers and two unremarkable functions, in the order of the bus.
    let list = [(0x02, 0), (0x08, 0), (0x14, 0), (0x19, 0), (0x1b, 0), (0x1f, 3), (0x1f, 6)];
    let requesters = list.map(|(device, function)| u16::from(device) << 3 | u16::from(function));
    let (mut units, mut devices, mut specials) = (0, 0, 0);
    for (name, bytes) in tables("acpi/DMAR", "dat") {
        let functions = requesters.map(|id| Function::bare(Bdf::of_requester(0, id)));
        let found = machine([&bytes[..]], Topology::new(functions.to_vec(), Vec::new()), &Linux);
        // A template whose addresses were never filled in, and two laptops that describe a unit at zero.
        let at_zero = ["acpica-template-dmar", "IdeaPadFlex_15_20309", "ThinkPad_E15_Gen_2_20TD0005MH"];
        let broken = broken(&found);
        assert_eq!(
            broken.len(),
            usize::from(at_zero.iter().any(|part| name.contains(part))),
            "{name}: {broken:?}"
        );
        assert_eq!(found.vtd().count(), found.iommus.len(), "{name}");
        let table = Dmar::new(&bytes);
        for (device, (slot, function)) in found.devices.iter().zip(list) {
            let unit = device.sources.first().and_then(|source| found.iommu(source.0));
            let base = unit.and_then(|unit| unit.registers).map(|registers| registers.start.0);
            let expected = responsible(&table, slot, function);
            assert_eq!(base.unwrap_or(0), expected.unwrap_or(0), "{name}: {}", device.name);
            assert_eq!(device.serving == Serving::Served, expected.is_some(), "{name}: {}", device.name);
            let own = device.sources.iter().map(|source| source.1.0);
            assert!(
                own.eq(expected.map(|_| u32::from(slot) << 3 | u32::from(function))),
                "{name}: {device:?}"
            );
            devices += 1;
        }
        units += found.iommus.len();
        specials += found.specials.len();
    }
    println!("{units} units, {devices} devices, {specials} IOAPICs and HPETs");
}

#[test]
fn every_virtual_machine_with_a_viot_is_served() {
    for (name, bytes) in tables("acpi/VIOT", "dat") {
        let found = machine([&bytes[..]], bus(), &Linux);
        // A copy of the template into which fwts wrote garbage, with three nodes more.
        let is_odd = name.ends_with("0001-acpidump-0002");
        // Its last node says that it goes on behind the table's end.
        assert_eq!(broken(&found).len(), usize::from(is_odd), "{name}: {:?}", broken(&found));
        assert_eq!(found.virtio().count(), found.iommus.len(), "{name}");
        let told = |cause: fn(&Cause) -> bool| {
            found
                .reports
                .iter()
                .any(|report| matches!(report, Report::Problem(problem) if cause(&problem.cause)))
        };
        assert_eq!(told(|cause| matches!(cause, Cause::Checksum { .. })), is_odd, "{name}");
        assert_eq!(told(|cause| matches!(cause, Cause::Unknown { .. })), is_odd, "{name}");
        assert_eq!(told(|cause| matches!(cause, Cause::Duplicate { .. })), is_odd, "{name}");
        let own: Vec<_> = found.iommus.iter().filter_map(|unit| unit.function).collect();
        let is_own = |device: &str| own.iter().any(|own| own.to_string() == device);
        assert!(found.devices.iter().all(|device| !is_own(&device.name)), "{name}");
        let served = found.devices.iter().filter(|device| device.serving == Serving::Served).count();
        let expected = match name.as_str() {
            // Bus 0 but for the virtio-iommu at 00:01.0.
            "qemu-aarch64_virt_VIOT" => 2,
            // Buses 10h and 30h, where this machine has nothing.
            "qemu-x86_q35_VIOT.viot" => 0,
            // All of the bus, and a platform device.
            _ => 7,
        };
        assert_eq!(served, expected, "{name}: {:?}", found.devices);
    }
}

#[test]
fn every_rimt_is_served() {
    for (name, bytes) in tables("acpi/RIMT", "dat") {
        let found = machine([&bytes[..]], bus(), &Linux);
        assert_eq!(broken(&found), Vec::<String>::new(), "{name}");
        let unit = found.riscv().next().expect("the template describes one");
        assert_eq!(unit.0.registers.map(|registers| registers.start.0), Some(0x301_0000), "{name}");
        assert_eq!((unit.1.hid, unit.0.function), (*b"RSCV0004", None::<PciFunction>), "{name}");
        for device in &found.devices {
            assert_eq!(device.serving, Serving::Served, "{name}: {}", device.name);
            assert_eq!((device.ats, device.traits.ats, device.coherent), (None, Some(false), true), "{name}");
        }
    }
}
