//! What an entry holds: attach, replace, detach, identity, foreign tables.

use crate::{
    bench::Bench,
    checks::{AT, Done},
    endpoint::Reach,
    rig::{Rig, block, claim, install, put, release, stays_out, target},
    space::Space,
};
use ioward_core::driver::{Plan, Refused, Translation};
use ioward_types::{Attributes, Format, TableConfig};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is mapped is reached, with the rights that were given; what is not mapped is not.
pub fn attach<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let device = rig.device(source);
    let space = Space::new(&rig, &driver, 0);
    let granule = space.granule();
    let (page, only_read) = (rig.memory(granule), rig.memory(granule));
    space.map(AT, page, granule);
    let slot = claim(&driver, source, 0, false);
    put(&driver, &slot, None, &space.translation());
    assert_eq!(device.write(None, AT), Reach::To(page));
    assert_eq!(device.read(None, AT + granule - 1), Reach::To(page + granule - 1), "the last byte");
    // While it is installed, too.
    space.map_as(AT + 2 * granule, only_read, granule, Attributes::READ);
    assert_eq!(device.read(None, AT + 2 * granule), Reach::To(only_read));
    stays_out(device.write(None, AT + 2 * granule), "mapped to read only");
    for (at, what) in [
        (AT - 1, "before the first byte"),
        (AT + granule, "after the last byte"),
        (page, "the page's own address"),
        (0, "address zero"),
        (space.last(), "the last address"),
    ] {
        stays_out(device.write(None, at), what);
    }
    if space.last() != u64::MAX {
        stays_out(
            device.write(None, space.last() + 1 + AT),
            "beyond the table, where it would wrap to what is mapped",
        );
    }
    stays_out(rig.device(rig.facts.sources[1]).write(None, AT), "another source");
    block(&driver, &slot, None);
    release(&driver, slot);
    space.end();
    rig.settled();
}

/// What replaces a table is what is seen once the call returns, and nothing of what was before, in any cache; back and forth.
pub fn replaced_is_forgotten<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let ats = rig.facts.ats;
    let device = if ats { rig.caching(source) } else { rig.device(source) };
    let spaces = [0, 1].map(|_| Space::new(&rig, &driver, 0));
    let granule = spaces[0].granule();
    let pages = [0, 1].map(|_| rig.memory(granule));
    let own = [0, 1].map(|n| AT + (n + 1) * 0x1000_0000);
    for n in 0..2 {
        spaces[n].map(AT, pages[n], granule);
        spaces[n].map(own[n], pages[n], granule);
    }
    let slot = claim(&driver, source, 0, ats);
    for round in 0..6 {
        let (now, before) = (round % 2, 1 - round % 2);
        put(&driver, &slot, None, &spaces[now].translation());
        assert_eq!(device.write(None, AT), Reach::To(pages[now]), "round {round}");
        assert_eq!(device.write(None, own[now]), Reach::To(pages[now]), "round {round}");
        stays_out(device.write(None, own[before]), "only the table before had it");
    }
    block(&driver, &slot, None);
    stays_out(device.write(None, AT), "detached");
    release(&driver, slot);
    spaces.into_iter().for_each(Space::end);
    rig.settled();
}

/// The old state, the new one, or blocked: for a device that looks at AT and at what bypass would reach.
fn old_new_or_blocked(
    device: &crate::Endpoint,
    pasid: Option<u32>,
    allowed: Vec<(u64, Vec<u64>)>,
) -> impl Fn() -> Option<String> + Send + Sync + use<> {
    let device = device.clone();
    move || {
        allowed.iter().find_map(|(at, to)| {
            let reach = device.write(pasid, *at);
            let sound = match reach {
                Reach::To(to_now) => to.contains(&to_now),
                Reach::Blocked => true,
                Reach::Interrupt | Reach::Silenced => false,
            };
            (!sound).then(|| format!("{at:#x} leads to {reach:x?}"))
        })
    }
}

