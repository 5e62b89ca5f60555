//! What PASIDs tag: the PASID cache and the translations behind it, and who forgets them.

use super::bench::*;
use crate::{Access, vtd::VtdConfig};
use ioward_types::{Mmio, SourceId};

const FIRST: [u64; 3] = [0x41, 0x0080_0005, 0x0111_0033];
const SECOND: [u64; 3] = [0x0110_0089, 0x0080_0005, 0];
/// The PASID cache: domain 5 PASID 1, domain 5, everything.
const PASID_1: [u64; 2] = [0x0000_0001_0005_0017, 0];
const PASIDS_OF_5: [u64; 2] = [0x0005_0007, 0];
const ALL_PASIDS: [u64; 2] = [0x37, 0];
/// PASID-based IOTLB invalidation of domain 5 PASID 1.
const ALL_OF_1: [u64; 2] = [0x0000_0001_0005_0026, 0];
/// IOTLB invalidation of domain 5.
const DOMAIN: [u64; 2] = [0x0005_0022, 0];

fn used(entry: [u64; 3]) -> Bench {
    let bench = Bench::scalable(VtdConfig::default());
    four_levels(&bench);
    first_levels(&bench);
    bench.pasid(1, entry);
    let at = bench.read_as(1, 0x5000);
    assert_eq!(at, Some(if entry[0] & 0x1c0 == 0x100 { 0x5000 } else { 0x0120_0000 }));
    bench
}

#[test]
fn pasid_entries_are_forgotten_on_their_own_command() {
    for (words, helps) in [
        ([0x0000_0001_0006_0017, 0], false), // another domain
        ([0x0000_0002_0005_0017, 0], false), // another PASID
        ([0x0006_0007, 0], false),
        ([0x11, 0], false), // all context entries
        ([0x12, 0], false), // all translations
        (ALL_OF_1, false),
        (PASID_1, true),
        (PASIDS_OF_5, true),
        (ALL_PASIDS, true),
    ] {
        let bench = used(FIRST);
        bench.pasid(1, [0, 0, 0]);
        bench.command(words);
        assert!(bench.wait());
        bench.model.audit(false);
        assert_eq!(bench.memory.violations().take().is_empty(), helps, "{words:#x?}");
        assert_eq!(bench.read_as(1, 0x5000).is_none(), helps, "{words:#x?}");
    }
}

#[test]
fn another_directory_does_not_change_what_is_cached() {
    let bench = used(FIRST);
    bench.put(CONTEXT + 0x100, 0x0108_001d);
    bench.command([0x0000_0008_0000_0031, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000), "the PASID cache does not know");
    bench.command(ALL_PASIDS);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn context_entries_of_scalable_mode_belong_to_no_domain() {
    for (words, helps) in [
        ([0x0005_0021, 0], false),
        ([0x0021, 0], false),
        ([0x0000_0009_0000_0031, 0], false),
        ([0x0000_0008_0000_0031, 0], true),
        ([0x0000_0008_0005_0031, 0], true), // the domain does not count
        ([0x11, 0], true),
    ] {
        let bench = used(FIRST);
        bench.put(CONTEXT + 0x100, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x5000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn first_stage_translations_are_forgotten_by_pasid() {
    for (words, helps) in [
        (DOMAIN, false),
        ([0x0005_0032, 0x5000], false),
        ([0x0000_0002_0005_0026, 0], false),      // another PASID
        ([0x0000_0001_0006_0026, 0], false),      // another domain
        ([0x0000_0001_0005_0036, 0x6000], false), // another page
        ([0x0000_0001_0005_0036, 0x4001], true),  // two pages at 0x4000
        ([0x0000_0001_0005_0036, 0x5040], true),  // leaves alone
        ([0x0000_0001_0005_0036, 0x5000], true),
        (ALL_OF_1, true),
        ([0x12, 0], true),
    ] {
        let bench = used(FIRST);
        bench.put(0x0111_3028, 0);
        bench.command(words);
        assert!(bench.wait());
        bench.model.audit(true);
        assert_eq!(bench.memory.violations().take().is_empty(), helps, "{words:#x?}");
        assert_eq!(bench.read_as(1, 0x5000).is_none(), helps, "{words:#x?}");
    }
}

#[test]
fn the_way_through_first_stage_tables_is_forgotten_without_the_hint_alone() {
    let bench = used(FIRST);
    bench.put(0x0111_4028, 0x0121_0007);
    bench.put(0x0111_2000, 0x0111_4007);
    bench.command([0x0000_0001_0005_0036, 0x5040]);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000));
    bench.command([0x0000_0001_0005_0036, 0x5000]);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0121_0000));
    bench.model.audit(true);
    bench.clean();
}

