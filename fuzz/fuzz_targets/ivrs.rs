//! Any bytes as an IVRS: the facts keep their promises, and the raw view shows whatever is there.
#![no_main]

use ioward_firmware::ivrs::{Ivrs, block::Body};
use ioward_types::describe::Table;
use libfuzzer_sys::fuzz_target;

#[path = "../promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold(Table::Ivrs, bytes);
    promises::hold(Table::Ivrs, &promises::sealed(bytes, *b"IVRS"));
    for block in Ivrs::new(bytes).blocks() {
        if let Body::Hardware(hardware) = block.body() {
            let uids = hardware.entries().map(|entry| entry.uid().len());
            assert!(uids.sum::<u32>() <= u32::from(block.length()));
        }
    }
});
