//! What a walk shows.

use super::{
    entry::{self, Origin, Plan, Stage},
    flags,
};
use ioward_pgtable::{Meaning, ReadMemory, Walk, WalkError};
use ioward_types::{Attributes, Format, Iova, PhysAddr};
use serde::{Serialize, Serializer};

fn hex<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{number:#x}"))
}

fn hexes<S: Serializer>(numbers: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(numbers.iter().map(|number| format!("{number:#018x}")))
}

/// Everything that was read on the way, and where the way ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The address that a device issues.
    #[serde(serialize_with = "hex")]
    pub iova: u64,
    /// Structures that say which tables are walked, in the order in which hardware reads them.
    pub lookups: Vec<Lookup>,
    /// Walks of tables: none, one, or the first stage's and the second's.
    pub walks: Vec<StageWalk>,
    /// Where the way ended.
    pub end: End,
}

/// A structure that was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Lookup {
    /// What, in the specification's words.
    pub what: String,
    /// Where it lies. Behind a second stage, as that stage's input.
    #[serde(serialize_with = "hex")]
    pub at: u64,
    /// Its 64-bit words; none where there is no memory.
    #[serde(serialize_with = "hexes")]
    pub words: Vec<u64>,
    /// What it says, a statement each.
    pub says: Vec<String>,
}

/// A walk of one table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StageWalk {
    /// The format with its widths.
    pub format: String,
    /// The root table.
    #[serde(serialize_with = "hex")]
    pub root: u64,
    /// How many levels it has.
    pub levels: u8,
    /// The address that is translated.
    #[serde(serialize_with = "hex")]
    pub input: u64,
    /// The entries, from the root down.
    pub steps: Vec<Step>,
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// The level of its table: 1 for tables of smallest pages, counting up to the root.
    pub level: u8,
    /// What the specification calls an entry or a table of that level.
    pub called: &'static str,
    /// Its place in its table, in entries.
    pub index: u32,
    /// Where it lies. Behind a second stage, as that stage's input.
    #[serde(serialize_with = "hex")]
    pub at: u64,
    /// What it holds; none where there is no memory.
    #[serde(serialize_with = "raw")]
    pub raw: Option<u64>,
    /// Its bits by their names.
    pub flags: Vec<String>,
    /// What it means, in words.
    pub meaning: String,
}

fn raw<S: Serializer>(raw: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    raw.map(|raw| format!("{raw:#018x}")).serialize(to)
}

/// Where the way ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum End {
    /// At memory.
    Page {
        /// The physical address, to the byte.
        #[serde(serialize_with = "hex")]
        to: u64,
        /// The bytes of the page; of two stages those of the smaller one.
        #[serde(serialize_with = "hex")]
        bytes: u64,
        /// It may be read.
        read: bool,
        /// It may be written.
        write: bool,
        /// Instructions may be fetched from it.
        execute: bool,
        /// Only by privileged requests.
        privileged: bool,
    },
    /// At the address itself: nothing translates it.
    Passes {
        /// It may be read.
        read: bool,
        /// It may be written.
        write: bool,
    },
    /// In a fault, or in something that hardware need not make sense of.
    Fault {
        /// Why.
        why: String,
    },
    /// Where this program cannot tell.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Memory as the first stage sees it: behind the second, where there is one.
pub(super) struct Behind<'m> {
    pub memory: &'m dyn ReadMemory,
    pub second: Option<Stage>,
}

impl ReadMemory for Behind<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let Some(second) = &self.second else { return self.memory.read64(at) };
        match ioward_pgtable::walk(&self.memory, &second.config, second.root, Iova(at.0)).ok()?.end() {
            Meaning::Page { to, attributes, .. } if attributes.read => self.memory.read64(to),
            _ => None,
        }
    }
}

/// Walks `iova` from `origin`. It never fails: what cannot be read or makes no sense is where the walk ends.
pub fn walk(memory: &dyn ReadMemory, origin: &Origin, iova: Iova) -> Report {
    let mut report = Report {
        iova: iova.0,
        lookups: Vec::new(),
        walks: Vec::new(),
        end: End::Unknown { why: String::new() },
    };
    let plan = entry::plan(memory, origin, iova, &mut report.lookups);
    report.end = match plan {
        Plan::Ends(end) => end,
        Plan::Tables { first, second, allowed } => {
            tables(memory, first, second, allowed, iova, &mut report.walks)
        }
    };
    report
}

