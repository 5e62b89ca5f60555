//! `ioward snapshot`: all that is needed to study a machine elsewhere, in one file.

use super::{
    BROKEN, machine,
    target::{Target, Told, Written},
};
use crate::show::output;
use clap::Args;
use serde::Serialize;
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward snapshot -o machine.json                 this machine (as root, to see all of it)
  ioward snapshot /tmp/sys -o machine.json        a copy of /sys
  ioward groups machine.json                      what every command takes in place of a machine

A snapshot has configuration space, the firmware tables that describe IOMMUs, the device tree, drivers, the kernel's groups
with their reserved regions, its version, and the words of its command line that concern IOMMUs and PCI. Serial numbers,
vital product data, addresses of network interfaces and seeds are taken out. docs/snapshot.md describes the format.

Exit codes:
  0  it is written
  1  it cannot be written there, or there is a file already and no --force
  2  the input is broken, or not what a snapshot can be made of";

/// What `snapshot` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, or another snapshot; without it, this machine
    path: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    told: Told,
    tables: usize,
    removed: Vec<Removed>,
}

/// What was taken out, and how often.
#[derive(Serialize)]
struct Removed {
    what: String,
    times: usize,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let (text, removed) = match ioward_host::snapshot::snapshot(&machine) {
        Ok(made) => made,
        Err(unfit) => {
            eprintln!("ioward: {unfit}");
            return Ok(BROKEN);
        }
    };
    let written = arguments.target.write(&text, "snapshot")?;
    if written == Written::Not {
        return Ok(written.code());
    }
    let (functions, tables) = (machine.records.len(), machine.tables.len());
    if arguments.target.json {
        let removed =
            removed.into_iter().map(|(what, times)| Removed { what: what.to_string(), times }).collect();
        let told = arguments.target.told(&machine, text.len(), functions);
        output::json(&Document { told, tables, removed })?;
        return Ok(0);
    }
    eprintln!("ioward: {}: {functions} functions, {tables} tables", machine.origin);
    for (what, times) in removed {
        eprintln!("ioward: taken out: {what} ({times})");
    }
    machine.degraded.iter().for_each(|degraded| eprintln!("ioward: {degraded}"));
    machine.unread.iter().for_each(|error| eprintln!("ioward: not read: {error}"));
    Ok(0)
}
