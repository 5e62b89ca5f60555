//! What one function does with requests, whoever says so: its ACS registers, a quirk, or its type.

use super::reason::Lack;
use crate::{
    AcsBits, PortType, Topology,
    function::{Fact, Header},
    quirks::{AcsQuirk, Match, Provides},
    topology::Index,
};
use alloc::{vec, vec::Vec};

/// Who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// The ACS registers.
    Registers,
    /// A quirk.
    Quirk {
        /// The row.
        row: &'static AcsQuirk,
        /// How it was found to apply.
        by: Match,
    },
    /// The capability is there but what is set was not read: what a kernel that uses an IOMMU sets at boot is assumed.
    Assumed,
    /// It is the only function of its device, and no port: there is no peer inside it.
    Alone,
    /// It has no ACS capability.
    NoCapability,
    /// Its type rules ACS out, or it is no PCI Express function.
    Kind,
    /// Its capabilities were not read.
    Unseen,
    /// A counterfactual.
    Supposed,
}

/// What a function does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isolation {
    /// The bits that are set, or as good as set because what they control is not there.
    pub on: AcsBits,
    /// The bits that could be set and are not.
    pub off: AcsBits,
    /// Bits of `on` that Linux takes for granted although they are off.
    pub granted: AcsBits,
    /// Who says so.
    pub basis: Basis,
}

/// What a function without a peer does.
const EVERYTHING: AcsBits = AcsBits(!AcsBits::EC.0);

impl Isolation {
    /// Of a function, as Linux sees it.
    pub fn of(topology: &Topology, index: Index) -> Self {
        let function = &topology.functions()[index];
        let all = |basis| Self { on: EVERYTHING, off: AcsBits::NONE, granted: AcsBits::NONE, basis };
        let none = |basis| Self { on: AcsBits::NONE, ..all(basis) };
        if topology.override_of(index).isolates {
            return all(Basis::Supposed);
        }
        if let Some((row, by)) = topology.acs_quirk(index) {
            let basis = Basis::Quirk { row, by };
            match row.provides {
                Provides::Bits(bits) | Provides::Enabled(bits) => {
                    return Self { on: bits, ..all(basis) };
                }
                Provides::Granted(bits) => {
                    if let Fact::Present(acs) = function.acs
                        && let (Some(capability), Some(control)) = (acs.capability, acs.control)
                    {
                        let granted = bits & capability & !control;
                        return Self {
                            granted,
                            ..Self::registers(capability & !bits, control | bits, basis)
                        };
                    }
                }
                Provides::NextWord => {
                    if let Fact::Present(acs) = function.acs {
                        return match (acs.capability, acs.next_word) {
                            (Some(capability), Some(control)) => Self::registers(capability, control, basis),
                            // Text shows the wrong word. Linux sets the bits at boot.
                            (Some(_), None) | (None, _) => all(Basis::Assumed),
                        };
                    }
                }
            }
        }
        match function.express {
            Fact::Unseen => return none(Basis::Unseen),
            Fact::Absent => return none(Basis::Kind),
            Fact::Present(express) => match express.kind {
                PortType::ToConventional | PortType::FromConventional | PortType::EventCollector => {
                    return none(Basis::Kind);
                }
                PortType::RootPort | PortType::DownstreamPort => {}
                PortType::Reserved(_) => return all(Basis::Alone),
                _ if topology.is_multifunction(index) => {}
                _ => return all(Basis::Alone),
            },
        }
        match function.acs {
            Fact::Unseen => none(Basis::Unseen),
            Fact::Absent => none(Basis::NoCapability),
            Fact::Present(acs) => match (acs.capability, acs.control) {
                (Some(capability), Some(control)) => Self::registers(capability, control, Basis::Registers),
                _ => all(Basis::Assumed),
            },
        }
    }

    /// A bit that is not in the capability controls something that is not there, except for egress control.
    fn registers(capability: AcsBits, control: AcsBits, basis: Basis) -> Self {
        let mask = AcsBits(0x7f);
        let controllable = capability & mask;
        Self {
            on: (control & mask) | (!capability & !AcsBits::EC),
            off: controllable & !control & !AcsBits::EC,
            granted: AcsBits::NONE,
            basis,
        }
    }

    /// Whether it does all of `bits`.
    pub const fn covers(&self, bits: AcsBits) -> bool {
        self.on.covers(bits)
    }

    /// Whether egress control is on. Then its vector and not redirection decides what goes straight to a peer (PCI
    /// Express Base 6.0, section 6.12.3). Linux does not look.
    pub(super) fn egress(&self) -> bool {
        self.basis == Basis::Registers && self.on.covers(AcsBits::EC)
    }

    /// Whether egress control is on and lets some peer be reached directly.
    pub fn egress_open(&self, topology: &Topology, index: Index) -> bool {
        let acs = topology.functions()[index].acs.present();
        self.egress() && acs.and_then(|acs| acs.egress).is_none_or(|vector| !vector.stops_all())
    }

    /// Whether nothing in it is assumed.
    pub fn is_sure(&self) -> bool {
        match self.basis {
            Basis::Assumed | Basis::Unseen => false,
            Basis::Quirk { by, .. } => by == Match::Ids,
            _ => true,
        }
    }

    /// Why it does not do all of `bits`.
    pub fn lack(&self, topology: &Topology, index: Index, bits: AcsBits) -> Lack {
        match self.basis {
            Basis::Quirk { row, .. } if (self.off & bits).is_empty() => Lack::Quirk(row.what),
            Basis::Unseen => Lack::Unseen,
            Basis::NoCapability => Lack::NoCapability,
            Basis::Kind if topology.functions()[index].express == Fact::Absent => Lack::NotExpress,
            Basis::Kind => Lack::Kind,
            _ => Lack::NotSet(bits & self.off),
        }
    }
}

/// Of every function.
pub(super) fn all(topology: &Topology) -> Vec<Isolation> {
    (0..topology.functions().len()).map(|index| Isolation::of(topology, index)).collect()
}

/// Of each bridge: whether nothing was assumed of it and of all above it.
pub(super) fn paths_sure(topology: &Topology, isolation: &[Isolation]) -> Vec<bool> {
    let mut sure = vec![true; isolation.len()];
    // Ascending: what is above has a lower number.
    for index in 0..isolation.len() {
        let function = &topology.functions()[index];
        if function.header.is_bridge() {
            sure[index] = isolation[index].is_sure()
                && !topology.bus_of(index).orphan
                && !topology.bus_of(index).contested
                && topology.above(index).is_none_or(|above| sure[above]);
        }
    }
    sure
}

/// Whether nothing that decides a function's group was assumed.
pub(super) fn is_sure(
    topology: &Topology,
    isolation: &[Isolation],
    path_sure: &[bool],
    index: Index,
) -> bool {
    topology.above(index).is_none_or(|above| path_sure[above])
        && (!topology.is_multifunction(index)
            || isolation[index].is_sure() && topology.siblings(index).all(|other| isolation[other].is_sure()))
        && !topology.bus_of(index).orphan
        && !topology.bus_of(index).contested
        && !topology.bus_of(index).unread_aliases
        && topology.functions()[index].header != Header::BridgeUnseen
}
