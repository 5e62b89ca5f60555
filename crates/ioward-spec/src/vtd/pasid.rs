//! PASID directory and table entries: what becomes of a request in scalable mode.

/// PASID bits that index a table: the directory is indexed by those above.
pub const TABLE_BITS: u32 = 6;

/// Directory entries (9.5).
pub mod directory {
    /// Bytes of an entry.
    pub const BYTES: usize = 8;

    fields! {
        /// Present.
        P = [0:0];
        /// Fault processing disable.
        FPD = [1:1];
        /// The PASID table; the field in place is its address.
        SMPTBLPTR = [63:12];
    }
    /// Bits that are reserved whatever the address width.
    pub const RESERVED: u64 = 0xffc;
}

/// Table entries (9.6).
pub mod entry {
    /// Bytes of an entry.
    pub const BYTES: usize = 64;
    /// 64-bit words of an entry.
    pub const WORDS: usize = BYTES / 8;
    /// Entries of a table.
    pub const ENTRIES: usize = 1 << super::TABLE_BITS;

    fields! {
        /// Present.
        P = [0:0];
        /// Fault processing disable.
        FPD = [1:1];
        /// Address width of the second-stage table: see [`aw`](crate::vtd::context::aw).
        AW = [4:2];
        /// Second-stage execute enable (ECAP.ERS); formerly SLEE.
        SSEE = [5:5];
        /// PASID granular translation type: see [`pgtt`].
        PGTT = [8:6];
        /// Accessed and dirty bits in the second-stage table (ECAP.SSADS); formerly SLADE.
        SSADE = [9:9];
        /// The second-stage table; the field in place is its address.
        SSPTPTR = [63:12];
        /// Domain ID.
        DID = [79:64];
        /// Walks of the tables snoop CPU caches (ECAP.SMPWCS).
        PWSNP = [87:87];
        /// Every access snoops CPU caches (ECAP.SC).
        PGSNP = [88:88];
        /// Cache disable (ECAP.MTS).
        CD = [89:89];
        /// Extended memory type enable (ECAP.MTS).
        EMTE = [90:90];
        /// Extended memory type (ECAP.MTS).
        EMT = [93:91];
        /// Page-level write-through (ECAP.MTS).
        PWT = [94:94];
        /// Page-level cache disable (ECAP.MTS).
        PCD = [95:95];
        /// Page attribute table (ECAP.MTS).
        PAT = [127:96];
        /// Supervisor requests are served (ECAP.SRS).
        SRE = [128:128];
        /// Execute requests are served (ECAP.ERS).
        ERE = [129:129];
        /// First-stage paging mode: see [`fspm`]; formerly FLPM.
        FSPM = [131:130];
        /// Write protect: supervisor writes obey R/W.
        WPE = [132:132];
        /// No-execute enable.
        NXE = [133:133];
        /// Supervisor mode execute prevention.
        SMEP = [134:134];
        /// Extended-accessed flag (ECAP.EAFS).
        EAFE = [135:135];
        /// The first-stage table; the field in place is its address. Formerly FLPTPTR.
        FSPTPTR = [191:140];
    }
    /// Values of [`PGTT`].
    pub mod pgtt {
        /// First stage only (ECAP.FSTS).
        pub const FIRST: u64 = 0b001;
        /// Second stage only (ECAP.SSTS).
        pub const SECOND: u64 = 0b010;
        /// First stage, and what it gives and where its tables lie through the second (ECAP.NEST).
        pub const NESTED: u64 = 0b011;
        /// Pass-through (ECAP.PT).
        pub const PASS_THROUGH: u64 = 0b100;
    }
    /// Values of [`FSPM`].
    pub mod fspm {
        /// 4 levels.
        pub const LEVELS_4: u64 = 0b00;
        /// 5 levels (CAP.FS5LP).
        pub const LEVELS_5: u64 = 0b01;
    }
    /// Bits that are reserved whatever the address width and the capabilities.
    pub const RESERVED: [u64; WORDS] =
        [0xc00, 0x007f_0000, 0xf00, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX];
}
