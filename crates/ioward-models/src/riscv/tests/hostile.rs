//! Hardware that hangs, is stuck or gone; incoherent accesses; words that nobody meant.

use super::rig::*;
use crate::{
    Access, IommuModel, Memory, SimPlatform, Violations,
    riscv::{Features, RiscvIommu},
};
use ioward_types::{Frames, Mmio, PhysAddr};

#[test]
fn a_hung_queue_fetches_nothing() {
    let rig = Rig::enabled(Features::default());
    rig.iommu.set_hung(true);
    rig.command([FENCE, 0]);
    assert_eq!(rig.iommu.read32(0x20), 0);
    rig.iommu.set_hung(false);
    assert_eq!(rig.iommu.read32(0x20), 1);
}

#[test]
fn a_stuck_iommu_stays_busy() {
    let rig = Rig::new(Features::default());
    rig.iommu.set_stuck(true);
    rig.iommu.write64(0x10, 1);
    rig.iommu.write32(0x48, 1);
    for _ in 0..10 {
        assert_eq!((rig.iommu.read64(0x10), rig.iommu.read32(0x48)), (0x11, 0x2_0001));
    }
    assert_eq!(rig.goes(0), None, "the old mode is in effect");
    rig.iommu.set_stuck(false);
    assert_eq!((rig.iommu.read64(0x10), rig.iommu.read32(0x48)), (1, 0x1_0001));
}

#[test]
fn a_gone_iommu_reads_as_ones_and_lets_nothing_through() {
    let rig = Rig::first(Features::default());
    rig.iommu.set_gone(true);
    assert_eq!((rig.iommu.read64(0), rig.iommu.read32(0x48)), (u64::MAX, u32::MAX));
    rig.iommu.write64(0x10, 1);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(to(rig.iommu.translated(&request(5, None, 0, Access::Read))), None);
    rig.iommu.set_gone(false);
    assert_eq!(rig.goes(0x1000), Some(DATA));
}

#[test]
fn accesses_that_do_not_snoop_see_what_was_cleaned() {
    let memory = Memory::new(PhysAddr(0x8000_0000), 0x10_0000, Violations::default());
    memory.set_incoherent(true);
    let platform = SimPlatform::new(memory.clone());
    let ddt = Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
    let iommu = RiscvIommu::new("iommu", Features::small(), memory.clone());
    iommu.preset(0x10, ppn(ddt.phys().0) | 2);
    let goes = || to(iommu.request(&request(5, None, 0x1000, Access::Read)));
    ddt.clean(0, 4096);
    ddt.store64(5 * 32, 1);
    assert_eq!(goes(), None);
    ddt.clean(5 * 32, 32);
    assert_eq!(goes(), Some(0x1000));
    memory.violations().assert_none();
}

/// splitmix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[test]
fn garbage_everywhere_panics_nowhere() {
    let mut seed = 1;
    for round in 0..60 {
        let features = match round % 3 {
            0 => Features::default(),
            1 => Features::small(),
            _ => Features { both_endian: true, ranges: true, non_leaf: true, ..Features::default() },
        };
        let rig = Rig::enabled(features);
        rig.iommu.set_latency(0);
        let mask = if next(&mut seed) & 1 == 0 { u64::MAX } else { 0xfff0_0000_803f_ffff };
        for at in (DDT..DDT + 0x1000).chain(TABLES..TABLES + 0x1000).step_by(8) {
            let word = next(&mut seed) & mask | u64::from(at & 0x38 == 0);
            rig.put(at, &[word]);
        }
        for _ in 0..300 {
            let (what, value) = (next(&mut seed), next(&mut seed));
            let device = (what >> 8) as u32 & 0x3f;
            let pasid = (what & 4 == 0).then_some((what >> 16) as u32 & 0xf_ffff);
            match what & 3 {
                0 => rig.iommu.write32((what >> 20) as usize & 0x3fc, value as u32),
                1 => rig.iommu.write64((what >> 20) as usize & 0x3f8, value),
                2 => {
                    rig.put(CQ, &[value & !0x7c | 1, next(&mut seed)]);
                    rig.iommu.write32(0x24, value as u32);
                }
                _ => {
                    let access = [Access::Read, Access::Write, Access::Execute][what as usize % 3];
                    let request = request(device, pasid, value, access);
                    rig.iommu.request(&request);
                    rig.iommu.translate_ahead(&request);
                    rig.iommu.translated(&request);
                    rig.iommu.message_write(&request, value as u32);
                    rig.iommu.page_request(&request, Some(access), 1, true);
                }
            }
        }
        for at in (0..0x1000).step_by(4) {
            rig.iommu.read32(at);
        }
        rig.memory.violations().take();
    }
}
