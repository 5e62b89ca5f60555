//! When a device context is misconfigured: each rule of 2.1.4, broken alone.

use super::rig::*;
use crate::{Access, riscv::Features};
use ioward_types::SourceId;

const EN_ATS: u64 = 1 << 1;
const EN_PRI: u64 = 1 << 2;
const T2GPA: u64 = 1 << 3;
const PDTV: u64 = 1 << 5;
const PRPR: u64 = 1 << 6;
const GADE: u64 = 1 << 7;
const SADE: u64 = 1 << 8;
const DPE: u64 = 1 << 9;
const SBE: u64 = 1 << 10;
const SXL: u64 = 1 << 11;

/// What a read through a context gives: none where it is well-formed, else the rule that is broken.
fn broken(features: Features, words: &[u64]) -> Option<&'static str> {
    let rig = Rig::enabled(features);
    rig.context(5, words);
    let outcome = to(rig.access(5, None, 0x1000, Access::Read));
    let cause = rig.cause();
    assert!(cause != Some(259) || outcome.is_none());
    let rule = rig.iommu.explain(SourceId(5));
    assert_eq!(rule.is_some(), cause == Some(259), "{words:x?}");
    rule
}

#[test]
fn each_rule_is_checked() {
    let all = Features::default();
    let sv39x4 = SV39X4 | GUEST >> 12;
    let bad: &[(&str, Features, &[u64])] = &[
        ("reserved", all, &[1 | 1 << 12, 0, 0, 0]),
        ("reserved", all, &[1 | 1 << 32, 0, 0, 0]),
        ("reserved", all, &[1, 0, 1, 0]),
        ("reserved", all, &[1, 0, 1 << 32, 0]),
        ("reserved", all, &[1, 0, 0, 1 << 44]),
        ("reserved", all, &[1, sv39x4, 0, 0, 1 << 44]),
        ("reserved", all, &[1, sv39x4, 0, 0, 0, 1 << 52]),
        ("reserved", all, &[1, sv39x4, 0, 0, 0, 0, 0, 1]),
        ("wider than a guest's", all, &[1, sv39x4, 0, 0, 0, 1 << 47]),
        ("wider than a guest's", all, &[1, sv39x4, 0, 0, 0, 0, 1 << 47]),
        ("capabilities.ATS", Features { ats: false, ..all }, &[1 | EN_ATS, 0, 0, 0]),
        ("capabilities.ATS", Features { ats: false, ..all }, &[1 | EN_PRI, 0, 0, 0]),
        ("capabilities.ATS", Features { ats: false, ..all }, &[1 | PRPR, 0, 0, 0]),
        ("T2GPA without EN_ATS", all, &[1 | T2GPA, sv39x4, 0, 0]),
        ("EN_PRI without EN_ATS", all, &[1 | EN_PRI, 0, 0, 0]),
        ("PRPR without EN_PRI", all, &[1 | EN_ATS | PRPR, 0, 0, 0]),
        ("capabilities.T2GPA", Features { t2gpa: false, ..all }, &[1 | EN_ATS | T2GPA, sv39x4, 0, 0]),
        ("T2GPA without a second stage", all, &[1 | EN_ATS | T2GPA, 0, 0, 0]),
        ("pdtp.MODE", all, &[1 | PDTV, 0, 0, 4 << 60]),
        ("pdtp.MODE", Features { pd: [false, true, true], ..all }, &[1 | PDTV, 0, 0, 1 << 60]),
        ("pdtp.MODE", Features { pd: [true, false, true], ..all }, &[1 | PDTV, 0, 0, 2 << 60]),
        ("pdtp.MODE", Features { pd: [true, true, false], ..all }, &[1 | PDTV, 0, 0, 3 << 60]),
        ("iosatp.MODE", all, &[1, 0, 0, 1 << 60]),
        ("iosatp.MODE", all, &[1, 0, 0, 11 << 60]),
        ("iosatp.MODE", Features { first_bits: 0, ..all }, &[1, 0, 0, 8 << 60]),
        ("iosatp.MODE", Features { first_bits: 39, ..all }, &[1, 0, 0, 9 << 60]),
        ("iosatp.MODE", Features { first_bits: 48, ..all }, &[1, 0, 0, 10 << 60]),
        ("DPE without PDTV", all, &[1 | DPE, 0, 0, 0]),
        ("iohgatp.MODE", all, &[1, 7 << 60, 0, 0]),
        ("iohgatp.MODE", Features { second_bits: 0, ..all }, &[1, 8 << 60, 0, 0]),
        ("iohgatp.MODE", Features { second_bits: 39, ..all }, &[1, 9 << 60, 0, 0]),
        ("iohgatp.MODE", Features { second_bits: 48, ..all }, &[1, 10 << 60, 0, 0]),
        ("msiptp.MODE is not supported", all, &[1, sv39x4, 0, 0, 2 << 60]),
        ("msiptp.MODE is not Off", all, &[1, 0, 0, 0, 1 << 60]),
        ("not aligned to 16 KiB", all, &[1, sv39x4 + 1, 0, 0]),
        ("AMO_HWAD", Features { amo_hwad: false, ..all }, &[1 | SADE, 0, 0, 0]),
        ("AMO_HWAD", Features { amo_hwad: false, ..all }, &[1 | GADE, 0, 0, 0]),
        ("SBE", all, &[1 | SBE, 0, 0, 0]),
        ("SXL", all, &[1 | SXL, 0, 0, 0]),
    ];
    for (rule, features, words) in bad {
        let found = broken(*features, words);
        assert!(found.is_some_and(|found| found.contains(rule)), "{rule}: {found:?} of {words:x?}");
    }
}

