//! What the subsystem wants to know of each function: its requester IDs, with whom it must share a group, whether PASIDs
//! can be granted to it.

use crate::{
    AcsBits, Bdf, Fact, Topology,
    groups::{Grouping, Isolation, Lack},
    requesters::{Requester, Users},
    topology::{Index, is_iommu},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;
use ioward_types::describe::PciFunction;

/// Why no PASID can be granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasidRefusal {
    /// The function or a port above it may let a request through to a peer: with a PASID its address means something
    /// else there.
    NotRedirected {
        /// Which.
        function: Bdf,
        /// Why.
        lack: Lack,
    },
    /// Another function's requests carry the same requester ID: a PASID of one would be a PASID of both.
    SharedRequester {
        /// Which function.
        with: Bdf,
        /// The ID, as the function that it would name.
        requester: Bdf,
    },
    /// Something on the way could not be read, so nobody knows.
    Unseen {
        /// What.
        function: Bdf,
    },
}

impl fmt::Display for PasidRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRedirected { function, lack } => {
                write!(f, "{function} does not redirect every request to the root: ")?;
                match lack {
                    Lack::NoCapability => f.write_str("it has no ACS capability"),
                    Lack::NotSet(bits) => write!(f, "the ACS bits {bits} are off"),
                    _ => f.write_str("it cannot"),
                }
            }
            Self::SharedRequester { with, requester } => {
                write!(f, "{with} uses the requester ID {requester} too")
            }
            Self::Unseen { function } => write!(f, "nobody could read what {function} does with requests"),
        }
    }
}

/// A function as the subsystem wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Joined {
    /// Its place in [`Topology::functions`].
    pub function: Index,
    /// Where it is; none where firmware tables cannot name its segment (behind a VMD controller).
    pub at: Option<PciFunction>,
    /// Every requester ID that its requests may carry.
    pub requesters: Vec<Requester>,
    /// The number of its group; none of an IOMMU.
    pub group: Option<u32>,
    /// The widest PASID that it has, in bits; zero for none.
    pub pasid_bits: u8,
    /// What forbids PASIDs.
    pub pasid_refused: Option<PasidRefusal>,
    /// It can cache translations.
    pub ats: bool,
    /// It is not below a port that faces outside.
    pub trusted: bool,
    /// It is a bridge.
    pub bridge: bool,
    /// It is an IOMMU, whose own requests nothing translates.
    pub iommu: bool,
}

/// A machine as the subsystem wants it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Joins {
    /// Every function, in the order of [`Topology::functions`].
    pub functions: Vec<Joined>,
    /// By group: its functions, by their place in `functions`.
    pub groups: BTreeMap<u32, Vec<Index>>,
}

impl Joins {
    /// Of a machine that was grouped.
    pub fn of(topology: &Topology, grouping: &Grouping) -> Self {
        let users = Users::of(topology);
        let mut joins = Self::default();
        for (index, function) in topology.functions().iter().enumerate() {
            let group = grouping.group_of(function.at).map(|group| group.id);
            if let Some(group) = group {
                joins.groups.entry(group).or_default().push(index);
            }
            let pasid_bits = match function.pasid {
                // A dump that shows the capability but not its width: as wide as there are.
                Fact::Present(pasid) => pasid.bits.unwrap_or(20),
                Fact::Absent | Fact::Unseen => 0,
            };
            let segment = u16::try_from(function.at.segment).ok();
            let requester = function.at.requester();
            joins.functions.push(Joined {
                function: index,
                at: segment.map(|segment| PciFunction { segment, requester }),
                requesters: topology.requesters(index),
                group,
                pasid_bits,
                pasid_refused: (pasid_bits != 0).then(|| pasid_refusal(topology, &users, index)).flatten(),
                ats: function.ats.present().is_some(),
                trusted: !topology.is_untrusted(index),
                bridge: function.header.is_bridge(),
                iommu: is_iommu(function),
            });
        }
        joins
    }

    /// The other functions of a function's group.
    pub fn companions(&self, function: Index) -> impl Iterator<Item = Index> + '_ {
        let group = self.functions.get(function).and_then(|joined| joined.group);
        let members = group.and_then(|group| self.groups.get(&group)).map_or(&[][..], Vec::as_slice);
        members.iter().copied().filter(move |&other| other != function)
    }
}

/// What forbids PASIDs to a function (domain allocation, rule 8), if something does: it must redirect requests, or have
/// no peer inside its device; every port above must redirect them and forward upstream what it would send back down;
/// and nobody else may use its requester ID.
pub fn pasid_refusal(topology: &Topology, users: &Users, function: Index) -> Option<PasidRefusal> {
    let source = topology.owner(function).unwrap_or(function);
    let path = core::iter::once(source).chain(topology.path(source));
    for index in path {
        let isolation = Isolation::of(topology, index);
        let at = topology.functions()[index].at;
        if !isolation.covers(AcsBits::REDIRECTION) {
            return Some(match isolation.lack(topology, index, AcsBits::REDIRECTION) {
                Lack::Unseen => PasidRefusal::Unseen { function: at },
                lack => PasidRefusal::NotRedirected { function: at, lack },
            });
        }
        if isolation.egress_open(topology, index) {
            return Some(PasidRefusal::NotRedirected { function: at, lack: Lack::EgressControl });
        }
    }
    if topology.bus_of(source).orphan {
        return Some(PasidRefusal::Unseen { function: topology.functions()[source].at });
    }
    users.shared(topology, function).map(|(with, requester)| PasidRefusal::SharedRequester {
        with: topology.functions()[with].at,
        requester,
    })
}
