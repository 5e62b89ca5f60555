//! Small whole tables, put together with the builder of the parsers' own tests.
#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../../../ioward-firmware/tests/common/build.rs"]
mod build;

use build::{IortBuilder, IvrsBuilder};

/// Node type of an SMMUv1 or SMMUv2 (IORT).
pub const SMMU_V2: u8 = 3;
/// Node type of an SMMUv3 (IORT).
pub const SMMU_V3: u8 = 4;

/// One AMD-Vi with a function, a range, an interrupt controller, and a unity range for 01:00.0.
pub fn ivrs() -> Vec<u8> {
    let mut table = IvrsBuilder::new();
    let entries = [
        build::entry(2, 0x00a0),
        build::entry(3, 0x0100),
        build::entry(4, 0x02ff),
        build::special(0x20, 0xa0, 1),
    ];
    let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    // HATS 2, PASmax 15, GLXSup 1, GATS 0, GTSup, IASup.
    table.hardware(0x10, 2, 0xfeb8_0000, 2 << 30 | 15 << 8 | 1 << 5 | 1 << 3 | 1 << 2, &entries);
    // Readable, writable, unity.
    table.memory(0x21, 0b111, 0x0100, 0, 0x7f00_0000, 0x2000);
    table.build()
}

/// A root complex behind one SMMU of this type.
pub fn iort(kind: u8) -> Vec<u8> {
    let mut table = IortBuilder::new();
    let smmu = match kind {
        SMMU_V3 => table.smmu_v3(0x0905_0000, 1, 0, 0, &[]),
        _ => table.smmu(1, &[]),
    };
    table.root(0, 3, &[[0, 0xffff, 0, smmu, 0]]);
    table.build()
}

/// A root complex of which two SMMUv3 claim every requester ID.
pub fn iort_claimed_twice() -> Vec<u8> {
    let mut table = IortBuilder::new();
    let one = table.smmu_v3(0x0905_0000, 1, 0, 0, &[]);
    let other = table.smmu_v3(0x0909_0000, 1, 0, 1, &[]);
    table.root(0, 3, &[[0, 0xffff, 0, one, 0], [0, 0xffff, 0, other, 0]]);
    table.build()
}
