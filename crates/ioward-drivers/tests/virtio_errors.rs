//! What the virtio-iommu driver makes of a device that rejects, is late, hangs, lies or leaves.
#![cfg(feature = "virtio")]

#[path = "support/put.rs"]
mod put;
mod virtio_machine;

use ioward_core::driver::{Blocked, Claim, Driver, Event, MapRequests, Refused, Translation};
use ioward_models::DmaEngine;
use ioward_models::virtio::{Trick, Verdict, VirtioIommuConfig};
use ioward_types::{Attributes, Iova, PhysAddr, Span, Tag};
use put::Put;
use virtio_machine::*;

const ATTACH: u8 = 1;
const DETACH: u8 = 2;
const MAP: u8 = 3;
const UNMAP: u8 = 4;
const PROBE: u8 = 5;

/// The next request of this kind, `skip` of them passed over, meets this; the others are carried out.
fn on(machine: &Machine, kind: u8, skip: usize, verdict: Verdict) {
    let mut left = Some(skip);
    machine.model.set_request_filter(Some(Box::new(move |_, bytes| match left {
        Some(0) if bytes.first() == Some(&kind) => {
            left = None;
            verdict
        }
        Some(n) if bytes.first() == Some(&kind) => {
            left = Some(n - 1);
            Verdict::Process
        }
        _ => Verdict::Process,
    })));
}

struct Ready {
    machine: Machine,
    driver: Unit,
    nic: DmaEngine,
    slot: ioward_core::driver::Slot,
    tag: Tag,
    page: PhysAddr,
}

/// A NIC on a domain with one page.
fn ready(config: VirtioIommuConfig) -> Ready {
    let machine = Machine::new(config);
    let driver = machine.bring_up();
    let nic = machine.device(NIC);
    let slot = claim(&driver, NIC);
    let tag = tag(&driver);
    let page = machine.page().phys();
    map(&driver, tag, page).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
    machine.reaches(&nic, page);
    Ready { machine, driver, nic, slot, tag, page }
}

#[test]
fn a_rejected_attach_leaves_everything_as_it_was() {
    let eager = VirtioIommuConfig::default();
    let late = VirtioIommuConfig { eager_detach: false, ..eager.clone() };
    for config in [eager, late] {
        let r = ready(config);
        let other = tag(&r.driver);
        for status in [1, 2, 3, 4, 8, 77] {
            on(&r.machine, ATTACH, 0, Verdict::Answer(status));
            let put = r.driver.put(&r.slot, None, &Translation::Requests { tag: other });
            // What is not supported at once is tried in two steps.
            assert_eq!(put.is_ok(), status == 2, "{status}: {put:?}");
            if let Err(error) = put {
                assert!(matches!(error, Refused::Rejected { request: "ATTACH", .. }), "{error:?}");
            } else {
                r.driver.put(&r.slot, None, &Translation::Requests { tag: r.tag }).unwrap();
            }
            r.machine.reaches(&r.nic, r.page);
        }
        on(&r.machine, ATTACH, 0, Verdict::Unwritten);
        assert!(r.driver.put(&r.slot, None, &Translation::Identity).is_err());
        r.machine.reaches(&r.nic, r.page);
        assert_eq!(r.driver.release(r.slot, false), Blocked::Confirmed);
        blocked(&r.nic);
        r.driver.give_back(other).unwrap();
        r.driver.give_back(r.tag).unwrap();
        assert_eq!(r.machine.model.counts(), (0, 0));
        r.machine.settled();
    }
}

#[test]
fn mappings_that_cannot_be_made_again_undo_the_attach() {
    let r = ready(VirtioIommuConfig::default());
    let other = tag(&r.driver);
    for n in 0..5 {
        let to = Span { start: r.page, bytes: PAGE };
        r.driver.map(other, at(n).start, to, Attributes::READ).unwrap();
    }
    on(&r.machine, MAP, 3, Verdict::Answer(8));
    let put = r.driver.put(&r.slot, None, &Translation::Requests { tag: other });
    let why = "VIRTIO_IOMMU_S_NOMEM";
    assert_eq!(put, Err(Refused::Rejected { iommu: UNIT, request: "MAP", why }));
    r.machine.reaches(&r.nic, r.page);
    // It is not held against the domain.
    r.driver.put(&r.slot, None, &Translation::Requests { tag: other }).unwrap();
    r.driver.flush(&[flush_of(other)]).unwrap();
    assert_eq!(r.machine.model.counts(), (1, 5));
    r.machine.settled();
}

