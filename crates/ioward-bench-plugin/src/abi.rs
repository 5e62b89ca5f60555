//! The harness's structures, as its C side lays them out. Addresses are in bytes, but for the page numbers of IOVAs.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// What the harness gives to tables.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Services {
    /// A zeroed page of 4 KiB, aligned to its size; null where there is none.
    pub alloc_page: extern "C" fn() -> *mut c_void,
    /// Takes such a page back.
    pub free_page: extern "C" fn(*mut c_void),
    /// A page's physical address is its virtual one less this, modulo 2^64.
    pub virtual_offset: u64,
}

/// A kind of page table. A table is named by what `create` gave.
#[repr(C)]
#[derive(Debug)]
pub struct Tables {
    /// What it is called in the harness's output.
    pub name: *const c_char,
    /// A table that may use these page sizes, as a set of powers of two; null where there is none such.
    pub create: extern "C" fn(*const Services, u64) -> *mut c_void,
    /// Maps pages from an IOVA to a physical address: the size of a page and how many. Adds the bytes mapped to the last
    /// argument, and gives zero or a negative error number.
    pub map: extern "C" fn(*mut c_void, u64, u64, u64, u64, *mut u64) -> c_int,
    /// Unmaps pages from an IOVA on: the size of a page and how many. Gives the bytes unmapped.
    pub unmap: extern "C" fn(*mut c_void, u64, u64, u64) -> u64,
    /// Where an IOVA leads; zero for nowhere.
    pub iova_to_phys: extern "C" fn(*mut c_void, u64) -> u64,
    /// The end of a table, and of all that is mapped in it.
    pub destroy: extern "C" fn(*mut c_void),
}

// SAFETY: names are literals; the rest is functions.
unsafe impl Sync for Tables {}

/// A kind of IOVA allocator. Page numbers are in granules.
///
/// `alloc` and `free` may unwind, as functions of a kernel's may: where a panic has to stop at the border to C, the compiler
/// keeps a stack frame on the way that a pop or a push takes.
#[repr(C)]
#[derive(Debug)]
pub struct Iovas {
    /// What it is called in the harness's output.
    pub name: *const c_char,
    /// An allocator with this granule, in bytes, and this first page number.
    pub create: extern "C" fn(u64, u64) -> *mut c_void,
    /// So many pages, none above the limit (inclusive): the first one's number, or zero.
    pub alloc: extern "C-unwind" fn(*mut c_void, u64, u64) -> u64,
    /// Gives them back: the first one's number, and how many.
    pub free: extern "C-unwind" fn(*mut c_void, u64, u64),
    /// The end of an allocator.
    pub destroy: extern "C" fn(*mut c_void),
    /// Tells a thread which CPU it is.
    pub thread_init: Option<extern "C" fn(c_uint)>,
}

// SAFETY: as for `Tables`.
unsafe impl Sync for Iovas {}

/// A list that ends with null, as the harness reads it.
#[repr(transparent)]
#[derive(Debug)]
pub struct List<T, const N: usize>(pub [*const T; N]);

// SAFETY: the pointers are to statics that are `Sync`.
unsafe impl<T: Sync, const N: usize> Sync for List<T, N> {}
