//! Context descriptors: level 1 descriptors (5.3) and Context descriptors (5.4).

/// Bytes of a Context descriptor (5.4).
pub const BYTES: usize = 64;
/// 64-bit words of a Context descriptor.
pub const WORDS: usize = BYTES / 8;
/// log2 of the CDs in a level 2 table of 4KB.
pub const L2_4K_SPLIT: u32 = 6;
/// log2 of the CDs in a level 2 table of 64KB.
pub const L2_64K_SPLIT: u32 = 10;

/// Level 1 Context descriptor: one 64-bit word (5.3).
pub mod l1cd {
    /// Bytes of a descriptor.
    pub const BYTES: usize = 8;
    fields! {
        /// The descriptor is valid.
        V = [0:0];
        /// Address of the level 2 table, bits 55:12, aligned to its size (4KB or 64KB).
        L2PTR = [55:12];
    }
}

fields! {
    /// Size of the region that TTB0 covers: 64 minus its width.
    T0SZ = [5:0];
    /// Granule of TTB0: see [`tg0`].
    TG0 = [7:6];
    /// Inner cacheability of TTB0 walks.
    IR0 = [9:8];
    /// Outer cacheability of TTB0 walks.
    OR0 = [11:10];
    /// Shareability of TTB0 walks.
    SH0 = [13:12];
    /// TTB0 is not walked: every access to its region faults.
    EPD0 = [14:14];
    /// Tables are big-endian.
    ENDI = [15:15];
    /// Size of the region that TTB1 covers.
    T1SZ = [21:16];
    /// Granule of TTB1: see [`tg1`], which differs from [`tg0`].
    TG1 = [23:22];
    /// Inner cacheability of TTB1 walks.
    IR1 = [25:24];
    /// Outer cacheability of TTB1 walks.
    OR1 = [27:26];
    /// Shareability of TTB1 walks.
    SH1 = [29:28];
    /// TTB1 is not walked.
    EPD1 = [30:30];
    /// The descriptor is valid.
    V = [31:31];
    /// Output size of stage 1: see [`oas`](super::registers::idr5::oas).
    IPS = [34:32];
    /// Access flag faults are disabled.
    AFFD = [35:35];
    /// Writable implies execute-never.
    WXN = [36:36];
    /// Writable by unprivileged implies privileged execute-never.
    UWXN = [37:37];
    /// Top byte of TTB0 addresses ignored.
    TBI0 = [38:38];
    /// Top byte of TTB1 addresses ignored.
    TBI1 = [39:39];
    /// Privileged Access Never.
    PAN = [40:40];
    /// Tables are VMSAv8-64 (0: VMSAv8-32 LPAE).
    AA64 = [41:41];
    /// Hardware updates dirty state.
    HD = [42:42];
    /// Hardware updates the Access flag.
    HA = [43:43];
    /// Faults stall.
    S = [44:44];
    /// Faults are recorded.
    R = [45:45];
    /// Terminated requests abort (0: read as zero, writes ignored).
    A = [46:46];
    /// The ASID is not shared with processes: broadcast invalidation need not match.
    ASET = [47:47];
    /// Address space identifier.
    ASID = [63:48];
    /// Secure streams only.
    NSCFG0 = [64:64];
    /// Hierarchical attributes of TTB0 disabled (IDR3.HAD).
    HAD0 = [65:65];
    /// Unprivileged access to TTB0's region faults (IDR3.E0PD).
    E0PD0 = [66:66];
    /// Hardware updates the Access flag in table descriptors.
    HAFT = [67:67];
    /// Address of TTB0's root, bits 55:4; an IPA where stage 2 translates.
    TTB0 = [119:68];
    /// Protected attribute in place of Contiguous.
    PNCH = [122:122];
    /// Enhanced PAN (IDR3.EPAN).
    EPAN = [123:123];
    /// Hardware may use bit 59 of TTB0 descriptors.
    HWU059 = [124:124];
    /// Hardware may use bit 60 of TTB0 descriptors.
    HWU060 = [125:125];
    /// Levels to skip with 128-bit descriptors, else bits 61 and 62 for hardware (TTB0).
    SKL0 = [127:126];
    /// Secure streams only.
    NSCFG1 = [128:128];
    /// Hierarchical attributes of TTB1 disabled.
    HAD1 = [129:129];
    /// Unprivileged access to TTB1's region faults.
    E0PD1 = [130:130];
    /// Attribute index extension.
    AIE = [131:131];
    /// Address of TTB1's root, bits 55:4.
    TTB1 = [183:132];
    /// 52-bit addresses with 4KB and 16KB granules (IDR5.DS).
    DS = [186:186];
    /// Permission indirection.
    PIE = [187:187];
    /// Hardware may use bit 59 of TTB1 descriptors.
    HWU159 = [188:188];
    /// Hardware may use bit 60 of TTB1 descriptors.
    HWU160 = [189:189];
    /// Levels to skip with 128-bit descriptors, else bits 61 and 62 for hardware (TTB1).
    SKL1 = [191:190];
    /// Memory attributes 0 to 3, a byte each.
    MAIR0 = [223:192];
    /// Memory attributes 4 to 7, a byte each.
    MAIR1 = [255:224];
    /// Auxiliary memory attributes 0 to 3.
    AMAIR0 = [287:256];
    /// Auxiliary memory attributes 4 to 7.
    AMAIR1 = [319:288];
    /// Implementation defined.
    IMPDEF = [351:320];
    /// MPAM partition.
    PARTID = [367:352];
    /// MPAM performance monitoring group.
    PMG = [375:368];
}

/// Values of [`TG0`] and of STE.S2TG.
pub mod tg0 {
    /// 4KB.
    pub const K4: u64 = 0b00;
    /// 64KB.
    pub const K64: u64 = 0b01;
    /// 16KB.
    pub const K16: u64 = 0b10;
}

/// Values of [`TG1`].
pub mod tg1 {
    /// 16KB.
    pub const K16: u64 = 0b01;
    /// 4KB.
    pub const K4: u64 = 0b10;
    /// 64KB.
    pub const K64: u64 = 0b11;
}
