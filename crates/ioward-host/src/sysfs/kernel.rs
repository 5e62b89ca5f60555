//! What the kernel says of groups, IOMMUs and interrupts.

use crate::{
    Parts, ReadError, files,
    kernel::{Interrupts, KernelGroup, KernelIommu, Reserved, ReservedKind, options},
};
use std::{collections::BTreeMap, path::Path};

/// The most groups, IOMMUs, interrupts and devices of a group that are looked at.
const MOST: usize = 1 << 18;

/// Fills in what sysfs tells.
pub fn read(root: &Path, parts: &mut Parts) {
    groups(root, parts);
    iommus(root, parts);
    interrupts(root, parts);
    thunderbolt(root, parts);
    let mut is_on = |file: &str| word(&root.join("module").join(file), parts).as_deref() == Some("Y");
    let unsafe_interrupts = ["vfio_iommu_type1", "iommufd"]
        .map(|module| is_on(&format!("{module}/parameters/allow_unsafe_interrupts")));
    let no_iommu = is_on("vfio/parameters/enable_unsafe_noiommu_mode");
    parts.kernel.allows_unsafe_interrupts = unsafe_interrupts.contains(&true);
    parts.kernel.allows_no_iommu = no_iommu;
    // A kernel without the folder is built without IOMMUs; a copy without it lacks the folder.
    parts.kernel.iommus_unseen = root != Path::new(super::LIVE) && !root.join("class/iommu").is_dir();
}

/// Fills in what `/proc` tells: version and command line.
pub fn read_proc(proc: &Path, parts: &mut Parts) {
    parts.kernel.version = word(&proc.join("sys/kernel/osrelease"), parts);
    parts.kernel.options = word(&proc.join("cmdline"), parts).map(|line| options(&line));
}

/// Gives the functions that have no link to their group the one whose folder names them.
pub fn tell_groups(parts: &mut Parts) {
    let mut by_name = BTreeMap::new();
    for (number, group) in &parts.kernel.groups {
        by_name.extend(group.devices.iter().map(|device| (device.as_str(), *number)));
    }
    for record in parts.records.iter_mut().filter(|record| record.group.is_none()) {
        record.group = by_name.get(record.at.to_string().as_str()).copied();
    }
}

/// A word that may be absent; an error is listed.
fn word(path: &Path, parts: &mut Parts) -> Option<String> {
    match files::word(path) {
        Ok(word) => word,
        Err(error) => {
            parts.unread.push(error);
            None
        }
    }
}

fn names(path: &Path, parts: &mut Parts) -> Vec<String> {
    let names = files::names(path, MOST, &mut parts.unread);
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

fn groups(root: &Path, parts: &mut Parts) {
    let folder = root.join("kernel/iommu_groups");
    for name in names(&folder, parts) {
        let path = folder.join(&name);
        let Ok(number) = name.parse() else {
            parts.unread.push(ReadError::malformed(&folder, "the number of a group", &name));
            continue;
        };
        let regions = path.join("reserved_regions");
        let reserved = match word(&regions, parts) {
            Some(lines) => lines.lines().filter_map(|line| region(&regions, line, parts)).collect(),
            None => Vec::new(),
        };
        let kind = word(&path.join("type"), parts).filter(|kind| !kind.is_empty());
        let devices = names(&path.join("devices"), parts);
        parts.kernel.groups.insert(number, KernelGroup { devices, kind, reserved });
    }
}

/// `0x00000000fee00000 0x00000000feefffff msi`.
fn region(path: &Path, line: &str, parts: &mut Parts) -> Option<Reserved> {
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let read = || {
        let mut words = line.split_whitespace();
        let (first, last) = (hex(words.next()?)?, hex(words.next()?)?);
        let kind = ReservedKind::of(words.next()?);
        (first <= last).then_some(Reserved { first, last, kind })
    };
    let region = read();
    if region.is_none() {
        parts.unread.push(ReadError::malformed(path, "a region (first, last, kind)", line));
    }
    region
}

fn iommus(root: &Path, parts: &mut Parts) {
    let folder = root.join("class/iommu");
    for name in names(&folder, parts) {
        let path = folder.join(&name);
        let hex = |text: Option<String>| u64::from_str_radix(text?.trim_start_matches("0x"), 16).ok();
        let mut pair = |one: &str, other: &str| {
            let (one, other) = (word(&path.join(one), parts), word(&path.join(other), parts));
            Some((hex(one)?, hex(other)?))
        };
        let registers = pair("intel-iommu/cap", "intel-iommu/ecap")
            .or_else(|| pair("amd-iommu/cap", "amd-iommu/features"));
        parts.kernel.iommus.push(KernelIommu { name, registers });
    }
}

/// The kernel names the controller of each interrupt; those that pass a remapping table have names that begin with `IR-`.
fn interrupts(root: &Path, parts: &mut Parts) {
    let folder = root.join("kernel/irq");
    let mut count = Interrupts::default();
    for name in names(&folder, parts) {
        match word(&folder.join(name).join("chip_name"), parts).as_deref() {
            Some(chip) if chip.starts_with("IR-") => count.remapped += 1,
            Some(chip) if chip.starts_with("PCI-MSI") => count.plain += 1,
            _ => {}
        }
    }
    parts.kernel.interrupts = (count != Interrupts::default()).then_some(count);
}

fn thunderbolt(root: &Path, parts: &mut Parts) {
    let folder = root.join("bus/thunderbolt/devices");
    for name in names(&folder, parts) {
        if let Some(protected) = word(&folder.join(&name).join("iommu_dma_protection"), parts) {
            parts.kernel.thunderbolt.insert(name, protected == "1");
        }
    }
}
