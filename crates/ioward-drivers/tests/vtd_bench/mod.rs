//! A bench for the VT-d driver: memory that writes down every store and barrier, and registers that do the least that the
//! specification asks (rev 4.1, chapter 11 and 6.5). Positions are written out here; nothing comes from the driver.
#![allow(dead_code)]

use ioward_types::{IommuId, Mmio, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use std::{
    collections::BTreeMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub const UNIT: IommuId = IommuId(3);
const ORIGIN: u64 = 0x10_0000;
const WORDS: usize = 0x2_0000;

/// What happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    Store {
        at: u64,
        bytes: usize,
        new: u128,
    },
    /// Stores before are seen before stores after.
    Barrier,
    /// The unit confirmed that it forgot this source's context entry: no read of it from before is under way.
    ContextSettled(u16),
    /// The same of a PASID's table entry.
    PasidSettled(u32),
    /// The same of an interrupt remapping entry.
    InterruptSettled(u16),
}

struct Inner {
    memory: Box<[AtomicU64]>,
    next: AtomicU64,
    clock: AtomicU64,
    log: Mutex<Vec<Record>>,
    allowed: AtomicU64,
}

#[derive(Clone)]
pub struct Bench(Arc<Inner>);

impl Bench {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            memory: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(ORIGIN),
            clock: AtomicU64::new(0),
            log: Mutex::new(Vec::new()),
            allowed: AtomicU64::new(u64::MAX),
        }))
    }

    /// What happened since the last call.
    pub fn take_log(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.log.lock().unwrap())
    }

    pub fn record(&self, what: Record) {
        self.0.log.lock().unwrap().push(what);
    }

    /// After so many more allocations there is no memory.
    pub fn allow_allocations(&self, count: u64) {
        self.0.allowed.store(count, Ordering::SeqCst);
    }

    pub fn load(&self, at: u64) -> u64 {
        u64::from_le(self.0.memory[((at - ORIGIN) / 8) as usize].load(Ordering::SeqCst))
    }

    pub fn store(&self, at: u64, value: u64) {
        self.0.memory[((at - ORIGIN) / 8) as usize].store(value.to_le(), Ordering::SeqCst);
    }

    /// All of memory.
    pub fn snapshot(&self) -> Memory {
        let used = ((self.0.next.load(Ordering::SeqCst) - ORIGIN) / 8) as usize;
        Memory(self.0.memory[..used].iter().map(|word| u64::from_le(word.load(Ordering::SeqCst))).collect())
    }
}

/// Memory as it was at one instant.
#[derive(Clone, PartialEq, Eq)]
pub struct Memory(Vec<u64>);

impl Memory {
    pub fn load(&self, at: u64) -> u64 {
        self.0[((at - ORIGIN) / 8) as usize]
    }

    /// With zeroes for what `later` has beyond it.
    pub fn grown(mut self, later: &Self) -> Self {
        self.0.resize(later.0.len(), 0);
        self
    }

    pub fn apply(&mut self, at: u64, bytes: usize, new: u128) {
        for n in 0..bytes / 8 {
            self.0[((at - ORIGIN) / 8) as usize + n] = (new >> (64 * n)) as u64;
        }
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
        let allowed = &self.0.allowed;
        allowed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                if left == u64::MAX { Some(left) } else { left.checked_sub(1) }
            })
            .map_err(|_| OutOfMemory)?;
        let at = self.0.next.load(Ordering::SeqCst).next_multiple_of(align.max(4096) as u64);
        let end = at + bytes as u64;
        assert!((end - ORIGIN) as usize <= WORDS * 8, "the bench has too little memory");
        self.0.next.store(end, Ordering::SeqCst);
        Ok(PhysAddr(at))
    }
    unsafe fn free(&self, _: PhysAddr, _: usize) {}
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        NonNull::from(&self.0.memory[((at.0 - ORIGIN) / 8) as usize]).cast()
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(self.0.clock.fetch_add(1, Ordering::SeqCst))
    }
    fn relax(&self) {
        self.0.clock.fetch_add(10_000_000, Ordering::SeqCst);
    }
    fn publish(&self) {
        self.record(Record::Barrier);
    }
    fn fence(&self) {
        self.record(Record::Barrier);
    }
    fn stored(&self, at: PhysAddr, bytes: usize, _: u128, new: u128) {
        self.record(Record::Store { at: at.0, bytes, new });
    }
}

/// How the registers misbehave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// Descriptors are fetched and never completed; registers' invalidations stay under way.
    Hang,
    /// Descriptors are not even fetched.
    Stand,
    /// The next descriptor is not understood.
    Illegal,
    /// Every descriptor is not understood.
    AlwaysIllegal,
    /// Every device lets its invalidations time out.
    SilentDevices,
    /// Every device answers what it was not asked.
    ConfusedDevices,
    /// Register-based invalidations are refused (actual granularity zero).
    Refuse,
    /// Registers read all ones.
    Gone,
}

