//! The device's whole state, behind one lock.

use super::{
    config::{Order, VirtioIommuConfig},
    model::{RequestFilter, Trick},
    queue::{Chain, Queue},
    transport::Registers,
};
use crate::{BusError, Memory, Violations};
use ioward_types::PhysAddr;
use std::collections::BTreeMap;

/// One MAP request's worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub end: u64,
    pub to: u64,
    pub flags: u64,
}

#[derive(Default, Debug)]
pub(super) struct Domain {
    pub bypass: bool,
    /// By first IOVA.
    pub mappings: BTreeMap<u64, Mapping>,
}

#[derive(Default, Debug)]
pub(super) struct Endpoint {
    pub domain: Option<u32>,
    pub probed: bool,
}

/// A request that was fetched and not yet answered.
pub(super) struct Work {
    pub chain: Chain,
    /// What the device read.
    pub bytes: Vec<u8>,
    pub number: u64,
    /// It is never answered.
    pub lost: bool,
}

pub(super) struct Unit {
    pub config: VirtioIommuConfig,
    pub memory: Memory,
    pub violations: Violations,
    pub registers: Registers,
    pub queues: [Queue; 2],
    pub work: Vec<Work>,
    pub domains: BTreeMap<u32, Domain>,
    pub endpoints: BTreeMap<u32, Endpoint>,
    pub filter: Option<RequestFilter>,
    pub requests: u64,
    pub interrupts: u64,
    pub lost_reports: u64,
    pub order: Order,
    /// So many reads of the status pass before requests are carried out.
    pub latency: u32,
    pub waiting: u32,
    /// Faults tell their address.
    pub tells_address: bool,
    pub trick: Option<Trick>,
    pub hung: bool,
    pub gone: bool,
}

impl Unit {
    pub fn violation(&self, section: &'static str, what: impl Into<String>) {
        self.violations.report(&self.config.name, section, what);
    }

    pub fn has(&self, feature: u64) -> bool {
        self.registers.accepted & feature != 0
    }

    /// The device reads bytes, by words.
    pub fn read(&self, at: u64, bytes: usize) -> Result<Vec<u8>, BusError> {
        let mut out = Vec::with_capacity(bytes);
        for at in at..at.saturating_add(bytes as u64) {
            let word = self.memory.read64(&self.config.name, PhysAddr(at & !7), self.config.coherent)?;
            out.push((word >> (at % 8 * 8)) as u8);
        }
        Ok(out)
    }

    pub fn read16(&self, at: u64) -> Result<u16, BusError> {
        self.read(at, 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// The device writes bytes.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), BusError> {
        let mut done = 0;
        while done < bytes.len() {
            let word_at = PhysAddr((at + done as u64) & !7);
            let mut word = self.memory.read64(&self.config.name, word_at, true)?;
            while done < bytes.len() && (at + done as u64) & !7 == word_at.0 {
                let shift = (at + done as u64) % 8 * 8;
                word = word & !(0xff << shift) | u64::from(bytes[done]) << shift;
                done += 1;
            }
            self.memory.write64(&self.config.name, word_at, word)?;
        }
        Ok(())
    }
}
