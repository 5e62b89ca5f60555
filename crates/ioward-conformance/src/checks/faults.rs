//! Faults: who, where, what and why; and more of them than a queue holds.

use crate::{
    bench::Bench,
    checks::AT,
    endpoint::{Endpoint, Reach},
    rig::{Rig, claim, put, stays_out},
    space::Space,
};
use ioward_core::driver::{Access, Driver, Event, Fault, FaultCause};
use ioward_types::{Attributes, Iova, Pasid};
use std::sync::Arc;

/// One request, and the one fault that it must leave.
fn one<B: Bench>(
    rig: &Rig<B>,
    driver: &Arc<dyn Driver>,
    device: &Endpoint,
    (pasid, at, access): (Option<u32>, u64, Access),
) -> Fault {
    let _ = rig.events(driver);
    let reach = if access == Access::Write { device.write(pasid, at) } else { device.read(pasid, at) };
    stays_out(reach, "it is to fault");
    let faults = rig.faults(driver);
    assert!(!faults.is_empty(), "no fault is reported of PASID {pasid:?} at {at:#x}, {access:?}");
    assert_eq!(faults.len(), 1, "one request, and {faults:?}");
    let (fault, tells) = (faults[0], rig.facts.faults);
    assert_eq!(fault.source, device.source(), "whose request: {fault:?}");
    if tells.tells_pasid {
        assert_eq!(fault.pasid, pasid.map(Pasid), "which PASID: {fault:?}");
    }
    if tells.address {
        assert_eq!(fault.at, Some(Iova(at)), "which address: {fault:?}");
    }
    if tells.access {
        assert_eq!(fault.access, Some(access), "what it wanted: {fault:?}");
    }
    assert!(!fault.name.is_empty(), "the specification's name");
    fault
}

/// A fault names source, PASID, address, access and cause.
pub fn a_fault_says_who_where_what_and_why<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [first, second, _] = rig.facts.sources;
    let space = Space::new(&rig, &driver, 0);
    let granule = space.granule();
    let page = rig.memory(granule);
    space.map(AT, page, granule);
    space.map_as(AT + granule, page, granule, Attributes::READ);
    put(&driver, &claim(&driver, first, 0, false), None, &space.translation());
    let device = rig.device(first);
    assert_eq!(rig.events(&driver), [], "nothing has happened");
    assert_eq!(device.write(None, AT), Reach::To(page));
    assert_eq!(rig.events(&driver), [], "a request that is translated is no fault");
    for (at, access) in [
        (AT + 2 * granule, Access::Write),
        (AT + 3 * granule, Access::Read),
        (AT + (1 << 34), Access::Write),
        (0, Access::Read),
    ] {
        let fault = one(&rig, &driver, &device, (None, at, access));
        assert_eq!(fault.cause, FaultCause::NotMapped, "{fault:?}");
    }
    let fault = one(&rig, &driver, &device, (None, AT + granule, Access::Write));
    if rig.facts.faults.permission {
        assert_eq!(fault.cause, FaultCause::Permission, "{fault:?}");
    }
    let other = rig.device(second);
    let bits = rig.facts.pasid_bits.min(4);
    if bits > 0 {
        let space = Space::new(&rig, &driver, bits);
        space.map(AT, page, granule);
        let slot = claim(&driver, second, bits, false);
        put(&driver, &slot, Some(5), &space.translation());
        for access in [Access::Read, Access::Write] {
            let fault = one(&rig, &driver, &other, (Some(5), AT + granule, access));
            assert_eq!(fault.cause, FaultCause::NotMapped, "{fault:?}");
        }
        if let Some(cause) = rig.facts.faults.pasid {
            let _ = rig.events(&driver);
            stays_out(other.write(Some(6), AT), "nothing was installed for it");
            let faults = rig.faults(&driver);
            assert!(
                matches!(faults[..], [fault] if fault.source == other.source()
                    && fault.cause == cause),
                "{faults:?}"
            );
        }
    }
    rig.settled();
}

