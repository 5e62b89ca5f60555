//! What stands between a driver and its hardware, each of the trait that it wraps.
//!
//! | trait | middlewares |
//! | --- | --- |
//! | [`Mmio`](ioward_types::Mmio) | [`Registers`], which every driver is given, and over what it leads to [`AllOnes`], [`Lossy`], [`Stuck`], [`Lagging`], [`Trace`] |
//! | [`Platform`](ioward_types::Platform) | [`Watched`], which every driver is given: stores and waits seen one by one, memory that runs out, frames that are counted |
//! | [`AtcSink`](ioward_models::AtcSink) | [`SlowAtc`], [`DeafAtc`], [`ToldAtc`] |

mod atc;
mod mmio;
mod platform;
mod steps;

pub use atc::{DeafAtc, SlowAtc, ToldAtc};
pub use mmio::{AllOnes, Lagging, Lossy, Registers, Seen, Stuck, Trace, Under};
pub use platform::Watched;
pub use steps::{Hook, Steps};
