//! Root, context and PASID entries (VT-d rev 4.1, chapter 9).

use super::{Device, Lookup, Plan, Stage, fault, one_stage, passes, read, say};
use ioward_pgtable::ReadMemory;
use ioward_spec::vtd::{
    context::{aw, legacy as old, scalable as new},
    pasid::{self, directory, entry},
    registers::rtaddr,
    root,
};
use ioward_types::Format;

/// Finds the entry of a device; the register tells the mode.
pub fn from_registers(memory: &dyn ReadMemory, base: u64, device: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let Ok(source) = u16::try_from(device.source) else {
        return fault(format!("source {:#x} is no requester ID", device.source));
    };
    let (bus, devfn) = (u64::from(source >> 8), u64::from(source & 0xff));
    let at = rtaddr::RTA.in_place(base).wrapping_add(bus * root::BYTES as u64);
    let mode = rtaddr::TTM.of(base);
    if mode == rtaddr::ttm::ABORT {
        return fault("RTADDR.TTM aborts all DMA");
    }
    let Some(words) = read::<{ root::WORDS }>(memory, "root entry", at, lookups) else {
        return fault("there is no memory where the root entry should be");
    };
    match mode {
        rtaddr::ttm::LEGACY => {
            if !root::legacy::P.is_set(&words) {
                return fault("the root entry is not present (fault reason 1)");
            }
            let table = root::legacy::CTP.get_in_place(&words);
            legacy(memory, table.wrapping_add(devfn * old::BYTES as u64), device, lookups)
        }
        rtaddr::ttm::SCALABLE => {
            let (present, table) = match devfn >> 7 {
                0 => (root::scalable::LP.is_set(&words), root::scalable::LCTP.get_in_place(&words)),
                _ => (root::scalable::UP.is_set(&words), root::scalable::UCTP.get_in_place(&words)),
            };
            if !present {
                return fault("the root entry is not present (fault reason 39h)");
            }
            scalable(memory, table.wrapping_add((devfn & 0x7f) * new::BYTES as u64), device, lookups)
        }
        other => fault(format!("RTADDR.TTM {other} is reserved")),
    }
}

/// Levels and bits of an address width.
fn second(width: u64, table: u64) -> Option<Stage> {
    let (in_bits, levels) = match width {
        aw::BITS_39 => (39, 3),
        aw::BITS_48 => (48, 4),
        aw::BITS_57 => (57, 5),
        _ => return None,
    };
    Some(Stage::new(Format::VtdSecond, 12, in_bits, 52, table, levels))
}

/// A context entry of legacy mode.
pub fn legacy(memory: &dyn ReadMemory, at: u64, device: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let Some(words) = read::<{ old::WORDS }>(memory, "context entry", at, lookups) else {
        return fault("there is no memory where the context entry should be");
    };
    if !old::P.is_set(&words) {
        say(lookups, "P is clear: not present");
        return fault("the context entry is not present (fault reason 2)");
    }
    if device.pasid.is_some() {
        return fault("a request with a PASID, and legacy mode has none");
    }
    let (kind, table) = (old::TT.get(&words), old::SSPTPTR.get_in_place(&words));
    say(lookups, format!("TT {kind:#04b}, AW {}, domain {:#x}", old::AW.get(&words), old::DID.get(&words)));
    match kind {
        old::tt::PASS_THROUGH => passes(),
        old::tt::UNTRANSLATED | old::tt::DEVICE_TLB => match second(old::AW.get(&words), table) {
            Some(stage) => one_stage(None, Some(stage)),
            None => fault("the context entry has a reserved address width (fault reason 3)"),
        },
        _ => fault("the context entry has a reserved translation type (fault reason 3)"),
    }
}

/// A context entry of scalable mode.
pub fn scalable(memory: &dyn ReadMemory, at: u64, device: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let Some(words) = read::<{ new::WORDS }>(memory, "scalable-mode context entry", at, lookups) else {
        return fault("there is no memory where the context entry should be");
    };
    if !new::P.is_set(&words) {
        say(lookups, "P is clear: not present");
        return fault("the context entry is not present (fault reason 41h)");
    }
    let table = new::PASIDDIRPTR.get_in_place(&words);
    let number = match device.pasid {
        Some(_) if !new::PASIDE.is_set(&words) => {
            return fault("a request with a PASID, and the context entry does not enable them");
        }
        Some(pasid) => u64::from(pasid),
        None => new::RID_PASID.get(&words),
    };
    let bits = new::PDTS.get(&words) + 7;
    say(
        lookups,
        format!("PASID directory of 2^{bits} entries at {table:#x}; the request has PASID {number:#x}"),
    );
    let index = number >> pasid::TABLE_BITS;
    if index >> bits != 0 {
        return fault(format!("PASID {number:#x} is outside the directory"));
    }
    let place = table.wrapping_add(index * directory::BYTES as u64);
    let Some([word]) = read::<1>(memory, "PASID directory entry", place, lookups) else {
        return fault("there is no memory where the PASID directory entry should be");
    };
    if directory::P.of(word) == 0 {
        say(lookups, "P is clear: not present");
        return fault("the PASID directory entry is not present (fault reason 51h)");
    }
    let within = number & (entry::ENTRIES as u64 - 1);
    let place = directory::SMPTBLPTR.in_place(word).wrapping_add(within * entry::BYTES as u64);
    let Some(words) = read::<{ entry::WORDS }>(memory, "PASID table entry", place, lookups) else {
        return fault("there is no memory where the PASID table entry should be");
    };
    if !entry::P.is_set(&words) {
        say(lookups, "P is clear: not present");
        return fault("the PASID table entry is not present (fault reason 59h)");
    }
    let kind = entry::PGTT.get(&words);
    let (below, above) = (entry::SSPTPTR.get_in_place(&words), entry::FSPTPTR.get_in_place(&words));
    say(lookups, format!("PGTT {kind:#05b}, domain {:#x}", entry::DID.get(&words)));
    let first = match entry::FSPM.get(&words) {
        entry::fspm::LEVELS_4 => Some(Stage::new(Format::VtdFirst, 12, 48, 52, above, 4)),
        entry::fspm::LEVELS_5 => Some(Stage::new(Format::VtdFirst, 12, 57, 52, above, 5)),
        _ => None,
    };
    let second = second(entry::AW.get(&words), below);
    match (kind, first, second) {
        (entry::pgtt::PASS_THROUGH, ..) => passes(),
        (entry::pgtt::FIRST, Some(first), _) => one_stage(Some(first), None),
        (entry::pgtt::SECOND, _, Some(second)) => one_stage(None, Some(second)),
        (entry::pgtt::NESTED, Some(first), Some(second)) => one_stage(Some(first), Some(second)),
        (entry::pgtt::FIRST | entry::pgtt::SECOND | entry::pgtt::NESTED, ..) => {
            fault("the PASID table entry has a reserved paging mode or address width (fault reason 5Bh)")
        }
        _ => fault("the PASID table entry has a reserved translation type (fault reason 5Bh)"),
    }
}
