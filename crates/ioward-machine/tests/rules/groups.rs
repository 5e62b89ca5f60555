//! Rules 8 to 12 and 14: who is served, by what, and who is not.

use crate::help::{KINDS, Kind, add, group_of, map, reads, rig, source};
use ioward::core::{
    AddError, BindError, DeviceDesc, PasidDenied, PasidError, PasidOffer, Policy, Status, Unbound,
    UnservedKind,
    driver::{Refused, Requirements},
};
use ioward::types::{
    Attributes, Format, IommuId, Iova, Pasid, PhysAddr, Platform, Root, SourceId, Span, TableConfig,
};
use ioward_machine::Rig;
use ioward_models::{DmaError, amdvi::AmdViConfig, smmuv3::Features};

#[test]
fn rule_08_pasids_are_granted_only_where_every_request_reaches_the_iommu() {
    for kind in KINDS {
        let rig = rig(kind);
        let offer = PasidOffer { bits: 8, denied: Some(PasidDenied::NotRedirected) };
        let leaky = rig.device("leaky", &[(0, 8)], false, |desc| desc.pasid = offer);
        assert_eq!(leaky.device.info().pasid, Err(PasidDenied::NotRedirected));
        let bound = leaky.device.bind().unwrap();
        let space = bound.make_space(&Requirements::default()).unwrap();
        let refused = bound.attach_pasid(Pasid(1), &space);
        assert_eq!(refused, Err(PasidError::Denied(PasidDenied::NotRedirected)));
    }
}

