//! What the RISC-V IOMMU driver makes of errors, and of hardware that says what it must not.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_bench;

use ioward_core::driver::{Blocked, Driver, Event, FaultCause, Flush, Hung, Requirements, Translation};
use ioward_drivers::riscv::{BringUp, BringUpError, Config, Interrupts};
use ioward_types::{Iova, SourceId, Span, Tag};
use put::Put;
use riscv_bench::*;

fn tag(iommu: &Iommu) -> Tag {
    iommu.tag(&iommu.plan(&Requirements::default()).unwrap()).unwrap()
}

fn flush(iommu: &Iommu, tag: Tag) -> Result<(), Hung> {
    let span = Span { start: Iova(0x1000), bytes: 0x1000 };
    iommu.flush(&[Flush { tag, span, granule: 0x1000, tables_went: false, atc: &[] }])
}

fn events(iommu: &Iommu) -> Vec<Event> {
    let mut all = Vec::new();
    iommu.poll(&mut |event| all.push(event));
    all
}

#[test]
fn an_error_of_the_queue_fails_its_batch_and_no_other() {
    for (bit, what) in [(8, "cqcsr.cqmf"), (9, "cqcsr.cmd_to"), (10, "cqcsr.cmd_ill")] {
        for after in 0..2 {
            let (_, registers, iommu) = bring_up(LARGE);
            let tag = tag(&iommu);
            for _ in 0..20 {
                registers.set_fault(Some(Fault::Stop { after, bit }));
                assert_eq!(flush(&iommu, tag).unwrap_err().what, what);
                let reported = events(&iommu);
                assert!(
                    matches!(reported[..], [Event::Unit { what: said, .. }] if said == what),
                    "{what}: {reported:?}"
                );
                assert_eq!(registers.peek(CQCSR) & 0x1_0f01, 0x1_0001, "on, and no error");
                assert_eq!(flush(&iommu, tag), Ok(()));
                assert_eq!(events(&iommu), []);
            }
        }
    }
}

#[test]
fn a_queue_that_turns_itself_off_is_turned_on_again() {
    let (_, registers, iommu) = bring_up(LARGE);
    let tag = tag(&iommu);
    registers.set_fault(Some(Fault::Off));
    assert_eq!(flush(&iommu, tag).unwrap_err().what, "cqcsr.cqon is clear");
    assert_eq!(flush(&iommu, tag), Ok(()));
    assert!(matches!(events(&iommu)[..], [Event::Unit { what: "cqcsr.cqon is clear", .. }]));
}

#[test]
fn an_illegal_command_is_told_by_its_code() {
    let (_, registers, iommu) = bring_up(LARGE);
    let tag = tag(&iommu);
    registers.set_fault(Some(Fault::Stop { after: 0, bit: 10 }));
    assert!(flush(&iommu, tag).is_err());
    // IOTINVAL.GVMA: opcode 1, func3 1.
    assert_eq!(events(&iommu), [Event::Unit { what: "cqcsr.cmd_ill", code: 0x101 }]);
}

#[test]
fn an_install_whose_invalidation_is_refused_ends_blocked() {
    for (bit, after) in [(8, 0), (9, 1), (10, 0)] {
        let (bench, registers, iommu) = bring_up(LARGE);
        let slot = claim(&iommu, 0x18, 0, false);
        iommu.put(&slot, None, &Translation::Identity).unwrap();
        let context = || {
            let root = registers.peek64(DDTP) >> 10 << 12;
            let page = |entry: u64| entry >> 10 << 12;
            bench.load(page(bench.load(page(bench.load(root)))) + 0x18 * 64) & 1
        };
        assert_eq!(context(), 1);
        registers.set_fault(Some(Fault::Stop { after, bit }));
        assert!(matches!(iommu.block(&slot, None), Blocked::Unconfirmed(_)));
        assert_eq!(context(), 0);
        registers.set_fault(Some(Fault::Stop { after, bit }));
        assert!(iommu.put(&slot, None, &Translation::Identity).is_err());
        assert_eq!(context(), 0, "what is owed comes first");
        iommu.put(&slot, None, &Translation::Identity).unwrap();
        assert_eq!(context(), 1);
        assert_eq!(iommu.block(&slot, None), Blocked::Confirmed);
    }
}

