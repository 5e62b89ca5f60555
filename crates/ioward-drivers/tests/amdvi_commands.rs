//! Each command that the AMD-Vi driver issues is needed: dropped at the queue, one at a time, it makes something go wrong,
//! or it is listed here with the reason why nothing goes wrong that a model can see.
//!
//! `IOWARD_DROP_COMMAND` is `cargo xtask mutate commands`' way to ask for one of them.
#![cfg(feature = "amdvi")]

mod amdvi_machine;
#[path = "support/put.rs"]
mod put;

use amdvi_machine::*;
use ioward_core::driver::{
    ApicTarget, AtcTarget, Blocked, Driver, InterruptFrom, InterruptTo, Plan, Translation,
};
use ioward_models::{IommuModel, MessageOutcome, amdvi::AmdViConfig};
use ioward_types::{DeviceControl, Iova, Pasid, PhysAddr, Root, TableConfig, Tag};
use put::Put;
use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

/// Step and command of those that may be left out, and why.
const REDUNDANT: [(&str, &str, &str); 6] = [
    (
        "all-blocked",
        "INVALIDATE_DEVTAB_ENTRY",
        "§2.2.6: a cached entry leads to a guest CR3 table in which nothing is left; other steps show that it is needed \
         where the entry held a v1 table or identity",
    ),
    (
        "identity-blocked",
        "INVALIDATE_IOMMU_PAGES",
        "§2.2.2.1: equal domain IDs mean equal translations, so what is cached under the ID of identity is right for \
         all who have it; QEMU's cache goes by device and needs it",
    ),
    (
        "identity-beside-a-pasid",
        "INVALIDATE_IOMMU_PAGES",
        "§2.2.6: guest CR3 entry zero is used again only by requests with PASID zero between two stores; issued twice, \
         the first forgets what the RID had and the second what such a request has fetched meanwhile",
    ),
    ("identity-beside-a-pasid", "INVALIDATE_IOTLB_PAGES", "§2.4.4: issued twice, as the above"),
    (
        "released",
        "INVALIDATE_IOMMU_PAGES",
        "§2.4.3: what the ID named was forgotten when it was blocked; tables above the last level of a guest CR3 table \
         may be cached as well, which no model shows",
    ),
    ("released", "INVALIDATE_DEVTAB_ENTRY", "§2.4.2: the entry was blocked before, and that was confirmed"),
];

fn name_of(command: &[u64; 2]) -> &'static str {
    match command[0] >> 60 {
        1 => "COMPLETION_WAIT",
        2 => "INVALIDATE_DEVTAB_ENTRY",
        3 => "INVALIDATE_IOMMU_PAGES",
        4 => "INVALIDATE_IOTLB_PAGES",
        5 => "INVALIDATE_INTERRUPT_TABLE",
        8 => "INVALIDATE_IOMMU_ALL",
        _ => "another",
    }
}

/// A table and all that installs it.
struct On {
    root: Root,
    leaf: PhysAddr,
    page: PhysAddr,
    config: TableConfig,
    tag: Tag,
}

impl On {
    fn translation(&self) -> Translation<'_> {
        Translation::Table { root: self.root, config: &self.config, tag: self.tag }
    }
}

