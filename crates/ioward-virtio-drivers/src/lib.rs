//! ioward and the crate [`virtio_drivers`], in both directions.
//!
//! A crate of its own, so that the version of that crate stays out of ioward's.
//!
//! **Its drivers behind an IOMMU**, unmodified: [`HalOf`] is a `Hal` over the DMA API of one device, so that the device
//! reaches the bytes of its requests and nothing else, and [`PlatformAccess`] a transport that tells the device to go through
//! the IOMMU, which those drivers do not.
//!
//! ```no_run
//! # use ioward_types::Platform;
//! # use ioward_core::Bound;
//! # use ioward_virtio_drivers::{HalOf, PlatformAccess, Shelf, VirtioDevice};
//! # use core::ptr::NonNull;
//! # use virtio_drivers::{device::blk::VirtIOBlk, transport::pci::PciTransport};
//! # fn bring_up<P: Platform, Disk: VirtioDevice<Platform = P>>(bound: &Bound<P>, pci: PciTransport) -> virtio_drivers::Result {
//! Disk::shelf().fill(bound.dma().clone()).expect("no other device uses it");
//! let transport = PlatformAccess::new(pci).expect("a device that can be put behind an IOMMU");
//! let mut disk = VirtIOBlk::<HalOf<Disk>, _>::new(transport)?;
//! # disk.flush()
//! # }
//! ```
//!
//! **ioward's virtio-iommu driver over its transports**: a kernel that finds its virtio devices with `virtio_drivers` wraps
//! the transport of the virtio-iommu in an [`Adapted`] and brings the driver up over that. The queues are ioward's own.
//!
//! ```no_run
//! # use ioward_types::{IommuId, Platform};
//! # use ioward_drivers::virtio::{BringUpError, Config, VirtioIommu};
//! # use ioward_virtio_drivers::Adapted;
//! # use virtio_drivers::transport::mmio::MmioTransport;
//! # fn bring_up<P: Platform>(mmio: MmioTransport<'static>, platform: &P) -> Result<(), BringUpError> {
//! let transport = Adapted::<_, P::Lock>::new(mmio).expect("a device that is not legacy");
//! let iommu = VirtioIommu::bring_up(IommuId(0), transport, Config::default(), platform)?;
//! # Ok(())
//! # }
//! ```
#![no_std]
extern crate alloc;

mod access;
mod adapted;
mod hal;

pub use access::{NoPlatformAccess, PlatformAccess};
pub use adapted::{Adapted, Legacy};
pub use hal::{HalOf, NotEmpty, Occupied, Shelf, VirtioDevice};
