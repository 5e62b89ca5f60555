//! Stream table: level 1 descriptors (5.1) and Stream table entries (5.2).

/// Bytes of a Stream table entry (5.2); a table of them is aligned to the greater of 64 bytes and its size (6.3.24).
pub const BYTES: usize = 64;
/// 64-bit words of a Stream table entry.
pub const WORDS: usize = BYTES / 8;

/// Level 1 Stream table descriptor: one 64-bit word (5.1).
pub mod l1std {
    /// Bytes of a descriptor.
    pub const BYTES: usize = 8;
    fields! {
        /// 0: no level 2 array; 1 to SPLIT + 1: it holds 2^(Span-1) entries; other values are Reserved.
        SPAN = [4:0];
        /// Physical address of the level 2 array, bits 55:6, aligned to its size.
        L2PTR = [55:6];
    }
}

fields! {
    /// The entry is valid; all other fields are IGNORED where it is 0.
    V = [0:0];
    /// What translates: see [`config`].
    CONFIG = [3:1];
    /// Shape of the CD table: see [`s1fmt`].
    S1FMT = [5:4];
    /// Address of the CD or CD table, bits 55:6; an IPA where stage 2 translates.
    S1CONTEXTPTR = [55:6];
    /// log2 of the number of CDs; 0: one CD and no substreams.
    S1CDMAX = [63:59];
    /// What happens to requests without a substream: see [`s1dss`].
    S1DSS = [65:64];
    /// Inner cacheability of CD fetches.
    S1CIR = [67:66];
    /// Outer cacheability of CD fetches.
    S1COR = [69:68];
    /// Shareability of CD fetches.
    S1CSH = [71:70];
    /// Hardware may use bit 59 of stage 2 descriptors.
    S2HWU59 = [72:72];
    /// Hardware may use bit 60 of stage 2 descriptors.
    S2HWU60 = [73:73];
    /// Hardware may use bit 61 of stage 2 descriptors.
    S2HWU61 = [74:74];
    /// Hardware may use bit 62 of stage 2 descriptors.
    S2HWU62 = [75:75];
    /// Destructive Read Enable.
    DRE = [76:76];
    /// Contiguity hint: 2^CONT entries are identical.
    CONT = [80:77];
    /// Directed Cache Prefetch allowed.
    DCP = [81:81];
    /// PRI automatic responses carry a PASID.
    PPAR = [82:82];
    /// Events of this stream may be merged.
    MEV = [83:83];
    /// For software.
    SW_RESERVED = [87:84];
    /// Stage 1 permission indirection (IDR3.S1PI).
    S1PIE = [88:88];
    /// Stage 2 forces write-back (IDR3.FWB).
    S2FWB = [89:89];
    /// Stage 1 MPAM (IDR3.MPAM).
    S1MPAM = [90:90];
    /// Stage 1 stalls are disabled.
    S1STALLD = [91:91];
    /// What ATS may do: see [`eats`].
    EATS = [93:92];
    /// Exception level of stage 1: see [`strw`].
    STRW = [95:94];
    /// Memory type override, with MTCFG.
    MEMATTR = [99:96];
    /// Whether MEMATTR replaces the incoming memory type.
    MTCFG = [100:100];
    /// Allocation hints override.
    ALLOCCFG = [104:101];
    /// Shareability override: see [`shcfg`].
    SHCFG = [109:108];
    /// Non-secure attribute override; RES0 for Non-secure streams.
    NSCFG = [111:110];
    /// Privilege override: see [`privcfg`].
    PRIVCFG = [113:112];
    /// Instruction or data override: see [`instcfg`].
    INSTCFG = [115:114];
    /// Implementation defined.
    IMPDEF_1 = [127:116];
    /// Virtual machine identifier.
    S2VMID = [143:128];
    /// Implementation defined.
    IMPDEF_2 = [159:144];
    /// Stage 2 input size: 64 minus the IPA width.
    S2T0SZ = [165:160];
    /// Stage 2 starting level.
    S2SL0 = [167:166];
    /// Inner cacheability of stage 2 walks.
    S2IR0 = [169:168];
    /// Outer cacheability of stage 2 walks.
    S2OR0 = [171:170];
    /// Shareability of stage 2 walks.
    S2SH0 = [173:172];
    /// Stage 2 granule: see [`tg0`](super::cd::tg0), which encodes it the same way.
    S2TG = [175:174];
    /// Stage 2 output size: see [`oas`](super::registers::idr5::oas).
    S2PS = [178:176];
    /// Stage 2 tables are VMSAv8-64.
    S2AA64 = [179:179];
    /// Stage 2 tables are big-endian.
    S2ENDI = [180:180];
    /// Stage 2 Access flag faults are disabled.
    S2AFFD = [181:181];
    /// Stage 1 walks and CD fetches that reach Device memory at stage 2 fault.
    S2PTW = [182:182];
    /// Hardware updates dirty state at stage 2.
    S2HD = [183:183];
    /// Hardware updates the Access flag at stage 2.
    S2HA = [184:184];
    /// Stage 2 faults stall.
    S2S = [185:185];
    /// Stage 2 faults are recorded.
    S2R = [186:186];
    /// Hardware updates the Access flag in stage 2 table descriptors.
    S2HAFT = [187:187];
    /// Stage 2 permission indirection.
    S2PIE = [188:188];
    /// Stage 2 permission overlay.
    S2POE = [189:189];
    /// Device permission table VMID matching.
    DPT_VMATCH = [191:190];
    /// Secure streams only.
    S2NSW = [192:192];
    /// Secure streams only.
    S2NSA = [193:193];
    /// Third bit of the starting level, with S2DS.
    S2SL0_2 = [194:194];
    /// 52-bit addresses with 4KB and 16KB granules at stage 2 (IDR5.DS).
    S2DS = [195:195];
    /// Address of the stage 2 root, bits 55:4.
    S2TTB = [247:196];
    /// Levels to skip, with 128-bit descriptors.
    S2SKL = [254:253];
    /// MPAM partition.
    PARTID = [287:272];
    /// Memory encryption context.
    MECID = [319:304];
    /// MPAM performance monitoring group.
    PMG = [327:320];
    /// Secure streams only.
    MPAM_NS = [328:328];
    /// Assured translations only (stage 2).
    ASSURED_ONLY = [329:329];
    /// Top-level enables (stage 2, TTB0).
    TL0 = [330:330];
    /// Top-level enables (stage 2, TTB1).
    TL1 = [331:331];
    /// Address of the Virtual Machine Structure, bits 55:12.
    VMSPTR = [375:332];
}

