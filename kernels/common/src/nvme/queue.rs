//! A submission queue with the completion queue that answers it (Base, 3.3).

use super::{
    NvmeError,
    measure::instructions,
    spec::{CQ_ENTRY, SQ_ENTRY, regs},
};
use crate::platform::Kernel;
use ioward::{
    core::{Coherent, Dma},
    types::{Direction, Iova, Mmio as _, MmioPtr, Nanos, Platform as _},
};

/// How often, in nanoseconds, a wait looks whether the controller still runs.
const LOOK: u64 = 10_000_000;

/// A command without its identifier, which the queue gives it. Numbers are little-endian words of the entry (Base, figure
/// 87).
#[derive(Clone, Copy, Default)]
pub struct Command {
    /// What is to be done.
    pub opcode: u8,
    /// The namespace, from 1 on; 0 where a command has none.
    pub namespace: u32,
    /// Where the data is: the first page, then the second one or a list of those that follow the first.
    pub prp: [u64; 2],
    /// Words 10 to 12.
    pub words: [u32; 3],
}

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The identifier of the command that has ended.
    pub id: u16,
    /// Status code type.
    pub kind: u8,
    /// Status code; 0 of type 0 is success.
    pub code: u8,
}

impl Completion {
    /// Ok, or the status as an error.
    pub fn success(self) -> Result<(), NvmeError> {
        if (self.kind, self.code) == (0, 0) { Ok(()) } else { Err(NvmeError::Status(self.kind, self.code)) }
    }
}

/// Both queues, which one CPU works on at a time.
pub struct Queue<'a> {
    registers: &'a MmioPtr,
    submissions: Coherent<Kernel, &'a Dma<Kernel>>,
    completions: Coherent<Kernel, &'a Dma<Kernel>>,
    /// Offsets of the submission queue's tail and the completion queue's head.
    doorbells: [usize; 2],
    entries: u16,
    tail: u16,
    head: u16,
    /// What the phase bit of a new entry is; it changes with every round.
    phase: bool,
    /// Commands that have been given and have not ended.
    under_way: u16,
    /// Instructions that [`Queue::wait`] has run while there was nothing to see.
    pub polled: u64,
}

impl<'a> Queue<'a> {
    /// Memory for queue number `number` of `entries` entries, at least 2; the controller does not know of it yet. Doorbells
    /// are `stride` bytes apart.
    pub fn new(
        dma: &'a Dma<Kernel>,
        registers: &'a MmioPtr,
        number: u16,
        entries: u16,
        stride: usize,
    ) -> Result<Self, NvmeError> {
        let number = usize::from(number);
        let doorbell = |which| regs::DOORBELLS + (2 * number + which) * stride;
        Ok(Self {
            registers,
            submissions: Dma::coherent(dma, usize::from(entries) * SQ_ENTRY, Direction::ToDevice)?,
            completions: Dma::coherent(dma, usize::from(entries) * CQ_ENTRY, Direction::Both)?,
            doorbells: [doorbell(0), doorbell(1)],
            entries,
            tail: 0,
            head: 0,
            phase: true,
            under_way: 0,
            polled: 0,
        })
    }

    /// Where the controller finds them: submissions, completions.
    pub fn bases(&self) -> [Iova; 2] {
        [self.submissions.iova(), self.completions.iova()]
    }

    /// How many commands can be under way: a full ring has one entry free.
    pub fn depth(&self) -> u16 {
        self.entries - 1
    }

    /// Gives a command to the controller. `id` is the caller's to choose, and no other command's that is under way.
    pub fn submit(&mut self, id: u16, command: &Command) -> Result<(), NvmeError> {
        if self.under_way == self.depth() {
            return Err(NvmeError::Full);
        }
        let at = usize::from(self.tail) * SQ_ENTRY;
        let [ten, eleven, twelve] = command.words;
        let entry: [u64; 8] = [
            u64::from(command.opcode) | u64::from(id) << 16 | u64::from(command.namespace) << 32,
            0,
            0,
            command.prp[0],
            command.prp[1],
            u64::from(ten) | u64::from(eleven) << 32,
            u64::from(twelve),
            0,
        ];
        for (index, word) in entry.into_iter().enumerate() {
            self.submissions.store(at + 8 * index, word)?;
        }
        self.tail = (self.tail + 1) % self.entries;
        self.under_way += 1;
        // Register writes come after the stores before them.
        self.registers.write32(self.doorbells[0], self.tail.into());
        Ok(())
    }

    /// The next command that has ended, if one has.
    pub fn poll(&mut self) -> Result<Option<Completion>, NvmeError> {
        let last: u32 = self.completions.load(usize::from(self.head) * CQ_ENTRY + 12)?;
        if (last >> 16 & 1 != 0) != self.phase {
            return Ok(None);
        }
        self.completions.observe();
        self.head = (self.head + 1) % self.entries;
        self.phase ^= self.head == 0;
        self.registers.write32(self.doorbells[1], self.head.into());
        let id = last as u16;
        self.under_way = self.under_way.checked_sub(1).ok_or(NvmeError::NotAsked(id))?;
        Ok(Some(Completion { id, kind: (last >> 25 & 7) as u8, code: (last >> 17) as u8 }))
    }

    /// Waits for the next command to end, no longer than `limit`.
    pub fn wait(&mut self, limit: Nanos) -> Result<Completion, NvmeError> {
        if let Some(completion) = self.poll()? {
            return Ok(completion);
        }
        let (start, before, mut looked) = (Kernel.now().0, instructions(), 0);
        loop {
            if let Some(completion) = self.poll()? {
                self.polled += u64::from(instructions().wrapping_sub(before));
                return Ok(completion);
            }
            let waited = Kernel.now().0 - start;
            if waited > looked + LOOK {
                // A controller that cannot read its queues says so here, and nothing else comes of it.
                looked = waited;
                let status = self.registers.read32(regs::CSTS);
                match status {
                    u32::MAX => return Err(NvmeError::Registers("status", status.into())),
                    _ if status & regs::CSTS_CFS != 0 => return Err(NvmeError::Fatal),
                    _ if waited > limit.0 => return Err(NvmeError::Hung("a command")),
                    _ => {}
                }
            }
            Kernel.relax();
        }
    }

    /// Runs one command alone.
    pub fn one(&mut self, command: &Command, limit: Nanos) -> Result<(), NvmeError> {
        self.submit(0, command)?;
        let completion = self.wait(limit)?;
        if completion.id == 0 { completion.success() } else { Err(NvmeError::NotAsked(completion.id)) }
    }
}
