//! Single pages of a granule: most of what is mapped, unmapped and looked up.
//!
//! Walks of tables with three and four levels are written out, so that levels and shifts are constants; those of four
//! without a branch that is taken, those of three after one jump. Whatever is not as usual, a table that lacks, an entry
//! that is there already, a range that is none, is left to the general way, which names it.

use crate::{
    any::{AnyTable, Form, Holds, each},
    format::{Format, seldom},
    mem::{Mem, Node},
    table::{CLEANED, EXACT, Links, MARKED, Table, index, root_index},
};
use ioward_types::{Attributes, Iova, PhysAddr, Span, hint::expected};

/// No format has addresses of so many bits.
const NOWHERE: PhysAddr = PhysAddr(u64::MAX);

/// What nearly every mapping allows: to read, to write, or both, RAM that nobody fetches from. Worked out once, where what is
/// mapped is known, and not for each page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain(u8);

impl Plain {
    /// How many there are.
    pub(crate) const ALL: usize = 8;

    /// The same as `how`, if that is one of these.
    #[inline(always)]
    pub const fn of(how: Attributes) -> Option<Self> {
        let Attributes { read, write, execute, privileged, coherent, mmio } = how;
        // One number of them, which they often are in a register already.
        let all = u64::from_le_bytes([
            read as u8,
            write as u8,
            execute as u8,
            privileged as u8,
            coherent as u8,
            mmio as u8,
            0,
            0,
        ]);
        if all & 0x0100_0101_0000 != 0 {
            return None;
        }
        // The three that are left, side by side: bits 0, 8 and 32 go to 61, 62 and 63, and nothing else goes there.
        const GATHER: u64 = 1 << 61 | 1 << 54 | 1 << 31;
        Some(Self((all.wrapping_mul(GATHER) >> 61) as u8))
    }

    /// The attributes.
    pub(crate) fn attributes(self) -> Attributes {
        let [read, write, coherent] = [0, 1, 2].map(|bit| self.0 >> bit & 1 != 0);
        Attributes { read, write, execute: false, privileged: false, coherent, mmio: false }
    }

    /// All of them, each at its place.
    pub(crate) fn all() -> [Self; Self::ALL] {
        core::array::from_fn(|place| Self(place as u8))
    }

    #[inline(always)]
    pub(crate) fn place(self) -> usize {
        usize::from(self.0) & (Self::ALL - 1)
    }
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Does what [`Table::map`] does, where that is a granule and takes one store. False: nothing has changed, and
    /// [`Table::map`] does it or tells why not.
    ///
    /// # Safety
    /// As [`Table::map`].
    #[inline(always)]
    pub unsafe fn map_page(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool {
        let Some(plain) = Plain::of(how).filter(|plain| self.allows(*plain)) else { return false };
        // SAFETY: as promised by the caller, for a granule.
        to.bytes == self.granule()
            && (at.0 | to.start.0) & (self.granule() - 1) == 0
            && unsafe { self.map_granule(at, to.start, plain) }
    }

    /// [`Table::map_page`] for who knows that it is a granule, and who gives more where no leaf allows just `how`: as
    /// [`Table::widen`] says. Small enough to be inlined where mappings are made.
    ///
    /// # Safety
    /// As [`Table::map`], for the granule at `to`; `at` and `to` are multiples of it.
    #[inline(always)]
    pub unsafe fn map_granule(&self, at: Iova, to: PhysAddr, how: Plain) -> bool {
        // SAFETY: as promised by the caller; the links are of the kind.
        unsafe {
            match self.links {
                Links::Exact => self.map_granule_by::<EXACT>(at, to, how),
                Links::Marked => self.map_granule_by::<MARKED>(at, to, how),
                Links::Cleaned => self.map_granule_by::<CLEANED>(at, to, how),
            }
        }
    }

    /// [`Table::map_granule`] for links of one kind: what an [`AnyTable`] has a pointer to.
    ///
    /// # Safety
    /// As there; the links are of this kind, which [`Table::links`] tells.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn map_granule_by<const LINKS: u8>(&self, at: Iova, to: PhysAddr, how: Plain) -> bool {
        let (at, to) = (at.0, to.0);
        debug_assert!((at | to) & (self.granule() - 1) == 0 && self.links as u8 == LINKS);
        let attributes = self.leaf_bits[how.place()];
        if attributes == 0 || to > self.last_output {
            seldom();
            return false;
        }
        let entry = F::leaf(PhysAddr(to), 0, F::GRANULE_SHIFT, attributes);
        match self.root_at(3, at) {
            Some(_) => self.put::<LINKS>(self.load_first(3, at), 3, at, entry),
            None => self.put_short::<LINKS>(at, entry),
        }
    }

