//! Reading machines: the one that this runs on, or what somebody kept of another.
//!
//! ```text
//!   /sys ------------+
//!   a copy of sysfs -+--> records --+
//!   a snapshot ------+              +--> Parts --> Machine: topology, tables, the kernel's word
//!   a dump directory ---+           |
//!   text of lspci ------+--> functions
//! ```
//!
//! [`Machine::live`] reads the machine that this runs on, [`Machine::open`] whatever a path holds, and [`Machine::read`]
//! is both behind one optional path, as commands take it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`machine`] | the machine, and how parts become one |
//! | [`record`] | what a system says of one function, before anybody interprets it |
//! | [`kernel`] | what the kernel says of groups, IOMMUs and interrupts |
//! | [`sysfs`] | reading a sysfs, live or a copy |
//! | [`dump`] | reading a directory of tables and `lspci` text, or one such file |
//! | [`snapshot`] | the program's own format |
//! | [`names`] | what devices are called |
//! | [`passthrough`] | what could be given to a guest |
//! | [`agreement`] | whether the kernel has the groups that are computed |
//! | [`chain`] | the way from one member of a group to another, and where policies differ |
//! | [`mod@check`] | whether a machine is safe for passthrough |
//! | [`error`] | what could not be read, and what was read in part |
//!
//! Principles:
//! 1. A path is somebody else's: reads are bounded in size and number, nothing but regular files is opened, and nothing that
//!    a directory can hold ends in a panic or a hang.
//! 2. What cannot be read is listed with its path and cause, and the rest is there all the same. [`Machine::open`] fails only
//!    where nothing at all was found.
//! 3. What nobody could read stays unseen and is never taken for absent.
#![forbid(unsafe_code)]

pub mod agreement;
pub mod chain;
pub mod check;
pub mod dump;
pub mod error;
mod files;
mod harmless;
pub mod kernel;
pub mod machine;
pub mod names;
pub mod passthrough;
pub mod record;
pub mod snapshot;
pub mod sysfs;

pub use agreement::{Agreement, Disagreement};
pub use chain::{Split, Ways, splits};
pub use check::check;
pub use error::{Degraded, Nothing, ReadError};
pub use files::bytes as file_bytes;
pub use kernel::{Kernel, KernelGroup, Reserved, ReservedKind};
pub use machine::{FirmwareTable, Machine, Origin, Parts};
pub use names::Names;
pub use passthrough::Passthrough;
pub use record::{Record, Removable};
