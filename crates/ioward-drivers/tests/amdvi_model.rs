//! The AMD-Vi driver on the model that judges it: what devices reach, what is reported, what is left when hardware fails.
#![cfg(feature = "amdvi")]

mod amdvi_machine;
#[path = "support/put.rs"]
mod put;

use amdvi_machine::*;
use ioward_core::driver::{
    AtcTarget, Blocked, Claim, Driver, Event, FaultCause, Plan, Refused, Slot, Translation,
};
use ioward_drivers::amdvi::{AmdVi, BringUp, BringUpError};
use ioward_models::amdvi::AmdViConfig;
use ioward_models::{DmaEngine, DmaError, SimPlatform, Visibility};
use ioward_types::{DeviceControl, Frames, Iova, Mmio, Pasid, PhysAddr, Platform, Root, SourceId, Tag};
use put::Put;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[test]
fn from_the_first_instant_every_source_is_blocked_and_faults_say_so() {
    for config in configs().into_iter().chain([AmdViConfig::minimal()]) {
        let machine = Machine::new(config);
        let device = machine.device(NIC, false);
        let driver = machine.bring_up();
        assert_eq!(write(&device, None), Err(DmaError::Aborted(AT)));
        let seen = events(&driver);
        assert!(
            matches!(seen[..], [Event::Fault(fault)] if fault.source == NIC && fault.at == Some(AT)
                && fault.cause == FaultCause::Blocked && fault.pasid.is_none()),
            "{seen:?}"
        );
        machine.settled();
    }
}

#[test]
fn a_v1_table_is_what_its_sources_reach() {
    for config in [
        AmdViConfig::default(),
        AmdViConfig::minimal(),
        AmdViConfig { np_cache: true, ..AmdViConfig::default() },
    ] {
        let few = [Visibility::Held, Visibility::Immediate, Visibility::Mixed(7)];
        // Without INVALIDATE_IOMMU_ALL bring-up is long.
        for visibility in few.into_iter().take(if config.invalidate_all { 3 } else { 1 }) {
            let machine = Machine::new(config.clone());
            machine.memory.set_visibility(visibility);
            let (nic, disk) = (machine.device(NIC, false), machine.device(DISK, false));
            let driver = machine.bring_up();
            let page = machine.page();
            let (root, leaf) = machine.host(page.phys());
            let table = planned(&driver, 0);
            let tag = driver.tag(&Plan::Tables(table)).unwrap();
            let slot = claim(&driver, NIC, 0, false);
            assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
            driver.put(&slot, None, &Translation::Table { root, config: &table, tag }).unwrap();
            assert_eq!(write(&nic, None), Ok(()));
            assert!(holds(&machine, page.phys()));
            assert_eq!(write(&disk, None), Err(DmaError::Aborted(AT)), "another source");
            // What is cached stays until it is flushed, and not longer.
            machine.unmap(leaf);
            assert_eq!(write(&nic, None), Ok(()), "the model has cached the page");
            driver.flush(&[flush_of(tag, &[])]).unwrap();
            assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
            assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
            driver.give_back(tag).unwrap();
            assert_eq!(driver.release(slot, false), Blocked::Confirmed);
            machine.settled();
        }
    }
}

#[test]
fn blocking_stops_what_was_cached() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let slot = claim(&driver, NIC, 0, false);
    let page = machine.page();
    for _ in 0..3 {
        driver.put(&slot, None, &Translation::Identity).unwrap();
        nic.write(None, Iova(page.phys().0), b"through").unwrap();
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(nic.write(None, Iova(page.phys().0), b"through").is_err());
    }
    machine.settled();
}