#[test]
fn a_domain_for_one_endpoint_refuses_the_second() {
    let r = ready(VirtioIommuConfig { shares_domains: false, ..VirtioIommuConfig::default() });
    let other = claim(&r.driver, DISK);
    let put = r.driver.put(&other, None, &Translation::Requests { tag: r.tag });
    let why = "VIRTIO_IOMMU_S_UNSUPP";
    assert_eq!(put, Err(Refused::Rejected { iommu: UNIT, request: "ATTACH", why }));
    blocked(&r.machine.device(DISK));
    r.machine.reaches(&r.nic, r.page);
    r.machine.settled();
}

#[test]
fn a_rejected_map_maps_nothing() {
    let r = ready(VirtioIommuConfig::default());
    let to = Span { start: r.page, bytes: PAGE };
    on(&r.machine, MAP, 0, Verdict::Answer(8));
    let mapped = r.driver.map(r.tag, at(1).start, to, Attributes::READ_WRITE);
    let why = "VIRTIO_IOMMU_S_NOMEM";
    assert_eq!(mapped, Err(Refused::Rejected { iommu: UNIT, request: "MAP", why }));
    r.driver.flush(&[flush_of(r.tag)]).unwrap();
    r.driver.map(r.tag, at(1).start, to, Attributes::READ_WRITE).unwrap();
    r.machine.settled();
}

#[test]
fn a_rejected_unmap_is_never_confirmed() {
    for verdict in [Verdict::Answer(5), Verdict::Answer(6), Verdict::Unwritten] {
        let r = ready(VirtioIommuConfig::default());
        on(&r.machine, UNMAP, 0, verdict);
        r.driver.unmap_later(r.tag, at(0)).unwrap();
        for _ in 0..2 {
            assert!(r.driver.flush(&[flush_of(r.tag)]).is_err());
        }
        assert!(r.driver.unmap(r.tag, at(9)).is_err(), "nothing of this domain is confirmed");
        // Until nobody is on it.
        assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
        r.driver.flush(&[flush_of(r.tag)]).unwrap();
        blocked(&r.nic);
        r.driver.put(&r.slot, None, &Translation::Requests { tag: r.tag }).unwrap();
        blocked(&r.nic);
        r.machine.settled();
    }
}

#[test]
fn a_rejected_detach_is_not_confirmed() {
    let r = ready(VirtioIommuConfig::default());
    on(&r.machine, DETACH, 0, Verdict::Answer(3));
    assert!(matches!(r.driver.block(&r.slot, None), Blocked::Unconfirmed(_)));
    assert!(r.driver.give_back(r.tag).is_err());
    r.machine.reaches(&r.nic, r.page);
    assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
    blocked(&r.nic);
    r.driver.give_back(r.tag).unwrap();
    // A release that was not confirmed is owed, and paid by the next claim.
    let tag = tag(&r.driver);
    r.driver.put(&r.slot, None, &Translation::Requests { tag }).unwrap();
    on(&r.machine, DETACH, 0, Verdict::Answer(3));
    assert!(matches!(r.driver.release(r.slot, false), Blocked::Unconfirmed(_)));
    assert_eq!(r.machine.model.domain_of(NIC), Some(tag.0));
    let slot = claim(&r.driver, NIC);
    assert_eq!(r.machine.model.domain_of(NIC), None);
    r.driver.give_back(tag).unwrap();
    assert_eq!(r.driver.release(slot, false), Blocked::Confirmed);
    r.machine.settled();
}

