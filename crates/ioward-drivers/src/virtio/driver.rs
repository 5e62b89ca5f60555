//! The [`Driver`] of one virtio-iommu.

use super::attach::Place;
use super::domain::Domains;
use super::event_queue::EventQueue;
use super::features::Features;
use super::mapping::{self, Mapping};
use super::probe::{self, ReservedRegion};
use super::request::{Answer, Request};
use super::request_queue::{Failure, RequestQueue};
use super::transport::Transport;
use super::unit::Unit;
use alloc::{collections::BTreeMap, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, MapRequests, Plan, Refused, Requirements, Slot,
    Translation,
};
use ioward_spec::virtio::request::status;
use ioward_types::{
    Attributes, IommuId, Iova, Mutex, Nanos, Pasid, PhysAddr, Platform, SourceId, Span, TableConfig, Tag,
};

/// A claimed endpoint.
pub(super) struct Source {
    pub place: Place,
    pub regions: Vec<ReservedRegion>,
}

/// Everything that changes after bring-up.
pub(super) struct State {
    pub claimed: BTreeMap<u32, Source>,
    /// Endpoints that nobody has claimed and that may still be on a domain: their release was not confirmed.
    pub owed: BTreeMap<u32, Place>,
    pub domains: Domains,
}

/// One virtio-iommu, brought up.
///
/// Locks, in the order in which they are taken: the state, then either queue. The state is locked while a request waits for
/// its answer; flushing takes only the queue's lock, and so does [`Driver::poll`].
pub struct VirtioIommu<T, P: Platform> {
    pub(super) unit: Unit<T, P>,
    pub(super) features: Features,
    pub(super) windows: Vec<Span<Iova>>,
    pub(super) requests: RequestQueue<P>,
    pub(super) events: EventQueue<P>,
    pub(super) state: Mutex<P::Lock, State>,
    /// Somebody had it before, and it may have kept what it was told then: the domains that could not be emptied.
    pub(super) left_over: Option<Vec<u32>>,
    /// Those have been reported.
    pub(super) told: AtomicBool,
    /// What broke the device has been reported.
    pub(super) reported: AtomicBool,
}

impl<T: Transport, P: Platform> VirtioIommu<T, P> {
    /// What the device says must not be mapped for a claimed source, and which of it is a doorbell of message-signalled
    /// interrupts that is not translated (virtio 1.3 §5.13.6.8). None where it has no PROBE.
    pub fn reserved_regions(&self, slot: &Slot) -> Vec<ReservedRegion> {
        let state = self.state.lock();
        let source = self.key(slot).and_then(|key| state.claimed.get(&key));
        source.map(|source| source.regions.clone()).unwrap_or_default()
    }

    fn key(&self, slot: &Slot) -> Option<u32> {
        (slot.iommu == self.unit.id && slot.index == slot.source.0).then_some(slot.index)
    }

    fn unconfirmed(&self, what: &'static str) -> Blocked {
        Blocked::Unconfirmed(self.unit.hung(what))
    }

    fn failed(&self, failure: Failure) -> Hung {
        match failure {
            Failure::Hung(hung) => hung,
            Failure::Rejected(_, answer) => self.unit.hung(answer.name()),
        }
    }

    /// What the device says of an endpoint, and that there is one.
    fn probe(&self, endpoint: SourceId) -> Result<Vec<ReservedRegion>, Refused> {
        let Some(size) = self.requests.probe_size() else { return Ok(Vec::new()) };
        let answer = self.requests.ask(&self.unit, &Request::probe(endpoint), None)?;
        if !answer.is_ok() {
            return Err(answer.refused(self.unit.id, "PROBE"));
        }
        let rejected = |why| Refused::Rejected { iommu: self.unit.id, request: "PROBE", why };
        probe::regions(size, |at| self.requests.property(at)).map_err(rejected)
    }

    /// The domain that a translation means.
    fn domain_of(&self, domains: &mut Domains, what: &Translation<'_>) -> Result<u32, Refused> {
        let iommu = self.unit.id;
        match what {
            Translation::Requests { tag } if domains.known.contains_key(&tag.0) => Ok(tag.0),
            Translation::Requests { .. } => Err(Refused::NoTag { iommu }),
            Translation::Identity if !self.features.bypass_config => {
                Err(Refused::Unsupported { iommu, what: "VIRTIO_IOMMU_F_BYPASS_CONFIG" })
            }
            Translation::Identity => match domains.identity {
                Some(domain) => Ok(domain),
                None => {
                    let domain = self.number(domains, true)?;
                    domains.identity = Some(domain);
                    Ok(domain)
                }
            },
            Translation::Table { config, .. } | Translation::Foreign { config, .. } => {
                Err(Refused::Format { iommu, table: config.format })
            }
            _ => Err(Refused::Unsupported { iommu, what: "this translation" }),
        }
    }

