//! MMIO registers (48882 §3.4): offsets, and the fields of those that hold bases, pointers and status.
//!
//! All are 64 bits wide unless said otherwise; 32-bit accesses to their halves are allowed. Control is in
//! [`control`](super::control), the extended features in [`features`](super::features).

use crate::Field;

/// Offsets from the start of the registers, in bytes.
pub mod offset {
    /// Device table base address.
    pub const DEVICE_TABLE_BASE: usize = 0x0000;
    /// Command buffer base address.
    pub const COMMAND_BUFFER_BASE: usize = 0x0008;
    /// Event log base address.
    pub const EVENT_LOG_BASE: usize = 0x0010;
    /// Control.
    pub const CONTROL: usize = 0x0018;
    /// Exclusion range base; completion store base where SNP is on.
    pub const EXCLUSION_BASE: usize = 0x0020;
    /// Exclusion range limit; completion store limit where SNP is on.
    pub const EXCLUSION_LIMIT: usize = 0x0028;
    /// Extended feature register.
    pub const EXTENDED_FEATURE: usize = 0x0030;
    /// Page request log base address.
    pub const PPR_LOG_BASE: usize = 0x0038;
    /// Hardware event, upper half of the entry.
    pub const HARDWARE_EVENT_UPPER: usize = 0x0040;
    /// Hardware event, lower half of the entry.
    pub const HARDWARE_EVENT_LOWER: usize = 0x0048;
    /// Hardware event status.
    pub const HARDWARE_EVENT_STATUS: usize = 0x0050;
    /// The first of sixteen SMI filter registers.
    pub const SMI_FILTER_0: usize = 0x0060;
    /// Guest virtual APIC log base address.
    pub const GA_LOG_BASE: usize = 0x00e0;
    /// Guest virtual APIC log tail address.
    pub const GA_LOG_TAIL_ADDRESS: usize = 0x00e8;
    /// Page request log B base address.
    pub const PPR_LOG_B_BASE: usize = 0x00f0;
    /// Event log B base address.
    pub const EVENT_LOG_B_BASE: usize = 0x00f8;
    /// Device table segment 1 base address; segments 2 to 7 follow, 8 bytes each.
    pub const DEVICE_TABLE_SEGMENT_1: usize = 0x0100;
    /// Device-specific feature extension.
    pub const DSFX: usize = 0x0138;
    /// Device-specific control extension.
    pub const DSCX: usize = 0x0140;
    /// Device-specific status extension.
    pub const DSSX: usize = 0x0148;
    /// MSI vector register 0, 32 bits.
    pub const MSI_VECTOR_0: usize = 0x0150;
    /// MSI vector register 1, 32 bits.
    pub const MSI_VECTOR_1: usize = 0x0154;
    /// MSI capability header, 32 bits (EFR.MsiCapMmioSup).
    pub const MSI_CAPABILITY: usize = 0x0158;
    /// MSI address, low half, 32 bits.
    pub const MSI_ADDRESS_LOW: usize = 0x015c;
    /// MSI address, high half, 32 bits.
    pub const MSI_ADDRESS_HIGH: usize = 0x0160;
    /// MSI data, 32 bits.
    pub const MSI_DATA: usize = 0x0164;
    /// MSI mapping capability header, 32 bits.
    pub const MSI_MAPPING: usize = 0x0168;
    /// Performance optimisation control, 32 bits.
    pub const PERFORMANCE_OPTIMIZATION: usize = 0x016c;
    /// x2APIC control of the event and completion interrupt.
    pub const X2APIC_GENERAL_INTERRUPT: usize = 0x0170;
    /// x2APIC control of the page request interrupt.
    pub const X2APIC_PPR_INTERRUPT: usize = 0x0178;
    /// x2APIC control of the guest virtual APIC log interrupt.
    pub const X2APIC_GA_INTERRUPT: usize = 0x0180;
    /// vIOMMU status.
    pub const VIOMMU_STATUS: usize = 0x0190;
    /// Extended feature register 2.
    pub const EXTENDED_FEATURE_2: usize = 0x01a0;
    /// The first of four MARC apertures: base, relocation, length, 8 bytes each.
    pub const MARC_0_BASE: usize = 0x0200;

