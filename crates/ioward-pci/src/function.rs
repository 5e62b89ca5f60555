//! One function, as far as configuration space or a dump tells.

use crate::{Acs, Bdf};
use alloc::string::String;

/// What is known of something that may or may not be there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fact<T> {
    /// It is not there.
    Absent,
    /// It is there.
    Present(T),
    /// Nobody could look.
    #[default]
    Unseen,
}

impl<T> Fact<T> {
    /// The value, if it is there.
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unseen => None,
        }
    }

    /// Whether somebody could look.
    pub const fn is_seen(&self) -> bool {
        !matches!(self, Self::Unseen)
    }
}

/// Vendor and device ID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ids {
    /// The vendor.
    pub vendor: u16,
    /// The device.
    pub device: u16,
}

/// Device/port type of the PCI Express capability (PCI Express Base 6.0, section 7.5.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PortType {
    /// PCI Express endpoint (0).
    Endpoint,
    /// Legacy endpoint (1).
    LegacyEndpoint,
    /// Root port (4).
    RootPort,
    /// Upstream port of a switch (5).
    UpstreamPort,
    /// Downstream port of a switch (6).
    DownstreamPort,
    /// PCI Express to PCI/PCI-X bridge (7).
    ToConventional,
    /// PCI/PCI-X to PCI Express bridge (8).
    FromConventional,
    /// Root complex integrated endpoint (9).
    IntegratedEndpoint,
    /// Root complex event collector (10).
    EventCollector,
    /// A value that the specification reserves.
    Reserved(u8),
}

impl PortType {
    /// From the register's four bits.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0xf {
            0 => Self::Endpoint,
            1 => Self::LegacyEndpoint,
            4 => Self::RootPort,
            5 => Self::UpstreamPort,
            6 => Self::DownstreamPort,
            7 => Self::ToConventional,
            8 => Self::FromConventional,
            9 => Self::IntegratedEndpoint,
            10 => Self::EventCollector,
            other => Self::Reserved(other),
        }
    }
}

/// The PCI Express capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Express {
    /// The type.
    pub kind: PortType,
    /// A slot is below this port, rather than a device soldered on or nothing; none where a dump does not say.
    pub slot: Option<bool>,
    /// The port's number in its component, by which egress control vectors count; none where a dump does not say.
    pub port_number: Option<u8>,
    /// How many bits of the function number may stand for phantom functions (0 to 3).
    pub phantom_bits: u8,
    /// Phantom functions are in use.
    pub phantom_enabled: bool,
    /// ARI forwarding can be turned on; none where a dump does not say.
    pub ari_capable: Option<bool>,
    /// ARI forwarding is on; none where a dump does not say.
    pub ari_forwarding: Option<bool>,
}

impl Express {
    /// Of this type, with everything else off.
    pub const fn of(kind: PortType) -> Self {
        Self {
            kind,
            slot: None,
            port_number: None,
            phantom_bits: 0,
            phantom_enabled: false,
            ari_capable: None,
            ari_forwarding: None,
        }
    }
}

/// Alternative routing-ID interpretation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ari {
    /// The next function of the device; zero at the end, none where a dump does not say.
    pub next: Option<u8>,
    /// The function's group, 0 to 7, where functions of a device are told apart by groups and not by numbers in ACS;
    /// none where they are not, or where a dump does not say.
    pub acs_group: Option<u8>,
}

/// Single root I/O virtualization of a physical function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SrIov {
    /// Virtual functions are enabled.
    pub enabled: bool,
    /// Virtual functions may use all eight bits of the function number.
    pub ari_hierarchy: bool,
    /// How many there can be.
    pub total: u16,
    /// How many there are, if enabled.
    pub count: u16,
    /// From the physical function's requester ID to the first virtual one's.
    pub offset: u16,
    /// From one virtual function's requester ID to the next.
    pub stride: u16,
    /// The device ID of virtual functions.
    pub device: u16,
}

impl SrIov {
    /// The requester ID of virtual function `index`, from 0; none where it leaves the segment.
    pub fn requester(&self, physical: Bdf, index: u16) -> Option<u16> {
        let id = u32::from(physical.requester())
            + u32::from(self.offset)
            + u32::from(self.stride) * u32::from(index);
        u16::try_from(id).ok()
    }
}

/// Address translation services.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ats {
    /// The device may cache translations now.
    pub enabled: bool,
    /// How many invalidations it can queue (1 to 32); none where a dump does not say.
    pub queue_depth: Option<u8>,
    /// The smallest translation that is asked for: 4096 bytes shifted left by this, 0 to 31; none where a dump does not
    /// say.
    pub smallest_unit: Option<u8>,
    /// Untranslated addresses that it asks about are page aligned; none where a dump does not say.
    pub page_aligned: Option<bool>,
    /// It takes invalidations for all PASIDs at once; none where a dump does not say.
    pub global_invalidate: Option<bool>,
}

