//! The SMMUv3 driver over the model that judges it.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_rig;

use ioward_core::driver::{
    Access, AtcTarget, Blocked, Capabilities, Claim, Driver, Event, FaultCause, Plan, Refused, Requirements,
    Translation,
};
use ioward_drivers::smmuv3::{BringUp, BringUpError, Config};
use ioward_models::{DmaError, Visibility, smmuv3::Features};
use ioward_types::{DeviceControl, Format, Iova, Mmio, Nanos, Pasid, PhysAddr, Platform, SourceId};
use put::Put;
use smmuv3_rig::*;

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;

/// What the small ones have: one stage, one level, few bits, no snooping.
fn machines() -> Vec<(&'static str, Rig)> {
    let stage_2_only = Features {
        stage1: false,
        ssid_bits: 0,
        two_level_cds: false,
        ats: false,
        pri: false,
        ..Features::default()
    };
    let narrow = Features {
        out_bits: 40,
        vmid16: false,
        asid16: false,
        range_invalidation: false,
        ..Features::default()
    };
    let mut all = Vec::new();
    for (name, features) in [
        ("large", Features::default()),
        ("small", Features::small()),
        ("stage 2 only", stage_2_only),
        ("narrow", narrow),
        ("incoherent", Features { coherent: false, ..Features::default() }),
        (
            "linear",
            Features { sid_bits: 9, two_level_streams: false, two_level_cds: false, ..Features::default() },
        ),
        ("with EL2", Features { hyp: true, ..Features::default() }),
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

        let page = rig.page(7);
        let table = Table::new(&rig, &driver, 0);
        let at = AT & ((1 << table.config.in_bits) - 1);
        driver.put(&slot, None, &table.translation()).expect(name);
        assert_eq!(read(&device, None, at), Err(DmaError::Aborted(Iova(at))), "{name}: nothing is mapped");
        let fault = *faults(&driver).last().expect("it is reported");
        assert_eq!(
            (fault.source, fault.at, fault.access),
            (SourceId(SOURCE), Some(Iova(at)), Some(Access::Read))
        );
        assert_eq!((fault.cause, fault.name, fault.pasid), (FaultCause::NotMapped, "F_TRANSLATION", None));

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
        let violations = rig.memory.violations().take();
        assert!(violations.is_empty(), "{name}: {violations:#?}");
    }
}

#[test]
fn pasids_have_tables_of_their_own_beside_that_of_their_source() {
    for (bits, features) in [
        (10, Features::default()),
        (20, Features { ssid_bits: 20, ..Features::default() }),
        (5, Features { coherent: false, ..Features::default() }),
        (6, Features { two_level_cds: false, ..Features::default() }),
    ] {
        let rig = Rig::new(features, Visibility::Held);
        let driver = rig.bring_up(BringUp::Cold).expect("a sound SMMU");
        let device = rig.device(SOURCE, false);
        device.pasid(Some(bits));
        let slot = claim(&driver, SOURCE, bits, false);
        let [own, one, two] = [1, 2, 3].map(|byte| {
            let table = Table::new(&rig, &driver, bits);
            assert_eq!(table.config.format, Format::ArmStage1);
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
        assert_eq!(driver.block(&slot, Some(Pasid(low))), Blocked::Confirmed);
        assert_eq!(each()[1..], [None, Some(3)]);
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert_eq!(each(), [None, None, None]);
        // A PASID works without its source.
        driver.put(&slot, Some(Pasid(high)), &one.translation()).unwrap();
        assert_eq!(each(), [None, None, Some(2)]);
        let stage_2 = Table::new(&rig, &driver, 0);
        assert!(matches!(
            driver.put(&slot, None, &stage_2.translation()),
            Err(Refused::Shape { table: Format::ArmStage2, .. })
        ));
        assert_eq!(each(), [None, None, Some(2)], "a refusal changes nothing");
        for pasid in [0, 1 << bits] {
            assert!(driver.put(&slot, Some(Pasid(pasid)), &one.translation()).is_err());
        }
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        rig.memory.violations().assert_none();
    }
}

#[test]
fn a_live_source_goes_from_stage_2_to_stage_1_without_a_fault() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, false);
    let slot = claim(&driver, SOURCE, 6, false);
    let page = rig.page(5);
    let tables = [0, 6, 0, 6, 6].map(|bits| {
        let table = Table::new(&rig, &driver, bits);
        table.map(AT, page);
        table
    });
    // A request for each command that the model consumes.
    driver.put(&slot, None, &tables[0].translation()).unwrap();
    let (model, memory) = (rig.model.clone(), rig.memory.clone());
    for table in tables.iter().cycle().take(12) {
        driver.put(&slot, None, &table.translation()).unwrap();
        assert_eq!(read(&device, None, AT), Ok(5));
    }
    assert_eq!(events(&driver), []);
    memory.violations().assert_none();
    assert_eq!(model.events(), 0);
}

