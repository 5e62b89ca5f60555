//! Pages of one size that one CPU has at hand.

#[cfg(not(loom))]
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::boxed::Box;
use ioward_types::{
    PhysAddr,
    cell::{AtomicUsize, Ordering, UnsafeCell},
};

/// The sizes that are kept, as shifts: tables of a granule of 4, 16 or 64 KiB.
pub const SHIFTS: [u32; 3] = [12, 14, 16];
/// How many bytes a CPU keeps of a size at most.
const BYTES: usize = if cfg!(loom) { 2 << 12 } else { 64 << 12 };
/// How many pages of the smallest size these are.
const ROOM: usize = BYTES >> SHIFTS[0];

/// Pages of one size; the last one in is the first one out, since its lines are the likeliest to be cached.
///
/// Only its CPU, pinned, or whoever has stopped all CPUs uses it. The count can be read by anybody.
pub struct Stack {
    /// At most [`ROOM`].
    len: AtomicUsize,
    pages: UnsafeCell<[u64; ROOM]>,
}

// SAFETY: `pages` is reached by the unsafe functions alone, whose callers are its only users at the time.
unsafe impl Sync for Stack {}

impl Stack {
    /// An empty one; none where there is no memory for it.
    #[cfg(not(loom))]
    pub fn new() -> Option<Box<Self>> {
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(Layout::new::<Self>()) }.cast::<Self>();
        // SAFETY: it comes from the global allocator with the layout of `Self`; zeroes are an empty stack.
        (!memory.is_null()).then(|| unsafe { Box::from_raw(memory) })
    }

    /// As above; loom's atomics want to be made one by one.
    #[cfg(loom)]
    pub fn new() -> Option<Box<Self>> {
        Some(Box::new(Self { len: AtomicUsize::new(0), pages: UnsafeCell::new([0; ROOM]) }))
    }

    /// How many pages are at hand; a moment ago, if other CPUs are at work.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes the page that came last of those that begin at `last` or before it.
    ///
    /// # Safety
    /// Nobody else uses this stack: the caller is pinned to its CPU, or has stopped all others.
    #[inline]
    pub unsafe fn pop(&self, last: PhysAddr) -> Option<PhysAddr> {
        let len = self.len();
        self.pages.with_mut(|pages| {
            // SAFETY: as promised by the caller; the count is at most the array's length.
            let pages = unsafe { &mut (&mut *pages)[..len] };
            // The first look decides, unless some IOMMU reaches less than all memory.
            let place = pages.iter().rposition(|page| *page <= last.0)?;
            let page = pages[place];
            pages[place] = pages[len - 1];
            self.len.store(len - 1, Ordering::Relaxed);
            Some(PhysAddr(page))
        })
    }

    /// Adds pages of `1 << shift` bytes each, from the first one on, as long as there is room and they are aligned to their
    /// size: somebody may have asked for less. Tells how many.
    ///
    /// # Safety
    /// As for [`Stack::pop`].
    #[inline]
    pub unsafe fn push(&self, more: &[PhysAddr], shift: u32) -> usize {
        let (len, room) = (self.len(), BYTES >> shift);
        if len >= room {
            return 0;
        }
        let aligned = |page: &&PhysAddr| page.0.trailing_zeros() >= shift;
        let count = self.pages.with_mut(|pages| {
            // SAFETY: as promised by the caller; there is room for no more than the array has.
            let places = unsafe { &mut (&mut *pages)[len..room] };
            let pairs = places.iter_mut().zip(more.iter().take_while(aligned));
            pairs.map(|(place, page)| *place = page.0).count()
        });
        self.len.store(len + count, Ordering::Relaxed);
        count
    }
}
