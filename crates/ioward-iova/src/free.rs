//! Free ranges, found by address and by length.
//!
//! By address in one ordered map, so that neighbours merge; by length in bins of powers of two, so that a search looks at
//! a few ranges however many there are. Ranges are kept apart at two borders, and the bins of each part are searched one
//! after the other. One is at 4 GiB: below it is what devices with 32-bit addresses can use. The other is wherever
//! allocations are to begin.

use crate::tree::{before, touches};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
};

/// The first byte that an address of 32 bits does not reach.
const LOW_END: u64 = 1 << 32;
/// Where allocations begin if it does not matter.
pub const NO_START: u64 = LOW_END;
/// One bin for each power of two of a length in bytes.
const BINS: usize = 64;

/// How many parts there are between borders.
const PARTS: usize = 3;

/// Free ranges of one part, by length: bin `b` has those of `2^b` to `2^(b+1) - 1` bytes.
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

/// Free ranges; no two touch, but at a border.
#[derive(Debug)]
pub struct Free {
    /// First byte to length.
    ranges: BTreeMap<u64, u64>,
    /// Where a part ends and the next one begins, upward.
    borders: [u64; PARTS - 1],
    /// The parts, upward. Not in place: whoever holds this may be moved by way of a kernel's stack.
    parts: Box<[Bins]>,
    /// The parts in the order in which they are searched.
    order: [usize; PARTS],
    /// Bytes in all. At most 2^64 - 1: the page at zero is never free.
    bytes: u64,
}

impl Free {
    /// Above 4 GiB first, and on either side of that what is below `start` first. With [`NO_START`] both sides
    /// begin at their top.
    pub fn new(start: u64) -> Self {
        let (borders, order) =
            if start >= LOW_END { ([LOW_END, start], [1, 2, 0]) } else { ([start, LOW_END], [2, 0, 1]) };
        let parts = (0..PARTS).map(|_| Bins::new()).collect();
        Self { ranges: BTreeMap::new(), borders, parts, order, bytes: 0 }
    }

