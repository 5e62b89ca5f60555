//! What firmware and bus tell before an AMD-Vi is brought up, and how bringing it up can fail.

use core::fmt;
use ioward_core::driver::Hung;
use ioward_spec::amdvi::capability;
use ioward_types::{Nanos, OutOfMemory, describe, hw::NoAtomic128};

/// What is known of one IOMMU before its registers are touched.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What the IVRS table says: flags, feature-register images.
    pub described: describe::AmdVi,
    /// The first 32 bits of its PCI capability block (48882 §3.2.1), where the bus has been asked. Without it, device
    /// IOTLBs are as the IVHD flags say and not-present entries are taken to be cached.
    pub capability_header: Option<u32>,
    /// The largest device ID that it serves, from the device entries of its IVHD blocks. The device table reaches that
    /// far; a larger one is target-aborted (48882 §2.2.2).
    pub last_source: u16,
    /// Its reads of tables, commands and device table snoop CPU caches. False: everything is cleaned first.
    pub coherent: bool,
    /// Remap interrupts: messages that no entry of their source names are blocked. Without it they pass as they come.
    pub interrupts: bool,
    /// Destinations of remapped interrupts have 32 bits where the hardware can (XTSup): processors are in x2APIC mode.
    pub x2apic: bool,
    /// Bound of every wait on the hardware. More than the 100 ms after which it gives up on a device's IOTLB.
    pub patience: Nanos,
    /// The command buffer has `1 << n` entries, 8 to 15.
    pub command_entries_log2: u8,
    /// The event log has `1 << n` entries, 8 to 15.
    pub event_entries_log2: u8,
}

impl Config {
    /// The usual sizes and a second's patience, for what an IVRS table describes.
    pub fn new(described: describe::AmdVi, last_source: u16) -> Self {
        Self {
            described,
            capability_header: None,
            last_source,
            coherent: true,
            interrupts: false,
            x2apic: false,
            patience: Nanos(1_000_000_000),
            command_entries_log2: 9,
            event_entries_log2: 9,
        }
    }

    pub(super) fn iotlb(&self) -> bool {
        match self.capability_header {
            Some(header) => capability::header::IOTLB_SUP.of(header.into()) != 0,
            None => self.described.flags & 1 << 4 != 0,
        }
    }

    pub(super) fn np_cache(&self) -> bool {
        self.capability_header.is_none_or(|header| capability::header::NP_CACHE.of(header.into()) != 0)
    }
}

/// Why an AMD-Vi was not brought up. Where the error is not [`BringUpError::Hung`], it is as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BringUpError {
    /// Its registers read all ones: it is not there, or its block is not mapped.
    Absent,
    /// Its extended features contradict themselves.
    Features {
        /// Which, in the specification's words.
        what: &'static str,
        /// The extended feature register as used: the register's bits that the IVHD image confirms.
        efr: u64,
    },
    /// The configuration is out of range.
    Config(&'static str),
    /// It is on, and [`BringUp::Cold`](super::BringUp::Cold) was asked for. Nothing was changed.
    Translating {
        /// What the control register reads as.
        control: u64,
    },
    /// What an earlier owner left cannot be adopted.
    Adopt(&'static str),
    /// There was no memory.
    NoMemory(OutOfMemory),
    /// This CPU cannot update a device table entry hitlessly.
    NoAtomic128(NoAtomic128),
    /// It did not do what it was told to in time. Sources that it served are blocked as far as it obeys.
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
impl From<NoAtomic128> for BringUpError {
    fn from(error: NoAtomic128) -> Self {
        Self::NoAtomic128(error)
    }
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the registers of the AMD-Vi read all ones"),
            Self::Features { what, efr } => {
                write!(f, "the extended features {efr:#x} of the AMD-Vi contradict themselves: {what}")
            }
            Self::Config(what) => write!(f, "the configuration of the AMD-Vi is out of range: {what}"),
            Self::Translating { control } => {
                write!(f, "already translating: the control register is {control:#x}")
            }
            Self::Adopt(what) => write!(f, "the state of the AMD-Vi cannot be adopted: {what}"),
            Self::NoMemory(error) => error.fmt(f),
            Self::NoAtomic128(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for BringUpError {}
