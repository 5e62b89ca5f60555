//! A walk step by step, for display: of a table of ours, or of memory that nobody vouches for.

use crate::{
    format::{Format, Kind},
    formats::with_format,
    mem::{Mem, Node},
    table::Table,
};
use core::{fmt, ops::Deref};
use ioward_types::{Attributes, Iova, PhysAddr, Root, TableConfig};

/// Memory that can only be read, and perhaps not even that: a crashed kernel's, a guest's, a dump.
pub trait ReadMemory {
    /// The 64-bit number at `at`, a multiple of 8, little-endian; `None` where there is no memory.
    fn read64(&self, at: PhysAddr) -> Option<u64>;
}

impl<R: ReadMemory + ?Sized> ReadMemory for &R {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        (**self).read64(at)
    }
}

/// Why a walk cannot even begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WalkError {
    /// The engine does not know the format, or not with this granule.
    Format(TableConfig),
    /// The root's levels do not go with the format and the input width.
    Levels {
        /// The root's.
        levels: u8,
        /// The table's input width.
        in_bits: u8,
    },
    /// The IOVA is outside the input range.
    Input {
        /// The IOVA.
        at: Iova,
        /// The table's input width.
        in_bits: u8,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(config) => write!(f, "no tables like {config} with {:#x} bytes", config.granule()),
            Self::Levels { levels, in_bits } => write!(f, "{levels} levels cannot translate {in_bits} bits"),
            Self::Input { at, in_bits } => write!(f, "{at} is outside the {in_bits}-bit input range"),
        }
    }
}
impl core::error::Error for WalkError {}

/// What an entry means for the IOVA walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// Nothing: hardware faults.
    Absent,
    /// The walk goes on.
    Table {
        /// In this table.
        at: PhysAddr,
        /// Of this level, as [`Step::level`].
        level: u8,
    },
    /// The walk has arrived.
    Page {
        /// Where this IOVA leads, to the byte.
        to: PhysAddr,
        /// Bytes of the page.
        bytes: u64,
        /// What it allows, as far as the entries above allow it too.
        attributes: Attributes,
    },
    /// The specification has no such entry: what hardware does is up to it.
    Malformed(&'static str),
    /// There is no memory where the entry should be.
    Unreadable,
}

/// One entry on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Of the table that holds it: 1 for tables of smallest pages, counting up to the root.
    pub level: u8,
    /// The table that holds it.
    pub table: PhysAddr,
    /// Its place there, in entries.
    pub index: u32,
    /// The entry; zero where it cannot be read.
    pub raw: u64,
    /// What it means.
    pub meaning: Meaning,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {} table {} [{}] = {:#018x}: ", self.level, self.table, self.index, self.raw)?;
        match self.meaning {
            Meaning::Absent => f.write_str("absent"),
            Meaning::Table { at, level } => write!(f, "table {at} of level {level}"),
            Meaning::Page { to, bytes, attributes: how } => {
                let flag = |set, name| if set { name } else { '-' };
                let (r, w, x) = (flag(how.read, 'r'), flag(how.write, 'w'), flag(how.execute, 'x'));
                write!(f, "{to} in a page of {bytes:#x} bytes, {r}{w}{x}")?;
                for (set, name) in
                    [(how.privileged, " privileged"), (how.coherent, " coherent"), (how.mmio, " mmio")]
                {
                    f.write_str(if set { name } else { "" })?;
                }
                Ok(())
            }
            Meaning::Malformed(why) => write!(f, "malformed, {why}"),
            Meaning::Unreadable => f.write_str("unreadable"),
        }
    }
}

/// No format has more levels.
const MOST: usize = 6;

/// The entries from the root to where the walk ended: one at least, the last one being no [`Meaning::Table`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    steps: [Step; MOST],
    taken: usize,
}

impl Deref for Walk {
    type Target = [Step];
    fn deref(&self) -> &[Step] {
        &self.steps[..self.taken]
    }
}

