//! The commands, a module each.
//!
//! A command has arguments, and a `run` that prints and gives the exit code. An error of `run` is one of writing: what is
//! wrong with the input, a command tells itself and ends with [`BROKEN`].

pub mod check;
pub mod completions;
pub mod diff;
pub mod explain;
pub mod groups;
pub mod json;
pub mod man;
pub mod map;
pub mod run;
pub mod snapshot;
pub mod tables;
mod target;
pub mod walk;
pub mod whatif;

use crate::show::progress;
use clap::Subcommand;
use ioward_host::{Machine, Nothing};
use std::{io, path::Path};

/// The exit code of every command whose input is broken.
pub const BROKEN: u8 = 2;

/// The exit code of every command that writes files, where one is not written.
pub const UNWRITTEN: u8 = 1;

/// A command with its arguments.
#[derive(Subcommand)]
pub enum Command {
    /// Build a machine in software, run it, prove isolation
    Run(run::Arguments),
    /// Show the IOMMU groups of a machine, and why they are so
    Groups(groups::Arguments),
    /// Explain why a device is grouped as it is, and what would free it
    Explain(explain::Arguments),
    /// Check whether devices of a machine can be given to guests without danger
    Check(check::Arguments),
    /// Show firmware tables and device trees, every byte of them named
    Tables(tables::Arguments),
    /// Draw a machine's fabric and groups as a page
    Map(map::Arguments),
    /// Show the translation of an IOVA step by step, in a memory image or the embedded machine
    Walk(Box<walk::Arguments>),
    /// Keep all that is needed to study a machine elsewhere, without serial numbers
    Snapshot(snapshot::Arguments),
    /// Show what differs between two machines, and which groups changed because of it
    Diff(diff::Arguments),
    /// Show what a change would do to the groups, before anybody makes it
    Whatif(whatif::Arguments),
    /// Print what a shell needs to complete this program's words
    Completions(completions::Arguments),
    /// Write the manual, a page for each command
    Man(man::Arguments),
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(run::Arguments::default())
    }
}

impl Command {
    /// Does it; gives the exit code.
    pub fn run(self) -> io::Result<u8> {
        match self {
            Self::Run(arguments) => run::run(&arguments),
            Self::Groups(arguments) => groups::run(&arguments),
            Self::Explain(arguments) => explain::run(&arguments),
            Self::Check(arguments) => check::run(&arguments),
            Self::Tables(arguments) => tables::run(&arguments),
            Self::Map(arguments) => map::run(&arguments),
            Self::Walk(arguments) => walk::run(&arguments),
            Self::Snapshot(arguments) => snapshot::run(&arguments),
            Self::Diff(arguments) => diff::run(&arguments),
            Self::Whatif(arguments) => whatif::run(&arguments),
            Self::Completions(arguments) => completions::run(&arguments),
            Self::Man(arguments) => man::run(&arguments),
        }
    }
}

/// Reads the machine that a command is about; none, and told why, where nothing of it can be read.
pub fn machine(path: Option<&Path>) -> Option<Machine> {
    let mut line = progress::Line::new();
    match path {
        Some(path) => line.show(format_args!("reading {}", path.display())),
        None => line.show(format_args!("reading this machine")),
    }
    let read = Machine::read(path);
    line.clear();
    match read {
        Ok(machine) => Some(machine),
        Err(Nothing(errors)) => {
            for error in errors {
                eprintln!("ioward: {error}");
            }
            None
        }
    }
}
