//! No change of an entry shows the SMMU anything but the old entry, the new one, or blocked.
//!
//! Every store and every completed command of a change is on record. Between two invalidations of a structure the SMMU may
//! have read each of its words at any time, so each word may have any of the values that it had since the first. Every
//! combination is decoded, by a decoder written here from ARM IHI 0070 G.b, 5.1 to 5.4, and judged.
#![cfg(feature = "smmuv3")]

mod smmuv3_bench;

use ioward_core::driver::{Blocked, Driver, Plan, Requirements, Slot, Translation};
use ioward_types::{Pasid, PhysAddr, Root, TableConfig, Tag};
use smmuv3_bench::*;
use std::collections::{BTreeMap, BTreeSet};

const SOURCE: u32 = 0x18;
const PASID: u32 = 5;

// ---- what the SMMU makes of what it reads ---------------------------------------------------------------------

/// What becomes of a request. Every field that has an effect is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Meaning {
    Blocked,
    Bypass { word1: u64 },
    Stage1 { word1: u64, vmid: u64, cd: [u64; 8] },
    Stage2 { word1: u64, word2: u64, word3: u64 },
    Illegal(&'static str),
}

/// Which structure a word belongs to, and so which commands make the SMMU read it anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    L1std,
    Ste,
    L1cd,
    Cd,
}

/// A value that a word had: from the step that stored it until before the step that replaced it.
#[derive(Clone, Copy)]
struct Value {
    value: u64,
    from: usize,
    until: usize,
}

/// The values that the SMMU may have for each word.
struct Possible {
    words: BTreeMap<u64, Vec<Value>>,
    /// Since which step the SMMU may hold words of each kind of structure.
    since: BTreeMap<Kind, usize>,
    /// Steps that are barriers.
    barriers: Vec<usize>,
    step: usize,
}

impl Possible {
    fn new(before: &BTreeMap<u64, u64>) -> Self {
        let word = |(&at, &value): (&u64, &u64)| (at, vec![Value { value, from: 0, until: usize::MAX }]);
        let since = [Kind::L1std, Kind::Ste, Kind::L1cd, Kind::Cd].map(|kind| (kind, 0)).into();
        Self { words: before.iter().map(word).collect(), since, barriers: vec![0], step: 0 }
    }

    fn store(&mut self, at: u64, value: u64) {
        let values = self.words.entry(at).or_default();
        if let Some(last) = values.last_mut() {
            last.until = self.step;
        }
        values.push(Value { value, from: self.step, until: usize::MAX });
    }

    /// What a word may be read as through a pointer that was stored at step `pointer`: whoever has seen the pointer has
    /// seen what was stored before the barrier before it.
    fn values(&self, kind: Kind, at: u64, pointer: usize) -> Vec<Value> {
        let barrier = self.barriers.iter().copied().filter(|&barrier| barrier <= pointer).max().unwrap_or(0);
        let floor = self.since[&kind].max(barrier);
        let values = self.words.get(&at).expect("a pointer into memory");
        let mut found: Vec<Value> = values.iter().filter(|value| value.until > floor).copied().collect();
        found.dedup_by_key(|value| value.value);
        found
    }
}

/// One way through the choices that a decoding has.
struct Choices {
    taken: Vec<(usize, usize)>,
    depth: usize,
}

impl Choices {
    fn choose(&mut self, of: usize) -> usize {
        if self.depth == self.taken.len() {
            self.taken.push((0, of));
        }
        let (chosen, _) = self.taken[self.depth];
        self.depth += 1;
        chosen
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
    possible: &'a Possible,
    choices: &'a mut Choices,
    chosen: BTreeMap<(Kind, u64), Value>,
}

impl View<'_> {
    /// Reads a word that `through` points at.
    fn read(&mut self, kind: Kind, at: u64, through: Value) -> Value {
        if let Some(&value) = self.chosen.get(&(kind, at)) {
            return value;
        }
        let value = self.read_again(kind, at, through);
        self.chosen.insert((kind, at), value);
        value
    }

    /// As another cache may hold it.
    fn read_again(&mut self, kind: Kind, at: u64, through: Value) -> Value {
        let values = self.possible.values(kind, at, through.from);
        values[self.choices.choose(values.len())]
    }
}

