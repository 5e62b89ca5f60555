//! Lazy domains: what is released waits for a flush that others share, and is nobody's until then.

use crate::{Bench, PAGE, counting, help};
use ioward::core::{
    Dma, FlushMode, FrameBuffer, Policy, Status,
    space::{AFTER, QUEUED},
};
use ioward::types::{Direction, Iova, Nanos, Platform as _};
use ioward_machine::Rig;
use ioward_models::DmaError;

fn lazy() -> Policy {
    Policy { flush: FlushMode::Lazy, ..Policy::default() }
}

fn benches() -> Vec<Bench> {
    let benches = Bench::all_under(lazy, 64, &[]);
    assert!(benches.iter().all(|bench| bench.bound.dma().flush_mode() == FlushMode::Lazy));
    benches
}

/// A mapped page that the device has read, so that its IOMMU has it cached; and where it is.
fn warm(bench: &Bench) -> (Iova, help::Mapped) {
    let mapping = help::map(&bench.rig, &bench.bound, b"warm");
    assert_eq!(bench.reads(mapping.iova(), 4).unwrap(), b"warm", "{bench}");
    (mapping.iova(), mapping)
}

/// Lets the time pass in which the queues are to be flushed, and polls.
fn later(bench: &Bench) {
    bench.rig.platform.advance(AFTER);
    let next = bench.rig.subsystem.poll(&[], &mut |_| {}).expect("there is a lazy domain");
    assert!(next.0 <= bench.rig.platform.now().0 + AFTER.0);
}

