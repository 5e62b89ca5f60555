//! Bringing an AMD-Vi up that firmware or an earlier kernel left translating, or left with a hole in it.
#![cfg(feature = "amdvi")]

mod amdvi_machine;
#[path = "support/put.rs"]
mod put;

use amdvi_machine::*;
use ioward_core::driver::Translation;
use ioward_drivers::amdvi::{BringUp, BringUpError};
use ioward_models::amdvi::AmdViConfig;
use ioward_models::{DmaError, IommuModel, Memory};
use ioward_types::{Frames, Iova, Mmio, PhysAddr, SourceId};
use put::Put;

const RIGHTS: u64 = 3 << 61;
/// Control of an earlier owner: IommuEn, EventLogEn, CmdBufEn, Coherent.
const ON: u64 = 1 | 1 << 2 | 1 << 10 | 1 << 12;

/// What an earlier owner left: a device table of 256 entries, rings that run.
struct Left {
    table: Frames<ioward_models::SimPlatform>,
}

impl Left {
    fn new(machine: &Machine, control: u64) -> Self {
        let frames = |bytes| Frames::new(&machine.platform, bytes, bytes, PhysAddr(u64::MAX)).unwrap();
        let (table, commands, events) = (frames(8192), frames(4096), frames(4096));
        machine.model.preset(&[
            (0x0000, table.phys().0 | 1),
            (0x0008, commands.phys().0 | 8 << 56),
            (0x0010, events.phys().0 | 8 << 56),
            (0x0018, control),
        ]);
        Self { table }
    }

    fn entry(&self, machine: &Machine, source: SourceId, words: [u64; 4]) {
        let at = PhysAddr(self.table.phys().0 + u64::from(source.0) * 32);
        words.iter().enumerate().for_each(|(n, word)| machine.put(at, n as u64, *word));
    }
}

fn reader(memory: &Memory) -> impl Fn(PhysAddr) -> Option<u64> + '_ {
    |at| memory.read64("the next owner", at, true).ok()
}

/// The words of an entry with a v1 table of four levels and a domain ID.
fn on_host(root: PhysAddr, domain: u64) -> [u64; 4] {
    [RIGHTS | root.0 | 4 << 9 | 3, domain, 0, 0]
}

#[test]
fn what_is_adopted_goes_on_until_it_is_claimed() {
    let machine = Machine::new(AmdViConfig::default());
    let left = Left::new(&machine, ON);
    let (nic, disk) = (machine.device(NIC, false), machine.device(DISK, false));
    let page = machine.page();
    let (root, _) = machine.host(page.phys());
    // Domain IDs 1 and 2 are those that a fresh driver would take for its own.
    left.entry(&machine, NIC, on_host(root.at, 1));
    left.entry(&machine, SourceId(0x21), on_host(root.at, 2));
    assert_eq!(write(&nic, None), Ok(()));
    assert!(disk.write(None, Iova(page.phys().0), b"bypass").is_ok(), "V=0 passes through");

    let driver = machine.try_bring_up(BringUp::Adopt(&reader(&machine.memory))).unwrap();
    assert_eq!(write(&nic, None), Ok(()));
    assert!(disk.write(None, Iova(page.phys().0), b"bypass").is_err(), "a bypass is not adopted");

    let slot = claim(&driver, NIC, 0, false);
    assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
    driver.put(&slot, None, &Translation::Identity).unwrap();
    assert!(nic.write(None, Iova(page.phys().0), b"identity").is_ok());
    assert_eq!(write(&machine.device(SourceId(0x21), false), None), Ok(()), "nobody has claimed this one");
    machine.settled();
}

#[test]
fn what_is_wrong_in_what_is_adopted_starts_blocked() {
    let machine = Machine::new(AmdViConfig {
        host_levels: Some(4),
        guest_translation: false,
        ..AmdViConfig::default()
    });
    let left = Left::new(&machine, ON);
    let page = machine.page();
    let (root, _) = machine.host(page.phys());
    let good = on_host(root.at, 9);
    let wrong = [
        [good[0] | 1 << 63, good[1], 0, 0],
        [good[0] & !(7 << 9) | 6 << 9, good[1], 0, 0],
        [good[0] | 1 << 55, good[1], 0, 0],
        [good[0] & !2, good[1], 0, 0],
    ];
    for (n, words) in wrong.iter().enumerate() {
        left.entry(&machine, SourceId(0x10 + n as u32), *words);
    }
    left.entry(&machine, NIC, good);
    let _driver = machine.try_bring_up(BringUp::Adopt(&reader(&machine.memory))).unwrap();
    for n in 0..wrong.len() {
        assert!(write(&machine.device(SourceId(0x10 + n as u32), false), None).is_err(), "{n}");
    }
    assert_eq!(write(&machine.device(NIC, false), None), Ok(()));
    machine.settled();
}

