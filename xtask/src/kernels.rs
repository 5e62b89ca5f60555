//! Builds the kernels with whichever compiler can: one with the target's own libraries, or one that builds `core` itself;
//! and holds them against clippy.

use crate::{
    shell::{ask, cargo, root, show, target},
    tally::Tally,
};
use std::path::PathBuf;
use std::process::Command;

/// An architecture with a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arch {
    /// QEMU's `virt` machine with SMMUv3 or virtio-iommu.
    Aarch64,
    /// QEMU's `virt` machine with a RISC-V IOMMU.
    Riscv64,
    /// QEMU's `q35` machine with the IOMMUs of x86.
    X86,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aarch64, Self::Riscv64, Self::X86];

    /// As in `qemu-system-…` and `kernels/…`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::X86 => "x86_64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-none-softfloat",
            Self::Riscv64 => "riscv64gc-unknown-none-elf",
            Self::X86 => "x86_64-unknown-none",
        }
    }
}

/// A compiler for an architecture's bare metal.
pub enum Toolchain {
    /// The compiler that runs us has the target's libraries.
    Rustup,
    /// Another one that has the sources of `core`, which it is asked to build.
    BuildsCore {
        /// Its cargo.
        cargo: PathBuf,
        /// Its rustc.
        rustc: PathBuf,
    },
}

/// Finds a compiler, or says what there is none of.
pub fn toolchain(arch: Arch) -> Result<Toolchain, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let sysroot = |rustc: &str| Some(PathBuf::from(ask(rustc, &["--print", "sysroot"])?.trim()));
    let ours = sysroot(&rustc).ok_or("`rustc --print sysroot` does not answer")?;
    if ours.join("lib/rustlib").join(arch.triple()).join("lib").is_dir() {
        return Ok(Toolchain::Rustup);
    }
    let debian = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    let own = (ours.join("bin/cargo"), ours.join("bin/rustc"));
    for (cargo, rustc) in [own, debian] {
        let source =
            sysroot(&rustc.to_string_lossy()).map(|root| root.join("lib/rustlib/src/rust/library/core"));
        if cargo.exists() && source.is_some_and(|source| source.is_dir()) && linker().is_some() {
            return Ok(Toolchain::BuildsCore { cargo, rustc });
        }
    }
    Err(format!(
        "no compiler for {0}: neither `rustup target add {0}` nor Debian's rustc-web, cargo-web, rust-web-src and lld",
        arch.triple()
    ))
}

fn linker() -> Option<&'static str> {
    ["ld.lld", "/usr/bin/ld.lld"].into_iter().find(|name| ask(name, &["--version"]).is_some())
}

/// How a kernel is built: profiles of the kernels' workspace.
#[derive(Clone, Copy)]
pub enum Profile {
    /// To be built fast, for checks.
    Qemu,
    /// To run fast, for measurements.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Release => "release",
        }
    }
}

/// Builds an architecture's kernel and tells where it is.
pub fn build(arch: Arch, profile: Profile) -> Result<PathBuf, String> {
    build_program(arch, &format!("kernel-{}", arch.name()), profile)
}

/// Builds what kernels share for several architectures at once: one build of many crates keeps every processor busy, several
/// builds one after the other do not. An error is told by the build that follows.
pub fn build_shared(archs: &[Arch], profile: Profile) {
    let (own, other): (Vec<Arch>, Vec<Arch>) =
        archs.iter().partition(|arch| matches!(toolchain(**arch), Ok(Toolchain::Rustup)));
    for archs in [own, other].iter().filter(|archs| archs.len() > 1) {
        let _ = compile(archs, "kernel", profile);
    }
}

/// Builds a program of the kernels' workspace and tells where it is.
pub fn build_program(arch: Arch, name: &str, profile: Profile) -> Result<PathBuf, String> {
    compile(&[arch], name, profile)?;
    let kernel = target().join("kernels").join(arch.triple()).join(profile.name()).join(name);
    if kernel.exists() { Ok(kernel) } else { Err(format!("{} was not built", kernel.display())) }
}

