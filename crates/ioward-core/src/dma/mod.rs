//! DMA, safe because a mapping owns its memory.
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
//! Each of the three ends in the same way. Unmapped: the memory comes back once every IOMMU has confirmed that nothing
//! reaches it. Released or dropped: it is freed once they have. Forgotten: it is leaked, and still mapped. Hung: an IOMMU
//! did not confirm, its devices were silenced, and the memory is withheld for ever.
//!
//! # What window is open
//!
//! | mode | after `unmap` has returned | after `release` or a drop has returned |
//! | --- | --- | --- |
//! | strict, the default | the device reaches nothing of it | the same |
//! | lazy, by [`Policy::flush`](crate::Policy::flush) | the device reaches nothing of it | the device may reach it still, until the queue is flushed: after [`QUEUED`](crate::space::QUEUED) releases on the CPU, or [`AFTER`](crate::space::AFTER) if the subsystem is polled when it asks to be |
//!
//! Until the flush the queue owns the memory, the tables that came off and the IOVAs, so what is reached in the window is
//! what the device had been given, and is nobody else's: a late write changes nothing that anybody reads, and a late read
//! sees what was there. What remains of the window is that a device can go on reading what it was allowed to read. Bytes
//! that lie in bounce frames altogether go back to their owner at once even then; the frames wait. A device that is not
//! trusted is never served by a lazy domain.

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
