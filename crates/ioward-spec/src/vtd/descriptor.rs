//! Invalidation descriptors (6.5.2) and the page group response (7.6.1): 16 bytes, or 32 with IQA.DW.
//!
//! In a descriptor of 256 bits the upper 128 are reserved, but for a page group response's private data.

/// Bytes of a descriptor of 128 bits.
pub const BYTES_128: usize = 16;
/// Bytes of a descriptor of 256 bits.
pub const BYTES_256: usize = 32;
/// 64-bit words of a descriptor of 256 bits.
pub const WORDS: usize = BYTES_256 / 8;

fields! {
    /// Which descriptor, low bits: see [`kind`].
    TYPE = [3:0];
    /// Which descriptor, high bits; zero in all that there are.
    TYPE_HIGH = [11:9];
}

/// Values of [`TYPE`].
pub mod kind {
    /// Context-cache invalidate.
    pub const CONTEXT_CACHE: u64 = 0x1;
    /// IOTLB invalidate.
    pub const IOTLB: u64 = 0x2;
    /// Device-TLB invalidate.
    pub const DEVICE_TLB: u64 = 0x3;
    /// Interrupt entry cache invalidate.
    pub const INTERRUPT_ENTRY_CACHE: u64 = 0x4;
    /// Invalidation wait.
    pub const WAIT: u64 = 0x5;
    /// PASID-based IOTLB invalidate; 256 bits.
    pub const PASID_IOTLB: u64 = 0x6;
    /// PASID-cache invalidate; 256 bits.
    pub const PASID_CACHE: u64 = 0x7;
    /// PASID-based device-TLB invalidate; 256 bits.
    pub const PASID_DEVICE_TLB: u64 = 0x8;
    /// Page group response; 256 bits.
    pub const PAGE_GROUP_RESPONSE: u64 = 0x9;
}

/// Context-cache invalidate (6.5.2.1).
pub mod context_cache {
    fields! {
        /// See [`granularity`](crate::vtd::registers::granularity): global, domain or device.
        G = [5:4];
        /// The domain.
        DID = [31:16];
        /// The source.
        SID = [47:32];
        /// How many low bits of the function number are ignored.
        FM = [49:48];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xfffc_0000_0000_f1c0, u64::MAX, u64::MAX, u64::MAX];
}

/// PASID-cache invalidate (6.5.2.2).
pub mod pasid_cache {
    fields! {
        /// See [`granularity`].
        G = [5:4];
        /// The domain.
        DID = [31:16];
        /// The PASID.
        PASID = [51:32];
    }
    /// Values of [`G`].
    pub mod granularity {
        /// Every PASID of a domain.
        pub const DOMAIN: u64 = 0b00;
        /// One PASID of a domain.
        pub const PASID: u64 = 0b01;
        /// Everything.
        pub const GLOBAL: u64 = 0b11;
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xfff0_0000_0000_f1c0, u64::MAX, u64::MAX, u64::MAX];
}

/// IOTLB invalidate (6.5.2.3).
pub mod iotlb {
    fields! {
        /// See [`granularity`](crate::vtd::registers::granularity): global, domain or page.
        G = [5:4];
        /// Drain writes (CAP.DWD).
        DW = [6:6];
        /// Drain reads (CAP.DRD).
        DR = [7:7];
        /// The domain.
        DID = [31:16];
        /// How many low bits of the page number are ignored, up to CAP.MAMV.
        AM = [69:64];
        /// Hint: no entry but leaves was changed.
        IH = [70:70];
        /// The address; the field in place is a multiple of 4 KiB.
        ADDR = [127:76];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xffff_ffff_0000_f100, 0xf80, u64::MAX, u64::MAX];
}

/// PASID-based IOTLB invalidate (6.5.2.4): first-stage, nested and pass-through translations.
pub mod pasid_iotlb {
    fields! {
        /// See [`granularity`].
        G = [5:4];
        /// The domain.
        DID = [31:16];
        /// The PASID.
        PASID = [51:32];
        /// How many low bits of the page number are ignored, up to CAP.MAMV.
        AM = [69:64];
        /// Hint: no entry but leaves was changed.
        IH = [70:70];
        /// The address; the field in place is a multiple of 4 KiB.
        ADDR = [127:76];
    }
    /// Values of [`G`].
    pub mod granularity {
        /// All of a PASID of a domain.
        pub const PASID: u64 = 0b10;
        /// Pages of a PASID of a domain.
        pub const PAGE: u64 = 0b11;
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xfff0_0000_0000_f1c0, 0xf80, u64::MAX, u64::MAX];
}

