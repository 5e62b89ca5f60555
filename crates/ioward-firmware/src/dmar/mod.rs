//! Intel's DMA remapping table (DMAR; VT-d rev 4.1, chapter 8).
//!
//! The table is an array of structures: remapping units (DRHD) with the devices that each serves, regions that devices
//! need mapped (RMRR), root ports and built-in devices that may use ATS (ATSR, SATC, SIDP), proximity domains (RHSA) and
//! the names of platform devices (ANDD). Devices are named by device scopes: a path of bridges from a starting bus.
//!
//! Which functions a path means is known only together with the bus, so [`facts`] hands paths on as they are. Two DRHD
//! structures for the same registers are one unit, and both their scopes are its own.
//!
//! [`Dmar`] and the views of [`structure`] show the bytes as they are.

mod describe;
mod scope;
pub mod structure;
mod unit;

pub use describe::facts;
pub use structure::{DeviceScope, Dmar, Structure};
