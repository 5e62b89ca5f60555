//! An owner of some type that is kept until later and then dropped, in place.

use alloc::alloc::{Layout, alloc, dealloc};
use core::{
    mem::{self, ManuallyDrop, MaybeUninit},
    ptr::{self, NonNull},
};

/// How many words lie in place: a buffer of frames has three or fewer.
const WORDS: usize = 4;

/// Something that will be dropped. Forgotten: leaked.
#[repr(C)]
pub struct Deferred {
    place: MaybeUninit<[usize; WORDS]>,
    /// Drops what `place` holds, once; none where that is nothing to do.
    end: Option<unsafe fn(*mut u8)>,
}

// SAFETY: what is inside is `Send`, by the bound of `write`.
unsafe impl Send for Deferred {}

impl Deferred {
    /// Whether an `O` can be kept in place; else an [`Apart`] can.
    pub const fn is_small<O>() -> bool {
        size_of::<O>() <= size_of::<[usize; WORDS]>() && align_of::<O>() <= align_of::<usize>()
    }

    /// Keeps `owner` at `at`: written there at once, since a copy by way of the stack costs more than all of the rest.
    ///
    /// # Safety
    /// `at` is a place for a value that nobody else uses, and `O` is small.
    #[inline(always)]
    pub unsafe fn write<O: Send + 'static>(at: *mut Self, owner: O) {
        debug_assert!(Self::is_small::<O>());
        // SAFETY: as promised by the caller; it fits in size and alignment.
        unsafe {
            at.cast::<O>().write(owner);
            let end: unsafe fn(*mut u8) = end_here::<O>;
            (&raw mut (*at).end).write(mem::needs_drop::<O>().then_some(end));
        }
    }
}

/// # Safety
/// An `O` lies at `at`, which is not used again.
unsafe fn end_here<O>(at: *mut u8) {
    // SAFETY: as promised by the caller.
    unsafe { ptr::drop_in_place(at.cast::<O>()) };
}

impl Drop for Deferred {
    #[inline]
    fn drop(&mut self) {
        if let Some(end) = self.end {
            // SAFETY: `place` is what `write` wrote for this function, and nobody uses it after the drop.
            unsafe { end(self.place.as_mut_ptr().cast()) };
        }
    }
}

/// An owner that lies apart, since it is large.
pub struct Apart<O>(NonNull<O>);

// SAFETY: it owns the `O`.
unsafe impl<O: Send> Send for Apart<O> {}

impl<O> Apart<O> {
    const LAYOUT: Layout = Layout::new::<O>();

    /// Puts it there. It comes back where there is no memory.
    pub fn new(owner: O) -> Result<Self, O> {
        if Self::LAYOUT.size() == 0 {
            return Err(owner); // nothing, with an alignment beyond a word's
        }
        // SAFETY: the layout is not empty.
        match NonNull::new(unsafe { alloc(Self::LAYOUT) }.cast::<O>()) {
            Some(place) => {
                // SAFETY: allocated for an `O` just now.
                unsafe { place.write(owner) };
                Ok(Self(place))
            }
            None => Err(owner),
        }
    }

    /// Takes it back.
    pub fn into_inner(self) -> O {
        let this = ManuallyDrop::new(self);
        // SAFETY: read once: `this` is not dropped.
        let owner = unsafe { this.0.read() };
        // SAFETY: allocated with this layout, by `new`.
        unsafe { dealloc(this.0.as_ptr().cast(), Self::LAYOUT) };
        owner
    }
}

impl<O> Drop for Apart<O> {
    fn drop(&mut self) {
        // SAFETY: written by `new`, and used by nobody after this.
        unsafe { self.0.drop_in_place() };
        // SAFETY: as in `into_inner`.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    fn deferred<O: Send + 'static>(owner: O) -> Deferred {
        let mut place = MaybeUninit::<Deferred>::uninit();
        // SAFETY: it is small, say the callers.
        unsafe { Deferred::write(place.as_mut_ptr(), owner) };
        // SAFETY: written just now.
        unsafe { place.assume_init() }
    }

    /// Dropped once, whatever its size; taken back or forgotten, never.
    fn check<const BYTES: usize>() {
        let alive = Arc::new(());
        let owner = || (alive.clone(), [7_u8; BYTES]);
        let make = || match Deferred::is_small::<(Arc<()>, [u8; BYTES])>() {
            true => deferred(owner()),
            false => deferred(Apart::new(owner()).ok().unwrap()),
        };
        let kept = make();
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(kept);
        assert_eq!(Arc::strong_count(&alive), 1);
        drop(Apart::new(owner()).ok().unwrap().into_inner());
        assert_eq!(Arc::strong_count(&alive), 1);
        mem::forget(make());
        assert_eq!(Arc::strong_count(&alive), 2);
    }

    #[test]
    fn small_and_large_owners_are_dropped_once() {
        check::<1>();
        check::<24>();
        check::<25>();
        check::<4000>();
    }
}