/// Values of [`CONFIG`].
pub mod config {
    /// Requests are aborted and no event is recorded. Any value 0b0xx does so.
    pub const ABORT: u64 = 0b000;
    /// No stage translates.
    pub const BYPASS: u64 = 0b100;
    /// Stage 1 translates.
    pub const S1: u64 = 0b101;
    /// Stage 2 translates.
    pub const S2: u64 = 0b110;
    /// Both stages translate.
    pub const S1_S2: u64 = 0b111;
}

/// Values of [`S1FMT`].
pub mod s1fmt {
    /// One array of CDs.
    pub const LINEAR: u64 = 0b00;
    /// Two levels, the second of 4KB: 64 CDs each.
    pub const L2_4K: u64 = 0b01;
    /// Two levels, the second of 64KB: 1024 CDs each.
    pub const L2_64K: u64 = 0b10;
}

/// Values of [`S1DSS`].
pub mod s1dss {
    /// Requests without a substream are aborted (F_STREAM_DISABLED).
    pub const TERMINATE: u64 = 0b00;
    /// Requests without a substream bypass stage 1.
    pub const BYPASS: u64 = 0b01;
    /// Requests without a substream use CD 0, and requests with substream 0 are aborted.
    pub const SSID0: u64 = 0b10;
}

/// Values of [`EATS`].
pub mod eats {
    /// Translation requests get UR, translated traffic is aborted.
    pub const ABORT: u64 = 0b00;
    /// Full ATS.
    pub const FULL: u64 = 0b01;
    /// Split-stage ATS: devices get IPAs.
    pub const SPLIT: u64 = 0b10;
    /// ATS checked by the Device permission table.
    pub const DPT: u64 = 0b11;
}

/// Values of [`STRW`].
pub mod strw {
    /// NS-EL1.
    pub const NS_EL1: u64 = 0b00;
    /// Reserved for Non-secure streams, EL3 for Secure ones.
    pub const EL3: u64 = 0b01;
    /// NS-EL2, or NS-EL2-E2H where CR2.E2H is 1.
    pub const NS_EL2: u64 = 0b10;
}

/// Values of [`SHCFG`].
pub mod shcfg {
    /// Non-shareable.
    pub const NON: u64 = 0b00;
    /// As the request says.
    pub const INCOMING: u64 = 0b01;
    /// Outer Shareable.
    pub const OUTER: u64 = 0b10;
    /// Inner Shareable.
    pub const INNER: u64 = 0b11;
}

/// Values of [`PRIVCFG`].
pub mod privcfg {
    /// As the request says.
    pub const INCOMING: u64 = 0b00;
    /// Reserved; behaves as 0b00.
    pub const RESERVED: u64 = 0b01;
    /// Unprivileged.
    pub const UNPRIVILEGED: u64 = 0b10;
    /// Privileged.
    pub const PRIVILEGED: u64 = 0b11;
}

/// Values of [`INSTCFG`].
pub mod instcfg {
    /// As the request says.
    pub const INCOMING: u64 = 0b00;
    /// Reserved; behaves as 0b00.
    pub const RESERVED: u64 = 0b01;
    /// Data.
    pub const DATA: u64 = 0b10;
    /// Instruction.
    pub const INSTRUCTION: u64 = 0b11;
}

/// Values of [`S2SL0`] for a 4KB granule with S2DS = 0 (5.2); larger granules name one level lower for each value.
pub mod s2sl0 {
    /// 4KB: level 2. 16KB and 64KB: level 3.
    pub const LEVEL_2: u64 = 0b00;
    /// 4KB: level 1. 16KB and 64KB: level 2.
    pub const LEVEL_1: u64 = 0b01;
    /// 4KB: level 0. 16KB and 64KB: level 1.
    pub const LEVEL_0: u64 = 0b10;
    /// 4KB: level 3 where IDR3.STT. 16KB: level 0 with S2DS. 64KB: Reserved.
    pub const LEVEL_3: u64 = 0b11;
}
