//! A walker of its own: each format decoded from literal positions, with nothing of the engine's and nothing of
//! `ioward-spec`'s. It judges what the engine writes, and takes no bit on trust: whatever hardware would reject, or the
//! engine has no reason to write, is told as wrong.
#![allow(dead_code)]

use super::cases::sign_extended;
use ioward_types::{Format, Root, TableConfig};

/// What hardware finds at one IOVA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    Nothing,
    Page(Page),
}

/// A page, as its entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Where the very byte is.
    pub to: u64,
    pub bytes: u64,
    /// Entries that make the page, neighbours in one table.
    pub entries: u64,
    /// Place of the entry found.
    pub entry: u64,
    pub raw: u64,
    pub rights: Rights,
    pub memory: Memory,
    /// Marks of access; where hardware does not set them, it must not miss them either.
    pub accessed: bool,
    pub dirty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    /// `None`: the format, or this table of it, has no say.
    pub execute: Option<bool>,
    /// For privileged requests only.
    pub privileged: bool,
}

/// How memory is reached, as far as the entry decides that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    Coherent,
    NotCoherent,
    Device,
    /// Not coherent or device: the format does not tell which.
    NotForced,
    /// The format has no say.
    Open,
}

/// What one entry is.
enum Entry {
    Absent,
    /// The address of a table of the next level.
    Table(u64),
    Page {
        /// First byte of the page.
        at: u64,
        shift: u32,
        rights: Rights,
        memory: Memory,
        accessed: bool,
        dirty: bool,
    },
}

type Decoded = Result<Entry, &'static str>;

fn bit(raw: u64, n: u32) -> bool {
    raw >> n & 1 != 0
}

fn bits(raw: u64, high: u32, low: u32) -> u64 {
    raw >> low & (u64::MAX >> (63 - (high - low)))
}

/// Geometry: base-2 logarithm of the granule.
fn granule(config: &TableConfig) -> u32 {
    config.page_sizes.trailing_zeros()
}

/// Base-2 logarithm of what an entry of `level` spans; zero is the lowest level.
fn span(config: &TableConfig, level: u32) -> u32 {
    granule(config) + level * (granule(config) - 3)
}

/// Whether hardware lets this IOVA in, and the index bits of it.
fn index_bits(config: &TableConfig, at: u64) -> Option<u64> {
    if sign_extended(config) {
        let sign = u32::from(config.in_bits) - 1;
        let upper = at >> sign;
        let legal = upper == 0 || upper == u64::MAX >> sign;
        return legal.then(|| at & ((2 << sign) - 1));
    }
    (config.in_bits == 64 || at >> config.in_bits == 0).then_some(at)
}

/// Walks `at`, reading memory through `read`. `Err` says what is wrong and where.
pub fn judge(
    config: &TableConfig,
    root: Root,
    at: u64,
    read: impl Fn(u64) -> Option<u64>,
) -> Result<Found, String> {
    let found = judge_entry(config, root, at, &read)?;
    if let Found::Page(page) = found {
        check_set(config, &page, read).map_err(|why| format!("{at:#x}: {page:#x?}: {why}"))?;
    }
    Ok(found)
}

/// As [`judge`], but of a page of several entries it looks at one alone: while a set is split, they differ.
pub fn judge_entry(
    config: &TableConfig,
    root: Root,
    at: u64,
    read: impl Fn(u64) -> Option<u64>,
) -> Result<Found, String> {
    let Some(index) = index_bits(config, at) else { return Ok(Found::Nothing) };
    let (mut table, mut level) = (root.at.0, u32::from(root.levels) - 1);
    let mut rest = index;
    loop {
        let below = span(config, level);
        let entry = table + (rest >> below) * 8;
        let wrong =
            |raw: u64, why: &str| Err(format!("{at:#x}: {raw:#018x} at {entry:#x}, level {level}: {why}"));
        let Some(raw) = read(entry) else { return wrong(0, "no memory, or never written back") };
        rest &= (1 << below) - 1;
        match decode(config, raw, level) {
            Err(why) => return wrong(raw, why),
            Ok(Entry::Absent) => return Ok(Found::Nothing),
            Ok(Entry::Table(next)) => {
                if next % (1 << granule(config)) != 0 {
                    return wrong(raw, "a table that is not aligned");
                }
                (table, level) = (next, level - 1);
            }
            Ok(Entry::Page { at: page, shift, rights, memory, accessed, dirty }) => {
                let bytes = 1u64 << shift;
                let entries = bytes >> below;
                if page % bytes != 0 {
                    return wrong(raw, "a page that is not aligned to its size");
                }
                if config.page_sizes & bytes == 0 {
                    return wrong(raw, "a page size that was not configured");
                }
                if (page + (bytes - 1)) >> config.out_bits != 0 {
                    return wrong(raw, "an address beyond the output width");
                }
                let to = page | at & (bytes - 1);
                return Ok(Found::Page(Page {
                    to,
                    bytes,
                    entries,
                    entry,
                    raw,
                    rights,
                    memory,
                    accessed,
                    dirty,
                }));
            }
        }
    }
}

