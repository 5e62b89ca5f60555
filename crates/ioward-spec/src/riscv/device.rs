//! Device directory and device context (2.1).
//!
//! A device_id has 24 bits. A directory's leaf is a page of contexts; each level above is a page of 8-byte entries.

/// Bytes of a device context of base format: `capabilities.MSI_FLAT` is 0 (2.1.2).
pub const BASE_BYTES: usize = 32;
/// 64-bit words of a device context of base format.
pub const BASE_WORDS: usize = BASE_BYTES / 8;
/// Bytes of a device context of extended format: `capabilities.MSI_FLAT` is 1 (2.1.2).
pub const EXTENDED_BYTES: usize = 64;
/// 64-bit words of a device context of extended format.
pub const EXTENDED_WORDS: usize = EXTENDED_BYTES / 8;
/// Bits of a device_id.
pub const DEVICE_ID_BITS: u32 = 24;
/// Bits of a device_id that each level indexes, lowest level first, base format (2.1).
pub const BASE_INDEX_BITS: [u32; 3] = [7, 9, 8];
/// Bits of a device_id that each level indexes, lowest level first, extended format (2.1).
pub const EXTENDED_INDEX_BITS: [u32; 3] = [6, 9, 9];

/// A non-leaf entry, 8 bytes (2.1.1).
pub mod ddte {
    fields! {
        /// Valid.
        V = [0:0];
        /// Page number of the next level.
        PPN = [53:10];
    }
}

fields! {
    /// tc: valid (2.1.3.1).
    V = [0:0];
    /// tc: ATS transactions are allowed.
    EN_ATS = [1:1];
    /// tc: page requests are allowed.
    EN_PRI = [2:2];
    /// tc: ATS completions carry guest physical addresses.
    T2GPA = [3:3];
    /// tc: most translation faults are not reported.
    DTF = [4:4];
    /// tc: fsc is a process-directory-table pointer.
    PDTV = [5:5];
    /// tc: responses that the IOMMU makes to page requests carry PASIDs.
    PRPR = [6:6];
    /// tc: second-stage accessed and dirty bits are updated.
    GADE = [7:7];
    /// tc: first-stage accessed and dirty bits are updated.
    SADE = [8:8];
    /// tc: requests without process_id have process_id 0.
    DPE = [9:9];
    /// tc: process directory and first stage are big-endian.
    SBE = [10:10];
    /// tc: first stages are Sv32.
    SXL = [11:11];
    /// tc: custom use.
    CUSTOM = [31:24];
    /// iohgatp: page number of the second stage's root, a multiple of four (2.1.3.2).
    IOHGATP_PPN = [107:64];
    /// iohgatp: guest soft-context identifier.
    GSCID = [123:108];
    /// iohgatp: see [`iohgatp_mode`].
    IOHGATP_MODE = [127:124];
    /// ta: process soft-context identifier, where fsc is iosatp (2.1.3.3).
    PSCID = [159:140];
    /// ta: resource control, with `capabilities.QOSID`.
    RCID = [179:168];
    /// ta: monitoring counter, with `capabilities.QOSID`.
    MCID = [191:180];
    /// fsc: page number of the first stage's root, or of the process directory's (2.1.3.4).
    FSC_PPN = [235:192];
    /// fsc: see [`iosatp_mode`] and [`pdtp_mode`].
    FSC_MODE = [255:252];
    /// msiptp, extended format: page number of the MSI page table (2.1.3.5).
    MSIPTP_PPN = [299:256];
    /// msiptp: see [`msiptp_mode`].
    MSIPTP_MODE = [319:316];
    /// msi_addr_mask, extended format: bits of a page number that are the interrupt file's number (2.1.3.6).
    MSI_ADDR_MASK = [371:320];
    /// msi_addr_pattern, extended format: what the other bits of the page number must be (2.1.3.6).
    MSI_ADDR_PATTERN = [435:384];
}

/// Values of [`IOHGATP_MODE`] (2.1.3.2).
pub mod iohgatp_mode {
    /// No second stage.
    pub const BARE: u64 = 0;
    /// 34 bits, with fctl.GXL.
    pub const SV32X4: u64 = 8;
    /// 41 bits.
    pub const SV39X4: u64 = 8;
    /// 50 bits.
    pub const SV48X4: u64 = 9;
    /// 59 bits.
    pub const SV57X4: u64 = 10;
}

/// Values of [`FSC_MODE`] while [`PDTV`] is 0, and of a process context's (2.1.3.4).
pub mod iosatp_mode {
    /// No first stage.
    pub const BARE: u64 = 0;
    /// 32 bits, with SXL.
    pub const SV32: u64 = 8;
    /// 39 bits.
    pub const SV39: u64 = 8;
    /// 48 bits.
    pub const SV48: u64 = 9;
    /// 57 bits.
    pub const SV57: u64 = 10;
}

/// Values of [`FSC_MODE`] while [`PDTV`] is 1 (2.1.3.4).
pub mod pdtp_mode {
    /// No first stage.
    pub const BARE: u64 = 0;
    /// 8 bits of process_id: one level.
    pub const PD8: u64 = 1;
    /// 17 bits of process_id: two levels.
    pub const PD17: u64 = 2;
    /// 20 bits of process_id: three levels.
    pub const PD20: u64 = 3;
}

/// Values of [`MSIPTP_MODE`] (2.1.3.5).
pub mod msiptp_mode {
    /// No MSI page table.
    pub const OFF: u64 = 0;
    /// A flat one.
    pub const FLAT: u64 = 1;
}
