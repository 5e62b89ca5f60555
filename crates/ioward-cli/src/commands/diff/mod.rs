//! `ioward diff`: what differs between two machines.

mod text;

use super::{BROKEN, groups::PolicyName, json::Doubts, machine};
use crate::show::{Style, output};
use clap::Args;
use ioward_study::diff::{self, Diff};
use serde::Serialize;
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward diff before.json after.json            two snapshots: before and after a firmware update
  ioward diff before.json                       a snapshot, and this machine as it is now
  ioward diff one/lspci.txt other/lspci.txt     two machines of which somebody sent text

A function is the same if it is in its place and nothing that is known of it differs, and it has moved if it is the only one
of its kind that is elsewhere. Groups are compared by their functions, and what ties or no longer ties them is told.

Exit codes:
  0  nothing differs
  1  something does
  2  the input is broken";

/// What `diff` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, a directory with lspci text and tables, lspci text, or a snapshot
    before: PathBuf,
    /// The same of the other machine; without it, this machine
    after: Option<PathBuf>,
    /// Whose idea of a group
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// What is printed for programs.
#[derive(Serialize)]
struct Document {
    version: u32,
    before: String,
    after: String,
    policy: &'static str,
    /// What is not certain of either, the first machine's before the second's.
    doubts: [Doubts; 2],
    #[serde(flatten)]
    diff: Diff,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    // Both are read before anything is said, so that both are named where both are broken.
    let (before, after) = (machine(Some(&arguments.before)), machine(arguments.after.as_deref()));
    let (Some(before), Some(after)) = (before, after) else { return Ok(BROKEN) };
    let policy = arguments.policy.policy();
    let diff = diff::diff(&before, &after, &*policy);
    let code = u8::from(!diff.is_empty());
    if arguments.json {
        output::json(&Document {
            version: 1,
            before: before.origin.to_string(),
            after: after.origin.to_string(),
            policy: policy.name(),
            doubts: [Doubts::of(&before), Doubts::of(&after)],
            diff,
        })?;
    } else {
        output::text(&text::render((&before, &after), policy.name(), &diff, &Style::of_stdout()))?;
    }
    Ok(code)
}
