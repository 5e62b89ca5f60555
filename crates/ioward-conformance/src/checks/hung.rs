//! Hardware that stops, loses and delays: every call ends, nothing is confirmed that is not so, and what is left is blocked.

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::{AT, sampled},
    endpoint::Reach,
    middleware::{AllOnes, Lagging, Lossy, Stuck, Trace},
    rig::{block, claim, install, put, stays_out, untag},
    space::Space,
};
use ioward_core::driver::{Blocked, Claim, Refused};
use ioward_types::SourceId;
use std::sync::Arc;

/// Commands are not consumed: every call ends in an error that says so, entries are blocked as far as memory says, and once
/// the hardware goes on everything works again.
pub fn a_queue_that_stops_ends_every_call<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, slot, device, granule, page } = Scene::new(make);
    let in_memory = rig.facts.stores_are_seen;
    let [_, second, third] = rig.facts.sources;
    let other = claim(&driver, second, 0, false);
    let fresh = Space::new(&rig, &driver, 0);
    fresh.map(AT, page, granule);
    rig.bench.hang(true);
    rig.steps.restart();
    if space.table().is_some() {
        let taken = space.unmap(AT, granule);
        assert!(driver.flush(&[space.flush_of(&taken, &[])]).is_err(), "a flush of hung hardware");
    }
    // Where there is nothing that caches could hold of what is blocked, no answer is needed.
    let installed = install(&driver, &other, None, &fresh.translation());
    match &installed {
        Ok(()) => assert_eq!(rig.device(second).write(None, AT), Reach::To(page), "installed, it says"),
        Err(refused) => assert!(matches!(refused, Refused::Hung(_)), "{refused}"),
    }
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)), "a block of hung hardware");
    let claimed = driver.claim(&Claim { source: SourceId(third), pasid_bits: 0, ats: false });
    assert!(matches!(claimed, Ok(_) | Err(Refused::Hung(_))), "{claimed:?}");
    driver.poll(&mut |_| {});
    if in_memory {
        rig.bench.evict();
        stays_out(device.write(None, AT), "blocked, though caches are unknown");
        if installed.is_err() {
            stays_out(rig.device(second).write(None, AT), "an install that failed");
        }
    }
    // Nothing is cached under a tag that no entry ever had, so nobody need be asked; if somebody is, that ends.
    let unused = Space::new(&rig, &driver, 0);
    let _ = untag(&driver, unused.tag);

    rig.bench.hang(false);
    rig.bench.evict();
    block(&driver, &slot, None);
    block(&driver, &other, None);
    stays_out(device.write(None, AT), "confirmed now");
    stays_out(rig.device(second).write(None, AT), "confirmed now");
    put(&driver, &other, None, &fresh.translation());
    assert_eq!(rig.device(second).write(None, AT), Reach::To(page), "it goes on");
    fresh.take_out(AT, granule, &[]);
    stays_out(rig.device(second).write(None, AT), "it goes on");
    rig.lawful();
}

/// A release that was not confirmed leaves the entry blocked, and who claims it next inherits nothing.
pub fn a_release_of_hung_hardware_leaves_nothing<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, slot, device, .. } = Scene::new(make);
    let source = device.source().0;
    rig.bench.hang(true);
    assert!(matches!(driver.release(slot, false), Blocked::Unconfirmed(_)), "a release of hung hardware");
    if rig.facts.stores_are_seen {
        rig.bench.evict();
        stays_out(device.write(None, AT), "the entry is blocked");
    }
    rig.bench.hang(false);
    let slot = claim(&driver, source, 0, rig.facts.ats);
    stays_out(device.write(None, AT), "claimed anew");
    block(&driver, &slot, None);
    stays_out(device.write(None, AT), "and blocked");
    rig.lawful();
}

