//! Any text as what `lspci` prints: read, put together, grouped by both policies, every reason in words.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ioward-pci/tests/common/promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold_text(&String::from_utf8_lossy(bytes));
});
