//! The virtio-iommu driver over its model, in every mode: what a device reaches at each step of its life.
#![cfg(feature = "virtio")]

#[path = "support/put.rs"]
mod put;
mod virtio_machine;

use ioward_core::driver::{
    Access, Blocked, Claim, Driver, Event, FaultCause, MapRequests, Plan, Refused, Requirements, Translation,
};
use ioward_drivers::virtio::{ReservedRegion, VirtioIommu};
use ioward_models::virtio::{Order, Reserved, VirtioIommuConfig};
use ioward_models::{DmaError, Visibility};
use ioward_spec::virtio::features;
use ioward_types::{Attributes, Format, Iova, Pasid, PhysAddr, Root, SourceId, Span, TableConfig};
use put::Put;
use virtio_machine::*;

/// What a driver is there for, on a device that can be anything.
fn life(machine: &Machine, driver: &(impl Driver + MapRequests)) {
    let (nic, disk) = (machine.device(NIC), machine.device(DISK));
    let shares = machine.model.config().shares_domains;
    blocked(&nic);
    let slot = claim(driver, NIC);
    blocked(&nic);
    let (one, two) = (machine.page().phys(), machine.page().phys());
    let first = tag(driver);
    // Before anybody is attached: it is there when the first one comes.
    map(driver, first, one).unwrap();
    blocked(&nic);
    driver.put(&slot, None, &Translation::Requests { tag: first }).unwrap();
    machine.reaches(&nic, one);
    blocked(&disk);
    if shares {
        let other = claim(driver, DISK);
        driver.put(&other, None, &Translation::Requests { tag: first }).unwrap();
        machine.reaches(&disk, one);
        assert_eq!(driver.release(other, false), Blocked::Confirmed);
        blocked(&disk);
        machine.reaches(&nic, one);
    }
    // Replaced, and the old one is still what it was when it comes back.
    let second = tag(driver);
    map(driver, second, two).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag: second }).unwrap();
    machine.reaches(&nic, two);
    driver.put(&slot, None, &Translation::Requests { tag: first }).unwrap();
    machine.reaches(&nic, one);
    driver.put(&slot, None, &Translation::Requests { tag: first }).unwrap();
    machine.reaches(&nic, one);
    // Live mappings come and go.
    driver.map(first, at(1).start, Span { start: two, bytes: PAGE }, Attributes::READ).unwrap();
    assert!(nic.read(None, at(1).start, &mut [0; 4]).is_ok());
    assert!(nic.write(None, at(1).start, b"no").is_err());
    driver.unmap(first, Span { start: AT, bytes: 2 * PAGE }).unwrap();
    blocked(&nic);
    assert!(nic.read(None, at(1).start, &mut [0; 4]).is_err());
    map(driver, first, two).unwrap();
    machine.reaches(&nic, two);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    blocked(&nic);
    driver.put(&slot, None, &Translation::Requests { tag: first }).unwrap();
    machine.reaches(&nic, two);
    let identity = driver.put(&slot, None, &Translation::Identity);
    if machine.model.config().features & features::BYPASS_CONFIG != 0 {
        identity.unwrap();
        assert!(nic.write(None, Iova(one.0), b"through").is_ok() && machine.holds(one));
        driver.put(&slot, None, &Translation::Requests { tag: second }).unwrap();
        assert!(nic.write(None, Iova(one.0), b"through").is_err());
        machine.reaches(&nic, two);
    } else {
        assert_eq!(identity, Err(Refused::Unsupported { iommu: UNIT, what: "VIRTIO_IOMMU_F_BYPASS_CONFIG" }));
        machine.reaches(&nic, two);
    }
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    blocked(&nic);
    driver.unmap(first, at(0)).unwrap();
    driver.give_back(first).unwrap();
    driver.give_back(second).unwrap();
    assert_eq!(machine.model.counts(), (0, 0));
    machine.settled();
}

#[test]
fn a_life_on_every_device() {
    for (name, config) in configs() {
        println!("{name}");
        let machine = Machine::new(config);
        life(&machine, &machine.bring_up());
    }
}

#[test]
fn a_life_over_pci() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let driver = VirtioIommu::bring_up(UNIT, machine.pci(), machine.config(), &machine.platform).unwrap();
    life(&machine, &driver);
}

#[test]
fn a_life_with_answers_late_and_in_any_order() {
    for order in [Order::First, Order::Last, Order::Random(7)] {
        let machine = Machine::new(VirtioIommuConfig::default());
        let driver = machine.bring_up();
        machine.model.set_order(order);
        machine.model.set_latency(3);
        life(&machine, &driver);
    }
}

#[test]
fn a_life_where_stores_wait_for_their_barriers() {
    for visibility in [Visibility::Held, Visibility::Mixed(1), Visibility::Mixed(2)] {
        let machine = Machine::new(VirtioIommuConfig::default());
        machine.memory.set_visibility(visibility);
        life(&machine, &machine.bring_up());
    }
}

