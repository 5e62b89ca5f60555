//! What the VT-d driver makes of hardware that reports errors or does not answer: each is reported, nothing is confirmed
//! that was not, and work goes on.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_bench;

use ioward_core::driver::{
    ApicTarget, AtcTarget, Blocked, Claim, Driver, Event, FaultCause, Flush, Hung, InterruptFrom,
    InterruptTo, Plan, Refused, RemapInterrupts, Requirements, Slot, Translation,
};
use ioward_drivers::vtd::{BringUp, BringUpError, Config, Interrupts, Message, Mode, PageRequests, VtD};
use ioward_types::{Iova, Pasid, PhysAddr, Root, SourceId, Span, Tag, describe};
use put::Put;
use vtd_bench::{Bench, CCMD, FSTS, Fault, GSTS, IQERCD, IQT, IRTA, PMEN, RTADDR, Registers, UNIT};

const SOURCE: SourceId = SourceId(0x18);
// ND 6, SAGAW 39 and 48, MGAW 47, FRO 0x22, NFR 7, SSLPS, PSI, MAMV 18, DWD, DRD.
const CAP: u64 = 0x00d2_078c_222f_0606;
// IRO 0x10, QI, DT, IR, EIM, PT, C, MHMV 15.
const ECAP: u64 = 0x00f0_105f;
const SCALABLE: u64 = ECAP | 1 << 43 | 1 << 46 | 1 << 47 | 1 << 48 | 1 << 40 | 19 << 35;
// Neither a queue nor anything that needs one.
const NO_QUEUE: u64 = 0x1041;

type Unit = VtD<&'static Registers, Bench>;

fn config() -> Config {
    Config::new(describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() })
}

fn registers(cap: u64, ecap: u64) -> (Bench, &'static Registers) {
    let bench = Bench::new();
    let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, cap, ecap)));
    (bench, registers)
}

fn unit(ecap: u64) -> (&'static Registers, Unit) {
    let (bench, registers) = registers(CAP, ecap);
    let driver = VtD::bring_up(UNIT, registers, config(), &bench, BringUp::Cold).unwrap();
    registers.take_descriptors();
    registers.take_commands();
    (registers, driver)
}

fn flush(driver: &Unit, tag: Tag, pages: u64) -> Result<(), Hung> {
    let span = Span { start: Iova(0x4000_0000), bytes: pages * 4096 };
    driver.flush(&[Flush { tag, span, granule: 4096, tables_went: false, atc: &[] }])
}

fn events(driver: &Unit) -> Vec<Event> {
    let mut list = Vec::new();
    driver.poll(&mut |event| list.push(event));
    list
}

fn planned(driver: &Unit, pasid_bits: u8) -> Plan {
    driver.plan(&Requirements { pasid_bits, ..Requirements::default() }).unwrap()
}

fn tag(driver: &Unit) -> Tag {
    driver.tag(&planned(driver, 0)).unwrap()
}

fn claim(driver: &Unit, pasid_bits: u8, ats: bool) -> Slot {
    driver.claim(&Claim { source: SOURCE, pasid_bits, ats }).unwrap()
}

fn install(driver: &Unit, slot: &Slot, pasid: Option<Pasid>, tag: Tag, bits: u8) -> Result<(), Refused> {
    let Plan::Tables(config) = planned(driver, bits) else { panic!("VT-d has tables") };
    let root = Root { at: PhysAddr(0x1_0000_0000), levels: 4 };
    driver.put(slot, pasid, &Translation::Table { root, config: &config, tag })
}

#[test]
fn a_descriptor_that_is_not_understood_fails_its_batch_and_the_queue_goes_on() {
    let (registers, driver) = unit(ECAP);
    let tag = tag(&driver);
    flush(&driver, tag, 1).unwrap();
    registers.set_fault(Fault::Illegal);
    let hung = flush(&driver, tag, 1).unwrap_err();
    assert!(hung.what.contains("IQE"), "{}", hung.what);
    assert_eq!(registers.peek(FSTS) & 0x10, 0);
    // Round the ring more than twice.
    for _ in 0..600 {
        flush(&driver, tag, 1).unwrap();
    }
    assert!(matches!(events(&driver)[..], [Event::Unit { code: 3, .. }]));
}

