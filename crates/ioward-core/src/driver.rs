//! The driver seam: what the subsystem asks of an IOMMU and what it is told.
//!
//! A driver owns registers, queues and context structures. It turns the requirements of a whole group into a [`Plan`]
//! and installs a root. It never walks a page table, and it never sees a group or a device: only sources and
//! [`Requirements`]. The trait is object-safe and is called on attach, detach and flush; mapping does not go through it,
//! except for IOMMUs that take [`MapRequests`].

pub use crate::interrupts::{
    ApicTarget, Delivery, InterruptCapabilities, InterruptEntries, InterruptFrom, InterruptMessage,
    InterruptTo, RemapInterrupts,
};
use alloc::vec::Vec;
use core::fmt;
use ioward_types::{
    Attributes, Format, IommuId, Iova, Nanos, OutOfMemory, Pasid, PhysAddr, Root, SourceId, Span,
    TableConfig, Tag, hw::NoAtomic128,
};

/// What a domain must be able to do, computed over **every** member of a group, never over one device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Requirements {
    /// The widest PASID that any member can be granted, in bits; zero where none can.
    pub pasid_bits: u8,
    /// The narrowest address width of any member, in bits: IOVAs stay below `1 << addr_bits`.
    pub addr_bits: u8,
    /// Some member's requests must snoop CPU caches.
    pub coherent: bool,
    /// Accessed and dirty bits are wanted.
    pub dirty: bool,
    /// The domain is to be the parent of nested ones.
    pub nest_parent: bool,
}

impl Default for Requirements {
    /// One device that asks for nothing: 64 bits, no PASIDs.
    fn default() -> Self {
        Self { pasid_bits: 0, addr_bits: 64, coherent: false, dirty: false, nest_parent: false }
    }
}

/// How a driver would serve some requirements. Equal plans share one table, also between IOMMUs of different vendors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Plan {
    /// A page table of this shape.
    Tables(TableConfig),
    /// No table: map and unmap are requests.
    Requests {
        /// The sizes that can be mapped, in bytes, as a set of powers of two.
        page_sizes: u64,
        /// IOVAs run from zero to, not including, `1 << addr_bits`.
        addr_bits: u8,
    },
}

/// What an entry may hold, apart from blocked, which is [`Driver::block`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Translation<'a> {
    /// IOVAs are physical addresses.
    Identity,
    /// A table of the subsystem's.
    Table {
        /// Where hardware starts walking.
        root: Root,
        /// The table's shape.
        config: &'a TableConfig,
        /// From [`Driver::tag`] of the same plan.
        tag: Tag,
    },
    /// Mappings by request.
    Requests {
        /// From [`Driver::tag`] of the same plan.
        tag: Tag,
    },
    /// A table that somebody else owns: a hypervisor's CPU stage 2 today, a process for SVA later.
    Foreign {
        /// Where hardware starts walking.
        root: Root,
        /// The table's shape, as its owner declares it; the driver checks that its IOMMU can walk it.
        config: &'a TableConfig,
        /// From [`Driver::tag`].
        tag: Tag,
    },
}

/// What is claimed: one source and all that its entry may ever need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Whose requests the entry translates.
    pub source: SourceId,
    /// The PASIDs that may be attached behind it, in bits; zero for none.
    pub pasid_bits: u8,
    /// The device caches translations and will be told to use them.
    pub ats: bool,
}

/// A source's entry, allocated and blocked: everything that [`Driver::block`] will ever need exists from here on.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Slot {
    /// Whose entry.
    pub iommu: IommuId,
    /// The source.
    pub source: SourceId,
    /// The driver's own number for it.
    pub index: u32,
}

/// The entry is written in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Blocked {
    /// Caches have forgotten what the entry was.
    Confirmed,
    /// Caches are unknown: bus mastering goes off and the memory is quarantined.
    Unconfirmed(Hung),
}

/// An IOMMU did not finish something in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hung {
    /// Which.
    pub iommu: IommuId,
    /// What was waited for.
    pub what: &'static str,
    /// How long.
    pub waited: Nanos,
}

