//! AMD's I/O virtualization reporting structure (IVRS; AMD I/O Virtualization Technology Specification 48882, section 5.2).
//!
//! The table is an array of blocks: hardware definitions (IVHD), each with an array of device entries, and memory
//! definitions (IVMD). Firmware describes one IOMMU in up to three IVHD blocks, of types 10h, 11h and 40h, for software of
//! different ages. They are one IOMMU: [`facts`] takes the device entries of the most capable block, adds what only the
//! others say of the IOMMU itself, and reports where they contradict each other.
//!
//! [`Ivrs`] and the views of [`block`] show the bytes as they are.

pub mod block;
mod describe;
mod entries;
mod merge;

pub use block::{Block, Ivrs};
pub use describe::facts;