#[test]
fn a_queue_that_understands_nothing_is_started_over() {
    for ecap in [ECAP, SCALABLE] {
        let (registers, driver) = unit(ecap);
        let tag = tag(&driver);
        flush(&driver, tag, 1).unwrap();
        registers.set_fault(Fault::AlwaysIllegal);
        assert!(flush(&driver, tag, 1).is_err());
        registers.set_fault(Fault::None);
        registers.take_descriptors();
        flush(&driver, tag, 1).unwrap();
        assert_eq!(registers.take_descriptors().len(), 1);
        assert_eq!(registers.peek(GSTS) >> 31 & 1, 1, "translation goes on");
    }
}

#[test]
fn a_device_that_does_not_answer_is_unconfirmed_and_wedges_nothing() {
    for ecap in [ECAP, SCALABLE] {
        let (registers, driver) = unit(ecap);
        let tag = tag(&driver);
        let slot = claim(&driver, 0, true);
        install(&driver, &slot, None, tag, 0).unwrap();
        registers.set_fault(Fault::SilentDevices);
        let span = Span { start: Iova(0), bytes: 4096 };
        let target = [AtcTarget { source: SOURCE, pasid: None }; 3];
        let what = Flush { tag, span, granule: 4096, tables_went: true, atc: &target };
        let hung = driver.flush(&[what]).unwrap_err();
        assert!(hung.what.contains("ITE"), "{}", hung.what);
        // Each of them was asked for all that.
        let asked = registers.take_descriptors().iter().filter(|words| words[0] & 0xf == 3).count();
        assert_eq!(asked, 3);
        flush(&driver, tag, 1).unwrap();
        let reports = events(&driver);
        assert!(
            reports.len() == 3 && reports.iter().all(|event| matches!(event, Event::Unit { code: 0x18, .. }))
        );
        // Blocking it is not confirmed either, and is made good when the device answers.
        assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
        registers.set_fault(Fault::None);
        registers.take_descriptors();
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        let again = registers.take_descriptors();
        assert!(again.iter().any(|words| words[0] & 0xf == 3), "{again:x?}");
        assert!(again.iter().any(|words| words[0] & 0xf == 2), "{again:x?}");
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(registers.take_descriptors().is_empty(), "nothing is owed any more");
    }
}

#[test]
fn a_device_that_is_gone_is_not_asked() {
    let (registers, driver) = unit(ECAP);
    let tag = tag(&driver);
    let slot = claim(&driver, 0, true);
    install(&driver, &slot, None, tag, 0).unwrap();
    registers.set_fault(Fault::SilentDevices);
    registers.take_descriptors();
    assert_eq!(Driver::release(&driver, slot, true), Blocked::Confirmed);
    assert!(registers.take_descriptors().iter().all(|words| words[0] & 0xf != 3));
}

#[test]
fn a_device_that_answers_wrongly_is_reported_and_stops_nothing() {
    let (registers, driver) = unit(ECAP);
    let tag = tag(&driver);
    registers.set_fault(Fault::ConfusedDevices);
    let span = Span { start: Iova(0), bytes: 4096 };
    let target = [AtcTarget { source: SOURCE, pasid: None }];
    driver.flush(&[Flush { tag, span, granule: 4096, tables_went: true, atc: &target }]).unwrap();
    let seen = events(&driver);
    assert!(matches!(seen[..], [Event::Unit { code: 0x18, what }] if what.contains("ICE")), "{seen:?}");
    assert_eq!(registers.peek(FSTS) & 0x20, 0);
}

