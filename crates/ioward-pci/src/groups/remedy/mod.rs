//! What would free a device: bits that could be set, other slots, what firmware could show.
//!
//! A remedy is tried before it is named. Its steps are made on a copy of the machine ([`Topology::edit`]), the groups are
//! computed anew by the same policy, and what is left with the device is counted there. So a remedy can be unavailable
//! (firmware may have no such option) but it cannot be wrong about what it would do.
//!
//! [`Topology::edit`]: crate::Topology::edit

mod search;
mod step;

pub use search::{Advice, advise};
pub use step::{Remedy, Step};
