//! An address space of one carrier: a table of the page-table engine's, or mappings by request.

use crate::{
    bench::Bench,
    middleware::Watched,
    rig::{Rig, untag},
};
use ioward_core::driver::{AtcTarget, Driver, Flush, Hung, Plan, Requirements, Translation};
use ioward_pgtable::{AnyTable, Detached};
use ioward_types::{Attributes, Iova, PhysAddr, Platform, Span, TableConfig, Tag};
use std::sync::Arc;

/// What a check maps into.
pub(crate) struct Space<P: Platform> {
    driver: Arc<dyn Driver>,
    pub plan: Plan,
    pub tag: Tag,
    table: Option<(AnyTable<Watched<P>>, TableConfig)>,
}

/// What an unmap took out and a flush must make everybody forget.
pub(crate) struct Taken {
    pub span: Span<Iova>,
    pub tables_went: bool,
    detached: Option<Detached>,
}

impl<P: Platform> Space<P> {
    /// As the driver plans it for a group with PASIDs of so many bits; without, as the mode says.
    #[track_caller]
    pub fn new<B: Bench<Platform = P>>(rig: &Rig<B>, driver: &Arc<dyn Driver>, pasid_bits: u8) -> Self {
        let pasid_bits = if pasid_bits == 0 { rig.facts.plan_for_pasids } else { pasid_bits };
        let wish = Requirements { pasid_bits, ..Requirements::default() };
        let plan = match driver.plan(&wish) {
            Ok(plan) => plan,
            Err(refused) => panic!("no plan for PASIDs of {pasid_bits} bits: {refused}"),
        };
        match Self::planned(rig, driver, plan) {
            Ok(space) => space,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn planned<B: Bench<Platform = P>>(
        rig: &Rig<B>,
        driver: &Arc<dyn Driver>,
        plan: Plan,
    ) -> Result<Self, String> {
        let table = match plan {
            Plan::Tables(config) => {
                let table =
                    AnyTable::new(rig.platform.clone(), &config).map_err(|e| format!("{config}: {e}"))?;
                Some((table, config))
            }
            Plan::Requests { .. } => None,
        };
        let tag = driver.tag(&plan).map_err(|refused| format!("{plan:?}: {refused}"))?;
        Ok(Self { driver: driver.clone(), plan, tag, table })
    }

    /// Bytes of the smallest page.
    pub fn granule(&self) -> u64 {
        match self.plan {
            Plan::Tables(config) => config.granule(),
            Plan::Requests { page_sizes, .. } => page_sizes & page_sizes.wrapping_neg(),
        }
    }

    pub fn page_sizes(&self) -> u64 {
        match self.plan {
            Plan::Tables(config) => config.page_sizes,
            Plan::Requests { page_sizes, .. } => page_sizes,
        }
    }

    /// IOVAs go from zero up to here, without a hole; the last that is included.
    pub fn last(&self) -> u64 {
        let bits = match self.plan {
            Plan::Tables(config) => config.flat_bits(),
            Plan::Requests { addr_bits, .. } => addr_bits,
        };
        if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
    }

    pub fn table(&self) -> Option<&AnyTable<Watched<P>>> {
        self.table.as_ref().map(|(table, _)| table)
    }

    pub fn config(&self) -> Option<TableConfig> {
        self.table.as_ref().map(|(_, config)| *config)
    }

    fn widen(&self, how: Attributes) -> Attributes {
        self.table().map_or(how, |table| table.widen(how))
    }

    /// Maps without the flush that may be owed.
    #[track_caller]
    pub fn map_only(&self, at: u64, to: u64, bytes: u64, how: Attributes) {
        let to = Span { start: PhysAddr(to), bytes };
        let how = self.widen(how);
        let mapped = match (self.table(), self.driver.requests()) {
            // SAFETY: the memory is the check's, held by nothing that Rust refers to, and never reused.
            (Some(table), _) => unsafe { table.map(Iova(at), to, how) }.map_err(|error| error.to_string()),
            (None, Some(requests)) => {
                requests.map(self.tag, Iova(at), to, how).map_err(|error| error.to_string())
            }
            (None, None) => panic!("mappings by request are planned, and the driver takes none"),
        };
        if let Err(error) = mapped {
            panic!("{at:#x} is not mapped to {to}: {error}");
        }
    }

    /// Maps to read and write, and flushes if the driver says that this is needed.
    #[track_caller]
    pub fn map(&self, at: u64, to: u64, bytes: u64) {
        self.map_as(at, to, bytes, Attributes::READ_WRITE);
    }

    #[track_caller]
    pub fn map_as(&self, at: u64, to: u64, bytes: u64, how: Attributes) {
        self.map_only(at, to, bytes, how);
        if self.driver.flush_after_map() {
            self.platform_fence();
            let flush = Flush {
                tag: self.tag,
                span: Span { start: Iova(at), bytes },
                granule: self.granule(),
                tables_went: false,
                atc: &[],
            };
            assert_eq!(self.driver.flush(&[flush]), Ok(()), "the flush after a map");
        }
    }

    fn platform_fence(&self) {
        if let Some(table) = self.table() {
            table.memory().fence();
        }
    }

    /// Takes out of the table what is in the span; whoever unmaps then flushes.
    #[track_caller]
    pub fn unmap(&self, at: u64, bytes: u64) -> Taken {
        let span = Span { start: Iova(at), bytes };
        match (self.table(), self.driver.requests()) {
            (Some(table), _) => match table.unmap(span) {
                Ok(unmapped) => {
                    table.memory().fence();
                    Taken { span, tables_went: unmapped.tables_went(), detached: Some(unmapped.detached) }
                }
                Err(error) => panic!("{span} is not unmapped: {error}"),
            },
            (None, Some(requests)) => {
                assert_eq!(requests.unmap(self.tag, span), Ok(()), "{span}");
                Taken { span, tables_went: false, detached: None }
            }
            (None, None) => panic!("mappings by request are planned, and the driver takes none"),
        }
    }

    /// The flush that an unmap owes.
    pub fn flush_of<'a>(&self, taken: &Taken, atc: &'a [AtcTarget]) -> Flush<'a> {
        Flush {
            tag: self.tag,
            span: taken.span,
            granule: self.granule(),
            tables_went: taken.tables_went,
            atc,
        }
    }

    /// Flushes what was taken out, and frees the tables that went.
    pub fn flush(&self, taken: Taken, atc: &[AtcTarget]) -> Result<(), Hung> {
        self.driver.flush(&[self.flush_of(&taken, atc)])?;
        if let (Some(table), Some(detached)) = (self.table(), taken.detached) {
            // SAFETY: the flush was confirmed; whether that is true is what checks find out. Nobody else maps there.
            unsafe { table.free(detached) }
        }
        Ok(())
    }

    /// Unmaps and flushes, on sound hardware.
    #[track_caller]
    pub fn take_out(&self, at: u64, bytes: u64, atc: &[AtcTarget]) {
        let taken = self.unmap(at, bytes);
        assert_eq!(self.flush(taken, atc), Ok(()), "sound hardware");
    }

    pub fn translation(&self) -> Translation<'_> {
        match &self.table {
            Some((table, config)) => Translation::Table { root: table.root(), config, tag: self.tag },
            None => Translation::Requests { tag: self.tag },
        }
    }

    /// Gives tag and table back; no entry may hold them.
    #[track_caller]
    pub fn end(self) {
        assert_eq!(untag(&self.driver, self.tag), Ok(()), "sound hardware");
        if let Some((table, _)) = self.table {
            // SAFETY: no entry holds it, confirmed so.
            unsafe { table.destroy() }
        }
    }
}
