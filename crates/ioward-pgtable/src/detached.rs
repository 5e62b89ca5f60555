//! Tables that were taken off and wait for an invalidation; the end of whole tables.

use crate::{
    format::Format,
    mem::{BUNCH, Freeing, Mem, Node},
    table::Table,
};
use core::fmt;
use ioward_types::PhysAddr;

/// Tables that no entry leads to any more, but that hardware may still be walking.
///
/// An intrusive chain: the first entry of each detached table, made absent, holds the next one, so that it takes no
/// memory, and the tables below a detached one stay where they are. Dropping it leaks the tables, never lets them dangle.
#[must_use = "dropping it leaks the tables; free them after the invalidation"]
pub struct Detached {
    /// A chain word: zero at the end.
    head: u64,
    /// Which format's links the tables hold, as a fingerprint.
    format: (ioward_types::Format, u32),
}

/// A chain word: the next table's address, its level in bits 6:3, and bit 7 to say that there is one. Bits 2 to 0 are
/// zero, which is absent in every format.
const CHAINED: u64 = 1 << 7;

fn word(node: Node, level: u32) -> u64 {
    node.phys().0 | CHAINED | u64::from(level) << 3
}

impl Detached {
    /// No tables.
    pub(crate) fn none<F: Format>() -> Self {
        Self { head: 0, format: (F::FORMAT, F::GRANULE_SHIFT) }
    }

    /// Whether there are no tables.
    pub fn is_empty(&self) -> bool {
        self.head == 0
    }

    /// Adds a table of `level` that has just been taken off, with all below it.
    pub(crate) fn push<F: Format, M: Mem>(&mut self, mem: &M, node: Node, level: u32) {
        let (mut node, mut level) = (node, level);
        loop {
            let first = node.swap(mem, 0, self.head);
            self.head = word(node, level);
            // The first entry has given its place to the chain; a table that it led to joins the chain itself.
            if level == 0 || first == 0 || !F::is_link(first, level) {
                return;
            }
            // SAFETY: a link out of a table that was taken off just now, and with it all that is below.
            node = unsafe { Node::at(F::link_target(first)) };
            level -= 1;
        }
    }

    /// Whether the tables are of this format.
    fn is_of<F: Format>(&self) -> bool {
        self.format == (F::FORMAT, F::GRANULE_SHIFT)
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("Detached(none)");
        }
        write!(f, "Detached({} and more)", PhysAddr(self.head & !0xfff))
    }
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Gives detached tables back. Those of a table with another format are leaked.
    ///
    /// # Safety
    /// * They come from this table.
    /// * Hardware reaches them no more: since they were detached, leaves *and* walk caches of the range have been
    ///   invalidated on every IOMMU that walks the table, and confirmed so.
    /// * No call on this table that touches the range, begun before they were detached, still runs; neither a
    ///   [`Table::lookup`].
    pub unsafe fn free(&self, detached: Detached) {
        if !detached.is_of::<F>() {
            return;
        }
        let mut head = detached.head;
        let mut freeing = Freeing::new(&self.mem, Self::TABLE_BYTES);
        while head != 0 {
            // SAFETY: a chain word leads to a detached table, which only this chain knows.
            let node = unsafe { Node::at(PhysAddr(head & !0xfff)) };
            let level = (head >> 3 & 0xf) as u32;
            head = node.load(&self.mem, 0);
            self.free_below(node, level, 1, Self::ENTRIES, &mut freeing);
            // SAFETY: as promised by the caller.
            unsafe { freeing.add(node) };
        }
    }

    /// Frees everything below the entries `from..to` of a table of `level`.
    pub(crate) fn free_below(
        &self,
        node: Node,
        level: u32,
        from: usize,
        to: usize,
        freeing: &mut Freeing<'_, M>,
    ) {
        if level == 0 {
            return;
        }
        let row = node.row(&self.mem, 0);
        let mut i = from;
        while i < to {
            // Pages are passed over by the line.
            if to - i >= BUNCH && !(0..BUNCH).any(|ahead| F::is_link(row.load(i + ahead), level)) {
                i += BUNCH;
                continue;
            }
            let raw = row.load(i);
            if raw != 0 && F::is_link(raw, level) {
                let child = Self::child(raw);
                self.free_below(child, level - 1, 0, Self::ENTRIES, freeing);
                // SAFETY: the callers promise that the tree above is out of reach, and with it this table.
                unsafe { freeing.add(child) };
            }
            i += 1;
        }
    }

    /// Takes off every table that maps nothing, the root excepted. It borrows alone, because an empty table may be the
    /// one that a neighbour is about to map into.
    pub fn trim(&mut self) -> Detached {
        let top = self.top();
        let mut detached = Detached::none::<F>();
        self.trim_below(top.node, top.level, top.entries::<F>(), &mut detached);
        detached
    }

    /// Tells whether the table is empty afterwards.
    fn trim_below(&self, node: Node, level: u32, entries: usize, detached: &mut Detached) -> bool {
        let mut empty = true;
        for i in 0..entries {
            let raw = node.load(&self.mem, i);
            if raw == 0 {
                continue;
            }
            if level > 0 && F::is_link(raw, level) {
                let child = Self::child(raw);
                if self.trim_below(child, level - 1, Self::ENTRIES, detached) {
                    node.store(&self.mem, i, 0);
                    if !self.coherent {
                        node.clean(&self.mem, i, 1);
                    }
                    detached.push::<F, M>(&self.mem, child, level - 1);
                    continue;
                }
            }
            empty = false;
        }
        empty
    }

    /// Frees the root and everything below it.
    ///
    /// # Safety
    /// No IOMMU has the root installed or cached, confirmed so; [`Detached`] tables of it are freed before or never.
    pub unsafe fn destroy(self) {
        let config = self.config();
        let top = self.top();
        let mut freeing = Freeing::new(&self.mem, Self::TABLE_BYTES);
        self.free_below(top.node, top.level, 0, top.entries::<F>(), &mut freeing);
        drop(freeing);
        // A root that has grown is a plain table; another has the size that its width asks for.
        let bytes = F::shape(config.in_bits).root_bytes;
        // SAFETY: as promised by the caller; `self` is gone after this.
        unsafe { top.node.free(&self.mem, bytes) };
    }
}
