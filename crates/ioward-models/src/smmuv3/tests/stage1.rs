use super::rig::{CD, CDS, DATA, PAGE, Rig, STE_S1, STE_WORD1, STREAMS};
use crate::{Access, IommuModel, Outcome, smmuv3::Features};

#[test]
fn a_page_is_reached_and_its_neighbour_is_not() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1234), Some(DATA + 0x234));
    assert_eq!(rig.goes(0x2fff), Some(DATA + 0x1fff));
    assert_eq!(rig.goes(0x3000), None);
    // F_TRANSLATION, stream 5; RnW, CLASS IN; the address.
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0010, 0x0000_0208_0000_0000, 0x3000, 0]));
    assert_eq!(rig.goes(0x1_0000_0000_0000), None, "beyond T0SZ");
    assert_eq!(rig.event().map(|e| (e[0] & 0xff, e[2])), Some((0x10, 0x1_0000_0000_0000)));
    assert_eq!(rig.access(5, None, 0x3000, Access::Write), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| e[1]), Some(0x0000_0200_0000_0000), "a write");
    assert_eq!(rig.event(), None);
}

#[test]
fn rights_are_kept() {
    let rig = Rig::stage1(Features::default());
    let page = 0x0060_0000_0000_0f03;
    rig.put(0x8004_3018, &[page | DATA, PAGE | 0x80 | DATA, PAGE & !(1 << 54) | DATA]);
    assert_eq!(rig.goes(0x3000), None, "privileged only");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x13));
    let mut privileged = super::rig::request(5, None, 0x3000, Access::Write);
    privileged.privileged = true;
    assert!(matches!(rig.smmu.request(&privileged), Outcome::To { .. }));
    assert!(rig.goes(0x4000).is_some());
    assert_eq!(rig.access(5, None, 0x4000, Access::Write), Outcome::Aborted, "read-only");
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0013, 0x0000_0200_0000_0000, 0x4000, 0]));
    assert_eq!(rig.access(5, None, 0x4000, Access::Execute), Outcome::Aborted, "execute-never");
    assert_eq!(rig.event().map(|e| e[1]), Some(0x0000_020c_0000_0000), "RnW, InD");
    assert!(matches!(rig.access(5, None, 0x5000, Access::Execute), Outcome::To { .. }));
}

#[test]
fn hierarchical_limits_count_unless_disabled() {
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_2000, &[0x8004_3003 | 1 << 62]);
    assert!(rig.goes(0x1000).is_some());
    assert_eq!(rig.access(5, None, 0x1000, Access::Write), Outcome::Aborted, "APTable: read-only");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x13));
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_2000, &[0x8004_3003 | 1 << 62]);
    rig.put(CDS + 8, &[0x8004_0002]);
    assert!(matches!(rig.access(5, None, 0x1000, Access::Write), Outcome::To { .. }), "HAD0");
}

#[test]
fn blocks_cover_what_they_say() {
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_2008, &[0x0060_0000_0000_0f41 | 0x4000_0000]);
    rig.put(0x8004_1008, &[0x0060_0000_0000_0f41 | 0x8000_0000]);
    assert_eq!(rig.goes(0x3f_fff8), Some(0x401f_fff8));
    assert_eq!(rig.goes(0x4000_0000 + 0x1234_5678), Some(0x9234_5678));
    assert!(matches!(rig.access(5, None, 0x20_0000, Access::Read), Outcome::To { page: 0x20_0000, .. }));
    rig.put(0x8004_0008, &[0x0060_0000_0000_0f41]);
    assert_eq!(rig.goes(0x80_0000_0000), None, "no blocks at level 0");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x10));
}

#[test]
fn other_granules_walk_their_own_way() {
    // 16KB, 47 bits: level 0 has no bits, level 1 is the root: 2^11 entries.
    let rig = Rig::stage1(Features::default());
    rig.put(CDS, &[0x0007_e205_c000_3591, 0x8004_0000]);
    rig.put(0x8004_0000, &[0x8004_4003]);
    rig.put(0x8004_4000, &[0x8004_8003]);
    rig.put(0x8004_8008, &[PAGE | 0x8010_0000]);
    assert_eq!(rig.goes(0x4000 + 0x3abc), Some(DATA + 0x3abc));
    assert_eq!(rig.goes(0x8000), None);
    // 64KB, 42 bits: level 2 is the root.
    let rig = Rig::stage1(Features::default());
    rig.put(CDS, &[0x0007_e205_c000_3556, 0x8005_0000]);
    rig.put(0x8005_0000, &[0x8006_0003]);
    rig.put(0x8006_0008, &[PAGE | 0x8010_0000]);
    assert_eq!(rig.goes(0x1_0000 + 0xfabc), Some(DATA + 0xfabc));
    assert_eq!(rig.goes(1 << 42), None);
}

