//! Finding what is mapped, and tables in which nothing is.

use crate::{
    any::AnyTable,
    format::Format,
    mem::{Mem, Node},
    table::{Table, index},
};
use ioward_types::{Iova, Span};

impl<F: Format, M: Mem> Table<F, M> {
    /// The first IOVA from `from` on that something is mapped at: `from` itself, or the first byte of a page. `None` where
    /// nothing follows in the same half of the input range.
    ///
    /// As [`Table::lookup`], it must not run while tables of a range that it may pass are freed.
    pub fn next_mapped(&self, from: Iova) -> Option<Iova> {
        let top = self.top();
        let mut at = from.0;
        while Self::is_input(top, at) {
            let (mut node, mut level) = (top.node, top.level);
            let mut place = top.index::<F>(at);
            let raw = loop {
                let raw = node.load(&self.mem, place);
                if raw == 0 || level == 0 || !F::is_link(raw, level) {
                    break raw;
                }
                node = Self::child(raw);
                level -= 1;
                place = index::<F>(at, level);
            };
            if raw != 0 {
                return Some(Iova(at));
            }
            at = (at | ((1 << F::entry_shift(level)) - 1)).checked_add(1)?;
        }
        None
    }

    /// The first table from `from` on, the root excepted, that has no entries: the IOVAs that it spans, all of which an unmap
    /// takes it off with. `Ok(None)` where none follows in the same half of the input range, and `Err` where so many tables
    /// have been looked at: from there it goes on. While others map, what was so a moment ago.
    ///
    /// As [`Table::lookup`], it must not run while tables of a range that it may pass are freed.
    pub fn next_empty(&self, from: Iova, tables: usize) -> Result<Option<Span<Iova>>, Iova> {
        let top = self.top();
        let (mut at, mut left) = (from.0, tables);
        while Self::is_input(top, at) {
            if left == 0 {
                return Err(Iova(at));
            }
            left -= 1;
            let (mut node, mut level) = (top.node, top.level);
            let mut place = top.index::<F>(at);
            // What an entry of `level` spans is passed, unless it is a link.
            loop {
                let raw = node.load(&self.mem, place);
                if level == 0 || raw == 0 || !F::is_link(raw, level) {
                    break;
                }
                node = Self::child(raw);
                if self.has_none(node) {
                    let bytes = 1 << F::entry_shift(level);
                    return Ok(Some(Span { start: Iova(at & !(bytes - 1)), bytes }));
                }
                level -= 1;
                place = index::<F>(at, level);
            }
            // Of a table of the lowest level one entry is enough: it is not empty.
            let passed = F::entry_shift(level.max(1));
            let Some(next) = (at | ((1 << passed) - 1)).checked_add(1) else { return Ok(None) };
            at = next;
        }
        Ok(None)
    }

    fn has_none(&self, node: Node) -> bool {
        let row = node.row(&self.mem, 0);
        (0..Self::ENTRIES).all(|place| row.load(place) == 0)
    }
}

impl<M: Mem> AnyTable<M> {
    /// See [`Table::next_empty`].
    pub fn next_empty(&self, from: Iova, tables: usize) -> Result<Option<Span<Iova>>, Iova> {
        crate::any::each!(&self.form, table => table.next_empty(from, tables))
    }

    /// See [`Table::next_mapped`].
    pub fn next_mapped(&self, from: Iova) -> Option<Iova> {
        crate::any::each!(&self.form, table => table.next_mapped(from))
    }
}
