//! Arm's I/O remapping table (IORT, DEN 0049, issue E.f and its predecessors).
//!
//! The table is an array of nodes that refer to each other by offset: root complexes and named components map ranges of
//! their IDs to IDs of an SMMU or of an ITS group, and SMMUs map stream IDs to device IDs of an ITS group.
//!
//! [`Iort`] and the views of [`node`] show the bytes as they are; [`facts`] says what they mean.

mod describe;
mod mapping;
pub mod node;

pub use describe::facts;
pub use node::{Iort, Node};
