//! The command queue (3.1) and the errors that stop it (5.15).
//!
//! A batch ends with an IOFENCE.C that writes the batch's number to memory, which is what its owner waits for. One batch is
//! under way at a time. After an illegal command or a memory fault what was fetched before may have been given up too, so
//! the batch fails as a whole and the queue starts over empty. After a timeout, which only a device's silence causes,
//! everything else has happened (3.1.2): the batch fails, and the fence is executed once more.

use super::{
    command::{self, Command},
    config::BringUpError,
    memory::Shared,
    output_queue,
    registers::{QueueCsr, Registers, bit},
};
use ioward_core::driver::{Event, Hung};
use ioward_spec::riscv::{
    command::{BYTES, FUNC3, OPCODE, WORDS},
    registers::{self as spec, cqcsr},
};
use ioward_types::{Mmio, Nanos, PhysAddr, Platform};

/// Reports that wait for the next poll, the oldest being kept.
const REPORTS: usize = 16;
/// Rounds of waiting between two looks at the registers.
const ROUNDS: u32 = 16;

const ILLEGAL: &str = "cqcsr.cmd_ill";
const MEMORY_FAULT: &str = "cqcsr.cqmf";
const TIMEOUT: &str = "cqcsr.cmd_to";
const STOPPED: &str = "cqcsr.cqon is clear";
const OUT_OF_RANGE: &str = "cqh out of range";
const GONE: &str = "registers read as ones";

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
        if self.queue.next() == self.queue.head {
            self.queue.publish(self.platform, self.registers);
            let room = |queue: &CommandQueue<P>| queue.next() != queue.head;
            let found = self.queue.wait(self.platform, self.registers, "room in the command queue", room);
            self.failed = found.err();
            if self.failed.is_some() {
                return;
            }
        }
        self.queue.push(&command);
        self.pushed = true;
    }

    /// Gives the commands to the IOMMU, an IOFENCE.C behind them, and waits for it. Nothing is done where there are none.
    ///
    /// `Err`: some of them may not have had their effect. Nothing is known to be forgotten by any cache.
    pub fn finish(mut self) -> Result<(), Hung> {
        if self.pushed {
            let (at, number) = self.queue.new_number();
            self.push(command::fence_to(at, number));
            self.queue.publish(self.platform, self.registers);
        }
        if let Some(hung) = self.failed {
            return Err(hung);
        }
        if self.pushed {
            self.queue.wait(self.platform, self.registers, "IOFENCE.C", CommandQueue::is_done)?;
            // What the completion promises is read after it.
            self.platform.observe();
        }
        match self.queue.fault.take() {
            None => Ok(()),
            Some(what) => Err(self.registers.patience.hung(what, Nanos(0))),
        }
    }
}

/// Where the IOMMU is in the queue, and what it complained about.
pub(super) struct CommandQueue<P: Platform> {
    ring: Shared<P>,
    /// Where fences write their number.
    done: Shared<P>,
    bits: u8,
    interrupt: bool,
    tail: u32,
    /// As it was last read.
    head: u32,
    /// Of the last batch; never zero, which is what `done` starts with.
    number: u32,
    /// The head as it was when a wait was given up; while it stays there no wait starts anew.
    stuck: Option<u32>,
    /// Why the batch that is under way has not done what it was to do.
    fault: Option<&'static str>,
    reports: [Option<Event>; REPORTS],
    dropped: u32,
}

impl<P: Platform> CommandQueue<P> {
    pub fn new(ring: Shared<P>, done: Shared<P>, bits: u8, interrupt: bool) -> Self {
        Self {
            ring,
            done,
            bits,
            interrupt,
            tail: 0,
            head: 0,
            number: 0,
            stuck: None,
            fault: None,
            reports: [None; REPORTS],
            dropped: 0,
        }
    }

    /// Turns the queue on.
    pub fn start<M: Mmio>(&mut self, platform: &P, registers: &Registers<M>) -> Result<(), BringUpError> {
        self.bits = output_queue::place(registers, &self.ring, self.bits, "cqb", spec::CQB)?;
        registers.mmio.write32(spec::CQT, 0);
        Ok(QueueCsr::COMMAND.enable(platform, registers, self.interrupt)?)
    }

    fn entries(&self) -> u32 {
        1 << self.bits
    }

    fn next(&self) -> u32 {
        (self.tail + 1) & (self.entries() - 1)
    }

    fn new_number(&mut self) -> (PhysAddr, u32) {
        self.number = self.number.checked_add(1).unwrap_or(1);
        (self.done.phys(), self.number)
    }

    fn is_done(&self) -> bool {
        self.done.fetch::<1>(0)[0] as u32 == self.number
    }

