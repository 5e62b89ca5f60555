//! No change of a context shows the IOMMU anything but the old context, the new one, or blocked.
//!
//! Every store and every executed command of a change is on record. The IOMMU may read the words of a context in any order
//! (2.1.2), so between two invalidations of a structure each of its words may have any of the values that it had since the
//! first. Every combination is decoded, by a decoder written here from the specification, 2.1 to 2.3, and judged.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_bench;

use ioward_core::driver::{Blocked, Driver, Plan, Requirements, Slot, Translation};
use ioward_drivers::riscv::Config;
use ioward_types::{Pasid, PhysAddr, Root, TableConfig, Tag};
use put::Put;
use riscv_bench::*;
use std::collections::{BTreeMap, BTreeSet};

const SOURCE: u32 = 0x18;
const PASID: u32 = 5;

// ---- what the IOMMU makes of what it reads --------------------------------------------------------------------

/// What becomes of a request. Every field that has an effect is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Meaning {
    Blocked,
    Identity {
        ats: u64,
    },
    Second {
        tc: u64,
        iohgatp: u64,
        msi: [u64; 3],
    },
    First {
        tc: u64,
        fsc: u64,
        pscid: u64,
    },
    Illegal(&'static str),
    /// These values are never read together.
    Impossible,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Ddte,
    Dc,
    Pdte,
    Pc,
}
const KINDS: [Kind; 4] = [Kind::Ddte, Kind::Dc, Kind::Pdte, Kind::Pc];

/// A value that a word had: from the step that stored it until before the step that replaced it.
#[derive(Clone, Copy)]
struct Value {
    value: u64,
    from: usize,
    until: usize,
}

/// What registers say does not change.
const REGISTER: Value = Value { value: 0, from: 0, until: usize::MAX };

struct Possible<'a> {
    before: &'a [u64],
    words: BTreeMap<u64, Vec<Value>>,
    since: BTreeMap<Kind, usize>,
    barriers: Vec<usize>,
    step: usize,
}

impl<'a> Possible<'a> {
    fn new(before: &'a [u64]) -> Self {
        let since = KINDS.map(|kind| (kind, 0)).into();
        Self { before, words: BTreeMap::new(), since, barriers: vec![0], step: 0 }
    }

    fn first(&self, at: u64) -> Value {
        // Frames that were handed out meanwhile were zero.
        let index = ((at - ORIGIN) / 8) as usize;
        Value { value: self.before.get(index).copied().unwrap_or(0), from: 0, until: usize::MAX }
    }

    fn store(&mut self, at: u64, value: u64) {
        let first = self.first(at);
        let values = self.words.entry(at).or_insert_with(|| vec![first]);
        values.last_mut().expect("one at least").until = self.step;
        values.push(Value { value, from: self.step, until: usize::MAX });
    }

    /// Since when whoever has seen a store of step `seen` sees what was stored before.
    fn floor(&self, seen: usize) -> usize {
        self.barriers.iter().copied().filter(|&barrier| barrier <= seen).max().unwrap_or(0)
    }

    /// What a word may be read as through a pointer that was stored at step `pointer`: whoever has seen the pointer has
    /// seen what was stored before the barrier before it.
    fn values(&self, kind: Kind, at: u64, pointer: usize) -> Vec<Value> {
        let floor = self.since[&kind].max(self.floor(pointer));
        let Some(values) = self.words.get(&at) else { return vec![self.first(at)] };
        let mut found: Vec<Value> = values.iter().filter(|value| value.until > floor).copied().collect();
        found.dedup_by_key(|value| value.value);
        found
    }
}

/// One way through the choices that a decoding has.
#[derive(Default)]
struct Choices {
    taken: Vec<(usize, usize)>,
    depth: usize,
}

impl Choices {
    fn choose(&mut self, of: usize) -> usize {
        if self.depth == self.taken.len() {
            self.taken.push((0, of));
        }
        self.depth += 1;
        self.taken[self.depth - 1].0
    }

    /// The next way; false where there is none.
    fn advance(&mut self) -> bool {
        self.depth = 0;
        while let Some((chosen, of)) = self.taken.pop() {
            if chosen + 1 < of {
                self.taken.push((chosen + 1, of));
                return true;
            }
        }
        false
    }
}

struct View<'a> {
    possible: &'a Possible<'a>,
    choices: &'a mut Choices,
    chosen: BTreeMap<(Kind, u64), Value>,
}

