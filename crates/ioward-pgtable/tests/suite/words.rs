//! Literal words: what the specifications say that an entry holds, bit for bit.

use crate::{
    common::{Host, cases::*},
    tools::*,
};
use ioward_pgtable::AnyTable;
use ioward_types::{Attributes, Format, PhysAddr, TableConfig};

/// A page of `bytes` at `to`; the first and the last of its entries, and the link above the lowest level.
struct Golden {
    format: Format,
    sizes: u64,
    how: Attributes,
    dirty: bool,
    snoop: bool,
    bytes: u64,
    to: u64,
    first: u64,
    last: u64,
}

const fn golden(format: Format, sizes: u64, bytes: u64, to: u64, first: u64, last: u64) -> Golden {
    Golden { format, sizes, how: RW, dirty: false, snoop: false, bytes, to, first, last }
}

const STREAMING: Attributes = Attributes { coherent: false, ..Attributes::READ };
const REGISTERS: Attributes = Attributes { read: true, ..Attributes::DOORBELL };
const CODE: Attributes = Attributes { execute: true, ..Attributes::READ };

const ARM_4K: u64 = K4 | K64 | M2 | M32 | G1 | G16;
const ARM_16K: u64 = K16 | M2 | M32 | G1;
const ARM_64K: u64 = K64 | M2 | M512 | G16;
const PLAIN: u64 = K4 | M2 | G1;
const RISCV: u64 = K4 | K64 | M2 | G1 | G512 | T256;
const POWERS: u64 = (1 << 40) - K4;

use Format::*;

/// Arm: DDI 0487 J.a, D8.3 and D8.6. UXN 54, PXN 53, contiguous 52, nG 11, AF 10, SH 9:8, AP 7:6, AttrIndx 4:2 in stage 1;
/// XN 54:53, AF 10, SH 9:8, S2AP 7:6, MemAttr 5:2 in stage 2.
const ARM: &[Golden] = &[
    golden(ArmStage1, ARM_4K, K4, 0x1234_5000, 0x0060_0000_1234_5f43, 0x0060_0000_1234_5f43),
    golden(ArmStage1, ARM_4K, K64, 0x1235_0000, 0x0070_0000_1235_0f43, 0x0070_0000_1235_ff43),
    golden(ArmStage1, ARM_4K, M2, 0x4020_0000, 0x0060_0000_4020_0f41, 0x0060_0000_4020_0f41),
    golden(ArmStage1, ARM_4K, M32, 0x4200_0000, 0x0070_0000_4200_0f41, 0x0070_0000_43e0_0f41),
    golden(ArmStage1, ARM_4K, G1, 0x4000_0000, 0x0060_0000_4000_0f41, 0x0060_0000_4000_0f41),
    golden(ArmStage1, ARM_4K, G16, 0x4_0000_0000, 0x0070_0004_0000_0f41, 0x0070_0007_c000_0f41),
    golden(ArmStage1, ARM_16K, K16, 0x1234_4000, 0x0060_0000_1234_4f43, 0x0060_0000_1234_4f43),
    golden(ArmStage1, ARM_16K, M2, 0x4020_0000, 0x0070_0000_4020_0f43, 0x0070_0000_403f_cf43),
    golden(ArmStage1, ARM_16K, M32, 0x4200_0000, 0x0060_0000_4200_0f41, 0x0060_0000_4200_0f41),
    golden(ArmStage1, ARM_16K, G1, 0x4000_0000, 0x0070_0000_4000_0f41, 0x0070_0000_7e00_0f41),
    // Bits 15:12 are address bits 51:48.
    golden(ArmStage1, ARM_64K, K64, 0xa_bcde_1234_0000, 0x0060_bcde_1234_af43, 0x0060_bcde_1234_af43),
    golden(ArmStage1, ARM_64K, M2, 0x4020_0000, 0x0070_0000_4020_0f43, 0x0070_0000_403f_0f43),
    golden(ArmStage1, ARM_64K, M512, 0x2000_0000, 0x0060_0000_2000_0f41, 0x0060_0000_2000_0f41),
    golden(ArmStage1, ARM_64K, G16, 0x4_0000_0000, 0x0070_0004_0000_0f41, 0x0070_0007_e000_0f41),
    Golden {
        how: STREAMING,
        ..golden(ArmStage1, ARM_4K, K4, 0x1234_5000, 0x0060_0000_1234_5ecb, 0x0060_0000_1234_5ecb)
    },
    Golden {
        how: REGISTERS,
        ..golden(ArmStage1, ARM_4K, K4, 0x1234_5000, 0x0060_0000_1234_5e47, 0x0060_0000_1234_5e47)
    },
    Golden {
        dirty: true,
        ..golden(ArmStage1, ARM_4K, K4, 0x1234_5000, 0x0068_0000_1234_5bc3, 0x0068_0000_1234_5bc3)
    },
    golden(ArmStage2, ARM_4K, K4, 0x1234_5000, 0x0040_0000_1234_57ff, 0x0040_0000_1234_57ff),
    golden(ArmStage2, ARM_4K, K64, 0x1235_0000, 0x0050_0000_1235_07ff, 0x0050_0000_1235_f7ff),
    golden(ArmStage2, ARM_4K, M2, 0x4020_0000, 0x0040_0000_4020_07fd, 0x0040_0000_4020_07fd),
    golden(ArmStage2, ARM_16K, M2, 0x4020_0000, 0x0050_0000_4020_07ff, 0x0050_0000_403f_c7ff),
    golden(ArmStage2, ARM_64K, G16, 0x4_0000_0000, 0x0050_0004_0000_07fd, 0x0050_0007_e000_07fd),
    Golden {
        how: Attributes::DOORBELL,
        ..golden(ArmStage2, ARM_4K, K4, 0x1234_5000, 0x0040_0000_1234_5687, 0x0040_0000_1234_5687)
    },
    Golden {
        how: CODE,
        ..golden(ArmStage2, ARM_4K, K4, 0x1234_5000, 0x0000_0000_1234_577f, 0x0000_0000_1234_577f)
    },
    Golden {
        dirty: true,
        ..golden(ArmStage2, ARM_4K, K4, 0x1234_5000, 0x0048_0000_1234_537f, 0x0048_0000_1234_537f)
    },
];

