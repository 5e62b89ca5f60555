//! Large pages split in place.

use crate::{
    common::{
        Host, Traced, cases,
        judge::{Found, judge_entry},
    },
    tools::*,
};
use ioward_pgtable::{AnyTable, CutError};
use ioward_types::{Format, Iova, PhysAddr, TableConfig};

/// Entries that one page of `large` becomes, at most; beyond it takes long and tells nothing new.
const MOST: u64 = 1 << 14;

fn cuttable<M: ioward_pgtable::Mem>(table: &AnyTable<M>) -> Vec<u64> {
    let sizes = sizes(table);
    let pairs = sizes.iter().enumerate().skip(1).map(|(n, &large)| (sizes[n - 1], large));
    pairs.filter(|(small, large)| large / small <= MOST).map(|(_, large)| large).collect()
}

/// From store to store, every byte of the page goes on leading where it led; then each part can be unmapped alone.
pub fn every_page_under_dma(config: &TableConfig) {
    for coherent in [true, false] {
        let config = TableConfig { coherent, ..*config };
        let largest_first = cuttable(&table(&Host::new(), &config));
        for large in largest_first {
            let host = Traced::new(Host::with(usize::MAX, !coherent));
            let table = table(&host, &config);
            let (at, to) =
                (cases::halves(&config).last().expect("there is one").0, memory(&config) & !(large - 1));
            map(&table, at, to, large);
            let granule = config.granule();
            let cut = at + large / 2 + granule * if large > 2 * granule { 1 } else { 0 };
            let (root, shape) = (table.root(), table.config());
            host.watch(move |host, _| {
                for probe in [0, granule, large / 2, large / 2 + granule, large - granule] {
                    let offset = probe % large;
                    let read = |word| match coherent {
                        true => host.peek(PhysAddr(word)),
                        false => host.seen(PhysAddr(word)),
                    };
                    match judge_entry(&shape, root, at + offset, read) {
                        Ok(Found::Page(page)) => assert_eq!(page.to, to + offset, "{shape}"),
                        other => panic!("{shape}, {:#x}: {other:?}", at + offset),
                    }
                }
            });
            let told = table.cut(Iova(cut)).unwrap_or_else(|error| panic!("{config} {large:#x}: {error}"));
            host.rest();
            let page = told.expect("a page was split");
            assert_eq!((page.start.0, page.bytes), (at, large), "{config}");
            let page = found(&host.0, &table, cut).expect("mapped");
            assert_eq!(cut & (page.bytes - 1), 0, "a page begins at the cut");
            assert_eq!(unmap(&table, cut, at + (large - 1) - cut + 1), at + (large - 1) - cut + 1);
            leads_nowhere(&host.0, &table, cut);
            assert_eq!(found(&host.0, &table, cut - 1).expect("mapped").to, to + (cut - 1 - at));
            unmap(&table, at, cut - at);
            end(&host.0, table);
        }
    }
}

/// Whichever allocation fails, nothing that was mapped has moved, and nothing leaks.
pub fn without_memory(config: &TableConfig) {
    for large in cuttable(&table(&Host::new(), config)) {
        for budget in 0.. {
            let host = Host::new();
            let mut table = table(&host, config);
            let to = memory(config) & !(large - 1);
            map(&table, 0, to, large);
            let live = host.live();
            host.set_budget(budget);
            let at = Iova(large / 2 + if large > 2 * config.granule() { config.granule() } else { 0 });
            let result = table.cut(at);
            host.set_budget(usize::MAX);
            for offset in [0, config.granule() % large, large / 2, large - 1] {
                assert_eq!(found(&host, &table, offset).expect("mapped").to, to + offset);
            }
            assert!(table.trim().is_empty(), "no table is left that maps nothing");
            unmap(&table, 0, large);
            match result {
                Ok(_) => {
                    let empties = table.trim();
                    // SAFETY: no device walks it.
                    unsafe { table.free(empties) };
                    end(&host, table);
                    break;
                }
                Err(CutError::NoMemory { at: told, .. }) => assert_eq!(told, at),
                Err(other) => panic!("{config}: {other}"),
            }
            assert!(host.live() <= live + budget);
            let empties = table.trim();
            // SAFETY: no device walks it.
            unsafe { table.free(empties) };
            end(&host, table);
        }
    }
}

/// What the other tests rely on: Arm without hitless cuts refuses.
#[test]
fn arm_refuses_where_hardware_would_fault() {
    for config in cases::arm_s1_4k().into_iter().chain(cases::arm_s2_64k()) {
        let table = AnyTable::new(Host::new(), &config).expect("a configuration that exists");
        if let Some(&large) = sizes(&table).get(1) {
            map(&table, 0, 0, large);
            let refused = table.cut(Iova(config.granule()));
            assert!(matches!(refused, Err(CutError::NotHitless { .. })), "{refused:?}");
            assert!(matches!(config.format, Format::ArmStage1 | Format::ArmStage2));
        }
    }
}
