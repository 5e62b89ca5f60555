//! Map, unmap, lookup, free: one table of each shape, looked at closely.

use crate::common::{Host, iova, phys};
use ioward_pgtable::{AnyTable, ConfigError, MapCause, RangeError, UnmapError};
use ioward_types::{Attributes, Format, Iova, PhysAddr, TableConfig};

const K4: u64 = 0x1000;
const M2: u64 = 0x20_0000;
const G1: u64 = 0x4000_0000;
const RW: Attributes = Attributes::READ_WRITE;

fn config(format: Format, in_bits: u8, out_bits: u8, page_sizes: u64) -> TableConfig {
    TableConfig { format, in_bits, out_bits, page_sizes, coherent: true, dirty: false, snoop: false }
}

/// One configuration of each format and granule.
fn shapes() -> Vec<TableConfig> {
    let (k16, m32, k64, m512) = (0x4000, 0x200_0000, 0x1_0000, 0x2000_0000);
    let mut all = vec![];
    for format in [Format::ArmStage1, Format::ArmStage2] {
        all.push(config(format, 48, 48, K4 | M2 | G1));
        all.push(config(format, 40, 48, K4 | k64 | M2 | G1));
        all.push(config(format, 48, 48, k16 | m32));
        all.push(config(format, 47, 40, k16 | M2 | m32));
        all.push(config(format, 52, 52, k64 | m512));
        all.push(config(format, 42, 48, k64 | M2 | m512));
    }
    all.push(config(Format::AmdV1, 48, 52, K4 | M2 | G1));
    all.push(config(Format::AmdV1, 64, 52, (1 << 40) - K4));
    all.push(config(Format::AmdV2, 48, 52, K4 | M2 | G1));
    all.push(config(Format::AmdV2, 57, 52, K4 | M2 | G1));
    all.push(config(Format::AmdV2, 47, 48, K4));
    all.push(config(Format::VtdSecond, 39, 46, K4 | M2 | G1));
    all.push(config(Format::VtdFirst, 57, 52, K4 | M2 | G1));
    all.push(config(Format::RiscvFirst, 39, 56, K4 | k64 | M2 | G1));
    all.push(config(Format::RiscvSecond, 41, 56, K4 | k64 | M2 | G1));
    all
}

#[test]
fn what_is_mapped_is_found_and_what_is_unmapped_is_not() {
    for config in shapes() {
        let host = Host::new();
        let table = AnyTable::new(host.clone(), &config).unwrap();
        let granule = config.granule();
        let bytes = 9 * G1.max(granule);
        let (at, to) = (Iova(G1), phys(2 * G1, bytes));
        // SAFETY: no device walks it.
        unsafe { table.map(at, to, RW) }.unwrap_or_else(|error| panic!("{config}: {error}"));
        for offset in [0, 1, granule, G1 - 1, G1, bytes - 1] {
            let (found, how, _) = table.lookup(Iova(at.0 + offset)).expect("mapped");
            assert_eq!(found, PhysAddr(to.start.0 + offset), "{config}");
            assert_eq!((how.read, how.write, how.coherent), (true, true, true));
        }
        assert_eq!(table.lookup(Iova(at.0 - 1)), None);
        assert_eq!(table.lookup(Iova(at.0 + bytes)), None);
        let gone = table.unmap(iova(at.0, bytes)).unwrap();
        assert_eq!(gone.bytes, bytes);
        assert_eq!(table.lookup(at), None);
        // SAFETY: no device walks it.
        unsafe {
            table.free(gone.detached);
            table.destroy();
        }
        assert_eq!(host.live(), 0, "{config}");
    }
}

#[test]
fn the_largest_page_that_fits_is_used() {
    let table = AnyTable::new(Host::new(), &config(Format::AmdV1, 48, 52, K4 | M2 | G1)).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(G1 - K4), phys(5 * G1 - K4, G1 + M2 + 2 * K4), RW) }.unwrap();
    let page = |at| table.lookup(Iova(at)).map(|(_, _, bytes)| bytes);
    assert_eq!(page(G1 - K4), Some(K4));
    assert_eq!(page(G1), Some(G1));
    assert_eq!(page(2 * G1), Some(M2));
    assert_eq!(page(2 * G1 + M2), Some(K4));
    assert_eq!(page(2 * G1 + M2 + K4), None);
}

