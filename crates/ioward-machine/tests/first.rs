//! The shortest way from an IOMMU to isolated DMA.

use ioward::core::{Dma, FrameBuffer, Status};
use ioward::types::Direction;
use ioward_machine::Rig;
use ioward_models::{amdvi::AmdViConfig, smmuv3::Features};

fn one_device_does_dma(mut build: impl FnMut(&mut Rig)) {
    let mut rig = Rig::default();
    build(&mut rig);
    rig.start(0).unwrap();
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    assert_eq!(nic.device.status(), Status::Served);
    let bound = nic.device.bind().unwrap();
    let mut buffer = FrameBuffer::new(&rig.platform, 4096, 4096).unwrap();
    assert!(buffer.write(0, b"hello"));
    let mapping = Dma::map(&**bound.dma(), buffer, Direction::Both).unwrap();
    let mut seen = [0; 5];
    nic.read(None, mapping.iova(), &mut seen).unwrap();
    assert_eq!(&seen, b"hello");
    nic.write(None, mapping.iova(), b"world").unwrap();
    let at = mapping.iova();
    let buffer = mapping.unmap().unwrap();
    assert!(buffer.read(0, &mut seen));
    assert_eq!(&seen, b"world");
    nic.write(None, at, b"rogue").unwrap_err();
    let reports = rig.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    drop((bound, nic, buffer));
    rig.violations.assert_none();
}

#[test]
fn smmuv3() {
    one_device_does_dma(|rig| drop(rig.smmu(0, Features::default())));
}

#[test]
fn amdvi() {
    one_device_does_dma(|rig| drop(rig.amd(0, AmdViConfig::default())));
}
