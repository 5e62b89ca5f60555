//! Devices for a machine of which only a table is known: a few of those that the table names.

mod tree;

use ioward::{
    core::PasidOffer,
    discover::{Bus, BusFunction, Facts},
    types::describe::{AtsRule, Devices, Fact, PciFunction, Reserved, Sources, Subject},
};
use std::collections::BTreeMap;
use tree::Forest;

/// The most functions that are made up. A table that names ranges of many buses is represented by so many.
pub const MOST: usize = 48;
/// The most different ranges and paths that are looked at.
const MOST_WISHES: usize = 1024;
/// Requester IDs that stand for "all other devices of a segment".
const ANY: [u16; 5] = [0x0008, 0x0010, 0x0018, 0x0100, 0x0300];
/// How wide PASIDs of made-up devices are, in bits.
const PASID_BITS: u8 = 8;

/// Functions at the first, the last and the middle requester ID of every range that tables name, at the end of every path
/// with the bridges that lead there, and below every bridge that is named for what is below it. Each third function that
/// is no bridge has PASIDs and caches translations. With it, a sentence for the reader, if any was made up.
pub fn bus(facts: &Facts<'_>) -> (Bus, Option<String>) {
    let wishes = Wishes::of(facts);
    let mut places = BTreeMap::new();
    let mut more = 0_usize;
    for function in wishes.functions() {
        let Some(at) = function.at else { continue };
        if places.len() < MOST {
            places.entry(at).or_insert(function);
        } else if !places.contains_key(&at) {
            more += 1;
        }
    }
    let mut functions: Vec<BusFunction> = places.into_values().collect();
    for (number, function) in functions.iter_mut().filter(|function| !function.bridge).enumerate() {
        let is_aliased =
            |at: PciFunction| wishes.aliased.iter().any(|devices| devices.position(at).is_some());
        if number % 3 == 1 && !function.at.is_some_and(is_aliased) {
            function.pasid = PasidOffer::bits(PASID_BITS);
            function.ats = Some(12);
        }
    }
    let limit = match more {
        0 => String::new(),
        more => format!("; {more} more were left out"),
    };
    let note = (!functions.is_empty()).then(|| {
        format!(
            "No PCI bus was given: these functions are made up, {} of them for the {} ranges that the tables \
             name (first, last and middle of each, ends of paths, every third with PASIDs and ATS){limit}.",
            functions.len(),
            wishes.count,
        )
    });
    (Bus { functions }, note)
}

/// What the tables name.
#[derive(Default)]
struct Wishes<'a> {
    /// Requester IDs of ranges.
    places: Vec<PciFunction>,
    /// Paths of bridges.
    forest: Forest,
    /// What issues another's requester ID is behind a bridge to a conventional bus, or a bridge itself: no PASIDs, no ATS.
    aliased: Vec<Devices<'a>>,
    /// How many ranges and paths.
    count: usize,
}

impl<'a> Wishes<'a> {
    fn of(facts: &Facts<'a>) -> Self {
        let mut wishes = Self::default();
        let mut seen = Vec::new();
        for (_, _, fact) in facts.iter() {
            let (devices, below) = match fact {
                Fact::Scope(scope) => {
                    if scope.served.is_some_and(|served| matches!(served.sources, Sources::Same(_))) {
                        wishes.aliased.push(scope.devices);
                    }
                    (scope.devices, false)
                }
                // Who has a region, and who may use ATS, is worth a device only where a path names it: ranges are the
                // scopes' too.
                Fact::Reserved(Reserved {
                    subject: Subject::Devices(devices @ Devices::PciPath { .. }),
                    ..
                }) => (*devices, false),
                Fact::Ats(ats) if matches!(ats.devices, Devices::PciPath { .. }) => {
                    (ats.devices, ats.rule == AtsRule::RootPorts)
                }
                // An IOMMU that is nothing but a PCI function.
                Fact::Iommu(iommu) if iommu.registers.is_none() => {
                    wishes.places.extend(iommu.function);
                    continue;
                }
                _ => continue,
            };
            if seen.len() < MOST_WISHES && !seen.contains(&(devices, below)) {
                seen.push((devices, below));
                wishes.add(&devices, below);
            }
        }
        wishes
    }

