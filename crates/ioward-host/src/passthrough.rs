//! What could be given to a guest, and what stands in the way.
//!
//! A group is given away as a whole. So a function can be given away if its group holds only it, or only functions of the
//! same device, which go with it; bridges between PCI buses and host bridges do not count, since nobody gives them away
//! and Linux does not mind them.

use crate::{Kernel, ReservedKind};
use ioward::{
    core::RegionKind,
    discover::{self, Place, Serving},
    pci::{Bdf, BusId, Function, Topology, class, groups::Grouping},
};
use std::collections::BTreeMap;

/// The most companions of a function that are named. The group has all of them.
pub const MOST_NAMED: usize = 64;

/// Whether a function can be given to a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passthrough {
    /// It is a bridge or an IOMMU: it is never given away.
    NoDevice,
    /// It is a part of the machine itself, such as a chipset's SMBus or a processor's counters: nobody gives it away, but
    /// whoever is in its group could reach it.
    System,
    /// It can, alone.
    Alone,
    /// It can, together with these other functions of the same device.
    With(Vec<Bdf>),
    /// Only together with these other devices (the first [`MOST_NAMED`]), which nobody wants to give away with it.
    Shared(Vec<Bdf>),
    /// Firmware requires that it, or another of its group, reaches a region of memory at all times, so Linux does not give
    /// the group away.
    Required {
        /// Which of the group.
        of: Bdf,
        /// The first byte of the region.
        first: u64,
        /// The last, included.
        last: u64,
    },
    /// No IOMMU serves it, or this one of its group, though this machine has some.
    Unserved(Bdf),
    /// Firmware contradicts itself about which IOMMU serves it, or this one of its group.
    Refused(Bdf),
}

impl Passthrough {
    /// Whether it can be given away.
    pub fn is_possible(&self) -> bool {
        matches!(self, Self::Alone | Self::With(_))
    }

    /// Whether what stands in the way is this function's own, rather than another's of its group.
    pub fn is_of(&self, at: Bdf) -> bool {
        matches!(self, Self::Required { of, .. } | Self::Unserved(of) | Self::Refused(of) if *of == at)
    }
}

/// Whether a function does not count in a group that is given away.
pub fn is_passive(function: &Function) -> bool {
    function.header.is_bridge()
        || matches!(
            function.class,
            Some(class::HOST_BRIDGE | class::PCI_BRIDGE | class::CARDBUS_BRIDGE | class::IOMMU)
        )
}

/// Whether a function is a part of the chipset that others need to work: bridges to other buses, interrupt controllers,
/// timers, memory controllers, SMBus.
pub fn is_chipset(function: &Function) -> bool {
    matches!(function.class, Some(0x0500..=0x06ff | 0x0800..=0x0804 | 0x0807 | 0x0c05))
}

/// Whether a function is a part of the machine itself, which nobody gives away: a part of the chipset, something that only
/// counts or fills a place, or what is built in, has no driver, and is of a class that processors give to their inner
/// parts.
pub fn is_system(topology: &Topology, index: usize) -> bool {
    let function = &topology.functions()[index];
    let inner = matches!(function.class, Some(0x0880 | 0x1100..=0x11ff));
    is_chipset(function)
        || matches!(function.class, Some(0x1300..=0x13ff))
        || inner && function.driver.is_none() && topology.on_root_bus(index)
}

/// Whether two functions are of one device: functions of a slot, virtual functions and their physical one.
pub fn same_device(topology: &Topology, one: Bdf, other: Bdf) -> bool {
    let (Some(one), Some(other)) = (topology.find(one), topology.find(other)) else { return false };
    device_of(topology, one) == device_of(topology, other)
}

/// How many functions of a device are in a group.
#[derive(Clone, Copy, Default)]
struct Alike {
    functions: usize,
    chipset: usize,
}

/// What functions of one device have in common: the bus and slot of the physical function.
fn device_of(topology: &Topology, index: usize) -> (BusId, u8) {
    let at = topology.functions()[topology.physical(index).unwrap_or(index)].at;
    (at.on(), at.device())
}

/// What stands in the way of one function, and so of its group; the first is the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bar {
    Refused,
    Unserved,
    Required { first: u64, last: u64 },
}

