//! Bounded waits on hardware.

use ioward_core::driver::Hung;
use ioward_types::{IommuId, Nanos, Platform};

/// Who waits and for how long at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub iommu: IommuId,
    pub bound: Nanos,
}

impl Patience {
    /// Waits until `done` gives a value. It is asked once more after the bound has passed, so that a waiter who was
    /// itself held up does not blame the hardware.
    pub fn wait<P: Platform, T>(
        &self,
        platform: &P,
        what: &'static str,
        mut done: impl FnMut() -> Option<T>,
    ) -> Result<T, Hung> {
        let start = platform.now();
        loop {
            let waited = Nanos(platform.now().0.saturating_sub(start.0));
            if let Some(value) = done() {
                return Ok(value);
            }
            if waited > self.bound {
                return Err(self.hung(what, waited));
            }
            platform.relax();
        }
    }

    pub fn hung(&self, what: &'static str, waited: Nanos) -> Hung {
        Hung { iommu: self.iommu, what, waited }
    }
}
