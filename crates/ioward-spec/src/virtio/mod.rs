//! virtio-iommu: OASIS Virtual I/O Device (VIRTIO) version 1.3, section 5.13, and what it needs of the rest.
//!
//! A file for each family of structures:
//!
//! * [`features`]: feature bits, of the device and of virtio (§5.13.3, §6);
//! * [`config`]: the device configuration (§5.13.4);
//! * [`request`]: requests of the request queue and their statuses (§5.13.6);
//! * [`probe`]: properties that a PROBE request brings (§5.13.6.7);
//! * [`fault`]: reports of the event queue (§5.13.6.9);
//! * [`status`]: the device status (§2.1);
//! * [`queue`]: the split virtqueue (§2.7);
//! * [`mmio`]: registers of virtio over MMIO (§4.2.2);
//! * [`pci`]: capabilities and common configuration of virtio over PCI (§4.1.4).
//!
//! Structures are little-endian; bits are numbered through 64-bit words as everywhere here. Positions are held against
//! numbers out of headers that others wrote from the same text: `virtio_iommu.h`, `virtio_mmio.h`, `virtio_pci.h`,
//! `virtio_ring.h` (Linux).

pub mod config;
pub mod fault;
pub mod features;
pub mod mmio;
pub mod pci;
pub mod probe;
pub mod queue;
pub mod request;
pub mod status;

/// The device ID of a virtio-iommu (§5.13.1).
pub const DEVICE_ID: u32 = 23;
/// The queue of requests (§5.13.2).
pub const REQUEST_QUEUE: u16 = 0;
/// The queue of events (§5.13.2).
pub const EVENT_QUEUE: u16 = 1;
