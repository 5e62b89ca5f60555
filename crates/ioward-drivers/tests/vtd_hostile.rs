//! Registers and memory that say anything at all: the VT-d driver ends every call, and panics over nothing.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_bench;

use ioward_core::driver::{
    ApicTarget, AtcTarget, Claim, Driver, Flush, InterruptFrom, InterruptTo, Plan, Requirements, Translation,
};
use ioward_drivers::vtd::{BringUp, BringUpError, Config, Interrupts, PageRequests, VtD};
use ioward_types::{Iova, Mmio, Nanos, Pasid, PhysAddr, Root, SourceId, Span, describe};
use put::Put;
use std::sync::Mutex;
use vtd_bench::{Bench, Registers, UNIT};

const CAP: u64 = 0x10d2_078c_2238_0e06;
const ECAP: u64 = 0x00f0_105f | 1 << 29 | 1 << 43 | 1 << 46 | 1 << 47 | 1 << 48 | 1 << 40 | 19 << 35;

fn next(seed: &Mutex<u64>) -> u64 {
    let mut seed = seed.lock().unwrap();
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed ^ *seed >> 29
}

/// Registers of which some reads are random, one in `rate`; capabilities are honest where `honest`.
struct Random {
    under: Registers,
    seed: Mutex<u64>,
    rate: u64,
    honest: bool,
}

impl Random {
    fn lies(&self, at: usize) -> Option<u64> {
        if self.honest && matches!(at, 0x08 | 0x10) {
            return None;
        }
        let value = next(&self.seed);
        value.is_multiple_of(self.rate).then(|| match value >> 32 & 3 {
            0 => u64::MAX,
            1 => 0,
            // A bit or two.
            2 => 1 << (value >> 40 & 63) | 1 << (value >> 50 & 63),
            _ => next(&self.seed),
        })
    }
}

