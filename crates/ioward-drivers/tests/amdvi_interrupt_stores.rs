//! What hardware may read of an interrupt entry while it changes: the old one, the new one, nothing else.
#![cfg(feature = "amdvi")]

mod amdvi_bench;

use amdvi_bench::{Bench, Record, Registers, UNIT};
use ioward_core::driver::{ApicTarget, InterruptFrom, InterruptTo, RemapInterrupts};
use ioward_drivers::amdvi::{AmdVi, BringUp, Config};
use ioward_types::{SourceId, describe};

const SOURCE: SourceId = SourceId(0x18);
/// GASup; and HATS 0, IASup.
const WIDE: u64 = 1 << 7 | 1 << 6;
const NARROW: u64 = 1 << 6;

fn unit(efr: u64) -> (Bench, &'static Registers, AmdVi<&'static Registers, Bench>) {
    let bench = Bench::new();
    let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, efr)));
    let config = Config { interrupts: true, ..Config::new(describe::AmdVi::default(), 0x7f) };
    let driver = AmdVi::bring_up(UNIT, registers, config, &bench, BringUp::Cold).unwrap();
    (bench, registers, driver)
}

fn to(vector: u8) -> InterruptTo {
    InterruptTo::Apic(ApicTarget { vector, destination: 7, ..ApicTarget::default() })
}

/// Stores since the last call, those to queues and completions (8 bytes at places that are no entry's) left out.
fn stores(bench: &Bench, within: std::ops::Range<u64>) -> Vec<(u64, usize, u128)> {
    let log = bench.take_log();
    log.into_iter()
        .filter_map(|record| match record {
            Record::Store { at, bytes, new } if within.contains(&at) => Some((at, bytes, new)),
            _ => None,
        })
        .collect()
}

/// Where the device table says that the source's interrupt table is.
fn table(bench: &Bench, registers: &Registers) -> u64 {
    let entry = (registers.peek(0) & 0x000f_ffff_ffff_f000) + u64::from(SOURCE.0) * 32;
    bench.load(entry + 16) & 0x000f_ffff_ffff_ffc0
}

#[test]
fn an_entry_of_128_bits_changes_in_one_store() {
    let (bench, registers, driver) = unit(WIDE);
    let entries = driver.reserve(InterruptFrom::Source(SOURCE), 4).unwrap();
    let table = table(&bench, registers);
    for vector in [0x41, 0x42] {
        stores(&bench, 0..u64::MAX);
        driver.remap(&entries, 2, &to(vector)).unwrap();
        let expected = u128::from(vector) << 64 | 0x701;
        assert_eq!(stores(&bench, table..table + 0x2000), [(table + 32, 16, expected)]);
    }
    driver.mask(&entries, 2).unwrap();
    assert_eq!(stores(&bench, table..table + 0x2000), [(table + 32, 16, 0)]);
}

#[test]
fn an_entry_of_32_bits_changes_alone() {
    let (bench, registers, driver) = unit(NARROW);
    let entries = driver.reserve(InterruptFrom::Source(SOURCE), 4).unwrap();
    let table = table(&bench, registers);
    driver.remap(&entries, 2, &to(0x41)).unwrap();
    stores(&bench, 0..u64::MAX);
    driver.remap(&entries, 3, &to(0x43)).unwrap();
    assert_eq!(stores(&bench, table..table + 0x1000), [(table + 8, 8, 0x0043_0701_0041_0701)]);
    driver.mask(&entries, 2).unwrap();
    assert_eq!(stores(&bench, table..table + 0x1000), [(table + 8, 8, 0x0043_0701_0000_0000)]);
}

#[test]
fn a_source_gets_its_table_in_one_store_after_the_table_is_empty_and_visible() {
    let (bench, registers, driver) = unit(WIDE);
    let entry = (registers.peek(0) & 0x000f_ffff_ffff_f000) + u64::from(SOURCE.0) * 32;
    assert_eq!(bench.load(entry + 16), 1, "IV, IntCtl abort");
    bench.take_log();
    let entries = driver.reserve(InterruptFrom::Source(SOURCE), 1).unwrap();
    let log = bench.take_log();
    let at = |record: &Record| matches!(record, Record::Store { at, bytes: 16, .. } if *at == entry + 16);
    let stored = log.iter().position(at).expect("the upper half is stored at once");
    assert!(log[..stored].contains(&Record::Barrier));
    assert_eq!(log.iter().filter(|record| at(record)).count(), 1);
    // IntCtl remap, 512 entries, the table.
    assert_eq!(bench.load(entry + 16) & !0x000f_ffff_ffff_ffc0, 2 << 60 | 9 << 1 | 1);
    assert_eq!(entries.count, 1);
}
