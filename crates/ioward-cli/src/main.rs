//! The program `ioward`.
//!
//! It builds a machine in software from what firmware says of a real one, runs the drivers on models of its IOMMUs, and
//! proves that no device reaches what is not its own.

mod progress;
mod style;
mod text;

use clap::{Parser, Subcommand};
use ioward_machine::{Outcome, run};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Which device can reach which memory, proven on models of a machine's IOMMUs.
#[derive(Parser)]
#[command(name = "ioward", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Shown below every help.
const EXAMPLES: &str = "\
Examples:
  ioward                        the embedded machine
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

#[derive(Subcommand)]
enum Command {
    /// Build the machine, run it, prove isolation
    #[command(after_help = EXAMPLES)]
    Run {
        /// A directory with any of *.dat (ACPI tables), *.dtb and lspci text, or one such file; without it, the embedded
        /// machine
        path: Option<PathBuf>,
        /// Print JSON for programs instead of text for people
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (path, json) = match arguments.command {
        Some(Command::Run { path, json }) => (path, json),
        None => (None, false),
    };
    let mut progress = progress::Line::new();
    let outcome = match &path {
        Some(path) => run::path(path, &mut |at| progress.show(at)),
        None => run::embedded(&mut |at| progress.show(at)),
    };
    progress.clear();
    match print(&outcome, json) {
        // Whoever reads has seen enough (`ioward | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("ioward: cannot write: {error}");
            return ExitCode::FAILURE;
        }
        Ok(()) => {}
    }
    ExitCode::from(outcome.exit_code)
}

fn print(outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, outcome)?;
        writeln!(out)?;
    } else {
        let style = style::Style::of_stdout();
        out.write_all(text::render(outcome, &style).as_bytes())?;
    }
    out.flush()
}
