//! A driver that makes a mistake.

use super::{Mistake, interrupts::BrokenInterrupts, requests::BrokenRequests};
use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, MapRequests, Plan, Refused, RemapInterrupts,
    Requirements, Slot, Translation,
};
use ioward_types::{IommuId, Iova, Pasid, Root, SourceId, Span, TableConfig, Tag};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A table that was installed.
#[derive(Clone, Copy)]
struct Table {
    root: Root,
    config: TableConfig,
    tag: Tag,
}

impl Table {
    fn of(what: &Translation<'_>) -> Option<Self> {
        match *what {
            Translation::Table { root, config, tag } => Some(Self { root, config: *config, tag }),
            _ => None,
        }
    }
    fn translation(&self) -> Translation<'_> {
        Translation::Table { root: self.root, config: &self.config, tag: self.tag }
    }
}

/// What the wrapper remembers to make its mistakes.
#[derive(Default)]
struct Memory {
    slots: BTreeMap<SourceId, u32>,
    installed: BTreeMap<(SourceId, Option<Pasid>), Option<Table>>,
    blocked: BTreeSet<SourceId>,
    tags: Vec<Tag>,
    only: Option<Tag>,
    spare: Option<Tag>,
}

pub(super) struct BrokenDriver {
    under: Arc<dyn Driver>,
    mistake: Mistake,
    memory: Mutex<Memory>,
    flushes: AtomicU64,
    interrupts: Option<BrokenInterrupts>,
    requests: Option<BrokenRequests>,
}

impl BrokenDriver {
    pub fn new(under: Arc<dyn Driver>, mistake: Mistake, sources: [u32; 3]) -> Self {
        let interrupts =
            under.interrupts().is_some().then(|| BrokenInterrupts::new(under.clone(), mistake, sources));
        let requests = under.requests().is_some().then(|| BrokenRequests::new(under.clone(), mistake));
        Self { under, mistake, memory: Mutex::default(), flushes: AtomicU64::new(0), interrupts, requests }
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self, slot: &Slot) -> Slot {
        let mut copy = Slot { iommu: slot.iommu, source: slot.source, index: slot.index };
        if self.is(Mistake::TakesAnySlot) {
            copy.iommu = self.under.id();
            copy.index = self.memory().slots.get(&slot.source).copied().unwrap_or(slot.index);
        }
        copy
    }

    fn put(&self, slot: &Slot, pasid: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        // SAFETY: the devices are a check's; what a mistake lets them reach is what the check is to find out.
        unsafe { self.under.install(slot, pasid, what) }
    }

    fn pasids(&self, source: SourceId) -> Vec<(Pasid, Option<Table>)> {
        let memory = self.memory();
        let all = memory.installed.iter().filter(|((of, _), _)| *of == source);
        all.filter_map(|((_, pasid), table)| Some(((*pasid)?, *table))).collect()
    }

    fn confirm(&self, result: Result<(), Hung>) -> Result<(), Hung> {
        if self.is(Mistake::ConfirmsFalsely) { Ok(()) } else { result }
    }

    fn settle(&self, blocked: Blocked) -> Blocked {
        if self.is(Mistake::ConfirmsFalsely) { Blocked::Confirmed } else { blocked }
    }

    fn wrong_flush<'a>(&self, flush: &Flush<'a>) -> Flush<'a> {
        let (span, granule) = (flush.span, flush.granule);
        match self.mistake {
            Mistake::MissesLastPage if span.bytes > granule => {
                Flush { span: Span { bytes: span.bytes - granule, ..span }, ..*flush }
            }
            // Of a single page, another one.
            Mistake::MissesLastPage => {
                Flush { span: Span { start: Iova(span.start.0 ^ granule), ..span }, ..*flush }
            }
            Mistake::FlushesOnePage => Flush { span: Span { bytes: granule.min(4096), ..span }, ..*flush },
            Mistake::KeepsTables => Flush { tables_went: false, ..*flush },
            Mistake::ForgetsDevices => Flush { atc: &[], ..*flush },
            _ => *flush,
        }
    }
}

