//! Scalable mode: context entries, PASID directory and table, second stage, pass-through.

use super::bench::*;
use crate::{
    Access, IommuModel, Outcome, Request,
    vtd::{PasidMeaning, SourceMeaning, VtdConfig},
};
use ioward_types::{Pasid, PhysAddr, SourceId};

/// Second stage of four levels, domain 5, walks snoop.
const SECOND: [u64; 3] = [0x0110_0089, 0x0080_0005, 0];

fn second() -> Bench {
    let bench = Bench::scalable(VtdConfig::default());
    four_levels(&bench);
    bench.pasid(0, SECOND);
    bench
}

#[test]
fn requests_without_pasid_have_the_one_that_the_context_entry_names() {
    let bench = second();
    assert_eq!(bench.write(0x5010), Some(0x0120_0010));
    assert_eq!(bench.read_as(3, 0x5000), None);
    // PASID 3, PP, reason 0x59.
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_0359_8000_0008]));
    bench.clean();
    let bench = second();
    bench.put(CONTEXT + 0x108, 3);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_0059_0000_0008]));
    bench.pasid(3, SECOND);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!(bench.read_as(3, 0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn the_upper_context_table_serves_the_upper_devices() {
    let bench = second();
    let upper = SourceId(0x90);
    assert_eq!(reached(bench.request(upper, None, 0x5000, Access::Read)), None);
    assert_eq!(bench.reason(), Some(0x41));
    bench.put(CONTEXT + 0x1200, 0x0106_001d);
    assert_eq!(reached(bench.request(upper, None, 0x5000, Access::Read)), Some(0x0120_0000));
    bench.put(ROOT + 8, 0);
    assert_eq!(reached(bench.request(SourceId(0x98), None, 0x5000, Access::Read)), None);
    assert_eq!(bench.reason(), Some(0x39));
    bench.clean();
}

#[test]
fn what_a_context_entry_does_not_allow() {
    let asked = request(DEVICE, None, 0x5000, Access::Read);
    for (word, kind, reason) in [
        (0x0106_0019_u64, 0, 0x44), // DTE clear, a translation request
        (0x0106_0015, 1, 0x45),     // PASIDE clear, a request with PASID
        (0x0106_001d, 2, 0x46),     // a PASID beyond the directory
    ] {
        let bench = second();
        bench.put(CONTEXT + 0x100, word);
        match kind {
            0 => {
                let ahead = bench.model.translate_ahead(&asked);
                assert_eq!(ahead, Outcome::Aborted);
            }
            1 => assert_eq!(bench.read_as(0, 0x5000), None),
            _ => assert_eq!(bench.read_as(0x2000, 0x5000), None),
        }
        assert_eq!(bench.reason(), Some(reason));
        bench.clean();
    }
    // RID_PASID beyond the directory.
    let bench = second();
    bench.put(CONTEXT + 0x108, 0x2000);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0x48));
    bench.clean();
}

#[test]
fn illegal_context_entries() {
    let plain = VtdConfig {
        device_tlb: false,
        pasid: false,
        page_requests: false,
        rid_pasid: false,
        ..VtdConfig::default()
    };
    for (config, words) in [
        (VtdConfig::default(), [0x0106_0021, 0]),
        (VtdConfig::default(), [0x0106_0001, 0x10_0000]),
        (VtdConfig::default(), [0x0106_0001, 0x20_0000]),
        (VtdConfig::default(), [0x0000_4000_0106_0001, 0]),
        (plain.clone(), [0x0106_0005, 0]),
        (plain.clone(), [0x0106_0009, 0]),
        (plain.clone(), [0x0106_0011, 0]),
        (plain, [0x0106_0001, 1]),
    ] {
        let bench = Bench::scalable(config);
        bench.put(CONTEXT + 0x100, words[0]);
        bench.put(CONTEXT + 0x108, words[1]);
        assert_eq!(bench.read(0x5000), None, "{words:#x?}");
        assert_eq!(bench.reason(), Some(0x42), "{words:#x?}");
        bench.violated(&["VT-d 9.4"]);
    }
}