impl fmt::Display for Hung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IOMMU {} hung: {} not done after {}", self.iommu, self.what, self.waited)
    }
}
impl core::error::Error for Hung {}

/// Why a driver does not do what it was asked to. Whatever it was asked about is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// No table can be made that is wide enough, or the table given is wider than the hardware.
    Width {
        /// Which IOMMU.
        iommu: IommuId,
        /// What it has, in bits.
        has: u8,
        /// What is needed, in bits.
        needs: u8,
    },
    /// The IOMMU cannot walk this format (rule 11).
    Format {
        /// Which IOMMU.
        iommu: IommuId,
        /// The table's format.
        table: Format,
    },
    /// The IOMMU can walk the format but not this form of it.
    Shape {
        /// Which IOMMU.
        iommu: IommuId,
        /// The table's format.
        table: Format,
        /// What of it does not fit.
        what: &'static str,
    },
    /// The IOMMU has no entry for this source.
    Source {
        /// Which IOMMU.
        iommu: IommuId,
        /// The source.
        source: SourceId,
        /// The first source that is too large.
        limit: u32,
    },
    /// Somebody has claimed the source already.
    Claimed {
        /// Which IOMMU.
        iommu: IommuId,
        /// The source.
        source: SourceId,
    },
    /// Nobody has claimed the slot, or it is another IOMMU's.
    NoSlot {
        /// Which IOMMU.
        iommu: IommuId,
        /// The slot's source.
        source: SourceId,
    },
    /// The PASID is wider than the IOMMU or the claim allows.
    Pasid {
        /// Which IOMMU.
        iommu: IommuId,
        /// What it has, in bits.
        has: u8,
        /// What is needed, in bits.
        needs: u8,
    },
    /// No such interrupt entry, or no room for so many.
    Interrupt {
        /// Which IOMMU.
        iommu: IommuId,
        /// Whose entry.
        source: SourceId,
        /// What is wrong.
        what: &'static str,
    },
    /// Every tag is in use.
    NoTag {
        /// Which IOMMU.
        iommu: IommuId,
    },
    /// The IOMMU lacks a feature.
    Unsupported {
        /// Which IOMMU.
        iommu: IommuId,
        /// The feature, in the specification's words.
        what: &'static str,
    },
    /// An IOMMU that takes requests answered that it will not.
    Rejected {
        /// Which IOMMU.
        iommu: IommuId,
        /// The request, in the specification's words.
        request: &'static str,
        /// Its answer, in the specification's words.
        why: &'static str,
    },
    /// No table can be made of a plan: the driver planned a shape that its format does not have.
    Plan {
        /// The table's format.
        table: Format,
    },
    /// There was no memory.
    NoMemory(OutOfMemory),
    /// This CPU cannot update the entry hitlessly.
    NoAtomic128(NoAtomic128),
    /// The hardware did not answer; the entry is blocked.
    Hung(Hung),
}

