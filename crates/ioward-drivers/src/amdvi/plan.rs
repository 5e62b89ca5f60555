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
        snoop: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amdvi::config::Config;
    use ioward_types::describe::AmdVi;

    const ID: IommuId = IommuId(4);
    // PASmax 15, GLXSup 1, GATS 0, HATS 2, GIoSup, HASup, HDSup, IASup, GTSup.
    const FULL: u64 = 0x0013_000f_0000_4850;
    // Four levels of host tables and nothing else.
    const LEAST: u64 = 0;

    fn features(efr: u64) -> Features {
        Features::new(efr, &Config::new(AmdVi::default(), 0)).unwrap()
    }

    fn table(efr: u64, wish: Requirements) -> Result<TableConfig, Refused> {
        match plan(ID, &features(efr), true, &wish)? {
            Plan::Tables(config) => {
                // What is planned can be walked (rule 11).
                can_walk(ID, &features(efr), true, &config).unwrap();
                Ok(config)
            }
            Plan::Requests { .. } => panic!("AMD-Vi has tables"),
        }
    }

    #[test]
    fn a_group_with_pasids_gets_v2_and_one_without_gets_v1() {
        let with = Requirements { pasid_bits: 16, ..Requirements::default() };
        assert_eq!(table(FULL, with).unwrap().format, Format::AmdV2);
        assert_eq!(table(FULL, with).unwrap().in_bits, 47);
        let without = table(FULL, Requirements::default()).unwrap();
        assert_eq!((without.format, without.in_bits, without.out_bits), (Format::AmdV1, 48, 52));
        assert_eq!(without.granule(), 4096);
        let parent = Requirements { nest_parent: true, ..with };
        assert_eq!(table(FULL, parent).unwrap().format, Format::AmdV1);
    }

    #[test]
    fn the_narrowest_member_narrows_the_table_and_its_pages() {
        let narrow = table(FULL, Requirements { addr_bits: 32, ..Requirements::default() }).unwrap();
        assert_eq!(narrow.in_bits, 32);
        assert_eq!(narrow.page_sizes >> 32, 0);
        let tiny = Requirements { addr_bits: 11, ..Requirements::default() };
        assert!(matches!(table(FULL, tiny), Err(Refused::Width { has: 11, needs: 12, .. })));
    }

    #[test]
    fn what_the_hardware_lacks_is_refused_by_name() {
        let pasids = Requirements { pasid_bits: 17, ..Requirements::default() };
        assert!(matches!(table(FULL, pasids), Err(Refused::Pasid { has: 16, needs: 17, .. })));
        assert!(matches!(table(LEAST, pasids), Err(Refused::Pasid { has: 0, .. })));
        let dirty = Requirements { dirty: true, ..Requirements::default() };
        assert!(table(FULL, dirty).unwrap().dirty);
        assert_eq!(table(FULL, dirty).unwrap().page_sizes, SINGLE);
        assert!(matches!(table(LEAST, dirty), Err(Refused::Unsupported { what: "HDSup", .. })));
        let both = Requirements { pasid_bits: 1, ..dirty };
        assert!(matches!(table(FULL, both), Err(Refused::Unsupported { .. })));
        // HATS 3: no host tables.
        let no_host = FULL | 0xc00;
        assert!(matches!(table(no_host, Requirements::default()), Err(Refused::Unsupported { .. })));
    }

    #[test]
    fn rule_11_a_table_that_cannot_be_walked_is_refused_with_both_sides_named() {
        let v1 = table(FULL, Requirements::default()).unwrap();
        let v2 = table(FULL, Requirements { pasid_bits: 1, ..Requirements::default() }).unwrap();
        let refused =
            |efr, coherent, config: TableConfig| can_walk(ID, &features(efr), coherent, &config).unwrap_err();
        let arm = TableConfig { format: Format::ArmStage2, ..v1 };
        assert_eq!(refused(FULL, true, arm), Refused::Format { iommu: ID, table: Format::ArmStage2 });
        assert_eq!(refused(LEAST, true, v2), Refused::Format { iommu: ID, table: Format::AmdV2 });
        let wide = TableConfig { in_bits: 57, ..v1 };
        assert!(can_walk(ID, &features(FULL), true, &wide).is_ok());
        assert_eq!(refused(LEAST, true, wide), Refused::Width { iommu: ID, has: 48, needs: 57 });
        assert_eq!(
            refused(FULL, true, TableConfig { in_bits: 57, ..v2 }),
            Refused::Width { iommu: ID, has: 48, needs: 57 }
        );
        for odd in [
            TableConfig { page_sizes: 1 << 39, ..v1 },
            TableConfig { page_sizes: 1 << 11, ..v1 },
            TableConfig { page_sizes: 0, ..v1 },
            TableConfig { page_sizes: 1 << 16, ..v2 },
            TableConfig { dirty: true, ..v2 },
        ] {
            assert!(matches!(refused(FULL, true, odd), Refused::Shape { .. }), "{odd:?}");
        }
        assert!(matches!(refused(FULL, false, v1), Refused::Shape { .. }));
        let cleaned = TableConfig { coherent: false, ..v1 };
        assert!(can_walk(ID, &features(FULL), true, &cleaned).is_ok());
    }
}
