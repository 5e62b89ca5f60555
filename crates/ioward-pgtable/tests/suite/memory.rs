//! Every allocation that can fail does, once.

use crate::{
    common::{Host, cases, iova},
    tools::*,
};
use ioward_pgtable::{AnyTable, ConfigError, MapCause};
use ioward_types::{Iova, TableConfig};

/// A map over several tables of the lowest level and, in wide tables, of the one above: whichever table cannot be had,
/// nothing new leads anywhere, what was there still does, and no table stays that a trim would not find.
pub fn every_allocation_fails_once(config: &TableConfig) {
    let host = Host::with(0, false);
    let refused = AnyTable::with(host.clone(), config, OPTIONS).expect_err("no memory for the root");
    assert!(matches!(refused, ConfigError::NoMemory(_)));
    assert_eq!((host.made(), host.live()), (0, 0));

    let granule = config.granule();
    let table_span = granule * (granule / 8);
    let next_span = table_span.saturating_mul(granule / 8);
    let (first, last) = *cases::halves(config).last().expect("there is one");
    // Around the boundary of two tables, of the highest level that the width has room for.
    let middle = first + if last - first >= 4 * next_span { next_span } else { table_span };
    let (at, bytes) = (middle - 3 * granule, table_span + 6 * granule);
    if at < first || at + (bytes - 1) > last {
        return;
    }
    for coherent in [true, false] {
        let config = TableConfig { coherent, ..*config };
        for budget in 0.. {
            let host = Host::with(usize::MAX, !coherent);
            let mut table = table(&host, &config);
            // Somebody else's page, in a table that the map will need.
            map(&table, middle - 4 * granule, 0, granule);
            let live = host.live();
            host.set_budget(budget);
            let result = try_map(&table, at, memory(&config) + granule, bytes, RW);
            host.set_budget(usize::MAX);
            leads(&host, &table, middle - 4 * granule, 0, granule);
            if result.is_ok() {
                for offset in [0, bytes / 2, bytes - 1] {
                    let page = found(&host, &table, at + offset).expect("mapped");
                    assert_eq!(page.to, memory(&config) + granule + offset);
                }
                assert_eq!(host.live(), live + budget, "no table more than needed");
                assert!(budget > 0 || table.root().levels == 1, "{config}: nothing was tried");
                unmap(&table, at, bytes);
                unmap(&table, middle - 4 * granule, granule);
                finish(&host, table);
                break;
            }
            let error = result.expect_err("not enough memory");
            let MapCause::NoMemory(here) = error.cause else { panic!("{config}: {error}") };
            assert!(iova(at, bytes).contains(here));
            let reached = error.undone.map_or(at, |undone| {
                assert_eq!(undone.start, Iova(at));
                at + undone.bytes
            });
            assert_eq!(reached, here.0, "what was undone is what had been mapped");
            for offset in (0..bytes).step_by(granule as usize) {
                leads_nowhere(&host, &table, at + offset);
                if !coherent {
                    let seen = crate::common::judge::judge(&config, table.root(), at + offset, |word| {
                        host.seen(ioward_types::PhysAddr(word))
                    });
                    assert_eq!(seen, Ok(crate::common::judge::Found::Nothing), "{config}");
                }
            }
            let empties = table.trim();
            // SAFETY: no device walks it.
            unsafe { table.free(empties) };
            assert_eq!(host.live(), live, "{config}: as it was");
            leads(&host, &table, middle - 4 * granule, 0, granule);
            // And it still works.
            map(&table, at, memory(&config) + granule, bytes);
            unmap(&table, at, bytes);
            unmap(&table, middle - 4 * granule, granule);
            finish(&host, table);
        }
    }
}

fn finish(host: &Host, mut table: AnyTable<Host>) {
    let empties = table.trim();
    // SAFETY: no device walks it.
    unsafe { table.free(empties) };
    end(host, table);
}
