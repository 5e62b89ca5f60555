//! Which tables serve which requirements, and which tables can be walked.
//!
//! * Groups without PASIDs get a second stage: nothing stands between the device context and the table. Where there is
//!   none, they get a first stage.
//! * Groups with PASIDs get first stages behind a process directory.
//! * A table has as few levels as its IOVAs need, and no more than four unless there is no other way: each level beyond
//!   lengthens every walk. Of a first stage only the lower half is planned, as addresses repeat their highest bit.
//! * Leaves of 4 KiB, 2 MiB and 1 GiB are planned, and of 64 KiB where the configuration says that Svnapot can be relied
//!   on. Tables of others may have all that the architecture has.

use super::{capabilities::Features, tag::Stage};
use ioward_core::driver::{Plan, Refused, Requirements};
use ioward_spec::riscv::{
    device::{iohgatp_mode, iosatp_mode},
    paging,
};
use ioward_types::{Format, IommuId, Root, TableConfig};

/// The least input and output bits of a table.
const NARROWEST: u8 = 32;
/// Levels beyond these are not planned.
const PLANNED_LEVELS: u8 = 4;
/// 4 KiB, 2 MiB and 1 GiB.
const SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;
/// 64 KiB (Svnapot).
const NAPOT: u64 = 1 << paging::NAPOT_64K_SHIFT;

/// IOVA bits of a first stage of so many levels, both halves.
pub(super) const fn first_bits(levels: u8) -> u8 {
    paging::PAGE_SHIFT as u8 + levels * paging::LEVEL_BITS as u8
}

/// Guest physical address bits of a second stage of so many levels.
pub(super) const fn second_bits(levels: u8) -> u8 {
    first_bits(levels) + paging::SECOND_STAGE_ROOT_BITS as u8
}

/// The leaves that a table of so many levels can have.
fn leaves(levels: u8) -> u64 {
    (0..levels).fold(NAPOT, |all, level| all | 1 << first_bits(level))
}

/// A table as a context describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Walk {
    pub stage: Stage,
    /// The root's page number.
    pub ppn: u64,
    /// iosatp.MODE or iohgatp.MODE.
    pub mode: u64,
    /// Hardware sets accessed and dirty bits.
    pub dirty: bool,
}

impl Features {
    fn levels(&self, stage: Stage) -> u8 {
        match stage {
            Stage::First => self.first_levels,
            Stage::Second => self.second_levels,
        }
    }

    /// How it would serve these requirements.
    pub fn plan(&self, iommu: IommuId, wish: &Requirements) -> Result<Plan, Refused> {
        let unsupported = |what| Err(Refused::Unsupported { iommu, what });
        let stage = match (wish.pasid_bits, wish.nest_parent) {
            (1.., true) => return unsupported("a second-stage parent that PASIDs can coexist with"),
            (needs, false) if needs > self.pasid_bits() => {
                return Err(Refused::Pasid { iommu, has: self.pasid_bits(), needs });
            }
            (1.., false) => Stage::First,
            (0, true) if self.second_levels == 0 => {
                return unsupported("a second stage, which nesting needs");
            }
            (0, _) if self.second_levels != 0 => Stage::Second,
            (0, _) => Stage::First,
        };
        if wish.dirty && !self.dirty {
            return unsupported("coherent hardware update of dirty state (AMO_HWAD)");
        }
        // The lower half, where addresses repeat their highest bit.
        let bits = |levels| match stage {
            Stage::First => first_bits(levels) - 1,
            Stage::Second => second_bits(levels),
        };
        let most = self.levels(stage).min(PLANNED_LEVELS);
        let levels = (3..most).find(|&levels| bits(levels) >= wish.addr_bits).unwrap_or(most);
        let in_bits = bits(levels).min(wish.addr_bits).max(NARROWEST);
        let napot = if self.napot { NAPOT } else { 0 };
        Ok(Plan::Tables(TableConfig {
            format: match stage {
                Stage::First => Format::RiscvFirst,
                Stage::Second => Format::RiscvSecond,
            },
            in_bits,
            out_bits: self.pas,
            // A leaf that is larger than the whole is none.
            page_sizes: (SIZES | napot) & ((1 << in_bits) - 1),
            coherent: self.coherent,
            dirty: wish.dirty,
            snoop: self.svpbmt,
        }))
    }