impl View<'_> {
    fn read(&mut self, kind: Kind, at: u64, through: Value) -> Value {
        if let Some(&value) = self.chosen.get(&(kind, at)) {
            return value;
        }
        let value = self.read_again(kind, at, through);
        self.chosen.insert((kind, at), value);
        value
    }

    /// Reads a word by whoever had seen `through` before, and tells what has been seen since.
    fn follow(&mut self, kind: Kind, at: u64, through: Value) -> Value {
        let value = self.read(kind, at, through);
        Value { from: value.from.max(through.from), ..value }
    }

    /// As another cache may hold it.
    fn read_again(&mut self, kind: Kind, at: u64, through: Value) -> Value {
        let values = self.possible.values(kind, at, through.from);
        values[self.choices.choose(values.len())]
    }
}

struct Decoder {
    ddtp: u64,
    extended: bool,
}

fn page(entry: u64) -> u64 {
    (entry >> 10 & ((1 << 44) - 1)) << 12
}

impl Decoder {
    fn decode(&self, view: &mut View<'_>, pasid: Option<u32>) -> Meaning {
        let bits: [u32; 3] = if self.extended { [6, 9, 9] } else { [7, 9, 8] };
        let levels = (self.ddtp & 0xf) as usize - 1;
        let (mut table, mut through) = (page(self.ddtp), REGISTER);
        for level in (1..levels).rev() {
            let below: u32 = bits[..level].iter().sum();
            let index = u64::from(SOURCE >> below) & ((1 << bits[level]) - 1);
            through = view.follow(Kind::Ddte, table + index * 8, through);
            if through.value & 1 == 0 {
                return Meaning::Blocked;
            }
            table = page(through.value);
        }
        let size = if self.extended { 64 } else { 32 };
        let at = table + u64::from(SOURCE & ((1 << bits[0]) - 1)) * size;
        let (dc_at, to_dc) = (at, through);
        let dc: Vec<u64> = (0..size / 8).map(|n| view.read(Kind::Dc, at + 8 * n, through).value).collect();
        let (tc, iohgatp, ta, fsc) = (dc[0], dc[1], dc[2], dc[3]);
        if tc & 1 == 0 {
            return Meaning::Blocked;
        }
        let msi = if self.extended { [dc[4], dc[5], dc[6]] } else { [0; 3] };
        if tc & !0x3a7 != 0 || self.extended && dc[7] != 0 {
            return Meaning::Illegal("bits that nobody sets");
        }
        let (ats, sade) = (tc & 6, tc & 1 << 8);
        if iohgatp >> 60 == 0 && (iohgatp != 0 || msi != [0; 3]) {
            return Meaning::Illegal("a second stage of mode Bare with a root, or with an MSI page table");
        }
        if tc >> 5 & 1 == 0 {
            return match (iohgatp >> 60, fsc >> 60) {
                _ if pasid.is_some() => Meaning::Blocked,
                _ if tc >> 9 & 1 != 0 => Meaning::Illegal("DPE without PDTV"),
                (0, 0) if fsc != 0 => Meaning::Illegal("a first stage of mode Bare with a root"),
                (0, 0) => Meaning::Identity { ats },
                // A root in the bench's memory is the driver's own, and empty: nothing is reached.
                (_, 0) if (iohgatp & ((1 << 44) - 1)) << 12 < 0x5000_0000 => Meaning::Blocked,
                (_, 0) => Meaning::Second { tc, iohgatp, msi },
                (0, 8..=10) => Meaning::First { tc: ats | sade, fsc, pscid: ta >> 12 & 0xf_ffff },
                (0, _) => Meaning::Illegal("iosatp.MODE"),
                _ => Meaning::Illegal("both stages"),
            };
        }
        if iohgatp != 0 {
            return Meaning::Illegal("a process directory of guest addresses");
        }
        if !(1..=3).contains(&(fsc >> 60)) {
            return Meaning::Illegal("pdtp.MODE");
        }
        let process = match pasid {
            Some(pasid) => pasid,
            None if tc >> 9 & 1 == 0 => return Meaning::Identity { ats },
            None => 0,
        };
        // What is cached of the process directory may have been found through another value of the device context.
        let other = view.read_again(Kind::Dc, at + 24, through);
        let fsc = if (1..=3).contains(&(other.value >> 60)) {
            other
        } else {
            view.read(Kind::Dc, at + 24, through)
        };
        let bits: [u32; 3] = [8, 9, 3];
        let (mut table, mut through) = ((fsc.value & ((1 << 44) - 1)) << 12, fsc);
        let levels = (fsc.value >> 60) as usize;
        if process >> bits[..levels].iter().sum::<u32>() != 0 {
            return Meaning::Blocked;
        }
        for level in (1..levels).rev() {
            let below: u32 = bits[..level].iter().sum();
            let index = u64::from(process >> below) & ((1 << bits[level]) - 1);
            through = view.follow(Kind::Pdte, table + index * 8, through);
            if through.value & 1 == 0 {
                return Meaning::Blocked;
            }
            table = page(through.value);
        }
        let at = table + u64::from(process & 0xff) * 16;
        let ta = view.read(Kind::Pc, at, through);
        // A context that is not valid is not cached (2.7), so it was read by whoever had read that DPE is set.
        let dpe = view.read(Kind::Dc, dc_at, to_dc);
        if pasid.is_none() && ta.value & 1 == 0 && ta.until <= view.possible.floor(dpe.from) {
            return Meaning::Impossible;
        }
        let (ta, fsc) = (ta.value, view.read(Kind::Pc, at + 8, through).value);
        match (ta & 1, fsc >> 60) {
            (0, _) => Meaning::Blocked,
            (_, 8..=10) => Meaning::First { tc: ats | sade, fsc, pscid: ta >> 12 & 0xf_ffff },
            (_, 0) => Meaning::Illegal("identity behind a process context"),
            _ => Meaning::Illegal("iosatp.MODE of a process context"),
        }
    }
}

