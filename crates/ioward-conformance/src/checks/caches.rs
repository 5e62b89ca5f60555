//! Caches of devices: told after the IOMMU, told all, and not waited for without end.

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::{AT, Done},
    endpoint::{Endpoint, Reach},
    middleware::{DeafAtc, SlowAtc, ToldAtc},
    rig::{Rig, block, claim, put, release, stays_out, target},
    space::Space,
};
use ioward_core::driver::{Blocked, Claim, Flush};
use ioward_models::AtcSink;
use ioward_types::{DeviceControl, Iova, SourceId, Span};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Where devices may not have caches, none is let have one.
fn there_are_none<B: Bench>(make: &dyn Fn() -> B) -> bool {
    let rig = Rig::new(make);
    if rig.facts.ats {
        return false;
    }
    let driver = rig.cold();
    let source = SourceId(rig.facts.sources[0]);
    let refused = driver.claim(&Claim { source, pasid_bits: 0, ats: true });
    assert!(refused.is_err(), "ATS, which there is not");
    // One that claims to have translated its address itself is not believed.
    let device = rig.caching(source.0);
    let space = Space::new(&rig, &driver, 0);
    let page = rig.memory(space.granule());
    space.map(AT, page, space.granule());
    put(&driver, &claim(&driver, source.0, 0, false), None, &space.translation());
    space.take_out(AT, space.granule(), &[]);
    stays_out(device.write(None, AT), "unmapped, and no cache may have it");
    true
}

/// A device with a cache, which the IOMMU reaches through `over`.
fn caching<B: Bench>(rig: &Rig<B>, over: impl FnOnce(Arc<dyn AtcSink>) -> Arc<dyn AtcSink>) -> Endpoint {
    let device = Endpoint::with_atc(rig.model.clone(), rig.facts.sources[0], over);
    device.ats(Some(12));
    device
}

/// A flush reaches the devices that it names, with PASID and without.
pub fn a_flush_reaches_devices<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let Scene { rig, driver, space, device, granule, page, .. } = Scene::new(make);
    let source = device.source().0;
    let memory = rig.memory(granule);
    for n in 1..40 {
        space.map(AT + n * granule, memory, granule);
        assert_eq!(device.write(None, AT + n * granule), Reach::To(memory));
    }
    for (first, count) in [(1, 1), (2, 2), (5, 3), (9, 7), (16, 16)] {
        space.take_out(AT + first * granule, count * granule, &[target(source, None)]);
        for n in first..first + count {
            stays_out(device.write(None, AT + n * granule), "a page that the device had");
        }
    }
    assert_eq!(device.write(None, AT), Reach::To(page), "a neighbour");
    // The whole address space.
    let taken = space.unmap(AT, granule);
    let span = Span::inclusive(Iova(0), Iova(space.last())).unwrap_or(taken.span);
    let targets = [target(source, None)];
    let flush = Flush { span, ..space.flush_of(&taken, &targets) };
    assert_eq!(driver.flush(&[flush]), Ok(()));
    stays_out(device.write(None, AT), "all was flushed");
    rig.settled();

    let bits = rig.facts.pasid_bits.min(4);
    if bits == 0 {
        return;
    }
    let source = rig.facts.sources[1];
    let device = rig.caching(source);
    let space = Space::new(&rig, &driver, bits);
    space.map(AT, page, granule);
    let slot = claim(&driver, source, bits, true);
    put(&driver, &slot, Some(1), &space.translation());
    put(&driver, &slot, Some(2), &space.translation());
    for pasid in [1, 2] {
        assert_eq!(device.write(Some(pasid), AT), Reach::To(page));
    }
    space.take_out(AT, granule, &[target(source, Some(1)), target(source, Some(2))]);
    for pasid in [1, 2] {
        stays_out(device.write(Some(pasid), AT), "a page that the device had under a PASID");
    }
    rig.settled();
}

/// The IOMMU forgets before devices do: one that asks again at every instant is not answered from what was to be forgotten.
pub fn the_iommu_forgets_first<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let scene = Scene::new(make);
    let (rig, driver, space, slot) = (&scene.rig, &scene.driver, &scene.space, &scene.slot);
    let look = |device: Endpoint| {
        move || {
            device.look_ahead(None, AT);
            None
        }
    };
    let atc = scene.atc();
    for round in 0..4 {
        let taken = space.unmap(AT, scene.granule);
        let (flushed, _) = rig.between_steps(look(scene.device.clone()), || space.flush(taken, &atc));
        assert_eq!(flushed, Ok(()));
        stays_out(scene.device.write(None, AT), "the device asked again before the IOMMU had forgotten");
        space.map(AT, scene.page, scene.granule);
        scene.touch();
        let ((), _) = rig.between_steps(look(scene.device.clone()), || block(driver, slot, None));
        stays_out(scene.device.write(None, AT), "blocked, and the device asked again before");
        put(driver, slot, None, &space.translation());
        assert_eq!(scene.device.write(None, AT), Reach::To(scene.page), "round {round}");
    }
    rig.settled();
}