/// Between any two steps of every change of an entry, hardware sees the old state, the new one or blocked.
pub fn every_change_is_hitless_step_by_step<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let device = rig.device(source);
    let spaces = [0, 1].map(|_| Space::new(&rig, &driver, 0));
    let granule = spaces[0].granule();
    let pages = [0, 1].map(|_| rig.memory(granule));
    spaces.iter().zip(pages).for_each(|(space, page)| space.map(AT, page, granule));
    let slot = claim(&driver, source, 0, false);
    // By state: where AT leads to, and whether physical addresses are reached.
    let mut states: Vec<(Option<Translation<'_>>, Vec<u64>, bool)> = vec![
        (None, vec![], false),
        (Some(spaces[0].translation()), vec![pages[0]], false),
        (Some(spaces[1].translation()), vec![pages[1]], false),
    ];
    if rig.facts.identity {
        states.push((Some(Translation::Identity), vec![AT], true));
    }
    for from in 0..states.len() {
        for to in 0..states.len() {
            for (n, state) in [&states[from], &states[to]].into_iter().enumerate() {
                let (before, after) = (&states[from], &states[to]);
                let at = before.1.iter().chain(&after.1).copied().collect();
                let physical = if before.2 || after.2 { vec![pages[0]] } else { vec![] };
                let look = old_new_or_blocked(&device, None, vec![(AT, at), (pages[0], physical)]);
                let ((), seen) = rig.between_steps(look, || match &state.0 {
                    None => block(&driver, &slot, None),
                    Some(what) => put(&driver, &slot, None, what),
                });
                // The first of the two only sets the scene, from whatever was before.
                if n == 1 {
                    assert!(seen.is_empty(), "from {:?} to {:?}: {seen:x?}", before.0, after.0);
                }
            }
            let is = device.write(None, AT);
            match states[to].1.first() {
                Some(page) => assert_eq!(is, Reach::To(*page), "{:?}", states[to].0),
                None => stays_out(is, "blocked"),
            }
        }
    }
    rig.settled();
}

/// Replaced again and again while other threads do DMA through it: each request goes where one of the tables says.
pub fn replace_under_running_dma<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let ats = rig.facts.ats;
    let spaces = [0, 1].map(|_| Space::new(&rig, &driver, 0));
    let granule = spaces[0].granule();
    let pages = [0, 1].map(|_| rig.memory(granule));
    spaces.iter().zip(pages).for_each(|(space, page)| space.map(AT, page, granule));
    let slot = claim(&driver, source, 0, ats);
    let device = if ats { rig.caching(source) } else { rig.device(source) };
    put(&driver, &slot, None, &spaces[0].translation());
    let done = AtomicBool::new(false);
    let (reached, wrong) = std::thread::scope(|scope| {
        let ends = Done(&done);
        let dma = [(); 2].map(|()| {
            scope.spawn(|| {
                let (mut reached, mut wrong) = (0, Vec::new());
                while !done.load(Ordering::Acquire) {
                    match device.write(None, AT) {
                        Reach::To(to) if pages.contains(&to) => reached += 1,
                        Reach::Blocked => {}
                        other => wrong.push(other),
                    }
                    match device.write(None, pages[0]) {
                        Reach::Blocked => {}
                        other => wrong.push(other),
                    }
                    std::thread::yield_now();
                }
                (reached, wrong)
            })
        });
        for round in 0..60 {
            if round % 7 == 6 {
                block(&driver, &slot, None);
            }
            put(&driver, &slot, None, &spaces[(round + 1) % 2].translation());
            std::thread::yield_now();
        }
        drop(ends);
        dma.map(|thread| thread.join().expect("no assertion in it")).into_iter().fold(
            (0, Vec::new()),
            |(reached, mut wrong), (more, seen)| {
                wrong.extend(seen);
                (reached + more, wrong)
            },
        )
    });
    assert!(wrong.is_empty(), "{} requests went astray, one of them: {:x?}", wrong.len(), wrong[0]);
    let _ = reached;
    assert_eq!(device.write(None, AT), Reach::To(pages[0]), "the last that was installed");
    rig.settled();
}

