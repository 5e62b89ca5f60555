//! The virtual I/O translation table (VIOT; ACPI 6.5, section 5.2.33): which devices are behind a virtio-iommu.
//!
//! The table is an array of nodes: virtio-iommu devices, as PCI functions or by their registers, and the endpoints that
//! each translates, as ranges of PCI functions or by a platform device's registers. An endpoint ID is what the
//! virtio-iommu knows a device by.
//!
//! [`Viot`] and the views of [`node`] show the bytes as they are; [`facts`] says what they mean.

mod describe;
pub mod node;

pub use describe::facts;
pub use node::{Node, Viot};
