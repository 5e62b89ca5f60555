//! What all ACPI tables have in common.

use super::{
    dmar, iort, ivrs,
    part::{Part, Trouble, field, name},
    rimt, viot,
};
use ioward_firmware::{
    Raw,
    acpi::{HEADER_BYTES, Header},
};
use ioward_types::describe::{Fact, Severity, Table};

/// Takes an ACPI table apart, whatever the bytes are. Bytes that are a device tree, or of a kind that nobody here knows, have
/// a header's fields and are otherwise shown as bytes.
pub fn acpi(kind: Table, bytes: &[u8]) -> Part {
    let whole = Raw::new(bytes);
    let mut root = Part::structure(whole, kind.to_string());
    let header = Header::new(whole);
    root.put(head(whole, &header));
    // What lies behind the table by its own word is no part of it. A table too short for its header says nothing.
    let end = header.length().max(HEADER_BYTES).min(whole.len());
    let table = &bytes[..end as usize];
    match kind {
        Table::Dmar => dmar::parts(&mut root, table),
        Table::Ivrs => ivrs::parts(&mut root, table),
        Table::Iort => iort::parts(&mut root, table),
        Table::Rimt => rimt::parts(&mut root, table),
        Table::Viot => viot::parts(&mut root, table),
        _ => {}
    }
    if end < whole.len() {
        let mut behind = field(0, "Bytes behind the table", whole.from(end).bytes());
        behind.offset = end;
        root.put(behind);
    }
    root.tile(whole);
    ioward_firmware::facts(kind, bytes, &mut |fact| {
        if let Fact::Problem(problem) = fact {
            let text = format!("{}: {}", problem.structure, problem.cause);
            root.blame(problem.offset, Trouble { severity: severity(problem.severity()), text });
        }
    });
    root
}

/// The word for a severity.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Degraded => "degraded",
        Severity::Broken => "broken",
    }
}

fn head(whole: Raw<'_>, header: &Header<'_>) -> Part {
    let length = header.length();
    let mut part = Part::structure(whole.window(0, HEADER_BYTES), "Header").says("ACPI 6.5, section 5.2.6");
    part.add(field(0, "Signature", name(header.signature())));
    part.add(field(4, "Length", length).says(format!("{length} bytes")));
    part.add(field(8, "Revision", header.revision()));
    part.add(field(9, "Checksum", header.checksum()).says(checksum(whole, length)));
    part.add(field(10, "OEM ID", name(header.oem_id())));
    part.add(field(16, "OEM Table ID", name(header.oem_table_id())));
    part.add(field(24, "OEM Revision", header.oem_revision()));
    part.add(field(28, "Creator ID", name(header.creator_id())));
    part.add(field(32, "Creator Revision", header.creator_revision()));
    part
}

/// The verdict on the checksum.
fn checksum(whole: Raw<'_>, length: u32) -> String {
    let table = whole.window(0, length);
    if table.len() < length {
        return format!("cannot be checked: {} of {length} bytes are here", table.len());
    }
    match table.bytes().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) {
        0 => "right".into(),
        sum => format!("wrong: all bytes add up to {sum:#04x} instead of zero"),
    }
}