/// AMD: 48882, 2.2.3, Tables 14 and 17: IW 62, IR 61, FC 60, next level 11:9, PR 0; sizes in the address. 2.2.6: NX 63, D 6,
/// A 5, U/S 2, R/W 1, P 0. Bits 4:1 of the former are ignored; bit 3 is the mark of a page of one entry. VT-d rev 4.1, 9.8: SNP 11, PS 7, W 1, R 0; 9.7 as the processor's.
const X86: &[Golden] = &[
    golden(AmdV1, POWERS, K4, 0x1234_5000, 0x7000_0000_1234_5009, 0x7000_0000_1234_5009),
    golden(AmdV1, POWERS, 2 * K4, 0x6000, 0x7000_0000_0000_6e01, 0x7000_0000_0000_6e01),
    golden(AmdV1, POWERS, 4 * K4, 0x8000, 0x7000_0000_0000_9e01, 0x7000_0000_0000_9e01),
    golden(AmdV1, POWERS, K64, 0x1235_0000, 0x7000_0000_1235_7e01, 0x7000_0000_1235_7e01),
    golden(AmdV1, POWERS, M2 / 2, 0x10_0000, 0x7000_0000_0017_fe01, 0x7000_0000_0017_fe01),
    golden(AmdV1, POWERS, M2, 0x4020_0000, 0x7000_0000_4020_0009, 0x7000_0000_4020_0009),
    golden(AmdV1, POWERS, 2 * M2, 0x4040_0000, 0x7000_0000_405f_fe01, 0x7000_0000_405f_fe01),
    golden(AmdV1, POWERS, G1, 0x4000_0000, 0x7000_0000_4000_0009, 0x7000_0000_4000_0009),
    golden(AmdV1, POWERS, G512, 0x80_0000_0000, 0x7000_0080_0000_0009, 0x7000_0080_0000_0009),
    Golden {
        how: Attributes::READ,
        ..golden(AmdV1, PLAIN, K4, 0x1234_5000, 0x3000_0000_1234_5009, 0x3000_0000_1234_5009)
    },
    golden(AmdV2, PLAIN, K4, 0x1234_5000, 0x8000_0000_1234_5067, 0x8000_0000_1234_5067),
    golden(AmdV2, PLAIN, M2, 0x4020_0000, 0x8000_0000_4020_00e7, 0x8000_0000_4020_00e7),
    golden(AmdV2, PLAIN, G1, 0x4000_0000, 0x8000_0000_4000_00e7, 0x8000_0000_4000_00e7),
    Golden { how: CODE, ..golden(AmdV2, PLAIN, K4, 0x1234_5000, 0x1234_5025, 0x1234_5025) },
    Golden {
        dirty: true,
        ..golden(AmdV2, PLAIN, K4, 0x1234_5000, 0x8000_0000_1234_5007, 0x8000_0000_1234_5007)
    },
    golden(VtdFirst, PLAIN, K4, 0x1234_5000, 0x8000_0000_1234_5067, 0x8000_0000_1234_5067),
    golden(VtdFirst, PLAIN, G1, 0x4000_0000, 0x8000_0000_4000_00e7, 0x8000_0000_4000_00e7),
    Golden { dirty: true, how: CODE, ..golden(VtdFirst, PLAIN, M2, 0x4020_0000, 0x4020_0085, 0x4020_0085) },
    golden(VtdSecond, PLAIN, K4, 0x1234_5000, 0x1234_5003, 0x1234_5003),
    golden(VtdSecond, PLAIN, M2, 0x4020_0000, 0x4020_0083, 0x4020_0083),
    golden(VtdSecond, PLAIN, G1, 0x4000_0000, 0x4000_0083, 0x4000_0083),
    Golden { snoop: true, ..golden(VtdSecond, PLAIN, K4, 0x1234_5000, 0x1234_5803, 0x1234_5803) },
    Golden { snoop: true, ..golden(VtdSecond, PLAIN, M2, 0x4020_0000, 0x4020_0883, 0x4020_0883) },
    Golden {
        how: Attributes::WRITE,
        dirty: true,
        ..golden(VtdSecond, PLAIN, K4, 0x1234_5000, 0x1234_5002, 0x1234_5002)
    },
];

