//! NVMe: a driver of some hundred lines over the safe DMA API, and what it is made to do.
//!
//! Its queues are [`ioward::core::Coherent`] memory, its data is in buffers that are mapped for one request and unmapped
//! when that is done: strict, and without `unsafe`. It polls; there is no interrupt.
//!
//! | file | what it is |
//! | --- | --- |
//! | `spec.rs` | registers, commands, structures (NVM Express Base 2.0c, NVM Command Set 1.0c) |
//! | `queue.rs` | a submission queue with its completion queue |
//! | `controller.rs` | a controller from reset to I/O queues; namespaces |
//! | `load.rs` | data written and read back through one queue, as many requests at once as it takes |
//! | `checks.rs` | the checks: load, and DMA that must not happen |
//! | `measure.rs` | load whose instructions are counted |

mod checks;
mod controller;
mod load;
mod measure;
mod queue;
mod spec;

pub use checks::run;
pub use controller::{Controller, Namespace, Settings};
pub use load::{Load, Region};
pub use measure::run as measure;
pub use queue::{Command, Completion, Queue};
pub use spec::CLASS;

use alloc::string::String;
use core::fmt;
use ioward::{
    core::{AccessError, MapError, driver::Hung},
    types::OutOfMemory,
};

/// Why a controller did not do what it was asked for.
#[derive(Debug)]
pub enum NvmeError {
    /// It has no registers, or such as no controller has.
    Registers(&'static str, u64),
    /// It did not answer in the time that it claims to need.
    Hung(&'static str),
    /// It stopped with its fatal status set (CSTS.CFS).
    Fatal,
    /// A command ended with a status other than success: code type and code.
    Status(u8, u8),
    /// It completed a command that it was not given.
    NotAsked(u16),
    /// A mapping could not be made or ended.
    Mapping(String),
    /// All slots of a queue are taken.
    Full,
    /// What was read is not what was written, from this byte of the namespace on.
    Differs(u64),
}

impl From<MapError> for NvmeError {
    fn from(error: MapError) -> Self {
        Self::Mapping(alloc::format!("{error}"))
    }
}
impl From<Hung> for NvmeError {
    fn from(error: Hung) -> Self {
        Self::Mapping(alloc::format!("{error}"))
    }
}
impl From<AccessError> for NvmeError {
    fn from(error: AccessError) -> Self {
        Self::Mapping(alloc::format!("{error}"))
    }
}
impl From<OutOfMemory> for NvmeError {
    fn from(error: OutOfMemory) -> Self {
        Self::Mapping(alloc::format!("{error}"))
    }
}

impl fmt::Display for NvmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers(what, value) => write!(f, "{what} is {value:#x}, which no controller says"),
            Self::Hung(what) => write!(f, "no answer in time: {what}"),
            Self::Fatal => f.write_str("the controller has stopped with its fatal status set"),
            Self::Status(kind, code) => write!(f, "a command ended with status {kind:#x}/{code:#04x}"),
            Self::NotAsked(id) => write!(f, "command {id} has ended, which was not under way"),
            Self::Mapping(why) => f.write_str(why),
            Self::Differs(at) => write!(f, "what was read differs from what was written at byte {at}"),
            Self::Full => f.write_str("all slots of a queue are taken"),
        }
    }
}
