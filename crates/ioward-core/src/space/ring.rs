//! A ring between one CPU that puts in, one that says what may be taken, and one that takes: none waits, and putting in takes
//! no locked instruction.

use alloc::{boxed::Box, vec::Vec};
use core::mem::MaybeUninit;
use ioward_types::{
    OutOfMemory,
    cell::{AtomicUsize, Ordering, UnsafeCell},
};

/// Places for `T`s in the order in which they came. `tail` is the putter's, `marked` and `confirmed` are the flusher's, `head`
/// is the taker's; they follow each other in this order and count for ever, so a full ring and an empty one differ. A place
/// is the putter's until `tail` passes it, then the flusher's until `confirmed` does, then the taker's until `head` does.
///
/// What is still in when the ring is dropped is leaked: only its taker knows whether it may end.
#[repr(align(128))]
pub struct Ring<T> {
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: AtomicUsize,
    confirmed: AtomicUsize,
    marked: AtomicUsize,
    tail: AtomicUsize,
}

// SAFETY: each place is one's at a time, as said above, and handed on with release and acquire; who may put, flush and take
// is the unsafe functions' contract.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// A ring of so many places, a power of two.
    pub fn new(places: usize) -> Result<Self, OutOfMemory> {
        debug_assert!(places.is_power_of_two());
        let mut all = Vec::new();
        all.try_reserve_exact(places).map_err(|_| OutOfMemory)?;
        all.extend((0..places).map(|_| UnsafeCell::new(MaybeUninit::uninit())));
        let [head, confirmed, marked, tail] = core::array::from_fn(|_| AtomicUsize::new(0));
        Ok(Self { places: all.into_boxed_slice(), head, confirmed, marked, tail })
    }

    #[inline(always)]
    fn place(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.places[count & (self.places.len() - 1)]
    }

    /// How many there are; a moment ago, if others are at work.
    pub fn len(&self) -> usize {
        let tail = self.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head.load(Ordering::Relaxed)).min(self.places.len())
    }

    /// A place for one more, if there is one.
    ///
    /// # Safety
    /// Nobody else puts into this ring while the room lives: the caller is pinned to the CPU that it belongs to.
    #[inline(always)]
    pub unsafe fn room(&self) -> Option<Room<'_, T>> {
        let tail = self.tail.load(Ordering::Relaxed);
        let taken = tail.wrapping_sub(self.head.load(Ordering::Acquire));
        (taken < self.places.len()).then_some(Room { ring: self, tail })
    }

    /// Remembers what is in now, and tells how many of them have not been confirmed.
    ///
    /// # Safety
    /// Nobody else marks or confirms.
    pub unsafe fn mark(&self) -> usize {
        let tail = self.tail.load(Ordering::Acquire);
        self.marked.store(tail, Ordering::Relaxed);
        tail.wrapping_sub(self.confirmed.load(Ordering::Relaxed))
    }

    /// What was in at the last [`Ring::mark`] may be taken from now on. Before that, `each` has each of them.
    ///
    /// # Safety
    /// As for [`Ring::mark`].
    pub unsafe fn confirm(&self, mut each: impl FnMut(&mut T)) {
        let mut at = self.confirmed.load(Ordering::Relaxed);
        let marked = self.marked.load(Ordering::Relaxed);
        while at != marked {
            // SAFETY: it was written, since the tail was acquired with the mark, and is not the taker's yet.
            self.place(at).with_mut(|place| each(unsafe { (*place).assume_init_mut() }));
            at = at.wrapping_add(1);
        }
        self.confirmed.store(marked, Ordering::Release);
    }

    /// Takes the oldest, if it is confirmed: it lies where it is until `take`, to which it belongs, returns. False where
    /// there is none.
    ///
    /// # Safety
    /// Nobody else takes.
    #[inline(always)]
    pub unsafe fn take(&self, take: impl FnOnce(*mut T)) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.confirmed.load(Ordering::Acquire) {
            return false;
        }
        // It was written and is the caller's, who is the only taker, and takes it once.
        self.place(head).with_mut(|place| take(place.cast()));
        self.head.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Whether there is something to take.
    pub fn has_confirmed(&self) -> bool {
        self.head.load(Ordering::Relaxed) != self.confirmed.load(Ordering::Relaxed)
    }
}

/// A place that nothing is in.
#[must_use]
pub struct Room<'r, T> {
    ring: &'r Ring<T>,
    tail: usize,
}

impl<T> Room<'_, T> {
    /// Puts one in, by `write`.
    ///
    /// # Safety
    /// `write` writes a `T` to where it is told to.
    #[inline(always)]
    pub unsafe fn put(self, write: impl FnOnce(*mut T)) {
        // There was room, so the taker is done with the place, and nobody else puts, as `Ring::room` was promised.
        self.ring.place(self.tail).with_mut(|place| write(place.cast()));
        self.ring.tail.store(self.tail.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_in_order_and_only_up_to_the_mark() {
        let ring = Ring::<i32>::new(4).unwrap();
        // SAFETY: there is one thread, here and below.
        let put = |n: i32| unsafe { ring.room().unwrap().put(|place| place.write(n)) };
        let take = || {
            let mut taken = None;
            // SAFETY: as above; what is taken was put.
            unsafe { ring.take(|place| taken = Some(place.read())) };
            taken
        };
        // SAFETY: as above.
        let mark = || unsafe { ring.mark() };
        // SAFETY: as above.
        let confirm = || unsafe { ring.confirm(|n| *n += 1) };
        for round in 0..7 {
            (0..3).for_each(|n| put(round * 10 + n));
            assert_eq!(mark(), 3);
            put(round * 10 + 3);
            // SAFETY: as above.
            assert!(unsafe { ring.room() }.is_none(), "full");
            assert_eq!((ring.len(), take()), (4, None), "not confirmed");
            confirm();
            assert!(ring.has_confirmed());
            (0..3).for_each(|n| assert_eq!(take(), Some(round * 10 + n + 1)));
            assert_eq!(take(), None, "it came after the mark");
            assert_eq!(mark(), 1);
            confirm();
            assert_eq!(take(), Some(round * 10 + 4));
            assert!(!ring.has_confirmed());
        }
    }
}
