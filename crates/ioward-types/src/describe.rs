//! The neutral description of a machine: what firmware parsers say and `discover` reads.
//!
//! A parser of any table delivers a stream of [`Fact`]s to a sink and allocates nothing: names and paths are borrowed from
//! the table. The stream is flat and its order is the table's own, so a scope may come before the IOMMU that it names.
//! Whoever joins the facts decides what they mean together: that two IOMMUs claim one source, that a device is named
//! which does not exist, that a device is served by nobody. A parser reports only what is wrong with the bytes.
//!
//! Everything that a table names is identified by a [`NodeId`], the byte offset of the structure in its table; it means
//! nothing outside that table.
//!
//! The words fit all six sources: IORT, IVRS, DMAR, RIMT, VIOT and device tree.

use crate::{Attributes, Iova, PhysAddr, SourceId, Span};
use core::fmt;

mod problem;

pub use problem::{Cause, Problem, Severity, Table};

/// A structure of one firmware table: its byte offset from the table's first byte (for a device tree: from the first
/// byte of the blob to the node's `FDT_BEGIN_NODE` token).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:#x}", self.0)
    }
}

/// One thing that firmware says.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Fact<'a> {
    /// An IOMMU exists.
    Iommu(Iommu<'a>),
    /// Some devices are served by an IOMMU, or explicitly by none.
    Scope(Scope<'a>),
    /// A region of addresses is special for some devices.
    Reserved(Reserved<'a>),
    /// Some devices may, or must, cache translations.
    Ats(Ats<'a>),
    /// A PCI host bridge exists.
    PciHost(PciHost<'a>),
    /// Message-signalled interrupts of some devices go to a controller.
    Msi(Msi<'a>),
    /// A controller of message-signalled interrupts has its doorbell here.
    Doorbell(Doorbell),
    /// Something is wrong with the table; what could be read has been delivered all the same.
    Problem(Problem),
}

/// An IOMMU instance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Iommu<'a> {
    /// Names it to the scopes of the same table.
    pub id: NodeId,
    /// What it is.
    pub kind: IommuKind<'a>,
    /// What people call it: the node's name in a device tree, else empty.
    pub name: &'a str,
    /// Its registers, physical; none where it is reached only as a PCI function, or where the table does not say.
    pub registers: Option<Span<PhysAddr>>,
    /// The PCI function that it is, for those that are one.
    pub function: Option<PciFunction>,
    /// Its wired interrupts.
    pub interrupts: [Option<Interrupt>; 4],
    /// Firmware says that it may be used (`status` of a device tree). Devices behind a disabled one are unserved.
    pub enabled: bool,
}

/// One PCI function of a machine with several segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PciFunction {
    /// The segment, also called domain.
    pub segment: u16,
    /// Bus in bits 15:8, device in 7:3, function in 2:0.
    pub requester: u16,
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.requester;
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, id >> 8, id >> 3 & 0x1f, id & 7)
    }
}

/// What an IOMMU is, with the facts that only its own driver understands.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum IommuKind<'a> {
    /// Arm SMMUv3.
    SmmuV3(SmmuV3),
    /// AMD I/O virtualization.
    AmdVi(AmdVi),
    /// Intel VT-d.
    VtD(VtD),
    /// RISC-V IOMMU.
    RiscV(RiscV),
    /// virtio-iommu.
    Virtio,
    /// A kind that nothing here drives, by the name that people know.
    Unsupported(&'a str),
}

impl fmt::Display for IommuKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SmmuV3(_) => "SMMUv3",
            Self::AmdVi(_) => "AMD-Vi",
            Self::VtD(_) => "VT-d",
            Self::RiscV(_) => "RISC-V IOMMU",
            Self::Virtio => "virtio-iommu",
            Self::Unsupported(name) => name,
        })
    }
}

/// What firmware adds to the ID registers of an SMMUv3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SmmuV3 {
    /// Whether table walks and queues are coherent, where firmware overrides SMMU_IDR0.COHACC.
    pub coherent: Option<bool>,
    /// What replaces SMMU_IDR0.HTTU, where firmware overrides it.
    pub httu: Option<u8>,
    /// The implementation, for its errata: the IORT's model number; zero is a generic one.
    pub model: u32,
    /// Its second register page is unusable: all registers are in the first 64 KiB.
    pub page0_only: bool,
    /// CMD_PREFETCH_CONFIG must not be issued.
    pub broken_prefetch: bool,
    /// The device ID of its own message-signalled interrupts, where its IORT node maps one to an ITS group.
    pub msi_device: Option<u32>,
}

