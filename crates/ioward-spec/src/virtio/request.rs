//! Requests of the request queue (virtio 1.3 §5.13.6).
//!
//! A request is a part that the device reads and one that it writes, which ends with the [`status`]. Offsets and fields
//! are those of the part that is read, unless they say otherwise.

use crate::Field;

/// Type, of every request: word 0, bits 7:0. Bits 31:8 are reserved.
pub const TYPE: Field = Field::bits(7, 0);
/// The reserved bytes of every head.
pub const HEAD_RESERVED: Field = Field::bits(31, 8);
/// Bytes of the head.
pub const HEAD_BYTES: usize = 4;
/// Bytes of the tail, the last thing that the device writes: a status and three reserved bytes.
pub const TAIL_BYTES: usize = 4;
/// The status in the tail's first 32 bits.
pub const TAIL_STATUS: Field = Field::bits(7, 0);

/// VIRTIO_IOMMU_T_ATTACH.
pub const T_ATTACH: u8 = 1;
/// VIRTIO_IOMMU_T_DETACH.
pub const T_DETACH: u8 = 2;
/// VIRTIO_IOMMU_T_MAP.
pub const T_MAP: u8 = 3;
/// VIRTIO_IOMMU_T_UNMAP.
pub const T_UNMAP: u8 = 4;
/// VIRTIO_IOMMU_T_PROBE.
pub const T_PROBE: u8 = 5;

/// Statuses (§5.13.6).
pub mod status {
    /// VIRTIO_IOMMU_S_OK.
    pub const OK: u8 = 0;
    /// VIRTIO_IOMMU_S_IOERR: virtio communication error.
    pub const IOERR: u8 = 1;
    /// VIRTIO_IOMMU_S_UNSUPP: unsupported request.
    pub const UNSUPP: u8 = 2;
    /// VIRTIO_IOMMU_S_DEVERR: internal device error.
    pub const DEVERR: u8 = 3;
    /// VIRTIO_IOMMU_S_INVAL: invalid parameters.
    pub const INVAL: u8 = 4;
    /// VIRTIO_IOMMU_S_RANGE: parameters out of range.
    pub const RANGE: u8 = 5;
    /// VIRTIO_IOMMU_S_NOENT: entry not found.
    pub const NOENT: u8 = 6;
    /// VIRTIO_IOMMU_S_FAULT: bad address.
    pub const FAULT: u8 = 7;
    /// VIRTIO_IOMMU_S_NOMEM: insufficient resources.
    pub const NOMEM: u8 = 8;
}

/// ATTACH (§5.13.6.3).
pub mod attach {
    use crate::Field;
    /// Bytes that the device reads.
    pub const BYTES: usize = 20;
    /// The domain.
    pub const DOMAIN: Field = Field::bits(63, 32);
    /// The endpoint.
    pub const ENDPOINT: Field = Field::bits(95, 64);
    /// Flags.
    pub const FLAGS: Field = Field::bits(127, 96);
    /// Four bytes that must be zero.
    pub const RESERVED: Field = Field::bits(159, 128);
    /// VIRTIO_IOMMU_ATTACH_F_BYPASS: the domain passes everything through.
    pub const F_BYPASS: u64 = 1 << 0;
}

/// DETACH (§5.13.6.4).
pub mod detach {
    use crate::Field;
    /// Bytes that the device reads.
    pub const BYTES: usize = 20;
    /// The domain.
    pub const DOMAIN: Field = Field::bits(63, 32);
    /// The endpoint.
    pub const ENDPOINT: Field = Field::bits(95, 64);
    /// The first four of eight reserved bytes.
    pub const RESERVED_LOW: Field = Field::bits(127, 96);
    /// The last four of them.
    pub const RESERVED_HIGH: Field = Field::bits(159, 128);
}

/// MAP (§5.13.6.5).
pub mod map {
    use crate::Field;
    /// Bytes that the device reads.
    pub const BYTES: usize = 36;
    /// The domain.
    pub const DOMAIN: Field = Field::bits(63, 32);
    /// The first IOVA.
    pub const VIRT_START: Field = Field::bits(127, 64);
    /// The last IOVA.
    pub const VIRT_END: Field = Field::bits(191, 128);
    /// The first physical address.
    pub const PHYS_START: Field = Field::bits(255, 192);
    /// Flags.
    pub const FLAGS: Field = Field::bits(287, 256);
    /// VIRTIO_IOMMU_MAP_F_READ.
    pub const F_READ: u64 = 1 << 0;
    /// VIRTIO_IOMMU_MAP_F_WRITE.
    pub const F_WRITE: u64 = 1 << 1;
    /// VIRTIO_IOMMU_MAP_F_MMIO: device registers, with [`super::super::features::MMIO`] only.
    pub const F_MMIO: u64 = 1 << 2;
}

/// UNMAP (§5.13.6.6).
pub mod unmap {
    use crate::Field;
    /// Bytes that the device reads.
    pub const BYTES: usize = 28;
    /// The domain.
    pub const DOMAIN: Field = Field::bits(63, 32);
    /// The first IOVA.
    pub const VIRT_START: Field = Field::bits(127, 64);
    /// The last IOVA.
    pub const VIRT_END: Field = Field::bits(191, 128);
    /// Four reserved bytes.
    pub const RESERVED: Field = Field::bits(223, 192);
}

/// PROBE (§5.13.6.7). The device writes `probe_size` bytes of properties, and then the tail.
pub mod probe {
    use crate::Field;
    /// Bytes that the device reads, 64 of them reserved.
    pub const BYTES: usize = 72;
    /// The endpoint.
    pub const ENDPOINT: Field = Field::bits(63, 32);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sizes and offsets out of `include/uapi/linux/virtio_iommu.h`, version 0.12, by hand: bytes of each structure less
    // its four of tail, and where members lie.
    #[test]
    fn members_lie_where_the_header_has_them() {
        assert_eq!(
            [attach::BYTES, detach::BYTES, map::BYTES, unmap::BYTES, probe::BYTES],
            [20, 20, 36, 28, 72]
        );
        let byte = |field: Field| field.word * 8 + usize::from(field.low) / 8;
        assert_eq!(
            [attach::DOMAIN, attach::ENDPOINT, attach::FLAGS, attach::RESERVED].map(byte),
            [4, 8, 12, 16]
        );
        assert_eq!([detach::DOMAIN, detach::ENDPOINT, detach::RESERVED_LOW].map(byte), [4, 8, 12]);
        let map = [map::DOMAIN, map::VIRT_START, map::VIRT_END, map::PHYS_START, map::FLAGS];
        assert_eq!(map.map(byte), [4, 8, 16, 24, 32]);
        let unmap = [unmap::DOMAIN, unmap::VIRT_START, unmap::VIRT_END, unmap::RESERVED];
        assert_eq!(unmap.map(byte), [4, 8, 16, 24]);
        assert_eq!(byte(probe::ENDPOINT), 4);
        assert!([map::BYTES, unmap::BYTES].iter().all(|bytes| (bytes + TAIL_BYTES).is_multiple_of(8)));
    }
}
