//! What the RISC-V IOMMU driver remembers where hardware did not confirm: nothing is used again, and nothing is forgotten to
//! be invalidated.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{AtcTarget, Blocked, Claim, Driver, Refused, Translation};
use ioward_drivers::riscv::{BringUp, Config};
use ioward_models::{Visibility, riscv::Features};
use ioward_types::{DeviceControl, Pasid, SourceId};
use put::Put;
use riscv_rig::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;

/// From now on commands vanish or do not, as the value says.
fn vanish(rig: &Rig) -> Arc<AtomicBool> {
    let on = Arc::new(AtomicBool::new(false));
    let now = on.clone();
    rig.model.set_command_filter(Box::new(move |_| !now.load(Ordering::Relaxed)));
    on
}

#[test]
fn a_change_that_was_not_confirmed_is_blocked_and_made_good_later() {
    for pasid in [None, Some(Pasid(3))] {
        let rig = Rig::large();
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        device.pasid(Some(4));
        let slot = claim(&driver, SOURCE, 4, false);
        let [old, new] = [1, 2].map(|byte| {
            let table = Table::new(&rig, &driver, 4);
            table.map(AT, rig.page(byte));
            table
        });
        let reads = || read(&device, pasid.map(|pasid| pasid.0), AT).ok();
        driver.put(&slot, pasid, &old.translation()).unwrap();
        assert_eq!(reads(), Some(1));
        // Commands vanish: neither are caches told nor is anything confirmed.
        let vanishing = vanish(&rig);
        vanishing.store(true, Ordering::Relaxed);
        assert!(matches!(driver.put(&slot, pasid, &new.translation()), Err(Refused::Hung(_))));
        assert!(matches!(driver.block(&slot, pasid), Blocked::Unconfirmed(_)));
        vanishing.store(false, Ordering::Relaxed);
        rig.model.set_hung(false);
        assert_eq!(driver.block(&slot, pasid), Blocked::Confirmed);
        assert_eq!(reads(), None);
        driver.put(&slot, pasid, &new.translation()).unwrap();
        assert_eq!(reads(), Some(2));
        rig.settled("made good");
    }
}

#[test]
fn a_source_that_was_given_back_unconfirmed_is_confirmed_by_who_claims_it_next() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, true);
    let table = Table::new(&rig, &driver, 0);
    table.map(AT, rig.page(1));
    let slot = claim(&driver, SOURCE, 0, true);
    driver.put(&slot, None, &table.translation()).unwrap();
    device.ats(Some(12));
    assert_eq!(read(&device, None, AT), Ok(1));
    rig.model.set_hung(true);
    assert!(matches!(driver.release(slot, false), Blocked::Unconfirmed(_)));
    assert_eq!(read(&device, None, AT), Ok(1), "which is why");
    let again = Claim { source: SourceId(SOURCE), pasid_bits: 0, ats: true };
    assert!(matches!(driver.claim(&again), Err(Refused::Hung(_))));
    rig.model.set_hung(false);
    let slot = driver.claim(&again).unwrap();
    assert!(read(&device, None, AT).is_err());
    // Nor does the device come back with what it had.
    let other = Table::new(&rig, &driver, 0);
    other.map(AT, rig.page(2));
    driver.put(&slot, None, &other.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(2));
    rig.settled("claimed again");
}

#[test]
fn a_device_that_does_not_answer_is_unconfirmed_and_refused_all_the_same() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, true);
    let table = Table::new(&rig, &driver, 0);
    table.map(AT, rig.page(1));
    let slot = claim(&driver, SOURCE, 0, true);
    driver.put(&slot, None, &table.translation()).unwrap();
    device.ats(Some(12));
    assert_eq!(read(&device, None, AT), Ok(1));
    device.set_deaf(true);
    let target = [AtcTarget { source: SourceId(SOURCE), pasid: None }];
    assert!(driver.flush(&[table.flush(AT, 0x1000, &target)]).is_err());
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    assert!(read(&device, None, AT).is_err(), "its context is not valid, so translated requests end too");
    assert!(matches!(driver.put(&slot, None, &table.translation()), Err(Refused::Hung(_))));
    assert!(read(&device, None, AT).is_err());
    device.set_deaf(false);
    driver.put(&slot, None, &table.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(1));
    rig.settled("deaf");
}

