//! Negotiation, queues, configuration: what must not be done is seen.

use super::rig::{ALL, ENTRIES, Rig};
use crate::{
    Access,
    virtio::{PciFace, PciStructure, VirtioIommuConfig},
};
use ioward_types::Mmio;

fn usual() -> Rig {
    Rig::new(VirtioIommuConfig::default())
}

#[test]
fn a_right_start_is_no_violation() {
    let rig = usual();
    assert_eq!((rig.model.status(), rig.model.bypass(), rig.violations()), (15, false, 0));
    assert_eq!(rig.goes(8, 0x1000, Access::Read), None);
    assert_eq!(rig.probe(8), Some(0));
}

#[test]
fn steps_left_out_or_taken_back_are_seen() {
    let rig = Rig::cold(VirtioIommuConfig::default());
    rig.register(0x70, 4);
    assert_eq!(rig.violations(), 1, "DRIVER_OK alone");
    rig.register(0x70, 0);
    rig.register(0x70, 1);
    rig.register(0x70, 2);
    assert_eq!(
        rig.violations(),
        4,
        "twice before the reset is complete, ACKNOWLEDGE taken back and left out"
    );
    let rig = usual();
    rig.register(0x24, 0);
    rig.register(0x20, 0);
    assert_eq!(rig.violations(), 1, "features after FEATURES_OK");
    rig.queue(0);
    assert!(rig.violations() > 0, "a queue is changed while it is ready");
}

#[test]
fn features_that_were_not_offered_are_not_taken() {
    let rig = Rig::cold(VirtioIommuConfig::minimal());
    rig.negotiate(ALL);
    assert_eq!((rig.model.status() & 8, rig.violations()), (0, 1));
    // Nor a driver that leaves VERSION_1 out.
    let rig = Rig::cold(VirtioIommuConfig::minimal());
    rig.negotiate(4);
    assert_eq!((rig.model.status() & 8, rig.violations()), (0, 0));
}

#[test]
fn a_notification_before_the_device_is_ready_is_seen() {
    let rig = Rig::cold(VirtioIommuConfig::default());
    rig.negotiate(ALL);
    rig.queue(0);
    rig.register(0x50, 0);
    assert_eq!(rig.violations(), 1);
    let rig = Rig::cold(VirtioIommuConfig::default());
    rig.queue(0);
    assert_eq!(rig.violations(), 1, "a queue before FEATURES_OK");
}

#[test]
fn the_configuration_is_written_at_one_place_with_one_bit() {
    let rig = usual();
    rig.model.write8(0x120, 0);
    assert_eq!(rig.violations(), 1);
    rig.model.write8(0x124, 2);
    assert_eq!(rig.violations(), 1);
    rig.register(0x124, 0);
    assert_eq!(rig.violations(), 1, "with 32 bits");
    rig.model.write8(0x124, 1);
    assert_eq!((rig.violations(), rig.goes(8, 0x1000, Access::Read)), (0, Some(0x1000)));
    // Without the feature a device may take it badly.
    let rig = Rig::new(VirtioIommuConfig::minimal());
    rig.model.write8(0x124, 0);
    assert_eq!(rig.model.status() & 64, 64);
}

#[test]
fn descriptors_that_make_no_sense_are_seen() {
    let at = 0x8000_0000u64;
    let (next, write, indirect) = (1u64 << 32, 2u64 << 32, 4u64 << 32);
    let chains: [(&str, &[(u64, u64)]); 6] = [
        ("no end", &[(at, 20 | next)]),
        ("out of the table", &[(at, 20 | next | 99 << 48)]),
        ("to read after to write", &[(at, 4 | write | next | 1 << 48), (at, 20)]),
        ("indirect", &[(at, 20 | indirect)]),
        ("no bytes", &[(at, 0)]),
        ("too short", &[(at, 20)]),
    ];
    for (name, chain) in chains {
        let rig = usual();
        chain.iter().enumerate().for_each(|(n, (at, word))| rig.descriptor(0, n as u64, *at, *word));
        rig.offer(0, 0, 0);
        rig.register(0x50, 0);
        assert!(rig.violations() > 0, "{name}");
    }
    let rig = usual();
    rig.offer(0, ENTRIES + 5, 0);
    rig.register(0x50, 0);
    assert!(rig.violations() > 0, "the index jumps");
    let rig = usual();
    rig.offer(0, 0, ENTRIES);
    rig.register(0x50, 0);
    assert!(rig.violations() > 0, "no such descriptor");
}