/// Where an entry above the lowest level leads, if it is a link.
pub fn link(config: &TableConfig, raw: u64) -> Option<u64> {
    (1..6).find_map(|level| match decode(config, raw, level) {
        Ok(Entry::Table(at)) => Some(at),
        _ => None,
    })
}

/// All entries of a set are what the specification wants of them: Arm's each with its own address, AMD's and RISC-V's all
/// alike. Marks of access may differ.
fn check_set(config: &TableConfig, page: &Page, read: impl Fn(u64) -> Option<u64>) -> Result<(), String> {
    let marks = match config.format {
        Format::AmdV1 => 0x60,
        Format::RiscvFirst | Format::RiscvSecond => 0xc0,
        _ => 0x400 | 0x80,
    };
    let own = page.entry / 8 % page.entries;
    for n in (0..page.entries).filter(|_| page.entries > 1) {
        let other = read(page.entry - own * 8 + n * 8).ok_or("no memory in the set")?;
        let distance = match config.format {
            Format::ArmStage1 | Format::ArmStage2 => {
                n.wrapping_sub(own).wrapping_mul(page.bytes / page.entries)
            }
            _ => 0,
        };
        if other & !marks != (page.raw & !marks).wrapping_add(distance) {
            return Err(format!("entry {n} of the set is {other:#x}"));
        }
    }
    Ok(())
}

fn decode(config: &TableConfig, raw: u64, level: u32) -> Decoded {
    match config.format {
        Format::ArmStage1 | Format::ArmStage2 => arm(config, raw, level),
        Format::AmdV1 => amd_v1(raw, level),
        Format::AmdV2 | Format::VtdFirst => x86(config, raw, level),
        Format::VtdSecond => vtd_second(config, raw, level),
        Format::RiscvFirst | Format::RiscvSecond => riscv(config, raw, level),
        _ => Err("no such format"),
    }
}

/// Arm DDI 0487, D8.3.
fn arm(config: &TableConfig, raw: u64, level: u32) -> Decoded {
    let (first, granule) = (config.format == Format::ArmStage1, granule(config));
    if !bit(raw, 0) {
        return if raw == 0 { Ok(Entry::Absent) } else { Err("an absent entry with bits") };
    }
    let mut at = raw & 0x0000_ffff_ffff_f000;
    if granule == 16 {
        at = at & !0xffff | bits(raw, 15, 12) << 48;
    }
    if level > 0 && bit(raw, 1) {
        // PXNTable to NSTable take rights away in stage 1 and are reserved in stage 2.
        return if bits(raw, 63, 59) != 0 { Err("a link that restricts") } else { Ok(Entry::Table(at)) };
    }
    let (own, blocks) = (span(config, level), if granule == 12 { 2 } else { 1 });
    if level == 0 && !bit(raw, 1) {
        return Err("a block at the last level");
    }
    if level > blocks {
        return Err("a block at a level without");
    }
    let set = match (granule, level, bit(raw, 52)) {
        (.., false) => 0,
        (12, ..) => 4,
        (14, 0, _) => 7,
        (14, 1, _) | (16, ..) => 5,
        _ => return Err("a contiguous hint at a level without"),
    };
    let accessed = bit(raw, 10);
    if !accessed && !config.dirty {
        return Err("no access flag, and nobody to set it");
    }
    if bit(raw, 51) && !config.dirty {
        return Err("a dirty modifier, and nobody to heed it");
    }
    let (rights, memory, dirty);
    if first {
        let unprivileged = bit(raw, 6);
        dirty = !bit(raw, 7) && bit(raw, 51);
        let execute = !bit(raw, if unprivileged { 54 } else { 53 });
        if !bit(raw, if unprivileged { 53 } else { 54 }) {
            return Err("executable by the other privilege");
        }
        if !bit(raw, 11) || bit(raw, 5) {
            return Err("global or non-secure");
        }
        rights = Rights {
            read: true,
            write: !bit(raw, 7) || bit(raw, 51),
            execute: Some(execute),
            privileged: !unprivileged,
        };
        // Eight attributes, of which MAIR tells three.
        memory = match (0x0044_04ff_u64 >> (8 * bits(raw, 4, 2)) & 0xff, bits(raw, 9, 8)) {
            (0xff, 0b11) => Memory::Coherent,
            (0x44, 0b10) => Memory::NotCoherent,
            (0x04, _) => Memory::Device,
            _ => return Err("a memory type or shareability nobody asks for"),
        };
    } else {
        dirty = bit(raw, 7) && bit(raw, 51);
        if bit(raw, 11) {
            return Err("a reserved bit of stage 2");
        }
        let execute = match bits(raw, 54, 53) {
            0b00 => true,
            0b10 => false,
            _ => return Err("executable by one exception level"),
        };
        rights = Rights {
            read: bit(raw, 6),
            write: bit(raw, 7) || bit(raw, 51),
            execute: Some(execute),
            privileged: false,
        };
        memory = match (bits(raw, 5, 2), bits(raw, 9, 8)) {
            (0b1111, 0b11) => Memory::Coherent,
            (0b0101, 0b10) => Memory::NotCoherent,
            (0b0001, _) => Memory::Device,
            _ => return Err("a memory type or shareability nobody asks for"),
        };
    }
    // Bits below the entry's own size are not address; they must be zero, but for the high bits of 64 KiB.
    let low = if granule == 16 { 16 } else { 12 };
    if own > low && bits(raw, own - 1, low) != 0 {
        return Err("address bits below the block");
    }
    let shift = own + set;
    Ok(Entry::Page { at: at >> shift << shift, shift, rights, memory, accessed, dirty })
}

