//! Both stages of a RISC-V IOMMU together, judged by the model.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{AtcTarget, Blocked, Driver, Plan, Refused, Requirements, Translation};
use ioward_drivers::riscv::BringUp;
use ioward_models::{DmaError, Visibility, riscv::Features};
use ioward_types::{PhysAddr, SourceId};
use put::Put;
use riscv_rig::*;

/// What the guest calls its pages, and where it maps them.
const GUEST: [u64; 2] = [0x1_0000_0000, 0x1_0000_1000];
const AT: u64 = 0x40_0000;
/// A guest physical address that the second stage does not map.
const OUTSIDE: u64 = 0x2_0000_0000;

/// Tables of both stages. The second maps what the first's own pages are one to one.
fn tables(rig: &Rig, driver: &Driven) -> (Table, Table) {
    let second = Table::new(rig, driver, 0);
    let first = Table::planned(rig, driver, driver.plan(&first_stage()).unwrap());
    let base = rig.memory.span().start.0;
    // All of memory: tables lie anywhere in it.
    for page in 0..16384 {
        second.map(base + page * 0x1000, PhysAddr(base + page * 0x1000));
    }
    (first, second)
}

fn first_stage() -> Requirements {
    Requirements { pasid_bits: 8, ..Requirements::default() }
}

fn shapes() -> Vec<Features> {
    let large = Features::default();
    vec![
        large,
        Features { msi_flat: false, msi_mrif: false, ..large },
        Features { first_bits: 39, second_bits: 39, ..large },
        Features { ranges: true, non_leaf: true, ..large },
    ]
}

#[test]
fn a_request_goes_through_both_stages_and_reaches_nothing_else() {
    for features in shapes() {
        for visibility in [Visibility::Held, Visibility::Immediate] {
            let rig = Rig::new(features, visibility);
            let driver = rig.bring_up(BringUp::Cold).unwrap();
            let (one, other) = (rig.page(1), rig.page(2));
            let (first, second) = tables(&rig, &driver);
            let device = rig.device(8, true);
            let slot = claim(&driver, 8, 0, true);
            let atc = [AtcTarget { source: SourceId(8), pasid: None }];
            second.map(GUEST[0], one);
            second.map(GUEST[1], other);
            first.map(AT, PhysAddr(GUEST[0]));
            first.map(AT + 0x1000, PhysAddr(OUTSIDE));
            assert!(read(&device, None, AT).is_err(), "blocked");
            // SAFETY: the second stage maps pages of this test's.
            let nested =
                || unsafe { driver.install_nested(&slot, &first.translation(), &second.translation()) };
            nested().unwrap();
            assert_eq!(read(&device, None, AT), Ok(1));
            assert!(matches!(read(&device, None, AT + 0x1000), Err(DmaError::Aborted(_))));
            assert!(matches!(read(&device, None, one.0), Err(DmaError::Aborted(_))));
            ioward_types::DeviceControl::ats(&device, Some(12));
            assert_eq!(read(&device, None, AT), Ok(1));
            // The guest maps another of its pages there.
            first.map(AT, PhysAddr(GUEST[1]));
            driver.flush(&[first.flush(AT, 0x1000, &atc)]).unwrap();
            assert_eq!(read(&device, None, AT), Ok(2));
            // The host takes that page away.
            second.unmap(GUEST[1]);
            driver.flush(&[second.flush(GUEST[1], 0x1000, &atc)]).unwrap();
            assert!(read(&device, None, AT).is_err(), "unmapped below");
            second.map(GUEST[1], one);
            assert_eq!(read(&device, None, AT), Ok(1));
            rig.settled("flushed");
            // One stage in the place of two, and back.
            driver.put(&slot, None, &second.translation()).unwrap();
            assert!(read(&device, None, AT).is_err());
            assert_eq!(read(&device, None, GUEST[0]), Ok(1));
            nested().unwrap();
            assert_eq!(read(&device, None, AT), Ok(1));
            assert!(read(&device, None, GUEST[0]).is_err());
            assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
            assert!(read(&device, None, AT).is_err());
            rig.settled("blocked");
            assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        }
    }
}

#[test]
fn what_is_not_two_stages_is_refused_and_changes_nothing() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let page = rig.page(7);
    let (first, second) = tables(&rig, &driver);
    let device = rig.device(8, false);
    let slot = claim(&driver, 8, 0, false);
    second.map(GUEST[0], page);
    driver.put(&slot, None, &second.translation()).unwrap();
    let (one, two) = (first.translation(), second.translation());
    for (a, b) in [(&two, &one), (&one, &one), (&two, &two), (&Translation::Identity, &two)] {
        // SAFETY: refused.
        let refused = unsafe { driver.install_nested(&slot, a, b) };
        assert!(matches!(refused, Err(Refused::Unsupported { .. })), "{refused:?}");
    }
    assert_eq!(read(&device, None, GUEST[0]), Ok(7));
    rig.settled("refused");
}

#[test]
fn a_pair_that_was_left_is_flushed_no_more_and_its_tags_lead_to_nothing_old() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let (one, other) = (rig.page(1), rig.page(2));
    let (first, second) = tables(&rig, &driver);
    let device = rig.device(8, false);
    let slot = claim(&driver, 8, 0, false);
    second.map(GUEST[0], one);
    first.map(AT, PhysAddr(GUEST[0]));
    // SAFETY: the second stage maps pages of this test's.
    unsafe { driver.install_nested(&slot, &first.translation(), &second.translation()) }.unwrap();
    assert_eq!(read(&device, None, AT), Ok(1));
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    // SAFETY: blocked, confirmed so.
    unsafe {
        driver.untag(first.tag).unwrap();
        driver.untag(second.tag).unwrap();
    }
    let plan = Plan::Tables(second.config);
    let fresh = Table::planned(&rig, &driver, plan);
    fresh.map(AT, other);
    driver.put(&slot, None, &fresh.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(2));
    driver.flush(&[fresh.flush(AT, 0x1000, &[])]).unwrap();
    rig.settled("the next owner");
}
