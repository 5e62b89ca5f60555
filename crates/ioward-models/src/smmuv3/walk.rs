//! What a VMSAv8-64 descriptor says: pure decoding, of this model's own (DDI 0487 D8.3, D8.4, D8.5).

use super::{
    cd::Cd,
    ste::World,
    tlb::{Leaf, Rights},
};
use ioward_spec::smmuv3::{cacheability, cd, shareability};

/// Addresses are kept to 56 bits, so that a tag in the top byte makes no second entry.
pub(super) const ADDRESS: u64 = (1 << 56) - 1;

/// How one stage is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stage {
    pub(super) second: bool,
    /// log2 of the granule's bytes: 12, 14 or 16.
    pub(super) granule: u8,
    pub(super) in_bits: u8,
    /// The first level, 0 to 3.
    pub(super) start: i8,
    pub(super) root: u64,
    /// What an output address must stay below.
    pub(super) out_bits: u8,
    /// Descriptors of the 64KB granule hold address bits 51:48.
    pub(super) wide: bool,
    pub(super) snoops: bool,
    pub(super) access_flag_faults: bool,
    pub(super) updates_access: bool,
    pub(super) updates_dirty: bool,
    pub(super) ignores_hierarchy: bool,
    /// TTB1.
    pub(super) high: bool,
}

impl Stage {
    /// log2 of what an entry of `level` covers.
    pub(super) fn shift(granule: u8, level: i8) -> u8 {
        granule + (granule - 3) * (3 - level) as u8
    }

    /// Where stage 1 starts: as low a level as resolves the width.
    pub(super) fn first_level(granule: u8, in_bits: u8) -> i8 {
        let stride = granule - 3;
        4 - in_bits.saturating_sub(granule).div_ceil(stride).max(1) as i8
    }

    /// The widest address that descriptors of a granule can hold, capped.
    pub(super) fn reach(granule: u8, bits: u8) -> u8 {
        if granule == 16 { bits } else { bits.min(48) }
    }

    /// log2 of the entries of the first table, concatenated ones included.
    pub(super) fn root_index_bits(&self) -> u8 {
        self.in_bits.saturating_sub(Self::shift(self.granule, self.start))
    }

    /// Bytes that the root is aligned to.
    pub(super) fn root_align(&self) -> u64 {
        let least = if self.wide { 64 } else { 8 };
        (8u64 << self.root_index_bits()).max(least)
    }

    /// Where the descriptor for `at` is in the table at `table`.
    pub(super) fn index(&self, level: i8, at: u64) -> u64 {
        let bits = if level == self.start { self.root_index_bits() } else { self.granule - 3 };
        at >> Self::shift(self.granule, level) & ((1 << bits) - 1)
    }
}

/// Whether accesses with these attributes snoop: cacheable, inner and outer, and shareable (5.2, S1CSH).
pub(super) fn is_cacheable(inner: u64, outer: u64, share: u64) -> bool {
    inner != cacheability::NON
        && outer != cacheability::NON
        && matches!(share, shareability::INNER | shareability::OUTER)
}

/// A descriptor, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    Invalid,
    Table {
        next: u64,
    },
    Leaf {
        out: u64,
        /// log2 of what it covers, contiguous neighbours not counted.
        bits: u8,
        /// Bits that must be zero and are not.
        reserved: u64,
    },
}

/// Bit 52: the entry is one of an aligned run of neighbours that map as one.
pub(super) const CONTIGUOUS: u64 = 1 << 52;
/// Bit 51: a write may make the entry writable.
pub(super) const DIRTY_MODIFIER: u64 = 1 << 51;
/// Bit 11: the entry belongs to an ASID.
pub(super) const NOT_GLOBAL: u64 = 1 << 11;
/// Bit 10.
pub(super) const ACCESS_FLAG: u64 = 1 << 10;
/// Stage 1: read-only. Stage 2: writable.
pub(super) const WRITE_BIT: u64 = 1 << 7;
/// Bits 63:59 of a table descriptor.
pub(super) const LIMITS: u64 = 0x1f << 59;

