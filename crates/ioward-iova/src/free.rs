//! Free ranges, found by address and by length.
//!
//! By address in one ordered map, so that neighbours merge; by length in bins of powers of two, so that a search looks at
//! a few ranges however many there are. Ranges are kept apart at 4 GiB: below it is what devices with 32-bit addresses
//! can use, and the bins of the two sides are searched one after the other.

use crate::tree::{before, touches};
use alloc::collections::{BTreeMap, BTreeSet};

/// The first byte that an address of 32 bits does not reach.
const LOW_END: u64 = 1 << 32;
/// One bin for each power of two of a length in bytes.
const BINS: usize = 64;

/// Free ranges of one side, by length: bin `b` has those of `2^b` to `2^(b+1) - 1` bytes.
#[derive(Debug)]
struct Bins {
    starts: [BTreeSet<u64>; BINS],
    /// Bit `b`: bin `b` is not empty.
    filled: u64,
}

impl Bins {
    fn new() -> Self {
        Self { starts: [const { BTreeSet::new() }; BINS], filled: 0 }
    }

    fn insert(&mut self, start: u64, bytes: u64) {
        let bin = bytes.ilog2() as usize;
        self.starts[bin].insert(start);
        self.filled |= 1 << bin;
    }

    fn remove(&mut self, start: u64, bytes: u64) {
        let bin = bytes.ilog2() as usize;
        self.starts[bin].remove(&start);
        if self.starts[bin].is_empty() {
            self.filled &= !(1 << bin);
        }
    }

    /// The bins from `first` on that have something in them, the shortest ranges first.
    fn from(&self, first: u32) -> impl Iterator<Item = &BTreeSet<u64>> {
        let mut left = if first < u64::BITS { self.filled >> first << first } else { 0 };
        core::iter::from_fn(move || {
            let bin = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (bin < u64::BITS).then(|| &self.starts[bin as usize])
        })
    }
}

/// What is looked for. `bytes` is not zero, `align` a power of two, `limit` the last byte that will do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub bytes: u64,
    pub align: u64,
    pub limit: u64,
}

impl Wanted {
    /// The highest place in a free range.
    fn place(&self, start: u64, bytes: u64) -> Option<u64> {
        let last = (start + (bytes - 1)).min(self.limit);
        let first = last.checked_sub(self.bytes - 1)? & !(self.align - 1);
        (first >= start).then_some(first)
    }
}

/// Free ranges; no two touch, but at 4 GiB.
#[derive(Debug)]
pub struct Free {
    /// First byte to length.
    ranges: BTreeMap<u64, u64>,
    low: Bins,
    high: Bins,
    /// Bytes in all. At most 2^64 - 1: the page at zero is never free.
    bytes: u64,
}

impl Free {
    pub fn new() -> Self {
        Self { ranges: BTreeMap::new(), low: Bins::new(), high: Bins::new(), bytes: 0 }
    }

