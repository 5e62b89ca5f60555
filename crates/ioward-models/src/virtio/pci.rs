//! The structures of virtio over PCI (§4.1.4), in front of the same device.

use super::{model::VirtioIommuModel, unit::Unit};
use ioward_spec::virtio::pci::common;
use ioward_types::Mmio;
use std::sync::Arc;

/// Which structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciStructure {
    /// The common configuration.
    Common,
    /// Notifications: queue n at 4 n.
    Notify,
    /// The ISR status.
    Isr,
    /// The device configuration.
    Device,
}

/// One structure of a model. Accesses of other widths than the fields' are violations.
#[derive(Debug)]
pub struct PciFace {
    model: Arc<VirtioIommuModel>,
    structure: PciStructure,
}

impl PciFace {
    /// What notification offsets are multiplied by.
    pub const NOTIFY_MULTIPLIER: u32 = 4;

    /// That structure of the model.
    pub fn new(model: Arc<VirtioIommuModel>, structure: PciStructure) -> Self {
        Self { model, structure }
    }

    fn read(&self, at: usize, bytes: usize) -> u64 {
        let mut unit = self.model.unit();
        if unit.gone {
            return u64::MAX;
        }
        match self.structure {
            PciStructure::Common => unit.common_read(at, bytes),
            PciStructure::Notify => u64::MAX,
            PciStructure::Isr => u64::from(core::mem::take(&mut unit.registers.interrupt_status)),
            PciStructure::Device => {
                (0..bytes).rev().fold(0, |word, n| word << 8 | u64::from(unit.config_byte(at + n)))
            }
        }
    }

    fn write(&self, at: usize, bytes: usize, value: u64) {
        let mut unit = self.model.unit();
        if unit.gone {
            return;
        }
        match self.structure {
            PciStructure::Common => unit.common_write(at, bytes, value),
            PciStructure::Notify if bytes == 2 && at == value as usize * 4 => unit.notified(value as u32),
            PciStructure::Device if bytes == 1 => unit.write_config(at, value as u8),
            _ => unit.violation(
                "VIRTIO 1.3 §4.1.3.1",
                format!("{:?} at {at:#x} is written with {bytes} bytes: {value:#x}", self.structure),
            ),
        }
    }
}

impl Mmio for PciFace {
    fn read32(&self, at: usize) -> u32 {
        self.read(at, 4) as u32
    }
    fn write32(&self, at: usize, value: u32) {
        self.write(at, 4, value.into());
    }
    fn read64(&self, at: usize) -> u64 {
        self.read(at, 4) | self.read(at + 4, 4) << 32
    }
    fn write64(&self, at: usize, value: u64) {
        self.write(at, 4, value & 0xffff_ffff);
        self.write(at + 4, 4, value >> 32);
    }
    fn read8(&self, at: usize) -> u8 {
        self.read(at, 1) as u8
    }
    fn read16(&self, at: usize) -> u16 {
        self.read(at, 2) as u16
    }
    fn write8(&self, at: usize, value: u8) {
        self.write(at, 1, value.into());
    }
    fn write16(&self, at: usize, value: u16) {
        self.write(at, 2, value.into());
    }
}

/// The width of a field, in bytes.
fn width(at: usize) -> Option<usize> {
    Some(match at {
        common::DEVICE_STATUS | common::CONFIG_GENERATION => 1,
        common::CONFIG_MSIX_VECTOR | common::NUM_QUEUES | common::QUEUE_SELECT | common::QUEUE_SIZE => 2,
        common::QUEUE_MSIX_VECTOR | common::QUEUE_ENABLE | common::QUEUE_NOTIFY_OFF => 2,
        common::DEVICE_FEATURE_SELECT..=common::DRIVER_FEATURE if at.is_multiple_of(4) => 4,
        common::QUEUE_DESC..common::BYTES if at.is_multiple_of(4) => 4,
        _ => return None,
    })
}

impl Unit {
    fn check_width(&self, at: usize, bytes: usize) -> bool {
        let right = width(at) == Some(bytes);
        if !right {
            let what = format!("the common configuration at {at:#x} is accessed with {bytes} bytes");
            self.violation("VIRTIO 1.3 §4.1.3.1", what);
        }
        right
    }

    fn common_read(&mut self, at: usize, bytes: usize) -> u64 {
        if !self.check_width(at, bytes) {
            return u64::MAX;
        }
        let select = usize::from(self.registers.queue_select);
        match at {
            common::DEVICE_FEATURE => self.offered(self.registers.device_select).into(),
            common::NUM_QUEUES => 2,
            common::DEVICE_STATUS => self.read_status().into(),
            common::CONFIG_GENERATION => self.registers.generation.into(),
            common::QUEUE_SELECT => select as u64,
            common::QUEUE_SIZE => match self.queues.get(select) {
                Some(queue) if queue.size != 0 => queue.size.into(),
                Some(_) => self.config.queue_size.into(),
                None => 0,
            },
            common::QUEUE_ENABLE => self.queues.get(select).is_some_and(|queue| queue.ready).into(),
            common::QUEUE_NOTIFY_OFF => select as u64,
            common::CONFIG_MSIX_VECTOR => self.registers.vectors[2].into(),
            common::QUEUE_MSIX_VECTOR => self.registers.vectors.get(select).copied().unwrap_or(0).into(),
            _ => 0,
        }
    }

    fn common_write(&mut self, at: usize, bytes: usize, value: u64) {
        if !self.check_width(at, bytes) {
            return;
        }
        let select = usize::from(self.registers.queue_select);
        let half = |old: u64| match at & 4 {
            0 => old & 0xffff_ffff_0000_0000 | value,
            _ => old & 0xffff_ffff | value << 32,
        };
        match at {
            common::DEVICE_FEATURE_SELECT => self.registers.device_select = value as u32,
            common::DRIVER_FEATURE_SELECT => self.registers.driver_select = value as u32,
            common::DRIVER_FEATURE => self.accept(self.registers.driver_select, value as u32),
            common::DEVICE_STATUS => self.write_status(value as u8),
            common::QUEUE_SELECT => self.registers.queue_select = value as u16,
            common::CONFIG_MSIX_VECTOR => self.registers.vectors[2] = value as u16,
            common::QUEUE_MSIX_VECTOR if select < 2 => self.registers.vectors[select] = value as u16,
            common::QUEUE_ENABLE if value == 1 => self.enable(),
            _ => {
                let Some(queue) = self.selected() else { return };
                match at {
                    common::QUEUE_SIZE => queue.size = value as u16,
                    common::QUEUE_DESC..common::QUEUE_DRIVER => queue.descriptors = half(queue.descriptors),
                    common::QUEUE_DRIVER..common::QUEUE_DEVICE => queue.available = half(queue.available),
                    common::QUEUE_DEVICE..common::BYTES => queue.used = half(queue.used),
                    _ => self.violation("VIRTIO 1.3 §4.1.4.3", format!("{at:#x} is written")),
                }
            }
        }
    }
}
