//! A platform whose memory and waits are watched.

use super::Steps;
use ioward_types::{Nanos, OutOfMemory, PhysAddr, Platform, Span};
use std::{
    collections::BTreeMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

type OnFree = Arc<dyn Fn(Span<PhysAddr>) + Send + Sync>;

struct Inner<P> {
    under: P,
    steps: Steps,
    budget: AtomicU64,
    live: Mutex<BTreeMap<u64, u64>>,
    on_free: Mutex<Option<OnFree>>,
}

/// `P`, with every store and every wait a step, allocations that can be made to fail, and frames counted. Clones are the same
/// platform.
pub struct Watched<P>(Arc<Inner<P>>);

impl<P> Clone for Watched<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Platform> Watched<P> {
    /// Over this platform.
    pub fn new(under: P, steps: Steps) -> Self {
        Self(Arc::new(Inner {
            under,
            steps,
            budget: AtomicU64::new(u64::MAX),
            live: Mutex::default(),
            on_free: Mutex::default(),
        }))
    }

    /// The platform below.
    pub fn under(&self) -> &P {
        &self.0.under
    }

    /// After `count` more allocations every one fails; `None` lifts that.
    pub fn set_budget(&self, count: Option<u64>) {
        self.0.budget.store(count.unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether an allocation was refused for the budget since it was set.
    pub fn is_exhausted(&self) -> bool {
        self.0.budget.load(Ordering::SeqCst) == 0
    }

    /// Bytes that were allocated here and not freed.
    pub fn live(&self) -> u64 {
        self.frames_live().values().sum()
    }

    /// From now on `hook` is called before frames are freed, while their owner says that no hardware reaches them.
    pub fn on_free(&self, hook: impl Fn(Span<PhysAddr>) + Send + Sync + 'static) {
        *self.0.on_free.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Nobody is told of frees any more.
    pub fn off_free(&self) {
        *self.0.on_free.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn frames_live(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: everything that is promised is the platform's below; what is added neither hands out frames nor keeps them.
unsafe impl<P: Platform> Platform for Watched<P> {
    type Lock = P::Lock;
    type Pin = P::Pin;
    const TRACED: bool = true;

    fn pin(&self) -> (P::Pin, usize) {
        self.0.under.pin()
    }

    fn cpus(&self) -> usize {
        self.0.under.cpus()
    }

    fn synchronize(&self) {
        self.0.under.synchronize();
    }

    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let spend = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        self.0.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).map_err(|_| OutOfMemory)?;
        let at = self.0.under.frames(bytes, align, below)?;
        self.frames_live().insert(at.0, bytes as u64);
        Ok(at)
    }

    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        let hook = self.0.on_free.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(Span { start: at, bytes: bytes as u64 });
        }
        self.frames_live().remove(&at.0);
        // SAFETY: as promised by the caller.
        unsafe { self.0.under.free(at, bytes) }
    }

    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        self.0.under.virt(at)
    }

    fn phys(&self, at: NonNull<u8>, bytes: u64) -> Option<Span<PhysAddr>> {
        self.0.under.phys(at, bytes)
    }

    fn clean(&self, lines: Span<PhysAddr>) {
        self.0.under.clean(lines);
        self.0.steps.step();
    }

    fn clean_for_device(&self, lines: Span<PhysAddr>) {
        self.0.under.clean_for_device(lines);
    }

    fn invalidate_for_cpu(&self, lines: Span<PhysAddr>) {
        self.0.under.invalidate_for_cpu(lines);
    }

    fn now(&self) -> Nanos {
        self.0.under.now()
    }

    fn relax(&self) {
        self.0.under.relax();
        self.0.steps.step();
    }

    fn publish(&self) {
        self.0.under.publish();
        self.0.steps.step();
    }

    fn observe(&self) {
        self.0.under.observe();
    }

    fn fence(&self) {
        self.0.under.fence();
        self.0.steps.step();
    }

    fn stored(&self, at: PhysAddr, bytes: usize, old: u128, new: u128) {
        self.0.under.stored(at, bytes, old, new);
        self.0.steps.step();
    }
}