/// What an IVRS table says about one AMD IOMMU, merged over all blocks that describe it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AmdVi {
    /// Which blocks describe it.
    pub blocks: AmdBlocks,
    /// Where its capability block starts in its configuration space.
    pub capability: u16,
    /// The IVHD flags byte: HtTunEn, PassPW, ResPassPW, Isoc, IotlbSup, Coherent, PreFSup, PPRSup from bit 0 up.
    pub flags: u8,
    /// IOMMU info: MSI number in bits 4:0, unit ID in 12:8.
    pub info: u16,
    /// The feature reporting field of a 10h block.
    pub features: Option<u32>,
    /// The attributes field of an 11h or 40h block.
    pub attributes: Option<u32>,
    /// The image of the extended feature register, from an 11h or 40h block.
    pub efr: Option<u64>,
    /// The image of the second extended feature register, from an 11h or 40h block.
    pub efr2: Option<u64>,
    /// IVinfo of the whole table: address sizes and DMA protection.
    pub ivinfo: u32,
}

/// What a DMAR table says about one VT-d remapping unit (VT-d rev 4.1, 8.1 and 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VtD {
    /// The segment of its devices.
    pub segment: u16,
    /// INCLUDE_PCI_ALL: it serves whatever no other unit of the segment names.
    pub include_all: bool,
    /// Host address width of the table, in bits: the widest DMA address of the machine.
    pub host_bits: u8,
    /// INTR_REMAP of the table: the machine supports interrupt remapping.
    pub interrupt_remapping: bool,
    /// X2APIC_OPT_OUT of the table: firmware asks that x2APIC mode is not turned on.
    pub x2apic_opt_out: bool,
    /// DMA_CTRL_PLATFORM_OPT_IN of the table: firmware kept DMA out of memory until now, and wants it kept so.
    pub dma_opt_in: bool,
    /// The proximity domain of an RHSA structure, where there is one for this unit.
    pub proximity: Option<u32>,
}

/// What a RIMT table or a device tree says about one RISC-V IOMMU beyond its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RiscV {
    /// `_HID` of the platform device, or the vendor and device ID as firmware spells it; zero where there is none.
    pub hid: [u8; 8],
    /// The number of its RIMT node, zero in a device tree.
    pub uid: u16,
    /// Whether walks and queues are coherent, where firmware says (`dma-noncoherent` of a device tree).
    pub coherent: Option<bool>,
    /// How many wired interrupts it has; zero where it sends messages.
    pub wires: u16,
    /// Its proximity domain, where firmware says.
    pub proximity: Option<u32>,
}

/// The IVHD block types that describe one IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AmdBlocks {
    /// Type 10h, basic.
    pub basic: bool,
    /// Type 11h, with feature-register images.
    pub extended: bool,
    /// Type 40h, also with ACPI-named devices.
    pub mixed: bool,
}

impl fmt::Display for AmdBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (seen, name) in [(self.basic, "10h"), (self.extended, "11h"), (self.mixed, "40h")] {
            if seen {
                write!(f, "{between}{name}")?;
                between = "+";
            }
        }
        Ok(())
    }
}

/// One wired interrupt of an IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// What it tells.
    pub role: InterruptRole,
    /// How it is wired.
    pub line: InterruptLine,
}

/// What an IOMMU's interrupt tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InterruptRole {
    /// The event or fault queue has records.
    Event,
    /// The page-request queue has records.
    PageRequest,
    /// A global error.
    GlobalError,
    /// A command completed.
    Sync,
    /// One for everything.
    Combined,
    /// By its position in the table.
    Nth(u8),
}

/// How an interrupt is wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptLine {
    /// ACPI's global system interrupt number.
    Gsiv(u32),
    /// ACPI's global system interrupt number, and how it is signalled.
    Gsi {
        /// The number.
        number: u32,
        /// Level-triggered; else edge-triggered.
        level: bool,
        /// Active high; else active low.
        active_high: bool,
    },
    /// An interrupt specifier of a device tree.
    DeviceTree {
        /// The interrupt controller's node, if it could be found.
        controller: Option<NodeId>,
        /// The specifier, in the controller's own encoding.
        cells: [u32; 4],
        /// How many cells count.
        count: u8,
    },
}

/// Which devices are served by which IOMMU, and as what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scope<'a> {
    /// The entry that says so.
    pub at: NodeId,
    /// Who.
    pub devices: Devices<'a>,
    /// By whom and as what; none where firmware says that no IOMMU is in the way.
    pub served: Option<Served>,
    /// What firmware adds to what the devices say of themselves.
    pub traits: Traits,
    /// False for a device that firmware describes as disabled.
    pub enabled: bool,
}

