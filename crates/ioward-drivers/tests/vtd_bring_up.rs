//! Bringing a VT-d unit up that firmware or an earlier kernel left translating, on the model that judges it.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_machine;

use ioward_core::driver::Translation;
use ioward_drivers::vtd::{BringUp, BringUpError, Config, Interrupts, Mode};
use ioward_models::vtd::VtdConfig;
use ioward_models::{DmaError, Memory};
use ioward_types::{Format, Frames, Iova, Mmio, PhysAddr, SourceId, TableConfig};
use put::Put;
use vtd_machine::*;

const TRANSLATING: u64 = 1 << 31 | 1 << 30;
const QUEUE: u64 = 1 << 26;

fn reader(memory: &Memory) -> impl Fn(PhysAddr) -> Option<u64> + '_ {
    |at| memory.read64("the next owner", at, true).ok()
}

/// What an earlier owner left: a root table with one context table, for bus 0.
struct Left {
    root: Frames<ioward_models::SimPlatform>,
    context: Frames<ioward_models::SimPlatform>,
}

impl Left {
    fn new(machine: &Machine, mode: u64, status: u64) -> Self {
        let (root, context) = (machine.page(), machine.page());
        machine.put(root.phys(), context.phys().0 | 1);
        machine.model.preset(&[(0x20, root.phys().0 | mode << 10), (0x1c, TRANSLATING | status)]);
        Self { root, context }
    }

    /// A legacy entry with a four-level table.
    fn legacy(&self, machine: &Machine, source: SourceId, table: PhysAddr, domain: u64) {
        let at = self.context.phys().0 + u64::from(source.0) * 16;
        machine.put(PhysAddr(at + 8), domain << 8 | 2);
        machine.put(PhysAddr(at), table.0 | 1);
    }

    /// A scalable entry with a four-level second-stage table for requests without PASID.
    fn scalable(&self, machine: &Machine, source: SourceId, table: PhysAddr, domain: u64) {
        let (directory, entries) = (machine.page().phys(), machine.page().phys());
        machine.put(PhysAddr(entries.0 + 8), domain | 1 << 23);
        machine.put(entries, table.0 | 0x89);
        machine.put(directory, entries.0 | 1);
        machine.put(PhysAddr(self.context.phys().0 + u64::from(source.0) * 32), directory.0 | 1);
    }
}

/// A second-stage table of four levels, and its page.
fn table(machine: &Machine) -> (PhysAddr, PhysAddr) {
    let config = TableConfig {
        format: Format::VtdSecond,
        in_bits: 48,
        out_bits: 46,
        page_sizes: 4096,
        coherent: true,
        dirty: false,
        snoop: false,
    };
    let page = machine.page().phys();
    (machine.table_of(&config, 4, page).root.at, page)
}

#[test]
fn what_is_adopted_goes_on_until_it_is_claimed() {
    for (mode, config) in [(0, VtdConfig::legacy()), (1, VtdConfig::default())] {
        let machine = Machine::new(config);
        let left = Left::new(&machine, mode, 0);
        let (nic, other) = (machine.device(NIC, false), machine.device(SourceId(0x21), false));
        let ((root, page), (second, _)) = (table(&machine), table(&machine));
        // Domains 1 and 2 are those that a fresh driver would take for its own.
        for (source, root, domain) in [(NIC, root, 1), (SourceId(0x21), second, 2)] {
            match mode {
                0 => left.legacy(&machine, source, root, domain),
                _ => left.scalable(&machine, source, root, domain),
            }
        }
        assert_eq!((write(&nic, None), write(&other, None)), (Ok(()), Ok(())));
        let read = reader(&machine.memory);
        let driver = machine.try_bring_up(machine.config(), BringUp::Adopt(&read)).unwrap();
        assert_eq!((driver.is_scalable(), driver.adopted().entries), (mode == 1, 2));
        assert_ne!(machine.model.read64(0x20) & !0xfff, left.root.phys().0);
        assert_eq!(write(&nic, None), Ok(()));
        assert!(holds(&machine, page));
        let slot = claim(&driver, NIC, 0, false);
        assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
        driver.put(&slot, None, &Translation::Identity).unwrap();
        assert!(nic.write(None, Iova(page.0), b"identity").is_ok());
        let on = machine.on(&driver, 0);
        driver.put(&slot, None, &on.translation()).unwrap();
        machine.reaches(&nic, None, &on);
        assert_eq!(write(&other, None), Ok(()), "nobody has claimed this one");
        machine.settled();
    }
}

