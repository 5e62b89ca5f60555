//! `cargo xtask qemu [FILTER]`: the kernels on QEMU's machines, whose IOMMUs and devices others wrote.
//!
//! A kernel prints `check NAME ok` or `check NAME FAILED why` for each thing that it tried and `done N passed M failed`
//! last. A machine is run twice where that tells something: as it is, where all must pass, and as its own negative control,
//! with translation bypassed, where each check named `rogue-…` must fail: a check that passes without an IOMMU checks
//! nothing.
//!
//! | file | what it is |
//! | --- | --- |
//! | `machine.rs` | the description of a machine, and QEMU's command line of it |
//! | `machines/` | every machine, by what the kernels do there |
//! | `outcome.rs` | what the lines of a run say, and whether that is as it should be |
//! | `image.rs`, `monitor.rs` | what a kernel says of a drive, held against its file; what it asks of QEMU's monitor |
//! | `process.rs` | one run: QEMU as a process with a bounded time |
//! | `suite.rs` | all that were asked for, and the table at the end |

mod image;
mod machine;
mod machines;
mod monitor;
mod outcome;
mod process;
mod suite;

#[cfg(test)]
pub use machines::names;
pub use {
    image::Image,
    machine::{Drive, Machine},
    suite::run,
};
