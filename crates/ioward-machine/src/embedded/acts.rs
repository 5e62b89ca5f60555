//! What happens on the embedded machine before everything is proven of everybody.

use super::{AMD, RISCV, SMMU_NARROW, SMMU_WIDE, VTD, add, source, table::Stage2};
use crate::{
    checks::Checks,
    rig::RigError,
    running::{Member, Running},
};
use ioward::{
    core::{
        AddError, Bound, Dma, DomainInfo, FrameBuffer, Mapping, PasidOffer, Status, Unbound,
        driver::{Plan, Refused},
    },
    types::{Attributes, Direction, Format, Frames, IommuId, Iova, PhysAddr, Span},
};
use ioward_models::{DmaEngine, SimPlatform};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PAGE: u64 = 4096;
/// The longest that the other threads are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the acts show.
const CLAIMS: [(&str, &str); 7] = [
    ("late", "a device whose IOMMU is not up waits in silence, and is served once it is"),
    ("refused", "a device that cannot be attached is refused with the reason, and changes nothing"),
    ("formats", "a group's tables suit all its members and all their IOMMUs"),
    ("mediated", "a mediated device has an owner, and no IOMMU is asked about it"),
    (
        "live",
        "a live domain changes tables under running DMA: no mapping is missed, nothing stale is reached",
    ),
    (
        "unbound",
        "an unbound domain is planned for its group when it is bound, and leads where its owner says",
    ),
    ("table", "a hypervisor's own stage 2 table translates, and what it unmaps is out of reach"),
];

pub fn declare(checks: &mut Checks) {
    CLAIMS.iter().for_each(|(id, claim)| checks.declare(id, claim));
}

/// The narrow SMMU has no driver yet when its device is found.
pub fn late_iommu(running: &mut Running) -> Result<(), RigError> {
    let sensor = add(running, "sensor", &[(SMMU_NARROW, 0x40)], false, |_| {});
    let waiting = Status::Waiting(IommuId(SMMU_NARROW));
    check_sensor(running, sensor, waiting, false);
    running.rig.start(SMMU_NARROW)?;
    check_sensor(running, sensor, Status::Served, true);
    Ok(())
}

fn check_sensor(running: &mut Running, sensor: usize, expected: Status, binds: bool) {
    let member = &running.members[sensor];
    let status = member.status();
    running.checks.expect("late", status == Some(expected), || format!("sensor is {status:?}"));
    let bound = member.device.as_ref().map(ioward::core::Device::bind);
    let bound = bound.is_some_and(|bound| bound.is_ok());
    running.checks.expect("late", bound == binds, || format!("a driver binds to sensor: {bound}"));
    let result = member.engines[0].write(None, Iova(running.rig.memory.span().start.0), b"early");
    running.checks.expect("late", result.is_err(), || format!("sensor writes without a mapping: {result:?}"));
    running.rig.reports();
}

/// A device in the group of `nic` whose source the narrow SMMU does not have.
pub fn refused(running: &mut Running) {
    let nic = running.members.iter().position(|member| member.name == "nic").unwrap_or_default();
    let domains = |running: &Running| {
        let group = running.members[nic].group()?;
        running.rig.subsystem.group(group).map(|group| group.domains)
    };
    let before = domains(running);
    let joins = [source(SMMU_WIDE, 0x08)];
    let legacy = add(running, "legacy", &[(SMMU_NARROW, 0x1ff)], false, |desc| desc.joins = &joins);
    let after = domains(running);
    running.checks.expect("refused", before == after, || "the group of nic has changed".into());
    let status = running.members[legacy].status();
    let refused = matches!(status, Some(Status::Refused(AddError::Driver(Refused::Source { .. }))));
    running.checks.expect("refused", refused, || format!("legacy is {status:?}"));
}

