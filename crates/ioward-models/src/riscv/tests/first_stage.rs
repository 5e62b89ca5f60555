//! First stages: widths, page sizes, rights, accessed and dirty bits, memory types (2.3, 2.4).

use super::rig::*;
use crate::{Access, Outcome, riscv::Features};

/// A chain of tables from [`TABLES`] whose lowest one is at the address that is returned: index 0 at every level.
fn chain(rig: &Rig, levels: u64) -> u64 {
    for n in 0..levels - 1 {
        rig.put(TABLES + 0x1000 * n, &[link(TABLES + 0x1000 * (n + 1))]);
    }
    TABLES + 0x1000 * (levels - 1)
}

#[test]
fn every_width() {
    for (mode, levels, width) in [(8u64, 3, 39), (9, 4, 48), (10, 5, 57)] {
        let rig = Rig::enabled(Features::default());
        let lowest = chain(&rig, levels);
        rig.put(lowest + 8, &[page(DATA)]);
        // The last entries lead to the last page: sign-extended addresses.
        for n in 0..levels - 1 {
            rig.put(TABLES + 0x1000 * n + 0xff8, &[link(TABLES + 0x1000 * (n + 1))]);
        }
        rig.put(lowest + 0xff8, &[page(DATA + 0x1000)]);
        rig.context(5, &[1, 0, TA7, mode << 60 | TABLES >> 12]);
        assert_eq!(rig.goes(0x1004), Some(DATA + 4), "{width}");
        assert_eq!(rig.goes(!0xfff), Some(DATA + 0x1000), "{width}");
        // Not sign-extended: a page fault, whatever the tables say.
        let high = 1u64 << (width - 1);
        assert_eq!((rig.goes(high), rig.cause()), (None, Some(13)), "{width}");
        assert_eq!((rig.goes(1 << 63 | 0x1000), rig.cause()), (None, Some(13)), "{width}");
    }
}

#[test]
fn superpages_of_each_level() {
    let rig = Rig::enabled(Features::default());
    chain(&rig, 5);
    // Level 1, 2, 3: 2 MiB, 1 GiB, 512 GiB, each at index 1 of its table.
    rig.put(TABLES + 0x3008, &[page(0x8020_0000)]);
    rig.put(TABLES + 0x2008, &[page(0x4000_0000)]);
    rig.put(TABLES + 0x1008, &[page(0x80_0000_0000)]);
    rig.context(5, &[1, 0, TA7, 10 << 60 | TABLES >> 12]);
    let outcome = |at| match rig.access(5, None, at, Access::Read) {
        Outcome::To { at, page, .. } => Some((at.0, page)),
        _ => None,
    };
    assert_eq!(outcome(0x21_2345), Some((0x8021_2345, 1 << 21)));
    assert_eq!(outcome(0x4123_4567), Some((0x4123_4567, 1 << 30)));
    assert_eq!(outcome(0x81_0000_0000), Some((0x81_0000_0000, 1 << 39)));
    // Not aligned to its size.
    rig.put(TABLES + 0x3010, &[page(0x8020_1000)]);
    assert_eq!((rig.goes(0x40_0000), rig.cause()), (None, Some(13)));
}

#[test]
fn napot_pages() {
    let rig = Rig::first(Features::default());
    let napot = 1u64 << 63 | page(DATA) | 0x8 << 10;
    rig.put(TABLES + 0x2000 + 8 * 0x10, &[napot; 16]);
    let Outcome::To { at, page: size, .. } = rig.access(5, None, 0x1b_678, Access::Read) else { panic!() };
    assert_eq!((at.0, size), (DATA + 0xb678, 0x1_0000));
    // Any address in it takes it along.
    rig.put(TABLES + 0x2000 + 8 * 0x10, &[0; 16]);
    assert_eq!(rig.goes(0x1c000), Some(DATA + 0xc000), "one entry for all sixteen pages");
    rig.fenced([VMA | AV, 0x10 << 10]);
    assert_eq!((rig.goes(0x1c000), rig.cause()), (None, Some(13)));
    // Neighbours must agree; other sizes and levels are reserved.
    rig.put(TABLES + 0x2000 + 8 * 0x20, &[napot; 15]);
    assert!(rig.goes(0x20_000).is_some());
    assert_eq!(rig.sections(), ["RISC-V privileged architecture, Svnapot"]);
    rig.put(TABLES + 0x2000 + 8 * 0x40, &[1 << 63 | page(DATA) | 0x4 << 10]);
    assert_eq!((rig.goes(0x40_000), rig.cause()), (None, Some(13)));
    rig.put(TABLES + 0x1008, &[1 << 63 | page(0x8020_0000) | 0x8 << 10]);
    assert_eq!((rig.goes(0x20_0000), rig.cause()), (None, Some(13)));
}

