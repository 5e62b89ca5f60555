//! Each command that the RISC-V IOMMU driver issues is needed: dropped at the queue, one at a time, it makes something go
//! wrong, or it is listed here with the section that permits to leave it out.
//!
//! `IOWARD_DROP_COMMAND` is `cargo xtask mutate commands`' way to ask for one of them.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{AtcTarget, Blocked, Driver, Plan, Translation};
use ioward_drivers::riscv::{BringUp, MsiTarget, MsiWindow};
use ioward_models::{
    Access, IommuModel, Outcome, Request, Visibility,
    riscv::{Features, MsiOutcome},
};
use ioward_types::{DeviceControl, Iova, Pasid, PhysAddr, SourceId};
use put::Put;
use riscv_rig::*;
use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;

/// Step and command of those that may be left out, and why.
const REDUNDANT: &[(&str, &str, &str)] = &[
    ("first-stage", "IODIR.INVAL_DDT", FILLED),
    ("after-that", "IODIR.INVAL_DDT", FILLED),
    ("a-tag-given-back", "IODIR.INVAL_DDT", FILLED),
    ("claimed-again", "IODIR.INVAL_DDT", FILLED),
    ("without-PASIDs", "IODIR.INVAL_DDT", FILLED),
    ("a-PASID", "IODIR.INVAL_PDT", FILLED),
    ("the-PASID-again", "IODIR.INVAL_PDT", FILLED),
    ("after-that", "IODIR.INVAL_PDT", FILLED),
    ("claimed-again", "IODIR.INVAL_PDT", FILLED),
    ("another-first-stage", "IOTINVAL.VMA", TAGGED),
    ("second-stage", "IOTINVAL.VMA", TAGGED),
    ("another-second-stage", "IOTINVAL.VMA", NOTHING_ABOVE),
    ("another-second-stage", "IOTINVAL.GVMA", TAGGED),
    ("second-stage-to-identity", "IOTINVAL.VMA", NOTHING_ABOVE),
    ("second-stage-to-identity", "IOTINVAL.GVMA", TAGGED),
    ("identity-to-first-stage", "IOTINVAL.VMA", TAGGED),
    ("first-stage-to-identity", "IOTINVAL.VMA", TAGGED),
    ("identity-again-to-first-stage", "IOTINVAL.VMA", TAGGED),
    ("another-table-for-the-PASID", "IOTINVAL.VMA", TAGGED),
    ("a-PASID-blocked", "IOTINVAL.VMA", TAGGED),
    ("blocked", "IOTINVAL.VMA", TAGGED),
    ("blocked", "IOTINVAL.GVMA", TAGGED),
    ("blocked-again", "IOTINVAL.VMA", TAGGED),
    ("blocked-again", "IOTINVAL.GVMA", TAGGED),
    (
        "a-tag-given-back",
        "IOTINVAL.GVMA",
        "6.3.1: it was forgotten with the last context that had it; for contexts of which that was not confirmed",
    ),
    ("an-MSI-table", "IOTINVAL.VMA", NOTHING_ABOVE),
    ("an-MSI-table", "IOTINVAL.GVMA", CONTEXT_DECIDES),
    (
        "an-interrupt-file-in-memory",
        "IOTINVAL.GVMA",
        "AIA 9.5.1: issued twice, since the second word must be seen before the mode that reads it; what the first \
         forgets, only a message in between could bring back",
    ),
    ("no-MSI-table", "IOTINVAL.VMA", NOTHING_ABOVE),
    ("no-MSI-table", "IOTINVAL.GVMA", CONTEXT_DECIDES),
    (
        "released",
        "IODIR.INVAL_DDT",
        "6.3.6: issued twice, before the device is asked to forget and after; only a device that asks for translations \
         in between shows that it needs the first",
    ),
    ("released", "IOTINVAL.VMA", NOTHING_ABOVE),
    ("released", "IOTINVAL.GVMA", TAGGED),
    ("without-PASIDs-another", "IOTINVAL.VMA", TAGGED),
    ("without-PASIDs-to-identity", "IOTINVAL.VMA", TAGGED),
    ("without-PASIDs-blocked", "IOTINVAL.VMA", TAGGED),
];

const FILLED: &str = "6.3.7: nothing of what is not valid is cached; for IOMMUs that read V of a context late and its other \
                      words early (2.1.2), which riscv_hitless shows";
