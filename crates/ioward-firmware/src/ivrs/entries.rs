//! Device entries made sense of: ranges paired, padding dropped.

use super::block::{Entry, Hardware};
use crate::raw::printable;
use ioward_types::describe::{Cause, Devices, Uid};

/// The device entry types of specification 48882, tables 95 and 96.
mod kind {
    pub const PADDING: u8 = 0;
    pub const ALL: u8 = 1;
    pub const SELECT: u8 = 2;
    pub const START: u8 = 3;
    pub const END: u8 = 4;
    pub const ALIAS_SELECT: u8 = 0x42;
    pub const ALIAS_START: u8 = 0x43;
    pub const EXTENDED_SELECT: u8 = 0x46;
    pub const EXTENDED_START: u8 = 0x47;
    pub const SPECIAL: u8 = 0x48;
    pub const ACPI: u8 = 0xf0;
}

/// What one device entry, or a pair of them, says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Said<'a> {
    /// Every device behind the IOMMU, unless another entry names it.
    All { at: u32, setting: u8 },
    /// Devices `first..=last`, whose requests carry their own IDs and, if any, that of an alias.
    Range { at: u32, first: u16, last: u16, alias: Option<u16>, setting: u8, ats: Option<bool> },
    /// Something that is no PCI function, but whose requests carry the ID of one.
    Named { at: u32, devices: Devices<'a>, source: u16, setting: u8 },
    /// An entry that is wrong, or that nobody here knows.
    Wrong { at: u32, cause: Cause },
}

/// A range that has started.
#[derive(Clone, Copy)]
struct Open {
    at: u32,
    first: u16,
    alias: Option<u16>,
    setting: u8,
    ats: Option<bool>,
}

/// What the device entries of a block say, in their order; a range where it ends.
pub fn said<'a>(hardware: &Hardware<'a>, mut tell: impl FnMut(Said<'a>)) {
    let mut open: Option<Open> = None;
    for entry in hardware.entries() {
        let at = entry.at();
        if entry.is_cut() {
            let cause = Cause::Truncated { needs: entry.length(), has: entry.0.len() };
            tell(Said::Wrong { at, cause });
            break;
        }
        let (id, setting) = (entry.device_id(), entry.setting());
        // Bit 31: the device's ATS requests are blocked (table 96, ATS Disabled).
        let ats = Some(entry.extended() & 1 << 31 == 0);
        let one = |alias, ats| Said::Range { at, first: id, last: id, alias, setting, ats };
        let start = |alias, ats| Open { at, first: id, alias, setting, ats };
        let started = match entry.kind() {
            kind::PADDING => continue,
            kind::START => start(None, None),
            kind::ALIAS_START => start(Some(entry.source_id()), None),
            kind::EXTENDED_START => start(None, ats),
            other => {
                tell(match other {
                    kind::ALL => Said::All { at, setting },
                    kind::SELECT => one(None, None),
                    kind::ALIAS_SELECT => one(Some(entry.source_id()), None),
                    kind::EXTENDED_SELECT => one(None, ats),
                    kind::END => end(at, id, open.take()),
                    kind::SPECIAL => special(&entry),
                    kind::ACPI => named(&entry),
                    other => Said::Wrong { at, cause: Cause::Unknown { kind: other.into() } },
                });
                continue;
            }
        };
        if let Some(Open { at, .. }) = open.replace(started) {
            tell(Said::Wrong { at, cause: Cause::Unpaired });
        }
    }
    if let Some(Open { at, .. }) = open {
        tell(Said::Wrong { at, cause: Cause::Unpaired });
    }
}

fn end<'a>(at: u32, last: u16, open: Option<Open>) -> Said<'a> {
    match open {
        None => Said::Wrong { at, cause: Cause::Unpaired },
        Some(open) if last < open.first => Said::Wrong { at, cause: Cause::Range { found: last.into() } },
        Some(Open { at, first, alias, setting, ats }) => Said::Range { at, first, last, alias, setting, ats },
    }
}

fn special<'a>(entry: &Entry<'a>) -> Said<'a> {
    let devices = match entry.variety() {
        1 => Devices::IoApic { id: entry.handle() },
        2 => Devices::Hpet { number: entry.handle() },
        other => {
            return Said::Wrong { at: entry.at() + 7, cause: Cause::Unknown { kind: other.into() } };
        }
    };
    Said::Named { at: entry.at(), devices, source: entry.source_id(), setting: entry.setting() }
}

fn named<'a>(entry: &Entry<'a>) -> Said<'a> {
    let raw = entry.uid();
    let uid = match entry.uid_format() {
        0 => Some(Uid::None),
        // A number is little-endian and should have 8 bytes; real tables hold shorter ones.
        1 if raw.len() <= 8 => Some(Uid::Integer(raw.u64(0))),
        2 => {
            let bytes = raw.bytes();
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            printable(&bytes[..end]).map(Uid::Text)
        }
        _ => None,
    };
    let Some(uid) = uid else { return Said::Wrong { at: entry.at() + 20, cause: Cause::Text } };
    let devices = Devices::AcpiId { hid: entry.hid(), cid: entry.cid(), uid };
    Said::Named { at: entry.at(), devices, source: entry.device_id(), setting: entry.setting() }
}