#[test]
fn nothing_waits_without_a_bound() {
    for ecap in [ECAP, SCALABLE, NO_QUEUE] {
        let (registers, driver) = unit(ecap);
        let tag = tag(&driver);
        let slot = claim(&driver, 0, false);
        install(&driver, &slot, None, tag, 0).unwrap();
        registers.set_fault(if ecap == NO_QUEUE { Fault::Hang } else { Fault::Stand });
        assert!(flush(&driver, tag, 1).is_err());
        assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
        assert!(matches!(install(&driver, &slot, None, tag, 0), Err(Refused::Hung(_))));
        // More than the ring holds.
        let span = Span { start: Iova(0), bytes: 4096 };
        let many = [(); 600].map(|()| Flush { tag, span, granule: 4096, tables_went: false, atc: &[] });
        assert!(driver.flush(&many).is_err());
        assert!(driver.give_back(tag).is_err());
        registers.set_fault(Fault::None);
        registers.poke(IQT, registers.peek(IQT));
        if ecap == NO_QUEUE {
            registers.poke(CCMD, 0);
            registers.poke(registers.iotlb_at + 8, 0);
        } else {
            // Hardware goes on by itself.
            use ioward_types::Mmio;
            registers.write64(IQT, registers.peek(IQT));
        }
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        install(&driver, &slot, None, tag, 0).unwrap();
        flush(&driver, tag, 1).unwrap();
    }
}

#[test]
fn a_head_that_points_nowhere_is_no_progress() {
    for head in [0x7_fff0, 8, u64::MAX] {
        let (registers, driver) = unit(ECAP);
        let tag = tag(&driver);
        registers.set_fault(Fault::Hang);
        registers.stick_head(head);
        let span = Span { start: Iova(0), bytes: 4096 };
        let many = [(); 600].map(|()| Flush { tag, span, granule: 4096, tables_went: false, atc: &[] });
        assert!(driver.flush(&many).is_err());
    }
}

#[test]
fn registers_that_read_all_ones_confirm_nothing() {
    let (registers, driver) = unit(SCALABLE);
    let tag = tag(&driver);
    let slot = claim(&driver, 0, false);
    install(&driver, &slot, None, tag, 0).unwrap();
    registers.set_fault(Fault::Gone);
    assert!(flush(&driver, tag, 1).is_err());
    assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)));
    assert!(driver.give_back(tag).is_err());
    events(&driver);
    let (bench, registers) = self::registers(CAP, ECAP);
    registers.set_fault(Fault::Gone);
    let refused = VtD::bring_up(UNIT, registers, config(), &bench, BringUp::Cold);
    assert_eq!(refused.err(), Some(BringUpError::Absent));
}

#[test]
fn a_status_bit_that_never_sets_is_a_unit_that_hung() {
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 8, x2apic: false }, ..config() };
    for bit in [31, 30, 26, 25, 24] {
        let (bench, registers) = registers(CAP, ECAP);
        registers.stick(1 << bit);
        let refused = VtD::bring_up(UNIT, registers, remap, &bench, BringUp::Cold);
        assert!(matches!(refused.err(), Some(BringUpError::Hung(_))), "bit {bit}");
    }
}