    /// Whether it can walk tables of this shape.
    pub fn can_walk(&self, iommu: IommuId, config: &TableConfig) -> Result<Stage, Refused> {
        let table = config.format;
        let misfit = |what| Err(Refused::Shape { iommu, table, what });
        let stage = Stage::of(table).filter(|stage| self.levels(*stage) != 0);
        let Some(stage) = stage else { return Err(Refused::Format { iommu, table }) };
        let levels = self.levels(stage);
        let has = match stage {
            Stage::First => first_bits(levels),
            Stage::Second => second_bits(levels),
        };
        if config.in_bits > has {
            return Err(Refused::Width { iommu, has, needs: config.in_bits });
        }
        if config.out_bits > self.pas {
            return Err(Refused::Width { iommu, has: self.pas, needs: config.out_bits });
        }
        if config.granule() != 1 << paging::PAGE_SHIFT {
            return misfit("its granule is not 4 KiB");
        }
        if config.page_sizes & !leaves(levels) != 0 {
            return misfit("it has leaves of a size that no level has");
        }
        if config.coherent && !self.coherent {
            return misfit("it is not cleaned, and walks do not snoop");
        }
        if config.dirty && !self.dirty {
            return misfit("it expects hardware to set dirty state (AMO_HWAD)");
        }
        if config.snoop && !self.svpbmt {
            return misfit("its leaves say how memory is reached (Svpbmt)");
        }
        Ok(stage)
    }