impl Walk {
    /// What the last entry means.
    pub fn end(&self) -> Meaning {
        self.last().map_or(Meaning::Absent, |step| step.meaning)
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Walks `at` through a table in any memory. It reads at most one entry a level, whatever the memory holds; the result is
/// what the format's specification makes of it.
pub fn walk<R: ReadMemory>(
    memory: &R,
    config: &TableConfig,
    root: Root,
    at: Iova,
) -> Result<Walk, WalkError> {
    let entry = |table: PhysAddr, index: usize| {
        let entry = table.0.checked_add(index as u64 * 8)?;
        memory.read64(PhysAddr(entry))
    };
    with_format!(config, F => steps::<F>(entry, config, root, at), Err(WalkError::Format(*config)))
}

fn steps<F: Format>(
    entry: impl Fn(PhysAddr, usize) -> Option<u64>,
    config: &TableConfig,
    root: Root,
    at: Iova,
) -> Result<Walk, WalkError> {
    let (levels, in_bits) = (u32::from(root.levels), config.in_bits);
    let full = F::GRANULE_SHIFT + levels * F::INDEX_BITS;
    let fits = (1..=MOST as u32).contains(&levels)
        && (1..=64).contains(&in_bits)
        && u32::from(in_bits) <= full + F::ROOT_EXTRA_BITS;
    if !fits {
        return Err(WalkError::Levels { levels: root.levels, in_bits });
    }
    let mask = u64::MAX >> (64 - in_bits);
    let canonical = F::SIGN_EXTENDED && u32::from(in_bits) == full;
    let inside = match canonical {
        true => ((at.0 << (64 - full)) as i64 >> (64 - full)) as u64 == at.0,
        false => at.0 & !mask == 0,
    };
    if !inside {
        return Err(WalkError::Input { at, in_bits });
    }
    let nothing = Step { level: 0, table: PhysAddr(0), index: 0, raw: 0, meaning: Meaning::Unreadable };
    let mut walk = Walk { steps: [nothing; MOST], taken: 0 };
    // What is left of the IOVA: the root's index is whatever stands above its entries' bits.
    let mut rest = at.0 & mask;
    let (mut table, mut level) = (root.at, levels - 1);
    let mut allowed =
        Attributes { read: true, write: true, execute: true, privileged: false, ..Attributes::READ_WRITE };
    // At most `levels` rounds: a link's level is below its own.
    while walk.taken < MOST {
        let shift = F::entry_shift(level);
        let index = rest.checked_shr(shift).unwrap_or(0) as usize;
        let below = 1u64.checked_shl(shift).map_or(u64::MAX, |entry| entry - 1);
        let read = entry(table, index);
        let raw = read.unwrap_or(0);
        let meaning = match read.map(|raw| F::kind(raw, level)) {
            None => Meaning::Unreadable,
            Some(Kind::Absent) => Meaning::Absent,
            Some(Kind::Malformed(why)) => Meaning::Malformed(why),
            Some(Kind::Leaf { shift: page }) => {
                let offset = at.0 & ((1 << page.min(63)) - 1);
                let attributes = meet(F::decode(raw), allowed);
                Meaning::Page {
                    to: PhysAddr(F::leaf_target(raw, level).0 | offset),
                    bytes: 1 << page,
                    attributes,
                }
            }
            Some(Kind::Link { level: next }) if next < level => {
                // Levels may be left out where their index would be zero.
                let spanned = 1u64.checked_shl(F::entry_shift(next + 1)).map_or(u64::MAX, |span| span - 1);
                if rest & below & !spanned != 0 {
                    Meaning::Malformed("the IOVA is beyond what the next table spans")
                } else {
                    allowed = F::restrict(raw, allowed);
                    Meaning::Table { at: F::link_target(raw), level: next as u8 + 1 }
                }
            }
            Some(Kind::Link { .. }) => Meaning::Malformed("the next level is not below its own"),
        };
        walk.steps[walk.taken] = Step { level: level as u8 + 1, table, index: index as u32, raw, meaning };
        walk.taken += 1;
        let Meaning::Table { at: next, level: up } = meaning else { break };
        (table, level) = (next, u32::from(up) - 1);
        rest &= below;
    }
    Ok(walk)
}

fn meet(leaf: Attributes, above: Attributes) -> Attributes {
    Attributes {
        read: leaf.read && above.read,
        write: leaf.write && above.write,
        execute: leaf.execute && above.execute,
        privileged: leaf.privileged || above.privileged,
        ..leaf
    }
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Walks `at` step by step, for display; [`Table::lookup`] is the short way. As there, what a call that runs at the same
    /// time unmaps must not be freed meanwhile.
    pub fn walk(&self, at: Iova) -> Result<Walk, WalkError> {
        let entry = |table, index| {
            // SAFETY: the root, or what a link of a live table of ours leads to.
            Some(unsafe { Node::at(table) }.load(&self.mem, index))
        };
        steps::<F>(entry, &self.config(), self.root(), at)
    }
}