/// Which kinds of structure of the source a command makes the IOMMU forget (3.1.3).
fn forgets(command: [u64; 2], pasid: Option<u32>) -> &'static [Kind] {
    let (device, process) = (command[0] >> 40, (command[0] >> 12 & 0xf_ffff) as u32);
    match (command[0] & 0x3ff, command[0] >> 33 & 1) {
        (0x003, 0) => &KINDS,
        (0x003, _) if device == u64::from(SOURCE) => &[Kind::Dc, Kind::Pdte, Kind::Pc],
        (0x083, _) if device == u64::from(SOURCE) && process == pasid.unwrap_or(0) => &[Kind::Pc],
        _ => &[],
    }
}

fn is_iodir(step: &Step) -> bool {
    matches!(step, Step::Command(command) if command[0] & 0x7f == 3)
}

/// Everything that a request may have met while `steps` happened to `before`, and what it may still meet after. `skip`: the
/// IODIR of this number is taken as not issued.
fn seen(
    decoder: &Decoder,
    before: &[u64],
    steps: &[Step],
    pasid: Option<u32>,
    skip: Option<usize>,
) -> (BTreeSet<Meaning>, BTreeSet<Meaning>) {
    let mut possible = Possible::new(before);
    let mut meanings = BTreeSet::new();
    let (mut issued, mut number) = (Vec::new(), 0);
    for step in steps {
        possible.step += 1;
        match *step {
            Step::Store { at, new } => possible.store(at, new),
            Step::Barrier => possible.barriers.push(possible.step),
            Step::Command(command) if command[0] & 0x7f == 2 => {
                let kinds: BTreeSet<Kind> = issued.drain(..).flatten().copied().collect();
                if !kinds.is_empty() {
                    collect(decoder, &possible, pasid, &mut meanings);
                    possible.since.extend(kinds.iter().map(|kind| (*kind, possible.step)));
                }
            }
            Step::Command(command) => {
                if is_iodir(step) {
                    if skip != Some(number) {
                        issued.push(forgets(command, pasid));
                    }
                    number += 1;
                }
            }
        }
    }
    let mut end = BTreeSet::new();
    collect(decoder, &possible, pasid, &mut end);
    meanings.extend(end.iter().cloned());
    (meanings, end)
}

fn collect(decoder: &Decoder, possible: &Possible<'_>, pasid: Option<u32>, into: &mut BTreeSet<Meaning>) {
    let mut choices = Choices::default();
    loop {
        let mut view = View { possible, choices: &mut choices, chosen: BTreeMap::new() };
        match decoder.decode(&mut view, pasid) {
            Meaning::Impossible => {}
            meaning => drop(into.insert(meaning)),
        }
        if !choices.advance() {
            return;
        }
    }
}