#[test]
fn an_index_that_no_queue_has_is_an_error() {
    for head in [8, 0xffff, u32::MAX, 7] {
        let (_, registers, iommu) = bring_up(LARGE);
        let tag = tag(&iommu);
        registers.set_fault(Some(Fault::Hang));
        registers.poke(CQH, head);
        assert_eq!(flush(&iommu, tag).unwrap_err().what, "cqh out of range", "{head:#x}");
        assert!(events(&iommu).iter().any(|event| matches!(event, Event::Unit { .. })));
    }
    for tail in [4, 0xffff, u32::MAX] {
        let (_, registers, iommu) = bring_up(LARGE);
        registers.poke(FQT, tail);
        let reported = events(&iommu);
        let code = tail.into();
        assert_eq!(reported, [Event::Unit { what: "fqt out of range", code }]);
        registers.poke(FQT, 0);
        assert_eq!(events(&iommu), []);
    }
}

#[test]
fn a_queue_that_hangs_is_waited_for_once() {
    let (bench, registers, iommu) = bring_up(LARGE);
    let tag = tag(&iommu);
    registers.set_fault(Some(Fault::Hang));
    let start = bench.now_is();
    let many = [(); 20].map(|()| Flush {
        tag,
        span: Span { start: Iova(0), bytes: 0x1000 },
        granule: 0x1000,
        tables_went: false,
        atc: &[],
    });
    assert_eq!(iommu.flush(&many).unwrap_err().what, "room in the command queue");
    for _ in 0..100 {
        assert!(flush(&iommu, tag).is_err());
    }
    assert!(bench.now_is() - start < 2 * config().bound.0);
    registers.set_fault(None);
    assert_eq!(flush(&iommu, tag), Ok(()));
}

#[test]
fn registers_that_read_ones_end_every_wait() {
    let (bench, registers, iommu) = bring_up(LARGE);
    let tag = tag(&iommu);
    registers.set_fault(Some(Fault::Gone));
    let start = bench.now_is();
    assert_eq!(flush(&iommu, tag).unwrap_err().what, "registers read as ones");
    let reported = events(&iommu);
    assert!(!reported.is_empty() && reported.iter().all(|event| matches!(event, Event::Unit { .. })));
    assert!(bench.now_is() - start < config().bound.0);
}

#[test]
fn a_fault_queue_that_stopped_is_told_and_goes_on() {
    for (bits, lost, faulted) in [(1 << 9, 1, 0), (1 << 8, 1, 1), (3 << 8, 1, 1)] {
        let (_, registers, iommu) = bring_up(LARGE);
        registers.poke(FQCSR, registers.peek(FQCSR) | bits);
        let reported = events(&iommu);
        assert_eq!(reported.iter().filter(|event| matches!(event, Event::Lost(1))).count(), lost);
        let said = |event: &&Event| matches!(event, Event::Unit { what: "fqcsr.fqmf", .. });
        assert_eq!(reported.iter().filter(said).count(), faulted, "{reported:?}");
        assert_eq!(registers.peek(FQCSR), 1 << 16 | 1, "on, and no error");
        assert_eq!(events(&iommu), []);
    }
    let (_, registers, iommu) = bring_up(LARGE);
    registers.poke(FQCSR, 1);
    assert!(matches!(events(&iommu)[..], [Event::Unit { what: "fqcsr.fqon is clear", .. }]));
    assert_eq!(events(&iommu), [], "it is told once");
}

#[test]
fn faults_are_read_in_order_over_the_end_of_the_queue() {
    let (bench, registers, iommu) = bring_up(LARGE);
    let queue = registers.peek64(40) >> 10 << 12;
    for n in 0..10u64 {
        let index = n % 4;
        bench.poke(queue + index * 32, 13 | 2 << 34 | (0x100 + n) << 40);
        bench.poke(queue + index * 32 + 16, n << 12);
        registers.poke(FQT, (n as u32 + 1) % 4);
        let all = events(&iommu);
        let [Event::Fault(fault)] = all[..] else { panic!("{all:?}") };
        assert_eq!((fault.source, fault.at), (SourceId(0x100 + n as u32), Some(Iova(n << 12))));
        assert_eq!(fault.cause, FaultCause::NotMapped);
        assert_eq!(registers.peek(48), registers.peek(FQT));
    }
}

