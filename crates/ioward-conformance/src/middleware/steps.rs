//! The steps that a driver takes, as hardware sees them: each store, barrier, register access and round of a wait.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Called between two steps.
pub type Hook = Arc<dyn Fn() + Send + Sync>;

/// More steps than this without [`Steps::restart`] are taken for a wait without a bound.
const FUSE: u64 = 20_000_000;

thread_local! {
    /// A hook that makes steps itself is not called for them.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Counts steps, and lets a test act between any two of them. Clones count together.
#[derive(Clone, Default)]
pub struct Steps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicU64,
    hook: RwLock<Option<Hook>>,
}

impl Steps {
    /// From now on `hook` is called after every step, on the thread that made it. It must not call the driver, which may
    /// hold a lock.
    pub fn watch(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.0.hook.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Nobody is called any more.
    pub fn unwatch(&self) {
        *self.0.hook.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Steps since the last [`Steps::restart`].
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Counts from zero.
    pub fn restart(&self) {
        self.0.count.store(0, Ordering::Relaxed);
    }

    /// A step has been made. Panics where there have been so many that somebody must be waiting without a bound.
    pub fn step(&self) {
        let count = self.0.count.fetch_add(1, Ordering::Relaxed);
        assert!(count < FUSE, "{FUSE} steps: the driver waits for hardware without a bound");
        if INSIDE.get() {
            return;
        }
        let hook = self.0.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            INSIDE.set(true);
            hook();
            INSIDE.set(false);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steps({})", self.count())
    }
}