#[test]
fn abort_blocks_what_runs() {
    for (mode, config) in [(0, VtdConfig::legacy()), (1, VtdConfig::default())] {
        let machine = Machine::new(config);
        let left = Left::new(&machine, mode, 0);
        let nic = machine.device(NIC, false);
        let root = table(&machine).0;
        match mode {
            0 => left.legacy(&machine, NIC, root, 1),
            _ => left.scalable(&machine, NIC, root, 1),
        }
        assert_eq!(write(&nic, None), Ok(()));
        // Taken for cold it is refused, and goes on.
        let before = machine.memory.allocated();
        let cold = machine.try_bring_up(machine.config(), BringUp::Cold).err();
        assert!(matches!(cold, Some(BringUpError::Translating { gsts }) if gsts >> 31 == 1), "{cold:?}");
        assert_eq!((write(&nic, None), machine.memory.allocated()), (Ok(()), before));
        let driver = machine.try_bring_up(machine.config(), BringUp::Abort).unwrap();
        assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
        let (slot, on) = (claim(&driver, NIC, 0, false), machine.on(&driver, 0));
        driver.put(&slot, None, &on.translation()).unwrap();
        machine.reaches(&nic, None, &on);
        machine.settled();
    }
}

#[test]
fn the_translation_mode_changes_only_while_nothing_is_translated() {
    let machine = Machine::new(VtdConfig::default());
    Left::new(&machine, 0, 0);
    let driver = machine.try_bring_up(machine.config(), BringUp::Abort).unwrap();
    assert!(!driver.is_scalable());
    machine.settled();
    let machine = Machine::new(VtdConfig::default());
    let left = Left::new(&machine, 1, 0);
    let legacy = Config { mode: Mode::Legacy, ..machine.config() };
    let refused = machine.try_bring_up(legacy, BringUp::Abort);
    assert!(matches!(refused.err(), Some(BringUpError::Unsupported { register: "RTADDR", .. })));
    assert_eq!(machine.model.read64(0x20), left.root.phys().0 | 1 << 10);
    // Off, it is whatever is best.
    let machine = Machine::new(VtdConfig::default());
    machine.model.preset(&[(0x20, 0x8000_0000)]);
    assert!(machine.bring_up().is_scalable());
}

#[test]
fn a_queue_with_garbage_is_stopped_and_replaced() {
    for (mode, config) in [(0, VtdConfig::legacy()), (1, VtdConfig::default())] {
        let machine = Machine::new(config);
        Left::new(&machine, mode, QUEUE);
        let ring = machine.page();
        for n in 0..512 {
            machine.put(PhysAddr(ring.phys().0 + 8 * n), 0xdead_beef_dead_beef);
        }
        // Something is in it and is never fetched; an error is pending.
        machine.model.preset(&[(0x90, ring.phys().0), (0x80, 0x20), (0x88, 0x80), (0x34, 0x10)]);
        let driver = machine.try_bring_up(machine.config(), BringUp::Abort).unwrap();
        assert!(events(&driver).is_empty());
        let (slot, on) = (claim(&driver, NIC, 0, false), machine.on(&driver, 0));
        driver.put(&slot, None, &on.translation()).unwrap();
        machine.reaches(&machine.device(NIC, false), None, &on);
        machine.settled();
    }
}

