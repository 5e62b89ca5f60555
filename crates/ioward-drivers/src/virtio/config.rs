//! What is told before a virtio-iommu is brought up, and how bringing it up can fail.

use core::fmt;
use ioward_core::driver::Hung;
use ioward_types::{Nanos, OutOfMemory};

/// What the platform knows of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The device's accesses snoop CPU caches. False: what it reads is cleaned first, what it wrote is invalidated.
    pub coherent: bool,
    /// Bound of every wait on the device.
    pub patience: Nanos,
    /// The most entries that either queue gets, a power of two of at least 2. A request takes two.
    pub entries: u16,
    /// Somebody may have driven the device before, who reset it: a kernel that started this one, say. Then it is searched
    /// for what it kept over that reset (QEMU 10 and cloud-hypervisor keep everything) even if its status is zero. A
    /// device whose status is not zero is always searched. Devices that do not answer a request that they reject, or that
    /// cannot detach (crosvm), cannot be used when this is true.
    pub used_before: bool,
}

impl Default for Config {
    /// A coherent device that nobody reset, a second's patience, 128 entries.
    fn default() -> Self {
        Self { coherent: true, patience: Nanos(1_000_000_000), entries: 128, used_before: false }
    }
}

/// Why a virtio-iommu was not brought up. Where the error is not [`BringUpError::Hung`], the device was left reset or as
/// it was found; endpoints pass nothing unless its bypass field says so, or it keeps over a reset what an earlier owner
/// mapped. A device that was in use is left with the status ACKNOWLEDGE, so that the next bring-up knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BringUpError {
    /// It reads as all ones: it is not there.
    Absent,
    /// It is another kind of virtio device, or zero: none.
    Kind(u32),
    /// It does not offer a feature without which it cannot be driven.
    Lacks {
        /// The feature, in the specification's words.
        what: &'static str,
        /// What it offers.
        offered: u64,
    },
    /// It does not take the features that it offered.
    Refuses {
        /// What was accepted.
        accepted: u64,
    },
    /// Its configuration contradicts itself.
    Device(&'static str),
    /// The configuration given is out of range.
    Config(&'static str),
    /// Its bypass field stays 1: endpoints would pass everything through.
    Bypass,
    /// It has no such queue, or not one that is long enough.
    Queue {
        /// Which.
        queue: u16,
        /// How many entries it can have.
        entries: u16,
    },
    /// There was no memory.
    NoMemory(OutOfMemory),
    /// It did not do what it was told to in time.
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
            Self::Absent => f.write_str("the virtio-iommu reads all ones"),
            Self::Kind(kind) => write!(f, "virtio device {kind} is no virtio-iommu, which is 23"),
            Self::Lacks { what, offered } => {
                write!(f, "the virtio-iommu lacks {what}: it offers {offered:#x}")
            }
            Self::Refuses { accepted } => {
                write!(f, "the virtio-iommu does not take features {accepted:#x} that it offered")
            }
            Self::Device(what) => {
                write!(f, "the configuration of the virtio-iommu contradicts itself: {what}")
            }
            Self::Config(what) => write!(f, "the configuration for the virtio-iommu is out of range: {what}"),
            Self::Bypass => f.write_str("the virtio-iommu lets endpoints pass and cannot be told otherwise"),
            Self::Queue { queue, entries } => {
                write!(f, "queue {queue} of the virtio-iommu can have {entries} entries")
            }
            Self::NoMemory(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for BringUpError {}
