//! The RISC-V IOMMU driver over the model that judges it.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{
    Access, AtcTarget, Blocked, Capabilities, Claim, Driver, Event, FaultCause, Plan, Refused, Requirements,
    Translation,
};
use ioward_drivers::riscv::{BringUp, BringUpError, Config};
use ioward_models::{
    DmaError, Visibility,
    riscv::{Features, Interrupts},
};
use ioward_types::{
    DeviceControl, Format, Iova, Mmio, Nanos, Pasid, PhysAddr, Platform, Root, SourceId, TableConfig, Tag,
};
use put::Put;
use riscv_rig::*;

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;

/// What the small ones have: one stage, one level, few bits, no snooping.
fn machines() -> Vec<(&'static str, Rig)> {
    let large = Features::default();
    let base = Features { msi_flat: false, msi_mrif: false, ..large };
    let mut all = Vec::new();
    for (name, features) in [
        ("large", large),
        ("small", Features::small()),
        ("second stage only", Features { first_bits: 0, ..large }),
        ("first stage only", Features { second_bits: 0, ..large }),
        ("base format", base),
        ("base format, two levels", Features { levels: [false, true, false], ..base }),
        ("base format, three levels", Features { levels: [false, false, true], ..base }),
        ("two levels", Features { levels: [false, true, false], ..large }),
        ("one level", Features { levels: [true, false, false], ..large }),
        ("Sv39x4", Features { first_bits: 39, second_bits: 39, ..large }),
        ("Sv48x4", Features { first_bits: 48, second_bits: 48, ..large }),
        ("ranges", Features { ranges: true, non_leaf: true, ..large }),
        ("incoherent", Features { coherent: false, ..large }),
        ("starts bare", Features { starts_bare: true, ..large }),
        ("little queues", Features { queue_bits: 2, ..large }),
    ] {
        for visibility in
            [Visibility::Immediate, Visibility::Held, Visibility::Mixed(1), Visibility::Mixed(2)]
        {
            all.push((name, Rig::new(features, visibility)));
        }
    }
    all
}

#[test]
fn a_page_is_reached_while_it_is_mapped_and_not_before_or_after() {
    for (name, rig) in machines() {
        let driver = rig.bring_up(BringUp::Cold).expect(name);
        let device = rig.device(SOURCE, false);
        assert_eq!(read(&device, None, AT), Err(DmaError::Aborted(Iova(AT))), "{name}: nobody claimed it");
        assert!(faults(&driver).iter().all(|fault| fault.cause == FaultCause::Blocked));
        let slot = claim(&driver, SOURCE, 0, false);
        assert_eq!(read(&device, None, AT), Err(DmaError::Aborted(Iova(AT))), "{name}: claimed is blocked");
        let fault = *faults(&driver).last().expect("it is reported");
        assert_eq!((fault.source, fault.cause), (SourceId(SOURCE), FaultCause::Blocked));

        let page = rig.page(7);
        let table = Table::new(&rig, &driver, 0);
        let at = AT & ((1 << table.config.in_bits) - 1);
        driver.put(&slot, None, &table.translation()).expect(name);
        assert_eq!(read(&device, None, at), Err(DmaError::Aborted(Iova(at))), "{name}: nothing is mapped");
        let fault = *faults(&driver).last().expect("it is reported");
        assert_eq!(
            (fault.source, fault.at.map(|at| at.0 & !0xfff), fault.access),
            (SourceId(SOURCE), Some(at), Some(Access::Read)),
            "{name}"
        );
        assert_eq!((fault.cause, fault.pasid), (FaultCause::NotMapped, None));

        table.map(at, page);
        assert_eq!(read(&device, None, at), Ok(7), "{name}");
        device.write(None, Iova(at), &[9]).expect(name);
        assert_eq!(rig.byte(page), 9);
        table.unmap(at);
        assert_eq!(read(&device, None, at), Ok(9), "{name}: without a flush it is still cached");
        driver.flush(&[table.flush(at, 0x1000, &[])]).expect(name);
        assert_eq!(read(&device, None, at), Err(DmaError::Aborted(Iova(at))), "{name}: flushed");

        table.map(at, page);
        assert_eq!(read(&device, None, at), Ok(9));
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert_eq!(read(&device, None, at), Err(DmaError::Aborted(Iova(at))), "{name}: blocked");
        driver.put(&slot, None, &Translation::Identity).expect(name);
        assert_eq!(read(&device, None, page.0), Ok(9), "{name}: identity");
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        assert_eq!(read(&device, None, page.0), Err(DmaError::Aborted(Iova(page.0))), "{name}: released");
        driver.give_back(table.tag).expect(name);
        rig.settled(name);
    }
}

