//! Interrupt remapping of the AMD-Vi driver, judged by the model.
#![cfg(feature = "amdvi")]

mod amdvi_machine;
#[path = "support/put.rs"]
mod put;

use amdvi_machine::*;
use ioward_core::driver::{
    ApicTarget, Blocked, Delivery, Driver, Event, InterruptFrom, InterruptTo, Refused, RemapInterrupts,
    Translation,
};
use ioward_drivers::amdvi::{AmdVi, BringUp};
use ioward_models::{IommuModel, MessageOutcome, amdvi::AmdViConfig};
use ioward_types::{Iova, SourceId};
use put::Put;

/// What a device writes.
fn raise(machine: &Machine, source: SourceId, data: u32) -> MessageOutcome {
    machine.model.message(source, Iova(0xfee0_0000), data)
}

fn delivered(vector: u8, destination: u32) -> MessageOutcome {
    MessageOutcome::Delivered { vector, destination, logical: false, delivery: 0, level: false }
}

fn to(vector: u8, destination: u32) -> InterruptTo {
    InterruptTo::Apic(ApicTarget { vector, destination, ..ApicTarget::default() })
}

/// Units with entries of 128 bits, x2APIC or not, and of 32 bits.
fn units() -> [AmdViConfig; 4] {
    let usual = AmdViConfig::default();
    [
        usual.clone(),
        AmdViConfig { x2apic: false, ..usual.clone() },
        AmdViConfig { coherent: false, ..usual },
        AmdViConfig::minimal(),
    ]
}

#[test]
fn a_message_is_what_its_own_entry_says_or_nothing() {
    for config in units() {
        let wide = config.x2apic;
        let machine = Machine::new(config);
        let driver = machine.bring_up();
        let remapping = driver.interrupts().unwrap();
        assert!(remapping.interrupt_capabilities().isolated && remapping.isolates(NIC));
        assert_eq!(remapping.interrupt_capabilities().wide_destination, wide);
        let destination = if wide { 0x1234_5678 } else { 0x78 };
        for data in [0, 1, 0x41, 0x400, 0x700] {
            assert_eq!(raise(&machine, NIC, data), MessageOutcome::Aborted, "{data:#x}");
        }
        let slot = claim(&driver, NIC, 0, false);
        let nic = remapping.reserve(InterruptFrom::Source(NIC), 3).unwrap();
        let disk = remapping.reserve(InterruptFrom::Source(DISK), 1).unwrap();
        let message = remapping.remap(&nic, 1, &to(0x51, destination)).unwrap();
        assert_eq!(raise(&machine, NIC, message.data), delivered(0x51, destination));
        // Its neighbours, and the same index of somebody else, are blocked.
        assert_eq!(raise(&machine, NIC, message.data + 1), MessageOutcome::Aborted);
        assert_eq!(raise(&machine, DISK, message.data), MessageOutcome::Aborted);
        let other = remapping.remap(&disk, 0, &to(0x61, 2)).unwrap();
        assert_eq!(raise(&machine, DISK, other.data), delivered(0x61, 2));
        remapping.remap(&nic, 2, &to(0x52, 3)).unwrap();
        assert_eq!(raise(&machine, NIC, message.data), delivered(0x51, destination));
        // Whatever happens to translation, messages are not touched.
        driver.put(&slot, None, &Translation::Identity).unwrap();
        assert_eq!(raise(&machine, NIC, message.data), delivered(0x51, destination));
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        assert_eq!(raise(&machine, NIC, message.data + 1), delivered(0x52, 3));
        remapping.release(nic).unwrap();
        assert_eq!(raise(&machine, NIC, message.data), MessageOutcome::Aborted);
        assert!(matches!(events(&driver)[..], [Event::Fault(fault), ..] if fault.source == NIC));
        machine.settled();
    }
}