    /// Command buffer head.
    pub const COMMAND_BUFFER_HEAD: usize = 0x2000;
    /// Command buffer tail.
    pub const COMMAND_BUFFER_TAIL: usize = 0x2008;
    /// Event log head.
    pub const EVENT_LOG_HEAD: usize = 0x2010;
    /// Event log tail.
    pub const EVENT_LOG_TAIL: usize = 0x2018;
    /// Status.
    pub const STATUS: usize = 0x2020;
    /// Page request log head.
    pub const PPR_LOG_HEAD: usize = 0x2030;
    /// Page request log tail.
    pub const PPR_LOG_TAIL: usize = 0x2038;
    /// Guest virtual APIC log head.
    pub const GA_LOG_HEAD: usize = 0x2040;
    /// Guest virtual APIC log tail.
    pub const GA_LOG_TAIL: usize = 0x2048;
    /// Page request log B head.
    pub const PPR_LOG_B_HEAD: usize = 0x2050;
    /// Page request log B tail.
    pub const PPR_LOG_B_TAIL: usize = 0x2058;
    /// Event log B head.
    pub const EVENT_LOG_B_HEAD: usize = 0x2070;
    /// Event log B tail.
    pub const EVENT_LOG_B_TAIL: usize = 0x2078;
    /// Page request log auto response.
    pub const PPR_LOG_AUTO_RESPONSE: usize = 0x2080;
    /// Page request log overflow early indicator.
    pub const PPR_LOG_OVERFLOW_EARLY: usize = 0x2088;
    /// Page request log B overflow early indicator.
    pub const PPR_LOG_B_OVERFLOW_EARLY: usize = 0x2090;
    /// Performance counter configuration (EFR.PCSup).
    pub const COUNTER_CONFIGURATION: usize = 0x4000;
    /// Performance counter banks (EFR.PCSup).
    pub const COUNTER_BANKS: usize = 0x4_0000;
}

/// Bytes of registers without performance counters.
pub const BYTES: usize = 0x4000;
/// Bytes of registers with performance counters (EFR.PCSup).
pub const BYTES_WITH_COUNTERS: usize = 0x8_0000;

/// Device table base address (MMIO 0000h) and its segments (MMIO 0100h and on).
pub mod device_table {
    use super::Field;
    /// Length in 4 KiB pages, less one. Of segments above the first, only `[7:0]`.
    pub const SIZE: Field = Field::bits(8, 0);
    /// Address, a multiple of 4 KiB; the field in place is the address.
    pub const BASE: Field = Field::bits(51, 12);
}

/// Bases of command buffer (0008h), event log (0010h), page request log (0038h) and guest APIC log (00E0h). Writing
/// one sets head and tail of its buffer to zero.
pub mod buffer {
    use super::Field;
    /// Address, a multiple of 4 KiB; the field in place is the address.
    pub const BASE: Field = Field::bits(51, 12);
    /// Length: `1 << n` entries, `n` from 8 (4 KiB) to 15; others are reserved.
    pub const LENGTH: Field = Field::bits(59, 56);
    /// The smallest [`LENGTH`]: 256 entries.
    pub const LENGTH_MIN: u64 = 8;
    /// The largest [`LENGTH`]: 32768 entries.
    pub const LENGTH_MAX: u64 = 15;
    /// Bytes of an entry, of all of them but the guest APIC log's.
    pub const ENTRY_BYTES: u64 = 16;
    /// Head and tail: the offset in bytes from the base, in place.
    pub const POINTER: Field = Field::bits(18, 4);
    /// All other bits of a base.
    pub const RESERVED: u64 = 0xf0f0_0000_0000_0fff;
}

/// Exclusion base (MMIO 0020h) and limit (MMIO 0028h).
pub mod exclusion {
    use super::Field;
    /// Base: the range is in force.
    pub const EX_EN: Field = Field::bit(0);
    /// Base: every device may use the range, whatever DTE.EX says.
    pub const ALLOW: Field = Field::bit(1);
    /// Base: first address, a multiple of 4 KiB; the field in place is the address.
    pub const BASE: Field = Field::bits(51, 12);
    /// Limit: the last page of the range, included; the field in place is that page's address.
    pub const LIMIT: Field = Field::bits(51, 12);
}

/// Hardware event status (MMIO 0050h), EFR.HESup.
pub mod hardware_event {
    use super::Field;
    /// The two event registers hold an event. Write one to clear.
    pub const HEV: Field = Field::bit(0);
    /// Another came while they did. Write one to clear.
    pub const HEO: Field = Field::bit(1);
}

