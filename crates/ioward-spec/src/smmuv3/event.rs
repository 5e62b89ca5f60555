//! The Event queue (7.3): 32-byte records.

/// Bytes of a record.
pub const BYTES: usize = 32;
/// 64-bit words of a record.
pub const WORDS: usize = BYTES / 8;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Values of [`ID`](super::event::ID).
        pub mod id {
            $($(#[$doc])* pub const $name: u64 = $code;)*
        }
        /// The specification's name of an event number.
        pub const fn name(id: u64) -> Option<&'static str> {
            match id {
                $($code => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

events! {
    /// Unsupported upstream transaction (7.3.2).
    F_UUT = 0x01;
    /// StreamID out of range (7.3.3).
    C_BAD_STREAMID = 0x02;
    /// An STE could not be fetched (7.3.4).
    F_STE_FETCH = 0x03;
    /// An STE is invalid or ILLEGAL (7.3.5).
    C_BAD_STE = 0x04;
    /// A translation request that is not allowed (7.3.6).
    F_BAD_ATS_TREQ = 0x05;
    /// Requests without a substream, or with substream 0, are disabled (7.3.7).
    F_STREAM_DISABLED = 0x06;
    /// A translated request that is not allowed (7.3.8).
    F_TRANSL_FORBIDDEN = 0x07;
    /// SubstreamID out of range (7.3.9).
    C_BAD_SUBSTREAMID = 0x08;
    /// A CD could not be fetched (7.3.10).
    F_CD_FETCH = 0x09;
    /// A CD is invalid or ILLEGAL (7.3.11).
    C_BAD_CD = 0x0a;
    /// A table descriptor could not be fetched (7.3.12).
    F_WALK_EABT = 0x0b;
    /// No translation (7.3.13).
    F_TRANSLATION = 0x10;
    /// An address outside the output size (7.3.14).
    F_ADDR_SIZE = 0x11;
    /// The Access flag is 0 (7.3.15).
    F_ACCESS = 0x12;
    /// Not permitted (7.3.16).
    F_PERMISSION = 0x13;
    /// Two TLB entries match (7.3.17).
    F_TLB_CONFLICT = 0x20;
    /// Two configuration cache entries match (7.3.18).
    F_CFG_CONFLICT = 0x21;
    /// A page request hint (7.3.19).
    E_PAGE_REQUEST = 0x24;
    /// A VMS could not be fetched (7.3.20).
    F_VMS_FETCH = 0x25;
}

fields! {
    /// Every record: which event.
    ID = [7:0];
    /// SUBSTREAM_ID is valid.
    SSV = [11:11];
    /// The request's SubstreamID.
    SUBSTREAM_ID = [31:12];
    /// The request's StreamID.
    STREAM_ID = [63:32];
    /// F_UUT, F_STE_FETCH, F_CD_FETCH, F_WALK_EABT, F_TLB_CONFLICT, F_CFG_CONFLICT: implementation defined.
    REASON = [79:64];
    /// Faults of translation: the stalled request's tag.
    STAG = [79:64];
    /// F_STE_FETCH, F_CD_FETCH, F_WALK_EABT: the abort was a granule protection fault.
    GPCF = [80:80];
    /// Faults of translation: the request is stalled.
    STALL = [95:95];
    /// The request was privileged.
    PNU = [97:97];
    /// The request was an instruction fetch.
    IND = [98:98];
    /// The request was a read.
    RNW = [99:99];
    /// Secure streams only.
    NSIPA = [100:100];
    /// Stage 2 faulted.
    S2 = [103:103];
    /// What was being done: see [`class`].
    CLASS = [105:104];
    /// F_PERMISSION with CLASS TT: the descriptor access that faulted was a read.
    TTRNW = [108:108];
    /// The request's address.
    INPUT_ADDR = [191:128];
    /// Faults of stage 2: the IPA, bits 55:12.
    IPA = [247:204];
    /// F_STE_FETCH, F_CD_FETCH, F_WALK_EABT: the physical address of the fetch, bits 55:3.
    FETCH_ADDR = [247:195];
}

/// Values of [`CLASS`] (7.3).
pub mod class {
    /// A CD fetch.
    pub const CD: u64 = 0b00;
    /// A stage 1 descriptor fetch.
    pub const TT: u64 = 0b01;
    /// The request itself.
    pub const IN: u64 = 0b10;
}
