//! Single pages of a granule: most of what is mapped, unmapped and looked up.
//!
//! Walks of tables with three and four levels are written out, so that levels and shifts are constants; those of four
//! without a branch that is taken, those of three after one jump. Whatever is not as usual, a table that lacks, an entry
//! that is there already, a range that is none, is left to the general way, which names it.

use crate::{
    any::{AnyTable, Form, Holds},
    format::{Format, seldom},
    mem::{Mem, Node},
    table::{Table, index, root_index},
};
use ioward_types::{Attributes, Iova, PhysAddr, Span};

/// No format has addresses of so many bits.
const NOWHERE: PhysAddr = PhysAddr(u64::MAX);

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
        match self.root_at(3, at) {
            Some(root) => self.put(root, 3, at, entry),
            None => self.put_short(at, entry),
        }
    }

    #[inline(never)]
    fn put_short(&self, at: u64, entry: u64) -> bool {
        match (self.root_at(2, at), self.grown_root(at)) {
            (Some(root), _) => self.put(root, 2, at, entry),
            (_, Some(root)) => self.put(root, 3, at, entry),
            _ => false,
        }
    }

    #[inline(always)]
    fn put(&self, root: Node, level: u32, at: u64, entry: u64) -> bool {
        if self.coherent {
            let Some(table) = self.lowest::<false>(root, level, at) else { return false };
            let row = table.row(&self.mem, index::<F>(at, 0));
            if row.load(0) != 0 {
                return false;
            }
            row.store(0, entry);
        } else {
            let Some(table) = self.lowest::<true>(root, level, at) else { return false };
            let row = table.row(&self.mem, index::<F>(at, 0));
            if row.load(0) != 0 {
                return false;
            }
            row.store(0, entry);
            table.clean(&self.mem, index::<F>(at, 0), 1);
        }
        self.mem.publish();
        true
    }

    /// Does what [`Table::unmap`] does, where `span` is a page of a granule; no table goes then. False: nothing has changed,
    /// and [`Table::unmap`] does it or tells why not.
    #[inline(always)]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        let at = span.start.0;
        if span.bytes != self.granule() || at & (self.granule() - 1) != 0 {
            return false;
        }
        match self.root_at(3, at) {
            Some(root) => self.take_page(root, 3, at),
            None => self.take_page_short(at),
        }
    }

    #[inline(never)]
    fn take_page_short(&self, at: u64) -> bool {
        match (self.root_at(2, at), self.grown_root(at)) {
            (Some(root), _) => self.take_page(root, 2, at),
            (_, Some(root)) => self.take_page(root, 3, at),
            _ => false,
        }
    }

    #[inline(always)]
    fn take_page(&self, root: Node, level: u32, at: u64) -> bool {
        let Some(table) = self.lowest::<false>(root, level, at) else { return false };
        let row = table.row(&self.mem, index::<F>(at, 0));
        if !F::is_granule(row.load(0)) {
            return false;
        }
        row.store(0, 0);
        if !self.coherent {
            table.clean(&self.mem, index::<F>(at, 0), 1);
        }
        true
    }

    /// Where `at` leads, to the byte; `None` where nothing is mapped, or `at` is outside the table. [`Table::lookup`] tells
    /// more.
    ///
    /// As there, what a call that runs at the same time unmaps must not be freed meanwhile.
    #[inline(always)]
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        let to = self.translate_or(at, NOWHERE);
        (to != NOWHERE).then_some(to)
    }

    /// [`Table::translate`] for who has an address of his own for nowhere.
    #[inline(always)]
    pub fn translate_or(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        match self.root_at(3, at.0) {
            Some(_) => self.translate_from(self.load_first(3, at.0), 3, at.0, nowhere),
            None => self.translate_short(at, nowhere),
        }
    }

    #[inline(never)]
    fn translate_short(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        match (self.root_at(2, at.0), self.grown_root(at.0)) {
            (Some(_), _) => self.translate_from(self.load_first(2, at.0), 2, at.0, nowhere),
            (_, Some(root)) => {
                let raw = root.load(&self.mem, root_index::<F>(at.0, 3));
                self.translate_from(raw, 3, at.0, nowhere)
            }
            _ => self.lookup(at).map_or(nowhere, |(to, _, _)| to),
        }
    }

    /// Where an entry of a root of `level`, which is 2 or 3 and a constant, leads to.
    #[inline(always)]
    fn translate_from(&self, raw: u64, level: u32, at: u64, nowhere: PhysAddr) -> PhysAddr {
        macro_rules! below {
            ($raw:expr, $level:expr) => {{
                let raw = $raw;
                if !F::is_link(raw, $level) {
                    seldom();
                    return if raw == 0 { nowhere } else { F::output(raw, $level, at) };
                }
                self.load_below(raw, $level - 1, at)
            }};
        }
        let raw = below!(raw, level);
        let raw = if level == 3 { below!(raw, 2) } else { raw };
        let raw = below!(raw, 1);
        match F::output_of_granule(raw, at) {
            Some(to) => to,
            None if raw == 0 => nowhere,
            None => F::output(raw, 0, at),
        }
    }

    /// The table of smallest pages for `at`, below a root of `level`, which is 2 or 3 and a constant. None where links lack,
    /// or pages are larger.
    ///
    /// With `CLEAN`, a link that has not been cleaned counts as none: a walker that does not snoop may not see it yet.
    #[inline(always)]
    pub(crate) fn lowest<const CLEAN: bool>(&self, root: Node, level: u32, at: u64) -> Option<Node> {
        let node = self.follow::<CLEAN>(root, level, root_index::<F>(at, level))?;
        let node = if level == 3 { self.follow::<CLEAN>(node, 2, index::<F>(at, 2))? } else { node };
        self.follow::<CLEAN>(node, 1, index::<F>(at, 1))
    }

    #[inline(always)]
    fn follow<const CLEAN: bool>(&self, node: Node, level: u32, place: usize) -> Option<Node> {
        let raw = node.row(&self.mem, place).load(0);
        // One comparison: not `&&`.
        let usable = !CLEAN | (raw & F::LINK_CLEANED != 0);
        (F::is_link(raw, level) & usable).then(|| Self::child(raw))
    }
}

