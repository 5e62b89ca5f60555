//! Boots on QEMU's `virt` machine, reads its device tree, and proves that its SMMUv3 isolates.
#![no_std]
#![no_main]

mod boot;

use core::arch::asm;
use ioward::types::{PhysAddr, Span, describe::Table};
use kernel::{Board, Boot, say, tree};

static BOARD: Board = Board { put, nanos, off, cpu, start, instructions, ..Board::ALONE };

/// The PL011's data and flag registers, where QEMU's `virt` machine has them.
const UART: usize = 0x900_0000;

fn put(byte: u8) {
    // SAFETY: the UART's registers; bit 5 of the flags is "transmitter full".
    unsafe {
        while ((UART + 0x18) as *const u32).read_volatile() & 1 << 5 != 0 {}
        (UART as *mut u32).write_volatile(byte.into());
    }
}

fn nanos() -> u64 {
    let (ticks, hertz): (u64, u64);
    // SAFETY: reads the generic timer.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) hertz) };
    (u128::from(ticks) * 1_000_000_000 / u128::from(hertz.max(1))) as u64
}

/// PSCI's SYSTEM_OFF (Arm DEN 0022, 5.10), by the conduit that QEMU names when the kernel runs at EL1.
fn off() -> ! {
    // SAFETY: the machine ends here.
    unsafe { asm!("hvc #0", in("x0") 0x8400_0008_u64, options(noreturn)) }
}

/// What `boot.rs` puts into the register for it.
fn cpu() -> usize {
    let number;
    // SAFETY: reads the thread register of EL1.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

/// Makes the first counter of the performance monitors count instructions (Arm ARM, D13: event 0x8, INST_RETIRED). QEMU
/// counts them where its time is counted in them.
fn count_instructions() {
    // SAFETY: registers of the performance monitors, which nobody else uses.
    unsafe {
        asm!(
            "msr pmevtyper0_el0, {event}",
            "msr pmcntenset_el0, {first}",
            "msr pmcr_el0, {first}",
            "isb",
            event = in(reg) 8_u64,
            first = in(reg) 1_u64,
            options(nomem, nostack, preserves_flags),
        );
    }
}

fn instructions() -> u32 {
    let count: u64;
    // SAFETY: reads the counter.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack, preserves_flags)) };
    count as u32
}

/// PSCI's CPU_ON (Arm DEN 0022, 5.6) for the CPU whose affinity is 1; it starts at `second_start` without its MMU.
fn start() -> bool {
    unsafe extern "C" {
        fn second_start();
    }
    let (mut result, entry) = (0xc400_0003_u64, second_start as *const () as u64);
    // SAFETY: the entry is this kernel's own, and has a stack of its own.
    unsafe { asm!("hvc #0", inout("x0") result, in("x1") 1_u64, in("x2") entry, in("x3") 0_u64) };
    result == 0
}

#[unsafe(no_mangle)]
extern "C" fn second_main() -> ! {
    kernel::cpus::second()
}

#[unsafe(no_mangle)]
extern "C" fn exception(esr: u64, elr: u64, far: u64) -> ! {
    say!("PANIC exception: ESR {esr:#x} at {elr:#x}, address {far:#x}");
    off()
}

unsafe extern "C" {
    static image_end: u8;
}

#[unsafe(no_mangle)]
extern "C" fn main(tree: u64) -> ! {
    kernel::board::set(&BOARD);
    count_instructions();
    // SAFETY: the boot protocol puts a device tree at x0; its second word is its length (Devicetree 0.4, 5.2).
    let length = unsafe { u32::from_be_bytes(*((tree + 4) as *const [u8; 4])) };
    // SAFETY: as above.
    let tree_bytes = unsafe { kernel::acpi::bytes(tree, length as usize) };
    // The machine has memory from below this image to above the tree; what lies between them nobody uses.
    let image = (&raw const image_end) as u64;
    let ram = Span { start: PhysAddr(image), bytes: tree.saturating_sub(image) };
    kernel::memory::add(ram);
    say!("boot aarch64, tree at {tree:#x}, free memory {ram}");
    let known = tree::read(tree_bytes);
    let boot = Boot {
        line: known.line,
        tables: kernel::one(Table::DeviceTree, tree_bytes),
        ecam: None,
        windows: Some(known.windows),
    };
    // SAFETY: the memory is free, and the boot table maps everything.
    unsafe { kernel::run(boot) }
}
