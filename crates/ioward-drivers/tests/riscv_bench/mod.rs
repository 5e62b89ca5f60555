//! A bench for the RISC-V IOMMU driver: memory whose every store is on record, and registers that obey the simplest
//! protocol.
//!
//! Register offsets and bit positions are written out here from the specification, chapters 3 and 5, and not taken from
//! where the driver takes them.
#![allow(dead_code)]

use ioward_core::driver::{Claim, Driver, Slot};
use ioward_drivers::riscv::{BringUp, BringUpError, Config, RiscVIommu};
use ioward_types::{IommuId, Mmio, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, SourceId, Span};
use std::{
    collections::BTreeMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub const ORIGIN: u64 = 0x4000_0000;
const BYTES: usize = 2 << 20;

/// What happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The CPU stored 64 bits.
    Store { at: u64, new: u64 },
    /// What was stored before is seen before what is stored after.
    Barrier,
    /// The IOMMU executed a command.
    Command([u64; 2]),
}

struct Arena {
    words: Box<[AtomicU64]>,
    next: AtomicU64,
    clock: AtomicU64,
    steps: Mutex<Vec<Step>>,
}

/// Memory, and the platform over it.
#[derive(Clone)]
pub struct Bench(Arc<Arena>);

impl Bench {
    pub fn new() -> Self {
        Self(Arc::new(Arena {
            words: (0..BYTES / 8).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(ORIGIN),
            clock: AtomicU64::new(0),
            steps: Mutex::default(),
        }))
    }

    pub fn load(&self, at: u64) -> u64 {
        u64::from_le(self.0.words[(at - ORIGIN) as usize / 8].load(Ordering::Acquire))
    }

    /// The IOMMU's side stores.
    pub fn poke(&self, at: u64, value: u64) {
        self.0.words[(at - ORIGIN) as usize / 8].store(value.to_le(), Ordering::Release);
    }

    /// The record since the last time.
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.steps.lock().unwrap())
    }

    /// All of memory that is in use, from [`ORIGIN`].
    pub fn all(&self) -> Vec<u64> {
        let used = self.0.next.load(Ordering::Relaxed);
        (ORIGIN..used).step_by(8).map(|at| self.load(at)).collect()
    }

    pub fn record(&self, step: Step) {
        self.0.steps.lock().unwrap().push(step);
    }

    pub fn now_is(&self) -> u64 {
        self.0.clock.load(Ordering::Relaxed)
    }
}

pub struct Lock(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time.
unsafe impl RawLock for Lock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        while self.0.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

// SAFETY: frames come from a counter that only grows, over zeroed memory that lives as long as any handle; tests are
// single-threaded, so there is one CPU.
unsafe impl Platform for Bench {
    type Lock = Lock;
    type Pin = ();
    const TRACED: bool = true;

    fn pin(&self) -> ((), usize) {
        ((), 0)
    }
    fn synchronize(&self) {}
    fn frames(&self, bytes: usize, align: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let at = self.0.next.load(Ordering::Relaxed).next_multiple_of(align.max(4096) as u64);
        let end = at + bytes as u64;
        if end > ORIGIN + BYTES as u64 {
            return Err(OutOfMemory);
        }
        self.0.next.store(end, Ordering::Relaxed);
        Ok(PhysAddr(at))
    }
    unsafe fn free(&self, _: PhysAddr, _: usize) {}
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        NonNull::from(&self.0.words[(at.0 - ORIGIN) as usize / 8]).cast()
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(self.0.clock.fetch_add(1, Ordering::Relaxed))
    }
    fn relax(&self) {
        self.0.clock.fetch_add(1000, Ordering::Relaxed);
    }
    fn publish(&self) {
        self.record(Step::Barrier);
    }
    fn fence(&self) {
        self.record(Step::Barrier);
    }
    fn stored(&self, at: PhysAddr, bytes: usize, _: u128, new: u128) {
        assert_eq!(bytes, 8);
        self.record(Step::Store { at: at.0, new: new as u64 });
    }
}

// Offsets (5.1).
pub const CAPABILITIES: usize = 0;
pub const FCTL: usize = 8;
pub const DDTP: usize = 16;
const CQB: usize = 24;
pub const CQH: usize = 32;
pub const CQT: usize = 36;
pub const FQB: usize = 40;
pub const FQT: usize = 52;
pub const PQT: usize = 68;
pub const CQCSR: usize = 72;
pub const FQCSR: usize = 76;
pub const PQCSR: usize = 80;
pub const IPSR: usize = 84;

/// Version 1.0, Sv39 to Sv57 and every x4, MSI_FLAT, MSI_MRIF, ATS, IGS both, PAS 56, PD8 to PD20.
pub const LARGE: u64 = 0x0000_01f8_22cf_0e10;

/// How the registers misbehave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The command after so many more sets this bit of cqcsr: 8 cqmf, 9 cmd_to, 10 cmd_ill.
    Stop { after: u32, bit: u8 },
    /// cqcsr.cqon clears and nothing is fetched.
    Off,
    /// Nothing is fetched.
    Hang,
    /// Every register reads as ones.
    Gone,
    /// A register reads so, whatever is written to it.
    Stuck { at: usize, value: u32 },
}

struct State {
    words: BTreeMap<usize, u32>,
    fault: Option<Fault>,
    writes: Vec<(usize, u32)>,
}

