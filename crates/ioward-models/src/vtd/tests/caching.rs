//! What the unit remembers, and which invalidation makes it forget.

use super::bench::*;
use crate::{Access, vtd::VtdConfig};
use ioward_types::{Frames, Mmio, PhysAddr, SourceId};

/// Page 0x5000 of domain 5.
const PAGE: [u64; 2] = [0x0005_0032, 0x5000];
const DOMAIN: [u64; 2] = [0x0005_0022, 0];
const GLOBAL: [u64; 2] = [0x12, 0];
/// The context entry of the device, which is in domain 5.
const CONTEXT_ENTRY: [u64; 2] = [0x0000_0008_0005_0031, 0];

fn used() -> Bench {
    let bench = mapped();
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench
}

#[test]
fn an_unmapped_page_stays_reachable_until_a_wait_completes() {
    let bench = used();
    bench.put(0x0110_3028, 0);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "stale");
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "a wait alone forgets nothing");
    bench.model.audit(true);
    bench.violated(&["VT-d 6.5.2.3"]);
    bench.command(PAGE);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "issued is not completed");
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None);
    bench.model.audit(true);
    bench.memory.violations().assert_none();
}

#[test]
fn an_eager_unit_forgets_at_once() {
    let bench = Bench::legacy(VtdConfig { lazy: false, ..VtdConfig::legacy() });
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_3028, 0);
    bench.command(PAGE);
    assert_eq!(bench.read(0x5000), None);
}

