//! Page request descriptors (7.4.1): 32 bytes that hardware writes into the page request queue.

/// Bytes of a descriptor.
pub const BYTES: usize = 32;
/// 64-bit words of a descriptor.
pub const WORDS: usize = BYTES / 8;
/// The only value of [`TYPE`].
pub const PAGE_REQUEST: u64 = 1;

fields! {
    /// Which descriptor.
    TYPE = [7:0];
    /// The PASID is valid.
    PP = [8:8];
    /// Private data is valid.
    PDP = [9:9];
    /// The requester.
    RID = [31:16];
    /// The PASID.
    PASID = [51:32];
    /// Execute is asked for.
    EXR = [52:52];
    /// Privileged.
    PMR = [53:53];
    /// Read is asked for.
    RD = [64:64];
    /// Write is asked for.
    WR = [65:65];
    /// Last page in group.
    LPIG = [66:66];
    /// The group.
    PRGI = [75:67];
    /// The address; the field in place is a multiple of 4 KiB.
    ADDR = [127:76];
}
