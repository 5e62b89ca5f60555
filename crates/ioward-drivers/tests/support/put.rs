//! Installing on simulated memory, where everything that a device can reach is the test's own.

use ioward_core::driver::{Driver, Hung, Refused, Slot, Translation};
use ioward_types::{Pasid, Tag};

/// [`Driver::install`] and [`Driver::untag`] for tests.
#[allow(dead_code, reason = "not every test uses both")]
pub trait Put: Driver {
    /// [`Driver::install`].
    fn put(&self, slot: &Slot, pasid: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        // SAFETY: the devices are models, and nothing that Rust refers to is in their memory.
        unsafe { self.install(slot, pasid, what) }
    }

    /// [`Driver::untag`].
    fn give_back(&self, tag: Tag) -> Result<(), Hung> {
        // SAFETY: the devices are models; what a tag that is used again lets through is what the test looks for.
        unsafe { self.untag(tag) }
    }
}

impl<D: Driver + ?Sized> Put for D {}
