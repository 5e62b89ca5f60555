//! What the SMMUv3 driver makes of errors, and of hardware that says what it must not.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_bench;

use ioward_core::driver::{Blocked, Driver, Event, FaultCause, Flush, Hung, Plan, Requirements, Translation};
use ioward_drivers::smmuv3::{BringUp, BringUpError, SmmuV3};
use ioward_types::{Iova, PhysAddr, Root, Span, Tag};
use put::Put;
use smmuv3_bench::*;

const CR0: usize = 0x20;
const GBPA: usize = 0x44;
const GERROR: usize = 0x60;
const GERRORN: usize = 0x64;
const CMDQ_CONS: usize = 0x9c;

fn tag(smmu: &Smmu) -> (Plan, Tag) {
    let plan = smmu.plan(&Requirements::default()).unwrap();
    (plan, smmu.tag(&plan).unwrap())
}

fn flush(smmu: &Smmu, tag: Tag) -> Result<(), Hung> {
    let span = Span { start: Iova(0x1000), bytes: 0x1000 };
    smmu.flush(&[Flush { tag, span, granule: 0x1000, tables_went: false, atc: &[] }])
}

fn events(smmu: &Smmu) -> Vec<Event> {
    let mut all = Vec::new();
    smmu.poll(&mut |event| all.push(event));
    all
}

fn commands(bench: &Bench) -> Vec<[u64; 2]> {
    let command = |step| if let Step::Command(command) = step { Some(command) } else { None };
    bench.take_steps().into_iter().filter_map(command).collect()
}

#[test]
fn a_command_that_is_refused_fails_its_batch_and_no_other() {
    for after in 0..2 {
        let (bench, registers, smmu) = bring_up(Ids::LARGE);
        let (_, tag) = tag(&smmu);
        for _ in 0..20 {
            bench.take_steps();
            registers.stop_at(after, 1);
            assert_eq!(flush(&smmu, tag).unwrap_err().what, "CERROR_ILL");
            let reported = events(&smmu);
            assert!(matches!(reported[..], [Event::Unit { what: "CERROR_ILL", .. }]), "{reported:?}");
            assert!(commands(&bench).len() >= 2, "the queue goes on behind a CMD_SYNC in its place");
            assert_eq!(flush(&smmu, tag), Ok(()));
            assert_eq!(events(&smmu), []);
        }
    }
}

#[test]
fn an_install_whose_invalidation_is_refused_ends_blocked() {
    let (bench, registers, smmu) = bring_up(Ids::LARGE);
    let slot = claim(&smmu, 0x18, 0, false);
    registers.stop_at(0, 1);
    assert!(smmu.put(&slot, None, &Translation::Identity).is_err());
    let base = registers.peek64(STRTAB_BASE) & 0x00ff_ffff_ffff_ffc0;
    let array = bench.load(base).unwrap() & 0x00ff_ffff_ffff_ffc0;
    let entry = || bench.load(array + 0x18 * 64).unwrap() & 0xf;
    assert_eq!(entry(), 1, "V, Config 0b000");
    smmu.put(&slot, None, &Translation::Identity).unwrap();
    assert_eq!(entry(), 9, "V, Config 0b100");
    assert_eq!(smmu.block(&slot, None), Blocked::Confirmed);
}

#[test]
fn an_aborted_command_read_is_tried_again() {
    let (_, registers, smmu) = bring_up(Ids::LARGE);
    let (_, tag) = tag(&smmu);
    registers.stop_at(0, 2);
    assert_eq!(flush(&smmu, tag), Ok(()));
    assert!(matches!(events(&smmu)[..], [Event::Unit { what: "CERROR_ABT", .. }]));
}

#[test]
fn an_index_that_no_queue_has_is_an_error() {
    for cons in [16, 0xf_ffff, 0xffff_ffff, 9] {
        let (_, registers, smmu) = bring_up(Ids::LARGE);
        let (_, tag) = tag(&smmu);
        registers.set_hung(true);
        registers.poke(CMDQ_CONS, cons);
        let hung = flush(&smmu, tag).unwrap_err();
        assert_eq!(hung.what, "CMDQ_CONS out of range", "{cons:#x}");
        assert!(events(&smmu).iter().any(|event| matches!(event, Event::Unit { .. })));
    }
    for prod in [16, 9, 0xf_ffff, 0x7fff_ffff, 0xffff_ffff] {
        let (_, registers, smmu) = bring_up(Ids::LARGE);
        registers.poke(EVENTQ_PROD, prod);
        let reported = events(&smmu);
        assert!(
            matches!(reported[..], [Event::Unit { what: "EVENTQ_PROD out of range", .. }]),
            "{reported:?}"
        );
        assert_eq!(registers.peek(EVENTQ_CONS), 0, "nothing is acknowledged");
    }
}