fn tables(
    memory: &dyn ReadMemory,
    first: Option<Stage>,
    second: Option<Stage>,
    allowed: Attributes,
    iova: Iova,
    walks: &mut Vec<StageWalk>,
) -> End {
    let (mut at, mut end) = (iova, None);
    let behind = Behind { memory, second };
    for (stage, memory) in [(first, &behind as &dyn ReadMemory), (second, memory)] {
        let Some(stage) = stage else { continue };
        // A half of the address space has a table of its own, which counts from zero.
        let input = Iova(at.0 & stage.mask);
        let walked = ioward_pgtable::walk(&memory, &stage.config, stage.root, input);
        let (shown, ended) = one(&stage, input, walked);
        walks.push(shown);
        match ended {
            Ok((to, bytes, how)) => {
                at = Iova(to.0);
                let (least, both) =
                    end.map_or((bytes, how), |(least, above)| (bytes.min(least), meet(how, above)));
                end = Some((least, both));
            }
            Err(why) => {
                let stage = if second.is_some() && first.is_some() {
                    format!("{}: ", stage.config.format)
                } else {
                    String::new()
                };
                return End::Fault { why: format!("{stage}{why}") };
            }
        }
    }
    match end {
        Some((bytes, how)) => {
            let Attributes { read, write, execute, privileged, .. } = meet(how, allowed);
            End::Page { to: at.0, bytes, read, write, execute, privileged }
        }
        None => End::Passes { read: allowed.read, write: allowed.write },
    }
}

fn meet(one: Attributes, other: Attributes) -> Attributes {
    Attributes {
        read: one.read && other.read,
        write: one.write && other.write,
        execute: one.execute && other.execute,
        privileged: one.privileged || other.privileged,
        ..one
    }
}

type Ended = Result<(PhysAddr, u64, Attributes), String>;

fn one(stage: &Stage, input: Iova, walked: Result<Walk, WalkError>) -> (StageWalk, Ended) {
    let format = stage.config.format;
    let mut shown = StageWalk {
        format: format!("{}, {} KiB granule", stage.config, stage.config.granule() >> 10),
        root: stage.root.at.0,
        levels: stage.root.levels,
        input: input.0,
        steps: Vec::new(),
    };
    let walked = match walked {
        Ok(walked) => walked,
        Err(error) => return (shown, Err(error.to_string())),
    };
    for step in walked.iter() {
        let unreadable = step.meaning == Meaning::Unreadable;
        let is_leaf = matches!(step.meaning, Meaning::Page { .. });
        shown.steps.push(Step {
            level: step.level,
            called: called(format, step.level),
            index: step.index,
            at: step.table.0.wrapping_add(u64::from(step.index) * 8),
            raw: (!unreadable).then_some(step.raw),
            flags: if unreadable { Vec::new() } else { flags::names(format, step.raw, is_leaf) },
            meaning: meaning(step.meaning),
        });
    }
    let ended = match walked.end() {
        Meaning::Page { to, bytes, attributes } => match walked.last() {
            Some(step) => match flags::stops(format, step.raw) {
                Some(why) => Err(why.to_owned()),
                None => Ok((to, bytes, attributes)),
            },
            None => Ok((to, bytes, attributes)),
        },
        Meaning::Absent => Err(format!("the entry of level {} is not valid", level(&walked))),
        Meaning::Malformed(why) => Err(format!("the entry of level {} is malformed: {why}", level(&walked))),
        Meaning::Unreadable => {
            Err(format!("there is no memory where the entry of level {} should be", level(&walked)))
        }
        // The engine ends no walk in a link.
        Meaning::Table { .. } => Err("more levels than any format has".to_owned()),
    };
    (shown, ended)
}

fn level(walked: &Walk) -> u8 {
    walked.last().map_or(0, |step| step.level)
}

fn meaning(meaning: Meaning) -> String {
    match meaning {
        Meaning::Absent => "not valid".into(),
        Meaning::Table { at, level } => format!("table of level {level} at {at}"),
        Meaning::Page { to, bytes, attributes } => {
            let flag = |set, name| if set { name } else { '-' };
            format!(
                "page of {} at {to}, {}{}{}",
                crate::tables::size(bytes.into()),
                flag(attributes.read, 'r'),
                flag(attributes.write, 'w'),
                flag(attributes.execute, 'x')
            )
        }
        Meaning::Malformed(why) => format!("malformed: {why}"),
        Meaning::Unreadable => "there is no memory".into(),
    }
}

/// What specifications call a level.
fn called(format: Format, level: u8) -> &'static str {
    const X86: [&str; 5] = ["PTE", "PDE", "PDPTE", "PML4E", "PML5E"];
    const ARM: [&str; 5] = ["level 3", "level 2", "level 1", "level 0", "level -1"];
    const RISCV: [&str; 5] = ["level 0", "level 1", "level 2", "level 3", "level 4"];
    const AMD: [&str; 6] = ["level 1", "level 2", "level 3", "level 4", "level 5", "level 6"];
    const VTD: [&str; 5] = ["SS-PTE", "SS-PDE", "SS-PDPTE", "SS-PML4E", "SS-PML5E"];
    let names: &[&str] = match format {
        Format::AmdV2 | Format::VtdFirst => &X86,
        Format::VtdSecond => &VTD,
        Format::ArmStage1 | Format::ArmStage2 => &ARM,
        Format::RiscvFirst | Format::RiscvSecond => &RISCV,
        _ => &AMD,
    };
    names.get(usize::from(level).wrapping_sub(1)).copied().unwrap_or("")
}
