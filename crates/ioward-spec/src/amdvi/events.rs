//! Entries of the event log (48882 §2.5): 128 bits, two words.

use crate::Field;

/// What happened: the module's constants named after events.
pub const EVENT_CODE: Field = Field::bits(63, 60);

/// ILLEGAL_DEV_TABLE_ENTRY (§2.5.2).
pub const ILLEGAL_DEV_TABLE_ENTRY: u64 = 0x1;
/// IO_PAGE_FAULT (§2.5.3).
pub const IO_PAGE_FAULT: u64 = 0x2;
/// DEV_TAB_HARDWARE_ERROR (§2.5.4).
pub const DEV_TAB_HARDWARE_ERROR: u64 = 0x3;
/// PAGE_TAB_HARDWARE_ERROR (§2.5.5).
pub const PAGE_TAB_HARDWARE_ERROR: u64 = 0x4;
/// ILLEGAL_COMMAND_ERROR (§2.5.6). The command buffer stops.
pub const ILLEGAL_COMMAND_ERROR: u64 = 0x5;
/// COMMAND_HARDWARE_ERROR (§2.5.7). The command buffer stops.
pub const COMMAND_HARDWARE_ERROR: u64 = 0x6;
/// IOTLB_INV_TIMEOUT (§2.5.8).
pub const IOTLB_INV_TIMEOUT: u64 = 0x7;
/// INVALID_DEVICE_REQUEST (§2.5.9).
pub const INVALID_DEVICE_REQUEST: u64 = 0x8;
/// INVALID_PPR_REQUEST (§2.5.10).
pub const INVALID_PPR_REQUEST: u64 = 0x9;
/// EVENT_COUNTER_ZERO (§2.5.11).
pub const EVENT_COUNTER_ZERO: u64 = 0xa;
/// GUEST_EVENT_FAULT (§2.5.12); of virtualised IOMMUs, its operands are not described here.
pub const GUEST_EVENT_FAULT: u64 = 0xb;
/// VIOMMU_HARDWARE_ERROR (§2.5.13); of virtualised IOMMUs, its operands are not described here.
pub const VIOMMU_HARDWARE_ERROR: u64 = 0xc;
/// RMP_PAGE_FAULT (§2.5.14), with SEV-SNP.
pub const RMP_PAGE_FAULT: u64 = 0xd;
/// RMP_HARDWARE_ERROR (§2.5.15), with SEV-SNP.
pub const RMP_HARDWARE_ERROR: u64 = 0xe;

/// The device, of every event that has one.
pub const DEVICE_ID: Field = Field::bits(15, 0);
/// PASID bits `[19:16]`, with GN set; of IO_PAGE_FAULT, ILLEGAL_DEV_TABLE_ENTRY, PAGE_TAB_HARDWARE_ERROR,
/// INVALID_DEVICE_REQUEST.
pub const PASID_19_16: Field = Field::bits(19, 16);
/// PASID bits `[15:0]`, with GN set. With GN clear: the domain ID in IO_PAGE_FAULT and PAGE_TAB_HARDWARE_ERROR, else
/// reserved.
pub const DOMAIN_ID_OR_PASID_15_0: Field = Field::bits(47, 32);
/// The event is a guest's: the vIOMMU's register access failed (EFR.vIOMMUSup; reserved without).
pub const VNR: Field = Field::bit(27);
/// A guest's event log was being reached (EFR.vIOMMUSup; reserved without).
pub const V_EVENT: Field = Field::bit(29);
/// A guest's page request log was being reached (EFR.vIOMMUSup; reserved without).
pub const V_PPR: Field = Field::bit(30);
/// A guest's command buffer was being reached (EFR.vIOMMUSup; reserved without).
pub const V_CMD: Field = Field::bit(31);

