//! Changing an entry is hitless: what hardware can see at any instant is the old entry, the new one, or blocked.
//!
//! Hardware is taken to read entries in pieces of 128 bits (rev 4.1, 6.5.3.3), at any instants, in any order, and what an
//! entry leads to not before it. A context entry that was read may be used until an invalidation of it has been confirmed;
//! pieces of a PASID table entry are put together from reads between two such confirmations. Stores are seen in the order
//! of the barriers between them, those without a barrier between them in any order.
//!
//! The decoder is written here, from chapter 9 of the specification, and shares nothing with the driver.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_bench;

use ioward_core::driver::{
    ApicTarget, Blocked as Answer, Claim, Driver, InterruptFrom, InterruptTo, Plan, RemapInterrupts,
    Requirements, Slot, Translation,
};
use ioward_drivers::vtd::{BringUp, Config, Interrupts, VtD};
use ioward_types::{Format, Pasid, PhysAddr, Root, SourceId, TableConfig, Tag, describe};
use put::Put;
use std::collections::BTreeSet;
use vtd_bench::{Bench, Memory, RTADDR, Record, Registers, UNIT};

const SOURCE: SourceId = SourceId(0x1a8);
const PASID: Pasid = Pasid(5);
// ND 6, SAGAW 39, 48 and 57, MGAW 56, FRO 0x22, all page sizes, PSI, MAMV 18, DWD, DRD, FS5LP.
const CAP: u64 = 0x10d2_008c_2238_0e06;
// IRO 0x10, QI, IR, EIM, PT, C, MHMV 15; then SMTS, SSTS, FSTS, PASID of 20 bits, SMPWCS.
const LEGACY: u64 = 0x00f0_105b;
const SCALABLE: u64 = LEGACY | 1 << 43 | 1 << 46 | 1 << 47 | 1 << 48 | 1 << 40 | 19 << 35;

/// What one kind of request meets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Meets {
    Blocked,
    Identity,
    Second {
        root: u64,
        aw: u64,
        domain: u16,
    },
    First {
        root: u64,
        mode: u64,
        domain: u16,
    },
    /// The entry is illegal: never to be seen.
    Wrong(&'static str),
}

const PAGE: u64 = !0xfff;
/// Context pair, and the two pieces of a PASID table entry that can be anything but zero.
type Pair = [u64; 2];

fn legacy(context: Pair) -> Meets {
    if context[0] & 1 == 0 {
        return Meets::Blocked;
    }
    if context[0] & 0xff2 != 0 {
        return Meets::Wrong("FPD or a reserved bit");
    }
    let (aw, domain) = (context[1] & 7, (context[1] >> 8) as u16);
    match context[0] >> 2 & 3 {
        2 if context[0] & PAGE == 0 => Meets::Identity,
        0 | 1 => Meets::Second { root: context[0] & PAGE, aw, domain },
        _ => Meets::Wrong("TT"),
    }
}

fn scalable(pieces: [Pair; 2]) -> Meets {
    let [first, second] = pieces;
    if first[0] & 1 == 0 {
        return Meets::Blocked;
    }
    let (kind, domain) = (first[0] >> 6 & 7, first[1] as u16);
    match kind {
        _ if first[0] & 2 != 0 => Meets::Wrong("FPD"),
        1 if second[0] & 0x20 == 0 => Meets::Wrong("NXE is clear"),
        1 => Meets::First { root: second[0] & PAGE, mode: second[0] >> 2 & 3, domain },
        2 => Meets::Second { root: first[0] & PAGE, aw: first[0] >> 2 & 7, domain },
        4 => Meets::Identity,
        _ => Meets::Wrong("PGTT"),
    }
}

fn pair(memory: &Memory, at: u64) -> Pair {
    [memory.load(at), memory.load(at + 8)]
}

/// The context entry of [`SOURCE`].
fn context(memory: &Memory, root: u64, scalable: bool) -> Pair {
    let (bus, function) = (u64::from(SOURCE.0) >> 8, u64::from(SOURCE.0) & 0xff);
    let (half, offset) = if scalable { (function >> 7, (function & 0x7f) * 32) } else { (0, function * 16) };
    let link = memory.load(root + bus * 16 + half * 8);
    if link & 1 == 0 { [0; 2] } else { pair(memory, (link & PAGE) + offset) }
}

