//! PASIDs: each its own, all behind one source.

use crate::{
    bench::Bench,
    checks::AT,
    endpoint::Reach,
    rig::{Rig, block, claim, install, put, release, stays_out},
    space::Space,
};
use ioward_core::driver::{Claim, Driver, Refused, Slot};
use ioward_types::SourceId;
use std::sync::Arc;

/// Where there are none, none is given.
fn there_are_none<B: Bench>(rig: &Rig<B>, driver: &Arc<dyn Driver>) -> bool {
    if rig.facts.pasid_bits > 0 {
        return false;
    }
    let source = SourceId(rig.facts.sources[0]);
    assert!(
        driver.claim(&Claim { source, pasid_bits: 1, ats: false }).is_err(),
        "PASIDs, which there are not"
    );
    let slot = claim(driver, source.0, 0, false);
    let space = Space::new(rig, driver, 0);
    let refused = install(driver, &slot, Some(1), &space.translation());
    assert!(refused.is_err(), "installed for a PASID, which there are not");
    stays_out(rig.device(source.0).write(Some(1), AT), "a PASID, which there are not");
    rig.settled();
    true
}

struct Several<B: Bench> {
    slot: Slot,
    bits: u8,
    rid: Space<B::Platform>,
    spaces: [Space<B::Platform>; 2],
    pages: [u64; 3],
}

fn several<B: Bench>(rig: &Rig<B>, driver: &Arc<dyn Driver>, ats: bool) -> Several<B> {
    let bits = rig.facts.pasid_bits.min(8);
    let make = || Space::new(rig, driver, bits);
    let (rid, spaces) = (make(), [make(), make()]);
    let granule = rid.granule();
    let pages = [0, 1, 2].map(|_| rig.memory(granule));
    rid.map(AT, pages[0], granule);
    spaces[0].map(AT, pages[1], granule);
    spaces[1].map(AT, pages[2], granule);
    let slot = claim(driver, rig.facts.sources[0], bits, ats);
    Several { slot, bits, rid, spaces, pages }
}

/// Each PASID and requests without one reach their own, the first and the last PASID that was claimed among them; those that
/// nothing was installed for reach nothing.
pub fn each_pasid_is_its_own<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    if there_are_none(&rig, &driver) {
        return;
    }
    let ats = rig.facts.ats;
    let device = if ats { rig.caching(rig.facts.sources[0]) } else { rig.device(rig.facts.sources[0]) };
    let Several { slot, bits, rid, spaces, pages } = several(&rig, &driver, ats);
    let last = (1 << bits) - 1;
    put(&driver, &slot, None, &rid.translation());
    put(&driver, &slot, Some(1), &spaces[0].translation());
    stays_out(device.write(Some(last), AT), "nothing installed yet");
    put(&driver, &slot, Some(last), &spaces[1].translation());
    for (pasid, page) in [(None, pages[0]), (Some(1), pages[1]), (Some(last), pages[2])] {
        assert_eq!(device.write(pasid, AT), Reach::To(page), "PASID {pasid:?}");
        stays_out(device.write(pasid, page), "a physical address");
    }
    stays_out(device.write(Some(2), AT), "nothing was installed for it");
    stays_out(device.write(Some(last + 1), AT), "beyond what was claimed");
    let wide = install(&driver, &slot, Some(last + 1), &spaces[0].translation());
    assert!(matches!(wide, Err(Refused::Pasid { .. })), "{wide:?}");
    // One goes, the others do not notice.
    block(&driver, &slot, Some(1));
    stays_out(device.write(Some(1), AT), "blocked");
    assert_eq!(device.write(Some(last), AT), Reach::To(pages[2]));
    assert_eq!(device.write(None, AT), Reach::To(pages[0]));
    put(&driver, &slot, Some(1), &spaces[1].translation());
    assert_eq!(device.write(Some(1), AT), Reach::To(pages[2]), "two PASIDs on one table");
    // What is taken out of a table is taken from all who use it.
    let atc =
        [crate::rig::target(device.source().0, Some(1)), crate::rig::target(device.source().0, Some(last))];
    spaces[1].take_out(AT, spaces[1].granule(), if ats { &atc } else { &[] });
    stays_out(device.write(Some(1), AT), "unmapped");
    stays_out(device.write(Some(last), AT), "unmapped");
    rig.settled();
}

