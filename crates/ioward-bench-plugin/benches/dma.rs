//! What a whole mapping costs, through the DMA API: `cargo bench -p ioward-bench-plugin --bench dma`.
//!
//! Behind an IOMMU whose flush returns at once: what is left is the subsystem's own.

use divan::{Bencher, black_box, counter::ItemsCount};
use ioward_bench_plugin::{
    dma::{Nowhere, ends},
    platform::{Bench, Flags, Free, Pinning},
};
use ioward_core::{Dma, FlushMode};
use ioward_types::{Direction, PhysAddr, Span};

const MEMORY: PhysAddr = PhysAddr(0x30_0000_1000);
const K4: u64 = 0x1000;
const K64: u64 = 0x1_0000;
const MODES: [FlushMode; 2] = [FlushMode::Strict, FlushMode::Lazy];

fn main() {
    divan::main();
}

/// A buffer mapped and released, again and again.
fn pairs<P: Pinning>(dma: &Dma<Bench<P>>, bytes: u64) {
    for _ in 0..256 {
        let buffer = black_box(Nowhere(Span { start: MEMORY, bytes }));
        let mapping = Dma::map(dma, buffer, Direction::Both).expect("it is mapped");
        black_box(mapping.iova());
        mapping.release().expect("it is confirmed");
    }
}

/// One thread: a page, and 64 KiB.
#[divan::bench(args = MODES, consts = [K4, K64])]
fn pair<const BYTES: u64>(bencher: Bencher, flush: FlushMode) {
    let ends = ends::<Free>(flush, &[("device", 64)]);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| pairs(ends[0].dma(), BYTES));
}

/// The same with a pin that saves the processor's flags.
#[divan::bench(args = MODES, consts = [K4, K64])]
fn pair_flags_saved<const BYTES: u64>(bencher: Bencher, flush: FlushMode) {
    let ends = ends::<Flags>(flush, &[("device", 64)]);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| pairs(ends[0].dma(), BYTES));
}

/// A ring of 256 slots, linked and unlinked by runs of so many.
#[divan::bench(args = [1, 16, 256], consts = [K4, K64])]
fn ring<const BYTES: u64>(bencher: Bencher, run: usize) {
    let ends = ends::<Free>(FlushMode::Strict, &[("device", 64)]);
    let dma = &**ends[0].dma();
    let mut ring = Dma::reserve(dma, 256, BYTES).expect("there is room");
    bencher.counter(ItemsCount::new(256u32)).bench_local(move || {
        for start in (0..256).step_by(run) {
            for slot in start..start + run {
                let buffer = black_box(Nowhere(Span { start: MEMORY, bytes: BYTES }));
                black_box(ring.link(slot, buffer, Direction::Both).expect("it is mapped"));
            }
            ring.sync().expect("it is confirmed");
            ring.unlink(start..start + run, |_, buffer| _ = black_box(buffer)).expect("it is confirmed");
        }
    });
}