#[test]
fn an_existing_entry_stays_and_the_rest_is_undone() {
    for config in shapes() {
        let table = AnyTable::new(Host::new(), &config).unwrap();
        let granule = config.granule();
        // SAFETY: no device walks it.
        unsafe { table.map(Iova(8 * granule), phys(64 * granule, granule), RW) }.unwrap();
        let before = table.lookup(Iova(8 * granule));
        // SAFETY: as above. Offset by one, so that only the smallest pages fit.
        let error = unsafe { table.map(Iova(0), phys(G1 + granule, 16 * granule), RW) }.unwrap_err();
        assert_eq!(error.cause, MapCause::Exists(Iova(8 * granule)), "{config}");
        assert_eq!(error.undone, Some(iova(0, 8 * granule)));
        assert_eq!(table.lookup(Iova(0)), None);
        assert_eq!(table.lookup(Iova(8 * granule)), before);
    }
}

#[test]
fn a_span_that_cuts_a_page_is_refused() {
    let table = AnyTable::new(Host::new(), &config(Format::AmdV2, 48, 52, K4 | M2)).unwrap();
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(0), phys(0, 2 * M2), RW) }.unwrap();
    for (start, bytes, page) in [(K4, M2, 0), (0, K4, 0), (0, M2 + K4, M2), (K4, 2 * M2 - K4, 0)] {
        let error = table.unmap(iova(start, bytes)).unwrap_err();
        assert_eq!(error, UnmapError::Cuts { page: iova(page, M2) });
    }
    assert!(table.lookup(Iova(0)).is_some() && table.lookup(Iova(2 * M2 - 1)).is_some());
}

#[test]
fn bad_ranges_are_named() {
    let table = AnyTable::new(Host::new(), &config(Format::ArmStage1, 39, 40, K4)).unwrap();
    let map = |at, start, bytes| {
        // SAFETY: no device walks it.
        match unsafe { table.map(Iova(at), phys(start, bytes), RW) }.unwrap_err().cause {
            MapCause::Range(range) => range,
            other => panic!("{other}"),
        }
    };
    let (at, in_bits, out_bits) = (Iova(K4), 39, 40);
    assert_eq!(map(K4, 0, 0), RangeError::Empty { at });
    assert_eq!(map(K4, 0, 1), RangeError::Misaligned { at, bytes: 1, granule: K4 });
    assert_eq!(map(1, 0, K4), RangeError::Misaligned { at: Iova(1), bytes: K4, granule: K4 });
    assert_eq!(map(1 << 39, 0, K4), RangeError::Input { at: Iova(1 << 39), bytes: K4, in_bits });
    let at = Iova(u64::MAX - K4 + 1);
    assert_eq!(map(at.0, 0, 2 * K4), RangeError::Input { at, bytes: 2 * K4, in_bits });
    assert_eq!(map(0, 8, K4), RangeError::OutputMisaligned { to: PhysAddr(8), granule: K4 });
    let to = PhysAddr((1 << 40) - K4);
    assert_eq!(map(0, to.0, 2 * K4), RangeError::Output { to, bytes: 2 * K4, out_bits });
    assert_eq!(table.unmap(iova(0, 0)).unwrap_err(), UnmapError::Range(RangeError::Empty { at: Iova(0) }));
    assert_eq!(table.lookup(Iova(1 << 39)), None);
    assert_eq!(table.lookup(Iova(u64::MAX)), None);
}

#[test]
fn contradictory_configurations_are_refused() {
    let refused = |config: TableConfig| AnyTable::new(Host::new(), &config).unwrap_err();
    let format = Format::ArmStage1;
    assert_eq!(refused(config(format, 48, 48, 0)), ConfigError::Granule { format, granule: 0 });
    assert_eq!(refused(config(format, 48, 48, 0x8000)), ConfigError::Granule { format, granule: 0x8000 });
    let error = ConfigError::PageSize { format, bytes: 0x8000 };
    assert_eq!(refused(config(format, 48, 48, 0x1000 | 0x8000)), error);
    let error = ConfigError::OutBits { format, bits: 52, min: 32, max: 48 };
    assert_eq!(refused(config(format, 48, 52, K4)), error);
    let error = ConfigError::InBits { format, bits: 49, min: 25, max: 48 };
    assert_eq!(refused(config(format, 49, 48, K4)), error);
    let tracked = TableConfig { dirty: true, coherent: false, ..config(format, 48, 48, K4) };
    assert_eq!(refused(tracked), ConfigError::DirtyIncoherent);
    let error = ConfigError::SetWithoutEntry { format, bytes: 0x200_0000, entry: M2 };
    assert_eq!(refused(config(format, 48, 48, K4 | 0x200_0000)), error);
    let format = Format::RiscvSecond;
    let error = ConfigError::InBits { format, bits: 60, min: 32, max: 59 };
    assert_eq!(refused(config(format, 60, 56, K4)), error);
    let error = ConfigError::PageSize { format: Format::VtdSecond, bytes: 1 << 39 };
    assert_eq!(refused(config(Format::VtdSecond, 48, 46, K4 | 1 << 39)), error);
}
