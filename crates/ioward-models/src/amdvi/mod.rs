//! A software AMD-Vi IOMMU, as a judge (AMD I/O Virtualization Technology Specification 48882, revision 3.08).
//!
//! [`AmdViModel`] is one unit: registers on the side of the driver, requests on the side of devices. What it takes the
//! text to allow, and therefore does:
//!
//! * An invalidation takes effect when a later COMPLETION_WAIT completes, not before (§2.4.1), unless
//!   [`AmdViConfig::lazy`] is off.
//! * Device table entries are cached whole, whatever they say, V clear too, until INVALIDATE_DEVTAB_ENTRY (§2.4.2).
//! * Translations, directory entries and guest CR3 entries are cached by domain ID and PASID, identity too, until
//!   INVALIDATE_IOMMU_PAGES covers them; directory entries and guest CR3 entries only with PDE set (§2.4.3). Entries
//!   that are not present are cached where the capability says NpCache.
//! * Turning the unit off and on forgets nothing.
//! * Rights of the device table entry are not folded into cached translations.
//!
//! A file for each concern: [`config`], `registers`, `commands`, `log`, `ppr`, `cache`, `device` (the device table
//! entry), `host` (v1 tables), `guest` (guest CR3 tables and v2 tables), `request`, `audit`; [`model`] is the face.

mod audit;
mod cache;
mod commands;
pub mod config;
pub mod device;
mod guest;
mod host;
mod interrupts;
mod log;
pub mod model;
mod ppr;
mod registers;
mod request;
mod unit;

#[cfg(test)]
mod tests;

pub use self::config::AmdViConfig;
pub use self::device::{DteMeaning, IllegalDte};
pub use self::model::{AmdViModel, CommandFilter};
pub use self::ppr::{Answer, PageRequest};