#[test]
fn pasids_and_the_source_reach_each_their_own() {
    for (levels, coherent) in [(4, true), (5, true), (4, false)] {
        let machine = Machine::new(AmdViConfig { coherent, ..AmdViConfig::default() });
        let nic = machine.device(NIC, false);
        nic.pasid(Some(16));
        let driver = machine.bring_up();
        let table = planned(&driver, 16);
        let [own, first, second] = [machine.page(), machine.page(), machine.page()];
        let tables = [&own, &first, &second].map(|page| machine.guest(page.phys(), levels));
        let tags = [(); 3].map(|()| driver.tag(&Plan::Tables(table)).unwrap());
        let translation = |n: usize| Translation::Table { root: tables[n].0, config: &table, tag: tags[n] };
        let slot = claim(&driver, NIC, 16, false);
        let (one, other) = (Pasid(1), Pasid(0xfffe));

        driver.put(&slot, None, &translation(0)).unwrap();
        driver.put(&slot, Some(one), &translation(1)).unwrap();
        driver.put(&slot, Some(other), &translation(2)).unwrap();
        for (pasid, page) in [(None, &own), (Some(one), &first), (Some(other), &second)] {
            assert_eq!(write(&nic, pasid), Ok(()), "{pasid:?}");
            assert!(holds(&machine, page.phys()));
        }
        assert!(write(&nic, Some(Pasid(2))).is_err(), "a PASID that nobody attached");

        // A PASID changes and goes; the others do not notice.
        driver.put(&slot, Some(one), &translation(2)).unwrap();
        machine.unmap(tables[2].1);
        driver.flush(&[flush_of(tags[2], &[])]).unwrap();
        assert!(write(&nic, Some(one)).is_err() && write(&nic, Some(other)).is_err());
        assert_eq!(write(&nic, None), Ok(()));
        assert_eq!(driver.block(&slot, Some(one)), Blocked::Confirmed);
        assert_eq!(driver.block(&slot, Some(other)), Blocked::Confirmed);

        // The source without a table, with a PASID still attached.
        driver.put(&slot, Some(one), &translation(1)).unwrap();
        driver.put(&slot, None, &Translation::Identity).unwrap();
        assert_eq!(write(&nic, Some(one)), Ok(()));
        nic.write(None, Iova(own.phys().0), b"through").unwrap();
        assert!(write(&nic, Some(Pasid(0))).is_err(), "what requests without a PASID had");
        machine.settled();

        // Blocking the source blocks what is behind it.
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(write(&nic, Some(one)).is_err() && nic.write(None, Iova(own.phys().0), b"x").is_err());
        tags.iter().for_each(|tag| driver.give_back(*tag).unwrap());
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        machine.settled();
    }
}

#[test]
fn a_blocked_source_with_a_pasid_reaches_nothing_without_one() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    nic.pasid(Some(16));
    let driver = machine.bring_up();
    let table = planned(&driver, 16);
    let page = machine.page();
    let (root, _) = machine.guest(page.phys(), 4);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let slot = claim(&driver, NIC, 16, false);
    driver.put(&slot, Some(Pasid(3)), &Translation::Table { root, config: &table, tag }).unwrap();
    assert_eq!(write(&nic, Some(Pasid(3))), Ok(()));
    assert!(write(&nic, None).is_err());
    assert!(nic.write(None, Iova(page.phys().0), b"identity").is_err());
    machine.settled();
}

#[test]
fn what_was_behind_a_blocked_source_is_forgotten() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, true);
    nic.pasid(Some(16));
    let driver = machine.bring_up();
    let table = planned(&driver, 16);
    let (old, new) = (machine.page(), machine.page());
    let [(was, leaf), (is, _)] = [&old, &new].map(|page| machine.guest(page.phys(), 4));
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let other = driver.tag(&Plan::Tables(table)).unwrap();
    let one = Some(Pasid(1));
    let on = |root, tag| Translation::Table { root, config: &table, tag };
    for ats in [None, Some(12)] {
        let slot = claim(&driver, NIC, 16, ats.is_some());
        driver.put(&slot, None, &on(was, tag)).unwrap();
        driver.put(&slot, one, &on(was, tag)).unwrap();
        nic.ats(ats);
        assert_eq!((write(&nic, None), write(&nic, one)), (Ok(()), Ok(())));
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        machine.unmap(leaf);
        machine.settled();
        driver.put(&slot, None, &on(is, other)).unwrap();
        assert!(write(&nic, one).is_err(), "the device has kept what it had of the PASID");
        driver.put(&slot, one, &on(is, other)).unwrap();
        for pasid in [None, one] {
            machine.memory.dma_write("test", new.phys(), b"nothing").unwrap();
            assert_eq!(write(&nic, pasid), Ok(()));
            assert!(holds(&machine, new.phys()), "{pasid:?} goes where it went before");
        }
        nic.ats(None);
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        machine.put(leaf, 0, old.phys().0 | 0x67);
    }
    machine.settled();
}

