//! What hardware sees after every single store, while a page is cut or the root grows; and what it may still see of
//! tables that were taken off.

use crate::common::{Host, Traced, iova, phys};
use ioward_pgtable::{AnyTable, CutError, Meaning, Options, ReadMemory, Touched, WalkError, walk};
use ioward_types::{Attributes, Format, Iova, PhysAddr, Root, TableConfig};
use std::sync::{Arc, Mutex};

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;
const RW: Attributes = Attributes::READ_WRITE;

struct Cpu<'h>(&'h Host);
impl ReadMemory for Cpu<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        self.0.peek(at)
    }
}

fn config(format: Format, page_sizes: u64) -> TableConfig {
    TableConfig { format, in_bits: 47, out_bits: 48, page_sizes, coherent: true, dirty: false, snoop: false }
}

fn leads_to(host: &Host, config: &TableConfig, root: Root, at: u64) -> Option<u64> {
    match walk(&Cpu(host), config, root, Iova(at)).unwrap().end() {
        Meaning::Page { to, .. } => Some(to.0),
        Meaning::Absent => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cut_is_hitless_at_every_store() {
    let sets = K4 | 0x1_0000 | M2 | 0x40_0000;
    let hitless = [
        config(Format::AmdV1, K4 | M2 | G1),
        config(Format::AmdV1, sets),
        config(Format::AmdV2, K4 | M2),
        config(Format::ArmStage1, K4 | M2 | G1),
        config(Format::ArmStage2, K4 | 0x1_0000 | M2 | 0x200_0000),
    ];
    for config in hitless {
        for coherent in [true, false] {
            let config = TableConfig { coherent, ..config };
            let host = Traced::new(Host::with(usize::MAX, !coherent));
            let options = Options { hitless_cut: true, ..Options::default() };
            let table = AnyTable::with(host.clone(), &config, options).unwrap();
            // SAFETY: no device walks it.
            unsafe { table.map(Iova(0), phys(4 * G1, G1), RW) }.unwrap();
            let at = Iova(5 * M2 + 7 * K4);
            let root = table.root();
            host.watch(move |host, _| {
                for probe in [0, 4 * M2, at.0 - K4, at.0, at.0 + 0x1_0000, 6 * M2, G1 - 8] {
                    assert_eq!(leads_to(host, &config, root, probe), Some(4 * G1 + probe));
                }
            });
            let page = table.cut(at).unwrap().expect("a page was split");
            assert!(page.contains(at) && page.bytes > K4);
            assert_eq!(table.cut(at).unwrap(), None);
            host.rest();
            let gone = table.unmap(iova(at.0, G1 - at.0)).unwrap();
            assert_eq!((gone.bytes, table.lookup(at)), (G1 - at.0, None));
            assert_eq!(table.lookup(Iova(at.0 - 1)).unwrap().0, PhysAddr(4 * G1 + at.0 - 1));
            // SAFETY: no device walks it.
            unsafe {
                table.free(gone.detached);
                table.destroy();
            }
            assert_eq!(host.0.live(), 0);
        }
    }
}

#[test]
fn the_watch_sees_a_hit() {
    // The judge of the test above, over an unmap and map instead of a cut: it must object.
    let config = config(Format::AmdV2, K4 | M2);
    let host = Traced::new(Host::new());
    let table = AnyTable::new(host.clone(), &config).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(0), phys(0, M2), RW) }.unwrap();
    let (root, seen) = (table.root(), Arc::new(Mutex::new(vec![])));
    let told = seen.clone();
    host.watch(move |host, _| told.lock().unwrap().push(leads_to(host, &config, root, K4)));
    let gone = table.unmap(iova(0, M2)).unwrap();
    assert!(!gone.tables_went());
    assert_eq!(*seen.lock().unwrap(), [None]);
}

#[test]
fn a_cut_that_would_fault_is_refused() {
    for format in [Format::ArmStage1, Format::ArmStage2] {
        let table = AnyTable::new(Host::new(), &config(format, K4 | M2)).unwrap();
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(M2), phys(0, M2), RW) }.unwrap();
        let page = iova(M2, M2);
        assert_eq!(table.cut(Iova(M2 + K4)), Err(CutError::NotHitless { format, page }));
        assert_eq!(table.cut(Iova(M2)), Ok(None));
        assert_eq!(table.cut(Iova(9 * M2 + K4)), Ok(None));
        let error = CutError::At { at: Iova(M2 + 1), granule: K4, in_bits: 47 };
        assert_eq!(table.cut(Iova(M2 + 1)), Err(error));
    }
}

#[test]
fn a_cut_without_memory_changes_nothing_and_leaks_nothing() {
    let host = Host::new();
    // Two levels at once: the table of 2 MiB entries is made of links to tables of 4 KiB pages.
    let table = AnyTable::new(host.clone(), &config(Format::AmdV2, K4 | G1)).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(0), phys(G1, G1), RW) }.unwrap();
    let live = host.live();
    host.set_budget(100);
    assert!(matches!(table.cut(Iova(K4)), Err(CutError::NoMemory { at: Iova(K4), .. })));
    assert_eq!(host.live(), live);
    assert_eq!(table.lookup(Iova(K4)).unwrap().2, G1);
    host.set_budget(513);
    assert_eq!(table.cut(Iova(K4)), Ok(Some(iova(0, G1))));
    assert_eq!(
        table.lookup(Iova(G1 - 1)).unwrap(),
        (PhysAddr(2 * G1 - 1), table.lookup(Iova(0)).unwrap().1, K4)
    );
}