/// What tables say of a function, and what the kernel says of its group where tables could not be read. Tables say nothing
/// where they describe no IOMMU.
fn bar(function: &Function, device: Option<&discover::Device>, kernel: &Kernel) -> Option<Bar> {
    match device.map(|device| &device.serving) {
        Some(Serving::Refused) => return Some(Bar::Refused),
        Some(Serving::Unserved(_)) => return Some(Bar::Unserved),
        Some(Serving::Served) | None => {}
    }
    let regions = device.into_iter().flat_map(|device| &device.regions);
    let hard = |kind| matches!(kind, RegionKind::Required { relaxable: false, .. });
    let by_tables = regions.filter(|region| hard(region.kind)).map(|region| {
        let first = region.span.start.0;
        (first, first.saturating_add(region.span.bytes.saturating_sub(1)))
    });
    let group = function.linux_group.and_then(|number| kernel.groups.get(&number));
    let direct = group.into_iter().flat_map(|group| &group.reserved);
    let direct = direct.filter(|region| region.kind == ReservedKind::Direct);
    let by_kernel = direct.map(|region| (region.first, region.last));
    by_tables.chain(by_kernel).next().map(|(first, last)| Bar::Required { first, last })
}

/// Of every function that has a group. `found`: who serves it; a machine without any IOMMU in its tables is taken as one
/// that will have some. `kernel`: which regions it keeps for groups.
pub fn of(
    topology: &Topology,
    grouping: &Grouping,
    found: &discover::Machine,
    kernel: &Kernel,
) -> BTreeMap<Bdf, Passthrough> {
    let mut serving = BTreeMap::new();
    for device in &found.devices {
        if let Place::Bus(index) = device.place {
            serving.insert(index, device);
        }
    }
    let mut verdicts = BTreeMap::new();
    for group in &grouping.groups {
        let functions = group.members.iter().filter_map(|&at| Some((at, topology.find(at)?)));
        let active: Vec<(Bdf, usize)> =
            functions.filter(|&(_, index)| !is_passive(&topology.functions()[index])).collect();
        let mut devices: BTreeMap<(BusId, u8), Alike> = BTreeMap::new();
        for &(_, index) in &active {
            let alike = devices.entry(device_of(topology, index)).or_default();
            alike.functions += 1;
            alike.chipset += usize::from(is_chipset(&topology.functions()[index]));
        }
        // A group is given away as a whole, so what bars one of it bars all.
        let bars: BTreeMap<Bdf, Bar> = active
            .iter()
            .filter_map(|&(at, index)| {
                let device = serving.get(&index).copied().filter(|_| !found.iommus.is_empty());
                Some((at, bar(&topology.functions()[index], device, kernel)?))
            })
            .collect();
        let worst = bars.iter().map(|(&at, &bar)| (bar, at)).min();
        for &at in &group.members {
            let active_at = active.binary_search_by_key(&at, |(other, _)| *other).ok();
            let Some(&(_, index)) = active_at.and_then(|place| active.get(place)) else {
                verdicts.insert(at, Passthrough::NoDevice);
                continue;
            };
            if is_system(topology, index) {
                verdicts.insert(at, Passthrough::System);
                continue;
            }
            let own = device_of(topology, index);
            let is_stranger = |&(_, other): &(Bdf, usize)| {
                device_of(topology, other) != own || is_chipset(&topology.functions()[other])
            };
            // Only the functions of one device are looked through one by one.
            let alike = devices.get(&own).copied().unwrap_or_default();
            let has_strangers = alike.functions != active.len() || alike.chipset != 0;
            let mut others: Vec<Bdf> = Vec::new();
            if has_strangers || alike.functions > 1 {
                let wanted =
                    active.iter().filter(|other| other.0 != at && is_stranger(other) == has_strangers);
                others.extend(wanted.map(|(other, _)| *other).take(MOST_NAMED));
            }
            // Its own bar says more of it than another's.
            let verdict = match bars.get(&at).map(|&bar| (bar, at)).or(worst) {
                Some((Bar::Refused, of)) => Passthrough::Refused(of),
                Some((Bar::Unserved, of)) => Passthrough::Unserved(of),
                Some((Bar::Required { first, last }, of)) => Passthrough::Required { of, first, last },
                _ if has_strangers => Passthrough::Shared(others),
                _ if !others.is_empty() => Passthrough::With(others),
                _ => Passthrough::Alone,
            };
            verdicts.insert(at, verdict);
        }
    }
    verdicts
}
