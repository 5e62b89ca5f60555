//! A bench for the SMMUv3 driver: memory whose every store is on record, and registers that obey the simplest protocol.
//!
//! Register offsets and bit positions are written out here from ARM IHI 0070 G.b, chapters 4 to 6, and not taken from
//! where the driver takes them.
#![allow(dead_code)]

use ioward_core::driver::{Claim, Driver, Slot};
use ioward_drivers::smmuv3::{BringUp, BringUpError, Config, SmmuV3};
use ioward_types::{IommuId, Mmio, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, SourceId, Span};
use std::{
    collections::BTreeMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Where memory starts.
pub const ORIGIN: u64 = 0x4000_0000;
const BYTES: usize = 8 << 20;
const FEW: usize = 1 << 20;

/// What happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The CPU stored 64 bits.
    Store { at: u64, new: u64 },
    /// What was stored before is seen before what is stored after.
    Barrier,
    /// The SMMU completed a command.
    Command([u64; 2]),
}

struct Arena {
    words: Box<[AtomicU64]>,
    next: AtomicU64,
    clock: AtomicU64,
    budget: AtomicU64,
    steps: Mutex<Vec<Step>>,
    freed: Mutex<u64>,
}

/// Memory, and the platform over it.
#[derive(Clone)]
pub struct Bench(Arc<Arena>);

impl Bench {
    pub fn new() -> Self {
        Self::of(BYTES)
    }

    /// With less memory, for those who need many.
    pub fn small() -> Self {
        Self::of(FEW)
    }

    fn of(bytes: usize) -> Self {
        let words = (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Arena {
            words,
            next: AtomicU64::new(ORIGIN),
            clock: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            steps: Mutex::default(),
            freed: Mutex::default(),
        }))
    }

    /// After so many more allocations every one fails.
    pub fn set_budget(&self, count: u64) {
        self.0.budget.store(count, Ordering::Relaxed);
    }

    pub fn load(&self, at: u64) -> Option<u64> {
        let word = self.0.words.get(usize::try_from(at.checked_sub(ORIGIN)? / 8).ok()?)?;
        at.is_multiple_of(8).then(|| u64::from_le(word.load(Ordering::Acquire)))
    }

    /// The device's side stores.
    pub fn poke(&self, at: u64, value: u64) {
        self.0.words[(at - ORIGIN) as usize / 8].store(value.to_le(), Ordering::Release);
    }

    /// The record since the last time.
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.steps.lock().unwrap())
    }

    pub fn all(&self) -> BTreeMap<u64, u64> {
        let used = self.0.next.load(Ordering::Relaxed);
        (ORIGIN..used).step_by(8).map(|at| (at, self.load(at).unwrap())).collect()
    }

    fn record(&self, step: Step) {
        self.0.steps.lock().unwrap().push(step);
    }
}

pub struct Lock(AtomicBool);

