//! The command buffer (48882 §2.4): a ring that software fills and hardware empties.
//!
//! One lock for its tail; waits are outside it. A batch ends with a COMPLETION_WAIT that stores its own number into its
//! own word, so that a batch is confirmed by nothing but its own completion, in whatever order completions come.
//!
//! After ILLEGAL_COMMAND_ERROR or COMMAND_HARDWARE_ERROR hardware stops fetching. The ring is then restarted empty:
//! batches that were not confirmed by then never are, and their owners are told so, since what they asked for may not
//! have happened.

use super::command::Command;
use super::unit::Unit;
use core::sync::atomic::{AtomicU64, Ordering};
use ioward_core::driver::Hung;
use ioward_spec::amdvi::{control, registers::buffer, registers::offset, registers::status};
use ioward_types::{Frames, Mmio, Mutex, OutOfMemory, PhysAddr, Platform};

const ENTRY: usize = buffer::ENTRY_BYTES as usize;
/// Rounds of waiting between two looks at the status register.
const ROUNDS: u32 = 64;

struct Ring {
    /// Where the next command goes, as an index.
    tail: u32,
    /// Up to where hardware has fetched, when it was last asked.
    head: u32,
    /// The number of the last batch.
    last: u64,
}

/// The ring and the words that completions are stored to.
pub(super) struct CommandBuffer<P: Platform> {
    frames: Frames<P>,
    /// A word for each entry.
    done: Frames<P>,
    entries: u32,
    ring: Mutex<P::Lock, Ring>,
    /// Batches up to this number that are not confirmed never will be.
    lost: AtomicU64,
}

/// One batch under way.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Ticket {
    number: u64,
    entry: u32,
}

/// Puts commands into the ring for one batch.
pub(super) struct Batch<'b, M, P: Platform> {
    unit: &'b Unit<M, P>,
    buffer: &'b CommandBuffer<P>,
    ring: &'b mut Ring,
}

