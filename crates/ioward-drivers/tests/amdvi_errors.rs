//! What the AMD-Vi driver makes of hardware that reports errors: each is reported, and work goes on.
#![cfg(feature = "amdvi")]

mod amdvi_bench;
#[path = "support/put.rs"]
mod put;

use amdvi_bench::{Bench, Fault, Registers, UNIT};
use ioward_core::driver::{Blocked, Claim, Driver, Event, Flush, Plan, Refused, Requirements, Translation};
use ioward_drivers::amdvi::{AmdVi, BringUp, Config};
use ioward_types::{Iova, SourceId, Span, Tag, describe};
use put::Put;

const SOURCE: SourceId = SourceId(0x18);
// Four-level guest tables, 16 PASID bits, GIoSup, IASup, GTSup, HATS 2.
const EFR: u64 = 0x0001_000f_0000_4850;

type Unit = AmdVi<&'static Registers, Bench>;

fn unit() -> (&'static Registers, Unit) {
    let bench = Bench::new();
    let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, EFR)));
    let config = Config::new(describe::AmdVi::default(), 0x7f);
    let driver = AmdVi::bring_up(UNIT, registers, config, &bench, BringUp::Cold).unwrap();
    (registers, driver)
}

fn flush(driver: &Unit, tag: Tag, pages: u64) -> Result<(), ioward_core::driver::Hung> {
    let span = Span { start: Iova(0x4000_0000), bytes: pages * 4096 };
    driver.flush(&[Flush { tag, span, granule: 4096, tables_went: false, atc: &[] }])
}

fn events(driver: &Unit) -> Vec<Event> {
    let mut list = Vec::new();
    driver.poll(&mut |event| list.push(event));
    list
}

fn tag(driver: &Unit) -> Tag {
    driver.tag(&driver.plan(&Requirements::default()).unwrap()).unwrap()
}

#[test]
fn an_illegal_command_fails_its_batch_and_the_buffer_goes_on() {
    let (registers, driver) = unit();
    let tag = tag(&driver);
    flush(&driver, tag, 1).unwrap();
    registers.set_fault(Fault::Illegal);
    let hung = flush(&driver, tag, 1).unwrap_err();
    assert!(hung.what.contains("stopped"), "{}", hung.what);
    for _ in 0..600 {
        flush(&driver, tag, 1).unwrap();
    }
    assert!(matches!(events(&driver)[..], [Event::Unit { what: "ILLEGAL_COMMAND_ERROR", .. }]));
}

#[test]
fn a_buffer_that_stopped_starts_again_when_its_event_is_read() {
    let (registers, driver) = unit();
    let slot = driver.claim(&Claim { source: SOURCE, pasid_bits: 0, ats: false }).unwrap();
    registers.set_fault(Fault::Illegal);
    assert!(matches!(driver.put(&slot, None, &Translation::Identity), Err(Refused::Hung(_))));
    assert_eq!(events(&driver).len(), 1);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    driver.put(&slot, None, &Translation::Identity).unwrap();
}

#[test]
fn a_buffer_that_stopped_without_a_word_starts_again() {
    let (registers, driver) = unit();
    let tag = tag(&driver);
    registers.poke(0x2020, registers.peek(0x2020) & !(1 << 4));
    assert!(events(&driver).is_empty());
    registers.take_commands();
    flush(&driver, tag, 1).unwrap();
    assert_eq!(registers.take_commands().len(), 1);
}

#[test]
fn a_tail_that_points_nowhere_is_reported_and_the_log_starts_over() {
    let (registers, driver) = unit();
    registers.poke(0x2018, 0x7_fff0);
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Unit { code: 0x7_fff0, .. }]), "{seen:?}");
    registers.log_event([0x2020_0000_0000_0018, 0x1000]);
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Fault(fault)] if fault.source == SOURCE), "{seen:?}");
}

#[test]
fn a_head_that_points_nowhere_is_no_room() {
    let (registers, driver) = unit();
    let tag = tag(&driver);
    registers.set_fault(Fault::Hang);
    // Every read of the head is beyond the ring; the ring fills and the wait for room ends.
    let many = [(); 600].map(|()| Flush {
        tag,
        span: Span { start: Iova(0), bytes: 4096 },
        granule: 4096,
        tables_went: false,
        atc: &[],
    });
    registers.stick_head(0x7_fff0);
    assert!(driver.flush(&many).is_err());
}

#[test]
fn a_source_beyond_the_table_faults_without_harm() {
    let (registers, driver) = unit();
    registers.log_event([0x2020_0000_0000_ffff, 0x1000]);
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Fault(fault)] if fault.source == SourceId(0xffff)), "{seen:?}");
}

#[test]
fn an_event_announced_but_not_written_ends_the_wait_for_it() {
    let (registers, driver) = unit();
    registers.log_event([0, 0]);
    assert!(matches!(events(&driver)[..], [Event::Unit { .. }]));
    assert!(events(&driver).is_empty());
}

#[test]
fn a_flush_names_what_it_was_asked_to_and_no_more_commands_than_it_must() {
    let (registers, driver) = unit();
    let tag = tag(&driver);
    registers.take_commands();
    flush(&driver, tag, 1).unwrap();
    let domain = u64::from(tag.0) << 32;
    assert_eq!(registers.take_commands(), [[0x3000_0000_0000_0000 | domain, 0x4000_0000]]);
    flush(&driver, tag, 512).unwrap();
    assert_eq!(registers.take_commands(), [[0x3000_0000_0000_0000 | domain, 0x400f_f001]]);
    let everything = Span { start: Iova(0), bytes: 1 << 48 };
    let what = Flush { tag, span: everything, granule: 4096, tables_went: true, atc: &[] };
    driver.flush(&[what]).unwrap();
    assert_eq!(registers.take_commands(), [[0x3000_0000_0000_0000 | domain, 0x7fff_ffff_f003]]);
    // A tag that was never given out names nothing.
    driver.flush(&[Flush { tag: Tag(0xdead_beef), ..what }]).unwrap();
    assert!(registers.take_commands().is_empty());
    let Plan::Tables(_) = driver.plan(&Requirements::default()).unwrap() else { panic!("no tables") };
}
