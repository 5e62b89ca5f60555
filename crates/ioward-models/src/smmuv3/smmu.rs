//! The model as others hold it.

use super::{
    events::Fault,
    features::Features,
    state::{CommandFilter, PageResponse, Poison, Signal, State},
    translate::{End, Reached},
};
use crate::{
    memory::Memory,
    model::{Access, AtcSink, IommuModel, Outcome, Request},
};
use ioward_spec::smmuv3::{
    event::id,
    pri,
    registers::{self as r, cr0, cr2, gbpa},
    ste::eats,
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, SourceId};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Told of every [`Signal`], outside the model's lock.
type Handler = Arc<dyn Fn(Signal) + Send + Sync>;

/// One SMMUv3. Share it by `Arc`.
pub struct Smmu {
    state: Mutex<State>,
    handler: Mutex<Option<Handler>>,
    features: Features,
}

impl Smmu {
    /// An SMMU as it comes out of reset, over a machine's memory. Violations go where the memory's go, by `name`.
    pub fn new(name: &str, features: Features, memory: Memory) -> Arc<Self> {
        let state = State::new(name, features, memory);
        Arc::new(Self { state: Mutex::new(state), handler: Mutex::new(None), features })
    }

    /// What it was built with.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Fills every cache, and every register that resets to an UNKNOWN value, with garbage, as power-on may. Whoever
    /// enables translation without having invalidated hits it, and is reported.
    pub fn poison(&self) {
        let mut state = self.state();
        state.poison = Poison {
            config: Some(BTreeSet::new()),
            first: Some(BTreeSet::new()),
            second: Some(BTreeSet::new()),
            el2: true,
        };
        let regs = &mut state.regs;
        regs.cr1 = 0x2a5;
        regs.cr2 = cr2::RECINVSID.mask() as u32;
        regs.strtab_base = 0x1234_5000;
        regs.strtab_cfg = 0x0001_0185;
        for queue in [&mut regs.cmdq, &mut regs.eventq, &mut regs.priq] {
            queue.base = 0x4444_4003;
            queue.prod = 0x8000_000b;
            queue.cons = 0x0000_0005;
        }
        for msi in [&mut regs.gerror_msi, &mut regs.eventq_msi, &mut regs.priq_msi] {
            msi.address = 0x5555_5550;
            msi.data = 0xbad;
        }
    }

    /// Sets a register by its offset as firmware or a crashed kernel left it: no guards, no handshake. CR0 and IRQ_CTRL
    /// take effect at once.
    pub fn preset(&self, at: usize, value: u64) {
        self.state().preset(at, value);
    }

    /// Decides over every command from now on, before it is looked at: false drops it, as if it were consumed.
    pub fn set_command_filter(&self, filter: CommandFilter) {
        self.state().filter = Some(filter);
    }

    /// Every command carried out so far, dropped ones not among them.
    pub fn commands(&self) -> Vec<[u64; 2]> {
        self.state().commands.clone()
    }

    /// From now on it consumes no command and acknowledges no register, or does again.
    pub fn set_hung(&self, hung: bool) {
        let mut state = self.state();
        state.hung = hung;
        if !hung {
            state.finish();
            state.run_commands();
        }
    }

    /// From now on every register reads as all ones, every write is lost and every request is aborted.
    pub fn set_gone(&self, gone: bool) {
        self.state().gone = gone;
    }

    /// How many register reads pass until a write to CR0, GBPA or IRQ_CTRL takes effect; 2 unless changed.
    pub fn set_latency(&self, reads: u32) {
        self.state().latency = reads;
    }

    /// Whether hardware looks ahead: fetches structures and translations that nobody asked for. It does unless changed.
    pub fn set_eager(&self, eager: bool) {
        self.state().eager = eager;
    }

    /// A stream is behind this SMMU, so that its structures may be fetched at any time. Streams that make requests or
    /// are named by commands are known by themselves.
    pub fn watch(&self, source: SourceId, pasid: Option<Pasid>) {
        let mut state = self.state();
        state.know(source.0, pasid.map_or(0, |pasid| pasid.0));
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

    /// Events so far, recorded or not.
    pub fn events(&self) -> u64 {
        self.state().events
    }

    /// Who is told of signals. The handler may use the registers.
    pub fn set_handler(&self, handler: Arc<dyn Fn(Signal) + Send + Sync>) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    }

    /// Signals since the last call; none where a handler takes them.
    pub fn take_signals(&self) -> Vec<Signal> {
        std::mem::take(&mut self.state().signals)
    }

    /// A device asks for a page (PRI). False: the request was discarded, and the device is answered at once.
    pub fn page_request(&self, request: &Request, group: u16, last: bool) -> bool {
        let mut words = [0; pri::WORDS];
        pri::STREAM_ID.set(&mut words, request.source.0.into());
        if let Some(pasid) = request.pasid {
            pri::SUBSTREAM_ID.set(&mut words, pasid.0.into());
            pri::SSV.set(&mut words, 1);
            pri::PRIVILEGED.set(&mut words, request.privileged.into());
            pri::EXECUTE.set(&mut words, (request.access == Access::Execute).into());
        }
        pri::READ.set(&mut words, (request.access != Access::Write).into());
        pri::WRITE.set(&mut words, (request.access == Access::Write).into());
        pri::LAST.set(&mut words, last.into());
        pri::PRG_INDEX.set(&mut words, group.into());
        pri::PAGE_ADDR.set_in_place(&mut words, request.at.0);
        self.run(|state| state.push_page_request(words))
    }

