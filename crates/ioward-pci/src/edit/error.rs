//! Why an edit cannot be made.

use crate::{AcsBits, Bdf, BusId};
use core::fmt;

/// Why an edit cannot be made. The machine that was to be edited is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such function.
    NoSuchFunction {
        /// What was asked for.
        function: Bdf,
    },
    /// An earlier edit of the same list took it away.
    TakenAway {
        /// Which.
        function: Bdf,
    },
    /// It has no ACS capability, so there are no bits to set.
    NoAcs {
        /// Which.
        function: Bdf,
    },
    /// Nobody could read what its ACS capability offers.
    AcsUnseen {
        /// Which.
        function: Bdf,
    },
    /// Its ACS capability does not offer these bits.
    NotSupported {
        /// Which function.
        function: Bdf,
        /// What it does not offer.
        bits: AcsBits,
    },
    /// These bits are to be both set and cleared.
    SetAndCleared {
        /// Which function.
        function: Bdf,
        /// Which bits.
        bits: AcsBits,
    },
    /// A virtual function has no registers of its own for this, and goes where its physical function goes.
    Virtual {
        /// Which.
        function: Bdf,
        /// Whose it is.
        physical: Bdf,
    },
    /// It is on a root bus: part of the root complex, which nobody plugs in elsewhere.
    InRootComplex {
        /// Which.
        function: Bdf,
    },
    /// It is a port inside a switch: the switch can be moved, by its upstream port, and not a port of it.
    InsideSwitch {
        /// Which.
        function: Bdf,
    },
    /// What something is to be moved to is no bridge.
    NotABridge {
        /// Which.
        function: Bdf,
    },
    /// It is the upstream port of a switch: what is below it are the switch's own downstream ports.
    NotASlot {
        /// Which.
        function: Bdf,
    },
    /// A device is to be moved below itself.
    BelowItself {
        /// Which.
        device: Bdf,
        /// The port, which is part of it or below it.
        port: Bdf,
    },
    /// A PCI Express link takes one device, and there is one.
    Occupied {
        /// The port.
        port: Bdf,
        /// What is there.
        by: Bdf,
    },
    /// One of the two is PCI Express and the other is conventional PCI.
    DoesNotFit {
        /// The device.
        device: Bdf,
        /// The bridge.
        bridge: Bdf,
    },
    /// All 32 device numbers of a conventional bus are in use.
    NoDeviceNumber {
        /// The bridge that leads to it.
        bridge: Bdf,
    },
    /// The buses below a root bus would need more numbers than there are up to the next root bus of the segment.
    NoBusRoom {
        /// The root bus.
        root: BusId,
        /// How many numbers there are, that of the root bus included.
        room: u16,
        /// How many would be needed.
        needed: u32,
    },
    /// The bus numbers of a bridge could not be read or contradict another bridge's, so nobody knows what is below it.
    BusesUnknown {
        /// Which.
        bridge: Bdf,
    },
}

impl EditError {
    /// The same error in other names.
    pub(super) fn renamed(self, name: impl Fn(Bdf) -> Bdf) -> Self {
        match self {
            Self::NoSuchFunction { function } => Self::NoSuchFunction { function: name(function) },
            Self::TakenAway { function } => Self::TakenAway { function: name(function) },
            Self::NoAcs { function } => Self::NoAcs { function: name(function) },
            Self::AcsUnseen { function } => Self::AcsUnseen { function: name(function) },
            Self::NotSupported { function, bits } => Self::NotSupported { function: name(function), bits },
            Self::SetAndCleared { function, bits } => Self::SetAndCleared { function: name(function), bits },
            Self::Virtual { function, physical } => {
                Self::Virtual { function: name(function), physical: name(physical) }
            }
            Self::InRootComplex { function } => Self::InRootComplex { function: name(function) },
            Self::InsideSwitch { function } => Self::InsideSwitch { function: name(function) },
            Self::NotABridge { function } => Self::NotABridge { function: name(function) },
            Self::NotASlot { function } => Self::NotASlot { function: name(function) },
            Self::BelowItself { device, port } => {
                Self::BelowItself { device: name(device), port: name(port) }
            }
            Self::Occupied { port, by } => Self::Occupied { port: name(port), by: name(by) },
            Self::DoesNotFit { device, bridge } => {
                Self::DoesNotFit { device: name(device), bridge: name(bridge) }
            }
            Self::NoDeviceNumber { bridge } => Self::NoDeviceNumber { bridge: name(bridge) },
            Self::NoBusRoom { .. } => self,
            Self::BusesUnknown { bridge } => Self::BusesUnknown { bridge: name(bridge) },
        }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchFunction { function } => write!(f, "there is no function {function}"),
            Self::TakenAway { function } => write!(f, "{function} was taken away by an earlier edit"),
            Self::NoAcs { function } => {
                write!(f, "{function} has no ACS capability, so it has no bits to set")
            }
            Self::AcsUnseen { function } => write!(
                f,
                "nobody could read which ACS bits {function} offers (run as root, or give lspci -vvv or -xxxx)"
            ),
            Self::NotSupported { function, bits } => {
                write!(f, "the ACS capability of {function} does not offer {bits}")
            }
            Self::SetAndCleared { function, bits } => {
                write!(f, "{bits} of {function} cannot be both set and cleared")
            }
            Self::Virtual { function, physical } => {
                write!(f, "{function} is a virtual function of {physical}; name that one")
            }
            Self::InRootComplex { function } => {
                write!(f, "{function} is on a root bus: it is part of the root complex and cannot be moved")
            }
            Self::InsideSwitch { function } => {
                write!(f, "{function} is a port inside a switch: move the switch by its upstream port")
            }
            Self::NotABridge { function } => {
                write!(f, "{function} is no bridge: nothing can be below it")
            }
            Self::NotASlot { function } => write!(
                f,
                "{function} is the upstream port of a switch: name one of the switch's downstream ports"
            ),
            Self::BelowItself { device, port } => {
                write!(f, "{device} cannot be moved below {port}, which is part of it or below it")
            }
            Self::Occupied { port, by } => {
                write!(f, "port {port} has a device already: {by}; move or remove that one first")
            }
            Self::DoesNotFit { device, bridge } => write!(
                f,
                "{device} does not fit below {bridge}: one is PCI Express and the other is conventional PCI"
            ),
            Self::NoDeviceNumber { bridge } => {
                write!(f, "all 32 device numbers of the bus below {bridge} are in use")
            }
            Self::NoBusRoom { root, room, needed } => {
                write!(f, "the buses below root bus {root} would need {needed} numbers and there are {room}")
            }
            Self::BusesUnknown { bridge } => write!(
                f,
                "the bus numbers of bridge {bridge} could not be read or contradict another bridge's"
            ),
        }
    }
}

impl core::error::Error for EditError {}
