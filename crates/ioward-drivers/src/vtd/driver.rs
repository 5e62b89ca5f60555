//! The [`Driver`] of one VT-d unit.

use super::adopt::Adopted;
use super::capability::Features;
use super::descriptor::Command;
use super::domain_id::{DomainIds, Tagged, Target};
use super::fault_recording::{self, FaultRecords};
use super::forget::Forget;
use super::global_command::Unit;
use super::interrupt_remapping::InterruptTable;
use super::invalidation::Invalidation;
use super::memory::Reach;
use super::page_requests::PageRequestQueue;
use super::pasid_entry::Ways;
use super::pasid_table::PasidTable;
use super::ranges::Block;
use super::root_table::{LIMIT, RootTable};
use super::source::Source;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, RemapInterrupts, Requirements,
    Slot, Translation,
};
use ioward_spec::vtd::descriptor::page_group_response::response;
use ioward_types::{Format, IommuId, Iova, Mmio, Mutex, Pasid, Platform, SourceId, Span, TableConfig, Tag};

/// How many records are copied under one hold of a lock.
const BATCH: usize = 16;

/// Every source that somebody has claimed, and what is left of those that nobody has.
pub(super) struct Sources<P: Platform> {
    pub root: RootTable<P>,
    pub claimed: BTreeMap<u32, Source<P>>,
    /// What caches may hold of sources that nobody has claimed: adopted ones, and those whose release was not confirmed.
    pub owed: BTreeMap<u32, Vec<Forget>>,
}

/// How a device's page requests are answered (7.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageResponse {
    /// The pages are there.
    Success,
    /// Some are not.
    Invalid,
    /// The device is to ask no more.
    Failure,
}

/// One VT-d remapping unit, brought up by [`VtD::bring_up`].
///
/// Locks, in the order in which they are taken: sources or the interrupt table, domain IDs taken inside an invalidation
/// batch and never around one, the invalidation queue, global commands; fault records and page requests by themselves.
/// Flushing takes no lock of sources, so it never waits for an attach. Dropping it stops nothing: the unit goes on
/// translating from memory that stays allocated.
pub struct VtD<M: Mmio, P: Platform> {
    pub(super) unit: Unit<M, P>,
    pub(super) features: Features,
    pub(super) reach: Reach,
    pub(super) ways: Ways,
    pub(super) adopted: Adopted,
    pub(super) forbidden: Vec<Span<Iova>>,
    pub(super) invalidation: Invalidation<P>,
    pub(super) domains: Mutex<P::Lock, DomainIds>,
    pub(super) sources: Mutex<P::Lock, Sources<P>>,
    pub(super) faults: Mutex<P::Lock, FaultRecords>,
    pub(super) page_requests: Option<Mutex<P::Lock, PageRequestQueue<P>>>,
    pub(super) interrupts: Option<Mutex<P::Lock, InterruptTable<P>>>,
}

impl<M: Mmio, P: Platform> VtD<M, P> {
    /// Whether it translates in scalable mode, and not in legacy mode.
    pub fn is_scalable(&self) -> bool {
        self.features.scalable
    }

    /// What bring-up carried over from whoever used the unit before.
    pub fn adopted(&self) -> Adopted {
        self.adopted
    }

    /// Answers a group of page requests. `Err`: the device may not have got it.
    pub fn respond(
        &self,
        source: SourceId,
        pasid: Option<Pasid>,
        group: u16,
        response: PageResponse,
    ) -> Result<(), Hung> {
        let code = match response {
            PageResponse::Success => response::SUCCESS,
            PageResponse::Invalid => response::INVALID,
            PageResponse::Failure => response::FAILURE,
        };
        self.invalidation.run(&self.unit, |batch| batch.push(Command::Respond { source, pasid, group, code }))
    }

    fn refuse_slot(&self, slot: &Slot) -> Refused {
        Refused::NoSlot { iommu: self.unit.id, source: slot.source }
    }

    /// Whether a slot can be this unit's.
    fn is_ours(&self, slot: &Slot) -> bool {
        slot.iommu == self.unit.id && slot.index == slot.source.0
    }

