//! `firmware`: ACPI tables and the device tree.

use super::tree;
use crate::{Degraded, FirmwareTable, Parts, ReadError, dump, files};
use ioward::{firmware, types::describe::Table};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Reads the tables that describe IOMMUs, and the device tree.
pub fn read(root: &Path, parts: &mut Parts) {
    let tables = root.join("firmware/acpi/tables");
    let mut denied = 0;
    for name in dump::TABLES {
        denied += usize::from(take(&tables, name, parts));
    }
    let had = parts.tables.len();
    let mut tree_denied = take(&root.join("firmware"), "fdt", parts);
    if parts.tables.len() == had {
        // The blob is for root only; the folder that it became is for everybody.
        let folder = root.join("firmware/devicetree/base");
        if let Some(path) = link_on_the_way(root) {
            parts.unread.push(ReadError::NotAFile { path, what: "a link" });
        } else if folder.is_dir() {
            match tree::flatten(&folder, &mut parts.unread) {
                Ok(bytes) => {
                    tree_denied = false;
                    let file = "devicetree/base".to_owned();
                    parts.tables.push(FirmwareTable { kind: Table::DeviceTree, file, bytes });
                }
                Err(error) => parts.unread.push(error),
            }
        }
    }
    denied += usize::from(tree_denied);
    parts.degraded.extend((denied != 0).then_some(Degraded::TablesDenied { tables: denied }));
}

/// A link among the folders that lead to the device tree of a copy. It could lead to any folder of whoever reads the copy,
/// and what is there would be taken for the machine's tree. The live sysfs is the kernel's own.
fn link_on_the_way(root: &Path) -> Option<PathBuf> {
    if root == Path::new(super::LIVE) {
        return None;
    }
    let folders = ["firmware", "firmware/devicetree", "firmware/devicetree/base"];
    let is_link = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|kind| kind.is_symlink());
    folders.into_iter().map(|folder| root.join(folder)).find(is_link)
}

/// Takes one table, if it is there; whether it may not be read.
fn take(folder: &Path, name: &str, parts: &mut Parts) -> bool {
    let path = folder.join(name);
    match files::optional(&path, dump::LARGEST) {
        Ok(None) => {}
        Ok(Some(bytes)) => match firmware::kind_of(&bytes) {
            Some(kind) => parts.tables.push(FirmwareTable { kind, file: name.to_owned(), bytes }),
            None => {
                let what = "header: its signature is not that of its name";
                parts.unread.push(ReadError::Unknown { path, what });
            }
        },
        Err(error) => {
            let denied = error.needs_root();
            parts.unread.push(error);
            return denied;
        }
    }
    false
}
