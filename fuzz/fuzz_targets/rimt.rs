//! Any bytes as a RIMT: the facts keep their promises, and the raw view shows whatever is there.
#![no_main]

use ioward_types::describe::Table;
use libfuzzer_sys::fuzz_target;

#[path = "../promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold(Table::Rimt, bytes);
    promises::hold(Table::Rimt, &promises::sealed(bytes, *b"RIMT"));
});