#[test]
fn service_failure_mode_ends_every_wait() {
    let (_, registers, smmu) = bring_up(Ids::LARGE);
    let (_, tag) = tag(&smmu);
    registers.set_hung(true);
    registers.poke(GERROR, 1 << 8);
    assert_eq!(flush(&smmu, tag).unwrap_err().what, "GERROR.SFM_ERR");
    assert!(matches!(events(&smmu)[..], [Event::Unit { what: "GERROR.SFM_ERR", .. }]));
    assert_eq!(registers.peek(GERRORN), 0, "it is not acknowledged: it is not over");
}

#[test]
fn global_errors_are_reported_once_and_acknowledged() {
    for (bit, name) in [
        (2, "EVENTQ_ABT_ERR"),
        (3, "PRIQ_ABT_ERR"),
        (4, "MSI_CMDQ_ABT_ERR"),
        (5, "MSI_EVENTQ_ABT_ERR"),
        (6, "MSI_PRIQ_ABT_ERR"),
        (7, "MSI_GERROR_ABT_ERR"),
    ] {
        let (_, registers, smmu) = bring_up(Ids::LARGE);
        for toggled in [1 << bit, 0] {
            registers.poke(GERROR, toggled);
            let all = events(&smmu);
            assert!(matches!(all[0], Event::Unit { what, .. } if what == name), "{all:?}");
            let lost = bit < 4;
            assert_eq!(all.len(), if lost { 2 } else { 1 }, "{all:?}");
            assert_eq!(registers.peek(GERRORN), toggled);
            assert_eq!(events(&smmu), []);
        }
    }
}

/// Puts a record into the Event queue, which has 8 places.
fn record(bench: &Bench, registers: &Registers, words: [u64; 4]) {
    let base = registers.peek64(EVENTQ_BASE) & 0x00ff_ffff_ffff_ffe0;
    let prod = registers.peek(EVENTQ_PROD);
    for (n, word) in words.into_iter().enumerate() {
        bench.poke(base + u64::from(prod & 7) * 32 + 8 * n as u64, word);
    }
    registers.poke(EVENTQ_PROD, (prod + 1) & 15);
}

#[test]
fn a_stalled_request_is_ended() {
    let (bench, registers, smmu) = bring_up(Ids::LARGE);
    for round in 0..5 {
        for stag in 0..5 {
            record(&bench, &registers, [0x18 << 32 | 0x10, 1 << 31 | stag, 0xdead_b000, 0]);
        }
        bench.take_steps();
        let all = events(&smmu);
        assert_eq!(all.len(), 5, "round {round}: {all:?}");
        assert!(all.iter().all(|event| matches!(event, Event::Fault(f) if f.cause == FaultCause::NotMapped)));
        let resumed: Vec<_> = commands(&bench).into_iter().filter(|words| words[0] & 0xff == 0x44).collect();
        // Ab, not Ac: abort, do not retry.
        assert_eq!(resumed, (0..5).map(|stag| [0x18 << 32 | 0x2044, stag]).collect::<Vec<_>>());
    }
}

#[test]
fn any_record_is_reported_as_something() {
    let (bench, registers, smmu) = bring_up(Ids::LARGE);
    for id in 0..=255 {
        for fill in [0, u64::MAX] {
            record(&bench, &registers, [fill << 8 | id, fill, fill, fill]);
            assert_eq!(events(&smmu).len(), 1, "{id:#x}");
        }
    }
}

#[test]
fn a_device_that_faults_without_end_does_not_keep_us() {
    let (bench, registers, smmu) = bring_up(Ids::LARGE);
    let (again, source) = (registers.clone(), bench.clone());
    let mut count = 0;
    record(&bench, &registers, [0x10, 0, 0, 0]);
    smmu.poll(&mut |_| {
        count += 1;
        record(&source, &again, [0x10, 0, 0, 0]);
    });
    assert!(count <= 8, "{count}");
}

#[test]
fn nothing_is_enabled_before_requests_abort_and_translation_comes_last() {
    let (_, registers, _smmu) = bring_up(Ids::LARGE);
    let writes = registers.take_writes();
    let of = |at| writes.iter().enumerate().filter(move |(_, write)| write.0 == at);
    assert_eq!(writes[0], (GBPA, 1 << 31 | 1 << 20), "GBPA.ABORT is the first thing written");
    let enables: Vec<u64> = of(CR0).map(|(_, write)| write.1).collect();
    assert_eq!(enables, [0, 0x8, 0x1c, 0x1d]);
    let (last, _) = of(CR0).next_back().unwrap();
    assert!(writes[last..].iter().all(|write| write.0 == CR0), "{:x?}", &writes[last..]);
}

#[test]
fn an_smmu_with_one_page_of_registers_is_driven_through_it() {
    let bench = Bench::new();
    let registers = Registers::new(&bench, Ids::LARGE);
    let mut config = config();
    config.firmware.page0_only = true;
    let smmu = SmmuV3::bring_up(IOMMU, registers.clone(), &config, &bench, BringUp::Cold).unwrap();
    registers.poke(0xa8, 1);
    assert_eq!(events(&smmu).len(), 1);
    let writes = registers.take_writes();
    assert!(writes.iter().all(|write| write.0 < 0x1_0000), "{writes:x?}");
    assert_eq!(writes.last(), Some(&(0xac, 1)));
}

