//! MSI page-table entries and memory-resident interrupt files (Advanced Interrupt Architecture 1.0, 9.3 and 9.5).

/// Bytes of an MSI page-table entry (9.5).
pub const BYTES: usize = 16;
/// 64-bit words of an MSI page-table entry.
pub const WORDS: usize = BYTES / 8;
/// Bytes of a memory-resident interrupt file, to which it is aligned (9.3).
pub const MRIF_BYTES: u64 = 512;
/// Interrupt identities of a memory-resident interrupt file, 0 included, which is none (9.3).
pub const MRIF_IDENTITIES: u32 = 2048;

fields! {
    /// Valid.
    V = [0:0];
    /// See [`mode`].
    M = [2:1];
    /// Basic translate mode: page number that the message goes to (9.5.1).
    PPN = [53:10];
    /// MRIF mode: bits 55:9 of the interrupt file's address (9.5.2).
    MRIF_ADDRESS = [53:7];
    /// Custom use: the rest of the entry has another meaning.
    C = [63:63];
    /// MRIF mode: bits 9:0 of the notice message's identity.
    NID = [73:64];
    /// MRIF mode: page number that the notice message goes to.
    NPPN = [117:74];
    /// MRIF mode: bit 10 of the notice message's identity.
    NID_10 = [124:124];
}

/// Values of [`M`].
pub mod mode {
    /// MRIF mode.
    pub const MRIF: u64 = 1;
    /// Basic translate mode.
    pub const BASIC: u64 = 3;
}
