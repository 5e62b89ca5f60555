//! Registers that misbehave, each over registers that do not.

use super::Steps;
use ioward_types::Mmio;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// Makes a middleware of `read` and `write`, which every width goes through: where, how many bytes, what, and how the
/// access would be done.
macro_rules! every_width {
    (impl[$($of:tt)*] $name:ty, $self:ident => $under:expr) => {
        impl<$($of)*> Mmio for $name {
            fn read8(&$self, at: usize) -> u8 {
                $self.read(at, 1, || $under.read8(at).into()) as u8
            }
            fn read16(&$self, at: usize) -> u16 {
                $self.read(at, 2, || $under.read16(at).into()) as u16
            }
            fn read32(&$self, at: usize) -> u32 {
                $self.read(at, 4, || $under.read32(at).into()) as u32
            }
            fn read64(&$self, at: usize) -> u64 {
                $self.read(at, 8, || $under.read64(at))
            }
            fn write8(&$self, at: usize, value: u8) {
                $self.write(|| $under.write8(at, value));
            }
            fn write16(&$self, at: usize, value: u16) {
                $self.write(|| $under.write16(at, value));
            }
            fn write32(&$self, at: usize, value: u32) {
                $self.write(|| $under.write32(at, value));
            }
            fn write64(&$self, at: usize, value: u64) {
                $self.write(|| $under.write64(at, value));
            }
        }
    };
}

/// What a driver is given: leads to the hardware, or to whatever stands before it at the moment. Every access is a step.
/// Clones are the same registers.
#[derive(Clone)]
pub struct Registers(Arc<Switch>);

struct Switch {
    hardware: Arc<dyn Mmio>,
    now: RwLock<Arc<dyn Mmio>>,
    steps: Steps,
}

impl Registers {
    /// These registers.
    pub fn new(hardware: Arc<dyn Mmio>, steps: Steps) -> Self {
        let now = RwLock::new(hardware.clone());
        Self(Arc::new(Switch { hardware, now, steps }))
    }

    /// From now on accesses meet what `make` makes of the hardware's registers.
    pub fn interpose<M: Mmio + 'static>(&self, make: impl FnOnce(Under) -> M) {
        let over: Arc<dyn Mmio> = Arc::new(make(Under(self.0.hardware.clone())));
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = over;
    }

    /// Accesses reach the hardware again.
    pub fn restore(&self) {
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = self.0.hardware.clone();
    }

    fn now(&self) -> Arc<dyn Mmio> {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self, _: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        let value = read();
        self.0.steps.step();
        value
    }

    fn write(&self, write: impl FnOnce()) {
        write();
        self.0.steps.step();
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registers(..)")
    }
}

every_width!(impl[] Registers, self => self.now());

/// The hardware's registers, for a middleware to stand on.
#[derive(Clone)]
pub struct Under(Arc<dyn Mmio>);

impl Under {
    fn read(&self, _: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        read()
    }
    fn write(&self, write: impl FnOnce()) {
        write();
    }
}

every_width!(impl[] Under, self => self.0);

/// A block that reads as all ones and takes no writes, after so many accesses that it answers: a device that left the bus.
pub struct AllOnes<M> {
    under: M,
    left: AtomicI64,
}

impl<M: Mmio> AllOnes<M> {
    /// It answers `accesses` times.
    pub fn after(under: M, accesses: u64) -> Self {
        Self { under, left: AtomicI64::new(accesses.min(i64::MAX as u64) as i64) }
    }

    fn answers(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) > 0
    }

    fn read(&self, _: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        if self.answers() { read() } else { u64::MAX }
    }

    fn write(&self, write: impl FnOnce()) {
        if self.answers() {
            write();
        }
    }
}

every_width!(impl[M: Mmio] AllOnes<M>, self => self.under);

/// A block on the way to which one write is lost: the `nth` from now on, counted from zero. A doorbell that nobody heard.
pub struct Lossy<M> {
    under: M,
    left: AtomicI64,
}

impl<M: Mmio> Lossy<M> {
    /// The `nth` write is lost.
    pub fn nth(under: M, nth: u64) -> Self {
        Self { under, left: AtomicI64::new(nth.min(i64::MAX as u64) as i64) }
    }

    fn read(&self, _: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        read()
    }

    fn write(&self, write: impl FnOnce()) {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            write();
        }
    }
}

every_width!(impl[M: Mmio] Lossy<M>, self => self.under);

/// A block with bits that never change: those of `mask` in the aligned 8 bytes at `at` read as `value` says.
pub struct Stuck<M> {
    under: M,
    at: usize,
    mask: u64,
    value: u64,
}

impl<M: Mmio> Stuck<M> {
    /// `at` is a multiple of 8, in bytes.
    pub fn new(under: M, at: usize, mask: u64, value: u64) -> Self {
        Self { under, at, mask, value }
    }

    fn read(&self, at: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        let value = read();
        if at & !7 != self.at {
            return value;
        }
        let shift = at % 8 * 8;
        let (mask, stuck) = (self.mask >> shift, self.value >> shift);
        value & !mask | stuck & mask
    }

    fn write(&self, write: impl FnOnce()) {
        write();
    }
}

every_width!(impl[M: Mmio] Stuck<M>, self => self.under);