#[test]
fn a_confirmed_block_leaves_nothing_of_a_v1_table_in_caches() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let table = planned(&driver, 0);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let (root, leaf) = machine.host(machine.page().phys());
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &Translation::Table { root, config: &table, tag }).unwrap();
    assert_eq!(write(&nic, None), Ok(()));
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    machine.unmap(leaf);
    machine.settled();
}

#[test]
fn where_refusals_are_cached_a_new_pasid_is_no_exception() {
    let machine = Machine::new(AmdViConfig { np_cache: true, ..AmdViConfig::default() });
    let nic = machine.device(NIC, false);
    nic.pasid(Some(16));
    let driver = machine.bring_up();
    assert!(driver.flush_after_map());
    let table = planned(&driver, 16);
    let (root, _) = machine.guest(machine.page().phys(), 4);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let slot = claim(&driver, NIC, 16, false);
    let on_table = Translation::Table { root, config: &table, tag };
    for pasid in [Some(Pasid(1)), Some(Pasid(2)), None] {
        assert!(write(&nic, pasid).is_err());
        driver.put(&slot, pasid, &on_table).unwrap();
        assert_eq!(write(&nic, pasid), Ok(()));
    }
    machine.settled();
}

#[test]
fn what_would_nest_or_cannot_be_walked_is_refused() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let (host, guest) = (planned(&driver, 0), planned(&driver, 16));
    let page = machine.page();
    let (v1, v2) = (machine.host(page.phys()).0, machine.guest(page.phys(), 4).0);
    let five = machine.guest(page.phys(), 5).0;
    let (host_tag, guest_tag) =
        (driver.tag(&Plan::Tables(host)).unwrap(), driver.tag(&Plan::Tables(guest)).unwrap());
    let on_host = Translation::Table { root: v1, config: &host, tag: host_tag };
    let on_guest = Translation::Table { root: v2, config: &guest, tag: guest_tag };
    let on_five = Translation::Table { root: five, config: &guest, tag: guest_tag };
    let slot = claim(&driver, NIC, 16, false);
    let shape = |result: Result<(), Refused>| matches!(result, Err(Refused::Shape { .. }));

    driver.put(&slot, Some(Pasid(1)), &on_guest).unwrap();
    assert!(shape(driver.put(&slot, None, &on_host)), "v1 below a PASID");
    assert!(shape(driver.put(&slot, None, &on_five)), "five levels beside four");
    assert!(matches!(driver.put(&slot, Some(Pasid(2)), &on_host), Err(Refused::Format { .. })));
    assert!(matches!(
        driver.put(&slot, Some(Pasid(2)), &Translation::Identity),
        Err(Refused::Unsupported { .. })
    ));
    assert!(matches!(
        driver.put(&slot, Some(Pasid(0x1_0000)), &on_guest),
        Err(Refused::Pasid { has: 16, needs: 17, .. })
    ));
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    driver.put(&slot, None, &on_host).unwrap();
    assert!(shape(driver.put(&slot, Some(Pasid(1)), &on_guest)), "a PASID above v1");
    for (root, levels) in [(v1.at, 0), (v1.at, 7), (PhysAddr(v1.at.0 + 8), 4), (PhysAddr(1 << 52), 4)] {
        let what = Translation::Table { root: Root { at: root, levels }, config: &host, tag: host_tag };
        assert!(shape(driver.put(&slot, None, &what)), "{root} {levels}");
    }
    let strange = Translation::Table { root: v1, config: &host, tag: guest_tag };
    assert!(shape(driver.put(&slot, None, &strange)), "a tag for v2");
    assert!(matches!(
        driver.claim(&Claim { source: NIC, pasid_bits: 0, ats: false }),
        Err(Refused::Claimed { .. })
    ));
    assert!(matches!(
        driver.claim(&Claim { source: SourceId(0x100), pasid_bits: 0, ats: false }),
        Err(Refused::Source { limit: 0x100, .. })
    ));
    machine.settled();
}

