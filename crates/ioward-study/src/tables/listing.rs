//! Whatever table some bytes are.

use super::{Part, Tree, acpi, tree};
use ioward_types::describe::Table;
use serde::Serialize;
use std::fmt;

/// A table for reading.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Listing {
    /// `DMAR`, `IVRS`, `IORT`, `RIMT`, `VIOT` or `device tree`.
    pub kind: String,
    /// The specification that its names are from.
    pub specification: &'static str,
    /// An ACPI table's parts; none of a device tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Part>,
    /// A device tree's nodes; none of an ACPI table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
}

/// Bytes that begin like no table that describes IOMMUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown {
    /// The first four bytes, or fewer.
    pub begins: Vec<u8>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.begins.is_empty() {
            return f.write_str("it is empty");
        }
        write!(
            f,
            "it begins with \"{}\", which is neither DMAR, IVRS, IORT, RIMT or VIOT nor a device tree",
            self.begins.escape_ascii()
        )
    }
}
impl std::error::Error for Unknown {}

/// Shows whatever table the bytes begin like.
pub fn listing(bytes: &[u8]) -> Result<Listing, Unknown> {
    let unknown = || Unknown { begins: bytes.iter().copied().take(4).collect() };
    let kind = ioward_firmware::kind_of(bytes).ok_or_else(unknown)?;
    let specification = match kind {
        Table::Dmar => "Intel VT-d, revision 4.1, chapter 8",
        Table::Ivrs => "AMD 48882, revision 3.10, chapter 5",
        Table::Iort => "Arm DEN 0049, issue E.g",
        Table::Rimt => "RISC-V RIMT, version 1.0",
        Table::Viot => "ACPI 6.5, section 5.2.33",
        Table::DeviceTree => "Devicetree Specification v0.4 and the bindings of IOMMUs",
        _ => return Err(unknown()),
    };
    let (table, tree) = match kind {
        Table::DeviceTree => (None, Some(tree(bytes))),
        kind => (Some(acpi(kind, bytes)), None),
    };
    Ok(Listing { kind: kind.to_string(), specification, table, tree })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_told_by_how_it_begins() {
        assert_eq!(listing(b"").unwrap_err().to_string(), "it is empty");
        let error = listing(b"SSDT\0\0").unwrap_err().to_string();
        assert!(error.starts_with("it begins with \"SSDT\""), "{error}");
        assert!(listing(b"\x00\xff").unwrap_err().to_string().contains("\\x00\\xff"));
    }
}
