//! A value behind the platform's lock.

use crate::platform::RawLock;
use core::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// A `T` that only the holder of the platform's lock reaches.
pub struct Mutex<L, T> {
    raw: L,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one thread at a time.
unsafe impl<L: RawLock, T: Send> Sync for Mutex<L, T> {}
// SAFETY: the value moves with the lock; nobody holds it while it moves.
unsafe impl<L: RawLock, T: Send> Send for Mutex<L, T> {}

impl<L: RawLock, T> Mutex<L, T> {
    /// `value`, unlocked.
    pub fn new(value: T) -> Self {
        Self { raw: L::new(), value: UnsafeCell::new(value) }
    }

    /// `value` behind a lock that exists already and is unlocked; for statics.
    pub const fn from_raw(raw: L, value: T) -> Self {
        Self { raw, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock; it is given back when the guard is dropped.
    pub fn lock(&self) -> Guard<'_, L, T> {
        let held = self.raw.lock();
        Guard { mutex: self, held: Some(held), _not_send: PhantomData }
    }

    /// The value, which nobody can have locked while it is borrowed alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value, which nobody can have locked once the lock itself is given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<L, T> fmt::Debug for Mutex<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// The value, as long as the lock is held. It is not `Send`: a lock is given back where it was taken.
pub struct Guard<'m, L: RawLock, T> {
    mutex: &'m Mutex<L, T>,
    held: Option<L::Held>,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives `&T` and touches nothing else before it is dropped, which takes the guard itself.
unsafe impl<L: RawLock, T: Sync> Sync for Guard<'_, L, T> {}

impl<L: RawLock, T> Deref for Guard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<L: RawLock, T> DerefMut for Guard<'_, L, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock and is borrowed alone.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<L: RawLock, T> Drop for Guard<'_, L, T> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // SAFETY: `held` comes from this lock and is given back once, here.
            unsafe { self.mutex.raw.unlock(held) }
        }
    }
}
