//! Device directories and process directories of every depth (2.1, 2.2, 2.3.1, 2.3.2).

use super::rig::*;
use crate::{Access, IommuModel, Request, riscv::Features};
use ioward_types::Mmio;

/// A context that lets everything through.
const PASS: [u64; 4] = [1, 0, 0, 0];

fn goes(rig: &Rig, device: u32) -> Option<u64> {
    to(rig.access(device, None, 0x1000, Access::Read))
}

#[test]
fn one_level_extended_has_64_devices() {
    let rig = Rig::enabled(Features::default());
    rig.context(63, &PASS);
    assert_eq!(goes(&rig, 63), Some(0x1000));
    assert_eq!((goes(&rig, 64), rig.fault()), (None, Some([64 << 40 | 2 << 34 | 260, 0, 0x1000, 0])));
    assert_eq!((goes(&rig, 62), rig.cause()), (None, Some(258)));
}

#[test]
fn one_level_base_has_128_devices() {
    let rig = Rig::enabled(Features { msi_flat: false, msi_mrif: false, ..Features::default() });
    rig.context(127, &PASS);
    assert_eq!(goes(&rig, 127), Some(0x1000));
    assert_eq!((goes(&rig, 128), rig.cause()), (None, Some(260)));
}

#[test]
fn two_levels_have_32768_or_65536_devices() {
    let rig = Rig::new(Features::default());
    rig.enable(3);
    rig.put(DDT + 8 * 511, &[link(TABLES)]);
    rig.put(TABLES + 64 * 63, &PASS);
    assert_eq!(goes(&rig, 0x7fff), Some(0x1000));
    assert_eq!((goes(&rig, 0x8000), rig.cause()), (None, Some(260)));
    let base = Rig::new(Features { msi_flat: false, msi_mrif: false, ..Features::default() });
    base.enable(3);
    base.put(DDT + 8 * 511, &[link(TABLES)]);
    base.put(TABLES + 32 * 127, &PASS);
    assert_eq!(goes(&base, 0xffff), Some(0x1000));
    assert_eq!((goes(&base, 0x1_0000), base.cause()), (None, Some(260)));
}

#[test]
fn three_levels_have_every_device() {
    for (features, top) in [
        (Features::default(), 511),
        (Features { msi_flat: false, msi_mrif: false, ..Features::default() }, 255),
    ] {
        let rig = Rig::new(features);
        rig.enable(4);
        rig.put(DDT + 8 * top, &[link(TABLES)]);
        rig.put(TABLES + 8 * 511, &[link(TABLES + 0x1000)]);
        let bytes = if features.msi_flat { 64 } else { 32 };
        rig.put(TABLES + 0x2000 - bytes, &PASS);
        assert_eq!(goes(&rig, 0xff_ffff), Some(0x1000));
        assert_eq!((goes(&rig, 0x100_0000), rig.cause()), (None, Some(260)));
        assert_eq!((goes(&rig, 0), rig.cause()), (None, Some(258)), "no second level");
    }
}

#[test]
fn a_bad_entry_on_the_way_is_told_apart() {
    let rig = Rig::new(Features::default());
    rig.enable(3);
    rig.put(DDT, &[link(TABLES) | 2]);
    assert_eq!((goes(&rig, 5), rig.cause()), (None, Some(259)), "reserved bits");
    let rig = Rig::new(Features::default());
    rig.enable(3);
    rig.put(DDT, &[link(0x1000)]);
    assert_eq!((goes(&rig, 5), rig.cause()), (None, Some(257)), "no memory there");
    let rig = Rig::new(Features { pas: 40, ..Features::default() });
    rig.enable(3);
    rig.put(DDT, &[link(1 << 45)]);
    assert_eq!((goes(&rig, 5), rig.cause()), (None, Some(257)), "beyond PAS");
}

