//! The face of the model: registers, requests, and the switches that tests turn.

use super::{
    config::VtdConfig,
    meaning::{self, PasidMeaning, SourceMeaning},
    prq::{Answer, PageRequest},
    registers::{EventRegisters, Registers},
    request::Kind,
    unit::Unit,
};
use crate::{AtcSink, IommuModel, Memory, MessageOutcome, Outcome, Request};
use ioward_spec::vtd::{context, fault, pasid, registers::*};
use ioward_types::{Iova, Mmio, Pasid, SourceId};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Sees the number of a command, counted from the model's start, and the command; false drops it, and it counts as
/// done. A descriptor comes as it is. What a register asks for comes with the register's offset as the fourth word:
/// CCMD and IOTLB with their value first and the invalidate address second, a write-buffer flush as GCMD.
pub type CommandFilter = Box<dyn FnMut(u64, &[u64; 4]) -> bool + Send>;

/// Which of the unit's own interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Faults, and errors of the invalidation queue.
    Fault,
    /// A wait descriptor completed.
    Invalidation,
    /// A page request.
    PageRequest,
}

/// An interrupt message that the unit sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What for.
    pub kind: EventKind,
    /// Where it was written.
    pub address: u64,
    /// What was written.
    pub data: u32,
}

/// One VT-d unit.
pub struct VtdModel {
    unit: Mutex<Unit>,
}

impl fmt::Debug for VtdModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VtdModel({})", self.unit().config.name)
    }
}

impl VtdModel {
    /// A unit out of reset: nothing enabled, so that every request passes through. Violations go where the memory's go.
    /// A unit with write buffers makes the memory have them.
    pub fn new(config: VtdConfig, memory: Memory) -> Self {
        let violations = memory.violations().clone();
        if config.write_buffer {
            memory.set_write_buffered(true);
        }
        let masked = EventRegisters { masked: true, ..EventRegisters::default() };
        let registers = Registers {
            latency: 2,
            records: vec![[0; fault::WORDS]; config.fault_records.into()],
            fault_event: masked,
            invalidation_event: masked,
            page_request_event: masked,
            ..Registers::default()
        };
        let unit = Unit {
            config,
            memory,
            violations,
            registers,
            caches: Default::default(),
            pending: Vec::new(),
            atcs: Default::default(),
            answers: Vec::new(),
            filter: None,
            commands: 0,
            events: Vec::new(),
            hung: false,
            stuck: 0,
            gone: false,
        };
        Self { unit: Mutex::new(unit) }
    }

    fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it can do.
    pub fn config(&self) -> VtdConfig {
        self.unit().config.clone()
    }

    /// Commands meet this before they are carried out; one that is dropped counts as done.
    pub fn set_command_filter(&self, filter: Option<CommandFilter>) {
        self.unit().filter = filter;
    }

    /// Commands so far, dropped ones too: descriptors, invalidations by register, write-buffer flushes.
    pub fn commands(&self) -> u64 {
        self.unit().commands
    }

