//! Registers (chapter 6): byte offsets from the start of page 0, and the fields of each.
//!
//! A register of 32 bits is the low half of a word.

/// Bytes of one register page (6.1); the block has pages 0 and 1.
pub const PAGE_BYTES: usize = 0x1_0000;
/// Offset of page 1 from page 0 (6.1).
pub const PAGE_1: usize = 0x1_0000;
/// Bytes of pages 0 and 1 together.
pub const BLOCK_BYTES: usize = 0x2_0000;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => {
        $($(#[$doc])* pub const $name: usize = $at;)*
        /// Every offset above with its register's name.
        pub const OFFSETS: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

offsets! {
    /// 32 bits, read-only: features (6.3.1).
    IDR0 = 0x0000;
    /// 32 bits, read-only: sizes (6.3.2).
    IDR1 = 0x0004;
    /// 32 bits, read-only: VATOS page (6.3.3).
    IDR2 = 0x0008;
    /// 32 bits, read-only: features (6.3.4).
    IDR3 = 0x000c;
    /// 32 bits, read-only: implementation defined (6.3.5).
    IDR4 = 0x0010;
    /// 32 bits, read-only: addresses and granules (6.3.6).
    IDR5 = 0x0014;
    /// 32 bits, read-only: implementer and product (6.3.7).
    IIDR = 0x0018;
    /// 32 bits, read-only: architecture version (6.3.8).
    AIDR = 0x001c;
    /// 32 bits: enables (6.3.9).
    CR0 = 0x0020;
    /// 32 bits, read-only: what of CR0 has taken effect (6.3.10).
    CR0ACK = 0x0024;
    /// 32 bits: attributes of the SMMU's own accesses (6.3.11).
    CR1 = 0x0028;
    /// 32 bits: behaviour (6.3.12).
    CR2 = 0x002c;
    /// 32 bits, read-only: dormant (6.3.13).
    STATUSR = 0x0040;
    /// 32 bits: what happens to requests while SMMUEN is 0 (6.3.14).
    GBPA = 0x0044;
    /// 32 bits: implementation defined (6.3.15).
    AGBPA = 0x0048;
    /// 32 bits: interrupt enables (6.3.16).
    IRQ_CTRL = 0x0050;
    /// 32 bits, read-only: what of IRQ_CTRL has taken effect (6.3.18).
    IRQ_CTRLACK = 0x0054;
    /// 32 bits, read-only: errors, active where a bit differs from GERRORN (6.3.19).
    GERROR = 0x0060;
    /// 32 bits: acknowledged errors (6.3.20).
    GERRORN = 0x0064;
    /// 64 bits: address of the MSI for global errors (6.3.21).
    GERROR_IRQ_CFG0 = 0x0068;
    /// 32 bits: its data (6.3.22).
    GERROR_IRQ_CFG1 = 0x0070;
    /// 32 bits: its attributes (6.3.23).
    GERROR_IRQ_CFG2 = 0x0074;
    /// 64 bits: address of the Stream table (6.3.24).
    STRTAB_BASE = 0x0080;
    /// 32 bits: its size and format (6.3.25).
    STRTAB_BASE_CFG = 0x0088;
    /// 64 bits: address and size of the Command queue (6.3.26).
    CMDQ_BASE = 0x0090;
    /// 32 bits: its producer index (6.3.27).
    CMDQ_PROD = 0x0098;
    /// 32 bits: its consumer index and error (6.3.28).
    CMDQ_CONS = 0x009c;
    /// 64 bits: address and size of the Event queue (6.3.29).
    EVENTQ_BASE = 0x00a0;
    /// 64 bits: address of its MSI (6.3.30).
    EVENTQ_IRQ_CFG0 = 0x00b0;
    /// 32 bits: its MSI's data (6.3.31).
    EVENTQ_IRQ_CFG1 = 0x00b8;
    /// 32 bits: its MSI's attributes (6.3.32).
    EVENTQ_IRQ_CFG2 = 0x00bc;
    /// 64 bits: address and size of the PRI queue (6.3.33).
    PRIQ_BASE = 0x00c0;
    /// 64 bits: address of its MSI (6.3.34).
    PRIQ_IRQ_CFG0 = 0x00d0;
    /// 32 bits: its MSI's data (6.3.35).
    PRIQ_IRQ_CFG1 = 0x00d8;
    /// 32 bits: its MSI's attributes, and when it is sent (6.3.36).
    PRIQ_IRQ_CFG2 = 0x00dc;
    /// 32 bits: Command queue control pages (6.3.45).
    IDR6 = 0x0190;
    /// 32 bits, page 1: producer index of the Event queue (6.3.95).
    EVENTQ_PROD = PAGE_1 + 0x00a8;
    /// 32 bits, page 1: consumer index of the Event queue (6.3.96).
    EVENTQ_CONS = PAGE_1 + 0x00ac;
    /// 32 bits, page 1: producer index of the PRI queue (6.3.97).
    PRIQ_PROD = PAGE_1 + 0x00c8;
    /// 32 bits, page 1: consumer index of the PRI queue (6.3.98).
    PRIQ_CONS = PAGE_1 + 0x00cc;
}

/// IDR0 (6.3.1).
pub mod idr0 {
    fields! {
        /// Stage 2 is implemented.
        S2P = [0:0];
        /// Stage 1 is implemented.
        S1P = [1:1];
        /// Table formats: see [`ttf`].
        TTF = [3:2];
        /// Coherent access to tables, structures and queues.
        COHACC = [4:4];
        /// Broadcast TLB maintenance is received.
        BTM = [5:5];
        /// Hardware table updates: see [`httu`].
        HTTU = [7:6];
        /// Dormant hint.
        DORMHINT = [8:8];
        /// Stage 1 for EL2.
        HYP = [9:9];
        /// ATS.
        ATS = [10:10];
        /// Split-stage ATS is not supported.
        NS1ATS = [11:11];
        /// ASIDs have 16 bits, not 8.
        ASID16 = [12:12];
        /// MSIs.
        MSI = [13:13];
        /// WFE wake-up events.
        SEV = [14:14];
        /// Address translation operations by register.
        ATOS = [15:15];
        /// PRI.
        PRI = [16:16];
        /// VMID wildcards.
        VMW = [17:17];
        /// VMIDs have 16 bits, not 8.
        VMID16 = [18:18];
        /// Two-level CD tables.
        CD2L = [19:19];
        /// Virtual ATOS page.
        VATOS = [20:20];
        /// Endianness of tables: see [`ttendian`].
        TTENDIAN = [22:21];
        /// CR2.REC_CFG_ATS exists.
        ATSRECERR = [23:23];
        /// Stall model: see [`stall_model`].
        STALL_MODEL = [25:24];
        /// CD.A must be 1.
        TERM_MODEL = [26:26];
        /// Stream table: see [`st_level`].
        ST_LEVEL = [28:27];
        /// Realm Management Extension.
        RME_IMPL = [30:30];
    }
    /// Values of [`TTF`].
    pub mod ttf {
        /// VMSAv8-32 LPAE.
        pub const AARCH32: u64 = 0b01;
        /// VMSAv8-64.
        pub const AARCH64: u64 = 0b10;
        /// Both.
        pub const BOTH: u64 = 0b11;
    }
    /// Values of [`HTTU`].
    pub mod httu {
        /// None.
        pub const NONE: u64 = 0b00;
        /// Access flag.
        pub const ACCESS: u64 = 0b01;
        /// Access flag and dirty state.
        pub const ACCESS_DIRTY: u64 = 0b10;
        /// And access flags in table descriptors.
        pub const ACCESS_DIRTY_TABLE: u64 = 0b11;
    }
    /// Values of [`TTENDIAN`].
    pub mod ttendian {
        /// Chosen by CD.ENDI and STE.S2ENDI.
        pub const MIXED: u64 = 0b00;
        /// Little-endian.
        pub const LITTLE: u64 = 0b10;
        /// Big-endian.
        pub const BIG: u64 = 0b11;
    }
    /// Values of [`STALL_MODEL`].
    pub mod stall_model {
        /// Stall and terminate.
        pub const BOTH: u64 = 0b00;
        /// Terminate only.
        pub const TERMINATE: u64 = 0b01;
        /// Stall is forced.
        pub const FORCED: u64 = 0b10;
    }
    /// Values of [`ST_LEVEL`].
    pub mod st_level {
        /// Linear tables only.
        pub const LINEAR: u64 = 0b00;
        /// Two-level tables too.
        pub const TWO_LEVEL: u64 = 0b01;
    }
}

/// IDR1 (6.3.2).
pub mod idr1 {
    fields! {
        /// Bits of a StreamID.
        SIDSIZE = [5:0];
        /// Bits of a SubstreamID; 0: none.
        SSIDSIZE = [10:6];
        /// log2 of the most PRI queue entries.
        PRIQS = [15:11];
        /// log2 of the most Event queue entries.
        EVENTQS = [20:16];
        /// log2 of the most Command queue entries.
        CMDQS = [25:21];
        /// Incoming permission attributes can be overridden.
        ATTR_PERMS_OVR = [26:26];
        /// Incoming memory types can be overridden.
        ATTR_TYPES_OVR = [27:27];
        /// Preset bases are relative to the register block.
        REL = [28:28];
        /// Queue bases are fixed.
        QUEUES_PRESET = [29:29];
        /// The Stream table's base is fixed.
        TABLES_PRESET = [30:30];
        /// Enhanced Command queues.
        ECMDQ = [31:31];
    }
}

/// IDR3 (6.3.4).
pub mod idr3 {
    fields! {
        /// Hierarchical attributes can be disabled.
        HAD = [2:2];
        /// Page-based hardware attributes.
        PBHA = [3:3];
        /// Execute-never at stage 2 by exception level.
        XNX = [4:4];
        /// PRI automatic responses carry PASIDs whatever STE.PPAR says.
        PPS = [5:5];
        /// MPAM.
        MPAM = [7:7];
        /// Stage 2 forced write-back.
        FWB = [8:8];
        /// Small translation tables: larger TxSZ.
        STT = [9:9];
        /// Range invalidation and level hints.
        RIL = [10:10];
        /// Break-before-make level: how little must break.
        BBML = [12:11];
        /// CD.E0PDx exist.
        E0PD = [13:13];
        /// STE.S2PTW treats Device as Normal Non-cacheable.
        PTWNNC = [14:14];
        /// Device permission table.
        DPT = [15:15];
        /// Translated requests may carry PASIDs.
        PASIDTT = [16:16];
        /// CD.EPAN exists.
        EPAN = [17:17];
        /// Stage 1 permission indirection.
        S1PI = [18:18];
        /// Stage 2 permission indirection.
        S2PI = [19:19];
        /// Stage 2 permission overlays.
        S2PO = [20:20];
        /// Translation hardening.
        THE = [21:21];
        /// Memory tagging permissions.
        MTEPERM = [22:22];
        /// Attribute index extension.
        AIE = [23:23];
    }
}

/// IDR5 (6.3.6).
pub mod idr5 {
    fields! {
        /// Output address size: see [`oas`].
        OAS = [2:0];
        /// 4KB granule.
        GRAN4K = [4:4];
        /// 16KB granule.
        GRAN16K = [5:5];
        /// 64KB granule.
        GRAN64K = [6:6];
        /// 52-bit addresses with 4KB and 16KB granules.
        DS = [7:7];
        /// 128-bit descriptors.
        D128 = [8:8];
        /// Virtual addresses: see [`vax`].
        VAX = [11:10];
        /// Most outstanding stalled requests.
        STALL_MAX = [31:16];
    }
    /// Values of [`OAS`], CD.IPS and STE.S2PS.
    pub mod oas {
        /// 32 bits.
        pub const BITS_32: u64 = 0b000;
        /// 36 bits.
        pub const BITS_36: u64 = 0b001;
        /// 40 bits.
        pub const BITS_40: u64 = 0b010;
        /// 42 bits.
        pub const BITS_42: u64 = 0b011;
        /// 44 bits.
        pub const BITS_44: u64 = 0b100;
        /// 48 bits.
        pub const BITS_48: u64 = 0b101;
        /// 52 bits.
        pub const BITS_52: u64 = 0b110;
        /// 56 bits.
        pub const BITS_56: u64 = 0b111;
        /// The width in bits that each value means; a value is its index.
        pub const BITS: [u8; 8] = [32, 36, 40, 42, 44, 48, 52, 56];
    }
    /// Values of [`VAX`].
    pub mod vax {
        /// 48 bits.
        pub const BITS_48: u64 = 0b00;
        /// 52 bits, with the 64KB granule or with DS.
        pub const BITS_52: u64 = 0b01;
        /// 56 bits, with 128-bit descriptors.
        pub const BITS_56: u64 = 0b10;
    }
}

/// IIDR (6.3.7).
pub mod iidr {
    fields! {
        /// JEP106 code.
        IMPLEMENTER = [11:0];
        /// Minor revision.
        REVISION = [15:12];
        /// Major revision.
        VARIANT = [19:16];
        /// Product.
        PRODUCT_ID = [31:20];
    }
}

/// AIDR (6.3.8): 0x00 is SMMUv3.0, 0x01 3.1, and so on.
pub mod aidr {
    fields! {
        /// Minor version.
        ARCH_MINOR_REV = [3:0];
        /// Major version less 3.
        ARCH_MAJOR_REV = [7:4];
    }
}

/// CR0 and CR0ACK (6.3.9, 6.3.10).
pub mod cr0 {
    fields! {
        /// Translation is enabled.
        SMMUEN = [0:0];
        /// The PRI queue is enabled.
        PRIQEN = [1:1];
        /// The Event queue is enabled.
        EVENTQEN = [2:2];
        /// The Command queue is enabled.
        CMDQEN = [3:3];
        /// Translated requests are checked against STE.EATS.
        ATSCHK = [4:4];
        /// VMID wildcard.
        VMW = [8:6];
        /// Device permission table walks are enabled.
        DPT_WALK_EN = [10:10];
    }
}

/// CR1 (6.3.11): attributes of the SMMU's own accesses.
pub mod cr1 {
    fields! {
        /// Queues: inner cacheability.
        QUEUE_IC = [1:0];
        /// Queues: outer cacheability.
        QUEUE_OC = [3:2];
        /// Queues: shareability.
        QUEUE_SH = [5:4];
        /// Stream table: inner cacheability.
        TABLE_IC = [7:6];
        /// Stream table: outer cacheability.
        TABLE_OC = [9:8];
        /// Stream table: shareability.
        TABLE_SH = [11:10];
    }
    /// Non-cacheable.
    pub const NON_CACHEABLE: u64 = 0b00;
    /// Write-Back.
    pub const WRITE_BACK: u64 = 0b01;
    /// Write-Through.
    pub const WRITE_THROUGH: u64 = 0b10;
}

/// CR2 (6.3.12).
pub mod cr2 {
    fields! {
        /// EL2 streams use EL2-E2H.
        E2H = [0:0];
        /// C_BAD_STREAMID is recorded.
        RECINVSID = [1:1];
        /// Private TLB maintenance: broadcast invalidation is ignored.
        PTM = [2:2];
        /// Configuration faults of ATS requests are recorded.
        REC_CFG_ATS = [3:3];
    }
}

/// GBPA (6.3.14).
pub mod gbpa {
    fields! {
        /// Memory type, with MTCFG.
        MEMATTR = [3:0];
        /// Whether MEMATTR replaces the incoming memory type.
        MTCFG = [4:4];
        /// Allocation hints.
        ALLOCCFG = [11:8];
        /// Shareability, as STE.SHCFG.
        SHCFG = [13:12];
        /// Privilege, as STE.PRIVCFG.
        PRIVCFG = [17:16];
        /// Instruction or data, as STE.INSTCFG.
        INSTCFG = [19:18];
        /// Requests are aborted, not passed on.
        ABORT = [20:20];
        /// Written as 1 with new values; 0 once they have taken effect.
        UPDATE = [31:31];
    }
}

/// IRQ_CTRL and IRQ_CTRLACK (6.3.16, 6.3.18).
pub mod irq_ctrl {
    fields! {
        /// Global error interrupts.
        GERROR_IRQEN = [0:0];
        /// PRI queue interrupts.
        PRIQ_IRQEN = [1:1];
        /// Event queue interrupts.
        EVENTQ_IRQEN = [2:2];
    }
}

/// GERROR and GERRORN (6.3.19, 6.3.20).
pub mod gerror {
    fields! {
        /// The Command queue stopped: CMDQ_CONS.ERR says why.
        CMDQ_ERR = [0:0];
        /// Writing the Event queue was aborted: records are lost.
        EVENTQ_ABT_ERR = [2:2];
        /// Writing the PRI queue was aborted: records are lost.
        PRIQ_ABT_ERR = [3:3];
        /// An MSI of CMD_SYNC was aborted.
        MSI_CMDQ_ABT_ERR = [4:4];
        /// An MSI of the Event queue was aborted.
        MSI_EVENTQ_ABT_ERR = [5:5];
        /// An MSI of the PRI queue was aborted.
        MSI_PRIQ_ABT_ERR = [6:6];
        /// An MSI of a global error was aborted.
        MSI_GERROR_ABT_ERR = [7:7];
        /// The SMMU is in Service Failure Mode: nothing works.
        SFM_ERR = [8:8];
        /// An enhanced Command queue stopped.
        CMDQP_ERR = [9:9];
        /// A Device permission table lookup failed.
        DPT_ERR = [10:10];
    }
}

/// GERROR_IRQ_CFG0 and its like (6.3.21, 6.3.30, 6.3.34).
pub mod irq_cfg0 {
    fields! {
        /// Address of the MSI, bits 55:2; zero: none is sent.
        ADDR = [55:2];
    }
}

/// GERROR_IRQ_CFG1 and its like (6.3.22, 6.3.31, 6.3.35).
pub mod irq_cfg1 {
    fields! {
        /// Data of the MSI.
        DATA = [31:0];
    }
}

/// GERROR_IRQ_CFG2 and its like (6.3.23, 6.3.32, 6.3.36).
pub mod irq_cfg2 {
    fields! {
        /// Memory type of the MSI's write.
        MEMATTR = [3:0];
        /// Its shareability.
        SH = [5:4];
        /// PRIQ only: interrupt on the last request of a group.
        LO = [31:31];
    }
    /// Values of [`MEMATTR`] and of CMD_SYNC's MSIAttr that drivers use.
    pub mod memattr {
        /// Device-nGnRnE.
        pub const DEVICE_NGNRNE: u64 = 0b0000;
        /// Device-nGnRE.
        pub const DEVICE_NGNRE: u64 = 0b0001;
        /// Normal, inner and outer Write-Back.
        pub const WRITE_BACK: u64 = 0b1111;
    }
}

/// STRTAB_BASE (6.3.24).
pub mod strtab_base {
    fields! {
        /// Address of the table, bits 55:6, aligned to the greater of 64 bytes and its size.
        ADDR = [55:6];
        /// Read-Allocate hint.
        RA = [62:62];
    }
}

/// STRTAB_BASE_CFG (6.3.25).
pub mod strtab_base_cfg {
    fields! {
        /// log2 of the StreamIDs that the table covers.
        LOG2SIZE = [5:0];
        /// log2 of the STEs of a full level 2 array: 6, 8 or 10.
        SPLIT = [10:6];
        /// Format: see [`fmt`].
        FMT = [17:16];
    }
    /// Values of [`FMT`].
    pub mod fmt {
        /// Linear.
        pub const LINEAR: u64 = 0b00;
        /// Two levels.
        pub const TWO_LEVEL: u64 = 0b01;
    }
}

/// CMDQ_BASE, EVENTQ_BASE and PRIQ_BASE (6.3.26, 6.3.29, 6.3.33).
pub mod queue_base {
    fields! {
        /// log2 of the entries.
        LOG2SIZE = [4:0];
        /// Address of the queue, bits 55:5, aligned to the greater of 32 bytes and its size.
        ADDR = [55:5];
        /// Read-Allocate (CMDQ) or Write-Allocate (EVENTQ, PRIQ) hint.
        ALLOCATE = [62:62];
    }
}

/// CMDQ_PROD (6.3.27): the index in bits LOG2SIZE-1:0 with the wrap flag above it.
pub mod cmdq_prod {
    fields! {
        /// Index and wrap flag.
        WR = [19:0];
    }
}

/// CMDQ_CONS (6.3.28).
pub mod cmdq_cons {
    fields! {
        /// Index and wrap flag.
        RD = [19:0];
        /// Why consumption stopped: see [`cerror`].
        ERR = [30:24];
    }
    /// Values of [`ERR`] (7.1).
    pub mod cerror {
        /// No error.
        pub const NONE: u64 = 0x00;
        /// The command is illegal.
        pub const ILL: u64 = 0x01;
        /// Reading the command was aborted.
        pub const ABT: u64 = 0x02;
        /// A CMD_SYNC waited in vain for a CMD_ATC_INV.
        pub const ATC_INV_SYNC: u64 = 0x03;
    }
}

/// EVENTQ_PROD and PRIQ_PROD (6.3.95, 6.3.97).
pub mod output_prod {
    fields! {
        /// Index and wrap flag.
        WR = [19:0];
        /// Toggled on overflow; differs from OVACKFLG until that is acknowledged.
        OVFLG = [31:31];
    }
}

/// EVENTQ_CONS and PRIQ_CONS (6.3.96, 6.3.98).
pub mod output_cons {
    fields! {
        /// Index and wrap flag.
        RD = [19:0];
        /// Overflow acknowledged.
        OVACKFLG = [31:31];
    }
}
