//! Which tables serve which requirements, and which tables can be walked.
//!
//! * Groups without PASIDs, and parents of nested domains, get second-stage tables where the unit has that stage; groups
//!   with PASIDs get first-stage tables of four levels. Where the unit has only one stage, it serves both.
//! * Second-stage IOVAs have as many bits as the members have, but no more than [`PLANNED_BITS`] and no more than MGAW
//!   allows. A table has as many levels as its width needs, so a width that needs fewer than SAGAW has is raised to the
//!   least that needs as many as it has; what MGAW then does not reach is forbidden.
//! * First-stage addresses are extended with their sign, so the flat part of four levels has one bit less.

use super::capability::Features;
use ioward_core::driver::{Plan, Refused, Requirements};
use ioward_types::{Format, IommuId, TableConfig};

/// The most IOVA bits that are planned for second-stage tables: four levels.
pub const PLANNED_BITS: u8 = 48;
/// The IOVA bits that are planned for first-stage tables: four levels, whose lower half has one bit less.
pub const PLANNED_FIRST_BITS: u8 = 48;

/// Levels of a table whose IOVAs have so many bits.
fn levels_of(in_bits: u8) -> u8 {
    in_bits.saturating_sub(12).div_ceil(9)
}

/// The least IOVA bits that need so many levels.
fn narrowest(levels: u8) -> u8 {
    12 + 9 * (levels - 1) + 1
}

impl Features {
    /// The width that a second-stage table gets where `wanted` bits would do.
    fn second_bits(&self, wanted: u8) -> Option<u8> {
        let wanted = wanted.min(self.input_bits);
        let levels = (3..=5).filter(|levels| self.has_levels(*levels));
        let fits = levels.clone().find(|levels| 12 + 9 * levels >= wanted);
        let levels = fits.or(levels.max())?;
        Some(wanted.min(12 + 9 * levels).max(narrowest(levels)))
    }

    /// The widest second-stage table that can be walked.
    fn widest(&self) -> u8 {
        self.second_bits(64).unwrap_or(0)
    }

    /// IOVAs of the widest planned table that no request may have, since MGAW is narrower than every table: from the
    /// first number to, not including, the second.
    pub fn beyond_input(&self) -> Option<(u64, u64)> {
        let planned = self.second_bits(PLANNED_BITS)?;
        (self.second && planned > self.input_bits).then(|| (1 << self.input_bits, 1 << planned))
    }

    /// How it would serve these requirements.
    pub fn plan(&self, iommu: IommuId, wish: &Requirements) -> Result<Plan, Refused> {
        let unsupported = |what| Err(Refused::Unsupported { iommu, what });
        if wish.pasid_bits > self.pasid_bits {
            return Err(Refused::Pasid { iommu, has: self.pasid_bits, needs: wish.pasid_bits });
        }
        if wish.addr_bits <= 12 {
            return Err(Refused::Width { iommu, has: wish.addr_bits, needs: 13 });
        }
        if wish.dirty && !self.walks_coherent {
            return unsupported("accessed and dirty bits without snooped walks (ECAP.SMPWCS)");
        }
        let first = match (wish.pasid_bits, wish.nest_parent) {
            (_, true) if !self.second => return unsupported("second-stage translation, which nesting needs"),
            (_, true) => false,
            (0, false) if !self.second => true,
            (0, false) => wish.dirty && !self.second_dirty && self.first,
            (_, false) => self.first,
        };
        if wish.dirty && !first && !self.second_dirty {
            return unsupported("accessed and dirty bits in second-stage tables (ECAP.SSADS)");
        }
        let (format, in_bits, sizes) = if first {
            (Format::VtdFirst, PLANNED_FIRST_BITS.min(wish.addr_bits), self.first_sizes)
        } else {
            let bits = self.second_bits(PLANNED_BITS.min(wish.addr_bits));
            let bits = bits.ok_or(Refused::Unsupported { iommu, what: "a table width (CAP.SAGAW)" })?;
            (Format::VtdSecond, bits, self.second_sizes)
        };
        Ok(Plan::Tables(TableConfig {
            format,
            in_bits,
            out_bits: self.host_bits,
            // A leaf that is larger than the whole is none.
            page_sizes: sizes & ((1 << in_bits) - 1),
            coherent: self.walks_coherent,
            dirty: wish.dirty,
            // A first-stage leaf cannot say so; the PASID table entry can, for all of them.
            snoop: self.snoop_control && (!first || wish.coherent),
        }))
    }

