//! The invalidation queue: fetching, waiting, errors (6.5.2).

use super::{invalidate::DeviceTlb, model::EventKind, unit::Unit};
use ioward_spec::{
    Field,
    vtd::{
        descriptor::{self, wait},
        registers::{iqercd::iqei, *},
    },
};
use ioward_types::PhysAddr;

/// Why the queue stops: what IQERCD says, and what a violation says.
pub(super) type QueueError = (u64, &'static str);

impl Unit {
    /// Runs until the queue is empty, stopped or hung.
    pub fn run_queue(&mut self) {
        while self.registers.is(gsts::QIES) && !self.hung && !self.queue_stands() {
            let r = &self.registers;
            let (head, tail) = (r.iqh, r.iqt);
            if let Err(error) = self.check_tail(tail) {
                return self.queue_error(error);
            }
            if head == iqt::QT.in_place(tail) {
                return;
            }
            let (words, bytes) = match self.fetch(iqa::IQA.in_place(r.iqa).wrapping_add(head)) {
                Ok(fetched) => fetched,
                Err(error) => return self.queue_error(error),
            };
            if let Err(error) = self.check_mode() {
                return self.queue_error(error);
            }
            if self.admits(words) {
                match self.decode(&words, bytes == descriptor::BYTES_256 as u64) {
                    Err(error) => return self.queue_error(error),
                    Ok(Some(wait)) => self.wait(&wait),
                    Ok(None) => {}
                }
            }
            self.registers.iqh = (head + bytes) % self.registers.queue_bytes();
        }
    }

    fn queue_stands(&self) -> bool {
        self.registers.has_fault(fsts::IQE) || self.registers.has_fault(fsts::ITE)
    }

    fn check_tail(&self, tail: u64) -> Result<(), QueueError> {
        let r = &self.registers;
        if tail & !iqt::QT.mask() != 0 || tail >= r.queue_bytes() {
            return Err((iqei::INVALID_TAIL, "the tail is outside the queue"));
        }
        if r.wide_descriptors() && !tail.is_multiple_of(descriptor::BYTES_256 as u64) {
            return Err((iqei::MISALIGNED_TAIL, "the tail is not aligned to descriptors of 256 bits"));
        }
        Ok(())
    }

    /// Scalable mode needs descriptors of 256 bits (11.4.9.3).
    fn check_mode(&self) -> Result<(), QueueError> {
        let r = &self.registers;
        let scalable = r.is(gsts::RTPS) && r.mode() == rtaddr::ttm::SCALABLE;
        if r.wide_descriptors() && !self.config.scalable {
            return Err((iqei::INVALID_WIDTH, "descriptors of 256 bits without ECAP.SMTS"));
        }
        if scalable && !r.wide_descriptors() {
            return Err((iqei::INVALID_WIDTH, "descriptors of 128 bits in scalable mode"));
        }
        Ok(())
    }

    fn fetch(&self, at: u64) -> Result<([u64; descriptor::WORDS], u64), QueueError> {
        let wide = self.registers.wide_descriptors();
        let count = if wide { 4 } else { 2 };
        let mut words = [0; descriptor::WORDS];
        for (n, word) in words.iter_mut().take(count).enumerate() {
            *word = self
                .memory
                .read64(&self.config.name, PhysAddr(at.wrapping_add(8 * n as u64)), true)
                .map_err(|_| (iqei::FETCH, "the queue is not in memory"))?;
        }
        Ok((words, 8 * count as u64))
    }

    fn queue_error(&mut self, (info, what): QueueError) {
        let r = &self.registers;
        let what = format!("invalidation queue error at {:#x}, tail {:#x}: {what}", r.iqh, r.iqt);
        self.violation("VT-d 6.5.2.10", what);
        iqercd::IQEI.set(core::slice::from_mut(&mut self.registers.iqercd), info);
        self.raise_fault_status(fsts::IQE);
    }

    /// Everything before it is done, then it stores and interrupts (6.5.2.8).
    fn wait(&mut self, words: &[u64; descriptor::WORDS]) {
        if let Err(silent) = self.settle() {
            return self.device_times_out(&silent);
        }
        if wait::SW.is_set(words) {
            let at = wait::STATUS_ADDR.get_in_place(words);
            if !self.store32(at, wait::STATUS_DATA.get(words) as u32) {
                self.violation("VT-d 6.5.2.8", format!("a wait stores to {at:#x}, where there is no memory"));
            }
        }
        if wait::IF.is_set(words) && self.registers.ics == 0 {
            self.registers.ics = ics::IWC.mask() as u32;
            self.raise(EventKind::Invalidation);
        }
    }

    /// The wait is dropped: it will never complete (6.5.2.10).
    fn device_times_out(&mut self, silent: &DeviceTlb) {
        self.registers.iqercd = iqercd::ITESID.with(self.registers.iqercd, silent.source.0.into());
        self.raise_fault_status(fsts::ITE);
    }

    /// A device answers what nobody asked.
    pub fn wrong_completion(&mut self, source: u16) {
        if !self.registers.has_fault(fsts::ICE) {
            self.registers.iqercd = iqercd::ICESID.with(self.registers.iqercd, source.into());
        }
        self.raise_fault_status(fsts::ICE);
    }

    /// Hardware stores 4 bytes; whether there was memory.
    fn store32(&self, at: u64, value: u32) -> bool {
        let whole = PhysAddr(at & !7);
        let half = Field { word: 0, low: (at % 8 * 8) as u8, bits: 32 };
        loop {
            let mut now = [0; 8];
            if self.memory.dma_read(&self.config.name, whole, &mut now).is_err() {
                return false;
            }
            let now = u64::from_le_bytes(now);
            match self.memory.cas64(whole, now, half.with(now, value.into())) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
    }
}
