//! The committed fuzz corpus keeps the promises of the fuzz targets on a stable compiler too.
//!
//! With `IOWARD_WRITE_CORPUS` set, writes the seeds made by the builders of these tests first.

mod common;
#[path = "../../../fuzz/promises.rs"]
mod promises;

use common::{
    build::{Fields, IortBuilder, IvrsBuilder, TreeBuilder, alias, entry, extended, named, special},
    tables::{self, DmarBuilder, RimtBuilder, ViotBuilder},
};
use ioward_types::describe::Table;
use std::{fs, path::Path};

/// The committed corpus of a target. The fuzz crate is not part of the package, so there may be none.
fn replay(target: &str, table: Table, seeds: &[(&str, Vec<u8>)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    if std::env::var_os("IOWARD_WRITE_CORPUS").is_some() {
        fs::create_dir_all(&folder).expect("the checkout can be written");
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).expect("the checkout can be written");
        }
    }
    for (_, bytes) in seeds {
        promises::hold(table, bytes);
        // Every shorter table, and every table with one byte gone wrong.
        for cut in 0..bytes.len() {
            promises::hold(table, &bytes[..cut]);
            let mut broken = bytes.clone();
            for value in [0, 1, 0x7f, 0xff] {
                broken[cut] = value;
                promises::hold(table, &broken);
            }
        }
    }
    if !folder.is_dir() {
        return println!("SKIPPED: no {}", folder.display());
    }
    let mut count = 0;
    for file in fs::read_dir(&folder).expect("it is a folder") {
        let bytes = fs::read(file.expect("its entries can be read").path()).expect("as above");
        promises::hold(table, &bytes);
        count += 1;
    }
    assert!(count > 0, "an empty corpus proves nothing");
}

#[test]
fn iort() {
    let mut table = IortBuilder::new();
    let its = table.its(&[0, 1]);
    let smmu = table.smmu_v3(0x905_0000, 1, 1, 1, &[[0, 0xffff, 0, its, 0], [0, 0, 0x77, its, 1]]);
    let old = table.smmu(3, &[]);
    table.root(0, 4, &[[0, 0x1ff, 0, smmu, 0], [0x200, 0xfdff, 0x200, its, 0]]);
    table.named("\\_SB.GPU0", 3, &[[0, 0, 7, old, 1], [0, 3, 8, smmu, 0]]);
    table.rmr(1, &[(0x8000_0000, 0x1_0000)], &[[0, 0, 7, smmu, 1]]);
    table.node(5, 2, Fields::new().u64(1).u32(2).u32(smmu).u64(4), &[]);
    table.node(7, 1, Fields::new().u64(1).u16(2).bytes(b"\\_SB.IWB0\0"), &[]);
    let mut small = IortBuilder::new();
    small.node(0x42, 0, Fields::new(), &[]);
    replay("iort", Table::Iort, &[("every-node", table.build()), ("unknown-node", small.build())]);
}

#[test]
fn ivrs() {
    let entries: [&[u8]; 11] = [
        &entry(1, 0),
        &entry(3, 0x08),
        &entry(4, 0xfe),
        &alias(0x42, 0x30, 0xa0),
        &alias(0x43, 0x100, 0xa5),
        &entry(4, 0x1ff),
        &extended(0x46, 0x40, 1 << 31),
        &extended(0x47, 0x48, 0),
        &entry(4, 0x4f),
        &special(0x21, 0xa0, 1),
        &special(0, 0xa1, 2),
    ];
    let mut table = IvrsBuilder::new();
    table.hardware(0x10, 2, 0xfd20_0000, 0, &entries[1..3]);
    table.hardware(0x11, 2, 0xfd20_0000, 0, &entries);
    let names = [named(0x60, b"MSFT0201", 1, &[1, 0]), named(0xa5, b"AMDI0020", 2, b"\\_SB.FUR0")];
    table.hardware(0x40, 2, 0xfd20_0000, 0, &[&entries.concat(), &names.concat()]);
    table.memory(0x20, 7, 0, 0, 0x1000, 0x1000);
    table.memory(0x21, 8, 0x100, 0, 0x2000, 0x1000);
    table.memory(0x22, 0, 0x100, 0x1ff, 0x3000, 0x1000);
    table.0.extend([0x51, 0, 8, 0, 1, 2, 3, 4]);
    replay("ivrs", Table::Ivrs, &[("every-entry", table.build()), ("empty", IvrsBuilder::new().build())]);
}

