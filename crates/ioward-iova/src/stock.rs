//! What one CPU has at hand: a stack of ranges for each size.

use crate::cell::{AtomicU32, Ordering, UnsafeCell};
#[cfg(not(loom))]
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::boxed::Box;
#[cfg(loom)]
use core::array;

/// Sizes that are kept at hand: 1, 2, 4, … 32 granules.
pub const CLASSES: usize = 6;
/// Below 4 GiB, and above.
pub const ZONES: usize = 2;
/// How many ranges go between a stack and the depot at a time.
pub const CHUNK: usize = if cfg!(loom) { 2 } else { 64 };
/// A stack holds two chunks, so that whoever allocates and frees around a chunk's edge does not move one each time.
pub const ROOM: usize = 2 * CHUNK;

/// First bytes of ranges of one size and zone.
pub struct Chunk {
    starts: [u64; CHUNK],
    len: usize,
}

impl Chunk {
    /// Those of them that there are.
    pub fn starts(&mut self) -> &mut [u64] {
        &mut self.starts[..self.len]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// First bytes of ranges of one size and zone; the last one in is the first one out.
///
/// Only its CPU, pinned, or whoever has stopped all CPUs uses it. The count can be read by anybody.
struct Stack {
    len: AtomicU32,
    starts: UnsafeCell<[u64; ROOM]>,
}

/// The stacks of one CPU.
pub struct Stock([[Stack; CLASSES]; ZONES]);

// SAFETY: `starts` is reached by the unsafe functions alone, whose callers are its only users at the time.
unsafe impl Sync for Stock {}

impl Stock {
    /// Empty stacks; none where there is no memory for them. They are made where they stay: a kernel's stack may be as small
    /// as they are.
    #[cfg(not(loom))]
    pub fn new() -> Option<Box<Self>> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<Self>();
        // SAFETY: it comes from the global allocator with the layout of `Self`; counts and numbers of zero are what an empty
        // stack has.
        (!memory.is_null()).then(|| unsafe { Box::from_raw(memory) })
    }

    /// As above; loom's atomics want to be made one by one.
    #[cfg(loom)]
    pub fn new() -> Option<Box<Self>> {
        let stack = || Stack { len: AtomicU32::new(0), starts: UnsafeCell::new([0; ROOM]) };
        Some(Box::new(Self(array::from_fn(|_| array::from_fn(|_| stack())))))
    }

    /// How many ranges of a size are at hand; a moment ago, if other CPUs are at work.
    pub fn count(&self, class: usize) -> u64 {
        self.0.iter().map(|zone| u64::from(zone[class].len.load(Ordering::Relaxed))).sum()
    }

    /// Takes a range.
    ///
    /// # Safety
    /// Nobody else uses this stock: the caller is pinned to its CPU, or has stopped all others.
    #[inline(always)]
    pub unsafe fn pop(&self, zone: usize, class: usize) -> Option<u64> {
        let stack = &self.0[zone][class];
        let len = (stack.len.load(Ordering::Relaxed) as usize).checked_sub(1)?;
        stack.len.store(len as u32, Ordering::Relaxed);
        // SAFETY: as promised by the caller; `push` and `put` keep the count within the array.
        Some(stack.starts.with_mut(|starts| unsafe { *(*starts).get_unchecked(len) }))
    }

    /// Adds a range; false where the stack has `room` already.
    ///
    /// # Safety
    /// As for [`Stock::pop`], and `room` is at most [`ROOM`].
    #[inline(always)]
    pub unsafe fn push(&self, zone: usize, class: usize, start: u64, room: usize) -> bool {
        let stack = &self.0[zone][class];
        let len = stack.len.load(Ordering::Relaxed) as usize;
        if len >= room {
            return false;
        }
        // SAFETY: as promised by the caller; the index is below `ROOM`.
        stack.starts.with_mut(|starts| unsafe { *(*starts).get_unchecked_mut(len) = start });
        stack.len.store(len as u32 + 1, Ordering::Relaxed);
        true
    }

    /// Takes up to `count` ranges, at most a chunk, from the bottom: those that were not used for longest.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    pub unsafe fn spill(&self, zone: usize, class: usize, count: usize) -> Chunk {
        let stack = &self.0[zone][class];
        let len = stack.len.load(Ordering::Relaxed) as usize;
        let count = count.min(CHUNK).min(len);
        let mut chunk = Chunk { starts: [0; CHUNK], len: count };
        stack.starts.with_mut(|starts| {
            // SAFETY: as promised by the caller.
            let starts = unsafe { &mut *starts };
            chunk.starts[..count].copy_from_slice(&starts[..count]);
            starts.copy_within(count..len, 0);
        });
        stack.len.store((len - count) as u32, Ordering::Relaxed);
        chunk
    }

    /// Adds a chunk to a stack that is empty.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    pub unsafe fn fill(&self, zone: usize, class: usize, chunk: &Chunk) {
        for &start in &chunk.starts[..chunk.len] {
            // SAFETY: as promised by the caller.
            let fits = unsafe { self.push(zone, class, start, ROOM) };
            debug_assert!(fits, "a chunk fits into an empty stack");
        }
    }
}
