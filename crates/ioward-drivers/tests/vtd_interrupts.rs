//! Interrupt remapping of the VT-d driver on the model that judges it: what a device can raise, and nobody else.
#![cfg(feature = "vtd")]

mod vtd_machine;

use ioward_core::driver::{
    ApicTarget, Delivery, Driver, Event, FaultCause, InterruptFrom, InterruptTo, Refused, RemapInterrupts,
};
use ioward_drivers::vtd::{Config, Interrupts};
use ioward_models::vtd::VtdConfig;
use ioward_models::{IommuModel, MessageOutcome};
use ioward_types::{Iova, SourceId, describe};
use vtd_machine::*;

const IOAPIC: SourceId = SourceId(0xf0f8);

fn up(machine: &Machine, entries_log2: u8, x2apic: bool) -> Unit {
    machine.bring_up_as(Config { interrupts: Interrupts::Remap { entries_log2, x2apic }, ..machine.config() })
}

fn to(vector: u8) -> ApicTarget {
    ApicTarget { vector, destination: 1, ..ApicTarget::default() }
}

fn vector_of(outcome: MessageOutcome) -> Option<u8> {
    match outcome {
        MessageOutcome::Delivered { vector, .. } => Some(vector),
        _ => None,
    }
}

fn configs() -> Vec<VtdConfig> {
    let legacy = VtdConfig::legacy();
    vec![
        legacy.clone(),
        VtdConfig { caching_mode: true, ..legacy.clone() },
        VtdConfig { coherent: false, ..legacy.clone() },
        VtdConfig { write_buffer: true, ..legacy.clone() },
        VtdConfig { index_mask: 0, interrupt_table_invalidates: true, ..legacy },
        VtdConfig::default(),
    ]
}

#[test]
fn a_message_names_an_entry_of_its_own_source_or_is_blocked() {
    for config in configs() {
        let machine = Machine::new(config);
        let driver = up(&machine, 8, true);
        let send = |source, address, data| machine.model.message(source, Iova(address), data);
        // Compatibility format: vector 0x31 to processor 1.
        assert_eq!(send(NIC, 0xfee0_1000, 0x31), MessageOutcome::Aborted);
        let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
        assert_eq!(send(NIC, 0xfee0_0010, 0), MessageOutcome::Aborted, "reserved and masked");
        let target = ApicTarget {
            vector: 0x42,
            destination: 0x1_2345,
            logical: true,
            delivery: Delivery::LowestPriority,
            level: false,
        };
        let message = driver.remap(&entries, 0, &InterruptTo::Apic(target)).unwrap();
        let delivered = MessageOutcome::Delivered {
            vector: 0x42,
            destination: 0x1_2345,
            logical: true,
            delivery: 1,
            level: false,
        };
        assert_eq!(send(NIC, message.address, message.data), delivered);
        assert_eq!(send(DISK, message.address, message.data), MessageOutcome::Aborted, "another source");
        assert_eq!(send(NIC, message.address + 0x20, message.data), MessageOutcome::Aborted, "another entry");
        driver.mask(&entries, 0).unwrap();
        assert_eq!(send(NIC, message.address, message.data), MessageOutcome::Aborted);
        let causes: Vec<_> = events(&driver)
            .iter()
            .filter_map(|event| match event {
                Event::Fault(fault) => Some((fault.source, fault.cause, fault.at)),
                _ => None,
            })
            .collect();
        let expected = [
            (NIC, FaultCause::Blocked, None),
            (NIC, FaultCause::Blocked, None),
            (DISK, FaultCause::Permission, None),
            (NIC, FaultCause::Blocked, None),
            (NIC, FaultCause::Blocked, None),
        ];
        assert_eq!(causes, expected);
        assert!(driver.interrupt_capabilities().isolated && driver.isolates(NIC));
        machine.settled();
    }
}

#[test]
fn a_device_with_several_messages_counts_in_its_data() {
    for config in configs() {
        let machine = Machine::new(config);
        let driver = up(&machine, 8, true);
        let _odd = driver.reserve(InterruptFrom::Source(DISK), 1).unwrap();
        let entries = driver.reserve(InterruptFrom::Source(NIC), 8).unwrap();
        assert_eq!(entries.first, 8, "aligned, so that a device can count");
        let messages: Vec<_> = (0..8)
            .map(|n| driver.remap(&entries, n, &InterruptTo::Apic(to(0x40 + n as u8))).unwrap())
            .collect();
        for n in 0..8u32 {
            // MSI adds the number to the data of the first; MSI-X has each message of its own.
            for (address, data) in [
                (messages[0].address, messages[0].data + n),
                (messages[n as usize].address, messages[n as usize].data),
            ] {
                assert_eq!(vector_of(machine.model.message(NIC, Iova(address), data)), Some(0x40 + n as u8));
            }
        }
        let beyond = machine.model.message(NIC, Iova(messages[0].address), messages[0].data + 8);
        assert_eq!(beyond, MessageOutcome::Aborted);
        driver.remap(&entries, 3, &InterruptTo::Apic(to(0x99))).unwrap();
        let third = machine.model.message(NIC, Iova(messages[0].address), messages[0].data + 3);
        assert_eq!(vector_of(third), Some(0x99));
        RemapInterrupts::release(&driver, entries).unwrap();
        for n in 0..8 {
            let gone = machine.model.message(NIC, Iova(messages[0].address), n);
            assert_eq!(gone, MessageOutcome::Aborted);
        }
        assert_eq!(driver.reserve(InterruptFrom::Source(NIC), 8).unwrap().first, 8);
        machine.settled();
    }
}

