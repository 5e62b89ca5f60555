//! Intel VT-d: Virtualization Technology for Directed I/O (D51397, revision 4.1).
//!
//! [`VtD::bring_up`] takes the registers of one remapping unit and gives a [`Driver`](ioward_core::driver::Driver).
//!
//! Principles:
//! 1. A source is blocked by a context entry that is not present, a PASID by a PASID table entry that is not, and both
//!    are reported: fault processing is never disabled. Blocking needs no memory and is one store.
//! 2. A unit that translates is never turned off. Protected memory regions go when everything is blocked.
//! 3. An entry changes in one store of 128 bits wherever that is all that differs, else it goes through not present; no
//!    mixture of two is ever to be seen. The module `pasid_entry` tells how.
//! 4. Caches forget in the order in which they are filled: context entries, PASID table entries, translations, devices'
//!    own; a fence lies between any two. A domain ID is used again only after a confirmed flush.
//! 5. Indexes that hardware gives are checked before they are used, and no wait is without a bound.
//!
//! What a source holds:
//!
//! | | legacy mode | scalable mode |
//! |---|---|---|
//! | blocked | context entry not present | context entry not present, or PASID entry zero while PASIDs are attached |
//! | identity | TT pass-through (ECAP.PT) | PASID entry zero, PGTT pass-through |
//! | second-stage table | TT untranslated, or device TLB with ATS | PASID entry zero, PGTT second stage |
//! | first-stage table | refused | PASID entry zero, PGTT first stage |
//! | a PASID | refused | its own entry, any of the above |
//!
//! PASID zero stands for requests without one (RID_PASID) and is refused as a PASID. In legacy mode a source with ATS that
//! is on identity is answered no translation requests (9.3, TT).
//!
//! | file | what |
//! | --- | --- |
//! | `bring_up`, `adopt`, `config` | from registers to a driver |
//! | `capability`, `plan` | what the hardware can, and which tables serve whom |
//! | `global_command`, `memory` | commands and bounded waits; memory that hardware reads |
//! | `root_table`, `context_entry`, `pasid_table`, `pasid_entry` | structures, and how an entry changes |
//! | `domain_id` | what caches know carriers by |
//! | `descriptor`, `invalidation_queue`, `register_invalidation`, `invalidation` | what is told to caches, and how |
//! | `ranges`, `forget` | ranges as commands, what to forget when |
//! | `fault_recording`, `page_requests` | what hardware reports |
//! | `interrupt_entry`, `interrupt_remapping` | interrupts |
//! | `source`, `attach`, `driver` | claimed sources, how they change, and the driver |

mod adopt;
mod attach;
mod bring_up;
mod capability;
mod config;
mod context_entry;
mod descriptor;
mod domain_id;
mod driver;
mod fault_recording;
mod forget;
mod global_command;
mod interrupt_entry;
mod interrupt_remapping;
mod invalidation;
mod invalidation_queue;
mod memory;
mod page_requests;
mod pasid_entry;
mod pasid_table;
mod plan;
mod ranges;
mod register_invalidation;
mod root_table;
mod source;

pub use crate::left_over::BringUp;
pub use adopt::Adopted;
pub use config::{BringUpError, Config, Interrupts, Message, Mode, PageRequests};
pub use driver::{PageResponse, VtD};
pub use plan::{PLANNED_BITS, PLANNED_FIRST_BITS};
