//! Interrupts that the IOMMU looks up in a table of its own, which those of x86 do. QEMU remaps what a device sends to where
//! messages go, and compares its requester ID.

use super::EDU_ON_FIRST_BUS;
use crate::{kernels::Arch, qemu::machine::Machine};

/// One for each.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "x86_64-vtd-interrupts",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,intremap=on"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=interrupts",
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-amdvi-interrupts",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "amd-iommu,pt=off,intremap=on"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=interrupts",
        ..Machine::PLAIN
    },
];