/// Where a PASID's entry is behind a context entry.
fn entry_at(memory: &Memory, context: Pair, pasid: u64) -> Option<u64> {
    let link = memory.load((context[0] & PAGE) + (pasid >> 6) * 8);
    (link & 1 != 0).then(|| (link & PAGE) + (pasid & 0x3f) * 64)
}

/// Every state of memory that stores can show while they happen, in the order of the barriers: each with the number of
/// barriers before it, and how often a settling of each kind has come before it.
struct Moment {
    memory: Memory,
    order: usize,
    context_era: usize,
    pasid_era: usize,
}

fn moments(before: &Memory, log: &[Record], pasid: u64) -> Vec<Moment> {
    let mut memory = before.clone();
    let (mut order, mut context_era, mut pasid_era) = (0, 0, 0);
    let mut all = vec![Moment { memory: memory.clone(), order, context_era, pasid_era }];
    let mut stores: Vec<(u64, usize, u128)> = Vec::new();
    for record in log.iter().chain([&Record::Barrier]) {
        if let Record::Store { at, bytes, new } = *record {
            stores.push((at, bytes, new));
            continue;
        }
        assert!(stores.len() < 12, "too many stores without a barrier to enumerate");
        for subset in 0u32..1 << stores.len() {
            let mut state = memory.clone();
            let mut skipped = BTreeSet::new();
            let mut possible = true;
            for (n, (at, bytes, new)) in stores.iter().enumerate() {
                if subset & 1 << n == 0 {
                    skipped.insert(*at);
                } else if skipped.contains(at) {
                    possible = false;
                } else {
                    state.apply(*at, *bytes, *new);
                }
            }
            if possible && !stores.is_empty() {
                all.push(Moment { memory: state, order, context_era, pasid_era });
            }
        }
        for (at, bytes, new) in stores.drain(..) {
            memory.apply(at, bytes, new);
        }
        order += 1;
        match *record {
            Record::ContextSettled(source) if u32::from(source) == SOURCE.0 => context_era += 1,
            Record::PasidSettled(settled) if u64::from(settled) == pasid => pasid_era += 1,
            _ => continue,
        }
        // What memory holds is there when the new era begins.
        all.push(Moment { memory: memory.clone(), order, context_era, pasid_era });
    }
    all
}

/// Everything that requests with a PASID (zero: without) can meet while `log` happens.
fn observations(
    root: u64,
    is_scalable: bool,
    before: &Memory,
    log: &[Record],
    pasid: u64,
) -> BTreeSet<Meets> {
    let all = moments(before, log, pasid);
    let mut seen = BTreeSet::new();
    let mut known = BTreeSet::new();
    for outer in &all {
        let entry = context(&outer.memory, root, is_scalable);
        if !is_scalable {
            seen.insert(if pasid == 0 { legacy(entry) } else { Meets::Blocked });
            continue;
        }
        if entry[0] & 1 == 0 {
            seen.insert(Meets::Blocked);
            continue;
        }
        if !known.insert((entry, outer.order, outer.context_era)) {
            continue;
        }
        // The context entry may be kept until it is settled; what it leads to is read no earlier.
        let later: Vec<_> = all
            .iter()
            .filter(|inner| inner.order >= outer.order && inner.context_era == outer.context_era)
            .collect();
        for first in &later {
            let Some(at) = entry_at(&first.memory, entry, pasid) else {
                seen.insert(Meets::Blocked);
                continue;
            };
            let low = pair(&first.memory, at);
            for second in later.iter().filter(|second| second.pasid_era == first.pasid_era) {
                seen.insert(scalable([low, pair(&second.memory, at + 16)]));
            }
        }
    }
    seen
}

/// What a source or a PASID is put on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Blocked,
    Identity,
    SecondA,
    SecondB,
    /// A foreign second-stage table of other depth.
    SecondForeign,
    FirstA,
    FirstB,
    /// A foreign first-stage table of five levels.
    FirstFive,
}

use Kind::*;
const KINDS: [Kind; 8] = [Blocked, Identity, SecondA, SecondB, SecondForeign, FirstA, FirstB, FirstFive];

