//! What can be wrong with a configuration, a range or a mapping.

use core::fmt;
use ioward_types::{Attributes, Format, Iova, OutOfMemory, PhysAddr, Span};

/// Why a table of some configuration cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The engine has no such format.
    Format(Format),
    /// No page size, or a smallest one that is no granule of the format.
    Granule {
        /// The format.
        format: Format,
        /// The smallest page size asked for, in bytes; zero for none.
        granule: u64,
    },
    /// A page size that no leaf of the format can have.
    PageSize {
        /// The format.
        format: Format,
        /// The size, in bytes.
        bytes: u64,
    },
    /// A page size of several entries without that of a single one in the same table.
    SetWithoutEntry {
        /// The format.
        format: Format,
        /// The size asked for, in bytes.
        bytes: u64,
        /// The size of one of its entries, which lacks.
        entry: u64,
    },
    /// Hardware is to set bits in entries whose cache lines the CPU writes back by hand: one would undo the other.
    DirtyIncoherent,
    /// The input width does not fit the format.
    InBits {
        /// The format.
        format: Format,
        /// What was asked for.
        bits: u8,
        /// The narrowest that can be.
        min: u8,
        /// The widest that can be.
        max: u8,
    },
    /// The output width does not fit the format. Arm's 52-bit addresses with granules of 4 and 16 KiB (FEAT_LPA2) are
    /// another descriptor format, which the engine does not have.
    OutBits {
        /// The format.
        format: Format,
        /// What was asked for.
        bits: u8,
        /// The narrowest that can be.
        min: u8,
        /// The widest that can be.
        max: u8,
    },
    /// No memory for the root.
    NoMemory(OutOfMemory),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => write!(f, "no page tables of format {format}"),
            Self::Granule { format, granule } => write!(f, "{format} has no granule of {granule:#x} bytes"),
            Self::PageSize { format, bytes } => write!(f, "{format} has no pages of {bytes:#x} bytes"),
            Self::SetWithoutEntry { format, bytes, entry } => {
                write!(f, "{format} pages of {bytes:#x} bytes need pages of {entry:#x} bytes beside them")
            }
            Self::DirtyIncoherent => f.write_str("dirty tracking needs walkers that snoop"),
            Self::InBits { format, bits, min, max } => {
                write!(f, "{format} translates {min} to {max} bits with this granule, not {bits}")
            }
            Self::OutBits { format, bits, min, max } => {
                write!(f, "{format} gives addresses of {min} to {max} bits with this granule, not {bits}")
            }
            Self::NoMemory(out) => write!(f, "root table: {out}"),
        }
    }
}
impl core::error::Error for ConfigError {}

/// What is wrong with a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RangeError {
    /// It has no bytes.
    Empty {
        /// Where it would start.
        at: Iova,
    },
    /// Start or length is not a multiple of the granule.
    Misaligned {
        /// Where it starts.
        at: Iova,
        /// How many bytes.
        bytes: u64,
        /// The smallest page, in bytes.
        granule: u64,
    },
    /// It leaves the IOVAs that the table translates, or wraps.
    Input {
        /// Where it starts.
        at: Iova,
        /// How many bytes.
        bytes: u64,
        /// The table's input width. Where it is the full width of a sign-extended format, both halves are meant.
        in_bits: u8,
    },
    /// The physical start is not a multiple of the granule.
    OutputMisaligned {
        /// Where it starts.
        to: PhysAddr,
        /// The smallest page, in bytes.
        granule: u64,
    },
    /// It leaves the physical addresses that the format can hold, or wraps.
    Output {
        /// Where it starts.
        to: PhysAddr,
        /// How many bytes.
        bytes: u64,
        /// The table's output width.
        out_bits: u8,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { at } => write!(f, "no bytes at {at}"),
            Self::Misaligned { at, bytes, granule } => {
                write!(f, "{bytes:#x} bytes at {at} are not whole pages of {granule:#x} bytes")
            }
            Self::Input { at, bytes, in_bits } => {
                write!(f, "{bytes:#x} bytes at {at} leave the {in_bits}-bit input range")
            }
            Self::OutputMisaligned { to, granule } => {
                write!(f, "physical {to} is no multiple of {granule:#x}")
            }
            Self::Output { to, bytes, out_bits } => {
                write!(f, "{bytes:#x} bytes at physical {to} leave the {out_bits}-bit output range")
            }
        }
    }
}
impl core::error::Error for RangeError {}

