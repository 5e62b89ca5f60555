//! What a bring-up is told, and why it fails.

use core::fmt;
use ioward_core::driver::Hung;
use ioward_types::{Nanos, OutOfMemory, describe};

/// How one SMMU is to be driven. `Config::default()` fits any that needs no quirk.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What firmware adds to the ID registers: an IORT node or a device-tree node.
    pub firmware: describe::SmmuV3,
    /// How long any single wait on the hardware may take.
    pub bound: Nanos,
    /// How many bits of a StreamID the Stream table covers at most. Requests from sources beyond are aborted and reported
    /// (C_BAD_STREAMID). A linear table covers at most 16.
    pub source_bits: u8,
    /// log2 of the entries of the Command queue, at most what IDR1 allows.
    pub command_queue: u8,
    /// log2 of the entries of the Event queue, at most what IDR1 allows.
    pub event_queue: u8,
    /// log2 of the entries of the PRI queue, at most what IDR1 allows; `None`: every page request is refused by the SMMU
    /// itself.
    pub page_request_queue: Option<u8>,
    /// Raise the wired interrupts for events, page requests and global errors. Completion of commands is always polled
    /// for, and no MSI is ever set up; without this `poll` is called from a timer.
    pub wired_interrupts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            firmware: describe::SmmuV3::default(),
            bound: Nanos(1_000_000_000),
            source_bits: 24,
            command_queue: 8,
            event_queue: 9,
            page_request_queue: None,
            wired_interrupts: false,
        }
    }
}

/// Why an SMMU is not driven. Unless it says otherwise nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BringUpError {
    /// Every register reads as ones: nothing answers at this address.
    Absent,
    /// A register says what the specification does not allow, or what contradicts another.
    Contradiction {
        /// Which register.
        register: &'static str,
        /// What it reads as.
        value: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The SMMU lacks what this driver cannot do without.
    Unsupported {
        /// Which register says so.
        register: &'static str,
        /// What it reads as.
        value: u32,
        /// What is missing, or is there and not supported.
        what: &'static str,
    },
    /// It already translates, and [`BringUp::Cold`](super::BringUp::Cold) was asked for.
    Translating {
        /// What CR0 reads as.
        cr0: u32,
    },
    /// There was no memory. The SMMU aborts every request.
    NoMemory(OutOfMemory),
    /// It did not answer in time. It may be in any state between.
    Hung(Hung),
}

impl From<OutOfMemory> for BringUpError {
    fn from(error: OutOfMemory) -> Self {
        Self::NoMemory(error)
    }
}
impl From<Hung> for BringUpError {
    fn from(error: Hung) -> Self {
        Self::Hung(error)
    }
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("every register reads as ones"),
            Self::Contradiction { register, value, what } => write!(f, "{register} is {value:#x}: {what}"),
            Self::Unsupported { register, value, what } => {
                write!(f, "{register} is {value:#x}, not supported: {what}")
            }
            Self::Translating { cr0 } => write!(f, "already translating: CR0 is {cr0:#x}"),
            Self::NoMemory(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for BringUpError {}