struct Rig {
    bench: Bench,
    registers: &'static Registers,
    driver: VtD<&'static Registers, Bench>,
    slot: Slot,
    second: TableConfig,
    first: Option<TableConfig>,
    tags: [Option<Tag>; 6],
}

fn config(wide_stores: bool) -> Config {
    let described = describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() };
    Config {
        wide_stores,
        interrupts: Interrupts::Remap { entries_log2: 8, x2apic: true },
        ..Config::new(described)
    }
}

impl Rig {
    fn new(ecap: u64, wide: bool) -> Self {
        let bench = Bench::new();
        let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, CAP, ecap)));
        let driver = VtD::bring_up(UNIT, registers, config(wide), &bench, BringUp::Cold).unwrap();
        let pasid_bits = if driver.is_scalable() { 20 } else { 0 };
        let slot = driver.claim(&Claim { source: SOURCE, pasid_bits, ats: false }).unwrap();
        let planned = |pasid_bits| match driver.plan(&Requirements { pasid_bits, ..Requirements::default() })
        {
            Ok(Plan::Tables(config)) => Some(config),
            _ => None,
        };
        let second = planned(0).unwrap();
        let first = planned(20);
        assert_eq!(first.map(|first| first.format), driver.is_scalable().then_some(Format::VtdFirst));
        let tags = [Some(second), Some(second), Some(second), first, first, first]
            .map(|config| config.map(|config| driver.tag(&Plan::Tables(config)).unwrap()));
        Self { bench, registers, driver, slot, second, first, tags }
    }

    /// The place in [`Rig::tags`], the root, and whether it is a first-stage table.
    fn parts(kind: Kind) -> (usize, Root, bool) {
        let root = |at, levels| Root { at: PhysAddr(at), levels };
        match kind {
            SecondA => (0, root(0x0a_0000_0000, 4), false),
            SecondB => (1, root(0x0b_0000_1000, 4), false),
            SecondForeign => (2, root(0x0c_0000_2000, 5), false),
            FirstA => (3, root(0x0d_0000_3000, 4), true),
            FirstB => (4, root(0x0e_0000_4000, 4), true),
            FirstFive => (5, root(0x0f_0000_5000, 5), true),
            Blocked | Identity => unreachable!("no table"),
        }
    }

    fn has(&self, kind: Kind) -> bool {
        matches!(kind, Blocked | Identity) || self.tags[Self::parts(kind).0].is_some()
    }

    fn put(&self, pasid: Option<Pasid>, kind: Kind) {
        match kind {
            Blocked => assert_eq!(self.driver.block(&self.slot, pasid), Answer::Confirmed),
            Identity => self.driver.put(&self.slot, pasid, &Translation::Identity).unwrap(),
            kind => {
                let (n, root, is_first) = Self::parts(kind);
                let config = if is_first { self.first.as_ref().unwrap() } else { &self.second };
                let tag = self.tags[n].unwrap();
                let what = if matches!(kind, SecondForeign | FirstFive) {
                    Translation::Foreign { root, config, tag }
                } else {
                    Translation::Table { root, config, tag }
                };
                self.driver.put(&self.slot, pasid, &what).unwrap();
            }
        }
    }

    fn expected(&self, kind: Kind) -> Meets {
        match kind {
            Blocked => Meets::Blocked,
            Identity => Meets::Identity,
            kind => {
                let (n, root, is_first) = Self::parts(kind);
                let (levels, root, domain) =
                    (u64::from(root.levels), root.at.0, self.tags[n].unwrap().0 as u16);
                match is_first {
                    true => Meets::First { root, mode: levels - 4, domain },
                    false => Meets::Second { root, aw: levels - 2, domain },
                }
            }
        }
    }

    /// Does something and tells all that requests with each PASID could meet meanwhile.
    fn watch(&self, act: impl FnOnce(&Self)) -> [BTreeSet<Meets>; 2] {
        let before = self.bench.snapshot();
        self.bench.take_log();
        act(self);
        // Frames that were handed out meanwhile are zero until they are stored to.
        let before = before.grown(&self.bench.snapshot());
        let ring = self.registers.peek(vtd_bench::IQA) & PAGE;
        let mut log = self.bench.take_log();
        // Descriptors are no part of what an entry leads to.
        log.retain(|record| !matches!(record, Record::Store { at, .. } if (ring..ring + 4096).contains(at)));
        let root = self.registers.peek(RTADDR) & PAGE;
        let is_scalable = self.driver.is_scalable();
        [0, PASID.0.into()].map(|pasid| observations(root, is_scalable, &before, &log, pasid))
    }

    /// Does something and checks that nothing but old, new and blocked was to be met, and new in the end.
    fn check(&self, why: &str, old: [Kind; 2], new: [Kind; 2], act: impl FnOnce(&Self)) {
        for (n, seen) in self.watch(act).iter().enumerate() {
            let (old, new) = (self.expected(old[n]), self.expected(new[n]));
            for meets in seen {
                let allowed = [old, new, Meets::Blocked].contains(meets);
                assert!(allowed, "{why} [{n}]: {meets:?} is met between {old:?} and {new:?}");
            }
            assert!(seen.contains(&new), "{why} [{n}]: {new:?} was never met");
        }
        // Now, and for good.
        for (n, seen) in self.watch(|_| {}).iter().enumerate() {
            assert_eq!(*seen, BTreeSet::from([self.expected(new[n])]), "{why} [{n}]");
        }
    }
}

