//! `cargo xtask setup`: what the other commands need, installed where that is allowed, named where it is not.

use crate::{
    debian, kernels,
    shell::{ask, cargo, show},
    tally::Tally,
};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The oldest QEMU that has every machine and IOMMU the kernels use.
const QEMU: u32 = 10;
const BACKPORTS: &str = "/etc/apt/sources.list.d/ioward-backports.list";

/// One thing that is needed.
struct Need {
    name: &'static str,
    what_for: &'static str,
    here: fn() -> bool,
    install: fn() -> Result<(), String>,
}

const NEEDS: &[Need] = &[
    Need { name: "QEMU 10 for Arm, x86 and RISC-V", what_for: "qemu", here: has_qemu, install: install_qemu },
    Need {
        name: "a compiler for bare metal",
        what_for: "qemu: the kernels",
        here: || kernels::Arch::ALL.iter().all(|arch| kernels::toolchain(*arch).is_ok()),
        install: || apt(&["rustc-web", "cargo-web", "rust-web-src", "lld"], None),
    },
    Need {
        name: "clippy beside it",
        what_for: "lints of the kernels",
        here: || kernels::Arch::ALL.iter().all(|arch| kernels::has_clippy(*arch)),
        install: || apt(&["rust-web-clippy"], None),
    },
    Need {
        name: "dtc",
        what_for: "qemu: edited device trees",
        here: || ask("dtc", &["--version"]).is_some(),
        install: || apt(&["device-tree-compiler"], None),
    },
    Need {
        name: "Chromium",
        what_for: "browser",
        here: crate::browser::is_here,
        install: || apt(&["chromium", "fonts-dejavu-core"], None),
    },
    Need {
        name: "Debian's kernel and busybox for x86-64",
        what_for: "oracle",
        here: || debian::guest(debian::Arch::Amd64).is_some(),
        install: || debian::fetch(debian::Arch::Amd64),
    },
    Need {
        name: "Debian's kernel, busybox and UEFI for aarch64",
        what_for: "oracle",
        here: || debian::guest(debian::Arch::Arm64).is_some(),
        install: || debian::fetch(debian::Arch::Arm64),
    },
    Need {
        name: "lspci",
        what_for: "oracle: the same machines as text",
        here: || ask("lspci", &["--version"]).is_some(),
        install: || apt(&["pciutils"], None),
    },
    Need {
        name: "LLVM tools of the compiler's version",
        what_for: "cov",
        here: || crate::cov::llvm_tools().is_some(),
        install: || {
            apt(&[&format!("llvm-{}", llvm_version().ok_or("`rustc -vV` does not tell its LLVM")?)], None)
        },
    },
    Need {
        name: "cargo-llvm-cov",
        what_for: "cov",
        here: || ask("cargo-llvm-cov", &["llvm-cov", "--version"]).is_some(),
        install: || show(cargo().args(["install", "--locked", "cargo-llvm-cov"])),
    },
    Need {
        name: "cargo-fuzz",
        what_for: "fuzz",
        here: || ask("cargo-fuzz", &["--version"]).is_some(),
        install: || show(cargo().args(["install", "--locked", "cargo-fuzz"])),
    },
    Need {
        name: "a C++ compiler",
        what_for: "fuzz: libFuzzer",
        here: || ask("c++", &["--version"]).is_some(),
        install: || apt(&["g++"], None),
    },
    Need {
        name: "nightly Rust",
        what_for: "fuzz and asan",
        here: has_nightly,
        install: || {
            show(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
        },
    },
];

/// Installs what is missing.
pub fn run(tally: &mut Tally) {
    for need in NEEDS {
        if (need.here)() {
            println!("here   {} ({})", need.name, need.what_for);
            tally.pass(1);
            continue;
        }
        println!("       {} is missing; installing it", need.name);
        let result = (need.install)();
        if (need.here)() {
            println!("here   {} ({})", need.name, need.what_for);
            tally.pass(1);
        } else {
            let why = result.err().unwrap_or_else(|| "it is still not there after its installation".into());
            tally.skip(&format!("{} ({})", need.name, need.what_for), why);
        }
    }
}

/// Whether `cargo +nightly` is one.
pub fn has_nightly() -> bool {
    crate::shell::nightly().arg("--version").output().is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("nightly")
    })
}

/// The major version of the LLVM that the compiler carries.
pub fn llvm_version() -> Option<String> {
    let text = ask("rustc", &["-vV"])?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    Some(version.split('.').next()?.to_owned())
}

/// Whether QEMU is here and new enough.
pub fn has_qemu() -> bool {
    ["aarch64", "x86_64", "riscv64"].iter().all(|arch| {
        ask(&format!("qemu-system-{arch}"), &["--version"]).is_some_and(|text| major(&text) >= QEMU)
    })
}

