//! The invalidation queue (6.5.2): a ring that software fills and hardware empties, and the errors that stop it (6.5.2.10).
//!
//! One batch is under way at a time. It ends with a wait descriptor that stores the batch's own number, so that a batch is
//! confirmed by nothing but its own completion.
//!
//! * IQE: the descriptor at the head is not understood and nothing goes on. Something harmless is put in its place, and the
//!   batch has failed. Where that does not help, the queue is started over, empty.
//! * ITE: a device did not answer in time. Waits that hardware has fetched are dropped, so another is put behind them; the
//!   batch has failed, and the queue goes on for everybody else.
//! * ICE: a device answered what it was not asked. It is reported and nothing else.

use super::capability::Manner;
use super::descriptor::{Command, Descriptor, wait_for_all};
use super::global_command::Unit;
use super::memory::{PAGE, Reach, Shared};
use ioward_core::driver::{Event, Hung};
use ioward_spec::vtd::registers::{self as spec, fsts, gcmd, iqa, iqercd, iqh, iqt};
use ioward_types::{Mmio, Nanos, OutOfMemory, PhysAddr, Platform};

/// Reports that wait for the next poll, the oldest being kept.
const REPORTS: usize = 16;
/// Rounds of waiting between two looks at the fault status.
const ROUNDS: u32 = 8;
/// Where completions and fences are stored to, in the page behind the ring.
const DONE: usize = 0;
const FENCED: usize = 8;

const NOT_UNDERSTOOD: &str = "a descriptor that the invalidation queue stopped at (IQE)";
const SILENT: &str = "a device-TLB invalidation that timed out (ITE)";
const GONE: &str = "registers that read all ones";
const COMPLETION: &str = "an invalidation wait descriptor";

/// What happened since the last poll.
pub(super) type Reports = ([Option<Event>; REPORTS], u32);

/// The ring, where both sides are in it, and what hardware complained about.
pub(super) struct InvalidationQueue<P: Platform> {
    ring: Shared<P>,
    status: Shared<P>,
    manner: Manner,
    /// Bytes of a descriptor.
    width: usize,
    entries: u32,
    tail: u32,
    head: u32,
    /// The number of the last batch.
    number: u32,
    /// The head as it was when a wait was given up; while it stays there no wait starts anew.
    stuck: Option<u32>,
    /// Where the queue stopped last, in the batch that is under way.
    stopped: Option<u32>,
    /// Why the batch that is under way has not done what it was to do.
    fault: Option<&'static str>,
    reports: [Option<Event>; REPORTS],
    dropped: u32,
}

