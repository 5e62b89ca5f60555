//! Every interleaving of neighbours that share tables: who installs one, who frees one, who relies on one.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ioward-pgtable --release loom`
#![cfg(loom)]

use ioward_pgtable::{ConfigError, Format, Kind, Mem, Options, Rules, Table, Touched};
use ioward_types::{Attributes, Iova, OutOfMemory, PhysAddr, Span, TableConfig};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use std::{collections::BTreeMap, sync::Mutex};

const PAGE: u64 = 0x1000;
const RW: Attributes = Attributes::READ_WRITE;

/// Two entries a table, so that loom can go everywhere: bit 0 present, bit 1 a link, bit 2 link cleaned.
struct Tiny;

impl Format for Tiny {
    // The engine asks only that it is the configuration's.
    const FORMAT: ioward_types::Format = ioward_types::Format::AmdV1;
    const GRANULE_SHIFT: u32 = 12;
    const INDEX_BITS: u32 = 1;
    const GROWS: bool = true;
    const LINK_CLEANED: u64 = 4;
    const LEAF_ATTRIBUTES: u64 = 1;
    fn check(_: &TableConfig) -> Result<(), ConfigError> {
        Ok(())
    }
    fn link(to: PhysAddr, _: u32) -> u64 {
        to.0 | 3
    }
    fn link_target(raw: u64) -> PhysAddr {
        PhysAddr(raw & !0xfff)
    }
    fn is_link(raw: u64, _: u32) -> bool {
        raw & 2 != 0
    }
    fn leaf(to: PhysAddr, _: u32, _: u32, attributes: u64) -> u64 {
        to.0 | attributes
    }
    fn leaf_shift(_: u64, level: u32) -> u32 {
        Self::entry_shift(level)
    }
    fn leaf_target(raw: u64, _: u32) -> PhysAddr {
        PhysAddr(raw & !0xfff)
    }
    fn kind(raw: u64, level: u32) -> Kind {
        match raw & 3 {
            1 => Kind::Leaf { shift: Self::entry_shift(level) },
            3 if level > 0 => Kind::Link { level: level - 1 },
            _ => Kind::Absent,
        }
    }
    fn encode(_: Attributes, _: &Rules) -> Option<u64> {
        Some(1)
    }
    fn decode(_: u64) -> Attributes {
        RW
    }
    fn cuts_hitless(_: &Options) -> bool {
        true
    }
    fn untouched(raw: u64) -> (u64, Touched) {
        (raw, Touched::default())
    }
}

/// Frames of two words that loom watches. An access to a freed frame fails the test, as do leaks and double frees.
#[derive(Clone)]
struct Memory(std::sync::Arc<Inner>);

struct Inner {
    /// Frame `n` is at physical `(n + 1) * PAGE`.
    frames: Vec<[AtomicU64; 2]>,
    /// Stores are exchanges: then the order in which loom runs them is the order of the cache line, which cleans follow.
    lines: bool,
    /// What loom need not explore: which frames are taken, and what a walker that does not snoop sees.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    live: Vec<bool>,
    next: usize,
    seen: BTreeMap<u64, u64>,
}

impl Memory {
    fn new(frames: usize, lines: bool) -> Self {
        let frames = (0..frames).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect();
        Self(std::sync::Arc::new(Inner { frames, lines, book: Mutex::default() }))
    }
    fn word(&self, at: PhysAddr) -> &AtomicU64 {
        let frame = (at.0 / PAGE) as usize - 1;
        assert!(self.0.book.lock().unwrap().live[frame], "{at} is in a freed table");
        &self.0.frames[frame][(at.0 % PAGE) as usize / 8]
    }
    fn live(&self) -> usize {
        self.0.book.lock().unwrap().live.iter().filter(|live| **live).count()
    }
    /// Where a walker that does not snoop gets, two levels down; the marks of cleaned links do not matter to it.
    fn device_finds(&self, root: PhysAddr, at: u64) -> Option<u64> {
        let book = self.0.book.lock().unwrap();
        let mut table = root.0;
        for shift in [13, 12] {
            let raw = *book.seen.get(&(table + (at >> shift & 1) * 8))?;
            if raw & 1 == 0 {
                return None;
            }
            table = raw & !0xfff;
        }
        Some(table)
    }
}

