//! Process directory and process context (2.2).
//!
//! A process_id has 20 bits. A directory's leaf is a page of 256 contexts; each level above is a page of 8-byte entries, of
//! which the third level uses eight.

/// Bytes of a process context (2.2.2).
pub const BYTES: usize = 16;
/// 64-bit words of a process context.
pub const WORDS: usize = BYTES / 8;
/// Bits of a process_id that each level indexes, lowest level first (2.1).
pub const INDEX_BITS: [u32; 3] = [8, 9, 3];

/// A non-leaf entry, 8 bytes (2.2.1).
pub mod pdte {
    fields! {
        /// Valid.
        V = [0:0];
        /// Page number of the next level; a guest's where there is a second stage.
        PPN = [53:10];
    }
}

fields! {
    /// ta: valid (2.2.3.1).
    V = [0:0];
    /// ta: requests for supervisor privilege are allowed.
    ENS = [1:1];
    /// ta: supervisor requests reach user pages.
    SUM = [2:2];
    /// ta: process soft-context identifier.
    PSCID = [31:12];
    /// fsc: page number of the first stage's root; a guest's where there is a second stage (2.2.3.2).
    FSC_PPN = [107:64];
    /// fsc: see [`iosatp_mode`](crate::riscv::device::iosatp_mode).
    FSC_MODE = [127:124];
}