/// Devices as firmware names them.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Devices<'a> {
    /// PCI functions by requester ID: a requester ID `r` is meant when `r & mask` lies in `first..=last`, and it is number
    /// `(r & mask) - first` among them.
    Pci {
        /// The segment.
        segment: u16,
        /// The first masked requester ID.
        first: u16,
        /// The last masked requester ID, included.
        last: u16,
        /// What of a requester ID counts: `0xffff` but for the `iommu-map-mask` of a device tree.
        mask: u16,
    },
    /// Every PCI function of a segment that no other scope names; its number among them is its requester ID.
    PciRest {
        /// The segment.
        segment: u16,
    },
    /// The PCI function at the end of a path of bridges (DMAR), and the virtual functions of it. Its number among these
    /// devices is its requester ID.
    PciPath {
        /// The segment.
        segment: u16,
        /// The bus that the path starts on.
        bus: u8,
        /// Device and function of each hop, a byte each.
        path: &'a [u8],
        /// The function is a bridge, and everything below it is meant.
        below: bool,
    },
    /// A platform device, by its device-tree node.
    Node {
        /// The node.
        id: NodeId,
        /// The node's name, with its unit address.
        name: &'a str,
    },
    /// A platform device, by its path in the ACPI name space (IORT named components).
    AcpiPath(&'a str),
    /// A platform device, by its ACPI identity.
    AcpiId {
        /// `_HID`, padded with zero bytes or spaces.
        hid: [u8; 8],
        /// `_CID`, zero where there is none.
        cid: [u8; 8],
        /// `_UID`.
        uid: Uid<'a>,
    },
    /// A platform device, by the address of its registers (VIOT).
    Mmio(PhysAddr),
    /// Something that is no PCI function, but whose requests carry the ID of the function at the end of a path of bridges
    /// (DMAR). Its number among these devices is that requester ID.
    AtPath {
        /// What it is.
        what: AtPath<'a>,
        /// The segment.
        segment: u16,
        /// The bus that the path starts on.
        bus: u8,
        /// Device and function of each hop, a byte each.
        path: &'a [u8],
    },
    /// An interrupt controller that writes messages.
    IoApic {
        /// The APIC ID.
        id: u8,
    },
    /// A timer that writes messages.
    Hpet {
        /// Its number.
        number: u8,
    },
}

/// What issues requests with the ID of a PCI function that it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtPath<'a> {
    /// An interrupt controller, by its APIC ID.
    IoApic(u8),
    /// A timer, by its number.
    Hpet(u8),
    /// A platform device, by its path in the ACPI name space.
    Acpi(&'a str),
}

impl<'a> AtPath<'a> {
    /// The same as devices that need no path.
    pub const fn devices(self) -> Devices<'a> {
        match self {
            Self::IoApic(id) => Devices::IoApic { id },
            Self::Hpet(number) => Devices::Hpet { number },
            Self::Acpi(path) => Devices::AcpiPath(path),
        }
    }
}

/// `_UID` of an ACPI device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uid<'a> {
    /// It has none.
    None,
    /// A number.
    Integer(u64),
    /// Text.
    Text(&'a str),
}

impl<'a> Devices<'a> {
    /// One PCI function.
    pub const fn function(segment: u16, requester: u16) -> Self {
        Self::Pci { segment, first: requester, last: requester, mask: 0xffff }
    }

    /// The place of a PCI function among these devices; none if it is not one of them. [`Devices::PciRest`],
    /// [`Devices::PciPath`] and [`Devices::AtPath`] need the whole bus to be decided and are never answered here.
    pub fn position(&self, function: PciFunction) -> Option<u32> {
        match *self {
            Self::Pci { segment, first, last, mask } if segment == function.segment => {
                let masked = function.requester & mask;
                (first <= masked && masked <= last).then(|| u32::from(masked - first))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Devices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = |segment, requester| PciFunction { segment, requester };
        match *self {
            Self::Pci { segment, first, last, .. } if first == last => function(segment, first).fmt(f),
            Self::Pci { segment, first, last, .. } => {
                write!(f, "{}..={}", function(segment, first), function(segment, last))
            }
            Self::PciRest { segment } => write!(f, "all of segment {segment:#x}"),
            Self::PciPath { segment, bus, path, below } => {
                write!(f, "{segment:04x}:{bus:02x}")?;
                for hop in path.chunks(2) {
                    write!(f, "/{:02x}.{}", hop[0], hop.get(1).copied().unwrap_or(0))?;
                }
                f.write_str(if below { " and below" } else { "" })
            }
            Self::Node { name, .. } => f.write_str(name),
            Self::AcpiPath(path) => f.write_str(path),
            Self::AcpiId { hid, uid, .. } => {
                for byte in hid.iter().take_while(|byte| byte.is_ascii_graphic()) {
                    write!(f, "{}", char::from(*byte))?;
                }
                match uid {
                    Uid::None => Ok(()),
                    Uid::Integer(number) => write!(f, ":{number}"),
                    Uid::Text(text) => write!(f, ":{text}"),
                }
            }
            Self::Mmio(at) => write!(f, "device at {at}"),
            Self::AtPath { what, .. } => what.devices().fmt(f),
            Self::IoApic { id } => write!(f, "IOAPIC {id:#x}"),
            Self::Hpet { number } => write!(f, "HPET {number}"),
        }
    }
}

/// An IOMMU of the same table and what it sees of some devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Served {
    /// The IOMMU.
    pub iommu: NodeId,
    /// As what it sees them.
    pub sources: Sources,
}

/// As what an IOMMU sees devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sources {
    /// The first device has this source, the next one the next, and so on.
    Consecutive(SourceId),
    /// All of them have this source: aliases, and platform devices that have only one.
    Same(SourceId),
    /// Each of them has all of these sources: platform devices that issue several.
    All {
        /// The first source.
        first: SourceId,
        /// The last source, included.
        last: SourceId,
    },
}

