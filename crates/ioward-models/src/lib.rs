//! Software models of IOMMUs, and of devices that do DMA, as judges of drivers.
//!
//! 1. A model caches as much as its specification lets it and forgets only what it is told to forget, so a missing or
//!    misordered invalidation becomes a wrong translation that a test sees.
//! 2. What the specification leaves undefined, a model reports as a [`Violation`] that cites the text. What the text
//!    allows is no violation.
//! 3. A model shares no encoder with a driver: both read field positions from `ioward-spec` and nothing else.
//! 4. Memory shows a store to hardware only once the barrier is there that makes it so ([`memory`]), so that what Arm
//!    and RISC-V need is tested on any host.
//!
//! [`platform::SimPlatform`] is the `Platform` that drivers and the subsystem run on over simulated [`memory`].
//! [`dma::DmaEngine`] is the device. IOMMUs: [`amdvi`], [`riscv`], [`smmuv3`],
//! [`virtio`] and [`vtd`].

pub mod amdvi;
pub mod dma;
pub mod memory;
pub mod model;
pub mod platform;
pub mod riscv;
pub mod smmuv3;
pub mod violation;
pub mod virtio;
pub mod vtd;

pub use dma::{DmaEngine, DmaError};
pub use memory::{BusError, Memory, Visibility};
pub use model::{Access, AtcSink, AtcSpan, IommuModel, MessageOutcome, Outcome, Request};
pub use platform::{Maintained, SimPlatform};
pub use violation::{Violation, Violations};