/// Compiles a package of the kernels' workspace for architectures that one compiler serves.
fn compile(archs: &[Arch], package: &str, profile: Profile) -> Result<(), String> {
    let Some(first) = archs.first() else { return Ok(()) };
    let mut flags = vec!["-Crelocation-model=static".to_owned()];
    let (mut command, builds) = match toolchain(*first)? {
        Toolchain::Rustup => (cargo(), None),
        Toolchain::BuildsCore { cargo, rustc } => {
            let linker = linker().ok_or("ld.lld is missing")?;
            flags.extend([format!("-Clinker={linker}"), "-Clinker-flavor=ld.lld".to_owned()]);
            (Command::new(cargo), Some(rustc))
        }
    };
    command.args(["build", "--profile", profile.name(), "-p", package]);
    for arch in archs {
        command.args(["--target", arch.triple()]);
    }
    if let Some(rustc) = builds {
        builds_core(&mut command, rustc);
    }
    in_kernels(&mut command);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    show(&mut command)
}

/// Whether clippy is beside the compiler for an architecture.
pub fn has_clippy(arch: Arch) -> bool {
    match toolchain(arch) {
        Ok(Toolchain::Rustup) => ask("cargo", &["clippy", "--version"]).is_some(),
        Ok(Toolchain::BuildsCore { cargo, .. }) => cargo.with_file_name("cargo-clippy").exists(),
        Err(_) => false,
    }
}

/// Stable compilers build `core` when told that they are its own bootstrap.
fn builds_core(command: &mut Command, rustc: PathBuf) {
    command.arg("-Zbuild-std=core,alloc");
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
    // `core` of one version is built by the compiler of that version: what later ones will say of it is not ours to mend.
    command.env("CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY", "never");
}

fn in_kernels(command: &mut Command) {
    command.current_dir(root().join("kernels")).env("CARGO_TARGET_DIR", target().join("kernels"));
    command.env_remove("RUSTFLAGS").env_remove("LD_LIBRARY_PATH");
}

/// Holds the kernels against clippy, each for its own target: with the compiler that builds it, if clippy is beside that.
/// Where it is not, what they share and the kernel of this machine's architecture are looked at as programs of this machine.
pub fn lint(tally: &mut Tally) {
    let (able, mut left): (Vec<Arch>, Vec<Arch>) = Arch::ALL.into_iter().partition(|arch| has_clippy(*arch));
    let rustup = |arch: &Arch| matches!(toolchain(*arch), Ok(Toolchain::Rustup));
    let (own, other): (Vec<Arch>, Vec<Arch>) = able.iter().partition(|arch| rustup(arch));
    for archs in [own, other] {
        let Some(first) = archs.first() else { continue };
        // All at once, which keeps every processor busy; then each kernel's own few files.
        let targets: Vec<&str> = archs.iter().flat_map(|arch| ["--target", arch.triple()]).collect();
        let shared = clippy(Some(*first), &["-p", "kernel"], &targets);
        tally.check("clippy of what the kernels share, for each of their targets", shared);
        for arch in archs {
            let own = format!("kernel-{}", arch.name());
            let mut packages = vec!["-p", &own];
            if arch == Arch::Aarch64 {
                packages.extend(["-p", "linux-load"]);
            }
            let lint = clippy(Some(arch), &packages, &["--target", arch.triple()]);
            tally.check(&format!("clippy of the kernel for {}", arch.name()), lint);
        }
    }
    if left.is_empty() {
        return;
    }
    let here = std::env::consts::ARCH;
    let own = format!("kernel-{here}");
    let mut packages = vec!["-p", "kernel"];
    if left.iter().any(|arch| arch.name() == here) {
        packages.extend(["-p", &own]);
        left.retain(|arch| arch.name() != here);
    }
    tally.check("clippy of what the kernels share", clippy(None, &packages, &[]));
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|arch| arch.name()).collect();
        let what = format!("clippy of the kernels for {}", names.join(", "));
        tally.skip(&what, "their targets are not installed for the compiler that has clippy");
    }
}

/// Clippy with the compiler that builds the kernel of an architecture, or with our own for this machine.
fn clippy(arch: Option<Arch>, packages: &[&str], args: &[&str]) -> Result<(), String> {
    let (mut command, builds) = match arch.map(toolchain).transpose()? {
        Some(Toolchain::BuildsCore { cargo, rustc }) => {
            // Cargo itself would look among rustup's programs first.
            let mut command = Command::new(cargo.with_file_name("cargo-clippy"));
            command.env("CARGO", cargo);
            (command, Some(rustc))
        }
        _ => (cargo(), None),
    };
    in_kernels(&mut command);
    command.args(["clippy", "--quiet"]).args(packages).args(args);
    if let Some(rustc) = builds {
        builds_core(&mut command, rustc);
    }
    show(command.args(["--", "-D", "warnings"]))
}