#[test]
fn process_directories_of_each_depth() {
    // Mode, widest process, and where its context is reached from.
    for (mode, last, refused) in [(1u64, 0xff, 0x100), (2, 0x1_ffff, 0x2_0000), (3, 0xf_ffff, 0x10_0000)] {
        let rig = Rig::enabled(Features::default());
        rig.map_first(TABLES);
        let mut table = PDT;
        for level in (1..mode).rev() {
            let index = if level == 2 { 7 } else { 511 };
            rig.put(table + 8 * index, &[link(table + 0x1000)]);
            table += 0x1000;
        }
        rig.put(table + 0xff0, &[TA7 | 1, SV39 | TABLES >> 12]);
        rig.context(5, &[1 | 1 << 5, 0, 0, mode << 60 | PDT >> 12]);
        let with = |pasid| to(rig.access(5, Some(pasid), 0x1000, Access::Read));
        assert_eq!(with(last), Some(DATA), "mode {mode}");
        assert_eq!((with(refused), rig.cause()), (None, Some(260)), "too wide");
        assert_eq!(with(last - 1), None);
        // PV, the process, and the device.
        let expected = 5 << 40 | 2 << 34 | 1 << 32 | u64::from(last - 1) << 12 | 266;
        assert_eq!(rig.fault(), Some([expected, 0, 0x1000, 0]));
        assert_eq!(rig.goes(0x1000), Some(0x1000), "no process, no DPE: no first stage");
    }
}

#[test]
fn the_default_process_serves_requests_without_one() {
    let rig = Rig::enabled(Features::default());
    rig.map_first(TABLES);
    rig.put(PDT, &[TA7 | 1, SV39 | TABLES >> 12]);
    rig.context(5, &[1 | 1 << 5 | 1 << 9, 0, 0, 1 << 60 | PDT >> 12]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    assert_eq!(to(rig.access(5, Some(0), 0x1000, Access::Read)), Some(DATA), "the same one");
    assert_eq!(rig.goes(0x9000), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 2 << 34 | 13, 0, 0x9000, 0]), "reported without a process");
}

#[test]
fn a_process_needs_a_directory() {
    let rig = Rig::first(Features::default());
    assert_eq!(to(rig.access(5, Some(1), 0x1000, Access::Read)), None);
    assert_eq!(rig.cause(), Some(260));
}

#[test]
fn a_bare_directory_translates_nothing() {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[1 | 1 << 5, 0, 0, 0]);
    assert_eq!(to(rig.access(5, Some(3), 0x1000, Access::Read)), Some(0x1000));
}

#[test]
fn bad_process_entries_are_told_apart() {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[1 | 1 << 5, 0, 0, 2 << 60 | PDT >> 12]);
    let cause = |pasid| {
        assert_eq!(to(rig.access(5, Some(pasid), 0x1000, Access::Read)), None);
        rig.cause()
    };
    rig.put(PDT, &[link(PDT + 0x1000), link(PDT + 0x1000) | 4, link(0x1000)]);
    rig.put(PDT + 0x1000 + 16 * 9, &[TA7 | 1 | 8, 0]);
    rig.put(PDT + 0x1000 + 16 * 10, &[TA7 | 1, 11 << 60]);
    assert_eq!(cause(0x008), Some(266));
    assert_eq!(cause(0x009), Some(267), "reserved bits");
    assert_eq!(cause(0x00a), Some(267), "no such mode");
    assert_eq!(cause(0x100), Some(267), "reserved bits of a non-leaf entry");
    assert_eq!(cause(0x200), Some(265), "no memory there");
}

#[test]
fn a_directory_behind_a_second_stage_holds_guest_addresses() {
    let rig = Rig::both(Features::default());
    // The guest's page 0x13 is PDT, 0x14 its second level.
    rig.put(GUEST + 0x5000 + 8 * 0x13, &[page(PDT), page(PDT + 0x1000)]);
    rig.put(PDT, &[link(0x14000), link(0x15000)]);
    rig.put(PDT + 0x1000 + 16 * 2, &[TA7 | 1, SV39 | 0x10]);
    rig.context(5, &[1 | 1 << 5, SV39X4 | GUEST >> 12, 0, 2 << 60 | 0x13]);
    assert_eq!(to(rig.access(5, Some(2), 0x7000, Access::Read)), Some(DATA));
    // The second level of process 0x105 is at a guest's page that is not mapped: an implicit read.
    assert_eq!(to(rig.access(5, Some(0x105), 0x7000, Access::Write)), None);
    let expected = 5 << 40 | 3 << 34 | 1 << 32 | 0x105 << 12 | 23;
    assert_eq!(rig.fault(), Some([expected, 0, 0x7000, 0x15050 | 1]));
}

