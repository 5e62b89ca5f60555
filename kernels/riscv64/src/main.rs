//! Boots on QEMU's `virt` machine, reads its device tree, and proves that its IOMMU isolates.
#![no_std]
#![no_main]

mod boot;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use ioward::types::{PhysAddr, Span, describe::Table};
use kernel::{Board, Boot, say, tree};

static BOARD: Board = Board { put, nanos, off, ..Board::ALONE };

/// The 16550's first register, where QEMU's `virt` machine has it.
const UART: usize = 0x1000_0000;

fn put(byte: u8) {
    // SAFETY: the UART's registers; bit 5 of the line status is "transmitter empty".
    unsafe {
        while ((UART + 5) as *const u8).read_volatile() & 1 << 5 == 0 {}
        (UART as *mut u8).write_volatile(byte);
    }
}

/// Ticks of the time register in a second; the device tree says.
static HERTZ: AtomicU64 = AtomicU64::new(10_000_000);

fn nanos() -> u64 {
    let ticks: u64;
    // SAFETY: reads the time register.
    unsafe { asm!("rdtime {}", out(reg) ticks) };
    (u128::from(ticks) * 1_000_000_000 / u128::from(HERTZ.load(Ordering::Relaxed).max(1))) as u64
}

/// System Reset of the SBI (RISC-V SBI 2.0, chapter 10): type and reason zero shut the machine down.
fn off() -> ! {
    // SAFETY: the machine ends here.
    unsafe { asm!("ecall", in("a7") 0x5352_5354, in("a6") 0, in("a0") 0, in("a1") 0, options(noreturn)) }
}

#[unsafe(no_mangle)]
extern "C" fn exception(cause: u64, at: u64, value: u64) -> ! {
    say!("PANIC exception {cause:#x} at {at:#x}, value {value:#x}");
    off()
}

unsafe extern "C" {
    static image_end: u8;
}

#[unsafe(no_mangle)]
extern "C" fn main(tree: u64) -> ! {
    kernel::board::set(&BOARD);
    // SAFETY: the boot protocol puts a device tree there; its second word is its length (Devicetree 0.4, 5.2).
    let length = unsafe { u32::from_be_bytes(*((tree + 4) as *const [u8; 4])) };
    // SAFETY: as above.
    let tree_bytes = unsafe { kernel::acpi::bytes(tree, length as usize) };
    // The machine has memory from below this image to above the tree; what lies between them nobody uses.
    let image = (&raw const image_end) as u64;
    let ram = Span { start: PhysAddr(image), bytes: tree.saturating_sub(image) };
    kernel::memory::add(ram);
    say!("boot riscv64, tree at {tree:#x}, free memory {ram}");
    let known = tree::read(tree_bytes);
    if let Some(hertz) = known.timebase {
        HERTZ.store(hertz.into(), Ordering::Relaxed);
    }
    let boot = Boot {
        line: known.line,
        tables: kernel::one(Table::DeviceTree, tree_bytes),
        ecam: None,
        windows: Some(known.windows),
    };
    // SAFETY: the memory is free, and nothing translates.
    unsafe { kernel::run(boot) }
}
