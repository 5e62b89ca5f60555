//! What one map, unmap, lookup and IOVA cost, by themselves: `cargo bench -p ioward-bench-plugin`.
//!
//! Through the same functions as a harness calls, so that a change can be measured in seconds. `cargo xtask bench` measures
//! side by side with others.

#[path = "../tests/pool/mod.rs"]
mod pool;

use divan::{Bencher, black_box, counter::ItemsCount};
use ioward_bench_plugin::{
    abi::{Iovas, Tables},
    iova, tables,
};
use pool::SERVICES;
use std::{
    ffi::{CStr, c_void},
    sync::atomic::{AtomicU64, Ordering},
};

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;
/// Where every format walks four levels.
const BASE: u64 = 1 << 40;
const TO: u64 = 0x30_0000_0000;

fn main() {
    divan::main();
}

/// A table and what it is called.
struct Table {
    entry: &'static Tables,
    domain: *mut c_void,
}

impl Table {
    fn new(name: &str, sizes: u64) -> Self {
        let found = tables::entries().find(|(entry, _)| entry.to_str() == Ok(name));
        let entry = found.expect("names come from the entries").1;
        Self { entry, domain: (entry.create)(&SERVICES, sizes) }
    }
    fn map(&self, at: u64, to: u64, size: u64, count: u64) {
        let mut mapped = 0;
        let result = (self.entry.map)(self.domain, at, to, size, count, &mut mapped);
        debug_assert!(result == 0 && mapped == size * count);
    }
    fn unmap(&self, at: u64, size: u64, count: u64) {
        let gone = (self.entry.unmap)(self.domain, at, size, count);
        debug_assert_eq!(gone, size * count);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        (self.entry.destroy)(self.domain);
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    tables::entries().map(|(name, _)| name.to_str().expect("plain text"))
}

/// The floor: stores into a table, one after the other.
#[divan::bench]
fn floor_store(bencher: Bencher) {
    let words: Vec<AtomicU64> = (0..512).map(AtomicU64::new).collect();
    bencher.counter(ItemsCount::new(512u32)).bench_local(|| {
        for (index, word) in words.iter().enumerate() {
            word.store(black_box(index as u64), Ordering::Release);
        }
    });
}

/// Map and unmap of a page, in a table that is there.
#[divan::bench(args = names())]
fn pair(bencher: Bencher, name: &str) {
    let table = Table::new(name, K4);
    table.map(BASE + 511 * K4, TO, K4, 1);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| {
        for page in 0..256 {
            table.map(BASE + page * K4, TO + page * K4, K4, 1);
            table.unmap(BASE + page * K4, K4, 1);
        }
    });
}

/// Map and unmap of half a table of pages, each half in one call.
#[divan::bench(args = names())]
fn pair_of_256(bencher: Bencher, name: &str) {
    let table = Table::new(name, K4);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| {
        table.map(BASE, TO + K4, K4, 256);
        table.unmap(BASE, K4, 256);
    });
}

/// 64 MiB by pages of 4 KiB, and by pages of 2 MiB, with the tables.
#[divan::bench(args = names())]
fn pair_of_64_mib(bencher: Bencher, name: &str) {
    let table = Table::new(name, K4);
    bencher.bench_local(|| {
        table.map(BASE, TO, K4, 32 * 512);
        table.unmap(BASE, K4, 32 * 512);
    });
}

/// A gigabyte by pages of 2 MiB.
#[divan::bench(args = names())]
fn pair_of_gib_by_2_mib(bencher: Bencher, name: &str) {
    let table = Table::new(name, K4 | M2);
    bencher.bench_local(|| {
        table.map(BASE, TO, M2, G1 / M2);
        table.unmap(BASE, M2, G1 / M2);
    });
}

/// Where pages lead, one after the other.
#[divan::bench(args = names())]
fn lookup(bencher: Bencher, name: &str) {
    let table = Table::new(name, K4);
    table.map(BASE, TO, K4, 256);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| {
        for page in 0..256 {
            black_box((table.entry.iova_to_phys)(table.domain, BASE + page * K4));
        }
    });
}

