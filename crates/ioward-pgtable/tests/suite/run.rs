//! Runs of a few granules: they do what the general way does, and leave the rest to it, unchanged.

use crate::common::{
    Host, iova,
    judge::{Found, judge_entry},
    phys,
};
use ioward_pgtable::{
    AnyTable, Format, MapCause, Options, Plain, Table,
    formats::{AmdV1, AmdV2, ArmStage1, RiscvFirst, VtdSecond},
};
use ioward_types::{Attributes, Iova, PhysAddr, Root, TableConfig};
use proptest::prelude::*;

const K4: u64 = 0x1000;
const K64: u64 = 0x1_0000;
const M2: u64 = 0x20_0000;
const AT: u64 = 0x1234_5678_9000;
const TO: u64 = 0x8_7654_3000;
const RW: Attributes = Attributes::READ_WRITE;
const PLAIN: Plain = match Plain::of(RW) {
    Some(plain) => plain,
    None => panic!("it is plain"),
};

fn config<F: Format>(page_sizes: u64, coherent: bool, dirty: bool) -> TableConfig {
    TableConfig { format: F::FORMAT, in_bits: 48, out_bits: 40, page_sizes, coherent, dirty, snoop: false }
}

fn table<F: Format>(host: &Host, config: &TableConfig) -> Table<F, Host> {
    Table::new(host.clone(), config, Options::default()).unwrap()
}

fn map<F: Format>(table: &Table<F, Host>, at: u64, to: u64, bytes: u64) {
    // SAFETY: no device walks it, and there is one thread.
    unsafe { table.map(Iova(at), phys(to, bytes), RW) }.unwrap();
}

fn map_run<F: Format>(table: &Table<F, Host>, at: u64, to: u64, pages: u64) -> bool {
    // SAFETY: as in `map`; what is handed in is whole pages.
    unsafe { table.map_run(Iova(at), phys(to, pages * K4), PLAIN) }
}

fn leads<F: Format>(table: &Table<F, Host>, at: u64) -> Option<u64> {
    let to = table.translate(Iova(at));
    assert_eq!(to, table.lookup(Iova(at)).map(|(to, ..)| to), "{at:#x}");
    to.map(|to| to.0)
}

fn end<F: Format>(host: &Host, table: Table<F, Host>) {
    // SAFETY: no device walks it.
    unsafe { table.destroy() };
    assert_eq!(host.live(), 0);
}

macro_rules! each_format {
    ($test:ident) => {
        $test::<VtdSecond>();
        $test::<AmdV1>();
        $test::<AmdV2>();
        $test::<ArmStage1<12>>();
        $test::<RiscvFirst>();
    };
}

/// Every kind of link that a format has: as they were made, marked by hardware, and cleaned.
fn kinds<F: Format>(page_sizes: u64) -> [(Host, TableConfig); 3] {
    [
        (Host::new(), config::<F>(page_sizes, true, false)),
        (Host::new(), config::<F>(page_sizes, true, true)),
        (Host::with(usize::MAX, true), config::<F>(page_sizes, false, false)),
    ]
}

#[test]
fn a_run_comes_and_goes() {
    fn test<F: Format>() {
        let all = kinds::<F>(K4).into_iter().chain(kinds::<F>(K4).map(|(host, config)| {
            // Three levels.
            (host, TableConfig { in_bits: 39, ..config })
        }));
        for (host, config) in all {
            let at = AT & ((1 << (config.in_bits - 1)) - 1);
            let table = table::<F>(&host, &config);
            assert!(!map_run(&table, at, TO, 3), "no table is there yet");
            map(&table, at, TO, K4);
            for pages in [1, 2, 7, 8, 9, 64] {
                assert!(map_run(&table, at + K4, TO + K4, pages), "{config}: {pages}");
                for page in 0..=pages {
                    assert_eq!(leads(&table, at + page * K4 + 5), Some(TO + page * K4 + 5));
                }
                assert_eq!(leads(&table, at + (pages + 1) * K4), None, "and no further");
                assert_eq!(table.unmap_run(iova(at + K4, pages * K4)), Some(pages * K4));
                assert_eq!(leads(&table, at + K4), None);
                assert_eq!(leads(&table, at + pages * K4), None);
                assert_eq!(leads(&table, at), Some(TO), "a neighbour stays");
            }
            end(&host, table);
        }
    }
    each_format!(test);
}

/// What a walker finds by what it sees of memory.
fn walked(host: &Host, config: &TableConfig, root: Root, at: u64) -> Option<u64> {
    let see = |word| if config.coherent { host.peek(PhysAddr(word)) } else { host.seen(PhysAddr(word)) };
    match judge_entry(config, root, at, see) {
        Ok(Found::Page(page)) => Some(page.to),
        Ok(Found::Nothing) => None,
        Err(why) => panic!("{config}: {why}"),
    }
}

