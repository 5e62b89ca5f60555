//! The command queue: more commands than it has slots, from several CPUs, and around its end.

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::AT,
    endpoint::Reach,
    rig::{Rig, claim, put, stays_out},
    space::Space,
};
use ioward_core::driver::Flush;
use ioward_types::{Iova, Span};

/// More flushes in one batch than any queue has slots, each of which counts: the first, the last, those where the queue ended.
pub fn more_flushes_than_slots<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, device, granule, page, .. } = Scene::new(make);
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    let count = 2500;
    for place in [0, 1, 255, 256, 511, 1024, count - 1] {
        space.map(AT + granule, page, granule);
        assert_eq!(device.write(None, AT + granule), Reach::To(page));
        let taken = space.unmap(AT + granule, granule);
        let this = space.flush_of(&taken, &atc);
        let far = Span { start: Iova(AT + (1 << 32)), bytes: granule };
        let batch: Vec<_> =
            (0..count).map(|n| if n == place { this } else { Flush { span: far, ..this } }).collect();
        assert_eq!(driver.flush(&batch), Ok(()), "{count} at once");
        stays_out(device.write(None, AT + granule), &format!("number {place} of {count}"));
        assert_eq!(device.write(None, AT), Reach::To(page), "not in the batch");
    }
    rig.settled();
}

/// One after another, until every index has come round several times.
pub fn flushes_around_the_end<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, space, device, granule, page, .. } = Scene::new(make);
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    for round in 0..1200 {
        space.map(AT + granule, page, granule);
        assert_eq!(device.write(None, AT + granule), Reach::To(page), "round {round}");
        space.take_out(AT + granule, granule, &atc);
        stays_out(device.write(None, AT + granule), &format!("round {round}"));
    }
    rig.settled();
}

/// Several CPUs at once: each call's own flush is done when it returns.
pub fn several_cpus_flush<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let all: Vec<_> = rig
        .facts
        .sources
        .iter()
        .map(|source| {
            let space = Space::new(&rig, &driver, 0);
            let slot = claim(&driver, *source, 0, false);
            put(&driver, &slot, None, &space.translation());
            (space, rig.device(*source), rig.memory(0x1_0000))
        })
        .collect();
    std::thread::scope(|scope| {
        for (space, device, page) in &all {
            scope.spawn(move || {
                let granule = space.granule();
                for round in 0..100 {
                    let at = AT + round % 7 * granule;
                    space.map(at, *page, granule);
                    assert_eq!(device.write(None, at), Reach::To(*page), "round {round}");
                    space.take_out(at, granule, &[]);
                    stays_out(device.write(None, at), "flushed");
                }
            });
        }
    });
    rig.settled();
}
