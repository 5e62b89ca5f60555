//! Faults: decoded by the driver, attributed to a device, rate-limited, delivered.

use crate::{
    device::{DeviceId, Source},
    driver::{Event, Fault},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;
use ioward_types::{IommuId, Iova, Nanos, Pasid, SourceId};

/// How many faults of one source are delivered in a [`WINDOW`]; the rest are counted.
pub const BURST: u32 = 8;
/// How long a window is.
pub const WINDOW: Nanos = Nanos(1_000_000_000);

/// Devices with their names. Cheap to clone: an interrupt handler allocates nothing for it.
pub type Named = Arc<[(DeviceId, Arc<str>)]>;

/// What an IOMMU reports, attributed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A request that was not translated.
    Fault {
        /// Which IOMMU.
        iommu: IommuId,
        /// The devices that use the source; several where it is an alias, none where nobody has added it.
        devices: Named,
        /// What happened.
        fault: Fault,
        /// So many faults of the same source were not delivered before this one.
        suppressed: u32,
    },
    /// A device asks for a page.
    PageRequest {
        /// Which IOMMU.
        iommu: IommuId,
        /// The devices that use the source.
        devices: Named,
        /// Who asks.
        source: SourceId,
        /// For which address space.
        pasid: Option<Pasid>,
        /// For which page.
        at: Iova,
        /// The number that the answer carries.
        group: u16,
    },
    /// An IOMMU reports an error of its own.
    Unit {
        /// Which IOMMU.
        iommu: IommuId,
        /// What, in the specification's words.
        what: &'static str,
        /// The raw code.
        code: u64,
    },
    /// An IOMMU lost records: so many, or at least one where it does not count.
    Lost {
        /// Which IOMMU.
        iommu: IommuId,
        /// How many.
        count: u32,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { iommu, devices, fault, suppressed } => {
                write!(f, "IOMMU {iommu}: {} of source {}", fault.name, fault.source)?;
                for (n, (_, name)) in devices.iter().enumerate() {
                    write!(f, "{} {name}", if n == 0 { ":" } else { " or" })?;
                }
                if let Some(pasid) = fault.pasid {
                    write!(f, ", PASID {pasid}")?;
                }
                if let Some(access) = fault.access {
                    write!(f, ", {access:?}")?;
                }
                if let Some(at) = fault.at {
                    write!(f, " at {at}")?;
                }
                write!(f, " ({:?})", fault.cause)?;
                if *suppressed != 0 {
                    write!(f, ", {suppressed} more not shown")?;
                }
                Ok(())
            }
            Self::PageRequest { iommu, source, at, .. } => {
                write!(f, "IOMMU {iommu}: source {source} asks for the page at {at}")
            }
            Self::Unit { iommu, what, code } => write!(f, "IOMMU {iommu}: {what} ({code:#x})"),
            Self::Lost { iommu, count } => write!(f, "IOMMU {iommu}: {count} or more records lost"),
        }
    }
}

/// Who uses which source, and how many of its faults were delivered lately. Kept apart from the registry, so that an
/// interrupt handler needs a short lock only.
#[derive(Default)]
pub(crate) struct Sources {
    by_source: BTreeMap<Source, Known>,
    /// Sources that nobody has added, of each IOMMU together: a device that makes sources up cannot fill memory.
    strangers: BTreeMap<IommuId, Known>,
}

#[derive(Default)]
struct Known {
    devices: Named,
    window: Option<Nanos>,
    delivered: u32,
    suppressed: u32,
}

impl Sources {
    pub fn add(&mut self, source: Source, id: DeviceId, name: &str) {
        let known = self.by_source.entry(source).or_default();
        known.devices = known.devices.iter().cloned().chain([(id, name.into())]).collect();
        self.strangers.entry(source.0).or_default();
    }

    pub fn remove(&mut self, source: Source, id: DeviceId) {
        if let Some(known) = self.by_source.get_mut(&source) {
            let left: Vec<_> = known.devices.iter().filter(|(device, _)| *device != id).cloned().collect();
            known.devices = left.into();
            if known.devices.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }

    /// The report that an event makes; none where it is one of too many.
    pub fn report(&mut self, iommu: IommuId, now: Nanos, event: Event) -> Option<Report> {
        Some(match event {
            Event::Fault(fault) => {
                let known = match self.by_source.get_mut(&(iommu, fault.source)) {
                    Some(known) => known,
                    None => self.strangers.entry(iommu).or_default(),
                };
                if known.window.is_none_or(|start| now.0.saturating_sub(start.0) >= WINDOW.0) {
                    (known.window, known.delivered) = (Some(now), 0);
                }
                if known.delivered == BURST {
                    known.suppressed = known.suppressed.saturating_add(1);
                    return None;
                }
                known.delivered += 1;
                let suppressed = core::mem::take(&mut known.suppressed);
                Report::Fault { iommu, devices: known.devices.clone(), fault, suppressed }
            }
            Event::PageRequest { source, pasid, at, group } => {
                let devices = self.by_source.get(&(iommu, source)).map(|known| known.devices.clone());
                Report::PageRequest { iommu, devices: devices.unwrap_or_default(), source, pasid, at, group }
            }
            Event::Unit { what, code } => Report::Unit { iommu, what, code },
            Event::Lost(count) => Report::Lost { iommu, count },
        })
    }

    /// When the next window ends in which something was suppressed, so that its count gets told.
    pub fn deadline(&self) -> Option<Nanos> {
        let all = self.by_source.values().chain(self.strangers.values());
        let waiting = all.filter(|known| known.suppressed != 0);
        waiting.filter_map(|known| Some(Nanos(known.window?.0.saturating_add(WINDOW.0)))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::FaultCause;
    use alloc::string::ToString;

    const NIC: Source = (IommuId(0), SourceId(8));

    fn fault(source: u32) -> Event {
        let (at, cause) = (Some(Iova(0x1000)), FaultCause::NotMapped);
        Event::Fault(Fault {
            source: SourceId(source),
            pasid: None,
            at,
            access: None,
            cause,
            name: "F_TRANSLATION",
        })
    }

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.add(NIC, DeviceId { index: 3, generation: 0 }, "nic");
        sources
    }

    #[test]
    fn a_fault_names_its_device() {
        let report = sources().report(NIC.0, Nanos(0), fault(8)).unwrap();
        assert_eq!(report.to_string(), "IOMMU 0: F_TRANSLATION of source 0x8: nic at 0x1000 (NotMapped)");
    }

    #[test]
    fn a_source_that_faults_on_and_on_is_counted_and_not_shown() {
        let mut sources = sources();
        let shown = (0..100).filter_map(|n| sources.report(NIC.0, Nanos(n), fault(8))).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!(sources.deadline(), Some(WINDOW), "the count is told when the window ends");
        let next = sources.report(NIC.0, WINDOW, fault(8));
        assert!(matches!(next, Some(Report::Fault { suppressed: 92, .. })), "{next:?}");
        assert_eq!(sources.deadline(), None);
    }

    #[test]
    fn made_up_sources_share_one_count_and_take_no_memory() {
        let mut sources = sources();
        let shown =
            (0x1000..0x2000).filter_map(|source| sources.report(NIC.0, Nanos(0), fault(source))).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!((sources.by_source.len(), sources.strangers.len()), (1, 1));
        assert!(sources.report(NIC.0, Nanos(0), fault(8)).is_some(), "known devices are not drowned");
        sources.remove(NIC, DeviceId { index: 3, generation: 0 });
        assert!(sources.by_source.is_empty());
    }
}