    /// How a context describes a table, checked.
    pub fn walk(&self, iommu: IommuId, root: Root, config: &TableConfig) -> Result<Walk, Refused> {
        let stage = self.can_walk(iommu, config)?;
        let misfit = |what| Err(Refused::Shape { iommu, table: config.format, what });
        if !(3..=self.levels(stage)).contains(&root.levels) {
            return misfit("its levels are not the IOMMU's");
        }
        let (bits, align, mode) = match stage {
            Stage::First => (first_bits(root.levels), 0x1000, iosatp_mode::SV39),
            Stage::Second => (second_bits(root.levels), 0x4000, iohgatp_mode::SV39X4),
        };
        if config.in_bits > bits {
            return misfit("its levels do not match its input width");
        }
        if !root.at.0.is_multiple_of(align) {
            return misfit("its root is not aligned to its size");
        }
        if root.at.0 >> self.pas != 0 {
            return misfit("its root is beyond physical memory");
        }
        // Sv48 and Sv57 follow Sv39, as their x4 forms follow Sv39x4.
        let mode = mode + u64::from(root.levels - 3);
        Ok(Walk { stage, ppn: root.at.0 >> paging::PAGE_SHIFT, mode, dirty: config.dirty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::riscv::Config;
    use ioward_types::PhysAddr;

    const ID: IommuId = IommuId(4);
    /// Version 1.0, Sv39 to Sv57 and every x4, AMO_HWAD, ATS, PAS 56, PD8 to PD20.
    const FULL: u64 = 0x0000_01f8_230f_0e10;

    fn features(capabilities: u64) -> Features {
        Features::new(capabilities, &Config::default()).unwrap()
    }

    fn table(capabilities: u64, wish: Requirements) -> Result<TableConfig, Refused> {
        let features = features(capabilities);
        match features.plan(ID, &wish)? {
            Plan::Tables(config) => {
                // What is planned can be walked (rule 11).
                features.can_walk(ID, &config).unwrap();
                Ok(config)
            }
            Plan::Requests { .. } => panic!("tables"),
        }
    }

    #[test]
    fn a_group_with_pasids_gets_a_first_stage_and_one_without_a_second() {
        let wish = Requirements::default();
        let shape = |config: TableConfig| (config.format, config.in_bits, config.out_bits, config.page_sizes);
        let with = Requirements { pasid_bits: 20, ..wish };
        assert_eq!(shape(table(FULL, wish).unwrap()), (Format::RiscvSecond, 50, 56, SIZES));
        assert_eq!(shape(table(FULL, with).unwrap()), (Format::RiscvFirst, 47, 56, SIZES));
        let no_second = FULL & !(0xf << 16);
        assert_eq!(shape(table(no_second, wish).unwrap()), (Format::RiscvFirst, 47, 56, SIZES));
        let sv39 = FULL & !(0xcc << 8) & !(0xc << 16);
        assert_eq!(table(sv39, wish).unwrap().in_bits, 41);
        assert_eq!(table(sv39, with).unwrap().in_bits, 38);
        let parent = Requirements { nest_parent: true, ..wish };
        assert_eq!(table(FULL, parent).unwrap().format, Format::RiscvSecond);
        let napot = Features { napot: true, ..features(FULL) };
        assert!(
            matches!(napot.plan(ID, &wish), Ok(Plan::Tables(config)) if config.page_sizes == SIZES | NAPOT)
        );
    }

    #[test]
    fn the_narrowest_member_narrows_the_table_and_saves_levels() {
        for (bits, second, first) in [(20, 32, 32), (32, 32, 32), (38, 38, 38), (41, 41, 41), (48, 48, 47)] {
            let wish = Requirements { addr_bits: bits, ..Requirements::default() };
            assert_eq!(table(FULL, wish).unwrap().in_bits, second);
            assert_eq!(table(FULL, Requirements { pasid_bits: 1, ..wish }).unwrap().in_bits, first);
        }
    }

    #[test]
    fn what_the_hardware_lacks_is_refused_by_name() {
        let wish = Requirements::default();
        let refused = |capabilities, wish| table(capabilities, wish).unwrap_err();
        let pasids = Requirements { pasid_bits: 18, ..wish };
        assert!(matches!(refused(FULL & !(1 << 40), pasids), Refused::Pasid { has: 17, needs: 18, .. }));
        let dirty = Requirements { dirty: true, ..wish };
        assert!(table(FULL, dirty).unwrap().dirty);
        assert!(matches!(refused(FULL & !(1 << 24), dirty), Refused::Unsupported { .. }));
        let parent = Requirements { nest_parent: true, ..wish };
        assert!(matches!(refused(FULL & !(0xf << 16), parent), Refused::Unsupported { .. }));
        let both = Requirements { pasid_bits: 1, ..parent };
        assert!(matches!(refused(FULL, both), Refused::Unsupported { .. }));
    }

    #[test]
    fn rule_11_a_table_that_cannot_be_walked_is_refused_with_both_sides_named() {
        let good = table(FULL, Requirements::default()).unwrap();
        let refused = |config| features(FULL & !(1 << 24)).can_walk(ID, &config).unwrap_err();
        let arm = TableConfig { format: Format::ArmStage2, ..good };
        assert_eq!(refused(arm), Refused::Format { iommu: ID, table: Format::ArmStage2 });
        for (config, has, needs) in [
            (TableConfig { in_bits: 60, ..good }, 59, 60),
            (TableConfig { format: Format::RiscvFirst, in_bits: 58, ..good }, 57, 58),
            (TableConfig { out_bits: 57, ..good }, 56, 57),
        ] {
            assert_eq!(refused(config), Refused::Width { iommu: ID, has, needs });
        }
        for odd in [
            TableConfig { page_sizes: 1 << 21, ..good },
            TableConfig { page_sizes: 0, ..good },
            TableConfig { page_sizes: 1 << 12 | 1 << 22, ..good },
            TableConfig { dirty: true, ..good },
            TableConfig { snoop: true, ..good },
        ] {
            assert!(matches!(refused(odd), Refused::Shape { .. }), "{odd:?}");
        }
        let wide = TableConfig { page_sizes: SIZES | NAPOT | 1 << 39 | 1 << 48, in_bits: 59, ..good };
        assert_eq!(features(FULL).can_walk(ID, &wide), Ok(Stage::Second));
        let incoherent = Features { coherent: false, ..features(FULL) };
        assert!(matches!(incoherent.can_walk(ID, &good), Err(Refused::Shape { .. })));
        assert!(incoherent.can_walk(ID, &TableConfig { coherent: false, ..good }).is_ok());
    }

    #[test]
    fn a_root_is_where_and_as_high_as_its_table_says() {
        let good = table(FULL, Requirements::default()).unwrap();
        let at = |at, levels| features(FULL).walk(ID, Root { at: PhysAddr(at), levels }, &good);
        let walk = Walk { stage: Stage::Second, ppn: 0x8_0004, mode: 9, dirty: false };
        assert_eq!(at(0x8000_4000, 4), Ok(walk));
        assert_eq!(at(0x8000_4000, 5), Ok(Walk { mode: 10, ..walk }));
        for (root, levels) in [(0x8000_4000, 3), (0x8000_4000, 6), (0x8000_1000, 4), (1 << 56, 4)] {
            assert!(matches!(at(root, levels), Err(Refused::Shape { .. })), "{root:#x} {levels}");
        }
    }
}
