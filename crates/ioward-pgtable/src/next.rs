//! Finding what is mapped.

use crate::{any::AnyTable, format::Format, mem::Mem, table::Table, table::index};
use ioward_types::Iova;

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
}

impl<M: Mem> AnyTable<M> {
    /// See [`Table::next_mapped`].
    pub fn next_mapped(&self, from: Iova) -> Option<Iova> {
        crate::any::each!(&self.form, table => table.next_mapped(from))
    }
}
