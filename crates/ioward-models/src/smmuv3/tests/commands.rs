use super::rig::{CD, CDS, DATA, PAGE, Rig, STE_S1, STE_WORD1, STREAMS};
use crate::{
    Access, Outcome,
    smmuv3::{Features, Signal},
};
use ioward_types::{Mmio, PhysAddr, SourceId};
use std::sync::Arc;

/// Another page for 0x1000, which only shows once the old one is forgotten.
const OTHER: u64 = PAGE | (DATA + 0x5000);

#[test]
fn nothing_is_forgotten_before_a_sync() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[OTHER]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "no command");
    rig.command([0x0007_0000_0000_0012, 0x1001]);
    assert_eq!(rig.smmu.read32(0x9c), 1, "consumed");
    assert_eq!(rig.goes(0x1000), Some(DATA), "not completed");
    rig.command([0x46, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x5000));
}

#[test]
fn each_invalidation_reaches_what_it_names_and_no_more() {
    // (command, whether 0x1000 of ASID 7, VMID 0 is forgotten)
    for (words, forgets) in [
        ([0x0007_0000_0000_0012, 0x1001], true),  // NH_VA, Leaf
        ([0x0007_0000_0000_0012, 0x1000], true),  // NH_VA
        ([0x0007_0000_0000_0012, 0x2001], false), // another address
        ([0x0008_0000_0000_0012, 0x1001], false), // another ASID
        ([0x0007_0001_0000_0012, 0x1001], false), // another VMID
        ([0x0000_0000_0000_0013, 0x1001], true),  // NH_VAA
        ([0x0007_0000_0000_0011, 0], true),       // NH_ASID
        ([0x0008_0000_0000_0011, 0], false),      // another ASID
        ([0x0000_0000_0000_0010, 0], true),       // NH_ALL
        ([0x0000_0001_0000_0010, 0], false),      // another VMID
        ([0x0000_0000_0000_0028, 0], true),       // S12_VMALL
        ([0x0000_0000_0000_0030, 0], true),       // NSNH_ALL
        ([0x0000_0000_0000_002a, 0x1001], false), // S2_IPA
        ([0x0000_0005_0000_0003, 1], false),      // CFGI_STE
        ([0x0000_0000_0000_0004, 31], false),     // CFGI_ALL
        // Ranges: TG 4KB, NUM 0..2 pages from 0, TTL 3 and 2, other granules.
        ([0x0007_0000_0000_1012, 0x0401], true),
        ([0x0007_0000_0000_1012, 0x2401], false),
        ([0x0007_0000_0010_0012, 0x0401], true),  // SCALE 1
        ([0x0007_0000_0000_0012, 0x1701], true),  // TTL 3
        ([0x0007_0000_0000_1012, 0x0601], false), // TTL 2
        ([0x0007_0000_0000_1012, 0x0801], false), // TG 16KB
        ([0x0007_0000_0000_1012, 0x0c01], false), // TG 64KB
    ] {
        let rig = Rig::stage1(Features::default());
        assert_eq!(rig.goes(0x1000), Some(DATA));
        rig.put(0x8004_3008, &[OTHER]);
        rig.synced(words);
        assert_eq!(rig.goes(0x1000), Some(if forgets { DATA + 0x5000 } else { DATA }), "{words:#x?}");
    }
}

#[test]
fn leaf_invalidations_leave_table_pointers() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    // Another level 3 table.
    rig.put(0x8004_2000, &[0x8004_5003]);
    rig.put(0x8004_5008, &[OTHER]);
    rig.synced([0x0007_0000_0000_0012, 0x1001]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "the old table is still walked");
    rig.synced([0x0007_0000_0000_0012, 0x1000]);
    assert_eq!(rig.goes(0x1000), Some(DATA + 0x5000));
}

