//! From firmware's words and the bus to what the subsystem takes.
//!
//! ```text
//!   tables --> ioward-firmware --> Facts --+
//!                                          +--> join --> Machine: IOMMUs, devices, reports
//!   configuration space --> ioward-pci --> Bus
//! ```
//!
//! [`Facts`] collects what all tables say; [`Bus`] lists the PCI functions with the requester IDs that their requests may
//! carry and the functions that each cannot be told apart from; [`join`] decides what they mean together:
//!
//! 1. An explicit scope wins over one for all other devices.
//! 2. A device is served by whoever has a scope for it, through every requester ID that its requests may carry.
//! 3. Two IOMMUs that claim one requester ID are both refused, and with them the device: it is listed with both claims and
//!    is not to be used.
//! 4. A device that no scope names, or whose IOMMU is disabled or of a kind that is not supported, is unserved. If part of a
//!    table could not be read, a scope there may have named it: then it is refused, unless it is a bridge.
//! 5. A scope for one function that is not on the bus is reported; a path of bridges is walked on the bus first.
//! 6. An IOMMU is no device behind itself or another, whatever range its function lies in.
//! 7. Nothing is dropped in silence: every [`Problem`](ioward_types::describe::Problem) of a parser is a [`Report`] too.
//!
//! [`machine`] does all of it for tables and a topology:
//!
//! ```
//! # use ioward::{discover, pci::{Topology, groups::Linux}};
//! # let (iort, topology) = (&b""[..], Topology::new(Vec::new(), Vec::new()));
//! let found = discover::machine([iort], topology, &Linux);
//! for (unit, smmu) in found.smmuv3() {
//!     println!("{} at {:?}, coherent: {:?}", unit.name, unit.registers, smmu.coherent);
//! }
//! ```
//!
//! One IOMMU and no PCI is fine, and so is a bus without any table.

mod ats;
mod bus;
mod claims;
mod facts;
mod join;
mod machine;
mod paths;
mod regions;
mod report;
#[cfg(test)]
mod tests;

pub use bus::{Bus, BusFunction};
pub use facts::Facts;
pub use join::{join, machine};
pub use machine::{Device, Host, Machine, Place, Serving, Special, SpecialKind, Unit, UnitKind, Unserved};
pub use report::Report;