#[test]
fn pasids_have_tables_of_their_own_beside_that_of_their_source() {
    let large = Features::default();
    for (bits, features) in [
        (8, large),
        (9, large),
        (17, large),
        (20, large),
        (5, Features { coherent: false, ..large }),
        (6, Features { pd: [false, true, false], ..large }),
        (6, Features { pd: [false, false, true], ..large }),
        (8, Features { pd: [true, false, false], msi_flat: false, msi_mrif: false, ..large }),
        (10, Features { second_bits: 0, levels: [true, false, false], ..large }),
    ] {
        let rig = Rig::new(features, Visibility::Held);
        let driver = rig.bring_up(BringUp::Cold).expect("a sound IOMMU");
        let device = rig.device(SOURCE, false);
        device.pasid(Some(bits));
        let slot = claim(&driver, SOURCE, bits, false);
        let [own, one, two] = [1, 2, 3].map(|byte| {
            let table = Table::new(&rig, &driver, bits);
            assert_eq!(table.config.format, Format::RiscvFirst);
            table.map(AT, rig.page(byte));
            table
        });
        let (low, high) = (1, (1 << bits) - 1);
        let each = || [None, Some(low), Some(high)].map(|pasid| read(&device, pasid, AT).ok());
        driver.put(&slot, None, &own.translation()).unwrap();
        assert_eq!(each(), [Some(1), None, None]);
        assert!(faults(&driver).iter().all(|fault| fault.cause == FaultCause::Blocked));
        driver.put(&slot, Some(Pasid(low)), &one.translation()).unwrap();
        driver.put(&slot, Some(Pasid(high)), &two.translation()).unwrap();
        assert_eq!(each(), [Some(1), Some(2), Some(3)]);
        // Replaced behind the device's back, and the other way round.
        driver.put(&slot, Some(Pasid(low)), &two.translation()).unwrap();
        driver.put(&slot, None, &one.translation()).unwrap();
        assert_eq!(each(), [Some(2), Some(3), Some(3)]);
        driver.put(&slot, None, &Translation::Identity).unwrap();
        assert_eq!(read(&device, None, rig.page(8).0), Ok(8));
        assert_eq!(each()[1..], [Some(3), Some(3)]);
        driver.put(&slot, None, &own.translation()).unwrap();
        assert_eq!(each(), [Some(1), Some(3), Some(3)]);
        assert_eq!(driver.block(&slot, Some(Pasid(low))), Blocked::Confirmed);
        assert_eq!(each(), [Some(1), None, Some(3)]);
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert_eq!(each(), [None, None, None]);
        // A PASID works without its source.
        driver.put(&slot, Some(Pasid(high)), &one.translation()).unwrap();
        assert_eq!(each(), [None, None, Some(2)]);
        if features.second_bits != 0 {
            let second = Table::new(&rig, &driver, 0);
            assert!(matches!(
                driver.put(&slot, None, &second.translation()),
                Err(Refused::Shape { table: Format::RiscvSecond, .. })
            ));
            assert_eq!(driver.block(&slot, Some(Pasid(high))), Blocked::Confirmed);
            second.map(AT, rig.page(6));
            driver.put(&slot, None, &second.translation()).unwrap();
            assert_eq!(each(), [Some(6), None, None]);
            let beside = driver.put(&slot, Some(Pasid(low)), &one.translation());
            assert!(matches!(beside, Err(Refused::Unsupported { .. })), "{beside:?}");
        }
        assert!(matches!(
            driver.put(&slot, Some(Pasid(1 << bits)), &one.translation()),
            Err(Refused::Pasid { has, needs, .. }) if has == bits && needs == bits + 1
        ));
        for wrong in [Some(Pasid(0)), Some(Pasid(low))] {
            let what = Translation::Identity;
            assert!(matches!(driver.put(&slot, wrong, &what), Err(Refused::Unsupported { .. })));
        }
        let zero = driver.put(&slot, Some(Pasid(0)), &one.translation());
        assert!(matches!(zero, Err(Refused::Unsupported { .. })));
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        rig.settled("PASIDs");
    }
}

