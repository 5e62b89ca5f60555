//! A model of Arm's SMMUv3, written against ARM IHI 0070 issue G.b to judge a driver of it.
//!
//! [`Smmu`] is registers on one side ([`Mmio`]) and requests on the other ([`IommuModel`]). What makes it a judge:
//!
//! * Invalidations do nothing when they are consumed: a CMD_SYNC completes them (4.1.4). Until then, and for as long as
//!   nobody names them, stale STEs, CDs, level 1 descriptors, leaves and table pointers are used.
//! * Structures of streams known to be there are fetched again as soon as they are forgotten, valid or not, and
//!   translations are walked again as soon as they are invalidated: hardware may look ahead at any time (3.21).
//! * An STE or CD that changes in more than one 64-bit word between two states that hardware may see is reported, as
//!   are guarded registers written too early, queues out of order, misaligned or freed tables, one ASID or VMID for two
//!   tables, and a translation replaced without break-before-make.
//! * [`Smmu::poison`] starts it with garbage in every cache and every register whose reset value is UNKNOWN;
//!   [`Smmu::set_command_filter`] drops commands; [`Smmu::set_hung`] and [`Smmu::set_gone`] make it stop answering.
//!
//! Not modelled: Secure and Realm state, VMSAv8-32, 128-bit descriptors, IDR5.DS, MPAM, permission indirection, stalls
//! (the SMMU says that it only terminates), the CONT hint, broadcast maintenance, ATOS, enhanced Command queues.
//!
//! [`Mmio`]: ioward_types::Mmio
//! [`IommuModel`]: crate::IommuModel

mod cd;
mod commands;
mod completion;
mod events;
mod features;
mod registers;
mod smmu;
mod state;
mod ste;
mod structures;
#[cfg(test)]
mod tests;
mod tlb;
mod translate;
mod walk;
mod walker;

pub use features::Features;
pub use smmu::Smmu;
pub use state::{CommandFilter, PageResponse, Signal};
