//! What one CPU has at hand: a stack of ranges for each size.

#[cfg(not(loom))]
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::boxed::Box;
#[cfg(loom)]
use core::array;
use core::{
    mem::{offset_of, size_of},
    ptr,
};
use ioward_types::{
    Iova,
    cell::{AtomicUsize, Ordering, UnsafeCell},
};

/// Sizes that are kept at hand: 1, 2, 4, … 512 granules.
pub const CLASSES: usize = 10;
/// How many ranges a stack holds at most. So many that stacks are no power of two apart: a processor that compares the low
/// bits of addresses first would take the count of one for that of another.
pub const ROOM: usize = if cfg!(loom) { 4 } else { 134 };

/// How full a stack is.
#[repr(C)]
struct Head {
    /// At most `room`.
    len: AtomicUsize,
    /// At most [`ROOM`]. Zero for a size that is not kept at hand.
    room: AtomicUsize,
}

/// First bytes of ranges of one size; the last one in is the first one out.
///
/// Only its CPU, pinned, or whoever has stopped all CPUs uses it. The count can be read by anybody.
#[repr(C, align(64))]
struct Stack {
    head: Head,
    starts: UnsafeCell<[u64; ROOM]>,
}

/// The stacks of one CPU, for one zone.
#[repr(C)]
pub struct Stock {
    stacks: [Stack; CLASSES],
    /// Empty and without room: where sizes are looked for that are not kept.
    none: Head,
}

/// Where in a [`Stock`] a stack is, in bytes from its beginning: a multiple of what a stack takes, or where `none` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u16);

const _: () = assert!(size_of::<Stock>() <= u16::MAX as usize, "every place has a number");

impl Place {
    /// Of the sizes that are not kept at hand.
    pub const NONE: Self = Self(offset_of!(Stock, none) as u16);

    /// Of a size.
    pub const fn of(class: usize) -> Self {
        if class < CLASSES { Self((class * size_of::<Stack>()) as u16) } else { Self::NONE }
    }

    /// The size; `None` of those that are not kept.
    pub fn class(self) -> Option<usize> {
        (self != Self::NONE).then(|| usize::from(self.0) / size_of::<Stack>())
    }
}

// SAFETY: `starts` is reached by the unsafe functions alone, whose callers are its only users at the time.
unsafe impl Sync for Stock {}

