//! ACS as the specification means it: what a port does with requests that it *receives from below*.
//!
//! Two functions belong together if either can reach the other's memory without passing an IOMMU, or if their requests
//! can carry one requester ID. What follows from that:
//!
//! * A downstream port that does not redirect lets what is below it reach everything below its switch, whatever the other
//!   ports do and whatever is set further up: the request never gets there. Linux asks only the ports above each device
//!   and so gives such devices groups of their own.
//! * A port that could forward upstream and does not may send back down what was redirected below it.
//! * A function on the bus inside a switch has no port in front of it, and reaches what is below the ports.
//! * Egress control decides peer by peer, and stands above redirection: what its vector lets through goes straight to the
//!   peer, and what it stops does not, redirection or not.
//! * Memory of a switch's own ports is reached by whoever is below an open door to it: redirection does not cover it, the
//!   enhanced bits do.
//! * A function that does not redirect reaches the other functions of its device, whether *those* redirect or not. Linux
//!   asks whether both do not.
//! * Where source validation is off, a device can issue requests in the name of anybody, up to the next port that checks.
//! * A port without a peer below it does nothing: a switch with one open port and nothing behind it is closed.
//! * A port that does not separate belongs to the group that it makes, since whoever may reset it may reset all of it.
//!
//! What the specification leaves open is decided by the fields of [`Fabric`]. Requests that carry translated addresses
//! (ATS) have passed an IOMMU and are not looked at here.

mod ports;
mod reasons;
mod ties;

use super::{Grouping, Policy, isolation};
use crate::Topology;
use alloc::vec::Vec;

/// What to think of functions where the specification leaves open what they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Assume {
    /// They reach each other: nobody promised otherwise.
    #[default]
    Reach,
    /// They do not.
    Isolated,
}

/// What to think of root ports that have no ACS capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RootPorts {
    /// They send everything to the root, and check requester IDs.
    Isolated,
    /// They send requests back down, and to the other functions of the same device; no further. This is what Linux
    /// assumes.
    #[default]
    Functions,
    /// They send requests to every root port of the same root bus.
    All,
}

/// The policy, with its assumptions. A bit that could be set and is off is none: it is what the port does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fabric {
    /// Functions of one device without an ACS capability.
    pub functions: Assume,
    /// Root ports without an ACS capability.
    pub root_ports: RootPorts,
    /// Endpoints that are integrated into the root complex and have no ACS capability, and conventional functions on a
    /// root bus: whether they reach everything of the root bus. Between functions of one device `functions` decides.
    pub integrated: Assume,
    /// Ports that could forward upstream and do not: whether they send back down what was redirected to them from below.
    /// The specification has them refuse it or route it as they please.
    pub turned_back: Assume,
    /// Memory of a switch's ports, where the enhanced bits do not close it: whether it counts as memory of another.
    pub port_memory: Assume,
    /// Whether a device that can issue requests in another's name counts as sharing its requester ID.
    pub forgery: bool,
}

impl Default for Fabric {
    fn default() -> Self {
        Self {
            functions: Assume::Reach,
            root_ports: RootPorts::Functions,
            integrated: Assume::Isolated,
            turned_back: Assume::Reach,
            port_memory: Assume::Reach,
            forgery: true,
        }
    }
}

impl Policy for Fabric {
    fn name(&self) -> &'static str {
        "fabric"
    }

    fn groups(&self, topology: &Topology) -> Grouping {
        let isolation = isolation::all(topology);
        let ties = ties::collect(self, topology, &isolation);
        let (group_of, reasons) = reasons::join(topology, ties);
        let count = topology.functions().len();
        let path_sure = isolation::paths_sure(topology, &isolation);
        let sure: Vec<bool> =
            (0..count).map(|index| isolation::is_sure(topology, &isolation, &path_sure, index)).collect();
        Grouping::build(topology, &group_of, &sure, reasons)
    }
}
