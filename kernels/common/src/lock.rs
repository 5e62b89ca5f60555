//! A spin lock. Interrupts stay off in these kernels, so that it has no interrupt state to keep.

use core::sync::atomic::{AtomicBool, Ordering};
use ioward::types::RawLock;

/// One bit.
pub struct Spin(AtomicBool);

impl Spin {
    /// For statics, each of which is a lock of its own.
    #[expect(clippy::declare_interior_mutable_const)]
    pub const UNLOCKED: Self = Self(AtomicBool::new(false));
}

// SAFETY: only who turns the bit on gets the lock; acquire and release order what is done under it.
unsafe impl RawLock for Spin {
    type Held = ();
    fn new() -> Self {
        Self::UNLOCKED
    }
    fn lock(&self) {
        while self.0.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
    }
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}