#[test]
fn second_stage_translations_are_forgotten_by_domain() {
    for (words, helps) in [
        (ALL_OF_1, false),
        ([0x0000_0001_0005_0036, 0x5000], false),
        ([0x0005_0032, 0x5000], true),
        (DOMAIN, true),
    ] {
        let bench = used(SECOND);
        bench.put(0x0110_3028, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x5000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn identity_of_scalable_mode_is_forgotten_by_pasid() {
    for (words, helps) in [(DOMAIN, false), (ALL_OF_1, true)] {
        let bench = used([0x101, 5, 0]);
        bench.pasid(1, FIRST);
        bench.command(PASID_1);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x5000) == Some(0x0120_0000), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn pasids_of_one_domain_share_a_second_stage_and_not_a_first() {
    let bench = used(SECOND);
    bench.pasid(2, SECOND);
    assert_eq!(bench.read_as(2, 0x5000), Some(0x0120_0000));
    bench.put(0x0110_3028, 0);
    assert_eq!(bench.read_as(2, 0x5000), Some(0x0120_0000), "PASID 1's translation");
    let bench = used(FIRST);
    bench.pasid(2, FIRST);
    bench.put(0x0111_3028, 0);
    assert_eq!(bench.read_as(2, 0x5000), None);
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000));
    // Another source with the same PASID, domain and table shares them.
    bench.put(CONTEXT + 0x200, 0x0106_001d);
    assert_eq!(reached(bench.request(SourceId(0x10), Some(1), 0x5000, Access::Read)), Some(0x0120_0000));
    bench.model.audit(false);
    bench.memory.violations().assert_none();
    // With another table it must not have the same domain.
    bench.put(CONTEXT + 0x300, 0x0108_001d);
    bench.put(0x0108_0000, 0x0109_0001);
    bench.put(0x0109_0040, 0x41);
    bench.put(0x0109_0048, 0x0080_0005);
    bench.put(0x0109_0050, 0x0112_0033);
    bench.request(SourceId(0x18), Some(1), 0x5000, Access::Read);
    bench.model.audit(false);
    bench.violated(&["VT-d 6.2.1"]);
}

#[test]
fn translations_come_back_through_a_pasid_entry_that_is_invalidated_too_late() {
    for (commands, gone) in [([ALL_OF_1, PASID_1], false), ([PASID_1, ALL_OF_1], true)] {
        let bench = used(FIRST);
        bench.pasid(1, [0x41, 0x0080_0005, 0x0112_0033]);
        commands.into_iter().for_each(|words| bench.command(words));
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x5000).is_none(), gone);
        bench.memory.violations().assert_none();
    }
}

#[test]
fn caching_mode_keeps_absent_pasid_entries_under_domain_zero() {
    let bench = Bench::scalable(VtdConfig { caching_mode: true, ..VtdConfig::default() });
    first_levels(&bench);
    assert_eq!(bench.read_as(1, 0x5000), None);
    bench.pasid(1, FIRST);
    bench.command(PASID_1);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), None);
    bench.command([0x0000_0001_0000_0017, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000));
    // And pages that are not there.
    assert_eq!(bench.read_as(1, 0x6000), None);
    bench.put(0x0111_3030, 0x0121_0007);
    assert_eq!(bench.read_as(1, 0x6000), None);
    bench.command([0x0000_0001_0005_0036, 0x6000]);
    assert!(bench.wait());
    assert_eq!(bench.read_as(1, 0x6000), Some(0x0121_0000));
    bench.memory.violations().assert_none();
}

#[test]
fn registers_do_not_invalidate_in_scalable_mode() {
    let bench = Bench::scalable(VtdConfig::default());
    bench.model.write32(0x18, 0x8000_0000);
    bench.model.write64(0x28, 0xa000_0000_0000_0000);
    bench.violated(&["VT-d 6.5.1"]);
}

#[test]
fn garbage_of_pasid_cache_and_first_stage() {
    let bench = Bench::scalable(VtdConfig::default());
    first_levels(&bench);
    bench.pasid(1, FIRST);
    bench.model.poison();
    for (words, section) in
        [([0x11, 0], true), (PASID_1, true), (ALL_PASIDS, true), (DOMAIN, true), (ALL_OF_1, false)]
    {
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read_as(1, 0x5000) != Some(0x0120_0000), section, "{words:#x?}");
        assert_eq!(!bench.memory.violations().take().is_empty(), section);
    }
    // Taking over a root cleans everything where the unit says so.
    let bench = Bench::scalable(VtdConfig { root_invalidates: true, ..VtdConfig::default() });
    first_levels(&bench);
    bench.pasid(1, FIRST);
    bench.model.poison();
    bench.model.write32(0x18, 0xc400_0000);
    assert_eq!(bench.read_as(1, 0x5000), Some(0x0120_0000));
    bench.clean();
}
