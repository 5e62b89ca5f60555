//! `cargo xtask compare`: the same NVMe load on the same machine under Debian's Linux and under our kernel, in instructions
//! per request. `docs/performance.md` has the method, the caveats and the results.
//!
//! The machine is QEMU's `virt` with an SMMUv3, whose time is counted in instructions, so that its performance monitor
//! counts each that the CPU runs, the kernel's included, and none while it sleeps.

use crate::{
    debian,
    kernels::{self, Arch, Profile},
    oracle::Archive,
    qemu::{Drive, Image, Machine},
    setup,
    shell::{each_line, target},
    tally::Tally,
};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one run may take: Linux boots slowly where every instruction is counted.
const LIMIT: Duration = Duration::from_secs(900);
/// The modules that a controller needs, in the order in which they are loaded.
const MODULES: [&str; 3] = ["nvme-auth", "nvme-core", "nvme"];
/// Kinds of requests that are measured.
const KINDS: usize = 8;
/// The machine.
const MACHINE: Machine = Machine {
    name: "aarch64-compare",
    arch: Arch::Aarch64,
    machine: "virt,iommu=smmuv3",
    instruction: Some(2),
    drives: &[Drive { id: "disk0", mib: 128 }],
    devices: &["nvme,drive=disk0,serial=ioward"],
    ..Machine::PLAIN
};
/// Ways to run the load: what they are called, Linux's domain, and the words for the kernel.
const WAYS: [Way; 5] = [
    Way {
        name: "Linux, passthrough",
        domain: Some("identity"),
        words: "console=ttyAMA0 quiet iommu.passthrough=1",
    },
    Way {
        name: "Linux, lazy",
        domain: Some("DMA-FQ"),
        words: "console=ttyAMA0 quiet iommu.passthrough=0 iommu.strict=0",
    },
    Way {
        name: "Linux, strict",
        domain: Some("DMA"),
        words: "console=ttyAMA0 quiet iommu.passthrough=0 iommu.strict=1",
    },
    Way { name: "ioward, passthrough", domain: None, words: "run=measure bypass" },
    Way { name: "ioward, strict", domain: None, words: "run=measure" },
];

struct Way {
    name: &'static str,
    /// Under Linux: what it must call the type of the controller's domain. None is our kernel.
    domain: Option<&'static str>,
    words: &'static str,
}

/// What one run measured of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measured {
    /// `read 4096 at depth 32`: what, how many bytes, how many under way at a time.
    what: String,
    requests: u64,
    instructions: u64,
    /// Under Linux the interrupts that were taken; ours takes none and tells here what it ran while it waited.
    last: u64,
}

impl Measured {
    /// `measured read 4096 32 1000 123456 990`, after the first word.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (what, mut number) = (words.next()?, || words.next()?.parse::<u64>().ok());
        let (bytes, depth) = (number()?, number()?);
        let (requests, instructions, last) = (number()?, number()?, number()?);
        let what = format!("{what} {bytes} at depth {depth}");
        (requests != 0).then_some(Self { what, requests, instructions, last })
    }

    /// Instructions for each request; with `interrupts`, how many of them a request took too.
    fn each(&self, interrupts: bool) -> String {
        let each = self.instructions / self.requests;
        if !interrupts {
            return each.to_string();
        }
        format!("{each} ({:.2})", self.last as f64 / self.requests as f64)
    }
}

/// What Linux is started from.
struct Guest {
    kernel: PathBuf,
    busybox: PathBuf,
    modules: Vec<PathBuf>,
}

impl Guest {
    fn find() -> Option<Self> {
        let arch = debian::Arch::Arm64;
        let debian::Guest { kernel, busybox, .. } = debian::guest(arch)?;
        let modules = MODULES.iter().map(|name| debian::module(arch, name)).collect::<Option<_>>()?;
        Some(Self { kernel, busybox, modules })
    }

    fn fetch() -> Result<Self, String> {
        debian::fetch(debian::Arch::Arm64)?;
        Self::find().ok_or_else(|| format!("Debian's kernel came without {}", MODULES.join(", ")))
    }
}

/// Runs every way whose name contains `filter` and prints the table.
pub fn run(tally: &mut Tally, filter: &str) {
    let ways: Vec<&'static Way> = WAYS.iter().filter(|way| way.name.contains(filter)).collect();
    if ways.is_empty() {
        let names: Vec<&str> = WAYS.iter().map(|way| way.name).collect();
        return tally.fail(format!("no way's name contains `{filter}`: {}", names.join("; ")));
    }
    if !setup::has_qemu() {
        return tally.skip("compare", "QEMU 10 is not here; `cargo xtask setup` installs it where it may");
    }
    if let Err(why) = kernels::toolchain(Arch::Aarch64) {
        return tally.skip("compare", why);
    }
    let guest = match Guest::find().map_or_else(Guest::fetch, Ok) {
        Ok(guest) => guest,
        Err(why) => return tally.skip("compare", why),
    };
    let folder = target().join("compare");
    let made = fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()));
    match made.and_then(|()| all(tally, &ways, &guest, &folder)) {
        Ok(columns) => print(&columns),
        Err(why) => tally.fail(format!("compare: {why}")),
    }
}

