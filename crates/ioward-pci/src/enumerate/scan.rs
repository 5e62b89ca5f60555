//! The functions of one bus.

use crate::{Bdf, BusId, ConfigAccess, FunctionSpace, caps, regs};
use alloc::vec::Vec;

/// What a bus is, as far as it matters for finding the functions on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// All 32 device numbers may be used: a root bus, a conventional bus, the inside of a switch.
    Bus,
    /// A PCI Express link: device 0 only (PCI Express Base 6.0, section 7.3.1).
    Single,
    /// A link with ARI forwarding enabled: functions 0 to 255 of one device.
    Ari,
}

/// What a bridge's secondary bus is, as the bridge is configured now.
pub fn link_below<A: ConfigAccess + ?Sized>(access: &A, bridge: Bdf) -> Link {
    let config = FunctionSpace { access, function: bridge };
    let Some(express) = caps::find(&config, regs::CAP_PCIE) else { return Link::Bus };
    let capabilities = access.read32(bridge, express);
    match capabilities >> 20 & 0xf {
        // Root port, downstream port.
        4 | 6 => {
            let version = capabilities >> 16 & 0xf;
            let control = express.checked_add(regs::PCIE_DEVICE2_CONTROL).filter(|_| version >= 2);
            let enabled = control.is_some_and(|at| {
                at < regs::CONVENTIONAL_BYTES && access.read32(bridge, at) & regs::PCIE_ARI_FORWARDING != 0
            });
            if enabled { Link::Ari } else { Link::Single }
        }
        _ => Link::Bus,
    }
}

fn present<A: ConfigAccess + ?Sized>(access: &A, function: Bdf) -> bool {
    // Vendor 0 is what some bridges answer for absent functions; neither is a vendor.
    !matches!(access.read32(function, regs::ID) & 0xffff, 0 | 0xffff)
}

/// The functions that answer on a bus, ascending.
pub fn functions_on<A: ConfigAccess + ?Sized>(access: &A, bus: BusId, link: Link) -> Vec<Bdf> {
    let mut found = Vec::new();
    let devices = if link == Link::Bus { 32 } else { 1 };
    for device in 0..devices {
        let first = Bdf::new(bus.segment, bus.number, device, 0);
        if !present(access, first) {
            continue;
        }
        found.push(first);
        let ari = (link == Link::Ari)
            .then(|| caps::find_extended(&FunctionSpace { access, function: first }, regs::EXT_ARI))
            .flatten();
        if let Some(ari) = ari {
            follow_ari(access, first, ari, &mut found);
        } else if access.read32(first, regs::HEADER) & 0x0080_0000 != 0 {
            let others = (1..8).map(|function| Bdf::new(bus.segment, bus.number, device, function));
            found.extend(others.filter(|&function| present(access, function)));
        }
    }
    found
}

/// The list of next function numbers, which ascends to its end (7.8.8.2).
fn follow_ari<A: ConfigAccess + ?Sized>(access: &A, first: Bdf, ari: u16, found: &mut Vec<Bdf>) {
    let (mut current, mut at) = (first, Some(ari));
    while let Some(ari) = at {
        let next = (access.read32(current, ari.saturating_add(regs::ARI_WORDS)) >> 8) as u8;
        if next <= current.devfn {
            return;
        }
        current.devfn = next;
        if !present(access, current) {
            return;
        }
        found.push(current);
        at = caps::find_extended(&FunctionSpace { access, function: current }, regs::EXT_ARI);
    }
}