#[test]
fn buffers_that_the_device_has_are_not_touched() {
    let rig = usual();
    assert_eq!(rig.probe(8), Some(0));
    rig.model.set_hung(true);
    assert_eq!(rig.attach(1, 8, 0), None);
    assert_eq!(rig.violations(), 0);
    // Another request in the same buffers, while they are the device's.
    assert_eq!(rig.attach(2, 8, 0), None);
    assert!(rig.violations() > 0);
    rig.model.set_hung(false);
    assert!(rig.violations() > 0, "it changed on the way");
}

#[test]
fn the_same_memory_in_two_event_buffers_is_seen() {
    for same in [false, true] {
        let rig = usual();
        let base = rig.queues[1].phys().0 + 0x800;
        for n in 0..2u64 {
            rig.descriptor(1, n, base + if same { 0 } else { n * 64 }, 24 | 2 << 32);
            rig.offer(1, n, n);
        }
        // Both are fetched only when a report is due, and the first is given back at once.
        rig.goes(8, 0x1000, Access::Write);
        rig.goes(8, 0x2000, Access::Write);
        assert_eq!((rig.violations(), rig.model.lost_reports()), (0, 0));
        // R_DOMAIN, WRITE and ADDRESS, endpoint 8.
        let words = [0, 8, 16].map(|at| rig.queues[1].load64(0x800 + at));
        let last = if same { 0x2000 } else { 0x1000 };
        assert_eq!(words, [1 | 0x102 << 32, 8, last]);
    }
    let rig = usual();
    rig.descriptor(1, 0, rig.queues[1].phys().0 + 0x800, 16 | 2 << 32);
    rig.offer(1, 0, 0);
    rig.goes(8, 0x1000, Access::Write);
    assert_eq!(rig.violations(), 1, "too short for a report");
}

#[test]
fn a_reset_detaches_and_keeps_the_bypass_field() {
    let rig = usual();
    rig.probe(8);
    assert_eq!(rig.attach(1, 8, 0), Some(0));
    rig.model.write8(0x124, 1);
    rig.register(0x70, 0);
    assert_eq!((rig.model.counts(), rig.model.bypass(), rig.model.accepted()), ((0, 0), true, 0));
    assert_eq!(rig.goes(8, 0x1000, Access::Read), Some(0x1000), "even for a driver that knows no such field");
}

#[test]
fn a_device_that_keeps_its_domains_has_them_after_a_reset() {
    let rig = Rig::new(VirtioIommuConfig { keeps_domains: true, ..VirtioIommuConfig::default() });
    rig.probe(8);
    assert_eq!(rig.attach(1, 8, 0), Some(0));
    assert_eq!(rig.map(1, 0x1000, 0x1fff, rig.queues[0].phys().0, 3), Some(0));
    rig.register(0x70, 0);
    assert_eq!((rig.model.counts(), rig.model.accepted()), ((1, 1), 0));
    assert_eq!(rig.goes(8, 0x1000, Access::Read), Some(rig.queues[0].phys().0));
}

#[test]
fn pci_fields_have_their_own_widths() {
    let rig = Rig::cold(VirtioIommuConfig::default());
    let common = PciFace::new(rig.model.clone(), PciStructure::Common);
    common.write8(0x14, 0);
    common.write16(0x16, 1);
    assert_eq!((common.read16(0x18), common.read16(0x12), common.read8(0x14)), (256, 2, 0));
    assert_eq!(rig.violations(), 0);
    common.write32(0x14, 0);
    common.read32(0x18);
    common.write16(0x15, 0);
    assert_eq!(rig.violations(), 3);
    let notify = PciFace::new(rig.model.clone(), PciStructure::Notify);
    notify.write16(0, 1);
    assert_eq!(rig.violations(), 1, "queue 1 is at 4");
}

#[test]
fn memory_freed_while_it_is_mapped_is_found() {
    let rig = usual();
    rig.probe(8);
    rig.attach(1, 8, 0);
    assert_eq!(rig.map(1, 0x1000, 0x1fff, rig.queues[0].phys().0, 3), Some(0));
    rig.model.audit();
    assert_eq!(rig.violations(), 0);
    assert_eq!(rig.map(1, 0x2000, 0x2fff, 0x800f_0000, 3), Some(0));
    rig.model.audit();
    assert_eq!(rig.violations(), 1);
}
