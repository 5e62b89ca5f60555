//! Bus numbers.

use super::scan::{Link, functions_on, link_below};
use crate::{Bdf, BusId, ConfigAccess, Finding, FunctionSpace, Problem, caps, regs};
use alloc::{vec, vec::Vec};

/// A bus that was numbered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bus {
    /// Its number.
    pub number: u8,
    /// The last bus below it, itself if there is none.
    pub last: u8,
    /// The bridge that leads to it; none of the root bus.
    pub bridge: Option<Bdf>,
}

/// What [`number_buses`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Numbering {
    /// The buses, each after the one above it. Buses that only virtual functions will use are not among them.
    pub buses: Vec<Bus>,
    /// The functions, by bus in the order of `buses`, ascending on each.
    pub functions: Vec<Bdf>,
    /// What went wrong on the way.
    pub findings: Vec<Finding>,
}

/// A bus on the way down, with the bridges on it that are still to be numbered.
struct Level {
    index: usize,
    bridges: vec::IntoIter<Bdf>,
}

/// Numbers the buses `first` (the root bus) to `last`, included, depth first.
///
/// Turns ARI forwarding on where both ends of a link have it, and leaves room for the buses that virtual functions need
/// once all are enabled. Old bus numbers are overwritten. A bridge that does not take its numbers, or for which none is
/// left, is closed and reported.
pub fn number_buses<A: ConfigAccess + ?Sized>(access: &A, segment: u32, first: u8, last: u8) -> Numbering {
    let mut done = Numbering::default();
    if first > last {
        return done;
    }
    // One more than 255 is a state too: nothing is left.
    let mut next = u16::from(first);
    let mut levels = vec![enter(access, segment, None, &mut next, last, &mut done)];
    while let Some(level) = levels.last_mut() {
        let Some(bridge) = level.bridges.next() else {
            let bus = &mut done.buses[level.index];
            bus.last = (next - 1) as u8;
            if let Some(bridge) = bus.bridge {
                write_buses(access, bridge, bus.number, bus.last);
            }
            levels.pop();
            continue;
        };
        if next > u16::from(last) {
            done.findings.push(Finding { function: bridge, problem: Problem::NoBusLeft });
            continue;
        }
        let secondary = next as u8;
        let written = write_buses(access, bridge, secondary, last);
        if access.read32(bridge, regs::BUSES) & 0x00ff_ffff != written {
            access.write32(bridge, regs::BUSES, 0);
            done.findings.push(Finding { function: bridge, problem: Problem::BusesReadOnly });
            continue;
        }
        levels.push(enter(access, segment, Some(bridge), &mut next, last, &mut done));
    }
    done
}

/// Writes a bridge's three bus numbers, keeping the latency timer, and tells them as one value.
fn write_buses<A: ConfigAccess + ?Sized>(access: &A, bridge: Bdf, secondary: u8, subordinate: u8) -> u32 {
    let buses = u32::from(bridge.bus) | u32::from(secondary) << 8 | u32::from(subordinate) << 16;
    let timer = access.read32(bridge, regs::BUSES) & 0xff00_0000;
    access.write32(bridge, regs::BUSES, timer | buses);
    buses
}

/// Takes the next number for the bus behind `bridge`, lists its functions and closes the bridges among them.
fn enter<A: ConfigAccess + ?Sized>(
    access: &A,
    segment: u32,
    bridge: Option<Bdf>,
    next: &mut u16,
    last: u8,
    done: &mut Numbering,
) -> Level {
    let bus = BusId { segment, number: *next as u8 };
    *next += 1;
    let link = bridge.map_or(Link::Bus, |bridge| {
        enable_ari(access, bridge, bus.function(0));
        link_below(access, bridge)
    });
    let functions = functions_on(access, bus, link);
    let mut bridges = Vec::new();
    for &function in &functions {
        match access.read32(function, regs::HEADER) >> 16 & 0x7f {
            0 => reserve_virtual(access, function, link == Link::Ari, next, last, done),
            1 | 2 => {
                access.write32(function, regs::BUSES, 0);
                bridges.push(function);
            }
            kind => {
                let problem = Problem::HeaderType { kind: kind as u8 };
                done.findings.push(Finding { function, problem });
            }
        }
    }
    done.functions.extend(functions);
    done.buses.push(Bus { number: bus.number, last: bus.number, bridge });
    Level { index: done.buses.len() - 1, bridges: bridges.into_iter() }
}

/// Turns ARI forwarding on in a port that has it, if the device below has ARI (PCI Express Base 6.0, section 6.13).
fn enable_ari<A: ConfigAccess + ?Sized>(access: &A, port: Bdf, below: Bdf) {
    if link_below(access, port) == Link::Bus {
        return;
    }
    let Some(express) = caps::find(&FunctionSpace { access, function: port }, regs::CAP_PCIE) else { return };
    let control = express.saturating_add(regs::PCIE_DEVICE2_CONTROL);
    let version = access.read32(port, express) >> 16 & 0xf;
    if version < 2 || control >= regs::CONVENTIONAL_BYTES {
        return;
    }
    if access.read32(port, express + regs::PCIE_DEVICE2) & regs::PCIE_ARI_FORWARDING == 0 {
        return;
    }
    let has_ari = caps::find_extended(&FunctionSpace { access, function: below }, regs::EXT_ARI).is_some();
    let old = access.read32(port, control) & 0xffff;
    let new = if has_ari { old | regs::PCIE_ARI_FORWARDING } else { old & !regs::PCIE_ARI_FORWARDING };
    // The upper half is device status 2: zeros leave it alone.
    access.write32(port, control, new);
}

/// Leaves out the bus numbers that a physical function's virtual functions will use (9.2.1.2).
fn reserve_virtual<A: ConfigAccess + ?Sized>(
    access: &A,
    function: Bdf,
    ari: bool,
    next: &mut u16,
    last: u8,
    done: &mut Numbering,
) {
    let Some(sriov) = caps::find_extended(&FunctionSpace { access, function }, regs::EXT_SRIOV) else {
        return;
    };
    let read = |offset: u16| access.read32(function, sriov.saturating_add(offset));
    let control = read(regs::SRIOV_CONTROL);
    let total = read(regs::SRIOV_TOTAL) >> 16;
    if control == u32::MAX || total == 0 || total == 0xffff {
        return;
    }
    // Offset and stride may depend on the number of virtual functions and on the hierarchy (9.3.3.9, 9.3.3.10); both
    // are read-only while virtual functions are enabled.
    let dormant = control & regs::SRIOV_VF_ENABLE == 0;
    let count = read(regs::SRIOV_NUM);
    if dormant {
        let bits =
            (control & 0xffff & !regs::SRIOV_ARI_HIERARCHY) | if ari { regs::SRIOV_ARI_HIERARCHY } else { 0 };
        access.write32(function, sriov.saturating_add(regs::SRIOV_CONTROL), bits);
        access.write32(function, sriov.saturating_add(regs::SRIOV_NUM), count & 0xffff_0000 | total);
    }
    let placement = read(regs::SRIOV_OFFSET);
    if dormant {
        access.write32(function, sriov.saturating_add(regs::SRIOV_NUM), count);
    }
    let (offset, stride) = (placement & 0xffff, placement >> 16);
    let last_virtual = u32::from(function.requester()) + offset + stride * (total - 1);
    let needed = last_virtual >> 8;
    if needed > u32::from(last) {
        let missing = (needed - u32::from(last)).min(255) as u8;
        done.findings.push(Finding { function, problem: Problem::NoBusForVirtual { missing } });
    }
    *next = (*next).max(needed.min(u32::from(last)) as u16 + 1);
}