#[test]
fn interrupts_are_acknowledged_before_the_queues_are_read() {
    let bench = Bench::new();
    let registers = Registers::new(&bench, LARGE);
    let interrupts = Interrupts::Wired { command: 0, fault: 1, page_request: 2 };
    let config = Config { interrupts, page_request_queue: Some(2), ..config() };
    let iommu = try_bring_up(&bench, &registers, &config, BringUp::Cold).unwrap();
    assert_eq!(registers.peek(FCTL) & 2, 2, "fctl.WSI");
    assert_eq!(registers.peek64(0x2f8), 0x2010);
    for csr in [CQCSR, FQCSR, PQCSR] {
        assert_eq!(registers.peek(csr), 1 << 16 | 3);
    }
    registers.poke(IPSR, 0xf);
    registers.take_writes();
    assert_eq!(events(&iommu), []);
    assert_eq!(registers.take_writes().first(), Some(&(IPSR, 0xf)));
    assert_eq!(registers.peek(IPSR), 0);
}

#[test]
fn a_register_that_keeps_nothing_is_refused_by_name() {
    // iommu_mode of no directory is kept; a queue's address is not; fctl stays big-endian; a mode cannot be left.
    for (at, value, name) in [
        (DDTP, 0u32, "ddtp"),
        (24, 0, "cqb"),
        (40, 0, "fqb"),
        (FCTL, 1, "fctl"),
        (FCTL, 4, "fctl"),
        (DDTP, 1, "ddtp"),
    ] {
        let bench = Bench::new();
        let registers = Registers::new(&bench, LARGE);
        registers.set_fault(Some(Fault::Stuck { at, value }));
        match try_bring_up(&bench, &registers, &config(), BringUp::Cold).err() {
            Some(BringUpError::Locked { register, .. }) => assert_eq!(register, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_never_becomes_ready_is_given_up() {
    for (at, value, name) in [
        (DDTP, 1 << 4, "ddtp.busy"),
        (CQCSR, 1 << 17, "cqcsr.busy"),
        (CQCSR, 0, "cqcsr.cqon to set"),
        (CQCSR, 1 << 16, "cqcsr.cqon to clear"),
        (FQCSR, 1 << 17, "fqcsr.busy"),
        (FQCSR, 0, "fqcsr.fqon to set"),
        (PQCSR, 1 << 17, "pqcsr.busy"),
        (PQCSR, 0, "pqcsr.pqon to set"),
    ] {
        let bench = Bench::new();
        let registers = Registers::new(&bench, LARGE);
        registers.set_fault(Some(Fault::Stuck { at, value }));
        let config = Config { page_request_queue: Some(2), ..config() };
        match try_bring_up(&bench, &registers, &config, BringUp::Cold).err() {
            Some(BringUpError::Hung(hung)) => assert_eq!(hung.what, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Whatever `capabilities` says, a bring-up ends, and what comes of it can be used.
#[test]
fn no_capabilities_bring_the_driver_down() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed ^ seed >> 29
    };
    let mut good = 0;
    for round in 0..300 {
        // Half of them differ from sound ones in a few bits only.
        let (a, b, c) = (random(), random(), random());
        let capabilities = if round % 2 == 0 { a } else { LARGE ^ a & b & c };
        let bench = Bench::new();
        let registers = Registers::new(&bench, capabilities);
        let Ok(iommu) = try_bring_up(&bench, &registers, &config(), BringUp::Cold) else { continue };
        good += 1;
        for bits in [0, iommu.capabilities().pasid_bits.min(8)] {
            let wish = Requirements { pasid_bits: bits, ..Requirements::default() };
            let Ok(plan) = iommu.plan(&wish) else { continue };
            let ioward_core::driver::Plan::Tables(config) = plan else { panic!("tables") };
            iommu.can_walk(&config).expect("it walks what it plans");
            let tag = iommu.tag(&plan).unwrap();
            flush(&iommu, tag).unwrap();
            let slot = claim(&iommu, 1 + u32::from(bits), bits, false);
            let levels = if config.in_bits > 41 { 4 } else { 3 };
            let root = ioward_types::Root { at: ioward_types::PhysAddr(0x4000), levels };
            iommu.put(&slot, None, &Translation::Table { root, config: &config, tag }).unwrap();
            assert_eq!(iommu.release(slot, false), Blocked::Confirmed);
            iommu.give_back(tag).unwrap();
        }
    }
    assert!(good > 20, "{good}");
}
