//! What requests do, and what a driver must not ask.

use super::rig::Rig;
use crate::{Access, virtio::VirtioIommuConfig};
use Access::{Read, Write};

const OK: Option<u8> = Some(0);
const UNSUPP: Option<u8> = Some(2);
const INVAL: Option<u8> = Some(4);
const RANGE: Option<u8> = Some(5);
const NOENT: Option<u8> = Some(6);

fn probed(config: VirtioIommuConfig) -> Rig {
    let rig = Rig::new(config);
    assert_eq!([rig.probe(8), rig.probe(9)], [OK, OK]);
    rig
}

#[test]
fn a_mapping_lives_as_long_as_its_domain() {
    let rig = probed(VirtioIommuConfig::default());
    assert_eq!(rig.goes(8, 0x1000, Read), None);
    assert_eq!(rig.map(1, 0x1000, 0x2fff, 0x9000, 3), NOENT);
    assert_eq!([rig.attach(1, 8, 0), rig.attach(1, 9, 0)], [OK, OK]);
    assert_eq!(rig.map(1, 0x1000, 0x2fff, 0x9000, 3), OK);
    assert_eq!([rig.goes(8, 0x1234, Read), rig.goes(9, 0x2fff, Write)], [Some(0x9234), Some(0xafff)]);
    assert_eq!([rig.goes(8, 0xfff, Read), rig.goes(8, 0x3000, Read)], [None, None]);
    assert_eq!(rig.detach(1, 8), OK);
    assert_eq!([rig.goes(8, 0x1234, Read), rig.goes(9, 0x1234, Read)], [None, Some(0x9234)]);
    assert_eq!(rig.detach(1, 9), OK);
    assert_eq!([rig.detach(1, 9), rig.attach(1, 9, 0)], [INVAL, OK]);
    assert_eq!(rig.goes(9, 0x1234, Read), None);
    // To another domain, in one step.
    assert_eq!([rig.attach(2, 9, 0), rig.attach(2, 9, 0)], [OK, OK]);
    assert_eq!(rig.map(1, 0, 0xfff, 0, 3), NOENT);
    assert_eq!(rig.violations(), 0);
}

#[test]
fn rights_are_those_of_the_flags() {
    let rig = probed(VirtioIommuConfig::default());
    rig.attach(1, 8, 0);
    for flags in 0..8 {
        assert_eq!(rig.map(1, 0x1000, 0x1fff, 0x9000, flags), OK);
        assert_eq!(rig.goes(8, 0x1000, Read).is_some(), flags & 1 != 0);
        assert_eq!(rig.goes(8, 0x1000, Write).is_some(), flags & 2 != 0);
        assert_eq!(rig.unmap(1, 0x1000, 0x1fff), OK);
        assert_eq!(rig.goes(8, 0x1000, Read), None);
    }
    assert_eq!(rig.violations(), 0);
}

// The examples of §5.13.6.6, in pages.
#[test]
fn unmap_takes_whole_mappings() {
    let rig = probed(VirtioIommuConfig::default());
    rig.attach(1, 8, 0);
    let page = |n: u64| n * 0x1000;
    let map = |first: u64, last: u64| rig.map(1, page(first), page(last + 1) - 1, 0, 1);
    let unmap = |first: u64, last: u64| rig.unmap(1, page(first), page(last + 1) - 1);
    let left = || rig.model.counts().1;
    assert_eq!(unmap(0, 4), OK);
    assert_eq!([map(0, 9), unmap(0, 9)], [OK, OK]);
    assert_eq!([map(0, 4), map(5, 9), unmap(0, 9)], [OK, OK, OK]);
    assert_eq!(rig.violations(), 0);
    assert_eq!([map(0, 9), unmap(0, 4)], [OK, RANGE]);
    assert_eq!((left(), rig.violations()), (1, 1));
    assert_eq!(unmap(0, 9), OK);
    assert_eq!([map(0, 4), map(5, 9), unmap(0, 4)], [OK, OK, OK]);
    assert_eq!((left(), unmap(0, 14)), (1, OK));
    assert_eq!([map(0, 4), map(10, 14), unmap(0, 14)], [OK, OK, OK]);
    assert_eq!((left(), rig.violations()), (0, 0));
}

#[test]
fn what_overlaps_or_is_no_page_is_rejected() {
    let rig = probed(VirtioIommuConfig::default());
    rig.attach(1, 8, 0);
    assert_eq!(rig.map(1, 0x2000, 0x3fff, 0, 1), OK);
    for (start, end) in [(0x2000, 0x2fff), (0x1000, 0x2fff), (0x3000, 0x4fff), (0, 0xffff)] {
        assert_eq!(rig.map(1, start, end, 0, 1), INVAL);
    }
    assert_eq!(rig.map(1, 0x800, 0x17ff, 0, 1), RANGE);
    assert_eq!(rig.map(1, 0, 0xffe, 0, 1), RANGE);
    assert_eq!(rig.map(1, 0, 0xfff, 0x10, 1), RANGE);
    assert_eq!(rig.map(1, !0xfff, !0, 0, 1), OK);
    assert_eq!(rig.violations(), 0);
    for (start, end) in [(0x9000, 0x9000), (0x9000, 0x8fff)] {
        assert_eq!((rig.map(1, start, end, 0, 1), rig.violations()), (INVAL, 1));
    }
    // The doorbell.
    assert_eq!((rig.map(1, 0xfee0_0000, 0xfee0_0fff, 0, 1), rig.violations()), (INVAL, 1));
}