#[test]
fn a_unit_that_was_found_translating_is_never_turned_off() {
    // Translating, with its own queue and interrupt remapping, and protected regions.
    let (bench, registers) = registers(CAP, SCALABLE);
    registers.poke(GSTS, 1 << 31 | 1 << 30 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 23);
    registers.poke(RTADDR, 0x10_0000);
    registers.poke(PMEN, 1 << 31 | 1);
    registers.stick(1 << 31);
    registers.poke(FSTS, 0x11);
    registers.poke(IQERCD, 4);
    let driver = VtD::bring_up(UNIT, registers, config(), &bench, BringUp::Abort).unwrap();
    assert!(!driver.is_scalable(), "the mode stays while it translates");
    let status = registers.peek(GSTS);
    assert_eq!((status >> 31 & 1, status >> 26 & 1, status >> 25 & 1), (1, 1, 0));
    assert_eq!((registers.peek(PMEN) & 1, registers.peek(FSTS)), (0, 0));
    // Its interrupts are remapped on, with a table of ours, and compatibility format is blocked.
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 9, x2apic: true }, ..config() };
    registers.poke(GSTS, 1 << 31 | 1 << 26 | 1 << 23);
    let driver = VtD::bring_up(UNIT, registers, remap, &bench, BringUp::Abort).unwrap();
    let status = registers.peek(GSTS);
    assert_eq!((status >> 25 & 1, status >> 23 & 1), (1, 0));
    assert_eq!(registers.peek(IRTA) & 0xfff, 0x808);
    assert!(driver.interrupt_capabilities().isolated);
    // Forced to the other mode it is refused, and nothing is changed.
    registers.poke(RTADDR, 0x10_0400);
    let legacy = Config { mode: Mode::Legacy, ..config() };
    let refused = VtD::bring_up(UNIT, registers, legacy, &bench, BringUp::Abort);
    assert!(matches!(refused.err(), Some(BringUpError::Unsupported { register: "RTADDR", .. })));
    assert_eq!(registers.peek(RTADDR), 0x10_0400);
}

#[test]
fn a_protected_region_that_stays_shut_is_a_locked_unit() {
    struct Locked(&'static Registers);
    impl ioward_types::Mmio for Locked {
        fn read32(&self, at: usize) -> u32 {
            self.0.read32(at)
        }
        fn write32(&self, at: usize, value: u32) {
            if at != PMEN {
                self.0.write32(at, value);
            }
        }
        fn read64(&self, at: usize) -> u64 {
            self.0.read64(at)
        }
        fn write64(&self, at: usize, value: u64) {
            self.0.write64(at, value);
        }
    }
    let (bench, registers) = registers(CAP, ECAP);
    registers.poke(PMEN, 1 << 31 | 1);
    let refused = VtD::bring_up(UNIT, Locked(registers), config(), &bench, BringUp::Cold);
    assert!(matches!(refused.err(), Some(BringUpError::Hung(hung)) if hung.what.contains("PMEN")));
    assert_eq!(registers.peek(GSTS) >> 31, 1, "it translates, and everything is blocked");
}

#[test]
fn without_memory_nothing_is_changed() {
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 8, x2apic: false }, ..config() };
    let mut allocations = 0;
    loop {
        let (bench, registers) = registers(CAP, ECAP);
        bench.allow_allocations(allocations);
        match VtD::bring_up(UNIT, registers, remap, &bench, BringUp::Cold) {
            Ok(_) => break,
            Err(BringUpError::NoMemory(_)) => {
                assert_eq!((registers.peek(GSTS), registers.peek(RTADDR)), (0, 0))
            }
            Err(other) => panic!("{other}"),
        }
        allocations += 1;
    }
    assert_eq!(allocations, 4);
}

#[test]
fn a_refused_register_invalidation_confirms_nothing() {
    let (registers, driver) = unit(NO_QUEUE);
    let tag = tag(&driver);
    registers.set_fault(Fault::Refuse);
    assert!(flush(&driver, tag, 1).is_err());
    registers.set_fault(Fault::None);
    flush(&driver, tag, 1).unwrap();
    // IVA, then IOTLB: page-selective with drains.
    registers.take_commands();
    flush(&driver, tag, 2).unwrap();
    let domain = u64::from(tag.0) << 32;
    assert_eq!(registers.take_commands(), [0x4000_0041, 0xb003_0000_0000_0000 | domain]);
}

/// Registers that lose a write, tell what is old for some reads, or never change.
struct Odd {
    under: &'static Registers,
    /// How many 64-bit writes are kept before one is lost.
    lose: std::sync::atomic::AtomicI64,
    /// This register reads as it did at first.
    stuck: Option<(usize, u64)>,
}

