//! What the AMD-Vi driver remembers where hardware did not confirm: nothing is used again, and nothing is forgotten to be
//! invalidated.
#![cfg(feature = "amdvi")]

mod amdvi_machine;
#[path = "support/put.rs"]
mod put;

use amdvi_machine::*;
use ioward_core::driver::{
    ApicTarget, Blocked, Driver, InterruptFrom, InterruptTo, Plan, Refused, RemapInterrupts, Translation,
};
use ioward_models::{IommuModel, MessageOutcome, amdvi::AmdViConfig};
use ioward_types::{Iova, Tag};
use put::Put;

/// Every tag that can still be had.
fn all_tags(driver: &impl Driver, plan: &Plan) -> Vec<Tag> {
    let mut all = Vec::new();
    loop {
        match driver.tag(plan) {
            Ok(tag) => all.push(tag),
            Err(Refused::NoTag { .. }) => return all,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_change_that_was_not_confirmed_is_blocked_and_made_good_later() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let config = planned(&driver, 0);
    let plan = Plan::Tables(config);
    let (old_page, new_page) = (machine.page().phys(), machine.page().phys());
    let ((old, leaf), (new, _)) = (machine.host(old_page), machine.host(new_page));
    let tags = [driver.tag(&plan).unwrap(), driver.tag(&plan).unwrap()];
    let on = |root, tag| Translation::Table { root, config: &config, tag };
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &on(old, tags[0])).unwrap();
    assert_eq!(write(&nic, None), Ok(()));

    // Commands vanish: neither are caches told nor is anything confirmed.
    machine.model.set_command_filter(Some(Box::new(|_, _| false)));
    assert!(matches!(driver.put(&slot, None, &on(new, tags[1])), Err(Refused::Hung(_))));
    assert!(machine.model.meaning(NIC).is_some_and(|meaning| meaning.is_blocked()));
    machine.model.set_command_filter(None);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    machine.unmap(leaf);
    machine.settled();
    assert!(write(&nic, None).is_err());
}

#[test]
fn a_tag_whose_flush_was_not_confirmed_is_never_given_out_again() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let plan = Plan::Tables(planned(&driver, 0));
    let (kept, given_back) = (driver.tag(&plan).unwrap(), driver.tag(&plan).unwrap());
    machine.model.set_hung(true);
    assert!(driver.give_back(kept).is_err());
    machine.model.set_hung(false);
    driver.give_back(given_back).unwrap();
    let all = all_tags(&driver, &plan);
    assert!(all.contains(&given_back) && !all.contains(&kept) && !all.contains(&Tag(0)));
    driver.give_back(kept).unwrap();
    assert_eq!(driver.tag(&plan), Ok(kept), "the flush was made good");
}

#[test]
fn a_tag_that_an_entry_holds_is_not_given_out_again() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let (host, guest) = (planned(&driver, 0), planned(&driver, 16));
    let page = machine.page().phys();
    let ((v1, _), (v2, _)) = (machine.host(page), machine.guest(page, 4));
    let (one, two) = (driver.tag(&Plan::Tables(host)).unwrap(), driver.tag(&Plan::Tables(guest)).unwrap());
    let (nic, disk) = (claim(&driver, NIC, 0, false), claim(&driver, DISK, 16, false));
    driver.put(&nic, None, &Translation::Table { root: v1, config: &host, tag: one }).unwrap();
    driver.put(&disk, None, &Translation::Table { root: v2, config: &guest, tag: two }).unwrap();
    driver.give_back(one).unwrap();
    driver.give_back(two).unwrap();
    let all = all_tags(&driver, &Plan::Tables(host));
    assert!(!all.contains(&one) && !all.contains(&two));
    machine.settled();
}

#[test]
fn what_is_no_longer_claimed_is_not_confirmed() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let mut slot = claim(&driver, NIC, 0, false);
    slot.iommu.0 += 1;
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    assert!(matches!(driver.put(&slot, None, &Translation::Identity), Err(Refused::NoSlot { .. })));
    slot.iommu.0 -= 1;
    slot.source.0 += 1;
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    slot.source.0 -= 1;
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
}

#[test]
fn an_interrupt_table_that_hardware_was_not_told_of_is_told_before_it_is_used() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let raise = |data| machine.model.message(NIC, Iova(0xfee0_0000), data);
    // That the source has no table is cached.
    assert_eq!(raise(0), MessageOutcome::Aborted);
    machine.model.set_command_filter(Some(Box::new(|_, _| false)));
    assert!(matches!(driver.reserve(InterruptFrom::Source(NIC), 1), Err(Refused::Hung(_))));
    machine.model.set_command_filter(None);
    let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
    let to = InterruptTo::Apic(ApicTarget { vector: 0x51, destination: 1, ..ApicTarget::default() });
    let message = driver.remap(&entries, 0, &to).unwrap();
    assert!(matches!(raise(message.data), MessageOutcome::Delivered { vector: 0x51, .. }));
    machine.settled();
}