/// What is least behind the harness's two pointers: nothing at all, and a stack that nobody guards and nobody checks. All of
/// an allocator's own cost is on top of it.
mod floor {
    use super::*;

    extern "C" fn create(_: u64, _: u64) -> *mut c_void {
        let mut words = vec![0_u64; 512].into_boxed_slice();
        words[0] = 256;
        Box::into_raw(words).cast()
    }
    extern "C" fn destroy(domain: *mut c_void) {
        // SAFETY: from `create`, so many words.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(domain.cast::<u64>(), 512)) });
    }
    extern "C-unwind" fn no_page(_: *mut c_void, _: u64, _: u64) -> u64 {
        1
    }
    extern "C-unwind" fn nothing(_: *mut c_void, _: u64, _: u64) {}
    extern "C-unwind" fn pop(domain: *mut c_void, _: u64, _: u64) -> u64 {
        let words = domain.cast::<u64>();
        // SAFETY: from `create`; what is taken has been given or was there, 256 at most.
        unsafe {
            let len = *words;
            *words = len - 1;
            *words.add(len as usize)
        }
    }
    extern "C-unwind" fn push(domain: *mut c_void, page: u64, _: u64) {
        let words = domain.cast::<u64>();
        // SAFETY: as above.
        unsafe {
            let len = *words + 1;
            *words = len;
            *words.add(len as usize) = page;
        }
    }

    const fn entry(
        name: &'static CStr,
        alloc: extern "C-unwind" fn(*mut c_void, u64, u64) -> u64,
        free: extern "C-unwind" fn(*mut c_void, u64, u64),
    ) -> Iovas {
        Iovas { name: name.as_ptr(), create, alloc, free, destroy, thread_init: None }
    }
    pub static ENTRIES: [Iovas; 2] =
        [entry(c"floor: nothing", no_page, nothing), entry(c"floor: a bare stack", pop, push)];
}

/// The plugin's, and the floor.
fn all_allocators() -> impl Iterator<Item = &'static Iovas> {
    iova::entries().into_iter().chain(&floor::ENTRIES)
}

fn all_allocator_names() -> impl Iterator<Item = &'static str> {
    // SAFETY: names are literals that end with zero.
    all_allocators().map(|entry| unsafe { CStr::from_ptr(entry.name) }.to_str().expect("plain text"))
}

fn allocators() -> impl Iterator<Item = &'static str> {
    // SAFETY: names are literals that end with zero.
    iova::entries()
        .into_iter()
        .map(|entry| unsafe { CStr::from_ptr(entry.name) }.to_str().expect("plain text"))
}

/// A range of IOVAs, taken and given back.
#[divan::bench(args = all_allocator_names())]
fn iova_pair(bencher: Bencher, name: &str) {
    let place = all_allocator_names().position(|other| other == name).expect("one of them");
    // Not a constant to the compiler, as to a harness.
    let entry: &Iovas = black_box(all_allocators().nth(place).expect("it has been found"));
    let domain = (entry.create)(K4, 1);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| {
        for _ in 0..256 {
            let page = (entry.alloc)(domain, 1, (1 << 36) - 1);
            (entry.free)(domain, page, 1);
        }
    });
    (entry.destroy)(domain);
}

/// Ranges of sizes that no CPU has at hand, taken and given back: the ordered tree.
#[divan::bench(args = allocators().take(2))]
fn iova_odd_sizes(bencher: Bencher, name: &str) {
    let entry: &Iovas = iova::entries()[allocators().position(|other| other == name).expect("one of them")];
    let domain = (entry.create)(K4, 1);
    bencher.counter(ItemsCount::new(64u32)).bench_local(|| {
        let pages = |n: u64| 33 + n * 7;
        let held: [u64; 64] = std::array::from_fn(|n| (entry.alloc)(domain, pages(n as u64), (1 << 36) - 1));
        for (n, page) in held.into_iter().enumerate() {
            (entry.free)(domain, page, pages(n as u64));
        }
    });
    (entry.destroy)(domain);
}
