//! A ring between one CPU that puts in, one that says what may be taken, and one that takes: none waits, and putting in takes
//! no locked instruction.

use alloc::{boxed::Box, vec::Vec};
use core::mem::MaybeUninit;
use ioward_types::{
    OutOfMemory,
    cell::{AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence},
};

/// `N` places for `T`s, each with one for what few of them have beside it, in the order in which they came. `tail` is the
/// putter's, `marked` and `confirmed` are the flusher's, `head` is the taker's; they follow each other in this order and
/// count for ever, so a full ring and an empty one differ. A place is the putter's until `tail` passes it, then the flusher's
/// until `confirmed` does, then the taker's until `head` does.
///
/// What is still in when the ring is dropped is leaked: only its taker knows whether it may end.
pub struct Ring<T, A, const N: usize> {
    putter: Putter<T, A, N>,
    others: Others,
}

/// What the putter writes: on cache lines of its own, since it puts often and the others store rarely or in runs.
#[repr(align(128))]
struct Putter<T, A, const N: usize> {
    places: Places<T, N>,
    /// Apart from the others, so that those lie close to each other.
    asides: Places<A, N>,
    tail: AtomicUsize,
    /// What `head` was when the putter needed it last: no less than that is free. The putter's alone.
    seen: AtomicUsize,
}

type Places<T, const N: usize> = Box<[UnsafeCell<MaybeUninit<T>>; N]>;

fn places<T, const N: usize>() -> Result<Places<T, N>, OutOfMemory> {
    let mut all = Vec::new();
    all.try_reserve_exact(N).map_err(|_| OutOfMemory)?;
    all.extend((0..N).map(|_| UnsafeCell::new(MaybeUninit::uninit())));
    all.into_boxed_slice().try_into().map_err(|_| OutOfMemory)
}

#[repr(align(128))]
struct Others {
    head: AtomicUsize,
    confirmed: AtomicUsize,
    marked: AtomicUsize,
    /// Somebody takes.
    taking: AtomicBool,
}

// SAFETY: each place is one's at a time, as said above, and handed on with release and acquire; who may put and flush is the
// unsafe functions' contract, and who takes is told by `taking`.
unsafe impl<T: Send, A: Send, const N: usize> Sync for Ring<T, A, N> {}

impl<T, A, const N: usize> Ring<T, A, N> {
    /// An empty ring.
    pub fn new() -> Result<Self, OutOfMemory> {
        const { assert!(N.is_power_of_two()) };
        let (places, asides) = (places()?, places()?);
        let [tail, seen, head, confirmed, marked] = core::array::from_fn(|_| AtomicUsize::new(0));
        let others = Others { head, confirmed, marked, taking: AtomicBool::new(false) };
        Ok(Self { putter: Putter { places, asides, tail, seen }, others })
    }

    #[inline(always)]
    fn place(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.putter.places[count & (N - 1)]
    }

    /// Whatever is beside a place; it is whose the place is.
    #[inline(always)]
    fn aside(&self, count: usize) -> *mut A {
        self.putter.asides[count & (N - 1)].with_mut(|aside| aside.cast())
    }

    /// How many there are; a moment ago, if others are at work.
    pub fn len(&self) -> usize {
        let tail = self.putter.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.others.head.load(Ordering::Relaxed)).min(N)
    }

    /// A place for one more, if there is one.
    ///
    /// # Safety
    /// Nobody else puts into this ring while the room lives: the caller is pinned to the CPU that it belongs to.
    #[inline(always)]
    pub unsafe fn room(&self) -> Option<Room<'_, T, A, N>> {
        let tail = self.putter.tail.load(Ordering::Relaxed);
        // What was seen was acquired on this CPU, by this putter or one before it.
        let fits = tail.wrapping_sub(self.putter.seen.load(Ordering::Relaxed)) < N || self.look(tail);
        fits.then_some(Room { ring: self, tail })
    }

    /// Whether takers have made room since the putter looked last.
    #[cold]
    #[inline(never)]
    fn look(&self, tail: usize) -> bool {
        let head = self.others.head.load(Ordering::Acquire);
        self.putter.seen.store(head, Ordering::Relaxed);
        tail.wrapping_sub(head) < N
    }

    /// Remembers what is in now, and tells how many of them have not been confirmed.
    ///
    /// # Safety
    /// Nobody else marks or confirms.
    pub unsafe fn mark(&self) -> usize {
        let tail = self.putter.tail.load(Ordering::Acquire);
        self.others.marked.store(tail, Ordering::Relaxed);
        tail.wrapping_sub(self.others.confirmed.load(Ordering::Relaxed))
    }

    /// Each of those that were in at the last [`Ring::mark`] and have not been confirmed.
    ///
    /// # Safety
    /// As for [`Ring::mark`].
    pub unsafe fn each_marked(&self, mut each: impl FnMut(&mut T, *mut A)) {
        let mut at = self.others.confirmed.load(Ordering::Relaxed);
        let marked = self.others.marked.load(Ordering::Relaxed);
        while at != marked {
            // SAFETY: it was written, since the tail was acquired with the mark, and is not the taker's yet.
            self.place(at).with_mut(|place| each(unsafe { (*place).assume_init_mut() }, self.aside(at)));
            at = at.wrapping_add(1);
        }
    }

    /// What was in at the last [`Ring::mark`] may be taken from now on.
    ///
    /// # Safety
    /// As for [`Ring::mark`].
    pub unsafe fn confirm(&self) {
        self.others.confirmed.store(self.others.marked.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Takes what is confirmed, the oldest first, unless somebody is at it: that one goes on until nothing is left. One lies
    /// where it is until `take`, to which it belongs with what is beside it, returns. After each run of them comes `after`.
    #[inline(always)]
    pub fn take_all<S>(&self, state: &mut S, take: impl Fn(&mut S, *mut T, *mut A), after: impl Fn(&mut S)) {
        // Between what was confirmed and the look at the flag, and, of whoever has that, between giving it back and the look
        // at what is confirmed: one of the two sees the other.
        fence(Ordering::SeqCst);
        while self.has_confirmed() {
            let taking = &self.others.taking;
            if taking.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
                return;
            }
            let confirmed = self.others.confirmed.load(Ordering::Acquire);
            let mut at = self.others.head.load(Ordering::Relaxed);
            while at != confirmed {
                // It was written and is the caller's, who is the only taker, and takes it once.
                self.place(at).with_mut(|place| take(state, place.cast(), self.aside(at)));
                at = at.wrapping_add(1);
                self.others.head.store(at, Ordering::Release);
            }
            after(state);
            taking.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
        }
    }

    /// Whether there is something to take.
    pub fn has_confirmed(&self) -> bool {
        self.others.head.load(Ordering::Relaxed) != self.others.confirmed.load(Ordering::Relaxed)
    }
}

