//! The model as others hold it.

use super::{
    features::Features,
    msi::MsiOutcome,
    queues::PageRequestOutcome,
    state::{CommandFilter, PageResponse, Poison, Signal, State},
    translate::{Fault, How, Reached},
};
use crate::{
    memory::Memory,
    model::{Access, AtcSink, IommuModel, Outcome, Request},
};
use ioward_spec::riscv::{fault::cause, registers as r};
use ioward_types::{Mmio, Pasid, PhysAddr, SourceId};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Told of every [`Signal`], outside the model's lock.
type Handler = Arc<dyn Fn(Signal) + Send + Sync>;

/// One RISC-V IOMMU. Share it by `Arc`.
pub struct RiscvIommu {
    state: Mutex<State>,
    handler: Mutex<Option<Handler>>,
    features: Features,
}

impl RiscvIommu {
    /// An IOMMU as it comes out of reset, over a machine's memory. Violations go where the memory's go, by `name`.
    pub fn new(name: &str, features: Features, memory: Memory) -> Arc<Self> {
        let state = State::new(name, features, memory);
        Arc::new(Self { state: Mutex::new(state), handler: Mutex::new(None), features })
    }

    /// What it was built with.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Fills every cache with garbage, as whoever used it before may have left it: a mode of Off empties nothing (5.5).
    /// Whoever enables translation without having invalidated hits it, and is reported. Registers that reset to an
    /// unspecified value hold garbage too.
    pub fn poison(&self) {
        let mut state = self.state();
        state.poison = Poison {
            contexts: Some(BTreeSet::new()),
            host: Some(BTreeSet::new()),
            first: Some(BTreeSet::new()),
            second: Some(BTreeSet::new()),
        };
        let regs = &mut state.regs;
        for queue in [&mut regs.command, &mut regs.fault, &mut regs.page] {
            queue.base = 0x1111_1003;
            queue.head = 5;
            queue.tail = 11;
        }
        for entry in &mut regs.msi {
            entry.address = 0x5555_5550;
            entry.data = 0xbad;
        }
    }

    /// Sets a register by its offset as firmware or a crashed kernel left it: no guards, no handshake. ddtp and the
    /// queues' control registers take effect at once.
    pub fn preset(&self, at: usize, value: u64) {
        self.state().preset(at, value);
    }

    /// Decides over every command from now on, before it is looked at: false drops it, as if it were carried out.
    pub fn set_command_filter(&self, filter: CommandFilter) {
        self.state().filter = Some(filter);
    }

    /// Every command fetched so far, dropped ones not among them.
    pub fn commands(&self) -> Vec<[u64; 2]> {
        self.state().commands.clone()
    }

    /// From now on it fetches no command, or does again. Control registers still work.
    pub fn set_hung(&self, hung: bool) {
        let mut state = self.state();
        state.hung = hung;
        state.run_commands();
    }

    /// From now on no busy bit clears and no queue turns on or off, or they do again.
    pub fn set_stuck(&self, stuck: bool) {
        let mut state = self.state();
        state.stuck = stuck;
        state.finish();
    }

    /// From now on every register reads as all ones, every write is lost and every request is aborted.
    pub fn set_gone(&self, gone: bool) {
        self.state().gone = gone;
    }

    /// How many register reads pass until a write to ddtp or a control register takes effect; 2 unless changed.
    pub fn set_latency(&self, reads: u32) {
        self.state().latency = reads;
    }

    /// Whether hardware looks ahead: fetches contexts and translations that nobody asked for. It does unless changed.
    pub fn set_eager(&self, eager: bool) {
        self.state().eager = eager;
    }

    /// A device is behind this IOMMU, so that its contexts may be fetched at any time. Devices that make requests or are
    /// named by commands are known by themselves.
    pub fn watch(&self, source: SourceId, pasid: Option<Pasid>) {
        let mut state = self.state();
        state.know(source.0, pasid.map(|pasid| pasid.0));
        state.prefetch(source.0);
    }

    /// Empties every cache, as eviction may at any time.
    pub fn evict(&self) {
        self.state().evict();
    }

    /// Leaves cached at the moment.
    pub fn cached_leaves(&self) -> usize {
        self.state().tlb.leaves()
    }

    /// Device contexts cached at the moment.
    pub fn cached_contexts(&self) -> usize {
        self.state().dcs.len()
    }

    /// Faults so far, recorded or lost; suppressed ones not among them.
    pub fn faults(&self) -> u64 {
        self.state().faults
    }

