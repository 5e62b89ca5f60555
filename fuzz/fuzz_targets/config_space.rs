//! Any bytes as one function's configuration space, and as a whole bus that is numbered, assigned and grouped.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ioward-pci/tests/common/promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold_config(bytes);
    promises::hold_bus(bytes);
});
