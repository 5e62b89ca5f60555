//! Feature bits, as masks (virtio 1.3 §5.13.3 and §6).

/// VIRTIO_IOMMU_F_INPUT_RANGE: the configuration tells which IOVAs can be translated.
pub const INPUT_RANGE: u64 = 1 << 0;
/// VIRTIO_IOMMU_F_DOMAIN_RANGE: the configuration tells which domain numbers there are.
pub const DOMAIN_RANGE: u64 = 1 << 1;
/// VIRTIO_IOMMU_F_MAP_UNMAP: MAP and UNMAP requests.
pub const MAP_UNMAP: u64 = 1 << 2;
/// VIRTIO_IOMMU_F_BYPASS: negotiated, endpoints that are attached to no domain pass through.
pub const BYPASS: u64 = 1 << 3;
/// VIRTIO_IOMMU_F_PROBE: PROBE requests.
pub const PROBE: u64 = 1 << 4;
/// VIRTIO_IOMMU_F_MMIO: the flag VIRTIO_IOMMU_MAP_F_MMIO.
pub const MMIO: u64 = 1 << 5;
/// VIRTIO_IOMMU_F_BYPASS_CONFIG: a field of the configuration decides about endpoints without a domain, and a flag of
/// ATTACH makes a domain that passes through.
pub const BYPASS_CONFIG: u64 = 1 << 6;

/// VIRTIO_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1: not a legacy device.
pub const VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_ACCESS_PLATFORM: the device's own accesses are translated and limited as the platform says.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// VIRTIO_F_RING_PACKED.
pub const RING_PACKED: u64 = 1 << 34;
/// VIRTIO_F_IN_ORDER.
pub const IN_ORDER: u64 = 1 << 35;
/// VIRTIO_F_ORDER_PLATFORM: the device orders memory as hardware does, not as a CPU.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// VIRTIO_F_NOTIFICATION_DATA.
pub const NOTIFICATION_DATA: u64 = 1 << 38;
/// VIRTIO_F_RING_RESET.
pub const RING_RESET: u64 = 1 << 40;
