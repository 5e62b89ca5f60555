//! The Command queue (chapter 4): 16-byte entries.

/// Bytes of a command.
pub const BYTES: usize = 16;
/// 64-bit words of a command.
pub const WORDS: usize = BYTES / 8;
/// ATC_INV's SIZE that means every address (4.5.1).
pub const ATC_SIZE_ALL: u64 = 52;
/// CFGI_STE_RANGE's RANGE that makes it CFGI_ALL (4.3.6).
pub const RANGE_ALL: u64 = 31;

/// Values of [`OPCODE`] (4.1.1).
pub mod opcode {
    /// Prefetch configuration (4.2.1).
    pub const PREFETCH_CONFIG: u64 = 0x01;
    /// Prefetch translations (4.2.2).
    pub const PREFETCH_ADDR: u64 = 0x02;
    /// Invalidate one STE and all CDs found through it (4.3.1).
    pub const CFGI_STE: u64 = 0x03;
    /// Invalidate 2^(RANGE+1) STEs (4.3.2).
    pub const CFGI_STE_RANGE: u64 = 0x04;
    /// CFGI_STE_RANGE with RANGE = 31: invalidate all configuration (4.3.6).
    pub const CFGI_ALL: u64 = CFGI_STE_RANGE;
    /// Invalidate one CD (4.3.3).
    pub const CFGI_CD: u64 = 0x05;
    /// Invalidate all CDs of a stream (4.3.4).
    pub const CFGI_CD_ALL: u64 = 0x06;
    /// Invalidate a VMS's PARTID map (4.3.5).
    pub const CFGI_VMS_PIDM: u64 = 0x07;
    /// NS-EL1 stage 1 entries of a VMID (4.4.2.1).
    pub const TLBI_NH_ALL: u64 = 0x10;
    /// NS-EL1 non-global entries by VMID and ASID (4.4.2.2).
    pub const TLBI_NH_ASID: u64 = 0x11;
    /// NS-EL1 entries by VMID, ASID and address (4.4.2.4).
    pub const TLBI_NH_VA: u64 = 0x12;
    /// NS-EL1 entries by VMID and address (4.4.2.3).
    pub const TLBI_NH_VAA: u64 = 0x13;
    /// EL3 entries; Secure Command queue only (4.4.2.5).
    pub const TLBI_EL3_ALL: u64 = 0x18;
    /// EL3 entries by address; Secure Command queue only (4.4.2.6).
    pub const TLBI_EL3_VA: u64 = 0x1a;
    /// NS-EL2 entries (4.4.2.7).
    pub const TLBI_EL2_ALL: u64 = 0x20;
    /// NS-EL2-E2H non-global entries by ASID (4.4.2.10).
    pub const TLBI_EL2_ASID: u64 = 0x21;
    /// NS-EL2 entries by address, with E2H also by ASID (4.4.2.8).
    pub const TLBI_EL2_VA: u64 = 0x22;
    /// NS-EL2 entries by address (4.4.2.9).
    pub const TLBI_EL2_VAA: u64 = 0x23;
    /// All NS-EL1 entries of a VMID, both stages (4.4.3.2).
    pub const TLBI_S12_VMALL: u64 = 0x28;
    /// Stage 2 entries by VMID and IPA (4.4.3.1).
    pub const TLBI_S2_IPA: u64 = 0x2a;
    /// All Non-secure entries but those of EL2 (4.4.4.1).
    pub const TLBI_NSNH_ALL: u64 = 0x30;
    /// Invalidate a device's translation cache (4.5.1).
    pub const ATC_INV: u64 = 0x40;
    /// Answer a page request group (4.5.2).
    pub const PRI_RESP: u64 = 0x41;
    /// Resume a stalled request (4.7.1).
    pub const RESUME: u64 = 0x44;
    /// Terminate all stalled requests of a stream (4.7.2).
    pub const STALL_TERM: u64 = 0x45;
    /// Complete everything before it (4.7.3).
    pub const SYNC: u64 = 0x46;
    /// Secure Command queue only (4.4.2.11).
    pub const TLBI_S_EL2_ALL: u64 = 0x50;
    /// Secure Command queue only (4.4.2.14).
    pub const TLBI_S_EL2_ASID: u64 = 0x51;
    /// Secure Command queue only (4.4.2.12).
    pub const TLBI_S_EL2_VA: u64 = 0x52;
    /// Secure Command queue only (4.4.2.13).
    pub const TLBI_S_EL2_VAA: u64 = 0x53;
    /// Secure Command queue only (4.4.3.4).
    pub const TLBI_S_S12_VMALL: u64 = 0x58;
    /// Secure Command queue only (4.4.3.3).
    pub const TLBI_S_S2_IPA: u64 = 0x5a;
    /// Secure Command queue only (4.4.4.2).
    pub const TLBI_SNH_ALL: u64 = 0x60;
    /// Invalidate all of the Device permission table (4.6.1).
    pub const DPTI_ALL: u64 = 0x70;
    /// Invalidate the Device permission table by address (4.6.2).
    pub const DPTI_PA: u64 = 0x73;
}