/// What each group is on.
pub fn formats(running: &mut Running) {
    let expected = [
        ("nic", &[Format::ArmStage2][..]),
        ("gpu.audio", &[Format::ArmStage1]),
        ("gpu", &[Format::ArmStage1]),
        ("camera.a", &[Format::ArmStage2]),
        ("camera.b", &[Format::ArmStage2]),
        ("fpga.near", &[Format::ArmStage2]),
        ("fpga.far", &[Format::AmdV1]),
        ("nvme", &[Format::AmdV2]),
        ("pci.sound", &[Format::AmdV1]),
        ("xpu", &[Format::VtdFirst]),
        ("audio", &[Format::VtdSecond]),
        ("npu", &[Format::RiscvFirst]),
        ("eth", &[Format::RiscvSecond]),
        ("vnic", &[]),
        ("bridge.near", &[Format::VtdSecond]),
        ("bridge.far", &[]),
    ];
    for (name, formats) in expected {
        let found = running.members.iter().find(|member| member.name == name);
        let seen = found.map(|member| formats_of(running, member)).unwrap_or_default();
        running.checks.expect("formats", seen == formats, || format!("{name} is on {seen:?}"));
    }
    let together = [
        ("camera.a", "camera.b"),
        ("fpga.near", "fpga.far"),
        ("pci.sound", "pci.tuner"),
        ("vdisk.a", "vdisk.b"),
        ("bridge.near", "bridge.far"),
    ];
    for (one, other) in together {
        let group = |name: &str| running.members.iter().find(|member| member.name == name)?.group();
        let (one, other) = (group(one), group(other));
        running.checks.expect("formats", one.is_some() && one == other, || {
            format!("groups {one:?} and {other:?} should be one")
        });
    }
}

fn formats_of(running: &Running, member: &Member) -> Vec<Format> {
    let info = member.group().and_then(|group| running.rig.subsystem.group(group));
    let domains = info.map(|info| info.domains).unwrap_or_default();
    let own = domains.into_iter().filter(|(source, _)| member.sources.contains(source));
    own.filter_map(|(_, domain)| match domain {
        DomainInfo::Paging(Plan::Tables(config)) => Some(config.format),
        _ => None,
    })
    .collect()
}

/// A device whose DMA another one does.
pub fn mediated(running: &mut Running) {
    let before = running.rig.subsystem.devices().len();
    let mut vgpu = running.rig.subsystem.add_mediated("vgpu");
    let after = running.rig.subsystem.devices().len();
    running.checks.expect("mediated", before == after, || "vgpu is among the devices with sources".into());
    let owner = vgpu.take("a hypervisor").owner();
    running.checks.expect("mediated", owner == "a hypervisor", || format!("vgpu is owned by {owner}"));
    running
        .notes
        .push("vgpu is mediated: another device does its DMA, so it has an owner and no domain.".into());
}

type Mapped = Mapping<SimPlatform, FrameBuffer<SimPlatform>, Arc<Dma<SimPlatform>>>;

fn map(platform: &SimPlatform, bound: &Bound<SimPlatform>, byte: u8) -> Option<Mapped> {
    let mut buffer = FrameBuffer::new(platform, PAGE as usize, PAGE as usize).ok()?;
    buffer.write(0, &[byte; 16]);
    Dma::map(bound.dma().clone(), buffer, Direction::Both).ok()
}

fn reads(engine: &DmaEngine, mapping: &Mapped, byte: u8) -> bool {
    let mut seen = [0; 16];
    engine.read(None, mapping.iova(), &mut seen).is_ok() && seen == [byte; 16]
}

/// On each kind of IOMMU that has PASIDs: a device with PASIDs is plugged into the group of one that is busy.
pub fn hot_add(running: &mut Running) {
    let pairs = [
        (AMD, "disk", "accel"),
        (SMMU_WIDE, "disk.arm", "accel.arm"),
        (VTD, "disk.intel", "accel.intel"),
        (RISCV, "disk.riscv", "accel.riscv"),
    ];
    for (iommu, disk, accel) in pairs {
        let joins = [source(iommu, 0x90), source(iommu, 0x91)];
        let busy = add(running, disk, &[(iommu, 0x90)], false, |desc| desc.joins = &joins);
        let before = formats_of(running, &running.members[busy]);
        let newcomer = under_load(running, busy, |running| {
            let endpoint = running.rig.device(accel, &[(iommu, 0x91)], true, |desc| {
                desc.joins = &joins;
                desc.pasid = PasidOffer::bits(8);
            });
            Some(endpoint)
        });
        let Some(endpoint) = newcomer else { continue };
        let index = running.admit(accel, endpoint, Vec::new());
        let served = running.members[index].status() == Some(Status::Served);
        running.checks.expect("live", served, || format!("{accel} is not served"));
        let after = formats_of(running, &running.members[busy]);
        running.checks.expect("live", before != after && after.len() == 1, || {
            format!("{disk} was on {before:?} and is on {after:?}")
        });
    }
}