#[test]
fn wide_addresses_need_the_large_granule() {
    let rig = Rig::stage1(Features { out_bits: 52, wide_virtual: true, ..Features::default() });
    // 64KB, 52 bits in, IPS 52: level 1 is the root, of 1024 entries; descriptor bits 15:12 are address bits 51:48.
    rig.put(CDS, &[0x0007_e206_c000_354c, 0x8005_0000]);
    rig.put(0x8005_0000, &[0x8006_0003]);
    rig.put(0x8006_0000, &[0x8007_0003]);
    rig.put(0x8007_0000, &[PAGE | 0x8000_0000 | 0x7000]);
    assert_eq!(rig.goes(0x42), Some(0x7_0000_8000_0042));
}

#[test]
fn ttb1_serves_the_upper_half() {
    let rig = Rig::stage1(Features::default());
    // T1SZ 25 (39 bits), TG1 4KB, walks write-back: level 1 is the root. EPD1 is 0.
    rig.put(CDS, &[0x0007_e205_b599_3510, 0x8004_0000, 0x8004_1000, 0x0044_04ff]);
    assert_eq!(rig.goes(0xffff_ff80_0000_1010), Some(DATA + 0x10));
    assert_eq!(rig.goes(0x1010), Some(DATA + 0x10));
    assert_eq!(rig.goes(0xffff_ff00_0000_1010), None, "not sign-extended from T1SZ");
}

#[test]
fn outputs_beyond_ips_are_address_size_faults() {
    let rig = Rig::stage1(Features { out_bits: 36, ..Features::default() });
    rig.put(0x8004_3018, &[PAGE | 0x10_0000_0000]);
    assert_eq!(rig.goes(0x3000), None);
    assert_eq!(rig.event().map(|e| (e[0] & 0xff, e[2])), Some((0x11, 0x3000)));
    rig.put(0x8004_2008, &[0x10_0000_0003]);
    assert_eq!(rig.goes(0x20_0000), None);
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x11), "a table");
}

#[test]
fn the_access_flag_faults_or_is_set() {
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_3018, &[(PAGE | DATA) & !0x400]);
    assert_eq!(rig.goes(0x3000), None);
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x12));
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_3018, &[(PAGE | DATA) & !0x400]);
    rig.put(CDS, &[CD | 1 << 43]);
    assert_eq!(rig.goes(0x3000), Some(DATA), "HA");
    assert_eq!(rig.read(0x8004_3018), PAGE | DATA);
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_3018, &[(PAGE | DATA) & !0x400]);
    rig.put(CDS, &[CD | 1 << 35]);
    assert_eq!(rig.goes(0x3000), Some(DATA), "AFFD");
    assert_eq!(rig.read(0x8004_3018), (PAGE | DATA) & !0x400);
}

#[test]
fn a_write_makes_a_modifiable_page_dirty() {
    let rig = Rig::stage1(Features::default());
    let clean = PAGE | DATA | 1 << 51 | 0x80;
    rig.put(0x8004_3018, &[clean]);
    rig.put(CDS, &[CD | 1 << 43 | 1 << 42]);
    assert!(matches!(rig.access(5, None, 0x3000, Access::Read), Outcome::To { writable: false, .. }));
    assert_eq!(rig.read(0x8004_3018), clean);
    assert!(matches!(rig.access(5, None, 0x3000, Access::Write), Outcome::To { writable: true, .. }));
    assert_eq!(rig.read(0x8004_3018), clean & !0x80);
    let rig = Rig::stage1(Features { httu: 1, ..Features::default() });
    rig.put(CDS, &[CD | 1 << 43 | 1 << 42]);
    assert_eq!(rig.goes(0x1000), None, "HD without support is ILLEGAL");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x0a));
}

#[test]
fn an_illegal_descriptor_is_told_apart_from_a_missing_one() {
    for (word, number) in [
        (CD & !(1 << 31), 0x0a), // V
        (CD & !(1 << 46), 0x0a), // A
        (CD | 1 << 44, 0x0a),    // S
        (CD & !(1 << 41), 0x0a), // AA64
        (CD | 1 << 15, 0x0a),    // ENDI
        (CD & !0x3f | 15, 0x0a), // T0SZ too small
        (CD & !0x3f | 40, 0x0a), // T0SZ too large
        (CD | 0xc0, 0x0a),       // TG0 Reserved
    ] {
        let rig = Rig::stage1(Features::default());
        rig.put(CDS, &[word]);
        assert_eq!(rig.goes(0x1000), None);
        assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_0000 | number), "{word:#x}");
    }
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[0x4000_000b, STE_WORD1]);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0009, 0, 0, 0x4000_0000]), "F_CD_FETCH");
    let rig = Rig::stage1(Features::default());
    rig.put(CDS + 8, &[0x4000_0000]);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(
        rig.event(),
        Some([0x0000_0005_0000_000b, 0x0000_0108_0000_0000, 0x1000, 0x4000_0000]),
        "F_WALK_EABT, CLASS TT"
    );
}