    /// Interrupts that the unit has sent since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.unit().events)
    }

    /// Whether nothing that software asks for is done: no descriptor is fetched, GSTS does not change, ICC and IVT stay
    /// set. Turned off, it goes on where it stopped.
    pub fn set_hung(&self, hung: bool) {
        let mut unit = self.unit();
        unit.hung = hung;
        unit.run_queue();
    }

    /// Bits of GSTS that stay as they are, whatever GCMD asks for; what they stand for does not happen.
    pub fn set_stuck(&self, bits: u32) {
        self.unit().stuck = bits;
    }

    /// Whether registers read as ones and take no writes, as of hardware that has left the bus.
    pub fn set_gone(&self, gone: bool) {
        self.unit().gone = gone;
    }

    /// How many reads of GSTS, CCMD or the IOTLB register pass until what was asked for has happened; 2 unless changed.
    pub fn set_latency(&self, reads: u32) {
        self.unit().registers.latency = reads;
    }

    /// Empties every cache, as eviction may at any time.
    pub fn evict(&self) {
        self.unit().caches.evict();
    }

    /// Fills every cache with garbage, as firmware or a crashed kernel leaves them: what is used before it has been
    /// invalidated leads to where there is no memory, and is a violation. Context and PASID caches lose garbage to global
    /// invalidations alone, since nobody knows its domain IDs.
    pub fn poison(&self) {
        self.unit().caches.poison();
    }

    /// A device answers an invalidation that nobody sent: FSTS.ICE.
    pub fn wrong_completion(&self, source: SourceId) {
        self.unit().wrong_completion(source.0 as u16);
    }

    /// Sets registers as firmware left them, with no check; offset and value, of 32 or 64 bits as the register is. GSTS
    /// says what is enabled; with RTPS and IRTPS the addresses given here or before are in force, and with QIES a queue
    /// with something in it stands still until its tail is written.
    pub fn preset(&self, registers: &[(usize, u64)]) {
        let mut unit = self.unit();
        for &(at, value) in registers {
            let r = &mut unit.registers;
            match at {
                GSTS => r.gsts = value as u32,
                RTADDR => r.rtaddr = value,
                IRTA => r.irta = value,
                IQA => r.iqa = value,
                IQH => r.iqh = value,
                IQT => r.iqt = value,
                FSTS => r.fsts = value as u32,
                PQA => r.pqa = value,
                PQH => r.pqh = value,
                PQT => r.pqt = value,
                PMEN => r.pmen = value as u32,
                FECTL => r.fault_event.masked = value >> 31 & 1 != 0,
                _ => {
                    r.plain.insert(at, value as u32);
                    r.plain.insert(at + 4, (value >> 32) as u32);
                }
            }
        }
        let r = &mut unit.registers;
        if r.is(gsts::RTPS) {
            r.root = r.rtaddr;
        }
        if r.is(gsts::IRTPS) {
            r.interrupt_table = r.irta;
        }
    }

    /// What the root and context entry of a source, as memory holds them now for hardware to see, would mean. Nothing is
    /// cached: for tests that look after every store.
    pub fn meaning(&self, source: SourceId) -> SourceMeaning {
        self.unit().fetch_context(source.0 as u16).1
    }

    /// What the entry of a PASID of a source would mean, as [`VtdModel::meaning`]; none where the context entry leads to
    /// no PASID table.
    pub fn pasid_meaning(&self, source: SourceId, pasid: Pasid) -> Option<PasidMeaning> {
        let unit = self.unit();
        match unit.fetch_context(source.0 as u16).1 {
            SourceMeaning::Pasids(tables) => Some(unit.fetch_pasid(&tables, pasid.0).1),
            _ => None,
        }
    }

    /// What these words would mean as a context entry of legacy mode.
    pub fn meaning_of_legacy(&self, words: &[u64; context::legacy::WORDS]) -> SourceMeaning {
        meaning::legacy(&self.unit().config, words)
    }

    /// What these words would mean as a context entry of scalable mode.
    pub fn meaning_of_scalable(&self, words: &[u64; context::scalable::WORDS]) -> SourceMeaning {
        meaning::scalable(&self.unit().config, words)
    }

    /// What these words would mean as a PASID entry.
    pub fn meaning_of_pasid(&self, words: &[u64; pasid::entry::WORDS]) -> PasidMeaning {
        meaning::pasid(&self.unit().config, words)
    }

    /// Whether the translation of a request makes its access snoop CPU caches, by the leaf's SNP or the PASID entry's
    /// PGSNP; none where there is no translation. It counts as a use of the translation.
    pub fn snoops(&self, request: &Request) -> Option<bool> {
        self.unit().snoops(request)
    }

    /// Reports every cached structure that memory contradicts, page translations too if `leaves`. To be called when
    /// software owes no invalidation: for `leaves`, with no unmap waiting for a lazy flush.
    pub fn audit(&self, leaves: bool) {
        self.unit().audit(leaves);
    }

    /// A device asks for a page; whether the request was queued.
    pub fn page_request(&self, what: &PageRequest) -> bool {
        self.unit().page_request(what)
    }

    /// Answers to page requests since the last call.
    pub fn take_answers(&self) -> Vec<Answer> {
        core::mem::take(&mut self.unit().answers)
    }
}

impl Mmio for VtdModel {
    fn read32(&self, at: usize) -> u32 {
        self.unit().read_register(at)
    }

    fn write32(&self, at: usize, value: u32) {
        self.unit().write_register(at, value);
    }

    fn read64(&self, at: usize) -> u64 {
        if !at.is_multiple_of(8) {
            return u64::MAX;
        }
        let mut unit = self.unit();
        u64::from(unit.read_register(at)) | u64::from(unit.read_register(at + 4)) << 32
    }

    fn write64(&self, at: usize, value: u64) {
        if at.is_multiple_of(8) {
            let mut unit = self.unit();
            unit.write_register(at, value as u32);
            unit.write_register(at + 4, (value >> 32) as u32);
        }
    }
}

impl IommuModel for VtdModel {
    fn request(&self, request: &Request) -> Outcome {
        self.unit().request(request, Kind::Untranslated)
    }

    fn translate_ahead(&self, request: &Request) -> Outcome {
        self.unit().request(request, Kind::Ahead)
    }

    fn translated(&self, request: &Request) -> Outcome {
        self.unit().request(request, Kind::Translated)
    }

    fn message(&self, source: SourceId, at: Iova, data: u32) -> MessageOutcome {
        self.unit().message(source, at, data)
    }

    fn connect(&self, source: SourceId, atc: Arc<dyn AtcSink>) {
        self.unit().atcs.insert(source, atc);
    }
}