#[test]
fn global_entries_belong_to_no_asid() {
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_3008, &[(PAGE | DATA) & !0x800]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    rig.synced([0x0007_0000_0000_0011, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "NH_ASID is for non-global entries");
    rig.synced([0x0008_0000_0000_0012, 0x1001]);
    assert_eq!(rig.goes(0x1000), None, "NH_VA takes global entries whatever its ASID");
}

#[test]
fn an_address_in_a_block_takes_the_block() {
    let rig = Rig::stage1(Features::default());
    rig.put(0x8004_2008, &[0x0060_0000_0000_0f41 | 0x8020_0000]);
    assert_eq!(rig.goes(0x20_0000), Some(0x8020_0000));
    rig.put(0x8004_2008, &[0]);
    rig.synced([0x0007_0000_0000_0012, 0x3f_f001]);
    assert_eq!(rig.goes(0x20_0000), None);
}

#[test]
fn structures_stay_until_they_are_named() {
    // (command, stage 1 entry forgotten, CD forgotten)
    for (words, ste, cd) in [
        ([0x0000_0005_0000_0003, 1], true, true),   // CFGI_STE
        ([0x0000_0006_0000_0003, 1], false, false), // another stream
        ([0x0000_0004_0000_0004, 1], true, true),   // CFGI_STE_RANGE of 4 to 7
        ([0x0000_0004_0000_0004, 0], true, true),   // of 4 and 5
        ([0x0000_0006_0000_0004, 0], false, false), // of 6 and 7
        ([0x0000_0000_0000_0004, 31], true, true),  // CFGI_ALL
        ([0x0000_0005_0000_0005, 1], false, true),  // CFGI_CD
        ([0x0000_0005_0000_1005, 1], false, false), // another substream
        ([0x0000_0005_0000_0006, 0], false, true),  // CFGI_CD_ALL
        ([0x0007_0000_0000_0011, 0], false, false), // a TLBI
    ] {
        let rig = Rig::stage1(Features::default());
        assert_eq!(rig.goes(0x1000), Some(DATA));
        rig.put(STREAMS + 5 * 64, &[1]);
        rig.synced(words);
        assert_eq!(rig.goes(0x1000).is_none(), ste, "STE: {words:#x?}");
        let rig = Rig::stage1(Features::default());
        assert_eq!(rig.goes(0x1000), Some(DATA));
        rig.put(CDS, &[CD & !(1 << 31)]);
        rig.synced(words);
        assert_eq!(rig.goes(0x1000).is_none(), cd, "CD: {words:#x?}");
    }
}

#[test]
fn invalid_structures_are_cached_too() {
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[0]);
    assert_eq!(rig.goes(0x1000), None);
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1]);
    assert_eq!(rig.goes(0x1000), None, "3.21.3: cached in any state");
    rig.synced([0x0000_0005_0000_0003, 1]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    // A stream that made no request, but is known to be there.
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[0]);
    rig.smmu.watch(SourceId(5), None);
    rig.put(STREAMS + 5 * 64, &[STE_S1]);
    assert_eq!(rig.goes(0x1000), None);
}

#[test]
fn a_level_1_cd_stays_for_leaf_invalidations() {
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1 | 7 << 59 | 1 << 4, STE_WORD1]);
    rig.put(CDS, &[0; 4]);
    assert_eq!(rig.access(5, Some(0x41), 0x1000, Access::Read), Outcome::Aborted);
    rig.put(0x8009_0000 + 64, &[CD, 0x8004_0000, 0, 0x0044_04ff]);
    rig.put(CDS + 8, &[0x8009_0001]);
    rig.synced([0x0000_0005_0004_1005, 1]);
    assert_eq!(rig.access(5, Some(0x41), 0x1000, Access::Read), Outcome::Aborted, "Leaf = 1");
    rig.synced([0x0000_0005_0004_1005, 0]);
    assert!(matches!(rig.access(5, Some(0x41), 0x1000, Access::Read), Outcome::To { .. }));
}

#[test]
fn illegal_commands_stop_the_queue_until_acknowledged() {
    for words in [
        [0x00, 0],                       // Reserved
        [0x29, 0],                       // Reserved
        [0x18, 0],                       // EL3, Secure only
        [0x60, 0],                       // Secure only
        [0x44, 0],                       // RESUME without stalls
        [0x45, 0],                       // STALL_TERM without stalls
        [0x0000_0005_0000_0403, 0],      // SSec
        [0x0000_0005_0000_0003, 2],      // a Reserved bit
        [0x0007_0000_0000_0012, 0x1401], // TG without range or hint
        [0x0007_0000_0000_1012, 0x1001], // NUM without TG
        [0x0000_0005_0000_0040, 0x35],   // ATC_INV with Size 53
        [0x0000_0005_0000_0041, 0x3000], // PRI_RESP Reserved
        [0x3046, 0],                     // SYNC with a Reserved signal
    ] {
        let rig = Rig::enabled(Features::default());
        rig.command([0x30, 0]);
        rig.command(words);
        rig.command([0x46, 0]);
        assert_eq!(rig.smmu.read32(0x9c), 0x0100_0001, "{words:#x?}: CERROR_ILL, RD at the command");
        assert_eq!(rig.smmu.read32(0x60), 1);
        rig.put(super::rig::CMDQ + 16, &[0x46, 0]);
        rig.smmu.write32(0x64, 1);
        assert_eq!(rig.smmu.read32(0x9c) & 0xf_ffff, 3, "goes on with what is there now");
    }
    for (features, words) in [
        (Features { stage1: false, ..Features::default() }, [0x10, 0]),
        (Features { stage1: false, ..Features::default() }, [0x0000_0005_0000_0005, 0]),
        (Features { stage2: false, ..Features::default() }, [0x28, 0]),
        (Features { stage2: false, ..Features::default() }, [0x2a, 0]),
        (Features { ats: false, ..Features::default() }, [0x0000_0005_0000_0040, 0]),
        (Features { pri: false, ..Features::default() }, [0x0000_0005_0000_0041, 0x2000]),
        (Features { range_invalidation: false, ..Features::default() }, [0x0007_0000_0000_1012, 0x0401]),
        (Features { msi: false, ..Features::default() }, [0x0000_0001_0000_1046, 0x8000_8000]),
    ] {
        let rig = Rig::enabled(features);
        rig.command(words);
        assert_eq!(rig.smmu.read32(0x9c), 0x0100_0000, "{words:#x?}");
    }
    let rig = Rig::enabled(Features::default());
    rig.smmu.preset(0x90, 0x4000_0004);
    rig.smmu.write32(0x98, 1);
    assert_eq!(rig.smmu.read32(0x9c), 0x0200_0000, "CERROR_ABT");
}

