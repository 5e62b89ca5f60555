//! The [`Driver`] of one AMD-Vi.

use super::command::Command;
use super::command_buffer::CommandBuffer;
use super::device_table::DeviceTable;
use super::domain_id::{DomainIds, Tagged};
use super::event;
use super::event_log::EventLog;
use super::features::Features;
use super::forget::Forget;
use super::interrupt_table::{InterruptTable, Kind};
use super::plan;
use super::source::{Fixed, Rid, Source};
use super::unit::Unit;
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, RemapInterrupts, Requirements,
    Slot, Translation,
};
use ioward_types::{
    Format, Frames, IommuId, Iova, Mmio, Mutex, Pasid, Platform, SourceId, Span, TableConfig, Tag,
};

/// Interrupts (48882 §2.1.2 and Table 3) and HyperTransport's reserved range (Table 3): never translated.
pub(super) const FORBIDDEN: [Span<Iova>; 2] = [
    Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 },
    Span { start: Iova(0xfd_0000_0000), bytes: 0x3_0000_0000 },
];

/// Every source that somebody has claimed, and what is left of those that nobody has.
pub(super) struct Sources<P: Platform> {
    pub claimed: BTreeMap<u32, Source<P>>,
    /// What caches may hold of sources that nobody has claimed: adopted ones, and those whose release was not confirmed.
    pub owed: BTreeMap<u32, Vec<Forget>>,
}

/// One AMD-Vi IOMMU, brought up.
///
/// Locks, in the order in which they are taken: sources, domain IDs, interrupt tables, then the command buffer, the event log or control.
/// Flushing takes no lock of sources, so it never waits for an attach.
pub struct AmdVi<M: Mmio, P: Platform> {
    pub(super) unit: Unit<M, P>,
    pub(super) features: Features,
    pub(super) fixed: Fixed,
    pub(super) limit: u32,
    pub(super) table: DeviceTable<P>,
    pub(super) commands: CommandBuffer<P>,
    pub(super) events: EventLog<P>,
    pub(super) domains: Mutex<P::Lock, DomainIds>,
    pub(super) sources: Mutex<P::Lock, Sources<P>>,
    /// How interrupts are remapped; none where they pass.
    pub(super) remapping: Option<Kind>,
    /// By source.
    pub(super) interrupt_tables: Mutex<P::Lock, BTreeMap<u32, InterruptTable<P>>>,
    /// The page that blocked entries point at; it stays for as long as hardware may read it, which is for ever.
    pub(super) _nothing: Frames<P>,
}

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    fn refuse_slot(&self, slot: &Slot) -> Refused {
        Refused::NoSlot { iommu: self.unit.id, source: slot.source }
    }

    /// The number of a slot's source, if the slot can be this IOMMU's.
    fn key(&self, slot: &Slot) -> Option<u32> {
        (slot.iommu == self.unit.id && slot.index == slot.source.0).then_some(slot.index)
    }

    /// Makes sure that a source that nobody has claimed is blocked, in every cache too.
    fn take_over(&self, key: u32, sources: &mut Sources<P>) -> Result<(), Refused> {
        let old = self.table.load(key);
        if old != self.fixed.blocked() || self.table.is_foreign(key) {
            self.table.reset(key, &self.fixed.blocked())?;
            self.commands
                .run(&self.unit, |batch| batch.push(Command::invalidate_interrupt_table(key as u16)))?;
        }
        if let Some(owed) = sources.owed.get(&key) {
            self.forget(key, old.is_ats(), owed)?;
            sources.owed.remove(&key);
        }
        Ok(())
    }
}

// SAFETY: an answer that confirms is given only after the hardware completed the wait that followed the invalidations, and an
// entry is written from the translation that was given.
unsafe impl<M: Mmio, P: Platform> Driver for AmdVi<M, P> {
    fn id(&self) -> IommuId {
        self.unit.id
    }

