//! What tells one machine from others of its model, and is taken out.

use ioward::{
    firmware::devicetree::Tree,
    pci::{caps, regs},
};
use std::{collections::BTreeMap, fmt};

/// Device serial number (PCI Express Base 6.0, section 7.9.3).
const SERIAL_NUMBER: u16 = 0x0003;
/// Vital product data (PCI Local Bus 3.0, appendix I): an address and a window to what is there.
const VITAL_PRODUCT_DATA: u16 = 0x03;

/// Properties of a device tree that may hold an address of a network interface, a serial number, a seed, or a command line
/// with names of disks and hosts. The words stand for parts of names.
const PROPERTIES: [&str; 18] = [
    "serial",
    "mac-address",
    "bootargs",
    "seed",
    "uuid",
    "guid",
    "password",
    "hostname",
    "asset",
    "bdaddr",
    "bd-address",
    "rpi-duid",
    "system-id",
    "ibm,loc-code",
    "vpd",
    "unique-chip-id",
    "ethaddr",
    "cal-blob",
];

/// Whether a property of this name is taken out. `serial0` is an alias, whose value is the path of a UART.
fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let number = name.strip_prefix("serial").filter(|number| !number.is_empty());
    let is_alias = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    !is_alias && PROPERTIES.iter().any(|part| name.contains(part))
}

/// Something that was taken out, and how often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Removed {
    /// The number of a device serial number capability.
    SerialNumber,
    /// The window of a vital product data capability.
    VitalProductData,
    /// A property of a device tree.
    TreeProperty,
    /// A whole device tree: nobody can tell what its bytes are.
    Tree,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SerialNumber => "device serial numbers",
            Self::VitalProductData => "windows to vital product data",
            Self::TreeProperty => {
                "properties of the device tree (serial numbers, addresses, seeds, command lines)"
            }
            Self::Tree => "whole device trees, whose structure is broken or too deep to be searched",
        })
    }
}

/// What was taken out, each with how often.
pub type Count = BTreeMap<Removed, usize>;

/// Configuration space without what tells one device from others of its kind.
pub fn config(bytes: &[u8], count: &mut Count) -> Vec<u8> {
    let mut redacted = bytes.to_vec();
    // A list that goes wrong is walked as far as it goes, as by whoever reads the snapshot.
    let mut places = Vec::new();
    let _ = caps::conventional(bytes, regs::CAPABILITIES, |cap| {
        if cap.id == VITAL_PRODUCT_DATA {
            places.push((Removed::VitalProductData, cap.offset + 2, 6));
        }
    });
    if bytes.len() > usize::from(regs::EXTENDED_CAPABILITIES) {
        let _ = caps::extended(bytes, |cap| {
            if cap.id == SERIAL_NUMBER {
                places.push((Removed::SerialNumber, cap.offset + 4, 8));
            }
        });
    }
    for (what, at, length) in places {
        let at = usize::from(at).min(redacted.len());
        let end = (at + length).min(redacted.len());
        redacted[at..end].fill(0);
        *count.entry(what).or_default() += 1;
    }
    redacted
}

/// A device tree with the values of such properties overwritten by zeros; its structure stays. Nothing is left of one that
/// cannot be walked to its end: what lies behind the place where the walk ends was not searched.
pub fn tree(bytes: &[u8], count: &mut Count) -> Vec<u8> {
    match searched(bytes) {
        Some((redacted, properties)) => {
            if properties != 0 {
                *count.entry(Removed::TreeProperty).or_default() += properties;
            }
            redacted
        }
        None => {
            *count.entry(Removed::Tree).or_default() += 1;
            Vec::new()
        }
    }
}

/// The redacted tree and how many of its properties were; none where it cannot be walked to its end.
fn searched(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut redacted = bytes.to_vec();
    let mut properties = 0;
    let tree = Tree::open(bytes, &mut |_| {}).ok()?;
    let walked = tree.walk(&mut |path| {
        for property in path.node().into_iter().flat_map(|node| node.properties()) {
            if is_private(property.name()) {
                let start = property.value().at() as usize;
                redacted[start..start + property.value().bytes().len()].fill(0);
                properties += 1;
            }
        }
        true
    });
    walked.ok()?;
    // What belongs to no part of the tree the walk has not seen: gaps, and what lies behind its end.
    let mut parts = tree.parts();
    parts.sort_unstable_by_key(|part| part.start);
    let mut seen = 0;
    for part in parts {
        if part.start > seen {
            redacted[seen..part.start].fill(0);
        }
        seen = seen.max(part.end);
    }
    redacted[seen..].fill(0);
    Some((redacted, properties))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_machines_apart_are_private_and_aliases_are_not() {
        for name in [
            "serial-number",
            "serialno",
            "local-mac-address",
            "rpi-duid",
            "system-id",
            "ibm,loc-code",
            "ibm,vpd",
            "unique-chip-id",
            "ethaddr",
            "brcm,cal-blob",
            "Serial",
        ] {
            assert!(is_private(name), "{name}");
        }
        for name in ["serial0", "serial12", "compatible", "reg"] {
            assert!(!is_private(name), "{name}");
        }
    }

    #[test]
    fn a_serial_number_is_taken_out_and_the_list_stays() {
        let mut bytes = vec![0u8; 4096];
        bytes[6] = 0x10;
        bytes[0x34] = 0x40;
        // Vital product data, then nothing.
        bytes[0x40..0x48].copy_from_slice(&[3, 0, 0x12, 0x80, 1, 2, 3, 4]);
        // ACS, then a serial number, then another.
        bytes[0x100..0x104].copy_from_slice(&0x1101_000d_u32.to_le_bytes());
        bytes[0x110..0x114].copy_from_slice(&0x1201_0003_u32.to_le_bytes());
        bytes[0x114..0x11c].copy_from_slice(b"SERIAL01");
        bytes[0x120..0x124].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
        bytes[0x124..0x12c].copy_from_slice(b"SERIAL02");
        let mut count = Count::new();
        let redacted = config(&bytes, &mut count);
        assert!(!redacted.windows(6).any(|window| window == b"SERIAL"));
        assert_eq!(redacted[0x40..0x48], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(redacted[0x110..0x114], bytes[0x110..0x114]);
        assert_eq!((count[&Removed::SerialNumber], count[&Removed::VitalProductData]), (2, 1));
    }

    #[test]
    fn a_capability_at_the_very_end_is_no_harm() {
        let mut bytes = vec![0u8; 4096];
        bytes[0x100..0x104].copy_from_slice(&(0x0001_000d_u32 | 0xffc << 20).to_le_bytes());
        bytes[0xffc..].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
        assert_eq!(config(&bytes, &mut Count::new()).len(), 4096);
        assert!(tree(b"no tree", &mut Count::new()).is_empty());
    }
}
