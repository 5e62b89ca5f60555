//! What a device scope means: devices, and as what a unit sees them.

use super::structure::{Andd, Body, DeviceScope, Dmar};
use ioward_types::{
    SourceId,
    describe::{AtPath, Cause, Devices, Sources},
};

/// Types of device scopes (VT-d rev 4.1, section 8.3.1).
mod kind {
    pub const ENDPOINT: u8 = 1;
    pub const SUB_HIERARCHY: u8 = 2;
    pub const IOAPIC: u8 = 3;
    pub const HPET: u8 = 4;
    pub const NAME_SPACE: u8 = 5;
}

/// The devices that a scope names, and their sources; or where what is wrong with it.
pub fn meant<'a>(
    table: &Dmar<'a>,
    segment: u16,
    scope: &DeviceScope<'a>,
) -> Result<(Devices<'a>, Sources), (u32, Cause)> {
    let (at, bus, path) = (scope.at(), scope.start_bus(), scope.path());
    let in_path = at + DeviceScope::HEADER;
    if path.is_empty() {
        return Err((in_path, Cause::Missing { what: "a path" }));
    }
    if !path.len().is_multiple_of(2) {
        // One byte of length bounds it.
        return Err((in_path, Cause::Size { found: path.len() as u32, entry: 2 }));
    }
    for (hop, place) in (0..).zip(path.chunks_exact(2)) {
        if place[0] > 0x1f || place[1] > 7 {
            let found = u64::from(place[0]) << 8 | u64::from(place[1]);
            return Err((in_path + 2 * hop, Cause::Range { found }));
        }
    }
    let own = Sources::Consecutive(SourceId(0));
    let what = match scope.kind() {
        kind::ENDPOINT => return Ok((Devices::PciPath { segment, bus, path, below: false }, own)),
        kind::SUB_HIERARCHY => return Ok((Devices::PciPath { segment, bus, path, below: true }, own)),
        kind::IOAPIC => AtPath::IoApic(scope.enumeration_id()),
        kind::HPET => AtPath::Hpet(scope.enumeration_id()),
        kind::NAME_SPACE => AtPath::Acpi(name(table, scope)?),
        other => return Err((at, Cause::Unknown { kind: other.into() })),
    };
    match *path {
        // The function is on the starting bus, so nobody has to look at the bus.
        [device, function] => {
            let requester = u32::from(bus) << 8 | u32::from(device) << 3 | u32::from(function);
            Ok((what.devices(), Sources::Same(SourceId(requester))))
        }
        _ => Ok((Devices::AtPath { what, segment, bus, path }, own)),
    }
}

/// The name that an ANDD structure gives to the device of a scope.
fn name<'a>(table: &Dmar<'a>, scope: &DeviceScope<'a>) -> Result<&'a str, (u32, Cause)> {
    let number = scope.enumeration_id();
    let declared = declarations(table).find(|(_, andd)| andd.device_number() == number);
    let name = declared.and_then(|(_, andd)| andd.name());
    name.ok_or((scope.at() + 4, Cause::Dangling { to: number.into() }))
}

/// The ANDD structures of a table that are not too short for what they must hold, each with its offset.
pub fn declarations<'a>(table: &Dmar<'a>) -> impl Iterator<Item = (u32, Andd<'a>)> + use<'a> {
    table.structures().filter_map(|structure| match structure.body() {
        Body::Andd(andd) if structure.raw.len() >= Andd::LEAST => Some((structure.at(), andd)),
        _ => None,
    })
}
