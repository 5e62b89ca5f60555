//! The event queue (virtio 1.3 §5.13.6.9): buffers that the device fills, and gets again.

use super::fault::{self, WORDS};
use super::transport::{QueueSetup, Transport};
use super::unit::Unit;
use super::virtqueue::{Cursor, Virtqueue};
use ioward_core::driver::Event;
use ioward_spec::virtio::{EVENT_QUEUE, fault::BYTES, queue::descriptor};
use ioward_types::{Frames, Mutex, OutOfMemory, PhysAddr, Platform, Span};

/// Bytes of a buffer: a cache line, so that the device shares none with us.
const BUFFER: usize = 64;

struct State {
    cursor: Cursor,
    /// Which buffers the device has.
    out: alloc::vec::Vec<bool>,
    broken: bool,
}

pub(super) struct EventQueue<P: Platform> {
    platform: P,
    queue: Virtqueue<P>,
    buffers: Frames<P>,
    coherent: bool,
    state: Mutex<P::Lock, State>,
}

impl<P: Platform> EventQueue<P> {
    pub fn new(platform: &P, entries: u16, coherent: bool) -> Result<Self, OutOfMemory> {
        let queue = Virtqueue::new(platform, entries, coherent)?;
        let bytes = usize::from(entries) * BUFFER;
        let buffers = match Frames::new(platform, bytes, 4096, PhysAddr(u64::MAX)) {
            Ok(buffers) => buffers,
            Err(error) => {
                // SAFETY: no device has been told of it.
                unsafe { queue.free() };
                return Err(error);
            }
        };
        if !coherent {
            buffers.clean(0, bytes);
        }
        let out = alloc::vec![false; usize::from(entries)];
        let state = Mutex::new(State { cursor: Cursor::default(), out, broken: false });
        Ok(Self { platform: platform.clone(), queue, buffers, coherent, state })
    }

    pub fn setup(&self) -> QueueSetup {
        self.queue.setup()
    }

    /// Gives the device all buffers.
    pub fn populate(&self) {
        let mut state = self.state.lock();
        for index in 0..self.queue.entries() {
            self.give(&mut state, index);
        }
    }

    pub fn notify<T: Transport>(&self, unit: &Unit<T, P>) {
        if self.queue.wants_notification() {
            unit.transport.notify(EVENT_QUEUE);
        }
    }

    fn give(&self, state: &mut State, index: u16) {
        let base = usize::from(index) * BUFFER;
        // A report that is shorter than it says it is does not show an older one.
        (0..WORDS).for_each(|n| self.buffers.store64(base + n * 8, 0));
        if !self.coherent {
            self.buffers.clean(base, BUFFER);
        }
        let at = PhysAddr(self.buffers.phys().0 + base as u64);
        self.queue.describe(index, at, BYTES as u32, descriptor::F_WRITE, 0);
        state.out[usize::from(index)] = true;
        self.queue.offer(&mut state.cursor, index);
    }

    /// Hands out every report that is there, no more than twice as many as there are buffers: an endpoint that faults all
    /// the time does not keep this here for ever.
    pub fn drain<T: Transport>(&self, unit: &Unit<T, P>, sink: &mut dyn FnMut(Event)) {
        let mut given = false;
        for _ in 0..u32::from(self.queue.entries()) * 2 {
            let mut state = self.state.lock();
            if state.broken {
                break;
            }
            let out = state.out.iter().filter(|out| **out).count() as u16;
            let used = match self.queue.take(&mut state.cursor, out) {
                Ok(None) => break,
                Ok(Some(used)) if state.out.get(used.head as usize) == Some(&true) => used,
                Ok(_) | Err(()) => {
                    state.broken = true;
                    drop(state);
                    let what = "the used ring of the event queue names what the device does not have";
                    sink(Event::Unit { what, code: 0 });
                    break;
                }
            };
            let index = used.head as u16;
            let words = self.read(index);
            state.out[usize::from(index)] = false;
            self.give(&mut state, index);
            given = true;
            drop(state);
            if (used.bytes as usize) < BYTES {
                sink(Event::Unit { what: "an event is too short", code: used.bytes.into() });
            } else if let Some(event) = fault::decode(&words) {
                sink(event);
            }
        }
        if given {
            self.notify(unit);
        }
    }

    fn read(&self, index: u16) -> [u64; WORDS] {
        let base = usize::from(index) * BUFFER;
        if !self.coherent {
            let at = PhysAddr(self.buffers.phys().0 + base as u64);
            self.platform.invalidate_for_cpu(Span { start: at, bytes: BYTES as u64 });
        }
        core::array::from_fn(|n| self.buffers.load64(base + n * 8))
    }
}