fn rigs() -> impl Iterator<Item = (u64, bool)> {
    [(LEGACY, true), (LEGACY, false), (SCALABLE, true), (SCALABLE, false)].into_iter()
}

#[test]
fn every_change_of_a_source_shows_old_new_or_blocked() {
    for (ecap, wide) in rigs() {
        for old in KINDS {
            for new in KINDS {
                let rig = Rig::new(ecap, wide);
                if !rig.has(old) || !rig.has(new) {
                    continue;
                }
                rig.put(None, old);
                let why = format!("{old:?} to {new:?}, 128-bit stores: {wide}");
                rig.check(&why, [old, Blocked], [new, Blocked], |rig| rig.put(None, new));
            }
        }
    }
}

#[test]
fn changes_that_need_not_block_do_not() {
    for (ecap, old, new) in [
        (LEGACY, SecondA, SecondB),
        (LEGACY, SecondA, SecondForeign),
        (LEGACY, SecondA, Identity),
        (LEGACY, Identity, SecondA),
        (SCALABLE, SecondA, SecondB),
        (SCALABLE, Identity, SecondB),
        (SCALABLE, SecondA, Identity),
        // A member that can use PASIDs joins, or leaves.
        (SCALABLE, SecondA, FirstA),
        (SCALABLE, FirstA, SecondA),
        (SCALABLE, Identity, FirstA),
        (SCALABLE, FirstFive, Identity),
    ] {
        let rig = Rig::new(ecap, true);
        rig.put(None, old);
        let [seen, _] = rig.watch(|rig| rig.put(None, new));
        assert!(!seen.contains(&Meets::Blocked), "{old:?} to {new:?} goes through blocked");
    }
}

#[test]
fn beside_a_pasid_the_source_changes_as_cleanly() {
    for wide in [true, false] {
        for old in KINDS {
            for new in KINDS.into_iter().filter(|new| *new != Blocked) {
                let rig = Rig::new(SCALABLE, wide);
                if old != Blocked {
                    rig.put(None, old);
                }
                rig.put(Some(PASID), FirstB);
                let why = format!("{old:?} to {new:?} beside a PASID, 128-bit stores: {wide}");
                rig.check(&why, [old, FirstB], [new, FirstB], |rig| rig.put(None, new));
            }
            let rig = Rig::new(SCALABLE, wide);
            rig.put(None, old);
            rig.put(Some(PASID), SecondA);
            rig.check("blocked beside a PASID", [old, SecondA], [Blocked; 2], |rig| rig.put(None, Blocked));
        }
    }
}