#[test]
fn a_live_source_goes_from_a_second_stage_to_a_first_and_back_without_a_fault() {
    for bits in [0, 6] {
        let rig = Rig::large();
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        let slot = claim(&driver, SOURCE, bits, false);
        let page = rig.page(5);
        let [second, other_second, first, other_first] = [0, 0, 6, 6].map(|bits| {
            let table = Table::new(&rig, &driver, bits);
            table.map(AT, page);
            table
        });
        driver.put(&slot, None, &second.translation()).unwrap();
        let before = rig.model.faults();
        let round = [&other_second, &first, &other_first, &first, &second, &first, &other_second];
        for table in round.into_iter().cycle().take(20) {
            driver.put(&slot, None, &table.translation()).unwrap();
            assert_eq!(read(&device, None, AT), Ok(5));
        }
        assert_eq!(events(&driver), []);
        assert_eq!(rig.model.faults(), before);
        rig.settled("live");
    }
}

#[test]
fn sources_of_one_page_of_contexts_do_not_disturb_each_other() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let sources = [0x10, 0x11, 0x3f, 0x40, 0x7f_ffff, 0xff_ffff];
    let tables: Vec<Table> = sources.iter().map(|_| Table::new(&rig, &driver, 0)).collect();
    let first = Table::new(&rig, &driver, 1);
    first.map(AT, rig.page(99));
    let devices = sources.map(|source| rig.device(source, false));
    let slots = sources.map(|source| claim(&driver, source, 0, false));
    for (n, table) in tables.iter().enumerate() {
        table.map(AT, rig.page(n as u8 + 1));
        driver.put(&slots[n], None, &table.translation()).unwrap();
    }
    for _ in 0..2 {
        // A change that takes a new page of contexts.
        driver.put(&slots[1], None, &first.translation()).unwrap();
        let all: Vec<_> = devices.iter().map(|device| read(device, None, AT).ok()).collect();
        assert_eq!(all, [Some(1), Some(99), Some(3), Some(4), Some(5), Some(6)]);
        driver.put(&slots[1], None, &tables[1].translation()).unwrap();
        assert_eq!(read(&devices[1], None, AT), Ok(2));
    }
    assert_eq!(events(&driver), []);
    for slot in slots {
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    }
    rig.settled("neighbours");
}

#[test]
fn flushes_of_any_size_pass_through_a_queue_of_any_size() {
    for (bits, ranges) in [(1, false), (2, true), (3, false), (8, false), (8, true)] {
        let rig = Rig::new(Features { ranges, ..Features::default() }, Visibility::Held);
        let config = Config { command_queue: bits, ..rig.config() };
        let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        let slot = claim(&driver, SOURCE, 0, false);
        let table = Table::new(&rig, &driver, 0);
        driver.put(&slot, None, &table.translation()).unwrap();
        let page = rig.page(1);
        for pages in [1, 2, 3, 5, 31, 33, 64, 65, 200] {
            let at = |n: u64| AT + n * 0x1000;
            (0..pages + 2).for_each(|n| table.map(at(n), page));
            (0..pages + 2).for_each(|n| assert_eq!(read(&device, None, at(n)), Ok(1)));
            (0..pages + 2).for_each(|n| table.unmap(at(n)));
            let flushes = [table.flush(at(1), pages * 0x1000, &[]), table.flush(at(1), 0x1000, &[])];
            driver.flush(&flushes).expect("room in time");
            (1..=pages).for_each(|n| assert!(read(&device, None, at(n)).is_err(), "page {n} of {pages}"));
            driver.flush(&[table.flush(at(0), (pages + 2) * 0x1000, &[])]).unwrap();
            while !events(&driver).is_empty() {}
        }
        rig.settled("flushes");
    }
}