impl Mmio for Random {
    fn read32(&self, at: usize) -> u32 {
        self.lies(at).map_or_else(|| self.under.read32(at), |lie| lie as u32)
    }
    fn write32(&self, at: usize, value: u32) {
        self.under.write32(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        self.lies(at).unwrap_or_else(|| self.under.read64(at))
    }
    fn write64(&self, at: usize, value: u64) {
        self.under.write64(at, value);
    }
}

fn exercise(driver: &impl Driver) {
    let source = SourceId(0x18);
    let Ok(slot) = driver.claim(&Claim { source, pasid_bits: 0, ats: false }) else { return };
    for pasid_bits in [0, 1] {
        let Ok(plan) = driver.plan(&Requirements { pasid_bits, ..Requirements::default() }) else { continue };
        let (Plan::Tables(config), Ok(tag)) = (plan, driver.tag(&plan)) else { continue };
        for levels in 3..=5 {
            let root = Root { at: PhysAddr(0x1000), levels };
            let what = Translation::Table { root, config: &config, tag };
            let _ = driver.put(&slot, None, &what);
            let _ = driver.put(&slot, Some(Pasid(1)), &what);
        }
        let target = [AtcTarget { source, pasid: None }, AtcTarget { source, pasid: Some(Pasid(1)) }];
        let span = Span { start: Iova(u64::MAX - 0xfff), bytes: 0x1000 };
        let _ = driver.flush(&[Flush { tag, span, granule: 4096, tables_went: true, atc: &target }]);
        let _ = driver.block(&slot, Some(Pasid(1)));
        let _ = driver.give_back(tag);
    }
    let _ = driver.put(&slot, None, &Translation::Identity);
    let mut told = 0;
    driver.poll(&mut |_| told += 1);
    assert!(told < 10_000, "a poll that does not end");
    if let Some(interrupts) = driver.interrupts()
        && let Ok(entries) = interrupts.reserve(InterruptFrom::Source(source), 3)
    {
        let _ = interrupts.remap(&entries, 2, &InterruptTo::Apic(ApicTarget::default()));
        let _ = interrupts.mask(&entries, 9);
        let _ = interrupts.release(entries);
    }
    let _ = driver.block(&slot, None);
    let _ = driver.release(slot, false);
}

#[test]
fn registers_may_say_anything() {
    let (mut up, mut refused) = (0, 0);
    for round in 0..400u64 {
        let bench = Bench::new();
        let random = Random {
            under: Registers::new(&bench, CAP, ECAP),
            seed: Mutex::new(round),
            rate: [1, 3, 20, 200][round as usize % 4],
            honest: !round.is_multiple_of(5),
        };
        let described =
            describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() };
        let config = Config {
            patience: Nanos(200_000_000),
            page_requests: Some(PageRequests { pages_log2: 0, message: None }),
            interrupts: Interrupts::Remap { entries_log2: 4, x2apic: true },
            ..Config::new(described)
        };
        let seed = Mutex::new(round);
        let garbage = move |_| Some(next(&seed)).filter(|value| !value.is_multiple_of(97));
        let state = match round % 3 {
            0 => BringUp::Cold,
            1 => BringUp::Abort,
            _ => BringUp::Adopt(&garbage),
        };
        match VtD::bring_up(UNIT, random, config, &bench, state) {
            Ok(driver) => {
                up += 1;
                exercise(&driver);
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(up > 20 && refused > 20, "{up} came up, {refused} did not");
}

#[test]
fn memory_of_an_earlier_owner_may_say_anything() {
    for round in 0..60u64 {
        let bench = Bench::new();
        let registers = Registers::new(&bench, CAP, ECAP);
        let mode = round & 1;
        registers.poke(0x20, 0x10_0000 | mode << 10);
        registers.poke(0x1c, 1 << 31 | 1 << 30 | 1 << 25 | 1 << 24);
        registers.poke(0xb8, 0x20_080f);
        let seed = Mutex::new(round);
        // Sparse or dense, present or not.
        let garbage = move |_: PhysAddr| {
            let value = next(&seed);
            match round % 4 {
                0 => Some(value),
                1 => Some(value & !0xfff | 1),
                2 => Some(if value.is_multiple_of(500) { value | 1 } else { 0 }),
                _ => (!value.is_multiple_of(1000)).then_some(value & 0x3fff_ffff_f089),
            }
        };
        let described =
            describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() };
        let interrupts = Interrupts::Remap { entries_log2: 6, x2apic: true };
        let config = Config { interrupts, ..Config::new(described) };
        match VtD::bring_up(UNIT, registers, config, &bench, BringUp::Adopt(&garbage)) {
            Ok(driver) => exercise(&driver),
            Err(BringUpError::Adopt(_) | BringUpError::NoMemory(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_maze_of_tables_ends() {
    // Every root entry leads to one context table, every entry of that to the largest directory, every entry of that to
    // one table in which nothing is present: thirty thousand million entries.
    let bench = Bench::new();
    let registers = Registers::new(&bench, CAP, ECAP);
    registers.poke(0x20, 0x10_0000 | 1 << 10);
    registers.poke(0x1c, 1 << 31 | 1 << 30);
    let looks = std::cell::Cell::new(0u64);
    let maze = |at: PhysAddr| {
        looks.set(looks.get() + 1);
        Some(match at.0 >> 20 {
            0x1 => 0x20_0001,
            0x2 if at.0 & 0x1f == 0 => 0x30_0e01,
            0x2 => 0,
            0x3 => 0x40_0001,
            _ => 0,
        })
    };
    let described = describe::VtD { host_bits: 46, ..describe::VtD::default() };
    let config = Config::new(described);
    let driver = VtD::bring_up(UNIT, registers, config, &bench, BringUp::Adopt(&maze)).unwrap();
    assert!(driver.adopted().stopped > 30_000);
    assert!(looks.get() < 1 << 26, "{}", looks.get());
}