/// A place that nothing is in.
#[must_use]
pub struct Room<'r, T, A, const N: usize> {
    ring: &'r Ring<T, A, N>,
    tail: usize,
}

impl<T, A, const N: usize> Room<'_, T, A, N> {
    /// Puts one in, by `write`.
    ///
    /// # Safety
    /// `write` writes a `T` to where it is told to first, and, if need be, an `A` to the other.
    #[inline(always)]
    pub unsafe fn put(self, write: impl FnOnce(*mut T, *mut A)) {
        // There was room, so the taker is done with the place, and nobody else puts, as `Ring::room` was promised.
        self.ring.place(self.tail).with_mut(|place| write(place.cast(), self.ring.aside(self.tail)));
        self.ring.putter.tail.store(self.tail.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_was_put_comes_in_order_and_only_up_to_the_mark() {
        let ring = Ring::<i32, i32, 4>::new().unwrap();
        // SAFETY: there is one thread, here and below.
        let put = |n: i32| unsafe {
            ring.room().unwrap().put(|place, aside| {
                place.write(n);
                aside.write(n + 1000);
            })
        };
        let take = || {
            let mut taken = Vec::new();
            ring.take_all(
                &mut taken,
                |taken, place, aside| {
                    // SAFETY: what is taken was put.
                    let (place, aside) = unsafe { (place.read(), aside.read()) };
                    assert!([1000, 1001].contains(&(aside - place + 1)), "{place} {aside}");
                    taken.push(place);
                },
                |taken| taken.push(-1),
            );
            taken
        };
        // SAFETY: as above.
        let mark = || unsafe { ring.mark() };
        // SAFETY: as above.
        let confirm = || unsafe { ring.confirm() };
        for round in 0..7 {
            (0..3).for_each(|n| put(round * 10 + n));
            assert_eq!(mark(), 3);
            put(round * 10 + 3);
            // SAFETY: as above.
            assert!(unsafe { ring.room() }.is_none(), "full");
            assert_eq!((ring.len(), take()), (4, vec![]), "not confirmed");
            // SAFETY: as above.
            unsafe { ring.each_marked(|n, _| *n += 1) };
            confirm();
            assert!(ring.has_confirmed());
            assert_eq!(
                take(),
                [1, 2, 3, -1 - round * 10].map(|n| n + round * 10),
                "and not what came after the mark"
            );
            assert_eq!(mark(), 1);
            confirm();
            assert_eq!(take(), [round * 10 + 3, -1]);
            assert!(!ring.has_confirmed());
        }
    }

    #[test]
    fn who_takes_while_somebody_takes_does_nothing() {
        let ring = Ring::<i32, (), 2>::new().unwrap();
        // SAFETY: there is one thread.
        unsafe {
            ring.room().unwrap().put(|place, _| place.write(7));
            ring.mark();
            ring.confirm();
        }
        let mut taken = 0;
        let inner = |_: &mut i32, _: *mut i32, _: *mut ()| panic!("taken twice");
        ring.take_all(
            &mut taken,
            |taken, _, _| (*taken += 1, ring.take_all(&mut 0, inner, |_| ())).1,
            |_| (),
        );
        assert_eq!((taken, ring.len()), (1, 0));
    }
}
