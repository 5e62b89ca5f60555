//! The [`Driver`] of one AMD-Vi.

use super::command_buffer::{Batch, CommandBuffer};
use super::device_table::DeviceTable;
use super::domain_id::{DomainIds, Tagged, Target};
use super::event_log::EventLog;
use super::features::Features;
use super::guest_cr3::GuestCr3;
use super::plan;
use super::source::{Behind, Fixed, Rid, Source};
use super::unit::Unit;
use super::{command::Command, event, invalidate::Block, invalidate::blocks};
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot, Translation,
};
use ioward_types::{
    Format, Frames, IommuId, Iova, Mmio, Mutex, Pasid, Platform, SourceId, Span, TableConfig, Tag,
};

/// Interrupts (48882 §2.1.2 and Table 3) and HyperTransport's reserved range (Table 3): never translated.
pub(super) const FORBIDDEN: [Span<Iova>; 2] = [
    Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 },
    Span { start: Iova(0xfd_0000_0000), bytes: 0x3_0000_0000 },
];

/// One AMD-Vi IOMMU, brought up.
///
/// Locks, in the order in which they are taken: sources, domain IDs, then the command buffer, the event log or control.
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
    pub(super) sources: Mutex<P::Lock, BTreeMap<u32, Source<P>>>,
    /// The page that blocked entries point at; it stays for as long as hardware may read it, which is for ever.
    pub(super) _nothing: Frames<P>,
}

