//! A buffer mapped and released so many times: for whoever counts instructions.
//!
//! `valgrind --tool=callgrind target/release/examples/dma_pair strict 4096 100000`

use ioward_bench_plugin::{
    dma::{Nowhere, ends},
    platform::Free,
};
use ioward_core::{Dma, FlushMode};
use ioward_types::{Direction, PhysAddr, Span};
use std::{env, hint::black_box, time::Instant};

fn main() {
    let mut arguments = env::args().skip(1);
    let lazy = arguments.next().is_some_and(|mode| mode == "lazy");
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (bytes, times) = (number(4096), number(1_000_000));
    let ends = ends::<Free>(if lazy { FlushMode::Lazy } else { FlushMode::Strict }, &[("device", 64)]);
    let dma = &**ends[0].dma();
    let begin = Instant::now();
    for _ in 0..times {
        let buffer = black_box(Nowhere(Span { start: PhysAddr(0x30_0000_1000), bytes }));
        let mapping = Dma::map(dma, buffer, Direction::Both).expect("it is mapped");
        black_box(mapping.iova());
        mapping.release().expect("it is confirmed");
    }
    println!("{:.2} ns each", begin.elapsed().as_nanos() as f64 / times as f64);
}
