//! The VT-d driver on the model that judges it: what devices reach, what is reported, what is left when hardware fails.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_machine;

use ioward_core::driver::{
    AtcTarget, Blocked, Claim, Driver, Event, FaultCause, Plan, Refused, Requirements, Translation,
};
use ioward_drivers::vtd::{Config, Mode, PageRequests, PageResponse};
use ioward_models::vtd::{PageRequest, VtdConfig};
use ioward_models::{DmaError, Visibility};
use ioward_types::{DeviceControl, Format, Iova, Pasid, PhysAddr, Root, SourceId, TableConfig};
use put::Put;
use vtd_machine::*;

#[test]
fn from_the_first_instant_every_source_is_blocked_and_faults_say_so() {
    for (mode, config) in configs() {
        let machine = Machine::new(config);
        let device = machine.device(NIC, false);
        let driver = machine.bring_up();
        assert_eq!(write(&device, None), Err(DmaError::Aborted(AT)), "{mode}");
        let blocked = |seen: &[Event]| {
            matches!(seen, [Event::Fault(fault)] if fault.source == NIC && fault.at == Some(AT)
                && fault.cause == FaultCause::Blocked && fault.pasid.is_none())
        };
        let seen = events(&driver);
        assert!(blocked(&seen), "{mode}: {seen:?}");
        let _slot = claim(&driver, NIC, 0, false);
        assert_eq!(write(&device, None), Err(DmaError::Aborted(AT)), "{mode}");
        let seen = events(&driver);
        assert!(blocked(&seen), "{mode}: {seen:?}");
        machine.settled();
    }
}

#[test]
fn a_table_is_what_its_sources_reach_in_every_mode() {
    for (mode, config) in configs() {
        println!("{mode}");
        for visibility in [Visibility::Held, Visibility::Immediate, Visibility::Mixed(7)] {
            let machine = Machine::new(config.clone());
            machine.memory.set_visibility(visibility);
            let (nic, disk) = (machine.device(NIC, false), machine.device(DISK, false));
            let driver = machine.bring_up();
            let on = machine.on(&driver, 0);
            let slot = claim(&driver, NIC, 0, false);
            assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
            driver.put(&slot, None, &on.translation()).unwrap();
            machine.reaches(&nic, None, &on);
            assert_eq!(write(&disk, None), Err(DmaError::Aborted(AT)), "another source");
            // What is cached stays until it is flushed, and not longer.
            machine.unmap(&on);
            assert_eq!(write(&nic, None), Ok(()), "the model has cached the page");
            driver.flush(&[flush_of(on.tag, &[])]).unwrap();
            assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
            let causes: Vec<_> = events(&driver)
                .iter()
                .filter_map(|event| match event {
                    Event::Fault(fault) => Some((fault.source, fault.cause)),
                    _ => None,
                })
                .collect();
            let told =
                [(NIC, FaultCause::Blocked), (DISK, FaultCause::Blocked), (NIC, FaultCause::NotMapped)];
            assert_eq!(causes, told[..causes.len()]);
            assert_eq!(causes.len(), usize::from(config.fault_records).min(3));
            // What is made again may need a flush too.
            machine.map(&on);
            if driver.flush_after_map() {
                driver.flush(&[flush_of(on.tag, &[])]).unwrap();
            }
            machine.reaches(&nic, None, &on);
            // Another source in the same table, and in another half of its bus.
            let other = claim(&driver, DISK, 0, false);
            driver.put(&other, None, &on.translation()).unwrap();
            machine.reaches(&disk, None, &on);
            assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
            assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
            machine.reaches(&disk, None, &on);
            machine.settled();
            // And back again.
            driver.put(&slot, None, &on.translation()).unwrap();
            machine.reaches(&nic, None, &on);
            let next = machine.on(&driver, 0);
            driver.put(&slot, None, &next.translation()).unwrap();
            machine.reaches(&nic, None, &next);
            for slot in [slot, other] {
                assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
            }
            assert!(write(&nic, None).is_err() && write(&disk, None).is_err());
            machine.unmap(&on);
            machine.unmap(&next);
            driver.give_back(on.tag).unwrap();
            driver.give_back(next.tag).unwrap();
            machine.settled();
        }
    }
}

