//! Rule 13: one owner, as a value; and what else an owner relies on.

use crate::help::{KINDS, Kind, formats, group_of, map, reads, rig, source};
use ioward::core::{BindError, PasidOffer, ResetError, TakeError, Unbound, driver::Requirements};
use ioward::types::{Attributes, Iova, Pasid, PhysAddr, Platform, Span};

#[test]
fn rule_13_a_group_has_one_owner() {
    for kind in KINDS {
        let rig = rig(kind);
        let siblings = [source(0, 8), source(0, 9)];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
        let audio = rig.device("audio", &[(0, 9)], false, |desc| desc.joins = &siblings);
        let group = group_of(&nic);

        let bound = audio.device.bind().unwrap();
        assert_eq!(rig.subsystem.take(group, "vmm").map(drop), Err(TakeError::Bound(audio.device.id())));
        drop(bound);

        let owned = rig.subsystem.take(group, "vmm").unwrap();
        assert_eq!(rig.subsystem.take(group, "other").map(drop), Err(TakeError::Owned("vmm")));
        assert!(matches!(audio.device.bind(), Err(BindError::Owned("vmm"))), "no sibling's driver binds");
        nic.write(None, Iova(0x1000), b"blocked until something is attached").unwrap_err();

        drop(owned);
        assert_eq!(formats(&rig, &nic)[0].1, kind.formats().0, "back on the kernel's own domain");
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"mine again");
        assert!(reads(&nic, None, &mapping, b"mine again"));
        drop((mapping, bound));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_13_what_the_owner_mapped_is_out_of_reach_once_the_group_is_given_back() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], true, |desc| desc.pasid = PasidOffer::bits(8));
        let frame = rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let at = Iova(0x7000);
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        let space = Unbound::default().bind(&owned).unwrap();
        // SAFETY: the frame is nobody else's and is never freed.
        unsafe { space.map(at, Span { start: frame, bytes: 4096 }, Attributes::READ_WRITE) }.unwrap();
        owned.attach(&space).unwrap();
        owned.attach_pasid(nic.device.id(), Pasid(7), &space).unwrap();
        nic.write(None, at, b"guest").unwrap();
        nic.write(Some(Pasid(7)), at, b"guest").unwrap();
        drop(owned);
        nic.write(None, at, b"stale").unwrap_err();
        nic.write(Some(Pasid(7)), at, b"stale").unwrap_err();
        drop(space);
        drop(nic);
        rig.violations.assert_none();
    }
}

#[test]
fn rule_13_an_owner_replaces_one_address_space_by_another() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], true, |desc| desc.pasid = PasidOffer::bits(8));
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        let frames = [(); 2].map(|()| rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap());
        let at = Iova(0x7000);
        let spaces = frames.map(|frame| {
            let space = Unbound::default().bind(&owned).unwrap();
            // SAFETY: the frame is nobody else's and is never freed.
            unsafe { space.map(at, Span { start: frame, bytes: 4096 }, Attributes::READ_WRITE) }.unwrap();
            space
        });
        let holds = |frame: PhysAddr, text: &[u8]| {
            let mut seen = vec![0; text.len()];
            rig.memory.dma_read("test", frame, &mut seen).unwrap();
            seen == text
        };
        for pasid in [None, Some(Pasid(9))] {
            match pasid {
                None => owned.attach(&spaces[0]).unwrap(),
                Some(pasid) => owned.attach_pasid(nic.device.id(), pasid, &spaces[0]).unwrap(),
            }
            nic.write(pasid, at, b"one").unwrap();
            assert!(holds(frames[0], b"one"));
            match pasid {
                None => owned.attach(&spaces[1]).unwrap(),
                Some(pasid) => owned.replace_pasid(nic.device.id(), pasid, &spaces[1]).unwrap(),
            }
            nic.write(pasid, at, b"two").unwrap();
            assert!(
                holds(frames[0], b"one") && holds(frames[1], b"two"),
                "{kind:?} {pasid:?}: nothing stale is used"
            );
        }
        drop((owned, spaces, nic));
        rig.violations.assert_none();
    }
}

#[test]
fn reset_parks_a_device_and_restores_it_with_its_pasids() {
    for kind in KINDS {
        let rig = rig(kind);
        let gpu = rig.device("gpu", &[(0, 8)], true, |desc| desc.pasid = PasidOffer::bits(8));
        let bound = gpu.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"kept");
        let space = bound.make_space(&Requirements::default()).unwrap();
        let frame = rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
        // SAFETY: the frame is nobody else's and is never freed.
        unsafe { space.map(Iova(0x3000), Span { start: frame, bytes: 4096 }, Attributes::READ_WRITE) }
            .unwrap();
        bound.attach_pasid(Pasid(2), &space).unwrap();
        gpu.device.reset().unwrap();
        assert_eq!(gpu.engines[0].resets(), 1);
        assert!(gpu.engines[0].is_ats_on());
        assert!(reads(&gpu, None, &mapping, b"kept"));
        gpu.write(Some(Pasid(2)), Iova(0x3000), b"kept too").unwrap();
        drop((mapping, space, bound, gpu));
        rig.violations.assert_none();
    }
}

#[test]
fn a_hung_iommu_silences_the_device_and_quarantines_the_memory() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |_| {});
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"held");
        let allocated = rig.memory.allocated();
        rig.model(ioward::types::IommuId(0)).unwrap().set_hung(true);
        assert!(mapping.unmap().is_err());
        assert!(!nic.engines[0].is_bus_master(), "{kind:?}");
        assert_eq!(rig.memory.allocated(), allocated, "{kind:?}: withheld for ever");
        assert!(matches!(nic.device.reset(), Err(ResetError::Hung(_))));
    }
}

#[test]
fn a_device_pulled_while_mappings_live_can_still_unmap() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], true, |_| {});
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"pulled");
        assert!(reads(&nic, None, &mapping, b"pulled"));
        nic.engines[0].set_deaf(true);
        let engine = nic.engines[0].clone();
        let blocked = nic.device.remove(true);
        assert_eq!(blocked, ioward::core::driver::Blocked::Confirmed, "{kind:?}");
        let buffer = mapping.unmap().unwrap();
        let mut seen = [0; 6];
        assert!(buffer.read(0, &mut seen) && &seen == b"pulled");
        engine.write(None, Iova(0x1000), b"ghost").unwrap_err();
        drop((bound, buffer));
        rig.violations.assert_none();
    }
    let _ = Kind::Smmu;
}
