//! A report as a directory that looks like the guest's `/sys`, as far as groups depend on it, and as text that `lspci -F` reads.

use super::report::Report;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Attributes that are links in sysfs, and what they lead to from the function's folder.
const LINKS: &[(&str, &str)] =
    &[("iommu_group", "../../../../kernel/iommu_groups/"), ("driver", "../../drivers/"), ("physfn", "../")];

/// Writes the copy. The folder is made anew.
pub fn write(report: &Report, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let devices = folder.join("bus/pci/devices");
    fs::create_dir_all(&devices)?;
    for (address, function) in &report.functions {
        let place = devices.join(address);
        fs::create_dir(&place)?;
        fs::write(place.join("config"), &function.config)?;
        for (name, value) in &function.words {
            match LINKS.iter().find(|(link, _)| link == name) {
                Some((_, to)) => symlink(format!("{to}{value}"), place.join(name))?,
                None => fs::write(place.join(name), format!("{value}\n"))?,
            }
        }
    }
    for (number, group) in &report.groups {
        let place = folder.join("kernel/iommu_groups").join(number.to_string());
        fs::create_dir_all(place.join("devices"))?;
        fs::write(place.join("type"), format!("{}\n", group.kind))?;
        let reserved: String = group.reserved.iter().map(|region| format!("{region}\n")).collect();
        fs::write(place.join("reserved_regions"), reserved)?;
        for member in &group.members {
            symlink(format!("../../../../bus/pci/devices/{member}"), place.join("devices").join(member))?;
        }
    }
    if !report.tables.is_empty() {
        let tables = folder.join("firmware/acpi/tables");
        fs::create_dir_all(&tables)?;
        for (name, bytes) in &report.tables {
            fs::write(tables.join(name), bytes)?;
        }
    }
    if let Some(tree) = &report.fdt {
        fs::create_dir_all(folder.join("firmware"))?;
        fs::write(folder.join("firmware/fdt"), tree)?;
    }
    Ok(())
}

/// What `lspci -D -xxxx` prints, but for the names.
pub fn hex_dump(report: &Report) -> String {
    let mut text = String::new();
    for (address, function) in &report.functions {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{address} function");
        for (index, row) in function.config.chunks(16).enumerate() {
            let _ = write!(text, "{:02x}:", index * 16);
            row.iter().for_each(|byte| {
                let _ = write!(text, " {byte:02x}");
            });
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::report::{Function, KernelGroup};

    #[test]
    fn links_lead_to_what_they_name() {
        let mut report = Report::default();
        let mut function = Function { config: vec![0x34, 0x12], ..Function::default() };
        for (name, value) in [("vendor", "0x1234"), ("iommu_group", "7"), ("physfn", "0000:00:02.0")] {
            function.words.insert(name.into(), value.into());
        }
        report.functions.insert("0000:00:02.0".into(), function);
        let members = vec!["0000:00:02.0".into()];
        report.groups.insert(7, KernelGroup { kind: "DMA".into(), members, reserved: Vec::new() });
        report.tables.insert("DMAR".into(), vec![1]);
        report.fdt = Some(vec![2]);

        let folder = std::env::temp_dir().join(format!("ioward-copy-{}", std::process::id()));
        write(&report, &folder).and_then(|()| write(&report, &folder)).expect("it is written, and again");
        let at = |path: &str| fs::read(folder.join(path)).unwrap_or_default();
        assert_eq!(at("bus/pci/devices/0000:00:02.0/vendor"), b"0x1234\n");
        assert_eq!(at("bus/pci/devices/0000:00:02.0/iommu_group/type"), b"DMA\n");
        assert_eq!(at("bus/pci/devices/0000:00:02.0/physfn/config"), [0x34, 0x12]);
        assert_eq!(at("kernel/iommu_groups/7/devices/0000:00:02.0/config"), [0x34, 0x12]);
        assert_eq!((at("firmware/acpi/tables/DMAR"), at("firmware/fdt")), (vec![1], vec![2]));
        assert_eq!(hex_dump(&report), "0000:00:02.0 function\n00: 34 12\n\n");
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
