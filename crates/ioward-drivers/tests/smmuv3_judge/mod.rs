//! What the SMMU may make of entries while they change: a decoder written from ARM IHI 0070 G.b, 5.1 to 5.4, and every
//! combination of values that words may be read with.
#![allow(dead_code)]

use crate::smmuv3_bench::Step;
use std::collections::{BTreeMap, BTreeSet};

/// The source that is looked at.
pub const SOURCE: u32 = 0x18;

// ---- what the SMMU makes of what it reads ---------------------------------------------------------------------

/// What becomes of a request. Every field that has an effect is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Meaning {
    Blocked,
    Bypass { word1: u64 },
    Stage1 { word1: u64, vmid: u64, cd: [u64; 8] },
    Stage2 { word1: u64, word2: u64, word3: u64 },
    Illegal(&'static str),
}

/// Which structure a word belongs to, and so which commands make the SMMU read it anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
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
struct Possible<'a> {
    before: &'a BTreeMap<u64, u64>,
    /// Of words that were stored to.
    words: BTreeMap<u64, Vec<Value>>,
    /// Since which step the SMMU may hold words of each kind of structure.
    since: BTreeMap<Kind, usize>,
    /// Steps that are barriers.
    barriers: Vec<usize>,
    step: usize,
}

impl<'a> Possible<'a> {
    fn new(before: &'a BTreeMap<u64, u64>) -> Self {
        let since = [Kind::L1std, Kind::Ste, Kind::L1cd, Kind::Cd].map(|kind| (kind, 0)).into();
        Self { before, words: BTreeMap::new(), since, barriers: vec![0], step: 0 }
    }

    fn first(&self, at: u64) -> Option<Value> {
        self.before.get(&at).map(|&value| Value { value, from: 0, until: usize::MAX })
    }

    fn store(&mut self, at: u64, value: u64) {
        let first = self.first(at);
        let values = self.words.entry(at).or_insert_with(|| first.into_iter().collect());
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
        let Some(values) = self.words.get(&at) else {
            return vec![self.first(at).expect("a pointer into memory")];
        };
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
    possible: &'a Possible<'a>,
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

pub struct Decoder {
    pub strtab: u64,
    pub strtab_cfg: u32,
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
pub fn forgets(command: [u64; 2]) -> &'static [Kind] {
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
pub fn seen(
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

fn collect(decoder: &Decoder, possible: &Possible<'_>, pasid: Option<u32>, into: &mut BTreeSet<Meaning>) {
    let mut choices = Choices { taken: Vec::new(), depth: 0 };
    loop {
        let mut view = View { possible, choices: &mut choices, chosen: BTreeMap::new() };
        into.insert(decoder.decode(&mut view, pasid));
        if !choices.advance() {
            return;
        }
    }
}

/// What a request may still meet once everything has happened.
pub fn seen_at_end(
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

impl Decoder {
    pub fn decode_one(&self, memory: &BTreeMap<u64, u64>) -> Meaning {
        let found = seen(self, memory, &[], None, None);
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }
}