struct State {
    registers: BTreeMap<usize, u64>,
    fault: Fault,
    /// Bits of GSTS that never change.
    stuck: u32,
    descriptors: Vec<[u64; 2]>,
    commands: Vec<u64>,
    forgotten: Vec<Record>,
    /// The head as it reads, whatever it is.
    head: Option<u64>,
}

/// The registers.
pub struct Registers {
    bench: Bench,
    state: Mutex<State>,
    pub iotlb_at: usize,
}

pub const CAP: usize = 0x08;
pub const ECAP: usize = 0x10;
pub const GCMD: usize = 0x18;
pub const GSTS: usize = 0x1c;
pub const RTADDR: usize = 0x20;
pub const CCMD: usize = 0x28;
pub const FSTS: usize = 0x34;
pub const PMEN: usize = 0x64;
pub const IQH: usize = 0x80;
pub const IQT: usize = 0x88;
pub const IQA: usize = 0x90;
pub const IQERCD: usize = 0xb0;
pub const IRTA: usize = 0xb8;

impl Registers {
    pub fn new(bench: &Bench, cap: u64, ecap: u64) -> Self {
        let registers = [(CAP, cap), (ECAP, ecap)].into();
        let state = State {
            registers,
            fault: Fault::None,
            stuck: 0,
            descriptors: Vec::new(),
            commands: Vec::new(),
            forgotten: Vec::new(),
            head: None,
        };
        let iotlb_at = (ecap >> 8 & 0x3ff) as usize * 16;
        Self { bench: bench.clone(), state: Mutex::new(state), iotlb_at }
    }

