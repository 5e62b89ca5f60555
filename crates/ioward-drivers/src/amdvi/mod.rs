//! AMD-Vi: AMD I/O Virtualization Technology (48882, revision 3.08).
//!
//! [`AmdVi::bring_up`] takes the registers of one IOMMU and gives a [`Driver`](ioward_core::driver::Driver).
//!
//! Principles:
//! 1. No entry of the device table ever has V=0, which passes through. Blocked is V=1, TV=1, no rights.
//! 2. An IOMMU that is on is never turned off, and an exclusion range that firmware left on is turned off.
//! 3. An entry changes in one store of 128 bits, or goes through blocked.
//! 4. A domain ID is used again only after a confirmed flush.
//! 5. Pointers and indexes that hardware gives are checked before they are used.
//!
//! | file | what |
//! | --- | --- |
//! | `bring_up`, `adopt`, `config` | from registers to a driver |
//! | `features`, `plan` | what the hardware can, and which tables serve whom |
//! | `entry`, `device_table` | device table entries, and how one changes |
//! | `guest_cr3` | tables indexed by PASID |
//! | `domain_id` | what caches know carriers by |
//! | `command`, `command_buffer`, `invalidate`, `forget` | commands, their ring, ranges as commands, what to forget when |
//! | `interrupt_table`, `interrupts` | interrupt remapping |
//! | `event`, `event_log` | events and their ring |
//! | `source`, `attach`, `driver` | claimed sources, how they change, and the driver |
//!
//! Interrupts are remapped where [`Config::interrupts`] says so: then a message that no entry of its source names is blocked.
//! Otherwise entries have IV=0, and interrupts pass as devices send them.

mod adopt;
mod attach;
mod bring_up;
mod command;
mod command_buffer;
mod config;
mod device_table;
mod domain_id;
mod driver;
mod entry;
mod event;
mod event_log;
mod features;
mod forget;
mod guest_cr3;
mod interrupt_table;
mod interrupts;
mod invalidate;
mod plan;
mod source;
mod unit;

pub use crate::left_over::BringUp;
pub use config::{BringUpError, Config};
pub use driver::AmdVi;
pub use plan::{PLANNED_GUEST_BITS, PLANNED_HOST_BITS};
