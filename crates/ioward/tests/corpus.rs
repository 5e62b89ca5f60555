//! Discovery over every IVRS, IORT and device tree of the corpus: what is served, and what is broken.

use ioward::{
    discover::{Machine, Place, Report, Serving, UnitKind, Unserved, machine},
    pci::{Bdf, Function, Topology, groups::Linux},
};
use ioward_types::describe::Severity;
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
        let is_served = name.contains("smmuv3");
        assert_eq!(found.smmuv3().count(), usize::from(is_served), "{name}");
        assert_eq!(found.hosts.len(), 1, "{name}");
        for device in &found.devices {
            assert_eq!(device.serving == Serving::Served, is_served, "{name}: {}", device.name);
            assert!(!device.regions.is_empty(), "{name}: the host's windows");
        }
        if is_served {
            assert!(matches!(found.iommus[0].kind, UnitKind::SmmuV3(smmu) if smmu.coherent == Some(true)));
            assert_eq!(found.devices[0].doorbells.len(), 1, "{name}: the ITS");
        }
    }
}