#[test]
fn identity_is_all_of_memory_and_needs_pass_through() {
    for (mode, config) in configs() {
        println!("{mode}");
        let pass_through = config.pass_through;
        let machine = Machine::new(config);
        let nic = machine.device(NIC, false);
        let driver = machine.bring_up();
        let slot = claim(&driver, NIC, 0, false);
        let (page, on) = (machine.page(), machine.on(&driver, 0));
        let direct = || nic.write(None, Iova(page.phys().0), b"through");
        if !pass_through {
            let refused = driver.put(&slot, None, &Translation::Identity);
            assert!(matches!(refused, Err(Refused::Unsupported { what, .. }) if what.contains("PT")));
            assert!(direct().is_err());
            continue;
        }
        for _ in 0..2 {
            driver.put(&slot, None, &Translation::Identity).unwrap();
            assert_eq!(direct(), Ok(()));
            assert!(holds(&machine, page.phys()));
            driver.put(&slot, None, &on.translation()).unwrap();
            assert!(direct().is_err());
            machine.reaches(&nic, None, &on);
            driver.put(&slot, None, &Translation::Identity).unwrap();
            assert!(write(&nic, None).is_err());
            assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
            assert!(direct().is_err());
        }
        machine.settled();
    }
}

#[test]
fn pasids_and_the_source_reach_each_their_own() {
    for (mode, config) in configs() {
        if !config.scalable {
            continue;
        }
        println!("{mode}");
        let bits = config.pasid_bits;
        let machine = Machine::new(config);
        let nic = machine.device(NIC, false);
        nic.pasid(Some(bits));
        let driver = machine.bring_up();
        assert_eq!(driver.capabilities().pasid_bits, bits);
        let [own, first, second] = [(); 3].map(|()| machine.on(&driver, bits));
        let slot = claim(&driver, NIC, bits, false);
        let (one, other) = (Some(Pasid(1)), Some(Pasid((1 << bits) - 2)));

        driver.put(&slot, None, &own.translation()).unwrap();
        assert!(write(&nic, one).is_err());
        driver.put(&slot, one, &first.translation()).unwrap();
        driver.put(&slot, other, &second.translation()).unwrap();
        machine.reaches(&nic, None, &own);
        machine.reaches(&nic, one, &first);
        machine.reaches(&nic, other, &second);
        assert!(write(&nic, Some(Pasid(2))).is_err(), "a PASID that nobody attached");

        // A PASID changes and goes; the others do not notice.
        driver.put(&slot, one, &second.translation()).unwrap();
        machine.reaches(&nic, one, &second);
        machine.unmap(&first);
        machine.unmap(&second);
        driver.flush(&[flush_of(second.tag, &[])]).unwrap();
        assert!(write(&nic, one).is_err() && write(&nic, other).is_err());
        machine.reaches(&nic, None, &own);
        assert_eq!(driver.block(&slot, one), Blocked::Confirmed);
        assert_eq!(driver.block(&slot, other), Blocked::Confirmed);
        machine.map(&second);
        machine.settled();

        // The source without a table, with a PASID still attached; a PASID on identity.
        driver.put(&slot, one, &second.translation()).unwrap();
        driver.put(&slot, None, &Translation::Identity).unwrap();
        machine.reaches(&nic, one, &second);
        nic.write(None, Iova(own.page.0), b"through").unwrap();
        driver.put(&slot, other, &Translation::Identity).unwrap();
        nic.write(other, Iova(own.page.0), b"through").unwrap();
        machine.settled();

        // Blocking the source blocks what is behind it, for good.
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(write(&nic, one).is_err() && nic.write(other, Iova(own.page.0), b"x").is_err());
        driver.put(&slot, None, &own.translation()).unwrap();
        assert!(write(&nic, one).is_err() && nic.write(other, Iova(own.page.0), b"x").is_err());
        machine.reaches(&nic, None, &own);
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        [own, first, second].iter().for_each(|on| driver.give_back(on.tag).unwrap());
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        machine.settled();
    }
}

#[test]
fn a_blocked_source_with_a_pasid_reaches_nothing_without_one() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    nic.pasid(Some(20));
    let driver = machine.bring_up();
    let on = machine.on(&driver, 20);
    let slot = claim(&driver, NIC, 20, false);
    driver.put(&slot, Some(Pasid(3)), &on.translation()).unwrap();
    machine.reaches(&nic, Some(Pasid(3)), &on);
    assert!(write(&nic, None).is_err());
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Fault(fault)] if fault.cause == FaultCause::Blocked), "{seen:?}");
    // The last that was there closes the entry.
    assert_eq!(driver.block(&slot, Some(Pasid(3))), Blocked::Confirmed);
    assert!(machine.model.meaning(NIC).is_blocked());
    machine.settled();
}

