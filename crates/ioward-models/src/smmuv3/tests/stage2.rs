use super::rig::{CD, CDS, DATA, MAIR, PAGE, Rig, STE_WORD1, STREAMS, TABLES, request};
use crate::{Access, IommuModel, Outcome, smmuv3::Features};

/// VMID 9, 40 bits from level 1 (two tables concatenated), 4KB, PS 48, AA64, walks write-back, R.
const STE_WORD2: u64 = 0x040d_3558_0000_0009;
const ROOT: u64 = 0x8005_0000;
/// A page: valid, AF, inner shareable, read and write, Normal write-back.
const PAGE2: u64 = 0x7ff;
const BLOCK2: u64 = 0x7fd;

fn second() -> Rig {
    let rig = Rig::enabled(Features::default());
    rig.put(STREAMS + 5 * 64, &[0xd, STE_WORD1, STE_WORD2, ROOT]);
    rig.put(ROOT, &[0x8005_4003]);
    rig.put(ROOT + 513 * 8, &[0x8005_4003]);
    rig.put(0x8005_4000, &[0x8005_5003]);
    rig.put(0x8005_5008, &[PAGE2 | DATA]);
    rig
}

/// Stream 5 with both stages: stage 1 of the rig in IPAs, which stage 2 maps to themselves but for 0x4000_0000, which
/// goes to [`DATA`].
fn nested() -> Rig {
    let rig = Rig::enabled(Features::default());
    rig.put(STREAMS + 5 * 64, &[CDS | 0xf, STE_WORD1, STE_WORD2, ROOT]);
    rig.put(ROOT, &[0, 0x8005_4003, BLOCK2 | 0x8000_0000]);
    rig.put(0x8005_4000, &[0x8005_5003]);
    rig.put(0x8005_5000, &[PAGE2 | DATA, PAGE2 | (DATA + 0x1000)]);
    rig.put(CDS, &[CD, TABLES, 0, MAIR]);
    rig.put(TABLES, &[0x8004_1003]);
    rig.put(0x8004_1000, &[0x8004_2003]);
    rig.put(0x8004_2000, &[0x8004_3003]);
    rig.put(0x8004_3008, &[PAGE | 0x4000_0000, PAGE | 0x4000_1000, PAGE | 0x4000_2000]);
    rig
}

#[test]
fn concatenated_roots_are_one_table() {
    let rig = second();
    assert_eq!(rig.goes(0x1abc), Some(DATA + 0xabc));
    assert_eq!(rig.goes(0x80_4000_1abc), Some(DATA + 0xabc), "in the second table");
    assert_eq!(rig.goes(0x2000), None);
    // F_TRANSLATION at stage 2, CLASS IN, with the IPA.
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0010, 0x0000_0288_0000_0000, 0x2000, 0x2000]));
    assert_eq!(rig.goes(0x100_0000_1000), None, "beyond S2T0SZ");
    assert_eq!(rig.event().map(|e| (e[0] & 0xff, e[1])), Some((0x10, 0x0000_0288_0000_0000)));
}

#[test]
fn stage_2_rights_are_kept() {
    let rig = second();
    rig.put(0x8005_5010, &[(PAGE2 | DATA) & !0x80, (PAGE2 | DATA) & !0x40, PAGE2 | DATA | 1 << 54]);
    assert!(rig.goes(0x2000).is_some());
    assert_eq!(rig.access(5, None, 0x2000, Access::Write), Outcome::Aborted);
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0013, 0x0000_0280_0000_0000, 0x2000, 0x2000]));
    assert_eq!(rig.goes(0x3000), None, "write-only");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x13));
    assert_eq!(rig.access(5, None, 0x4000, Access::Execute), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| e[1]), Some(0x0000_028c_0000_0000));
    // S2HA and S2HD: the write bit is what dirty means.
    let rig = second();
    rig.put(STREAMS + 5 * 64 + 16, &[STE_WORD2 | 3 << 55]);
    rig.put(0x8005_5010, &[(PAGE2 | DATA | 1 << 51) & !0x480]);
    assert!(matches!(rig.access(5, None, 0x2000, Access::Read), Outcome::To { writable: false, .. }));
    assert_eq!(rig.read(0x8005_5010), (PAGE2 | DATA | 1 << 51) & !0x80, "accessed");
    assert!(matches!(rig.access(5, None, 0x2000, Access::Write), Outcome::To { writable: true, .. }));
    assert_eq!(rig.read(0x8005_5010), PAGE2 | DATA | 1 << 51, "dirty");
}

