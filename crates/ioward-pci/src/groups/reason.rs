//! Why functions are together.

use crate::{AcsBits, Bdf, PortType, Topology, quirks::AliasQuirk, topology::Override};
use alloc::vec::Vec;
use core::fmt;

/// Why a function does not isolate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// It has no ACS capability.
    NoCapability,
    /// These bits are supported but not set.
    NotSet(AcsBits),
    /// These bits are set, but egress control lets some peers be reached directly all the same.
    EgressControl,
    /// It lets requests for memory of its switch's ports through: its control register lacks the enhanced bits, or they
    /// are off.
    PortMemory,
    /// It is no PCI Express function, so it has no ACS.
    NotExpress,
    /// It is a bridge between PCI Express and conventional PCI, or an event collector: ACS does not apply to it.
    Kind,
    /// A row of [`crate::quirks::ACS`] says that it does not, whatever its capability says.
    Quirk(&'static str),
    /// Nobody could read its capabilities, so the worst is assumed.
    Unseen,
}

/// A fact that ties functions together. Taking it away ([`Topology::without`]) unties them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A port or function lets requests through to its peers that should go to the root.
    NotIsolated {
        /// Which.
        function: Bdf,
        /// Its type, if it has one.
        kind: Option<PortType>,
        /// Why.
        lack: Lack,
    },
    /// A bridge puts one requester ID on everything from below, or what is below shares its wires.
    Conventional {
        /// Which.
        bridge: Bdf,
        /// The requester ID that stands for all of it.
        requester: u16,
    },
    /// A function's requests carry another requester ID of its bus.
    Alias {
        /// Which.
        function: Bdf,
        /// The device and function number that it uses.
        devfn: u8,
        /// The row that says so; firmware says so if there is none.
        row: Option<&'static AliasQuirk>,
        /// The function was recognised by its name, since the dump has no IDs.
        by_name: bool,
    },
    /// A function has phantom functions turned on, and they use this number of its bus.
    Phantom {
        /// Which.
        function: Bdf,
        /// The device and function number that they use.
        devfn: u8,
    },
    /// A VMD controller issues the requests of everything in its segment as its own.
    Owned {
        /// The function.
        function: Bdf,
        /// The controller.
        controller: Bdf,
    },
}

impl Cause {
    /// The function or bridge that the fact is about.
    pub const fn subject(&self) -> Bdf {
        match *self {
            Self::NotIsolated { function, .. }
            | Self::Alias { function, .. }
            | Self::Phantom { function, .. }
            | Self::Owned { function, .. } => function,
            Self::Conventional { bridge, .. } => bridge,
        }
    }
}

impl Cause {
    /// Equal for equal facts, and for no others of one machine.
    pub(crate) fn key(&self) -> (Bdf, u8, u32) {
        match *self {
            Self::NotIsolated { function, lack, .. } => match lack {
                Lack::NotSet(bits) => (function, 0, bits.0.into()),
                Lack::NoCapability => (function, 1, 0),
                Lack::EgressControl => (function, 2, 0),
                Lack::PortMemory => (function, 3, 0),
                Lack::NotExpress => (function, 4, 0),
                Lack::Kind => (function, 5, 0),
                Lack::Quirk(_) => (function, 6, 0),
                Lack::Unseen => (function, 7, 0),
            },
            Self::Conventional { bridge, requester } => (bridge, 8, requester.into()),
            Self::Alias { function, devfn, row, .. } => {
                (function, if row.is_some() { 9 } else { 10 }, devfn.into())
            }
            Self::Phantom { function, devfn } => (function, 11, devfn.into()),
            // A function has one controller.
            Self::Owned { function, .. } => (function, 12, 0),
        }
    }

    /// The same fact in other names; none where one of its functions has none.
    pub(crate) fn renamed(mut self, name: impl Fn(Bdf) -> Option<Bdf>) -> Option<Self> {
        match &mut self {
            Self::NotIsolated { function, .. }
            | Self::Alias { function, .. }
            | Self::Phantom { function, .. } => *function = name(*function)?,
            Self::Conventional { bridge, .. } => *bridge = name(*bridge)?,
            Self::Owned { function, controller } => {
                (*function, *controller) = (name(*function)?, name(*controller)?);
            }
        }
        Some(self)
    }
}

/// Why `member` is in the group of `with`. All causes hold at once: each alone would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// The function.
    pub member: Bdf,
    /// With whom.
    pub with: Bdf,
    /// What ties them; never empty.
    pub causes: Vec<Cause>,
}

