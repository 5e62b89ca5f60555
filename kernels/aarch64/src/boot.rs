//! From the boot loader's jump to Rust with the MMU on.
//!
//! Atomics need normal memory, which needs the MMU: one table of 1 GiB blocks maps everything where it is. It is a
//! constant, so that nothing has to be built before the MMU is on.

use core::arch::global_asm;

const BLOCK: u64 = 0b01 | 1 << 10; // valid block, access flag (Arm ARM D8.3)
const DEVICE: u64 = BLOCK | 1 << 54 | 1 << 53; // attribute 0, never executed
const NORMAL: u64 = BLOCK | 1 << 2 | 3 << 8; // attribute 1, inner shareable

#[repr(C, align(4096))]
struct Table([u64; 512]);

/// QEMU's `virt` machine: RAM starts at 1 GiB, at most 7 GiB of it are used; all else is registers.
#[unsafe(no_mangle)]
static BOOT_TABLE: Table = {
    let mut table = [0; 512];
    let mut gib = 0;
    while gib < 512 {
        let kind = if 1 <= gib && gib < 8 { NORMAL } else { DEVICE };
        table[gib] = (gib as u64) << 30 | kind;
        gib += 1;
    }
    Table(table)
};

/// Attribute 0 device-nGnRE, 1 normal write-back.
const MAIR: u64 = 0xff04;
/// 39 bits from TTBR0 (T0SZ 25), write-back inner-shareable walks, no TTBR1 (EPD1), 40 physical bits.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;

global_asm!(
    ".section .text.boot, \"ax\"",
    ".global _start",
    "_start:",
    // The header of an arm64 Image (Linux, Documentation/arch/arm64/booting.rst): x0 is then the device tree.
    "b 1f",
    ".long 0",
    ".quad 0",                      // text_offset
    ".quad image_size",              // image_size
    ".quad 2",                      // little-endian, 4 KiB pages
    ".quad 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".long 0",
    "1: msr daifset, #0xf",
    "adrp x1, stack_top",
    "add x1, x1, :lo12:stack_top",
    "mov sp, x1",
    "adrp x1, bss_start",
    "add x1, x1, :lo12:bss_start",
    "adrp x2, bss_end",
    "add x2, x2, :lo12:bss_end",
    "2: cmp x1, x2",
    "b.hs 3f",
    "stp xzr, xzr, [x1], #16",
    "b 2b",
    "3: msr tpidr_el1, xzr", // the number of this CPU
    "adrp x3, main",
    "add x3, x3, :lo12:main",
    "b 5f",
    // The second CPU, from PSCI's CPU_ON: as the first one, without memory to clear.
    ".global second_start",
    "second_start:",
    "msr daifset, #0xf",
    "adrp x1, second_stack_top",
    "add x1, x1, :lo12:second_stack_top",
    "mov sp, x1",
    "mov x1, #1",
    "msr tpidr_el1, x1",
    "adrp x3, second_main",
    "add x3, x3, :lo12:second_main",
    // The MMU; then to where x3 says.
    "5: adrp x1, BOOT_TABLE",
    "msr ttbr0_el1, x1",
    "ldr x1, ={mair}",
    "msr mair_el1, x1",
    "ldr x1, ={tcr}",
    "msr tcr_el1, x1",
    "adrp x1, vectors",
    "add x1, x1, :lo12:vectors",
    "msr vbar_el1, x1",
    "tlbi vmalle1",
    "dsb ish",
    "isb",
    "mrs x1, sctlr_el1",
    "mov x2, #0x1005", // M, C, I
    "orr x1, x1, x2",
    "msr sctlr_el1, x1",
    "isb",
    "blr x3",
    "4: wfi",
    "b 4b",
    // Every exception is a mistake of ours: say which and stop.
    ".balign 2048",
    "vectors:",
    ".rept 16",
    "mrs x0, esr_el1",
    "mrs x1, elr_el1",
    "mrs x2, far_el1",
    "b exception",
    ".balign 128",
    ".endr",
    mair = const MAIR,
    tcr = const TCR,
);
