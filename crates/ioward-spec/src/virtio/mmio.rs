//! Registers of virtio over MMIO, version 2 (virtio 1.3 §4.2.2). Offsets in bytes, registers of 32 bits.

/// MagicValue: [`MAGIC`].
pub const MAGIC_VALUE: usize = 0x000;
/// "virt".
pub const MAGIC: u32 = 0x7472_6976;
/// Version: [`VERSION_2`]; 1 is a legacy device.
pub const VERSION: usize = 0x004;
/// The version of a device that is not legacy.
pub const VERSION_2: u32 = 2;
/// DeviceID; zero where there is no device.
pub const DEVICE_ID: usize = 0x008;
/// VendorID.
pub const VENDOR_ID: usize = 0x00c;
/// DeviceFeatures: 32 of them.
pub const DEVICE_FEATURES: usize = 0x010;
/// DeviceFeaturesSel: which 32.
pub const DEVICE_FEATURES_SEL: usize = 0x014;
/// DriverFeatures: 32 of them.
pub const DRIVER_FEATURES: usize = 0x020;
/// DriverFeaturesSel: which 32.
pub const DRIVER_FEATURES_SEL: usize = 0x024;
/// QueueSel: which queue the queue registers are of.
pub const QUEUE_SEL: usize = 0x030;
/// QueueSizeMax (QueueNumMax before 1.3): entries at most; zero where there is no such queue.
pub const QUEUE_SIZE_MAX: usize = 0x034;
/// QueueSize (QueueNum before 1.3): entries.
pub const QUEUE_SIZE: usize = 0x038;
/// QueueReady: 1 turns the queue on.
pub const QUEUE_READY: usize = 0x044;
/// QueueNotify: the number of a queue that has new buffers.
pub const QUEUE_NOTIFY: usize = 0x050;
/// InterruptStatus: bit 0, a queue has used buffers; bit 1, the configuration has changed.
pub const INTERRUPT_STATUS: usize = 0x060;
/// InterruptACK: bits of the status that were handled.
pub const INTERRUPT_ACK: usize = 0x064;
/// Status: the device status.
pub const STATUS: usize = 0x070;
/// QueueDescLow: the descriptor table, physical.
pub const QUEUE_DESC_LOW: usize = 0x080;
/// QueueDescHigh.
pub const QUEUE_DESC_HIGH: usize = 0x084;
/// QueueDriverLow: the available ring, physical.
pub const QUEUE_DRIVER_LOW: usize = 0x090;
/// QueueDriverHigh.
pub const QUEUE_DRIVER_HIGH: usize = 0x094;
/// QueueDeviceLow: the used ring, physical.
pub const QUEUE_DEVICE_LOW: usize = 0x0a0;
/// QueueDeviceHigh.
pub const QUEUE_DEVICE_HIGH: usize = 0x0a4;
/// ConfigGeneration: changes with the configuration.
pub const CONFIG_GENERATION: usize = 0x0fc;
/// Where the device configuration starts.
pub const CONFIG: usize = 0x100;