impl From<OutOfMemory> for Refused {
    fn from(error: OutOfMemory) -> Self {
        Self::NoMemory(error)
    }
}
impl From<NoAtomic128> for Refused {
    fn from(error: NoAtomic128) -> Self {
        Self::NoAtomic128(error)
    }
}
impl From<Hung> for Refused {
    fn from(error: Hung) -> Self {
        Self::Hung(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { iommu, has, needs } => {
                write!(f, "IOMMU {iommu} has {has} address bits where {needs} are needed")
            }
            Self::Format { iommu, table } => write!(f, "IOMMU {iommu} cannot walk {table} tables"),
            Self::Shape { iommu, table, what } => {
                write!(f, "IOMMU {iommu} cannot walk this {table} table: {what}")
            }
            Self::Source { iommu, source, limit } => {
                write!(f, "source {source} is outside the 0..{limit:#x} of IOMMU {iommu}")
            }
            Self::Claimed { iommu, source } => {
                write!(f, "source {source} of IOMMU {iommu} is claimed already")
            }
            Self::NoSlot { iommu, source } => write!(f, "source {source} of IOMMU {iommu} is not claimed"),
            Self::Pasid { iommu, has, needs } => {
                write!(f, "IOMMU {iommu} has {has} PASID bits where {needs} are needed")
            }
            Self::Interrupt { iommu, source, what } => {
                write!(f, "interrupts of source {source} of IOMMU {iommu}: {what}")
            }
            Self::NoTag { iommu } => write!(f, "IOMMU {iommu} has no tag left"),
            Self::Unsupported { iommu, what } => write!(f, "IOMMU {iommu} lacks {what}"),
            Self::Rejected { iommu, request, why } => write!(f, "IOMMU {iommu} rejects {request}: {why}"),
            Self::Plan { table } => write!(f, "no {table} table has the planned shape"),
            Self::NoMemory(error) => error.fmt(f),
            Self::NoAtomic128(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for Refused {}

/// One translation that a device may have cached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AtcTarget {
    /// The device's source.
    pub source: SourceId,
    /// The PASID, or none for requests without one.
    pub pasid: Option<Pasid>,
}

/// One flush: everything that may hold translations of `span` under `tag` forgets them, the IOMMU before the devices.
#[derive(Clone, Copy, Debug)]
pub struct Flush<'a> {
    /// Which carrier.
    pub tag: Tag,
    /// Which IOVAs; whole pages of the table's granule.
    pub span: Span<Iova>,
    /// The smallest leaf that may be cached, in bytes: lets hardware with range invalidation use larger steps.
    pub granule: u64,
    /// Whether a table went away, so that walk caches must forget it too, and not only leaves.
    pub tables_went: bool,
    /// The devices whose own caches may hold some of it.
    pub atc: &'a [AtcTarget],
}

/// What an IOMMU can do, fixed at bring-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// The widest PASID, in bits; zero for none.
    pub pasid_bits: u8,
    /// Devices may cache translations.
    pub ats: bool,
    /// Hardware sets accessed and dirty bits.
    pub dirty: bool,
    /// Walkers snoop CPU caches.
    pub coherent: bool,
    /// Device requests can be made to snoop CPU caches.
    pub snoop: bool,
}

/// A driver of one IOMMU.
///
/// Calls on one driver may come from several CPUs at once. None waits without a bound.
///
/// # Implementation safety
/// What is confirmed is true: after `Ok` of [`Driver::flush`] and [`Driver::untag`], and after [`Blocked::Confirmed`], no
/// request of a device reaches memory by what was to be forgotten. A source that is claimed, and a PASID that nothing was
/// installed for, are blocked. [`Driver::install`] makes an entry hold what it is given and nothing else.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait Driver: Send + Sync {
    /// The number that it was brought up with.
    fn id(&self) -> IommuId;
    /// What kind of IOMMU, for people: `SMMUv3`, `AMD-Vi`.
    fn kind(&self) -> &'static str;
    /// What it can do. The same answer for ever.
    fn capabilities(&self) -> Capabilities;
    /// IOVAs that must never be mapped behind this IOMMU: its interrupt range, ranges that the fabric decodes.
    fn forbidden(&self) -> &[Span<Iova>] {
        &[]
    }
    /// IOVAs that must never be mapped for this one source, where the IOMMU tells so source by source (PROBE of
    /// virtio-iommu). Fixed from [`Driver::claim`] on.
    fn reserved(&self, slot: &Slot) -> Vec<Span<Iova>> {
        let _ = slot;
        Vec::new()
    }
    /// How it would serve these requirements. Pure: the same answer whatever the order of probing.
    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused>;
    /// Whether its hardware can walk a table that was made for somebody else (rule 11). `Ok` promises that
    /// [`Driver::install`] of such a table will not be refused for its shape.
    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused>;

