//! The face of the model: registers, requests, and the switches that tests turn.

use super::{
    config::AmdViConfig,
    device::{DteMeaning, decode},
    ppr::{Answer, PageRequest},
    registers::Registers,
    request::Kind,
    unit::Unit,
};
use crate::{AtcSink, IommuModel, Memory, MessageOutcome, Outcome, Request};
use ioward_spec::amdvi::{control, dte, registers::offset};
use ioward_types::{Iova, Mmio, SourceId};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Sees the number of a command, counted from the model's start, and the command; false drops it.
pub type CommandFilter = Box<dyn FnMut(u64, &[u64; 2]) -> bool + Send>;

/// One AMD-Vi unit.
pub struct AmdViModel {
    unit: Mutex<Unit>,
}

impl fmt::Debug for AmdViModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmdViModel({})", self.unit().config.name)
    }
}

impl AmdViModel {
    /// A unit out of reset: disabled, so that every request passes through. Violations go where the memory's go.
    pub fn new(config: AmdViConfig, memory: Memory) -> Self {
        let violations = memory.violations().clone();
        let unit = Unit {
            config,
            memory,
            violations,
            registers: Registers { latency: 2, ..Registers::default() },
            caches: Default::default(),
            pending: Vec::new(),
            atcs: Default::default(),
            suppressed: Default::default(),
            answers: Vec::new(),
            filter: None,
            commands: 0,
            interrupts: 0,
            hung: false,
            stalled: false,
            gone: false,
        };
        Self { unit: Mutex::new(unit) }
    }

    fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it can do.
    pub fn config(&self) -> AmdViConfig {
        self.unit().config.clone()
    }

    /// Commands meet this before they are executed; one that is dropped counts as done.
    pub fn set_command_filter(&self, filter: Option<CommandFilter>) {
        self.unit().filter = filter;
    }

    /// Commands fetched so far, dropped ones too.
    pub fn commands(&self) -> u64 {
        self.unit().commands
    }

    /// Interrupts raised so far.
    pub fn interrupts(&self) -> u64 {
        self.unit().interrupts
    }

    /// Whether the command buffer stands still, as of hung hardware. Turned off, it goes on where it stopped.
    pub fn set_hung(&self, hung: bool) {
        let mut unit = self.unit();
        unit.hung = hung;
        unit.run_commands();
    }

    /// Whether registers read as ones and take no writes, as of hardware that has left the bus.
    pub fn set_gone(&self, gone: bool) {
        self.unit().gone = gone;
    }

    /// How many reads of status pass until a buffer starts or stops; 2 unless changed.
    pub fn set_latency(&self, reads: u32) {
        self.unit().registers.latency = reads;
    }

    /// Empties every cache, as eviction may at any time.
    pub fn evict(&self) {
        self.unit().caches.evict();
    }

    /// Fills every cache with garbage, as firmware or a crashed kernel leaves them: what is used before it has been
    /// invalidated leads to where there is no memory, and is a violation.
    pub fn poison(&self) {
        self.unit().caches.poison();
    }

    /// Sets registers as firmware left them, with no check and no effect but that buffers run as control says.
    /// Offsets and values are of 64 bits.
    pub fn preset(&self, registers: &[(usize, u64)]) {
        let mut unit = self.unit();
        for &(at, value) in registers {
            let r = &mut unit.registers;
            match at {
                offset::DEVICE_TABLE_BASE => r.device_table[0] = value,
                offset::COMMAND_BUFFER_BASE => r.commands.base = value,
                offset::COMMAND_BUFFER_HEAD => r.commands.head = value,
                offset::COMMAND_BUFFER_TAIL => r.commands.tail = value,
                offset::EVENT_LOG_BASE => r.events.base = value,
                offset::EVENT_LOG_HEAD => r.events.head = value,
                offset::EVENT_LOG_TAIL => r.events.tail = value,
                offset::PPR_LOG_BASE => r.requests.base = value,
                offset::EXCLUSION_BASE => r.exclusion_base = value,
                offset::EXCLUSION_LIMIT => r.exclusion_limit = value,
                offset::STATUS => r.status = value,
                offset::CONTROL => {
                    let old = core::mem::replace(&mut r.control, value);
                    unit.apply_control(old, 0);
                }
                _ => {}
            }
        }
    }

    /// What the entry of a device, as memory holds it now for hardware to see, would mean; none where there is no
    /// entry. Nothing is cached: for tests that look after every store.
    pub fn meaning(&self, source: SourceId) -> Option<DteMeaning> {
        let unit = self.unit();
        let words = unit.read_entry(unit.entry_address(source)?).ok()?;
        Some(decode(&unit.config, unit.registers.is(control::GT_EN), &words))
    }

    /// What these words would mean as an entry.
    pub fn meaning_of(&self, words: &[u64; dte::WORDS]) -> DteMeaning {
        let unit = self.unit();
        decode(&unit.config, unit.registers.is(control::GT_EN), words)
    }

    /// Reports every cached structure that memory contradicts, page translations too if `leaves`. To be called when
    /// software owes no invalidation: for `leaves`, with no unmap waiting for a lazy flush.
    pub fn audit(&self, leaves: bool) {
        self.unit().audit(leaves);
    }

    /// A device asks for a page; whether the request was logged.
    pub fn page_request(&self, what: &PageRequest) -> bool {
        self.unit().page_request(what)
    }

    /// Answers to page requests since the last call.
    pub fn take_answers(&self) -> Vec<Answer> {
        core::mem::take(&mut self.unit().answers)
    }
}

impl Mmio for AmdViModel {
    fn read32(&self, at: usize) -> u32 {
        if !at.is_multiple_of(4) {
            return u32::MAX;
        }
        (self.read64(at & !7) >> (at % 8 * 8)) as u32
    }

    fn write32(&self, at: usize, value: u32) {
        if at.is_multiple_of(4) {
            let shift = at % 8 * 8;
            self.unit().write_register(at & !7, u64::from(value) << shift, 0xffff_ffff << shift);
        }
    }

    fn read64(&self, at: usize) -> u64 {
        if !at.is_multiple_of(8) {
            return u64::MAX;
        }
        let mut unit = self.unit();
        if at == offset::STATUS {
            unit.status_is_read();
        }
        unit.read_register(at)
    }

    fn write64(&self, at: usize, value: u64) {
        if at.is_multiple_of(8) {
            self.unit().write_register(at, value, u64::MAX);
        }
    }
}

impl IommuModel for AmdViModel {
    fn request(&self, request: &Request) -> Outcome {
        self.unit().request(request, Kind::Untranslated)
    }

    fn translate_ahead(&self, request: &Request) -> Outcome {
        self.unit().request(request, Kind::Ahead)
    }

    fn translated(&self, request: &Request) -> Outcome {
        self.unit().translated(request)
    }

    fn message(&self, source: SourceId, at: Iova, data: u32) -> MessageOutcome {
        self.unit().message(source, at, data)
    }

    fn connect(&self, source: SourceId, atc: Arc<dyn AtcSink>) {
        self.unit().atcs.insert(source, atc);
    }
}
