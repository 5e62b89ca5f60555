//! Unmap: whole entries, and whole tables where the range covers all they span.

use crate::{
    detached::Detached,
    error::UnmapError,
    format::Format,
    mem::{BUNCH, Mem, Node, Row},
    table::{Table, Top, index},
};
use ioward_types::{Attributes, Iova, PhysAddr, Span};

/// What an unmap has taken off. Hardware may go on using it until the range has been invalidated: leaves, and walk caches
/// too where tables went.
#[derive(Debug)]
#[must_use = "the range must be invalidated, and then the tables freed"]
pub struct Unmapped {
    /// Bytes that translate no more: of the leaves taken, and of all that the detached tables span, holes included, since
    /// nobody looked into them. For a range that was mapped throughout it is the range.
    pub bytes: u64,
    /// The tables that went.
    pub detached: Detached,
}

impl Unmapped {
    /// Whether tables went away, so that walk caches must be invalidated too.
    pub fn tables_went(&self) -> bool {
        !self.detached.is_empty()
    }
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Takes off everything in `span`; holes are passed over. Whole entries only: a span that begins or ends inside a page
    /// is refused and changes nothing. A table is detached where the span covers all that it could map, and only then, so
    /// that neighbours need no lock; tables that merely became empty stay for [`Table::trim`].
    ///
    /// Allocates nothing. What is handed out must be invalidated before memory, IOVAs or tables are used again.
    #[inline]
    pub fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        // The commonest case by far.
        if self.unmap_page(span) {
            return Ok(Unmapped { bytes: span.bytes, detached: Detached::none::<F>() });
        }
        self.unmap_range(span)
    }

    /// [`Table::unmap`] for whatever there is. Apart, so that a granule costs no more than what it needs.
    #[inline(never)]
    fn unmap_range(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        if let Some(bytes) = self.unmap_run(span) {
            return Ok(Unmapped { bytes, detached: Detached::none::<F>() });
        }
        let top = self.top();
        self.check_input(top, span.start, span.bytes)?;
        // Just one page, of one entry.
        if let Some((node, level, place, raw)) = self.find_entry(top, span.start.0) {
            let shift = F::entry_shift(level);
            let whole = span.bytes == 1 << shift && span.is_aligned(span.bytes);
            if whole && F::leaf_shift(raw, level) == shift {
                node.store(&self.mem, place, 0);
                if !self.coherent {
                    node.clean(&self.mem, place, 1);
                }
                return Ok(Unmapped { bytes: span.bytes, detached: Detached::none::<F>() });
            }
        }
        self.check_ends(top, span)?;
        let mut detached = Detached::none::<F>();
        let bytes = self.take::<true>(top, span, &mut detached);
        Ok(Unmapped { bytes, detached })
    }

    /// Clears entries from `i` on as long as they are `such`, and tells where that ends: at `end` at the latest.
    #[inline(always)]
    fn clear_while(row: Row<'_, M>, mut i: usize, end: usize, such: impl Fn(u64) -> bool) -> usize {
        while end - i >= BUNCH {
            for ahead in 0..BUNCH {
                if !such(row.load(i + ahead)) {
                    return i + ahead;
                }
                row.store(i + ahead, 0);
            }
            i += BUNCH;
        }
        while i < end && such(row.load(i)) {
            row.store(i, 0);
            i += 1;
        }
        i
    }

    /// Takes leaves off a table of the lowest level, entries `first..end`, and tells how many there were.
    #[inline(always)]
    pub(crate) fn clear(&self, node: Node, first: usize, end: usize) -> u64 {
        let (mut i, mut count) = (first, 0);
        let (mut dirty_first, mut dirty_end) = (end, first);
        while i < end {
            let stopped = Self::clear_while(node.row(&self.mem, 0), i, end, |raw| raw != 0);
            if stopped != i {
                count += (stopped - i) as u64;
                (dirty_first, dirty_end) = (dirty_first.min(i), stopped);
            }
            i = stopped + 1;
        }
        if !self.coherent && count != 0 {
            node.clean(&self.mem, dirty_first, dirty_end - dirty_first);
        }
        count
    }

    /// Takes off leaves alone.
    pub(crate) fn take_leaves(&self, top: Top, span: Span<Iova>) {
        self.take::<false>(top, span, &mut Detached::none::<F>());
    }

    /// Refuses a span whose first or last byte shares a page with a byte outside.
    #[inline(always)]
    fn check_ends(&self, top: Top, span: Span<Iova>) -> Result<(), UnmapError> {
        if self.sizes == self.granule() {
            return Ok(());
        }
        let last = span.last();
        if let Some(page) = self.page_of(top, span.start.0) {
            if page.start < span.start || page.last() > last {
                return Err(UnmapError::Cuts { page });
            }
            if page.last() == last {
                return Ok(());
            }
        }
        match self.page_of(top, last.0) {
            Some(page) if page.last() > last => Err(UnmapError::Cuts { page }),
            _ => Ok(()),
        }
    }

    /// The IOVAs of the page that holds `at`.
    #[inline(always)]
    fn page_of(&self, top: Top, at: u64) -> Option<Span<Iova>> {
        let (raw, level) = self.find(top, at)?;
        let bytes = 1u64 << F::leaf_shift(raw, level);
        Some(Span { start: Iova(at & !(bytes - 1)), bytes })
    }

    /// The leaf that maps `at`, and its level.
    #[inline(always)]
    fn find(&self, top: Top, at: u64) -> Option<(u64, u32)> {
        self.find_entry(top, at).map(|(_, level, _, raw)| (raw, level))
    }

    /// The leaf that maps `at`: its table, that table's level, its place there, and what it is.
    #[inline(always)]
    pub(crate) fn find_entry(&self, top: Top, at: u64) -> Option<(Node, u32, usize, u64)> {
        let (mut node, mut level) = (top.node, top.level);
        let mut place = top.index::<F>(at);
        loop {
            let raw = node.load(&self.mem, place);
            if raw == 0 {
                return None;
            }
            if level == 0 || !F::is_link(raw, level) {
                return Some((node, level, place, raw));
            }
            node = Self::child(raw);
            level -= 1;
            place = index::<F>(at, level);
        }
    }

    /// Where `at` leads: the physical address of this very byte, what the mapping allows, and the bytes of its page.
    /// `None` where nothing is mapped, or `at` is outside the table.
    #[inline(never)]
    pub fn lookup(&self, at: Iova) -> Option<(PhysAddr, Attributes, u64)> {
        let top = self.top();
        if !Self::is_input(top, at.0) {
            return None;
        }
        let (raw, level) = self.find(top, at.0)?;
        let bytes = 1u64 << F::leaf_shift(raw, level);
        let to = F::leaf_target(raw, level).0 | at.0 & (bytes - 1);
        Some((PhysAddr(to), F::decode(raw), bytes))
    }

    /// Takes everything in `span`, detaching tables if `DETACH`. The ends have been checked.
    #[inline(always)]
    fn take<const DETACH: bool>(&self, top: Top, span: Span<Iova>, detached: &mut Detached) -> u64 {
        let (mut at, mut left, mut taken) = (span.start.0, span.bytes, 0);
        while left != 0 {
            let (mut node, mut level) = (top.node, top.level);
            let mut place = top.index::<F>(at);
            loop {
                let raw = node.load(&self.mem, place);
                let goes_whole = DETACH && Self::covers(at, left, level);
                if level == 0 || !F::is_link(raw, level) || goes_whole {
                    break;
                }
                node = Self::child(raw);
                level -= 1;
                place = index::<F>(at, level);
            }
            let passed = if level == 0 {
                self.take_smallest(node, place, at, left, &mut taken)
            } else {
                self.take_run::<DETACH>(node, level, place, at, left, &mut taken, detached)
            };
            at = at.wrapping_add(passed);
            left -= passed;
        }
        taken
    }

    /// Whether the entry of `level` for `at` begins there and ends within `left` bytes.
    #[inline(always)]
    fn covers(at: u64, left: u64, level: u32) -> bool {
        let shift = F::entry_shift(level);
        shift < 64 && at & ((1 << shift) - 1) == 0 && left >> shift != 0
    }

    /// Takes entries of a table of the lowest level until it or the range ends, and tells how many bytes that are.
    #[inline(always)]
    fn take_smallest(&self, node: Node, place: usize, at: u64, left: u64, taken: &mut u64) -> u64 {
        let table = F::entry_shift(1);
        let passed = ((1u64 << table) - (at & ((1 << table) - 1))).min(left);
        let end = place + (passed >> F::GRANULE_SHIFT) as usize;
        *taken += self.clear(node, place, end) << F::GRANULE_SHIFT;
        passed
    }

    /// Takes entries from `place` on, in a table above the lowest level, until the table or the range ends, or a table is met
    /// that goes only in part. Tells how many bytes it has passed: at least one entry's, since the first entry is known to
    /// be none of those.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn take_run<const DETACH: bool>(
        &self,
        node: Node,
        level: u32,
        place: usize,
        at: u64,
        left: u64,
        taken: &mut u64,
        detached: &mut Detached,
    ) -> u64 {
        let shift = F::entry_shift(level);
        let bytes = 1u64 << shift;
        // To the end of the entry, then of the table; a root ends where the range does or, if concatenated, a run early.
        let table = F::entry_shift(level + 1).min(63);
        let to_end = ((1u64 << table) - (at & ((1 << table) - 1))).min(left);
        let mut passed = 0;
        let mut i = place;
        let (mut dirty_first, mut dirty_end) = (usize::MAX, 0);
        let row = node.row(&self.mem, 0);
        while passed < to_end {
            // Pages alone, entered at the start of one.
            if at.wrapping_add(passed) & (bytes - 1) == 0 {
                let end = i + ((to_end - passed) >> shift) as usize;
                let stopped = Self::clear_while(row, i, end, |raw| F::is_leaf(raw, level));
                if stopped != i {
                    (dirty_first, dirty_end) = (dirty_first.min(i), stopped);
                    *taken += ((stopped - i) as u64) << shift;
                    passed += ((stopped - i) as u64) << shift;
                    i = stopped;
                    continue;
                }
            }
            let here = at.wrapping_add(passed);
            let raw = node.load(&self.mem, i);
            if raw != 0 {
                if F::is_link(raw, level) {
                    if !(DETACH && Self::covers(here, left - passed, level)) {
                        break;
                    }
                    // Exchanged, not stored: if two calls wrongly overlap, only one of them gets the table.
                    let link = node.swap(&self.mem, i, 0);
                    if link == raw || link != 0 && F::is_link(link, level) {
                        detached.push::<F, M>(&self.mem, Self::child(link), level - 1);
                    }
                } else {
                    node.store(&self.mem, i, 0);
                }
                *taken += bytes;
                dirty_first = dirty_first.min(i);
                dirty_end = i + 1;
            }
            // A hole may be entered in its middle.
            passed += bytes - (here & (bytes - 1));
            i += 1;
        }
        if !self.coherent && dirty_first < dirty_end {
            node.clean(&self.mem, dirty_first, dirty_end - dirty_first);
        }
        passed.min(left)
    }
}
