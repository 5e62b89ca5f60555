//! How a device context or a process context goes from one meaning to another while the IOMMU may read it.
//!
//! The IOMMU reads the words of a context in any order, each whole, at any time (2.1.2, 2.8), and may keep what it read
//! until an invalidation completes. So between two completed invalidations it may see each word as it was at the first or
//! as any store since left it, in every combination. That holds while V is 0 too: a context of which V is read late may
//! have been read early in its other words, and where those were zero it would let everything through. A change is safe when
//! each such combination means the old context, the new one, or blocked.
//!
//! What a word means depends on others: while V is 0 nothing else counts, and while there is no first stage the PSCID does
//! not. A change therefore goes in up to two steps with an invalidation after each: fill what the old meaning does not
//! read; flip the one word that both meanings read and that differs. Where two or more such words differ, no order of stores
//! is safe in place; then the change goes through V = 0, or the caller replaces the whole page of contexts by one store to
//! what points at it ([`super::device_directory`], [`super::process_directory`]).

use super::memory::Shared;
use ioward_core::driver::Hung;
use ioward_types::Platform;

/// The words of a context; those that its format does not have are zero.
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

/// Finds out how `old` can become `new`, where `used` tells which bits of a context its meaning depends on.
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

/// Where a context is.
pub(super) struct Place<'a, P: Platform> {
    pub memory: &'a Shared<P>,
    pub offset: usize,
    /// How many words the format has.
    pub words: usize,
}

impl<P: Platform> Place<'_, P> {
    /// The context as it stands in memory.
    pub fn read(&self) -> Words {
        let mut words = [0; 8];
        for (n, word) in words.iter_mut().enumerate().take(self.words) {
            *word = self.memory.load(self.offset + 8 * n);
        }
        words
    }

    /// Stores the words of `to` that differ from what is there. Returns whether there were any.
    fn store(&self, to: &Words) -> bool {
        let mut any = false;
        for (n, &word) in to.iter().enumerate().take(self.words) {
            if self.memory.load(self.offset + 8 * n) != word {
                self.memory.store(self.offset + 8 * n, word);
                any = true;
            }
        }
        any
    }

    /// Writes a context that the IOMMU cannot reach yet. Whatever is stored next, a pointer to it, is seen only after it.
    pub fn write_unreachable(&self, new: &Words) {
        self.store(new);
        self.memory.publish();
    }

    /// Makes V 0, and leaves the other words: whoever reads them with an old V reads the old context.
    pub fn invalidate(&self) {
        self.memory.store(self.offset, 0);
        self.memory.publish();
    }

    /// Makes a change in place. After each step `settle` gets what was there before it, and makes caches forget that.
    /// `Ok(false)`: the change cannot be made in place and nothing was stored.
    ///
    /// On `Err` the context is somewhere on its way and the IOMMU may see any of it; it means old, new or blocked all the
    /// same.
    pub fn write_in_place(
        &self,
        new: &Words,
        used: impl Fn(&Words) -> Words,
        settle: &mut dyn FnMut(&Words, &Words) -> Result<(), Hung>,
    ) -> Result<bool, Hung> {
        let (fill, flip) = match plan(&self.read(), new, used) {
            Change::None => return Ok(true),
            Change::InPlace { fill, flip } => (fill, flip),
            Change::Elsewhere => return Ok(false),
        };
        for step in [&fill, &flip] {
            let before = self.read();
            if self.store(step) {
                self.memory.publish();
                settle(&before, step)?;
            }
        }
        Ok(true)
    }
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
}