#[test]
fn a_device_forgets_after_the_iommu_and_only_if_it_is_there() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, true);
    let slot = claim(&driver, SOURCE, 6, true);
    device.pasid(Some(6));
    let target = AtcTarget { source: SourceId(SOURCE), pasid: None };
    let (own, other) = (Table::new(&rig, &driver, 6), Table::new(&rig, &driver, 6));
    own.map(AT, rig.page(1));
    other.map(AT, rig.page(2));
    driver.put(&slot, None, &own.translation()).unwrap();
    driver.put(&slot, Some(Pasid(1)), &own.translation()).unwrap();
    device.ats(Some(12));
    let both = || [None, Some(1)].map(|pasid| read(&device, pasid, AT).ok());
    assert_eq!(both(), [Some(1), Some(1)]);
    // Replaced: the device may not go on with what it has.
    driver.put(&slot, Some(Pasid(1)), &other.translation()).unwrap();
    assert_eq!(both(), [Some(1), Some(2)]);
    driver.put(&slot, None, &other.translation()).unwrap();
    assert_eq!(both(), [Some(2), Some(2)]);
    // Unmapped: neither IOMMU nor device.
    other.unmap(AT);
    let passengers = [target, AtcTarget { pasid: Some(Pasid(1)), ..target }];
    driver.flush(&[other.flush(AT, 0x1000, &passengers)]).unwrap();
    assert_eq!(both(), [None, None]);
    events(&driver);

    // A device that does not answer is an error, which the queue survives.
    device.set_deaf(true);
    let hung = driver.flush(&[other.flush(AT, 0x1000, &passengers)]).unwrap_err();
    assert_eq!((hung.iommu, hung.what), (IOMMU, "cqcsr.cmd_to"));
    let reported = events(&driver);
    assert!(matches!(reported[..], [Event::Unit { what: "cqcsr.cmd_to", .. }]), "{reported:?}");
    driver.flush(&[other.flush(AT, 0x1000, &[])]).unwrap();
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    let before = rig.model.commands().len();
    assert_eq!(driver.release(slot, true), Blocked::Confirmed);
    assert!(rig.model.commands()[before..].iter().all(|command| command[0] & 0x7f != 4), "no ATS.INVAL");
    rig.settled("ATS");
}

#[test]
fn a_device_answers_while_it_may() {
    // EN_ATS is what lets a device's answer through (2.1.3.1): it is asked before its context is invalid.
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, true);
    let slot = claim(&driver, SOURCE, 0, true);
    let table = Table::new(&rig, &driver, 0);
    table.map(AT, rig.page(1));
    driver.put(&slot, None, &table.translation()).unwrap();
    device.ats(Some(12));
    assert_eq!(read(&device, None, AT), Ok(1));
    let before = rig.model.commands().len();
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    let commands: Vec<u64> =
        rig.model.commands()[before..].iter().map(|command| command[0] & 0x3ff).collect();
    let ask = commands.iter().position(|code| *code == 4).expect("ATS.INVAL");
    assert!(commands[..ask].contains(&3) && commands[ask..].contains(&3), "{commands:x?}");
    assert!(read(&device, None, AT).is_err());
    rig.settled("answers");
}