#[test]
fn eviction_may_hide_a_missing_invalidation() {
    let bench = used();
    bench.put(0x0110_3028, 0);
    bench.model.evict();
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn only_the_right_invalidation_drops_a_translation() {
    for (words, helps) in [
        ([0x0006_0022, 0], false),      // another domain
        ([0x0006_0032, 0x5000], false), // the page of another domain
        ([0x0005_0032, 0x6000], false), // another page
        ([0x0005_0032, 0x4001], true),  // two pages at 0x4000
        ([0x0005_0032, 0x5001], true),  // the same: low bits do not count
        ([0x0005_0032, 0x6001], false), // two pages at 0x6000
        ([0x0005_0032, 0x0009], true),  // 2 MiB
        ([0x0005_0032, 0x5040], true),  // leaves alone
        ([0x11, 0], false),             // all context entries
        (CONTEXT_ENTRY, false),
        ([0x0000_0000_0000_0004, 0], false), // interrupt entries
        (PAGE, true),
        (DOMAIN, true),
        (GLOBAL, true),
    ] {
        let bench = used();
        bench.put(0x0110_3028, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read(0x5000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn the_way_to_a_page_is_forgotten_without_the_hint_alone() {
    let bench = used();
    // The last table is replaced; its old contents stay in memory.
    bench.put(0x0110_4028, 0x0121_0003);
    bench.put(0x0110_2000, 0x0110_4003);
    bench.command([0x0005_0032, 0x5040]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "through the old link");
    bench.model.audit(true);
    bench.violated(&["VT-d 6.5.2.3"]);
    // Nor does a page in other tables.
    bench.command([0x0005_0032, 0x4000_0000]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.command(PAGE);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0121_0000));
    bench.model.audit(true);
    bench.memory.violations().assert_none();
}

#[test]
fn context_entries_are_forgotten_on_their_own_command() {
    for (words, helps) in [
        ([0x0000_0008_0006_0031, 0], false), // the device in another domain
        ([0x0000_0009_0005_0031, 0], false), // another function
        ([0x0003_0009_0005_0031, 0], true),  // any function of it
        ([0x0001_0009_0005_0031, 0], false), // functions 1 and 5
        ([0x0001_000c_0005_0031, 0], true),  // functions 4 and 0
        ([0x0006_0021, 0], false),           // domain 6
        ([0x0005_0021, 0], true),            // domain 5
        (GLOBAL, false),
        (DOMAIN, false),
        ([0x11, 0], true),
        (CONTEXT_ENTRY, true),
    ] {
        let bench = used();
        bench.context([0, 0]);
        bench.command(words);
        assert!(bench.wait());
        bench.model.audit(true);
        let found = bench.memory.violations().take();
        assert_eq!(found.is_empty(), helps, "{words:#x?} {found:?}");
        assert_eq!(bench.read(0x5000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn a_domain_id_is_reused_only_after_its_translations_are_gone() {
    let bench = used();
    // Domain 5 gets other tables.
    bench.put(0x0112_0000, 0x0112_1003);
    bench.put(0x0112_1000, 0x0112_2003);
    bench.put(0x0112_2000, 0x0112_3003);
    bench.put(0x0112_3028, 0x0130_0003);
    bench.context([0x0112_0001, 0x502]);
    bench.command(CONTEXT_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "by its domain ID");
    bench.command(DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0130_0000));
    bench.clean();
}

#[test]
fn translations_come_back_through_a_context_entry_that_is_invalidated_too_late() {
    let bench = used();
    bench.context([0x0112_0001, 0x502]);
    bench.command(DOMAIN);
    bench.command(CONTEXT_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "wrong order");
    let bench = used();
    bench.context([0x0112_0001, 0x502]);
    bench.command(CONTEXT_ENTRY);
    bench.command(DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn identity_is_cached_like_anything_else() {
    let bench = mapped();
    bench.context([0x9, 0x502]);
    assert_eq!(bench.read(0x5000), Some(0x5000));
    bench.context([0x0110_0001, 0x502]);
    bench.command(CONTEXT_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x5000));
    bench.command(DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn taking_over_a_root_forgets_nothing_unless_the_unit_says_so() {
    for (says, reaches) in [(false, true), (true, false)] {
        let bench = Bench::legacy(VtdConfig { root_invalidates: says, ..VtdConfig::legacy() });
        four_levels(&bench);
        bench.context([0x0110_0001, 0x502]);
        assert_eq!(bench.read(0x5000), Some(0x0120_0000));
        bench.model.write64(0x20, 0x0108_0000);
        bench.model.write32(0x18, 0xc400_0000);
        assert_eq!(bench.read(0x5000).is_some(), reaches);
        bench.memory.violations().assert_none();
    }
}

#[test]
fn caching_mode_keeps_what_is_not_there() {
    for (caching_mode, helps) in [(false, true), (true, false)] {
        let bench = Bench::legacy(VtdConfig { caching_mode, ..VtdConfig::legacy() });
        four_levels(&bench);
        bench.context([0x0110_0001, 0x502]);
        assert_eq!(bench.read(0x6000), None);
        bench.put(0x0110_3030, 0x0121_0003);
        assert_eq!(bench.read(0x6000).is_some(), helps);
        bench.command([0x0005_0032, 0x7000]);
        assert!(bench.wait());
        assert_eq!(bench.read(0x6000).is_some(), helps, "another page");
        bench.command([0x0005_0032, 0x6040]);
        assert!(bench.wait());
        assert_eq!(bench.read(0x6000), Some(0x0121_0000));
        bench.memory.violations().assert_none();
    }
}

#[test]
fn caching_mode_keeps_absent_context_entries_under_domain_zero() {
    let config = VtdConfig { caching_mode: true, ..VtdConfig::legacy() };
    let bench = Bench::legacy(config);
    four_levels(&bench);
    assert_eq!(bench.read(0x5000), None);
    bench.context([0x0110_0001, 0x502]);
    assert_eq!(bench.read(0x5000), None);
    bench.model.audit(true);
    bench.violated(&["VT-d 6.5.2.1"]);
    bench.command(CONTEXT_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None, "it is not tagged 5");
    bench.command([0x0000_0008_0000_0031, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.memory.violations().assert_none();
    // Which is why software keeps off domain 0.
    bench.put(CONTEXT + 0x100, 0x0110_0001);
    bench.put(CONTEXT + 0x108, 0x002);
    bench.request(SourceId(0x10), None, 0x5000, Access::Read);
    bench.violated(&["VT-d 6.1"]);
}

#[test]
fn equal_domains_mean_equal_tables() {
    let bench = used();
    bench.put(CONTEXT + 0x100, 0x0110_0001);
    bench.put(CONTEXT + 0x108, 0x502);
    assert_eq!(reached(bench.request(SourceId(0x10), None, 0x5000, Access::Read)), Some(0x0120_0000));
    bench.model.audit(true);
    bench.clean();
    bench.put(CONTEXT + 0x180, 0x0112_0001);
    bench.put(CONTEXT + 0x188, 0x502);
    bench.request(SourceId(0x18), None, 0x5000, Access::Read);
    bench.model.audit(true);
    bench.violated(&["VT-d 6.2.1"]);
}

#[test]
fn garbage_is_used_until_it_is_invalidated() {
    let bench = mapped();
    bench.model.poison();
    assert_ne!(bench.read(0x5000), Some(0x0120_0000));
    bench.violated(&["VT-d 6.6"]);
    bench.command(CONTEXT_ENTRY);
    assert!(bench.wait());
    assert_ne!(bench.read(0x5000), Some(0x0120_0000), "nobody knows its domain");
    bench.violated(&["VT-d 6.6"]);
    bench.command([0x11, 0]);
    assert!(bench.wait());
    assert_ne!(bench.read(0x5000), Some(0x0120_0000));
    bench.violated(&["VT-d 6.6"]);
    bench.command(DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn a_table_freed_while_its_entries_are_cached() {
    let bench = mapped();
    let table = Frames::new(&bench.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
    bench.put(table.phys().0 + 0x28, 0x0120_0003);
    bench.put(0x0110_2000, table.phys().0 | 3);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_2000, 0);
    // SAFETY: the only hardware is the model, which is to notice.
    unsafe { table.free() };
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.violated(&["VT-d 6.5.3.3"]);
}

#[test]
fn an_incoherent_unit_sees_cleaned_lines() {
    let config = VtdConfig { coherent: false, ..VtdConfig::legacy() };
    let bench = Bench::off(config);
    bench.memory.set_incoherent(true);
    let frames = Frames::new(&bench.platform, 0x6000, 4096, PhysAddr(u64::MAX)).unwrap();
    frames.clean(0, 0x6000);
    let base = frames.phys().0;
    // Root, context, and a table of four levels.
    frames.store64(0, base + 0x1000 + 1);
    frames.store64(0x1080, base + 0x2000 + 1);
    frames.store64(0x1088, 0x502);
    for level in 2..5 {
        frames.store64(level * 0x1000, base + (level as u64 + 1) * 0x1000 + 3);
    }
    frames.clean(0, 0x6000);
    frames.store64(0x5028, 0x0120_0003);
    bench.model.write64(0x20, base);
    bench.model.write32(0x18, 0x4000_0000);
    bench.model.write32(0x18, 0x8000_0000);
    assert_eq!(bench.read(0x5000), None, "stored and not cleaned");
    frames.clean(0x5028, 8);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.memory.violations().assert_none();
}

#[test]
fn write_buffers_hold_stores_back_until_they_are_flushed() {
    for flush in [0, 1, 2] {
        let bench = Bench::off(VtdConfig { write_buffer: true, ..VtdConfig::legacy() });
        let frames = Frames::new(&bench.platform, 0x6000, 4096, PhysAddr(u64::MAX)).unwrap();
        let base = frames.phys().0;
        frames.store64(0, base + 0x1000 + 1);
        frames.store64(0x1080, base + 0x2000 + 1);
        frames.store64(0x1088, 0x502);
        for level in 2..5 {
            frames.store64(level * 0x1000, base + (level as u64 + 1) * 0x1000 + 3);
        }
        bench.model.write64(0x90, QUEUE);
        bench.model.write32(0x18, 0x0400_0000);
        bench.model.write64(0x20, base);
        bench.model.write32(0x18, 0x4400_0000);
        bench.model.write32(0x18, 0x8400_0000);
        bench.model.write32(0x18, 0x8c00_0000);
        frames.store64(0x5028, 0x0120_0003);
        assert_eq!(bench.read(0x5000), None, "the store is in a buffer");
        match flush {
            0 => bench.model.write32(0x18, 0x8c00_0000),
            // An invalidation flushes by itself, whatever it invalidates.
            1 => bench.command([0x0007_0022, 0]),
            _ => {}
        }
        assert_eq!(bench.read(0x5000).is_some(), flush < 2);
        bench.memory.violations().assert_none();
    }
}

#[test]
fn bits_that_are_softwares_own_may_change() {
    let bench = used();
    bench.context([0x0110_0001, 0x57a]);
    bench.put(0x0110_3028, 0xbff0_0000_0120_0403);
    bench.put(0x0110_2000, 0x0010_0000_0110_3403);
    bench.model.audit(true);
    bench.clean();
}
