//! What the subsystem is told of a device, and what it tells of it.

use crate::{dma::SegmentLimits, driver::Refused};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;
use ioward_types::{Attributes, DeviceControl, IommuId, PhysAddr, SourceId, Span};

/// A source together with the IOMMU that sees it.
pub type Source = (IommuId, SourceId);

/// A device as it is added.
#[derive(Clone)]
pub struct DeviceDesc<'a> {
    /// For logs and reports.
    pub name: &'a str,
    /// What its requests carry, aliases included, each with the IOMMU that translates it. Empty: no IOMMU serves it.
    pub sources: &'a [Source],
    /// Sources of devices that it cannot be told apart from, or that it can reach without passing an IOMMU. The reasons
    /// stay with whoever computed them.
    pub joins: &'a [Source],
    /// Its PASIDs.
    pub pasid: PasidOffer,
    /// It caches translations, the smallest of `1 << shift` bytes.
    pub ats: Option<u8>,
    /// The addresses that it can issue stay below `1 << addr_bits`.
    pub addr_bits: u8,
    /// Its requests must snoop CPU caches.
    pub coherent: bool,
    /// Accessed and dirty bits are wanted for its domain.
    pub dirty: bool,
    /// It is built into the machine. A device that is not (an external port) gets the untrusted policy and no ATS.
    pub trusted: bool,
    /// It is a bridge: what devices below it may do depends on its bus mastering, so that is never turned off. Each of them
    /// is kept off by its own.
    pub bridge: bool,
    /// Regions that firmware says are special for it.
    pub regions: &'a [Region],
    /// The controllers behind its doorbells tell devices apart (a GIC ITS, an IMSIC behind MSI page tables): a message
    /// raises an interrupt only where the controller knows it for this device.
    pub isolated_doorbells: bool,
    /// What it takes as one segment of a scatter list.
    pub segments: SegmentLimits,
    /// Its accesses see what CPUs have in their caches. For one that does not, buffers are cleaned and invalidated.
    pub snoops: bool,
    /// How the bus obeys.
    pub control: Arc<dyn DeviceControl>,
}

impl<'a> DeviceDesc<'a> {
    /// A trusted 64-bit device without PASIDs, ATS or special regions, alone in its group.
    pub fn new(name: &'a str, sources: &'a [Source], control: Arc<dyn DeviceControl>) -> Self {
        Self {
            name,
            sources,
            joins: &[],
            pasid: PasidOffer::NONE,
            ats: None,
            addr_bits: 64,
            coherent: false,
            dirty: false,
            trusted: true,
            bridge: false,
            regions: &[],
            isolated_doorbells: false,
            segments: SegmentLimits::NONE,
            snoops: true,
            control,
        }
    }
}

impl fmt::Debug for DeviceDesc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceDesc")
            .field("name", &self.name)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// The PASIDs that a device has, and whether the fabric lets them be granted (rule 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasidOffer {
    /// The width that the device has, in bits; zero for none.
    pub bits: u8,
    /// What forbids them, if something does.
    pub denied: Option<PasidDenied>,
}

impl PasidOffer {
    /// No PASIDs.
    pub const NONE: Self = Self { bits: 0, denied: None };

    /// PASIDs of so many bits, every request of which is sure to reach the IOMMU.
    pub const fn bits(bits: u8) -> Self {
        Self { bits, denied: None }
    }
}

/// Which rule refuses PASIDs to a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PasidDenied {
    /// The device has none.
    Device,
    /// Its IOMMU has none.
    Iommu(IommuId),
    /// Some port on its path may route a request to a peer instead of to the IOMMU: with a PASID the address means
    /// something else there.
    NotRedirected,
    /// Another device uses the same requester ID: a PASID of one would be a PASID of both.
    SharedSource(Source),
    /// The device has several sources behind IOMMUs that differ.
    SeveralIommus,
}

impl fmt::Display for PasidDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("the device has no PASIDs"),
            Self::Iommu(iommu) => write!(f, "IOMMU {iommu} has no PASIDs"),
            Self::NotRedirected => {
                f.write_str("peer-to-peer requests are not redirected on its whole path (rule 8)")
            }
            Self::SharedSource((iommu, source)) => {
                write!(f, "source {source} of IOMMU {iommu} is shared with another device (rule 8)")
            }
            Self::SeveralIommus => f.write_str("its sources are behind several IOMMUs (rule 8)"),
        }
    }
}

/// A region of addresses that is special for a device (rule 15). IOVA and physical address are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Where, inclusive of whole pages of 4 KiB.
    pub span: Span<PhysAddr>,
    /// What it is for.
    pub kind: RegionKind,
}