#[test]
fn devices_that_cache_are_told_after_the_iommu() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, true);
    let driver = machine.bring_up();
    let table = planned(&driver, 0);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let page = machine.page();
    let (root, leaf) = machine.host(page.phys());
    let slot = claim(&driver, NIC, 0, true);
    driver.put(&slot, None, &Translation::Table { root, config: &table, tag }).unwrap();
    nic.ats(Some(12));
    assert_eq!(write(&nic, None), Ok(()));
    machine.unmap(leaf);
    let target = [AtcTarget { source: NIC, pasid: None }];
    driver.flush(&[flush_of(tag, &[])]).unwrap();
    assert_eq!(write(&nic, None), Ok(()), "the device was not told");
    driver.flush(&[flush_of(tag, &target)]).unwrap();
    assert!(write(&nic, None).is_err());
    machine.memory.violations().assert_none();

    // A device that does not answer: the flush is not confirmed.
    nic.set_deaf(true);
    assert!(driver.flush(&[flush_of(tag, &target)]).is_err());
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    // Pulled: nobody asks it.
    assert_eq!(driver.release(slot, true), Blocked::Confirmed);
}

#[test]
fn more_commands_than_the_ring_has_room_for() {
    let machine = Machine::new(AmdViConfig::default());
    let mut config = machine.config();
    config.command_entries_log2 = 8;
    let driver =
        AmdVi::bring_up(UNIT, Bus(machine.model.clone()), config, &machine.platform, BringUp::Cold).unwrap();
    let table = planned(&driver, 0);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let flushes = vec![flush_of(tag, &[]); 1000];
    let before = machine.model.commands();
    driver.flush(&flushes).unwrap();
    assert_eq!(machine.model.commands() - before, 1001);
    for _ in 0..600 {
        driver.flush(&flushes[..1]).unwrap();
    }
    machine.settled();
}

#[test]
fn a_hung_unit_costs_a_bounded_wait_and_blocks_all_the_same() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let table = planned(&driver, 0);
    let tag = driver.tag(&Plan::Tables(table)).unwrap();
    let page = machine.page();
    let (root, leaf) = machine.host(page.phys());
    let slot = claim(&driver, NIC, 0, false);
    let on_table = Translation::Table { root, config: &table, tag };
    driver.put(&slot, None, &on_table).unwrap();
    assert_eq!(write(&nic, None), Ok(()));
    machine.unmap(leaf);

    machine.model.set_hung(true);
    let start = machine.platform.now();
    let hung = driver.flush(&[flush_of(tag, &[])]).unwrap_err();
    assert_eq!(hung.iommu, UNIT);
    assert!(machine.platform.now().0 - start.0 < 30_000_000);
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    assert!(matches!(driver.put(&slot, None, &on_table), Err(Refused::Hung(_))));
    // A ring that nobody empties fills up, and then the wait is for room.
    let many = vec![flush_of(tag, &[]); 600];
    assert!(driver.flush(&many).is_err());
    assert!(driver.give_back(tag).is_err());

    machine.model.set_hung(false);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed, "what was owed is made good");
    assert!(write(&nic, None).is_err());
    driver.give_back(tag).unwrap();
    machine.settled();
}

