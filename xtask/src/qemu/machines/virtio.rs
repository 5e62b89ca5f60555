//! A disk and a network card of virtio's behind each kind of IOMMU, driven by the crate `virtio-drivers`.

use crate::{
    kernels::Arch,
    qemu::machine::{Drive, Machine},
};

/// What every one of these machines has. The card is on QEMU's user network, whose gateway answers.
const WITH_BOTH: Machine = Machine {
    devices: &[
        "virtio-blk-pci,drive=disk,iommu_platform=on,disable-legacy=on",
        "virtio-net-pci,netdev=net,iommu_platform=on,disable-legacy=on,romfile=",
    ],
    netdevs: &["user,id=net"],
    drives: &[Drive { id: "disk", mib: 8 }],
    images: 1,
    words: "run=virtio",
    ..Machine::PLAIN
};

/// One of each kind of IOMMU: the other modes differ in tables, which other machines show.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "aarch64-smmuv3-virtio-drivers",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        ..WITH_BOTH
    },
    Machine {
        name: "x86_64-amdvi-virtio-drivers",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        ..WITH_BOTH
    },
    Machine {
        name: "x86_64-vtd-virtio-drivers",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        ..WITH_BOTH
    },
    Machine {
        name: "riscv64-pci-virtio-drivers",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        ..WITH_BOTH
    },
    Machine {
        name: "aarch64-virtio-iommu-virtio-drivers",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        ..WITH_BOTH
    },
];
