//! virtio over PCI (virtio 1.3 §4.1).

/// The vendor ID of virtio functions.
pub const VENDOR_ID: u16 = 0x1af4;
/// The PCI device ID of a virtio device is this plus its device ID (§4.1.2).
pub const DEVICE_ID_BASE: u16 = 0x1040;

/// The vendor-specific capabilities that tell where structures are (§4.1.4). Offsets in bytes in the capability.
pub mod capability {
    /// The capability ID, vendor specific.
    pub const ID: u8 = 0x09;
    /// cap_len.
    pub const LENGTH: u16 = 2;
    /// cfg_type: which structure.
    pub const CFG_TYPE: u16 = 3;
    /// bar: 0 to 5; others are reserved.
    pub const BAR: u16 = 4;
    /// Offset in the BAR, le32.
    pub const OFFSET: u16 = 8;
    /// Bytes, le32.
    pub const BYTES: u16 = 12;
    /// notify_off_multiplier, le32, of [`NOTIFY`] alone.
    pub const NOTIFY_MULTIPLIER: u16 = 16;
    /// VIRTIO_PCI_CAP_COMMON_CFG.
    pub const COMMON: u8 = 1;
    /// VIRTIO_PCI_CAP_NOTIFY_CFG.
    pub const NOTIFY: u8 = 2;
    /// VIRTIO_PCI_CAP_ISR_CFG.
    pub const ISR: u8 = 3;
    /// VIRTIO_PCI_CAP_DEVICE_CFG.
    pub const DEVICE: u8 = 4;
}

/// The common configuration (§4.1.4.3). Offsets in bytes; every field is accessed with its own width, le64 as two halves.
pub mod common {
    /// device_feature_select, le32.
    pub const DEVICE_FEATURE_SELECT: usize = 0x00;
    /// device_feature, le32.
    pub const DEVICE_FEATURE: usize = 0x04;
    /// driver_feature_select, le32.
    pub const DRIVER_FEATURE_SELECT: usize = 0x08;
    /// driver_feature, le32.
    pub const DRIVER_FEATURE: usize = 0x0c;
    /// config_msix_vector, le16.
    pub const CONFIG_MSIX_VECTOR: usize = 0x10;
    /// num_queues, le16.
    pub const NUM_QUEUES: usize = 0x12;
    /// device_status, u8.
    pub const DEVICE_STATUS: usize = 0x14;
    /// config_generation, u8.
    pub const CONFIG_GENERATION: usize = 0x15;
    /// queue_select, le16.
    pub const QUEUE_SELECT: usize = 0x16;
    /// queue_size, le16: the most when read after reset, and what is used.
    pub const QUEUE_SIZE: usize = 0x18;
    /// queue_msix_vector, le16.
    pub const QUEUE_MSIX_VECTOR: usize = 0x1a;
    /// queue_enable, le16.
    pub const QUEUE_ENABLE: usize = 0x1c;
    /// queue_notify_off, le16: times the multiplier, in the notification structure.
    pub const QUEUE_NOTIFY_OFF: usize = 0x1e;
    /// queue_desc, le64.
    pub const QUEUE_DESC: usize = 0x20;
    /// queue_driver, le64.
    pub const QUEUE_DRIVER: usize = 0x28;
    /// queue_device, le64.
    pub const QUEUE_DEVICE: usize = 0x30;
    /// Bytes up to here are in every device.
    pub const BYTES: usize = 0x38;
    /// VIRTIO_MSI_NO_VECTOR.
    pub const NO_VECTOR: u16 = 0xffff;
}