impl Stock {
    /// Stacks without room; none where there is no memory for them. They are made where they stay: a kernel's stack may be
    /// as small as they are.
    #[cfg(not(loom))]
    pub fn new() -> Option<Box<Self>> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<Self>();
        // SAFETY: it comes from the global allocator with the layout of `Self`; counts and numbers of zero are what a stack
        // without room has.
        (!memory.is_null()).then(|| unsafe { Box::from_raw(memory) })
    }

    /// As above; loom's atomics want to be made one by one.
    #[cfg(loom)]
    pub fn new() -> Option<Box<Self>> {
        let head = || Head { len: AtomicUsize::new(0), room: AtomicUsize::new(0) };
        let stack = |_| Stack { head: head(), starts: UnsafeCell::new([0; ROOM]) };
        Some(Box::new(Self { stacks: array::from_fn(stack), none: head() }))
    }

    /// How many ranges of a size are at hand; a moment ago, if other CPUs are at work.
    pub fn count(&self, class: usize) -> usize {
        self.stacks[class].head.len.load(Ordering::Relaxed)
    }

    /// How many there may be.
    pub fn room(&self, class: usize) -> usize {
        self.stacks[class].head.room.load(Ordering::Relaxed)
    }

    /// From now on there may be so many, at most [`ROOM`].
    ///
    /// # Safety
    /// Nobody else uses this stock: the caller is pinned to its CPU, or has stopped all others. It is empty.
    pub unsafe fn set_room(&self, class: usize, room: usize) {
        debug_assert!(self.count(class) == 0, "room changes while nothing is at hand");
        self.stacks[class].head.room.store(room.min(ROOM), Ordering::Relaxed);
    }

    /// How full the stack at a place is, and what is in it; nothing behind `none`, which has no room.
    #[inline(always)]
    fn at(&self, place: Place) -> (&Head, *const UnsafeCell<[u64; ROOM]>) {
        let stack = ptr::from_ref(self).wrapping_byte_add(usize::from(place.0)).cast::<Stack>();
        // SAFETY: every place has a head, and a stack begins with one.
        let head = unsafe { &*stack.cast::<Head>() };
        (head, stack.wrapping_byte_add(offset_of!(Stack, starts)).cast())
    }

    /// Takes a range; none of a size that is not kept at hand.
    ///
    /// # Safety
    /// Nobody else uses this stock: the caller is pinned to its CPU, or has stopped all others.
    #[inline(always)]
    pub unsafe fn pop(&self, place: Place) -> Option<u64> {
        let (head, starts) = self.at(place);
        let len = head.len.load(Ordering::Relaxed).checked_sub(1)?;
        head.len.store(len, Ordering::Relaxed);
        // SAFETY: something is there, so it is a stack.
        let starts = unsafe { &*starts };
        // SAFETY: as promised by the caller; what stores the count keeps it within the array.
        Some(starts.with_mut(|starts| unsafe { *(*starts).get_unchecked(len) }))
    }

    /// Adds a range; false where there is no room for it.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    #[inline(always)]
    pub unsafe fn push(&self, place: Place, start: u64) -> bool {
        let (head, starts) = self.at(place);
        let len = head.len.load(Ordering::Relaxed);
        if len >= head.room.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: there is room, so it is a stack.
        let starts = unsafe { &*starts };
        // SAFETY: as promised by the caller; the index is below `room`, which is at most the array's length.
        starts.with_mut(|starts| unsafe { *(*starts).get_unchecked_mut(len) = start });
        head.len.store(len + 1, Ordering::Relaxed);
        true
    }

    /// Adds ranges as long as there is room, and tells how many those were.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    #[inline(always)]
    pub unsafe fn push_all(&self, place: Place, ranges: &[Iova]) -> usize {
        let (head, starts) = self.at(place);
        let len = head.len.load(Ordering::Relaxed);
        let count = head.room.load(Ordering::Relaxed).saturating_sub(len).min(ranges.len());
        if count != 0 {
            // SAFETY: there is room, so it is a stack.
            let starts = unsafe { &*starts };
            starts.with_mut(|starts| {
                // SAFETY: as promised by the caller; the end is at most `room`, which is at most the array's length.
                let places = unsafe { (&mut *starts).get_unchecked_mut(len..len + count) };
                places.iter_mut().zip(ranges).for_each(|(place, range)| *place = range.0);
            });
            head.len.store(len + count, Ordering::Relaxed);
        }
        count
    }

    /// Takes the `count` ranges that came last, or all where there are fewer. What `f` gives they have gone to.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    pub unsafe fn spill<R>(&self, class: usize, count: usize, f: impl FnOnce(&mut [u64]) -> R) -> R {
        let stack = &self.stacks[class];
        let len = stack.head.len.load(Ordering::Relaxed);
        let left = len.saturating_sub(count);
        stack.head.len.store(left, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        stack.starts.with_mut(|starts| f(unsafe { &mut (&mut *starts)[left..len] }))
    }

    /// Puts ranges into a stack that is empty; tells how many there was room for. The last one is the first one out.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    pub unsafe fn fill(&self, class: usize, starts: impl ExactSizeIterator<Item = u64>) -> usize {
        let stack = &self.stacks[class];
        debug_assert!(stack.head.len.load(Ordering::Relaxed) == 0, "what is there would be lost");
        let count = starts.len().min(stack.head.room.load(Ordering::Relaxed));
        stack.starts.with_mut(|places| {
            // SAFETY: as promised by the caller.
            let places = unsafe { &mut (&mut *places)[..count] };
            places.iter_mut().zip(starts).for_each(|(place, start)| *place = start);
        });
        stack.head.len.store(count, Ordering::Relaxed);
        count
    }
}
