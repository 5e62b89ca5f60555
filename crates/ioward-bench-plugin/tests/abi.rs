//! What a harness sees through the C interface: every entry translates what was mapped and nothing else, gives every page
//! back, and never gives an IOVA out twice.

mod pool;

use ioward_bench_plugin::{abi::Iovas, dma, iova, iova_bench_plugin, pt_bench_plugin, tables};
use pool::{SERVICES, live};
use std::{
    ffi::{CStr, c_void},
    thread,
};

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;
/// Where every format walks four levels.
const BASE: u64 = 1 << 40;
const TO: u64 = 0x30_0000_0000;

#[test]
fn every_table_translates_what_was_mapped_and_gives_its_pages_back() {
    for (name, entry) in tables::entries() {
        for sizes in [K4, K4 | M2] {
            let domain = (entry.create)(&SERVICES, sizes);
            assert!(!domain.is_null(), "{name:?}");
            let leads_to = |at| (entry.iova_to_phys)(domain, at);
            let map = |at, to, size, count| {
                let mut mapped = 0;
                let result = (entry.map)(domain, at, to, size, count, &mut mapped);
                (result, mapped)
            };
            let unmap = |at, size, count| (entry.unmap)(domain, at, size, count);
            assert_eq!(leads_to(BASE), 0, "{name:?}");
            // One page off, so that no larger page fits.
            const PAGES: u64 = 3 * 512 + 7;
            assert_eq!(map(BASE, TO + K4, K4, PAGES), (0, PAGES * K4), "{name:?}");
            assert_eq!(map(BASE + 5 * K4, TO, K4, 1), (-17, 0), "{name:?}: mapped already");
            assert!((0..PAGES).all(|i| leads_to(BASE + i * K4 + 123) == TO + K4 + i * K4 + 123), "{name:?}");
            assert_eq!(leads_to(BASE + PAGES * K4), 0, "{name:?}");
            assert!((0..PAGES).step_by(2).all(|i| unmap(BASE + i * K4, K4, 1) == K4), "{name:?}");
            assert!((0..PAGES).all(|i| (leads_to(BASE + i * K4) != 0) == (i % 2 == 1)), "{name:?}");
            assert!((1..PAGES).step_by(2).all(|i| unmap(BASE + i * K4, K4, 1) == K4), "{name:?}");
            if sizes & M2 != 0 {
                assert_eq!(map(BASE + 8 * M2, TO, M2, 8), (0, 8 * M2), "{name:?}");
                assert_eq!(leads_to(BASE + 13 * M2 + 77), TO + 5 * M2 + 77, "{name:?}");
                assert_eq!(unmap(BASE + 8 * M2, M2, 8), 8 * M2, "{name:?}");
            }
            assert_eq!(map(BASE, TO + K4, K4, 2048), (0, 2048 * K4), "{name:?}");
            assert_eq!(unmap(BASE, K4, 2048), 2048 * K4, "{name:?}");
            assert!((0..2048).all(|i| leads_to(BASE + i * K4) == 0), "{name:?}");
            assert_eq!(map(BASE + 1, TO, K4, 1), (-22, 0), "{name:?}");
            // What is mapped at the end goes with the table.
            assert_eq!(map(BASE, TO + K4, K4, 600), (0, 600 * K4), "{name:?}");
            (entry.destroy)(domain);
            tables::trim();
            assert_eq!(live(), 0, "{name:?} kept pages");
        }
    }
}

#[test]
fn iovas_of_two_threads_never_overlap_and_come_back() {
    const EACH: u64 = 4000;
    for entry in iova::entries().into_iter().chain(&dma::ENTRIES) {
        let domain = (entry.create)(K4, 1) as usize;
        let work = |number: u32| {
            let entry: &Iovas = entry;
            entry.thread_init.expect("CPUs have numbers")(number);
            let domain = domain as *mut c_void;
            let sizes = [1, 1, 2, 3, 8, 32, 64];
            // Allocated and freed in turns, so that stocks fill and spill; what is kept is told.
            (0..EACH)
                .filter_map(|round| {
                    let pages = sizes[(round % 7) as usize];
                    let first = (entry.alloc)(domain, pages, (1 << 36) - 1);
                    assert!(first != 0 && first + pages <= 1 << 36);
                    if round % 3 == 0 {
                        (entry.free)(domain, first, pages);
                        return None;
                    }
                    Some((first, pages))
                })
                .collect::<Vec<_>>()
        };
        let mut kept: Vec<_> = thread::scope(|scope| {
            let others = [scope.spawn(|| work(0)), scope.spawn(|| work(1))];
            others.into_iter().flat_map(|other| other.join().expect("no panic")).collect()
        });
        kept.sort_unstable();
        assert!(kept.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        thread::scope(|scope| {
            scope.spawn(|| {
                entry.thread_init.expect("CPUs have numbers")(1);
                kept.iter().for_each(|&(first, pages)| (entry.free)(domain as *mut c_void, first, pages));
            });
        });
        (entry.destroy)(domain as *mut c_void);
    }
}

#[test]
fn lists_end_with_null_and_names_begin_as_the_harness_is_told() {
    // SAFETY: the lists are statics that end with null; the names are literals.
    let names = |mut at: *const *const c_void| unsafe {
        let mut names = Vec::new();
        while !(*at).is_null() {
            // A name is the first thing in either structure.
            names.push(CStr::from_ptr(*(*at).cast()).to_str().expect("plain text"));
            at = at.add(1);
        }
        names
    };
    let tables = names(pt_bench_plugin().cast());
    assert_eq!(tables.len(), tables::entries().count());
    let all: Vec<_> = tables.into_iter().chain(names(iova_bench_plugin().cast())).collect();
    assert!(all.iter().all(|name| name.starts_with("ioward ")), "{all:?}");
}
