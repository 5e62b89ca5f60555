//! The request queue (virtio 1.3 §5.13.6): buffers that belong to the driver, or, from when they are offered until they
//! come back, to the device.
//!
//! Each slot has two descriptors, for what the device reads and what it writes, in a place of its own; so what comes back
//! is known by its number alone. A request that was not answered in time leaves its slot to the device, and nothing more
//! is asked until it comes back: it may still be carried out, after whatever would be asked now.

use super::request::{Answer, Request, WORDS};
use super::transport::{QueueSetup, Transport};
use super::unit::Unit;
use super::virtqueue::{Cursor, Virtqueue};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::Hung;
use ioward_spec::virtio::{
    REQUEST_QUEUE,
    queue::descriptor,
    request::{TAIL_BYTES, TAIL_STATUS},
};
use ioward_types::{Frames, Iova, Mutex, OutOfMemory, PhysAddr, Platform, Span};

/// Bytes of a slot: what the device reads, then the tail in a cache line of its own.
const SLOT: usize = 128;
/// Where the tail is. PROBE, which is longer, has its tail after its properties.
const TAIL: usize = 64;
/// What a tail holds before the device has written it: no status.
const UNWRITTEN: u64 = 0xff;

/// Why a request of a domain's, that somebody relies on, was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    Rejected(&'static str, Answer),
    Hung(Hung),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Free,
    /// Somebody waits for it.
    Waited {
        domain: Option<u32>,
    },
    /// It came back, and whoever waits has not looked yet.
    Done(Answer),
    /// Whoever settles its domain waits for it.
    Counted {
        domain: u32,
        span: Span<Iova>,
        name: &'static str,
    },
    /// Nobody waits any more.
    Abandoned {
        domain: Option<u32>,
    },
}

struct State {
    cursor: Cursor,
    slots: Vec<Slot>,
    /// What went wrong with domains' counted requests: sticky, until the domain is gone from the device.
    failed: BTreeMap<u32, Failure>,
    /// The device does what it may not; nothing that it says is believed any more.
    broken: Option<&'static str>,
}

pub(super) struct RequestQueue<P: Platform> {
    platform: P,
    queue: Virtqueue<P>,
    slots: Frames<P>,
    /// Where properties go, and the tail after them.
    properties: Option<Frames<P>>,
    probe_size: usize,
    coherent: bool,
    state: Mutex<P::Lock, State>,
}

/// One request under way.
#[derive(Debug)]
#[must_use]
pub(super) struct Ticket {
    slot: usize,
    name: &'static str,
}

impl<P: Platform> RequestQueue<P> {
    /// `probe_size`: bytes of properties; none where the device has no PROBE.
    pub fn new(
        platform: &P,
        entries: u16,
        probe_size: Option<u32>,
        coherent: bool,
    ) -> Result<Self, OutOfMemory> {
        let count = usize::from(entries / 2);
        let queue = Virtqueue::new(platform, entries, coherent)?;
        let slots = match Frames::new(platform, count * SLOT, 4096, PhysAddr(u64::MAX)) {
            Ok(slots) => slots,
            Err(error) => {
                // SAFETY: no device has been told of it.
                unsafe { queue.free() };
                return Err(error);
            }
        };
        let probe_bytes = probe_size.unwrap_or(0) as usize;
        let bytes = (probe_bytes + TAIL_BYTES).next_multiple_of(SLOT);
        let properties = match probe_size.map(|_| Frames::new(platform, bytes, 4096, PhysAddr(u64::MAX))) {
            None => None,
            Some(Ok(properties)) => Some(properties),
            Some(Err(error)) => {
                // SAFETY: no device has been told of them.
                unsafe {
                    queue.free();
                    slots.free();
                }
                return Err(error);
            }
        };
        queue.want_interrupts(false);
        let state = State {
            cursor: Cursor::default(),
            slots: alloc::vec![Slot::Free; count],
            failed: BTreeMap::new(),
            broken: None,
        };
        Ok(Self {
            platform: platform.clone(),
            queue,
            slots,
            properties,
            probe_size: probe_bytes,
            coherent,
            state: Mutex::new(state),
        })
    }

