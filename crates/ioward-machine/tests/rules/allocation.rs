//! Rules 1 to 6: whose driver, which requirements, when.

use crate::help::{KINDS, Kind, add, formats, group_of, map, reads, rig, source};
use ioward::core::{
    DefaultKind, DomainInfo, PasidOffer, Policy, Status, Unbound,
    driver::{Plan, Requirements},
};
use ioward::types::{Attributes, Direction, Format, Iova, PhysAddr, Span};
use ioward_machine::Rig;
use ioward_models::smmuv3::Features;

#[test]
fn rule_01_every_operation_finds_its_driver_through_the_devices_own_iommu() {
    let mut rig = Rig::default();
    add(&mut rig, 0, Kind::Smmu);
    add(&mut rig, 1, Kind::Amd);
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    let first = rig.device("behind the SMMU", &[(0, 8)], false, |_| {});
    let second = rig.device("behind the AMD-Vi", &[(1, 8)], false, |desc| {
        desc.joins = &[(ioward::types::IommuId(0), ioward::types::SourceId(8))]
    });
    assert_eq!((first.device.status(), second.device.status()), (Status::Served, Status::Served));
    assert_eq!(group_of(&first), group_of(&second));
    assert_eq!(formats(&rig, &first), [(source(0, 8), Format::ArmStage2), (source(1, 8), Format::AmdV1)]);
    rig.violations.assert_none();
}

#[test]
fn rule_02_requirements_are_over_every_member_whatever_the_order() {
    for kind in KINDS {
        for reversed in [false, true] {
            let rig = rig(kind);
            let mut members = [("plain", 0x10, 0), ("with PASIDs", 0x11, 8)];
            if reversed {
                members.reverse();
            }
            let siblings = [source(0, 0x10), source(0, 0x11)];
            let devices = members.map(|(name, id, bits)| {
                rig.device(name, &[(0, id)], false, |desc| {
                    desc.joins = &siblings;
                    desc.pasid = PasidOffer::bits(bits);
                    desc.addr_bits = if bits == 0 { 64 } else { 40 };
                })
            });
            let formats = formats(&rig, &devices[0]);
            let with_pasids = kind.formats().1;
            assert_eq!(
                formats,
                [(source(0, 0x10), with_pasids), (source(0, 0x11), with_pasids)],
                "{kind:?} {reversed}"
            );
            let aperture = rig.subsystem.group(group_of(&devices[0])).unwrap().aperture;
            assert_eq!(aperture, Some(Iova((1 << 40) - 1)), "the narrowest member's");
            rig.violations.assert_none();
        }
    }
}

#[test]
fn rule_03_a_domain_is_complete_when_it_is_allocated() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |_| {});
        let owned = rig.subsystem.take(group_of(&nic), "a hypervisor").unwrap();
        let space = Unbound::default().bind(&owned).unwrap();
        let [Plan::Tables(config)] = space.plans()[..] else { panic!("{:?}", space.plans()) };
        assert_eq!(config.format, kind.formats().0);
        assert!(config.in_bits >= 40 && config.out_bits >= 40 && config.page_sizes & 4096 != 0, "{config:?}");
        assert_eq!(space.aperture().last().0, (1 << config.in_bits.min(63)) - 1);
        // Nothing is left for the first attach: it can be mapped before, and then it is there.
        let page = ioward::types::Platform::frames(&rig.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let to = Span { start: page, bytes: 4096 };
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(Iova(0x10_0000), to, Attributes::for_direction(Direction::Both)) }.unwrap();
        owned.attach(&space).unwrap();
        nic.write(None, Iova(0x10_0000), b"there").unwrap();
        // SAFETY: mapped above by hand.
        unsafe { space.unmap(Span { start: Iova(0x10_0000), bytes: 4096 }, ()) }.unwrap().finish().unwrap();
        nic.write(None, Iova(0x10_0000), b"gone").unwrap_err();
        rig.violations.assert_none();
    }
}

