//! Turning ACS on.
//!
//! Firmware leaves it off as a rule. A kernel that uses an IOMMU turns it on before it groups, and before drivers do DMA;
//! groups are computed from what is on.

use crate::{AcsBits, Bdf, ConfigAccess, FunctionSpace, Topology, caps, quirks::Provides, regs};
use alloc::vec::Vec;

/// What was turned on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enabled {
    /// In which function.
    pub function: Bdf,
    /// The bits that are on now, as read back.
    pub on: AcsBits,
    /// The bits that were asked for and did not take.
    pub refused: AcsBits,
}

/// Turns on what a function has of source validation, redirection and upstream forwarding; of functions below a port that
/// faces outside, translation blocking too, since a device that is not trusted must not claim to have translated. Turns
/// direct translated requests off with it. Egress control is left as it is, and so is what a quirk calls broken.
///
/// `topology` is what was scanned through the same `access`; scan again afterwards.
pub fn enable_acs<A: ConfigAccess + ?Sized>(access: &A, topology: &Topology) -> Vec<Enabled> {
    let mut done = Vec::new();
    for (index, function) in topology.functions().iter().enumerate() {
        // Virtual functions have no registers of their own to set (PCI Express Base 6.0, section 9.3.7.6).
        if function.acs.present().is_none() || topology.physical(index).is_some() {
            continue;
        }
        let at = function.at;
        let Some(offset) = caps::find_extended(&FunctionSpace { access, function: at }, regs::EXT_ACS) else {
            continue;
        };
        let words = offset.saturating_add(regs::ACS_WORDS);
        let value = access.read32(at, words);
        let capability = AcsBits(value as u16);
        let mut wanted = AcsBits::ISOLATION;
        if topology.is_untrusted(index) || function.external_facing {
            wanted = wanted | AcsBits::TB;
        }
        let row = topology.acs_quirk(index).map(|(row, _)| row.provides);
        let wanted = match row {
            Some(Provides::Granted(broken)) => wanted & capability & !broken,
            _ => wanted & capability,
        };
        let off = if wanted.covers(AcsBits::TB) { AcsBits::DT } else { AcsBits::NONE };
        let on = if row == Some(Provides::NextWord) {
            let control = words.saturating_add(4);
            let old = access.read32(at, control);
            access.write32(at, control, old & !u32::from(off.0) | u32::from(wanted.0));
            AcsBits(access.read32(at, control) as u16)
        } else {
            let control = (value >> 16 & !u32::from(off.0) | u32::from(wanted.0)) << 16;
            access.write32(at, words, control | value & 0xffff);
            AcsBits((access.read32(at, words) >> 16) as u16)
        };
        done.push(Enabled { function: at, on, refused: wanted & !on });
    }
    done
}
