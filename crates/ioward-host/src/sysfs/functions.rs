//! `bus/pci/devices`: a folder for each function.

use super::MOST_FUNCTIONS;
use crate::{Parts, ReadError, Record, Removable, files};
use ioward::pci::{Bdf, function::Ids, regs};
use std::{fs, path::Path};

/// Reads every function.
pub fn read(root: &Path, parts: &mut Parts) {
    let folder = root.join("bus/pci/devices");
    for name in files::names(&folder, MOST_FUNCTIONS, &mut parts.unread) {
        let path = folder.join(&name);
        match name.to_str().and_then(|name| name.parse().ok()) {
            // Where the folder itself cannot be had, one error says it for all of its files.
            Some(_) if fs::metadata(&path).is_err() => {
                parts.unread.extend(fs::metadata(&path).err().map(|error| ReadError::io(&path, &error)));
            }
            Some(at) => {
                let mut reader = Reader { path: &path, errors: Vec::new() };
                let record = reader.record(at);
                // A folder that holds nothing of a function is none: a dead link, a file.
                if record == Record::new(at) && reader.errors.is_empty() {
                    let what = "a folder with the files of a function";
                    parts.unread.push(ReadError::malformed(&path, what, &name.to_string_lossy()));
                } else {
                    parts.unread.append(&mut reader.errors);
                    parts.records.push(record);
                }
            }
            None => {
                let what = "the name of a PCI function (segment:bus:device.function)";
                parts.unread.push(ReadError::malformed(&folder, what, &name.to_string_lossy()));
            }
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    errors: Vec<ReadError>,
}

impl Reader<'_> {
    fn record(&mut self, at: Bdf) -> Record {
        let uevent = self.word("uevent").unwrap_or_default();
        let told = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let driver = files::link_name(&self.path.join("driver"));
        let group = files::link_name(&self.path.join("iommu_group")).and_then(|name| name.parse().ok());
        let physical = files::link_name(&self.path.join("physfn")).and_then(|name| name.parse().ok());
        Record {
            at,
            config: self.config(),
            ids: self.ids("vendor", "device").or_else(|| told("PCI_ID").and_then(pair)),
            subsystem: self
                .ids("subsystem_vendor", "subsystem_device")
                .or_else(|| told("PCI_SUBSYS_ID").and_then(pair))
                .filter(|ids| (ids.vendor, ids.device) != (0, 0)),
            class: self.hex("class").map(|class| (class >> 8) as u16),
            buses: self.buses(),
            driver: driver.or_else(|| told("DRIVER").map(str::to_owned)),
            group,
            numa_node: self.word("numa_node").and_then(|node| node.parse().ok()),
            removable: match self.word("removable").as_deref() {
                Some("removable") => Some(Removable::Removable),
                Some("fixed") => Some(Removable::Fixed),
                _ => None,
            },
            physical,
        }
    }

    /// Configuration space, as far as this user may read it.
    fn config(&mut self) -> Vec<u8> {
        match files::optional(&self.path.join("config"), regs::EXTENDED_BYTES.into()) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                self.errors.push(error);
                Vec::new()
            }
        }
    }

    fn word(&mut self, name: &str) -> Option<String> {
        match files::word(&self.path.join(name)) {
            Ok(word) => word,
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// A number as `0x8086`.
    fn hex(&mut self, name: &str) -> Option<u32> {
        let word = self.word(name)?;
        let number = word.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        if number.is_none() {
            let what = "a hexadecimal number (0x…)";
            self.errors.push(ReadError::malformed(&self.path.join(name), what, &word));
        }
        number
    }

    fn ids(&mut self, vendor: &str, device: &str) -> Option<Ids> {
        let (vendor, device) = (self.hex(vendor)?, self.hex(device)?);
        Some(Ids { vendor: u16::try_from(vendor).ok()?, device: u16::try_from(device).ok()? })
    }

    fn buses(&mut self) -> Option<(u8, u8)> {
        let mut bus = |name| self.word(name).and_then(|word| word.parse().ok());
        Some((bus("secondary_bus_number")?, bus("subordinate_bus_number")?))
    }
}

/// `8086:1237`, with as few digits as the number needs.
fn pair(text: &str) -> Option<Ids> {
    let (vendor, device) = text.split_once(':')?;
    let hex = |digits: &str| u16::from_str_radix(digits, 16).ok();
    Some(Ids { vendor: hex(vendor)?, device: hex(device)? })
}
