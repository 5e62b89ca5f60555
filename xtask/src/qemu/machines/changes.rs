//! Machines that change while they run: virtual functions that come and go, address spaces put in place of each other under
//! running DMA, devices that are pulled, IOMMUs that somebody has left on.

use super::{EDU_ON_BOTH_BUSES, EDU_ON_FIRST_BUS};
use crate::{
    kernels::Arch,
    qemu::machine::{Expect, Machine},
};

/// A card with virtual functions behind a port.
const CARD_BEHIND_PORT: &[&str] = &["pcie-root-port,id=port1", "igb,bus=port1"];
/// One on the first bus, for an IOMMU that knows a device behind a bridge by bus zero.
const CARD_ON_FIRST_BUS: &[&str] = &["igb"];
/// One DMA engine on the first bus, one in a slot.
const EDU_IN_SLOT: &[&str] = &[
    "edu,dma_mask=0xffffffffffffffff",
    "pcie-root-port,id=port1",
    "edu,dma_mask=0xffffffffffffffff,bus=port1,id=victim",
];
/// The kernel says so when it is ready.
const PULLS: &[&str] = &["device_del victim"];
/// A run with translation bypassed would show nothing: it is about what the subsystem does of itself.
const NO_CONTROL: Expect = Expect::Checks { control: false };
const CHANGES: &str = "run=domains run=left-on";
/// An instruction takes 32 ns: a transfer, which takes 100 ms of the machine's time, must outlast an IOMMU's bring-up.
const LASTING: Option<u32> = Some(5);

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "aarch64-smmuv3-virtual-functions",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: CARD_BEHIND_PORT,
        words: "run=sriov",
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-virtual-functions",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        devices: CARD_BEHIND_PORT,
        words: "run=sriov",
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-virtual-functions",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        devices: CARD_ON_FIRST_BUS,
        words: "run=sriov",
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-smmuv3-changes",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: EDU_ON_BOTH_BUSES,
        words: CHANGES,
        instruction: LASTING,
        says: &["already translating: CR0 is"],
        ..Machine::PLAIN
    },
    Machine {
        name: "riscv64-changes",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        devices: EDU_ON_FIRST_BUS,
        words: CHANGES,
        instruction: LASTING,
        says: &["already translating: ddtp is"],
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-amdvi-changes",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        devices: EDU_ON_FIRST_BUS,
        words: CHANGES,
        instruction: LASTING,
        says: &["already translating: the control register is"],
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-vtd-changes",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu,x-scalable-mode=on,x-flts=on"],
        devices: EDU_ON_BOTH_BUSES,
        words: CHANGES,
        instruction: LASTING,
        says: &["already translating: GSTS is"],
        ..Machine::PLAIN
    },
    Machine {
        name: "x86_64-virtio-iommu-changes",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "virtio-iommu-pci"],
        devices: EDU_ON_BOTH_BUSES,
        words: CHANGES,
        instruction: LASTING,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-smmuv3-unplug",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        devices: EDU_IN_SLOT,
        words: "run=unplug",
        monitor: PULLS,
        expect: NO_CONTROL,
        ..Machine::PLAIN
    },
    Machine {
        name: "aarch64-virtio-iommu-unplug",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        devices: EDU_IN_SLOT,
        words: "run=unplug",
        monitor: PULLS,
        expect: NO_CONTROL,
        ..Machine::PLAIN
    },
    // Slots are the ports' own affair here, and not ACPI's.
    Machine {
        name: "x86_64-vtd-unplug",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
        devices: EDU_IN_SLOT,
        words: "run=unplug",
        monitor: PULLS,
        expect: NO_CONTROL,
        ..Machine::PLAIN
    },
];
