//! DMA, safe because a mapping owns its memory.
//!
//! This is the strict form: no access is possible after `unmap` of a mapping has returned.
//!
//! | for | call | what the CPU has meanwhile |
//! | --- | --- | --- |
//! | whole pages, handed over | [`Dma::map`] | nothing |
//! | bytes of any alignment and length | [`Dma::map_bytes`] | copies, between one `sync_…` and the next |
//! | rings and queues, for as long as the device works | [`Dma::coherent`] | loads, stores, and barriers with names |
//!
//! **A device is given bytes, never their neighbours.** An IOMMU gives away whole pages. So what does not fill its page is
//! bounced: the device is given another page, with a copy of the bytes and zeros around them.
//!
//! Each of the three ends in the same way. Unmapped or dropped: the memory comes back, or is freed, once every IOMMU has
//! confirmed that nothing reaches it. Forgotten: it is leaked, and still mapped. Hung: an IOMMU did not confirm, its
//! devices were silenced, and the memory is withheld for ever.

mod api;
mod bounce;
mod bytes;
mod coherent;
mod error;
mod frames;
mod mapping;

pub use api::{Dma, DmaRef};
pub use bytes::{ByteBuffer, MappedBytes, RawBytes};
pub use coherent::Coherent;
pub use error::AccessError;
pub use frames::{DmaBuffer, FrameBuffer};
pub use mapping::Mapping;