// SAFETY: frames are never reused here; every access is a loom atomic.
unsafe impl Mem for Memory {
    unsafe fn load(&self, at: PhysAddr) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }
    unsafe fn store(&self, at: PhysAddr, value: u64) {
        match self.0.lines {
            true => drop(self.word(at).swap(value, Ordering::AcqRel)),
            false => self.word(at).store(value, Ordering::Release),
        }
    }
    unsafe fn cas(&self, at: PhysAddr, old: u64, new: u64) -> Result<(), u64> {
        self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
    unsafe fn swap(&self, at: PhysAddr, value: u64) -> u64 {
        self.word(at).swap(value, Ordering::AcqRel)
    }
    type View = ();
    unsafe fn view(&self, _: PhysAddr) {}
    unsafe fn load_in(&self, (): (), table: PhysAddr, index: usize) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { self.load(PhysAddr(table.0 + index as u64 * 8)) }
    }
    unsafe fn store_in(&self, (): (), table: PhysAddr, index: usize, value: u64) {
        // SAFETY: as promised by the caller.
        unsafe { self.store(PhysAddr(table.0 + index as u64 * 8), value) }
    }
    fn frames(&self, _: usize, _: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let mut book = self.0.book.lock().unwrap();
        let frame = book.next;
        if frame == self.0.frames.len() {
            return Err(OutOfMemory);
        }
        book.next += 1;
        book.live.push(true);
        Ok(PhysAddr((frame as u64 + 1) * PAGE))
    }
    unsafe fn free(&self, at: PhysAddr, _: usize) {
        let mut book = self.0.book.lock().unwrap();
        let frame = (at.0 / PAGE) as usize - 1;
        assert!(std::mem::replace(&mut book.live[frame], false), "{at} freed twice");
    }
    fn clean(&self, lines: Span<PhysAddr>) {
        // Lines are longer than these tables.
        let table = lines.start.0 & !(PAGE - 1);
        for at in [table, table + 8] {
            // A clean writes back what is newest, not what this CPU may still see; an exchange reads just that.
            let now = self.word(PhysAddr(at)).fetch_or(0, Ordering::AcqRel);
            self.0.book.lock().unwrap().seen.insert(at, now);
        }
    }
    fn publish(&self) {}
}

/// With 15 bits three levels and eight pages: a leaf table holds pages 0 and 1, the next 2 and 3.
fn table(memory: &Memory, coherent: bool, in_bits: u8) -> Arc<Table<Tiny, Memory>> {
    let config = TableConfig {
        format: ioward_types::Format::AmdV1,
        in_bits,
        out_bits: 48,
        page_sizes: PAGE,
        coherent,
        dirty: false,
        snoop: false,
    };
    Arc::new(Table::new(memory.clone(), &config, Options::default()).unwrap())
}

fn map(table: &Table<Tiny, Memory>, page: u64, pages: u64) {
    let to = Span { start: PhysAddr((0x100 + page) * PAGE), bytes: pages * PAGE };
    // SAFETY: no device walks it; each thread has pages of its own.
    unsafe { table.map(Iova(page * PAGE), to, RW) }.unwrap();
}

fn unmap_and_free(table: &Table<Tiny, Memory>, page: u64, pages: u64) {
    let gone = table.unmap(Span { start: Iova(page * PAGE), bytes: pages * PAGE }).unwrap();
    assert_eq!(gone.bytes, pages * PAGE);
    // SAFETY: no device walks it; nobody else touches these pages.
    unsafe { table.free(gone.detached) };
}

