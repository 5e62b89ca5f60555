//! Each command that the VT-d driver issues is needed: dropped, one at a time, it makes something go wrong, or it is listed
//! here with the reason why nothing goes wrong that a model can see.
//!
//! `IOWARD_DROP_COMMAND` is `cargo xtask mutate commands`' way to ask for one of them.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_machine;

use ioward_core::driver::{
    ApicTarget, AtcTarget, Blocked, Driver, InterruptFrom, InterruptTo, RemapInterrupts, Slot, Translation,
};
use ioward_drivers::vtd::{Config, Interrupts};
use ioward_models::vtd::VtdConfig;
use ioward_models::{DmaEngine, IommuModel, MessageOutcome};
use ioward_types::{DeviceControl, Iova, Pasid};
use put::Put;
use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};
use vtd_machine::*;

const PIECES: &str = "6.5.3.3: issued between stores as well, so that no read of the entry's pieces spans them; the \
    model reads an entry at once, and the hitless tests show what each is for";
const ABSENT: &str = "6.1: forgets that the entry was not there, or reads of its pieces; here nobody had asked while the \
    context entry was present";
const IDENTITY: &str = "6.2.1: equal domain IDs mean equal translations, so what is cached under the ID of identity is right \
    for all who have it; requests under way are drained by it";
const LEFT: &str =
    "6.5.3.3: what the ID named was forgotten whenever an entry left it, and that was confirmed";

/// Mode, step and command of those that may be left out, and why; `*` stands for any.
const REDUNDANT: &[(&str, &str, &str, &str)] = &[
    (
        "*",
        "*",
        "FENCE",
        "6.5.2.8: without it hardware may do what follows before what precedes; the model does one after the other",
    ),
    ("*", "identity-blocked", "IOTLB", IDENTITY),
    ("*", "identity-blocked", "IOTLB_REG", IDENTITY),
    ("*", "identity-blocked", "PASID_IOTLB", IDENTITY),
    ("*", "second-stage-beside-a-pasid", "PASID_IOTLB", IDENTITY),
    ("*", "untagged", "IOTLB", LEFT),
    ("*", "untagged", "IOTLB_REG", LEFT),
    (
        "legacy-rwbf",
        "bring-up",
        "WBF",
        "6.8: the global invalidations that follow flush too; a unit that translates already reads the table before them",
    ),
    ("*", "first-stage-replaced", "PASID_CACHE", PIECES),
    ("*", "a-pasid", "PASID_CACHE", PIECES),
    ("*", "a-pasid-replaced", "PASID_CACHE", PIECES),
    ("*", "first-stage-beside-a-pasid", "PASID_CACHE", PIECES),
    ("*", "again", "PASID_CACHE", PIECES),
    ("*", "claimed-again", "PASID_CACHE", PIECES),
    ("scalable-cm", "table", "PASID_CACHE", ABSENT),
    ("scalable-cm", "on-again", "PASID_CACHE", ABSENT),
    ("scalable-cm", "first-stage", "PASID_CACHE", ABSENT),
    ("scalable-cm", "the-last-pasid-goes", "PASID_CACHE", ABSENT),
    ("scalable-cm", "a-pasid-left", "PASID_CACHE", ABSENT),
    ("scalable-cm", "released", "PASID_CACHE", ABSENT),
];

/// Mode, step and command of those that are issued more than once, and needed once.
const ONCE: &[(&str, &str, &str)] = &[
    ("scalable", "first-stage-replaced", "PASID_CACHE"),
    ("scalable", "a-pasid-replaced", "PASID_CACHE"),
    ("scalable", "first-stage-beside-a-pasid", "PASID_CACHE"),
    ("scalable-cm", "a-pasid", "PASID_CACHE"),
    ("scalable-cm", "first-stage-replaced", "PASID_CACHE"),
];

fn name_of(words: &[u64; 4]) -> &'static str {
    match (words[3], words[0] & 0xf) {
        (0x18, _) => "WBF",
        (0x28, _) => "CCMD",
        (0x1.., _) => "IOTLB_REG",
        (_, 1) => "CONTEXT_CACHE",
        (_, 2) => "IOTLB",
        (_, 3) => "DEVICE_TLB",
        (_, 4) => "INTERRUPT_ENTRY_CACHE",
        // The driver stores completions and fences to different places.
        (_, 5) if words[1] & 0xfff == 0 => "WAIT",
        (_, 5) => "FENCE",
        (_, 6) => "PASID_IOTLB",
        (_, 7) => "PASID_CACHE",
        (_, 8) => "PASID_DEVICE_TLB",
        _ => "another",
    }
}

