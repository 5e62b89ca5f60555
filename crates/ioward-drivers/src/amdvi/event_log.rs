//! The event log (48882 §2.5): a ring that hardware fills and software empties.
//!
//! When it is full, hardware sets EventOverflow, drops events and stops the log; it is then emptied, told to be off,
//! waited for, and started again.
//!
//! Whether a device's IOTLB answered is told by this log alone, so before such an invalidation there must be room in it:
//! otherwise a device that faults on and on would make every other device's flush fail. What is taken out to make room is
//! kept for the next poll.

use super::event::{self, Raw};
use super::unit::Unit;
use alloc::collections::VecDeque;
use ioward_core::driver::Hung;
use ioward_spec::amdvi::{control, registers::buffer, registers::offset, registers::status};
use ioward_types::{Frames, Mmio, Mutex, OutOfMemory, PhysAddr, Platform};

const ENTRY: usize = buffer::ENTRY_BYTES as usize;
/// How often an entry is read that was announced and still holds nothing: the tail may move before the entry is seen.
const PATIENCE: usize = 64;
/// How many entries are taken out under one hold of the lock.
pub(super) const BATCH: usize = 16;

struct Ring {
    head: u32,
    /// Entries before this one have been looked at for invalidations that timed out.
    seen: u32,
    /// What has been told so far of invalidations of device IOTLBs.
    told: Told,
    /// Taken out to make room, not delivered yet. It never grows beyond what it was made for.
    kept: VecDeque<Raw>,
    /// Hardware or `kept` had no room for some.
    dropped: bool,
}

/// What the log has told of invalidations of device IOTLBs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// How many timed out.
    pub timeouts: u64,
    /// How often events were dropped, or the log could not be read: there may have been more.
    pub gaps: u64,
}

/// The ring.
pub(super) struct EventLog<P: Platform> {
    frames: Frames<P>,
    entries: u32,
    ring: Mutex<P::Lock, Ring>,
}

/// What one look at the log found.
pub(super) struct Drained {
    pub events: [Raw; BATCH],
    pub count: usize,
    /// Events were dropped.
    pub overflow: bool,
    /// Hardware's tail pointer points nowhere in the log.
    pub lost_tail: Option<u64>,
    /// Restarting the log failed.
    pub hung: bool,
}

impl<P: Platform> EventLog<P> {
    pub fn new(platform: &P, entries_log2: u8) -> Result<Self, OutOfMemory> {
        let entries = 1u32 << entries_log2;
        let bytes = entries as usize * ENTRY;
        let frames = Frames::new(platform, bytes, bytes, PhysAddr(1 << 52))?;
        let kept = VecDeque::with_capacity(entries as usize);
        let ring = Ring { head: 0, seen: 0, told: Told::default(), kept, dropped: false };
        Ok(Self { frames, entries, ring: Mutex::new(ring) })
    }

    /// Tells hardware where the log is. Logging is off.
    pub fn place<M: Mmio>(&self, unit: &Unit<M, P>) {
        let length = u64::from(self.entries.trailing_zeros());
        let base = buffer::BASE.in_place(self.frames.phys().0) | buffer::LENGTH.put(length);
        // QEMU ignores a new base while an event interrupt is outstanding.
        unit.clear_status(status::EVENT_LOG_INT.mask() | status::EVENT_OVERFLOW.mask());
        unit.registers.write64(offset::EVENT_LOG_BASE, base);
        // Writing the base clears both (48882 §3.4.1); said again for those that do not.
        unit.registers.write64(offset::EVENT_LOG_HEAD, 0);
        unit.registers.write64(offset::EVENT_LOG_TAIL, 0);
    }

    /// How often [`EventLog::drain`] must be called to take out all that fits, twice over.
    pub fn rounds(&self) -> usize {
        2 * self.entries as usize / BATCH
    }

    /// Takes out up to [`BATCH`] events.
    pub fn drain<M: Mmio>(&self, unit: &Unit<M, P>) -> Drained {
        let mut found =
            Drained { events: [[0; 2]; BATCH], count: 0, overflow: false, lost_tail: None, hung: false };
        let mut ring = self.ring.lock();
        while let Some(kept) = (found.count < BATCH).then(|| ring.kept.pop_front()).flatten() {
            found.events[found.count] = kept;
            found.count += 1;
        }
        if found.count != 0 {
            found.overflow = ring.kept.is_empty() && core::mem::take(&mut ring.dropped);
            return found;
        }
        // Cleared before the tail is read: an event that comes later raises it again.
        unit.clear_status(status::EVENT_LOG_INT.mask());
        let tail = match self.tail(unit) {
            Ok(tail) => tail,
            Err(raw) => {
                found.lost_tail = Some(raw);
                if raw != u64::MAX {
                    found.hung = self.restart(unit, &mut ring).is_err();
                }
                return found;
            }
        };
        unit.platform.observe();
        self.look(&mut ring, tail, unit);
        while ring.head != tail && found.count < BATCH {
            found.events[found.count] = self.take(&mut ring, unit);
            found.count += 1;
        }
        if found.count != 0 {
            unit.registers.write64(offset::EVENT_LOG_HEAD, buffer::POINTER.put(ring.head.into()));
        }
        if ring.head == tail && unit.status(status::EVENT_OVERFLOW) {
            found.overflow = true;
            found.hung = self.restart(unit, &mut ring).is_err();
        }
        found
    }

