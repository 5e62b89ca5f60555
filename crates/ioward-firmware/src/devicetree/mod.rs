//! Device trees (Devicetree Specification v0.4, chapter 5 for the flattened form, and the bindings of IOMMUs, PCI hosts and
//! reserved memory).
//!
//! [`Tree`], [`Node`] and [`Property`] are the raw view: they walk the flattened form in place. [`Path`] is a node with its
//! ancestors, which is what translating an address or inheriting an interrupt parent needs. [`facts`] says what the
//! IOMMU bindings mean:
//!
//! * an IOMMU is a node with `#iommu-cells` or one whose `compatible` is known ([`compatible`]);
//! * `iommus` and `iommu-map` (with `iommu-map-mask`) name the devices and sources that it serves;
//! * `iommu-addresses` of a reserved-memory region names what must stay mapped or free;
//! * `msi-map` and `msi-parent` name the controller of a device's interrupts, and known controllers tell their doorbell.

mod cells;
pub mod compatible;
mod describe;
mod pci;
mod reserved;
mod tree;
mod walk;

pub use cells::{Cells, Ranges};
pub use describe::facts;
pub use tree::{Node, Property, Tree};
pub use walk::{MAX_DEPTH, Path};
