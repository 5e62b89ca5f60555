//! What a bring-up is told, and why it fails.

use core::fmt;
use ioward_core::driver::Hung;
use ioward_types::{Nanos, OutOfMemory, PhysAddr, describe};

/// How one IOMMU is to be driven. `Config::default()` fits any.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What firmware adds to `capabilities`: a RIMT node or a device-tree node.
    pub firmware: describe::RiscV,
    /// How long any single wait on the hardware may take. More than what it waits for a device that is to forget
    /// translations, where devices have ATS.
    pub bound: Nanos,
    /// The largest device_id that it serves. The device directory gets as few levels as reach it, or as many as the IOMMU
    /// has; requests from sources beyond are refused by the IOMMU ("Transaction type disallowed").
    pub last_source: u32,
    /// log2 of the entries of the command queue, 1 to 16.
    pub command_queue: u8,
    /// log2 of the entries of the fault queue, 1 to 16.
    pub fault_queue: u8,
    /// log2 of the entries of the page-request queue, 1 to 16; `None`: the IOMMU itself refuses every page request.
    pub page_request_queue: Option<u8>,
    /// How it asks for attention.
    pub interrupts: Interrupts,
    /// Tables may have 64 KiB leaves (Svnapot), which version 1.0 requires of every IOMMU. QEMU 10 misreads them.
    pub napot: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            firmware: describe::RiscV::default(),
            bound: Nanos(1_000_000_000),
            last_source: 0xff_ffff,
            command_queue: 8,
            fault_queue: 9,
            page_request_queue: None,
            interrupts: Interrupts::Polled,
            napot: false,
        }
    }
}

/// How the IOMMU says that a queue has something, or has stopped. Completion of commands is always polled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Interrupts {
    /// Not at all: `poll` is called from a timer.
    Polled,
    /// By wires: which of them, 0 to 15, as firmware lists them (5.28).
    Wired {
        /// Of the command queue.
        command: u8,
        /// Of the fault queue.
        fault: u8,
        /// Of the page-request queue.
        page_request: u8,
    },
    /// By messages that it writes (5.29). Equal ones share a vector.
    Messages {
        /// Of the command queue.
        command: Message,
        /// Of the fault queue.
        fault: Message,
        /// Of the page-request queue.
        page_request: Message,
    },
}

/// A message of the IOMMU's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where it is written: physical, a multiple of 4, below `1 << 56`.
    pub address: PhysAddr,
    /// What is written.
    pub data: u32,
}

/// Why an IOMMU is not driven. Unless it says otherwise nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BringUpError {
    /// `capabilities` reads as ones: nothing answers at this address.
    Absent,
    /// A register says what the specification does not allow, or what contradicts another.
    Contradiction {
        /// Which register.
        register: &'static str,
        /// What it reads as.
        value: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The IOMMU lacks what this driver cannot do without, or what it was asked for.
    Unsupported {
        /// Which register says so.
        register: &'static str,
        /// What it reads as.
        value: u64,
        /// What is missing, or is there and not supported.
        what: &'static str,
    },
    /// It already translates, and [`BringUp::Cold`](super::BringUp::Cold) was asked for.
    Translating {
        /// What `ddtp` reads as.
        ddtp: u64,
    },
    /// A register does not keep what is written to it: somebody has locked it, or it cannot hold it. The IOMMU may be in any
    /// state between what it was and Off.
    Locked {
        /// Which register.
        register: &'static str,
        /// What it reads as.
        value: u64,
        /// What was to be kept.
        what: &'static str,
    },
    /// The configuration is out of range.
    Config(&'static str),
    /// There was no memory.
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
            Self::Absent => f.write_str("capabilities reads as ones"),
            Self::Contradiction { register, value, what } => write!(f, "{register} is {value:#x}: {what}"),
            Self::Unsupported { register, value, what } => {
                write!(f, "{register} is {value:#x}, not supported: {what}")
            }
            Self::Translating { ddtp } => write!(f, "already translating: ddtp is {ddtp:#x}"),
            Self::Locked { register, value, what } => {
                write!(f, "{register} stays {value:#x} and does not take {what}")
            }
            Self::Config(what) => write!(f, "the configuration is out of range: {what}"),
            Self::NoMemory(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for BringUpError {}
