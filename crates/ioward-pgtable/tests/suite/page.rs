//! What the short ways for single pages and runs must leave to the general way, and what they must find themselves. Each of
//! their guards is met here once, in tables of three, four and five levels.

use crate::common::{Host, iova, phys};
use ioward_pgtable::{
    Format, MapCause, MapError, Options, RangeError, Table, UnmapError, Unmapped,
    formats::{AmdV1, AmdV2, ArmStage1, RiscvFirst, VtdSecond},
};
use ioward_types::{Attributes, Iova, PhysAddr, TableConfig};

const K4: u64 = 0x1000;
const K64: u64 = 0x1_0000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;
const RW: Attributes = Attributes::READ_WRITE;
/// In the second half of what four levels translate, so that no index is zero.
const AT: u64 = 0x1234_5678_9000 & 0x7fff_ffff_ffff;
const TO: u64 = 0x8_7654_3000;

fn config<F: Format>(in_bits: u8, page_sizes: u64, coherent: bool) -> TableConfig {
    TableConfig { format: F::FORMAT, in_bits, out_bits: 40, page_sizes, coherent, dirty: false, snoop: false }
}

fn table<F: Format>(host: &Host, in_bits: u8, page_sizes: u64) -> Table<F, Host> {
    Table::new(host.clone(), &config::<F>(in_bits, page_sizes, true), Options::default()).unwrap()
}

/// For an IOMMU that does not snoop.
fn incoherent<F: Format>(host: &Host, page_sizes: u64) -> Table<F, Host> {
    Table::new(host.clone(), &config::<F>(48, page_sizes, false), Options::default()).unwrap()
}

fn map<F: Format>(
    table: &Table<F, Host>,
    at: u64,
    to: u64,
    bytes: u64,
    how: Attributes,
) -> Result<(), MapError> {
    // SAFETY: no device walks it, and there is one thread.
    unsafe { table.map(Iova(at), phys(to, bytes), how) }
}

fn map_page<F: Format>(table: &Table<F, Host>, at: u64, to: u64, bytes: u64, how: Attributes) -> bool {
    // SAFETY: as in `map`.
    unsafe { table.map_page(Iova(at), phys(to, bytes), how) }
}

fn unmap<F: Format>(table: &Table<F, Host>, at: u64, bytes: u64) -> Result<u64, UnmapError> {
    let Unmapped { bytes, detached } = table.unmap(iova(at, bytes))?;
    // SAFETY: no device walks it, and nobody looks into it.
    unsafe { table.free(detached) };
    Ok(bytes)
}

/// What the short way finds, which is what the general way finds.
fn leads<F: Format>(table: &Table<F, Host>, at: u64) -> Option<u64> {
    let short = table.translate(Iova(at));
    assert_eq!(short, table.lookup(Iova(at)).map(|(to, ..)| to), "{at:#x}");
    assert_eq!(table.translate_or(Iova(at), PhysAddr(7)), short.unwrap_or(PhysAddr(7)));
    short.map(|to| to.0)
}

fn end<F: Format>(host: &Host, table: Table<F, Host>) {
    // SAFETY: no device walks it.
    unsafe { table.destroy() };
    assert_eq!(host.live(), 0);
}

/// Calls a generic test with each format that pages of 4 KiB have something of their own in.
macro_rules! each_format {
    ($test:ident) => {
        $test::<VtdSecond>();
        $test::<AmdV1>();
        $test::<AmdV2>();
        $test::<ArmStage1<12>>();
        $test::<RiscvFirst>();
    };
}

#[test]
fn a_page_takes_the_short_way_both_ways() {
    fn test<F: Format>() {
        for in_bits in [39, 48] {
            let host = Host::new();
            let table = table::<F>(&host, in_bits, K4);
            let at = AT & ((1 << (in_bits - 1)) - 1);
            map(&table, at + K4, TO, K4, RW).unwrap();
            assert!(map_page(&table, at, TO + K4, K4, RW), "{}", F::FORMAT);
            assert_eq!(leads(&table, at + 0x123), Some(TO + K4 + 0x123));
            assert_eq!(leads(&table, at + 2 * K4), None);
            assert!(table.unmap_page(iova(at, K4)));
            assert_eq!((leads(&table, at), leads(&table, at + K4)), (None, Some(TO)));
            end(&host, table);
        }
    }
    each_format!(test);
}