impl ioward_types::Mmio for Odd {
    fn read32(&self, at: usize) -> u32 {
        self.under.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.under.write32(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        match self.stuck {
            Some((stuck, value)) if stuck == at => value,
            _ => self.under.read64(at),
        }
    }
    fn write64(&self, at: usize, value: u64) {
        if self.lose.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) != 0 {
            self.under.write64(at, value);
        }
    }
}

#[test]
fn what_registers_lose_or_never_tell_is_not_confirmed() {
    let count = |registers: &Registers, domain: u64| {
        let told = registers.take_commands();
        told.iter()
            .any(|value| value >> 60 == 0xb && value >> 32 & 0xffff == domain && told.contains(&0x4000_0040))
            || told.iter().any(|value| value >> 60 == 0xa && value >> 32 & 0xffff == domain)
    };
    let mut confirmed = 0;
    for lose in 0..5 {
        let (bench, registers) = registers(CAP, NO_QUEUE);
        let odd: &'static Odd = Box::leak(Box::new(Odd { under: registers, lose: (-1).into(), stuck: None }));
        let driver = VtD::bring_up(UNIT, odd, config(), &bench, BringUp::Cold).unwrap();
        let tag = driver.tag(&driver.plan(&Requirements::default()).unwrap()).unwrap();
        let span = Span { start: Iova(0x4000_0000), bytes: 4096 };
        let what = [Flush { tag, span, granule: 4096, tables_went: false, atc: &[] }];
        // The same twice, so that an old answer looks like a new one.
        driver.flush(&what).unwrap();
        registers.take_commands();
        odd.lose.store(lose, std::sync::atomic::Ordering::SeqCst);
        if driver.flush(&what).is_ok() {
            confirmed += 1;
            assert!(count(registers, tag.0.into()), "write {lose} was lost, and the flush confirmed");
        }
    }
    // Nothing was lost, or what was lost did not matter.
    assert!(confirmed >= 2);
    for at in [CCMD, 0x108] {
        for value in [0, 0xa600_0001_0000_0000, 0x3000_0001_0000_0000] {
            let (bench, registers) = registers(CAP, NO_QUEUE);
            let odd = Odd { under: registers, lose: (-1).into(), stuck: Some((at, value)) };
            let refused = VtD::bring_up(UNIT, odd, config(), &bench, BringUp::Cold);
            assert!(matches!(refused.err(), Some(BringUpError::Hung(_))));
        }
    }
}

#[test]
fn a_flush_names_what_it_was_asked_to_and_no_more_descriptors_than_it_must() {
    let (registers, driver) = unit(ECAP);
    let tag = tag(&driver);
    let domain = u64::from(tag.0) << 16;
    flush(&driver, tag, 1).unwrap();
    assert_eq!(registers.take_descriptors(), [[0xf2 | domain, 0x4000_0040]]);
    flush(&driver, tag, 512).unwrap();
    assert_eq!(registers.take_descriptors(), [[0xf2 | domain, 0x4000_0049]]);
    // MAMV 18: no more than 1 GiB by pages.
    flush(&driver, tag, 1 << 22).unwrap();
    assert_eq!(registers.take_descriptors(), [[0xe2 | domain, 0]]);
    let span = Span { start: Iova(0), bytes: 4096 };
    let what = Flush { tag, span, granule: 4096, tables_went: true, atc: &[] };
    driver.flush(&[what]).unwrap();
    assert_eq!(registers.take_descriptors(), [[0xf2 | domain, 0]]);
    // A tag that was never given out names nothing.
    driver.flush(&[Flush { tag: Tag(0xdead_beef), ..what }, Flush { tag: Tag(0x7777), ..what }]).unwrap();
    assert!(registers.take_descriptors().is_empty());
}

