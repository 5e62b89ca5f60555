//! Tables of each kind with structures of every sort, for which no file is needed.

use crate::common::{
    build::{Fields, IortBuilder, IvrsBuilder, alias, entry, extended, named, special},
    tables::{every_rimt_node, every_structure, every_viot_node},
};

/// All of them.
pub fn all() -> Vec<Vec<u8>> {
    vec![every_structure(), ivrs(), iort(), every_rimt_node(), every_viot_node()]
}

/// Every block and every device entry.
pub fn ivrs() -> Vec<u8> {
    let mut table = IvrsBuilder::new();
    let entries: [&[u8]; 12] = [
        &entry(3, 0x0008),
        &entry(4, 0x00ff),
        &alias(0x43, 0x0100, 0x00a5),
        &entry(4, 0x01ff),
        &alias(0x42, 0x0200, 0x0100),
        &extended(0x46, 0x0300, 1 << 31),
        &extended(0x47, 0x0400, 0),
        &entry(0, 0),
        &entry(1, 0),
        &entry(2, 0x0011),
        &special(33, 0x00a0, 1),
        &special(0, 0x00a1, 2),
    ];
    table.hardware(0x10, 2, 0xfeb8_0000, 0x8004_8f6f, &entries);
    table.hardware(0x11, 2, 0xfeb8_0000, 0, &[&entry(3, 8)]);
    let acpi = [named(0x98, b"AMDI0020", 1, &[3]), named(0x99, b"AMDI0020", 2, b"UART")];
    table.hardware(0x40, 2, 0xfeb8_0000, 0, &[&acpi[0], &acpi[1], &[0x99, 1, 2, 3, 4, 5, 6, 7, 8]]);
    table.memory(0x20, 0x7, 0, 0, 0x1000, 0x1000);
    table.memory(0x21, 0x1f, 0x0100, 0, 0x8000_0000, 0x10_0000);
    table.memory(0x22, 0x8, 0x0100, 0x01ff, 0, 0);
    // A kind of block that nobody knows.
    table.0.extend(Fields::new().u8(0x51).u8(3).u16(12).u64(0x0102_0304_0506_0708).0);
    table.build()
}

/// An IORT without nodes.
pub fn builder() -> IortBuilder {
    IortBuilder::new()
}

/// Every node.
pub fn iort() -> Vec<u8> {
    let mut table = IortBuilder::new();
    let its = table.its(&[0, 1]);
    let smmu = table.smmu_v3(0x905_0000, 0x19, 0, 1, &[[0, 0xffff, 0, its, 0], [0, 0, 0x77, its, 1]]);
    table.smmu(3, &[[0, 0x7f, 0, its, 0]]);
    table.root(0, 3, &[[0, 0xfeff, 0, smmu, 0], [0xff00, 0xff, 0x1_0000, 4, 0]]);
    let component = table.named("\\_SB.DEV0", 0x21, &[[0, 0, 0x40, smmu, 1]]);
    table.rmr(3, &[(0x8000_0000, 0x1_0000), (0, 0)], &[[0, 0, 0x40, smmu, 1]]);
    let counters = Fields::new().u64(0x906_0000).u32(90).u32(smmu).u64(0x907_0000);
    table.node(5, 2, counters, &[[0, 0, 9, its, 1]]);
    table.node(7, 0, Fields::new().u64(0x908_0000).u16(4).bytes(b"\\_SB.IWB0\0"), &[]);
    table.node(99, 0, Fields::new().u32(component), &[]);
    table.build()
}
