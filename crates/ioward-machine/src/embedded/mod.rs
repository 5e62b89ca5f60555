//! The machine that is built in: small, and made of the cases that make domain allocation hard.
//!
//! | device | case |
//! | --- | --- |
//! | `nic` | nothing special; behind an SMMUv3 with both stages |
//! | `gpu.audio`, `gpu` | one group whose second member is the one with PASIDs |
//! | `camera.a`, `camera.b` | one group behind two SMMUv3 that differ in width and stages |
//! | `fpga.near`, `fpga.far` | one group that spans an SMMUv3 and an AMD-Vi |
//! | `nvme` | PASIDs and ATS behind AMD-Vi |
//! | `usb` | firmware requires a region for it from the first instant |
//! | `pci.sound`, `pci.tuner` | a conventional bus: both issue the bridge's requester ID |
//! | `dock.disk` | plugged in from outside: no ATS |
//! | `sensor` | its IOMMU comes up late |
//! | `legacy` | cannot be attached: its SMMU has no entry that far |
//! | `unknown` | blocked by policy |
//! | `xpu`, `audio` | PASIDs and ATS behind VT-d, and a device without |
//! | `npu`, `eth` | the same behind a RISC-V IOMMU |
//! | `vnic`, `vdisk.a`, `vdisk.b` | behind a virtio-iommu, which has no tables; the last two are one group |
//! | `bridge.near`, `bridge.far` | one group that spans a VT-d unit and a virtio-iommu: a table and requests hold the same |
//! | `disk`, `accel` | `accel` has PASIDs and is plugged in while `disk` does DMA: the live domain changes tables |
//! | `vm.nic` | owned by a hypervisor for a while: an unbound domain, then its own stage 2 table |
//! | `vgpu` | mediated: has an owner and no domain |

mod acts;
mod table;

use crate::{
    rig::{Endpoint, Rig, RigError, Told},
    running::{Running, Unit, UnitState, UnitTraits},
};
use ioward::{
    core::{DefaultKind, DeviceDesc, PasidOffer, Policy, Region, RegionKind, Source},
    types::{Attributes, IommuId, PhysAddr, Platform, SourceId, Span, describe::VtD},
};
use ioward_models::{
    amdvi::AmdViConfig, riscv::Features as RiscVFeatures, smmuv3::Features, virtio::VirtioIommuConfig,
    vtd::VtdConfig,
};

/// The SMMUv3 with both stages and 48 bits.
const SMMU_WIDE: u32 = 0;
/// The SMMUv3 with stage 2 alone and 40 bits. It comes up late.
const SMMU_NARROW: u32 = 1;
/// The AMD-Vi.
const AMD: u32 = 2;
/// The VT-d unit, in scalable mode.
const VTD: u32 = 3;
/// The RISC-V IOMMU.
const RISCV: u32 = 4;
/// The virtio-iommu.
const VIRTIO: u32 = 5;

fn source(iommu: u32, source: u32) -> Source {
    (IommuId(iommu), SourceId(source))
}

/// The policy of the embedded machine: translate everybody, block whoever is `unknown`.
pub fn policy() -> Policy {
    Policy {
        by_group: Some(Box::new(|group| {
            group.names.iter().any(|name| name == "unknown").then_some(DefaultKind::Blocked)
        })),
        ..Policy::default()
    }
}

/// Builds the machine and plays what happens on it before the proof; what that showed is in [`Running::checks`].
pub fn build(policy: Policy) -> Result<Running, RigError> {
    build_with(policy, |_| {})
}

/// The same, and `prepare` is called when all IOMMUs but one have come up and no device is there: the place to break something.
pub fn build_with(policy: Policy, prepare: impl FnOnce(&mut Running)) -> Result<Running, RigError> {
    let mut running = place(policy);
    running.rig.start(SMMU_WIDE)?;
    for id in [AMD, VTD, RISCV, VIRTIO] {
        running.rig.start(id)?;
    }
    prepare(&mut running);
    acts::late_iommu(&mut running)?;
    served(&mut running);
    acts::refused(&mut running);
    acts::formats(&mut running);
    acts::mediated(&mut running);
    acts::hot_add(&mut running);
    acts::hypervisor(&mut running);
    Ok(running)
}

