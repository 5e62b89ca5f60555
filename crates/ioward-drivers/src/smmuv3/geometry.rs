//! Which tables the SMMU can walk, and how STE and CD describe them.

use super::{idr::Features, tag::Stage};
use ioward_core::driver::{Plan, Refused, Requirements};
use ioward_spec::smmuv3::{cd::tg0, registers::idr5};
use ioward_types::{Format, IommuId, Root, TableConfig};

/// The narrowest input that a table may have: TxSZ is at most 39 (IHI 0070, 5.2 and 5.4, without IDR3.STT).
const NARROWEST: u8 = 64 - 39;
/// The narrowest input of stage 2 tables of ours: one that every granule has a starting level for.
const NARROWEST_STAGE_2: u8 = 32;

/// A table as STE and CD describe it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Walk {
    pub stage: Stage,
    /// The address of the root.
    pub root: u64,
    /// T0SZ or S2T0SZ.
    pub tsz: u64,
    /// TG0 or S2TG.
    pub tg: u64,
    /// S2SL0; zero for stage 1, where the level follows from T0SZ.
    pub sl0: u64,
    /// IPS or S2PS.
    pub ps: u64,
    pub coherent: bool,
    pub dirty: bool,
}

/// The leaves that a granule allows without 52-bit extensions.
fn page_sizes(granule: u64) -> u64 {
    match granule {
        0x1000 => 1 << 12 | 1 << 21 | 1 << 30,
        0x4000 => 1 << 14 | 1 << 25,
        _ => 1 << 16 | 1 << 29,
    }
}

/// Leaves of several entries with the Contiguous bit, which every SMMU accepts (Arm ARM, D8.6.1).
fn contiguous_sizes(granule: u64) -> u64 {
    match granule {
        0x1000 => 1 << 16 | 1 << 25 | 1 << 34,
        0x4000 => 1 << 21 | 1 << 30,
        _ => 1 << 21 | 1 << 34,
    }
}

/// log2 of a granule, and how many bits a whole table of it resolves.
fn shape(granule: u64) -> (u8, u8) {
    let shift = granule.trailing_zeros() as u8;
    (shift, shift - 3)
}

impl Features {
    /// The widest output with a granule: 52 bits need 64 KiB (IDR5.OAS).
    fn out_bits(&self, granule: u64) -> u8 {
        self.oas_bits.min(if granule == 0x1_0000 { 52 } else { 48 })
    }

    /// The widest input of a stage with a granule. Stage 2 takes no more than comes out of it (3.4).
    fn in_bits(&self, stage: Stage, granule: u64) -> u8 {
        match stage {
            Stage::One if self.vax_52 && granule == 0x1_0000 => 52,
            Stage::One => 48,
            Stage::Two => self.out_bits(granule),
        }
    }

    /// The granule that tables of ours have: the finest, as only it wastes nothing on small mappings.
    fn best_granule(&self) -> u64 {
        self.granules & self.granules.wrapping_neg()
    }

    /// How it would serve these requirements. `addr_bits` narrows the input, which saves levels, down to what TxSZ can
    /// say (25 bits) or stage 2 can start at (32); keeping IOVAs below an even smaller limit is for whoever allocates them.
    pub fn plan(&self, iommu: IommuId, wish: &Requirements) -> Result<Plan, Refused> {
        let unsupported = |what| Err(Refused::Unsupported { iommu, what });
        let format = match (wish.pasid_bits, wish.nest_parent) {
            (1.., true) => return unsupported("a stage 2 parent that PASIDs can coexist with"),
            (1.., false) if !self.stage_1 => return unsupported("stage 1 (IDR0.S1P), which PASIDs need"),
            (needs, false) if needs > self.pasid_bits() => {
                return Err(Refused::Pasid { iommu, has: self.pasid_bits(), needs });
            }
            (1.., false) => Format::ArmStage1,
            (0, true) if !self.stage_2 => return unsupported("stage 2 (IDR0.S2P), which nesting needs"),
            (0, true) => Format::ArmStage2,
            // Stage 2 is the plainer form: no Context descriptor to fetch, and none to allocate.
            (0, false) if self.stage_2 => Format::ArmStage2,
            (0, false) => Format::ArmStage1,
        };
        if wish.dirty && !self.dirty {
            return unsupported("hardware update of dirty state (IDR0.HTTU)");
        }
        let (stage, narrowest) = match format {
            Format::ArmStage1 => (Stage::One, NARROWEST),
            _ => (Stage::Two, NARROWEST_STAGE_2),
        };
        let granule = self.best_granule();
        Ok(Plan::Tables(TableConfig {
            format,
            in_bits: self.in_bits(stage, granule).min(wish.addr_bits).max(narrowest),
            out_bits: self.out_bits(granule),
            page_sizes: page_sizes(granule),
            coherent: self.coherent,
            dirty: wish.dirty,
            snoop: false,
        }))
    }

