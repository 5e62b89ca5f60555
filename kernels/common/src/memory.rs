//! Physical memory: one region of frames with a bit each, and a heap on top of it.

use crate::lock::Spin;
use core::alloc::{GlobalAlloc, Layout};
use ioward::types::{Mutex, OutOfMemory, PhysAddr, Span};

/// Bytes of a frame.
pub const FRAME: u64 = 4096;
/// The most frames that are used: 256 MiB.
const MOST: usize = 65536;

/// The frames of one region, a bit each; first fit.
pub struct Frames {
    start: u64,
    count: usize,
    used: [u64; MOST / 64],
}

impl Frames {
    fn is_used(&self, frame: usize) -> bool {
        self.used[frame / 64] >> (frame % 64) & 1 != 0
    }

    fn mark(&mut self, first: usize, count: usize, used: bool) {
        for frame in first..first + count {
            let bit = 1 << (frame % 64);
            if used { self.used[frame / 64] |= bit } else { self.used[frame / 64] &= !bit }
        }
    }

    fn take(&mut self, bytes: u64, align: u64, below: u64) -> Option<u64> {
        let count = usize::try_from(bytes.div_ceil(FRAME)).ok()?.max(1);
        let align = align.max(FRAME);
        let mut at = self.start.checked_next_multiple_of(align)?;
        loop {
            let first = usize::try_from((at - self.start) / FRAME).ok()?;
            let end = first.checked_add(count)?;
            if end > self.count || at.checked_add(bytes)? > below {
                return None;
            }
            match (first..end).rev().find(|&frame| self.is_used(frame)) {
                None => {
                    self.mark(first, count, true);
                    return Some(at);
                }
                Some(frame) => {
                    at = (self.start + (frame as u64 + 1) * FRAME).checked_next_multiple_of(align)?;
                }
            }
        }
    }
}

/// The machine's memory; nothing can be had before [`add`].
static FRAMES: Mutex<Spin, Frames> =
    Mutex::from_raw(Spin::UNLOCKED, Frames { start: 0, count: 0, used: [0; MOST / 64] });

/// Makes `ram` what everything is allocated from. Call it once.
pub fn add(ram: Span<PhysAddr>) {
    let mut frames = FRAMES.lock();
    let start = ram.start.0.next_multiple_of(FRAME);
    frames.start = start;
    frames.count = ((ram.start.0 + ram.bytes).saturating_sub(start) / FRAME).min(MOST as u64) as usize;
}

/// Zeroed frames, as [`ioward::types::Platform::frames`] wants them.
pub fn take(bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
    let at = FRAMES.lock().take(bytes as u64, align as u64, below.0).ok_or(OutOfMemory)?;
    let length = bytes.next_multiple_of(FRAME as usize);
    // SAFETY: nobody else has these frames, and memory is mapped where it is.
    unsafe { core::ptr::write_bytes(at as *mut u8, 0, length) };
    Ok(PhysAddr(at))
}

/// Gives frames back.
///
/// # Safety
/// They come from [`take`] with the same length, and nobody reaches them any more.
pub unsafe fn free(at: PhysAddr, bytes: usize) {
    let mut frames = FRAMES.lock();
    let first = ((at.0 - frames.start) / FRAME) as usize;
    frames.mark(first, bytes.div_ceil(FRAME as usize).max(1), false);
}

/// How many frames are in use.
pub fn used() -> u32 {
    FRAMES.lock().used.iter().map(|word| word.count_ones()).sum()
}

/// How many frames are in use by others than the heap, which keeps what it has had.
pub fn lent() -> u32 {
    let heap = HEAP.lock().frames;
    used() - heap
}

/// A heap: blocks of a power of two on free lists, cut from frames; large ones are frames themselves.
struct Heap {
    /// How many frames it has.
    frames: u32,
    /// `free[n]`: the first free block of `1 << n` bytes, whose first word is the next.
    free: [usize; 12],
}

static HEAP: Mutex<Spin, Heap> = Mutex::from_raw(Spin::UNLOCKED, Heap { frames: 0, free: [0; 12] });

struct KernelHeap;
#[global_allocator]
static KERNEL_HEAP: KernelHeap = KernelHeap;

/// How many frames so many bytes are.
fn frames(bytes: usize) -> u32 {
    bytes.div_ceil(FRAME as usize).max(1) as u32
}

fn class(layout: &Layout) -> usize {
    layout.size().max(layout.align()).max(16).next_power_of_two().trailing_zeros() as usize
}

// SAFETY: a block is on a free list or handed out, never both; its size and alignment are at least what was asked for.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(&layout);
        let mut heap = HEAP.lock();
        if class >= heap.free.len() {
            let Ok(at) = take(layout.size(), layout.align(), PhysAddr(u64::MAX)) else {
                return core::ptr::null_mut();
            };
            heap.frames += frames(layout.size());
            return at.0 as *mut u8;
        }
        if heap.free[class] == 0 {
            let Ok(frame) = take(FRAME as usize, 0, PhysAddr(u64::MAX)) else { return core::ptr::null_mut() };
            heap.frames += 1;
            for block in (frame.0 as usize..frame.0 as usize + FRAME as usize).step_by(1 << class) {
                // SAFETY: the block lies in a frame that is ours alone.
                unsafe { *(block as *mut usize) = heap.free[class] };
                heap.free[class] = block;
            }
        }
        let block = heap.free[class];
        // SAFETY: blocks on the list are ours, and hold the next one's address.
        heap.free[class] = unsafe { *(block as *const usize) };
        block as *mut u8
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let class = class(&layout);
        let mut heap = HEAP.lock();
        if class >= heap.free.len() {
            heap.frames -= frames(layout.size());
            // SAFETY: `alloc` took it with this length.
            return unsafe { free(PhysAddr(at as u64), layout.size()) };
        }
        // SAFETY: the caller gives the block up; it is at least 16 bytes.
        unsafe { *at.cast::<usize>() = heap.free[class] };
        heap.free[class] = at as usize;
    }
}