impl<P: Platform> InvalidationQueue<P> {
    /// A ring of `1 << pages_log2` pages; `wide`: of descriptors of 256 bits, as scalable mode has them.
    pub fn new(
        platform: &P,
        reach: Reach,
        pages_log2: u8,
        wide: bool,
        manner: Manner,
    ) -> Result<Self, OutOfMemory> {
        let ring = Shared::new(platform, reach, PAGE << pages_log2)?;
        let status = match Shared::new(platform, reach, PAGE) {
            Ok(status) => status,
            Err(error) => {
                // SAFETY: no hardware has been told of it.
                unsafe { ring.free() };
                return Err(error);
            }
        };
        let width = if wide {
            ioward_spec::vtd::descriptor::BYTES_256
        } else {
            ioward_spec::vtd::descriptor::BYTES_128
        };
        let entries = (ring.bytes() / width) as u32;
        Ok(Self {
            ring,
            status,
            manner,
            width,
            entries,
            tail: 0,
            head: 0,
            number: 0,
            stuck: None,
            stopped: None,
            fault: None,
            reports: [None; REPORTS],
            dropped: 0,
        })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.ring.free();
            self.status.free();
        }
    }

    /// Tells hardware where the ring is and starts it. It is off.
    pub fn start<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        (self.head, self.tail) = (0, 0);
        unit.registers.write64(spec::IQT, 0);
        let size = (self.ring.bytes() / PAGE).trailing_zeros();
        let wide = self.width == ioward_spec::vtd::descriptor::BYTES_256;
        let base =
            iqa::IQA.in_place(self.ring.phys().0) | iqa::QS.put(size.into()) | iqa::DW.put(wide.into());
        unit.registers.write64(spec::IQA, base);
        unit.set(gcmd::QIE, true, "queued invalidation to start (GSTS.QIES)")
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.fault = None;
        self.stopped = None;
    }

    fn next(&self, index: u32) -> u32 {
        (index + 1) % self.entries
    }

    fn put(&self, index: u32, descriptor: &Descriptor) {
        let at = index as usize * self.width;
        for (n, word) in descriptor[..self.width / 8].iter().enumerate() {
            self.ring.store(at + 8 * n, *word);
        }
    }

    fn ring_the_bell<M: Mmio>(&self, unit: &Unit<M, P>) {
        unit.platform.publish();
        let tail = iqt::QT.in_place(u64::from(self.tail) * self.width as u64);
        unit.registers.write64(spec::IQT, tail);
    }

    /// Adds a command. Waits for a place if there is none.
    pub fn push<M: Mmio>(&mut self, unit: &Unit<M, P>, command: &Command) -> Result<(), Hung> {
        self.add(unit, &command.encode(self.manner))
    }

    /// Nothing that is added later starts before everything that was added until now is done.
    pub fn fence<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        let to = PhysAddr(self.status.phys().0 + FENCED as u64);
        self.add(unit, &wait_for_all(to, self.number))
    }

    fn add<M: Mmio>(&mut self, unit: &Unit<M, P>, descriptor: &Descriptor) -> Result<(), Hung> {
        if self.next(self.tail) == self.head {
            self.fetched(unit)?;
            if self.next(self.tail) == self.head {
                self.ring_the_bell(unit);
                self.wait(unit, "room in the invalidation queue", |queue| {
                    queue.next(queue.tail) != queue.head
                })?;
            }
        }
        self.put(self.tail, descriptor);
        self.tail = self.next(self.tail);
        Ok(())
    }

    /// Gives the batch to hardware and waits until it is done.
    pub fn finish<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        self.number = self.number.wrapping_add(1);
        self.add_completion(unit)?;
        let number = self.number;
        self.wait(unit, COMPLETION, |queue| queue.completed() == number)?;
        // What the completion promises is read after it.
        unit.platform.observe();
        match self.fault.take() {
            None => Ok(()),
            Some(what) => Err(unit.hung(what, Nanos(0))),
        }
    }

    fn add_completion<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        let to = PhysAddr(self.status.phys().0 + DONE as u64);
        self.add(unit, &wait_for_all(to, self.number))?;
        self.ring_the_bell(unit);
        Ok(())
    }

    fn completed(&self) -> u32 {
        self.status.fetch::<1>(DONE)[0] as u32
    }

    fn wait<M: Mmio>(
        &mut self,
        unit: &Unit<M, P>,
        what: &'static str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Hung> {
        if let Some(stuck) = self.stuck {
            self.look(unit)?;
            if self.head == stuck && !done(self) {
                return Err(unit.hung(what, Nanos(0)));
            }
            self.stuck = None;
        }
        let mut round = 0u32;
        let mut broken = None;
        let result = unit.wait(what, || {
            if done(self) {
                return true;
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS) {
                broken = self.look(unit).err();
            }
            broken.is_some() || done(self)
        });
        if let Some(hung) = broken {
            return Err(hung);
        }
        if result.is_err() && self.head != self.tail {
            self.stuck = Some(self.head);
        }
        result
    }

    /// Takes over the head and deals with what stopped the queue.
    fn look<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        let status = unit.registers.read32(spec::FSTS);
        if status == u32::MAX && unit.registers.read32(spec::GSTS) == u32::MAX {
            return Err(unit.hung(GONE, Nanos(0)));
        }
        self.fetched(unit)?;
        if fsts::ICE.of(status.into()) != 0 {
            let code = iqercd::ICESID.of(unit.registers.read64(spec::IQERCD));
            unit.registers.write32(spec::FSTS, fsts::ICE.mask() as u32);
            self.report(Event::Unit { what: "ICE: a device answered an invalidation wrongly", code });
        }
        if fsts::IQE.of(status.into()) != 0 {
            self.go_on(unit)?;
        }
        if fsts::ITE.of(status.into()) != 0 {
            let code = iqercd::ITESID.of(unit.registers.read64(spec::IQERCD));
            self.fault = Some(SILENT);
            self.report(Event::Unit { what: "ITE: a device did not answer an invalidation", code });
            unit.registers.write32(spec::FSTS, fsts::ITE.mask() as u32);
            // Waits that had been fetched are dropped. Where there is no room, there are some that have not been.
            if self.next(self.tail) != self.head {
                self.add_completion(unit)?;
            }
        }
        Ok(())
    }

    /// The head as hardware tells it. One that points nowhere is taken as no progress.
    fn fetched<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        let raw = unit.registers.read64(spec::IQH);
        if raw == u64::MAX {
            return Err(unit.hung(GONE, Nanos(0)));
        }
        let at = iqh::QH.in_place(raw) as usize;
        let index = (at / self.width) as u32;
        if !at.is_multiple_of(self.width) || index >= self.entries {
            self.report_once(Event::Unit { what: "the invalidation queue's head points nowhere", code: raw });
            return Ok(());
        }
        self.head = index;
        Ok(())
    }

    /// The queue stopped at the head.
    fn go_on<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        let why = iqercd::IQEI.of(unit.registers.read64(spec::IQERCD));
        self.fault = Some(NOT_UNDERSTOOD);
        self.report(Event::Unit { what: "IQE: the invalidation queue stopped", code: why });
        if self.stopped == Some(self.head) || self.head == self.tail {
            return self.restart(unit);
        }
        self.stopped = Some(self.head);
        let to = PhysAddr(self.status.phys().0 + FENCED as u64);
        self.put(self.head, &wait_for_all(to, 0));
        unit.platform.publish();
        unit.registers.write32(spec::FSTS, fsts::IQE.mask() as u32);
        Ok(())
    }

    /// Starts over with an empty ring. What was in it may not have happened.
    fn restart<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Result<(), Hung> {
        unit.set(gcmd::QIE, false, "queued invalidation to stop (GSTS.QIES)")?;
        unit.registers.write32(spec::FSTS, fsts::IQE.mask() as u32);
        self.start(unit)?;
        self.stopped = None;
        Err(unit.hung(NOT_UNDERSTOOD, Nanos(0)))
    }

    /// Deals with errors of a batch that was given up, and tells what was reported since the last time.
    pub fn poll<M: Mmio>(&mut self, unit: &Unit<M, P>) -> Reports {
        let status = unit.registers.read32(spec::FSTS);
        let errors = fsts::IQE.mask() | fsts::ICE.mask() | fsts::ITE.mask();
        if status != u32::MAX && u64::from(status) & errors != 0 {
            self.begin();
            // What it says is in the reports.
            let _ = self.look(unit);
            self.begin();
        }
        (core::mem::replace(&mut self.reports, [None; REPORTS]), core::mem::take(&mut self.dropped))
    }

    fn report_once(&mut self, event: Event) {
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
}