#[test]
fn tables_of_either_stage_serve_a_pasid_and_the_source_side_by_side() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    nic.pasid(Some(20));
    let driver = machine.bring_up();
    let (second, first) = (machine.on(&driver, 0), machine.on(&driver, 20));
    assert_eq!((second.config.format, first.config.format), (Format::VtdSecond, Format::VtdFirst));
    let slot = claim(&driver, NIC, 20, false);
    let pasid = Some(Pasid(0x54321));
    for (own, behind) in [(&second, &first), (&first, &second), (&second, &second), (&first, &first)] {
        driver.put(&slot, None, &own.translation()).unwrap();
        driver.put(&slot, pasid, &behind.translation()).unwrap();
        machine.reaches(&nic, None, own);
        machine.reaches(&nic, pasid, behind);
        machine.settled();
    }
    // One flush for each of both places.
    machine.unmap(&first);
    driver.flush(&[flush_of(first.tag, &[])]).unwrap();
    assert!(write(&nic, None).is_err() && write(&nic, pasid).is_err());
    machine.settled();
}

#[test]
fn foreign_tables_of_five_levels_are_walked() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    for format in [Format::VtdSecond, Format::VtdFirst] {
        let base = planned(&driver, if format == Format::VtdFirst { 1 } else { 0 });
        let config = TableConfig { in_bits: 57, ..base };
        driver.can_walk(&config).unwrap();
        let page = machine.page().phys();
        let made = machine.table_of(&config, 5, page);
        let tag = driver.tag(&Plan::Tables(config)).unwrap();
        let slot = claim(&driver, NIC, 0, false);
        driver.put(&slot, None, &Translation::Foreign { root: made.root, config: &config, tag }).unwrap();
        assert_eq!(write(&nic, None), Ok(()));
        assert!(holds(&machine, page));
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        machine.settled();
    }
}

#[test]
fn a_devices_own_cache_is_told_after_the_units() {
    for (mode, config) in configs() {
        if !config.device_tlb {
            continue;
        }
        println!("{mode}");
        let bits = if config.scalable { config.pasid_bits } else { 0 };
        let machine = Machine::new(config);
        let nic = machine.device(NIC, true);
        let driver = machine.bring_up();
        let (on, next) = (machine.on(&driver, 0), machine.on(&driver, 0));
        let slot = claim(&driver, NIC, bits, true);
        driver.put(&slot, None, &on.translation()).unwrap();
        nic.ats(Some(12));
        machine.reaches(&nic, None, &on);
        machine.unmap(&on);
        assert_eq!(write(&nic, None), Ok(()));
        driver.flush(&[flush_of(on.tag, &[AtcTarget { source: NIC, pasid: None }])]).unwrap();
        assert!(write(&nic, None).is_err());
        machine.map(&on);
        if driver.flush_after_map() {
            driver.flush(&[flush_of(on.tag, &[])]).unwrap();
        }
        machine.reaches(&nic, None, &on);
        driver.put(&slot, None, &next.translation()).unwrap();
        machine.reaches(&nic, None, &next);
        if bits != 0 {
            nic.pasid(Some(bits));
            let pasid = Some(Pasid(5));
            driver.put(&slot, pasid, &on.translation()).unwrap();
            machine.reaches(&nic, pasid, &on);
            driver.put(&slot, pasid, &next.translation()).unwrap();
            machine.reaches(&nic, pasid, &next);
            assert_eq!(driver.block(&slot, pasid), Blocked::Confirmed);
            assert!(write(&nic, pasid).is_err());
            machine.reaches(&nic, None, &next);
        }
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(write(&nic, None).is_err());
        nic.ats(None);
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        machine.settled();
    }
}

