//! Debian's kernel on QEMU's machines: what is started, and what came of it.

use super::report::{self, Report};
use super::topology::Topology;
use crate::debian::{Arch, Guest};
use crate::shell::each_line;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A guest needs less than ten seconds; on a machine that is busy otherwise, many times that.
const LIMIT: Duration = Duration::from_secs(240);
/// More than any guest prints.
const MOST_BYTES: usize = 16 << 20;

/// A machine, its IOMMU, and how firmware describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Platform {
    /// x86-64 with Intel's IOMMU, DMAR.
    Intel,
    /// x86-64 with AMD's IOMMU, IVRS.
    Amd,
    /// aarch64 with SMMUv3 and a device tree.
    SmmuTree,
    /// aarch64 with SMMUv3, UEFI and IORT.
    SmmuAcpi,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Intel, Self::Amd, Self::SmmuTree, Self::SmmuAcpi];

    /// As it is named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel-iommu",
            Self::Amd => "amd-iommu",
            Self::SmmuTree => "smmuv3-tree",
            Self::SmmuAcpi => "smmuv3-acpi",
        }
    }

    /// Its guest's architecture.
    pub fn arch(self) -> Arch {
        match self {
            Self::Intel | Self::Amd => Arch::Amd64,
            Self::SmmuTree | Self::SmmuAcpi => Arch::Arm64,
        }
    }

    /// Whether it can show this to its kernel: only ACPI names other root buses.
    pub fn has_room_for(self, topology: &Topology) -> bool {
        self != Self::SmmuTree || !topology.has_pxb()
    }

    /// QEMU with everything but the topology's devices.
    fn command(self, guest: &Guest, initramfs: &Path) -> Command {
        let arch = match self.arch() {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        };
        let mut command = Command::new(format!("qemu-system-{arch}"));
        command
            .args(["-accel", "tcg", "-m", "512", "-display", "none", "-serial", "stdio", "-monitor", "none"]);
        command.args(["-no-reboot", "-nic", "none", "-vga", "none"]);
        match self {
            Self::Intel => {
                command.args(["-machine", "q35,kernel-irqchip=split"]);
                command.args(["-device", "intel-iommu"]);
            }
            Self::Amd => {
                command.args(["-machine", "q35", "-device", "amd-iommu"]);
            }
            Self::SmmuTree | Self::SmmuAcpi => {
                command.args(["-machine", "virt,iommu=smmuv3,gic-version=3", "-cpu", "cortex-a57"]);
            }
        }
        if self == Self::SmmuAcpi {
            command.arg("-bios").args(&guest.firmware);
        }
        // Their boot ROMs would only be run.
        for device in ["e1000", "e1000e", "rtl8139", "virtio-net-pci", "vmxnet3", "igb"] {
            command.args(["-global", &format!("{device}.romfile=")]);
        }
        command.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(initramfs);
        command
    }

    fn append(self, topology: &Topology) -> String {
        let own = match self.arch() {
            // Interrupts by way of the old controller: QEMU's AMD IOMMU loses those of the I/O APIC, and on a busy machine the
            // timer is too late for the kernel to trust it there. Groups do not depend on it.
            Arch::Amd64 => "console=ttyS0 intel_iommu=on intremap=off noapic mitigations=off",
            Arch::Arm64 => "console=ttyAMA0",
        };
        // What groups do not depend on and takes an emulated processor long.
        let quick = "nokaslr cryptomgr.notests initcall_blacklist=jent_mod_init,load_system_certificate_list";
        format!("{own} quiet panic=-1 {quick} {}", topology.append()).trim_end().to_owned()
    }
}

/// The whole command line of a topology on a platform.
pub fn command(platform: Platform, topology: &Topology, guest: &Guest, initramfs: &Path) -> Command {
    let mut command = platform.command(guest, initramfs);
    command.args(["-append", &platform.append(topology)]).args(topology.arguments());
    command
}

/// As one would type it.
pub fn typed(command: &Command) -> String {
    let quoted = |word: &str| {
        if word.is_empty() || word.contains([' ', ';', '*']) { format!("'{word}'") } else { word.to_owned() }
    };
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| quoted(&word.to_string_lossy())));
    words.join(" ")
}

/// Boots it and reads its report. All that it printed goes to `log` as it comes.
pub fn boot(command: Command, log: &Path) -> Result<Report, String> {
    let mut file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut console = String::new();
    let end = each_line(command, LIMIT, |line| {
        if console.len() > MOST_BYTES {
            return Err(format!("it said more than {MOST_BYTES} bytes"));
        }
        let _ = writeln!(file, "{line}");
        console.push_str(line);
        console.push('\n');
        Ok(())
    });
    match (report::parse(&console), end) {
        (Ok(report), Ok(())) => Ok(report),
        (Ok(_), Err(why)) => Err(format!("{why}, after its report")),
        (Err(report), Err(why)) => Err(format!("{why}; {report}; it said last: {}", last_words(&console))),
        (Err(report), Ok(())) => Err(format!("{report}; it said last: {}", last_words(&console))),
    }
}

fn last_words(console: &str) -> String {
    let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

/// Writes how a machine is started again to a file beside its log.
pub fn keep(command: &Command, folder: &Path) -> Result<(), String> {
    let place = folder.join("command");
    fs::write(&place, typed(command) + "\n").map_err(|error| format!("{}: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_says_nothing_is_an_error_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("ioward-boot-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo; echo 'Kernel panic'"]);
        let why = boot(command, &log).expect_err("there is no report");
        assert_eq!(why, "the guest sent no report; it said last: one / Kernel panic");
        let _ = fs::remove_file(&log);
    }

    #[test]
    fn a_command_is_typed_so_that_a_shell_takes_it() {
        let mut command = Command::new("a");
        command.args(["b c", "d=1;2", "e"]);
        assert_eq!(typed(&command), "a 'b c' 'd=1;2' e");
    }
}