#[test]
fn a_cut_keeps_marks_of_access() {
    let config = TableConfig { dirty: true, ..config(Format::AmdV1, K4 | M2) };
    let host = Host::new();
    let table = AnyTable::new(host.clone(), &config).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(0), phys(0, 2 * M2), RW) }.unwrap();
    let leaf = *table.walk(Iova(0)).unwrap().last().unwrap();
    host.poke(PhysAddr(leaf.table.0 + u64::from(leaf.index) * 8), leaf.raw | 0x60);
    table.cut(Iova(K4)).unwrap();
    let mut pages = 0;
    let both = Touched { accessed: true, dirty: true };
    table
        .harvest(iova(0, 2 * M2), |page, touched| {
            assert_eq!((page.bytes, touched), (K4, both));
            pages += 1;
        })
        .unwrap();
    assert_eq!(pages, 512, "nobody knows which part of the page was written");
}

#[test]
fn the_root_grows_under_running_dma() {
    for coherent in [true, false] {
        let config = TableConfig { in_bits: 30, coherent, ..config(Format::AmdV1, K4 | M2) };
        let host = Traced::new(Host::with(usize::MAX, !coherent));
        let table = AnyTable::new(host.clone(), &config).unwrap();
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(M2), phys(G1, M2), RW) }.unwrap();
        let old = table.root();
        host.watch(move |host, _| {
            assert_eq!(leads_to(host, &config, old, M2 + 5), Some(G1 + 5));
        });
        let new = table.grow(48).unwrap();
        assert_eq!((old.levels, new.levels), (2, 4));
        let grown = table.config();
        for (root, config) in [(old, config), (new, grown)] {
            assert_eq!(leads_to(&host.0, &config, root, M2), Some(G1));
        }
        assert_eq!(leads_to(&host.0, &grown, new, M2 + (1 << 39)), None);
        assert_eq!(
            walk(&Cpu(&host.0), &config, old, Iova(1 << 39)),
            Err(WalkError::Input { at: Iova(1 << 39), in_bits: 30 })
        );
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(1 << 39), phys(0, K4), RW) }.unwrap();
        assert_eq!(table.grow(48), Ok(new));
        assert_eq!(table.grow(31), Ok(new));
        assert!(table.grow(65).is_err());
        host.0.set_budget(1);
        let live = host.0.live();
        assert!(table.grow(64).is_err());
        assert_eq!((host.0.live(), table.root()), (live, new));
        host.rest();
        // SAFETY: no device walks it.
        unsafe { table.destroy() };
        assert_eq!(host.0.live(), 0);
    }
}

#[test]
fn a_detached_table_shows_a_stale_walker_nothing_that_was_not_there() {
    let formats = [Format::AmdV1, Format::AmdV2, Format::ArmStage1, Format::ArmStage2];
    for format in formats {
        let host = Host::new();
        let config = TableConfig { in_bits: 44, ..config(format, K4) };
        let table = AnyTable::new(host.clone(), &config).unwrap();
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(0), phys(8 * G1, G1 + 3 * M2), RW) }.unwrap();
        // What a walk cache holds: the table that serves the first GiB.
        let Meaning::Table { at, level } = table.walk(Iova(0)).unwrap()[1].meaning else {
            panic!("{format}")
        };
        let cached = Root { at, levels: level };
        // Its lower half: two levels translate 30 bits, of which AMD v2 takes the top one for a sign.
        let narrow = TableConfig { in_bits: 29, ..config };
        let gone = table.unmap(iova(0, G1)).unwrap();
        assert!(gone.tables_went());
        assert_eq!(gone.bytes, G1);
        for page in 0..G1 / K4 / 2 {
            if page % 511 > 2 {
                continue;
            }
            match leads_to(&host, &narrow, cached, page * K4) {
                None => assert!(page < 512, "only the chain's own entries are gone"),
                Some(to) => assert_eq!(to, 8 * G1 + page * K4),
            }
        }
        let live = host.live();
        // SAFETY: no device walks it.
        unsafe { table.free(gone.detached) };
        assert_eq!(host.live(), live - 513);
        assert_eq!(table.lookup(Iova(G1)).unwrap().0, PhysAddr(9 * G1));
    }
}

#[test]
fn what_is_dropped_leaks_and_what_is_shared_stays() {
    let host = Host::new();
    let mut table = AnyTable::new(host.clone(), &config(Format::AmdV2, K4)).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(0), phys(0, 4 * K4), RW) }.unwrap();
    assert_eq!(host.live(), 4);
    let gone = table.unmap(iova(0, 4 * K4)).unwrap();
    assert!(!gone.tables_went(), "it covers none");
    let empties = table.trim();
    assert!(!empties.is_empty());
    assert_eq!(host.live(), 4);
    drop(empties);
    drop(gone);
    drop(table);
    assert_eq!(host.live(), 4, "hardware may still walk them");
}
