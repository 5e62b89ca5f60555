//! IOMMU drivers: registers, queues and context structures.
//!
//! A module a driver, a feature each. Every one implements [`ioward_core::driver::Driver`]: it turns the requirements of a
//! group into a plan, installs roots, flushes and reports, and knows no group, no device and no page table.
#![no_std]
extern crate alloc;

#[cfg(feature = "amdvi")]
pub mod amdvi;
mod left_over;
#[cfg(feature = "riscv")]
pub mod riscv;
#[cfg(any(feature = "smmuv3", feature = "riscv"))]
mod slots;
#[cfg(feature = "smmuv3")]
pub mod smmuv3;
#[cfg(feature = "virtio")]
pub mod virtio;
#[cfg(feature = "vtd")]
pub mod vtd;
#[cfg(any(feature = "smmuv3", feature = "riscv"))]
mod wait;

pub use left_over::BringUp;