/// A block that tells what is new late: a read gives what the same read gave `lag` times before, for as long as there were so
/// many, else the oldest. Completions that are delayed, and seen in another order than they happened.
pub struct Lagging<M> {
    under: M,
    lag: usize,
    seen: Mutex<BTreeMap<usize, Vec<u64>>>,
}

impl<M: Mmio> Lagging<M> {
    /// Each register is `lag` reads behind.
    pub fn new(under: M, lag: usize) -> Self {
        Self { under, lag, seen: Mutex::default() }
    }

    fn read(&self, at: usize, _: usize, read: impl FnOnce() -> u64) -> u64 {
        let now = read();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let values = seen.entry(at).or_default();
        values.push(now);
        if values.len() > self.lag + 1 {
            values.remove(0);
        }
        values.first().copied().unwrap_or(now)
    }

    fn write(&self, write: impl FnOnce()) {
        write();
    }
}

every_width!(impl[M: Mmio] Lagging<M>, self => self.under);

/// A block that counts accesses, and remembers which registers were read and what was read from them first.
pub struct Trace<M> {
    under: M,
    seen: Arc<Seen>,
}

/// What a [`Trace`] saw.
#[derive(Default, Debug)]
pub struct Seen {
    /// By multiples of 8: which bits were read, and as what.
    reads: Mutex<BTreeMap<usize, (u64, u64)>>,
    accesses: AtomicU64,
    writes: AtomicU64,
}

impl Seen {
    /// Registers that were read: the multiple of 8 that they lie at, in bytes, and what was read there first (of 8 bytes,
    /// those that were not read being zero).
    pub fn reads(&self) -> BTreeMap<usize, u64> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.iter().map(|(at, (_, value))| (*at, *value)).collect()
    }

    /// Reads and writes.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::SeqCst)
    }

    /// Writes.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

impl<M: Mmio> Trace<M> {
    /// What is seen goes to `seen`.
    pub fn new(under: M, seen: Arc<Seen>) -> Self {
        Self { under, seen }
    }

    fn read(&self, at: usize, bytes: usize, read: impl FnOnce() -> u64) -> u64 {
        let value = read();
        self.seen.accesses.fetch_add(1, Ordering::SeqCst);
        let shift = at % 8 * 8;
        let mask = (u64::MAX >> (64 - 8 * bytes)) << shift;
        let mut reads = self.seen.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, first) = reads.entry(at & !7).or_default();
        *first |= value << shift & mask & !*known;
        *known |= mask;
        value
    }

    fn write(&self, write: impl FnOnce()) {
        self.seen.accesses.fetch_add(1, Ordering::SeqCst);
        self.seen.writes.fetch_add(1, Ordering::SeqCst);
        write();
    }
}

every_width!(impl[M: Mmio] Trace<M>, self => self.under);

#[cfg(test)]
mod tests {
    use super::*;

    /// One register of 8 bytes that counts writes.
    #[derive(Default)]
    struct One(AtomicU64);

    impl Mmio for One {
        fn read32(&self, at: usize) -> u32 {
            (self.0.load(Ordering::SeqCst) >> ((at & 4) * 8)) as u32
        }
        fn write32(&self, _: usize, value: u32) {
            self.0.store(value.into(), Ordering::SeqCst);
        }
        fn read64(&self, _: usize) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
        fn write64(&self, _: usize, value: u64) {
            self.0.store(value, Ordering::SeqCst);
        }
    }

    fn registers() -> Registers {
        Registers::new(Arc::new(One::default()), Steps::default())
    }

    #[test]
    fn all_ones_begin_when_they_are_told_to() {
        let registers = registers();
        registers.write64(0, 5);
        registers.interpose(|under| AllOnes::after(under, 1));
        assert_eq!((registers.read64(0), registers.read64(0), registers.read32(0)), (5, u64::MAX, u32::MAX));
        registers.write64(0, 6);
        registers.restore();
        assert_eq!(registers.read64(0), 5);
    }

    #[test]
    fn one_write_is_lost_and_no_other() {
        let registers = registers();
        registers.interpose(|under| Lossy::nth(under, 1));
        for (value, read) in [(1, 1), (2, 1), (3, 3)] {
            registers.write64(0, value);
            assert_eq!(registers.read64(0), read);
        }
    }

    #[test]
    fn stuck_bits_are_stuck_in_either_width() {
        let registers = registers();
        registers.interpose(|under| Stuck::new(under, 0, 0xff << 32 | 1, 1));
        registers.write64(0, u64::MAX);
        assert_eq!(registers.read64(0), !(0xff << 32));
        assert_eq!((registers.read32(0), registers.read32(4)), (u32::MAX, !0xff));
    }

    #[test]
    fn a_lag_gives_what_was_before() {
        let registers = registers();
        registers.interpose(|under| Lagging::new(under, 2));
        let mut read = Vec::new();
        for value in 1..=4 {
            registers.write64(0, value);
            read.push(registers.read64(0));
        }
        assert_eq!(read, [1, 1, 1, 2]);
    }

    #[test]
    fn steps_are_counted_and_a_hooks_own_are_not_told_to_it() {
        let steps = Steps::default();
        let registers = Registers::new(Arc::new(One::default()), steps.clone());
        let again = registers.clone();
        steps.watch(move || again.write64(0, again.read64(0) + 1));
        registers.read64(0);
        registers.read64(0);
        steps.unwatch();
        assert_eq!((steps.count(), registers.read64(0)), (6, 2));
    }
}