/// What a driver says of a call.
type Said = (&'static str, bool);

/// Calls on a scene, each with what must be true if it is confirmed.
const CALLS: [&str; 4] = ["flush", "block", "release", "install"];

/// Makes a call; tells whether it was confirmed.
fn call<B: Bench>(scene: Scene<B>, name: &str) -> (Said, Box<dyn FnOnce()>) {
    let Scene { rig, driver, space, slot, device, granule, page } = scene;
    let atc = if device.is_ats_on() { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    let confirmed;
    let after: Box<dyn FnOnce(&crate::Endpoint)>;
    match name {
        "flush" => {
            let taken = match space.table() {
                Some(_) => space.unmap(AT, granule),
                None => return (("flush", false), Box::new(|| {})),
            };
            confirmed = driver.flush(&[space.flush_of(&taken, &atc)]).is_ok();
            after = Box::new(|device| stays_out(device.write(None, AT), "a flush was confirmed"));
        }
        "block" => {
            confirmed = driver.block(&slot, None) == Blocked::Confirmed;
            after = Box::new(|device| stays_out(device.write(None, AT), "a block was confirmed"));
        }
        "release" => {
            confirmed = driver.release(slot, false) == Blocked::Confirmed;
            after = Box::new(|device| stays_out(device.write(None, AT), "a release was confirmed"));
        }
        _ => {
            // Nothing is mapped in the other one.
            let other = Space::planned(&rig, &driver, space.plan);
            let Ok(other) = other else { return (("install", false), Box::new(|| {})) };
            confirmed = install(&driver, &slot, None, &other.translation()).is_ok();
            let _ = page;
            after = Box::new(|device| stays_out(device.write(None, AT), "another table was installed"));
            std::mem::forget(other);
        }
    }
    let name = CALLS.iter().find(|call| **call == name).copied().unwrap_or("?");
    std::mem::forget(space);
    (
        (name, confirmed),
        Box::new(move || {
            rig.registers.restore();
            after(&device);
            drop((rig, driver));
        }),
    )
}

/// Register accesses and writes of each call on sound hardware.
fn traffic<B: Bench>(make: &dyn Fn() -> B, name: &str) -> Arc<crate::middleware::Seen> {
    let scene = Scene::new(make);
    let seen = Arc::default();
    let into = Arc::clone(&seen);
    scene.rig.registers.interpose(|under| Trace::new(under, into));
    let ((_, confirmed), check) = call(scene, name);
    assert!(confirmed || name == "flush", "{name} on sound hardware");
    check();
    seen
}

/// Whatever single register write is lost, calls end, and what they confirm is so.
pub fn a_lost_write_is_never_confirmed<B: Bench>(make: &dyn Fn() -> B) {
    for name in CALLS {
        for nth in sampled(traffic(make, name).writes()) {
            let scene = Scene::new(make);
            scene.rig.registers.interpose(|under| Lossy::nth(under, nth));
            let ((_, confirmed), check) = call(scene, name);
            if confirmed {
                check();
            }
        }
    }
}

/// However late registers tell what is new, calls that end in success have done what they say.
pub fn late_completions_are_waited_for<B: Bench>(make: &dyn Fn() -> B) {
    for name in CALLS {
        for lag in [1, 2, 5, 40] {
            let scene = Scene::new(make);
            scene.rig.registers.interpose(|under| Lagging::new(under, lag));
            let ((_, confirmed), check) = call(scene, name);
            if confirmed {
                check();
            }
        }
    }
}

/// Whatever register that a call reads never changes, the call ends, and what it confirms is so.
pub fn bits_that_never_set_end_every_call<B: Bench>(make: &dyn Fn() -> B) {
    for name in CALLS {
        for (at, first) in traffic(make, name).reads() {
            for value in [first, 0] {
                let scene = Scene::new(make);
                scene.rig.registers.interpose(|under| Stuck::new(under, at, u64::MAX, value));
                scene.rig.steps.restart();
                let ((_, confirmed), check) = call(scene, name);
                if confirmed {
                    check();
                }
            }
        }
    }
}

/// At whatever access of a call the IOMMU leaves the bus, the call ends, what it confirms is so, and every later call ends
/// too.
pub fn an_iommu_that_goes_away_ends_every_call<B: Bench>(make: &dyn Fn() -> B) {
    for name in CALLS {
        for after in sampled(traffic(make, name).accesses()) {
            let scene = Scene::new(make);
            scene.rig.registers.interpose(|under| AllOnes::after(under, after));
            scene.rig.steps.restart();
            let driver = scene.driver.clone();
            let (source, plan) = (scene.rig.facts.sources[1], scene.space.plan);
            let ((_, confirmed), check) = call(scene, name);
            // Everything else, of an IOMMU that is not there.
            driver.poll(&mut |_| {});
            if let Ok(slot) = driver.claim(&Claim { source: SourceId(source), pasid_bits: 0, ats: false }) {
                let _ = driver.block(&slot, None);
                let _ = driver.release(slot, true);
            }
            if let Ok(tag) = driver.tag(&plan) {
                let _ = untag(&driver, tag);
            }
            driver.poll(&mut |_| {});
            if confirmed {
                check();
            }
        }
    }
}
