//! The fault queue (3.2): 32-byte records.

/// Bytes of a record.
pub const BYTES: usize = 32;
/// 64-bit words of a record.
pub const WORDS: usize = BYTES / 8;

fields! {
    /// See [`cause`].
    CAUSE = [11:0];
    /// process_id.
    PID = [31:12];
    /// PID and PRIV are valid.
    PV = [32:32];
    /// The request was for supervisor privilege.
    PRIV = [33:33];
    /// Transaction type: see [`ttyp`].
    TTYP = [39:34];
    /// device_id.
    DID = [63:40];
    /// Custom use.
    CUSTOM = [95:64];
    /// The IOVA of a transaction, else what the cause defines.
    IOTVAL = [191:128];
    /// Guest-page faults: bits 63:2 of the guest physical address, and [`IOTVAL2_IMPLICIT`] and [`IOTVAL2_WRITE`] below
    /// them.
    IOTVAL2 = [255:192];
}

/// Bit of [`IOTVAL2`]: an implicit access of the first stage faulted.
pub const IOTVAL2_IMPLICIT: u64 = 1 << 0;
/// Bit of [`IOTVAL2`]: that access was a write.
pub const IOTVAL2_WRITE: u64 = 1 << 1;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Values of [`CAUSE`] (3.2).
        pub mod cause {
            $($(#[$doc])* pub const $name: u64 = $code;)*
        }
        /// What the specification calls a cause; none where it is reserved or custom.
        pub const fn name(code: u64) -> Option<&'static str> {
            match code {
                $($code => Some($text),)*
                _ => None,
            }
        }
    };
}

causes! {
    /// Access fault of an instruction fetch.
    INSTRUCTION_ACCESS = 1, "Instruction access fault";
    /// Misaligned read.
    READ_MISALIGNED = 4, "Read address misaligned";
    /// Access fault of a read.
    READ_ACCESS = 5, "Read access fault";
    /// Misaligned write.
    WRITE_MISALIGNED = 6, "Write/AMO address misaligned";
    /// Access fault of a write.
    WRITE_ACCESS = 7, "Write/AMO access fault";
    /// First-stage fault of an instruction fetch.
    INSTRUCTION_PAGE = 12, "Instruction page fault";
    /// First-stage fault of a read.
    READ_PAGE = 13, "Read page fault";
    /// First-stage fault of a write.
    WRITE_PAGE = 15, "Write/AMO page fault";
    /// Second-stage fault of an instruction fetch.
    INSTRUCTION_GUEST_PAGE = 20, "Instruction guest page fault";
    /// Second-stage fault of a read.
    READ_GUEST_PAGE = 21, "Read guest-page fault";
    /// Second-stage fault of a write.
    WRITE_GUEST_PAGE = 23, "Write/AMO guest-page fault";
    /// ddtp.iommu_mode is Off.
    ALL_DISALLOWED = 256, "All inbound transactions disallowed";
    /// The device directory could not be read.
    DDT_ACCESS = 257, "DDT entry load access fault";
    /// A directory entry or device context has V = 0.
    DDT_NOT_VALID = 258, "DDT entry not valid";
    /// A directory entry or device context is misconfigured (2.1.4).
    DDT_MISCONFIGURED = 259, "DDT entry misconfigured";
    /// The transaction is not allowed to this device.
    TYPE_DISALLOWED = 260, "Transaction type disallowed";
    /// The MSI page table could not be read.
    MSI_PTE_ACCESS = 261, "MSI PTE load access fault";
    /// An MSI page-table entry has V = 0.
    MSI_PTE_NOT_VALID = 262, "MSI PTE not valid";
    /// An MSI page-table entry is misconfigured.
    MSI_PTE_MISCONFIGURED = 263, "MSI PTE misconfigured";
    /// A memory-resident interrupt file could not be accessed.
    MRIF_ACCESS = 264, "MRIF access fault";
    /// The process directory could not be read.
    PDT_ACCESS = 265, "PDT entry load access fault";
    /// A process-directory entry or process context has V = 0.
    PDT_NOT_VALID = 266, "PDT entry not valid";
    /// A process-directory entry or process context is misconfigured (2.2.4).
    PDT_MISCONFIGURED = 267, "PDT entry misconfigured";
    /// The device directory is poisoned.
    DDT_CORRUPTION = 268, "DDT data corruption";
    /// The process directory is poisoned.
    PDT_CORRUPTION = 269, "PDT data corruption";
    /// The MSI page table is poisoned.
    MSI_PT_CORRUPTION = 270, "MSI PT data corruption";
    /// A memory-resident interrupt file is poisoned.
    MRIF_CORRUPTION = 271, "MSI MRIF data corruption";
    /// The IOMMU itself failed.
    INTERNAL = 272, "Internal data path error";
    /// A message of the IOMMU's could not be written.
    MSI_WRITE_ACCESS = 273, "IOMMU MSI write access fault";
    /// A page table is poisoned.
    PT_CORRUPTION = 274, "First/second-stage PT data corruption";
}

/// Whether a cause is reported even where tc.DTF is 1 (3.2).
pub const fn reported_despite_dtf(code: u64) -> bool {
    matches!(
        code,
        cause::ALL_DISALLOWED
            | cause::DDT_ACCESS
            | cause::DDT_NOT_VALID
            | cause::DDT_MISCONFIGURED
            | cause::DDT_CORRUPTION
            | cause::INTERNAL
            | cause::MSI_WRITE_ACCESS
    )
}

/// Values of [`TTYP`] (3.2).
pub mod ttyp {
    /// No inbound transaction.
    pub const NONE: u64 = 0;
    /// Untranslated read for execute.
    pub const UNTRANSLATED_EXECUTE: u64 = 1;
    /// Untranslated read.
    pub const UNTRANSLATED_READ: u64 = 2;
    /// Untranslated write or atomic.
    pub const UNTRANSLATED_WRITE: u64 = 3;
    /// Translated read for execute.
    pub const TRANSLATED_EXECUTE: u64 = 5;
    /// Translated read.
    pub const TRANSLATED_READ: u64 = 6;
    /// Translated write or atomic.
    pub const TRANSLATED_WRITE: u64 = 7;
    /// PCIe ATS translation request.
    pub const ATS_REQUEST: u64 = 8;
    /// PCIe message.
    pub const MESSAGE: u64 = 9;
}