fn modes() -> Vec<(&'static str, VtdConfig)> {
    let all = configs();
    let pick = |name: &str| all.iter().find(|mode| mode.0 == name).expect("a mode").1.clone();
    vec![
        ("legacy", pick("legacy")),
        ("legacy-cm", pick("legacy, caching mode")),
        ("legacy-rwbf", pick("legacy, write buffers")),
        ("registers", pick("registers")),
        ("registers-cm", pick("registers, caching mode")),
        ("scalable", pick("scalable")),
        ("scalable-cm", pick("scalable, caching mode")),
    ]
}

/// Everything that a driver is there for, asserted on the way.
fn life(machine: &Machine, step: &Mutex<&'static str>) {
    let at = |now| *step.lock().unwrap_or_else(PoisonError::into_inner) = now;
    let unit = machine.model.config();
    let (ats, scalable) = (unit.device_tlb, unit.scalable);
    let nic = machine.device(NIC, ats);
    at("bring-up");
    let remap = Interrupts::Remap { entries_log2: 8, x2apic: true };
    let driver = machine.bring_up_as(Config { interrupts: remap, ..machine.config() });
    let blocked = |pasid| assert!(write(&nic, pasid).is_err());
    blocked(None);
    let [first, second] = [(); 2].map(|()| machine.on(&driver, 0));
    let identity = |works| assert_eq!(nic.write(None, Iova(first.page.0), b"through").is_ok(), works);

    at("claim");
    let bits = if scalable { 16 } else { 0 };
    let slot = claim(&driver, NIC, bits, ats);
    blocked(None);
    // That there is a context table now concerns other sources of the bus.
    machine.settled();
    at("table");
    driver.put(&slot, None, &first.translation()).unwrap();
    machine.reaches(&nic, None, &first);
    if ats {
        nic.ats(Some(12));
        machine.reaches(&nic, None, &first);
    }
    at("table-replaced");
    driver.put(&slot, None, &second.translation()).unwrap();
    machine.reaches(&nic, None, &second);
    machine.unmap(&first);
    machine.settled();
    at("flush");
    machine.unmap(&second);
    let target: &[AtcTarget] = if ats { &[AtcTarget { source: NIC, pasid: None }] } else { &[] };
    driver.flush(&[flush_of(second.tag, target)]).unwrap();
    blocked(None);
    at("flush-after-map");
    machine.map(&second);
    if driver.flush_after_map() {
        driver.flush(&[flush_of(second.tag, &[])]).unwrap();
    }
    machine.reaches(&nic, None, &second);
    at("to-identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    blocked(None);
    machine.unmap(&second);
    machine.settled();
    identity(true);
    at("identity-blocked");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    identity(false);
    machine.settled();
    at("on-again");
    machine.map(&first);
    driver.put(&slot, None, &first.translation()).unwrap();
    identity(false);
    machine.reaches(&nic, None, &first);
    at("table-blocked");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    blocked(None);
    machine.unmap(&first);
    machine.settled();
    let behind = scalable.then(|| pasids(machine, &driver, &nic, &at, &slot));
    at("released");
    machine.map(&second);
    driver.put(&slot, None, &second.translation()).unwrap();
    machine.reaches(&nic, None, &second);
    assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
    blocked(None);
    machine.unmap(&second);
    if let Some([left, _]) = &behind {
        machine.unmap(left);
    }
    machine.settled();
    at("claimed-again");
    let slot = claim(&driver, NIC, bits, ats);
    blocked(None);
    machine.map(&first);
    driver.put(&slot, None, &first.translation()).unwrap();
    machine.reaches(&nic, None, &first);
    if let Some([_, behind]) = behind {
        driver.put(&slot, PASID, &behind.translation()).unwrap();
        machine.reaches(&nic, PASID, &behind);
    }
    machine.settled();
    at("untagged");
    driver.give_back(second.tag).unwrap();
    machine.settled();
    if driver.interrupts().is_some() {
        interrupts(machine, &driver, &at);
    }
}

type At<'a> = &'a dyn Fn(&'static str);

const PASID: Option<Pasid> = Some(Pasid(70));

/// Leaves something behind [`PASID`], and tells what, and something else.
fn pasids(machine: &Machine, driver: &Unit, nic: &DmaEngine, at: At<'_>, slot: &Slot) -> [On; 2] {
    let blocked = |pasid| assert!(write(nic, pasid).is_err());
    let [one, two, three] = [(); 3].map(|()| machine.on(driver, 16));
    let second = machine.on(driver, 0);
    let identity = |works| assert_eq!(nic.write(None, Iova(one.page.0), b"through").is_ok(), works);
    let pasid = PASID;
    nic.pasid(Some(16));
    at("first-stage");
    driver.put(slot, None, &one.translation()).unwrap();
    machine.reaches(nic, None, &one);
    at("first-stage-replaced");
    driver.put(slot, None, &two.translation()).unwrap();
    machine.reaches(nic, None, &two);
    machine.unmap(&one);
    machine.settled();
    machine.map(&one);
    at("a-pasid");
    blocked(pasid);
    driver.put(slot, pasid, &one.translation()).unwrap();
    machine.reaches(nic, pasid, &one);
    at("a-pasid-replaced");
    driver.put(slot, pasid, &three.translation()).unwrap();
    machine.reaches(nic, pasid, &three);
    machine.reaches(nic, None, &two);
    machine.unmap(&one);
    machine.settled();
    machine.map(&one);
    at("identity-beside-a-pasid");
    driver.put(slot, None, &Translation::Identity).unwrap();
    blocked(None);
    identity(true);
    machine.reaches(nic, pasid, &three);
    machine.unmap(&two);
    machine.settled();
    machine.map(&two);
    at("second-stage-beside-a-pasid");
    driver.put(slot, None, &second.translation()).unwrap();
    identity(false);
    machine.reaches(nic, None, &second);
    at("first-stage-beside-a-pasid");
    driver.put(slot, None, &one.translation()).unwrap();
    machine.reaches(nic, None, &one);
    machine.unmap(&second);
    machine.settled();
    machine.map(&second);
    at("a-flush-of-both");
    machine.unmap(&one);
    machine.unmap(&three);
    let own = AtcTarget { source: NIC, pasid: None };
    let behind = AtcTarget { source: NIC, pasid };
    driver.flush(&[flush_of(one.tag, &[own]), flush_of(three.tag, &[behind])]).unwrap();
    blocked(None);
    blocked(pasid);
    at("flush-of-both-after-map");
    machine.map(&one);
    machine.map(&three);
    if driver.flush_after_map() {
        driver.flush(&[flush_of(one.tag, &[]), flush_of(three.tag, &[])]).unwrap();
    }
    machine.reaches(nic, None, &one);
    machine.reaches(nic, pasid, &three);
    at("a-pasid-on-second-stage");
    driver.put(slot, pasid, &second.translation()).unwrap();
    machine.reaches(nic, pasid, &second);
    machine.unmap(&three);
    machine.settled();
    machine.map(&three);
    at("a-pasid-blocked");
    assert_eq!(driver.block(slot, pasid), Blocked::Confirmed);
    blocked(pasid);
    machine.unmap(&second);
    machine.settled();
    at("all-blocked");
    driver.put(slot, pasid, &three.translation()).unwrap();
    machine.reaches(nic, None, &one);
    machine.reaches(nic, pasid, &three);
    assert_eq!(driver.block(slot, None), Blocked::Confirmed);
    blocked(None);
    blocked(pasid);
    machine.unmap(&one);
    machine.unmap(&three);
    machine.settled();
    machine.map(&one);
    machine.map(&three);
    // Nothing comes back with what the device, or the unit, had.
    at("again");
    driver.put(slot, None, &two.translation()).unwrap();
    blocked(pasid);
    machine.reaches(nic, None, &two);
    driver.put(slot, pasid, &two.translation()).unwrap();
    machine.reaches(nic, pasid, &two);
    at("blocked-again");
    assert_eq!(driver.block(slot, None), Blocked::Confirmed);
    blocked(None);
    blocked(pasid);
    machine.unmap(&two);
    machine.settled();
    at("the-last-pasid-goes");
    driver.put(slot, pasid, &three.translation()).unwrap();
    machine.reaches(nic, pasid, &three);
    assert_eq!(driver.block(slot, pasid), Blocked::Confirmed);
    blocked(pasid);
    machine.unmap(&three);
    machine.settled();
    at("a-pasid-left");
    driver.put(slot, pasid, &one.translation()).unwrap();
    machine.reaches(nic, pasid, &one);
    machine.map(&three);
    [one, three]
}

fn interrupts(machine: &Machine, driver: &Unit, at: At<'_>) {
    at("interrupts-reserved");
    let entries = driver.reserve(InterruptFrom::Source(NIC), 3).unwrap();
    let to = |vector| InterruptTo::Apic(ApicTarget { vector, destination: 1, ..ApicTarget::default() });
    let seen = |address: u64, data| match machine.model.message(NIC, Iova(address), data) {
        MessageOutcome::Delivered { vector, .. } => Some(vector),
        _ => None,
    };
    // What is not there may be cached.
    (0..3).for_each(|data| assert_eq!(seen(0xfee0_0018, data), None));
    let message = driver.remap(&entries, 1, &to(0x31)).unwrap();
    assert_eq!(seen(message.address, message.data), Some(0x31));
    assert_eq!(seen(message.address, message.data + 1), None);
    at("interrupt-mapped");
    driver.remap(&entries, 2, &to(0x51)).unwrap();
    assert_eq!(seen(message.address, message.data + 1), Some(0x51));
    at("interrupt-changed");
    driver.remap(&entries, 1, &to(0x41)).unwrap();
    assert_eq!(seen(message.address, message.data), Some(0x41));
    at("interrupt-masked");
    driver.mask(&entries, 1).unwrap();
    assert_eq!(seen(message.address, message.data), None);
    machine.settled();
    at("interrupts-released");
    RemapInterrupts::release(driver, entries).unwrap();
    assert_eq!(seen(message.address, message.data + 1), None);
    machine.settled();
}

/// A step and a command.
type Issued = (&'static str, &'static str);

/// Goes through a life, dropping a command or none; tells whether all was well, and what was issued at which step.
fn run(config: &VtdConfig, drop: Option<usize>) -> (std::thread::Result<()>, Vec<Issued>) {
    run_without(config, move |n, _| drop == Some(n))
}

fn run_without(
    config: &VtdConfig,
    drop: impl Fn(usize, Issued) -> bool + Send + 'static,
) -> (std::thread::Result<()>, Vec<Issued>) {
    let machine = Machine::new(config.clone());
    let step = Arc::new(Mutex::new(""));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, now) = (seen.clone(), step.clone());
    machine.model.set_command_filter(Some(Box::new(move |_, command| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = (*now.lock().unwrap_or_else(PoisonError::into_inner), name_of(command));
        log.push(issued);
        !drop(log.len() - 1, issued)
    })));
    let result = panic::catch_unwind(AssertUnwindSafe(|| life(&machine, &step)));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, seen)
}

