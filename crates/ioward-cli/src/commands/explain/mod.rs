//! `ioward explain`: why a device is where it is, what would free it, and what an ACS override would really do.

mod json;
mod pick;
mod study;
mod text;
mod words;

use super::{BROKEN, groups::PolicyName, machine};
use crate::show::{Catalogue, Style, output, progress};
use clap::Args;
use std::{io, path::PathBuf};
use study::Study;

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward explain 01:00.0                   a function by its place
  ioward explain 10de:2684 lspci.txt       by vendor and device ID, on another machine
  ioward explain \"geforce\" /tmp/dump       by a part of its name, if only one has it
  ioward explain 01:00.0 --policy fabric   as the specification means it
  ioward explain 01:00.0 --json            for programs; docs/json.md says how it looks

Exit codes:
  0  it is explained
  2  the input is broken, or there is no such device or more than one";

/// What `explain` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// 01:00.0, 0000:01:00.0, vendor:device, or part of a name
    device: String,
    /// A copy of sysfs, a directory with lspci text and tables, or lspci text; without it, this machine
    path: Option<PathBuf>,
    /// Whose idea of a group
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let book = Catalogue::new(&machine);
    let device = match pick::pick(&book, &arguments.device) {
        Ok(device) => device,
        Err(error) => {
            eprint!("ioward: {}", error.words(&book));
            return Ok(BROKEN);
        }
    };
    let mut line = progress::Line::new();
    line.show(format_args!("trying what would free {}", book.at(device)));
    let study = Study::of(&machine, device, arguments.policy == PolicyName::Linux);
    line.clear();
    if arguments.json {
        output::json(&json::Document::of(&book, &study))?;
    } else {
        output::text(&text::render(&book, &study, &Style::of_stdout()))?;
    }
    Ok(0)
}
