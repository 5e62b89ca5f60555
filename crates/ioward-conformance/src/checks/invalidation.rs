//! Flushes: what they cover, what they leave, and what may be freed after them.

use super::scene::Scene;
use crate::{
    bench::Bench,
    checks::{AT, Done},
    endpoint::Reach,
    rig::{Rig, block, claim, put, release, stays_out},
    space::Space,
};
use ioward_core::driver::Flush;
use ioward_types::{Iova, Span, Tag};
use std::sync::atomic::{AtomicBool, Ordering};

/// Every page of a span is forgotten, and none around it is lost: single pages, runs that begin and end anywhere, across
/// tables and as whole tables.
pub fn a_flush_covers_its_span<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, device, granule, .. } = Scene::new(make);
    let per_table = granule / 8;
    let base = AT - AT % (per_table * granule) + per_table * granule;
    let runs = [
        (0, 1),
        (per_table - 1, 1),
        (per_table - 1, 2),
        (3, 61),
        (100, 333),
        (0, per_table),
        (per_table - 2, 5),
        (1, 2 * per_table - 2),
        (0, 2 * per_table),
    ];
    let memory = rig.memory(64 * granule);
    let (before, after) = (base - granule, base + 2 * per_table * granule);
    for at in [before, after] {
        space.map(at, memory, granule);
    }
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    for (first, count) in runs {
        let (first, count) = if granule > 0x1000 { (first % 8, count % 32 + 1) } else { (first, count) };
        let at = |n: u64| base + (first + n) * granule;
        for n in 0..count {
            space.map(at(n), memory + n % 64 * granule, granule);
            // Each page is in the caches, but for a few that are not: nothing is known of those.
            if n % 5 != 3 || count < 8 {
                assert_eq!(device.write(None, at(n)), Reach::To(memory + n % 64 * granule));
            }
        }
        space.take_out(at(0), count * granule, &atc);
        for n in 0..count {
            stays_out(device.write(None, at(n)), &format!("page {n} of {count} from page {first}"));
        }
        for at in [before, after] {
            assert_eq!(
                device.write(None, at),
                Reach::To(memory),
                "a neighbour of {count} pages from {first}"
            );
        }
        rig.settled();
    }
    block(&driver, &claim(&driver, rig.facts.sources[2], 0, false), None);
}

/// The first page and the last of the address space, and all of it at once.
pub fn a_flush_at_the_edges<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, device, granule, page, .. } = Scene::new(make);
    let last = space.last() - granule + 1;
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    for whole in [false, true] {
        for at in [0, last] {
            space.map(at, page, granule);
            assert_eq!(device.write(None, at), Reach::To(page), "{at:#x}");
        }
        if whole {
            let mut taken = [0, last].map(|at| space.unmap(at, granule));
            // One flush for both.
            if let Some(span) = Span::inclusive(Iova(0), Iova(space.last())) {
                taken[0].span = span;
            }
            let flush = Flush { tables_went: true, ..space.flush_of(&taken[0], &atc) };
            assert_eq!(driver.flush(&[flush]), Ok(()), "all of it");
        } else {
            space.take_out(0, granule, &atc);
            assert_eq!(device.write(None, last), Reach::To(page), "the first page went, not the last");
            space.take_out(last, granule, &atc);
        }
        for at in [0, last] {
            stays_out(device.write(None, at), "an edge");
        }
        rig.settled();
    }
}

/// Large pages are forgotten whole, by a flush that knows that leaves are large.
pub fn a_flush_of_large_pages<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, driver, space, device, granule, .. } = Scene::new(make);
    let large = 1 << 21;
    let size = if space.page_sizes() & large != 0 { large } else { 16 * granule };
    let memory = rig.memory(size);
    let base = AT + (1 << 30);
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    for count in [1, 3] {
        for n in 0..count {
            space.map(base + n * size, memory, size);
            for offset in [0, size / 2, size - granule] {
                assert_eq!(device.write(None, base + n * size + offset), Reach::To(memory + offset));
            }
        }
        let taken = space.unmap(base, count * size);
        let leaf = if space.page_sizes() & size != 0 { size } else { granule };
        let flush = Flush { granule: leaf, ..space.flush_of(&taken, &atc) };
        assert_eq!(driver.flush(&[flush]), Ok(()));
        for n in 0..count {
            for offset in [0, size / 2, size - granule] {
                stays_out(device.write(None, base + n * size + offset), "a part of a large page");
            }
        }
        rig.settled();
    }
}