#[test]
fn a_walker_that_does_not_snoop_sees_a_run_at_once() {
    fn test<F: Format>() {
        let (host, config) = (Host::with(usize::MAX, true), config::<F>(K4, false, false));
        let table = table::<F>(&host, &config);
        map(&table, AT, TO, K4);
        assert!(map_run(&table, AT + K4, TO + K4, 20));
        let all = |led: bool| {
            for page in 1..=20 {
                let to = led.then_some(TO + page * K4);
                assert_eq!(walked(&host, &config, table.root(), AT + page * K4), to, "{config}: {page}");
            }
        };
        all(true);
        assert_eq!(table.unmap_run(iova(AT + K4, 20 * K4)), Some(20 * K4));
        all(false);
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn links_that_hardware_has_marked_lead_on() {
    // VT-d rev 4.1, 9.8: accessed, bit 8, in every entry that a request went through.
    let (host, config) = (Host::new(), config::<VtdSecond>(K4 | M2, true, true));
    let table = table::<VtdSecond>(&host, &config);
    map(&table, AT, TO, K4);
    let mut node = table.root().at.0;
    for level in [3, 2, 1] {
        let entry = PhysAddr(node + (AT >> (12 + 9 * level) & 0x1ff) * 8);
        let link = host.peek(entry).unwrap();
        host.poke(entry, link | 1 << 8);
        node = link & !0xfff;
    }
    assert_eq!(leads(&table, AT + 5), Some(TO + 5));
    assert!(map_run(&table, AT + K4, TO + K4, 3));
    // SAFETY: no device walks it.
    assert!(unsafe { table.map_granule(Iova(AT + 4 * K4), PhysAddr(TO), PLAIN) });
    assert_eq!(walked(&host, &config, table.root(), AT + 3 * K4), Some(TO + 3 * K4));
    assert!(table.unmap_granule(Iova(AT)));
    assert_eq!(table.unmap_run(iova(AT + K4, 3 * K4)), Some(3 * K4));
    assert_eq!((leads(&table, AT), leads(&table, AT + 4 * K4)), (None, Some(TO)));
    end(&host, table);
}

#[test]
fn what_is_not_a_run_is_left_as_it_is() {
    fn test<F: Format>() {
        for (host, config) in kinds::<F>(K4 | M2) {
            let table = table::<F>(&host, &config);
            map(&table, AT, TO, K4);
            // Something is in the way, wherever it stands.
            for place in 0..9 {
                let first = AT - place * K4;
                assert!(!map_run(&table, first, TO, 9), "{config}: {place}");
                for page in 0..9 {
                    assert_eq!(leads(&table, first + page * K4), (page == place).then_some(TO));
                }
            }
            // More than is looked at, more than a table, into a large page, beyond what an entry can lead to.
            assert!(!map_run(&table, AT + K4, TO, 65));
            let edge = (AT & !(M2 - 1)) + M2;
            assert!(!map_run(&table, edge - K4, TO, 2));
            map(&table, edge, 0, M2);
            assert!(!map_run(&table, edge + K4, TO, 2));
            assert_eq!(table.unmap_run(iova(edge + K4, 2 * K4)), None);
            assert!(!map_run(&table, AT + K4, (1 << 40) - K4, 2));
            assert!(!map_run(&table, AT + K4, 1 << 40, 1));
            assert!(map_run(&table, AT + K4, (1 << 40) - 2 * K4, 2), "the last ones are not beyond");
            // No pages, parts of pages, all of a table.
            for (at, bytes) in [(AT, 0), (AT, K4 / 2), (AT + 1, K4), (AT & !(M2 - 1), M2)] {
                assert_eq!(table.unmap_run(iova(at, bytes)), None);
            }
            assert_eq!(leads(&table, AT), Some(TO));
            end(&host, table);
        }
    }
    each_format!(test);
}

#[test]
fn a_page_of_several_entries_is_not_broken_up() {
    // Arm's contiguous sets are 64 KiB of 4 KiB pages; AMD's are every power of two.
    fn test<F: Format>(set: u64, sizes: u64) {
        let host = Host::new();
        let table = table::<F>(&host, &config::<F>(K4 | sizes, true, false));
        let (at, to) = (AT & !(K64 - 1), TO & !(K64 - 1));
        map(&table, at - K4, to - K4, K4);
        let pages = set / K4;
        assert!(!map_run(&table, at, to, pages), "{}: it would be a set", F::FORMAT);
        assert!(map_run(&table, at, to + K4, pages), "it cannot be one");
        assert_eq!(table.unmap_run(iova(at, set)), Some(set));
        assert!(map_run(&table, at, to, pages - 1), "it is less than one");
        assert_eq!(table.unmap_run(iova(at, set - K4)), Some(set - K4));
        // A set is taken off whole or not at all.
        map(&table, at, to, set);
        assert_eq!(table.unmap_run(iova(at, K4)), None);
        assert_eq!(table.unmap_run(iova(at - K4, 2 * K4)), None);
        assert_eq!(leads(&table, at), Some(to));
        end(&host, table);
    }
    test::<ArmStage1<12>>(K64, K64);
    test::<RiscvFirst>(K64, K64);
    test::<AmdV1>(2 * K4, 2 * K4);
}

#[test]
fn plain_is_what_buffers_are() {
    for bits in 0..64_u32 {
        let [read, write, execute, privileged, coherent, mmio] =
            [0, 1, 2, 3, 4, 5].map(|bit| bits >> bit & 1 != 0);
        let how = Attributes { read, write, execute, privileged, coherent, mmio };
        assert_eq!(Plain::of(how).is_some(), !execute && !privileged && !mmio, "{how:?}");
        let Some(plain) = Plain::of(how) else { continue };
        // By it a table stores what it stores by the attributes, or nothing where it has none such.
        let host = Host::new();
        let table = table::<ArmStage1<12>>(&host, &config::<ArmStage1<12>>(K4, true, false));
        map(&table, AT, TO, K4);
        // SAFETY: no device walks it; whole pages.
        let short = unsafe { table.map_granule(Iova(AT + K4), PhysAddr(TO), plain) };
        // SAFETY: as above.
        let general = unsafe { table.map(Iova(AT + 2 * K4), phys(TO, K4), how) };
        match general {
            Ok(()) => {
                assert!(short, "{how:?}");
                let of = |at: u64| table.lookup(Iova(at)).map(|(_, how, _)| how);
                assert_eq!(of(AT + K4), of(AT + 2 * K4));
            }
            Err(error) => {
                assert!(matches!(error.cause, MapCause::Attributes(_)), "{how:?}: {error}");
                // SAFETY: as above.
                assert!(!unsafe { table.map_page(Iova(AT + 2 * K4), phys(TO, K4), how) });
                // The short way gives what is closest, and never something for nothing.
                assert_eq!(short, read || write, "{how:?}");
                let found = table.lookup(Iova(AT + K4)).map(|(_, how, _)| how);
                assert_eq!(found, short.then(|| table.widen(how)), "{how:?}");
            }
        }
        end(&host, table);
    }
}

proptest! {
    /// Runs and single pages by the pointers of an `AnyTable`, against the general way of another table.
    #[test]
    fn pointers_do_what_the_general_way_does(
        steps in prop::collection::vec((0_u64..1100, 1_u64..70, 0_u64..4096, any::<bool>()), 1..60),
        which in 0_usize..5, coherent: bool,
    ) {
        let format = [VtdSecond::FORMAT, AmdV1::FORMAT, AmdV2::FORMAT, ArmStage1::<12>::FORMAT, RiscvFirst::FORMAT];
        let config = TableConfig { format: format[which], ..config::<VtdSecond>(K4, coherent, false) };
        let (host, other) = (Host::with(usize::MAX, !coherent), Host::with(usize::MAX, !coherent));
        let quick = AnyTable::new(host.clone(), &config).unwrap();
        let general = AnyTable::new(other.clone(), &config).unwrap();
        for (page, pages, to, takes) in steps {
            let (at, bytes, to) = (AT + page * K4, pages * K4, TO + to * K4);
            if takes {
                let taken = if pages == 1 {
                    quick.unmap_granule(Iova(at)).then_some(K4)
                } else {
                    quick.unmap_run(iova(at, bytes))
                };
                let by = general.unmap(iova(at, bytes)).map(|gone| {
                    let bytes = gone.bytes;
                    // SAFETY: no device walks it.
                    unsafe { general.free(gone.detached) };
                    bytes
                });
                match taken {
                    Some(bytes) => prop_assert_eq!(by, Ok(bytes)),
                    None => {
                        let gone = quick.unmap(iova(at, bytes)).unwrap();
                        prop_assert_eq!(by, Ok(gone.bytes));
                        // SAFETY: as above.
                        unsafe { quick.free(gone.detached) };
                    }
                }
            } else {
                // SAFETY: as above; whole pages.
                let by = unsafe { general.map(Iova(at), phys(to, bytes), RW) };
                // SAFETY: as above.
                let mapped = unsafe {
                    if pages == 1 {
                        quick.map_granule(Iova(at), PhysAddr(to), PLAIN)
                    } else {
                        quick.map_run(Iova(at), phys(to, bytes), PLAIN)
                    }
                };
                if mapped {
                    prop_assert_eq!(by, Ok(()));
                } else {
                    // SAFETY: as above.
                    let map = unsafe { quick.map(Iova(at), phys(to, bytes), RW) };
                    prop_assert_eq!(map.is_ok(), by.is_ok());
                }
            }
            for page in (page.saturating_sub(2)..page + pages + 2).map(|page| Iova(AT + page * K4 + 7)) {
                prop_assert_eq!(quick.translate(page), general.translate(page));
            }
        }
        // SAFETY: as above.
        unsafe { (quick.destroy(), general.destroy()) };
        prop_assert_eq!((host.live(), other.live()), (0, 0));
    }
}