// SAFETY: it does not keep what it promises; it is used on simulated memory only, where checks are to find that out.
unsafe impl Driver for BrokenDriver {
    fn id(&self) -> IommuId {
        self.under.id()
    }

    fn kind(&self) -> &'static str {
        self.under.kind()
    }

    fn capabilities(&self) -> Capabilities {
        let has = self.under.capabilities();
        match self.mistake {
            Mistake::Boasts => Capabilities { pasid_bits: has.pasid_bits + 1, ..has },
            _ => has,
        }
    }

    fn forbidden(&self) -> &[Span<Iova>] {
        self.under.forbidden()
    }

    fn reserved(&self, slot: &Slot) -> Vec<Span<Iova>> {
        self.under.reserved(slot)
    }

    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        self.under.plan(whole_group)
    }

    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        if self.is(Mistake::WalksAnything) { Ok(()) } else { self.under.can_walk(config) }
    }

    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        let claimed = match self.under.claim(what) {
            Err(Refused::Claimed { iommu, source }) if self.is(Mistake::ClaimsTwice) => {
                Ok(Slot { iommu, source, index: 0 })
            }
            Err(Refused::NoMemory(_)) if self.is(Mistake::PanicsWithoutMemory) => panic!("no memory"),
            claimed => claimed,
        };
        if let Ok(slot) = &claimed {
            self.memory().slots.insert(slot.source, slot.index);
            self.memory().blocked.insert(slot.source);
            if self.is(Mistake::ClaimOpens) {
                let _ = self.put(slot, None, &Translation::Identity);
            }
        }
        claimed
    }

    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        let slot = self.copy(&slot);
        self.memory().installed.retain(|(source, _), _| *source != slot.source);
        match self.mistake {
            Mistake::ReleasesNothing => Blocked::Confirmed,
            Mistake::ReleaseOpens => {
                let _ = self.put(&slot, None, &Translation::Identity);
                Blocked::Confirmed
            }
            Mistake::TellsWhoIsGone => self.under.release(slot, false),
            _ => self.settle(self.under.release(slot, gone)),
        }
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let mut memory = self.memory();
        if let (Some(tag), true) = (memory.only, self.is(Mistake::OneTagForAll)) {
            return Ok(tag);
        }
        if let Some(tag) = memory.spare.take() {
            return Ok(tag);
        }
        let tag = self.under.tag(plan)?;
        memory.only = Some(tag);
        memory.tags.push(tag);
        Ok(tag)
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        if self.is(Mistake::OneTagForAll) {
            return Ok(());
        }
        // SAFETY: as promised by the caller.
        let result = unsafe { self.under.untag(tag) };
        if result.is_err() && self.is(Mistake::ReusesTagsUnconfirmed) {
            self.memory().spare = Some(tag);
        }
        self.confirm(result)
    }

    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let slot = &self.copy(slot);
        let place = (slot.source, pasid);
        let known = self.memory().installed.contains_key(&place);
        match self.mistake {
            Mistake::InstallsNothing => return Ok(()),
            Mistake::InstallsOnce if known => return Ok(()),
            Mistake::IdentityIsBlocked if matches!(what, Translation::Identity) => return Ok(()),
            Mistake::IgnoresPasid if pasid.is_some() => {
                return self.put(slot, None, what);
            }
            Mistake::InstallsThroughIdentity => {
                let _ = self.put(slot, None, &Translation::Identity);
                (0..50).for_each(|_| std::thread::yield_now());
            }
            Mistake::PasidThroughAnother if pasid.is_some() => {
                let rid = self.memory().installed.get(&(slot.source, None)).copied().flatten();
                if let Some(table) = rid {
                    let _ = self.put(slot, pasid, &table.translation());
                }
            }
            _ => {}
        }
        let installed = self.put(slot, pasid, what);
        match installed {
            Err(Refused::NoMemory(_)) if self.is(Mistake::PanicsWithoutMemory) => panic!("no memory"),
            Err(Refused::Hung(_)) if self.is(Mistake::ConfirmsFalsely) => return Ok(()),
            Ok(()) => {
                self.memory().installed.insert(place, Table::of(what));
                self.memory().blocked.remove(&slot.source);
                if pasid.is_none() && self.is(Mistake::InstallDropsPasids) {
                    for (pasid, _) in self.pasids(slot.source) {
                        let _ = self.under.block(slot, Some(pasid));
                    }
                }
            }
            Err(_) => {}
        }
        installed
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        let slot = &self.copy(slot);
        if self.is(Mistake::BlocksNothing) {
            return Blocked::Confirmed;
        }
        let blocked = self.under.block(slot, pasid);
        let pasids = self.pasids(slot.source);
        {
            let mut memory = self.memory();
            memory.installed.remove(&(slot.source, pasid));
            if pasid.is_none() {
                memory.blocked.insert(slot.source);
            }
        }
        if pasid.is_none() && self.is(Mistake::BlockKeepsPasids) {
            for (pasid, table) in pasids {
                if let Some(table) = table {
                    let _ = self.put(slot, Some(pasid), &table.translation());
                }
            }
        }
        self.settle(blocked)
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        let number = self.flushes.fetch_add(1, Ordering::Relaxed);
        match self.mistake {
            Mistake::FlushesNothing => return Ok(()),
            Mistake::LosesSomeFlushes if number % 50 == 49 => return Ok(()),
            Mistake::FlushesFirstOnly => return self.under.flush(&what[..what.len().min(1)]),
            Mistake::FlushesAThousand => return self.under.flush(&what[..what.len().min(1000)]),
            Mistake::FailsOverBlockedDevices => {
                let blocked = self.memory().blocked.clone();
                if what.iter().flat_map(|flush| flush.atc).any(|target| blocked.contains(&target.source)) {
                    let waited = ioward_types::Nanos(0);
                    return Err(Hung { iommu: self.id(), what: "a device that is blocked", waited });
                }
            }
            Mistake::DevicesFirst => {
                // Under a tag that is nobody's, the IOMMU forgets nothing and devices all the same.
                let devices: Vec<_> =
                    what.iter().map(|flush| Flush { tag: Tag(0xdead_beef), ..*flush }).collect();
                self.under.flush(&devices)?;
                let iommu: Vec<_> = what.iter().map(|flush| Flush { atc: &[], ..*flush }).collect();
                return self.under.flush(&iommu);
            }
            _ => {}
        }
        let wrong: Vec<_> = what.iter().map(|flush| self.wrong_flush(flush)).collect();
        self.confirm(self.under.flush(&wrong))
    }

    fn flush_after_map(&self) -> bool {
        self.under.flush_after_map() && !self.is(Mistake::AsksForNoFlushAfterMap)
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        let mut more = true;
        while more {
            let mut any = false;
            self.under.poll(&mut |event| {
                any = true;
                match (self.mistake, event) {
                    (Mistake::ReportsNothing, _) | (Mistake::HidesLosses, Event::Lost(_)) => {}
                    (Mistake::ReportsAnotherSource, Event::Fault(mut fault)) => {
                        fault.source.0 ^= 1;
                        sink(Event::Fault(fault));
                    }
                    (_, event) => sink(event),
                }
            });
            more = any && self.is(Mistake::PollsWithoutEnd);
        }
    }

    fn requests(&self) -> Option<&dyn MapRequests> {
        self.requests.as_ref().map(|requests| requests as &dyn MapRequests)
    }

    fn interrupts(&self) -> Option<&dyn RemapInterrupts> {
        self.interrupts.as_ref().map(|interrupts| interrupts as &dyn RemapInterrupts)
    }
}