fn label(mode: &str, n: usize, (step, name): (&str, &str)) -> String {
    format!("vtd.{mode}.{n:03}.{step}.{name}")
}

fn reason(mode: &str, (step, name): (&str, &str)) -> Option<usize> {
    let is = |listed: &str, it: &str| listed == "*" || listed == it;
    REDUNDANT.iter().position(|listed| is(listed.0, mode) && is(listed.1, step) && is(listed.2, name))
}

#[test]
fn commands_are_needed_or_listed_with_a_reason() {
    let asked = std::env::var("IOWARD_DROP_COMMAND");
    let hook = panic::take_hook();
    let mut used = BTreeSet::new();
    let mut unlisted = Vec::new();
    for (mode, config) in modes() {
        let (sound, issued) = run(&config, None);
        if let Err(why) = sound {
            println!("{mode}");
            panic::set_hook(hook);
            panic::resume_unwind(why);
        }
        panic::set_hook(Box::new(|_| {}));
        let unnoticed: Vec<usize> = match asked.as_deref() {
            Ok("list") | Err(_) => (0..issued.len()).filter(|n| run(&config, Some(*n)).0.is_ok()).collect(),
            Ok(_) => Vec::new(),
        };
        if let Ok(asked) = asked.as_deref()
            && let Some(n) = (0..issued.len()).find(|n| label(mode, *n, issued[*n]) == asked)
            && let Err(why) = run(&config, Some(n)).0
        {
            panic::set_hook(hook);
            panic::resume_unwind(why);
        }
        for (n, what) in issued.iter().enumerate() {
            let why = reason(mode, *what).filter(|_| unnoticed.contains(&n));
            match (asked.as_deref(), why) {
                (Ok("list"), Some(why)) => {
                    println!("redundant {} {}", label(mode, n, *what), REDUNDANT[why].3)
                }
                (Ok("list"), None) => println!("command {}", label(mode, n, *what)),
                _ => {}
            }
            used.extend(why);
            if why.is_none() && unnoticed.contains(&n) {
                unlisted.push(label(mode, n, *what));
            }
        }
        let _ = panic::take_hook();
    }
    panic::set_hook(hook);
    assert!(unlisted.is_empty(), "nothing notices that these are missing: {unlisted:#?}");
    if asked.is_err() {
        let stale: Vec<_> =
            (0..REDUNDANT.len()).filter(|n| !used.contains(n)).map(|n| REDUNDANT[n]).collect();
        assert!(stale.is_empty(), "listed, but noticed or never issued: {stale:?}");
    }
}

#[test]
fn what_is_issued_more_than_once_is_needed_once() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let unnoticed: Vec<_> = ONCE
        .iter()
        .filter(|(mode, step, name)| {
            let config = modes().into_iter().find(|known| known.0 == *mode).expect("a mode").1;
            let (step, name) = (*step, *name);
            run_without(&config, move |_, issued| issued == (step, name)).0.is_ok()
        })
        .collect();
    panic::set_hook(hook);
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