#[test]
fn a_device_that_does_not_answer_harms_itself_alone() {
    let machine = Machine::new(VtdConfig::default());
    let (nic, disk) = (machine.device(NIC, true), machine.device(DISK, true));
    let driver = machine.bring_up();
    let (on, other) = (machine.on(&driver, 0), machine.on(&driver, 0));
    let slots = [claim(&driver, NIC, 0, true), claim(&driver, DISK, 0, true)];
    driver.put(&slots[0], None, &on.translation()).unwrap();
    driver.put(&slots[1], None, &other.translation()).unwrap();
    [&nic, &disk].iter().for_each(|device| device.ats(Some(12)));
    machine.reaches(&nic, None, &on);
    machine.reaches(&disk, None, &other);
    nic.set_deaf(true);
    machine.unmap(&on);
    machine.unmap(&other);
    let (silent, good) =
        ([AtcTarget { source: NIC, pasid: None }], [AtcTarget { source: DISK, pasid: None }]);
    assert!(driver.flush(&[flush_of(on.tag, &silent)]).is_err());
    driver.flush(&[flush_of(other.tag, &good)]).unwrap();
    assert!(write(&disk, None).is_err());
    let seen = events(&driver);
    assert!(
        seen.iter().any(|event| matches!(event, Event::Unit { what, code: 0x18 } if what.contains("ITE")))
    );
    assert!(matches!(driver.block(&slots[0], None), Blocked::Unconfirmed(_)));
    // It was pulled: nobody waits for it.
    let [slot, _] = slots;
    assert_eq!(Driver::release(&driver, slot, true), Blocked::Confirmed);
    driver.flush(&[flush_of(other.tag, &good)]).unwrap();
}

#[test]
fn a_unit_in_legacy_mode_by_wish_has_no_pasids() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up_as(Config { mode: Mode::Legacy, ..machine.config() });
    assert!(!driver.is_scalable() && driver.capabilities().pasid_bits == 0);
    let refused = driver.claim(&Claim { source: NIC, pasid_bits: 1, ats: false });
    assert!(matches!(refused, Err(Refused::Pasid { has: 0, needs: 1, .. })));
    let on = machine.on(&driver, 0);
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &on.translation()).unwrap();
    machine.reaches(&nic, None, &on);
    machine.settled();
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let machine = Machine::new(VtdConfig { pasid_bits: 10, ..VtdConfig::default() });
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let (on, first) = (machine.on(&driver, 0), machine.on(&driver, 1));
    let slot = claim(&driver, NIC, 8, false);
    driver.put(&slot, None, &on.translation()).unwrap();
    machine.reaches(&nic, None, &on);
    let (root, tag) = (on.made.root, on.tag);
    let config = &on.config;
    let wrong = [
        Translation::Table { root: Root { levels: 3, ..root }, config, tag },
        Translation::Table { root: Root { levels: 6, ..root }, config, tag },
        Translation::Table { root: Root { at: PhysAddr(root.at.0 + 8), ..root }, config, tag },
        Translation::Table { root: Root { at: PhysAddr(1 << 46), ..root }, config, tag },
        Translation::Table { root, config, tag: first.tag },
        Translation::Table { root, config: &first.config, tag },
        Translation::Table { root, config, tag: ioward_types::Tag(0x7777) },
        Translation::Table { root, config, tag: ioward_types::Tag(0x1_0001) },
        Translation::Requests { tag },
    ];
    for what in &wrong {
        assert!(driver.put(&slot, None, what).is_err(), "{what:?}");
        machine.reaches(&nic, None, &on);
    }
    for (pasid, what) in [(0, "PASID zero"), (1 << 8, "wider than claimed"), (1 << 20, "no PASID")] {
        assert!(driver.put(&slot, Some(Pasid(pasid)), &first.translation()).is_err(), "{what}");
    }
    for (claim, why) in [
        (Claim { source: SourceId(0x1_0000), pasid_bits: 0, ats: false }, "beyond 16 bits"),
        (Claim { source: NIC, pasid_bits: 0, ats: false }, "claimed"),
        (Claim { source: DISK, pasid_bits: 11, ats: false }, "PASIDs"),
    ] {
        assert!(driver.claim(&claim).is_err(), "{why}");
    }
    let mut other = claim(&driver, DISK, 0, false);
    other.iommu.0 += 1;
    assert!(matches!(driver.block(&other, None), Blocked::Unconfirmed(_)));
    assert!(matches!(driver.put(&other, None, &on.translation()), Err(Refused::NoSlot { .. })));
    machine.settled();
}

