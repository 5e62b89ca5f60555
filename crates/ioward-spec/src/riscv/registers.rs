//! Registers (chapter 5): byte offsets from the start of the block, and the fields of each.
//!
//! A register of 32 bits is the low half of a word. All are little-endian.

/// Bytes of the register block (5).
pub const BLOCK_BYTES: usize = 0x1000;
/// Bytes of an entry of `msi_cfg_tbl` (5.29).
pub const MSI_CFG_BYTES: usize = 16;
/// Entries of `msi_cfg_tbl` (5.29).
pub const MSI_CFG_ENTRIES: usize = 16;
/// How many event counters and selectors there are at most (5.22, 5.23).
pub const HPM_COUNTERS: usize = 31;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => {
        $($(#[$doc])* pub const $name: usize = $at;)*
        /// Every offset above with its register's name.
        pub const OFFSETS: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

offsets! {
    /// 64 bits, read-only: what is supported (5.3).
    CAPABILITIES = 0x000;
    /// 32 bits: features control (5.4).
    FCTL = 0x008;
    /// 64 bits: device-directory-table pointer and mode (5.5).
    DDTP = 0x010;
    /// 64 bits: command queue, address and size (5.6).
    CQB = 0x018;
    /// 32 bits, read-only: its head, an index (5.7).
    CQH = 0x020;
    /// 32 bits: its tail, an index (5.8).
    CQT = 0x024;
    /// 64 bits: fault queue, address and size (5.9).
    FQB = 0x028;
    /// 32 bits: its head, an index (5.10).
    FQH = 0x030;
    /// 32 bits, read-only: its tail, an index (5.11).
    FQT = 0x034;
    /// 64 bits: page-request queue, address and size (5.12).
    PQB = 0x038;
    /// 32 bits: its head, an index (5.13).
    PQH = 0x040;
    /// 32 bits, read-only: its tail, an index (5.14).
    PQT = 0x044;
    /// 32 bits: command queue, control and status (5.15).
    CQCSR = 0x048;
    /// 32 bits: fault queue, control and status (5.16).
    FQCSR = 0x04c;
    /// 32 bits: page-request queue, control and status (5.17).
    PQCSR = 0x050;
    /// 32 bits: pending interrupts; write 1 to clear (5.18).
    IPSR = 0x054;
    /// 32 bits, read-only: counter overflows (5.19).
    IOCOUNTOVF = 0x058;
    /// 32 bits: counter inhibits (5.20).
    IOCOUNTINH = 0x05c;
    /// 64 bits: cycles counter (5.21).
    IOHPMCYCLES = 0x060;
    /// 64 bits each: event counters 1 to 31, this the first (5.22).
    IOHPMCTR1 = 0x068;
    /// 64 bits each: event selectors 1 to 31, this the first (5.23).
    IOHPMEVT1 = 0x160;
    /// 64 bits: IOVA of a translation request for debugging (5.24).
    TR_REQ_IOVA = 0x258;
    /// 64 bits: its control (5.25).
    TR_REQ_CTL = 0x260;
    /// 64 bits, read-only: its response (5.26).
    TR_RESPONSE = 0x268;
    /// 32 bits: quality-of-service identifiers of the IOMMU's own accesses (5.27).
    IOMMU_QOSID = 0x270;
    /// 64 bits: vectors of the interrupt causes (5.28).
    ICVEC = 0x2f8;
    /// 16 entries of [`MSI_CFG_BYTES`]: address, data and mask of the message of each vector (5.29).
    MSI_CFG_TBL = 0x300;
}

/// Offset of a message's address in its entry of `msi_cfg_tbl`, 64 bits (5.29).
pub const MSI_ADDR: usize = 0x0;
/// Offset of a message's data in its entry of `msi_cfg_tbl`, 32 bits (5.29).
pub const MSI_DATA: usize = 0x8;
/// Offset of a message's vector control in its entry of `msi_cfg_tbl`, 32 bits (5.29).
pub const MSI_VEC_CTL: usize = 0xc;

/// `capabilities` (5.3).
pub mod capabilities {
    fields! {
        /// Version of the specification: major in the upper nibble, 0x10 is 1.0.
        VERSION = [7:0];
        /// First stage of 32 bits.
        SV32 = [8:8];
        /// First stage of 39 bits.
        SV39 = [9:9];
        /// First stage of 48 bits; then SV39 too.
        SV48 = [10:10];
        /// First stage of 57 bits; then SV48 too.
        SV57 = [11:11];
        /// Bits 60 and 59 of page-table entries are software's (release 2026-02-22).
        SVRSW60T59B = [14:14];
        /// Page-based memory types.
        SVPBMT = [15:15];
        /// Second stage of 34 bits.
        SV32X4 = [16:16];
        /// Second stage of 41 bits.
        SV39X4 = [17:17];
        /// Second stage of 50 bits.
        SV48X4 = [18:18];
        /// Second stage of 59 bits.
        SV57X4 = [19:19];
        /// Atomic updates of memory-resident interrupt files.
        AMO_MRIF = [21:21];
        /// MSI page tables; then device contexts have the extended format.
        MSI_FLAT = [22:22];
        /// MSI page-table entries in MRIF mode.
        MSI_MRIF = [23:23];
        /// Accessed and dirty bits are updated by hardware where a device context asks for it.
        AMO_HWAD = [24:24];
        /// ATS and PRI.
        ATS = [25:25];
        /// ATS completions can carry guest physical addresses.
        T2GPA = [26:26];
        /// Both byte orders.
        END = [27:27];
        /// How interrupts are generated: see [`igs`].
        IGS = [29:28];
        /// Performance monitor.
        HPM = [30:30];
        /// Translation requests by register.
        DBG = [31:31];
        /// Physical address size in bits.
        PAS = [37:32];
        /// Process directories of one level.
        PD8 = [38:38];
        /// Process directories of two levels.
        PD17 = [39:39];
        /// Process directories of three levels.
        PD20 = [40:40];
        /// Quality-of-service identifiers.
        QOSID = [41:41];
        /// Invalidation of non-leaf entries by address (release 2026-02-22).
        NL = [42:42];
        /// Invalidation of address ranges (release 2026-02-22).
        S = [43:43];
    }
    /// Values of [`IGS`].
    pub mod igs {
        /// Messages only.
        pub const MSI: u64 = 0;
        /// Wires only.
        pub const WSI: u64 = 1;
        /// Either, as fctl.WSI chooses.
        pub const BOTH: u64 = 2;
    }
}

/// `fctl` (5.4). Every field is WARL: an IOMMU may fix it.
pub mod fctl {
    fields! {
        /// Structures and queues in memory are big-endian.
        BE = [0:0];
        /// Interrupts are wired, not messages.
        WSI = [1:1];
        /// Guests are of 32 bits: second stages are Sv32x4.
        GXL = [2:2];
    }
}

/// `ddtp` (5.5).
pub mod ddtp {
    fields! {
        /// See [`mode`].
        IOMMU_MODE = [3:0];
        /// A write is still taking effect.
        BUSY = [4:4];
        /// Page number of the root.
        PPN = [53:10];
    }
    /// Values of [`IOMMU_MODE`].
    pub mod mode {
        /// No transactions are allowed.
        pub const OFF: u64 = 0;
        /// Untranslated requests pass through.
        pub const BARE: u64 = 1;
        /// A device directory of one level.
        pub const ONE_LEVEL: u64 = 2;
        /// A device directory of two levels.
        pub const TWO_LEVEL: u64 = 3;
        /// A device directory of three levels.
        pub const THREE_LEVEL: u64 = 4;
    }
}

/// `cqb`, `fqb` and `pqb` (5.6, 5.9, 5.12).
pub mod queue_base {
    fields! {
        /// log2 of the entries, less one.
        LOG2SZ_1 = [4:0];
        /// Page number of the first entry. A queue is aligned to its size and to 4 KiB.
        PPN = [53:10];
    }
}

/// `cqh`, `cqt` and their like (5.7, 5.8).
pub mod queue_index {
    fields! {
        /// Index of an entry; only the bits that the size needs exist.
        INDEX = [31:0];
    }
}

/// `cqcsr` (5.15).
pub mod cqcsr {
    fields! {
        /// The queue is to be on.
        CQEN = [0:0];
        /// Interrupts are enabled.
        CIE = [1:1];
        /// A fetch, or an access of a command, met a memory fault; write 1 to clear.
        CQMF = [8:8];
        /// An ATS invalidation timed out; write 1 to clear.
        CMD_TO = [9:9];
        /// An illegal or unsupported command; write 1 to clear.
        CMD_ILL = [10:10];
        /// An IOFENCE.C with WSI completed; write 1 to clear.
        FENCE_W_IP = [11:11];
        /// The queue is on.
        CQON = [16:16];
        /// A write is still taking effect.
        BUSY = [17:17];
    }
}

/// `fqcsr` (5.16).
pub mod fqcsr {
    fields! {
        /// The queue is to be on.
        FQEN = [0:0];
        /// Interrupts are enabled.
        FIE = [1:1];
        /// Storing a record met a memory fault; write 1 to clear.
        FQMF = [8:8];
        /// A record met a full queue; write 1 to clear.
        FQOF = [9:9];
        /// The queue is on.
        FQON = [16:16];
        /// A write is still taking effect.
        BUSY = [17:17];
    }
}

/// `pqcsr` (5.17).
pub mod pqcsr {
    fields! {
        /// The queue is to be on.
        PQEN = [0:0];
        /// Interrupts are enabled.
        PIE = [1:1];
        /// Storing a message met a memory fault; write 1 to clear.
        PQMF = [8:8];
        /// A message met a full queue; write 1 to clear.
        PQOF = [9:9];
        /// The queue is on.
        PQON = [16:16];
        /// A write is still taking effect.
        BUSY = [17:17];
    }
}

/// `ipsr` (5.18).
pub mod ipsr {
    fields! {
        /// Command queue.
        CIP = [0:0];
        /// Fault queue.
        FIP = [1:1];
        /// Performance monitor.
        PMIP = [2:2];
        /// Page-request queue.
        PIP = [3:3];
    }
}

/// `iocountovf` (5.19) and `iocountinh` (5.20).
pub mod iocount {
    fields! {
        /// The cycles counter.
        CY = [0:0];
        /// Event counters 1 to 31.
        HPM = [31:1];
    }
}

/// `iohpmcycles` (5.21).
pub mod iohpmcycles {
    fields! {
        /// Cycles.
        COUNTER = [62:0];
        /// It overflowed.
        OF = [63:63];
    }
}

/// `iohpmevt1` and its like (5.23).
pub mod iohpmevt {
    fields! {
        /// The event; 0 counts nothing.
        EVENT_ID = [14:0];
        /// The identifier matches in part.
        DMASK = [15:15];
        /// process_id or PSCID.
        PID_PSCID = [35:16];
        /// device_id or GSCID.
        DID_GSCID = [59:36];
        /// PID_PSCID is compared.
        PV_PSCV = [60:60];
        /// DID_GSCID is compared.
        DV_GSCV = [61:61];
        /// The filter is GSCID and PSCID, not device_id and process_id.
        IDT = [62:62];
        /// The counter overflowed.
        OF = [63:63];
    }
}

/// `tr_req_iova` (5.24).
pub mod tr_req_iova {
    fields! {
        /// The page to translate.
        VPN = [63:12];
    }
}

/// `tr_req_ctl` (5.25).
pub mod tr_req_ctl {
    fields! {
        /// Write 1 to start; 0 once the response is there.
        GO_BUSY = [0:0];
        /// Privileged.
        PRIV = [1:1];
        /// Execute permission too.
        EXE = [2:2];
        /// Read permission only.
        NW = [3:3];
        /// process_id.
        PID = [31:12];
        /// PID is valid.
        PV = [32:32];
        /// device_id.
        DID = [63:40];
    }
}

/// `tr_response` (5.26).
pub mod tr_response {
    fields! {
        /// A fault stopped the translation.
        FAULT = [0:0];
        /// Memory type.
        PBMT = [8:7];
        /// The range is larger than 4 KiB: PPN encodes it as a naturally aligned power of two.
        S = [9:9];
        /// The page.
        PPN = [53:10];
    }
}

/// `iommu_qosid` (5.27).
pub mod iommu_qosid {
    fields! {
        /// Resource control.
        RCID = [11:0];
        /// Monitoring counter.
        MCID = [27:16];
    }
}

/// `icvec` (5.28). Every field is WARL: unsupported bits read 0.
pub mod icvec {
    fields! {
        /// Vector of the command queue.
        CIV = [3:0];
        /// Vector of the fault queue.
        FIV = [7:4];
        /// Vector of the performance monitor.
        PMIV = [11:8];
        /// Vector of the page-request queue.
        PIV = [15:12];
    }
}

/// `msi_addr_x` (5.29).
pub mod msi_addr {
    fields! {
        /// Address bits 55:2.
        ADDR = [55:2];
    }
}

/// `msi_data_x` (5.29).
pub mod msi_data {
    fields! {
        /// What is written, 32 bits.
        DATA = [31:0];
    }
}

/// `msi_vec_ctl_x` (5.29).
pub mod msi_vec_ctl {
    fields! {
        /// The vector is masked: its message waits.
        M = [0:0];
    }
}