/// What caches may hold of a source and must forget.
#[derive(Clone, Copy, Default)]
struct Forget {
    /// Its device table entry.
    entry: bool,
    /// Everything under a domain ID.
    domain: Option<u16>,
    /// Everything of one PASID, or of requests without one as PASID zero, under a domain ID.
    guest: Option<Target>,
}

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    fn id(&self) -> IommuId {
        self.unit.id
    }

    /// Whether a source's entry lets the device cache translations, so that there may be something to forget. A device
    /// that was never let is not asked: one with ATS off does not answer.
    fn caches_ahead(&self, key: u32) -> bool {
        self.table.load(key).is_ats()
    }

    fn refuse_slot(&self, slot: &Slot) -> Refused {
        Refused::NoSlot { iommu: self.id(), source: slot.source }
    }

    fn key(&self, slot: &Slot) -> Result<u32, Refused> {
        let ours = slot.iommu == self.id() && slot.index == slot.source.0;
        if ours { Ok(slot.index) } else { Err(self.refuse_slot(slot)) }
    }

    /// Tells caches to forget, and waits until they have.
    fn forget(&self, source: u32, ats: bool, what: &[Forget]) -> Result<(), Hung> {
        let before = if ats { self.events.timeouts(&self.unit) } else { 0 };
        self.commands.run(&self.unit, |batch| {
            for forget in what {
                if forget.entry {
                    batch.push(Command::invalidate_devtab_entry(source as u16))?;
                }
                if let Some(domain) = forget.domain {
                    batch.push(Command::invalidate_iommu_pages(domain, None, Block::All, true))?;
                }
                if let Some(target) = forget.guest {
                    let pasid = Some(Pasid(target.pasid));
                    batch.push(Command::invalidate_iommu_pages(target.domain, pasid, Block::All, true))?;
                }
            }
            // The IOMMU first: a device that asks again must not be answered from what was to be forgotten.
            for forget in what.iter().filter(|_| ats) {
                if forget.entry {
                    batch.push(Command::invalidate_iotlb_pages(source as u16, None, Block::All))?;
                }
                if let Some(Target { pasid, .. }) = forget.guest
                    && pasid != 0
                {
                    let pasid = Some(Pasid(pasid));
                    batch.push(Command::invalidate_iotlb_pages(source as u16, pasid, Block::All))?;
                }
            }
            Ok(())
        })?;
        self.device_answered(ats, before)
    }

    fn device_answered(&self, ats: bool, before: u64) -> Result<(), Hung> {
        if ats && self.events.timeouts(&self.unit) != before {
            let waited = self.unit.patience;
            return Err(Hung { iommu: self.id(), what: "invalidation of a device's IOTLB", waited });
        }
        Ok(())
    }

    /// What caches may hold of a source as it is now, its entry included.
    fn everything(&self, source: &Source<P>) -> Vec<Forget> {
        let mut list = Vec::with_capacity(2 + source.pasids.len());
        let domain = match &source.rid {
            Rid::Blocked => self.features.np_cache.then_some(self.fixed.blocked),
            Rid::Identity => Some(self.fixed.identity),
            Rid::Host { tag, .. } => Some(*tag),
            Rid::Guest { .. } => None,
        };
        list.push(Forget { entry: true, domain, guest: None });
        if source.uses_guest()
            && let Some(behind) = &source.behind
        {
            let domain = behind.domain;
            list.push(Forget { domain: Some(domain), ..Forget::default() });
            let pasids = core::iter::once(0).chain(source.pasids.keys().copied());
            list.extend(
                pasids.map(|pasid| Forget { guest: Some(Target { domain, pasid }), ..Forget::default() }),
            );
        }
        list
    }

    /// Stores a source's entry as its state says, and makes caches forget what they held.
    fn write(&self, key: u32, source: &Source<P>, forget: &[Forget]) -> Result<(), Refused> {
        let new = source.entry(&self.fixed);
        let ats = self.caches_ahead(key);
        let mut settle = || {
            let entry = Forget { entry: true, ..Forget::default() };
            self.forget(key, false, &[entry]).map_err(Refused::from)
        };
        self.table.write(key, &new, &self.fixed.blocked(), &mut settle)?;
        Ok(self.forget(key, ats, forget)?)
    }

    /// Blocks a source altogether and forgets what was behind it. What was behind it stays known as a target of flushes
    /// unless caches confirmed.
    fn block_source(&self, key: u32, source: &mut Source<P>, gone: bool) -> Blocked {
        let forget = self.everything(source);
        let ats = self.caches_ahead(key) && !gone;
        self.table.block(key, &self.fixed.blocked());
        let done = self.forget(key, ats, &forget);
        if done.is_ok() {
            self.empty(source);
        }
        source.rid = Rid::Blocked;
        source.pasids.clear();
        match done {
            Ok(()) => Blocked::Confirmed,
            Err(hung) => Blocked::Unconfirmed(hung),
        }
    }

    /// Clears the guest CR3 table of a source whose entry no longer holds it, in no cache either.
    fn empty(&self, source: &Source<P>) {
        let Some(behind) = &source.behind else { return };
        let mut domains = self.domains.lock();
        if let Rid::Guest { tag, .. } = source.rid {
            remove_target(&mut domains, tag, Target { domain: behind.domain, pasid: 0 });
        }
        behind.table.clear(Pasid(0));
        for (&pasid, &tag) in &source.pasids {
            remove_target(&mut domains, tag, Target { domain: behind.domain, pasid });
            behind.table.clear(Pasid(pasid));
        }
    }

    /// Makes sure that a source has a guest CR3 table, as wide as its claim.
    fn behind<'s>(&self, source: &'s mut Source<P>) -> Result<&'s mut Behind<P>, Refused> {
        let behind = match source.behind.take() {
            Some(behind) => behind,
            None => {
                let bits = source.claim.pasid_bits;
                let domain = self.domains.lock().allocate().ok_or(Refused::NoTag { iommu: self.id() })?;
                match GuestCr3::new(&self.unit.platform, bits, self.unit.coherent) {
                    Ok(table) => Behind { table, domain },
                    Err(error) => {
                        self.domains.lock().free(domain);
                        return Err(error.into());
                    }
                }
            }
        };
        Ok(source.behind.insert(behind))
    }

    /// What a translation asks for, checked against hardware.
    fn rid(&self, what: &Translation<'_>) -> Result<Rid, Refused> {
        let iommu = self.id();
        let (root, config, tag) = match what {
            Translation::Identity => return Ok(Rid::Identity),
            Translation::Table { root, config, tag } | Translation::Foreign { root, config, tag } => {
                (root, *config, tag)
            }
            _ => return Err(Refused::Unsupported { iommu, what: "mappings by request" }),
        };
        plan::can_walk(iommu, &self.features, self.unit.coherent, config)?;
        let shape = |what| Refused::Shape { iommu, table: config.format, what };
        if root.at.0 & 0xfff != 0 || root.at.0 >> 52 != 0 {
            return Err(shape("the root is no address of a table"));
        }
        let tag = u16::try_from(tag.0).map_err(|_| shape("the tag is none of this IOMMU's"))?;
        let known = match (self.domains.lock().tags.get(&tag), config.format) {
            (Some(Tagged::Host), format) => format == Format::AmdV1,
            (Some(Tagged::Guest(_)), format) => format == Format::AmdV2,
            (None, _) => false,
        };
        if !known {
            return Err(shape("the tag is none of this IOMMU's for this format"));
        }
        if config.format == Format::AmdV2 {
            return match root.levels {
                4 => Ok(Rid::Guest { tag, root: root.at, five: false }),
                5 if self.features.guest_levels == Some(5) => {
                    Ok(Rid::Guest { tag, root: root.at, five: true })
                }
                _ => Err(shape("levels other than four, or five where GATS has them")),
            };
        }
        let most = self.features.host_levels.unwrap_or(0);
        if root.levels == 0 || root.levels > most {
            return Err(shape("levels outside those of HATS"));
        }
        let table = super::entry::HostTable { root: root.at, levels: root.levels, dirty: config.dirty };
        Ok(Rid::Host { tag, table })
    }

    fn install_rid(&self, key: u32, source: &mut Source<P>, new: Rid) -> Result<(), Refused> {
        let iommu = self.id();
        if let (Rid::Host { .. }, false) = (new, source.pasids.is_empty()) {
            let what = "PASIDs are attached, and their requests would go through the v1 table as well";
            return Err(Refused::Shape { iommu, table: Format::AmdV1, what });
        }
        let old = source.rid;
        let before = self.everything(source);
        let mut held = None;
        if let Rid::Guest { tag, root, five } = new {
            if five != source.five && !source.pasids.is_empty() {
                let what = "tables of four and of five levels behind one guest CR3 table";
                return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
            }
            let other_levels = matches!(old, Rid::Guest { five: was, .. } if was != five);
            let behind = self.behind(source)?;
            behind.table.reserve(Pasid(0))?;
            let target = Target { domain: behind.domain, pasid: 0 };
            add_target(&mut self.domains.lock(), tag, target);
            // Whoever flushes from here on flushes this place too, before anything can be cached for it.
            self.unit.platform.fence();
            if other_levels {
                // The root must not be walked with the other number of levels: nothing is walked in between.
                self.table.block(key, &self.fixed.blocked());
                let entry = Forget { entry: true, ..Forget::default() };
                if let Err(hung) = self.forget(key, false, &[entry]) {
                    source.rid = Rid::Blocked;
                    return Err(hung.into());
                }
            }
            held = Some((target, five));
            if let Some(behind) = &source.behind {
                behind.table.set(Pasid(0), root);
            }
        }
        source.rid = new;
        if let Some((_, five)) = held {
            source.five = five;
        }
        if let Err(error) = self.write(key, source, &before) {
            // Whatever is cached, nothing new is.
            self.table.block(key, &self.fixed.blocked());
            source.rid = Rid::Blocked;
            source.pasids.clear();
            return Err(error);
        }
        self.leave(key, source, old, new)
    }

    /// The RID left what `old` was, and caches have forgotten it: the place where it hung is cleared.
    fn leave(&self, key: u32, source: &mut Source<P>, old: Rid, new: Rid) -> Result<(), Refused> {
        let (Rid::Guest { tag, .. }, Some(behind)) = (old, &source.behind) else { return Ok(()) };
        let target = Target { domain: behind.domain, pasid: 0 };
        let stays = matches!(new, Rid::Guest { tag: now, .. } if now == tag);
        if !matches!(new, Rid::Guest { .. }) {
            behind.table.clear(Pasid(0));
            if source.uses_guest() {
                // With PASIDs beside it the place can still be reached as PASID zero.
                let place = Forget { guest: Some(target), ..Forget::default() };
                if let Err(hung) = self.forget(key, self.caches_ahead(key), &[place]) {
                    self.table.block(key, &self.fixed.blocked());
                    source.rid = Rid::Blocked;
                    source.pasids.clear();
                    return Err(hung.into());
                }
            }
        }
        if !stays {
            remove_target(&mut self.domains.lock(), tag, target);
        }
        Ok(())
    }

    fn install_pasid(&self, key: u32, source: &mut Source<P>, pasid: Pasid, new: Rid) -> Result<(), Refused> {
        let iommu = self.id();
        let (tag, root, five) = match new {
            Rid::Guest { tag, root, five } => (tag, root, five),
            Rid::Host { .. } => return Err(Refused::Format { iommu, table: Format::AmdV1 }),
            _ => return Err(Refused::Unsupported { iommu, what: "identity behind a PASID" }),
        };
        self.check_pasid(source, pasid)?;
        if matches!(source.rid, Rid::Host { .. }) {
            let what = "requests without a PASID go through a v1 table, and these would as well";
            return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
        }
        if source.uses_guest() && five != source.five {
            let what = "tables of four and of five levels behind one guest CR3 table";
            return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
        }
        let first = !source.uses_guest();
        let before = if first { self.everything(source) } else { Vec::new() };
        let behind = self.behind(source)?;
        behind.table.reserve(pasid)?;
        let target = Target { domain: behind.domain, pasid: pasid.0 };
        add_target(&mut self.domains.lock(), tag, target);
        self.unit.platform.fence();
        behind.table.set(pasid, root);
        let old = source.pasids.insert(pasid.0, tag);
        source.five = five;
        let place = Forget { guest: Some(target), ..Forget::default() };
        let done = if first {
            self.write(key, source, &[&before[..], &[place]].concat())
        } else {
            self.forget(key, self.caches_ahead(key), &[place]).map_err(Refused::from)
        };
        if let Err(error) = done {
            self.table.block(key, &self.fixed.blocked());
            source.rid = Rid::Blocked;
            source.pasids.clear();
            return Err(error);
        }
        if let Some(old) = old.filter(|old| *old != tag) {
            remove_target(&mut self.domains.lock(), old, target);
        }
        Ok(())
    }

    fn check_pasid(&self, source: &Source<P>, pasid: Pasid) -> Result<(), Refused> {
        let iommu = self.id();
        if pasid.0 == 0 {
            return Err(Refused::Unsupported { iommu, what: "PASID zero: it means requests without one" });
        }
        let needs = (32 - pasid.0.leading_zeros()) as u8;
        if needs > source.claim.pasid_bits {
            return Err(Refused::Pasid { iommu, has: source.claim.pasid_bits, needs });
        }
        Ok(())
    }

    fn block_pasid(&self, key: u32, source: &mut Source<P>, pasid: Pasid) -> Blocked {
        let (Some(tag), Some(behind)) = (source.pasids.remove(&pasid.0), &source.behind) else {
            return Blocked::Confirmed;
        };
        let target = Target { domain: behind.domain, pasid: pasid.0 };
        behind.table.clear(pasid);
        let place = Forget { guest: Some(target), ..Forget::default() };
        let mut done = self.forget(key, self.caches_ahead(key), &[place]).map_err(Refused::from);
        if done.is_ok() && !source.uses_guest() {
            let domain = Some(target.domain);
            done = self.write(key, source, &[Forget { entry: true, domain, guest: None }]);
        }
        match done {
            Ok(()) => {
                remove_target(&mut self.domains.lock(), tag, target);
                Blocked::Confirmed
            }
            Err(Refused::Hung(hung)) => Blocked::Unconfirmed(hung),
            Err(_) => {
                let (iommu, waited) = (self.id(), self.unit.patience);
                Blocked::Unconfirmed(Hung { iommu, what: "the device table entry", waited })
            }
        }
    }
}