#[test]
fn a_hung_iommu_is_told_and_what_was_owed_is_made_good() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, false);
    let slot = claim(&driver, SOURCE, 0, false);
    let (table, other) = (Table::new(&rig, &driver, 0), Table::new(&rig, &driver, 0));
    table.map(AT, rig.page(1));
    other.map(AT, rig.page(2));
    driver.put(&slot, None, &table.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(1));

    rig.model.set_hung(true);
    let start = rig.platform.now();
    let Blocked::Unconfirmed(hung) = driver.block(&slot, None) else { panic!("it cannot know") };
    assert_eq!((hung.iommu, hung.what), (IOMMU, "IOFENCE.C"));
    assert!(hung.waited > config().bound && hung.waited.0 < 2 * config().bound.0);
    assert_eq!(read(&device, None, AT), Ok(1), "which is why");
    for _ in 0..1000 {
        assert!(driver.flush(&[table.flush(AT, 0x1000, &[])]).is_err());
    }
    let waited = rig.platform.now().0 - start.0;
    assert!(waited < 3 * config().bound.0, "a queue that is known to be stuck is not waited for: {waited}");
    assert!(matches!(driver.put(&slot, None, &other.translation()), Err(Refused::Hung(_))));
    assert!(driver.give_back(table.tag).is_err());

    rig.model.set_hung(false);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert!(read(&device, None, AT).is_err());
    driver.put(&slot, None, &other.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(2));
    driver.give_back(table.tag).unwrap();
    rig.settled("hung");
}

#[test]
fn an_iommu_that_vanishes_is_an_error_and_nothing_worse() {
    let rig = Rig::large();
    rig.model.set_gone(true);
    assert_eq!(rig.bring_up(BringUp::Cold).err(), Some(BringUpError::Absent));
    rig.model.set_gone(false);
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let slot = claim(&driver, SOURCE, 0, false);
    let table = Table::new(&rig, &driver, 0);
    driver.put(&slot, None, &table.translation()).unwrap();
    rig.model.set_gone(true);
    let start = rig.platform.now();
    assert!(driver.flush(&[table.flush(AT, 0x1000, &[])]).is_err());
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    let reported = events(&driver);
    assert!(
        !reported.is_empty() && reported.iter().all(|event| matches!(event, Event::Unit { .. })),
        "{reported:?}"
    );
    assert!(matches!(driver.release(slot, true), Blocked::Unconfirmed(_)));
    assert!(rig.platform.now().0 - start.0 < config().bound.0, "nobody waits for what is not there");
}

#[test]
fn lost_events_are_told() {
    let rig = Rig::large();
    let config = Config { fault_queue: 2, ..rig.config() };
    let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, false);
    let slot = claim(&driver, SOURCE, 0, false);
    let table = Table::new(&rig, &driver, 0);
    driver.put(&slot, None, &table.translation()).unwrap();
    for round in 0..5 {
        for n in 0..10 {
            assert!(read(&device, None, AT + n * 0x1000).is_err());
        }
        let all: Vec<Event> = std::iter::repeat_with(|| events(&driver)).take(3).flatten().collect();
        let lost = all.iter().filter(|event| matches!(event, Event::Lost(_))).count();
        let told = all.iter().filter(|event| matches!(event, Event::Fault(_))).count();
        // A queue of four holds three (3).
        assert_eq!((lost, told), (1, 3), "round {round}: {all:?}");
        // Without an overflow none is reported.
        assert!(read(&device, None, AT).is_err());
        assert_eq!(events(&driver).len(), 1);
    }
    drop(slot);
    rig.settled("lost");
}

#[test]
fn page_requests_are_reported_and_answered() {
    use ioward_drivers::riscv::PageResponse;
    use ioward_models::{Access, Request};
    let rig = Rig::large();
    let config = Config { page_request_queue: Some(3), ..rig.config() };
    let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
    let slot = claim(&driver, SOURCE, 6, true);
    let (source, pasid) = (SourceId(SOURCE), Some(Pasid(3)));
    let table = Table::new(&rig, &driver, 6);
    driver.put(&slot, pasid, &table.translation()).unwrap();
    let request = Request { source, pasid, at: Iova(AT), access: Access::Write, privileged: false };
    for group in 0..20 {
        rig.model.page_request(&request, Some(Access::Write), group, true);
        assert_eq!(events(&driver), [Event::PageRequest { source, pasid, at: Iova(AT), group }]);
        driver.respond(source, pasid, group, PageResponse::Success).unwrap();
        let answers = rig.model.take_responses();
        assert_eq!(answers.len(), 1);
        rig.model.page_request(&request, None, group, true);
        assert_eq!(events(&driver), [], "a stop marker");
    }
    // More than the queue takes.
    for group in 0..20 {
        rig.model.page_request(&request, Some(Access::Read), group, false);
    }
    let all = events(&driver);
    assert_eq!(all.iter().filter(|event| matches!(event, Event::PageRequest { .. })).count(), 7, "{all:?}");
    assert_eq!(all.iter().filter(|event| matches!(event, Event::Lost(1))).count(), 1, "{all:?}");
    rig.model.page_request(&request, Some(Access::Read), 1, true);
    assert_eq!(events(&driver).len(), 1);
    drop(slot);
    rig.settled("page requests");
}

