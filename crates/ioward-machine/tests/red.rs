//! Each check of the proof can fail: isolation is broken on purpose, and the run turns red.

use ioward::{
    core::{DefaultKind, PasidOffer, Policy, Region, RegionKind},
    types::{Attributes, DeviceControl, IommuId, PhysAddr, Platform, Span},
};
use ioward_machine::{Rig, Running, embedded, prove::prove};
use ioward_models::{amdvi::AmdViConfig, smmuv3::Features};

/// Two devices of each IOMMU kind, each alone in its group; one has PASIDs, one a region that firmware requires.
fn machine(policy: Policy) -> Running {
    let mut rig = Rig::new(policy);
    rig.smmu(0, Features::default());
    rig.amd(1, AmdViConfig::default());
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    let mut running = Running::new(rig);
    for (name, iommu, source) in [("a", 0, 8), ("b", 0, 16), ("c", 1, 8), ("d", 1, 16)] {
        let start = running.rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
        let kind = RegionKind::Required { how: Attributes::READ_WRITE, relaxable: true };
        let regions = [Region { span: Span { start, bytes: 4096 }, kind }];
        let regions = if name == "d" { &regions[..] } else { &[] };
        let endpoint = running.rig.device(name, &[(iommu, source)], false, |desc| {
            desc.regions = regions;
            desc.pasid = if name == "b" { PasidOffer::bits(8) } else { PasidOffer::NONE };
        });
        running.admit(name, endpoint, regions.to_vec());
    }
    running
}

fn run(running: &mut Running) {
    prove(running, &mut |_| {});
}

/// The checks that failed.
fn red(running: &Running) -> Vec<&'static str> {
    running.checks.all().iter().filter(|check| check.failed != 0).map(|check| check.id).collect()
}

#[test]
fn the_machine_is_green_as_it_is_and_every_claim_is_tested() {
    let mut running = machine(Policy::default());
    run(&mut running);
    assert_eq!(red(&running), Vec::<&str>::new(), "{:#?}", running.checks.all());
    for check in running.checks.all() {
        // Here nobody is kept off.
        assert!(check.held > 0 || check.id == "kept-off", "{} was never tested", check.id);
    }
}

#[test]
fn identity_is_no_isolation() {
    let mut running = machine(Policy { trusted: DefaultKind::Identity, ..Policy::default() });
    run(&mut running);
    for id in ["foreign", "physical", "unmapped", "faults", "bytes", "read-only"] {
        assert!(red(&running).contains(&id), "{id} stayed green: {:?}", red(&running));
    }
}

#[test]
fn identity_for_one_group_alone_is_seen() {
    let by_group = |group: &ioward::core::GroupView| {
        group.names.iter().any(|name| name == "c").then_some(DefaultKind::Identity)
    };
    let mut running = machine(Policy { by_group: Some(Box::new(by_group)), ..Policy::default() });
    run(&mut running);
    let foreign = running.checks.get("physical").unwrap();
    // Whoever comes later finds what `c` has left.
    assert!(foreign.failures[0].starts_with("c uses"), "{:?}", foreign.failures);
    assert!(foreign.failed > 0);
}

/// CMD_TLBI_S12_VMALL, CMD_TLBI_S2_IPA, CMD_TLBI_NH_VA, CMD_TLBI_NH_ASID (IHI 0070, 4.4).
const SMMU_TLBI: [u64; 4] = [0x28, 0x2a, 0x12, 0x11];
/// INVALIDATE_IOMMU_PAGES, in bits 63:60 of the first word (48882 §2.4.3).
const AMD_PAGES: u64 = 3;

