//! What whoever owns the machine should hear.

use super::machine::Unserved;
use alloc::string::String;
use core::fmt;
use ioward_core::device::Source;
use ioward_types::{
    Iova, PhysAddr, Span,
    describe::{NodeId, PciFunction, Problem, Severity, Table},
};

/// One thing to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// Something is wrong with a table.
    Problem(Problem),
    /// A scope names a device that is not on the bus.
    NotThere {
        /// The table.
        table: Table,
        /// The scope's offset.
        at: NodeId,
        /// The device, as the table names it.
        device: String,
    },
    /// Two IOMMUs claim one requester ID; the device is refused.
    TwoIommus {
        /// The device.
        device: String,
        /// The requester ID that both claim.
        requester: PciFunction,
        /// One claim.
        first: Source,
        /// The other.
        second: Source,
    },
    /// A scope refers to an IOMMU that its table does not describe; its devices are refused.
    NoSuchIommu {
        /// The table.
        table: Table,
        /// The scope's offset.
        at: NodeId,
        /// Where the IOMMU should be.
        iommu: NodeId,
    },
    /// A scope gives a device a source that is no number of 32 bits.
    NoSuchSource {
        /// The table.
        table: Table,
        /// The scope's offset.
        at: NodeId,
        /// The device.
        device: String,
    },
    /// No table names an IOMMU for a device, but part of one could not be read, which may be where it is named; the device
    /// is refused.
    MayBeNamed {
        /// The device.
        device: String,
        /// What could not be read, the first of it.
        problem: Problem,
    },
    /// A device is served by no IOMMU.
    Unserved {
        /// The device.
        device: String,
        /// Why.
        why: Unserved,
    },
    /// A region is required at an address that is not its own. The addresses are kept free, but not mapped.
    NotIdentity {
        /// The device.
        device: String,
        /// The addresses as the device issues them.
        span: Span<Iova>,
        /// Where the region lies.
        to: PhysAddr,
    },
}

impl Report {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Problem(problem) => problem.severity(),
            Self::NotThere { .. } | Self::Unserved { .. } => Severity::Note,
            Self::NotIdentity { .. } => Severity::Degraded,
            Self::TwoIommus { .. }
            | Self::NoSuchIommu { .. }
            | Self::NoSuchSource { .. }
            | Self::MayBeNamed { .. } => Severity::Broken,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::NotThere { table, at, device } => {
                write!(f, "{table} {at} names {device}, which is not on the bus")
            }
            Self::TwoIommus { device, requester, first, second } => write!(
                f,
                "{device} is refused: requester {requester} is source {} of IOMMU {} and source {} of IOMMU {}",
                first.1, first.0, second.1, second.0
            ),
            Self::NoSuchIommu { table, at, iommu } => {
                write!(f, "{table} {at} refers to an IOMMU {iommu} that is not described")
            }
            Self::NoSuchSource { table, at, device } => {
                write!(f, "{table} {at} gives {device} a source beyond 32 bits")
            }
            Self::MayBeNamed { device, problem } => {
                write!(f, "{device} is refused: it may be named where nothing could be read: {problem}")
            }
            Self::Unserved { device, why } => write!(f, "{device} is unserved: {why}"),
            Self::NotIdentity { device, span, to } => {
                write!(f, "{device} requires {span} to reach {to}; the addresses are kept free instead")
            }
        }
    }
}
