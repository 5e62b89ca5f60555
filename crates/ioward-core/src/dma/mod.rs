//! DMA, safe because a mapping owns its memory.
//!
//! | for | call | what the CPU has meanwhile |
//! | --- | --- | --- |
//! | whole pages, handed over | [`Dma::map`] | nothing |
//! | bytes of any alignment and length | [`Dma::map_bytes`] | copies, between one `sync_…` and the next |
//! | many such buffers at once, as one list of segments | [`Dma::map_list`] | copies, as above |
//! | whole pages, in slots of a range that is kept | [`Dma::reserve`] | nothing |
//! | registers or memory of another device | [`Dma::map_peer`] | |
//! | rings and queues, for as long as the device works | [`Dma::coherent`] | loads, stores, and barriers with names |
//!
//! **A device is given bytes, never their neighbours.** An IOMMU gives away whole pages. So what does not fill its page is
//! bounced: the device is given another page, with a copy of the bytes and zeros around them.
//!
//! Each of the three ends in the same way. Unmapped: the memory comes back once every IOMMU has confirmed that nothing
//! reaches it. Released or dropped: it is freed once they have. Forgotten: it is leaked, and still mapped. Hung: an IOMMU
//! did not confirm, its devices were silenced, and the memory is withheld for ever.
//!
//! # What strict costs, and how it becomes cheap
//!
//! A flush is a wait for hardware. [`Dma::map_list`] and [`Dma::reserve`] share it: the buffers of a list, or of a ring of
//! descriptors, have IOVAs that follow each other, so one unmap and one invalidation by range end many of them; and walk
//! caches are invalidated only where a table really went away, which a part of a range never causes. The idea is that of
//! the paper "Fast & Safe IO Memory Protection" (SOSP 2024). Nothing is given back before its flush, so this is strict.
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
mod list;
mod mapping;
mod peer;
mod reserved;
mod segments;

pub use api::{Dma, DmaRef};
pub use bytes::{ByteBuffer, MappedBytes, RawBytes};
pub use coherent::Coherent;
pub use error::AccessError;
pub use frames::{DmaBuffer, FrameBuffer};
pub use list::MappedList;
pub use mapping::Mapping;
pub use peer::{PeerMapping, PeerMemory};
pub use reserved::Reserved;
pub use segments::{SegmentLimits, Segments};