    /// Runs commands, then an IOFENCE.C, and waits for it.
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
        let at = self.tail as usize * BYTES;
        for (n, &word) in command.iter().enumerate() {
            self.ring.store(at + 8 * n, word);
        }
        self.tail = self.next();
    }

    fn publish<M: Mmio>(&self, platform: &P, registers: &Registers<M>) {
        platform.publish();
        registers.mmio.write32(spec::CQT, self.tail);
    }

    fn wait<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
        what: &'static str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Hung> {
        if done(self) {
            return Ok(());
        }
        if let Some(stuck) = self.stuck {
            if !self.look(platform, registers, &done)? && self.head == stuck {
                return Err(registers.patience.hung(what, Nanos(0)));
            }
            self.stuck = None;
        }
        let mut broken = None;
        let mut round = 0u32;
        let result = registers.patience.wait(platform, what, || {
            round = round.wrapping_add(1);
            if done(self) {
                return Some(());
            }
            if !round.is_multiple_of(ROUNDS) {
                return None;
            }
            match self.look(platform, registers, &done) {
                Ok(finished) => finished.then_some(()),
                Err(hung) => {
                    broken = Some(hung);
                    Some(())
                }
            }
        });
        // The bound may be shorter than a few rounds: the registers have the last word.
        let result = match (broken, result) {
            (Some(hung), _) => return Err(hung),
            (None, Err(hung)) if !self.look(platform, registers, &done)? => Err(hung),
            _ => Ok(()),
        };
        if result.is_err() {
            self.stuck = Some(self.head);
        }
        result
    }

    /// Takes over `cqh` and, where what is waited for has not come, deals with what stopped the queue.
    fn look<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
        done: &impl Fn(&Self) -> bool,
    ) -> Result<bool, Hung> {
        let broken = |what| registers.patience.hung(what, Nanos(0));
        let csr = QueueCsr::COMMAND.read(registers);
        if csr == u32::MAX {
            self.report_once(GONE, csr.into());
            return Err(broken(GONE));
        }
        let head = registers.mmio.read32(spec::CQH);
        let consumed = head.wrapping_sub(self.head) & (self.entries() - 1);
        let queued = self.tail.wrapping_sub(self.head) & (self.entries() - 1);
        if head >= self.entries() || consumed > queued {
            self.report_once(OUT_OF_RANGE, head.into());
            return Err(broken(OUT_OF_RANGE));
        }
        self.head = head;
        if done(self) {
            return Ok(true);
        }
        if let Some(what) = self.stopped_by(csr) {
            self.restart(platform, registers)?;
            return Err(broken(what));
        }
        if csr & bit(cqcsr::CMD_TO) != 0 {
            // What the silent device holds stays unknown.
            self.fault = Some(TIMEOUT);
            self.report(Event::Unit { what: TIMEOUT, code: head.into() });
            self.clear(platform, registers, bit(cqcsr::CMD_TO))?;
        }
        Ok(false)
    }

    /// What of it has stopped the queue so that it must start over; that is reported.
    fn stopped_by(&mut self, csr: u32) -> Option<&'static str> {
        if csr & bit(cqcsr::CMD_ILL) != 0 {
            let at = self.head as usize * BYTES;
            let words: Command = core::array::from_fn::<_, WORDS, _>(|n| self.ring.load(at + 8 * n));
            let code = FUNC3.get(&words) << 8 | OPCODE.get(&words);
            self.report(Event::Unit { what: ILLEGAL, code });
            return Some(ILLEGAL);
        }
        let what = if csr & bit(cqcsr::CQMF) != 0 {
            MEMORY_FAULT
        } else if csr & (QueueCsr::ON | QueueCsr::BUSY) == 0 {
            STOPPED
        } else {
            return None;
        };
        self.report(Event::Unit { what, code: csr.into() });
        Some(what)
    }

    /// Clears error bits, and lets the IOMMU look at the queue again.
    fn clear<M: Mmio>(&self, platform: &P, registers: &Registers<M>, errors: u32) -> Result<(), Hung> {
        let value = QueueCsr::enabled(self.interrupt) | errors;
        QueueCsr::COMMAND.write(platform, registers, value)?;
        registers.mmio.write32(spec::CQT, self.tail);
        Ok(())
    }

    /// Starts over with an empty queue. What was in it and not completed is nobody's any more.
    fn restart<M: Mmio>(&mut self, platform: &P, registers: &Registers<M>) -> Result<(), Hung> {
        let done = QueueCsr::COMMAND.disable(platform, registers).and_then(|()| {
            registers.mmio.write32(spec::CQT, 0);
            QueueCsr::COMMAND.enable(platform, registers, self.interrupt)
        });
        (self.head, self.tail) = (0, 0);
        self.stuck = done.is_err().then_some(0);
        done
    }

    /// Reports errors and has the queue go on after them.
    pub fn poll<M: Mmio>(&mut self, platform: &P, registers: &Registers<M>) {
        let csr = QueueCsr::COMMAND.read(registers);
        if csr == u32::MAX {
            return self.report_once(GONE, csr.into());
        }
        // A batch is always waited for, so an error is of one that was given up.
        let head = registers.mmio.read32(spec::CQH);
        if head < self.entries() {
            self.head = head;
        }
        if self.stopped_by(csr).is_some() {
            // Where it does not start, the next batch finds out.
            let _ = self.restart(platform, registers);
        } else if csr & bit(cqcsr::CMD_TO) != 0 {
            self.report(Event::Unit { what: TIMEOUT, code: head.into() });
            let _ = self.clear(platform, registers, bit(cqcsr::CMD_TO));
        }
    }

    fn report_once(&mut self, what: &'static str, code: u64) {
        let event = Event::Unit { what, code };
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