#[test]
fn entries_lie_together_and_are_used_again() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let reserve = |count| driver.reserve(InterruptFrom::Source(NIC), count);
    let one = reserve(1).unwrap();
    let msi = reserve(32).unwrap();
    assert_eq!((one.first, msi.first), (0, 32));
    let vectors = reserve(5).unwrap();
    assert_eq!(vectors.first, 8);
    assert!(matches!(reserve(512), Err(Refused::Interrupt { .. })));
    assert!(matches!(reserve(0), Err(Refused::Interrupt { .. })));
    assert!(matches!(reserve(u16::MAX), Err(Refused::Interrupt { .. })));
    RemapInterrupts::release(&driver, one).unwrap();
    RemapInterrupts::release(&driver, msi).unwrap();
    RemapInterrupts::release(&driver, vectors).unwrap();
    assert_eq!(reserve(512).unwrap().first, 0);
    machine.settled();
}

#[test]
fn what_cannot_be_remapped_is_refused_and_changes_nothing() {
    let machine = Machine::new(AmdViConfig::minimal());
    let driver = machine.bring_up();
    let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
    let message = driver.remap(&entries, 0, &to(0x41, 1)).unwrap();
    let nmi = InterruptTo::Apic(ApicTarget { delivery: Delivery::Nmi, ..ApicTarget::default() });
    for (nth, target) in [(0, nmi), (0, to(0x42, 0x100)), (1, to(0x42, 1))] {
        assert!(matches!(driver.remap(&entries, nth, &target), Err(Refused::Interrupt { .. })));
    }
    assert_eq!(raise(&machine, NIC, message.data), delivered(0x41, 1));
    let beyond = SourceId(0x1_0000);
    assert!(matches!(driver.reserve(InterruptFrom::Source(beyond), 1), Err(Refused::Source { .. })));
    machine.settled();
}

#[test]
fn firmware_lets_legacy_interrupts_of_an_io_apic_pass() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let ioapic = SourceId(0xa0);
    let pin = driver.reserve(InterruptFrom::Source(ioapic), 24).unwrap();
    driver.let_pass(ioapic, 0x02).unwrap();
    assert_eq!(raise(&machine, ioapic, 0x700), MessageOutcome::Unremapped, "ExtINT");
    assert_eq!(raise(&machine, ioapic, 0x400), MessageOutcome::Aborted, "NMI");
    assert!(!driver.isolates(ioapic) && driver.isolates(NIC));
    let level = InterruptTo::Apic(ApicTarget { vector: 0x30, level: true, ..ApicTarget::default() });
    let message = driver.remap(&pin, 9, &level).unwrap();
    assert_eq!(message.redirection, 0x8009);
    let MessageOutcome::Delivered { vector: 0x30, level: true, .. } = raise(&machine, ioapic, message.data)
    else {
        panic!("pin 9 is remapped");
    };
    machine.settled();
}

#[test]
fn hung_hardware_masks_what_was_being_changed() {
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
    machine.model.set_hung(true);
    assert!(matches!(driver.remap(&entries, 0, &to(0x41, 1)), Err(Refused::Hung(_))));
    assert!(driver.mask(&entries, 0).is_err());
    let first = entries.first;
    assert!(RemapInterrupts::release(&driver, entries).is_err());
    machine.model.set_hung(false);
    assert_eq!(raise(&machine, NIC, first), MessageOutcome::Aborted);
    // What was not confirmed is not given to anybody else.
    assert_ne!(driver.reserve(InterruptFrom::Source(NIC), 1).unwrap().first, first);
}

#[test]
fn without_remapping_messages_pass_and_are_not_isolated() {
    let machine = Machine::new(AmdViConfig::default());
    let config = ioward_drivers::amdvi::Config { interrupts: false, ..machine.config() };
    let bus = Bus(machine.model.clone());
    let driver = AmdVi::bring_up(UNIT, bus, config, &machine.platform, BringUp::Cold).unwrap();
    assert!(driver.interrupts().is_none());
    assert_eq!(raise(&machine, NIC, 0x41), MessageOutcome::Unremapped);
    machine.settled();
}
