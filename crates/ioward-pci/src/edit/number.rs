//! Bus numbers for what moved.

use super::{
    EditError,
    apply::Step,
    place::{Moving, is_link},
};
use crate::{Bdf, Topology, function::Header, topology::Index};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// Numbers what moved within the bus numbers of its new port, or else everything below that root bus.
pub(super) fn renumber(topology: &Topology, moving: &Moving) -> Result<Step, EditError> {
    let target = moving.target;
    let at = topology.functions()[target].at;
    if let Header::Bridge { secondary, subordinate, .. } = topology.functions()[target].header
        && secondary != 0
    {
        let mut numbers = Numbers::new(topology, moving, subordinate);
        let members = numbers.members_below(target)?;
        numbers.bus(&members, u32::from(secondary))?;
        if numbers.fits() {
            return numbers.finish(at);
        }
    }
    let root = topology.bus_of(topology.path(target).last().unwrap_or(target));
    let is_root = |bus: &&crate::topology::BusNode| bus.bridge.is_none() && bus.lent_by.is_none();
    let later = topology.buses().iter().filter(is_root);
    let next = later
        .map(|bus| bus.id)
        .find(|id| id.segment == root.id.segment && id.number > root.id.number)
        .map_or(256, |id| u16::from(id.number));
    let mut numbers = Numbers::new(topology, moving, (next - 1) as u8);
    let members = numbers.members(root.functions.clone(), false);
    let first = u32::from(root.id.number);
    numbers.bus(&members, first)?;
    if !numbers.fits() {
        let room = next - u16::from(root.id.number);
        return Err(EditError::NoBusRoom { root: root.id, room, needed: numbers.last + 1 - first });
    }
    numbers.finish(at)
}

struct Numbers<'a> {
    topology: &'a Topology,
    moving: &'a Moving,
    /// By physical function: its virtual functions.
    virtual_of: BTreeMap<Index, Vec<Index>>,
    limit: u8,
    /// The last number used so far.
    last: u32,
    step: Step,
}

impl<'a> Numbers<'a> {
    fn new(topology: &'a Topology, moving: &'a Moving, limit: u8) -> Self {
        let mut virtual_of: BTreeMap<Index, Vec<Index>> = BTreeMap::new();
        for index in 0..topology.functions().len() {
            if let Some(physical) = topology.physical(index) {
                virtual_of.entry(physical).or_default().push(index);
            }
        }
        Self { topology, moving, virtual_of, limit, last: 0, step: Step::unchanged(topology) }
    }

    fn fits(&self) -> bool {
        self.last <= u32::from(self.limit)
    }

    /// Functions that will be on a bus: those that are, without what moves away. Virtual functions follow theirs.
    fn members(&self, on: core::ops::Range<Index>, in_moved: bool) -> Vec<Index> {
        let stays = |&index: &Index| {
            self.topology.physical(index).is_none() && (in_moved || !self.moving.everything[index])
        };
        on.filter(stays).collect()
    }

    fn members_below(&self, bridge: Index) -> Result<Vec<Index>, EditError> {
        let function = &self.topology.functions()[bridge];
        let in_moved = self.moving.everything[bridge];
        let mut members = match (self.topology.below(bridge), function.header) {
            (Some(bus), _) => self.members(bus.functions.clone(), in_moved),
            // It claims buses that are another bridge's.
            (None, Header::Bridge { secondary: 1.., .. }) => {
                return Err(EditError::BusesUnknown { bridge: function.at });
            }
            (None, _) => Vec::new(),
        };
        if bridge == self.moving.target {
            members.extend(&self.moving.device);
        }
        Ok(members)
    }

    /// Names the functions of a bus and, depth first, of the buses below. Ends: below a bus are others only, of which
    /// there are 256.
    fn bus(&mut self, members: &[Index], number: u32) -> Result<(), EditError> {
        self.last = self.last.max(number);
        let segment = self.topology.functions()[self.moving.target].at.segment;
        for &index in members {
            let old = self.topology.functions()[index].at;
            let requester = number << 8 | u32::from(self.devfn(index));
            self.name(index, segment, requester);
            for place in 0..self.virtual_of.get(&index).map_or(0, Vec::len) {
                let function = self.virtual_of[&index][place];
                let distance = u32::from(self.topology.functions()[function].at.requester())
                    - u32::from(old.requester());
                self.name(function, segment, requester + distance);
            }
        }
        for &index in members {
            let function = &self.topology.functions()[index];
            let unnumbered = !matches!(function.header, Header::Bridge { secondary: 1.., .. });
            if !function.header.is_bridge() || unnumbered && index != self.moving.target {
                continue;
            }
            let below = self.members_below(index)?;
            let first = self.last + 1;
            self.bus(&below, first)?;
            self.step.buses.insert(index, (first as u8, self.last as u8));
        }
        Ok(())
    }

    fn name(&mut self, index: Index, segment: u32, requester: u32) {
        self.last = self.last.max(requester >> 8);
        // Beyond the limit nothing of this is used.
        self.step.names[index] = Some(Bdf::of_requester(segment, requester as u16));
    }

    fn devfn(&self, index: Index) -> u8 {
        let at = self.topology.functions()[index].at;
        if !self.moving.device.contains(&index) {
            return at.devfn;
        }
        let was_link = self.topology.above(index).is_some_and(|above| is_link(self.topology, above));
        // From link to link all eight bits are the function.
        if was_link && is_link(self.topology, self.moving.target) {
            at.devfn
        } else {
            self.moving.slot << 3 | at.function()
        }
    }

    fn finish(self, target: Bdf) -> Result<Step, EditError> {
        let mut step = self.step;
        // Nothing that stands outside of the tree may have a name that was given inside it.
        let names: BTreeSet<Bdf> = step.names.iter().copied().flatten().collect();
        if names.len() != step.names.len() {
            return Err(EditError::BusesUnknown { bridge: target });
        }
        step.moved.clone_from(&self.moving.everything);
        Ok(step)
    }
}
