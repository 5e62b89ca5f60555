//! The command queue (3.1): 16-byte entries.

/// Bytes of a command.
pub const BYTES: usize = 16;
/// 64-bit words of a command.
pub const WORDS: usize = BYTES / 8;

/// Values of [`OPCODE`] (3.1).
pub mod opcode {
    /// Page-table caches.
    pub const IOTINVAL: u64 = 1;
    /// Fences.
    pub const IOFENCE: u64 = 2;
    /// Directory caches.
    pub const IODIR: u64 = 3;
    /// Devices' caches and page requests.
    pub const ATS: u64 = 4;
}

/// Values of [`FUNC3`].
pub mod func3 {
    /// IOTINVAL: first stage (3.1.1).
    pub const VMA: u64 = 0;
    /// IOTINVAL: second stage and MSI page tables (3.1.1).
    pub const GVMA: u64 = 1;
    /// IOFENCE: IOFENCE.C (3.1.2).
    pub const C: u64 = 0;
    /// IODIR: device directory (3.1.3).
    pub const INVAL_DDT: u64 = 0;
    /// IODIR: process directory (3.1.3).
    pub const INVAL_PDT: u64 = 1;
    /// ATS: invalidation request (3.1.4).
    pub const INVAL: u64 = 0;
    /// ATS: page request group response (3.1.4).
    pub const PRGR: u64 = 1;
}

fields! {
    /// What the fields mean: see [`opcode`].
    OPCODE = [6:0];
    /// Which function: see [`func3`].
    FUNC3 = [9:7];
    /// IOTINVAL: the address is valid.
    IOTINVAL_AV = [10:10];
    /// IOTINVAL: process soft-context identifier.
    IOTINVAL_PSCID = [31:12];
    /// IOTINVAL.VMA: PSCID is valid.
    IOTINVAL_PSCV = [32:32];
    /// IOTINVAL: GSCID is valid.
    IOTINVAL_GV = [33:33];
    /// IOTINVAL: non-leaf entries too, with `capabilities.NL` (release 2026-02-22, 8.2).
    IOTINVAL_NL = [34:34];
    /// IOTINVAL: guest soft-context identifier.
    IOTINVAL_GSCID = [59:44];
    /// IOTINVAL: the address encodes a range, with `capabilities.S` (release 2026-02-22, 8.3).
    IOTINVAL_S = [73:73];
    /// IOTINVAL: address bits 63:12.
    IOTINVAL_ADDR = [125:74];
    /// IOFENCE: address and data are valid.
    IOFENCE_AV = [10:10];
    /// IOFENCE: sets cqcsr.fence_w_ip.
    IOFENCE_WSI = [11:11];
    /// IOFENCE: earlier reads of devices are committed.
    IOFENCE_PR = [12:12];
    /// IOFENCE: earlier writes of devices are committed.
    IOFENCE_PW = [13:13];
    /// IOFENCE: what is written.
    IOFENCE_DATA = [63:32];
    /// IOFENCE: address bits 63:2.
    IOFENCE_ADDR = [125:64];
    /// IODIR.INVAL_PDT: process_id.
    IODIR_PID = [31:12];
    /// IODIR: DID is valid.
    IODIR_DV = [33:33];
    /// IODIR: device_id.
    IODIR_DID = [63:40];
    /// ATS: PASID.
    ATS_PID = [31:12];
    /// ATS: PID is valid.
    ATS_PV = [32:32];
    /// ATS: DSEG is valid.
    ATS_DSV = [33:33];
    /// ATS: requester ID.
    ATS_RID = [55:40];
    /// ATS: segment.
    ATS_DSEG = [63:56];
    /// ATS.INVAL: of every PASID.
    INVAL_G = [64:64];
    /// ATS.INVAL: the address encodes a range.
    INVAL_S = [75:75];
    /// ATS.INVAL: address bits 63:12.
    INVAL_ADDR = [127:76];
    /// ATS.PRGR: page request group index.
    PRGR_INDEX = [104:96];
    /// ATS.PRGR: response code.
    PRGR_CODE = [111:108];
}

/// Values of [`PRGR_CODE`] (PCIe 6.0, 10.4.2.1).
pub mod response {
    /// All pages of the group are there.
    pub const SUCCESS: u64 = 0b0000;
    /// A page is not there and will not be.
    pub const INVALID_REQUEST: u64 = 0b0001;
    /// The interface failed.
    pub const FAILURE: u64 = 0b1111;
}