#[test]
fn a_bridge_may_put_in_its_own_source() {
    let machine = Machine::new(VtdConfig::legacy());
    let driver = up(&machine, 4, false);
    let from = InterruptFrom::Buses { source: SourceId(0x500), first: 5, last: 7 };
    let entries = driver.reserve(from, 1).unwrap();
    let message = driver.remap(&entries, 0, &InterruptTo::Apic(to(0x51))).unwrap();
    for (source, reaches) in [(0x500, true), (0x5ff, true), (0x7ab, true), (0x4ff, false), (0x800, false)] {
        let outcome = machine.model.message(SourceId(source), Iova(message.address), message.data);
        assert_eq!(vector_of(outcome).is_some(), reaches, "{source:#x}");
    }
    let backwards = InterruptFrom::Buses { source: SourceId(0x500), first: 7, last: 5 };
    assert!(matches!(driver.reserve(backwards, 1), Err(Refused::Interrupt { .. })));
    machine.settled();
}

#[test]
fn a_pin_of_an_io_apic_names_its_entry_in_its_redirection_entry() {
    let machine = Machine::new(VtdConfig::legacy());
    let driver = up(&machine, 16, true);
    // Behind more entries than fifteen bits count.
    let _many = driver.reserve(InterruptFrom::Source(NIC), 0x8000).unwrap();
    let pins = driver.reserve(InterruptFrom::Source(IOAPIC), 24).unwrap();
    assert_eq!(pins.first, 0x8000);
    let target = ApicTarget { level: true, ..to(0x31) };
    let entry = driver.remap(&pins, 5, &InterruptTo::Apic(target)).unwrap().redirection;
    // What an I/O APIC makes of it: bits 63:48 are address bits 19:4, bit 11 is bit 2, and the data has vector, mode and
    // trigger (5.1.5.1).
    let address = 0xfee0_0000 | (entry >> 48) << 4 | (entry >> 11 & 1) << 2;
    assert_eq!(entry & 0xff, 0x31, "the vector that an end of interrupt names");
    assert_eq!(entry >> 16 & 1, 0, "not masked");
    let delivered = machine.model.message(IOAPIC, Iova(address), 0);
    let expected =
        MessageOutcome::Delivered { vector: 0x31, destination: 1, logical: false, delivery: 0, level: true };
    assert_eq!(delivered, expected);
    machine.settled();
}

#[test]
fn interrupts_pass_unless_they_are_to_be_remapped_and_can_be() {
    let send = |machine: &Machine| machine.model.message(NIC, Iova(0xfee0_1000), 0x31);
    let machine = Machine::new(VtdConfig::legacy());
    let driver = machine.bring_up();
    assert!(driver.interrupts().is_none());
    assert_eq!(send(&machine), MessageOutcome::Unremapped);
    assert!(!driver.interrupt_capabilities().isolated);
    // A unit that lacks it, and a platform that does.
    let machine = Machine::new(VtdConfig { interrupt_remapping: false, ..VtdConfig::legacy() });
    assert!(up(&machine, 8, true).interrupts().is_none());
    let machine = Machine::new(VtdConfig::legacy());
    let described = describe::VtD { interrupt_remapping: false, ..machine.config().described };
    let remap = Interrupts::Remap { entries_log2: 8, x2apic: true };
    let driver = machine.bring_up_as(Config { described, interrupts: remap, ..machine.config() });
    assert!(driver.interrupts().is_none());
    assert_eq!(send(&machine), MessageOutcome::Unremapped);
    machine.settled();
}

#[test]
fn destinations_are_as_wide_as_the_unit_has_them() {
    for (unit, asked, wide) in [(true, true, true), (false, true, false), (true, false, false)] {
        let machine = Machine::new(VtdConfig { x2apic: unit, ..VtdConfig::legacy() });
        let driver = up(&machine, 8, asked);
        assert_eq!(driver.interrupt_capabilities().wide_destination, wide);
        let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
        let far = InterruptTo::Apic(ApicTarget { destination: 0x100, ..to(0x31) });
        match driver.remap(&entries, 0, &far) {
            Ok(_) => assert!(wide),
            Err(refused) => assert!(!wide && matches!(refused, Refused::Interrupt { .. })),
        }
        let near = InterruptTo::Apic(ApicTarget { destination: 0xab, ..to(0x31) });
        let message = driver.remap(&entries, 0, &near).unwrap();
        let outcome = machine.model.message(NIC, Iova(message.address), message.data);
        assert!(matches!(outcome, MessageOutcome::Delivered { destination: 0xab, .. }), "{outcome:?}");
        machine.settled();
    }
}

#[test]
fn without_stores_of_128_bits_an_entry_goes_through_not_present() {
    let machine = Machine::new(VtdConfig::legacy());
    let remap = Interrupts::Remap { entries_log2: 8, x2apic: true };
    let config = Config { interrupts: remap, wide_stores: false, ..machine.config() };
    let driver = machine.bring_up_as(config);
    let entries = driver.reserve(InterruptFrom::Source(NIC), 1).unwrap();
    let message = driver.remap(&entries, 0, &InterruptTo::Apic(to(0x31))).unwrap();
    for vector in [0x31, 0x42, 0x53] {
        driver.remap(&entries, 0, &InterruptTo::Apic(to(vector))).unwrap();
        let outcome = machine.model.message(NIC, Iova(message.address), message.data);
        assert_eq!(vector_of(outcome), Some(vector));
    }
    machine.settled();
}
