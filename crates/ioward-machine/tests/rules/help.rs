//! What scenarios need again and again.

use ioward::core::{Bound, Dma, DomainInfo, FrameBuffer, GroupId, Mapping, Source, driver::Plan};
use ioward::types::{Direction, Format, IommuId, Pasid, SourceId};
use ioward_machine::{Endpoint, Rig};
use ioward_models::{
    SimPlatform, amdvi::AmdViConfig, riscv::Features as RiscVFeatures, smmuv3::Features, vtd::VtdConfig,
};
use std::sync::Arc;

pub type Mapped = Mapping<SimPlatform, FrameBuffer<SimPlatform>, Arc<Dma<SimPlatform>>>;

/// The kinds that rule 6 is about: those with PASIDs, for which a group's tables change format.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Smmu,
    Amd,
    Vtd,
    RiscV,
}

pub const KINDS: [Kind; 4] = [Kind::Smmu, Kind::Amd, Kind::Vtd, Kind::RiscV];

impl Kind {
    /// What a group without PASIDs is on, and one with.
    pub fn formats(self) -> (Format, Format) {
        match self {
            Self::Smmu => (Format::ArmStage2, Format::ArmStage1),
            Self::Amd => (Format::AmdV1, Format::AmdV2),
            Self::Vtd => (Format::VtdSecond, Format::VtdFirst),
            Self::RiscV => (Format::RiscvSecond, Format::RiscvFirst),
        }
    }
}

/// A rig with IOMMU 0 of this kind, started.
pub fn rig(kind: Kind) -> Rig {
    let mut rig = Rig::default();
    add(&mut rig, 0, kind);
    rig.start(0).unwrap();
    rig
}

pub fn add(rig: &mut Rig, id: u32, kind: Kind) {
    match kind {
        Kind::Smmu => drop(rig.smmu(id, Features::default())),
        Kind::Amd => drop(rig.amd(id, AmdViConfig::default())),
        Kind::Vtd => drop(rig.vtd(id, VtdConfig::default())),
        Kind::RiscV => drop(rig.riscv(id, RiscVFeatures::default())),
    }
}

pub fn source(iommu: u32, source: u32) -> Source {
    (IommuId(iommu), SourceId(source))
}

pub fn group_of(endpoint: &Endpoint) -> GroupId {
    endpoint.device.info().group.expect("a device with an IOMMU is in a group")
}

/// The format that each source's requests go through.
pub fn formats(rig: &Rig, endpoint: &Endpoint) -> Vec<(Source, Format)> {
    let info = rig.subsystem.group(group_of(endpoint)).unwrap();
    let format = |(source, domain): (Source, DomainInfo)| match domain {
        DomainInfo::Paging(Plan::Tables(config)) => (source, config.format),
        other => panic!("{source:?} is on {other:?}"),
    };
    info.domains.into_iter().map(format).collect()
}

/// A page that holds `text`, mapped for the bound device.
pub fn map(rig: &Rig, bound: &Bound<SimPlatform>, text: &[u8]) -> Mapped {
    let mut buffer = FrameBuffer::new(&rig.platform, 4096, 4096).unwrap();
    assert!(buffer.write(0, text));
    Dma::map(bound.dma().clone(), buffer, Direction::Both).map_err(|(error, _)| error).unwrap()
}

/// Whether the device reads `text` through this mapping.
pub fn reads(endpoint: &Endpoint, pasid: Option<Pasid>, mapping: &Mapped, text: &[u8]) -> bool {
    let mut seen = vec![0; text.len()];
    endpoint.read(pasid, mapping.iova(), &mut seen).is_ok() && seen == text
}