    pub fn set_fault(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    /// From now on these bits of GSTS stay as they are.
    pub fn stick(&self, bits: u32) {
        self.state.lock().unwrap().stuck = bits;
    }

    /// From now on IQH reads so.
    pub fn stick_head(&self, head: u64) {
        self.state.lock().unwrap().head = Some(head);
    }

    /// The descriptors since the last call, waits left out.
    pub fn take_descriptors(&self) -> Vec<[u64; 2]> {
        let mut all = std::mem::take(&mut self.state.lock().unwrap().descriptors);
        all.retain(|words| words[0] & 0xf != 5);
        all
    }

    /// The kinds of all descriptors since the last call, 5 for waits, all of which are fences.
    pub fn take_kinds(&self) -> Vec<u64> {
        let all = std::mem::take(&mut self.state.lock().unwrap().descriptors);
        assert!(all.iter().all(|words| words[0] & 0xf != 5 || words[0] & 1 << 6 != 0), "a wait is no fence");
        all.iter().map(|words| words[0] & 0xf).collect()
    }

    /// The register-based invalidations since the last call: CCMD and IOTLB as written, IVA before its IOTLB.
    pub fn take_commands(&self) -> Vec<u64> {
        std::mem::take(&mut self.state.lock().unwrap().commands)
    }

    pub fn peek(&self, at: usize) -> u64 {
        self.state.lock().unwrap().registers.get(&at).copied().unwrap_or(0)
    }

    pub fn poke(&self, at: usize, value: u64) {
        self.state.lock().unwrap().registers.insert(at, value);
    }

    fn put(&self, at: usize, value: u64) {
        self.bench.record(Record::Barrier);
        let mut state = self.state.lock().unwrap();
        if state.fault == Fault::Gone {
            return;
        }
        let get = |state: &State, at| state.registers.get(&at).copied().unwrap_or(0);
        match at {
            GCMD => {
                let old = get(&state, GSTS) as u32;
                let value = value as u32;
                // TE, QIE, IRE, CFI last; SRTP and SIRTP set their bits for good; a write-buffer flush is done at once.
                let mut new = value & 0x8680_0000 | old & 0x4100_0000 | value & 0x4100_0000;
                new = new & !state.stuck | old & state.stuck;
                if old & !new & 1 << 26 != 0 {
                    state.registers.insert(IQH, 0);
                }
                state.registers.insert(GSTS, new.into());
                self.fetch(&mut state);
            }
            FSTS => {
                let kept = get(&state, FSTS) & !(value & 0x71);
                state.registers.insert(FSTS, kept);
                self.fetch(&mut state);
            }
            CCMD if value >> 63 != 0 => {
                state.commands.push(value);
                let busy = state.fault == Fault::Hang;
                let actual = if state.fault == Fault::Refuse { 0 } else { value >> 61 & 3 };
                let done = value & !(1 << 63 | 3 << 59) | actual << 59 | u64::from(busy) << 63;
                state.registers.insert(CCMD, done);
                if !busy && actual == 3 {
                    self.bench.record(Record::ContextSettled((value >> 16) as u16));
                }
            }
            at if at == self.iotlb_at + 8 && value >> 63 != 0 => {
                if value >> 60 & 3 == 3 {
                    let address = get(&state, self.iotlb_at);
                    state.commands.push(address);
                }
                state.commands.push(value);
                let busy = state.fault == Fault::Hang;
                let actual = if state.fault == Fault::Refuse { 0 } else { value >> 60 & 3 };
                let done = value & !(1 << 63 | 3 << 57) | actual << 57 | u64::from(busy) << 63;
                state.registers.insert(at, done);
            }
            PMEN => {
                state.registers.insert(PMEN, value & 1 << 31 | value >> 31);
            }
            // A record's F is cleared by writing it.
            at if at & 0xf == 0xc && at > 0x200 => {
                if value & 1 << 31 != 0 {
                    let high = get(&state, at - 4) & !(1 << 63);
                    state.registers.insert(at - 4, high);
                    let pending = (0..8).any(|n| get(&state, 0x228 + 16 * n) >> 63 != 0);
                    let status = get(&state, FSTS) & !2 | u64::from(pending) << 1;
                    state.registers.insert(FSTS, status);
                }
            }
            IQH | 0xc8 => {}
            _ => {
                state.registers.insert(at, value);
                if at == IQT {
                    self.fetch(&mut state);
                }
            }
        }
    }

    fn fetch(&self, state: &mut State) {
        let get = |state: &State, at| state.registers.get(&at).copied().unwrap_or(0);
        let base = get(state, IQA);
        let bytes = 4096u64 << (base & 7);
        let width = if base & 1 << 11 != 0 { 32 } else { 16 };
        let running = |state: &State| get(state, GSTS) & 1 << 26 != 0 && get(state, FSTS) & 0x50 == 0;
        while running(state) && state.fault != Fault::Stand && get(state, IQH) != get(state, IQT) {
            let head = get(state, IQH);
            let at = (base & !0xfff) + head;
            let words = [self.bench.load(at), self.bench.load(at + 8)];
            if matches!(state.fault, Fault::Illegal | Fault::AlwaysIllegal) {
                if state.fault == Fault::Illegal {
                    state.fault = Fault::None;
                }
                let status = get(state, FSTS) | 1 << 4;
                state.registers.extend([(FSTS, status), (IQERCD, 3)]);
                return;
            }
            state.descriptors.push(words);
            state.registers.insert(IQH, (head + width) % bytes);
            match words[0] & 0xf {
                1 if words[0] >> 4 & 3 == 3 => {
                    state.forgotten.push(Record::ContextSettled((words[0] >> 32) as u16))
                }
                7 => state.forgotten.push(Record::PasidSettled((words[0] >> 32) as u32 & 0xf_ffff)),
                4 => state.forgotten.push(Record::InterruptSettled((words[0] >> 32) as u16)),
                3 | 8 if state.fault == Fault::SilentDevices => {
                    // The waits that follow and have been fetched already are dropped with it.
                    let mut head = get(state, IQH);
                    while head != get(state, IQT) && self.bench.load((base & !0xfff) + head) & 0xf == 5 {
                        head = (head + width) % bytes;
                    }
                    let sid = if words[0] & 0xf == 3 { words[0] >> 32 } else { words[0] >> 16 } & 0xffff;
                    let status = get(state, FSTS) | 1 << 6;
                    state.registers.extend([(IQH, head), (FSTS, status), (IQERCD, sid << 32)]);
                }
                3 | 8 if state.fault == Fault::ConfusedDevices => {
                    let sid = if words[0] & 0xf == 3 { words[0] >> 32 } else { words[0] >> 16 } & 0xffff;
                    let status = get(state, FSTS) | 1 << 5;
                    state.registers.extend([(FSTS, status), (IQERCD, sid << 48)]);
                }
                5 if state.fault != Fault::Hang && words[0] & 1 << 5 != 0 => {
                    for record in std::mem::take(&mut state.forgotten) {
                        self.bench.record(record);
                    }
                    let to = words[1] & !3;
                    let word = self.bench.load(to & !7);
                    let data = words[0] >> 32;
                    let new = match to & 4 {
                        0 => word & !0xffff_ffff | data,
                        _ => word & 0xffff_ffff | data << 32,
                    };
                    self.bench.store(to & !7, new);
                }
                _ => {}
            }
        }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        let state = self.state.lock().unwrap();
        if state.fault == Fault::Gone {
            return u32::MAX;
        }
        state.registers.get(&at).copied().unwrap_or(0) as u32
    }
    fn write32(&self, at: usize, value: u32) {
        self.put(at, value.into());
    }
    fn read64(&self, at: usize) -> u64 {
        let state = self.state.lock().unwrap();
        match (at, state.head) {
            _ if state.fault == Fault::Gone => u64::MAX,
            (IQH, Some(head)) => head,
            _ => state.registers.get(&at).copied().unwrap_or(0),
        }
    }
    fn write64(&self, at: usize, value: u64) {
        self.put(at, value);
    }
}