#[test]
fn a_plan_is_what_the_configuration_says() {
    let machine = Machine::new(VirtioIommuConfig {
        page_size_mask: 0x4020_1000,
        input: (0x10_0000, 0x2f_ffff_ffff),
        ..VirtioIommuConfig::default()
    });
    let driver = machine.bring_up();
    let whole = Requirements::default();
    assert_eq!(driver.plan(&whole), Ok(Plan::Requests { page_sizes: 0x4020_1000, addr_bits: 38 }));
    let windows: Vec<_> = driver.forbidden().iter().map(|window| (window.start.0, window.last().0)).collect();
    assert_eq!(windows, [(0, 0xf_ffff), (0x30_0000_0000, 0x3f_ffff_ffff)]);
    let pasids = driver.plan(&Requirements { pasid_bits: 4, ..whole });
    assert_eq!(pasids, Err(Refused::Pasid { iommu: UNIT, has: 0, needs: 4 }));
    assert!(driver.plan(&Requirements { dirty: true, ..whole }).is_err());
    assert!(driver.plan(&Requirements { nest_parent: true, ..whole }).is_err());
    assert_eq!(driver.plan(&Requirements { coherent: true, addr_bits: 32, ..whole }), driver.plan(&whole));
    let tag = tag(&driver);
    let page = Span { start: machine.page().phys(), bytes: PAGE };
    for outside in [0, 0xf_f000, 0x30_0000_0000, !0xfff] {
        let mapped = driver.map(tag, Iova(outside), page, Attributes::READ);
        assert!(matches!(mapped, Err(Refused::Rejected { request: "MAP", .. })), "{outside:#x}");
    }
    driver.map(tag, Iova(0x10_0000), page, Attributes::READ).unwrap();
    driver.map(tag, Iova(0x2f_ffff_f000), page, Attributes::READ).unwrap();
    machine.settled();
}

#[test]
fn what_requests_cannot_say_is_refused() {
    let machine = Machine::new(VirtioIommuConfig {
        features: VirtioIommuConfig::default().features & !features::MMIO,
        ..VirtioIommuConfig::default()
    });
    let driver = machine.bring_up();
    let tag = tag(&driver);
    let page = Span { start: machine.page().phys(), bytes: PAGE };
    let none = Attributes { read: false, write: false, ..Attributes::READ };
    for how in [Attributes { privileged: true, ..Attributes::READ }, Attributes::DOORBELL, none] {
        assert!(matches!(driver.map(tag, AT, page, how), Err(Refused::Unsupported { .. })), "{how:?}");
    }
    for (at, page) in [
        (Iova(AT.0 + 1), page),
        (AT, Span { start: PhysAddr(page.start.0 + 8), ..page }),
        (AT, Span { bytes: 100, ..page }),
        (AT, Span { bytes: 0, ..page }),
        (Iova(!0xfff), Span { bytes: 2 * PAGE, ..page }),
    ] {
        let mapped = driver.map(tag, at, page, Attributes::READ);
        assert!(matches!(mapped, Err(Refused::Rejected { .. })), "{at} {page}");
    }
    driver.map(tag, AT, page, Attributes::READ).unwrap();
    assert!(driver.map(tag, AT, page, Attributes::READ).is_err(), "mapped already");
    driver.map(tag, Iova(!0xfff), page, Attributes::READ).unwrap();
    assert!(driver.unmap(tag, Span { start: AT, bytes: 100 }).is_err(), "a part of a mapping");
    assert_eq!(driver.can_walk(&table()), Err(Refused::Format { iommu: UNIT, table: Format::ArmStage1 }));
    let slot = claim(&driver, NIC);
    let config = table();
    let root = Root { at: PhysAddr(0x8000_0000), levels: 4 };
    let foreign = Translation::Foreign { root, config: &config, tag };
    assert!(matches!(driver.put(&slot, None, &foreign), Err(Refused::Format { .. })));
    let with = driver.put(&slot, Some(Pasid(5)), &Translation::Requests { tag });
    assert_eq!(with, Err(Refused::Pasid { iommu: UNIT, has: 0, needs: 3 }));
    let none = driver.put(&slot, None, &Translation::Requests { tag: ioward_types::Tag(77) });
    assert_eq!(none, Err(Refused::NoTag { iommu: UNIT }));
    assert!(driver.tag(&Plan::Requests { page_sizes: PAGE, addr_bits: 20 }).is_err());
    assert!(driver.tag(&Plan::Tables(table())).is_err());
    let ats = driver.claim(&Claim { source: DISK, pasid_bits: 0, ats: true });
    assert!(matches!(ats, Err(Refused::Unsupported { .. })));
    assert!(driver.claim(&Claim { source: NIC, pasid_bits: 0, ats: false }).is_err(), "claimed");
    machine.settled();
}