    /// Whether it can walk tables of this shape.
    pub fn can_walk(&self, iommu: IommuId, config: &TableConfig) -> Result<(), Refused> {
        let table = config.format;
        let misfit = |what| Err(Refused::Shape { iommu, table, what });
        let (has, sizes) = match table {
            Format::VtdSecond if self.second => (self.widest(), self.second_sizes),
            Format::VtdFirst if self.first => (if self.first_five { 57 } else { 48 }, self.first_sizes),
            _ => return Err(Refused::Format { iommu, table }),
        };
        if config.in_bits > has {
            return Err(Refused::Width { iommu, has, needs: config.in_bits });
        }
        if table == Format::VtdSecond && !self.has_levels(levels_of(config.in_bits)) {
            return misfit("its width needs levels that SAGAW does not have");
        }
        if config.out_bits > self.host_bits {
            return Err(Refused::Width { iommu, has: self.host_bits, needs: config.out_bits });
        }
        if config.page_sizes == 0 || config.page_sizes & !sizes != 0 {
            return misfit("a page size");
        }
        if config.coherent && !self.walks_coherent {
            return misfit("walks do not snoop, and the table is not cleaned");
        }
        if config.snoop && !self.snoop_control {
            return misfit("leaves force snooping (no ECAP.SC)");
        }
        if config.dirty && !self.walks_coherent {
            return misfit("accessed and dirty bits without snooped walks (ECAP.SMPWCS)");
        }
        if config.dirty && table == Format::VtdSecond && !self.second_dirty {
            return misfit("accessed and dirty bits (no ECAP.SSADS)");
        }
        Ok(())
    }

