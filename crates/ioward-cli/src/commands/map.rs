//! `ioward map`: one page that shows a machine's fabric, its groups under both policies, and why they are so.

use super::{
    BROKEN, machine,
    target::{Target, Told, Written},
};
use crate::{
    map::{self, Subject, View, Words},
    show::output,
};
use clap::Args;
use ioward::{
    discover::{self, Place},
    pci::groups::{Fabric, Grouping, Linux, Policy},
    pci::topology::Index,
};
use ioward_host::{
    Machine, Origin,
    names::{self, Names},
};
use serde::Serialize;
use std::{collections::BTreeMap, io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward map -o map.html                  this machine (as root, to see all of it)
  ioward map lspci.txt -o map.html        another one, of which somebody sent `lspci -nnvvv`
  ioward map /tmp/sys -o map.html         a copy of /sys
  ioward map -o - | gzip > map.html.gz    to standard output

The page needs nothing but a browser: it asks no network for anything, works without its script, and prints. Add a
function's address to its own to open it there: map.html#0000:01:00.0

Exit codes:
  0  the page is written
  1  it could not be written, or a file is there already and --force is not
  2  the input is broken: there is no machine to be read";

/// What `map` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A copy of sysfs, a directory with lspci text and tables, or lspci text; without it, this machine
    path: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    told: Told,
    iommus: usize,
    groups: Counts,
}

/// How many groups there are under each policy.
#[derive(Serialize)]
struct Counts {
    linux: usize,
    fabric: usize,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let Some(machine) = machine(arguments.path.as_deref()) else { return Ok(BROKEN) };
    let groupings = [Linux.groups(&machine.topology), Fabric::default().groups(&machine.topology)];
    let found = machine.discover(&Linux);
    let iommus = found.iommus.len();
    let page = draw(&machine, &found, &groupings);
    let written = arguments.target.write(&page, "page")?;
    if written != Written::File {
        return Ok(written.code());
    }
    let [linux, fabric] = groupings.map(|grouping| grouping.groups.len());
    let functions = machine.topology.functions().len();
    if arguments.target.json {
        let told = arguments.target.told(&machine, page.len(), functions);
        output::json(&Document { told, iommus, groups: Counts { linux, fabric } })?;
        return Ok(0);
    }
    output::text(&format!(
        "{}: {functions} functions, {linux} groups under linux, {fabric} under fabric\n",
        arguments.target.name()
    ))?;
    Ok(0)
}

/// The page of a machine.
fn draw(machine: &Machine, found: &discover::Machine, groupings: &[Grouping; 2]) -> String {
    let mut served: BTreeMap<Index, usize> = BTreeMap::new();
    for device in &found.devices {
        // The bus has the topology's order.
        if let (Place::Bus(index), Some((iommu, _))) = (&device.place, device.sources.first())
            && let Some(unit) = found.iommus.iter().position(|unit| unit.id == *iommu)
        {
            served.insert(*index, unit);
        }
    }
    let names = Names::system();
    let [linux, fabric] = groupings;
    let mut notes: Vec<String> = machine.degraded.iter().map(ToString::to_string).collect();
    notes.extend(machine.unread.iter().map(ToString::to_string));
    map::page(&Subject {
        title: title(&machine.origin),
        topology: &machine.topology,
        views: [View { name: Linux.name(), grouping: linux }, View { name: "fabric", grouping: fabric }],
        words: &|index| words(machine, &names, index),
        iommus: found.iommus.iter().map(|unit| unit.name.clone()).collect(),
        served,
        notes,
    })
}

fn words(machine: &Machine, names: &Names, index: Index) -> Words {
    let function = &machine.topology.functions()[index];
    Words {
        name: names.function(function),
        class: names::class(function),
        driver: function.driver.clone().unwrap_or_default(),
    }
}

/// The last part of a path tells a reader enough, and nothing of the folders above it.
fn title(origin: &Origin) -> String {
    match origin {
        Origin::Sysfs(path) | Origin::Directory(path) | Origin::File(path) | Origin::Snapshot(path) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.unwrap_or_else(|| origin.to_string())
        }
        _ => origin.to_string(),
    }
}