// ---- changes ------------------------------------------------------------------------------------------------------

/// What a context may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Blocked,
    Identity,
    First(u8),
    Second(u8),
    Foreign,
}

const ALL: [Held; 7] = [
    Held::Blocked,
    Held::Identity,
    Held::First(0),
    Held::First(1),
    Held::Second(0),
    Held::Second(1),
    Held::Foreign,
];

struct Machine {
    bench: Bench,
    iommu: Iommu,
    slot: Slot,
    decoder: Decoder,
    configs: BTreeMap<bool, TableConfig>,
    tags: BTreeMap<(bool, u8), Tag>,
}

impl Machine {
    fn new(capabilities: u64, pasid_bits: u8, ats: bool) -> Self {
        Self::with(capabilities, &config(), pasid_bits, ats)
    }

    fn with(capabilities: u64, config: &Config, pasid_bits: u8, ats: bool) -> Self {
        let (bench, registers, iommu) = bring_up_as(capabilities, config);
        let decoder = Decoder { ddtp: registers.peek64(DDTP), extended: capabilities >> 22 & 1 != 0 };
        let slot = claim(&iommu, SOURCE, pasid_bits, ats);
        let (mut configs, mut tags) = (BTreeMap::new(), BTreeMap::new());
        for second in [false, true] {
            let wish = Requirements { pasid_bits: (!second).into(), ..Requirements::default() };
            let plan = iommu.plan(&wish).expect("both stages are there");
            let Plan::Tables(config) = plan else { panic!("tables") };
            configs.insert(second, config);
            for n in 0..3 {
                tags.insert((second, n), iommu.tag(&plan).expect("tags are free"));
            }
        }
        Self { bench, iommu, slot, decoder, configs, tags }
    }

    fn put(&self, pasid: Option<u32>, held: Held) {
        let pasid = pasid.map(Pasid);
        let (second, n) = match held {
            Held::Blocked => return assert_eq!(self.iommu.block(&self.slot, pasid), Blocked::Confirmed),
            Held::Identity => {
                return self.iommu.put(&self.slot, pasid, &Translation::Identity).expect("identity");
            }
            Held::First(n) => (false, n),
            Held::Second(n) => (true, n),
            Held::Foreign => (true, 2),
        };
        let at = PhysAddr(0x5000_0000 + u64::from(n) * 0x10_0000 + u64::from(second) * 0x100_0000);
        let (root, config, tag) = (Root { at, levels: 4 }, &self.configs[&second], self.tags[&(second, n)]);
        let what = match held {
            Held::Foreign => Translation::Foreign { root, config, tag },
            _ => Translation::Table { root, config, tag },
        };
        self.iommu.put(&self.slot, pasid, &what).expect("a table that fits");
    }

    fn meaning(&self, pasid: Option<u32>) -> Meaning {
        let found = seen(&self.decoder, &self.bench.all(), &[], pasid, None).0;
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }

    /// Changes `change` to `to` while `watched` looks on. Tells whether it saw blocked in between, and how many IODIR
    /// commands it takes for it to see nothing else.
    fn change(&self, change: Option<u32>, to: Held, watched: Option<u32>, what: &str) -> (bool, usize) {
        let (old, before) = (self.meaning(watched), self.bench.all());
        self.bench.take_steps();
        self.put(change, to);
        let steps = self.bench.take_steps();
        let new = self.meaning(watched);
        let right = |seen: &BTreeSet<Meaning>| {
            seen.iter().all(|meaning| [&old, &new, &Meaning::Blocked].contains(&meaning))
        };
        let (all, end) = seen(&self.decoder, &before, &steps, watched, None);
        assert!(right(&all), "{what}: {all:x?}, from {old:x?} to {new:x?}");
        // What is not valid is not cached (2.7): whoever still had V = 0 reads again.
        let settled =
            if all.contains(&Meaning::Blocked) { vec![&new, &Meaning::Blocked] } else { vec![&new] };
        assert!(
            end.iter().all(|meaning| settled.contains(&meaning)),
            "{what}: {end:x?} at the end, not {new:x?}"
        );
        let commands = steps.iter().filter(|step| is_iodir(step)).count();
        let needed = (0..commands).filter(|n| {
            let (all, end) = seen(&self.decoder, &before, &steps, watched, Some(*n));
            !right(&all) || end.iter().any(|meaning| !settled.contains(&meaning))
        });
        let between = old != Meaning::Blocked && new != Meaning::Blocked && all.contains(&Meaning::Blocked);
        (between, needed.count())
    }
}

