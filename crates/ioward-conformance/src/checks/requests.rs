//! Mappings by request, where there are no tables: [`MapRequests`](ioward_core::driver::MapRequests).

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::AT,
    endpoint::Reach,
    rig::{Rig, block, claim, put, stays_out},
    space::Space,
};
use ioward_types::{Attributes, Iova, PhysAddr, Span};

/// None where the mode has tables; then requests must not be offered either.
fn scene<B: Bench>(make: &dyn Fn() -> B) -> Option<Scene<B>> {
    let rig = Rig::new(make);
    if rig.facts.plain.is_some() {
        assert!(rig.cold().requests().is_none(), "the mode has tables, and mappings by request are offered");
        return None;
    }
    Some(Scene::new(make))
}

/// A request that cannot be served is refused, and what was mapped stays as it was.
pub fn what_cannot_be_mapped_is_refused<B: Bench>(make: &dyn Fn() -> B) {
    let Some(Scene { rig, driver, space, device, granule, page, .. }) = scene(make) else { return };
    let requests = driver.requests().expect("the mode has no tables");
    let other = rig.memory(granule);
    let to = |start, bytes| Span { start: PhysAddr(start), bytes };
    let how = Attributes::READ_WRITE;
    for (at, to, what) in [
        (AT, to(other, granule), "something is mapped there"),
        (AT + granule / 2, to(other, granule), "no multiple of the page"),
        (AT + granule, to(other + granule / 2, granule), "no multiple of the page"),
        (AT + granule, to(other, granule / 2), "a part of a page"),
        (AT + granule, to(other, 0), "nothing"),
    ] {
        assert!(requests.map(space.tag, Iova(at), to, how).is_err(), "{what}: {at:#x} to {to}");
    }
    assert_eq!(device.write(None, AT), Reach::To(page));
    stays_out(device.write(None, AT + granule), "refused");
    rig.settled();
}

/// Several mappings, unmapped one by one and together; holes are no mistake.
pub fn unmapped_is_unmapped_at_once<B: Bench>(make: &dyn Fn() -> B) {
    let Some(Scene { rig, driver, space, device, granule, page, slot }) = scene(make) else { return };
    let requests = driver.requests().expect("the mode has no tables");
    for n in 1..8 {
        space.map(AT + 2 * n * granule, page, granule);
    }
    let span = |first: u64, count: u64| Span { start: Iova(AT + first * granule), bytes: count * granule };
    assert_eq!(requests.unmap(space.tag, span(2, 1)), Ok(()));
    stays_out(device.write(None, AT + 2 * granule), "unmapped");
    assert_eq!(requests.unmap(space.tag, span(3, 6)), Ok(()));
    for n in [4, 6, 8] {
        stays_out(device.write(None, AT + n * granule), "unmapped with its neighbours");
    }
    for n in [0, 10, 14] {
        assert_eq!(device.write(None, AT + n * granule), Reach::To(page), "not in the span");
    }
    assert_eq!(requests.unmap(space.tag, span(100, 1)), Ok(()), "nothing there");
    assert_eq!(requests.unmap(space.tag, Span { start: Iova(0), bytes: 1 << 40 }), Ok(()), "all of it");
    for n in [0, 10, 12, 14] {
        stays_out(device.write(None, AT + n * granule), "unmapped with all");
    }
    // What is mapped while nobody is attached is there for who comes.
    block(&driver, &slot, None);
    space.map(AT, page, granule);
    put(&driver, &slot, None, &space.translation());
    assert_eq!(device.write(None, AT), Reach::To(page), "mapped while detached");
    rig.settled();
}

/// Two sources on one space see the same mappings; one on another sees none of them.
pub fn a_space_is_shared_by_who_is_attached<B: Bench>(make: &dyn Fn() -> B) {
    let Some(Scene { rig, driver, space, granule, page, .. }) = scene(make) else { return };
    let [_, second, third] = rig.facts.sources;
    let apart = Space::new(&rig, &driver, 0);
    put(&driver, &claim(&driver, second, 0, false), None, &space.translation());
    put(&driver, &claim(&driver, third, 0, false), None, &apart.translation());
    assert_eq!(rig.device(second).write(None, AT), Reach::To(page));
    stays_out(rig.device(third).write(None, AT), "another space");
    space.map(AT + granule, page, granule);
    assert_eq!(rig.device(second).write(None, AT + granule), Reach::To(page));
    space.take_out(AT, granule, &[]);
    stays_out(rig.device(second).write(None, AT), "unmapped for all");
    rig.settled();
}
