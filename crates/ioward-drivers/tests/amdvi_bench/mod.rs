//! A bench for the AMD-Vi driver: memory that writes down every store and barrier, and registers that do the least that
//! the specification asks (48882 §3.4, §2.4.1). Positions are written out here; nothing comes from the driver.
#![allow(dead_code)]

use ioward_types::{IommuId, Mmio, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use std::{
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub const UNIT: IommuId = IommuId(3);
const ORIGIN: u64 = 0x10_0000;
const WORDS: usize = 0x10_0000;

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
    /// The IOMMU confirmed that it forgot the entry of this source: no read of it from before is under way.
    Settled(u16),
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
    /// Commands are fetched and never completed.
    Hang,
    /// The next command is illegal: an event, and no more fetching.
    Illegal,
    /// Every device lets its invalidations time out.
    SilentDevices,
    /// Registers read all ones.
    Gone,
}

struct State {
    registers: std::collections::BTreeMap<usize, u64>,
    fault: Fault,
    commands: Vec<[u64; 2]>,
    forgotten: Vec<u16>,
    head: Option<u64>,
}

/// The registers.
pub struct Registers {
    bench: Bench,
    state: Mutex<State>,
}

const CONTROL: usize = 0x18;
const CMD_HEAD: usize = 0x2000;
const CMD_TAIL: usize = 0x2008;
const EVT_HEAD: usize = 0x2010;
const EVT_TAIL: usize = 0x2018;
const STATUS: usize = 0x2020;

impl Registers {
    pub fn new(bench: &Bench, efr: u64) -> Self {
        let registers = [(0x30, efr)].into();
        let state =
            State { registers, fault: Fault::None, commands: Vec::new(), forgotten: Vec::new(), head: None };
        Self { bench: bench.clone(), state: Mutex::new(state) }
    }

    pub fn set_fault(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    /// From now on the command buffer's head reads so.
    pub fn stick_head(&self, head: u64) {
        self.state.lock().unwrap().head = Some(head);
    }

    /// The commands since the last call, completion waits left out.
    pub fn take_commands(&self) -> Vec<[u64; 2]> {
        let mut commands = std::mem::take(&mut self.state.lock().unwrap().commands);
        commands.retain(|command| command[0] >> 60 != 1);
        commands
    }

    /// What a register holds.
    pub fn peek(&self, at: usize) -> u64 {
        self.state.lock().unwrap().registers.get(&at).copied().unwrap_or(0)
    }

    pub fn poke(&self, at: usize, value: u64) {
        self.state.lock().unwrap().registers.insert(at, value);
    }

    /// Hardware logs an event; with the log full it stops and says so (§2.5.1).
    pub fn log_event(&self, event: [u64; 2]) {
        self.log(&mut self.state.lock().unwrap(), event);
    }

    fn log(&self, state: &mut State, event: [u64; 2]) {
        let get = |at| state.registers.get(&at).copied().unwrap_or(0);
        if get(STATUS) & 1 << 3 == 0 {
            return;
        }
        let (base, head, tail) = (get(0x10), get(EVT_HEAD), get(EVT_TAIL));
        let bytes = 16 << (base >> 56 & 0xf);
        let next = (tail + 16) % bytes;
        if next == head {
            let status = get(STATUS) & !(1 << 3) | 1;
            state.registers.insert(STATUS, status);
            return;
        }
        let at = (base & 0x000f_ffff_ffff_f000) + tail;
        self.bench.store(at, event[0]);
        self.bench.store(at + 8, event[1]);
        state.registers.insert(EVT_TAIL, next);
    }

    fn write(&self, at: usize, value: u64) {
        self.bench.record(Record::Barrier);
        let mut state = self.state.lock().unwrap();
        let get = |state: &State, at| state.registers.get(&at).copied().unwrap_or(0);
        match at {
            STATUS => {
                let kept = get(&state, STATUS) & !(value & 0x7);
                state.registers.insert(STATUS, kept);
            }
            CONTROL => {
                state.registers.insert(CONTROL, value);
                let on = value & 1;
                let run = (value >> 12 & on) << 4 | (value >> 2 & on) << 3;
                let status = get(&state, STATUS) & !0x18 | run;
                state.registers.insert(STATUS, status);
                self.fetch(&mut state);
            }
            0x8 => {
                state.registers.extend([(0x8, value), (CMD_HEAD, 0), (CMD_TAIL, 0)]);
            }
            0x10 => {
                state.registers.extend([(0x10, value), (EVT_HEAD, 0), (EVT_TAIL, 0)]);
            }
            _ => {
                state.registers.insert(at, value);
                if at == CMD_TAIL {
                    self.fetch(&mut state);
                }
            }
        }
    }

    fn fetch(&self, state: &mut State) {
        let get = |state: &State, at| state.registers.get(&at).copied().unwrap_or(0);
        let base = get(state, 0x8);
        let bytes = 16 << (base >> 56 & 0xf);
        while get(state, STATUS) & 1 << 4 != 0 && get(state, CMD_HEAD) != get(state, CMD_TAIL) {
            let head = get(state, CMD_HEAD);
            let at = (base & 0x000f_ffff_ffff_f000) + head;
            let command = [self.bench.load(at), self.bench.load(at + 8)];
            if state.fault == Fault::Illegal {
                state.fault = Fault::None;
                self.log(state, [5 << 60, at]);
                let status = get(state, STATUS) & !(1 << 4);
                state.registers.insert(STATUS, status);
                return;
            }
            state.commands.push(command);
            match command[0] >> 60 {
                1 if state.fault != Fault::Hang && command[0] & 1 != 0 => {
                    self.bench.store(command[0] & 0x000f_ffff_ffff_fff8, command[1]);
                    for source in std::mem::take(&mut state.forgotten) {
                        self.bench.record(Record::Settled(source));
                    }
                }
                2 => state.forgotten.push(command[0] as u16),
                4 if state.fault == Fault::SilentDevices => {
                    self.log(state, [7 << 60 | command[0] & 0xffff, at])
                }
                _ => {}
            }
            state.registers.insert(CMD_HEAD, (head + 16) % bytes);
        }
    }
}

impl Mmio for Registers {
    fn read32(&self, at: usize) -> u32 {
        (self.read64(at & !7) >> (8 * (at & 4))) as u32
    }
    fn write32(&self, at: usize, value: u32) {
        panic!("{value:#x} to {at:#x}: the driver writes whole registers")
    }
    fn read64(&self, at: usize) -> u64 {
        let state = self.state.lock().unwrap();
        if let (CMD_HEAD, Some(head)) = (at, state.head) {
            return head;
        }
        if state.fault == Fault::Gone { u64::MAX } else { state.registers.get(&at).copied().unwrap_or(0) }
    }
    fn write64(&self, at: usize, value: u64) {
        self.write(at, value);
    }
}
