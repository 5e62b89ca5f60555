//! The search for remedies.

use super::step::{Remedy, Step, take};
use crate::{
    AcsBits, Bdf, PortType, Topology,
    edit::{is_link, movable},
    groups::{Cause, Grouping, Lack, Policy},
    topology::Index,
};
use alloc::vec::Vec;

/// How many other slots are tried.
const SLOTS: usize = 48;
/// How often steps are left out to see whether the others do.
const LEFT_OUT: usize = 48;
/// How many rounds of reasons are followed: taking one fact away can show another.
const ROUNDS: usize = 8;

/// What would free a device.
#[derive(Clone, PartialEq, Debug)]
pub struct Advice {
    /// The device.
    pub device: Bdf,
    /// Other devices of its group, ascending. Bridges and host bridges do not count: nobody hands them to a guest, and
    /// Linux does not mind them in a group that is.
    pub with: Vec<Bdf>,
    /// Other functions of the device itself in its group, ascending.
    pub own: Vec<Bdf>,
    /// What would help, the surest and shortest first; each was tried.
    pub remedies: Vec<Remedy>,
    /// What keeps the device where it is after everything that can be done without moving it.
    pub blockers: Vec<Cause>,
    /// Slots that there was no time to try.
    pub untried: usize,
    /// Something of this was assumed, because nobody could read it.
    pub unsure: bool,
}

/// What would free a device under a policy; none if it has no group.
///
/// Tries hundreds of variants of the machine at most, whatever its size.
pub fn advise(policy: &dyn Policy, topology: &Topology, device: Bdf) -> Option<Advice> {
    let index = topology.find(device)?;
    let grouping = policy.groups(topology);
    let group = grouping.group_of(device)?;
    let search = Search { policy, topology, device, index };
    let (with, own) = search.companions(topology, &grouping, Some);
    let unsure = group.members.iter().any(|member| grouping.unsure.binary_search(member).is_ok());
    let mut advice =
        Advice { device, with, own, remedies: Vec::new(), blockers: Vec::new(), untried: 0, unsure };
    if advice.with.is_empty() && advice.own.is_empty() {
        return Some(advice);
    }
    let (mut best, mut blockers) = search.in_place(&[], Allowed::Bits);
    if search.helps(&advice, &best) {
        advice.remedies.push(best.clone());
    }
    if !best.left.is_empty() || !best.own.is_empty() {
        let (more, left) = search.in_place(&[], Allowed::Firmware);
        if search.better(&more, &best) {
            advice.remedies.push(more.clone());
            best = more;
        }
        blockers = left;
    }
    if !best.left.is_empty() || !best.own.is_empty() {
        advice.blockers = blockers;
    }
    if !advice.with.is_empty() {
        search.other_slots(&mut advice);
    }
    advice.remedies.sort_by_key(|remedy| (!remedy.frees(), !remedy.is_certain(), remedy.steps.len()));
    Some(advice)
}

/// What steps may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Bits,
    Firmware,
}

struct Search<'a> {
    policy: &'a dyn Policy,
    topology: &'a Topology,
    device: Bdf,
    index: Index,
}

