//! `cargo xtask qemu [FILTER]`: the kernels on QEMU's machines, whose IOMMUs and devices others wrote.
//!
//! A kernel prints `check NAME ok` or `check NAME FAILED why` for each thing that it tried and `done N passed M failed`
//! last. Every machine is run twice: as it is, where all must pass, and as its own negative control, with translation
//! bypassed, where each check named `rogue-…` must fail: a check that passes without an IOMMU checks nothing.

use crate::{
    kernels::{self, Arch},
    setup,
    shell::target,
    tally::Tally,
};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long one machine may run.
const LIMIT: Duration = Duration::from_secs(90);

/// One way to start QEMU.
struct Machine {
    name: &'static str,
    arch: Arch,
    machine: &'static str,
    args: &'static [&'static str],
    devices: &'static [&'static str],
    /// Instead of checks: what the kernel says when it refuses to use such a machine.
    refusal: Option<&'static str>,
}

/// Two DMA engines on the first bus. Their mask lets them address everything; the usual one of 28 bits would hide what an
/// IOMMU must stop.
const ON_FIRST_BUS: &[&str] = &["edu,dma_mask=0xffffffffffffffff", "edu,dma_mask=0xffffffffffffffff"];
/// One there, one behind a port.
const ON_BOTH_BUSES: &[&str] = &[
    "edu,dma_mask=0xffffffffffffffff",
    "pcie-root-port,id=port1",
    "edu,dma_mask=0xffffffffffffffff,bus=port1",
];

/// Every machine that the kernels are run on.
const MACHINES: &[Machine] = &[
    // From version 9.2 on the machine asks for both stages itself, whatever is set for the device.
    Machine {
        name: "aarch64-smmuv3-stage1",
        arch: Arch::Aarch64,
        machine: "virt-9.1,iommu=smmuv3",
        args: &["-global", "arm-smmuv3.stage=1"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "aarch64-smmuv3-stage2",
        arch: Arch::Aarch64,
        machine: "virt-9.1,iommu=smmuv3",
        args: &["-global", "arm-smmuv3.stage=2"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "aarch64-smmuv3-nested",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        args: &[],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    // Without `pt=off` QEMU's AMD IOMMU lets every emulated device pass, and it knows only devices of the first bus by their
    // number: it remembers the bus number that a bridge had before anybody assigned one.
    Machine {
        name: "x86_64-amdvi",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "x86_64-amdvi-all-features",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off,intremap=on,xtsup=on,device-iotlb=on"],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-legacy",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-legacy-39-bits",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,aw-bits=39"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-caching-mode",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,caching-mode=on"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-all-features",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,intremap=on,device-iotlb=on,snoop-control=on"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-scalable-second",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-scalable-first",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on,x-flts=on"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-vtd-scalable-first-caching",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on,x-flts=on,caching-mode=on"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    // QEMU's RISC-V IOMMU too remembers the bus number that a bridge had before anybody assigned one.
    Machine {
        name: "riscv64-pci",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "riscv64-pci-first-stage",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci,g-stage=off"],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "riscv64-pci-second-stage",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci,s-stage=off,intremap=off,ats=off"],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "riscv64-platform",
        arch: Arch::Riscv64,
        machine: "virt,iommu-sys=on,aia=aplic-imsic",
        args: &[],
        devices: ON_FIRST_BUS,
        refusal: None,
    },
    Machine {
        name: "aarch64-virtio-iommu",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "x86_64-virtio-iommu",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "virtio-iommu-pci"],
        devices: ON_BOTH_BUSES,
        refusal: None,
    },
    Machine {
        name: "aarch64-no-iommu",
        arch: Arch::Aarch64,
        machine: "virt,iommu=none",
        args: &[],
        devices: ON_FIRST_BUS,
        refusal: Some("stays off, since nothing can block it: firmware says that no IOMMU is in the way"),
    },
    Machine {
        name: "riscv64-no-iommu",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &[],
        devices: ON_FIRST_BUS,
        refusal: Some("stays off, since nothing can block it: firmware says that no IOMMU is in the way"),
    },
    Machine {
        name: "x86_64-no-iommu",
        arch: Arch::X86,
        machine: "q35",
        args: &[],
        devices: ON_FIRST_BUS,
        refusal: Some("stays off, since nothing can block it: no table names an IOMMU for it"),
    },
];

/// The names of all machines.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    MACHINES.iter().map(|machine| machine.name)
}

fn command(machine: &Machine, kernel: &Path, append: &str) -> Command {
    let mut command = Command::new(format!("qemu-system-{}", machine.arch.name()));
    command.args([
        "-m",
        "512",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-monitor",
        "none",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    command.args(["-accel", "tcg"]);
    match machine.arch {
        Arch::Aarch64 => {
            command.args(["-machine", &format!("{},gic-version=3", machine.machine)]);
            command.args(["-cpu", "cortex-a57"]);
        }
        Arch::Riscv64 => {
            command.args(["-machine", machine.machine]);
        }
        Arch::X86 => {
            command.args(["-machine", machine.machine, "-cpu", "max", "-vga", "none"]);
            command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);
        }
    }
    command.arg("-kernel").arg(kernel).args(["-append", append]).args(machine.args);
    command.args(machine.devices.iter().flat_map(|device| ["-device", device]));
    command
}

/// What one run of a machine showed.
#[derive(Default, Debug, PartialEq, Eq)]
struct Outcome {
    /// Each check's name, and why it failed if it did.
    checks: Vec<(String, Option<String>)>,
    /// The numbers of the last line.
    done: Option<(usize, usize)>,
    /// A panic, an end without a last line, a limit reached.
    broken: Option<String>,
}

impl Outcome {
    fn line(&mut self, line: &str) {
        let mut words = line.trim_end().splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("check"), Some(name), Some("ok"), _) => self.checks.push((name.to_owned(), None)),
            (Some("check"), Some(name), Some("FAILED"), why) => {
                self.checks.push((name.to_owned(), Some(why.unwrap_or("").to_owned())));
            }
            (Some("done"), Some(passed), Some("passed"), Some(rest)) => {
                let failed = rest.split(' ').next().unwrap_or("");
                self.done = passed.parse().ok().zip(failed.parse().ok());
            }
            (Some("PANIC" | "ERROR"), ..) => self.broken = Some(line.trim_end().to_owned()),
            _ => {}
        }
    }

    fn passed(&self) -> usize {
        self.checks.iter().filter(|(_, why)| why.is_none()).count()
    }

    /// The kernel's own count must be ours: no line is lost.
    fn close(&mut self, end: Option<String>) {
        let counted = (self.passed(), self.checks.len() - self.passed());
        self.broken = self.broken.take().or(end).or_else(|| match self.done {
            None => Some("it ended without its last line".into()),
            Some(done) if done != counted => {
                Some(format!("it says {done:?} passed and failed, its lines {counted:?}"))
            }
            Some((0, 0)) => Some("it checked nothing".into()),
            Some(_) => None,
        });
    }
}

