//! Reports of the event queue (virtio 1.3 §5.13.6.9).

use crate::Field;

/// Bytes of a report.
pub const BYTES: usize = 24;
/// The reason.
pub const REASON: Field = Field::bits(7, 0);
/// Where these bits are set, the report is to be ignored.
pub const RESERVED: Field = Field::bits(31, 8);
/// Flags.
pub const FLAGS: Field = Field::bits(63, 32);
/// The endpoint.
pub const ENDPOINT: Field = Field::bits(95, 64);
/// The address, with [`F_ADDRESS`].
pub const ADDRESS: Field = Field::bits(191, 128);

/// VIRTIO_IOMMU_FAULT_R_UNKNOWN.
pub const R_UNKNOWN: u8 = 0;
/// VIRTIO_IOMMU_FAULT_R_DOMAIN: attached to no domain.
pub const R_DOMAIN: u8 = 1;
/// VIRTIO_IOMMU_FAULT_R_MAPPING: not mapped, or not for this access.
pub const R_MAPPING: u8 = 2;

/// VIRTIO_IOMMU_FAULT_F_READ.
pub const F_READ: u64 = 1 << 0;
/// VIRTIO_IOMMU_FAULT_F_WRITE.
pub const F_WRITE: u64 = 1 << 1;
/// VIRTIO_IOMMU_FAULT_F_ADDRESS: there is an address.
pub const F_ADDRESS: u64 = 1 << 8;
