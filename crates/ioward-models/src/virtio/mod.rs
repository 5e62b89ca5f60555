//! A software virtio-iommu, as a judge (OASIS VIRTIO version 1.3, section 5.13).
//!
//! [`VirtioIommuModel`] is one device: the registers of virtio over MMIO (or, through [`PciFace`], the structures of virtio
//! over PCI) on the side of the driver, requests of endpoints on the other. What it takes the text to allow, and
//! therefore does:
//!
//! * A request takes effect when it is answered and not before; answers come in any [order](Order), as late as it likes.
//! * A domain exists while an endpoint is attached to it, and its mappings go with the last one (§5.13.6.4).
//! * ATTACH of an attached endpoint detaches it first, and a rejected one may have done that
//!   ([`VirtioIommuConfig::eager_detach`]); or it is not supported ([`VirtioIommuConfig::moves_endpoints`]).
//! * Its bypass field keeps its value over a reset (§5.13.4.2).
//! * Against the text, as devices there are: a reset may forget neither domains nor who is attached
//!   ([`VirtioIommuConfig::keeps_domains`]), a rejection may come back with a length of zero
//!   ([`VirtioIommuConfig::rejects_uncounted`]), and the whole range may be refused
//!   ([`VirtioIommuConfig::counts_in_64_bits`]).
//! * Where no buffer is in the event queue, a report is dropped (§5.13.6.9).
//!
//! A file for each concern: [`config`], `transport` (status, features, queues, configuration), `mmio`, `pci`, `queue` (the
//! device's side of a split virtqueue), `execute` (requests), `translate` (endpoints, faults), `unit`; [`model`] is the
//! face.

pub mod config;
mod execute;
mod mmio;
pub mod model;
mod pci;
mod queue;
mod translate;
mod transport;
mod unit;

#[cfg(test)]
mod tests;

pub use self::config::{Order, Reserved, VirtioIommuConfig};
pub use self::model::{RequestFilter, Trick, Verdict, VirtioIommuModel};
pub use self::pci::{PciFace, PciStructure};
