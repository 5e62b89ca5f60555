//! What a VT-d unit did not confirm stays in doubt until it does: entries in doubt are forgotten again before they are used
//! again, and are written as if hardware still read them.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_bench;

use ioward_core::driver::{
    ApicTarget, Blocked, Claim, Driver, Event, Flush, InterruptFrom, InterruptTo, Plan, Refused,
    RemapInterrupts, Requirements, Slot, Translation,
};
use ioward_drivers::vtd::{BringUp, Config, Interrupts, PageRequests, VtD};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, Root, SourceId, Span, Tag, describe};
use put::Put;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use vtd_bench::{Bench, Fault, IQT, RTADDR, Record, Registers, UNIT};

const SOURCE: SourceId = SourceId(0x18);
// ND 6, SAGAW 39 and 48, MGAW 47, FRO 0x22, NFR 7, SSLPS, PSI, MAMV 18, DWD, DRD.
const CAP: u64 = 0x00d2_078c_222f_0606;
// IRO 0x10, QI, DT, IR, EIM, PT, C, MHMV 15.
const ECAP: u64 = 0x00f0_105f;
const SCALABLE: u64 = ECAP | 1 << 43 | 1 << 46 | 1 << 47 | 1 << 48 | 1 << 40 | 19 << 35;
const PAGE: u64 = !0xfff;

type Unit = VtD<&'static Registers, Bench>;

fn config() -> Config {
    Config::new(describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() })
}

fn unit(cap: u64, ecap: u64, config: Config) -> (Bench, &'static Registers, Unit) {
    let bench = Bench::new();
    let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, cap, ecap)));
    let driver = VtD::bring_up(UNIT, registers, config, &bench, BringUp::Cold).unwrap();
    registers.take_descriptors();
    (bench, registers, driver)
}

/// The queue that stood goes on by itself.
fn goes_on(registers: &Registers) {
    registers.set_fault(Fault::None);
    registers.write64(IQT, registers.peek(IQT));
    registers.take_descriptors();
}

fn install(driver: &Unit, slot: &Slot, pasid: Option<Pasid>, tag: Tag, at: u64) -> Result<(), Refused> {
    let Ok(Plan::Tables(config)) = driver.plan(&Requirements::default()) else { panic!("VT-d has tables") };
    driver.put(
        slot,
        pasid,
        &Translation::Table { root: Root { at: PhysAddr(at), levels: 4 }, config: &config, tag },
    )
}

#[test]
fn an_interrupt_entry_whose_masking_was_not_confirmed_is_forgotten_before_anything_else() {
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 4, x2apic: false }, ..config() };
    let to = |vector| InterruptTo::Apic(ApicTarget { vector, destination: 1, ..ApicTarget::default() });
    // What brings the entry into doubt, and what is asked of it next.
    for masked in [true, false] {
        for next in ["mask", "remap", "release"] {
            let (_, registers, driver) = unit(CAP, ECAP, remap);
            let entries = driver.reserve(InterruptFrom::Source(SOURCE), 1).unwrap();
            driver.remap(&entries, 0, &to(0x31)).unwrap();
            registers.set_fault(Fault::Stand);
            match masked {
                true => assert!(driver.mask(&entries, 0).is_err()),
                false => assert!(matches!(driver.remap(&entries, 0, &to(0x42)), Err(Refused::Hung(_)))),
            }
            assert!(driver.mask(&entries, 0).is_err(), "nothing has been confirmed meanwhile");
            goes_on(registers);
            match next {
                "mask" => driver.mask(&entries, 0).unwrap(),
                "remap" => drop(driver.remap(&entries, 0, &to(0x53)).unwrap()),
                _ => RemapInterrupts::release(&driver, entries).unwrap(),
            }
            let told = registers.take_descriptors();
            assert!(told.iter().any(|words| words[0] & 0xf == 4), "{next} after {masked}: {told:x?}");
        }
    }
}