#[test]
fn dirty_state_is_set_by_hardware_where_it_is_asked_for() {
    for (pasid_bits, pasid) in [(0, None), (4, None), (4, Some(5))] {
        let rig = Rig::large();
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        device.pasid(Some(4));
        let slot = claim(&driver, SOURCE, pasid_bits, false);
        let plan = |dirty| {
            let wish = Requirements { pasid_bits, dirty, ..Requirements::default() };
            driver.plan(&wish).unwrap()
        };
        let (plain, tracked) =
            (Table::planned(&rig, &driver, plan(false)), Table::planned(&rig, &driver, plan(true)));
        let page = rig.page(1);
        // V, R, W, U: neither accessed nor dirty.
        for table in [&plain, &tracked] {
            table.put(AT, page.0 >> 12 << 10 | 0x17);
        }
        let pid = pasid.map(Pasid);
        driver.put(&slot, pid, &plain.translation()).unwrap();
        assert!(read(&device, pasid, AT).is_err(), "what is not accessed faults");
        driver.put(&slot, pid, &tracked.translation()).unwrap();
        assert_eq!(read(&device, pasid, AT), Ok(1));
        assert_eq!(tracked.get(AT) & 0xc0, 0x40);
        device.write(pid, Iova(AT), &[2]).unwrap();
        assert_eq!(tracked.get(AT) & 0xc0, 0xc0);
        driver.put(&slot, pid, &plain.translation()).unwrap();
        assert!(read(&device, pasid, AT).is_err());
        assert_eq!(plain.get(AT) & 0xc0, 0);
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        rig.settled("dirty");
    }
}

#[test]
fn a_table_of_somebody_elses_is_installed_as_it_is() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, false);
    let slot = claim(&driver, SOURCE, 4, false);
    // A hypervisor's stage 2 of five levels, and a process of three.
    let second = TableConfig {
        format: Format::RiscvSecond,
        in_bits: 59,
        out_bits: 56,
        page_sizes: 1 << 12 | 1 << 16 | 1 << 21 | 1 << 30 | 1 << 39,
        coherent: true,
        dirty: false,
        snoop: true,
    };
    let first = TableConfig { format: Format::RiscvFirst, in_bits: 39, page_sizes: 1 << 12, ..second };
    let guest = Table::planned(&rig, &driver, Plan::Tables(second));
    assert_eq!(guest.root.levels, 5);
    let process = Table::planned(&rig, &driver, Plan::Tables(first));
    let high = 0x7f_1234_5678_9000;
    guest.map(high, rig.page(1));
    process.map(0x1234_5000, rig.page(2));
    driver.put(&slot, None, &guest.foreign()).unwrap();
    assert_eq!(read(&device, None, high), Ok(1));
    driver.put(&slot, None, &process.foreign()).unwrap();
    assert_eq!(read(&device, None, 0x1234_5000), Ok(2));
    // Rule 11: what it cannot walk is refused with both sides named.
    let wide = TableConfig { out_bits: 57, ..second };
    let what = Translation::Foreign { root: guest.root, config: &wide, tag: guest.tag };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Width { has: 56, needs: 57, .. })));
    let what = Translation::Foreign { root: process.root, config: &first, tag: guest.tag };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Shape { .. })), "another stage's tag");
    assert_eq!(read(&device, None, 0x1234_5000), Ok(2), "what was refused has changed nothing");
    rig.settled("foreign");
}

