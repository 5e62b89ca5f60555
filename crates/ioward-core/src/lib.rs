//! The IOMMU subsystem: devices, groups, domains, address spaces, DMA.
#![no_std]
extern crate alloc;

mod attach;
pub mod device;
pub mod dma;
pub mod driver;
pub mod fault;
pub mod interrupts;
mod leave;
pub mod mediated;
pub mod mutate;
mod near;
pub mod order;
pub mod owner;
pub mod pages;
pub mod policy;
mod probe;
mod publish;
pub mod registry;
pub mod space;
mod special;
mod state;
mod turn;

pub use device::{
    AddError, DeviceDesc, DeviceId, DeviceInfo, GroupId, PasidDenied, PasidOffer, Region, RegionKind, Source,
    Status,
};
pub use dma::{
    AccessError, ByteBuffer, Coherent, Dma, DmaBuffer, DmaRef, FrameBuffer, MappedBytes, MappedList, Mapping,
    PeerMapping, PeerMemory, RawBytes, Reserved, SegmentLimits, Segments,
};
pub use fault::Report;
pub use mediated::{Mediated, OwnedMediated};
pub use owner::{OwnedGroup, PasidError, TakeError, Unbound};
pub use pages::TablePages;
pub use policy::{DefaultKind, FlushMode, GroupView, Policy, UnservedKind};
pub use registry::{
    BindError, Bound, Device, DomainInfo, GroupInfo, InterruptIsolation, RegisterError, ResetError, Subsystem,
};
pub use space::{AddressSpace, Failures, Gather, MapError, SpaceStats, UnmapError};
