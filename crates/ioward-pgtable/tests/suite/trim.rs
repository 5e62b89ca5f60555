//! Empty tables are found and given back, and no others.

use crate::{
    common::{Host, cases},
    tools::*,
};
use ioward_types::TableConfig;

/// Sparse pages, unmapped one by one so that every table stays; then a trim.
pub fn takes_what_is_empty(config: &TableConfig) {
    for coherent in [true, false] {
        let config = TableConfig { coherent, ..*config };
        let host = Host::with(usize::MAX, !coherent);
        let mut table = table(&host, &config);
        let granule = config.granule();
        // The first granule of each power of two, and the last of each half.
        let mut places = vec![];
        for (first, last) in cases::halves(&config) {
            let step = |shift| first.checked_add(1u64.checked_shl(shift)?).filter(|&at| at < last);
            places.push(first);
            places.extend((granule.trailing_zeros()..64).filter_map(step));
            places.push(last - (granule - 1));
        }
        places.sort_unstable();
        places.dedup();
        for (n, &at) in places.iter().enumerate() {
            map(&table, at, n as u64 * granule, granule);
        }
        let full = host.live();
        let kept = places.len() / 2;
        for (n, &at) in places.iter().enumerate().filter(|&(n, _)| n != kept) {
            leads(&host, &table, at, n as u64 * granule, granule);
            assert_eq!(unmap(&table, at, granule), granule);
        }
        assert_eq!(host.live(), full, "no table goes because it is empty");
        let empties = table.trim();
        assert_eq!(host.live(), full, "hardware may still walk them");
        host.take_cleaned();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        assert_eq!(host.live(), usize::from(table.root().levels), "{config}: the way to one page");
        leads(&host, &table, places[kept], kept as u64 * granule, granule);
        assert!(table.trim().is_empty());
        unmap(&table, places[kept], granule);
        let empties = table.trim();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        assert_eq!(host.live(), 1, "the root stays");
        end(&host, table);
    }
}