fn table() -> TableConfig {
    TableConfig {
        format: Format::ArmStage1,
        in_bits: 48,
        out_bits: 48,
        page_sizes: PAGE,
        coherent: true,
        dirty: false,
        snoop: false,
    }
}

#[test]
fn doorbells_are_mapped_as_registers() {
    let machine = Machine::new(VirtioIommuConfig { reserved: Vec::new(), ..VirtioIommuConfig::default() });
    let driver = machine.bring_up();
    let nic = machine.device(NIC);
    let slot = claim(&driver, NIC);
    let tag = tag(&driver);
    let page = machine.page().phys();
    driver.map(tag, AT, Span { start: page, bytes: PAGE }, Attributes::DOORBELL).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
    machine.reaches(&nic, page);
    machine.settled();
}

#[test]
fn a_probe_tells_what_is_reserved() {
    let reserved = vec![
        Reserved { span: Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 }, msi: true },
        Reserved { span: Span { start: Iova(0x800_0000), bytes: 0x1000 }, msi: false },
    ];
    for probe_size in [48, 49, 512] {
        let config =
            VirtioIommuConfig { reserved: reserved.clone(), probe_size, ..VirtioIommuConfig::default() };
        let machine = Machine::new(config);
        let driver = machine.bring_up();
        let slot = claim(&driver, NIC);
        let seen: Vec<ReservedRegion> = driver.reserved_regions(&slot);
        let expected: Vec<_> =
            reserved.iter().map(|r| ReservedRegion { span: r.span, doorbell: r.msi }).collect();
        assert_eq!(seen, expected);
        assert_eq!(driver.reserved(&slot), [reserved[0].span, reserved[1].span]);
        // An interrupt is an interrupt, attached.
        let tag = tag(&driver);
        driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
        let bell = Iova(0xfee0_1000);
        let rung = machine.device(NIC).write(None, bell, &[0; 4]);
        assert_eq!(rung, Err(DmaError::Interrupt(bell)));
        machine.settled();
    }
    // A list that is too short for them.
    let config = VirtioIommuConfig { reserved, probe_size: 30, ..VirtioIommuConfig::default() };
    let machine = Machine::new(config);
    let claimed = machine.bring_up().claim(&Claim { source: NIC, pasid_bits: 0, ats: false });
    let why = "VIRTIO_IOMMU_S_INVAL";
    assert_eq!(claimed, Err(Refused::Rejected { iommu: UNIT, request: "PROBE", why }));
}

#[test]
fn an_endpoint_that_does_not_exist_is_refused() {
    let there = VirtioIommuConfig { endpoints: Some(vec![NIC]), ..VirtioIommuConfig::default() };
    let machine = Machine::new(there.clone());
    let driver = machine.bring_up();
    let refused = driver.claim(&Claim { source: DISK, pasid_bits: 0, ats: false });
    assert!(matches!(refused, Err(Refused::Rejected { why: "VIRTIO_IOMMU_S_NOENT", .. })), "{refused:?}");
    let _ = claim(&driver, NIC);
    // Without PROBE it is found out later.
    let machine =
        Machine::new(VirtioIommuConfig { endpoints: there.endpoints, ..VirtioIommuConfig::minimal() });
    let driver = machine.bring_up();
    let slot = claim(&driver, DISK);
    let tag = tag(&driver);
    let refused = driver.put(&slot, None, &Translation::Requests { tag });
    assert!(matches!(refused, Err(Refused::Rejected { request: "ATTACH", .. })), "{refused:?}");
    blocked(&machine.device(DISK));
    assert_eq!(driver.release(slot, true), Blocked::Confirmed);
    driver.give_back(tag).unwrap();
    machine.settled();
}

#[test]
fn faults_name_their_endpoint_and_address() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let driver = machine.bring_up();
    let (nic, disk) = (machine.device(NIC), machine.device(DISK));
    let slot = claim(&driver, NIC);
    let tag = tag(&driver);
    driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
    blocked(&disk);
    blocked(&nic);
    machine.model.set_tells_address(false);
    assert!(nic.read(None, AT, &mut [0; 4]).is_err());
    let seen = events(&driver);
    let seen: Vec<_> = seen
        .iter()
        .map(|event| match event {
            Event::Fault(fault) => (fault.source, fault.at, fault.access, fault.cause),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (DISK, Some(AT), Some(Access::Write), FaultCause::Blocked),
        (NIC, Some(AT), Some(Access::Write), FaultCause::NotMapped),
        (NIC, None, Some(Access::Read), FaultCause::NotMapped),
    ];
    assert_eq!(seen, expected);
    assert!(events(&driver).is_empty());
    assert!(machine.model.interrupts() >= 3, "reports interrupt, requests do not");
    machine.settled();
}