/// `QEMU emulator version 10.0.2 (Debian …)`: 10.
fn major(text: &str) -> u32 {
    let after = text.split("version ").nth(1).unwrap_or_default();
    after.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn install_qemu() -> Result<(), String> {
    const PACKAGES: &[&str] = &["qemu-system-arm", "qemu-system-x86", "qemu-system-misc"];
    may_apt()?;
    update()?;
    // Each on its own: one of them may be here already, from elsewhere.
    let policies = PACKAGES.iter().map(|package| ask("apt-cache", &["policy", package]).unwrap_or_default());
    let policies: Vec<String> = policies.collect();
    if policies.iter().all(|policy| candidate_major(policy) >= QEMU) {
        return apt(PACKAGES, None);
    }
    let codename = codename().ok_or("/etc/os-release names no Debian release")?;
    let suite = format!("{codename}-backports");
    if !policies.iter().all(|policy| policy.contains(&suite)) {
        let source = backports(&apt_sources(), &codename)
            .ok_or_else(|| format!("no source of {codename} in /etc/apt to derive {suite} from"))?;
        fs::write(BACKPORTS, source).map_err(|error| format!("{BACKPORTS}: {error}"))?;
        update()?;
    }
    apt(PACKAGES, Some(&suite))
}

/// The major version that `apt-cache policy` would install: `  Candidate: 1:10.0.2+ds-2…`.
fn candidate_major(policy: &str) -> u32 {
    let Some(line) = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")) else {
        return 0;
    };
    let version = line.split_once(':').map_or(line, |(_, version)| version);
    version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// All of apt's sources, in either syntax.
fn apt_sources() -> String {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "list" || ending == "sources") {
            text.push('\n');
            text.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
            text.push('\n');
        }
    }
    text
}

/// A source line for the backports of `codename` at the mirror, and with the key, from which the machine already takes
/// `codename` itself.
fn backports(sources: &str, codename: &str) -> Option<String> {
    // One-line syntax: `deb [options] URI SUITE COMPONENTS…`.
    for line in sources.lines().filter_map(|line| line.trim().strip_prefix("deb ")) {
        let (options, rest) = match line.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (format!("[{options}] "), rest),
            None => (String::new(), line),
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next())
            && suite == codename
        {
            return Some(format!("deb {options}{uri} {codename}-backports main\n"));
        }
    }
    // Paragraphs of fields.
    for paragraph in sources.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
        if let (Some(uris), Some(suites)) = (field("URIs"), field("Suites"))
            && suites.split_whitespace().any(|suite| suite == codename)
        {
            let key = field("Signed-By").map_or(String::new(), |key| format!("[signed-by={key}] "));
            return Some(format!("deb {key}{} {codename}-backports main\n", uris.split_whitespace().next()?));
        }
    }
    None
}

/// Whether packages may be installed here; else why not.
fn may_apt() -> Result<(), String> {
    if !Path::new("/etc/debian_version").exists() || ask("apt-get", &["--version"]).is_none() {
        return Err("this is no Debian with apt-get; install it as your system does".into());
    }
    if ask("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
        return Err("only root installs packages; run `cargo xtask setup` as root".into());
    }
    Ok(())
}

fn update() -> Result<(), String> {
    show(Command::new("apt-get").args(["update", "-qq"]))
}

/// Installs Debian's packages, where that is allowed.
pub fn apt(packages: &[&str], suite: Option<&str>) -> Result<(), String> {
    may_apt()?;
    update()?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "-y", "-qq", "--no-install-recommends"]);
    if let Some(suite) = suite {
        command.args(["-t", suite]);
    }
    show(command.args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_come_from_the_mirror_of_the_release_itself() {
        let fields = "Types: deb\n# a comment\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\nSigned-By: /key.gpg\n\nTypes: deb\nURIs: http://mirror/debian-security\n\
                      Suites: bookworm-security\n";
        let line = "deb [signed-by=/key.gpg] http://mirror/debian bookworm-backports main\n";
        assert_eq!(backports(fields, "bookworm").as_deref(), Some(line));
        assert_eq!(backports(fields, "trixie"), None);
        let lines = "# deb http://no bookworm main\ndeb http://other trixie main\ndeb [a=b] http://m/d bookworm main\n";
        assert_eq!(
            backports(lines, "bookworm").as_deref(),
            Some("deb [a=b] http://m/d bookworm-backports main\n")
        );
        assert_eq!(backports("", "bookworm"), None);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2)"), 10);
        assert_eq!(major("nonsense"), 0);
        assert_eq!(candidate_major("qemu:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7\n"), 7);
        assert_eq!(candidate_major("qemu:\n  Candidate: (none)\n"), 0);
    }
}
