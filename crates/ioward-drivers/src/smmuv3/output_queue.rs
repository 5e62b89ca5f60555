//! The Event queue and the PRI queue: written by the SMMU, read here (IHI 0070, 3.5, 7.4, 8).

use super::{memory::Shared, registers::Registers};
use ioward_spec::smmuv3::registers::{output_cons, output_prod, queue_base};
use ioward_types::{Mmio, Platform};

/// One of them, with records of `N` words.
pub(super) struct OutputQueue<P: Platform, const N: usize> {
    memory: Shared<P>,
    bits: u8,
    /// Offsets of its two index registers.
    prod_at: usize,
    cons_at: usize,
    /// As the CONS register holds it: `bits` bits and the wrap flag above.
    cons: u32,
    /// The overflow that was acknowledged last.
    acknowledged: bool,
}

/// What a look at the queue brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Drained {
    /// How many records were read.
    pub records: usize,
    /// Records were lost since the last time.
    pub overflow: bool,
    /// PROD was no index of this queue; nothing was read.
    pub nonsense: Option<u32>,
}

impl<P: Platform, const N: usize> OutputQueue<P, N> {
    pub fn new(memory: Shared<P>, bits: u8, prod_at: usize, cons_at: usize) -> Self {
        Self { memory, bits, prod_at, cons_at, cons: 0, acknowledged: false }
    }

    /// The value of its BASE register.
    pub fn base(&self) -> u64 {
        queue_base::ADDR.in_place(self.memory.phys().0)
            | queue_base::LOG2SIZE.put(self.bits.into())
            | queue_base::ALLOCATE.put(1)
    }

    /// Both indexes start at zero. Only while the queue is disabled.
    pub fn reset<M: Mmio>(&self, registers: &Registers<M>) {
        registers.mmio.write32(registers.in_page_1(self.prod_at), 0);
        registers.mmio.write32(registers.in_page_1(self.cons_at), 0);
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
        let prod = registers.mmio.read32(registers.in_page_1(self.prod_at));
        let write = output_prod::WR.of(prod.into()) as u32;
        let wrap = 2 * self.entries() as u32;
        let available = write.wrapping_sub(self.cons) & (wrap - 1);
        if write >= wrap || available > self.entries() as u32 {
            return Drained { records: 0, overflow: false, nonsense: Some(prod) };
        }
        let records = into.len().min(available as usize);
        platform.observe();
        for record in &mut into[..records] {
            let index = self.cons as usize & (self.entries() - 1);
            *record = self.memory.fetch(index * 8 * N);
            self.cons = self.cons.wrapping_add(1) & (wrap - 1);
        }
        let flag = output_prod::OVFLG.of(prod.into()) != 0;
        let overflow = flag != self.acknowledged;
        self.acknowledged = flag;
        if records != 0 || overflow {
            // The records have been read before their places are given back.
            platform.fence();
            let cons = output_cons::RD.put(self.cons.into()) | output_cons::OVACKFLG.put(flag.into());
            registers.mmio.write32(registers.in_page_1(self.cons_at), cons as u32);
        }
        Drained { records, overflow, nonsense: None }
    }
}
