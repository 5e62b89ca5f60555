//! A root that grows, where the format has one.

use crate::{
    common::{Host, Traced, cases, judge::*},
    tools::*,
};
use ioward_pgtable::GrowError;
use ioward_types::{Format, PhysAddr, TableConfig};

/// One bit after the other up to the widest; what is mapped stays so at every store, also through every older root.
pub fn step_by_step(config: &TableConfig) {
    for coherent in [true, false] {
        let config = TableConfig { coherent, ..*config };
        let host = Traced::new(Host::with(usize::MAX, !coherent));
        let table = table(&host, &config);
        if config.format != Format::AmdV1 {
            let root = table.root();
            assert_eq!(table.grow(config.in_bits), Err(GrowError::Fixed(config.format)));
            assert_eq!(table.root(), root);
            end(&host.0, table);
            continue;
        }
        let granule = config.granule();
        let mut mapped: Vec<(u64, u64)> = vec![];
        let mut roots = vec![];
        for bits in config.in_bits..=64 {
            let places = mapped.clone();
            let older: Vec<_> = roots.clone();
            host.watch(move |host, _| {
                for &(root, shape) in &older {
                    let shape: TableConfig = shape;
                    for &(at, to) in
                        places.iter().filter(|(at, _)| shape.in_bits == 64 || at >> shape.in_bits == 0)
                    {
                        let read = |word| match coherent {
                            true => host.peek(PhysAddr(word)),
                            false => host.seen(PhysAddr(word)),
                        };
                        match judge(&shape, root, at, read) {
                            Ok(Found::Page(page)) => assert_eq!(page.to, to),
                            other => panic!("{shape}, {at:#x}: {other:?}"),
                        }
                    }
                }
            });
            let root = table.grow(bits).expect("memory is there");
            assert_eq!((root, table.config().in_bits), (table.root(), bits));
            assert_eq!(u32::from(root.levels), (u32::from(bits) - 12).div_ceil(9), "{bits} bits");
            if bits < 64 {
                leads_nowhere(&host.0, &table, 1 << bits);
            }
            roots.push((root, table.config()));
            let highest = cases::halves(&table.config())[0].1 - (granule - 1);
            map(&table, highest, u64::from(bits) * granule, granule);
            mapped.push((highest, u64::from(bits) * granule));
        }
        host.rest();
        assert_eq!(table.grow(65), Err(GrowError::InBits { bits: 65, max: 64 }));
        for &(at, to) in &mapped {
            leads(&host.0, &table, at, to, granule);
            unmap(&table, at, granule);
        }
        let mut table = table;
        let empties = table.trim();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        end(&host.0, table);
    }
}
