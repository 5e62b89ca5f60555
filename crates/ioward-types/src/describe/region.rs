//! Addresses that are special, host bridges, and where messages go.

use super::{Devices, NodeId, Sources};
use crate::{Attributes, Iova, PhysAddr, SourceId, Span};

/// Addresses that are special for some devices.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reserved<'a> {
    /// The entry that says so.
    pub at: NodeId,
    /// For whom.
    pub subject: Subject<'a>,
    /// Addresses as the devices issue them.
    pub span: Span<Iova>,
    /// What of them.
    pub rule: ReservedRule,
}

/// Whom a reserved region concerns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Subject<'a> {
    /// Devices.
    Devices(Devices<'a>),
    /// Sources of an IOMMU, whoever issues them.
    Sources {
        /// The IOMMU.
        iommu: NodeId,
        /// The first source.
        first: SourceId,
        /// The last source, included.
        last: SourceId,
    },
    /// Every device that the table's IOMMUs serve.
    Everybody,
}

/// What is special about a reserved region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedRule {
    /// The devices need it mapped at all times, from before the IOMMU is turned on.
    Required {
        /// Where it lies in memory; nearly always at the same address.
        to: PhysAddr,
        /// With which rights.
        attributes: Attributes,
        /// The device may lose it once a driver has taken over (a frame buffer that firmware lit).
        relaxable: bool,
    },
    /// Nothing may be mapped there: the range does not reach the IOMMU or means something else to it.
    Forbidden,
    /// The IOMMU lets the devices through to these addresses untranslated (IVMD exclusion range).
    Excluded {
        /// With which rights; both of them where the hardware cannot tell.
        attributes: Attributes,
    },
}

/// A PCI host bridge as a device tree describes it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PciHost<'a> {
    /// The node.
    pub id: NodeId,
    /// The node's name.
    pub name: &'a str,
    /// The segment that the scopes of the same table call it by.
    pub segment: u16,
    /// The configuration space as ECAM, physical, bus `first_bus` first; none where it is reached differently.
    pub ecam: Option<Span<PhysAddr>>,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus, included.
    pub last_bus: u8,
    /// DMA snoops CPU caches.
    pub coherent: bool,
    /// Firmware says that it may be used.
    pub enabled: bool,
}

/// Where message-signalled interrupts of some devices go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Msi<'a> {
    /// The entry that says so.
    pub at: NodeId,
    /// Whose interrupts.
    pub devices: Devices<'a>,
    /// To whom.
    pub controller: MsiController,
    /// As what the controller knows the devices; none where it does not tell them apart.
    pub device_ids: Option<Sources>,
}

/// A controller of message-signalled interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsiController {
    /// A GIC ITS, by the number that MADT gives it.
    Its(u32),
    /// A node of the same table.
    Node(NodeId),
}

/// The doorbell that devices write their interrupts to. An address space of a device with such interrupts contains it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doorbell {
    /// The controller's node.
    pub controller: NodeId,
    /// The bytes that devices write to, physical.
    pub span: Span<PhysAddr>,
    /// The controller tells devices apart: a message raises an interrupt only where it is that device's own.
    pub isolates: bool,
}