/// Device-TLB invalidate (6.5.2.5).
pub mod device_tlb {
    fields! {
        /// The physical function's ID, bits 3:0 (with ECAP.DIT).
        PFSID_3_0 = [15:12];
        /// How many invalidations the device takes at once.
        MAX_INVS_PEND = [20:16];
        /// The source.
        SID = [47:32];
        /// The physical function's ID, bits 15:4 (with ECAP.DIT).
        PFSID_15_4 = [63:52];
        /// More than 4 KiB: the lowest zero bit of ADDR at n means `1 << (n + 1)` bytes.
        S = [64:64];
        /// The address; the field in place is a multiple of 4 KiB.
        ADDR = [127:76];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0x000f_0000_ffe0_01f0, 0xffe, u64::MAX, u64::MAX];
}

/// PASID-based device-TLB invalidate (6.5.2.6).
pub mod pasid_device_tlb {
    fields! {
        /// How many invalidations the device takes at once.
        MAX_INVS_PEND = [8:4];
        /// The physical function's ID, bits 3:0 (with ECAP.DIT).
        PFSID_3_0 = [15:12];
        /// The source.
        SID = [31:16];
        /// The PASID.
        PASID = [51:32];
        /// The physical function's ID, bits 15:4 (with ECAP.DIT).
        PFSID_15_4 = [63:52];
        /// Global: of every PASID.
        G = [64:64];
        /// More than 4 KiB: the lowest zero bit of ADDR at n means `1 << (n + 1)` bytes.
        S = [75:75];
        /// The address; the field in place is a multiple of 4 KiB.
        ADDR = [127:76];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0, 0x7fe, u64::MAX, u64::MAX];
}

/// Interrupt entry cache invalidate (6.5.2.7).
pub mod interrupt_entry_cache {
    fields! {
        /// Index-selective, and not everything.
        G = [4:4];
        /// How many low bits of the index are ignored, up to ECAP.MHMV.
        IM = [31:27];
        /// The index.
        IIDX = [47:32];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xffff_0000_07ff_f1e0, u64::MAX, u64::MAX, u64::MAX];
}

/// Invalidation wait (6.5.2.8).
pub mod wait {
    fields! {
        /// Interrupt when all before it is done.
        IF = [4:4];
        /// Write the status data when all before it is done.
        SW = [5:5];
        /// Nothing after it starts before all before it is done.
        FN = [6:6];
        /// Drain page requests and responses too (ECAP.PDS).
        PD = [7:7];
        /// What is written.
        STATUS_DATA = [63:32];
        /// Where: the field in place is a multiple of 4.
        STATUS_ADDR = [127:66];
    }
    /// Reserved bits.
    pub const RESERVED: [u64; super::WORDS] = [0xffff_f100, 0x3, u64::MAX, u64::MAX];
}

/// Page group response (7.6.1).
pub mod page_group_response {
    fields! {
        /// The PASID is valid.
        PP = [4:4];
        /// Private data is valid; not in revision 4.1's physical hardware.
        PDP = [5:5];
        /// Response: see [`response`].
        RC = [15:12];
        /// The requester.
        RID = [31:16];
        /// The PASID.
        PASID = [51:32];
        /// Last page in group.
        LPIG = [66:66];
        /// The group.
        PRGI = [75:67];
    }
    /// Values of [`RC`].
    pub mod response {
        /// The pages are there.
        pub const SUCCESS: u64 = 0x0;
        /// Some are not.
        pub const INVALID: u64 = 0x1;
        /// The device is to ask no more.
        pub const FAILURE: u64 = 0xf;
    }
    /// Reserved bits; the upper half is private data.
    pub const RESERVED: [u64; super::WORDS] = [0xfff0_0000_0000_01c0, 0xffff_ffff_ffff_f003, 0, 0];
}