impl Topology {
    /// The same machine without some facts: a port isolates, a bridge leaves requester IDs alone, and so on. What the
    /// policies make of it is what would be if that were so.
    pub fn without(&self, causes: &[Cause]) -> Self {
        let mut changed = self.clone();
        for cause in causes {
            let Some(index) = changed.find(cause.subject()) else { continue };
            let taken: &mut Override = changed.overrides.entry(index).or_default();
            match cause {
                Cause::NotIsolated { .. } => taken.isolates = true,
                Cause::Conventional { .. } => (taken.no_takeover, taken.isolates) = (true, true),
                Cause::Alias { .. } | Cause::Phantom { .. } => taken.no_aliases = true,
                Cause::Owned { .. } => taken.no_owner = true,
            }
        }
        changed
    }
}

/// What a function is, in words.
struct Kind(Option<PortType>);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(PortType::RootPort) => "root port",
            Some(PortType::DownstreamPort) => "downstream port",
            Some(PortType::UpstreamPort) => "upstream port",
            Some(PortType::ToConventional | PortType::FromConventional) => "bridge",
            Some(PortType::IntegratedEndpoint) => "integrated endpoint",
            Some(PortType::EventCollector) => "event collector",
            Some(PortType::Endpoint | PortType::LegacyEndpoint | PortType::Reserved(_)) | None => "function",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotIsolated { function, kind, lack } => {
                write!(f, "{} {function} ", Kind(kind))?;
                match lack {
                    Lack::NoCapability => f.write_str("has no ACS capability"),
                    Lack::NotSet(bits) => write!(f, "could set the ACS bits {bits} but they are off"),
                    Lack::EgressControl => {
                        f.write_str("lets egress control decide which peers are reached directly")
                    }
                    Lack::PortMemory => f.write_str(
                        "lets requests through to the registers of its switch's ports (the enhanced ACS bits would stop \
                         them)",
                    ),
                    Lack::NotExpress => f.write_str("is not PCI Express and cannot isolate"),
                    Lack::Kind => f.write_str("is of a type that cannot isolate"),
                    Lack::Quirk(what) => write!(f, "is {what}"),
                    Lack::Unseen => {
                        f.write_str("could not be looked into (run as root), so it is taken not to isolate")
                    }
                }
            }
            Self::Conventional { bridge, requester } => write!(
                f,
                "bridge {bridge} gives everything below it the one requester ID {:02x}:{:02x}.{}",
                requester >> 8,
                requester >> 3 & 0x1f,
                requester & 7
            ),
            Self::Alias { function, devfn, row, by_name } => {
                write!(
                    f,
                    "{function} also issues requests as {:02x}.{} of its bus: ",
                    devfn >> 3,
                    devfn & 7
                )?;
                match row {
                    Some(row) if by_name => write!(f, "by its name it is {} ({})", row.what, row.source),
                    Some(row) => write!(f, "it is {} ({})", row.what, row.source),
                    None => f.write_str("firmware says so"),
                }
            }
            Self::Phantom { function, devfn } => write!(
                f,
                "{function} has phantom functions turned on, one of which is {:02x}.{} of its bus",
                devfn >> 3,
                devfn & 7
            ),
            Self::Owned { function, controller } => {
                write!(f, "VMD controller {controller} issues the requests of {function} as its own")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is with {} because ", self.member, self.with)?;
        for (index, cause) in self.causes.iter().enumerate() {
            write!(f, "{}{cause}", if index == 0 { "" } else { ", and " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, string::ToString};

    #[test]
    fn every_cause_has_a_sentence_that_names_its_subject() {
        let function = Bdf::new(0, 2, 1, 0);
        let row = crate::quirks::ALIASES.first();
        let lacks = [
            Lack::NoCapability,
            Lack::NotSet(AcsBits::RR | AcsBits::UF),
            Lack::EgressControl,
            Lack::PortMemory,
            Lack::NotExpress,
            Lack::Kind,
            Lack::Quirk("another port"),
            Lack::Unseen,
        ];
        let mut causes: Vec<Cause> = lacks
            .iter()
            .map(|&lack| Cause::NotIsolated { function, kind: Some(PortType::DownstreamPort), lack })
            .collect();
        causes.extend([
            Cause::Conventional { bridge: function, requester: 0x0300 },
            Cause::Alias { function, devfn: 9, row, by_name: false },
            Cause::Alias { function, devfn: 9, row, by_name: true },
            Cause::Alias { function, devfn: 9, row: None, by_name: false },
            Cause::Phantom { function, devfn: 12 },
            Cause::Owned { function, controller: Bdf::new(0, 0, 14, 0) },
        ]);
        let sentences: BTreeSet<_> = causes.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), causes.len());
        assert!(causes.iter().all(|cause| cause.to_string().contains("0000:02:01.0")));
        assert!(sentences.iter().any(|sentence| sentence.contains("ReqRedir UpstreamFwd")));
    }
}