/// What the registers say does not change.
const REGISTER: Value = Value { value: 0, from: 0, until: usize::MAX };

struct Decoder {
    strtab: u64,
    strtab_cfg: u32,
}

impl Decoder {
    fn decode(&self, view: &mut View<'_>, pasid: Option<u32>) -> Meaning {
        let (size, split) = (self.strtab_cfg & 0x3f, self.strtab_cfg >> 6 & 0x1f);
        assert!(SOURCE < 1 << size);
        let base = self.strtab & 0x00ff_ffff_ffff_ffc0;
        let mut through = REGISTER;
        let ste = match self.strtab_cfg >> 16 & 3 {
            0 => base + u64::from(SOURCE) * 64,
            _ => {
                through = view.read(Kind::L1std, base + u64::from(SOURCE >> split) * 8, REGISTER);
                let descriptor = through.value;
                let span = descriptor & 0x1f;
                let index = u64::from(SOURCE & ((1 << split) - 1));
                if span == 0 {
                    return Meaning::Blocked;
                }
                assert!(span <= u64::from(split) + 1 && index < 1 << (span - 1));
                (descriptor & 0x00ff_ffff_ffff_ffc0) + index * 64
            }
        };
        let mut word = |n: u64| view.read(Kind::Ste, ste + 8 * n, through);
        let word0 = word(0).value;
        if word0 & 1 == 0 || word0 >> 3 & 1 == 0 {
            return Meaning::Blocked;
        }
        let word1 = word(1).value;
        for n in 4..8 {
            if word(n).value != 0 {
                return Meaning::Illegal("STE words 4 to 7");
            }
        }
        // S1DSS, S1CIR, S1COR, S1CSH, S1STALLD, STRW; and EATS, which a stream that bypasses has no use for.
        let stage_1_only = 0xff | 1 << 27 | 3 << 30;
        let eats = 3 << 28;
        match word0 >> 1 & 7 {
            0b100 if pasid.is_some() => Meaning::Illegal("a PASID where stage 1 bypasses: C_BAD_SUBSTREAMID"),
            0b100 => Meaning::Bypass { word1: word1 & !stage_1_only & !eats },
            0b110 if pasid.is_some() => Meaning::Blocked,
            0b110 => {
                Meaning::Stage2 { word1: word1 & !stage_1_only, word2: word(2).value, word3: word(3).value }
            }
            0b101 => self.stage_1(view, ste, through, word1, pasid),
            _ => Meaning::Illegal("both stages"),
        }
    }

    fn stage_1(
        &self,
        view: &mut View<'_>,
        ste: u64,
        to_ste: Value,
        word1: u64,
        pasid: Option<u32>,
    ) -> Meaning {
        let first_word = view.read(Kind::Ste, ste, to_ste);
        let word0 = first_word.value;
        let (bits, format) = (word0 >> 59, word0 >> 4 & 3);
        let word1_used = if bits == 0 { word1 & !3 } else { word1 };
        let substream = match pasid {
            Some(_) if bits == 0 => return Meaning::Blocked,
            Some(pasid) if pasid >> bits != 0 => return Meaning::Blocked,
            Some(pasid) => pasid,
            None if bits == 0 => 0,
            None => match word1 & 3 {
                0b00 => return Meaning::Blocked,
                // EATS has its say here, and what is peculiar to stage 1 has none.
                0b01 => return Meaning::Bypass { word1: word1 & !(0xff | 1 << 27 | 3 << 30) & !(3 << 28) },
                0b10 => 0,
                _ => return Meaning::Illegal("S1DSS"),
            },
        };
        // Descriptors are cached by stream and substream: one may have been found through another value of the STE that
        // the SMMU may still have had.
        let other = view.read_again(Kind::Ste, ste, to_ste);
        let through = if other.value & 0xf == 0b1011 { other } else { first_word };
        let pointer = through.value & 0x00ff_ffff_ffff_ffc0;
        assert_eq!(
            (through.value >> 59, through.value >> 4 & 3),
            (bits, format),
            "the table's shape is for good"
        );
        let split = match format {
            0b01 => 6,
            0b10 => 10,
            _ => 0,
        };
        let mut to_cd = through;
        let cd = if bits == 0 || split == 0 {
            pointer + u64::from(substream) * 64
        } else {
            to_cd = view.read(Kind::L1cd, pointer + u64::from(substream >> split) * 8, through);
            if to_cd.value & 1 == 0 {
                return Meaning::Blocked;
            }
            (to_cd.value & 0x00ff_ffff_ffff_f000) + u64::from(substream & ((1 << split) - 1)) * 64
        };
        if view.read(Kind::Cd, cd, to_cd).value >> 31 & 1 == 0 {
            return Meaning::Blocked;
        }
        let mut words: [u64; 8] =
            std::array::from_fn(|n| view.read(Kind::Cd, cd + 8 * n as u64, to_cd).value);
        if words[0] >> 30 & 1 == 1 {
            // EPD1: TTB1, T1SZ, TG1, IR1, OR1 and SH1 are not used.
            words[0] &= !0x3fff_0000;
            words[2] = 0;
        }
        // S1DSS does not matter to a request that has got here.
        let vmid = view.read(Kind::Ste, ste + 16, to_ste).value & 0xffff;
        Meaning::Stage1 { word1: word1_used & !3, vmid, cd: words }
    }
}

