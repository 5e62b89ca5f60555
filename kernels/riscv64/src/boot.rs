//! From OpenSBI's jump, in supervisor mode without translation, to Rust. Physical memory attributes make RAM cached and
//! registers not, so no page table is needed.

use core::arch::global_asm;

global_asm!(
    ".section .text.boot, \"ax\"",
    ".global _start",
    "_start:",
    // a0: the hart's number; a1: the device tree (Linux, Documentation/arch/riscv/boot.rst).
    "csrw sie, zero",
    "la sp, stack_top",
    "la t0, bss_start",
    "la t1, bss_end",
    "1: bgeu t0, t1, 2f",
    "sd zero, 0(t0)",
    "addi t0, t0, 8",
    "j 1b",
    "2: la t0, trap",
    "csrw stvec, t0",
    "mv a0, a1",
    "call main",
    "3: wfi",
    "j 3b",
    // Every trap is a mistake of ours: say which and stop.
    ".balign 4",
    "trap:",
    "csrr a0, scause",
    "csrr a1, sepc",
    "csrr a2, stval",
    "j exception",
);