#[test]
fn what_is_released_stays_whole_until_the_flush_and_is_out_of_reach_after_it() {
    for bench in benches() {
        later(&bench);
        let (at, mapping) = warm(&bench);
        let held = bench.held();
        mapping.release().unwrap();
        let stats = bench.bound.dma().stats();
        assert_eq!((stats.live_mappings, stats.queued), (0, 1), "{bench}");
        assert_eq!(bench.held(), held, "{bench}: the queue owns it");
        // Cached or not: what is reached is the page, which nobody else has.
        let _ = bench.nic.write(None, at, b"late");
        let again: Vec<_> = (0..64).map(|_| warm(&bench)).collect();
        assert!(again.iter().all(|(other, _)| *other != at), "{bench}: its IOVA is not allocated");
        drop(again);
        let queued = bench.bound.dma().stats().queued;
        assert_eq!(queued, 65, "{bench}");

        bench.rig.subsystem.poll(&[], &mut |_| {});
        assert_eq!(bench.bound.dma().stats().queued, queued, "{bench}: it is not due");
        later(&bench);
        assert_eq!(bench.bound.dma().stats().queued, 0, "{bench}");
        assert_eq!(bench.nic.write(None, at, b"more"), Err(DmaError::Aborted(at)), "{bench}");
        assert_eq!(bench.held().1, held.1 - PAGE as u64, "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn a_full_queue_is_flushed_once_for_all() {
    for bench in benches() {
        let before = bench.held();
        let flushes = bench.bound.dma().stats().flushes;
        let places: Vec<Iova> = (0..QUEUED)
            .map(|_| {
                let (at, mapping) = warm(&bench);
                drop(mapping);
                at
            })
            .collect();
        let stats = bench.bound.dma().stats();
        assert_eq!((stats.queued as usize, stats.flushes - flushes), (QUEUED, 0), "{bench}");
        let (_, one_more) = warm(&bench);
        one_more.release().unwrap();
        let stats = bench.bound.dma().stats();
        assert_eq!((stats.queued, stats.flushes - flushes), (1, 1), "{bench}");
        for at in places {
            assert_eq!(bench.reads(at, 1), Err(DmaError::Aborted(at)), "{bench}");
        }
        bench.bound.dma().trim();
        assert_eq!(bench.bound.dma().stats().queued, 0, "{bench}");
        assert_eq!(bench.held().1, before.1, "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn tables_that_came_off_stay_until_the_flush() {
    for bench in benches() {
        let bytes = 6 << 20;
        let map = || {
            // Not aligned so that large pages fit: tables of small pages it is.
            let _odd = FrameBuffer::new(&bench.rig.platform, PAGE, PAGE).unwrap();
            let buffer = FrameBuffer::new(&bench.rig.platform, bytes, PAGE).unwrap();
            Dma::map(bench.bound.dma().clone(), buffer, Direction::Both).map_err(|(error, _)| error).unwrap()
        };
        map().unmap().unwrap();
        let before = bench.rig.memory.allocated();
        let mapping = map();
        let at = mapping.iova();
        for page in (0..bytes).step_by(64 * PAGE) {
            bench.nic.write(None, Iova(at.0 + page as u64), b"walk caches are warm").unwrap();
        }
        let held = bench.rig.memory.allocated();
        mapping.release().unwrap();
        assert_eq!(bench.rig.memory.allocated(), held, "{bench}: tables and pages");
        for page in (PAGE..bytes).step_by(16 * PAGE) {
            // By a walk cache that still has the table, or not at all; the model reports a walk of what is freed.
            let _ = bench.nic.write(None, Iova(at.0 + page as u64), b"late");
        }
        later(&bench);
        assert!(bench.rig.memory.allocated() <= before, "{bench}: given back");
        for page in (0..bytes).step_by(16 * PAGE) {
            let at = Iova(at.0 + page as u64);
            assert_eq!(bench.reads(at, 1), Err(DmaError::Aborted(at)), "{bench}");
        }
        bench.rig.violations.assert_none();
    }
}

#[test]
fn who_wants_the_buffer_back_waits_for_the_flush() {
    for bench in benches() {
        let (at, mapping) = warm(&bench);
        bench.nic.write(None, at, b"seen").unwrap();
        mapping.sync_for_cpu();
        let mut seen = [0; 4];
        mapping.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"seen", "{bench}");
        let buffer = mapping.unmap().unwrap();
        assert_eq!(bench.nic.write(None, at, b"late"), Err(DmaError::Aborted(at)), "{bench}");
        assert!(buffer.read(0, &mut seen));
        assert_eq!((&seen, bench.bound.dma().stats().queued), (b"seen", 0), "{bench}");

        // What is in frames altogether comes back at once, with what was written; the frames wait.
        let mapping = Dma::map_bytes(bench.bound.dma().clone(), counting(100), Direction::Both);
        let mapping = mapping.map_err(|(error, _)| error).unwrap();
        let at = mapping.iova();
        bench.nic.write(None, at, b"in time").unwrap();
        let bytes = mapping.unmap().unwrap();
        assert_eq!(&bytes[..7], b"in time", "{bench}");
        assert_eq!(bench.bound.dma().stats().queued, 1, "{bench}");
        let _ = bench.nic.write(None, at, b"too late");
        assert_eq!(&bytes[..7], b"in time", "{bench}");
        bench.bound.dma().trim();
        assert_eq!(bench.nic.write(None, at, b"late"), Err(DmaError::Aborted(at)), "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn what_waits_is_withheld_where_the_flush_is_not_confirmed() {
    // With tables and with requests: what a queue does with an answer that does not come is the same for all tables, and
    // each wait takes its time.
    for bench in benches().into_iter().step_by(2 * help::KINDS.len()) {
        let mappings: Vec<_> = (0..5).map(|_| warm(&bench).1).collect();
        let held = bench.held();
        // A request is answered when it is made, so the hang comes before.
        bench.rig.model(ioward::types::IommuId(0)).unwrap().set_hung(true);
        mappings.into_iter().for_each(|mapping| mapping.release().unwrap());
        assert_eq!(bench.bound.dma().stats().queued, 5, "{bench}");
        later(&bench);
        let stats = bench.bound.dma().stats();
        assert_eq!((stats.queued, stats.quarantined), (0, 5 * PAGE as u64), "{bench}");
        assert_eq!(bench.held(), held, "{bench}: never reused");
        assert!(!bench.nic.engines[0].is_bus_master(), "{bench}: silenced");
    }
}

#[test]
fn a_domain_that_goes_takes_its_queue_along() {
    for bench in benches() {
        let (at, mapping) = warm(&bench);
        let before = bench.rig.memory.allocated();
        drop(mapping);
        let Bench { bound, nic, rig, name } = bench;
        drop(bound);
        drop(nic.device);
        assert!(rig.memory.allocated() < before, "{name}: its page, and its tables");
        assert_eq!(nic.engines[0].write(None, at, b"late"), Err(DmaError::Aborted(at)), "{name}");
        assert_eq!(rig.subsystem.poll(&[], &mut |_| {}), None, "{name}: nobody is lazy any more");
        rig.violations.assert_none();
    }
}

#[test]
fn a_device_that_is_not_trusted_is_never_served_lazily() {
    for kind in help::KINDS {
        let mut rig = Rig::new(lazy());
        help::add(&mut rig, 0, kind);
        rig.start(0).unwrap();
        let port = rig.device("port", &[(0, 8)], false, |desc| desc.trusted = false);
        assert_eq!(port.device.bind().unwrap().dma().flush_mode(), FlushMode::Strict, "{kind:?}");

        // One comes into a group that is in use: what waits is flushed, and nothing waits any more.
        let joins = [help::source(0, 0x10), help::source(0, 0x11)];
        let nic = rig.device("nic", &[(0, 0x10)], false, |desc| desc.joins = &joins);
        let bound = nic.device.bind().unwrap();
        let flush = || (bound.dma().flush_mode(), bound.dma().stats().queued);
        let map = |text: &[u8]| help::map(&rig, &bound, text);
        drop(map(b"waits"));
        assert_eq!(flush(), (FlushMode::Lazy, 1), "{kind:?}");
        let dock = rig.device("dock", &[(0, 0x11)], false, |desc| {
            desc.trusted = false;
            desc.joins = &joins;
        });
        assert_eq!(dock.device.status(), Status::Served, "{kind:?}");
        assert_eq!(flush(), (FlushMode::Strict, 0), "{kind:?}");
        let mapping = map(b"seen");
        let at = mapping.iova();
        assert!(help::reads(&dock, None, &mapping, b"seen"), "{kind:?}");
        drop(mapping);
        assert_eq!(dock.write(None, at, b"late"), Err(DmaError::Aborted(at)), "{kind:?}");
        assert_eq!(flush(), (FlushMode::Strict, 0), "{kind:?}");
        rig.violations.assert_none();
    }
}

#[test]
fn a_policy_chooses_by_group_and_strict_is_the_default() {
    let by_group = |group: &ioward::core::GroupView| {
        group.names.iter().any(|name| name == "nic").then_some(FlushMode::Lazy)
    };
    let mut rig = Rig::new(Policy { flush_by_group: Some(Box::new(by_group)), ..Policy::default() });
    help::add(&mut rig, 0, help::Kind::Vtd);
    rig.start(0).unwrap();
    let mode = |name, source| {
        let device = rig.device(name, &[(0, source)], false, |_| {}).device;
        device.bind().unwrap().dma().flush_mode()
    };
    assert_eq!((mode("nic", 8), mode("disk", 9)), (FlushMode::Lazy, FlushMode::Strict));
    assert!(rig.platform.now() > Nanos(0));
}

#[test]
fn a_group_behind_two_iommus_waits_for_both() {
    let mut rig = Rig::new(lazy());
    help::add(&mut rig, 0, help::Kind::Smmu);
    help::add(&mut rig, 1, help::Kind::Amd);
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    let joins = [help::source(0, 0x10), help::source(1, 0x11)];
    let near = rig.device("near", &[(0, 0x10)], true, |desc| desc.joins = &joins);
    let far = rig.device("far", &[(1, 0x11)], true, |desc| desc.joins = &joins);
    let bound = near.device.bind().unwrap();
    let mapping = help::map(&rig, &bound, b"both");
    let at = mapping.iova();
    for endpoint in [&near, &far] {
        assert!(help::reads(endpoint, None, &mapping, b"both"));
    }
    mapping.release().unwrap();
    assert_eq!(bound.dma().stats().queued, 1);
    rig.platform.advance(AFTER);
    rig.subsystem.poll(&[], &mut |_| {});
    for endpoint in [&near, &far] {
        assert_eq!(endpoint.write(None, at, b"late"), Err(DmaError::Aborted(at)));
    }
    rig.violations.assert_none();
}
