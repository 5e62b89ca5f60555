//! Edits, and a machine after them.

use super::{EditError, place};
use crate::{
    AcsBits, Bdf, Fact, Function, Topology,
    function::Header,
    quirks::Provides,
    topology::{Index, Override},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Edit {
    /// ACS control bits of a port or function.
    SetAcs {
        /// Which.
        function: Bdf,
        /// What is to be set; the capability must offer it.
        set: AcsBits,
        /// What is to be cleared.
        clear: AcsBits,
    },
    /// A device into the slot below a port, or onto the conventional bus below a bridge: all of its functions, the
    /// virtual ones too, and everything below it. A switch moves by its upstream port.
    Move {
        /// Any function of it.
        device: Bdf,
        /// The port or bridge.
        below: Bdf,
    },
    /// Takes a device out: all of its functions, the virtual ones too, and everything below it. Of a root bus and of the
    /// inside of a switch, where functions of a device are no card, that function alone with what is below.
    Remove {
        /// Any function of it.
        device: Bdf,
    },
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SetAcs { function, set, clear } if clear.is_empty() => {
                write!(f, "set the ACS bits {set} of {function}")
            }
            Self::SetAcs { function, set, clear } if set.is_empty() => {
                write!(f, "clear the ACS bits {clear} of {function}")
            }
            Self::SetAcs { function, set, clear } => {
                write!(f, "set the ACS bits {set} of {function} and clear {clear}")
            }
            Self::Move { device, below } => write!(f, "move {device} below {below}"),
            Self::Remove { device } => write!(f, "remove {device}"),
        }
    }
}

/// A machine after edits, and what its functions were called before.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The machine.
    pub topology: Topology,
    /// By the old name: the new one.
    now: BTreeMap<Bdf, Bdf>,
    /// By the new name: the old one.
    before: BTreeMap<Bdf, Bdf>,
}

impl Edited {
    /// What a function of the old machine is called now; none if it was taken away, or never was.
    pub fn now(&self, before: Bdf) -> Option<Bdf> {
        self.now.get(&before).copied()
    }

    /// What a function of the new machine was called before.
    pub fn before(&self, now: Bdf) -> Option<Bdf> {
        self.before.get(&now).copied()
    }

    /// The functions that have another name now: the old name and the new one, by the old name.
    pub fn renamed(&self) -> impl Iterator<Item = (Bdf, Bdf)> + '_ {
        self.now.iter().filter(|(before, now)| before != now).map(|(&before, &now)| (before, now))
    }

    /// The functions that were taken away of the machine that was edited, by their old names.
    pub fn removed<'a>(&'a self, from: &'a Topology) -> impl Iterator<Item = Bdf> + 'a {
        from.functions().iter().map(|function| function.at).filter(|at| !self.now.contains_key(at))
    }
}

impl Topology {
    /// The same machine with changes, which are made one after the other. All edits name functions by their names in
    /// *this* machine, whatever those before have moved.
    ///
    /// A device that moves gets the bus number of its new port. Where the port's bus numbers have no room for what is
    /// below the device, all buses below that root bus are numbered again, depth first; see [`Edited::now`]. What firmware
    /// said of the old name of a device that moves ([`Topology::add_firmware_alias`]) does not move with it.
    pub fn edit(&self, edits: &[Edit]) -> Result<Edited, EditError> {
        let mut topology = self.clone();
        // By place in this machine: the present name.
        let mut names: Vec<Option<Bdf>> = self.functions().iter().map(|function| Some(function.at)).collect();
        let old = |names: &[Option<Bdf>]| {
            let pairs = names.iter().zip(self.functions());
            let before: BTreeMap<Bdf, Bdf> = pairs.filter_map(|(now, f)| Some(((*now)?, f.at))).collect();
            move |at| before.get(&at).copied().unwrap_or(at)
        };
        for edit in edits {
            let present = |at: Bdf| {
                let index = self.find(at).ok_or(EditError::NoSuchFunction { function: at })?;
                names[index].ok_or(EditError::TakenAway { function: at })
            };
            let step = match *edit {
                Edit::SetAcs { function, set, clear } => {
                    let at = present(function)?;
                    set_acs(&mut topology, at, set, clear).map_err(|error| error.renamed(old(&names)))?;
                    continue;
                }
                Edit::Move { device, below } => place::relocate(&topology, present(device)?, present(below)?),
                Edit::Remove { device } => place::take_out(&topology, present(device)?),
            };
            let step = step.map_err(|error| error.renamed(old(&names)))?;
            for name in names.iter_mut() {
                *name = name.and_then(|at| topology.find(at)).and_then(|index| step.names[index]);
            }
            topology = rebuild(&topology, &step);
        }
        let pairs = || names.iter().zip(self.functions()).filter_map(|(now, f)| Some((f.at, (*now)?)));
        Ok(Edited {
            topology,
            now: pairs().collect(),
            before: pairs().map(|(before, now)| (now, before)).collect(),
        })
    }
}

