//! Rules 15 and 16: regions that are special, and the order of locks.

use crate::help::{KINDS, Kind, add, group_of, map, reads, rig, source};
use ioward::core::{
    AddError, Dma, FrameBuffer, InterruptIsolation, MapError, Region, RegionKind, Status, TakeError, Unbound,
};
use ioward::types::{Attributes, Direction, Iova, PhysAddr, Platform, Span};
use ioward_machine::Rig;
use ioward_models::DmaError;

/// A region of two pages that firmware keeps something in.
fn firmware_region(rig: &Rig, relaxable: bool) -> Region {
    let start = rig.platform.frames(8192, 4096, PhysAddr(u64::MAX)).unwrap();
    Region {
        span: Span { start, bytes: 8192 },
        kind: RegionKind::Required { how: Attributes::READ_WRITE, relaxable },
    }
}

#[test]
fn rule_15_a_required_region_works_from_the_first_instant_and_while_parked() {
    for kind in KINDS {
        let rig = rig(kind);
        let region = firmware_region(&rig, true);
        let at = Iova(region.span.start.0);
        let gpu = rig.device("gpu", &[(0, 8)], false, |desc| desc.regions = std::slice::from_ref(&region));
        gpu.write(None, at, b"from the first instant").unwrap();
        gpu.write(None, Iova(at.0 + 8192), b"but not beyond").unwrap_err();
        let owned = rig.subsystem.take(group_of(&gpu), "vmm").unwrap();
        gpu.write(None, at, b"parked").unwrap();
        gpu.write(None, Iova(at.0 - 4096), b"parked").unwrap_err();
        // What the owner attaches is the owner's alone.
        let space = Unbound::default().bind(&owned).unwrap();
        owned.attach(&space).unwrap();
        gpu.write(None, at, b"relaxed").unwrap_err();
        drop(owned);
        gpu.write(None, at, b"as before").unwrap();
        gpu.device.reset().unwrap();
        gpu.write(None, at, b"as before").unwrap();
        drop((gpu, space));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_15_no_user_owns_a_group_whose_region_is_firm() {
    let rig = rig(Kind::Amd);
    let region = firmware_region(&rig, false);
    let usb = rig.device("usb", &[(0, 8)], false, |desc| desc.regions = std::slice::from_ref(&region));
    assert_eq!(rig.subsystem.take(group_of(&usb), "vmm").map(drop), Err(TakeError::Region(region.span)));
}

#[test]
fn rule_15_nobody_unmaps_or_allocates_what_is_special() {
    for kind in KINDS {
        let rig = rig(kind);
        let required = Region {
            span: Span { start: PhysAddr(0x0110_0000), bytes: 0x1000 },
            kind: RegionKind::Required { how: Attributes::READ, relaxable: true },
        };
        let window = Region {
            span: Span { start: PhysAddr(0x0300_0000), bytes: 0x80_0000 },
            kind: RegionKind::Forbidden,
        };
        let regions = [required, window];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| {
            desc.regions = &regions;
            desc.addr_bits = 26;
        });
        let bound = nic.device.bind().unwrap();
        // All IOVAs of 26 bits, 1 MiB at a time: none of them is in the window or on the region.
        let mut all = Vec::new();
        loop {
            let buffer = FrameBuffer::new(&rig.platform, 1 << 20, 4096);
            let Ok(buffer) = buffer else { break };
            match Dma::map(&**bound.dma(), buffer, Direction::ToDevice) {
                Ok(mapping) => all.push(mapping),
                Err((MapError::Iova(_), _)) => break,
                Err((error, _)) => panic!("{error}"),
            }
        }
        assert!(all.len() > 32);
        for mapping in &all {
            for region in &regions {
                let span = Span { start: Iova(region.span.start.0), bytes: region.span.bytes };
                assert!(!mapping.span().overlaps(&span), "{kind:?}: {} is in {span}", mapping.span());
            }
        }
    }
}

#[test]
fn rule_15_forbidden_windows_are_refused_to_owners_too() {
    let rig = rig(Kind::Amd);
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    let interrupts = Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 };
    let frame = rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
    // SAFETY: the frame is nobody else's and is never freed.
    let refused =
        unsafe { space.map(Iova(0xfee0_1000), Span { start: frame, bytes: 4096 }, Attributes::READ_WRITE) };
    assert_eq!(refused, Err(MapError::Forbidden(interrupts)));
}

#[test]
fn rule_15_a_region_cannot_be_both_required_and_forbidden() {
    let rig = rig(Kind::Smmu);
    let span = Span { start: PhysAddr(0x8020_0000), bytes: 0x1000 };
    let how = Attributes::READ_WRITE;
    let regions = [
        Region { span, kind: RegionKind::Required { how, relaxable: false } },
        Region { span, kind: RegionKind::Forbidden },
    ];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.regions = &regions);
    assert_eq!(nic.device.status(), Status::Refused(AddError::RegionsOverlap(span)));
    nic.write(None, Iova(span.start.0), b"no").unwrap_err();
}