#[test]
fn what_is_allowed_is_not_broken() {
    let all = Features::default();
    let sv39x4 = SV39X4 | GUEST >> 12;
    let good: &[(Features, &[u64])] = &[
        (all, &[1, 0, 0, 0]),
        (all, &[1 | EN_ATS | EN_PRI | PRPR | GADE | SADE | PDTV | DPE, 0, u64::MAX >> 44 << 12, 0]),
        (all, &[1 | EN_ATS | T2GPA, sv39x4, 0, 0, 1 << 60, 0xff, 1 << 46]),
        (Features { both_endian: true, ..all }, &[1 | SBE, 0, 0, 0]),
        (Features { big_endian: false, ..all }, &[1, 0, 0, 0]),
        (Features::small(), &[1, 0, 0, 0]),
    ];
    for (features, words) in good {
        assert_eq!(broken(*features, words), None, "{words:x?}");
    }
}

#[test]
fn an_invalid_context_may_hold_anything() {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[!1, !0, !0, !0, !0, !0, !0, !0]);
    assert_eq!((rig.goes(0), rig.cause()), (None, Some(258)));
}

#[test]
fn custom_bits_are_nobodys_business() {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[1 | 1 << 24, 0, 0, 0]);
    assert_eq!(rig.goes(0x1000), Some(0x1000));
    assert_eq!(rig.sections(), ["2.1.3.1"]);
}

#[test]
fn dtf_hides_translation_faults_and_no_others() {
    let rig = Rig::first(Features::default());
    rig.context(5, &[1 | 1 << 4, 0, TA7, SV39 | TABLES >> 12]);
    assert_eq!((rig.goes(0x9000), rig.cause(), rig.iommu.faults()), (None, None, 0), "a page fault");
    assert_eq!(to(rig.access(5, Some(1), 0, Access::Read)), None);
    assert_eq!(rig.cause(), None, "a disallowed type");
    rig.context(6, &[1 | 1 << 4 | 1 << 11, 0, 0, 0]);
    assert_eq!(to(rig.access(6, None, 0, Access::Read)), None);
    assert_eq!(rig.cause(), Some(259), "no valid context, so no DTF");
}