#[test]
fn rule_04_an_unbound_domain_is_planned_when_it_is_bound_to_a_group() {
    for kind in KINDS {
        let rig = rig(kind);
        let gpu = rig.device("gpu", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
        let plain = rig.device("disk", &[(0, 0x20)], false, |_| {});
        let wish = Unbound { wish: Requirements { addr_bits: 40, ..Requirements::default() } };
        for (device, format) in [(&gpu, kind.formats().1), (&plain, kind.formats().0)] {
            let owned = rig.subsystem.take(group_of(device), "a hypervisor").unwrap();
            let space = wish.bind(&owned).unwrap();
            let [Plan::Tables(config)] = space.plans()[..] else { panic!("{:?}", space.plans()) };
            assert_eq!(config.format, format, "{kind:?}: by the group that it is bound to");
            assert_eq!(space.aperture().last(), Iova((1 << 40) - 1), "by its own wish");
        }
        rig.violations.assert_none();
    }
}

#[test]
fn rule_05_one_place_chooses_for_the_whole_group() {
    for reversed in [false, true] {
        let by_group =
            |view: &ioward::core::GroupView| (view.names == ["gpu"]).then_some(DefaultKind::Identity);
        let policy = Policy { by_group: Some(Box::new(by_group)), ..Policy::default() };
        let mut rig = Rig::new(policy);
        add(&mut rig, 0, Kind::Smmu);
        rig.start(0).unwrap();
        let mut members = [("audio", 0x10), ("gpu", 0x11)];
        if reversed {
            members.reverse();
        }
        let siblings = [source(0, 0x10), source(0, 0x11)];
        let devices =
            members.map(|(name, id)| rig.device(name, &[(0, id)], false, |desc| desc.joins = &siblings));
        let info = rig.subsystem.group(group_of(&devices[0])).unwrap();
        let paging = info.domains.iter().all(|(_, domain)| matches!(domain, DomainInfo::Paging(_)));
        assert!(paging, "a gpu with company is not to be trusted, whoever came last: {info:?}");
        let alone = rig.device("gpu", &[(0, 0x30)], false, |_| {});
        let info = rig.subsystem.group(group_of(&alone)).unwrap();
        assert_eq!(info.domains, [(source(0, 0x30), DomainInfo::Identity)]);
    }
}

#[test]
fn rule_05_untrusted_devices_are_never_let_through_by_a_global_choice() {
    let mut rig = Rig::new(Policy {
        trusted: DefaultKind::Identity,
        untrusted: DefaultKind::Identity,
        ..Policy::default()
    });
    add(&mut rig, 0, Kind::Amd);
    rig.start(0).unwrap();
    let inside = rig.device("inside", &[(0, 8)], false, |_| {});
    let outside = rig.device("outside", &[(0, 0x10)], false, |desc| desc.trusted = false);
    assert_eq!(rig.subsystem.group(group_of(&inside)).unwrap().domains[0].1, DomainInfo::Identity);
    assert_eq!(formats(&rig, &outside), [(source(0, 0x10), Format::AmdV1)]);
}

#[test]
fn rule_06_a_group_that_can_have_pasids_gets_a_domain_they_can_coexist_with() {
    for kind in KINDS {
        let rig = rig(kind);
        let gpu = rig.device("gpu", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
        let disk = rig.device("disk", &[(0, 0x10)], false, |_| {});
        let (plain, with_pasids) = kind.formats();
        assert_eq!(formats(&rig, &gpu), [(source(0, 8), with_pasids)]);
        assert_eq!(formats(&rig, &disk), [(source(0, 0x10), plain)]);
        // They do coexist.
        let bound = gpu.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"by RID");
        let space = bound.make_space(&Requirements::default()).unwrap();
        bound.attach_pasid(ioward::types::Pasid(5), &space).unwrap();
        assert!(reads(&gpu, None, &mapping, b"by RID"), "{kind:?}");
        let page = ioward::types::Platform::frames(&rig.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(Iova(0x4000), Span { start: page, bytes: 4096 }, Attributes::READ_WRITE) }
            .unwrap();
        gpu.write(Some(ioward::types::Pasid(5)), Iova(0x4000), b"by PASID").unwrap();
        gpu.write(None, Iova(0x4000), b"by RID").unwrap_err();
        gpu.write(Some(ioward::types::Pasid(6)), Iova(0x4000), b"other").unwrap_err();
        bound.detach_pasid(ioward::types::Pasid(5)).unwrap();
        gpu.write(Some(ioward::types::Pasid(5)), Iova(0x4000), b"gone").unwrap_err();
        assert!(reads(&gpu, None, &mapping, b"by RID"));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_06_an_smmu_without_stage_2_serves_plain_groups_by_stage_1() {
    let mut rig = Rig::default();
    rig.smmu(0, Features { stage2: false, ..Features::default() });
    rig.start(0).unwrap();
    let disk = rig.device("disk", &[(0, 0x10)], false, |_| {});
    assert_eq!(formats(&rig, &disk), [(source(0, 0x10), Format::ArmStage1)]);
}