#[test]
fn what_was_not_negotiated_is_a_violation() {
    let minimal = VirtioIommuConfig { queue_size: 256, ..VirtioIommuConfig::minimal() };
    let rig = Rig::new(minimal);
    assert_eq!((rig.attach(1, 8, 1), rig.violations()), (INVAL, 1));
    assert_eq!((rig.attach(1, 8, 2), rig.violations()), (INVAL, 1));
    assert_eq!((rig.attach(1, 8, 0), rig.violations()), (OK, 0));
    assert_eq!((rig.map(1, 0, 0xfff, 0, 4), rig.violations()), (INVAL, 1));
    assert_eq!((rig.probe(8), rig.violations()), (None, 1));
    assert_eq!((rig.ask(&[9, 0, 0], 20, 4), rig.violations()), (None, 1));
    assert_eq!((rig.ask(&[1 | 1 << 8 | 1 << 32, 9, 0], 20, 4), rig.violations()), (OK, 1));
    assert_eq!((rig.ask(&[1 | 1 << 32, 9, 7], 20, 4), rig.violations()), (INVAL, 1));
    assert_eq!((rig.ask(&[1 | 1 << 32, 9], 16, 4), rig.violations()), (None, 1));
    assert_eq!((rig.ask(&[1 | 1 << 32, 9, 0], 20, 8), rig.violations()), (None, 1));
}

#[test]
fn ranges_of_the_configuration_bind_the_driver() {
    let config = VirtioIommuConfig { domains: (3, 4), input: (0x10_0000, 0x1f_ffff), ..Default::default() };
    let rig = probed(config);
    for domain in [2, 5] {
        assert_eq!((rig.attach(domain, 8, 0), rig.violations()), (RANGE, 1));
    }
    assert_eq!([rig.attach(3, 8, 0), rig.attach(4, 9, 0)], [OK, OK]);
    assert_eq!((rig.map(3, 0xf_f000, 0x10_0fff, 0, 1), rig.violations()), (RANGE, 1));
    assert_eq!((rig.map(3, 0x1f_f000, 0x20_0fff, 0, 1), rig.violations()), (RANGE, 1));
    assert_eq!((rig.unmap(3, 0, 0x1f_ffff), rig.violations()), (RANGE, 1));
    assert_eq!(rig.map(3, 0x10_0000, 0x1f_ffff, 0, 1), OK);
    assert_eq!(rig.violations(), 0);
}

#[test]
fn a_domain_that_passes_everything_takes_no_mappings() {
    let rig = probed(VirtioIommuConfig::default());
    assert_eq!(rig.attach(1, 8, 1), OK);
    assert_eq!([rig.goes(8, 0x1234, Write), rig.goes(9, 0x1234, Write)], [Some(0x1234), None]);
    assert_eq!((rig.map(1, 0, 0xfff, 0, 1), rig.violations()), (INVAL, 1));
    assert_eq!((rig.unmap(1, 0, 0xfff), rig.violations()), (INVAL, 1));
    assert_eq!(rig.attach(2, 9, 0), OK);
    // The flag must be the domain's; the endpoint has been detached all the same.
    assert_eq!((rig.attach(1, 9, 0), rig.violations()), (INVAL, 1));
    assert_eq!(rig.model.domain_of(ioward_types::SourceId(9)), None);
}

#[test]
fn endpoints_are_probed_before_they_are_attached() {
    let rig = Rig::new(VirtioIommuConfig::default());
    assert_eq!((rig.attach(1, 8, 0), rig.violations()), (OK, 1));
    assert_eq!(rig.probe(8), OK);
    // RESV_MEM, 20 bytes, MSI, from and to.
    let words = [0, 1, 2, 3].map(|n| rig.reply(n));
    assert_eq!(words, [1 | 20 << 16 | 1 << 32, 0xfee0_0000, 0xfeef_ffff, 0]);
    assert_eq!(rig.violations(), 0);
}

#[test]
fn devices_that_cannot_say_so() {
    let config = VirtioIommuConfig { moves_endpoints: false, shares_domains: false, ..Default::default() };
    let rig = probed(config);
    assert_eq!([rig.attach(1, 8, 0), rig.attach(2, 8, 0), rig.attach(1, 9, 0)], [OK, UNSUPP, UNSUPP]);
    assert_eq!([rig.detach(1, 8), rig.attach(2, 8, 0)], [OK, OK]);
    let there = Some(vec![ioward_types::SourceId(8)]);
    let rig = Rig::new(VirtioIommuConfig { endpoints: there, ..Default::default() });
    assert_eq!([rig.probe(9), rig.attach(1, 9, 0), rig.detach(1, 9)], [NOENT, NOENT, NOENT]);
    assert_eq!(rig.violations(), 0);
}
