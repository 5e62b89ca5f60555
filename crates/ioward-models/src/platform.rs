//! The `Platform` of a simulated machine.

use crate::memory::Memory;
use ioward_types::{Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use std::{
    marker::PhantomData,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

/// How far the clock moves each time that somebody waits a round, in nanoseconds.
pub const RELAX: u64 = 1_000;

struct Inner {
    memory: Memory,
    clock: AtomicU64,
    cpus: AtomicU64,
    epoch: AtomicUsize,
    pinned: [AtomicUsize; 2],
    synchronizing: Mutex<()>,
    maintained: Mutex<Vec<Maintained>>,
}

/// What was done to CPU caches for a device that does not snoop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maintained {
    /// Lines of a buffer were cleaned, for the device to read.
    Cleaned(Span<PhysAddr>),
    /// Lines of a buffer were invalidated, for the CPU to read.
    Invalidated(Span<PhysAddr>),
}

/// A platform over simulated [`Memory`], for many threads. Its clock moves only when somebody waits or reads it.
#[derive(Clone)]
pub struct SimPlatform(Arc<Inner>);

impl SimPlatform {
    /// The platform of a machine with this memory.
    pub fn new(memory: Memory) -> Self {
        Self(Arc::new(Inner {
            memory,
            clock: AtomicU64::new(0),
            cpus: AtomicU64::new(0),
            epoch: AtomicUsize::new(0),
            pinned: [AtomicUsize::new(0), AtomicUsize::new(0)],
            synchronizing: Mutex::new(()),
            maintained: Mutex::default(),
        }))
    }

    /// The machine's memory.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// What was done to CPU caches for devices since the last call.
    pub fn maintained(&self) -> Vec<Maintained> {
        std::mem::take(&mut *self.0.maintained.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, what: Maintained) {
        self.0.maintained.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Moves the clock.
    pub fn advance(&self, by: Nanos) {
        self.0.clock.fetch_add(by.0, Ordering::Relaxed);
    }
}

/// A CPU number that nobody else has while this lives.
pub struct SimPin {
    platform: Arc<Inner>,
    cpu: u32,
    side: usize,
    _not_send: PhantomData<*const ()>,
}

impl Drop for SimPin {
    fn drop(&mut self) {
        self.platform.cpus.fetch_and(!(1 << self.cpu), Ordering::AcqRel);
        self.platform.pinned[self.side].fetch_sub(1, Ordering::SeqCst);
    }
}

/// A lock that spins and yields.
pub struct SimLock(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time, with acquire and release.
unsafe impl RawLock for SimLock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        while self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            thread::yield_now();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

// SAFETY: frames come zeroed from the memory's allocator, which hands each out once; CPU numbers are bits taken and
// given back atomically; `synchronize` waits for the side that was current.
unsafe impl Platform for SimPlatform {
    type Lock = SimLock;
    type Pin = SimPin;
    const TRACED: bool = true;

    fn pin(&self) -> (SimPin, usize) {
        let cpu = loop {
            let taken = self.0.cpus.load(Ordering::Acquire);
            let cpu = taken.trailing_ones();
            if cpu < 64 {
                let next = taken | 1 << cpu;
                if self.0.cpus.compare_exchange(taken, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    break cpu;
                }
            }
            thread::yield_now();
        };
        let side = loop {
            let side = self.0.epoch.load(Ordering::SeqCst) & 1;
            self.0.pinned[side].fetch_add(1, Ordering::SeqCst);
            // The pin is seen by `synchronize` before anything is loaded under it.
            fence(Ordering::SeqCst);
            if self.0.epoch.load(Ordering::SeqCst) & 1 == side {
                break side;
            }
            self.0.pinned[side].fetch_sub(1, Ordering::SeqCst);
        };
        (SimPin { platform: self.0.clone(), cpu, side, _not_send: PhantomData }, cpu as usize)
    }

    /// Numbers are given to pins, not to threads; with more pins than this at once some go by way of locks.
    fn cpus(&self) -> usize {
        4
    }

    fn synchronize(&self) {
        let _one_at_a_time = self.0.synchronizing.lock().unwrap_or_else(PoisonError::into_inner);
        fence(Ordering::SeqCst);
        let side = self.0.epoch.fetch_add(1, Ordering::SeqCst) & 1;
        fence(Ordering::SeqCst);
        while self.0.pinned[side].load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }

    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        self.0.memory.allocate(bytes as u64, align as u64, below.0).ok_or(OutOfMemory)
    }

    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        self.0.memory.release(at, bytes as u64);
    }

    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        self.0.memory.pointer(at)
    }

    fn phys(&self, at: NonNull<u8>, bytes: u64) -> Option<Span<PhysAddr>> {
        let start = self.0.memory.address(at)?;
        Span::inclusive(start, self.0.memory.span().last())
            .map(|all| Span { start, bytes: all.bytes.min(bytes) })
    }

    fn clean(&self, lines: Span<PhysAddr>) {
        self.0.memory.clean(lines);
    }

    fn clean_for_device(&self, lines: Span<PhysAddr>) {
        self.note(Maintained::Cleaned(lines));
        self.0.memory.clean(lines);
    }

    fn invalidate_for_cpu(&self, lines: Span<PhysAddr>) {
        self.note(Maintained::Invalidated(lines));
    }

    fn now(&self) -> Nanos {
        Nanos(self.0.clock.fetch_add(1, Ordering::Relaxed))
    }

    fn relax(&self) {
        self.0.clock.fetch_add(RELAX, Ordering::Relaxed);
        thread::yield_now();
    }

    fn publish(&self) {
        self.0.memory.barrier();
    }

    fn fence(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.0.memory.barrier();
    }

    fn stored(&self, at: PhysAddr, bytes: usize, old: u128, _new: u128) {
        self.0.memory.stored(at, bytes, old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Violations;

    #[test]
    fn synchronize_waits_for_pins_and_cpus_are_exclusive() {
        let platform = SimPlatform::new(Memory::new(PhysAddr(0), 0x1_0000, Violations::default()));
        let (first, one) = platform.pin();
        let (_second, two) = platform.pin();
        assert_ne!(one, two);
        let done = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (platform, done) = (platform.clone(), done.clone());
            move || {
                platform.synchronize();
                done.store(true, Ordering::SeqCst);
            }
        });
        for _ in 0..1000 {
            thread::yield_now();
        }
        assert!(!done.load(Ordering::SeqCst));
        drop((first, _second));
        waiter.join().unwrap();
        assert!(done.load(Ordering::SeqCst));
    }
}