#[test]
fn rule_15_a_newcomers_region_must_not_meet_a_live_mapping() {
    let rig = rig(Kind::Smmu);
    let siblings = [source(0, 8), source(0, 9)];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| {
        desc.joins = &siblings;
        desc.addr_bits = 32;
    });
    let bound = nic.device.bind().unwrap();
    let mapping = map(&rig, &bound, b"live");
    let span = Span { start: PhysAddr(mapping.iova().0), bytes: 0x1000 };
    let region = Region { span, kind: RegionKind::Required { how: Attributes::READ, relaxable: true } };
    let late = rig.device("late", &[(0, 9)], false, |desc| {
        desc.joins = &siblings;
        desc.regions = std::slice::from_ref(&region);
    });
    assert!(
        matches!(late.device.status(), Status::Refused(AddError::RegionInUse(_))),
        "{:?}",
        late.device.status()
    );
    assert!(reads(&nic, None, &mapping, b"live"));
    late.write(None, mapping.iova(), b"no").unwrap_err();
    drop((mapping, bound));
    rig.violations.assert_none();
}

/// The subsystem is built with its check of the lock order, which panics on an inversion.
#[test]
fn rule_16_locks_are_taken_in_order_and_mapping_takes_none_of_a_group() {
    for kind in KINDS {
        let mut rig = Rig::default();
        add(&mut rig, 0, kind);
        rig.start(0).unwrap();
        let nic = rig.device("nic", &[(0, 8)], true, |_| {});
        let bound = nic.device.bind().unwrap();
        // While somebody holds the registry (rank Control), others map: this thread may take what is below only.
        let held = ioward::core::order::Held::enter(ioward::core::order::Rank::Control);
        let mapping = map(&rig, &bound, b"no group lock");
        mapping.unmap().unwrap();
        drop(held);
        assert_eq!(ioward::core::order::held(), []);
        nic.device.reset().unwrap();
        drop(bound);
        drop(rig.subsystem.take(group_of(&nic), "vmm").unwrap());
        rig.reports();
        assert_eq!(nic.device.status(), Status::Served);
    }
}

#[test]
#[should_panic(expected = "lock order")]
fn rule_16_an_inversion_is_noticed() {
    let _inner = ioward::core::order::Held::enter(ioward::core::order::Rank::Iova);
    let _outer = ioward::core::order::Held::enter(ioward::core::order::Rank::Control);
}

/// Where devices write their interrupts.
const DOORBELL: Region =
    Region { span: Span { start: PhysAddr(0x0808_0000), bytes: 0x1_0000 }, kind: RegionKind::Doorbell };

#[test]
fn rule_15_the_kernels_and_an_owners_domain_contain_the_doorbell_and_parked_does_not() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.regions = std::slice::from_ref(&DOORBELL));
        let other = rig.device("other", &[(0, 16)], false, |_| {});
        // No memory is there: a write that gets through ends beyond the IOMMU.
        let rings = |endpoint: &ioward_machine::Endpoint| {
            let at = DOORBELL.span.start.0 + 0x40;
            endpoint.write(None, Iova(at), &[1, 0, 0, 0]) == Err(DmaError::Bus(PhysAddr(at)))
        };
        assert!(rings(&nic) && !rings(&other), "{kind:?}");
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        assert!(!rings(&nic), "parked");
        let space = Unbound::default().bind(&owned).unwrap();
        owned.attach(&space).unwrap();
        assert!(rings(&nic), "owned");
        // SAFETY: nothing is mapped: the address is refused.
        let taken = unsafe {
            space.map(
                Iova(DOORBELL.span.start.0),
                Span { start: PhysAddr(0x1000), bytes: 0x1000 },
                Attributes::READ,
            )
        };
        assert!(taken.is_err(), "{taken:?}");
        drop(owned);
        assert!(rings(&nic), "the kernel's again");
    }
}

#[test]
fn rule_15_a_doorbell_that_firmware_keeps_from_the_iommu_is_not_mapped() {
    let rig = rig(Kind::Smmu);
    let window = Region { kind: RegionKind::Forbidden, ..DOORBELL };
    let nic =
        rig.device("nic", &[(0, 8)], false, |desc| desc.regions = Box::leak(Box::new([DOORBELL, window])));
    assert_eq!(nic.device.status(), Status::Served);
    nic.write(None, Iova(DOORBELL.span.start.0), &[1]).unwrap_err();
    assert_eq!(rig.reports().len(), 1);
}

#[test]
fn interrupts_are_isolated_only_where_the_doorbells_controller_tells_devices_apart() {
    let rig = rig(Kind::Smmu);
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.isolated_doorbells = true);
    let old = rig.device("old", &[(0, 16)], false, |_| {});
    let isolation =
        |endpoint: &ioward_machine::Endpoint| rig.subsystem.interrupts(group_of(endpoint)).unwrap();
    assert_eq!(isolation(&nic), InterruptIsolation::Isolated);
    assert_eq!(isolation(&old), InterruptIsolation::Open(source(0, 16)));
}
