//! Boots on QEMU's `q35` machine by PVH, reads its ACPI tables, and proves that its IOMMU isolates.
#![no_std]
#![no_main]

mod boot;

use core::arch::asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicU64, Ordering};
use ioward::types::{PhysAddr, Span, describe::Table};
use kernel::{Board, Boot, acpi, board::Apic, say};

static BOARD: Board =
    Board { put, nanos, off, apic: Some(Apic { on: apic::on, pending: apic::pending }), ..Board::ALONE };

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

/// The local APIC (Intel SDM volume 3, 11.4), where it is after a reset.
mod apic {
    const BASE: usize = 0xfee0_0000;
    const ID: usize = 0x20;
    const SPURIOUS: usize = 0xf0;
    const SOFTWARE_ENABLE: u32 = 1 << 8;
    /// 256 bits, 32 in every 16 bytes: what has arrived and was not taken.
    const REQUESTS: usize = 0x200;

    fn register(at: usize) -> *mut u32 {
        (BASE + at) as *mut u32
    }

    pub fn on() -> u32 {
        // SAFETY: the local APIC's registers; interrupts are off, so that none is taken.
        unsafe {
            register(SPURIOUS).write_volatile(SOFTWARE_ENABLE | 0xff);
            register(ID).read_volatile() >> 24
        }
    }

    pub fn pending(vector: u8) -> bool {
        let at = REQUESTS + usize::from(vector / 32) * 16;
        // SAFETY: as above; reading changes nothing.
        unsafe { register(at).read_volatile() >> (vector % 32) & 1 != 0 }
    }
}

/// QEMU's `isa-debug-exit`.
fn off() -> ! {
    out8(0xf4, 0);
    loop {
        // SAFETY: interrupts are off: the CPU stops.
        unsafe { asm!("hlt") }
    }
}

unsafe extern "C" {
    static image_end: u8;
}

/// Where the start info (Xen, public/arch-x86/hvm/start_info.h, version 1) has what is needed of it.
mod start_info {
    pub const COMMAND_LINE: u64 = 24;
    pub const RSDP: u64 = 32;
    pub const MEMORY_MAP: u64 = 40;
    pub const MEMORY_MAP_ENTRIES: u64 = 48;
}

#[unsafe(no_mangle)]
extern "C" fn main(info: u32) -> ! {
    kernel::board::set(&BOARD);
    calibrate();
    // SAFETY: the boot protocol puts the start info there, and what it points at is below 4 GiB.
    let word = |at: u64| unsafe { *((u64::from(info) + at) as *const u64) };
    // SAFETY: as above; the line ends with a zero byte.
    let line = unsafe { CStr::from_ptr(word(start_info::COMMAND_LINE) as *const c_char) };
    let image = (&raw const image_end) as u64;
    // Entries of 24 bytes: start, length, type (1 is memory).
    let entries = (0..word(start_info::MEMORY_MAP_ENTRIES) & 0xffff_ffff).map(|n| {
        let at = word(start_info::MEMORY_MAP) + n * 24;
        // SAFETY: as above.
        unsafe { *(at as *const [u64; 3]) }
    });
    let ram = entries
        .filter(|entry| entry[2] & 0xffff_ffff == 1)
        .filter_map(|entry| Span::new(PhysAddr(entry[0]), entry[1]))
        .find(|span| span.contains(PhysAddr(image)))
        .and_then(|span| Span::inclusive(PhysAddr(image), span.last()));
    let Some(ram) = ram else {
        say!("PANIC no memory behind the kernel");
        off()
    };
    kernel::memory::add(ram);
    say!("boot x86_64, start info at {info:#x}, free memory {ram}");
    // SAFETY: the boot loader found the root pointer; tables are below 4 GiB.
    let table = |signature| unsafe { acpi::find(word(start_info::RSDP), signature) }.unwrap_or_default();
    let boot = Boot {
        line: line.to_str().unwrap_or_default(),
        tables: [(Table::Dmar, b"DMAR"), (Table::Ivrs, b"IVRS"), (Table::Viot, b"VIOT")]
            .map(|(kind, signature)| (kind, table(signature))),
        ecam: acpi::ecam(table(b"MCFG")),
        windows: None,
    };
    // SAFETY: the memory is free, and the boot tables map everything below 4 GiB.
    unsafe { kernel::run(boot) }
}
