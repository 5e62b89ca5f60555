//! Shapes of page tables, and what an entry means (privileged architecture 10.3.2 to 10.6; Svnapot, Svpbmt).

use super::features::Features;
use ioward_spec::riscv::paging as p;

/// How one stage is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Walk {
    pub(super) second: bool,
    /// Bits of an input address, the second stage's two more included.
    pub(super) width: u8,
    pub(super) root: u64,
    /// Hardware updates accessed and dirty bits (GADE, SADE).
    pub(super) updates: bool,
    /// Entries are big-endian.
    pub(super) big: bool,
}

impl Walk {
    /// The root's level; 0 is the lowest.
    pub(super) fn top(&self) -> u8 {
        (self.width - self.root_bits() - 12) / 9 - 1
    }

    fn root_bits(&self) -> u8 {
        if self.second { p::SECOND_STAGE_ROOT_BITS as u8 } else { 0 }
    }

    /// Which entry of a table of `level` is for `at`.
    pub(super) fn index(&self, level: u8, at: u64) -> u64 {
        let bits = if level == self.top() { 9 + self.root_bits() } else { 9 };
        at >> shift(level) & ((1 << bits) - 1)
    }

    /// Whether an address can be an input: sign-extended at the first stage, zero-extended at the second.
    pub(super) fn takes(&self, at: u64) -> bool {
        if self.second {
            at >> self.width == 0
        } else {
            let high = at as i64 >> (self.width - 1);
            high == 0 || high == -1
        }
    }
}

/// log2 of what an entry of `level` covers.
pub(super) fn shift(level: u8) -> u8 {
    12 + 9 * level
}

/// An entry, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pte {
    /// V is 0, or something reserved is set, or a superpage is misaligned: a page fault.
    Fault,
    /// The next table.
    Link { next: u64, global: bool },
    Leaf {
        /// Of the first byte that the entry covers.
        out: u64,
        /// log2 of what it covers.
        bits: u8,
    },
}

/// Decodes an entry of `level`, found for `at`.
pub(super) fn decode(word: u64, level: u8, features: &Features) -> Pte {
    if p::V.of(word) == 0 || p::W.of(word) == 1 && p::R.of(word) == 0 {
        return Pte::Fault;
    }
    let software = if features.svrsw { 0b11 << 59 } else { 0 };
    let memory = p::PBMT.of(word);
    if p::RESERVED.in_place(word) & !software != 0 || memory == 3 || memory != 0 && !features.svpbmt {
        return Pte::Fault;
    }
    let address = p::PPN.of(word) << 12;
    if word & (p::R.mask() | p::W.mask() | p::X.mask()) == 0 {
        let leaf_only = p::A.mask() | p::D.mask() | p::U.mask() | p::N.mask() | p::PBMT.mask();
        if level == 0 || word & leaf_only != 0 {
            return Pte::Fault;
        }
        return Pte::Link { next: address, global: p::G.of(word) == 1 };
    }
    let bits = if p::N.of(word) == 1 {
        if level != 0 || p::NAPOT_64K.of(word) != p::NAPOT_64K_PATTERN {
            return Pte::Fault;
        }
        return Pte::Leaf { out: address & !0xffff, bits: p::NAPOT_64K_SHIFT as u8 };
    } else {
        shift(level)
    };
    if address & ((1 << bits) - 1) != 0 {
        return Pte::Fault;
    }
    Pte::Leaf { out: address, bits }
}
