//! A quick look at what map and unmap cost, beside the floor of plain stores: `cargo run --release --example floor`.
//!
//! Each figure is the best of many rounds, in nanoseconds, through [`AnyTable`], as the subsystem calls it; `alone` is a pair
//! of map and unmap of the same format's [`Table`], without the choice of a format. It is no benchmark: nothing is pinned,
//! nothing is compared.

use ioward_pgtable::{
    AnyTable, Format as Encoding, Mem, Options, Table,
    formats::{AmdV1, AmdV2, ArmStage1, ArmStage2, RiscvFirst, RiscvSecond, VtdFirst, VtdSecond},
};
use ioward_types::{
    Attributes, Format, Iova, Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span, TableConfig,
};
use std::{
    alloc::{Layout, alloc_zeroed},
    cell::UnsafeCell,
    hint::black_box,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;
/// Where every format walks four levels.
const BASE: u64 = 1 << 40;
const ARENA: usize = 64 << 20;
/// Where roots larger than a table come from: they stay.
const ROOTS: u64 = 1 << 20;

/// Frames of 4 KiB from one arena, given back last in, first out, and a few larger ones from its beginning. One thread.
struct Arena {
    start: NonNull<u8>,
    free: UnsafeCell<Vec<u64>>,
    large: UnsafeCell<u64>,
}

// SAFETY: the example has one thread.
unsafe impl Sync for Arena {}
// SAFETY: as above.
unsafe impl Send for Arena {}

struct NoLock;
// SAFETY: the example has one thread.
unsafe impl RawLock for NoLock {
    type Held = ();
    fn new() -> Self {
        Self
    }
    fn lock(&self) {}
    unsafe fn unlock(&self, (): ()) {}
}

#[derive(Clone, Copy)]
struct Bench(&'static Arena);

// SAFETY: frames come from the arena, zeroed, each to one owner.
unsafe impl Platform for Bench {
    type Lock = NoLock;
    type Pin = ();
    fn pin(&self) -> ((), usize) {
        ((), 0)
    }
    fn synchronize(&self) {}
    #[inline]
    fn frames(&self, bytes: usize, _: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        if bytes != K4 as usize {
            // SAFETY: one thread.
            let next = unsafe { &mut *self.0.large.get() };
            let at = next.next_multiple_of(bytes as u64);
            *next = at + bytes as u64;
            return if *next <= ROOTS { Ok(PhysAddr(at)) } else { Err(OutOfMemory) };
        }
        // SAFETY: one thread; frames in the list belong to nobody.
        unsafe {
            let at = (*self.0.free.get()).pop().ok_or(OutOfMemory)?;
            self.virt(PhysAddr(at)).as_ptr().write_bytes(0, bytes);
            Ok(PhysAddr(at))
        }
    }
    #[inline]
    unsafe fn free(&self, at: PhysAddr, _: usize) {
        // SAFETY: one thread.
        unsafe { (*self.0.free.get()).push(at.0) }
    }
    #[inline(always)]
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        // SAFETY: addresses are offsets into the arena.
        unsafe { self.0.start.add(at.0 as usize) }
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
}

/// The best time of one call, of `each` units, over `rounds` rounds of `calls` calls.
fn best(rounds: usize, calls: u64, each: u64, mut call: impl FnMut(u64)) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(&mut call);
            start.elapsed().as_nanos() as f64 / (calls * each) as f64
        })
        .fold(f64::MAX, f64::min)
}

/// A pair of map and unmap of one page, without the choice of a format.
fn alone<F: Encoding>(mem: Bench, config: &TableConfig) -> f64 {
    let table = Table::<F, Bench>::new(mem, config, Options::default()).expect("a configuration that exists");
    let to = Span { start: PhysAddr(4 * G1), bytes: K4 };
    // SAFETY: no device walks it.
    let map = |at: u64| unsafe { table.map(Iova(at), to, Attributes::READ_WRITE) }.expect("free");
    map(BASE + M2 - K4);
    best(2000, 256, 1, |i| {
        let at = BASE + i * K4;
        map(at);
        let gone = table.unmap(Span { start: Iova(at), bytes: K4 }).expect("a whole page");
        // SAFETY: no device walks it.
        unsafe { table.free(gone.detached) };
    })
}

