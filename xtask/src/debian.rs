//! Debian's kernel and busybox for a guest's architecture, which need not be this machine's.
//!
//! apt keeps a state of its own for this, below `target`: no foreign architecture is added to the machine, nothing is
//! installed on it, and nobody need be root. Packages are only downloaded and unpacked. They come from the sources, and are
//! held against the keys, that the machine's apt has; of several versions the newest is taken, backports included.

use crate::shell::{ask, line, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An architecture, by Debian's name of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As in the names of packages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What is wanted beside kernel and busybox.
    fn others(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &[],
            // Its machine has ACPI tables only where UEFI hands them to the kernel.
            Self::Arm64 => &["qemu-efi-aarch64"],
        }
    }
}

/// What is unpacked, as patterns of `tar`; the rest of the packages, a gigabyte, is not.
const WANTED: &[&str] = &[
    "./boot/vmlinuz-*",
    "*/drivers/pci/pci-pf-stub.ko.xz",
    "*/drivers/nvme/common/nvme-auth.ko.xz",
    "*/drivers/nvme/host/nvme-core.ko.xz",
    "*/drivers/nvme/host/nvme.ko.xz",
    "./bin/busybox",
    "./usr/bin/busybox",
    "./usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
];

/// What a guest is started from.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel.
    pub kernel: PathBuf,
    /// A busybox that needs no library.
    pub busybox: PathBuf,
    /// The driver that takes any function, does nothing with it, and makes virtual functions when told; compressed.
    pub stub: PathBuf,
    /// UEFI, where the architecture has some.
    pub firmware: Option<PathBuf>,
}

/// What has been fetched for an architecture; none if anything is missing.
pub fn guest(arch: Arch) -> Option<Guest> {
    let files = files(&unpacked(arch));
    let named = |test: &dyn Fn(&str) -> bool| {
        let found =
            files.iter().find(|path| path.file_name().is_some_and(|name| test(&name.to_string_lossy())));
        found.cloned()
    };
    let firmware = named(&|name| name == "QEMU_EFI.fd");
    if arch == Arch::Arm64 && firmware.is_none() {
        return None;
    }
    Some(Guest {
        kernel: named(&|name| name.starts_with("vmlinuz-"))?,
        busybox: named(&|name| name == "busybox")?,
        stub: named(&|name| name == "pci-pf-stub.ko.xz")?,
        firmware,
    })
}

/// A module of the kernel's that has been fetched for an architecture, compressed.
pub fn module(arch: Arch, name: &str) -> Option<PathBuf> {
    let file = format!("{name}.ko.xz");
    files(&unpacked(arch)).into_iter().find(|path| path.file_name().is_some_and(|found| *found == *file))
}

/// Fetches it.
pub fn fetch(arch: Arch) -> Result<(), String> {
    if ["apt-get", "dpkg-deb", "tar"].iter().any(|tool| ask(tool, &["--version"]).is_none()) {
        return Err("this is no Debian with apt-get, dpkg-deb and tar".into());
    }
    let apt = Apt::new(arch)?;
    apt.run("apt-get", &["update", "-qq"])?;
    let image = image(&apt.run("apt-cache", &["show", &format!("linux-image-{}", arch.name())])?)
        .ok_or_else(|| format!("apt's sources have no linux-image-{}", arch.name()))?;
    let mut packages = vec![image.as_str(), "busybox-static"];
    packages.extend(arch.others());
    let mut download = vec!["download", "-qq"];
    download.extend(&packages);
    apt.run("apt-get", &download)?;

    // Complete or not there at all: it is moved to its place last.
    let half = apt.folder.join("unpacking");
    let _ = fs::remove_dir_all(&half);
    make(&half)?;
    for package in packages {
        unpack(&apt.package(package)?, &half)?;
    }
    let place = unpacked(arch);
    let _ = fs::remove_dir_all(&place);
    fs::rename(&half, &place).map_err(|error| format!("{}: {error}", place.display()))?;
    guest(arch).map(|_| ()).ok_or_else(|| format!("{image} or its companions lack a file that is needed"))
}

fn folder(arch: Arch) -> PathBuf {
    target().join("debian").join(arch.name())
}

fn unpacked(arch: Arch) -> PathBuf {
    folder(arch).join("unpacked")
}

/// apt with a state of its own.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(arch: Arch) -> Result<Self, String> {
        let folder = folder(arch);
        for below in ["state/lists/partial", "cache/archives/partial", "packages"] {
            make(&folder.join(below))?;
        }
        // No package is installed, as far as this apt knows.
        let status = folder.join("state/status");
        fs::write(&status, "").map_err(|error| format!("{}: {error}", status.display()))?;
        let mut options = vec![
            format!("Dir::State={}", folder.join("state").display()),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
            format!("APT::Architecture={}", arch.name()),
            format!("APT::Architectures::={}", arch.name()),
            // Where there is no network this ends soon, as what is missing does.
            "Acquire::http::Timeout=30".into(),
            "Acquire::https::Timeout=30".into(),
            "Acquire::Retries=1".into(),
        ];
        // Root's apt would drop to a user that may not write there.
        if ask("id", &["-u"]).is_some_and(|id| id.trim() == "0") {
            options.push("APT::Sandbox::User=root".into());
        }
        Ok(Self { folder, options })
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option])).args(args);
        command.current_dir(self.folder.join("packages"));
        println!("$ {program} … {}", args.join(" "));
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("`{}`: {error}", line(&command)))?;
        if !output.status.success() {
            return Err(format!("`{}`: {}", line(&command), output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The file that a package was downloaded to.
    fn package(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join("packages");
        let start = format!("{name}_");
        let mut found: Vec<PathBuf> = files(&folder)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
            .collect();
        // Older versions may lie there from an earlier day.
        found.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
        found.pop().ok_or_else(|| format!("apt-get downloaded no {name} to {}", folder.display()))
    }
}

/// The kernel's own package, that the newest version of its metapackage depends on: apt shows the newest first.
fn image(shown: &str) -> Option<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

fn unpack(package: &Path, into: &Path) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} {}: {error}", package.display());
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("dpkg-deb", &error))?;
    let out = archive.stdout.take().ok_or_else(|| failed("dpkg-deb", &"no output"))?;
    // A pattern that this package has nothing of is an error to tar, so whether all is there is asked afterwards.
    let tar = Command::new("tar")
        .args(["-x", "--no-same-owner", "--wildcards", "-C"])
        .arg(into)
        .args(WANTED)
        .stdin(out)
        .stderr(Stdio::null())
        .status();
    let status = archive.wait().map_err(|error| failed("dpkg-deb", &error))?;
    tar.map_err(|error| failed("tar", &error))?;
    if status.success() { Ok(()) } else { Err(failed("dpkg-deb", &status)) }
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_what_the_newest_metapackage_depends_on() {
        let shown = "Package: linux-image-amd64\nVersion: 6.12.95-1~bpo12+1\n\
                     Depends: linux-image-6.12.95+deb12-amd64 (= 6.12.95-1~bpo12+1)\n\n\
                     Package: linux-image-amd64\nVersion: 6.1.192-2\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(image(shown).as_deref(), Some("linux-image-6.12.95+deb12-amd64"));
        assert_eq!(image("Package: linux-image-amd64\nDepends: kmod, base\n"), None);
        assert_eq!(image(""), None);
    }
}
