//! What firmware and the kernel tell before a VT-d unit is brought up, and how bringing it up can fail.

use core::fmt;
use ioward_core::driver::Hung;
use ioward_types::{Nanos, OutOfMemory, describe, hw::has_atomic128};

/// Where an event of the unit's own is sent: an MSI of its, in the form that the machine takes (11.4.7.3 to 11.4.7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The address that is written to; the low two bits are ignored.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// Which translation mode is used (3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Scalable mode where the unit has it and any of its stages, else legacy mode.
    #[default]
    Best,
    /// Legacy mode: no PASIDs, no first stage.
    Legacy,
}

/// What becomes of interrupts (chapter 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interrupts {
    /// They pass as devices send them. Remapping that firmware or an earlier kernel left on is turned off.
    #[default]
    Pass,
    /// They are remapped, and those in compatibility format are blocked: whoever raises one is first given an entry.
    /// Where unit or platform cannot (ECAP.IR, DMAR's INTR_REMAP), they pass, and
    /// [`interrupts`](ioward_core::driver::Driver::interrupts) is none.
    Remap {
        /// The table has `1 << n` entries, 1 to 16.
        entries_log2: u8,
        /// Destinations have 32 bits (ECAP.EIM). Ignored where the unit lacks it. Whoever asks for it heeds DMAR's
        /// X2APIC_OPT_OUT, if it turns x2APIC mode on for this.
        x2apic: bool,
    },
}

/// The page request queue (7.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRequests {
    /// The queue has `1 << n` pages of 128 requests, 0 to 7.
    pub pages_log2: u8,
    /// Raised when a request has come; without it `poll` is called from a timer.
    pub message: Option<Message>,
}

/// What is known of one unit before its registers are touched.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What the DMAR table says.
    pub described: describe::VtD,
    /// Which mode.
    pub mode: Mode,
    /// Bound of every wait on the hardware. More than it takes to give up on a device's TLB.
    pub patience: Nanos,
    /// The invalidation queue has `1 << n` pages of 4 KiB, 0 to 7.
    pub queue_pages_log2: u8,
    /// Raised when a fault was recorded; without it faults are masked and `poll` is called from a timer.
    pub fault_message: Option<Message>,
    /// The page request queue, if there is to be one and the unit serves it (ECAP.PRS, scalable mode). Without it no
    /// device's page requests are let in.
    pub page_requests: Option<PageRequests>,
    /// What becomes of interrupts.
    pub interrupts: Interrupts,
    /// Entries change by stores of 128 bits. Without them a present entry goes through not present.
    pub wide_stores: bool,
}

impl Config {
    /// The usual sizes and a second's patience, for what a DMAR table describes.
    pub fn new(described: describe::VtD) -> Self {
        Self {
            described,
            mode: Mode::Best,
            patience: Nanos(1_000_000_000),
            queue_pages_log2: 0,
            fault_message: None,
            page_requests: None,
            interrupts: Interrupts::Pass,
            wide_stores: has_atomic128(),
        }
    }

    /// Whether every number is within its range.
    pub(super) fn check(&self) -> Result<(), BringUpError> {
        if self.queue_pages_log2 > 7 || self.page_requests.is_some_and(|queue| queue.pages_log2 > 7) {
            return Err(BringUpError::Config("a queue has 1 to 128 pages"));
        }
        if let Interrupts::Remap { entries_log2, .. } = self.interrupts
            && !(1..=16).contains(&entries_log2)
        {
            return Err(BringUpError::Config("an interrupt remapping table has 2 to 65536 entries"));
        }
        if (1..32).contains(&self.described.host_bits) {
            return Err(BringUpError::Config("the host address width is less than 32 bits"));
        }
        Ok(())
    }
}

/// Why a unit was not brought up. But for [`BringUpError::Hung`] it is as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BringUpError {
    /// Its registers read all ones: it is not there, or its block is not mapped.
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
    /// The unit lacks what this driver cannot do without.
    Unsupported {
        /// Which register says so.
        register: &'static str,
        /// What it reads as.
        value: u64,
        /// What is missing.
        what: &'static str,
    },
    /// The configuration is out of range.
    Config(&'static str),
    /// It already translates, and [`BringUp::Cold`](super::BringUp::Cold) was asked for. Nothing was changed.
    Translating {
        /// What GSTS reads as.
        gsts: u32,
    },
    /// What an earlier owner left cannot be adopted.
    Adopt(&'static str),
    /// There was no memory.
    NoMemory(OutOfMemory),
    /// It did not do what it was told to in time: broken, or locked by firmware. It may be in any state between, and is
    /// never further open than it was found.
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
            Self::Absent => f.write_str("the registers of the VT-d unit read all ones"),
            Self::Contradiction { register, value, what } => write!(f, "{register} is {value:#x}: {what}"),
            Self::Unsupported { register, value, what } => {
                write!(f, "{register} is {value:#x}, not supported: {what}")
            }
            Self::Config(what) => write!(f, "the configuration of the VT-d unit is out of range: {what}"),
            Self::Translating { gsts } => write!(f, "already translating: GSTS is {gsts:#x}"),
            Self::Adopt(what) => write!(f, "the state of the VT-d unit cannot be adopted: {what}"),
            Self::NoMemory(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for BringUpError {}
