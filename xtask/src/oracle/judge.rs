//! One machine from its boot to its verdict.

use super::boot::{self, Platform};
use super::partition::{Groups, differences};
use super::report::Report;
use super::topology::Topology;
use super::{copy, ours};
use crate::debian::Guest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every case needs.
pub struct Bench {
    /// The program that is judged.
    pub program: PathBuf,
    /// What guests start from, by platform's architecture, and their first file system.
    pub guests: Vec<(crate::debian::Arch, Guest, PathBuf)>,
    /// Where everything is kept.
    pub folder: PathBuf,
    /// Whether `lspci` is here.
    pub lspci: bool,
}

/// A topology on a platform.
#[derive(Clone, Debug)]
pub struct Case {
    /// The machine and its IOMMU.
    pub platform: Platform,
    /// Its devices.
    pub topology: Topology,
}

impl Case {
    /// What a filter is held against.
    pub fn name(&self) -> String {
        format!("{} {}", self.platform.name(), self.topology.name)
    }
}

/// What is known of a case in the end.
#[derive(Debug)]
pub enum Verdict {
    /// The same.
    Exact {
        /// Functions that the kernel put in a group.
        functions: usize,
        /// Its groups.
        groups: usize,
    },
    /// Not the same, or the program failed.
    Differs(Vec<String>),
    /// There is nothing to compare.
    Broken(String),
}

impl Bench {
    /// Where a case's files are kept.
    pub fn place(&self, case: &Case) -> PathBuf {
        self.folder.join(case.platform.name()).join(&case.topology.name)
    }

    /// Boots it and compares.
    pub fn judge(&self, case: &Case) -> Verdict {
        self.try_judge(case).unwrap_or_else(Verdict::Broken)
    }

    fn try_judge(&self, case: &Case) -> Result<Verdict, String> {
        let place = self.place(case);
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let arch = case.platform.arch();
        let (_, guest, initramfs) = self
            .guests
            .iter()
            .find(|(other, ..)| *other == arch)
            .ok_or_else(|| format!("no guest for {}", arch.name()))?;
        let command = boot::command(case.platform, &case.topology, guest, initramfs);
        boot::keep(&command, &place)?;
        let report = boot::boot(command, &place.join("log"))?;
        let machine = place.join("sys");
        copy::write(&report, &machine).map_err(|error| format!("{}: {error}", machine.display()))?;
        let kernel = kernels(&report);
        let functions: usize = kernel.iter().map(|group| group.len()).sum();
        if functions == 0 {
            return Err("Linux put no function in a group".into());
        }
        let ours = match ours::groups(&self.program, &machine, &place.join("groups.json")) {
            Ok(ours) => ours,
            Err(why) => return Ok(Verdict::Differs(vec![why])),
        };
        let mut found = differences(&kernel, &ours);
        if self.lspci {
            found.extend(self.as_text(&report, &ours, &place)?);
        }
        Ok(if found.is_empty() {
            Verdict::Exact { functions, groups: kernel.len() }
        } else {
            found.extend(sides(&report, &ours));
            Verdict::Differs(found)
        })
    }

    /// The same machine, as `lspci` tells it, must have the same groups.
    fn as_text(&self, report: &Report, ours: &Groups, place: &Path) -> Result<Vec<String>, String> {
        let (dump, text) = (place.join("hex.txt"), place.join("lspci.txt"));
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        fs::write(&dump, copy::hex_dump(report)).map_err(|error| failed(&dump, &error))?;
        let output = Command::new("lspci")
            .arg("-F")
            .arg(&dump)
            .args(["-D", "-nn", "-vvv"])
            .output()
            .map_err(|error| failed(Path::new("lspci"), &error))?;
        if !output.status.success() {
            return Err(format!("lspci -F {}: {}", dump.display(), output.status));
        }
        fs::write(&text, &output.stdout).map_err(|error| failed(&text, &error))?;
        Ok(match ours::groups(&self.program, &text, &place.join("groups-of-text.json")) {
            Ok(from_text) => {
                let found = differences(ours, &from_text);
                found
                    .into_iter()
                    .map(|line| line.replace("Linux", "sysfs"))
                    .map(|line| format!("from lspci: {line}"))
                    .collect()
            }
            Err(why) => vec![format!("from lspci: {why}")],
        })
    }
}

/// The kernel's groups, over PCI functions.
fn kernels(report: &Report) -> Groups {
    let functions = |members: &Vec<String>| {
        members.iter().filter(|member| report.functions.contains_key(*member)).cloned().collect()
    };
    let groups = report.groups.values().map(|group| functions(&group.members));
    groups.filter(|group: &std::collections::BTreeSet<String>| !group.is_empty()).collect()
}

/// Both divisions whole.
fn sides(report: &Report, ours: &Groups) -> Vec<String> {
    let mut lines = Vec::new();
    for (whose, groups) in [("Linux", &kernels(report)), ("ours", ours)] {
        for group in groups {
            let members: Vec<&str> = group.iter().map(String::as_str).collect();
            lines.push(format!("{whose:5} {}", members.join(" ")));
        }
    }
    lines
}