const TAGGED: &str = "2.7: what is cached is known by its table's PSCID or GSCID, under which it is right for as long as that \
                      has not been given back, and then it is forgotten again; 6.3.1 asks for it all the same";
const NOTHING_ABOVE: &str =
    "6.3.1 asks for it; no first stage is above a second stage here, so nothing is cached";
const CONTEXT_DECIDES: &str = "2.3.3: the device context decides whether the MSI page table or the second stage is looked at; \
                               6.3.1 asks for it all the same";

fn name_of(command: &[u64; 2]) -> &'static str {
    match (command[0] & 0x7f, command[0] >> 7 & 7) {
        (1, 0) => "IOTINVAL.VMA",
        (1, 1) => "IOTINVAL.GVMA",
        (2, 0) => "IOFENCE.C",
        (3, 0) => "IODIR.INVAL_DDT",
        (3, 1) => "IODIR.INVAL_PDT",
        (4, 0) => "ATS.INVAL",
        (4, 1) => "ATS.PRGR",
        _ => "another",
    }
}

/// Everything that a driver is there for, asserted on the way.
fn life(rig: &Rig, step: &Mutex<&'static str>) {
    let at = |now| *step.lock().unwrap_or_else(PoisonError::into_inner) = now;
    at("bring-up");
    let driver = rig.bring_up(BringUp::Cold).expect("a sound IOMMU");
    let device = rig.device(SOURCE, true);
    device.pasid(Some(6));
    let is = |pasid, byte: Option<u8>| assert_eq!(read(&device, pasid, AT).ok(), byte);
    let page = rig.page(5);
    let identity = |byte: Option<u8>| assert_eq!(read(&device, None, page.0).ok(), byte);
    // What the device says is translated already.
    let claims_translated = || {
        let (source, at) = (SourceId(SOURCE), Iova(page.0));
        let request = Request { source, pasid: None, at, access: Access::Read, privileged: false };
        rig.model.translated(&request) != Outcome::Aborted
    };
    is(None, None);
    at("claim");
    let slot = claim(&driver, SOURCE, 6, true);
    is(None, None);
    let [one, two, three] = [1, 2, 3].map(|byte| {
        let table = Table::new(rig, &driver, 6);
        table.map(AT, rig.page(byte));
        table
    });
    let [second, other] = [4, 8].map(|byte| {
        let table = Table::new(rig, &driver, 0);
        table.map(AT, rig.page(byte));
        table
    });

    at("first-stage");
    driver.put(&slot, None, &one.translation()).unwrap();
    is(None, Some(1));
    device.ats(Some(12));
    is(None, Some(1));
    assert!(claims_translated());
    at("another-first-stage");
    driver.put(&slot, None, &two.translation()).unwrap();
    is(None, Some(2));
    at("second-stage");
    driver.put(&slot, None, &second.translation()).unwrap();
    is(None, Some(4));
    at("another-second-stage");
    driver.put(&slot, None, &other.translation()).unwrap();
    is(None, Some(8));
    at("a-flush-of-the-second-stage");
    let target = [AtcTarget { source: SourceId(SOURCE), pasid: None }];
    other.unmap(AT);
    driver.flush(&[other.flush(AT, 0x1000, &target)]).unwrap();
    is(None, None);
    at("second-stage-to-identity");
    other.map(AT, rig.page(8));
    is(None, Some(8));
    driver.put(&slot, None, &Translation::Identity).unwrap();
    is(None, None);
    identity(Some(5));
    is(Some(0), None);
    at("identity-to-first-stage");
    driver.put(&slot, None, &two.translation()).unwrap();
    is(None, Some(2));
    identity(None);
    at("first-stage-to-identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    is(None, None);
    identity(Some(5));
    is(Some(0), None);
    at("identity-again-to-first-stage");
    driver.put(&slot, None, &two.translation()).unwrap();
    is(None, Some(2));
    at("a-PASID");
    is(Some(5), None);
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(Some(5), Some(3));
    at("another-table-for-the-PASID");
    driver.put(&slot, Some(Pasid(5)), &one.translation()).unwrap();
    is(Some(5), Some(1));
    is(None, Some(2));
    at("a-PASID-blocked");
    assert_eq!(driver.block(&slot, Some(Pasid(5))), Blocked::Confirmed);
    is(Some(5), None);
    at("the-PASID-again");
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(Some(5), Some(3));
    at("a-flush-of-both");
    two.unmap(AT);
    three.unmap(AT);
    let behind = [AtcTarget { source: SourceId(SOURCE), pasid: Some(Pasid(5)) }];
    driver.flush(&[two.flush(AT, 0x1000, &target), three.flush(AT, 0x1000, &behind)]).unwrap();
    is(None, None);
    is(Some(5), None);
    at("a-flush-of-everything");
    two.map(AT, rig.page(6));
    three.map(AT, rig.page(3));
    is(None, Some(6));
    two.unmap(AT);
    driver.flush(&[two.flush(0, 1 << 46, &target)]).unwrap();
    is(None, None);
    at("blocked");
    two.map(AT, rig.page(7));
    is(None, Some(7));
    is(Some(5), Some(3));
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert!(!claims_translated());
    is(None, None);
    is(Some(5), None);
    // The device must not come back with what it had.
    at("after-that");
    driver.put(&slot, None, &one.translation()).unwrap();
    is(None, Some(1));
    is(Some(5), None);
    driver.put(&slot, Some(Pasid(5)), &two.translation()).unwrap();
    is(Some(5), Some(7));
    at("blocked-again");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert!(!claims_translated());
    is(None, None);
    rig.model.audit();
    at("a-tag-given-back");
    // The same tag again, for another table: every other one is taken first.
    let (shape, tag) = (Plan::Tables(other.config), other.tag);
    driver.give_back(tag).unwrap();
    let mut again = Table::planned(rig, &driver, shape);
    while again.tag != tag {
        again.tag = driver.tag(&shape).expect("it comes back");
    }
    again.map(AT, rig.page(9));
    driver.put(&slot, None, &again.translation()).unwrap();
    is(None, Some(9));

    at("an-MSI-table");
    let window = MsiWindow { mask: 3, pattern: 0x2_8000 };
    let to = window.address_of(1).expect("four files");
    // What stands for interrupt files of the machine; the first is what the second stage has there.
    let files = [0; 4].map(|byte| rig.page(byte));
    again.map(to.0, files[0]);
    let written = |n: Option<usize>| {
        files.iter().for_each(|file| rig.memory.dma_write("test", *file, &[0]).unwrap());
        let done = device.write(None, to, &[7]).is_ok();
        let hit = (0..files.len()).find(|n| rig.byte(files[*n]) == 7);
        assert_eq!((done, hit), (n.is_some(), n));
    };
    let message = || {
        let source = SourceId(SOURCE);
        let request = Request { source, pasid: None, at: to, access: Access::Write, privileged: false };
        rig.model.message_write(&request, 7)
    };
    let table = driver.msi_table(again.tag, window).expect("it has MSI page tables");
    let target = [AtcTarget { source: SourceId(SOURCE), pasid: None }];
    let set = |to| {
        // SAFETY: the devices are models, and nothing that Rust refers to is in their memory.
        unsafe { driver.remap_msi(&table, 1, to, &target) }.expect("a target")
    };
    let file = |n: usize| Some(MsiTarget::File(files[n]));
    let memory = |file| Some(MsiTarget::Memory { file, notice: PhysAddr(0x2800_9000), identity: 3 });
    set(file(1));
    written(Some(0));
    // SAFETY: as above.
    unsafe { driver.install_msi_table(&slot, Some(&table)) }.unwrap();
    written(Some(1));
    at("an-interrupt-file-that-is-another");
    set(file(2));
    written(Some(2));
    at("an-interrupt-file-in-memory");
    let resident = [rig.page(0), rig.page(0)];
    files.iter().for_each(|file| rig.memory.dma_write("test", *file, &[0]).unwrap());
    set(memory(resident[0]));
    let _ = device.write(None, to, &[7]);
    assert_ne!(rig.byte(files[2]), 7, "it is another file's now");
    assert_eq!(message(), MsiOutcome::Stored { noticed: false });
    assert_eq!(rig.byte(resident[0]), 1 << 7);
    at("another-in-memory");
    set(memory(resident[1]));
    assert_eq!(message(), MsiOutcome::Stored { noticed: false });
    assert_eq!(rig.byte(resident[1]), 1 << 7);
    at("an-interrupt-file-refused");
    set(None);
    written(None);
    at("a-file-of-the-machine-refused");
    set(file(3));
    written(Some(3));
    set(None);
    written(None);
    at("no-MSI-table");
    set(file(3));
    written(Some(3));
    // SAFETY: as above.
    unsafe { driver.install_msi_table(&slot, None) }.unwrap();
    written(Some(0));
    is(None, Some(9));
    rig.model.audit();

    at("released");
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    assert!(!claims_translated());
    is(None, None);
    rig.model.audit();
    at("claimed-again");
    let slot = claim(&driver, SOURCE, 6, true);
    driver.put(&slot, None, &three.translation()).unwrap();
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(None, Some(3));
    is(Some(5), Some(3));
    at("without-PASIDs");
    let other = rig.device(SOURCE + 1, false);
    let neighbour = claim(&driver, SOURCE + 1, 0, false);
    driver.put(&neighbour, None, &one.translation()).unwrap();
    assert_eq!(read(&other, None, AT), Ok(1));
    at("without-PASIDs-another");
    driver.put(&neighbour, None, &three.translation()).unwrap();
    assert_eq!(read(&other, None, AT), Ok(3));
    at("without-PASIDs-to-identity");
    driver.put(&neighbour, None, &Translation::Identity).unwrap();
    assert!(read(&other, None, AT).is_err());
    assert_eq!(read(&other, None, page.0), Ok(5));
    at("without-PASIDs-back");
    driver.put(&neighbour, None, &one.translation()).unwrap();
    assert_eq!(read(&other, None, AT), Ok(1));
    at("without-PASIDs-blocked");
    assert_eq!(driver.block(&neighbour, None), Blocked::Confirmed);
    assert!(read(&other, None, AT).is_err());
    assert_eq!(device.read(None, Iova(AT), &mut [0]), Ok(()), "its neighbour goes on");
    rig.model.audit();
    rig.memory.violations().assert_none();
    drop((slot, neighbour));
}

type Issued = Vec<(&'static str, &'static str)>;

/// Goes through a life, dropping a command or none; tells whether all was well, and what was issued at which step.
fn run(drop: Option<usize>) -> (std::thread::Result<()>, Issued) {
    let step = Arc::new(Mutex::new(""));
    let rig = Rig::new(Features::default(), Visibility::Held);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, now) = (seen.clone(), step.clone());
    rig.model.set_command_filter(Box::new(move |command| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((*now.lock().unwrap_or_else(PoisonError::into_inner), name_of(command)));
        drop != Some(log.len() - 1)
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(|| life(&rig, &step)));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, seen)
}

