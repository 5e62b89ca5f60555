//! Fault records (11.4.7.6) and fault reasons (5.1.4.1, 7.1.3).

/// Bytes of a record.
pub const BYTES: usize = 16;
/// 64-bit words of a record.
pub const WORDS: usize = BYTES / 8;

/// A record, at CAP.FRO × 16 + 16 × index.
pub mod record {
    fields! {
        /// Address translation: the page; the field in place is its address. Interrupt remapping: see [`INDEX`].
        FI = [63:12];
        /// The source.
        SID = [79:64];
        /// Type, second bit: with T1 says what was asked for.
        T2 = [92:92];
        /// Privileged.
        PRIV = [93:93];
        /// Execute.
        EXE = [94:94];
        /// The PASID is valid.
        PP = [95:95];
        /// Why: see [`reason`](super::reason).
        FR = [103:96];
        /// The PASID.
        PV = [123:104];
        /// Address type of the request: see [`at`].
        AT = [125:124];
        /// Type, first bit: a read with T2 clear, else a write.
        T1 = [126:126];
        /// The record is valid; write-1-to-clear.
        F = [127:127];
    }
    /// Interrupt remapping: the index that was looked up.
    pub const INDEX: crate::Field = crate::Field::bits(63, 48);
    /// Values of [`AT`].
    pub mod at {
        /// Untranslated.
        pub const UNTRANSLATED: u64 = 0b00;
        /// A translation request.
        pub const TRANSLATION: u64 = 0b01;
        /// Translated.
        pub const TRANSLATED: u64 = 0b10;
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $condition:literal;)*) => {
        /// Values of [`record::FR`].
        pub mod reason {
            $($(#[$doc])* pub const $name: u64 = $code;)*
        }
        /// The specification's name of a fault condition, from its reason.
        pub const fn condition(reason: u64) -> Option<&'static str> {
            match reason {
                $($code => Some($condition),)*
                _ => None,
            }
        }
        /// Our name of a fault reason.
        pub const fn name(reason: u64) -> Option<&'static str> {
            match reason {
                $($code => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

reasons! {
    /// Legacy: the root entry is not present.
    ROOT_NOT_PRESENT = 0x01, "LRT.2";
    /// Legacy: the context entry is not present.
    CONTEXT_NOT_PRESENT = 0x02, "LCT.2";
    /// Legacy: the context entry is not valid.
    CONTEXT_INVALID = 0x03, "LCT.4";
    /// Legacy: the address has more bits than MGAW and AW allow.
    ADDRESS_BEYOND = 0x04, "LGN.1";
    /// Legacy: no right to write.
    WRITE = 0x05, "LGN.2";
    /// Legacy: no right to read.
    READ = 0x06, "LGN.3";
    /// Legacy: a paging entry could not be read.
    PAGING_ACCESS = 0x07, "LSS.1";
    /// Legacy: the root entry could not be read.
    ROOT_ACCESS = 0x08, "LRT.1";
    /// Legacy: the context entry could not be read.
    CONTEXT_ACCESS = 0x09, "LCT.1";
    /// Legacy: a reserved field of the root entry.
    ROOT_RESERVED = 0x0a, "LRT.3";
    /// Legacy: a reserved field of the context entry.
    CONTEXT_RESERVED = 0x0b, "LCT.3";
    /// Legacy: a reserved field of a paging entry.
    PAGING_RESERVED = 0x0c, "LSS.3";
    /// Legacy: a translation request or a translated request that TT does not allow.
    TRANSLATION_BLOCKED = 0x0d, "LCT.5";
    /// Legacy: the translated address is in the interrupt range.
    OUTPUT_INTERRUPT = 0x0e, "LGN.4";
    /// Interrupt: a reserved field of the request.
    INTERRUPT_REQUEST_RESERVED = 0x20, "IRT.1";
    /// Interrupt: the index is beyond the table.
    INTERRUPT_INDEX = 0x21, "IRT.2";
    /// Interrupt: the entry is not present.
    INTERRUPT_NOT_PRESENT = 0x22, "IRT.3";
    /// Interrupt: the entry could not be read.
    INTERRUPT_ACCESS = 0x23, "IRT.4";
    /// Interrupt: a reserved field of the entry, or an entry that is posted where posting is not supported.
    INTERRUPT_RESERVED = 0x24, "IRT.5";
    /// Interrupt: compatibility format is blocked.
    INTERRUPT_COMPATIBILITY = 0x25, "IRT.6";
    /// Interrupt: the source is not the entry's.
    INTERRUPT_SOURCE = 0x26, "IRT.7";
    /// Interrupt: the posted descriptor could not be read.
    INTERRUPT_POSTED_ACCESS = 0x27, "IRT.8";
    /// Interrupt: a reserved field of the posted descriptor.
    INTERRUPT_POSTED_RESERVED = 0x28, "IRT.9";
    /// The root table address register is not valid.
    RTADDR_INVALID = 0x30, "RTA.1";
    /// A request with PASID in legacy mode.
    RTADDR_PASID = 0x31, "RTA.2";
    /// A page request in legacy mode.
    RTADDR_PAGE_REQUEST = 0x32, "RTA.3";
    /// Scalable: the root entry could not be read.
    SM_ROOT_ACCESS = 0x38, "SRT.1";
    /// Scalable: the root entry's half is not present.
    SM_ROOT_NOT_PRESENT = 0x39, "SRT.2";
    /// Scalable: a reserved field of the root entry.
    SM_ROOT_RESERVED = 0x3a, "SRT.3";
    /// Scalable: the context entry could not be read.
    SM_CONTEXT_ACCESS = 0x40, "SCT.1";
    /// Scalable: the context entry is not present.
    SM_CONTEXT_NOT_PRESENT = 0x41, "SCT.2";
    /// Scalable: a reserved field of the context entry.
    SM_CONTEXT_RESERVED = 0x42, "SCT.3";
    /// Scalable: the context entry is not valid.
    SM_CONTEXT_INVALID = 0x43, "SCT.4";
    /// Scalable: a translation request or a translated request with DTE clear.
    SM_CONTEXT_DTE = 0x44, "SCT.5";
    /// Scalable: a request with PASID, PASIDE clear.
    SM_CONTEXT_PASIDE = 0x45, "SCT.6";
    /// Scalable: the PASID is beyond the directory.
    SM_CONTEXT_PASID_BEYOND = 0x46, "SCT.7";
    /// Scalable: a page request, PRE clear.
    SM_CONTEXT_PRE = 0x47, "SCT.8";
    /// Scalable: RID_PASID is beyond the directory.
    SM_CONTEXT_RID_PASID = 0x48, "SCT.9";
    /// Scalable: the PASID directory entry could not be read.
    SM_DIRECTORY_ACCESS = 0x50, "SPD.1";
    /// Scalable: the PASID directory entry is not present.
    SM_DIRECTORY_NOT_PRESENT = 0x51, "SPD.2";
    /// Scalable: a reserved field of the PASID directory entry.
    SM_DIRECTORY_RESERVED = 0x52, "SPD.3";
    /// Scalable: the PASID table entry could not be read.
    SM_PASID_ACCESS = 0x58, "SPT.1";
    /// Scalable: the PASID table entry is not present.
    SM_PASID_NOT_PRESENT = 0x59, "SPT.2";
    /// Scalable: a reserved field of the PASID table entry.
    SM_PASID_RESERVED = 0x5a, "SPT.3";
    /// Scalable: the PASID table entry is not valid.
    SM_PASID_INVALID = 0x5b, "SPT.4";
    /// Scalable: an execute request, ERE clear.
    SM_PASID_ERE = 0x5c, "SPT.5";
    /// Scalable: a supervisor request, SRE clear.
    SM_PASID_SRE = 0x5d, "SPT.6";
    /// First stage: an entry could not be read.
    FS_ACCESS = 0x70, "SFS.1";
    /// First stage: an entry is not present.
    FS_NOT_PRESENT = 0x71, "SFS.2";
    /// First stage: a reserved field of an entry.
    FS_RESERVED = 0x72, "SFS.3";
    /// First stage: the top table could not be read.
    FS_TOP_ACCESS = 0x73, "SFS.4";
    /// First stage, nested: an entry's address is beyond the second stage's width.
    FS_NESTED_BEYOND = 0x74, "SFS.5";
    /// First stage, nested: the second stage does not let the top table be read.
    FS_NESTED_TOP_READ = 0x75, "SFS.6";
    /// First stage, nested: the second stage does not let a table be read.
    FS_NESTED_READ = 0x76, "SFS.7";
    /// First stage, nested: the second stage does not let accessed or dirty bits be written.
    FS_NESTED_WRITE = 0x77, "SFS.8";
    /// Second stage: an entry could not be read.
    SS_ACCESS = 0x78, "SSS.1";
    /// Second stage: no right to read or write.
    SS_PERMISSION = 0x79, "SSS.2";
    /// Second stage: a reserved field of an entry.
    SS_RESERVED = 0x7a, "SSS.3";
    /// Second stage: the top table could not be read.
    SS_TOP_ACCESS = 0x7b, "SSS.4";
    /// Second stage: accessed or dirty bits are to be set where walks do not snoop.
    SS_ACCESSED_NO_SNOOP = 0x7c, "SSS.5";
    /// First stage: the address is not canonical.
    NOT_CANONICAL = 0x80, "SGN.1";
    /// First stage: a user request of a supervisor page.
    USER_SUPERVISOR = 0x81, "SGN.2";
    /// No right to execute.
    EXECUTE = 0x82, "SGN.3";
    /// The address has more bits than hardware has.
    BEYOND_HARDWARE = 0x83, "SGN.4";
    /// Second stage: the address has more bits than MGAW and AW allow.
    BEYOND_SECOND = 0x84, "SGN.5";
    /// No right to write.
    SM_WRITE = 0x85, "SGN.6";
    /// No right to read.
    SM_READ = 0x86, "SGN.7";
    /// The translated address is in the interrupt range.
    SM_OUTPUT_INTERRUPT = 0x87, "SGN.8";
    /// First stage: accessed or dirty bits are to be set where walks do not snoop.
    FS_ACCESSED_NO_SNOOP = 0x90, "SFS.9";
    /// First stage: accessed or dirty bits could not be set.
    FS_ACCESSED_ACCESS = 0x91, "SFS.10";
}