#[test]
fn a_first_stage_flush_goes_to_every_pasid_that_the_carrier_hangs_at() {
    let (registers, driver) = unit(SCALABLE);
    let tag = driver.tag(&planned(&driver, 20)).unwrap();
    let slot = claim(&driver, 20, false);
    for pasid in [None, Some(Pasid(5)), Some(Pasid(0x54321))] {
        install(&driver, &slot, pasid, tag, 20).unwrap();
    }
    registers.take_descriptors();
    flush(&driver, tag, 1).unwrap();
    let domain = u64::from(tag.0) << 16;
    let of = |pasid: u64| [0x36 | domain | pasid << 32, 0x4000_0040];
    assert_eq!(registers.take_descriptors(), [of(0), of(5), of(0x54321)]);
    assert_eq!(driver.block(&slot, Some(Pasid(5))), Blocked::Confirmed);
    registers.take_descriptors();
    flush(&driver, tag, 1).unwrap();
    assert_eq!(registers.take_descriptors(), [of(0), of(0x54321)]);
}

#[test]
fn what_fills_a_cache_is_forgotten_before_it_with_a_fence_between() {
    // Context entries 1, PASID entries 7, translations 2 and 6, devices 3 and 8; 5 is a wait.
    let (registers, driver) = unit(ECAP);
    let tag = tag(&driver);
    let slot = claim(&driver, 0, true);
    install(&driver, &slot, None, tag, 0).unwrap();
    registers.take_kinds();
    install(&driver, &slot, None, tag, 0).unwrap();
    assert_eq!(registers.take_kinds(), [1, 5, 2, 5, 3, 5]);
    let span = Span { start: Iova(0), bytes: 4096 };
    let atc = [AtcTarget { source: SOURCE, pasid: None }];
    let what = Flush { tag, span, granule: 4096, tables_went: false, atc: &atc };
    driver.flush(&[what, what]).unwrap();
    assert_eq!(registers.take_kinds(), [2, 2, 5, 3, 3, 5]);

    let (registers, driver) = unit(SCALABLE);
    assert_eq!(registers.take_kinds(), [0; 0]);
    let (second, first) = (self::tag(&driver), driver.tag(&planned(&driver, 20)).unwrap());
    let slot = claim(&driver, 20, true);
    install(&driver, &slot, None, second, 0).unwrap();
    install(&driver, &slot, Some(Pasid(5)), first, 20).unwrap();
    registers.take_kinds();
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert_eq!(registers.take_kinds(), [1, 5, 7, 7, 5, 2, 6, 5, 3, 8, 5]);
}

#[test]
fn bring_up_forgets_everything_in_order_unless_the_unit_does_by_itself() {
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 8, x2apic: false }, ..config() };
    // ESRTPS and ESIRTPS.
    for (cap, kinds) in [(CAP, vec![1, 5, 7, 5, 2, 5, 4, 5]), (CAP | 3 << 62, vec![])] {
        let (bench, registers) = registers(cap, SCALABLE);
        VtD::bring_up(UNIT, registers, remap, &bench, BringUp::Cold).unwrap();
        assert_eq!(registers.take_kinds(), kinds);
    }
}

#[test]
fn numbers_out_of_range_are_refused_before_anything_is_touched() {
    let far = Config { queue_pages_log2: 8, ..config() };
    let few = Config { interrupts: Interrupts::Remap { entries_log2: 0, x2apic: false }, ..config() };
    let many = Config { interrupts: Interrupts::Remap { entries_log2: 17, x2apic: false }, ..config() };
    let queue = PageRequests { pages_log2: 8, message: None };
    let long = Config { page_requests: Some(queue), ..config() };
    let narrow = Config::new(describe::VtD { host_bits: 12, ..describe::VtD::default() });
    for wrong in [far, few, many, long, narrow] {
        let (bench, registers) = registers(CAP, SCALABLE);
        bench.take_log();
        let refused = VtD::bring_up(UNIT, registers, wrong, &bench, BringUp::Cold);
        assert!(matches!(refused.err(), Some(BringUpError::Config(_))));
        assert!(bench.take_log().is_empty());
    }
}

