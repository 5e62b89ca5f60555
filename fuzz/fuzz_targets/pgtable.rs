//! Any bytes as a configuration and operations on its page table, against a plain map: the judge of the random tests.
#![no_main]

use ioward_types::TableConfig;
use libfuzzer_sys::fuzz_target;
use plain::{Op, Plain};

#[path = "../../crates/ioward-pgtable/tests/common/mod.rs"]
mod common;
#[path = "../../crates/ioward-pgtable/tests/common/plain.rs"]
mod plain;

/// Enough to fill, cut and empty a few tables; more only takes time.
const OPERATIONS: usize = 48;

fuzz_target!(|bytes: &[u8]| {
    let [which, flags, rest @ ..] = bytes else { return };
    let all = common::cases::all();
    let config = TableConfig {
        coherent: flags & 1 == 0,
        // Only walkers that snoop can track.
        dirty: flags & 3 == 2,
        ..all[usize::from(*which) % all.len()]
    };
    let mut plain = Plain::new(config, flags & 4 != 0);
    for op in rest.chunks_exact(10).take(OPERATIONS) {
        plain.apply(Op::from_bytes(op.try_into().expect("ten bytes")));
    }
    plain.finish();
});
