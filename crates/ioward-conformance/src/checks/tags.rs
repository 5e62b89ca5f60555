//! Tags: one for each carrier, and used again only once nothing is cached under it.

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::AT,
    endpoint::Reach,
    rig::{Rig, block, claim, put, stays_out, untag},
    space::Space,
};
use ioward_core::driver::Requirements;
use std::collections::BTreeSet;

/// Tags that are held are all different, of plans with PASIDs too where a tag means the same there.
pub fn no_two_carriers_have_one_tag<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let plan = driver.plan(&Requirements::default()).expect("a plan");
    let mut held = BTreeSet::new();
    for n in 0..300 {
        match driver.tag(&plan) {
            Ok(tag) => assert!(held.insert(tag), "tag {tag} is held already"),
            Err(refused) => {
                assert!(n > 2, "{refused}");
                assert!(matches!(refused, ioward_core::driver::Refused::NoTag { .. }), "{refused}");
                break;
            }
        }
    }
    for tag in held {
        assert_eq!(untag(&driver, tag), Ok(()));
    }
    assert!(driver.tag(&plan).is_ok(), "what was given back is to be had again");
    rig.settled();
}

/// Carriers come and go until every small tag has been used again: none leads to what an earlier one led to.
pub fn a_tag_that_is_used_again_leads_to_nothing_old<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let device = rig.device(source);
    let slot = claim(&driver, source, 0, false);
    let pages = [0, 1].map(|_| rig.memory(0x1_0000));
    for round in 0..600 {
        let space = Space::new(&rig, &driver, 0);
        let granule = space.granule();
        let (here, there) = (AT + (round % 2) * granule, AT + (1 - round % 2) * granule);
        space.map(here, pages[round as usize % 2], granule);
        put(&driver, &slot, None, &space.translation());
        assert_eq!(device.write(None, here), Reach::To(pages[round as usize % 2]), "round {round}");
        stays_out(device.write(None, there), "a carrier that is no more had it");
        block(&driver, &slot, None);
        space.end();
    }
    rig.settled();
}

/// A tag whose last flush was not confirmed is not given out again until it is.
pub fn a_tag_that_was_not_confirmed_is_withheld<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, slot, .. } = Scene::new(make);
    let plan = space.plan;
    block(&driver, &slot, None);
    rig.bench.hang(true);
    let gave_back = untag(&driver, space.tag);
    rig.bench.hang(false);
    if gave_back.is_ok() {
        // What blocked the source left nothing under it; then it may be used again, and is sound.
        let next = Space::new(&rig, &driver, 0);
        put(&driver, &slot, None, &next.translation());
        stays_out(rig.device(rig.facts.sources[0]).write(None, AT), "nothing is mapped in the next one");
        rig.settled();
        return;
    }
    let given: BTreeSet<_> = (0..300).map_while(|_| driver.tag(&plan).ok()).collect();
    assert!(!given.is_empty(), "the others are to be had");
    assert!(!given.contains(&space.tag), "caches may still hold it");
    rig.lawful();
}
