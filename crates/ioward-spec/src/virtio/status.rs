//! Bits of the device status (virtio 1.3 §2.1). Writing zero resets the device.

/// ACKNOWLEDGE.
pub const ACKNOWLEDGE: u8 = 1;
/// DRIVER.
pub const DRIVER: u8 = 2;
/// DRIVER_OK: the device may be used.
pub const DRIVER_OK: u8 = 4;
/// FEATURES_OK: negotiation is complete.
pub const FEATURES_OK: u8 = 8;
/// DEVICE_NEEDS_RESET: the device met an error that it cannot recover from.
pub const NEEDS_RESET: u8 = 64;
/// FAILED: the driver has given up.
pub const FAILED: u8 = 128;
