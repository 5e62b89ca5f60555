//! Paths of bridges walked on the bus (device scopes of a DMAR: VT-d rev 4.1, section 8.3.1).

use super::bus::{Bus, BusFunction};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_types::describe::{Devices, PciFunction};

/// The bridges of a machine, by where they are: the buses behind each, the first and the last.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    bridges: BTreeMap<PciFunction, (u8, u8)>,
}

impl Paths {
    /// Of a bus.
    pub fn of(bus: &Bus) -> Self {
        let bridge = |function: &BusFunction| Some((function.at?, function.buses?));
        Self { bridges: bus.functions.iter().filter_map(bridge).collect() }
    }

    /// The function at the end of a path; none where a hop before the last is no bridge that leads to a bus. Whether there
    /// is such a function is not asked: IOAPICs have the ID of one that cannot be seen.
    pub fn end(&self, segment: u16, bus: u8, path: &[u8]) -> Option<PciFunction> {
        let mut bus = bus;
        let mut hops = path.chunks_exact(2);
        let last = hops.next_back()?;
        let at = |bus: u8, hop: &[u8]| PciFunction {
            segment,
            requester: u16::from(bus) << 8 | u16::from(hop[0] & 0x1f) << 3 | u16::from(hop[1] & 7),
        };
        for hop in hops {
            (bus, _) = *self.bridges.get(&at(bus, hop))?;
        }
        Some(at(bus, last))
    }

    /// The place of a requester ID among devices. `issuers` are the functions whose requests carry it: a path that names one
    /// of them means all of its requester IDs.
    pub fn position(
        &self,
        devices: &Devices<'_>,
        requester: PciFunction,
        issuers: &[PciFunction],
    ) -> Option<u32> {
        let Devices::PciPath { segment, bus, path, below } = *devices else {
            return devices.position(requester);
        };
        let end = self.end(segment, bus, path)?;
        let is_meant = |at: &PciFunction| *at == end || (below && self.is_below(end, *at));
        let is_meant = is_meant(&requester) || issuers.iter().any(is_meant);
        (is_meant && requester.segment == segment).then_some(requester.requester.into())
    }

    /// Whether a function is on a bus behind a bridge.
    fn is_below(&self, bridge: PciFunction, function: PciFunction) -> bool {
        let on = (function.requester >> 8) as u8;
        let leads = |(first, last): &(u8, u8)| (*first..=*last).contains(&on);
        bridge.segment == function.segment && self.bridges.get(&bridge).is_some_and(leads)
    }

    /// Whether any bridge leads to a function.
    pub fn has_bridge_above(&self, function: PciFunction) -> bool {
        self.bridges.keys().any(|bridge| self.is_below(*bridge, function))
    }
}

/// The functions by which a scope means a function: itself, and of a virtual one the physical one (section 8.3.2).
pub fn issuers(function: &BusFunction) -> Vec<PciFunction> {
    function.at.into_iter().chain(function.physical).collect()
}