#[test]
fn a_pasid_entry_behind_a_block_in_doubt_is_written_as_one_that_hardware_reads() {
    let (bench, registers, driver) = unit(CAP, SCALABLE, config());
    let plan = driver.plan(&Requirements::default()).unwrap();
    let (first, second) = (driver.tag(&plan).unwrap(), driver.tag(&plan).unwrap());
    let slot = driver.claim(&Claim { source: SOURCE, pasid_bits: 0, ats: false }).unwrap();
    install(&driver, &slot, None, first, 0x1_0000_0000).unwrap();
    let context = bench.load(registers.peek(RTADDR) & PAGE) & PAGE;
    let directory = bench.load(context + u64::from(SOURCE.0) * 32) & PAGE;
    let entry = bench.load(directory) & PAGE;
    assert_eq!(bench.load(entry) & 1, 1);
    registers.set_fault(Fault::Stand);
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    goes_on(registers);
    bench.take_log();
    install(&driver, &slot, None, second, 0x2_0000_0000).unwrap();
    // The table, its type and P in one piece; its domain in the same.
    let stores: Vec<_> = bench
        .take_log()
        .into_iter()
        .filter_map(|record| match record {
            Record::Store { at, bytes, new } if (entry..entry + 16).contains(&at) => Some((at, bytes, new)),
            _ => None,
        })
        .collect();
    assert!(matches!(stores[..], [(at, 16, new)] if at == entry && new & 1 == 1), "{stores:x?}");
}

#[test]
fn a_mask_as_large_as_all_addresses_names_no_block() {
    let (_, registers, driver) = unit(CAP | 0x3f << 48, ECAP, config());
    let tag = driver.tag(&driver.plan(&Requirements::default()).unwrap()).unwrap();
    let span = Span { start: Iova(0x1000), bytes: u64::MAX - 0x2fff };
    driver.flush(&[Flush { tag, span, granule: 4096, tables_went: true, atc: &[] }]).unwrap();
    assert_eq!(registers.take_descriptors(), [[0xe2 | u64::from(tag.0) << 16, 0]]);
}

/// Registers with a page request queue: a request comes at the instant after the tail was read.
struct Busy {
    under: &'static Registers,
    status: AtomicU32,
    tail: AtomicU64,
    late: AtomicU64,
}

const PQT: usize = 0xc8;
const PRS: usize = 0xdc;

impl Mmio for Busy {
    fn read32(&self, at: usize) -> u32 {
        if at == PRS { self.status.load(SeqCst) } else { self.under.read32(at) }
    }
    fn write32(&self, at: usize, value: u32) {
        if at == PRS {
            self.status.fetch_and(!value, SeqCst);
        } else {
            self.under.write32(at, value);
        }
    }
    fn read64(&self, at: usize) -> u64 {
        if at != PQT {
            return self.under.read64(at);
        }
        let tail = self.tail.load(SeqCst);
        if self.late.swap(0, SeqCst) != 0 {
            self.tail.fetch_add(32, SeqCst);
            self.status.fetch_or(1, SeqCst);
        }
        tail
    }
    fn write64(&self, at: usize, value: u64) {
        self.under.write64(at, value);
    }
}

#[test]
fn a_page_request_that_comes_while_the_queue_is_read_still_raises_its_event() {
    let bench = Bench::new();
    let under: &'static Registers = Box::leak(Box::new(Registers::new(&bench, CAP, SCALABLE | 1 << 29)));
    let busy: &'static Busy =
        Box::leak(Box::new(Busy { under, status: 0.into(), tail: 0.into(), late: 0.into() }));
    let queue = PageRequests { pages_log2: 0, message: None };
    let asked = Config { page_requests: Some(queue), ..config() };
    let driver = VtD::bring_up(UNIT, busy, asked, &bench, BringUp::Cold).unwrap();
    let requests = || {
        let mut count = 0;
        driver.poll(&mut |event| {
            count += usize::from(matches!(event, Event::Unit { .. } | Event::PageRequest { .. }))
        });
        count
    };
    busy.tail.store(32, SeqCst);
    busy.status.store(1, SeqCst);
    busy.late.store(1, SeqCst);
    assert_eq!(requests(), 1);
    assert_eq!(busy.status.load(SeqCst) & 1, 1, "the second is pending, and says so");
    assert_eq!(requests(), 1);
    assert_eq!(busy.status.load(SeqCst) & 1, 0);
}