#[test]
fn memory_that_runs_out_changes_nothing_and_blocking_needs_none() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    nic.pasid(Some(20));
    let driver = machine.bring_up();
    let on = machine.on(&driver, 20);
    let mut budget = 0;
    let slot = loop {
        machine.memory.set_budget(Some(budget));
        match driver.claim(&Claim { source: NIC, pasid_bits: 20, ats: false }) {
            Ok(slot) => break slot,
            Err(Refused::NoMemory(_)) => budget += 1,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(budget >= 2);
    machine.memory.set_budget(Some(0));
    driver.put(&slot, None, &on.translation()).unwrap();
    driver.put(&slot, Some(Pasid(63)), &on.translation()).unwrap();
    let refused = driver.put(&slot, Some(Pasid(64)), &on.translation());
    assert!(matches!(refused, Err(Refused::NoMemory(_))));
    machine.reaches(&nic, Some(Pasid(63)), &on);
    assert_eq!(driver.block(&slot, Some(Pasid(63))), Blocked::Confirmed);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    machine.memory.set_budget(None);
    assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
    machine.settled();
}

#[test]
fn a_release_gives_its_memory_back() {
    let machine = Machine::new(VtdConfig::default());
    let driver = machine.bring_up();
    let on = machine.on(&driver, 20);
    let cycle = || {
        let slot = claim(&driver, NIC, 20, false);
        driver.put(&slot, Some(Pasid(0x5_4321)), &on.translation()).unwrap();
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        machine.memory.allocated()
    };
    // The context table stays.
    assert_eq!(cycle(), cycle());
    machine.settled();
}

#[test]
fn a_tag_that_was_not_confirmed_or_is_held_is_not_given_out_again() {
    let machine = Machine::new(VtdConfig { domain_bits: 4, ..VtdConfig::legacy() });
    let driver = machine.bring_up();
    let plan = Plan::Tables(planned(&driver, 0));
    let (on, hung) = (machine.on(&driver, 0), machine.on(&driver, 0));
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &on.translation()).unwrap();
    driver.give_back(on.tag).unwrap();
    machine.model.set_hung(true);
    assert!(driver.give_back(hung.tag).is_err());
    machine.model.set_hung(false);
    let mut all = Vec::new();
    loop {
        match driver.tag(&plan) {
            Ok(tag) => all.push(tag),
            Err(Refused::NoTag { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    // Of sixteen: zero, identity's, and these two.
    assert_eq!(all.len(), 12);
    assert!(!all.contains(&on.tag) && !all.contains(&hung.tag));
    driver.give_back(hung.tag).unwrap();
    assert_eq!(driver.tag(&plan), Ok(hung.tag), "the flush was made good");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    driver.give_back(on.tag).unwrap();
    assert_eq!(driver.tag(&plan), Ok(on.tag));
    machine.settled();
}

#[test]
fn a_change_that_was_not_confirmed_is_blocked_and_made_good_later() {
    for config in [VtdConfig::legacy(), VtdConfig::default()] {
        let machine = Machine::new(config);
        let nic = machine.device(NIC, false);
        let driver = machine.bring_up();
        let bits = if driver.is_scalable() { 20 } else { 0 };
        let (old, new) = (machine.on(&driver, bits), machine.on(&driver, bits));
        let slot = claim(&driver, NIC, bits, false);
        driver.put(&slot, None, &old.translation()).unwrap();
        machine.reaches(&nic, None, &old);
        machine.model.set_hung(true);
        assert!(matches!(driver.put(&slot, None, &new.translation()), Err(Refused::Hung(_))));
        assert!(machine.model.meaning(NIC).is_blocked());
        assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
        machine.model.set_hung(false);
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(write(&nic, None).is_err());
        machine.unmap(&old);
        machine.settled();
        driver.put(&slot, None, &new.translation()).unwrap();
        machine.reaches(&nic, None, &new);
        machine.settled();
    }
}

#[test]
fn many_faults_are_told_or_counted() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    for _ in 0..20 {
        assert!(write(&nic, None).is_err());
    }
    let seen = events(&driver);
    let faults = seen.iter().filter(|event| matches!(event, Event::Fault(_))).count();
    assert!(
        faults >= 1 && seen.iter().filter(|event| matches!(event, Event::Lost(_))).count() == 1,
        "{seen:?}"
    );
    assert!(write(&nic, None).is_err());
    assert_eq!(events(&driver).len(), 1);
    machine.settled();
}

#[test]
fn page_requests_are_told_and_answered() {
    let machine = Machine::new(VtdConfig::default());
    let nic = machine.device(NIC, true);
    nic.pasid(Some(20));
    let queue = Some(PageRequests { pages_log2: 0, message: None });
    let driver = machine.bring_up_as(Config { page_requests: queue, ..machine.config() });
    let on = machine.on(&driver, 20);
    let slot = claim(&driver, NIC, 20, true);
    driver.put(&slot, Some(Pasid(5)), &on.translation()).unwrap();
    let request = |group, pasid| PageRequest {
        source: NIC,
        pasid: Some(Pasid(pasid)),
        at: AT,
        group,
        last: true,
        read: true,
        write: false,
    };
    // Round the ring.
    for n in 0..300u16 {
        assert!(machine.model.page_request(&request(n & 0x1ff, 5)));
        let told = Event::PageRequest { source: NIC, pasid: Some(Pasid(5)), at: AT, group: n & 0x1ff };
        assert_eq!(events(&driver), [told]);
        driver.respond(NIC, Some(Pasid(5)), n & 0x1ff, PageResponse::Success).unwrap();
        let answers = machine.model.take_answers();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].source, answers[0].group), (NIC, n & 0x1ff));
    }
    for n in 0..200 {
        machine.model.page_request(&request(n, 5));
    }
    let seen = events(&driver);
    assert!(seen.contains(&Event::Lost(1)), "{}", seen.len());
    machine.settled();
    // Without a queue none is let in.
    let machine = Machine::new(VtdConfig::default());
    let driver = machine.bring_up();
    let on = machine.on(&driver, 20);
    let slot = claim(&driver, NIC, 20, true);
    driver.put(&slot, Some(Pasid(5)), &on.translation()).unwrap();
    assert!(!machine.model.page_request(&request(1, 5)));
    machine.settled();
}