fn add_target(domains: &mut DomainIds, tag: u16, target: Target) {
    if let Some(targets) = domains.targets(tag)
        && !targets.contains(&target)
    {
        targets.push(target);
    }
}

fn remove_target(domains: &mut DomainIds, tag: u16, target: Target) {
    if let Some(targets) = domains.targets(tag) {
        targets.retain(|at| *at != target);
    }
}

/// The commands of one flush that are the IOMMU's own.
fn flush_pages<M: Mmio, P: Platform>(
    batch: &mut Batch<'_, M, P>,
    domains: &DomainIds,
    flush: &Flush<'_>,
) -> Result<(), Hung> {
    let Ok(tag) = u16::try_from(flush.tag.0) else { return Ok(()) };
    for block in blocks(flush.span) {
        match domains.tags.get(&tag) {
            Some(Tagged::Host) => {
                batch.push(Command::invalidate_iommu_pages(tag, None, block, flush.tables_went))?;
            }
            Some(Tagged::Guest(targets)) => {
                for Target { domain, pasid } in targets {
                    let pasid = Some(Pasid(*pasid));
                    batch.push(Command::invalidate_iommu_pages(*domain, pasid, block, flush.tables_went))?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

impl<M: Mmio, P: Platform> Driver for AmdVi<M, P> {
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
        if sources.contains_key(&key) {
            return Err(Refused::Claimed { iommu, source: what.source });
        }
        let mut source =
            Source { claim: *what, rid: Rid::Blocked, pasids: BTreeMap::new(), five: false, behind: None };
        if what.pasid_bits > 0 {
            self.behind(&mut source)?;
        }
        let old = self.table.load(key);
        if old != self.fixed.blocked() {
            // An earlier owner's, that was adopted.
            self.table.reset(key, &self.fixed.blocked())?;
            let domain = Some(old.domain());
            self.commands
                .run(&self.unit, |batch| batch.push(Command::invalidate_interrupt_table(key as u16)))?;
            self.forget(key, old.is_ats(), &[Forget { entry: true, domain, guest: None }])?;
        }
        sources.insert(key, source);
        Ok(Slot { iommu, source: what.source, index: key })
    }

    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        let Ok(key) = self.key(&slot) else { return Blocked::Confirmed };
        let mut sources = self.sources.lock();
        let Some(mut source) = sources.remove(&key) else { return Blocked::Confirmed };
        let blocked = self.block_source(key, &mut source, gone);
        if blocked == Blocked::Confirmed
            && let Some(behind) = source.behind.take()
        {
            // SAFETY: the entry that held the table is blocked, and caches confirmed that they forgot it.
            unsafe { behind.table.free() };
            self.domains.lock().free(behind.domain);
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

    fn untag(&self, tag: Tag) -> Result<(), Hung> {
        let Ok(id) = u16::try_from(tag.0) else { return Ok(()) };
        let sources = self.sources.lock();
        let held = sources.values().any(|source| match source.rid {
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

    fn install(&self, slot: &Slot, pasid: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        let key = self.key(slot)?;
        let mut sources = self.sources.lock();
        let source = sources.get_mut(&key).ok_or(self.refuse_slot(slot))?;
        let new = self.rid(what)?;
        match pasid {
            None => self.install_rid(key, source, new),
            Some(pasid) => self.install_pasid(key, source, pasid, new),
        }
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        let Ok(key) = self.key(slot) else { return Blocked::Confirmed };
        let mut sources = self.sources.lock();
        let Some(source) = sources.get_mut(&key) else { return Blocked::Confirmed };
        match pasid {
            None => self.block_source(key, source, false),
            Some(pasid) => self.block_pasid(key, source, pasid),
        }
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        let ats = what.iter().any(|flush| !flush.atc.is_empty());
        let before = if ats { self.events.timeouts(&self.unit) } else { 0 };
        // Tables were written before; targets are read after (architecture: attach adds, fences, installs).
        self.unit.platform.fence();
        let ticket = {
            let domains = self.domains.lock();
            self.commands.issue(&self.unit, |batch| {
                for flush in what {
                    flush_pages(batch, &domains, flush)?;
                }
                for flush in what {
                    for target in flush.atc {
                        let Ok(source) = u16::try_from(target.source.0) else { continue };
                        for block in blocks(flush.span) {
                            batch.push(Command::invalidate_iotlb_pages(source, target.pasid, block))?;
                        }
                    }
                }
                Ok(())
            })?
        };
        self.commands.wait(&self.unit, ticket)?;
        self.device_answered(ats, before)
    }

    fn flush_after_map(&self) -> bool {
        self.features.np_cache
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        let blocked =
            |SourceId(source): SourceId| source < self.table.limit() && self.table.load(source).is_blocked();
        // As much as the log holds, twice: a device that faults all the time does not keep this here for ever.
        for _ in 0..self.events.rounds() {
            let found = self.events.drain(&self.unit);
            for raw in &found.events[..found.count] {
                if event::stops_commands(raw) {
                    self.commands.restart(&self.unit);
                }
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