#[test]
fn rule_08_no_pasids_behind_a_shared_requester_id() {
    let rig = rig(Kind::Smmu);
    let first = rig.device("first", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
    assert_eq!(first.device.info().pasid, Ok(8));
    let second = rig.device("second", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
    let shared = Err(PasidDenied::SharedSource(source(0, 8)));
    assert_eq!((first.device.info().pasid, second.device.info().pasid), (shared, shared));
}

#[test]
fn rule_08_a_second_user_of_a_source_with_pasids_in_use_is_refused() {
    let rig = rig(Kind::Smmu);
    let first = rig.device("first", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
    let _bound = first.device.bind().unwrap();
    let second = rig.device("second", &[(0, 8)], false, |_| {});
    assert_eq!(second.device.status(), Status::Refused(AddError::SharesPasids(source(0, 8))));
    assert!(!second.engines[0].is_bus_master());
    assert_eq!(first.device.info().pasid, Ok(8));
}

#[test]
fn rule_09_a_device_that_cannot_be_attached_is_refused_and_changes_nothing() {
    let mut rig = Rig::default();
    rig.smmu(0, Features { sid_bits: 8, two_level_streams: false, ..Features::default() });
    rig.start(0).unwrap();
    let disk = rig.device("disk", &[(0, 8)], false, |_| {});
    let bound = disk.device.bind().unwrap();
    let mapping = map(&rig, &bound, b"mine");
    let before = rig.subsystem.group(group_of(&disk));
    let bad = rig.device("beyond", &[(0, 0x1ff)], false, |desc| desc.joins = &[(IommuId(0), SourceId(8))]);
    let why = match bad.device.status() {
        Status::Refused(AddError::Driver(refused @ Refused::Source { .. })) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(why.to_string(), "source 0x1ff is outside the 0..0x100 of IOMMU 0");
    assert!(
        matches!(bad.device.bind(), Err(BindError::NotServed(Status::Refused(_)))),
        "its probe fails with the cause"
    );
    assert_eq!(bad.write(None, mapping.iova(), b"evil"), Err(DmaError::Silenced));
    bad.engines[0].set_deaf(true);
    let after = rig.subsystem.group(group_of(&disk));
    assert_eq!(before.map(|info| info.domains), after.map(|info| info.domains), "no group has changed");
    assert!(reads(&disk, None, &mapping, b"mine"));
    rig.violations.assert_none();
}

#[test]
fn rule_09_a_refused_device_that_shares_a_source_is_kept_off_by_bus_mastering() {
    let rig = rig(Kind::Amd);
    let disk = rig.device("disk", &[(0, 8)], false, |_| {});
    let bound = disk.device.bind().unwrap();
    let mapping = map(&rig, &bound, b"mine");
    // It shares the source, and its other source cannot be had: IOMMU 0 has no source that wide.
    let bad = rig.device("twin", &[(0, 8), (0, 0x1_0000)], false, |_| {});
    assert!(matches!(bad.device.status(), Status::Refused(AddError::Driver(Refused::Source { .. }))));
    assert!(bad.device.info().kept_off_by_bus_mastering);
    assert_eq!(bad.write(None, mapping.iova(), b"evil"), Err(DmaError::Silenced));
    assert!(reads(&disk, None, &mapping, b"mine"), "the served device goes on");
}

#[test]
fn rule_09_entries_are_counted_by_their_users() {
    for kind in KINDS {
        let rig = rig(kind);
        let first = rig.device("first", &[(0, 8)], false, |_| {});
        let second = rig.device("second", &[(0, 8)], false, |_| {});
        assert_eq!(group_of(&first), group_of(&second));
        let bound = first.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"mine");
        assert!(reads(&second, None, &mapping, b"mine"), "the IOMMU cannot tell them apart");
        let _ = second.device.remove(false);
        assert!(reads(&first, None, &mapping, b"mine"), "the entry stays while somebody uses it");
        drop((mapping, bound));
        let _ = first.device.remove(false);
        rig.violations.assert_none();
    }
}

/// Two SMMUs that differ, and an AMD-Vi: one group, one address space.
fn three_iommus() -> (Rig, [ioward_machine::Endpoint; 3]) {
    let mut rig = Rig::default();
    rig.smmu(0, Features { stage2: false, out_bits: 40, ..Features::default() });
    rig.smmu(1, Features { stage1: false, out_bits: 48, ssid_bits: 0, ..Features::default() });
    rig.amd(2, AmdViConfig::default());
    (0..3).for_each(|id| rig.start(id).unwrap());
    let siblings = [source(0, 8), source(1, 8), source(2, 8)];
    let devices = [0, 1, 2].map(|iommu| {
        rig.device(&format!("member {iommu}"), &[(iommu, 8)], false, |desc| desc.joins = &siblings)
    });
    (rig, devices)
}

#[test]
fn rule_10_members_behind_different_iommus_share_an_address_space() {
    let (rig, devices) = three_iommus();
    let formats = crate::help::formats(&rig, &devices[0]).into_iter().map(|(_, format)| format);
    assert!(formats.eq([Format::ArmStage1, Format::ArmStage2, Format::AmdV1]));
    let bound = devices[1].device.bind().unwrap();
    let mapping = map(&rig, &bound, b"ours");
    for device in &devices {
        assert!(reads(device, None, &mapping, b"ours"), "{:?}", device.device.info());
    }
    let at = mapping.iova();
    drop(mapping);
    for device in &devices {
        device.write(None, at, b"gone").unwrap_err();
    }
    rig.violations.assert_none();
}

#[test]
fn rule_10_equal_plans_share_one_table() {
    let mut rig = Rig::default();
    for id in 0..2 {
        add(&mut rig, id, Kind::Smmu);
        rig.start(id).unwrap();
    }
    let siblings = [source(0, 8), source(1, 8)];
    let devices =
        [0, 1].map(|iommu| rig.device("member", &[(iommu, 8)], false, |desc| desc.joins = &siblings));
    let owned = rig.subsystem.take(group_of(&devices[0]), "a hypervisor").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    assert_eq!(space.plans().len(), 1);
    let frame = rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
    // SAFETY: the frame is nobody else's and is never freed.
    unsafe { space.map(Iova(0x9000), Span { start: frame, bytes: 4096 }, Attributes::READ_WRITE) }.unwrap();
    for device in &devices {
        device.write(None, Iova(0x9000), b"both").unwrap();
    }
    // SAFETY: mapped above by hand.
    unsafe { space.unmap(Span { start: Iova(0x9000), bytes: 4096 }, ()) }.unwrap().finish().unwrap();
    for device in &devices {
        device.write(None, Iova(0x9000), b"none").unwrap_err();
    }
    rig.violations.assert_none();
}

#[test]
fn rule_11_a_table_that_the_iommu_cannot_walk_is_refused_with_both_sides_named() {
    let rig = rig(Kind::Smmu);
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "a hypervisor").unwrap();
    let at = rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
    let config = TableConfig {
        format: Format::AmdV1,
        in_bits: 48,
        out_bits: 48,
        page_sizes: 0x4020_1000,
        coherent: true,
        dirty: false,
        snoop: false,
    };
    // SAFETY: it must not be installed.
    let refused = unsafe { owned.attach_foreign(Root { at, levels: 4 }, config) };
    let expected = Refused::Format { iommu: IommuId(0), table: Format::AmdV1 };
    assert_eq!(refused, Err(AddError::Driver(expected)));
    // 52 bits of output, where this SMMU has 48.
    let wide = TableConfig { format: Format::ArmStage2, out_bits: 52, ..config };
    // SAFETY: it must not be installed.
    let refused = unsafe { owned.attach_foreign(Root { at, levels: 4 }, wide) };
    assert!(matches!(refused, Err(AddError::Driver(_))), "{refused:?}");
    nic.write(None, Iova(0x1000), b"no").unwrap_err();
}

#[test]
fn rule_12_a_mediated_device_has_an_owner_and_no_domain() {
    let rig = rig(Kind::Smmu);
    let mut vgpu = rig.subsystem.add_mediated("vgpu");
    assert_eq!(rig.subsystem.devices(), [], "no IOMMU is asked about it");
    let owned = vgpu.take("a hypervisor");
    assert_eq!(owned.owner(), "a hypervisor");
    drop(owned);
    assert_eq!(vgpu.name(), "vgpu");
}

#[test]
fn rule_14_a_device_whose_iommu_comes_late_waits_and_is_served_then() {
    for kind in KINDS {
        let mut rig = Rig::default();
        add(&mut rig, 3, kind);
        let nic = rig.device("nic", &[(3, 8)], false, |_| {});
        assert_eq!(nic.device.status(), Status::Waiting(IommuId(3)));
        assert!(matches!(nic.device.bind(), Err(BindError::NotServed(Status::Waiting(_)))));
        assert_eq!(nic.write(None, Iova(0x1000), b"early"), Err(DmaError::Silenced));
        rig.start(3).unwrap();
        assert_eq!(nic.device.status(), Status::Served);
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"late");
        assert!(reads(&nic, None, &mapping, b"late"));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_14_an_unserved_device_is_used_only_by_explicit_policy() {
    let rig = Rig::default();
    let desc = |desc: &mut DeviceDesc<'_>| desc.addr_bits = 64;
    let loose = rig.device("loose", &[], false, desc);
    assert_eq!(loose.device.status(), Status::Unserved);
    assert!(matches!(loose.device.bind(), Err(BindError::NotServed(Status::Unserved))));
    assert_eq!(loose.write(None, Iova(0x1000), b"whatever firmware started"), Err(DmaError::Silenced));
    let trusting = Rig::new(Policy { unserved: UnservedKind::Trust, ..Policy::default() });
    let loose = trusting.device("loose", &[], false, desc);
    let bound = loose.device.bind().unwrap();
    assert!(!bound.dma().is_translated());
    let mapping = map(&trusting, &bound, b"direct");
    assert!(reads(&loose, None, &mapping, b"direct"));
}

#[test]
fn rule_10_an_iommu_without_pasids_serves_its_member_of_a_group_that_has_some() {
    for reversed in [false, true] {
        let mut rig = Rig::default();
        rig.smmu(0, Features { stage1: false, ssid_bits: 0, ..Features::default() });
        rig.amd(1, AmdViConfig::default());
        (0..2).for_each(|id| rig.start(id).unwrap());
        let siblings = [source(0, 8), source(1, 8)];
        let mut members = [("disk", 0, 0), ("gpu", 1, 8)];
        if reversed {
            members.reverse();
        }
        let devices = members.map(|(name, iommu, bits)| {
            rig.device(name, &[(iommu, 8)], false, |desc| {
                desc.joins = &siblings;
                desc.pasid = PasidOffer::bits(bits);
            })
        });
        let formats = crate::help::formats(&rig, &devices[0]);
        assert_eq!(formats, [(source(0, 8), Format::ArmStage2), (source(1, 8), Format::AmdV2)], "{reversed}");
        rig.violations.assert_none();
    }
}

#[test]
fn rule_14_a_bridge_is_never_silenced_and_what_is_below_it_is() {
    let rig = Rig::default();
    let bridge = rig.device("bridge", &[(3, 8)], false, |desc| desc.bridge = true);
    let below = rig.device("below", &[(3, 16)], false, |_| {});
    let unserved = rig.device("unserved bridge", &[], false, |desc| desc.bridge = true);
    assert_eq!(bridge.device.status(), Status::Waiting(IommuId(3)));
    assert!(bridge.engines[0].is_bus_master() && unserved.engines[0].is_bus_master());
    assert!(!below.engines[0].is_bus_master());
}