/// The registers.
#[derive(Clone)]
pub struct Registers {
    bench: Bench,
    state: Arc<Mutex<State>>,
}

impl Registers {
    pub fn new(bench: &Bench, capabilities: u64) -> Self {
        let words = [(0, capabilities as u32), (4, (capabilities >> 32) as u32)].into();
        let state = State { words, fault: None, writes: Vec::new() };
        Self { bench: bench.clone(), state: Arc::new(Mutex::new(state)) }
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    pub fn peek(&self, at: usize) -> u32 {
        self.state.lock().unwrap().words.get(&at).copied().unwrap_or(0)
    }

    pub fn peek64(&self, at: usize) -> u64 {
        u64::from(self.peek(at + 4)) << 32 | u64::from(self.peek(at))
    }

    pub fn poke(&self, at: usize, value: u32) {
        self.state.lock().unwrap().words.insert(at, value);
    }

    pub fn take_writes(&self) -> Vec<(usize, u32)> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }

    fn fetch(&self, state: &mut State) {
        let get = |state: &State, at: usize| state.words.get(&at).copied().unwrap_or(0);
        let base = u64::from(get(state, CQB + 4)) << 32 | u64::from(get(state, CQB));
        let size = 2u32 << (base & 0x1f);
        loop {
            let (head, tail, csr) = (get(state, CQH), get(state, CQT), get(state, CQCSR));
            if csr & 1 << 16 == 0 || csr & 0x700 != 0 || head == tail {
                return;
            }
            match state.fault {
                Some(Fault::Hang) => return,
                Some(Fault::Off) => {
                    state.words.insert(CQCSR, csr & !(1 << 16));
                    state.fault = None;
                    return;
                }
                Some(Fault::Stop { after: 0, bit }) => {
                    state.words.insert(CQCSR, csr | 1 << bit);
                    state.fault = None;
                    return;
                }
                Some(Fault::Stop { after, bit }) => state.fault = Some(Fault::Stop { after: after - 1, bit }),
                _ => {}
            }
            let at = (base >> 10 << 12) + u64::from(head) * 16;
            let command = [self.bench.load(at), self.bench.load(at + 8)];
            self.bench.record(Step::Command(command));
            if command[0] & 0x47f == 0x402 {
                let to = command[1] << 2;
                let word = self.bench.load(to & !7) & !0xffff_ffff | command[0] >> 32;
                self.bench.poke(to & !7, word);
            }
            state.words.insert(CQH, (head + 1) & (size - 1));
        }
    }

    fn write(&self, at: usize, value: u32) {
        self.bench.record(Step::Barrier);
        let mut state = self.state.lock().unwrap();
        if state.fault == Some(Fault::Gone) {
            return;
        }
        state.writes.push((at, value));
        let old = state.words.get(&at).copied().unwrap_or(0);
        match at {
            CAPABILITIES | CQH | FQT | PQT => {}
            CQCSR | FQCSR | PQCSR => {
                let kept = old & 0xf00 & !value;
                let new = if value & 1 == 0 {
                    value & 3
                } else if old & 1 == 0 {
                    let index = [(CQCSR, CQH), (FQCSR, FQT), (PQCSR, PQT)];
                    let index = index.iter().find(|(csr, _)| *csr == at).map(|(_, index)| *index).unwrap();
                    state.words.insert(index, 0);
                    value & 3 | 1 << 16
                } else {
                    value & 3 | old & 1 << 16 | kept
                };
                state.words.insert(at, new);
                self.fetch(&mut state);
            }
            IPSR => {
                state.words.insert(at, old & !value);
            }
            _ => {
                state.words.insert(at, value);
                if at == CQT {
                    self.fetch(&mut state);
                }
            }
        }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        match self.state.lock().unwrap().fault {
            Some(Fault::Gone) => return u32::MAX,
            Some(Fault::Stuck { at: stuck, value }) if stuck == at => return value,
            _ => {}
        }
        self.peek(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.write(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        u64::from(self.read32(at + 4)) << 32 | u64::from(self.read32(at))
    }
    fn write64(&self, at: usize, value: u64) {
        self.write(at + 4, (value >> 32) as u32);
        self.write(at, value as u32);
    }
}

pub const IOMMU: IommuId = IommuId(7);
pub type Iommu = RiscVIommu<Registers, Bench>;

pub fn config() -> Config {
    Config { bound: Nanos(1_000_000), command_queue: 3, fault_queue: 2, ..Config::default() }
}

pub fn try_bring_up(
    bench: &Bench,
    registers: &Registers,
    config: &Config,
    state: BringUp<'_>,
) -> Result<Iommu, BringUpError> {
    RiscVIommu::bring_up(IOMMU, registers.clone(), config, bench, state)
}

pub fn bring_up(capabilities: u64) -> (Bench, Registers, Iommu) {
    bring_up_as(capabilities, &config())
}

pub fn bring_up_as(capabilities: u64, config: &Config) -> (Bench, Registers, Iommu) {
    let bench = Bench::new();
    let registers = Registers::new(&bench, capabilities);
    let iommu = try_bring_up(&bench, &registers, config, BringUp::Cold).expect("a sound IOMMU");
    bench.take_steps();
    registers.take_writes();
    (bench, registers, iommu)
}

pub fn claim(iommu: &Iommu, source: u32, pasid_bits: u8, ats: bool) -> Slot {
    iommu.claim(&Claim { source: SourceId(source), pasid_bits, ats }).expect("a free source")
}