fn set_acs(topology: &mut Topology, at: Bdf, set: AcsBits, clear: AcsBits) -> Result<(), EditError> {
    let index = topology.find(at).ok_or(EditError::NoSuchFunction { function: at })?;
    if let Some(physical) = topology.physical(index) {
        let physical = topology.functions()[physical].at;
        return Err(EditError::Virtual { function: at, physical });
    }
    if !(set & clear).is_empty() {
        return Err(EditError::SetAndCleared { function: at, bits: set & clear });
    }
    let next = topology.acs_quirk(index).is_some_and(|(row, _)| row.provides == Provides::NextWord);
    let acs = match &mut topology.function_mut(index).acs {
        Fact::Present(acs) => acs,
        Fact::Absent => return Err(EditError::NoAcs { function: at }),
        Fact::Unseen => return Err(EditError::AcsUnseen { function: at }),
    };
    let capability = acs.capability.ok_or(EditError::AcsUnseen { function: at })?;
    let missing = set & !capability.controllable();
    if !missing.is_empty() {
        return Err(EditError::NotSupported { function: at, bits: missing });
    }
    // Ports of Intel's 100 and 200 series keep what is set in the next word. Where a text does not show it, the kernel
    // has set what isolation needs.
    let control = if next {
        acs.next_word.get_or_insert(AcsBits::ISOLATION & capability)
    } else {
        acs.control.as_mut().ok_or(EditError::AcsUnseen { function: at })?
    };
    *control = (*control & !clear) | set;
    Ok(())
}

/// What a step makes of each function's name, and of each bridge's buses.
pub(super) struct Step {
    /// By place: the new name, none of what is taken away.
    pub names: Vec<Option<Bdf>>,
    /// By place of a bridge: its new secondary and subordinate bus.
    pub buses: BTreeMap<Index, (u8, u8)>,
    /// By place: whether it moved, as opposed to having got another number where it is.
    pub moved: Vec<bool>,
}

impl Step {
    pub fn unchanged(topology: &Topology) -> Self {
        Self {
            names: topology.functions().iter().map(|function| Some(function.at)).collect(),
            buses: BTreeMap::new(),
            moved: alloc::vec![false; topology.functions().len()],
        }
    }
}

fn rebuild(topology: &Topology, step: &Step) -> Topology {
    let mut functions: Vec<Function> = Vec::with_capacity(topology.functions().len());
    for (index, function) in topology.functions().iter().enumerate() {
        let Some(at) = step.names[index] else { continue };
        let mut function = function.clone();
        if let Header::Bridge { primary, secondary, subordinate, .. } = &mut function.header {
            // A wrong primary bus stays wrong where the bridge stays.
            if function.at.bus != at.bus || step.moved[index] {
                *primary = at.bus;
            }
            if let Some(&buses) = step.buses.get(&index) {
                (*secondary, *subordinate) = buses;
            }
        }
        if step.moved[index] {
            function.linux_group = None;
        }
        function.at = at;
        let physical = function.physical.and_then(|at| topology.find(at));
        function.physical = physical.and_then(|index| step.names[index]);
        functions.push(function);
    }
    let named = |at: Bdf| topology.find(at).map_or(Some(at), |index| step.names[index]);
    let findings = topology
        .given_findings()
        .iter()
        .filter_map(|finding| Some(crate::Finding { function: named(finding.function)?, ..*finding }));
    let mut rebuilt = Topology::new(functions, findings.collect());
    for index in 0..topology.functions().len() {
        let Some(at) = step.names[index] else { continue };
        if !step.moved[index] {
            for &devfn in topology.firmware_aliases(index) {
                rebuilt.add_firmware_alias(at, devfn);
            }
        }
        let taken: Option<&Override> = topology.overrides.get(&index);
        if let (Some(&taken), Some(index)) = (taken, rebuilt.find(at)) {
            rebuilt.overrides.insert(index, taken);
        }
    }
    rebuilt
}
