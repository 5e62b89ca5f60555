//! The unit's whole state, behind one lock.

use super::{
    cache::{Caches, Invalidation},
    config::AmdViConfig,
    model::CommandFilter,
    ppr::Answer,
    registers::Registers,
};
use crate::{AtcSink, BusError, Memory, Violations};
use ioward_types::{PhysAddr, SourceId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) struct Unit {
    pub config: AmdViConfig,
    pub memory: Memory,
    pub violations: Violations,
    pub registers: Registers,
    pub caches: Caches,
    /// Issued, without effect until a COMPLETION_WAIT completes.
    pub pending: Vec<Invalidation>,
    pub atcs: BTreeMap<SourceId, Arc<dyn AtcSink>>,
    /// Devices whose first fault has been logged and whose DTE.SE suppresses the rest.
    pub suppressed: BTreeSet<u16>,
    /// Page requests that were answered.
    pub answers: Vec<Answer>,
    pub filter: Option<CommandFilter>,
    pub commands: u64,
    pub interrupts: u64,
    /// No command is processed.
    pub hung: bool,
    /// A device did not answer and control.InvTimeout says to wait for ever.
    pub stalled: bool,
    /// Registers read as ones.
    pub gone: bool,
}

impl Unit {
    pub fn violation(&self, section: &'static str, what: impl Into<String>) {
        self.violations.report(&self.config.name, section, what);
    }

    /// The unit reads 8 bytes of a structure.
    pub fn read(&self, at: PhysAddr, coherent: bool) -> Result<u64, BusError> {
        self.memory.read64(&self.config.name, at, coherent && self.config.coherent)
    }

    /// The unit writes 8 bytes.
    pub fn store(&self, at: PhysAddr, value: u64) -> Result<(), BusError> {
        self.memory.write64(&self.config.name, at, value)
    }
}
