//! Firmware tables and device trees for reading.
//!
//! [`acpi`] takes a DMAR, IVRS, IORT, RIMT or VIOT apart into [`Part`]s: structures made of structures and fields, each with
//! its place, its bytes, its name as the specification has it, its value and what that means. The fields that have no parts
//! of their own tile the table: every byte is in one of them, and what nobody knows is shown as bytes. [`tree`] shows of a
//! device tree what has to do with IOMMUs.
//!
//! Values come from the raw views of `ioward-firmware`, and problems are those that it reports, each put where it belongs.

mod acpi;
mod dmar;
mod iort;
mod ivrs;
mod ivrs_features;
mod listing;
mod part;
mod rimt;
mod tree;
mod viot;

pub use acpi::acpi;
pub use listing::{Listing, Unknown, listing};
pub use part::{Part, Setting, Trouble, Value};
pub use tree::{Tree, TreeNode, TreeProperty, tree};

/// Bytes as people count them: whole KiB, MiB and so on where they are whole.
pub(crate) fn size(bytes: u128) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut shown = (bytes, "bytes");
    for unit in UNITS {
        if shown.0 == 0 || !shown.0.is_multiple_of(1024) {
            break;
        }
        shown = (shown.0 / 1024, unit);
    }
    match shown {
        (1, "bytes") => "1 byte".into(),
        (number, unit) => format!("{number} {unit}"),
    }
}

/// A requester ID as bus, device and function.
fn function(requester: u16) -> String {
    format!("{:02x}:{:02x}.{:x}", requester >> 8, requester >> 3 & 0x1f, requester & 7)
}
