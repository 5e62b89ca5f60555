//! The fault queue: records, overflow, memory faults (3.2, 5.16).

use super::rig::*;
use crate::{Access, Request, riscv::Features};
use ioward_types::Mmio;

#[test]
fn records_tell_who_and_what() {
    let rig = Rig::first(Features::default());
    assert_eq!(to(rig.access(5, None, 0x9abc, Access::Execute)), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 1 << 34 | 12, 0, 0x9abc, 0]));
    rig.context(6, &[1 | 1 << 5, 0, 0, 1 << 60 | PDT >> 12]);
    let request = Request { privileged: true, ..request(6, Some(0xab), 0x1000, Access::Write) };
    assert_eq!(to(crate::IommuModel::request(&*rig.iommu, &request)), None);
    assert_eq!(rig.fault(), Some([6 << 40 | 3 << 34 | 3 << 32 | 0xab << 12 | 266, 0, 0x1000, 0]));
}

#[test]
fn a_full_queue_loses_records_until_it_is_cleared() {
    let rig = Rig::first(Features::default());
    for n in 0..9 {
        rig.goes(0x10_0000 + n * 0x1000);
    }
    assert_eq!((rig.iommu.read32(0x34), rig.iommu.read32(0x4c)), (7, 0x1_0201));
    assert_eq!(rig.iommu.faults(), 9);
    assert_eq!(rig.fault().map(|record| record[2]), Some(0x10_0000));
    rig.goes(0x20_0000);
    assert_eq!(rig.iommu.read32(0x34), 7, "while the bit is set nothing is recorded");
    rig.iommu.write32(0x4c, 1);
    assert_eq!(rig.iommu.read32(0x4c), 0x1_0201, "a zero clears nothing");
    rig.iommu.write32(0x4c, 0x201);
    rig.goes(0x20_1000);
    assert_eq!((rig.iommu.read32(0x34), rig.iommu.read32(0x4c)), (0, 0x1_0001));
    for _ in 0..6 {
        rig.fault();
    }
    assert_eq!(rig.fault().map(|record| record[2]), Some(0x20_1000));
    assert_eq!(rig.fault(), None);
}

#[test]
fn a_queue_without_memory_is_a_memory_fault() {
    let rig = Rig::first(Features::default());
    rig.iommu.preset(0x28, 2);
    rig.goes(0x9000);
    assert_eq!((rig.iommu.read32(0x34), rig.iommu.read32(0x4c)), (0, 0x1_0101));
}

#[test]
fn a_queue_that_is_off_takes_nothing() {
    let rig = Rig::first(Features::default());
    rig.iommu.set_latency(0);
    rig.goes(0x9000);
    rig.iommu.write32(0x4c, 0);
    rig.goes(0x9000);
    assert_eq!(rig.iommu.read32(0x34), 1);
    rig.iommu.write32(0x30, 0);
    rig.iommu.write32(0x4c, 1);
    assert_eq!(rig.iommu.read32(0x34), 0, "turning it on starts anew");
}

#[test]
fn the_head_stays_behind_the_tail() {
    let rig = Rig::first(Features::default());
    rig.goes(0x9000);
    rig.iommu.write32(0x30, 3);
    assert_eq!(rig.sections(), ["5.10"]);
    rig.iommu.write32(0x30, 8);
    assert_eq!(rig.sections(), ["5.10"], "no index of it");
}