#[test]
fn a_probe_that_fails_is_no_claim() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let driver = machine.bring_up();
    for verdict in [Verdict::Answer(3), Verdict::Unwritten] {
        on(&machine, PROBE, 0, verdict);
        let refused = driver.claim(&Claim { source: NIC, pasid_bits: 0, ats: false });
        assert!(matches!(refused, Err(Refused::Rejected { request: "PROBE", .. })), "{refused:?}");
    }
    let _ = claim(&driver, NIC);
    machine.settled();
}

#[test]
fn hung_hardware_is_waited_for_once() {
    let r = ready(VirtioIommuConfig::default());
    r.machine.model.set_hung(true);
    let start = r.machine.platform.clone();
    use ioward_types::Platform;
    let before = start.now();
    r.driver.unmap_later(r.tag, at(0)).unwrap();
    assert!(r.driver.flush(&[flush_of(r.tag)]).is_err());
    assert!(matches!(r.driver.block(&r.slot, None), Blocked::Unconfirmed(_)));
    let to = Span { start: r.page, bytes: PAGE };
    for n in 0..100 {
        let mapped = r.driver.map(r.tag, at(n).start, to, Attributes::READ);
        assert!(matches!(mapped, Err(Refused::Hung(_))), "{mapped:?}");
    }
    assert!(r.driver.claim(&Claim { source: DISK, pasid_bits: 0, ats: false }).is_err());
    assert!(r.driver.give_back(r.tag).is_err());
    let waited = r.machine.platform.now().0 - before.0;
    assert!(waited < 2 * r.machine.config().patience.0, "{waited}");
    // It wakes up: what was asked has been done, and what was not confirmed still is not.
    r.machine.model.set_hung(false);
    assert!(r.driver.flush(&[flush_of(r.tag)]).is_err());
    assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
    blocked(&r.nic);
    r.driver.give_back(r.tag).unwrap();
    r.machine.settled();
}

#[test]
fn an_attach_without_an_answer_leaves_the_endpoint_in_doubt() {
    let r = ready(VirtioIommuConfig::default());
    let other = tag(&r.driver);
    let page = r.machine.page().phys();
    map(&r.driver, other, page).unwrap();
    on(&r.machine, ATTACH, 0, Verdict::Lose);
    let put = r.driver.put(&r.slot, None, &Translation::Requests { tag: other });
    assert!(matches!(put, Err(Refused::Hung(_))), "{put:?}");
    // The answer may come at any time: nothing else is asked before, and neither domain is given up.
    let asked = r.machine.model.requests();
    assert!(matches!(r.driver.block(&r.slot, None), Blocked::Unconfirmed(_)));
    assert!(r.driver.give_back(other).is_err() && r.driver.give_back(r.tag).is_err());
    assert_eq!(r.machine.model.requests(), asked);
    r.machine.model.find();
    assert_eq!(r.machine.model.domain_of(NIC), Some(other.0));
    assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
    blocked(&r.nic);
    r.driver.put(&r.slot, None, &Translation::Requests { tag: other }).unwrap();
    r.machine.reaches(&r.nic, page);
    r.driver.give_back(r.tag).unwrap();
    r.machine.settled();
}

#[test]
fn a_map_without_an_answer_is_not_reused() {
    let r = ready(VirtioIommuConfig::default());
    on(&r.machine, MAP, 0, Verdict::Lose);
    let to = Span { start: r.page, bytes: PAGE };
    assert!(matches!(r.driver.map(r.tag, at(1).start, to, Attributes::READ), Err(Refused::Hung(_))));
    assert!(r.driver.flush(&[flush_of(r.tag)]).is_err());
    r.machine.model.find();
    assert!(r.nic.read(None, at(1).start, &mut [0; 4]).is_ok(), "it is mapped after all");
    assert!(r.driver.unmap(r.tag, at(1)).is_err(), "and the driver does not say that it is not");
    r.machine.settled();
}

