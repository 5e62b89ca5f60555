//! Translation caches of devices that misbehave, each over one that does not.

use super::Watched;
use ioward_models::{AtcSink, AtcSpan};
use ioward_types::Platform;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A device that takes its time: so many rounds of the platform's clock pass before it answers.
pub struct SlowAtc<P> {
    under: Arc<dyn AtcSink>,
    platform: Watched<P>,
    rounds: u32,
}

impl<P: Platform> SlowAtc<P> {
    /// It answers after `rounds` times [`Platform::relax`].
    pub fn new(under: Arc<dyn AtcSink>, platform: &Watched<P>, rounds: u32) -> Self {
        Self { under, platform: platform.clone(), rounds }
    }
}

impl<P: Platform> AtcSink for SlowAtc<P> {
    fn invalidate(&self, what: AtcSpan) -> bool {
        // The platform below: a hook that asks the model would find it busy with this invalidation.
        (0..self.rounds).for_each(|_| self.platform.under().relax());
        self.under.invalidate(what)
    }
}

/// A device that does not answer while it is deaf, and keeps what it has.
pub struct DeafAtc {
    under: Arc<dyn AtcSink>,
    deaf: Arc<AtomicBool>,
}

impl DeafAtc {
    /// It is deaf while `deaf` says so.
    pub fn new(under: Arc<dyn AtcSink>, deaf: Arc<AtomicBool>) -> Self {
        Self { under, deaf }
    }
}

impl AtcSink for DeafAtc {
    fn invalidate(&self, what: AtcSpan) -> bool {
        !self.deaf.load(Ordering::SeqCst) && self.under.invalidate(what)
    }
}

/// A device of which it is known how often it was told to forget something.
pub struct ToldAtc {
    under: Arc<dyn AtcSink>,
    told: Arc<AtomicU64>,
}

impl ToldAtc {
    /// Counts into `told`.
    pub fn new(under: Arc<dyn AtcSink>, told: Arc<AtomicU64>) -> Self {
        Self { under, told }
    }
}

impl AtcSink for ToldAtc {
    fn invalidate(&self, what: AtcSpan) -> bool {
        self.told.fetch_add(1, Ordering::SeqCst);
        self.under.invalidate(what)
    }
}
