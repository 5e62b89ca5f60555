//! virtio-iommu (VIRTIO 1.3, 5.13).
//!
//! [`VirtioIommu::bring_up`] takes a [`Transport`] and gives a [`Driver`](ioward_core::driver::Driver) whose mappings are
//! [requests](ioward_core::driver::MapRequests). [`VirtioMmio`] and [`VirtioPci`] are transports; the crate
//! `ioward-virtio-drivers` makes one of whatever the crate `virtio-drivers` offers.
//!
//! Principles:
//! 1. Endpoints without a domain pass nothing: VIRTIO_IOMMU_F_BYPASS is never accepted, and where the configuration has a
//!    bypass field, it is zero before anything is attached. Blocked is: attached to nothing.
//! 2. Domains are tags. A domain exists in the device while an endpoint is attached to it, and its mappings go with the
//!    last one; what is to be mapped is kept here and mapped again when the first endpoint comes.
//! 3. A domain number is used again only once no endpoint can be on it and no request with it is unanswered; of a device
//!    that somebody had before, only if the device has no such domain.
//! 4. Every wait has a bound. A request that was not answered in time stays the device's: its buffer is not used again,
//!    and nothing else is asked until it comes back.
//! 5. What the device writes is checked before it is used.
//!
//! An endpoint that changes its domain is blocked in between, at most: the device may detach it first (5.13.6.3), and a
//! domain to which it is the first to come is empty until its mappings have been made.
//!
//! | file | what |
//! | --- | --- |
//! | `transport`, `mmio`, `pci` | how the device is reached |
//! | `bring_up`, `config`, `features` | from a transport to a driver |
//! | `left_over` | what a device that was in use may have kept over its reset |
//! | `virtqueue` | the memory of a split virtqueue |
//! | `request`, `request_queue` | requests and how they are answered |
//! | `probe` | properties of endpoints |
//! | `fault`, `event_queue` | reports and their queue |
//! | `domain`, `attach`, `mapping`, `driver` | domains, who is on them, what is mapped, and the driver |

mod attach;
mod bring_up;
mod config;
mod domain;
mod driver;
mod event_queue;
mod fault;
mod features;
mod left_over;
mod mapping;
mod mmio;
mod pci;
mod probe;
mod request;
mod request_queue;
mod transport;
mod unit;
mod virtqueue;

pub use config::{BringUpError, Config};
pub use driver::VirtioIommu;
pub use mmio::{MmioError, VirtioMmio};
pub use pci::{Place, Places, PlacesError, Regions, VirtioPci};
pub use probe::ReservedRegion;
pub use transport::{QueueSetup, Transport};