#[test]
fn interrupt_remapping_that_was_on_is_turned_off_or_taken_over() {
    use ioward_models::{IommuModel, MessageOutcome};
    for remap in [false, true] {
        let machine = Machine::new(VtdConfig::legacy());
        Left::new(&machine, 0, QUEUE | 1 << 25 | 1 << 24 | 1 << 23);
        let old = machine.page();
        // Entry 3: vector 0x31 to processor 1, of the NIC.
        machine.put(PhysAddr(old.phys().0 + 0x38), 0x4_0018);
        machine.put(PhysAddr(old.phys().0 + 0x30), 0x1_0031_0001);
        machine.model.preset(&[(0xb8, old.phys().0 | 1 << 11 | 7), (0x1c, TRANSLATING | 1 << 25 | 1 << 24)]);
        let message = || machine.model.message(NIC, Iova(0xfee0_0070), 0);
        assert!(matches!(message(), MessageOutcome::Delivered { vector: 0x31, .. }));
        let interrupts = match remap {
            true => Interrupts::Remap { entries_log2: 8, x2apic: true },
            false => Interrupts::Pass,
        };
        let read = reader(&machine.memory);
        let config = Config { interrupts, ..machine.config() };
        let driver = machine.try_bring_up(config, BringUp::Adopt(&read)).unwrap();
        assert_eq!(driver.adopted().interrupts, remap.into());
        let compatibility = machine.model.message(NIC, Iova(0xfee0_1000), 0x31);
        if remap {
            assert!(matches!(message(), MessageOutcome::Delivered { vector: 0x31, .. }), "it goes on");
            assert_eq!(compatibility, MessageOutcome::Aborted);
        } else {
            assert_eq!(compatibility, MessageOutcome::Unremapped);
        }
        machine.settled();
    }
}

#[test]
fn protected_regions_are_opened_when_everything_is_blocked() {
    let machine = Machine::new(VtdConfig::default());
    let page = machine.page().phys();
    // All of low memory, and all of high.
    machine.model.preset(&[(0x68, 0xffff_ffff_0000_0000), (0x70, 0), (0x78, u64::MAX), (0x64, 1 << 31 | 1)]);
    let nic = machine.device(NIC, false);
    let driver = machine.try_bring_up(machine.config(), BringUp::Cold).unwrap();
    assert_eq!(machine.model.read32(0x64) & 1, 0);
    assert!(nic.write(None, Iova(page.0), b"hole").is_err());
    let slot = claim(&driver, NIC, 0, false);
    driver.put(&slot, None, &Translation::Identity).unwrap();
    assert!(nic.write(None, Iova(page.0), b"through").is_ok());
    machine.settled();
}

#[test]
fn a_unit_that_does_nothing_or_is_gone_is_not_brought_up() {
    let machine = Machine::new(VtdConfig::default());
    machine.model.set_hung(true);
    assert!(matches!(machine.try_bring_up(machine.config(), BringUp::Cold), Err(BringUpError::Hung(_))));
    let machine = Machine::new(VtdConfig::default());
    machine.model.set_gone(true);
    assert!(matches!(machine.try_bring_up(machine.config(), BringUp::Cold), Err(BringUpError::Absent)));
    assert_eq!(machine.memory.allocated(), 0);
    // Translation that never starts (TXT has locked it).
    for bit in [31, 30, 26] {
        let machine = Machine::new(VtdConfig::default());
        machine.model.set_stuck(1 << bit);
        assert!(
            matches!(machine.try_bring_up(machine.config(), BringUp::Cold), Err(BringUpError::Hung(_))),
            "{bit}"
        );
    }
    // Units that contradict themselves.
    for config in [
        VtdConfig { queued: false, ..VtdConfig::default() },
        VtdConfig { queued: false, device_tlb: false, ..VtdConfig::legacy() },
        VtdConfig { widths: 0, ..VtdConfig::legacy() },
        VtdConfig { fault_offset: 0x20, ..VtdConfig::legacy() },
        VtdConfig { domain_bits: 18, ..VtdConfig::legacy() },
    ] {
        let machine = Machine::new(config);
        let refused = machine.try_bring_up(machine.config(), BringUp::Cold).err();
        assert!(
            matches!(refused, Some(BringUpError::Contradiction { .. } | BringUpError::Unsupported { .. })),
            "{refused:?}"
        );
        assert_eq!((machine.memory.allocated(), machine.model.read32(0x1c)), (0, 0));
    }
    // A width of the second stage is not missed where the first stage works.
    let machine = Machine::new(VtdConfig { widths: 0, ..VtdConfig::default() });
    let driver = machine.bring_up();
    assert_eq!(planned(&driver, 0).format, Format::VtdFirst);
}

#[test]
fn a_slow_unit_is_waited_for() {
    for (_, config) in vtd_machine::configs() {
        let machine = Machine::new(config);
        machine.model.set_latency(500);
        let driver = machine.bring_up();
        let (slot, on) = (claim(&driver, NIC, 0, false), machine.on(&driver, 0));
        driver.put(&slot, None, &on.translation()).unwrap();
        machine.reaches(&machine.device(NIC, false), None, &on);
        machine.settled();
    }
}