#[test]
fn flushes_of_any_size_pass_through_a_queue_of_any_size() {
    for (bits, ranges) in [(0, false), (1, false), (2, true), (3, false), (8, false)] {
        let rig = Rig::new(Features { range_invalidation: ranges, ..Features::default() }, Visibility::Held);
        let driver = rig.bring_up_as(&Config { command_queue: bits, ..config() }, BringUp::Cold).unwrap();
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
        rig.memory.violations().assert_none();
    }
}

#[test]
fn a_device_forgets_after_the_smmu_and_only_if_it_is_there() {
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
    // Unmapped: neither SMMU nor device.
    other.unmap(AT);
    let passengers = [target, AtcTarget { pasid: Some(Pasid(1)), ..target }];
    driver.flush(&[other.flush(AT, 0x1000, &passengers)]).unwrap();
    assert_eq!(both(), [None, None]);
    events(&driver);

    // A device that does not answer is an error, which the queue survives.
    device.set_deaf(true);
    let hung = driver.flush(&[other.flush(AT, 0x1000, &passengers)]).unwrap_err();
    assert_eq!((hung.iommu, hung.what), (IOMMU, "CERROR_ATC_INV_SYNC"));
    assert!(
        events(&driver).iter().any(|event| matches!(event, Event::Unit { what: "CERROR_ATC_INV_SYNC", .. }))
    );
    driver.flush(&[other.flush(AT, 0x1000, &[])]).unwrap();
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    let before = rig.model.commands().len();
    assert_eq!(driver.release(slot, true), Blocked::Confirmed);
    assert!(rig.model.commands()[before..].iter().all(|command| command[0] & 0xff != 0x40), "no CMD_ATC_INV");
    rig.memory.violations().assert_none();
}

#[test]
fn a_hung_smmu_is_told_and_what_was_owed_is_made_good() {
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
    assert_eq!((hung.iommu, hung.what), (IOMMU, "CMD_SYNC"));
    assert!(hung.waited > config().bound && hung.waited.0 < 2 * config().bound.0);
    assert_eq!(read(&device, None, AT), Ok(1), "which is why");
    for _ in 0..1000 {
        assert!(driver.flush(&[table.flush(AT, 0x1000, &[])]).is_err());
    }
    let waited = rig.platform.now().0 - start.0;
    assert!(waited < 3 * config().bound.0, "a queue that is known to be stuck is not waited for: {waited}");
    assert!(matches!(driver.put(&slot, None, &other.translation()), Err(Refused::Hung(_))));
    assert!(driver.give_back(table.tag).is_err());
    assert!(matches!(
        driver.claim(&Claim { source: SourceId(9), pasid_bits: 0, ats: false }),
        Err(Refused::Hung(_))
    ));

    rig.model.set_hung(false);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert!(read(&device, None, AT).is_err());
    driver.put(&slot, None, &other.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(2));
    driver.give_back(table.tag).unwrap();
    let slot_9 = claim(&driver, 9, 0, false);
    assert_eq!(driver.release(slot_9, false), Blocked::Confirmed);
    rig.memory.violations().assert_none();
}

