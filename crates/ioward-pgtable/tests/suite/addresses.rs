//! Both ends of the address space, and what lies outside.

use crate::{
    common::{Host, cases, iova},
    tools::*,
};
use ioward_pgtable::{MapCause, RangeError, UnmapError};
use ioward_types::{Iova, TableConfig};

/// The lowest and the highest granule of each half are four places, not fewer.
pub fn both_ends(config: &TableConfig) {
    let host = Host::new();
    let table = table(&host, config);
    let granule = config.granule();
    let ends: Vec<u64> =
        cases::halves(config).into_iter().flat_map(|(first, last)| [first, last - (granule - 1)]).collect();
    let memory = |n: usize| (1u64 << config.out_bits) - (n as u64 + 1) * granule;
    for (n, &at) in ends.iter().enumerate() {
        map(&table, at, memory(n), granule);
    }
    for (n, &at) in ends.iter().enumerate() {
        leads(&host, &table, at, memory(n), granule);
        leads(&host, &table, at + (granule - 1), memory(n) + granule - 1, granule);
    }
    // What differs only in bits above the width is no address.
    if config.in_bits < 64 {
        for &at in &ends {
            leads_nowhere(&host, &table, at ^ 1 << config.in_bits);
            leads_nowhere(&host, &table, at ^ 1 << 63);
        }
    }
    assert_eq!(table.next_mapped(Iova(0)), Some(Iova(0)));
    for (n, &at) in ends.iter().enumerate() {
        assert_eq!(unmap(&table, at, granule), granule);
        leads_nowhere(&host, &table, at);
        if let Some(&next) = ends.get(n + 1) {
            leads(&host, &table, next, memory(n + 1), granule);
        }
    }
    end(&host, table);
}

/// Ranges that leave the input, cross between the halves, or leave the output.
pub fn outside_is_refused(config: &TableConfig) {
    let host = Host::new();
    let table = table(&host, config);
    let granule = config.granule();
    let refused = |at: u64, bytes: u64| {
        let error = try_map(&table, at, 0, bytes, RW).expect_err("outside");
        let expected = RangeError::Input { at: Iova(at), bytes, in_bits: config.in_bits };
        assert_eq!((error.cause, error.undone), (MapCause::Range(expected), None), "{config}");
        assert_eq!(table.unmap(iova(at, bytes)).expect_err("outside"), UnmapError::Range(expected));
        assert!(table.cut(Iova(at)).is_err() || table.cut(Iova(at)) == Ok(None));
    };
    for (first, last) in cases::halves(config) {
        if last != u64::MAX {
            refused(last + 1, granule);
        }
        refused(last - (granule - 1), 2 * granule);
        if first != 0 {
            refused(first - granule, granule);
            refused(first - granule, 2 * granule);
            // From the last byte of the lower half to the first of the upper, through the hole.
            let lower = cases::halves(config)[0].1 - (granule - 1);
            refused(lower, first - lower + granule);
        }
    }
    refused(u64::MAX - (granule - 1), 2 * granule);
    let end_of_memory = 1u64 << config.out_bits;
    for (to, bytes) in [(end_of_memory, granule), (end_of_memory - granule, 2 * granule)] {
        let error = try_map(&table, 0, to, bytes, RW).expect_err("no such memory");
        assert!(matches!(error.cause, MapCause::Range(RangeError::Output { .. })), "{config}: {error}");
    }
    assert_eq!(host.made(), 1, "the root");
    end(&host, table);
}

/// Each half in one call, where the largest pages make that a short one.
pub fn the_whole_space(config: &TableConfig) {
    for (first, last) in cases::halves(config) {
        let host = Host::new();
        let table = table(&host, config);
        let largest = *sizes(&table).last().expect("there is one");
        let Some(bytes) = (last - first).checked_add(1) else { continue };
        if bytes / largest > 4096 || bytes >> config.out_bits > 1 || bytes > 1 << config.out_bits {
            continue;
        }
        map(&table, first, 0, bytes);
        for at in [0, largest - 1, bytes / 2, bytes - largest, bytes - 1] {
            leads(&host, &table, first + at, at, largest);
        }
        let one = try_map(&table, first + bytes / 2, 0, config.granule(), RW).expect_err("mapped");
        assert_eq!(one.cause, MapCause::Exists(Iova(first + bytes / 2)));
        assert_eq!(unmap(&table, first, bytes), bytes);
        for at in [0, bytes / 2, bytes - 1] {
            leads_nowhere(&host, &table, first + at);
        }
        end(&host, table);
    }
}