#[test]
fn a_lost_invalidation_leaves_memory_reachable() {
    for iommu in [0, 1] {
        let mut running = machine(Policy::default());
        let model = running.rig.model(IommuId(iommu)).unwrap().clone();
        model.filter(move |command| match iommu {
            0 => !SMMU_TLBI.contains(&(command[0] & 0xff)),
            _ => command[0] >> 60 != AMD_PAGES,
        });
        run(&mut running);
        assert!(red(&running).contains(&"unmapped"), "IOMMU {iommu}: {:?}", red(&running));
        let wrong = if iommu == 0 { ["c still", "d still"] } else { ["a still", "b still"] };
        let failures = &running.checks.get("unmapped").unwrap().failures;
        assert!(!failures.iter().any(|failure| wrong.iter().any(|name| failure.starts_with(name))));
    }
}

#[test]
fn a_device_that_is_silenced_does_not_reach_its_own_memory() {
    let mut running = machine(Policy::default());
    running.members[0].engines[0].bus_master(false);
    running.members[3].engines[0].bus_master(false);
    run(&mut running);
    for id in ["own", "equal", "faults", "regions"] {
        assert!(red(&running).contains(&id), "{id} stayed green: {:?}", red(&running));
    }
}

#[test]
fn pasids_that_the_device_does_not_send_are_seen() {
    let mut running = machine(Policy::default());
    running.members[1].engines[0].pasid(None);
    run(&mut running);
    assert_eq!(red(&running), ["pasid"]);
}

#[test]
fn a_violation_anywhere_turns_the_run_red() {
    let mut running = machine(Policy::default());
    running.rig.violations.report("test", "no section", "something that must not be");
    run(&mut running);
    assert_eq!(red(&running), ["hardware"]);
}

#[test]
fn a_waiting_device_that_issues_requests_is_seen() {
    let mut running = machine(Policy::default());
    running.rig.smmu(2, Features::default());
    let endpoint = running.rig.device("early", &[(2, 8)], false, |_| {});
    let early = running.admit("early", endpoint, Vec::new());
    // An SMMU out of reset lets everything through: bus mastering is all that keeps the device off.
    running.members[early].engines[0].bus_master(true);
    run(&mut running);
    assert!(red(&running).contains(&"kept-off"), "{:?}", red(&running));
}

#[test]
fn a_removed_device_that_still_reaches_memory_is_seen() {
    let mut running = machine(Policy::default());
    // Entries are forgotten by nobody: what the SMMU and the AMD-Vi have cached of them stays.
    for (iommu, opcode) in [(0, 0x03), (1, 2)] {
        let model = running.rig.model(IommuId(iommu)).unwrap().clone();
        model.filter(move |command| match iommu {
            0 => command[0] & 0xff != opcode && !SMMU_TLBI.contains(&(command[0] & 0xff)),
            _ => command[0] >> 60 != opcode && command[0] >> 60 != AMD_PAGES,
        });
    }
    run(&mut running);
    assert!(red(&running).contains(&"removed"), "{:?}", red(&running));
}

#[test]
fn the_embedded_machine_is_green_and_shows_every_case() {
    let mut running = embedded::build(embedded::policy()).unwrap();
    run(&mut running);
    assert_eq!(red(&running), Vec::<&str>::new(), "{:#?}", running.checks.all());
    for check in running.checks.all() {
        assert!(check.held > 0, "{} was never tested", check.id);
    }
}

#[test]
fn the_embedded_machine_without_isolation_is_red() {
    let policy = Policy { trusted: DefaultKind::Identity, ..Policy::default() };
    let mut running = embedded::build(policy).unwrap();
    run(&mut running);
    for id in ["late", "formats", "foreign"] {
        let check = running.checks.get(id).unwrap();
        assert!(check.failed > 0, "{id} stayed green");
    }
}

#[test]
fn what_the_acts_show_depends_on_invalidations() {
    let running = embedded::build_with(embedded::policy(), |running| {
        for (id, model) in running.rig.models() {
            model.filter(move |command| match id {
                IommuId(2) => command[0] >> 60 != AMD_PAGES,
                _ => !SMMU_TLBI.contains(&(command[0] & 0xff)),
            });
        }
    })
    .unwrap();
    for id in ["live", "unbound", "table"] {
        let check = running.checks.get(id).unwrap();
        assert!(check.failed > 0, "{id} stayed green");
    }
}
