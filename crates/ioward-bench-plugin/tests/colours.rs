//! The address spaces of a subsystem use their tables at different cache lines.

use ioward_bench_plugin::{
    dma::{Nowhere, PAGES},
    platform::{Bench, Free, cpu},
    sink::{FOUR_LEVELS, Sink},
};
use ioward_core::{DeviceDesc, Dma, Subsystem};
use ioward_types::{Direction, IommuId, PhysAddr, SourceId, Span, control::Uncontrolled};
use std::{collections::BTreeSet, sync::Arc};

const PAGE: u64 = 4096;

#[test]
fn the_first_mappings_of_domains_share_no_line_of_entries() {
    cpu::set_if_none();
    let subsystem = Subsystem::new(Bench::<Free>::new(&PAGES));
    subsystem.register(Arc::new(Sink(FOUR_LEVELS))).unwrap();
    let starts: Vec<u64> = (0..8)
        .map(|number| {
            let sources = [(IommuId(0), SourceId(number))];
            let device = subsystem.add(&DeviceDesc::new("device", &sources, Arc::new(Uncontrolled)));
            let bound = device.bind().unwrap();
            let buffer = Nowhere(Span { start: PhysAddr(0x30_0000_1000), bytes: PAGE });
            let mapping = Dma::map(&**bound.dma(), buffer, Direction::Both).unwrap();
            let start = mapping.iova().0;
            mapping.release().unwrap();
            start
        })
        .collect();
    for level in 0..4 {
        let lines: BTreeSet<u64> = starts.iter().map(|start| start >> (12 + 9 * level) >> 3 & 63).collect();
        assert_eq!(lines.len(), starts.len(), "level {level}: {starts:#x?}");
    }
}
