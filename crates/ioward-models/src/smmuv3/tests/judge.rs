use super::rig::{BYTES, CD, CDS, DATA, MAIR, PAGE, Rig, STE_S1, STE_WORD1, STREAMS, TABLES};
use crate::{Access, Outcome, SimPlatform, smmuv3::Features};
use ioward_types::{Mmio, PhysAddr, Platform};

const CFGI_STE_5: [u64; 2] = [0x0000_0005_0000_0003, 1];
const CFGI_CD_5: [u64; 2] = [0x0000_0005_0000_0005, 1];

#[test]
fn an_entry_changes_one_word_at_a_time() {
    // From abort to stage 1: words that abort does not use, then word 0.
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[1, 0]);
    assert_eq!(rig.goes(0x1000), None);
    rig.put(STREAMS + 5 * 64, &[1, STE_WORD1]);
    rig.synced(CFGI_STE_5);
    rig.put(STREAMS + 5 * 64, &[STE_S1]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    // And back.
    rig.put(STREAMS + 5 * 64, &[1]);
    rig.synced(CFGI_STE_5);
    rig.put(STREAMS + 5 * 64, &[1, 0]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.sections(), Vec::<&str>::new());
    // At once.
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.3"]);
    // From V = 0 at once: word 0 may be read after word 1, or before.
    rig.put(STREAMS + 5 * 64, &[0, STE_WORD1]);
    rig.synced(CFGI_STE_5);
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1 | 1 << 19]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.sections(), Vec::<&str>::new(), "MEV may differ");
    rig.put(STREAMS + 5 * 64, &[0, 0]);
    rig.synced(CFGI_STE_5);
    rig.sections();
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.3"]);
}

#[test]
fn a_descriptor_changes_one_word_at_a_time_while_it_is_reachable() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(CDS, &[CD ^ 1 << 48]);
    rig.synced(CFGI_CD_5);
    assert_eq!(rig.sections(), Vec::<&str>::new(), "the ASID alone");
    rig.put(CDS, &[CD, TABLES + 0x8000]);
    rig.synced(CFGI_CD_5);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.3"]);
    // Out of reach it may change at will.
    rig.put(STREAMS + 5 * 64, &[1]);
    rig.synced(CFGI_STE_5);
    rig.put(CDS, &[CD ^ 1 << 48, TABLES]);
    rig.put(STREAMS + 5 * 64, &[STE_S1]);
    rig.synced(CFGI_STE_5);
    assert_eq!(rig.sections(), Vec::<&str>::new());
}

#[test]
fn one_asid_is_one_table() {
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 6 * 64, &[STE_S1 + 0x1000, STE_WORD1]);
    rig.put(CDS + 0x1000, &[CD, TABLES, 0, MAIR]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    assert!(matches!(rig.access(6, None, 0x1000, Access::Read), Outcome::To { .. }));
    assert_eq!(rig.sections(), Vec::<&str>::new(), "the same table");
    rig.put(CDS + 0x1000, &[CD, TABLES + 0x8000, 0, MAIR]);
    rig.synced([0x0000_0006_0000_0005, 1]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.4.1"]);
}

#[test]
fn one_vmid_is_one_table() {
    let rig = Rig::enabled(Features::default());
    for (stream, root) in [(5, 0x8005_0000), (6, 0x8005_0000), (7, 0x8006_0000)] {
        rig.put(STREAMS + stream * 64, &[0xd, STE_WORD1, 0x040d_3558_0000_0009, root]);
    }
    rig.goes(0);
    rig.access(6, None, 0, Access::Read);
    assert_eq!(rig.sections(), Vec::<&str>::new());
    rig.access(7, None, 0, Access::Read);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.2.1"; 2], "against both");
}

#[test]
fn the_smmu_forgets_before_the_device_does() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    rig.command([0x0007_0000_0000_0012, 0x1001]);
    rig.synced([0x0000_0005_0000_0040, 0x1000]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 4.5.1"]);
    rig.synced([0x0007_0000_0000_0012, 0x1001]);
    rig.synced([0x0000_0005_0000_0040, 0x1000]);
    assert_eq!(rig.sections(), Vec::<&str>::new());
}

#[test]
fn an_invalidation_before_the_store_invalidates_nothing() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.synced([0x0007_0000_0000_0012, 0x1001]);
    rig.put(0x8004_3008, &[0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "hardware had looked ahead again");
}

#[test]
fn a_translation_is_broken_before_it_is_made() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_2000, &[0x0060_0000_0000_0f41 | 0x8020_0000]);
    rig.command([0x0007_0000_0000_0012, 0x5000]);
    rig.command([0x46, 0]);
    assert_eq!(rig.goes(0x5000), Some(0x8020_5000), "a block over a page that is still cached");
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.1.1"]);
    // The same translation in another size is a matter of IDR3.BBML.
    for (level, sections) in [(2, vec![]), (0, vec!["IHI 0070 G.b 3.21.1.1"])] {
        let rig = Rig::stage1(Features { break_before_make: level, ..Features::default() });
        rig.put(0x8004_3000, &[0, PAGE | 0x8020_1000]);
        assert_eq!(rig.goes(0x1000), Some(0x8020_1000));
        rig.put(0x8004_2000, &[0x0060_0000_0000_0f41 | 0x8020_0000]);
        rig.synced([0x0007_0000_0000_0012, 0x5000]);
        assert_eq!(rig.goes(0x5000), Some(0x8020_5000));
        assert_eq!(rig.sections(), sections);
    }
}