#[test]
fn an_smmu_that_vanishes_is_an_error_and_nothing_worse() {
    let rig = Rig::large();
    rig.model.set_gone(true);
    assert_eq!(rig.bring_up(BringUp::Cold).err(), Some(BringUpError::Absent));
    rig.model.set_gone(false);
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let slot = claim(&driver, SOURCE, 0, false);
    let table = Table::new(&rig, &driver, 0);
    driver.put(&slot, None, &table.translation()).unwrap();
    rig.model.set_gone(true);
    assert!(driver.flush(&[table.flush(AT, 0x1000, &[])]).is_err());
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    let reported = events(&driver);
    assert!(
        !reported.is_empty() && reported.iter().all(|event| matches!(event, Event::Unit { .. })),
        "{reported:?}"
    );
    assert!(matches!(driver.release(slot, true), Blocked::Unconfirmed(_)));
}

#[test]
fn lost_events_are_told() {
    let rig = Rig::large();
    let driver = rig.bring_up_as(&Config { event_queue: 2, ..config() }, BringUp::Cold).unwrap();
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
        assert_eq!((lost, told), (1, 4), "round {round}: {all:?}");
        // Without an overflow none is reported.
        assert!(read(&device, None, AT).is_err());
        assert_eq!(events(&driver).len(), 1);
    }
    drop(slot);
    rig.memory.violations().assert_none();
}

#[test]
fn page_requests_are_reported_and_answered() {
    use ioward_drivers::smmuv3::PageResponse;
    use ioward_models::{Access, Request};
    let rig = Rig::large();
    let driver = rig.bring_up_as(&Config { page_request_queue: Some(3), ..config() }, BringUp::Cold).unwrap();
    let slot = claim(&driver, SOURCE, 6, true);
    let (source, pasid) = (SourceId(SOURCE), Some(Pasid(3)));
    let request = Request { source, pasid, at: Iova(AT), access: Access::Write, privileged: false };
    for group in 0..20 {
        assert!(rig.model.page_request(&request, group, true));
        assert_eq!(events(&driver), [Event::PageRequest { source, pasid, at: Iova(AT), group }]);
        driver.respond(source, pasid, group, PageResponse::Success).unwrap();
        let answers = rig.model.take_responses();
        assert_eq!(
            answers.iter().map(|answer| (answer.group, answer.pasid)).collect::<Vec<_>>(),
            [(group, pasid)]
        );
    }
    drop(slot);
    rig.memory.violations().assert_none();
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
            Plan::Tables(config) => (config.format, config.in_bits, config.out_bits, config.granule()),
            other => panic!("{other:?}"),
        })
    };
    let (large, wish) = (Features::default(), Requirements::default());
    assert_eq!(plan(large, wish), Ok((Format::ArmStage2, 48, 48, 0x1000)));
    assert_eq!(plan(large, Requirements { pasid_bits: 4, ..wish }), Ok((Format::ArmStage1, 48, 48, 0x1000)));
    assert_eq!(plan(large, Requirements { addr_bits: 32, ..wish }), Ok((Format::ArmStage2, 32, 48, 0x1000)));
    let tiny = Requirements { addr_bits: 24, ..wish };
    assert_eq!(plan(Features { stage2: false, ..large }, tiny), Ok((Format::ArmStage1, 25, 48, 0x1000)));
    let narrow = Features { out_bits: 40, ..large };
    assert_eq!(plan(narrow, wish), Ok((Format::ArmStage2, 40, 40, 0x1000)));
    let wide = Features { out_bits: 52, granules: 1 << 16, wide_virtual: true, stage2: false, ..large };
    assert_eq!(plan(wide, wish), Ok((Format::ArmStage1, 52, 52, 0x1_0000)));
    let refused = |features, wish| plan(features, wish).unwrap_err();
    assert!(matches!(
        refused(large, Requirements { pasid_bits: 11, ..wish }),
        Refused::Pasid { has: 10, needs: 11, .. }
    ));
    let small = Features::small();
    assert!(matches!(refused(small, Requirements { pasid_bits: 1, ..wish }), Refused::Pasid { has: 0, .. }));
    assert!(matches!(
        refused(small, Requirements { nest_parent: true, ..wish }),
        Refused::Unsupported { .. }
    ));
    assert!(matches!(refused(small, Requirements { dirty: true, ..wish }), Refused::Unsupported { .. }));
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let rig = Rig::new(Features::small(), Visibility::Immediate);
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let expected = Capabilities { snoop: true, ..Capabilities::default() };
    assert_eq!(driver.capabilities(), expected);
    let claim_of = |source, pasid_bits, ats| {
        driver.claim(&Claim { source: SourceId(source), pasid_bits, ats }).map(|slot| slot.source)
    };
    assert!(matches!(claim_of(0x100, 0, false), Err(Refused::Source { limit: 0x100, .. })));
    assert!(matches!(claim_of(1, 3, false), Err(Refused::Pasid { has: 0, needs: 3, .. })));
    assert!(matches!(claim_of(1, 0, true), Err(Refused::Unsupported { .. })));
    assert_eq!(claim_of(1, 0, false), Ok(SourceId(1)));
    assert!(matches!(claim_of(1, 0, false), Err(Refused::Claimed { .. })));

    let large = Rig::large();
    let other = large.bring_up(BringUp::Cold).unwrap();
    let foreign = Table::new(&large, &other, 0);
    assert!(matches!(
        driver.can_walk(&foreign.config),
        Err(Refused::Format { table: Format::ArmStage2, .. })
    ));
    let slot = claim(&driver, 2, 0, false);
    let own = Table::new(&rig, &driver, 0);
    let mut misaligned = own.root;
    misaligned.at = PhysAddr(misaligned.at.0 + 8);
    let what = Translation::Table { root: misaligned, config: &own.config, tag: own.tag };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Shape { .. })));
    let what =
        Translation::Table { root: own.root, config: &own.config, tag: ioward_types::Tag(own.tag.0 + 1) };
    assert!(matches!(driver.put(&slot, None, &what), Err(Refused::Shape { .. })), "a tag nobody was given");
    let mut other_slot = claim(&other, 2, 0, false);
    other_slot.iommu = ioward_types::IommuId(99);
    assert!(matches!(driver.put(&other_slot, None, &own.translation()), Err(Refused::NoSlot { .. })));
}

