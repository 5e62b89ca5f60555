//! Any bytes as one function's configuration space, as a whole bus that is numbered, assigned and grouped, and as a machine
//! that is edited and advised on.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ioward-pci/tests/common/promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold_config(bytes);
    promises::hold_bus(bytes);
    promises::hold_machine(bytes);
});
