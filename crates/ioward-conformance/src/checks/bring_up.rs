//! Bringing up: from reset, and when hardware or memory fails on the way.

use crate::{
    bench::{Bench, TakeOver, Why},
    checks::{AT, sampled},
    middleware::{AllOnes, Stuck, Trace},
    rig::{Rig, claim, stays_out},
};
use ioward_core::driver::{Claim, Plan, Requirements};
use ioward_types::SourceId;
use std::sync::Arc;

/// Whatever reset left in caches and registers, from bring-up on no source reaches anything.
pub fn every_source_starts_blocked<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let page = rig.memory(0x1_0000);
    let _driver = rig.cold();
    for source in rig.facts.sources.into_iter().chain(rig.facts.outside) {
        for at in [0, 0x1000, AT, page] {
            stays_out(rig.device(source).write(None, at), "nobody has claimed the source");
            if rig.facts.pasid_bits > 0 {
                stays_out(rig.device(source).read(Some(1), at), "nobody has claimed the source, PASID 1");
            }
        }
    }
    rig.settled();
}

/// What a driver says of itself is what its author says of the mode, and stays the same; a plan depends on nothing but what is
/// asked for, and can be walked.
pub fn it_is_what_its_mode_says<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    let driver = rig.cold();
    let facts = &rig.facts;
    let has = driver.capabilities();
    assert_eq!(driver.id(), facts.iommu, "the number that it was brought up with");
    assert!(!driver.kind().is_empty());
    assert_eq!(has.pasid_bits, facts.pasid_bits, "PASID bits");
    assert_eq!(has.ats, facts.ats, "ATS");
    assert_eq!(has.coherent, facts.coherent, "coherent walks");
    assert_eq!(driver.flush_after_map(), facts.flush_after_map, "a flush after map");
    assert_eq!(driver.interrupts().is_some(), facts.interrupts, "interrupt remapping");
    assert_eq!(driver.requests().is_some(), facts.plain.is_none(), "mappings by request");
    let plan = |pasid_bits| driver.plan(&Requirements { pasid_bits, ..Requirements::default() });
    let format = |plan| match plan {
        Ok(Plan::Tables(config)) => {
            assert_eq!(driver.can_walk(&config), Ok(()), "it cannot walk what it plans");
            Some(config.format)
        }
        Ok(Plan::Requests { .. }) => None,
        Err(refused) => panic!("no plan: {refused}"),
    };
    let plain = plan(facts.plan_for_pasids);
    assert_eq!(format(plain), facts.plain, "the plan for what most checks ask");
    assert!(plan(0).is_ok(), "a group without PASIDs");
    if facts.pasid_bits > 0 {
        assert_eq!(format(plan(facts.pasid_bits)), facts.with_pasids, "the plan with PASIDs");
    }
    assert!(plan(facts.pasid_bits + 1).is_err(), "a plan with more PASIDs than there are");
    // After everything else that a driver may do, the same.
    let slot = claim(&driver, facts.sources[0], 0, false);
    if let Ok(plan) = plain {
        let _ = driver.tag(&plan);
    }
    let _ = driver.release(slot, false);
    assert_eq!(
        (plan(facts.plan_for_pasids), driver.capabilities()),
        (plain, has),
        "it depends on what came before"
    );
    rig.settled();
}

/// A block that reads as all ones is no IOMMU.
pub fn all_ones_from_the_start_are_refused<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    rig.registers.interpose(|under| AllOnes::after(under, 0));
    let memory = rig.bench;
    let peek = |at| memory.peek(at);
    for how in [TakeOver::Cold, TakeOver::Abort, TakeOver::Adopt(&peek)] {
        let up = memory.bring_up(rig.registers.clone(), &rig.platform, how);
        match up {
            Err(error) => assert_eq!(error.why, Why::Absent, "{how:?}: {error}"),
            Ok(_) => panic!("{how:?}: there is no IOMMU, and a driver comes up"),
        }
    }
    assert_eq!(rig.platform.live(), 0, "no IOMMU, and memory for it is kept");
}

/// Whenever the block goes away during a bring-up, that ends, and with an error unless it had what it needed.
pub fn all_ones_from_any_access_end_a_bring_up<B: Bench>(make: &dyn Fn() -> B) {
    let total = accesses(make);
    for after in sampled(total) {
        let rig = Rig::new(make);
        rig.registers.interpose(|under| AllOnes::after(under, after));
        let up = rig.bring_up(TakeOver::Cold);
        if after + 1 < total / 2 {
            assert!(up.is_err(), "gone after {after} of {total} accesses, and a driver comes up");
        }
        if let Ok(driver) = up {
            let _ =
                driver.claim(&Claim { source: SourceId(rig.facts.sources[0]), pasid_bits: 0, ats: false });
            driver.poll(&mut |_| {});
        }
    }
}

/// Register accesses of a bring-up.
fn accesses<B: Bench>(make: &dyn Fn() -> B) -> u64 {
    let rig = Rig::new(make);
    let seen = Arc::default();
    let into = Arc::clone(&seen);
    rig.registers.interpose(|under| Trace::new(under, into));
    let _driver = rig.cold();
    seen.accesses()
}

/// Hardware that acknowledges nothing does not keep a bring-up, and what needs an answer fails for want of it.
pub fn hung_hardware_ends_a_bring_up<B: Bench>(make: &dyn Fn() -> B) {
    let rig = Rig::new(make);
    rig.bench.hang(true);
    match rig.bring_up(TakeOver::Cold) {
        Err(error) => assert_eq!(error.why, Why::Hung, "{error}"),
        Ok(driver) => {
            // It needed no answer so far.
            let source = SourceId(rig.facts.sources[0]);
            let _ = driver.claim(&Claim { source, pasid_bits: 0, ats: false });
            stays_out(rig.device(source.0).write(None, AT), "hung, and it lets requests through");
        }
    }
}

/// Whatever register has bits that never change, a bring-up ends: in a driver or in an error.
pub fn stuck_bits_end_a_bring_up<B: Bench>(make: &dyn Fn() -> B) {
    let seen = Arc::default();
    {
        let rig = Rig::new(make);
        let into = Arc::clone(&seen);
        rig.registers.interpose(|under| Trace::new(under, into));
        let _driver = rig.cold();
    }
    let mut refused = 0;
    for (at, first) in seen.reads() {
        for value in [first, 0, u64::MAX, first ^ u64::MAX] {
            let rig = Rig::new(make);
            rig.registers.interpose(|under| Stuck::new(under, at, u64::MAX, value));
            refused += u32::from(rig.bring_up(TakeOver::Cold).is_err());
        }
    }
    assert!(refused != 0, "no register matters: every bring-up succeeded over bits that were stuck");
}

/// Whenever memory runs out during a bring-up, that is said, and none is kept.
pub fn memory_may_run_out_during_a_bring_up<B: Bench>(make: &dyn Fn() -> B) {
    for count in 0.. {
        let rig = Rig::new(make);
        rig.platform.set_budget(Some(count));
        match rig.bring_up(TakeOver::Cold) {
            Ok(_) => {
                assert!(count != 0, "a bring-up without memory");
                return;
            }
            Err(error) => {
                assert_eq!(error.why, Why::NoMemory, "{error}, with {count} allocations");
                assert_eq!(rig.platform.live(), 0, "memory is kept after a failure with {count} allocations");
            }
        }
        assert!(count < 1000, "no bring-up needs so many allocations");
        rig.lawful();
    }
}
