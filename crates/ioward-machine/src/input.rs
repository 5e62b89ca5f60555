//! What a path holds: ACPI tables, device trees, text of `lspci`.

use ioward::{firmware, pci::lspci};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The largest file that is read, in bytes. Tables have kilobytes, trees rarely a megabyte.
pub const LARGEST: u64 = 64 << 20;
/// The most files of a directory that are looked at.
pub const MOST_FILES: usize = 4096;

/// A file that says something of a machine.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name, without its directory.
    pub name: String,
    /// What it is.
    pub content: Content,
}

/// What a file is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A table or tree that describes IOMMUs, of this kind.
    Table(ioward::types::describe::Table, Vec<u8>),
    /// What `lspci` printed.
    Lspci(lspci::Listing),
    /// An ACPI table or something else that says nothing of IOMMUs.
    Other,
}

/// A file or directory that could not be read, or that holds nothing.
#[derive(Debug)]
pub enum InputError {
    /// The path cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file is larger than [`LARGEST`]: this many bytes.
    TooLarge(PathBuf, u64),
    /// The file is named as a table, a tree or a listing, and is none.
    Unknown(PathBuf, &'static str),
    /// The directory has no table, tree or listing.
    Nothing(PathBuf),
    /// The directory has more than [`MOST_FILES`] entries; the rest was not looked at.
    TooMany(PathBuf),
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::TooLarge(path, bytes) => {
                write!(f, "{}: {bytes} bytes are more than the {LARGEST} that are read", path.display())
            }
            Self::Unknown(path, what) => write!(f, "{}: offset 0x0, {what}", path.display()),
            Self::Nothing(path) => {
                write!(f, "{}: no ACPI table (*.dat), device tree (*.dtb) or lspci text here", path.display())
            }
            Self::TooMany(path) => {
                write!(f, "{}: only the first {MOST_FILES} entries were looked at", path.display())
            }
        }
    }
}

impl std::error::Error for InputError {}

/// Reads a file, or every table, tree and listing of a directory by name. Whatever cannot be read is listed, and the rest
/// is there all the same.
pub fn read(path: &Path) -> (Vec<File>, Vec<InputError>) {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let kind = match fs::metadata(path) {
        Ok(kind) => kind,
        Err(error) => return (files, vec![InputError::Unreadable(path.into(), error)]),
    };
    let mut paths = Vec::new();
    if kind.is_dir() {
        match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries.take(MOST_FILES + 1) {
                    match entry {
                        Ok(entry) => paths.push(entry.path()),
                        Err(error) => errors.push(InputError::Unreadable(path.into(), error)),
                    }
                }
            }
            Err(error) => errors.push(InputError::Unreadable(path.into(), error)),
        }
        paths.sort();
        if paths.len() > MOST_FILES {
            paths.truncate(MOST_FILES);
            errors.push(InputError::TooMany(path.into()));
        }
        paths.retain(|path| path.is_file() && expected(path) != Expected::Anything);
    } else {
        paths.push(path.into());
    }
    for path in &paths {
        match one(path) {
            Ok(content) => files.push(File { name: name(path), content }),
            Err(error) => errors.push(error),
        }
    }
    if files.is_empty() && errors.is_empty() {
        errors.push(InputError::Nothing(path.into()));
    }
    (files, errors)
}

#[derive(PartialEq, Eq)]
enum Expected {
    Acpi,
    Tree,
    Lspci,
    Anything,
}

/// What a file is by its name.
fn expected(path: &Path) -> Expected {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("dat" | "aml" | "bin") => Expected::Acpi,
        Some("dtb") => Expected::Tree,
        Some("txt") if name(path).to_ascii_lowercase().contains("lspci") => Expected::Lspci,
        None if name(path).to_ascii_lowercase().contains("lspci") => Expected::Lspci,
        _ => Expected::Anything,
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn one(path: &Path) -> Result<Content, InputError> {
    let unreadable = |error| InputError::Unreadable(path.into(), error);
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > LARGEST {
        return Err(InputError::TooLarge(path.into(), bytes));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    if let Some(table) = firmware::kind_of(&bytes) {
        return Ok(Content::Table(table, bytes));
    }
    match expected(path) {
        Expected::Acpi if is_acpi(&bytes) => Ok(Content::Other),
        Expected::Acpi => Err(InputError::Unknown(path.into(), "header: no ACPI signature")),
        Expected::Tree => {
            Err(InputError::Unknown(path.into(), "header: no device-tree magic number (0xd00dfeed)"))
        }
        Expected::Lspci | Expected::Anything => {
            let listing = lspci::parse(&String::from_utf8_lossy(&bytes));
            match listing.is_empty() {
                false => Ok(Content::Lspci(listing)),
                true if is_acpi(&bytes) => Ok(Content::Other),
                true => Err(InputError::Unknown(
                    path.into(),
                    "header: neither an ACPI table, nor a device tree, nor lspci text",
                )),
            }
        }
    }
}

/// Whether the bytes begin as an ACPI table does: a signature, and a length that covers the header.
fn is_acpi(bytes: &[u8]) -> bool {
    let signature = bytes.get(..4).is_some_and(|name| {
        name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    });
    let length = bytes.get(4..8).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
    signature && length.is_some_and(|length| length >= 36)
}
