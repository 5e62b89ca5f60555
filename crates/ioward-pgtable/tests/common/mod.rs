//! A platform for tests: frames from the host's allocator, poisoned when freed, counted for leaks, watched for cleans.
#![allow(dead_code)]

pub mod cases;
pub mod foreign;
pub mod judge;

use ioward_types::{Iova, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    fmt,
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Physical addresses are offsets into a window of the simulated machine; each frame is an allocation of its own, so that
/// AddressSanitizer and Miri see every use after free and every access outside.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    /// Where each 4 KiB of the window are, zero for nowhere: walks look here, so it takes no lock.
    pieces: Vec<AtomicUsize>,
    /// Live frames by physical address: where they are, and how many bytes.
    frames: Mutex<Frames>,
    /// How many more frames may be had.
    budget: AtomicUsize,
    /// Lines cleaned, in order.
    cleaned: Mutex<Vec<Span<PhysAddr>>>,
    /// Memory as a walker that does not snoop sees it: lines that have been written back.
    seen: Mutex<BTreeMap<u64, [u64; 8]>>,
    watch: bool,
}

#[derive(Default)]
struct Frames {
    live: BTreeMap<u64, (usize, usize)>,
    next: u64,
    made: usize,
    freed: usize,
}

/// Where the window of physical memory starts, and how many pieces of 4 KiB it has.
const WINDOW: u64 = 0x1000_0000;
const PIECES: usize = 1 << 20;
const PIECE: u64 = 0x1000;

/// Zeroes that take no memory until they are used.
fn nowhere() -> Vec<AtomicUsize> {
    let mut zeroes = std::mem::ManuallyDrop::new(vec![0usize; PIECES]);
    let (start, length, capacity) = (zeroes.as_mut_ptr(), zeroes.len(), zeroes.capacity());
    // SAFETY: the vector is given up, and an atomic is laid out as its number.
    unsafe { Vec::from_raw_parts(start.cast(), length, capacity) }
}

impl Drop for Inner {
    /// What tables leak on purpose ends with the machine.
    fn drop(&mut self) {
        let frames = self.frames.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for &(virt, bytes) in frames.live.values() {
            // SAFETY: made by `frames` with this layout; the last handle on the machine is gone.
            unsafe {
                dealloc(
                    std::ptr::with_exposed_provenance_mut(virt),
                    Layout::from_size_align_unchecked(bytes, bytes),
                );
            }
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

impl Host {
    /// Plenty of memory, and walkers that snoop.
    pub fn new() -> Self {
        Self::with(usize::MAX, false)
    }

    /// `watch`: remember every clean, and memory as only cleans show it.
    pub fn with(budget: usize, watch: bool) -> Self {
        let frames = Frames { next: WINDOW, ..Frames::default() };
        Self(Arc::new(Inner {
            pieces: nowhere(),
            frames: Mutex::new(frames),
            budget: AtomicUsize::new(budget),
            cleaned: Mutex::default(),
            seen: Mutex::default(),
            watch,
        }))
    }

    /// How many allocations are live.
    pub fn live(&self) -> usize {
        self.0.frames.lock().unwrap().live.len()
    }

    /// How many allocations there have been.
    pub fn made(&self) -> usize {
        self.0.frames.lock().unwrap().made
    }

    /// Allows so many more allocations.
    pub fn set_budget(&self, frames: usize) {
        self.0.budget.store(frames, Ordering::SeqCst);
    }

    /// The cleans since this was asked last.
    pub fn take_cleaned(&self) -> Vec<Span<PhysAddr>> {
        std::mem::take(&mut self.0.cleaned.lock().unwrap())
    }

    /// A word as a walker that does not snoop sees it; `None` where nothing was ever cleaned.
    pub fn seen(&self, at: PhysAddr) -> Option<u64> {
        let line = *self.0.seen.lock().unwrap().get(&(at.0 & !63))?;
        Some(line[(at.0 >> 3 & 7) as usize])
    }

    /// A word as the CPU sees it; `None` outside live frames.
    pub fn peek(&self, at: PhysAddr) -> Option<u64> {
        let word = self.place(at)?.cast::<std::sync::atomic::AtomicU64>();
        // SAFETY: inside a live frame; no test frees one while it peeks.
        Some(u64::from_le(unsafe { word.as_ref() }.load(Ordering::Acquire)))
    }

    /// Where a live frame's byte is.
    fn place(&self, at: PhysAddr) -> Option<NonNull<u8>> {
        let offset = at.0.checked_sub(WINDOW)?;
        let piece = self.0.pieces.get((offset / PIECE) as usize)?.load(Ordering::Acquire);
        let virt = (piece != 0).then(|| piece + (offset % PIECE) as usize)?;
        NonNull::new(std::ptr::with_exposed_provenance_mut(virt))
    }

    /// Says where `bytes` bytes of the window are.
    fn set_pieces(&self, at: u64, bytes: usize, virt: Option<usize>) {
        let first = ((at - WINDOW) / PIECE) as usize;
        for n in 0..bytes.div_ceil(PIECE as usize) {
            let virt = virt.map_or(0, |virt| virt + n * PIECE as usize);
            self.0.pieces[first + n].store(virt, Ordering::Release);
        }
    }

    /// Writes a line back, as a cache may at any time: a walker that does not snoop sees it, though nobody cleaned it.
    pub fn evict(&self, at: PhysAddr) {
        self.write_back(at.0 & !63);
    }

    fn write_back(&self, line: u64) {
        // Held over both, so that an older value never replaces one that another CPU has written back meanwhile.
        let mut seen = self.0.seen.lock().unwrap();
        let word = |n: usize| self.peek(PhysAddr(line + n as u64 * 8)).expect("a clean of dead memory");
        seen.insert(line, std::array::from_fn(word));
    }

    /// Changes a word as hardware would, atomically.
    pub fn poke(&self, at: PhysAddr, value: u64) {
        // SAFETY: tests poke live tables, with bits that hardware may set.
        unsafe { ioward_types::hw::store64(self, at, value) }
    }
}

/// A spin lock for tests.
pub struct Spin(AtomicBool);

// SAFETY: only one thread swaps false for true at a time.
unsafe impl RawLock for Spin {
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

// SAFETY: each frame is a zeroed allocation of its own; nothing is pinned, and these tests run no code under pins.
unsafe impl Platform for Host {
    type Lock = Spin;
    type Pin = ();
    fn pin(&self) -> ((), usize) {
        ((), 0)
    }
    fn synchronize(&self) {}
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let budget = &self.0.budget;
        budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                usize::MAX => Some(left),
                _ => left.checked_sub(1),
            })
            .map_err(|_| OutOfMemory)?;
        let layout = Layout::from_size_align(bytes, align).map_err(|_| OutOfMemory)?;
        let mut frames = self.0.frames.lock().unwrap();
        let at = frames.next.next_multiple_of(align as u64);
        if at + bytes as u64 > below.0.min(WINDOW + PIECES as u64 * PIECE) {
            return Err(OutOfMemory);
        }
        // SAFETY: the layout is not empty.
        let virt = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(OutOfMemory)?;
        frames.next = at + bytes as u64;
        frames.made += 1;
        let virt = virt.as_ptr().expose_provenance();
        frames.live.insert(at, (virt, bytes));
        self.set_pieces(at, bytes, Some(virt));
        Ok(PhysAddr(at))
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        let mut frames = self.0.frames.lock().unwrap();
        let (virt, size) = frames.live.remove(&at.0).unwrap_or_else(|| panic!("{at} freed but not live"));
        assert_eq!(size, bytes, "{at} freed with another size");
        frames.freed += 1;
        self.set_pieces(at.0, bytes, None);
        let virt = std::ptr::with_exposed_provenance_mut::<u8>(virt);
        // SAFETY: made by `frames` with this layout; poisoned for whoever still looks, then given back.
        unsafe {
            virt.write_bytes(0xd5, bytes);
            dealloc(virt, Layout::from_size_align_unchecked(bytes, bytes));
        }
        let mut seen = self.0.seen.lock().unwrap();
        let gone: Vec<u64> = seen.range(at.0..at.0 + bytes as u64).map(|(&line, _)| line).collect();
        for line in gone {
            seen.remove(&line);
        }
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        self.place(at).unwrap_or_else(|| panic!("{at} is in no live frame"))
    }
    fn clean(&self, lines: Span<PhysAddr>) {
        if !self.0.watch {
            return;
        }
        self.0.cleaned.lock().unwrap().push(lines);
        (lines.start.0 & !63..=lines.last().0).step_by(64).for_each(|line| self.write_back(line));
    }
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
}

/// What a [`Traced`] host tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A word of a table changed, or was stored again.
    Stored { at: PhysAddr, old: u64, new: u64 },
    /// Lines were cleaned.
    Cleaned(Span<PhysAddr>),
    /// A frame was made, of zeroes.
    Made { at: PhysAddr, bytes: usize },
}

