//! MSI page tables of a RISC-V IOMMU: interrupt files of a guest, of the machine and in memory.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{Blocked, Driver, Plan, Refused, Requirements, Translation};
use ioward_drivers::riscv::{BringUp, MsiTable, MsiTarget, MsiWindow};
use ioward_models::{
    Access, Memory, Request, SimPlatform, Visibility,
    riscv::{Features, MsiOutcome},
};
use ioward_types::{Iova, PhysAddr, Platform, SourceId, Span};
use put::Put;
use riscv_rig::*;

const SOURCE: u32 = 0x18;
const WINDOW: MsiWindow = MsiWindow { mask: 0b1001_0011, pattern: 0x2_8000 };

fn message(rig: &Rig, at: u64, data: u32) -> MsiOutcome {
    let (source, at) = (SourceId(SOURCE), Iova(at));
    let request = Request { source, pasid: None, at, access: Access::Write, privileged: false };
    rig.model.message_write(&request, data)
}

fn set(
    driver: &Driven,
    table: &MsiTable<SimPlatform>,
    file: u32,
    to: Option<MsiTarget>,
) -> Result<(), Refused> {
    // SAFETY: the devices are models, and nothing that Rust refers to is in their memory.
    unsafe { driver.remap_msi(table, file, to, &[]) }
}

fn beside(
    driver: &Driven,
    slot: &ioward_core::driver::Slot,
    table: Option<&MsiTable<SimPlatform>>,
) -> Result<(), Refused> {
    // SAFETY: as above.
    unsafe { driver.install_msi_table(slot, table) }
}

