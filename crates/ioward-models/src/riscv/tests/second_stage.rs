//! Second stages, alone and below a first one (2.3).

use super::rig::*;
use crate::{Access, IommuModel, Outcome, Request, riscv::Features};

#[test]
fn every_width_has_two_more_bits() {
    for (mode, levels, width) in [(8u64, 3u64, 41), (9, 4, 50), (10, 5, 59)] {
        let rig = Rig::enabled(Features::default());
        // The root's last entry: of 2048, in the fourth page of the root.
        let mut table = GUEST;
        let mut next = GUEST + 0x4000;
        for level in (1..levels).rev() {
            let last = if level == levels - 1 { 2047 } else { 511 };
            rig.put(table + 8 * last, &[link(next)]);
            (table, next) = (next, next + 0x1000);
        }
        rig.put(table + 8 * 511, &[page(DATA)]);
        rig.context(5, &[1, mode << 60 | 3 << 44 | GUEST >> 12, 0, 0]);
        assert_eq!(rig.goes((1 << width) - 0x1000), Some(DATA), "{width}");
        assert_eq!(rig.goes(1 << width), None);
        assert_eq!(rig.fault(), Some([5 << 40 | 2 << 34 | 21, 0, 1 << width, 1 << width]), "{width}");
        // Zero-extended: nothing is sign-extended.
        assert_eq!((rig.goes(!0xfff), rig.cause()), (None, Some(21)));
    }
}

#[test]
fn guest_page_faults_tell_the_guests_address() {
    let rig = Rig::second(Features::default());
    assert_eq!(rig.goes(0x1008), Some(DATA + 8));
    assert_eq!(rig.stores(0x5678), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 3 << 34 | 23, 0, 0x5678, 0x5678]));
    // Not a user's page: every access of a second stage counts as a user's.
    rig.put(GUEST + 0x5018, &[page(DATA) & !0x10, page(DATA) & !0x4, page(DATA) & !0x40]);
    assert_eq!((rig.goes(0x3000), rig.cause()), (None, Some(21)));
    assert_eq!((rig.stores(0x4000), rig.cause()), (None, Some(23)));
    assert_eq!((rig.goes(0x5000), rig.cause()), (None, Some(21)));
    assert_eq!(to(rig.access(5, None, 0x1000, Access::Execute)), None);
    assert_eq!(rig.cause(), Some(20));
}

#[test]
fn both_stages() {
    let rig = Rig::both(Features::default());
    assert_eq!((rig.goes(0x7010), rig.goes(0x8020)), (Some(DATA + 0x10), Some(DATA + 0x1020)));
    assert_eq!((rig.goes(0x9000), rig.cause()), (None, Some(13)), "the first stage's fault");
    // A page of the guest's that the second stage does not have.
    rig.put(TABLES + 0x2048, &[page(0x3_3000)]);
    assert_eq!(rig.stores(0x9abc), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 3 << 34 | 23, 0, 0x9abc, 0x3_3abc]));
    // A table of the guest's that it does not have: an implicit read.
    rig.put(TABLES + 0x1008, &[link(0x4_4000)]);
    assert_eq!(rig.stores(0x20_1000), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 3 << 34 | 23, 0, 0x20_1000, 0x4_4008 | 1]));
}

#[test]
fn the_smaller_page_and_the_fewer_rights_count() {
    let rig = Rig::both(Features::default());
    // 2 MiB of the guest's at IOVA 0x20_0000, of which the second stage has single pages.
    rig.put(TABLES + 0x1008, &[page(0)]);
    let Outcome::To { at, page: size, writable } = rig.access(5, None, 0x20_1000, Access::Read) else {
        panic!()
    };
    assert_eq!((at.0, size, writable), (DATA, 0x1000, true));
    rig.put(GUEST + 0x5018, &[page(DATA + 0x2000) & !0x4]);
    let Outcome::To { writable, .. } = rig.access(5, None, 0x20_3000, Access::Read) else { panic!() };
    assert!(!writable);
    assert_eq!((rig.stores(0x20_3000), rig.cause()), (None, Some(23)));
    // And one page of the guest's, of 2 MiB.
    rig.put(GUEST + 0x4008, &[page(0x8020_0000)]);
    rig.put(TABLES + 0x2048, &[page(0x20_3000)]);
    let Outcome::To { at, page: size, .. } = rig.access(5, None, 0x9000, Access::Read) else { panic!() };
    assert_eq!((at.0, size), (0x8020_3000, 0x1000));
}