/// RISC-V privileged architecture, Sv39: the page number from bit 10, D 7, A 6, U 4, X 3, W 2, R 1, V 0. Svnapot: N 63,
/// and 1000 in the low bits of the page number. Svpbmt: 62:61.
const RISC_V: &[Golden] = &[
    golden(RiscvFirst, RISCV, K4, 0x1234_5000, 0x048d_14d7, 0x048d_14d7),
    golden(RiscvFirst, RISCV, K64, 0x1234_0000, 0x8000_0000_048d_20d7, 0x8000_0000_048d_20d7),
    golden(RiscvFirst, RISCV, M2, 0x4020_0000, 0x1008_00d7, 0x1008_00d7),
    golden(RiscvFirst, RISCV, G1, 0x4000_0000, 0x1000_00d7, 0x1000_00d7),
    golden(RiscvFirst, RISCV, G512, 0x80_0000_0000, 0x20_0000_00d7, 0x20_0000_00d7),
    golden(RiscvFirst, RISCV, T256, 1 << 48, 0x4000_0000_00d7, 0x4000_0000_00d7),
    Golden {
        how: Attributes { privileged: true, ..CODE },
        ..golden(RiscvFirst, RISCV, K4, 0x1234_5000, 0x048d_144b, 0x048d_144b)
    },
    golden(RiscvSecond, RISCV, K4, 0x1234_5000, 0x048d_14d7, 0x048d_14d7),
    golden(RiscvSecond, RISCV, K64, 0x1234_0000, 0x8000_0000_048d_20d7, 0x8000_0000_048d_20d7),
    golden(RiscvSecond, RISCV, T256, 1 << 48, 0x4000_0000_00d7, 0x4000_0000_00d7),
    Golden {
        snoop: true,
        how: STREAMING,
        ..golden(RiscvSecond, RISCV, K4, 0x1234_5000, 0x2000_0000_048d_1453, 0x2000_0000_048d_1453)
    },
    Golden {
        snoop: true,
        how: REGISTERS,
        ..golden(RiscvSecond, RISCV, K64, 0x1234_0000, 0xc000_0000_048d_20d7, 0xc000_0000_048d_20d7)
    },
    Golden { dirty: true, ..golden(RiscvSecond, RISCV, K4, 0x1234_5000, 0x048d_1417, 0x048d_1417) },
];

