//! What moves with a device, and whether it fits where it is to go.

use super::{EditError, apply::Step, number};
use crate::{Bdf, Fact, PortType, Topology, function::Header, topology::Index};
use alloc::{vec, vec::Vec};

/// What moves where.
pub(super) struct Moving {
    /// The port or bridge that it is to be below.
    pub target: Index,
    /// The device's functions, without virtual ones.
    pub device: Vec<Index>,
    /// By place: whether it is one of those, a virtual function of one, or below one.
    pub everything: Vec<bool>,
    /// The device number that it gets.
    pub slot: u8,
}

/// Moves a device.
pub(super) fn relocate(topology: &Topology, device: Bdf, below: Bdf) -> Result<Step, EditError> {
    let (index, target) = (find(topology, device)?, find(topology, below)?);
    let functions = movable(topology, index)?;
    let everything = with_all(topology, &functions);
    match topology.functions()[target].header {
        Header::Bridge { .. } => {}
        Header::BridgeUnseen => return Err(EditError::BusesUnknown { bridge: below }),
        Header::Endpoint | Header::Unknown(_) => return Err(EditError::NotABridge { function: below }),
    }
    if kind(topology, target) == Some(PortType::UpstreamPort) {
        return Err(EditError::NotASlot { function: below });
    }
    if everything[target] {
        return Err(EditError::BelowItself { device, port: below });
    }
    let contradicts = topology.below(target).is_none()
        && !matches!(topology.functions()[target].header, Header::Bridge { secondary: 0, .. });
    if contradicts {
        return Err(EditError::BusesUnknown { bridge: below });
    }
    let slot = free_slot(topology, &functions, &everything, target)?;
    let moving = Moving { target, device: functions, everything, slot };
    number::renumber(topology, &moving)
}

/// Takes a device out.
pub(super) fn take_out(topology: &Topology, device: Bdf) -> Result<Step, EditError> {
    let index = find(topology, device)?;
    let functions = match movable(topology, index) {
        Ok(functions) => functions,
        Err(EditError::InRootComplex { .. } | EditError::InsideSwitch { .. }) => vec![index],
        Err(error) => return Err(error),
    };
    let mut step = Step::unchanged(topology);
    for (index, gone) in with_all(topology, &functions).into_iter().enumerate() {
        if gone {
            step.names[index] = None;
        }
    }
    Ok(step)
}

fn find(topology: &Topology, at: Bdf) -> Result<Index, EditError> {
    topology.find(at).ok_or(EditError::NoSuchFunction { function: at })
}

fn kind(topology: &Topology, index: Index) -> Option<PortType> {
    topology.functions()[index].port_type()
}

/// Whether what is below a bridge is a PCI Express link, which has room for one device.
pub(crate) fn is_link(topology: &Topology, bridge: Index) -> bool {
    matches!(
        kind(topology, bridge),
        Some(PortType::RootPort | PortType::DownstreamPort | PortType::FromConventional)
    )
}

/// All functions of a device that can be pulled out, without virtual ones.
pub(crate) fn movable(topology: &Topology, index: Index) -> Result<Vec<Index>, EditError> {
    let function = topology.functions()[index].at;
    if let Some(physical) = topology.physical(index) {
        return Err(EditError::Virtual { function, physical: topology.functions()[physical].at });
    }
    let Some(above) = topology.above(index) else { return Err(EditError::InRootComplex { function }) };
    if kind(topology, index) == Some(PortType::DownstreamPort) {
        return Err(EditError::InsideSwitch { function });
    }
    let on = topology.bus_of(index).functions.clone();
    let slot = function.device();
    // A link has one device, whose functions may have numbers beyond 7 (ARI).
    let same = |other: &Index| {
        topology.physical(*other).is_none()
            && (is_link(topology, above) || topology.functions()[*other].at.device() == slot)
    };
    Ok(on.filter(same).collect())
}

/// These functions, their virtual functions and everything below them.
fn with_all(topology: &Topology, functions: &[Index]) -> Vec<bool> {
    let mut all = vec![false; topology.functions().len()];
    let mut open = functions.to_vec();
    while let Some(index) = open.pop() {
        if core::mem::replace(&mut all[index], true) {
            continue;
        }
        open.extend(topology.below(index).into_iter().flat_map(|bus| bus.functions.clone()));
    }
    for index in 0..all.len() {
        all[index] |= topology.physical(index).is_some_and(|physical| all[physical]);
    }
    all
}

/// The device number that a device gets below `target`.
fn free_slot(
    topology: &Topology,
    device: &[Index],
    everything: &[bool],
    target: Index,
) -> Result<u8, EditError> {
    let at = |index: Index| topology.functions()[index].at;
    let others = || {
        let on = topology.below(target).map_or(0..0, |bus| bus.functions.clone());
        on.filter(|&index| !everything[index])
    };
    let bridge = at(target);
    let express = device.iter().any(|&index| matches!(topology.functions()[index].express, Fact::Present(_)));
    if is_link(topology, target) {
        // A device without the capability may hide it (bridges do), if it is on a link now.
        let on_link = topology.above(device[0]).is_some_and(|above| is_link(topology, above));
        let conventional = device.iter().all(|&index| topology.functions()[index].express == Fact::Absent);
        if conventional && !on_link {
            return Err(EditError::DoesNotFit { device: at(device[0]), bridge });
        }
        return match others().next() {
            Some(by) => Err(EditError::Occupied { port: bridge, by: at(by) }),
            None => Ok(0),
        };
    }
    // What turns conventional PCI back into PCI Express is conventional itself.
    if express && kind(topology, device[0]) != Some(PortType::FromConventional) {
        return Err(EditError::DoesNotFit { device: at(device[0]), bridge });
    }
    let used = others().fold(0u32, |used, index| used | 1 << at(index).device());
    let own = at(device[0]).device();
    core::iter::once(own)
        .chain(0..32)
        .find(|&slot| used >> slot & 1 == 0)
        .ok_or(EditError::NoDeviceNumber { bridge })
}