fields! {
    /// Every command: which.
    OPCODE = [7:0];
    /// ATC_INV: every PASID (with SSV).
    ATC_GLOBAL = [9:9];
    /// CFGI, PREFETCH, RESUME, STALL_TERM: the StreamID is Secure.
    SSEC = [10:10];
    /// PREFETCH, ATC_INV, PRI_RESP: SUBSTREAM_ID is valid.
    SSV = [11:11];
    /// PREFETCH, CFGI_CD, ATC_INV, PRI_RESP: the SubstreamID.
    SUBSTREAM_ID = [31:12];
    /// PREFETCH, CFGI, ATC_INV, PRI_RESP, RESUME, STALL_TERM: the StreamID.
    STREAM_ID = [63:32];
    /// CFGI_STE, CFGI_CD, TLBI by address: last level only.
    LEAF = [64:64];
    /// CFGI_STE_RANGE: 2^(RANGE+1) StreamIDs, aligned.
    RANGE = [68:64];
    /// TLBI by address, IDR3.RIL: granules less one, times 2^SCALE.
    TLBI_NUM = [16:12];
    /// TLBI by address, IDR3.RIL: see NUM; bits 24:20 alone without IDR5.DS.
    TLBI_SCALE = [25:20];
    /// TLBI: the VMID.
    TLBI_VMID = [47:32];
    /// TLBI: the ASID.
    TLBI_ASID = [63:48];
    /// TLBI by address: the hint is of 128-bit descriptors.
    TLBI_TTL128 = [71:71];
    /// TLBI by address, IDR3.RIL: level hint, 0 for none.
    TLBI_TTL = [73:72];
    /// TLBI by address, IDR3.RIL: granule, see [`tg`]; 0: neither range nor hint.
    TLBI_TG = [75:74];
    /// TLBI by virtual address, PREFETCH_ADDR, ATC_INV: address bits 63:12.
    ADDRESS = [127:76];
    /// TLBI_S2_IPA: IPA bits 55:12.
    IPA = [119:76];
    /// ATC_INV: 2^SIZE pages of 4KB, aligned; 52 for all.
    ATC_SIZE = [69:64];
    /// PREFETCH_ADDR: 2^SIZE translations.
    PREFETCH_SIZE = [68:64];
    /// PRI_RESP: page request group index.
    PRG_INDEX = [72:64];
    /// PRI_RESP: see [`resp`].
    PRI_RESPONSE = [77:76];
    /// RESUME: retry.
    RESUME_AC = [12:12];
    /// RESUME: terminate with an abort.
    RESUME_AB = [13:13];
    /// RESUME: which stalled request.
    RESUME_STAG = [79:64];
    /// SYNC: completion signal, see [`cs`].
    SYNC_CS = [13:12];
    /// SYNC: shareability of the MSI.
    SYNC_MSH = [23:22];
    /// SYNC: memory type of the MSI.
    SYNC_MSIATTR = [27:24];
    /// SYNC: data of the MSI.
    SYNC_MSIDATA = [63:32];
    /// SYNC: address of the MSI, bits 55:2; zero: none.
    SYNC_MSIADDRESS = [119:66];
}

/// Values of [`SYNC_CS`] (4.7.3).
pub mod cs {
    /// No signal: poll CMDQ_CONS.
    pub const SIG_NONE: u64 = 0b00;
    /// An interrupt or MSI.
    pub const SIG_IRQ: u64 = 0b01;
    /// A WFE wake-up event.
    pub const SIG_SEV: u64 = 0b10;
}

/// Values of [`TLBI_TG`] (4.4.1.1): neither CD.TG0's nor CD.TG1's encoding.
pub mod tg {
    /// No granule: one address, no hint.
    pub const NONE: u64 = 0b00;
    /// 4KB.
    pub const K4: u64 = 0b01;
    /// 16KB.
    pub const K16: u64 = 0b10;
    /// 64KB.
    pub const K64: u64 = 0b11;
}

/// Values of [`PRI_RESPONSE`] (4.5.2).
pub mod resp {
    /// Permanent error.
    pub const FAILURE: u64 = 0b00;
    /// A page could not be had.
    pub const INVALID: u64 = 0b01;
    /// The pages are there.
    pub const SUCCESS: u64 = 0b10;
}
