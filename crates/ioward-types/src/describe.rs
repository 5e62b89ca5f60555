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

use core::fmt;

mod devices;
mod iommu;
mod problem;
mod region;

pub use devices::{AtPath, Ats, AtsRule, Devices, Scope, Served, Sources, Traits, Uid};
pub use iommu::{
    AmdBlocks, AmdVi, Interrupt, InterruptLine, InterruptRole, Iommu, IommuKind, PciFunction, RiscV, SmmuV3,
    VtD,
};
pub use problem::{Cause, Problem, Severity, Table};
pub use region::{Doorbell, Msi, MsiController, PciHost, Reserved, ReservedRule, Subject};

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