    /// Which rule of 2.1.4 the context of a device breaks, as it was read last.
    pub fn explain(&self, source: SourceId) -> Option<&'static str> {
        self.state().explain(source.0)
    }

    /// Who is told of signals. The handler may use the registers.
    pub fn set_handler(&self, handler: Arc<dyn Fn(Signal) + Send + Sync>) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    }

    /// Signals since the last call; none where a handler takes them.
    pub fn take_signals(&self) -> Vec<Signal> {
        std::mem::take(&mut self.state().signals)
    }

    /// Vectors whose wires are up, a bit each.
    pub fn wires(&self) -> u16 {
        self.state().wires()
    }

    /// A device asks for a page (PRI). `access`: for what; none for a stop marker, which is `last`.
    pub fn page_request(
        &self,
        request: &Request,
        access: Option<Access>,
        group: u16,
        last: bool,
    ) -> PageRequestOutcome {
        self.run(|state| state.page_request(request, access, group, last))
    }

    /// Answers to page requests that software gave since the last call.
    pub fn take_responses(&self) -> Vec<PageResponse> {
        std::mem::take(&mut self.state().responses)
    }

    /// A device writes a message: 32 bits of data. Unlike a plain write it can end in an interrupt file in memory.
    pub fn message_write(&self, request: &Request, data: u32) -> MsiOutcome {
        self.run(|state| if state.gone { MsiOutcome::Aborted } else { state.message_write(request, data) })
    }

    /// Reports tables that were freed while hardware may still read them.
    pub fn audit(&self) {
        self.state().audit();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs with the lock held, then delivers what was signalled.
    fn run<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (result, signals) = {
            let mut state = self.state();
            let result = what(&mut state);
            let signals = if handler.is_some() { std::mem::take(&mut state.signals) } else { Vec::new() };
            (result, signals)
        };
        if let Some(handler) = handler {
            signals.into_iter().for_each(|signal| handler(signal));
        }
        result
    }
}

impl fmt::Debug for RiscvIommu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RiscvIommu({})", self.state().name)
    }
}

impl Mmio for RiscvIommu {
    fn read32(&self, at: usize) -> u32 {
        self.run(|state| {
            let inside = at.is_multiple_of(4) && at < r::BLOCK_BYTES;
            if state.gone || !inside {
                return u32::MAX;
            }
            state.tick();
            state.read(at)
        })
    }

    fn write32(&self, at: usize, value: u32) {
        self.run(|state| {
            state.memory.barrier();
            if !state.gone && at.is_multiple_of(4) && at < r::BLOCK_BYTES {
                state.write(at, value);
            }
        });
    }

    fn read64(&self, at: usize) -> u64 {
        self.run(|state| {
            if state.gone || !at.is_multiple_of(8) || at >= r::BLOCK_BYTES {
                return u64::MAX;
            }
            state.judge_wide(at);
            state.tick();
            u64::from(state.read(at + 4)) << 32 | u64::from(state.read(at))
        })
    }

    fn write64(&self, at: usize, value: u64) {
        self.run(|state| {
            state.memory.barrier();
            if state.gone || !at.is_multiple_of(8) || at >= r::BLOCK_BYTES {
                return;
            }
            state.judge_wide(at);
            // An access of 8 bytes may be one of the high half and then one of the low half (5).
            state.write(at + 4, (value >> 32) as u32);
            state.write(at, value as u32);
        });
    }
}

fn outcome(reached: &Reached) -> Outcome {
    Outcome::To { at: PhysAddr(reached.at), page: 1 << reached.bits, writable: reached.writable }
}

impl State {
    fn request(&mut self, request: &Request, how: How) -> Outcome {
        match self.translate(request, how, false) {
            Ok(Reached { mrif: Some(_), .. }) if request.access == Access::Write => Outcome::Interrupt,
            Ok(Reached { mrif: Some(_), .. }) => {
                self.report(request, how, &Fault::of(cause::READ_ACCESS));
                Outcome::Aborted
            }
            Ok(reached) => outcome(&reached),
            Err(end) => {
                self.end(request, how, &end);
                Outcome::Aborted
            }
        }
    }

    /// A translation request of a device (2.6). A write is asked for together with a read, and granted apart.
    fn ahead(&mut self, request: &Request) -> Outcome {
        let read = Request { access: Access::Read, ..*request };
        match self.translate(&read, How::Ahead, false) {
            // Only untranslated requests may go to an interrupt file in memory.
            Ok(Reached { mrif: Some(_), .. }) => Outcome::Aborted,
            Ok(mut reached) => {
                if request.access == Access::Write && !reached.writable {
                    let write = self.translate(request, How::Ahead, false);
                    reached.writable = write.is_ok_and(|again| again.writable);
                }
                outcome(&reached)
            }
            Err(end) => {
                // A success that grants nothing is no fault.
                let granted_nothing = matches!(
                    end.fault.cause,
                    cause::INSTRUCTION_PAGE
                        | cause::READ_PAGE
                        | cause::WRITE_PAGE
                        | cause::INSTRUCTION_GUEST_PAGE
                        | cause::READ_GUEST_PAGE
                        | cause::WRITE_GUEST_PAGE
                        | cause::PDT_NOT_VALID
                        | cause::MSI_PTE_NOT_VALID
                );
                if !granted_nothing {
                    self.end(request, How::Ahead, &end);
                }
                Outcome::Aborted
            }
        }
    }
}

impl IommuModel for RiscvIommu {
    fn request(&self, request: &Request) -> Outcome {
        self.run(
            |state| {
                if state.gone { Outcome::Aborted } else { state.request(request, How::Untranslated) }
            },
        )
    }

    fn translate_ahead(&self, request: &Request) -> Outcome {
        self.run(|state| if state.gone { Outcome::Aborted } else { state.ahead(request) })
    }

    fn translated(&self, request: &Request) -> Outcome {
        self.run(|state| if state.gone { Outcome::Aborted } else { state.request(request, How::Translated) })
    }

    fn connect(&self, source: SourceId, atc: Arc<dyn AtcSink>) {
        let mut state = self.state();
        state.know(source.0, None);
        state.atcs.entry(source.0).or_default().push(atc);
    }
}
