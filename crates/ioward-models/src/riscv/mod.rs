//! A model of the RISC-V IOMMU, written against the RISC-V IOMMU Architecture Specification 1.0.1 to judge a driver of it.
//!
//! [`RiscvIommu`] is registers on one side ([`Mmio`]) and requests on the other ([`IommuModel`]). What makes it a judge:
//!
//! * Invalidations do nothing when they are fetched: an IOFENCE.C completes them (3.1.2), in the order of the queue, which
//!   is the order that 6.3 lists them in. Until then, and for as long as nobody names them, stale directory entries,
//!   contexts, leaves, table pointers and MSI entries are used. Commands whose fence never comes are aborted with the queue.
//! * Contexts of devices known to be there are fetched again as soon as they are forgotten, and translations are walked
//!   again as soon as they are invalidated: hardware may look ahead at any time. IOTINVAL before IODIR therefore brings
//!   back what it took away.
//! * IOTINVAL touches no directory cache and IODIR no translation (3.1.3); IOTINVAL by address leaves non-leaf entries
//!   (3.1.1); turning translation off empties nothing (5.5).
//! * A context that changes in more than one doubleword between two states that hardware may see is reported, as are
//!   registers written while busy or in use, queues out of order, tables freed before they are invalidated, one PSCID or
//!   GSCID for two tables, and memory reclaimed without ordering (3.1.2).
//! * [`RiscvIommu::poison`] starts it with garbage in every cache, as after a mode of Off;
//!   [`RiscvIommu::set_command_filter`] drops commands; [`RiscvIommu::set_hung`], [`RiscvIommu::set_stuck`] and
//!   [`RiscvIommu::set_gone`] make it stop answering.
//!
//! Not modelled: Sv32 and guests of 32 bits (`fctl.GXL` is fixed at 0), quality-of-service identifiers, the performance
//! monitor, custom fields, poisoned memory, PMA and PMP checks other than that memory answers.
//!
//! [`Mmio`]: ioward_types::Mmio
//! [`IommuModel`]: crate::IommuModel

mod commands;
mod completion;
mod context;
mod directory;
mod features;
mod interrupts;
mod iommu;
mod msi;
mod queues;
mod registers;
mod state;
#[cfg(test)]
mod tests;
mod tlb;
mod translate;
mod walk;
mod walker;

pub use features::{Features, Interrupts};
pub use iommu::RiscvIommu;
pub use msi::MsiOutcome;
pub use queues::PageRequestOutcome;
pub use state::{CommandFilter, PageResponse, Signal};
