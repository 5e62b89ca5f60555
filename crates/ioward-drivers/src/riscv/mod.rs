//! RISC-V IOMMU (RISC-V IOMMU Architecture Specification, version 1.0.1).
//!
//! [`RiscVIommu`] drives one IOMMU. Its life:
//!
//! 1. [`RiscVIommu::bring_up`] reads and checks `capabilities`, makes queues and a device directory in which every source is
//!    blocked, and enables translation. From its first write on, a request is translated or refused and never passes as it
//!    comes.
//! 2. A claim gives a source a device context; the context, and the process directory of a source that may have PASIDs, exist
//!    from then on.
//! 3. An install writes the device context or a process context. The module `entry` tells how that is done while hardware
//!    reads.
//!
//! What the device context of a source holds:
//!
//! | | no PASIDs (claimed with 0 bits) | PASIDs |
//! |---|---|---|
//! | blocked | V = 0 | V = 0; once a PASID is installed: a process directory, DPE, process_id 0 not valid |
//! | identity | both stages Bare | a process directory without DPE |
//! | second stage | iohgatp, first stage Bare | the same, refused while a PASID is installed |
//! | first stage | iosatp | a process directory with DPE, process_id 0 |
//! | both ([`RiscVIommu::install_nested`]) | iosatp and iohgatp | the same, refused while a PASID is installed |
//!
//! V = 0 refuses everything: untranslated, translated and translation requests, and page requests (2.3, 2.6). A blocked
//! source leaves a fault record for each request ("DDT entry not valid"), which tc.DTF could not silence either; whoever
//! reads them limits their rate. Before a source with ATS is blocked, its device is told to forget through a context that
//! leads to an empty table and still has EN_ATS: without EN_ATS the IOMMU would refuse the device's answer (2.1.3.1).
//!
//! Blocking a source blocks its PASIDs too, and they stay blocked until they are installed anew. PASID 0 is refused: it is
//! what requests without a PASID have where DPE is set. Requests for supervisor privilege are refused (PC.ta.ENS is 0).
//!
//! Beside a second stage a source can have an MSI page table ([`MsiTable`]), where the IOMMU has them.
//!
//! Nothing here waits without a bound ([`Config::bound`]) and no index that hardware gives is used unchecked. A wait that
//! was given up makes later ones end at once until the IOMMU has consumed another command.
//!
//! Locks are taken in this order: contexts, tags, command queue, pairs of stages; the fault and page-request queues by themselves. [`poll`]
//! holds none while it calls its sink.
//!
//! [`poll`]: ioward_core::driver::Driver::poll

mod adopt;
mod bring_up;
mod capabilities;
mod claimed;
mod command;
mod command_queue;
mod config;
mod device_context;
mod device_directory;
mod driver;
mod entry;
mod fault;
mod fault_queue;
mod install;
mod interrupts;
mod invalidate;
mod memory;
mod msi;
mod msi_install;
mod nested;
mod output_queue;
mod page_request_queue;
mod plan;
mod process_directory;
mod registers;
mod tag;

pub use crate::left_over::BringUp;
pub use adopt::Adopted;
pub use command::PageResponse;
pub use config::{BringUpError, Config, Interrupts, Message};
pub use driver::RiscVIommu;
pub use msi::{MsiTable, MsiTarget, MsiWindow};
