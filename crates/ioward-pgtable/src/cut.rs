//! Cut: split a large page in place, while DMA runs, where the format can.

use crate::{
    error::CutError,
    format::Format,
    mem::{Freeing, Mem, Node},
    table::Table,
};
use ioward_types::{Iova, OutOfMemory, PhysAddr, Span};

impl<F: Format, M: Mem> Table<F, M> {
    /// Splits pages until one begins at `at`, a multiple of the granule, or nothing is mapped there. Every byte goes on
    /// being translated alike at every instant, and marks of access are kept. Tells the IOVAs of the page that was split,
    /// if any: hardware may hold the large entry until they have been invalidated, which must be before a part of them is
    /// unmapped for good.
    ///
    /// Refused where the format or this IOMMU would need the entry to be absent in between; nothing changes then. Where
    /// memory runs out, pages may have been split, but not as far as `at`.
    pub fn cut(&self, at: Iova) -> Result<Option<Span<Iova>>, CutError> {
        let top = self.top();
        if !Self::is_input(top, at.0) || at.0 & (self.granule() - 1) != 0 {
            return Err(CutError::At { at, granule: self.granule(), in_bits: self.config().in_bits });
        }
        let mut outermost = None;
        loop {
            let Some((node, level, place, raw)) = self.find_entry(top, at.0) else { return Ok(outermost) };
            let shift = F::leaf_shift(raw, level);
            let page = Span { start: Iova(at.0 & !((1 << shift) - 1)), bytes: 1 << shift };
            if page.start == at {
                return Ok(outermost);
            }
            if !F::cuts_hitless(&self.options()) {
                return Err(CutError::NotHitless { format: F::FORMAT, page });
            }
            let own = F::entry_shift(level);
            if shift == own {
                self.replace_by_table(node, level, place, raw)
                    .map_err(|out| CutError::NoMemory { at, out })?;
            } else {
                self.split_set(node, level, place & !((1 << (shift - own)) - 1), shift);
            }
            outermost = outermost.or(Some(page));
        }
    }

    /// Makes a page of several entries into pages of the next smaller size, in the same table: a set's size is configured
    /// only together with the single entry's. Each entry translates alike before and after.
    fn split_set(&self, node: Node, level: u32, first: usize, shift: u32) {
        let own = F::entry_shift(level);
        let entries = 1 << (shift - own);
        let smaller = 63 - (self.sizes & ((1 << shift) - 1)).leading_zeros();
        for i in 0..entries {
            let mut raw = node.load(&self.mem, first + i);
            // A failed exchange has met a bit that hardware has just set.
            while raw != 0 && F::leaf_shift(raw, level) == shift {
                let to = PhysAddr(F::leaf_target(raw, level).0 + ((i as u64) << own));
                let new = F::leaf(to, level, smaller, raw & F::LEAF_ATTRIBUTES);
                match node.cas(&self.mem, first + i, raw, new) {
                    Ok(()) => break,
                    Err(found) => raw = found,
                }
            }
        }
        if !self.coherent {
            node.clean(&self.mem, first, entries);
        }
        self.mem.publish();
    }

    /// Replaces the leaf `raw` by a table that maps the same; does nothing where it has changed meanwhile.
    fn replace_by_table(&self, node: Node, level: u32, place: usize, raw: u64) -> Result<(), OutOfMemory> {
        let to = F::leaf_target(raw, level);
        let table = self.build(level - 1, to, raw & F::LEAF_ATTRIBUTES)?;
        self.mem.publish();
        let link = F::link(table.phys(), level - 1);
        if node.cas(&self.mem, place, raw, link).is_err() {
            self.discard(table, level - 1);
        } else if !self.coherent {
            self.clean_link(node, place, link);
        }
        Ok(())
    }

    /// A full table of `level` that maps memory from `to` on with the largest pages below its own span.
    fn build(&self, level: u32, to: PhysAddr, attributes: u64) -> Result<Node, OutOfMemory> {
        let table = Node::new(&self.mem, Self::TABLE_BYTES, self.below())?;
        let (own, span) = (F::entry_shift(level), F::entry_shift(level + 1));
        let shift = 63 - (self.sizes & ((1 << span) - 1)).leading_zeros();
        for i in 0..Self::ENTRIES {
            let to = PhysAddr(to.0 + ((i as u64) << own));
            let entry = if shift >= own {
                F::leaf(to, level, shift, attributes)
            } else {
                match self.build(level - 1, to, attributes) {
                    Ok(below) => F::link(below.phys(), level - 1) | self.cleaned_mark(),
                    Err(out) => {
                        self.discard(table, level);
                        return Err(out);
                    }
                }
            };
            table.store(&self.mem, i, entry);
        }
        if !self.coherent {
            table.clean(&self.mem, 0, Self::ENTRIES);
        }
        Ok(table)
    }

    /// Frees a table of `level` that was never linked, with all below it.
    fn discard(&self, table: Node, level: u32) {
        let mut freeing = Freeing::new(&self.mem, Self::TABLE_BYTES);
        self.free_below(table, level, 0, Self::ENTRIES, &mut freeing);
        // SAFETY: made by `build` and seen by nobody else.
        unsafe { freeing.add(table) }
    }
}