#[test]
fn faults_are_recorded_where_the_descriptor_says_so() {
    let rig = Rig::stage1(Features::default());
    rig.put(CDS, &[CD & !(1 << 45)]);
    assert_eq!(rig.goes(0x3000), None);
    assert_eq!(rig.event(), None, "R is 0");
}

#[test]
fn substreams_have_their_own_tables() {
    let rig = Rig::stage1(Features::default());
    // Four CDs, default substream 0: CD 1 has ASID 8 and maps 0x1000 to another page.
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 2 << 59, STE_WORD1 | 2]);
    rig.put(CDS + 64, &[0x0008_e205_c000_3510, 0x8005_0000, 0, 0x0044_04ff]);
    rig.put(0x8005_0000, &[0x8005_1003]);
    rig.put(0x8005_1000, &[0x8005_2003]);
    rig.put(0x8005_2000, &[0x8005_3003]);
    rig.put(0x8005_3008, &[PAGE | (DATA + 0x8000)]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    assert!(
        matches!(rig.access(5, Some(1), 0x1000, Access::Read), Outcome::To { at, .. } if at.0 == DATA + 0x8000)
    );
    assert_eq!(rig.access(5, Some(1), 0x2000, Access::Read), Outcome::Aborted);
    // SSV, SubstreamID 1.
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_1810));
    assert_eq!(
        rig.access(5, Some(0), 0x1000, Access::Read),
        Outcome::Aborted,
        "substream 0 is for the others"
    );
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_0006));
    assert_eq!(rig.access(5, Some(4), 0x1000, Access::Read), Outcome::Aborted, "beyond S1CDMax");
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_4008));
    assert_eq!(rig.access(5, Some(3), 0x1000, Access::Read), Outcome::Aborted, "V is 0");
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_380a));
}

#[test]
fn requests_without_a_substream_do_as_s1dss_says() {
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 2 << 59, STE_WORD1]);
    assert_eq!(rig.goes(0x1000), None, "terminate");
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0006, 0, 0, 0]));
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 2 << 59, STE_WORD1 | 1]);
    assert_eq!(rig.goes(0x1000), Some(0x1000), "bypass");
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.access(5, Some(1), 0x1000, Access::Read), Outcome::Aborted, "no substreams at all");
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_1008));
}

#[test]
fn two_level_cd_tables_are_walked() {
    for (ste, substream, index, low) in [
        // 4KB leaves: substream 0x47 is CD 7 of leaf 1. 64KB leaves: substream 0x405 is CD 5 of leaf 1.
        (STE_S1 | 7 << 59 | 1 << 4, 0x47, 1, 7),
        (STE_S1 | 11 << 59 | 2 << 4, 0x405, 1, 5),
    ] {
        let rig = Rig::stage1(Features { ssid_bits: 11, ..Features::default() });
        rig.put(STREAMS + 5 * 64, &[ste, STE_WORD1]);
        rig.put(CDS, &[0; 4]);
        rig.put(CDS + 8 * index, &[0x8009_0001]);
        rig.put(0x8009_0000 + 64 * low, &[CD, 0x8004_0000, 0, 0x0044_04ff]);
        let to = rig.access(5, Some(substream), 0x1000, Access::Read);
        assert!(matches!(to, Outcome::To { at, .. } if at.0 == DATA), "{to:?}");
        assert_eq!(rig.access(5, Some(1), 0x1000, Access::Read), Outcome::Aborted, "L1CD.V is 0");
        assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_1008));
    }
}

#[test]
fn contiguous_entries_are_one() {
    let rig = Rig::stage1(Features::default());
    let run: Vec<u64> = (0..16).map(|n| PAGE | 1 << 52 | (DATA + 0x1_0000 + n * 0x1000)).collect();
    rig.put(0x8004_3080, &run);
    assert!(matches!(
        rig.access(5, None, 0x1_3abc, Access::Read),
        Outcome::To { at, page: 0x1_0000, .. } if at.0 == DATA + 0x1_3abc
    ));
    rig.put(0x8004_3100, &[PAGE | 1 << 52 | (DATA + 0x2_0000)]);
    assert_eq!(rig.goes(0x2_0000), Some(DATA + 0x2_0000));
    assert_eq!(rig.sections(), ["DDI 0487 D8.6.1"], "neighbours are missing");
}
