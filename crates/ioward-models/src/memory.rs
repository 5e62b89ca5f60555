//! Simulated physical memory, seen by CPUs through [`crate::SimPlatform`] and by hardware through the calls here.
//!
//! CPUs see a store at once. Hardware sees it only when a barrier orders it ([`Visibility::Held`]), at once
//! ([`Visibility::Immediate`]), or sometimes so and sometimes so, from a seed ([`Visibility::Mixed`]): a driver is right
//! when it is right under each of them. Incoherent walkers see a line only once it has been cleaned, and in a fresh
//! frame see garbage until then.

use crate::violation::Violations;
use ioward_types::{PhysAddr, Span};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

/// Bytes of a cache line, for cleaning.
pub const LINE: u64 = 64;
/// What an incoherent walker reads from a frame whose lines were never cleaned.
pub const GARBAGE: u64 = 0xdead_beef_dead_beef;
/// What a freed frame is filled with.
pub const FREED: u8 = 0x5a;
const PAGE: u64 = 4096;
/// Alignment of the arena on the host, so that offsets and addresses agree up to a large page.
const ALIGN: usize = 0x20_0000;

/// When hardware sees a store that no barrier has ordered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visibility {
    /// At once: x86.
    Immediate,
    /// Not before the storing CPU's next barrier.
    Held,
    /// Either, store by store, from this seed.
    Mixed(u64),
}

/// No memory answers at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusError(pub PhysAddr);

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory at {}", self.0)
    }
}
impl std::error::Error for BusError {}

struct State {
    visibility: Visibility,
    incoherent: bool,
    /// Words whose store hardware has not seen: what it sees instead, and whose barrier is awaited.
    pending: BTreeMap<u64, (u64, ThreadId)>,
    /// Words whose store still lies in a write buffer of the chipset, where there is one: what lies behind it instead.
    buffered: Option<BTreeMap<u64, u64>>,
    /// Words stored to but not cleaned: what an incoherent walker sees instead.
    unclean: BTreeMap<u64, u64>,
    /// Lines of fresh frames that were never cleaned.
    fresh: BTreeSet<u64>,
    /// Allocated runs of frames: first address to bytes.
    allocated: BTreeMap<u64, u64>,
    /// Free runs.
    free: BTreeMap<u64, u64>,
    /// Runs freed lately, kept poisoned as long as possible.
    quarantine: VecDeque<(u64, u64)>,
    /// After so many more allocations every one fails.
    budget: Option<u64>,
}

struct Inner {
    base: NonNull<u8>,
    /// What was allocated: more than the arena, which is aligned inside it.
    block: NonNull<u8>,
    layout: Layout,
    origin: u64,
    bytes: u64,
    violations: Violations,
    state: Mutex<State>,
    /// Held by whoever does DMA from the translation of its address to the last byte of what it reaches.
    under_way: RwLock<()>,
}

// SAFETY: the arena is reached through atomics and through frames that `Platform` hands out exclusively.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: allocated in `Memory::new` with this layout; the last handle is gone.
        unsafe { dealloc(self.block.as_ptr(), self.layout) }
    }
}

/// Physical memory of a simulated machine. Clones are the same memory.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({:#x}, {:#x} bytes)", self.0.origin, self.0.bytes)
    }
}

impl Memory {
    /// `bytes` bytes from `origin`, both multiples of 64 KiB. The host commits pages as they are touched.
    pub fn new(origin: PhysAddr, bytes: u64, violations: Violations) -> Self {
        assert!((origin.0 | bytes).is_multiple_of(0x1_0000) && bytes != 0, "memory is whole units of 64 KiB");
        // Aligned by hand: only an allocation of small alignment comes zeroed without being touched.
        let layout = Layout::from_size_align(bytes as usize + ALIGN, 16).expect("a size that fits the host");
        // SAFETY: the layout is not empty.
        let block =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let offset = block.as_ptr().align_offset(ALIGN);
        assert!(offset < ALIGN, "the host's memory can be aligned");
        // SAFETY: the block is longer than the arena by what the alignment can take.
        let base = unsafe { block.add(offset) };
        let state = State {
            visibility: Visibility::Immediate,
            incoherent: false,
            pending: BTreeMap::new(),
            buffered: None,
            unclean: BTreeMap::new(),
            fresh: BTreeSet::new(),
            allocated: BTreeMap::new(),
            free: BTreeMap::from([(origin.0, bytes)]),
            quarantine: VecDeque::new(),
            budget: None,
        };
        Self(Arc::new(Inner {
            base,
            block,
            layout,
            origin: origin.0,
            bytes,
            violations,
            state: Mutex::new(state),
            under_way: RwLock::new(()),
        }))
    }

