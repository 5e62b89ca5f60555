//! Everything between a device and its IOMMU: ports, a switch, a bridge to conventional PCI, several root buses.

use crate::{kernels::Arch, qemu::machine::Machine};

/// DMA engines by the number that their function has in order:
///
/// | engine | where | alone? |
/// | --- | --- | --- |
/// | 0 | on the first bus | yes |
/// | 1 | behind a port with ACS | yes |
/// | 2, 3 | behind two functions of one device that are ports without ACS | they reach each other there: one group |
/// | 4, 5 | behind the two downstream ports of a switch, whose ACS the kernel turns on | yes, each |
/// | 6, 7 | behind a bridge to conventional PCI, in whose name they speak | one group |
/// | 8 | behind a port of another root bus | yes |
const DEVICES: &[&str] = &[
    "edu,dma_mask=0xffffffffffffffff,addr=2.0",
    "pcie-root-port,id=port1,addr=3.0,chassis=1",
    "edu,dma_mask=0xffffffffffffffff,bus=port1",
    "pcie-root-port,id=port2,addr=4.0,multifunction=on,disable-acs=on,chassis=2",
    "pcie-root-port,id=port3,addr=4.1,disable-acs=on,chassis=3",
    "edu,dma_mask=0xffffffffffffffff,bus=port2",
    "edu,dma_mask=0xffffffffffffffff,bus=port3",
    "pcie-root-port,id=port4,addr=5.0,chassis=4",
    "x3130-upstream,id=up,bus=port4",
    "xio3130-downstream,id=down1,bus=up,chassis=11",
    "xio3130-downstream,id=down2,bus=up,chassis=12",
    "edu,dma_mask=0xffffffffffffffff,bus=down1",
    "edu,dma_mask=0xffffffffffffffff,bus=down2",
    "pcie-root-port,id=port5,addr=6.0,chassis=5",
    "pcie-pci-bridge,id=bridge,bus=port5",
    "edu,dma_mask=0xffffffffffffffff,bus=bridge,addr=1.0",
    "edu,dma_mask=0xffffffffffffffff,bus=bridge,addr=2.0",
    "pxb-pcie,id=other,bus_nr=64,addr=7.0",
    "pcie-root-port,id=port6,bus=other,chassis=6",
    "edu,dma_mask=0xffffffffffffffff,bus=port6",
];

const WITH_FABRIC: Machine =
    Machine { devices: DEVICES, words: "run=fabric together=2+3,6+7", ..Machine::PLAIN };

/// The same without the bridge: QEMU's virtio-iommu refuses the endpoint in whose name one speaks.
const WITHOUT_BRIDGE: Machine = Machine {
    devices: &[
        "edu,dma_mask=0xffffffffffffffff,addr=2.0",
        "pcie-root-port,id=port1,addr=3.0,chassis=1",
        "edu,dma_mask=0xffffffffffffffff,bus=port1",
        "pcie-root-port,id=port2,addr=4.0,multifunction=on,disable-acs=on,chassis=2",
        "pcie-root-port,id=port3,addr=4.1,disable-acs=on,chassis=3",
        "edu,dma_mask=0xffffffffffffffff,bus=port2",
        "edu,dma_mask=0xffffffffffffffff,bus=port3",
        "pcie-root-port,id=port4,addr=5.0,chassis=4",
        "x3130-upstream,id=up,bus=port4",
        "xio3130-downstream,id=down1,bus=up,chassis=11",
        "xio3130-downstream,id=down2,bus=up,chassis=12",
        "edu,dma_mask=0xffffffffffffffff,bus=down1",
        "edu,dma_mask=0xffffffffffffffff,bus=down2",
        "pxb-pcie,id=other,bus_nr=64,addr=7.0",
        "pcie-root-port,id=port6,bus=other,chassis=6",
        "edu,dma_mask=0xffffffffffffffff,bus=port6",
    ],
    words: "run=fabric together=2+3",
    ..Machine::PLAIN
};

/// Where the IOMMU knows a device behind a bridge by bus zero, devices play on root buses only: one function alone, and two of
/// one device, which nothing tells apart. Ports, switch and bridge are there, and nothing is behind them.
const ON_ROOT_BUS: Machine = Machine {
    devices: &[
        "edu,dma_mask=0xffffffffffffffff,addr=2.0",
        "edu,dma_mask=0xffffffffffffffff,addr=3.0,multifunction=on",
        "edu,dma_mask=0xffffffffffffffff,addr=3.1",
        "edu,dma_mask=0xffffffffffffffff,addr=4.0",
        "pcie-root-port,id=port1,addr=5.0,chassis=1",
        "x3130-upstream,id=up,bus=port1",
        "xio3130-downstream,id=down1,bus=up,chassis=11",
        "pcie-root-port,id=port2,addr=6.0,chassis=2",
        "pcie-pci-bridge,id=bridge,bus=port2",
    ],
    words: "run=fabric together=1+2",
    ..Machine::PLAIN
};

/// The whole of it for each kind of IOMMU that knows devices behind bridges; as much as the others can.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "aarch64-smmuv3-fabric",
        arch: Arch::Aarch64,
        machine: "virt,iommu=smmuv3",
        ..WITH_FABRIC
    },
    Machine {
        name: "x86_64-vtd-fabric",
        arch: Arch::X86,
        machine: "q35,kernel-irqchip=split",
        args: &["-device", "intel-iommu"],
        ..WITH_FABRIC
    },
    Machine {
        name: "aarch64-virtio-iommu-fabric",
        arch: Arch::Aarch64,
        machine: "virt",
        args: &["-device", "virtio-iommu-pci"],
        ..WITHOUT_BRIDGE
    },
    Machine {
        name: "riscv64-fabric",
        arch: Arch::Riscv64,
        machine: "virt",
        args: &["-device", "riscv-iommu-pci"],
        ..ON_ROOT_BUS
    },
    Machine {
        name: "x86_64-amdvi-fabric",
        arch: Arch::X86,
        machine: "q35",
        args: &["-device", "amd-iommu,pt=off"],
        ..ON_ROOT_BUS
    },
];
