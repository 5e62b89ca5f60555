//! Context entries (9.3, 9.4), encoded: what becomes of a source's requests.

use super::memory::Pair;
use super::source::Held;
use ioward_spec::vtd::context::{aw, legacy, scalable};
use ioward_types::PhysAddr;

/// AW of a second-stage table of so many levels.
pub(super) fn address_width(levels: u8) -> u64 {
    match levels {
        5 => aw::BITS_57,
        4 => aw::BITS_48,
        _ => aw::BITS_39,
    }
}

/// A legacy entry. `identity`: the domain of pass-through; `most`: the most levels that the unit has, which it wants to
/// be told with pass-through. None for a first-stage table, which legacy mode does not have.
pub(super) fn legacy(held: &Held, identity: u16, most: u8, ats: bool) -> Option<Pair> {
    let mut words = [legacy::P.put(1), 0];
    let levels = match held {
        Held::Identity => {
            legacy::TT.set(&mut words, legacy::tt::PASS_THROUGH);
            most
        }
        Held::Second { root, levels, .. } => {
            let tt = if ats { legacy::tt::DEVICE_TLB } else { legacy::tt::UNTRANSLATED };
            legacy::TT.set(&mut words, tt);
            legacy::SSPTPTR.set_in_place(&mut words, root.0);
            *levels
        }
        Held::First { .. } => return None,
    };
    legacy::AW.set(&mut words, address_width(levels));
    legacy::DID.set(&mut words, held.domain(identity).into());
    Some(words)
}

/// What a scalable entry says beside where the PASID directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Served {
    /// The device may ask for translations and send translated requests.
    pub ats: bool,
    /// It may send requests with PASID.
    pub pasids: bool,
    /// It may ask for pages.
    pub page_requests: bool,
}

/// The lower half of a scalable entry; the upper is zero. RID_PASID is zero: requests without a PASID go through entry
/// zero of the PASID table, with or without ECAP.RPS.
pub(super) fn scalable(directory: PhysAddr, size: u64, served: Served) -> Pair {
    let mut words = [scalable::P.put(1), 0];
    scalable::DTE.set(&mut words, served.ats.into());
    scalable::PASIDE.set(&mut words, served.pasids.into());
    scalable::PRE.set(&mut words, served.page_requests.into());
    scalable::PDTS.set(&mut words, size);
    scalable::PASIDDIRPTR.set_in_place(&mut words, directory.0);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_entry_as_linux_writes_it() {
        // Four levels at 0x1_2345_6000, domain 0x22.
        let held = Held::Second { tag: 0x22, root: PhysAddr(0x1_2345_6000), levels: 4, dirty: false };
        assert_eq!(legacy(&held, 1, 5, false), Some([0x1_2345_6001, 0x2202]));
        assert_eq!(legacy(&held, 1, 5, true), Some([0x1_2345_6005, 0x2202]));
        assert_eq!(legacy(&Held::Identity, 1, 5, true), Some([0x9, 0x103]));
        let first = Held::First { tag: 3, root: PhysAddr(0x1000), five: false, snoop: false };
        assert_eq!(legacy(&first, 1, 5, false), None);
    }

    #[test]
    fn a_scalable_entry_as_linux_writes_it() {
        let none = Served { ats: false, pasids: false, page_requests: false };
        assert_eq!(scalable(PhysAddr(0x7000), 0, none), [0x7001, 0]);
        let all = Served { ats: true, pasids: true, page_requests: true };
        assert_eq!(scalable(PhysAddr(0x7000), 7, all), [0x7e1d, 0]);
    }
}
