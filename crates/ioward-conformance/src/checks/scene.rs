//! What most checks begin with: a source on a table, and a device that has used it, so that every cache holds it.

use crate::{
    bench::Bench,
    checks::AT,
    endpoint::{Endpoint, Reach},
    rig::{Rig, claim, put, target},
    space::Space,
};
use ioward_core::driver::{AtcTarget, Driver, Slot};
use std::sync::Arc;

/// A source whose translations are cached wherever they can be.
pub(super) struct Scene<B: Bench> {
    pub rig: Rig<B>,
    pub driver: Arc<dyn Driver>,
    pub space: Space<B::Platform>,
    pub slot: Slot,
    pub device: Endpoint,
    pub granule: u64,
    pub page: u64,
}

impl<B: Bench> Scene<B> {
    /// On the first source, with a cache of its own where the IOMMU lets devices have one.
    pub fn new(make: &dyn Fn() -> B) -> Self {
        let rig = Rig::new(make);
        let ats = rig.facts.ats;
        let device = if ats { rig.caching(rig.facts.sources[0]) } else { rig.device(rig.facts.sources[0]) };
        Self::with(rig, device, ats)
    }

    /// With this device.
    pub fn with(rig: Rig<B>, device: Endpoint, ats: bool) -> Self {
        let driver = rig.cold();
        let space = Space::new(&rig, &driver, 0);
        let granule = space.granule();
        let page = rig.memory(granule);
        space.map(AT, page, granule);
        let slot = claim(&driver, device.source().0, 0, ats);
        put(&driver, &slot, None, &space.translation());
        let scene = Self { rig, driver, space, slot, device, granule, page };
        scene.touch();
        scene
    }

    /// The device reaches the page, and caches the way.
    #[track_caller]
    pub fn touch(&self) {
        assert_eq!(self.device.write(None, AT), Reach::To(self.page));
    }

    pub fn atc(&self) -> Vec<AtcTarget> {
        if self.device.is_ats_on() { vec![target(self.device.source().0, None)] } else { vec![] }
    }
}
