//! The fault queue and the page-request queue: written by the IOMMU, read here (3, 3.2, 3.3).

use super::{
    config::BringUpError,
    memory::Shared,
    registers::{QueueCsr, Registers, bit},
};
use ioward_core::driver::{Event, Hung};
use ioward_spec::riscv::registers::{fqcsr, queue_base};
use ioward_types::{Mmio, Platform};

/// Which registers a queue has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub base: &'static str,
    pub base_at: usize,
    pub head_at: usize,
    pub tail_at: usize,
    pub csr: QueueCsr,
    pub tail_out_of_range: &'static str,
    pub memory_fault: &'static str,
    pub not_on: &'static str,
}

/// The value of a queue's base register.
pub(super) fn base_of<P: Platform>(memory: &Shared<P>, bits: u8) -> u64 {
    queue_base::PPN.put(memory.ppn()) | queue_base::LOG2SZ_1.put(u64::from(bits) - 1)
}

/// Writes a queue's base register. Every field is WARL, so it may keep fewer entries; it tells how many bits of them.
pub(super) fn place<M: Mmio, P: Platform>(
    registers: &Registers<M>,
    memory: &Shared<P>,
    bits: u8,
    register: &'static str,
    at: usize,
) -> Result<u8, BringUpError> {
    let base = base_of(memory, bits);
    registers.write64(at, base);
    let value = registers.mmio.read64(at);
    let kept = queue_base::LOG2SZ_1.of(value) as u8 + 1;
    if queue_base::PPN.of(value) != queue_base::PPN.of(base) || kept > bits {
        return Err(BringUpError::Locked { register, value, what: "the queue's address and size" });
    }
    Ok(kept)
}

/// One of them, with records of `N` words.
pub(super) struct OutputQueue<P: Platform, const N: usize> {
    memory: Shared<P>,
    bits: u8,
    kind: Kind,
    head: u32,
    interrupt: bool,
    /// It was seen not to be on, and that was told.
    stopped: bool,
}

/// What a look at the queue brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Drained {
    /// How many records were read.
    pub records: usize,
    /// The tail was no index of this queue; nothing was read.
    pub nonsense: Option<u32>,
}

impl<P: Platform, const N: usize> OutputQueue<P, N> {
    pub fn new(memory: Shared<P>, bits: u8, kind: Kind, interrupt: bool) -> Self {
        Self { memory, bits, kind, head: 0, interrupt, stopped: false }
    }

    /// Turns the queue on.
    pub fn start<M: Mmio>(&mut self, platform: &P, registers: &Registers<M>) -> Result<(), BringUpError> {
        self.bits = place(registers, &self.memory, self.bits, self.kind.base, self.kind.base_at)?;
        registers.mmio.write32(self.kind.head_at, 0);
        Ok(self.kind.csr.enable(platform, registers, self.interrupt)?)
    }

    pub fn entries(&self) -> usize {
        1 << self.bits
    }

    /// Reads as many records as fit into `into` and gives their places back.
    pub fn drain<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
        into: &mut [[u64; N]],
    ) -> Drained {
        let tail = registers.mmio.read32(self.kind.tail_at);
        let size = self.entries() as u32;
        if tail >= size {
            return Drained { records: 0, nonsense: Some(tail) };
        }
        let available = tail.wrapping_sub(self.head) & (size - 1);
        let records = into.len().min(available as usize);
        platform.observe();
        for record in &mut into[..records] {
            *record = self.memory.fetch(self.head as usize * 8 * N);
            self.head = (self.head + 1) & (size - 1);
        }
        if records != 0 {
            // The records have been read before their places are given back.
            platform.fence();
            registers.mmio.write32(self.kind.head_at, self.head);
        }
        Drained { records, nonsense: None }
    }

    /// Reports what has stopped the queue, and lets it go on: to be called when there is room in it.
    pub fn resume<M: Mmio>(
        &mut self,
        platform: &P,
        registers: &Registers<M>,
    ) -> Result<[Option<Event>; 3], Hung> {
        let csr = self.kind.csr.read(registers);
        let mut events = [None; 3];
        if csr == u32::MAX {
            return Ok(events);
        }
        let (full, fault) = (bit(fqcsr::FQOF), bit(fqcsr::FQMF));
        if csr & fault != 0 {
            events[0] = Some(Event::Unit { what: self.kind.memory_fault, code: csr.into() });
        }
        if csr & (full | fault) != 0 {
            events[1] = Some(Event::Lost(1));
            let clear = QueueCsr::enabled(self.interrupt) | csr & (full | fault);
            self.kind.csr.write(platform, registers, clear)?;
        }
        let stopped = csr & (QueueCsr::ON | QueueCsr::BUSY) == 0;
        if stopped && !self.stopped {
            events[2] = Some(Event::Unit { what: self.kind.not_on, code: csr.into() });
        }
        self.stopped = stopped;
        Ok(events)
    }
}
