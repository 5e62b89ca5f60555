//! Devices for a machine of which only a table is known: a few of those that the table names.

use ioward::{
    core::PasidOffer,
    discover::{Bus, BusFunction, Facts},
    types::describe::{Devices, Fact, PciFunction, Sources},
};
use std::collections::BTreeSet;

/// The most functions that are made up. A table that names ranges of many buses is represented by so many.
pub const MOST: usize = 48;
/// Requester IDs that stand for "all other devices of a segment".
const ANY: [u16; 5] = [0x0008, 0x0010, 0x0018, 0x0100, 0x0300];
/// How wide PASIDs of made-up devices are, in bits.
const PASID_BITS: u8 = 8;

/// Functions at the first, the last and the middle requester ID of every range that tables name. Each third one has PASIDs
/// and caches translations. With it, a sentence for the reader, if any was made up.
pub fn bus(facts: &Facts<'_>) -> (Bus, Option<String>) {
    let mut places = BTreeSet::new();
    let (mut ranges, mut more) = (0_usize, 0_usize);
    let mut seen = BTreeSet::new();
    // What issues another's requester ID is behind a bridge to a conventional bus, or a bridge itself: no PASIDs, no ATS.
    let mut aliased = Vec::new();
    for (_, _, fact) in facts.iter() {
        let Fact::Scope(scope) = fact else { continue };
        if scope.served.is_some_and(|served| matches!(served.sources, Sources::Same(_))) {
            aliased.push(scope.devices);
        }
        let (segment, wanted): (u16, Vec<u16>) = match scope.devices {
            Devices::Pci { segment, first, last, mask } if first <= last => {
                if !seen.insert((segment, first, last)) {
                    continue;
                }
                let middle = first + (last - first) / 2;
                let ids = [first, last, middle].into_iter().filter(|id| id & mask == *id);
                (segment, ids.collect())
            }
            Devices::PciRest { segment } => (segment, ANY.into()),
            _ => continue,
        };
        ranges += 1;
        for requester in wanted {
            let at = PciFunction { segment, requester };
            if places.len() < MOST {
                places.insert(at);
            } else if !places.contains(&at) {
                more += 1;
            }
        }
    }
    let functions = places.iter().enumerate().map(|(number, at)| {
        let mut function = BusFunction::new(at.to_string(), *at);
        if number % 3 == 1 && aliased.iter().all(|devices| devices.position(*at).is_none()) {
            function.pasid = PasidOffer::bits(PASID_BITS);
            function.ats = Some(12);
        }
        function
    });
    let bus = Bus { functions: functions.collect() };
    let note = (!bus.functions.is_empty()).then(|| {
        let limit = match more {
            0 => String::new(),
            more => format!("; {more} more were left out"),
        };
        format!(
            "No PCI bus was given: these functions are made up, {} of them for the {ranges} ranges that the tables \
             name (first, last and middle of each, every third with PASIDs and ATS){limit}.",
            bus.functions.len()
        )
    });
    (bus, note)
}