/// Blocked, confirmed so: nothing reaches anything, from caches neither; and it can be installed again.
pub fn detached_is_blocked<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let ats = rig.facts.ats;
    let device = if ats { rig.caching(source) } else { rig.device(source) };
    let space = Space::new(&rig, &driver, 0);
    let granule = space.granule();
    let page = rig.memory(granule);
    space.map(AT, page, granule);
    let slot = claim(&driver, source, 0, ats);
    for _ in 0..3 {
        put(&driver, &slot, None, &space.translation());
        assert_eq!(device.write(None, AT), Reach::To(page));
        block(&driver, &slot, None);
        for at in [AT, page, 0] {
            stays_out(device.write(None, at), "blocked");
        }
        block(&driver, &slot, None);
        rig.settled();
    }
}

/// Identity is every physical address as it is, and ends with the next state.
pub fn identity<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [source, other, _] = rig.facts.sources;
    let slot = claim(&driver, source, 0, false);
    if !rig.facts.identity {
        let refused = install(&driver, &slot, None, &Translation::Identity);
        assert!(matches!(refused, Err(Refused::Unsupported { .. })), "{refused:?}");
        return;
    }
    let device = rig.device(source);
    let page = rig.memory(0x1_0000);
    put(&driver, &slot, None, &Translation::Identity);
    for offset in [0, 0x1000, 0xffff] {
        assert_eq!(device.write(None, page + offset), Reach::To(page + offset));
    }
    stays_out(rig.device(other).write(None, page), "another source");
    let space = Space::new(&rig, &driver, 0);
    let granule = space.granule();
    space.map(AT, page, granule);
    put(&driver, &slot, None, &space.translation());
    stays_out(device.write(None, page), "no longer identity");
    assert_eq!(device.write(None, AT), Reach::To(page));
    put(&driver, &slot, None, &Translation::Identity);
    assert_eq!(device.write(None, page), Reach::To(page));
    block(&driver, &slot, None);
    stays_out(device.write(None, page), "no longer identity");
    release(&driver, slot);
    stays_out(device.write(None, page), "released");
    rig.settled();
}

/// A table that somebody else owns is walked as one of ours, and forgotten as one.
pub fn a_foreign_table<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let slot = claim(&driver, source, 0, false);
    let own = Space::new(&rig, &driver, 0);
    let (Some(table), Some(config)) = (own.table(), own.config()) else {
        assert!(!rig.facts.foreign, "mappings are requests");
        for config in candidates() {
            assert!(driver.can_walk(&config).is_err(), "{config}, where mappings are requests");
        }
        return;
    };
    assert!(rig.facts.foreign, "what is planned can be walked");
    let device = rig.device(source);
    let granule = own.granule();
    let page = rig.memory(granule);
    own.map(AT, page, granule);
    let foreign = Translation::Foreign { root: table.root(), config: &config, tag: own.tag };
    put(&driver, &slot, None, &foreign);
    assert_eq!(device.write(None, AT), Reach::To(page));
    stays_out(device.write(None, page), "not mapped by its owner");
    own.take_out(AT, granule, &[]);
    stays_out(device.write(None, AT), "unmapped by its owner, and flushed");
    block(&driver, &slot, None);
    rig.settled();
}

/// Shapes of tables that somebody might own.
fn candidates() -> Vec<TableConfig> {
    let formats = [
        Format::VtdSecond,
        Format::VtdFirst,
        Format::AmdV1,
        Format::AmdV2,
        Format::ArmStage1,
        Format::ArmStage2,
        Format::RiscvFirst,
        Format::RiscvSecond,
    ];
    let mut all = Vec::new();
    for format in formats {
        for in_bits in [32, 39, 40, 41, 47, 48, 50, 57, 59, 64] {
            for out_bits in [40, 48, 52, 56] {
                for page_sizes in [1 << 12, 1 << 12 | 1 << 21 | 1 << 30, 1 << 14, 1 << 16] {
                    for coherent in [true, false] {
                        all.push(TableConfig {
                            format,
                            in_bits,
                            out_bits,
                            page_sizes,
                            coherent,
                            dirty: false,
                            snoop: false,
                        });
                    }
                }
            }
        }
    }
    all
}

