//! IVRS: AMD 48882, section 5.2.2.

use super::{
    function, ivrs_features as layout,
    part::{Part, bit, field, name, text},
    size,
};
use ioward_firmware::{
    Raw,
    ivrs::{
        Ivrs,
        block::{Block, Body, Entry, Form, Hardware, Memory},
    },
};

/// What the parts of an IVRS are.
pub fn parts(root: &mut Part, bytes: &[u8]) {
    let (table, raw) = (Ivrs::new(bytes), Raw::new(bytes));
    let mut fixed = Part::structure(raw.window(36, Ivrs::LEAST - 36), "I/O virtualization").says("table 81");
    let (physical, width) = (table.iv_info() >> 8 & 0x7f, table.iv_info() >> 15 & 0x7f);
    let means = format!("physical addresses have {physical} bits, virtual ones {width}");
    fixed.add(field(0, "IVinfo", table.iv_info()).laid_out(&layout::IV_INFO).says(means));
    fixed.add(field(4, "Reserved", table.reserved()));
    root.put(fixed);
    for block in table.blocks() {
        root.put(shown(raw, &block));
    }
}

fn shown(table: Raw<'_>, block: &Block<'_>) -> Part {
    let length = u32::from(block.length()).max(Block::HEADER);
    let raw = table.window(block.at(), length);
    match block.body() {
        Body::Hardware(hardware) => hardware_part(raw, block, &hardware),
        Body::Memory(memory) => memory_part(raw, block, &memory),
        Body::Unknown(kind) => {
            let mut part = Part::structure(raw, format!("Block {kind:02x}h"));
            part = part.says("a kind that nobody here knows");
            start(&mut part, block, "unknown");
            part.add(field(1, "Flags", block.flags()));
            part
        }
    }
}

/// Type and length, which all blocks have.
fn start(part: &mut Part, block: &Block<'_>, kind: &str) {
    part.add(field(0, "Type", block.kind()).says(kind));
    part.add(field(2, "Length", block.length()).says(format!("{} bytes", block.length())));
}

fn hardware_part(raw: Raw<'_>, block: &Block<'_>, hardware: &Hardware<'_>) -> Part {
    let about = format!(
        "the IOMMU {:04x}:{}, registers from {:#x}",
        hardware.segment(),
        function(hardware.device_id()),
        hardware.base()
    );
    let mut part = Part::structure(raw, format!("IVHD {:02x}h", block.kind())).says(about);
    let (kind, flags) = match hardware.form() {
        Form::Basic => ("hardware definition, basic", &layout::FLAGS[..]),
        Form::Extended => ("hardware definition with images of feature registers", &layout::FLAGS[..6]),
        Form::Mixed => ("hardware definition with ACPI devices", &layout::FLAGS[..6]),
    };
    start(&mut part, block, kind);
    part.add(field(1, "Flags", block.flags()).laid_out(flags));
    part.add(field(4, "DeviceID", hardware.device_id()).says(function(hardware.device_id())));
    let means = "of its capability in its configuration space";
    part.add(field(6, "Capability Offset", hardware.capability_offset()).says(means));
    part.add(field(8, "IOMMU Base Address", hardware.base()));
    part.add(field(16, "PCI Segment Group", hardware.segment()));
    part.add(field(18, "IOMMU Info", hardware.info()).laid_out(&layout::INFO));
    match hardware.efr().zip(hardware.efr2()) {
        None => {
            let features = field(20, "IOMMU Feature Reporting", hardware.features());
            part.add(features.laid_out(&layout::FEATURES));
        }
        Some((efr, efr2)) => {
            let attributes = field(20, "IOMMU Attributes", hardware.features());
            part.add(attributes.laid_out(&layout::ATTRIBUTES));
            part.add(field(24, "EFR Register Image", efr).laid_out(&layout::EFR));
            part.add(field(32, "EFR2 Register Image", efr2).laid_out(&layout::EFR2));
        }
    }
    // A block that ends before its entries begin has none.
    for entry in hardware.entries() {
        part.put(entry_part(raw, &entry));
    }
    part
}

