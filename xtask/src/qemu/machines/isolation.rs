//! Two DMA engines behind every kind of IOMMU, each in every mode that QEMU has; and behind none.

use super::{EDU_ON_BOTH_BUSES, EDU_ON_FIRST_BUS};
use crate::{
    kernels::Arch,
    qemu::machine::{Expect, Machine},
};

/// What the kernels do when no word tells them otherwise.
pub const MACHINES: &[Machine] = &[
    // From version 9.2 on the machine asks for both stages itself, whatever is set for the device.
    Machine {
        name: "aarch64-smmuv3-stage1",
        arch: Arch::Aarch64,
        machine: "virt-9.1,iommu=smmuv3",
        args: &["-global", "arm-smmuv3.stage=1"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-smmuv3-stage2",
        arch: Arch::Aarch64,
        machine: "virt-9.1,iommu=smmuv3",
        args: &["-global", "arm-smmuv3.stage=2"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-smmuv3-nested",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    // Without `pt=off` QEMU's AMD IOMMU lets every emulated device pass, and it knows only devices of the first bus by their
    // number: it remembers the bus number that a bridge had before anybody assigned one.
    Machine {
        name: "x86_64-amdvi",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-amdvi-all-features",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off,intremap=on,xtsup=on,device-iotlb=on"],
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-legacy",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-legacy-39-bits",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,aw-bits=39"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-caching-mode",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,caching-mode=on"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-all-features",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,intremap=on,device-iotlb=on,snoop-control=on"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-scalable-second",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-scalable-first",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on,x-flts=on"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-scalable-first-caching",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on,x-flts=on,caching-mode=on"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    // QEMU's RISC-V IOMMU too remembers the bus number that a bridge had before anybody assigned one.
    Machine {
        name: "riscv64-pci",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-pci-first-stage",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci,g-stage=off"],
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-pci-second-stage",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci,s-stage=off,intremap=off,ats=off"],
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-platform",
        arch: Arch::Riscv64,
        machine: "virt,iommu-sys=on,aia=aplic-imsic",
        devices: EDU_ON_FIRST_BUS,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-virtio-iommu",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-virtio-iommu",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "virtio-iommu-pci"],
        devices: EDU_ON_BOTH_BUSES,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-no-iommu",
        arch: Arch::Aarch64,
        machine: "virt,iommu=none",
        devices: EDU_ON_FIRST_BUS,
        expect: Expect::Refusal(
            "stays off, since nothing can block it: firmware says that no IOMMU is in the way",
        ),
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-no-iommu",
        arch: Arch::Riscv64,
        machine: "virt",
        devices: EDU_ON_FIRST_BUS,
        expect: Expect::Refusal(
            "stays off, since nothing can block it: firmware says that no IOMMU is in the way",
        ),
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-no-iommu",
        arch: Arch::X86,
        machine: "q35",
        devices: EDU_ON_FIRST_BUS,
        expect: Expect::Refusal("stays off, since nothing can block it: no table names an IOMMU for it"),
        ..Machine::PLAIN
    },
];
