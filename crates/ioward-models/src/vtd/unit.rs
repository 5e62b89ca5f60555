//! The unit's whole state, behind one lock.

use super::{
    cache::Caches,
    config::VtdConfig,
    invalidate::Invalidation,
    model::{CommandFilter, Event},
    prq::Answer,
    registers::Registers,
};
use crate::{AtcSink, BusError, Memory, Violations};
use ioward_types::{PhysAddr, SourceId};
use std::{collections::BTreeMap, sync::Arc};

pub(super) struct Unit {
    pub config: VtdConfig,
    pub memory: Memory,
    pub violations: Violations,
    pub registers: Registers,
    pub caches: Caches,
    /// Issued, without effect until a wait completes.
    pub pending: Vec<Invalidation>,
    pub atcs: BTreeMap<SourceId, Arc<dyn AtcSink>>,
    /// Page requests that were answered.
    pub answers: Vec<Answer>,
    pub filter: Option<CommandFilter>,
    pub commands: u64,
    /// Interrupts that were sent.
    pub events: Vec<Event>,
    /// Nothing that software asks for is done.
    pub hung: bool,
    /// Bits of GSTS that never change.
    pub stuck: u32,
    /// Registers read as ones.
    pub gone: bool,
}

impl Unit {
    pub fn violation(&self, section: &'static str, what: impl Into<String>) {
        self.violations.report(&self.config.name, section, what);
    }

    /// The unit reads 8 bytes of a translation structure.
    pub fn read(&self, at: PhysAddr, coherent: bool) -> Result<u64, BusError> {
        if self.config.write_buffer {
            self.memory.read64_behind_buffer(&self.config.name, at, coherent)
        } else {
            self.memory.read64(&self.config.name, at, coherent)
        }
    }

    /// The unit reads an entry of `N` words; `Err` where there is no memory.
    pub fn read_words<const N: usize>(&self, at: u64) -> Result<[u64; N], BusError> {
        let mut words = [0; N];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.read(PhysAddr(at.wrapping_add(8 * n as u64)), self.config.coherent)?;
        }
        Ok(words)
    }

    /// Software's stores reach what the unit reads (6.8).
    pub fn flush_write_buffer(&self) {
        if self.config.write_buffer {
            self.memory.flush_write_buffer();
        }
    }

    /// Counts a command and asks the filter whether it is carried out.
    pub fn admits(&mut self, words: [u64; 4]) -> bool {
        let number = self.commands;
        self.commands += 1;
        self.filter.as_mut().is_none_or(|filter| filter(number, &words))
    }

    /// Whether an entry in memory differs from `value` in `mask`, or is gone.
    pub fn changed(&self, at: PhysAddr, value: u64, mask: u64, coherent: bool) -> bool {
        if !self.memory.is_allocated(at) {
            return true;
        }
        self.read(at, coherent).map_or(true, |now| (now ^ value) & mask != 0)
    }
}
