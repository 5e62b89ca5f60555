//! Machines whose firmware says what is not so: the kernel breaks its tables before it reads them. Each ends in words that
//! name the cause, with every device that nobody serves turned off.

use super::EDU_ON_FIRST_BUS;
use crate::{
    kernels::Arch,
    qemu::machine::{Expect, Machine},
};

/// The IOMMU is in the way whatever its table says, and blocks who is not its: trusted or not, a device reaches nothing.
const BEHIND: Expect = Expect::Checks { control: false };

/// What the kernel is told there.
const QUEUE_BASE: &str = "break=queue-base";

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "aarch64-broken-no-iommu-map",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=no-iommu-map",
        says: &[
            "off 0000:00:02.0 stays off, since nothing can block it: firmware says that no IOMMU is in the way",
        ],
        expect: BEHIND,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-broken-iommu-map-to-nothing",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=iommu-map-to-nothing",
        says: &["iommu-map: refers to 0xabcdef, where nothing fitting is"],
        expect: BEHIND,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-dmar-scope-of-nothing",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=scope-of-nothing",
        says: &[
            "0000:00/1e.7, which is not on the bus",
            "nothing can block it: no table names an IOMMU for it",
        ],
        expect: BEHIND,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-ivrs-scope-of-nothing",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=scope-of-nothing",
        says: &[
            "0000:00:1e.7, which is not on the bus",
            "nothing can block it: no table names an IOMMU for it",
        ],
        expect: BEHIND,
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-dmar-cut",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=cut",
        // Who trusts unserved devices does not trust those that may have been named: there is no control.
        says: &["report", "is refused: it may be named where nothing could be read: DMAR offset"],
        expect: Expect::Checks { control: false },
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-registers-of-nothing",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: EDU_ON_FIRST_BUS,
        words: "run=broken break=registers-of-nothing",
        expect: Expect::Refusal("VT-d@feb00000"),
        ..Machine::PLAIN
    },
    // The command queue is where there is no memory: the IOMMU says so, or does not answer.
    Machine {
        name: "aarch64-broken-smmuv3-queue-base",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        words: QUEUE_BASE,
        expect: Expect::Refusal("every device is off"),
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-broken-queue-base",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        words: QUEUE_BASE,
        expect: Expect::Refusal("every device is off"),
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-vtd-queue-base",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        words: QUEUE_BASE,
        expect: Expect::Refusal("every device is off"),
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-broken-amdvi-queue-base",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        words: QUEUE_BASE,
        expect: Expect::Refusal("every device is off"),
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-broken-virtio-iommu-queue-base",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        devices: EDU_ON_FIRST_BUS,
        words: QUEUE_BASE,
        // It says so at the first request, which is that of a device.
        expect: Expect::Refusal("DEVICE_NEEDS_RESET"),
        ..Machine::PLAIN
    },
];
