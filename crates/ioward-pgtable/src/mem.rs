//! The engine's only way to memory, and the only unsafe code that runs on its behalf.
//!
//! What every function here relies on: a [`Node`] names a table that this engine allocated with enough entries for every
//! index that the engine forms, and that has not been freed. Nodes are made in two ways only: by allocating a table, and
//! by following a link out of a live one ([`Node::at`]).

use core::{
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};
use ioward_types::{OutOfMemory, PhysAddr, Platform, Span, hw};

/// Table memory. Every [`Platform`] has it; the trait stands between so that something can be put in: pages that are kept at
/// hand, or a checker of interleavings.
///
/// # Implementation safety
/// As [`Platform`]'s: frames are zeroed and exclusive until freed, and accesses are atomic.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait Mem: Clone + Send + Sync + 'static {
    /// Loads 64 bits with acquire ordering.
    ///
    /// # Safety
    /// `at` is a multiple of 8 in frames that stay allocated during the call.
    unsafe fn load(&self, at: PhysAddr) -> u64;
    /// Stores 64 bits with release ordering.
    ///
    /// # Safety
    /// As [`Mem::load`], and hardware may see the value.
    unsafe fn store(&self, at: PhysAddr, value: u64);
    /// Stores `new` where `old` is; `Err` tells what is there instead.
    ///
    /// # Safety
    /// As [`Mem::store`].
    unsafe fn cas(&self, at: PhysAddr, old: u64, new: u64) -> Result<(), u64>;
    /// Stores `value` and tells what was there.
    ///
    /// # Safety
    /// As [`Mem::store`].
    unsafe fn swap(&self, at: PhysAddr, value: u64) -> u64;
    /// A table as the CPU reaches it, worked out once for many accesses. It is the same for as long as the table lives.
    type View: Copy + Send + Sync;
    /// See [`Mem::View`].
    ///
    /// # Safety
    /// A table of ours starts at `table`. The view is used no longer than the table lives.
    unsafe fn view(&self, table: PhysAddr) -> Self::View;
    /// As [`Mem::load`], of word `index` of the table that the view was made of.
    ///
    /// # Safety
    /// As [`Mem::load`].
    unsafe fn load_in(&self, view: Self::View, table: PhysAddr, index: usize) -> u64;
    /// As [`Mem::store`], of word `index` of the table that the view was made of.
    ///
    /// # Safety
    /// As [`Mem::store`].
    unsafe fn store_in(&self, view: Self::View, table: PhysAddr, index: usize, value: u64);
    /// Zeroed frames, as [`Platform::frames`].
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory>;
    /// Gives frames back.
    ///
    /// # Safety
    /// As [`Platform::free`].
    unsafe fn free(&self, at: PhysAddr, bytes: usize);
    /// As [`Mem::free`], for tables of `bytes` bytes each.
    ///
    /// # Safety
    /// As there.
    #[inline]
    unsafe fn free_all(&self, tables: &[PhysAddr], bytes: usize) {
        // SAFETY: as promised by the caller.
        tables.iter().for_each(|at| unsafe { self.free(*at, bytes) });
    }
    /// Cleans lines for a walker that does not snoop, as [`Platform::clean`].
    fn clean(&self, lines: Span<PhysAddr>);
    /// As [`Platform::publish`].
    fn publish(&self);
}

/// The words of a table, where the CPU sees them.
#[derive(Clone, Copy, Debug)]
pub struct Words(NonNull<AtomicU64>);

// SAFETY: it is an address; whoever uses it answers for the table, whose words are atomic.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

