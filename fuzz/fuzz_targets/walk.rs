//! Any words as page tables of every format, walked from any root: the walk ends, and where an independent decoder finds
//! something, it finds the same.
#![no_main]

use ioward_types::{PhysAddr, Root};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ioward-pgtable/tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| {
    let [which, levels, in_bits, flags, rest @ ..] = bytes else { return };
    let words: Vec<u64> = rest
        .chunks_exact(8)
        .take(34)
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect();
    let [salt, at, words @ ..] = &words[..] else { return };
    let all = common::cases::all();
    let mut config = all[usize::from(*which) % all.len()];
    // Mostly a shape that can be.
    if flags & 1 != 0 {
        config.in_bits = *in_bits;
    }
    config.dirty = flags & 2 != 0;
    let at = if flags & 4 != 0 { *at } else { *at & ((1u64 << (config.in_bits & 63)).wrapping_sub(1) >> 1) };
    let root = Root { at: PhysAddr(salt & 0x000f_ffff_ffff_0000), levels: levels % 8 };
    common::foreign::hold(&common::foreign::Few { words, salt: *salt }, &config, root, at);
});