#[test]
fn an_illegal_stage_2_is_a_bad_ste() {
    for word in [
        STE_WORD2 & !(1 << 51),                 // S2AA64
        STE_WORD2 | 1 << 57,                    // S2S
        STE_WORD2 | 1 << 52,                    // S2ENDI
        STE_WORD2 | 3 << 46,                    // S2TG Reserved
        STE_WORD2 & !(0xff << 32) | 0x18 << 32, // 40 bits from level 2: too many tables
        STE_WORD2 & !(0xff << 32) | 0x50 << 32, // 48 bits from level 1: too many tables
        STE_WORD2 & !(0xff << 32) | 0x99 << 32, // 39 bits from level 0: it resolves nothing
        STE_WORD2 & !(0xff << 32) | 0x4f << 32, // S2T0SZ 15
    ] {
        let rig = second();
        rig.put(STREAMS + 5 * 64 + 16, &[word]);
        assert_eq!(rig.goes(0x1000), None, "{word:#x}");
        assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_0004), "{word:#x}");
    }
    let rig = second();
    rig.put(STREAMS + 5 * 64 + 24, &[1 << 49]);
    assert_eq!(rig.goes(0x1000), None, "S2TTB outside S2PS");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x04));
}

#[test]
fn both_stages_translate_tables_descriptors_and_data() {
    let rig = nested();
    assert_eq!(rig.goes(0x1234), Some(DATA + 0x234));
    assert_eq!(rig.goes(0x2234), Some(DATA + 0x1234));
    assert_eq!(rig.goes(0x3234), None);
    assert_eq!(
        rig.event(),
        Some([0x0000_0005_0000_0010, 0x0000_0288_0000_0000, 0x3234, 0x4000_2000]),
        "stage 2, of the data's IPA"
    );
    assert_eq!(rig.goes(0x5000), None);
    assert_eq!(rig.event().map(|e| (e[1], e[3])), Some((0x0000_0208_0000_0000, 0)), "stage 1");
    rig.put(0x8004_1008, &[0x5000_0003]);
    assert_eq!(rig.goes(0x4000_0000), None);
    assert_eq!(
        rig.event(),
        Some([0x0000_0005_0000_0010, 0x0000_0188_0000_0000, 0x4000_0000, 0x5000_0000]),
        "stage 2, CLASS TT"
    );
    let rig = nested();
    rig.put(STREAMS + 5 * 64, &[0x5000_000f]);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(
        rig.event(),
        Some([0x0000_0005_0000_0010, 0x0000_0088_0000_0000, 0x1000, 0x5000_0000]),
        "stage 2, CLASS CD"
    );
}

#[test]
fn an_ipa_invalidation_alone_leaves_combined_entries() {
    let rig = nested();
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8005_5000, &[PAGE2 | (DATA + 0x5000)]);
    rig.synced([0x0000_0009_0000_002a, 0x4000_0000]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "4.4.3.1: combined entries need not go");
    rig.synced([0x0000_0009_0000_0010, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x5000), "NH_ALL of the VMID");
    rig.put(0x8005_5000, &[PAGE2 | (DATA + 0x6000)]);
    rig.command([0x0000_0009_0000_002a, 0x4000_0000]);
    rig.synced([0x0000_0009_0000_0013, 0x1001]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x6000), "S2_IPA with NH_VAA");
    rig.put(0x8005_5000, &[PAGE2 | (DATA + 0x7000)]);
    rig.synced([0x0000_0009_0000_0028, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x7000), "S12_VMALL");
    rig.put(0x8005_5000, &[PAGE2 | DATA]);
    rig.synced([0x0000_0008_0000_0028, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x7000), "of another VMID");
    rig.synced([0x30, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "NSNH_ALL");
}

#[test]
fn stage_2_entries_go_by_ipa() {
    let rig = second();
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8005_5008, &[0]);
    rig.synced([0x0000_0009_0000_002a, 0x8000_0000_2000 & 0x2000]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "another page");
    rig.synced([0x0000_0008_0000_002a, 0x1001]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "another VMID");
    rig.synced([0x0000_0009_0000_0010, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "a stage 1 command");
    rig.synced([0x0000_0009_0000_002a, 0x1001]);
    assert_eq!(rig.goes(0x1000), None);
}

#[test]
fn split_stage_ats_hands_out_ipas() {
    let rig = Rig::enabled(Features { split_ats: true, ..Features::default() });
    let plain = nested();
    for at in (0x8003_0000..0x8006_0000).step_by(8) {
        rig.put(at, &[plain.read(at)]);
    }
    rig.put(STREAMS + 5 * 64, &[CDS | 0xf, 0x0000_1000_2000_00d4, STE_WORD2, ROOT]);
    let ask = request(5, None, 0x1000, Access::Read);
    let ipa = rig.smmu.translate_ahead(&ask);
    assert!(matches!(ipa, Outcome::To { at, .. } if at.0 == 0x4000_0000), "{ipa:?}");
    let pa = rig.smmu.translated(&request(5, None, 0x4000_0000, Access::Read));
    assert!(matches!(pa, Outcome::To { at, .. } if at.0 == DATA));
    assert_eq!(rig.smmu.translated(&request(5, None, 0x4000_2000, Access::Read)), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x10));
}