/// The page request interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Pri {
    /// Page requests may be issued now.
    pub enabled: bool,
    /// All requests that were issued before it was turned off are complete; none where a dump does not say.
    pub stopped: Option<bool>,
    /// How many can be outstanding; none where a dump does not say.
    pub capacity: Option<u32>,
    /// How many may be outstanding, as software set it; none where a dump does not say.
    pub allocation: Option<u32>,
    /// Answers must carry the PASID.
    pub needs_pasid: bool,
}

/// Process address space IDs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PasidCap {
    /// The widest, in bits; none where a dump does not say.
    pub bits: Option<u8>,
    /// Requests may carry one now.
    pub enabled: bool,
    /// Execute permission can be asked for.
    pub execute: bool,
    /// Privileged mode can be asked for.
    pub privileged: bool,
    /// Execute permission may be asked for now.
    pub execute_enabled: bool,
    /// Privileged mode may be asked for now.
    pub privileged_enabled: bool,
}

/// The part of the header that differs by its type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Header {
    /// Type 0.
    #[default]
    Endpoint,
    /// Type 1, or type 2 where `cardbus`.
    Bridge {
        /// The bus it is on, as its register says.
        primary: u8,
        /// The bus it leads to; zero if it was not numbered.
        secondary: u8,
        /// The last bus below it.
        subordinate: u8,
        /// It is a CardBus bridge.
        cardbus: bool,
    },
    /// A bridge by its class; nobody could read its buses.
    BridgeUnseen,
    /// A type that the specification does not know.
    Unknown(u8),
}

impl Header {
    /// Whether it leads to another bus.
    pub const fn is_bridge(&self) -> bool {
        matches!(self, Self::Bridge { .. } | Self::BridgeUnseen)
    }
}

/// One function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Function {
    /// Where it is.
    pub at: Bdf,
    /// Vendor and device ID; none where a dump lacks them.
    pub ids: Option<Ids>,
    /// Vendor and device ID of the subsystem.
    pub subsystem: Option<Ids>,
    /// Base class (15:8) and subclass (7:0).
    pub class: Option<u16>,
    /// Vendor and device in words, if a dump has them.
    pub name: String,
    /// The driver that Linux bound to it, if a dump tells.
    pub driver: Option<String>,
    /// The group that Linux put it into, if a dump tells.
    pub linux_group: Option<u32>,
    /// The header.
    pub header: Header,
    /// The header's multifunction bit; none where nobody could read it.
    pub multifunction: Option<bool>,
    /// Whether it has base address registers of memory: whoever reaches them reaches its registers. None where nobody
    /// could read them.
    pub memory: Option<bool>,
    /// PCI Express.
    pub express: Fact<Express>,
    /// Access control services.
    pub acs: Fact<Acs>,
    /// Alternative routing-ID interpretation.
    pub ari: Fact<Ari>,
    /// Virtual functions.
    pub sriov: Fact<SrIov>,
    /// Address translation services.
    pub ats: Fact<Ats>,
    /// Page requests.
    pub pri: Fact<Pri>,
    /// Process address space IDs.
    pub pasid: Fact<PasidCap>,
    /// It is part of a Thunderbolt controller, by Intel's vendor-specific capability.
    pub thunderbolt: Fact<()>,
    /// Firmware says that what is below it can be plugged in from outside (`ExternalFacingPort`).
    pub external_facing: bool,
    /// The physical function of a virtual one, if the system tells. Where nobody could read the physical function's
    /// capability, this is all that is known.
    pub physical: Option<Bdf>,
}

impl Function {
    /// A function of which nothing is known.
    pub fn unseen(at: Bdf) -> Self {
        Self { at, ..Self::default() }
    }

    /// A function whose capability lists were read and empty.
    pub fn bare(at: Bdf) -> Self {
        Self {
            at,
            multifunction: Some(false),
            express: Fact::Absent,
            acs: Fact::Absent,
            ari: Fact::Absent,
            sriov: Fact::Absent,
            ats: Fact::Absent,
            pri: Fact::Absent,
            pasid: Fact::Absent,
            thunderbolt: Fact::Absent,
            memory: Some(false),
            ..Self::default()
        }
    }

    /// Its type, if it has a PCI Express capability that was read.
    pub fn port_type(&self) -> Option<PortType> {
        self.express.present().map(|express| express.kind)
    }

    /// Whether some capability list could not be read.
    pub fn is_partly_unseen(&self) -> bool {
        !self.express.is_seen() || !self.acs.is_seen()
    }
}