/// A table that went is forgotten by walk caches too: where another one takes its place, that is the one that is walked.
pub fn a_table_that_went_is_walked_no_more<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, space, device, granule, .. } = Scene::new(make);
    let span = granule * (granule / 8);
    let base = (AT + (1 << 30)).next_multiple_of(span);
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    let pages = [0, 1].map(|_| rig.memory(granule));
    for round in 0..6 {
        let page = pages[round % 2];
        space.map(base, page, granule);
        space.map(base + span - granule, page, granule);
        for at in [base, base + span - granule] {
            assert_eq!(device.write(None, at), Reach::To(page), "round {round}");
        }
        // The table goes, its memory is freed, and is likely to be something else soon.
        let taken = space.unmap(base, span);
        assert!(taken.tables_went || space.table().is_none(), "a whole table is taken off");
        assert_eq!(space.flush(taken, &atc), Ok(()));
        for at in [base, base + granule, base + span - granule] {
            stays_out(device.write(None, at), "its table went");
        }
        rig.settled();
    }
}

/// A page that was not there when somebody asked is there once it is mapped, with no more than the flush that the driver asks
/// for.
pub fn a_map_is_seen_by_who_asked_before<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, space, device, granule, page, .. } = Scene::new(make);
    let far = AT + (1 << 34);
    for at in [AT + granule, AT + (1 << 22), far, far + granule] {
        for _ in 0..3 {
            stays_out(device.write(None, at), "not mapped yet");
        }
        space.map(at, page, granule);
        assert_eq!(device.write(None, at), Reach::To(page), "{at:#x} was asked for before it was mapped");
    }
    rig.settled();
}

/// A batch for several address spaces flushes each of them; an empty one, and one for a tag that is nobody's, are no mistake.
pub fn a_batch_flushes_each<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let all: Vec<_> = rig
        .facts
        .sources
        .iter()
        .map(|source| {
            let space = Space::new(&rig, &driver, 0);
            let page = rig.memory(space.granule());
            space.map(AT, page, space.granule());
            space.map(AT + (1 << 21), page, space.granule());
            let slot = claim(&driver, *source, 0, false);
            put(&driver, &slot, None, &space.translation());
            (space, slot, rig.device(*source), page)
        })
        .collect();
    for (.., device, page) in &all {
        assert_eq!(device.write(None, AT), Reach::To(*page));
        assert_eq!(device.write(None, AT + (1 << 21)), Reach::To(*page));
    }
    assert_eq!(driver.flush(&[]), Ok(()), "nothing to flush");
    let taken: Vec<_> = all.iter().map(|(space, ..)| space.unmap(AT, space.granule())).collect();
    let mut batch: Vec<_> =
        all.iter().zip(&taken).map(|((space, ..), taken)| space.flush_of(taken, &[])).collect();
    batch.insert(1, Flush { tag: Tag(0xdead_beef), ..batch[0] });
    assert_eq!(driver.flush(&batch), Ok(()));
    for (.., device, page) in &all {
        stays_out(device.write(None, AT), "one of the batch");
        assert_eq!(device.write(None, AT + (1 << 21)), Reach::To(*page), "not in the batch");
    }
    for (space, slot, ..) in all {
        release(&driver, slot);
        space.end();
    }
    rig.settled();
}

/// Mapped, used, unmapped and flushed while other threads do DMA at the same place: once a flush has returned, nobody gets
/// there.
pub fn unmap_under_running_dma<B: Bench>(make: &dyn Fn() -> B) {
    let Scene { rig, space, device, granule, page, .. } = Scene::new(make);
    let other = rig.memory(granule);
    let atc = if rig.facts.ats { vec![crate::rig::target(device.source().0, None)] } else { vec![] };
    let done = AtomicBool::new(false);
    let at = AT + (1 << 22);
    std::thread::scope(|scope| {
        let ends = Done(&done);
        let dma = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut wrong = None;
                while !done.load(Ordering::Acquire) {
                    match device.read(None, at) {
                        Reach::To(to) if to == page || to == other => {}
                        Reach::Blocked => {}
                        astray => wrong = wrong.or(Some(astray)),
                    }
                    std::thread::yield_now();
                }
                wrong
            })
        });
        let mut late = Vec::new();
        for round in 0..60 {
            let to = if round % 2 == 0 { page } else { other };
            space.map(at, to, granule);
            std::thread::yield_now();
            match device.read(None, at) {
                Reach::To(now) if now == to => {}
                astray => late.push((round, astray)),
            }
            space.take_out(at, granule, &atc);
            if device.write(None, at) != Reach::Blocked {
                late.push((round, Reach::To(to)));
            }
        }
        drop(ends);
        for thread in dma {
            assert_eq!(thread.join().expect("no assertion in it"), None, "a request went astray");
        }
        assert!(late.is_empty(), "after the flush, or after the map: {late:x?}");
    });
    rig.settled();
}
