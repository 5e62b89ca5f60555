//! Device table entries and guest CR3 tables (48882, sections 2.2.2 and 2.2.6).

use super::{ALL, Device, End, Lookup, Plan, Stage, behind, fault, one_stage, passes, read, say};
use ioward_pgtable::ReadMemory;
use ioward_spec::amdvi::{dte, entries::gcr3, registers::device_table};
use ioward_types::{Attributes, Format};

/// Finds the entry of a device.
pub fn from_registers(memory: &dyn ReadMemory, base: u64, source: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let entries = (device_table::SIZE.of(base) + 1) * 4096 / dte::BYTES as u64;
    if u64::from(source.source) >= entries {
        return fault(format!(
            "device {:#x} is outside the table of {entries} entries (ILLEGAL_DEV_TABLE_ENTRY or a hardware error)",
            source.source
        ));
    }
    let at = device_table::BASE.in_place(base) + u64::from(source.source) * dte::BYTES as u64;
    device(memory, at, source, lookups)
}

/// An entry.
pub fn device(memory: &dyn ReadMemory, at: u64, source: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let Some(entry) = read::<{ dte::WORDS }>(memory, "device table entry", at, lookups) else {
        return fault("there is no memory where the device table entry should be (DEV_TAB_HARDWARE_ERROR)");
    };
    if !dte::V.is_set(&entry) {
        say(lookups, "V is clear: requests pass through");
        return passes();
    }
    if !dte::TV.is_set(&entry) {
        say(lookups, "TV is clear: what would need a walk is terminated");
        return fault("translation information is not valid (TV clear): requests are terminated");
    }
    let mode = dte::MODE.get(&entry);
    let root = dte::HOST_PAGE_TABLE_ROOT.get_in_place(&entry);
    let (read_too, write_too) = (dte::IR.is_set(&entry), dte::IW.is_set(&entry));
    let right = |allowed| if allowed { "allowed" } else { "forbidden" };
    say(
        lookups,
        format!(
            "Mode {mode}: {}; reading {}, writing {}; domain {:#x}",
            match mode {
                0 => "no host table".to_owned(),
                7 => "reserved".to_owned(),
                levels => format!("a host table of {levels} levels at {root:#x}"),
            },
            right(read_too),
            right(write_too),
            dte::DOMAIN_ID.get(&entry)
        ),
    );
    let second = match mode {
        0 => None,
        7 => return fault("Mode 7 is reserved (ILLEGAL_DEV_TABLE_ENTRY)"),
        levels => {
            let in_bits = (12 + 9 * levels as u8).min(64);
            Some(Stage::new(Format::AmdV1, 12, in_bits, 52, root, levels as u8))
        }
    };
    let allowed = Attributes { read: read_too, write: write_too, ..ALL };
    let host = |second| match second {
        None => Plan::Ends(End::Passes { read: read_too, write: write_too }),
        second => Plan::Tables { first: None, second, allowed },
    };
    if !dte::GV.is_set(&entry) {
        return match source.pasid {
            Some(_) => fault("a request with a PASID, and the entry has no guest tables (GV clear)"),
            None => host(second),
        };
    }
    let pasid = match source.pasid {
        Some(pasid) => u64::from(pasid),
        None if dte::GIOV.is_set(&entry) => 0,
        None => return host(second),
    };
    let glx = dte::GLX.get(&entry);
    if glx >= u64::from(gcr3::LEVELS) {
        return fault("GLX 3 is reserved (ILLEGAL_DEV_TABLE_ENTRY)");
    }
    let mut table = dte::GCR3_TRP_14_12.get(&entry) << 12
        | dte::GCR3_TRP_30_15.get(&entry) << 15
        | dte::GCR3_TRP_51_31.get(&entry) << 31;
    say(lookups, format!("GV: a guest CR3 table of {} levels at {table:#x}", glx + 1));
    if pasid >> (u64::from(gcr3::LEVEL_BITS) * (glx + 1)) != 0 {
        return fault(format!("PASID {pasid:#x} is outside the guest CR3 table"));
    }
    let guest = behind(memory, second);
    for level in (0..=glx).rev() {
        let index = pasid >> (u64::from(gcr3::LEVEL_BITS) * level) & ((1 << gcr3::LEVEL_BITS) - 1);
        let what = format!("guest CR3 table entry of level {}", level + 1);
        let Some([word]) = read::<1>(&guest, what, table + index * 8, lookups) else {
            return fault("there is no memory where the guest CR3 table entry should be");
        };
        if gcr3::V.of(word) == 0 {
            say(lookups, "V is clear: not valid");
            return fault("the guest CR3 table entry is not valid");
        }
        table = gcr3::ADDRESS.in_place(word);
    }
    let levels = 4 + dte::GUEST_PAGING_MODE.get(&entry);
    say(lookups, format!("a guest table of {levels} levels at {table:#x}"));
    if levels > 5 {
        return fault("the guest paging mode is reserved (ILLEGAL_DEV_TABLE_ENTRY)");
    }
    let first = Stage::new(Format::AmdV2, 12, (12 + 9 * levels) as u8, 52, table, levels as u8);
    match one_stage(Some(first), second) {
        Plan::Tables { first, second, .. } => Plan::Tables { first, second, allowed },
        other => other,
    }
}
