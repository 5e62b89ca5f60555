//! Entries of the peripheral page request log (48882 §2.6): 128 bits, two words.

use crate::Field;

/// What is requested: [`PAGE_SERVICE_REQUEST`].
pub const PPR_CODE: Field = Field::bits(63, 60);
/// PAGE_SERVICE_REQUEST (§2.6.2).
pub const PAGE_SERVICE_REQUEST: u64 = 0x1;

/// Who asks.
pub const DEVICE_ID: Field = Field::bits(15, 0);
/// PASID bits `[15:0]`, with GN set.
pub const PASID_15_0: Field = Field::bits(31, 16);
/// The request's group index and, in bit 9, whether it is the group's last.
pub const TAG: Field = Field::bits(41, 32);
/// The group index within [`TAG`].
pub const GROUP: Field = Field::bits(40, 32);
/// The group's last request, within [`TAG`].
pub const LAST: Field = Field::bit(41);
/// PASID bits `[19:16]`, with GN set.
pub const PASID_19_16: Field = Field::bits(45, 42);
/// Wants to execute.
pub const EXECUTE: Field = Field::bit(49);
/// Wants to read.
pub const READ: Field = Field::bit(50);
/// Wants to write.
pub const WRITE: Field = Field::bit(53);
/// User, else supervisor.
pub const US: Field = Field::bit(54);
/// A reserved bit was set in an entry of the walk.
pub const RZ: Field = Field::bit(55);
/// There is a PASID.
pub const GN: Field = Field::bit(56);
/// Address of the page; the field in place is the address.
pub const ADDRESS: Field = Field::bits(127, 76);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        // Linux amd_iommu_types.h: PPR_REQ_TYPE, PPR_DEVID, PPR_TAG, PPR_PASID1, PPR_PASID2, PPR_FLAG_* at bit 48.
        assert_eq!(PPR_CODE.mask(), 0xf << 60);
        assert_eq!(DEVICE_ID.mask(), 0xffff);
        assert_eq!(PASID_15_0.mask(), 0xffff << 16);
        assert_eq!(TAG.mask(), 0x3ff << 32);
        assert_eq!(GROUP.mask() | LAST.mask(), TAG.mask());
        assert_eq!(PASID_19_16.mask(), 0xf << 42);
        assert_eq!(EXECUTE.mask(), 0x002 << 48);
        assert_eq!(READ.mask(), 0x004 << 48);
        assert_eq!(WRITE.mask(), 0x020 << 48);
        assert_eq!(US.mask(), 0x040 << 48);
        assert_eq!(RZ.mask(), 0x080 << 48);
        assert_eq!(GN.mask(), 0x100 << 48);
        assert_eq!((ADDRESS.word, ADDRESS.mask()), (1, !0xfff));
    }
}