    /// Bytes that are free.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn part(&mut self, start: u64) -> &mut Bins {
        &mut self.parts[self.borders.iter().filter(|border| start >= **border).count()]
    }

    fn insert(&mut self, start: u64, bytes: u64) {
        self.ranges.insert(start, bytes);
        self.part(start).insert(start, bytes);
    }

    fn remove(&mut self, start: u64, bytes: u64) {
        self.ranges.remove(&start);
        self.part(start).remove(start, bytes);
    }

    /// Adds a range, none of which is free. `bytes` is not zero and the range does not wrap.
    pub fn give(&mut self, mut start: u64, bytes: u64) {
        self.bytes += bytes;
        let last = start + (bytes - 1);
        for border in self.borders {
            if start < border && border <= last {
                self.join(start, border - start);
                start = border;
            }
        }
        self.join(start, last - start + 1);
    }

    /// A range that is there becomes longer or shorter and begins where it did: most often its bin stays the same, and one
    /// number changes.
    fn resize(&mut self, start: u64, from: u64, to: u64) {
        if let Some(bytes) = self.ranges.get_mut(&start) {
            *bytes = to;
        }
        if from.ilog2() != to.ilog2() {
            let part = self.part(start);
            part.remove(start, from);
            part.insert(start, to);
        }
    }

    /// Adds a range of one part, together with its free neighbours of that part.
    fn join(&mut self, start: u64, mut bytes: u64) {
        if let Some(after) = start.checked_add(bytes)
            && !self.borders.contains(&after)
            && let Some(&length) = self.ranges.get(&after)
        {
            self.remove(after, length);
            bytes += length;
        }
        if !self.borders.contains(&start)
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

    /// Where `wanted` has room, part after part: above 4 GiB first, so that the rest stays for those who need it; in each in
    /// the shortest range that is sure to be long enough, so that long ones stay long.
    ///
    /// Looks at no more ranges than there are bins, unless there is none that is sure to be long enough: then at every one
    /// that may be. Finds a place wherever there is one.
    pub fn find(&self, wanted: Wanted, granule: u64) -> Option<u64> {
        let reached = |part: &usize| *part == 0 || wanted.limit >= self.borders[*part - 1];
        let parts = self.order.iter().filter(|part| reached(part)).map(|part| &self.parts[*part]);
        // A range of this many bytes has room wherever it starts.
        let sure = wanted.bytes.checked_add(wanted.align - granule);
        let enough = sure.and_then(u64::checked_next_power_of_two).map_or(u64::BITS, u64::ilog2);
        let quick = parts.clone().find_map(|part| {
            part.from(enough).find_map(|starts| {
                // Highest first for those who reach everything; the lowest is the best chance of those who do not.
                let [last, first] = [starts.last(), starts.first()];
                [last, first]
                    .into_iter()
                    .flatten()
                    .find_map(|&start| wanted.place(start, self.ranges[&start]))
            })
        });
        let bins = || parts.clone().flat_map(|part| part.from(wanted.bytes.ilog2()));
        quick
            .or_else(|| bins().flatten().find_map(|&start| wanted.place(start, self.ranges[&start])))
            .or_else(|| self.across(wanted))
    }

    /// A place on both sides of a border, or of both.
    fn across(&self, wanted: Wanted) -> Option<u64> {
        self.borders.into_iter().find_map(|border| {
            let (mut start, mut bytes) = (border, 0);
            // Upward from the border, and downward, as far as ranges touch: they do at borders alone.
            while let Some(more) = start.checked_add(bytes).and_then(|end| self.ranges.get(&end)) {
                bytes += more;
            }
            while let Some((&below, &more)) = self.ranges.range(..start).next_back()
                && below + more == start
            {
                (start, bytes) = (below, bytes + more);
            }
            (bytes != 0).then(|| wanted.place(start, bytes)).flatten()
        })
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
        let mut free = Free::new(LOW_END);
        free.give(LOW_END - PAGE, 2 * PAGE);
        free.give(LOW_END + PAGE, PAGE);
        free.give(LOW_END - 2 * PAGE, PAGE);
        let ranges: alloc::vec::Vec<_> = free.iter().collect();
        assert_eq!(ranges, [(LOW_END - 2 * PAGE, 2 * PAGE), (LOW_END, 2 * PAGE)]);
        assert_eq!(free.bytes(), 4 * PAGE);
    }

    #[test]
    fn who_reaches_more_leaves_the_lower_four_gigabytes_alone() {
        let mut free = Free::new(LOW_END);
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
        let mut free = Free::new(LOW_END);
        free.give(LOW_END - 8 * PAGE, 16 * PAGE);
        assert_eq!(free.find(wanted(16 * PAGE, u64::MAX), PAGE), Some(LOW_END - 8 * PAGE));
        assert_eq!(free.find(wanted(17 * PAGE, u64::MAX), PAGE), None);
    }

    #[test]
    fn long_ranges_stay_long() {
        let mut free = Free::new(LOW_END);
        free.give(LOW_END, 8 * PAGE);
        free.give(LOW_END + 100 * PAGE, 2 * PAGE);
        assert_eq!(free.find(wanted(PAGE, u64::MAX), PAGE), Some(LOW_END + 101 * PAGE));
    }

    #[test]
    fn what_is_below_the_start_comes_first_on_either_side() {
        for (low, high, start) in
            [(8 * PAGE, LOW_END, LOW_END + 32 * PAGE), (LOW_END - 64 * PAGE, LOW_END, LOW_END - 32 * PAGE)]
        {
            let mut free = Free::new(start);
            free.give(low, 64 * PAGE);
            free.give(high, 64 * PAGE);
            let mut next = |limit| {
                let at = free.find(wanted(PAGE, limit), PAGE).unwrap();
                free.take(at, at + PAGE - 1, |_, _| {});
                at
            };
            let down = |from: u64, to: u64| (to / PAGE..from / PAGE).rev().map(|page| page * PAGE);
            let above = if start > LOW_END { start } else { LOW_END + 64 * PAGE };
            assert!(down(above, LOW_END).all(|at| next(u64::MAX) == at), "above 4 GiB, below the start");
            assert!(down(LOW_END + 64 * PAGE, above).all(|at| next(u64::MAX) == at), "above 4 GiB");
            let below = if start > LOW_END { low + 64 * PAGE } else { start };
            assert!(down(below, low).all(|at| next(u64::MAX) == at), "below 4 GiB, below the start");
            assert!(down(low + 64 * PAGE, below).all(|at| next(LOW_END - 1) == at), "what is left");
            assert_eq!(free.bytes(), 0);
        }
    }

    #[test]
    fn what_needs_all_parts_finds_them() {
        for start in [LOW_END - 4 * PAGE, LOW_END + 4 * PAGE] {
            let mut free = Free::new(start);
            free.give(LOW_END - 8 * PAGE, 16 * PAGE);
            assert_eq!(free.iter().count(), 3);
            assert_eq!(free.find(wanted(16 * PAGE, u64::MAX), PAGE), Some(LOW_END - 8 * PAGE));
            assert_eq!(free.find(wanted(12 * PAGE, u64::MAX), PAGE), Some(LOW_END - 4 * PAGE));
            free.take(LOW_END + 7 * PAGE, u64::MAX, |_, _| {});
            free.take(LOW_END - 8 * PAGE, LOW_END - 7 * PAGE - 1, |_, _| {});
            assert_eq!(free.find(wanted(14 * PAGE, u64::MAX), PAGE), Some(LOW_END - 7 * PAGE));
            assert_eq!(free.find(wanted(15 * PAGE, u64::MAX), PAGE), None);
        }
    }

    #[test]
    fn the_last_byte_of_all_is_on_no_other_side() {
        let mut free = Free::new(u64::MAX - 2 * PAGE + 1);
        free.give(u64::MAX - 4 * PAGE + 1, 4 * PAGE);
        assert_eq!(free.iter().count(), 2);
        assert_eq!(free.find(wanted(4 * PAGE, u64::MAX), PAGE), Some(u64::MAX - 4 * PAGE + 1));
        assert_eq!(free.find(wanted(2 * PAGE, u64::MAX), PAGE), Some(u64::MAX - 4 * PAGE + 1));
    }
}