/// All flags together, as people print them.
pub const FLAGS: Field = Field::bits(59, 48);
/// Guest or nested: the address is a guest virtual one, and there is a PASID.
pub const GN: Field = Field::bit(48);
/// No execute: the request wanted to fetch instructions. Of IO_PAGE_FAULT.
pub const NX: Field = Field::bit(49);
/// User, else supervisor. Of IO_PAGE_FAULT.
pub const US: Field = Field::bit(50);
/// It was an interrupt request, else a memory request.
pub const I: Field = Field::bit(51);
/// Present: the walk found no entry that was not present. PE and RZ mean something only with it. Of IO_PAGE_FAULT.
pub const PR: Field = Field::bit(52);
/// Write, else read; with PR set, or of a transaction.
pub const RW: Field = Field::bit(53);
/// Permission: the device lacked it. Of IO_PAGE_FAULT.
pub const PE: Field = Field::bit(54);
/// A reserved bit was set, else a level or type was encoded illegally or a size is not supported. Of
/// ILLEGAL_DEV_TABLE_ENTRY and IO_PAGE_FAULT.
pub const RZ: Field = Field::bit(55);
/// Translation request (ATS), else a transaction.
pub const TR: Field = Field::bit(56);
/// Of the hardware errors: what failed ([`hardware_error`]).
pub const TYPE: Field = Field::bits(58, 57);
/// Of INVALID_DEVICE_REQUEST: what the device did ([`invalid_device_request`]).
pub const REQUEST_TYPE: Field = Field::bits(59, 57);

/// Address: the device's of a fault, the structure's of a hardware error, the command's of a command error. The field in
/// place is the address.
pub const ADDRESS: Field = Field::bits(127, 64);
/// Address bits that ILLEGAL_DEV_TABLE_ENTRY gives; `[1:0]` are reserved.
pub const ADDRESS_63_2: Field = Field::bits(127, 66);
/// Address bits that events about structures and commands give; `[3:0]` are reserved.
pub const ADDRESS_63_4: Field = Field::bits(127, 68);

/// Values of [`TYPE`].
pub mod hardware_error {
    /// Nobody answered at the address.
    pub const MASTER_ABORT: u64 = 1;
    /// The access was refused.
    pub const TARGET_ABORT: u64 = 2;
    /// The data were bad.
    pub const DATA_ERROR: u64 = 3;
}

/// Values of [`REQUEST_TYPE`].
pub mod invalid_device_request {
    /// A read or a non-posted write in the interrupt range.
    pub const READ_IN_INTERRUPT_RANGE: u64 = 0;
    /// A pre-translated request of a device whose DTE has I or V clear, or a translation request without that right.
    pub const PRETRANSLATED: u64 = 1;
    /// Port I/O of a device whose DTE forbids it.
    pub const PORT_IO: u64 = 2;
    /// A posted write to the system management range that the DTE forbids.
    pub const SYSTEM_MANAGEMENT: u64 = 3;
    /// A posted write to the interrupt range that the DTE forbids.
    pub const INTERRUPT: u64 = 4;
    /// A posted write to a reserved interrupt address.
    pub const RESERVED_INTERRUPT: u64 = 5;
    /// A posted write to the system management range where it is to be translated but TV is clear.
    pub const SYSTEM_MANAGEMENT_UNTRANSLATABLE: u64 = 6;
    /// A posted write to the address translation range.
    pub const ADDRESS_TRANSLATION_RANGE: u64 = 7;
}

/// Operands of INVALID_PPR_REQUEST that lie where the page request log has them.
pub mod invalid_ppr_request {
    use super::Field;
    /// PASID bits `[15:0]`.
    pub const PASID_15_0: Field = Field::bits(31, 16);
    /// The request's group index.
    pub const TAG: Field = Field::bits(41, 32);
    /// PASID bits `[19:16]`.
    pub const PASID_19_16: Field = Field::bits(45, 42);
}

/// Operands of EVENT_COUNTER_ZERO.
pub mod event_counter_zero {
    use super::Field;
    /// Bits `[51:32]` of the counter's note.
    pub const COUNTER_NOTE_51_32: Field = Field::bits(83, 64);
    /// Bits `[31:0]` of the counter's note.
    pub const COUNTER_NOTE_31_0: Field = Field::bits(127, 96);
}

