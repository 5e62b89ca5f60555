//! Interrupt remapping of one AMD-Vi (48882 §2.2.5).

use super::command::Command;
use super::driver::AmdVi;
use super::interrupt_table::{self, ENTRIES, InterruptTable, Kind};
use alloc::collections::btree_map::Entry;
use ioward_core::driver::{
    Delivery, Hung, InterruptCapabilities, InterruptEntries, InterruptFrom, InterruptMessage, InterruptTo,
    Refused, RemapInterrupts,
};
use ioward_types::{Mmio, Platform, SourceId};

/// Where devices write messages: the index of the entry is in the data.
const ADDRESS: u64 = 0xfee0_0000;
/// Of a redirection entry of an I/O APIC: level triggered.
const LEVEL: u64 = 1 << 15;

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    /// What an IVHD device entry's setting byte lets pass unremapped (48882, table of data settings: INITPass, EIntPass,
    /// NMIPass in bits 0 to 2, Lint0Pass and Lint1Pass in 6 and 7) for a source: those of I/O APICs. Without interrupt
    /// remapping it does nothing, since everything passes.
    pub fn let_pass(&self, source: SourceId, setting: u8) -> Result<(), Refused> {
        if self.remapping.is_none() {
            return Ok(());
        }
        let key = self.interrupt_source(source)?;
        let _sources = self.sources.lock();
        let tables = self.interrupt_tables.lock();
        let closed = interrupt_table::closed(setting);
        let word = tables.get(&key).map_or(closed, |table| table.open(closed));
        self.table.set_interrupts(key, word)?;
        Ok(self.forget_place(key)?)
    }

    fn interrupt_source(&self, source: SourceId) -> Result<u32, Refused> {
        let (iommu, limit) = (self.unit.id, self.limit);
        (source.0 < limit).then_some(source.0).ok_or(Refused::Source { iommu, source, limit })
    }

    /// Makes the IOMMU forget a source's entries.
    fn forget_entries(&self, key: u32) -> Result<(), Hung> {
        self.commands.run(&self.unit, |batch| batch.push(Command::invalidate_interrupt_table(key as u16)))
    }

    /// Makes the IOMMU forget where a source's entries are, or that it has none.
    fn forget_place(&self, key: u32) -> Result<(), Hung> {
        self.commands.run(&self.unit, |batch| batch.push(Command::invalidate_devtab_entry(key as u16)))
    }

    fn refuse(&self, source: SourceId, what: &'static str) -> Refused {
        Refused::Interrupt { iommu: self.unit.id, source, what }
    }

    fn kind(&self) -> Kind {
        self.remapping.unwrap_or(Kind { wide: false, x2apic: false })
    }

    /// The number of a handle's source, if the handle is this IOMMU's and its entries are taken.
    fn holder(&self, entries: &InterruptEntries) -> Option<u32> {
        let key = entries.from.source().0;
        let tables = self.interrupt_tables.lock();
        let held = tables.get(&key).is_some_and(|table| table.holds(entries.first, entries.count));
        (entries.iommu == self.unit.id && held).then_some(key)
    }
}

impl<M: Mmio, P: Platform> RemapInterrupts for AmdVi<M, P> {
    fn interrupt_capabilities(&self) -> InterruptCapabilities {
        InterruptCapabilities {
            most: ENTRIES.into(),
            wide_destination: self.kind().x2apic,
            isolated: self.remapping.is_some(),
        }
    }

    fn reserve(&self, from: InterruptFrom, count: u16) -> Result<InterruptEntries, Refused> {
        let source = from.source();
        let key = self.interrupt_source(source)?;
        // The device table entry changes under the lock of sources, as an attach changes its other half.
        let _sources = self.sources.lock();
        let mut tables = self.interrupt_tables.lock();
        if let Entry::Vacant(place) = tables.entry(key) {
            let table = InterruptTable::new(&self.unit.platform, self.kind(), self.unit.coherent)?;
            let word = table.open(self.table.interrupts(key));
            self.unit.platform.publish();
            self.table.set_interrupts(key, word)?;
            // From here on the table stays: hardware may read it for as long as there is this IOMMU.
            place.insert(table);
        }
        if tables.get(&key).is_some_and(|table| !table.told) {
            drop(tables);
            self.forget_place(key)?;
            tables = self.interrupt_tables.lock();
            if let Some(table) = tables.get_mut(&key) {
                table.told = true;
            }
        }
        let first = tables.get_mut(&key).and_then(|table| table.take(count));
        let first = first.ok_or(self.refuse(source, "no room for so many entries together"))?;
        Ok(InterruptEntries { iommu: self.unit.id, from, first: first.into(), count })
    }

    fn remap(
        &self,
        entries: &InterruptEntries,
        nth: u16,
        to: &InterruptTo,
    ) -> Result<InterruptMessage, Refused> {
        let source = entries.from.source();
        let key = self.holder(entries).filter(|_| nth < entries.count);
        let key = key.ok_or(self.refuse(source, "no such entry"))?;
        let InterruptTo::Apic(target) = to else {
            return Err(self.refuse(source, "a target other than a processor"));
        };
        if !matches!(target.delivery, Delivery::Fixed | Delivery::LowestPriority) {
            return Err(
                self.refuse(source, "a delivery other than fixed and lowest priority is never remapped")
            );
        }
        if target.destination > 0xff && !self.kind().x2apic {
            return Err(self.refuse(source, "a destination of more than 8 bits without XTEn"));
        }
        let index = entries.first as u16 + nth;
        if let Some(table) = self.interrupt_tables.lock().get(&key) {
            table.set(index, target);
        }
        if let Err(hung) = self.forget_entries(key) {
            if let Some(table) = self.interrupt_tables.lock().get(&key) {
                table.mask(index);
            }
            return Err(hung.into());
        }
        let level = if target.level { LEVEL } else { 0 };
        Ok(InterruptMessage { address: ADDRESS, data: index.into(), redirection: u64::from(index) | level })
    }

    fn mask(&self, entries: &InterruptEntries, nth: u16) -> Result<(), Hung> {
        let Some(key) = self.holder(entries).filter(|_| nth < entries.count) else { return Ok(()) };
        if let Some(table) = self.interrupt_tables.lock().get(&key) {
            table.mask(entries.first as u16 + nth);
        }
        self.forget_entries(key)
    }

    fn release(&self, entries: InterruptEntries) -> Result<(), Hung> {
        let Some(key) = self.holder(&entries) else { return Ok(()) };
        let first = entries.first as u16;
        if let Some(table) = self.interrupt_tables.lock().get(&key) {
            (first..first + entries.count).for_each(|index| table.mask(index));
        }
        self.forget_entries(key)?;
        if let Some(table) = self.interrupt_tables.lock().get_mut(&key) {
            table.give(first, entries.count);
        }
        Ok(())
    }

    fn isolates(&self, source: SourceId) -> bool {
        // A source that is beyond the table is target-aborted.
        source.0 >= self.table.limit() || interrupt_table::isolates(self.table.interrupts(source.0))
    }
}