fn entry_part(block: Raw<'_>, entry: &Entry<'_>) -> Part {
    let raw = block.window(entry.at() - block.at(), entry.length());
    let device = function(entry.device_id());
    let alias = function(entry.source_id());
    let ats = if entry.extended() >> 31 == 0 { "ATS is allowed" } else { "ATS requests are blocked" };
    let (kind, about) = match entry.kind() {
        0 => ("padding", "padding".to_owned()),
        1 => ("all", "all devices that no other entry names".to_owned()),
        2 => ("select", format!("device {device}")),
        3 => ("start of range", format!("devices from {device} on")),
        4 => ("end of range", format!("up to {device}, inclusive")),
        0x42 => ("alias select", format!("device {device}, whose requests carry {alias}")),
        0x43 => ("alias start of range", format!("devices from {device} on, whose requests carry {alias}")),
        0x46 => ("extended select", format!("device {device}; {ats}")),
        0x47 => ("extended start of range", format!("devices from {device} on; {ats}")),
        0x48 => ("special device", special(entry)),
        0xf0 => ("ACPI HID device", format!("the ACPI device {}, as {device}", hid(entry))),
        _ => ("unknown", "a kind that nobody here knows".to_owned()),
    };
    let mut part = Part::structure(raw, "Device Entry").says(about);
    part.add(field(0, "Type", entry.kind()).says(kind));
    match entry.kind() {
        0 => {}
        1..=4 | 0x42 | 0x43 | 0x46..=0x48 | 0xf0 => {
            let means = if matches!(entry.kind(), 1 | 0x48) { "reserved" } else { &device };
            part.add(field(1, "DeviceID", entry.device_id()).says(means));
            part.add(field(3, "Data Setting", entry.setting()).laid_out(&layout::SETTING));
        }
        _ => return part,
    }
    match entry.kind() {
        0x42 | 0x43 => part.add(field(5, "Source DeviceID", entry.source_id()).says(alias)),
        0x46 | 0x47 => {
            part.add(field(4, "Extended Data Setting", entry.extended()).laid_out(&[bit(31, "AtsDisabled")]));
        }
        0x48 => {
            part.add(field(4, "Handle", entry.handle()));
            part.add(field(5, "Source DeviceID", entry.source_id()).says(alias));
            let means = match entry.variety() {
                1 => "IOAPIC",
                2 => "HPET",
                _ => "unknown",
            };
            part.add(field(7, "Variety", entry.variety()).says(means));
        }
        0xf0 => {
            part.add(field(4, "Hardware ID", name(entry.hid())));
            part.add(field(12, "Compatible ID", name(entry.cid())));
            let means = match entry.uid_format() {
                0 => "none",
                1 => "a number",
                2 => "text",
                _ => "unknown",
            };
            part.add(field(20, "UID Format", entry.uid_format()).says(means));
            part.add(field(21, "UID Length", entry.uid_length()));
            let uid = entry.uid().bytes();
            part.add(match std::str::from_utf8(uid) {
                Ok(uid) if entry.uid_format() == 2 => field(22, "UID", text(uid, entry.uid().len())),
                _ => field(22, "UID", uid),
            });
        }
        _ => {}
    }
    part
}

fn special(entry: &Entry<'_>) -> String {
    let (handle, source) = (entry.handle(), function(entry.source_id()));
    match entry.variety() {
        1 => format!("IOAPIC {handle}, whose requests carry {source}"),
        2 => format!("HPET {handle}, whose requests carry {source}"),
        other => format!("a special device of unknown kind {other}"),
    }
}

fn hid(entry: &Entry<'_>) -> String {
    entry.hid().iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

fn memory_part(raw: Raw<'_>, block: &Block<'_>, memory: &Memory<'_>) -> Part {
    let (first, last) = (function(memory.device_id()), function(memory.auxiliary()));
    let (kind, who) = match memory.kind() {
        0x20 => ("memory definition for all devices", "all devices".to_owned()),
        0x21 => ("memory definition for one device", format!("device {first}")),
        _ => ("memory definition for a range", format!("devices {first}..={last}")),
    };
    let end = u128::from(memory.start()) + u128::from(memory.length());
    let about = match memory.length() {
        0 => format!("no memory, for {who}"),
        bytes => format!("{:#x}..={:#x} ({}), for {who}", memory.start(), end - 1, size(bytes.into())),
    };
    let mut part = Part::structure(raw, format!("IVMD {:02x}h", block.kind())).says(about);
    start(&mut part, block, kind);
    part.add(field(1, "Flags", block.flags()).laid_out(&layout::MEMORY_FLAGS));
    let means = if memory.kind() == 0x20 { "reserved" } else { &first };
    part.add(field(4, "DeviceID", memory.device_id()).says(means));
    let means = if memory.kind() == 0x22 { &last } else { "reserved" };
    part.add(field(6, "Auxiliary Data", memory.auxiliary()).says(means));
    part.add(field(8, "PCI Segment", memory.segment()).says("reserved in older tables"));
    part.add(field(16, "Start Address", memory.start()));
    part.add(field(24, "Memory Block Length", memory.length()).says(size(memory.length().into())));
    part
}