// ---- what a record shows ----------------------------------------------------------------------------------------

/// Which kinds of structure of the source a command makes the SMMU forget (4.3).
fn forgets(command: [u64; 2]) -> &'static [Kind] {
    let stream = command[0] >> 32;
    match command[0] & 0xff {
        0x04 if command[1] & 0x1f == 31 => &[Kind::L1std, Kind::Ste, Kind::L1cd, Kind::Cd],
        _ if stream != u64::from(SOURCE) => &[],
        0x03 if command[1] & 1 == 1 => &[Kind::Ste, Kind::L1cd, Kind::Cd],
        0x03 => &[Kind::L1std, Kind::Ste, Kind::L1cd, Kind::Cd],
        // One CD; every CD of the stream that changes is of the substream looked at, or it is CFGI_CD_ALL.
        0x05 if command[1] & 1 == 1 => &[Kind::Cd],
        0x05 | 0x06 => &[Kind::L1cd, Kind::Cd],
        _ => &[],
    }
}

/// Everything that a request may have met while `steps` happened to `before`. `skip`: the invalidation of this number is
/// taken as not issued.
fn seen(
    decoder: &Decoder,
    before: &BTreeMap<u64, u64>,
    steps: &[Step],
    pasid: Option<u32>,
    skip: Option<usize>,
) -> BTreeSet<Meaning> {
    let mut possible = Possible::new(before);
    let mut meanings = BTreeSet::new();
    let mut issued = Vec::new();
    let mut number = 0;
    for step in steps {
        possible.step += 1;
        match *step {
            Step::Store { at, new } => possible.store(at, new),
            Step::Barrier => possible.barriers.push(possible.step),
            // Nothing is sure before the CMD_SYNC.
            Step::Command(command) if command[0] & 0xff == 0x46 => {
                let kinds: BTreeSet<Kind> = issued.drain(..).flatten().copied().collect();
                if !kinds.is_empty() {
                    collect(decoder, &possible, pasid, &mut meanings);
                    possible.since.extend(kinds.iter().map(|kind| (*kind, possible.step)));
                }
            }
            Step::Command(command) => {
                // A CFGI_CD of another substream leaves the one that is looked at.
                let substream = (command[0] >> 12 & 0xf_ffff) as u32;
                let other = command[0] & 0xff == 0x05 && substream != pasid.unwrap_or(0);
                let kinds = forgets(command);
                if !kinds.is_empty() {
                    if skip != Some(number) && !other {
                        issued.push(kinds);
                    }
                    number += 1;
                }
            }
        }
    }
    collect(decoder, &possible, pasid, &mut meanings);
    meanings
}

fn collect(decoder: &Decoder, possible: &Possible, pasid: Option<u32>, into: &mut BTreeSet<Meaning>) {
    let mut choices = Choices { taken: Vec::new(), depth: 0 };
    loop {
        let mut view = View { possible, choices: &mut choices, chosen: BTreeMap::new() };
        into.insert(decoder.decode(&mut view, pasid));
        if !choices.advance() {
            return;
        }
    }
}

// ---- the transitions --------------------------------------------------------------------------------------------

/// What an entry may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Blocked,
    Identity,
    Stage1(u8),
    Stage2(u8),
    Foreign2,
}