#[test]
fn reserved_encodings_are_page_faults() {
    let rig = Rig::first(Features { svpbmt: false, ..Features::default() });
    let at = TABLES + 0x2000 + 8 * 0x30;
    for (what, word) in [
        ("not valid", page(DATA) & !1),
        ("W without R", page(DATA) & !2),
        ("reserved bits", page(DATA) | 1 << 54),
        ("bits 60:59", page(DATA) | 1 << 60),
        ("a memory type", page(DATA) | 1 << 61),
        ("a link at the lowest level", link(DATA)),
        ("not a user's", page(DATA) & !0x10),
        ("not accessed", page(DATA) & !0x40),
    ] {
        rig.put(at, &[word]);
        rig.iommu.evict();
        assert_eq!((rig.goes(0x3_0000), rig.cause()), (None, Some(13)), "{what}");
    }
    for bits in [0x10, 0x40, 0x80, 1 << 63, 1 << 61] {
        rig.put(TABLES + 0x1010, &[link(TABLES + 0x2000) | bits]);
        assert_eq!((rig.goes(0x40_1000), rig.cause()), (None, Some(13)), "a link with {bits:#x}");
    }
    rig.put(TABLES + 0x1010, &[link(0x1000)]);
    assert_eq!((rig.goes(0x40_1000), rig.cause()), (None, Some(5)), "a table where no memory is");
    assert_eq!((rig.stores(0x40_1000), rig.cause()), (None, Some(7)));
}

#[test]
fn memory_types_and_software_bits_where_there_are_such() {
    let rig = Rig::first(Features { svrsw: true, ..Features::default() });
    rig.put(TABLES + 0x2018, &[page(DATA) | 2 << 61 | 3 << 59 | 0x300, page(DATA) | 3 << 61]);
    assert_eq!(rig.goes(0x3000), Some(DATA));
    assert_eq!((rig.goes(0x4000), rig.cause()), (None, Some(13)), "a reserved type");
    rig.put(TABLES + 0x1010, &[link(TABLES + 0x2000) | 1 << 61]);
    assert_eq!((rig.goes(0x40_1000), rig.cause()), (None, Some(13)), "a link with a type");
}

#[test]
fn rights() {
    let rig = Rig::first(Features::default());
    // Read; execute; read and execute; write without D.
    rig.put(TABLES + 0x2018, &[ppn(DATA) | 0x53, ppn(DATA) | 0x59, ppn(DATA) | 0x5b, page(DATA) & !0x80]);
    let goes = |at, access| to(rig.access(5, None, at, access)).ok_or_else(|| rig.cause().unwrap());
    assert_eq!(goes(0x3000, Access::Read), Ok(DATA));
    assert_eq!(goes(0x3000, Access::Write), Err(15));
    assert_eq!(goes(0x3000, Access::Execute), Err(12));
    assert_eq!(goes(0x4000, Access::Execute), Ok(DATA));
    assert_eq!(goes(0x4000, Access::Read), Err(13));
    assert_eq!((goes(0x5000, Access::Read), goes(0x5000, Access::Execute)), (Ok(DATA), Ok(DATA)));
    assert_eq!((goes(0x6000, Access::Read), goes(0x6000, Access::Write)), (Ok(DATA), Err(15)));
}

#[test]
fn hardware_sets_accessed_and_dirty_where_asked() {
    let rig = Rig::first(Features::default());
    rig.context(5, &[1 | 1 << 8, 0, TA7, SV39 | TABLES >> 12]);
    let at = TABLES + 0x2018;
    rig.put(at, &[page(DATA) & !0xc0]);
    let Outcome::To { writable, .. } = rig.access(5, None, 0x3000, Access::Read) else { panic!() };
    assert_eq!((rig.read(at), writable), (page(DATA) & !0x80, false), "A");
    assert_eq!(rig.stores(0x3000), Some(DATA));
    assert_eq!(rig.read(at), page(DATA), "and D");
    // A cached dirty entry does not set it again.
    rig.put(at, &[page(DATA) & !0xc0]);
    assert_eq!(rig.stores(0x3000), Some(DATA));
    assert_eq!(rig.read(at), page(DATA) & !0xc0);
    rig.fenced([VMA | AV, 3 << 10]);
    assert_eq!(rig.stores(0x3000), Some(DATA));
    assert_eq!(rig.read(at), page(DATA));
    // What is not permitted sets nothing, and without A nothing is kept.
    rig.put(TABLES + 0x2020, &[ppn(DATA) | 0x13]);
    assert_eq!(
        (rig.stores(0x4000), rig.cause(), rig.read(TABLES + 0x2020)),
        (None, Some(15), ppn(DATA) | 0x13)
    );
    rig.put(TABLES + 0x2020, &[page(DATA)]);
    assert_eq!(rig.stores(0x4000), Some(DATA));
}

#[test]
fn looking_ahead_sets_nothing() {
    let rig = Rig::first(Features::default());
    rig.context(5, &[1 | 1 << 8, 0, TA7, SV39 | TABLES >> 12]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(TABLES + 0x2008, &[page(DATA) & !0xc0]);
    // The invalidation makes hardware walk again.
    rig.fenced([VMA, 0]);
    assert_eq!(rig.read(TABLES + 0x2008), page(DATA) & !0xc0);
}

#[test]
fn beyond_the_physical_address_size() {
    let rig = Rig::first(Features { pas: 40, ..Features::default() });
    rig.put(TABLES + 0x2018, &[page(1 << 41)]);
    assert_eq!((rig.goes(0x3000), rig.cause()), (None, Some(5)));
    rig.context(6, &[1, 0, 0, 0]);
    assert_eq!(to(rig.access(6, None, 1 << 41, Access::Write)), None);
    assert_eq!(rig.cause(), Some(7));
}
