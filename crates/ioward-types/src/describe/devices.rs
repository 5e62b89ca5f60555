//! Devices as firmware names them, who serves them, and what is said of them beside.

use super::{NodeId, PciFunction};
use crate::{PhysAddr, SourceId};
use core::fmt;

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
    /// The IOMMU. Where firmware's reference leads to none it is the place of the reference, where no IOMMU is: the devices
    /// are behind something, and are not to be taken for devices that have no IOMMU.
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