    /// Makes room for what a wait may report: a log that is half full is emptied, one that has stopped is started again.
    pub fn make_room<M: Mmio>(&self, unit: &Unit<M, P>) {
        let mut ring = self.ring.lock();
        let Ok(tail) = self.tail(unit) else { return };
        let used = (tail + self.entries - ring.head) % self.entries;
        let stopped = unit.status(status::EVENT_OVERFLOW);
        if !stopped && used < self.entries / 2 {
            return;
        }
        unit.platform.observe();
        self.look(&mut ring, tail, unit);
        while ring.head != tail {
            let raw = self.take(&mut ring, unit);
            if ring.kept.len() < self.entries as usize {
                ring.kept.push_back(raw);
            } else {
                ring.dropped = true;
            }
        }
        unit.registers.write64(offset::EVENT_LOG_HEAD, buffer::POINTER.put(ring.head.into()));
        if stopped {
            ring.dropped = true;
            // A log that does not start again stays stopped, and never tells that a device answered.
            let _ = self.restart(unit, &mut ring);
        }
    }

    /// Takes the oldest entry out.
    fn take<M: Mmio>(&self, ring: &mut Ring, unit: &Unit<M, P>) -> Raw {
        let raw = self.read(ring.head, unit);
        // An entry that is announced and still empty can then be told from an old one.
        self.frames.store64(ring.head as usize * ENTRY, 0);
        self.frames.store64(ring.head as usize * ENTRY + 8, 0);
        let was_seen = ring.seen == ring.head;
        ring.head = (ring.head + 1) % self.entries;
        if was_seen {
            ring.seen = ring.head;
        }
        raw
    }

    /// What has been told so far of invalidations of device IOTLBs. A log that has overflowed or cannot be read is a gap.
    pub fn told<M: Mmio>(&self, unit: &Unit<M, P>) -> Told {
        let mut ring = self.ring.lock();
        match self.tail(unit) {
            Ok(tail) => {
                unit.platform.observe();
                self.look(&mut ring, tail, unit);
            }
            Err(_) => ring.told.gaps += 1,
        }
        if unit.status(status::EVENT_OVERFLOW) {
            ring.told.gaps += 1;
        }
        ring.told
    }

    /// Counts the timeouts among entries that were not looked at yet, and leaves them where they are.
    fn look<M: Mmio>(&self, ring: &mut Ring, tail: u32, unit: &Unit<M, P>) {
        while ring.seen != tail {
            if event::is_iotlb_timeout(&self.read(ring.seen, unit)) {
                ring.told.timeouts += 1;
            }
            ring.seen = (ring.seen + 1) % self.entries;
        }
    }

    fn read<M: Mmio>(&self, entry: u32, unit: &Unit<M, P>) -> Raw {
        let at = entry as usize * ENTRY;
        let mut raw = [0; 2];
        for _ in 0..PATIENCE {
            raw = [self.frames.load64(at), self.frames.load64(at + 8)];
            if event::code(&raw) != 0 {
                break;
            }
            unit.platform.relax();
        }
        raw
    }

    /// The tail as hardware tells it, or what it says where that points nowhere.
    fn tail<M: Mmio>(&self, unit: &Unit<M, P>) -> Result<u32, u64> {
        let raw = unit.registers.read64(offset::EVENT_LOG_TAIL);
        let tail = buffer::POINTER.of(raw);
        if raw == u64::MAX || tail >= self.entries.into() { Err(raw) } else { Ok(tail as u32) }
    }

    fn restart<M: Mmio>(&self, unit: &Unit<M, P>, ring: &mut Ring) -> Result<(), Hung> {
        ring.told.gaps += 1;
        unit.set_control(control::EVENT_LOG_EN.mask(), 0);
        unit.wait_status("EventLogRun to clear", status::EVENT_LOG_RUN, false)?;
        (ring.head, ring.seen) = (0, 0);
        self.place(unit);
        unit.set_control(0, control::EVENT_LOG_EN.mask());
        unit.wait_status("EventLogRun to set", status::EVENT_LOG_RUN, true)
    }
}
