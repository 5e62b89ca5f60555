//! Bus numbers and base addresses, for machines whose firmware assigned none: QEMU's `virt` machines booted directly,
//! and boards whose boot loader stops before the bus.
//!
//! 1. [`number_buses`] walks the bus depth first, gives every bridge its range of buses and lists the functions.
//! 2. [`assign_bars`] sizes the base address registers, lays them out in the host bridge's windows and opens the
//!    bridges on the way.
//!
//! On a machine whose firmware has done both, [`functions_on`] lists a bus without changing it, and
//! [`assign_virtual_bars`] finds room for the registers of virtual functions, which PC firmware leaves out. Everything is
//! bounded by the 256 buses of a segment, whatever configuration space answers.

mod bars;
mod buses;
mod late;
mod layout;
mod scan;

pub use bars::{Assigned, Bar, Space, Window, assign_bars};
pub use buses::{Bus, Numbering, number_buses};
pub use late::assign_virtual_bars;
pub use scan::{Link, functions_on, link_below};
