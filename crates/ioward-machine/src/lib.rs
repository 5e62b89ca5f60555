//! A whole machine in software: models of its IOMMUs and devices, simulated memory, the drivers and the subsystem.
//!
//! [`rig`] puts IOMMUs and devices together by hand; everything else here is built on it.

pub mod rig;

pub use rig::{Endpoint, Model, Rig, RigError};