    fn claim_entry(&self, what: &Claim) -> Result<Slot, Refused> {
        let iommu = self.unit.id;
        let id = what.source;
        if id.0 >= LIMIT {
            return Err(Refused::Source { iommu, source: id, limit: LIMIT });
        }
        let has = self.features.pasid_bits;
        if what.pasid_bits > has {
            return Err(Refused::Pasid { iommu, has, needs: what.pasid_bits });
        }
        if what.ats && !self.features.device_tlb {
            return Err(Refused::Unsupported { iommu, what: "device TLBs (ECAP.DT)" });
        }
        let mut sources = self.sources.lock();
        let Sources { root, claimed, owed } = &mut *sources;
        if claimed.contains_key(&id.0) {
            return Err(Refused::Claimed { iommu, source: id });
        }
        let linked = root.ensure(id)?;
        let table = match self.features.scalable {
            true => Some(PasidTable::new(&self.unit.platform, self.reach, what.pasid_bits)?),
            false => None,
        };
        // What was adopted ends here.
        root.block(id);
        let settled = match owed.get(&id.0) {
            Some(owed) => self.forget(id, what.ats, owed),
            None => Ok(()),
        };
        // That there was no context table is known of other sources too, where such is cached (6.1).
        let settled = settled.and_then(|()| match linked && self.features.caching_mode {
            true => self.invalidation.run(&self.unit, |batch| batch.push(Command::Contexts)),
            false => Ok(()),
        });
        if let Err(hung) = settled {
            if let Some(table) = table {
                // SAFETY: no entry ever held it.
                unsafe { table.free() }
            }
            return Err(hung.into());
        }
        owed.remove(&id.0);
        claimed.insert(id.0, Source::new(what, table));
        Ok(Slot { iommu, source: id, index: id.0 })
    }

    fn poll_faults(&self, sink: &mut dyn FnMut(Event)) {
        // As many as there are, twice: a device that faults all the time does not keep this here for ever.
        let mut left = 2 * self.features.faults;
        loop {
            let mut records = [[0; 2]; BATCH];
            let batch = left.min(BATCH);
            let found = self.faults.lock().drain(&self.unit, &mut records[..batch]);
            records[..found.records].iter().map(fault_recording::decode).for_each(&mut *sink);
            if found.overflow {
                sink(Event::Lost(1));
            }
            left -= found.records;
            if found.records < batch || left == 0 {
                return;
            }
        }
    }

    fn poll_page_requests(&self, sink: &mut dyn FnMut(Event)) {
        let Some(queue) = &self.page_requests else { return };
        let mut left = queue.lock().entries();
        while left != 0 {
            let mut requests = [[0; 4]; BATCH];
            let batch = left.min(BATCH);
            let found = queue.lock().drain(&self.unit, &mut requests[..batch]);
            requests[..found.requests].iter().map(super::page_requests::decode).for_each(&mut *sink);
            if let Some(code) = found.nonsense {
                sink(Event::Unit { what: "the page request queue's tail points nowhere", code });
            }
            if found.overflow {
                sink(Event::Lost(1));
            }
            if found.requests < batch {
                return;
            }
            left -= found.requests;
        }
    }
}

// SAFETY: an answer that confirms is given only after the hardware completed the wait that followed the invalidations, and an
// entry is written from the translation that was given.
unsafe impl<M: Mmio, P: Platform> Driver for VtD<M, P> {
    fn id(&self) -> IommuId {
        self.unit.id
    }