    /// The domain of those who pass everything through goes when nobody is on it.
    fn tidy(&self, domains: &mut Domains) {
        if let Some(domain) = domains.identity
            && domains.known.get(&domain).is_some_and(|domain| domain.attached == 0)
            && self.requests.forget(domain)
        {
            domains.identity = None;
            domains.remove(domain);
        }
    }

    fn block_source(&self, state: &mut State, key: u32) -> Blocked {
        let Some(source) = state.claimed.get_mut(&key) else {
            return self.unconfirmed("a slot that nobody claimed");
        };
        let left = self.leave(&mut state.domains, SourceId(key), &mut source.place);
        self.tidy(&mut state.domains);
        left.map_or_else(Blocked::Unconfirmed, |()| Blocked::Confirmed)
    }
}

// SAFETY: an endpoint without a domain passes nothing, since bypass is off; it counts as detached, and a mapping as gone,
// only once the device has answered the request with success and no earlier one is left unanswered.
unsafe impl<T: Transport, P: Platform> Driver for VirtioIommu<T, P> {
    fn id(&self) -> IommuId {
        self.unit.id
    }

    fn kind(&self) -> &'static str {
        "virtio-iommu"
    }

    fn capabilities(&self) -> Capabilities {
        // There is no walker; endpoints snoop as the host lets them, which a request cannot change.
        Capabilities { coherent: true, ..Capabilities::default() }
    }

    fn forbidden(&self) -> &[Span<Iova>] {
        &self.windows
    }

    fn reserved(&self, slot: &Slot) -> Vec<Span<Iova>> {
        self.reserved_regions(slot).into_iter().map(|region| region.span).collect()
    }

    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        let iommu = self.unit.id;
        if whole_group.pasid_bits > 0 {
            return Err(Refused::Pasid { iommu, has: 0, needs: whole_group.pasid_bits });
        }
        if whole_group.dirty {
            return Err(Refused::Unsupported { iommu, what: "dirty tracking" });
        }
        if whole_group.nest_parent {
            return Err(Refused::Unsupported { iommu, what: "nested translation" });
        }
        Ok(self.features.plan())
    }

    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        Err(Refused::Format { iommu: self.unit.id, table: config.format })
    }

    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        let iommu = self.unit.id;
        if what.pasid_bits > 0 {
            return Err(Refused::Pasid { iommu, has: 0, needs: what.pasid_bits });
        }
        if what.ats {
            return Err(Refused::Unsupported { iommu, what: "ATS" });
        }
        let key = what.source.0;
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.claimed.contains_key(&key) {
            return Err(Refused::Claimed { iommu, source: what.source });
        }
        if let Some(place) = state.owed.get_mut(&key) {
            self.leave(&mut state.domains, what.source, place)?;
            self.tidy(&mut state.domains);
            state.owed.remove(&key);
        }
        let regions = self.probe(what.source)?;
        if self.left_over.is_some() {
            let evicted = self.evict(&mut state.domains, what.source);
            evicted.map_err(|(why, place)| {
                if place != Place::Nowhere {
                    state.owed.insert(key, place);
                }
                why
            })?;
        }
        state.claimed.insert(key, Source { place: Place::Nowhere, regions });
        Ok(Slot { iommu, source: what.source, index: key })
    }

    fn release(&self, slot: Slot, _gone: bool) -> Blocked {
        let Some(key) = self.key(&slot) else { return self.unconfirmed("a slot of another IOMMU") };
        let mut state = self.state.lock();
        let blocked = self.block_source(&mut state, key);
        if let Some(source) = state.claimed.remove(&key)
            && source.place != Place::Nowhere
        {
            state.owed.insert(key, source.place);
        }
        blocked
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let iommu = self.unit.id;
        if *plan != self.features.plan() {
            return Err(match plan {
                Plan::Tables(config) => Refused::Format { iommu, table: config.format },
                Plan::Requests { .. } => Refused::Unsupported { iommu, what: "a plan of another IOMMU" },
            });
        }
        self.number(&mut self.state.lock().domains, false).map(Tag)
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        let mut state = self.state.lock();
        let domains = &mut state.domains;
        let Some(domain) = domains.known.get(&tag.0).filter(|domain| !domain.bypass) else { return Ok(()) };
        // A number that an endpoint may still be on, or that an unanswered request names, stays taken for ever.
        if domain.attached != 0 {
            return Err(self.unit.hung("an endpoint is still attached"));
        }
        if !self.requests.forget(tag.0) {
            return Err(self.unit.hung("requests of the domain"));
        }
        domains.remove(tag.0);
        Ok(())
    }

    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let iommu = self.unit.id;
        let unknown = Refused::NoSlot { iommu, source: slot.source };
        let key = self.key(slot).ok_or(unknown)?;
        let mut state = self.state.lock();
        let State { claimed, domains, .. } = &mut *state;
        let source = claimed.get_mut(&key).ok_or(unknown)?;
        if let Some(pasid) = pasid {
            let needs = (32 - pasid.0.leading_zeros()) as u8;
            return Err(Refused::Pasid { iommu, has: 0, needs });
        }
        let to = self.domain_of(domains, what)?;
        let moved = self.move_to(domains, slot.source, &mut source.place, to);
        self.tidy(domains);
        moved
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        let Some(key) = self.key(slot) else { return self.unconfirmed("a slot of another IOMMU") };
        match pasid {
            None => self.block_source(&mut self.state.lock(), key),
            // There are none, and requests that carry one are not let through by any domain.
            Some(_) => Blocked::Confirmed,
        }
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        let mut all = Ok(());
        for flush in what {
            let settled = self.requests.settle(&self.unit, flush.tag.0, None);
            all = all.and(settled.map_err(|failure| self.failed(failure)));
        }
        all
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        self.unit.transport.acknowledge();
        if !self.told.swap(true, Ordering::Relaxed) {
            let what = "a domain of an earlier owner cannot be emptied";
            self.left_over().iter().for_each(|number| sink(Event::Unit { what, code: (*number).into() }));
        }
        match self.unit.broken() {
            Some(what) => {
                self.requests.give_up(what);
                if !self.reported.swap(true, Ordering::Relaxed) {
                    sink(Event::Unit { what, code: self.unit.transport.status().into() });
                }
            }
            None => self.events.drain(&self.unit, sink),
        }
    }

    fn requests(&self) -> Option<&dyn MapRequests> {
        Some(self)
    }
}

