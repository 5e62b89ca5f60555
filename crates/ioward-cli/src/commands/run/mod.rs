//! `ioward run`: builds a machine in software from what firmware says of a real one, runs the drivers on models of its
//! IOMMUs, and proves that no device reaches what is not its own.

mod text;

use crate::show::{Style, output, progress};
use clap::Args;
use ioward_machine::{Outcome, run};
use serde::Serialize;
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward run                    the embedded machine
  ioward run IVRS.dat           one table of a real machine; its devices are made up
  ioward run /tmp/dump          a directory with any of *.dat, *.dtb and lspci.txt
  ioward run IVRS.dat --json    the same for programs

To make such a directory of a Linux machine, as root:
  mkdir dump && cp /sys/firmware/acpi/tables/IVRS dump/IVRS.dat
  lspci -nnvvv > dump/lspci.txt

Exit codes:
  0  every check held
  1  a check failed
  2  the input is broken; what was readable of it is shown
  3  nothing here can be served: no IOMMU of a supported kind";

/// What `run` takes.
#[derive(Args, Default)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A directory with any of *.dat (ACPI tables), *.dtb and lspci text, a copy of sysfs, or one such file; without it,
    /// the embedded machine
    path: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// What is printed for programs: `version` as of every command, beside the `format` of before.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let mut line = progress::Line::new();
    let mut show = |at: ioward_machine::prove::Progress| {
        line.show(format_args!("proving: {} ({} of {})", at.what, at.done + 1, at.of));
    };
    let outcome = match &arguments.path {
        Some(path) => run::path(path, &mut show),
        None => run::embedded(&mut show),
    };
    line.clear();
    if arguments.json {
        output::json(&Document { version: 1, outcome: &outcome })?;
    } else {
        output::text(&text::render(&outcome, &Style::of_stdout()))?;
    }
    Ok(outcome.exit_code)
}