/// Operands of RMP_PAGE_FAULT and RMP_HARDWARE_ERROR.
pub mod rmp {
    use super::Field;
    /// The guest's tag.
    pub const VMG_TAG: Field = Field::bits(47, 32);
    /// Guest physical address of RMP_PAGE_FAULT.
    pub const GPA: Field = Field::bits(127, 64);
    /// System physical address of RMP_HARDWARE_ERROR; the field in place is the address.
    pub const SPA: Field = Field::bits(127, 67);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        // Linux amd_iommu_types.h, EVENT_TYPE_*; 0xa from FreeBSD amd_reg.h; 0xb and 0xc by the order of §2.5.
        assert_eq!(EVENT_CODE.mask(), 0xf << 60);
        let codes = [
            ILLEGAL_DEV_TABLE_ENTRY,
            IO_PAGE_FAULT,
            DEV_TAB_HARDWARE_ERROR,
            PAGE_TAB_HARDWARE_ERROR,
            ILLEGAL_COMMAND_ERROR,
            COMMAND_HARDWARE_ERROR,
            IOTLB_INV_TIMEOUT,
            INVALID_DEVICE_REQUEST,
            INVALID_PPR_REQUEST,
            EVENT_COUNTER_ZERO,
            GUEST_EVENT_FAULT,
            VIOMMU_HARDWARE_ERROR,
            RMP_PAGE_FAULT,
            RMP_HARDWARE_ERROR,
        ];
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe]);
    }

    #[test]
    fn flags() {
        // Linux amd_iommu_types.h: EVENT_DEVID_MASK, EVENT_DOMID_MASK_LO and _HI, EVENT_FLAGS_MASK at 16 of the second
        // 32-bit word, EVENT_FLAG_RW (0x020), EVENT_FLAG_I (0x008).
        assert_eq!(DEVICE_ID.mask(), 0xffff);
        assert_eq!(PASID_19_16.mask(), 0xf_0000);
        assert_eq!(DOMAIN_ID_OR_PASID_15_0.mask(), 0xffff << 32);
        assert_eq!(FLAGS.mask(), 0xfff << 48);
        assert_eq!(RW.mask(), 0x020 << 48);
        assert_eq!(I.mask(), 0x008 << 48);
        // VirtualBox iommu-amd.h, EVT_IO_PAGE_FAULT_T and EVT_DEV_TAB_HARDWARE_ERROR: bit numbers.
        let bits = [(GN, 48), (NX, 49), (US, 50), (I, 51), (PR, 52), (RW, 53), (PE, 54), (RZ, 55), (TR, 56)];
        for (field, bit) in bits {
            assert_eq!(field.mask(), 1 << bit);
        }
        assert_eq!(TYPE.mask(), 0x0600_0000_0000_0000);
        assert_eq!(REQUEST_TYPE.mask(), 0x0e00_0000_0000_0000);
        assert_eq!((ADDRESS.word, ADDRESS.mask()), (1, u64::MAX));
        assert_eq!(ADDRESS_63_2.mask(), !0x3);
        assert_eq!(ADDRESS_63_4.mask(), !0xf);
        // FreeBSD amd_reg.h, struct amdiommu_event_io_page_fault_entry.
        assert_eq!(VNR.mask(), 0x0800_0000);
        assert_eq!(V_EVENT.mask(), 0x2000_0000);
        assert_eq!(V_PPR.mask(), 0x4000_0000);
        assert_eq!(V_CMD.mask(), 0x8000_0000);
    }

    #[test]
    fn operands() {
        // Linux: PPR_PASID1, PPR_TAG, PPR_PASID2 as its fault report uses them; RMP reports of drivers/iommu/amd/iommu.c;
        // VirtualBox: EVT_EVENT_COUNTER_ZERO_T.
        assert_eq!(invalid_ppr_request::PASID_15_0.mask(), 0xffff << 16);
        assert_eq!(invalid_ppr_request::TAG.mask(), 0x3ff << 32);
        assert_eq!(invalid_ppr_request::PASID_19_16.mask(), 0xf << 42);
        assert_eq!(rmp::VMG_TAG.mask(), 0xffff << 32);
        assert_eq!(rmp::SPA.mask(), !0x7);
        assert_eq!(event_counter_zero::COUNTER_NOTE_51_32.mask(), 0xf_ffff);
        assert_eq!(event_counter_zero::COUNTER_NOTE_31_0.mask(), 0xffff_ffff_0000_0000);
    }
}