/// Status (MMIO 2020h). "RW1C": writing one clears; the others are read-only.
pub mod status {
    use super::Field;
    /// Event log overflow: no events are logged until it is cleared and the log restarted. RW1C.
    pub const EVENT_OVERFLOW: Field = Field::bit(0);
    /// An event was logged. RW1C.
    pub const EVENT_LOG_INT: Field = Field::bit(1);
    /// A COMPLETION_WAIT with I set completed. RW1C.
    pub const COM_WAIT_INT: Field = Field::bit(2);
    /// The event log runs.
    pub const EVENT_LOG_RUN: Field = Field::bit(3);
    /// Commands are fetched. Cleared by command errors.
    pub const CMD_BUF_RUN: Field = Field::bit(4);
    /// Page request log overflow. RW1C.
    pub const PPR_OVERFLOW: Field = Field::bit(5);
    /// A page request was logged. RW1C.
    pub const PPR_INT: Field = Field::bit(6);
    /// The page request log runs.
    pub const PPR_LOG_RUN: Field = Field::bit(7);
    /// The guest APIC log runs.
    pub const GA_LOG_RUN: Field = Field::bit(8);
    /// Guest APIC log overflow. RW1C.
    pub const GA_OVERFLOW: Field = Field::bit(9);
    /// An entry was put into the guest APIC log. RW1C.
    pub const GA_INT: Field = Field::bit(10);
    /// Page request log B overflow. RW1C.
    pub const PPR_OVERFLOW_B: Field = Field::bit(11);
    /// Page request log B is the active one.
    pub const PPR_LOG_ACTIVE: Field = Field::bit(12);
    /// Event log B overflow. RW1C.
    pub const EVENT_OVERFLOW_B: Field = Field::bit(15);
    /// Event log B is the active one.
    pub const EVENT_LOG_ACTIVE: Field = Field::bit(16);
    /// Page request log B overflow, early. RW1C.
    pub const PPR_OVERFLOW_EARLY_B: Field = Field::bit(17);
    /// Page request log overflow, early. RW1C.
    pub const PPR_OVERFLOW_EARLY: Field = Field::bit(18);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        // Linux amd_iommu_types.h, MMIO_*_OFFSET.
        let pairs = [
            (offset::DEVICE_TABLE_BASE, 0x0000),
            (offset::COMMAND_BUFFER_BASE, 0x0008),
            (offset::EVENT_LOG_BASE, 0x0010),
            (offset::CONTROL, 0x0018),
            (offset::EXCLUSION_BASE, 0x0020),
            (offset::EXCLUSION_LIMIT, 0x0028),
            (offset::EXTENDED_FEATURE, 0x0030),
            (offset::PPR_LOG_BASE, 0x0038),
            (offset::GA_LOG_BASE, 0x00e0),
            (offset::GA_LOG_TAIL_ADDRESS, 0x00e8),
            (offset::MSI_ADDRESS_LOW, 0x015c),
            (offset::MSI_ADDRESS_HIGH, 0x0160),
            (offset::MSI_DATA, 0x0164),
            (offset::X2APIC_GENERAL_INTERRUPT, 0x0170),
            (offset::X2APIC_PPR_INTERRUPT, 0x0178),
            (offset::X2APIC_GA_INTERRUPT, 0x0180),
            (offset::EXTENDED_FEATURE_2, 0x01a0),
            (offset::COMMAND_BUFFER_HEAD, 0x2000),
            (offset::COMMAND_BUFFER_TAIL, 0x2008),
            (offset::EVENT_LOG_HEAD, 0x2010),
            (offset::EVENT_LOG_TAIL, 0x2018),
            (offset::STATUS, 0x2020),
            (offset::PPR_LOG_HEAD, 0x2030),
            (offset::PPR_LOG_TAIL, 0x2038),
            (offset::GA_LOG_HEAD, 0x2040),
            (offset::GA_LOG_TAIL, 0x2048),
            (offset::COUNTER_CONFIGURATION, 0x4000),
            (offset::COUNTER_BANKS, 0x40000),
            (BYTES_WITH_COUNTERS, 0x80000),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours, theirs);
        }
        // FreeBSD amd_reg.h, AMDIOMMU_* (its AMDIOMMU_EVNTLOGB_BASE says 0x00f0, the address of PPRLOGB_BASE; the text's
        // register map has 00F8h).
        let pairs = [
            (offset::HARDWARE_EVENT_UPPER, 0x0040),
            (offset::HARDWARE_EVENT_LOWER, 0x0048),
            (offset::HARDWARE_EVENT_STATUS, 0x0050),
            (offset::SMI_FILTER_0, 0x0060),
            (offset::PPR_LOG_B_BASE, 0x00f0),
            (offset::DEVICE_TABLE_SEGMENT_1, 0x0100),
            (offset::DSFX, 0x0138),
            (offset::DSCX, 0x0140),
            (offset::DSSX, 0x0148),
            (offset::MSI_VECTOR_0, 0x0150),
            (offset::MSI_VECTOR_1, 0x0154),
            (offset::MSI_CAPABILITY, 0x0158),
            (offset::MSI_MAPPING, 0x0168),
            (offset::PERFORMANCE_OPTIMIZATION, 0x016c),
            (offset::VIOMMU_STATUS, 0x0190),
            (offset::MARC_0_BASE, 0x0200),
            (offset::PPR_LOG_B_HEAD, 0x2050),
            (offset::PPR_LOG_B_TAIL, 0x2058),
            (offset::EVENT_LOG_B_HEAD, 0x2070),
            (offset::EVENT_LOG_B_TAIL, 0x2078),
            (offset::PPR_LOG_AUTO_RESPONSE, 0x2080),
            (offset::PPR_LOG_OVERFLOW_EARLY, 0x2088),
            (offset::PPR_LOG_B_OVERFLOW_EARLY, 0x2090),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn masks() {
        // Xen iommu-defs.h: IOMMU_DEV_TABLE_SIZE_MASK, IOMMU_CMD_BUFFER_LENGTH_MASK (of the high half); QEMU
        // amd_iommu.h: AMDVI_MMIO_DEVTAB_BASE_MASK, AMDVI_MMIO_CMDBUF_HEAD_MASK, AMDVI_MMIO_EXCL_*_MASK.
        assert_eq!(device_table::SIZE.mask(), 0x0000_01ff);
        assert_eq!(device_table::BASE.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(buffer::BASE.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(buffer::LENGTH.mask(), 0x0f00_0000_0000_0000);
        assert_eq!(buffer::LENGTH.put(9), 0x0900_0000_0000_0000);
        assert_eq!(buffer::RESERVED, !(buffer::BASE.mask() | buffer::LENGTH.mask()));
        assert_eq!(buffer::POINTER.mask(), 0x0007_fff0);
        assert_eq!(exclusion::EX_EN.mask(), 0x1);
        assert_eq!(exclusion::ALLOW.mask(), 0x2);
        assert_eq!(exclusion::BASE.mask(), 0x000f_ffff_ffff_f000);
        assert_eq!(exclusion::LIMIT.mask(), 0x000f_ffff_ffff_f000);
        // FreeBSD amd_reg.h: AMDIOMMU_HWEVS_*, AMDIOMMU_CMDEVS_*.
        assert_eq!(hardware_event::HEV.mask(), 0x1);
        assert_eq!(hardware_event::HEO.mask(), 0x2);
        let pairs = [
            (status::EVENT_OVERFLOW, 0x0000_0001),
            (status::EVENT_LOG_INT, 0x0000_0002),
            (status::COM_WAIT_INT, 0x0000_0004),
            (status::EVENT_LOG_RUN, 0x0000_0008),
            (status::CMD_BUF_RUN, 0x0000_0010),
            (status::PPR_OVERFLOW, 0x0000_0020),
            (status::PPR_INT, 0x0000_0040),
            (status::PPR_LOG_RUN, 0x0000_0080),
            (status::GA_LOG_RUN, 0x0000_0100),
            (status::GA_OVERFLOW, 0x0000_0200),
            (status::GA_INT, 0x0000_0400),
            (status::PPR_OVERFLOW_B, 0x0000_0800),
            (status::PPR_LOG_ACTIVE, 0x0000_1000),
            (status::EVENT_OVERFLOW_B, 0x0000_8000),
            (status::EVENT_LOG_ACTIVE, 0x0001_0000),
            (status::PPR_OVERFLOW_EARLY_B, 0x0002_0000),
            (status::PPR_OVERFLOW_EARLY, 0x0004_0000),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours.mask(), theirs);
        }
    }
}
