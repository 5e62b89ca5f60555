//! The page request queue (7.4): written by the unit, read here.

use super::global_command::Unit;
use super::memory::{PAGE, Reach, Shared};
use ioward_core::driver::Event;
use ioward_spec::vtd::{
    prq as spec,
    registers::{PQA, PQH, PQT, PRS, pqa, pqh, pqt, prs},
};
use ioward_types::{Iova, Mmio, OutOfMemory, Pasid, Platform, SourceId};

/// A request.
pub(super) type PageRequest = [u64; spec::WORDS];

/// The ring.
pub(super) struct PageRequestQueue<P: Platform> {
    ring: Shared<P>,
    head: usize,
}

/// What a look at the queue brought.
pub(super) struct Drained {
    pub requests: usize,
    /// Requests were answered by the unit itself since the last time.
    pub overflow: bool,
    /// The tail was no place of this queue; nothing was read.
    pub nonsense: Option<u64>,
}

impl<P: Platform> PageRequestQueue<P> {
    pub fn new(platform: &P, reach: Reach, pages_log2: u8) -> Result<Self, OutOfMemory> {
        Ok(Self { ring: Shared::new(platform, reach, PAGE << pages_log2)?, head: 0 })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No hardware has been told of it.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.ring.free() }
    }

    pub fn entries(&self) -> usize {
        self.ring.bytes() / spec::BYTES
    }

    /// Tells hardware where the queue is. The tail is hardware's own, and may be anywhere after an earlier owner.
    pub fn start<M: Mmio>(&mut self, unit: &Unit<M, P>) {
        let size = (self.ring.bytes() / PAGE).trailing_zeros();
        unit.registers.write64(PQA, pqa::PQA.in_place(self.ring.phys().0) | pqa::PQS.put(size.into()));
        let tail = pqt::PQT.in_place(unit.registers.read64(PQT)) as usize;
        self.head = if tail < self.ring.bytes() { tail } else { 0 };
        unit.registers.write64(PQH, pqh::PQH.in_place(self.head as u64));
        unit.registers.write32(PRS, (prs::PPR.mask() | prs::PRO.mask()) as u32);
    }

    /// Reads as many requests as fit into `into` and gives their places back.
    pub fn drain<M: Mmio>(&mut self, unit: &Unit<M, P>, into: &mut [PageRequest]) -> Drained {
        let mut found = Drained { requests: 0, overflow: false, nonsense: None };
        let status = u64::from(unit.registers.read32(PRS));
        if status == u32::MAX.into() {
            return found;
        }
        found.overflow = prs::PRO.of(status) != 0;
        // Cleared before the tail is read: a request that comes from here on sets it again, and interrupts again.
        if prs::PPR.of(status) != 0 {
            unit.registers.write32(PRS, prs::PPR.mask() as u32);
        }
        let raw = unit.registers.read64(PQT);
        let tail = pqt::PQT.in_place(raw) as usize;
        if raw == u64::MAX || tail >= self.ring.bytes() {
            found.nonsense = Some(raw);
            return found;
        }
        unit.platform.observe();
        while self.head != tail && found.requests < into.len() {
            into[found.requests] = self.ring.fetch(self.head);
            found.requests += 1;
            self.head = (self.head + spec::BYTES) % self.ring.bytes();
        }
        if found.requests != 0 {
            // The requests have been read before their places are given back.
            unit.platform.fence();
            unit.registers.write64(PQH, pqh::PQH.in_place(self.head as u64));
        }
        // Nothing is written to the queue while it is set, so there is room first.
        if found.overflow {
            unit.registers.write32(PRS, prs::PRO.mask() as u32);
        }
        found
    }
}

/// What a request says.
pub(super) fn decode(words: &PageRequest) -> Event {
    if spec::TYPE.get(words) != spec::PAGE_REQUEST {
        return Event::Unit { what: "a page request of an unknown type", code: words[0] };
    }
    Event::PageRequest {
        source: SourceId(spec::RID.get(words) as u32),
        pasid: spec::PP.is_set(words).then(|| Pasid(spec::PASID.get(words) as u32)),
        at: Iova(spec::ADDR.get_in_place(words)),
        group: spec::PRGI.get(words) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_tells_who_and_where() {
        let seen = decode(&[0x0005_0018_0101, 0x1_2345_6000 | 9 << 3 | 4 | 1, 0, 0]);
        let expected = Event::PageRequest {
            source: SourceId(0x18),
            pasid: Some(Pasid(5)),
            at: Iova(0x1_2345_6000),
            group: 9,
        };
        assert_eq!(seen, expected);
        assert!(matches!(decode(&[0; 4]), Event::Unit { .. }));
    }
}
