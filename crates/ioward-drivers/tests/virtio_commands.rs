//! Each request that the virtio-iommu driver issues is needed: answered with success and not carried out, one at a time, it
//! makes something go wrong, or it is listed here with the reason why nothing goes wrong that a model can see.
//!
//! `IOWARD_DROP_COMMAND` is `cargo xtask mutate commands`' way to ask for one of them.
#![cfg(feature = "virtio")]

#[path = "support/put.rs"]
mod put;
mod virtio_machine;

use ioward_core::driver::{Blocked, Driver, MapRequests, Translation};
use ioward_models::virtio::{Reserved, Verdict, VirtioIommuConfig};
use ioward_types::{Iova, PhysAddr, Span};
use put::Put;
use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};
use virtio_machine::*;

/// Step and request of those that may be left out, and why.
const REDUNDANT: [(&str, &str, &str); 3] = [
    ("found-running", "UNMAP", "of a domain that there is not: it tells only how far to look"),
    ("left-over-numbers", "UNMAP", "a number that seems to be taken is not used, and the next one is"),
    ("left-over-claim", "UNMAP", "a number that seems to be taken is not used, and the next one is"),
];

fn name_of(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(1) => "ATTACH",
        Some(2) => "DETACH",
        Some(3) => "MAP",
        Some(4) => "UNMAP",
        Some(5) => "PROBE",
        _ => "another",
    }
}

/// Everything that a driver is there for, asserted on the way.
fn life(machine: &Machine, step: &Mutex<&'static str>) {
    let now = |name| *step.lock().unwrap_or_else(PoisonError::into_inner) = name;
    let (nic, disk) = (machine.device(NIC), machine.device(DISK));
    now("bring-up");
    let driver = machine.bring_up();
    now("claim");
    let slot = claim(&driver, NIC);
    assert_eq!(driver.reserved(&slot).len(), 1);
    blocked(&nic);
    let [one, two, three] = [(); 3].map(|()| machine.page().phys());
    let (first, second) = (tag(&driver), tag(&driver));
    now("mapped-before");
    map(&driver, first, one).unwrap();
    now("attached");
    driver.put(&slot, None, &Translation::Requests { tag: first }).unwrap();
    machine.reaches(&nic, one);
    now("mapped-live");
    let other = Span { start: two, bytes: PAGE };
    driver.map(first, at(1).start, other, ioward_types::Attributes::READ_WRITE).unwrap();
    assert!(nic.write(None, at(1).start, b"through").is_ok() && machine.holds(two));
    now("unmapped");
    driver.unmap(first, at(1)).unwrap();
    assert!(nic.write(None, at(1).start, b"through").is_err());
    now("unmapped-together");
    driver.map(first, at(2).start, other, ioward_types::Attributes::READ_WRITE).unwrap();
    assert!(nic.write(None, at(2).start, b"through").is_ok());
    driver.unmap_later(first, at(0)).unwrap();
    driver.unmap_later(first, at(2)).unwrap();
    driver.flush(&[flush_of(first)]).unwrap();
    blocked(&nic);
    assert!(nic.write(None, at(2).start, b"through").is_err());
    now("replaced");
    map(&driver, second, two).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag: second }).unwrap();
    machine.reaches(&nic, two);
    now("shared");
    let with = claim(&driver, DISK);
    assert_eq!(driver.reserved(&with).len(), 1);
    driver.put(&with, None, &Translation::Requests { tag: second }).unwrap();
    machine.reaches(&disk, two);
    now("one-of-two-blocked");
    assert_eq!(driver.block(&with, None), Blocked::Confirmed);
    blocked(&disk);
    machine.reaches(&nic, two);
    now("identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    assert!(write(&nic).is_err(), "there is no memory at what is mapped elsewhere");
    assert!(nic.write(None, Iova(three.0), b"through").is_ok() && machine.holds(three));
    now("from-identity");
    driver.put(&slot, None, &Translation::Requests { tag: second }).unwrap();
    assert!(nic.write(None, Iova(three.0), b"through").is_err());
    machine.reaches(&nic, two);
    now("blocked");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    blocked(&nic);
    now("attached-again");
    driver.put(&slot, None, &Translation::Requests { tag: second }).unwrap();
    machine.reaches(&nic, two);
    now("released");
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    blocked(&nic);
    assert_eq!(driver.release(with, false), Blocked::Confirmed);
    driver.give_back(first).unwrap();
    driver.give_back(second).unwrap();
    assert_eq!(machine.model.counts(), (0, 0));
    machine.settled();
}