/// Runs a machine to its end or to the limit; what it says goes to `log` as it comes.
fn start(mut command: Command, name: &str, log: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let mut file = File::create(log).ok();
    if let Some(file) = &mut file {
        let _ = writeln!(file, "$ {}", crate::shell::line(&command));
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            outcome.close(Some(format!("{}: {error}", crate::shell::line(&command))));
            return outcome;
        }
    };
    let (send, receive) = mpsc::channel::<String>();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|out| Box::new(out) as _),
        child.stderr.take().map(|err| Box::new(err) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(send);
    let start = Instant::now();
    let end = loop {
        match receive.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
            Ok(line) => {
                // Firmware clears the screen before the kernel's first line.
                let line = line.rsplit('\u{1b}').next().unwrap_or_default().trim_end();
                if ["check ", "PANIC ", "ERROR "].iter().any(|start| line.starts_with(start)) {
                    println!("  {name}: {line}");
                }
                if let Some(file) = &mut file {
                    let _ = writeln!(file, "{line}");
                }
                outcome.line(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                break Some(format!("still running after {} s", LIMIT.as_secs()));
            }
        }
    };
    let _ = child.wait();
    outcome.close(end);
    outcome
}

/// Runs every machine whose name contains `filter`.
pub fn run(tally: &mut Tally, filter: &str) {
    let chosen: Vec<&Machine> = MACHINES.iter().filter(|machine| machine.name.contains(filter)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = MACHINES.iter().map(|machine| machine.name).collect();
        return tally.fail(format!("no machine's name contains `{filter}`: {}", names.join(", ")));
    }
    if !setup::has_qemu() {
        return tally.skip("qemu", "QEMU 10 is not here; `cargo xtask setup` installs it where it may");
    }
    let logs = target().join("qemu");
    if let Err(error) = fs::create_dir_all(&logs) {
        return tally.fail(format!("{}: {error}", logs.display()));
    }
    let mut kernels: Vec<(Arch, Option<PathBuf>)> = Vec::new();
    for arch in Arch::ALL.into_iter().filter(|arch| chosen.iter().any(|machine| machine.arch == *arch)) {
        if let Err(why) = kernels::toolchain(arch) {
            tally.skip(&format!("qemu on {}", arch.name()), why);
            continue;
        }
        let built =
            kernels::build(arch).inspect_err(|why| tally.fail(format!("kernel {}: {why}", arch.name())));
        kernels.push((arch, built.ok()));
    }
    let mut rows = Vec::new();
    for machine in chosen {
        let Some((_, Some(kernel))) = kernels.iter().find(|(arch, _)| *arch == machine.arch) else {
            continue;
        };
        let begun = Instant::now();
        let [log, control_log] =
            ["", "-bypassed"].map(|kind| logs.join(format!("{}{kind}.log", machine.name)));
        if let Some(refusal) = machine.refusal {
            let outcome = start(command(machine, kernel, ""), machine.name, &log);
            let said =
                outcome.broken.as_ref().is_some_and(|why| why.starts_with("ERROR") && why.contains(refusal));
            let result = if said {
                Ok(())
            } else {
                Err(format!("no refusal: {:?}; see {}", outcome.broken, log.display()))
            };
            let failed = usize::from(result.is_err());
            tally.check(&format!("{} is refused", machine.name), result);
            rows.push((machine.name, 1 - failed, 1, 0, failed, begun.elapsed()));
            continue;
        }
        let control_name = format!("{} bypassed", machine.name);
        let (outcome, control) = std::thread::scope(|scope| {
            let control =
                scope.spawn(|| start(command(machine, kernel, "bypass"), &control_name, &control_log));
            let outcome = start(command(machine, kernel, ""), machine.name, &log);
            (outcome, control.join().unwrap_or_default())
        });
        let before = tally.failures();
        judge(tally, machine.name, &outcome);
        judge_control(tally, machine.name, &outcome, &control);
        let failed = tally.failures() - before;
        if failed != 0 {
            println!("  logs: {} and {}", log.display(), control_log.display());
        }
        let proven =
            control.checks.iter().filter(|(name, why)| name.starts_with("rogue-") && why.is_some()).count();
        rows.push((machine.name, outcome.passed(), outcome.checks.len(), proven, failed, begun.elapsed()));
    }
    println!(
        "\n{:34} {:>12} {:>22} {:>8} {:>8}",
        "machine", "checks", "fail when bypassed", "failed", "time"
    );
    for (name, passed, of, proven, failed, time) in rows {
        let seconds = time.as_secs_f32();
        println!("{name:34} {:>12} {proven:>22} {failed:>8} {seconds:>6.1} s", format!("{passed} of {of}"));
    }
}

