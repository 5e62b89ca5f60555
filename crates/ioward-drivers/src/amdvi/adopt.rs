//! Reading what an earlier owner left: the device table of an IOMMU that translates.
//!
//! Everything comes from memory that somebody else filled and is checked: a wrong entry is not adopted, and its source
//! starts blocked like any other. An entry with V=0 is not adopted either: it is a bypass and no translation.

use super::config::BringUpError;
use super::domain_id::DomainIds;
use super::entry::Entry;
use super::features::Features;
use super::unit::Unit;
use alloc::vec::Vec;
use ioward_spec::amdvi::{control, dte, registers::device_table, registers::offset};
use ioward_types::{Mmio, PhysAddr, Platform};

/// An entry that goes on until its source is claimed.
pub(super) struct Adopted {
    pub source: u32,
    pub entry: Entry,
}

/// The entries that can go on, of sources up to `last`. Their domain IDs are reserved for ever: what is cached under them
/// is not ours to know.
pub(super) fn read<M: Mmio, P: Platform>(
    unit: &Unit<M, P>,
    features: &Features,
    last: u16,
    memory: &dyn Fn(PhysAddr) -> Option<u64>,
    domains: &mut DomainIds,
) -> Result<Vec<Adopted>, BringUpError> {
    if control::DEV_TBL_SEG_EN.of(unit.control()) != 0 {
        return Err(BringUpError::Adopt("the device table is in segments"));
    }
    let register = unit.registers.read64(offset::DEVICE_TABLE_BASE);
    let base = device_table::BASE.in_place(register);
    if register == u64::MAX || base == 0 {
        return Err(BringUpError::Adopt("there is no device table"));
    }
    // At most 512 pages of 128 entries, as the field is 9 bits wide.
    let entries =
        ((device_table::SIZE.of(register) + 1) * (4096 / dte::BYTES as u64)).min(u64::from(last) + 1);
    let mut adopted = Vec::new();
    for source in 0..entries {
        let mut entry = Entry::default();
        for (n, word) in entry.0.iter_mut().enumerate() {
            let at = PhysAddr(base + source * dte::BYTES as u64 + n as u64 * 8);
            *word = memory(at).ok_or(BringUpError::Adopt("the device table is not in memory"))?;
        }
        if goes_on(&entry, features) {
            domains.reserve(entry.domain());
            adopted.push(Adopted { source: source as u32, entry });
        }
    }
    Ok(adopted)
}

/// Whether the entry is whole, legal on this hardware, and either translates or remaps interrupts.
fn goes_on(entry: &Entry, features: &Features) -> bool {
    let words = &entry.0;
    if !dte::V.is_set(words) || !dte::TV.is_set(words) {
        return false;
    }
    let reserved = words.iter().zip(dte::RESERVED).any(|(word, mask)| word & mask != 0);
    let levels = dte::MODE.get(words);
    let host = levels <= u64::from(features.host_levels.unwrap_or(0));
    let guest = !dte::GV.is_set(words) || features.guest && dte::GLX.get(words) < 3;
    !reserved && host && guest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amdvi::config::Config;
    use ioward_types::describe::AmdVi;

    fn features() -> Features {
        // HATS 0: four levels; no guest translation.
        Features::new(0x40, &Config::new(AmdVi::default(), 0xff)).unwrap()
    }

    #[test]
    fn only_whole_and_legal_entries_go_on() {
        let features = features();
        let good = [0x6000_0000_0000_0803, 7, 0, 0];
        assert!(goes_on(&Entry(good), &features));
        let wrong: [(&str, [u64; 4]); 5] = [
            ("V clear: a bypass", [good[0] & !1, 7, 0, 0]),
            ("TV clear", [good[0] & !2, 7, 0, 0]),
            ("a reserved bit", [good[0] | 1 << 63, 7, 0, 0]),
            ("six levels of four", [good[0] | 0x400, 7, 0, 0]),
            ("guest tables where there are none", [good[0] | 1 << 55, 7, 0, 0]),
        ];
        for (why, words) in wrong {
            assert!(!goes_on(&Entry(words), &features), "{why}");
        }
    }
}