/// A source that is blocked, and one that nobody has claimed, are reported as such where the hardware tells.
pub fn a_blocked_source_is_reported_as_such<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [first, _, third] = rig.facts.sources;
    let slot = claim(&driver, first, 0, false);
    for (source, told) in [(first, rig.facts.faults.blocked), (third, rig.facts.faults.unclaimed)] {
        let device = rig.device(source);
        stays_out(device.write(None, AT), "blocked");
        let faults = rig.faults(&driver);
        if told {
            assert!(
                matches!(faults[..], [fault] if fault.source == device.source()
                    && fault.cause == FaultCause::Blocked
                    && fault.pasid.is_none()),
                "{faults:?}"
            );
        } else {
            assert!(faults.is_empty(), "the mode says that there is no record: {faults:?}");
        }
    }
    crate::rig::release(&driver, slot);
    rig.settled();
}

/// Faults beyond what the queue holds are told to be lost, and those that come afterwards are reported again.
pub fn more_faults_than_a_queue_holds<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let space = Space::new(&rig, &driver, 0);
    put(&driver, &claim(&driver, source, 0, false), None, &space.translation());
    let device = rig.device(source);
    let count = 3000;
    for round in 0..3 {
        for n in 0..count {
            stays_out(device.write(None, AT + n * 0x1_0000), "nothing is mapped");
        }
        let mut all = Vec::new();
        for _ in 0..6 {
            all.extend(rig.events(&driver));
        }
        let faults = all.iter().filter(|event| matches!(event, Event::Fault(_))).count() as u64;
        let lost = all.iter().any(|event| matches!(event, Event::Lost(_)));
        assert!(faults > 0, "round {round}: none of {count}");
        assert!(faults <= count, "round {round}: {faults} of {count}");
        if rig.facts.faults.lost {
            assert!(lost || faults == count, "round {round}: {faults} of {count}, and none lost");
        }
        let all_ours =
            all.iter().all(|event| !matches!(event, Event::Fault(fault) if fault.source.0 != source));
        assert!(all_ours, "a fault of nobody");
        assert_eq!(rig.events(&driver), [], "drained");
        stays_out(device.write(None, AT), "nothing is mapped");
        assert_eq!(rig.faults(&driver).len(), 1, "round {round}: the next one");
    }
    rig.settled();
}

/// A device that faults on and on does not keep a poll, nor a flush of somebody else's.
pub fn faults_without_end_keep_nobody<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [source, other, _] = rig.facts.sources;
    let spaces = [0, 1].map(|_| Space::new(&rig, &driver, 0));
    let page = rig.memory(spaces[0].granule());
    put(&driver, &claim(&driver, source, 0, false), None, &spaces[0].translation());
    put(&driver, &claim(&driver, other, 0, false), None, &spaces[1].translation());
    let (device, sound) = (rig.device(source), rig.device(other));
    let mut count = 0u32;
    let _ = device.write(None, AT);
    driver.poll(&mut |_| {
        count += 1;
        assert!(count < 50_000, "a poll that does not end");
        for _ in 0..2 {
            let _ = device.write(None, AT);
        }
    });
    assert!(count != 0, "the first is reported");
    // Between any two steps of somebody else's flush, too.
    let granule = spaces[1].granule();
    let rogue = device.clone();
    let look = move || {
        for n in 0..30 {
            let _ = rogue.write(None, AT + n * 0x1_0000);
        }
        None
    };
    for _ in 0..3 {
        spaces[1].map(AT, page, granule);
        assert_eq!(sound.write(None, AT), Reach::To(page));
        let (flushed, _) = rig.between_steps(look.clone(), || {
            let taken = spaces[1].unmap(AT, granule);
            spaces[1].flush(taken, &[])
        });
        assert_eq!(flushed, Ok(()));
        stays_out(sound.write(None, AT), "unmapped");
    }
    rig.settled();
}
