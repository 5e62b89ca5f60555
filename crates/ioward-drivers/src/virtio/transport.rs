//! How a virtio device is reached, whatever bus it is on.

use ioward_types::PhysAddr;

/// Where a split virtqueue is (virtio 1.3 §2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueSetup {
    /// Entries, a power of two.
    pub entries: u16,
    /// The descriptor table.
    pub descriptors: PhysAddr,
    /// The available ring.
    pub available: PhysAddr,
    /// The used ring.
    pub used: PhysAddr,
}

/// A transport (virtio 1.3 §4). It allocates nothing and waits for nothing.
///
/// While the device is brought up the calls come from one CPU; after that [`Transport::notify`], [`Transport::status`]
/// and [`Transport::acknowledge`] come from any, several at once. A device that has left the bus reads as all ones.
pub trait Transport: Send + Sync {
    /// What kind of device it is: 23 for a virtio-iommu.
    fn device_id(&self) -> u32;
    /// The features that the device offers, one bit each.
    fn device_features(&self) -> u64;
    /// Tells the device which features are accepted.
    fn accept_features(&self, features: u64);
    /// The device status (§2.1).
    fn status(&self) -> u8;
    /// Writes the device status; zero resets the device.
    fn set_status(&self, status: u8);
    /// How many entries a queue can have; zero where there is no such queue.
    fn queue_size(&self, queue: u16) -> u16;
    /// Tells the device where a queue is and turns it on.
    fn start_queue(&self, queue: u16, setup: &QueueSetup);
    /// Tells the device that a queue has new buffers. Earlier stores to memory are visible to it first.
    fn notify(&self, queue: u16);
    /// Why the device interrupts: bit 0, a queue has used buffers; bit 1, the configuration has changed. Takes the
    /// interrupt back where the transport has a level to lower.
    fn acknowledge(&self) -> u32;
    /// Changes whenever the configuration may have changed between two reads.
    fn config_generation(&self) -> u32;
    /// 32 bits of the device configuration, `at` a multiple of 4.
    fn config_read32(&self, at: usize) -> u32;
    /// 8 bits of the device configuration.
    fn config_read8(&self, at: usize) -> u8;
    /// Writes 8 bits of the device configuration.
    fn config_write8(&self, at: usize, value: u8);
}

impl<T: Transport + ?Sized> Transport for &T {
    fn device_id(&self) -> u32 {
        (**self).device_id()
    }
    fn device_features(&self) -> u64 {
        (**self).device_features()
    }
    fn accept_features(&self, features: u64) {
        (**self).accept_features(features)
    }
    fn status(&self) -> u8 {
        (**self).status()
    }
    fn set_status(&self, status: u8) {
        (**self).set_status(status)
    }
    fn queue_size(&self, queue: u16) -> u16 {
        (**self).queue_size(queue)
    }
    fn start_queue(&self, queue: u16, setup: &QueueSetup) {
        (**self).start_queue(queue, setup)
    }
    fn notify(&self, queue: u16) {
        (**self).notify(queue)
    }
    fn acknowledge(&self) -> u32 {
        (**self).acknowledge()
    }
    fn config_generation(&self) -> u32 {
        (**self).config_generation()
    }
    fn config_read32(&self, at: usize) -> u32 {
        (**self).config_read32(at)
    }
    fn config_read8(&self, at: usize) -> u8 {
        (**self).config_read8(at)
    }
    fn config_write8(&self, at: usize, value: u8) {
        (**self).config_write8(at, value)
    }
}