/// Calls `change` while the device reads all of its mappings over and over, and others come and go.
fn under_load<T>(
    running: &mut Running,
    busy: usize,
    change: impl FnOnce(&Running) -> Option<T>,
) -> Option<T> {
    let Some(Ok(bound)) = running.members[busy].device.as_ref().map(ioward::core::Device::bind) else {
        running.checks.expect("live", false, || "no driver binds".into());
        return None;
    };
    let platform = running.rig.platform.clone();
    let engine = running.members[busy].engines[0].clone();
    let live: Vec<Mapped> = (0..24).filter_map(|n| map(&platform, &bound, n)).collect();
    let (stop, missed, stale) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (rounds, others) = (AtomicU64::new(0), AtomicU64::new(0));
    let trouble = Mutex::new(None);
    let wait = |more: u64| {
        let (from, start) =
            ((rounds.load(Ordering::Relaxed), others.load(Ordering::Relaxed)), Instant::now());
        while start.elapsed() < PATIENCE
            && (rounds.load(Ordering::Relaxed) < from.0 + more
                || others.load(Ordering::Relaxed) < from.1 + more)
        {
            thread::yield_now();
        }
    };
    let shared = &*running;
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (n, mapping) in live.iter().enumerate() {
                    missed.fetch_add((!reads(&engine, mapping, n as u8)).into(), Ordering::Relaxed);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Some(mapping) = map(&platform, &bound, 0xee) else { continue };
                missed.fetch_add((!reads(&engine, &mapping, 0xee)).into(), Ordering::Relaxed);
                let at = mapping.iova();
                let unmapped = mapping.unmap();
                if let Err(hung) = &unmapped {
                    let first = |why: &mut Option<String>| why.get_or_insert_with(|| hung.to_string()).len();
                    trouble.lock().map(|mut why| first(&mut why)).ok();
                }
                let gone = unmapped.is_ok() && engine.write(None, at, b"stale").is_err();
                stale.fetch_add((!gone).into(), Ordering::Relaxed);
                // As a kernel's interrupt handler does: a log that overflows may hide that a device did not answer, and
                // the AMD-Vi driver then confirms no invalidation that asked one.
                shared.rig.reports();
                others.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait(2);
        let result = change(shared);
        wait(2);
        stop.store(true, Ordering::Relaxed);
        result
    });
    running.rig.reports();
    let (missed, stale) = (missed.into_inner(), stale.into_inner());
    let (rounds, others) = (rounds.into_inner(), others.into_inner());
    let trouble = trouble.into_inner().ok().flatten();
    running.checks.expect("live", trouble.is_none(), || trouble.unwrap_or_default());
    let unmissed =
        running.checks.expect("live", missed == 0, || format!("{missed} reads of live mappings failed"));
    let fresh =
        running.checks.expect("live", stale == 0, || format!("{stale} unmapped pages were still reached"));
    if unmissed && fresh {
        running.checks.held("live", rounds * live.len() as u64 + others);
    }
    running.checks.expect("live", rounds >= 4 && others >= 4, || {
        format!("only {rounds} rounds of reads and {others} of maps while the group changed")
    });
    result
}

/// A hypervisor takes a group, twice: with an address space of its own, and with a table that it writes itself.
pub fn hypervisor(running: &mut Running) {
    let nic = add(running, "vm.nic", &[(SMMU_WIDE, 0x50)], true, |desc| desc.pasid = PasidOffer::NONE);
    let mut checks = std::mem::take(&mut running.checks);
    let result = unbound(running, &mut checks, nic);
    checks.expect("unbound", result.is_ok(), || format!("vm.nic: {}", result.unwrap_err()));
    let result = foreign(running, &mut checks, nic);
    checks.expect("table", result.is_ok(), || format!("vm.nic: {}", result.unwrap_err()));
    running.checks = checks;
    running.rig.reports();
}

