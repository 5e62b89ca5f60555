//! A directory of ACPI tables, device trees and text of `lspci`, or one such file.
//!
//! What a file is, its first bytes tell; which files of a directory are looked at, their names tell:
//!
//! | name | what |
//! | --- | --- |
//! | `*.dat`, `*.aml`, `*.bin`, and a table's name alone (`DMAR`) | an ACPI table |
//! | `*.dtb` | a device tree |
//! | `*lspci*.txt`, `*lspci*.log`, `*lspci*` | what `lspci` printed |
//! | `*dmesg*.txt`, `*dmesg*.log`, `*dmesg*` | lines of a kernel log with IDs, for a listing that lacks them |
//!
//! Other files are not opened, and are named.

use crate::{Degraded, FirmwareTable, Origin, Parts, ReadError, files, machine::try_snapshot};
use ioward::{firmware, pci::lspci};
use std::{fs, path::Path};

/// The largest file that is read, in bytes. Tables have kilobytes, trees rarely a megabyte.
pub const LARGEST: u64 = 64 << 20;
/// The most files of a directory that are looked at.
pub const MOST_FILES: usize = 4096;

/// The ACPI tables that describe IOMMUs, by the names that sysfs gives their files.
pub const TABLES: [&str; 5] = ["DMAR", "IVRS", "IORT", "RIMT", "VIOT"];

/// Reads a file, or every table, tree and listing of a directory by name, and tells which it was.
pub fn read(path: &Path, parts: &mut Parts) -> Origin {
    match fs::metadata(path) {
        Err(error) => {
            parts.unread.push(ReadError::io(path, &error));
            Origin::File(path.into())
        }
        Ok(kind) if kind.is_dir() => {
            directory(path, parts);
            Origin::Directory(path.into())
        }
        Ok(_) => match one(path, parts) {
            Ok(Content::Snapshot) => Origin::Snapshot(path.into()),
            Ok(Content::Other) => Origin::File(path.into()),
            Err(error) => {
                parts.unread.push(error);
                Origin::File(path.into())
            }
        },
    }
}

fn directory(path: &Path, parts: &mut Parts) {
    let names = files::names(path, MOST_FILES, &mut parts.unread);
    let mut logs = Vec::new();
    let mut others = Vec::new();
    for name in names {
        let path = path.join(name);
        match expected(&path) {
            // A folder may be called anything.
            _ if path.is_dir() => {}
            Expected::Anything => others.push(self::name(&path)),
            Expected::Log => match files::bytes(&path, LARGEST) {
                Ok(bytes) => logs.push(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => parts.unread.push(error),
            },
            _ => {
                if let Err(error) = one(&path, parts) {
                    parts.unread.push(error);
                }
            }
        }
    }
    if !others.is_empty() {
        parts.degraded.push(Degraded::PassedOver { files: others });
    }
    for log in logs {
        parts.add_ids(&log);
    }
}

#[derive(PartialEq, Eq)]
enum Expected {
    Acpi,
    Tree,
    Lspci,
    Log,
    Anything,
}

/// What a file is by its name.
fn expected(path: &Path) -> Expected {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let name = name(path);
    let lower = name.to_ascii_lowercase();
    match extension.as_deref() {
        Some("dat" | "aml" | "bin") => Expected::Acpi,
        Some("dtb") => Expected::Tree,
        None if TABLES.contains(&name.as_str()) => Expected::Acpi,
        None | Some("txt" | "log") if lower.contains("lspci") => Expected::Lspci,
        None | Some("txt" | "log") if lower.contains("dmesg") => Expected::Log,
        _ => Expected::Anything,
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// What a file turned out to be, as far as whoever asks needs to know.
enum Content {
    Snapshot,
    Other,
}

fn one(path: &Path, parts: &mut Parts) -> Result<Content, ReadError> {
    let bytes = files::bytes(path, LARGEST)?;
    if let Some(read) = try_snapshot(path, &bytes, parts) {
        return read.map(|()| Content::Snapshot);
    }
    if let Some(kind) = firmware::kind_of(&bytes) {
        parts.tables.push(FirmwareTable { kind, file: name(path), bytes });
        return Ok(Content::Other);
    }
    let unknown = |what| Err(ReadError::Unknown { path: path.into(), what });
    match expected(path) {
        Expected::Acpi if is_acpi(&bytes) => parts.passed_over.push(name(path)),
        Expected::Acpi => return unknown("header: no ACPI signature"),
        Expected::Tree => return unknown("header: no device-tree magic number (0xd00dfeed)"),
        Expected::Lspci | Expected::Log | Expected::Anything => {
            let listing = lspci::parse(&String::from_utf8_lossy(&bytes));
            match listing.is_empty() {
                false => take(name(path), listing, parts),
                true if is_acpi(&bytes) => parts.passed_over.push(name(path)),
                true => {
                    return unknown("header: neither an ACPI table, nor a device tree, nor lspci text");
                }
            }
        }
    }
    Ok(Content::Other)
}

fn take(file: String, listing: lspci::Listing, parts: &mut Parts) {
    let odd = listing.degraded.iter();
    parts.degraded.extend(odd.map(|&what| Degraded::Listing { file: file.clone(), what }));
    parts.functions.extend(listing.functions);
    parts.findings.extend(listing.findings);
}

/// Whether the bytes begin as an ACPI table does: a signature, and a length that covers the header.
fn is_acpi(bytes: &[u8]) -> bool {
    let signature = bytes.get(..4).is_some_and(|name| {
        name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    });
    let length = bytes.get(4..8).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
    signature && length.is_some_and(|length| length >= 36)
}
