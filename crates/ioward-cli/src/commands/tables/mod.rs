//! `ioward tables`: firmware tables and device trees for reading.

mod text;

use super::{BROKEN, machine};
use crate::show::{Style, output};
use clap::Args;
use ioward_study::tables::{self, Listing, Trouble};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward tables                        those of this machine (as root)
  ioward tables IVRS.dat IORT.dat      tables that somebody sent
  ioward tables board.dtb              a device tree: IOMMUs, what is behind them, memory reserved for devices
  ioward tables /tmp/dump              all of a directory, a copy of sysfs or a snapshot
  ioward tables DMAR.dat --json        for programs; docs/json.md says how it looks

Every byte of an ACPI table is shown once, with its offset, its name as the specification has it, and what it means.

Exit codes:
  0  every table was read
  2  the input is broken; what was readable of it is shown";

/// What `tables` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// DMAR, IVRS, IORT, RIMT or VIOT tables, device trees, or whatever else holds a machine; without it, this machine
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// The most bytes of a file that is a table. None of firmware's is near that.
const MOST_BYTES: u64 = 64 << 20;

/// All that is shown.
#[derive(Serialize)]
struct Document {
    version: u32,
    tables: Vec<Entry>,
}

/// One table.
#[derive(Serialize)]
struct Entry {
    /// The file, or its name in the machine that was read.
    file: String,
    #[serde(flatten)]
    listing: Listing,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let mut document = Document { version: 1, tables: Vec::new() };
    let mut good = true;
    if arguments.paths.is_empty() {
        good &= of_machine(None, &mut document.tables);
    }
    for path in &arguments.paths {
        good &= of_path(path, &mut document.tables);
    }
    good &= !document.tables.iter().any(|entry| is_broken(&entry.listing));
    if arguments.json {
        output::json(&document)?;
    } else {
        let style = Style::of_stdout();
        let shown = document.tables.iter().map(|entry| text::render(&entry.file, &entry.listing, &style));
        output::text(&shown.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(if good { 0 } else { BROKEN })
}

/// Adds what a path holds; false, and told why, where that is nothing.
fn of_path(path: &Path, tables: &mut Vec<Entry>) -> bool {
    if path.is_dir() {
        return of_machine(Some(path), tables);
    }
    let bytes = match ioward_host::file_bytes(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return refused(&error),
    };
    match tables::listing(&bytes) {
        Ok(listing) => {
            tables.push(Entry { file: path.display().to_string(), listing });
            true
        }
        Err(_) if ioward_host::snapshot::is_snapshot(&bytes) => of_machine(Some(path), tables),
        Err(unknown) => refused(&format!("{}: {unknown}", path.display())),
    }
}

/// Adds all tables of a machine.
fn of_machine(path: Option<&Path>, tables: &mut Vec<Entry>) -> bool {
    let Some(machine) = machine(path) else { return false };
    for table in &machine.tables {
        if let Ok(listing) = tables::listing(&table.bytes) {
            tables.push(Entry { file: format!("{}: {}", machine.origin, table.file), listing });
        }
    }
    machine.degraded.iter().for_each(|degraded| eprintln!("ioward: {}: {degraded}", machine.origin));
    machine.unread.iter().for_each(|error| eprintln!("ioward: {error}"));
    if machine.tables.is_empty() {
        return refused(&format!("{}: no DMAR, IVRS, IORT, RIMT, VIOT or device tree", machine.origin));
    }
    true
}

fn refused(why: &dyn std::fmt::Display) -> bool {
    eprintln!("ioward: {why}");
    false
}

fn is_broken(listing: &Listing) -> bool {
    let broken = |problems: &[Trouble]| problems.iter().any(|problem| problem.severity == "broken");
    let mut found = false;
    if let Some(table) = &listing.table {
        table.visit(&mut |part, _| found |= broken(&part.problems));
    }
    let of_tree = listing
        .tree
        .iter()
        .flat_map(|tree| std::iter::once(&tree.problems).chain(tree.nodes.iter().map(|node| &node.problems)));
    found || of_tree.into_iter().any(|problems| broken(problems))
}
