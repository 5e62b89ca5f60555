//! A transport that puts its device behind the IOMMU.

use core::{fmt, hint, mem::ManuallyDrop};
use virtio_drivers::{
    PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// VIRTIO_F_ACCESS_PLATFORM (virtio 1.2, 6): the device's addresses are translated as the platform says. A device that does
/// not have it, or is not told to use it, reaches physical addresses, whatever stands in the way of others.
const ACCESS_PLATFORM: u64 = 1 << 33;

/// A transport of `virtio_drivers`, which accepts the feature of platform access in the name of its driver.
/// A device that does not accept its features is not started: it reads [`DeviceStatus::FAILED`].
///
/// Dropped, the device is reset. One that does not confirm it in time, as it does not when it is gone, has its transport
/// leaked: the drop of that may wait for ever.
#[derive(Debug)]
pub struct PlatformAccess<T: Transport>(ManuallyDrop<T>);

/// How often a device is asked whether it has been reset. Each is a read of a register, of about a microsecond.
const RESET_READS: u32 = 1_000_000;

impl<T: Transport> Drop for PlatformAccess<T> {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
        for _ in 0..RESET_READS {
            if self.0.get_status().is_empty() {
                // SAFETY: nothing uses it after this.
                unsafe { ManuallyDrop::drop(&mut self.0) };
                return;
            }
            hint::spin_loop();
        }
    }
}

/// The device does not offer to go through an IOMMU: it reaches physical addresses, and nothing can keep it from any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPlatformAccess {
    /// What it is.
    pub device: DeviceType,
}

impl fmt::Display for NoPlatformAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the virtio device of type {:?} does not offer to access memory as the platform says",
            self.device
        )
    }
}
impl core::error::Error for NoPlatformAccess {}

impl<T: Transport> PlatformAccess<T> {
    /// The transport, if its device can be put behind an IOMMU. Else it is dropped.
    pub fn new(transport: T) -> core::result::Result<Self, NoPlatformAccess> {
        // From here on its drop is bounded.
        let mut this = Self(ManuallyDrop::new(transport));
        if this.0.read_device_features() & ACCESS_PLATFORM == 0 {
            return Err(NoPlatformAccess { device: this.0.device_type() });
        }
        Ok(this)
    }
}

impl<T: Transport> Transport for PlatformAccess<T> {
    fn device_type(&self) -> DeviceType {
        self.0.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.read_device_features()
    }

    fn write_driver_features(&mut self, features: u64) {
        self.0.write_driver_features(features | ACCESS_PLATFORM);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.0.max_queue_size(queue)
    }

    fn notify(&mut self, queue: u16) {
        // The registers are written without a barrier for memory.
        ioward_types::platform::barrier::before_register_write();
        self.0.notify(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        // Its drivers do not read back whether the device accepts the features. One that refuses platform access and is
        // started all the same would go past the IOMMU.
        let refused = status.contains(DeviceStatus::DRIVER_OK)
            && !self.0.get_status().contains(DeviceStatus::FEATURES_OK);
        let status = if refused { DeviceStatus::FAILED } else { status };
        ioward_types::platform::barrier::before_register_write();
        self.0.set_status(status);
    }

    fn set_guest_page_size(&mut self, bytes: u32) {
        self.0.set_guest_page_size(bytes);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.0.requires_legacy_layout()
    }

    fn queue_set(
        &mut self,
        queue: u16,
        entries: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        ioward_types::platform::barrier::before_register_write();
        self.0.queue_set(queue, entries, descriptors, driver, device);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.0.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.0.read_config_generation()
    }

    fn read_config_space<V: FromBytes + IntoBytes>(&self, offset: usize) -> Result<V> {
        self.0.read_config_space(offset)
    }

    fn write_config_space<V: IntoBytes + Immutable>(&mut self, offset: usize, value: V) -> Result<()> {
        self.0.write_config_space(offset, value)
    }
}
