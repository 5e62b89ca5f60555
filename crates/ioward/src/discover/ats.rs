//! Which devices behind VT-d may use ATS, by the word of ATSR, SATC and SIDP (VT-d rev 4.1, sections 8.5, 8.8 and 8.9).

use super::{
    bus::BusFunction,
    facts::Facts,
    paths::{Paths, issuers},
};
use ioward_types::describe::{AtsRule, Devices, Fact, Traits};

/// ATC_REQUIRED of a SIDP device scope.
const ATC_REQUIRED: u8 = 1 << 4;

/// What the tables of a machine, of which only a DMAR has such rules, add to what is known of a function behind VT-d. A
/// device that SATC names may use ATS; one below a port needs a root port above it that ATSR names; a built-in device that
/// no table names may too.
pub fn of_dmar(facts: &Facts<'_>, paths: &Paths, function: &BusFunction) -> Traits {
    // What no table can name (behind a VMD controller) no table allows.
    let mut traits = Traits { ats: Some(false), ..Traits::default() };
    let issuers = issuers(function);
    let Some(own) = issuers.last().copied() else { return traits };
    let (mut port, mut cache) = (false, false);
    for (_, _, fact) in facts.beside_scopes() {
        let Fact::Ats(ats) = fact else { continue };
        let is_rest = matches!(ats.devices, Devices::PciRest { segment } if segment == own.segment);
        let is_named = paths.position(&below(&ats.devices, ats.rule), own, &issuers).is_some();
        if !(is_rest || is_named) {
            continue;
        }
        match ats.rule {
            AtsRule::RootPorts => port = true,
            AtsRule::Integrated { required } => {
                cache = true;
                traits.ats_required |= required;
            }
            AtsRule::Properties(flags) => {
                traits.vtd_properties |= flags;
                traits.ats_required |= flags & ATC_REQUIRED != 0;
            }
        }
    }
    traits.ats = Some(cache || port || !paths.has_bridge_above(own));
    traits
}

/// A root port is named for what is below it, whatever type its scope has.
fn below<'a>(devices: &Devices<'a>, rule: AtsRule) -> Devices<'a> {
    match *devices {
        Devices::PciPath { segment, bus, path, .. } if rule == AtsRule::RootPorts => {
            Devices::PciPath { segment, bus, path, below: true }
        }
        other => other,
    }
}