    fn add(&mut self, devices: &Devices<'_>, below_too: bool) {
        let (segment, wanted): (u16, Vec<u16>) = match *devices {
            Devices::Pci { segment, first, last, mask } if first <= last => {
                let middle = first + (last - first) / 2;
                (segment, [first, last, middle].into_iter().filter(|id| id & mask == *id).collect())
            }
            Devices::PciRest { segment } => (segment, ANY.into()),
            Devices::PciPath { segment, bus, path, below } => {
                self.forest.plant(segment, bus, path, below || below_too);
                (segment, Vec::new())
            }
            // Bridges that lead to where an interrupt controller is said to be.
            Devices::AtPath { segment, bus, path, .. } => {
                self.forest.plant(segment, bus, path, false);
                return;
            }
            _ => return,
        };
        self.count += 1;
        self.places.extend(wanted.into_iter().map(|requester| PciFunction { segment, requester }));
    }

    /// The functions that would show all of it: those of paths first, since nothing else stands for them.
    fn functions(&self) -> Vec<BusFunction> {
        let taken = |segment: u16, bus: u8| {
            let on = |place: &PciFunction| place.segment == segment && (place.requester >> 8) as u8 == bus;
            self.places.iter().any(on)
        };
        let mut functions = self.forest.functions(&taken);
        let plain = |at: &PciFunction| BusFunction::new(at.to_string(), *at);
        functions.extend(self.places.iter().map(plain));
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward::{
        discover::{self, Report, Serving},
        types::{
            SourceId,
            describe::{Iommu, IommuKind, NodeId, Scope, Served, Table, Traits, VtD},
        },
    };

    fn unit<'a>(id: u32) -> Fact<'a> {
        let registers = ioward::types::Span::new(ioward::types::PhysAddr(0xfed9_0000), 0x1000);
        Fact::Iommu(Iommu {
            id: NodeId(id),
            kind: IommuKind::VtD(VtD::default()),
            name: "",
            registers,
            function: None,
            interrupts: [None; 4],
            enabled: true,
        })
    }

    fn scope<'a>(iommu: u32, devices: Devices<'a>) -> Fact<'a> {
        let served = Some(Served { iommu: NodeId(iommu), sources: Sources::Consecutive(SourceId(0)) });
        let (at, traits) = (NodeId(iommu + 1), Traits::default());
        Fact::Scope(Scope { at, devices, served, traits, enabled: true })
    }

    #[test]
    fn every_path_leads_to_a_function_that_discovery_finds() {
        let paths: [(&[u8], bool); 4] =
            [(&[2, 0], false), (&[0x1c, 0, 0, 0, 3, 1], false), (&[0x1c, 1], true), (&[0x1c, 0, 1, 0], true)];
        let mut facts = Facts::new();
        facts.push(Table::Dmar, unit(48));
        for (path, below) in paths {
            facts.push(Table::Dmar, scope(48, Devices::PciPath { segment: 0, bus: 0, path, below }));
        }
        let (bus, note) = bus(&facts);
        let found = discover::join(&facts, &bus);
        let absent = |report: &&Report| matches!(report, Report::NotThere { .. });
        assert_eq!(found.reports.iter().find(absent), None);
        assert!(note.is_some_and(|note| note.contains("the 4 ranges")));
        // The end of the first two paths, and one function below each of the two bridges that are named.
        let ends = found.devices.iter().filter(|device| !device.bridge);
        let served: Vec<_> = ends.map(|device| device.serving == Serving::Served).collect();
        assert_eq!(served, [true; 4]);
        // A bridge on the way to a named function is not named itself.
        let bridges: Vec<_> = found.devices.iter().filter(|device| device.bridge).collect();
        assert_eq!(bridges.len(), 4);
        assert_eq!(bridges.iter().filter(|bridge| bridge.serving == Serving::Served).count(), 2);
    }

    #[test]
    fn the_rest_of_a_segment_gets_a_few_functions() {
        let mut facts = Facts::new();
        facts.push(Table::Dmar, unit(48));
        facts.push(Table::Dmar, scope(48, Devices::PciRest { segment: 7 }));
        let (bus, _) = bus(&facts);
        assert_eq!(bus.functions.len(), ANY.len());
        let found = discover::join(&facts, &bus);
        assert!(found.devices.iter().all(|device| device.serving == Serving::Served));
    }
}
