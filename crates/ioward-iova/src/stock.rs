//! What one CPU has at hand: a stack of ranges for each size.

#[cfg(not(loom))]
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::boxed::Box;
#[cfg(loom)]
use core::array;
use core::{
    mem::{offset_of, size_of},
    ptr::{self, NonNull},
    slice,
};
use ioward_types::{
    Iova,
    cell::{AtomicU64, AtomicUsize, Ordering, UnsafeCell},
    hint::{expected, seldom},
};

/// Sizes that are kept at hand: 1, 2, 4, … 512 granules.
pub const CLASSES: usize = 10;
/// How many of them are small, the first ones.
pub const SMALL: usize = 6;
/// How many ranges of a small size a stack holds at most: more than a queue of the DMA API owns between two flushes, so that
/// those come out of the stack and go back into it. So many that stacks are no power of two apart: a processor that compares
/// the low bits of addresses first would take the count of one for that of another.
const DEEP: usize = if cfg!(loom) { 5 } else { 325 };
/// The same of a larger size.
const SHALLOW: usize = if cfg!(loom) { 5 } else { 29 };

/// How many ranges of a size there may be at hand at most.
pub const fn most(class: usize) -> usize {
    if class < SMALL { DEEP } else { SHALLOW }
}

/// How full a stack is.
#[repr(C)]
struct Head {
    /// How many ranges are in the array: at most `room`.
    len: AtomicUsize,
    /// One less than [`most`] at most, so that the array has a place for `top` too, which nothing else is put into. Zero
    /// for a size that is not kept at hand.
    room: AtomicUsize,
    /// The last range in, or zero, where no range begins: then the last one is in the array. A range that is given back and
    /// taken again comes and goes here, without a count that one call stores and the next one waits for.
    top: AtomicU64,
}

impl Head {
    #[cfg(loom)]
    fn new() -> Self {
        Self { len: AtomicUsize::new(0), room: AtomicUsize::new(0), top: AtomicU64::new(0) }
    }
}

/// First bytes of ranges of one size; the last one in is the first one out.
///
/// Only its CPU, pinned, or whoever has stopped all CPUs uses it. The count can be read by anybody.
#[repr(C, align(64))]
struct Stack<const N: usize> {
    head: Head,
    starts: UnsafeCell<[u64; N]>,
}

/// The stacks of one CPU, for one zone.
#[repr(C)]
pub struct Stock {
    small: [Stack<DEEP>; SMALL],
    large: [Stack<SHALLOW>; CLASSES - SMALL],
    /// Empty and without room: where sizes are looked for that are not kept.
    none: Head,
}

/// Where in a [`Stock`] a stack is, in bytes from its beginning: where one of a size is, or `none`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u16);

const _: () = assert!(size_of::<Stock>() <= u16::MAX as usize, "every place has a number");
const _: () =
    assert!(offset_of!(Stack<DEEP>, starts) == offset_of!(Stack<SHALLOW>, starts), "behind the head");

impl Place {
    /// Of the sizes that are not kept at hand.
    pub const NONE: Self = Self(offset_of!(Stock, none) as u16);
    /// Of the smallest size, a granule.
    pub const FIRST: Self = Self::of(0);

    /// Of a size.
    pub const fn of(class: usize) -> Self {
        if class < SMALL {
            Self((offset_of!(Stock, small) + class * size_of::<Stack<DEEP>>()) as u16)
        } else if class < CLASSES {
            Self((offset_of!(Stock, large) + (class - SMALL) * size_of::<Stack<SHALLOW>>()) as u16)
        } else {
            Self::NONE
        }
    }

    /// The size; `None` of those that are not kept.
    pub fn class(self) -> Option<usize> {
        let at = usize::from(self.0);
        match at.checked_sub(offset_of!(Stock, large)) {
            _ if self == Self::NONE => None,
            Some(at) => Some(SMALL + at / size_of::<Stack<SHALLOW>>()),
            None => Some((at - offset_of!(Stock, small)) / size_of::<Stack<DEEP>>()),
        }
    }
}

// SAFETY: `starts` is reached by the unsafe functions alone, whose callers are its only users at the time.
unsafe impl Sync for Stock {}

/// What a CPU finds that has no stock: nothing, and room for nothing. Everybody may use it at once, since nobody gets to what
/// is behind its counts.
#[cfg(not(loom))]
pub fn nothing() -> NonNull<Stock> {
    static NOTHING: Stock = {
        const fn head() -> Head {
            Head { len: AtomicUsize::new(0), room: AtomicUsize::new(0), top: AtomicU64::new(0) }
        }
        const fn stack<const N: usize>() -> Stack<N> {
            Stack { head: head(), starts: UnsafeCell::new([0; N]) }
        }
        Stock { small: [const { stack() }; SMALL], large: [const { stack() }; CLASSES - SMALL], none: head() }
    };
    NonNull::from(&NOTHING)
}

