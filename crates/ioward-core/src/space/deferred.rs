//! An owner of some type that is kept until later and then dropped: without an allocation if it is small.

use alloc::alloc::{Layout, alloc, dealloc};
use core::{mem::MaybeUninit, ptr};

/// How many words lie in place: a buffer of frames has three or fewer.
const WORDS: usize = 4;

/// Something that will be dropped. Forgotten: leaked.
pub struct Deferred {
    place: MaybeUninit<[usize; WORDS]>,
    /// Drops what `place` holds or points at, once.
    end: unsafe fn(*mut u8),
}

// SAFETY: what is inside is `Send`, by the bound of `new`.
unsafe impl Send for Deferred {}

impl Deferred {
    const fn is_small<O>() -> bool {
        size_of::<O>() <= size_of::<[usize; WORDS]>() && align_of::<O>() <= align_of::<usize>()
    }

    /// Keeps `owner`. It comes back where it is large and there is no memory.
    #[inline]
    pub fn new<O: Send + 'static>(owner: O) -> Result<Self, O> {
        let mut place = MaybeUninit::<[usize; WORDS]>::uninit();
        if Self::is_small::<O>() {
            // SAFETY: it fits in size and alignment.
            unsafe { place.as_mut_ptr().cast::<O>().write(owner) };
            return Ok(Self { place, end: end_here::<O> });
        }
        let layout = Layout::new::<O>();
        if layout.size() == 0 {
            // Nothing, with an alignment beyond a word's.
            return Err(owner);
        }
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(layout) }.cast::<O>();
        if memory.is_null() {
            return Err(owner);
        }
        // SAFETY: allocated for an `O` just now.
        unsafe { memory.write(owner) };
        // SAFETY: a pointer fits.
        unsafe { place.as_mut_ptr().cast::<*mut O>().write(memory) };
        Ok(Self { place, end: end_there::<O> })
    }
}

/// # Safety
/// An `O` lies at `at`, which is not used again.
unsafe fn end_here<O>(at: *mut u8) {
    // SAFETY: as promised by the caller.
    unsafe { ptr::drop_in_place(at.cast::<O>()) };
}

/// # Safety
/// A pointer to an allocated `O` lies at `at`, which is not used again.
unsafe fn end_there<O>(at: *mut u8) {
    // SAFETY: as promised by the caller.
    let memory = unsafe { at.cast::<*mut O>().read() };
    // SAFETY: as promised by the caller.
    unsafe { ptr::drop_in_place(memory) };
    // SAFETY: allocated with this layout, by `new`.
    unsafe { dealloc(memory.cast(), Layout::new::<O>()) };
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // SAFETY: `place` is what `new` wrote for this function, and nobody uses it after the drop.
        unsafe { (self.end)(self.place.as_mut_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    /// Dropped once, whatever its size; forgotten, never.
    fn check<const BYTES: usize>() {
        let alive = Arc::new(());
        let make = || Deferred::new((alive.clone(), [7_u8; BYTES])).map_err(drop).unwrap();
        let kept = make();
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(kept);
        assert_eq!(Arc::strong_count(&alive), 1);
        core::mem::forget(make());
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
