//! The program `ioward`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`commands`] | a module for each command: its arguments, what it does, how it is shown |
//! | [`map`] | the drawing of a machine |
//! | [`show`] | what they share on the way to whoever reads |

mod commands;
mod map;
mod show;

use clap::Parser;
use std::process::ExitCode;

/// Which device can reach which memory, and why.
#[derive(Parser)]
#[command(name = "ioward", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<commands::Command>,
}

/// Shown below the help of the whole.
const EXAMPLES: &str = "\
Examples:
  ioward                        the embedded machine: the drivers on models of IOMMUs
  ioward groups                 the IOMMU groups of this machine, and why they are so
  ioward map -o map.html        the same, drawn, as a page for a browser
  ioward explain 01:00.0        why this device is where it is, and what would free it
  ioward check                  whether devices of this machine can be given to guests
  ioward run /tmp/dump          the drivers on models of another machine's IOMMUs

Exit codes are those of each command (ioward help COMMAND). Of all of them, 2 says that the input is broken.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or_default().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("ioward: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