#[test]
fn garbage_from_before_reset_is_hit_until_it_is_invalidated() {
    let enable = |commands: &[[u64; 2]]| {
        let rig = Rig::stage1(Features::default());
        rig.smmu.preset(0x20, 0xc);
        rig.smmu.poison();
        for (at, value) in [(0x28, 0xd75), (0x80, STREAMS), (0x88, 4), (0x90, super::rig::CMDQ | 4)] {
            rig.smmu.preset(at, value);
        }
        for (at, value) in [(0x98, 0), (0x9c, 0), (0xa0, super::rig::EVENTQ | 3), (0x100a8, 0), (0x100ac, 0)]
        {
            rig.smmu.preset(at, value);
        }
        commands.iter().for_each(|words| rig.synced(*words));
        rig.smmu.write32(0x20, 0xd);
        while rig.smmu.read32(0x24) != 0xd {}
        let to = rig.goes(0x1000);
        (to, rig.sections())
    };
    let missing = vec!["IHI 0070 G.b 6.3.9.6"];
    assert_eq!(enable(&[]), (Some(0x1000), missing.clone()), "a stale STE that bypasses");
    assert_eq!(enable(&[[0x4, 31]]), (Some(0x1000), missing.clone()), "a stale translation");
    assert_eq!(enable(&[[0x30, 0]]), (Some(0x1000), missing));
    assert_eq!(enable(&[[0x4, 31], [0x30, 0]]), (Some(DATA), vec![]));
    assert_eq!(enable(&[[0x4, 31], [0x10, 0]]), (Some(DATA), vec![]), "NH_ALL of VMID 0");
}

#[test]
fn garbage_in_the_queues_registers_is_noticed() {
    let rig = Rig::new(Features::default());
    rig.smmu.poison();
    rig.smmu.write64(0x90, super::rig::CMDQ | 4);
    rig.smmu.write32(0x98, 0);
    rig.smmu.write32(0x20, 8);
    while rig.smmu.read32(0x24) != 8 {}
    assert!(rig.sections().contains(&"IHI 0070 G.b 6.3.26"), "CMDQ_CONS was left as it was");
}

#[test]
fn misaligned_tables_and_queues_are_reported() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.preset(0x20, 0);
    rig.smmu.preset(0x80, STREAMS + 0x40);
    rig.smmu.preset(0x90, CDS | 0x20 | 4);
    rig.smmu.write32(0x20, 0x9);
    while rig.smmu.read32(0x24) != 0x9 {}
    assert_eq!(rig.sections(), ["IHI 0070 G.b 6.3.24", "IHI 0070 G.b 6.3.26"]);
    let rig = Rig::stage1(Features::default());
    rig.put(CDS + 8, &[TABLES + 0x40]);
    rig.goes(0x1000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.4 TTB0, 5.2 S2TTB"]);
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 2 << 59 | 0x40, STE_WORD1]);
    rig.goes(0x1000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.2 S1Fmt"]);
}