/// Everything that a driver is there for, asserted on the way.
fn life(machine: &Machine, step: &Mutex<&'static str>) {
    let at = |now| *step.lock().unwrap_or_else(PoisonError::into_inner) = now;
    let nic = machine.device(NIC, true);
    at("bring-up");
    let driver = machine.bring_up();
    assert!(write(&nic, None).is_err());
    let make = |pasid_bits| {
        let page = machine.page().phys();
        let (root, leaf) = if pasid_bits == 0 { machine.host(page) } else { machine.guest(page, 4) };
        let config = planned(&driver, pasid_bits);
        On { root, leaf, page, config, tag: driver.tag(&Plan::Tables(config)).unwrap() }
    };
    let reaches = |pasid, on: &On| {
        machine.memory.dma_write("test", on.page, b"nothing").unwrap();
        assert_eq!(write(&nic, pasid), Ok(()));
        assert!(holds(machine, on.page), "the DMA went elsewhere");
    };
    let blocked = |pasid| assert!(write(&nic, pasid).is_err());
    let [first, second] = [make(0), make(0)];
    let [one, two, three] = [make(16), make(16), make(16)];
    let pasid = Some(Pasid(5));
    nic.pasid(Some(16));

    at("claim");
    let slot = claim(&driver, NIC, 16, true);
    blocked(None);
    at("v1");
    driver.put(&slot, None, &first.translation()).unwrap();
    reaches(None, &first);
    nic.ats(Some(12));
    reaches(None, &first);
    at("v1-replaced");
    driver.put(&slot, None, &second.translation()).unwrap();
    reaches(None, &second);
    machine.unmap(first.leaf);
    machine.settled();
    at("flush");
    machine.unmap(second.leaf);
    let target = [AtcTarget { source: NIC, pasid: None }];
    driver.flush(&[flush_of(second.tag, &target)]).unwrap();
    blocked(None);
    at("to-identity");
    machine.put(second.leaf, 0, second.page.0 | 3 << 61 | 1);
    reaches(None, &second);
    driver.put(&slot, None, &Translation::Identity).unwrap();
    blocked(None);
    machine.unmap(second.leaf);
    machine.settled();
    let identity = |works| {
        let done = nic.write(None, Iova(first.page.0), b"through").is_ok();
        assert_eq!(done, works);
    };
    identity(true);
    at("identity-blocked");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    identity(false);
    at("v2");
    driver.put(&slot, None, &one.translation()).unwrap();
    // What was identity is not any more, of the device's own cache neither.
    identity(false);
    reaches(None, &one);
    at("v2-replaced");
    driver.put(&slot, None, &two.translation()).unwrap();
    reaches(None, &two);
    at("a-pasid");
    blocked(pasid);
    driver.put(&slot, pasid, &one.translation()).unwrap();
    reaches(pasid, &one);
    at("a-pasid-replaced");
    driver.put(&slot, pasid, &three.translation()).unwrap();
    reaches(pasid, &three);
    at("identity-beside-a-pasid");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    blocked(None);
    identity(true);
    reaches(pasid, &three);
    at("v2-beside-a-pasid");
    driver.put(&slot, None, &one.translation()).unwrap();
    identity(false);
    reaches(None, &one);
    at("a-flush-of-both");
    machine.unmap(one.leaf);
    machine.unmap(three.leaf);
    let own = AtcTarget { source: NIC, pasid: None };
    let behind = AtcTarget { source: NIC, pasid };
    driver.flush(&[flush_of(one.tag, &[own]), flush_of(three.tag, &[behind])]).unwrap();
    blocked(None);
    blocked(pasid);
    machine.put(three.leaf, 0, three.page.0 | 0x67);
    reaches(pasid, &three);
    at("a-pasid-blocked");
    assert_eq!(driver.block(&slot, pasid), Blocked::Confirmed);
    blocked(pasid);
    at("all-blocked");
    machine.put(one.leaf, 0, one.page.0 | 0x67);
    driver.put(&slot, pasid, &three.translation()).unwrap();
    reaches(None, &one);
    reaches(pasid, &three);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    blocked(None);
    blocked(pasid);
    // Nothing comes back with what the device, or the IOMMU, had.
    at("again");
    driver.put(&slot, None, &two.translation()).unwrap();
    blocked(pasid);
    reaches(None, &two);
    driver.put(&slot, pasid, &two.translation()).unwrap();
    reaches(pasid, &two);
    at("blocked-again");
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    blocked(None);
    blocked(pasid);
    machine.unmap(two.leaf);
    machine.settled();
    interrupts(machine, &driver, step);
    at("released");
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    blocked(None);
    machine.settled();
    at("claimed-again");
    let slot = claim(&driver, NIC, 16, true);
    driver.put(&slot, None, &one.translation()).unwrap();
    blocked(pasid);
    reaches(None, &one);
    at("v2-to-identity");
    driver.put(&slot, None, &Translation::Identity).unwrap();
    blocked(None);
    identity(true);
    machine.unmap(one.leaf);
    machine.settled();
    at("the-first-pasid-on-identity");
    blocked(pasid);
    driver.put(&slot, pasid, &three.translation()).unwrap();
    identity(true);
    reaches(pasid, &three);
    at("the-last-pasid-goes");
    assert_eq!(driver.block(&slot, pasid), Blocked::Confirmed);
    blocked(pasid);
    identity(true);
    machine.unmap(three.leaf);
    machine.settled();
}

/// The interrupts of a device: raised, moved, masked, given back.
fn interrupts(machine: &Machine, driver: &impl Driver, step: &Mutex<&'static str>) {
    let at = |now| *step.lock().unwrap_or_else(PoisonError::into_inner) = now;
    let remapping = driver.interrupts().unwrap();
    let raise = |data| machine.model.message(NIC, Iova(0xfee0_0000), data);
    let to = |vector| InterruptTo::Apic(ApicTarget { vector, destination: 5, ..ApicTarget::default() });
    let delivered = |outcome, vector| {
        assert!(matches!(outcome, MessageOutcome::Delivered { vector: v, .. } if v == vector))
    };
    let aborted = |outcome| assert_eq!(outcome, MessageOutcome::Aborted);
    aborted(raise(0));
    at("interrupts-reserved");
    let entries = remapping.reserve(InterruptFrom::Source(NIC), 2).unwrap();
    aborted(raise(0));
    at("interrupt-remapped");
    let message = remapping.remap(&entries, 0, &to(0x41)).unwrap();
    delivered(raise(message.data), 0x41);
    at("interrupt-moved");
    remapping.remap(&entries, 0, &to(0x42)).unwrap();
    delivered(raise(message.data), 0x42);
    at("interrupt-masked");
    remapping.mask(&entries, 0).unwrap();
    aborted(raise(message.data));
    at("interrupts-released");
    aborted(raise(message.data + 1));
    remapping.remap(&entries, 1, &to(0x43)).unwrap();
    delivered(raise(message.data + 1), 0x43);
    remapping.release(entries).unwrap();
    aborted(raise(message.data + 1));
}

/// Goes through a life, dropping a command or none; tells whether all was well, and what was issued at which step.
fn run(drop: Option<usize>) -> (std::thread::Result<()>, Vec<(&'static str, &'static str)>) {
    let machine = Machine::new(AmdViConfig::default());
    let step = Arc::new(Mutex::new(""));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, now) = (seen.clone(), step.clone());
    machine.model.set_command_filter(Some(Box::new(move |_, command| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((*now.lock().unwrap_or_else(PoisonError::into_inner), name_of(command)));
        drop != Some(log.len() - 1)
    })));
    let result = panic::catch_unwind(AssertUnwindSafe(|| life(&machine, &step)));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, seen)
}

fn label(n: usize, (step, name): (&str, &str)) -> String {
    format!("amdvi.{n:03}.{step}.{name}")
}

#[test]
fn commands_are_needed_or_listed_with_a_reason() {
    let asked = std::env::var("IOWARD_DROP_COMMAND");
    let (sound, issued) = run(None);
    if let Err(why) = sound {
        panic::resume_unwind(why);
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