impl<P: Platform> CommandBuffer<P> {
    pub fn new(platform: &P, entries_log2: u8) -> Result<Self, OutOfMemory> {
        let entries = 1u32 << entries_log2;
        let limit = PhysAddr(1 << 52);
        let frames = Frames::new(platform, entries as usize * ENTRY, entries as usize * ENTRY, limit)?;
        let done = match Frames::new(platform, entries as usize * 8, 4096, limit) {
            Ok(done) => done,
            Err(error) => {
                // SAFETY: no hardware has been told of them.
                unsafe { frames.free() };
                return Err(error);
            }
        };
        let ring = Mutex::new(Ring { tail: 0, head: 0, last: 0 });
        Ok(Self { frames, done, entries, ring, lost: AtomicU64::new(0) })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.frames.free();
            self.done.free();
        }
    }

    /// Tells hardware where the ring is. Fetching is off.
    pub fn place<M: Mmio>(&self, unit: &Unit<M, P>) {
        let length = u64::from(self.entries.trailing_zeros());
        let base = buffer::BASE.in_place(self.frames.phys().0) | buffer::LENGTH.put(length);
        unit.registers.write64(offset::COMMAND_BUFFER_BASE, base);
        // Writing the base clears both (48882 §3.4.1); said again for those that do not.
        unit.registers.write64(offset::COMMAND_BUFFER_HEAD, 0);
        unit.registers.write64(offset::COMMAND_BUFFER_TAIL, 0);
    }

    /// One batch: what `fill` puts, then a COMPLETION_WAIT.
    pub fn issue<M: Mmio>(
        &self,
        unit: &Unit<M, P>,
        fill: impl FnOnce(&mut Batch<'_, M, P>) -> Result<(), Hung>,
    ) -> Result<Ticket, Hung> {
        let mut ring = self.ring.lock();
        let mut batch = Batch { unit, buffer: self, ring: &mut ring };
        let ticket = fill(&mut batch).and_then(|()| batch.close());
        batch.ring_the_bell();
        drop(ring);
        if ticket.is_err() {
            // A full ring that hardware has stopped to fetch from stays full until it is started again.
            self.restart(unit);
        }
        ticket
    }

    /// Waits until the batch is confirmed.
    pub fn wait<M: Mmio>(&self, unit: &Unit<M, P>, ticket: Ticket) -> Result<(), Hung> {
        let mut round = 0u32;
        let mut confirmed = false;
        unit.wait("COMPLETION_WAIT", || {
            if let Some(verdict) = self.verdict(ticket) {
                confirmed = verdict;
                return true;
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS) && !unit.commands_run() {
                self.restart(unit);
            }
            false
        })?;
        // What the completion promises is read after it.
        unit.platform.observe();
        if confirmed {
            return Ok(());
        }
        Err(Hung {
            iommu: unit.id,
            what: "COMPLETION_WAIT (the command buffer stopped on an error)",
            waited: ioward_types::Nanos(0),
        })
    }

    /// Issues one batch and waits for it.
    pub fn run<M: Mmio>(
        &self,
        unit: &Unit<M, P>,
        fill: impl FnOnce(&mut Batch<'_, M, P>) -> Result<(), Hung>,
    ) -> Result<(), Hung> {
        let ticket = self.issue(unit, fill)?;
        self.wait(unit, ticket)
    }

    fn verdict(&self, ticket: Ticket) -> Option<bool> {
        let lost = self.lost.load(Ordering::SeqCst);
        let done = self.done.load64(ticket.entry as usize * 8);
        if done == ticket.number {
            return Some(true);
        }
        if ticket.number <= lost {
            return Some(false);
        }
        // The word has been used again since, which the ring allows only once the first use was fetched.
        (done > ticket.number).then_some(true)
    }

    /// Starts over with an empty ring after hardware stopped fetching. Does nothing while it fetches, or where it was
    /// told not to.
    pub fn restart<M: Mmio>(&self, unit: &Unit<M, P>) {
        let mut ring = self.ring.lock();
        let off = unit.control() & control::CMD_BUF_EN.mask() == 0;
        if off || unit.is_gone() || unit.commands_run() {
            return;
        }
        self.lost.store(ring.last, Ordering::SeqCst);
        unit.set_control(control::CMD_BUF_EN.mask(), 0);
        if unit.wait_status("CmdBufRun to clear", status::CMD_BUF_RUN, false).is_err() {
            return;
        }
        (ring.head, ring.tail) = (0, 0);
        self.place(unit);
        unit.set_control(0, control::CMD_BUF_EN.mask());
        // Where it does not start, the next batch finds out.
        let _ = unit.wait_status("CmdBufRun to set", status::CMD_BUF_RUN, true);
    }
}

impl<M: Mmio, P: Platform> Batch<'_, M, P> {
    /// Puts one command. Waits for room where the ring is full, after telling hardware of what is in it.
    pub fn push(&mut self, command: Command) -> Result<(), Hung> {
        if self.next() == self.ring.head {
            self.ring.head = self.fetched();
            if self.next() == self.ring.head {
                self.ring_the_bell();
                self.unit.wait("room in the command buffer", || {
                    self.ring.head = self.fetched();
                    (self.ring.tail + 1) % self.buffer.entries != self.ring.head
                })?;
            }
        }
        let at = self.ring.tail as usize * ENTRY;
        self.buffer.frames.store64(at, command.0[0]);
        self.buffer.frames.store64(at + 8, command.0[1]);
        if !self.unit.coherent {
            self.buffer.frames.clean(at, ENTRY);
        }
        self.ring.tail = self.next();
        Ok(())
    }

    fn close(&mut self) -> Result<Ticket, Hung> {
        let number = self.ring.last + 1;
        // The word belongs to the entry that the command goes to, which `push` does not change.
        let entry = self.ring.tail;
        let to = PhysAddr(self.buffer.done.phys().0 + u64::from(entry) * 8);
        self.push(Command::completion_wait(to, number))?;
        self.ring.last = number;
        Ok(Ticket { number, entry })
    }

    fn next(&self) -> u32 {
        (self.ring.tail + 1) % self.buffer.entries
    }

    /// The head as hardware tells it. A value that points nowhere in the ring is taken as no progress.
    fn fetched(&self) -> u32 {
        let raw = self.unit.registers.read64(offset::COMMAND_BUFFER_HEAD);
        if raw == u64::MAX {
            return self.ring.head;
        }
        let head = buffer::POINTER.of(raw);
        // QEMU shows the end of the ring for a moment where the start is meant.
        if head == u64::from(self.buffer.entries) {
            return 0;
        }
        if head < u64::from(self.buffer.entries) { head as u32 } else { self.ring.head }
    }

    fn ring_the_bell(&self) {
        self.unit.platform.publish();
        let tail = buffer::POINTER.put(self.ring.tail.into());
        self.unit.registers.write64(offset::COMMAND_BUFFER_TAIL, tail);
    }
}
