//! Tables of address spaces are made of pages that CPUs have at hand, and a trim gives these back. On a platform that nobody
//! traces: a traced one sees every page come and go.

mod pool;

use ioward_bench_plugin::{
    dma::Nowhere,
    platform::{Bench, Free, cpu},
    sink::{FOUR_LEVELS, Sink},
};
use ioward_core::{DeviceDesc, Dma, Subsystem};
use ioward_types::{Direction, IommuId, PhysAddr, SourceId, Span, control::Uncontrolled};
use pool::{SERVICES, live};
use std::sync::Arc;

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;

#[test]
fn a_table_that_went_is_the_next_one_and_trim_gives_it_back() {
    cpu::set_if_none();
    let subsystem = Subsystem::new(Bench::<Free>::new(&SERVICES));
    subsystem.register(Arc::new(Sink(FOUR_LEVELS))).expect("it refuses nothing");
    let source = |n| [(IommuId(0), SourceId(n))];
    let device = subsystem.add(&DeviceDesc::new("one", &source(0), Arc::new(Uncontrolled)));
    let other = subsystem.add(&DeviceDesc::new("another", &source(1), Arc::new(Uncontrolled)));
    let (bound, second) = (device.bind().expect("it is served"), other.bind().expect("it is served"));
    assert_ne!(device.info().group, other.info().group, "an address space each");
    let pages = subsystem.table_pages();
    // The smallest pages, and as many as go with their table.
    let map = |dma: &Arc<Dma<_>>| {
        let buffer = Nowhere(Span { start: PhysAddr(0x30_0000_1000), bytes: M2 });
        Dma::map(dma.clone(), buffer, Direction::Both).map_err(|(error, _)| error).expect("mapped")
    };
    let roots = live();
    map(bound.dma()).unmap().map_err(|_| ()).expect("unmapped");
    let (all, kept) = (live(), pages.kept());
    assert!(kept >= K4 && all > roots, "{kept:#x} bytes are kept");
    // The other address space has it now.
    let mapped = map(second.dma());
    assert!(pages.kept() < kept);
    mapped.unmap().map_err(|_| ()).expect("unmapped");
    // Neither has any table but its root: all others are empty, and go.
    second.dma().trim();
    bound.dma().trim();
    assert_eq!((pages.kept(), live()), (0, roots));
    map(bound.dma()).unmap().map_err(|_| ()).expect("unmapped");
    assert_ne!(pages.kept(), 0);
    pages.trim();
    assert_eq!(pages.kept(), 0);
    drop((bound, second, device, other));
    drop(subsystem);
    assert_eq!(live(), 0, "the last owner gives all back");
}