fn label(n: usize, (step, name): (&str, &str)) -> String {
    format!("riscv.{n:03}.{step}.{name}")
}

#[test]
fn commands_are_needed_or_listed_with_a_reason() {
    let asked = std::env::var("IOWARD_DROP_COMMAND").ok();
    let (sound, issued) = run(None);
    if let Err(why) = sound {
        panic::resume_unwind(why);
    }
    let reason = |n: usize| {
        let (step, name) = issued[n];
        REDUNDANT.iter().find(|listed| (listed.0, listed.1) == (step, name)).map(|listed| listed.2)
    };
    let unnoticed = || -> Vec<usize> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let unnoticed = (0..issued.len()).filter(|n| run(Some(*n)).0.is_ok()).collect();
        panic::set_hook(hook);
        unnoticed
    };
    match asked.as_deref() {
        Some("list") => {
            let unnoticed = unnoticed();
            for (n, what) in issued.iter().enumerate() {
                match reason(n).filter(|_| unnoticed.contains(&n)) {
                    Some(why) => println!("redundant {} {why}", label(n, *what)),
                    None => println!("command {}", label(n, *what)),
                }
            }
        }
        Some(name) => {
            if let Some(n) = (0..issued.len()).find(|n| label(*n, issued[*n]) == name)
                && let Err(why) = run(Some(n)).0
            {
                panic::resume_unwind(why);
            }
        }
        None => {
            let unnoticed = unnoticed();
            let unlisted: Vec<_> =
                unnoticed.iter().filter(|n| reason(**n).is_none()).map(|n| label(*n, issued[*n])).collect();
            assert!(unlisted.is_empty(), "nothing notices that these are missing: {unlisted:#?}");
            let used: BTreeSet<_> = unnoticed.iter().map(|n| issued[*n]).collect();
            let stale: Vec<_> =
                REDUNDANT.iter().filter(|listed| !used.contains(&(listed.0, listed.1))).collect();
            assert!(stale.is_empty(), "listed, but noticed or never issued: {stale:?}");
        }
    }
}