#[test]
fn snooping_is_forced_where_it_is_asked_for() {
    let machine = Machine::new(VtdConfig::default());
    let driver = machine.bring_up();
    let wish = Requirements { pasid_bits: 1, coherent: true, ..Requirements::default() };
    let Ok(Plan::Tables(config)) = driver.plan(&wish) else { panic!("no table") };
    assert!(config.snoop && driver.capabilities().snoop);
    let made = machine.table(&config, machine.page().phys());
    let tag = driver.tag(&Plan::Tables(config)).unwrap();
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &Translation::Table { root: made.root, config: &config, tag }).unwrap();
    let request = ioward_models::Request {
        source: NIC,
        pasid: None,
        at: AT,
        access: ioward_models::Access::Write,
        privileged: false,
    };
    assert_eq!(machine.model.snoops(&request), Some(true));
    let plain = machine.on(&driver, 1);
    driver.put(&slot, None, &plain.translation()).unwrap();
    assert_eq!(machine.model.snoops(&request), Some(false));
    machine.settled();
}

#[test]
fn flushes_attaches_and_polls_run_at_once() {
    for config in [VtdConfig::default(), VtdConfig::legacy(), VtdConfig::minimal()] {
        let machine = Machine::new(config.clone());
        let driver = machine.bring_up();
        let bits = if config.scalable { 20 } else { 0 };
        let shared = machine.on(&driver, bits);
        let sources = [NIC, DISK];
        std::thread::scope(|scope| {
            for source in sources {
                let (driver, shared, machine) = (&driver, &shared, &machine);
                scope.spawn(move || {
                    let device = machine.device(source, false);
                    device.pasid((bits != 0).then_some(bits));
                    for n in 0..60 {
                        let slot = claim(driver, source, bits, false);
                        driver.put(&slot, None, &shared.translation()).unwrap();
                        assert_eq!(write(&device, None), Ok(()));
                        if bits != 0 {
                            driver.put(&slot, Some(Pasid(n + 1)), &shared.translation()).unwrap();
                            assert_eq!(write(&device, Some(Pasid(n + 1))), Ok(()));
                        }
                        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
                        assert!(write(&device, None).is_err());
                        assert_eq!(Driver::release(driver, slot, false), Blocked::Confirmed);
                    }
                });
                scope.spawn(move || {
                    for _ in 0..200 {
                        driver.flush(&[flush_of(shared.tag, &[])]).unwrap();
                        driver.poll(&mut |_| {});
                    }
                });
            }
        });
        machine.settled();
        driver.give_back(shared.tag).unwrap();
        machine.settled();
    }
}