#[test]
fn nothing_is_mapped_over() {
    fn test<F: Format>() {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4 | M2);
        map(&table, AT, TO, K4, RW).unwrap();
        assert!(!map_page(&table, AT, TO + K4, K4, RW));
        assert_eq!(map(&table, AT, TO + K4, K4, RW).unwrap_err().cause, MapCause::Exists(Iova(AT)));
        assert_eq!(leads(&table, AT), Some(TO));
        // Neither in a large page.
        let large = (AT & !(M2 - 1)) + M2;
        map(&table, large, 0, M2, RW).unwrap();
        assert!(!map_page(&table, large + K4, TO, K4, RW));
        assert!(!table.unmap_page(iova(large + K4, K4)));
        assert_eq!(leads(&table, large + 5), Some(5));
        end(&host, table);
        // Nor where walkers do not snoop.
        let host = Host::with(usize::MAX, true);
        let table = incoherent::<F>(&host, K4);
        map(&table, AT, TO, K4, RW).unwrap();
        assert!(!map_page(&table, AT, TO + K4, K4, RW));
        assert_eq!(leads(&table, AT), Some(TO));
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn a_run_into_a_table_that_was_there_looks_at_every_entry() {
    fn test<F: Format>() {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4);
        let first = AT & !(M2 - 1);
        for place in [0, 7, 8, 100, 511] {
            let at = first + place * K4;
            map(&table, at, TO, K4, RW).unwrap();
            // Two tables: the first is there, the second is new.
            let error = map(&table, first, 0x100_0000, 2 * M2, RW).unwrap_err();
            assert_eq!(error.cause, MapCause::Exists(Iova(at)), "{}", F::FORMAT);
            assert_eq!(leads(&table, at), Some(TO));
            unmap(&table, at, K4).unwrap();
        }
        // The first is new, the second is there.
        unmap(&table, first, M2).unwrap();
        map(&table, first + M2 + 9 * K4, TO, K4, RW).unwrap();
        let error = map(&table, first, 0x100_0000, 2 * M2, RW).unwrap_err();
        assert_eq!(error.cause, MapCause::Exists(Iova(first + M2 + 9 * K4)));
        assert_eq!(leads(&table, first), None);
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn what_is_no_page_is_refused_by_name() {
    fn test<F: Format>() {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4);
        map(&table, AT + 8 * K4, TO, K4, RW).unwrap();
        let refused = |at, to, bytes| {
            assert!(!map_page(&table, at, to, bytes, RW), "{at:#x} {to:#x} {bytes:#x}");
            match map(&table, at, to, bytes, RW).unwrap_err().cause {
                MapCause::Range(range) => range,
                other => panic!("{other}"),
            }
        };
        assert!(matches!(refused(AT + 1, TO, K4), RangeError::Misaligned { .. }));
        assert!(matches!(refused(AT + 0x800, TO, K4), RangeError::Misaligned { .. }));
        assert!(matches!(refused(AT, TO + 8, K4), RangeError::OutputMisaligned { .. }));
        assert!(matches!(refused(AT, TO + 0x800, K4), RangeError::OutputMisaligned { .. }));
        assert!(matches!(refused(AT, TO, 0), RangeError::Empty { .. }));
        assert!(matches!(refused(AT, TO, K4 + 8), RangeError::Misaligned { .. }));
        assert!(matches!(refused(AT, 1 << 40, K4), RangeError::Output { .. }));
        assert!(matches!(refused(AT, u64::MAX - K4 + 1, K4), RangeError::Output { .. }));
        assert!(matches!(refused(1 << 48, TO, K4), RangeError::Input { .. }));
        assert_eq!(map(&table, AT, (1 << 40) - K4, K4, RW), Ok(()), "the last address");
        for (at, bytes) in [(AT + 1, K4), (AT + 0x800, K4), (AT, 0), (AT, 0x800), (1 << 48, K4)] {
            assert!(!table.unmap_page(iova(at, bytes)), "{at:#x} {bytes:#x}");
            assert!(table.unmap(iova(at, bytes)).is_err(), "{at:#x} {bytes:#x}");
        }
        for at in [1 << 48, (1 << 63) | AT] {
            assert_eq!(leads(&table, at), None);
        }
        // More than a page is none, though it begins with one.
        assert!(!map_page(&table, AT + K4, TO, 2 * K4, RW));
        assert!(!table.unmap_page(iova(AT, 2 * K4)));
        assert_eq!((leads(&table, AT), leads(&table, AT + K4)), (Some((1 << 40) - K4), None));
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn attributes_that_a_format_lacks_are_refused() {
    let host = Host::new();
    let table = table::<VtdSecond>(&host, 48, K4);
    map(&table, AT + K4, TO, K4, RW).unwrap();
    for how in [Attributes { privileged: true, ..RW }, Attributes { read: false, write: false, ..RW }] {
        assert!(!map_page(&table, AT, TO, K4, how));
        assert_eq!(map(&table, AT, TO, K4, how).unwrap_err().cause, MapCause::Attributes(how));
    }
    // Known to the general way alone.
    let registers = Attributes { mmio: true, coherent: false, ..RW };
    assert!(!map_page(&table, AT, TO, K4, registers));
    map(&table, AT, TO, K4, registers).unwrap();
    assert_eq!(table.lookup(Iova(AT)).map(|found| found.1), Some(registers));
    end(&host, table);
}

#[test]
fn upper_halves_and_other_levels_go_the_general_way() {
    let host = Host::new();
    let table = table::<AmdV2>(&host, 48, K4);
    let upper = 0xffff_8000_0000_0000 | AT;
    map(&table, upper, TO, K4, RW).unwrap();
    map(&table, AT, TO + K4, K4, RW).unwrap();
    assert_eq!((leads(&table, upper + 1), leads(&table, AT)), (Some(TO + 1), Some(TO + K4)));
    assert_eq!(leads(&table, 0x8000_0000_0000 | AT), None, "between the halves");
    assert_eq!(unmap(&table, upper, K4), Ok(K4));
    assert_eq!((leads(&table, upper), leads(&table, AT)), (None, Some(TO + K4)));
    end(&host, table);
    // Wider than four levels, and not as wide as they are.
    for in_bits in [40, 47, 52, 57] {
        let table = self::table::<VtdSecond>(&host, in_bits, K4);
        for at in [0x56_7890_1000, (1 << in_bits) - K4] {
            map(&table, at, TO, K4, RW).unwrap();
            assert_eq!(leads(&table, at + 7), Some(TO + 7));
            assert_eq!(map(&table, at, TO, K4, RW).unwrap_err().cause, MapCause::Exists(Iova(at)));
            assert_eq!(leads(&table, at ^ 1 << in_bits), None, "outside");
            assert!(!map_page(&table, at ^ 1 << in_bits, TO, K4, RW), "outside");
            assert_eq!(unmap(&table, at, K4), Ok(K4));
            assert_eq!(leads(&table, at), None);
        }
        end(&host, table);
    }
}

#[test]
fn large_pages_are_found_at_every_level() {
    fn test<F: Format>() {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4 | M2 | G1);
        let at = AT & !(G1 - 1);
        map(&table, at, G1, G1, RW).unwrap();
        map(&table, at + G1, 4 * M2, M2, RW).unwrap();
        assert_eq!(leads(&table, at + 0x1234_5678), Some(G1 + 0x1234_5678));
        assert_eq!(leads(&table, at + G1 + 0x1_2345), Some(4 * M2 + 0x1_2345));
        assert_eq!(leads(&table, at + G1 + M2), None);
        assert_eq!(leads(&table, at + 2 * G1), None);
        assert_eq!((leads(&table, 0), leads(&table, at ^ 1 << 45)), (None, None));
        for (at, bytes) in [(at, G1), (at + G1, M2)] {
            assert!(!table.unmap_page(iova(at, K4)));
            assert!(matches!(unmap(&table, at, K4), Err(UnmapError::Cuts { .. })));
            assert!(matches!(unmap(&table, at, K64), Err(UnmapError::Cuts { .. })));
            assert_eq!(unmap(&table, at, bytes), Ok(bytes));
            assert_eq!(leads(&table, at), None);
        }
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn a_page_of_several_entries_is_found_whole_and_goes_whole() {
    fn test<F: Format>(bytes: u64) {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4 | bytes);
        let at = AT & !(M2 - 1);
        map(&table, at, 4 * bytes, bytes, RW).unwrap();
        map(&table, at + 2 * bytes, TO, K4, RW).unwrap();
        for offset in [0, K4, bytes - 1] {
            assert_eq!(leads(&table, at + offset), Some(4 * bytes + offset), "{}", F::FORMAT);
        }
        for (offset, length) in [(0, K4), (K4, K4), (0, bytes - K4), (K4, bytes - K4), (bytes - K4, 2 * K4)] {
            assert!(!table.unmap_page(iova(at + offset, length)));
            assert!(
                matches!(unmap(&table, at + offset, length), Err(UnmapError::Cuts { .. })),
                "{offset:#x}"
            );
        }
        assert_eq!(leads(&table, at + K4), Some(4 * bytes + K4), "nothing has changed");
        // From a page beside it into it.
        map(&table, at + 3 * bytes, 5 * bytes, bytes, RW).unwrap();
        assert!(matches!(unmap(&table, at + 2 * bytes, bytes + K4), Err(UnmapError::Cuts { .. })));
        assert_eq!(leads(&table, at + 2 * bytes), Some(TO));
        assert_eq!(unmap(&table, at + 3 * bytes, bytes), Ok(bytes));
        // Together with what stands beside it.
        assert_eq!(unmap(&table, at, 2 * bytes + K4), Ok(bytes + K4));
        assert_eq!((leads(&table, at), leads(&table, at + 2 * bytes)), (None, None));
        end(&host, table);
    }
    test::<ArmStage1<12>>(K64);
    test::<RiscvFirst>(K64);
    test::<AmdV1>(K64);
    test::<AmdV1>(2 * K4);
}

#[test]
fn a_run_goes_with_its_holes_and_without_its_neighbours() {
    fn test<F: Format>() {
        let host = Host::new();
        let table = table::<F>(&host, 48, K4);
        let first = AT & !(M2 - 1);
        for (from, to) in [(0, 256), (256, 512), (3, 14), (8, 16), (1, 512), (0, 511), (511, 512), (17, 19)] {
            map(&table, first, 0x100_0000, M2, RW).unwrap();
            let live = host.live();
            let holes = [from, from + 1, (from + to) / 2, to - 1].map(|place| first + place * K4);
            for hole in holes {
                let _ = unmap(&table, hole, K4).unwrap();
            }
            let there: Vec<u64> =
                (0..512).filter(|place| leads(&table, first + place * K4).is_some()).collect();
            let inside = there.iter().filter(|place| (from..to).contains(*place)).count() as u64;
            assert_eq!(unmap(&table, first + from * K4, (to - from) * K4), Ok(inside * K4), "{from}..{to}");
            for place in there {
                assert_eq!(
                    leads(&table, first + place * K4).is_none(),
                    (from..to).contains(&place),
                    "{place}"
                );
            }
            assert_eq!(host.live(), live, "no table goes that others may be in");
            // All of a table goes with the table.
            unmap(&table, first, M2).unwrap();
            assert_eq!(host.live(), live - 1);
        }
        // Over the end of a table.
        map(&table, first, 0x100_0000, 2 * M2, RW).unwrap();
        assert_eq!(unmap(&table, first + M2 - 4 * K4, 8 * K4), Ok(8 * K4));
        assert_eq!(
            (leads(&table, first + M2 - 5 * K4), leads(&table, first + M2 + 4 * K4)),
            (Some(0x11f_b000), Some(0x120_4000))
        );
        assert_eq!((leads(&table, first + M2 - K4), leads(&table, first + M2)), (None, None));
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn a_walker_that_does_not_snoop_gets_one_clean_for_each_line() {
    fn test<F: Format>() {
        let host = Host::with(usize::MAX, true);
        let table = incoherent::<F>(&host, K4);
        let first = AT & !(M2 - 1);
        map(&table, first, TO, K4, RW).unwrap();
        host.take_cleaned();
        let cleaned = || host.take_cleaned().iter().map(|lines| lines.bytes).collect::<Vec<_>>();
        assert!(map_page(&table, first + K4, TO, K4, RW));
        assert_eq!(cleaned(), [64], "{}", F::FORMAT);
        assert!(table.unmap_page(iova(first + K4, K4)));
        assert_eq!(cleaned(), [64]);
        map(&table, first + K4, 0x100_0000, 64 * K4, RW).unwrap();
        assert_eq!(cleaned(), [9 * 64]);
        assert_eq!(unmap(&table, first + 2 * K4, 20 * K4), Ok(20 * K4));
        assert_eq!(cleaned(), [3 * 64]);
        assert_eq!(unmap(&table, first + 2 * K4, 20 * K4), Ok(0));
        assert!(cleaned().is_empty(), "nothing was there");
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn a_link_that_was_not_cleaned_is_cleaned_before_a_page_relies_on_it() {
    fn test<F: Format>() {
        let host = Host::with(usize::MAX, true);
        let table = incoherent::<F>(&host, K4);
        map(&table, AT, TO, K4, RW).unwrap();
        // As if another CPU had installed the root's link a moment ago, and not come to clean it.
        let root = table.root().at;
        let link = (0..512)
            .map(|place| PhysAddr(root.0 + place * 8))
            .find(|at| host.peek(*at) != Some(0))
            .expect("there is one");
        let cleaned = host.peek(link).unwrap();
        assert_eq!(cleaned & F::LINK_CLEANED, F::LINK_CLEANED);
        // SAFETY: the same link without a mark that only the engine reads.
        unsafe { ioward_types::hw::store64(&host, link, cleaned & !F::LINK_CLEANED) };
        host.take_cleaned();
        assert!(!map_page(&table, AT + K4, TO, K4, RW), "{}", F::FORMAT);
        map(&table, AT + K4, TO, K4, RW).unwrap();
        assert!(host.take_cleaned().iter().any(|lines| lines.contains(link)), "the link's line");
        assert!(map_page(&table, AT + 2 * K4, TO, K4, RW), "from then on the short way does");
        end(&host, table);
    }
    each_format!(test);
}

#[test]
fn a_root_that_grew_is_used_and_the_old_one_no_more() {
    for (from, to) in [(39, 48), (39, 40), (48, 57), (48, 60)] {
        let host = Host::new();
        let table = table::<AmdV1>(&host, from, K4);
        let at = 0x56_7890_1000;
        map(&table, at, TO, K4, RW).unwrap();
        assert_eq!(leads(&table, at), Some(TO));
        table.grow(to).unwrap();
        assert_eq!(leads(&table, at), Some(TO));
        map(&table, (1 << (to - 1)) | at, TO + K4, K4, RW).unwrap();
        assert_eq!(leads(&table, (1 << (to - 1)) | at), Some(TO + K4));
        assert_eq!(leads(&table, 1 << to | at), None);
        // All that the old root spans goes with the old root.
        let live = host.live();
        assert_eq!(unmap(&table, 0, 1 << from), Ok(1 << from));
        assert!(host.live() < live, "the old root is free");
        assert_eq!((leads(&table, at), table.unmap_page(iova(at, K4))), (None, false));
        assert!(!map_page(&table, at, TO, K4, RW), "there is no table");
        map(&table, at, TO + 2 * K4, K4, RW).unwrap();
        assert_eq!(leads(&table, at + 5), Some(TO + 2 * K4 + 5));
        assert_eq!(unmap(&table, at, K4), Ok(K4));
        assert_eq!(leads(&table, at), None);
        end(&host, table);
    }
}