#[test]
fn devicetree() {
    let mut tree = TreeBuilder::new();
    tree.cells("interrupt-parent", &[1]);
    tree.begin("gic").cells("phandle", &[1]).cells("#interrupt-cells", &[3]).end();
    tree.begin("soc")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 0, 0x900_0000, 0x100_0000]);
    tree.begin("smmu@50000")
        .text("compatible", "arm,smmu-v3")
        .cells("reg", &[0x5_0000, 0x2_0000])
        .cells("#iommu-cells", &[1])
        .cells("phandle", &[2])
        .text("interrupt-names", "eventq")
        .cells("interrupts", &[0, 74, 1])
        .end();
    tree.begin("iommu@90000")
        .text("compatible", "riscv,iommu")
        .cells("reg", &[0x9_0000, 0x1000])
        .cells("#iommu-cells", &[1])
        .flag("dma-noncoherent")
        .end();
    tree.begin("virtio@a0000").text("compatible", "virtio,mmio").cells("#iommu-cells", &[1]).end();
    tree.begin("its@80000")
        .text("compatible", "arm,gic-v3-its")
        .cells("reg", &[0x8_0000, 0x2_0000])
        .cells("#msi-cells", &[1])
        .cells("phandle", &[3])
        .end();
    tree.begin("usb@0").cells("phandle", &[4]).cells("iommus", &[2, 7]).cells("msi-parent", &[3, 1]).end();
    tree.end();
    tree.begin("pcie@0")
        .text("device_type", "pci")
        .text("compatible", "pci-host-ecam-generic")
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2])
        .cells("reg", &[0, 0x1000_0000, 0, 0x1000_0000])
        .cells("ranges", &[0x200_0000, 0, 0x3000_0000, 0, 0x3000_0000, 0, 0x1000_0000])
        .cells("bus-range", &[0, 1])
        .cells("iommu-map", &[0, 2, 0, 0x28, 0x30, 2, 0x30, 0])
        .cells("iommu-map-mask", &[0xfff8])
        .cells("msi-map", &[0, 3, 0, 0x100]);
    tree.begin("iommu@5,0")
        .text("compatible", "virtio,pci-iommu\0pci1af4,1057")
        .cells("reg", &[0x2800, 0, 0, 0, 0])
        .cells("#iommu-cells", &[1])
        .end();
    tree.end();
    tree.begin("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[2]).flag("ranges");
    tree.begin("splash")
        .cells("reg", &[0, 0x8000_0000, 0, 0x1000])
        .cells("iommu-addresses", &[4, 0x8000_0000, 0x1000]);
    tree.end().end();
    let small = TreeBuilder::new().token(4).begin("a").text("status", "disabled").end().build();
    replay("devicetree", Table::DeviceTree, &[("every-binding", tree.build()), ("small", small)]);
}

#[test]
fn dmar() {
    let seeds = [("every-structure", tables::every_structure()), ("empty", DmarBuilder::new(0).build())];
    replay("dmar", Table::Dmar, &seeds);
}

#[test]
fn rimt() {
    let seeds = [("every-node", tables::every_rimt_node()), ("empty", RimtBuilder::new().build())];
    replay("rimt", Table::Rimt, &seeds);
}

#[test]
fn viot() {
    let seeds = [("every-node", tables::every_viot_node()), ("empty", ViotBuilder::new().build())];
    replay("viot", Table::Viot, &seeds);
}