const ALL: [Held; 7] = [
    Held::Blocked,
    Held::Identity,
    Held::Stage1(0),
    Held::Stage1(1),
    Held::Stage2(0),
    Held::Stage2(1),
    Held::Foreign2,
];

struct Machine {
    bench: Bench,
    smmu: Smmu,
    slot: Slot,
    decoder: Decoder,
    configs: BTreeMap<bool, TableConfig>,
    tags: BTreeMap<(bool, u8), Tag>,
}

impl Machine {
    fn new(ids: Ids, pasid_bits: u8, ats: bool) -> Self {
        let (bench, registers, smmu) = bring_up(ids);
        let decoder =
            Decoder { strtab: registers.peek64(STRTAB_BASE), strtab_cfg: registers.peek(STRTAB_BASE_CFG) };
        let slot = claim(&smmu, SOURCE, pasid_bits, ats);
        let mut configs = BTreeMap::new();
        let mut tags = BTreeMap::new();
        for second in [false, true] {
            let wish = Requirements { pasid_bits: (!second).into(), ..Requirements::default() };
            let plan = smmu.plan(&wish).expect("both stages are there");
            let Plan::Tables(config) = plan else { panic!("tables") };
            configs.insert(second, config);
            for n in 0..3 {
                tags.insert((second, n), smmu.tag(&plan).expect("tags are free"));
            }
        }
        Self { bench, smmu, slot, decoder, configs, tags }
    }

    fn root(second: bool, n: u8) -> Root {
        Root {
            at: PhysAddr(0x5000_0000 + u64::from(n) * 0x10_0000 + u64::from(second) * 0x100_0000),
            levels: 4,
        }
    }

    fn put(&self, pasid: Option<u32>, held: Held) {
        let pasid = pasid.map(Pasid);
        let (second, n, foreign) = match held {
            Held::Blocked => {
                assert_eq!(self.smmu.block(&self.slot, pasid), Blocked::Confirmed);
                return;
            }
            Held::Identity => {
                return self.smmu.install(&self.slot, pasid, &Translation::Identity).expect("identity");
            }
            Held::Stage1(n) => (false, n, false),
            Held::Stage2(n) => (true, n, false),
            Held::Foreign2 => (true, 2, true),
        };
        let (root, config, tag) = (Self::root(second, n), &self.configs[&second], self.tags[&(second, n)]);
        let what = if foreign {
            Translation::Foreign { root, config, tag }
        } else {
            Translation::Table { root, config, tag }
        };
        self.smmu.install(&self.slot, pasid, &what).expect("a table that fits");
    }

    fn meaning(&self, pasid: Option<u32>) -> Meaning {
        let found = seen(&self.decoder, &self.bench.all(), &[], pasid, None);
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }
}

/// Changes `change` from `from` to `to` while `watched` looks on, and tells whether it ever saw blocked.
fn transition(machine: &Machine, change: Option<u32>, to: Held, watched: Option<u32>) -> Observed {
    let old = machine.meaning(watched);
    let before = machine.bench.all();
    machine.bench.take_steps();
    machine.put(change, to);
    let steps = machine.bench.take_steps();
    let new = machine.meaning(watched);
    // Frames that were handed out meanwhile were zero.
    let mut before = before;
    machine.bench.all().keys().for_each(|&at| {
        before.entry(at).or_insert(0);
    });
    let seen = |skip| seen(&machine.decoder, &before, &steps, watched, skip);
    let right = |seen: &BTreeSet<Meaning>| {
        seen.iter().all(|meaning| [&old, &new, &Meaning::Blocked].contains(&meaning))
    };
    let all = seen(None);
    let new_alone = BTreeSet::from([new.clone()]);
    let stores: Vec<Step> = steps.iter().filter(|step| matches!(step, Step::Store { .. })).copied().collect();
    let count = |steps: &[Step]| {
        steps.iter().filter(|step| matches!(step, Step::Command(c) if !forgets(*c).is_empty())).count()
    };
    Observed {
        right: right(&all),
        blocked: all.contains(&Meaning::Blocked),
        settled: seen_at_end(&machine.decoder, &before, &steps, watched) == new_alone,
        needed: (0..count(&steps)).map(|n| !right(&seen(Some(n)))).collect(),
        needed_at_end: seen_at_end(&machine.decoder, &before, &stores, watched) != new_alone,
        seen: all,
        old,
        new,
    }
}

