//! `ioward whatif`: groups before and after changes that nobody has made yet.

mod text;

use super::{BROKEN, groups::PolicyName, json::Head, machine};
use crate::show::{Style, output};
use clap::Args;
use ioward::pci::{Bdf, Edit};
use ioward_study::{
    bits::Wanted,
    whatif::{self, WhatIf},
};
use serde::Serialize;
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward whatif --set-acs 00:1c.0=SV+RR+CR+UF         exactly these bits of a port of this machine
  ioward whatif --set-acs 00:1c.0=+RR-TB lspci.txt    one more and one less, of another machine
  ioward whatif --move 03:00.0=00:1d.0                a card in another slot
  ioward whatif --remove 03:00.0 --policy fabric      a card taken out; groups as the fabric can keep them apart

Bits: SV source validation, TB translation blocking, RR request redirect, CR completion redirect, UF upstream forwarding, EC
egress control, DT direct translated, IB I/O blocking, UR unclaimed redirect; their names in lspci; none; or hexadecimal.
What is taken out goes first, then what moves, in the order given, then bits. All names are those of the machine as it is.

Exit codes:
  0  no group would change
  1  groups would change
  2  the input is broken, or a change cannot be made";

/// What `whatif` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, a directory with lspci text and tables, lspci text, or a snapshot; without it, this machine
    path: Option<PathBuf>,
    /// Move a device, with all of its functions and what is below, into the slot below a port
    #[arg(long = "move", value_name = "DEVICE=PORT", value_parser = moved)]
    moves: Vec<Edit>,
    /// Set and clear ACS control bits of a port or function
    #[arg(long, value_name = "PORT=BITS", value_parser = acs, allow_hyphen_values = true)]
    set_acs: Vec<Edit>,
    /// Take a device out, with all of its functions and what is below
    #[arg(long, value_name = "DEVICE", value_parser = removed)]
    remove: Vec<Edit>,
    /// Whose idea of a group
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

fn place(text: &str) -> Result<Bdf, String> {
    text.parse().map_err(|error| format!("{text:?} is {error}"))
}

fn halves(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=').ok_or_else(|| format!("{text:?} has no ="))
}

fn moved(text: &str) -> Result<Edit, String> {
    let (device, port) = halves(text)?;
    Ok(Edit::Move { device: place(device)?, below: place(port)? })
}

fn removed(text: &str) -> Result<Edit, String> {
    Ok(Edit::Remove { device: place(text)? })
}

fn acs(text: &str) -> Result<Edit, String> {
    let (port, bits) = halves(text)?;
    let Wanted { set, clear } =
        bits.parse().map_err(|error: ioward_study::bits::NotBits| error.to_string())?;
    Ok(Edit::SetAcs { function: place(port)?, set, clear })
}

/// What is printed for programs.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    whatif: WhatIf,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let edits: Vec<Edit> =
        [&arguments.remove, &arguments.moves, &arguments.set_acs].into_iter().flatten().copied().collect();
    if edits.is_empty() {
        eprintln!("ioward: nothing is to be changed; give --move, --set-acs or --remove");
        return Ok(BROKEN);
    }
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let whatif = match whatif::whatif(&machine.topology, &edits, &*arguments.policy.policy()) {
        Ok(whatif) => whatif,
        Err(error) => {
            eprintln!("ioward: {}: {error}", machine.origin);
            return Ok(BROKEN);
        }
    };
    let code = u8::from(!whatif.changes.is_empty());
    if arguments.json {
        output::json(&Document { head: Head::of(&machine), whatif })?;
    } else {
        output::text(&text::render(&machine, &whatif, &Style::of_stdout()))?;
    }
    Ok(code)
}
