//! A ring between one CPU that puts in and one drain that takes out: neither waits, and putting in takes no locked
//! instruction.

use alloc::{boxed::Box, vec::Vec};
use core::mem::MaybeUninit;
use ioward_types::{
    OutOfMemory,
    cell::{AtomicUsize, Ordering, UnsafeCell},
};

/// Places for `T`s in the order in which they came. `tail` is the putter's, `head` and `mark` are the taker's; each reads the
/// other's. They count for ever, so a full ring and an empty one differ.
///
/// What is still in when the ring is dropped is leaked: only its taker knows whether it may end.
#[repr(align(128))]
pub struct Ring<T> {
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: AtomicUsize,
    mark: AtomicUsize,
    tail: AtomicUsize,
}

// SAFETY: a place is the putter's until `tail` passes it and the taker's until `head` does, each with release and acquire;
// who may put and who may take is the unsafe functions' contract.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// A ring of so many places, a power of two.
    pub fn new(places: usize) -> Result<Self, OutOfMemory> {
        debug_assert!(places.is_power_of_two());
        let mut all = Vec::new();
        all.try_reserve_exact(places).map_err(|_| OutOfMemory)?;
        all.extend((0..places).map(|_| UnsafeCell::new(MaybeUninit::uninit())));
        let [head, mark, tail] = core::array::from_fn(|_| AtomicUsize::new(0));
        Ok(Self { places: all.into_boxed_slice(), head, mark, tail })
    }

    fn place(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.places[count & (self.places.len() - 1)]
    }

    /// How many there are; a moment ago, if others are at work.
    pub fn len(&self) -> usize {
        let tail = self.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head.load(Ordering::Relaxed)).min(self.places.len())
    }

    /// Whether [`Ring::put`] has a place. What the putter is told stays true until it puts.
    #[inline(always)]
    pub fn has_room(&self) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head.load(Ordering::Acquire)) < self.places.len()
    }

    /// Puts one in; it comes back where there is no room.
    ///
    /// # Safety
    /// Nobody else puts into this ring: the caller is pinned to the CPU that it belongs to.
    #[inline(always)]
    pub unsafe fn put(&self, value: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(value);
        }
        let tail = self.tail.load(Ordering::Relaxed);
        // SAFETY: there is room, so the taker is done with the place, and the caller is the only putter.
        self.place(tail).with_mut(|place| unsafe { (*place).write(value) });
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Remembers what is in now: that much is for [`Ring::take_marked`]. Tells how many that are.
    ///
    /// # Safety
    /// Nobody else marks or takes.
    pub unsafe fn mark(&self) -> usize {
        let tail = self.tail.load(Ordering::Acquire);
        self.mark.store(tail, Ordering::Relaxed);
        tail.wrapping_sub(self.head.load(Ordering::Relaxed))
    }

    /// Takes the oldest of those that were in at the last [`Ring::mark`].
    ///
    /// # Safety
    /// Nobody else marks or takes.
    pub unsafe fn take_marked(&self) -> Option<T> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.mark.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the mark is no further than the tail that was acquired with it, so the place was written; the caller is the
        // only taker, and takes it once.
        let value = self.place(head).with_mut(|place| unsafe { (*place).assume_init_read() });
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(value)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_in_order_and_only_up_to_the_mark() {
        let ring = Ring::new(4).unwrap();
        for round in 0..7 {
            // SAFETY: there is one thread.
            unsafe {
                for n in 0..3 {
                    ring.put(round * 10 + n).unwrap();
                }
                assert_eq!(ring.mark(), 3);
                ring.put(round * 10 + 3).unwrap();
                assert_eq!(ring.put(99), Err(99), "full");
                assert_eq!((ring.len(), ring.has_room()), (4, false));
                for n in 0..3 {
                    assert_eq!(ring.take_marked(), Some(round * 10 + n));
                }
                assert_eq!(ring.take_marked(), None, "it came after the mark");
                assert_eq!(ring.mark(), 1);
                assert_eq!(ring.take_marked(), Some(round * 10 + 3));
            }
        }
    }
}