#[test]
fn faults_are_told_in_order_and_lost_ones_counted() {
    let (registers, driver) = unit(ECAP);
    let record = |n: usize, at: u64, reason: u64| {
        registers.poke(0x220 + 16 * n, at);
        registers.poke(0x228 + 16 * n, 1 << 63 | reason << 32 | 0x18);
    };
    // The records are a ring, and the oldest is the seventh.
    record(6, 0x1000, 5);
    record(7, 0x2000, 2);
    record(0, 0x3000, 4);
    registers.poke(FSTS, 6 << 8 | 3);
    let seen = events(&driver);
    let causes = [FaultCause::NotMapped, FaultCause::Blocked, FaultCause::Range];
    for (n, cause) in causes.into_iter().enumerate() {
        let at = Some(Iova(0x1000 * (n as u64 + 1)));
        assert!(matches!(seen[n], Event::Fault(fault) if fault.cause == cause && fault.at == at), "{seen:?}");
    }
    assert_eq!(seen[3..], [Event::Lost(1)]);
    assert_eq!(registers.peek(FSTS) & 3, 0);
    assert!(events(&driver).is_empty());
}

#[test]
fn events_go_where_the_caller_says_and_are_masked_otherwise() {
    let (_, _) = unit(ECAP);
    let (bench, registers) = registers(CAP, ECAP);
    let message = Message { address: 0x1_fee0_1000, data: 0x31 };
    let told = Config { fault_message: Some(message), ..config() };
    VtD::bring_up(UNIT, registers, told, &bench, BringUp::Cold).unwrap();
    assert_eq!([0x38, 0x3c, 0x40, 0x44].map(|at| registers.peek(at)), [0, 0x31, 0xfee0_1000, 1]);
    assert_eq!(registers.peek(0xa0), 1 << 31, "completion is polled for");
    let (bench, registers) = self::registers(CAP, ECAP);
    VtD::bring_up(UNIT, registers, config(), &bench, BringUp::Cold).unwrap();
    assert_eq!(registers.peek(0x38), 1 << 31);
}

#[test]
fn interrupt_entries_of_an_unconfirmed_release_are_not_given_out_again() {
    let remap = Config { interrupts: Interrupts::Remap { entries_log2: 3, x2apic: false }, ..config() };
    let (bench, registers) = registers(CAP, ECAP);
    let driver = VtD::bring_up(UNIT, registers, remap, &bench, BringUp::Cold).unwrap();
    let from = InterruptFrom::Source(SOURCE);
    let four = driver.reserve(from, 3).unwrap();
    assert_eq!(four.first, 0);
    let next = driver.reserve(from, 4).unwrap();
    assert_eq!(next.first, 4, "aligned to its count");
    assert!(matches!(driver.reserve(from, 4), Err(Refused::Interrupt { .. })));
    let to = InterruptTo::Apic(ApicTarget { vector: 0x31, destination: 1, ..ApicTarget::default() });
    driver.remap(&next, 3, &to).unwrap();
    for wrong in [
        driver.remap(&next, 4, &to),
        driver.remap(
            &next,
            0,
            &InterruptTo::Apic(ApicTarget { destination: 0x100, ..ApicTarget::default() }),
        ),
    ] {
        assert!(matches!(wrong, Err(Refused::Interrupt { .. })));
    }
    registers.set_fault(Fault::Stand);
    assert!(matches!(
        driver.remap(&next, 3, &InterruptTo::Apic(ApicTarget::default())),
        Err(Refused::Hung(_))
    ));
    assert!(driver.interrupts().is_some());
    registers.set_fault(Fault::None);
    {
        use ioward_types::Mmio;
        registers.write64(IQT, registers.peek(IQT));
    }
    driver.remap(&next, 0, &to).unwrap();
    registers.set_fault(Fault::Stand);
    assert!(RemapInterrupts::release(&driver, next).is_err());
    assert!(matches!(driver.reserve(from, 4), Err(Refused::Interrupt { .. })));
    registers.set_fault(Fault::None);
    RemapInterrupts::release(&driver, four).unwrap();
    assert_eq!(driver.reserve(from, 2).unwrap().first, 0);
}
