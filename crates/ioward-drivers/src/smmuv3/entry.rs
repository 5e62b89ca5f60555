//! How a Stream table entry or a Context descriptor goes from one meaning to another while the SMMU may read it.
//!
//! The SMMU reads an entry as 64-bit words, each whole, at any time and in any order, and may keep what it read until an
//! invalidation completes. So between two completed invalidations it may see each word as it was at the first or as
//! any store since left it, in every combination. A change is safe when each such combination means the old entry, the new
//! one, or blocked.
//!
//! What a word means depends on others: while an entry translates by stage 1 alone, nothing reads the address of its stage
//! 2 table. A change therefore goes in up to three steps with an invalidation after each: fill what the old meaning does
//! not read; flip the one word that both meanings read and that differs; clear what the new meaning does not read. Where
//! two or more such words differ, no order of stores is safe in place; then the change goes through blocked, or the caller
//! replaces the whole table by one store to what points at it ([`super::stream_table`], [`super::cd_table`]).

use super::memory::Shared;
use ioward_core::driver::Hung;
use ioward_types::Platform;

/// The words of an STE or of a CD.
pub(super) type Words = [u64; 8];

/// How a change can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Old and new mean the same.
    None,
    /// All words to store first, and then all of them again; the second differ from the first in at most one word.
    InPlace { fill: Words, flip: Words },
    /// At least two words that both meanings read differ.
    Elsewhere,
}

/// Finds out how `old` can become `new`, where `used` tells which bits of an entry its meaning depends on.
pub(super) fn plan(old: &Words, new: &Words, used: impl Fn(&Words) -> Words) -> Change {
    let (by_old, by_new) = (used(old), used(new));
    if by_old == by_new && (0..8).all(|n| (old[n] ^ new[n]) & by_new[n] == 0) {
        return Change::None;
    }
    let mut fill: Words = core::array::from_fn(|n| old[n] & by_old[n] | new[n] & !by_old[n]);
    let mut flip: Words = core::array::from_fn(|n| new[n] & by_new[n] | fill[n] & !by_new[n]);
    let mut critical = (0..8).filter(|&n| flip[n] != fill[n]);
    match (critical.next(), critical.next()) {
        // It is stored whole, so nothing of it need be filled before.
        (Some(n), None) => (fill[n], flip[n]) = (old[n], new[n]),
        (None, _) => {}
        _ => return Change::Elsewhere,
    }
    Change::InPlace { fill, flip }
}

/// Stores the words of `to` that differ from what is there. Returns whether there were any.
fn store<P: Platform>(memory: &Shared<P>, offset: usize, to: &Words) -> bool {
    let mut any = false;
    for (n, &word) in to.iter().enumerate() {
        if memory.load(offset + 8 * n) != word {
            memory.store(offset + 8 * n, word);
            any = true;
        }
    }
    any
}

/// The entry at `offset`.
pub(super) fn read<P: Platform>(memory: &Shared<P>, offset: usize) -> Words {
    core::array::from_fn(|n| memory.load(offset + 8 * n))
}

/// Writes an entry that the SMMU cannot reach yet. Whatever is stored next, a pointer to it, is seen only after it.
pub(super) fn write_unreachable<P: Platform>(memory: &Shared<P>, offset: usize, new: &Words) {
    store(memory, offset, new);
    memory.publish();
}

/// Makes a change in place, with `invalidate` after each step. `Ok(false)`: it cannot be made in place and nothing was
/// stored.
///
/// On `Err` the entry is somewhere on its way and the SMMU may see any of it; it means old, new or blocked all the same.
pub(super) fn write_in_place<P: Platform>(
    memory: &Shared<P>,
    offset: usize,
    new: &Words,
    used: impl Fn(&Words) -> Words,
    invalidate: &mut dyn FnMut() -> Result<(), Hung>,
) -> Result<bool, Hung> {
    let (fill, flip) = match plan(&read(memory, offset), new, used) {
        Change::None => return Ok(true),
        Change::InPlace { fill, flip } => (fill, flip),
        Change::Elsewhere => return Ok(false),
    };
    for step in [&fill, &flip] {
        if store(memory, offset, step) {
            invalidate()?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word 0: 0 blocked, 1 reads word 1, 2 reads words 1 and 2.
    fn used(words: &Words) -> Words {
        let mut bits = [0; 8];
        bits[0] = u64::MAX;
        let many = words[0].min(2) as usize;
        bits[1..=many].fill(u64::MAX);
        bits
    }

    #[test]
    fn what_the_old_meaning_does_not_read_is_filled_before() {
        let old = [1, 7, 0, 0, 0, 0, 0, 0];
        let new = [2, 7, 9, 0, 0, 0, 0, 0];
        let fill = [1, 7, 9, 0, 0, 0, 0, 0];
        assert_eq!(plan(&old, &new, used), Change::InPlace { fill, flip: new });
        assert_eq!(plan(&new, &old, used), Change::InPlace { fill: new, flip: fill });
    }

    #[test]
    fn two_words_that_both_read_cannot_change_in_place() {
        let old = [1, 7, 0, 0, 0, 0, 0, 0];
        let new = [2, 8, 0, 0, 0, 0, 0, 0];
        assert_eq!(plan(&old, &new, used), Change::Elsewhere);
        assert_eq!(plan(&new, &new, used), Change::None);
        assert_eq!(plan(&[1, 7, 5, 0, 0, 0, 0, 0], &[1, 7, 0, 0, 0, 0, 0, 0], used), Change::None);
    }

    #[test]
    fn every_entry_can_be_blocked_by_its_first_word() {
        let old = [2, 7, 9, 0, 0, 0, 0, 0];
        let flip = [0, 7, 9, 0, 0, 0, 0, 0];
        assert_eq!(plan(&old, &[0; 8], used), Change::InPlace { fill: old, flip });
    }
}