/// The widest table that has all sizes.
fn config(golden: &Golden) -> TableConfig {
    let (in_bits, out_bits) = match (golden.format, golden.sizes) {
        (ArmStage1 | ArmStage2, ARM_64K) => (52, 52),
        (ArmStage1 | ArmStage2, _) => (48, 48),
        (AmdV1, _) => (64, 52),
        (RiscvFirst, _) => (57, 56),
        (RiscvSecond, _) => (59, 56),
        _ => (57, 52),
    };
    TableConfig {
        format: golden.format,
        in_bits,
        out_bits,
        page_sizes: golden.sizes,
        coherent: true,
        dirty: golden.dirty,
        snoop: golden.snoop,
    }
}

fn check(all: &[Golden]) {
    for golden in all {
        let (host, config) = (Host::new(), config(golden));
        let table = table(&host, &config);
        let name = format!("{config}, {:#x} bytes", golden.bytes);
        // The third page of this size, so that no index is zero.
        let at = 3 * golden.bytes;
        try_map(&table, at, golden.to, golden.bytes, golden.how)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let page = found(&host, &table, at).expect("mapped");
        let entries = |n: u64| host.peek(PhysAddr(page.entry + n * 8)).expect("a table");
        assert_eq!(format!("{:#x}", entries(0)), format!("{:#x}", golden.first), "{name}");
        assert_eq!(
            format!("{:#x}", entries(page.entries - 1)),
            format!("{:#x}", golden.last),
            "{name}, last"
        );
        // The entry stands where the bits of the address say.
        let granule = config.granule().trailing_zeros();
        let own = (golden.bytes / page.entries).trailing_zeros();
        let place = at >> own & ((1 << (granule - 3)) - 1);
        assert_eq!(page.entry & (config.granule() - 1), place * 8, "{name}");
        if place + page.entries < 1 << (granule - 3) {
            assert_eq!(entries(page.entries), 0, "{name}: and no further");
        }
        unmap(&table, at, golden.bytes);
        end(&host, table);
    }
}

#[test]
fn of_arm() {
    check(ARM);
}

#[test]
fn of_amd_and_vt_d() {
    check(X86);
}

#[test]
fn of_risc_v() {
    check(RISC_V);
}

/// The entries of a root that lead to the next table, without its address.
#[test]
fn of_links() {
    let links: &[(Format, u64, u64, u64)] = &[
        // Valid, a table.
        (ArmStage1, ARM_4K, 0x0000_ffff_ffff_f000, 0x3),
        (ArmStage2, ARM_16K, 0x0000_ffff_ffff_f000, 0x3),
        (ArmStage2, ARM_64K, 0x0000_ffff_ffff_f000, 0x3),
        // IW, IR, next level 5 below a root of level 6; bit 2 is ignored, and the engine's.
        (AmdV1, POWERS, 0x000f_ffff_ffff_f000, 0x6000_0000_0000_0a05),
        // A, U/S, R/W, P.
        (AmdV2, PLAIN, 0x000f_ffff_ffff_f000, 0x27),
        (VtdFirst, PLAIN, 0x000f_ffff_ffff_f000, 0x27),
        (VtdSecond, PLAIN, 0x000f_ffff_ffff_f000, 0x3),
        // V alone; the page number.
        (RiscvFirst, RISCV, 0x003f_ffff_ffff_fc00, 0x1),
        (RiscvSecond, RISCV, 0x003f_ffff_ffff_fc00, 0x1),
    ];
    for &(format, sizes, address, expected) in links {
        let (host, granule) = (Host::new(), sizes & sizes.wrapping_neg());
        let config = config(&golden(format, sizes, granule, 0, 0, 0));
        let table = AnyTable::new(host.clone(), &config).expect("a configuration that exists");
        map(&table, 0, 0, granule);
        let root = host.peek(table.root().at).expect("a root");
        assert_eq!(root & !address, expected, "{config}");
        let shift = if address & 1 << 10 != 0 { 2 } else { 0 };
        assert!(host.peek(PhysAddr((root & address) << shift)).is_some(), "{config}: it leads to a table");
    }
}