#[test]
fn identification_that_makes_no_sense_is_refused_by_register_and_value() {
    let good = Ids::LARGE;
    let refusal = |ids: Ids| {
        let bench = Bench::new();
        let registers = Registers::new(&bench, ids);
        let error = try_bring_up(&bench, &registers, BringUp::Cold).err();
        assert!(error.is_none() || registers.take_writes().is_empty(), "nothing is touched");
        error
    };
    assert_eq!(refusal(good), None);
    let ones = u32::MAX;
    assert_eq!(refusal(Ids { idr0: ones, idr1: ones, idr3: ones, idr5: ones }), Some(BringUpError::Absent));
    for (what, ids, register) in [
        ("no stage", Ids { idr0: good.idr0 & !3, ..good }, "IDR0"),
        ("TTF Reserved", Ids { idr0: good.idr0 & !(3 << 2), ..good }, "IDR0"),
        ("TTENDIAN Reserved", Ids { idr0: good.idr0 & !(3 << 21) | 1 << 21, ..good }, "IDR0"),
        ("STALL_MODEL Reserved", Ids { idr0: good.idr0 | 3 << 24, ..good }, "IDR0"),
        ("ST_LEVEL Reserved", Ids { idr0: good.idr0 | 3 << 27, ..good }, "IDR0"),
        ("SIDSIZE 33", Ids { idr1: good.idr1 & !0x3f | 33, ..good }, "IDR1"),
        ("SSIDSIZE 21", Ids { idr1: good.idr1 & !(0x1f << 6) | 21 << 6, ..good }, "IDR1"),
        ("EVENTQS 20", Ids { idr1: good.idr1 & !(0x1f << 16) | 20 << 16, ..good }, "IDR1"),
        ("no granule", Ids { idr5: 5, ..good }, "IDR5"),
    ] {
        match refusal(ids) {
            Some(BringUpError::Contradiction { register: found, value, .. }) => {
                assert_eq!(found, register, "{what}");
                assert_eq!(
                    value,
                    [ids.idr0, ids.idr1, ids.idr5]
                        [["IDR0", "IDR1", "IDR5"].iter().position(|r| *r == found).unwrap()]
                );
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    for (what, ids, register) in [
        ("VMSAv8-32 alone", Ids { idr0: good.idr0 & !(3 << 2) | 1 << 2, ..good }, "IDR0"),
        ("big-endian", Ids { idr0: good.idr0 | 3 << 21, ..good }, "IDR0"),
        ("preset table", Ids { idr1: good.idr1 | 1 << 30, ..good }, "IDR1"),
        ("preset queues", Ids { idr1: good.idr1 | 1 << 29, ..good }, "IDR1"),
    ] {
        let error = refusal(ids);
        assert!(
            matches!(error, Some(BringUpError::Unsupported { register: found, .. }) if found == register),
            "{what}: {error:?}"
        );
    }
}

/// Whatever the ID registers say, a bring-up ends, and what comes of it can be used.
#[test]
fn no_identification_brings_the_driver_down() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 32) as u32
    };
    let mut good = 0;
    for round in 0..600 {
        // Half of them differ from a sound one in a few bits only.
        let few =
            |word: u32, a: u32, b: u32| if round % 2 == 0 { a } else { word ^ a & b & (a >> 7 | b << 9) };
        let (a, b) = (random(), random());
        let ids = Ids {
            idr0: few(Ids::LARGE.idr0, a, b),
            idr1: few(Ids::LARGE.idr1, b, a) & !(1 << 4 | 1 << 5) | 1 << 3,
            idr3: random(),
            idr5: few(Ids::LARGE.idr5, random(), b),
        };
        let bench = Bench::small();
        let registers = Registers::new(&bench, ids);
        let Ok(smmu) = try_bring_up(&bench, &registers, BringUp::Cold) else { continue };
        good += 1;
        let pasid_bits = smmu.capabilities().pasid_bits.min(8);
        for bits in [0, pasid_bits] {
            let Ok(plan) = smmu.plan(&Requirements { pasid_bits: bits, ..Requirements::default() }) else {
                continue;
            };
            let Plan::Tables(config) = plan else { panic!("tables") };
            smmu.can_walk(&config).expect("it walks what it plans");
            let tag = smmu.tag(&plan).unwrap();
            flush(&smmu, tag).unwrap();
            smmu.give_back(tag).unwrap();
            let slot = claim(&smmu, 1 + u32::from(bits), bits, false);
            let root = Root { at: PhysAddr(0x8000_0000), levels: 3 };
            let _ = smmu.put(&slot, None, &Translation::Table { root, config: &config, tag });
            assert_eq!(smmu.release(slot, false), Blocked::Confirmed);
        }
    }
    assert!(good > 20, "{good}");
}