#[test]
fn what_a_hung_release_left_is_made_good_by_the_next_claim() {
    let machine = Machine::new(AmdViConfig::default());
    let nic = machine.device(NIC, false);
    let driver = machine.bring_up();
    let slot = claim(&driver, NIC, 0, false);
    let page = machine.page();
    driver.put(&slot, None, &Translation::Identity).unwrap();
    nic.write(None, Iova(page.phys().0), b"through").unwrap();
    machine.model.set_hung(true);
    assert!(matches!(driver.release(slot, false), Blocked::Unconfirmed(_)));
    let wanted = Claim { source: NIC, pasid_bits: 0, ats: false };
    assert!(matches!(driver.claim(&wanted), Err(Refused::Hung(_))));
    machine.model.set_hung(false);
    let _slot = driver.claim(&wanted).unwrap();
    assert!(nic.write(None, Iova(page.phys().0), b"through").is_err());
    machine.settled();
}

#[test]
fn a_unit_that_left_the_bus_is_absent_or_hung_and_never_a_panic() {
    let machine = Machine::new(AmdViConfig::default());
    machine.model.set_gone(true);
    assert_eq!(machine.try_bring_up(BringUp::Cold).err(), Some(BringUpError::Absent));
    machine.model.set_gone(false);
    let driver = machine.bring_up();
    let slot = claim(&driver, NIC, 16, false);
    let tag = driver.tag(&Plan::Tables(planned(&driver, 0))).unwrap();
    machine.model.set_gone(true);
    assert!(driver.flush(&[flush_of(tag, &[AtcTarget { source: NIC, pasid: None }])]).is_err());
    assert!(matches!(driver.put(&slot, None, &Translation::Identity), Err(Refused::Hung(_))));
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Unit { code: u64::MAX, .. }]), "{seen:?}");
}

#[test]
fn without_memory_nothing_is_begun() {
    for count in 0..6 {
        let machine = Machine::new(AmdViConfig::default());
        machine.memory.set_budget(Some(count));
        match machine.try_bring_up(BringUp::Cold) {
            Err(BringUpError::NoMemory(_)) => {
                assert!(count < 5);
                assert_eq!(machine.memory.allocated(), 0);
                assert_eq!(machine.model.read64(0x18), 0, "control is as it was");
            }
            Err(other) => panic!("{other}"),
            Ok(driver) => {
                assert_eq!(count, 5);
                let refused = driver.claim(&Claim { source: NIC, pasid_bits: 16, ats: false });
                assert!(matches!(refused, Err(Refused::NoMemory(_))));
                machine.memory.set_budget(None);
                let _slot = claim(&driver, NIC, 16, false);
            }
        }
    }
}

#[test]
fn events_beyond_the_log_are_reported_lost_and_the_log_goes_on() {
    let machine = Machine::new(AmdViConfig::default());
    let mut config = machine.config();
    config.event_entries_log2 = 8;
    let driver =
        AmdVi::bring_up(UNIT, Bus(machine.model.clone()), config, &machine.platform, BringUp::Cold).unwrap();
    let nic = machine.device(NIC, false);
    for _ in 0..300 {
        assert!(write(&nic, None).is_err());
    }
    let seen = events(&driver);
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Lost(_))).count(), 1);
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Fault(_))).count(), 255);
    assert!(write(&nic, None).is_err());
    assert_eq!(events(&driver).len(), 1);
    machine.settled();
}

/// Makes the network card, which may cache, go through a table with one page: the page, its leaf, and what it hangs on.
fn through_a_table(machine: &Machine, driver: &impl Driver) -> (Frames<SimPlatform>, PhysAddr, Slot, Tag) {
    let page = machine.page();
    let (root, leaf) = machine.host(page.phys());
    let config = planned(driver, 0);
    let slot = claim(driver, NIC, 0, true);
    let tag = driver.tag(&Plan::Tables(config)).unwrap();
    driver.put(&slot, None, &Translation::Table { root, config: &config, tag }).unwrap();
    (page, leaf, slot, tag)
}

