//! Interrupt messages, with entries as numbers.

use super::bench::{Bench, DEVICE};
use crate::{IommuModel, MessageOutcome, amdvi::AmdViConfig};
use ioward_types::{Iova, Mmio, SourceId};

const TABLE: u64 = 0x0110_0000;
const FEE: Iova = Iova(0xfee0_0000);

/// V, TV; IV, IntTabLen `length`, IntCtl remap, the table, EIntPass, no NMIPass.
fn remapped(bench: &Bench, length: u64) {
    bench.entry(DEVICE, [0x3, 0, TABLE | 2 << 60 | 1 << 57 | length << 1 | 1, 0]);
}

fn message(bench: &Bench, data: u32) -> MessageOutcome {
    bench.model.message(DEVICE, FEE, data)
}

fn delivered(vector: u8, destination: u32) -> MessageOutcome {
    MessageOutcome::Delivered { vector, destination, logical: false, delivery: 0, level: false }
}

#[test]
fn entries_of_32_bits_are_cached_until_their_device_is_told() {
    let bench = Bench::new(AmdViConfig::minimal());
    remapped(&bench, 1);
    // Entry 0: vector 41h to APIC 3. Entry 1: logical, arbitrated, level, vector 42h to 80h.
    bench.put(TABLE, 0x0042_8065_0041_0301);
    assert_eq!(message(&bench, 0), delivered(0x41, 3));
    let second = MessageOutcome::Delivered {
        vector: 0x42,
        destination: 0x80,
        logical: true,
        delivery: 1,
        level: true,
    };
    assert_eq!(message(&bench, 1), second);
    bench.put(TABLE, 0x0042_8065_0050_0301);
    assert_eq!(message(&bench, 0), delivered(0x41, 3), "cached");
    bench.command([0x5000_0000_0000_0009, 0]);
    bench.wait();
    assert_eq!(message(&bench, 0), delivered(0x41, 3), "another device's");
    bench.command([0x5000_0000_0000_0008, 0]);
    bench.wait();
    assert_eq!(message(&bench, 0), delivered(0x50, 3));
    bench.clean();
}

#[test]
fn entries_of_128_bits_have_destinations_of_32_with_x2apic() {
    let bench = Bench::new(AmdViConfig { guest_translation: false, ..AmdViConfig::default() });
    let control = bench.model.read64(0x18);
    bench.model.write64(0x18, control | 1 << 17 | 1 << 50);
    remapped(&bench, 2);
    bench.put(TABLE + 32, 0x0045_6701);
    bench.put(TABLE + 40, 0x8900_0000_0000_0033);
    assert_eq!(message(&bench, 2), delivered(0x33, 0x8900_4567));
    bench.clean();
}

#[test]
fn what_no_entry_names_is_blocked_and_reported() {
    let bench = Bench::new(AmdViConfig::minimal());
    remapped(&bench, 1);
    bench.put(TABLE, 0x2); // RemapEn clear, SupIOPF set; entry 1 zero
    assert_eq!(message(&bench, 0), MessageOutcome::Aborted);
    assert_eq!(bench.event(), None);
    for data in [1, 2, 0xff] {
        assert_eq!(message(&bench, data), MessageOutcome::Aborted);
        // IO_PAGE_FAULT, I and RW set.
        assert_eq!(bench.event(), Some([0x2028_0000_0000_0008, FEE.0]), "{data:#x}");
    }
    // SMI never passes, NMI only with NMIPass; ExtINT passes here.
    for data in [0x200, 0x400, 0x500] {
        assert_eq!(message(&bench, data), MessageOutcome::Aborted);
        assert!(bench.event().is_some_and(|event| event[0] >> 60 == 8), "{data:#x}");
    }
    assert_eq!(message(&bench, 0x700), MessageOutcome::Unremapped);
    bench.clean();
}

#[test]
fn without_iv_messages_pass_and_with_the_wrong_control_they_end() {
    let bench = Bench::new(AmdViConfig::minimal());
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    assert_eq!(message(&bench, 0x31), MessageOutcome::Unremapped);
    bench.entry(SourceId(9), [0x3, 0, 1, 0]);
    assert_eq!(bench.model.message(SourceId(9), FEE, 0x31), MessageOutcome::Aborted);
    assert!(bench.event().is_some_and(|event| event[0] >> 60 == 8));
    assert_eq!(bench.model.message(DEVICE, Iova(0x1000), 0x31), MessageOutcome::Unremapped);
    bench.clean();
}

#[test]
fn guest_mode_and_reserved_types_are_violations() {
    let bench = Bench::new(AmdViConfig::minimal());
    remapped(&bench, 1);
    bench.put(TABLE, 0x0041_0381_0041_0309);
    for data in [0, 1] {
        assert_eq!(message(&bench, data), MessageOutcome::Aborted);
        assert!(bench.event().is_some());
    }
    bench.violated(&["48882 §2.2.5", "48882 §2.2.5"]);
}

#[test]
fn poisoned_entries_are_never_used() {
    let bench = Bench::new(AmdViConfig::minimal());
    remapped(&bench, 1);
    bench.put(TABLE, 0x0041_0301);
    bench.model.poison();
    bench.command([0x2000_0000_0000_0008, 0]);
    bench.wait();
    assert_eq!(message(&bench, 0), MessageOutcome::Aborted);
    bench.violated(&["48882 §2.4.5"]);
    bench.command([0x5000_0000_0000_0008, 0]);
    bench.wait();
    assert_eq!(message(&bench, 0), delivered(0x41, 3));
    bench.clean();
}