#[test]
fn a_number_that_an_unanswered_request_names_is_not_used_again() {
    let r = ready(VirtioIommuConfig::default());
    on(&r.machine, UNMAP, 0, Verdict::Lose);
    r.driver.unmap_later(r.tag, at(0)).unwrap();
    assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
    assert!(r.driver.give_back(r.tag).is_err());
    assert_ne!(tag(&r.driver), r.tag);
    r.machine.model.find();
    r.driver.give_back(r.tag).unwrap();
    assert_eq!(tag(&r.driver), r.tag);
    r.machine.settled();
}

#[test]
fn a_used_ring_of_garbage_is_an_error_and_not_believed() {
    let ids = [1, 2, 3, 126, 127, 128, 255, 0x1_0000, u32::MAX, u32::MAX - 1];
    let tricks = ids.map(Trick::UsedId).into_iter();
    let tricks = tricks.chain([2, 3, 64, 128, 0x7fff, 0x8000, 0xffff].map(Trick::IndexAhead));
    for trick in tricks.chain([Trick::Twice]) {
        let r = ready(VirtioIommuConfig::default());
        // A chain of lost requests makes other numbers the device's own.
        r.machine.model.set_trick(trick);
        let to = Span { start: r.page, bytes: PAGE };
        let first = r.driver.map(r.tag, at(1).start, to, Attributes::READ);
        let second = r.driver.map(r.tag, at(2).start, to, Attributes::READ);
        assert!(matches!(second, Err(Refused::Hung(_))), "{trick:?}: {first:?} {second:?}");
        assert!(r.driver.flush(&[flush_of(r.tag)]).is_ok() || first.is_err(), "{trick:?}");
        assert!(matches!(r.driver.block(&r.slot, None), Blocked::Unconfirmed(_)), "{trick:?}");
    }
}