/// MSI page tables and so extended contexts, and not.
fn capabilities() -> [u64; 2] {
    [LARGE, LARGE & !(3 << 22)]
}

#[test]
fn a_source_goes_from_anything_to_anything() {
    let (mut changes, mut needed) = (0, 0);
    for capabilities in capabilities() {
        for (pasid_bits, ats) in [(0, false), (0, true), (6, false), (6, true), (20, false)] {
            for from in ALL {
                for to in ALL {
                    let machine = Machine::new(capabilities, pasid_bits, ats);
                    machine.put(None, from);
                    let what = format!("{pasid_bits} bits, ATS {ats}, {from:?} to {to:?}");
                    let (blocked, commands) = machine.change(None, to, None, &what);
                    assert!(!blocked, "{what}: a request is refused on the way");
                    changes += 1;
                    needed += commands;
                    // And a request with a PASID sees nothing of it.
                    machine.change(None, from, Some(PASID), &what);
                }
            }
        }
    }
    assert!(needed > changes / 2, "{needed} commands of {changes} changes are needed");
}

/// Nothing but `ddtp` points at the page of contexts, so it cannot be replaced: what takes more than one word goes through
/// blocked.
#[test]
fn with_one_level_a_source_is_refused_at_worst() {
    let config = Config { last_source: 0x3f, ..config() };
    let mut blocked = 0;
    for capabilities in capabilities() {
        for (pasid_bits, ats) in [(0, false), (6, true)] {
            for from in ALL {
                for to in ALL {
                    let machine = Machine::with(capabilities, &config, pasid_bits, ats);
                    assert_eq!(machine.decoder.ddtp & 0xf, 2);
                    machine.put(None, from);
                    let what = format!("{pasid_bits} bits, ATS {ats}, {from:?} to {to:?}");
                    blocked += u32::from(machine.change(None, to, None, &what).0);
                }
            }
        }
    }
    assert!(blocked != 0, "a second stage and a first have more than one word between them");
}

#[test]
fn a_pasid_comes_and_goes_beside_anything() {
    let all = [Held::Blocked, Held::First(0), Held::First(1), Held::First(2)];
    for capabilities in capabilities() {
        for bits in [6, 12, 20] {
            for beside in [Held::Blocked, Held::Identity, Held::First(2)] {
                for from in all {
                    for to in all {
                        for watched in [Some(PASID), None] {
                            let machine = Machine::new(capabilities, bits, false);
                            machine.put(None, beside);
                            machine.put(Some(PASID), from);
                            let what =
                                format!("{bits} bits, {from:?} to {to:?} beside {beside:?}, {watched:?}");
                            let (blocked, _) = machine.change(Some(PASID), to, watched, &what);
                            assert!(!blocked, "{what}: a request is refused on the way");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_source_changes_beside_a_pasid_that_goes_on() {
    for bits in [6, 20] {
        for from in [Held::Blocked, Held::Identity, Held::First(0)] {
            for to in [Held::Identity, Held::First(0), Held::First(1)] {
                for watched in [Some(PASID), None] {
                    let machine = Machine::new(LARGE, bits, false);
                    machine.put(Some(PASID), Held::First(2));
                    machine.put(None, from);
                    if from == Held::Blocked {
                        machine.put(Some(PASID), Held::First(2));
                    }
                    let what = format!("{bits} bits, {from:?} to {to:?} beside a PASID, {watched:?}");
                    let (blocked, _) = machine.change(None, to, watched, &what);
                    assert!(!blocked, "{what}: a request is refused on the way");
                }
            }
        }
    }
}

/// A context that is filled and made valid without an invalidation between would let requests through untranslated, where
/// V is read late and the rest early.
#[test]
fn what_is_filled_is_seen_before_it_is_valid() {
    let machine = Machine::new(LARGE, 0, false);
    let before = machine.bench.all();
    machine.bench.take_steps();
    machine.put(None, Held::First(0));
    let steps = machine.bench.take_steps();
    let first = steps.iter().filter(|step| is_iodir(step)).count();
    assert_eq!(first, 1);
    let (all, _) = seen(&machine.decoder, &before, &steps, None, Some(0));
    assert!(all.contains(&Meaning::Identity { ats: 0 }), "{all:x?}");
}
