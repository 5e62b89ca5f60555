//! Runs of granules within one table of smallest pages: buffers of a few pages, which come next after single ones.
//!
//! As with those, what is not as usual is left to the general way, which names it.

use crate::{
    format::Format,
    mem::{Mem, Node},
    page::Plain,
    table::{CLEANED, EXACT, Links, MARKED, Table, index},
};
use ioward_types::{
    Iova, PhysAddr, Span,
    hint::{expected, seldom},
};

/// So many granules are looked at before they are stored. More are as well mapped by [`Table::map`], which does both by the
/// line and takes back what it has stored where something is in the way.
const MOST: u64 = 64;

impl<F: Format, M: Mem> Table<F, M> {
    /// Does what [`Table::map`] does, where that is a store for each of a few granules; where no leaf allows just `how`, they
    /// allow what [`Table::widen`] makes of it. False: nothing has changed, and
    /// [`Table::map`] does it or tells why not.
    ///
    /// # Safety
    /// As [`Table::map`]; `at`, the start and the length of `to` are multiples of the granule, and `to` is not empty.
    #[inline]
    pub unsafe fn map_run(&self, at: Iova, to: Span<PhysAddr>, how: Plain) -> bool {
        // SAFETY: as promised by the caller; the links are of the kind.
        unsafe {
            match self.links {
                Links::Exact => self.map_run_by::<EXACT>(at, to, how),
                Links::Marked => self.map_run_by::<MARKED>(at, to, how),
                Links::Cleaned => self.map_run_by::<CLEANED>(at, to, how),
            }
        }
    }

    /// [`Table::map_run`] for links of one kind.
    ///
    /// # Safety
    /// As there; the links are of this kind.
    #[inline(always)]
    pub(crate) unsafe fn map_run_by<const LINKS: u8>(
        &self,
        at: Iova,
        to: Span<PhysAddr>,
        how: Plain,
    ) -> bool {
        let (at, bytes, to) = (at.0, to.bytes, to.start.0);
        debug_assert!((at | to | bytes) & (self.granule() - 1) == 0 && bytes != 0);
        let table = 1 << F::entry_shift(1);
        let attributes = self.leaf_bits[how.place()];
        let fits = bytes <= MOST << F::GRANULE_SHIFT
            && (at & (table - 1)) + bytes <= table
            && attributes != 0
            && to <= self.last_output
            && to + (bytes - self.granule()) <= self.last_output;
        // A page of several entries is taken where it fits, and that is not looked for here.
        let singles = bytes < self.least_set || (at ^ to) & (self.least_set - 1) != 0;
        if !(fits & singles) {
            seldom();
            return false;
        }
        let Some(node) = self.table_of_granules::<LINKS>(at) else { return false };
        let count = (bytes >> F::GRANULE_SHIFT) as usize;
        let first = index::<F>(at, 0);
        let row = node.row(&self.mem, first);
        if (0..count).fold(0, |any, index| any | row.load(index)) != 0 {
            seldom();
            return false;
        }
        let mut to = to;
        for index in 0..count {
            row.store(index, F::leaf(PhysAddr(to), 0, F::GRANULE_SHIFT, attributes));
            to += self.granule();
        }
        if LINKS == CLEANED {
            node.clean(&self.mem, first, count);
        }
        self.mem.publish();
        true
    }

    /// The table of smallest pages for `at`, of a table with three levels or four.
    #[inline(always)]
    fn table_of_granules<const LINKS: u8>(&self, at: u64) -> Option<Node> {
        match self.root_at(3, at) {
            Some(_) => expected(self.lowest::<LINKS>(self.load_first(3, at), 3, at)),
            None => self.short_table_of_granules::<LINKS>(at),
        }
    }

    #[inline(never)]
    fn short_table_of_granules<const LINKS: u8>(&self, at: u64) -> Option<Node> {
        match self.short_root(at)? {
            (raw, 2) => self.lowest::<LINKS>(raw, 2, at),
            (raw, _) => self.lowest::<LINKS>(raw, 3, at),
        }
    }

    /// [`Table::unmap`] for a part of one table of smallest pages, below a root of three or four levels; no table goes then.
    /// Tells how many bytes were mapped. `None`: nothing has changed, and [`Table::unmap`] does it or tells why not.
    #[inline]
    pub fn unmap_run(&self, span: Span<Iova>) -> Option<u64> {
        // SAFETY: the links are of the kind.
        unsafe {
            match self.links {
                Links::Exact => self.unmap_run_by::<EXACT>(span),
                Links::Marked | Links::Cleaned => self.unmap_run_by::<MARKED>(span),
            }
        }
    }

    /// [`Table::unmap_run`] for links that are exact, if the parameter says so.
    ///
    /// # Safety
    /// They are.
    #[inline(always)]
    pub(crate) unsafe fn unmap_run_by<const LINKS: u8>(&self, span: Span<Iova>) -> Option<u64> {
        let (at, bytes, table) = (span.start.0, span.bytes, 1 << F::entry_shift(1));
        // All of a table goes with the table, and nothing is nothing.
        let apart = (1..table).contains(&bytes) && (at & (table - 1)) + bytes <= table;
        if !apart || (at | bytes) & (self.granule() - 1) != 0 {
            seldom();
            return None;
        }
        let node = self.table_of_granules::<LINKS>(at)?;
        let first = index::<F>(at, 0);
        let end = first + (bytes >> F::GRANULE_SHIFT) as usize;
        // Sets are in line with their size: one that reaches over an end has an entry there.
        let row = node.row(&self.mem, 0);
        let stands_alone = |raw: u64| raw == 0 || F::is_granule(raw);
        if !(stands_alone(row.load(first)) && stands_alone(row.load(end - 1))) {
            seldom();
            return None;
        }
        Some(self.clear(node, first, end) << F::GRANULE_SHIFT)
    }
}
