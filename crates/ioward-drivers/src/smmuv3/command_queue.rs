//! The Command queue (IHI 0070, 3.5 and chapter 4) and the errors that stop it (7.1).

use super::{
    command::{self, Command},
    memory::Shared,
    registers::Registers,
};
use ioward_core::driver::{Event, Hung};
use ioward_spec::smmuv3::{
    command::{BYTES, OPCODE, WORDS},
    registers::{self as spec, cmdq_cons, cmdq_prod, gerror},
};
use ioward_types::{Mmio, Nanos, Platform};

/// Reports that wait for the next poll, the oldest being kept.
const REPORTS: usize = 16;

/// What happened to a batch beside its completion.
const REFUSED: &str = "CERROR_ILL";
const ATC_SILENT: &str = "CERROR_ATC_INV_SYNC";
const FAILURE_MODE: &str = "GERROR.SFM_ERR";
const OUT_OF_RANGE: &str = "CMDQ_CONS out of range";

/// Commands that are completed together. Errors wait until [`Batch::finish`].
#[must_use]
pub(super) struct Batch<'a, M: Mmio, P: Platform> {
    queue: &'a mut CommandQueue<P>,
    platform: &'a P,
    registers: &'a Registers<M>,
    pushed: bool,
    failed: Option<Hung>,
}

impl<M: Mmio, P: Platform> Batch<'_, M, P> {
    /// Adds a command. Waits for a place if there is none.
    pub fn push(&mut self, command: Command) {
        if self.failed.is_some() {
            return;
        }
        if self.queue.queued() == self.queue.entries() {
            self.queue.publish(self.platform, self.registers);
            let room = |queue: &CommandQueue<P>| queue.queued() < queue.entries();
            let found = self.queue.wait(self.platform, self.registers, "a free Command queue entry", room);
            self.failed = found.err();
            if self.failed.is_some() {
                return;
            }
        }
        self.queue.push(&command);
        self.pushed = true;
    }

    /// Gives the commands to the SMMU, a CMD_SYNC behind them, and waits for it. Nothing is done where there are none.
    ///
    /// `Err`: some of them may not have had their effect. Nothing is known to be forgotten by any cache.
    pub fn finish(mut self) -> Result<(), Hung> {
        if self.pushed {
            self.push(command::sync());
            self.queue.publish(self.platform, self.registers);
        }
        if let Some(hung) = self.failed {
            return Err(hung);
        }
        if self.pushed {
            self.queue.wait(self.platform, self.registers, "CMD_SYNC", |queue| queue.queued() == 0)?;
        }
        match self.queue.fault.take() {
            None => Ok(()),
            Some(what) => Err(self.registers.patience.hung(what, Nanos(0))),
        }
    }
}

/// Where the SMMU is in the queue, and what it complained about.
pub(super) struct CommandQueue<P: Platform> {
    memory: Shared<P>,
    bits: u8,
    /// Both indexes as CMDQ_PROD and CMDQ_CONS hold them: `bits` bits and the wrap flag above.
    prod: u32,
    cons: u32,
    /// CONS as it was when a wait was given up; while it stays there no wait starts anew.
    stuck: Option<u32>,
    /// Why the batch that is under way has not done what it was to do.
    fault: Option<&'static str>,
    reports: [Option<Event>; REPORTS],
    dropped: u32,
}

impl<P: Platform> CommandQueue<P> {
    pub fn new(memory: Shared<P>, bits: u8) -> Self {
        Self {
            memory,
            bits,
            prod: 0,
            cons: 0,
            stuck: None,
            fault: None,
            reports: [None; REPORTS],
            dropped: 0,
        }
    }

    /// The value of CMDQ_BASE.
    pub fn base(&self) -> u64 {
        spec::queue_base::ADDR.in_place(self.memory.phys().0)
            | spec::queue_base::LOG2SIZE.put(self.bits.into())
            | spec::queue_base::ALLOCATE.put(1)
    }

    fn entries(&self) -> u32 {
        1 << self.bits
    }

    /// How many commands the SMMU has not consumed.
    fn queued(&self) -> u32 {
        self.prod.wrapping_sub(self.cons) & (2 * self.entries() - 1)
    }