/// What a request may still meet once everything has happened.
fn seen_at_end(
    decoder: &Decoder,
    before: &BTreeMap<u64, u64>,
    steps: &[Step],
    pasid: Option<u32>,
) -> BTreeSet<Meaning> {
    let mut possible = Possible::new(before);
    let mut issued = Vec::new();
    for step in steps {
        possible.step += 1;
        match *step {
            Step::Store { at, new } => possible.store(at, new),
            Step::Barrier => possible.barriers.push(possible.step),
            Step::Command(command) if command[0] & 0xff == 0x46 => {
                let kinds: BTreeSet<Kind> = issued.drain(..).flatten().copied().collect();
                possible.since.extend(kinds.iter().map(|kind| (*kind, possible.step)));
            }
            Step::Command(command) => {
                let other =
                    command[0] & 0xff == 0x05 && (command[0] >> 12 & 0xf_ffff) as u32 != pasid.unwrap_or(0);
                if !other {
                    issued.push(forgets(command));
                }
            }
        }
    }
    let mut meanings = BTreeSet::new();
    collect(decoder, &possible, pasid, &mut meanings);
    meanings
}

struct Observed {
    /// Nothing but old, new and blocked was to be seen.
    right: bool,
    blocked: bool,
    /// At the end nothing but new is left.
    settled: bool,
    /// For each invalidation: without it something else could have been seen.
    needed: Vec<bool>,
    /// Without any invalidation something old could be seen at the end.
    needed_at_end: bool,
    seen: BTreeSet<Meaning>,
    old: Meaning,
    new: Meaning,
}

impl Observed {
    fn check(&self, what: &str) {
        assert!(self.right, "{what}: {:#x?}\nold {:#x?}\nnew {:#x?}", self.seen, self.old, self.new);
        assert!(self.settled, "{what}: something old is left");
        if self.old != self.new {
            assert!(self.needed_at_end, "{what}: the check does not notice a missing invalidation");
        }
    }

    /// Whether a request could have been blocked although neither the old nor the new entry blocks.
    fn hit(&self) -> bool {
        self.blocked && self.old != Meaning::Blocked && self.new != Meaning::Blocked
    }
}

#[test]
fn a_source_without_pasids_changes_hitlessly() {
    let mut mixtures = 0;
    for ats in [false, true] {
        let machine = Machine::new(Ids::LARGE, 0, ats);
        for from in ALL {
            for to in ALL {
                machine.put(None, from);
                let seen = transition(&machine, None, to, None);
                let what = format!("{from:?} to {to:?}, ATS {ats}");
                seen.check(&what);
                mixtures += seen.needed.iter().filter(|needed| **needed).count();
                assert!(!seen.hit(), "{what}: a request could be blocked on the way");
            }
        }
    }
    // Had one invalidation between two steps been left out, the check would have seen it.
    assert!(mixtures >= 10, "{mixtures}");
}

#[test]
fn with_linear_tables_a_change_of_two_words_passes_through_blocked() {
    let machine = Machine::new(Ids::LINEAR, 0, false);
    let mut hits = 0;
    for from in ALL {
        for to in ALL {
            machine.put(None, from);
            let seen = transition(&machine, None, to, None);
            seen.check(&format!("{from:?} to {to:?}"));
            hits += u32::from(seen.hit());
        }
    }
    // Between five tables of which two are of stage 1: all but those two among themselves and a table to itself.
    assert_eq!(hits, 5 * 5 - 5 - 2);
}

#[test]
fn without_memory_for_a_copy_a_change_passes_through_blocked() {
    let machine = Machine::new(Ids::LARGE, 0, false);
    machine.put(None, Held::Stage1(0));
    for from in ALL {
        for to in ALL {
            machine.bench.set_budget(100);
            machine.put(None, from);
            machine.bench.set_budget(0);
            transition(&machine, None, to, None).check(&format!("{from:?} to {to:?}"));
        }
    }
}

