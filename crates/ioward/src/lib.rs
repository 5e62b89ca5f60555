//! The IOMMU subsystem for Rust: the front door.
//!
//! ioward finds the IOMMUs that firmware describes, puts every device that does DMA into an isolation group, gives every
//! group a domain through its own devices' IOMMUs, hands out DMA mappings fast, and reports every fault.
//!
//! **The one claim behind every signature: no safe call lets a device reach memory that Rust code can reference or
//! reuse.** What cannot keep it is `unsafe` or asks for an explicit policy.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`discover`] | from firmware tables and the bus to IOMMUs and devices |
//! | [`core`] | the subsystem: devices, groups, domains, DMA; [`Subsystem`] is where to begin |
//! | [`drivers`] | one module an IOMMU: features `smmuv3`, `amdvi`, `vtd`, `riscv`, `virtio` |
//! | [`firmware`] | DMAR, IVRS, IORT, RIMT, VIOT and device tree, raw and as facts |
//! | [`pci`] | configuration space, topology, groups |
//! | [`pgtable`], [`iova`], [`spec`], [`types`] | what those are made of |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod discover;

pub use discover::Machine;
#[doc(no_inline)]
pub use ioward_core as core;
#[doc(no_inline)]
pub use ioward_core::{
    AddressSpace, Device, Dma, DmaBuffer, Gather, Mapping, OwnedGroup, Policy, Subsystem, Unbound,
};
#[doc(no_inline)]
pub use ioward_drivers as drivers;
#[doc(no_inline)]
pub use ioward_firmware as firmware;
#[doc(no_inline)]
pub use ioward_iova as iova;
#[doc(no_inline)]
pub use ioward_pci as pci;
#[doc(no_inline)]
pub use ioward_pgtable as pgtable;
#[doc(no_inline)]
pub use ioward_spec as spec;
#[doc(no_inline)]
pub use ioward_types as types;

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
