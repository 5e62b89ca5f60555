//! `ioward groups`: the groups of a machine, and why they are so.

mod json;
mod study;
mod text;

use self::study::Study;
use super::{BROKEN, machine};
use crate::show::{Catalogue, Style, output};
use clap::{Args, ValueEnum};
use ioward::pci::groups::{Fabric, Linux, Policy};
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward groups                              this machine (as root, to see all of it)
  ioward groups lspci.txt                    another one, of which somebody sent `lspci -nnvvv`
  ioward groups /tmp/sys --policy fabric     a copy of /sys; groups as the specification means them
  ioward groups --json                       for programs; docs/json.md says how it looks

Exit codes:
  0  the groups are shown
  2  the input is broken: there is no machine to be read";

/// What `groups` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, a directory with lspci text and tables, or lspci text; without it, this machine
    path: Option<PathBuf>,
    /// Whose idea of a group
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// Whose idea of a group.
#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PolicyName {
    /// What the Linux kernel computes
    #[default]
    Linux,
    /// What the fabric can keep apart, as the specification means it
    Fabric,
}

impl PolicyName {
    /// The policy.
    pub fn policy(self) -> Box<dyn Policy> {
        match self {
            Self::Linux => Box::new(Linux),
            Self::Fabric => Box::new(Fabric::default()),
        }
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let book = Catalogue::new(&machine);
    let study = Study::of(&machine, arguments.policy == PolicyName::Linux);
    if arguments.json {
        output::json(&json::Document::of(&book, &study))?;
    } else {
        output::text(&text::render(&book, &study, &Style::of_stdout()))?;
    }
    Ok(0)
}