/// AMD 48882, 2.2.3.
fn amd_v1(raw: u64, level: u32) -> Decoded {
    if !bit(raw, 0) {
        return if raw == 0 { Ok(Entry::Absent) } else { Err("an absent entry with bits") };
    }
    let at = raw & 0x000f_ffff_ffff_f000;
    let own = 12 + 9 * level;
    let shift = match bits(raw, 11, 9) {
        0 if bits(raw, own - 1, 11) >> 1 != 0 => return Err("a page that is not aligned to its size"),
        0 => own,
        7 => {
            // The lowest zero above bit 11 is one below the page's lowest address bit.
            let zero = (12..52).find(|&n| !bit(raw, n)).ok_or("no size in the address")?;
            let shift = zero + 1;
            if shift <= own || shift > own + 9 {
                return Err("a size of another level");
            }
            shift
        }
        next => {
            if next != u64::from(level) {
                return Err("a link that leaves levels out, or leads up");
            }
            if bits(raw, 62, 61) != 3 {
                return Err("a link that restricts");
            }
            return if bits(raw, 60, 52) != 0 {
                Err("reserved bits of a link")
            } else {
                Ok(Entry::Table(at))
            };
        }
    };
    if bits(raw, 58, 52) != 0 {
        return Err("reserved bits of a page");
    }
    if bit(raw, 59) {
        return Err("a page for untranslated requests alone");
    }
    let rights = Rights { read: bit(raw, 61), write: bit(raw, 62), execute: None, privileged: false };
    let memory = if bit(raw, 60) { Memory::Coherent } else { Memory::NotForced };
    let (accessed, dirty) = (bit(raw, 5), bit(raw, 6));
    Ok(Entry::Page { at: at >> shift << shift, shift, rights, memory, accessed, dirty })
}

/// AMD64 volume 2, 5.3; Intel VT-d 9.7.
fn x86(config: &TableConfig, raw: u64, level: u32) -> Decoded {
    if !bit(raw, 0) {
        return if raw == 0 { Ok(Entry::Absent) } else { Err("an absent entry with bits") };
    }
    let at = raw & 0x000f_ffff_ffff_f000;
    if level > 0 && !bit(raw, 7) {
        if !bit(raw, 1) || !bit(raw, 2) || bit(raw, 63) {
            return Err("a link that restricts");
        }
        if !bit(raw, 5) {
            return Err("a link not accessed: hardware would have to write it");
        }
        return Ok(Entry::Table(at));
    }
    if level > 2 {
        return Err("a page at a level without");
    }
    let shift = 12 + 9 * level;
    if bits(raw, 11, 8) != 0 || bits(raw, 62, 52) != 0 {
        return Err("a bit nobody asks for");
    }
    if level == 0 && bit(raw, 7) || level > 0 && bit(raw, 12) {
        return Err("the third bit of the PAT index");
    }
    let (accessed, dirty) = (bit(raw, 5), bit(raw, 6));
    let write = bit(raw, 1);
    if !config.dirty && (!accessed || dirty != write) {
        return Err("marks that hardware would have to write");
    }
    let rights = Rights { read: true, write, execute: Some(!bit(raw, 63)), privileged: !bit(raw, 2) };
    // The PAT of reset: write-back, write-through, UC-, UC.
    let memory = match bits(raw, 4, 3) {
        0b00 => Memory::Coherent,
        0b10 => Memory::NotCoherent,
        0b11 => Memory::Device,
        _ => return Err("write-through"),
    };
    Ok(Entry::Page { at, shift, rights, memory, accessed, dirty })
}

