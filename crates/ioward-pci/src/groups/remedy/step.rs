//! Steps of a remedy, and how a machine is after them.

use crate::{Acs, AcsBits, Bdf, Edit, EditError, Edited, Fact, Topology};
use alloc::{format, string::String, vec::Vec};
use core::fmt;

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Set ACS bits that are supported and off, or clear egress control.
    SetAcs {
        /// Of which port or function.
        function: Bdf,
        /// What to set.
        set: AcsBits,
        /// What to clear.
        clear: AcsBits,
    },
    /// Put the device into another slot.
    MoveTo {
        /// The device.
        device: Bdf,
        /// The port or bridge whose slot it is.
        port: Bdf,
    },
    /// Have firmware show the ACS capability of a root port that shows none, and set what isolation needs.
    ShowAcs {
        /// The port.
        port: Bdf,
    },
    /// Turn a VMD controller off in the firmware's setup, so that what is behind it issues its own requests.
    DisableVmd {
        /// The controller.
        controller: Bdf,
    },
}

impl Step {
    /// The parameter that makes Linux do it at boot (6.11 and later), where there is one. It names every bit that it
    /// changes and leaves the others as they are.
    pub fn kernel_parameter(&self) -> Option<String> {
        let Self::SetAcs { function, set, clear } = *self else { return None };
        // The parameter knows the seven bits that every capability may have.
        if (set | clear).0 > 0x7f {
            return None;
        }
        let mut flags = String::new();
        for bit in (0..7).map(|bit| AcsBits(1 << (6 - bit))) {
            let flag = match (set.covers(bit), clear.covers(bit)) {
                (true, _) => '1',
                (_, true) => '0',
                _ => 'x',
            };
            // Bits above the first that is named need no letter.
            if flag != 'x' || !flags.is_empty() {
                flags.push(flag);
            }
        }
        (!flags.is_empty()).then(|| format!("pci=config_acs={flags}@{function}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SetAcs { function, set, clear } => {
                write!(f, "{}", Edit::SetAcs { function, set, clear })
            }
            Self::MoveTo { device, port } => write!(f, "move {device} to the slot below {port}"),
            Self::ShowAcs { port } => write!(
                f,
                "have firmware show the ACS capability of root port {port}, if its setup has an option for that (ACS, \
                 sometimes under AER)"
            ),
            Self::DisableVmd { controller } => {
                write!(f, "turn VMD controller {controller} off in the firmware's setup")
            }
        }
    }
}

/// Steps that were tried on a copy of the machine, and what they do for the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remedy {
    /// What to do, all of it.
    pub steps: Vec<Step>,
    /// Other devices that stay in the group nevertheless, by their present names, ascending.
    pub left: Vec<Bdf>,
    /// Other functions of the device itself that stay in the group, by their present names, ascending.
    pub own: Vec<Bdf>,
}

impl Remedy {
    /// Whether no other device stays in the group.
    pub fn frees(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether everything in it can be done to the machine as it is, without firmware showing what it hides.
    pub fn is_certain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::SetAcs { .. } | Step::MoveTo { .. }))
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if index == 0 { "" } else { ", and " })?;
        }
        match (&self.left[..], &self.own[..]) {
            ([], []) => f.write_str(": then it is alone in its group"),
            ([], own) => {
                f.write_str(": then only functions of the same device are with it (")?;
                list(f, own)?;
                f.write_str(")")
            }
            (left, _) => {
                f.write_str(": then these are still with it: ")?;
                list(f, left)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[Bdf]) -> fmt::Result {
    // Groups of hundreds are counted rather than read.
    const SHOWN: usize = 8;
    for (index, at) in names.iter().take(SHOWN).enumerate() {
        write!(f, "{}{at}", if index == 0 { "" } else { ", " })?;
    }
    match names.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// The machine after these steps.
pub(super) fn take(topology: &Topology, steps: &[Step]) -> Result<Edited, EditError> {
    let mut shown = topology.clone();
    for step in steps {
        match *step {
            Step::ShowAcs { port } => show_acs(&mut shown, port),
            Step::DisableVmd { controller } => {
                let owner = shown.find(controller);
                for index in 0..shown.functions().len() {
                    if owner.is_some() && shown.owner(index) == owner {
                        shown.overrides.entry(index).or_default().no_owner = true;
                    }
                }
            }
            Step::SetAcs { .. } | Step::MoveTo { .. } => {}
        }
    }
    let edits: Vec<Edit> = steps
        .iter()
        .filter_map(|step| match *step {
            Step::SetAcs { function, set, clear } => Some(Edit::SetAcs { function, set, clear }),
            Step::MoveTo { device, port } => Some(Edit::Move { device, below: port }),
            Step::ShowAcs { .. } | Step::DisableVmd { .. } => None,
        })
        .collect();
    shown.edit(&edits)
}

fn show_acs(topology: &mut Topology, port: Bdf) {
    let Some(index) = topology.find(port) else { return };
    let acs = &mut topology.function_mut(index).acs;
    if *acs == Fact::Absent {
        let bits = Some(AcsBits::ISOLATION);
        *acs = Fact::Present(Acs { capability: bits, control: bits, next_word: bits, ..Acs::default() });
    }
}