/// What a region is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Firmware requires that the device always reaches it.
    Required {
        /// With these rights.
        how: Attributes,
        /// The need ends once a driver has taken the device over; a user may own it then.
        relaxable: bool,
    },
    /// Nothing may be mapped there: interrupt windows, what a host bridge decodes.
    Forbidden,
    /// The device writes its message-signalled interrupts there, and the IOMMU translates them like any other write (Arm,
    /// RISC-V). Every paging domain of the group contains it, the owner's too, one to one and to write only; parked does not.
    Doorbell,
}

/// Names a device for logs and look-ups. It carries a generation: the number of a removed device names nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Names a group, as [`DeviceId`] names a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }
}
impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }
}

/// How a device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Its group's domain translates its requests.
    Served,
    /// This IOMMU has not been registered yet; bus mastering is off until it is.
    Waiting(IommuId),
    /// No IOMMU serves it: nothing can block it.
    Unserved,
    /// It is blocked and must not be used.
    Refused(AddError),
}

/// Why a device is refused. It is blocked: by its own entries, or by bus mastering where it has none of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddError {
    /// Its IOMMU refused an entry, a plan or a table.
    Driver(Refused),
    /// It would join two groups that are in use or that others were told apart by.
    MergesGroups(GroupId, GroupId),
    /// Another device of the source has been granted PASIDs and may be using them (rule 8).
    SharesPasids(Source),
    /// The policy wants another kind of domain for the group with it in than the one in use.
    Policy(GroupId),
    /// Somebody owns the group, and the newcomer would change its domain.
    GroupOwned(GroupId),
    /// A live mapping cannot be carried over to a table that serves the newcomer too.
    LiveIova(crate::space::MapError),
    /// A region that it requires overlaps a live mapping.
    RegionInUse(Span<PhysAddr>),
    /// Two regions that it brings, or that its group has, contradict each other.
    RegionsOverlap(Span<PhysAddr>),
    /// It names a source twice.
    SourceTwice(Source),
    /// A width that no device has.
    Bits(u8),
    /// Its IOMMU's smallest page is larger than that of the mappings that its group has.
    Granule {
        /// The group's smallest page, as a power of two.
        has: u8,
        /// Its IOMMU's.
        needs: u8,
    },
    /// The address space belongs to another subsystem.
    OtherSubsystem,
    /// Another device of the source caches translations, which only a trusted device may.
    SharesAts(Source),
    /// The address spaces of its group have no room for another kind of table.
    TooManyCarriers,
}

impl From<Refused> for AddError {
    fn from(error: Refused) -> Self {
        Self::Driver(error)
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(refused) => refused.fmt(f),
            Self::MergesGroups(a, b) => write!(f, "it would merge groups {a} and {b}"),
            Self::SharesPasids((iommu, source)) => {
                write!(f, "source {source} of IOMMU {iommu} is another device's, which uses PASIDs")
            }
            Self::Policy(group) => {
                write!(f, "group {group} is in use on a domain that the policy forbids to it")
            }
            Self::GroupOwned(group) => {
                write!(f, "group {group} is owned by somebody whose domain cannot serve it")
            }
            Self::LiveIova(error) => write!(f, "a live mapping cannot be carried over: {error}"),
            Self::RegionInUse(span) => write!(f, "the region {span} that it requires is mapped otherwise"),
            Self::RegionsOverlap(span) => write!(f, "the region {span} is both required and forbidden"),
            Self::SourceTwice((iommu, source)) => {
                write!(f, "source {source} of IOMMU {iommu} is named twice")
            }
            Self::Bits(bits) => write!(f, "no device has {bits} bits"),
            Self::Granule { has, needs } => {
                write!(f, "its IOMMU's pages have {needs} bits where its group maps pages of {has}")
            }
            Self::OtherSubsystem => f.write_str("the address space belongs to another subsystem"),
            Self::SharesAts((iommu, source)) => {
                write!(f, "source {source} of IOMMU {iommu} is a device's that caches translations")
            }
            Self::TooManyCarriers => f.write_str("its group has too many kinds of table"),
        }
    }
}
impl core::error::Error for AddError {}

/// What the subsystem knows of a device, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Which.
    pub id: DeviceId,
    /// As it was added.
    pub name: String,
    /// As it was added.
    pub sources: Vec<Source>,
    /// Its group, unless it is alone without any IOMMU.
    pub group: Option<GroupId>,
    /// How it stands.
    pub status: Status,
    /// The PASIDs that it was granted, in bits, or why none.
    pub pasid: Result<u8, PasidDenied>,
    /// Its sources are shared with a served device, so only bus mastering keeps it off.
    pub kept_off_by_bus_mastering: bool,
    /// A driver that does DMA is bound to it.
    pub bound: bool,
}
