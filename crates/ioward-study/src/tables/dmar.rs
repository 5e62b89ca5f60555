//! DMAR: Intel VT-d, chapter 8.

use super::part::{Layout, Part, bit, bits, field, text};
use ioward_firmware::{
    Raw,
    dmar::{
        Dmar, Structure,
        structure::{Body, DeviceScope},
    },
};

const TABLE_FLAGS: [Layout; 3] = [
    bit(0, "INTR_REMAP").values(&["interrupts are not remapped", "interrupts can be remapped"]),
    bit(1, "X2APIC_OPT_OUT").values(&["", "firmware asks not to enable x2APIC"]),
    bit(2, "DMA_CTRL_PLATFORM_OPT_IN").values(&[
        "firmware does not promise to hold DMA to reserved regions when it hands over",
        "firmware holds DMA to reserved regions (RMRR) when it hands over",
    ]),
];

/// What the parts of a DMAR are.
pub fn parts(root: &mut Part, bytes: &[u8]) {
    let (table, raw) = (Dmar::new(bytes), Raw::new(bytes));
    let mut fixed = Part::structure(raw.window(36, Dmar::LEAST - 36), "DMA remapping").says("section 8.1");
    let width = table.host_address_width();
    let means = format!("DMA addresses have at most {} bits", u32::from(width) + 1);
    fixed.add(field(0, "Host Address Width", width).says(means));
    fixed.add(field(1, "Flags", table.flags()).laid_out(&TABLE_FLAGS));
    fixed.add(field(2, "Reserved", table.reserved()));
    root.put(fixed);
    for structure in table.structures() {
        root.put(shown(raw, &structure));
    }
}

fn shown(table: Raw<'_>, structure: &Structure<'_>) -> Part {
    // Of a structure that denies its own header, the header is shown.
    let length = u32::from(structure.length()).max(Structure::HEADER);
    let mut part = Part::structure(table.window(structure.at(), length), "");
    let kind = |name: &str| field(0, "Type", structure.kind()).says(name);
    let own = field(2, "Length", structure.length()).says(format!("{} bytes", structure.length()));
    let segment = |number: u16| field(6, "Segment Number", number);
    match structure.body() {
        Body::Drhd(drhd) => {
            let pages = 1u64 << (drhd.size() & 0xf);
            let last = drhd.base().saturating_add(pages * 0x1000 - 1);
            let serves = match drhd.flags() & 1 {
                0 => "serves the devices of its scopes",
                _ => "serves whatever of its segment no other unit names",
            };
            part =
                named(part, "DRHD", format!("a remapping unit of segment {}; it {serves}", drhd.segment()));
            part.add(kind("DMA remapping hardware unit definition"));
            part.add(own);
            part.add(field(4, "Flags", drhd.flags()).laid_out(&[bit(0, "INCLUDE_PCI_ALL")]));
            let layout = [bits(3, 0, "log2 of pages")];
            part.add(field(5, "Size", drhd.size()).laid_out(&layout).says(format!("{} KiB", pages * 4)));
            part.add(segment(drhd.segment()));
            let means = format!("registers {:#x}..={last:#x}", drhd.base());
            part.add(field(8, "Register Base Address", drhd.base()).says(means));
        }
        Body::Rmrr(rmrr) => {
            let about = format!("memory that devices need mapped: {}", range(rmrr.base(), rmrr.limit()));
            part = named(part, "RMRR", about);
            part.add(kind("reserved memory region reporting"));
            part.add(own);
            part.add(field(4, "Reserved", rmrr.reserved()));
            part.add(segment(rmrr.segment()));
            part.add(field(8, "Reserved Memory Region Base Address", rmrr.base()).says("first byte"));
            part.add(field(16, "Reserved Memory Region Limit Address", rmrr.limit()).says("last byte"));
        }
        Body::Atsr(atsr) => {
            let about = match atsr.flags() & 1 {
                0 => "root ports that let ATS through".to_owned(),
                _ => format!("all root ports of segment {} let ATS through", atsr.segment()),
            };
            part = named(part, "ATSR", about);
            part.add(kind("root port ATS capability reporting"));
            part.add(own);
            part.add(field(4, "Flags", atsr.flags()).laid_out(&[bit(0, "ALL_PORTS")]));
            part.add(field(5, "Reserved", atsr.reserved()));
            part.add(segment(atsr.segment()));
        }
        Body::Rhsa(rhsa) => {
            let about = format!("the unit at {:#x} lies in domain {}", rhsa.base(), rhsa.proximity_domain());
            part = named(part, "RHSA", about);
            part.add(kind("remapping hardware static affinity"));
            part.add(own);
            part.add(field(4, "Reserved", rhsa.reserved()));
            part.add(field(8, "Register Base Address", rhsa.base()));
            part.add(field(16, "Proximity Domain", rhsa.proximity_domain()));
        }
        Body::Andd(andd) => {
            part = named(part, "ANDD", format!("the name of platform device {}", andd.device_number()));
            part.add(kind("ACPI name-space device declaration"));
            part.add(own);
            part.add(field(4, "Reserved", andd.reserved()));
            part.add(field(7, "ACPI Device Number", andd.device_number()));
            if let Some(name) = andd.name() {
                part.add(field(8, "ACPI Object Name", text(name, name.len() as u32 + 1)));
            }
        }
        Body::Satc(satc) => {
            let about = "built-in devices that cache translations".to_owned();
            part = named(part, "SATC", about);
            part.add(kind("SoC integrated address translation cache"));
            part.add(own);
            let layout = [bit(0, "ATC_REQUIRED").values(&["", "the devices need their cache enabled"])];
            part.add(field(4, "Flags", satc.flags()).laid_out(&layout));
            part.add(field(5, "Reserved", satc.reserved()));
            part.add(segment(satc.segment()));
        }
        Body::Sidp(sidp) => {
            part = named(part, "SIDP", "properties of built-in devices".to_owned());
            part.add(kind("SoC integrated device property"));
            part.add(own);
            part.add(field(4, "Reserved", sidp.reserved()));
            part.add(segment(sidp.segment()));
        }
        Body::Unknown(number) => {
            part = named(part, format!("Type {number}"), "a kind that nobody here knows".to_owned());
            part.add(kind("unknown"));
            part.add(own);
        }
    }
    let has_properties = matches!(structure.body(), Body::Sidp(_));
    for scope in structure.scopes() {
        part.put(scope_part(table, &scope, has_properties));
    }
    part
}