    /// When hardware sees stores.
    pub fn set_visibility(&self, visibility: Visibility) {
        self.state().visibility = visibility;
    }

    /// Whether lines that are not cleaned are tracked, for models whose walkers do not snoop. Set it before any frame is
    /// allocated.
    pub fn set_incoherent(&self, incoherent: bool) {
        self.state().incoherent = incoherent;
    }

    /// Whether a chipset holds stores back in buffers that no barrier empties, from [`Memory::read64_behind_buffer`]
    /// alone. Turned off, they are empty.
    pub fn set_write_buffered(&self, on: bool) {
        self.state().buffered = on.then(BTreeMap::new);
    }

    /// Empties the chipset's write buffers.
    pub fn flush_write_buffer(&self) {
        if let Some(buffered) = &mut self.state().buffered {
            buffered.clear();
        }
    }

    /// After `count` more allocations every one fails; `None` lifts that.
    pub fn set_budget(&self, count: Option<u64>) {
        self.state().budget = count;
    }

    /// The whole of it.
    pub fn span(&self) -> Span<PhysAddr> {
        Span { start: PhysAddr(self.0.origin), bytes: self.0.bytes }
    }

    /// Bytes allocated at the moment.
    pub fn allocated(&self) -> u64 {
        self.state().allocated.values().sum()
    }

    /// Where to report violations.
    pub fn violations(&self) -> &Violations {
        &self.0.violations
    }

    /// Whether a byte belongs to frames that are allocated.
    pub fn is_allocated(&self, at: PhysAddr) -> bool {
        self.state().allocated.range(..=at.0).next_back().is_some_and(|(start, bytes)| at.0 - start < *bytes)
    }

    /// What hardware reads of a structure (an entry, a descriptor, a command): 8 bytes at a multiple of 8. `coherent`:
    /// whether the reader snoops CPU caches. Reading freed frames is reported as a violation by `by`.
    pub fn read64(&self, by: &str, at: PhysAddr, coherent: bool) -> Result<u64, BusError> {
        let word = self.word(at).ok_or(BusError(at))?;
        if !self.is_allocated(at) {
            self.0.violations.report(
                by,
                "use after free",
                format!("hardware reads a structure at {at}, which is not allocated"),
            );
        }
        let state = self.state();
        if !coherent && state.incoherent {
            if state.fresh.contains(&(at.0 & !(LINE - 1))) {
                return Ok(GARBAGE);
            }
            if let Some(old) = state.unclean.get(&at.0) {
                return Ok(*old);
            }
        }
        match state.pending.get(&at.0) {
            Some((old, _)) => Ok(*old),
            None => Ok(u64::from_le(word.load(Ordering::Acquire))),
        }
    }

    /// [`Memory::read64`] by hardware that sits behind the chipset's write buffers ([`Memory::set_write_buffered`]).
    pub fn read64_behind_buffer(&self, by: &str, at: PhysAddr, coherent: bool) -> Result<u64, BusError> {
        let value = self.read64(by, at, coherent)?;
        let held = self.state().buffered.as_ref().and_then(|buffered| buffered.get(&at.0).copied());
        Ok(held.unwrap_or(value))
    }

