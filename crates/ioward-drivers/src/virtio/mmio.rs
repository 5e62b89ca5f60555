//! virtio over MMIO, version 2 (virtio 1.3 §4.2).

use super::transport::{QueueSetup, Transport};
use core::fmt;
use ioward_spec::virtio::mmio as reg;
use ioward_types::Mmio;

/// The registers of a virtio device.
#[derive(Debug)]
pub struct VirtioMmio<M>(M);

/// Why registers are not those of a virtio device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmioError {
    /// MagicValue is not "virt".
    Magic(u32),
    /// Version is not 2: a legacy device, or one from later.
    Version(u32),
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(value) => write!(f, "no virtio device: its magic value is {value:#x}"),
            Self::Version(version) => write!(f, "a virtio device of version {version} where 2 is needed"),
        }
    }
}
impl core::error::Error for MmioError {}

impl<M: Mmio> VirtioMmio<M> {
    /// A transport over `registers`, if they are those of a virtio device of version 2. A place where there is no device
    /// has [`Transport::device_id`] zero.
    pub fn new(registers: M) -> Result<Self, MmioError> {
        match (registers.read32(reg::MAGIC_VALUE), registers.read32(reg::VERSION)) {
            (reg::MAGIC, reg::VERSION_2) => Ok(Self(registers)),
            (reg::MAGIC, version) => Err(MmioError::Version(version)),
            (magic, _) => Err(MmioError::Magic(magic)),
        }
    }

    fn write_address(&self, low: usize, high: usize, address: u64) {
        self.0.write32(low, address as u32);
        self.0.write32(high, (address >> 32) as u32);
    }
}

impl<M: Mmio> Transport for VirtioMmio<M> {
    fn device_id(&self) -> u32 {
        self.0.read32(reg::DEVICE_ID)
    }

    fn device_features(&self) -> u64 {
        let [low, high] = [0, 1].map(|half| {
            self.0.write32(reg::DEVICE_FEATURES_SEL, half);
            u64::from(self.0.read32(reg::DEVICE_FEATURES))
        });
        low | high << 32
    }

    fn accept_features(&self, features: u64) {
        for half in [0, 1] {
            self.0.write32(reg::DRIVER_FEATURES_SEL, half);
            self.0.write32(reg::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
    }

    fn status(&self) -> u8 {
        self.0.read32(reg::STATUS) as u8
    }

    fn set_status(&self, status: u8) {
        self.0.write32(reg::STATUS, status.into());
    }

    fn queue_size(&self, queue: u16) -> u16 {
        self.0.write32(reg::QUEUE_SEL, queue.into());
        self.0.read32(reg::QUEUE_SIZE_MAX).min(u16::MAX.into()) as u16
    }

    fn start_queue(&self, queue: u16, setup: &QueueSetup) {
        self.0.write32(reg::QUEUE_SEL, queue.into());
        self.0.write32(reg::QUEUE_SIZE, setup.entries.into());
        self.write_address(reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH, setup.descriptors.0);
        self.write_address(reg::QUEUE_DRIVER_LOW, reg::QUEUE_DRIVER_HIGH, setup.available.0);
        self.write_address(reg::QUEUE_DEVICE_LOW, reg::QUEUE_DEVICE_HIGH, setup.used.0);
        self.0.write32(reg::QUEUE_READY, 1);
    }

    fn notify(&self, queue: u16) {
        self.0.write32(reg::QUEUE_NOTIFY, queue.into());
    }

    fn acknowledge(&self) -> u32 {
        let pending = self.0.read32(reg::INTERRUPT_STATUS);
        if pending != 0 && pending != u32::MAX {
            self.0.write32(reg::INTERRUPT_ACK, pending);
        }
        pending
    }

    fn config_generation(&self) -> u32 {
        self.0.read32(reg::CONFIG_GENERATION)
    }

    fn config_read32(&self, at: usize) -> u32 {
        self.0.read32(reg::CONFIG + at)
    }

    fn config_read8(&self, at: usize) -> u8 {
        self.0.read8(reg::CONFIG + at)
    }

    fn config_write8(&self, at: usize, value: u8) {
        self.0.write8(reg::CONFIG + at, value);
    }
}