    fn kind(&self) -> &'static str {
        "AMD-Vi"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            pasid_bits: self.features.pasid_bits,
            ats: self.features.iotlb,
            dirty: self.features.dirty,
            coherent: self.unit.coherent,
            snoop: true,
        }
    }

    fn forbidden(&self) -> &[Span<Iova>] {
        &FORBIDDEN
    }

    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        plan::plan(self.unit.id, &self.features, self.unit.coherent, whole_group)
    }

    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        plan::can_walk(self.unit.id, &self.features, self.unit.coherent, config)
    }

    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        let iommu = self.unit.id;
        let key = what.source.0;
        if key >= self.limit {
            return Err(Refused::Source { iommu, source: what.source, limit: self.limit });
        }
        if what.pasid_bits > self.features.pasid_bits {
            return Err(Refused::Pasid { iommu, has: self.features.pasid_bits, needs: what.pasid_bits });
        }
        if what.ats && !self.features.iotlb {
            return Err(Refused::Unsupported { iommu, what: "IotlbSup" });
        }
        let mut sources = self.sources.lock();
        if sources.claimed.contains_key(&key) {
            return Err(Refused::Claimed { iommu, source: what.source });
        }
        let mut source = Source::new(what);
        if what.pasid_bits > 0 {
            self.behind(&mut source)?;
        }
        if let Err(refused) = self.take_over(key, &mut sources) {
            if let Some(behind) = source.behind {
                // SAFETY: no entry ever held it.
                unsafe { behind.table.free() };
                self.domains.lock().free(behind.domain);
            }
            return Err(refused);
        }
        sources.claimed.insert(key, source);
        Ok(Slot { iommu, source: what.source, index: key })
    }

    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        let Some(key) = self.key(&slot) else { return self.unconfirmed("a slot of another IOMMU") };
        let mut sources = self.sources.lock();
        let Some(mut source) = sources.claimed.remove(&key) else {
            return self.unconfirmed("a slot that nobody claimed");
        };
        if let Some(behind) = &source.behind {
            // The ID will name something else, and the table's memory will be something else.
            source.owed.push(Forget::Domain(behind.domain));
        }
        let blocked = self.block_source(key, &mut source, gone);
        if blocked == Blocked::Confirmed
            && let Some(behind) = source.behind.take()
        {
            // SAFETY: the entry that held the table is blocked, and caches confirmed that they forgot it.
            unsafe { behind.table.free() };
            self.domains.lock().free(behind.domain);
        }
        if !source.owed.is_empty() {
            sources.owed.insert(key, source.owed);
        }
        blocked
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let iommu = self.unit.id;
        let Plan::Tables(config) = plan else {
            return Err(Refused::Unsupported { iommu, what: "mappings by request" });
        };
        self.can_walk(config)?;
        let tagged = if config.format == Format::AmdV2 { Tagged::Guest(Vec::new()) } else { Tagged::Host };
        let mut domains = self.domains.lock();
        let id = domains.allocate().ok_or(Refused::NoTag { iommu })?;
        domains.tags.insert(id, tagged);
        Ok(Tag(id.into()))
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        let Ok(id) = u16::try_from(tag.0) else { return Ok(()) };
        let sources = self.sources.lock();
        let held = sources.claimed.values().any(|source| match source.rid {
            Rid::Host { tag, .. } | Rid::Guest { tag, .. } if tag == id => true,
            _ => source.pasids.values().any(|tag| *tag == id),
        });
        let everything = Span { start: Iova(0), bytes: u64::MAX };
        let flush = Flush { tag, span: everything, granule: 4096, tables_went: true, atc: &[] };
        self.flush(&[flush])?;
        // A tag that an entry still holds, or a place where caches never confirmed, stays taken for ever.
        let mut domains = self.domains.lock();
        let clean = match domains.tags.get(&id) {
            Some(Tagged::Host) => true,
            Some(Tagged::Guest(targets)) => targets.is_empty(),
            None => false,
        };
        if clean && !held {
            domains.tags.remove(&id);
            domains.free(id);
        }
        Ok(())
    }

    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let key = self.key(slot).ok_or(self.refuse_slot(slot))?;
        let mut sources = self.sources.lock();
        let source = sources.claimed.get_mut(&key).ok_or(self.refuse_slot(slot))?;
        let new = self.rid(what)?;
        match pasid {
            None => self.install_rid(key, source, new),
            Some(pasid) => self.install_pasid(key, source, pasid, new),
        }
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        let Some(key) = self.key(slot) else { return self.unconfirmed("a slot of another IOMMU") };
        let mut sources = self.sources.lock();
        let Some(source) = sources.claimed.get_mut(&key) else {
            return self.unconfirmed("a slot that nobody claimed");
        };
        match pasid {
            None => self.block_source(key, source, false),
            Some(pasid) => self.block_pasid(key, source, pasid),
        }
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        self.flush_all(what)
    }

    fn flush_after_map(&self) -> bool {
        self.features.np_cache
    }

    fn interrupts(&self) -> Option<&dyn RemapInterrupts> {
        self.remapping.is_some().then_some(self as &dyn RemapInterrupts)
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        let blocked =
            |SourceId(source): SourceId| source < self.table.limit() && self.table.load(source).is_blocked();
        // The event that tells of it may have been lost.
        self.commands.restart(&self.unit);
        // As much as the log holds, twice: a device that faults all the time does not keep this here for ever.
        for _ in 0..self.events.rounds() {
            let found = self.events.drain(&self.unit);
            for raw in &found.events[..found.count] {
                sink(event::decode(raw, blocked));
            }
            if let Some(code) = found.lost_tail {
                sink(Event::Unit { what: "the event log's tail points nowhere", code });
            }
            if found.overflow {
                sink(Event::Lost(1));
            }
            if found.hung {
                sink(Event::Unit { what: "the event log did not restart", code: 0 });
            }
            if found.count == 0 {
                break;
            }
        }
    }
}