    fn kind(&self) -> &'static str {
        "VT-d"
    }

    fn capabilities(&self) -> Capabilities {
        let dirty = self.features.second_dirty || self.features.first;
        Capabilities {
            pasid_bits: self.features.pasid_bits,
            ats: self.features.device_tlb,
            dirty: dirty && self.features.walks_coherent,
            coherent: self.features.walks_coherent,
            snoop: self.features.snoop_control,
        }
    }

    fn forbidden(&self) -> &[Span<Iova>] {
        &self.forbidden
    }

    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        self.features.plan(self.unit.id, whole_group)
    }

    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        self.features.can_walk(self.unit.id, config)
    }

    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        self.claim_entry(what)
    }

    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        if !self.is_ours(&slot) {
            return self.unconfirmed("a slot of another IOMMU");
        }
        let mut sources = self.sources.lock();
        if let Some(source) = sources.claimed.get_mut(&slot.index)
            && source.table.is_some()
        {
            // Its tables' memory will be something else.
            source.owed.push(Forget::Pasids);
        }
        let blocked = self.block_source(&mut sources, slot.source, gone);
        let Some(source) = sources.claimed.remove(&slot.index) else { return blocked };
        if blocked == Blocked::Confirmed
            && let Some(table) = source.table
        {
            // SAFETY: the context entry is not present, and caches confirmed that they forgot it and all behind it.
            // Unconfirmed, the memory is leaked.
            unsafe { table.free() }
        }
        if !source.owed.is_empty() {
            sources.owed.insert(slot.index, source.owed);
        }
        blocked
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let iommu = self.unit.id;
        let Plan::Tables(config) = plan else {
            return Err(Refused::Unsupported { iommu, what: "mappings by request" });
        };
        self.can_walk(config)?;
        let first = config.format == Format::VtdFirst;
        let tagged = if first { Tagged::First(BTreeMap::new()) } else { Tagged::Second };
        let mut domains = self.domains.lock();
        let id = domains.allocate().ok_or(Refused::NoTag { iommu })?;
        domains.tags.insert(id, tagged);
        Ok(Tag(id.into()))
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        // A tag that was never given out names nothing.
        let Ok(domain) = u16::try_from(tag.0) else { return Ok(()) };
        if !self.domains.lock().tags.contains_key(&domain) {
            return Ok(());
        }
        let sources = self.sources.lock();
        let held = sources.claimed.values().any(|source| source.holds(domain));
        self.invalidation.run(&self.unit, |batch| {
            let (block, leaf) = (Block::All, false);
            match self.domains.lock().tags.get(&domain) {
                Some(Tagged::Second) => batch.push(Command::Domain { domain, block, leaf }),
                // It was flushed from every other place when it left that.
                Some(Tagged::First(pasids)) => pasids.keys().try_for_each(|&pasid| {
                    batch.push(Command::Behind { at: Target { domain, pasid }, block, leaf })
                }),
                None => Ok(()),
            }
        })?;
        // A tag that an entry still holds, or a place where caches never confirmed, stays taken for ever.
        let mut domains = self.domains.lock();
        let clean = match domains.tags.get(&domain) {
            Some(Tagged::Second) => true,
            Some(Tagged::First(pasids)) => pasids.is_empty(),
            None => false,
        };
        if clean && !held {
            domains.tags.remove(&domain);
            domains.free(domain);
        }
        Ok(())
    }

    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        if !self.is_ours(slot) {
            return Err(self.refuse_slot(slot));
        }
        let mut sources = self.sources.lock();
        if !sources.claimed.contains_key(&slot.index) {
            return Err(self.refuse_slot(slot));
        }
        let new = self.check(what)?;
        self.install_held(&mut sources, slot.source, pasid, new)
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        if !self.is_ours(slot) {
            return self.unconfirmed("a slot of another IOMMU");
        }
        let mut sources = self.sources.lock();
        match pasid {
            None => self.block_source(&mut sources, slot.source, false),
            Some(pasid) => self.block_pasid(&mut sources, slot.source, pasid),
        }
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        self.flush_all(what)
    }

    fn flush_after_map(&self) -> bool {
        self.features.caching_mode || self.features.write_buffer
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        if let Invalidation::Queue(queue) = &self.invalidation {
            let (reports, dropped) = queue.lock().poll(&self.unit);
            reports.into_iter().flatten().for_each(&mut *sink);
            if dropped != 0 {
                sink(Event::Lost(dropped));
            }
        }
        self.poll_faults(sink);
        self.poll_page_requests(sink);
    }

    fn interrupts(&self) -> Option<&dyn RemapInterrupts> {
        self.interrupts.is_some().then_some(self as &dyn RemapInterrupts)
    }
}
