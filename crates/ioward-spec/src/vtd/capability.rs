//! The capability registers.

/// CAP (11.4.2).
pub mod cap {
    fields! {
        /// Domain IDs have `4 + 2n` bits.
        ND = [2:0];
        /// Advanced fault logging; reserved in revision 4.1.
        AFL = [3:3];
        /// Write buffers must be flushed by software (6.8).
        RWBF = [4:4];
        /// Protected low-memory region.
        PLMR = [5:5];
        /// Protected high-memory region.
        PHMR = [6:6];
        /// Caching mode: entries that are not present or wrong are cached too (6.1).
        CM = [7:7];
        /// Widths of second-stage tables: see [`sagaw`].
        SAGAW = [12:8];
        /// Second-stage input addresses have at most `n + 1` bits.
        MGAW = [21:16];
        /// Zero-length reads of write-only pages pass.
        ZLR = [22:22];
        /// Isochrony; deprecated.
        ISOCH = [23:23];
        /// Fault records lie at `16n` bytes from the start of the block.
        FRO = [33:24];
        /// Page sizes of second-stage tables beside 4 KiB: see [`sslps`]; formerly SLLPS.
        SSLPS = [37:34];
        /// Page-selective invalidation.
        PSI = [39:39];
        /// There are `n + 1` fault records.
        NFR = [47:40];
        /// Largest address mask of page-selective invalidations.
        MAMV = [53:48];
        /// Write draining.
        DWD = [54:54];
        /// Read draining.
        DRD = [55:55];
        /// Pages of 1 GiB in first-stage tables; formerly FL1GP.
        FS1GP = [56:56];
        /// Posted interrupts.
        PI = [59:59];
        /// First-stage tables of 5 levels; formerly FL5LP.
        FS5LP = [60:60];
        /// Enhanced commands.
        ECMDS = [61:61];
        /// SIRTP invalidates the interrupt entry cache by itself (6.7).
        ESIRTPS = [62:62];
        /// SRTP invalidates the translation caches by itself (6.6).
        ESRTPS = [63:63];
    }
    /// Bits of [`SAGAW`].
    pub mod sagaw {
        /// 39 bits, 3 levels.
        pub const BITS_39: u64 = 1 << 1;
        /// 48 bits, 4 levels.
        pub const BITS_48: u64 = 1 << 2;
        /// 57 bits, 5 levels.
        pub const BITS_57: u64 = 1 << 3;
    }
    /// Bits of [`SSLPS`].
    pub mod sslps {
        /// Pages of 2 MiB.
        pub const MIB_2: u64 = 1 << 0;
        /// Pages of 1 GiB.
        pub const GIB_1: u64 = 1 << 1;
    }
}

/// ECAP (11.4.3).
pub mod ecap {
    fields! {
        /// Accesses to root, context, PASID, interrupt remapping structures and legacy tables snoop CPU caches.
        C = [0:0];
        /// Queued invalidation.
        QI = [1:1];
        /// Device TLBs.
        DT = [2:2];
        /// Interrupt remapping.
        IR = [3:3];
        /// x2APIC destinations.
        EIM = [4:4];
        /// Pass-through.
        PT = [6:6];
        /// Snoop control.
        SC = [7:7];
        /// The IOTLB registers lie at `16n` bytes from the start of the block.
        IRO = [17:8];
        /// Largest index mask of interrupt entry cache invalidations.
        MHMV = [23:20];
        /// Extended context entries; deprecated.
        ECS = [24:24];
        /// Memory types in first-stage tables.
        MTS = [25:25];
        /// Nested translation.
        NEST = [26:26];
        /// Deferred invalidation; deprecated.
        DIS = [27:27];
        /// PASIDs of extended context entries; deprecated.
        PASID_28 = [28:28];
        /// Page requests.
        PRS = [29:29];
        /// Execute requests.
        ERS = [30:30];
        /// Supervisor requests.
        SRS = [31:31];
        /// No-write flag of translation requests.
        NWFS = [33:33];
        /// Extended-accessed flag in first-stage tables.
        EAFS = [34:34];
        /// PASIDs have `n + 1` bits.
        PSS = [39:35];
        /// Requests with PASID.
        PASID = [40:40];
        /// Device-TLB invalidation throttle.
        DIT = [41:41];
        /// Page request draining by wait descriptors.
        PDS = [42:42];
        /// Scalable mode.
        SMTS = [43:43];
        /// Virtual commands.
        VCS = [44:44];
        /// Accessed and dirty bits in second-stage tables; formerly SLADS.
        SSADS = [45:45];
        /// Second-stage translation in scalable mode; formerly SLTS.
        SSTS = [46:46];
        /// First-stage translation in scalable mode; formerly FLTS.
        FSTS = [47:47];
        /// Walks of tables named by PASID entries can snoop CPU caches, with PWSNP.
        SMPWCS = [48:48];
        /// RID_PASID of scalable context entries.
        RPS = [49:49];
        /// Performance monitoring.
        PMS = [51:51];
        /// Abort-DMA mode.
        ADMS = [52:52];
        /// RID_PRIV of scalable context entries.
        RPRIVS = [53:53];
    }
}