/// As it is, everything passes.
fn judge(tally: &mut Tally, machine: &str, outcome: &Outcome) {
    for (name, why) in &outcome.checks {
        match why {
            None => tally.pass(1),
            Some(why) => tally.fail(format!("{machine}: {name}: {why}")),
        }
    }
    if let Some(why) = &outcome.broken {
        tally.fail(format!("{machine}: {why}"));
    }
}

/// Bypassed, every rogue check of the other run is there and fails.
fn judge_control(tally: &mut Tally, machine: &str, outcome: &Outcome, control: &Outcome) {
    let rogue = outcome.checks.iter().filter(|(name, _)| name.starts_with("rogue-"));
    let mut count = 0;
    for (name, _) in rogue {
        count += 1;
        match control.checks.iter().find(|(other, _)| other == name) {
            Some((_, Some(_))) => tally.pass(1),
            Some((_, None)) => tally.fail(format!("{machine}: control: {name} passes without translation")),
            None => tally.fail(format!("{machine}: control: {name} was not tried")),
        }
    }
    if count == 0 {
        tally.fail(format!("{machine}: control: no rogue DMA was tried"));
    }
    if let Some(why) = &control.broken {
        tally.fail(format!("{machine}: control: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        text.lines().for_each(|line| outcome.line(line));
        outcome.close(None);
        outcome
    }

    fn failures(normal: &str, control: &str) -> usize {
        let (mut tally, normal, control) = (Tally::default(), outcome(normal), outcome(control));
        judge(&mut tally, "m", &normal);
        judge_control(&mut tally, "m", &normal, &control);
        tally.failures()
    }

    #[test]
    fn a_control_that_does_not_fail_is_an_error() {
        let good = "noise\ncheck copy ok\ncheck rogue-write ok\ndone 2 passed 0 failed\n";
        let bad = "check copy ok\ncheck rogue-write FAILED memory changed\ndone 1 passed 1 failed\n";
        assert_eq!(failures(good, bad), 0);
        assert_eq!(failures(good, good), 1);
        assert_eq!(failures(bad, bad), 1);
        assert_eq!(failures(good, "done 0 passed 0 failed\n"), 2);
    }

    #[test]
    fn an_end_without_its_last_line_is_an_error() {
        assert!(outcome("check copy ok\n").broken.is_some());
        assert!(outcome("check copy ok\ndone 2 passed 0 failed").broken.is_some());
        assert!(outcome("check copy ok\nPANIC at x\ndone 1 passed 0 failed").broken.is_some());
        assert!(outcome("check copy ok\r\ndone 1 passed 0 failed\r\n").broken.is_none());
    }
}