/// Decodes a descriptor of `level`.
pub(super) fn decode(stage: &Stage, level: i8, descriptor: u64) -> Decoded {
    if descriptor & 1 == 0 {
        return Decoded::Invalid;
    }
    let is_table = descriptor & 2 != 0;
    let high = if stage.granule == 16 && stage.wide { (descriptor >> 12 & 0xf) << 48 } else { 0 };
    let address = |shift: u8| descriptor & ((1 << 48) - 1) & !((1 << shift) - 1) | high;
    if level < 3 && is_table {
        return Decoded::Table { next: address(stage.granule) };
    }
    let has_blocks = match stage.granule {
        12 => level == 1 || level == 2,
        14 => level == 2,
        _ => level == 2 || level == 1 && stage.wide,
    };
    if level == 3 && !is_table || level < 3 && !has_blocks {
        return Decoded::Invalid;
    }
    let bits = Stage::shift(stage.granule, level);
    // Bits between the attributes and the output address: nT is bit 16 of a block.
    let attributes = if high != 0 || stage.wide { 0xffff } else { 0xfff };
    let nt = if level < 3 { 1 << 16 } else { 0 };
    let reserved = descriptor & ((1 << bits) - 1) & !attributes & !nt;
    Decoded::Leaf { out: address(bits), bits, reserved }
}

/// log2 of how many contiguous entries form one (DDI 0487 D8.6.1).
pub(super) fn contiguous_bits(granule: u8, level: i8) -> u8 {
    match (granule, level) {
        (12, _) => 4,
        (14, 3) => 7,
        (14, _) => 5,
        _ => 5,
    }
}

/// Rights of a stage 1 leaf, and whether a write must first make it dirty.
pub(super) fn first_rights(
    stage: &Stage,
    descriptor: u64,
    limits: u64,
    world: World,
    cd: &Cd,
) -> (Rights, bool) {
    let limits = if stage.ignores_hierarchy { 0 } else { limits };
    let limit = |bit: u64| limits >> bit & 1 == 1;
    let user = (descriptor >> 6 & 1 == 1 || world == World::El2) && !limit(61);
    let read_only = descriptor & WRITE_BIT != 0;
    let clean = read_only && descriptor & DIRTY_MODIFIER != 0 && stage.updates_dirty;
    let writable = (!read_only || clean) && !limit(62);
    let uxn = descriptor >> 54 & 1 == 1 || limit(60);
    let pxn = if world == World::El2 { uxn } else { descriptor >> 53 & 1 == 1 || limit(59) };
    let user_writes = user && writable;
    let no_write_execute = cd.has(cd::WXN);
    let never = cd.has(cd::PAN) && user && world != World::El2;
    let rights = Rights {
        read: [user, !never],
        write: [user_writes, writable && !never],
        execute: [
            !(uxn || no_write_execute && user_writes),
            !(pxn || no_write_execute && writable || user_writes && world != World::El2),
        ],
    };
    (rights, clean)
}

/// Rights of a stage 2 leaf, and whether a write must first make it dirty.
pub(super) fn second_rights(stage: &Stage, descriptor: u64) -> (Rights, bool) {
    let writable = descriptor & WRITE_BIT != 0;
    let clean = !writable && descriptor & DIRTY_MODIFIER != 0 && stage.updates_dirty;
    let rights = Rights {
        read: [descriptor >> 6 & 1 == 1; 2],
        write: [writable || clean; 2],
        execute: [descriptor >> 54 & 1 == 0; 2],
    };
    (rights, clean)
}

/// Whether a stage 2 leaf's MemAttr is a Device type.
pub(super) fn is_device(descriptor: u64) -> bool {
    descriptor >> 4 & 0b11 == 0
}

/// A leaf's attribute index at stage 1.
pub(super) fn attribute_index(descriptor: u64) -> u64 {
    descriptor >> 2 & 0b111
}

/// Whether a MAIR byte is an encoding that the architecture gives a meaning (DDI 0487 D24.2, MAIR_EL1).
pub(super) fn is_memory_type(attribute: u8) -> bool {
    match (attribute >> 4, attribute & 0xf) {
        // Device: nGnRnE, nGnRE, nGRE, GRE; 0b01 marks the XS variants.
        (0, low) => low & 0b0010 == 0,
        // 0x40 and 0xa0 are the XS and tagged variants of Normal memory.
        (4 | 0xa, 0) => true,
        (0xf, 0) => true,
        (_, 0) => false,
        _ => true,
    }
}

/// A leaf of one stage as the other stage's result narrows it: what both together allow.
pub(super) fn combine(
    first: &Leaf,
    first_start: u64,
    first_bits: u8,
    second: (u64, u8, &Leaf),
    at: u64,
) -> (u64, u8, Leaf) {
    let (second_start, second_bits, second_leaf) = second;
    let bits = first_bits.min(second_bits);
    let mask = !((1u64 << bits) - 1);
    let start = at & mask;
    let ipa = first.out + (start - first_start);
    let out = second_leaf.out + (ipa - second_start);
    let leaf = Leaf {
        out,
        rights: first.rights.and(second_leaf.rights),
        clean: first.clean || second_leaf.clean,
        scope: (first_start, first_bits),
        ..*first
    };
    (start, bits, leaf)
}