impl Sources {
    /// The first source of the device at `position`, and with [`Sources::last_of`] the last; none where it would not be
    /// a number of 32 bits.
    pub fn of(&self, position: u32) -> Option<SourceId> {
        match *self {
            Self::Consecutive(first) => first.0.checked_add(position).map(SourceId),
            Self::Same(source) => Some(source),
            Self::All { first, .. } => Some(first),
        }
    }

    /// The last source of the device at `position`, included.
    pub fn last_of(&self, position: u32) -> Option<SourceId> {
        match *self {
            Self::All { last, .. } => Some(last),
            _ => self.of(position),
        }
    }
}

/// What firmware says of devices beside where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits {
    /// How many address bits reach memory, where firmware limits them.
    pub addr_bits: Option<u8>,
    /// Whether their DMA snoops CPU caches, where firmware says.
    pub coherent: Option<bool>,
    /// Whether they may use ATS, where firmware says.
    pub ats: Option<bool>,
    /// They do not work unless ATS is on.
    pub ats_required: bool,
    /// Whether they may send page requests, where firmware says.
    pub pri: Option<bool>,
    /// They do not work unless page requests are served.
    pub pri_required: bool,
    /// How many PASID bits they may use, where firmware says.
    pub pasid_bits: Option<u8>,
    /// A faulting access may be stalled and retried.
    pub stall: bool,
    /// The data-setting byte of an IVRS device entry: INITPass, EIntPass, NMIPass in bits 0 to 2, SysMgt in 5:4, Lint0Pass
    /// and Lint1Pass in bits 6 and 7.
    pub amd_setting: u8,
    /// The flags of a SIDP device scope. Bits 0 to 2: for requests without PASID, nested translation, page-walk snoop and
    /// page snoop are not to be set; bit 3: its cache of translations is hardened; bit 4: it needs that cache (VT-d rev
    /// 4.1, section 8.3.1).
    pub vtd_properties: u8,
}

/// Which devices may, or must, cache translations (ATSR, SATC and SIDP of a DMAR).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ats<'a> {
    /// The entry that says so.
    pub at: NodeId,
    /// Who.
    pub devices: Devices<'a>,
    /// What.
    pub rule: AtsRule,
}

/// What is said of devices that cache translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtsRule {
    /// The devices are root ports that let ATS through: whatever is below them may use it. Where a table has such a rule
    /// for none of the ports above a device, the device may not.
    RootPorts,
    /// The devices are built in and have a cache.
    Integrated {
        /// They do not work unless it is on.
        required: bool,
    },
    /// Properties of built-in devices, as [`Traits::vtd_properties`] has them.
    Properties(u8),
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_range_counts_from_its_first_masked_id() {
        let devices = Devices::Pci { segment: 0, first: 0x100, last: 0x1ff, mask: 0xfff8 };
        let at = |requester| devices.position(PciFunction { segment: 0, requester });
        assert_eq!((at(0x10b), at(0x1ff), at(0x200), at(0xff)), (Some(8), Some(0xf8), None, None));
        assert_eq!(devices.position(PciFunction { segment: 1, requester: 0x100 }), None);
        assert_eq!(Sources::Consecutive(SourceId(0x20)).of(8), Some(SourceId(0x28)));
        assert_eq!(Sources::Consecutive(SourceId(u32::MAX)).of(1), None);
        assert_eq!(Sources::Same(SourceId(7)).of(8), Some(SourceId(7)));
    }
}
