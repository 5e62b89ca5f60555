//! Interrupt remapping: table entries (9.10, 9.11) and the requests that look them up (5.1.2).

/// Bytes of a table entry.
pub const BYTES: usize = 16;
/// 64-bit words of a table entry.
pub const WORDS: usize = BYTES / 8;

/// Addresses that are interrupts, both ends included (3.14).
pub const RANGE: core::ops::RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;

/// A table entry of a remapped interrupt (9.10), IM clear.
pub mod irte {
    fields! {
        /// Present.
        P = [0:0];
        /// Fault processing disable.
        FPD = [1:1];
        /// The destination is logical.
        DM = [2:2];
        /// Redirection hint.
        RH = [3:3];
        /// Level-triggered.
        TM = [4:4];
        /// Delivery mode: see [`delivery`](super::delivery).
        DLM = [7:5];
        /// Software's own.
        AVAIL = [11:8];
        /// Posted, and not remapped (CAP.PI).
        IM = [15:15];
        /// Vector.
        V = [23:16];
        /// Destination: an x2APIC ID with IRTA.EIME.
        DST = [63:32];
        /// Destination without IRTA.EIME: an xAPIC ID; the rest of DST is reserved then.
        DST_XAPIC = [47:40];
        /// Source to compare with.
        SID = [79:64];
        /// Which bits of the function number count: see [`sq`].
        SQ = [81:80];
        /// How the source is validated: see [`svt`].
        SVT = [83:82];
    }
    /// Values of [`SQ`].
    pub mod sq {
        /// All 16 bits of the source.
        pub const ALL: u64 = 0b00;
        /// All but bit 2.
        pub const NOT_2: u64 = 0b01;
        /// All but bits 2 and 1.
        pub const NOT_2_1: u64 = 0b10;
        /// All but bits 2 to 0.
        pub const NOT_2_1_0: u64 = 0b11;
    }
    /// Values of [`SVT`].
    pub mod svt {
        /// Not validated.
        pub const NONE: u64 = 0b00;
        /// SID and SQ.
        pub const SID_SQ: u64 = 0b01;
        /// The bus lies between SID's bits 15:8 and 7:0, both included.
        pub const BUS: u64 = 0b10;
    }
    /// Bits that are reserved whatever IRTA.EIME says.
    pub const RESERVED: [u64; super::WORDS] = [0xff00_7000, 0xffff_ffff_fff0_0000];
    /// Bits of [`DST`] that are reserved without IRTA.EIME.
    pub const DST_RESERVED_XAPIC: u64 = 0xffff_00ff_0000_0000;
}

/// A table entry of a posted interrupt (9.11), IM set: the fields that differ.
pub mod posted {
    fields! {
        /// Urgent.
        URG = [14:14];
        /// Virtual vector.
        VV = [23:16];
        /// Posted descriptor's address, bits 31:6.
        PDAL = [63:38];
        /// Posted descriptor's address, bits 63:32.
        PDAH = [127:96];
    }
}

/// Delivery modes as processors encode them.
pub mod delivery {
    /// Fixed.
    pub const FIXED: u64 = 0b000;
    /// Lowest priority.
    pub const LOWEST: u64 = 0b001;
    /// SMI.
    pub const SMI: u64 = 0b010;
    /// NMI.
    pub const NMI: u64 = 0b100;
    /// INIT.
    pub const INIT: u64 = 0b101;
    /// External.
    pub const EXT_INT: u64 = 0b111;
}

/// Address of an interrupt request (5.1.2.2 remappable, 5.1.2.1 compatibility).
pub mod address {
    fields! {
        /// Remappable: bit 15 of the handle.
        HANDLE_15 = [2:2];
        /// Remappable: the handle's sub-handle is in the data.
        SHV = [3:3];
        /// Remappable format, and not compatibility format.
        FORMAT = [4:4];
        /// Remappable: bits 14:0 of the handle.
        HANDLE_14_0 = [19:5];
        /// 0xfee.
        HEAD = [31:20];
    }
    /// Compatibility: the fields that differ.
    pub mod compatibility {
        fields! {
            /// The destination is logical.
            DM = [2:2];
            /// Redirection hint.
            RH = [3:3];
            /// Destination: an xAPIC ID.
            DST = [19:12];
        }
    }
}

/// Data of an interrupt request (5.1.2).
pub mod data {
    fields! {
        /// Remappable with SHV: what is added to the handle. The rest is reserved then.
        SUBHANDLE = [15:0];
    }
    /// Compatibility format.
    pub mod compatibility {
        fields! {
            /// Vector.
            V = [7:0];
            /// Delivery mode.
            DLM = [10:8];
            /// Asserted.
            LEVEL = [14:14];
            /// Level-triggered.
            TM = [15:15];
        }
    }
}