fn all(
    tally: &mut Tally,
    ways: &[&'static Way],
    guest: &Guest,
    folder: &Path,
) -> Result<Vec<(&'static Way, Vec<Measured>)>, String> {
    let ours = |way: &&&Way| way.domain.is_none();
    let kernel = match ways.iter().find(ours) {
        Some(_) => kernels::build(Arch::Aarch64, Profile::Release)?,
        None => PathBuf::new(),
    };
    let load = kernels::build_program(Arch::Aarch64, "linux-load", Profile::Release)?;
    let initramfs = folder.join("initramfs");
    write_initramfs(guest, &load, &initramfs)?;
    let mut columns = Vec::new();
    for &way in ways {
        let result = one(way, &kernel, guest, &initramfs, folder);
        let said = result.as_ref().map(drop).map_err(String::clone);
        tally.check(&format!("measured under {}", way.name), said);
        columns.extend(result.ok().map(|measured| (way, measured)));
    }
    Ok(columns)
}

/// One run. All kinds of requests must have been measured.
fn one(
    way: &'static Way,
    kernel: &Path,
    guest: &Guest,
    initramfs: &Path,
    folder: &Path,
) -> Result<Vec<Measured>, String> {
    let name = way.name.replace(", ", "-").to_lowercase();
    let images = [Image::new(&MACHINE.drives[0], folder, &name)?];
    let machine = Machine { words: way.words, ..MACHINE };
    let linux = way.domain.is_some();
    let kernel = if linux { &guest.kernel } else { kernel };
    let mut command = machine.command(kernel, false, &images, None);
    if linux {
        command.arg("-initrd").arg(initramfs);
    }
    let log = folder.join(format!("{name}.log"));
    let mut file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let _ = writeln!(file, "$ {}", crate::shell::line(&command));
    let (mut measured, mut domain) = (Vec::new(), None);
    each_line(command, LIMIT, |line| {
        let line = line.trim_end();
        let _ = writeln!(file, "{line}");
        if let Some(rest) = line.strip_prefix("measured ") {
            println!("  {}: {line}", way.name);
            measured.push(Measured::read(rest).ok_or_else(|| format!("`{line}` cannot be read"))?);
        }
        if let Some(rest) = line.strip_prefix("domain") {
            domain = Some(rest.trim().to_owned());
        }
        if line.starts_with("ERROR ") || line.starts_with("PANIC ") { Err(line.to_owned()) } else { Ok(()) }
    })
    .map_err(|why| format!("{why}; see {}", log.display()))?;
    right_domain(way.domain, domain.as_deref()).map_err(|why| format!("{why}; see {}", log.display()))?;
    match measured.len() {
        KINDS => Ok(measured),
        count => Err(format!("{count} of {KINDS} kinds of requests were measured; see {}", log.display())),
    }
}

/// What is measured is what the way is called: Linux may take its words otherwise than they are meant.
fn right_domain(expected: Option<&str>, said: Option<&str>) -> Result<(), String> {
    match (expected, said) {
        (None, None) => Ok(()),
        (Some(expected), Some(said)) if expected == said => Ok(()),
        (Some(expected), Some(said)) => Err(format!("the controller's domain is `{said}`, not `{expected}`")),
        (Some(expected), None) => {
            Err(format!("Linux does not say that the controller's domain is `{expected}`"))
        }
        (None, Some(said)) => Err(format!("our kernel says that it has a domain `{said}`, as Linux does")),
    }
}

/// Linux's first file system: a shell, the modules, the load.
fn write_initramfs(guest: &Guest, load: &Path, to: &Path) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut archive = Archive::with_shell(&read(&guest.busybox)?);
    for (name, path) in MODULES.iter().zip(&guest.modules) {
        archive.program(&format!("{name}.ko.xz"), &read(path)?);
    }
    archive.program("load", &read(load)?);
    archive.program("init", INIT.as_bytes());
    fs::write(to, archive.finish()).map_err(|error| format!("{}: {error}", to.display()))
}

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in nvme-auth nvme-core nvme; do
    xzcat < /$module.ko.xz > /$module.ko && insmod /$module.ko || echo ERROR insmod $module
done
tries=0
while [ ! -b /dev/nvme0n1 ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
echo 1 > /proc/sys/vm/nr_hugepages
# What starting the machine leaves running, such as the self-tests of the modules' ciphers, is over then.
sleep 10
echo domain $(cat /sys/class/nvme/nvme0/device/iommu_group/type)
/load
poweroff -f
";

/// A row for each kind of request, a column for each way; behind Linux's instructions, interrupts in brackets.
fn print(columns: &[(&Way, Vec<Measured>)]) {
    let Some((_, first)) = columns.first() else { return };
    println!();
    print!("| request |");
    columns.iter().for_each(|(way, _)| print!(" {} |", way.name));
    print!("\n| --- |");
    columns.iter().for_each(|_| print!(" ---: |"));
    println!();
    for (row, measured) in first.iter().enumerate() {
        print!("| {} |", measured.what);
        for (way, measured) in columns {
            print!(" {} |", measured[row].each(way.domain.is_some()));
        }
        println!();
    }
}

#[test]
fn another_domain_than_the_ways_is_an_error() {
    assert_eq!(right_domain(Some("DMA-FQ"), Some("DMA-FQ")), Ok(()));
    assert_eq!(right_domain(None, None), Ok(()));
    for (expected, said) in
        [(Some("DMA"), Some("DMA-FQ")), (Some("DMA"), Some("")), (Some("DMA"), None), (None, Some("DMA"))]
    {
        assert!(right_domain(expected, said).is_err(), "{expected:?} {said:?}");
    }
}

#[test]
fn a_line_is_read_and_a_broken_one_is_not() {
    let measured = Measured::read("read 4096 32 1000 2500000 77").expect("it is one");
    assert_eq!((measured.what.as_str(), measured.each(false)), ("read 4096 at depth 32", "2500".to_owned()));
    assert_eq!(measured.each(true), "2500 (0.08)");
    for broken in [
        "read 4096 32 0 2500 7",
        "read 4096 32 1000 2500000",
        "read 4096 32 1000",
        "read many 32 1000 2500 7",
        "",
    ] {
        assert_eq!(Measured::read(broken), None, "{broken}");
    }
}
