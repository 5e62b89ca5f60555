//! Every format, granule and width that the suite runs over.
#![allow(dead_code)]

use ioward_types::{Format, TableConfig};

pub const K4: u64 = 1 << 12;
pub const K16: u64 = 1 << 14;
pub const K64: u64 = 1 << 16;
pub const M2: u64 = 1 << 21;
pub const M32: u64 = 1 << 25;
pub const M512: u64 = 1 << 29;
pub const G1: u64 = 1 << 30;
pub const G16: u64 = 1 << 34;
pub const G512: u64 = 1 << 39;
pub const T256: u64 = 1 << 48;

fn config(format: Format, in_bits: u8, out_bits: u8, page_sizes: u64) -> TableConfig {
    TableConfig { format, in_bits, out_bits, page_sizes, coherent: true, dirty: false, snoop: false }
}

/// Arm, 4 KiB granule: blocks and the contiguous sets of each level.
fn arm_4k(format: Format, widths: &[u8]) -> Vec<TableConfig> {
    let mut all: Vec<_> = widths.iter().map(|&bits| config(format, bits, 48, K4 | M2 | G1)).collect();
    all.extend(widths.iter().map(|&bits| config(format, bits, 44, K4 | K64 | M2 | M32 | G1 | G16)));
    all.push(config(format, 33, 40, K4));
    all
}

fn arm_16k(format: Format, widths: &[u8]) -> Vec<TableConfig> {
    let mut all: Vec<_> = widths.iter().map(|&bits| config(format, bits, 48, K16 | M32)).collect();
    all.extend(widths.iter().map(|&bits| config(format, bits, 40, K16 | M2 | M32 | G1)));
    all
}

fn arm_64k(format: Format, widths: &[u8]) -> Vec<TableConfig> {
    let mut all: Vec<_> = widths.iter().map(|&bits| config(format, bits, 52, K64 | M512)).collect();
    all.extend(widths.iter().map(|&bits| config(format, bits, 48, K64 | M2 | M512 | G16)));
    all
}

pub fn arm_s1_4k() -> Vec<TableConfig> {
    arm_4k(Format::ArmStage1, &[25, 30, 32, 39, 40, 48])
}
pub fn arm_s1_16k() -> Vec<TableConfig> {
    arm_16k(Format::ArmStage1, &[36, 47, 48])
}
pub fn arm_s1_64k() -> Vec<TableConfig> {
    arm_64k(Format::ArmStage1, &[42, 48, 52])
}
/// Widths that concatenate 4, 16, 2 and no tables, on two to four levels.
pub fn arm_s2_4k() -> Vec<TableConfig> {
    arm_4k(Format::ArmStage2, &[32, 34, 40, 44, 48])
}
pub fn arm_s2_16k() -> Vec<TableConfig> {
    arm_16k(Format::ArmStage2, &[32, 40, 47, 48])
}
pub fn arm_s2_64k() -> Vec<TableConfig> {
    arm_64k(Format::ArmStage2, &[33, 46, 52])
}
/// One to six levels; every power of two is a page size.
pub fn amd_v1() -> Vec<TableConfig> {
    let mut all: Vec<_> =
        [21, 30, 39, 48, 57].iter().map(|&bits| config(Format::AmdV1, bits, 48, K4 | M2 | G1)).collect();
    all.extend([32, 64].map(|bits| config(Format::AmdV1, bits, 52, (1 << 40) - K4)));
    all
}
/// The full width of four and five levels, and the lower half alone.
pub fn amd_v2() -> Vec<TableConfig> {
    [47, 48, 56, 57].iter().map(|&bits| config(Format::AmdV2, bits, 52, K4 | M2 | G1)).collect()
}
/// With and without snoop control; a guest address width between two.
pub fn vtd_second() -> Vec<TableConfig> {
    let mut all: Vec<_> =
        [39, 46, 48, 57].iter().map(|&bits| config(Format::VtdSecond, bits, 46, K4 | M2 | G1)).collect();
    all.extend(
        [39, 57].map(|bits| TableConfig { snoop: true, ..config(Format::VtdSecond, bits, 52, K4 | M2) }),
    );
    all
}
pub fn vtd_first() -> Vec<TableConfig> {
    [47, 48, 57].iter().map(|&bits| config(Format::VtdFirst, bits, 46, K4 | M2 | G1)).collect()
}
fn riscv(format: Format, widths: &[u8]) -> Vec<TableConfig> {
    let with = |bits, sizes, svpbmt| TableConfig { snoop: svpbmt, ..config(format, bits, 56, sizes) };
    let mut all: Vec<_> = widths.iter().map(|&bits| with(bits, K4 | M2 | G1, false)).collect();
    all.extend(widths.iter().map(|&bits| with(bits, K4 | K64 | M2 | G1 | G512 | T256, true)));
    all
}
pub fn riscv_first() -> Vec<TableConfig> {
    riscv(Format::RiscvFirst, &[36, 39, 48, 57])
}
pub fn riscv_second() -> Vec<TableConfig> {
    riscv(Format::RiscvSecond, &[36, 41, 50, 59])
}

/// All of them: walkers that snoop, no dirty tracking; who runs over them changes that.
pub fn all() -> Vec<TableConfig> {
    let groups = [
        arm_s1_4k,
        arm_s1_16k,
        arm_s1_64k,
        arm_s2_4k,
        arm_s2_16k,
        arm_s2_64k,
        amd_v1,
        amd_v2,
        vtd_second,
        vtd_first,
        riscv_first,
        riscv_second,
    ];
    groups.iter().flat_map(|group| group()).collect()
}

/// The full width of a format that repeats the sign bit: both halves are meant.
pub fn sign_extended(config: &TableConfig) -> bool {
    match config.format {
        Format::AmdV2 | Format::VtdFirst => matches!(config.in_bits, 48 | 57),
        Format::RiscvFirst => matches!(config.in_bits, 39 | 48 | 57),
        _ => false,
    }
}

/// The input ranges, as first and last byte.
pub fn halves(config: &TableConfig) -> Vec<(u64, u64)> {
    match (sign_extended(config), config.in_bits) {
        (true, bits) => vec![(0, (1 << (bits - 1)) - 1), (u64::MAX << (bits - 1), u64::MAX)],
        (false, 64) => vec![(0, u64::MAX)],
        (false, bits) => vec![(0, (1 << bits) - 1)],
    }
}

/// Page sizes that a table of so many levels can use, smallest first.
pub fn page_sizes(config: &TableConfig, levels: u8) -> Vec<u64> {
    let (granule, (first, last)) = (config.granule().trailing_zeros(), halves(config)[0]);
    let above = granule + u32::from(levels) * (granule - 3);
    let fits = |size: u64| config.page_sizes & size != 0 && size - 1 <= last - first;
    (12..above.min(64)).map(|shift| 1 << shift).filter(|&size| fits(size)).collect()
}