/// Intel VT-d 9.8.
fn vtd_second(config: &TableConfig, raw: u64, level: u32) -> Decoded {
    if bits(raw, 1, 0) == 0 {
        return if raw == 0 { Ok(Entry::Absent) } else { Err("an absent entry with bits") };
    }
    let at = raw & 0x000f_ffff_ffff_f000;
    if bit(raw, 62) {
        return Err("a reserved bit");
    }
    if level > 0 && !bit(raw, 7) {
        if bits(raw, 1, 0) != 3 {
            return Err("a link that restricts");
        }
        return if bit(raw, 11) { Err("a link that snoops") } else { Ok(Entry::Table(at)) };
    }
    if level > 2 {
        return Err("a page at a level without");
    }
    if bits(raw, 6, 2) != 0 || bit(raw, 10) || level == 0 && bit(raw, 7) {
        return Err("execution, a memory type or a size nobody asks for");
    }
    if bit(raw, 11) && !config.snoop {
        return Err("snooping, which is reserved here");
    }
    let shift = 12 + 9 * level;
    let rights = Rights { read: bit(raw, 0), write: bit(raw, 1), execute: None, privileged: false };
    let memory = match (config.snoop, bit(raw, 11)) {
        (false, _) => Memory::Open,
        (true, true) => Memory::Coherent,
        (true, false) => Memory::NotForced,
    };
    let (accessed, dirty) = (bit(raw, 8), bit(raw, 9));
    if (accessed || dirty) && !config.dirty {
        return Err("marks without tracking");
    }
    Ok(Entry::Page { at, shift, rights, memory, accessed, dirty })
}

/// RISC-V privileged architecture: Sv39 and up, Sv39x4 and up, Svnapot, Svpbmt.
fn riscv(config: &TableConfig, raw: u64, level: u32) -> Decoded {
    if !bit(raw, 0) {
        return if raw == 0 { Ok(Entry::Absent) } else { Err("an absent entry with bits") };
    }
    let mut at = bits(raw, 53, 10) << 12;
    if bits(raw, 60, 54) != 0 {
        return Err("reserved bits");
    }
    if bits(raw, 3, 1) == 0 {
        if level == 0 {
            return Err("a link at the last level");
        }
        // D, A, G, U; PBMT and N.
        let stray = bits(raw, 7, 4) != 0 || bits(raw, 63, 61) != 0;
        return if stray { Err("a bit reserved in links") } else { Ok(Entry::Table(at)) };
    }
    if !bit(raw, 1) {
        return Err("a page that cannot be read");
    }
    let mut shift = 12 + 9 * level;
    if bit(raw, 63) {
        if level != 0 || bits(raw, 13, 10) != 0b1000 {
            return Err("no size that Svnapot has");
        }
        shift = 16;
        at &= !0xffff;
    }
    let user = bit(raw, 4);
    if config.format == Format::RiscvSecond && !user {
        return Err("a page of a second stage that is no user's");
    }
    if bit(raw, 5) {
        return Err("a global page");
    }
    let (accessed, dirty, write) = (bit(raw, 6), bit(raw, 7), bit(raw, 2));
    if !config.dirty && (!accessed || dirty != write) {
        return Err("a page that faults for want of a mark");
    }
    let memory = match (config.snoop, bits(raw, 62, 61)) {
        (false, 0) => Memory::Open,
        (false, _) => return Err("a memory type without Svpbmt"),
        (true, 0) => Memory::Coherent,
        (true, 1) => Memory::NotCoherent,
        (true, 2) => Memory::Device,
        (true, _) => return Err("a reserved memory type"),
    };
    let rights = Rights { read: true, write, execute: Some(bit(raw, 3)), privileged: !user };
    Ok(Entry::Page { at, shift, rights, memory, accessed, dirty })
}