// SAFETY: the flag is true for one holder at a time.
unsafe impl RawLock for Lock {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn lock(&self) {
        assert!(!self.0.swap(true, Ordering::Acquire), "one thread takes a lock twice");
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

// SAFETY: frames are cut off the arena one after another and never reused, so they stay zeroed and exclusive.
unsafe impl Platform for Bench {
    type Lock = Lock;
    type Pin = ();
    const TRACED: bool = true;
    fn pin(&self) -> ((), usize) {
        ((), 0)
    }
    fn synchronize(&self) {}
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let budget = self.0.budget.load(Ordering::Relaxed).checked_sub(1).ok_or(OutOfMemory)?;
        self.0.budget.store(budget, Ordering::Relaxed);
        let at = self.0.next.load(Ordering::Relaxed).next_multiple_of(align as u64);
        let end = at + bytes as u64;
        if end > ORIGIN + 8 * self.0.words.len() as u64 || end > below.0 {
            return Err(OutOfMemory);
        }
        self.0.next.store(end, Ordering::Relaxed);
        Ok(PhysAddr(at))
    }
    unsafe fn free(&self, _: PhysAddr, bytes: usize) {
        *self.0.freed.lock().unwrap() += bytes as u64;
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        NonNull::from(&self.0.words[(at.0 - ORIGIN) as usize / 8]).cast()
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(self.0.clock.fetch_add(1_000, Ordering::Relaxed))
    }
    fn publish(&self) {
        self.record(Step::Barrier);
    }
    fn fence(&self) {
        self.record(Step::Barrier);
    }
    fn stored(&self, at: PhysAddr, bytes: usize, _: u128, new: u128) {
        assert_eq!(bytes, 8, "the SMMU reads 64 bits at a time");
        self.record(Step::Store { at: at.0, new: new as u64 });
    }
}

/// What the ID registers say.
#[derive(Clone, Copy)]
pub struct Ids {
    pub idr0: u32,
    pub idr1: u32,
    pub idr3: u32,
    pub idr5: u32,
}

impl Ids {
    /// Both stages, two-level tables, VMSAv8-64, coherent, ATS, 16-bit ASIDs and VMIDs; 16 StreamID and 10 SubstreamID
    /// bits; range invalidation; 4 KiB granule and 48 bits.
    pub const LARGE: Self = Self {
        idr0: 1
            | 1 << 1
            | 2 << 2
            | 1 << 4
            | 1 << 10
            | 1 << 12
            | 1 << 18
            | 1 << 19
            | 2 << 21
            | 1 << 24
            | 1 << 27,
        idr1: 16 | 10 << 6 | 7 << 16 | 8 << 21,
        idr3: 1 << 10,
        idr5: 5 | 1 << 4,
    };
    /// The same with linear tables only.
    pub const LINEAR: Self = Self {
        idr0: Self::LARGE.idr0 & !(1 << 19 | 1 << 27),
        idr1: 8 | 4 << 6 | 7 << 16 | 8 << 21,
        ..Self::LARGE
    };
}

struct State {
    words: BTreeMap<usize, u32>,
    /// Commands are not consumed.
    hung: bool,
    /// Everything reads as ones.
    gone: bool,
    /// Commands at which the queue stops once: how many are still to come, and the error.
    error: Option<(usize, u32)>,
    writes: Vec<(usize, u64)>,
}

/// Registers whose commands complete as soon as they are published.
#[derive(Clone)]
pub struct Registers {
    bench: Bench,
    state: Arc<Mutex<State>>,
}

const CR0: usize = 0x20;
const GBPA: usize = 0x44;
const IRQ_CTRL: usize = 0x50;
const GERROR: usize = 0x60;
const GERRORN: usize = 0x64;
pub const STRTAB_BASE: usize = 0x80;
pub const STRTAB_BASE_CFG: usize = 0x88;
const CMDQ_BASE: usize = 0x90;
const CMDQ_PROD: usize = 0x98;
const CMDQ_CONS: usize = 0x9c;
pub const EVENTQ_BASE: usize = 0xa0;
pub const EVENTQ_PROD: usize = 0x1_00a8;
pub const EVENTQ_CONS: usize = 0x1_00ac;

impl Registers {
    pub fn new(bench: &Bench, ids: Ids) -> Self {
        let words = [(0x00, ids.idr0), (0x04, ids.idr1), (0x0c, ids.idr3), (0x14, ids.idr5)].into();
        let state = State { words, hung: false, gone: false, error: None, writes: Vec::new() };
        Self { bench: bench.clone(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn peek(&self, at: usize) -> u32 {
        self.state().words.get(&at).copied().unwrap_or(0)
    }

    pub fn peek64(&self, at: usize) -> u64 {
        u64::from(self.peek(at)) | u64::from(self.peek(at + 4)) << 32
    }

    pub fn poke(&self, at: usize, value: u32) {
        self.state().words.insert(at, value);
    }

    pub fn set_hung(&self, hung: bool) {
        self.state().hung = hung;
    }

    pub fn set_gone(&self) {
        self.state().gone = true;
    }

    /// The queue stops at a command with this CMDQ_CONS.ERR, `after` further ones having been consumed.
    pub fn stop_at(&self, after: usize, error: u32) {
        self.state().error = Some((after, error));
    }

    /// Every register write since the last time.
    pub fn take_writes(&self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.state().writes)
    }

    fn consume(&self) {
        let mut state = self.state();
        let register = |state: &State, at: usize| state.words.get(&at).copied().unwrap_or(0);
        let base = u64::from(register(&state, CMDQ_BASE)) | u64::from(register(&state, CMDQ_BASE + 4)) << 32;
        let entries = 1u32 << (base & 0x1f);
        let at = base & 0x00ff_ffff_ffff_ffe0;
        let stopped = |state: &State| (register(state, GERROR) ^ register(state, GERRORN)) & 1 != 0;
        while !state.hung && !stopped(&state) && register(&state, CR0) & 1 << 3 != 0 {
            let (prod, cons) = (register(&state, CMDQ_PROD), register(&state, CMDQ_CONS) & 0xf_ffff);
            if prod == cons {
                break;
            }
            if let Some((after, error)) = &mut state.error {
                if *after == 0 {
                    let error = *error;
                    state.error = None;
                    state.words.insert(CMDQ_CONS, cons | error << 24);
                    let gerror = register(&state, GERROR);
                    state.words.insert(GERROR, gerror ^ 1);
                    break;
                }
                *after -= 1;
            }
            let from = at + u64::from(cons & (entries - 1)) * 16;
            let command = [0, 8].map(|n| self.bench.load(from + n).unwrap());
            state.words.insert(CMDQ_CONS, (cons + 1) & (2 * entries - 1));
            self.bench.record(Step::Command(command));
        }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        if self.state().gone { u32::MAX } else { self.peek(at) }
    }
    fn write32(&self, at: usize, value: u32) {
        self.state().writes.push((at, value.into()));
        self.bench.record(Step::Barrier);
        let value = if at == GBPA { value & !(1 << 31) } else { value };
        self.poke(at, value);
        match at {
            CR0 | IRQ_CTRL => self.poke(at + 4, value),
            CMDQ_PROD | GERRORN => self.consume(),
            _ => {}
        }
    }
    fn read64(&self, at: usize) -> u64 {
        u64::from(self.read32(at)) | u64::from(self.read32(at + 4)) << 32
    }
    fn write64(&self, at: usize, value: u64) {
        self.state().writes.push((at, value));
        self.poke(at, value as u32);
        self.poke(at + 4, (value >> 32) as u32);
    }
}

pub type Smmu = SmmuV3<Registers, Bench>;

pub const IOMMU: IommuId = IommuId(7);

pub fn config() -> Config {
    Config { bound: Nanos(1_000_000), command_queue: 3, event_queue: 3, ..Config::default() }
}

pub fn bring_up(ids: Ids) -> (Bench, Registers, Smmu) {
    let bench = Bench::new();
    let registers = Registers::new(&bench, ids);
    let smmu = try_bring_up(&bench, &registers, BringUp::Cold).expect("a sound SMMU");
    (bench, registers, smmu)
}

pub fn try_bring_up(bench: &Bench, registers: &Registers, state: BringUp<'_>) -> Result<Smmu, BringUpError> {
    SmmuV3::bring_up(IOMMU, registers.clone(), &config(), bench, state)
}

pub fn claim(smmu: &Smmu, source: u32, pasid_bits: u8, ats: bool) -> Slot {
    smmu.claim(&Claim { source: SourceId(source), pasid_bits, ats }).expect("a source that is free")
}