/// What is done about domains that a device has kept over its reset.
fn left_over(machine: &Machine, step: &Mutex<&'static str>) {
    let now = |name| *step.lock().unwrap_or_else(PoisonError::into_inner) = name;
    let nic = machine.device(NIC);
    let [old, new] = [(); 2].map(|()| machine.page().phys());
    let config = machine.model.config();
    machine.model.preset(0xf, config.features, &[NIC]);
    let stale = machine.model.domain_of(NIC);
    assert!(nic.write(None, Iova(old.0), b"earlier").is_ok());
    now("found-running");
    let driver = machine.bring_up();
    assert!(nic.write(None, Iova(old.0), b"through").is_err());
    now("left-over-numbers");
    let tags = [(); 5].map(|()| tag(&driver));
    assert!(tags.iter().all(|tag| Some(tag.0) != stale));
    now("left-over-claim");
    let slot = claim(&driver, NIC);
    assert_eq!((driver.reserved(&slot).len(), machine.model.domain_of(NIC)), (1, None));
    map(&driver, tags[4], new).unwrap();
    driver.put(&slot, None, &Translation::Requests { tag: tags[4] }).unwrap();
    machine.reaches(&nic, new);
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    blocked(&nic);
    tags.into_iter().for_each(|tag| driver.give_back(tag).unwrap());
    assert_eq!(machine.model.counts(), (0, 0));
    machine.settled();
}

/// Goes through both, dropping a request or none; tells whether all was well, and what was issued at which step.
fn run(drop: Option<usize>) -> (std::thread::Result<()>, Vec<(&'static str, &'static str)>) {
    let reserved = vec![Reserved { span: Span { start: Iova(PhysAddr(0).0), bytes: PAGE }, msi: false }];
    let usual = VirtioIommuConfig { reserved, ..VirtioIommuConfig::default() };
    let keeps = VirtioIommuConfig { keeps_domains: true, bypass: false, domains: (20, 27), ..usual.clone() };
    let (machine, kept) = (Machine::new(usual), Machine::new(keeps));
    let step = Arc::new(Mutex::new(""));
    let seen = Arc::new(Mutex::new(Vec::new()));
    for model in [&machine.model, &kept.model] {
        let (log, now) = (seen.clone(), step.clone());
        model.set_request_filter(Some(Box::new(move |_, bytes| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push((*now.lock().unwrap_or_else(PoisonError::into_inner), name_of(bytes)));
            if drop == Some(log.len() - 1) { Verdict::Pretend } else { Verdict::Process }
        })));
    }
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        life(&machine, &step);
        left_over(&kept, &step);
    }));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, seen)
}

fn label(n: usize, (step, name): (&str, &str)) -> String {
    format!("virtio.{n:03}.{step}.{name}")
}

#[test]
fn commands_are_needed_or_listed_with_a_reason() {
    let asked = std::env::var("IOWARD_DROP_COMMAND");
    let (sound, issued) = run(None);
    if let Err(why) = sound {
        panic::resume_unwind(why);
    }
    for kind in ["ATTACH", "DETACH", "MAP", "UNMAP", "PROBE"] {
        assert!(issued.iter().any(|(_, name)| *name == kind), "no {kind} is tried");
    }
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let unnoticed: Vec<usize> = match asked.as_deref() {
        Ok("list") | Err(_) => (0..issued.len()).filter(|n| run(Some(*n)).0.is_ok()).collect(),
        Ok(_) => Vec::new(),
    };
    let single = asked.as_deref().ok().and_then(|asked| {
        let n = (0..issued.len()).find(|n| label(*n, issued[*n]) == asked)?;
        run(Some(n)).0.err()
    });
    panic::set_hook(hook);
    if let Some(why) = single {
        panic::resume_unwind(why);
    }
    let reason = |n: usize| {
        let (step, name) = issued[n];
        REDUNDANT.iter().find(|listed| (listed.0, listed.1) == (step, name)).map(|listed| listed.2)
    };
    if asked.as_deref() == Ok("list") {
        for (n, what) in issued.iter().enumerate() {
            match reason(n).filter(|_| unnoticed.contains(&n)) {
                Some(why) => println!("redundant {} {why}", label(n, *what)),
                None => println!("command {}", label(n, *what)),
            }
        }
    }
    let unlisted: Vec<_> = unnoticed.iter().filter(|n| reason(**n).is_none()).collect();
    let labels: Vec<_> = unlisted.iter().map(|n| label(**n, issued[**n])).collect();
    assert!(labels.is_empty(), "nothing notices that these are missing: {labels:#?}");
    if asked.is_err() {
        let used: BTreeSet<_> = unnoticed.iter().map(|n| issued[*n]).collect();
        let stale: Vec<_> = REDUNDANT.iter().filter(|listed| !used.contains(&(listed.0, listed.1))).collect();
        assert!(stale.is_empty(), "listed, but noticed or never issued: {stale:?}");
    }
}