    #[inline(never)]
    fn put_short<const LINKS: u8>(&self, at: u64, entry: u64) -> bool {
        self.short_root(at).is_some_and(|(raw, level)| match level {
            2 => self.put::<LINKS>(raw, 2, at, entry),
            _ => self.put::<LINKS>(raw, 3, at, entry),
        })
    }

    /// The root's entry for `at` and the root's level, of a table that has three levels or has grown to four.
    #[inline(always)]
    pub(crate) fn short_root(&self, at: u64) -> Option<(u64, u32)> {
        match (self.root_at(2, at), self.grown_root(at)) {
            (Some(_), _) => Some((self.load_first(2, at), 2)),
            (_, Some(root)) => Some((root.load(&self.mem, root_index::<F>(at, 3)), 3)),
            _ => None,
        }
    }

    /// Stores the entry of `at`, if there is none, below the root's entry `raw`.
    #[inline(always)]
    fn put<const LINKS: u8>(&self, raw: u64, level: u32, at: u64, entry: u64) -> bool {
        let Some(table) = expected(self.lowest::<LINKS>(raw, level, at)) else { return false };
        let row = table.row(&self.mem, index::<F>(at, 0));
        if row.load(0) != 0 {
            seldom();
            return false;
        }
        row.store(0, entry);
        if LINKS == CLEANED {
            table.clean(&self.mem, index::<F>(at, 0), 1);
        }
        self.mem.publish();
        true
    }

