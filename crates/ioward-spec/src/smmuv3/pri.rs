//! PRI queue entries (chapter 8): 16 bytes each.

/// Bytes of an entry.
pub const BYTES: usize = 16;
/// 64-bit words of an entry.
pub const WORDS: usize = BYTES / 8;

fields! {
    /// Who asks.
    STREAM_ID = [31:0];
    /// For which substream, where SSV.
    SUBSTREAM_ID = [51:32];
    /// Execute, privileged: the request is for privileged access.
    PRIVILEGED = [58:58];
    /// Execute access is wanted.
    EXECUTE = [59:59];
    /// Read access is wanted.
    READ = [60:60];
    /// Write access is wanted.
    WRITE = [61:61];
    /// The last request of its group.
    LAST = [62:62];
    /// SUBSTREAM_ID is valid.
    SSV = [63:63];
    /// Page request group index.
    PRG_INDEX = [72:64];
    /// The page's address, bits 63:12.
    PAGE_ADDR = [127:76];
}
