//! Whether devices of a machine can be given to guests without danger.
//!
//! | module | what it looks at |
//! | --- | --- |
//! | `iommus` | whether an IOMMU is there and in use |
//! | `interrupts` | whether a device can raise interrupts that are not its own |
//! | `regions` | memory that firmware ties to devices |
//! | `outside` | ports that people plug things into |
//! | `groups` | where groups promise more than the fabric keeps |
//! | `tables` | firmware's tables against themselves and the bus |
//!
//! Each looks at facts, firmware's and the kernel's, and says nothing where there are none: what could not be decided is a
//! finding too.

mod groups;
mod interrupts;
mod iommus;
mod outside;
mod regions;
mod tables;

use crate::{Machine, Origin, Split, splits};
use ioward::{
    discover,
    pci::{
        Bdf,
        groups::{Fabric, Grouping, Linux, Policy},
    },
    types::describe::Table,
};

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// A guest or a device can reach what is not its own.
    Danger,
    /// Some device cannot be given away, or will not work there.
    Obstacle,
    /// Something could not be decided.
    Undecided,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word that documents and people see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Danger => "danger",
            Self::Obstacle => "obstacle",
            Self::Undecided => "undecided",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// A name that never changes, such as `interrupts-not-remapped`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// What can happen.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
    /// Where that is known from: a table, a file of the kernel's, a specification.
    pub source: String,
    /// The functions that it is about; empty where it is about the machine.
    pub devices: Vec<Bdf>,
}

/// A machine with everything that the checks look at.
pub(crate) struct Subject<'a> {
    machine: &'a Machine,
    found: discover::Machine,
    linux: Grouping,
    fabric: Grouping,
    holes: Vec<Split>,
}

impl Subject<'_> {
    /// Whether the kernel was asked, live or through a copy of its sysfs.
    fn has_kernel(&self) -> bool {
        matches!(self.machine.origin, Origin::Live | Origin::Sysfs(_) | Origin::Snapshot(_))
            && !self.machine.records.is_empty()
    }

    /// Whether the kernel was asked which IOMMUs it uses.
    fn shows_iommus(&self) -> bool {
        self.has_kernel() && !self.machine.kernel.iommus_unseen
    }

    /// Whether a table of x86 machines describes IOMMUs.
    fn is_x86(&self) -> bool {
        self.found.iommus.iter().any(|unit| matches!(unit.described.0, Table::Dmar | Table::Ivrs))
    }

    /// Whether an IOMMU is in use, as far as anything tells.
    fn uses_iommu(&self) -> bool {
        !self.machine.kernel.iommus.is_empty() || !self.machine.kernel_groups().is_empty()
    }
}

/// Looks at a machine; the worst findings come first.
pub fn check(machine: &Machine) -> Vec<Finding> {
    let linux = Linux.groups(&machine.topology);
    let fabric = Fabric::default().groups(&machine.topology);
    let mut holes = splits(&machine.topology, &linux, &fabric);
    holes.retain(|hole| !hole.harmless);
    let found = machine.discover(&Linux);
    let subject = Subject { machine, found, linux, fabric, holes };
    let mut findings = Vec::new();
    for look in [iommus::look, interrupts::look, groups::look, outside::look, regions::look, tables::look] {
        look(&subject, &mut findings);
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// How a check ended; the number is the program's exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing was found that matters.
    Safe = 0,
    /// A danger or an obstacle was found.
    Unsafe = 1,
    /// Nothing that matters was found, but something could not be decided.
    Undecided = 3,
}

/// What findings mean together.
pub fn verdict(findings: &[Finding]) -> Verdict {
    let worst = findings.iter().map(|finding| finding.severity).min();
    match worst {
        Some(Severity::Danger | Severity::Obstacle) => Verdict::Unsafe,
        Some(Severity::Undecided) => Verdict::Undecided,
        Some(Severity::Note) | None => Verdict::Safe,
    }
}