// SAFETY: handed on to the platform, which promised the same.
unsafe impl<P: Platform> Mem for P {
    #[inline(always)]
    unsafe fn load(&self, at: PhysAddr) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { hw::load64(self, at) }
    }
    #[inline(always)]
    unsafe fn store(&self, at: PhysAddr, value: u64) {
        // SAFETY: as promised by the caller.
        unsafe { hw::store64(self, at, value) }
    }
    #[inline(always)]
    unsafe fn cas(&self, at: PhysAddr, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: as promised by the caller.
        unsafe { hw::cas64(self, at, old, new) }
    }
    #[inline(always)]
    unsafe fn swap(&self, at: PhysAddr, value: u64) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { hw::swap64(self, at, value) }
    }
    type View = Words;
    #[inline(always)]
    unsafe fn view(&self, table: PhysAddr) -> Words {
        Words(self.virt(table).cast())
    }
    #[inline(always)]
    unsafe fn load_in(&self, view: Words, _: PhysAddr, index: usize) -> u64 {
        // SAFETY: as promised by the caller: a word of a table that lives, aligned as tables are.
        u64::from_le(unsafe { view.0.add(index).as_ref() }.load(Ordering::Acquire))
    }
    #[inline(always)]
    unsafe fn store_in(&self, view: Words, table: PhysAddr, index: usize, value: u64) {
        if P::TRACED {
            // SAFETY: as promised by the caller.
            return unsafe { hw::store64(self, PhysAddr(table.0 + index as u64 * 8), value) };
        }
        // SAFETY: as for `load_in`.
        unsafe { view.0.add(index).as_ref() }.store(value.to_le(), Ordering::Release);
    }
    #[inline(always)]
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        Platform::frames(self, bytes, align, below)
    }
    #[inline(always)]
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        // SAFETY: as promised by the caller.
        unsafe { Platform::free(self, at, bytes) }
    }
    #[inline(always)]
    fn clean(&self, lines: Span<PhysAddr>) {
        Platform::clean(self, lines)
    }
    #[inline(always)]
    fn publish(&self) {
        Platform::publish(self)
    }
}

/// Bytes that one clean reaches at once, for batching. A platform with longer lines rounds outward itself.
pub(crate) const LINE: u64 = 64;

/// Cleans the lines that hold words of live tables, each once; none where the range is empty.
#[inline]
pub(crate) fn clean_words<M: Mem>(mem: &M, words: Range<u64>) {
    let start = words.start & !(LINE - 1);
    let end = (words.end + LINE - 1) & !(LINE - 1);
    if let Some(lines) = Span::new(PhysAddr(start), end - start) {
        mem.clean(lines);
    }
}

/// A live table of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Node(PhysAddr);

impl Node {
    /// A new table of zeroes.
    pub(crate) fn new<M: Mem>(mem: &M, bytes: usize, below: PhysAddr) -> Result<Self, OutOfMemory> {
        Ok(Self(mem.frames(bytes, bytes, below)?))
    }

    /// The table that a link, a root or a chain of detached tables leads to.
    ///
    /// # Safety
    /// The address comes from such a place, and the table is not freed while the node is used.
    #[inline(always)]
    pub(crate) unsafe fn at(table: PhysAddr) -> Self {
        Self(table)
    }

    /// Where hardware finds it.
    #[inline(always)]
    pub(crate) fn phys(self) -> PhysAddr {
        self.0
    }

    #[inline(always)]
    fn entry(self, index: usize) -> PhysAddr {
        PhysAddr(self.0.0 + index as u64 * 8)
    }

    /// Loads an entry.
    #[inline(always)]
    pub(crate) fn load<M: Mem>(self, mem: &M, index: usize) -> u64 {
        // SAFETY: a live table of ours, and an index inside it (module's invariant).
        unsafe { mem.load(self.entry(index)) }
    }

    /// Stores an entry.
    #[inline(always)]
    pub(crate) fn store<M: Mem>(self, mem: &M, index: usize, value: u64) {
        // SAFETY: as for `load`; only `map`, whose caller answers for what devices reach, makes leaves.
        unsafe { mem.store(self.entry(index), value) }
    }