    /// Bytes that are free.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn side(&mut self, start: u64) -> &mut Bins {
        if start < LOW_END { &mut self.low } else { &mut self.high }
    }

    fn insert(&mut self, start: u64, bytes: u64) {
        self.ranges.insert(start, bytes);
        self.side(start).insert(start, bytes);
    }

    fn remove(&mut self, start: u64, bytes: u64) {
        self.ranges.remove(&start);
        self.side(start).remove(start, bytes);
    }

    /// Adds a range, none of which is free. `bytes` is not zero and the range does not wrap.
    pub fn give(&mut self, start: u64, bytes: u64) {
        self.bytes += bytes;
        if start < LOW_END && start + (bytes - 1) >= LOW_END {
            self.join(start, LOW_END - start);
            self.join(LOW_END, bytes - (LOW_END - start));
        } else {
            self.join(start, bytes);
        }
    }

    /// A range that is there becomes longer or shorter and begins where it did: most often its bin stays the same, and one
    /// number changes.
    fn resize(&mut self, start: u64, from: u64, to: u64) {
        if let Some(bytes) = self.ranges.get_mut(&start) {
            *bytes = to;
        }
        if from.ilog2() != to.ilog2() {
            let side = self.side(start);
            side.remove(start, from);
            side.insert(start, to);
        }
    }

    /// Adds a range of one side, together with its free neighbours of that side.
    fn join(&mut self, start: u64, mut bytes: u64) {
        if let Some(after) = start.checked_add(bytes)
            && after != LOW_END
            && let Some(&length) = self.ranges.get(&after)
        {
            self.remove(after, length);
            bytes += length;
        }
        if start != LOW_END
            && let Some((&before, &length)) = self.ranges.range(..start).next_back()
            && before + length == start
        {
            return self.resize(before, length, length + bytes);
        }
        self.insert(start, bytes);
    }

    /// Removes `first..=last` from what is free, and tells each piece that was: its start and its bytes.
    pub fn take(&mut self, first: u64, last: u64, mut piece: impl FnMut(u64, u64)) {
        while let Some((&start, &bytes)) = self.ranges.range(..=last).next_back() {
            let end = start + (bytes - 1);
            if end < first {
                break;
            }
            let (from, to) = (start.max(first), end.min(last));
            self.bytes -= to - from + 1;
            piece(from, to - from + 1);
            if start < first {
                self.resize(start, bytes, first - start);
            } else {
                self.remove(start, bytes);
            }
            if end > last {
                self.insert(last + 1, end - last);
            }
        }
    }

    /// Whether any of `first..=last` is free.
    pub fn touches(&self, first: u64, last: u64) -> bool {
        touches(&self.ranges, first, last)
    }

    /// The last free range that starts at or below `last`: its first and last byte.
    pub fn before(&self, last: u64) -> Option<(u64, u64)> {
        before(&self.ranges, last)
    }

    /// Where `wanted` has room. Above 4 GiB first, so that the rest stays for those who need it; on either side in the
    /// shortest range that is sure to be long enough, so that long ones stay long.
    ///
    /// Looks at no more ranges than there are bins, unless there is none that is sure to be long enough: then at every one
    /// that may be. Finds a place wherever there is one.
    pub fn find(&self, wanted: Wanted, granule: u64) -> Option<u64> {
        let sides = [(&self.high, wanted.limit >= LOW_END), (&self.low, true)];
        let sides = sides.into_iter().filter_map(|(side, reaches)| reaches.then_some(side));
        // A range of this many bytes has room wherever it starts.
        let sure = wanted.bytes.checked_add(wanted.align - granule);
        let enough = sure.and_then(u64::checked_next_power_of_two).map_or(u64::BITS, u64::ilog2);
        let quick = sides.clone().find_map(|side| {
            side.from(enough).find_map(|starts| {
                // Highest first for those who reach everything; the lowest is the best chance of those who do not.
                let [last, first] = [starts.last(), starts.first()];
                [last, first]
                    .into_iter()
                    .flatten()
                    .find_map(|&start| wanted.place(start, self.ranges[&start]))
            })
        });
        let bins = || sides.clone().flat_map(|side| side.from(wanted.bytes.ilog2()));
        quick
            .or_else(|| bins().flatten().find_map(|&start| wanted.place(start, self.ranges[&start])))
            .or_else(|| self.across(wanted))
    }

    /// A place on both sides of 4 GiB.
    fn across(&self, wanted: Wanted) -> Option<u64> {
        let above = self.ranges.get(&LOW_END)?;
        let (&start, &below) = self.ranges.range(..LOW_END).next_back()?;
        (start + below == LOW_END).then(|| wanted.place(start, below + above)).flatten()
    }

    /// Every free range, ascending: start and bytes.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(&start, &bytes)| (start, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn wanted(bytes: u64, limit: u64) -> Wanted {
        Wanted { bytes, align: PAGE, limit }
    }

    #[test]
    fn ranges_merge_but_at_four_gigabytes() {
        let mut free = Free::new();
        free.give(LOW_END - PAGE, 2 * PAGE);
        free.give(LOW_END + PAGE, PAGE);
        free.give(LOW_END - 2 * PAGE, PAGE);
        let ranges: alloc::vec::Vec<_> = free.iter().collect();
        assert_eq!(ranges, [(LOW_END - 2 * PAGE, 2 * PAGE), (LOW_END, 2 * PAGE)]);
        assert_eq!(free.bytes(), 4 * PAGE);
    }

    #[test]
    fn who_reaches_more_leaves_the_lower_four_gigabytes_alone() {
        let mut free = Free::new();
        free.give(PAGE, 4 * PAGE);
        free.give(LOW_END, 64 * PAGE);
        // The range below fits better, and is kept.
        assert_eq!(free.find(wanted(4 * PAGE, u64::MAX), PAGE), Some(LOW_END + 60 * PAGE));
        assert_eq!(free.find(wanted(4 * PAGE, LOW_END - 1), PAGE), Some(PAGE));
        free.take(LOW_END, u64::MAX, |_, _| {});
        assert_eq!(free.find(wanted(4 * PAGE, u64::MAX), PAGE), Some(PAGE));
    }

    #[test]
    fn what_needs_both_sides_finds_both() {
        let mut free = Free::new();
        free.give(LOW_END - 8 * PAGE, 16 * PAGE);
        assert_eq!(free.find(wanted(16 * PAGE, u64::MAX), PAGE), Some(LOW_END - 8 * PAGE));
        assert_eq!(free.find(wanted(17 * PAGE, u64::MAX), PAGE), None);
    }

    #[test]
    fn long_ranges_stay_long() {
        let mut free = Free::new();
        free.give(LOW_END, 8 * PAGE);
        free.give(LOW_END + 100 * PAGE, 2 * PAGE);
        assert_eq!(free.find(wanted(PAGE, u64::MAX), PAGE), Some(LOW_END + 101 * PAGE));
    }
}