#[test]
fn garbage_in_the_event_queue_is_an_event() {
    for id in [128, 129, 0x1_0000, u32::MAX] {
        let r = ready(VirtioIommuConfig::default());
        r.machine.model.set_trick(Trick::UsedId(id));
        assert!(r.nic.write(None, Iova(0), b"x").is_err());
        let seen = events(&r.driver);
        assert!(matches!(seen[..], [Event::Unit { .. }]), "{seen:?}");
        assert!(events(&r.driver).is_empty());
        r.driver.flush(&[flush_of(r.tag)]).unwrap();
    }
    let r = ready(VirtioIommuConfig::default());
    r.machine.model.report(&[2; 7]);
    // Reserved bytes are set: ignored. Everything is: an unknown reason.
    r.machine.model.report(&[0xff; 24]);
    let mut report = [0xff; 24];
    report[1..4].fill(0);
    r.machine.model.report(&report);
    let seen = events(&r.driver);
    let [Event::Unit { code: 7, .. }, Event::Fault(fault)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((fault.source.0, fault.at), (u32::MAX, Some(Iova(u64::MAX))));
    r.machine.settled();
}

#[test]
fn a_device_that_needs_a_reset_is_told_of_once_and_nothing_is_confirmed() {
    let r = ready(VirtioIommuConfig::default());
    r.machine.model.needs_reset();
    let seen = events(&r.driver);
    assert!(matches!(seen[..], [Event::Unit { what: "DEVICE_NEEDS_RESET", .. }]), "{seen:?}");
    assert!(events(&r.driver).is_empty());
    assert!(matches!(r.driver.block(&r.slot, None), Blocked::Unconfirmed(_)));
    let to = Span { start: r.page, bytes: PAGE };
    assert!(r.driver.map(r.tag, at(1).start, to, Attributes::READ).is_err());
}

#[test]
fn a_device_that_leaves_while_it_is_waited_for_is_not_waited_for() {
    for needs_reset in [false, true] {
        let r = ready(VirtioIommuConfig::default());
        r.machine.model.set_hung(true);
        if needs_reset {
            r.machine.model.needs_reset();
        } else {
            r.machine.model.set_gone(true);
        }
        let Blocked::Unconfirmed(hung) = r.driver.block(&r.slot, None) else { panic!("confirmed") };
        assert!(hung.waited < r.machine.config().patience, "{hung}");
        let what = if needs_reset { "DEVICE_NEEDS_RESET" } else { "the device has left the bus" };
        assert_eq!(hung.what, what);
        let seen = events(&r.driver);
        assert!(matches!(seen[..], [Event::Unit { .. }]), "{seen:?}");
        assert!(matches!(r.driver.release(r.slot, true), Blocked::Unconfirmed(_)));
    }
}

#[test]
fn an_endpoint_that_was_pulled_is_off() {
    let there = VirtioIommuConfig::default();
    let r = ready(there);
    on(&r.machine, DETACH, 0, Verdict::Answer(6));
    assert_eq!(r.driver.release(r.slot, true), Blocked::Confirmed);
    r.driver.give_back(r.tag).unwrap();
}

#[test]
fn slots_of_others_are_refused() {
    let r = ready(VirtioIommuConfig::default());
    let foreign = ioward_core::driver::Slot { iommu: ioward_types::IommuId(9), source: NIC, index: NIC.0 };
    let nobodys = ioward_core::driver::Slot { iommu: UNIT, source: DISK, index: DISK.0 };
    for slot in [foreign, nobodys] {
        let put = r.driver.put(&slot, None, &Translation::Identity);
        assert!(matches!(put, Err(Refused::NoSlot { .. })));
        assert!(matches!(r.driver.block(&slot, None), Blocked::Unconfirmed(_)));
        assert!(r.driver.reserved(&slot).is_empty());
        assert!(matches!(r.driver.release(slot, false), Blocked::Unconfirmed(_)));
    }
    r.machine.reaches(&r.nic, r.page);
}

/// The domain that passes everything through is not given away while an endpoint may be put back on it.
#[test]
fn a_rejected_attach_leaves_identity_what_it_was() {
    for config in [
        VirtioIommuConfig::default(),
        VirtioIommuConfig { eager_detach: false, ..VirtioIommuConfig::default() },
    ] {
        let r = ready(config);
        r.driver.put(&r.slot, None, &Translation::Identity).unwrap();
        for status in [1, 3, 8] {
            on(&r.machine, ATTACH, 0, Verdict::Answer(status));
            let put = r.driver.put(&r.slot, None, &Translation::Requests { tag: r.tag });
            assert!(matches!(put, Err(Refused::Rejected { request: "ATTACH", .. })), "{put:?}");
            assert_eq!(r.nic.write(None, Iova(r.page.0), b"through"), Ok(()), "{status}: as before");
            // Nobody else's domain has the number of the one that it is on.
            let on = r.machine.model.domain_of(NIC).unwrap();
            assert_ne!(tag(&r.driver).0, on, "{status}");
        }
        assert_eq!(r.driver.block(&r.slot, None), Blocked::Confirmed);
        blocked(&r.nic);
        r.machine.settled();
    }
}

/// Registers that bring lost requests back as soon as the NIC is on a domain and somebody waits.
struct Finder(Bus);

impl ioward_types::Mmio for Finder {
    fn read32(&self, at: usize) -> u32 {
        if self.0.0.domain_of(NIC).is_some() {
            self.0.0.find();
        }
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value)
    }
    fn write8(&self, at: usize, value: u8) {
        self.0.write8(at, value)
    }
}

/// An unmap that is on its way when the last endpoint leaves is answered before the next one finds its mappings.
#[test]
fn an_unmap_from_before_does_not_take_what_was_mapped_again() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let transport = ioward_drivers::virtio::VirtioMmio::new(Finder(Bus(machine.model.clone()))).unwrap();
    let driver =
        ioward_drivers::virtio::VirtioIommu::bring_up(UNIT, transport, machine.config(), &machine.platform)
            .unwrap();
    let (nic, page) = (machine.device(NIC), machine.page().phys());
    let (slot, tag) = (claim(&driver, NIC), tag(&driver));
    map(&driver, tag, page).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
    on(&machine, UNMAP, 0, Verdict::Lose);
    driver.unmap_later(tag, at(0)).unwrap();
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    map(&driver, tag, page).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
    machine.reaches(&nic, page);
    machine.settled();
}
