//! An IOMMU that cannot be driven is refused with the reason, its devices wait and are kept off, and the rest of the machine
//! comes up.

use ioward::core::{BindError, DeviceDesc, Dma, FrameBuffer, Status};
use ioward::types::{Direction, IommuId, Iova};
use ioward_machine::{Model, Rig};
use ioward_models::{
    DmaError, amdvi::AmdViConfig, riscv::Features as RiscVFeatures, smmuv3::Features,
    virtio::VirtioIommuConfig, vtd::VtdConfig,
};

/// What is wrong with IOMMU 0, and how it is put on the fabric.
type Wrong = (&'static str, fn(&mut Rig));

fn gone(model: Model) {
    match model {
        Model::Smmu(model) => model.set_gone(true),
        Model::Amd(model) => model.set_gone(true),
        Model::Vtd(model) => model.set_gone(true),
        Model::RiscV(model) => model.set_gone(true),
        Model::Virtio(model) => model.set_gone(true),
        other => panic!("{other:?}"),
    }
}

/// All-ones registers, capabilities that contradict each other, widths that no format can serve.
const WRONG: [Wrong; 12] = [
    ("SMMUv3, all ones", |rig| gone(rig.smmu(0, Features::default()))),
    ("SMMUv3 without a stage", |rig| {
        drop(rig.smmu(0, Features { stage1: false, stage2: false, ..Features::default() }))
    }),
    ("AMD-Vi, all ones", |rig| gone(rig.amd(0, AmdViConfig::default()))),
    ("AMD-Vi, dirty without accessed", |rig| {
        drop(rig.amd(0, AmdViConfig { accessed: false, dirty: true, ..AmdViConfig::default() }))
    }),
    ("VT-d, all ones", |rig| gone(rig.vtd(0, VtdConfig::default()))),
    ("VT-d without a width", |rig| {
        drop(rig.vtd(0, VtdConfig { widths: 0, first_stage: false, ..VtdConfig::default() }))
    }),
    ("VT-d of few address bits", |rig| {
        drop(rig.vtd(0, VtdConfig { address_bits: 8, ..VtdConfig::legacy() }))
    }),
    ("RISC-V IOMMU, all ones", |rig| gone(rig.riscv(0, RiscVFeatures::default()))),
    ("RISC-V IOMMU without a stage", |rig| {
        drop(rig.riscv(0, RiscVFeatures { first_bits: 0, second_bits: 0, ..RiscVFeatures::default() }))
    }),
    ("RISC-V IOMMU without a directory", |rig| {
        drop(rig.riscv(0, RiscVFeatures { levels: [false; 3], ..RiscVFeatures::default() }))
    }),
    ("virtio-iommu, all ones", |rig| gone(rig.virtio(0, VirtioIommuConfig::default()))),
    ("virtio-iommu whose bypass stays on", |rig| {
        drop(rig.virtio(0, VirtioIommuConfig { bypass_stuck: true, ..VirtioIommuConfig::default() }))
    }),
];

#[test]
fn an_iommu_that_cannot_be_driven_is_refused_with_the_reason_and_the_rest_comes_up() {
    for (what, place) in WRONG {
        let mut rig = Rig::default();
        place(&mut rig);
        rig.smmu(1, Features::default());
        let behind = rig.device("behind", &[(0, 8)], false, |_: &mut DeviceDesc<'_>| {});
        let error = rig.start(0).expect_err(what).to_string();
        assert!(error.len() > 20, "{what}: {error}");
        println!("{what}: {error}");
        rig.start(1).unwrap();
        assert_eq!(behind.device.status(), Status::Waiting(IommuId(0)), "{what}");
        assert!(matches!(behind.device.bind(), Err(BindError::NotServed(_))), "{what}");
        assert_eq!(behind.write(None, Iova(0x8000_0000), b"early"), Err(DmaError::Silenced), "{what}");
        let other = rig.device("other", &[(1, 8)], false, |_| {});
        assert_eq!(other.device.status(), Status::Served, "{what}");
        let bound = other.device.bind().unwrap();
        let buffer = FrameBuffer::new(&rig.platform, 4096, 4096).unwrap();
        let mapping = Dma::map(&**bound.dma(), buffer, Direction::Both).map_err(|(why, _)| why).unwrap();
        other.write(None, mapping.iova(), b"served").unwrap();
        // A device that comes later waits as well.
        let late = rig.device("late", &[(0, 16)], false, |_| {});
        assert_eq!(late.device.status(), Status::Waiting(IommuId(0)), "{what}");
        assert_eq!(late.write(None, Iova(0x8000_0000), b"late"), Err(DmaError::Silenced), "{what}");
    }
}
