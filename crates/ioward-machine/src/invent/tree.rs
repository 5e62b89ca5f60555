//! Trees of bridges that fit the paths that a table names.

use ioward::{discover::BusFunction, types::describe::PciFunction};
use std::collections::BTreeMap;

/// Base class and subclass of a bridge to another PCI bus.
const BRIDGE: u16 = 0x0604;

/// By segment and bus, what is on the buses where paths start.
#[derive(Default)]
pub struct Forest {
    roots: BTreeMap<(u16, u8), Node>,
}

/// What leads on from somewhere: functions by device and function number.
#[derive(Default)]
struct Node {
    is_bridge: bool,
    children: BTreeMap<u8, Node>,
}

impl Forest {
    /// Adds a path; with `below` its end is a bridge with a function behind it.
    pub fn plant(&mut self, segment: u16, bus: u8, path: &[u8], below: bool) {
        let mut node = self.roots.entry((segment, bus)).or_default();
        let mut hops = path.chunks_exact(2).peekable();
        while let Some(hop) = hops.next() {
            node = node.children.entry((hop[0] & 0x1f) << 3 | hop[1] & 7).or_default();
            node.is_bridge |= below || hops.peek().is_some();
        }
        if below && path.len() >= 2 && node.children.is_empty() {
            node.children.insert(0, Node::default());
        }
    }

    /// Every function of it. Buses are numbered so that they meet no bus where a path starts, nor one that is `taken`; a
    /// tree for which no such numbers are left is left out.
    pub fn functions(&self, taken: &dyn Fn(u16, u8) -> bool) -> Vec<BusFunction> {
        let mut functions = Vec::new();
        let mut used: Vec<(u16, u8)> = self.roots.keys().copied().collect();
        for ((segment, bus), root) in &self.roots {
            for (devfn, node) in &root.children {
                let buses = node.bridges();
                let is_free = |number: u8| !used.contains(&(*segment, number)) && !taken(*segment, number);
                let fits = |first: &u8| (0..buses).all(|more| first.checked_add(more).is_some_and(is_free));
                let Some(first) = (bus.saturating_add(1)..=u8::MAX).chain(1..*bus).find(fits) else {
                    continue;
                };
                used.extend((0..buses).map(|more| (*segment, first + more)));
                node.number(*segment, u16::from(*bus) << 8 | u16::from(*devfn), first, &mut functions);
            }
        }
        functions
    }
}

impl Node {
    /// How many bridges it has, itself included.
    fn bridges(&self) -> u8 {
        let below = self.children.values().map(Self::bridges);
        below.fold(u8::from(self.is_bridge), u8::saturating_add)
    }

    /// Adds itself and what is behind it, whose buses are numbered from `first` on.
    fn number(&self, segment: u16, requester: u16, first: u8, functions: &mut Vec<BusFunction>) {
        let at = PciFunction { segment, requester };
        let mut function = BusFunction::new(at.to_string(), at);
        if !self.is_bridge {
            return functions.push(function);
        }
        function.bridge = true;
        function.class = Some(BRIDGE);
        // It has at least itself.
        function.buses = Some((first, first + (self.bridges() - 1)));
        functions.push(function);
        let mut next = first + 1;
        for (devfn, child) in &self.children {
            child.number(segment, u16::from(first) << 8 | u16::from(*devfn), next, functions);
            next = next.saturating_add(child.bridges());
        }
    }
}