    /// The entries from `first` on, for many accesses.
    #[inline(always)]
    pub(crate) fn row<M: Mem>(self, mem: &M, first: usize) -> Row<'_, M> {
        Row { mem, node: self, first, view: self.view(mem) }
    }

    /// Where the CPU reaches the table.
    #[inline(always)]
    pub(crate) fn view<M: Mem>(self, mem: &M) -> M::View {
        // SAFETY: a live table of ours (module's invariant).
        unsafe { mem.view(self.0) }
    }

    /// Loads an entry of a table, of which this is the view.
    #[inline(always)]
    pub(crate) fn load_in<M: Mem>(self, mem: &M, view: M::View, index: usize) -> u64 {
        // SAFETY: a live table of ours, and an index inside it (module's invariant).
        unsafe { mem.load_in(view, self.0, index) }
    }

    /// Stores `new` where `old` is; `Err` tells what is there instead.
    #[inline(always)]
    pub(crate) fn cas<M: Mem>(self, mem: &M, index: usize, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: as for `store`.
        unsafe { mem.cas(self.entry(index), old, new) }
    }

    /// Stores an entry and tells what was there.
    #[inline(always)]
    pub(crate) fn swap<M: Mem>(self, mem: &M, index: usize, value: u64) -> u64 {
        // SAFETY: as for `store`.
        unsafe { mem.swap(self.entry(index), value) }
    }

    /// Where `count` entries from `first` are.
    #[inline]
    pub(crate) fn words(self, first: usize, count: usize) -> Range<u64> {
        self.entry(first).0..self.entry(first + count).0
    }

    /// Cleans the lines that hold `count` entries from `first`, each once.
    #[inline]
    pub(crate) fn clean<M: Mem>(self, mem: &M, first: usize, count: usize) {
        clean_words(mem, self.words(first, count));
    }

    /// Gives the table back.
    ///
    /// # Safety
    /// Neither hardware nor a node reaches it any more, and `bytes` is what it was made with.
    pub(crate) unsafe fn free<M: Mem>(self, mem: &M, bytes: usize) {
        // SAFETY: as promised by the caller; it came from `frames` of the same platform.
        unsafe { mem.free(self.0, bytes) }
    }
}

/// How many tables are given back at a time.
const AT_A_TIME: usize = 32;

/// Tables on their way back, which go some at a time.
pub(crate) struct Freeing<'m, M: Mem> {
    mem: &'m M,
    bytes: usize,
    tables: [PhysAddr; AT_A_TIME],
    count: usize,
}

impl<'m, M: Mem> Freeing<'m, M> {
    /// None yet, of tables that were made with `bytes`.
    pub(crate) fn new(mem: &'m M, bytes: usize) -> Self {
        Self { mem, bytes, tables: [PhysAddr(0); AT_A_TIME], count: 0 }
    }

    /// Adds a table.
    ///
    /// # Safety
    /// As for [`Node::free`].
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, node: Node) {
        self.tables[self.count] = node.0;
        self.count += 1;
        if self.count == AT_A_TIME {
            self.end();
        }
    }

    fn end(&mut self) {
        let count = core::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        // SAFETY: as promised to `add`, and each goes once.
        unsafe { self.mem.free_all(&self.tables[..count], self.bytes) }
    }
}

impl<M: Mem> Drop for Freeing<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

/// Entries of a live table of ours, counted from one of them.
pub(crate) struct Row<'m, M: Mem> {
    mem: &'m M,
    node: Node,
    first: usize,
    view: M::View,
}

impl<M: Mem> Clone for Row<'_, M> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Mem> Copy for Row<'_, M> {}

/// How many entries runs look at together: those of a cache line.
pub(crate) const BUNCH: usize = (LINE / 8) as usize;

impl<M: Mem> Row<'_, M> {
    /// Loads an entry.
    #[inline(always)]
    pub(crate) fn load(self, index: usize) -> u64 {
        // SAFETY: a live table of ours, and an index inside it (module's invariant).
        unsafe { self.mem.load_in(self.view, self.node.0, self.first + index) }
    }

    /// Stores an entry.
    #[inline(always)]
    pub(crate) fn store(self, index: usize, value: u64) {
        // SAFETY: as for `load`; see [`Node::store`].
        unsafe { self.mem.store_in(self.view, self.node.0, self.first + index, value) }
    }
}
