//! The first rung of adopting ioward: one driver, and page tables of one's own behind it. No groups, no policy.

use crate::{
    platform::Kernel,
    script::{PAGE, Side},
};
use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use ioward::core::driver::{
    Blocked, Claim, Driver, Event, Fault, Flush, Plan, Requirements, Slot, Translation,
};
use ioward::pgtable::AnyTable;
use ioward::types::{Attributes, Iova, PhysAddr, SourceId, Span, Tag};

/// One source, what it goes through, and its driver.
pub struct Direct {
    driver: Arc<dyn Driver>,
    slot: Slot,
    /// None where the IOMMU takes requests instead.
    table: Option<AnyTable<Kernel>>,
    tag: Tag,
    bypass: bool,
}

impl Direct {
    /// Claims the source, makes an empty table for it, and installs it; with `bypass`, lets the source through instead.
    pub fn new(driver: Arc<dyn Driver>, source: SourceId, bypass: bool) -> Result<Self, String> {
        let text = |why: &dyn ToString| why.to_string();
        let slot = driver.claim(&Claim { source, pasid_bits: 0, ats: false }).map_err(|why| text(&why))?;
        let plan = driver.plan(&Requirements::default()).map_err(|why| text(&why))?;
        let table = match plan {
            Plan::Tables(config) => Some(AnyTable::new(Kernel, &config).map_err(|why| text(&why))?),
            Plan::Requests { .. } => None,
        };
        let tag = driver.tag(&plan).map_err(|why| text(&why))?;
        let side = Self { driver, slot, table, tag, bypass };
        side.install()?;
        Ok(side)
    }

    /// The shape of the table, for people.
    pub fn shape(&self) -> String {
        self.table.as_ref().map_or("requests".into(), |table| table.config().to_string())
    }

    /// Gives everything back; the source is blocked.
    pub fn close(self) -> Result<(), String> {
        let Self { driver, slot, table, tag, .. } = self;
        if let Blocked::Unconfirmed(hung) = driver.release(slot, false) {
            return Err(hung.to_string());
        }
        // SAFETY: the only entry that it was installed in has been released, confirmed.
        unsafe { driver.untag(tag) }.map_err(|why| why.to_string())?;
        if let Some(table) = table {
            // SAFETY: no entry holds it any more, and caches have forgotten it.
            unsafe { table.destroy() };
        }
        Ok(())
    }

    fn install(&self) -> Result<(), String> {
        let config = self.table.as_ref().map(AnyTable::config);
        let what = match (&self.table, &config) {
            _ if self.bypass => Translation::Identity,
            (Some(table), Some(config)) => Translation::Table { root: table.root(), config, tag: self.tag },
            _ => Translation::Requests { tag: self.tag },
        };
        // SAFETY: the table leads to this kernel's own pages, kept while they are mapped; the bypass is asked for.
        unsafe { self.driver.install(&self.slot, None, &what) }.map_err(|why| why.to_string())
    }

    fn flush(&self, at: Iova, tables_went: bool) -> Result<(), String> {
        let granule = PAGE;
        let span = Span { start: at, bytes: PAGE };
        let flush = Flush { tag: self.tag, span, granule, tables_went, atc: &[] };
        self.driver.flush(&[flush]).map_err(|why| why.to_string())
    }
}

impl Side for Direct {
    fn map(&mut self, at: Iova, to: PhysAddr, how: Attributes) -> Result<(), String> {
        let to = Span { start: to, bytes: PAGE };
        let Some(table) = &self.table else {
            let requests = self.driver.requests().ok_or("neither tables nor requests")?;
            return requests.map(self.tag, at, to, how).map_err(|why| why.to_string());
        };
        // SAFETY: the script gives pages that nothing refers to.
        unsafe { table.map(at, to, how) }.map_err(|why| why.to_string())?;
        if self.driver.flush_after_map() { self.flush(at, false) } else { Ok(()) }
    }

    fn unmap(&mut self, at: Iova) -> Result<(), String> {
        let span = Span { start: at, bytes: PAGE };
        let Some(table) = &self.table else {
            let requests = self.driver.requests().ok_or("neither tables nor requests")?;
            return requests.unmap(self.tag, span).map_err(|why| why.to_string());
        };
        let gone = table.unmap(span).map_err(|why| why.to_string())?;
        self.flush(at, gone.tables_went())?;
        // SAFETY: flushed, walk caches included: no hardware is inside any more.
        unsafe { table.free(gone.detached) };
        Ok(())
    }

    fn block(&mut self, blocked: bool) -> Result<(), String> {
        if self.bypass {
            return Ok(());
        }
        if !blocked {
            return self.install();
        }
        match self.driver.block(&self.slot, None) {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(hung.to_string()),
        }
    }

    fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.driver.poll(&mut |event| match event {
            Event::Fault(fault) => faults.push(fault),
            other => crate::say!("event {other:?}"),
        });
        faults
    }
}