impl Search<'_> {
    /// Other devices in the group of the device, and other functions of it, by their old names.
    fn companions(
        &self,
        topology: &Topology,
        grouping: &Grouping,
        before: impl Fn(Bdf) -> Option<Bdf>,
    ) -> (Vec<Bdf>, Vec<Bdf>) {
        let now = topology
            .functions()
            .iter()
            .map(|function| function.at)
            .find(|&at| before(at) == Some(self.device));
        let members = now.and_then(|at| grouping.group_of(at)).map_or(&[][..], |group| &group.members[..]);
        let others = members.iter().filter(|&&at| {
            let function = topology.find(at).map(|index| &topology.functions()[index]);
            function.is_some_and(|function| !function.header.is_bridge() && function.class != Some(0x0600))
        });
        let mut others: Vec<Bdf> =
            others.filter_map(|&at| before(at)).filter(|&at| at != self.device).collect();
        others.sort_unstable();
        others.into_iter().partition(|&at| !self.is_own(at))
    }

    /// Whether a function is one of the device's, virtual ones included.
    fn is_own(&self, other: Bdf) -> bool {
        let physical = |index: Index| self.topology.physical(index).unwrap_or(index);
        let Some(other) = self.topology.find(other).map(physical) else { return false };
        let own = physical(self.index);
        if self.topology.bus_index(own) != self.topology.bus_index(other) {
            return false;
        }
        let (one, two) = (self.topology.functions()[own].at, self.topology.functions()[other].at);
        one.device() == two.device()
            || self.topology.above(own).is_some_and(|above| is_link(self.topology, above))
    }

    /// What steps would leave with the device, and why; none if they cannot be taken.
    fn outcome(&self, steps: &[Step]) -> Option<(Remedy, Vec<Cause>)> {
        let edited = take(self.topology, steps).ok()?;
        let grouping = self.policy.groups(&edited.topology);
        let (left, own) = self.companions(&edited.topology, &grouping, |at| edited.before(at));
        let now = edited.now(self.device)?;
        let reasons = grouping.group_of(now).map_or(&[][..], |group| &group.reasons[..]);
        let causes = reasons.iter().flat_map(|reason| reason.causes.iter().copied());
        let mut old = Vec::new();
        for cause in causes {
            if let Some(cause) = cause.renamed(|at| edited.before(at))
                && !old.contains(&cause)
            {
                old.push(cause);
            }
        }
        Some((Remedy { steps: steps.to_vec(), left, own }, old))
    }

    fn helps(&self, advice: &Advice, remedy: &Remedy) -> bool {
        (remedy.left.len(), remedy.own.len()) < (advice.with.len(), advice.own.len())
    }

    fn better(&self, one: &Remedy, other: &Remedy) -> bool {
        (one.left.len(), one.own.len()) < (other.left.len(), other.own.len())
    }

    /// The least that has the effect of everything that reasons suggest, and what keeps the device even then.
    fn in_place(&self, first: &[Step], allowed: Allowed) -> (Remedy, Vec<Cause>) {
        let nothing = || (Remedy { steps: first.to_vec(), left: Vec::new(), own: Vec::new() }, Vec::new());
        let Some((mut remedy, mut causes)) = self.outcome(first) else { return nothing() };
        for _ in 0..ROUNDS {
            let mut steps = remedy.steps.clone();
            for cause in &causes {
                if let Some(step) = suggestion(self.topology, cause, allowed) {
                    add(&mut steps, step);
                }
            }
            if steps == remedy.steps {
                break;
            }
            match self.outcome(&steps) {
                Some(next) => (remedy, causes) = next,
                None => break,
            }
        }
        let remedy = self.least(remedy, first.len());
        (remedy, causes)
    }

    /// Leaves out steps beyond the first few as long as the effect stays: half of them, then quarters, then each.
    fn least(&self, mut remedy: Remedy, kept: usize) -> Remedy {
        let mut tries = 0;
        let mut size = (remedy.steps.len() - kept).div_ceil(2);
        while size > 0 {
            let mut at = kept;
            while at < remedy.steps.len() && tries < LEFT_OUT {
                tries += 1;
                let mut fewer = remedy.steps.clone();
                fewer.drain(at..(at + size).min(fewer.len()));
                match self.outcome(&fewer) {
                    Some((less, _)) if !self.better(&remedy, &less) => remedy = less,
                    _ => at += size,
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        remedy
    }

    /// Slots that are empty, in which the device would be free.
    fn other_slots(&self, advice: &mut Advice) {
        let physical = self.topology.physical(self.index).unwrap_or(self.index);
        let Ok(device) = movable(self.topology, physical) else { return };
        // Where a port says that it has no slot, the device below it is soldered on.
        if self.topology.above(physical).is_some_and(|port| self.slot(port) == Some(false)) {
            return;
        }
        let device = self.topology.functions()[device[0]].at;
        let mut slots = self.slots();
        advice.untried = slots.len().saturating_sub(SLOTS);
        slots.truncate(SLOTS);
        let mut found = false;
        let mut worse = Vec::new();
        for port in slots {
            let step = Step::MoveTo { device, port };
            let Some((remedy, _)) = self.outcome(&[step]) else { continue };
            if remedy.frees() {
                found = true;
                advice.remedies.push(remedy);
            } else {
                worse.push(step);
            }
        }
        if found || advice.remedies.iter().any(Remedy::frees) {
            return;
        }
        // Another slot and something else besides.
        for step in worse.into_iter().take(4) {
            let (remedy, _) = self.in_place(&[step], Allowed::Firmware);
            if self.helps(advice, &remedy) && remedy.frees() {
                advice.remedies.push(remedy);
            }
        }
    }

    /// Whether there is a slot below a port; none where nobody could read it.
    fn slot(&self, port: Index) -> Option<bool> {
        self.topology.functions()[port].express.present().and_then(|express| express.slot)
    }

    /// Ports with a slot and nothing in it, those of a link first. Where cables go in nobody puts a card.
    fn slots(&self) -> Vec<Bdf> {
        let empty = |index: &Index| {
            let function = &self.topology.functions()[*index];
            let kind = function.port_type();
            function.header.is_bridge()
                && self.slot(*index) != Some(false)
                && !function.external_facing
                && !self.topology.is_untrusted(*index)
                && !self.topology.is_thunderbolt(*index)
                && kind != Some(PortType::UpstreamPort)
                && self.topology.below(*index).is_none_or(|bus| bus.functions.is_empty())
                && Some(*index) != self.topology.above(self.index)
        };
        let all: Vec<Index> = (0..self.topology.functions().len()).filter(empty).collect();
        let (links, others): (Vec<Index>, Vec<Index>) =
            all.into_iter().partition(|&index| is_link(self.topology, index));
        links.into_iter().chain(others).map(|index| self.topology.functions()[index].at).collect()
    }
}

/// What a cause suggests.
fn suggestion(topology: &Topology, cause: &Cause, allowed: Allowed) -> Option<Step> {
    match *cause {
        Cause::NotIsolated { function, lack: Lack::NotSet(set), .. } if !set.is_empty() => {
            Some(Step::SetAcs { function, set, clear: AcsBits::NONE })
        }
        Cause::NotIsolated { function, lack: Lack::EgressControl, .. } => {
            Some(Step::SetAcs { function, set: AcsBits::NONE, clear: AcsBits::EC })
        }
        Cause::NotIsolated { function, lack: Lack::PortMemory, .. } => {
            let function_at = topology.find(function)?;
            let acs = topology.functions()[function_at].acs.present()?;
            // Both: a switch whose registers matter has them in either kind of port.
            let set = AcsBits::DSP_REDIRECT | AcsBits::USP_REDIRECT;
            let clear = AcsBits::DSP_BLOCK | AcsBits::USP_BLOCK;
            let offered = acs.capability.is_some_and(|bits| bits.covers(AcsBits::ENHANCED));
            offered.then_some(Step::SetAcs { function, set, clear })
        }
        // Root ports are firmware's; what a switch or a card lacks, no setup shows.
        Cause::NotIsolated { function, kind: Some(PortType::RootPort), lack: Lack::NoCapability }
            if allowed == Allowed::Firmware =>
        {
            Some(Step::ShowAcs { port: function })
        }
        Cause::Owned { controller, .. } if allowed == Allowed::Firmware => {
            topology.find(controller).map(|_| Step::DisableVmd { controller })
        }
        _ => None,
    }
}

/// Adds a step, to one of the same function if there is one.
fn add(steps: &mut Vec<Step>, step: Step) {
    if let Step::SetAcs { function, set, clear } = step {
        for known in steps.iter_mut() {
            if let Step::SetAcs { function: of, set: known_set, clear: known_clear } = known
                && *of == function
            {
                *known_set = *known_set | set;
                *known_clear = *known_clear | clear;
                return;
            }
        }
    }
    if !steps.contains(&step) {
        steps.push(step);
    }
}