#[test]
fn a_sync_signals_as_it_is_told() {
    let rig = Rig::enabled(Features::default());
    rig.command([0x46, 0]);
    assert_eq!(rig.smmu.take_signals(), []);
    rig.command([0x2046, 0]);
    assert_eq!(rig.smmu.take_signals(), [Signal::WakeUp]);
    rig.command([0x1046, 0]);
    assert_eq!(rig.smmu.take_signals(), [Signal::Sync]);
    rig.command([0x1234_5678_0fc0_1046, 0x8000_8004]);
    assert_eq!(rig.smmu.take_signals(), [Signal::Msi { address: PhysAddr(0x8000_8004), data: 0x1234_5678 }]);
    assert_eq!(rig.read(0x8000_8000), 0x1234_5678_0000_0000, "written to memory");
}

#[test]
fn a_device_that_does_not_answer_fails_the_sync() {
    struct Deaf;
    impl crate::AtcSink for Deaf {
        fn invalidate(&self, _: crate::AtcSpan) -> bool {
            false
        }
    }
    use crate::IommuModel;
    let rig = Rig::stage1(Features::default());
    rig.smmu.connect(SourceId(5), Arc::new(Deaf));
    rig.command([0x0000_0005_0000_0040, 0x34]);
    rig.command([0x46, 0]);
    assert_eq!(rig.smmu.read32(0x9c), 0x0300_0001, "CERROR_ATC_INV_SYNC, at the CMD_SYNC");
    rig.smmu.write32(0x64, 1);
    assert_eq!(rig.smmu.read32(0x9c) & 0xf_ffff, 2, "the invalidation is given up");
}

#[test]
fn commands_can_be_dropped_and_the_queue_can_hang() {
    let rig = Rig::stage1(Features::default());
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    rig.smmu.set_command_filter(Box::new(|words| words[0] & 0xff != 0x12));
    rig.synced([0x0007_0000_0000_0012, 0x1001]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "dropped: stale");
    assert_eq!(rig.smmu.commands(), [[0x46, 0]]);
    rig.smmu.set_command_filter(Box::new(|_| true));
    rig.smmu.set_hung(true);
    rig.command([0x0007_0000_0000_0012, 0x1001]);
    rig.command([0x46, 0]);
    assert_eq!(rig.smmu.read32(0x9c), 2);
    rig.smmu.write32(0x20, 0xd);
    assert_eq!(rig.smmu.read32(0x24), 0x1d);
    assert_eq!(rig.smmu.read32(0x24), 0x1d, "no acknowledgement either");
    assert_eq!(rig.smmu.read32(0x24), 0x1d);
    rig.smmu.set_hung(false);
    assert_eq!(rig.smmu.read32(0x9c), 4);
    assert_eq!(rig.goes(0x1000), None);
}

#[test]
fn the_queue_wraps_and_may_be_full() {
    let rig = Rig::enabled(Features::default());
    rig.smmu.set_hung(true);
    for _ in 0..16 {
        rig.command([0x46, 0]);
    }
    assert_eq!((rig.smmu.read32(0x98), rig.smmu.read32(0x9c)), (16, 0));
    rig.smmu.set_hung(false);
    assert_eq!(rig.smmu.read32(0x9c), 16);
    for _ in 0..17 {
        rig.command([0x46, 0]);
    }
    assert_eq!((rig.smmu.read32(0x98), rig.smmu.read32(0x9c)), (1, 1), "wrapped twice");
}
