//! How a device comes to be served: claimed (so blocked), grouped, attached.

use crate::{
    device::{AddError, DeviceId, GroupId, PasidDenied, RegionKind, Source, Status},
    driver::{Blocked, Claim, Plan, Requirements},
    policy::{DefaultKind, FlushMode, UnservedKind},
    space::{AddressSpace, Want},
    special::Use,
    state::{Entry, Group, Installed, Rid, State},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use ioward_types::{IommuId, Iova, Platform, Span};

/// The widest PASID there is, in bits (PCI Express 6.0, 7.8.9).
const MAX_PASID_BITS: u8 = 20;

impl<P: Platform> State<P> {
    /// Takes a device as far as it can go. Its status says how far that was.
    pub fn probe(&mut self, id: DeviceId) {
        let joined = self.check(id).and_then(|()| self.join(id));
        let merged = matches!(joined, Ok(true));
        let status = match joined {
            Err(error) => Status::Refused(error),
            Ok(_) => match self.device(id).map(|device| device.sources.clone()) {
                None => return,
                Some(sources) if sources.is_empty() => Status::Unserved,
                Some(sources) => match self.missing(&sources) {
                    Some(iommu) => Status::Waiting(iommu),
                    None => match self
                        .attach(id)
                        .and_then(|()| self.alive(&sources).map_err(|hung| AddError::Driver(hung.into())))
                    {
                        Ok(()) => Status::Served,
                        Err(_) if crate::mutate::on("rule_09") => Status::Served,
                        Err(error) => Status::Refused(error),
                    },
                },
            },
        };
        if merged && status != Status::Served {
            // Groups became one without a newcomer that is served: they get one domain all the same. If that fails, each
            // source stays on what it has, and nobody is bound to any of them.
            if let Some(group) = self.device(id).and_then(|device| device.group) {
                let requirements = self.requirements(group, None);
                if self.rebuild(group, None, &requirements).is_err()
                    && let Some(group) = self.group_mut(group)
                {
                    group.default = Rid::Blocked;
                }
            }
        }
        let trusts = self.policy.unserved == UnservedKind::Trust || crate::mutate::on("rule_14_unserved");
        let Some(device) = self.device_mut(id) else { return };
        let was_off = !matches!(device.status, Status::Served | Status::Unserved);
        device.status = status;
        match status {
            Status::Served => {
                device.kept_off = false;
                let (control, pasid, ats) = (device.control.clone(), device.pasid, device.ats);
                // ATS off before PASIDs change, whatever firmware left on.
                control.ats(None);
                control.pasid(pasid.ok());
                if self.may_cache(id) {
                    control.ats(ats);
                }
                if was_off {
                    control.bus_master(true);
                }
            }
            // Nothing can block it but its own bus mastering.
            Status::Unserved if trusts => {}
            Status::Unserved | Status::Waiting(_) | Status::Refused(_) => device.control.bus_master(false),
        }
    }

    fn missing(&self, sources: &[Source]) -> Option<IommuId> {
        sources.iter().map(|source| source.0).find(|iommu| self.driver(*iommu).is_none())
    }

    /// Whether its entries let it cache translations.
    pub fn may_cache(&self, id: DeviceId) -> bool {
        let Some(device) = self.device(id) else { return false };
        let allowed = |source: &Source| self.entries.get(source).is_some_and(|entry| entry.ats);
        device.trusted && !device.sources.is_empty() && device.sources.iter().all(allowed)
    }

    fn check(&self, id: DeviceId) -> Result<(), AddError> {
        let Some(device) = self.device(id) else { return Ok(()) };
        if device.offer.bits > MAX_PASID_BITS {
            return Err(AddError::Bits(device.offer.bits));
        }
        if device.addr_bits == 0 || device.addr_bits > 64 {
            return Err(AddError::Bits(device.addr_bits));
        }
        if let Some(region) = device.regions.iter().find(|region| !region.span.is_valid()) {
            return Err(AddError::RegionsOverlap(region.span));
        }
        let twice =
            device.sources.iter().enumerate().find(|(n, source)| device.sources[..*n].contains(source));
        twice.map_or(Ok(()), |(_, source)| Err(AddError::SourceTwice(*source)))
    }

    /// Puts the device into the group of everybody whom it cannot be told apart from. Tells whether groups became one.
    fn join(&mut self, id: DeviceId) -> Result<bool, AddError> {
        let Some(device) = self.device(id) else { return Ok(false) };
        if device.group.is_some() || device.sources.is_empty() && device.joins.is_empty() {
            return Ok(false);
        }
        let others = self.near.of(&device.sources, &device.joins).filter(|other| *other != id);
        let mut near: Vec<GroupId> = others.filter_map(|other| self.device(other)?.group).collect();
        near.sort_unstable();
        near.dedup();
        let live: Vec<GroupId> = near.iter().copied().filter(|group| self.is_live(*group)).collect();
        if let [first, second, ..] = live[..] {
            return Err(AddError::MergesGroups(first, second));
        }
        let into = live.first().or(near.first()).copied();
        if live.len() == 1 && near.len() > 1 {
            // Its domain would have to serve devices of a group that it was told apart from.
            let other = near.iter().copied().find(|group| Some(*group) != into).unwrap_or(live[0]);
            return Err(AddError::MergesGroups(live[0], other));
        }
        let group = into.unwrap_or_else(|| {
            let group = Group { members: Vec::new(), default: Rid::Blocked, parked: None, owner: None };
            let (index, generation) = self.groups.insert(group);
            GroupId { index, generation }
        });
        let merges = near.len() > 1;
        for absorbed in near.into_iter().filter(|other| *other != group) {
            self.merge(absorbed, group);
        }
        if let Some(device) = self.device_mut(id) {
            device.group = Some(group);
        }
        if let Some(group) = self.group_mut(group) {
            group.members.push(id);
        }
        Ok(merges)
    }

    /// Somebody uses the group: its domain cannot be replaced by another.
    pub fn is_live(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|group| group.owner.is_some())
            || self.members(group).any(|(_, device)| device.bound)
    }

    fn merge(&mut self, from: GroupId, into: GroupId) {
        let Some(absorbed) = self.groups.remove(from.index, from.generation) else { return };
        for id in &absorbed.members {
            if let Some(device) = self.device_mut(*id) {
                device.group = Some(into);
            }
        }
        if let Some(parked) = absorbed.parked {
            self.discard(&parked);
        }
        if let Some(group) = self.group_mut(into) {
            group.members.extend(absorbed.members);
        }
    }

    /// Claims what the device's requests carry, and puts its group on a domain that serves it too.
    fn attach(&mut self, id: DeviceId) -> Result<(), AddError> {
        self.claim(id)?;
        let result = self.settle(id);
        match result {
            Ok(()) => {
                if let Some(device) = self.device_mut(id) {
                    device.attached = true;
                }
                self.revoke(id);
                self.share_silence(id);
            }
            // The result says why the device is refused; that it stays off is seen to in `unclaim` and by the caller.
            Err(_) => {
                let _ = self.unclaim(id, false);
            }
        }
        result
    }

    /// Takes an entry for each source, blocked; or, where a served device has it, becomes its second user.
    fn claim(&mut self, id: DeviceId) -> Result<(), AddError> {
        let pasid = self.grant(id)?;
        let Some(device) = self.device_mut(id) else { return Ok(()) };
        device.pasid = pasid;
        let (sources, bits) = (device.sources.clone(), pasid.unwrap_or(0));
        let wants_ats = device.ats.is_some() && device.trusted;
        if device.ats.is_some() {
            // What it cached for an earlier owner would count as soon as its entry lets translated requests in.
            device.control.ats(None);
        }
        for (done, source) in sources.iter().enumerate() {
            if let Some(entry) = self.entries.get_mut(source) {
                if entry.ats {
                    // An invalidation by requester ID reaches one cache, and translated requests are not looked at: the
                    // IOMMU could not tell who sends them.
                    let _ = self.unclaim_sources(id, &sources[..done], false);
                    return Err(AddError::SharesAts(*source));
                }
                entry.users.push(id);
                continue;
            }
            let Some(driver) = self.driver(source.0).cloned() else { continue };
            let ats = wants_ats && driver.capabilities().ats;
            match driver.claim(&Claim { source: source.1, pasid_bits: bits, ats }) {
                Ok(slot) => {
                    let users = alloc::vec![id];
                    let (rid, pasids) = (Installed::Blocked, BTreeMap::new());
                    let (dead, doubtful) = (None, Vec::new());
                    let entry = Entry { slot, driver, users, ats, rid, pasids, dead, doubtful };
                    self.entries.insert(*source, entry);
                }
                Err(refused) => {
                    let _ = self.unclaim_sources(id, &sources[..done], false);
                    return Err(refused.into());
                }
            }
        }
        Ok(())
    }

    /// The PASIDs that the device may have (rule 8). `Err` where granting nothing is not enough.
    fn grant(&mut self, id: DeviceId) -> Result<Result<u8, PasidDenied>, AddError> {
        let Some(device) = self.device(id) else { return Ok(Err(PasidDenied::Device)) };
        let (sources, offer) = (device.sources.clone(), device.offer);
        let shared: Vec<Source> =
            sources.iter().copied().filter(|source| self.entries.contains_key(source)).collect();
        for source in &shared {
            let users = self.entries.get(source).map(|entry| entry.users.clone()).unwrap_or_default();
            for user in users {
                let granted = self.device(user).and_then(|device| Some((device.group?, device.pasid.ok()?)));
                match granted {
                    Some((group, _)) if self.is_live(group) => return Err(AddError::SharesPasids(*source)),
                    // Applied only once the newcomer is served: see `revoke`.
                    Some(_) | None => {}
                }
            }
        }
        if crate::mutate::on("rule_08") {
            return Ok(Ok(offer.bits));
        }
        let first = sources.first().map(|source| source.0);
        let granted = match (offer, shared.first(), first) {
            _ if offer.bits == 0 => Err(PasidDenied::Device),
            (_, Some(source), _) => Err(PasidDenied::SharedSource(*source)),
            _ if offer.denied.is_some() => Err(offer.denied.unwrap_or(PasidDenied::NotRedirected)),
            _ if sources.iter().any(|source| Some(source.0) != first) => Err(PasidDenied::SeveralIommus),
            (_, _, Some(iommu)) => {
                match self.driver(iommu).map_or(0, |driver| driver.capabilities().pasid_bits) {
                    0 => Err(PasidDenied::Iommu(iommu)),
                    bits => Ok(offer.bits.min(bits)),
                }
            }
            (_, _, None) => Err(PasidDenied::Device),
        };
        Ok(granted)
    }

    /// Those who share a source with the newcomer have their PASIDs no longer (rule 8). Nobody was using any.
    fn revoke(&mut self, newcomer: DeviceId) {
        let sources = self.device(newcomer).map(|device| device.sources.clone()).unwrap_or_default();
        for source in sources {
            let users = self.entries.get(&source).map(|entry| entry.users.clone()).unwrap_or_default();
            for user in users.into_iter().filter(|user| *user != newcomer) {
                let Some(device) = self.device(user).filter(|device| device.pasid.is_ok()) else { continue };
                let (control, ats, theirs) = (device.control.clone(), device.ats, device.sources.clone());
                control.ats(None);
                let _ = self.clear_pasids(&theirs);
                control.pasid(None);
                if let Some(device) = self.device_mut(user) {
                    device.pasid = Err(PasidDenied::SharedSource(source));
                }
                if self.may_cache(user) {
                    control.ats(ats);
                }
            }
        }
    }

    /// Where an IOMMU hangs, everybody who uses a source is silenced, those too who came after it was installed.
    fn share_silence(&self, newcomer: DeviceId) {
        let Some(device) = self.device(newcomer) else { return };
        for source in &device.sources {
            let Some(entry) = self.entries.get(source).filter(|entry| entry.users.len() > 1) else {
                continue;
            };
            if let Installed::Paging { space, plan } = &entry.rid {
                space.add_control(&entry.driver, plan, source.1, &device.control);
            }
        }
    }

    /// Gives the device's entries back, blocked; those that others use stay theirs.
    pub fn unclaim(&mut self, id: DeviceId, gone: bool) -> Blocked {
        let sources = self.device(id).map(|device| device.sources.clone()).unwrap_or_default();
        self.unclaim_sources(id, &sources, gone)
    }

    fn unclaim_sources(&mut self, id: DeviceId, sources: &[Source], gone: bool) -> Blocked {
        let mut result = Blocked::Confirmed;
        for source in sources {
            let Some(entry) = self.entries.get_mut(source) else { continue };
            entry.users.retain(|user| *user != id);
            if !entry.users.is_empty() {
                if let Some(device) = self.device_mut(id) {
                    device.kept_off = true;
                    device.control.bus_master(false);
                }
                continue;
            }
            if let unconfirmed @ Blocked::Unconfirmed(_) = self.release(*source, gone) {
                result = unconfirmed;
            }
        }
        if let (Blocked::Unconfirmed(_), Some(device)) = (result, self.device(id)) {
            device.control.bus_master(false);
        }
        result
    }

    /// Brings the group onto a domain that serves the newcomer and everybody who is served already (rules 5, 7 and 10).
    fn settle(&mut self, newcomer: DeviceId) -> Result<(), AddError> {
        let Some(group) = self.device(newcomer).and_then(|device| device.group) else { return Ok(()) };
        let requirements = self.requirements(group, Some(newcomer));
        if !self.is_live(group) {
            return self.rebuild(group, Some(newcomer), &requirements);
        }
        if self.group(group).is_some_and(|group| group.owner.is_some()) {
            return Err(AddError::GroupOwned(group));
        }
        let default = self.group(group).map_or(Rid::Blocked, |group| group.default.clone());
        let kind = self.policy.choose(&self.view(group, Some(newcomer)));
        let parked = self.make_parked(group, Some(newcomer), &requirements)?;
        let all = self.sources(group, Some(newcomer));
        let result = match (&default, kind) {
            (Rid::Paging(space), DefaultKind::Paging) => {
                self.refit(group, newcomer, &all, space, &requirements)
            }
            (Rid::Identity, DefaultKind::Identity) | (Rid::Blocked, DefaultKind::Blocked) => {
                self.put_on(&self.newcomers(&all), &default, &requirements)
            }
            _ => Err(AddError::Policy(group)),
        };
        match result {
            Ok(()) => self.set_parked(group, parked),
            Err(_) => parked.iter().for_each(|parked| parked.discard()),
        }
        result
    }

    /// Those of `sources` that hold nothing yet.
    fn newcomers(&self, sources: &[Source]) -> Vec<Source> {
        let blocked = |source: &&Source| {
            matches!(self.entries.get(source), Some(Entry { rid: Installed::Blocked, .. }))
        };
        sources.iter().filter(blocked).copied().collect()
    }

    /// A live default domain takes a newcomer in: its address space and every live IOVA stay; where plans change, its
    /// carriers do (rule 7).
    fn refit(
        &mut self,
        group: GroupId,
        newcomer: DeviceId,
        all: &[Source],
        space: &Arc<AddressSpace<P>>,
        requirements: &Requirements,
    ) -> Result<(), AddError> {
        if self.policy.choose_flush(&self.view(group, Some(newcomer))) == FlushMode::Strict {
            // A newcomer that is not trusted is never served by a lazy domain; it stays so if the newcomer goes.
            space.make_strict();
        }
        let wants = self.wants(all, None, requirements)?;
        let special = self.region_spans(group, Some(newcomer), space.granule(), &wants)?;
        let last = last_iova(&wants, requirements);
        let narrowed = space.narrow(&special.forbidden, last, &special.mapped(Use::Kernel))?;
        let stale = |(source, want): &(&Source, &Want)| match self.entries.get(source).map(|entry| &entry.rid)
        {
            Some(Installed::Paging { space: on, plan }) => !Arc::ptr_eq(on, space) || *plan != want.plan,
            _ => true,
        };
        let moving: Vec<Source> = all.iter().zip(&wants).filter(stale).map(|(source, _)| *source).collect();
        if crate::mutate::on("rule_07") {
            return self.install_space(&self.newcomers(&moving), None, space, &Requirements::default());
        }
        self.install_space(&moving, None, space, requirements).inspect_err(|_| space.widen(narrowed))
    }

    /// The one place where a default domain is allocated (rule 5): nobody uses the group, so whatever order its members
    /// came in, the outcome is what their requirements together ask for.
    pub fn rebuild(
        &mut self,
        group: GroupId,
        newcomer: Option<DeviceId>,
        requirements: &Requirements,
    ) -> Result<(), AddError> {
        let all = self.sources(group, newcomer);
        let parked = self.make_parked(group, newcomer, requirements)?;
        let result = match self.policy.choose(&self.view(group, newcomer)) {
            DefaultKind::Blocked => self.put_on(&all, &Rid::Blocked, requirements).map(|()| Rid::Blocked),
            DefaultKind::Identity => self.put_on(&all, &Rid::Identity, requirements).map(|()| Rid::Identity),
            DefaultKind::Paging => self
                .make_space(group, newcomer, &all, requirements, Use::Kernel)
                .and_then(|(space, wants)| {
                    let plans =
                        wants.iter().map(|want| Installed::Paging { space: space.clone(), plan: want.plan });
                    let plans: Vec<_> = plans.collect();
                    match self.install(&all, None, &plans) {
                        Ok(()) => Ok(Rid::Paging(space)),
                        Err(error) => {
                            self.abandon(&space, &wants);
                            Err(error)
                        }
                    }
                }),
        };
        match result {
            Ok(default) => {
                if let Some(group) = self.group_mut(group) {
                    group.default = default;
                }
                self.set_parked(group, parked);
                Ok(())
            }
            Err(error) => {
                parked.iter().for_each(|parked| parked.discard());
                Err(error)
            }
        }
    }

    fn set_parked(&mut self, group: GroupId, parked: Option<Arc<AddressSpace<P>>>) {
        let old = self.group_mut(group).and_then(|group| core::mem::replace(&mut group.parked, parked));
        if let Some(old) = old {
            self.discard(&old);
        }
    }

    /// A domain that holds exactly what firmware requires, if it requires something.
    fn make_parked(
        &self,
        group: GroupId,
        newcomer: Option<DeviceId>,
        requirements: &Requirements,
    ) -> Result<Option<Arc<AddressSpace<P>>>, AddError> {
        let required = |region: &crate::device::Region| matches!(region.kind, RegionKind::Required { .. });
        if !self.regions(group, newcomer).iter().any(required) {
            return Ok(None);
        }
        let sources = self.sources(group, newcomer);
        Ok(Some(self.make_space(group, newcomer, &sources, requirements, Use::Parked)?.0))
    }

    /// An address space that is ready for `sources`: complete (rule 3), with what its use needs mapped (rule 15).
    pub fn make_space(
        &self,
        group: GroupId,
        newcomer: Option<DeviceId>,
        sources: &[Source],
        requirements: &Requirements,
        is_for: Use,
    ) -> Result<(Arc<AddressSpace<P>>, Vec<Want>), AddError> {
        let wants = self.wants(sources, None, requirements)?;
        let granule = wants.iter().map(|want| crate::space::granule(&want.plan)).max().unwrap_or(4096);
        let special = self.region_spans(group, newcomer, granule, &wants)?;
        // The kernel's own domains leave room for a device with PASIDs that comes while they are in use (rule 7): its plan
        // may have fewer bits.
        let wider = Requirements { pasid_bits: 1, ..*requirements };
        let later = if is_for == Use::Owner {
            Vec::new()
        } else {
            self.wants(sources, None, &wider).unwrap_or_default()
        };
        let last = Iova(
            last_iova(&wants, requirements).min(last_iova(&later, requirements)).0 & !(granule - 1)
                | (granule - 1),
        );
        let bytes = last.0.checked_add(1).unwrap_or(!(granule - 1));
        let aperture = Span { start: Iova(0), bytes };
        // An owner's unmaps are its own to gather.
        let mode = match is_for {
            Use::Kernel => self.policy.choose_flush(&self.view(group, newcomer)),
            _ => FlushMode::Strict,
        };
        let number = self.spaces.replace(self.spaces.get().wrapping_add(1));
        let new = AddressSpace::new(self.pages.clone(), self.registry, number, aperture, granule, mode);
        let space = Arc::new(new.map_err(|error| AddError::LiveIova(crate::space::MapError::Iova(error)))?);
        space.forbid(&special.forbidden)?;
        if !crate::mutate::on("rule_03") {
            space.prepare(&wants)?;
        }
        if space.flush_mode() == FlushMode::Lazy {
            self.lazy.add(&space);
        }
        let regions = if crate::mutate::on("rule_15") { Vec::new() } else { special.mapped(is_for) };
        space.require(&regions).inspect_err(|_| space.discard())?;
        Ok((space, wants))
    }
}

/// The last IOVA that every plan and every device can do.
fn last_iova(wants: &[Want], requirements: &Requirements) -> Iova {
    let widths = wants.iter().map(|want| match want.plan {
        Plan::Tables(config) => config.flat_bits(),
        Plan::Requests { addr_bits, .. } => addr_bits,
    });
    let bits = widths.chain([requirements.addr_bits]).min().unwrap_or(64);
    Iova(if bits >= 64 { u64::MAX } else { (1 << bits) - 1 })
}