/// A device that faults while nobody polls must not make the flushes of others fail.
#[test]
fn a_full_event_log_does_not_silence_a_device_with_a_cache() {
    let machine = Machine::new(AmdViConfig::default());
    let mut config = machine.config();
    config.event_entries_log2 = 8;
    let driver =
        AmdVi::bring_up(UNIT, Bus(machine.model.clone()), config, &machine.platform, BringUp::Cold).unwrap();
    let (rogue, nic) = (machine.device(DISK, false), machine.device(NIC, true));
    let (_page, _, _slot, tag) = through_a_table(&machine, &driver);
    nic.ats(Some(12));
    write(&nic, None).unwrap();
    let target = [AtcTarget { source: NIC, pasid: None }];
    for faults in [200, 300, 1000] {
        for _ in 0..faults {
            assert!(write(&rogue, None).is_err());
        }
        driver.flush(&[flush_of(tag, &target)]).unwrap();
    }
    let seen = events(&driver);
    assert!(seen.iter().filter(|event| matches!(event, Event::Fault(_))).count() >= 256, "what fits is kept");
    assert!(seen.iter().any(|event| matches!(event, Event::Lost(_))), "and the rest is told of");
    // A device that does not answer is still noticed.
    nic.set_deaf(true);
    assert!(driver.flush(&[flush_of(tag, &target)]).is_err());
}

/// A bus on which a device faults more often than the log holds while the IOMMU is at a command.
struct Noisy {
    bus: Bus,
    rogue: DmaEngine,
    /// For how many more batches of commands.
    left: Arc<AtomicUsize>,
}

impl Mmio for Noisy {
    fn read32(&self, at: usize) -> u32 {
        self.bus.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.bus.write32(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        self.bus.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        const COMMAND_TAIL: usize = 0x2008;
        self.bus.write64(at, value);
        let less = |left: usize| left.checked_sub(1);
        if at == COMMAND_TAIL && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            (0..300).for_each(|_| assert!(write(&self.rogue, None).is_err()));
        }
    }
}

/// Nobody knows then whether a device's cache answered, so it is asked again; but not for ever.
#[test]
fn a_log_that_overflows_during_a_flush_tells_nothing_and_the_flush_is_repeated() {
    let machine = Machine::new(AmdViConfig::default());
    let mut config = machine.config();
    config.event_entries_log2 = 8;
    let left = Arc::new(AtomicUsize::new(0));
    let rogue = machine.device(DISK, false);
    let bus = Noisy { bus: Bus(machine.model.clone()), rogue, left: left.clone() };
    let driver = AmdVi::bring_up(UNIT, bus, config, &machine.platform, BringUp::Cold).unwrap();
    let nic = machine.device(NIC, true);
    let (_page, leaf, _slot, tag) = through_a_table(&machine, &driver);
    nic.ats(Some(12));
    write(&nic, None).unwrap();
    let target = [AtcTarget { source: NIC, pasid: None }];
    for noise in [1, 3] {
        left.store(noise, Ordering::SeqCst);
        driver.flush(&[flush_of(tag, &target)]).unwrap();
        assert_eq!(left.load(Ordering::SeqCst), 0, "asked until nothing was dropped");
    }
    machine.unmap(leaf);
    left.store(2, Ordering::SeqCst);
    driver.flush(&[flush_of(tag, &target)]).unwrap();
    assert!(write(&nic, None).is_err(), "the device forgot");
    // One that never answers is found out in spite of the noise, and noise without an end ends in an error.
    nic.set_deaf(true);
    left.store(1, Ordering::SeqCst);
    assert!(driver.flush(&[flush_of(tag, &target)]).is_err());
    nic.set_deaf(false);
    left.store(usize::MAX, Ordering::SeqCst);
    assert!(driver.flush(&[flush_of(tag, &target)]).is_err());
}