fn found(table: &Table<Tiny, Memory>, page: u64) -> Option<u64> {
    table.lookup(Iova(page * PAGE)).map(|(to, ..)| to.0 / PAGE - 0x100)
}

#[test]
fn loom_neighbours_install_each_table_once() {
    loom::model(|| {
        let memory = Memory::new(6, false);
        let table = table(&memory, true, 15);
        let other = table.clone();
        let neighbour = thread::spawn(move || map(&other, 1, 1));
        map(&table, 0, 1);
        neighbour.join().unwrap();
        assert_eq!((found(&table, 0), found(&table, 1), found(&table, 2)), (Some(0), Some(1), None));
        assert_eq!(memory.live(), 3, "root, middle, leaf: whoever lost freed its own");
    });
}

#[test]
fn loom_a_page_goes_while_its_neighbour_comes() {
    loom::model(|| {
        let memory = Memory::new(6, false);
        let table = table(&memory, true, 15);
        map(&table, 0, 1);
        let other = table.clone();
        let neighbour = thread::spawn(move || map(&other, 1, 1));
        unmap_and_free(&table, 0, 1);
        neighbour.join().unwrap();
        assert_eq!((found(&table, 0), found(&table, 1)), (None, Some(1)));
        assert_eq!(memory.live(), 3, "the table stays, since nobody covered all of it");
    });
}

#[test]
fn loom_a_table_is_freed_while_a_neighbour_maps_beside_it() {
    loom::model(|| {
        let memory = Memory::new(8, false);
        let table = table(&memory, true, 15);
        map(&table, 0, 2);
        let other = table.clone();
        let neighbour = thread::spawn(move || {
            map(&other, 2, 1);
            unmap_and_free(&other, 2, 1);
            map(&other, 3, 1);
        });
        unmap_and_free(&table, 0, 2);
        map(&table, 1, 1);
        neighbour.join().unwrap();
        let pages: Vec<_> = (0..4).map(|page| found(&table, page)).collect();
        assert_eq!(pages, [None, Some(1), None, Some(3)]);
        assert_eq!(memory.live(), 4);
    });
}

#[test]
fn loom_two_subtrees_go_at_once() {
    loom::model(|| {
        let memory = Memory::new(7, false);
        let table = table(&memory, true, 15);
        map(&table, 0, 8);
        let other = table.clone();
        let neighbour = thread::spawn(move || unmap_and_free(&other, 4, 4));
        unmap_and_free(&table, 0, 4);
        neighbour.join().unwrap();
        assert_eq!(memory.live(), 1);
    });
}

#[test]
fn loom_whoever_has_mapped_is_seen_by_a_walker_that_does_not_snoop() {
    // Every word of every clean is a step of its own: too many for all interleavings.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = Memory::new(4, true);
        let table = table(&memory, false, 14);
        let (other, its) = (table.clone(), memory.clone());
        let root = table.root().at;
        let neighbour = thread::spawn(move || {
            map(&other, 1, 1);
            assert_eq!(its.device_finds(root, PAGE), Some(0x101 * PAGE));
        });
        map(&table, 0, 1);
        assert_eq!(memory.device_finds(root, 0), Some(0x100 * PAGE));
        neighbour.join().unwrap();
    });
}

#[test]
fn loom_the_root_grows_twice_while_a_neighbour_maps() {
    loom::model(|| {
        let memory = Memory::new(6, false);
        let table = table(&memory, true, 13);
        let (first, second) = (table.clone(), table.clone());
        let grows = thread::spawn(move || first.grow(14).unwrap());
        let maps = thread::spawn(move || map(&second, 1, 1));
        let root = table.grow(14).unwrap();
        assert_eq!((grows.join().unwrap(), root.levels), (root, 2));
        maps.join().unwrap();
        assert_eq!(found(&table, 1), Some(1));
        assert_eq!(memory.live(), 2, "old root and new root");
    });
}
