//! Arm System MMU version 3 (ARM IHI 0070).
//!
//! [`SmmuV3`] drives one SMMU through its Non-secure interface. Its life:
//!
//! 1. [`SmmuV3::bring_up`] reads and checks the ID registers, makes queues and a Stream table in which every source is
//!    blocked, and enables translation. From its first write on, a request is translated or aborted and never bypasses.
//! 2. A claim gives a source an entry; the entry, and the level 1 table of its Context descriptors if it may have PASIDs,
//!    exist from then on.
//! 3. An install writes the entry or a descriptor. The module `entry` tells how that is done while hardware reads.
//!
//! What a source holds:
//!
//! | | no PASIDs (claimed with 0 bits) | PASIDs |
//! |---|---|---|
//! | blocked | Config 0b000 | Config 0b000; once a PASID is installed: S1DSS terminates |
//! | identity | Config 0b100 | stage 1, S1DSS bypasses |
//! | stage 2 table | Config 0b110 | the same, refused while a PASID is installed |
//! | stage 1 table | Config 0b101, one CD | Config 0b101, S1DSS uses CD 0 |
//!
//! A blocked source leaves no event record: the SMMU aborts silently (5.2, STE.Config). A source that nobody claimed does
//! (C_BAD_STREAMID) as long as no neighbour is claimed.
//!
//! Blocking a source blocks its PASIDs too, and they stay blocked until they are installed anew. PASID 0 is refused: with
//! S1DSS 0b10 the SMMU takes it for requests without a PASID.
//!
//! Nothing here waits without a bound ([`Config::bound`]) and no index that hardware gives is used unchecked. A wait that
//! was given up makes later ones end at once until the SMMU has consumed another command.
//!
//! Locks are taken in this order: entries, tags, Command queue; the Event and PRI queues by themselves. [`poll`] holds
//! none while it calls its sink.
//!
//! [`poll`]: ioward_core::driver::Driver::poll

mod adopt;
mod bring_up;
mod cd;
mod cd_table;
mod claimed;
mod command;
mod command_queue;
mod config;
mod driver;
mod entry;
mod event;
mod geometry;
mod idr;
mod install;
mod invalidate;
mod memory;
mod output_queue;
mod registers;
mod ste;
mod stream_table;
mod tag;

pub use crate::left_over::BringUp;
pub use adopt::Adopted;
pub use command::PageResponse;
pub use config::{BringUpError, Config};
pub use driver::SmmuV3;