    /// # Safety
    /// No device has been told of it, or it was reset since.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.queue.free();
            self.slots.free();
            self.properties.into_iter().for_each(|frames| frames.free());
        }
    }

    pub fn setup(&self) -> QueueSetup {
        self.queue.setup()
    }

    /// Asks, and waits for the answer.
    pub fn ask<T: Transport>(
        &self,
        unit: &Unit<T, P>,
        request: &Request,
        domain: Option<u32>,
    ) -> Result<Answer, Hung> {
        let ticket = self.issue(unit, request, Slot::Waited { domain })?;
        self.wait(unit, ticket)
    }

    /// Asks, for [`RequestQueue::settle`] to wait.
    pub fn count<T: Transport>(
        &self,
        unit: &Unit<T, P>,
        request: &Request,
        domain: u32,
        span: Span<Iova>,
    ) -> Result<(), Hung> {
        let kind = Slot::Counted { domain, span, name: request.name };
        let issued = self.issue(unit, request, kind).map(drop);
        issued.inspect_err(|hung| self.fail(domain, Failure::Hung(*hung)))
    }

    /// Waits until every counted request of the domain, or those that concern `span`, has been answered. `Err` where one
    /// was not done, now or before.
    pub fn settle<T: Transport>(
        &self,
        unit: &Unit<T, P>,
        domain: u32,
        only: Option<Span<Iova>>,
    ) -> Result<(), Failure> {
        let concerned = |slot: &Slot| match slot {
            Slot::Counted { domain: of, span, .. } => {
                *of == domain && only.is_none_or(|only| only.overlaps(span))
            }
            _ => false,
        };
        // Those that are asked meanwhile are their askers' to wait for; a slot that is free in between is enough.
        let mut awaited: Vec<bool> = self.state.lock().slots.iter().map(concerned).collect();
        let broken = || self.broken(unit);
        let waited = unit.wait("counted requests", broken, || {
            let mut state = self.state.lock();
            self.drain(&mut state);
            awaited.iter_mut().zip(&state.slots).for_each(|(wait, slot)| *wait &= concerned(slot));
            !awaited.contains(&true) || state.broken.is_some()
        });
        let mut state = self.state.lock();
        let left = awaited.iter().zip(&mut state.slots).filter(|(wait, slot)| **wait && concerned(slot));
        let left = left.map(|(_, slot)| *slot = Slot::Abandoned { domain: Some(domain) }).count();
        if left != 0 {
            let why = state.broken.unwrap_or("counted requests");
            let hung = waited.err().unwrap_or(unit.hung(why));
            state.failed.entry(domain).or_insert(Failure::Hung(hung));
        }
        state.failed.get(&domain).map_or(Ok(()), |failure| Err(*failure))
    }

    /// From now on nothing of this domain is confirmed.
    pub fn fail(&self, domain: u32, why: Failure) {
        self.state.lock().failed.entry(domain).or_insert(why);
    }

    /// The domain is gone from the device, with all that it held; tells whether no request with its number is left
    /// there.
    pub fn forget(&self, domain: u32) -> bool {
        let mut state = self.state.lock();
        self.drain(&mut state);
        let names_it = |slot: &Slot| match slot {
            Slot::Free | Slot::Done(_) => false,
            Slot::Waited { domain: of } | Slot::Abandoned { domain: of } => *of == Some(domain),
            Slot::Counted { domain: of, .. } => *of == domain,
        };
        let clear = !state.slots.iter().any(names_it);
        if clear {
            state.failed.remove(&domain);
        }
        clear
    }

    /// Reads a byte of the properties that the last PROBE brought.
    pub fn property(&self, at: usize) -> u8 {
        let Some(properties) = &self.properties else { return 0 };
        (properties.load64(at / 8 * 8) >> (at % 8 * 8)) as u8
    }

    pub fn probe_size(&self) -> Option<usize> {
        self.properties.is_some().then_some(self.probe_size)
    }

    /// Nothing is believed any more.
    pub fn give_up(&self, why: &'static str) {
        self.state.lock().broken.get_or_insert(why);
    }

    fn broken<T: Transport>(&self, unit: &Unit<T, P>) -> Option<&'static str> {
        let why = unit.broken()?;
        self.give_up(why);
        Some(why)
    }

    fn issue<T: Transport>(&self, unit: &Unit<T, P>, request: &Request, kind: Slot) -> Result<Ticket, Hung> {
        let mut issued = None;
        let mut stopped = None;
        let waited = unit.wait(
            "room in the request queue",
            || self.broken(unit),
            || {
                let mut state = self.state.lock();
                self.drain(&mut state);
                stopped = state.broken.or_else(|| {
                    let abandoned = |slot: &Slot| matches!(slot, Slot::Abandoned { .. });
                    state.slots.iter().any(abandoned).then_some("earlier requests")
                });
                if stopped.is_some() {
                    return true;
                }
                let Some(slot) = state.slots.iter().position(|slot| *slot == Slot::Free) else {
                    return false;
                };
                self.fill(slot, request);
                state.slots[slot] = kind;
                self.queue.offer(&mut state.cursor, slot as u16 * 2);
                issued = Some(slot);
                true
            },
        );
        match (issued, stopped) {
            (Some(slot), _) => {
                if self.queue.wants_notification() {
                    unit.transport.notify(REQUEST_QUEUE);
                }
                Ok(Ticket { slot, name: request.name })
            }
            (None, Some(why)) => Err(unit.hung(why)),
            (None, None) => Err(waited.err().unwrap_or(unit.hung("room in the request queue"))),
        }
    }

    fn wait<T: Transport>(&self, unit: &Unit<T, P>, ticket: Ticket) -> Result<Answer, Hung> {
        let look = |state: &mut State| {
            self.drain(state);
            let slot = &mut state.slots[ticket.slot];
            let Slot::Done(answer) = *slot else { return None };
            *slot = Slot::Free;
            Some(answer)
        };
        let mut answer = None;
        let waited = unit.wait(
            ticket.name,
            || self.broken(unit),
            || {
                let mut state = self.state.lock();
                answer = look(&mut state);
                answer.is_some() || state.broken.is_some()
            },
        );
        if let Some(answer) = answer {
            return Ok(answer);
        }
        let mut state = self.state.lock();
        if let Some(answer) = look(&mut state) {
            return Ok(answer);
        }
        if let Slot::Waited { domain } = state.slots[ticket.slot] {
            state.slots[ticket.slot] = Slot::Abandoned { domain };
        }
        let why = state.broken.unwrap_or(ticket.name);
        Err(waited.err().unwrap_or(unit.hung(why)))
    }

    /// Writes a request into a slot that is the driver's.
    fn fill(&self, slot: usize, request: &Request) {
        let base = slot * SLOT;
        for (n, word) in request.words.iter().take(request.bytes.div_ceil(8)).enumerate() {
            self.slots.store64(base + n * 8, *word);
        }
        let at = |frames: &Frames<P>, offset: usize| PhysAddr(frames.phys().0 + offset as u64);
        let probes = request.bytes == WORDS * 8;
        let (to, bytes) = match &self.properties {
            Some(properties) if probes => {
                (0..self.probe_size + TAIL_BYTES).step_by(8).for_each(|at| properties.store64(at, 0));
                let (word, shift) = (self.probe_size / 8 * 8, self.probe_size % 8 * 8);
                // The tail may cross into the next word; its first byte, the status, does not.
                properties.store64(word, UNWRITTEN << shift);
                if !self.coherent {
                    properties.clean(0, properties.bytes());
                }
                (at(properties, 0), self.probe_size + TAIL_BYTES)
            }
            _ => {
                self.slots.store64(base + TAIL, UNWRITTEN);
                (at(&self.slots, base + TAIL), TAIL_BYTES)
            }
        };
        if !self.coherent {
            self.slots.clean(base, SLOT);
        }
        let head = slot as u16 * 2;
        let read = at(&self.slots, base);
        self.queue.describe(head, read, request.bytes as u32, descriptor::F_NEXT, head + 1);
        self.queue.describe(head + 1, to, bytes as u32, descriptor::F_WRITE, 0);
    }

    /// Takes whatever came back.
    fn drain(&self, state: &mut State) {
        while state.broken.is_none() {
            let is_out = |slot: &&Slot| !matches!(slot, Slot::Free | Slot::Done(_));
            let out = state.slots.iter().filter(is_out).count() as u16;
            let used = match self.queue.take(&mut state.cursor, out) {
                Ok(None) => return,
                Ok(Some(used)) => used,
                Err(()) => {
                    state.broken = Some("the used index is ahead of the buffers that the device has");
                    return;
                }
            };
            let slot = used.head as usize / 2;
            let is_head = used.head.is_multiple_of(2) && slot < state.slots.len();
            let was = if is_head { state.slots[slot] } else { Slot::Free };
            let answer = match self.answer(slot, is_head) {
                // Some devices (cloud-hypervisor) write why they reject, and count no byte of it. Success has to be counted.
                answer if used.bytes == 0 && answer.is_ok() => Answer::Unwritten,
                answer => answer,
            };
            let now = match was {
                Slot::Free | Slot::Done(_) => {
                    state.broken = Some("the used ring names a buffer that the device does not have");
                    return;
                }
                Slot::Waited { .. } => Slot::Done(answer),
                Slot::Abandoned { .. } => Slot::Free,
                Slot::Counted { domain, name, .. } => {
                    if !answer.is_ok() {
                        state.failed.entry(domain).or_insert(Failure::Rejected(name, answer));
                    }
                    Slot::Free
                }
            };
            state.slots[slot] = now;
        }
    }

    /// The status that the device wrote for a slot.
    fn answer(&self, slot: usize, is_head: bool) -> Answer {
        if !is_head {
            return Answer::Unwritten;
        }
        let base = slot * SLOT;
        let kind = ioward_spec::virtio::request::TYPE.of(self.slots.load64(base));
        let probes = kind == u64::from(ioward_spec::virtio::request::T_PROBE);
        let (frames, at) = match &self.properties {
            Some(properties) if probes => (properties, self.probe_size),
            _ => (&self.slots, base + TAIL),
        };
        if !self.coherent {
            let span = match probes {
                true => Span { start: frames.phys(), bytes: frames.bytes() as u64 },
                false => Span { start: PhysAddr(frames.phys().0 + at as u64), bytes: TAIL_BYTES as u64 },
            };
            self.platform.invalidate_for_cpu(span);
        }
        let status = TAIL_STATUS.of(frames.load64(at / 8 * 8) >> (at % 8 * 8)) as u8;
        if u64::from(status) == UNWRITTEN { Answer::Unwritten } else { Answer::Status(status) }
    }
}
