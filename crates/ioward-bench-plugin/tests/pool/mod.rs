//! Pages for tables, where there is no harness.

use ioward_bench_plugin::abi::Services;
use std::{
    alloc::{Layout, alloc_zeroed},
    ffi::c_void,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Pages one after the other, so that a root of four finds neighbours; those given back come first. Live ones are counted.
struct Pages {
    start: usize,
    taken: usize,
    free: Vec<usize>,
}

const PAGES: usize = 1 << 14;
static POOL: Mutex<Pages> = Mutex::new(Pages { start: 0, taken: 0, free: Vec::new() });

fn pool() -> MutexGuard<'static, Pages> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pages that tables have.
#[allow(dead_code)]
pub fn live() -> usize {
    let pool = pool();
    pool.taken - pool.free.len()
}

extern "C" fn alloc_page() -> *mut c_void {
    let mut pool = pool();
    if pool.start == 0 {
        let layout = Layout::from_size_align(PAGES << 12, 1 << 16).expect("a layout");
        // SAFETY: the layout is not empty.
        pool.start = unsafe { alloc_zeroed(layout) } as usize;
    }
    let page = pool.free.pop().unwrap_or_else(|| {
        assert!(pool.taken < PAGES);
        pool.taken += 1;
        pool.start + ((pool.taken - 1) << 12)
    }) as *mut u8;
    // SAFETY: a page of the pool that nobody has.
    unsafe { page.write_bytes(0, 4096) };
    page.cast()
}

extern "C" fn free_page(page: *mut c_void) {
    pool().free.push(page as usize);
}

/// What tables are made with.
pub static SERVICES: Services = Services { alloc_page, free_page, virtual_offset: 0 };