#[test]
fn commands_out_of_order_or_range_are_reported() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.set_hung(true);
    rig.command([0x46, 0]);
    rig.smmu.write32(0x98, 0);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.2"], "backwards");
    rig.smmu.set_hung(false);
    rig.smmu.write32(0x98, 1 + 17);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.2"], "more than fit");
    rig.smmu.write32(0x98, 1);
    rig.command([0x0001_0000_0000_0003, 1]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 4.1.7"], "a stream that cannot be");
    rig.command([0x0000_0005_8000_0005, 1]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 4.1.7"], "a substream that cannot be");
    rig.command([0x0007_0000_0000_1012, 0x1601]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 4.4.1.1"], "a hint of level 2 for an address within a block");
    let rig = Rig::enabled(Features { asid16: false, vmid16: false, ..Features::default() });
    rig.command([0x0107_0000_0000_0011, 0]);
    rig.command([0x0000_0107_0000_0010, 0]);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 4.4"; 2]);
}

#[test]
fn a_table_is_not_freed_while_a_walk_may_go_on_from_it() {
    let rig = Rig::enabled(Features::default());
    // Memory of its own, so that some of it can be freed.
    let memory = rig.memory.clone();
    let platform = SimPlatform::new(memory.clone());
    // SAFETY: the rig's frames are only reached through the calls below.
    unsafe { platform.free(PhysAddr(STREAMS), BYTES as usize) };
    let streams = platform.frames(0x1000, 0x1000, PhysAddr(u64::MAX)).unwrap().0;
    let cds = platform.frames(0x1000, 0x1000, PhysAddr(u64::MAX)).unwrap().0;
    let tables: Vec<u64> =
        (0..4).map(|_| platform.frames(0x1000, 0x1000, PhysAddr(u64::MAX)).unwrap().0).collect();
    rig.smmu.preset(0x80, streams);
    rig.put(streams + 5 * 64, &[cds | 0xb, STE_WORD1]);
    rig.put(cds, &[CD, tables[0], 0, MAIR]);
    for level in 0..3 {
        rig.put(tables[level], &[tables[level + 1] | 3]);
    }
    rig.put(tables[3], &[PAGE | cds]);
    assert!(rig.goes(0).is_some());
    rig.smmu.audit();
    assert_eq!(rig.sections(), Vec::<&str>::new());
    rig.put(tables[2], &[0]);
    // SAFETY: the model is what is to notice.
    unsafe { platform.free(PhysAddr(tables[3]), 0x1000) };
    rig.smmu.audit();
    assert_eq!(rig.sections(), ["IHI 0070 G.b 3.21.1"]);
    rig.command([0x46, 0]);
    assert!(rig.sections().contains(&"IHI 0070 G.b 3.21.1"), "every CMD_SYNC looks too");
}

#[test]
fn reserved_bits_are_zero() {
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 1 << 57, STE_WORD1]);
    rig.goes(0x1000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.2"]);
    let rig = Rig::stage1(Features::default());
    rig.put(CDS + 56, &[1]);
    rig.goes(0x1000);
    assert_eq!(rig.sections(), ["IHI 0070 G.b 5.4"]);
    let rig = Rig::stage1(Features::default());
    rig.put(CDS + 24, &[0x10]);
    rig.goes(0x1000);
    assert_eq!(rig.sections(), ["DDI 0487 D24.2 MAIR_EL1"], "attribute 0x10 is no memory type");
}

#[test]
fn what_is_evicted_is_read_again() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    assert_eq!((rig.goes(0x1000), rig.smmu.cached_leaves()), (Some(DATA), 1));
    rig.smmu.evict();
    assert_eq!((rig.goes(0x1000), rig.smmu.cached_leaves()), (None, 0));
}