#[test]
fn a_source_with_pasids_changes_hitlessly_and_leaves_its_pasids_alone() {
    for (ids, bits) in [(Ids::LARGE, 10), (Ids::LARGE, 6), (Ids::LINEAR, 4)] {
        let machine = Machine::new(ids, bits, true);
        let held = [Held::Identity, Held::Stage1(0), Held::Stage1(1)];
        for from in held {
            for to in held {
                machine.put(None, from);
                machine.put(Some(PASID), Held::Stage1(2));
                let what = format!("{from:?} to {to:?}, {bits} bits");
                let seen = transition(&machine, None, to, None);
                seen.check(&what);
                assert!(!seen.hit(), "{what}: a request could be blocked on the way");
                machine.put(None, from);
                let old = machine.meaning(Some(PASID));
                let seen = transition(&machine, None, to, Some(PASID));
                assert!(seen.right && seen.settled && !seen.hit(), "{what}: {:#x?}", seen.seen);
                assert_eq!((&seen.old, &seen.new), (&old, &old));
            }
        }
    }
}

#[test]
fn a_pasid_changes_hitlessly_and_leaves_its_source_alone() {
    for (ids, bits) in [(Ids::LARGE, 10), (Ids::LARGE, 6), (Ids::LINEAR, 4)] {
        for source in [Held::Blocked, Held::Identity, Held::Stage1(0)] {
            let held = [Held::Blocked, Held::Stage1(1), Held::Stage1(2)];
            for from in held {
                for to in held {
                    let machine = Machine::new(ids, bits, false);
                    machine.put(None, source);
                    machine.put(Some(PASID), from);
                    let what = format!("{source:?}: {from:?} to {to:?}, {bits} bits");
                    let seen = transition(&machine, Some(PASID), to, Some(PASID));
                    seen.check(&what);
                    assert!(!seen.hit(), "{what}: a request could be blocked on the way");
                    machine.put(Some(PASID), from);
                    let seen = transition(&machine, Some(PASID), to, None);
                    assert!(seen.right && seen.settled && !seen.hit(), "{what}: {:#x?}", seen.seen);
                    assert_eq!(seen.old, seen.new, "{what}");
                }
            }
        }
    }
}

#[test]
fn blocking_a_source_blocks_its_pasids() {
    let machine = Machine::new(Ids::LARGE, 10, true);
    for source in [Held::Blocked, Held::Identity, Held::Stage1(0)] {
        machine.put(None, source);
        machine.put(Some(PASID), Held::Stage1(1));
        assert_ne!(machine.meaning(Some(PASID)), Meaning::Blocked);
        transition(&machine, None, Held::Blocked, Some(PASID)).check("blocked");
        machine.put(None, Held::Stage1(0));
        assert_eq!(machine.meaning(Some(PASID)), Meaning::Blocked, "a PASID came back by itself");
    }
}

/// The checks above can fail: the same change written the obvious way is caught.
#[test]
fn a_naive_update_is_caught() {
    let machine = Machine::new(Ids::LARGE, 0, false);
    machine.put(None, Held::Stage2(0));
    let before = machine.bench.all();
    machine.put(None, Held::Stage1(0));
    let after = machine.bench.all();
    let find = |memory: &BTreeMap<u64, u64>| {
        let l1 = machine.decoder.strtab & 0x00ff_ffff_ffff_ffc0;
        (memory[&l1] & 0x00ff_ffff_ffff_ffc0) + u64::from(SOURCE) * 64
    };
    let (old, new) = (find(&before), find(&after));
    let mut start = before;
    after.keys().for_each(|&at| {
        start.entry(at).or_insert(after[&at]);
    });
    let (from, to) = (machine.decoder.decode_one(&start), machine.meaning(None));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
        let mut steps: Vec<Step> =
            order.iter().map(|n| Step::Store { at: old + 8 * n, new: after[&(new + 8 * n)] }).collect();
        steps.push(Step::Command([u64::from(SOURCE) << 32 | 0x03, 0]));
        steps.push(Step::Command([0x46, 0]));
        let seen = seen(&machine.decoder, &start, &steps, None, None);
        assert!(
            seen.iter().any(|meaning| ![&from, &to, &Meaning::Blocked].contains(&meaning)),
            "order {order:?} should show a mixture"
        );
    }
}

impl Decoder {
    fn decode_one(&self, memory: &BTreeMap<u64, u64>) -> Meaning {
        let found = seen(self, memory, &[], None, None);
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }
}