    /// Whether a root that is said to be of this shape has levels that it can start at.
    pub fn fits(&self, config: &TableConfig, levels: u8) -> bool {
        match config.format {
            Format::VtdFirst => levels == 4 || levels == 5 && self.first_five,
            _ => self.has_levels(levels) && levels >= levels_of(config.in_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vtd::capability::Manner;

    const ID: IommuId = IommuId(4);
    const SINGLE: u64 = 1 << 12 | 1 << 21 | 1 << 30;

    fn full() -> Features {
        Features {
            scalable: true,
            queued: true,
            second: true,
            first: true,
            first_five: true,
            second_levels: 1 << 3 | 1 << 4 | 1 << 5,
            input_bits: 57,
            host_bits: 46,
            second_sizes: SINGLE,
            first_sizes: SINGLE,
            pass_through: true,
            nested: true,
            snoop_control: true,
            structures_coherent: true,
            walks_coherent: true,
            caching_mode: false,
            write_buffer: false,
            page_selective: Some(18),
            manner: Manner { drain_reads: true, drain_writes: true, throttle: false },
            domain_bits: 16,
            device_tlb: true,
            pasid_bits: 20,
            page_requests: true,
            second_dirty: true,
            remapping: true,
            wide_destination: true,
            index_mask: 15,
            root_invalidates: false,
            interrupt_root_invalidates: false,
            iotlb_at: 0x100,
            faults_at: 0x200,
            faults: 8,
        }
    }

    fn legacy() -> Features {
        Features {
            scalable: false,
            first: false,
            pasid_bits: 0,
            second_dirty: false,
            second_levels: 1 << 4,
            input_bits: 48,
            ..full()
        }
    }

    fn table(features: Features, wish: Requirements) -> Result<TableConfig, Refused> {
        match features.plan(ID, &wish)? {
            Plan::Tables(config) => {
                // What is planned can be walked (rule 11).
                features.can_walk(ID, &config).unwrap();
                Ok(config)
            }
            Plan::Requests { .. } => panic!("VT-d has tables"),
        }
    }

    #[test]
    fn a_group_with_pasids_gets_first_stage_and_one_without_gets_second() {
        let with = Requirements { pasid_bits: 20, ..Requirements::default() };
        let first = table(full(), with).unwrap();
        assert_eq!((first.format, first.in_bits, first.flat_bits()), (Format::VtdFirst, 48, 47));
        assert!(!first.snoop && table(full(), Requirements { coherent: true, ..with }).unwrap().snoop);
        let second = table(full(), Requirements::default()).unwrap();
        assert_eq!((second.format, second.in_bits, second.out_bits), (Format::VtdSecond, 48, 46));
        assert!(second.snoop);
        let parent = Requirements { nest_parent: true, ..with };
        assert_eq!(table(full(), parent).unwrap().format, Format::VtdSecond);
        // With one stage only, that one.
        let only_first = Features { second: false, second_levels: 0, ..full() };
        assert_eq!(table(only_first, Requirements::default()).unwrap().format, Format::VtdFirst);
        let only_second = Features { first: false, ..full() };
        assert_eq!(table(only_second, with).unwrap().format, Format::VtdSecond);
        assert!(matches!(table(only_first, parent), Err(Refused::Unsupported { .. })));
    }

    #[test]
    fn a_width_that_sagaw_does_not_have_is_raised() {
        let narrow = Requirements { addr_bits: 32, ..Requirements::default() };
        assert_eq!(table(full(), narrow).unwrap().in_bits, 32);
        assert_eq!(table(full(), narrow).unwrap().page_sizes, SINGLE);
        assert_eq!(table(legacy(), narrow).unwrap().in_bits, 40);
        let only_five = Features { second_levels: 1 << 5, ..full() };
        assert_eq!(table(only_five, narrow).unwrap().in_bits, 49);
        assert_eq!(table(only_five, Requirements::default()).unwrap().in_bits, 49);
        let three = Features { second_levels: 1 << 3, input_bits: 39, ..full() };
        assert_eq!(table(three, Requirements::default()).unwrap().in_bits, 39);
        assert_eq!(three.beyond_input(), None);
        // 39 bits of input and tables of 48: what lies between must not be used.
        let odd = Features { input_bits: 39, ..legacy() };
        assert_eq!(table(odd, Requirements::default()).unwrap().in_bits, 40);
        assert_eq!(odd.beyond_input(), Some((1 << 39, 1 << 40)));
    }

    #[test]
    fn what_the_hardware_lacks_is_refused_by_name() {
        let pasids = Requirements { pasid_bits: 16, ..Requirements::default() };
        assert!(matches!(table(legacy(), pasids), Err(Refused::Pasid { has: 0, needs: 16, .. })));
        let dirty = Requirements { dirty: true, ..Requirements::default() };
        assert_eq!(table(full(), dirty).unwrap().format, Format::VtdSecond);
        let without = Features { second_dirty: false, ..full() };
        assert_eq!(table(without, dirty).unwrap().format, Format::VtdFirst);
        assert!(matches!(table(legacy(), dirty), Err(Refused::Unsupported { .. })));
        let incoherent = Features { walks_coherent: false, ..full() };
        assert!(matches!(table(incoherent, dirty), Err(Refused::Unsupported { .. })));
        let tiny = Requirements { addr_bits: 12, ..Requirements::default() };
        assert!(matches!(table(full(), tiny), Err(Refused::Width { .. })));
    }

    #[test]
    fn rule_11_a_table_that_cannot_be_walked_is_refused_with_both_sides_named() {
        let second = table(full(), Requirements::default()).unwrap();
        let first = table(full(), Requirements { pasid_bits: 1, ..Requirements::default() }).unwrap();
        let refused = |features: Features, config: TableConfig| features.can_walk(ID, &config).unwrap_err();
        assert_eq!(refused(legacy(), first), Refused::Format { iommu: ID, table: Format::VtdFirst });
        let arm = TableConfig { format: Format::ArmStage2, ..second };
        assert_eq!(refused(full(), arm), Refused::Format { iommu: ID, table: Format::ArmStage2 });
        let wide = TableConfig { in_bits: 57, ..second };
        assert!(full().can_walk(ID, &wide).is_ok());
        assert_eq!(refused(legacy(), wide), Refused::Width { iommu: ID, has: 48, needs: 57 });
        let five = TableConfig { in_bits: 57, ..first };
        assert!(full().can_walk(ID, &five).is_ok());
        let four_only = Features { first_five: false, ..full() };
        assert_eq!(refused(four_only, five), Refused::Width { iommu: ID, has: 48, needs: 57 });
        let far = TableConfig { out_bits: 52, ..second };
        assert_eq!(refused(full(), far), Refused::Width { iommu: ID, has: 46, needs: 52 });
        for (features, odd) in [
            (full(), TableConfig { page_sizes: 1 << 39, ..second }),
            (full(), TableConfig { page_sizes: 0, ..second }),
            (legacy(), TableConfig { in_bits: 39, ..second }),
            (Features { walks_coherent: false, ..full() }, second),
            (Features { snoop_control: false, ..full() }, second),
            (Features { second_dirty: false, ..full() }, TableConfig { dirty: true, ..second }),
        ] {
            assert!(matches!(refused(features, odd), Refused::Shape { .. }), "{odd:?}");
        }
        let cleaned = TableConfig { coherent: false, ..second };
        assert!(full().can_walk(ID, &cleaned).is_ok());
        assert!(full().fits(&second, 4) && !full().fits(&second, 3) && !legacy().fits(&second, 5));
        assert!(full().fits(&first, 5) && !four_only.fits(&first, 5) && !full().fits(&first, 3));
    }
}
