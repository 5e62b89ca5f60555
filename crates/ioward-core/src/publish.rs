//! A value that is read under a pin and replaced whole.
//!
//! The read side is one load: no count, no lock. The write side swaps the pointer, waits until every pin that was alive
//! is gone, and only then has the old value to itself.

use alloc::boxed::Box;
use core::marker::PhantomData;
use ioward_types::{
    Platform,
    cell::{AtomicPtr, Ordering},
};

/// A `T` that readers see whole, old or new.
pub struct Published<T> {
    current: AtomicPtr<T>,
    owns: PhantomData<T>,
}

// SAFETY: readers get `&T` on any thread and the last owner gets the `T`.
unsafe impl<T: Send + Sync> Sync for Published<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Published<T> {}

impl<T> Published<T> {
    /// Publishes the first value.
    pub fn new(value: T) -> Self {
        Self { current: AtomicPtr::new(Box::into_raw(Box::new(value))), owns: PhantomData }
    }

    /// The value of this instant, for as long as the pin lives. Each call may see a newer one.
    ///
    /// The pin must be one of the platform that replaces the value: that is what [`Published::replace`] waits for.
    #[inline(always)]
    pub fn read<'a, Pin>(&'a self, _pin: &'a Pin) -> &'a T {
        // SAFETY: the pointer comes from a Box, which `replace` gives up only when every pin alive at the swap is gone.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// The value, which nobody can read while it is borrowed alone.
    pub fn get_mut(&mut self) -> &mut T {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: it came from a Box, and the exclusive borrow keeps readers out.
        unsafe { &mut *current }
    }

    /// Publishes `value`, waits until nobody reads the old one any more, and returns it. May sleep. One caller at a time.
    pub fn replace<P: Platform>(&self, platform: &P, value: T) -> T {
        let old = self.current.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        platform.synchronize();
        // SAFETY: it came from a Box, was taken out of the pointer once, here, and its readers' pins are gone.
        *unsafe { Box::from_raw(old) }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: it came from a Box, and nobody can read through a value that is being dropped.
        drop(unsafe { Box::from_raw(current) });
    }
}
