//! Rule 7: a device joins a group whose domain is in use.

use crate::help::{KINDS, Kind, Mapped, add, formats, group_of, map, reads, rig, source};
use ioward::core::{AddError, Dma, FrameBuffer, MapError, PasidOffer, Status, driver::Requirements};
use ioward::types::{Direction, Pasid};
use ioward_machine::Rig;
use ioward_models::{amdvi::AmdViConfig, smmuv3::Features};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

#[test]
fn rule_07_a_live_domain_changes_carriers_under_running_dma() {
    for kind in KINDS {
        let rig = rig(kind);
        let siblings = [source(0, 8), source(0, 9)];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
        let bound = nic.device.bind().unwrap();
        let live: Vec<Mapped> = (0..40u8).map(|n| map(&rig, &bound, &[n; 16])).collect();
        assert_eq!(formats(&rig, &nic), [(source(0, 8), kind.formats().0)]);

        let (stop, rounds, remapped) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let gpu = thread::scope(|scope| {
            scope.spawn(|| {
                // The device never sees an instant in which a live mapping is not there.
                while !stop.load(Ordering::Relaxed) {
                    for (n, mapping) in live.iter().enumerate() {
                        assert!(reads(&nic, None, mapping, &[n as u8; 16]), "{kind:?}: mapping {n} was lost");
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                // Others map and unmap meanwhile.
                while !stop.load(Ordering::Relaxed) {
                    let mapping = map(&rig, &bound, b"meanwhile");
                    assert!(reads(&nic, None, &mapping, b"meanwhile"));
                    let at = mapping.iova();
                    mapping.unmap().unwrap();
                    assert!(
                        nic.write(None, at, b"stale").is_err(),
                        "{kind:?}: {at} is reachable after unmap"
                    );
                    remapped.fetch_add(1, Ordering::Relaxed);
                }
            });
            while rounds.load(Ordering::Relaxed) < 2 || remapped.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            let gpu = rig.device("gpu", &[(0, 9)], false, |desc| {
                desc.joins = &siblings;
                desc.pasid = PasidOffer::bits(8);
            });
            let seen = (rounds.load(Ordering::Relaxed), remapped.load(Ordering::Relaxed));
            while rounds.load(Ordering::Relaxed) < seen.0 + 2 || remapped.load(Ordering::Relaxed) < seen.1 + 2
            {
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
            gpu
        });

        assert_eq!(gpu.device.status(), Status::Served);
        let with_pasids = kind.formats().1;
        assert_eq!(formats(&rig, &nic), [(source(0, 8), with_pasids), (source(0, 9), with_pasids)]);
        for (n, mapping) in live.iter().enumerate() {
            assert!(reads(&nic, None, mapping, &[n as u8; 16]) && reads(&gpu, None, mapping, &[n as u8; 16]));
        }
        let gpu_bound = gpu.device.bind().unwrap();
        let space = gpu_bound.make_space(&Requirements::default()).unwrap();
        gpu_bound.attach_pasid(Pasid(3), &space).unwrap();
        let reports = rig.reports();
        let blamed = |report: &ioward::core::Report| matches!(report, ioward::core::Report::Fault { fault, .. } if live.iter().any(|m| fault.at.is_some_and(|at| m.span().contains(at))));
        assert!(!reports.iter().any(blamed), "{reports:?}");
        drop((live, space, gpu_bound, bound, gpu, nic));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_07_a_newcomer_behind_another_iommu_gets_every_live_mapping() {
    let mut rig = Rig::default();
    rig.smmu(0, Features::default());
    rig.amd(1, AmdViConfig::default());
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    let siblings = [source(0, 8), source(1, 8)];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
    let bound = nic.device.bind().unwrap();
    let big = FrameBuffer::new(&rig.platform, 8 << 20, 2 << 20).unwrap();
    let big = Dma::map(&**bound.dma(), big, Direction::ToDevice).map_err(|(error, _)| error).unwrap();
    let small = map(&rig, &bound, b"small");
    let late = rig.device("late", &[(1, 8)], false, |desc| desc.joins = &siblings);
    assert_eq!(late.device.status(), Status::Served);
    assert!(reads(&late, None, &small, b"small"));
    late.read(None, ioward::types::Iova(big.span().last().0 - 63), &mut [0; 64]).unwrap();
    late.write(None, big.iova(), b"read only").unwrap_err();
    let at = small.iova();
    drop(small);
    late.write(None, at, b"gone").unwrap_err();
    drop(big);
    drop(bound);
    rig.violations.assert_none();
}

#[test]
fn rule_07_a_newcomer_that_a_live_iova_does_not_fit_stays_blocked() {
    for kind in KINDS {
        let rig = rig(kind);
        let siblings = [source(0, 8), source(0, 9)];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"high");
        assert!(mapping.iova().0 >> 32 != 0);
        let before = rig.subsystem.group(group_of(&nic)).unwrap().domains;
        let narrow = rig.device("narrow", &[(0, 9)], false, |desc| {
            desc.joins = &siblings;
            desc.addr_bits = 32;
        });
        let why = narrow.device.status();
        assert!(matches!(why, Status::Refused(AddError::LiveIova(MapError::Iova(_)))), "{why:?}");
        narrow.write(None, mapping.iova(), b"evil").unwrap_err();
        assert_eq!(rig.subsystem.group(group_of(&nic)).unwrap().domains, before);
        assert!(reads(&nic, None, &mapping, b"high"));
        // Once the mapping is gone it fits.
        drop(mapping);
        assert_eq!(narrow.device.retry(), Status::Served);
        let mapping = map(&rig, &bound, b"low");
        assert!(mapping.iova().0 >> 32 == 0 && reads(&narrow, None, &mapping, b"low"));
        drop((mapping, bound));
        rig.violations.assert_none();
    }
}

#[test]
fn rule_07_a_newcomer_to_an_owned_group_stays_blocked_until_it_is_given_back() {
    let rig = rig(Kind::Amd);
    let siblings = [source(0, 8), source(0, 9)];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
    let owned = rig.subsystem.take(group_of(&nic), "a hypervisor").unwrap();
    let late = rig.device("late", &[(0, 9)], false, |desc| desc.joins = &siblings);
    assert_eq!(late.device.status(), Status::Refused(AddError::GroupOwned(group_of(&nic))));
    late.write(None, ioward::types::Iova(0x1000), b"x").unwrap_err();
    drop(owned);
    assert_eq!(late.device.status(), Status::Served);
}

#[test]
fn rule_07_a_device_that_would_merge_two_live_groups_is_refused() {
    let mut rig = Rig::default();
    add(&mut rig, 0, Kind::Smmu);
    rig.start(0).unwrap();
    let a = rig.device("a", &[(0, 8)], false, |_| {});
    let b = rig.device("b", &[(0, 16)], false, |_| {});
    let (_a_bound, _b_bound) = (a.device.bind().unwrap(), b.device.bind().unwrap());
    let joins = [source(0, 8), source(0, 16)];
    let bridge = rig.device("bridge", &[(0, 24)], false, |desc| desc.joins = &joins);
    assert_eq!(bridge.device.status(), Status::Refused(AddError::MergesGroups(group_of(&a), group_of(&b))));
    drop((_a_bound, _b_bound));
    assert_eq!(bridge.device.retry(), Status::Served);
    assert_eq!(group_of(&a), group_of(&b));
}

#[test]
fn rule_07_what_fails_in_the_middle_is_undone() {
    // Memory for tables runs out at every possible allocation while a live domain gets another carrier.
    for budget in 0..200 {
        let rig = rig(Kind::Amd);
        let siblings = [source(0, 8), source(0, 9)];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &siblings);
        let bound = nic.device.bind().unwrap();
        let live: Vec<Mapped> = (0..4u8).map(|n| map(&rig, &bound, &[n; 8])).collect();
        let allocated = rig.memory.allocated();
        rig.memory.set_budget(Some(budget));
        let gpu = rig.device("gpu", &[(0, 9)], false, |desc| {
            desc.joins = &siblings;
            desc.pasid = PasidOffer::bits(8);
        });
        rig.memory.set_budget(None);
        let served = gpu.device.status() == Status::Served;
        for (n, mapping) in live.iter().enumerate() {
            assert!(reads(&nic, None, mapping, &[n as u8; 8]), "budget {budget}");
            assert_eq!(reads(&gpu, None, mapping, &[n as u8; 8]), served, "budget {budget}");
        }
        if !served {
            assert_eq!(rig.memory.allocated(), allocated, "budget {budget}: nothing leaks");
            assert_eq!(formats(&rig, &nic), [(source(0, 8), Kind::Amd.formats().0)]);
        }
        drop((live, bound, gpu, nic));
        rig.violations.assert_none();
        if served {
            return;
        }
    }
    panic!("two hundred frames were not enough");
}