fn measure<M: Mem>(name: &str, table: &AnyTable<M>, alone: f64) {
    let to = |start, bytes| Span { start: PhysAddr(start), bytes };
    let map = |at: u64, bytes: u64| {
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(at), to(4 * G1, bytes), Attributes::READ_WRITE) }.expect("free");
    };
    let unmap = |at: u64, bytes: u64| {
        let gone = table.unmap(Span { start: Iova(at), bytes }).expect("whole pages");
        // SAFETY: no device walks it.
        unsafe { table.free(gone.detached) };
    };
    // One page stays, so that the tables do.
    map(BASE + M2 - K4, K4);
    let pair = best(2000, 256, 1, |i| {
        map(BASE + i * K4, K4);
        unmap(BASE + i * K4, K4);
    });
    let (mut one, mut off) = (f64::MAX, f64::MAX);
    for _ in 0..2000 {
        one = one.min(best(1, 256, 1, |i| map(BASE + i * K4, K4)));
        off = off.min(best(1, 256, 1, |i| unmap(BASE + i * K4, K4)));
    }
    map(BASE, 256 * K4);
    let lookup = best(2000, 256, 1, |i| {
        black_box(table.lookup(Iova(BASE + i * K4)));
    });
    unmap(BASE, 256 * K4);
    let (mut range, mut range_off) = (f64::MAX, f64::MAX);
    let (mut small, mut small_off) = (f64::MAX, f64::MAX);
    // Physical memory one page off, so that only small pages fit.
    let odd = |at: u64, bytes: u64| {
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(at), to(4 * G1 + K4, bytes), Attributes::READ_WRITE) }.expect("free");
    };
    for _ in 0..500 {
        range = range.min(best(1, 1, 511, |_| odd(BASE, 511 * K4)));
        range_off = range_off.min(best(1, 1, 511, |_| unmap(BASE, 511 * K4)));
    }
    for _ in 0..9 {
        small = small.min(best(1, 1, 1000, |_| odd(BASE + G1, G1)));
        let mut gone = None;
        small_off = small_off.min(best(1, 1, 1000, |_| {
            gone = Some(table.unmap(Span { start: Iova(BASE + G1), bytes: G1 }).expect("whole pages"));
        }));
        // The tables go back after the invalidation, which is not measured.
        if let Some(gone) = gone {
            // SAFETY: no device walks it.
            unsafe { table.free(gone.detached) };
        }
    }
    println!(
        "{name:<19} map {one:5.1}  unmap {off:5.1}  pair {pair:5.1}  alone {alone:5.1}  lookup {lookup:4.1}  511 pages {range:5.2} each, \
         off {range_off:5.2} each  1 GiB by 4K {small:6.1} us, off {small_off:6.3} us"
    );
}

fn main() {
    let layout = Layout::from_size_align(ARENA, 2 << 20).expect("a layout");
    // SAFETY: the layout is not empty.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
    // The table of the floor comes first; touched once, so that no page fault is measured.
    let frames = (ROOTS / K4..ARENA as u64 / K4).rev().map(|n| n * K4).collect();
    // SAFETY: the arena's own bytes.
    unsafe { start.as_ptr().write_bytes(0, ARENA) };
    let arena: &'static Arena =
        Box::leak(Box::new(Arena { start, free: UnsafeCell::new(frames), large: UnsafeCell::new(K4) }));
    let words = start.cast::<AtomicU64>();
    let floor = best(2000, 1, 512, |_| {
        for i in 0..512 {
            // SAFETY: inside the first frame.
            unsafe { words.add(i).as_ref() }.store(black_box(i as u64), Ordering::Release);
        }
    });
    println!("floor: {floor:.2} a store");
    type Alone = fn(Bench, &TableConfig) -> f64;
    // Four levels each: the walks are as long as each other.
    let formats: [(Format, u8, Alone); 8] = [
        (Format::AmdV1, 48, alone::<AmdV1>),
        (Format::AmdV2, 48, alone::<AmdV2>),
        (Format::ArmStage1, 48, alone::<ArmStage1<12>>),
        (Format::ArmStage2, 48, alone::<ArmStage2<12>>),
        (Format::VtdSecond, 48, alone::<VtdSecond>),
        (Format::VtdFirst, 48, alone::<VtdFirst>),
        (Format::RiscvFirst, 48, alone::<RiscvFirst>),
        (Format::RiscvSecond, 50, alone::<RiscvSecond>),
    ];
    for (format, in_bits, alone) in formats {
        let config = TableConfig {
            format,
            in_bits,
            out_bits: 48,
            page_sizes: K4 | M2 | G1,
            coherent: true,
            dirty: false,
            snoop: true,
        };
        let table = AnyTable::new(Bench(arena), &config).expect("a configuration that exists");
        measure(&format.to_string(), &table, alone(Bench(arena), &config));
    }
}