fn named(part: Part, name: impl Into<String>, about: String) -> Part {
    Part { name: name.into(), ..part }.says(about)
}

/// A range with its size, both ends included; the limit as it is where the two make no range.
fn range(first: u64, last: u64) -> String {
    match last.checked_sub(first) {
        Some(more) => format!("{first:#x}..={last:#x} ({})", super::size(u128::from(more) + 1)),
        None => format!("from {first:#x} to {last:#x}, which is no range"),
    }
}

fn scope_part(table: Raw<'_>, scope: &DeviceScope<'_>, has_properties: bool) -> Part {
    let length = u32::from(scope.length()).max(2);
    let path = path(scope.start_bus(), scope.path());
    let about = match scope.kind() {
        1 => format!("PCI endpoint {path}"),
        2 => format!("PCI bridge {path} and everything below it"),
        3 => format!("IOAPIC {} as {path}", scope.enumeration_id()),
        4 => format!("HPET {} as {path}", scope.enumeration_id()),
        5 => format!("platform device {} as {path}", scope.enumeration_id()),
        kind => format!("a kind that nobody here knows ({kind}) at {path}"),
    };
    let kind = match scope.kind() {
        1 => "PCI endpoint device",
        2 => "PCI sub-hierarchy",
        3 => "IOAPIC",
        4 => "message-capable HPET",
        5 => "ACPI name-space device",
        _ => "unknown",
    };
    let means = match scope.kind() {
        3 => "its I/O APIC ID",
        4 => "its HPET number",
        5 => "its ACPI device number (ANDD)",
        _ => "reserved",
    };
    let mut part = Part::structure(table.window(scope.at(), length), "Device Scope").says(about);
    part.add(field(0, "Type", scope.kind()).says(kind));
    part.add(field(1, "Length", scope.length()));
    let flags = field(2, "Flags", scope.flags());
    part.add(if has_properties { flags.laid_out(&PROPERTIES) } else { flags });
    part.add(field(3, "Reserved", scope.reserved()));
    part.add(field(4, "Enumeration ID", scope.enumeration_id()).says(means));
    part.add(field(5, "Start Bus Number", scope.start_bus()));
    part.add(field(6, "Path", scope.path()).says(hops(scope.path())));
    part
}

/// What a SIDP's scope says of its device (section 8.3.1).
const PROPERTIES: [Layout; 5] = [
    bit(0, "no nested translation").values(&["", "nested translation must not be set"]),
    bit(1, "no page-walk snoop").values(&["", "page-walk snoop must not be set"]),
    bit(2, "no page snoop").values(&["", "page snoop must not be set"]),
    bit(3, "ATC_HARDENED"),
    bit(4, "ATC_REQUIRED"),
];

/// A path as people write it: the first function with its bus, then device and function of each hop.
fn path(bus: u8, path: &[u8]) -> String {
    let text = hops(path);
    match text.is_empty() {
        true => format!("{bus:02x}: without a path"),
        false => format!("{bus:02x}:{text}"),
    }
}

fn hops(path: &[u8]) -> String {
    let hops: Vec<String> = path
        .chunks(2)
        .map(|hop| match hop {
            [device, function] => format!("{device:02x}.{function:x}"),
            rest => format!("{:02x}.?", rest[0]),
        })
        .collect();
    hops.join("/")
}