#[test]
fn illegal_pasid_entries() {
    let bare = VtdConfig {
        pass_through: false,
        nested: false,
        second_stage: false,
        first_stage: false,
        accessed_dirty: false,
        scalable_coherent: false,
        snoop_control: false,
        supervisor: false,
        execute: false,
        ..VtdConfig::default()
    };
    let full = VtdConfig::default();
    for (config, words, reason) in [
        (&full, [0x0110_0489, 5, 0], 0x5a), // reserved bits
        (&full, [0x0110_0089, 0x1_0005, 0], 0x5a),
        (&full, [0x0110_0089, 5, 0x100], 0x5a),
        (&full, [0x0110_0089, 0x20_0005 << 4, 0], 0x5a), // memory types
        (&full, [0x0110_0089, 5, 0x80], 0x5a),           // EAFE
        (&full, [0x0000_4000_0110_0089, 5, 0], 0x5a),
        (&full, [0x41, 5, 0x0000_4000_0111_0000], 0x5a),
        (&full, [0x0110_0085, 5, 0], 0x5b),    // 39 bits
        (&full, [0x0110_0009, 5, 0], 0x5b),    // no translation type
        (&full, [0x0110_0149, 5, 0], 0x5b),    // an unknown one
        (&full, [0x41, 5, 0x0111_0008], 0x5b), // a reserved paging mode
        (&bare, [0x0110_0089, 5, 0], 0x5b),
        (&bare, [0x41, 5, 0x0111_0000], 0x5b),
        (&bare, [0x0110_00c9, 5, 0x0111_0000], 0x5b),
        (&bare, [0x101, 5, 0], 0x5b),
        (&bare, [0x0110_0289, 5, 0], 0x5a),          // SSADE
        (&bare, [0x0110_00a9, 5, 0], 0x5a),          // SSEE
        (&bare, [0x0110_0089, 0x80_0005, 0], 0x5a),  // PWSNP
        (&bare, [0x0110_0089, 0x100_0005, 0], 0x5a), // PGSNP
        (&bare, [0x0110_0089, 5, 1], 0x5a),          // SRE
        (&bare, [0x0110_0089, 5, 2], 0x5a),          // ERE
    ] {
        let bench = Bench::scalable(config.clone());
        bench.pasid(0, words);
        assert_eq!(bench.read(0x5000), None, "{words:#x?}");
        assert_eq!(bench.reason(), Some(reason), "{words:#x?}");
        bench.violated(&["VT-d 9.6"]);
    }
    let bench = second();
    bench.put(PASIDS + 24, 1);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0x5a));
    bench.violated(&["VT-d 9.6"]);
    let bench = second();
    bench.put(DIRECTORY, 0x0107_0005);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0x52));
    bench.violated(&["VT-d 9.5"]);
}

#[test]
fn directories_and_tables_that_are_not_there() {
    let bench = second();
    assert_eq!(bench.read_as(64, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x51));
    bench.clean();
    bench.put(DIRECTORY + 8, 0x4000_0001);
    assert_eq!(bench.read_as(64, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x58));
    bench.violated(&["VT-d 9.5"]);
    bench.put(CONTEXT + 0x120, 0x4000_001d);
    assert_eq!(reached(bench.request(SourceId(9), None, 0x5000, Access::Read)), None);
    assert_eq!(bench.reason(), Some(0x50));
    bench.violated(&["VT-d 9.5"]);
}

#[test]
fn fpd_of_directory_and_entry() {
    let bench = second();
    bench.pasid(3, [2, 0, 0]);
    assert_eq!(bench.read_as(3, 0x5000), None);
    bench.pasid(4, [0x0110_008b, 0x0080_0005, 0]);
    assert_eq!(bench.read_as(4, 0x9000), None);
    bench.put(DIRECTORY + 8, 2);
    assert_eq!(bench.read_as(64, 0x5000), None);
    bench.clean();
}

