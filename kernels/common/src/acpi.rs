//! From the root pointer to the tables, in memory that is mapped where it is.

use ioward::types::{PhysAddr, Span};

/// Bytes of firmware's, for as long as the kernel runs.
///
/// # Safety
/// `at` is mapped, or zero, and nothing writes `bytes` bytes from there.
pub unsafe fn bytes(at: u64, bytes: usize) -> &'static [u8] {
    if at == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { core::slice::from_raw_parts(at as *const u8, bytes) }
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes.get(at..at + size).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The table at `at`, as long as its header says (ACPI 6.5, 5.2.6); empty where the header says less than itself.
///
/// # Safety
/// As [`bytes`], for a table that firmware points at.
unsafe fn table(at: u64) -> &'static [u8] {
    // SAFETY: every table has a header of 36 bytes.
    let length = number(unsafe { bytes(at, 36) }, 4, 4) as usize;
    // SAFETY: as promised by the caller, who says that firmware means it.
    if length < 36 { &[] } else { unsafe { bytes(at, length) } }
}

/// The table with `signature` that the root pointer at `rsdp` leads to (ACPI 6.5, 5.2.5 to 5.2.8).
///
/// # Safety
/// `rsdp` is zero or the machine's root pointer, and all tables are mapped where they are.
pub unsafe fn find(rsdp: u64, signature: &[u8; 4]) -> Option<&'static [u8]> {
    // SAFETY: as promised by the caller; the second half exists from revision 2 on and is looked at only then.
    let root = unsafe { bytes(rsdp, 20) };
    let extended = number(root, 15, 1) >= 2;
    // SAFETY: as above.
    let xsdt = if extended { number(unsafe { bytes(rsdp, 36) }, 24, 8) } else { 0 };
    let (list, size) = if xsdt != 0 { (xsdt, 8) } else { (number(root, 16, 4), 4) };
    // SAFETY: the root pointer leads to it.
    let list = unsafe { table(list) };
    let entries = list.get(36..)?.chunks_exact(size).map(|entry| number(entry, 0, size));
    // SAFETY: the list leads to it.
    entries.map(|at| unsafe { table(at) }).find(|table| table.starts_with(signature))
}

/// The enhanced configuration space of segment 0 (PCI Firmware 3.3, table 4-3).
pub fn ecam(mcfg: &[u8]) -> Option<Span<PhysAddr>> {
    let entry = mcfg.get(44..)?.chunks_exact(16).find(|entry| number(entry, 8, 2) == 0)?;
    let (first, last) = (number(entry, 10, 1), number(entry, 11, 1));
    let buses = (last + 1).checked_sub(first)?;
    (first == 0).then_some(())?;
    Span::new(PhysAddr(number(entry, 0, 8)), buses << 20)
}