impl<T: Transport, P: Platform> MapRequests for VirtioIommu<T, P> {
    fn map(&self, tag: Tag, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), Refused> {
        let iommu = self.unit.id;
        let rejected = |why| Refused::Rejected { iommu, request: "MAP", why };
        let flags = mapping::flags(iommu, &self.features, how)?;
        let span = Span::new(at, to.bytes).filter(|span| to.is_valid() && self.features.takes(*span));
        let span = span.filter(|_| to.start.0.is_multiple_of(self.features.granule()));
        let span = span.ok_or(rejected("not whole pages in the input range"))?;
        let mut state = self.state.lock();
        let domain = state.domains.known.get_mut(&tag.0).filter(|domain| !domain.bypass);
        let domain = domain.ok_or(Refused::NoTag { iommu })?;
        if !domain.mappings.is_free(span) {
            return Err(rejected("a mapping exists in the range"));
        }
        let mapping = Mapping { bytes: to.bytes, to: to.start, flags };
        if domain.attached > 0 {
            // Requests may be carried out in any order: an unmap of the same place comes first.
            let settled = self.requests.settle(&self.unit, tag.0, Some(span));
            settled.map_err(|failure| self.failed(failure))?;
            let request = Request::map(tag.0, at, &mapping);
            let asked = self.requests.ask(&self.unit, &request, Some(tag.0));
            let answer = asked.inspect_err(|hung| self.requests.fail(tag.0, Failure::Hung(*hung)))?;
            if !answer.is_ok() {
                return Err(answer.refused(iommu, "MAP"));
            }
        }
        domain.mappings.insert(at, mapping);
        Ok(())
    }

    fn unmap(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung> {
        self.unmap_later(tag, at)?;
        self.requests.settle(&self.unit, tag.0, None).map_err(|failure| self.failed(failure))
    }

    fn unmap_later(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung> {
        let mut state = self.state.lock();
        let Some(domain) = state.domains.known.get_mut(&tag.0) else { return Ok(()) };
        if !at.is_valid() || domain.mappings.cuts(at) {
            // The device would answer the same (§5.13.6.6).
            let hung = self.unit.hung(Answer::Status(status::RANGE).name());
            self.requests.fail(tag.0, Failure::Hung(hung));
            return Err(hung);
        }
        let Some(whole) = domain.mappings.remove(at) else { return Ok(()) };
        if domain.attached == 0 {
            return Ok(());
        }
        self.requests.count(&self.unit, &Request::unmap(tag.0, whole), tag.0, whole)
    }
}

impl<T, P: Platform> core::fmt::Debug for VirtioIommu<T, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let patience: Nanos = self.unit.patience;
        f.debug_struct("VirtioIommu")
            .field("id", &self.unit.id)
            .field("features", &self.features)
            .field("patience", &patience)
            .finish_non_exhaustive()
    }
}
