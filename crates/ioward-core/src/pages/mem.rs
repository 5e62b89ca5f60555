//! The stock as memory of tables.

use super::stock::Stock;
use alloc::sync::Arc;
use core::{fmt, ptr};
use ioward_pgtable::Mem;
use ioward_types::{OutOfMemory, PhysAddr, Platform, Span};

/// Memory for page tables on a platform, with free pages at hand for each CPU. Clones share the pages.
///
/// A page of 4, 16 or 64 KiB that is freed is kept by the CPU that frees it, and the next one that is asked for on that CPU is
/// the page that came last, zeroed anew. A CPU keeps at most 256 KiB of each size, from its first request for that size on.
/// Everything else is the platform's: other sizes, what there is no room for, and all pages of a platform that is
/// [traced](Platform::TRACED), of CPUs beyond [`Platform::cpus`], and of CPUs for whose list of pages (half a KiB for each
/// size) there was no memory.
///
/// Pages go back to the platform by [`TablePages::trim`], and when the last clone is dropped. Where the platform has no
/// memory, the CPU that asks gives back what it has of all sizes, and asks once more.
pub struct TablePages<P: Platform> {
    /// A copy, so that walks need not look for it.
    platform: P,
    stock: Arc<Stock<P>>,
}

impl<P: Platform> TablePages<P> {
    /// Nothing is kept yet.
    pub fn new(platform: P) -> Self {
        Self { stock: Arc::new(Stock::new(platform.clone())), platform }
    }

    /// The platform whose pages these are.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Gives all pages that CPUs have at hand back to the platform. Waits for [`Platform::synchronize`], so it may sleep and
    /// must not be called pinned; meanwhile others ask the platform.
    pub fn trim(&self) {
        self.stock.trim();
    }

    /// Bytes that CPUs have at hand. While others map and unmap, what it was a moment ago.
    pub fn kept(&self) -> u64 {
        self.stock.kept()
    }

    #[cold]
    fn ask(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        self.platform.frames(bytes, align, below).or_else(|none| {
            // Pages of other sizes, or above the limit, may be what the platform lacks.
            if self.stock.give_up_mine() { self.platform.frames(bytes, align, below) } else { Err(none) }
        })
    }
}

impl<P: Platform> Clone for TablePages<P> {
    fn clone(&self) -> Self {
        Self { platform: self.platform.clone(), stock: self.stock.clone() }
    }
}

impl<P: Platform> fmt::Debug for TablePages<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TablePages").field("kept", &self.kept()).finish_non_exhaustive()
    }
}

// SAFETY: accesses are the platform's. So are frames; one that is kept was given up by its owner, is zeroed, and is given
// out once.
unsafe impl<P: Platform> Mem for TablePages<P> {
    #[inline(always)]
    unsafe fn load(&self, at: PhysAddr) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.load(at) }
    }
    #[inline(always)]
    unsafe fn store(&self, at: PhysAddr, value: u64) {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.store(at, value) }
    }
    #[inline(always)]
    unsafe fn cas(&self, at: PhysAddr, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.cas(at, old, new) }
    }
    #[inline(always)]
    unsafe fn swap(&self, at: PhysAddr, value: u64) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.swap(at, value) }
    }
    type View = <P as Mem>::View;
    #[inline(always)]
    unsafe fn view(&self, table: PhysAddr) -> Self::View {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.view(table) }
    }
    #[inline(always)]
    unsafe fn load_in(&self, view: Self::View, table: PhysAddr, index: usize) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.load_in(view, table, index) }
    }
    #[inline(always)]
    unsafe fn store_in(&self, view: Self::View, table: PhysAddr, index: usize, value: u64) {
        // SAFETY: as promised by the caller.
        unsafe { self.platform.store_in(view, table, index, value) }
    }
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        if !P::TRACED
            && align <= bytes
            && let Some(page) = self.stock.take(bytes, below)
        {
            // SAFETY: frames of so many bytes, which nobody else has: neither hardware nor a reference reaches them.
            unsafe { ptr::write_bytes(self.platform.virt(page).as_ptr(), 0, bytes) };
            return Ok(page);
        }
        self.ask(bytes, align, below)
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        // SAFETY: as promised by the caller.
        unsafe { self.free_all(&[at], bytes) }
    }
    unsafe fn free_all(&self, tables: &[PhysAddr], bytes: usize) {
        // SAFETY: as promised by the caller.
        let kept = if P::TRACED { 0 } else { unsafe { self.stock.put(tables, bytes) } };
        for at in &tables[kept..] {
            // SAFETY: as promised by the caller, and the stock has not kept them.
            unsafe { Platform::free(&self.platform, *at, bytes) }
        }
    }
    #[inline(always)]
    fn clean(&self, lines: Span<PhysAddr>) {
        Platform::clean(&self.platform, lines)
    }
    #[inline(always)]
    fn publish(&self) {
        Platform::publish(&self.platform)
    }
}
