//! Context entries: what becomes of a source's requests.

/// Legacy mode (9.3): 256 entries of 16 bytes, indexed by device and function number.
pub mod legacy {
    /// Bytes of an entry.
    pub const BYTES: usize = 16;
    /// 64-bit words of an entry.
    pub const WORDS: usize = BYTES / 8;
    /// Entries of a table.
    pub const ENTRIES: usize = 256;

    fields! {
        /// Present.
        P = [0:0];
        /// Fault processing disable: qualified faults are not recorded.
        FPD = [1:1];
        /// Translation type: see [`tt`].
        TT = [3:2];
        /// The second-stage table; the field in place is its address. Formerly ASR, SLPTPTR.
        SSPTPTR = [63:12];
        /// Address width of the table: see [`aw`](super::aw). With pass-through the widest that SAGAW has.
        AW = [66:64];
        /// Software's own.
        IGN = [70:67];
        /// Domain ID.
        DID = [87:72];
    }
    /// Values of [`TT`].
    pub mod tt {
        /// Untranslated requests are translated; translation requests and translated requests are refused.
        pub const UNTRANSLATED: u64 = 0b00;
        /// And translation requests are answered and translated requests pass (ECAP.DT).
        pub const DEVICE_TLB: u64 = 0b01;
        /// Untranslated requests pass as they are (ECAP.PT).
        pub const PASS_THROUGH: u64 = 0b10;
    }
    /// Bits that are reserved whatever the address width.
    pub const RESERVED: [u64; WORDS] = [0xff0, 0xffff_ffff_ff00_0080];
}

/// Address widths of second-stage tables in context and PASID entries (9.3, 9.6).
pub mod aw {
    /// 39 bits, 3 levels.
    pub const BITS_39: u64 = 0b001;
    /// 48 bits, 4 levels.
    pub const BITS_48: u64 = 0b010;
    /// 57 bits, 5 levels.
    pub const BITS_57: u64 = 0b011;
}

/// Scalable mode (9.4): two tables of 128 entries of 32 bytes, indexed by the low seven bits of device and function
/// number.
pub mod scalable {
    /// Bytes of an entry.
    pub const BYTES: usize = 32;
    /// 64-bit words of an entry.
    pub const WORDS: usize = BYTES / 8;
    /// Entries of a table.
    pub const ENTRIES: usize = 128;

    fields! {
        /// Present.
        P = [0:0];
        /// Fault processing disable: qualified faults are not recorded.
        FPD = [1:1];
        /// Device-TLB enable (ECAP.DT).
        DTE = [2:2];
        /// PASID enable: requests with PASID are served (ECAP.PASID).
        PASIDE = [3:3];
        /// Page request enable (ECAP.PRS).
        PRE = [4:4];
        /// Size of the PASID directory: `1 << (n + 7)` entries.
        PDTS = [11:9];
        /// The PASID directory; the field in place is its address.
        PASIDDIRPTR = [63:12];
        /// The PASID that stands for requests without one (ECAP.RPS).
        RID_PASID = [83:64];
        /// Requests without PASID are privileged (ECAP.RPRIVS).
        RID_PRIV = [84:84];
    }
    /// Bits that are reserved whatever the address width and the capabilities.
    pub const RESERVED: [u64; WORDS] = [0x1e0, 0xffff_ffff_ffe0_0000, u64::MAX, u64::MAX];
}