/// Why nothing was mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MapCause {
    /// The range is no range of this table.
    Range(RangeError),
    /// The format has no entry with these attributes; [`AnyTable::widen`](crate::AnyTable::widen) tells what comes next.
    Attributes(Attributes),
    /// Something is mapped here already; it has not been changed.
    Exists(Iova),
    /// No memory for a table that leads here.
    NoMemory(Iova),
}

impl fmt::Display for MapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Attributes(how) => write!(f, "the format cannot express {how:?}"),
            Self::Exists(at) => write!(f, "{at} is mapped already"),
            Self::NoMemory(at) => write!(f, "no memory for a table that leads to {at}"),
        }
    }
}

/// Nothing is mapped that was not before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapError {
    /// Why.
    pub cause: MapCause,
    /// What had been mapped by the failed call and has been taken back. Hardware may have cached it, so it owes an
    /// invalidation, leaves only: tables that the call installed stay, empty, for the next map.
    pub undone: Option<Span<Iova>>,
}

impl From<RangeError> for MapError {
    fn from(range: RangeError) -> Self {
        Self { cause: MapCause::Range(range), undone: None }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}
impl core::error::Error for MapError {}

/// Why nothing was unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UnmapError {
    /// The range is no range of this table.
    Range(RangeError),
    /// The range begins or ends inside a page; `cut` can split it where the format allows that.
    Cuts {
        /// The page.
        page: Span<Iova>,
    },
}

impl From<RangeError> for UnmapError {
    fn from(range: RangeError) -> Self {
        Self::Range(range)
    }
}

impl fmt::Display for UnmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Cuts { page } => write!(f, "the range cuts the page {page}"),
        }
    }
}
impl core::error::Error for UnmapError {}

/// Why a root did not grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GrowError {
    /// The root of this format has its place in the input width: only a new table is wider.
    Fixed(Format),
    /// The format has no such width.
    InBits {
        /// What was asked for.
        bits: u8,
        /// The widest that can be.
        max: u8,
    },
    /// No memory for the new root. Levels that were added before stay.
    NoMemory(OutOfMemory),
}

impl fmt::Display for GrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(format) => write!(f, "the root of {format} tables cannot grow"),
            Self::InBits { bits, max } => write!(f, "at most {max} bits can be translated, not {bits}"),
            Self::NoMemory(out) => write!(f, "root table: {out}"),
        }
    }
}
impl core::error::Error for GrowError {}

/// Why nothing was harvested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HarvestError {
    /// The range is no range of this table.
    Range(RangeError),
    /// The table was made without dirty tracking: its entries look touched, or never will.
    Untracked,
}

impl fmt::Display for HarvestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Untracked => f.write_str("the table does not track accesses"),
        }
    }
}
impl core::error::Error for HarvestError {}

/// Why a page was not split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CutError {
    /// Where to cut is no multiple of the granule, or outside the input range.
    At {
        /// Where.
        at: Iova,
        /// The smallest page, in bytes.
        granule: u64,
        /// The table's input width.
        in_bits: u8,
    },
    /// Format and IOMMU would need the page absent for an instant, in which DMA faults.
    NotHitless {
        /// The format.
        format: Format,
        /// The page.
        page: Span<Iova>,
    },
    /// No memory for the table of smaller pages.
    NoMemory {
        /// Where to cut.
        at: Iova,
        /// What lacked.
        out: OutOfMemory,
    },
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { at, granule, in_bits } => {
                write!(f, "{at} is no multiple of {granule:#x} in the {in_bits}-bit input range")
            }
            Self::NotHitless { format, page } => {
                write!(f, "{format} cannot split the page {page} while DMA runs")
            }
            Self::NoMemory { at, out } => write!(f, "splitting at {at}: {out}"),
        }
    }
}
impl core::error::Error for CutError {}