/// Looks at memory after every event.
pub type Watch = Box<dyn FnMut(&Host, Event) + Send>;

/// A host that calls a watch after every store to table memory, every clean and every new frame.
#[derive(Clone)]
pub struct Traced(pub Host, pub Arc<Mutex<Option<Watch>>>);

impl Traced {
    pub fn new(host: Host) -> Self {
        Self(host, Arc::default())
    }
    /// Watches from now on.
    pub fn watch(&self, watch: impl FnMut(&Host, Event) + Send + 'static) {
        *self.1.lock().unwrap() = Some(Box::new(watch));
    }
    /// Watches no more.
    pub fn rest(&self) {
        *self.1.lock().unwrap() = None;
    }
    fn tell(&self, event: Event) {
        if let Some(watch) = &mut *self.1.lock().unwrap() {
            watch(&self.0, event);
        }
    }
}

// SAFETY: handed on to the host.
unsafe impl Platform for Traced {
    type Lock = Spin;
    type Pin = ();
    const TRACED: bool = true;
    fn pin(&self) -> ((), usize) {
        self.0.pin()
    }
    fn synchronize(&self) {}
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let at = self.0.frames(bytes, align, below)?;
        self.tell(Event::Made { at, bytes });
        Ok(at)
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        // SAFETY: handed on.
        unsafe { self.0.free(at, bytes) }
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        self.0.virt(at)
    }
    fn clean(&self, lines: Span<PhysAddr>) {
        self.0.clean(lines);
        self.tell(Event::Cleaned(lines));
    }
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
    fn stored(&self, at: PhysAddr, _: usize, old: u128, new: u128) {
        self.tell(Event::Stored { at, old: old as u64, new: new as u64 });
    }
}

/// A span of IOVAs.
pub fn iova(start: u64, bytes: u64) -> Span<Iova> {
    Span { start: Iova(start), bytes }
}

/// A span of physical memory.
pub fn phys(start: u64, bytes: u64) -> Span<PhysAddr> {
    Span { start: PhysAddr(start), bytes }
}
