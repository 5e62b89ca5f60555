//! Mappings by request, with a mistake.

use super::Mistake;
use ioward_core::driver::{Driver, Hung, MapRequests, Refused};
use ioward_types::{Attributes, Iova, PhysAddr, Span, Tag};
use std::sync::Arc;

pub(super) struct BrokenRequests {
    under: Arc<dyn Driver>,
    mistake: Mistake,
}

impl BrokenRequests {
    /// Over a driver that takes requests.
    pub fn new(under: Arc<dyn Driver>, mistake: Mistake) -> Self {
        Self { under, mistake }
    }

    fn requests(&self) -> &dyn MapRequests {
        self.under.requests().expect("checked when it was made")
    }
}

impl MapRequests for BrokenRequests {
    fn map(&self, tag: Tag, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), Refused> {
        let mapped = self.requests().map(tag, at, to, how);
        if self.mistake == Mistake::MapsAnything { Ok(()) } else { mapped }
    }

    fn unmap(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung> {
        if self.mistake == Mistake::UnmapsNothing { Ok(()) } else { self.requests().unmap(tag, at) }
    }
}
