//! The interrupt half of the driver seam: messages of devices are looked up in tables of the IOMMU's.
//!
//! Interrupt remapping shares registers and queue with translation, so it cannot be another driver. It exists on VT-d and
//! AMD-Vi; on Arm and RISC-V messages are translated like other writes, and the interrupt controller tells devices apart.

use crate::driver::{Hung, Refused};
use ioward_types::{IommuId, SourceId};

/// Whose messages an entry is for: what hardware compares the requester ID of a message with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum InterruptFrom {
    /// Of exactly this source: a device, an I/O APIC, a timer.
    Source(SourceId),
    /// Of any function of some buses: devices behind a bridge that puts its own requester ID on their messages, or not.
    Buses {
        /// What an IOMMU that looks entries up by source looks up: the source that the bridge puts in.
        source: SourceId,
        /// The first bus.
        first: u8,
        /// The last bus, included.
        last: u8,
    },
}

impl InterruptFrom {
    /// The source that messages are expected from.
    pub const fn source(&self) -> SourceId {
        match *self {
            Self::Source(source) | Self::Buses { source, .. } => source,
        }
    }
}

/// Entries that belong together: those of a device's multi-message MSI, its MSI-X vectors, the pins of an I/O APIC.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct InterruptEntries {
    /// Whose.
    pub iommu: IommuId,
    /// For whose messages.
    pub from: InterruptFrom,
    /// The first entry, in the table that it lies in.
    pub first: u32,
    /// How many.
    pub count: u16,
}

/// How a processor takes an interrupt (Intel SDM volume 3, 11.11.2; the encoding of both vendors).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Delivery {
    /// As the vector says.
    #[default]
    Fixed,
    /// To the processor of the lowest priority.
    LowestPriority,
    /// As SMI.
    Smi,
    /// As NMI.
    Nmi,
    /// As INIT.
    Init,
    /// As an external interrupt, whose vector another controller tells.
    ExtInt,
}

/// Where an interrupt goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ApicTarget {
    /// The vector.
    pub vector: u8,
    /// The APIC ID, or the logical destination: 8 bits, or 32 where [`InterruptCapabilities::wide_destination`].
    pub destination: u32,
    /// `destination` is logical.
    pub logical: bool,
    /// How the processor takes it.
    pub delivery: Delivery,
    /// The line is level triggered (pins of an I/O APIC).
    pub level: bool,
}

/// What an entry does with a message. A posted form may join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InterruptTo {
    /// It is delivered to a processor.
    Apic(ApicTarget),
}

/// What whoever raises an interrupt is to be programmed with, so that its message names the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterruptMessage {
    /// The address of an MSI or of an MSI-X vector.
    pub address: u64,
    /// Its data. A device with several messages of one MSI adds the number of the message.
    pub data: u32,
    /// The redirection entry of an I/O APIC, unmasked; the trigger mode is the target's, the polarity active high.
    pub redirection: u64,
}

/// What an IOMMU can do with interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InterruptCapabilities {
    /// The most entries that one source can have.
    pub most: u32,
    /// Destinations have 32 bits (x2APIC).
    pub wide_destination: bool,
    /// Remapping is on, a message that names no entry of its source is blocked, and no form of message goes around it:
    /// a device behind this IOMMU raises its own interrupts and nobody else's.
    pub isolated: bool,
}

/// Interrupt remapping.
///
/// Entries are updated hitlessly: hardware sees the old target, the new one, or none.
pub trait RemapInterrupts: Send + Sync {
    /// What it can do. The same answer for ever.
    fn interrupt_capabilities(&self) -> InterruptCapabilities;
    /// Takes `count` entries that lie together, aligned to `count` rounded up to a power of two; all of them masked.
    fn reserve(&self, from: InterruptFrom, count: u16) -> Result<InterruptEntries, Refused>;
    /// Makes entry `nth` do with a message as `to` says. On `Err` it does what it did before, or, where hardware hung, it
    /// is masked.
    fn remap(
        &self,
        entries: &InterruptEntries,
        nth: u16,
        to: &InterruptTo,
    ) -> Result<InterruptMessage, Refused>;
    /// Messages that name entry `nth` are blocked.
    fn mask(&self, entries: &InterruptEntries, nth: u16) -> Result<(), Hung>;
    /// Masks all of them and gives them back; they are reused only if that was confirmed.
    fn release(&self, entries: InterruptEntries) -> Result<(), Hung>;
    /// Whether messages of this source can only be what its own entries say: see [`InterruptCapabilities::isolated`].
    fn isolates(&self, source: SourceId) -> bool {
        let _ = source;
        self.interrupt_capabilities().isolated
    }
}
