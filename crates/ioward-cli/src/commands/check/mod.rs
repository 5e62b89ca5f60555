//! `ioward check`: whether devices of a machine can be given to guests without danger.

mod json;
mod text;

use super::{BROKEN, machine};
use crate::show::{Catalogue, Style, output};
use clap::Args;
use ioward_host::check::{check, verdict};
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward check                this machine (as root, to see all of it)
  ioward check /tmp/dump      a directory with DMAR.dat or IVRS.dat, and lspci.txt
  ioward check --json         for programs; docs/json.md says how it looks

Exit codes:
  0  safe: nothing was found that matters
  1  a danger or an obstacle was found
  2  the input is broken: there is no machine to be read
  3  undecided: nothing was found that matters, but not everything could be looked at";

/// What `check` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, a directory with lspci text and tables, or one such file; without it, this machine
    path: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let findings = check(&machine);
    let verdict = verdict(&findings);
    if arguments.json {
        output::json(&json::Document::of(&machine, &findings, verdict))?;
    } else {
        let book = Catalogue::new(&machine);
        output::text(&text::render(&book, &findings, verdict, &Style::of_stdout()))?;
    }
    Ok(verdict as u8)
}
