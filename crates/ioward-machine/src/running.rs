//! A machine that runs: models, drivers, subsystem, and every device with its engines.

use crate::{
    checks::Checks,
    rig::{Endpoint, Rig},
};
use ioward::{
    core::{Device, GroupId, Region, RegionKind, Source, Status, device::PasidDenied},
    types::{IommuId, Iova, PhysAddr, Span},
};
use ioward_models::{DmaEngine, DmaError, SimPlatform};

/// An IOMMU of the machine, for reports.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its number.
    pub id: IommuId,
    /// What people call it.
    pub name: String,
    /// What it is: `SMMUv3`, `AMD-Vi`, or a kind that nothing here drives.
    pub kind: String,
    /// Where it comes from: a table and an offset, or `embedded`.
    pub described: String,
    /// Whether it translates, or why it does not.
    pub state: UnitState,
    /// What of it matters for the choice of tables.
    pub traits: UnitTraits,
}

/// How an IOMMU stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnitState {
    /// Its driver runs on its model.
    Runs,
    /// Nothing here drives this kind.
    Unsupported,
    /// Firmware disabled it.
    Disabled,
    /// Its driver refused it, for this reason.
    Failed(String),
}

/// What of an IOMMU matters for the choice of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnitTraits {
    /// An SMMUv3 without stage 2.
    pub no_stage2: bool,
    /// PASID bits; zero for none.
    pub pasid_bits: u8,
}

/// A device of the machine.
pub struct Member {
    /// Its name.
    pub name: String,
    /// What its requests carry.
    pub sources: Vec<Source>,
    /// What makes its requests, in the order of the sources.
    pub engines: Vec<DmaEngine>,
    /// The subsystem's handle; none where discovery refused the device, so that it was never added.
    pub device: Option<Device<SimPlatform>>,
    /// Why discovery refused it or why it is unserved.
    pub why: Option<String>,
    /// What is special about addresses for it.
    pub regions: Vec<Region>,
}

/// A machine that runs.
pub struct Running {
    /// Models, memory, subsystem.
    pub rig: Rig,
    /// Its IOMMUs.
    pub units: Vec<Unit>,
    /// Its devices.
    pub members: Vec<Member>,
    /// What a reader has to know about how it was put together.
    pub notes: Vec<String>,
    /// What was checked while it was put together.
    pub checks: Checks,
}

impl Running {
    /// A machine without devices, with every claim of the proof declared.
    pub fn new(rig: Rig) -> Self {
        let mut checks = Checks::default();
        crate::prove::declare(&mut checks);
        Self { rig, units: Vec::new(), members: Vec::new(), notes: Vec::new(), checks }
    }

    /// Takes a device that was just added, and checks at once that the regions which firmware requires work for it.
    pub fn admit(&mut self, name: &str, endpoint: Endpoint, regions: Vec<Region>) -> usize {
        let Endpoint { engines, device } = endpoint;
        let sources = device.info().sources;
        let (device, why) = (Some(device), None);
        self.members.push(Member { name: name.into(), sources, engines, device, why, regions });
        let index = self.members.len() - 1;
        self.check_regions(index, "from the first instant");
        index
    }

    /// Checks that a served device reaches its required regions, at the addresses that they have.
    pub fn check_regions(&mut self, index: usize, when: &str) {
        let Some(member) = self.members.get(index) else { return };
        if member.status() != Some(Status::Served) {
            return;
        }
        for region in &member.regions {
            let RegionKind::Required { how, .. } = region.kind else { continue };
            let first = region.span.start.0;
            for at in [first, (first + region.span.bytes).saturating_sub(8)] {
                for engine in &member.engines {
                    let mut word = [0; 8];
                    let read = engine.read(None, Iova(at), &mut word);
                    let write = engine.write(None, Iova(at), &word);
                    let holds = arrives(&read, at) == how.read && arrives(&write, at) == how.write;
                    self.checks.expect("regions", holds, || {
                        format!(
                            "{}: {at:#x} in {} {when}: read {read:?}, write {write:?}",
                            member.name, region.span
                        )
                    });
                }
            }
        }
    }

    /// The name of an IOMMU.
    pub fn unit(&self, id: IommuId) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.id == id)
    }

    /// How many devices are served.
    pub fn served(&self) -> usize {
        self.members.iter().filter(|member| member.status() == Some(Status::Served)).count()
    }
}

/// A request that went to the physical address `at`: where there is memory it is done, and elsewhere the bus has no one to
/// answer it.
fn arrives(result: &Result<(), DmaError>, at: u64) -> bool {
    match result {
        Ok(()) => true,
        Err(DmaError::Bus(to)) => *to == PhysAddr(at),
        Err(_) => false,
    }
}

impl Member {
    /// How it stands with the subsystem; none where it was never added.
    pub fn status(&self) -> Option<Status> {
        self.device.as_ref().map(Device::status)
    }

    /// Its group.
    pub fn group(&self) -> Option<GroupId> {
        self.device.as_ref()?.info().group
    }

    /// The PASIDs that it was granted, in bits, or why none.
    pub fn pasid(&self) -> Result<u8, PasidDenied> {
        self.device.as_ref().map_or(Err(PasidDenied::Device), |device| device.info().pasid)
    }

    /// Whether firmware requires that it reaches `at`.
    pub fn requires(&self, at: Iova) -> bool {
        self.regions.iter().any(|region| {
            let span = Span { start: Iova(region.span.start.0), bytes: region.span.bytes };
            matches!(region.kind, RegionKind::Required { .. }) && span.contains(at)
        })
    }
}
