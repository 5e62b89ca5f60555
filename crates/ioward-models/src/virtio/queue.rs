//! The device's side of a split virtqueue (§2.7).

use super::unit::Unit;
use crate::BusError;
use ioward_spec::virtio::queue::{available, descriptor, used};
use std::collections::BTreeMap;

const SECTION: &str = "VIRTIO 1.3 §2.7";

/// A buffer's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub at: u64,
    pub bytes: u32,
}

/// What a head leads to.
#[derive(Clone, Default, Debug)]
pub(super) struct Chain {
    pub head: u16,
    pub readable: Vec<Part>,
    pub writable: Vec<Part>,
}

impl Chain {
    pub fn writable_bytes(&self) -> usize {
        self.writable.iter().map(|part| part.bytes as usize).sum()
    }
}

#[derive(Default, Debug)]
pub(super) struct Queue {
    pub size: u16,
    pub ready: bool,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    pub next_available: u16,
    pub next_used: u16,
    /// What the device has.
    pub out: BTreeMap<u16, Chain>,
}

impl Unit {
    /// The next chain that the driver offers; none where there is none, or where what is there makes no sense.
    pub fn fetch(&mut self, queue: usize) -> Option<Chain> {
        let q = &self.queues[queue];
        if !q.ready || q.size == 0 {
            return None;
        }
        let index = self.read16(q.available + available::INDEX as u64).ok()?;
        let ahead = index.wrapping_sub(q.next_available);
        if ahead == 0 {
            return None;
        }
        if ahead > q.size {
            self.violation(SECTION, format!("the available index is {ahead} entries ahead of {}", q.size));
            self.needs_reset();
            return None;
        }
        let place = q.available + available::RING as u64 + u64::from(q.next_available % q.size) * 2;
        let head = self.read16(place).ok()?;
        self.queues[queue].next_available = self.queues[queue].next_available.wrapping_add(1);
        match self.chain(queue, head) {
            Ok(chain) => {
                self.check_reuse(queue, &chain);
                self.queues[queue].out.insert(head, chain.clone());
                Some(chain)
            }
            Err(what) => {
                self.violation("VIRTIO 1.3 §2.7.5", what);
                self.needs_reset();
                None
            }
        }
    }

    fn chain(&self, queue: usize, head: u16) -> Result<Chain, String> {
        let q = &self.queues[queue];
        if q.out.contains_key(&head) {
            return Err(format!("descriptor {head} is offered while the device has it"));
        }
        let mut chain = Chain { head, ..Chain::default() };
        let mut index = head;
        for _ in 0..q.size {
            if index >= q.size {
                return Err(format!("descriptor {index} of {}", q.size));
            }
            let place = q.descriptors + u64::from(index) * descriptor::BYTES as u64;
            let bus = |error: BusError| error.to_string();
            let bytes = self.read(place, descriptor::BYTES).map_err(bus)?;
            let word = |n: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[n * 8 + byte]));
            let words = [word(0), word(1)];
            let flags = descriptor::FLAGS.get(&words);
            let part =
                Part { at: descriptor::ADDRESS.get(&words), bytes: descriptor::LENGTH.get(&words) as u32 };
            if flags & descriptor::F_INDIRECT != 0 {
                return Err("an indirect descriptor, which was not negotiated".into());
            }
            if part.bytes == 0 {
                return Err(format!("descriptor {index} has no bytes"));
            }
            if flags & descriptor::F_WRITE != 0 {
                chain.writable.push(part);
            } else if chain.writable.is_empty() {
                chain.readable.push(part);
            } else {
                return Err("a part to read comes after one to write".into());
            }
            if flags & descriptor::F_NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor::NEXT.get(&words) as u16;
        }
        Err("the chain has no end".into())
    }

    /// Memory that the device writes must not be in two buffers at once.
    fn check_reuse(&self, queue: usize, chain: &Chain) {
        let overlap =
            |a: &Part, b: &Part| a.at < b.at + u64::from(b.bytes) && b.at < a.at + u64::from(a.bytes);
        for other in self.queues.iter().flat_map(|queue| queue.out.values()) {
            let theirs = || other.readable.iter().chain(&other.writable);
            let ours = || chain.readable.iter().chain(&chain.writable);
            let clash = chain.writable.iter().find(|part| theirs().any(|other| overlap(part, other)));
            let clash = clash.or(other.writable.iter().find(|part| ours().any(|other| overlap(part, other))));
            if let Some(part) = clash {
                let what = format!("queue {queue} offers {:#x}, which the device has already", part.at);
                self.violation("VIRTIO 1.3 §2.7.13", what);
            }
        }
    }

    /// The bytes that the device reads of a chain.
    pub fn gather(&self, chain: &Chain) -> Result<Vec<u8>, BusError> {
        let mut all = Vec::new();
        for part in &chain.readable {
            all.extend(self.read(part.at, part.bytes.min(0x1_0000) as usize)?);
        }
        Ok(all)
    }

    /// The device writes bytes into a chain, as many as fit; tells how many.
    pub fn scatter(&self, chain: &Chain, bytes: &[u8]) -> Result<u32, BusError> {
        let mut left = bytes;
        for part in &chain.writable {
            let now = left.len().min(part.bytes as usize);
            self.write(part.at, &left[..now])?;
            left = &left[now..];
        }
        Ok((bytes.len() - left.len()) as u32)
    }

    /// Gives a chain back.
    pub fn give_back(&mut self, queue: usize, head: u16, bytes: u32) {
        self.queues[queue].out.remove(&head);
        self.publish(queue, head.into(), bytes, 1);
    }

    /// Writes a used element, and an index that is `step` further.
    pub fn publish(&mut self, queue: usize, id: u32, bytes: u32, step: u16) {
        let q = &mut self.queues[queue];
        let (ring, size, index) = (q.used, q.size, q.next_used);
        q.next_used = index.wrapping_add(step);
        let next = q.next_used;
        let wants = self.read16(self.queues[queue].available + available::FLAGS as u64).unwrap_or(0);
        let place = ring + used::RING as u64 + u64::from(index % size) * used::ENTRY_BYTES as u64;
        let written = self
            .write(place, &id.to_le_bytes())
            .and_then(|()| self.write(place + 4, &bytes.to_le_bytes()))
            .and_then(|()| self.write(ring + used::INDEX as u64, &next.to_le_bytes()));
        if written.is_err() {
            self.violation(SECTION, format!("there is no memory at the used ring of queue {queue}"));
        }
        if wants & available::F_NO_INTERRUPT == 0 {
            self.registers.interrupt_status |= 1;
            self.interrupts += 1;
        }
    }
}
