//! A machine from its bus.

use crate::{
    Bdf, BusId, ConfigAccess, ConfigSpace, Finding, Function, FunctionSpace, Topology, config,
    enumerate::{Link, functions_on, link_below},
    function::Header,
    regs,
    topology::VIRTUAL_BUDGET,
};
use alloc::{vec, vec::Vec};

impl Topology {
    /// Reads a machine whose buses are numbered. `roots`: the root buses that are known; where there are none, each
    /// bus from `first` to `last` that no bridge leads to counts as one.
    ///
    /// Changes nothing. Bridges that contradict each other are reported and not followed.
    pub fn scan<A: ConfigAccess + ?Sized>(
        access: &A,
        segment: u32,
        first: u8,
        last: u8,
        roots: &[u8],
    ) -> Self {
        let (mut functions, mut findings) = (Vec::new(), Vec::new());
        let mut seen = [false; 256];
        let mut budget = VIRTUAL_BUDGET;
        let mut scan_root = |root: u8, seen: &mut [bool; 256]| {
            let mut open = vec![(root, None)];
            while let Some((number, bridge)) = open.pop() {
                if core::mem::replace(&mut seen[usize::from(number)], true) {
                    continue;
                }
                let bus = BusId { segment, number };
                let link = bridge.map_or(Link::Bus, |bridge| link_below(access, bridge));
                for at in functions_on(access, bus, link) {
                    let space = FunctionSpace { access, function: at };
                    let Some(function) = config::read(&space, at, &mut findings) else { continue };
                    if let Header::Bridge { secondary, .. } = function.header
                        && secondary > number
                        && (first..=last).contains(&secondary)
                    {
                        open.push((secondary, Some(at)));
                    }
                    read_virtual(access, &function, &mut functions, &mut findings, &mut budget);
                    functions.push(function);
                }
            }
        };
        if roots.is_empty() {
            for number in first..=last {
                if !seen[usize::from(number)] {
                    scan_root(number, &mut seen);
                }
            }
        } else {
            roots.iter().for_each(|&root| scan_root(root, &mut seen));
        }
        // A bus of virtual functions may have been met both ways.
        functions.sort_by_key(|function: &Function| function.at);
        functions.dedup_by_key(|function| function.at);
        Self::new(functions, findings)
    }
}

/// Virtual functions answer, but their vendor ID is all ones: the physical function stands for it (PCI Express Base 6.0,
/// section 9.3.4.1.1).
fn read_virtual<A: ConfigAccess + ?Sized>(
    access: &A,
    physical: &Function,
    functions: &mut Vec<Function>,
    findings: &mut Vec<Finding>,
    budget: &mut u32,
) {
    struct Virtual<'a, A: ?Sized> {
        space: FunctionSpace<'a, A>,
        id: u32,
    }
    impl<A: ConfigAccess + ?Sized> ConfigSpace for Virtual<'_, A> {
        fn read32(&self, offset: u16) -> Option<u32> {
            match offset {
                regs::ID => Some(self.id),
                _ => self.space.read32(offset),
            }
        }
    }
    let (Some(sriov), Some(ids)) = (physical.sriov.present(), physical.ids) else { return };
    if !sriov.enabled {
        return;
    }
    let count = if sriov.stride == 0 { sriov.count.min(1) } else { sriov.count };
    for index in 0..count {
        let Some(requester) = sriov.requester(physical.at, index) else { return };
        match budget.checked_sub(1) {
            Some(left) => *budget = left,
            None => return,
        }
        let at = Bdf::of_requester(physical.at.segment, requester);
        let space = FunctionSpace { access, function: at };
        // Header, class and capabilities of an absent function are all ones.
        if access.read32(at, regs::CLASS) == u32::MAX {
            return;
        }
        let id = u32::from(sriov.device) << 16 | u32::from(ids.vendor);
        functions.extend(config::read(&Virtual { space, id }, at, findings));
    }
}