#[test]
fn hardware_updates_reach_through_both_stages() {
    let rig = Rig::both(Features::default());
    rig.put(rig.context_word(0), &[1 | 1 << 7 | 1 << 8]);
    let (leaf, table) = (TABLES + 0x2038, GUEST + 0x5000 + 8 * 0x12);
    rig.put(leaf, &[page(0x1000) & !0xc0]);
    rig.put(table, &[page(TABLES + 0x2000) & !0xc0]);
    rig.put(GUEST + 0x5008, &[page(DATA) & !0xc0]);
    assert_eq!(rig.goes(0x7000), Some(DATA));
    // The first stage's A was written, so the second stage's page that holds it is dirty.
    assert_eq!(rig.read(leaf), page(0x1000) & !0x80);
    assert_eq!(rig.read(table), page(TABLES + 0x2000));
    assert_eq!(rig.read(GUEST + 0x5008), page(DATA) & !0x80);
    assert_eq!(rig.stores(0x7000), Some(DATA));
    assert_eq!((rig.read(leaf), rig.read(GUEST + 0x5008)), (page(0x1000), page(DATA)));
}

#[test]
fn an_update_that_the_second_stage_forbids_is_an_implicit_write() {
    let rig = Rig::both(Features::default());
    rig.put(rig.context_word(0), &[1 | 1 << 7 | 1 << 8]);
    rig.put(TABLES + 0x2038, &[page(0x1000) & !0xc0]);
    rig.put(GUEST + 0x5000 + 8 * 0x12, &[page(TABLES + 0x2000) & !0x4]);
    assert_eq!(rig.goes(0x7004), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 2 << 34 | 21, 0, 0x7004, 0x12038 | 3]));
}

#[test]
fn the_second_stage_takes_everybody_for_a_user() {
    let rig = Rig::second(Features::default());
    rig.put(GUEST + 0x5000 + 8 * 0x13, &[page(PDT)]);
    rig.put(PDT + 16, &[TA7 | 3, 0]);
    rig.context(5, &[1 | 1 << 5, SV39X4 | GUEST >> 12, 0, 1 << 60 | 0x13]);
    let supervisor = Request { privileged: true, ..request(5, Some(1), 0x1000, Access::Write) };
    assert_eq!(to(rig.iommu.request(&supervisor)), Some(DATA));
}

#[test]
fn a_directory_that_the_second_stage_cannot_read_is_an_access_fault_of_its_own() {
    let rig = Rig::second(Features::default());
    rig.put(GUEST + 0x4008, &[link(0x1000)]);
    rig.context(5, &[1 | 1 << 5, SV39X4 | GUEST >> 12, 0, 1 << 60 | 0x200]);
    assert_eq!(to(rig.access(5, Some(1), 0x1000, Access::Read)), None);
    assert_eq!(rig.cause(), Some(265));
}

#[test]
fn a_large_leaf_of_the_first_stage_goes_by_any_of_its_addresses() {
    let rig = Rig::both(Features::default());
    rig.put(TABLES + 0x1008, &[page(0)]);
    assert_eq!(rig.goes(0x20_1000), Some(DATA));
    rig.put(TABLES + 0x1008, &[0]);
    rig.fenced([VMA | GV | GSCID3 | AV, 0x205 << 10]);
    assert_eq!((rig.goes(0x20_1000), rig.cause()), (None, Some(13)));
}

#[test]
fn global_entries_of_a_guest_are_every_process_of_its() {
    let rig = Rig::both(Features::default());
    rig.put(TABLES + 0x2038, &[page(0x1000) | 0x20]);
    assert_eq!(rig.goes(0x7000), Some(DATA));
    rig.put(TABLES + 0x2038, &[0]);
    rig.context(6, &[1, SV39X4 | GUEST >> 12, 8 << 12, SV39 | 0x10]);
    assert_eq!(to(rig.access(6, None, 0x7000, Access::Read)), Some(DATA));
    rig.fenced([GVMA | GV | GSCID3 | AV, 9 << 10]);
    rig.fenced([VMA | GV | GSCID3 | PSCV | PSCID7, 0]);
    assert_eq!(rig.goes(0x7000), Some(DATA), "named by no process");
    rig.fenced([VMA | GV | GSCID3, 0]);
    assert_eq!((rig.goes(0x7000), rig.cause()), (None, Some(13)));
}