/// Models and no drivers yet.
fn place(policy: Policy) -> Running {
    let mut rig = Rig::new(policy);
    let wide = Features::default();
    let narrow = Features {
        stage1: false,
        out_bits: 40,
        sid_bits: 8,
        ssid_bits: 0,
        two_level_streams: false,
        range_invalidation: false,
        ats: false,
        pri: false,
        ..wide
    };
    let amd = AmdViConfig::default();
    rig.smmu(SMMU_WIDE, wide);
    rig.smmu(SMMU_NARROW, narrow);
    let amd_pasids = amd.pasid_bits;
    let vtd = VtdConfig::default();
    let vtd_pasids = vtd.pasid_bits;
    rig.amd(AMD, amd);
    rig.vtd(VTD, vtd);
    rig.tell(VTD, Told::Vtd(VtD { interrupt_remapping: true, ..VtD::default() }));
    rig.riscv(RISCV, RiscVFeatures::default());
    rig.virtio(VIRTIO, VirtioIommuConfig::default());
    let mut running = Running::new(rig);
    acts::declare(&mut running.checks);
    let unit = |id, name: &str, kind: &str, pasid_bits| Unit {
        id: IommuId(id),
        name: name.into(),
        kind: kind.into(),
        described: "embedded".into(),
        state: UnitState::Runs,
        traits: UnitTraits { no_stage2: false, pasid_bits },
    };
    running.units = vec![
        unit(SMMU_WIDE, "wide: both stages, 48 bits", "SMMUv3", wide.ssid_bits),
        unit(SMMU_NARROW, "narrow: stage 2, 40 bits", "SMMUv3", 0),
        unit(AMD, "v1 and v2 tables", "AMD-Vi", amd_pasids),
        unit(VTD, "scalable mode, both stages", "VT-d", vtd_pasids),
        unit(RISCV, "both stages, 57 bits", "RISC-V IOMMU", 20),
        unit(VIRTIO, "by request", "virtio-iommu", 0),
    ];
    running
}

/// Adds a device as `adjust` says and admits it.
fn add<'a>(
    running: &mut Running,
    name: &'a str,
    sources: &[(u32, u32)],
    caches: bool,
    adjust: impl FnOnce(&mut DeviceDesc<'a>),
) -> usize {
    let mut regions = Vec::new();
    let endpoint: Endpoint = running.rig.device(name, sources, caches, |desc| {
        adjust(desc);
        regions = desc.regions.to_vec();
    });
    running.admit(name, endpoint, regions)
}

/// The devices that are there from the start.
fn served(running: &mut Running) {
    add(running, "nic", &[(SMMU_WIDE, 0x08)], true, |_| {});
    let gpu = [source(SMMU_WIDE, 0x10), source(SMMU_WIDE, 0x11)];
    add(running, "gpu.audio", &[(SMMU_WIDE, 0x10)], false, |desc| desc.joins = &gpu);
    add(running, "gpu", &[(SMMU_WIDE, 0x11)], true, |desc| {
        desc.joins = &gpu;
        desc.pasid = PasidOffer::bits(8);
    });
    let camera = [source(SMMU_WIDE, 0x20), source(SMMU_NARROW, 0x20)];
    add(running, "camera.a", &[(SMMU_WIDE, 0x20)], false, |desc| desc.joins = &camera);
    add(running, "camera.b", &[(SMMU_NARROW, 0x20)], false, |desc| desc.joins = &camera);
    let fpga = [source(SMMU_WIDE, 0x30), source(AMD, 0x30)];
    add(running, "fpga.near", &[(SMMU_WIDE, 0x30)], false, |desc| desc.joins = &fpga);
    add(running, "fpga.far", &[(AMD, 0x30)], false, |desc| desc.joins = &fpga);
    add(running, "nvme", &[(AMD, 0x100)], true, |desc| desc.pasid = PasidOffer::bits(8));
    let region = firmware_region(&running.rig);
    let regions: &[Region] = &region;
    add(running, "usb", &[(AMD, 0x80)], false, |desc| desc.regions = regions);
    // Behind a bridge to a conventional bus every request carries the bridge's ID for bus 2.
    add(running, "pci.sound", &[(AMD, 0x200)], false, |_| {});
    add(running, "pci.tuner", &[(AMD, 0x200)], false, |_| {});
    add(running, "dock.disk", &[(AMD, 0x300)], true, |desc| desc.trusted = false);
    add(running, "unknown", &[(AMD, 0x310)], false, |_| {});
    for (iommu, rich, plain) in [(VTD, "xpu", "audio"), (RISCV, "npu", "eth")] {
        add(running, rich, &[(iommu, 0x100)], true, |desc| desc.pasid = PasidOffer::bits(8));
        add(running, plain, &[(iommu, 0x08)], false, |_| {});
    }
    add(running, "vnic", &[(VIRTIO, 0x08)], false, |_| {});
    let disks = [source(VIRTIO, 0x10), source(VIRTIO, 0x11)];
    add(running, "vdisk.a", &[(VIRTIO, 0x10)], false, |desc| desc.joins = &disks);
    add(running, "vdisk.b", &[(VIRTIO, 0x11)], false, |desc| desc.joins = &disks);
    let bridge = [source(VTD, 0x30), source(VIRTIO, 0x30)];
    add(running, "bridge.near", &[(VTD, 0x30)], false, |desc| desc.joins = &bridge);
    add(running, "bridge.far", &[(VIRTIO, 0x30)], false, |desc| desc.joins = &bridge);
}

/// Two pages that firmware keeps something in.
fn firmware_region(rig: &Rig) -> Vec<Region> {
    // A machine with so much memory has two pages; without them there is no region.
    let start = rig.platform.frames(8192, 4096, PhysAddr(u64::MAX)).ok();
    let how = Attributes::READ_WRITE;
    let kind = RegionKind::Required { how, relaxable: true };
    start.map(|start| Region { span: Span { start, bytes: 8192 }, kind }).into_iter().collect()
}