#[test]
fn a_pasid_comes_changes_and_goes() {
    for wide in [true, false] {
        let rids: &[Kind] = if wide { &[Blocked, Identity, SecondA, FirstA] } else { &[Blocked] };
        for &rid in rids {
            for first in KINDS {
                for second in KINDS {
                    let rig = Rig::new(SCALABLE, wide);
                    rig.put(None, rid);
                    let mut old = Blocked;
                    for new in [first, second, Blocked] {
                        let why = format!("on {rid:?} a PASID goes from {old:?} to {new:?}, wide: {wide}");
                        rig.check(&why, [rid, old], [rid, new], |rig| rig.put(Some(PASID), new));
                        old = new;
                    }
                }
            }
        }
    }
}

#[test]
fn an_interrupt_entry_changes_from_old_to_new() {
    for wide in [true, false] {
        let rig = Rig::new(LEGACY, wide);
        let entries = rig.driver.reserve(InterruptFrom::Source(SOURCE), 1).unwrap();
        let to = |vector, destination| {
            InterruptTo::Apic(ApicTarget { vector, destination, ..ApicTarget::default() })
        };
        let at = (rig.registers.peek(vtd_bench::IRTA) & PAGE) + u64::from(entries.first) * 16;
        let one = [0x1_0000_0000 | 0x31_0001, 0x4_0000 | u64::from(SOURCE.0)];
        let two = [0x7_0000_0000 | 0x42_0001, 0x4_0000 | u64::from(SOURCE.0)];
        let before = rig.bench.snapshot();
        rig.bench.take_log();
        rig.driver.remap(&entries, 0, &to(0x31, 1)).unwrap();
        assert_eq!(pair(&rig.bench.snapshot(), at), one);
        rig.driver.remap(&entries, 0, &to(0x42, 7)).unwrap();
        let log = rig.bench.take_log();
        for moment in moments(&before, &log, 0) {
            let seen = pair(&moment.memory, at);
            assert!(seen == one || seen == two || seen[0] & 1 == 0, "{seen:x?}");
        }
        assert!(log.contains(&Record::InterruptSettled(entries.first as u16)));
        rig.driver.mask(&entries, 0).unwrap();
        assert_eq!(pair(&rig.bench.snapshot(), at)[0] & 1, 0);
    }
}

#[test]
fn the_check_sees_an_entry_that_is_written_in_words() {
    let rig = Rig::new(LEGACY, true);
    rig.put(None, SecondA);
    let (memory, root) = (rig.bench.snapshot(), rig.registers.peek(RTADDR) & PAGE);
    let link = memory.load(root + u64::from(SOURCE.0 >> 8) * 16) & PAGE;
    let at = link + u64::from(SOURCE.0 & 0xff) * 16;
    let Meets::Second { root: new, aw, domain } = rig.expected(SecondB) else { panic!("a table") };
    let log = [
        Record::Store { at, bytes: 8, new: (new | 1).into() },
        Record::Barrier,
        Record::Store { at: at + 8, bytes: 8, new: (u64::from(domain) << 8 | aw).into() },
    ];
    let seen = observations(root, false, &memory, &log, 0);
    let Meets::Second { domain: was, .. } = rig.expected(SecondA) else { panic!("a table") };
    // The new root with the old domain.
    assert!(seen.contains(&Meets::Second { root: new, aw, domain: was }));
}

#[test]
fn the_check_sees_pieces_that_do_not_belong_together() {
    let rig = Rig::new(SCALABLE, true);
    rig.put(None, SecondA);
    let (memory, root) = (rig.bench.snapshot(), rig.registers.peek(RTADDR) & PAGE);
    let entry = context(&memory, root, true);
    let at = entry_at(&memory, entry, 0).unwrap();
    let Meets::First { root: table, domain, .. } = rig.expected(FirstA) else { panic!("a table") };
    let second = Record::Store { at: at + 16, bytes: 16, new: u128::from(table | 0x20) };
    let first = Record::Store { at, bytes: 16, new: 0x41 | u128::from(domain) << 64 };
    let torn = |log: &[Record]| {
        observations(root, true, &memory, log, 0).iter().any(|meets| matches!(meets, Meets::Wrong(_)))
    };
    // Without waiting in between, a read may pair the old second piece with the new first one.
    assert!(torn(&[second, Record::Barrier, first]));
    assert!(!torn(&[second, Record::Barrier, Record::PasidSettled(0), first]));
    assert!(torn(&[first, Record::Barrier, Record::PasidSettled(0), second]));
}
