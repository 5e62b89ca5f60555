//! Marks of access, set by a walker of the test's own.

use crate::{
    common::{Host, cases, iova},
    tools::*,
};
use ioward_pgtable::{HarvestError, Touched};
use ioward_types::{Attributes, Format, PhysAddr, TableConfig};

/// The entry as hardware leaves it after a read or a write: positions from the specifications, not from the engine.
fn used(config: &TableConfig, raw: u64, write: bool) -> u64 {
    match (config.format, write) {
        (Format::ArmStage1, false) => raw | 1 << 10,
        (Format::ArmStage1, true) => raw & !(1 << 7) | 1 << 10,
        (Format::ArmStage2, false) => raw | 1 << 10,
        (Format::ArmStage2, true) => raw | 1 << 10 | 1 << 7,
        (Format::AmdV1 | Format::AmdV2 | Format::VtdFirst, write) => raw | 1 << 5 | u64::from(write) << 6,
        (Format::VtdSecond, write) => raw | 1 << 8 | u64::from(write) << 9,
        (_, write) => raw | 1 << 6 | u64::from(write) << 7,
    }
}

/// Each entry of each page, read and written: told once, as the whole page, and then as if it had never been.
pub fn marks_of_every_page_size(config: &TableConfig) {
    let untracked = table(&Host::new(), config);
    let range = iova(0, config.granule());
    assert_eq!(untracked.harvest(range, |_, _| panic!("untracked")), Err(HarvestError::Untracked));
    let config = TableConfig { dirty: true, ..*config };
    for bytes in sizes(&table(&Host::new(), &config)) {
        let host = Host::new();
        let table = table(&host, &config);
        let (first, last) = *cases::halves(&config).last().expect("there is one");
        let to = memory(&config) & !(bytes - 1);
        map(&table, first, to, bytes);
        let neighbour = (2 * bytes - 1 <= last - first).then(|| first + bytes);
        if let Some(at) = neighbour {
            try_map(&table, at, 0, bytes, Attributes::READ).expect("free");
        }
        let both = iova(first, if neighbour.is_some() { 2 * bytes } else { bytes });
        let entries = found(&host, &table, first).expect("mapped").entries;
        for (n, write) in [(0, false), (0, true), (entries / 2, true), (entries - 1, false)] {
            let at = first + n * (bytes / entries);
            let fresh = found(&host, &table, at).expect("mapped");
            assert!(!fresh.accessed && !fresh.dirty, "{config}: {fresh:#x?}");
            let told = |span| {
                let mut all = vec![];
                table.harvest(span, |page, touched| all.push((page, touched))).expect("tracked");
                all
            };
            assert_eq!(told(both), []);
            host.poke(PhysAddr(fresh.entry), used(&config, fresh.raw, write));
            let page = found(&host, &table, at).expect("mapped");
            assert_eq!((page.accessed, page.dirty, page.rights), (true, write, fresh.rights), "{config}");
            // The neighbour has not been touched, and what is asked about it says nothing of the page.
            if let Some(at) = neighbour {
                assert_eq!(told(iova(at, bytes)), []);
            }
            // Asked about any granule, the whole page is told.
            let part = iova(first + bytes - config.granule(), config.granule());
            let touched = Touched { accessed: true, dirty: write };
            assert_eq!(told(part), [(iova(first, bytes), touched)], "{config}");
            assert_eq!(told(both), []);
            assert_eq!(found(&host, &table, at).expect("mapped"), fresh, "as if it had never been");
        }
        unmap(&table, first, bytes);
        if let Some(at) = neighbour {
            unmap(&table, at, bytes);
        }
        end(&host, table);
    }
}