    /// Hardware stores 8 bytes at a multiple of 8: an event, a completion.
    pub fn write64(&self, by: &str, at: PhysAddr, value: u64) -> Result<(), BusError> {
        let word = self.word(at).ok_or(BusError(at))?;
        if !self.is_allocated(at) {
            self.0.violations.report(
                by,
                "use after free",
                format!("hardware writes to {at}, which is not allocated"),
            );
        }
        self.forget(at.0);
        word.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// Hardware replaces `old` by `new` at once, if `old` is there: accessed and dirty bits.
    pub fn cas64(&self, at: PhysAddr, old: u64, new: u64) -> Result<bool, BusError> {
        let word = self.word(at).ok_or(BusError(at))?;
        let done =
            word.compare_exchange(old.to_le(), new.to_le(), Ordering::AcqRel, Ordering::Acquire).is_ok();
        if done {
            self.forget(at.0);
        }
        Ok(done)
    }

    /// A device reads data. Words whose store awaits its barrier are read as they were.
    pub fn dma_read(&self, by: &str, at: PhysAddr, into: &mut [u8]) -> Result<(), BusError> {
        self.check_dma(by, at, into.len())?;
        let state = self.state();
        for (n, byte) in into.iter_mut().enumerate() {
            *byte = self.byte(at.0 + n as u64).load(Ordering::Relaxed);
        }
        for (word, (old, _)) in state.pending.range(at.0 & !7..at.0 + into.len() as u64) {
            for (n, old) in old.to_le_bytes().into_iter().enumerate() {
                let place =
                    (word + n as u64).checked_sub(at.0).and_then(|place| into.get_mut(place as usize));
                place.into_iter().for_each(|byte| *byte = old);
            }
        }
        Ok(())
    }

    /// A device writes data, and reads it from then on, whatever store awaits its barrier there.
    pub fn dma_write(&self, by: &str, at: PhysAddr, from: &[u8]) -> Result<(), BusError> {
        self.check_dma(by, at, from.len())?;
        let mut state = self.state();
        for (n, byte) in from.iter().enumerate() {
            self.byte(at.0 + n as u64).store(*byte, Ordering::Relaxed);
        }
        for (word, (old, _)) in state.pending.range_mut(at.0 & !7..at.0 + from.len() as u64) {
            let mut bytes = old.to_le_bytes();
            for (n, old) in bytes.iter_mut().enumerate() {
                let new = (word + n as u64).checked_sub(at.0).and_then(|place| from.get(place as usize));
                new.into_iter().for_each(|byte| *old = *byte);
            }
            *old = u64::from_le_bytes(bytes);
        }
        Ok(())
    }

    fn check_dma(&self, by: &str, at: PhysAddr, bytes: usize) -> Result<(), BusError> {
        let Some(span) = Span::new(at, bytes as u64) else { return Err(BusError(at)) };
        if !self.span().covers(&span) {
            return Err(BusError(at));
        }
        if !self.is_allocated(at) || !self.is_allocated(span.last()) {
            self.0.violations.report(
                by,
                "use after free",
                format!("DMA reaches {span}, which is not allocated"),
            );
        }
        Ok(())
    }

    // ---- the CPU's side, through SimPlatform -----------------------------------------------------------------

    pub(crate) fn allocate(&self, bytes: u64, align: u64, below: u64) -> Option<PhysAddr> {
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        let align = align.max(PAGE);
        let mut state = self.state();
        if let Some(budget) = &mut state.budget {
            *budget = budget.checked_sub(1)?;
        }
        let found = loop {
            let fit = state.free.iter().find_map(|(&start, &length)| {
                let first = start.next_multiple_of(align);
                let end = first.checked_add(bytes)?;
                (end <= start + length && end <= below).then_some((start, length, first))
            });
            match fit {
                Some(fit) => break fit,
                None => {
                    let (start, length) = state.quarantine.pop_front()?;
                    release(&mut state.free, start, length);
                }
            }
        };
        let (start, length, first) = found;
        state.free.remove(&start);
        if first > start {
            state.free.insert(start, first - start);
        }
        if first + bytes < start + length {
            state.free.insert(first + bytes, start + length - first - bytes);
        }
        state.allocated.insert(first, bytes);
        if state.incoherent {
            state.fresh.extend((first..first + bytes).step_by(LINE as usize));
        }
        let stale: Vec<u64> = state.pending.range(first..first + bytes).map(|(at, _)| *at).collect();
        for at in stale {
            state.pending.remove(&at);
            state.unclean.remove(&at);
        }
        if let Some(buffered) = &mut state.buffered {
            buffered.retain(|at, _| !(first..first + bytes).contains(at));
        }
        drop(state);
        for at in (first..first + bytes).step_by(8) {
            self.word(PhysAddr(at)).expect("allocated inside").store(0, Ordering::Relaxed);
        }
        Some(PhysAddr(first))
    }

    /// DMA is under way for as long as this is held. Hardware ends no invalidation before requests that were translated
    /// earlier have arrived; models translate and reach memory in two steps, so here it is memory that is not freed before.
    pub(crate) fn under_way(&self) -> RwLockReadGuard<'_, ()> {
        self.0.under_way.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn release(&self, at: PhysAddr, bytes: u64) {
        // Waits for what is under way. What begins later has no translation from before.
        drop(self.0.under_way.write().unwrap_or_else(PoisonError::into_inner));
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        let mut state = self.state();
        if state.allocated.get(&at.0) != Some(&bytes) {
            let what = format!("{bytes:#x} bytes at {at} are freed but were not allocated so");
            self.0.violations.report("memory", "Platform::free", what);
            return;
        }
        state.allocated.remove(&at.0);
        for offset in (0..bytes).step_by(8) {
            let word = self.word(PhysAddr(at.0 + offset)).expect("allocated inside");
            word.store(u64::from_ne_bytes([FREED; 8]), Ordering::Relaxed);
            state.pending.remove(&(at.0 + offset));
            state.unclean.remove(&(at.0 + offset));
        }
        state.quarantine.push_back((at.0, bytes));
    }

    pub(crate) fn pointer(&self, at: PhysAddr) -> NonNull<u8> {
        let offset = at.0.wrapping_sub(self.0.origin);
        assert!(offset < self.0.bytes, "the CPU reaches {at}, where there is no memory");
        // SAFETY: the offset lies inside the arena.
        unsafe { self.0.base.add(offset as usize) }
    }

    /// Where the byte at `at` is, if it is one of the arena's.
    pub(crate) fn address(&self, at: NonNull<u8>) -> Option<PhysAddr> {
        let offset = at.addr().get().checked_sub(self.0.base.addr().get())? as u64;
        (offset < self.0.bytes).then_some(PhysAddr(self.0.origin + offset))
    }

    pub(crate) fn stored(&self, at: PhysAddr, bytes: usize, old: u128) {
        let mut state = self.state();
        for (n, at) in (at.0..at.0 + bytes as u64).step_by(8).enumerate() {
            let old = (old >> (64 * n)) as u64;
            if let Some(buffered) = &mut state.buffered {
                buffered.entry(at).or_insert(old);
            }
            let hold = match &mut state.visibility {
                Visibility::Immediate => false,
                Visibility::Held => true,
                Visibility::Mixed(seed) => next_random(seed) & 1 == 0,
            };
            if hold {
                state.pending.entry(at).or_insert((old, thread::current().id()));
            } else {
                // A later store that is visible makes an earlier one to the same word visible.
                state.pending.remove(&at);
            }
            if state.incoherent && !state.fresh.contains(&(at & !(LINE - 1))) {
                state.unclean.entry(at).or_insert(old);
            }
        }
    }

    pub(crate) fn barrier(&self) {
        let me = thread::current().id();
        self.state().pending.retain(|_, (_, who)| *who != me);
    }

    pub(crate) fn clean(&self, lines: Span<PhysAddr>) {
        let Some(lines) = lines.align_outward(LINE) else { return };
        let mut state = self.state();
        for line in (lines.start.0..=lines.last().0).step_by(LINE as usize) {
            state.fresh.remove(&line);
            for at in (line..line + LINE).step_by(8) {
                state.unclean.remove(&at);
                state.pending.remove(&at);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, at: u64) {
        let mut state = self.state();
        state.pending.remove(&at);
        state.unclean.remove(&at);
        if let Some(buffered) = &mut state.buffered {
            buffered.remove(&at);
        }
    }

    fn word(&self, at: PhysAddr) -> Option<&AtomicU64> {
        let offset = at.0.checked_sub(self.0.origin)?;
        let inside = at.0.is_multiple_of(8) && offset.checked_add(8)? <= self.0.bytes;
        // SAFETY: eight aligned bytes inside the arena, which lives as long as `self`.
        inside.then(|| unsafe { &*self.0.base.as_ptr().add(offset as usize).cast::<AtomicU64>() })
    }

    fn byte(&self, at: u64) -> &AtomicU8 {
        // SAFETY: callers checked that the byte lies inside the arena.
        unsafe { &*self.0.base.as_ptr().add((at - self.0.origin) as usize).cast::<AtomicU8>() }
    }
}

fn release(free: &mut BTreeMap<u64, u64>, mut start: u64, mut bytes: u64) {
    if let Some((&before, &length)) = free.range(..start).next_back()
        && before + length == start
    {
        free.remove(&before);
        (start, bytes) = (before, bytes + length);
    }
    if let Some(length) = free.remove(&(start + bytes)) {
        bytes += length;
    }
    free.insert(start, bytes);
}

/// splitmix64.
fn next_random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimPlatform;
    use ioward_types::{Frames, Platform};

    fn machine() -> (Memory, SimPlatform) {
        let memory = Memory::new(PhysAddr(0x8000_0000), 0x10_0000, Violations::default());
        (memory.clone(), SimPlatform::new(memory))
    }

    #[test]
    fn a_held_store_waits_for_its_barrier() {
        let (memory, platform) = machine();
        memory.set_visibility(Visibility::Held);
        let frames = Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        frames.store64(8, 7);
        let at = PhysAddr(frames.phys().0 + 8);
        assert_eq!(memory.read64("test", at, true), Ok(0));
        assert_eq!(frames.load64(8), 7);
        platform.publish();
        assert_eq!(memory.read64("test", at, true), Ok(7));
    }

    #[test]
    fn a_buffered_store_waits_for_a_flush_and_not_for_a_barrier() {
        let (memory, platform) = machine();
        memory.set_write_buffered(true);
        let frames = Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let at = frames.phys();
        frames.store64(0, 7);
        platform.fence();
        assert_eq!(memory.read64_behind_buffer("test", at, true), Ok(0));
        assert_eq!(memory.read64("test", at, true), Ok(7), "other hardware has no such buffer before it");
        memory.flush_write_buffer();
        assert_eq!(memory.read64_behind_buffer("test", at, true), Ok(7));
    }

    #[test]
    fn an_incoherent_walker_sees_what_was_cleaned() {
        let (memory, platform) = machine();
        memory.set_incoherent(true);
        let frames = Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let at = frames.phys();
        assert_eq!(memory.read64("test", at, false), Ok(GARBAGE));
        frames.clean(0, 4096);
        frames.store64(0, 1);
        platform.fence();
        assert_eq!((memory.read64("test", at, false), memory.read64("test", at, true)), (Ok(0), Ok(1)));
        frames.clean(0, 8);
        assert_eq!(memory.read64("test", at, false), Ok(1));
    }

    #[test]
    fn reading_freed_frames_is_a_violation() {
        let (memory, platform) = machine();
        let frames = Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let at = frames.phys();
        memory.read64("test", at, true).unwrap();
        memory.violations().assert_none();
        // SAFETY: the only hardware is the read below, which is meant to be caught.
        unsafe { frames.free() };
        memory.read64("test", at, true).unwrap();
        assert_eq!(memory.violations().take().len(), 1);
        assert_eq!(memory.read64("test", PhysAddr(0), true), Err(BusError(PhysAddr(0))));
        assert_eq!(memory.allocated(), 0);
    }
}
