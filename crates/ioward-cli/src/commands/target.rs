//! Where `map` and `snapshot` write, and what they tell of it.

use super::{UNWRITTEN, json::Head};
use crate::show::output;
use clap::Args;
use ioward_host::Machine;
use serde::Serialize;
use std::{io, path::PathBuf};

/// What a command that writes a file takes.
#[derive(Args)]
pub struct Target {
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
    /// Tell what was written as JSON, of the shape that docs/json.md describes
    #[arg(long)]
    pub json: bool,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in the file.
    File,
    /// It went to standard output, which has room for nothing else.
    Output,
    /// Nothing was written; standard error says why.
    Not,
}

/// What `--json` prints of it, first.
#[derive(Serialize)]
pub struct Told {
    #[serde(flatten)]
    head: Head,
    file: String,
    bytes: usize,
    functions: usize,
}

impl Target {
    /// Writes `text`; `what` is its name in messages.
    pub fn write(&self, text: &str, what: &str) -> io::Result<Written> {
        if self.output.as_os_str() == "-" {
            if self.json {
                eprintln!("ioward: the {what} and --json cannot both be written to standard output");
                return Ok(Written::Not);
            }
            output::text(text)?;
            return Ok(Written::Output);
        }
        if let Err(error) = output::file(&self.output, text.as_bytes(), self.force) {
            eprintln!("ioward: {error}");
            return Ok(Written::Not);
        }
        Ok(Written::File)
    }

    /// The file's name, for people.
    pub fn name(&self) -> String {
        self.output.display().to_string()
    }

    /// What was written of a machine.
    pub fn told(&self, machine: &Machine, bytes: usize, functions: usize) -> Told {
        Told { head: Head::of(machine), file: self.name(), bytes, functions }
    }
}

impl Written {
    /// The exit code.
    pub fn code(self) -> u8 {
        if self == Self::Not { UNWRITTEN } else { 0 }
    }
}
