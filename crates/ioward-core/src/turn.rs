//! The registry's lock: one control operation at a time, with interrupts on and free to sleep.
//!
//! The platform's own lock may be a spin lock with interrupts off, and a control operation waits for hardware and for
//! [`Platform::synchronize`]; so the turn is a flag, and whoever waits for it calls [`Platform::relax`] each round. A
//! kernel whose threads can be preempted makes `relax` yield.

use crate::order::{Held, Rank};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, Ordering},
};
use ioward_types::Platform;

pub(crate) struct Turn<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the flag gives the value to one thread at a time.
unsafe impl<T: Send> Sync for Turn<T> {}

impl<T> Turn<T> {
    pub fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    pub fn take<P: Platform>(&self, platform: &P) -> TurnGuard<'_, T> {
        let held = Held::enter(Rank::Control);
        while self.taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            platform.relax();
        }
        TurnGuard { turn: self, _held: held, _not_send: PhantomData }
    }
}

pub(crate) struct TurnGuard<'t, T> {
    turn: &'t Turn<T>,
    _held: Held,
    _not_send: PhantomData<*const ()>,
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard has the turn.
        unsafe { &*self.turn.value.get() }
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the turn and is borrowed alone.
        unsafe { &mut *self.turn.value.get() }
    }
}

impl<T> Drop for TurnGuard<'_, T> {
    fn drop(&mut self) {
        self.turn.taken.store(false, Ordering::Release);
    }
}