#[test]
fn second_stage_faults_have_their_own_reasons() {
    let bench = second();
    assert_eq!(bench.write(0x9000), None);
    assert_eq!(bench.reason(), Some(0x79));
    assert_eq!(bench.read(1 << 48), None);
    assert_eq!(bench.reason(), Some(0x84));
    bench.put(0x0110_3030, 0xfee0_1003);
    assert_eq!(bench.write(0x6000), None);
    assert_eq!(bench.reason(), Some(0x87));
    bench.clean();
    bench.put(0x0110_3040, 0x4000_0000_0120_0003);
    assert_eq!(bench.read(0x8000), None);
    assert_eq!(bench.reason(), Some(0x7a));
    bench.violated(&["VT-d 9.8"]);
}

#[test]
fn accessed_and_dirty_bits_where_the_entry_asks_for_them() {
    let bench = second();
    assert_eq!(bench.write(0x5000), Some(0x0120_0000));
    assert_eq!(bench.get(0x0110_3028), 0x0120_0003);
    let bench = second();
    bench.pasid(0, [0x0110_0289, 0x0080_0005, 0]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!(bench.get(0x0110_3028), 0x0120_0103);
    assert_eq!(bench.get(0x0110_0000), 0x0110_1103);
    assert_eq!(bench.write(0x5000), Some(0x0120_0000), "from the cache");
    assert_eq!(bench.get(0x0110_3028), 0x0120_0303);
    // Cleared bits are set again only after an invalidation.
    bench.put(0x0110_3028, 0x0120_0003);
    assert_eq!(bench.write(0x5000), Some(0x0120_0000));
    assert_eq!(bench.get(0x0110_3028), 0x0120_0003);
    bench.command([0x0005_0032, 0x5000]);
    assert!(bench.wait());
    assert_eq!(bench.write(0x5000), Some(0x0120_0000));
    assert_eq!(bench.get(0x0110_3028), 0x0120_0303);
    bench.model.audit(true);
    bench.clean();
    // A walk that does not snoop cannot set them.
    let bench = second();
    bench.pasid(0, [0x0110_0289, 5, 0]);
    assert_eq!(bench.read(0x5000), None);
    assert_eq!(bench.reason(), Some(0x7c));
    bench.clean();
}

#[test]
fn pass_through_and_forced_snooping() {
    let bench = Bench::scalable(VtdConfig::default());
    bench.pasid(0, [0x101, 5, 0]);
    assert_eq!(bench.write(0x0123_4567), Some(0x0123_4567));
    assert_eq!(bench.read(1 << 46), None);
    assert_eq!(bench.reason(), Some(0x83));
    // A PASID makes the interrupt range an address, which pass-through does not serve.
    bench.pasid(1, [0x101, 0x0100_0005, 0]);
    assert_eq!(bench.write_as(1, 0xfee0_1000), None);
    assert_eq!(bench.reason(), Some(0x87));
    assert_eq!(bench.model.snoops(&request(DEVICE, None, 0x5000, Access::Read)), Some(false));
    assert_eq!(bench.model.snoops(&request(DEVICE, Some(1), 0x5000, Access::Read)), Some(true));
    bench.clean();
}

#[test]
fn tests_may_ask_what_entries_mean() {
    let bench = second();
    let SourceMeaning::Pasids(tables) = bench.model.meaning(DEVICE) else { panic!("a context entry") };
    assert_eq!((tables.directory, tables.limit, tables.rid_pasid), (DIRECTORY, 0x2000, 0));
    assert!(tables.device_tlb && tables.pasids && tables.page_requests);
    let Some(PasidMeaning::Translation(t)) = bench.model.pasid_meaning(DEVICE, Pasid(0)) else {
        panic!("a PASID entry")
    };
    assert_eq!((t.domain, t.first), (5, None));
    assert_eq!(t.second.map(|second| (second.root, second.levels)), Some((0x0110_0000, 4)));
    assert!(bench.model.pasid_meaning(DEVICE, Pasid(1)).is_some_and(|meaning| meaning.is_blocked()));
    assert_eq!(bench.model.meaning(SourceId(0x10)), SourceMeaning::NotPresent(0x41));
    assert!(!bench.model.meaning_of_legacy(&[0x0110_0001, 0x503]).is_blocked());
    assert!(bench.model.meaning_of_legacy(&[0x0110_0001, 0x501]).is_blocked());
    assert!(bench.model.meaning_of_scalable(&[0, 0, 0, 0]).is_blocked());
    assert!(!bench.model.meaning_of_pasid(&[0x101, 5, 0, 0, 0, 0, 0, 0]).is_blocked());
    bench.clean();
}

#[test]
fn privileged_and_execute_requests_need_their_enables() {
    let bench = second();
    bench.pasid(1, SECOND);
    let ask = |access, privileged| {
        let request = Request { privileged, ..request(DEVICE, Some(1), 0x5000, access) };
        reached(bench.model.request(&request))
    };
    assert_eq!(ask(Access::Read, true), None);
    // PRIV.
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_015d_a000_0008]));
    assert_eq!(ask(Access::Execute, false), None);
    // EXE.
    assert_eq!(bench.fault(), Some([0x5000, 0xc000_015c_c000_0008]));
    bench.clean();
}

