//! Each command that the driver issues is needed: dropped at the queue, one at a time, it makes something go wrong, or it is
//! on a list of commands that the specification permits to leave out.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_rig;

use ioward_core::driver::{AtcTarget, Blocked, Driver, Translation};
use ioward_drivers::smmuv3::BringUp;
use ioward_models::{Visibility, smmuv3::Features};
use ioward_types::{DeviceControl, Pasid, SourceId};
use put::Put;
use smmuv3_rig::*;
use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
};

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;
const SYNC: u64 = 0x46;

/// Everything that a driver is there for, asserted on the way.
fn life(rig: &Rig, step: &Mutex<&'static str>) {
    let at = |now| *step.lock().unwrap() = now;
    at("bring-up");
    let driver = rig.bring_up(BringUp::Cold).expect("a sound SMMU");
    let device = rig.device(SOURCE, true);
    device.pasid(Some(6));
    let is = |pasid, byte: Option<u8>| assert_eq!(read(&device, pasid, AT).ok(), byte);
    is(None, None);
    at("claim");
    let slot = claim(&driver, SOURCE, 6, true);
    is(None, None);
    let [one, two, three] = [1, 2, 3].map(|byte| {
        let table = Table::new(rig, &driver, 6);
        table.map(AT, rig.page(byte));
        table
    });
    let second = Table::new(rig, &driver, 0);
    second.map(AT, rig.page(4));

    at("stage 1 into a blocked entry");
    driver.put(&slot, None, &one.translation()).unwrap();
    is(None, Some(1));
    device.ats(Some(12));
    is(None, Some(1));
    at("another stage 1 table");
    driver.put(&slot, None, &two.translation()).unwrap();
    is(None, Some(2));
    at("stage 2");
    driver.put(&slot, None, &second.translation()).unwrap();
    is(None, Some(4));
    at("from stage 2 to identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    is(None, None);
    let page = rig.page(5);
    assert_eq!(read(&device, None, page.0), Ok(5));
    is(Some(0), None);
    at("from identity to stage 1");
    driver.put(&slot, None, &one.translation()).unwrap();
    is(None, Some(1));
    assert!(read(&device, None, page.0).is_err());
    at("from stage 1 to identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    is(None, None);
    assert_eq!(read(&device, None, page.0), Ok(5));
    is(Some(0), None);
    at("from identity to another stage 1");
    driver.put(&slot, None, &two.translation()).unwrap();
    is(None, Some(2));
    at("a PASID");
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(Some(5), Some(3));
    at("another table for the PASID");
    driver.put(&slot, Some(Pasid(5)), &one.translation()).unwrap();
    is(Some(5), Some(1));
    is(None, Some(2));
    at("a PASID blocked");
    assert_eq!(driver.block(&slot, Some(Pasid(5))), Blocked::Confirmed);
    is(Some(5), None);
    at("a flush");
    let target = AtcTarget { source: SourceId(SOURCE), pasid: None };
    two.unmap(AT);
    driver.flush(&[two.flush(AT, 0x1000, &[target])]).unwrap();
    is(None, None);
    at("a flush of everything");
    two.map(AT, rig.page(6));
    is(None, Some(6));
    two.unmap(AT);
    driver.flush(&[two.flush(0, 1 << 47, &[target])]).unwrap();
    is(None, None);
    at("blocked");
    two.map(AT, rig.page(7));
    driver.put(&slot, Some(Pasid(5)), &two.translation()).unwrap();
    is(None, Some(7));
    is(Some(5), Some(7));
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    is(None, None);
    is(Some(5), None);
    // The device must not come back with what it had.
    driver.put(&slot, None, &one.translation()).unwrap();
    driver.put(&slot, Some(Pasid(5)), &one.translation()).unwrap();
    is(None, Some(1));
    is(Some(5), Some(1));
    at("blocked again");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    at("after that");
    driver.put(&slot, None, &two.translation()).unwrap();
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(None, Some(7));
    is(Some(5), Some(3));
    at("a tag given back");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    let (shape, tag) = (ioward_core::driver::Plan::Tables(two.config), two.tag);
    driver.give_back(tag).unwrap();
    // The same tag again, for another table.
    let mut again = Table::planned(rig, &driver, shape);
    for _ in 0..1 << 16 {
        if again.tag == tag {
            break;
        }
        driver.give_back(again.tag).unwrap();
        again.tag = driver.tag(&shape).unwrap();
    }
    assert_eq!(again.tag, tag);
    again.map(AT, rig.page(9));
    driver.put(&slot, None, &again.translation()).unwrap();
    driver.put(&slot, Some(Pasid(5)), &one.translation()).unwrap();
    is(None, Some(9));
    is(Some(5), Some(1));
    at("released");
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    is(None, None);
    is(Some(5), None);
    at("claimed again");
    let slot = claim(&driver, SOURCE, 6, true);
    driver.put(&slot, None, &three.translation()).unwrap();
    driver.put(&slot, Some(Pasid(5)), &three.translation()).unwrap();
    is(None, Some(3));
    is(Some(5), Some(3));
    drop(slot);
    rig.memory.violations().assert_none();
}

/// What may be left out: step, opcode, why.
const REDUNDANT: [(&str, u64, &str); 4] = [
    (
        "claim",
        0x03,
        "3.21.3: no cache holds an entry that was never anything but absent or blocked; for unconfirmed releases",
    ),
    ("claimed again", 0x03, "3.21.3: as for a first claim"),
    (
        "from identity to stage 1",
        0x05,
        "4.3.1: CFGI_STE of the next step forgets the descriptor too; smmuv3_hitless sees it",
    ),
    ("from identity to another stage 1", 0x05, "4.3.1: as above"),
];

type Issued = Vec<(&'static str, [u64; 2])>;

/// Goes through a life, dropping a command or none; tells whether all was well, and what was issued at which step.
fn run(drop: Option<usize>) -> (std::thread::Result<()>, Issued) {
    // The whole of the identifiers need not be gone through twice.
    let features = Features { asid16: false, vmid16: false, ..Features::default() };
    let step = Arc::new(Mutex::new(""));
    let rig = Rig::new(features, Visibility::Held);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, steps) = (seen.clone(), step.clone());
    let filter = move |command: &[u64; 2]| {
        if command[0] & 0xff == SYNC {
            return true;
        }
        let mut log = log.lock().unwrap();
        log.push((*steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), *command));
        drop != Some(log.len() - 1)
    };
    rig.model.set_command_filter(Box::new(filter));
    let result = panic::catch_unwind(AssertUnwindSafe(|| life(&rig, &step)));
    let seen = seen.lock().unwrap().clone();
    (result, seen)
}

/// With `IOWARD_DROP_COMMAND=list` it lists the commands, with the name of one it drops that alone, and without it drops
/// each in turn: see `cargo xtask mutate commands`.
#[test]
fn commands_are_needed_or_listed_with_a_reason() {
    let asked = std::env::var("IOWARD_DROP_COMMAND").ok();
    let (sound, issued) = run(None);
    assert!(sound.is_ok(), "with every command it works");
    // Of the tags that are given back on the way to a certain one, one stands for all.
    let untagging =
        |at: usize| issued[at].0 == "a tag given back" && at > 0 && issued[at - 1].1[0] & 0xff == 0x11;
    let dropped: Vec<usize> = (0..issued.len()).filter(|n| !untagging(*n)).collect();
    let key = |n: usize| (issued[n].0, issued[n].1[0] & 0xff);
    let reason =
        |n: usize| REDUNDANT.iter().find(|listed| (listed.0, listed.1) == key(n)).map(|listed| listed.2);
    let label = |n: usize| format!("smmuv3.{n:03}.{}.{:#04x}", key(n).0.replace(' ', "-"), key(n).1);
    let unnoticed = || {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let unnoticed: BTreeSet<usize> =
            dropped.iter().copied().filter(|n| run(Some(*n)).0.is_ok()).collect();
        panic::set_hook(hook);
        unnoticed
    };
    match asked.as_deref() {
        Some("list") => {
            let unnoticed = unnoticed();
            for &n in &dropped {
                match reason(n).filter(|_| unnoticed.contains(&n)) {
                    Some(why) => println!("redundant {} {why}", label(n)),
                    None => println!("command {}", label(n)),
                }
            }
        }
        Some(name) => {
            if let Some(n) = dropped.into_iter().find(|n| label(*n) == name) {
                assert!(run(Some(n)).0.is_ok(), "{name} is needed");
            }
        }
        None => {
            let unnoticed: BTreeSet<_> = unnoticed().into_iter().map(key).collect();
            assert_eq!(unnoticed, REDUNDANT.iter().map(|listed| (listed.0, listed.1)).collect());
        }
    }
}
