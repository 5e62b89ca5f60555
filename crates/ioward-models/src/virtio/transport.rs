//! What every transport has: status, features, queues, the device configuration (§2, §3.1).

use super::{queue::Queue, unit::Unit};
use ioward_spec::virtio::{config, features, status};

/// The state behind a transport's registers.
#[derive(Default, Debug)]
pub(super) struct Registers {
    pub status: u8,
    pub accepted: u64,
    pub bypass: bool,
    pub device_select: u32,
    pub driver_select: u32,
    pub queue_select: u16,
    pub interrupt_status: u32,
    pub generation: u8,
    /// Reads of the status that still show what was before a reset.
    pub resetting: u32,
    pub before_reset: u8,
    /// How many such reads there are.
    pub reset_latency: u32,
    /// Fields of PCI's common configuration that hold what is written.
    pub vectors: [u16; 3],
}

impl Unit {
    pub fn needs_reset(&mut self) {
        self.registers.status |= status::NEEDS_RESET;
    }

    pub fn read_status(&mut self) -> u8 {
        if self.registers.resetting > 0 {
            self.registers.resetting -= 1;
            return self.registers.before_reset;
        }
        self.tick();
        self.registers.status
    }

    pub fn write_status(&mut self, new: u8) {
        const SECTION: &str = "VIRTIO 1.3 §3.1.1";
        let old = self.registers.status;
        if new == 0 {
            self.reset();
            return;
        }
        if self.registers.resetting > 0 {
            self.violation("VIRTIO 1.3 §2.4.2", "the status is written before the reset is complete");
        }
        if old & !new & !status::NEEDS_RESET != 0 {
            self.violation("VIRTIO 1.3 §2.1.1", format!("status bits are cleared: {old:#x} to {new:#x}"));
        }
        let mut new = new | old & status::NEEDS_RESET;
        if new & !old & status::FEATURES_OK != 0 {
            let accepted = self.registers.accepted;
            let beyond = accepted & !self.config.features;
            if beyond != 0 {
                self.violation(SECTION, format!("features {beyond:#x} are accepted that were not offered"));
            }
            let needed = (features::VERSION_1 | features::ACCESS_PLATFORM) & self.config.features;
            if beyond != 0 || accepted & needed != needed || self.config.refuses_features {
                new &= !status::FEATURES_OK;
            }
        }
        let steps = [status::ACKNOWLEDGE, status::DRIVER, status::FEATURES_OK, status::DRIVER_OK];
        let first_missing = steps.iter().position(|step| new & step == 0).unwrap_or(steps.len());
        let skips = steps[first_missing..].iter().any(|step| new & step != 0);
        if skips && new & status::FAILED == 0 {
            self.violation(SECTION, format!("status {new:#x} leaves out a step"));
        }
        self.registers.status = new;
    }

    fn reset(&mut self) {
        self.registers.before_reset = self.registers.status;
        // What reads zero is reset, as far as anybody can tell.
        let at_once = self.registers.status == 0;
        self.registers.resetting = if at_once { 0 } else { self.registers.reset_latency };
        self.registers.status = 0;
        self.registers.accepted = 0;
        self.registers.interrupt_status = 0;
        self.queues = [Queue::default(), Queue::default()];
        self.work.clear();
        if !self.config.keeps_domains {
            self.domains.clear();
            self.endpoints.clear();
        }
    }

    pub fn offered(&self, half: u32) -> u32 {
        match half {
            0 | 1 => (self.config.features >> (32 * half)) as u32,
            _ => 0,
        }
    }

    pub fn accept(&mut self, half: u32, bits: u32) {
        if self.registers.status & status::FEATURES_OK != 0 {
            self.violation("VIRTIO 1.3 §3.1.1", "features are accepted after FEATURES_OK");
            return;
        }
        if let 0 | 1 = half {
            let shift = 32 * half;
            let rest = self.registers.accepted & !(0xffff_ffff << shift);
            self.registers.accepted = rest | u64::from(bits) << shift;
        }
    }

    /// The selected queue, as far as it can be changed.
    pub fn selected(&mut self) -> Option<&mut Queue> {
        let select = usize::from(self.registers.queue_select);
        let ready = self.queues.get(select)?.ready;
        if ready {
            self.violation("VIRTIO 1.3 §4.2.3.2", format!("queue {select} is changed while it is ready"));
            return None;
        }
        Some(&mut self.queues[select])
    }

    pub fn enable(&mut self) {
        let select = self.registers.queue_select;
        let most = self.config.queue_size;
        let set_up = self.registers.status & status::FEATURES_OK != 0;
        let Some(queue) = self.selected() else { return };
        let q = (queue.size, queue.descriptors, queue.available, queue.used);
        queue.ready = true;
        if !q.0.is_power_of_two() || q.0 > most {
            self.violation("VIRTIO 1.3 §2.7", format!("queue {select} has {} entries of {most}", q.0));
        }
        if q.1 % 16 != 0 || q.2 % 2 != 0 || q.3 % 4 != 0 {
            self.violation("VIRTIO 1.3 §2.7", format!("queue {select} is not aligned: {q:x?}"));
        }
        if !set_up {
            self.violation("VIRTIO 1.3 §3.1.1", format!("queue {select} is set up before FEATURES_OK"));
        }
    }

    pub fn notified(&mut self, queue: u32) {
        if self.registers.status & status::DRIVER_OK == 0 {
            self.violation("VIRTIO 1.3 §3.1.1", format!("queue {queue} is notified before DRIVER_OK"));
            return;
        }
        if queue == 0 {
            self.waiting = self.latency;
            self.take_requests();
            if self.waiting == 0 {
                self.carry_out();
            }
        }
    }

    /// Time passes.
    fn tick(&mut self) {
        match self.waiting {
            0 => {}
            1 => {
                self.waiting = 0;
                self.take_requests();
                self.carry_out();
            }
            _ => self.waiting -= 1,
        }
    }

    pub fn config_byte(&self, at: usize) -> u8 {
        self.config.bytes(self.registers.bypass).get(at).copied().unwrap_or(0xff)
    }

    pub fn write_config(&mut self, at: usize, value: u8) {
        const SECTION: &str = "VIRTIO 1.3 §5.13.4.1";
        if at != config::BYPASS {
            self.violation(SECTION, format!("byte {at} of the configuration is written"));
            return;
        }
        if value > 1 {
            self.violation(SECTION, format!("bypass is written with {value}"));
        }
        if !self.has(features::BYPASS_CONFIG) || self.registers.status & status::FEATURES_OK == 0 {
            // The text does not say what becomes of it; a device may take it badly.
            self.needs_reset();
            return;
        }
        if !self.config.bypass_stuck {
            self.registers.bypass = value & 1 != 0;
            self.registers.generation = self.registers.generation.wrapping_add(1);
        }
    }
}
