//! Single pages of a granule: most of what is mapped, unmapped and looked up.
//!
//! Walks of tables with three and four levels are written out, so that levels and shifts are constants. Whatever is not as
//! usual, a table that lacks, an entry that is there already, a range that is none, is left to the general way, which names
//! it.

use crate::{
    any::{AnyTable, each},
    format::Format,
    mem::Mem,
    table::{Table, index},
};
use ioward_types::{Attributes, Iova, PhysAddr, Span};

/// Walks down from the root to an entry that is no link, and goes on with `$found`, in which the entry's table, level, place
/// and value have the names given and the level is a constant. `$none`: the IOVA is outside the table, or the levels are not
/// written out.
///
/// With `$clean`, a link that has not been cleaned ends the walk with `$none` too: a walker that does not snoop may not see
/// it yet.
macro_rules! walk {
    ($table:ident, $at:ident, $clean:literal, [$node:ident $level:ident $place:ident $raw:ident] => $found:expr, $none:expr) => {{
        let top = $table.top();
        'walk: {
            // From a table, and the marks that all links to it have, one level down; or out.
            macro_rules! step {
                ($from:expr, $number:literal, $index:expr) => {{
                    #[allow(non_upper_case_globals)]
                    const $level: u32 = $number;
                    let (($node, links), $place) = ($from, $index);
                    let $raw = $node.load(&$table.mem, $place);
                    if $level == 0 || !F::is_link($raw, $level) {
                        if $clean && links & F::LINK_CLEANED == 0 {
                            break 'walk ($none);
                        }
                        break 'walk ($found);
                    }
                    (Self::child($raw), links & $raw)
                }};
            }
            let from = (top.node, u64::MAX);
            let from = match top.level {
                3 if $table.is_input_at(top, 3, $at) => {
                    let from = step!(from, 3, top.index_at::<F>($at, 3));
                    step!(from, 2, index::<F>($at, 2))
                }
                2 if $table.is_input_at(top, 2, $at) => step!(from, 2, top.index_at::<F>($at, 2)),
                _ => break 'walk ($none),
            };
            let from = step!(from, 1, index::<F>($at, 1));
            step!(from, 0, index::<F>($at, 0));
            $none
        }
    }};
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Does what [`Table::map`] does, where that is a granule and takes one store. False: nothing has changed, and
    /// [`Table::map`] does it or tells why not. Small enough to be inlined where mappings are made.
    ///
    /// # Safety
    /// As [`Table::map`].
    #[inline(always)]
    pub unsafe fn map_page(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool {
        let (at, to, bytes) = (at.0, to.start.0, to.bytes);
        if bytes != self.granule() || (at | to) & (self.granule() - 1) != 0 || to > self.last_output {
            return false;
        }
        let attributes = self.leaf_bits(how);
        if attributes == 0 {
            return false;
        }
        let entry = F::leaf(PhysAddr(to), 0, F::GRANULE_SHIFT, attributes);
        if !self.coherent {
            return self.map_page_incoherent(at, entry);
        }
        walk!(self, at, false, [node level place raw] => {
            if level != 0 || raw != 0 {
                return false;
            }
            node.store(&self.mem, place, entry);
            self.mem.publish();
            true
        }, false)
    }

    #[inline(never)]
    fn map_page_incoherent(&self, at: u64, entry: u64) -> bool {
        walk!(self, at, true, [node level place raw] => {
            if level != 0 || raw != 0 {
                return false;
            }
            node.store(&self.mem, place, entry);
            node.clean(&self.mem, place, 1);
            self.mem.publish();
            true
        }, false)
    }

    /// Does what [`Table::unmap`] does, where `span` is a page of a granule; no table goes then. False: nothing has changed,
    /// and [`Table::unmap`] does it or tells why not.
    #[inline(always)]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        let at = span.start.0;
        if span.bytes != self.granule() || at & (self.granule() - 1) != 0 {
            return false;
        }
        walk!(self, at, false, [node level place raw] => {
            if level != 0 || !F::is_granule(raw) {
                return false;
            }
            node.store(&self.mem, place, 0);
            if !self.coherent {
                node.clean(&self.mem, place, 1);
            }
            true
        }, false)
    }

    /// Where `at` leads, to the byte; `None` where nothing is mapped, or `at` is outside the table. [`Table::lookup`] tells
    /// more.
    ///
    /// As there, what a call that runs at the same time unmaps must not be freed meanwhile.
    #[inline(always)]
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        let at = at.0;
        walk!(self, at, false, [_node level _place raw] => {
            if raw == 0 {
                return None;
            }
            let offset = at & ((1 << F::leaf_shift(raw, level)) - 1);
            Some(PhysAddr(F::leaf_target(raw, level).0 | offset))
        }, self.lookup(Iova(at)).map(|(to, _, _)| to))
    }
}

impl<M: Mem> AnyTable<M> {
    /// See [`Table::map_page`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn map_page(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool {
        // SAFETY: as promised by the caller.
        each!(self, table => unsafe { table.map_page(at, to, how) })
    }

    /// See [`Table::unmap_page`].
    #[inline(always)]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        each!(self, table => table.unmap_page(span))
    }

    /// See [`Table::translate`].
    #[inline(always)]
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        each!(self, table => table.translate(at))
    }
}
