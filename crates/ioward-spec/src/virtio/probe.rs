//! Properties of an endpoint (virtio 1.3 §5.13.6.7 and §5.13.6.8).
//!
//! A list of headers, each followed by as many bytes as it says, up to a header of type [`T_NONE`] or the end.

use crate::Field;

/// Bytes of a header.
pub const HEAD_BYTES: usize = 4;
/// The type.
pub const TYPE: Field = Field::bits(11, 0);
/// Where these bits are set, the property is to be ignored.
pub const RESERVED: Field = Field::bits(15, 12);
/// Bytes after the header.
pub const LENGTH: Field = Field::bits(31, 16);

/// The list has ended.
pub const T_NONE: u16 = 0;
/// VIRTIO_IOMMU_PROBE_T_RESV_MEM.
pub const T_RESV_MEM: u16 = 1;

/// RESV_MEM, its header included: IOVAs that cannot be mapped.
pub mod resv_mem {
    use crate::Field;
    /// Bytes after the header.
    pub const LENGTH: usize = 20;
    /// What it is; what is unknown is [`RESERVED`].
    pub const SUBTYPE: Field = Field::bits(39, 32);
    /// The first IOVA.
    pub const START: Field = Field::bits(127, 64);
    /// The last IOVA.
    pub const END: Field = Field::bits(191, 128);
    /// VIRTIO_IOMMU_RESV_MEM_T_RESERVED.
    pub const RESERVED: u8 = 0;
    /// VIRTIO_IOMMU_RESV_MEM_T_MSI: the doorbell of message-signalled interrupts.
    pub const MSI: u8 = 1;
}
