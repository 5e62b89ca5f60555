//! What can be wrong with the bytes of a table.

use core::fmt;

/// A kind of firmware table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Table {
    /// Arm's I/O remapping table.
    Iort,
    /// AMD's I/O virtualization reporting structure.
    Ivrs,
    /// Intel's DMA remapping table.
    Dmar,
    /// RISC-V's I/O mapping table.
    Rimt,
    /// The virtual I/O translation table.
    Viot,
    /// A flattened device tree.
    DeviceTree,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Iort => "IORT",
            Self::Ivrs => "IVRS",
            Self::Dmar => "DMAR",
            Self::Rimt => "RIMT",
            Self::Viot => "VIOT",
            Self::DeviceTree => "device tree",
        })
    }
}

/// Something wrong with a table: where, in which structure, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which table.
    pub table: Table,
    /// The byte that is wrong, or the first byte of what is, counted from the table's first byte.
    pub offset: u32,
    /// The structure or property, in the specification's words.
    pub structure: &'static str,
    /// What is wrong with it.
    pub cause: Cause,
}

impl Problem {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self.cause {
            Cause::Checksum { .. }
            | Cause::Unknown { .. }
            | Cause::Reserved { .. }
            | Cause::Unused { .. }
            | Cause::Misaligned { .. }
            | Cause::Empty => Severity::Note,
            Cause::Contradiction { .. } | Cause::Duplicate { .. } => Severity::Degraded,
            _ => Severity::Broken,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offset {:#x}, {}: {}", self.table, self.offset, self.structure, self.cause)
    }
}
impl core::error::Error for Problem {}

/// How much a problem matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Everything meaningful was read; whoever wrote the table should know.
    Note,
    /// Two statements disagree; the one that the problem names was followed.
    Degraded,
    /// Something could not be read or makes no sense, and is missing from the facts.
    Broken,
}

/// What is wrong with a structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It ends before it is complete.
    Truncated {
        /// Bytes needed.
        needs: u32,
        /// Bytes there.
        has: u32,
    },
    /// It does not begin with what tells its kind.
    Signature {
        /// What is there, as a little-endian number.
        found: u32,
    },
    /// All bytes of the table should add up to zero.
    Checksum {
        /// What they add up to.
        sum: u8,
    },
    /// Its length field cannot be.
    Length {
        /// The field.
        found: u32,
        /// The least that it can be.
        least: u32,
    },
    /// Its version is none that can be read.
    Version {
        /// The field.
        found: u32,
    },
    /// Nobody here knows this kind of structure; it was skipped.
    Unknown {
        /// The kind, as a number.
        kind: u32,
    },
    /// A field that must be zero is not.
    Reserved {
        /// The field.
        found: u64,
    },
    /// It refers to something that is not there, or is not of the right kind.
    Dangling {
        /// The offset or handle it refers to.
        to: u32,
    },
    /// It refers back to itself.
    Loop {
        /// The offset or handle it refers to.
        to: u32,
    },
    /// It is too deeply nested.
    Depth {
        /// How deep nesting is followed.
        limit: u32,
    },
    /// A value is outside what it may be.
    Range {
        /// The value.
        found: u64,
    },
    /// A property has a size that is no multiple of what its entries need.
    Size {
        /// Its bytes.
        found: u32,
        /// The bytes of one entry.
        entry: u32,
    },
    /// Text is not printable, not ended, or not ASCII.
    Text,
    /// It contradicts another statement of the table.
    Contradiction {
        /// What of it, in the specification's words.
        what: &'static str,
        /// The offset of the other statement, which was followed.
        with: u32,
    },
    /// The same thing has been said already.
    Duplicate {
        /// The offset of the first statement.
        first: u32,
    },
    /// It begins something that nothing ends, or ends what nothing began.
    Unpaired,
    /// Bytes that belong to nothing.
    Unused {
        /// How many.
        bytes: u32,
    },
    /// It is not a multiple of what it must be a multiple of; it was taken as it is.
    Misaligned {
        /// The value.
        found: u64,
        /// Of what it must be a multiple.
        unit: u64,
    },
    /// It covers nothing.
    Empty,
    /// Something that it cannot do without is not there.
    Missing {
        /// What.
        what: &'static str,
    },
    /// To follow what it says would take too long; nothing of it was followed.
    Effort {
        /// The steps that it would take, at most.
        steps: u64,
        /// The most that are taken.
        most: u64,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needs, has } => write!(f, "needs {needs} bytes, has {has}"),
            Self::Signature { found } => write!(f, "signature {found:#010x} is not its own"),
            Self::Checksum { sum } => write!(f, "bytes add up to {sum:#04x} instead of zero"),
            Self::Length { found, least } => write!(f, "length {found} is below the least possible {least}"),
            Self::Version { found } => write!(f, "version {found} cannot be read"),
            Self::Unknown { kind } => write!(f, "kind {kind:#x} is not known and was skipped"),
            Self::Reserved { found } => write!(f, "reserved field holds {found:#x} instead of zero"),
            Self::Dangling { to } => write!(f, "refers to {to:#x}, where nothing fitting is"),
            Self::Loop { to } => write!(f, "refers back to itself through {to:#x}"),
            Self::Depth { limit } => write!(f, "nested deeper than {limit}"),
            Self::Range { found } => write!(f, "value {found:#x} is outside its range"),
            Self::Size { found, entry } => write!(f, "{found} bytes are no multiple of entries of {entry}"),
            Self::Text => f.write_str("text is not printable ASCII ended by zero"),
            Self::Contradiction { what, with } => write!(f, "{what} contradicts offset {with:#x}"),
            Self::Duplicate { first } => write!(f, "says again what offset {first:#x} says"),
            Self::Unpaired => f.write_str("has no counterpart"),
            Self::Unused { bytes } => write!(f, "{bytes} bytes belong to nothing"),
            Self::Misaligned { found, unit } => write!(f, "{found:#x} is no multiple of {unit:#x}"),
            Self::Empty => f.write_str("covers nothing"),
            Self::Missing { what } => write!(f, "lacks {what}"),
            Self::Effort { steps, most } => {
                write!(f, "would take up to {steps} steps to follow, more than {most}, and was left out")
            }
        }
    }
}
