//! The description of a machine, and QEMU's command line of it.

use super::image::Image;
use crate::kernels::Arch;
use std::path::Path;
use std::process::Command;

/// What a run must show.
#[derive(Clone, Copy)]
pub enum Expect {
    /// That all checks pass.
    Checks {
        /// Whether the machine is run once more with translation bypassed (the word `bypass`), where every `rogue-…` must
        /// fail.
        control: bool,
    },
    /// Instead of checks: what the kernel says when it refuses to use such a machine.
    Refusal(&'static str),
}

/// A drive, whose image is a file of zeros that is made for each run and deleted after.
#[derive(Clone, Copy)]
pub struct Drive {
    /// What devices call it: `drive=ID`.
    pub id: &'static str,
    /// How large it is, in MiB.
    pub mib: u64,
}

/// One way to start QEMU.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Begins with the architecture's name.
    pub name: &'static str,
    /// The kernel that is started.
    pub arch: Arch,
    /// QEMU's `-machine`.
    pub machine: &'static str,
    /// CPUs.
    pub cpus: u32,
    /// Nanoseconds of the machine's time that an instruction takes, as a power of two: time is counted in instructions, so
    /// that a run is the same on a loaded host, and what waits for a device's timer waits for few instructions. None: the
    /// host's time, and CPUs that run at once.
    pub instruction: Option<u32>,
    /// More arguments.
    pub args: &'static [&'static str],
    /// A `-device` each.
    pub devices: &'static [&'static str],
    /// A `-netdev` each.
    pub netdevs: &'static [&'static str],
    /// A `-drive` each.
    pub drives: &'static [Drive],
    /// How often a run says what it has written to a drive (`image …`), which is held against the drive's file. One that says
    /// less often has shown less than it seems.
    pub images: usize,
    /// The kernel's command line: `run=WHAT` for each thing that it does instead of the checks with edu.
    pub words: &'static str,
    /// What the kernel may have said to QEMU's monitor, word for word.
    pub monitor: &'static [&'static str],
    /// What the kernel must say beside its checks: each is part of some line.
    pub says: &'static [&'static str],
    /// What a run must show.
    pub expect: Expect,
}

impl Machine {
    /// Nothing but what every machine has. What describes a machine says name, architecture and `-machine`.
    pub const PLAIN: Self = Self {
        name: "",
        arch: Arch::X86,
        machine: "",
        cpus: 1,
        instruction: Some(8),
        args: &[],
        devices: &[],
        netdevs: &[],
        drives: &[],
        images: 0,
        words: "",
        monitor: &[],
        says: &[],
        expect: Expect::Checks { control: true },
    };

    /// The kind of IOMMU that it has, for people.
    pub fn iommu(&self) -> &'static str {
        let kinds = [
            ("smmuv3", "Arm SMMUv3"),
            ("intel-iommu", "Intel VT-d"),
            ("amd-iommu", "AMD-Vi"),
            ("riscv-iommu", "RISC-V IOMMU"),
            ("iommu-sys=on", "RISC-V IOMMU"),
            ("virtio-iommu", "virtio-iommu"),
        ];
        let has = |name: &str| self.machine.contains(name) || self.args.iter().any(|arg| arg.contains(name));
        kinds.iter().find(|(name, _)| has(name)).map_or("none", |(_, kind)| kind)
    }

    /// QEMU's command line for one run. `images` are those of [`drives`](Self::drives); `monitor` is a socket.
    pub fn command(&self, kernel: &Path, bypass: bool, images: &[Image], monitor: Option<&Path>) -> Command {
        let mut command = Command::new(format!("qemu-system-{}", self.arch.name()));
        command.args(["-m", "512", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"]);
        match monitor {
            Some(socket) => {
                command.args(["-monitor", &format!("unix:{},server=on,wait=off", socket.display())])
            }
            None => command.args(["-monitor", "none"]),
        };
        command.args(["-accel", "tcg", "-smp", &self.cpus.to_string()]);
        if let Some(shift) = self.instruction {
            command.args(["-icount", &format!("shift={shift}")]);
        }
        match self.arch {
            Arch::Aarch64 => {
                command.args(["-machine", &format!("{},gic-version=3", self.machine)]);
                command.args(["-cpu", "cortex-a57"]);
            }
            Arch::Riscv64 => {
                command.args(["-machine", self.machine]);
            }
            Arch::X86 => {
                command.args(["-machine", self.machine, "-cpu", "max", "-vga", "none"]);
                command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);
            }
        }
        let words = [self.words, if bypass { "bypass" } else { "" }];
        let append = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        command.arg("-kernel").arg(kernel).args(["-append", &append]).args(self.args);
        for image in images {
            let drive = format!("if=none,id={},format=raw,file={}", image.id, image.path.display());
            command.args(["-drive", &drive]);
        }
        command.args(self.netdevs.iter().flat_map(|netdev| ["-netdev", netdev]));
        command.args(self.devices.iter().flat_map(|device| ["-device", device]));
        command
    }
}
