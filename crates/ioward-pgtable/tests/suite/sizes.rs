//! Every page size, and which one is chosen.

use crate::{
    common::{Host, cases, iova},
    tools::*,
};
use ioward_pgtable::UnmapError;
use ioward_types::{Iova, TableConfig};

/// Each size at both ends of each half, to the lowest and the highest memory.
pub fn every_page_size(config: &TableConfig) {
    for bytes in sizes(&table(&Host::new(), config)) {
        // Tables of smaller pages would stand in the way.
        let host = Host::new();
        let table = table(&host, config);
        for (first, last) in cases::halves(config) {
            let highest_memory = (1u64 << config.out_bits).checked_sub(bytes);
            for at in [first, last - (bytes - 1)] {
                for to in [Some(0), highest_memory].into_iter().flatten() {
                    map(&table, at, to, bytes);
                    for offset in [0, config.granule() % bytes, bytes / 2, bytes - 1] {
                        leads(&host, &table, at + offset, to + offset, bytes);
                    }
                    for outside in [at.wrapping_sub(1), at.wrapping_add(bytes)] {
                        leads_nowhere(&host, &table, outside);
                    }
                    assert_eq!(unmap(&table, at, bytes), bytes);
                    leads_nowhere(&host, &table, at);
                }
            }
        }
        end(&host, table);
    }
}

/// Ranges of all alignments get the same pages that a search through all sizes finds, one after the other.
pub fn the_largest_page_that_fits(config: &TableConfig) {
    let mut random = Random(u64::from(config.in_bits) << 8 | u64::from(config.out_bits));
    for _ in 0..24 {
        let host = Host::new();
        let table = table(&host, config);
        let sizes = sizes(&table);
        let (first, last) = *cases::halves(config).last().expect("there is one");
        // The largest page is that by which IOVA and memory differ; a few of it, and a few of each below.
        let most = random.next(sizes.len() as u64) as usize;
        let unit = sizes[most];
        let (mut at, mut bytes) = (first, unit * random.next(20));
        for &size in &sizes[..most] {
            at += size * random.next(3);
            bytes += size * random.next(3);
        }
        let to = at.wrapping_sub(first) + unit * (1 + random.next(8));
        let fits = bytes != 0
            && at.checked_add(bytes - 1).is_some_and(|end| end <= last)
            && (to + (bytes - 1)) >> config.out_bits == 0;
        if fits {
            map(&table, at, to, bytes);
            let mut done = 0;
            while done < bytes {
                let fitting =
                    |&&size: &&u64| ((at + done) | (to + done)) & (size - 1) == 0 && size <= bytes - done;
                let size = *sizes.iter().rev().find(fitting).expect("the granule fits");
                leads(&host, &table, at + done, to + done, size);
                done += size;
            }
            assert_eq!(unmap(&table, at, bytes), bytes);
        }
        end(&host, table);
    }
}

/// A large page is not put where a table stands, though it be empty; after a trim it is.
pub fn a_table_in_the_way(config: &TableConfig) {
    let host = Host::new();
    let mut table = table(&host, config);
    let sizes = sizes(&table);
    let granule = config.granule();
    for &large in &sizes[1..] {
        // Where smaller tables are needed at all, and not too many entries.
        let small = *sizes.iter().rev().find(|&&small| small < large).expect("the first is left out");
        if large / small > 8192 {
            continue;
        }
        map(&table, large - granule, memory(config) + large - granule, granule);
        unmap(&table, large - granule, granule);
        let (at, to) = (0, memory(config) & !(large - 1));
        map(&table, at, to, large);
        for offset in [0, large / 2, large - 1] {
            let page = found(&host, &table, at + offset).expect("mapped");
            assert_eq!(page.to, to + offset);
        }
        assert_eq!(unmap(&table, at, large), large);
        let empties = table.trim();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        assert_eq!(host.live(), 1, "the root");
        map(&table, at, to, large);
        leads(&host, &table, at + large - 1, to + large - 1, large);
        assert_eq!(unmap(&table, at, large), large);
        let empties = table.trim();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
    }
    end(&host, table);
}

/// Linux takes the whole page off; here the caller is told which page it would cut, and nothing changes.
pub fn no_page_is_unmapped_in_part(config: &TableConfig) {
    let sizes = sizes(&table(&Host::new(), config));
    for (n, &large) in sizes.iter().enumerate().skip(1) {
        let host = Host::new();
        let table = table(&host, config);
        let (first, last) = cases::halves(config)[0];
        if 2 * large - 1 > last - first {
            continue;
        }
        let to = memory(config) & !(large - 1);
        map(&table, 0, to, large);
        map(&table, large, 0, large);
        for &small in &sizes[..n] {
            for (at, page) in
                [(0, 0), (large - small, 0), (large / 2, 0), (large, large), (2 * large - small, large)]
            {
                let error = table.unmap(iova(at, small)).expect_err("a part of a page");
                assert_eq!(error, UnmapError::Cuts { page: iova(page, large) }, "{config}");
            }
            let error = table.unmap(iova(0, large + small)).expect_err("a page and a part");
            assert_eq!(error, UnmapError::Cuts { page: iova(large, large) });
        }
        leads(&host, &table, 0, to, large);
        leads(&host, &table, large, 0, large);
        // It does not go on into the neighbour.
        assert_eq!(unmap(&table, 0, large), large);
        leads(&host, &table, large, 0, large);
        assert_eq!(unmap(&table, large, large), large);
        assert_eq!(table.next_mapped(Iova(0)), None);
        end(&host, table);
    }
}

/// Two ranges that Linux's page tables have once mapped wrongly.
pub fn ranges_that_have_gone_wrong_elsewhere(config: &TableConfig) {
    let last = cases::halves(config)[0].1;
    let sizes = config.page_sizes;
    let (at, to, bytes) = (0xfef8_0000, 0x20_8b95_d000, 0x2_0000);
    if config.granule() == cases::K4 && at + bytes <= last && (to + bytes) >> config.out_bits == 0 {
        let host = Host::new();
        let table = table(&host, config);
        map(&table, at, to, bytes);
        for offset in (0..bytes).step_by(cases::K4 as usize) {
            assert_eq!(found(&host, &table, at + offset).expect("mapped").to, to + offset);
        }
        unmap(&table, at, bytes);
        end(&host, table);
    }
    // 14 pages of 2 MiB, 3 of 1 GiB, 3 of 2 MiB.
    let (start, stop) = (0x3f_e400u64 << 12, 0x4c_0600u64 << 12);
    let usual =
        sizes & 0x7fe0_0000 == cases::M2 | cases::G1 && sizes.ilog2() == 30 && config.granule() == cases::K4;
    if usual && stop <= last && stop >> config.out_bits == 0 {
        let host = Host::new();
        let table = table(&host, config);
        map(&table, start, start, stop - start);
        let (mut at, mut pages) = (start, vec![]);
        while at < stop {
            let page = found(&host, &table, at).expect("mapped");
            assert_eq!(page.to, at);
            pages.push(page.bytes);
            at += page.bytes;
        }
        let expected = [vec![cases::M2; 14], vec![cases::G1; 3], vec![cases::M2; 3]].concat();
        assert_eq!(pages, expected);
        unmap(&table, start, stop - start);
        end(&host, table);
    }
}
