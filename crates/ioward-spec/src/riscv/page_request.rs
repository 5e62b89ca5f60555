//! The page-request queue (3.3): 16-byte messages.

/// Bytes of a message.
pub const BYTES: usize = 16;
/// 64-bit words of a message.
pub const WORDS: usize = BYTES / 8;

fields! {
    /// PASID.
    PID = [31:12];
    /// PID is valid.
    PV = [32:32];
    /// Privileged mode is requested.
    PRIV = [33:33];
    /// Execute is requested.
    EXEC = [34:34];
    /// Requester ID.
    DID = [63:40];
    /// Read is requested.
    R = [64:64];
    /// Write is requested.
    W = [65:65];
    /// Last of its group; with neither R nor W it is a stop marker.
    L = [66:66];
    /// Page request group index.
    PRGI = [75:67];
    /// Address bits 63:12.
    ADDR = [127:76];
}