const GUEST: Iova = Iova(0x4000_0000);

fn page(running: &Running) -> Result<Frames<SimPlatform>, String> {
    Frames::new(&running.rig.platform, PAGE as usize, PAGE as usize, PhysAddr(u64::MAX))
        .map_err(|error| error.to_string())
}

fn take(running: &Running, nic: usize) -> Result<ioward::core::OwnedGroup<SimPlatform>, String> {
    let group = running.members[nic].group().ok_or("it has no group")?;
    running.rig.subsystem.take(group, "a hypervisor").map_err(|error| format!("{error:?}"))
}

fn unbound(running: &Running, checks: &mut Checks, nic: usize) -> Result<(), String> {
    let engine = &running.members[nic].engines[0];
    let wanted = Unbound::default();
    let owned = take(running, nic)?;
    let parked = engine.write(None, GUEST, b"parked");
    checks.expect("unbound", parked.is_err(), || format!("reached while parked: {parked:?}"));
    let space = wanted.bind(&owned).map_err(|(error, _)| error.to_string())?;
    checks.expect("unbound", space.plans().len() == 1, || format!("planned as {:?}", space.plans()));
    let page = page(running)?;
    let span = Span { start: GUEST, bytes: PAGE };
    // SAFETY: the page is this function's alone and is reached through `Frames`; it is freed after a gather for it has
    // finished, and leaked where anything fails before that.
    unsafe { space.map(GUEST, Span { start: page.phys(), bytes: PAGE }, Attributes::READ_WRITE) }
        .map_err(|error| error.to_string())?;
    owned.attach(&space).map_err(|error| error.to_string())?;
    let written = engine.write(None, GUEST, b"guest ok");
    let arrived = page.load64(0).to_le_bytes() == *b"guest ok";
    checks.expect("unbound", written.is_ok() && arrived, || format!("through the space: {written:?}"));
    let beyond = engine.write(None, Iova(GUEST.0 + PAGE), b"beyond");
    checks.expect("unbound", beyond.is_err(), || format!("beyond the page: {beyond:?}"));
    // SAFETY: mapped above by hand, by nobody else.
    let gather = unsafe { space.unmap(span, ()) }.map_err(|(error, ())| error.to_string())?;
    gather.finish().map_err(|error| error.to_string())?;
    let gone = engine.write(None, GUEST, b"gone");
    checks.expect("unbound", gone.is_err(), || format!("after unmap: {gone:?}"));
    drop(owned);
    // SAFETY: nothing maps it any more, and that was confirmed.
    unsafe { page.free() };
    Ok(())
}

fn foreign(running: &Running, checks: &mut Checks, nic: usize) -> Result<(), String> {
    let engine = &running.members[nic].engines[0];
    let owned = take(running, nic)?;
    let page = page(running)?;
    let table = Stage2::new(&running.rig.platform, GUEST, page.phys()).map_err(|error| error.to_string())?;
    // SAFETY: the table is a stage 2 table of this shape, is never freed, and leads to a page that is never freed either.
    unsafe { owned.attach_foreign(table.root(), Stage2::config()) }.map_err(|error| error.to_string())?;
    let written = engine.write(None, GUEST, b"table ok");
    let arrived = page.load64(0).to_le_bytes() == *b"table ok";
    checks.expect("table", written.is_ok() && arrived, || format!("through the table: {written:?}"));
    let beyond = engine.write(None, Iova(GUEST.0 + PAGE), b"beyond");
    checks.expect("table", beyond.is_err(), || format!("beyond the page: {beyond:?}"));
    table.clear(&running.rig.platform, GUEST);
    owned.flush_foreign(Span { start: GUEST, bytes: PAGE }).map_err(|error| error.to_string())?;
    let gone = engine.write(None, GUEST, b"gone");
    checks.expect("table", gone.is_err(), || format!("after the flush: {gone:?}"));
    drop(owned);
    let back = engine.write(None, GUEST, b"back");
    checks.expect("table", back.is_err(), || format!("after it was given back: {back:?}"));
    Ok(())
}