    /// Answers to page requests since the last call.
    pub fn take_responses(&self) -> Vec<PageResponse> {
        std::mem::take(&mut self.state().responses)
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

impl fmt::Debug for Smmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smmu({})", self.state().name)
    }
}

impl Mmio for Smmu {
    fn read32(&self, at: usize) -> u32 {
        self.run(|state| {
            let inside = at.is_multiple_of(4) && at < r::BLOCK_BYTES;
            if state.gone || !inside { u32::MAX } else { state.read(at) }
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
            state.write(at, value as u32);
            state.write(at + 4, (value >> 32) as u32);
        });
    }
}

impl State {
    /// A 64-bit access to two 32-bit registers is CONSTRAINED UNPREDICTABLE (6.2).
    fn judge_wide(&self, at: usize) {
        let wide = [
            r::GERROR_IRQ_CFG0,
            r::STRTAB_BASE,
            r::CMDQ_BASE,
            r::EVENTQ_BASE,
            r::EVENTQ_IRQ_CFG0,
            r::PRIQ_BASE,
            r::PRIQ_IRQ_CFG0,
        ];
        if !wide.contains(&at) {
            self.wrong("IHI 0070 G.b 6.2", format!("a 64-bit access to 32-bit registers at {at:#x}"));
        }
    }

    /// A request while SMMUEN is 0 (6.3.9.6, 6.3.14).
    fn bypass(&self, request: &Request) -> Outcome {
        let bypass = u64::from(self.regs.gbpa);
        let aborts = gbpa::ABORT.of(bypass) == 1;
        if aborts || self.beyond(request.at.0) { Outcome::Aborted } else { pass(request.at) }
    }

    fn end(&mut self, request: &Request, end: &End) {
        if let Some(fault) = &end.fault {
            let unrecorded = fault.id == id::C_BAD_STREAMID && cr2::RECINVSID.of(self.regs.cr2.into()) == 0;
            if !unrecorded {
                self.record(fault, request, end.privileged, end.instruction);
            }
        }
    }
}

fn pass(at: Iova) -> Outcome {
    Outcome::To { at: PhysAddr(at.0), page: 0x1000, writable: true }
}

fn outcome(reached: &Reached) -> Outcome {
    Outcome::To { at: PhysAddr(reached.at), page: 1 << reached.bits, writable: reached.writable }
}

impl IommuModel for Smmu {
    fn request(&self, request: &Request) -> Outcome {
        self.run(|state| {
            if state.gone {
                return Outcome::Aborted;
            }
            if !state.is_enabled(cr0::SMMUEN) {
                return state.bypass(request);
            }
            match state.translate(request, false, false) {
                Ok(reached) => outcome(&reached),
                Err(end) => {
                    state.end(request, &end);
                    Outcome::Aborted
                }
            }
        })
    }

    fn translate_ahead(&self, request: &Request) -> Outcome {
        self.run(|state| {
            if state.gone || !state.features.ats {
                return Outcome::Aborted;
            }
            let refuse = |state: &mut State| {
                state.record(&Fault::config(id::F_BAD_ATS_TREQ), request, request.privileged, false);
                Outcome::Aborted
            };
            if !state.is_enabled(cr0::SMMUEN) {
                return refuse(state);
            }
            // Other configuration faults of a translation request are not recorded (7.3.6).
            let Ok(ste) = state.ste(request.source.0) else { return Outcome::Aborted };
            if ste.aborts() {
                return Outcome::Aborted;
            }
            let checked = state.ats_checked();
            if ste.eats(&state.features.clone(), checked) == eats::ABORT {
                return refuse(state);
            }
            match state.translate(request, true, false) {
                // A cached translation is taken to be readable, so one that is not is not given out.
                Ok(reached) if reached.readable => outcome(&reached),
                _ => Outcome::Aborted,
            }
        })
    }

    fn translated(&self, request: &Request) -> Outcome {
        self.run(|state| {
            if state.gone || !state.features.ats {
                return Outcome::Aborted;
            }
            let forbid = |state: &mut State| {
                state.record(&Fault::config(id::F_TRANSL_FORBIDDEN), request, request.privileged, false);
                Outcome::Aborted
            };
            if !state.is_enabled(cr0::SMMUEN) {
                return forbid(state);
            }
            if state.beyond(request.at.0) {
                return Outcome::Aborted;
            }
            if !state.ats_checked() {
                return pass(request.at);
            }
            let Ok(ste) = state.ste(request.source.0) else { return Outcome::Aborted };
            if ste.aborts() {
                return Outcome::Aborted;
            }
            match ste.eats(&state.features.clone(), true) {
                eats::FULL => pass(request.at),
                eats::SPLIT => match state.translate_second(&ste, request) {
                    Ok(reached) => outcome(&reached),
                    Err(fault) => {
                        let end =
                            End { fault: Some(fault), privileged: request.privileged, instruction: false };
                        state.end(request, &end);
                        Outcome::Aborted
                    }
                },
                _ => forbid(state),
            }
        })
    }

    fn connect(&self, source: SourceId, atc: Arc<dyn AtcSink>) {
        let mut state = self.state();
        state.know(source.0, 0);
        state.atcs.entry(source.0).or_default().push(atc);
    }
}
