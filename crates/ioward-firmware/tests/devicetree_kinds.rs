//! RISC-V IOMMUs and virtio-iommus in device trees made here.

mod common;

use common::build::TreeBuilder;
use ioward_firmware::devicetree;
use ioward_types::{
    PhysAddr, Span,
    describe::{Cause, Fact, InterruptRole, Iommu, IommuKind, PciFunction, Problem, RiscV},
};

/// The IOMMUs, and what is wrong.
fn read(bytes: &[u8]) -> (Vec<Iommu<'_>>, Vec<Cause>) {
    let (mut iommus, mut causes) = (Vec::new(), Vec::new());
    devicetree::facts(bytes, &mut |fact| match fact {
        Fact::Iommu(iommu) => iommus.push(iommu),
        Fact::Problem(Problem { cause, .. }) => causes.push(cause),
        _ => {}
    });
    (iommus, causes)
}

#[test]
fn a_riscv_iommu_on_its_own() {
    let mut tree = TreeBuilder::new();
    tree.begin("plic").cells("phandle", &[1]).cells("#interrupt-cells", &[2]).end();
    for (name, flag) in
        [("iommu@1000", "dma-noncoherent"), ("iommu@2000", "dma-coherent"), ("iommu@3000", "x")]
    {
        tree.begin(name)
            .text("compatible", "qemu,riscv-iommu\0riscv,iommu")
            .cells("reg", &[0, 0x1000, 0, 0x1000])
            .cells("interrupt-parent", &[1])
            .cells("interrupts", &[36, 1, 37, 1, 38, 1])
            .flag(flag)
            .end();
    }
    let blob = tree.build();
    let (iommus, causes) = read(&blob);
    assert_eq!(causes, []);
    for (iommu, coherent) in iommus.iter().zip([Some(false), Some(true), None]) {
        let facts = RiscV { coherent, wires: 3, ..RiscV::default() };
        assert_eq!(iommu.kind, IommuKind::RiscV(facts));
        assert_eq!(iommu.registers, Span::new(PhysAddr(0x1000), 0x1000));
        assert_eq!(iommu.interrupts[2].map(|interrupt| interrupt.role), Some(InterruptRole::Nth(2)));
        assert_eq!((iommu.interrupts[3], iommu.function), (None, None));
    }
    assert_eq!(iommus.len(), 3);
}

#[test]
fn iommus_that_are_pci_functions() {
    let mut tree = TreeBuilder::new();
    tree.begin("pcie@0")
        .text("device_type", "pci")
        .cells("linux,pci-domain", &[3])
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2]);
    let names = [
        "pci1efd,edf1\0riscv,pci-iommu",
        "pci1b36,14",
        "riscv,pci-iommu",
        "virtio,pci-iommu",
        "pci1af4,1057",
    ];
    for (index, name) in (0..).zip(names) {
        tree.begin("iommu").text("compatible", name).cells("reg", &[index << 11, 0, 0, 0, 0]).end();
    }
    tree.end();
    let blob = tree.build();
    let (iommus, causes) = read(&blob);
    assert_eq!(causes, [], "they need no registers of the node's");
    let kinds: Vec<_> = iommus.iter().map(|iommu| iommu.kind.to_string()).collect();
    assert_eq!(kinds, ["RISC-V IOMMU", "RISC-V IOMMU", "RISC-V IOMMU", "virtio-iommu", "virtio-iommu"]);
    for (device, iommu) in (0..).zip(&iommus) {
        let function = PciFunction { segment: 3, requester: device << 3 };
        assert_eq!((iommu.function, iommu.registers), (Some(function), None));
    }
}

#[test]
fn a_virtio_device_is_an_iommu_by_its_property() {
    let mut tree = TreeBuilder::new();
    let mut device = |name: &str, cells: bool, reg: bool| {
        tree.begin(name).text("compatible", "virtio,mmio");
        if cells {
            tree.cells("#iommu-cells", &[1]);
        }
        if reg {
            tree.cells("reg", &[0, 0xa00_0000, 0, 0x200]);
        }
        tree.end();
    };
    device("disk", false, true);
    device("iommu", true, true);
    device("lost", true, false);
    let blob = tree.build();
    let (iommus, causes) = read(&blob);
    let found: Vec<_> = iommus.iter().map(|iommu| (iommu.name, iommu.registers)).collect();
    assert_eq!(found, [("iommu", Span::new(PhysAddr(0xa00_0000), 0x200)), ("lost", None)]);
    assert!(iommus.iter().all(|iommu| iommu.kind == IommuKind::Virtio));
    assert_eq!(causes, [Cause::Missing { what: "a register block that can be addressed" }]);
}