#[test]
fn supervisor_requests_need_ens() {
    let rig = Rig::enabled(Features::default());
    rig.map_first(TABLES);
    // A supervisor's page, and one to execute for each.
    rig.put(TABLES + 0x2018, &[ppn(DATA) | 0xc7, ppn(DATA) | 0xcb, ppn(DATA) | 0xdb]);
    rig.put(
        PDT,
        &[0, 0, TA7 | 1, SV39 | TABLES >> 12, TA7 | 3, SV39 | TABLES >> 12, TA7 | 7, SV39 | TABLES >> 12],
    );
    rig.context(5, &[1 | 1 << 5, 0, 0, 1 << 60 | PDT >> 12]);
    let ask = |pasid, at, access| {
        let request = Request { privileged: true, ..request(5, Some(pasid), at, access) };
        to(rig.iommu.request(&request)).ok_or_else(|| rig.fault().unwrap()[0])
    };
    let fault = |ttyp: u64, pid: u64, cause: u64| Err(5 << 40 | ttyp << 34 | 3 << 32 | pid << 12 | cause);
    assert_eq!(ask(1, 0x1000, Access::Read), fault(2, 1, 260), "without ENS");
    assert_eq!(ask(2, 0x1000, Access::Read), fault(2, 2, 13), "a user's page without SUM");
    assert_eq!(ask(3, 0x1000, Access::Read), Ok(DATA), "with SUM");
    assert_eq!(ask(2, 0x3000, Access::Write), Ok(DATA), "a supervisor's page");
    assert_eq!(ask(3, 0x4000, Access::Execute), Ok(DATA));
    assert_eq!(ask(3, 0x5000, Access::Execute), fault(1, 3, 12), "a user's code, whatever SUM says");
    // Users reach users' pages alone, and requests without process are users'.
    assert_eq!(to(rig.access(5, Some(3), 0x3000, Access::Read)), None);
    assert_eq!(rig.fault().unwrap()[0], 5 << 40 | 2 << 34 | 1 << 32 | 3 << 12 | 13);
    rig.context(6, &[1, 0, TA7, SV39 | TABLES >> 12]);
    let privileged = Request { privileged: true, ..request(6, None, 0x3000, Access::Read) };
    assert_eq!((to(rig.iommu.request(&privileged)), rig.cause()), (None, Some(13)));
}

#[test]
fn every_byte_order_is_read() {
    let rig = Rig::new(Features { both_endian: true, big_endian: true, ..Features::default() });
    rig.enable(2);
    let big = |at: u64, words: &[u64]| {
        let swapped: Vec<u64> = words.iter().map(|word| word.swap_bytes()).collect();
        rig.put(at, &swapped);
    };
    // fctl.BE for the directory; SBE for the first stage, one of each.
    big(DDT + 5 * 64, &[1 | 1 << 10, 0, TA7, SV39 | TABLES >> 12]);
    big(TABLES, &[link(TABLES + 0x1000)]);
    big(TABLES + 0x1000, &[link(TABLES + 0x2000)]);
    big(TABLES + 0x2008, &[page(DATA)]);
    big(DDT + 6 * 64, &[1, 0, 8 << 12, SV39 | (TABLES + 0x4000) >> 12]);
    rig.map_first(TABLES + 0x4000);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    assert_eq!(to(rig.access(6, None, 0x2000, Access::Read)), Some(DATA + 0x1000));
    assert_eq!(rig.goes(0x9000), None);
    assert_eq!(rig.fault().map(|record| record[0].swap_bytes()), Some(5 << 40 | 2 << 34 | 13));
    // Commands and what they store.
    big(CQ, &[5 << 40 | DV | INVAL_DDT, 0, 0x1234_5678 << 32 | FENCE | AV, (DATA + 8) >> 2]);
    rig.iommu.write32(0x24, 2);
    assert_eq!((rig.iommu.read32(0x20), rig.read(DATA + 8)), (2, 0x7856_3412));
}