#[test]
fn ats_in_scalable_mode() {
    let bench = second();
    let ahead = bench.model.translate_ahead(&request(DEVICE, None, 0x5000, Access::Write));
    assert_eq!(ahead, Outcome::To { at: PhysAddr(0x0120_0000), page: 0x1000, writable: true });
    let ahead = bench.model.translate_ahead(&request(DEVICE, None, 0x9000, Access::Write));
    assert_eq!(ahead, Outcome::Aborted);
    let through = bench.model.translated(&request(DEVICE, None, 0x0120_0000, Access::Write));
    assert_eq!(reached(through), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn execute_rights_of_the_second_stage_where_the_entry_asks_for_them() {
    // ERE; without SSEE no entry's X counts.
    for (entry, x, passes) in [(0x0110_0089, 0, true), (0x0110_00a9, 0, false), (0x0110_00a9, 4, true)] {
        let bench = second();
        bench.pasid(1, [entry, 0x0080_0005, 2]);
        for at in [0x0110_0000, 0x0110_1000, 0x0110_2000, 0x0110_3028] {
            bench.put(at, bench.get(at) | x);
        }
        let reached = reached(bench.request(DEVICE, Some(1), 0x5000, Access::Execute)).is_some();
        assert_eq!(reached, passes, "{entry:#x} {x}");
        assert_eq!(bench.reason(), (!passes).then_some(0x82));
        bench.clean();
    }
}

#[test]
fn pasids_have_as_many_bits_as_the_unit_says() {
    let bench = Bench::scalable(VtdConfig { pasid_bits: 4, ..VtdConfig::default() });
    four_levels(&bench);
    bench.pasid(15, SECOND);
    bench.pasid(16, SECOND);
    assert_eq!(bench.read_as(15, 0x5000), Some(0x0120_0000));
    assert_eq!(bench.read_as(16, 0x5000), None);
    assert_eq!(bench.reason(), Some(0x46));
    bench.command([0x0000_0010_0005_0017, 0]);
    assert_eq!(bench.reason(), None);
    bench.violated(&["VT-d 6.5.2.10"]);
}

#[test]
fn a_dirty_bit_goes_to_no_entry_that_has_changed() {
    let bench = second();
    bench.pasid(0, [0x0110_0289, 0x0080_0005, 0]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_3028, 0x0121_0003);
    assert_eq!(bench.write(0x5000), Some(0x0120_0000), "by the old translation");
    assert_eq!(bench.get(0x0110_3028), 0x0121_0003);
    bench.clean();
}