/// Blocking the source blocks every PASID behind it, and they stay blocked when the source comes back.
pub fn a_blocked_source_blocks_its_pasids<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    if there_are_none(&rig, &driver) {
        return;
    }
    let ats = rig.facts.ats;
    let device = if ats { rig.caching(rig.facts.sources[0]) } else { rig.device(rig.facts.sources[0]) };
    let Several { slot, rid, spaces, pages, .. } = several(&rig, &driver, ats);
    // A PASID without anything for requests that carry none.
    put(&driver, &slot, Some(1), &spaces[0].translation());
    assert_eq!(device.write(Some(1), AT), Reach::To(pages[1]));
    stays_out(device.write(None, AT), "no table for requests without a PASID");
    stays_out(device.write(None, pages[1]), "no identity either");
    put(&driver, &slot, None, &rid.translation());
    put(&driver, &slot, Some(2), &spaces[1].translation());
    block(&driver, &slot, None);
    for pasid in [None, Some(1), Some(2)] {
        stays_out(device.write(pasid, AT), "the source is blocked");
    }
    put(&driver, &slot, None, &rid.translation());
    assert_eq!(device.write(None, AT), Reach::To(pages[0]));
    stays_out(device.write(Some(1), AT), "blocked until it is installed again");
    put(&driver, &slot, Some(2), &spaces[0].translation());
    assert_eq!(device.write(Some(2), AT), Reach::To(pages[1]), "not what it had before");
    release(&driver, slot);
    for pasid in [None, Some(1), Some(2)] {
        stays_out(device.write(pasid, AT), "released");
    }
    rid.end();
    spaces.into_iter().for_each(Space::end);
    rig.settled();
}

/// Between any two steps of a PASID's change, its requests see the old, the new or nothing, and nobody else notices.
pub fn pasids_change_hitless_step_by_step<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    if there_are_none(&rig, &driver) {
        return;
    }
    let device = rig.device(rig.facts.sources[0]);
    let Several { slot, rid, spaces, pages, .. } = several(&rig, &driver, false);
    put(&driver, &slot, None, &rid.translation());
    put(&driver, &slot, Some(2), &rid.translation());
    let changes: [(Option<usize>, &[u64]); 6] = [
        (Some(0), &pages[1..2]),
        (Some(1), &pages[1..]),
        (None, &pages[2..]),
        (Some(1), &pages[2..]),
        (Some(0), &pages[1..]),
        (None, &pages[1..2]),
    ];
    for (to, allowed) in changes {
        let (device, allowed, page) = (device.clone(), allowed.to_vec(), pages[0]);
        let look = move || {
            let reach = device.write(Some(1), AT);
            let sound =
                matches!(reach, Reach::Blocked) || allowed.iter().any(|page| reach == Reach::To(*page));
            let others = [device.write(None, AT), device.write(Some(2), AT)];
            let kept = others.iter().all(|other| *other == Reach::To(page) || *other == Reach::Blocked);
            (!sound || !kept).then(|| format!("PASID 1 to {reach:x?}, the others to {others:x?}"))
        };
        let ((), seen) = rig.between_steps(look, || match to {
            Some(n) => put(&driver, &slot, Some(1), &spaces[n].translation()),
            None => block(&driver, &slot, Some(1)),
        });
        assert!(seen.is_empty(), "{to:?}: {seen:?}");
        for pasid in [None, Some(2)] {
            assert_eq!(rig.device(rig.facts.sources[0]).write(pasid, AT), Reach::To(pages[0]), "the others");
        }
    }
    rig.settled();
}

/// The table for requests without a PASID changes beside PASIDs, which do not notice.
pub fn a_source_changes_beside_its_pasids<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    if there_are_none(&rig, &driver) {
        return;
    }
    let ats = rig.facts.ats;
    let device = if ats { rig.caching(rig.facts.sources[0]) } else { rig.device(rig.facts.sources[0]) };
    let Several { slot, rid, spaces, pages, .. } = several(&rig, &driver, ats);
    put(&driver, &slot, Some(1), &spaces[0].translation());
    for round in 0..3 {
        put(&driver, &slot, None, &rid.translation());
        assert_eq!(device.write(None, AT), Reach::To(pages[0]), "round {round}");
        assert_eq!(device.write(Some(1), AT), Reach::To(pages[1]));
        put(&driver, &slot, None, &spaces[1].translation());
        assert_eq!(device.write(None, AT), Reach::To(pages[2]), "round {round}");
        assert_eq!(device.write(Some(1), AT), Reach::To(pages[1]));
    }
    rig.settled();
}