    /// Takes a source's entry and leaves it blocked.
    fn claim(&self, what: &Claim) -> Result<Slot, Refused>;
    /// Blocks the entry for good. `gone`: the device was pulled, no command may be sent to it.
    fn release(&self, slot: Slot, gone: bool) -> Blocked;
    /// A name for a carrier, to the IOMMU's caches.
    fn tag(&self, plan: &Plan) -> Result<Tag, Refused>;
    /// Gives a tag back: flushed whole first, and reused only if that was confirmed.
    ///
    /// # Safety
    /// No entry holds the tag, confirmed so, and it is not given back twice.
    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung>;

    /// Makes the entry of a source (`pasid` none) or of a PASID behind it hold `what`. Hitless: hardware sees the old
    /// state, the new one, or blocked, and nothing else. On `Err` the old state is kept, or, where the hardware hung,
    /// the entry is blocked.
    ///
    /// # Safety
    /// The source's devices may reach whatever `what` leads to, until something else is installed or the source is blocked,
    /// confirmed so. A table is what its configuration says, and stays one that long.
    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused>;
    /// Blocks the source, and with it every PASID behind it until each is installed again; or the PASID alone. Always
    /// possible.
    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked;
    /// One batch, one bounded wait. May run with interrupts off.
    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung>;
    /// Whether a newly *made* mapping needs a flush too (caching mode, negative caching).
    fn flush_after_map(&self) -> bool {
        false
    }
    /// Drains the event queues. From the interrupt handler or a timer.
    fn poll(&self, sink: &mut dyn FnMut(Event));

    /// For an IOMMU without tables.
    fn requests(&self) -> Option<&dyn MapRequests> {
        None
    }
    /// Shares registers and queue with translation, so it cannot be another driver.
    fn interrupts(&self) -> Option<&dyn RemapInterrupts> {
        None
    }
}

/// IOMMUs without tables (virtio-iommu). These may wait: not callable with interrupts off.
///
/// Mappings belong to a tag, whoever is attached: they can be made before the first source is, stay while none is, and are
/// reachable by those that come.
pub trait MapRequests {
    /// Maps `to` at `at`. After [`Refused::Hung`] it may be mapped one day all the same; after any other error it is not.
    fn map(&self, tag: Tag, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), Refused>;
    /// Unmaps everything in `at`, whole mappings only; nothing is reachable after `Ok`.
    fn unmap(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung>;
    /// Asks for the same without waiting: nothing is reachable after the next `Ok` of [`Driver::flush`] for the tag, however
    /// many were asked for. After an `Err` no flush of the tag is confirmed any more.
    fn unmap_later(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung> {
        self.unmap(tag, at)
    }
}

/// What an IOMMU reports.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A request that was not translated.
    Fault(Fault),
    /// A device asks for a page.
    PageRequest {
        /// Who asks.
        source: SourceId,
        /// For which address space.
        pasid: Option<Pasid>,
        /// For which page.
        at: Iova,
        /// The number that the answer carries.
        group: u16,
    },
    /// The IOMMU itself reports an error: a command it did not understand, a queue it could not write.
    Unit {
        /// What, in the specification's words.
        what: &'static str,
        /// The raw code, for a log.
        code: u64,
    },
    /// So many records were lost, or at least one where hardware does not count.
    Lost(u32),
}

/// A request that was not translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Whose request.
    pub source: SourceId,
    /// With which PASID.
    pub pasid: Option<Pasid>,
    /// To which address; none where the record has no address.
    pub at: Option<Iova>,
    /// What it wanted; none where the record does not say.
    pub access: Option<Access>,
    /// Why not.
    pub cause: FaultCause,
    /// The specification's name of the record.
    pub name: &'static str,
}

/// What a request wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To fetch instructions.
    Execute,
}

/// Why a request was not translated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FaultCause {
    /// The source or PASID is blocked, or nobody has claimed it.
    Blocked,
    /// Nothing is mapped there.
    NotMapped,
    /// Mapped, but not for this access.
    Permission,
    /// The address is outside what the table or the IOMMU can translate.
    Range,
    /// An entry, descriptor or table is malformed or could not be read.
    Structure,
    /// Anything else; the record's name says what.
    Other,
}