#[test]
fn plans_follow_requirements_and_hardware() {
    let plan = |features: Features, wish: Requirements| {
        let rig = Rig::new(features, Visibility::Immediate);
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let plan = driver.plan(&wish);
        if let Ok(Plan::Tables(config)) = &plan {
            driver.can_walk(config).expect("it walks what it plans");
        }
        plan.map(|plan| match plan {
            Plan::Tables(config) => (config.format, config.in_bits, config.out_bits, config.coherent),
            other => panic!("{other:?}"),
        })
    };
    let (large, wish) = (Features::default(), Requirements::default());
    assert_eq!(plan(large, wish), Ok((Format::RiscvSecond, 50, 56, true)));
    assert_eq!(plan(large, Requirements { pasid_bits: 4, ..wish }), Ok((Format::RiscvFirst, 47, 56, true)));
    assert_eq!(plan(large, Requirements { addr_bits: 40, ..wish }), Ok((Format::RiscvSecond, 40, 56, true)));
    assert_eq!(plan(Features::small(), wish), Ok((Format::RiscvFirst, 38, 40, false)));
    let refused = |features, wish| plan(features, wish).unwrap_err();
    assert!(matches!(
        refused(Features::small(), Requirements { pasid_bits: 1, ..wish }),
        Refused::Pasid { has: 0, needs: 1, .. }
    ));
    assert!(matches!(
        refused(large, Requirements { pasid_bits: 21, ..wish }),
        Refused::Pasid { has: 20, needs: 21, .. }
    ));
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let rig = Rig::new(Features::small(), Visibility::Immediate);
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    assert_eq!(driver.capabilities(), Capabilities::default());
    let claim_of = |source, pasid_bits, ats| {
        driver.claim(&Claim { source: SourceId(source), pasid_bits, ats }).map(|slot| slot.source)
    };
    assert!(matches!(claim_of(0x80, 0, false), Err(Refused::Source { limit: 0x80, .. })));
    assert!(matches!(claim_of(1, 3, false), Err(Refused::Pasid { has: 0, needs: 3, .. })));
    assert!(matches!(claim_of(1, 0, true), Err(Refused::Unsupported { what: "ATS", .. })));
    assert_eq!(claim_of(1, 0, false), Ok(SourceId(1)));
    assert!(matches!(claim_of(1, 0, false), Err(Refused::Claimed { .. })));

    let large = Rig::large();
    let other = large.bring_up(BringUp::Cold).unwrap();
    let expected = Capabilities { pasid_bits: 20, ats: true, dirty: true, coherent: true, snoop: true };
    assert_eq!(other.capabilities(), expected);
    let foreign = Table::new(&large, &other, 0);
    assert!(matches!(
        driver.can_walk(&foreign.config),
        Err(Refused::Format { table: Format::RiscvSecond, .. })
    ));
    let slot = claim(&driver, 2, 0, false);
    let own = Table::new(&rig, &driver, 0);
    let misaligned = Root { at: PhysAddr(own.root.at.0 + 8), ..own.root };
    let what = Translation::Table { root: misaligned, config: &own.config, tag: own.tag };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Shape { .. })));
    let what = Translation::Table { root: own.root, config: &own.config, tag: Tag(own.tag.0 + 1) };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Shape { .. })), "a tag nobody was given");
    let mut other_slot = claim(&other, 2, 0, false);
    other_slot.iommu = ioward_types::IommuId(99);
    assert!(matches!(driver.put(&other_slot, None, &own.translation()), Err(Refused::NoSlot { .. })));
    assert!(matches!(driver.block(&other_slot, None), Blocked::Unconfirmed(_)));
}

