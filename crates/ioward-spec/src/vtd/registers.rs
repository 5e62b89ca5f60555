//! Registers (chapter 11): byte offsets from the start of the register block, and the fields of each.
//!
//! A register of 32 bits is the low half of a word. Where the IOTLB registers and the fault records lie, the capability
//! registers say: [`capability::ecap::IRO`](super::capability::ecap::IRO) and
//! [`capability::cap::FRO`](super::capability::cap::FRO).

/// Bytes of the least register block; DMAR's size field may ask for more.
pub const BLOCK_BYTES: usize = 0x1000;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => {
        $($(#[$doc])* pub const $name: usize = $at;)*
        /// Every offset above with its register's name.
        pub const OFFSETS: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

offsets! {
    /// 32 bits, read-only: architecture version (11.4.1).
    VER = 0x000;
    /// 64 bits, read-only: capabilities (11.4.2).
    CAP = 0x008;
    /// 64 bits, read-only: more capabilities (11.4.3).
    ECAP = 0x010;
    /// 32 bits, write-only: commands, one at a time (11.4.4.1).
    GCMD = 0x018;
    /// 32 bits, read-only: what of GCMD has taken effect (11.4.4.2).
    GSTS = 0x01c;
    /// 64 bits: root table address and translation mode, taken over by GCMD.SRTP (11.4.5).
    RTADDR = 0x020;
    /// 64 bits: context-cache invalidation without a queue, legacy mode only (11.4.6.1).
    CCMD = 0x028;
    /// 32 bits: fault status, mostly write-1-to-clear (11.4.7.1).
    FSTS = 0x034;
    /// 32 bits: mask of the fault event (11.4.7.2).
    FECTL = 0x038;
    /// 32 bits: its message's data (11.4.7.3).
    FEDATA = 0x03c;
    /// 32 bits: its message's address (11.4.7.4).
    FEADDR = 0x040;
    /// 32 bits: the upper half of that address (11.4.7.5).
    FEUADDR = 0x044;
    /// 64 bits: advanced fault log; not in revision 4.1, reserved there.
    AFLOG = 0x058;
    /// 32 bits: enable of protected memory regions (11.4.8.1).
    PMEN = 0x064;
    /// 32 bits: protected low memory base (11.4.8.2).
    PLMBASE = 0x068;
    /// 32 bits: protected low memory limit (11.4.8.3).
    PLMLIMIT = 0x06c;
    /// 64 bits: protected high memory base (11.4.8.4).
    PHMBASE = 0x070;
    /// 64 bits: protected high memory limit (11.4.8.5).
    PHMLIMIT = 0x078;
    /// 64 bits, read-only: next descriptor that hardware fetches (11.4.9.1).
    IQH = 0x080;
    /// 64 bits: next descriptor that software writes (11.4.9.2).
    IQT = 0x088;
    /// 64 bits: invalidation queue address (11.4.9.3).
    IQA = 0x090;
    /// 32 bits: completion of wait descriptors that interrupt (11.4.9.4).
    ICS = 0x09c;
    /// 32 bits: mask of the invalidation event (11.4.9.5).
    IECTL = 0x0a0;
    /// 32 bits: its message's data (11.4.9.6).
    IEDATA = 0x0a4;
    /// 32 bits: its message's address (11.4.9.7).
    IEADDR = 0x0a8;
    /// 32 bits: the upper half of that address (11.4.9.8).
    IEUADDR = 0x0ac;
    /// 64 bits, read-only: what invalidation queue errors were about (11.4.9.9).
    IQERCD = 0x0b0;
    /// 64 bits: interrupt remapping table address, taken over by GCMD.SIRTP (11.4.10).
    IRTA = 0x0b8;
    /// 64 bits: next page request that software takes (11.4.11.1).
    PQH = 0x0c0;
    /// 64 bits, read-only: next page request that hardware writes (11.4.11.2).
    PQT = 0x0c8;
    /// 64 bits: page request queue address (11.4.11.3).
    PQA = 0x0d0;
    /// 32 bits: page request status, write-1-to-clear (11.4.11.4).
    PRS = 0x0dc;
    /// 32 bits: mask of the page request event (11.4.11.5).
    PECTL = 0x0e0;
    /// 32 bits: its message's data (11.4.11.6).
    PEDATA = 0x0e4;
    /// 32 bits: its message's address (11.4.11.7).
    PEADDR = 0x0e8;
    /// 32 bits: the upper half of that address (11.4.11.8).
    PEUADDR = 0x0ec;
}

/// Offset of the invalidate address register from ECAP.IRO × 16 (11.4.6.3).
pub const IVA_FROM_IRO: usize = 0;
/// Offset of the IOTLB invalidate register from ECAP.IRO × 16 (11.4.6.2).
pub const IOTLB_FROM_IRO: usize = 8;

/// VER (11.4.1).
pub mod ver {
    fields! {
        /// Minor number.
        MIN = [3:0];
        /// Major number.
        MAX = [7:4];
    }
}

/// GCMD (11.4.4.1). Software reads GSTS, masks out what acts once (SRTP, SFL, WBF, SIRTP), changes one bit and writes;
/// it then waits for GSTS before it writes again.
pub mod gcmd {
    fields! {
        /// Compatibility-format interrupts pass while set.
        CFI = [23:23];
        /// Take over IRTA; acts once.
        SIRTP = [24:24];
        /// Interrupt remapping enable.
        IRE = [25:25];
        /// Queued invalidation enable.
        QIE = [26:26];
        /// Flush write buffers; acts once.
        WBF = [27:27];
        /// Advanced fault logging; reserved in revision 4.1.
        EAFL = [28:28];
        /// Set fault log; reserved in revision 4.1.
        SFL = [29:29];
        /// Take over RTADDR; acts once.
        SRTP = [30:30];
        /// Translation enable.
        TE = [31:31];
    }
}

/// GSTS (11.4.4.2).
pub mod gsts {
    fields! {
        /// Compatibility-format interrupts pass.
        CFIS = [23:23];
        /// IRTA has been taken over.
        IRTPS = [24:24];
        /// Interrupts are remapped.
        IRES = [25:25];
        /// The invalidation queue runs.
        QIES = [26:26];
        /// A write-buffer flush is in progress.
        WBFS = [27:27];
        /// Advanced fault logging is on; reserved in revision 4.1.
        AFLS = [28:28];
        /// The fault log has been set; reserved in revision 4.1.
        FLS = [29:29];
        /// RTADDR has been taken over.
        RTPS = [30:30];
        /// Requests are translated.
        TES = [31:31];
    }
}

/// RTADDR (11.4.5).
pub mod rtaddr {
    fields! {
        /// Translation table mode: see [`ttm`].
        TTM = [11:10];
        /// The root table's address; the field in place is a multiple of 4 KiB.
        RTA = [63:12];
    }
    /// Values of [`TTM`].
    pub mod ttm {
        /// Legacy mode.
        pub const LEGACY: u64 = 0b00;
        /// Scalable mode (ECAP.SMTS).
        pub const SCALABLE: u64 = 0b01;
        /// Reserved.
        pub const RESERVED: u64 = 0b10;
        /// Abort-DMA mode: every request is refused (ECAP.ADMS).
        pub const ABORT: u64 = 0b11;
    }
}

/// CCMD (11.4.6.1).
pub mod ccmd {
    fields! {
        /// The domain.
        DID = [15:0];
        /// The source.
        SID = [31:16];
        /// How many low bits of the function number are ignored.
        FM = [33:32];
        /// What hardware did: see [`granularity`](super::granularity); 0 is an error.
        CAIG = [60:59];
        /// What is asked for: see [`granularity`](super::granularity).
        CIRG = [62:61];
        /// Starts an invalidation, and stays set until it is done.
        ICC = [63:63];
    }
}

/// The IOTLB invalidate register (11.4.6.2), at ECAP.IRO × 16 + 8.
pub mod iotlb {
    fields! {
        /// The domain.
        DID = [47:32];
        /// Drain writes (CAP.DWD).
        DW = [48:48];
        /// Drain reads (CAP.DRD).
        DR = [49:49];
        /// What hardware did: see [`granularity`](super::granularity); 0 is an error.
        IAIG = [58:57];
        /// What is asked for: see [`granularity`](super::granularity).
        IIRG = [61:60];
        /// Starts an invalidation, and stays set until it is done.
        IVT = [63:63];
    }
}

/// The invalidate address register (11.4.6.3), at ECAP.IRO × 16.
pub mod iva {
    fields! {
        /// How many low bits of the page number are ignored, up to CAP.MAMV.
        AM = [5:0];
        /// Hint: no entry but leaves was changed.
        IH = [6:6];
        /// The address; the field in place is a multiple of 4 KiB.
        ADDR = [63:12];
    }
}

/// Granularities of register-based and queued context-cache and IOTLB invalidations (6.5.1, 6.5.2).
pub mod granularity {
    /// Everything.
    pub const GLOBAL: u64 = 0b01;
    /// Everything of a domain.
    pub const DOMAIN: u64 = 0b10;
    /// Context cache: of a source and a domain.
    pub const DEVICE: u64 = 0b11;
    /// IOTLB: pages of a domain.
    pub const PAGE: u64 = 0b11;
}

/// FSTS (11.4.7.1).
pub mod fsts {
    fields! {
        /// A fault was lost because records were full; write-1-to-clear.
        PFO = [0:0];
        /// Some record has F set; read-only.
        PPF = [1:1];
        /// Advanced fault log overflow; reserved in revision 4.1.
        AFO = [2:2];
        /// Advanced fault log has entries; reserved in revision 4.1.
        APF = [3:3];
        /// The invalidation queue met an error and stands; write-1-to-clear.
        IQE = [4:4];
        /// A device answered an invalidation wrongly; write-1-to-clear.
        ICE = [5:5];
        /// A device did not answer an invalidation in time; write-1-to-clear.
        ITE = [6:6];
        /// Page request overflow; in PRS since revision 2.4, reserved here.
        PRO = [7:7];
        /// The first record with F set, while PPF is set.
        FRI = [15:8];
    }
}

/// FECTL (11.4.7.2), IECTL (11.4.9.5) and PECTL (11.4.11.5).
pub mod event_control {
    fields! {
        /// An interrupt is held back by the mask or by its condition being serviced.
        IP = [30:30];
        /// Interrupts are masked; set out of reset.
        IM = [31:31];
    }
}

/// FEADDR, IEADDR and PEADDR (11.4.7.4, 11.4.9.7, 11.4.11.7).
pub mod event_address {
    fields! {
        /// The message's address; the field in place is a multiple of 4.
        MA = [31:2];
    }
}

/// PMEN (11.4.8.1).
pub mod pmen {
    fields! {
        /// The regions are protected.
        PRS = [0:0];
        /// Enable.
        EPM = [31:31];
    }
}

/// IQH (11.4.9.1).
pub mod iqh {
    fields! {
        /// Offset of the next descriptor in units of 16 bytes; in place, in bytes.
        QH = [18:4];
    }
}

/// IQT (11.4.9.2).
pub mod iqt {
    fields! {
        /// Offset of the next descriptor in units of 16 bytes; in place, in bytes. Bit 4 is zero with IQA.DW set.
        QT = [18:4];
    }
}

/// IQA (11.4.9.3). It is written while queued invalidation is off.
pub mod iqa {
    fields! {
        /// Size: `1 << n` pages of 4 KiB.
        QS = [2:0];
        /// Descriptors have 256 bits; needed in scalable mode.
        DW = [11:11];
        /// Address; the field in place is a multiple of 4 KiB.
        IQA = [63:12];
    }
}

/// ICS (11.4.9.4).
pub mod ics {
    fields! {
        /// A wait descriptor with IF has completed; write-1-to-clear.
        IWC = [0:0];
    }
}

/// IQERCD (11.4.9.9).
pub mod iqercd {
    fields! {
        /// Why FSTS.IQE is set: see [`iqei`].
        IQEI = [3:0];
        /// Whose device-TLB invalidation timed out, while FSTS.ITE is set.
        ITESID = [47:32];
        /// Who answered wrongly, while FSTS.ICE is set.
        ICESID = [63:48];
    }
    /// Values of [`IQEI`].
    pub mod iqei {
        /// Not told.
        pub const NOT_AVAILABLE: u64 = 0;
        /// Invalid tail pointer.
        pub const INVALID_TAIL: u64 = 1;
        /// A descriptor could not be fetched.
        pub const FETCH: u64 = 2;
        /// No such descriptor type.
        pub const INVALID_TYPE: u64 = 3;
        /// A reserved field of a descriptor is not zero.
        pub const RESERVED_FIELD: u64 = 4;
        /// IQA.DW does not fit the translation mode.
        pub const INVALID_WIDTH: u64 = 5;
        /// The tail pointer is not aligned to the descriptor width.
        pub const MISALIGNED_TAIL: u64 = 6;
        /// RTADDR.TTM is not valid.
        pub const INVALID_TTM: u64 = 7;
    }
}

/// IRTA (11.4.10).
pub mod irta {
    fields! {
        /// Size: `1 << (n + 1)` entries.
        S = [3:0];
        /// x2APIC: destinations have 32 bits, and compatibility format is refused (ECAP.EIM).
        EIME = [11:11];
        /// Address; the field in place is a multiple of 4 KiB.
        IRTA = [63:12];
    }
}

/// PQH (11.4.11.1).
pub mod pqh {
    fields! {
        /// Offset of the next request in units of 32 bytes; in place, in bytes.
        PQH = [18:5];
    }
}

/// PQT (11.4.11.2).
pub mod pqt {
    fields! {
        /// Offset of the next request in units of 32 bytes; in place, in bytes.
        PQT = [18:5];
    }
}

/// PQA (11.4.11.3).
pub mod pqa {
    fields! {
        /// Size: `1 << n` pages of 4 KiB.
        PQS = [2:0];
        /// Address; the field in place is a multiple of 4 KiB.
        PQA = [63:12];
    }
}

/// PRS (11.4.11.4).
pub mod prs {
    fields! {
        /// A page request is waiting; write-1-to-clear.
        PPR = [0:0];
        /// The queue was full, requests are answered with success; write-1-to-clear.
        PRO = [1:1];
    }
}