/// A flush may name a device whose source is blocked, or is being blocked and attached all the time: whoever unmaps has read
/// the targets before.
pub fn a_flush_may_name_a_blocked_device<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let Scene { rig, driver, space, slot, device, granule, page } = Scene::new(make);
    let atc = [target(device.source().0, None)];
    block(&driver, &slot, None);
    space.take_out(AT, granule, &atc);
    put(&driver, &slot, None, &space.translation());
    space.map(AT, page, granule);
    assert_eq!(device.write(None, AT), Reach::To(page));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                block(&driver, &slot, None);
                put(&driver, &slot, None, &space.translation());
                std::thread::yield_now();
            }
        });
        let mut wrong = None;
        for round in 0..60 {
            let at = AT + (1 + round % 5) * granule;
            space.map(at, page, granule);
            let _ = device.write(None, at);
            let taken = space.unmap(at, granule);
            let flushed = space.flush(taken, &atc);
            if flushed.is_err() || device.write(None, at) != Reach::Blocked {
                wrong = wrong.or(Some((round, flushed)));
            }
        }
        drop(ends);
        assert_eq!(wrong, None, "sound hardware");
    });
    rig.settled();
}

/// To a device that was pulled nothing is sent, and nothing of it is waited for.
pub fn a_device_that_is_gone_is_told_nothing<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let rig = Rig::new(make);
    let (told, deaf) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, gone) = (told.clone(), deaf.clone());
    let device = caching(&rig, |sink| Arc::new(ToldAtc::new(Arc::new(DeafAtc::new(sink, gone)), count)));
    let scene = Scene::with(rig, device, true);
    deaf.store(true, Ordering::SeqCst);
    told.store(0, Ordering::SeqCst);
    let Scene { rig, driver, space, slot, device, .. } = scene;
    assert_eq!(driver.release(slot, true), Blocked::Confirmed, "nothing that is there has to answer");
    assert_eq!(told.load(Ordering::SeqCst), 0, "commands to a device that was pulled");
    // What comes into its place starts with nothing.
    deaf.store(false, Ordering::SeqCst);
    let _ = device.reset();
    device.bus_master(true);
    stays_out(device.write(None, AT), "in the place of one that was pulled");
    space.end();
    rig.settled();
}

/// A device that does not answer costs a bounded wait and its own confirmation, and nobody else's.
pub fn a_deaf_device_keeps_nobody<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let rig = Rig::new(make);
    let deaf = Arc::new(AtomicBool::new(false));
    let shared = deaf.clone();
    let device = caching(&rig, |sink| Arc::new(DeafAtc::new(sink, shared)));
    let scene = Scene::with(rig, device, true);
    let (rig, driver, granule) = (&scene.rig, &scene.driver, scene.granule);
    let other = rig.facts.sources[1];
    let space = Space::new(rig, driver, 0);
    let slot = claim(driver, other, 0, false);
    put(driver, &slot, None, &space.translation());
    for _ in 0..3 {
        deaf.store(true, Ordering::SeqCst);
        let atc = scene.atc();
        let taken = scene.space.unmap(AT, granule);
        assert!(driver.flush(&[scene.space.flush_of(&taken, &atc)]).is_err(), "a device kept what it had");
        space.map(AT, scene.page, granule);
        assert_eq!(rig.device(other).write(None, AT), Reach::To(scene.page));
        space.take_out(AT, granule, &[]);
        stays_out(rig.device(other).write(None, AT), "unmapped");
        deaf.store(false, Ordering::SeqCst);
        assert_eq!(scene.space.flush(taken, &atc), Ok(()), "it answers again");
        stays_out(scene.device.write(None, AT), "it answers again");
        scene.space.map(AT, scene.page, granule);
        scene.touch();
    }
    deaf.store(true, Ordering::SeqCst);
    assert!(matches!(driver.block(&scene.slot, None), Blocked::Unconfirmed(_)), "it kept what it had");
    deaf.store(false, Ordering::SeqCst);
    block(driver, &scene.slot, None);
    stays_out(scene.device.write(None, AT), "blocked");
    rig.lawful();
}

/// A device that takes its time is waited for.
pub fn a_slow_device_is_waited_for<B: Bench>(make: &dyn Fn() -> B) {
    if there_are_none(make) {
        return;
    }
    let rig = Rig::new(make);
    let platform = rig.platform.clone();
    let device = caching(&rig, |sink| Arc::new(SlowAtc::new(sink, &platform, 300)));
    let scene = Scene::with(rig, device, true);
    scene.space.take_out(AT, scene.granule, &scene.atc());
    stays_out(scene.device.write(None, AT), "unmapped");
    scene.space.map(AT, scene.page, scene.granule);
    scene.touch();
    let Scene { rig, driver, slot, device, .. } = scene;
    release(&driver, slot);
    stays_out(device.write(None, AT), "released");
    rig.settled();
}