    /// Whether it can walk tables of this shape.
    pub fn can_walk(&self, iommu: IommuId, config: &TableConfig) -> Result<Stage, Refused> {
        let table = config.format;
        let misfit = |what| Err(Refused::Shape { iommu, table, what });
        let stage = match Stage::of(table) {
            Some(Stage::One) if self.stage_1 => Stage::One,
            Some(Stage::Two) if self.stage_2 => Stage::Two,
            _ => return Err(Refused::Format { iommu, table }),
        };
        let granule = config.granule();
        if granule & self.granules == 0 || granule & (granule.wrapping_sub(1)) != 0 {
            return misfit("its granule is not implemented (IDR5)");
        }
        if config.page_sizes & !(page_sizes(granule) | contiguous_sizes(granule)) != 0 {
            return misfit("it has leaves of a size that its granule does not allow");
        }
        let (input, output) = (self.in_bits(stage, granule), self.out_bits(granule));
        if config.in_bits > input {
            return Err(Refused::Width { iommu, has: input, needs: config.in_bits });
        }
        if config.in_bits < NARROWEST {
            return misfit("its input is narrower than TxSZ can say");
        }
        if config.out_bits > output {
            return Err(Refused::Width { iommu, has: output, needs: config.out_bits });
        }
        if config.coherent && !self.coherent {
            return misfit("it is not cleaned, and walks do not snoop (IDR0.COHACC)");
        }
        if config.dirty && !self.dirty {
            return misfit("it expects hardware to set dirty state (IDR0.HTTU)");
        }
        Ok(stage)
    }

    /// How STE or CD describe a table, checked.
    pub fn walk(&self, iommu: IommuId, root: Root, config: &TableConfig) -> Result<Walk, Refused> {
        let stage = self.can_walk(iommu, config)?;
        let misfit = |what| Err(Refused::Shape { iommu, table: config.format, what });
        let granule = config.granule();
        let (shift, bits) = shape(granule);
        // All but the root resolve a whole table's bits; what is left is the root's own.
        let below_root = shift + root.levels.saturating_sub(1).min(4) * bits;
        let most = match stage {
            Stage::One => bits,
            // Up to 16 concatenated tables (Arm ARM, D8.2).
            Stage::Two => bits + 4,
        };
        if root.levels == 0 || config.in_bits <= below_root || config.in_bits - below_root > most {
            return misfit("its levels do not match its input width");
        }
        let (tg, finest) = match granule {
            0x1000 => (tg0::K4, 2),
            0x4000 => (tg0::K16, 1),
            _ => (tg0::K64, 1),
        };
        let sl0 = match stage {
            Stage::One => 0,
            // S2SL0 counts up from the finest level that a walk may start at: level 2 with 4 KiB, 3 with others (5.2).
            Stage::Two => match root.levels.checked_sub(finest) {
                // The coarsest level exists only where the output is wide enough for it (Arm ARM, D8.2).
                Some(2) if self.oas_bits < if granule == 0x4000 { 42 } else { 44 } => {
                    return misfit("a walk cannot start at its level with this output address size");
                }
                Some(sl0 @ 0..=2) => sl0.into(),
                _ => return misfit("a walk cannot start at its level"),
            },
        };
        let align = (8u64 << (config.in_bits - below_root)).max(64);
        if !root.at.0.is_multiple_of(align) {
            return misfit("its root is not aligned to its size");
        }
        // The smallest size that IPS and S2PS can say and that covers the table's output.
        let fits = |bits: &u8| *bits >= config.out_bits;
        let Some(ps) = idr5::oas::BITS.iter().position(fits) else {
            return Err(Refused::Width { iommu, has: self.oas_bits, needs: config.out_bits });
        };
        if root.at.0 >> self.oas_bits.min(idr5::oas::BITS[ps]) != 0 {
            return misfit("its root is outside its own output width");
        }
        let tsz = u64::from(64 - config.in_bits);
        Ok(Walk {
            stage,
            root: root.at.0,
            tsz,
            tg,
            sl0,
            ps: ps as u64,
            coherent: config.coherent,
            dirty: config.dirty,
        })
    }
}