    /// Does what [`Table::unmap`] does, where `span` is a page of a granule; no table goes then. False: nothing has changed,
    /// and [`Table::unmap`] does it or tells why not.
    #[inline(always)]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        span.bytes == self.granule()
            && span.start.0 & (self.granule() - 1) == 0
            && self.unmap_granule(span.start)
    }

    /// [`Table::unmap_page`] for the granule that `at` lies in.
    #[inline(always)]
    pub fn unmap_granule(&self, at: Iova) -> bool {
        // SAFETY: the links are of the kind.
        unsafe {
            match self.links {
                Links::Exact => self.unmap_granule_by::<EXACT>(at),
                Links::Marked => self.unmap_granule_by::<MARKED>(at),
                Links::Cleaned => self.unmap_granule_by::<CLEANED>(at),
            }
        }
    }

    /// [`Table::unmap_granule`] for links of one kind.
    ///
    /// # Safety
    /// The links are of this kind.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn unmap_granule_by<const LINKS: u8>(&self, at: Iova) -> bool {
        let at = at.0;
        debug_assert!(self.links as u8 == LINKS);
        match self.root_at(3, at) {
            Some(_) => self.take_page::<LINKS>(self.load_first(3, at), 3, at),
            None => self.take_page_short::<LINKS>(at),
        }
    }

    #[inline(never)]
    fn take_page_short<const LINKS: u8>(&self, at: u64) -> bool {
        self.short_root(at).is_some_and(|(raw, level)| match level {
            2 => self.take_page::<LINKS>(raw, 2, at),
            _ => self.take_page::<LINKS>(raw, 3, at),
        })
    }

    #[inline(always)]
    fn take_page<const LINKS: u8>(&self, raw: u64, level: u32, at: u64) -> bool {
        // What is mapped was mapped behind links that are clean.
        let table = if LINKS == EXACT {
            self.lowest::<EXACT>(raw, level, at)
        } else {
            self.lowest::<MARKED>(raw, level, at)
        };
        let Some(table) = expected(table) else { return false };
        let row = table.row(&self.mem, index::<F>(at, 0));
        if !F::is_granule(row.load(0)) {
            seldom();
            return false;
        }
        row.store(0, 0);
        if LINKS == CLEANED {
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
        // SAFETY: the links are of the kind.
        unsafe {
            match self.links {
                Links::Exact => self.translate_by::<EXACT>(at, nowhere),
                Links::Marked | Links::Cleaned => self.translate_by::<MARKED>(at, nowhere),
            }
        }
    }

    /// [`Table::translate_or`] for links of one kind; who looks up need not know what is clean.
    ///
    /// # Safety
    /// The links are of this kind.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn translate_by<const LINKS: u8>(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        match self.root_at(3, at.0) {
            Some(_) => self.translate_from::<LINKS>(self.load_first(3, at.0), 3, at.0, nowhere),
            None => self.translate_short(at, nowhere),
        }
    }

    #[inline(never)]
    fn translate_short(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        match self.short_root(at.0) {
            Some((raw, 2)) => self.translate_from::<MARKED>(raw, 2, at.0, nowhere),
            Some((raw, _)) => self.translate_from::<MARKED>(raw, 3, at.0, nowhere),
            None => self.lookup(at).map_or(nowhere, |(to, _, _)| to),
        }
    }

    /// Where an entry of a root of `level`, which is 2 or 3 and a constant, leads to.
    #[inline(always)]
    fn translate_from<const LINKS: u8>(&self, raw: u64, level: u32, at: u64, nowhere: PhysAddr) -> PhysAddr {
        macro_rules! below {
            ($raw:expr, $level:expr) => {{
                let raw = $raw;
                if !F::is_link(raw, $level) {
                    seldom();
                    return if raw == 0 { nowhere } else { F::output(raw, $level, at) };
                }
                // SAFETY: the links are of the kind: see `links_are`.
                unsafe { self.load_below::<LINKS>(raw, $level - 1, at) }
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

    /// The table of smallest pages for `at`, below an entry of a root of `level`, which is 2 or 3 and a constant. None where
    /// links lack, or pages are larger.
    ///
    /// [`Links`] says what the parameter means.
    #[inline(always)]
    pub(crate) fn lowest<const LINKS: u8>(&self, raw: u64, level: u32, at: u64) -> Option<Node> {
        let node = self.follow::<LINKS>(raw, level)?;
        let node = if level == 3 { self.follow::<LINKS>(self.entry(node, 2, at), 2)? } else { node };
        self.follow::<LINKS>(self.entry(node, 1, at), 1)
    }

    #[inline(always)]
    fn entry(&self, node: Node, level: u32, at: u64) -> u64 {
        node.row(&self.mem, index::<F>(at, level)).load(0)
    }

    #[inline(always)]
    fn follow<const LINKS: u8>(&self, raw: u64, level: u32) -> Option<Node> {
        self.links_are::<LINKS>();
        // One comparison: not `&&`.
        let usable = (LINKS != CLEANED) | (raw & F::LINK_CLEANED != 0);
        // SAFETY: the links are of the kind.
        (F::is_link(raw, level) & usable).then(|| unsafe { Self::child_by::<LINKS>(raw) })
    }

    /// What every function here with a kind of links as its parameter relies on. Whoever is not one of them is `unsafe`, or
    /// has chosen by what the table says.
    #[inline(always)]
    fn links_are<const LINKS: u8>(&self) {
        debug_assert!(LINKS != EXACT || self.links == Links::Exact);
    }
}

/// What is done for single pages and short runs, for one format and kind of links.
pub(crate) struct Calls<M: Mem> {
    map: unsafe fn(&Form<M>, Iova, PhysAddr, Plain) -> bool,
    unmap: unsafe fn(&Form<M>, Iova) -> bool,
    map_run: unsafe fn(&Form<M>, Iova, Span<PhysAddr>, Plain) -> bool,
    unmap_run: unsafe fn(&Form<M>, Span<Iova>) -> Option<u64>,
    translate: unsafe fn(&Form<M>, Iova, PhysAddr) -> PhysAddr,
}

impl<M: Mem> Calls<M> {
    /// For a table of format `F` with links of a kind.
    pub(crate) fn of<F: Format>(links: Links) -> Self
    where
        Form<M>: Holds<F, M>,
    {
        macro_rules! by {
            ($links:expr, $read:expr) => {
                Self {
                    map: map::<F, M, $links>,
                    unmap: unmap::<F, M, $links>,
                    map_run: map_run::<F, M, $links>,
                    unmap_run: unmap_run::<F, M, $read>,
                    translate: translate::<F, M, $read>,
                }
            };
        }
        match links {
            Links::Exact => by!(EXACT, EXACT),
            Links::Marked => by!(MARKED, MARKED),
            Links::Cleaned => by!(CLEANED, MARKED),
        }
    }
}

/// # Safety
/// As [`Table::map_granule`]; the table is of format `F`, and its links are of the kind.
unsafe fn map<F: Format, M: Mem, const LINKS: u8>(form: &Form<M>, at: Iova, to: PhysAddr, how: Plain) -> bool
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    unsafe { form.table().map_granule_by::<LINKS>(at, to, how) }
}

/// # Safety
/// The table is of format `F`, and its links are of the kind.
unsafe fn unmap<F: Format, M: Mem, const LINKS: u8>(form: &Form<M>, at: Iova) -> bool
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    unsafe { form.table().unmap_granule_by::<LINKS>(at) }
}

/// # Safety
/// As [`Table::map_run`]; the table is of format `F`, and its links are of the kind.
unsafe fn map_run<F: Format, M: Mem, const LINKS: u8>(
    form: &Form<M>,
    at: Iova,
    to: Span<PhysAddr>,
    how: Plain,
) -> bool
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    unsafe { form.table().map_run_by::<LINKS>(at, to, how) }
}