    /// Runs commands, then a CMD_SYNC, and waits for it. Commands may themselves be CMD_SYNCs.
    pub fn run<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), Hung> {
        let mut batch = self.batch(platform, registers);
        commands.into_iter().for_each(|command| batch.push(command));
        batch.finish()
    }

    /// Starts a batch.
    pub fn batch<'a, M: Mmio>(&'a mut self, platform: &'a P, registers: &'a Registers<M>) -> Batch<'a, M, P> {
        self.fault = None;
        Batch { queue: self, platform, registers, pushed: false, failed: None }
    }

    fn push(&mut self, command: &Command) {
        self.put(self.prod, command);
        self.prod = self.prod.wrapping_add(1) & (2 * self.entries() - 1);
    }

    fn put(&self, index: u32, command: &Command) {
        let at = (index & (self.entries() - 1)) as usize * BYTES;
        for (n, &word) in command.iter().enumerate() {
            self.memory.store(at + 8 * n, word);
        }
    }

    fn publish<M: Mmio>(&self, platform: &P, registers: &Registers<M>) {
        platform.publish();
        registers.mmio.write32(spec::CMDQ_PROD, cmdq_prod::WR.put(self.prod.into()) as u32);
    }

    fn wait<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
        what: &'static str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Hung> {
        if let Some(stuck) = self.stuck {
            self.look(registers, &done)?;
            if self.cons == stuck && !done(self) {
                return Err(registers.patience.hung(what, Nanos(0)));
            }
            self.stuck = None;
        }
        let mut broken = None;
        let result = registers.patience.wait(platform, what, || match self.look(registers, &done) {
            Ok(finished) => finished.then_some(()),
            Err(hung) => {
                broken = Some(hung);
                Some(())
            }
        });
        let result = broken.map_or(result, Err);
        if result.is_err() {
            self.stuck = Some(self.cons);
        }
        result
    }

    /// Takes over CMDQ_CONS and, where what is waited for has not come, deals with what stopped the queue. A queue that got
    /// there has not stopped before, so that a wait without trouble costs one register read a round.
    fn look<M: Mmio>(
        &mut self,
        registers: &Registers<M>,
        done: &impl Fn(&Self) -> bool,
    ) -> Result<bool, Hung> {
        let cons = registers.mmio.read32(spec::CMDQ_CONS);
        self.consumed(cons).map_err(|what| registers.patience.hung(what, Nanos(0)))?;
        if done(self) {
            return Ok(true);
        }
        let active = self.active_errors(registers);
        if active & gerror::SFM_ERR.mask() as u32 != 0 {
            return Err(registers.patience.hung(FAILURE_MODE, Nanos(0)));
        }
        if active & gerror::CMDQ_ERR.mask() as u32 != 0 {
            // Read again: the error may have come after the first read.
            let cons = registers.mmio.read32(spec::CMDQ_CONS);
            self.consumed(cons).map_err(|what| registers.patience.hung(what, Nanos(0)))?;
            self.recover(cons);
            self.acknowledge(registers, gerror::CMDQ_ERR.mask() as u32);
        }
        Ok(false)
    }

    /// Takes over CMDQ_CONS, if it is an index that the SMMU can have reached.
    fn consumed(&mut self, cons: u32) -> Result<(), &'static str> {
        let read = cmdq_cons::RD.of(cons.into()) as u32;
        let consumed = read.wrapping_sub(self.cons) & (2 * self.entries() - 1);
        if read >= 2 * self.entries() || consumed > self.queued() {
            self.report_once(OUT_OF_RANGE, cons);
            return Err(OUT_OF_RANGE);
        }
        self.cons = read;
        Ok(())
    }

    /// The queue stopped at `self.cons` (7.1). Nothing is consumed until the error is acknowledged.
    fn recover(&mut self, cons: u32) {
        let at = (self.cons & (self.entries() - 1)) as usize * BYTES;
        let words: Command = core::array::from_fn::<_, WORDS, _>(|n| self.memory.load(at + 8 * n));
        match cmdq_cons::ERR.of(cons.into()) {
            cmdq_cons::cerror::NONE => {}
            cmdq_cons::cerror::ILL => {
                // It is consumed again once acknowledged, so something legal must stand there.
                self.put(self.cons, &command::sync());
                self.fault = Some(REFUSED);
                self.report(Event::Unit { what: REFUSED, code: OPCODE.get(&words) });
            }
            cmdq_cons::cerror::ATC_INV_SYNC => {
                // The CMD_SYNC is consumed again and completes; what the silent device holds stays unknown.
                self.fault = Some(ATC_SILENT);
                self.report(Event::Unit { what: ATC_SILENT, code: words[0] });
            }
            // The read of the command was aborted. It is read again, until the wait ends.
            cmdq_cons::cerror::ABT => self.report_once("CERROR_ABT", cons),
            _ => self.report_once("CMDQ_CONS.ERR is Reserved", cons),
        }
    }

    /// Global errors that are active: they differ from what was acknowledged (6.3.19).
    fn active_errors<M: Mmio>(&self, registers: &Registers<M>) -> u32 {
        registers.mmio.read32(spec::GERROR) ^ registers.mmio.read32(spec::GERRORN)
    }

    /// Acknowledges active errors by toggling their bits (6.3.20).
    fn acknowledge<M: Mmio>(&self, registers: &Registers<M>, errors: u32) {
        registers.mmio.write32(spec::GERRORN, registers.mmio.read32(spec::GERRORN) ^ errors);
    }

    /// Reports and acknowledges global errors, those that stopped the queue among them.
    pub fn poll<M: Mmio>(&mut self, registers: &Registers<M>) {
        let known: [(&'static str, ioward_spec::Field); 7] = [
            ("EVENTQ_ABT_ERR", gerror::EVENTQ_ABT_ERR),
            ("PRIQ_ABT_ERR", gerror::PRIQ_ABT_ERR),
            ("MSI_CMDQ_ABT_ERR", gerror::MSI_CMDQ_ABT_ERR),
            ("MSI_EVENTQ_ABT_ERR", gerror::MSI_EVENTQ_ABT_ERR),
            ("MSI_PRIQ_ABT_ERR", gerror::MSI_PRIQ_ABT_ERR),
            ("MSI_GERROR_ABT_ERR", gerror::MSI_GERROR_ABT_ERR),
            ("DPT_ERR", gerror::DPT_ERR),
        ];
        let active = self.active_errors(registers);
        if active == 0 {
            return;
        }
        if registers.mmio.read32(spec::GERROR) == u32::MAX && registers.mmio.read32(spec::IDR0) == u32::MAX {
            self.report_once("registers read as ones", u32::MAX);
            return;
        }
        let mut answered = 0;
        for (what, field) in known {
            if active & field.mask() as u32 != 0 {
                answered |= field.mask() as u32;
                self.report(Event::Unit { what, code: active.into() });
                if matches!(field, gerror::EVENTQ_ABT_ERR | gerror::PRIQ_ABT_ERR) {
                    self.report(Event::Lost(1));
                }
            }
        }
        if active & gerror::SFM_ERR.mask() as u32 != 0 {
            // Stays active: the SMMU serves nothing until it is reset.
            self.report_once(FAILURE_MODE, active);
        }
        if active & gerror::CMDQ_ERR.mask() as u32 != 0 {
            // A batch is always waited for, so this is one that was given up.
            let cons = registers.mmio.read32(spec::CMDQ_CONS);
            if self.consumed(cons).is_ok() {
                self.recover(cons);
                answered |= gerror::CMDQ_ERR.mask() as u32;
            }
        }
        if answered != 0 {
            self.acknowledge(registers, answered);
        }
    }

    fn report_once(&mut self, what: &'static str, code: u32) {
        let event = Event::Unit { what, code: code.into() };
        if !self.reports.contains(&Some(event)) {
            self.report(event);
        }
    }

    fn report(&mut self, event: Event) {
        match self.reports.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(event),
            None => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// What was reported since the last time, and how many reports had no place.
    pub fn take_reports(&mut self) -> ([Option<Event>; REPORTS], u32) {
        (core::mem::replace(&mut self.reports, [None; REPORTS]), core::mem::take(&mut self.dropped))
    }
}
