//! Claims: who has which entry, and that it is blocked before and after.

use crate::{
    bench::Bench,
    checks::AT,
    endpoint::Reach,
    rig::{Rig, claim, put, release, stays_out},
    space::Space,
};
use ioward_core::driver::{Blocked, Claim, Refused, Slot};
use ioward_types::{IommuId, SourceId};

/// A claim leaves the entry blocked, whatever was asked for, and touches no neighbour.
pub fn claimed_is_blocked<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [first, second, third] = rig.facts.sources;
    let page = rig.memory(0x1_0000);
    let space = Space::new(&rig, &driver, 0);
    space.map(AT, page, space.granule());
    put(&driver, &claim(&driver, first, 0, false), None, &space.translation());
    for (source, pasid_bits, ats) in [(second, rig.facts.pasid_bits, false), (third, 0, rig.facts.ats)] {
        let slot = claim(&driver, source, pasid_bits, ats);
        assert_eq!((slot.iommu, slot.source), (rig.facts.iommu, SourceId(source)));
        for at in [0, AT, page] {
            stays_out(rig.device(source).write(None, at), "claimed, and nothing else");
            stays_out(rig.device(source).write(Some(1), at), "claimed, and nothing else, PASID 1");
        }
    }
    assert_eq!(rig.device(first).write(None, AT), Reach::To(page), "claims of others");
    rig.settled();
}

/// A source is one claimant's; PASIDs and caches that the IOMMU has not are refused, and so is a source that it has not.
pub fn what_cannot_be_claimed_is_refused<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let facts = &rig.facts;
    let source = SourceId(facts.sources[0]);
    let usual = Claim { source, pasid_bits: 0, ats: false };
    let slot = claim(&driver, source.0, 0, false);
    assert!(matches!(driver.claim(&usual), Err(Refused::Claimed { .. })), "claimed twice");
    let other = Claim { source: SourceId(facts.sources[1]), ..usual };
    let wide = driver.claim(&Claim { pasid_bits: facts.pasid_bits + 1, ..other });
    assert!(wide.is_err(), "PASIDs of more bits than there are");
    if !facts.ats {
        assert!(driver.claim(&Claim { ats: true, ..other }).is_err(), "ATS, which there is not");
    }
    if let Some(outside) = facts.outside {
        let refused = driver.claim(&Claim { source: SourceId(outside), ..usual });
        assert!(matches!(refused, Err(Refused::Source { .. })), "{refused:?}");
    }
    // What was refused was not taken.
    let second = claim(&driver, facts.sources[1], 0, false);
    release(&driver, slot);
    let slot = claim(&driver, source.0, 0, false);
    release(&driver, slot);
    release(&driver, second);
    rig.settled();
}

/// A released source is blocked for good, and can be claimed again.
pub fn released_is_blocked<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let device = if rig.facts.ats { rig.caching(source) } else { rig.device(source) };
    let pages = [rig.memory(0x1_0000), rig.memory(0x1_0000)];
    for (round, page) in pages.into_iter().cycle().take(4).enumerate() {
        let space = Space::new(&rig, &driver, 0);
        space.map(AT, page, space.granule());
        let slot = claim(&driver, source, 0, rig.facts.ats);
        stays_out(device.write(None, AT), "claimed again");
        put(&driver, &slot, None, &space.translation());
        assert_eq!(device.write(None, AT), Reach::To(page), "round {round}");
        release(&driver, slot);
        for at in [AT, page] {
            stays_out(device.write(None, at), "released");
        }
        space.end();
        rig.settled();
    }
}

/// Two sources on two tables never meet, and the end of one is nothing to the other.
pub fn sources_are_apart<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let all: Vec<_> = rig.facts.sources.iter().map(|source| (*source, rig.memory(0x1_0000))).collect();
    let mut on: Vec<_> = all
        .iter()
        .map(|&(source, page)| {
            let space = Space::new(&rig, &driver, 0);
            space.map(AT, page, space.granule());
            let slot = claim(&driver, source, 0, false);
            put(&driver, &slot, None, &space.translation());
            (source, page, space, slot)
        })
        .collect();
    for (source, page, ..) in &on {
        assert_eq!(rig.device(*source).write(None, AT), Reach::To(*page));
    }
    while let Some((source, _, space, slot)) = on.pop() {
        release(&driver, slot);
        space.end();
        stays_out(rig.device(source).write(None, AT), "released");
        for (source, page, ..) in &on {
            assert_eq!(rig.device(*source).write(None, AT), Reach::To(*page), "a neighbour was released");
        }
    }
    rig.settled();
}

/// A slot that is not the driver's own is refused by every call, and nothing changes.
pub fn a_slot_of_another_iommu_does_nothing<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let page = rig.memory(0x1_0000);
    let space = Space::new(&rig, &driver, 0);
    space.map(AT, page, space.granule());
    let slot = claim(&driver, source, 0, false);
    put(&driver, &slot, None, &space.translation());
    let strange = [
        Slot { iommu: IommuId(rig.facts.iommu.0 + 1), source: slot.source, index: slot.index },
        Slot { iommu: slot.iommu, source: slot.source, index: slot.index.wrapping_add(0x0100_0001) },
        Slot { iommu: slot.iommu, source: slot.source, index: u32::MAX },
    ];
    for slot in strange {
        let what = space.translation();
        assert!(crate::rig::install(&driver, &slot, None, &what).is_err(), "installed: {slot:?}");
        assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)), "confirmed: {slot:?}");
        assert!(matches!(driver.release(slot, false), Blocked::Unconfirmed(_)), "released");
    }
    assert_eq!(rig.device(source).write(None, AT), Reach::To(page), "the slot is somebody else's");
    rig.settled();
}
