//! Interrupts: pending bits, wires, messages and their masks (5.18, 5.28, 5.29).

use super::rig::*;
use crate::riscv::{Features, Interrupts, RiscvIommu, Signal};
use ioward_types::{Mmio, PhysAddr};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

fn msi(address: u64, data: u32) -> Signal {
    Signal::Msi { address: PhysAddr(address), data }
}

/// Fault interrupts on vector 1, command queue's on vector 2, page requests' on 3; every vector has a message.
fn rig(features: Features) -> Rig {
    let rig = Rig::first(features);
    rig.iommu.write64(0x2f8, 0x3012);
    for vector in 0..4u32 {
        let entry = 0x300 + 0x10 * vector as usize;
        rig.iommu.write64(entry, DATA + 0x100 + 8 * u64::from(vector));
        rig.iommu.write32(entry + 8, 0x40 + vector);
        rig.iommu.write32(entry + 0xc, 0);
    }
    rig.iommu.set_latency(0);
    for at in [0x48, 0x4c, 0x50] {
        rig.iommu.write32(at, 3);
    }
    rig
}

#[test]
fn a_record_sends_one_message_until_it_is_acknowledged() {
    let rig = rig(Features::default());
    rig.goes(0x9000);
    rig.goes(0xa000);
    assert_eq!(rig.iommu.read32(0x54), 2);
    assert_eq!(rig.iommu.take_signals(), [msi(DATA + 0x108, 0x41)]);
    assert_eq!(rig.read(DATA + 0x108), 0x41);
    rig.iommu.write32(0x54, 2);
    assert_eq!(rig.iommu.read32(0x54), 0);
    rig.goes(0xb000);
    assert_eq!(rig.iommu.take_signals(), [msi(DATA + 0x108, 0x41)]);
}

#[test]
fn an_error_stays_pending_for_as_long_as_it_is_there() {
    let rig = rig(Features::default());
    rig.command([0, 0]);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals()), (1, vec![msi(DATA + 0x110, 0x42)]));
    rig.iommu.write32(0x54, 1);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals()), (1, vec![msi(DATA + 0x110, 0x42)]));
    rig.put(CQ, &[FENCE]);
    rig.iommu.write32(0x48, 0x403);
    rig.iommu.write32(0x54, 1);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals()), (0, vec![]));
    // An overflow of the fault queue, whose records raised the bit already.
    for n in 0..8 {
        rig.goes(0x10_0000 + 0x1000 * n);
    }
    rig.iommu.take_signals();
    rig.iommu.write32(0x54, 2);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals().len()), (2, 1));
}

#[test]
fn masked_messages_wait() {
    let rig = rig(Features::default());
    rig.iommu.write32(0x31c, 1);
    rig.goes(0x9000);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals()), (2, vec![]));
    rig.iommu.write32(0x31c, 0);
    assert_eq!(rig.iommu.take_signals(), [msi(DATA + 0x108, 0x41)]);
    rig.iommu.write32(0x31c, 0);
    assert_eq!(rig.iommu.take_signals(), []);
}

#[test]
fn interrupts_that_are_not_enabled_are_not_pending() {
    let rig = rig(Features::default());
    rig.iommu.write32(0x4c, 1);
    rig.goes(0x9000);
    assert_eq!((rig.iommu.read32(0x54), rig.iommu.take_signals()), (0, vec![]));
    rig.iommu.write32(0x4c, 3);
    assert_eq!(rig.iommu.read32(0x54), 0, "a record of before is not told");
}

#[test]
fn vectors_are_as_many_as_there_are() {
    for (bits, kept) in [(0u8, 0u64), (1, 0x1011), (2, 0x3033), (4, 0xf0ff)] {
        let rig = Rig::new(Features { vector_bits: bits, ..Features::default() });
        rig.iommu.write64(0x2f8, 0xffff);
        assert_eq!(rig.iommu.read64(0x2f8), kept);
        let last = 0x300 + 0x10 * ((1 << bits) - 1);
        rig.iommu.write64(last, u64::MAX);
        rig.iommu.write32(last + 8, 7);
        assert_eq!((rig.iommu.read64(last), rig.iommu.read32(last + 8)), (0x00ff_ffff_ffff_fffc, 7));
        if bits < 4 {
            rig.iommu.write64(last + 0x10, u64::MAX);
            assert_eq!(rig.iommu.read64(last + 0x10), 0);
        }
    }
    let wired = Rig::new(Features { interrupts: Interrupts::Wires, ..Features::default() });
    wired.iommu.write64(0x300, u64::MAX);
    assert_eq!(wired.iommu.read64(0x300), 0);
    wired.iommu.write64(0x2f8, 1 << 16);
    assert_eq!(wired.sections(), ["5.28"]);
}

#[test]
fn a_message_that_nobody_takes_is_a_fault() {
    let rig = rig(Features { pas: 40, ..Features::default() });
    rig.iommu.write64(0x320, 1 << 41);
    rig.command([0, 0]);
    assert_eq!(rig.fault(), Some([273, 0, 1 << 41, 0]));
}

#[test]
fn wires_follow_the_pending_bits() {
    let rig = Rig::first(Features { interrupts: Interrupts::Wires, ..Features::default() });
    rig.iommu.set_latency(0);
    rig.iommu.write64(0x2f8, 0x12);
    rig.iommu.write32(0x4c, 3);
    rig.iommu.write32(0x48, 3);
    rig.goes(0x9000);
    assert_eq!((rig.iommu.wires(), rig.iommu.take_signals()), (0b10, vec![Signal::Wire { vector: 1 }]));
    // A fence can raise one.
    rig.command([FENCE | 1 << 11, 0]);
    assert_eq!((rig.iommu.wires(), rig.iommu.read32(0x48)), (0b110, 0x1_0803));
    rig.command([FENCE, 0]);
    assert_eq!(rig.iommu.read32(0x20), 2, "which does not stop the queue");
    rig.iommu.write32(0x48, 0x803);
    rig.iommu.write32(0x54, 3);
    assert_eq!((rig.iommu.wires(), rig.iommu.read32(0x48)), (0, 0x1_0003));
}

#[test]
fn a_handler_may_use_the_registers() {
    let rig = rig(Features::default());
    let seen = Arc::new(AtomicU32::new(0));
    let (iommu, count): (Arc<RiscvIommu>, _) = (rig.iommu.clone(), seen.clone());
    let weak = Arc::downgrade(&iommu);
    rig.iommu.set_handler(Arc::new(move |_| {
        if let Some(iommu) = weak.upgrade() {
            count.store(iommu.read32(0x54), Ordering::SeqCst);
            iommu.write32(0x54, 2);
        }
    }));
    rig.goes(0x9000);
    assert_eq!((seen.load(Ordering::SeqCst), rig.iommu.read32(0x54)), (2, 0));
}