#[test]
fn buffers_of_events_are_given_again() {
    let machine = Machine::new(VirtioIommuConfig { queue_size: 8, ..VirtioIommuConfig::default() });
    let driver = machine.bring_up();
    let nic = machine.device(NIC);
    for round in 0..40 {
        (0..8).for_each(|_| blocked(&nic));
        assert_eq!(events(&driver).len(), 8, "round {round}");
    }
    assert_eq!(machine.model.lost_reports(), 0);
    (0..9).for_each(|_| blocked(&nic));
    assert_eq!((machine.model.lost_reports(), events(&driver).len()), (1, 8));
    machine.settled();
}

#[test]
fn domains_are_used_again_only_when_they_are_gone() {
    let machine = Machine::new(VirtioIommuConfig { domains: (5, 6), ..VirtioIommuConfig::default() });
    let driver = machine.bring_up();
    let slot = claim(&driver, NIC);
    let (one, two) = (tag(&driver), tag(&driver));
    assert_eq!((one.0, two.0), (5, 6));
    assert_eq!(driver.tag(&plan(&driver)), Err(Refused::NoTag { iommu: UNIT }));
    assert_eq!(driver.put(&slot, None, &Translation::Identity), Err(Refused::NoTag { iommu: UNIT }));
    let page = machine.page().phys();
    map(&driver, one, page).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag: one }).unwrap();
    assert!(driver.give_back(one).is_err(), "an endpoint is on it");
    driver.put(&slot, None, &Translation::Requests { tag: two }).unwrap();
    driver.give_back(one).unwrap();
    driver.put(&slot, None, &Translation::Identity).unwrap();
    assert_eq!(machine.model.domain_of(NIC), Some(5));
    driver.put(&slot, None, &Translation::Requests { tag: two }).unwrap();
    // What was mapped under the number before is not there any more.
    let again = tag(&driver);
    assert_eq!(again, one);
    driver.put(&slot, None, &Translation::Requests { tag: again }).unwrap();
    blocked(&machine.device(NIC));
    machine.settled();
}

#[test]
fn many_unmaps_are_confirmed_by_one_flush() {
    for queue_size in [4, 256] {
        let machine = Machine::new(VirtioIommuConfig { queue_size, ..VirtioIommuConfig::default() });
        let driver = machine.bring_up();
        let nic = machine.device(NIC);
        let slot = claim(&driver, NIC);
        let tag = tag(&driver);
        let page = machine.pages(100);
        for n in 0..100 {
            let to = Span { start: PhysAddr(page.0 + n * PAGE), bytes: PAGE };
            driver.map(tag, at(n).start, to, Attributes::READ_WRITE).unwrap();
        }
        driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
        machine.model.set_latency(2);
        machine.model.set_order(Order::Random(queue_size.into()));
        (0..100).for_each(|n| driver.unmap_later(tag, at(n)).unwrap());
        driver.flush(&[flush_of(tag)]).unwrap();
        assert_eq!(machine.model.counts(), (1, 0));
        (0..100).for_each(|n| assert!(nic.write(None, at(n).start, b"no").is_err()));
        // The same place at once: the map waits for the unmap.
        machine.model.set_order(Order::Last);
        map(&driver, tag, page).unwrap();
        driver.unmap_later(tag, at(0)).unwrap();
        map(&driver, tag, PhysAddr(page.0 + PAGE)).unwrap();
        machine.reaches(&nic, PhysAddr(page.0 + PAGE));
        driver.flush(&[flush_of(tag)]).unwrap();
        machine.reaches(&nic, PhysAddr(page.0 + PAGE));
        machine.settled();
    }
}

#[test]
fn several_cpus_ask_at_once() {
    let machine = Machine::new(VirtioIommuConfig { queue_size: 8, ..VirtioIommuConfig::default() });
    let driver = machine.bring_up();
    machine.model.set_order(Order::Random(3));
    let page = machine.page().phys();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (driver, machine) = (&driver, &machine);
            scope.spawn(move || {
                let source = SourceId(0x100 + thread as u32);
                let slot = claim(driver, source);
                let tag = tag(driver);
                let device = machine.device(source);
                driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
                for _ in 0..100 {
                    map(driver, tag, page).unwrap();
                    assert!(write(&device).is_ok());
                    driver.unmap_later(tag, at(0)).unwrap();
                    driver.flush(&[flush_of(tag)]).unwrap();
                    assert!(write(&device).is_err());
                    driver.poll(&mut |_| {});
                }
                assert_eq!(driver.release(slot, false), Blocked::Confirmed);
                driver.give_back(tag).unwrap();
            });
        }
    });
    assert_eq!(machine.model.counts(), (0, 0));
    machine.settled();
}
