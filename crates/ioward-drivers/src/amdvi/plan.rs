//! Which tables serve which requirements, and which tables can be walked.
//!
//! * Groups without PASIDs, and parents of nested domains, get v1 tables. IOVAs have as many bits as the members have,
//!   but no more than [`PLANNED_HOST_BITS`] and no more than HATS allows: each level beyond four lengthens every walk and
//!   no machine has memory to fill it. A foreign table may use all that HATS allows.
//! * Groups with PASIDs get v2 tables behind a guest CR3 table, of four levels. IOVAs have one bit less than four levels
//!   translate: v2 addresses are canonical, the upper half being for addresses whose high bits are all ones.
//! * v1 leaves have any power of two of bytes from 4 KiB to 256 GiB. 512 GiB is left out, as processors are known that
//!   get it wrong. Where dirty bits are wanted only 4 KiB, 2 MiB and 1 GiB are used, which are one entry each.

use super::features::Features;
use ioward_core::driver::{Plan, Refused, Requirements};
use ioward_types::{Format, IommuId, TableConfig};

/// The most IOVA bits that are planned for v1 tables: four levels.
pub const PLANNED_HOST_BITS: u8 = 48;
/// The most IOVA bits that are planned for v2 tables: the lower half of four levels.
pub const PLANNED_GUEST_BITS: u8 = 47;

/// Physical addresses have up to 52 bits in both formats.
const OUT_BITS: u8 = 52;
/// 4 KiB, 2 MiB, 1 GiB: one entry each.
const SINGLE: u64 = 1 << 12 | 1 << 21 | 1 << 30;
/// Every power of two from 4 KiB to 256 GiB.
const SIZED: u64 = (1 << 39) - (1 << 12);

pub(super) fn plan(
    iommu: IommuId,
    features: &Features,
    coherent: bool,
    wish: &Requirements,
) -> Result<Plan, Refused> {
    let guest = wish.pasid_bits > 0 && !wish.nest_parent;
    if wish.pasid_bits > 0 && wish.pasid_bits > features.pasid_bits {
        return Err(Refused::Pasid { iommu, has: features.pasid_bits, needs: wish.pasid_bits });
    }
    if wish.addr_bits < 12 {
        return Err(Refused::Width { iommu, has: wish.addr_bits, needs: 12 });
    }
    if wish.dirty && guest {
        return Err(Refused::Unsupported { iommu, what: "dirty tracking in v2 tables" });
    }
    if wish.dirty && !features.dirty {
        return Err(Refused::Unsupported { iommu, what: "HDSup" });
    }
    let (format, most) = if guest {
        (Format::AmdV2, PLANNED_GUEST_BITS)
    } else {
        let has =
            features.host_bits().ok_or(Refused::Unsupported { iommu, what: "host address translation" })?;
        (Format::AmdV1, PLANNED_HOST_BITS.min(has))
    };
    let in_bits = most.min(wish.addr_bits);
    // A leaf that is larger than the whole is none.
    let fitting = (1 << in_bits) - 1;
    let sizes = if guest || wish.dirty { SINGLE } else { SIZED };
    Ok(Plan::Tables(TableConfig {
        format,
        in_bits,
        out_bits: OUT_BITS,
        page_sizes: sizes & fitting,
        coherent,
        dirty: wish.dirty,
    }))
}

pub(super) fn can_walk(
    iommu: IommuId,
    features: &Features,
    coherent: bool,
    config: &TableConfig,
) -> Result<(), Refused> {
    let shape = |what| Refused::Shape { iommu, table: config.format, what };
    let (bits, sizes) = match config.format {
        Format::AmdV1 => (features.host_bits(), SIZED),
        Format::AmdV2 => (features.guest_bits(), SINGLE),
        table => return Err(Refused::Format { iommu, table }),
    };
    let has = bits.ok_or(Refused::Format { iommu, table: config.format })?;
    if config.in_bits > has {
        return Err(Refused::Width { iommu, has, needs: config.in_bits });
    }
    if config.out_bits > OUT_BITS {
        return Err(Refused::Width { iommu, has: OUT_BITS, needs: config.out_bits });
    }
    if config.page_sizes == 0 || config.page_sizes & !sizes != 0 {
        return Err(shape("a page size"));
    }
    if config.coherent && !coherent {
        return Err(shape("walks do not snoop, and the table is not cleaned"));
    }
    if config.dirty && config.format == Format::AmdV2 {
        return Err(shape("dirty tracking in v2 tables"));
    }
    if config.dirty && !features.dirty {
        return Err(shape("dirty tracking (no HDSup)"));
    }
    Ok(())
}
