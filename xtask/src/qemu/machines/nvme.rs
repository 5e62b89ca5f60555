//! Controllers of NVM Express behind each kind of IOMMU: real data, in many requests at once, from one CPU and from two.

use crate::{
    kernels::Arch,
    qemu::machine::{Drive, Expect, Machine},
};

/// What all of them have. The host's disk is slow in a machine whose time is counted in instructions: 8 ns each leave a
/// command the seconds that it may take.
const WITH_NVME: Machine = Machine {
    instruction: Some(3),
    drives: &[Drive { id: "disk0", mib: 320 }],
    devices: &["nvme,drive=disk0,serial=ioward"],
    // One for each queue.
    images: 2,
    words: "run=nvme",
    ..Machine::PLAIN
};

/// One for each kind of IOMMU.
pub const MACHINES: &[Machine] = &[
    Machine { name: "aarch64-smmuv3-nvme", arch: Arch::Aarch64, machine: "virt,iommu=smmuv3", ..WITH_NVME },
    Machine {
        name: "x86_64-amdvi-nvme",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        ..WITH_NVME
    },
    Machine {
        name: "x86_64-vtd-nvme",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        ..WITH_NVME
    },
    Machine {
        name: "riscv64-pci-nvme",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        ..WITH_NVME
    },
    Machine {
        name: "x86_64-virtio-iommu-nvme",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "virtio-iommu-pci"],
        ..WITH_NVME
    },
    // Two CPUs that truly run at once, which counted time does not allow. Nothing rogue is tried: there is no control.
    Machine {
        name: "aarch64-smmuv3-two-cpus",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        cpus: 2,
        instruction: None,
        drives: &[Drive { id: "disk0", mib: 16 }, Drive { id: "disk1", mib: 16 }],
        devices: &["nvme,drive=disk0,serial=ioward0", "nvme,drive=disk1,serial=ioward1"],
        words: "run=cpus",
        expect: Expect::Checks { control: false },
        ..Machine::PLAIN
    },
];