#[test]
fn memory_that_runs_out_is_told_and_changes_nothing() {
    let rig = Rig::large();
    for budget in 0.. {
        rig.memory.set_budget(Some(budget));
        match rig.bring_up(BringUp::Cold) {
            Err(BringUpError::NoMemory(_)) => assert_eq!(rig.model.read32(0x20), 0, "CR0 is as it was"),
            Ok(driver) => {
                rig.memory.set_budget(Some(0));
                let what = Claim { source: SourceId(SOURCE), pasid_bits: 8, ats: false };
                assert!(matches!(driver.claim(&what), Err(Refused::NoMemory(_))));
                rig.memory.set_budget(None);
                let slot = claim(&driver, SOURCE, 8, false);
                let table = Table::new(&rig, &driver, 8);
                table.map(AT, rig.page(1));
                rig.memory.set_budget(Some(0));
                assert_eq!(
                    driver.put(&slot, Some(Pasid(200)), &table.translation()),
                    Err(Refused::NoMemory(ioward_types::OutOfMemory))
                );
                assert_eq!(driver.block(&slot, None), Blocked::Confirmed, "blocking needs no memory");
                assert_eq!(driver.release(slot, false), Blocked::Confirmed);
                break;
            }
            other => panic!("{:?}", other.err()),
        }
    }
    rig.memory.violations().assert_none();
}

#[test]
fn a_wait_is_bounded_by_the_configuration() {
    let rig = Rig::large();
    rig.model.set_hung(true);
    let start = rig.platform.now();
    let short = Config { bound: Nanos(50_000), ..config() };
    assert!(matches!(rig.bring_up_as(&short, BringUp::Cold), Err(BringUpError::Hung(_))));
    assert!(rig.platform.now().0 - start.0 < 200_000);
}
