//! What could not be read, and what was read in part.

use crate::harmless::harmless;
use ioward::pci::lspci;
use std::{fmt, io, path::Path, path::PathBuf};

/// A file or directory that could not be read, or that is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The system does not let it be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The kind of the system's error.
        kind: io::ErrorKind,
        /// The system's words.
        cause: String,
    },
    /// It is a directory, a pipe, a socket or a device; only regular files are opened.
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file is larger than what is read of its kind.
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most that is read, in bytes.
        most: u64,
    },
    /// A directory has more entries than are looked at; the rest was not.
    TooMany {
        /// Which.
        path: PathBuf,
        /// The most that are looked at.
        most: usize,
    },
    /// A file is named as a table, a tree or a listing, and is none.
    Unknown {
        /// Which.
        path: PathBuf,
        /// What it lacks.
        what: &'static str,
    },
    /// A file of sysfs, or a name there, does not say what it should.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should say.
        expected: &'static str,
        /// What it says, cut where it is long.
        found: String,
    },
    /// A snapshot does not say what it should.
    Snapshot {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and where.
        cause: String,
    },
    /// A file of a directory in which nothing else was found; its name does not tell what it is, so it was not opened.
    PassedOver {
        /// Which.
        path: PathBuf,
    },
    /// There is no table, tree, listing or sysfs here.
    Nothing {
        /// Where.
        path: PathBuf,
    },
}

impl ReadError {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Unreadable { path: path.into(), kind: error.kind(), cause: error.to_string() }
    }

    pub(crate) fn malformed(path: &Path, expected: &'static str, found: &str) -> Self {
        const MOST: usize = 40;
        let found = found.chars().take(MOST).collect::<String>().escape_debug().to_string();
        Self::Malformed { path: path.into(), expected, found }
    }

    /// Whether root could have read it.
    pub fn needs_root(&self) -> bool {
        matches!(self, Self::Unreadable { kind: io::ErrorKind::PermissionDenied, .. })
    }

    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::NotAFile { path, .. }
            | Self::TooLarge { path, .. }
            | Self::TooMany { path, .. }
            | Self::Unknown { path, .. }
            | Self::Malformed { path, .. }
            | Self::Snapshot { path, .. }
            | Self::PassedOver { path }
            | Self::Nothing { path } => path,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", harmless(&self.path().display().to_string()))?;
        match self {
            Self::Unreadable { cause, .. } => f.write_str(&harmless(cause)),
            Self::NotAFile { what, .. } => write!(f, "{what}, not a file; it was not opened"),
            Self::TooLarge { most, .. } => write!(f, "larger than the {most} bytes that are read"),
            Self::TooMany { most, .. } => write!(f, "only the first {most} entries were looked at"),
            Self::Unknown { what, .. } => write!(f, "offset 0x0, {what}"),
            Self::Malformed { expected, found, .. } => write!(f, "\"{found}\" is not {expected}"),
            Self::Snapshot { cause, .. } => write!(f, "cannot be read as a snapshot: {}", harmless(cause)),
            Self::PassedOver { .. } => f.write_str(
                "not opened: its name tells no table (*.dat, *.aml, *.bin), tree (*.dtb) or listing (*lspci*.txt); rename it, \
                 or name the file itself",
            ),
            Self::Nothing { .. } => f.write_str(
                "no sysfs (bus/pci/devices), ACPI table (*.dat), device tree (*.dtb) or lspci text here",
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// Nothing at all could be read of a machine. Holds at least one cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nothing(pub Vec<ReadError>);

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Nothing {}

/// So many of something, in words.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Something that was read, but not whole.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Degraded {
    /// A text of `lspci` lacks something, or something happened to it on the way.
    Listing {
        /// The file's name.
        file: String,
        /// What.
        what: lspci::Degraded,
    },
    /// The configuration space of so many functions ends after 64 bytes: their capabilities were not read, and only root
    /// may.
    CutConfig {
        /// How many.
        functions: usize,
    },
    /// The configuration space of so many functions read as all ones: they are powered off or gone.
    Asleep {
        /// How many.
        functions: usize,
    },
    /// So many functions have no file of configuration space.
    NoConfig {
        /// How many.
        functions: usize,
    },
    /// Files of a directory whose names do not tell what they are, and which were not opened. At least one.
    PassedOver {
        /// Their names, ascending.
        files: Vec<String>,
    },
    /// So many firmware tables may be read by root only. An IOMMU may be there that nobody hears of.
    TablesDenied {
        /// How many.
        tables: usize,
    },
}

impl Degraded {
    /// Whether running as root would help.
    pub fn needs_root(&self) -> bool {
        match self {
            Self::CutConfig { .. } | Self::TablesDenied { .. } => true,
            Self::Listing { what, .. } => matches!(what, lspci::Degraded::NoCapabilities { .. }),
            Self::Asleep { .. } | Self::NoConfig { .. } | Self::PassedOver { .. } => false,
        }
    }
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing { file, what } => write!(f, "{}: {what}", harmless(file)),
            Self::CutConfig { functions } => write!(
                f,
                "the capabilities of {} could not be read: configuration space ends after 64 bytes (run as root)",
                counted(*functions, "function")
            ),
            Self::Asleep { functions } => write!(
                f,
                "the configuration space of {} reads as all ones: powered off or gone",
                counted(*functions, "function")
            ),
            Self::NoConfig { functions } => {
                write!(
                    f,
                    "there is no file with the configuration space of {}",
                    counted(*functions, "function")
                )
            }
            Self::PassedOver { files } => {
                const MOST: usize = 8;
                f.write_str(&harmless(&files[..files.len().min(MOST)].join(", ")))?;
                if files.len() > MOST {
                    write!(f, " and {} more", files.len() - MOST)?;
                }
                f.write_str(": not opened, since the name tells no table, tree or listing")
            }
            Self::TablesDenied { tables } => {
                let tables = counted(*tables, "firmware table");
                write!(f, "{tables} about IOMMUs could not be read (run as root)")
            }
        }
    }
}
