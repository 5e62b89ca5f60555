//! Registers of virtio over MMIO, version 2 (§4.2.2).

use super::unit::Unit;
use ioward_spec::virtio::{mmio, status};

impl Unit {
    pub fn mmio_read(&mut self, at: usize) -> u32 {
        if self.gone {
            return u32::MAX;
        }
        let r = &self.registers;
        match at {
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION => mmio::VERSION_2,
            mmio::DEVICE_ID => self.config.device_id,
            mmio::VENDOR_ID => 0x554d_4551,
            mmio::DEVICE_FEATURES => self.offered(r.device_select),
            mmio::QUEUE_SIZE_MAX if r.queue_select < 2 => self.config.queue_size.into(),
            mmio::QUEUE_READY => {
                self.queues.get(usize::from(r.queue_select)).is_some_and(|queue| queue.ready).into()
            }
            mmio::INTERRUPT_STATUS => r.interrupt_status,
            mmio::STATUS => self.read_status().into(),
            mmio::CONFIG_GENERATION => r.generation.into(),
            _ if at >= mmio::CONFIG => {
                let at = at - mmio::CONFIG;
                u32::from_le_bytes(core::array::from_fn(|n| self.config_byte(at + n)))
            }
            _ => 0,
        }
    }

    pub fn mmio_write(&mut self, at: usize, value: u32) {
        if self.gone {
            return;
        }
        let (low, high) = (u64::from(value), u64::from(value) << 32);
        let lower = |old: u64| old & 0xffff_ffff_0000_0000 | low;
        let upper = |old: u64| old & 0xffff_ffff | high;
        match at {
            mmio::DEVICE_FEATURES_SEL => self.registers.device_select = value,
            mmio::DRIVER_FEATURES_SEL => self.registers.driver_select = value,
            mmio::DRIVER_FEATURES => self.accept(self.registers.driver_select, value),
            mmio::QUEUE_SEL => self.registers.queue_select = value.min(u16::MAX.into()) as u16,
            mmio::QUEUE_NOTIFY => self.notified(value),
            mmio::INTERRUPT_ACK => self.registers.interrupt_status &= !value,
            mmio::STATUS => self.write_status(value as u8),
            mmio::QUEUE_READY if value == 1 => self.enable(),
            mmio::QUEUE_READY => {
                if self.registers.status & status::DRIVER_OK != 0 {
                    self.violation("VIRTIO 1.3 §4.2.3.2", "a queue is turned off while it is in use");
                }
            }
            _ if at >= mmio::CONFIG => self.violation(
                "VIRTIO 1.3 §4.2.2.2",
                format!("{at:#x} is written with 32 bits, where the configuration's field has 8"),
            ),
            _ => {
                let Some(queue) = self.selected() else { return };
                match at {
                    mmio::QUEUE_SIZE => queue.size = value.min(u16::MAX.into()) as u16,
                    mmio::QUEUE_DESC_LOW => queue.descriptors = lower(queue.descriptors),
                    mmio::QUEUE_DESC_HIGH => queue.descriptors = upper(queue.descriptors),
                    mmio::QUEUE_DRIVER_LOW => queue.available = lower(queue.available),
                    mmio::QUEUE_DRIVER_HIGH => queue.available = upper(queue.available),
                    mmio::QUEUE_DEVICE_LOW => queue.used = lower(queue.used),
                    mmio::QUEUE_DEVICE_HIGH => queue.used = upper(queue.used),
                    _ => self.violation("VIRTIO 1.3 §4.2.2", format!("register {at:#x} is written")),
                }
            }
        }
    }

    pub fn mmio_read8(&mut self, at: usize) -> u8 {
        match at.checked_sub(mmio::CONFIG) {
            _ if self.gone => u8::MAX,
            Some(at) => self.config_byte(at),
            None => {
                self.violation("VIRTIO 1.3 §4.2.2.2", format!("register {at:#x} is read with 8 bits"));
                u8::MAX
            }
        }
    }

    pub fn mmio_write8(&mut self, at: usize, value: u8) {
        match at.checked_sub(mmio::CONFIG) {
            _ if self.gone => {}
            Some(at) => self.write_config(at, value),
            None => self.violation("VIRTIO 1.3 §4.2.2.2", format!("register {at:#x} is written with 8 bits")),
        }
    }
}
