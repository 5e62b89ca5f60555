//! Reading a sysfs: the one of the machine that this runs on, or a copy of one.
//!
//! | module | what it reads |
//! | --- | --- |
//! | `functions` | `bus/pci/devices/*` |
//! | `kernel` | `kernel/iommu_groups/*`, `class/iommu/*`, `kernel/irq/*`, `bus/thunderbolt`; `/proc` |
//! | `firmware` | `firmware/acpi/tables`, `firmware/fdt`, `firmware/devicetree` |
//! | `tree` | a device tree out of its directory |
//!
//! A copy may lack anything but `bus/pci/devices` or `firmware`. Where `cp` lost the symbolic links, files say the same:
//! `uevent` names the driver, and `kernel/iommu_groups` the groups.

mod firmware;
mod functions;
mod kernel;
mod tree;

use crate::Parts;
use std::path::{Path, PathBuf};

pub use kernel::read_proc;

/// Where the live one is.
pub const LIVE: &str = "/sys";
/// Where the live kernel's version and command line are.
pub const LIVE_PROC: &str = "/proc";

/// The most functions that are looked at.
pub const MOST_FUNCTIONS: usize = 1 << 18;

/// The root of the sysfs that a path is or holds: the path, or `sys` in it.
pub fn find(path: &Path) -> Option<PathBuf> {
    let is = |root: &PathBuf| {
        ["bus/pci/devices", "firmware/acpi/tables", "firmware/devicetree/base", "firmware/fdt"]
            .iter()
            .any(|inside| root.join(inside).exists())
    };
    [path.to_path_buf(), path.join("sys")].into_iter().find(is)
}

/// Reads a sysfs, whose root is `root`.
pub fn read(root: &Path, parts: &mut Parts) {
    functions::read(root, parts);
    kernel::read(root, parts);
    kernel::tell_groups(parts);
    firmware::read(root, parts);
}
