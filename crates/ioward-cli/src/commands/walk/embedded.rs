//! Walks in the memory of the embedded machine, as its IOMMUs' registers say.

use super::Named;
use ioward::{
    core::{Dma, FrameBuffer},
    pgtable::ReadMemory,
    types::{Direction, Iova, PhysAddr},
};
use ioward_machine::{Running, embedded};
use ioward_study::walk::{self, Device, End, Origin, Report, models};

/// The bytes of the page that is mapped where nobody names an address.
const PAGE: usize = 4096;

/// The machine's memory.
struct Memory<'a>(&'a Running);

impl ReadMemory for Memory<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let mut word = [0; 8];
        self.0.rig.memory.dma_read("walk", at, &mut word).ok()?;
        Some(u64::from_le_bytes(word))
    }
}

/// A walk for each source of a device. Where no address is given, a page is mapped for it, and its address is walked.
pub fn walks(device: &str, iova: Option<u64>, pasid: Option<u32>) -> Result<Vec<Named>, String> {
    let running = embedded::build(embedded::policy()).map_err(|error| error.to_string())?;
    let Some(member) = running.members.iter().find(|member| member.name == device) else {
        let names: Vec<&str> = running.members.iter().map(|member| member.name.as_str()).collect();
        return Err(format!("the embedded machine has no device {device:?}; it has {}", names.join(", ")));
    };
    // What is bound and mapped stays so until the walks are done.
    let bound = member.device.as_ref().map(|handle| handle.bind());
    let mut mapping = None;
    let iova = match iova {
        Some(iova) => Iova(iova),
        None => {
            let bound = match &bound {
                Some(Ok(bound)) => bound,
                Some(Err(error)) => {
                    return Err(format!("{device} cannot be bound: {error}; name an address to walk"));
                }
                None => return Err(format!("{device} was never added; name an address to walk")),
            };
            let buffer =
                FrameBuffer::new(&running.rig.platform, PAGE, PAGE).map_err(|error| error.to_string())?;
            let mapped = Dma::map(bound.dma().clone(), buffer, Direction::Both)
                .map_err(|(error, _)| error.to_string())?;
            mapping.insert(mapped).iova()
        }
    };
    let memory = Memory(&running);
    let walks = member.sources.iter().map(|(iommu, source)| {
        let name = running.unit(*iommu).map_or("an IOMMU", |unit| unit.kind.as_str());
        let of = format!("{device}, source {:#x} of IOMMU {} ({name})", source.0, iommu.0);
        let device = Device { source: source.0, pasid };
        let registers = running.rig.model(*iommu).map(|model| model.iommu());
        let origin: Option<Origin> =
            registers.and_then(|registers| models::origin(name, &*registers, device));
        let report = match origin {
            Some(origin) => walk::walk(&memory as &dyn ReadMemory, &origin, iova),
            None => Report {
                iova: iova.0,
                lookups: Vec::new(),
                walks: Vec::new(),
                end: End::Unknown { why: format!("{name} has no tables in memory: it takes requests") },
            },
        };
        Named { of, report }
    });
    Ok(walks.collect())
}