#[test]
fn what_cannot_be_read_is_not_adopted_and_nothing_is_changed() {
    let machine = Machine::new(AmdViConfig::default());
    let left = Left::new(&machine, ON);
    let page = machine.page();
    left.entry(&machine, NIC, on_host(machine.host(page.phys()).0.at, 1));
    let before = machine.memory.allocated();
    let unreadable = |_| None;
    let result = machine.try_bring_up(BringUp::Adopt(&unreadable));
    assert!(matches!(result, Err(BringUpError::Adopt(_))));
    // One segment of two: control, DevTblSegEn.
    machine.model.preset(&[(0x0018, ON | 1 << 34)]);
    let result = machine.try_bring_up(BringUp::Adopt(&reader(&machine.memory)));
    assert!(matches!(result, Err(BringUpError::Adopt(_))));
    machine.model.preset(&[(0x0018, ON), (0x0000, 0)]);
    let result = machine.try_bring_up(BringUp::Adopt(&reader(&machine.memory)));
    assert!(matches!(result, Err(BringUpError::Adopt(_))));
    machine.model.preset(&[(0x0000, left.table.phys().0 | 1)]);
    assert_eq!(write(&machine.device(NIC, false), None), Ok(()));
    assert_eq!(machine.memory.allocated(), before);
}

#[test]
fn abort_blocks_what_runs() {
    let machine = Machine::new(AmdViConfig::default());
    let left = Left::new(&machine, ON);
    let nic = machine.device(NIC, false);
    let page = machine.page();
    left.entry(&machine, NIC, on_host(machine.host(page.phys()).0.at, 1));
    assert_eq!(write(&nic, None), Ok(()));
    // Taken for cold it is refused, and goes on.
    let before = machine.memory.allocated();
    let cold = machine.try_bring_up(BringUp::Cold).err();
    assert!(matches!(cold, Some(BringUpError::Translating { control }) if control & 1 == 1), "{cold:?}");
    assert_eq!((write(&nic, None), machine.memory.allocated()), (Ok(()), before));
    let _driver = machine.try_bring_up(BringUp::Abort).unwrap();
    assert_eq!(write(&nic, None), Err(DmaError::Aborted(AT)));
    machine.settled();
}

#[test]
fn an_exclusion_range_that_firmware_left_is_closed() {
    for control in [0, ON] {
        let machine = Machine::new(AmdViConfig::default());
        let page = machine.page();
        let left = Left::new(&machine, control);
        left.entry(&machine, NIC, [3 | 1 << 9 | machine.page().phys().0, 1, 0, 0]);
        // Base and limit: the page, ExEn, Allow.
        machine.model.preset(&[(0x0020, page.phys().0 | 3), (0x0028, page.phys().0)]);
        let nic = machine.device(NIC, false);
        assert!(nic.write(None, Iova(page.phys().0), b"hole").is_ok());
        let _driver = machine.try_bring_up(BringUp::Abort).unwrap();
        assert_eq!(machine.model.read64(0x20) & 3, 0);
        assert!(nic.write(None, Iova(page.phys().0), b"hole").is_err());
        machine.settled();
    }
}

#[test]
fn a_unit_that_is_off_has_nothing_to_adopt() {
    let machine = Machine::new(AmdViConfig::default());
    machine.model.poison();
    let unreadable = |_| None;
    let _driver = machine.try_bring_up(BringUp::Adopt(&unreadable)).unwrap();
    assert!(write(&machine.device(NIC, false), None).is_err());
    machine.settled();
}

#[test]
fn a_unit_that_takes_no_commands_is_not_brought_up() {
    let machine = Machine::new(AmdViConfig::default());
    machine.model.set_hung(true);
    assert!(matches!(machine.try_bring_up(BringUp::Cold), Err(BringUpError::Hung(_))));
    let model: &dyn IommuModel = &*machine.model;
    // On, and blocking.
    assert_eq!(model.read64(0x18) & 1, 1);
    assert!(write(&machine.device(NIC, false), None).is_err());
}