/// As above; loom's atomics live no longer than one of its runs.
#[cfg(loom)]
pub fn nothing() -> NonNull<Stock> {
    loom::lazy_static! { static ref NOTHING: Box<Stock> = Stock::new().expect("it is made anyhow"); }
    NonNull::from(&**NOTHING)
}

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
        fn stack<const N: usize>(_: usize) -> Stack<N> {
            Stack { head: Head::new(), starts: UnsafeCell::new([0; N]) }
        }
        Some(Box::new(Self { small: array::from_fn(stack), large: array::from_fn(stack), none: Head::new() }))
    }

    /// How many ranges of a size are at hand; a moment ago, if other CPUs are at work.
    pub fn count(&self, class: usize) -> usize {
        let head = self.head(Place::of(class));
        head.len.load(Ordering::Relaxed) + usize::from(head.top.load(Ordering::Relaxed) != 0)
    }

    /// How many there may be.
    pub fn room(&self, class: usize) -> usize {
        match self.head(Place::of(class)).room.load(Ordering::Relaxed) {
            0 => 0,
            room => room + 1,
        }
    }

    /// From now on there may be so many, at most [`most`].
    ///
    /// # Safety
    /// Nobody else uses this stock: the caller is pinned to its CPU, or has stopped all others. It is empty.
    pub unsafe fn set_room(&self, class: usize, room: usize) {
        debug_assert!(self.count(class) == 0, "room changes while nothing is at hand");
        let room = room.min(most(class)).saturating_sub(1);
        self.head(Place::of(class)).room.store(room, Ordering::Relaxed);
    }

    #[inline(always)]
    fn head(&self, place: Place) -> &Head {
        let head = ptr::from_ref(self).wrapping_byte_add(usize::from(place.0)).cast::<Head>();
        // SAFETY: every place has a head, and a stack begins with one.
        unsafe { &*head }
    }

    /// What is in the stack at a place, of which there is one: not `none`.
    #[cfg(not(loom))]
    #[inline(always)]
    fn with_starts<R>(&self, place: Place, f: impl FnOnce(*mut u64) -> R) -> R {
        let offset = usize::from(place.0) + offset_of!(Stack<DEEP>, starts);
        // Within this stock, and inside a cell.
        f(ptr::from_ref(self).cast_mut().wrapping_byte_add(offset).cast::<u64>())
    }

    /// As above, by the cell, so that loom sees it.
    #[cfg(loom)]
    fn with_starts<R>(&self, place: Place, f: impl FnOnce(*mut u64) -> R) -> R {
        match place.class() {
            Some(class) if class < SMALL => self.small[class].starts.with_mut(|starts| f(starts.cast())),
            Some(class) => self.large[class - SMALL].starts.with_mut(|starts| f(starts.cast())),
            None => panic!("nothing is kept there"),
        }
    }

    /// Takes a range; none of a size that is not kept at hand.
    ///
    /// # Safety
    /// Nobody else uses this stock: the caller is pinned to its CPU, or has stopped all others. Or it is [`nothing`]: that has
    /// neither ranges nor room, so it is looked at and nothing is stored.
    #[inline(always)]
    pub unsafe fn pop(&self, place: Place) -> Option<u64> {
        let head = self.head(place);
        let top = head.top.load(Ordering::Relaxed);
        if top != 0 {
            head.top.store(0, Ordering::Relaxed);
            return Some(top);
        }
        let len = expected(head.len.load(Ordering::Relaxed).checked_sub(1))?;
        head.len.store(len, Ordering::Relaxed);
        // SAFETY: something is there, so it is a stack, which is the caller's, as promised; what stores the count keeps it
        // within the array.
        Some(self.with_starts(place, |starts| unsafe { *starts.add(len) }))
    }

    /// Adds a range; false where there is no room for it.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    #[inline(always)]
    pub unsafe fn push(&self, place: Place, start: u64) -> bool {
        let head = self.head(place);
        let len = head.len.load(Ordering::Relaxed);
        if len >= head.room.load(Ordering::Relaxed) {
            seldom();
            return false;
        }
        let top = head.top.load(Ordering::Relaxed);
        head.top.store(start, Ordering::Relaxed);
        // Without a branch: where nothing was on top, what is stored here counts for nothing.
        // SAFETY: there is room, so it is a stack, which is the caller's, as promised; the index is below `room`.
        self.with_starts(place, |starts| unsafe { *starts.add(len) = top });
        head.len.store(len + usize::from(top != 0), Ordering::Relaxed);
        true
    }

    /// Adds ranges as long as there is room, and tells how many those were.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    #[inline(always)]
    pub unsafe fn push_all(&self, place: Place, ranges: &[Iova]) -> usize {
        let head = self.head(place);
        let len = head.len.load(Ordering::Relaxed);
        let count = head.room.load(Ordering::Relaxed).saturating_sub(len).min(ranges.len());
        if count != 0 {
            self.with_starts(place, |starts| {
                // SAFETY: there is room, so it is a stack, which is the caller's, as promised; the end is at most `room`.
                let places = unsafe { slice::from_raw_parts_mut(starts.add(len), count) };
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
        let place = Place::of(class);
        let head = self.head(place);
        let mut len = head.len.load(Ordering::Relaxed);
        let top = head.top.swap(0, Ordering::Relaxed);
        self.with_starts(place, |starts| {
            if top != 0 {
                // SAFETY: as promised by the caller; `room` leaves a place for it.
                unsafe { *starts.add(len) = top };
                len += 1;
            }
            let left = len.saturating_sub(count);
            head.len.store(left, Ordering::Relaxed);
            // SAFETY: as promised by the caller; within the array.
            f(unsafe { slice::from_raw_parts_mut(starts.add(left), len - left) })
        })
    }

    /// Puts ranges into a stack that is empty; tells how many there was room for. The last one is the first one out.
    ///
    /// # Safety
    /// As for [`Stock::pop`].
    pub unsafe fn fill(&self, class: usize, ranges: impl ExactSizeIterator<Item = u64>) -> usize {
        debug_assert!(self.count(class) == 0, "what is there would be lost");
        let place = Place::of(class);
        let head = self.head(place);
        let count = ranges.len().min(head.room.load(Ordering::Relaxed));
        self.with_starts(place, |starts| {
            // SAFETY: as promised by the caller; `room` is less than the array's length.
            let places = unsafe { slice::from_raw_parts_mut(starts, count) };
            places.iter_mut().zip(ranges).for_each(|(place, start)| *place = start);
        });
        head.len.store(count, Ordering::Relaxed);
        count
    }
}