#[test]
fn memory_that_runs_out_is_told_and_changes_nothing() {
    let rig = Rig::large();
    for budget in 0.. {
        rig.memory.set_budget(Some(budget));
        match rig.bring_up(BringUp::Cold) {
            Err(BringUpError::NoMemory(_)) => assert_eq!(rig.model.read32(0x10), 0, "ddtp is as it was"),
            Ok(driver) => {
                rig.memory.set_budget(Some(0));
                let what = Claim { source: SourceId(SOURCE), pasid_bits: 17, ats: false };
                assert!(matches!(driver.claim(&what), Err(Refused::NoMemory(_))));
                rig.memory.set_budget(None);
                let slot = claim(&driver, SOURCE, 17, false);
                let (table, other) = (Table::new(&rig, &driver, 8), Table::new(&rig, &driver, 8));
                table.map(AT, rig.page(1));
                other.map(AT, rig.page(2));
                let device = rig.device(SOURCE, false);
                rig.memory.set_budget(Some(0));
                assert_eq!(
                    driver.put(&slot, Some(Pasid(0x1_0000)), &table.translation()),
                    Err(Refused::NoMemory(ioward_types::OutOfMemory))
                );
                // Replacing goes through blocked where there is no memory for a copy.
                driver.put(&slot, None, &table.translation()).unwrap();
                assert_eq!(read(&device, None, AT), Ok(1));
                driver.put(&slot, None, &other.translation()).unwrap();
                assert_eq!(read(&device, None, AT), Ok(2));
                assert_eq!(driver.block(&slot, None), Blocked::Confirmed, "blocking needs no memory");
                assert_eq!(driver.release(slot, false), Blocked::Confirmed);
                break;
            }
            other => panic!("{:?}", other.err()),
        }
    }
    rig.memory.set_budget(None);
    rig.settled("no memory");
}

#[test]
fn a_wait_is_bounded_by_the_configuration() {
    for stuck in [false, true] {
        let rig = Rig::large();
        rig.model.set_hung(!stuck);
        rig.model.set_stuck(stuck);
        let start = rig.platform.now();
        let short = Config { bound: Nanos(50_000), ..rig.config() };
        assert!(matches!(rig.bring_up_as(&short, BringUp::Cold), Err(BringUpError::Hung(_))));
        assert!(rig.platform.now().0 - start.0 < 200_000);
    }
}

#[test]
fn interrupts_are_wired_or_messages_as_the_configuration_says() {
    use ioward_drivers::riscv::{Interrupts as Way, Message};
    use ioward_models::riscv::Signal;
    let message = |n: u32| Message { address: PhysAddr(0x2800_0000 + u64::from(n) * 0x1000), data: 0x40 + n };
    let wired = Way::Wired { command: 0, fault: 1, page_request: 3 };
    let messages = Way::Messages { command: message(0), fault: message(1), page_request: message(1) };
    let large = Features::default();
    for (features, way) in [
        (large, wired),
        (large, messages),
        (Features { interrupts: Interrupts::Wires, ..large }, wired),
        (Features { interrupts: Interrupts::Messages, ..large }, messages),
    ] {
        let rig = Rig::new(features, Visibility::Held);
        let config = Config { interrupts: way, ..rig.config() };
        let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        rig.model.take_signals();
        for round in 0..3 {
            assert!(read(&device, None, AT).is_err());
            if way == wired {
                assert_eq!(rig.model.wires(), 1 << 1, "round {round}");
            } else {
                let expected = Signal::Msi { address: message(1).address, data: message(1).data };
                assert_eq!(rig.model.take_signals(), [expected], "round {round}");
            }
            assert_eq!(faults(&driver).len(), 1);
            assert_eq!(rig.model.wires(), 0);
        }
        rig.settled("interrupts");
    }
    let refused = |features, interrupts| {
        let rig = Rig::new(features, Visibility::Held);
        rig.bring_up_as(&Config { interrupts, ..rig.config() }, BringUp::Cold).err().expect("refused")
    };
    let only = |interrupts| Features { interrupts, ..large };
    assert!(matches!(refused(only(Interrupts::Wires), messages), BringUpError::Unsupported { .. }));
    assert!(matches!(refused(only(Interrupts::Messages), wired), BringUpError::Unsupported { .. }));
    let one = Features { vector_bits: 0, ..large };
    assert!(matches!(refused(one, wired), BringUpError::Locked { register: "icvec", .. }));
    let beyond = Way::Wired { command: 0, fault: 16, page_request: 0 };
    assert!(matches!(refused(large, beyond), BringUpError::Config(_)));
}