#[test]
fn a_tag_whose_flush_was_not_confirmed_is_never_given_out_again() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let (kept, given_back) = (Table::new(&rig, &driver, 0), Table::new(&rig, &driver, 0));
    let plan = ioward_core::driver::Plan::Tables(kept.config);
    rig.model.set_hung(true);
    assert!(driver.give_back(kept.tag).is_err());
    rig.model.set_hung(false);
    driver.give_back(given_back.tag).unwrap();
    let mut all = Vec::new();
    loop {
        match driver.tag(&plan) {
            Ok(tag) => all.push(tag),
            Err(Refused::NoTag { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(all.contains(&given_back.tag) && !all.contains(&kept.tag));
    driver.give_back(kept.tag).unwrap();
    assert_eq!(driver.tag(&plan), Ok(kept.tag), "the flush was made good");
}

#[test]
fn what_is_no_longer_claimed_is_not_confirmed() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let mut slot = claim(&driver, SOURCE, 0, false);
    slot.iommu.0 += 1;
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    assert!(matches!(driver.put(&slot, None, &Translation::Identity), Err(Refused::NoSlot { .. })));
    slot.iommu.0 -= 1;
    slot.source.0 += 1;
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    slot.source.0 -= 1;
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
}

/// Cut off at every command of a change, with a request after each access: what it reaches is the old table, the new one, or nothing.
#[test]
fn a_change_that_is_cut_off_anywhere_shows_the_old_the_new_or_nothing() {
    use ioward_drivers::riscv::RiscVIommu;
    for bits in [0, 4] {
        for after in 0..200 {
            let rig = Rig::large();
            let device = Arc::new(rig.device(SOURCE, false));
            let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
            let (looked, log) = (device.clone(), seen.clone());
            let watch = move || log.lock().unwrap().push(read(&looked, None, AT).ok());
            let registers = Cut::new(&rig.model, i64::MAX, watch);
            let driver =
                RiscVIommu::bring_up(IOMMU, registers, &rig.config(), &rig.platform, BringUp::Cold).unwrap();
            let slot = claim(&driver, SOURCE, bits, false);
            let [old, new] = [(1, 0), (2, 4)].map(|(byte, bits)| {
                let table = Table::new(&rig, &driver, bits);
                table.map(AT, rig.page(byte));
                table
            });
            driver.put(&slot, None, &old.translation()).unwrap();
            seen.lock().unwrap().clear();
            // Commands vanish after so many more.
            let mut left = after;
            rig.model.set_command_filter(Box::new(move |_| {
                left -= 1;
                left >= 0
            }));
            let done = driver.put(&slot, None, &new.translation());
            let all = seen.lock().unwrap().clone();
            assert!(all.iter().all(|byte| matches!(byte, None | Some(1) | Some(2))), "{all:?}");
            if done.is_ok() {
                assert_eq!(read(&device, None, AT), Ok(2));
                break;
            }
            assert!(after < 100, "a change takes fewer commands");
        }
    }
}

/// After `skip` more commands all vanish up to the fence that somebody waits for, and none after it: as when an error restarts
/// the queue and the IOMMU is in order again.
fn lose(rig: &Rig, skip: usize) {
    const IOFENCE_TO: u64 = 1 << 10 | 2;
    let (mut left, mut over) = (skip, false);
    rig.model.set_command_filter(Box::new(move |words| {
        let passes = over || left > 0;
        over |= !passes && words[0] & (1 << 10 | 0x7f) == IOFENCE_TO;
        left = left.saturating_sub(1);
        passes
    }));
}

/// Commands of one wait are lost; whatever is confirmed after that is true all the same, of the source that was changed and of
/// its neighbours.
#[test]
fn what_is_confirmed_after_commands_were_lost_is_true() {
    let one_level = Features { levels: [true, false, false], ..Features::default() };
    for (features, last_source) in [(Features::default(), 0xff_ffff), (one_level, 0x3f)] {
        for (bits, pasid, to_second) in
            [(0, None, true), (4, None, true), (4, None, false), (4, Some(Pasid(3)), false)]
        {
            for count in 0..12 {
                let name = format!("{last_source:#x} {pasid:?} {count}");
                let rig = Rig::new(features, Visibility::Held);
                let config = Config { last_source, ..rig.config() };
                let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
                let (device, neighbour) = (rig.device(SOURCE, false), rig.device(SOURCE + 1, false));
                device.pasid(Some(4));
                let (slot, next) =
                    (claim(&driver, SOURCE, bits, false), claim(&driver, SOURCE + 1, 0, false));
                let made = |bits, byte| {
                    let table = Table::new(&rig, &driver, bits);
                    table.map(AT, rig.page(byte));
                    table
                };
                let (old, new, theirs) =
                    (made(bits, 1), made(if to_second { 0 } else { bits }, 2), made(0, 3));
                let reads = || read(&device, pasid.map(|pasid| pasid.0), AT).ok();
                driver.put(&slot, pasid, &old.translation()).unwrap();
                driver.put(&next, None, &theirs.translation()).unwrap();
                assert_eq!((reads(), read(&neighbour, None, AT)), (Some(1), Ok(3)));
                lose(&rig, count);
                if driver.put(&slot, pasid, &new.translation()).is_ok() {
                    assert_eq!(reads(), Some(2), "{name}");
                } else if driver.block(&slot, pasid) == Blocked::Confirmed {
                    assert_eq!(reads(), None, "{name}: blocked");
                }
                rig.model.set_command_filter(Box::new(|_| true));
                assert_eq!(driver.block(&next, None), Blocked::Confirmed, "{name}");
                assert!(read(&neighbour, None, AT).is_err(), "{name}: the neighbour is blocked");
                driver.put(&slot, pasid, &new.translation()).unwrap();
                assert_eq!(reads(), Some(2), "{name}");
                assert_eq!(driver.release(slot, false), Blocked::Confirmed, "{name}");
                assert_eq!(reads(), None, "{name}: released");
                rig.settled(&name);
            }
        }
    }
}
