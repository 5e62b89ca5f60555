//! From a PVH boot loader's jump, in 32-bit protected mode without paging, to Rust in 64-bit mode.
//!
//! 4 GiB are mapped where they are, in pages of 2 MiB; firmware's MTRRs make the registers among them uncached.

use core::arch::global_asm;

global_asm!(
    // Xen's note of type 18, XEN_ELFNOTE_PHYS32_ENTRY: the entry's address.
    ".section .note.pvh, \"a\", @note",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_start",
    ".section .bss.boot, \"aw\", @nobits",
    ".balign 4096",
    "pml4: .skip 4096",
    "pdpt: .skip 4096",
    "pds: .skip 4 * 4096",
    ".section .rodata.boot, \"a\"",
    ".balign 16",
    // Flat 64-bit code and data.
    "gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "gdt_pointer: .word 23",
    ".long gdt, 0",
    ".text",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "cli",
    "movl $stack_top, %esp",
    "movl %ebx, %ebp", // the start info
    "movl $pdpt + 3, pml4",
    "movl $4, %ecx",
    "movl $pds + 3, %eax",
    "movl $pdpt, %edi",
    "1: movl %eax, (%edi)",
    "addl $4096, %eax",
    "addl $8, %edi",
    "loop 1b",
    "movl $2048, %ecx",
    "movl $0x83, %eax", // present, writable, 2 MiB
    "movl $pds, %edi",
    "2: movl %eax, (%edi)",
    "addl $0x200000, %eax",
    "addl $8, %edi",
    "loop 2b",
    "movl %cr4, %eax",
    "orl $0x20, %eax", // PAE
    "movl %eax, %cr4",
    "movl $pml4, %eax",
    "movl %eax, %cr3",
    "movl $0xc0000080, %ecx", // EFER.LME
    "rdmsr",
    "orl $0x100, %eax",
    "wrmsr",
    "movl %cr0, %eax",
    "orl $0x80000000, %eax", // PG
    "movl %eax, %cr0",
    "lgdtl gdt_pointer",
    "ljmpl $8, $3f",
    ".code64",
    "3: movw $16, %ax",
    "movw %ax, %ds",
    "movw %ax, %es",
    "movw %ax, %ss",
    "movl %ebp, %edi",
    "call main",
    "4: hlt",
    "jmp 4b",
    options(att_syntax)
);