/// What a driver says that it can walk, it installs; what it says that it cannot, it refuses, and the old state stays.
pub fn can_walk_agrees_with_install<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let source = rig.facts.sources[0];
    let device = rig.device(source);
    let slot = claim(&driver, source, 0, false);
    let own = Space::new(&rig, &driver, 0);
    let granule = own.granule();
    let page = rig.memory(granule);
    own.map(AT, page, granule);
    let (mut walked, mut refused) = (0, 0);
    let own_plan = own.config();
    for config in candidates().into_iter().chain(own_plan) {
        put(&driver, &slot, None, &own.translation());
        let Ok(table) = ioward_pgtable::AnyTable::new(rig.platform.clone(), &config) else {
            // There is no such table; nothing can be said but that asking does no harm.
            let _ = driver.can_walk(&config);
            continue;
        };
        let can = driver.can_walk(&config);
        let tagged = driver.tag(&Plan::Tables(config));
        assert_eq!(can.is_ok(), tagged.is_ok(), "{config:?}: {can:?}, and a tag for it {tagged:?}");
        let tag = tagged.unwrap_or(own.tag);
        let foreign = Translation::Foreign { root: table.root(), config: &config, tag };
        let installed = install(&driver, &slot, None, &foreign);
        assert_eq!(can.is_ok(), installed.is_ok(), "{config:?}: {can:?}, and {installed:?}");
        if can.is_ok() {
            walked += 1;
            stays_out(device.write(None, AT), "a table in which nothing is mapped");
            block(&driver, &slot, None);
            assert_eq!(crate::rig::untag(&driver, tag), Ok(()));
        } else {
            refused += 1;
            assert_eq!(
                device.write(None, AT),
                Reach::To(page),
                "{config:?} was refused: the old state stays"
            );
        }
        // SAFETY: no entry holds it: it was refused or is blocked, confirmed so.
        unsafe { table.destroy() };
    }
    assert!(refused != 0, "no IOMMU walks everything");
    assert_eq!(walked != 0, rig.facts.foreign, "tables that it walks");
    rig.settled();
}

/// Whenever memory runs out during a claim or an install, that is said, and the old state stays.
pub fn memory_may_run_out_in_any_call<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let [source, ..] = rig.facts.sources;
    let device = rig.device(source);
    let bits = rig.facts.pasid_bits.min(4);
    let space = Space::new(&rig, &driver, bits);
    let granule = space.granule();
    let page = rig.memory(granule);
    space.map(AT, page, granule);
    let mut slot = None;
    for count in 0..100 {
        rig.platform.set_budget(Some(count));
        let what = ioward_core::driver::Claim {
            source: ioward_types::SourceId(source),
            pasid_bits: bits,
            ats: false,
        };
        let claimed = driver.claim(&what);
        rig.platform.set_budget(None);
        stays_out(device.write(None, AT), "claimed or not");
        match claimed {
            Ok(taken) => {
                slot = Some(taken);
                break;
            }
            Err(refused) => assert!(matches!(refused, Refused::NoMemory(_)), "{refused}"),
        }
    }
    let slot = slot.expect("a hundred allocations are enough for a claim");
    for pasid in [None, Some(3)].into_iter().take(if bits > 0 { 2 } else { 1 }) {
        for count in 0..100 {
            rig.platform.set_budget(Some(count));
            let installed = install(&driver, &slot, pasid, &space.translation());
            rig.platform.set_budget(None);
            match installed {
                Ok(()) => break,
                Err(refused) => {
                    assert!(matches!(refused, Refused::NoMemory(_)), "{refused}");
                    stays_out(device.write(pasid, AT), "blocked before");
                }
            }
        }
        assert_eq!(device.write(pasid, AT), Reach::To(page), "PASID {pasid:?}");
    }
    // Blocking needs no memory.
    rig.platform.set_budget(Some(0));
    block(&driver, &slot, None);
    stays_out(device.write(None, AT), "blocked without memory");
    release(&driver, slot);
    rig.platform.set_budget(None);
    rig.settled();
    let _ = target(source, None);
}