/// # Safety
/// The table is of format `F`; its links are exact if the parameter says so.
unsafe fn unmap_run<F: Format, M: Mem, const LINKS: u8>(form: &Form<M>, span: Span<Iova>) -> Option<u64>
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    unsafe { form.table().unmap_run_by::<LINKS>(span) }
}

/// # Safety
/// The table is of format `F`; its links are exact if the parameter says so.
unsafe fn translate<F: Format, M: Mem, const LINKS: u8>(
    form: &Form<M>,
    at: Iova,
    nowhere: PhysAddr,
) -> PhysAddr
where
    Form<M>: Holds<F, M>,
{
    // SAFETY: as promised by the caller.
    unsafe { form.table().translate_by::<LINKS>(at, nowhere) }
}

// `calls` and `form` are made together, of one table, and neither changes.
impl<M: Mem> AnyTable<M> {
    /// See [`Table::map_page`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn map_page(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> bool {
        // SAFETY: as promised by the caller.
        each!(&self.form, table => unsafe { table.map_page(at, to, how) })
    }

    /// See [`Table::map_granule`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn map_granule(&self, at: Iova, to: PhysAddr, how: Plain) -> bool {
        // SAFETY: as promised by the caller; the functions are the table's.
        unsafe { (self.calls.map)(&self.form, at, to, how) }
    }

    /// See [`Table::unmap_page`].
    #[inline]
    pub fn unmap_page(&self, span: Span<Iova>) -> bool {
        each!(&self.form, table => table.unmap_page(span))
    }

    /// See [`Table::unmap_granule`].
    #[inline(always)]
    pub fn unmap_granule(&self, at: Iova) -> bool {
        // SAFETY: the functions are the table's.
        unsafe { (self.calls.unmap)(&self.form, at) }
    }

    /// See [`Table::map_run`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn map_run(&self, at: Iova, to: Span<PhysAddr>, how: Plain) -> bool {
        // SAFETY: as promised by the caller; the functions are the table's.
        unsafe { (self.calls.map_run)(&self.form, at, to, how) }
    }

    /// See [`Table::unmap_run`].
    #[inline(always)]
    pub fn unmap_run(&self, span: Span<Iova>) -> Option<u64> {
        // SAFETY: the functions are the table's.
        unsafe { (self.calls.unmap_run)(&self.form, span) }
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
        // SAFETY: the functions are the table's.
        unsafe { (self.calls.translate)(&self.form, at, nowhere) }
    }
}