/// What is done for single pages, for one format.
pub(crate) struct Calls<M: Mem> {
    map: unsafe fn(&Form<M>, Iova, Span<PhysAddr>, Attributes) -> bool,
    unmap: fn(&Form<M>, Span<Iova>) -> bool,
    translate: fn(&Form<M>, Iova, PhysAddr) -> PhysAddr,
}

impl<M: Mem> Calls<M> {
    pub(crate) fn of<F: Format>() -> Self
    where
        Form<M>: Holds<F, M>,
    {
        Self { map: map::<F, M>, unmap: unmap::<F, M>, translate: translate::<F, M> }
    }
}

// A table is of the format whose functions it was made with; were it not, the general way does it.

/// # Safety
/// As [`Table::map_page`].
unsafe fn map<F: Format, M: Mem>(form: &Form<M>, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    form.table().is_some_and(|table| unsafe { table.map_page(at, to, how) })
}

fn unmap<F: Format, M: Mem>(form: &Form<M>, span: Span<Iova>) -> bool
where
    Form<M>: Holds<F, M>,
{
    form.table().is_some_and(|table| table.unmap_page(span))
}

fn translate<F: Format, M: Mem>(form: &Form<M>, at: Iova, nowhere: PhysAddr) -> PhysAddr
where
    Form<M>: Holds<F, M>,
{
    form.table().map_or(nowhere, |table| table.translate_or(at, nowhere))
}

impl<M: Mem> AnyTable<M> {
    /// See [`Table::map_page`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn map_page(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { (self.calls.map)(&self.form, at, to, how) }
    }

    /// See [`Table::unmap_page`].
    #[inline(always)]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        (self.calls.unmap)(&self.form, span)
    }

    /// See [`Table::translate`].
    #[inline(always)]
    pub fn translate(&self, at: Iova) -> Option<PhysAddr> {
        let to = self.translate_or(at, NOWHERE);
        (to != NOWHERE).then_some(to)
    }

    /// See [`Table::translate_or`].
    #[inline(always)]
    pub fn translate_or(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        (self.calls.translate)(&self.form, at, nowhere)
    }
}
