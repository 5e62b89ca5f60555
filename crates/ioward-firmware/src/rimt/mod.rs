//! RISC-V's I/O mapping table (RIMT; RISC-V IO Mapping Table specification 1.0).
//!
//! The table is an array of nodes: IOMMUs, PCIe root complexes and platform devices. The latter two map ranges of their
//! source IDs (of a root complex: requester IDs) to device IDs of an IOMMU, which they name by its offset.
//!
//! [`Rimt`] and the views of [`node`] show the bytes as they are; [`facts`] says what they mean.

mod describe;
pub mod node;

pub use describe::facts;
pub use node::{Node, Rimt};
