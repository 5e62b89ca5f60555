//! Root entries: 256 of 16 bytes, indexed by bus number.

/// Bytes of an entry, in both modes.
pub const BYTES: usize = 16;
/// 64-bit words of an entry.
pub const WORDS: usize = BYTES / 8;
/// Entries of a root table: one for each bus.
pub const ENTRIES: usize = 256;

/// Legacy mode (9.1).
pub mod legacy {
    fields! {
        /// Present.
        P = [0:0];
        /// The context table; the field in place is its address.
        CTP = [63:12];
    }
    /// Bits that are reserved whatever the address width.
    pub const RESERVED: [u64; super::WORDS] = [0xffe, u64::MAX];
}

/// Scalable mode (9.2): a lower context table for devices 0 to 15 and an upper for devices 16 to 31.
pub mod scalable {
    fields! {
        /// Lower present.
        LP = [0:0];
        /// The lower context table; the field in place is its address.
        LCTP = [63:12];
        /// Upper present.
        UP = [64:64];
        /// The upper context table; the field in place is its address.
        UCTP = [127:76];
    }
    /// Bits that are reserved whatever the address width.
    pub const RESERVED: [u64; super::WORDS] = [0xffe, 0xffe];
}