fn word(memory: &Memory, at: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.dma_read("test", PhysAddr(at), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn messages_go_where_the_table_says() {
    for visibility in [Visibility::Immediate, Visibility::Held, Visibility::Mixed(3)] {
        for coherent in [true, false] {
            let rig = Rig::new(Features { coherent, ..Features::default() }, visibility);
            let driver = rig.bring_up(BringUp::Cold).unwrap();
            let slot = claim(&driver, SOURCE, 0, false);
            let second = Table::new(&rig, &driver, 0);
            driver.put(&slot, None, &second.translation()).unwrap();
            let table = driver.msi_table(second.tag, WINDOW).unwrap();
            assert_eq!(table.window(), WINDOW);
            beside(&driver, &slot, Some(&table)).unwrap();
            let address = |file| table.window().address_of(file).unwrap().0;
            let page = |n: u64| PhysAddr(0x2800_0000 + n * 0x1000);
            for file in 0..16 {
                assert_eq!(message(&rig, address(file), 1), MsiOutcome::Aborted, "nothing is there yet");
                set(&driver, &table, file, Some(MsiTarget::File(page(file.into())))).unwrap();
                assert_eq!(table.target(file), Some(MsiTarget::File(page(file.into()))));
            }
            for file in 0..16 {
                assert_eq!(message(&rig, address(file), 1), MsiOutcome::To(page(file.into())));
            }
            assert_eq!(table.target(16), None);
            // In memory: pending bits and enable bits alternate, 64 of each (AIA 9.3).
            let resident = [rig.page(0), rig.page(0)];
            for start in resident {
                rig.platform.clean(Span { start, bytes: 0x1000 });
            }
            let memory =
                |n: usize| MsiTarget::Memory { file: resident[n], notice: page(99), identity: 0x555 };
            set(&driver, &table, 5, Some(memory(0))).unwrap();
            assert_eq!(message(&rig, address(5), 65), MsiOutcome::Stored { noticed: false });
            assert_eq!(word(&rig.memory, resident[0].0 + 16), 1 << 1);
            set(&driver, &table, 5, Some(memory(1))).unwrap();
            assert_eq!(table.target(5), Some(memory(1)));
            assert_eq!(message(&rig, address(5), 3), MsiOutcome::Stored { noticed: false });
            assert_eq!(word(&rig.memory, resident[1].0), 1 << 3);
            set(&driver, &table, 5, Some(MsiTarget::File(page(50)))).unwrap();
            assert_eq!(message(&rig, address(5), 3), MsiOutcome::To(page(50)));
            set(&driver, &table, 5, None).unwrap();
            assert_eq!(message(&rig, address(5), 3), MsiOutcome::Aborted);
            assert_eq!(message(&rig, address(4), 3), MsiOutcome::To(page(4)), "its neighbour is as it was");
            // Another guest has none of this.
            let other = Table::new(&rig, &driver, 0);
            driver.put(&slot, None, &other.translation()).unwrap();
            assert_eq!(message(&rig, address(4), 3), MsiOutcome::Aborted);
            assert_eq!(driver.release(slot, false), Blocked::Confirmed);
            // SAFETY: no source has it.
            unsafe { driver.free_msi_table(table) };
            rig.settled("MSI");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let rig = Rig::large();
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let slot = claim(&driver, SOURCE, 4, false);
    let (second, other, first) =
        (Table::new(&rig, &driver, 0), Table::new(&rig, &driver, 0), Table::new(&rig, &driver, 4));
    let unsupported = |result: Result<(), Refused>| match result {
        Err(Refused::Unsupported { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let made = |tag, window| driver.msi_table(tag, window).map(drop);
    unsupported(made(first.tag, WINDOW));
    unsupported(made(second.tag, MsiWindow { mask: 1 << 47, pattern: 0 }));
    unsupported(made(second.tag, MsiWindow { mask: 0x1_ffff, pattern: 0 }));
    let table = driver.msi_table(second.tag, WINDOW).unwrap();
    unsupported(beside(&driver, &slot, Some(&table)));
    for what in [Translation::Identity, first.translation(), other.translation()] {
        driver.put(&slot, None, &what).unwrap();
        unsupported(beside(&driver, &slot, Some(&table)));
    }
    driver.put(&slot, None, &second.translation()).unwrap();
    beside(&driver, &slot, Some(&table)).unwrap();
    unsupported(set(&driver, &table, 16, None));
    unsupported(set(&driver, &table, 0, Some(MsiTarget::File(PhysAddr(0x800)))));
    assert_eq!(table.target(0), None);

    let plain =
        Rig::new(Features { msi_flat: false, msi_mrif: false, ..Features::default() }, Visibility::Held);
    let without = plain.bring_up(BringUp::Cold).unwrap();
    let tag = without.tag(&without.plan(&Requirements::default()).unwrap()).unwrap();
    assert!(matches!(without.msi_table(tag, WINDOW), Err(Refused::Unsupported { .. })));
    let flat = Rig::new(Features { msi_mrif: false, ..Features::default() }, Visibility::Held);
    let only = flat.bring_up(BringUp::Cold).unwrap();
    assert!(!only.has_memory_resident_files() && driver.has_memory_resident_files());
    let Ok(plan @ Plan::Tables(_)) = only.plan(&Requirements::default()) else { panic!("tables") };
    let table = only.msi_table(only.tag(&plan).unwrap(), WINDOW).unwrap();
    let memory = MsiTarget::Memory { file: PhysAddr(0x200), notice: PhysAddr(0), identity: 1 };
    unsupported(set(&only, &table, 0, Some(memory)));
    rig.settled("refused");
}

/// A message that comes while an entry changes goes to the old target, to the new one, or nowhere: hardware may look after
/// each access that the driver makes.
#[test]
fn a_message_in_between_goes_to_the_old_target_the_new_one_or_nowhere() {
    use ioward_drivers::riscv::RiscVIommu;
    use std::sync::{Arc, Mutex};
    let targets = [None, Some(0), Some(1), Some(2), Some(3)];
    for from in targets {
        for to in targets {
            let rig = Arc::new(Rig::large());
            let seen = Arc::new(Mutex::new(Vec::new()));
            let at = WINDOW.address_of(3).unwrap().0;
            let (watched, log) = (rig.model.clone(), seen.clone());
            let watch = move || {
                let (source, at) = (SourceId(SOURCE), Iova(at));
                let request = Request { source, pasid: None, at, access: Access::Write, privileged: false };
                log.lock().unwrap().push(watched.message_write(&request, 2));
            };
            let registers = Cut::new(&rig.model, -1, watch);
            let driver =
                RiscVIommu::bring_up(IOMMU, registers, &rig.config(), &rig.platform, BringUp::Cold).unwrap();
            let slot = claim(&driver, SOURCE, 0, false);
            let second = Table::new(&rig, &driver, 0);
            driver.put(&slot, None, &second.translation()).unwrap();
            let table = driver.msi_table(second.tag, WINDOW).unwrap();
            let resident = [rig.page(0), rig.page(0)];
            let page = |n: u64| PhysAddr(0x2800_0000 + n * 0x1000);
            let target = |which: Option<usize>| {
                which.map(|n| match n {
                    0 | 1 => MsiTarget::File(page(n as u64)),
                    _ => MsiTarget::Memory { file: resident[n - 2], notice: page(9), identity: n as u16 },
                })
            };
            let outcome = |which: Option<usize>| match which {
                None => MsiOutcome::Aborted,
                Some(n @ (0 | 1)) => MsiOutcome::To(page(n as u64)),
                Some(_) => MsiOutcome::Stored { noticed: false },
            };
            // SAFETY: the devices are models, and nothing that Rust refers to is in their memory.
            unsafe {
                driver.remap_msi(&table, 3, target(from), &[]).unwrap();
                driver.install_msi_table(&slot, Some(&table)).unwrap();
                seen.lock().unwrap().clear();
                driver.remap_msi(&table, 3, target(to), &[]).unwrap();
            }
            let allowed = [outcome(from), outcome(to), MsiOutcome::Aborted];
            let all = seen.lock().unwrap().clone();
            assert!(all.iter().all(|outcome| allowed.contains(outcome)), "{from:?} to {to:?}: {all:?}");
            let both_there = from.is_some() && to.is_some();
            let in_memory = |which: Option<usize>| matches!(which, Some(2 | 3));
            if both_there && !(in_memory(from) && in_memory(to)) {
                assert!(!all.contains(&MsiOutcome::Aborted), "{from:?} to {to:?}: a message is lost");
            }
            seen.lock().unwrap().clear();
            assert_eq!(message(&rig, at, 2), outcome(to));
            for (n, file) in resident.iter().enumerate() {
                let expected = [from, to].contains(&Some(n + 2));
                assert!(expected || word(&rig.memory, file.0) == 0, "{from:?} to {to:?}");
            }
            rig.settled("in between");
        }
    }
}

#[test]
fn a_target_that_was_not_confirmed_to_be_gone_is_not_confirmed_by_asking_again() {
    let page = |n: u64| PhysAddr(0x2800_0000 + n * 0x1000);
    for back in [None, Some(MsiTarget::File(page(2)))] {
        let rig = Rig::large();
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let slot = claim(&driver, SOURCE, 0, false);
        let second = Table::new(&rig, &driver, 0);
        driver.put(&slot, None, &second.translation()).unwrap();
        let table = driver.msi_table(second.tag, WINDOW).unwrap();
        beside(&driver, &slot, Some(&table)).unwrap();
        let at = table.window().address_of(3).unwrap().0;
        set(&driver, &table, 3, Some(MsiTarget::File(page(1)))).unwrap();
        assert_eq!(message(&rig, at, 1), MsiOutcome::To(page(1)));
        // Two commands are lost: the invalidation, and the fence that tells of it.
        let mut left = 2;
        rig.model.set_command_filter(Box::new(move |_| {
            left -= 1;
            left < 0
        }));
        assert!(matches!(set(&driver, &table, 3, None), Err(Refused::Hung(_))));
        set(&driver, &table, 3, back).unwrap();
        let expected = if back.is_some() { MsiOutcome::To(page(2)) } else { MsiOutcome::Aborted };
        assert_eq!(message(&rig, at, 1), expected);
        rig.settled("asked again");
    }
}
